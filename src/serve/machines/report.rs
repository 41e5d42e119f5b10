//! What machines report of themselves: `POST /report` with `mac`, `uuid`, `stage` and `detail`.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::stamp::Stamp;
use crate::serve::site::labels::Labels;

/// Longest body that is read, in bytes.
pub const MAX_BODY: usize = 4096;
/// Longest value that is kept of anything a machine says, in bytes.
const MAX_VALUE: usize = 200;
/// What a machine says when it gave up.
const FAILED: &str = "failed";

/// The last that a machine said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// MAC address, normalised; empty if it said none.
    pub mac: String,
    /// SMBIOS UUID, lower case.
    pub uuid: String,
    /// How far it is: `installing`, `installed`, `booted`, `joined`, `failed`.
    pub stage: String,
    /// Anything else, for people.
    pub detail: String,
    /// When it said so, RFC 3339 in UTC.
    pub at: Stamp,
}

impl Report {
    /// Reads what a form body says. A report without a stage, or without a MAC and UUID to know the machine by, is refused.
    pub fn read(labels: &Labels, now: SystemTime) -> Result<Report, &'static str> {
        let value = |key| plain(labels.get(key));
        let report = Report {
            mac: value("mac"),
            uuid: value("uuid").to_lowercase(),
            stage: value("stage"),
            detail: value("detail"),
            at: now.into(),
        };
        match &report {
            Report { stage, .. } if stage.is_empty() => Err("a report needs a `stage`"),
            Report { mac, uuid, .. } if mac.is_empty() && uuid.is_empty() => {
                Err("a report needs a `mac` or a `uuid`")
            }
            _ => Ok(report),
        }
    }

    /// Whether the machine gave up.
    pub fn is_failure(&self) -> bool {
        self.stage == FAILED
    }
}

/// What is kept of a text that a machine sent: a line, and not a long one.
pub fn plain(text: &str) -> String {
    let mut kept = String::new();
    for letter in text.chars().filter(|c| !c.is_control()) {
        if kept.len() + letter.len_utf8() > MAX_VALUE {
            break;
        }
        kept.push(letter);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_normalised_and_one_that_names_no_machine_or_stage_is_refused() {
        let read = |body: &str| Report::read(&Labels::parse(body), SystemTime::UNIX_EPOCH);
        let report = read("mac=52-54-00-00-00-01&uuid=AB&stage=joined%0a&detail=ok%1b[31m").unwrap();
        let Report { mac, uuid, stage, detail, .. } = &report;
        assert_eq!(
            [mac, uuid, stage, detail].map(String::as_str),
            ["52:54:00:00:00:01", "ab", "joined", "ok[31m"]
        );
        assert!(read("stage=booted").is_err());
        assert!(read("mac=52-54-00-00-00-01").is_err());
        assert_eq!(read(&format!("uuid=1&stage={}", "x".repeat(999))).unwrap().stage.len(), MAX_VALUE);
    }
}
