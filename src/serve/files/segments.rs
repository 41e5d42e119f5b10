//! Opened bodies: the pieces of files that make up an answer, in the order in which they leave.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::digest::Sha256;
use crate::serve::answer::{Body, Piece, Within};
use crate::tree::beneath::{Refused, Root};

/// Bytes that leave in one run.
#[derive(Clone, Debug)]
pub(crate) enum Segment {
    /// From memory.
    Bytes(Bytes),
    /// From a file. An open file stays complete even when its build is replaced and removed.
    File(Arc<File>, Range<u64>),
}

impl Segment {
    /// Length of the segment, in bytes.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Segment::Bytes(bytes) => bytes.len() as u64,
            Segment::File(_, range) => range.end - range.start,
        }
    }

    /// Takes up to this many bytes off its front, into memory.
    pub(crate) fn read(&mut self, most: usize) -> io::Result<Bytes> {
        match self {
            Segment::Bytes(bytes) => Ok(bytes.split_to(most.min(bytes.len()))),
            Segment::File(file, range) => {
                let mut chunk = vec![0; most.min((range.end - range.start) as usize)];
                file.read_exact_at(&mut chunk, range.start)?;
                range.start += chunk.len() as u64;
                Ok(chunk.into())
            }
        }
    }
}

/// A file that an answer needs, and what the manifest says of its bytes.
#[derive(Debug)]
pub(crate) struct Promised {
    /// The open file, which may contain others, too.
    pub file: Arc<File>,
    /// Offset of the bytes in it.
    pub start: u64,
    /// Their number.
    pub size: u64,
    /// Its path, for messages.
    pub path: PathBuf,
    /// The digest of these bytes, if the manifest has one.
    pub sha256: Option<Sha256>,
}

/// Opens the files that a body needs before the head is sent, so that a file that cannot be sent gets an error status.
/// Files that are not part of another file are opened beneath the root.
pub(crate) fn open(body: Body, root: Option<&Root>) -> Result<(Vec<Segment>, Vec<Promised>), Refused> {
    let (pieces, parts, end) = match body {
        Body::Bytes(bytes) => return Ok((vec![Segment::Bytes(bytes)], Vec::new())),
        Body::Stream(_) => return Ok((Vec::new(), Vec::new())),
        Body::File { pieces, range } => (pieces, vec![(String::new(), range)], String::new()),
        Body::Parts { pieces, parts, end } => (pieces, parts, end),
    };
    let mut promised = Vec::new();
    let mut opened = Vec::new();
    let mut start = 0;
    for piece in pieces {
        let (path, within, size, sha256) = match piece {
            Piece::Zeros(size) => {
                opened.push((start..start + size, None));
                start += size;
                continue;
            }
            Piece::File { path, within, size, sha256 } => (path, within, size, sha256),
        };
        let place = start..start + size;
        start += size;
        let needed = parts.iter().map(|(_, part)| overlap(part, &place)).filter(|part| !part.is_empty());
        // An empty file needs no bytes, but must exist.
        let needed = needed.map(|part| part.end - place.start).max().or((size == 0).then_some(0));
        let Some(needed) = needed else { continue };
        let Within(file, begin) = match within {
            Some(within) => within,
            None => Within(Arc::new(root.ok_or(Refused::Outside)?.file(&path)?), 0),
        };
        if file.metadata()?.len() < begin + needed {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        promised.push(Promised { file: file.clone(), start: begin, size, path, sha256 });
        opened.push((place, Some((file, begin))));
    }
    let mut segments = Vec::new();
    for (head, part) in parts {
        segments.push(Segment::Bytes(head.into()));
        for (place, file) in &opened {
            let within = overlap(&part, place);
            if within.is_empty() {
                continue;
            }
            segments.push(match file {
                Some((file, begin)) => {
                    let at = |byte: u64| begin + byte - place.start;
                    Segment::File(file.clone(), at(within.start)..at(within.end))
                }
                None => Segment::Bytes(vec![0; (within.end - within.start) as usize].into()),
            });
        }
    }
    segments.push(Segment::Bytes(end.into()));
    segments.retain(|segment| segment.length() > 0);
    Ok((segments, promised))
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> Range<u64> {
    one.start.max(other.start)..one.end.min(other.end)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a"), "0123456789").unwrap();
        fs::write(root.join("b"), "abcdef").unwrap();
        let root = Root::open(&root.canonicalize().unwrap()).unwrap();
        (directory, root)
    }

    fn piece(root: &Root, name: &str, size: u64) -> Piece {
        Piece::File { path: root.path().join(name), within: None, size, sha256: None }
    }

    fn bytes(segments: Vec<Segment>, chunk: usize) -> Vec<u8> {
        let mut all = Vec::new();
        for mut segment in segments {
            while segment.length() > 0 {
                all.extend(segment.read(chunk).unwrap());
            }
        }
        all
    }

    #[test]
    fn any_range_of_joined_pieces_is_what_it_would_be_in_one_file() {
        let (_directory, root) = root();
        let pieces = vec![piece(&root, "a", 10), Piece::Zeros(2), piece(&root, "b", 6)];
        let whole = b"0123456789\0\0abcdef";
        for start in 0..whole.len() {
            for end in start + 1..=whole.len() {
                let body = Body::File { pieces: pieces.clone(), range: start as u64..end as u64 };
                let (segments, _) = open(body, Some(&root)).unwrap();
                assert_eq!(bytes(segments, 4), &whole[start..end], "{start}..{end}");
            }
        }
        let parts = vec![("<".to_owned(), 9..13), ("|".to_owned(), 0..1)];
        let (segments, _) = open(Body::Parts { pieces, parts, end: ">".into() }, Some(&root)).unwrap();
        assert_eq!(bytes(segments, 100), b"<9\0\0a|0>");
    }

    #[test]
    fn only_the_files_that_a_range_touches_are_opened() {
        let (_directory, root) = root();
        let pieces = vec![piece(&root, "a", 10), piece(&root, "gone", 6)];
        assert_eq!(
            open(Body::File { pieces: pieces.clone(), range: 2..10 }, Some(&root)).unwrap().1.len(),
            1
        );
        let damaged = open(Body::File { pieces, range: 2..11 }, Some(&root));
        assert!(matches!(damaged, Err(Refused::Damaged(_))), "{damaged:?}");
    }
}
