//! SSH keys of a description: public ones, and never the other half.

use crate::base::finding::{Finding, Findings, Place, Source};
use crate::base::yaml::decode::Spanned;
use crate::ignition::ssh_keys::{self, Origin};

/// Beginnings of private keys without their first line: OpenSSH's magic, and the DER of an RSA key, in base64.
const BODIES: [&str; 3] = ["b3BlbnNzaC1rZXktdjE", "MIIEp", "MIIJK"];

/// The keys of one value: a line or several, a file, or `github:USER`.
///
/// # Errors
/// It is no public key; nothing of a private one is in the findings.
pub(super) fn keys(text: &Spanned<String>) -> Result<Vec<Spanned<String>>, Vec<Finding>> {
    let value = text.value.trim();
    if is_private(value) {
        return Err(vec![private(&text.place)]);
    }
    if let Some(user) = value.strip_prefix("github:") {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if user.is_empty() || user.len() > 39 || !user.chars().all(plain) {
            return Err(vec![
                Finding::error(format!("`{user}` is not the name of a GitHub user")).at(text.place.clone()),
            ]);
        }
    } else if value.is_empty() {
        return Err(vec![Finding::error("this SSH key is empty").at(text.place.clone())]);
    } else if value.contains(char::is_whitespace) {
        let at = |finding: Finding| Finding { place: Some(text.place.clone()), ..finding };
        let keys = ssh_keys::parse(&Source::new("the key", value), Origin::Recipe)
            .map_err(|Findings(findings)| findings.into_iter().map(at).collect::<Vec<_>>())?;
        return Ok(keys.into_iter().map(|key| Spanned { value: key, place: text.place.clone() }).collect());
    }
    Ok(vec![Spanned { value: value.to_owned(), place: text.place.clone() }])
}

/// Whether a text is a private key, with or without its first line.
pub(super) fn is_private(text: &str) -> bool {
    text.contains("PRIVATE KEY")
        || text.contains("PuTTY-User-Key-File")
        || text.contains("AGE-SECRET-KEY-")
        || BODIES.iter().any(|body| text.starts_with(body) || text.contains(&format!("\n{body}")))
}

/// The finding about a private key, without the line.
pub(super) fn private(place: &Place) -> Finding {
    let finding =
        Finding::error("this is a private SSH key, and only public ones belong here").at(place.clone());
    finding.without_lines().hint("give the `.pub` file; if this file was seen by others, make a new key")
}
