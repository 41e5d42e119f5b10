//! Finds parts of a group or profile that have no effect, or not the one that was meant: misspelt keys, selectors that
//! no loader can match, boots that load nothing. Matchbox reports none of that, and machines then boot something else.

use std::collections::BTreeMap;

use super::records::field;
use crate::base::finding::nearest;
use crate::format::ipxe::Image;
use crate::tree::records::{Boot, normal_mac};

/// A remark and its severity.
pub(crate) type Note = (Weight, String);

/// The labels that every loader sends that starts with `/boot.ipxe`.
pub(crate) const LABELS: [&str; 6] = ["uuid", "mac", "domain", "hostname", "serial", "arch"];

/// iPXE's names (`buildarch`) for architectures with other common names.
const ARCHS: [(&str, &str); 6] = [
    ("amd64", "x86_64"),
    ("x86-64", "x86_64"),
    ("x64", "x86_64"),
    ("aarch64", "arm64"),
    ("i686", "i386"),
    ("arm", "arm32"),
];

/// Keys in a place where they have no effect: the place, the keys, and where they belong.
const MISPLACED: [(&str, &[&str], &str); 5] = [
    ("a group", &LABELS, "labels belong in `selector`"),
    ("a group", &["os", "role"], "labels belong in `selector`"),
    ("a group", &["boot", "ignition_id", "generic_id", "cloud_id"], "it belongs in a profile"),
    ("a profile", &["kernel", "initrd", "args", "cmdline"], "it belongs in `boot`"),
    ("`boot`", &["cmdline", "kernel_args"], "Matchbox reads `args`"),
];

/// Whether a key is commonly used for comments in JSON.
fn is_comment(key: &str) -> bool {
    key.starts_with(['_', '$', '#', '/']) || ["comment", "comments", "description"].contains(&key)
}

/// Keys that are not in `known`, and duplicate ones.
pub(crate) fn keys<'k>(of: &str, keys: impl Iterator<Item = &'k str>, known: &[&'static str]) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut seen = Vec::new();
    for key in keys {
        let why = match field(key, known) {
            Some(name) if seen.contains(&name) => format!("`{name}` is given twice"),
            Some(name) => {
                seen.push(name);
                continue;
            }
            None if is_comment(key) => continue,
            None => {
                let lower = key.to_ascii_lowercase();
                let misplaced =
                    MISPLACED.iter().find(|(what, keys, _)| *what == of && keys.contains(&&*lower));
                let near = nearest(&lower, known.iter().copied());
                let hint = match (misplaced, near) {
                    (Some((.., hint)), _) => format!(": {hint}"),
                    (None, Some(near)) => format!(": did you mean `{near}`?"),
                    (None, None) => format!("; the keys are {}", known.join(", ")),
                };
                format!("`{key}` is not a key of {of}, and is ignored{hint}")
            }
        };
        notes.push((Weight::Fault, why));
    }
    notes
}

/// Pairs that match no machine, or others than were meant. `selector` is as in the file.
pub(crate) fn selector(selector: &BTreeMap<String, String>) -> impl Iterator<Item = Note> {
    selector.iter().filter_map(|(key, value)| {
        let lower = key.to_ascii_lowercase();
        let is_label = LABELS.contains(&&*lower);
        if is_label && lower != *key {
            let why = format!("selector `{key}`: loaders send `{lower}`, and labels are case-sensitive");
            return Some((Weight::Fault, why));
        }
        let (weight, why) =
            of_value(&lower, value).or_else(|| (!is_label).then(|| of_other_label(key, value)).flatten())?;
        Some((weight, format!("selector `{key}`: {why}")))
    })
}

fn of_value(label: &str, value: &str) -> Option<Note> {
    let fault = |why: String| Some((Weight::Fault, why));
    if value.trim() != value {
        return fault(format!("`{value}` begins or ends with a blank, which no machine sends"));
    }
    match label {
        // An invalid MAC address makes the whole group unusable, which is reported elsewhere.
        "mac" => match normal_mac(value)? {
            mac if mac.bytes().all(|byte| b"0:".contains(&byte)) => {
                fault("no network card has only zeros".into())
            }
            mac if u8::from_str_radix(&mac[..2], 16).is_ok_and(|first| first & 1 == 1) => {
                fault(format!("{mac} is a multicast address, which no network card has"))
            }
            _ => None,
        },
        label if value.is_empty() => match LABELS.contains(&label) {
            true => fault(format!("it is empty: it matches only machines without `{label}`")),
            false => Some((Weight::Note, format!("it is empty: it matches only machines without `{label}`"))),
        },
        "uuid" if value != value.to_lowercase() => {
            fault(format!("loaders send UUIDs in lower case: write {}", value.to_lowercase()))
        }
        "uuid" if !is_uuid(value) => {
            fault(format!("`{value}` is not a UUID as loaders send it, such as {UUID}"))
        }
        "arch" => {
            let name = ARCHS.iter().find(|(other, _)| value.eq_ignore_ascii_case(other))?.1;
            Some((Weight::Note, format!("iPXE sends `{name}` for `{value}`")))
        }
        _ => None,
    }
}

/// A label that only a site's own scripts send, or a misspelt one.
fn of_other_label(key: &str, value: &str) -> Option<Note> {
    let near = LABELS.into_iter().find(|label| strsim::damerau_levenshtein(key, label) == 1);
    if let Some(near) = near {
        return Some((Weight::Note, format!("did you mean `{near}`?")));
    }
    let is_upper = value != value.to_lowercase();
    let is_mac = value.contains([':', '-', '.']) && normal_mac(value).is_some();
    let why = match () {
        () if is_upper && is_mac => "only `mac` is compared in any spelling; loaders send lower case",
        () if is_upper && is_uuid(value) => "loaders send UUIDs in lower case",
        () => return None,
    };
    Some((Weight::Note, why.into()))
}

const UUID: &str = "4c4c4544-0042-3510-8052-b4c04f4e5731";

fn is_uuid(text: &str) -> bool {
    let is_like = |(byte, model): (u8, u8)| match model {
        b'-' => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == UUID.len() && text.bytes().zip(UUID.bytes()).all(is_like)
}

/// Images that a loader cannot load. A boot with nothing in it is what Terraform's provider writes for a profile that only has
/// a config, such as Typhoon's for `os=installed`: its machines boot from their disks.
pub(crate) fn boot(boot: &Boot) -> Vec<Note> {
    if *boot == Boot::default() {
        return Vec::new();
    }
    let kernel = [("kernel", &boot.kernel)].into_iter();
    let lines = kernel.chain(boot.initrd.iter().map(|line| ("initrd", line)));
    let why = |(key, line): (&str, &String)| match Image::parse(line) {
        Err(why) => Some(format!("boot.{key} `{line}`: {why}")),
        // Matchbox renders configs, but nothing in `boot`.
        Ok(image) if image.uri.contains("{{") => {
            Some(format!("boot.{key} `{line}`: paths are not templates; it is sent unchanged"))
        }
        Ok(_) => None,
    };
    lines.filter_map(why).map(|why| (Weight::Fault, why)).collect()
}

/// The severity of a flaw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Machines get nothing, or something else than was meant. Strict serving refuses it.
    Fault,
    /// A file that an editor left. Strict serving does not start with it, but does not reject an edit for it, since
    /// such files come and go during editing.
    Leftover,
    /// It works, but may not be what was meant.
    Note,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(of: &str, words: &[&str], known: &[&'static str]) -> Vec<String> {
        keys(of, words.iter().copied(), known).into_iter().map(|(_, why)| why).collect()
    }

    #[test]
    fn a_key_that_is_ignored_is_told_with_what_was_meant() {
        let known = ["profile", "selector", "metadata"];
        for (key, hint) in [
            ("selctor", "did you mean `selector`?"),
            ("Profil", "did you mean `profile`?"),
            ("mac", "labels belong in `selector`"),
            ("boot", "it belongs in a profile"),
            ("colour", "the keys are profile, selector, metadata"),
        ] {
            let told = told("a group", &[key], &known);
            assert!(told.len() == 1 && told[0].ends_with(hint), "{told:?}");
        }
        assert_eq!(told("a group", &["SELECTOR", "_comment", "description"], &known), [""; 0]);
        assert_eq!(told("a group", &["selector", "Selector"], &known), ["`selector` is given twice"]);
    }

    #[test]
    fn a_selector_that_no_loader_fulfils_is_told() {
        for (key, value, weight, why) in [
            ("MAC", "52:54:00:00:00:01", Weight::Fault, "loaders send `mac`"),
            ("Uuid", "x", Weight::Fault, "case-sensitive"),
            ("uuid", "4C4C4544-0042-3510-8052-B4C04F4E5731", Weight::Fault, "write 4c4c4544-"),
            ("uuid", "4c4c45440042351080 52b4c04f4e5731", Weight::Fault, "is not a UUID"),
            ("uuid", "", Weight::Fault, "it is empty"),
            ("serial", "X ", Weight::Fault, "ends with a blank"),
            ("mac", "FF-FF-FF-FF-FF-FF", Weight::Fault, "multicast"),
            ("mac", "00:00:00:00:00:00", Weight::Fault, "only zeros"),
            ("os", "", Weight::Note, "without `os`"),
            ("arch", "amd64", Weight::Note, "`x86_64`"),
            ("seral", "x", Weight::Note, "did you mean `serial`?"),
            ("asset", "4C4C4544-0042-3510-8052-B4C04F4E5731", Weight::Note, "lower case"),
            ("nic", "52-54-00-AA-00-01", Weight::Note, "lower case"),
        ] {
            let pairs = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            let told: Vec<Note> = selector(&pairs).collect();
            let is_told = matches!(told.as_slice(), [(told, text)] if *told == weight && text.contains(why));
            assert!(is_told, "{key}={value}: {told:?}");
        }
        for (key, value) in [
            ("mac", "5254.00AA.0001"),
            ("rack", "R1"),
            ("os", "installed"),
            ("serial", "AB12"),
            ("uuid", UUID),
        ] {
            let pairs = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            assert_eq!(selector(&pairs).count(), 0, "{key}={value}");
        }
    }

    #[test]
    fn a_boot_that_cannot_be_loaded_is_told() {
        let notes = |kernel: &str, initrd: &str| {
            boot(&Boot { kernel: kernel.into(), initrd: vec![initrd.into()], args: Vec::new() }).len()
        };
        assert_eq!(notes("/k", "--name a /i"), 0);
        assert_eq!(notes("/k", "/i/${arch}"), 0);
        assert_eq!(notes("", "--name a"), 2);
        assert_eq!(super::boot(&Boot::default()), []);
        assert_eq!(super::boot(&Boot { args: vec!["a".into()], ..Boot::default() }).len(), 1);
        assert_eq!(notes("/{{.version}}/k", "/i"), 1);
    }
}
