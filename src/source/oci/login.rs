//! Logging in to registries: the answer to a 401, as the distribution specification's token flow and HTTP's Basic have it.
//!
//! Credentials are docker's (`$DOCKER_CONFIG/config.json` or `~/.docker/config.json`, with its helpers), read when a
//! registry asks for them, and sent to the host that was asked and to the token service that it names. They live in
//! memory only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use http_auth::ChallengeParser;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use super::reference::registry_of;
use super::{Endpoint, Kind, document};
use crate::source::http::{self, Error};

/// The key under which docker keeps the credentials of its public registry.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What a person can do about a registry that lets nobody in.
pub const HINT: &str = "prebake logs in to registries with what `docker login HOST` keeps in ~/.docker/config.json \
    (or $DOCKER_CONFIG); many answer so for an image that does not exist, too";

/// What registries have granted so far, by repository.
#[derive(Default)]
pub struct Logins(Mutex<BTreeMap<String, HeaderValue>>);

/// What a registry asks for with a 401.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// A token service's answer. Both names are in use.
#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
}

impl Logins {
    /// Asks a registry, and where it wants a login, logs in and asks once more.
    ///
    /// # Errors
    /// [`Error::Login`] for credentials that cannot be read or a token service that cannot be trusted with them, and
    /// everything that may happen when either is asked. Any status of an answer is the caller's to judge.
    pub async fn ask(
        &self,
        client: &reqwest::Client,
        url: &str,
        endpoint: &Endpoint<'_>,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response, Error> {
        let send = async |login: Option<HeaderValue>| {
            let mut request = request();
            if endpoint.kind == Kind::Manifests {
                request = request.header(ACCEPT, document::ACCEPT);
            }
            if let Some(login) = login {
                request = request.header(AUTHORIZATION, login);
            }
            request.send().await.map_err(|source| http::transport(url, source))
        };
        let response = send(self.granted(endpoint)).await?;
        // A host that the registry redirects to has no business with the registry's credentials.
        let own = response.url().host_str().is_some_and(|host| {
            let port = response.url().port().map(|port| format!(":{port}")).unwrap_or_default();
            endpoint.host.eq_ignore_ascii_case(&format!("{host}{port}"))
        });
        if response.status() != StatusCode::UNAUTHORIZED || !own {
            return Ok(response);
        }
        match self.answer(client, endpoint, response.headers()).await? {
            Some(login) => send(Some(login)).await,
            None => Ok(response),
        }
    }

    fn granted(&self, endpoint: &Endpoint<'_>) -> Option<HeaderValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key(endpoint)).cloned()
    }

    /// The `Authorization` that answers a 401; nothing if there is no way to give one.
    async fn answer(
        &self,
        client: &reqwest::Client,
        endpoint: &Endpoint<'_>,
        answer: &HeaderMap,
    ) -> Result<Option<HeaderValue>, Error> {
        let url = endpoint.to_string();
        let login = |why: String| Error::Login { url: url.clone(), why };
        let values = answer.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = choose(values) else { return Ok(None) };
        let credential = credential(endpoint.host).await.map_err(login)?;
        let header = match (challenge, credential) {
            (Challenge::Basic, Some(DockerCredential::UsernamePassword(user, password))) => {
                basic(&user, &password)
            }
            (Challenge::Basic, _) => return Ok(None),
            (Challenge::Bearer { realm, service, scope }, credential) => {
                let realm = Url::parse(&realm).map_err(|_| login("its token service has no URL".into()))?;
                if realm.scheme() != "https" && (endpoint.scheme == "https" || realm.scheme() != "http") {
                    return Err(login(format!("its token service {realm} is not asked over https")));
                }
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", endpoint.repository));
                let asked = [("service", service), ("scope", Some(scope))];
                let asked = asked.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                let token = token(client, realm, asked, credential).await?;
                format!("Bearer {token}")
            }
        };
        let mut header =
            HeaderValue::try_from(header).map_err(|_| login("it grants no usable token".into()))?;
        header.set_sensitive(true);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key(endpoint), header.clone());
        Ok(Some(header))
    }
}

/// A token is good for one repository of one registry.
fn key(Endpoint { scheme, host, repository, .. }: &Endpoint<'_>) -> String {
    format!("{scheme}://{host}/{repository}")
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The strongest challenge that is understood.
fn choose<'h>(values: impl Iterator<Item = &'h str>) -> Option<Challenge> {
    let mut chosen = None;
    for challenge in values.flat_map(ChallengeParser::new).map_while(Result::ok) {
        let param = |name: &str| {
            let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        match challenge.scheme.to_ascii_lowercase().as_str() {
            "bearer" => {
                if let Some(realm) = param("realm") {
                    return Some(Challenge::Bearer {
                        realm,
                        service: param("service"),
                        scope: param("scope"),
                    });
                }
            }
            "basic" => chosen = Some(Challenge::Basic),
            _ => {}
        }
    }
    chosen
}

/// Asks a token service: with GET, or where docker keeps an identity token with OAuth2's POST.
async fn token(
    client: &reqwest::Client,
    mut realm: Url,
    asked: Vec<(&str, String)>,
    credential: Option<DockerCredential>,
) -> Result<String, Error> {
    // The query holds no secret, but says nothing to a person either.
    let shown = realm.to_string();
    let request = match credential {
        Some(DockerCredential::IdentityToken(refresh)) => {
            let mut form = Serializer::new(String::new());
            form.extend_pairs([("grant_type", "refresh_token"), ("client_id", "prebake")]);
            form.append_pair("refresh_token", &refresh).extend_pairs(asked);
            client.post(realm).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.finish())
        }
        other => {
            realm.query_pairs_mut().extend_pairs(asked);
            match other {
                Some(DockerCredential::UsernamePassword(user, password)) => {
                    client.get(realm).header(AUTHORIZATION, basic(&user, &password))
                }
                _ => client.get(realm),
            }
        }
    };
    let mut response = request.send().await.map_err(|source| http::transport(&shown, source))?;
    match response.status() {
        StatusCode::OK => {}
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            return Err(Error::Login {
                url: shown,
                why: format!("the token service answered {}", status.as_u16()),
            });
        }
        _ => return Err(http::refused(&shown, &response)),
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| http::transport(&shown, source))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > http::SMALL {
            return Err(Error::TooLong { url: shown, limit: http::SMALL });
        }
    }
    let bad = || Error::Login { url: shown.clone(), why: "it grants no token".into() };
    let granted: Granted = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    granted.token.or(granted.access_token).filter(|token| !token.is_empty()).ok_or_else(bad)
}

/// What docker keeps for a host. Helpers are processes, so this may take a while.
async fn credential(host: &str) -> Result<Option<DockerCredential>, String> {
    let server = if registry_of(host) == host { host } else { HUB_KEY }.to_owned();
    match tokio::task::spawn_blocking(move || stored(&server)).await {
        Ok(found) => found,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn stored(server: &str) -> Result<Option<DockerCredential>, String> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let directory = std::env::var_os("DOCKER_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(path) = directory.or_else(home).map(|directory| directory.join("config.json")) else {
        return Ok(None);
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    match docker_credential::get_credential_from_reader(BufReader::new(file), server) {
        Ok(credential) => Ok(Some(credential)),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        // The words with which docker's own helpers say that they have nothing.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. })
            if stdout.contains("credentials not found") =>
        {
            Ok(None)
        }
        // What a helper printed may hold a secret: it is not repeated.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => Err(format!("{helper} failed")),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_challenge_is_preferred_and_read_whole() {
        let values = [
            "Basic realm=\"x\"",
            "Bearer realm=\"https://auth.example/token?x=1\",service=\"reg\",scope=\"repository:a/b:pull,push\"",
        ];
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token?x=1".into(),
            service: Some("reg".into()),
            scope: Some("repository:a/b:pull,push".into()),
        };
        assert_eq!(choose(values.into_iter()), Some(expected));
        assert_eq!(choose(["Negotiate, basic realm=\"x\""].into_iter()), Some(Challenge::Basic));
        assert_eq!(choose(["Bearer", "Digest nonce=1", "", "==="].into_iter()), None);
    }
}
