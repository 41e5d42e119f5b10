//! The machine that has installed what it was told to: by its report and its group.

use serde_json::Value;

use crate::serve::machines::report::Report;
use crate::serve::machines::timeline::Stage;
use crate::serve::site::Site;
use crate::tree::names::GENERATION;
use crate::tree::records::Group;

/// Whether a machine with this last report has finished its installation and must not repeat it; it then boots its
/// disk, whatever its boot order. A server without a state file forgets that when it ends. The machine then boots its
/// installer once more, which finds the disk finished and reports so again.
pub(crate) fn holds_generation(site: &Site, group: &Group, report: Option<&Report>) -> bool {
    if site.live.is_some() {
        return false; // Like Matchbox, which knows no reports.
    }
    let Some(generation) = group.metadata.get(GENERATION).and_then(Value::as_str) else { return false };
    report.is_some_and(|report| {
        report.stage == Stage::Installed.word() && report.detail == format!("generation {generation}")
    })
}
