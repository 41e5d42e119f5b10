//! `prebake verify`: whether a tree or a bundle is what was published.

mod closure;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use self::closure::ClosureArgs;
use crate::cli::bundle::{self, DemandArgs};
use crate::cli::project::StoreArg;
use crate::closure::Graph;
use crate::error::{Advice, Exit, Result};
use crate::minisign::{KeyId, PublicKey};
use crate::tree::Tree;
use crate::tree::verify::{Flaw, Report, verify};

/// Read every byte of a tree or bundle and hold it against what was published
///
/// Of a tree, names each file that is missing, changed, superfluous, or a link out of the tree, and exits with 4 if there is
/// one. Secrets below private/ are in no manifest and are not judged. Of a bundle it does what `bundle verify` does.
///
/// With `--trust` it first judges who signed: a tree whose manifest, and statement of provenance if there is one, were not
/// signed by enough trusted keys is not read any further (exit code 5).
///
/// With `--closure` it then walks from groups and loaders' scripts through profiles, configs, units, manifests, kubeadm's
/// configuration and sysexts, and names what leads outside with the way to it. Nothing is fetched.
#[derive(Args)]
pub struct VerifyArgs {
    /// A build, such as output/kubernetes/current, or a bundle
    #[arg(value_name = "TREE|BUNDLE")]
    tree: PathBuf,
    #[command(flatten)]
    demand: DemandArgs,
    #[command(flatten)]
    store: StoreArg,
    #[command(flatten)]
    closure: ClosureArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why verifying fails.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Something is not as it was published.
    #[error("{} not as published", counted(place, *count))]
    Flawed { place: String, count: usize },
}

fn counted(place: &str, count: usize) -> String {
    match count {
        1 => format!("1 file of {place} is"),
        count => format!("{count} files of {place} are"),
    }
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Flawed { .. } => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Flawed { .. } => {
                Some("build it again with --paranoid, or copy it again from where it was made".into())
            }
        }
    }
}

impl VerifyArgs {
    /// Does what the arguments say.
    pub fn run(self) -> Result<()> {
        if self.tree.is_file() {
            return self.bundle();
        }
        let (tree, proof) = self.demand.directory(&self.tree)?;
        let signers: Vec<KeyId> =
            proof.iter().flat_map(|proof| &proof.signers).map(PublicKey::id).collect();
        let report = verify(&tree);
        // What is damaged may refer to anything.
        let wanted = self.closure.closure && report.flaws.is_empty();
        let graph = wanted.then(|| self.closure.prove(&tree)).transpose()?;
        match self.json {
            true => println!("{:#}", as_json(&tree, &report, &signers, graph.as_ref())),
            false => {
                print(&tree, &report, &signers);
                graph.iter().for_each(|graph| self.closure.print(&tree.place(), graph));
            }
        }
        match report.flaws.len() {
            0 => graph.map_or(Ok(()), |graph| closure::settle(&tree.place(), &graph)),
            count => Err(Error::Flawed { place: tree.place(), count }.into()),
        }
    }

    /// Every byte of a bundle, then what each of its trees refers to.
    fn bundle(self) -> Result<()> {
        let VerifyArgs { tree: file, demand, store, closure, json } = self;
        let (bundle, mut told) = bundle::VerifyArgs { file, demand, store, json }.verify()?;
        let bundle = Arc::new(bundle);
        let mut graphs = Vec::new();
        for name in bundle.trees().filter(|_| closure.closure) {
            let tree = Tree::bundled(bundle.clone(), name)?;
            graphs.push((tree.place(), name, closure.prove(&tree)?));
        }
        if json {
            for (_, name, graph) in &graphs {
                told["closure"][*name] = closure::as_json(graph);
            }
            println!("{told:#}");
        }
        for (place, _, graph) in graphs.iter().filter(|_| !json) {
            closure.print(place, graph);
        }
        graphs.iter().try_for_each(|(place, _, graph)| closure::settle(place, graph))
    }
}

fn as_json(tree: &Tree, report: &Report, signers: &[KeyId], graph: Option<&Graph>) -> serde_json::Value {
    let Report { files, bytes, flaws } = report;
    let manifest = tree.manifest();
    let mut json = json!({
        "tree": tree.place(), "name": manifest.name, "build_id": manifest.build_id(),
        "files": files, "bytes": bytes, "flaws": flaws, "signers": signers,
    });
    if let Some(graph) = graph {
        json["closure"] = closure::as_json(graph);
    }
    json
}

fn print(tree: &Tree, Report { files, bytes, flaws }: &Report, signers: &[KeyId]) {
    for Flaw { path, kind } in flaws {
        // A name may be anybody's.
        println!("{} {kind}", path.escape_debug());
    }
    let (place, build) = (tree.place(), tree.manifest().build_id());
    let verdict = if flaws.is_empty() { "all as published" } else { "not as published" };
    println!("{place}: build {build}, {files} files, {}, {verdict}", HumanBytes(*bytes));
    for signer in signers {
        println!("  signed by {signer}");
    }
}
