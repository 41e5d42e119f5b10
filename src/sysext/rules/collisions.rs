//! Rules about paths that exist more than once: in several extensions of a node, Flatcar's own extensions, and its
//! `/usr`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::super::extension::{Error, Extension, Seen};
use super::super::merge::Merge;
use super::super::order;
use super::{Breach, below, some};
use crate::base::finding::Severity;
use crate::format::image::Kind;

/// Programs of the release that extensions replace by their own version, as Kubernetes does: nothing in the release
/// depends on them.
const REPLACEABLE: [&str; 1] = ["usr/bin/crictl"];

pub(super) fn between(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let mut owners: BTreeMap<&str, Vec<(usize, &Seen)>> = BTreeMap::new();
    for (index, extension) in merge.extensions().iter().enumerate() {
        for (path, seen) in &extension.entries {
            owners.entry(path).or_default().push((index, seen));
        }
    }
    // Paths by lower extension, upper extension, and severity.
    let mut pairs: BTreeMap<(usize, usize, Severity), Vec<String>> = BTreeMap::new();
    for (path, owners) in owners.into_iter().filter(|(_, owners)| owners.len() > 1) {
        for pair in owners.windows(2) {
            let [(low, below), (high, above)] = [pair[0], pair[1]];
            let (lower, upper) = (merge.extensions()[low], merge.extensions()[high]);
            let is_file = matches!(above.kind, Kind::File(_));
            let to_come = is_file && [lower, upper].iter().any(|e| e.unknown.iter().any(|open| open == path));
            let severity = match () {
                _ if same_entry(below, above) && to_come => Severity::Warning,
                _ if !same_entry(below, above) || !same_bytes(path, below, lower, upper)? => Severity::Error,
                _ => continue,
            };
            pairs.entry((low, high, severity)).or_default().push(path.to_owned());
        }
    }
    let breach = |((low, high, severity), paths): ((usize, usize, Severity), Vec<String>)| {
        let (lower, upper) = (merge.extensions()[low], merge.extensions()[high]);
        let all: Vec<String> = paths.iter().map(|path| format!("/{path}")).collect();
        let detail = format!("{} ships {} as well, and `{}` wins", lower.name(), some(&all), upper.name());
        let mut breach = Breach::of(upper).at(&paths[0]).saying(detail);
        breach.severity = severity;
        breach
    };
    Ok(pairs.into_iter().map(breach).collect())
}

/// Whether two entries are of the same kind, and files of the same mode. Lengths are not compared, because files that
/// are not fetched yet have none.
fn same_entry(a: &Seen, b: &Seen) -> bool {
    match (&a.kind, &b.kind) {
        (Kind::Dir, Kind::Dir) => true,
        (Kind::File(_), Kind::File(_)) => a.mode == b.mode,
        (a, b) => a == b,
    }
}

fn same_bytes(path: &str, seen: &Seen, lower: &Extension, upper: &Extension) -> Result<bool, Error> {
    match seen.kind {
        Kind::File(_) if lower.entries[path].kind != upper.entries[path].kind => Ok(false),
        Kind::File(_) => Ok(lower.read(path)? == upper.read(path)?),
        _ => Ok(true),
    }
}

pub(super) fn arch_mix(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let mut first: Option<(&Extension, String)> = None;
    let mut breaches = Vec::new();
    for extension in merge.extensions() {
        let release = extension.release()?;
        let arch =
            release.as_ref().and_then(|release| release.get("ARCHITECTURE")).filter(|arch| *arch != "_any");
        let Some(arch) = arch else { continue };
        match &first {
            None => first = Some((extension, arch.to_owned())),
            Some((_, other)) if other == arch => {}
            Some((other, theirs)) => {
                let detail = format!("it is for {arch}, but {} is for {theirs}", other.name());
                breaches.push(Breach::of(extension).saying(detail));
            }
        }
    }
    Ok(breaches)
}

pub(super) fn stock_name(merge: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let name = extension.name();
    let taken =
        merge.base.stock.contains_key(name) || name.starts_with("oem-") || name.starts_with("flatcar-");
    Ok(taken.then(|| Breach::of(extension).saying(format!("`{name}` is Flatcar's"))).into_iter().collect())
}

pub(super) fn with_stock(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let mut breaches = Vec::new();
    for extension in merge.extensions() {
        for (stock, files) in &merge.base.stock {
            if merge.is_masked(stock) || stock == extension.name() {
                continue;
            }
            let shared: Vec<String> =
                files.iter().filter(|path| extension.entries.contains_key(*path)).cloned().collect();
            let Some(path) = shared.first() else { continue };
            let loses = order::compare(extension.name(), stock) == Ordering::Less;
            let winner = if loses { stock } else { extension.name() };
            let all: Vec<String> = shared.iter().map(|path| format!("/{path}")).collect();
            let fix = format!(
                "mask Flatcar's in node.bu: a link /etc/extensions/{stock}.raw to /dev/null with `overwrite: true`"
            );
            let detail = format!("{stock} ships {} as well, and `{winner}` wins", some(&all));
            let breach = Breach::of(extension).at(path).saying(detail).fix(fix);
            // Covering Flatcar's file may be intended; being covered by it never is.
            let sure = loses && merge.config.is_some();
            breaches.push(if sure { breach } else { breach.doubtful() });
        }
    }
    Ok(breaches)
}

pub(super) fn with_base(merge: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let covers = |path: &&String, seen: &Seen| {
        seen.kind != Kind::Dir
            && merge.base.is_dir(path) == Some(false)
            && !REPLACEABLE.contains(&path.as_str())
    };
    let covered = extension.entries.iter().filter(|(path, seen)| covers(path, seen));
    let all: Vec<String> = covered.map(|(path, _)| format!("/{path}")).collect();
    let breach =
        || Breach::of(extension).at(&all[0][1..]).saying(format!("{} is in the release", some(&all)));
    Ok((!all.is_empty()).then(breach).into_iter().collect())
}

pub(super) fn base_kind(merge: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let entries = extension.entries.iter().filter(|(path, _)| !below(path, "usr/sbin"));
    let wrong = entries.filter_map(|(path, seen)| {
        let (is, was) = match (merge.base.is_dir(path)?, &seen.kind) {
            (true, Kind::Dir) => return None,
            (true, _) => ("no directory", "one"),
            (false, Kind::Dir) => ("a directory", "none"),
            (false, _) => return None,
        };
        Some(Breach::of(extension).at(path).saying(format!("it is {is}, but the release has {was} there")))
    });
    Ok(wrong.collect())
}
