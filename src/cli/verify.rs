//! `prebake verify`: whether a tree or a bundle is what was published.

mod closure;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use self::closure::ClosureArgs;
use crate::bundle::policy::Policy;
use crate::cli::bundle::{self, DemandArgs};
use crate::cli::project::StoreArg;
use crate::closure::Graph;
use crate::error::{Advice, Exit, Result};
use crate::provenance::statement::Statement;
use crate::tree::verify::{Flaw, Report, verify};
use crate::tree::{SIGNATURE, Tree};
use crate::{provenance, trust::Proof};

/// Read every byte of a tree or bundle and hold it against what was published
///
/// Of a tree, names each file that is missing, changed, superfluous, or a link out of the tree, and exits with 4 if there is
/// one. Secrets below private/ are in no manifest and are not judged. With `--trust`, the signatures of manifest and provenance
/// must be good, or it exits with 5. Of a bundle it does what `bundle verify` does.
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

/// Who signed, and what they said of how the tree was built, if they did.
type Proven = (Proof, Option<Statement>);

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
        let tree = Tree::directory(&self.tree)?;
        let proven = self.prove(&tree)?;
        let report = verify(&tree);
        // What is damaged may refer to anything.
        let wanted = self.closure.closure && report.flaws.is_empty();
        let graph = wanted.then(|| self.closure.prove(&tree)).transpose()?;
        match self.json {
            true => println!("{:#}", as_json(&tree, &report, proven.as_ref(), graph.as_ref())),
            false => {
                print(&tree, &report, proven.as_ref());
                graph.iter().for_each(|graph| self.closure.print(&tree.place(), graph));
            }
        }
        match report.flaws.len() {
            0 => graph.map_or(Ok(()), |graph| closure::settle(&tree.place(), &graph)),
            count => Err(Error::Flawed { place: tree.place(), count }.into()),
        }
    }

    /// Who signed the manifest of a tree, where somebody is to be believed.
    fn prove(&self, tree: &Tree) -> Result<Option<Proven>> {
        let Policy { trust, allow_unsigned, .. } = self.demand.policy(&self.store.store)?;
        let Some(trust) = trust else { return Ok(None) };
        let signatures = tree.beside(SIGNATURE)?;
        if signatures.is_none() && allow_unsigned {
            return Ok(None);
        }
        let envelope = tree.beside(provenance::FILE_NAME)?;
        let manifest = tree.manifest().to_bytes();
        let (signatures, envelope) = (signatures.as_deref(), envelope.as_deref());
        Ok(Some(provenance::judge(&tree.place(), &manifest, signatures, envelope, &trust, &[])?))
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

fn as_json(
    tree: &Tree,
    report: &Report,
    proven: Option<&Proven>,
    graph: Option<&Graph>,
) -> serde_json::Value {
    let Report { files, bytes, flaws } = report;
    let manifest = tree.manifest();
    let mut json = json!({
        "tree": tree.place(), "name": manifest.name, "build_id": manifest.build_id(),
        "files": files, "bytes": bytes, "flaws": flaws,
    });
    if let Some((proof, statement)) = proven {
        json["signers"] = proof.signers.iter().map(|key| key.id().to_string()).collect();
        json["builder"] = statement.as_ref().map(builder).into();
    }
    if let Some(graph) = graph {
        json["closure"] = closure::as_json(graph);
    }
    json
}

fn builder(statement: &Statement) -> &str {
    &statement.predicate.run_details.builder.id
}

fn print(tree: &Tree, Report { files, bytes, flaws }: &Report, proven: Option<&Proven>) {
    for Flaw { path, kind } in flaws {
        // A name may be anybody's.
        println!("{} {kind}", path.escape_debug());
    }
    let (place, build) = (tree.place(), tree.manifest().build_id());
    let verdict = if flaws.is_empty() { "all as published" } else { "not as published" };
    println!("{place}: build {build}, {files} files, {}, {verdict}", HumanBytes(*bytes));
    match proven {
        Some((proof, statement)) => {
            let signers: Vec<String> = proof.signers.iter().map(|key| key.id().to_string()).collect();
            let built = statement.as_ref().map(|statement| format!("; built by {}", builder(statement)));
            println!("  signed by {}{}", signers.join(", "), built.unwrap_or_default().escape_debug());
        }
        None => println!("  nobody's signature was judged: --trust KEY.pub does"),
    }
}
