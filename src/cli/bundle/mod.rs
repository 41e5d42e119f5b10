//! `prebake bundle`: trees in one signed file, for a site without a network.

mod create;
mod import;
mod inspect;
mod sign;
mod verify;

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::base::count::counted;
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::tree::bundle::index::Index;
use crate::tree::bundle::signatures::Signatures;
use crate::trust::minisign;
use crate::trust::rotation::Rotation;

pub(crate) use verify::VerifyArgs;

/// Carry trees to a site without a network, in one signed file
///
/// On the machine that builds: `prebake bundle create output/NAME/current -o NAME.bundle --sign-key KEY`. At the site:
/// `prebake bundle import NAME.bundle --trust KEY.pub`; later imports know the key. A bundle is a plain tar archive, and its
/// README says how to unpack it with tar, minisign and sha256sum alone.
#[derive(Args)]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    verb: BundleVerb,
}

#[derive(Subcommand)]
enum BundleVerb {
    Create(Box<create::CreateArgs>),
    Diff(Box<super::diff::DiffArgs>),
    Sign(sign::SignBundleArgs),
    Verify(VerifyArgs),
    Inspect(inspect::InspectArgs),
    Import(import::ImportArgs),
}

impl BundleArgs {
    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            BundleVerb::Create(args) => args.run(),
            BundleVerb::Diff(args) => args.run(),
            BundleVerb::Sign(args) => args.run(),
            BundleVerb::Verify(args) => args.run(),
            BundleVerb::Inspect(args) => args.run(),
            BundleVerb::Import(args) => args.run(),
        }
    }
}

/// Reasons why a verb on bundles fails before it begins.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the bundle would not be signed")]
    Unsigned,
    #[error("the bundle would be signed, but --unsigned was given")]
    Signed,
    #[error("a bundle of several trees needs a name")]
    Nameless,
    #[error("--nodes adds machines to one tree, and the bundle has several")]
    WhoseNodes,
    #[error("`{name}` cannot be a bundle's name: {flaw}")]
    Name { name: String, flaw: &'static str },
    #[error("{directory} has no prebake-amd64 and no prebake-arm64")]
    NoBinaries { directory: String },
    #[error("the file name of {path} cannot be used in the bundle")]
    KeyName { path: String },
    #[error("two keys are called `{name}`")]
    SameName { name: String },
    #[error("{subject} has {}", counted(*count, "damaged place"))]
    Flaws { subject: String, count: usize },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Flaws { .. } => Exit::Integrity,
            _ => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Unsigned => "give --sign-key with a key of `prebake key generate`, or say --unsigned",
            Error::Signed => "leave out one of the two; PREBAKE_SIGN_KEY in the environment names a key, too",
            Error::Nameless => "give --name; a site remembers the bundles that it imported by their names",
            Error::WhoseNodes => "import it without, then `prebake serve OUTPUT/NAME/current --nodes FILE`",
            Error::NoBinaries { .. } => "`make dist` makes static binaries, below dist/",
            Error::Flaws { .. } => "copy it again from its origin",
            Error::Name { .. } | Error::KeyName { .. } | Error::SameName { .. } => return None,
        };
        Some(hint.into())
    }
}

/// Reads `FILE` and `FILE.minisig`, as `prebake key rotate` writes them.
fn read_rotation(path: &Path) -> Result<Rotation> {
    let mut signature = path.as_os_str().to_owned();
    signature.push(minisign::SUFFIX);
    let read = |path: &Path| std::fs::read(path).map_err(disk::Error::io("read", path));
    let (statement, signature) = (read(path)?, read(signature.as_ref())?);
    Ok(Rotation::parse(&path.display().to_string(), &statement, &signature)?)
}

/// `signed by 1B2C…`, or that the bundle is not signed.
fn signed_by(signatures: &Signatures) -> String {
    let signers: Vec<String> = signatures.signers().map(|id: minisign::KeyId| id.to_string()).collect();
    match signers.is_empty() {
        true => "not signed".into(),
        false => format!("signed by {}", signers.join(", ")),
    }
}

/// The JSON about a bundle that all verbs print.
fn as_json(file: &Path, bytes: u64, index: &Index, signatures: &Signatures) -> Value {
    let trees: Vec<Value> =
        index.trees().map(|tree| json!({"name": tree.name, "build_id": tree.build_id()})).collect();
    json!({
        "file": file,
        "bytes": bytes,
        "name": index.name,
        "sequence": index.sequence,
        "expires": index.expires.map(crate::base::clock::date),
        "members": index.members.len(),
        "trees": trees,
        "signers": signatures.signers().collect::<Vec<_>>(),
    })
}
