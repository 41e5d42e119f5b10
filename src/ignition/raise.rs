//! Raising a config to a newer spec, step by step as Ignition does it, losses included.

use super::spec::Spec;
use super::tree::{Node, Record, Value};

/// The bits of a mode that specs before 3.6 accepted and ignored.
const SPECIAL_BITS: i64 = 0o7000;

/// Makes a record of spec `from` one of spec `to`. What was plain in an old spec is already filled in, so most steps
/// change nothing but the version.
pub(crate) fn raise(config: &mut Record, from: Spec, to: Spec) {
    // Ignition's step from 3.4 to 3.5 copies only `url` and `thumbprint` of a tang server: an upstream bug that a boot
    // shows as well, so merging here must show it too.
    if from <= Spec::V3_4 && to >= Spec::V3_5 {
        for luks in config.record_mut("storage", to).records_mut("luks") {
            if luks.record("clevis").is_some() {
                for tang in luks.record_mut("clevis", to).records_mut("tang") {
                    tang.take("advertisement");
                }
            }
        }
    }
    // Bits that had no effect must not gain one.
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

/// Writes the version of a spec into a config, keeping the place where the old one was written.
pub(crate) fn set_version(config: &mut Record, spec: Spec) {
    let ignition = config.record_mut("ignition", spec);
    let origin = ignition.get("version").map(|node| node.origin.clone()).unwrap_or_default();
    ignition.set("version", Node::text(spec.as_str(), &origin));
}
