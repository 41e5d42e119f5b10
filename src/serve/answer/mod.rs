//! Answers as the routes make them, before they meet a socket.

pub(crate) mod conditions;
pub mod ranges;

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::digest::Sha256;
use crate::serve::machines::watchers::Events;

/// The content type that Matchbox gives its texts.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// An answer to one request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Header names (lower case) and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body. A HEAD request gets its length only.
    pub body: Body,
    /// The group that matched, for the log.
    pub group: Option<String>,
    /// The profile that matched, for the log.
    pub profile: Option<String>,
    /// Why there is nothing to answer, even where the body does not say so.
    pub lack: Option<Lack>,
    /// A warning for the log, in addition to the answer's line.
    pub warning: Option<String>,
}

/// Why there is nothing to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    /// The reason, in words.
    pub why: String,
    /// The file of a data directory that is at fault, if any.
    pub file: Option<String>,
}

/// The bytes of an answer.
#[derive(Debug)]
pub(crate) enum Body {
    /// In memory.
    Bytes(Bytes),
    /// A part of a file.
    File {
        /// The pieces that make up the file, in order.
        pieces: Vec<Piece>,
        /// The bytes of it to send.
        range: Range<u64>,
    },
    /// Several parts of a file, each behind its own heading, as `multipart/byteranges`.
    Parts {
        /// The pieces that make up the file, in order.
        pieces: Vec<Piece>,
        /// Heading and bytes of each part.
        parts: Vec<(String, Range<u64>)>,
        /// The boundary that closes the last part.
        end: String,
    },
    /// Events, written as they come; nobody knows the length in advance.
    Stream(Events),
}

/// A piece of a file that is put together while it is sent. Most files are one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A published file.
    File {
        /// Its path. For a part of another file: its name in messages.
        path: PathBuf,
        /// The file that contains it, if it is not a file of its own.
        within: Option<Within>,
        /// Length in bytes.
        size: u64,
        /// The digest of its bytes, if the manifest has one.
        sha256: Option<Sha256>,
    },
    /// A run of zeros of this length, in bytes; it is short.
    Zeros(u64),
}

/// An open file that contains others, and the offset in bytes where one of them begins.
#[derive(Clone, Debug)]
pub(crate) struct Within(pub Arc<File>, pub u64);

impl PartialEq for Within {
    fn eq(&self, other: &Within) -> bool {
        Arc::ptr_eq(&self.0, &other.0) && self.1 == other.1
    }
}

impl Eq for Within {}

impl Body {
    /// Length in bytes, if known.
    pub(crate) fn length(&self) -> Option<u64> {
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
    /// An answer with a body in memory.
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        Answer::shared(status, content_type, body.into().into())
    }

    /// An answer with a body in memory that others may hold, too.
    pub(crate) fn shared(status: u16, content_type: &str, body: Bytes) -> Answer {
        let headers = vec![("content-type", content_type.to_owned())];
        let body = Body::Bytes(body);
        Answer { status, headers, body, group: None, profile: None, lack: None, warning: None }
    }

    /// A plain text, status 200.
    pub(crate) fn text(body: impl Into<Vec<u8>>) -> Answer {
        Answer::new(200, TEXT, body)
    }

    /// 404 with the reason. Matchbox sends just `404 page not found`.
    pub(crate) fn missing(why: &str) -> Answer {
        let mut answer = Answer::new(404, TEXT, format!("404 page not found\n{why}\n"));
        answer.lack = Some(Lack { why: why.to_owned(), file: None });
        answer.header("x-content-type-options", "nosniff")
    }

    /// 404 in Matchbox's own words.
    pub(crate) fn not_found() -> Answer {
        let answer = Answer::new(404, TEXT, "404 page not found\n");
        answer.header("x-content-type-options", "nosniff")
    }

    /// The same answer; a 404 loses its reason and has Matchbox's own words.
    pub(crate) fn without_reason(self) -> Answer {
        match self.status {
            404 => {
                let Answer { group, profile, lack, .. } = self;
                Answer { group, profile, lack, ..Answer::not_found() }
            }
            _ => self,
        }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// Logs a warning in addition to the answer's line.
    pub(crate) fn warning(mut self, warning: impl Into<String>) -> Answer {
        self.warning = Some(warning.into());
        self
    }

    /// Records the group and the profile that matched.
    pub(crate) fn matched(mut self, group: &crate::tree::records::Group) -> Answer {
        self.group = Some(group.id.clone());
        self.profile = Some(group.profile.clone());
        self
    }
}
