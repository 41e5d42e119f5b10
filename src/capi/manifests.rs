//! Manifests of Cluster API, and templates of clusterctl, in which `${NAME}` stands where a value will be.
//!
//! A template is no YAML: in `[${KEYS}]` a brace begins a mapping. So each variable is read under a mask, one private character of Unicode
//! (U+E020…) for each of its own: places stay the same, and the mask is taken off afterwards. Owns masks and the parts of an object that
//! everybody asks for. Leaves meaning to `convert` and `doctor`.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::path;
use crate::addon::manifest::{self, Document};
use crate::addon::scalar;
use crate::base::finding::{Finding, Findings, Place, Source};
use crate::base::yaml::{Kind, Node, Style, merge};

/// The masked form of a character of ASCII is this many above it.
const MASK: u32 = 0xe000;
/// Stands before a masked text that was in quotes: it is a text whatever its variables hold.
const QUOTE: char = '\u{e000}';

/// One object of a manifest or a template.
#[derive(Clone, Debug)]
pub struct Object {
    /// Group of its API, such as `cluster.x-k8s.io`; empty for the core.
    pub group: String,
    /// Version of its API, such as `v1beta2`.
    pub version: String,
    /// Such as `Cluster`.
    pub kind: String,
    /// `metadata.name`; in a template with its variables.
    pub name: String,
    /// `metadata.namespace`, if there is one.
    pub namespace: Option<String>,
    /// Its content, variables unmasked.
    pub value: Value,
    /// The same with places, masked.
    pub(super) node: Node,
    source: Arc<Source>,
}

/// A text with its objects.
pub struct Manifest {
    /// The text that places point into.
    pub source: Arc<Source>,
    /// Its objects; those of lists singly.
    pub objects: Vec<Object>,
}

impl Manifest {
    /// Reads a text.
    ///
    /// # Errors
    /// All findings.
    pub fn read(source: &Arc<Source>) -> Result<Manifest, Findings> {
        let masked = Source::new(source.name.clone(), mask(&source.text));
        let documents = manifest::read(&masked).map_err(|Findings(findings)| {
            Findings(findings.into_iter().map(|finding| unmasked(finding, source)).collect())
        })?;
        let objects = documents.into_iter().map(|document| Object::of(document, source)).collect();
        Ok(Manifest { source: source.clone(), objects })
    }
}

/// A finding about a masked text, as one about the text itself.
fn unmasked(mut finding: Finding, source: &Arc<Source>) -> Finding {
    finding.message = unmask(&finding.message);
    let places = finding.place.iter_mut().chain(finding.related.iter_mut().map(|(place, _)| place));
    for place in places {
        place.source = source.clone();
    }
    finding
}

impl Object {
    fn of(document: Document, source: &Arc<Source>) -> Object {
        let api = unmask(&document.api_version);
        let (group, version) = api.rsplit_once('/').unwrap_or(("", &api));
        let mut value = document.value;
        unmask_value(&mut value);
        Object {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: unmask(&document.kind),
            name: unmask(&document.name),
            namespace: document.namespace.as_deref().map(unmask),
            value,
            node: document.node,
            source: source.clone(),
        }
    }

    /// The value at a path of keys and numbers of items, such as `["spec", "template"]`.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path::at(&self.value, path)
    }

    /// The text at a path.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        self.at(path).and_then(Value::as_str)
    }

    /// The place of a path, or of the last part of it that is there.
    pub fn place(&self, path: &[&str]) -> Place {
        let mut node = &self.node;
        for key in path {
            let next = match &node.kind {
                Kind::Sequence(items) => key.parse::<usize>().ok().and_then(|at| items.get(at)),
                _ => node.get(key),
            };
            match next {
                Some(inner) => node = inner,
                None => break,
            }
        }
        Place { source: self.source.clone(), line: node.start.line, column: node.start.column }
    }

    /// Kind and name.
    pub fn identity(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

/// Whether a text has a variable in it.
pub fn has_variable(text: &str) -> bool {
    variables(text).next().is_some()
}

/// The variables of a text: the byte ranges of `${…}`. Of `$${…}`, clusterctl makes `${…}` and fills nothing in
/// (github.com/drone/envsubst).
pub fn variables(text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + text.get(from..)?.find("${")?;
            if text.get(..start).is_some_and(|before| before.ends_with('$')) {
                from = start + 2;
                continue;
            }
            let mut depth = 0_usize;
            let mut end = None;
            for (at, letter) in text.get(start..)?.char_indices() {
                match letter {
                    '{' => depth += 1,
                    '}' => {
                        depth -= 1;
                        if depth == 0 {
                            end = Some(start + at + 1);
                            break;
                        }
                    }
                    '\n' => break,
                    _ => {}
                }
            }
            match end {
                Some(end) => {
                    from = end;
                    return Some(start..end);
                }
                None => from = start + 2,
            }
        }
    })
}

/// A text with its variables masked. One that has characters of the mask already is left alone.
fn mask(text: &str) -> String {
    if text.chars().any(is_masked) {
        return text.to_owned();
    }
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    for range in variables(text) {
        masked += text.get(from..range.start).unwrap_or_default();
        masked.extend(text.get(range.clone()).unwrap_or_default().chars().map(|letter| match letter {
            ' '..='~' => char::from_u32(MASK + letter as u32).unwrap_or(letter),
            _ => letter,
        }));
        from = range.end;
    }
    masked += text.get(from..).unwrap_or_default();
    masked
}

fn is_masked(letter: char) -> bool {
    letter == QUOTE || ('\u{e020}'..='\u{e07e}').contains(&letter)
}

/// The text behind a mask.
pub(super) fn unmask(text: &str) -> String {
    let clear = |letter| match is_masked(letter) {
        true => char::from_u32(letter as u32 - MASK).unwrap_or(letter),
        false => letter,
    };
    text.chars().filter(|letter| *letter != QUOTE).map(clear).collect()
}

fn unmask_value(value: &mut Value) {
    match value {
        Value::String(text) if text.chars().any(is_masked) => *text = unmask(text),
        Value::Array(items) => items.iter_mut().for_each(unmask_value),
        Value::Object(map) => map.values_mut().for_each(unmask_value),
        _ => {}
    }
}

/// Whether a value is a template's variable without quotes, whose type nobody knows yet.
pub(super) fn is_open(text: &str) -> bool {
    !text.starts_with(QUOTE) && text.chars().any(is_masked)
}

/// Whether a text of a masked value has variables.
pub(super) fn is_template(text: &str) -> bool {
    text.chars().any(is_masked)
}

/// The value of a text of one document, as [`json`] makes it; `None` if it is no YAML.
pub(super) fn value_of(text: &str) -> Option<Value> {
    json(&merge::parse(&Source::new("", mask(text))).ok()?).ok()
}

/// The reason why a text of one document is no mapping of YAML, if it is none. Variables may stand for anything.
pub(super) fn fault(text: &str) -> Option<String> {
    let masked = mask(text);
    match merge::parse(&Source::new("", masked)) {
        Ok(Node { kind: Kind::Mapping(_), .. }) => None,
        Ok(root) if root.is_null() => None,
        Ok(Node { kind: Kind::Scalar(text, _), .. }) if is_template(&text) => None,
        Ok(_) => Some("it is no mapping".into()),
        // One on a line of its own may bring whole lines.
        Err(_) if has_variable(text) => None,
        Err(finding) => {
            let line = finding.place.map(|place| format!("line {}: ", place.line)).unwrap_or_default();
            Some(format!("{line}{}", unmask(&finding.message)))
        }
    }
}

/// A masked tree as JSON, in which texts with variables say whether they were in quotes.
pub(super) fn json(node: &Node) -> Result<Value, String> {
    Ok(match &node.kind {
        Kind::Scalar(text, style) if text.chars().any(is_masked) => match style {
            Style::Plain => Value::String(text.clone()),
            _ => Value::String(format!("{QUOTE}{text}")),
        },
        Kind::Scalar(..) => scalar::value(node)?,
        Kind::Sequence(items) => Value::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Kind::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                map.insert(scalar::key(key)?, json(value)?);
            }
            Value::Object(map)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "apiVersion: cluster.x-k8s.io/v1beta2\nkind: Cluster\nmetadata:\n  name: \"${CLUSTER_NAME}\"\nspec:\n  \
        keys: [${A}, ${ B:=[\"x: y\"] }]\n  replicas: ${N:=3}\n  text: $${HOME} and ${X\n";

    #[test]
    fn a_template_is_read_with_its_variables_and_places_stay() {
        let manifest = Manifest::read(&Source::new("t.yaml", TEMPLATE)).unwrap();
        let [cluster] = &manifest.objects[..] else { panic!() };
        assert_eq!((cluster.group.as_str(), cluster.version.as_str()), ("cluster.x-k8s.io", "v1beta2"));
        assert_eq!(cluster.name, "${CLUSTER_NAME}");
        assert_eq!(cluster.value["spec"]["keys"], serde_json::json!(["${A}", "${ B:=[\"x: y\"] }"]));
        assert_eq!(cluster.value["spec"]["replicas"], "${N:=3}");
        assert_eq!(cluster.value["spec"]["text"], "$${HOME} and ${X");
        let place = cluster.place(&["spec", "keys", "1"]);
        assert_eq!((place.line, place.column), (6, 16));
        assert_eq!(place.source.line(6), Some("  keys: [${A}, ${ B:=[\"x: y\"] }]"));
        assert_eq!(cluster.place(&["spec", "absent", "x"]).line, 6, "the last part that is there");
    }

    #[test]
    fn variables_end_at_their_own_brace_and_escaped_ones_are_none() {
        let text = "a ${A:=${B}} $${C} ${D";
        let found: Vec<&str> = variables(text).map(|range| &text[range]).collect();
        assert_eq!(found, ["${A:=${B}}"]);
        assert!(!has_variable("$HOME $${X} ${"));
    }

    #[test]
    fn a_finding_shows_the_text_and_not_its_mask() {
        let source = Source::new("t.yaml", "kind: A\napiVersion: v1\nmetadata:\n  name: [${X}]\n");
        let told = Manifest::read(&source).err().unwrap().to_string();
        assert!(told.contains("name: [${X}]"), "{told}");
    }
}
