//! File names as loaders write them, and the files that they may mean.
//!
//! Firmware copies the name out of DHCP and may miss its end, so that the following bytes of the packet are appended.
//! GRUB uses absolute paths only; others write `./` or Windows' backslashes, or double slashes. No name can lead out of
//! the tree, because it is only looked up in lists.

use std::fmt::Write;

use super::packet::{Code, Refusal};

/// A name as it was requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Vec<u8>);

impl Name {
    /// Reads the bytes of a name.
    ///
    /// # Errors
    /// The name is empty, climbs with `..`, or ends like a directory.
    pub(crate) fn read(bytes: &[u8]) -> Result<Name, Refusal> {
        let refused = |code, why| Err(Refusal { code, why });
        let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
        match bytes {
            [] => refused(Code::IllegalOperation, "no file name"),
            bytes if bytes.split(is_slash).any(|part| part == b"..") => {
                refused(Code::AccessViolation, "a name must not contain ..")
            }
            [.., last] if is_slash(last) => refused(Code::AccessViolation, "that is a directory"),
            bytes => Ok(Name(bytes.to_vec())),
        }
    }

    /// The files that it may mean, the likeliest first: the whole name, then the part before the first byte that none
    /// of our names contains. If that byte is the length of a DHCP option, the option's number precedes it: in
    /// `ipxe.efia\x11`, the end `a\x11` is option 97 with its 17 bytes.
    pub fn meanings(&self) -> Vec<String> {
        let stray = self.0.iter().position(|byte| !matches!(byte, b' '..=b'~'));
        let whole = std::str::from_utf8(&self.0).ok().filter(|name| !name.chars().any(char::is_control));
        let before = stray.map(|at| &self.0[..at]);
        let is_length = stray.is_some_and(|at| self.0[at] < b' ');
        let without_code =
            before.and_then(|name| name.split_last()).map(|(_, name)| name).filter(|_| is_length);
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_else(|_| unreachable!("it is ASCII"));
        let cut = [before, without_code].into_iter().flatten().map(text);
        let mut meanings: Vec<String> = whole.into_iter().chain(cut).map(plain).collect();
        // The part before a stray byte may end in dots.
        meanings.retain(|name| !name.is_empty() && name.split('/').all(|part| part != ".."));
        meanings.dedup();
        meanings
    }

    /// The name for messages, on one line.
    pub fn shown(&self) -> String {
        shown(&self.0)
    }
}

/// A name in the form of our own: relative, with one `/` between its parts.
fn plain(name: &str) -> String {
    let parts = name.trim_end_matches(' ').split(['/', '\\']).filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}

/// Bytes for messages: printable text as it is, `\xff` for invalid UTF-8, and escapes such as `\n` for control
/// characters.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c.is_ascii_graphic() || c.is_alphanumeric() {
                true => text.push(c),
                false if c == ' ' => text.push(c),
                false if c.is_ascii() => text.extend(std::ascii::escape_default(c as u8).map(char::from)),
                false => text.extend(c.escape_unicode()),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meanings(bytes: &[u8]) -> Vec<String> {
        Name::read(bytes).unwrap_or_else(|refusal| panic!("{bytes:?}: {refusal}")).meanings()
    }

    // PartialVolume/shredos.x86_64#147, ipxe/ipxe#31, altugbakan/rs-tftpd#24.
    #[test]
    fn slashes_dots_and_backslashes_are_read_as_loaders_mean_them() {
        for name in [
            "boot/x/a.b",
            "/boot/x/a.b",
            "//boot///x/a.b",
            "./boot/./x/a.b",
            r"\boot\x\a.b",
            r"/boot\x/.\a.b",
        ] {
            assert_eq!(meanings(name.as_bytes()), ["boot/x/a.b"], "{name}");
        }
    }

    // netbootxyz/netboot.xyz#1198, dnsmasq-discuss 2006q1/000592.
    #[test]
    fn what_stands_behind_a_name_is_left_out() {
        assert_eq!(meanings(b"ipxe.efi\xff"), ["ipxe.efi"]);
        assert_eq!(meanings(b"ipxe.efia\x11"), ["ipxe.efia", "ipxe.efi"]);
        assert_eq!(meanings(b"ipxe.efi\r\n"), ["ipxe.efi", "ipxe.ef"]);
        assert_eq!(meanings(b"ipxe.efi\x7f\x80"), ["ipxe.efi"]);
        assert_eq!(meanings(b"ipxe.efi "), ["ipxe.efi"]);
        assert_eq!(meanings("größe".as_bytes()), ["größe", "gr"], "a name may well be so");
        assert!(
            meanings(b"\xff").is_empty() && meanings(b"..\xff/a").is_empty() && meanings(b".. ").is_empty()
        );
    }

    #[test]
    fn what_climbs_or_is_nothing_is_refused() {
        for name in [&b""[..], b"..", b"../x", b"a/../b", b"a/..", br"..\x", br"a\..\b", b"a/", br"a\", b"/"]
        {
            assert!(Name::read(name).is_err(), "{name:?}");
        }
        assert_eq!(meanings(b"a..b/..c"), ["a..b/..c"]);
    }

    #[test]
    fn a_name_is_shown_whatever_is_in_it() {
        assert_eq!(
            shown(b"ipxe.efi\xff\x1b[2J\n \xc3\xb6\xe2\x80\xae"),
            "ipxe.efi\\xff\\x1b[2J\\n ö\\u{202e}"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_name_means_a_path_that_leaves(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            if let Ok(name) = Name::read(&bytes) {
                for meaning in name.meanings() {
                    assert!(meaning.split('/').all(|part| !matches!(part, "" | "." | "..")), "{meaning}");
                }
                assert!(!name.shown().chars().any(char::is_control));
            }
        }

        #[test]
        fn dots_slashes_and_strays_in_any_order_never_leave(name in r"(\.|/|\\|a|\x00|\x01| |ÿ){0,12}") {
            if let Ok(name) = Name::read(name.as_bytes()) {
                for meaning in name.meanings() {
                    assert!(meaning.split('/').all(|part| !matches!(part, "" | "." | "..")), "{meaning}");
                }
            }
        }
    }
}
