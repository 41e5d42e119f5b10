//! The configs of machines: `/ignition`, `/generic`, `/cloud` and `/metadata`.
//!
//! A tree's Ignition configs are sent as published. Those of a data directory are prepared by
//! [`config`](crate::serve::site::config).

use std::collections::BTreeMap;

use super::request::{Request, World, select, select_group};
use super::{assets, sniff};
use crate::format::gotemplate::{self, Value};
use crate::serve::answer::{Answer, Body, Lack, TEXT};
use crate::serve::machines::report::plain;
use crate::serve::site::Asset;
use crate::serve::site::config::{Asked, Kind, filled, finished, made, variables};
use crate::serve::site::labels::Labels;
use crate::tree::names::{self, Endpoint};

/// The machine's Ignition config.
pub(crate) fn ignition(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    if world.site.live.is_some() {
        let send = |config: &[u8]| Answer::new(200, "application/json", config);
        return configured(world, request, labels, Kind::Ignition, send);
    }
    match select(world, labels) {
        Ok((group, profile)) => {
            let path = names::ignition(&profile.ignition_id);
            assets::answer(world.site, &path, request).matched(group)
        }
        Err(answer) => answer,
    }
}

/// The machine's template, rendered.
pub(crate) fn generic(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    configured(world, request, labels, Kind::Generic, |text| in_memory(text, request))
}

/// The machine's cloud-config or script, rendered.
pub(crate) fn cloud(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    configured(world, request, labels, Kind::Cloud, |text| in_memory(text, request))
}

fn configured(
    world: &World<'_>,
    request: &Request<'_>,
    labels: &Labels,
    kind: Kind,
    send: impl Fn(&[u8]) -> Answer,
) -> Answer {
    let (group, profile) = match select(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    let (folder, id) = (kind.folder(), kind.id(profile));
    let path = format!("{folder}/{id}");
    let asked = Asked { labels, query: request.query };
    let text = match &world.site.live {
        Some(_) if id.is_empty() => Err(format!("profile `{}` names no `{folder}_id`", group.profile)),
        Some(live) => live.read(&path).and_then(|file| made(kind, &path, &file, group, &asked)),
        None => {
            let template = world.site.template(folder, id);
            template.and_then(|template| finished(kind, &path, filled(&template, group, &asked)?))
        }
    };
    let answer = match text {
        Ok(text) => send(&text),
        Err(why) => {
            let mut answer = Answer::missing(&why);
            answer.lack = Some(Lack { why, file: world.site.live.as_ref().map(|_| path) });
            answer
        }
    };
    answer.matched(group)
}

/// A text as Go's `http.ServeContent` sends it: the type comes from its first bytes, and ranges are supported.
fn in_memory(text: &[u8], request: &Request<'_>) -> Answer {
    let kind = sniff::by_contents(text);
    let asset =
        Asset { etag: None, modified: None, kind: kind.into(), size: text.len() as u64, pieces: Vec::new() };
    let mut answer = assets::send(&asset, request);
    if [sniff::HTML, sniff::XML].contains(&kind) {
        // A template may begin with text from a link to this server; no browser must run it.
        answer = answer.header("content-security-policy", "sandbox");
    }
    let part = |range: std::ops::Range<u64>| &text[range.start as usize..range.end as usize];
    answer.body = match answer.body {
        Body::File { range, .. } => Body::Bytes(part(range).to_vec().into()),
        Body::Parts { parts, end, .. } => {
            let parts = parts.into_iter().flat_map(|(head, range)| [head.into_bytes(), part(range).to_vec()]);
            Body::Bytes(parts.chain([end.into_bytes()]).collect::<Vec<_>>().concat().into())
        }
        body => body,
    };
    answer
}

/// Shell assignments: metadata, selectors and the machine's labels, sorted (Matchbox's order is random).
pub(crate) fn metadata(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let group = match select_group(world, labels) {
        Ok(group) => group,
        Err(answer) => return answer,
    };
    // A machine sources these lines in a shell, or reads them as an environment file.
    let is_line = |text: &str| !text.contains(char::is_control);
    if let Some((key, _)) = labels.iter().find(|(key, value)| !is_line(key) || !is_line(value)) {
        let why = format!(
            "`{}` contains a control character, which {} cannot express\n",
            plain(key),
            Endpoint::Metadata.path()
        );
        return Answer::new(400, TEXT, why).matched(group);
    }
    let mut lines = Vec::new();
    let asked = Asked { labels, query: request.query };
    flatten("", &variables(group, &asked), &mut lines);
    lines.sort();
    // Matchbox's content type, including its mistake.
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

/// Go's `strings.ToUpper`, which maps each letter to exactly one letter.
fn upper(text: &str) -> String {
    let one = |c: char| {
        let mut upper = c.to_uppercase();
        if upper.len() == 1 { upper.next().unwrap_or(c) } else { c }
    };
    text.chars().map(one).collect()
}
