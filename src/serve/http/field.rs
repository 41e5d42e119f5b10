//! Names of header fields as they go over HTTP/1.
//!
//! They mean the same in any case (RFC 9110, 5.1), and loaders compare bytes: GRUB looks for `Content-Length: ` and
//! `Transfer-Encoding: chunked` (`grub-core/net/http.c`), Red Hat's for `Content-Length` of what the firmware read, shim up to
//! 15.4 and U-Boot's `wget` alike. All of them expect what Go, nginx and Apache send: each word with a capital.

/// Appends a name, given in lower case, as `Content-Length` is written.
pub fn title_case(name: &str, text: &mut String) {
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
