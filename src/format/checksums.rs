//! Digest files that upstream projects publish beside their downloads.

use crate::base::digest::Sha256;
use crate::base::finding::plain;

/// The SHA-256 that a published file states for `file_name`: a bare digest (dl.k8s.io), or the line for that name in
/// the format of sha256sum (`digest  name`, `digest *name`, with or without a directory before the name). The only line
/// of a list counts under any name, because some projects rename the download.
pub fn sha256_for(text: &str, file_name: &str) -> Option<Sha256> {
    let rows: Vec<(Sha256, Option<&str>)> = plain(text)
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let digest = words.next()?.parse().ok()?;
            Some((digest, words.next().map(|name| name.trim_start_matches('*'))))
        })
        .collect();
    if let [(digest, _)] = rows.as_slice() {
        return Some(*digest);
    }
    let named = |name: &str| name.rsplit('/').next() == Some(file_name);
    rows.iter().find(|(_, name)| name.is_some_and(named)).map(|(digest, _)| *digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_digests_and_lists_are_understood() {
        let (a, b) = (Sha256::of(b"a"), Sha256::of(b"b"));
        let list = format!("# list\n{a}  ./x.tgz\n{b} *dir/y.tgz\n");
        for (text, expected) in [
            (a.to_string(), Some(a)),
            (format!("{a}\n"), Some(a)),
            (format!("{a}  renamed.tgz\n"), Some(a)),
            (list.clone(), Some(b)),
            // As editors or shells on Windows write it.
            (format!("\u{feff}{}\r\n", a.to_string().to_uppercase()), Some(a)),
            (format!("\u{feff}{b} *y.tgz\r\n{a}  x.tgz\r\n"), Some(b)),
            (list.replace("y.tgz", "z.tgz"), None),
            ("<html>404</html>".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(sha256_for(&text, "y.tgz"), expected, "{text}");
        }
    }
}
