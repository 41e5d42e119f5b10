//! `prebake ignition`: replacements for `butane` and `ignition-validate`, with additional verbs.
//!
//! Like the originals these verbs exit with 1 on findings and failures, not with the code of an invalid recipe.

mod closure;
mod merge;
mod render;
mod show;
mod transpile;
mod validate;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};

use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::{Finding, Findings, Severity, Source};
use crate::base::{disk, unfinished};
use crate::ignition::{self, Checked, Transpile};

/// Translate, merge, check and show Ignition configs.
#[derive(Args)]
pub(super) struct IgnitionArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Transpile(transpile::TranspileArgs),
    Merge(merge::MergeArgs),
    Validate(validate::ValidateArgs),
    Show(show::ShowArgs),
    Closure(closure::ClosureArgs),
}

impl IgnitionArgs {
    pub(super) fn run(self) -> Result<()> {
        match self.verb {
            Verb::Transpile(args) => args.run()?,
            Verb::Merge(args) => args.run()?,
            Verb::Validate(args) => args.run()?,
            Verb::Show(args) => args.run()?,
            Verb::Closure(args) => args.run()?,
        }
        Ok(())
    }
}

/// Reasons why one of these verbs failed. Findings are printed before; the error summarises them.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Refused(String),
    #[error("cannot write {path}")]
    Write {
        path: String,
        #[source]
        source: io::Error,
    },
}

impl Advice for Failure {
    fn exit(&self) -> Exit {
        match self {
            Failure::Refused(_) => Exit::Config,
            Failure::Write { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Failure::Write { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("the directory must exist".into())
            }
            Failure::Write { path, source } if unfinished::is_full(source) => {
                Some(unfinished::full(path.as_ref()))
            }
            _ => None,
        }
    }
}

/// Format of findings.
#[derive(Args, Clone, Copy)]
struct FindingArgs {
    /// Show each finding on one line
    #[arg(long)]
    raw_errors: bool,
}

impl FindingArgs {
    /// Prints findings to stderr, separated by empty lines unless they have one line each; errors even if --quiet is given.
    fn print(self, findings: &[Finding]) {
        let text = render::all(findings, self.raw_errors);
        match findings.iter().any(|finding| finding.severity == Severity::Error) {
            true => insist!("{text}"),
            false => tell!("{text}"),
        }
    }

    /// Prints findings, and turns them into an error that summarises them.
    fn refuse(self, Findings(findings): Findings, what: impl Into<String>) -> Failure {
        self.print(&findings);
        Failure::Refused(what.into())
    }
}

/// Reads a file, or standard input for `-`.
fn read(path: &Path) -> std::result::Result<Arc<Source>, Finding> {
    match path.to_str() {
        Some("-") => ignition::read_from("<stdin>", io::stdin().lock()),
        _ => ignition::read_source(path),
    }
}

/// Reads a layer: a file by the suffix of its name, standard input by its content.
fn load(path: &Path, options: &Transpile) -> std::result::Result<Checked, Findings> {
    if path.to_str() != Some("-") {
        return ignition::load(path, options);
    }
    let source = read(path)?;
    match source.text.trim_start().starts_with('{') {
        true => ignition::Config::parse(&source),
        false => ignition::transpile(&source, options),
    }
}

/// Writes data to a file or to standard output.
fn write(output: Option<&PathBuf>, data: &str) -> std::result::Result<(), Failure> {
    match output {
        Some(path) => disk::write_output(path, data.as_bytes())
            .map_err(|source| Failure::Write { path: path.display().to_string(), source }),
        None => {
            say_part!("{data}");
            Ok(())
        }
    }
}
