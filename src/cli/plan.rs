//! `prebake plan`

use std::time::SystemTime;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::project::{DeliveryArgs, ProjectArgs};
use crate::build::Project;
use crate::compile;
use crate::error::Result;
use crate::plan::Plan;
use crate::recipe::Version;
use crate::resolve::{self, Stock};
use crate::source::fetch::{Check, Want};

/// Show what a build would fetch and build, without doing it
///
/// Needs no network. Steps are listed once the recipe is locked: their keys depend on the inputs.
#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    project: ProjectArgs,
    #[command(flatten)]
    delivery: DeliveryArgs,
    /// Print the plan as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// A line of the plan.
struct Line {
    id: String,
    cached: bool,
    /// Length in bytes, where it is known.
    size: Option<u64>,
    what: String,
}

impl PlanArgs {
    /// Prints inputs, then steps.
    pub fn run(self) -> Result<()> {
        let (mut project, store) = self.project.open()?;
        self.delivery.apply(&mut project.recipe);
        let needs = project.needs()?;
        let (version, wants) = project.wants(&needs);
        let drift = resolve::drift(project.lock.as_ref(), &project.recipe, &needs, &wants);
        let missing = Stock::take(&wants, project.lock.as_ref(), &store).missing();
        let inputs: Vec<Line> = wants
            .iter()
            .map(|want| Line {
                id: want.id.clone(),
                cached: !missing.contains(&want.id),
                size: project.lock.as_ref().and_then(|lock| Some(lock.inputs.get(&want.id)?.size)),
                what: describe(want),
            })
            .collect();
        let mut steps = Vec::new();
        if let (Some(lock), Some(version), true) = (&project.lock, version, drift.is_empty()) {
            let Project { recipe, sysexts, .. } = &project;
            let packaging = recipe.packaging.load(SystemTime::now())?;
            let compiled = compile::compile(recipe, version, sysexts, &packaging, &lock.ssh_keys, &[])?;
            let plan = Plan::new(lock, recipe, sysexts, &packaging, &needs, &compiled.boots)?;
            steps.extend(plan.steps.iter().map(|step| {
                let outputs = store.step(&step.key);
                let size = outputs.as_ref().map(|outputs| outputs.values().map(|object| object.size).sum());
                Line {
                    id: step.id.clone(),
                    cached: outputs.is_some(),
                    size,
                    what: format!("key {}", &step.key.to_string()[..16]),
                }
            }));
        }
        match self.json {
            true => println!("{:#}", as_json(version, &inputs, &steps, &drift)),
            false => print(&project.recipe.name, version, &inputs, &steps, &drift),
        }
        Ok(())
    }
}

fn describe(want: &Want) -> String {
    let check = match &want.check {
        Check::Signature(_) => "signature",
        Check::Published(_) => "published sha256",
        Check::Pinned(_) => "pinned sha256",
        Check::Described(_) => "sha256 of the image",
    };
    format!("{} ({check})", want.url)
}

fn print(name: &str, version: Option<Version>, inputs: &[Line], steps: &[Line], drift: &[String]) {
    let version = version.map_or("latest, resolved when it is locked".into(), |version| version.to_string());
    println!("{name}: Flatcar {version}");
    for (title, miss, lines) in [("inputs", "fetch", inputs), ("steps", "build", steps)] {
        if lines.is_empty() {
            continue;
        }
        println!("{title}:");
        let width = lines.iter().map(|line| line.id.len()).max().unwrap_or(0);
        for line in lines {
            let state = if line.cached { "here" } else { miss };
            let size = line.size.map_or("?".into(), |size| HumanBytes(size).to_string());
            println!("  {state:5}  {:width$}  {size:>11}  {}", line.id, line.what);
        }
    }
    if !drift.is_empty() {
        println!("the lock would move:");
        drift.iter().for_each(|line| println!("  {line}"));
    }
}

fn as_json(version: Option<Version>, inputs: &[Line], steps: &[Line], drift: &[String]) -> Value {
    let rows = |lines: &[Line]| -> Vec<Value> {
        lines
            .iter()
            .map(|l| json!({"id": l.id, "cached": l.cached, "size": l.size, "what": l.what}))
            .collect()
    };
    let version = version.map(|version| version.to_string());
    json!({"version": version, "inputs": rows(inputs), "steps": rows(steps), "drift": drift})
}
