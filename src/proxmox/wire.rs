//! Requests to one Proxmox VE: their limits, the token, the file that one of them carries, and tasks.
//!
//! Requests that only ask are repeated where a server is busy; one that changes something is sent once, for nobody knows whether
//! a lost answer was one to something done: the next run looks. The token goes to the named server alone, never by a proxy or a
//! redirect, and is taken out of whatever comes back. Leaves the meaning of answers to [`document`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use hyper::ext::ReasonPhrase;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use url::Url;

use super::call::{Call, part};
use super::document::{self, State, Task};
use super::token::Token;
use super::{Error, Limits};
use crate::base::digest::Sha256;
use crate::base::words;
use crate::trust::tls::{Distrust, Roots, is_cut, is_plain, pinned};

/// Longest answer, in bytes: all VMs of a large cluster are some megabytes.
const LONGEST: usize = 16 << 20;
/// Longest word of a server that is told, in bytes.
const LONGEST_WORDS: usize = 2000;
/// Most tries of a request that only asks.
const TRIES: u32 = 4;
/// Bytes of a file that are read at once.
const CHUNK: usize = 256 << 10;
/// Beginning of all paths.
const API: &str = "/api2/json";
/// Between the parts of an upload's body. It must not occur in a file, of which nobody knows before; 32 digits of the file's
/// own digest are no accident.
const BOUNDARY: &str = "prebake";
/// Proxmox VE's codes for a node that its proxy cannot reach, or not by TLS (`PVE::APIServer::AnyEvent`).
const UNREACHED: [u16; 2] = [595, 596];

/// By what the server's certificate is believed.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// The system's authorities.
    System,
    /// These certificates in PEM, beside the system's.
    Authority {
        /// The certificates.
        pem: Vec<u8>,
        /// The file that they are from.
        place: String,
    },
    /// The digest of the certificate itself.
    Certificate(Sha256),
}

/// The way to one Proxmox VE.
#[derive(Debug)]
pub(crate) struct Wire {
    client: reqwest::Client,
    /// Scheme, host and port.
    origin: Url,
    token: Token,
    limits: Limits,
}

/// A file to send.
pub(crate) struct Sent<'s> {
    /// The opened file.
    pub file: &'s Arc<File>,
    /// Its length in bytes.
    pub length: u64,
    /// Its digest.
    pub sha256: Sha256,
}

impl Wire {
    pub fn new(url: &str, token: Token, trust: &Trust, limits: Limits) -> Result<Wire, Error> {
        let origin = origin(url)?;
        let failed = |why: String| Error::Client { url: name(&origin), why };
        let tls = match trust {
            Trust::System => Roots::system().client(),
            Trust::Authority { pem, place } => Roots::system()
                .and(pem)
                .map_err(|why| Error::Authority { place: place.clone(), why: why.to_string() })?
                .client(),
            Trust::Certificate(digest) => pinned(*digest),
        };
        let mut tls = tls.map_err(|error| failed(error.to_string()))?;
        // Its server knows no HTTP/2, and says the reason of a refusal in the status line.
        tls.alpn_protocols = vec!["http/1.1".into()];
        let client = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            // Its server ends idle connections after 5 s; a call that changes something must not meet that end.
            .pool_idle_timeout(Duration::from_secs(3))
            .user_agent(concat!("prebake/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect)
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(tls);
        let client = client.build().map_err(|error| failed(error.to_string()))?;
        Ok(Wire { client, origin, token, limits })
    }

    /// The server's URL, for people.
    pub fn name(&self) -> String {
        name(&self.origin)
    }

    /// The token's name.
    pub fn token(&self) -> &str {
        self.token.name()
    }

    /// Asks for a document.
    pub async fn get(
        &self,
        path: String,
        parameters: Vec<(&'static str, String)>,
        action: &str,
    ) -> Result<Value, Error> {
        self.send(&Call::get(path, parameters, action)).await
    }

    /// Sends a call, and returns its data.
    pub async fn send(&self, call: &Call) -> Result<Value, Error> {
        let asks = call.method == Method::GET;
        let mut pause = self.limits.poll;
        for tries in 1.. {
            let done = self.once(self.request(call)?.timeout(self.limits.request), call).await;
            let again = match &done {
                Err(Error::Silent { source, .. }) => source.is_connect() || asks,
                Err(Error::Unreached { .. }) => asks,
                Err(Error::Stranger { why, .. }) => asks && why.starts_with("50"),
                _ => false,
            };
            if !again || tries == TRIES {
                return done;
            }
            sleep(pause).await;
            pause = (pause * 2).min(self.limits.longest_poll);
        }
        unreachable!("the last try returns")
    }

    /// Sends a file with a call; `told` hears how many bytes have gone.
    pub async fn upload(&self, call: &Call, sent: Sent<'_>, told: &dyn Fn(u64)) -> Result<Value, Error> {
        let boundary = format!("{BOUNDARY}{}", &sent.sha256.to_string()[..32]);
        let (head, tail) = frame(call, &boundary);
        let length = head.len() as u64 + sent.length + tail.len() as u64;
        let gone = Arc::new(AtomicU64::new(0));
        let body = stream::iter([Ok(Bytes::from(head))])
            .chain(pieces(sent.file.clone(), sent.length, gone.clone()))
            .chain(stream::iter([Ok::<_, io::Error>(Bytes::from(tail))]));
        // Proxmox VE's server takes no body in chunks (RFC 9112 §7.1), so that the length is said.
        let request = self
            .client
            .request(call.method.clone(), self.target(&call.path)?)
            .header(AUTHORIZATION, self.token.header())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"))
            .header(CONTENT_LENGTH, length)
            .body(Body::wrap_stream(body));
        let mut work = Box::pin(self.once(request, call));
        let (mut before, mut since) = (0, Instant::now());
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(Duration::from_millis(250)) => {}
            }
            let now = gone.load(Ordering::Relaxed);
            told(now);
            if now != before {
                (before, since) = (now, Instant::now());
            } else if since.elapsed() >= self.limits.stall {
                let url = format!("{}{}", self.name(), call.path);
                return Err(Error::Stalled { url, patience: self.limits.stall });
            }
        }
    }

    /// Waits for the end of a task that a call began; what it warns about.
    pub async fn wait(&self, data: &Value, call: &Call) -> Result<Option<String>, Error> {
        // Some calls are done when they answer.
        if data.is_null() {
            return Ok(None);
        }
        let task = document::task(data).ok_or_else(|| Error::Stranger {
            url: format!("{}{}", self.name(), call.path),
            why: "it names no task".into(),
        })?;
        match self.follow(&task, &call.action).await? {
            State::Failed(words) => {
                Err(Error::Task { action: call.action.clone(), words: self.said(&words) })
            }
            State::Done(words) => Ok(words.map(|words| self.said(&words))),
            State::Running => unreachable!("a task is followed to its end"),
        }
    }

    /// The end of a task.
    pub async fn follow(&self, task: &Task, action: &str) -> Result<State, Error> {
        let began = Instant::now();
        let mut pause = self.limits.poll;
        let path = format!("/nodes/{}/tasks/{}/status", part(&task.node), part(&task.id));
        loop {
            let data = self.get(path.clone(), Vec::new(), "tell how far a task is").await?;
            match document::state(&data) {
                Some(State::Running) => {}
                Some(state) => return Ok(state),
                None => {
                    let url = format!("{}{path}", self.name());
                    return Err(Error::Stranger { url, why: "it tells no task's state".into() });
                }
            }
            if began.elapsed() >= self.limits.task {
                return Err(Error::Slow { action: action.to_owned(), patience: self.limits.task });
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(self.limits.longest_poll);
        }
    }

    fn target(&self, path: &str) -> Result<Url, Error> {
        self.origin
            .join(&format!("{API}{path}"))
            .map_err(|_| Error::Url { url: self.name(), why: "a name in it cannot be written in a URL" })
    }

    fn request(&self, call: &Call) -> Result<RequestBuilder, Error> {
        let mut url = self.target(&call.path)?;
        let has_body = matches!(call.method, Method::POST | Method::PUT);
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(call.parameters.iter().map(|(key, value)| (*key, value.as_str())));
        let form = form.finish();
        if !has_body && !form.is_empty() {
            url.set_query(Some(&form));
        }
        let request = self
            .client
            .request(call.method.clone(), url)
            .header(AUTHORIZATION, self.token.header())
            .header(ACCEPT, "application/json");
        Ok(match has_body {
            true => request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form),
            false => request,
        })
    }

    async fn once(&self, request: RequestBuilder, call: &Call) -> Result<Value, Error> {
        let url = || format!("{}{}", self.name(), call.path);
        let response = request.send().await.map_err(|source| failed(url(), source))?;
        let status = response.status();
        if status.is_redirection() {
            let to =
                response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("another place");
            let to = self.said(&crate::base::url::masked(to));
            return Err(Error::Elsewhere { url: url(), to });
        }
        let reason = reason(&response);
        let body = read(response, &url()).await?;
        let read = document::envelope(&body);
        if status.is_success() {
            return match read {
                Ok(envelope) => Ok(envelope.data),
                Err(why) => Err(Error::Stranger { url: url(), why: self.said(&why) }),
            };
        }
        let words = match read {
            Ok(envelope) => envelope.words.or(reason),
            // Refusals by the server itself have their words as the whole body.
            Err(_) => match words::page(&body) {
                Some(_) => None,
                None => reason.or_else(|| short(&body)),
            },
        };
        let is_page = words::page(&body).is_some();
        let words = words.map(|words| self.said(&words));
        let action = call.action.clone();
        let told = words.clone().unwrap_or_else(|| status.to_string());
        Err(match status {
            // A proxy's own page, whatever its code.
            _ if is_page => {
                let why = document::envelope(&body).err().unwrap_or_default();
                Error::Stranger { url: url(), why: format!("{}: {}", status.as_u16(), self.said(&why)) }
            }
            StatusCode::UNAUTHORIZED => {
                Error::Denied { url: self.name(), token: self.token.name().into(), words: told }
            }
            StatusCode::FORBIDDEN => {
                Error::Forbidden { token: self.token.name().into(), action, words: told }
            }
            status if UNREACHED.contains(&status.as_u16()) => {
                let node = call.path.strip_prefix("/nodes/").and_then(|path| path.split('/').next());
                Error::Unreached { node: node.unwrap_or("that is asked").into(), words: told }
            }
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Error::Stranger { url: url(), why: told_code(status, words) }
            }
            _ => Error::Refused { action, words: told },
        })
    }

    /// A text of the server's for people: safe for a terminal, not endless, and without the token's secret.
    pub(super) fn said(&self, text: &str) -> String {
        words::printable(&self.token.hidden(&cut(text)))
    }
}

fn told_code(status: StatusCode, words: Option<String>) -> String {
    words.map_or_else(|| status.to_string(), |words| format!("{}: {words}", status.as_u16()))
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST_WORDS).collect()
}

/// Scheme, host and port of an API's URL.
fn origin(text: &str) -> Result<Url, Error> {
    let wrong = |why| Error::Url { url: crate::base::url::masked(text), why };
    let mut url = Url::parse(text).map_err(|_| wrong("it is no URL"))?;
    if url.scheme() != "https" {
        return Err(wrong("its scheme is not https, and the token would go in clear text"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it has a user; the token takes that place"));
    }
    if !matches!(url.path().trim_end_matches('/'), "" | API)
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(wrong("it has a path"));
    }
    url.set_path("/");
    Ok(url)
}

fn name(origin: &Url) -> String {
    origin.as_str().trim_end_matches('/').to_owned()
}

fn failed(url: String, source: reqwest::Error) -> Error {
    match Distrust::of(&source) {
        Some(distrust) => Error::Impostor { url, distrust },
        None if is_plain(&source) || is_cut(&source) => Error::Plain { url },
        None => Error::Silent { url, source: source.without_url() },
    }
}

/// The words of a status line that are not the code's own.
fn reason(response: &Response) -> Option<String> {
    let phrase = response.extensions().get::<ReasonPhrase>()?;
    let text = String::from_utf8_lossy(phrase.as_bytes()).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// A body that is a line of text.
fn short(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    (!text.is_empty() && text.len() <= LONGEST_WORDS && !text.starts_with(['{', '[']))
        .then(|| text.to_owned())
}

async fn read(mut response: Response, url: &str) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(|source| failed(url.to_owned(), source))? {
        if body.len() + bytes.len() > LONGEST {
            return Err(Error::Stranger {
                url: url.to_owned(),
                why: "its answer is larger than 16 MiB".into(),
            });
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

/// The bytes before and behind the file in an upload's body (RFC 7578). Proxmox VE wants the header of the disposition
/// before that of the type, and the fields in the order of the call.
fn frame(call: &Call, boundary: &str) -> (Vec<u8>, Vec<u8>) {
    let mut head = String::new();
    for (key, value) in &call.parameters {
        head += &match *key {
            "filename" => format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{key}\"; filename=\"{value}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            ),
            key => {
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{key}\"\r\n\r\n{value}\r\n")
            }
        };
    }
    (head.into_bytes(), format!("\r\n--{boundary}--\r\n").into_bytes())
}

/// A file's bytes, piece by piece; one that has become shorter is an error. `gone` has the number of those that were handed on.
fn pieces(
    file: Arc<File>,
    length: u64,
    gone: Arc<AtomicU64>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(0_u64, move |at| {
        let (file, gone) = (file.clone(), gone.clone());
        async move {
            if at == length {
                return Ok(None);
            }
            let count = (length - at).min(CHUNK as u64) as usize;
            let read = tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; count];
                file.read_exact_at(&mut buffer, at).map(|()| buffer)
            });
            let buffer = read.await.map_err(io::Error::other)??;
            let at = at + count as u64;
            gone.store(at, Ordering::Relaxed);
            Ok(Some((Bytes::from(buffer), at)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_that_of_an_api_over_https_without_a_user() {
        for text in ["https://pve.lab:8006", "https://pve.lab:8006/", "https://pve.lab:8006/api2/json/"] {
            assert_eq!(name(&origin(text).unwrap()), "https://pve.lab:8006");
        }
        assert_eq!(name(&origin("https://[fd00::1]:8006").unwrap()), "https://[fd00::1]:8006");
        for text in [
            "http://pve.lab:8006",
            "pve.lab:8006",
            "https://u:geheim@pve.lab",
            "https://pve.lab/x",
            "ftp://h",
            "",
        ] {
            let error = origin(text).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
