//! Everything in a config that becomes bytes on a machine or is fetched by it, including configs inside the config.
//!
//! For modules that judge contents (`secrets`, `closure`). Leaves users, disks and links to [`super::show`].

use prebake_text::finding::{Place, Source};
use prebake_text::json::lossy;

use super::closure::gunzip;
use super::tree::{Node, Origin, Record};
use super::{Config, data_url};

/// Deepest nesting of configs inside configs that is followed.
const MAX_DEPTH: usize = 8;
/// Most bytes to which a compressed content may decompress.
const MAX_UNPACKED: u64 = 256 << 20;

/// A part of a config with bytes.
#[derive(Clone, Debug)]
pub struct Part {
    /// Purpose of the part.
    pub role: Role,
    /// Absolute path on the machine, or its owner if it has none: `--append NAME`, `volume data`.
    pub name: String,
    /// Its bytes, or their URL.
    pub contents: Contents,
    /// Names of the embedded configs that contain it, outermost first; empty in the config itself.
    pub within: Vec<String>,
    /// Place in the file, if a person wrote it.
    pub place: Option<Place>,
}

/// Purpose of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The contents of a file, or of a piece that is appended to a file.
    File,
    /// The text of a unit or drop-in.
    Unit,
    /// A config that is merged or replaces this one.
    Config,
    /// Certificates that Ignition trusts while fetching.
    Authority,
    /// The key of an encrypted volume.
    VolumeKey,
    /// The value of an HTTP header for fetching.
    Header,
    /// A kernel argument that the config adds.
    KernelArgument,
    /// The hash of a user's or group's password.
    PasswordHash,
}

/// The bytes of a part.
#[derive(Clone, Debug)]
pub enum Contents {
    /// In the config; decoded and decompressed.
    Here(Vec<u8>),
    /// Fetched by the machine.
    Fetched {
        /// The URL in the config.
        url: String,
        /// The promised hash of the decompressed contents, such as `sha512-…`.
        hash: Option<String>,
        /// Whether they are gzipped.
        packed: bool,
    },
    /// In the config, but undecodable; holds the reason.
    Broken(String),
}

impl Contents {
    /// The bytes, if they are in the config.
    pub fn here(&self) -> Option<&[u8]> {
        match self {
            Contents::Here(bytes) => Some(bytes),
            Contents::Fetched { .. } | Contents::Broken(_) => None,
        }
    }
}

/// Every part, in the order of the config; the parts of an embedded config follow it immediately.
pub fn parts(config: &Config) -> Vec<Part> {
    let mut walk = Walk { parts: Vec::new(), within: Vec::new(), outer: None };
    walk.config(config);
    walk.parts
}

struct Walk {
    parts: Vec<Part>,
    within: Vec<String>,
    /// Place of the embedded config that is being searched; its own places are not in a file that anybody wrote.
    outer: Option<Option<Place>>,
}

impl Walk {
    fn config(&mut self, config: &Config) {
        let root = &config.root;
        if let Some(ignition) = root.record("ignition") {
            if let Some(references) = ignition.record("config") {
                for reference in references.records("merge").chain(references.record("replace")) {
                    self.reference(reference);
                }
            }
            let tls = ignition.record("security").and_then(|security| security.record("tls"));
            for authority in tls.iter().flat_map(|tls| tls.records("certificateAuthorities")) {
                self.resource(Role::Authority, "certificate authority", authority);
            }
        }
        for node in root.record("kernelArguments").iter().flat_map(|args| args.list("shouldExist")) {
            self.text(Role::KernelArgument, "the kernel arguments", node);
        }
        if let Some(passwd) = root.record("passwd") {
            for owner in passwd.records("users").chain(passwd.records("groups")) {
                if let Some(hash) = owner.get("passwordHash") {
                    self.text(Role::PasswordHash, owner.text("name").unwrap_or_default(), hash);
                }
            }
        }
        if let Some(storage) = root.record("storage") {
            for file in storage.records("files") {
                let path = file.text("path").unwrap_or_default();
                for resource in file.record("contents").into_iter().chain(file.records("append")) {
                    self.resource(Role::File, path, resource);
                }
            }
            for volume in storage.list("luks").iter().filter_map(Node::as_record) {
                let name = format!("volume {}", volume.text("name").unwrap_or_default());
                if let Some(key) = volume.record("keyFile") {
                    self.resource(Role::VolumeKey, &name, key);
                }
            }
        }
        for unit in root.record("systemd").iter().flat_map(|systemd| systemd.records("units")) {
            let path = format!("/etc/systemd/system/{}", unit.text("name").unwrap_or_default());
            if let Some(contents) = unit.get("contents") {
                self.text(Role::Unit, &path, contents);
            }
            for dropin in unit.records("dropins") {
                if let Some(contents) = dropin.get("contents") {
                    let name = dropin.text("name").unwrap_or_default();
                    self.text(Role::Unit, &format!("{path}.d/{name}"), contents);
                }
            }
        }
    }

    fn text(&mut self, role: Role, name: &str, node: &Node) {
        let text = node.as_text().unwrap_or_default();
        if !text.is_empty() {
            self.push(role, name, Contents::Here(text.as_bytes().to_vec()), &node.origin);
        }
    }

    /// Adds a resource, and the headers with which it is fetched.
    fn resource(&mut self, role: Role, name: &str, resource: &Record) {
        let Some(source) = resource.get("source") else { return };
        let url = source.as_text().unwrap_or_default();
        if url.is_empty() {
            return;
        }
        self.push(role, name, contents(resource, url), &source.origin);
        for header in resource.list("httpHeaders").iter().filter_map(Node::as_record) {
            if let Some(value) = header.get("value") {
                let name = format!("header {}", header.text("name").unwrap_or_default());
                self.text(Role::Header, &name, value);
            }
        }
    }

    fn reference(&mut self, reference: &Record) {
        let before = self.parts.len();
        self.resource(Role::Config, "embedded config", reference);
        let Some(part) = self.parts.get(before) else { return };
        let (Contents::Here(bytes), true) = (&part.contents, self.within.len() < MAX_DEPTH) else { return };
        let inner = Source::new("embedded config", lossy(bytes));
        let place = part.place.clone();
        match Config::parse(&inner) {
            Ok(checked) => {
                self.within.push(part.name.clone());
                let outer = self.outer.replace(place);
                self.config(&checked.config);
                self.outer = outer;
                self.within.pop();
            }
            Err(findings) => {
                let why = findings.0.into_iter().next().map_or_else(String::new, |finding| finding.message);
                self.parts[before].contents = Contents::Broken(why);
            }
        }
    }

    fn push(&mut self, role: Role, name: &str, contents: Contents, origin: &Origin) {
        let place = match &self.outer {
            Some(outer) => outer.clone(),
            None => origin.place(),
        };
        self.parts.push(Part { role, name: name.to_owned(), contents, within: self.within.clone(), place });
    }
}

fn contents(resource: &Record, url: &str) -> Contents {
    let packed = resource.filled("compression").is_some();
    if !url.starts_with("data:") {
        let hash = resource.record("verification").and_then(|verification| verification.filled("hash"));
        return Contents::Fetched { url: url.to_owned(), hash: hash.map(str::to_owned), packed };
    }
    let unpack = |bytes: Vec<u8>| if packed { gunzip(&bytes, MAX_UNPACKED) } else { Ok(bytes) };
    match data_url::decode(url).map_err(str::to_owned).and_then(unpack) {
        Ok(bytes) => Contents::Here(bytes),
        Err(why) => Contents::Broken(why),
    }
}

/// Reads a config of a published tree, which may have any bytes.
///
/// # Errors
/// The reason why Ignition would refuse it.
pub fn read(name: &str, bytes: &[u8]) -> Result<Config, String> {
    let source = Source::new(name, lossy(bytes));
    let first = |findings: prebake_text::finding::Findings| {
        findings.0.into_iter().next().map_or_else(|| "it is not a config".into(), |finding| finding.message)
    };
    Config::parse(&source).map_err(first).map(|checked| checked.config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_content_is_found_with_its_name_also_inside_of_an_embedded_config() {
        let inner = json!({"ignition": {"version": "3.3.0"}, "storage": {"files": [
            {"path": "/inner", "contents": {"source": "http://h.invalid/b", "verification": {"hash": format!("sha256-{}", "0".repeat(64))}}}]}});
        let inner = format!("data:;base64,{}", data_url::base64(inner.to_string().as_bytes()));
        let config = Config::from_json(&json!({
            "ignition": {"version": "3.3.0", "config": {"merge": [{"source": inner}]}},
            "kernelArguments": {"shouldExist": ["quiet"]},
            "passwd": {"users": [{"name": "core", "passwordHash": "$6$x"}]},
            "storage": {
                "files": [{"path": "/a", "contents": {"source": "data:,one"}, "append": [{"source": "data:,two"}]}],
                "luks": [{"name": "data", "device": "/dev/sda", "keyFile": {"source": "data:,key"}}],
            },
            "systemd": {"units": [{"name": "x.service", "contents": "[Unit]\n", "dropins": [{"name": "y.conf", "contents": "[Service]\n"}]}]},
        }))
        .unwrap();
        let shown: Vec<(Role, String, String)> = parts(&config)
            .into_iter()
            .map(|part| {
                let contents = match part.contents {
                    Contents::Here(bytes) if part.role == Role::Config => {
                        format!("{} bytes", bytes.len().min(1))
                    }
                    Contents::Here(bytes) => String::from_utf8(bytes).unwrap(),
                    Contents::Fetched { url, .. } => format!("{url} in {}", part.within.join(", ")),
                    Contents::Broken(why) => why,
                };
                (part.role, part.name, contents)
            })
            .collect();
        let row = |role, name: &str, contents: &str| (role, name.to_owned(), contents.to_owned());
        assert_eq!(
            shown,
            [
                row(Role::Config, "embedded config", "1 bytes"),
                row(Role::File, "/inner", "http://h.invalid/b in embedded config"),
                row(Role::KernelArgument, "the kernel arguments", "quiet"),
                row(Role::PasswordHash, "core", "$6$x"),
                row(Role::File, "/a", "one"),
                row(Role::File, "/a", "two"),
                row(Role::VolumeKey, "volume data", "key"),
                row(Role::Unit, "/etc/systemd/system/x.service", "[Unit]\n"),
                row(Role::Unit, "/etc/systemd/system/x.service.d/y.conf", "[Service]\n"),
            ]
        );
    }
}
