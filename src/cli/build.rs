//! `prebake build`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use super::progress::Progress;
use super::project::{DeliveryArgs, FetchArgs, ProjectArgs, block_on};
use super::signing::SignArgs;
use crate::build::{Limits, Report, build};
use crate::error::Result;
use crate::provenance::Signing;
use crate::publish::CURRENT;

/// Build a recipe: fetch and verify its inputs, build sysexts and overlays, publish the tree
///
/// The tree appears whole under OUTPUT/NAME/BUILD-ID, and OUTPUT/NAME/current points at it. The same recipe and lock
/// always give the same BUILD-ID. What is in the store already is neither fetched nor built again.
#[derive(Args)]
pub struct BuildArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// Where trees are published
    #[arg(long, short, value_name = "DIR", default_value = "output")]
    output: PathBuf,
    /// Merge this Butane or Ignition file on top of every profile's layers (repeatable)
    #[arg(long = "layer", value_name = "FILE")]
    layers: Vec<PathBuf>,
    /// Fail with exit code 9 if the lock would have to move
    #[arg(long)]
    locked: bool,
    /// Use the store alone; names everything that is missing at once
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    delivery: DeliveryArgs,
    #[command(flatten)]
    fetch: FetchArgs,
    #[command(flatten)]
    sign: SignArgs,
    /// Name the builder in the signed statement of provenance, as those who judge it know it
    #[arg(long, value_name = "URI", requires = "sign_keys", value_parser = uri, help_heading = "Signing")]
    builder_id: Option<String>,
    /// Print the result as JSON on stdout
    #[arg(long)]
    json: bool,
}

impl BuildArgs {
    /// Builds, and tells what was made, what was cached and who signed it.
    pub fn run(self) -> Result<()> {
        let (mut project, store) = self.project.open()?;
        self.delivery.apply(&mut project.recipe);
        let store = self.fetch.trusting(store);
        let limits = Limits { locked: self.locked, offline: self.offline, http: self.fetch.options() };
        let progress = Progress::new();
        let signing = Signing { keys: self.sign.keys()?, builder: self.builder_id };
        let signing = Some(&signing).filter(|signing| !signing.keys.is_empty());
        let report =
            block_on(build(&project, &store, &self.output, &self.layers, limits, signing, &progress))?;
        for warning in &report.warnings {
            eprint!("{warning}");
        }
        let current = self.output.join(&project.recipe.name).join(CURRENT);
        match self.json {
            true => println!("{:#}", as_json(&report, &current)),
            false => summary(&report, &project.lock_path, &current),
        }
        Ok(())
    }
}

fn uri(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(format!("it is not a URI such as https://ci.example/builders/1: {why}")),
    }
}

fn summary(report: &Report, lock_path: &Path, current: &Path) {
    let manifest = &report.published.manifest;
    let total: u64 = manifest.files.values().map(|file| file.size).sum();
    let state = if report.published.unchanged { " (unchanged)" } else { "" };
    println!(
        "{} {} {} → {}{state}",
        manifest.name,
        report.lock.release.channel,
        report.version,
        report.published.path.display()
    );
    println!("  files     {}, {}", manifest.files.len(), HumanBytes(total));
    let inputs = report.lock.inputs.len();
    println!("  inputs    {inputs} locked, {} fetched now", report.fetched.len());
    let mut signed: BTreeMap<&str, usize> = BTreeMap::new();
    for signer in report.lock.inputs.values().filter_map(|entry| entry.signer.as_deref()) {
        *signed.entry(signer).or_default() += 1;
    }
    for (signer, count) in signed {
        println!("  verified  {count} files signed by {signer}");
    }
    let most = report.memory.iter().max_by_key(|(_, needed)| *needed);
    if let Some((boot, needed)) = most {
        println!("  memory    {needed} for {boot}, the most of {} boots", report.memory.len());
    }
    let cached = report.steps.iter().filter(|(_, outcome)| outcome.cached).count();
    println!("  steps     {} built, {cached} cached", report.steps.len() - cached);
    if report.lock_moved {
        println!("  lock      wrote {}; commit it", lock_path.display());
    }
    if !report.signers.is_empty() {
        let signers: Vec<String> = report.signers.iter().map(ToString::to_string).collect();
        println!("  signed    by {}", signers.join(", "));
    }
    println!("  next      prebake serve {}", current.display());
}

fn as_json(report: &Report, current: &Path) -> serde_json::Value {
    let steps: Vec<_> = report
        .steps
        .iter()
        .map(|(step, outcome)| json!({"id": step.id, "key": step.key, "cached": outcome.cached, "sha256": outcome.object.sha256, "size": outcome.object.size}))
        .collect();
    json!({
        "build_id": report.published.manifest.build_id(),
        "path": report.published.path,
        "current": current,
        "unchanged": report.published.unchanged,
        "release": report.lock.release,
        "lock_moved": report.lock_moved,
        "signers": report.signers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "fetched": report.fetched,
        "memory": report.memory.iter().map(|(boot, needed)| (boot, needed.0)).collect::<BTreeMap<_, _>>(),
        "steps": steps,
    })
}
