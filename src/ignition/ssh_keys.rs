//! SSH public keys in their usual text form, and the layer that gives them to a user.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use prebake_text::finding::{Finding, Findings, Place, Source, is_unseen, nearest, plain};
use serde_json::json;
use sha2::Digest as _;

use super::{Config, data_url};

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

/// Most findings about a text that a stranger may have written.
const MOST_FINDINGS: usize = 8;

/// Origin of a text with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The recipe, or a file beside it.
    Recipe,
    /// A publisher of keys. Only bare keys are accepted from there: an option would decide what may sign for others
    /// (`cert-authority`), what runs (`command=`) or with which environment.
    Published,
}

/// The parts of a line of `authorized_keys`.
struct Line<'l> {
    /// The text before the key's type.
    options: &'l str,
    /// The key's bytes, which begin with its type.
    blob: Vec<u8>,
}

/// Parses a file of public keys: one per line in the form of `authorized_keys`. Blank lines and lines that start with
/// `#` are skipped, and so are repetitions of a key with the same options, whatever their comments.
///
/// # Errors
/// Every line without a key, with its place; published keys with options or hidden characters; and a text without any
/// key.
pub fn parse(source: &Arc<Source>, origin: Origin) -> Result<Vec<String>, Findings> {
    let mut keys: Vec<String> = Vec::new();
    let mut findings = Vec::new();
    let mut known = BTreeSet::new();
    for (index, line) in plain(&source.text).lines().enumerate() {
        let key = line.trim();
        if key.is_empty() || key.starts_with('#') {
            continue;
        }
        let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
        let place = Place { source: source.clone(), line: index + 1, column };
        match check(key, origin) {
            Ok(Line { options, blob }) => {
                if known.insert((options.to_owned(), blob)) {
                    keys.push(key.to_owned());
                }
            }
            // No line of a private key is ever shown, and nothing else in its file is of interest.
            Err(finding) if is_private(key) => {
                let hidden = Source::new(source.name.as_str(), "\n".repeat(index) + "…");
                return Err(Findings(vec![finding.at(Place { source: hidden, line: index + 1, column })]));
            }
            Err(finding) => findings.push(finding.at(place)),
        }
        if origin == Origin::Published && findings.len() == MOST_FINDINGS {
            break;
        }
    }
    if keys.is_empty() && findings.is_empty() {
        findings.push(Finding::error(format!("{} contains no SSH key", source.name)));
    }
    Findings::settle(findings, keys).map(|(keys, _)| keys)
}

/// Each key once, in the given order. A published key that the recipe names itself is left out; otherwise it would lack
/// the options that the recipe gives it.
pub fn distinct(keys: Vec<(String, Origin)>) -> Vec<String> {
    let line = |key: &str| split(key).ok().map(|line| (line.options.to_owned(), line.blob));
    let own: BTreeSet<Vec<u8>> = keys
        .iter()
        .filter(|(_, origin)| *origin == Origin::Recipe)
        .filter_map(|(key, _)| Some(line(key)?.1))
        .collect();
    let mut seen = BTreeSet::new();
    let mut is_new = |key: &str, origin| match line(key) {
        Some((_, blob)) if origin == Origin::Published && own.contains(&blob) => false,
        Some(line) => seen.insert(line),
        None => true,
    };
    keys.into_iter().filter_map(|(key, origin)| is_new(&key, origin).then_some(key)).collect()
}

/// The layer that adds keys to a user, at the lowest spec.
///
/// # Errors
/// None for keys that [`parse`] returned; the config is checked like any other.
pub fn layer(user: &str, keys: &[String]) -> Result<Config, Findings> {
    Config::from_json(&json!({
        "ignition": {"version": "3.0.0"},
        "passwd": {"users": [{"name": user, "sshAuthorizedKeys": keys}]},
    }))
}

/// Whether a line begins a private key: OpenSSH's, PEM's or PuTTY's.
fn is_private(line: &str) -> bool {
    line.contains("PRIVATE KEY") || line.starts_with("PuTTY-User-Key-File")
}

fn check(key: &str, origin: Origin) -> Result<Line<'_>, Finding> {
    if is_private(key) {
        let finding = Finding::error("this is a private key");
        return Err(finding.hint("give the `.pub` file, and keep this one to yourself"));
    }
    // sshd does not split words at other blanks than spaces and tabs.
    let is_hidden = |c: &char| match origin {
        Origin::Recipe => c.is_control() && *c != '\t',
        Origin::Published => is_unseen(*c) && *c != '\t' || *c == char::REPLACEMENT_CHARACTER,
    };
    if let Some(hidden) = key.chars().find(is_hidden) {
        let text = format!("the key has the character U+{:04X}, which is invisible", u32::from(hidden));
        return Err(Finding::error(text).hint("remove it, or ask the publisher to remove it"));
    }
    let line = split(key)?;
    if origin == Origin::Published && !line.options.is_empty() {
        let digest = STANDARD_NO_PAD.encode(sha2::Sha256::digest(&line.blob));
        let options: String = line.options.chars().take(40).collect();
        let text = format!(
            "the key SHA256:{digest} has options (`{options}`), which are accepted only from a recipe"
        );
        let hint = "if they are wanted, write the whole line under `ssh_keys:` in the recipe";
        return Err(Finding::error(text).hint(hint));
    }
    Ok(line)
}

fn split(key: &str) -> Result<Line<'_>, Finding> {
    let mut words = words(key).into_iter();
    let first = words.next().unwrap_or_default();
    // A first word that is not a type means that options precede the type.
    let (options, kind) =
        if TYPES.contains(&first) { ("", first) } else { (first, words.next().unwrap_or_default()) };
    if !TYPES.contains(&kind) {
        let shown: String = first.chars().take(40).collect();
        let finding = Finding::error(format!("`{shown}` is not a type of SSH key"));
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
        true => Ok(Line { options, blob }),
        false => Err(Finding::error(format!("the key is not of the type `{kind}` that its line names"))
            .hint("copy the whole line of the `.pub` file")),
    }
}

/// Splits at blanks outside of double quotes, as sshd does for options.
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
        parse(&Source::new("keys", text), Origin::Recipe)
    }

    fn published(text: &str) -> Result<Vec<String>, Findings> {
        parse(&Source::new("https://github.com/octo.keys", text), Origin::Published)
    }

    /// attacks.md, §4: `github:` accepted `cert-authority`, `command=`, ESC and NUL from any server that answers there.
    /// A newcomer forgot `.pub`, and each line of the key came back as a finding of its own, into the log of a CI.
    #[test]
    fn a_private_key_is_told_once_and_none_of_its_lines_is_shown() {
        for key in [
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n",
            "# mine\nPuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\nc2VjcmV0\n",
        ] {
            let findings = parse(&Source::new("id", key), Origin::Recipe).unwrap_err();
            let told = findings.to_string();
            assert_eq!(findings.0.len(), 1, "{told}");
            assert!(told.contains("this is a private key"), "{told}");
            assert!(key.lines().filter(|line| line.len() > 7).all(|line| !told.contains(line)), "{told}");
        }
    }

    #[test]
    fn a_published_key_comes_without_options_and_hidden_characters() {
        let bare = KEY.strip_suffix(" me@host").unwrap();
        assert_eq!(published(&format!("{bare}\n{KEY}\n{bare}\tother\n")).unwrap(), [bare]);
        for options in [
            "cert-authority",
            "command=\"/bin/sh -c id\"",
            "environment=\"LD_PRELOAD=/x\"",
            "restrict",
            "from=\"*\",cert-authority",
            "no-pty,command=\"a \\\" b\"",
        ] {
            let Findings(findings) = published(&format!("{KEY}\n{options} {KEY}\n")).unwrap_err();
            assert_eq!(findings[0].place.as_ref().unwrap().line, 2, "{options}");
            // A quote inside quotes hides the type after it.
            let is_named = findings[0].message.contains("SHA256:") && findings[0].message.contains("options");
            assert!(is_named || findings[0].message.contains("is not a type"), "{:?}", findings[0]);
            read(&format!("{options} {bare}"))
                .map(drop)
                .unwrap_or_else(|_| assert!(options.contains("\\\"")));
        }
        for hidden in [
            '\0',
            '\u{1b}',
            '\r',
            '\u{7f}',
            '\u{9b}',
            '\u{202e}',
            '\u{2066}',
            '\u{200b}',
            '\u{200f}',
            '\u{2028}',
            '\u{feff}',
            '\u{ad}',
            '\u{e0041}',
            '\u{fffd}',
        ] {
            for key in [format!("{KEY}{hidden}x"), format!("{bare}{hidden} x"), format!("a{hidden}b {KEY}")] {
                let Findings(findings) = published(&key).unwrap_err();
                let told = findings[0].to_string();
                assert!(told.contains(&format!("U+{:04X}", u32::from(hidden))), "{told}");
                assert!(!told.contains(|c| is_unseen(c) && c != '\n'), "{told:?}");
            }
            if hidden.is_control() {
                assert!(read(&format!("{KEY}{hidden}x")).is_err(), "{hidden:?}");
            }
        }
        let Findings(many) = published(&"command=\"x\" ssh-ed25519 AAAA\n".repeat(10_000)).unwrap_err();
        assert_eq!(many.len(), MOST_FINDINGS);
    }

    #[test]
    fn one_key_is_one_key_whatever_its_comment_and_the_recipes_options_win() {
        let bare = KEY.strip_suffix(" me@host").unwrap();
        let limited = format!("from=\"10.0.0.0/8\" {bare} other");
        let (own, other) = (Origin::Recipe, Origin::Published);
        let all = |keys: &[(&str, Origin)]| {
            distinct(keys.iter().map(|(key, origin)| ((*key).to_owned(), *origin)).collect())
        };
        assert_eq!(all(&[(KEY, own), (bare, own), (bare, other)]), [KEY]);
        assert_eq!(all(&[(bare, other), (&limited, own)]), [limited.as_str()]);
        assert_eq!(all(&[(bare, other), (KEY, other)]), [bare]);
        assert_eq!(all(&[(&limited, own), (bare, own)]), [&limited, bare]);
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
        let text = format!("{KEY}\nssh-ed2551 AAAA\nssh-rsa AAAAC3NzaC1lZDI1NTE5\nnot a key\n");
        let Findings(findings) = read(&text).unwrap_err();
        let lines: Vec<usize> = findings.iter().map(|finding| finding.place.as_ref().unwrap().line).collect();
        assert_eq!(lines, [2, 3, 4]);
        assert_eq!(findings[0].hint.as_deref(), Some("did you mean `ssh-ed25519`?"));
        assert!(read("# none\n").is_err());
    }
}
