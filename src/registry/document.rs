//! The JSON documents of a registry: index, manifest and config, in OCI's media types and in Docker's older ones.
//!
//! Turns bytes into checked values. Descriptors become objects of the store, so only sha256 is accepted.

use std::collections::BTreeSet;

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;

use crate::base::arch::Arch;
use crate::base::digest::Object;
use crate::base::words::{self, printable};

/// Longest document that is read, in bytes: the distribution specification's limit for manifests that registries must
/// accept.
pub(crate) const MAX_DOCUMENT: u64 = 4 << 20;
/// Most layers of an image. Linux's overlay file system stacks at most 500, Docker 127.
const MAX_LAYERS: usize = 500;
/// Most manifests of an index.
const MAX_MANIFESTS: usize = 1000;
/// Most manifests without a platform whose configs are examined.
const MAX_UNNAMED: usize = 16;
/// The annotation of BuildKit's manifests with provenance about a build.
const ATTESTATION: &str = "vnd.docker.reference.type";
/// Suffix of the media types of encrypted layers (ocicrypt).
const ENCRYPTED: &str = "+encrypted";

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The `Accept` header for manifests.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Document at a manifest's URL.
#[derive(Debug)]
pub enum Document {
    /// One manifest per platform.
    Index(Index),
    /// An image for one platform.
    Manifest(Manifest),
}

/// One manifest per platform.
#[derive(Debug)]
pub struct Index(Vec<Descriptor>);

/// An image for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The media type that a descriptor of this manifest must have.
    pub media_type: String,
    /// The image's configuration.
    pub config: Object,
    /// Its layers, lowest first. A layer may occur twice.
    pub layers: Vec<Object>,
    /// The media type of an encrypted layer, if there is one.
    pub encrypted: Option<String>,
}

/// The reason why a manifest of an index may be the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The index names its platform.
    Named,
    /// The index does not name it; its config does.
    Unnamed,
}

/// The fields that distinguish the documents.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

/// Reads an index or a manifest.
///
/// # Errors
/// In words, its defect.
pub fn parse(bytes: &[u8]) -> Result<Document, String> {
    let probe: Probe = json(bytes)?;
    if probe.schema_version != 2 {
        return Err(format!(
            "it has schema version {}, and only 2 is supported; push the image again with a current tool",
            probe.schema_version
        ));
    }
    if probe.manifests.is_some() {
        must_be(probe.media_type.as_deref(), &[MediaType::ImageIndex.as_ref(), DOCKER_LIST])?;
        let manifests = json::<ImageIndex>(bytes)?.manifests().clone();
        return match manifests.len() > MAX_MANIFESTS {
            true => Err(format!("it lists {} manifests, more than {MAX_MANIFESTS}", manifests.len())),
            false => Ok(Document::Index(Index(manifests))),
        };
    }
    let oci = MediaType::ImageManifest.to_string();
    must_be(probe.media_type.as_deref(), &[&oci, DOCKER_MANIFEST])?;
    let manifest: ImageManifest = json(bytes)?;
    if manifest.layers().len() > MAX_LAYERS {
        return Err(format!("it has {} layers, more than {MAX_LAYERS}", manifest.layers().len()));
    }
    let config = manifest.config().media_type().to_string();
    if config != MediaType::ImageConfig.as_ref() && config != DOCKER_CONFIG {
        return Err(format!("it is not a container image: its config is {config}"));
    }
    Ok(Document::Manifest(Manifest {
        media_type: probe.media_type.unwrap_or(oci),
        config: object(manifest.config())?,
        layers: manifest.layers().iter().map(object).collect::<Result<_, _>>()?,
        encrypted: manifest
            .layers()
            .iter()
            .map(|layer| layer.media_type().to_string())
            .find(|kind| kind.contains(ENCRYPTED))
            .map(|kind| printable(&kind)),
    }))
}

impl Index {
    /// Candidates for the Linux manifest of an architecture: the manifest for its oldest processors, else the first; if
    /// no platform fits, the manifests without a platform.
    ///
    /// # Errors
    /// In words, the defect of the one that fits.
    pub fn choices(&self, arch: Arch) -> Result<Vec<(Choice, Object)>, String> {
        let fits = |descriptor: &&Descriptor| {
            descriptor.platform().as_ref().is_some_and(|p| {
                p.os().to_string().eq_ignore_ascii_case("linux")
                    && canonical(&p.architecture().to_string()) == arch.go()
            })
        };
        let variant =
            |descriptor: &Descriptor| descriptor.platform().as_ref().and_then(|p| p.variant().clone());
        // Every machine of the architecture can run these.
        let base = |descriptor: &&Descriptor| {
            matches!(variant(descriptor).as_deref(), None | Some("" | "v1" | "v8"))
        };
        let all = || self.0.iter().filter(fits);
        if let Some(found) = all().find(base).or_else(|| all().next()) {
            return Ok(vec![(Choice::Named, object(found)?)]);
        }
        let is_about = |descriptor: &&Descriptor| {
            descriptor.annotations().as_ref().is_some_and(|notes| notes.contains_key(ATTESTATION))
        };
        let is_unnamed = |descriptor: &&Descriptor| {
            descriptor.platform().as_ref().is_none_or(|p| p.architecture().to_string().is_empty())
        };
        let unnamed = self.0.iter().filter(|descriptor| is_unnamed(descriptor) && !is_about(descriptor));
        unnamed.take(MAX_UNNAMED).map(|descriptor| Ok((Choice::Unnamed, object(descriptor)?))).collect()
    }

    /// Every platform, such as `linux/arm64/v8`. BuildKit's manifests about a build have none.
    pub fn platforms(&self) -> Vec<String> {
        let platforms = self.0.iter().filter_map(|descriptor| descriptor.platform().as_ref());
        let known =
            platforms.filter(|p| p.os().to_string() != "unknown" && !p.architecture().to_string().is_empty());
        let mut names: Vec<String> = known
            .map(|p| {
                let variant = p.variant().as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
                printable(&format!("{}/{}{variant}", p.os(), p.architecture()))
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The platform that an image's configuration names, such as `linux/amd64`, if it is not the wanted one.
///
/// # Errors
/// In words, the configuration's defect.
pub fn foreign_platform(config: &[u8], arch: Arch) -> Result<Option<String>, String> {
    // Builders fill in the other fields with some freedom, which is left to the container runtime to judge.
    #[derive(Deserialize)]
    struct Config {
        os: String,
        architecture: String,
    }
    let Config { os, architecture } = json(config)?;
    let same = os.eq_ignore_ascii_case("linux") && canonical(&architecture) == arch.go();
    Ok((!same).then(|| printable(&format!("{os}/{architecture}"))))
}

/// Go's name of an architecture, for each spelling that containerd accepts (`platforms.Normalize`).
fn canonical(architecture: &str) -> String {
    let lower = architecture.to_ascii_lowercase();
    match lower.as_str() {
        "x86_64" | "x86-64" => "amd64".into(),
        "aarch64" => "arm64".into(),
        _ => lower,
    }
}

fn json<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, String> {
    let why = |error: serde_json::Error| match crate::base::words::page(bytes) {
        Some(_) => "it is an HTML page, probably from a login or a proxy".into(),
        None => printable(&words::of_serde(&error)),
    };
    serde_json::from_slice(bytes).map_err(|error| format!("it is not the JSON of a registry: {}", why(error)))
}

fn must_be(found: Option<&str>, known: &[&str]) -> Result<(), String> {
    match found {
        Some(found) if !known.contains(&found) => Err(format!("its media type is {}", printable(found))),
        _ => Ok(()),
    }
}

fn object(descriptor: &Descriptor) -> Result<Object, String> {
    let digest = descriptor.digest();
    match digest.algorithm().as_ref() {
        "sha256" => Ok(Object { sha256: digest.digest().parse()?, size: descriptor.size() }),
        other => Err(format!("it has a digest of the type {}; only sha256 is supported", printable(other))),
    }
}

impl Manifest {
    /// The layers without duplicates, lowest first.
    pub fn distinct_layers(&self) -> Vec<Object> {
        let mut seen = BTreeSet::from([self.config.sha256]);
        self.layers.iter().filter(|layer| seen.insert(layer.sha256)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::base::digest::Sha256;

    fn digest(text: &str) -> String {
        format!("sha256:{}", Sha256::of(text.as_bytes()))
    }

    fn manifest(layers: usize) -> serde_json::Value {
        let layer = |n| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(&format!("{n}")), "size": n});
        json!({
            "schemaVersion": 2,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest("c"), "size": 7},
            "layers": (0..layers).map(layer).collect::<Vec<_>>(),
        })
    }

    fn index(platforms: &[(&str, &str, Option<&str>)]) -> Vec<u8> {
        let entry = |(n, (os, arch, variant)): (usize, &(&str, &str, Option<&str>))| {
            let mut platform = json!({"os": os, "architecture": arch});
            if let Some(variant) = variant {
                platform["variant"] = json!(variant);
            }
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest("m"), "size": n, "platform": platform})
        };
        let manifests: Vec<_> = platforms.iter().enumerate().map(entry).collect();
        json!({"schemaVersion": 2, "manifests": manifests}).to_string().into_bytes()
    }

    fn selected(platforms: &[(&str, &str, Option<&str>)], arch: Arch) -> Result<u64, Vec<String>> {
        let Ok(Document::Index(index)) = parse(&index(platforms)) else { panic!("an index expected") };
        let choices = index.choices(arch).unwrap();
        choices.first().map(|(_, object)| object.size).ok_or_else(|| index.platforms())
    }

    #[test]
    fn an_index_yields_the_manifest_for_linux_on_the_architecture() {
        let all = [
            ("windows", "amd64", None),
            ("linux", "arm64", Some("v8")),
            ("linux", "amd64", Some("v3")),
            ("linux", "amd64", None),
            ("unknown", "unknown", None),
        ];
        assert_eq!(selected(&all, Arch::Amd64), Ok(3));
        assert_eq!(selected(&all, Arch::Arm64), Ok(1));
        let others = ["linux/amd64", "linux/amd64/v3", "windows/amd64"].map(str::to_owned).to_vec();
        assert_eq!(selected(&[all[0], all[2], all[3], all[4]], Arch::Arm64), Err(others));
    }

    #[test]
    fn architectures_are_known_by_the_names_that_containerd_knows() {
        let odd = [("linux", "aarch64", None), ("Linux", "X86_64", None)];
        assert_eq!((selected(&odd, Arch::Amd64), selected(&odd, Arch::Arm64)), (Ok(1), Ok(0)));
    }

    #[test]
    fn manifests_without_a_platform_are_looked_at_where_none_fits_but_not_what_tells_of_a_build() {
        let descriptor = |n: u64, platform: Option<&str>, about: bool| {
            let mut descriptor = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest("m"), "size": n});
            if let Some(arch) = platform {
                descriptor["platform"] = json!({"os": "linux", "architecture": arch});
            }
            if about {
                descriptor["annotations"] = json!({ATTESTATION: "attestation-manifest"});
            }
            descriptor
        };
        let sizes = |entries: Vec<serde_json::Value>| {
            let bytes = json!({"schemaVersion": 2, "manifests": entries}).to_string();
            let Ok(Document::Index(index)) = parse(bytes.as_bytes()) else { panic!("an index expected") };
            index
                .choices(Arch::Amd64)
                .unwrap()
                .iter()
                .map(|(choice, object)| (*choice, object.size))
                .collect::<Vec<_>>()
        };
        let plain = |n| descriptor(n, None, false);
        assert_eq!(sizes(vec![plain(1)]), [(Choice::Unnamed, 1)]);
        assert_eq!(
            sizes(vec![plain(1), descriptor(2, None, true), descriptor(3, Some("arm64"), false), plain(4)]),
            [(Choice::Unnamed, 1), (Choice::Unnamed, 4)]
        );
        assert_eq!(sizes(vec![plain(1), descriptor(2, Some("amd64"), false)]), [(Choice::Named, 2)]);
        assert_eq!(sizes((0..40).map(plain).collect()).len(), MAX_UNNAMED);
    }

    #[test]
    fn an_encrypted_layer_is_noticed() {
        let mut encrypted = manifest(2);
        encrypted["layers"][1]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
        for (document, expected) in [(encrypted, true), (manifest(2), false)] {
            let Ok(Document::Manifest(manifest)) = parse(document.to_string().as_bytes()) else { panic!() };
            assert_eq!(manifest.encrypted.is_some(), expected);
        }
    }

    #[test]
    fn a_manifest_lists_its_blobs_and_a_blob_that_is_there_twice_once() {
        let mut document = manifest(2);
        let again = document["layers"][0].clone();
        document["layers"].as_array_mut().unwrap().push(again);
        let Ok(Document::Manifest(manifest)) = parse(document.to_string().as_bytes()) else { panic!() };
        assert_eq!((manifest.layers.len(), manifest.distinct_layers().len()), (3, 2));
        assert_eq!(manifest.media_type, "application/vnd.oci.image.manifest.v1+json");
    }

    #[test]
    fn dockers_older_media_types_are_read_and_kept() {
        let mut docker = manifest(1);
        docker["mediaType"] = json!(DOCKER_MANIFEST);
        docker["config"]["mediaType"] = json!(DOCKER_CONFIG);
        let Ok(Document::Manifest(manifest)) = parse(docker.to_string().as_bytes()) else { panic!() };
        assert_eq!(manifest.media_type, DOCKER_MANIFEST);
        let list = json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": []});
        assert!(matches!(parse(list.to_string().as_bytes()), Ok(Document::Index(_))));
    }

    #[test]
    fn what_is_no_container_image_is_refused_with_the_reason() {
        let mut chart = manifest(1);
        chart["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
        let mut sha512 = manifest(1);
        sha512["layers"][0]["digest"] = json!(format!("sha512:{}", "a".repeat(128)));
        let mut foreign = manifest(1);
        foreign["mediaType"] = json!("application/vnd.example+json");
        let cases = [
            (json!({"schemaVersion": 1, "fsLayers": []}), "schema version 1"),
            (chart, "helm.config"),
            (sha512, "only sha256"),
            (foreign, "its media type is application/vnd.example+json"),
            (manifest(MAX_LAYERS + 1), "501 layers"),
            (json!({"schemaVersion": 2}), "not the JSON of a registry"),
            (json!([]), "not the JSON of a registry"),
        ];
        for (document, why) in cases {
            let error = parse(document.to_string().as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert!(parse(b"<html>login</html>").is_err());
    }

    #[test]
    fn the_config_tells_the_platform() {
        let config = |arch: &str| {
            let config =
                json!({"os": "linux", "architecture": arch, "rootfs": {"type": "layers", "diff_ids": []}});
            config.to_string().into_bytes()
        };
        assert_eq!(foreign_platform(&config("amd64"), Arch::Amd64), Ok(None));
        assert_eq!(foreign_platform(&config("s390x"), Arch::Arm64), Ok(Some("linux/s390x".into())));
        assert!(foreign_platform(b"{}", Arch::Amd64).is_err());
    }

    proptest! {
        #[test]
        fn no_document_makes_the_parser_panic(cut in 0usize..400, junk in ".{0,40}", documents in 0u8..2) {
            let whole = match documents {
                0 => manifest(2).to_string(),
                _ => String::from_utf8(index(&[("linux", "amd64", None)])).unwrap(),
            };
            let mut bytes = whole.into_bytes();
            let at = cut.min(bytes.len());
            bytes.splice(at..(at + junk.len()).min(bytes.len()), junk.bytes());
            if let Ok(Document::Index(index)) = parse(&bytes) {
                let _ = index.choices(Arch::Amd64);
            }
            let _ = foreign_platform(&bytes, Arch::Arm64);
        }
    }
}
