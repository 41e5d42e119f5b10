//! Lists the sources that a boot would fetch, and replaces them by local ones.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use prebake_text::digest::{Sha256, Sha512};
use prebake_text::finding::{Finding, Findings, Place, Source};
use prebake_text::json::lossy;

use super::report::located;
use super::schema::{self, Schema};
use super::spec::Spec;
use super::tree::{Node, Origin, Record, Value};
use super::{Config, data_url};

/// Deepest nesting of configs inside configs that is followed.
const MAX_DEPTH: usize = 8;
/// Most bytes to which a compressed content may decompress.
pub(crate) const MAX_UNPACKED: u64 = 1 << 30;

/// A source that Ignition fetches over the network.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The URL in the config.
    pub url: String,
    /// The hash that the config promises, such as `sha512-…`; of the contents after decompression.
    pub hash: Option<String>,
    /// Whether it is a config, which can name further sources.
    pub is_config: bool,
    /// `gzip`, or `None`.
    pub compression: Option<String>,
    /// Path of the source inside the config.
    pub path: Option<String>,
    /// Place in the file that a person wrote.
    pub place: Option<Place>,
}

/// Replacement for a remote source.
#[derive(Clone, Debug)]
pub enum Replacement {
    /// Keep the source.
    Keep,
    /// Embed these bytes, which must be as they would have been fetched.
    Inline(Vec<u8>),
    /// Another URL with these bytes, whose hash is written into the config.
    Url(String, Vec<u8>),
}

/// Every source that a boot with this config would fetch, in the order of the config. Configs that are embedded as data
/// URLs are searched too; the sources in a remote config are not known.
pub fn remotes(config: &Config) -> Vec<Remote> {
    let mut remotes = Vec::new();
    let mut config = config.clone();
    let keep: &mut Replace<'_> = &mut |remote| {
        remotes.push(remote.clone());
        Ok(Replacement::Keep)
    };
    Rewriter { replace: keep, spec: config.spec, depth: 0, findings: Vec::new() }.record(&mut config.root);
    remotes
}

/// Replaces remote sources. The bytes must match the hash that the config promises.
///
/// # Errors
/// Bytes that do not match, and errors of `replace`.
pub fn rewrite(
    mut config: Config,
    replace: &mut dyn FnMut(&Remote) -> Result<Replacement, String>,
) -> Result<Config, Findings> {
    let mut rewriter = Rewriter { replace, spec: config.spec, depth: 0, findings: Vec::new() };
    rewriter.record(&mut config.root);
    let findings = rewriter.findings;
    Findings::settle(findings, config).map(|(config, _)| config)
}

type Replace<'r> = dyn FnMut(&Remote) -> Result<Replacement, String> + 'r;

struct Rewriter<'r> {
    replace: &'r mut Replace<'r>,
    spec: Spec,
    depth: usize,
    findings: Vec<Finding>,
}

impl Rewriter<'_> {
    fn record(&mut self, record: &mut Record) {
        let resources: [&'static Schema; 3] =
            [&schema::RESOURCE, &schema::CONFIG_REFERENCE, &schema::AUTHORITY];
        if resources.iter().any(|resource| std::ptr::eq(*resource, record.schema)) {
            return self.resource(record);
        }
        for index in 0..record.schema.fields.len() {
            match record.at_mut(index).as_mut().map(|node| &mut node.value) {
                Some(Value::Record(part)) => self.record(part),
                Some(Value::List(items)) => {
                    for item in items {
                        if let Value::Record(part) = &mut item.value {
                            self.record(part);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn resource(&mut self, resource: &mut Record) {
        let Some(source) = resource.get("source").cloned() else { return };
        let url = source.as_text().unwrap_or_default();
        let is_config = std::ptr::eq(resource.schema, &schema::CONFIG_REFERENCE);
        let outcome = if url.is_empty() {
            Ok(())
        } else if url.starts_with("data:") {
            if is_config { self.embedded(resource, url, &source.origin) } else { Ok(()) }
        } else {
            self.remote(resource, url, is_config, &source.origin)
        };
        if let Err(why) = outcome {
            self.findings.push(located(Finding::error(why), &source.origin, &[]));
        }
    }

    fn remote(
        &mut self,
        resource: &mut Record,
        url: &str,
        is_config: bool,
        origin: &Origin,
    ) -> Result<(), String> {
        let hash = resource.record("verification").and_then(|verification| verification.text("hash"));
        let remote = Remote {
            url: url.to_owned(),
            hash: hash.map(str::to_owned),
            is_config,
            compression: resource.filled("compression").map(str::to_owned),
            path: origin.path(),
            place: origin.place(),
        };
        let (bytes, new_url) = match (self.replace)(&remote)? {
            Replacement::Keep => return Ok(()),
            Replacement::Inline(bytes) => (bytes, None),
            Replacement::Url(url, bytes) => (bytes, Some(url)),
        };
        let contents = match remote.compression {
            Some(_) => gunzip(&bytes, MAX_UNPACKED)?,
            None => bytes.clone(),
        };
        check_hash(remote.hash.as_deref(), &contents).map_err(|why| format!("{url}: {why}"))?;
        match new_url {
            None if is_config => {
                // An embedded config is searched in turn, so its bytes may change.
                resource.take("verification");
                resource.take("httpHeaders");
                resource.set("compression", Node::text("", origin));
                let embedded = format!("data:;base64,{}", data_url::base64(&contents));
                resource.set("source", Node::text(embedded.clone(), origin));
                self.embedded(resource, &embedded, origin)
            }
            None => {
                resource.take("httpHeaders");
                let embedded = format!("data:;base64,{}", data_url::base64(&bytes));
                resource.set("source", Node::text(embedded, origin));
                Ok(())
            }
            Some(new) => {
                resource.set("source", Node::text(new, origin));
                let hash = format!("sha512-{}", Sha512::of(&contents));
                resource.record_mut("verification", self.spec).set("hash", Node::text(hash, origin));
                Ok(())
            }
        }
    }

    /// Replaces the remote sources of an embedded config.
    fn embedded(&mut self, resource: &mut Record, url: &str, origin: &Origin) -> Result<(), String> {
        if self.depth == MAX_DEPTH {
            return Err(format!("configs inside configs are nested deeper than {MAX_DEPTH} levels"));
        }
        let bytes = data_url::decode(url).map_err(str::to_owned)?;
        let bytes =
            if resource.filled("compression").is_some() { gunzip(&bytes, MAX_UNPACKED)? } else { bytes };
        let name = format!("embedded at {}", origin.path().unwrap_or_default());
        let inner = Source::new(name, lossy(&bytes));
        let inner =
            Config::parse(&inner).map_err(|findings| format!("the config inside: {findings}"))?.config;
        let mut changed = inner.clone();
        let spec = std::mem::replace(&mut self.spec, inner.spec);
        self.depth += 1;
        self.record(&mut changed.root);
        self.depth -= 1;
        self.spec = spec;
        if changed != inner {
            resource.take("verification");
            resource.set("compression", Node::text("", origin));
            let json = changed.to_json();
            let embedded = format!("data:;base64,{}", data_url::base64(json.as_bytes()));
            resource.set("source", Node::text(embedded, origin));
        }
        Ok(())
    }
}

/// Checks contents against `sha512-HEX` or `sha256-HEX`; without a hash everything matches.
fn check_hash(hash: Option<&str>, contents: &[u8]) -> Result<(), String> {
    let Some((function, promised)) = hash.and_then(|hash| hash.split_once('-')) else { return Ok(()) };
    let found = match function {
        "sha256" => Sha256::of(contents).to_string(),
        _ => Sha512::of(contents).to_string(),
    };
    match found.eq_ignore_ascii_case(promised) {
        true => Ok(()),
        false => Err(format!("the contents have the {function} {found}, the config promises {promised}")),
    }
}

/// The bytes of a resource as a machine uses them: unpacked if they are `packed` with gzip, up to 1 GiB.
#[doc(hidden)]
pub fn unpacked<'r>(bytes: impl Read + 'r, packed: bool) -> Box<dyn Read + 'r> {
    match packed {
        true => Box::new(MultiGzDecoder::new(bytes).take(MAX_UNPACKED)),
        false => Box::new(bytes),
    }
}

/// Decompresses gzip up to a limit.
///
/// # Errors
/// A broken stream, or one that decompresses to more than `limit` bytes.
#[doc(hidden)]
pub fn gunzip(bytes: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut limited = MultiGzDecoder::new(bytes).take(limit + 1);
    limited.read_to_end(&mut out).map_err(|error| format!("not gzip: {error}"))?;
    match out.len() as u64 > limit {
        true => Err(format!("decompresses to more than {limit} bytes")),
        false => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(value: serde_json::Value) -> Config {
        Config::from_json(&value).unwrap()
    }

    fn two_sources() -> Config {
        let inner = json!({"ignition": {"version": "3.3.0"}, "storage": {"files": [
            {"path": "/b", "contents": {"source": "http://h.invalid/b"}}]}});
        let inner = format!("data:;base64,{}", data_url::base64(inner.to_string().as_bytes()));
        config(json!({"ignition": {"version": "3.3.0", "config": {"merge": [{"source": inner}]}},
            "storage": {"files": [{"path": "/a", "contents": {"source": "https://h.invalid/a",
                "httpHeaders": [{"name": "X", "value": "y"}]}}, {"path": "/c", "contents": {"source": "data:,c"}}]}}))
    }

    #[test]
    fn sources_are_found_inside_embedded_configs_too() {
        let urls: Vec<String> = remotes(&two_sources()).into_iter().map(|remote| remote.url).collect();
        assert_eq!(urls, ["http://h.invalid/b", "https://h.invalid/a"]);
    }

    #[test]
    fn an_inlined_config_fetches_nothing() {
        let inlined =
            rewrite(two_sources(), &mut |remote| Ok(Replacement::Inline(remote.url.clone().into()))).unwrap();
        assert!(remotes(&inlined).is_empty());
        assert!(super::super::validate(&inlined).is_empty(), "headers go with the URL");
    }

    #[test]
    fn bytes_that_break_the_promised_hash_are_refused() {
        let hash = format!("sha512-{}", Sha512::of(b"right"));
        let config = config(json!({"ignition": {"version": "3.3.0"}, "storage": {"files": [{"path": "/a",
            "contents": {"source": "http://h.invalid/a", "verification": {"hash": hash}}}]}}));
        assert!(rewrite(config.clone(), &mut |_| Ok(Replacement::Inline(b"wrong".to_vec()))).is_err());
        let moved = |_: &Remote| Ok(Replacement::Url("http://cache.invalid/a".into(), b"right".to_vec()));
        let moved = rewrite(config, &mut { moved }).unwrap();
        assert_eq!(remotes(&moved)[0].url, "http://cache.invalid/a");
        assert_eq!(remotes(&moved)[0].hash.as_deref(), Some(hash.as_str()));
    }
}
