//! The record in a VM's description: what prebake made it of, and whether it was finished.
//!
//! A list of Markdown, which Proxmox VE shows below the VM's name. Tags would be found faster, but CAPMOX selects templates by all of
//! their tags (`matchPolicy: exact`), so that those are the site's alone.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::base::digest::Sha256;

/// Key of the state.
const STATE: &str = "prebake";
/// The state of a VM that a run is at work on, or has left.
const UNFINISHED: &str = "unfinished";
/// The state of a VM that is as it shall be.
const FINISHED: &str = "finished";

/// The things that a VM was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whether it is as it shall be. Only one that is not is ever removed unasked.
    pub is_finished: bool,
    /// The BUILD-ID of the tree; of an image alone, the first 16 digits of its digest.
    pub build: String,
    /// Digest of the image as it was uploaded.
    pub image: Sha256,
    /// The image's Flatcar release, if it tells.
    pub release: Option<String>,
    /// The version of Kubernetes, if it is known.
    pub kubernetes: Option<String>,
    /// Digest of the VM's options: the first 16 digits.
    pub options: String,
}

impl Record {
    /// Whether another one is of the same content and options, finished or not.
    pub(crate) fn is_same(&self, other: &Record) -> bool {
        self.is_build(other) && self.options == other.options
    }

    /// Whether another one is of the same content.
    pub(crate) fn is_build(&self, other: &Record) -> bool {
        self.build == other.build && self.image == other.image
    }

    /// Reads a description; nothing of one that prebake did not write. Lines that people add are left.
    pub fn read(description: &str) -> Option<Record> {
        let mut found = BTreeMap::new();
        for line in description.lines() {
            let line = line.trim().trim_start_matches(['-', '*']).trim_start();
            if let Some((key, value)) = line.split_once(": ") {
                found.entry(key).or_insert_with(|| value.trim());
            }
        }
        let plain = |text: &&str| {
            !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let take = |key: &str| found.get(key).copied().filter(plain).map(str::to_owned);
        let is_finished = match take(STATE)?.as_str() {
            FINISHED => true,
            UNFINISHED => false,
            _ => return None,
        };
        let image = found.get("image")?.strip_prefix("sha256:")?.parse().ok()?;
        let (build, options) = (take("build-id")?, take("options")?);
        Some(Record {
            is_finished,
            build,
            image,
            release: take("release"),
            kubernetes: take("kubernetes"),
            options,
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_finished { FINISHED } else { UNFINISHED };
        let mut text =
            format!("- {STATE}: {state}\n- build-id: {}\n- image: sha256:{}\n", self.build, self.image);
        for (key, value) in [("release", &self.release), ("kubernetes", &self.kubernetes)] {
            if let Some(value) = value {
                let _ = writeln!(text, "- {key}: {value}");
            }
        }
        write!(f, "{text}- options: {}", self.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_the_same_between_the_words_of_people() {
        for is_finished in [false, true] {
            for release in [None, Some("4593.2.5".to_owned())] {
                let record = Record {
                    is_finished,
                    build: "0123456789abcdef".into(),
                    image: Sha256::of(b"image"),
                    kubernetes: release.clone().map(|_| "1.33.13".into()),
                    release,
                    options: "fedcba9876543210".into(),
                };
                assert_eq!(Record::read(&record.to_string()).unwrap(), record);
                let among = format!("# Our template\n\n{record}\n\nAsk the *platform* team: 4711\n");
                assert_eq!(Record::read(&among).unwrap(), record);
            }
        }
    }

    #[test]
    fn what_others_wrote_is_no_record() {
        let sound = "- prebake: finished\n- build-id: a\n- image: sha256:00\n- options: b";
        for text in ["", "prebake", "- prebake: yes\n- build-id: a", sound] {
            assert_eq!(Record::read(text), None, "{text}");
        }
    }
}
