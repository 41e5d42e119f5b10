//! Checks of fetched resources: sources, hashes, headers, proxies.

use super::rules::{self, Rule};
use super::url::{GoUrl, check_source};
use super::{Visit, field, item};
use crate::spec::Spec;
use crate::tree::Record;

/// A source may be absent or empty; otherwise it must be a fetchable URL.
pub(super) fn check_optional_source(resource: &Record, spec: Spec) -> Result<(), Rule> {
    resource.filled("source").map_or(Ok(()), |source| check_source(source, spec))
}

fn check_required_source(resource: &Record, spec: Spec) -> Result<(), Rule> {
    let source = resource.filled("source").ok_or(rules::SOURCE_REQUIRED)?;
    check_source(source, spec)
}

/// Contents of files and keys.
pub(super) fn resource(visit: &mut Visit<'_>) {
    let (record, spec) = (visit.record, visit.spec);
    if !matches!(record.text("compression"), None | Some("" | "gzip")) {
        visit.error(&[field("compression")], rules::COMPRESSION);
    }
    let hash = record.record("verification").and_then(|verification| verification.text("hash"));
    if hash.is_some() && record.get("source").is_none() {
        visit.error(&[field("verification"), field("hash")], rules::HASH_WITHOUT_SOURCE);
    }
    visit.require(&[field("source")], check_optional_source(record, spec));
    visit.require(&[field("httpHeaders")], check_header_scheme(record));
}

fn check_header_scheme(resource: &Record) -> Result<(), Rule> {
    if resource.list("httpHeaders").is_empty() {
        return Ok(());
    }
    let url = resource.filled("source").and_then(GoUrl::parse).ok_or(rules::INVALID_URL)?;
    match url.scheme.as_str() {
        "http" | "https" => Ok(()),
        _ => Err(rules::HEADER_SCHEME),
    }
}

/// 3.0 checked only the URL.
pub(super) fn config_reference(visit: &mut Visit<'_>) {
    match visit.spec {
        Spec::V3_0 => {
            let outcome = check_optional_source(visit.record, visit.spec);
            visit.require(&[field("source")], outcome);
        }
        _ => resource(visit),
    }
}

/// In 3.0 the source was a required text.
pub(super) fn authority(visit: &mut Visit<'_>) {
    match visit.spec {
        Spec::V3_0 => {
            let outcome = check_source(visit.record.text("source").unwrap_or_default(), visit.spec);
            visit.require(&[field("source")], outcome);
        }
        _ => resource(visit),
    }
}

/// `ignition.config`: a merged config needs a source.
pub(super) fn merged(visit: &mut Visit<'_>) {
    check_sources(visit, "merge");
}

/// `ignition.security.tls`: a certificate authority needs a source.
pub(super) fn tls(visit: &mut Visit<'_>) {
    check_sources(visit, "certificateAuthorities");
}

fn check_sources(visit: &mut Visit<'_>, list: &'static str) {
    if visit.spec >= Spec::V3_1 {
        let record = visit.record;
        for (index, resource) in record.records(list).enumerate() {
            let outcome = check_required_source(resource, visit.spec);
            visit.require(&[field(list), item(index)], outcome);
        }
    }
}

/// A header's name and value; no value means that a parent's header is removed.
pub(super) fn header(visit: &mut Visit<'_>) {
    if visit.record.filled("name").is_none() {
        visit.error(&[field("name")], rules::HEADER_NAME);
    }
    if visit.record.text("value") == Some("") {
        visit.error(&[field("value")], rules::HEADER_VALUE);
    }
}

/// `FUNCTION-HEX`; Ignition counts the digits and does not check them.
pub(super) fn verification(visit: &mut Visit<'_>) {
    let Some(hash) = visit.record.text("hash") else { return };
    let outcome = match hash.split_once('-') {
        None => Err(rules::HASH_MALFORMED),
        Some(("sha512", sum)) => (sum.len() == 128).then_some(()).ok_or(rules::HASH_SIZE),
        Some(("sha256", sum)) if visit.spec >= Spec::V3_1 => {
            (sum.len() == 64).then_some(()).ok_or(rules::HASH_SIZE)
        }
        Some(_) => Err(rules::HASH_UNKNOWN),
    };
    visit.require(&[field("hash")], outcome);
}

/// The proxies, which must be http: or https: URLs.
pub(super) fn proxy(visit: &mut Visit<'_>) {
    for name in ["httpProxy", "httpsProxy"] {
        let Some(proxy) = visit.record.text(name) else { continue };
        match GoUrl::parse(proxy).map(|url| url.scheme).as_deref() {
            None => visit.error(&[field(name)], rules::INVALID_URL),
            Some("http") if name == "httpsProxy" => visit.warning(&[field(name)], rules::PROXY_PLAIN),
            Some("http" | "https") => {}
            Some(_) => visit.error(&[field(name)], rules::PROXY),
        }
    }
}
