//! The text of a manifest, from a file or standard input.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::{MAX_TEXT, Source, not_text};

/// There is no such file.
#[derive(Debug, thiserror::Error)]
#[error("there is no file {}", .0.display())]
struct Missing(PathBuf);

impl Advice for Missing {
    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// Reads it.
pub(super) fn text(path: &Path) -> Result<Arc<Source>> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "<stdin>".to_owned() } else { path.display().to_string() };
    let bytes = match is_stdin {
        true => disk::piped(MAX_TEXT).map_err(disk::Error::io("read", Path::new("<stdin>")))?,
        false => disk::read_at_most(path, MAX_TEXT).map_err(|error| -> crate::base::error::Error {
            match error.kind() {
                ErrorKind::NotFound => Missing(path.to_owned()).into(),
                _ => disk::Error::io("read", path)(error).into(),
            }
        })?,
    };
    let text = String::from_utf8(bytes).map_err(|_| not_text(&name))?;
    Ok(Source::new(name, text))
}
