//! Where a line needs a closer look: one automaton goes over its bytes once, and what it does not stop at is not looked at again.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::token;

/// What a closer look is for; a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Look {
    /// A part of a name that says something of its value.
    Name = 1,
    /// A beginning of [`token::SHAPES`].
    Shape = 1 << 1,
    /// What is known by a part in its middle.
    Middle = 1 << 2,
    /// The head of a private key.
    Head = 1 << 3,
    /// A URL.
    Url = 1 << 4,
    /// The signature in a URL.
    Signature = 1 << 5,
    /// The join token of a cluster.
    Cluster = 1 << 6,
    /// A credential of systemd's.
    Credential = 1 << 7,
    /// The hash of a password that does not begin with a sign.
    Hash = 1 << 8,
    /// A command that is given a secret.
    Command = 1 << 9,
    /// A small format that has no names.
    Format = 1 << 10,
    /// The kind of a document, or a section of one.
    Document = 1 << 11,
    /// What escapes something.
    Escape = 1 << 12,
    /// A JSON Web Token.
    WebToken = 1 << 13,
    /// Something that K3s or RKE2 reads.
    Rancher = 1 << 14,
}

/// What is looked for, without case. Names are found by a part of theirs that `-`, `_` and `.` do not separate.
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

/// The automaton, and what each of its patterns is for.
struct Machine {
    automaton: Option<AhoCorasick>,
    looks: Vec<Look>,
    /// How many patterns stand before the first shape.
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

/// What was seen in a line.
#[derive(Debug, Default)]
pub(super) struct Seen {
    looks: u32,
    /// Where a part of a name begins, in order.
    pub(super) names: Vec<usize>,
    /// Where a shape begins, and its index.
    pub(super) shapes: Vec<(usize, usize)>,
}

impl Seen {
    /// Goes over a line.
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

    /// Whether something of that kind is there.
    pub(super) fn any(&self, looks: &[Look]) -> bool {
        looks.iter().any(|look| self.looks & *look as u32 != 0)
    }
}
