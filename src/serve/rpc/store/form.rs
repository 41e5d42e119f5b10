//! Records as Matchbox v0.11.0 writes them: JSON of Go's `encoding/json`, indented by tabs, without a final newline.
//!
//! Owns the form of the bytes: the order of fields, the empty ones that are left out, escapes (`<`, `>`, `&`, U+2028 and U+2029
//! too) and numbers (always `float64`). Leaves reading to [`read`](super::read), and files to `files`.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};
use serde_json::{Map, Value};

use crate::serve::rpc::messages::{NetBoot, Profile};

/// A group with its metadata as values: what a group's file holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RichGroup {
    /// As the file says it; a group is found by its file's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The name for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The id of its profile.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// The labels that a machine must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// Variables of templates. `None` and an empty object are answered differently, though written alike.
    #[serde(skip_serializing_if = "is_without_members")]
    pub metadata: Option<Map<String, Value>>,
}

fn is_without_members(metadata: &Option<Map<String, Value>>) -> bool {
    metadata.as_ref().is_none_or(Map::is_empty)
}

/// A profile in the order of Matchbox's fields.
#[derive(Serialize)]
struct ProfileForm<'p> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'p str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'p str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ignition_id: &'p str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cloud_id: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot: Option<BootForm<'p>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    generic_id: &'p str,
}

/// A profile's boot; one that is empty is written as `{}`.
#[derive(Serialize)]
struct BootForm<'p> {
    #[serde(skip_serializing_if = "str::is_empty")]
    kernel: &'p str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    initrd: &'p [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    args: &'p [String],
}

/// The bytes of a group's file.
pub fn group(group: &RichGroup) -> Vec<u8> {
    written(group, Go(PrettyFormatter::with_indent(b"\t")))
}

/// The bytes of a profile's file.
pub fn profile(profile: &Profile) -> Vec<u8> {
    let boot =
        profile.boot.as_ref().map(|NetBoot { kernel, initrd, args }| BootForm { kernel, initrd, args });
    let Profile { id, name, ignition_id, cloud_id, generic_id, .. } = profile;
    let form = ProfileForm { id, name, ignition_id, cloud_id, boot, generic_id };
    written(&form, Go(PrettyFormatter::with_indent(b"\t")))
}

/// Metadata as an answer has it: in one line, its keys in order.
pub fn metadata(metadata: &Map<String, Value>) -> Vec<u8> {
    written(metadata, Go(CompactFormatter))
}

/// Writes a value whose objects have their keys in order already.
fn written(value: &impl Serialize, form: impl Formatter) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, form);
    // Writing to a vector cannot fail, and all keys are texts.
    let _ = value.serialize(&mut writer);
    bytes
}

/// Go's numbers and escapes over another form's brackets.
struct Go<F>(F);

/// Hands the brackets on to the other form.
macro_rules! handed_on {
    ($($name:ident $(($first:ident))?),*) => { $(
        fn $name<W: ?Sized + io::Write>(&mut self, writer: &mut W $(, $first: bool)?) -> io::Result<()> {
            self.0.$name(writer $(, $first)?)
        }
    )* };
}

impl<F: Formatter> Formatter for Go<F> {
    handed_on!(
        begin_array,
        end_array,
        begin_array_value(first),
        end_array_value,
        begin_object,
        end_object,
        begin_object_key(first),
        end_object_key,
        begin_object_value,
        end_object_value
    );

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(number(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let is_escaped = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        let mut rest = text;
        while let Some((at, escaped)) = rest.char_indices().find(|(_, c)| is_escaped(*c)) {
            let (plain, after) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            write!(writer, "\\u{:04x}", u32::from(escaped))?;
            rest = &after[escaped.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }
}

/// Go's form of a `float64`: the shortest digits that read the same, with an exponent below 1e-6 and from 1e21.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        // Each as Matchbox v0.11.0 wrote it when it was put.
        for (text, go) in [
            ("1", "1"),
            ("1.5", "1.5"),
            ("1e21", "1e+21"),
            ("999999999999999999999", "1e+21"),
            ("1e20", "100000000000000000000"),
            ("1e-7", "1e-7"),
            ("1e-6", "0.000001"),
            ("1.25e-9", "1.25e-9"),
            ("-0", "-0"),
            ("9007199254740993", "9007199254740992"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("5e-324", "5e-324"),
            ("1e6", "1000000"),
            ("0.1", "0.1"),
        ] {
            assert_eq!(number(text.parse().unwrap()), go, "{text}");
        }
    }

    #[test]
    fn a_profile_has_matchboxs_order_and_no_empty_fields() {
        let all = Profile {
            id: "p".into(),
            name: "n".into(),
            ignition_id: "i".into(),
            cloud_id: "c".into(),
            generic_id: "g".into(),
            boot: Some(NetBoot {
                kernel: "k".into(),
                initrd: vec!["a".into(), "b".into()],
                args: vec!["x=<y>".into(), "z".into()],
            }),
        };
        assert_eq!(
            String::from_utf8(profile(&all)).unwrap(),
            "{\n\t\"id\": \"p\",\n\t\"name\": \"n\",\n\t\"ignition_id\": \"i\",\n\t\"cloud_id\": \"c\",\n\t\"boot\": {\n\
             \t\t\"kernel\": \"k\",\n\t\t\"initrd\": [\n\t\t\t\"a\",\n\t\t\t\"b\"\n\t\t],\n\t\t\"args\": [\n\
             \t\t\t\"x=\\u003cy\\u003e\",\n\t\t\t\"z\"\n\t\t]\n\t},\n\t\"generic_id\": \"g\"\n}"
        );
        let of_boot = |boot| {
            String::from_utf8(profile(&Profile { id: "p".into(), boot, ..Profile::default() })).unwrap()
        };
        assert_eq!(of_boot(None), "{\n\t\"id\": \"p\"\n}");
        assert_eq!(of_boot(Some(NetBoot::default())), "{\n\t\"id\": \"p\",\n\t\"boot\": {}\n}");
        let of_args = NetBoot { args: vec![String::new()], ..NetBoot::default() };
        assert_eq!(
            of_boot(Some(of_args)),
            "{\n\t\"id\": \"p\",\n\t\"boot\": {\n\t\t\"args\": [\n\t\t\t\"\"\n\t\t]\n\t}\n}"
        );
    }

    #[test]
    fn texts_are_escaped_as_go_escapes_them() {
        let name = "n<>&\u{2028}\u{2029}\u{7f}\u{1}\t\n\r\u{8}\u{c}\"\\/é😀";
        let rich = RichGroup { id: "a".into(), name: name.into(), ..RichGroup::default() };
        assert_eq!(
            String::from_utf8(group(&rich)).unwrap(),
            "{\n\t\"id\": \"a\",\n\t\"name\": \"n\\u003c\\u003e\\u0026\\u2028\\u2029\u{7f}\\u0001\\t\\n\\r\\b\\f\\\"\\\\/é😀\"\n}"
        );
    }
}
