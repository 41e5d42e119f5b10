//! The state file: the machines that were seen, so that a restarted server knows which ones are installed already.
//!
//! It is replaced as a whole, some seconds after a change at the latest; a crash loses no more than those seconds. If a
//! report is lost, its machine sends it again with the next boot.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::timeline::Machine;
use crate::base::disk::{self, write_atomic};
use crate::base::error::{Advice, Exit};
use crate::base::unfinished::Unfinished;
use crate::base::words;

/// Version of the file format.
const SCHEMA: u32 = 1;
/// Longest file, in bytes: enough for all machines that are remembered, with their longest values.
const MAX_SIZE: u64 = 256 << 20;

#[derive(Serialize, Deserialize)]
struct Document<M> {
    schema: u32,
    machines: M,
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the state file {}", path.display())]
    Read {
        /// The state file's path.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The file is not a state file, or is of another version.
    #[error("{} is not a state file of this version of prebake: {why}", path.display())]
    Malformed {
        /// The state file's path.
        path: PathBuf,
        /// The reason, in words.
        why: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Read { .. } => None,
            Error::Malformed { .. } => {
                Some("move it away: installed machines then report again when they boot".into())
            }
        }
    }
}

/// Reads the machines. A missing file has none.
pub fn read(path: &Path) -> Result<Vec<Machine>, Error> {
    let malformed = |why: String| Error::Malformed { path: path.into(), why };
    let fails = |source| Error::Read { path: path.into(), source };
    match fs::metadata(path) {
        // A missing directory is reported now, not at the first change, which could not be written either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return fs::metadata(disk::directory_of(path)).map(|_| Vec::new()).map_err(fails);
        }
        Err(error) => return Err(fails(error)),
        Ok(meta) if meta.len() > MAX_SIZE => return Err(malformed("it is larger than 256 MiB".into())),
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(fails)?;
    let document: Document<Vec<Machine>> =
        serde_json::from_slice(&bytes).map_err(|error| malformed(words::of_serde(&error)))?;
    match document.schema {
        SCHEMA => Ok(document.machines),
        other => Err(malformed(format!("it has schema {other}, not {SCHEMA}"))),
    }
}

/// Checks that the file can be replaced, so that a server says at its start that it cannot.
///
/// # Errors
/// No file can be made beside it.
pub(crate) fn must_be_writable(path: &Path) -> Result<(), disk::Error> {
    let directory = disk::directory_of(path);
    Unfinished::in_directory(directory, 0o644)
        .map(drop)
        .map_err(disk::Error::io("write the state file in", directory))
}

/// Replaces the file.
pub(crate) fn write(path: &Path, machines: &[Arc<Machine>]) -> Result<(), disk::Error> {
    let document = |machines: &[Arc<Machine>]| {
        let bytes = serde_json::to_vec(&Document { schema: SCHEMA, machines }).map_err(io::Error::from);
        bytes.map_err(disk::Error::io("write", path))
    };
    let mut bytes = document(machines)?;
    if bytes.len() as u64 > MAX_SIZE {
        // A file that is too long to be read again would be worse than none; so only named and reporting machines are
        // kept, without their fetches.
        let known = machines.iter().filter(|machine| machine.is_named || machine.report.is_some());
        let short = known.map(|machine| {
            let mut machine = Machine::clone(machine);
            machine.boot.fetches.clear();
            Arc::new(machine)
        });
        bytes = document(&short.collect::<Vec<_>>())?;
    }
    write_atomic(path, &bytes)
}
