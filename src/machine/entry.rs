//! The entry of a machine below `nodes:`, as a line to paste.

use std::fmt;
use std::net::IpAddr;

use super::dhcp::is_label;
use super::network::Cidr;
use super::node::Mac;
use crate::base::arch::Arch;
use crate::base::finding::{Place, is_unseen};

/// Stands for a profile that the reader must choose.
pub(crate) const NO_PROFILE: &str = "PROFILE";
/// Most characters of one part of a host name (RFC 1035, 2.3.4).
pub(crate) const MAX_LABEL: usize = 63;

/// A machine as one line below `nodes:`. It is shown as
/// `- {name: node-525400aabb01, mac: "52:54:00:aa:bb:01", profile: worker}`; a caller indents it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its host name.
    pub name: String,
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// Its SMBIOS UUID, lower case.
    pub uuid: Option<String>,
    /// The profile that it shall boot; without one the line has [`NO_PROFILE`].
    pub profile: Option<String>,
    /// Architecture of its CPU, where the tree or the recipe has several.
    pub arch: Option<Arch>,
    /// Its amount of memory, as recipes spell it.
    pub memory: Option<String>,
    /// Its address with the prefix length of its network.
    pub ip: Option<Cidr>,
    /// The place of the list that it comes from, if from one.
    pub from: Option<Place>,
}

impl Entry {
    /// The entry of a machine that no node names: `said` is the host name that it gave itself, if any, and `is_taken`
    /// tells names of other nodes.
    pub(crate) fn of_stranger(
        said: Option<&str>,
        mac: Option<Mac>,
        uuid: Option<&str>,
        is_taken: impl Fn(&str) -> bool,
    ) -> Entry {
        let name = name(said, mac, uuid, is_taken);
        let uuid = uuid.map(str::to_lowercase).filter(|_| mac.is_none());
        Entry { name, mac, uuid, profile: None, arch: None, memory: None, ip: None, from: None }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "- {{name: {}", scalar(&self.name))?;
        if let Some(mac) = self.mac {
            // Quoted, because YAML 1.1 reads `10:20:30:40:50:10` as a number in base 60.
            write!(f, ", mac: \"{mac}\"")?;
        }
        if let Some(uuid) = &self.uuid {
            write!(f, ", uuid: {}", scalar(uuid))?;
        }
        if let Some(ip) = self.ip {
            write!(f, ", ip: {}", scalar(&ip.to_string()))?;
        }
        if let Some(arch) = self.arch {
            write!(f, ", arch: {arch}")?;
        }
        if let Some(memory) = &self.memory {
            write!(f, ", memory: {}", scalar(memory))?;
        }
        write!(f, ", profile: {}}}", scalar(self.profile.as_deref().unwrap_or(NO_PROFILE)))
    }
}

/// A host name that no other node has: the machine's own, else one made from its MAC address or UUID.
pub(crate) fn name(
    said: Option<&str>,
    mac: Option<Mac>,
    uuid: Option<&str>,
    is_taken: impl Fn(&str) -> bool,
) -> String {
    let own = said.map(host_name).filter(|name| !name.is_empty() && name != "localhost");
    let digits = mac.map(|mac| mac.to_string().replace(':', ""));
    let made = || format!("node-{}", digits.as_deref().or(uuid).unwrap_or("unknown").to_lowercase());
    let name = own.unwrap_or_else(|| host_name(&made()));
    let numbered = |number: u64| {
        let end = format!("-{number}");
        let begin = name.get(..MAX_LABEL - end.len()).unwrap_or(&name);
        format!("{}{end}", begin.trim_end_matches('-'))
    };
    match is_taken(&name) {
        false => name,
        // Nobody has as many nodes as there are numbers.
        true => (2..=u64::MAX).map(numbered).find(|name| !is_taken(name)).unwrap_or(name),
    }
}

/// The host name nearest to a text: its first label in lower case, and `-` for what no host name has. Empty if nothing
/// of it can be in a host name.
pub(crate) fn host_name(text: &str) -> String {
    let first = text.split('.').next().unwrap_or(text);
    let mut name = String::new();
    for c in first.chars().map(|c| c.to_ascii_lowercase()) {
        match c.is_ascii_alphanumeric() {
            true => name.push(c),
            false if name.ends_with('-') || name.is_empty() => {}
            false => name.push('-'),
        }
        if name.len() == MAX_LABEL {
            break;
        }
    }
    name.truncate(name.trim_end_matches('-').len());
    debug_assert!(name.is_empty() || is_label(&name), "{name}");
    name
}

/// The host name, with its domain, that is nearest to a text. Empty if nothing of it can be in a host name.
pub(crate) fn nearest_host_name(text: &str) -> String {
    let parts: Vec<String> = text.split('.').map(host_name).filter(|part| !part.is_empty()).collect();
    // With dots it would stay an address.
    parts.join(if text.parse::<IpAddr>().is_ok() { "-" } else { "." })
}

/// A text as a YAML scalar in a flow mapping: plain where every reader of YAML 1.1 and 1.2 takes it for text, else in
/// double quotes.
pub(crate) fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match begins && text.chars().all(plain) && !WORDS.contains(&text.to_lowercase().as_str()) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// A text in double quotes of YAML. Its line is also printed on terminals: characters that nobody sees are escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            // `\U` and eight digits, as YAML has no pairs of surrogates (YAML 1.2.2, 5.7).
            _ if is_unseen(letter) && letter > '\u{ffff}' => quoted += &format!("\\U{:08x}", letter as u32),
            _ if is_unseen(letter) => quoted += &format!("\\u{:04x}", letter as u32),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Source;
    use crate::machine::node::parse_inventory;

    fn mac() -> Mac {
        "52:54:00:aa:bb:01".parse().unwrap()
    }

    /// ux 1.5: the entry of a stranger is a line to paste.
    #[test]
    fn a_stranger_s_entry_is_a_line_that_a_recipe_takes() {
        let mut entry = Entry::of_stranger(None, Some(mac()), Some("01234567-89AB"), |_| false);
        assert_eq!(
            entry.to_string(),
            "- {name: node-525400aabb01, mac: \"52:54:00:aa:bb:01\", profile: PROFILE}"
        );
        entry.profile = Some("on".into());
        entry.arch = Some(Arch::Arm64);
        entry.memory = Some("8 GiB".into());
        entry.ip = Some("fd00::1/64".parse().unwrap());
        let text = format!("schema: 1\nnodes:\n  {entry}\n");
        let nodes = parse_inventory(&Source::new("x", text), &Arch::ALL).unwrap();
        let node = &nodes[0];
        assert_eq!(node.mac.as_ref().unwrap().value, mac());
        assert_eq!((node.profile.value.as_str(), node.arch), ("on", Arch::Arm64));
        assert_eq!(node.ip.as_ref().unwrap().value.to_string(), "fd00::1/64");
        assert_eq!(node.memory.as_ref().unwrap().value.0, 8 << 30);
    }

    /// Review of issue 17, 8: a profile of a server's status reached the terminal with C1 and format characters.
    #[test]
    fn an_entry_says_nothing_to_a_terminal_and_reads_back_as_the_same_text() {
        let evil = "a\"\\\n\t\u{0}\u{1b}[2J\u{7f}\u{9b}31m\u{85}\u{202e}\u{feff}\u{e0041}😀 é";
        let line = scalar(evil);
        assert!(!line.contains(is_unseen), "{line:?}");
        assert_eq!(serde_yaml::from_str::<String>(&line).unwrap(), evil, "{line:?}");
    }

    #[test]
    fn a_name_is_the_machine_s_own_if_it_has_one_and_never_another_s() {
        let taken = |name: &str| ["web", "web-2", "node-525400aabb01"].contains(&name);
        for (said, expected) in [
            (Some("Web.example.com"), "web-3"),
            (Some("db_1"), "db-1"),
            (Some("localhost"), "node-525400aabb01-2"),
            (Some("__"), "node-525400aabb01-2"),
            (None, "node-525400aabb01-2"),
        ] {
            assert_eq!(name(said, Some(mac()), None, taken), expected, "{said:?}");
        }
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(name(None, None, Some(uuid), |_| false), format!("node-{uuid}"));
        let long = "n".repeat(300);
        let first = name(Some(&long), None, None, |_| false);
        assert_eq!((first.len(), name(Some(&long), None, None, |name| name == first).len()), (63, 63));
    }
}
