//! Disks in tar archives, as they are published: the VMDK in an OVA, the qcow2 in a box of Vagrant, and Google's `disk.raw`.
//!
//! Owns finding the disk: in a file, where it lies ([`open`]), and in a stream, out of which it is taken ([`Member`]).
//! Leaves the disk to `vmdk` and `pieces`, and unpacking to `format::unpack`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::pieces::{Disk, InPieces, Raw, Window};
use super::{Error, qcow2, vmdk};
use crate::format::sparse::{Sink, is_zero};

/// Block of a tar archive, in bytes.
const BLOCK: u64 = 512;
/// Most members that are looked at: an OVA has a description, digests, a certificate and disks.
const MOST_MEMBERS: usize = 64;
/// Most bytes of records before the header of Google's disk.
const MOST_RECORDS: usize = 64 << 10;
/// Name of Google's disk.
const GOOGLE: &str = "disk.raw";
/// Name of a box's disk.
const BOX: &str = "box.img";
/// Name of a box's description: vagrant-libvirt takes the disk's format from it.
const METADATA: &str = "metadata.json";
/// Longest description of a box, in bytes.
const MOST_METADATA: u64 = 64 << 10;

/// Opens the disk in the archive `name`, which is a file: a VMDK, a box's qcow2, or Google's raw one. Returns it with the name of the
/// archive's form.
///
/// # Errors
/// The file cannot be read; it has no such disk, or several; a box says another format than qcow2, or none; those of [`vmdk::Image::open`] and [`qcow2::Image::open`].
pub fn open(mut file: File, name: &str) -> Result<(&'static str, Box<dyn Disk>), Error> {
    let read = |error| Error::read(name, error);
    let feature = |what: String| Error::Feature { subject: name.to_owned(), what };
    let damaged = |why: String| Error::Damaged { subject: name.to_owned(), why };
    file.seek(SeekFrom::Start(0)).map_err(read)?;
    let length = super::length_of(&file).map_err(read)?;
    file.seek(SeekFrom::Start(0)).map_err(read)?;
    let mut found = Vec::new();
    let mut metadata = None;
    {
        let mut archive = tar::Archive::new(&file);
        let members = archive.entries_with_seek().map_err(read)?;
        for (number, member) in members.enumerate() {
            let mut member = member.map_err(|error| damaged(format!("the archive is damaged: {error}")))?;
            let path = String::from_utf8_lossy(&member.path_bytes()).into_owned();
            let (start, size) = (member.raw_file_position(), member.size());
            if number >= MOST_MEMBERS {
                let what = "the number of its members".to_owned();
                return Err(Error::Limit { subject: name.to_owned(), what, limit: MOST_MEMBERS as u64 });
            }
            let kind = member.header().entry_type();
            if is_at_top(&path, METADATA) && kind == tar::EntryType::Regular {
                let mut bytes = Vec::new();
                (&mut member).take(MOST_METADATA + 1).read_to_end(&mut bytes).map_err(read)?;
                metadata = Some(bytes);
                continue;
            }
            if !is_google(&path) && !is_box(&path) && !is_vmdk(&path) {
                continue;
            }
            match kind {
                tar::EntryType::Regular => {}
                tar::EntryType::GNUSparse => return Err(feature(sparse(&path))),
                tar::EntryType::Link | tar::EntryType::Symlink => {
                    let target = member.link_name_bytes().unwrap_or_default();
                    return Err(feature(link(&path, kind, &String::from_utf8_lossy(&target))));
                }
                _ => return Err(damaged(format!("`{}` in it is no file", path.escape_debug()))),
            }
            if start.checked_add(size).is_none_or(|end| end > length) {
                return Err(damaged(format!("`{}` in it ends behind the file", path.escape_debug())));
            }
            found.push((path, start, size));
        }
    }
    match found.as_slice() {
        [] => Err(feature("an archive without a disk (`*.vmdk`, `box.img` or `disk.raw`)".to_owned())),
        [(path, start, size)] => {
            let window = Window::new(Arc::new(file), *start, *size);
            let subject = format!("{path} in {name}");
            if is_vmdk(path) {
                let image = vmdk::Image::of_window(window, &subject)?;
                return Ok(("ova", Box::new(InPieces::new(Arc::new(image)))));
            }
            if is_box(path) {
                match metadata {
                    None => {
                        return Err(damaged(format!(
                            "the box has no {METADATA}, which says its disk's format"
                        )));
                    }
                    Some(bytes) => judge_box(&bytes, name)?,
                }
                let image = qcow2::Image::of_window(window, &subject)?;
                return Ok(("box", Box::new(InPieces::new(Arc::new(image)))));
            }
            Ok(("gce", Box::new(Raw::of_window(window))))
        }
        [one, two, ..] => Err(feature(format!(
            "an archive of several disks (`{}`, `{}`)",
            one.0.escape_debug(),
            two.0.escape_debug()
        ))),
    }
}

fn is_at_top(path: &str, name: &str) -> bool {
    path.trim_start_matches("./") == name
}

fn is_google(path: &str) -> bool {
    is_at_top(path, GOOGLE)
}

fn is_box(path: &str) -> bool {
    is_at_top(path, BOX)
}

/// Judges the description of a box: its disk must be one qcow2, either by `format` or in the list `disks`, whose members are qcow2
/// unless they say something else.
///
/// # Errors
/// [`Error::Limit`], [`Error::Damaged`] or [`Error::Feature`] for the box `name`.
fn judge_box(metadata: &[u8], name: &str) -> Result<(), Error> {
    let subject = || name.to_owned();
    if metadata.len() as u64 > MOST_METADATA {
        let what = format!("the length of {METADATA}");
        return Err(Error::Limit { subject: subject(), what, limit: MOST_METADATA });
    }
    let damaged = |why: String| Error::Damaged { subject: subject(), why };
    let feature = |what: String| Error::Feature { subject: subject(), what };
    let shown = |value: &Value| {
        value.as_str().map_or_else(|| value.to_string(), |text| text.escape_debug().to_string())
    };
    let root: Value = serde_json::from_slice(metadata)
        .map_err(|error| damaged(format!("{METADATA} in it is not JSON ({error})")))?;
    let root = root.as_object().ok_or_else(|| damaged(format!("{METADATA} in it is no object")))?;
    let format = match root.get("disks") {
        None => root
            .get("format")
            .ok_or_else(|| damaged(format!("{METADATA} in it has no `format`, such as qcow2")))?,
        Some(disks) => {
            let [disk] = disks.as_array().map_or(&[][..], Vec::as_slice) else {
                return Err(feature(format!("a box whose {METADATA} has not one disk")));
            };
            let is_ours = disk.get("path").and_then(Value::as_str).is_some_and(is_box);
            if !is_ours {
                let path = shown(disk.get("path").unwrap_or(&Value::Null));
                return Err(feature(format!(
                    "a box whose {METADATA} has the disk `{path}` in place of `{BOX}`"
                )));
            }
            match disk.get("format").or_else(|| root.get("format")) {
                Some(format) => format,
                None => return Ok(()),
            }
        }
    };
    match format.as_str() {
        Some("qcow2") => Ok(()),
        _ => Err(feature(format!("a box of the format `{}`, and not qcow2", shown(format)))),
    }
}

fn is_vmdk(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("vmdk"))
}

/// The feature in words: GNU tar's `-S`.
fn sparse(path: &str) -> String {
    format!("an archive whose `{}` is stored sparsely (`tar -S`)", path.escape_debug())
}

/// The feature in words: a member without bytes of its own.
fn link(path: &str, kind: tar::EntryType, target: &str) -> String {
    let kind = if kind == tar::EntryType::Link { "hard" } else { "symbolic" };
    format!(
        "an archive whose `{}` is a {kind} link to `{}`, and no file of its own",
        path.escape_debug(),
        target.escape_debug()
    )
}

/// A sink that takes Google's disk out of its archive on the way; anything else goes by as it is.
pub struct Member<'m> {
    inner: &'m mut dyn Sink,
    subject: String,
    state: State,
    /// Length by a pax record before the disk's own header.
    size: Option<u64>,
}

enum State {
    /// The first bytes, until they tell.
    Head(Vec<u8>),
    /// Not Google's archive.
    Plain,
    /// The disk, with the bytes that are left.
    Inside(u64),
    /// The archive's end.
    Behind,
}

/// The meaning of the first bytes.
enum Told {
    /// More bytes are needed.
    More,
    Plain,
    /// The disk's length, and where it begins.
    Disk(u64, usize),
}

impl<'m> Member<'m> {
    /// Hands the disk, or what is no archive, on to `inner`; `subject` is the image's name, for messages.
    pub fn new(inner: &'m mut dyn Sink, subject: &str) -> Self {
        Member { inner, subject: subject.to_owned(), state: State::Head(Vec::new()), size: None }
    }

    /// Ends the stream, and tells whether it was an archive.
    ///
    /// # Errors
    /// The archive ends inside of the disk; the sink fails.
    pub fn finish(self) -> io::Result<bool> {
        match self.state {
            State::Head(head) if head.is_empty() => Ok(false),
            State::Head(head) => self.inner.data(&head).map(|()| false),
            State::Plain => Ok(false),
            State::Inside(0) | State::Behind => Ok(true),
            State::Inside(left) => {
                let why = format!("the archive ends {left} bytes before the end of {GOOGLE} in it");
                Err(Error::Damaged { subject: self.subject, why }.into())
            }
        }
    }

    /// Reads headers: records before the disk's own are skipped.
    fn tell(&mut self, head: &[u8]) -> Result<Told, Error> {
        let mut at = 0;
        loop {
            let Some(block) = head.get(at..at + BLOCK as usize) else { return Ok(Told::More) };
            let header = tar::Header::from_byte_slice(block);
            let kind = header.entry_type();
            let path = String::from_utf8_lossy(&header.path_bytes()).into_owned();
            let size = header.entry_size().ok().filter(|_| block.get(257..262) == Some(b"ustar"));
            at += BLOCK as usize;
            let Some(size) = size else { return Ok(Told::Plain) };
            let is_record = kind.is_pax_local_extensions() || kind.is_pax_global_extensions();
            if is_record && size <= MOST_RECORDS as u64 && at <= MOST_RECORDS {
                let Some(records) = head.get(at..at + size as usize) else { return Ok(Told::More) };
                for record in tar::PaxExtensions::new(records).flatten() {
                    match (record.key(), record.value()) {
                        (Ok("size"), Ok(value)) => self.size = value.parse().ok(),
                        (Ok(key), _) if key.starts_with("GNU.sparse.") => {
                            let what = sparse(GOOGLE);
                            return Err(Error::Feature { subject: self.subject.clone(), what });
                        }
                        _ => {}
                    }
                }
                at += size.next_multiple_of(BLOCK) as usize;
                continue;
            }
            return match kind {
                _ if !is_google(&path) => Ok(Told::Plain),
                tar::EntryType::Regular => Ok(Told::Disk(self.size.unwrap_or(size), at)),
                tar::EntryType::Link | tar::EntryType::Symlink => {
                    let target = header.link_name_bytes().unwrap_or_default();
                    let what = link(&path, kind, &String::from_utf8_lossy(&target));
                    Err(Error::Feature { subject: self.subject.clone(), what })
                }
                _ => Err(Error::Feature { subject: self.subject.clone(), what: sparse(&path) }),
            };
        }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.state {
            State::Plain => self.inner.data(bytes),
            State::Head(head) => {
                head.extend_from_slice(bytes);
                let head = std::mem::take(head);
                match self.tell(&head)? {
                    Told::More => {
                        self.state = State::Head(head);
                        Ok(())
                    }
                    Told::Plain => {
                        self.state = State::Plain;
                        self.inner.data(&head)
                    }
                    Told::Disk(length, at) => {
                        self.state = State::Inside(length);
                        self.take(head.get(at..).unwrap_or_default())
                    }
                }
            }
            State::Inside(left) => {
                let now = (*left).min(bytes.len() as u64);
                let (disk, rest) = bytes.split_at(now as usize);
                *left -= now;
                if *left == 0 {
                    self.state = State::Behind;
                }
                if !disk.is_empty() {
                    self.inner.data(disk)?;
                }
                if rest.is_empty() { Ok(()) } else { self.take(rest) }
            }
            State::Behind if is_zero(bytes) => Ok(()),
            State::Behind => {
                let why = format!("something follows {GOOGLE} in the archive");
                Err(Error::Damaged { subject: self.subject.clone(), why }.into())
            }
        }
    }
}

impl Sink for Member<'_> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() { Ok(()) } else { self.take(bytes) }
    }

    fn zeros(&mut self, mut length: u64) -> io::Result<()> {
        // A header of zeros is none, so few of them suffice to tell.
        while length > 0 && matches!(self.state, State::Head(_)) {
            let now = length.min(BLOCK);
            self.take(&vec![0; now as usize])?;
            length -= now;
        }
        match &mut self.state {
            State::Plain if length > 0 => self.inner.zeros(length),
            State::Inside(left) => {
                let now = (*left).min(length);
                *left -= now;
                if *left == 0 {
                    self.state = State::Behind;
                }
                if now == 0 { Ok(()) } else { self.inner.zeros(now) }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(format: fn() -> tar::Header, name: &str, size: u64, kind: tar::EntryType) -> Vec<u8> {
        let mut header = format();
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    /// The disk's bytes, and whether they came out of an archive; in pieces of `step` bytes.
    fn through(bytes: &[u8], step: usize) -> Result<(Vec<u8>, bool), String> {
        let mut out = Vec::new();
        let mut member = Member::new(&mut out, "x.tar.gz");
        for piece in bytes.chunks(step) {
            let done = match is_zero(piece) {
                true => member.zeros(piece.len() as u64),
                false => member.data(piece),
            };
            done.map_err(|error| error.to_string())?;
        }
        let is_archive = member.finish().map_err(|error| error.to_string())?;
        Ok((out, is_archive))
    }

    #[test]
    fn the_disk_comes_out_whatever_the_pieces_are() {
        let disk: Vec<u8> = (0..5000_u32).map(|n| if n % 1000 < 600 { 0 } else { n as u8 }).collect();
        for format in [tar::Header::new_gnu, tar::Header::new_ustar] {
            for name in ["disk.raw", "./disk.raw"] {
                let mut bytes = archive(format, name, 5000, tar::EntryType::Regular);
                bytes.extend(&disk);
                bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
                for step in [1, 7, 511, 512, 700, 100_000] {
                    assert!(through(&bytes, step) == Ok((disk.clone(), true)), "{step}");
                }
                let told = through(&bytes[..4000], 512).unwrap_err();
                assert!(told.contains("the archive ends 1512 bytes before"), "{told}");
                bytes.push(1);
                assert!(through(&bytes, 512).unwrap_err().contains("something follows"));
            }
        }
    }

    #[test]
    fn records_before_it_are_read_and_a_sparse_one_is_told() {
        let record = b"13 size=3000\n";
        let mut bytes = archive(tar::Header::new_ustar, "PaxHeaders/disk.raw", 13, tar::EntryType::XHeader);
        bytes.extend(record);
        bytes.resize(1024, 0);
        bytes.extend(archive(tar::Header::new_ustar, "disk.raw", 0, tar::EntryType::Regular));
        bytes.extend([7; 3000]);
        bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
        assert!(through(&bytes, 100) == Ok((vec![7; 3000], true)));
        let sparse = archive(tar::Header::new_gnu, "disk.raw", 512, tar::EntryType::GNUSparse);
        assert!(through(&sparse, 512).unwrap_err().contains("stored sparsely"));
    }

    #[test]
    fn a_box_says_that_its_disk_is_a_qcow2() {
        for sound in [
            r#"{"provider": "libvirt", "format": "qcow2", "virtual_size": 1}"#,
            r#"{"provider": "libvirt", "disks": [{"path": "box.img"}]}"#,
            r#"{"provider": "libvirt", "disks": [{"path": "box.img", "format": "qcow2"}]}"#,
        ] {
            judge_box(sound.as_bytes(), "x.box").unwrap();
        }
        for (text, words) in [
            ("{\n", "metadata.json in it is not JSON"),
            ("[]", "metadata.json in it is no object"),
            (r#"{"provider": "virtualbox"}"#, "has no `format`"),
            (r#"{"format": "vmdk"}"#, "a box of the format `vmdk`"),
            (r#"{"format": 2}"#, "a box of the format `2`"),
            (r#"{"disks": [{"path": "../../etc/passwd"}]}"#, "the disk `../../etc/passwd`"),
            (r#"{"disks": [{"path": "box.img", "format": "raw"}]}"#, "a box of the format `raw`"),
            (r#"{"disks": [{"path": "box.img"}, {"path": "b.img"}]}"#, "has not one disk"),
        ] {
            let told = judge_box(text.as_bytes(), "x.box").unwrap_err().to_string();
            assert!(told.starts_with("x.box") && told.contains(words), "{told}");
        }
        let long = vec![b' '; MOST_METADATA as usize + 1];
        assert!(judge_box(&long, "x.box").unwrap_err().to_string().contains("exceeds the limit"));
    }

    #[test]
    fn what_is_no_such_archive_goes_by() {
        let ova = archive(tar::Header::new_ustar, "node.ovf", 100, tar::EntryType::Regular);
        for bytes in [&ova[..], b"", b"short", &[0; 5000], &[1; 5000]] {
            for step in [1, 512, 5000] {
                assert!(through(bytes, step) == Ok((bytes.to_vec(), false)));
            }
        }
    }
}
