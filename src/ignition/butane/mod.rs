//! Butane, `variant: flatcar`, to Ignition.
//!
//! The stages and their order are Butane's, because a stage that fails hides the messages of the later ones: syntax and
//! version, decoding, unknown keys, checks of what was written, translation with local files, fields that Flatcar
//! refuses, duplicates, and Ignition's own checks on the result.

mod checks;
mod decode;
mod embed;
mod goyaml;
mod local;
mod mounts;
mod quadlets;
mod trees;

use std::path::Path;
use std::sync::Arc;

use local::FilesDir;

use super::report::Report;
use super::schema;
use super::spec::{Semver, Spec};
use super::tree::{At, Node, Origin, Record, Text, Value};
use super::validate;
use crate::report::{Finding, Findings, Place, Source};
use crate::yaml::{self, Kind};

/// Which version of `variant: flatcar` emits which spec.
const VERSIONS: [(&str, Spec); 3] =
    [("1.0.0", Spec::V3_3), ("1.1.0", Spec::V3_4), ("1.2.0-experimental", Spec::V3_7Experimental)];

/// What to translate and how.
pub(super) struct Input<'i> {
    pub source: &'i Arc<Source>,
    pub files_dir: Option<&'i Path>,
    pub experimental: bool,
}

/// Translates a Butane config.
///
/// # Errors
/// Everything that was found up to and with the stage that failed.
pub(super) fn translate(input: Input<'_>) -> Result<(Record, Spec, Vec<Finding>), Findings> {
    let root = yaml::parse(input.source).map_err(yaml_fault)?;
    let spec = version(&root, &input)?;
    let text = Text::new(input.source);
    let origin = Origin::root(&text, At::Position(root.start));

    let mut report = Report::default();
    let config = decode::decode(&schema::CONFIG, &root, &origin, spec, &text, &mut report);
    if report.failed() {
        return Err(Findings(report.finish()));
    }
    checks::check(&config, &origin, spec, &mut report);
    if report.failed() {
        return Err(Findings(report.finish()));
    }
    let files = FilesDir(input.files_dir.filter(|dir| !dir.as_os_str().is_empty()));
    let config = desugar(config, &files, spec, &mut report);
    if !report.failed() {
        refuse_unsupported(&config, spec, &mut report);
    }
    if report.failed() {
        return Err(Findings(report.finish()));
    }
    validate::check_duplicates(&config, spec, &mut report);
    validate::check(&config, &origin, spec, &mut report);
    Findings::settle(report.finish(), config).map(|(config, findings)| (config, spec, findings))
}

/// What to do about a text that is no YAML, by words of the message.
const YAML_HINTS: [(&str, &str); 4] = [
    ("duplicate key", "keep one of the two"),
    ("recursion limit", "no config nests like this; is it the right file?"),
    ("nested deeper", "no config nests like this; is it the right file?"),
    ("control characters", "binary contents go into a file of their own, named with `local`"),
];

/// Butane's words for a text that is no YAML.
fn yaml_fault(finding: Finding) -> Finding {
    let known = YAML_HINTS.iter().find(|(words, _)| finding.message.contains(words));
    let hint = finding.hint.or(known.map(|(_, hint)| (*hint).to_owned()));
    let message = format!("Error unmarshaling yaml: {}", finding.message);
    Finding { message, hint, ..finding }
}

/// Reads `variant` and `version` and finds the spec that they mean.
fn version(root: &yaml::Node, input: &Input<'_>) -> Result<Spec, Finding> {
    if !matches!(root.kind, Kind::Mapping(_)) && !goyaml::is_null(root) {
        let goyaml::Misfit(message) = goyaml::misfit(root, "a config");
        return Err(yaml_fault(Finding::error(message).at(root.place(input.source))));
    }
    let entries = decode::entries(root).unwrap_or_default();
    let read = |name: &str| -> Result<(String, Option<Place>), Finding> {
        let Some((_, node, _)) = entries.iter().find(|(key, ..)| key.scalar() == Some(name)) else {
            return Ok((String::new(), None));
        };
        let place = node.place(input.source);
        match goyaml::bytes(node) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
                Ok((text, Some(place)))
            }
            Err(goyaml::Misfit(message)) => Err(yaml_fault(Finding::error(message).at(place))),
        }
    };
    let fault = |message: String, place: Option<Place>, hint: &str| {
        let finding = Finding::error(message).hint(hint);
        match place {
            Some(place) => finding.at(place),
            None => finding,
        }
    };
    const HEADER: &str = "start with `variant: flatcar` and `version: 1.1.0`";
    let ((variant, variant_place), (version, place)) = (read("variant")?, read("version")?);
    if variant.is_empty() {
        return Err(fault("error parsing variant; must be specified".into(), variant_place, HEADER));
    }
    let Some(semver) = Semver::parse(&version) else {
        return Err(fault("error parsing version; must be a valid semver".into(), place, HEADER));
    };
    let version = semver.to_string();
    let known = VERSIONS.iter().find(|(known, _)| variant == "flatcar" && *known == version);
    match known {
        Some((_, Spec::V3_7Experimental)) if !input.experimental => {
            let message = format!("variant flatcar with version {version} is experimental");
            Err(fault(
                message,
                place,
                "no released Ignition reads what it emits; allow it with `--experimental`",
            ))
        }
        Some((_, spec)) => Ok(*spec),
        None => {
            let message = format!("No translator exists for variant {variant} with version {version}");
            let place = if variant == "flatcar" { place } else { variant_place };
            Err(fault(message, place, "Flatcar has the versions 1.0.0 and 1.1.0 of `variant: flatcar`"))
        }
    }
}

/// Turns what only Butane knows into what Ignition knows.
fn desugar(mut config: Record, files: &FilesDir<'_>, spec: Spec, report: &mut Report) -> Record {
    fold(&mut config, files, report);
    // A finding about the version points at Butane's.
    if let Some(written) = config.get("version").map(|node| node.origin.clone()) {
        config.record_mut("ignition", spec).set("version", Node::text(spec.as_str(), &written));
    }
    let mut config = mounts::add(config, spec);
    trees::add(&mut config, files, spec, report);
    quadlets::add(&mut config, files, spec, report);
    config
}

/// Reads what records name: contents of resources and units, key files of users.
fn fold(record: &mut Record, files: &FilesDir<'_>, report: &mut Report) {
    if record.schema.fields.iter().any(|field| field.name == "inline") {
        fold_resource(record, files, report);
    } else if std::ptr::eq(record.schema, &schema::UNIT) || std::ptr::eq(record.schema, &schema::DROPIN) {
        fold_unit(record, files, report);
    } else if std::ptr::eq(record.schema, &schema::USER) {
        fold_user(record, files, report);
    }
    for index in 0..record.schema.fields.len() {
        match record.at_mut(index).as_mut().map(|node| &mut node.value) {
            Some(Value::Record(part)) => fold(part, files, report),
            Some(Value::List(items)) => {
                for item in items {
                    if let Value::Record(part) = &mut item.value {
                        fold(part, files, report);
                    }
                }
            }
            _ => {}
        }
    }
}

fn fold_resource(resource: &mut Record, files: &FilesDir<'_>, report: &mut Report) {
    if let Some(local) = resource.take("local") {
        match files.read(local.as_text().unwrap_or_default()) {
            Ok(contents) => embed::embed(resource, &contents, &local.origin),
            Err(why) => report.push(local::fault(why, &local.origin)),
        }
    }
    if let Some(inline) = resource.take("inline") {
        match &inline.value {
            Value::Bytes(bytes) => embed::embed(resource, bytes, &inline.origin),
            _ => embed::embed(resource, inline.as_text().unwrap_or_default().as_bytes(), &inline.origin),
        }
    }
}

fn fold_unit(unit: &mut Record, files: &FilesDir<'_>, report: &mut Report) {
    let Some(local) = unit.take("contentsLocal") else { return };
    let Some(path) = local.as_text().filter(|path| !path.is_empty()) else { return };
    match files.read(path) {
        Ok(contents) => {
            let contents = super::json::lossy(&contents);
            unit.set("contents", Node::text(contents, &local.origin));
        }
        Err(why) => report.push(local::fault(why, &local.origin)),
    }
}

fn fold_user(user: &mut Record, files: &FilesDir<'_>, report: &mut Report) {
    let Some(local) = user.take("sshAuthorizedKeysLocal") else { return };
    for file in local.as_list() {
        match files.read(file.as_text().unwrap_or_default()) {
            Ok(contents) => {
                let text = super::json::lossy(&contents);
                let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
                let keys = lines.filter(|line| !line.is_empty()).map(|line| Node::text(line, &file.origin));
                user.list_mut("sshAuthorizedKeys").extend(keys);
            }
            Err(why) => report.push(local::fault(why, &file.origin)),
        }
    }
}

/// Flatcar's Butane refuses clevis in the stable versions and cex in the experimental one.
fn refuse_unsupported(config: &Record, spec: Spec, report: &mut Report) {
    let (name, message) = match spec {
        Spec::V3_7Experimental => ("cex", "cex is not currently supported on the target platform"),
        _ => ("clevis", "clevis is not supported in this spec version"),
    };
    for volume in config.record("storage").iter().flat_map(|storage| storage.list("luks")) {
        let part = volume.as_record().and_then(|luks| luks.get(name));
        if let Some(part) = part.filter(|part| !part.is_void()) {
            let finding = Finding::error(message)
                .hint("Ignition itself can do it: write this volume as Ignition JSON in a layer of its own");
            report.push(super::report::located(finding, &part.origin, &[]));
        }
    }
}
