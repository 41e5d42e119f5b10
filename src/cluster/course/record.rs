//! `state.json`: how far a cluster is, for people and for the next run.
//!
//! A record, and no authority: whether something is done is judged by what is there (the tree, the API server), so that a record
//! that is lost, or older than the truth, costs nothing but the times in it. It is replaced as a whole, so that a kill or a power
//! cut leaves the old one or the new one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::step::Step;
use crate::base::error::{Advice, Exit};
use crate::base::{clock, disk, words};
use crate::cluster::hold::make_private;
use crate::cluster::place::Place;

/// Version of the file.
pub const SCHEMA: u32 = 1;
/// The most of it that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// The record of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    schema: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The BUILD-ID of the tree that its machines boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// Each step that was begun.
    #[serde(default)]
    pub steps: BTreeMap<Step, Times>,
    /// When machines were switched on by their BMCs, by node.
    #[serde(default)]
    pub powered: BTreeMap<String, String>,
    #[serde(skip)]
    path: PathBuf,
}

/// The times of a step, RFC 3339 in UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// When it was last begun.
    pub began: String,
    /// When it ended; `None` while it runs, or if the run ended first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// A record that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is none, or of another version.
    #[error("{} is no record of this version of prebake: {why}", path.display())]
    Malformed {
        /// Path of the record.
        path: PathBuf,
        /// The fault in it, in words.
        why: String,
    },
    /// It cannot be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Disk(inner) => Some(inner),
            Error::Malformed { .. } => None,
        }
    }

    fn exit(&self) -> Exit {
        self.inner_exit()
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Malformed { .. } => Some(
                "move it away: nothing is lost but the times in it, for the cluster itself is asked how far it is".into(),
            ),
            Error::Disk(_) => self.inner_hint(),
        }
    }
}

impl Record {
    /// The record of a cluster; a new one if there is none.
    ///
    /// # Errors
    /// One that cannot be read, or is of another cluster or version.
    pub fn open(place: &Place) -> Result<Record, Error> {
        let path = place.state();
        let bytes = match disk::read_at_most(&path, LONGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::new(place)),
            bytes => bytes.map_err(disk::Error::io("read", &path))?,
        };
        let malformed = |why: String| Error::Malformed { path: path.clone(), why };
        let record: Record =
            serde_json::from_slice(&bytes).map_err(|error| malformed(words::of_serde(&error)))?;
        match record.schema {
            SCHEMA if record.cluster == place.name() => Ok(Record { path, ..record }),
            SCHEMA => Err(malformed(format!("it is of the cluster {}", record.cluster))),
            other => Err(malformed(format!("it has schema {other}, not {SCHEMA}"))),
        }
    }

    fn new(place: &Place) -> Record {
        Record {
            schema: SCHEMA,
            cluster: place.name().to_owned(),
            build: None,
            steps: BTreeMap::new(),
            powered: BTreeMap::new(),
            path: place.state(),
        }
    }

    /// Writes that a step begins.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(&mut self, step: Step) -> Result<(), Error> {
        let began = clock::date(SystemTime::now());
        // A run that goes on is not at its end, as an earlier one was.
        self.steps.retain(|known, _| *known != Step::End || step == Step::End);
        self.steps.insert(step, Times { began, ended: None });
        self.write()
    }

    /// Whether the last run came to its end: the network plugin and all add-ons were there, all of it stayed ready, and the site's
    /// own programs were through.
    pub fn is_complete(&self) -> bool {
        self.has_ended(Step::End)
    }

    /// Whether a step came to its end.
    pub fn has_ended(&self, step: Step) -> bool {
        self.steps.get(&step).is_some_and(|times| times.ended.is_some())
    }

    /// Writes that a step has ended.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(&mut self, step: Step) -> Result<(), Error> {
        let now = clock::date(SystemTime::now());
        let times = self.steps.entry(step).or_insert_with(|| Times { began: now.clone(), ended: None });
        times.ended = Some(now);
        self.write()
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self) -> Result<(), Error> {
        make_private(disk::directory_of(&self.path))?;
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::from);
        text.iter_mut().for_each(|text| text.push('\n'));
        let text = text.map_err(disk::Error::io("write", &self.path))?;
        Ok(disk::write_atomic(&self.path, text.as_bytes())?)
    }

    /// Removes the file, if there is one.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(self) -> Result<(), Error> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(disk::Error::io("remove", &self.path)(error).into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_another_cluster_or_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path(), "k");
        let mut record = Record::open(&place).unwrap();
        record.begin(Step::Generate).unwrap();
        record.end(Step::Generate).unwrap();
        record.begin(Step::Answer).unwrap();
        let read = Record::open(&place).unwrap();
        assert_eq!(read, record);
        record.begin(Step::End).unwrap();
        assert!(!Record::open(&place).unwrap().is_complete(), "the site's own programs may fail");
        record.end(Step::End).unwrap();
        assert!(Record::open(&place).unwrap().is_complete());
        record.begin(Step::Generate).unwrap();
        assert!(!Record::open(&place).unwrap().is_complete(), "another run has begun");
        assert!(read.steps[&Step::Generate].ended.is_some() && read.steps[&Step::Answer].ended.is_none());
        for (text, words) in [
            (r#"{"schema":1,"cluster":"other"}"#, "of the cluster other"),
            (r#"{"schema":2,"cluster":"k"}"#, "schema 2"),
            ("{\"schema\":1,\"clus", "no record"),
        ] {
            fs::write(place.state(), text).unwrap();
            let error = Record::open(&place).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
