//! Names of header fields as they are written in HTTP/1.
//!
//! Names are case-insensitive (RFC 9110, 5.1), but some loaders compare bytes: GRUB looks for `Content-Length: ` and
//! `Transfer-Encoding: chunked` (`grub-core/net/http.c`), Red Hat's GRUB for `Content-Length` in the header that the
//! firmware read, and so do shim up to 15.4 and U-Boot's `wget`. All of them expect the form that Go, nginx and Apache
//! send: each word with a capital.

/// Appends a lower-case name in the form `Content-Length`.
pub(crate) fn title_case(name: &str, text: &mut String) {
    let mut begins = true;
    for c in name.chars() {
        text.push(if begins { c.to_ascii_uppercase() } else { c });
        begins = c == '-';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_name_has_a_capital() {
        for (name, written) in [
            ("content-length", "Content-Length"),
            ("etag", "Etag"),
            ("x-content-type-options", "X-Content-Type-Options"),
            ("www-authenticate", "Www-Authenticate"),
        ] {
            let mut text = String::new();
            title_case(name, &mut text);
            assert_eq!(text, written);
        }
    }
}
