//! Ignition's errors and warnings: the checks of its `Validate` methods, at the spec of the config.
//!
//! A check belongs to a record of the [`schema`]; one table says which. The walk follows the order of
//! Ignition's Go structs, so findings are in Ignition's order.

mod disk;
mod luks;
mod node;
mod resource;
pub(crate) mod rules;
pub(crate) mod unit;
pub(crate) mod url;

use std::collections::HashMap;

use prebake_text::finding::{Finding, Place};
use prebake_text::yaml::{self, Position};

use super::report::{Report, located};
use super::schema::{self, Joins, Schema, Type};
use super::spec::Spec;
use super::tree::{Node, Origin, Record, Step, Value};
use rules::Rule;

/// A record while it is checked.
pub(crate) struct Visit<'v> {
    pub record: &'v Record,
    pub origin: &'v Origin,
    pub spec: Spec,
    report: &'v mut Report,
}

pub(crate) type Check = fn(&mut Visit<'_>);

/// The check of each record.
static CHECKS: [(&Schema, Check); 24] = [
    (&schema::CONFIG, unit::config),
    (&schema::IGNITION_CONFIG, resource::merged),
    (&schema::CONFIG_REFERENCE, resource::config_reference),
    (&schema::AUTHORITY, resource::authority),
    (&schema::TLS, resource::tls),
    (&schema::PROXY, resource::proxy),
    (&schema::RESOURCE, resource::resource),
    (&schema::HTTP_HEADER, resource::header),
    (&schema::VERIFICATION, resource::verification),
    (&schema::STORAGE, node::storage),
    (&schema::OWNER, node::owner),
    (&schema::DIRECTORY, node::directory),
    (&schema::FILE, node::file),
    (&schema::LINK, node::node),
    (&schema::DISK, disk::disk),
    (&schema::PARTITION, disk::partition),
    (&schema::FILESYSTEM, disk::filesystem),
    (&schema::RAID, disk::raid),
    (&schema::LUKS, luks::luks),
    (&schema::CLEVIS_CUSTOM, luks::clevis_custom),
    (&schema::TANG, luks::tang),
    (&schema::SYSTEMD, unit::systemd),
    (&schema::UNIT, unit::unit),
    (&schema::DROPIN, unit::dropin),
];

/// Checks the meaning of a config at a spec.
pub(crate) fn check(config: &Record, origin: &Origin, spec: Spec, report: &mut Report) {
    walk(&CHECKS, config, origin, spec, report);
}

/// Applies a table of checks to a record and everything below it.
pub(crate) fn walk(
    checks: &[(&'static Schema, Check)],
    record: &Record,
    origin: &Origin,
    spec: Spec,
    report: &mut Report,
) {
    let found = checks.iter().find(|(schema, _)| std::ptr::eq(*schema, record.schema));
    if let Some((_, check)) = found {
        check(&mut Visit { record, origin, spec, report });
    }
    for node in record.fields().iter().flatten() {
        walk_node(checks, node, spec, report);
    }
}

fn walk_node(checks: &[(&'static Schema, Check)], node: &Node, spec: Spec, report: &mut Report) {
    match &node.value {
        Value::Record(record) => walk(checks, record, &node.origin, spec, report),
        Value::List(items) => items.iter().for_each(|item| walk_node(checks, item, spec, report)),
        Value::Text(_) | Value::Bytes(_) | Value::Int(_) | Value::Flag(_) => {}
    }
}

/// Finds entries that occur twice in keyed lists.
pub(crate) fn check_duplicates(config: &Record, spec: Spec, report: &mut Report) {
    let mut seen: HashMap<(&str, String), &Node> = HashMap::new();
    for (field, node) in config.schema.fields.iter().zip(config.fields()) {
        let Some(node) = node else { continue };
        let handle = match field.joins {
            Joins::Shared(handle) => handle,
            Joins::Keyed | Joins::Appended => field.name,
        };
        let keyed = matches!(field.ty, Type::Texts | Type::Records(_)) && field.joins != Joins::Appended;
        if keyed && field.in_ignition(spec) {
            for item in node.as_list() {
                if let Some(first) = seen.insert((handle, item.key()), item) {
                    let finding = Finding::error(rules::DUPLICATE.message).hint(rules::DUPLICATE.hint);
                    let finding = located(finding, &item.origin, &[]);
                    report.push(match first.origin.place() {
                        Some(place) => finding.related(place, "first defined here"),
                        None => finding,
                    });
                }
            }
        }
    }
    for node in config.fields().iter().flatten() {
        let items = std::slice::from_ref(node);
        let items = if node.as_list().is_empty() { items } else { node.as_list() };
        for record in items.iter().filter_map(Node::as_record) {
            check_duplicates(record, spec, report);
        }
    }
}

/// A step to a field, in Ignition's spelling.
pub(crate) fn field(name: &'static str) -> Step {
    Step::Json(name)
}

/// A step to an item of a list.
fn item(index: usize) -> Step {
    Step::Index(index)
}

impl Visit<'_> {
    pub(crate) fn error(&mut self, steps: &[Step], rule: Rule) {
        self.push(Finding::error(rule.message), rule.hint, steps);
    }

    pub(crate) fn warning(&mut self, steps: &[Step], rule: Rule) {
        self.push(Finding::warning(rule.message), rule.hint, steps);
    }

    pub(crate) fn warning_text(&mut self, steps: &[Step], message: String, hint: &'static str) {
        self.push(Finding::warning(message), hint, steps);
    }

    /// Adds an error if a check failed.
    fn require(&mut self, steps: &[Step], outcome: Result<(), Rule>) {
        if let Err(rule) = outcome {
            self.error(steps, rule);
        }
    }

    pub(crate) fn push(&mut self, finding: Finding, hint: &str, steps: &[Step]) {
        let finding = if hint.is_empty() { finding } else { finding.hint(hint) };
        let (origin, rest) = self.deepest(steps);
        let finding = located(finding, origin, rest);
        self.report.push(finding);
    }

    /// The place of a byte of a text field, if the field was written at its origin.
    pub(crate) fn inner_place(&self, name: &'static str, at: usize) -> Option<Place> {
        let node = self.record.get(name)?;
        let Place { source, line, column } = node.origin.place()?;
        yaml::within(&source, Position { line, column }, node.as_text()?, at)
    }

    /// The deepest node on the way that a person wrote, and the remaining steps. A list of generated entries has no
    /// origin, but its entries have.
    fn deepest<'s>(&self, steps: &'s [Step]) -> (&Origin, &'s [Step]) {
        let mut found = (self.origin, steps);
        let mut node: Option<&Node> = None;
        for (index, step) in steps.iter().enumerate() {
            node = match (step, node.map(|node| &node.value)) {
                (Step::Json(name), None) => lookup(self.record, name),
                (Step::Json(name), Some(Value::Record(record))) => lookup(record, name),
                (Step::Index(index), Some(Value::List(items))) => items.get(*index),
                _ => None,
            };
            match node {
                Some(node) if node.origin.is_known() => found = (&node.origin, &steps[index + 1..]),
                Some(_) => {}
                None => break,
            }
        }
        found
    }
}

/// A field that may not exist: a step may name one that the schema does not have, such as a tang server's `keys`.
fn lookup<'r>(record: &'r Record, name: &str) -> Option<&'r Node> {
    let index = record.schema.fields.iter().position(|field| field.name == name)?;
    record.fields()[index].as_ref()
}
