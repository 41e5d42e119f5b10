//! The subset of SPDX 2.3 (JSON) that prebake writes and reads again.
//!
//! Field names and cardinalities are those of <https://spdx.github.io/spdx-spec/v2.3/>; what is optional there and unknown
//! here is left out.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::canonical::canonical_json;
use crate::base::digest::{Sha256, Sha512};

/// The id of the document itself.
pub const DOCUMENT: &str = "SPDXRef-DOCUMENT";
/// SPDX's word for what is not claimed.
pub const NOASSERTION: &str = "NOASSERTION";
/// Where documents are named whose creator has no place on the web (§6.5 of the specification).
const NAMESPACES: &str = "https://spdx.org/spdxdocs";

/// A document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// `SPDX-2.3`.
    pub spdx_version: String,
    /// `CC0-1.0`, as the specification demands.
    pub data_license: String,
    /// [`DOCUMENT`].
    #[serde(rename = "SPDXID")]
    pub id: String,
    /// What the document is about.
    pub name: String,
    /// A URI that no other document has: it ends with the digest of all else.
    pub document_namespace: String,
    /// Who made it, and when.
    pub creation_info: CreationInfo,
    /// Everything that is spoken of, sorted by id.
    pub packages: Vec<Package>,
    /// How they belong together, sorted.
    pub relationships: Vec<Relationship>,
}

/// Who made a document, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreationInfo {
    /// UTC, in whole seconds.
    pub created: String,
    /// `Tool: NAME`.
    pub creators: Vec<String>,
}

/// Something that can be delivered: an operating system, a program, an image, a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Unique in the document.
    #[serde(rename = "SPDXID")]
    pub id: String,
    /// As upstream calls it; a published file is called by its path.
    pub name: String,
    /// As upstream spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_info: Option<String>,
    /// Path in the tree of a published file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_file_name: Option<String>,
    /// Where it was fetched, or [`NOASSERTION`].
    pub download_location: String,
    /// Always false: file by file analyses need SHA-1.
    pub files_analyzed: bool,
    /// Digests of the bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<Checksum>,
    /// Names in the world outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_refs: Vec<ExternalRef>,
    /// What kind of thing it is.
    pub primary_package_purpose: Purpose,
    /// How its origin was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_info: Option<String>,
}

/// Kinds of packages (§7.24). The JSON schema has an underscore where the text has a hyphen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Purpose {
    /// A program that was fetched.
    Application,
    /// A container image.
    Container,
    /// A Flatcar release.
    OperatingSystem,
    /// A file system image or archive.
    Archive,
    /// A single file.
    File,
    /// The tree.
    Other,
}

/// A digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checksum {
    /// `SHA256` or `SHA512`.
    pub algorithm: String,
    /// Lower-case hex.
    pub checksum_value: String,
}

/// A name that others know a package by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRef {
    /// `PACKAGE-MANAGER` or `SECURITY`.
    pub reference_category: String,
    /// `purl` or `cpe23Type`.
    pub reference_type: String,
    /// The name.
    pub reference_locator: String,
}

/// How two elements belong together: the first, a verb, the second.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relationship {
    /// Whose relationship it is.
    pub spdx_element_id: String,
    /// The verb.
    pub relationship_type: Verb,
    /// To whom.
    pub related_spdx_element: String,
}

/// What packages are to each other (§11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verb {
    /// The document is about it.
    Describes,
    /// It has the other inside.
    Contains,
    /// It was made of the other.
    GeneratedFrom,
    /// It is of no use without the other.
    DependsOn,
}

impl Document {
    /// A document without a word in it.
    pub fn new(name: &str, epoch: u64) -> Self {
        let created = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
        Document {
            spdx_version: "SPDX-2.3".into(),
            data_license: "CC0-1.0".into(),
            id: DOCUMENT.into(),
            name: name.into(),
            document_namespace: String::new(),
            creation_info: CreationInfo {
                created: crate::base::clock::date(created),
                // Without its version: a newer prebake that builds the same bytes gives the same tree.
                creators: vec!["Tool: prebake".into()],
            },
            packages: Vec::new(),
            relationships: Vec::new(),
        }
    }

    /// Says that two elements belong together.
    pub fn relate(&mut self, element: &str, verb: Verb, related: &str) {
        self.relationships.push(Relationship {
            spdx_element_id: element.into(),
            relationship_type: verb,
            related_spdx_element: related.into(),
        });
    }

    /// The bytes, sorted and with their own namespace: canonical JSON.
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
    /// A package of which nothing more is said.
    pub fn new(id: String, name: &str, purpose: Purpose) -> Self {
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

    /// Its SHA-256, where it has one.
    pub fn sha256(&self) -> Option<Sha256> {
        self.checksums.iter().find(|sum| sum.algorithm == "SHA256")?.checksum_value.parse().ok()
    }
}

impl Checksum {
    /// SHA-256.
    pub fn sha256(digest: &Sha256) -> Self {
        Checksum { algorithm: "SHA256".into(), checksum_value: digest.to_string() }
    }

    /// SHA-512.
    pub fn sha512(digest: &Sha512) -> Self {
        Checksum { algorithm: "SHA512".into(), checksum_value: digest.to_string() }
    }
}

impl ExternalRef {
    /// A package URL.
    pub fn purl(locator: String) -> Self {
        let (category, kind) = ("PACKAGE-MANAGER".into(), "purl".into());
        ExternalRef { reference_category: category, reference_type: kind, reference_locator: locator }
    }

    /// A name of the CPE 2.3 dictionary.
    pub fn cpe(locator: String) -> Self {
        let (category, kind) = ("SECURITY".into(), "cpe23Type".into());
        ExternalRef { reference_category: category, reference_type: kind, reference_locator: locator }
    }
}

/// An id for something with a name of any letters: ids have letters, digits, dots and hyphens only, so a few digits of the
/// name's digest keep two names apart that look alike then.
pub fn id(kind: &str, name: &str) -> String {
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
