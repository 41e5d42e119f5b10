//! One request and its answer, whatever carries them: routes decide, files are opened, the tally begins.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hyper::header::USER_AGENT;
use hyper::http::request::Parts;
use hyper::{Method, Version};
use rustix::io::Errno;

use super::boots::{Boots, Turn};
use super::limits::Limits;
use super::room::Rooms;
use super::shares::{SHORT, Shares};
use super::tally::Tally;
use crate::serve::answer::{Answer, Body, Lack, TEXT};
use crate::serve::endpoint::guard::Guard;
use crate::serve::endpoint::guard::answer::loggable;
use crate::serve::endpoint::request::{Request, World};
use crate::serve::endpoint::routes;
use crate::serve::files::proofs::{Proofs, Verdict};
use crate::serve::files::segments::{self, Segment};
use crate::serve::loaders::Loaders;
use crate::serve::machines::monitor::Monitor;
use crate::serve::machines::timeline::plain_path;
use crate::serve::machines::watchers::Events;
use crate::serve::notice::{Cut, Notice, Notices, Record};
use crate::serve::site::content::Content;
use crate::serve::site::labels::Labels;
use crate::tree::beneath::{Refused, Root};
use crate::tree::names::Endpoint;
use crate::tree::open::Place;

/// Characters of a path that are remembered. One of a tree may have 255 for each directory.
const LONGEST_PATH: usize = 1024;

/// What is not counted of an answer on a stream, in bytes.
const SHORT_OF_STREAM: usize = 512;

/// What all connections answer from.
pub struct Exchange {
    /// What is served.
    pub content: Arc<Content>,
    /// iPXE binaries, for firmware that loads them from here.
    pub loaders: Loaders,
    /// What was seen of machines.
    pub monitor: Arc<Monitor>,
    /// Who is told.
    pub notices: Notices,
    /// What clients may take.
    pub limits: Limits,
    /// Who sends when.
    pub shares: Arc<Shares>,
    /// Who boots when; none if all may at once.
    pub boots: Option<Arc<Boots>>,
    /// What was proven of files; none if they are trusted.
    pub proofs: Option<Arc<Proofs>>,
    /// Who gives out what is private; none if nobody gets it.
    pub guard: Option<Arc<Guard>>,
    /// How much of files may be in memory where they leave as buffers.
    pub rooms: Rooms,
    /// The directory of the site that was answered from last, open, if it has one.
    pub root: Mutex<Option<Arc<Root>>>,
}

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub struct Via {
    /// Who asks.
    pub peer: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
}

/// An answer that is ready to leave.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, String)>,
    /// For `content-length`, which HEAD is told too.
    pub length: Option<u64>,
    /// The body; empty for HEAD.
    pub body: Outgoing,
    /// To be told what left; the answer is logged when it is dropped.
    pub tally: Tally,
}

/// A body that is ready to leave.
pub enum Outgoing {
    /// One stretch after the other.
    Segments(Vec<Segment>),
    /// As it comes.
    Stream(Events),
}

impl Exchange {
    /// Answers a request; `body` is that of a report, or why it is not taken.
    pub async fn answer(&self, via: Via, head: Parts, body: Result<String, Answer>) -> Reply {
        let started = Instant::now();
        let site = self.content.site();
        // `GET boot.ipxe`: the authority's form (RFC 9112, 3.2.3), which hyper gives no path. As `/` it would be answered with
        // another text, which a loader takes for its script.
        let body = match head.uri.path().is_empty() && head.method != Method::CONNECT {
            true => Err(Answer::new(400, TEXT, "the target must begin with a slash\n")),
            false => body,
        };
        let (answer, labels) = match body {
            Ok(body) => {
                let request = Request {
                    method: &head.method,
                    path: head.uri.path(),
                    query: head.uri.query().unwrap_or_default(),
                    scheme: via.scheme,
                    headers: &head.headers,
                    body: &body,
                    now: SystemTime::now(),
                    peer: via.peer.ip(),
                };
                let (monitor, guard) = (&self.monitor, self.guard.as_deref());
                routes::answer(&World { site: &site, monitor, guard, loaders: &self.loaders }, &request)
            }
            Err(answer) => (answer, Labels::default()),
        };
        let answer = self.held(via, head.version, self.queue(via, &head, answer));
        let Answer { mut status, mut headers, body, group, profile, lack, warning } = answer;
        if let (Some(live), Some(Lack { why, file: Some(file) })) = (&site.live, &lack) {
            live.tell(file, why);
        }
        if let Some(warning) = warning {
            (self.notices)(&Notice::Warning { peer: via.peer.ip(), text: &warning });
        }
        let mut length = body.length();
        let body = match body {
            Body::Stream(events) => Outgoing::Stream(events),
            body => Outgoing::Segments(match self.open(body, &site.place).await {
                Ok(segments) => segments,
                Err(instead) => {
                    (status, headers, length) = (instead.status, instead.headers, instead.body.length());
                    in_memory(instead.body)
                }
            }),
        };
        let sends = head.method != Method::HEAD;
        let record = Record {
            peer: via.peer,
            path: short(&loggable(head.uri.path())),
            method: head.method,
            labels: labels.kept(),
            status,
            sent: 0,
            length: length.filter(|_| sends).unwrap_or_default(),
            took: Duration::ZERO,
            group,
            profile,
            // A tree's answers say it themselves, and a file that is at fault has a line of its own.
            why: lack.filter(|lack| site.live.is_some() && lack.file.is_none()).map(|lack| lack.why),
        };
        let length = length.filter(|_| !matches!(status, 204 | 304));
        let body = if sends { body } else { Outgoing::Segments(Vec::new()) };
        let boots = self.boots.as_ref().filter(|_| record.length > SHORT);
        let download = boots.and_then(|boots| boots.download(via.peer.ip(), started));
        let tally = Tally::new(record, started, self.notices.clone(), download);
        Reply { status, headers, length, body, tally }
    }

    /// Counts what was made for one client alone, which holds it as long as it does not read: it may have so much of that. What
    /// others may hold, too, is there once, and what is short fits the kernel's buffer, unless a stream's window is shut.
    fn held(&self, via: Via, version: Version, answer: Answer) -> Answer {
        let short = if version == Version::HTTP_2 { SHORT_OF_STREAM } else { SMALL };
        match answer.body {
            Body::Bytes(bytes) if bytes.len() > short && bytes.is_unique() => {
                match self.rooms.of(via.peer.ip()).keep(bytes) {
                    Some(bytes) => Answer { body: Body::Bytes(bytes), ..answer },
                    None => {
                        Answer::new(503, TEXT, "too many answers are waiting for this address to read them\n")
                            .header("retry-after", "1")
                    }
                }
            }
            body => Answer { body, ..answer },
        }
    }

    /// Puts a machine into the queue instead of booting it, if others boot that are as many as may. Only iPXE can wait.
    fn queue(&self, via: Via, head: &Parts, answer: Answer) -> Answer {
        let Some(boots) = self.boots.as_ref().filter(|_| answer.status == 200) else { return answer };
        let agent = head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let is_ipxe = agent.is_some_and(|agent| agent.starts_with("iPXE/"));
        if !is_ipxe || plain_path(head.uri.path()) != Endpoint::Ipxe.name() {
            return answer;
        }
        match boots.ask(via.peer.ip(), Instant::now()) {
            Turn::Boot => answer,
            Turn::Wait(place) => {
                let script = boots.script(&place, head.uri.query().unwrap_or_default());
                // Nothing of a group is in it; that tells whoever reads the record that the machine waits.
                Answer { body: Body::Bytes(script.into()), group: None, profile: None, ..answer }
            }
        }
    }

    /// Opens a body, or says why it cannot be sent.
    async fn open(&self, body: Body, place: &Place) -> Result<Vec<Segment>, Answer> {
        if matches!(body, Body::Bytes(_)) {
            return Ok(in_memory(body));
        }
        let damaged = |error: io::Error| match error.raw_os_error().map(Errno::from_raw_os_error) {
            // That is this process's own want, and says nothing of the tree.
            Some(Errno::MFILE | Errno::NFILE) => {
                let why =
                    "too many files are open: raise the limit (LimitNOFILE= in the unit, `ulimit -n`)\n";
                Answer::new(503, TEXT, why).header("retry-after", "1")
            }
            _ => Answer::new(500, TEXT, format!("the tree is damaged, build it again: {error}\n")),
        };
        let root = place.directory().map(|directory| self.root(directory)).transpose();
        let opened = root.map_err(Refused::from).and_then(|root| segments::open(body, root.as_deref()));
        let (segments, promised) = match opened {
            Ok(opened) => opened,
            Err(Refused::Outside) => {
                return Err(Answer::missing("it is a link that points outside the tree"));
            }
            Err(Refused::Damaged(error)) => return Err(damaged(error)),
        };
        let Some(proofs) = &self.proofs else { return Ok(segments) };
        for file in promised {
            let Verdict::Corrupt { first } = proofs.check(&file).await.map_err(damaged)? else { continue };
            if first {
                (self.notices)(&Notice::Corrupt(&file.path));
            }
            return Err(damaged(io::Error::other("its bytes differ from the published ones")));
        }
        Ok(segments)
    }

    fn root(&self, path: &Path) -> io::Result<Arc<Root>> {
        let mut known = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = known.as_ref().filter(|root| root.is(path)) {
            return Ok(root.clone());
        }
        Ok(known.insert(Arc::new(Root::open(path)?)).clone())
    }

    /// Tells of a client that was turned away.
    pub fn cut(&self, peer: SocketAddr, status: Option<u16>, why: impl Into<String>) {
        (self.notices)(&Notice::Cut(&Cut { peer, status, why: why.into() }));
    }
}

/// A path as it is remembered as long as its answer is on its way: no tree has a longer one, and a client may send one of 16 KiB.
fn short(path: &str) -> String {
    match path.char_indices().nth(LONGEST_PATH) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path.to_owned(),
    }
}

/// What of a body needs no file.
fn in_memory(body: Body) -> Vec<Segment> {
    match body {
        Body::Bytes(bytes) => vec![Segment::Bytes(bytes)],
        Body::File { .. } | Body::Parts { .. } | Body::Stream(_) => Vec::new(),
    }
}

/// Files up to this length, in bytes, leave in one packet with their head: that is cheaper than sendfile(2).
pub(crate) const SMALL: usize = 16 << 10;
