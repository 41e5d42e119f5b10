//! Ignition's rules for a parent and a child config.
//!
//! The child's values win; fields that the child does not set keep the parent's values. Lists are merged by key unless
//! the schema says that they are appended: items in the parent's order first, then those that only the child has. A
//! header without a value in the child removes the parent's. `docs/guides/ignition.md` lists the surprising cases.

use std::collections::{HashMap, HashSet};

use super::schema::{Field, HTTP_HEADER, Joins, Schema, Type};
use super::tree::{Node, Record, Value};

/// Merges two records of the same schema and spec.
pub(crate) fn merge(mut parent: Record, mut child: Record) -> Record {
    let schema = parent.schema;
    let moved = moved_keys(schema, &child);
    for (index, field) in schema.fields.iter().enumerate() {
        let ours = parent.at_mut(index).take();
        let theirs = child.at_mut(index).take();
        *parent.at_mut(index) = match field.ty {
            Type::Text | Type::Int | Type::Flag => theirs.or(ours),
            Type::Record(_) => merge_parts(ours, theirs),
            Type::Texts | Type::Records(_) => merge_lists(field, ours, theirs, |key| {
                moved.get(&(handle(field), key)).is_some_and(|home| *home != field.name)
            }),
        };
    }
    parent
}

/// For lists that share keys: each key in the child, with the list that contains it.
fn moved_keys(schema: &'static Schema, child: &Record) -> HashMap<(&'static str, String), &'static str> {
    let shared = schema.fields.iter().filter(|field| matches!(field.joins, Joins::Shared(_)));
    let keys = shared.flat_map(|field| {
        child.list(field.name).iter().map(|node| ((handle(field), node.key()), field.name))
    });
    keys.collect()
}

fn handle(field: &Field) -> &'static str {
    match field.joins {
        Joins::Shared(handle) => handle,
        Joins::Keyed | Joins::Appended => field.name,
    }
}

fn merge_parts(parent: Option<Node>, child: Option<Node>) -> Option<Node> {
    match (parent, child) {
        (parent, None) => parent,
        (None, child) => child,
        (Some(parent), Some(child)) if child.is_void() => Some(parent),
        (Some(parent), Some(child)) if parent.is_void() => Some(child),
        (Some(parent), Some(child)) => Some(merge_nodes(parent, child)),
    }
}

fn merge_nodes(parent: Node, child: Node) -> Node {
    match (parent.value, child.value) {
        (Value::Record(ours), Value::Record(theirs)) => {
            Node { value: Value::Record(merge(ours, theirs)), origin: child.origin }
        }
        (_, value) => Node { value, origin: child.origin },
    }
}

fn merge_lists(
    field: &Field,
    parent: Option<Node>,
    child: Option<Node>,
    moved: impl Fn(String) -> bool,
) -> Option<Node> {
    let origin = child.as_ref().or(parent.as_ref())?.origin.clone();
    let items = |node: Option<Node>| match node.map(|node| node.value) {
        Some(Value::List(items)) => items,
        _ => Vec::new(),
    };
    let (mut ours, theirs) = (items(parent), items(child));
    if field.joins == Joins::Appended {
        ours.extend(theirs);
        return Some(Node::list(ours, &origin));
    }

    let parent_keys: HashSet<String> = ours.iter().map(Node::key).collect();
    let mut by_key: HashMap<String, Node> = HashMap::new();
    let mut added = Vec::new();
    for node in theirs {
        let key = node.key();
        match parent_keys.contains(&key) {
            true => drop(by_key.insert(key, node)),
            false => added.push(node),
        }
    }
    let kept = ours.into_iter().filter_map(|node| {
        let key = node.key();
        match by_key.remove(&key) {
            Some(child) if removes_header(&child) => None,
            Some(child) => Some(merge_nodes(node, child)),
            None => (!moved(key)).then_some(node),
        }
    });
    Some(Node::list(kept.chain(added).collect(), &origin))
}

/// Whether the child's header has no value, which removes the parent's header of that name.
fn removes_header(child: &Node) -> bool {
    let header = child.as_record().filter(|record| std::ptr::eq(record.schema, &HTTP_HEADER));
    header.is_some_and(|header| header.get("value").is_none())
}
