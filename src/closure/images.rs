//! Which container images a tree has, in archives of its own and in those that sysexts carry.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;

use crate::source::oci::ImageRef;

/// Longest index of an archive that is read, in bytes.
const MAX_INDEX: u64 = 1 << 20;
/// How many members of an archive may come before its index.
const MAX_MEMBERS: usize = 16;

/// The images, by name, and where each is.
#[derive(Debug, Default)]
pub(super) struct Images {
    /// By canonical name.
    named: BTreeMap<String, String>,
    /// By name without tag, `@` and the digest of the manifest.
    digests: BTreeMap<String, String>,
}

impl Images {
    /// An image, the digest of its manifest as `sha256:…`, and where it is.
    pub fn add(&mut self, name: &str, manifest: &str, place: &str) {
        let Ok(image) = name.parse::<ImageRef>() else { return };
        self.digests.entry(format!("{}@{manifest}", image.name())).or_insert_with(|| place.to_owned());
        self.named.entry(image.to_string()).or_insert_with(|| place.to_owned());
    }

    /// Those that an OCI archive says it holds, which is at `place`.
    pub fn add_archive(&mut self, archive: impl Read, place: &str) {
        for entry in tar::Archive::new(archive).entries().into_iter().flatten().take(MAX_MEMBERS).flatten() {
            if entry.path().is_ok_and(|path| path.as_os_str() == "index.json") {
                let mut bytes = Vec::new();
                let read = entry.take(MAX_INDEX).read_to_end(&mut bytes);
                let index: Value =
                    read.ok().and_then(|_| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
                for manifest in index["manifests"].as_array().into_iter().flatten() {
                    let name = manifest["annotations"]["io.containerd.image.name"].as_str();
                    if let (Some(name), Some(digest)) = (name, manifest["digest"].as_str()) {
                        self.add(name, digest, place);
                    }
                }
                return;
            }
        }
    }

    /// Where an image is.
    ///
    /// # Errors
    /// Why it is nowhere.
    pub fn find(&self, reference: &str) -> Result<String, String> {
        let image: ImageRef = reference.parse()?;
        let by_digest =
            image.digest().and_then(|digest| self.digests.get(&format!("{}@sha256:{digest}", image.name())));
        by_digest.or_else(|| self.named.get(&image.to_string())).cloned().ok_or_else(|| {
            let others = self.tags(&image.name());
            match others.is_empty() {
                true => "no archive and no sysext has this image".into(),
                false => format!("of this image the tree has only {}", others.join(", ")),
            }
        })
    }

    /// Where an image with any tag is.
    ///
    /// # Errors
    /// Why it is nowhere.
    pub fn find_any(&self, reference: &str) -> Result<String, String> {
        let image: ImageRef = reference.parse()?;
        let first = self.tags(&image.name()).first().copied().and_then(|name| self.named.get(name));
        first.cloned().ok_or_else(|| "no archive and no sysext has this image with any tag".into())
    }

    fn tags(&self, name: &str) -> Vec<&str> {
        let of = |known: &&String| known.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', '@']));
        self.named.keys().filter(of).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_by_any_of_its_names_and_others_of_its_tags_are_told() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let mut images = Images::default();
        images.add("nginx:1.27", &digest, "assets/images/nginx.tar");
        for name in [
            "nginx:1.27",
            "docker.io/library/nginx:1.27",
            &format!("nginx@{digest}"),
            &format!("nginx:9@{digest}"),
        ] {
            assert_eq!(images.find(name).as_deref(), Ok("assets/images/nginx.tar"), "{name}");
        }
        assert_eq!(images.find_any("docker.io/library/nginx").as_deref(), Ok("assets/images/nginx.tar"));
        assert!(images.find("nginx:1.28").unwrap_err().contains("only docker.io/library/nginx:1.27"));
        assert!(images.find("quay.io/nginx:1.27").unwrap_err().contains("no archive"));
        assert!(images.find("not an image").is_err());
    }
}
