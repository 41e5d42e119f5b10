//! Finds the lines that need a closer look: one automaton passes over each line once, and only the checks that it
//! triggers run.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::token;

/// A check to run on a line, as one bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Look {
    /// A part of a name that announces something about its value.
    Name = 1,
    /// A prefix of `token::SHAPES`.
    Shape = 1 << 1,
    /// A token that is recognised by its middle.
    Middle = 1 << 2,
    /// The head of a private key.
    Head = 1 << 3,
    /// A URL, which may contain a password.
    Url = 1 << 4,
    /// The signature in a URL.
    Signature = 1 << 5,
    /// The join token of a cluster.
    Cluster = 1 << 6,
    /// A credential of systemd.
    Credential = 1 << 7,
    /// The hash of a password that does not begin with a punctuation mark.
    Hash = 1 << 8,
    /// A command that takes a secret.
    Command = 1 << 9,
    /// A small format without names.
    Format = 1 << 10,
    /// The kind of a document, or a section of one.
    Document = 1 << 11,
    /// An escape sequence.
    Escape = 1 << 12,
    /// A JSON Web Token.
    WebToken = 1 << 13,
    /// A setting of K3s or RKE2.
    Rancher = 1 << 14,
}

/// Patterns, matched without case. A name is found by a part of it that `-`, `_` and `.` do not interrupt.
static PARTS: [(Look, &[&str]); 14] = [
    (
        Look::Name,
        &[
            "pass",
            "pwd",
            "pw",
            "psk",
            "key",
            "token",
            "secret",
            "auth",
            "credential",
            "encrypt",
            "cookie",
            "pat",
            "sas",
            "name",
            "value",
            "contents",
            "variable",
            "header",
            "kennwort",
            "passwort",
        ],
    ),
    (
        Look::Middle,
        &[".atlasv1.", "q~", ":aa", "hooks.slack.com/", "/api/webhooks/", "webhookb2/", "telegram.org/bot"],
    ),
    (Look::Head, &["begin "]),
    (Look::Url, &["://"]),
    (Look::Signature, &["sig=", "-signature="]),
    (Look::Cluster, &["::"]),
    (Look::Credential, &["setcredential=", "set_credential="]),
    (Look::Hash, &["grub.pbkdf2", "scram-sha", "pbkdf2_sha"]),
    (
        Look::Command,
        &[
            "curl",
            "http",
            "xh",
            "etcdctl",
            "smbclient",
            "rpcclient",
            "net ",
            "sshpass",
            "mysql",
            "mariadb",
            "ipmitool",
            "mosquitto",
            "redis-cli",
            "valkey-cli",
            "ldap",
            "login",
            "pass:",
            "from-literal",
            "chpasswd",
            "--stdin",
            "password-stdin",
            "sudo",
            "token create",
            "luks",
            "cryptsetup",
            "htpasswd",
            "openssl",
            "mount",
            "wget",
            "lftp",
            "rpcclient",
            "wg set",
            "nmcli",
            "wpa_passphrase",
            "psql",
            "mongo",
            "cifs",
            "vault",
            "snmp",
            "7z",
            "zip",
            "gpg",
            "swarm",
            "creds",
            "useradd",
            "usermod",
        ],
    ),
    (
        Look::Format,
        &[
            "createuser",
            "community",
            "eap \"",
            "xauth \"",
            "ntlm \"",
            "pin \"",
            "identified by",
            "stats auth",
            "user ",
            "define(",
        ],
    ),
    (Look::Document, &["kind", "data", "chpasswd", "kty", "auths", "\"d\"", "\"p\"", "\"k\""]),
    (Look::Escape, &["\\\"", "\\n", "\\u00", "\\x"]),
    (Look::WebToken, &["ey", "ew"]),
    (Look::Rancher, &["k3s", "rke2"]),
];

/// The automaton, and the check that each of its patterns triggers.
struct Machine {
    automaton: Option<AhoCorasick>,
    looks: Vec<Look>,
    /// Number of patterns before the first shape.
    shapes: usize,
}

static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let parts = || PARTS.iter().flat_map(|(look, parts)| parts.iter().map(move |part| (*look, *part)));
    let shapes = parts().count();
    let all: Vec<(Look, &str)> =
        parts().chain(token::prefixes().map(|prefix| (Look::Shape, prefix))).collect();
    let automaton = AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::DFA))
        .match_kind(MatchKind::Standard)
        .ascii_case_insensitive(true)
        .build(all.iter().map(|(_, part)| part))
        .ok();
    Machine { automaton, looks: all.into_iter().map(|(look, _)| look).collect(), shapes }
});

/// The triggers found in a line.
#[derive(Debug, Default)]
pub(super) struct Seen {
    looks: u32,
    /// Offsets of parts of names, in order.
    pub(super) names: Vec<usize>,
    /// Offset and index of each shape.
    pub(super) shapes: Vec<(usize, usize)>,
}

impl Seen {
    /// Searches a line for triggers.
    pub(super) fn line(&mut self, line: &str) {
        self.looks = 0;
        self.names.clear();
        self.shapes.clear();
        let Some(automaton) = &MACHINE.automaton else { return };
        for found in automaton.find_overlapping_iter(line) {
            let pattern = found.pattern().as_usize();
            let look = MACHINE.looks[pattern];
            self.looks |= look as u32;
            match look {
                Look::Name => self.names.push(found.start()),
                Look::Shape => self.shapes.push((found.start(), pattern - MACHINE.shapes)),
                _ => {}
            }
        }
    }

    /// Whether one of these triggers was found.
    pub(super) fn any(&self, looks: &[Look]) -> bool {
        looks.iter().any(|look| self.looks & *look as u32 != 0)
    }
}
