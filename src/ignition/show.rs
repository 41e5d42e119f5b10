//! Shows a config to people: its files, units and so on, with contents decoded.

use std::collections::BTreeMap;

use prebake_text::count::counted;
use serde::Serialize;

use super::closure::gunzip;
use super::tree::{Node, Record};
use super::{Config, data_url};

/// Contents that decompress to more than this are listed but not shown.
const MAX_SHOWN: u64 = 64 << 20;

/// The effects of a config on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The spec of the config.
    pub spec: &'static str,
    /// Files, directories and links by path.
    pub nodes: BTreeMap<String, Entry>,
    /// Units, in the config's order.
    pub units: Vec<Unit>,
    /// Users, in the config's order.
    pub users: Vec<User>,
    /// Disks, arrays, volumes and filesystems, one line each.
    pub devices: Vec<String>,
    /// Kernel arguments; those that must not exist have a `!`.
    pub kernel_arguments: Vec<String>,
    /// Configs that are merged or replace this one.
    pub configs: Vec<Content>,
}

/// A file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// `file`, `directory`, `link` or `hard link`.
    pub kind: &'static str,
    /// Octal, if it is set.
    pub mode: Option<String>,
    /// `USER:GROUP`, if one of them is set.
    pub owner: Option<String>,
    /// Target of a link.
    pub target: Option<String>,
    /// The contents of a file, followed by the appended pieces.
    pub contents: Vec<Content>,
}

/// A systemd unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Name with its extension.
    pub name: String,
    /// Whether it is enabled or disabled; `None` to leave it as it is.
    pub enabled: Option<bool>,
    /// Whether it is masked.
    pub masked: bool,
    /// Text of the unit, if the config sets it.
    pub contents: Option<String>,
    /// Names and texts of its drop-ins.
    pub dropins: Vec<(String, Option<String>)>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Groups other than the primary one.
    pub groups: Vec<String>,
    /// Whether a password hash is set; it is not shown.
    pub password: bool,
    /// Public keys, one line each.
    pub ssh_authorized_keys: Vec<String>,
}

/// The content of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Content {
    /// The URL, if it is fetched.
    pub url: Option<String>,
    /// The promised hash, such as `sha512-…`.
    pub hash: Option<String>,
    /// Bytes after decompression, if they are in the config.
    pub size: Option<u64>,
    /// The content, if it is text.
    pub text: Option<String>,
    /// The reason why it could not be decoded.
    pub problem: Option<String>,
}

/// Decodes a config.
pub fn show(config: &Config) -> Shown {
    let root = &config.root;
    let storage = root.record("storage");
    let part =
        |name: &str| storage.map_or(&[][..], |storage| storage.list(name)).iter().filter_map(Node::as_record);
    let mut nodes = BTreeMap::new();
    for (list, kind) in [("directories", "directory"), ("files", "file"), ("links", "link")] {
        for node in part(list) {
            nodes.insert(text(node, "path"), entry(node, kind));
        }
    }
    let units =
        root.record("systemd").map_or(Vec::new(), |systemd| systemd.records("units").map(unit).collect());
    let users =
        root.record("passwd").map_or(Vec::new(), |passwd| passwd.records("users").map(user).collect());
    let devices = part("disks")
        .map(|disk| {
            format!("disk {}, {}", text(disk, "device"), counted(disk.list("partitions").len(), "partition"))
        })
        .chain(part("raid").map(|raid| format!("raid {} ({})", text(raid, "name"), text(raid, "level"))))
        .chain(part("luks").map(|luks| format!("luks {} on {}", text(luks, "name"), text(luks, "device"))))
        .chain(part("filesystems").map(|filesystem| {
            format!(
                "{} on {} at {}",
                filesystem.filled("format").unwrap_or("filesystem"),
                text(filesystem, "device"),
                filesystem.filled("path").unwrap_or("no path")
            )
        }));
    let arguments = root.record("kernelArguments").map_or(Vec::new(), |arguments| {
        let wanted = texts(arguments, "shouldExist").into_iter();
        let banned = texts(arguments, "shouldNotExist").into_iter().map(|argument| format!("!{argument}"));
        wanted.chain(banned).collect()
    });
    let references = root.record("ignition").and_then(|ignition| ignition.record("config"));
    let configs = references.map_or(Vec::new(), |references| {
        references.records("merge").chain(references.record("replace")).filter_map(content).collect()
    });
    let spec = config.spec().as_str();
    Shown { spec, nodes, units, users, devices: devices.collect(), kernel_arguments: arguments, configs }
}

fn text(record: &Record, name: &str) -> String {
    record.text(name).unwrap_or_default().to_owned()
}

fn texts(record: &Record, name: &str) -> Vec<String> {
    record.list(name).iter().filter_map(Node::as_text).map(str::to_owned).collect()
}

fn entry(node: &Record, kind: &'static str) -> Entry {
    let hard = kind == "link" && node.is_true("hard");
    let who = |name: &str| {
        let owner = node.record(name)?;
        owner.int("id").map(|id| id.to_string()).or_else(|| owner.text("name").map(str::to_owned))
    };
    let owner = match (who("user"), who("group")) {
        (None, None) => None,
        (user, group) => Some(format!("{}:{}", user.unwrap_or_default(), group.unwrap_or_default())),
    };
    let (mode, target, contents) = match kind {
        "link" => (None, node.text("target").map(str::to_owned), Vec::new()),
        "file" => {
            let parts = node.record("contents").into_iter().chain(node.records("append"));
            (node.int("mode"), None, parts.filter_map(content).collect())
        }
        _ => (node.int("mode"), None, Vec::new()),
    };
    let mode = mode.map(|mode| format!("{mode:04o}"));
    Entry { kind: if hard { "hard link" } else { kind }, mode, owner, target, contents }
}

fn content(resource: &Record) -> Option<Content> {
    let url = resource.text("source")?;
    let hash = resource.record("verification").and_then(|verification| verification.text("hash"));
    let empty = Content { url: None, hash: hash.map(str::to_owned), size: None, text: None, problem: None };
    if !url.starts_with("data:") {
        return Some(Content { url: Some(url.to_owned()), ..empty });
    }
    let decoded = data_url::decode(url).map_err(str::to_owned).and_then(|bytes| {
        if resource.filled("compression").is_some() { gunzip(&bytes, MAX_SHOWN) } else { Ok(bytes) }
    });
    Some(match decoded {
        Ok(bytes) => {
            let size = Some(bytes.len() as u64);
            let printable = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
            let text = String::from_utf8(bytes).ok().filter(|text| text.chars().all(printable));
            Content { size, text, ..empty }
        }
        Err(problem) => Content { problem: Some(problem), ..empty },
    })
}

fn unit(unit: &Record) -> Unit {
    let dropins = unit
        .records("dropins")
        .map(|dropin| (text(dropin, "name"), dropin.text("contents").map(str::to_owned)));
    Unit {
        name: text(unit, "name"),
        enabled: unit.flag("enabled"),
        masked: unit.is_true("mask"),
        contents: unit.text("contents").map(str::to_owned),
        dropins: dropins.collect(),
    }
}

fn user(user: &Record) -> User {
    User {
        name: text(user, "name"),
        groups: texts(user, "groups"),
        password: user.filled("passwordHash").is_some(),
        ssh_authorized_keys: texts(user, "sshAuthorizedKeys"),
    }
}
