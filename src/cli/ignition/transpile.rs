//! `prebake ignition transpile`: translates Butane to Ignition, with Butane's own flags.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, FindingArgs, read, write};
use crate::base::finding::{Findings, Severity};
use crate::ignition::{self, Transpile};

/// Translate a Butane config (variant flatcar) to Ignition JSON.
#[derive(Args)]
pub(super) struct TranspileArgs {
    /// The Butane config; `-` or nothing for standard input
    #[arg(default_value = "-")]
    config: PathBuf,
    /// Fail on any warning
    #[arg(short, long)]
    strict: bool,
    /// Indent the JSON
    #[arg(short, long)]
    pretty: bool,
    /// Check the config and write nothing
    #[arg(short, long)]
    check: bool,
    /// Accepted as Butane accepts it; variant flatcar has no wrapper to leave out
    #[arg(short, long)]
    raw: bool,
    /// Allow embedding local files from this directory
    #[arg(short = 'd', long, value_name = "DIR")]
    files_dir: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Allow versions that emit an experimental spec
    #[arg(long)]
    experimental: bool,
    #[command(flatten)]
    findings: FindingArgs,
}

impl TranspileArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let failed = |findings| self.findings.refuse(findings, "the config was not translated");
        let source = read(&self.config).map_err(|finding| failed(finding.into()))?;
        let options = Transpile {
            files_dir: self.files_dir.clone(),
            strict: self.strict,
            experimental: self.experimental,
            ..Transpile::default()
        };
        let checked = ignition::transpile(&source, &options).map_err(|findings| {
            let Findings(all) = &findings;
            match all.iter().any(|finding| finding.severity == Severity::Error) {
                true => failed(findings),
                false => {
                    self.findings.refuse(findings, "Config produced warnings and --strict was specified")
                }
            }
        })?;
        self.findings.print(&checked.warnings);
        let json = match self.pretty {
            true => checked.config.to_json_pretty(),
            false => checked.config.to_json(),
        };
        if self.check { Ok(()) } else { write(self.output.as_ref(), &json) }
    }
}
