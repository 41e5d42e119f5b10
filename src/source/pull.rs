//! Container registries: what a reference means today, over the pull half of the OCI distribution specification.
//!
//! Owns references, documents and logins. Leaves to `fetch` the blobs, which are inputs like any other: their URLs name
//! their digests. `docs/decisions` says why this stands on our own HTTP and not on `oci-client`.

use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::{Advice, Exit};
use crate::base::event::{Event, Observer};
use crate::registry::document::{self, Choice, Document, Index, MAX_DOCUMENT, Manifest};
use crate::registry::reference::ImageRef;
use crate::source::fetch;
use crate::source::http::{self, Asked, Http, Patience};
use crate::store::Store;

/// The header in which registries state the digest of their answer's body.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A resolved reference: the objects that make up one image for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The index that the platform's manifest was chosen from, if the image is for several.
    pub index: Option<Object>,
    /// The image's manifest for the platform.
    pub manifest: Object,
    /// The image's configuration.
    pub config: Object,
    /// Each distinct layer once, lowest first.
    pub layers: Vec<Object>,
}

/// Reasons why an image cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The registry does not have the image.
    #[error("{}", missing(image))]
    Missing {
        /// The image's reference.
        image: ImageRef,
        /// The registry's answer.
        source: http::Error,
    },
    /// The image exists, but not for this architecture.
    #[error("{image} is not for linux/{arch}: {}", platforms(has))]
    Platform {
        /// The image's reference.
        image: ImageRef,
        /// The recipe's architecture.
        arch: Arch,
        /// The platforms that exist.
        has: Vec<String>,
    },
    /// A document that cannot be read.
    #[error("{image}: {url} is unusable: {why}")]
    Document {
        /// The image's reference.
        image: ImageRef,
        /// The URL that answered.
        url: Asked,
        /// The problem, in words.
        why: String,
    },
    /// The registry states another digest than its bytes have.
    #[error("{image}: the registry announces another digest than it sends")]
    Announced {
        /// The image's reference.
        image: ImageRef,
        /// Names both digests.
        source: disk::Error,
    },
    /// A document did not arrive, or was damaged.
    #[error("cannot resolve {image}")]
    Fetch {
        /// The image's reference.
        image: ImageRef,
        /// The underlying error.
        source: fetch::Error,
    },
}

fn missing(image: &ImageRef) -> String {
    match image.tag() {
        Some(tag) => format!("there is no image {image}: its registry has no tag `{tag}` for it"),
        None => format!("there is no image {image}: its registry has no such digest"),
    }
}

fn platforms(has: &[String]) -> String {
    match has {
        [] => "its index names no known platform".into(),
        has => format!("it is for {}", has.join(", ")),
    }
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Missing { .. } | Error::Platform { .. } => Exit::UnknownRelease,
            Error::Document { .. } | Error::Announced { .. } => Exit::Integrity,
            Error::Fetch { source, .. } => source.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Missing { .. } => {
                Some("check its name under `images:`; a mirror may be incomplete (PREBAKE_MIRROR_OCI)".into())
            }
            Error::Platform { .. } => {
                Some("use an image for this architecture, or change `release: {arch}`".into())
            }
            Error::Document { .. } => None,
            Error::Announced { .. } => Some(
                "the registry, or a proxy in front of it, is damaged or rewrites what it passes on: use another one (PREBAKE_MIRROR_OCI), or name the image by digest".into(),
            ),
            Error::Fetch { source, .. } => source.hint(),
        }
    }
}

/// Resolves references, and stores the documents on the way.
pub(crate) struct Resolver<'r> {
    /// The HTTP client.
    pub http: &'r Http<'r>,
    /// Stores the documents.
    pub store: &'r Store,
    /// Receives progress events.
    pub observer: &'r dyn Observer,
}

impl Resolver<'_> {
    /// Resolves a reference to the image for one architecture.
    ///
    /// The document behind a tag is not verified, only pinned by the lock from then on; everything below it is verified
    /// by the digest above.
    pub(crate) async fn resolve(&self, image: &ImageRef, arch: Arch) -> Result<Image, Error> {
        let url = image.manifest_url(&image.object());
        let top = self.document(image, &url, image.digest().copied().map(Expected::Digest)).await?;
        match self.parse(image, &top)? {
            Document::Manifest(manifest) => {
                match self.foreign_platform(image, arch, manifest.config).await? {
                    None => Ok(self.image(image, None, top.object, manifest)),
                    Some(platform) => {
                        Err(Error::Platform { image: image.clone(), arch, has: vec![platform] })
                    }
                }
            }
            Document::Index(index) => self.within(image, arch, &index, &top).await,
        }
    }

    /// The image that an index has for an architecture. As in containerd, the index may contain indexes, but those may
    /// not.
    async fn within(
        &self,
        image: &ImageRef,
        arch: Arch,
        index: &Index,
        top: &Fetched,
    ) -> Result<Image, Error> {
        let mut has = index.platforms();
        for (choice, object) in self.choices(image, arch, index, top)? {
            let fetched = self.by_digest(image, object).await?;
            let (choice, object, manifest) = match self.parse(image, &fetched)? {
                Document::Manifest(manifest) => (choice, fetched.object, manifest),
                Document::Index(inner) => {
                    has.extend(inner.platforms());
                    // The platform in the outer index applies to everything in the inner one.
                    let Some((choice, object)) =
                        self.choices(image, arch, &inner, &fetched)?.into_iter().next()
                    else {
                        continue;
                    };
                    let fetched = self.by_digest(image, object).await?;
                    match self.parse(image, &fetched)? {
                        Document::Manifest(manifest) => (choice, fetched.object, manifest),
                        Document::Index(_) => {
                            let why = "it is an index inside an index inside an index".into();
                            return Err(Error::Document { image: image.clone(), url: fetched.asked, why });
                        }
                    }
                }
            };
            // A platform in the index decides, as it does for a container runtime: configs of old arm64 images name
            // amd64.
            if choice == Choice::Unnamed
                && let Some(platform) = self.foreign_platform(image, arch, manifest.config).await?
            {
                has.push(platform);
                continue;
            }
            return Ok(self.image(image, Some(top.object), object, manifest));
        }
        has.sort();
        has.dedup();
        Err(Error::Platform { image: image.clone(), arch, has })
    }

    fn choices(
        &self,
        image: &ImageRef,
        arch: Arch,
        index: &Index,
        fetched: &Fetched,
    ) -> Result<Vec<(Choice, Object)>, Error> {
        index.choices(arch).map_err(|why| Error::Document {
            image: image.clone(),
            url: fetched.asked.clone(),
            why,
        })
    }

    async fn by_digest(&self, image: &ImageRef, object: Object) -> Result<Fetched, Error> {
        let url = image.manifest_url(&format!("sha256:{}", object.sha256));
        self.document(image, &url, Some(Expected::Object(object))).await
    }

    fn image(&self, image: &ImageRef, index: Option<Object>, manifest: Object, document: Manifest) -> Image {
        if let Some(kind) = &document.encrypted {
            let message = format!("{image} has encrypted layers ({kind})");
            self.observer.notice(Event::Warning {
                message: &message,
                file: None,
                line: None,
                column: None,
                hint: Some(
                    "a node can decrypt them only if its containerd has the key (ocicrypt); otherwise use an image without encryption",
                ),
            });
        }
        Image { index, manifest, config: document.config, layers: document.distinct_layers() }
    }

    /// The platform that a config names, if it is another than the wanted one.
    async fn foreign_platform(
        &self,
        image: &ImageRef,
        arch: Arch,
        config: Object,
    ) -> Result<Option<String>, Error> {
        let url = image.blob_url(&config.sha256);
        let Fetched { bytes, asked, .. } = self.document(image, &url, Some(Expected::Object(config))).await?;
        document::foreign_platform(&bytes, arch).map_err(|why| Error::Document {
            image: image.clone(),
            url: asked,
            why,
        })
    }

    fn parse(&self, image: &ImageRef, fetched: &Fetched) -> Result<Document, Error> {
        document::parse(&fetched.bytes).map_err(|why| Error::Document {
            image: image.clone(),
            url: fetched.asked.clone(),
            why,
        })
    }

    /// Fetches, verifies and stores a small document.
    async fn document(
        &self,
        image: &ImageRef,
        url: &str,
        expected: Option<Expected>,
    ) -> Result<Fetched, Error> {
        // A digest names the bytes: what the store has is not asked for again.
        if let Some(Expected::Digest(sha256) | Expected::Object(Object { sha256, .. })) = expected
            && let Ok(bytes) = disk::read_at_most(&self.store.path(&sha256), MAX_DOCUMENT as usize)
            && Sha256::of(&bytes) == sha256
        {
            return Ok(Fetched { object: Object::of(&bytes), bytes, asked: url.into() });
        }
        let id = image.to_string();
        let retrying = |reason: &str, _| self.observer.notice(Event::FetchRetry { id: &id, reason });
        let attempt = async |asked: &str, _: &mut Patience| -> Result<_, fetch::Error> {
            let mut body = self.http.get(asked, Some(MAX_DOCUMENT)).await?;
            let claimed: Option<Sha256> =
                body.header(CONTENT_DIGEST).and_then(|claim| claim.strip_prefix("sha256:")?.parse().ok());
            let bytes = body.bytes().await?;
            let object = Object::of(&bytes);
            if let Some(expected) = expected {
                let judged = object.must_be(url, &expected.object(object.size));
                judged.map_err(|error| fetch::Error::from(error).of(body.url(), url, &bytes, false))?;
            }
            Ok((Fetched { object, bytes, asked: body.url().clone() }, claimed))
        };
        let fetched = self.http.each(url, &retrying, attempt).await;
        let (fetched, claimed) = fetched.map_err(|error| match error {
            fetch::Error::Http(source) if source.is_missing() => {
                Error::Missing { image: image.clone(), source }
            }
            source => Error::Fetch { image: image.clone(), source },
        })?;
        if let Some(sha256) = claimed {
            let judged = fetched.object.must_be(url, &Expected::Digest(sha256).object(fetched.object.size));
            judged.map_err(|source| Error::Announced { image: image.clone(), source })?;
        }
        let stored = self.store.put(&fetched.bytes);
        stored.map_err(|source| Error::Fetch { image: image.clone(), source: source.into() })?;
        Ok(fetched)
    }
}

/// A fetched document.
struct Fetched {
    object: Object,
    bytes: Vec<u8>,
    asked: Asked,
}

/// Expected digest or size of a document before it is requested.
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
