//! The URL under which machines find a tree.

use std::fmt;

use url::Url;

/// URL of the root of a published tree: an http or https URL without a trailing slash, which appears unchanged in
/// kernel arguments and in boot loaders' scripts. A built object depends on it only if it contains that URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl std::str::FromStr for BaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |url: &Url| {
            let literal = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]%@+,=!*".contains(c);
            matches!(url.scheme(), "http" | "https") && url.as_str().chars().all(literal)
        };
        let refused = || format!("`{text}` is not an http or https URL such as http://10.0.0.1:8080");
        Url::parse(text).ok().filter(plain).map(BaseUrl).ok_or_else(refused)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl BaseUrl {
    /// The URL itself.
    pub(crate) fn url(&self) -> &Url {
        &self.0
    }
}
