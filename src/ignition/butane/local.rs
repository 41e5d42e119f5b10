//! Files beside a config, named by `local`, `contents_local` and `trees`.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use prebake_text::finding::Finding;
use prebake_text::path::clean as clean_path;

use super::trees::NODE_EXISTS;
use crate::report::located;
use crate::tree::Origin;

/// Longest file that is embedded, in bytes. An initrd with a config of this size would not boot anyway.
const MAX_BYTES: u64 = 256 << 20;

const NO_FILES_DIR: &str =
    "local file paths are relative to a files directory that must be specified with -d/--files-dir";
const ESCAPES: &str = "local file path traverses outside the files directory";

/// The files directory.
///
/// Butane checks names only. Here a path may not leave the directory through a symbolic link either.
pub(super) struct FilesDir<'d>(pub Option<&'d Path>);

impl FilesDir<'_> {
    /// Reads a file.
    ///
    /// # Errors
    /// The reason why it cannot be embedded, in the words of Butane and Go.
    pub fn read(&self, local: &str) -> Result<Vec<u8>, String> {
        let path = self.resolve("open", local)?;
        read_file(&path)
    }

    /// The root of a tree; it may itself be a link to a directory inside.
    ///
    /// # Errors
    /// As [`read`](Self::read), and if it is not a directory.
    pub fn tree(&self, local: &str) -> Result<PathBuf, String> {
        let path = self.resolve("stat", local)?;
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => Ok(path),
            Ok(_) => Err("root of tree must be a directory".into()),
            Err(error) => Err(go_error("stat", &path, &error)),
        }
    }

    fn resolve(&self, verb: &str, local: &str) -> Result<PathBuf, String> {
        let dir = self.0.ok_or(NO_FILES_DIR)?;
        // A leading slash means the files directory, as in Go's filepath.Join.
        let inside = clean_path(local.trim_start_matches('/'));
        if inside == ".." || inside.starts_with("../") {
            return Err(ESCAPES.into());
        }
        let path = if inside == "." { dir.to_owned() } else { dir.join(&inside) };
        let real = path.canonicalize().map_err(|error| go_error(verb, &path, &error))?;
        let base = dir.canonicalize().map_err(|error| go_error(verb, dir, &error))?;
        match real.starts_with(base) {
            true => Ok(path),
            false => Err(format!("{ESCAPES} through a symbolic link")),
        }
    }
}

/// Hints by words in the message; [`NO_FILES_DIR`] contains its own.
const HINTS: [(&str, &str); 5] = [
    (ESCAPES, "copy the file into the files directory"),
    (
        "no such file",
        "local paths start at the files directory: `--files-dir`, else the directory of the layer",
    ),
    ("symbolic links", "a link leads back to itself; remove it or point it at a file"),
    (NODE_EXISTS, "the path is given twice: leave it out of the tree or out of the list"),
    ("may only contain", "leave sockets, pipes and devices out of the tree"),
];

/// A finding about a file that cannot be embedded.
pub(super) fn fault(why: String, origin: &Origin) -> Finding {
    let hint = HINTS.iter().find(|(words, _)| why.contains(words)).map(|(_, hint)| *hint);
    let finding = located(Finding::error(why), origin, &[]);
    match hint {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}

/// Reads a regular file, if it is not too long to embed.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let found = fs::metadata(path).map_err(|error| go_error("open", path, &error))?;
    if found.is_dir() {
        return Err(format!("read {}: is a directory", path.display()));
    }
    if !found.is_file() {
        return Err(format!("read {}: not a regular file", path.display()));
    }
    let file = fs::File::open(path).map_err(|error| go_error("open", path, &error))?;
    let mut bytes = Vec::new();
    let limited = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    limited.map_err(|error| go_error("read", path, &error))?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(format!("read {}: larger than {MAX_BYTES} bytes", path.display())),
        false => Ok(bytes),
    }
}

/// The error in Go's form: `open files/x: no such file or directory`.
pub(super) fn go_error(verb: &str, path: &Path, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            text.to_lowercase()
        }
    };
    format!("{verb} {}: {why}", path.display())
}
