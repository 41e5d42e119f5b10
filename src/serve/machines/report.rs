//! Reports of machines about themselves: `POST /report` with `mac`, `uuid`, `stage` and `detail`.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::stamp::Stamp;
use crate::serve::site::labels::Labels;

/// Longest body, in bytes.
pub(crate) const MAX_BODY: usize = 4096;
/// The longest part of a machine's value that is kept, in bytes.
const MAX_VALUE: usize = 200;
/// The stage of a machine that gave up.
const FAILED: &str = "failed";

/// The last report of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// MAC address, normalized; empty if the report has none.
    pub mac: String,
    /// SMBIOS UUID, lower case.
    pub uuid: String,
    /// How far the machine is: `installing`, `installed`, `booted`, `joined`, `failed`.
    pub stage: String,
    /// Further details, for people.
    pub detail: String,
    /// When the report arrived, RFC 3339 in UTC.
    pub at: Stamp,
    /// The tail of the journal of a machine that failed, as lines; empty from others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log: String,
}

impl Report {
    /// Reads the form in a report's body. A report without a stage, or without a MAC address or UUID to identify the
    /// machine, is refused.
    pub fn read(labels: &Labels, now: SystemTime) -> Result<Report, &'static str> {
        let value = |key| plain(labels.get(key));
        let report = Report {
            mac: value("mac"),
            uuid: value("uuid").to_lowercase(),
            stage: value("stage"),
            detail: value("detail"),
            at: now.into(),
            log: String::new(),
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
    pub(crate) fn is_failure(&self) -> bool {
        self.stage == FAILED
    }
}

/// The part of a machine's text that is kept: one line of limited length.
pub(crate) fn plain(text: &str) -> String {
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
