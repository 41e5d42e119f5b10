//! Bytes from elsewhere, until they are verified and stored: canonical URLs, the mirrors that stand in for them, HTTP,
//! registries, logins, the vendor's key.
//!
//! ```text
//!   Want ─▶ fetch ─▶ download ─▶ http ─▶ mirror or host      pieces in order, resumed, limited
//!              │        └─▶ store::Incoming ─▶ Unverified
//!              └─ key, checksum or signature ─▶ Verified ─▶ Input (URL, object, signer)
//! ```
//! Locks and manifests hold canonical URLs only, so that the mirror of a build leaves no trace in it. Owns retries, redirects,
//! proxies, credentials per origin, the memory of what is at hand already, ceilings for answers without a promised length, and the order verify-then-store.
//!
//! Leaves signature policy to `trust::openpgp`, names and documents of registries to `registry`, and the choice of inputs to
//! `bake`.

pub mod challenge;
pub(crate) mod credentials;
mod download;
pub(crate) mod fetch;
pub mod http;
pub(crate) mod input;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod memory;
pub(crate) mod pull;
pub(crate) mod release;
pub(crate) mod releases;
mod throttle;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::base::error::{Advice, Exit};
use crate::base::url::{MASK, masked};
use crate::flatcar::board;
use crate::registry::endpoint;

/// A publisher of files that prebake builds from. Mirrors are set per source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceName {
    /// Flatcar's release servers, one host per channel; a mirror has `CHANNEL/BOARD/VERSION/FILE`.
    Flatcar,
    /// Kubernetes' release host; a mirror has the same paths.
    Kubernetes,
    /// GitHub; a mirror has `OWNER/REPO/releases/download/TAG/FILE`, `USER.keys` and, for files of Kubernetes'
    /// repositories, `OWNER/REPO/raw/TAG/PATH`.
    Github,
    /// All container registries; a mirror is a registry, or a part of one (`http://HOST/PREFIX`).
    Oci,
    /// Anything else; a mirror has `HOST/PATH`.
    Web,
}

impl SourceName {
    /// All sources.
    pub(crate) const ALL: [SourceName; 5] =
        [SourceName::Flatcar, SourceName::Kubernetes, SourceName::Github, SourceName::Oci, SourceName::Web];

    /// The name in recipes. `PREBAKE_MIRROR_` followed by it in upper case is the environment variable.
    pub(crate) const fn as_str(self) -> &'static str {
        ["flatcar", "kubernetes", "github", "oci", "web"][self as usize]
    }

    /// The environment variable that names its mirrors.
    pub(crate) fn variable(self) -> String {
        format!("PREBAKE_MIRROR_{}", self.as_str().to_uppercase())
    }

    /// The source of a canonical URL, and the path that replaces it below a mirror's base.
    pub(crate) fn of(url: &str) -> (SourceName, String) {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        match host.strip_suffix(board::RELEASE_HOST) {
            Some(channel) => (SourceName::Flatcar, format!("{channel}/{path}")),
            None if host == board::WEBSITE_HOST => (SourceName::Flatcar, path.into()),
            None if host == "dl.k8s.io" => (SourceName::Kubernetes, path.into()),
            None if host == "github.com" => (SourceName::Github, path.into()),
            None if endpoint::Endpoint::parse(url).is_some() => (SourceName::Oci, path.into()),
            None => (SourceName::Web, rest.into()),
        }
    }
}

/// Most bytes that the file at a canonical URL may have while no lock gives its length: several times the size of
/// today's files, so that an endless answer, or one with a false length, cannot fill the disk.
fn most(url: &str) -> u64 {
    const GIB: u64 = 1 << 30;
    let path = url.split(['?', '#']).next().unwrap_or(url);
    match SourceName::of(url).0 {
        _ if path.ends_with(".txt") || path.ends_with(board::SIGNATURE) || path.ends_with(".sha256") => {
            http::SMALL
        }
        // A kernel has about 60 MB, an initrd about 500 MB; both must fit into a machine's memory.
        SourceName::Flatcar if path.ends_with(".vmlinuz") => GIB / 2,
        SourceName::Flatcar if path.ends_with(".cpio.gz") => 4 * GIB,
        SourceName::Flatcar => 16 * GIB,
        SourceName::Kubernetes => 4 * GIB,
        SourceName::Github => 16 * GIB,
        // Layers that contain models have about 10 GB.
        SourceName::Oci | SourceName::Web => 64 * GIB,
    }
}

/// An unusable mirror in the environment.
#[derive(Debug, thiserror::Error)]
#[error("{variable} is `{base}`, {why}")]
pub(crate) struct NotAMirror {
    variable: String,
    base: String,
    why: String,
}

impl Advice for NotAMirror {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        // A path is what most people write first.
        let path = std::path::absolute(&self.base).ok().filter(|path| path.is_dir());
        Some(match path.and_then(|path| Url::from_file_path(path).ok()) {
            Some(url) => format!("a directory is written as a URL: {}={url}", self.variable),
            None if self.base.starts_with(['/', '.']) => {
                format!("a directory is written as a URL with its absolute path: {}=file:///srv/mirror", self.variable)
            }
            None => {
                "write base URLs, separated by commas or blanks: http://mirror.example:8000/flatcar or file:///srv/mirror"
                    .into()
            }
        })
    }
}

/// A base without its user and password, even if it is not a URL.
fn without_login(base: &str) -> String {
    match (Url::parse(base).is_ok_and(|url| url.has_host()), base.rsplit_once('@')) {
        (false, Some((_, host))) => format!("{MASK}@{host}"),
        _ => masked(base),
    }
}

/// The reason why a mirror's base is unusable: it must be a URL of one of these schemes to which a path can be
/// appended. `None` if it is usable.
pub(crate) fn unfit(base: &str, schemes: &[&str]) -> Option<String> {
    let why = match Url::parse(base) {
        Ok(url) if schemes.contains(&url.scheme()) && url.query().is_some() => {
            "which ends in a query (`?…`), but paths are appended to it"
        }
        Ok(url) if schemes.contains(&url.scheme()) && url.fragment().is_some() => {
            "which ends in a fragment (`#…`), but paths are appended to it"
        }
        Ok(url) if schemes.contains(&url.scheme()) && url.scheme() == "file" => {
            match base.get(5..).is_some_and(|path| path.starts_with('/')) && url.to_file_path().is_ok() {
                true => return None,
                false => "which does not name an absolute path of this machine (file:///srv/mirror)",
            }
        }
        Ok(url) if schemes.contains(&url.scheme()) => return None,
        _ => return Some(format!("which is not an {} URL", either(schemes))),
    };
    Some(why.into())
}

/// Lists schemes, as in `http:, https: or file:`.
fn either(schemes: &[&str]) -> String {
    let names: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}:")).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// A base for messages, without user and password, and without the query, which may hold credentials too.
pub(crate) fn shown(base: &str) -> String {
    let address = base.split(['?', '#']).next().unwrap_or(base);
    let cut = if address.len() < base.len() { "…" } else { "" };
    let mark = base.get(address.len()..=address.len()).unwrap_or_default();
    format!("{}{mark}{cut}", without_login(address))
}

/// Base URLs to ask instead of the public hosts, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirrors(BTreeMap<SourceName, Vec<String>>);

impl Mirrors {
    /// The recipe's mirrors, each source overridden by `PREBAKE_MIRROR_` and its name (a list separated by commas or blanks).
    ///
    /// # Errors
    /// A mirror in the environment is not a usable URL.
    pub(crate) fn new(recipe: &BTreeMap<SourceName, Vec<String>>) -> Result<Self, NotAMirror> {
        let mut mirrors = recipe.clone();
        for source in SourceName::ALL {
            let variable = source.variable();
            let Some(value) = std::env::var_os(&variable) else { continue };
            // Ignoring it would send requests to the public hosts.
            let Some(value) = value.to_str() else {
                let (base, why) = (value.to_string_lossy(), "which is not UTF-8".to_owned());
                let base = base.split([',', ' ']).map(shown).collect::<Vec<_>>().join(",");
                return Err(NotAMirror { variable, base, why });
            };
            let bases = value.split([',', ' ']).map(|base| base.trim_end_matches('/').to_owned());
            let bases: Vec<String> = bases.filter(|base| !base.is_empty()).collect();
            let unfit = |base: &String| Some((shown(base), unfit(base, &["http", "https", "file"])?));
            if let Some((base, why)) = bases.iter().find_map(unfit) {
                return Err(NotAMirror { variable, base, why });
            }
            mirrors.insert(source, bases);
        }
        Ok(Mirrors(mirrors))
    }

    /// These mirrors, whatever the environment says.
    pub(crate) fn from(bases: BTreeMap<SourceName, Vec<String>>) -> Self {
        Mirrors(bases)
    }

    /// The URLs to ask for a canonical URL, in order. The public host of a source with mirrors is never asked: an
    /// air-gapped site must not leak requests, and a mirror that lacks a file should be noticed.
    pub(crate) fn candidates(&self, url: &str) -> Vec<String> {
        let (source, path) = SourceName::of(url);
        let at = |base: &String| match endpoint::Endpoint::parse(url).filter(|_| source == SourceName::Oci) {
            Some(endpoint) => endpoint.at(base),
            None => format!("{base}/{path}"),
        };
        match self.0.get(&source).filter(|bases| !bases.is_empty()) {
            Some(bases) => bases.iter().map(at).collect(),
            None => vec![url.to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_stand_in_for_their_source_only() {
        let mirrors = Mirrors(BTreeMap::from([(
            SourceName::Flatcar,
            vec!["http://a".to_owned(), "http://b/m".to_owned()],
        )]));
        assert_eq!(
            mirrors.candidates("https://stable.release.flatcar-linux.net/amd64-usr/current/version.txt"),
            [
                "http://a/stable/amd64-usr/current/version.txt",
                "http://b/m/stable/amd64-usr/current/version.txt"
            ]
        );
        assert_eq!(mirrors.candidates("https://dl.k8s.io/v1/x"), ["https://dl.k8s.io/v1/x"]);
    }
}
