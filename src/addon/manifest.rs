//! Manifests: objects of Kubernetes in files, as kubectl reads them.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::scalar;
use crate::base::finding::{Finding, Findings, Place, Source, plain};
use crate::base::yaml::{Kind, Node, merge};

/// One object of a manifest.
#[derive(Clone, Debug)]
pub struct Document {
    /// Place of its first line.
    pub place: Place,
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// Its namespace, if it names one.
    pub namespace: Option<String>,
    /// The namespace that it has if it names none and its kind has one.
    pub home: String,
    /// `metadata.name`.
    pub name: String,
    /// The whole of it, as JSON.
    pub value: Value,
    /// The same with places.
    pub node: Node,
}

impl Document {
    /// Its kind, namespace and name.
    pub fn identity(&self) -> String {
        let Document { kind, name, .. } = self;
        match &self.namespace {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None => format!("{kind} {name}"),
        }
    }
}

/// Most objects of a text: ten times those of the largest addons; each takes some kilobytes of memory with its places.
pub const MAX_OBJECTS: usize = 20_000;

/// Reads the objects of a text; those of lists singly. Time and memory grow with the text alone, however many documents it has.
///
/// # Errors
/// All findings, of every document; more than [`MAX_OBJECTS`] documents or objects.
pub fn read(source: &Arc<Source>) -> Result<Vec<Document>, Findings> {
    // Columns count without the mark that editors put before a text.
    let source = match plain(&source.text) {
        text if text.len() == source.text.len() => source.clone(),
        text => Source::new(source.name.clone(), text),
    };
    let parts = split(&source.text);
    let too_many = |line| {
        let place = Place { source: source.clone(), line, column: 1 };
        let finding = Finding::error(format!("this text has more than {MAX_OBJECTS} objects")).at(place);
        Findings::from(finding.hint("split it into files, and name them one by one"))
    };
    if let Some(part) = parts.get(MAX_OBJECTS) {
        return Err(too_many(part.before + 1));
    }
    let mut documents = Vec::new();
    let mut findings = Vec::new();
    for Part { before, text } in parts {
        match merge::parse(&Source::new(source.name.clone(), text)) {
            Ok(root) if root.is_null() => {}
            Ok(mut root) => {
                lower(&mut root, before);
                match json(&root, &source) {
                    Ok(value) => flatten(root, value, &source, &mut documents, &mut findings),
                    Err(finding) => findings.push(finding),
                }
            }
            Err(mut finding) => {
                let related = finding.related.iter_mut().map(|(place, _)| place);
                for place in finding.place.iter_mut().chain(related) {
                    *place =
                        Place { source: source.clone(), line: place.line + before, column: place.column };
                }
                findings.push(finding);
            }
        }
        if let Some(document) = documents.get(MAX_OBJECTS) {
            return Err(too_many(document.place.line));
        }
    }
    Findings::settle(findings, documents).map(|(documents, _)| documents)
}

/// Moves a tree down by a number of lines.
fn lower(node: &mut Node, lines: usize) {
    node.start.line += lines;
    node.end.line += lines;
    match &mut node.kind {
        Kind::Scalar(..) => {}
        Kind::Sequence(items) => items.iter_mut().for_each(|item| lower(item, lines)),
        Kind::Mapping(entries) => {
            for (key, value) in entries {
                lower(key, lines);
                lower(value, lines);
            }
        }
    }
}

/// One document of a text.
struct Part {
    /// Number of lines before it in the text.
    before: usize,
    /// Its own lines.
    text: String,
}

/// The documents of a text.
fn split(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut part = Part { before: 0, text: String::new() };
    let mut is_empty = true;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let bare = line.trim_end();
        let is_mark = |mark: &str| {
            bare == mark || bare.strip_prefix(mark).is_some_and(|rest| rest.starts_with([' ', '\t']))
        };
        if is_mark("---") || is_mark("...") {
            let last = std::mem::replace(&mut part, Part { before: number, text: String::new() });
            if !is_empty {
                parts.push(last);
            }
            let rest = line[3..].trim();
            is_empty = is_mark("...") || rest.is_empty() || rest.starts_with('#');
            if is_empty {
                part.text.push('\n');
            } else {
                // Text behind the mark is of the next document; blanks keep its columns.
                part.text.push_str("   ");
                part.text.push_str(&line[3..]);
            }
            continue;
        }
        // Directives such as `%YAML 1.2` stand before the first mark.
        if is_empty && bare.starts_with('%') {
            part.text.push('\n');
            continue;
        }
        is_empty &= bare.is_empty() || bare.trim_start().starts_with('#');
        part.text.push_str(line);
    }
    if !is_empty {
        parts.push(part);
    }
    parts
}

/// A tree as JSON.
fn json(node: &Node, source: &Arc<Source>) -> Result<Value, Finding> {
    let wrong = |node: &Node, why: String| Finding::error(why).at(node.place(source));
    match &node.kind {
        Kind::Scalar(..) => scalar::value(node).map_err(|why| wrong(node, why)),
        Kind::Sequence(items) => items.iter().map(|item| json(item, source)).collect(),
        Kind::Mapping(entries) => {
            let mut map = Map::new();
            for (name, value) in entries {
                let key = scalar::key(name).map_err(|why| wrong(name, why))?;
                if map.insert(key.clone(), json(value, source)?).is_some() {
                    return Err(wrong(name, format!("`{key}` is there twice")));
                }
            }
            Ok(Value::Object(map))
        }
    }
}

/// Takes one document, or each item of a list.
fn flatten(
    node: Node,
    value: Value,
    source: &Arc<Source>,
    documents: &mut Vec<Document>,
    findings: &mut Vec<Finding>,
) {
    let place = node.place(source);
    // Without quotes `n` and `on` are truths and `1` is a number; kubectl refuses them for names, and an object whose namespace would
    // count as none would go to another one.
    let mut others = Vec::new();
    let mut text = |path: &[&str]| {
        let found = path.iter().try_fold(&value, |value, key| value.get(key))?;
        match found {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Null => None,
            other => {
                let at = path.iter().try_fold(&node, |node, key| node.get(key)).unwrap_or(&node);
                let path = path.join(".");
                let finding = Finding::error(format!("`{path}` must be a text, and this is {other}"));
                others.push(finding.at(at.place(source)).hint("put it in quotes"));
                None
            }
        }
    };
    let (api_version, kind) = (text(&["apiVersion"]), text(&["kind"]));
    let (name, namespace) = (text(&["metadata", "name"]), text(&["metadata", "namespace"]));
    if !others.is_empty() {
        findings.append(&mut others);
        return;
    }
    let (Some(api_version), Some(kind)) = (api_version.clone(), kind.clone()) else {
        let lacks = if kind.is_none() { "kind" } else { "apiVersion" };
        let finding =
            Finding::error(format!("this document has no `{lacks}`, so it is no object of Kubernetes"))
                .at(place);
        findings.push(finding.hint(
            "values of charts and kustomizations are no manifests: name the rendered files, or keep others in another directory",
        ));
        return;
    };
    if kind.ends_with("List")
        && let Some(Value::Array(values)) = value.get("items")
    {
        let nodes = match node.get("items").map(|items| &items.kind) {
            Some(Kind::Sequence(nodes)) => nodes.clone(),
            _ => Vec::new(),
        };
        for (node, value) in nodes.into_iter().zip(values.clone()) {
            flatten(node, value, source, documents, findings);
        }
        return;
    }
    // The record of a provider's contracts for clusterctl lies beside its objects, and is none.
    if kind == "Metadata" && api_version.starts_with("clusterctl.cluster.x-k8s.io/") {
        return;
    }
    if api_version == "kustomize.config.k8s.io/v1beta1" {
        let finding = Finding::error("a kustomization is no manifest").at(place);
        findings.push(finding.hint("`kubectl kustomize DIR > manifest.yaml` makes one of it"));
        return;
    }
    let Some(name) = name else {
        let finding = Finding::error(format!("this {kind} has no `metadata.name`")).at(place);
        findings.push(finding.hint("it is applied again and again, so it must have a name; `generateName` makes another one each time"));
        return;
    };
    let home = "default".to_owned();
    documents.push(Document { place, api_version, kind, namespace, home, name, value, node });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let documents = read(&Source::new("x.yaml", text)).unwrap();
        documents.iter().map(|document| format!("{} {}", document.identity(), document.place.line)).collect()
    }

    #[test]
    fn documents_are_split_as_kubectl_does_and_keep_their_lines() {
        let text = "# a comment\n---\n---   # another\nkind: A\napiVersion: v1\nmetadata: {name: a}\n---\n\n--- {kind: B, apiVersion: v1, \
            metadata: {name: b, namespace: m}}\n...\n---\n{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [\n{\"kind\": \"C\", \
            \"apiVersion\": \"v1\", \"metadata\": {\"name\": \"c\"}}]}\n";
        assert_eq!(names(text), ["A a 4", "B m/b 9", "C c 13"]);
        // A mark inside of a text is none.
        let text = "kind: A\napiVersion: v1\nmetadata: {name: a}\ndata:\n  x: |\n    ---\n    y\n";
        assert_eq!(names(text), ["A a 1"]);
        assert_eq!(names("%YAML 1.1\n---\nkind: A\napiVersion: v1\nmetadata: {name: a}\n"), ["A a 3"]);
    }

    /// Each document was read behind as many empty lines as there are before it: 20 GB for 80,000 documents.
    #[test]
    fn a_document_holds_its_own_lines_alone_and_too_many_are_told() {
        let one = "kind: A\napiVersion: v1\nmetadata: {name: a}\n---\n";
        let text = one.repeat(3000);
        let held: usize = split(&text).iter().map(|part| part.text.len()).sum();
        assert!(held <= text.len(), "{held} of {}", text.len());
        let documents = read(&Source::new("x.yaml", text)).unwrap();
        let last = documents.last().unwrap();
        assert_eq!(
            (documents.len(), last.place.line, last.node.start.line),
            (3000, 4 * 2999 + 1, 4 * 2999 + 1)
        );
        assert_eq!(last.place.source.line(last.place.line), Some("kind: A"));
        // Faults of syntax have the places of the file, too.
        let Findings(findings) =
            read(&Source::new("x.yaml", format!("\u{feff}{one}{one}a: [1\n"))).unwrap_err();
        let place = findings[0].place.as_ref().unwrap();
        assert!(place.line >= 9, "{findings:?}");
        assert_eq!(place.source.line(5), Some("kind: A"));

        let Findings(findings) = read(&Source::new("x.yaml", one.repeat(MAX_OBJECTS + 1))).unwrap_err();
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("more than 20000 objects"), "{findings:?}");
        let items = "- {kind: A, apiVersion: v1, metadata: {name: a}}\n".repeat(MAX_OBJECTS + 1);
        let list = format!("kind: List\napiVersion: v1\nitems:\n{items}");
        assert!(
            read(&Source::new("x.yaml", list)).unwrap_err().to_string().contains("more than 20000 objects")
        );
    }

    #[test]
    fn what_is_no_object_is_a_finding_with_its_place_and_all_of_them_come_at_once() {
        let text = "replicas: 3\n---\nkind: A\napiVersion: v1\nmetadata: {generateName: a-}\n---\nkind: B\nmetadata: {name: b}\n";
        let Findings(findings) = read(&Source::new("x.yaml", text)).unwrap_err();
        let lines: Vec<usize> =
            findings.iter().filter_map(|finding| finding.place.as_ref().map(|place| place.line)).collect();
        assert_eq!(lines, [1, 3, 7], "{findings:?}");
        assert!(findings[2].message.contains("`apiVersion`"));
    }

    /// sigs.k8s.io/yaml reads them as YAML 1.1, and kubectl ends with "cannot unmarshal bool into Go struct field ObjectMeta".
    #[test]
    fn names_that_are_truths_or_numbers_are_findings_and_no_object_goes_to_another_namespace() {
        let object = |kind: &str, name: &str, namespace: &str| {
            format!("kind: {kind}\napiVersion: v1\nmetadata:\n  name: {name}\n  namespace: {namespace}\n")
        };
        for (text, line, named) in [
            (object("A", "a", "n"), 5, "`metadata.namespace` must be a text, and this is false"),
            (object("A", "0123", "m"), 4, "`metadata.name` must be a text, and this is 83"),
            (object("yes", "a", "m"), 1, "`kind` must be a text, and this is true"),
            (object("A", "a", "[m]"), 5, "`metadata.namespace` must be a text"),
        ] {
            let Findings(findings) = read(&Source::new("x.yaml", text)).unwrap_err();
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert_eq!(findings[0].place.as_ref().unwrap().line, line);
            assert!(findings[0].message.starts_with(named), "{findings:?}");
        }
        assert_eq!(names(&object("A", "'n'", "\"1\"")), ["A 1/n 1"]);
        assert_eq!(names(&object("A", "a", "")), ["A a 1"]);
        assert_eq!(names(&object("A", "a", "''")), ["A a 1"]);
    }
}
