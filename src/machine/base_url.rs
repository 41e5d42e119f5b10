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
        // `HOST:PORT`, as servers are named elsewhere.
        let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let named = || Url::parse(&format!("http://{text}")).ok().filter(|_| has_port && !text.contains('/'));
        let url = Url::parse(text).ok().filter(plain).or_else(|| named().filter(plain));
        url.map(BaseUrl).ok_or_else(refused)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_a_url_or_a_host_with_its_port() {
        for (text, url) in [
            ("http://10.0.0.1:8080/", "http://10.0.0.1:8080"),
            ("https://boot.example/a", "https://boot.example/a"),
            ("10.0.0.1:8080", "http://10.0.0.1:8080"),
            ("localhost:8080", "http://localhost:8080"),
            ("[fe80::1]:8080", "http://[fe80::1]:8080"),
        ] {
            assert_eq!(text.parse::<BaseUrl>().unwrap().to_string(), url, "{text}");
        }
        for bad in ["foo", "10.0.0.1", "ftp://a/", "a:b", "mailto:8080/x", "", "http://a/?q"] {
            assert!(bad.parse::<BaseUrl>().is_err(), "{bad}");
        }
    }
}
