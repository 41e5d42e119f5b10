//! The tar headers of a bundle: POSIX ustar, with a pax record only where a ustar field is too short.
//!
//! The headers are part of the format. `verify` computes each header anew and compares every byte, so they are written
//! here rather than by a library, another release of which might write the same header differently.

/// Tar's block size, in bytes: a header is one block long, and data are padded to a multiple of it.
pub(crate) const BLOCK: u64 = 512;
/// Length of the end of an archive, in bytes: two blocks of zeros.
pub const END: u64 = 2 * BLOCK;
/// Largest number that eleven octal digits hold: 8 GiB less one as a size, the year 2242 as a time.
pub(crate) const MOST_OCTAL: u64 = 0o777_7777_7777;

/// Lengths of ustar's fields for names, in bytes.
const NAME: usize = 100;
const PREFIX: usize = 155;
/// Name of a pax header, and of a file whose name is too long for ustar, as a tar without pax shows them.
const PAX: &str = "PaxHeader";

/// One member of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its path in the archive.
    pub path: &'a str,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
    /// The data after the header.
    pub contents: Contents<'a>,
    /// Seconds since 1970, at most [`MOST_OCTAL`].
    pub epoch: u64,
}

/// The data after a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents<'a> {
    /// This many bytes.
    Data(u64),
    /// No bytes: a hard link to an earlier member, by its path.
    SameAs(&'a str),
}

/// The kind of member, as its header states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file with its data.
    File,
    /// Another name of an earlier member.
    HardLink,
    /// A kind that no bundle holds, in words.
    Foreign(&'static str),
}

/// The fields of a header that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its path, as far as it fits into ustar's fields.
    pub path: String,
    /// Bytes of data after it, without padding.
    pub size: u64,
    /// Regular file, hard link, or a kind that no bundle holds.
    pub kind: Kind,
}

/// Zero bytes that pad `size` bytes of data to whole blocks.
pub fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK
}

impl Header<'_> {
    /// The header's bytes: one block, or three and more where pax records precede it.
    pub fn to_bytes(self) -> Vec<u8> {
        let (size, link) = match self.contents {
            Contents::Data(size) => (size, ""),
            Contents::SameAs(path) => (0, path),
        };
        let split = split(self.path);
        let mut records = Vec::new();
        if link.len() > NAME {
            records.extend(record("linkpath", link));
        }
        if split.is_none() {
            records.extend(record("path", self.path));
        }
        if size > MOST_OCTAL {
            records.extend(record("size", &size.to_string()));
        }
        let mut bytes = Vec::new();
        if !records.is_empty() {
            let length = records.len() as u64;
            let pax = Block { prefix: "", name: PAX, mode: 0o644, size: length, kind: b'x', link: "" };
            bytes.extend(pax.to_bytes(self.epoch));
            bytes.extend(&records);
            bytes.resize(bytes.len() + padding(length) as usize, 0);
        }
        let (prefix, name) = split.unwrap_or(("", PAX));
        let block = Block {
            prefix,
            name,
            mode: if self.executable { 0o755 } else { 0o644 },
            size: if size > MOST_OCTAL { 0 } else { size },
            kind: if link.is_empty() { b'0' } else { b'1' },
            link: if link.len() > NAME { "" } else { link },
        };
        bytes.extend(block.to_bytes(self.epoch));
        bytes
    }
}

/// Splits a path into ustar's prefix and name, at the first slash after which the rest is short enough; `None` if it
/// does not fit.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME {
        return Some(("", path));
    }
    let (cut, _) = path.match_indices('/').find(|(cut, _)| path.len() - cut - 1 <= NAME)?;
    (cut <= PREFIX).then(|| (&path[..cut], &path[cut + 1..]))
}

/// A pax record, `LENGTH KEY=VALUE\n`, whose length counts its own digits.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}").into_bytes()
}

/// The fields of one header block.
struct Block<'a> {
    prefix: &'a str,
    name: &'a str,
    mode: u32,
    size: u64,
    kind: u8,
    link: &'a str,
}

impl Block<'_> {
    fn to_bytes(&self, epoch: u64) -> [u8; BLOCK as usize] {
        let mut block = [0; BLOCK as usize];
        let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
        put(0, self.name.as_bytes());
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, b"0000000"); // owner and group: root, by number
        put(116, b"0000000");
        put(124, format!("{:011o}", self.size).as_bytes());
        put(136, format!("{epoch:011o}").as_bytes());
        put(148, b"        "); // the checksum counts its own field as blanks
        put(156, &[self.kind]);
        put(157, self.link.as_bytes());
        put(257, b"ustar\x0000");
        put(329, b"0000000"); // device numbers
        put(337, b"0000000");
        put(345, self.prefix.as_bytes());
        let sum = checksum(&block);
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

fn checksum(block: &[u8; BLOCK as usize]) -> u64 {
    let counted = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { b' ' } else { *byte };
    block.iter().enumerate().map(|pair| u64::from(counted(pair))).sum()
}

impl Seen {
    /// Reads a header; `None` if its checksum is wrong, a field is not a number or its name is not UTF-8.
    pub(crate) fn parse(block: &[u8; BLOCK as usize]) -> Option<Seen> {
        let number = |field: &[u8]| {
            let text = std::str::from_utf8(field).ok()?;
            u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
        };
        let text = |field: &[u8]| {
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            Some(std::str::from_utf8(&field[..end]).ok()?.to_owned())
        };
        if number(&block[148..156])? != checksum(block) {
            return None;
        }
        let (name, prefix) = (text(&block[..NAME])?, text(&block[345..500])?);
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let kind = match block[156] {
            b'0' | 0 => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Foreign("a symbolic link"),
            b'3' | b'4' => Kind::Foreign("a device"),
            b'5' => Kind::Foreign("a directory"),
            b'6' => Kind::Foreign("a pipe"),
            b'x' | b'g' => Kind::Foreign("a pax record"),
            _ => Kind::Foreign("something unknown"),
        };
        Some(Seen { path, size: number(&block[124..136])?, kind })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Our bytes as the `tar` crate reads them.
    fn read(header: Header<'_>) -> (String, u64, u32, Option<String>) {
        let archive = [&header.to_bytes()[..], &[0; END as usize]].concat();
        let mut archive = tar::Archive::new(archive.as_slice().chain(std::io::repeat(0)));
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        let link = entry.link_name_bytes().map(|name| String::from_utf8(name.into_owned()).unwrap());
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        (path, entry.size(), entry.header().mode().unwrap(), link)
    }

    #[test]
    fn names_and_sizes_of_any_length_are_read_back_by_another_tar() {
        let deep = |length: usize| format!("trees/{}/{}", "d".repeat(90), "f".repeat(length));
        let endless = "x".repeat(300);
        for path in ["a", "ü/b", &deep(60), &deep(99), &deep(100), &deep(101), &endless] {
            for size in [0, 1, MOST_OCTAL, MOST_OCTAL + 1, 1 << 40] {
                let header = Header { path, executable: false, contents: Contents::Data(size), epoch: 1 };
                assert_eq!(read(header), (path.to_owned(), size, 0o644, None));
            }
            let header = Header { path: "l", executable: true, contents: Contents::SameAs(path), epoch: 1 };
            assert_eq!(read(header), ("l".to_owned(), 0, 0o755, Some(path.to_owned())));
        }
    }

    #[test]
    fn a_changed_byte_of_a_header_does_not_pass_its_checksum() {
        let header = Header { path: "a/b", executable: false, contents: Contents::Data(7), epoch: 1 };
        let bytes: [u8; 512] = header.to_bytes().try_into().unwrap();
        let seen = Seen { path: "a/b".into(), size: 7, kind: Kind::File };
        assert_eq!(Seen::parse(&bytes), Some(seen));
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 1;
            // The blank and the zero after the checksum's digits are not checked.
            assert!(Seen::parse(&changed).is_none() || (154..156).contains(&at), "byte {at}");
        }
    }
}
