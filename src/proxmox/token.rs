//! An API token: `USER@REALM!NAME` and its secret, a UUID.
//!
//! Owns its forms, and that its secret is shown nowhere. Leaves the place that it comes from to `cli`.

use std::fmt;

use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

use super::Error;

/// The variable, or the key of clusterctl's file, with the API's URL, as CAPMOX names it.
pub const URL: &str = "PROXMOX_URL";
/// The same with the token's name, `USER@REALM!NAME`.
pub const NAME: &str = "PROXMOX_TOKEN";
/// The same with the token's secret, a UUID.
pub const SECRET: &str = "PROXMOX_SECRET";

/// Longest name, in bytes: a user of 64, a realm of 32 and a name of as much are the most that Proxmox VE takes.
const LONGEST: usize = 256;
/// Place in which the secret stood.
const MASK: &str = "***";

/// A token. Its `Debug` shows its name alone.
#[derive(Clone)]
pub struct Token {
    name: String,
    secret: Zeroizing<String>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.name)
    }
}

impl Token {
    /// A token of its two texts. A name may also be `USER@REALM!NAME=UUID`, which is how other tools take both in one; then there is no
    /// other secret. `place` is where they are from, for messages.
    ///
    /// # Errors
    /// [`Error::Token`], without what was given.
    pub fn new(name: &str, secret: Option<Zeroizing<String>>, place: &str) -> Result<Token, Error> {
        let wrong = |why| Error::Token { place: place.into(), why };
        let (name, secret) = match (name.trim().split_once('='), secret) {
            (Some((name, of_name)), None) => (name, Zeroizing::new(of_name.to_owned())),
            (Some((name, of_name)), Some(secret)) if secret.trim() == of_name => (name, secret),
            (Some(_), Some(_)) => return Err(wrong("it has two secrets, which differ")),
            (None, Some(secret)) => (name.trim(), Zeroizing::new(secret.trim().to_owned())),
            (None, None) => return Err(wrong("its secret is missing")),
        };
        if !is_name(name) {
            return Err(wrong("its name is not USER@REALM!NAME"));
        }
        if !is_uuid(&secret) {
            return Err(wrong("its secret is no UUID"));
        }
        Ok(Token { name: name.to_owned(), secret })
    }

    /// `USER@REALM!NAME`, which is no secret.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of the header `Authorization`.
    pub(super) fn header(&self) -> HeaderValue {
        let text = Zeroizing::new(format!("PVEAPIToken={}={}", self.name, self.secret.as_str()));
        // Both are visible ASCII, as they were judged.
        let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("-"));
        value.set_sensitive(true);
        value
    }

    /// A text of the server's without the secret, should it say it again.
    pub(super) fn hidden(&self, text: &str) -> String {
        text.replace(self.secret.as_str(), MASK).replace(&self.secret.to_uppercase(), MASK)
    }
}

/// `USER@REALM!NAME`; a user of a directory may have blanks nowhere (`PVE::AccessControl`).
fn is_name(text: &str) -> bool {
    let Some((user, name)) = text.split_once('!') else { return false };
    let Some((user, realm)) = user.rsplit_once('@') else { return false };
    let plain = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let is_user =
        !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_graphic() && !b":/!=\"".contains(&byte));
    text.len() <= LONGEST && is_user && plain(realm) && plain(name)
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "6f3a1c52-0000-4000-8000-5ec7e75ec7e7";

    fn token(name: &str, secret: Option<&str>) -> Result<Token, Error> {
        Token::new(name, secret.map(|secret| Zeroizing::new(secret.to_owned())), "the test")
    }

    #[test]
    fn both_forms_are_read_and_the_secret_is_shown_nowhere() {
        for token in [
            token("capi@pve!prebake", Some(UUID)),
            token("capi@pve!prebake", Some(&format!("{UUID}\n"))),
            token(&format!("capi@pve!prebake={UUID}"), None),
            token(&format!("capi@pve!prebake={UUID}"), Some(UUID)),
        ] {
            let token = token.unwrap();
            assert_eq!(token.header().to_str().unwrap(), format!("PVEAPIToken=capi@pve!prebake={UUID}"));
            assert!(token.header().is_sensitive());
            let shown = format!("{token:?} {:?}", token.header());
            assert!(shown.contains("capi@pve!prebake") && !shown.contains(UUID), "{shown}");
            assert_eq!(token.hidden(&format!("no {UUID}.")), "no ***.");
        }
        assert_eq!(token("a.b@corp.org@ad!x", Some(UUID)).unwrap().name(), "a.b@corp.org@ad!x");
    }

    #[test]
    fn a_text_that_is_no_token_is_refused_without_being_shown() {
        for (name, secret) in [
            ("root@pam", Some(UUID)),
            ("root!x", Some(UUID)),
            ("ro ot@pam!x", Some(UUID)),
            ("root@pam!x\r\nHost: h", Some(UUID)),
            ("root@pam!x", Some("geheim")),
            ("root@pam!x", Some("6f3a1c52-0000-4000-8000-5ec7e75ec7eg")),
            ("root@pam!x", None),
            ("root@pam!x=6f3a1c52-0000-4000-8000-5ec7e75ec7e8", Some(UUID)),
        ] {
            let error = token(name, secret).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("geheim") && !shown.contains("5ec7e75ec7e"), "{shown}");
        }
    }
}
