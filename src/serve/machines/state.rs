//! The state file: what was seen of machines, so that a restarted server knows who is installed already.
//!
//! It is replaced whole, some seconds after a change at the latest; a crash loses no more than those. What a machine
//! reported and the file lost, it says again once it boots.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::timeline::Machine;
use crate::base::disk::{self, write_atomic};
use crate::base::error::{Advice, Exit};

/// Version of the file.
const SCHEMA: u32 = 1;
/// Longest file that is read: all machines that are remembered, with all they may say.
const MAX_SIZE: u64 = 256 << 20;

#[derive(Serialize, Deserialize)]
struct Document<M> {
    schema: u32,
    machines: M,
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read the state file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is none, or of another version.
    #[error("{} is not a state file of this version of prebake: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
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

/// Reads what was known of machines; a file that is not there yet knows none.
pub fn read(path: &Path) -> Result<Vec<Machine>, Error> {
    let malformed = |why: String| Error::Malformed { path: path.into(), why };
    let fails = |source| Error::Read { path: path.into(), source };
    match fs::metadata(path) {
        // Better now than at the first change: it could not be written there either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return fs::metadata(disk::directory_of(path)).map(|_| Vec::new()).map_err(fails);
        }
        Err(error) => return Err(fails(error)),
        Ok(meta) if meta.len() > MAX_SIZE => return Err(malformed("it is larger than 256 MiB".into())),
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(fails)?;
    let document: Document<Vec<Machine>> =
        serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
    match document.schema {
        SCHEMA => Ok(document.machines),
        other => Err(malformed(format!("it has schema {other}, not {SCHEMA}"))),
    }
}

/// Replaces the file.
pub fn write(path: &Path, machines: &[Arc<Machine>]) -> Result<(), disk::Error> {
    let document = |machines: &[Arc<Machine>]| {
        let bytes = serde_json::to_vec(&Document { schema: SCHEMA, machines }).map_err(io::Error::from);
        bytes.map_err(disk::Error::io("write", path))
    };
    let mut bytes = document(machines)?;
    if bytes.len() as u64 > MAX_SIZE {
        // A file that could not be read again would be worse than none; which machines are installed is the least.
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
