//! The calls of Matchbox's gRPC API by their paths, and what a client is told that calls something else.
//!
//! Owns the table from a path to a function of the [`store`](super::store), the frames around messages (tonic's codec,
//! no generated code), grpc-go's words for calls that are none, and a line of the log for each write. Leaves the calls
//! themselves to the store.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request as HttpRequest, Response as HttpResponse, StatusCode};
use prost::Message;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::bounded::{Bounded, Budget};
use super::flood::Flood;
use super::shares::{Share, Shares};
use super::store::{Code, Fault, Store, Warnings};
use crate::base::digest::Sha256;
use crate::serve::notice::{Call, Notice, Notices};
use crate::tree::names;

/// The type of all bodies (gRPC over HTTP/2).
const GRPC: &str = "application/grpc";
/// The package of all services, with the dot behind it.
const PACKAGE: &str = "rpcpb.";

/// Calls that read, and calls that write, which run at a time.
const TURNS: usize = 16;
/// Longest message in bytes that is written in any turn. A judgement takes up to fifty times that in memory (for a template
/// of nothing but short actions), and all records together take as much as there is, so longer ones and lists need one more turn,
/// of which there is one.
const SHORT: usize = 64 << 10;
/// The header with the time that a client waits (gRPC over HTTP/2, "Timeout").
const TIMEOUT: &str = "grpc-timeout";

/// A future that the runtime moves between threads.
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A client, as its certificate and connection say.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Its address and port.
    pub peer: SocketAddr,
    /// The common name of its certificate.
    pub name: Arc<str>,
    /// The share of its certificate.
    pub share: Arc<Share>,
}

/// All calls, on one store.
pub(crate) struct Services {
    table: Vec<Row>,
    room: Room,
    shares: Shares,
}

/// Service, method, and what answers, such as `Groups` and `GroupPut`.
type Row = (&'static str, &'static str, Box<dyn Answers>);

/// The store, memory and log that all calls share.
#[derive(Clone)]
struct Room {
    store: Arc<Store>,
    budget: Budget,
    /// The memory of answers, which clients may leave untaken.
    answers: Budget,
    /// Turns for calls: each holds files and messages in memory while it runs.
    reading: Arc<Semaphore>,
    /// A disk that hangs holds up writes, while it still reads what is in memory.
    writing: Arc<Semaphore>,
    /// The turn for a long message that is to be written, and for all records at once.
    long: Arc<Semaphore>,
    notices: Notices,
    /// Calls that were refused.
    refused: Flood<Call>,
}

/// One row of the table, whatever its messages are.
trait Answers: Send + Sync {
    /// Reads the message, does it, and makes the answer.
    fn answer(
        &self,
        room: Room,
        caller: Caller,
        request: HttpRequest<Bounded<AnyBody>>,
    ) -> Boxed<HttpResponse<Body>>;
}

/// The body of a request, whose type the table need not know.
type AnyBody = Pin<Box<dyn HttpBody<Data = Bytes, Error = hyper::Error> + Send>>;

/// A function of the store that answers a call.
type Run<A, B> = fn(&Store, &A, &mut Warnings) -> Result<B, Fault>;

/// A call: its function, and for one that writes the file that it is about.
struct Served<A, B> {
    method: &'static str,
    run: Run<A, B>,
    writes: Option<fn(&A) -> String>,
    /// Whether it reads all records.
    is_wide: bool,
}

impl Services {
    /// The calls on a store; each write is told.
    pub(crate) fn new(store: Store, notices: Notices) -> Services {
        let tell = notices.clone();
        let refused = Flood::new(
            "other refused call",
            move |call| (tell)(&Notice::Called(call)),
            |call: &mut Call, more| call.refused.get_or_insert_default().push_str(more),
        );
        let room = Room {
            store: Arc::new(store),
            budget: Budget::default(),
            answers: Budget::default(),
            reading: Arc::new(Semaphore::new(TURNS)),
            writing: Arc::new(Semaphore::new(TURNS)),
            long: Arc::new(Semaphore::new(1)),
            notices,
            refused,
        };
        Services { table: rows(), room, shares: Shares::default() }
    }

    /// The share of a certificate, by its digest.
    pub(crate) fn share(&self, certificate: Sha256) -> Arc<Share> {
        self.shares.of(certificate)
    }

    /// Tells for ever how many refused calls had no line.
    pub(crate) async fn settle(&self) {
        self.room.refused.settle().await;
    }

    /// Answers one request.
    pub(crate) async fn answer<B>(&self, caller: Caller, request: HttpRequest<B>) -> HttpResponse<Body>
    where
        B: HttpBody<Data = Bytes, Error = hyper::Error> + Send + 'static,
    {
        let path = request.uri().path().to_owned();
        match self.find(&request) {
            Ok(row) => {
                let wait = said(request.headers(), TIMEOUT);
                let wait = wait_of(wait).unwrap_or(Duration::MAX);
                let budget = self.room.budget.of(&caller.share.messages);
                let bounded = |body| Bounded::new(Box::pin(body) as AnyBody, budget);
                let answer = row.answer(self.room.clone(), caller.clone(), request.map(bounded));
                match tokio::time::timeout(wait, answer).await {
                    Ok(response) => response,
                    Err(_) => {
                        let status = Status::deadline_exceeded("context deadline exceeded");
                        self.room.refuse(&caller, method_of(&path), None, &status);
                        status.into_http()
                    }
                }
            }
            Err((http, status)) => {
                self.room.refuse(&caller, &path, None, &status);
                let mut response = status.into_http();
                *response.status_mut() = http;
                response
            }
        }
    }

    /// The row for a request; otherwise the statuses of HTTP and of gRPC, which are those of grpc-go.
    fn find<B>(&self, request: &HttpRequest<B>) -> Result<&dyn Answers, (StatusCode, Status)> {
        let said = |name: &str| said(request.headers(), name);
        let kind = said(CONTENT_TYPE.as_str());
        let is_grpc = kind
            .strip_prefix(GRPC)
            .is_some_and(|rest| matches!(rest.bytes().next(), None | Some(b'+' | b';')));
        if !is_grpc {
            let why = format!("invalid gRPC request content-type {kind:?}");
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, Status::invalid_argument(why)));
        }
        if request.method() != Method::POST {
            let method = request.method().as_str();
            let why =
                format!("http2Server.operateHeaders parsed a :method field {method:?} which should be POST");
            return Err((StatusCode::METHOD_NOT_ALLOWED, Status::internal(why)));
        }
        let unimplemented = |why: String| (StatusCode::OK, Status::unimplemented(why));
        let path = request.uri().path();
        let Some((service, method)) = path.strip_prefix('/').unwrap_or(path).rsplit_once('/') else {
            return Err(unimplemented(format!("malformed method name: {path:?}")));
        };
        let own = service.strip_prefix(PACKAGE);
        let rows: Vec<&Row> = self.table.iter().filter(|(known, ..)| Some(*known) == own).collect();
        let row = rows.iter().find(|(_, known, _)| *known == method);
        let Some((_, _, row)) = row else {
            return Err(unimplemented(match rows.is_empty() {
                true => format!("unknown service {service}"),
                false => format!("unknown method {method} for service {service}"),
            }));
        };
        match said("grpc-encoding") {
            "" | "identity" => Ok(&**row),
            packed => Err(unimplemented(format!(
                "grpc: Decompressor is not installed for grpc-encoding {packed:?}"
            ))),
        }
    }
}

/// The last part of a path.
fn method_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The time that a client waits: at most eight digits and a unit.
fn wait_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A header's text; nothing where it is missing or no text.
fn said<'h>(headers: &'h HeaderMap<HeaderValue>, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Room {
    /// Tells of a request that reached no function.
    fn refuse(&self, caller: &Caller, method: &str, file: Option<String>, status: &Status) {
        self.tell(caller, method, file, Some(format!("{:?}: {}", status.code(), status.message())));
    }

    fn tell(&self, caller: &Caller, method: &str, file: Option<String>, refused: Option<String>) {
        let (peer, client) = (caller.peer, caller.name.to_string());
        let is_refused = refused.is_some();
        let call = Call { peer, client, method: method.to_owned(), file, refused };
        // Every write that was done has a line.
        match is_refused {
            true => self.refused.tell(call),
            false => (self.notices)(&Notice::Called(&call)),
        }
    }
}

impl<A, B> Answers for Served<A, B>
where
    A: Message + Default + Send + Sync + 'static,
    B: Message + Send + Sync + 'static,
{
    fn answer(
        &self,
        room: Room,
        caller: Caller,
        request: HttpRequest<Bounded<AnyBody>>,
    ) -> Boxed<HttpResponse<Body>> {
        let Served { method, run, writes, is_wide } = *self;
        let reached = Arc::new(AtomicBool::new(false));
        let (held, client) = (room.clone(), caller.clone());
        let unary = Unary { room, caller, method, run, writes, is_wide, reached: reached.clone() };
        Box::pin(async move {
            let response = Grpc::new(ProstCodec::<B, A>::default()).unary(unary, request).await;
            if !reached.load(Ordering::Relaxed)
                && let Some(status) = Status::from_header_map(response.headers())
            {
                held.refuse(&client, method, None, &status);
            }
            response
        })
    }
}

/// One call that was understood.
struct Unary<A, B> {
    room: Room,
    caller: Caller,
    method: &'static str,
    run: Run<A, B>,
    writes: Option<fn(&A) -> String>,
    is_wide: bool,
    /// Set once the message is there.
    reached: Arc<AtomicBool>,
}

impl<A, B> UnaryService<A> for Unary<A, B>
where
    A: Message + Default + Send + Sync + 'static,
    B: Message + Send + Sync + 'static,
{
    type Response = B;
    type Future = Boxed<Result<Response<B>, Status>>;

    fn call(&mut self, request: Request<A>) -> Self::Future {
        self.reached.store(true, Ordering::Relaxed);
        let (room, caller) = (self.room.clone(), self.caller.clone());
        let (method, run, writes) = (self.method, self.run, self.writes);
        let turns = if writes.is_some() { room.writing.clone() } else { room.reading.clone() };
        let share = caller.share.clone();
        let (answers, budget) = (room.answers.of(&share.answers), room.budget.of(&share.messages));
        let length = request.get_ref().encoded_len();
        let long = Some(room.long.clone()).filter(|_| self.is_wide || writes.is_some() && length > SHORT);
        // Files are read and written on threads of their own, so that a slow disk holds up no other client.
        let work = move || {
            let message = request.into_inner();
            let mut warnings = Warnings::new();
            let done = run(&room.store, &message, &mut warnings);
            for text in &warnings {
                (room.notices)(&Notice::Warning { peer: caller.peer.ip(), text });
            }
            if let Some(file) = writes {
                let refused = done.as_ref().err().map(|fault| fault.message.clone());
                room.tell(&caller, method, Some(file(&message)), refused);
            }
            done
        };
        Box::pin(async move {
            let fault = || Status::internal("an error in prebake; its log has more");
            // While it waits and while it is judged, also where its client has gone away meanwhile.
            let message = budget.share(length)?;
            // First the one that takes longer to come: whoever waits for it holds up nobody who writes little. Of each
            // certificate, one call waits for it, so that a thousand of one are no longer than one to another.
            let long = match long {
                Some(long) => {
                    let own = share.long.clone().acquire_owned().await.map_err(|_| fault())?;
                    Some((long.acquire_owned().await.map_err(|_| fault())?, own))
                }
                None => None,
            };
            let turn = turns.acquire_owned().await.map_err(|_| fault())?;
            let done = tokio::task::spawn_blocking(move || {
                let done = work();
                drop((turn, long, message));
                done
            });
            let done = done.await.map_err(|_| fault())?;
            let done = done.map_err(|Fault { code, message, .. }| Status::new(code_of(code), message))?;
            // An answer that its client does not take stays in memory, so all of them are counted.
            let held = answers.hold(done.encoded_len())?;
            let mut response = Response::new(done);
            response.extensions_mut().insert(Arc::new(held));
            Ok(response)
        })
    }
}

/// The code as tonic names it.
fn code_of(code: Code) -> tonic::Code {
    match code {
        Code::Unknown => tonic::Code::Unknown,
        Code::NotFound => tonic::Code::NotFound,
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
    }
}

/// A row for a call that only reads.
fn reads<A, B>(method: &'static str, run: Run<A, B>) -> (&'static str, Box<dyn Answers>)
where
    A: Message + Default + Send + Sync + 'static,
    B: Message + Send + Sync + 'static,
{
    (method, Box::new(Served { method, run, writes: None, is_wide: false }))
}

/// A row for a call that reads all records.
fn surveys<A, B>(method: &'static str, run: Run<A, B>) -> (&'static str, Box<dyn Answers>)
where
    A: Message + Default + Send + Sync + 'static,
    B: Message + Send + Sync + 'static,
{
    (method, Box::new(Served { method, run, writes: None, is_wide: true }))
}

/// A row for a call that writes the file that the last function names.
fn writes<A, B>(
    method: &'static str,
    run: Run<A, B>,
    file: fn(&A) -> String,
) -> (&'static str, Box<dyn Answers>)
where
    A: Message + Default + Send + Sync + 'static,
    B: Message + Send + Sync + 'static,
{
    (method, Box::new(Served { method, run, writes: Some(file), is_wide: false }))
}

/// The calls of `rpc.proto`, with the service of each.
fn rows() -> Vec<Row> {
    let services = [
        (
            "Groups",
            vec![
                writes("GroupPut", Store::group_put, |put| {
                    names::group(put.group.as_ref().map_or("", |group| group.id.as_str()))
                }),
                reads("GroupGet", Store::group_get),
                writes("GroupDelete", Store::group_delete, |gone| names::group(&gone.id)),
                surveys("GroupList", Store::group_list),
            ],
        ),
        (
            "Profiles",
            vec![
                writes("ProfilePut", Store::profile_put, |put| {
                    names::profile(put.profile.as_ref().map_or("", |profile| profile.id.as_str()))
                }),
                reads("ProfileGet", Store::profile_get),
                writes("ProfileDelete", Store::profile_delete, |gone| names::profile(&gone.id)),
                surveys("ProfileList", Store::profile_list),
            ],
        ),
        (
            "Ignition",
            vec![
                writes("IgnitionPut", Store::ignition_put, |put| names::ignition(&put.name)),
                reads("IgnitionGet", Store::ignition_get),
                writes("IgnitionDelete", Store::ignition_delete, |gone| names::ignition(&gone.name)),
            ],
        ),
        (
            "Generic",
            vec![
                writes("GenericPut", Store::generic_put, |put| names::generic(&put.name)),
                reads("GenericGet", Store::generic_get),
                writes("GenericDelete", Store::generic_delete, |gone| names::generic(&gone.name)),
            ],
        ),
        (
            "Select",
            vec![
                surveys("SelectGroup", Store::select_group),
                surveys("SelectProfile", Store::select_profile),
            ],
        ),
    ];
    let rows = services
        .into_iter()
        .flat_map(|(service, rows)| rows.into_iter().map(move |(method, row)| (service, method, row)));
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_a_client_waits_is_a_number_and_a_unit() {
        for (text, is) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("0m", Some(Duration::ZERO)),
            ("20u", Some(Duration::from_micros(20))),
            ("7n", Some(Duration::from_nanos(7))),
        ] {
            assert_eq!(wait_of(text), is, "{text}");
        }
        for none in ["", "S", "1", "1s", "100000000S", "-1S", "+1S", "1 S", "1é", "é"] {
            assert_eq!(wait_of(none), None, "{none}");
        }
    }
}
