//! Butane's checks of the config as written, before anything is translated.

use prebake_text::finding::{Finding, Severity, Source};
use prebake_text::json;

use crate::parse::read_nested;
use crate::report::Report;
use crate::schema::{self, Schema};
use crate::spec::{Spec, SpecError};
use crate::tree::{Origin, Record};
use crate::validate::rules::Rule;
use crate::validate::{Check, Visit, field, walk};

const TOO_MANY_SOURCES: Rule =
    Rule { message: "only one of the following can be set: inline, local, source", hint: "keep one of them" };
const TOO_MANY_CONTENTS: Rule = Rule {
    message: "only one of the following can be set: contents, contents_local",
    hint: "keep one of them",
};
const DECIMAL_MODE: Rule = Rule {
    message: "unreasonable mode would be reasonable if specified in octal; remember to add a leading zero",
    hint: "`0644` is octal, `644` is decimal and means 01204",
};
const MOUNT_UNIT_FORMAT: Rule =
    Rule { message: "format is required if with_mount_unit is true", hint: "give `format`" };
const MOUNT_UNIT_PATH: Rule = Rule {
    message: "path is required if with_mount_unit is true and format is not swap",
    hint: "give `path`, where it is mounted",
};
const TREE_LOCAL: Rule =
    Rule { message: "local is required", hint: "name a directory below the files directory" };
const QUADLET_EXTENSION: Rule = Rule {
    message: "unsupported file extension for quadlet: must be one of .container, .volume, .network, .kube, .image, .build, .pod, or .artifact",
    hint: "",
};
const INSTANCE_CONTENTS: Rule = Rule {
    message: "template instances cannot have contents or contents_local",
    hint: "write them into the template",
};

static CHECKS: [(&Schema, Check); 10] = [
    (&schema::RESOURCE, resource),
    (&schema::AUTHORITY, resource),
    (&schema::CONFIG_REFERENCE, config_reference),
    (&schema::FILESYSTEM, filesystem),
    (&schema::DIRECTORY, directory),
    (&schema::FILE, file),
    (&schema::TREE, tree),
    (&schema::UNIT, contents),
    (&schema::DROPIN, contents),
    (&schema::QUADLET, quadlet),
];

/// Checks a decoded Butane config.
pub(super) fn check(config: &Record, origin: &Origin, spec: Spec, report: &mut Report) {
    walk(&CHECKS, config, origin, spec, report);
}

fn resource(visit: &mut Visit<'_>) {
    let given = ["local", "inline", "source"].into_iter().filter(|name| visit.record.get(name).is_some());
    let given: Vec<&'static str> = given.collect();
    if let [_, .., last] = given.as_slice() {
        visit.error(&[field(last)], TOO_MANY_SOURCES);
    }
}

/// Checks a config inside the config, at the spec that will be emitted.
fn config_reference(visit: &mut Visit<'_>) {
    resource(visit);
    let alone = ["local", "source"].into_iter().all(|name| visit.record.get(name).is_none());
    let Some(inline) = visit.record.text("inline").filter(|_| alone) else { return };
    let inner = Source::new("inline config", inline);
    let spec = visit.spec;
    match read_nested(&inner, spec) {
        Err(json::SyntaxError { message, offset }) => {
            let finding = Finding::error(format!("config is not valid: {message}"));
            let finding = match offset.and_then(|at| visit.inner_place("inline", at)) {
                Some(place) => finding.related(place, "here"),
                None => finding,
            };
            visit.push(in_config(finding, visit.origin), "", &[field("inline")]);
        }
        Ok((_, Err(SpecError::Unknown))) => visit.warning_text(
            &[field("inline")],
            "skipping validation for the merge/replace ignition config due to an unkown version".into(),
            "use the version that this config is translated to",
        ),
        Ok((findings, _)) => {
            for finding in findings {
                let path = finding.path.as_deref().unwrap_or("$");
                let message = format!("in the inline config at {path}: {}", finding.message);
                let base = Finding::error(message);
                let outer = Finding { severity: finding.severity, hint: finding.hint, ..base };
                let at = finding.place.and_then(|place| offset_of(inline, place.line, place.column));
                let outer = match at.and_then(|at| visit.inner_place("inline", at)) {
                    Some(place) => outer.related(place, "here"),
                    None => outer,
                };
                let outer = match visit.origin.document_start() {
                    // Butane points at the document's start; the message has the place inside the text.
                    Some(start) if finding.severity == Severity::Error => {
                        outer.related(start, "in this config")
                    }
                    _ => outer,
                };
                visit.push(outer, "", &[field("inline")]);
            }
        }
    }
}

/// The byte offset of a line and column.
fn offset_of(text: &str, line: usize, column: usize) -> Option<usize> {
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let characters = text[start..].char_indices().map(|(at, _)| at);
    characters.chain([text.len() - start]).nth(column - 1).map(|at| start + at)
}

/// Adds the start of the surrounding config, where Butane points if a config inside is wrong.
fn in_config(finding: Finding, origin: &Origin) -> Finding {
    match origin.document_start() {
        Some(start) => finding.related(start, "in this config"),
        None => finding,
    }
}

fn filesystem(visit: &mut Visit<'_>) {
    if !visit.record.is_true("withMountUnit") {
        return;
    }
    match visit.record.filled("format") {
        None => visit.error(&[field("format")], MOUNT_UNIT_FORMAT),
        Some("swap") => {}
        Some(_) if visit.record.filled("path").is_none() => visit.error(&[field("path")], MOUNT_UNIT_PATH),
        Some(_) => {}
    }
}

fn directory(visit: &mut Visit<'_>) {
    mode(visit, true);
}

fn file(visit: &mut Visit<'_>) {
    mode(visit, false);
}

/// Warns of `644` instead of `0644`: a mode that is unusual in itself, and usual if its digits are read as octal.
fn mode(visit: &mut Visit<'_>, directory: bool) {
    let Some(mode) = visit.record.int("mode").filter(|mode| (0..=7777).contains(mode)) else { return };
    let meant = i64::from_str_radix(&mode.to_string(), 8);
    if meant.is_ok_and(|meant| !is_typical(mode, directory) && is_typical(meant, directory)) {
        visit.warning(&[field("mode")], DECIMAL_MODE);
    }
}

/// Whether people use such a mode: each class of users has at least the rights of the less specific classes, write and
/// execute come with read, and the special bits make sense.
fn is_typical(mode: i64, directory: bool) -> bool {
    const READ: i64 = 4;
    const WRITE: i64 = 2;
    const EXECUTE: i64 = 1;
    if mode == 0 {
        return true;
    }
    let mut had = 0;
    for class in [mode & 7, mode >> 3 & 7, mode >> 6 & 7] {
        let lacks = had & !class != 0;
        let execute_only_here = class & EXECUTE != 0 && had & READ != 0 && had & EXECUTE == 0;
        let unreadable = class & (WRITE | EXECUTE) != 0 && class & READ == 0;
        if lacks || execute_only_here || unreadable {
            return false;
        }
        had |= class;
    }
    let special = mode & 0o7000;
    let sensible = match directory {
        true => had & EXECUTE != 0 && special & 0o4000 == 0 && (special & 0o3000 == 0 || had & WRITE != 0),
        false => {
            let executed_by_few = had & EXECUTE != 0 && mode & WRITE == 0;
            special & 0o1000 == 0 && (special & 0o6000 == 0 || executed_by_few)
        }
    };
    had & READ != 0 && sensible
}

fn tree(visit: &mut Visit<'_>) {
    if visit.record.filled("local").is_none() {
        visit.error(&[], TREE_LOCAL);
    }
}

fn contents(visit: &mut Visit<'_>) {
    if visit.record.get("contents").is_some() && visit.record.get("contentsLocal").is_some() {
        visit.error(&[field("contentsLocal")], TOO_MANY_CONTENTS);
    }
}

fn quadlet(visit: &mut Visit<'_>) {
    const EXTENSIONS: [&str; 8] =
        [".container", ".volume", ".network", ".kube", ".image", ".build", ".pod", ".artifact"];
    let name = visit.record.text("name").unwrap_or_default();
    if !EXTENSIONS.iter().any(|extension| name.ends_with(extension)) {
        return visit.error(&[field("name")], QUADLET_EXTENSION);
    }
    match super::quadlets::template_of(name) {
        None => contents(visit),
        Some(_) => {
            for name in ["contents", "contentsLocal"] {
                if visit.record.get(name).is_some() {
                    visit.error(&[field(name)], INSTANCE_CONTENTS);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modes_that_are_usual_in_octal_are_doubted() {
        let doubted = |mode: i64, directory| {
            let meant = i64::from_str_radix(&mode.to_string(), 8);
            meant.is_ok_and(|meant| !is_typical(mode, directory) && is_typical(meant, directory))
        };
        let files =
            [400, 440, 444, 500, 550, 555, 600, 640, 644, 660, 664, 666, 700, 750, 755, 770, 775, 777];
        let special = [
            2500, 2550, 2555, 2700, 2750, 2755, 2770, 2775, 4500, 4550, 4555, 4700, 4750, 4755, 4770, 4775,
            6500, 6550, 6555, 6700, 6750, 6755, 6770, 6775,
        ];
        let found: Vec<i64> = (0..=7777).filter(|mode| doubted(*mode, false)).collect();
        assert_eq!(found, [files.as_slice(), special.as_slice()].concat());
        let directories = [
            500, 550, 555, 700, 750, 755, 770, 775, 777, 1700, 1750, 1755, 1770, 1775, 1777, 2700, 2750,
            2755, 2770, 2775, 2777, 3700, 3750, 3755, 3770, 3775, 3777,
        ];
        let found: Vec<i64> = (0..=7777).filter(|mode| doubted(*mode, true)).collect();
        assert_eq!(found, directories);
    }
}
