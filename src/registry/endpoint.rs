//! The URLs of a registry's manifests and blobs.

use std::fmt;

/// Kind of object behind a URL of the distribution API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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

/// The parts of a URL of the distribution API, `SCHEME://HOST/v2/REPOSITORY/KIND/OBJECT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint<'u> {
    /// `https` or `http`.
    pub scheme: &'u str,
    /// Host name, with its port if there is one.
    pub host: &'u str,
    /// The image's name in the registry.
    pub repository: &'u str,
    /// Kind of the object.
    pub kind: Kind,
    /// A tag or digest.
    pub object: &'u str,
}

impl<'u> Endpoint<'u> {
    /// Splits a URL; `None` if it is not one of the API. A user and password before the host are dropped.
    pub(crate) fn parse(url: &'u str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| scheme.starts_with("http"))?;
        let (host, path) = rest.split_once('/')?;
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let path = path.split('?').next()?.strip_prefix("v2/")?;
        let (path, object) = path.rsplit_once('/')?;
        let (repository, kind) = path.rsplit_once('/')?;
        let kind = [Kind::Manifests, Kind::Blobs].into_iter().find(|known| known.as_str() == kind)?;
        Some(Endpoint { scheme, host, repository, kind, object })
    }

    /// The URL of the same object on a mirror. A path in the mirror's URL goes before the repository, as in proxies for
    /// several registries, and `ns` names the registry, as containerd tells its mirrors. A directory has the API's
    /// paths.
    pub(crate) fn at(&self, mirror: &str) -> String {
        let Endpoint { host, repository, kind, object, .. } = self;
        match mirror.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => {
                let (host_of_mirror, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let slash = if prefix.is_empty() { "" } else { "/" };
                let registry = crate::registry::reference::registry_of(host);
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
