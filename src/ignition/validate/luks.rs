//! Encrypted volumes.

use super::node::check_path;
use super::resource::check_optional_source;
use super::rules::{self, Rule};
use super::url::GoUrl;
use super::{Visit, field};
use crate::spec::Spec;
use crate::tree::Record;

/// LUKS2 has 48 bytes for the label, the last of them zero.
const LABEL_MAX: usize = 47;

pub(super) fn luks(visit: &mut Visit<'_>) {
    let record = visit.record;
    if record.text("name").is_some_and(|name| name.contains('/')) {
        visit.error(&[field("name")], rules::LUKS_NAME);
    }
    if record.text("label").is_some_and(|label| label.len() > LABEL_MAX) {
        visit.error(&[field("label")], rules::LUKS_LABEL);
    }
    let device = record.filled("device").ok_or(rules::DEVICE_REQUIRED).and_then(check_path);
    visit.require(&[field("device")], device);

    let clevis = record.record("clevis");
    if clevis.is_some_and(|clevis| has_custom(clevis, visit.spec) && has_pins(clevis)) {
        visit.error(&[field("clevis")], rules::CLEVIS_CUSTOM_WITH_OTHERS);
    }
    let key_file = record.record("keyFile");
    if key_file.is_some_and(|key| check_optional_source(key, visit.spec).is_err()) {
        // The source itself is reported separately.
        visit.error(&[], rules::LUKS_KEY_FILE);
    }
    if record.record("cex").is_some_and(|cex| cex.is_true("enabled")) {
        if clevis.is_some_and(|clevis| has_custom(clevis, visit.spec) || has_pins(clevis)) {
            visit.error(&[field("cex")], rules::CEX_WITH_CLEVIS);
        }
        if key_file.is_some_and(|key| key.filled("source").is_some()) {
            visit.error(&[field("cex")], rules::CEX_WITH_KEY_FILE);
        }
    }
}

/// Up to 3.2 a custom pin was present if its object was; since then, if it has a name.
fn has_custom(clevis: &Record, spec: Spec) -> bool {
    let custom = clevis.record("custom");
    custom.is_some_and(|custom| spec <= Spec::V3_2 || custom.filled("pin").is_some())
}

fn has_pins(clevis: &Record) -> bool {
    !clevis.list("tang").is_empty()
        || clevis.is_true("tpm2")
        || clevis.int("threshold").is_some_and(|threshold| threshold != 0)
}

pub(super) fn clevis_custom(visit: &mut Visit<'_>) {
    let (record, spec) = (visit.record, visit.spec);
    let (pin, config) = (record.filled("pin"), record.filled("config"));
    let network = record.is_true("needsNetwork") && spec >= Spec::V3_3;
    if pin.is_none() && config.is_none() && !network {
        return;
    }
    let outcome = match pin {
        None if spec >= Spec::V3_3 => Err(rules::CLEVIS_PIN_REQUIRED),
        Some("tpm2" | "tang" | "sss") => Ok(()),
        Some(_) if spec >= Spec::V3_6 => Ok(()),
        _ => Err(rules::CLEVIS_PIN),
    };
    visit.require(&[field("pin")], outcome);
    if config.is_none() {
        visit.error(&[field("config")], rules::CLEVIS_CONFIG_REQUIRED);
    }
}

pub(super) fn tang(visit: &mut Visit<'_>) {
    let record = visit.record;
    visit.require(&[field("url")], check_url(record.text("url").unwrap_or_default()));
    if record.filled("thumbprint").is_none() {
        visit.error(&[field("thumbprint")], rules::TANG_THUMBPRINT);
    }
    let advertisement = record.filled("advertisement");
    if advertisement.is_some_and(|text| prebake_text::json::parse(text).is_err()) {
        visit.error(&[field("advertisement")], rules::TANG_ADVERTISEMENT);
    }
}

fn check_url(url: &str) -> Result<(), Rule> {
    let url = GoUrl::parse(url).ok_or(rules::INVALID_URL)?;
    matches!(url.scheme.as_str(), "http" | "https").then_some(()).ok_or(rules::INVALID_SCHEME)
}
