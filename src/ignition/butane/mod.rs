//! Translates Butane, `variant: flatcar`, to Ignition; on request other systems' variants too.
//!
//! The stages and their order are Butane's, because a failed stage hides the messages of later ones: syntax and
//! version, decoding, unknown keys, checks of the config as written, translation with local files, fields that Flatcar
//! refuses, duplicates, and Ignition's own checks of the result.

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

use prebake_text::finding::{Finding, Findings, Place, Source};
use prebake_text::json::lossy;
use prebake_text::yaml::{self, Kind, kinds};

use super::report::Report;
use super::spec::{Semver, Spec};
use super::tree::{At, Node, Origin, Record, Text, Value};
use super::{schema, validate};
use local::FilesDir;

/// Versions of variants, each with the spec that it emits.
const VERSIONS: [(&str, &str, Spec); 12] = [
    (FLATCAR, "1.0.0", Spec::V3_3),
    (FLATCAR, "1.1.0", Spec::V3_4),
    (FLATCAR, "1.2.0-experimental", Spec::V3_7Experimental),
    ("fcos", "1.0.0", Spec::V3_0),
    ("fcos", "1.1.0", Spec::V3_1),
    ("fcos", "1.2.0", Spec::V3_2),
    ("fcos", "1.3.0", Spec::V3_2),
    ("fcos", "1.4.0", Spec::V3_3),
    ("fcos", "1.5.0", Spec::V3_4),
    ("r4e", "1.0.0", Spec::V3_3),
    ("r4e", "1.1.0", Spec::V3_4),
    ("fiot", "1.0.0", Spec::V3_4),
];
const FLATCAR: &str = "flatcar";

/// Keys that only `variant: fcos` has, and prebake does not translate. They must not be dropped like unknown keys.
const FCOS_ONLY: [&str; 2] = ["boot_device", "grub"];

/// The text to translate, with its settings.
pub(super) struct Input<'i> {
    pub source: &'i Arc<Source>,
    pub files_dir: Option<&'i Path>,
    pub experimental: bool,
    pub foreign: bool,
    /// Whether warnings will be errors, for the hints.
    pub strict: bool,
    pub sharing: bool,
}

/// A variant in one version.
#[derive(Clone, Copy)]
struct Dialect {
    variant: &'static str,
    spec: Spec,
}

/// Translates a Butane config.
///
/// # Errors
/// All findings up to and including the stage that failed.
pub(super) fn translate(input: Input<'_>) -> Result<(Record, Spec, Vec<Finding>), Findings> {
    let root = yaml::parse(input.source).map_err(yaml_fault)?;
    let dialect = version(&root, &input)?;
    let spec = dialect.spec;
    let text = Text::new(input.source);
    let origin = Origin::root(&text, At::Position(root.start));

    let mut report = Report::default();
    let manner = decode::Manner { spec, strict: input.strict, sharing: input.sharing };
    let config = decode::decode(&schema::CONFIG, &root, &origin, manner, &text, &mut report);
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
        refuse_unsupported(&config, dialect, &mut report);
    }
    if report.failed() {
        return Err(Findings(report.finish()));
    }
    validate::check_duplicates(&config, spec, &mut report);
    validate::check(&config, &origin, spec, &mut report);
    Findings::settle(report.finish(), config).map(|(config, findings)| (config, spec, findings))
}

/// Hints for a text that is not YAML, by words in the message.
const YAML_HINTS: [(&str, &str); 4] = [
    ("duplicate key", "keep one of the two"),
    ("recursion limit", "no config nests like this; is it the right file?"),
    ("nested deeper", "no config nests like this; is it the right file?"),
    ("control characters", "binary contents go into a file of their own, named with `local`"),
];

/// Rewords the finding about a text that is not YAML as Butane does.
fn yaml_fault(finding: Finding) -> Finding {
    let known = YAML_HINTS.iter().find(|(words, _)| finding.message.contains(words));
    let hint = finding.hint.or(known.map(|(_, hint)| (*hint).to_owned()));
    let message = format!("Error unmarshaling yaml: {}", finding.message);
    Finding { message, hint, ..finding }
}

/// Reads `variant` and `version`, and returns the dialect with the spec that they mean.
fn version(root: &yaml::Node, input: &Input<'_>) -> Result<Dialect, Finding> {
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
        let kind = kinds::of(root, &input.source.text);
        let hint = match kind.map(|kind| (kind.name(), kind.advice())) {
            Some((name, advice)) => format!("this is {name}: {advice}"),
            None => HEADER.into(),
        };
        let start = variant_place.or(kind.map(|_| root.place(input.source)));
        return Err(fault("error parsing variant; must be specified".into(), start, &hint));
    }
    let Some(semver) = Semver::parse(&version) else {
        let hint = match version.as_str() {
            "" => "give one, such as `version: 1.1.0`",
            _ => "a version has three numbers, such as `version: 1.1.0`",
        };
        return Err(fault("error parsing version; must be a valid semver".into(), place, hint));
    };
    let version = semver.to_string();
    let is_meant = |known: &&(&str, &str, Spec)| known.0 == variant && known.1 == version;
    let known = VERSIONS.iter().filter(|known| input.foreign || known.0 == FLATCAR).find(is_meant);
    if let Some((_, node, _)) = entries
        .iter()
        .find(|(key, ..)| variant == "fcos" && key.scalar().is_some_and(|key| FCOS_ONLY.contains(&key)))
    {
        let place = Some(node.place(input.source));
        let message = "features that only Fedora CoreOS has are not translated".into();
        return Err(fault(message, place, "translate it with `butane`, and serve the result"));
    }
    match known {
        Some((_, _, Spec::V3_7Experimental)) if !input.experimental => {
            let message = format!("variant flatcar with version {version} is experimental");
            Err(fault(
                message,
                place,
                "no released Ignition reads what it emits; allow it with `--experimental`",
            ))
        }
        Some((variant, _, spec)) => Ok(Dialect { variant, spec: *spec }),
        None => {
            let message = format!("No translator exists for variant {variant} with version {version}");
            let place = if variant == FLATCAR { place } else { variant_place };
            Err(fault(message, place, "Flatcar has the versions 1.0.0 and 1.1.0 of `variant: flatcar`"))
        }
    }
}

/// Translates the parts that only Butane knows into ones that Ignition knows.
fn desugar(mut config: Record, files: &FilesDir<'_>, spec: Spec, report: &mut Report) -> Record {
    fold(&mut config, files, spec, report);
    // A finding about the version points at Butane's version.
    if let Some(written) = config.get("version").map(|node| node.origin.clone()) {
        config.record_mut("ignition", spec).set("version", Node::text(spec.as_str(), &written));
    }
    let mut config = mounts::add(config, spec);
    trees::add(&mut config, files, spec, report);
    quadlets::add(&mut config, files, spec, report);
    config
}

/// Embeds the files that records name: contents of resources and units, key files of users.
fn fold(record: &mut Record, files: &FilesDir<'_>, spec: Spec, report: &mut Report) {
    if record.schema.fields.iter().any(|field| field.name == "inline") {
        fold_resource(record, files, spec, report);
    } else if std::ptr::eq(record.schema, &schema::UNIT) || std::ptr::eq(record.schema, &schema::DROPIN) {
        fold_unit(record, files, report);
    } else if std::ptr::eq(record.schema, &schema::USER) {
        fold_user(record, files, report);
    }
    for index in 0..record.schema.fields.len() {
        match record.at_mut(index).as_mut().map(|node| &mut node.value) {
            Some(Value::Record(part)) => fold(part, files, spec, report),
            Some(Value::List(items)) => {
                for item in items {
                    if let Value::Record(part) = &mut item.value {
                        fold(part, files, spec, report);
                    }
                }
            }
            _ => {}
        }
    }
}

fn fold_resource(resource: &mut Record, files: &FilesDir<'_>, spec: Spec, report: &mut Report) {
    if let Some(local) = resource.take("local") {
        match files.read(local.as_text().unwrap_or_default()) {
            Ok(contents) => embed::embed(resource, &contents, &local.origin),
            Err(why) => report.push(local::fault(why, &local.origin)),
        }
    }
    if let Some(inline) = resource.take("inline") {
        let contents = match &inline.value {
            Value::Bytes(bytes) => bytes,
            _ => inline.as_text().unwrap_or_default().as_bytes(),
        };
        match spec {
            Spec::V3_0 => embed::embed_plain(resource, contents, &inline.origin),
            _ => embed::embed(resource, contents, &inline.origin),
        }
    }
}

fn fold_unit(unit: &mut Record, files: &FilesDir<'_>, report: &mut Report) {
    let Some(local) = unit.take("contentsLocal") else { return };
    let Some(path) = local.as_text().filter(|path| !path.is_empty()) else { return };
    match files.read(path) {
        Ok(contents) => {
            let contents = lossy(&contents);
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
                let text = lossy(&contents);
                let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
                let keys = lines.filter(|line| !line.is_empty()).map(|line| Node::text(line, &file.origin));
                user.list_mut("sshAuthorizedKeys").extend(keys);
            }
            Err(why) => report.push(local::fault(why, &file.origin)),
        }
    }
}

/// Sections of the config that Butane refuses although Ignition supports them, each with Butane's message.
fn unsupported(dialect: Dialect) -> &'static [(&'static [&'static str], &'static str)] {
    match (dialect.variant, dialect.spec) {
        (FLATCAR, Spec::V3_7Experimental) => {
            &[(&["storage", "luks", "cex"], "cex is not currently supported on the target platform")]
        }
        (FLATCAR, _) => &[(&["storage", "luks", "clevis"], "clevis is not supported in this spec version")],
        ("r4e" | "fiot", _) => &[
            (&["kernelArguments"], "kernel argument customization is not supported in this spec version"),
            (&["storage", "disks"], "disk customization is not supported in this spec version"),
            (&["storage", "filesystems"], "filesystem customization is not supported in this spec version"),
            (&["storage", "luks"], "luks is not supported in this spec version"),
            (&["storage", "raid"], "raid is not supported in this spec version"),
        ],
        _ => &[],
    }
}

fn refuse_unsupported(config: &Record, dialect: Dialect, report: &mut Report) {
    for (path, message) in unsupported(dialect) {
        for part in at(config, path).into_iter().filter(|part| !part.is_void()) {
            let finding = Finding::error(*message)
                .hint("Ignition itself can do it: write this as Ignition JSON in a layer of its own");
            report.push(super::report::located(finding, &part.origin, &[]));
        }
    }
}

/// The nodes of a record at a path that leads through records and lists of records.
fn at<'r>(record: &'r Record, path: &[&str]) -> Vec<&'r Node> {
    let [name, rest @ ..] = path else { return Vec::new() };
    let Some(part) = record.get(name) else { return Vec::new() };
    if rest.is_empty() {
        return vec![part];
    }
    let records = part.as_record().into_iter().chain(part.as_list().iter().filter_map(Node::as_record));
    records.flat_map(|record| at(record, rest)).collect()
}
