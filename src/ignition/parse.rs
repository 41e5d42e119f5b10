//! Parses a text into a checked Ignition config, with the words and positions of `ignition-validate`.

use std::sync::Arc;

use prebake_text::conflict;
use prebake_text::finding::{Finding, Source};
use prebake_text::json::{self, Raw, RawValue, SyntaxError, same_key};
use prebake_text::yaml::{self, kinds};

use super::decode::decode;
use super::report::Report;
use super::spec::{Spec, SpecError};
use super::tree::{At, Origin, Record, Text};
use super::{schema, validate};

/// A parsed config with all findings about it.
pub(super) struct Read {
    pub root: Record,
    pub origin: Origin,
    pub spec: Spec,
    pub report: Report,
}

/// Parses and checks a config at the spec that it names.
///
/// # Errors
/// The text is not JSON, or has no known version.
pub(super) fn read(source: &Arc<Source>) -> Result<Read, Finding> {
    let text = Text::new(source);
    if source.text.is_empty() {
        return Err(Finding::error("not a config (empty)"));
    }
    let raw = json::parse(&source.text)
        .map_err(|error| conflict::or(source, another_kind(source, syntax_fault(error, &text))))?;
    let (version, at) = version(&raw, &text)?;
    let spec = Spec::parse(&version).map_err(|error| {
        let finding =
            Finding::error(error.to_string()).path("$.ignition.version").hint(version_hint(&version));
        match at {
            Some(at) => finding.at(at.place(&text)),
            None => finding,
        }
    })?;
    Ok(check(&raw, &text, spec))
}

/// Checks a config inside a config, which must have the outer one's spec.
pub(super) fn read_nested(
    source: &Arc<Source>,
    spec: Spec,
) -> Result<(Vec<Finding>, Result<Spec, SpecError>), SyntaxError> {
    let raw = json::parse(&source.text)?;
    let text = Text::new(source);
    let version = version(&raw, &text).map(|(version, _)| version);
    let version = version.map_err(|finding| SyntaxError { message: finding.message, offset: None })?;
    let named = match Spec::parse(&version) {
        Ok(named) if named != spec => Err(SpecError::Unknown),
        named => named,
    };
    let mut read = check(&raw, &text, spec);
    if named == Err(SpecError::Invalid) {
        read.report.push(Finding::error(SpecError::Invalid.to_string()).path("$.ignition.version"));
    }
    Ok((read.report.finish(), named))
}

fn check(raw: &Raw, text: &Arc<Text>, spec: Spec) -> Read {
    let mut report = Report::default();
    let origin = Origin::root(text, At::Byte(raw.at()));
    let root = decode(&schema::CONFIG, raw, spec, &origin, &mut report);
    if !report.failed() {
        validate::check(&root, &origin, spec, &mut report);
        validate::check_duplicates(&root, spec, &mut report);
    }
    Read { root, origin, spec, report }
}

/// The fault, with a hint that says which kind of file it is, if its keys tell.
fn another_kind(source: &Arc<Source>, fault: Finding) -> Finding {
    let kind = yaml::parse(source).ok().and_then(|root| kinds::of(&root, &source.text));
    match kind.filter(|kind| !matches!(kind, kinds::Kind::Ignition | kinds::Kind::Butane)) {
        Some(kind) => fault.hint(format!("this is {}: {}", kind.name(), kind.advice())),
        None => fault,
    }
}

fn syntax_fault(error: SyntaxError, text: &Text) -> Finding {
    let hint = match error.message.starts_with("nested deeper") {
        true => "no config nests like this; is it the right file?",
        false => "this was read as Ignition JSON; the names of Butane layers end in .bu, .yaml or .yml",
    };
    let finding = Finding::error(error.message).hint(hint);
    finding.at(At::Byte(error.offset.unwrap_or(usize::MAX)).place(text))
}

/// The text of `ignition.version`; the last one if there are several.
fn version(raw: &Raw, text: &Text) -> Result<(String, Option<At>), Finding> {
    let misfit = |raw: &Raw, path: &str, wanted: &str| {
        let message = format!("json: cannot unmarshal {} into a field of type {wanted}", raw.kind());
        Finding::error(message).path(path).at(At::Byte(raw.at()).place(text))
    };
    let members = |raw: &Raw, path: &str| match &raw.value {
        RawValue::Object(_) | RawValue::Null => Ok(()),
        _ => Err(misfit(raw, path, "object")),
    };
    members(raw, "$")?;
    let mut version = (String::new(), None);
    for ignition in find(raw, "ignition") {
        members(ignition, "$.ignition")?;
        for value in find(ignition, "version") {
            match &value.value {
                RawValue::Text(text) => version = (text.clone(), Some(At::Byte(value.at()))),
                RawValue::Null => {}
                _ => return Err(misfit(value, "$.ignition.version", "string")),
            }
        }
    }
    Ok(version)
}

fn find<'r>(raw: &'r Raw, name: &'static str) -> impl Iterator<Item = &'r Raw> {
    let members = match &raw.value {
        RawValue::Object(members) => members.as_slice(),
        _ => &[],
    };
    members.iter().filter(move |member| same_key(&member.key, name)).map(|member| &member.value)
}

fn version_hint(version: &str) -> String {
    match version {
        "" => "an Ignition config starts with `{\"ignition\": {\"version\": \"3.4.0\"}}`".into(),
        version if version.starts_with("1.") || version.starts_with("2.") => {
            "Flatcar translates specs 1 and 2 at boot, prebake does not: write the config anew at 3.4.0"
                .into()
        }
        _ => format!(
            "known versions: {} and {}",
            Spec::V3_0,
            Spec::ALL[1..].iter().map(|spec| spec.as_str()).collect::<Vec<_>>().join(", ")
        ),
    }
}
