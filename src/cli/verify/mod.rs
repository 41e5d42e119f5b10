//! `prebake verify`: checks whether a tree or a bundle is unchanged since it was published.

mod closure;

use std::path::{Path, PathBuf};
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
    /// Fail if anything was not judged: the signature of a tree without --trust, secrets, which are in no manifest, or a closure
    /// of damaged files
    #[arg(long)]
    strict: bool,
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
    /// With `--strict`, a part that nobody judged.
    #[error("{place}: {} not judged", count::counted(*gaps, "part"))]
    Gaps { place: String, gaps: usize },
}

fn counted(place: &str, count: usize) -> String {
    let are = if count == 1 { "is" } else { "are" };
    format!("{} of {place} {are}", count::counted(count, "file"))
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Flawed { .. } | Error::Gaps { .. } => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Flawed { open: true, .. } => Some(
                "run `chmod -R go=` on the named paths, or build again, which closes them; replace secrets that others could read"
                    .into(),
            ),
            Error::Gaps { .. } => Some("the lines that begin with `not judged` say why".into()),
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
        let gaps = self.gaps(proof.is_some(), &private, &report);
        // A damaged tree may refer to anything, so its closure is pointless.
        let wanted = self.closure.closure && report.flaws.is_empty();
        let graph = wanted.then(|| self.closure.prove(&tree)).transpose()?;
        match self.json {
            true => {
                let mut told = as_json(&tree, &report, graph.as_ref());
                told["not_judged"] =
                    gaps.iter().map(|(part, why)| json!({"what": part, "why": why})).collect();
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
                gaps.iter().for_each(|(part, why)| say!("not judged: {part}: {why}"));
                graph.iter().for_each(|graph| self.closure.print(&tree.place(), graph));
            }
        }
        match report.flaws.len() {
            0 if self.strict && !gaps.is_empty() => {
                Err(Error::Gaps { place: tree.place(), gaps: gaps.len() }.into())
            }
            0 => graph.map_or(Ok(()), |graph| closure::settle(&tree.place(), &graph)),
            count => {
                let open = report.flaws.iter().all(|flaw| matches!(flaw.kind, Kind::Exposed { .. }));
                Err(Error::Flawed { place: tree.place(), count, open }.into())
            }
        }
    }

    /// Parts of a tree that were not judged, with the reasons.
    fn gaps(&self, is_proved: bool, private: &Path, report: &Report) -> Vec<(String, &'static str)> {
        let mut gaps = Vec::new();
        if !is_proved && self.tree.join(names::SIGNATURE).exists() {
            gaps.push((
                names::SIGNATURE.to_owned(),
                "no --trust names the key that must have signed the tree",
            ));
        }
        if private.is_dir() {
            gaps.push((format!("{}/", private.display()), "its secrets are in no manifest"));
        }
        if self.closure.closure && !report.flaws.is_empty() {
            gaps.push(("the closure".into(), "a damaged tree may refer to anything"));
        }
        gaps
    }

    /// Verifies every byte of a bundle, then the references of each of its trees.
    fn bundle(self) -> Result<()> {
        let VerifyArgs { tree: file, private: _, demand, store, closure, strict: _, json } = self;
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
