//! Whether a value is a secret itself, or a place where one is filled in, a reference to one, or a word that everybody knows.

use super::kind::base64;

/// Longest value that is judged, in bytes.
pub(super) const MAX_VALUE: usize = 1024;

/// Words that tell that somebody is to put a secret here, anywhere in a value.
const TO_FILL_IN: [&str; 26] = [
    "changeme",
    "change-me",
    "change_me",
    "changeit",
    "change-it",
    "change_it",
    "changethis",
    "replace",
    "placeholder",
    "redacted",
    "insert",
    "your-",
    "your_",
    "yourpass",
    "yourtoken",
    "yoursecret",
    "yourkey",
    "my-secret-here",
    "dummy",
    "todo",
    "fixme",
    "xxxx",
    "not-a-real",
    "notreal",
    "-here",
    "_here",
];

/// Words that open nothing that is not open already: defaults that everybody tries first, types, and what is no value.
const COMMON: [&str; 78] = [
    "",
    "0",
    "1",
    "admin",
    "all",
    "any",
    "anonymous",
    "apikey",
    "ask",
    "auto",
    "basic",
    "bearer",
    "bool",
    "boolean",
    "bytes",
    "default",
    "demo",
    "disabled",
    "empty",
    "enabled",
    "env",
    "example",
    "exec",
    "false",
    "file",
    "foo",
    "bar",
    "guest",
    "hidden",
    "hunter",
    "id",
    "inherit",
    "int",
    "integer",
    "jwt",
    "key",
    "literal",
    "md5",
    "mysecret",
    "mypassword",
    "mytoken",
    "name",
    "never",
    "nil",
    "no",
    "none",
    "not",
    "null",
    "number",
    "object",
    "off",
    "on",
    "optional",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "plain",
    "prompt",
    "public",
    "pwd",
    "random",
    "required",
    "root",
    "sample",
    "scram-sha-256",
    "secret",
    "static",
    "str",
    "string",
    "supersecret",
    "test",
    "testing",
    "text",
    "token",
    "true",
    "value",
    "yes",
];

/// Words that a placeholder is made of, besides those.
const NAMES: [&str; 16] = [
    "my", "your", "the", "a", "some", "super", "user", "db", "database", "api", "access", "new", "strong",
    "here", "very", "of",
];

/// Beginnings of what is looked up elsewhere: variables, templates, paths, URLs, tags of YAML, references of tools.
const ELSEWHERE: [&str; 45] = [
    "$",
    "{{",
    "{%",
    "{$",
    "<",
    "%",
    "@",
    "&",
    "*",
    "!",
    "/",
    "./",
    "../",
    "~/",
    "`",
    "file:",
    "env:",
    "env.",
    "vault:",
    "ref+",
    "ref:",
    "op://",
    "arn:",
    "http://",
    "https://",
    "data.",
    "var.",
    "local.",
    "module.",
    "each.",
    "os.",
    "process.env",
    "self.",
    "this.",
    "config.",
    "args.",
    "secrets.",
    "secretkeyref",
    "enc[",
    "enc(",
    "pkcs11:",
    "--",
    "sha256:",
    "sha512:",
    "ssh-",
];

/// Ends of the names of files.
const FILES: [&str; 13] = [
    ".pem", ".key", ".crt", ".txt", ".json", ".yaml", ".yml", ".jks", ".p12", ".pfx", ".conf", ".file",
    ".env",
];

/// Whether a value says where the secret is, or comes from, instead of being one.
pub(super) fn is_elsewhere(value: &str) -> bool {
    let lower = value.get(..16.min(value.len())).unwrap_or(value).to_ascii_lowercase();
    ELSEWHERE.iter().any(|begin| lower.starts_with(begin))
        || ["${", "{{", "$(", "<%", "#{", "%{", "}}"].iter().any(|part| value.contains(part))
        || FILES.iter().any(|end| value.ends_with(end))
        || is_sealed(value)
}

/// Whether a value is sealed for a cluster's own key: base64 of the length of a session key by RSA of 4,096 bits (0x0200), the key
/// and the text (Sealed Secrets, `crypto.HybridEncrypt`). Names beside it are those of the secret.
fn is_sealed(value: &str) -> bool {
    const LEAST: usize = 512 * 4 / 3;
    value.len() >= LEAST
        && value.starts_with("Ag")
        && value.as_bytes().get(2).is_some_and(|byte| b"ABCD".contains(byte))
        && value.bytes().all(|byte| base64(byte) || byte == b'=')
}

/// Whether a value only holds a secret's place, or is one that everybody tries first.
pub(super) fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let core = lower.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let mark = |c: char| c.is_ascii_punctuation();
    // `###TOKEN###`, `@@TOKEN@@`, `__TOKEN__`
    let marked = ["##", "@@", "__", "--", "%%", "~~", "++"]
        .iter()
        .any(|two| value.starts_with(two) && value.ends_with(two));
    let words = || core.split(mark).filter(|word| !word.is_empty());
    let first = value.chars().next();
    COMMON.contains(&core)
        || TO_FILL_IN.iter().any(|word| lower.contains(word))
        || lower.contains("example") && !value.bytes().any(|byte| byte.is_ascii_digit())
        || lower.contains("...")
        || lower.contains('…')
        || value.chars().all(|c| Some(c) == first || "-_.*".contains(c))
        || marked
        || words().count() > 1 && words().all(|word| COMMON.contains(&word) || NAMES.contains(&word))
}

/// Whether a value may be a password: anything that is neither looked up elsewhere nor a placeholder.
pub(super) fn is_given(value: &str) -> bool {
    value.len() >= 4 && !is_elsewhere(value) && !is_placeholder(value)
}

/// Whether a value is one that nobody thinks up as a name: digits among letters, or many letters of both cases.
pub(super) fn is_opaque(value: &str) -> bool {
    if value.len() < 8 || value.contains(char::is_whitespace) || !is_given(value) {
        return false;
    }
    let count = |of: fn(&u8) -> bool| value.as_bytes().iter().filter(|byte| of(byte)).count();
    let (digits, upper, lower) =
        (count(u8::is_ascii_digit), count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    if upper + lower == 0 {
        return false;
    }
    let mut seen = [false; 256];
    value.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    if seen.iter().filter(|seen| **seen).count() < 6 {
        return false;
    }
    if digits == 0 {
        // Base64 changes its case all the time, names in camel case do so at words.
        let changes = value
            .as_bytes()
            .windows(2)
            .filter(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase());
        return value.len() >= 20 && upper >= 5 && lower >= 5 && changes.count() * 6 >= value.len();
    }
    // `name-of-a-thing-2`, `v1.2.3`, `us_east_1`: words and numbers, nowhere mixed but for a number behind a word.
    let plain = |part: &str| {
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = part.len() - word.len();
        word.bytes().all(|byte| byte.is_ascii_alphabetic())
            && (word.is_empty() || digits <= 2 || word.len() <= 2)
            && (word.to_ascii_lowercase() == word || word.to_ascii_uppercase() == word || digits == 0)
    };
    let mut parts = value.split(['-', '_', '.', '/', ':', '@']).filter(|part| !part.is_empty());
    !parts.all(plain)
}
