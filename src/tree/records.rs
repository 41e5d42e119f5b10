//! Group and profile files of Matchbox: each is one type, which builder, server, closure and `diff` share.
//!
//! They are read as Matchbox reads them, with Go's `encoding/json`: keys match without regard to case, unknown ones are
//! ignored, of two equal ones the last wins (objects are filled twice), and `null` is as good as absent. A value of
//! another type makes the whole file unusable. `Deserialize` can say none of that, so [`Group::read`] and
//! [`Profile::read`] are the only readers; writing needs no such leniency, and `Serialize` is derived. Pure; which files
//! there are is [`datadir`](crate::serve::site::datadir)'s to know.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::notes::{self, Note};
use crate::base::canonical::canonical_json;
use crate::base::conflict;
use crate::base::json::{self, Member, Raw, RawValue, same_key};
use crate::ignition::Spec;

/// A record, and what of its file does nothing or not what was meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted<T> {
    /// The parsed group or profile.
    pub record: T,
    /// Remarks for the author of the file.
    pub notes: Vec<Note>,
}

impl<T> Noted<T> {
    /// Makes the record shareable.
    pub(crate) fn shared(self) -> Noted<Arc<T>> {
        let Noted { record, notes } = self;
        Noted { record: Arc::new(record), notes }
    }
}

const GROUP: [&str; 5] = ["id", "name", "profile", "selector", "metadata"];
const PROFILE: [&str; 6] = ["id", "name", "ignition_id", "cloud_id", "generic_id", "boot"];
const BOOT: [&str; 3] = ["kernel", "initrd", "args"];

impl Group {
    /// Reads a group; `id` is its file name without `.json`, for the one inside is never looked at.
    ///
    /// # Errors
    /// A fault of the file, in words close to Go's.
    pub fn read(id: &str, bytes: &[u8]) -> Result<Group, String> {
        Group::noted(id, bytes).map(|noted| noted.record)
    }

    /// As [`Group::read`], with what a person should know of the file.
    ///
    /// # Errors
    /// As [`Group::read`].
    pub(crate) fn noted(id: &str, bytes: &[u8]) -> Result<Noted<Group>, String> {
        let mut group = Group { id: id.into(), ..Group::default() };
        let mut said = String::new();
        let raw = parse(bytes)?;
        let members = members("the group", &raw)?;
        for Member { key, value, .. } in members {
            match field(key, &GROUP) {
                Some("id") => text("id", value, &mut said)?,
                Some("name") => text("name", value, &mut group.name)?,
                Some("profile") => text("profile", value, &mut group.profile)?,
                Some("selector") => texts_by_key("selector", value, &mut group.selector)?,
                Some("metadata") => values("metadata", value, &mut group.metadata)?,
                _ => {}
            }
        }
        let mut notes = notes::keys("a group", members.iter().map(|member| &*member.key), &GROUP);
        notes.extend(notes::selector(&group.selector));
        for (key, value) in group.selector.iter_mut().filter(|(key, _)| key.eq_ignore_ascii_case("mac")) {
            *value =
                normal_mac(value).ok_or_else(|| format!("selector {key}: `{value}` is not a MAC address"))?;
        }
        Ok(Noted { record: group, notes })
    }

    /// The file's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        canonical_json(self)
    }
}

impl Profile {
    /// Reads a profile, which must say an `id`, whatever it is.
    ///
    /// # Errors
    /// As [`Group::read`].
    pub fn read(bytes: &[u8]) -> Result<Profile, String> {
        Profile::noted(bytes).map(|noted| noted.record)
    }

    /// As [`Profile::read`], with what a person should know of the file.
    ///
    /// # Errors
    /// As [`Group::read`].
    pub(crate) fn noted(bytes: &[u8]) -> Result<Noted<Profile>, String> {
        let mut profile = Profile::default();
        let raw = parse(bytes)?;
        let all = members("the profile", &raw)?;
        let mut notes = notes::keys("a profile", all.iter().map(|member| &*member.key), &PROFILE);
        for Member { key, value, .. } in all {
            match field(key, &PROFILE) {
                Some("id") => text("id", value, &mut profile.id)?,
                Some("name") => text("name", value, &mut profile.name)?,
                Some("ignition_id") => text("ignition_id", value, &mut profile.ignition_id)?,
                Some("cloud_id") => text("cloud_id", value, &mut profile.cloud_id)?,
                Some("generic_id") => text("generic_id", value, &mut profile.generic_id)?,
                Some("boot") if matches!(value.value, RawValue::Null) => profile.boot = None,
                Some("boot") => {
                    boot(value, profile.boot.get_or_insert_default())?;
                    let keys = members("boot", value)?.iter().map(|member| &*member.key);
                    notes.extend(notes::keys("`boot`", keys, &BOOT));
                }
                _ => {}
            }
        }
        match profile.id.is_empty() {
            true => Err("a profile needs an `id`, even though it is found by its file name".into()),
            false => {
                notes.extend(profile.boot.iter().flat_map(notes::boot));
                Ok(Noted { record: profile, notes })
            }
        }
    }

    /// The file's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        canonical_json(self)
    }
}

fn boot(raw: &Raw, boot: &mut Boot) -> Result<(), String> {
    for Member { key, value, .. } in members("boot", raw)? {
        match field(key, &BOOT) {
            Some("kernel") => text("boot.kernel", value, &mut boot.kernel)?,
            Some("initrd") => boot.initrd = texts("boot.initrd", value)?,
            Some("args") => boot.args = texts("boot.args", value)?,
            _ => {}
        }
    }
    Ok(())
}

fn parse(bytes: &[u8]) -> Result<Raw, String> {
    let text = json::lossy(bytes);
    json::parse(&text).map_err(|error| match conflict::first(&text) {
        Some(line) => format!("a merge conflict at line {line}"),
        None => error.message,
    })
}

/// The field that Go assigns a key to.
pub(crate) fn field<'n>(key: &str, names: &[&'n str]) -> Option<&'n str> {
    names.iter().find(|name| same_key(key, name)).copied()
}

fn misfit(name: &str, raw: &Raw, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into {name} of type {wanted}", raw.kind())
}

fn members<'r>(name: &str, raw: &'r Raw) -> Result<&'r [Member], String> {
    match &raw.value {
        RawValue::Object(members) => Ok(members),
        RawValue::Null => Ok(&[]),
        _ => Err(misfit(name, raw, "object")),
    }
}

fn text(name: &str, raw: &Raw, slot: &mut String) -> Result<(), String> {
    match &raw.value {
        RawValue::Text(text) => slot.clone_from(text),
        RawValue::Null => {}
        _ => return Err(misfit(name, raw, "string")),
    }
    Ok(())
}

fn texts(name: &str, raw: &Raw) -> Result<Vec<String>, String> {
    let RawValue::List(items) = &raw.value else {
        return if matches!(raw.value, RawValue::Null) {
            Ok(Vec::new())
        } else {
            Err(misfit(name, raw, "array"))
        };
    };
    let item = |raw| {
        let mut item = String::new();
        text(name, raw, &mut item).map(|()| item)
    };
    items.iter().map(item).collect()
}

fn texts_by_key(name: &str, raw: &Raw, slot: &mut BTreeMap<String, String>) -> Result<(), String> {
    if matches!(raw.value, RawValue::Null) {
        slot.clear();
    }
    for Member { key, value, .. } in members(name, raw)? {
        let mut item = String::new();
        text(name, value, &mut item)?;
        slot.insert(key.clone(), item);
    }
    Ok(())
}

fn values(name: &str, raw: &Raw, slot: &mut Map<String, Value>) -> Result<(), String> {
    if matches!(raw.value, RawValue::Null) {
        slot.clear();
    }
    for Member { key, value: raw, .. } in members(name, raw)? {
        slot.insert(key.clone(), value(name, raw)?);
    }
    Ok(())
}

/// Parses any value. Every number is a `float64`, as in Go.
fn value(name: &str, raw: &Raw) -> Result<Value, String> {
    Ok(match &raw.value {
        RawValue::Null => Value::Null,
        RawValue::Flag(flag) => Value::Bool(*flag),
        RawValue::Number(digits) => {
            let number = digits.parse().ok().and_then(Number::from_f64);
            let beyond = || format!("json: cannot unmarshal number {digits} into {name} of type float64");
            Value::Number(number.ok_or_else(beyond)?)
        }
        RawValue::Text(text) => Value::String(text.clone()),
        RawValue::List(items) => {
            Value::Array(items.iter().map(|item| value(name, item)).collect::<Result<_, _>>()?)
        }
        RawValue::Object(_) => {
            let mut object = Map::new();
            values(name, raw, &mut object)?;
            Value::Object(object)
        }
    })
}

/// The newest spec that Matchbox reads, and the only one that it writes: it answers anything newer with an empty config.
pub(crate) const CEILING: Spec = Spec::V3_4;

/// Go's `net.ParseMAC` and its output: 6, 8 or 20 octets in pairs separated by `:` or `-`, in groups of four digits
/// separated by `.`, or without separators. The output is lower case with colons.
pub fn normal_mac(text: &str) -> Option<String> {
    let separator = text.chars().find(|c| matches!(c, ':' | '-' | '.'));
    let digits: String = match separator {
        None => text.to_owned(),
        Some(separator) => {
            let width = if separator == '.' { 4 } else { 2 };
            let groups: Vec<&str> = text.split(separator).collect();
            groups.iter().all(|group| group.len() == width).then(|| groups.concat())?
        }
    };
    let octets = digits.len() / 2;
    let is_mac = digits.len().is_multiple_of(2)
        && matches!(octets, 6 | 8 | 20)
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let pairs = || (0..octets).map(|i| digits[2 * i..2 * i + 2].to_ascii_lowercase());
    is_mac.then(|| pairs().collect::<Vec<_>>().join(":"))
}

/// A Matchbox profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// As the file says it; groups find a profile by the name of its file.
    pub id: String,
    /// The name for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The files that the loader loads; a profile without it boots no machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    /// The name of the config below `ignition/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ignition_id: String,
    /// The name of the template below `generic/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub generic_id: String,
    /// The name of the cloud-config below `cloud/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cloud_id: String,
}

/// The files that a loader loads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// The kernel's URL.
    pub kernel: String,
    /// URLs of initrds, in order.
    pub initrd: Vec<String>,
    /// Kernel arguments.
    pub args: Vec<String>,
}

/// A group of machines, with its selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its file name without `.json`.
    pub id: String,
    /// The name for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The id of its profile.
    pub profile: String,
    /// The labels that a machine must have. An empty selector matches every machine.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// Variables of templates and `/metadata`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// Labels whose values are unique to one machine.
pub(crate) const IDENTITIES: [&str; 3] = ["mac", "uuid", "serial"];

impl Group {
    /// Whether it is for one machine alone.
    pub(crate) fn is_of_one_machine(&self) -> bool {
        IDENTITIES.iter().any(|key| self.selector.contains_key(*key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn selector(json: &str) -> Result<Vec<(String, String)>, String> {
        Group::read("g", json.as_bytes()).map(|group| group.selector.into_iter().collect())
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.into(), value.into())
    }

    #[test]
    fn keys_match_in_any_case_and_the_last_of_two_wins() {
        let json = r#"{"PROFILE":"a","profile":"b","Profile":null,"colour":7,"id":"other"}"#;
        let group = Group::read("file", json.as_bytes()).unwrap();
        assert_eq!((group.id.as_str(), group.profile.as_str()), ("file", "b"));
    }

    #[test]
    fn an_object_that_is_given_twice_is_filled_twice_and_null_empties_it() {
        assert_eq!(
            selector(r#"{"selector":{"a":"1","b":"2"},"Selector":{"b":"3"}}"#).unwrap(),
            [pair("a", "1"), pair("b", "3")]
        );
        assert_eq!(selector(r#"{"selector":{"a":"1"},"selector":null}"#).unwrap(), []);
        assert_eq!(selector(r#"{"selector":{"a":null}}"#).unwrap(), [pair("a", "")]);
        let twice =
            Profile::read(br#"{"id":"x","boot":{"kernel":"k","args":["a"]},"boot":{"args":["b",null]}}"#);
        let boot = twice.unwrap().boot.unwrap();
        assert_eq!((boot.kernel.as_str(), boot.args), ("k", vec!["b".to_owned(), String::new()]));
    }

    #[test]
    fn a_mac_is_normalised_and_a_value_of_another_type_spoils_the_file() {
        assert_eq!(
            selector(r#"{"selector":{"MAC":"52-54-00-AA-BB-07"}}"#).unwrap(),
            [pair("MAC", "52:54:00:aa:bb:07")]
        );
        for bad in [
            r#"{"selector":{"mac":"nonsense"}}"#,
            r#"{"selector":{"rack":7}}"#,
            r#"{"selector":[]}"#,
            r#"{"metadata":["a"]}"#,
            r#"{"metadata":{"n":1e999}}"#,
            r#"{"name":1}"#,
            r#"{"profile":"x",}"#,
            "\u{feff}{}",
            "[]",
            "",
        ] {
            assert!(selector(bad).is_err(), "{bad}");
        }
        assert_eq!(selector("null").unwrap(), [], "Go takes it for an empty group");
    }

    #[test]
    fn a_profile_needs_an_id_and_may_lack_all_else() {
        let of_id = Profile { id: "x".into(), ..Profile::default() };
        assert_eq!(Profile::read(br#"{"id":"x"}"#).unwrap(), of_id);
        assert_eq!(Profile::read(br#"{"id":"x","boot":{}}"#).unwrap().boot, Some(Boot::default()));
        for bad in [r#"{"id":""}"#, r#"{}"#, r#"{"id":"x","boot":[]}"#, r#"{"id":"x","boot":{"args":"a"}}"#] {
            assert!(Profile::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_never_panics(
            json in r#"(\{|\}|\[|\]|:|,|null|1e9|"id"|"selector"|"metadata"|"boot"|"args"|"mac"|"x"|.){0,30}"#
        ) {
            let _ = (Group::read("g", json.as_bytes()), Profile::read(json.as_bytes()));
        }

        #[test]
        fn what_is_written_is_read_as_it_was(
            words in prop::collection::vec("\\PC{0,8}", 5),
            selector in prop::collection::btree_map("[a-l]{1,6}", "\\PC{0,8}", 0..3),
            initrd in prop::collection::vec("\\PC{0,8}", 0..3),
            has_boot: bool,
        ) {
            let mut words = words.into_iter();
            let mut word = || words.next().unwrap_or_default();
            let metadata = selector.iter().map(|(key, value)| (key.clone(), json!({"x": [value, true]})));
            let group = Group {
                id: "g".into(), name: word(), profile: word(), metadata: metadata.collect(), selector,
            };
            prop_assert_eq!(Group::read("g", &group.to_bytes()), Ok(group));
            let boot = has_boot.then(|| Boot { kernel: word(), args: initrd.clone(), initrd });
            let profile = Profile { id: "x".into(), generic_id: word(), ignition_id: word(), boot, ..Profile::default() };
            prop_assert_eq!(Profile::read(&profile.to_bytes()), Ok(profile));
        }
    }
}
