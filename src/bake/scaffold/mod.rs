//! The files of a beginning: a recipe with its layers, what Git leaves out, a CI file, a sysext of one's own.
//!
//! Owns the texts, which are those of the recipes that ship, and the rule that no file is overwritten. Leaves questions to
//! `cli`. `cluster` fills in the example of a cluster, [`recipe`] a shipped recipe, [`matchbox`] makes one of a Matchbox data
//! directory, and [`sysext`] copies a folder.

#[cfg(feature = "cluster")]
pub(crate) mod cluster;
pub(crate) mod matchbox;
pub(crate) mod recipe;
pub(crate) mod sysext;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::format::tree::{self, Content, Contents, EXECUTABLE, Entry, PLAIN, Tree};
pub(crate) use crate::machine::entry::{quoted, scalar};

/// Reasons why nothing can begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Files that are there already.
    #[error("{} there already, and nothing was written:\n  {}", are(paths.len()), shown(paths).join("\n  "))]
    InTheWay {
        /// Their paths.
        paths: Vec<PathBuf>,
    },
    /// A path that no file can have.
    #[error("the files cannot be laid out")]
    Tree(#[from] tree::Error),
    /// A file of a Matchbox data directory that cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Path of the file or directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A data directory of which nothing fits into a recipe.
    #[error("nothing in {} can be carried over:\n  {}", path.display(), left.join("\n  "))]
    Nothing {
        /// The data directory.
        path: PathBuf,
        /// Each part, with the reason.
        left: Vec<String>,
        /// Whether a profile boots something else than Flatcar.
        is_foreign: bool,
    },
    /// The name of a sysext that ships.
    #[error("prebake comes with a sysext `{name}` already")]
    Ships {
        /// The name that was given to a new one.
        name: String,
    },
    /// A name that no sysext can have.
    #[error("`{name}` cannot be the name of a sysext")]
    Name {
        /// The name that was given to a new one.
        name: String,
    },
    /// No sysext of this name ships.
    #[error("prebake comes with no sysext `{name}`")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// Those that do.
        known: Vec<&'static str>,
    },
}

fn are(count: usize) -> &'static str {
    if count == 1 { "this file is" } else { "these files are" }
}

fn shown(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Read { .. } => Exit::Failed,
            Error::InTheWay { .. } | Error::Ships { .. } | Error::Name { .. } | Error::Unknown { .. } => {
                Exit::Usage
            }
            Error::Tree(_) | Error::Nothing { .. } => Exit::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::InTheWay { .. } => Some("choose another directory or --name, or move them away".into()),
            Error::Ships { name } => Some(format!(
                "choose another name; `prebake sysext new {name} --copy` copies it, and the copy takes its place"
            )),
            Error::Name { .. } => {
                Some("use letters, digits, `-`, `_` and `.`, but no `.` at the beginning".into())
            }
            Error::Unknown { known, .. } => Some(format!("known: {}", known.join(", "))),
            Error::Nothing { is_foreign: false, .. } => {
                Some("mend these files, or move away the groups that are not wanted, and run it again".into())
            }
            Error::Nothing { .. } => Some("its groups need profiles that boot Flatcar's PXE kernel".into()),
            Error::Tree(_) | Error::Read { .. } => None,
        }
    }
}

/// Files to be written, by path below a directory.
#[derive(Debug, Default)]
pub(crate) struct Scaffold(Tree);

impl Scaffold {
    /// Adds a text; one at the same path is an error.
    pub(crate) fn text(&mut self, path: &str, text: impl Into<String>) -> Result<(), Error> {
        let contents = Contents::Bytes(text.into().into_bytes());
        Ok(self.0.insert(path, Entry::file(PLAIN, contents, "prebake new"))?)
    }

    /// The text of a file.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        match &self.0.get(path)?.content {
            Content::File(Contents::Bytes(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }

    /// Writes all files below a directory, which is made where it is missing, and returns their paths.
    ///
    /// # Errors
    /// [`Error::InTheWay`] before anything is written, or a file that cannot be written; then none of them stays.
    pub(crate) fn write(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let files = || self.0.iter().filter(|(_, entry)| !matches!(entry.content, Content::Dir));
        let path = |inside: &str| match directory == Path::new(".") {
            true => PathBuf::from(inside),
            false => directory.join(inside),
        };
        let there = files().map(|(inside, _)| path(inside)).filter(|path| path.symlink_metadata().is_ok());
        let paths: Vec<PathBuf> = there.collect();
        if !paths.is_empty() {
            return Err(Error::InTheWay { paths }.into());
        }
        let mut made = Made::default();
        for (inside, entry) in files() {
            let path = path(inside);
            made.directories(disk::directory_of(&path))?;
            made.file(path, entry)?;
        }
        Ok(made.keep())
    }
}

/// Files and directories that a run made; dropped before all are there, it removes them again.
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    /// Those that were missing, the outer ones first.
    directories: Vec<PathBuf>,
}

impl Made {
    fn directories(&mut self, directory: &Path) -> Result<(), disk::Error> {
        let missing = directory.ancestors().take_while(|above| above.symlink_metadata().is_err());
        let missing: Vec<PathBuf> =
            missing.filter(|above| !above.as_os_str().is_empty()).map(Path::to_owned).collect();
        self.directories.extend(missing.into_iter().rev());
        disk::create_directories(directory)
    }

    fn file(&mut self, path: PathBuf, entry: &Entry) -> Result<(), disk::Error> {
        let fault = || disk::Error::io("write", &path);
        match &entry.content {
            Content::Symlink(target) => symlink(target, &path).map_err(fault())?,
            Content::File(contents) => {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut contents.reader(), &mut bytes).map_err(fault())?;
                disk::write_new(&path, &bytes)?;
            }
            Content::Dir => return Ok(()),
        }
        self.files.push(path.clone());
        if matches!(entry.content, Content::File(_)) && entry.mode == EXECUTABLE {
            let mode = fs::Permissions::from_mode(EXECUTABLE.into());
            fs::set_permissions(&path, mode).map_err(fault())?;
        }
        Ok(())
    }

    fn keep(mut self) -> Vec<PathBuf> {
        self.directories.clear();
        std::mem::take(&mut self.files)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // The failure is told; a directory that is not empty has somebody else's files.
        for file in self.files.iter().rev() {
            let _ = fs::remove_file(file);
        }
        for directory in self.directories.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// A name of letters, digits, `-`, `_` and `.`, close to a text; `or` where nothing is left of it.
pub(crate) fn plain_name(text: &str, or: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = text.chars().map(plain).take(60).collect();
    match name.trim_matches(['-', '.']) {
        "" => or.to_owned(),
        name => name.to_owned(),
    }
}
