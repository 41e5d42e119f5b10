//! The statement of how a tree was made, and its signatures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::bake::recipe::Recipe;
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::tree::lock::Lock;
use crate::tree::manifest::Manifest;
use crate::tree::names::{self, PROVENANCE, SIGNATURE};
use crate::tree::provenance::statement::{
    self, BuildDefinition, Builder, Predicate, Resource, RunDetails, Statement,
};
use crate::trust::dsse::Envelope;
use crate::trust::minisign::{SecretKey, trusted_comment};

/// The builder, unless another is given: this program.
pub(crate) const BUILDER: &str = concat!("pkg:generic/prebake@", env!("CARGO_PKG_VERSION"));

/// The signers of a build.
pub struct Signing {
    /// The secret keys, at least one.
    pub keys: Vec<SecretKey>,
    /// The builder to be named instead of this program: a URI that verifiers of the statement know.
    pub builder: Option<String>,
}

/// The parameters of a build.
pub(crate) struct Request<'r> {
    /// The recipe that was built.
    pub recipe: &'r Recipe,
    /// Layers of the command line.
    pub layers: &'r [PathBuf],
    /// The lock that it was built from.
    pub lock: &'r Lock,
}

/// The files beside a manifest, by name: its signatures, and the signed statement. The same keys and tree give the same
/// bytes.
pub(crate) fn sign(
    manifest: &Manifest,
    request: &Request<'_>,
    signing: &Signing,
) -> Result<BTreeMap<String, Vec<u8>>, disk::Error> {
    let bytes = manifest.to_bytes();
    let comment = trusted_comment(manifest.epoch, names::MANIFEST);
    let signatures = signing.keys.iter().flat_map(|key| key.sign(&bytes, &comment).to_bytes()).collect();
    let statement = state(manifest, request, signing.builder.as_deref())?;
    let envelope = Envelope::sign(&statement.to_bytes(), &signing.keys);
    Ok(BTreeMap::from([(SIGNATURE.into(), signatures), (PROVENANCE.into(), envelope.to_bytes())]))
}

/// The statement about a tree.
pub(crate) fn state(
    manifest: &Manifest,
    request: &Request<'_>,
    builder: Option<&str>,
) -> Result<Statement, disk::Error> {
    let own = Resource::named(names::MANIFEST, &Sha256::of(&manifest.to_bytes()));
    let files = manifest.files.iter().map(|(path, file)| Resource::named(path, &file.sha256));
    let Request { recipe, layers, lock } = request;
    let recipe_name = Path::new(&recipe.source.name).file_name().unwrap_or_default().to_string_lossy();
    let given = layers.iter().map(|layer| {
        let name = layer.file_name().unwrap_or_default().to_string_lossy();
        Ok(Resource::named(&name, &digest_of(layer)?))
    });
    let given: Vec<Resource> = given.collect::<Result<_, disk::Error>>()?;
    let external = json!({
        "recipe": Resource::named(&recipe_name, &Sha256::of(recipe.source.text.as_bytes())),
        "layers": given,
        "base_url": recipe.base_url.as_ref().map(ToString::to_string),
    });
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Statement::new(
        [own].into_iter().chain(files).collect(),
        Predicate {
            build_definition: BuildDefinition {
                build_type: statement::BUILD_TYPE.into(),
                external_parameters: external,
                internal_parameters: json!({"epoch": manifest.epoch, "releases": manifest.releases}),
                resolved_dependencies: dependencies(recipe, lock)?,
            },
            run_details: RunDetails {
                builder: Builder {
                    id: builder.unwrap_or(BUILDER).into(),
                    version: BTreeMap::from([("prebake".to_owned(), version)]),
                },
            },
        },
    ))
}

/// Every fetched input, as in the lock, and the layers beside the recipe. Layers with secrets are left out: somebody
/// who knows most of such a layer could guess the rest by its digest.
pub(crate) fn dependencies(recipe: &Recipe, lock: &Lock) -> Result<Vec<Resource>, disk::Error> {
    let mut dependencies = BTreeMap::new();
    for (id, entry) in &lock.inputs {
        let mut resource = Resource::named(id, &entry.sha256);
        resource.uri = Some(entry.url.clone());
        resource.digest.extend(entry.sha512.map(|digest| ("sha512".to_owned(), digest.to_string())));
        resource.annotations.extend(entry.signer.clone().map(|signer| ("signer".to_owned(), signer)));
        dependencies.insert(id.clone(), resource);
    }
    let of_profiles = recipe.profiles.values().flat_map(|profile| &profile.ignition);
    for layer in of_profiles.chain(recipe.nodes.iter().flat_map(|node| &node.ignition)) {
        // Relative to the recipe, so that nothing reveals the directory of the build.
        let name = layer.value.strip_prefix(&recipe.directory).unwrap_or(&layer.value).display().to_string();
        let digest = digest_of(&layer.value)?;
        dependencies.insert(name.clone(), Resource::named(&name, &digest));
    }
    Ok(dependencies.into_values().collect())
}

pub(crate) fn digest_of(path: &Path) -> Result<Sha256, disk::Error> {
    fs::read(path).map(|bytes| Sha256::of(&bytes)).map_err(disk::Error::io("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bake::outputs;
    use crate::base::finding::Source;
    use crate::tree::manifest;
    use crate::tree::manifest::{File as Row, Role};
    use crate::tree::provenance::{Error, judge, verify};
    use crate::trust::minisign;
    use crate::trust::signers::{self, Trust};

    fn keys<const N: usize>() -> Vec<SecretKey> {
        std::iter::repeat_with(|| SecretKey::generate().unwrap()).take(N).collect()
    }

    fn trust(keys: &[SecretKey], threshold: usize) -> Trust {
        Trust::new(keys.iter().map(SecretKey::public), threshold).unwrap()
    }

    fn manifest(text: &[u8]) -> Manifest {
        let file = Row::new(Role::Boot, text.len() as u64, Sha256::of(text));
        Manifest {
            schema: manifest::SCHEMA,
            name: "x".into(),
            epoch: 1,
            releases: Vec::new(),
            files: BTreeMap::from([("boot.ipxe".to_owned(), file)]),
            joined: BTreeMap::new(),
        }
    }

    /// Signatures and statement of a manifest.
    fn signed(manifest: &Manifest, keys: Vec<SecretKey>) -> [Vec<u8>; 2] {
        let text = "schema: 1\nname: x\nrelease: {channel: stable}\nprofiles: {w: {}}\n";
        let source = Source::new("/somewhere/r.yaml", text);
        let (recipe, _) = Recipe::parse(&source, PathBuf::new(), outputs::read).unwrap();
        let request = Request { recipe: &recipe, layers: &[], lock: &Lock::empty() };
        let mut beside = sign(manifest, &request, &Signing { keys, builder: None }).unwrap();
        [SIGNATURE, PROVENANCE].map(|name| beside.remove(name).unwrap())
    }

    #[test]
    fn two_signers_prove_a_manifest_and_its_statement_by_a_threshold_of_two() {
        let keys = keys::<2>();
        let (both, one) = (trust(&keys, 2), trust(&keys[..1], 1));
        let manifest = manifest(b"1");
        let bytes = manifest.to_bytes();
        let [signatures, envelope] = signed(&manifest, keys);
        let judge = |trust| judge("t", &bytes, Some(&signatures), Some(&envelope), trust, &[]);
        let (proof, statement) = judge(&both).unwrap();
        assert_eq!(proof.signers.len(), 2);
        let statement = statement.unwrap();
        assert_eq!(statement.predicate.run_details.builder.id, BUILDER);
        let recipe = &statement.predicate.build_definition.external_parameters["recipe"];
        assert_eq!(recipe["name"], "r.yaml", "nothing tells where it was built");
        assert_eq!(judge(&one).unwrap().0.signers.len(), 1);
        assert!(matches!(
            judge(&trust(&self::keys::<1>(), 1)),
            Err(Error::Trust(signers::Error::TooFew { .. }))
        ));
    }

    #[test]
    fn a_statement_about_another_tree_proves_nothing() {
        let key = keys::<1>();
        let trust = trust(&key, 1);
        let (old, new) = (manifest(b"1"), manifest(b"2"));
        let key_again = || {
            let text = key[0].to_file(None).unwrap();
            match SecretKey::parse("k", &text).unwrap() {
                minisign::Secret::Open(key) => vec![key],
                minisign::Secret::Locked(_) => unreachable!("it was written without a passphrase"),
            }
        };
        let ([_, old_envelope], [signatures, _]) = (signed(&old, key_again()), signed(&new, key_again()));
        let verdict = judge("t", &new.to_bytes(), Some(&signatures), Some(&old_envelope), &trust, &[]);
        assert!(matches!(verdict, Err(Error::Another { .. })));
        let unsigned = judge("t", &new.to_bytes(), None, Some(&old_envelope), &trust, &[]);
        assert!(matches!(unsigned, Err(Error::Trust(signers::Error::Unsigned { .. }))));
    }

    #[test]
    fn no_byte_of_signatures_and_statement_can_be_changed() {
        let keys = keys::<2>();
        let trust = trust(&keys, 2);
        let manifest = manifest(b"1");
        let bytes = manifest.to_bytes();
        let [signatures, envelope] = signed(&manifest, keys);
        for place in 0..signatures.len() {
            let mut flipped = signatures.clone();
            flipped[place] ^= 1;
            assert!(judge("t", &bytes, Some(&flipped), Some(&envelope), &trust, &[]).is_err(), "{place}");
        }
        for place in 0..envelope.len() {
            let mut flipped = envelope.clone();
            flipped[place] ^= 1;
            assert!(verify("p", &flipped, &trust, &[]).is_err(), "{place}");
        }
    }
}
