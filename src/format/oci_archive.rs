//! OCI archives: an image layout in a tar, as `ctr images import`, `skopeo` and `docker load` read it.
//!
//! Layout and annotations follow the OCI image specification and what containerd's own export writes. Blobs are
//! streamed from their files, and the bytes depend on the image only: same image, same archive.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde_json::json;

use crate::base::arch::Arch;
use crate::base::canonical::canonical_json;
use crate::base::digest::{Object, Sha256};
use crate::base::error::Advice;

/// Part of step keys; raised when the bytes change for the same image.
pub(crate) const REVISION: u32 = 1;

/// An image whose blobs are on disk.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    /// The full name under which it is imported, such as `registry.k8s.io/pause:3.10`.
    pub name: String,
    /// Its tag alone, if it has one.
    pub tag: Option<&'a str>,
    /// The machines' architecture; the image's own config is sometimes wrong about it.
    pub arch: Arch,
    /// The manifest's media type.
    pub media_type: String,
    /// Digest and size of the manifest.
    pub manifest: Object,
    /// Every blob with the file that holds it: the manifest, the config, each layer once.
    pub blobs: Vec<(Object, PathBuf)>,
}

/// Reasons why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A blob's file cannot be read, or has changed.
    #[error("cannot pack {}", path.display())]
    Blob {
        /// The blob's file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The archive itself could not be written.
    #[error("cannot write the archive of {name}")]
    Write {
        /// The image's full name.
        name: String,
        /// The system's error.
        source: io::Error,
    },
}

impl Advice for Error {}

/// The member that says which images there are.
pub(crate) const INDEX: &str = "index.json";
/// The annotation in it by which containerd names an image.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";

impl Archive<'_> {
    /// Writes the archive, in one pass.
    pub(crate) fn write(&self, out: &mut impl Write) -> Result<(), Error> {
        let cannot = |source| Error::Write { name: self.name.clone(), source };
        let mut tar = tar::Builder::new(out);
        let texts =
            [("oci-layout", canonical_json(&json!({"imageLayoutVersion": "1.0.0"}))), (INDEX, self.index())];
        for (path, bytes) in &texts {
            append(&mut tar, path, bytes.len() as u64, bytes.as_slice()).map_err(cannot)?;
        }
        let mut blobs: Vec<&(Object, PathBuf)> = self.blobs.iter().collect();
        blobs.sort_by_key(|(object, _)| object.sha256);
        for (object, path) in blobs {
            let failed = |source| Error::Blob { path: path.clone(), source };
            let file = File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.len() != object.size {
                return Err(failed(io::Error::other(format!(
                    "its length is no longer {} bytes",
                    object.size
                ))));
            }
            append(&mut tar, &blob_path(&object.sha256), object.size, file).map_err(failed)?;
        }
        tar.finish().map_err(cannot)
    }

    /// The index. containerd takes the name from its own annotation, other programs take the tag from OCI's.
    fn index(&self) -> Vec<u8> {
        let mut annotations = json!({IMAGE_NAME: self.name});
        if let Some(tag) = self.tag {
            annotations["org.opencontainers.image.ref.name"] = json!(tag);
        }
        canonical_json(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": self.media_type,
                "digest": format!("sha256:{}", self.manifest.sha256),
                "size": self.manifest.size,
                "platform": {"os": "linux", "architecture": self.arch.go()},
                "annotations": annotations,
            }],
        }))
    }
}

fn blob_path(sha256: &Sha256) -> String {
    format!("blobs/sha256/{sha256}")
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, size: u64, bytes: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(directory: &std::path::Path) -> Archive<'static> {
        let blob = |text: &str| {
            let object = Object::of(text.as_bytes());
            let path = directory.join(text);
            std::fs::write(&path, text).unwrap();
            (object, path)
        };
        let manifest = blob("manifest");
        Archive {
            name: "registry.k8s.io/pause:3.10".into(),
            tag: Some("3.10"),
            arch: Arch::Amd64,
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            manifest: manifest.0,
            blobs: vec![manifest, blob("config"), blob("layer")],
        }
    }

    #[test]
    fn an_archive_holds_the_layout_the_named_manifest_and_every_blob_under_its_digest() {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        archive(directory.path()).write(&mut bytes).unwrap();
        let mut members = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!((entry.header().mtime().unwrap(), entry.header().uid().unwrap()), (0, 0));
            let path = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            members.insert(path, text);
        }
        for blob in ["manifest", "config", "layer"] {
            assert_eq!(members.remove(&blob_path(&Sha256::of(blob.as_bytes()))).as_deref(), Some(blob));
        }
        let index: serde_json::Value = serde_json::from_str(&members["index.json"]).unwrap();
        let annotations = &index["manifests"][0]["annotations"];
        assert_eq!(annotations["io.containerd.image.name"], "registry.k8s.io/pause:3.10");
        assert_eq!(annotations["org.opencontainers.image.ref.name"], "3.10");
        assert_eq!(members.into_keys().collect::<Vec<_>>(), ["index.json", "oci-layout"]);
    }

    #[test]
    fn the_order_of_blobs_leaves_no_trace_and_a_shortened_blob_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let mut archive = archive(directory.path());
        let (mut first, mut second) = (Vec::new(), Vec::new());
        archive.write(&mut first).unwrap();
        archive.blobs.reverse();
        archive.write(&mut second).unwrap();
        assert_eq!(first, second);
        std::fs::write(&archive.blobs[0].1, "lay").unwrap();
        assert!(matches!(archive.write(&mut io::sink()), Err(Error::Blob { .. })));
    }
}
