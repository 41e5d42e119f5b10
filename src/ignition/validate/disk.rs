//! Disks, partitions, RAID arrays and filesystems.

use std::collections::{HashMap, HashSet};

use super::node::check_path;
use super::rules::{self, Rule};
use super::{Visit, field, item};
use crate::spec::Spec;
use crate::tree::Record;

pub(super) fn disk(visit: &mut Visit<'_>) {
    let device = visit.record.text("device").unwrap_or_default();
    if device.is_empty() {
        return visit.error(&[field("device")], rules::DEVICE_REQUIRED);
    }
    visit.require(&[field("device")], check_path(device));

    let partitions: Vec<&Record> = visit.record.records("partitions").collect();
    let mut fault = |index: Option<usize>, rule: Rule| {
        if let Some(index) = index {
            visit.error(&[field("partitions"), item(index)], rule);
        }
    };
    let numbers = partitions.iter().map(|partition| partition.int("number").filter(|number| *number != 0));
    fault(first_repeat(numbers), rules::NUMBERS_COLLIDE);
    fault(first_overlap(&partitions), rules::PARTITIONS_OVERLAP);
    let absent = partitions.iter().any(|partition| partition.flag("shouldExist") == Some(false));
    let numberless = partitions.iter().any(|partition| partition.int("number").unwrap_or(0) == 0);
    // Ignition newer than 2.26 dropped this check; no released Flatcar has that yet.
    if absent && numberless {
        visit.error(&[field("partitions")], rules::NUMBERLESS_BESIDE_ABSENT);
    }
    let labels = partitions.iter().map(|partition| partition.text("label"));
    if let Some(index) = first_repeat(labels) {
        visit.error(&[field("partitions"), item(index)], rules::LABELS_COLLIDE);
    }
}

/// Index of the first item whose value an earlier item has.
fn first_repeat<T: Eq + std::hash::Hash>(values: impl Iterator<Item = Option<T>>) -> Option<usize> {
    let mut seen = HashSet::new();
    let repeats = |(_, value): &(usize, Option<T>)| value.is_some();
    let mut valued = values.enumerate().filter(repeats);
    valued.find_map(|(index, value)| (!seen.insert(value)).then_some(index))
}

/// Index of the first partition that overlaps another one, in the order of their starts. A start of 0 means "wherever
/// there is room".
fn first_overlap(partitions: &[&Record]) -> Option<usize> {
    let placed: Vec<(usize, i64, i64)> = partitions
        .iter()
        .enumerate()
        .filter_map(|(index, partition)| {
            let (start, size) = (partition.int("startMiB")?, partition.int("sizeMiB")?);
            let end = if size == 0 { start } else { start.wrapping_add(size).wrapping_sub(1) };
            (start != 0).then_some((index, start, end))
        })
        .collect();
    placed.iter().find_map(|&(one, start, end)| {
        let hits = |&&(other, from, to): &&(usize, i64, i64)| {
            let within = |point: i64| point >= from && point <= to;
            other != one && (within(start) || within(end) || start < from && end > to)
        };
        placed.iter().find(hits).map(|(other, ..)| *other)
    })
}

pub(super) fn partition(visit: &mut Visit<'_>) {
    let record = visit.record;
    let label = record.text("label");
    let others = label.is_some()
        || record.filled("typeGuid").is_some()
        || record.filled("guid").is_some()
        || record.int("startMiB").is_some()
        || record.int("sizeMiB").is_some();
    if record.flag("shouldExist") == Some(false) && others {
        visit.error(&[], rules::ABSENT_WITH_OTHERS);
    }
    if record.int("number").unwrap_or(0) == 0 && label.is_none() {
        visit.error(&[], rules::NUMBER_OR_LABEL);
    }
    match label {
        Some(label) if label.len() > 36 => visit.error(&[field("label")], rules::PARTITION_LABEL_LONG),
        Some(label) if label.contains(':') => visit.error(&[field("label")], rules::PARTITION_LABEL_COLON),
        _ => {}
    }
    for name in ["guid", "typeGuid"] {
        if record.filled(name).is_some_and(|guid| !is_guid(guid)) {
            visit.error(&[field(name)], rules::GUID);
        }
    }
}

/// Whether a text has groups of 8, 4, 4, 4 and 12 hex digits.
fn is_guid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

pub(super) fn raid(visit: &mut Visit<'_>) {
    let record = visit.record;
    let outcome = match record.text("level").unwrap_or_default() {
        // Up to 3.2 the level was not a pointer, and an empty one was just unknown.
        "" if visit.spec >= Spec::V3_3 => Err(rules::RAID_LEVEL_REQUIRED),
        "linear" | "raid0" | "0" | "stripe" if record.int("spares").is_some_and(|spares| spares != 0) => {
            Err(rules::RAID_SPARES)
        }
        "linear" | "raid0" | "0" | "stripe" | "raid1" | "1" | "mirror" | "raid4" | "4" | "raid5" | "5"
        | "raid6" | "6" | "raid10" | "10" => Ok(()),
        _ => Err(rules::RAID_LEVEL),
    };
    visit.require(&[field("level")], outcome);
    let devices = record.list("devices");
    if devices.is_empty() {
        visit.error(&[field("devices")], rules::RAID_DEVICES);
    }
    for (index, device) in devices.iter().enumerate() {
        let outcome = check_path(device.as_text().unwrap_or_default());
        visit.require(&[field("devices"), item(index)], outcome);
    }
}

pub(super) fn filesystem(visit: &mut Visit<'_>) {
    let record = visit.record;
    if let Some(path) = record.filled("path") {
        visit.require(&[field("path")], check_path(path));
    }
    visit.require(&[field("device")], check_path(record.text("device").unwrap_or_default()));
    visit.require(&[field("format")], check_format(record, visit.spec));
    visit.require(&[field("label")], check_label(record));
}

fn check_format(filesystem: &Record, spec: Spec) -> Result<(), Rule> {
    let others = ["path", "label", "uuid"].iter().any(|name| filesystem.filled(name).is_some())
        || filesystem.is_true("wipeFilesystem")
        || ["options", "mountOptions"].iter().any(|name| !filesystem.list(name).is_empty());
    match filesystem.filled("format") {
        None if others => Err(rules::FORMAT_REQUIRED),
        None | Some("ext4" | "btrfs" | "xfs" | "swap" | "vfat") => Ok(()),
        Some("none") if spec >= Spec::V3_3 => Ok(()),
        Some(_) => Err(rules::FORMAT),
    }
}

fn check_label(filesystem: &Record) -> Result<(), Rule> {
    let Some(label) = filesystem.filled("label") else { return Ok(()) };
    let (longest, rule) = match filesystem.filled("format") {
        None => return Err(rules::LABEL_NEEDS_FORMAT),
        Some("ext4") => (16, rules::LABEL_EXT4),
        Some("btrfs") => (256, rules::LABEL_BTRFS),
        Some("xfs") => (12, rules::LABEL_XFS),
        Some("swap") => (15, rules::LABEL_SWAP),
        Some("vfat") => (11, rules::LABEL_VFAT),
        Some(_) => return Ok(()),
    };
    if label.len() > longest { Err(rule) } else { Ok(()) }
}

/// Finds filesystems on a whole disk that the config also partitions or wipes.
pub(super) fn filesystems_on_disks(visit: &mut Visit<'_>) {
    let record = visit.record;
    let disks: HashMap<&str, &Record> =
        record.records("disks").filter_map(|disk| Some((disk.text("device")?, disk))).collect();
    for (index, filesystem) in record.records("filesystems").enumerate() {
        let at = [field("filesystems"), item(index), field("device")];
        let Some(disk) = filesystem.text("device").and_then(|device| disks.get(device)) else { continue };
        if !disk.list("partitions").is_empty() {
            visit.warning(&at, rules::PARTITIONS_OVERWRITTEN);
        } else if !filesystem.is_true("wipeFilesystem") && disk.is_true("wipeTable") {
            visit.warning(&at, rules::IMPLICIT_WIPE);
        }
    }
}
