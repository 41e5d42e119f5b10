//! Names that announce a secret, and their values: `NAME=value` of environment files, units and scripts, `name: value`
//! of YAML and JSON, `name = value` of TOML and INI, `--name value`, `<name>value</name>`, headers.

use super::effort::Effort;
use super::kind::{Kind, decode};
use super::value::{self, MAX_VALUE};
use crate::base::finding::floor;

/// Upper limit for names, in bytes; of a longer name only the end is read.
const MAX_NAME: usize = 96;

/// Part of a line in which quotes are counted, in bytes: a prompt is short.
const MAX_PROMPT: usize = 1024;

/// Part before a name that is read, in bytes.
const MAX_BEFORE: usize = 256;

/// Class of the value after a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Chosen by a person, so it may be any word.
    Password,
    /// Made by a program, so it is not a word.
    Secret,
    /// An HTTP header, with its scheme before the secret.
    Header,
    /// The key `name`, whose value names the secret in the next `value`.
    Name,
    /// The key `value`, whose secret the last `name` named.
    Value,
}

/// Syntax between a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tie {
    /// `NAME=value`, with the name in capitals.
    Variable,
    /// `name = value`, `name: value`, `name := value`, `name => value`.
    Sign,
    /// `--name value`.
    Flag,
    /// `name "value"`, `set -x NAME value`, `<name>value<`.
    Beside,
}

/// A name with its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'l> {
    pub class: Class,
    /// Offset of the value, in bytes.
    pub at: usize,
    pub value: &'l str,
    tie: Tie,
    quote: Option<u8>,
    /// The line has nothing else.
    alone: bool,
    /// Not even a punctuation mark follows the value.
    last: bool,
    name: &'l str,
}

/// Ends of names that announce a password, in lower case and without `-`, `_` and `.`.
const PASSWORDS: [&str; 17] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "passwords",
    "bindpw",
    "rootpw",
    "adminpw",
    "userpw",
    "dbpw",
    "presharedkey",
    "psk",
    "requirepass",
    "masterauth",
    "rediscliauth",
    "authpass",
    "privpass",
];
/// Ends of names that count only as a word of their own: `DB_PASS`, and not `bypass`.
const WORDS: [(&str, Class); 6] = [
    ("pass", Class::Password),
    ("pwd", Class::Password),
    ("pw", Class::Password),
    ("pat", Class::Secret),
    ("sas", Class::Secret),
    ("auth", Class::Secret),
];
/// Ends of names that announce a token or a key.
const SECRETS: [&str; 44] = [
    "token",
    "tokens",
    "secret",
    "secretkey",
    "secretkeybase",
    "secretid",
    "accesskey",
    "apikey",
    "authkey",
    "accountkey",
    "masterkey",
    "signingkey",
    "signaturekey",
    "encryptionkey",
    "encryptkey",
    "cipherkey",
    "sharedkey",
    "privatekey",
    "joinkey",
    "agentkey",
    "licensekey",
    "applicationkey",
    "appkey",
    "sessionkey",
    "jwtkey",
    "hmackey",
    "storagekey",
    "servicekey",
    "integrationkey",
    "ingestkey",
    "ingestionkey",
    "adminkey",
    "rootkey",
    "cookiekey",
    "unsealkey",
    "recoverykey",
    "gossipkey",
    "keystring",
    "secretaccess",
    "credential",
    "credentials",
    "securitykey",
    "cookiesecret",
    "encrypt",
];
/// Names that contain one of these are about something else, or about something public.
const OTHERS: [&str; 23] = [
    "public",
    "csrf",
    "initialclustertoken",
    "nextpagetoken",
    "pagetoken",
    "continuetoken",
    "nexttoken",
    "synctoken",
    "maxtoken",
    "nopass",
    "lockpass",
    "locked",
    "askpass",
    "firstpass",
    "proxypass",
    "expire",
    "emptypass",
    "oldpwd",
    "bypass",
    "compass",
    "trespass",
    "tokenid",
    "canceltoken",
];
/// Headers with credentials, without `-`.
const HEADERS: [&str; 9] = [
    "authorization",
    "proxyauthorization",
    "xauthtoken",
    "privatetoken",
    "xapikey",
    "cookie",
    "setcookie",
    "xauthkey",
    "jobtoken",
];
/// Schemes before the secret in `Authorization:` (IANA's registry, and those that services invented).
const SCHEMES: [&str; 11] = [
    "basic",
    "bearer",
    "digest",
    "token",
    "negotiate",
    "apikey",
    "key",
    "aws4-hmac-sha256",
    "bot",
    "splunk",
    "sso-key",
];
/// Words after which a name and its value follow, separated by a blank: in shells of all sorts, and in Dockerfiles.
const SETTERS: [&str; 7] = ["set", "setenv", "setx", "env", "arg", "setenvifempty", "export"];
/// Signs after the name of a text of several lines (YAML 1.2, §8.1).
const BLOCKS: [&str; 6] = ["|", ">", "|-", ">-", "|+", ">+"];
/// Directives whose value follows a blank: Redis, keepalived, BIND, FRR, net-snmp, HAProxy.
const DIRECTIVES: [&str; 12] = [
    "requirepass",
    "masterauth",
    "auth_pass",
    "password",
    "passwd",
    "secret",
    "psk",
    "key-string",
    "authpass",
    "passphrase",
    "md5-password",
    "authkey",
];

/// Normalizes a name for comparison: lower case, without the separators of its words. Returns its length in `room`.
fn plain(name: &str, room: &mut [u8; MAX_NAME]) -> usize {
    let skip = name.len().saturating_sub(MAX_NAME);
    let mut length = 0;
    for byte in name.bytes().skip(skip).filter(|byte| !b"-_.".contains(byte)) {
        room[length] = byte.to_ascii_lowercase();
        length += 1;
    }
    length
}

/// Last words of names that distinguish one secret from others of its kind: `DB_PASSWORD_PROD`.
const SUFFIXES: [&str; 15] = [
    "prod",
    "production",
    "staging",
    "stage",
    "dev",
    "live",
    "new",
    "old",
    "main",
    "primary",
    "secondary",
    "backup",
    "ro",
    "rw",
    "master",
];

/// Class of a name's value, also for numbered or suffixed names: `PASSWORD_1`, `token2`, `DB_PASSWORD_PROD`.
pub(super) fn class(name: &str) -> Option<Class> {
    /// At most a number and a suffix.
    const PARTS: usize = 2;
    let name = name.trim_matches(['-', '_', '.']);
    if let Some(class) = class_of_one(name) {
        return Some(class);
    }
    let mut rest = name;
    for _ in 0..PARTS {
        let shorter = match rest.rsplit_once(['-', '_']) {
            Some((before, last)) if SUFFIXES.iter().any(|suffix| last.eq_ignore_ascii_case(suffix)) => before,
            _ => rest.trim_end_matches(|c: char| c.is_ascii_digit()),
        };
        if shorter.len() == rest.len() {
            return None;
        }
        rest = shorter.trim_matches(['-', '_', '.']);
        let class = class_of_one(rest);
        if matches!(class, Some(Class::Password | Class::Secret)) {
            return class;
        }
    }
    None
}

fn class_of_one(name: &str) -> Option<Class> {
    if name.len() < 2 {
        return None;
    }
    let mut room = [0; MAX_NAME];
    let length = plain(name, &mut room);
    let plain = std::str::from_utf8(&room[..length]).ok()?;
    match plain {
        "name" | "key" | "header" | "headername" | "variable" => return Some(Class::Name),
        "value" | "contents" | "defaultvalue" => return Some(Class::Value),
        _ => {}
    }
    if OTHERS.iter().any(|other| plain.contains(other)) {
        return None;
    }
    if HEADERS.contains(&plain) {
        return Some(Class::Header);
    }
    if PASSWORDS.iter().any(|end| plain.ends_with(end)) {
        return Some(Class::Password);
    }
    if SECRETS.iter().any(|end| plain.ends_with(end)) {
        return Some(Class::Secret);
    }
    let word = |(end, class): &(&str, Class)| {
        if !plain.ends_with(end) {
            return None;
        }
        let (before, last) = name.split_at(name.len() - end.len());
        let alone = match before.chars().next_back() {
            None => ["pass", "pwd"].contains(end),
            Some('-' | '_' | '.') => true,
            Some(c) => c.is_ascii_lowercase() && last.starts_with(|c: char| c.is_ascii_uppercase()),
        };
        // `auth`, `pw`, `pat` are too short for anything but a variable: `REDISCLI_AUTH`, `GITHUB_PAT`.
        let short = end.len() == 2 || ["pat", "auth", "sas"].contains(end);
        (alone && (!short || name.bytes().all(|byte| !byte.is_ascii_lowercase()))).then_some(*class)
    };
    WORDS.iter().find_map(word)
}

/// Words that occur in the names of secrets; longer ones first, so that none hides another.
const GENERIC: [&str; 36] = [
    "authorization",
    "certificate",
    "credentials",
    "credential",
    "passphrase",
    "encryption",
    "bootstrap",
    "passcode",
    "password",
    "account",
    "private",
    "session",
    "cookie",
    "secret",
    "shared",
    "access",
    "bearer",
    "client",
    "passwd",
    "signing",
    "tokens",
    "token",
    "admin",
    "proxy",
    "login",
    "user",
    "root",
    "auth",
    "pass",
    "data",
    "api",
    "key",
    "psk",
    "pwd",
    "db",
    "x",
];

/// Whether a name consists only of words from names of secrets, so that showing it reveals nothing.
pub(super) fn is_generic(name: &str) -> bool {
    let mut room = [0; MAX_NAME];
    let length = plain(name, &mut room);
    let mut rest = std::str::from_utf8(&room[..length]).unwrap_or("?");
    while let Some(word) = GENERIC.iter().find(|word| rest.starts_with(**word)) {
        rest = &rest[word.len()..];
    }
    rest.is_empty() && length >= 3
}

/// Whether a header carries credentials.
pub(super) fn is_login(header: &str) -> bool {
    matches!(class(header), Some(Class::Header | Class::Secret | Class::Password))
}

/// Counts of each quote in a line before a position: a name after an odd count is inside a text.
#[derive(Debug, Default)]
struct Quotes {
    at: usize,
    double: usize,
    single: usize,
}

impl Quotes {
    /// Counts up to a position, at most within [`MAX_PROMPT`].
    fn until(&mut self, bytes: &[u8], at: usize) {
        for byte in bytes.get(self.at..at.min(MAX_PROMPT)).unwrap_or_default() {
            self.double += usize::from(*byte == b'"');
            self.single += usize::from(*byte == b'\'');
        }
        self.at = self.at.max(at.min(MAX_PROMPT));
    }

    fn is_odd(&self, quote: u8) -> bool {
        (if quote == b'"' { self.double } else { self.single }) % 2 == 1
    }
}

/// Calls `on` for every name in a line that announces something, with its value. `parts` are the offsets of parts of
/// names, in order.
pub(super) fn pairs<'l>(line: &'l str, parts: &[usize], effort: &Effort, mut on: impl FnMut(Pair<'l>)) {
    let bytes = line.as_bytes();
    let in_name = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let mut behind = 0;
    let mut quotes = Quotes::default();
    for part in parts {
        if *part < behind {
            continue;
        }
        let start = part - bytes[behind..*part].iter().rev().take_while(in_name).count();
        behind = part + bytes[*part..].iter().take_while(in_name).count();
        quotes.until(bytes, start);
        if let Some(class) = class(&line[start..behind])
            && let Some(pair) = pair(line, start, behind, class, &quotes)
        {
            if !effort.spend(pair.value.len() * PER_VALUE) {
                return;
            }
            on(pair);
        }
    }
}

/// Steps for each byte of a value, which is compared with the words of several tables.
const PER_VALUE: usize = 4;

/// The pair of the name between two bytes and its value, if it has one.
fn pair<'l>(line: &'l str, start: usize, end: usize, class: Class, quotes: &Quotes) -> Option<Pair<'l>> {
    let bytes = line.as_bytes();
    let name = &line[start..end];
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(b'\n');
    let blank = |byte: u8| byte == b' ' || byte == b'\t';
    let mut at = end;
    // Skip the end of the name: a quote of JSON or of a text in JSON, an index.
    while b"\"'\\]".contains(&byte(at)) {
        at += 1;
    }
    let closed = at;
    while blank(byte(at)) {
        at += 1;
    }
    let ahead = &line[floor(line, start.saturating_sub(MAX_BEFORE))..start];
    // Helm's digest of a pod's configuration, which restarts the pod on a change: `checksum/secret`.
    if ahead.ends_with("checksum/") {
        return None;
    }
    let colon = byte(at) == b':';
    // openssl(1)'s empty pass phrase, before the next option.
    let empty = name == "pass" && colon && line[at + 1..].trim_start().starts_with('-');
    // The result that a test prints.
    let passed = name == "PASS" && colon && ["echo ", "printf "].iter().any(|says| ahead.contains(says));
    // The label of a device (RFC 7512, §2.3).
    let label = name == "token" && ahead.contains("pkcs11:");
    if empty || passed || label {
        return None;
    }
    // Values of Helm's charts on its command line.
    let set = ahead.trim_end();
    let set = set.len() < ahead.len() && ["--set", "--set-string"].iter().any(|option| set.ends_with(option));
    let variable = |name: &str| !name.bytes().any(|byte| byte.is_ascii_lowercase());
    let tie = match (byte(at), byte(at + 1)) {
        // A comparison, or a shell's message for a variable that is not set: `${PASSWORD:?set it}`.
        (b'=', b'=' | b'~') | (b'!', _) | (b':', b':' | b'?') => return None,
        (b'=', b'>') | (b':' | b'?' | b'+', b'=') => {
            at += 2;
            Tie::Sign
        }
        (b'=', _) => {
            at += 1;
            // Connection strings and mount options: `;Pwd=…;`, `,password=…`.
            let joined = start > 0 && b";,".contains(&bytes[start - 1]);
            let joined =
                joined && memchr::memchr(b'(', &bytes[start.saturating_sub(MAX_BEFORE)..start]).is_none();
            let tied = at == closed + 1 && !blank(byte(at));
            match tied {
                true if variable(name) || joined => Tie::Variable,
                true if set || name.starts_with("--") => Tie::Flag,
                _ => Tie::Sign,
            }
        }
        (b':', _) => {
            at += 1;
            Tie::Sign
        }
        // An XML element, not a placeholder in a sentence.
        (b'>', _)
            if start > 0
                && bytes[start - 1] == b'<'
                && memchr::memmem::find(&bytes[at..bytes.len().min(at + MAX_VALUE)], b"</").is_some() =>
        {
            at += 1;
            Tie::Beside
        }
        _ if at == closed => return None,
        _ if name.starts_with("--") => Tie::Flag,
        (b'"' | b'\'', _) => Tie::Beside,
        _ => {
            // The part of the line before the name, as far as it is read.
            let from = floor(line, start.saturating_sub(MAX_BEFORE));
            let before = line[from..start].trim_end();
            let setter =
                before.rsplit([' ', '\t', ';']).find(|word| !word.starts_with('-')).unwrap_or_default();
            let setter = setter.to_ascii_lowercase();
            let first = from == 0 && before.is_empty();
            // In a sentence of two words, the second has no digit.
            let own = || {
                ["requirepass", "masterauth", "auth_pass"].contains(&name)
                    || line[end..].bytes().take(MAX_VALUE).any(|byte| byte.is_ascii_digit())
            };
            let two = || line[start..].split_whitespace().take(3).count() == 2;
            let directive = first && DIRECTIVES.contains(&name) && own() && two();
            let neighbor = from == 0 && before.starts_with("neighbor ") && name == "password";
            let set = SETTERS.contains(&setter.as_str()) && variable(name);
            if !(directive || neighbor || set) {
                return None;
            }
            Tie::Beside
        }
    };
    while blank(byte(at)) || byte(at) == b'[' {
        at += 1;
    }
    // A backslash escapes the quote of a text within a text.
    let mut quote = None;
    if byte(at) == b'\\' && b"\"'".contains(&byte(at + 1)) {
        at += 1;
    }
    // Prefixes of strings: Python's and C++'s `b"…"`, `r"…"`, `f"…"`.
    if b"bru@".contains(&byte(at)) && b"\"'".contains(&byte(at + 1)) {
        at += 1;
    }
    if b"\"'".contains(&byte(at)) {
        // A text that ends with the name, such as a prompt.
        let inside = start < MAX_PROMPT && quotes.is_odd(byte(at));
        if inside && closed == end {
            return None;
        }
        quote = Some(byte(at));
        at += 1;
    }
    let stop = floor(line, at + MAX_VALUE);
    let rest = line.get(at..stop)?;
    let length = match quote {
        Some(quote) => rest.bytes().position(|byte| byte == quote || byte == b'\\').unwrap_or(rest.len()),
        None if BLOCKS.contains(&rest.trim()) => rest.trim_end().len(),
        None if class == Class::Value => {
            rest.find(['"', '\'', '`', '\\', '<', ',', '}']).unwrap_or(rest.len())
        }
        None if class == Class::Header => rest.find(['"', '\'', '`', '\\', '<']).unwrap_or(rest.len()),
        None => rest.find(|c: char| c.is_whitespace() || "\"'`,;&|<>\\".contains(c)).unwrap_or(rest.len()),
    };
    // `;` and `&`, which end commands elsewhere, are part of the value if the line has only the name before it and no
    // other name after it.
    let length = match rest.as_bytes().get(length) {
        Some(b';' | b'&') if quote.is_none() && length < 4 && matches!(tie, Tie::Sign | Tie::Variable) => {
            let whole = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let own = start <= MAX_BEFORE
                && line[..start].trim_matches([' ', '\t', '-']).is_empty()
                && rest[whole..].trim_start().is_empty()
                && value::is_opaque(&rest[..whole])
                && !rest[..whole].contains(['=', '"', '\'', '`', '<', '>', '|', '$', '(']);
            if own { whole } else { length }
        }
        _ => length,
    };
    let value = rest[..length].trim_end();
    // Strip brackets that close a YAML map or list in one line.
    let value = match quote.is_none() && !value.contains(['{', '[']) {
        true => value.trim_end_matches(['}', ']']),
        false => value,
    };
    // A verb, not a name: `pass "successfully built"`, `we pass "-subj"`.
    if name == "pass" && tie == Tie::Beside && (value.contains(' ') || value.starts_with('-')) {
        return None;
    }
    let behind = rest[length..].trim_start_matches(['"', '\'', '`']).trim();
    let from = floor(line, start.saturating_sub(MAX_BEFORE));
    let before = line[from..start].trim_matches([' ', '\t', '-', '"', '\'']);
    let first = from == 0 && (before.is_empty() || before == "export" || before.starts_with('#'));
    let alone = first && (behind.is_empty() || behind.starts_with('#') || [",", ";", "\\"].contains(&behind));
    // A text of several words without quotes extends to the end of its line, as in YAML and INI.
    let words = (first && quote.is_none() && tie == Tie::Sign && matches!(class, Class::Password))
        .then(|| rest.split(" #").next().unwrap_or(rest).trim_end())
        .filter(|text| text.contains(' ') && stop < at + MAX_VALUE)
        .filter(|text| {
            text.split_whitespace().nth(2).is_some() && !text.contains(['=', '"', '\'', '`', '|', '<'])
        });
    Some(Pair {
        class,
        at,
        value: words.unwrap_or(value),
        tie,
        quote,
        alone: alone || words.is_some(),
        last: behind.is_empty(),
        name,
    })
}

impl<'l> Pair<'l> {
    /// A pair whose value is in a line of its own below its name.
    pub(super) fn below(class: Class, at: usize, value: &'l str) -> Self {
        Pair { class, at, value, tie: Tie::Sign, quote: None, alone: true, last: true, name: "" }
    }

    /// Whether no value follows, so that it is in the lines below.
    pub(super) fn is_open(&self) -> bool {
        self.quote.is_none() && self.alone && (self.value.is_empty() || BLOCKS.contains(&self.value))
    }

    /// Whether the value, which ends its line, has a bracket that cannot be code: without its counterpart, or in the
    /// middle of a word.
    fn has_stray_bracket(&self) -> bool {
        let value = self.value;
        let count = |bracket: char| value.matches(bracket).count();
        let halves =
            [('(', ')'), ('[', ']'), ('{', '}')].iter().any(|(open, close)| count(*open) != count(*close));
        let middle =
            value.as_bytes().windows(2).any(|two| b")]}".contains(&two[0]) && two[1].is_ascii_alphanumeric());
        self.alone
            && self.last
            && matches!(self.tie, Tie::Variable | Tie::Sign)
            && (halves || middle)
            && !value.starts_with(['(', '[', '{'])
            && !value.ends_with(['(', '[', '{'])
            && value.bytes().any(|byte| byte.is_ascii_digit())
            && value::is_opaque_in(value, self.quote)
    }

    /// Kind of secret that the value is, if it is one. `named` is the class that an earlier `name` announced; `context`
    /// is the kind of file.
    pub(super) fn secret(&self, named: Option<Class>, context: Context) -> Option<Kind> {
        let (value, quoted) = (self.value, self.quote.is_some());
        // Code: a call, an index, another variable.
        let code = !quoted && value.contains(['(', ')', '[', ']', '{', '}']) && !self.has_stray_bracket();
        match if self.class == Class::Value { named? } else { self.class } {
            Class::Name | Class::Value => None,
            Class::Header => header(value),
            Class::Password => {
                let letters =
                    value.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'.');
                let word = !quoted && letters && !self.alone && self.tie == Tie::Sign;
                // A name or a remark: `not-the-real-one`.
                let dashed = value.split('-').count() >= 3
                    && value.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
                // A reference of Terraform: `random_password.db.result`.
                let attribute = value.split('.').count() >= 3
                    && value.bytes().all(|byte| byte.is_ascii_lowercase() || b"_.".contains(&byte));
                let word = word || !quoted && (dashed || attribute) && self.tie == Tie::Sign;
                let interface = context == Context::Interface && !value::is_opaque(value);
                (!code
                    && !word
                    && !interface
                    && value::is_given_in(value, self.quote)
                    && !is_prose(self.name, value, quoted)
                    && !is_short_number(value))
                .then_some(Kind::Password)
            }
            Class::Secret => {
                let variable = self.tie == Tie::Variable && is_variable(value);
                // K3s and RKE2 accept any word.
                let thought_up = (context == Context::Rancher || is_of_rancher(self.name))
                    && ["token", "agenttoken"].contains(
                        &self
                            .name
                            .to_ascii_lowercase()
                            .replace(['-', '_'], "")
                            .trim_start_matches("k3s")
                            .trim_start_matches("rke2"),
                    )
                    && value::is_given_in(value, self.quote)
                    && !value.contains(char::is_whitespace)
                    && value.bytes().any(|byte| !byte.is_ascii_uppercase() && byte != b'_');
                // The name of a Secret of Kubernetes or of a vault: `my-tls-cert-a1b2c3`.
                let called = self.name.to_ascii_lowercase().ends_with("secret") && is_name_of_object(value);
                (!code && !called && (value::is_opaque_in(value, self.quote) || variable || thought_up))
                    .then_some(Kind::Secret)
            }
        }
    }
}

/// Whether a value looks like the name of an object: three or more words of lower-case letters with dashes between, the
/// last of which may be a number or a digest.
fn is_name_of_object(value: &str) -> bool {
    let Some((words, last)) = value.rsplit_once('-') else { return false };
    let word =
        |word: &str| (2..=12).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase());
    words.contains('-')
        && words.split('-').all(word)
        && (1..=10).contains(&last.len())
        && last.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether this is a variable of K3s or RKE2.
fn is_of_rancher(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["k3s_", "rke2_"].iter().any(|begin| name.starts_with(begin))
}

/// Kind of file that contains a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// Any file.
    Plain,
    /// A file that K3s or RKE2 reads.
    Rancher,
    /// The texts of a user interface.
    Interface,
}

/// Whether the value of a variable named after a secret is more than the name of one.
fn is_variable(value: &str) -> bool {
    let mixed = value.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    let letters = value.bytes().all(|byte| byte.is_ascii_lowercase()) && value.len() >= 10;
    value.len() >= 6
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
        && (mixed || letters)
        && value::is_given(value)
        && !is_prose("", value, false)
        && !value.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// The kind of secret in the value of a header, if it carries credentials.
fn header(value: &str) -> Option<Kind> {
    let (first, rest) = value.split_once(' ').unwrap_or(("", value));
    let secret = match SCHEMES.contains(&first.to_ascii_lowercase().as_str()) {
        true => rest.trim(),
        false => value,
    };
    let scheme = secret != value;
    let given = value::is_given(secret) && !secret.contains(['<', '$', '(']) && !is_prose("", secret, true);
    let opaque = secret.split(['=', ';', ' ']).any(value::is_opaque);
    let login = || decode(secret).is_some_and(|login| login.contains(&b':'));
    (given && (opaque || scheme && (secret.len() >= 8 || login()))).then_some(Kind::LoginHeader)
}

/// Whether a text of several words talks about a secret instead of being one. Passphrases are words without
/// punctuation; after a name that announces one they may be any words except those that ask people for one.
fn is_prose(name: &str, value: &str, quoted: bool) -> bool {
    const WORDS: [&str; 40] = [
        "a",
        "an",
        "and",
        "are",
        "be",
        "can",
        "cannot",
        "for",
        "from",
        "if",
        "in",
        "is",
        "must",
        "of",
        "or",
        "the",
        "this",
        "to",
        "with",
        "your",
        "required",
        "requisite",
        "sufficient",
        "include",
        "optional",
        "files",
        "compat",
        "systemd",
        "sss",
        "ldap",
        "db",
        "winbind",
        "usrfiles",
        "not",
        "string",
        "str",
        "was",
        "has",
        "by",
        "as",
    ];
    const ASKED: [&str; 30] = [
        "password",
        "passwords",
        "passphrase",
        "passwort",
        "kennwort",
        "enter",
        "please",
        "your",
        "secret",
        "must",
        "should",
        "forgot",
        "reset",
        "change",
        "changed",
        "new",
        "invalid",
        "wrong",
        "confirm",
        "repeat",
        "required",
        "default",
        "see",
        "login",
        "user",
        "username",
        "token",
        "key",
        "authentication",
        "encrypted",
    ];
    if !value.contains(char::is_whitespace) {
        return false;
    }
    let words = || value.split_whitespace();
    let count = words().count();
    let has = |list: &[&str]| {
        words().any(|word| {
            list.iter().any(|one| word.trim_matches(|c: char| !c.is_alphanumeric()).eq_ignore_ascii_case(one))
        })
    };
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" '-!_@#$%^&*+".contains(&byte));
    let begins = value.starts_with(|c: char| c.is_uppercase())
        && words().skip(1).all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
    let lower = name.to_ascii_lowercase();
    let phrase =
        ["phrase", "psk", "sharedkey"].iter().any(|end| lower.replace(['-', '_'], "").ends_with(end));
    match phrase {
        true => has(&ASKED) || !quoted && !plain || count == 2 && has(&WORDS),
        false => has(&ASKED) || has(&WORDS) || begins || count == 2 || count > 12 || !quoted && !plain,
    }
}

/// Ports, days and lengths, which are never passwords.
fn is_short_number(value: &str) -> bool {
    value.len() < 6 && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}
