//! What machines report of themselves: `POST /report` with `mac`, `uuid`, `stage` and `detail`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;

use super::labels::Labels;

/// Longest body that is read, in bytes.
pub const MAX_BODY: usize = 4096;
/// Longest value that is kept, in characters.
const MAX_VALUE: usize = 200;
/// Machines that are remembered; a rack has far fewer, an attacker far more.
const MAX_MACHINES: usize = 10_000;

/// The last that a machine said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// MAC address, normalised; empty if it said none.
    pub mac: String,
    /// SMBIOS UUID, lower case.
    pub uuid: String,
    /// How far it is: `installed`, `booted`, `joined`.
    pub stage: String,
    /// Anything else, for people.
    pub detail: String,
    /// When it said so, RFC 3339 in UTC.
    pub at: String,
}

/// The last report of each machine.
#[derive(Debug, Default)]
pub struct Reports(Mutex<BTreeMap<String, Report>>);

impl Reports {
    /// Takes what a form body says. A report without a stage, or without a MAC and UUID to know the machine by, is refused.
    pub fn take(&self, labels: &Labels, now: SystemTime) -> Result<Report, &'static str> {
        let value =
            |key| labels.get(key).chars().filter(|c| !c.is_control()).take(MAX_VALUE).collect::<String>();
        let report = Report {
            mac: value("mac"),
            uuid: value("uuid").to_lowercase(),
            stage: value("stage"),
            detail: value("detail"),
            at: humantime::format_rfc3339_seconds(now).to_string(),
        };
        if report.stage.is_empty() {
            return Err("a report needs a `stage`");
        }
        let machine = if report.mac.is_empty() { report.uuid.clone() } else { report.mac.clone() };
        if machine.is_empty() {
            return Err("a report needs a `mac` or a `uuid`");
        }
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() >= MAX_MACHINES && !reports.contains_key(&machine) {
            return Err("too many machines have reported");
        }
        reports.insert(machine, report.clone());
        Ok(report)
    }

    /// The last report of a machine that says a MAC address or UUID.
    pub fn last(&self, labels: &Labels) -> Option<Report> {
        let reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uuid = labels.get("uuid").to_lowercase();
        reports.get(labels.get("mac")).or_else(|| reports.get(&uuid)).cloned()
    }

    /// All machines' last reports.
    pub fn list(&self) -> Vec<Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_report_of_a_machine_counts_and_control_characters_do_not() {
        let reports = Reports::default();
        let now = SystemTime::UNIX_EPOCH;
        let take = |body: &str| reports.take(&Labels::parse(body), now);
        take("mac=52-54-00-00-00-01&stage=booted").unwrap();
        take("mac=52:54:00:00:00:01&stage=joined%0a&detail=ok%1b[31m").unwrap();
        let list = reports.list();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].stage.as_str(), list[0].detail.as_str()), ("joined", "ok[31m"));
        assert!(take("stage=booted").is_err());
        assert!(take("mac=52-54-00-00-00-01").is_err());
    }
}
