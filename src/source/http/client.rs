//! The one HTTP client of a process: its connect timeouts, the redirects that it follows, the certificates that it
//! trusts, and the proxies that it uses.
//!
//! Redirects are followed here and not by reqwest: reqwest's errors name the first URL and never the unreachable one,
//! and on a 307 it sends a form with a refresh token along to any host.

use crate::base::words;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use super::Error;
use super::asked::Asked;
use super::proxy::{Proxies, Proxy};
use crate::trust::tls::{self, Distrust, Roots};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_REDIRECTS: usize = 10;
/// How long a proxy may take to repeat the reason of its refusal.
const PROXY_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests to servers, which share one pool of connections.
pub(crate) struct Client {
    client: reqwest::Client,
    roots: Roots,
    proxies: Proxies,
}

/// A request before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Request<'r> {
    /// May hold a user and a password, which are sent in a header.
    pub url: &'r str,
    /// Headers for every host.
    pub headers: HeaderMap,
    /// `Authorization` for this URL's host and no other.
    pub login: Option<HeaderValue>,
    /// A form to post. It holds credentials, so no other host gets it either.
    pub form: Option<String>,
}

impl<'r> Request<'r> {
    /// A plain GET.
    pub(crate) fn get(url: &'r str) -> Self {
        Request { url, headers: HeaderMap::new(), login: None, form: None }
    }
}

impl Client {
    /// A client that gives up a server after `stall` of silence.
    pub(crate) fn new(stall: Duration) -> Result<Client, Error> {
        let (roots, proxies) = (Roots::system(), Proxies::of_environment());
        let chosen = proxies.clone();
        let proxy =
            reqwest::Proxy::custom(move |url| chosen.of(url).ok().flatten().map(|proxy| proxy.url.clone()));
        // The signed bytes are the stored bytes, so servers need not compress them, and after this header they may not.
        let unpacked = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        let client = reqwest::Client::builder()
            .user_agent(concat!("prebake/", env!("CARGO_PKG_VERSION")))
            .default_headers(unpacked)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(stall)
            .redirect(reqwest::redirect::Policy::none())
            .proxy(proxy)
            .tls_backend_preconfigured(roots.client().map_err(Error::Tls)?)
            .build()
            .map_err(Error::Client)?;
        Ok(Client { client, roots, proxies })
    }

    /// Sends a request and follows redirects. All other answers are left to the caller.
    ///
    /// # Errors
    /// Errors of connections, proxies and certificates, and redirects that are not followed.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<(Response, Asked), Error> {
        let Request { url, headers, mut login, mut form } = request;
        let mut asked = Asked::from(url);
        let mut url =
            Url::parse(url).map_err(|why| Error::Url { url: asked.clone(), why: why.to_string() })?;
        login = login.or(take_login(&mut url));
        let origin = url.origin();
        let mut is_secure = false;
        for _ in 0..=MAX_REDIRECTS {
            is_secure |= url.scheme() == "https";
            let proxy = self.way(&asked, &url)?;
            let mut builder = match &form {
                Some(form) => self
                    .client
                    .post(url.clone())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.clone()),
                None => self.client.get(url.clone()),
            };
            if let Some(login) = &login {
                builder = builder.header(AUTHORIZATION, login);
            }
            let response = match builder.headers(headers.clone()).send().await {
                Ok(response) => response,
                Err(source) => return Err(failed(&asked, &url, proxy, source).await),
            };
            let Some(target) = target(&response) else { return Ok((response, asked)) };
            let refused = |why: String| Error::Redirect { url: asked.clone(), why };
            let mut target = target.map_err(&refused)?;
            let shown = asked.sent_on(&target);
            // Credentials in a redirect's URL are not ours, so they are dropped.
            take_login(&mut target);
            match target.scheme() {
                "https" => {}
                "http" if is_secure => {
                    return Err(Error::Redirect { url: shown, why: "redirect from https to http".into() });
                }
                "http" => {}
                other => return Err(refused(format!("redirect to {other}:, which is not supported"))),
            }
            if target.origin() != origin {
                if form.is_some() {
                    let why = "redirect to another host, which must not get its credentials".into();
                    return Err(Error::Redirect { url: shown, why });
                }
                login = None;
            }
            // RFC 9110 §15.4: only 307 and 308 repeat the request with its body.
            if !matches!(response.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
                form = None;
            }
            (asked, url) = (shown, target);
        }
        Err(Error::Redirect { url: asked, why: "too many redirects".into() })
    }

    /// The proxy for a URL; an error if the URL cannot be requested at all.
    fn way(&self, asked: &Asked, url: &Url) -> Result<Option<&Proxy>, Error> {
        if url.scheme() == "https" && self.roots.are_none() {
            return Err(Error::NoRoots { url: asked.clone(), troubles: self.roots.troubles().join("; ") });
        }
        self.proxies.of(url).map_err(|bad| Error::Proxy { url: asked.clone(), bad: bad.clone() })
    }

    /// The proxy through which an answer came.
    pub(crate) fn proxy_of(&self, response: &Response) -> Option<&Proxy> {
        self.proxies.of(response.url()).ok().flatten()
    }
}

/// Removes user and password from a URL, and returns them as `Authorization`.
fn take_login(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let login = basic(&decoded(url.username()), &decoded(url.password().unwrap_or_default()));
    // Fails only for URLs without a host, which have none.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    Some(login)
}

/// HTTP's Basic authentication (RFC 7617).
pub(crate) fn basic(user: &str, password: &str) -> HeaderValue {
    let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let mut value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// The target of an answer's redirect, if it is one.
fn target(response: &Response) -> Option<Result<Url, String>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    let joined =
        std::str::from_utf8(location.as_bytes()).ok().and_then(|text| response.url().join(text).ok());
    Some(joined.ok_or_else(|| "redirect to an invalid URL".into()))
}

/// The error of a request that got no answer.
async fn failed(asked: &Asked, url: &Url, proxy: Option<&Proxy>, source: reqwest::Error) -> Error {
    let Some(proxy) = proxy.filter(|_| source.is_connect() && Distrust::of(&source).is_none()) else {
        return transport(asked, source);
    };
    let causes = std::iter::successors(std::error::Error::source(&source), |&cause| cause.source());
    let tunnel = causes.map(ToString::to_string).find(|text| text.starts_with("tunnel error"));
    let name = proxy.name();
    let what = match tunnel.as_deref() {
        Some(text) if text.contains("authorization") => {
            format!("the proxy {name} answered 407: it requires a login")
        }
        Some(text) if text.contains("unsuccessful") => match refusal(proxy, url).await {
            Some(status) => format!("the proxy {name} answered {status}"),
            None => format!("the proxy {name} refuses to connect"),
        },
        _ => format!("no connection through the proxy {name}"),
    };
    Error::Transport { url: asked.clone(), what, source: source.without_url() }
}

/// Asks a proxy once more for a tunnel, to learn the status, which hyper does not expose.
async fn refusal(proxy: &Proxy, url: &Url) -> Option<String> {
    let ask = async {
        let (host, port) = (proxy.url.host_str()?, proxy.url.port_or_known_default()?);
        let mut stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await.ok()?;
        let target = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        let login = take_login(&mut proxy.url.clone());
        let login =
            login.and_then(|login| Some(format!("Proxy-Authorization: {}\r\n", login.to_str().ok()?)));
        let head =
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", login.unwrap_or_default());
        stream.write_all(head.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        while !answer.contains(&b'\n') && answer.len() < 1024 {
            let mut buffer = [0; 512];
            match stream.read(&mut buffer).await.ok()? {
                0 => break,
                read => answer.extend_from_slice(&buffer[..read]),
            }
        }
        let line = String::from_utf8_lossy(&answer);
        let status = line.lines().next()?.split_once(' ')?.1;
        status.starts_with(|digit: char| digit.is_ascii_digit()).then(|| words::printable(status.trim()))
    };
    (proxy.url.scheme() == "http").then_some(())?;
    tokio::time::timeout(PROXY_TIMEOUT, ask).await.ok().flatten()
}

/// The error for a connection that failed or broke.
pub(crate) fn transport(asked: &Asked, source: reqwest::Error) -> Error {
    if let Some(distrust) = Distrust::of(&source) {
        return Error::Impostor { url: asked.clone(), distrust, source: source.without_url() };
    }
    let what = match () {
        _ if source.is_timeout() => "it did not answer in time",
        _ if tls::is_cut(&source) => {
            "the connection broke during the TLS handshake (is it an http: address?)"
        }
        _ if tls::is_plain(&source) => "the server does not speak TLS (is it an http: address?)",
        _ if source.is_connect() => "no connection",
        _ if source.is_builder() => "this URL cannot be requested",
        _ => "the connection broke",
    };
    Error::Transport { url: asked.clone(), what: what.into(), source: source.without_url() }
}
