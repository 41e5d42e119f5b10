//! Package URLs (purl): the names by which scanners look packages up.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::base::arch::Arch;
use crate::base::digest::Sha256;
use crate::registry::reference::ImageRef;

/// Characters that stay unencoded in a name or version.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In the value of a qualifier slashes and colons stay unencoded, too.
const VALUE: &AsciiSet = &NAME.remove(b'/').remove(b':');

/// A fetched file: `pkg:github/…` for a file of a GitHub release, else `pkg:generic/…` with its URL.
pub(crate) fn fetched(name: &str, version: Option<&str>, url: &str, sha256: &Sha256) -> String {
    if let Some([owner, repository, tag]) = github_release(url) {
        let [owner, repository] = [owner, repository].map(str::to_lowercase);
        return format!("pkg:github/{}/{}@{}", encoded(&owner), encoded(&repository), encoded(tag));
    }
    let version = version.map(|version| format!("@{}", encoded(version))).unwrap_or_default();
    let url = utf8_percent_encode(url, VALUE);
    format!("pkg:generic/{}{version}?checksum=sha256:{sha256}&download_url={url}", encoded(name))
}

/// A Flatcar release. Purl has no type for it; the name and version are those of its `os-release`.
pub(crate) fn flatcar(version: &str, arch: Arch) -> String {
    format!("pkg:generic/flatcar@{}?arch={arch}", encoded(version))
}

/// A container image, by the digest of its manifest for one architecture.
pub(crate) fn image(reference: &ImageRef, arch: Arch, manifest: &Sha256) -> String {
    let full = reference.name();
    let name = reference.repository().rsplit('/').next().unwrap_or_default();
    let tag = reference.tag().map(|tag| format!("&tag={}", utf8_percent_encode(tag, VALUE)));
    let (name, url) = (encoded(name), utf8_percent_encode(&full, VALUE));
    format!("pkg:oci/{name}@sha256%3A{manifest}?arch={arch}&repository_url={url}{}", tag.unwrap_or_default())
}

/// The version in a URL: the tag of a GitHub release, else a directory that looks like a version (`v1.34.4`).
pub(crate) fn version_in(url: &str) -> Option<&str> {
    if let Some([_, _, tag]) = github_release(url) {
        return Some(tag);
    }
    let (_, path) = url.split_once("://")?.1.split_once('/')?;
    let (directories, _) = path.rsplit_once('/')?;
    let is_version = |part: &&str| {
        let number = part.strip_prefix('v').unwrap_or(part);
        number.starts_with(|first: char| first.is_ascii_digit()) && number.contains('.')
    };
    directories.split('/').find(is_version)
}

/// Owner, repository and tag of `https://github.com/OWNER/REPOSITORY/releases/download/TAG/FILE`.
fn github_release(url: &str) -> Option<[&str; 3]> {
    let path = url.strip_prefix("https://github.com/")?;
    match path.split('/').collect::<Vec<_>>()[..] {
        [owner, repository, "releases", "download", tag, _] => Some([owner, repository, tag]),
        _ => None,
    }
}

fn encoded(text: &str) -> percent_encoding::PercentEncode<'_> {
    utf8_percent_encode(text, NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_called_as_its_kind_of_place_calls_it() {
        let digest = Sha256::of(b"");
        let runc = "https://github.com/opencontainers/runc/releases/download/v1.3.3/runc.amd64";
        assert_eq!(fetched("runc", version_in(runc), runc, &digest), "pkg:github/opencontainers/runc@v1.3.3");
        let kubelet = "https://dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubelet";
        assert_eq!(
            fetched("kubelet", version_in(kubelet), kubelet, &digest),
            format!("pkg:generic/kubelet@v1.34.4?checksum=sha256:{digest}&download_url={kubelet}")
        );
        let bare = "https://example.com/tools/x y@2";
        assert_eq!(
            fetched("site tool", version_in(bare), bare, &digest),
            format!(
                "pkg:generic/site%20tool?checksum=sha256:{digest}&download_url=https://example.com/tools/x%20y%402"
            )
        );
    }

    #[test]
    fn an_image_is_known_by_its_manifest_whatever_its_tag_says() {
        let digest = Sha256::of(b"");
        let of = |text: &str| image(&text.parse().unwrap(), Arch::Arm64, &digest);
        let at = format!("@sha256%3A{digest}?arch=arm64&repository_url=");
        let coredns = "registry.k8s.io/coredns/coredns";
        assert_eq!(of(&format!("{coredns}:v1.12.1")), format!("pkg:oci/coredns{at}{coredns}&tag=v1.12.1"));
        assert_eq!(of("localhost:5000/a"), format!("pkg:oci/a{at}localhost:5000/a&tag=latest"));
        assert_eq!(of(&format!("{coredns}@sha256:{digest}")), format!("pkg:oci/coredns{at}{coredns}"));
    }

    #[test]
    fn a_version_is_read_only_where_a_url_has_one() {
        for (url, version) in [
            ("https://github.com/o/r/releases/download/nightly/f.tgz", Some("nightly")),
            ("https://h.example/1.2/f", Some("1.2")),
            ("https://1.2.3.4/a/f", None),
            ("https://h.example/v2/f", None),
            ("https://h.example/f-1.2.tgz", None),
            ("nonsense", None),
        ] {
            assert_eq!(version_in(url), version, "{url}");
        }
    }
}
