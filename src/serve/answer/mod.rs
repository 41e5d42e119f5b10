//! Answers: what goes back to a client, before it meets a socket.

pub mod conditions;
pub mod ranges;

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::digest::Sha256;
use crate::serve::machines::watchers::Events;

/// Text as Matchbox labels it.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// An answer to one request.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header names (lower case) and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body; left out for HEAD, its length is not.
    pub body: Body,
    /// The group that matched, for the log.
    pub group: Option<String>,
    /// The profile that matched, for the log.
    pub profile: Option<String>,
    /// Why there is nothing to answer, also where the body does not say it.
    pub lack: Option<Lack>,
    /// What the log shall say of it beside its line.
    pub warning: Option<String>,
}

/// Why there is nothing to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// In words.
    pub why: String,
    /// The file of a data directory that is at fault, if one is.
    pub file: Option<String>,
}

/// The bytes of an answer.
#[derive(Debug)]
pub enum Body {
    /// In memory.
    Bytes(Bytes),
    /// A part of a file.
    File {
        /// What it is made of.
        pieces: Vec<Piece>,
        /// Which bytes.
        range: Range<u64>,
    },
    /// Several parts of a file, each behind its own heading, as `multipart/byteranges`.
    Parts {
        /// What it is made of.
        pieces: Vec<Piece>,
        /// Heading and bytes of each part.
        parts: Vec<(String, Range<u64>)>,
        /// What closes the last part.
        end: String,
    },
    /// What is written as it comes, without an end that is known: events.
    Stream(Events),
}

/// A piece of a file that is put together as it is sent; most files are one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A published file.
    File {
        /// Where it lies; of a part of another file, what messages call it.
        path: PathBuf,
        /// The file that it is a part of, if it is none of its own.
        within: Option<Within>,
        /// Its length in bytes.
        size: u64,
        /// The digest of its bytes, where the manifest has one.
        sha256: Option<Sha256>,
    },
    /// So many zeros, a few.
    Zeros(u64),
}

/// A file that holds others, open, and where in it one of them begins, in bytes.
#[derive(Clone, Debug)]
pub struct Within(pub Arc<File>, pub u64);

impl PartialEq for Within {
    fn eq(&self, other: &Within) -> bool {
        Arc::ptr_eq(&self.0, &other.0) && self.1 == other.1
    }
}

impl Eq for Within {}

impl Body {
    /// Length in bytes, where it is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Body::Bytes(bytes) => Some(bytes.len() as u64),
            Body::File { range, .. } => Some(range.end - range.start),
            Body::Parts { parts, end, .. } => {
                let parts = parts.iter().map(|(head, range)| head.len() as u64 + range.end - range.start);
                Some(parts.sum::<u64>() + end.len() as u64)
            }
            Body::Stream(_) => None,
        }
    }
}

impl Answer {
    /// A body in memory.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        Answer::shared(status, content_type, body.into().into())
    }

    /// A body in memory that others may hold, too.
    pub fn shared(status: u16, content_type: &str, body: Bytes) -> Answer {
        let headers = vec![("content-type", content_type.to_owned())];
        let body = Body::Bytes(body);
        Answer { status, headers, body, group: None, profile: None, lack: None, warning: None }
    }

    /// A text.
    pub fn text(body: impl Into<Vec<u8>>) -> Answer {
        Answer::new(200, TEXT, body)
    }

    /// Not here; the text says why. Matchbox sends just `404 page not found`.
    pub fn missing(why: &str) -> Answer {
        let mut answer = Answer::new(404, TEXT, format!("404 page not found\n{why}\n"));
        answer.lack = Some(Lack { why: why.to_owned(), file: None });
        answer.header("x-content-type-options", "nosniff")
    }

    /// Not here, as Matchbox says it.
    pub fn not_found() -> Answer {
        let answer = Answer::new(404, TEXT, "404 page not found\n");
        answer.header("x-content-type-options", "nosniff")
    }

    /// The same answer, but Matchbox's words where it is missing.
    pub fn without_reason(self) -> Answer {
        match self.status {
            404 => {
                let Answer { group, profile, lack, .. } = self;
                Answer { group, profile, lack, ..Answer::not_found() }
            }
            _ => self,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// Has the log say something beside the answer's line.
    pub fn warning(mut self, warning: impl Into<String>) -> Answer {
        self.warning = Some(warning.into());
        self
    }

    /// Says what matched.
    pub fn matched(mut self, group: &crate::tree::records::Group) -> Answer {
        self.group = Some(group.id.clone());
        self.profile = Some(group.profile.clone());
        self
    }
}
