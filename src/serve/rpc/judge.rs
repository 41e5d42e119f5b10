//! Judges what is put before it is stored: Matchbox stores anything, and then gives machines an empty config, or none.
//!
//! Owns the reasons, with lines and columns where there are any. Leaves to the [store](super::store) what is done about them, and
//! to `site` what needs other files: whether a group's profile is there, and whether a template fits the group's metadata.

use std::sync::Arc;

use super::messages::{Group, Profile};
use crate::base::finding::{Finding, Findings, Severity};
use crate::base::size::Bytes;
use crate::format::gotemplate::Template;
use crate::ignition::{self, Config, Transpile};
use crate::serve::site::audit;
use crate::serve::site::config::{self, Kind};
use crate::tree::names::GROUPS;
use crate::tree::notes::{self, Note, Weight};
use crate::tree::records::{Boot, normal_mac};

/// The most findings of a text that are told.
const MAX_TOLD: usize = 5;

/// Whether machines can be given a group.
///
/// # Errors
/// Why it would be skipped.
pub(super) fn group(group: &Group) -> Result<(), String> {
    if group.id.contains('/') {
        return Err(format!(
            "its id, `{}`, has a slash: groups are read from {GROUPS}/ itself, and not from folders in it",
            group.id
        ));
    }
    let macs = group.selector.iter().filter(|(key, _)| key.eq_ignore_ascii_case("mac"));
    for (key, value) in macs {
        if normal_mac(value).is_none() {
            return Err(format!(
                "selector `{key}`: `{value}` is not a MAC address, so the group would be skipped"
            ));
        }
    }
    Ok(())
}

/// Whether a record's file can be read again, by machines and by this API: it is larger than the message was, and its values
/// stand one level deeper. `most` is the longest file that is read, in bytes.
///
/// # Errors
/// Why it cannot.
pub(super) fn file<T>(
    bytes: &[u8],
    most: u64,
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<(), String> {
    match bytes.len() as u64 > most {
        true => Err(format!("its file would be larger than {}", Bytes(most))),
        false => read(bytes).map(drop).map_err(|why| format!("its file could not be read again: {why}")),
    }
}

/// Parts of a group with no effect, or another one than was meant.
pub(super) fn doubts_of_group<'g>(path: &str, group: &'g Group) -> impl Iterator<Item = String> + use<'g> {
    let stray = audit::stray(path).map(|flaw| flaw.why);
    stray.into_iter().chain(faults(notes::selector(&group.selector)))
}

/// Parts of a profile that no loader can load.
pub(super) fn doubts_of_profile(path: &str, profile: &Profile) -> impl Iterator<Item = String> + use<> {
    let stray = audit::stray(path).map(|flaw| flaw.why);
    let boot =
        profile.boot.clone().map(|boot| Boot { kernel: boot.kernel, initrd: boot.initrd, args: boot.args });
    let notes: Vec<Note> = boot.iter().flat_map(notes::boot).collect();
    stray.into_iter().chain(faults(notes.into_iter()))
}

fn faults(notes: impl Iterator<Item = Note>) -> impl Iterator<Item = String> {
    notes.filter(|(weight, _)| *weight == Weight::Fault).map(|(_, why)| why)
}

/// Whether any machine can be given a config or template. `path` is below the data directory.
///
/// # Errors
/// Why none can, with the places.
pub(super) fn config(kind: Kind, path: &str, bytes: &[u8]) -> Result<(), String> {
    let of_ignition = kind == Kind::Ignition;
    if of_ignition && bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("it is empty".into());
    }
    let source = || ignition::read_from(path, bytes).map_err(Findings::from);
    if kind.is_ready(path) {
        let parsed = source().and_then(|source| Config::parse(&source));
        return parsed.map(drop).map_err(|findings| told(&findings) + config::mistaken_for_json(bytes));
    }
    Template::parse(bytes).map_err(|error| match error.line() {
        Some(line) => format!("{path}:{line}: {}", error.message()),
        None => error.message(),
    })?;
    if !of_ignition || memchr::memmem::find(bytes, b"{{").is_some() {
        return Ok(());
    }
    let options = Transpile { foreign: true, ..Transpile::default() };
    let made = source().and_then(|source: Arc<_>| ignition::transpile(&source, &options));
    made.map(drop).map_err(|findings| told(&findings) + config::mistaken_for_butane(bytes))
}

/// The errors among findings, each with its place.
fn told(findings: &Findings) -> String {
    let errors = findings.0.iter().filter(|finding| finding.severity == Severity::Error);
    let count = errors.clone().count();
    let mut lines: Vec<String> = errors.take(MAX_TOLD).map(line).collect();
    if count > MAX_TOLD {
        lines.push(format!("and {} more", count - MAX_TOLD));
    }
    lines.join("; ")
}

fn line(finding: &Finding) -> String {
    let place = finding.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
    let hint = finding.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{place}{}{hint}", finding.message)
}
