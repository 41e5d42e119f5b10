//! `prebake ignition validate`: checks configs, by themselves and for a Flatcar release.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Failure, load, render};
use crate::base::finding::{Finding, Findings, Severity};
use crate::cli::failure;
use crate::flatcar::target::Target;
use crate::ignition::{Checked, Transpile, boot, closure, lint};

/// Why a config that another one names is not judged.
const UNSEEN: &str = "it is a config that the machine fetches";

/// Check configs; findings go to standard output, and an error among them leads to exit code 3
#[derive(Args)]
pub(super) struct ValidateArgs {
    /// The configs, Ignition or Butane; `-` for standard input
    #[arg(required = true, value_name = "CONFIG")]
    configs: Vec<PathBuf>,
    /// Check against a Flatcar release: a version such as 4593.2.5, or alpha, beta, stable, lts
    #[arg(long, value_name = "RELEASE")]
    target: Option<Target>,
    /// The configs are for PXE boots, where some parts do not work
    #[arg(long)]
    pxe: bool,
    /// Fail on any warning, and if a config is fetched at the boot, which nobody judged
    #[arg(short, long)]
    strict: bool,
    /// Allow embedding local files from this directory (Butane)
    #[arg(short = 'd', long, value_name = "DIR")]
    files_dir: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long, conflicts_with = "raw_errors")]
    json: bool,
    /// Show each finding on one line
    #[arg(long)]
    raw_errors: bool,
}

impl ValidateArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (mut findings, mut unseen) = (Vec::new(), Vec::new());
        for path in &self.configs {
            let options = Transpile { files_dir: self.files_dir.clone(), ..Transpile::default() };
            match load(path, &options) {
                Ok(checked) => {
                    let fetched =
                        closure::remotes(&checked.config).into_iter().filter(|remote| remote.is_config);
                    unseen.extend(fetched.map(|remote| (path.display().to_string(), remote.url)));
                    findings.extend(self.for_target(checked));
                }
                Err(Findings(found)) => findings.extend(found),
            }
        }
        match self.json {
            true => {
                let all: Vec<_> = findings.iter().map(failure::finding).collect();
                let unseen: Vec<_> = unseen
                    .iter()
                    .map(|(file, url)| json!({"file": file, "what": url, "why": UNSEEN}))
                    .collect();
                say!("{:#}", json!({"findings": all, "not_judged": unseen}));
            }
            false => say_findings!("{}", render::all(&findings, self.raw_errors)),
        }
        for (file, url) in unseen.iter().filter(|_| !self.json) {
            tell!("not judged: {file}: {url}: {UNSEEN}");
        }
        let worst = findings.iter().map(|finding| finding.severity).max();
        match worst {
            Some(Severity::Error) => Err(Failure::Refused("not valid".into())),
            Some(Severity::Warning) if self.strict => {
                Err(Failure::Refused("there are warnings and --strict was given".into()))
            }
            _ if self.strict && !unseen.is_empty() => {
                Err(Failure::Refused("configs were not judged and --strict was given".into()))
            }
            _ => Ok(()),
        }
    }

    fn for_target(&self, checked: Checked) -> Vec<Finding> {
        let mut findings = checked.warnings;
        if let Some(release) = &self.target {
            match release.spec() {
                Some(ceiling) => {
                    findings.extend(checked.config.at_most(ceiling).err().map_or(Vec::new(), |all| all.0))
                }
                None => {
                    findings.push(Finding::error(format!("Flatcar {release} reads no Ignition of spec 3")))
                }
            }
        }
        if self.pxe {
            findings.extend(lint::pxe(&checked.config));
        }
        if self.pxe || self.target.is_some() {
            findings.extend(boot::failures(&checked.config, self.target.as_ref().map(Target::system)));
        }
        findings
    }
}
