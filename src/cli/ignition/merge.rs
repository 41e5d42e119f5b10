//! `prebake ignition merge`: merges layers into one config.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, FindingArgs, load, write};
use crate::base::finding::Severity;
use crate::ignition::{self, Spec, Transpile, boot, lint};

/// Merge configs by Ignition's rules, in order; later ones win.
///
/// `.bu`, `.yaml` and `.yml` are translated first, with local files from their own directory. The result is checked,
/// and what is wrong with it is told, because Ignition merges such configs at boot and then stops.
#[derive(Args)]
pub(super) struct MergeArgs {
    /// The layers, Butane or Ignition; `-` for standard input
    #[arg(required = true, value_name = "LAYER")]
    layers: Vec<PathBuf>,
    /// Emit this spec instead of the highest one in use
    #[arg(long, value_name = "VERSION")]
    spec: Option<Spec>,
    /// Fail if the result is not valid, and on any warning
    #[arg(short, long)]
    strict: bool,
    /// Name what one layer takes from another, and what of the result is certain to fail at a boot
    #[arg(long)]
    lint: bool,
    /// Indent the JSON
    #[arg(short, long)]
    pretty: bool,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Allow embedding local files from this directory
    #[arg(short = 'd', long, value_name = "DIR")]
    files_dir: Option<PathBuf>,
    #[command(flatten)]
    findings: FindingArgs,
}

impl MergeArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let options = Transpile { files_dir: self.files_dir.clone(), ..Transpile::default() };
        let mut layers = Vec::new();
        let mut findings = Vec::new();
        for path in &self.layers {
            let checked = load(path, &options).map_err(|findings| {
                self.findings.refuse(findings, format!("{} is not a valid layer", path.display()))
            })?;
            findings.extend(checked.warnings);
            layers.push(checked.config);
        }
        if self.lint {
            findings.extend(lint::conflicts(&layers));
        }
        let mut merged = ignition::merge_all(layers);
        if let Some(spec) = self.spec {
            merged = merged.at(spec).map_err(|findings| {
                self.findings.refuse(findings, format!("the result cannot be written at spec {spec}"))
            })?;
        }
        findings.extend(ignition::validate(&merged));
        if self.lint {
            findings.extend(boot::failures(&merged, None));
        }
        self.findings.print(&findings);
        if self.strict && !findings.is_empty() {
            let valid = findings.iter().all(|finding| finding.severity == Severity::Warning);
            let why =
                if valid { "there are warnings and --strict was given" } else { "the result is not valid" };
            return Err(Failure::Refused(why.into()));
        }
        write(self.output.as_ref(), &if self.pretty { merged.to_json_pretty() } else { merged.to_json() })
    }
}
