//! A client of a running server, for the commands that watch one.

use std::net::Ipv6Addr;
use std::time::Duration;

use reqwest::Client;
use serde::de::DeserializeOwned;
use url::Url;

use super::status::SCHEMA;
use crate::base::error::{Advice, Exit};
use crate::base::url::masked;
use crate::base::words;
use crate::serve::address::{Address, Malformed};
use crate::trust::tls::{Distrust, Roots};

/// How long to wait for a server's answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer, in bytes: some thousand times a machine's row.
const MAX_ANSWER: usize = 64 << 20;

/// The default port.
pub(crate) const PORT: u16 = 8080;

/// The URL of a server that the user named: as a URL, as `HOST:PORT`, or by host or port alone. An address such as
/// 0.0.0.0, on which a server listens, becomes the loopback address.
///
/// # Errors
/// Why the name is malformed, for people.
pub(crate) fn server_url(text: &str) -> Result<String, String> {
    let url = match text.parse::<Address>() {
        Ok(address) if address.is_every() => format!("http://127.0.0.1:{}", address.port()),
        Ok(address) => format!("http://{address}"),
        Err(Malformed::Url) => text.to_owned(),
        Err(Malformed::NoPort(_)) => format!("http://{text}:{PORT}"),
        Err(Malformed::Colons) if text.parse::<Ipv6Addr>().is_ok() => format!("http://[{text}]:{PORT}"),
        Err(why) => return Err(why.to_string()),
    };
    let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    match Url::parse(&url) {
        Ok(parsed) if is_http(&parsed) => Ok(url),
        Ok(_) => Err("it is not an http or https URL".into()),
        Err(error) => Err(format!("it is not a URL: {error}")),
    }
}

/// A running server.
pub(crate) struct Server {
    client: Client,
    url: String,
}

impl Server {
    /// The server at a URL, such as `http://10.0.0.2:8080`; `ca`, if given, is the content of a PEM file with
    /// certificates to trust in addition to the system's.
    pub(crate) fn new(url: &str, ca: Option<&[u8]>) -> Result<Server, Error> {
        let url = url.trim_end_matches('/').to_owned();
        let system = Roots::system();
        let roots = match ca {
            Some(pem) => system.and(pem).map_err(|why| Error::Authority { why })?,
            None => system,
        };
        let tls = roots.client().map_err(|error| Error::Authority { why: error.to_string() })?;
        // Machines and their server are on a network of their own, which no proxy reaches.
        let client = Client::builder().no_proxy().timeout(PATIENCE).http1_title_case_headers();
        let client = client.tls_backend_preconfigured(tls);
        let client = client.build().map_err(|source| Error::of(&url, source))?;
        Ok(Server { client, url })
    }

    /// Its URL, for people.
    pub(crate) fn name(&self) -> String {
        masked(&self.url)
    }

    /// Fetches a document. Its `schema`, if it has one, must be ours.
    pub(crate) async fn document<T: DeserializeOwned>(&self, target: &str) -> Result<T, Error> {
        let url = format!("{}{target}", self.url);
        let silent = |source| Error::of(&url, source);
        let stranger = |why: String| Error::Stranger { url: masked(&url), why };
        let request = self.client.get(&url).header("accept", "application/json");
        let mut answer = request.send().await.map_err(silent)?;
        if !answer.status().is_success() {
            return Err(stranger(format!("it answers {}", answer.status())));
        }
        let mut body = Vec::new();
        while let Some(bytes) = answer.chunk().await.map_err(silent)? {
            body.extend_from_slice(&bytes);
            if body.len() > MAX_ANSWER {
                return Err(stranger("its answer is larger than 64 MiB".into()));
            }
        }
        let value: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| stranger(words::of_serde(&error)))?;
        match value.get("schema") {
            Some(schema) if *schema != SCHEMA => {
                Err(stranger(format!("its documents have schema {schema}, and this prebake reads {SCHEMA}")))
            }
            _ => serde_json::from_value(value).map_err(|error| stranger(words::of_serde(&error))),
        }
    }
}

/// Why a server's status is unavailable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The server does not answer.
    #[error("{url} does not answer")]
    Silent {
        /// The URL of the request.
        url: String,
        /// The error of the HTTP client.
        source: reqwest::Error,
    },
    /// Its certificate is not trusted.
    #[error("{url}: its certificate is not trusted: {}", distrust.why)]
    Impostor {
        /// The URL of the request.
        url: String,
        /// Why it is not trusted.
        distrust: Distrust,
        /// The error of the HTTP client.
        source: reqwest::Error,
    },
    /// The certificates of `--ca` are unusable.
    #[error("the certificates of --ca cannot be used: {why}")]
    Authority {
        /// The reason, in words.
        why: String,
    },
    /// It is not a prebake server, or one of another version.
    #[error("{url} does not seem to be a prebake server of this version: {why}")]
    Stranger {
        /// The URL of the request.
        url: String,
        /// The reason, in words.
        why: String,
    },
}

impl Error {
    fn of(url: &str, source: reqwest::Error) -> Self {
        let url = masked(url);
        match Distrust::of(&source) {
            Some(distrust) => Error::Impostor { url, distrust, source: source.without_url() },
            None => Error::Silent { url, source: source.without_url() },
        }
    }
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Impostor { .. } => Exit::Trust,
            Error::Authority { .. } => Exit::Usage,
            Error::Silent { .. } => Exit::Network,
            Error::Stranger { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Silent { .. } => Some("name the server with --server URL or PREBAKE_SERVER".into()),
            Error::Stranger { .. } => None,
            Error::Impostor { distrust, .. } => {
                Some(distrust.hint.replace("with SSL_CERT_FILE", "with --ca or SSL_CERT_FILE"))
            }
            Error::Authority { .. } => Some("--ca takes a PEM file: CERTIFICATE blocks".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_a_url_or_as_it_was_told_to_listen() {
        for (text, url) in [
            ("http://10.0.0.2:8080", "http://10.0.0.2:8080"),
            ("https://boot.example/edge", "https://boot.example/edge"),
            ("10.0.0.2:80", "http://10.0.0.2:80"),
            ("boot:8080", "http://boot:8080"),
            ("boot", "http://boot:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("[::1]", "http://[::1]:8080"),
            ("fd00::1", "http://[fd00::1]:8080"),
            (":8080", "http://127.0.0.1:8080"),
            ("9090", "http://127.0.0.1:9090"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(server_url(text).as_deref(), Ok(url), "{text}");
        }
        for text in ["", "a b", "ftp://x", "http://", "a:b:c", "boot:x"] {
            assert!(server_url(text).is_err(), "{text}");
        }
    }
}
