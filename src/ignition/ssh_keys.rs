//! SSH public keys as people keep them, and the layer that gives them to a user.

use std::sync::Arc;

use serde_json::json;

use super::{Config, data_url};
use crate::report::{Finding, Findings, Place, Source, nearest, plain};

/// Key types that OpenSSH accepts in `authorized_keys`.
const TYPES: [&str; 8] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-dss",
];

/// Reads a file of public keys: one a line in the form of `authorized_keys`, options included; blank lines and lines
/// that start with `#` are skipped, and so is a key that is there already.
///
/// # Errors
/// Every line that holds no key, with its place, and a text without any key.
pub fn parse(source: &Arc<Source>) -> Result<Vec<String>, Findings> {
    let mut keys: Vec<String> = Vec::new();
    let mut findings = Vec::new();
    for (index, line) in plain(&source.text).lines().enumerate() {
        let key = line.trim();
        if key.is_empty() || key.starts_with('#') {
            continue;
        }
        let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
        let place = Place { source: source.clone(), line: index + 1, column };
        match check(key) {
            Ok(()) if keys.iter().any(|known| known == key) => {}
            Ok(()) => keys.push(key.to_owned()),
            Err(finding) => findings.push(finding.at(place)),
        }
    }
    if keys.is_empty() && findings.is_empty() {
        findings.push(Finding::error(format!("{} holds no SSH key", source.name)));
    }
    Findings::settle(findings, keys).map(|(keys, _)| keys)
}

/// The layer that adds keys to a user, at the lowest spec.
///
/// # Errors
/// Never for keys that [`parse`] returned; the config is checked like any other.
pub fn layer(user: &str, keys: &[String]) -> Result<Config, Findings> {
    Config::from_json(&json!({
        "ignition": {"version": "3.0.0"},
        "passwd": {"users": [{"name": user, "sshAuthorizedKeys": keys}]},
    }))
}

fn check(key: &str) -> Result<(), Finding> {
    if key.contains("PRIVATE KEY") {
        let finding = Finding::error("this is a private key");
        return Err(finding.hint("give the `.pub` file, and keep this one to yourself"));
    }
    let mut words = words(key).into_iter();
    let first = words.next().unwrap_or_default();
    // What is no type stands for options before it.
    let kind = if TYPES.contains(&first) { first } else { words.next().unwrap_or_default() };
    if !TYPES.contains(&kind) {
        let finding = Finding::error(format!("`{first}` is not a type of SSH key"));
        return Err(match nearest(first, TYPES) {
            Some(near) => finding.hint(format!("did you mean `{near}`?")),
            None => finding.hint(format!("known types: {}", TYPES.join(", "))),
        });
    }
    let blob = words.next().and_then(data_url::from_base64);
    let blob = blob.ok_or_else(|| Finding::error(format!("the {kind} key is not base64")))?;
    // The blob repeats the type: four bytes of length, then the name.
    let named = blob.get(4..).and_then(|rest| rest.get(..kind.len()));
    let length = u32::try_from(kind.len()).unwrap_or_default().to_be_bytes();
    match blob.starts_with(&length) && named == Some(kind.as_bytes()) && blob.len() > 4 + kind.len() {
        true => Ok(()),
        false => Err(Finding::error(format!("the key does not hold what `{kind}` promises"))
            .hint("copy the whole line of the `.pub` file")),
    }
}

/// Splits at blanks that are not inside double quotes, as sshd does with options.
fn words(line: &str) -> Vec<&str> {
    let mut quoted = false;
    let split = line.split(move |c: char| {
        quoted ^= c == '"';
        c.is_ascii_whitespace() && !quoted
    });
    split.filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt me@host";

    fn read(text: &str) -> Result<Vec<String>, Findings> {
        parse(&Source::new("keys", text))
    }

    #[test]
    fn keys_are_read_with_options_and_without_repeats() {
        let text = format!("# mine\n\n  {KEY}\r\n{KEY}\nfrom=\"10.0.0.0/8, 1.2.3.4\" {KEY}\n");
        let keys = read(&text).unwrap();
        assert_eq!(
            read(&format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap(),
            keys,
            "as an editor on Windows leaves it"
        );
        assert_eq!(keys, [KEY.to_owned(), format!("from=\"10.0.0.0/8, 1.2.3.4\" {KEY}")]);
        let layer = layer("core", &keys).unwrap();
        assert!(layer.to_json().contains("\"name\":\"core\",\"sshAuthorizedKeys\":[\"ssh-ed25519 AAAA"));
    }

    #[test]
    fn every_bad_line_is_named() {
        let text = format!(
            "{KEY}\nssh-ed2551 AAAA\nssh-rsa AAAAC3NzaC1lZDI1NTE5\n-----BEGIN OPENSSH PRIVATE KEY-----\n"
        );
        let Findings(findings) = read(&text).unwrap_err();
        let lines: Vec<usize> = findings.iter().map(|finding| finding.place.as_ref().unwrap().line).collect();
        assert_eq!(lines, [2, 3, 4]);
        assert_eq!(findings[0].hint.as_deref(), Some("did you mean `ssh-ed25519`?"));
        assert!(read("# none\n").is_err());
    }
}
