//! URLs as they are shown and kept: with the host that really answered, and without credentials.

use std::fmt;

use url::Url;

use crate::base::url::masked;

/// A requested URL, and the URL that its server redirected to. Neither shows a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    url: Box<str>,
    /// The last redirect's target, without its query, because storage behind a registry has its signature there.
    at: Option<Box<str>>,
}

impl Asked {
    /// The URL that was requested first.
    pub(crate) fn as_str(&self) -> &str {
        &self.url
    }

    /// The same URL, redirected to another one.
    pub(crate) fn sent_on(&self, to: &Url) -> Self {
        let mut at = to.clone();
        if at.query().is_some() {
            at.set_query(Some("…"));
        }
        let at = masked(at.as_str()).replace("?%E2%80%A6", "?…");
        Asked { url: self.url.clone(), at: Some(at.into()) }
    }

    /// Whether the answer came from another URL than the canonical one, which locks name.
    pub(crate) fn stands_in_for(&self, canonical: &str) -> bool {
        self.at.is_some() || *self.url != *canonical
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(at) => write!(f, "{} (which redirects to {at})", self.url),
            None => f.write_str(&self.url),
        }
    }
}

impl<S: AsRef<str>> From<S> for Asked {
    fn from(url: S) -> Self {
        Asked { url: masked(url.as_ref()).into(), at: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_shown_with_both_hosts_and_without_the_signature_in_its_query() {
        assert_eq!(Asked::from("http://u:p@h:80/a").to_string(), "http://***@h:80/a");
        let asked = Asked::from("http://u:p@a/x");
        let asked = asked.sent_on(&Url::parse("https://k:s@b:1/y?X-Amz-Signature=abc").unwrap());
        assert_eq!(asked.to_string(), "http://***@a/x (which redirects to https://***@b:1/y?…)");
    }
}
