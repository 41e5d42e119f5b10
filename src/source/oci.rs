//! Container registries: what a reference means today, over the pull half of the OCI distribution specification.
//!
//! Owns references, documents and logins. Leaves to `fetch` the blobs, which are inputs like any other: their URLs name
//! their digests. `docs/architecture.md` says why this stands on our own HTTP and not on `oci-client`.

pub mod document;
mod login;
pub mod reference;

use std::fmt;

use self::document::{Document, MAX_DOCUMENT};
pub use self::login::{HINT as LOGIN_HINT, Logins};
pub use self::reference::ImageRef;
use crate::arch::Arch;
use crate::digest::Sha256;
use crate::error::{Advice, Exit};
use crate::event::{Event, Observer};
use crate::source::fetch;
use crate::source::http::{self, Http, Patience};
use crate::store::{Object, Store};

/// The header with which registries name the digest of what they send.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// What a reference means: the objects that make up one image for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The index that the platform's manifest was chosen from, if the image is for several.
    pub index: Option<Object>,
    /// The manifest.
    pub manifest: Object,
    /// The configuration.
    pub config: Object,
    /// Each distinct layer once, lowest first.
    pub layers: Vec<Object>,
}

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry does not have it.
    #[error("{}", missing(image))]
    Missing {
        /// The image.
        image: ImageRef,
        /// What the registry said.
        source: http::Error,
    },
    /// There is one, but not for these machines.
    #[error("{image} is not for linux/{arch}: it is for {}", has.join(", "))]
    Platform {
        /// The image.
        image: ImageRef,
        /// The recipe's architecture.
        arch: Arch,
        /// What there is.
        has: Vec<String>,
    },
    /// A document that cannot be read.
    #[error("{image}: {url} is of no use: {why}")]
    Document {
        /// The image.
        image: ImageRef,
        /// Canonical URL.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// It did not arrive, or not unharmed.
    #[error("cannot resolve {image}")]
    Fetch {
        /// The image.
        image: ImageRef,
        /// Why.
        source: fetch::Error,
    },
}

fn missing(image: &ImageRef) -> String {
    match image.tag() {
        Some(tag) => format!("there is no image {image}: its registry knows no tag `{tag}` of that name"),
        None => format!("there is no image {image}: its registry has no such digest"),
    }
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Missing { .. } | Error::Platform { .. } => Exit::UnknownRelease,
            Error::Document { .. } => Exit::Integrity,
            Error::Fetch { source, .. } => source.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Missing { .. } => {
                Some("check its name under `images:`; a mirror may be incomplete (PREBAKE_MIRROR_OCI)".into())
            }
            Error::Platform { .. } => {
                Some("take an image for this architecture, or change `release: {arch}`".into())
            }
            Error::Document { .. } => None,
            Error::Fetch { source, .. } => source.hint(),
        }
    }
}

/// What lies behind a URL of the distribution API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Indexes and manifests, by tag or digest.
    Manifests,
    /// Configs and layers, by digest.
    Blobs,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        ["manifests", "blobs"][self as usize]
    }
}

/// A URL of the distribution API, in its parts: `SCHEME://HOST/v2/REPOSITORY/KIND/OBJECT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'u> {
    /// `https` or `http`.
    pub scheme: &'u str,
    /// With its port.
    pub host: &'u str,
    /// The image's name in the registry.
    pub repository: &'u str,
    /// What is asked for.
    pub kind: Kind,
    /// A tag or digest.
    pub object: &'u str,
}

impl<'u> Endpoint<'u> {
    /// Takes a URL apart; nothing if it is none of the API.
    pub fn parse(url: &'u str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| scheme.starts_with("http"))?;
        let (host, path) = rest.split_once('/')?;
        let path = path.split('?').next()?.strip_prefix("v2/")?;
        let (path, object) = path.rsplit_once('/')?;
        let (repository, kind) = path.rsplit_once('/')?;
        let kind = [Kind::Manifests, Kind::Blobs].into_iter().find(|known| known.as_str() == kind)?;
        Some(Endpoint { scheme, host, repository, kind, object })
    }

    /// Where a mirror has the same: a path behind its host goes before the repository, as proxies of several registries
    /// have it, and `ns` names the registry, as containerd tells its mirrors. A directory has the API's paths.
    pub fn at(&self, mirror: &str) -> String {
        let Endpoint { host, repository, kind, object, .. } = self;
        match mirror.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => {
                let (host_of_mirror, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let slash = if prefix.is_empty() { "" } else { "/" };
                let registry = reference::registry_of(host);
                let kind = kind.as_str();
                format!(
                    "{scheme}://{host_of_mirror}/v2/{prefix}{slash}{repository}/{kind}/{object}?ns={registry}"
                )
            }
            _ => format!("{mirror}/v2/{repository}/{}/{object}", kind.as_str()),
        }
    }
}

impl fmt::Display for Endpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint { scheme, host, repository, kind, object } = self;
        write!(f, "{scheme}://{host}/v2/{repository}/{}/{object}", kind.as_str())
    }
}

/// Finds out what references mean, and stores the documents that say so.
pub struct Resolver<'r> {
    /// The client.
    pub http: &'r Http,
    /// Where documents go.
    pub store: &'r Store,
    /// Who listens.
    pub observer: &'r dyn Observer,
}

impl Resolver<'_> {
    /// Follows a reference to the image for one architecture.
    ///
    /// What a tag names is not verified, only pinned by the lock from then on; everything below it is verified by the
    /// digest above.
    pub async fn resolve(&self, image: &ImageRef, arch: Arch) -> Result<Image, Error> {
        let url = image.manifest_url(&image.object());
        let (top, bytes) = self.document(image, &url, image.digest().copied().map(Expected::Digest)).await?;
        let (index, manifest, document) = match self.parse(image, &url, &bytes)? {
            Document::Manifest(manifest) => (None, top, manifest),
            Document::Index(index) => {
                let chosen = index.select(arch);
                let chosen = chosen.map_err(|has| Error::Platform { image: image.clone(), arch, has })?;
                let of_url = |url: &str, why| Error::Document { image: image.clone(), url: url.into(), why };
                let chosen = chosen.map_err(|why| of_url(&url, why))?;
                let url = image.manifest_url(&format!("sha256:{}", chosen.sha256));
                let (manifest, bytes) = self.document(image, &url, Some(Expected::Object(chosen))).await?;
                match self.parse(image, &url, &bytes)? {
                    Document::Manifest(document) => (Some(top), manifest, document),
                    Document::Index(_) => return Err(of_url(&url, "it is an index inside an index".into())),
                }
            }
        };
        // Where there is an index it decides, as it does for a runtime: configs of old arm64 images name amd64.
        if index.is_none() {
            self.check_platform(image, arch, document.config).await?;
        }
        Ok(Image { index, manifest, config: document.config, layers: document.distinct_layers() })
    }

    async fn check_platform(&self, image: &ImageRef, arch: Arch, config: Object) -> Result<(), Error> {
        let url = image.blob_url(&config.sha256);
        let (_, config) = self.document(image, &url, Some(Expected::Object(config))).await?;
        match document::foreign_platform(&config, arch) {
            Ok(None) => Ok(()),
            Ok(Some(platform)) => Err(Error::Platform { image: image.clone(), arch, has: vec![platform] }),
            Err(why) => Err(Error::Document { image: image.clone(), url, why }),
        }
    }

    fn parse(&self, image: &ImageRef, url: &str, bytes: &[u8]) -> Result<Document, Error> {
        document::parse(bytes).map_err(|why| Error::Document { image: image.clone(), url: url.into(), why })
    }

    /// A small document, verified and stored.
    async fn document(
        &self,
        image: &ImageRef,
        url: &str,
        expected: Option<Expected>,
    ) -> Result<(Object, Vec<u8>), Error> {
        let id = image.to_string();
        let retrying = |reason: &str| self.observer.notice(Event::FetchRetry { id: &id, reason });
        let attempt = async |asked: &str, _: &mut Patience| -> Result<_, fetch::Error> {
            let mut body = self.http.get(asked, Some(MAX_DOCUMENT)).await?;
            let claimed =
                body.header(CONTENT_DIGEST).and_then(|claim| claim.strip_prefix("sha256:")?.parse().ok());
            let bytes = body.bytes().await?;
            let object = Object::of(&bytes);
            for expected in expected.into_iter().chain(claimed.map(Expected::Digest)) {
                object.must_be(url, &expected.object(object.size))?;
            }
            Ok((object, bytes))
        };
        let fetched = self.http.each(url, &retrying, attempt).await;
        let (object, bytes) = fetched.map_err(|error| match error {
            fetch::Error::Http(source) if source.is_missing() => {
                Error::Missing { image: image.clone(), source }
            }
            source => Error::Fetch { image: image.clone(), source },
        })?;
        let stored = self.store.put(&bytes);
        stored.map_err(|source| Error::Fetch { image: image.clone(), source: source.into() })?;
        Ok((object, bytes))
    }
}

/// What is known of a document before it is asked for.
#[derive(Clone, Copy)]
enum Expected {
    Digest(Sha256),
    Object(Object),
}

impl Expected {
    fn object(self, size: u64) -> Object {
        match self {
            Expected::Digest(sha256) => Object { sha256, size },
            Expected::Object(object) => object,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_the_api_comes_apart_and_goes_to_a_mirror() {
        let url = "https://registry-1.docker.io/v2/library/nginx/blobs/sha256:aa";
        let endpoint = Endpoint::parse(url).unwrap();
        assert_eq!(
            (endpoint.repository, endpoint.kind, endpoint.object),
            ("library/nginx", Kind::Blobs, "sha256:aa")
        );
        assert_eq!(endpoint.to_string(), url);
        assert_eq!(
            endpoint.at("http://m:5000"),
            "http://m:5000/v2/library/nginx/blobs/sha256:aa?ns=docker.io"
        );
        assert_eq!(
            endpoint.at("https://m/hub"),
            "https://m/v2/hub/library/nginx/blobs/sha256:aa?ns=docker.io"
        );
        assert_eq!(endpoint.at("file:///srv/m"), "file:///srv/m/v2/library/nginx/blobs/sha256:aa");
        let mirrored = endpoint.at("https://m/hub");
        assert_eq!(Endpoint::parse(&mirrored).unwrap().repository, "hub/library/nginx");
        for other in ["https://dl.k8s.io/v1/x", "https://github.com/v2/x/releases/y", "https://x/v2/blobs/y"]
        {
            assert_eq!(Endpoint::parse(other), None, "{other}");
        }
    }
}
