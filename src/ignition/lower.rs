//! Finds the lowest spec that loses nothing of a config.
//!
//! A target's spec is a ceiling: a config that needs less is emitted at less, so that older Ignitions can read it too.
//! Parts that need a newer spec are reported with their place and reason.

use prebake_text::finding::Finding;

use super::report::located;
use super::schema::{self, Schema};
use super::spec::Spec;
use super::tree::{Node, Origin, Record, Value};
use super::validate::url::GoUrl;

/// A part of a config that older specs cannot express.
pub(super) struct Need {
    pub spec: Spec,
    why: String,
    origin: Origin,
}

impl Need {
    /// The error that this part exceeds a ceiling.
    pub fn refuse(&self, ceiling: Spec) -> Finding {
        let finding = Finding::error(format!(
            "{} needs spec {}, but the target supports only {ceiling}",
            self.why, self.spec
        ));
        let finding = finding.hint("leave it out for this target, or choose a release with a newer Ignition");
        located(finding, &self.origin, &[])
    }
}

/// All parts of a config that need more than 3.0.0. `from` is the config's own spec.
pub(super) fn needs(config: &Record, from: Spec, ceiling: Spec) -> Vec<Need> {
    let mut collector = Collector { from, ceiling, needs: Vec::new() };
    collector.record(config);
    collector.needs
}

struct Collector {
    from: Spec,
    ceiling: Spec,
    needs: Vec<Need>,
}

/// A rule about values: the spec that a record of this schema needs, with the field and the reason.
type ValueRule = fn(&Record, &Collector) -> Option<(Spec, &'static str, &'static str)>;

static VALUE_RULES: [(&Schema, ValueRule); 10] = [
    (&schema::RESOURCE, source_scheme),
    (&schema::CONFIG_REFERENCE, source_scheme),
    (&schema::AUTHORITY, source_scheme),
    (&schema::VERIFICATION, hash),
    (&schema::FILESYSTEM, format),
    (&schema::FILE, special_bits),
    (&schema::DIRECTORY, special_bits),
    (&schema::CLEVIS_CUSTOM, custom_pin),
    (&schema::CLEVIS_CUSTOM, custom_parts),
    (&schema::TANG, advertisement),
];

fn source_scheme(resource: &Record, _: &Collector) -> Option<(Spec, &'static str, &'static str)> {
    let scheme = GoUrl::parse(resource.filled("source")?)?.scheme;
    match scheme.as_str() {
        "gs" => Some((Spec::V3_2, "source", "a gs:// source")),
        "arn" => Some((Spec::V3_4, "source", "an arn: source")),
        _ => None,
    }
}

fn hash(verification: &Record, _: &Collector) -> Option<(Spec, &'static str, &'static str)> {
    let sha256 = verification.text("hash")?.starts_with("sha256-");
    sha256.then_some((Spec::V3_1, "hash", "a sha256 hash"))
}

fn format(filesystem: &Record, _: &Collector) -> Option<(Spec, &'static str, &'static str)> {
    (filesystem.text("format") == Some("none")).then_some((Spec::V3_3, "format", "the format none"))
}

/// Up to 3.5 the bits have no effect, so only a config of 3.6 or newer would lose them.
fn special_bits(node: &Record, collector: &Collector) -> Option<(Spec, &'static str, &'static str)> {
    let special = collector.from >= Spec::V3_6 && node.int("mode")? & 0o7000 != 0;
    special.then_some((Spec::V3_6, "mode", "a mode with setuid, setgid or sticky bit"))
}

fn custom_pin(custom: &Record, _: &Collector) -> Option<(Spec, &'static str, &'static str)> {
    let known = matches!(custom.filled("pin")?, "tpm2" | "tang" | "sss");
    (!known).then_some((Spec::V3_6, "pin", "a clevis pin other than tpm2, tang and sss"))
}

/// In 3.2 no part of a custom pin can be left out.
fn custom_parts(custom: &Record, _: &Collector) -> Option<(Spec, &'static str, &'static str)> {
    let partial = custom.get("pin").is_none() || custom.get("config").is_none();
    (partial && !custom.is_zero()).then_some((Spec::V3_3, "needsNetwork", "a custom clevis part without pin"))
}

/// An Ignition that knows 3.5 drops advertisements from 3.4 configs, so 3.4 is only for Ignitions that know nothing
/// newer.
fn advertisement(tang: &Record, collector: &Collector) -> Option<(Spec, &'static str, &'static str)> {
    tang.get("advertisement")?;
    let spec = collector.ceiling.clamp(Spec::V3_4, Spec::V3_5);
    Some((spec, "advertisement", "a tang advertisement"))
}

impl Collector {
    fn record(&mut self, record: &Record) {
        for (_, rule) in VALUE_RULES.iter().filter(|(schema, _)| std::ptr::eq(*schema, record.schema)) {
            if let Some((spec, field, why)) = rule(record, self) {
                let origin = record.get(field).map(|node| node.origin.clone()).unwrap_or_default();
                self.needs.push(Need { spec, why: why.to_owned(), origin });
            }
        }
        for (field, node) in record.schema.fields.iter().zip(record.fields()) {
            let Some(node) = node.as_ref().filter(|node| !node.is_void()) else { continue };
            if field.home == schema::Home::Butane {
                continue;
            }
            if field.since > Spec::V3_0 && !is_plain_zero(field, node) {
                let why = format!("`{}`", field.name);
                self.needs.push(Need { spec: field.since, why, origin: node.origin.clone() });
            }
            match &node.value {
                Value::Record(part) => self.record(part),
                Value::List(items) => {
                    items.iter().filter_map(Node::as_record).for_each(|item| self.record(item))
                }
                _ => {}
            }
        }
    }
}

fn is_plain_zero(field: &schema::Field, node: &Node) -> bool {
    field.plain != schema::Plain::Never && matches!(&node.value, Value::Text(text) if text.is_empty())
}
