//! Credentials as docker and podman keep them: their files, keys and helpers.
//!
//! An unusable file or helper is not an error, because most images are public: it is noted, and reported when a
//! registry refuses. docker_credential parses the entries and talks to the helpers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde_json::{Map, Value, json};

use crate::registry::reference::registry_of;

/// The key under which docker keeps the credentials of its public registry.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// That registry's names in keys.
const HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Search result for a repository.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The first credential that fits.
    pub credential: Option<DockerCredential>,
    /// Unusable files and helpers, without any secret.
    pub notes: Vec<String>,
}

impl Found {
    /// Appends the notes to a message.
    pub(crate) fn behind(&self, message: String) -> String {
        std::iter::once(message).chain(self.notes.iter().cloned()).collect::<Vec<_>>().join("; ")
    }
}

/// Finds the credential for a repository of a host. Helpers are processes, so this may take a while.
pub(crate) async fn find(host: &str, repository: &str) -> Found {
    let (host, repository) = (host.to_owned(), repository.to_owned());
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let files = files(variable, rustix::process::getuid().as_raw());
    match tokio::task::spawn_blocking(move || look(&files, &host, &repository)).await {
        Ok(found) => found,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Files that may hold credentials, in order: the one that `REGISTRY_AUTH_FILE` names, docker's, and podman's
/// (containers-auth.json(5)).
fn files(variable: impl Fn(&str) -> Option<PathBuf>, user: u32) -> Vec<PathBuf> {
    let home = variable("HOME");
    let docker = variable("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
    let run = variable("XDG_RUNTIME_DIR").map(|run| run.join("containers"));
    let run = run.unwrap_or_else(|| PathBuf::from(format!("/run/containers/{user}")));
    let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    [
        variable("REGISTRY_AUTH_FILE"),
        docker.map(|docker| docker.join("config.json")),
        Some(run.join("auth.json")),
        config.map(|config| config.join("containers/auth.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn look(files: &[PathBuf], host: &str, repository: &str) -> Found {
    let mut found = Found::default();
    for path in files {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                continue;
            }
            Err(error) => {
                found.notes.push(format!("{} cannot be read: {error}", path.display()));
                continue;
            }
        };
        match within(path, &text, host, repository) {
            Ok(None) => {}
            Ok(credential) => {
                found.credential = credential;
                break;
            }
            Err(note) => found.notes.push(note),
        }
    }
    found
}

/// The credential for a repository in one file, if it has one.
fn within(
    path: &Path,
    text: &[u8],
    host: &str,
    repository: &str,
) -> Result<Option<DockerCredential>, String> {
    let shown = path.display();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let config: Value = serde_json::from_slice(text).map_err(|error| {
        format!("{shown}:{}: it is not JSON, so no login is taken from it ({error})", error.line())
    })?;
    let section = |name: &str| config.get(name).and_then(Value::as_object);
    let is_hub = registry_of(host) != host;
    let server = if is_hub { HUB_KEY } else { host };
    let keys = keys(host, repository);
    let entry = section("auths").and_then(|auths| named(auths, &keys, holds_something));
    let helper = section("credHelpers").and_then(|helpers| named(helpers, &keys, is_text));
    let store = config.get("credsStore").filter(|store| is_text(store));
    // The longer key is more specific. For a key that is the registry itself, docker asks the helper first.
    let (config, helper) = match (entry, helper, store) {
        (Some((at, entry)), helper, _) if helper.is_none_or(|(of_helper, _)| at < of_helper) => {
            (json!({"auths": {server: entry}}), None)
        }
        (_, Some((_, helper)), _) => (json!({"credHelpers": {server: helper}}), helper.as_str()),
        (_, None, Some(store)) => (json!({"credsStore": store}), store.as_str()),
        _ => return Ok(None),
    };
    let helper = helper.map(|name| format!("docker-credential-{name}"));
    let named = || helper.clone().unwrap_or_default();
    match docker_credential::get_credential_from_reader(config.to_string().as_bytes(), server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            // docker pads the password with NUL bytes.
            Ok(Some(DockerCredential::UsernamePassword(user, password.trim_matches('\0').to_owned())))
        }
        Ok(credential) => Ok(Some(credential)),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        // docker's own helpers use these words if they have no credential.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. })
            if stdout.contains("credentials not found") =>
        {
            Ok(None)
        }
        // A helper's output may hold a secret, so it is not shown.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
            Err(format!("{helper} failed ({shown} names it for {host})"))
        }
        Err(CredentialRetrievalError::HelperCommunicationError) => {
            Err(format!("{} cannot be run ({shown} names it for {host}): is it installed?", named()))
        }
        Err(CredentialRetrievalError::MalformedHelperResponse) => {
            Err(format!("{} returned no credentials ({shown} names it for {host})", named()))
        }
        Err(error) => Err(format!("{shown}: the entry for {host} is unusable: {error}")),
    }
}

/// The first useful entry under one of these keys, and the key's index.
fn named<'m>(
    map: &'m Map<String, Value>,
    keys: &[String],
    is_worth: impl Fn(&Value) -> bool,
) -> Option<(usize, &'m Value)> {
    let under = |key: &String| map.iter().find(|(name, value)| normal(name) == *key && is_worth(value));
    keys.iter().enumerate().find_map(|(at, key)| Some((at, under(key)?.1)))
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

/// Whether an entry holds a credential. docker leaves an empty entry if a helper keeps the credential.
fn holds_something(entry: &Value) -> bool {
    ["auth", "identitytoken", "username"].iter().any(|name| entry.get(name).is_some_and(is_text))
}

/// The keys under which a repository's credentials may be, longest first: podman also has keys for parts of a registry.
fn keys(host: &str, repository: &str) -> Vec<String> {
    let hosts: &[&str] = if registry_of(host) == host { &[host] } else { &HUB_NAMES };
    let parts: Vec<&str> = repository.split('/').collect();
    let paths = (0..=parts.len()).rev().map(|length| parts[..length].join("/"));
    let key = |path: &str, host: &&str| match path {
        "" => host.to_lowercase(),
        path => format!("{}/{path}", host.to_lowercase()),
    };
    paths.flat_map(|path| hosts.iter().map(|host| key(&path, host)).collect::<Vec<_>>()).collect()
}

/// Normalises a key in a file to the form of [`keys`]: docker also writes `https://HOST`, with `/v1/` or `/v2/` after
/// it.
fn normal(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let text = match bare {
        Some(bare) => bare.split('/').next().unwrap_or(bare),
        None => {
            let text = key.trim_end_matches('/');
            text.strip_suffix("/v1").or_else(|| text.strip_suffix("/v2")).unwrap_or(text)
        }
    };
    match text.split_once('/') {
        Some((host, path)) => format!("{}/{path}", host.to_lowercase()),
        None => text.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn user(config: &Value, host: &str, repository: &str) -> Option<String> {
        match within(Path::new("c.json"), config.to_string().as_bytes(), host, repository).unwrap()? {
            DockerCredential::UsernamePassword(user, password) => Some(format!("{user}:{password}")),
            DockerCredential::IdentityToken(token) => Some(token),
        }
    }

    fn entry(user: &str) -> Value {
        json!({"auth": STANDARD.encode(format!("{user}:p"))})
    }

    /// containers-auth.json(5); containers/image#96, hauler-dev/hauler#94.
    #[test]
    fn the_nearest_key_is_found_in_every_spelling_of_docker_and_podman() {
        let hub = "registry-1.docker.io";
        let cases = [
            (json!({"h:5000": entry("u")}), "h:5000", "a/b", Some("u:p")),
            (json!({"https://h:5000": entry("u")}), "h:5000", "a/b", Some("u:p")),
            (json!({"https://h/v1/": entry("u")}), "h", "a/b", Some("u:p")),
            (json!({"https://h/v2/": entry("u")}), "h", "a/b", Some("u:p")),
            (json!({"h/v2/": entry("u")}), "h", "a/b", Some("u:p")),
            (json!({"H.example": entry("u")}), "h.example", "a/b", Some("u:p")),
            (json!({"h": entry("w"), "h/a": entry("v"), "h/a/b": entry("u")}), "h", "a/b", Some("u:p")),
            (json!({"h": entry("w"), "h/a": entry("v"), "h/a/c": entry("u")}), "h", "a/b", Some("v:p")),
            (json!({"h/a": entry("v")}), "h", "ab", None),
            (json!({"h": {}}), "h", "a", None),
            (json!({"h": {"auth": ""}}), "h", "a", None),
            (json!({"h": {"username": "u", "password": "q"}}), "h", "a", Some("u:q")),
            (json!({"h": {"identitytoken": "t"}}), "h", "a", Some("t")),
            (json!({"h": {"auth": STANDARD.encode("u:p\0\0")}}), "h", "a", Some("u:p")),
            (json!({"other": entry("u")}), "h", "a", None),
            (json!({"https://index.docker.io/v1/": entry("u")}), hub, "library/nginx", Some("u:p")),
            (json!({"docker.io": entry("u")}), hub, "library/nginx", Some("u:p")),
            (json!({"docker.io": entry("w"), "docker.io/me": entry("u")}), hub, "me/x", Some("u:p")),
        ];
        for (auths, host, repository, expected) in cases {
            let found = user(&json!({"auths": auths}), host, repository);
            assert_eq!(found.as_deref(), expected, "{auths} for {host}/{repository}");
        }
    }

    #[test]
    fn what_is_of_no_use_is_named_with_its_place_and_without_its_secret() {
        let cases = [
            ("{\"auths\": {\n  \"h\": {\"auth\": \"czNjcjN0\"},\n}}", "c.json:3: it is not JSON"),
            ("s3cr3t", "c.json:1: it is not JSON"),
            ("{\"auths\": {\"h\": {\"auth\": \"s3cr3t!\"}}}", "c.json: the entry for h is unusable"),
            (
                "{\"credsStore\": \"no-such-helper\"}",
                "docker-credential-no-such-helper cannot be run (c.json names it",
            ),
            (
                "{\"credHelpers\": {\"h\": \"no-such-helper\"}}",
                "docker-credential-no-such-helper cannot be run",
            ),
        ];
        for (text, note) in cases {
            let error = within(Path::new("c.json"), text.as_bytes(), "h", "a").unwrap_err();
            assert!(error.contains(note) && !error.contains("s3cr3t"), "{error}");
        }
        let with_mark = format!("\u{feff}{}", json!({"auths": {"h": entry("u")}}));
        assert!(within(Path::new("c.json"), with_mark.as_bytes(), "h", "a").unwrap().is_some());
        assert_eq!(within(Path::new("c.json"), b"", "h", "a"), Ok(None));
    }

    #[test]
    fn a_file_that_a_variable_names_comes_first_and_one_that_is_broken_hides_no_other() {
        let of = |set: &[(&str, &str)]| {
            let variable = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value))
            };
            files(variable, 7).iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            of(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/r.json")]),
            [
                "/r.json",
                "/h/.docker/config.json",
                "/run/containers/7/auth.json",
                "/h/.config/containers/auth.json"
            ]
        );
        assert_eq!(
            of(&[("DOCKER_CONFIG", "/d"), ("XDG_RUNTIME_DIR", "/x"), ("XDG_CONFIG_HOME", "/c")]),
            ["/d/config.json", "/x/containers/auth.json", "/c/containers/auth.json"]
        );
        let directory = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "c"].map(|name| directory.path().join(name));
        fs::write(&paths[0], "{,}").unwrap();
        fs::write(&paths[2], json!({"auths": {"h": entry("u")}}).to_string()).unwrap();
        let found = look(&paths, "h", "a");
        assert!(found.credential.is_some() && found.notes.len() == 1, "{found:?}");
    }
}
