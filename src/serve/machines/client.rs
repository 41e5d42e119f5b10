//! Asks a running server, for the verbs that watch one.

use std::time::Duration;

use reqwest::Client;
use serde::de::DeserializeOwned;

use super::status::SCHEMA;
use super::timeline::Stage;
use crate::error::{Advice, Exit};

/// How long a server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes: some thousand times a machine's row.
const MAX_ANSWER: usize = 64 << 20;

/// A server that runs.
pub struct Server {
    client: Client,
    url: String,
}

impl Server {
    /// The server at a URL, such as `http://10.0.0.2:8080`; with `ca`, certificates in PEM that it may be signed by.
    pub fn new(url: &str, ca: Option<&[u8]>) -> Result<Server, Error> {
        let url = url.trim_end_matches('/').to_owned();
        let fails = |source| Error::Silent { url: url.clone(), source };
        // Machines and their server are on a network of their own, which no proxy reaches.
        let mut client = Client::builder().no_proxy().timeout(PATIENCE);
        for certificate in
            ca.map(reqwest::Certificate::from_pem_bundle).transpose().map_err(fails)?.into_iter().flatten()
        {
            client = client.add_root_certificate(certificate);
        }
        let client = client.build().map_err(fails)?;
        Ok(Server { client, url })
    }

    /// A document of the server. Its `schema`, if it has one, must be ours.
    pub async fn document<T: DeserializeOwned>(&self, target: &str) -> Result<T, Error> {
        let url = format!("{}{target}", self.url);
        let silent = |source| Error::Silent { url: url.clone(), source };
        let stranger = |why: String| Error::Stranger { url: url.clone(), why };
        let request = self.client.get(&url).header("accept", "application/json");
        let mut answer = request.send().await.map_err(silent)?;
        if !answer.status().is_success() {
            return Err(stranger(format!("it answers {}", answer.status())));
        }
        let mut body = Vec::new();
        while let Some(bytes) = answer.chunk().await.map_err(silent)? {
            body.extend_from_slice(&bytes);
            if body.len() > MAX_ANSWER {
                return Err(stranger("its answer has no end".into()));
            }
        }
        let value: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| stranger(error.to_string()))?;
        match value.get("schema") {
            Some(schema) if *schema != SCHEMA => {
                Err(stranger(format!("its documents have schema {schema}, and this prebake reads {SCHEMA}")))
            }
            _ => serde_json::from_value(value).map_err(|error| stranger(error.to_string())),
        }
    }
}

/// Why a status cannot be had from a server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answers there.
    #[error("{url} does not answer")]
    Silent {
        /// What was asked.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// What answers is something else, or of another time.
    #[error("{url} does not answer as a prebake server does: {why}")]
    Stranger {
        /// What was asked.
        url: String,
        /// Why.
        why: String,
    },
    /// What was waited for did not come.
    #[error("{reached} of {wanted} machines reached {stage} within {patience}")]
    TimedOut {
        /// How many did.
        reached: usize,
        /// How many should.
        wanted: usize,
        /// The stage.
        stage: Stage,
        /// How long was waited.
        patience: humantime::FormattedDuration,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Silent { .. } => Exit::Network,
            Error::Stranger { .. } => Exit::Failed,
            Error::TimedOut { .. } => Exit::TimedOut,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Silent { .. } => Some("name the server with --server URL or PREBAKE_SERVER".into()),
            Error::Stranger { .. } => None,
            Error::TimedOut { .. } => Some("`prebake status` says what is stuck, and likely why".into()),
        }
    }
}
