//! Logs in to registries: answers a 401 by the distribution specification's token flow or HTTP's Basic.
//!
//! Credentials are docker's and podman's, read when a registry demands them, and sent only to the requested host and to
//! the token service that it names. They are kept in memory only.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use docker_credential::DockerCredential;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use super::challenge::{Challenge, choose};
use super::credentials::{self, Found};
use crate::base::words;
use crate::registry::document;
use crate::registry::endpoint::{Endpoint, Kind};
use crate::source::http::error::HINT;
use crate::source::http::{self, Asked, Client, Error, Request, basic};

/// Hint for a token service that must not be used.
const REALM_HINT: &str = "the registry itself names that address: its operator must set its external URL to https (behind a \
    reverse proxy, X-Forwarded-Proto); or use a mirror (PREBAKE_MIRROR_OCI)";

/// Tokens granted so far, by repository, and the challenges at each registry's `/v2/`.
#[derive(Default)]
pub(crate) struct Logins {
    granted: Mutex<BTreeMap<String, HeaderValue>>,
    doors: Mutex<BTreeMap<String, Vec<String>>>,
}

/// A token service's answer. Both fields are in use, and either may be empty.
#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
}

impl Logins {
    /// Sends a request to a registry. If the registry demands a login, logs in and sends it once more.
    ///
    /// # Errors
    /// [`Error::Login`] and [`Error::Token`] for token services that cannot be trusted with credentials or grant
    /// nothing, and all errors of either request. Answers with any other status are left to the caller.
    pub(crate) async fn ask(
        &self,
        client: &Client,
        endpoint: &Endpoint<'_>,
        mut request: Request<'_>,
    ) -> Result<(Response, Asked), Error> {
        if endpoint.kind == Kind::Manifests {
            request.headers.insert(ACCEPT, HeaderValue::from_static(document::ACCEPT));
        }
        let send = async |login: Option<HeaderValue>| client.send(Request { login, ..request.clone() }).await;
        let granted = self.granted(endpoint);
        let (response, asked) = send(granted.clone()).await?;
        // A host to which the registry redirects must not get the registry's credentials.
        if !is_own(&response, endpoint) {
            return Ok((response, asked));
        }
        // Some registries answer 404 or 403 to strangers, and demand a login only at `/v2/`
        // (containerd/containerd#3291, sapcc/keppel#522). Without credentials, a 404 most likely means that the image
        // does not exist.
        let is_hidden = matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::FORBIDDEN);
        if response.status() != StatusCode::UNAUTHORIZED && !(is_hidden && granted.is_none()) {
            return Ok((response, asked));
        }
        let found = match credential_of(request.url) {
            Some(credential) => Found { credential: Some(credential), notes: Vec::new() },
            None => credentials::find(endpoint.host, endpoint.repository).await,
        };
        if response.status() == StatusCode::NOT_FOUND && found.credential.is_none() {
            return Ok((response, asked));
        }
        let login = match choose(values(response.headers()).iter().map(String::as_str)) {
            Some(challenge) => match self.answer(client, endpoint, &asked, &challenge, &found).await {
                // Some registries name an existing token service only at `/v2/`, and skopeo asks nowhere else.
                Err(error) => match self.at_the_door(client, endpoint).await {
                    Some(other) if !other.is_by_the_same(&challenge) => {
                        let answered = self.answer(client, endpoint, &asked, &other, &found).await;
                        answered.map_err(|_| error)?
                    }
                    _ => return Err(error),
                },
                answered => answered?,
            },
            None => match self.at_the_door(client, endpoint).await {
                Some(challenge) => self.answer(client, endpoint, &asked, &challenge, &found).await?,
                None => None,
            },
        };
        let (response, asked) = match login {
            Some(login) => send(Some(login)).await?,
            None => (response, asked),
        };
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !found.notes.is_empty() => {
                Err(unheard(response, asked, &found).await)
            }
            _ => Ok((response, asked)),
        }
    }

    fn granted(&self, endpoint: &Endpoint<'_>) -> Option<HeaderValue> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).get(&key(endpoint)).cloned()
    }

    /// A registry's challenge at `/v2/`, which is requested only once.
    async fn at_the_door(&self, client: &Client, endpoint: &Endpoint<'_>) -> Option<Challenge> {
        let door = format!("{}://{}/v2/", endpoint.scheme, endpoint.host);
        let known = self.doors.lock().unwrap_or_else(PoisonError::into_inner).get(&door).cloned();
        let asked = match known {
            Some(asked) => asked,
            None => {
                let (response, _) = client.send(Request::get(&door)).await.ok()?;
                let wants = response.status() == StatusCode::UNAUTHORIZED && is_own(&response, endpoint);
                let asked = if wants { values(response.headers()) } else { Vec::new() };
                self.doors.lock().unwrap_or_else(PoisonError::into_inner).insert(door, asked.clone());
                asked
            }
        };
        choose(asked.iter().map(String::as_str))
    }

    /// The `Authorization` that answers a challenge; `None` if there is no credential for it.
    async fn answer(
        &self,
        client: &Client,
        endpoint: &Endpoint<'_>,
        asked: &Asked,
        challenge: &Challenge,
        found: &Found,
    ) -> Result<Option<HeaderValue>, Error> {
        let login = |why: String, hint| Error::Login { url: asked.clone(), why, hint };
        let header = match (challenge, &found.credential) {
            (Challenge::Basic, Some(DockerCredential::UsernamePassword(user, password))) => {
                basic(user, password)
            }
            (Challenge::Basic, _) => return Ok(None),
            (Challenge::Bearer { realm, service, scope }, _) => {
                let realm = token_service(endpoint, realm).map_err(|why| login(why, REALM_HINT))?;
                // Some registries ask for no scope, or for every scope; this one suffices for a pull
                // (genuinetools/reg#72).
                let scope = scope.clone().filter(|scope| scope.contains(':'));
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", endpoint.repository));
                let wish = [("service", service.clone()), ("scope", Some(scope))];
                let wish = wish.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                let token = token(client, asked, realm, wish, found).await?;
                let value = HeaderValue::try_from(format!("Bearer {token}"));
                value.map_err(|_| login("its token service grants no usable token".into(), HINT))?
            }
        };
        let mut header = header;
        header.set_sensitive(true);
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).insert(key(endpoint), header.clone());
        Ok(Some(header))
    }
}

/// The key of a token, which is valid for one repository of one registry.
fn key(Endpoint { scheme, host, repository, .. }: &Endpoint<'_>) -> String {
    format!("{scheme}://{host}/{repository}")
}

/// Whether the registry itself answered, and not a redirect's target.
fn is_own(response: &Response, endpoint: &Endpoint<'_>) -> bool {
    let registry = Url::parse(&format!("{}://{}/", endpoint.scheme, endpoint.host));
    registry.is_ok_and(|registry| registry.origin() == response.url().origin())
}

fn values(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

/// The user and password in a mirror's URL.
fn credential_of(url: &str) -> Option<DockerCredential> {
    let url = Url::parse(url).ok().filter(|url| !url.username().is_empty())?;
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = decoded(url.password().unwrap_or_default());
    Some(DockerCredential::UsernamePassword(decoded(url.username()), password))
}

/// The error for a registry that refuses while its credentials may be in an unreadable place.
async fn unheard(response: Response, asked: Asked, found: &Found) -> Error {
    let status = response.status().as_u16();
    let words = http::refusal(response).await.map(|words| format!(": {words}")).unwrap_or_default();
    let why = found.behind(format!("the registry answered {status}{words}"));
    Error::Login { url: asked, why, hint: HINT }
}

/// The URL of a token service. A registry with https must name one with https; if it names its own host with http, as
/// one behind an unnoticed reverse proxy does (goharbor/harbor#3114), https is used.
fn token_service(endpoint: &Endpoint<'_>, realm: &str) -> Result<Url, String> {
    let registry = Url::parse(&format!("{}://{}/", endpoint.scheme, endpoint.host));
    let registry = registry.map_err(|_| "its own address is not a URL".to_owned())?;
    let mut url = registry.join(realm).map_err(|_| "its token service has no URL".to_owned())?;
    if endpoint.scheme == "https"
        && url.scheme() == "http"
        && url.port().is_none()
        && url.host() == registry.host()
    {
        // Neither call fails for http: and https: URLs.
        let _ = url.set_scheme("https");
        let _ = url.set_port(registry.port());
    }
    if url.scheme() != "https" && (endpoint.scheme == "https" || url.scheme() != "http") {
        return Err(format!("its token service {} does not use https", Asked::from(url.as_str())));
    }
    Ok(url)
}

/// Requests a token: with GET, or, if docker keeps an identity token, with OAuth2's POST.
async fn token(
    client: &Client,
    registry: &Asked,
    mut realm: Url,
    wish: Vec<(&str, String)>,
    found: &Found,
) -> Result<String, Error> {
    let mut form = None;
    let mut login = None;
    match &found.credential {
        Some(DockerCredential::IdentityToken(refresh)) => {
            let mut fields = Serializer::new(String::new());
            fields.extend_pairs([("grant_type", "refresh_token"), ("client_id", "prebake")]);
            fields.append_pair("refresh_token", refresh).extend_pairs(wish);
            form = Some(fields.finish());
        }
        credential => {
            realm.query_pairs_mut().extend_pairs(wish);
            if let Some(DockerCredential::UsernamePassword(user, password)) = credential {
                login = Some(basic(user, password));
            }
        }
    }
    let (response, service) =
        client.send(Request { url: realm.as_str(), headers: HeaderMap::new(), login, form }).await?;
    // The query holds no secret, but is of no use to the user either.
    let shown = Asked::from(service.as_str().split('?').next().unwrap_or_default());
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        let words = http::refusal(response).await.map(|words| format!(": {words}")).unwrap_or_default();
        let why = found.behind(format!("the token service {shown} answered {}{words}", status.as_u16()));
        return Err(Error::Login { url: registry.clone(), why, hint: HINT });
    }
    if !status.is_success() {
        let pause = http::pause(response.headers());
        let words = http::refusal(response).await;
        let status = status.as_u16();
        return Err(Error::Token { url: registry.clone(), service: shown, status, words, pause });
    }
    let bytes = http::whole(response, &shown, http::SMALL).await?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let why = |bytes| match words::page(bytes) {
        Some(_) => format!("its token service {shown} answers with an HTML page"),
        None => format!("its token service {shown} answered, but it grants no token"),
    };
    let granted = serde_json::from_slice(bytes).ok().and_then(|granted: Granted| {
        [granted.token, granted.access_token].into_iter().flatten().find(|token| !token.is_empty())
    });
    granted.ok_or_else(|| Error::Login { url: registry.clone(), why: why(bytes), hint: HINT })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// goharbor/harbor#3114, #3933, #20530.
    #[test]
    fn a_token_service_is_asked_as_safely_as_its_registry() {
        let of = |url: &str, realm: &str| {
            let endpoint = Endpoint::parse(url).unwrap();
            token_service(&endpoint, realm).map(String::from)
        };
        let secure = "https://reg.example/v2/a/manifests/1";
        let plain = "http://reg.example:5000/v2/a/manifests/1";
        let cases = [
            (secure, "https://auth.example/t?a=b", Ok("https://auth.example/t?a=b")),
            (secure, "http://reg.example/t", Ok("https://reg.example/t")),
            (secure, "/t", Ok("https://reg.example/t")),
            (secure, "http://auth.example/t", Err("http://auth.example/t does not use https")),
            (secure, "http://reg.example:8080/t", Err("does not use https")),
            (secure, "http://u:p@auth.example/t", Err("http://***@auth.example/t does not use https")),
            (plain, "http://auth.example/t", Ok("http://auth.example/t")),
            (plain, "/t", Ok("http://reg.example:5000/t")),
            (plain, "file:///etc/passwd", Err("does not use https")),
            (plain, "http://:x", Err("no URL")),
        ];
        for (url, realm, expected) in cases {
            match (of(url, realm), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{realm}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{realm}: {found}"),
                (found, expected) => panic!("{realm}: {found:?}, not {expected:?}"),
            }
        }
    }
}
