//! One request and its answer, independent of the protocol: routes decide, files are opened, the tally begins.

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
use crate::serve::endpoint::{routes, served};
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

/// Characters of a path that are kept. One path component alone may have 255.
const LONGEST_PATH: usize = 1024;

/// Answers on an HTTP/2 stream up to this length, in bytes, are not counted against the client's room.
const SHORT_OF_STREAM: usize = 512;

/// The state that all connections share.
pub(crate) struct Exchange {
    /// The content to serve.
    pub content: Arc<Content>,
    /// iPXE binaries, for firmware that loads them from here.
    pub loaders: Loaders,
    /// The machines seen so far.
    pub monitor: Arc<Monitor>,
    /// Receives notices of requests and answers.
    pub notices: Notices,
    /// The limits for clients.
    pub limits: Limits,
    /// Decides which client sends when.
    pub shares: Arc<Shares>,
    /// The boot queue. `None` if all machines may boot at once.
    pub boots: Option<Arc<Boots>>,
    /// Which files have been verified. `None` if files are trusted.
    pub proofs: Option<Arc<Proofs>>,
    /// Hands out private configs. `None` if nobody gets them.
    pub guard: Option<Arc<Guard>>,
    /// How much file content may be in memory where it leaves through buffers.
    pub rooms: Rooms,
    /// The open directory of the site that was answered from last, if it has one.
    pub root: Mutex<Option<Arc<Root>>>,
}

/// How a request arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Via {
    /// The client's address.
    pub peer: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
}

/// An answer that is ready to send.
pub(crate) struct Reply {
    /// HTTP status code.
    pub status: u16,
    /// Names in lower case, with their values.
    pub headers: Vec<(&'static str, String)>,
    /// For `content-length`, which HEAD gets, too.
    pub length: Option<u64>,
    /// The body; empty for HEAD.
    pub body: Outgoing,
    /// Counts the bytes that leave. The answer is logged when this is dropped.
    pub tally: Tally,
}

/// A body that is ready to send.
pub(crate) enum Outgoing {
    /// Segments to send in order.
    Segments(Vec<Segment>),
    /// Events, sent as they come.
    Stream(Events),
}

impl Exchange {
    /// Answers a request. `body` is the body of a report, or the reason for its refusal.
    pub(crate) async fn answer(&self, via: Via, head: Parts, body: Result<String, Answer>) -> Reply {
        let started = Instant::now();
        let site = self.content.site();
        // `GET boot.ipxe`: the authority's form (RFC 9112, 3.2.3), for which hyper has no path. Treated as `/`, it
        // would get a different text, which a loader would take for its script.
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
                served::prepare(request.path, &self.monitor, &site).await;
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
            // A tree's answers say why themselves, and a file at fault has its own line.
            why: lack.filter(|lack| site.live.is_some() && lack.file.is_none()).map(|lack| lack.why),
        };
        let length = length.filter(|_| !matches!(status, 204 | 304));
        let body = if sends { body } else { Outgoing::Segments(Vec::new()) };
        let boots = self.boots.as_ref().filter(|_| record.length > SHORT);
        let download = boots.and_then(|boots| boots.download(via.peer.ip(), started));
        let tally = Tally::new(record, started, self.notices.clone(), download);
        Reply { status, headers, length, body, tally }
    }

    /// Counts an answer that was made for this client alone against the client's room: the client holds that memory as
    /// long as it does not read. Shared bytes exist only once, and short answers fit the kernel's buffer, unless a
    /// stream's window is shut.
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

    /// Queues a machine instead of booting it, if as many machines as allowed are booting. Only iPXE can wait.
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
                // The record names no group, which shows that the machine waits.
                Answer { body: Body::Bytes(script.into()), group: None, profile: None, ..answer }
            }
        }
    }

    /// Opens a body. The error is the answer that says why it cannot be sent.
    async fn open(&self, body: Body, place: &Place) -> Result<Vec<Segment>, Answer> {
        if matches!(body, Body::Bytes(_)) {
            return Ok(in_memory(body));
        }
        let damaged = |error: io::Error| match error.raw_os_error().map(Errno::from_raw_os_error) {
            // The process lacks descriptors; the tree is not at fault.
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

    /// Reports a client that was turned away.
    pub(crate) fn cut(&self, peer: SocketAddr, status: Option<u16>, why: impl Into<String>) {
        (self.notices)(&Notice::Cut(&Cut { peer, status, why: why.into() }));
    }
}

/// A path, shortened for as long as its answer is on its way: no tree has a longer one, but a client may send 16 KiB.
fn short(path: &str) -> String {
    match path.char_indices().nth(LONGEST_PATH) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path.to_owned(),
    }
}

/// The segments of a body that needs no file.
fn in_memory(body: Body) -> Vec<Segment> {
    match body {
        Body::Bytes(bytes) => vec![Segment::Bytes(bytes)],
        Body::File { .. } | Body::Parts { .. } | Body::Stream(_) => Vec::new(),
    }
}

/// Files up to this length, in bytes, leave in one packet with their head, which is cheaper than sendfile(2).
pub(crate) const SMALL: usize = 16 << 10;
