//! Records and metadata as Matchbox v0.11.0 reads them, with the words of its errors.
//!
//! Owns the types of the fields and Go's messages about them, which clients see when they ask for a record that somebody spoiled.
//! [`records`](crate::tree::records) reads the same files for machines, in words for the administrator. Leaves the syntax of JSON
//! to [`json`].

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::form::{self, RichGroup};
use crate::base::json::{self, Member, Raw, RawValue, same_key};
use crate::serve::rpc::messages::{Group, NetBoot, Profile};
use crate::tree::records::normal_mac;

/// A reader that goes on after a value of a wrong type, as Go's does: the first error is the one that is told.
#[derive(Default)]
struct Reader {
    fault: Option<String>,
}

/// A list that is filled again where it was filled before: Go keeps the old elements, which `null` leaves as they are.
#[derive(Default)]
struct Texts {
    all: Vec<String>,
    count: usize,
}

/// Reads a group's file, and gives each MAC address of its selector the usual form.
///
/// # Errors
/// The file is not a group, in Matchbox's words.
pub fn group(bytes: &[u8]) -> Result<Group, String> {
    let raw = parse(bytes)?;
    let mut reader = Reader::default();
    let mut rich = RichGroup::default();
    for Member { key, value, .. } in reader.members(&raw, Slot::Value, "storagepb.RichGroup") {
        let slot = |name| Slot::Field("RichGroup", name);
        match field(key, &["id", "name", "profile", "selector", "metadata"]) {
            Some("id") => reader.text(value, slot("id"), &mut rich.id),
            Some("name") => reader.text(value, slot("name"), &mut rich.name),
            Some("profile") => reader.text(value, slot("profile"), &mut rich.profile),
            Some("selector") => reader.texts_by_key(value, slot("selector"), &mut rich.selector),
            Some("metadata") => reader.object(value, slot("metadata"), &mut rich.metadata),
            _ => {}
        }
    }
    reader.done()?;
    for (_, value) in rich.selector.iter_mut().filter(|(key, _)| key.eq_ignore_ascii_case("mac")) {
        *value = normal_mac(value).ok_or_else(|| no_mac(value))?;
    }
    let RichGroup { id, name, profile, selector, metadata } = rich;
    let metadata = metadata.as_ref().map(form::metadata).unwrap_or_default();
    Ok(Group { id, name, profile, selector, metadata })
}

/// Go's `net.AddrError`.
fn no_mac(value: &str) -> String {
    match value.is_empty() {
        true => "invalid MAC address".into(),
        false => format!("address {value}: invalid MAC address"),
    }
}

/// A group as it is written to its file.
///
/// # Errors
/// The metadata is not a JSON object, in Matchbox's words.
pub fn rich(group: &Group) -> Result<RichGroup, String> {
    let mut metadata = Some(Map::new());
    if !group.metadata.is_empty() {
        let raw = parse(&group.metadata)?;
        let mut reader = Reader::default();
        reader.object(&raw, Slot::Value, &mut metadata);
        reader.done()?;
    }
    let Group { id, name, profile, selector, .. } = group.clone();
    Ok(RichGroup { id, name, profile, selector, metadata })
}

/// Reads a profile's file.
///
/// # Errors
/// The file is not a profile, in Matchbox's words.
pub fn profile(bytes: &[u8]) -> Result<Profile, String> {
    let raw = parse(bytes)?;
    let mut reader = Reader::default();
    let mut profile = Profile::default();
    let mut boot: Option<(String, Texts, Texts)> = None;
    let fields = ["id", "name", "ignition_id", "cloud_id", "boot", "generic_id"];
    for Member { key, value, .. } in reader.members(&raw, Slot::Value, "storagepb.Profile") {
        let slot = |name| Slot::Field("Profile", name);
        match field(key, &fields) {
            Some("id") => reader.text(value, slot("id"), &mut profile.id),
            Some("name") => reader.text(value, slot("name"), &mut profile.name),
            Some("ignition_id") => reader.text(value, slot("ignition_id"), &mut profile.ignition_id),
            Some("cloud_id") => reader.text(value, slot("cloud_id"), &mut profile.cloud_id),
            Some("generic_id") => reader.text(value, slot("generic_id"), &mut profile.generic_id),
            Some("boot") if matches!(value.value, RawValue::Null) => boot = None,
            Some("boot") => {
                let (kernel, initrd, args) = boot.get_or_insert_default();
                for Member { key, value, .. } in reader.members(value, slot("boot"), "storagepb.NetBoot") {
                    let slot = |name| Slot::Field("NetBoot", name);
                    match field(key, &["kernel", "initrd", "args"]) {
                        Some("kernel") => reader.text(value, slot("boot.kernel"), kernel),
                        Some("initrd") => reader.texts(value, slot("boot.initrd"), initrd),
                        Some("args") => reader.texts(value, slot("boot.args"), args),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    reader.done()?;
    profile.boot =
        boot.map(|(kernel, initrd, args)| NetBoot { kernel, initrd: initrd.done(), args: args.done() });
    match profile.id.is_empty() {
        true => Err(super::NO_ID.into()),
        false => Ok(profile),
    }
}

/// Parses JSON. Go tries a blank after the end, which is one character too many in the middle of a word or number.
fn parse(bytes: &[u8]) -> Result<Raw, String> {
    let mut text = json::lossy(bytes);
    json::parse(&text).map_err(|error| match error.offset {
        Some(_) => error.message,
        None => {
            text.push(' ');
            json::parse(&text).err().map_or(error.message, |error| error.message)
        }
    })
}

fn field<'n>(key: &str, names: &[&'n str]) -> Option<&'n str> {
    names.iter().find(|name| same_key(key, name)).copied()
}

/// The place of a value in Go's messages.
#[derive(Clone, Copy)]
enum Slot {
    /// The whole text.
    Value,
    /// A field of a struct, with the path to it.
    Field(&'static str, &'static str),
}

impl Reader {
    fn done(self) -> Result<(), String> {
        self.fault.map_or(Ok(()), Err)
    }

    fn misfit(&mut self, found: &str, slot: Slot, wanted: &str) {
        self.fault.get_or_insert_with(|| match slot {
            Slot::Value => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
            Slot::Field(of, name) => {
                format!("json: cannot unmarshal {found} into Go struct field {of}.{name} of type {wanted}")
            }
        });
    }

    fn members<'r>(&mut self, raw: &'r Raw, slot: Slot, wanted: &str) -> &'r [Member] {
        match &raw.value {
            RawValue::Object(members) => return members,
            RawValue::Null => {}
            _ => self.misfit(raw.kind(), slot, wanted),
        }
        &[]
    }

    fn text(&mut self, raw: &Raw, slot: Slot, text: &mut String) {
        match &raw.value {
            RawValue::Text(found) => text.clone_from(found),
            RawValue::Null => {}
            _ => self.misfit(raw.kind(), slot, "string"),
        }
    }

    fn texts(&mut self, raw: &Raw, slot: Slot, texts: &mut Texts) {
        match &raw.value {
            RawValue::List(items) if !items.is_empty() => {
                texts.count = items.len();
                texts.all.resize_with(items.len().max(texts.all.len()), String::new);
                for (item, text) in items.iter().zip(&mut texts.all) {
                    self.text(item, slot, text);
                }
            }
            RawValue::List(_) | RawValue::Null => *texts = Texts::default(),
            _ => self.misfit(raw.kind(), slot, "[]string"),
        }
    }

    fn texts_by_key(&mut self, raw: &Raw, slot: Slot, texts: &mut BTreeMap<String, String>) {
        if matches!(raw.value, RawValue::Null) {
            texts.clear();
        }
        for Member { key, value, .. } in self.members(raw, slot, "map[string]string") {
            let mut text = String::new();
            self.text(value, slot, &mut text);
            texts.insert(key.clone(), text);
        }
    }

    /// Fills an object, whose keys are in order afterwards.
    fn object(&mut self, raw: &Raw, slot: Slot, object: &mut Option<Map<String, Value>>) {
        match &raw.value {
            RawValue::Object(members) => {
                let object = object.get_or_insert_default();
                for Member { key, value, .. } in members {
                    object.insert(key.clone(), self.value(value, slot));
                }
                object.sort_keys();
            }
            RawValue::Null => *object = None,
            _ => self.misfit(raw.kind(), slot, "map[string]interface {}"),
        }
    }

    fn value(&mut self, raw: &Raw, slot: Slot) -> Value {
        match &raw.value {
            RawValue::Null => Value::Null,
            RawValue::Flag(flag) => Value::Bool(*flag),
            RawValue::Number(digits) => match digits.parse().ok().and_then(Number::from_f64) {
                Some(number) => Value::Number(number),
                None => {
                    self.misfit(&format!("number {digits}"), slot, "float64");
                    Value::Null
                }
            },
            RawValue::Text(text) => Value::String(text.clone()),
            RawValue::List(items) => Value::Array(items.iter().map(|item| self.value(item, slot)).collect()),
            RawValue::Object(_) => {
                let mut object = None;
                self.object(raw, slot, &mut object);
                Value::Object(object.unwrap_or_default())
            }
        }
    }
}

impl Texts {
    fn done(mut self) -> Vec<String> {
        self.all.truncate(self.count);
        self.all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(
            words in prop::collection::vec("\\PC{0,8}", 6),
            selector in prop::collection::btree_map("[d-l<]{1,6}", "\\PC{0,8}", 0..3),
            numbers in prop::collection::vec(any::<f64>().prop_filter("JSON has none", |number| number.is_finite()), 0..3),
            initrd in prop::collection::vec("\\PC{0,8}", 0..3),
            has_boot: bool,
        ) {
            let mut words = words.into_iter();
            let mut word = || words.next().unwrap_or_default();
            let metadata = serde_json::json!({word(): numbers, "b": selector, "a": {"z": null, "y": [true]}});
            let put = Group {
                id: "g".into(), name: word(), profile: word(), metadata: metadata.to_string().into_bytes(), selector,
            };
            let written = rich(&put).unwrap();
            let got = group(&form::group(&written)).unwrap();
            prop_assert_eq!(&rich(&got).unwrap(), &written);
            let again = group(&form::group(&rich(&got).unwrap())).unwrap();
            prop_assert_eq!(&again, &got);
            prop_assert_eq!(&Group { metadata: put.metadata.clone(), ..got }, &put);
            let boot = has_boot.then(|| NetBoot { kernel: word(), args: initrd.clone(), initrd });
            let put = Profile { id: "x".into(), generic_id: word(), ignition_id: word(), boot, ..Profile::default() };
            prop_assert_eq!(profile(&form::profile(&put)), Ok(put));
        }
    }

    /// Files, and what Matchbox v0.11.0 answered for them.
    #[test]
    fn a_spoilt_group_is_told_in_matchboxs_words() {
        for (file, said) in [
            ("[]", "json: cannot unmarshal array into Go value of type storagepb.RichGroup"),
            ("1", "json: cannot unmarshal number into Go value of type storagepb.RichGroup"),
            ("\"x\"", "json: cannot unmarshal string into Go value of type storagepb.RichGroup"),
            ("", "unexpected end of JSON input"),
            (r#"{"id":1}"#, "json: cannot unmarshal number into Go struct field RichGroup.id of type string"),
            (
                r#"{"selector":{"a":1,"b":[]},"profile":"p"}"#,
                "json: cannot unmarshal number into Go struct field RichGroup.selector of type string",
            ),
            (
                r#"{"selector":[]}"#,
                "json: cannot unmarshal array into Go struct field RichGroup.selector of type map[string]string",
            ),
            (
                r#"{"metadata":1,"selector":1}"#,
                "json: cannot unmarshal number into Go struct field RichGroup.metadata of type map[string]interface {}",
            ),
            (
                r#"{"metadata":{"a":{"b":[1e999]}}}"#,
                "json: cannot unmarshal number 1e999 into Go struct field RichGroup.metadata of type float64",
            ),
            (
                r#"{"name":{"a":1},"id":["x"]}"#,
                "json: cannot unmarshal object into Go struct field RichGroup.name of type string",
            ),
            (r#"{"selector":{"mac":"x"}}"#, "address x: invalid MAC address"),
            (r#"{"selector":{"mac":"52:54:00:aa:bb:gg"}}"#, "address 52:54:00:aa:bb:gg: invalid MAC address"),
            (r#"{"selector":{"mac":""}}"#, "invalid MAC address"),
            (r#"{"id":"a",}"#, "invalid character '}' looking for beginning of object key string"),
            ("\u{feff}{}", "invalid character 'ï' looking for beginning of value"),
        ] {
            assert_eq!(group(file.as_bytes()).unwrap_err(), said, "{file}");
        }
    }

    #[test]
    fn a_group_is_read_as_matchbox_reads_it() {
        let pairs = |file: &str| {
            let group = group(file.as_bytes()).unwrap();
            let selector: Vec<String> = group.selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
            (selector.join(","), String::from_utf8(group.metadata).unwrap())
        };
        for (file, selector, metadata) in [
            ("null", "", ""),
            (r#"{"x":1e999}"#, "", ""),
            (r#"{"selector":{"a":null}}"#, "a=", ""),
            (r#"{"selector":{"a":"1"},"Selector":{"b":"2"}}"#, "a=1,b=2", ""),
            (r#"{"selector":{"Mac":"525400AABB07"}}"#, "Mac=52:54:00:aa:bb:07", ""),
            (r#"{"metadata":{}}"#, "", "{}"),
            (r#"{"metadata":{"a":1},"metadata":null}"#, "", ""),
            (r#"{"metadata":{"a":{"x":1}},"Metadata":{"a":{"y":2},"b":1}}"#, "", r#"{"a":{"y":2},"b":1}"#),
            (r#"{"metadata":{"u":"<\ud800","b":[{},[]]}}"#, "", "{\"b\":[{},[]],\"u\":\"\\u003c\u{fffd}\"}"),
        ] {
            assert_eq!(pairs(file), (selector.to_owned(), metadata.to_owned()), "{file}");
        }
    }

    #[test]
    fn metadata_is_an_object_or_refused_in_matchboxs_words() {
        let written = |metadata: &[u8]| {
            let group =
                Group { id: "m".into(), profile: "p".into(), metadata: metadata.into(), ..Group::default() };
            rich(&group).map(|rich| String::from_utf8(form::group(&rich)).unwrap())
        };
        let bare = "{\n\t\"id\": \"m\",\n\t\"profile\": \"p\"\n}";
        for none in ["", "null", "{}"] {
            assert_eq!(written(none.as_bytes()).unwrap(), bare, "{none}");
        }
        assert_eq!(
            written(br#"{"b":"x","a":[[]],"A":{"b":{}}}"#).unwrap(),
            "{\n\t\"id\": \"m\",\n\t\"profile\": \"p\",\n\t\"metadata\": {\n\t\t\"A\": {\n\t\t\t\"b\": {}\n\t\t},\n\
             \t\t\"a\": [\n\t\t\t[]\n\t\t],\n\t\t\"b\": \"x\"\n\t}\n}"
        );
        for (metadata, said) in [
            ("[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
            ("true", "json: cannot unmarshal bool into Go value of type map[string]interface {}"),
            ("{", "unexpected end of JSON input"),
            (r#"{"a":[1e999,{}]}"#, "json: cannot unmarshal number 1e999 into Go value of type float64"),
            (r#"{"a":1}x"#, "invalid character 'x' after top-level value"),
            ("nul", "invalid character ' ' in literal null (expecting 'l')"),
            ("-", "invalid character ' ' in numeric literal"),
            ("1.", "invalid character ' ' after decimal point in numeric literal"),
            ("{\"a\":\"\\", "invalid character ' ' in string escape code"),
            ("{\"a\":\"x", "unexpected end of JSON input"),
        ] {
            assert_eq!(written(metadata.as_bytes()).unwrap_err(), said, "{metadata}");
        }
    }

    #[test]
    fn a_profile_is_read_as_matchbox_reads_it() {
        for (file, said) in [
            ("null", "Id is required"),
            (r#"{"id":""}"#, "Id is required"),
            ("[]", "json: cannot unmarshal array into Go value of type storagepb.Profile"),
            (
                r#"{"id":"x","boot":[]}"#,
                "json: cannot unmarshal array into Go struct field Profile.boot of type storagepb.NetBoot",
            ),
            (
                r#"{"boot":{"kernel":true}}"#,
                "json: cannot unmarshal bool into Go struct field NetBoot.boot.kernel of type string",
            ),
            (
                r#"{"id":"x","boot":{"initrd":"a"}}"#,
                "json: cannot unmarshal string into Go struct field NetBoot.boot.initrd of type []string",
            ),
            (
                r#"{"id":"x","boot":{"args":[["a"],1,"b"]}}"#,
                "json: cannot unmarshal array into Go struct field NetBoot.boot.args of type string",
            ),
            (
                r#"{"id":"x","ignition_id":1,"cloud_id":2}"#,
                "json: cannot unmarshal number into Go struct field Profile.ignition_id of type string",
            ),
        ] {
            assert_eq!(profile(file.as_bytes()).unwrap_err(), said, "{file}");
        }
        let args = |file: &str| profile(file.as_bytes()).unwrap().boot.map(|boot| boot.args);
        for (file, expected) in [
            (r#"{"id":"x","boot":{"cmdline":{"a":"b"}}}"#, Some(vec![])),
            (r#"{"id":"x","boot":{"kernel":"k"},"boot":null}"#, None),
            (r#"{"id":"x","boot":{"args":["a","b"],"args":["c",null]}}"#, Some(vec!["c", "b"])),
            (
                r#"{"id":"x","boot":{"args":["a","b","c"],"args":["d"],"Args":[null,null,null,null]}}"#,
                Some(vec!["d", "b", "c", ""]),
            ),
        ] {
            let expected = expected.map(|args| args.into_iter().map(str::to_owned).collect());
            assert_eq!(args(file), expected, "{file}");
        }
    }
}
