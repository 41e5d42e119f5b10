//! References of the files that people write and read: JSON Schemas for editors, tables for documents, manual pages.
//!
//! Owns the renderings. Leaves the keys and their words to the tables of the decoders, so that no rendering can know a key that a
//! decoder does not.

pub mod json_schema;
pub mod markdown;
pub(super) mod roff;
#[cfg(test)]
mod tests;

use serde_json::Value as Json;

use super::environment;
use crate::bake::outputs::keys::OUTPUTS;
use crate::bake::recipe::keys::RECIPE;
use crate::base::yaml::keys::{Mapping, Value};
use crate::machine::keys::{INVENTORY, NODE};
use crate::sysext::keys::SYSEXT;
use crate::tree::lock_keys::LOCK;

/// A file that people write or read, in YAML.
#[derive(Debug)]
pub struct Format {
    /// Name for `prebake schema`.
    pub name: &'static str,
    /// The file in one line.
    pub title: &'static str,
    /// Its keys.
    pub mapping: &'static Mapping,
    /// Its document in `docs/formats`.
    pub document: &'static str,
}

/// All of them.
pub const FORMATS: [Format; if cfg!(feature = "cluster") { 5 } else { 4 }] = [
    Format {
        name: "recipe",
        title: "A recipe of prebake",
        mapping: &RECIPE,
        document: include_str!("../../../docs/formats/recipe.md"),
    },
    Format {
        name: "nodes",
        title: "An inventory: machines that a site adds to a tree of prebake",
        mapping: &INVENTORY,
        document: include_str!("../../../docs/formats/nodes.md"),
    },
    Format {
        name: "sysext",
        title: "sysext.yaml: a system extension as data",
        mapping: &SYSEXT,
        document: include_str!("../../../docs/formats/sysext.md"),
    },
    Format {
        name: "lock",
        title: "The lock of a recipe of prebake",
        mapping: &LOCK,
        document: include_str!("../../../docs/formats/lock.md"),
    },
    #[cfg(feature = "cluster")]
    Format {
        name: "cluster",
        title: "cluster.yaml: a Kubernetes cluster as `prebake cluster` forms it",
        mapping: &crate::cluster::description::keys::CLUSTER_FILE,
        document: include_str!("../../../docs/formats/cluster.md"),
    },
];

/// Schemas of what prebake prints, which are written by hand: their names, their contents and the command.
pub const PRINTED: [(&str, &str, &str); 2] = [
    ("plan", include_str!("../../../docs/formats/plan.schema.json"), "Output of `prebake plan --json`"),
    ("events", include_str!("../../../docs/formats/events.schema.json"), "Lines of `prebake build --events`"),
];

impl Format {
    /// Its JSON Schema, as it is published.
    pub fn schema(&self) -> String {
        format!("{:#}\n", Json::Object(json_schema::of(self)))
    }

    /// The example of the whole file: the first block of YAML in its document.
    pub fn example(&self) -> &'static str {
        let (_, rest) = self.document.split_once("```yaml\n").unwrap_or_default();
        rest.split_once("```").unwrap_or_default().0
    }
}

/// A manual page that is of no verb.
pub(super) struct Page {
    /// Name for `prebake man`.
    pub asked: &'static str,
    /// Name of its file.
    pub topic: &'static str,
    /// Its section of the manual.
    pub section: u8,
    /// Its text, in man(7).
    pub text: String,
}

impl Page {
    /// Its file name, such as `prebake-recipe.5`.
    pub fn file(&self) -> String {
        format!("prebake-{}.{}", self.topic, self.section)
    }
}

/// Every such page.
pub(super) fn pages() -> Vec<Page> {
    let [recipe, ..] = &FORMATS;
    let file = "A recipe says what a tree has: the release of Flatcar, the classes of machines, and what machines load. \
                It is a file in YAML, `recipes/NAME.yaml`; paths in it are relative to its directory. Keys that \
                begin with `x-` are ignored at the top level: they hold values for anchors. \
                `prebake schema recipe` prints its JSON Schema.";
    let also = ["`prebake-build`(1)", "`prebake-lock`(1)", "`prebake-schema`(1)", "`prebake-environment`(7)"];
    vec![
        Page { asked: "recipe", topic: "recipe", section: 5, text: roff::format_page(recipe, file, &also) },
        Page { asked: "environment", topic: "environment", section: 7, text: environment::page() },
        #[cfg(feature = "cluster")]
        cluster_page(),
    ]
}

/// The page of `cluster.yaml`. `prebake man cluster` is that of the verb.
#[cfg(feature = "cluster")]
fn cluster_page() -> Page {
    let file = "A cluster's description says which machines there are, what each is for, and how the cluster that they form is to be. \
                It is a file in YAML, `cluster.yaml`; paths in it are relative to its directory. Keys that begin with `x-` are \
                ignored at the top level: they hold values for anchors. The file may be encrypted with SOPS for age. \
                `prebake schema cluster` prints its JSON Schema, and `prebake cluster validate` checks it.";
    let also =
        ["`prebake-cluster`(1)", "`prebake-recipe`(5)", "`prebake-schema`(1)", "`prebake-environment`(7)"];
    let cluster = FORMATS.iter().find(|format| format.name == "cluster");
    let text = cluster.map(|cluster| roff::format_page(cluster, file, &also)).unwrap_or_default();
    Page { asked: "cluster.yaml", topic: "cluster", section: 5, text }
}

/// The table that a key's value refers to by name.
fn elsewhere(name: &str) -> Option<&'static Mapping> {
    (name == "outputs").then_some(&OUTPUTS)
}

/// The table below a value.
fn below(value: &Value) -> Option<&'static Mapping> {
    match value {
        Value::Elsewhere(name) => elsewhere(name),
        value => value.mapping(),
    }
}

/// A table of a file, and the path to it: `""` for the top level, `release`, `profiles.PROFILE.install`.
pub(super) struct Section {
    pub path: String,
    pub mapping: &'static Mapping,
}

/// All tables of a file in the order of its keys, each once. The keys of nodes are told in their own document alone.
pub(super) fn sections(top: &'static Mapping) -> Vec<Section> {
    let mut found = vec![Section { path: String::new(), mapping: top }];
    collect(top, "", &mut found);
    let is_inventory = std::ptr::eq(top, &INVENTORY);
    found.retain(|section| is_inventory || !std::ptr::eq(section.mapping, &NODE));
    found.retain(|section| !section.mapping.keys.is_empty());
    found
}

fn collect(mapping: &'static Mapping, path: &str, found: &mut Vec<Section>) {
    for key in mapping.keys {
        let Some(inner) = below(&key.value) else { continue };
        if found.iter().any(|section| std::ptr::eq(section.mapping, inner)) {
            continue;
        }
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{}{}", key.name, steps(&key.value));
        found.push(Section { path: path.clone(), mapping: inner });
        collect(inner, &path, found);
    }
}

/// The end of a path behind a key, which leads to the table below it: `[]` for an item of a list, `.NAME` for a chosen name.
fn steps(value: &Value) -> String {
    match value {
        Value::List(value) => format!("[]{}", steps(value)),
        Value::Names(form, value) => format!(".{}{}", form.name, steps(value)),
        _ => String::new(),
    }
}

/// The values in words, such as ``list of `amd64` or `arm64` ``; names in backticks.
pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Text => "text".into(),
        Value::Form(form) => form.name.into(),
        Value::Words(words) => {
            let words = words.iter().filter(|(_, meaning)| !meaning.is_empty());
            either(words.map(|(word, _)| format!("`{word}`")).collect())
        }
        Value::Flag => "`true` or `false`".into(),
        Value::Number(least, most) if least == most => format!("`{least}`"),
        Value::Number(least, most) if *most >= u32::MAX.into() => match least {
            0 => "number".into(),
            least => format!("number from {least}"),
        },
        Value::Number(least, most) => format!("number from {least} to {most}"),
        Value::List(value) => format!("list: {}", kind(value)),
        Value::Names(form, value) => format!("`{}`: {}", form.name, kind(value)),
        Value::Keys(_) | Value::Options(_) | Value::Elsewhere(_) => "keys".into(),
        Value::Either(values) => either(values.iter().map(kind).collect()),
        Value::Null => "null".into(),
    }
}

fn either(mut parts: Vec<String>) -> String {
    let last = parts.pop().unwrap_or_default();
    if parts.is_empty() { last } else { format!("{} or {last}", parts.join(", ")) }
}

/// The meanings of the words that a value may be.
pub(super) fn meanings(value: &Value) -> Vec<(&'static str, &'static str)> {
    match value {
        Value::Words(words) => words.iter().filter(|(_, meaning)| !meaning.is_empty()).copied().collect(),
        Value::List(value) | Value::Names(_, value) => meanings(value),
        Value::Either(values) => values.iter().flat_map(meanings).collect(),
        _ => Vec::new(),
    }
}

/// Demands of a table on its keys, in words.
pub(super) fn demands(mapping: &Mapping) -> Vec<String> {
    use crate::base::yaml::keys::Rule;
    let names = |keys: &[&str]| keys.iter().map(|key| format!("`{key}`")).collect();
    let rule = |rule: &Rule| match rule {
        Rule::Any(keys) => format!("At least one of {} is needed.", either(names(keys))),
        Rule::One(keys) => format!("Exactly one of {} is needed.", either(names(keys))),
        Rule::Needs(key, others) => format!("`{key}` needs {}.", names(others).join(" and ")),
    };
    mapping.rules.iter().map(rule).collect()
}

/// Markdown without its links: their words stay, and parentheses that hold only a link go.
pub(super) fn without_links(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let link = after.split_once("](").and_then(|(words, after)| Some((words, after.split_once(')')?.1)));
        match link {
            Some((_, after)) if before.ends_with(" (") && after.starts_with(')') => {
                plain += &before[..before.len() - 2];
                rest = &after[1..];
            }
            Some((words, after)) => {
                plain += before;
                plain += words;
                rest = after;
            }
            None => {
                plain += before;
                plain.push('[');
                rest = after;
            }
        }
    }
    plain + rest
}
