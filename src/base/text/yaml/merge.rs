//! Merge keys (`<<`) in prebake's own files, resolved as gopkg.in/yaml.v3 resolves them for Butane.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Kind, Node, Style};
use crate::finding::{Finding, Source};

/// Reads a text and adds to each mapping the keys that its `<<` brings: the mapping's own keys win, then those of
/// earlier mappings.
///
/// # Errors
/// As [`super::parse`], and a `<<` whose value is not a mapping.
pub fn parse(source: &Arc<Source>) -> Result<Node, Finding> {
    let mut root = super::parse(source)?;
    resolve(&mut root, source)?;
    Ok(root)
}

/// Whether a key is a merge key: plain without a tag, or with the tag of merge keys, as sops writes it.
pub fn is_merge(key: &Node) -> bool {
    matches!(&key.kind, Kind::Scalar(text, Style::Plain) if text == "<<")
        && key.tag.as_deref().is_none_or(|tag| tag == "!!merge")
}

/// Resolves merge keys in a tree. Aliases were expanded within the limits of the tree, so nothing grows here.
///
/// # Errors
/// A `<<` whose value is not a mapping.
pub fn resolve(node: &mut Node, source: &Arc<Source>) -> Result<(), Finding> {
    match &mut node.kind {
        Kind::Scalar(..) => {}
        Kind::Sequence(items) => {
            for item in items {
                resolve(item, source)?;
            }
        }
        Kind::Mapping(entries) => {
            for (_, value) in entries.iter_mut() {
                resolve(value, source)?;
            }
            let Some(at) = entries.iter().position(|(key, _)| is_merge(key)) else { return Ok(()) };
            let (_, value) = entries.remove(at);
            let place = value.place(source);
            let mappings = match value.kind {
                Kind::Sequence(items) => items,
                _ => vec![value],
            };
            let mut known: HashSet<String> =
                entries.iter().filter_map(|(key, _)| key.scalar().map(str::to_owned)).collect();
            for mapping in mappings {
                let Kind::Mapping(merged) = mapping.kind else {
                    let finding = Finding::error("map merge requires map or sequence of maps as the value");
                    return Err(finding
                        .at(place)
                        .hint("`<<` takes an alias of a mapping, such as `<<: *base`"));
                };
                let new = merged.into_iter().filter(|(key, _)| match key.scalar() {
                    Some(text) => known.insert(text.to_owned()),
                    None => true,
                });
                entries.extend(new);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, Finding> {
        parse(&Source::new("x.yaml", text))
    }

    #[test]
    fn merge_keys_bring_what_a_mapping_does_not_say_itself() {
        let text = "x-a: &a {p: 1, q: 1}\nx-b: &b {<<: *a, q: 2, r: 2}\n\
                    n: {r: 3, <<: *b}\nl: {<<: [*a, *b]}\n'<<': {z: 1}\n";
        let root = read(text).unwrap();
        let value =
            |key: &str, of: &str| root.get(key).unwrap().get(of).unwrap().scalar().unwrap().to_owned();
        assert_eq!([value("n", "p"), value("n", "q"), value("n", "r")], ["1", "2", "3"]);
        assert_eq!([value("l", "p"), value("l", "q"), value("l", "r")], ["1", "1", "2"]);
        assert!(root.get("<<").is_some() && root.get("z").is_none(), "a quoted key is a name");
        // As sops 3.13.3 writes one.
        let tagged = read("- !!merge <<:\n    p: 1\n  q: 2\n").unwrap();
        assert!(matches!(&tagged.kind, Kind::Sequence(items) if items[0].get("p").is_some()));
        assert!(read("a: {<<: 5}\n").unwrap_err().message.contains("map merge"));
        assert!(read("a: &a {b: 1}\nc: {<<: [*a, 5]}\n").unwrap_err().message.contains("map merge"));
    }
}
