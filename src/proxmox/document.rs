//! The meaning of Proxmox VE's answers.
//!
//! Owns the envelope (`{"data": …, "errors": …, "message": …}`), the rows of lists, configs of VMs, tasks and privileges, as its API
//! viewer describes them. A row that lacks what identifies it is left out; a field of another type counts as absent: `1`, `"1"` and
//! `true` are all in use for the same field, by version. Leaves fetching to [`super::wire`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::base::words;

/// Most rows that are read of a list.
const MOST: usize = 20_000;
/// Longest field of a row that is read, in bytes; descriptions have 8 KiB.
const LONGEST: usize = 64 << 10;

/// The document of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// The result.
    pub data: Value,
    /// The server's words about a failure: its message, and what it says of each parameter.
    pub words: Option<String>,
}

/// Reads an answer.
///
/// # Errors
/// In words, what it is instead.
pub fn envelope(bytes: &[u8]) -> Result<Envelope, String> {
    if let Some(title) = words::page(bytes) {
        return Err(match title.as_str() {
            "" => "it is a page of HTML".into(),
            title => format!("it is the page “{title}”"),
        });
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| words::of_serde(&error))?;
    let Value::Object(mut object) = value else { return Err("it is no JSON object".into()) };
    let mut said: Vec<String> =
        object.get("message").and_then(text).map(|text| text.trim().to_owned()).into_iter().collect();
    if let Some(errors) = object.get("errors").and_then(Value::as_object) {
        said.extend(
            errors.iter().take(20).map(|(key, why)| format!("{key}: {}", why.as_str().unwrap_or("?").trim())),
        );
    }
    said.retain(|text| !text.is_empty());
    let words = (!said.is_empty()).then(|| said.join("; "));
    match object.remove("data") {
        Some(data) => Ok(Envelope { data, words }),
        None if words.is_some() => Ok(Envelope { data: Value::Null, words }),
        None => Err("it has no `data`".into()),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.len() <= LONGEST => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Bool(is) => *is,
        value => number(value) == Some(1),
    }
}

fn rows(data: &Value) -> impl Iterator<Item = &Value> {
    data.as_array().into_iter().flatten().take(MOST)
}

fn words_of(list: &Value, separators: &[char]) -> BTreeSet<String> {
    let text = text(list).unwrap_or_default();
    text.split(separators).map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A version, such as 9.1.4: the first two numbers.
pub fn version(data: &Value) -> Option<(String, (u32, u32))> {
    let text = text(&data["version"])?;
    let mut numbers = text.split(['.', '-', '~']).map(|part| part.parse::<u32>().ok());
    let known = (numbers.next()??, numbers.next().flatten().unwrap_or(0));
    Some((text, known))
}

/// A node of the cluster, and whether it is online.
pub fn nodes(data: &Value) -> Vec<(String, bool)> {
    let row = |row: &Value| Some((text(&row["node"])?, row["status"] == "online"));
    let mut nodes: Vec<_> = rows(data).filter_map(row).collect();
    nodes.sort();
    nodes
}

/// A storage of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Its name, which is the beginning of its volumes' ids.
    pub name: String,
    /// Its content types, such as `images` and `import`.
    pub content: BTreeSet<String>,
    /// Whether it is enabled and can be reached.
    pub is_there: bool,
    /// Free bytes, if it tells them.
    pub free: Option<u64>,
}

/// The storages of a node, by name.
pub fn storages(data: &Value) -> Vec<Storage> {
    let row = |row: &Value| {
        Some(Storage {
            name: text(&row["storage"])?,
            content: words_of(&row["content"], &[',', ' ', ';']),
            is_there: [&row["active"], &row["enabled"]].iter().all(|flag| flag.is_null() || is_set(flag)),
            free: number(&row["avail"]),
        })
    };
    let mut storages: Vec<_> = rows(data).filter_map(row).collect();
    storages.sort_by(|a, b| a.name.cmp(&b.name));
    storages
}

/// A volume on a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// `STORAGE:NAME`.
    pub id: String,
    /// Length in bytes.
    pub size: Option<u64>,
    /// The volume that a linked clone is one of.
    pub parent: Option<String>,
    /// The VM that it belongs to.
    pub vm: Option<u64>,
}

/// The volumes of a storage.
pub fn volumes(data: &Value) -> Vec<Volume> {
    let row = |row: &Value| {
        Some(Volume {
            id: text(&row["volid"])?,
            size: number(&row["size"]),
            parent: text(&row["parent"]),
            vm: number(&row["vmid"]),
        })
    };
    rows(data).filter_map(row).collect()
}

/// A VM or container of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guest {
    /// Its id.
    pub id: u32,
    /// Its name; empty without one.
    pub name: String,
    /// The node that it is on.
    pub node: String,
    /// Whether it is a VM, and not a container.
    pub is_vm: bool,
    /// Whether it is a template.
    pub is_template: bool,
}

/// The VMs and containers that the token may see, by id. The list of a whole cluster has each as soon as it is there, and its name up to
/// ten seconds later (`PVE::API2Tools::extract_vm_stats`); that of a node, for which `node` stands, has all at once.
pub fn guests(data: &Value, node: Option<&str>) -> Vec<Guest> {
    let row = |row: &Value| {
        Some(Guest {
            id: number(&row["vmid"])?.try_into().ok()?,
            name: text(&row["name"]).unwrap_or_default(),
            node: text(&row["node"]).or_else(|| node.map(str::to_owned))?,
            is_vm: row["type"] != "lxc",
            is_template: is_set(&row["template"]),
        })
    };
    let mut guests: Vec<_> = rows(data).filter_map(row).collect();
    guests.sort();
    guests
}

/// The config of a VM: its settings as texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config(BTreeMap<String, String>);

impl Config {
    /// A setting.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether it is a template.
    pub fn is_template(&self) -> bool {
        self.get("template") == Some("1")
    }

    /// All settings.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// The config of a VM.
pub fn config(data: &Value) -> Config {
    let settings = data.as_object().into_iter().flatten().take(MOST);
    let texts = settings.filter_map(|(key, value)| {
        let value = value.as_bool().map(|is| u8::from(is).to_string()).or_else(|| text(value))?;
        Some((key.clone(), value))
    });
    Config(texts.collect())
}

/// A task's id: `UPID:NODE:PID:PSTART:STARTTIME:TYPE:ID:USER:` (`PVE::Tools::upid_decode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// All of it.
    pub id: String,
    /// The node that does it.
    pub node: String,
    /// Its kind, such as `qmcreate`.
    pub kind: String,
}

/// Reads a task's id.
pub fn task(data: &Value) -> Option<Task> {
    task_of(data.as_str()?)
}

fn task_of(id: &str) -> Option<Task> {
    let parts: Vec<&str> = id.split(':').collect();
    let [head, node, pid, start, time, kind, _, user, ""] = parts[..] else { return None };
    let hex = |text: &str| text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let label = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let fits =
        head == "UPID" && id.len() <= 512 && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    let numbers = [pid, start, time].into_iter().all(hex);
    (fits && numbers && label(node) && label(kind) && !user.is_empty()).then(|| Task {
        id: id.to_owned(),
        node: node.to_owned(),
        kind: kind.to_owned(),
    })
}

/// Tasks of a list.
pub fn tasks(data: &Value) -> Vec<Task> {
    rows(data).filter_map(|row| task(&row["upid"])).collect()
}

/// How far a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Running,
    /// It was done; with the number of its warnings in words, if it had some.
    Done(Option<String>),
    /// It failed, in the server's words.
    Failed(String),
}

/// The state of a task; nothing of another document.
pub fn state(data: &Value) -> Option<State> {
    match data["status"].as_str()? {
        "running" => Some(State::Running),
        "stopped" => Some(match text(&data["exitstatus"]).as_deref().map(str::trim) {
            Some("OK") => State::Done(None),
            Some(words) if words.starts_with("WARNINGS") => State::Done(Some(words.to_owned())),
            Some(words) if !words.is_empty() => State::Failed(words.to_owned()),
            // A worker that was killed leaves none.
            _ => State::Failed("it ended without an exit status".into()),
        }),
        _ => None,
    }
}

/// The privileges on a path. Other paths of the answer do not count.
pub fn privileges(data: &Value, path: &str) -> BTreeSet<String> {
    data[path].as_object().into_iter().flatten().take(MOST).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_says_its_message_and_what_is_wrong_with_each_parameter() {
        let text = br#"{"data":null,"errors":{"scsihw":"value 'virtio' does not have a value in the enumeration\n"},"message":"Parameter verification failed.\n"}"#;
        let read = envelope(text).unwrap();
        assert_eq!(
            read.words.unwrap(),
            "Parameter verification failed.; scsihw: value 'virtio' does not have a value in the enumeration"
        );
        assert_eq!(envelope(br#"{"data":[]}"#).unwrap().data, json!([]));
        assert_eq!(
            envelope(b"<!DOCTYPE html><title>502 Bad Gateway</title>").unwrap_err(),
            "it is the page “502 Bad Gateway”"
        );
        for other in [&b"[]"[..], b"{}", b"{\"data\":", b"", b"OK"] {
            envelope(other).unwrap_err();
        }
    }

    #[test]
    fn a_flag_is_a_number_a_text_or_a_boolean_and_a_row_without_its_name_is_left_out() {
        let list = json!([
            {"vmid": 9, "node": "a", "name": "x", "template": 1}, {"vmid": "8", "node": "b", "template": "1", "type": "qemu"},
            {"vmid": 7, "node": "a", "template": true, "type": "lxc"}, {"node": "a"}, {"vmid": -1, "node": "a"}, 7, null
        ]);
        let guests = guests(&list, None);
        assert_eq!(guests.iter().map(|guest| guest.id).collect::<Vec<_>>(), [7, 8, 9]);
        assert!(guests.iter().all(|guest| guest.is_template));
        let storages = storages(
            &json!([{"storage": "local", "content": "iso,import", "active": 1, "enabled": 1, "avail": "7"}, {"storage": "nfs", "active": 0}]),
        );
        assert_eq!((storages[0].is_there, storages[0].free, storages[1].is_there), (true, Some(7), false));
        assert!(storages[0].content.contains("import"));
    }

    #[test]
    fn a_task_is_running_done_or_failed_in_its_own_words() {
        let id = "UPID:pve:0000A1B2:01C2D3E4:66AABBCC:qmcreate:211:capi@pve!prebake:";
        let task = task(&json!(id)).unwrap();
        assert_eq!((task.node.as_str(), task.kind.as_str()), ("pve", "qmcreate"));
        for other in [
            "",
            "UPID:",
            "UPID:../x:0000A1B2:01C2D3E4:66AABBCC:qmcreate:211:u:",
            "UPID:pve:0000A1B2:01C2D3E4:66AABBCC:qmcreate:2/1:u:",
        ] {
            assert_eq!(super::task(&json!(other)), None, "{other}");
        }
        assert_eq!(state(&json!({"status": "running"})), Some(State::Running));
        assert_eq!(state(&json!({"status": "stopped", "exitstatus": "OK"})), Some(State::Done(None)));
        assert_eq!(
            state(&json!({"status": "stopped", "exitstatus": "WARNINGS: 1"})),
            Some(State::Done(Some("WARNINGS: 1".into())))
        );
        assert!(
            matches!(state(&json!({"status": "stopped", "exitstatus": "no space"})), Some(State::Failed(words)) if words == "no space")
        );
        assert!(matches!(state(&json!({"status": "stopped"})), Some(State::Failed(_))));
        assert_eq!(state(&json!({})), None);
    }
}
