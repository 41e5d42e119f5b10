//! `prebake verify`: whether a tree or a bundle is what was published.

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use crate::error::{Advice, Exit, Result};
use crate::tree::Tree;
use crate::tree::verify::{Flaw, Report, verify};

/// Read every file of a tree and hold it against the manifest
///
/// Names each file that is missing, changed, superfluous, or a link out of the tree, and exits with 4 if there is one.
/// Secrets below private/ are in no manifest and are not judged.
#[derive(Args)]
pub struct VerifyArgs {
    /// A build, such as output/kubernetes/current
    #[arg(value_name = "TREE")]
    tree: PathBuf,
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
        let tree = Tree::directory(&self.tree)?;
        let report = verify(&tree);
        match self.json {
            true => println!("{:#}", as_json(&tree, &report)),
            false => print(&tree, &report),
        }
        match report.flaws.len() {
            0 => Ok(()),
            count => Err(Error::Flawed { place: tree.place(), count }.into()),
        }
    }
}

fn as_json(tree: &Tree, report: &Report) -> serde_json::Value {
    let Report { files, bytes, flaws } = report;
    let manifest = tree.manifest();
    json!({
        "tree": tree.place(), "name": manifest.name, "build_id": manifest.build_id(),
        "files": files, "bytes": bytes, "flaws": flaws,
    })
}

fn print(tree: &Tree, Report { files, bytes, flaws }: &Report) {
    for Flaw { path, kind } in flaws {
        // A name may be anybody's.
        println!("{} {kind}", path.escape_debug());
    }
    let (place, build) = (tree.place(), tree.manifest().build_id());
    let verdict = if flaws.is_empty() { "all as published" } else { "not as published" };
    println!("{place}: build {build}, {files} files, {}, {verdict}", HumanBytes(*bytes));
}
