//! `prebake verify`: checks whether a tree or a bundle is unchanged since it was published.

mod closure;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use self::closure::ClosureArgs;
use crate::base::count;
use crate::base::error::{Advice, Exit, Result};
use crate::cli::bundle;
use crate::cli::demand::DemandArgs;
use crate::cli::project::StoreArg;
use crate::tree::closure::Graph;
use crate::tree::open::Tree;
use crate::tree::provenance::statement::Statement;
use crate::tree::verify::{Flaw, Kind, Report, verify};
use crate::tree::{names, private, provenance};
use crate::trust::signers::{Proof, Trust};

/// Compare every byte of a tree or bundle with what was published
///
/// Of a tree, names each file that is missing, changed, superfluous, or a link out of the tree, and exits with 4 if there is
/// one. Secrets below private/ are in no manifest: only their permissions are checked. With `--trust` the manifest must be
/// signed, before any file is looked at, and its statement of provenance, where it has one, signed as well and about this
/// tree; else it exits with 5. A bundle is verified as by `bundle verify`.
///
/// With `--closure` it then walks from groups and loaders' scripts through profiles, configs, units, manifests, kubeadm's
/// configuration and sysexts, and names what leads outside with the way to it. Nothing is fetched.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// A build, such as output/kubernetes/current, or a bundle
    #[arg(value_name = "TREE|BUNDLE")]
    tree: PathBuf,
    /// Directory of the tree's secrets, if it was built with --private
    #[arg(long, value_name = "DIR")]
    private: Option<PathBuf>,
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

/// Reasons why verifying fails.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Files differ from the published ones.
    #[error("{} {}", counted(place, *count), if *open { "open to others" } else { "not as published" })]
    Flawed { place: String, count: usize, open: bool },
}

fn counted(place: &str, count: usize) -> String {
    let are = if count == 1 { "is" } else { "are" };
    format!("{} of {place} {are}", count::counted(count, "file"))
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Flawed { .. } => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Flawed { open: true, .. } => Some(
                "run `chmod -R go=` on the named paths, or build again, which closes them; replace secrets that others could read"
                    .into(),
            ),
            Error::Flawed { .. } => Some(
                "`prebake build --paranoid` repairs it; or copy it again from its origin".into(),
            ),
        }
    }
}

impl VerifyArgs {
    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        if self.tree.is_file() {
            return self.bundle();
        }
        let tree = Tree::directory(&self.tree)?;
        let trust = self.demand.trust()?;
        let judge = |trust: &Trust| provenance::judge_directory(&self.tree, tree.manifest(), trust);
        let proof = trust.as_ref().map(judge).transpose()?;
        private::named(self.private.as_deref(), &tree.manifest().name)?;
        let report = verify(&tree, self.private.as_deref());
        // Secrets are in no manifest.
        let private = private::directory(&self.tree, self.private.as_deref(), &tree.manifest().name);
        let is_private = private.is_dir();
        // A damaged tree may refer to anything, so its closure is pointless.
        let wanted = self.closure.closure && report.flaws.is_empty();
        let graph = wanted.then(|| self.closure.prove(&tree)).transpose()?;
        match self.json {
            true => {
                let mut told = as_json(&tree, &report, graph.as_ref());
                told["not_judged"] =
                    json!(is_private.then_some(names::PRIVATE).into_iter().collect::<Vec<_>>());
                if let Some((proof, statement)) = &proof {
                    told["signers"] = json!(ids(proof));
                    told["builder"] = json!(statement.as_ref().map(Statement::builder));
                }
                say!("{told:#}");
            }
            false => {
                if let Some((proof, statement)) = &proof {
                    let builder = statement.as_ref().map_or(String::new(), |statement| {
                        format!(", stating that it was built by {}", statement.builder().escape_debug())
                    });
                    say!("{}: signed by {}{builder}", tree.place(), ids(proof).join(", "));
                }
                print(&tree, &report);
                if is_private {
                    say!("not verified: {}/: its secrets are in no manifest", private.display());
                }
                graph.iter().for_each(|graph| self.closure.print(&tree.place(), graph));
            }
        }
        match report.flaws.len() {
            0 => graph.map_or(Ok(()), |graph| closure::settle(&tree.place(), &graph)),
            count => {
                let open = report.flaws.iter().all(|flaw| matches!(flaw.kind, Kind::Exposed { .. }));
                Err(Error::Flawed { place: tree.place(), count, open }.into())
            }
        }
    }

    /// Verifies every byte of a bundle, then the references of each of its trees.
    fn bundle(self) -> Result<()> {
        let VerifyArgs { tree: file, private: _, demand, store, closure, json } = self;
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
            say!("{told:#}");
        }
        for (place, _, graph) in graphs.iter().filter(|_| !json) {
            closure.print(place, graph);
        }
        graphs.iter().try_for_each(|(place, _, graph)| closure::settle(place, graph))
    }
}

fn ids(proof: &Proof) -> Vec<String> {
    proof.signers.iter().map(|key| key.id().to_string()).collect()
}

fn as_json(tree: &Tree, report: &Report, graph: Option<&Graph>) -> serde_json::Value {
    let Report { files, bytes, flaws } = report;
    let manifest = tree.manifest();
    let mut json = json!({
        "tree": tree.place(), "name": manifest.name, "build_id": manifest.build_id(),
        "files": files, "bytes": bytes, "flaws": flaws,
    });
    if let Some(graph) = graph {
        json["closure"] = closure::as_json(graph);
    }
    json
}

fn print(tree: &Tree, Report { files, bytes, flaws }: &Report) {
    for Flaw { path, kind } in flaws {
        // A name may be anybody's.
        say!("{} {kind}", path.escape_debug());
    }
    let (place, build) = (tree.place(), tree.manifest().build_id());
    let verdict = if flaws.is_empty() { "all as published" } else { "not as published" };
    say!("{place}: build {build}, {}, {}, {verdict}", count::counted(*files, "file"), HumanBytes(*bytes));
}
