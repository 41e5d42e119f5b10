//! Secrets that are recognised by their position in a document: entries below `data:` and `stringData:` of a Kubernetes
//! Secret, in YAML and JSON, and the list of logins of cloud-init. Reads line by line, so that templates and broken
//! documents are covered, too.

use super::kind::{Kind, decode};
use super::lines;
use super::scan::Hit;
use super::triggers::{Look, Seen};
use super::value::{is_elsewhere, is_opaque, is_placeholder};

/// Upper limit for the open braces that are followed.
const MAX_OPEN: usize = 64;
/// Upper limit for a key before the first brace of a line, in bytes.
const MAX_KEY: usize = 256;
/// Upper limit for the findings of one document that are kept until its kind is known.
const MAX_WAITING: usize = 50;

/// Kind of a section of YAML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    /// Values in base64.
    Data,
    /// Values in plain text.
    StringData,
    /// `NAME:PASSWORD`, one per line.
    Logins,
}

/// State of a document that is read line by line.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// The section of YAML, and the column of its key.
    section: Option<(Section, usize)>,
    /// The column of the section's entries, and whether the last entry's value is in the next lines.
    entry: Option<(usize, bool)>,
    /// The columns in which `kind: Secret` was found.
    secrets: Vec<usize>,
    /// Findings that count if `kind: Secret` is in the same column.
    waiting: Vec<(Hit, usize)>,
    /// The open braces of JSON.
    braces: Vec<Brace>,
    /// The last string of JSON, if `:` followed it.
    key: Option<String>,
}

/// An open brace of JSON.
#[derive(Debug, Default)]
struct Brace {
    /// Kind of its values.
    section: Option<Section>,
    /// Whether it contains `kind: Secret`.
    secret: bool,
    waiting: Vec<Hit>,
}

fn section(key: &str) -> Option<Section> {
    match key {
        "data" => Some(Section::Data),
        "stringData" => Some(Section::StringData),
        "chpasswd" => Some(Section::Logins),
        _ => None,
    }
}

impl Documents {
    /// Ends a document of YAML; returns the findings that are certain.
    pub(super) fn end(&mut self) -> Vec<Hit> {
        let secrets = std::mem::take(&mut self.secrets);
        self.section = None;
        self.entry = None;
        let sure = self.waiting.drain(..).filter(|(_, column)| secrets.contains(column));
        sure.map(|(hit, _)| hit).collect()
    }

    /// Whether a line may change the state of the document.
    pub(super) fn is_about(&self, line: &str, seen: &Seen) -> bool {
        self.section.is_some()
            || !self.braces.is_empty()
            || seen.any(&[Look::Document])
            || line.trim_start().starts_with("- apiVersion")
            || memchr::memchr(b'{', line.as_bytes()).is_some()
    }

    /// Reads a line; returns the findings that are certain now.
    pub(super) fn line(&mut self, line: &str, at: &dyn Fn(usize, Kind) -> Hit) -> Vec<Hit> {
        let mut found = self.yaml(line, at);
        found.extend(self.json(line, at));
        found
    }

    fn yaml(&mut self, line: &str, at: &dyn Fn(usize, Kind) -> Hit) -> Vec<Hit> {
        let mut found = Vec::new();
        let text = line.trim();
        // Control lines of templates may be in any column.
        if text.is_empty() || text.starts_with('#') || text.starts_with("{{") {
            return found;
        }
        let mut indent = line.len() - line.trim_start().len();
        let mut text = &line[indent..];
        let item = text.starts_with("- ");
        if item {
            if text.starts_with("- apiVersion:") || text.starts_with("- kind:") {
                found = self.end();
            }
            let inner = text[2..].trim_start();
            indent += text.len() - inner.len();
            text = inner;
        }
        match self.section {
            Some((_, column)) if indent <= column => {
                self.section = None;
                self.entry = None;
            }
            Some((Section::Logins, _)) => {
                let login = lines::login(text.trim().trim_matches(['"', '\'']));
                let quote = text.len() - text.trim_start_matches(['"', '\'']).len();
                found.extend(login.map(|behind| at(indent + quote + behind, Kind::Password)));
                return found;
            }
            Some((section, column)) => {
                if let Some(byte) = self.entry(line, indent, text, section)
                    && self.waiting.len() < MAX_WAITING
                {
                    self.waiting.push((at(byte, Kind::KubernetesSecret), column));
                }
                return found;
            }
            None => {}
        }
        let Some((key, rest)) = text.split_once(':') else { return found };
        let (key, rest) = (key.trim_matches(['"', '\'']), rest.split(" #").next().unwrap_or(rest));
        let rest = rest.trim().trim_matches(['"', '\'']);
        if key == "kind" && rest == "Secret" {
            self.secrets.push(indent);
        }
        if rest.is_empty() || rest.starts_with('#') || rest.starts_with('&') {
            self.section = section(key).map(|section| (section, indent));
        }
        found
    }

    /// Offset of an entry's value in a Secret, if the line has one.
    fn entry(&mut self, line: &str, indent: usize, text: &str, section: Section) -> Option<usize> {
        let (column, open) = *self.entry.get_or_insert((indent, false));
        if indent > column {
            // Lines of the value: only the first one is reported.
            self.entry = Some((column, false));
            return (open && is_secret(text.trim(), section)).then_some(indent);
        }
        let (key, value) = text.split_once(": ").or_else(|| text.strip_suffix(':').map(|key| (key, "")))?;
        let value = value.trim();
        let open = value.is_empty() || value.starts_with(['|', '>', '&']) && value.len() < 16;
        self.entry = Some((column, open));
        let value = value.trim_matches(['"', '\'']);
        (!open && !is_public(key, value, section) && is_secret(value, section))
            .then(|| value.as_ptr() as usize - line.as_ptr() as usize)
    }

    fn json(&mut self, line: &str, at: &dyn Fn(usize, Kind) -> Hit) -> Vec<Hit> {
        let mut found = Vec::new();
        let bytes = line.as_bytes();
        let mut here = 0;
        let indent = line.len() - line.trim_start().len();
        while here < bytes.len() {
            let byte = bytes[here];
            match byte {
                b'{' => {
                    let key = self.key.take().or_else(|| {
                        let first = self.braces.is_empty() && here < MAX_KEY;
                        let before = line[..here].trim().strip_suffix(':').filter(|_| first)?;
                        Some(before.trim_start_matches("- ").trim_matches(['"', '\'']).to_owned())
                    });
                    let section = key.as_deref().and_then(section);
                    if self.braces.len() < MAX_OPEN {
                        self.braces.push(Brace { section, ..Brace::default() });
                    }
                    here += 1;
                }
                b'}' => {
                    self.key = None;
                    found.extend(self.close(indent));
                    here += 1;
                }
                b',' | b'[' | b']' => {
                    self.key = None;
                    here += 1;
                }
                _ if self.braces.is_empty() => {
                    let next = memchr::memchr2(b'{', b'}', &bytes[here + 1..]);
                    here = next.map_or(bytes.len(), |next| here + 1 + next);
                }
                _ if byte == b':' || byte.is_ascii_whitespace() => here += 1,
                _ => {
                    let quoted = byte == b'"';
                    let start = here + usize::from(quoted);
                    let end = match quoted {
                        true => end_of_string(bytes, start),
                        false => {
                            start + bytes[start..].iter().take_while(|b| !b"{}[],:\" \t".contains(b)).count()
                        }
                    };
                    let end = end.max(start);
                    // Strings end at quotes, words at punctuation: neither is part of a multi-byte character.
                    let word = line.get(start..end).unwrap_or_default();
                    here = (end + usize::from(quoted)).max(here + 1);
                    let rest = line.get(here..).unwrap_or_default().trim_start();
                    if rest.starts_with(':') {
                        self.key = Some(word.to_owned());
                        continue;
                    }
                    let Some(brace) = self.braces.last_mut() else { continue };
                    let key = self.key.take();
                    brace.secret |= key.as_deref() == Some("kind") && word == "Secret";
                    if let (Some(section), Some(key)) = (brace.section, key)
                        && section != Section::Logins
                        && !is_public(&key, word, section)
                        && is_secret(word, section)
                        && brace.waiting.len() < MAX_WAITING
                    {
                        brace.waiting.push(at(start, Kind::KubernetesSecret));
                    }
                }
            }
        }
        found
    }

    /// Closes the innermost brace: its findings are certain, or wait for the brace around it.
    fn close(&mut self, indent: usize) -> Vec<Hit> {
        let Some(Brace { section, secret, waiting }) = self.braces.pop() else { return Vec::new() };
        if secret {
            return waiting;
        }
        if section.is_some() {
            match self.braces.last_mut() {
                Some(outer) => outer.waiting.extend(waiting),
                None => self.waiting.extend(waiting.into_iter().map(|hit| (hit, indent))),
            }
        }
        Vec::new()
    }
}

/// Offset of the end of a JSON string, or of the line.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut here = start;
    while here < bytes.len() && bytes[here] != b'"' {
        here += if bytes[here] == b'\\' { 2 } else { 1 };
    }
    here.min(bytes.len())
}

/// Entries that describe the secret's use (those of Argo CD, Flux, kubeadm's bootstrap tokens, operators of databases):
/// words and addresses.
const PUBLIC: [&str; 56] = [
    "namespace",
    "name",
    "type",
    "url",
    "server",
    "username",
    "user",
    "login",
    "description",
    "project",
    "host",
    "hostname",
    "port",
    "region",
    "bucket",
    "endpoint",
    "database",
    "dbname",
    "db",
    "email",
    "insecure",
    "enableoci",
    "enablelfs",
    "forcehttpbasicauth",
    "proxy",
    "noproxy",
    "provider",
    "scope",
    "tenant",
    "issuer",
    "clientid",
    "tokenid",
    "expiration",
    "authextragroups",
    "usagebootstrapauthentication",
    "usagebootstrapsigning",
    "ca.crt",
    "tls.crt",
    "cacrt",
    "knownhosts",
    "identity.pub",
    "registry",
    "repository",
    "repo",
    "organization",
    "owner",
    "app",
    "environment",
    "cluster",
    "kind",
    "version",
    "protocol",
    "address",
    "domain",
    "subject",
    "role",
];

/// Whether a name and its text describe the use of a secret.
pub(super) fn says_what_for(key: &str, text: &str) -> bool {
    is_public(key, text, Section::StringData)
}

/// Whether an entry describes the use of its secret, by its name and a value without credentials.
fn is_public(key: &str, value: &str, section: Section) -> bool {
    let key = key.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    let plain = key.replace(['-', '_'], "");
    const ENDS: [&str; 9] =
        ["username", "accountname", "address", "url", "namespace", "endpoint", "hostname", "owner", "region"];
    if !PUBLIC.contains(&plain.as_str()) && !ENDS.iter().any(|end| plain.ends_with(end)) {
        return false;
    }
    let text = match section {
        Section::Data => {
            decode(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
        }
        _ => value.to_owned(),
    };
    let text = text.trim();
    // A user's name may be a token, and a URL may contain a password.
    let login = text
        .split_once("://")
        .is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@')));
    let opaque =
        text.len() >= 20 && text.split(['/', '?', '=', '&']).any(|part| part.len() >= 16 && is_opaque(part));
    !text.is_empty() && !login && !opaque && !text.contains("PRIVATE KEY")
}

/// Whether the value of an entry is a secret, not a placeholder, a template or something public.
fn is_secret(value: &str, section: Section) -> bool {
    let public = |text: &str| {
        is_placeholder(text)
            || is_elsewhere(text)
            || text.contains("-----BEGIN CERTIFICATE")
            || text.contains("-----BEGIN PUBLIC KEY")
    };
    match section {
        Section::StringData => !public(value),
        Section::Logins => false,
        Section::Data => {
            let text = decode(value).filter(|bytes| !bytes.is_empty());
            // An encoded value is literal: a sign at its beginning does not refer to anything, unless templates fill it
            // in.
            let literal = |text: &str| {
                text.len() >= 4
                    && text.starts_with(['$', '!', '@', '%', '&', '*', '<', '`'])
                    && !["${", "{{", "$(", "{%", "<%"].iter().any(|part| text.contains(part))
                    && !text.ends_with(['>', '@', '%', '`'])
                    && !is_placeholder(text)
            };
            let secret = |text: &str| literal(text) || !public(text);
            !is_elsewhere(value)
                && !is_placeholder(value)
                && text.is_some_and(|text| secret(&String::from_utf8_lossy(&text)))
        }
    }
}
