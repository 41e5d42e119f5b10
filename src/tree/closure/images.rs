//! The container images in a tree, in its own archives and inside sysexts.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;

use crate::format::oci_archive::{IMAGE_NAME, INDEX};
use crate::registry::reference::ImageRef;

/// Upper limit for the index of an archive, in bytes.
const MAX_INDEX: u64 = 1 << 20;
/// Upper limit for the members of an archive before its index.
const MAX_MEMBERS: usize = 16;

/// The names under which containerd will have images, and the place that each comes from.
///
/// containerd's CRI finds an image only by the very name under which it was imported or tagged (1.6 `pkg/cri/server`,
/// `localResolve`; the same in 2.x): an image imported by its tag is not there for a pod that names its digest.
#[derive(Debug, Default)]
pub(super) struct Images(BTreeMap<String, String>);

impl Images {
    /// Adds the name of an image at `place`. CRI asks by canonical names only, so any other name is ignored.
    pub(crate) fn add(&mut self, name: &str, place: &str) {
        if name.parse::<ImageRef>().is_ok_and(|image| image.to_string() == name) {
            self.0.entry(name.to_owned()).or_insert_with(|| place.to_owned());
        }
    }

    /// Adds the images that the index of an OCI archive at `place` names.
    pub(crate) fn add_archive(&mut self, archive: impl Read, place: &str) {
        let mut archive = tar::Archive::new(archive);
        // Raw entries: the crate would read a long name of any length into memory, and the index has a short one.
        let entries = archive.entries().into_iter().flat_map(|entries| entries.raw(true));
        for entry in entries.take(MAX_MEMBERS).flatten() {
            if entry.path().is_ok_and(|path| path.as_os_str() == INDEX) {
                let mut bytes = Vec::new();
                let read = entry.take(MAX_INDEX).read_to_end(&mut bytes);
                let index: Value =
                    read.ok().and_then(|_| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
                for manifest in index["manifests"].as_array().into_iter().flatten() {
                    if let Some(name) = manifest["annotations"][IMAGE_NAME].as_str() {
                        self.add(name, place);
                    }
                }
                return;
            }
        }
    }

    /// The place of an image.
    ///
    /// # Errors
    /// The reason why no place has it.
    pub(crate) fn find(&self, reference: &str) -> Result<String, String> {
        let image: ImageRef = reference.parse()?;
        self.0.get(&image.to_string()).cloned().ok_or_else(|| match self.names(&image.name()).as_slice() {
            [] => "no archive and no sysext has this image".into(),
            others => format!(
                "the tree has this image only as {}; containerd needs the exact name",
                others.join(", ")
            ),
        })
    }

    /// The place of an image, with any tag.
    ///
    /// # Errors
    /// The reason why no place has it.
    pub(crate) fn find_any(&self, reference: &str) -> Result<String, String> {
        let image: ImageRef = reference.parse()?;
        let first = self.names(&image.name()).first().copied().and_then(|name| self.0.get(name));
        first.cloned().ok_or_else(|| "no archive and no sysext has this image with any tag".into())
    }

    fn names(&self, name: &str) -> Vec<&str> {
        let of = |known: &&String| known.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', '@']));
        self.0.keys().filter(of).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of any length, made of zeros that take no space in a sysext, was read into memory.
    #[test]
    fn a_long_name_before_an_archives_index_is_not_read_into_memory() {
        let member = |kind, name: &str, size: u64| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_path(name).unwrap();
            header.set_size(size);
            header.set_cksum();
            header.as_bytes().to_vec()
        };
        let index =
            br#"{"manifests":[{"annotations":{"io.containerd.image.name":"docker.io/library/nginx:1.27"}}]}"#;
        let name = 256 << 20;
        let head = member(tar::EntryType::GNULongName, "././@LongLink", name);
        let rest = [
            member(tar::EntryType::Regular, "index.json", index.len() as u64),
            index.to_vec(),
            vec![0; 2048],
        ]
        .concat();
        let longest = std::cell::Cell::new(0);
        let archive =
            Watched { inner: head.chain(std::io::repeat(0).take(name)).chain(&rest[..]), longest: &longest };
        let mut images = Images::default();
        images.add_archive(archive, "x.tar");
        assert!(images.find("nginx:1.27").is_ok());
        assert!(longest.get() < 1 << 20, "a buffer of {} bytes was filled", longest.get());
    }

    /// Records the longest buffer that is read into: a growing vector doubles its request.
    struct Watched<'w, R> {
        inner: R,
        longest: &'w std::cell::Cell<usize>,
    }

    impl<R: Read> Read for Watched<'_, R> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.longest.set(self.longest.get().max(buffer.len()));
            self.inner.read(buffer)
        }
    }

    // Until 2026-11 a digest counted as inside wherever its manifest was. containerd's CRI, asked for it, had not got it and
    // pulled (`tests/it/bake/kubernetes/importer.rs` asks; rancher/rke2#9309, k3s-io/k3s#13221).
    #[test]
    fn an_image_is_found_by_the_very_name_that_containerd_has_it_under() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let mut images = Images::default();
        images.add("docker.io/library/nginx:1.27", "assets/images/nginx.tar");
        for name in ["nginx:1.27", "docker.io/library/nginx:1.27", "index.docker.io/library/nginx:1.27"] {
            assert_eq!(images.find(name).as_deref(), Ok("assets/images/nginx.tar"), "{name}");
        }
        assert_eq!(images.find_any("docker.io/library/nginx").as_deref(), Ok("assets/images/nginx.tar"));
        let by_digest = [format!("nginx@{digest}"), format!("nginx:1.27@{digest}")];
        for name in by_digest.iter().map(String::as_str).chain(["nginx:1.28", "nginx"]) {
            let why = images.find(name).unwrap_err();
            assert!(why.contains("only as docker.io/library/nginx:1.27;"), "{name}: {why}");
        }
        images.add(&format!("docker.io/library/nginx@{digest}"), "assets/images/nginx.tar");
        for name in by_digest {
            assert!(images.find(&name).is_ok(), "a digest wins over the tag beside it: {name}");
        }
        assert!(images.find("quay.io/nginx:1.27").unwrap_err().contains("no archive"));
        assert!(images.find("not an image").is_err());
        images.add("quay.io/nginx", "assets/images/other.tar");
        assert!(images.find("quay.io/nginx").is_err(), "it was imported under a name that nobody asks for");
    }
}
