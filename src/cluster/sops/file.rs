//! A file that may be encrypted, or a pipe: its bytes, and as a tree in clear text.
//!
//! Owns reading and opening. Leaves what its keys mean to whoever asked.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::identities::Identities;
use super::{Opened, is_encrypted, open, parse};
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::{Findings, MAX_TEXT, Source, not_text};

/// Longest file, in bytes; those of people have a few KiB.
const LONGEST: usize = MAX_TEXT;

/// A file that was read.
pub struct Secrets {
    /// Its tree, wiped when this is dropped.
    pub tree: Opened,
    /// Its name, without a line of its text: no finding that is made with it can show one.
    pub source: Arc<Source>,
    /// Whether it lies on a disk in clear text.
    pub is_clear: bool,
}

/// A kind of file, in the words of errors about one.
pub(crate) struct Kind {
    /// Behind `cannot`, with the path behind it.
    pub read: &'static str,
    /// Behind `is a directory, not`.
    pub a: &'static str,
    /// The way out where there is no such file.
    pub missing: &'static str,
    /// The way out where a directory is named.
    pub directory: fn(&Path) -> String,
}

/// The content of a path, as it was read.
pub(crate) struct Taken {
    /// The path, or `<stdin>`.
    pub name: String,
    /// At most [`LONGEST`] bytes.
    pub bytes: Vec<u8>,
    /// Whether it came out of a pipe, where a program writes what it decrypted: nobody else sees that.
    pub is_pipe: bool,
}

/// A path without such a file.
#[derive(Debug, thiserror::Error)]
enum Absent {
    #[error("cannot {read} {}: there is no such file", path.display())]
    Missing { path: PathBuf, read: &'static str, hint: String },
    #[error("{} is a directory, not {a}", path.display())]
    Directory { path: PathBuf, a: &'static str, hint: String },
}

impl Advice for Absent {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        let (Absent::Missing { hint, .. } | Absent::Directory { hint, .. }) = self;
        Some(hint.clone())
    }
}

/// Reads a file that may be encrypted, or standard input for `-`.
///
/// # Errors
/// It cannot be read, or is longer than [`LONGEST`].
pub(crate) fn take(path: &Path, kind: &Kind) -> Result<Taken> {
    let is_stdin = path == Path::new("-");
    let is_pipe = is_stdin || fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo());
    let name = if is_stdin { "<stdin>".to_owned() } else { path.display().to_string() };
    let bytes = match is_stdin {
        true => disk::piped(LONGEST).map_err(disk::Error::io("read", Path::new("<stdin>")))?,
        false => disk::read_at_most(path, LONGEST).map_err(|error| -> crate::base::error::Error {
            match error.kind() {
                ErrorKind::NotFound => {
                    let hint = kind.missing.to_owned();
                    Absent::Missing { path: path.to_owned(), read: kind.read, hint }.into()
                }
                ErrorKind::IsADirectory => {
                    let hint = (kind.directory)(path);
                    Absent::Directory { path: path.to_owned(), a: kind.a, hint }.into()
                }
                _ => disk::Error::io(kind.read, path)(error).into(),
            }
        })?,
    };
    Ok(Taken { name, bytes, is_pipe })
}

/// The words for a file of secrets.
const SECRETS: Kind = Kind {
    read: "read the secrets in",
    a: "a file of secrets",
    missing: NAME_IT,
    directory: |_| NAME_IT.to_owned(),
};

const NAME_IT: &str = "name the file that `sops encrypt` wrote, or `-` for standard input";

/// Reads a file, or standard input for `-`, and opens it if SOPS encrypted it. No finding of it shows a line.
///
/// # Errors
/// It cannot be read, is not one document of YAML, or cannot be opened: no identity fits, a leaf was changed, the MAC differs, the
/// metadata is missing.
pub fn read(path: &Path) -> Result<Secrets> {
    let Taken { name, bytes, is_pipe } = take(path, &SECRETS)?;
    let text = String::from_utf8(bytes).map_err(|_| not_text(&name))?;
    let root = parse(&Source::new(name.as_str(), text)).map_err(Findings::from)?;
    let source = Source::new(name, "");
    let is_sealed = is_encrypted(&root);
    let tree = match is_sealed {
        true => open(root, &source, &Identities::find()?).map_err(Findings::from)?,
        false => Opened::clear(root),
    };
    let tree = tree.merged(&source).map_err(Findings::from)?;
    Ok(Secrets { tree, source, is_clear: !is_sealed && !is_pipe })
}
