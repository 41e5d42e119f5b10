//! Raises a config to a newer spec, step by step as Ignition does it, including losses.

use super::spec::Spec;
use super::tree::{Node, Record, Value};

/// Mode bits that specs before 3.6 accepted and ignored.
const SPECIAL_BITS: i64 = 0o7000;

/// Turns a record of spec `from` into one of spec `to`. Plain fields of an old spec are already filled in, so most
/// steps change only the version.
pub(crate) fn raise(config: &mut Record, from: Spec, to: Spec) {
    // Ignition's step from 3.4 to 3.5 copies only `url` and `thumbprint` of a tang server. This upstream bug also
    // affects boots, so merging must show it too.
    if from <= Spec::V3_4 && to >= Spec::V3_5 {
        for luks in config.record_mut("storage", to).records_mut("luks") {
            if luks.record("clevis").is_some() {
                for tang in luks.record_mut("clevis", to).records_mut("tang") {
                    tang.take("advertisement");
                }
            }
        }
    }
    // Bits that had no effect must not get one.
    if from <= Spec::V3_5 && to >= Spec::V3_6 {
        for kind in ["directories", "files"] {
            for node in config.record_mut("storage", to).records_mut(kind) {
                if let Some(Node { value: Value::Int(mode), .. }) = node.get_mut("mode") {
                    *mode &= !SPECIAL_BITS;
                }
            }
        }
    }
    set_version(config, to);
}

/// Sets the version in a config, keeping the place of the old one.
pub(crate) fn set_version(config: &mut Record, spec: Spec) {
    let ignition = config.record_mut("ignition", spec);
    let origin = ignition.get("version").map(|node| node.origin.clone()).unwrap_or_default();
    ignition.set("version", Node::text(spec.as_str(), &origin));
}
