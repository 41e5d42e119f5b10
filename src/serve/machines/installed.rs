//! The machine that has installed what it was told to: by its report and its group.

use serde_json::Value;

use crate::serve::machines::report::Report;
use crate::serve::machines::timeline::Stage;
use crate::serve::site::Site;
use crate::tree::names::GENERATION;
use crate::tree::records::Group;

/// Whether a machine that last reported so has installed itself, and is not to do it again: it boots its disk then,
/// whatever its boot order. A server without a state file forgets that when it ends; the machine then boots its installer
/// once more, which finds the disk finished and says so again.
pub fn holds_generation(site: &Site, group: &Group, report: Option<&Report>) -> bool {
    if site.live.is_some() {
        return false; // As Matchbox, which knows nothing of reports.
    }
    let Some(generation) = group.metadata.get(GENERATION).and_then(Value::as_str) else { return false };
    report.is_some_and(|report| {
        report.stage == Stage::Installed.word() && report.detail == format!("generation {generation}")
    })
}
