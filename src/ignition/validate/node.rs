//! Files, directories and links.

use prebake_text::path::clean;

use super::rules::{self, Rule};
use super::{Visit, field, item};
use crate::spec::Spec;
use crate::tree::Record;

/// The path must be absolute, and unchanged by `path.Clean`.
pub(super) fn check_path(path: &str) -> Result<(), Rule> {
    match path {
        "" => Err(rules::PATH_MISSING),
        path if !path.starts_with('/') => Err(rules::PATH_RELATIVE),
        path if clean(path) != path => Err(rules::PATH_DIRTY),
        _ => Ok(()),
    }
}

/// Checks that all three kinds share.
pub(super) fn node(visit: &mut Visit<'_>) {
    let path = check_path(visit.record.text("path").unwrap_or_default());
    visit.require(&[field("path")], path);
}

fn mode(visit: &mut Visit<'_>) {
    let Some(mode) = visit.record.int("mode") else { return };
    if !(0..=0o7777).contains(&mode) {
        visit.error(&[field("mode")], rules::ILLEGAL_MODE);
    }
    if mode & 0o7000 != 0 && visit.spec <= Spec::V3_5 {
        visit.warning(&[field("mode")], rules::SPECIAL_BITS);
    }
}

pub(super) fn directory(visit: &mut Visit<'_>) {
    node(visit);
    mode(visit);
}

pub(super) fn file(visit: &mut Visit<'_>) {
    node(visit);
    mode(visit);
    let source = visit.record.record("contents").and_then(|contents| contents.get("source"));
    if visit.record.is_true("overwrite") && source.is_none() {
        visit.error(&[field("overwrite")], rules::OVERWRITE_WITHOUT_SOURCE);
    }
}

/// An owner is a number or a name.
pub(super) fn owner(visit: &mut Visit<'_>) {
    if visit.record.int("id").is_some() && visit.record.filled("name").is_some() {
        visit.error(&[], rules::ID_AND_NAME);
    }
}

/// Checks between the nodes of a config, and between its filesystems and disks.
pub(super) fn storage(visit: &mut Visit<'_>) {
    let record = visit.record;
    let links: std::collections::HashSet<&str> =
        record.records("links").filter_map(|link| link.text("path")).collect();
    let kinds = [
        ("directories", rules::DIRECTORY_BELOW_LINK),
        ("files", rules::FILE_BELOW_LINK),
        ("links", rules::LINK_BELOW_LINK),
    ];
    for (kind, rule) in kinds {
        for (index, node) in record.records(kind).enumerate() {
            let path = node.text("path").unwrap_or_default();
            let above = path.match_indices('/').map(|(slash, _)| &path[..slash]);
            for _ in above.filter(|above| links.contains(above)) {
                visit.error(&[field(kind), item(index)], rule);
            }
            if kind == "links" {
                link(visit, index, node);
            }
        }
    }
    super::disk::filesystems_on_disks(visit);
}

fn link(visit: &mut Visit<'_>, index: usize, link: &Record) {
    let at = [field("links"), item(index)];
    let target = match link.filled("target") {
        Some(target) => target,
        None if visit.spec >= Spec::V3_3 => {
            return visit.error(&[at[0], at[1], field("target")], rules::LINK_WITHOUT_TARGET);
        }
        None => "",
    };
    if !link.is_true("hard") {
        return;
    }
    // Ignition joins a relative target to the link's own path, not to the link's directory.
    let target = match clean(target) {
        cleaned if cleaned.starts_with('/') => cleaned,
        _ => clean(&format!("{}/{target}", link.text("path").unwrap_or_default())),
    };
    if visit.record.records("directories").any(|directory| directory.text("path") == Some(&target)) {
        visit.error(&at, rules::HARD_LINK_TO_DIRECTORY);
    }
    for who in ["user", "group"] {
        for what in ["id", "name"] {
            if link.record(who).is_some_and(|owner| owner.get(what).is_some()) {
                visit.warning(&[at[0], at[1], field(who), field(what)], rules::HARD_LINK_OWNER);
            }
        }
    }
}
