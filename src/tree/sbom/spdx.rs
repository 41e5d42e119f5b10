//! The subset of SPDX 2.3 (JSON) that prebake writes and reads again.
//!
//! Field names and cardinalities are those of <https://spdx.github.io/spdx-spec/v2.3/>; optional fields that prebake
//! does not know are left out.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::canonical::canonical_json;
use crate::base::digest::{Sha256, Sha512};

/// Id of the document itself.
pub(crate) const DOCUMENT: &str = "SPDXRef-DOCUMENT";
/// SPDX's value for a fact that is not claimed.
pub(crate) const NOASSERTION: &str = "NOASSERTION";
/// Namespace of documents whose creator has no website (§6.5 of the specification).
const NAMESPACES: &str = "https://spdx.org/spdxdocs";

/// An SPDX document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Version of SPDX: `SPDX-2.3`.
    pub spdx_version: String,
    /// Licence of the data: `CC0-1.0`, as the specification requires.
    pub data_license: String,
    /// Id of the document: [`DOCUMENT`].
    #[serde(rename = "SPDXID")]
    pub id: String,
    /// Name of the tree that it describes.
    pub name: String,
    /// A URI that no other document has: it ends with the digest of the rest.
    pub document_namespace: String,
    /// Creator and time of the document.
    pub creation_info: CreationInfo,
    /// All packages, sorted by id.
    pub packages: Vec<Package>,
    /// Relationships between packages, sorted.
    pub relationships: Vec<Relationship>,
}

/// Creator and time of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreationInfo {
    /// Time in UTC, in whole seconds.
    pub created: String,
    /// Creators in the form `Tool: NAME`.
    pub creators: Vec<String>,
}

/// A unit of delivery: an operating system, a program, an image, a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Id that is unique in the document.
    #[serde(rename = "SPDXID")]
    pub id: String,
    /// Upstream's name; for a published file, its path.
    pub name: String,
    /// Version in upstream's spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_info: Option<String>,
    /// Path in the tree, for a published file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_file_name: Option<String>,
    /// URL that it was fetched from, or [`NOASSERTION`].
    pub download_location: String,
    /// Always false: an analysis by file would need SHA-1.
    pub files_analyzed: bool,
    /// Digests of the bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<Checksum>,
    /// Names in other catalogues.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_refs: Vec<ExternalRef>,
    /// Kind of the package.
    pub primary_package_purpose: Purpose,
    /// How its origin was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_info: Option<String>,
}

/// Kinds of packages (§7.24). The JSON schema has an underscore where the text has a hyphen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Purpose {
    /// A fetched program.
    Application,
    /// A container image.
    Container,
    /// A Flatcar release.
    OperatingSystem,
    /// A file system image or archive.
    Archive,
    /// A single file.
    File,
    /// The tree itself.
    Other,
}

/// A digest with its algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checksum {
    /// `SHA256` or `SHA512`.
    pub algorithm: String,
    /// The digest in lower-case hex.
    pub checksum_value: String,
}

/// A name of a package in another catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRef {
    /// `PACKAGE-MANAGER` or `SECURITY`.
    pub reference_category: String,
    /// `purl` or `cpe23Type`.
    pub reference_type: String,
    /// The package's name there.
    pub reference_locator: String,
}

/// A relationship of two elements: the first, a verb, the second.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relationship {
    /// Id of the first element.
    pub spdx_element_id: String,
    /// Kind of the relationship.
    pub relationship_type: Verb,
    /// Id of the second element.
    pub related_spdx_element: String,
}

/// Kinds of relationships (§11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verb {
    /// The first element, the document, describes the second.
    Describes,
    /// The first element contains the second.
    Contains,
    /// The first element was generated from the second.
    GeneratedFrom,
    /// The first element depends on the second.
    DependsOn,
}

impl Document {
    /// A document without packages.
    pub(crate) fn new(name: &str, epoch: u64) -> Self {
        let created = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
        Document {
            spdx_version: "SPDX-2.3".into(),
            data_license: "CC0-1.0".into(),
            id: DOCUMENT.into(),
            name: name.into(),
            document_namespace: String::new(),
            creation_info: CreationInfo {
                created: crate::base::clock::date(created),
                // Without its version: a newer prebake that builds the same bytes makes the same tree.
                creators: vec!["Tool: prebake".into()],
            },
            packages: Vec::new(),
            relationships: Vec::new(),
        }
    }

    /// Adds a relationship.
    pub(crate) fn relate(&mut self, element: &str, verb: Verb, related: &str) {
        self.relationships.push(Relationship {
            spdx_element_id: element.into(),
            relationship_type: verb,
            related_spdx_element: related.into(),
        });
    }

    /// The document's bytes: sorted, with its own namespace, as canonical JSON.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.packages.sort_by(|a, b| a.id.cmp(&b.id));
        self.relationships.sort();
        self.relationships.dedup();
        self.document_namespace = String::new();
        let digest = Sha256::of(&canonical_json(&self));
        self.document_namespace = format!("{NAMESPACES}/{}-{digest}", self.name);
        canonical_json(&self)
    }
}

impl Package {
    /// A package without any of the optional fields.
    pub(crate) fn new(id: String, name: &str, purpose: Purpose) -> Self {
        Package {
            id,
            name: name.into(),
            version_info: None,
            package_file_name: None,
            download_location: NOASSERTION.into(),
            files_analyzed: false,
            checksums: Vec::new(),
            external_refs: Vec::new(),
            primary_package_purpose: purpose,
            source_info: None,
        }
    }

    /// Its SHA-256, if it has one.
    pub(crate) fn sha256(&self) -> Option<Sha256> {
        self.checksums.iter().find(|sum| sum.algorithm == "SHA256")?.checksum_value.parse().ok()
    }
}

impl Checksum {
    /// A SHA-256 entry.
    pub(crate) fn sha256(digest: &Sha256) -> Self {
        Checksum { algorithm: "SHA256".into(), checksum_value: digest.to_string() }
    }

    /// A SHA-512 entry.
    pub(crate) fn sha512(digest: &Sha512) -> Self {
        Checksum { algorithm: "SHA512".into(), checksum_value: digest.to_string() }
    }
}

impl ExternalRef {
    /// A reference by package URL.
    pub(crate) fn purl(locator: String) -> Self {
        let (category, kind) = ("PACKAGE-MANAGER".into(), "purl".into());
        ExternalRef { reference_category: category, reference_type: kind, reference_locator: locator }
    }

    /// A reference by a CPE 2.3 name.
    pub(crate) fn cpe(locator: String) -> Self {
        let (category, kind) = ("SECURITY".into(), "cpe23Type".into());
        ExternalRef { reference_category: category, reference_type: kind, reference_locator: locator }
    }
}

/// An id for a name of any characters: ids have only letters, digits, dots and hyphens, so a few digits of the name's
/// digest keep two names distinct that would look alike.
pub(crate) fn id(kind: &str, name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let looks: String = name.chars().map(plain).collect();
    format!("SPDXRef-{kind}-{looks}-{}", &Sha256::of(name.as_bytes()).to_string()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_no_letters_but_those_that_spdx_takes_and_do_not_collide() {
        let (plus, minus) = (id("File", "overlay/a+b.cpio"), id("File", "overlay/a-b.cpio"));
        assert!(plus.starts_with("SPDXRef-File-overlay-a-b.cpio-"), "{plus}");
        assert_ne!(plus, minus);
        assert!(plus.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)));
    }

    #[test]
    fn a_document_is_named_after_all_that_it_says() {
        let document = Document::new("x", 0);
        let other = Document { name: "x".into(), ..Document::new("x", 1) };
        let (first, second) = (document.clone().into_bytes(), other.into_bytes());
        assert_eq!(first, document.into_bytes());
        let namespace = |bytes: &[u8]| serde_json::from_slice::<Document>(bytes).unwrap().document_namespace;
        assert_ne!(namespace(&first), namespace(&second));
        assert!(namespace(&first).starts_with("https://spdx.org/spdxdocs/x-"));
    }
}
