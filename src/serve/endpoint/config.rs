//! What a machine is configured with: `/ignition`, `/generic`, `/cloud` and `/metadata`.
//!
//! A tree's Ignition configs are sent as they were published. Those of a data directory are templates of Butane or
//! ready JSON, and become what Matchbox would make of them: Ignition 3.4.0, written anew as Go writes it. What Matchbox
//! would replace by an empty config is sent as it is (specs beyond 3.4) or not at all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::assets;
use super::routes::{Request, World, select, select_group};
use super::sniff;
use crate::format::gotemplate::{self, Template, Value};
use crate::ignition::{self, Config, Spec, Transpile};
use crate::report::Findings;
use crate::serve::http::answer::{Answer, Body};
use crate::serve::site::Asset;
use crate::serve::site::datadir::{Config as File, Live};
use crate::serve::site::labels::Labels;
use crate::serve::site::select::Group;
use crate::yaml;

/// The newest spec that Matchbox reads, and the only one that it writes.
const MATCHBOX_SPEC: Spec = Spec::V3_4;

/// The machine's Ignition config.
pub fn ignition(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, profile) = match select(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    let path = format!("ignition/{}", profile.ignition_id);
    let Some(live) = &world.site.live else {
        return assets::answer(world.site, &path, request).matched(group);
    };
    let config = live.read(&path).and_then(|file| match is_json(&profile.ignition_id) {
        true => file.ignition.get_or_init(|| from_json(&path, &file.bytes)).clone(),
        false => from_butane(&path, &file, group, request, labels),
    });
    answered(config, live, path, |config| Answer::new(200, "application/json", config.to_vec()))
        .matched(group)
}

/// Matchbox decides by the end of the id, in this case only.
fn is_json(id: &str) -> bool {
    id.ends_with(".ign") || id.ends_with(".ignition")
}

fn from_json(path: &str, bytes: &Arc<[u8]>) -> Result<Arc<[u8]>, String> {
    let source = ignition::read_from(path, &**bytes).map_err(Findings::from).map_err(first)?;
    let config = Config::parse(&source).map_err(first)?.config;
    Ok(as_matchbox_writes(config).unwrap_or_else(|| bytes.clone()))
}

fn from_butane(
    path: &str,
    file: &File,
    group: &Group,
    request: &Request<'_>,
    labels: &Labels,
) -> Result<Arc<[u8]>, String> {
    let butane = render(&file.bytes, group, request, labels)?;
    let source = ignition::read_from(path, &*butane).map_err(Findings::from).map_err(first)?;
    let config = ignition::transpile(&source, &Transpile { foreign: true, ..Transpile::default() })
        .map_err(first)?
        .config;
    let verbatim = config.to_json();
    Ok(as_matchbox_writes(config).unwrap_or_else(|| verbatim.into_bytes().into()))
}

fn as_matchbox_writes(config: Config) -> Option<Arc<[u8]>> {
    let known = config.spec() <= MATCHBOX_SPEC;
    known.then(|| config.raised(MATCHBOX_SPEC).to_json_of_structs().into_bytes().into())
}

/// The first fault and its line: what a log has room for.
fn first(findings: Findings) -> String {
    let error = findings.0.iter().max_by_key(|finding| finding.severity);
    error.map_or_else(String::new, |finding| match &finding.place {
        Some(place) => format!("line {}: {}", place.line, finding.message),
        None => finding.message.clone(),
    })
}

/// The machine's template, filled in.
pub fn generic(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    templated(world, request, labels, "generic", |_| Ok(()))
}

/// The machine's cloud-config or script, filled in.
pub fn cloud(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    templated(world, request, labels, "cloud", check_user_data)
}

fn templated(
    world: &World<'_>,
    request: &Request<'_>,
    labels: &Labels,
    folder: &str,
    check: fn(&[u8]) -> Result<(), String>,
) -> Answer {
    let (group, profile) = match select(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    let id = if folder == "generic" { &profile.generic_id } else { &profile.cloud_id };
    let text = world.site.config(folder, id).and_then(|bytes| {
        let text = render(&bytes, group, request, labels)?;
        check(&text).map(|()| text)
    });
    let path = format!("{folder}/{id}");
    let send = |text: Vec<u8>| in_memory(&text, request);
    match &world.site.live {
        Some(live) => answered(text, live, path, send),
        None => text.map_or_else(|why| Answer::missing(&why), send),
    }
    .matched(group)
}

/// An answer of what was made, or that it is missing and, in the log, why.
fn answered<T>(made: Result<T, String>, live: &Live, path: String, send: impl Fn(T) -> Answer) -> Answer {
    match made {
        Ok(made) => send(made),
        Err(why) => {
            let answer = Answer::missing(&why);
            live.tell(path, why);
            answer
        }
    }
}

/// A text as Go's `http.ServeContent` sends it: its type by its first bytes, and ranges of it.
fn in_memory(text: &[u8], request: &Request<'_>) -> Answer {
    let kind = Cow::Borrowed(sniff::by_contents(text));
    let asset = Asset { etag: None, modified: None, kind, size: text.len() as u64, pieces: Vec::new() };
    let mut answer = assets::send(&asset, request);
    let part = |range: std::ops::Range<u64>| &text[range.start as usize..range.end as usize];
    answer.body = match answer.body {
        Body::File { range, .. } => Body::Bytes(part(range).to_vec()),
        Body::Parts { parts, end, .. } => {
            let parts = parts.into_iter().flat_map(|(head, range)| [head.into_bytes(), part(range).to_vec()]);
            Body::Bytes(parts.chain([end.into_bytes()]).collect::<Vec<_>>().concat())
        }
        body => body,
    };
    answer
}

fn render(template: &[u8], group: &Group, request: &Request<'_>, labels: &Labels) -> Result<Vec<u8>, String> {
    let template = Template::parse(template).map_err(|error| error.to_string())?;
    template.render(&Value::Map(variables(group, request, labels))).map_err(|error| error.to_string())
}

/// What templates and `/metadata` know: metadata, over it the selectors in lower case, over both the request.
fn variables(group: &Group, request: &Request<'_>, labels: &Labels) -> BTreeMap<String, Value> {
    let metadata = group.metadata.iter().map(|(key, value)| (key.clone(), Value::from(value.clone())));
    let mut variables: BTreeMap<String, Value> = metadata.collect();
    let selectors = group.selector.iter();
    variables.extend(selectors.map(|(key, value)| (lower(key), value.as_str().into())));
    let query = labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let asked = BTreeMap::from([
        ("query".to_owned(), Value::Strings(query)),
        ("raw_query".to_owned(), request.query.into()),
    ]);
    variables.insert("request".into(), Value::Map(asked));
    variables
}

/// Whether a text is a cloud-config or a script, as coreos-cloudinit tells.
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

/// Shell assignments: metadata, selectors and what the machine said, sorted (Matchbox's order is random).
pub fn metadata(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let group = match select_group(world, labels) {
        Ok(group) => group,
        Err(answer) => return answer,
    };
    let mut lines = Vec::new();
    flatten("", &variables(group, request, labels), &mut lines);
    lines.sort();
    // The content type is Matchbox's, slip included.
    Answer::new(200, "plain/text", lines.concat()).matched(group)
}

fn flatten(prefix: &str, values: &BTreeMap<String, Value>, lines: &mut Vec<String>) {
    for (key, value) in values {
        let key = format!("{prefix}{key}");
        let mut line = |key: &str, value: &str| lines.push(format!("{}={value}\n", upper(key)));
        match value {
            Value::Map(inner) => flatten(&format!("{key}_"), inner, lines),
            Value::Strings(inner) => {
                inner.iter().for_each(|(inner, value)| line(&format!("{key}_{inner}"), value))
            }
            Value::String(text) => line(&key, &String::from_utf8_lossy(text)),
            Value::Bool(flag) => line(&key, &flag.to_string()),
            Value::Number(number) => line(&key, &gotemplate::number(*number)),
            Value::Null | Value::List(_) => {}
        }
    }
}

/// Go's `strings.ToUpper`, which knows no letter that becomes two.
fn upper(text: &str) -> String {
    let one = |c: char| {
        let mut upper = c.to_uppercase();
        if upper.len() == 1 { upper.next().unwrap_or(c) } else { c }
    };
    text.chars().map(one).collect()
}

/// Go's `strings.ToLower`, likewise.
fn lower(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}
