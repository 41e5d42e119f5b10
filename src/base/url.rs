//! A URL as people may see it.

use url::Url;

/// Replaces the user and password of a URL.
pub(crate) const MASK: &str = "***";

/// A URL without its user and password (RFC 3986 §3.2.1 advises not to show them). A text that is not a valid URL, such
/// as one whose password has a slash, loses everything up to its last `@`.
pub(crate) fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or(rest);
    let end = match Url::parse(url) {
        Ok(_) => authority.rfind('@'),
        Err(_) => rest.rfind('@'),
    };
    match end {
        Some(at) => format!("{scheme}://{MASK}{}", &rest[at..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_are_masked_and_nothing_else_is_changed() {
        let cases = [
            ("https://h/a@1.0/b", "https://h/a@1.0/b"),
            ("http://u:p@h:80/a", "http://***@h:80/a"),
            ("http://token@h/", "http://***@h/"),
            ("http://u:p@w@h/a", "http://***@h/a"),
            ("http://u:p/w@h/a", "http://***@h/a"),
            ("http://u:p?w@h", "http://***@h"),
            ("file:///srv/m@1", "file:///srv/m@1"),
            ("not a URL", "not a URL"),
        ];
        for (url, shown) in cases {
            assert_eq!(masked(url), shown, "{url}");
        }
    }
}
