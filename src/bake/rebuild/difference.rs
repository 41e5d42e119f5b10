//! The first difference of two files that should be the same: the byte, and the member of the image or archive.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::base::digest::Sha256;
use crate::format::image::{self, Listed};
use crate::format::{erofs, squashfs};
use crate::initrd::segments::{Limits, Segments};
use crate::sysext::ddi;
use crate::sysext::identify::{self, Format};

/// Upper limit for a member that is read, in bytes: both files are ours.
const MAX_MEMBER: u64 = 1 << 30;

/// Position of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Offset of the first byte that differs. If one file is the beginning of the other, its length.
    pub offset: u64,
    /// Difference of the contents, if prebake can read both.
    pub inside: Option<Inside>,
}

/// Difference of the contents of two images or archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// The bytes of the first such member.
    Bytes(String),
    /// Its mode, owner, time, attributes or target.
    Metadata(String),
    /// A member that only one of them has.
    Member(String),
    /// None: the same members are packed differently.
    Packing,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the first difference is at byte {}", self.offset)?;
        match &self.inside {
            None => Ok(()),
            Some(Inside::Bytes(path)) => write!(f, ", in the bytes of its member `{path}`"),
            Some(Inside::Metadata(path)) => write!(f, ", in the mode, owner or time of its member `{path}`"),
            Some(Inside::Member(path)) => write!(f, ", and only one of the two has the member `{path}`"),
            Some(Inside::Packing) => write!(f, ", and its members are the same, but packed differently"),
        }
    }
}

/// Compares two files that differ. Files that cannot be read as images or archives have no `inside`.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn between(first: &Path, second: &Path) -> io::Result<Difference> {
    let offset = first_difference(File::open(first)?, File::open(second)?)?;
    let inside = members(first).zip(members(second)).map(|(first, second)| inside(&first, &second));
    Ok(Difference { offset, inside })
}

fn first_difference(first: File, second: File) -> io::Result<u64> {
    let [mut first, mut second] = [first, second].map(|file| BufReader::with_capacity(256 << 10, file));
    let mut offset = 0;
    loop {
        let (a, b) = (first.fill_buf()?, second.fill_buf()?);
        let length = a.len().min(b.len());
        match a.iter().zip(b).position(|(a, b)| a != b) {
            Some(position) => return Ok(offset + position as u64),
            None if length == 0 => return Ok(offset),
            None => {
                first.consume(length);
                second.consume(length);
                offset += length as u64;
            }
        }
    }
}

/// The compared parts of a member of an image or archive.
struct Member {
    path: String,
    metadata: String,
    sha256: Sha256,
}

fn inside(first: &[Member], second: &[Member]) -> Inside {
    for (a, b) in first.iter().zip(second) {
        match () {
            _ if a.path != b.path => return Inside::Member(a.path.clone().min(b.path.clone())),
            _ if a.sha256 != b.sha256 => return Inside::Bytes(a.path.clone()),
            _ if a.metadata != b.metadata => return Inside::Metadata(a.path.clone()),
            _ => {}
        }
    }
    let shared = first.len().min(second.len());
    match first.get(shared).or(second.get(shared)) {
        Some(more) => Inside::Member(more.path.clone()),
        None => Inside::Packing,
    }
}

/// The members of an image, an initrd or a tar archive, in its order; `None` if it is none of these or cannot be read.
fn members(path: &Path) -> Option<Vec<Member>> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(identify::HEAD as u64).read_to_end(&mut head).ok()?;
    match Format::of(&head) {
        Format::Squashfs(_) => of_squashfs(&squashfs::Image::open(path, limits()).ok()?),
        Format::Gpt => {
            let file = File::open(path).ok()?;
            let (start, length) = ddi::filesystem(&file).ok()??;
            of_squashfs(
                &squashfs::Image::open_at(&path.display().to_string(), file, start, length, limits()).ok()?,
            )
        }
        Format::Erofs(_) => {
            let image = erofs::Image::open(path, limits()).ok()?;
            image.list().map(|listed| member(listed, || image.read(&listed.path).ok())).collect()
        }
        _ => of_initrd(path).or_else(|| of_tar(path)),
    }
}

fn limits() -> image::Limits {
    image::Limits { file: MAX_MEMBER, ..image::Limits::default() }
}

fn of_squashfs(image: &squashfs::Image) -> Option<Vec<Member>> {
    image.list().map(|listed| member(&listed, || image.read(&listed.path).ok())).collect()
}

fn member(listed: &Listed, read: impl FnOnce() -> Option<Vec<u8>>) -> Option<Member> {
    let bytes = if matches!(listed.kind, image::Kind::File(_)) { read()? } else { Vec::new() };
    let Listed { path, mode, uid, gid, mtime, xattrs, kind, .. } = listed;
    let metadata = format!("{mode:o} {uid} {gid} {mtime} {xattrs:?} {kind:?}");
    Some(Member { path: path.clone(), metadata, sha256: Sha256::of(&bytes) })
}

fn of_initrd(path: &Path) -> Option<Vec<Member>> {
    let subject = path.display().to_string();
    let mut segments = Segments::new(&subject, File::open(path).ok()?, Limits::default());
    segments.probe().ok()?;
    let mut members = Vec::new();
    let mut readable = true;
    while segments
        .next(&mut |_, member, body| {
            match Sha256::of_reader(body) {
                Ok((sha256, _)) => {
                    let metadata = format!("{:o} {} {:?}", member.mode, member.mtime, member.link);
                    members.push(Member { path: member.path.clone(), metadata, sha256 });
                }
                Err(_) => readable = false,
            }
            Ok(())
        })
        .ok()?
        .is_some()
    {}
    readable.then_some(members)
}

fn of_tar(path: &Path) -> Option<Vec<Member>> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(path).ok()?));
    let one = |entry: io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.ok()?;
        let header = entry.header();
        let metadata =
            format!("{:?} {:?} {:?}", header.mode().ok()?, header.mtime().ok()?, header.entry_type());
        let path = entry.path().ok()?.display().to_string();
        let (sha256, _) = Sha256::of_reader(&mut entry).ok()?;
        Some(Member { path, metadata, sha256 })
    };
    archive.entries().ok()?.map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::cpio;
    use crate::format::tree::{Contents, Entry, Tree};

    /// A tree of `a` and `dir/b`; `dir/b` has this content and mode.
    fn tree(text: &str, mode: u16) -> Tree {
        let file = |mode, text: &str| Entry::file(mode, Contents::Bytes(text.into()), "test");
        let mut tree = Tree::new();
        tree.insert("a", file(0o644, "same")).unwrap();
        tree.insert("dir/b", file(mode, text)).unwrap();
        tree
    }

    fn written(directory: &Path, name: &str, write: impl FnOnce(&mut File)) -> std::path::PathBuf {
        let path = directory.join(name);
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        write(&mut file);
        path
    }

    #[test]
    fn the_member_that_differs_is_named_in_cpio_squashfs_erofs_and_tar() {
        let directory = tempfile::tempdir().unwrap();
        let cpio = |name: &str, tree: &Tree| {
            written(directory.path(), name, |file| {
                cpio::write(tree, 7, file).unwrap();
            })
        };
        let squashfs = |name: &str, tree: &Tree| {
            written(directory.path(), name, |file| {
                squashfs::write(tree, 7, squashfs::Options::default(), file).unwrap();
            })
        };
        let erofs = |name: &str, tree: &Tree| {
            written(directory.path(), name, |file| {
                erofs::write(tree, 7, erofs::Options::default(), file).unwrap();
            })
        };
        let tar = |name: &str, tree: &Tree| {
            written(directory.path(), name, |file| {
                let mut tar = tar::Builder::new(file);
                for (path, entry) in tree.iter() {
                    let crate::format::tree::Content::File(contents) = &entry.content else { continue };
                    let mut header = tar::Header::new_gnu();
                    header.set_size(contents.size());
                    header.set_mode(entry.mode.into());
                    header.set_mtime(7);
                    tar.append_data(&mut header, path, contents.reader()).unwrap();
                }
                tar.finish().unwrap();
            })
        };
        type Writer<'w> = &'w dyn Fn(&str, &Tree) -> std::path::PathBuf;
        let writers: [(&str, Writer<'_>); 4] =
            [("cpio", &cpio), ("squashfs", &squashfs), ("erofs", &erofs), ("tar", &tar)];
        for (format, write) in writers {
            let first = write("first", &tree("one", 0o644));
            let other_bytes = write("bytes", &tree("two", 0o644));
            let found = between(&first, &other_bytes).unwrap();
            assert_eq!(found.inside, Some(Inside::Bytes("dir/b".into())), "{format}");
            let [a, b] = [&first, &other_bytes].map(|path| std::fs::read(path).unwrap());
            let offset = a.iter().zip(&b).position(|(a, b)| a != b).unwrap();
            assert_eq!(found.offset, offset as u64, "{format}");
            let other_mode = write("mode", &tree("one", 0o755));
            let found = between(&first, &other_mode).unwrap();
            assert_eq!(found.inside, Some(Inside::Metadata("dir/b".into())), "{format}");
            let mut more = tree("one", 0o644);
            more.insert("dir/c", Entry::file(0o644, Contents::Bytes(Vec::new()), "test")).unwrap();
            let found = between(&first, &write("more", &more)).unwrap();
            assert_eq!(found.inside, Some(Inside::Member("dir/c".into())), "{format}");
        }
    }

    #[test]
    fn a_file_that_is_no_archive_has_a_byte_and_no_inside() {
        let directory = tempfile::tempdir().unwrap();
        let [first, second] = ["kernel args", "kernel arms"].map(|text| directory.path().join(text));
        for path in [&first, &second] {
            std::fs::write(path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        assert_eq!(between(&first, &second).unwrap(), Difference { offset: 9, inside: None });
        std::fs::write(&second, "kernel").unwrap();
        assert_eq!(between(&first, &second).unwrap().offset, 6, "one is the other's beginning");
    }
}
