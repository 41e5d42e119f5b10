//! Renders a profile's configs and templates, and checks as far as possible in advance whether that will work.
//!
//! The configs of a data directory are Butane templates or ready JSON. The result is the same as Matchbox's: Ignition
//! 3.4.0, in Go's formatting. Configs that Matchbox would replace by an empty one are sent unchanged (specs beyond 3.4)
//! or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::datadir::Config as File;
use super::labels::Labels;
use crate::base::finding::Findings;
use crate::base::yaml;
use crate::format::gotemplate::{Template, Value};
use crate::ignition::{self, Config, Transpile};
use crate::tree::names::{CLOUD, CONFIG_END, Endpoint, GENERIC, IGNITION};
use crate::tree::records::{CEILING, Group, Profile};

/// The kinds of configs in a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// `ignition_id`, a file below `ignition/`, served at `/ignition`.
    Ignition,
    /// `generic_id`, a file below `generic/`, served at `/generic`.
    Generic,
    /// `cloud_id`, a file below `cloud/`, served at `/cloud`.
    Cloud,
}

/// The query of a machine's request.
pub(crate) struct Asked<'a> {
    /// The labels in it.
    pub labels: &'a Labels,
    /// The query as it was sent.
    pub query: &'a str,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Kind; 3] = [Kind::Ignition, Kind::Generic, Kind::Cloud];

    /// Where it is answered.
    pub(crate) fn endpoint(self) -> Endpoint {
        match self {
            Kind::Ignition => Endpoint::Ignition,
            Kind::Generic => Endpoint::Generic,
            Kind::Cloud => Endpoint::Cloud,
        }
    }

    /// The folder of its files.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Kind::Ignition => IGNITION,
            Kind::Generic => GENERIC,
            Kind::Cloud => CLOUD,
        }
    }

    /// The file that a profile names; empty if it names none.
    pub(crate) fn id(self, profile: &Profile) -> &str {
        match self {
            Kind::Ignition => &profile.ignition_id,
            Kind::Generic => &profile.generic_id,
            Kind::Cloud => &profile.cloud_id,
        }
    }

    /// Whether a file is sent without rendering. Matchbox decides that by the extension of the id, and only for this
    /// kind.
    pub(crate) fn is_ready(self, path: &str) -> bool {
        self == Kind::Ignition && (path.ends_with(CONFIG_END) || path.ends_with(".ignition"))
    }
}

/// The content for a machine of a group.
///
/// # Errors
/// Why there is none, in words for the administrator.
pub(crate) fn made(
    kind: Kind,
    path: &str,
    file: &File,
    group: &Group,
    asked: &Asked<'_>,
) -> Result<Arc<[u8]>, String> {
    if kind.is_ready(path) {
        return file.ignition.get_or_init(|| from_json(path, &file.bytes)).clone();
    }
    finished(kind, path, filled(&file.bytes, group, asked)?)
}

/// A template, rendered for a machine of a group.
///
/// # Errors
/// Why it cannot be rendered.
pub(crate) fn filled(template: &[u8], group: &Group, asked: &Asked<'_>) -> Result<Vec<u8>, String> {
    let template = Template::parse(template).map_err(|error| error.to_string())?;
    template.render(&Value::Map(variables(group, asked))).map_err(|error| error.to_string())
}

/// The content to send, from a rendered text.
///
/// # Errors
/// Why the text is invalid.
pub(crate) fn finished(kind: Kind, path: &str, text: Vec<u8>) -> Result<Arc<[u8]>, String> {
    match kind {
        Kind::Ignition => from_butane(path, &text),
        Kind::Generic => Ok(text.into()),
        Kind::Cloud => check_user_data(&text).map(|()| text.into()),
    }
}

fn from_json(path: &str, bytes: &Arc<[u8]>) -> Result<Arc<[u8]>, String> {
    let config = || {
        let source = ignition::read_from(path, &**bytes).map_err(Findings::from)?;
        Ok(Config::parse(&source)?.config)
    };
    let config = config().map_err(|findings| first(findings) + mistaken_for_json(bytes))?;
    Ok(as_matchbox_writes(config).unwrap_or_else(|| bytes.clone()))
}

/// The end of an error about a ready config that is none, if it is rather Butane; else empty.
pub(crate) fn mistaken_for_json(bytes: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(bytes);
    match text.lines().any(|line| line.starts_with("variant:")) {
        true => "; it looks like Butane, but files that end in .ign must be Ignition",
        false => "",
    }
}

fn from_butane(path: &str, butane: &[u8]) -> Result<Arc<[u8]>, String> {
    let source = ignition::read_from(path, butane).map_err(Findings::from).map_err(first)?;
    let config = ignition::transpile(&source, &Transpile { foreign: true, ..Transpile::default() });
    let config = config.map_err(|findings| first(findings) + mistaken_for_butane(butane))?;
    let verbatim = config.config.to_json();
    Ok(as_matchbox_writes(config.config).unwrap_or_else(|| verbatim.into_bytes().into()))
}

/// The end of an error about Butane that is none, if it is rather Ignition; else empty.
pub(crate) fn mistaken_for_butane(bytes: &[u8]) -> &'static str {
    let json: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    match json
        .is_some_and(|json| json.get("ignition").is_some_and(|ignition| ignition.get("version").is_some()))
    {
        true => "; it looks like Ignition, but Ignition files must end in .ign or .ignition",
        false => "",
    }
}

fn as_matchbox_writes(config: Config) -> Option<Arc<[u8]>> {
    let known = config.spec() <= CEILING;
    known.then(|| config.raised(CEILING).to_json_of_structs().into_bytes().into())
}

/// The most severe finding and its line, which is as much as a log line can hold.
fn first(findings: Findings) -> String {
    let error = findings.0.iter().max_by_key(|finding| finding.severity);
    error.map_or_else(String::new, |finding| match &finding.place {
        Some(place) => format!("line {}: {}", place.line, finding.message),
        None => finding.message.clone(),
    })
}

/// The variables of templates and `/metadata`: the metadata, overridden by the selectors in lower case, and both by the
/// request.
pub(crate) fn variables(group: &Group, asked: &Asked<'_>) -> BTreeMap<String, Value> {
    let metadata = group.metadata.iter().map(|(key, value)| (key.clone(), Value::from(value.clone())));
    let mut variables: BTreeMap<String, Value> = metadata.collect();
    let selectors = group.selector.iter();
    variables.extend(selectors.map(|(key, value)| (lower(key), value.as_str().into())));
    let query = asked.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let asked = BTreeMap::from([
        ("query".to_owned(), Value::Strings(query)),
        ("raw_query".to_owned(), asked.query.into()),
    ]);
    variables.insert(REQUEST.into(), Value::Map(asked));
    variables
}

/// The variable with the machine's query.
const REQUEST: &str = "request";

/// Go's `strings.ToLower`, which maps each letter to exactly one letter.
fn lower(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

/// Whether a text is a cloud-config or a script, by coreos-cloudinit's rule.
fn check_user_data(text: &[u8]) -> Result<(), String> {
    let first_line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first_line.starts_with(b"#!") {
        return Ok(());
    }
    if String::from_utf8_lossy(first_line).trim_end() != "#cloud-config" {
        return Err("the first line is neither `#cloud-config` nor `#!`".into());
    }
    let source = ignition::read_from("cloud-config", text).map_err(|finding| finding.message)?;
    yaml::parse(&source).map(|_| ()).map_err(|finding| finding.message)
}

/// Two machines with all labels of loaders, each with values of its own. A result that is the same for both does not
/// depend on the labels.
const SAMPLES: [[(&str, &str); 6]; 2] = [
    [
        ("uuid", "00000000-0000-4000-8000-000000000001"),
        ("mac", "52:54:00:00:00:01"),
        ("domain", "example.com"),
        ("hostname", "first"),
        ("serial", "A1"),
        ("arch", "x86_64"),
    ],
    [
        ("uuid", "00000000-0000-4000-8000-000000000002"),
        ("mac", "52:54:00:00:00:02"),
        ("domain", "example.org"),
        ("hostname", "second"),
        ("serial", "B2"),
        ("arch", "arm64"),
    ],
];

/// A config that is checked before a machine asks for it.
pub(crate) struct Forecast<'f> {
    kind: Kind,
    path: &'f str,
    file: &'f File,
    template: Option<Template>,
    /// Whether the result depends on the machine's labels.
    is_decided_by_machines: bool,
}

impl<'f> Forecast<'f> {
    /// Checks everything that is the same for all machines.
    ///
    /// # Errors
    /// Why no machine can get it.
    pub(crate) fn of(kind: Kind, path: &'f str, file: &'f File) -> Result<Forecast<'f>, String> {
        if file.bytes.iter().all(u8::is_ascii_whitespace) {
            return Err("it is empty".into());
        }
        let template = match kind.is_ready(path) {
            true => {
                file.ignition.get_or_init(|| from_json(path, &file.bytes)).as_ref().map_err(String::clone)?;
                None
            }
            false => Some(Template::parse(&file.bytes).map_err(|error| error.to_string())?),
        };
        let is_decided_by_machines =
            template.as_ref().is_some_and(|template| template.may_be_decided_by(REQUEST));
        Ok(Forecast { kind, path, file, template, is_decided_by_machines })
    }

    /// Whether the result is independent of the group's metadata.
    pub(crate) fn is_plain(&self) -> bool {
        self.template.is_none() || memchr::memmem::find(&self.file.bytes, b"{{").is_none()
    }

    /// Checks the config for a group, unless the result depends on the machine's labels.
    ///
    /// # Errors
    /// Why no machine of the group can get it.
    pub(crate) fn check(&self, group: &Group) -> Result<(), String> {
        let Some(template) = self.template.as_ref().filter(|_| !self.is_decided_by_machines) else {
            return Ok(());
        };
        let outcome = |sample: &[(&str, &str); 6]| {
            // The machines of a group have the labels of its selector.
            let said = sample.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            let labels = Labels::of(said.chain(group.selector.clone()));
            let query: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let asked = Asked { labels: &labels, query: &query.join("&") };
            match template.render(&Value::Map(variables(group, &asked))) {
                // The template uses a label that no loader sends, or a part of one.
                Err(error) if error.message().contains(REQUEST) => Ok(()),
                Err(error) => Err(error.to_string()),
                Ok(text) => finished(self.kind, self.path, text).map(|_| ()),
            }
        };
        let mut told = None;
        for sample in &SAMPLES {
            match outcome(sample) {
                Ok(()) => return Ok(()),
                Err(why) => told = told.or(Some(why)),
            }
        }
        told.map_or(Ok(()), Err)
    }
}
