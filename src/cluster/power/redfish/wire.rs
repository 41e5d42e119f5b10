//! Requests to one BMC: their limits, who asks, and what is done about a busy server.
//!
//! The password is sent by Basic authentication, which leaves nothing behind on the BMC; where that is switched off, by a session, which
//! is ended afterwards, for BMCs have few. It never leaves for another server, and is taken out of whatever a BMC says about it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, LOCATION, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;
use url::Url;
use zeroize::Zeroizing;

use super::super::{Error, Limits};
use super::{document, site};
use crate::base::words;
use crate::trust::tls::{Distrust, Roots};

/// Longest answer, in bytes. A system with all of its links is some 20 KiB.
const LONGEST: usize = 4 << 20;
/// Most redirects, all of them within the BMC: some add or drop the last slash.
const REDIRECTS: usize = 3;
/// Most tries of a request.
const TRIES: u32 = 6;
/// Longest that a BMC may ask to wait between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A BMC's word for a session (DSP0266 §13.3.4).
const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// Place in which secrets stood.
const MASK: &str = "***";

/// The way to one BMC.
pub(super) struct Wire {
    client: reqwest::Client,
    origin: Url,
    user: String,
    password: Zeroizing<String>,
    limits: Limits,
    entry: Mutex<Entry>,
}

/// How requests prove whose they are.
#[derive(Default)]
struct Entry {
    /// Where sessions are made.
    sessions: Option<String>,
    /// The session, if there is one.
    session: Option<Session>,
}

#[derive(Clone)]
struct Session {
    token: HeaderValue,
    path: Option<String>,
}

/// Passwords and tokens are left out.
impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("origin", &site(&self.origin))
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub etag: Option<String>,
    pub body: Vec<u8>,
    headers: HeaderMap,
}

impl Wire {
    pub(super) fn new(
        url: &Url,
        user: &str,
        password: Zeroizing<String>,
        insecure: bool,
        limits: Limits,
    ) -> Result<Wire, Error> {
        let failed = |why: String| Error::Client { url: site(url), why };
        // BMCs are on a network of their own, which no proxy reaches. Redirects are followed here, where credentials are known.
        let client = reqwest::Client::builder()
            .no_proxy()
            .user_agent(concat!("prebake/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect)
            .timeout(limits.request)
            .redirect(reqwest::redirect::Policy::none());
        let client = match insecure {
            true => client.danger_accept_invalid_certs(true),
            false => {
                let tls = Roots::system().client().map_err(|error| failed(error.to_string()))?;
                client.tls_backend_preconfigured(tls)
            }
        };
        let client = client.build().map_err(|error| failed(error.to_string()))?;
        let mut origin = url.clone();
        // A user in the URL would be shown, and sent beside the description's own.
        let _ = origin.set_username("").and_then(|()| origin.set_password(None));
        origin.set_path("/");
        origin.set_query(None);
        origin.set_fragment(None);
        Ok(Wire { client, origin, user: user.to_owned(), password, limits, entry: Mutex::default() })
    }

    /// The BMC's URL, for people.
    pub(super) fn name(&self) -> String {
        site(&self.origin)
    }

    pub(super) fn key(&self) -> String {
        format!("{}\n{}", self.origin, self.user)
    }

    /// The URL of a resource, for people.
    pub(super) fn shown(&self, path: &str) -> String {
        self.said(&format!("{}{path}", self.name()))
    }

    /// A text of this BMC for people: safe for a terminal, and without what it was told in confidence.
    pub(super) fn said(&self, text: &str) -> String {
        words::printable(&self.hidden(text))
    }

    pub(super) fn denied(&self, path: &str, status: StatusCode) -> Error {
        Error::Denied { url: self.shown(path), user: self.user.clone(), status }
    }

    pub(super) fn sessions_at(&self, path: Option<String>) {
        self.entry().sessions = path;
    }

    /// A refusal's reason, for people.
    pub(super) fn told(&self, status: StatusCode, body: &[u8]) -> String {
        document::reason(body).map_or_else(|| status.to_string(), |reason| self.said(&reason))
    }

    /// Fetches a resource that anybody may read.
    pub(super) async fn open(&self, path: &str) -> Result<Answer, Error> {
        let answer = self.tried(&Method::GET, path, None, None, false).await?;
        // Some want a login even for the root.
        match answer.status {
            StatusCode::UNAUTHORIZED => self.get(path).await,
            _ => self.good(path, answer),
        }
    }

    /// Fetches a resource.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, Error> {
        let answer = self.send(Method::GET, path, None, None).await?;
        self.good(path, answer)
    }

    fn good(&self, path: &str, answer: Answer) -> Result<Answer, Error> {
        match answer.status {
            status if status.is_success() => Ok(answer),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(self.denied(path, status)),
            StatusCode::NOT_FOUND => {
                Err(Error::Stranger { url: self.shown(path), why: "it has no such resource (404)".into() })
            }
            status => {
                let words = document::reason(&answer.body).map(|reason| self.said(&reason));
                Err(Error::Refused { url: self.shown(path), action: "the request", status, words })
            }
        }
    }

    /// Sends a request with the user's proof. All answers are left to the caller, other than redirects, busy servers, and the request for
    /// a session.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Answer, Error> {
        let answer = self.tried(&method, path, body, etag, true).await?;
        let is_basic_refused = answer.status == StatusCode::UNAUTHORIZED && self.entry().session.is_none();
        if is_basic_refused && !offers_basic(&answer.headers) && self.log_in().await? {
            return self.tried(&method, path, body, etag, true).await;
        }
        Ok(answer)
    }

    /// Makes a session; `false` if this BMC has none.
    async fn log_in(&self) -> Result<bool, Error> {
        // The path of the specification (DSP0266 §13.3.4.2), for a system that the description names: no root was read then.
        let path =
            self.entry().sessions.clone().unwrap_or_else(|| "/redfish/v1/SessionService/Sessions".into());
        let body = json!({ "UserName": self.user, "Password": self.password.as_str() });
        let answer = self.tried(&Method::POST, &path, Some(&body), None, false).await?;
        let Some(mut token) = answer.headers.get(TOKEN).cloned().filter(|_| answer.status.is_success())
        else {
            return match answer.status {
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(false),
                status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST) => {
                    Err(self.denied(&path, status))
                }
                _ => self.good(&path, answer).map(|_| false),
            };
        };
        token.set_sensitive(true);
        let location = answer.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let location =
            location.and_then(|location| self.target(location).ok()).map(|url| url.path().to_owned());
        self.entry().session = Some(Session { token, path: location });
        Ok(true)
    }

    /// Ends the session, if there is one.
    pub(super) async fn leave(&self) {
        let path = self.entry().session.as_ref().and_then(|session| session.path.clone());
        if let Some(path) = path {
            // One that stays ends by itself some time.
            let _ = self.once(&Method::DELETE, &path, None, None, true).await;
        }
        self.entry().session = None;
    }

    /// Sends a request until the BMC has time for it.
    async fn tried(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
        with_proof: bool,
    ) -> Result<Answer, Error> {
        let mut pause = self.limits.pause;
        for tries in 1.. {
            let answer = self.once(method, path, body, etag, with_proof).await;
            let again = match &answer {
                _ if tries == TRIES => None,
                // Neither was done. iDRACs answer so while they start, others while the machine does.
                Ok(Answer {
                    status: StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS,
                    headers,
                    ..
                }) => {
                    let asked =
                        headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.trim().parse().ok());
                    Some(asked.map_or(pause, Duration::from_secs).min(LONGEST_PAUSE))
                }
                Ok(answer) if *method == Method::GET && answer.status.is_server_error() && tries < 3 => {
                    Some(pause)
                }
                Err(Error::Silent { source, .. }) if tries < 3 && may_be_repeated(method, source) => {
                    Some(pause)
                }
                _ => None,
            };
            let Some(again) = again else { return answer };
            sleep(again + jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        unreachable!("the last try returns")
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
        with_proof: bool,
    ) -> Result<Answer, Error> {
        let mut url = self.target(path)?;
        for _ in 0..=REDIRECTS {
            let mut request =
                self.client.request(method.clone(), url.clone()).header(ACCEPT, "application/json");
            // OData-Version is asked for by DSP0266 §6.5, and refused without by some.
            request = request.header("OData-Version", "4.0");
            if with_proof {
                let (name, value) = self.proof();
                request = request.header(name, value);
            }
            if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
                request = request.header(IF_MATCH, etag);
            }
            if let Some(body) = body {
                let bytes = Zeroizing::new(body.to_string());
                request = request.header("Content-Type", "application/json").body(bytes.as_bytes().to_vec());
            }
            let silent = |source| self.failed(&url, source);
            let response = request.send().await.map_err(silent)?;
            let location =
                response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
            match location.filter(|_| response.status().is_redirection() && *method == Method::GET) {
                None => return self.answer(&url, response).await,
                Some(to) => {
                    let to = url.join(&to).map_err(|_| self.elsewhere(&url, &to))?;
                    if to.origin() != self.origin.origin() {
                        return Err(self.elsewhere(&url, to.as_str()));
                    }
                    url = to;
                }
            }
        }
        Err(Error::Stranger { url: self.shown(path), why: "it redirects in a circle".into() })
    }

    async fn answer(&self, url: &Url, mut response: Response) -> Result<Answer, Error> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(|source| self.failed(url, source))? {
            if body.len() + bytes.len() > LONGEST {
                let why = "its answer is larger than 4 MiB".to_owned();
                return Err(Error::Stranger { url: self.shown(url.path()), why });
            }
            body.extend_from_slice(&bytes);
        }
        let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        Ok(Answer { status, etag, body, headers })
    }

    /// The URL of a path that the BMC or the description names.
    fn target(&self, path: &str) -> Result<Url, Error> {
        let url = self.origin.join(path).map_err(|_| self.elsewhere(&self.origin, path))?;
        let is_ours =
            url.origin() == self.origin.origin() && url.username().is_empty() && url.password().is_none();
        if is_ours { Ok(url) } else { Err(self.elsewhere(&self.origin, path)) }
    }

    fn elsewhere(&self, url: &Url, to: &str) -> Error {
        let to = self.said(&crate::base::url::masked(to));
        Error::Elsewhere { url: self.shown(url.path()), to }
    }

    fn failed(&self, url: &Url, source: reqwest::Error) -> Error {
        let url = self.shown(url.path());
        match Distrust::of(&source) {
            Some(distrust) => Error::Impostor { url, distrust },
            None => Error::Silent { url, source: source.without_url() },
        }
    }

    fn proof(&self) -> (HeaderName, HeaderValue) {
        if let Some(session) = &self.entry().session {
            return (TOKEN, session.token.clone());
        }
        let pair = Zeroizing::new(format!("{}:{}", self.user, self.password.as_str()));
        let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        // Base64 is always a header's text.
        let mut value = HeaderValue::from_str(&basic).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
        value.set_sensitive(true);
        (AUTHORIZATION, value)
    }

    /// A text of the BMC's without what it was told in confidence.
    fn hidden(&self, text: &str) -> String {
        let pair = Zeroizing::new(STANDARD.encode(format!("{}:{}", self.user, self.password.as_str())));
        let mut text = text.replace(pair.as_str(), MASK);
        // In a text of few letters every place would be one.
        if self.password.len() > 2 {
            text = text.replace(self.password.as_str(), MASK);
        }
        let token =
            self.entry().session.as_ref().and_then(|session| session.token.to_str().ok().map(str::to_owned));
        match token.filter(|token| !token.is_empty()) {
            Some(token) => text.replace(&token, MASK),
            None => text,
        }
    }

    fn entry(&self) -> std::sync::MutexGuard<'_, Entry> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a server that refuses says that Basic would do: then it is the password that is wrong, and trying it another way would only
/// bring the user nearer to being locked out.
fn offers_basic(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|offer| offer.to_str().ok());
    offers.flat_map(|offer| offer.split(',')).any(|offer| {
        offer.split_whitespace().next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"))
    })
}

/// Whether a request that failed has changed nothing.
fn may_be_repeated(method: &Method, error: &reqwest::Error) -> bool {
    // A connection that was never made carried nothing; time limits are not waited for again.
    !error.is_timeout() && (*method == Method::GET || error.is_connect())
}

/// A random time below a fifth of another, so that many who were refused together do not come back together.
fn jitter(pause: Duration) -> Duration {
    super::super::fleet::random_below(pause / 5)
}
