//! in-toto's Statement v1 with SLSA's provenance v1 inside (<https://slsa.dev/spec/v1.0/provenance>): the fields that
//! prebake uses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::canonical::canonical_json;
use crate::base::digest::Sha256;
use crate::base::words;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// URI of the definition of a build's parameters: docs/formats/provenance.md. Raised when their meaning changes.
pub(crate) const BUILD_TYPE: &str = "urn:prebake:build:1";

/// A statement about files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    /// The files: the manifest, and all that it names.
    pub subject: Vec<Resource>,
    predicate_type: String,
    /// The statement about these files.
    pub predicate: Predicate,
}

/// A file, here or elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource {
    /// Path in the tree, id in the lock, or file name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Canonical URL of a fetched file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Lower-case hex digests by algorithm.
    pub digest: BTreeMap<String, String>,
    /// `signer`: fingerprint of the OpenPGP key whose signature was verified.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Origin of the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Predicate {
    /// Parameters and inputs of the build.
    pub build_definition: BuildDefinition,
    /// Builder of the files.
    pub run_details: RunDetails,
}

/// Parameters and inputs of the build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuildDefinition {
    /// URI of their definition: [`BUILD_TYPE`].
    pub build_type: String,
    /// A person's choices: the recipe, layers of the command line.
    pub external_parameters: Value,
    /// Parameters that followed from these choices.
    pub internal_parameters: Value,
    /// Every input.
    pub resolved_dependencies: Vec<Resource>,
}

/// Builder of the files. The time is left out, so the same build gives the same statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunDetails {
    /// The builder that one has to trust.
    pub builder: Builder,
}

/// The builder, who must be trusted to have built from these parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Builder {
    /// URI of the builder.
    pub id: String,
    /// Versions of the builder's tools.
    pub version: BTreeMap<String, String>,
}

impl Statement {
    /// A statement about these files.
    pub(crate) fn new(subject: Vec<Resource>, predicate: Predicate) -> Self {
        Statement { kind: STATEMENT.into(), subject, predicate_type: PROVENANCE.into(), predicate }
    }

    /// Reads a statement of prebake.
    ///
    /// # Errors
    /// A description of the fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let statement: Statement = serde_json::from_slice(bytes).map_err(|error| words::of_serde(&error))?;
        let Statement { kind, predicate_type, .. } = &statement;
        match (kind.as_str(), predicate_type.as_str()) {
            (STATEMENT, PROVENANCE) => Ok(statement),
            _ => Err(format!("it is `{predicate_type}` in `{kind}`, not SLSA's provenance v1")),
        }
    }

    /// URI of the builder that it names.
    pub(crate) fn builder(&self) -> &str {
        &self.predicate.run_details.builder.id
    }

    /// The file's bytes: canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_json(self)
    }
}

impl Resource {
    /// A file by its name and SHA-256.
    pub(crate) fn named(name: &str, sha256: &Sha256) -> Self {
        let digest = BTreeMap::from([("sha256".to_owned(), sha256.to_string())]);
        Resource { name: Some(name.into()), digest, ..Resource::default() }
    }
}
