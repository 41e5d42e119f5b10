//! The hold that one process has on a cluster while it forms it: a lock, and a text in it that names the process.
//!
//! The lock is the kernel's, so that it ends with the process whatever ends that; the file stays, for another process may wait
//! at it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, fs, process, thread};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::base::error::{Advice, Exit};
use crate::base::{clock, disk};
use crate::cluster::place::Place;

/// The most of a lock file that is read, in bytes.
const LONGEST: u64 = 4096;
/// Time between two looks at a lock that is awaited.
const PAUSE: Duration = Duration::from_millis(50);

/// The process that has a cluster, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its number, as it sees itself: in a container, another one than outside.
    pub pid: u32,
    /// The verb that it runs.
    pub verb: String,
    /// The host's name.
    pub host: String,
    /// Since when, RFC 3339.
    pub since: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { pid, verb, host, since } = self;
        write!(f, "`prebake cluster {verb}` (process {pid} on {host}, since {since})")
    }
}

/// A cluster that this process has.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

/// Why a cluster is not held, or not given up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it.
    #[error("the cluster {name} is held by {}", holder.as_ref().map_or_else(|| "another process".to_owned(), ToString::to_string))]
    Held {
        /// The cluster's name.
        name: String,
        /// The process, if its text is whole.
        holder: Option<Holder>,
    },
    /// The process that has it cannot be told from others here.
    #[error("{holder} cannot be stopped from here")]
    Elsewhere {
        /// The process.
        holder: Holder,
    },
    /// It was told to stop, and has not.
    #[error("{holder} has not stopped within {}", humantime::format_duration(*limit))]
    Stays {
        /// The process.
        holder: Holder,
        /// The time that it was given.
        limit: Duration,
    },
    /// The lock file.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Disk(inner) => Some(inner),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Error::Stays { .. } => Exit::TimedOut,
            _ => self.inner_exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Held { .. } => Some(
                "`prebake cluster status` shows how far it is, and `prebake cluster teardown` stops it"
                    .into(),
            ),
            Error::Elsewhere { .. } => Some(
                "it runs in another container or on another host that shares this directory: stop it there"
                    .into(),
            ),
            Error::Stays { holder, .. } => {
                Some(format!("a second signal ends it at once: `kill {}`", holder.pid))
            }
            Error::Disk(_) => self.inner_hint(),
        }
    }
}

impl Hold {
    /// Takes the cluster for this process, until the hold is dropped.
    ///
    /// # Errors
    /// Another process has it, or the lock file cannot be written.
    pub fn take(place: &Place, verb: &str) -> Result<Hold, Error> {
        make_private(&place.own())?;
        let path = place.lock();
        let mut file = open(&path, true).map_err(disk::Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Held { name: place.name().to_owned(), holder: read(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(disk::Error::io("lock", &path)(error).into()),
        }
        let holder = Holder {
            pid: process::id(),
            verb: verb.to_owned(),
            host: fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
            since: clock::date(SystemTime::now()),
        };
        let mut write = || {
            let text = serde_json::to_vec(&holder)?;
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(disk::Error::io("write", &path))?;
        Ok(Hold { _file: file })
    }

    /// The process that has the cluster now; `None` if there is none.
    ///
    /// # Errors
    /// A lock file that cannot be read.
    pub fn holder(place: &Place) -> Result<Option<Option<Holder>>, Error> {
        let path = place.lock();
        let mut file = match open(&path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(disk::Error::io("open", &path))?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(read(&mut file))),
            Err(TryLockError::Error(error)) => Err(disk::Error::io("lock", &path)(error).into()),
        }
    }

    /// Has the process that holds the cluster stop as after Ctrl-C, and waits for its end. In return that process, if there
    /// was one.
    ///
    /// # Errors
    /// It is not one of this host, or does not stop within the limit.
    pub fn stop(place: &Place, limit: Duration) -> Result<Option<Holder>, Error> {
        let Some(holder) = Hold::holder(place)? else { return Ok(None) };
        let held = || Error::Held { name: place.name().to_owned(), holder: None };
        let holder = holder.ok_or_else(held)?;
        let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw);
        // A number alone may be another process's by now, or another container's.
        let pid = pid.filter(|_| locks(&place.lock(), holder.pid));
        let stopped = pid.map(|pid| kill_process(pid, Signal::TERM));
        if !matches!(stopped, Some(Ok(()))) {
            return Err(Error::Elsewhere { holder });
        }
        let since = Instant::now();
        while Hold::holder(place)?.is_some() {
            if since.elapsed() >= limit {
                return Err(Error::Stays { holder, limit });
            }
            thread::sleep(PAUSE);
        }
        Ok(Some(holder))
    }
}

/// Makes a directory that only its owner may enter.
pub(super) fn make_private(path: &Path) -> Result<(), disk::Error> {
    disk::create_directories(disk::directory_of(path))?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(disk::Error::io("create", path)(error))
        }
        _ => Ok(()),
    }
}

fn open(path: &Path, writes: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(writes).create(writes).truncate(false).mode(0o600).open(path)
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Whether the kernel knows this process as the one that has the lock: lines such as
/// `1: FLOCK  ADVISORY  WRITE 4711 fd:01:1234 0 EOF` (proc_locks(5)).
fn locks(path: &PathBuf, pid: u32) -> bool {
    let Ok(inode) = fs::metadata(path).map(|meta| meta.ino()) else { return false };
    let table = fs::read_to_string("/proc/locks").unwrap_or_default();
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, owner, file, ..] = words[..] else { return false };
        owner.parse() == Ok(pid)
            && file.rsplit(':').next().and_then(|number| number.parse().ok()) == Some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_and_told_which_one_has_the_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path(), "k");
        assert_eq!(Hold::holder(&place).unwrap(), None);
        let hold = Hold::take(&place, "init").unwrap();
        let refused = Hold::take(&place, "init").unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("the cluster k is held by `prebake cluster init`"), "{text}");
        assert!(text.contains(&format!("process {}", process::id())), "{text}");
        assert!(locks(&place.lock(), process::id()));
        assert!(!locks(&place.lock(), 1), "another process's number is none that may be stopped");
        drop(hold);
        assert_eq!(Hold::holder(&place).unwrap(), None, "what is left is a file, and no hold");
        drop(Hold::take(&place, "serve").unwrap());
        assert_eq!(Hold::stop(&place, Duration::ZERO).unwrap(), None);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(place.own()).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
    }
}
