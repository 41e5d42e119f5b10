//! References to container images, as Docker, containerd and Kubernetes write them.
//!
//! The grammar and the expansion of short names are distribution's, by way of `oci-spec`: a first component without a dot,
//! a colon or the name `localhost` is no registry, so `nginx` is `docker.io/library/nginx:latest`. A digest wins over a
//! tag beside it.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference;
use url::Url;

use crate::base::arch::Arch;
use crate::base::digest::Sha256;
use crate::registry::endpoint::{Endpoint, Kind};

/// Longest accepted reference, in bytes: a host name, a repository of 255, a tag of 128 and a digest.
const MAX_LENGTH: usize = 1024;
/// The name of Docker's public registry, and the host that serves it.
const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

/// A container image, by tag or digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Sha256>,
}

impl ImageRef {
    /// The object to request from the registry: the digest if there is one, else the tag.
    pub fn object(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            // The grammar's default; `from_str` never leaves both out.
            (None, None) => "latest".into(),
        }
    }

    /// The name within its registry, such as `coredns/coredns`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Registry and repository, such as `registry.k8s.io/pause`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The digest, if the reference names one.
    pub(crate) fn digest(&self) -> Option<&Sha256> {
        self.digest.as_ref()
    }

    /// The tag, unless a digest makes it meaningless.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref().filter(|_| self.digest.is_none())
    }

    /// Canonical URL of a manifest, by tag or digest. `localhost` and 127.0.0.0/8 are accessed without TLS, as in
    /// Docker and containerd.
    pub fn manifest_url(&self, object: &str) -> String {
        self.url(Kind::Manifests, object)
    }

    /// Canonical URL of a blob.
    pub(crate) fn blob_url(&self, digest: &Sha256) -> String {
        self.url(Kind::Blobs, &format!("sha256:{digest}"))
    }

    fn url(&self, kind: Kind, object: &str) -> String {
        let host = if self.registry == HUB { HUB_HOST } else { &self.registry };
        let name = host.split(':').next().unwrap_or(host);
        let scheme = if name == "localhost" || name.starts_with("127.") { "http" } else { "https" };
        Endpoint { scheme, host, repository: &self.repository, kind, object }.to_string()
    }

    /// The archive's file name: `REPOSITORY-TAG-ARCH.tar`, slashes as hyphens.
    pub fn file_name(&self, arch: Arch) -> String {
        let repository = self.repository.replace('/', "-");
        let version = match (&self.tag, &self.digest) {
            (None, Some(digest)) => format!("sha256-{}", &digest.to_string()[..12]),
            (tag, _) => tag.clone().unwrap_or_default(),
        };
        format!("{repository}-{version}-{arch}.tar")
    }
}

/// The registry's name for a host, as mirrors know it.
pub(crate) fn registry_of(host: &str) -> &str {
    if host == HUB_HOST { HUB } else { host }
}

/// The canonical name, as containerd and the kubelet spell it: a digest replaces the tag.
impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.digest.is_some() { '@' } else { ':' };
        write!(f, "{}/{}{separator}{}", self.registry, self.repository, self.object())
    }
}

impl FromStr for ImageRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            format!("`{text}` is not an image reference such as registry.k8s.io/pause:3.10: {why}")
        };
        if text.len() > MAX_LENGTH {
            return Err(format!("an image reference has at most {MAX_LENGTH} bytes"));
        }
        // The grammar's `\w` matches letters of any script, but registries accept only ASCII.
        if !text.is_ascii() {
            return Err(bad("it may contain only ASCII letters, digits and -._/:@"));
        }
        let reference: Reference =
            text.parse().map_err(|why: oci_spec::distribution::ParseError| bad(&why.to_string()))?;
        // A first component that is not a registry has been parsed by a registry's rules, which allow upper case.
        if reference.repository().bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(bad("a repository is in lower case"));
        }
        let digest = match reference.digest().map(|digest| digest.split_once(':').unwrap_or(("", digest))) {
            None => None,
            // Registries compare digests as text, and the specification wants lower case.
            Some(("sha256", hex)) if hex.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                return Err(bad("the digest must be in lower case"));
            }
            Some(("sha256", hex)) => Some(hex.parse().map_err(|why: String| bad(&why))?),
            Some((algorithm, _)) => {
                return Err(bad(&format!("the digest is {algorithm}; only sha256 is supported")));
            }
        };
        let image = ImageRef {
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            tag: reference.tag().map(str::to_owned),
            digest,
        };
        // The grammar accepts any number as a port, and 256.0.0.1 as a host.
        match Url::parse(&image.manifest_url(&image.object())) {
            Ok(_) => Ok(image),
            Err(why) => Err(bad(&format!("{} is not a usable registry address: {why}", image.registry))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn name(text: &str) -> String {
        text.parse::<ImageRef>().unwrap().to_string()
    }

    #[test]
    fn short_names_expand_as_docker_and_containerd_expand_them() {
        let cases = [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("cilium/cilium:v1.18", "docker.io/cilium/cilium:v1.18"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
            ("localhost/x", "localhost/x:latest"),
            ("host:5000/a/b/c:T_1", "host:5000/a/b/c:T_1"),
        ];
        for (text, expected) in cases {
            assert_eq!(name(text), expected, "{text}");
        }
    }

    #[test]
    fn a_digest_wins_over_the_tag_beside_it() {
        let image: ImageRef = format!("ghcr.io/x/y:1@sha256:{DIGEST}").parse().unwrap();
        assert_eq!(image.to_string(), format!("ghcr.io/x/y@sha256:{DIGEST}"));
        assert_eq!(image.object(), format!("sha256:{DIGEST}"));
        assert_eq!(image.tag(), None);
        assert_eq!(image.file_name(Arch::Amd64), "x-y-1-amd64.tar");
        let untagged: ImageRef = format!("ghcr.io/x/y@sha256:{DIGEST}").parse().unwrap();
        assert_eq!(untagged.file_name(Arch::Arm64), "x-y-sha256-9f86d081884c-arm64.tar");
    }

    #[test]
    fn urls_are_the_registrys_own_and_plain_on_the_loopback_only() {
        let url = |text: &str| text.parse::<ImageRef>().unwrap().manifest_url("1");
        assert_eq!(url("nginx"), "https://registry-1.docker.io/v2/library/nginx/manifests/1");
        assert_eq!(url("registry.k8s.io/pause"), "https://registry.k8s.io/v2/pause/manifests/1");
        assert_eq!(url("localhost:5000/x"), "http://localhost:5000/v2/x/manifests/1");
        assert_eq!(url("127.0.0.1:5000/x"), "http://127.0.0.1:5000/v2/x/manifests/1");
    }

    #[test]
    fn what_is_no_reference_is_refused_with_the_reason() {
        let cases = [
            ("", "at least one component"),
            ("UPPER/case:1", "lower case"),
            ("registry.k8s.io/pause:3.10:4", "invalid reference format"),
            ("https://registry.k8s.io/pause", "invalid reference format"),
            ("a/../b", "invalid reference format"),
            ("pause:ü", "only ASCII letters"),
            // Found by fuzzing on 2026-11-29.
            ("host:505000/x", "host:505000 is not a usable registry address: invalid port number"),
            ("256.0.0.1:5000/x", "256.0.0.1:5000 is not a usable registry address"),
            ("x@sha256:abcd", "invalid"),
        ];
        for (text, why) in cases {
            let error = text.parse::<ImageRef>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let sha512 = format!("x@sha512:{DIGEST}{DIGEST}");
        assert!(sha512.parse::<ImageRef>().unwrap_err().contains("only sha256 is supported"));
        let upper = format!("x@sha256:{}", DIGEST.to_uppercase());
        assert!(upper.parse::<ImageRef>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_keeps_its_name(text in "\\PC{0,80}|[a-z0-9./:@_-]{0,60}") {
            if let Ok(image) = text.parse::<ImageRef>() {
                prop_assert_eq!(image.to_string().parse::<ImageRef>().unwrap().to_string(), image.to_string());
                let file = image.file_name(Arch::Amd64);
                prop_assert!(crate::base::canonical::is_contained(&file) && !file.contains('/'));
                prop_assert!(url::Url::parse(&image.manifest_url(&image.object())).is_ok());
            }
        }
    }
}
