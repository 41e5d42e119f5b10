//! The one HTTP client of a process: how long it waits for a connection, which redirects it follows, whom it trusts.

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio_rustls::rustls;

use super::Error as HttpError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_REDIRECTS: usize = 10;

/// What asks servers. Its pool of connections is shared by all requests.
pub struct Client {
    client: reqwest::Client,
    /// Whether there are CA certificates, without which no HTTPS server is believed.
    has_roots: bool,
}

impl Client {
    /// A client that gives a server up after `stall` of silence.
    pub fn new(stall: Duration) -> Result<Client, HttpError> {
        // reqwest refuses to be set up without CA certificates. Mirrors in plain HTTP need none.
        match builder(stall).build() {
            Ok(client) => Ok(Client { client, has_roots: true }),
            Err(why) => match builder(stall).tls_certs_only([]).build() {
                Ok(client) => Ok(Client { client, has_roots: false }),
                Err(_) => Err(HttpError::Client(why)),
            },
        }
    }

    /// The client for this URL: an error if no server could be believed that it names.
    pub fn to_ask(&self, url: &str) -> Result<&reqwest::Client, HttpError> {
        match self.has_roots || !url.starts_with("https:") {
            true => Ok(&self.client),
            false => Err(HttpError::NoRoots { url: url.into() }),
        }
    }
}

/// Whether a request failed because of the server's certificate.
pub fn is_distrust(error: &reqwest::Error) -> bool {
    std::iter::successors(error.source(), |&cause| cause.source()).any(names_a_certificate)
}

/// An `io::Error` hides what it holds, for its source is that of what it holds; hyper-rustls has one in another.
fn names_a_certificate(cause: &(dyn Error + 'static)) -> bool {
    match cause.downcast_ref::<io::Error>() {
        Some(outer) => outer.get_ref().is_some_and(|held| names_a_certificate(held)),
        None => matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))),
    }
}

fn builder(stall: Duration) -> reqwest::ClientBuilder {
    let redirects = reqwest::redirect::Policy::custom(|attempt| {
        let secure = attempt.previous().iter().any(|url| url.scheme() == "https");
        match () {
            _ if attempt.previous().len() > MAX_REDIRECTS => attempt.error("too many redirects"),
            _ if secure && attempt.url().scheme() != "https" => attempt.error("redirect from https to http"),
            _ => attempt.follow(),
        }
    });
    reqwest::Client::builder()
        .user_agent(concat!("prebake/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(stall)
        .redirect(redirects)
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError::UnknownIssuer;

    use super::*;

    #[test]
    fn a_certificate_is_found_however_deep_it_is_wrapped() {
        let tls =
            io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(UnknownIssuer));
        assert!(names_a_certificate(&io::Error::other(tls)));
        let closed = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::HandshakeNotComplete);
        assert!(!names_a_certificate(&io::Error::other(closed)));
        assert!(!names_a_certificate(&io::Error::from(io::ErrorKind::ConnectionReset)));
    }
}
