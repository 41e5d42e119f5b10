//! `prebake plan`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;

use super::fit::elided;
use super::graph::{Language, draw};
use super::pending::Pending;
use super::project::{DeliveryArgs, ProjectArgs};
use super::terminal;
use crate::bake::blueprint::Blueprint;
use crate::bake::graph::Graph;
use crate::bake::project::Project;
use crate::bake::resolve::{self, Pins, Stock};
use crate::bake::{compile, early};
use crate::base::count::counted;
use crate::base::digest::Object;
use crate::base::error::Result;
use crate::base::finding::Finding;
use crate::source::fetch::{Check, Want};
use crate::store::Store;
use crate::tree::lock;
use crate::tree::manifest::Role;
use crate::tree::publish::{self, Draft};
use crate::tree::row::Contents;

/// Version of what `--json` prints; raised when the meaning of a field changes.
const SCHEMA: u32 = 1;

/// Columns that an input's URL, a step's key or a file's role has at least.
const WHAT: usize = 20;

/// Show what a build would fetch, build and publish, without doing it
///
/// Needs no network. Signers that the lock names are held against the recipe's pin. Steps and files are known once the recipe is locked: their names and keys depend on the inputs.
#[derive(Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// Where trees are published
    #[arg(long, short, value_name = "DIR", env = "PREBAKE_OUTPUT", default_value = "output")]
    output: PathBuf,
    /// Merge this Butane or Ignition file on top of every profile's layers, as `build` would (repeatable)
    #[arg(long = "layer", value_name = "FILE")]
    layers: Vec<PathBuf>,
    #[command(flatten)]
    delivery: DeliveryArgs,
    /// Fail with exit code 9 if the lock would have to change
    #[arg(long)]
    locked: bool,
    /// Exit with 10 if a build would fetch, build or publish anything, with 9 if the recipe's trust differs from the lock's,
    /// with 0 if all of it is here
    #[arg(long)]
    exit_code: bool,
    /// List every file that the tree would hold
    #[arg(long)]
    files: bool,
    /// Print the plan as JSON on stdout (docs/formats/plan.md)
    #[arg(long)]
    json: bool,
    /// Print the graph of the build instead: inputs, steps, boots and machines
    #[arg(long, value_name = "LANGUAGE", conflicts_with_all = ["json", "files"])]
    graph: Option<Language>,
}

/// A build that was planned and not run.
#[derive(Serialize)]
struct Forecast {
    schema: u32,
    name: String,
    /// Unknown before the first lock of a `latest`.
    version: Option<String>,
    inputs: Vec<Line>,
    steps: Vec<Line>,
    drift: Vec<String>,
    /// Whether the recipe's trust differs from the lock's, or the lock does not state it.
    #[serde(skip)]
    distrusts: bool,
    /// Known if the lock fits.
    outputs: Option<Outputs>,
    totals: Totals,
    pending: bool,
    /// Warnings about the layers, as a build would give them.
    #[serde(skip)]
    warnings: Vec<Finding>,
}

/// An input or a step.
#[derive(Serialize)]
struct Line {
    id: String,
    cached: bool,
    /// Length in bytes, if known.
    size: Option<u64>,
    what: String,
}

/// The tree that would be published.
#[derive(Serialize)]
struct Outputs {
    /// Known once everything is built.
    build_id: Option<String>,
    /// The directory of the tree, known under the same condition.
    path: Option<PathBuf>,
    /// Whether it already exists and is current.
    published: bool,
    files: BTreeMap<String, File>,
}

/// A file of that tree.
#[derive(Serialize)]
struct File {
    role: Role,
    /// Length in bytes; `None` if only the build can tell.
    size: Option<u64>,
}

/// Sums; bytes are the sum of all known lengths.
#[derive(Serialize, Default)]
struct Totals {
    fetch_inputs: usize,
    fetch_bytes: u64,
    /// Number of inputs to fetch whose length is not in the lock.
    fetch_unknown: usize,
    build_steps: usize,
    files: usize,
    file_bytes: u64,
    /// Number of files whose length only the build can tell.
    file_unknown: usize,
}

impl PlanArgs {
    /// Prints the inputs, the steps, and the tree that would be published.
    pub(crate) fn run(self) -> Result<()> {
        let (mut project, store) = self.project.open()?;
        self.delivery.apply(&mut project.recipe);
        let (forecast, graph) = self.forecast(&project, &store)?;
        match self.graph {
            Some(language) => {
                let unknown =
                    || lock::Error::Drift { path: project.lock_path.clone(), drift: forecast.drift.clone() };
                say_part!("{}", draw(&graph.ok_or_else(unknown)?, language));
            }
            None if self.json => {
                say!(
                    "{}",
                    String::from_utf8_lossy(&crate::base::canonical::canonical_json(&forecast)).trim_end()
                )
            }
            None => say_part!("{}", forecast.for_people(self.files, terminal::columns_of_stdout())),
        }
        for warning in &forecast.warnings {
            tell!("{warning}");
        }
        let is_refused = self.locked && !forecast.drift.is_empty();
        // A build would not just change to another pin.
        if is_refused || self.exit_code && forecast.distrusts {
            return Err(lock::Error::Drift { path: project.lock_path, drift: forecast.drift }.into());
        }
        if let Some(claims) = project.judge_claims(&store)? {
            tell!("{claims}");
        }
        match self.exit_code && forecast.pending {
            true => Err(Pending(forecast.doing().join(", ")).into()),
            false => Ok(()),
        }
    }

    /// The forecast, and the graph where it is asked for and the lock fits.
    fn forecast(&self, project: &Project, store: &Store) -> Result<(Forecast, Option<Graph>)> {
        let mut graph = None;
        let needs = project.needs()?;
        let (version, wants) = project.wants(&needs);
        let lock = project.lock.as_ref();
        let trust = resolve::trust(&project.recipe)?;
        let pins = Pins::of(&project.sysexts, lock)?;
        let drift = resolve::drift(lock, &project.recipe, &trust, &needs, &wants, &pins);
        let distrusts = lock.is_some_and(|lock| !resolve::trust_drift(lock, &trust).is_empty());
        let missing = Stock::take(&wants, lock, store).missing();
        let input = |want: &Want| Line {
            id: want.id.clone(),
            cached: !missing.contains(&want.id),
            size: lock.and_then(|lock| Some(lock.inputs.get(&want.id)?.size)),
            what: describe(want),
        };
        let mut forecast = Forecast {
            schema: SCHEMA,
            name: project.recipe.name.clone(),
            version: version.map(|version| version.to_string()),
            inputs: wants.iter().map(input).collect(),
            steps: Vec::new(),
            drift,
            distrusts,
            outputs: None,
            totals: Totals::default(),
            pending: true,
            warnings: Vec::new(),
        };
        if let (Some(lock), Some(version), true) = (lock, version, forecast.drift.is_empty()) {
            let Project { recipe, outputs, sysexts, .. } = project;
            let packaging = recipe.packaging.load(SystemTime::now())?;
            let compiled = compile::compile(
                recipe,
                outputs,
                version,
                sysexts,
                &packaging,
                &lock.ssh_keys,
                &self.layers,
            )?;
            let blueprint = Blueprint::new(project, lock, version, &packaging, &compiled.boots)?;
            let made = blueprint.made(store);
            forecast.steps = blueprint
                .plan
                .steps
                .iter()
                .zip(&made)
                .map(|(step, made)| Line {
                    id: step.id.clone(),
                    cached: made.is_some(),
                    size: made.map(|object| object.size),
                    what: format!("key {}", &step.key.to_string()[..16]),
                })
                .collect();
            forecast.outputs = Some(self.outputs(&blueprint, &made, store)?);
            graph = self.graph.is_some().then(|| Graph::of(&blueprint, &made));
            forecast.warnings = compiled.warnings;
            forecast.warnings.extend(blueprint.plan.foresee(store)?);
        } else {
            let github = lock.map(|lock| lock.ssh_keys.clone()).unwrap_or_default();
            let Project { recipe, outputs, sysexts, .. } = project;
            forecast.warnings = compile::logins(recipe, outputs, sysexts, &github, &self.layers);
        }
        forecast.add_up();
        Ok((forecast, graph))
    }

    fn outputs(&self, blueprint: &Blueprint<'_>, made: &[Option<Object>], store: &Store) -> Result<Outputs> {
        let recipe = &blueprint.project.recipe;
        let early = early::read_all(recipe)?;
        let early = early.into_iter().map(|(name, bytes)| (name, Object::of(&bytes))).collect();
        let draft = blueprint.assemble(made, &early, store)?.draft;
        let steps = blueprint.plan.steps.iter().zip(made);
        let unbuilt = steps.filter(|(_, made)| made.is_none()).map(|(step, _)| step.key).collect::<Vec<_>>();
        let manifest = draft.manifest();
        let is_known = |path: &String| {
            let file = &manifest.files[path];
            // A text may depend on files that are not built yet.
            unbuilt.is_empty()
                || matches!(draft.contents(path), Some(Contents::Stored(_)))
                    && file.step.is_none_or(|step| !unbuilt.contains(&step))
        };
        let files = manifest.files.iter().map(|(path, file)| {
            (path.clone(), File { role: file.role, size: is_known(path).then_some(file.size) })
        });
        let joined = manifest.joined.iter().map(|(path, row)| {
            let size = row.parts.iter().all(is_known).then_some(row.size);
            (path.clone(), File { role: row.role, size })
        });
        let build_id = unbuilt.is_empty().then(|| manifest.build_id());
        Ok(Outputs {
            path: build_id.as_ref().map(|build_id| self.output.join(&recipe.name).join(build_id)),
            published: self.is_published(&build_id, &draft, store),
            build_id,
            files: files.chain(joined).collect(),
        })
    }

    fn is_published(&self, build_id: &Option<String>, draft: &Draft, store: &Store) -> bool {
        build_id.is_some() && publish::is_current(&self.output, draft, store)
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

impl Forecast {
    fn add_up(&mut self) {
        let absent = || self.inputs.iter().filter(|line| !line.cached);
        let files = || self.outputs.iter().flat_map(|outputs| outputs.files.values());
        self.totals = Totals {
            fetch_inputs: absent().count(),
            fetch_bytes: absent().filter_map(|line| line.size).sum(),
            fetch_unknown: absent().filter(|line| line.size.is_none()).count(),
            build_steps: self.steps.iter().filter(|line| !line.cached).count(),
            files: files().count(),
            file_bytes: files().filter_map(|file| file.size).sum(),
            file_unknown: files().filter(|file| file.size.is_none()).count(),
        };
        self.pending = !self.doing().is_empty();
    }

    /// The work of a build, in words; empty if there is none.
    fn doing(&self) -> Vec<String> {
        let Totals { fetch_inputs, fetch_bytes, fetch_unknown, build_steps, .. } = self.totals;
        let mut doing = Vec::new();
        if !self.drift.is_empty() {
            doing.push("the lock would change".into());
        }
        if fetch_inputs > 0 {
            let unknown = if fetch_unknown > 0 { " and what is not locked yet" } else { "" };
            doing.push(format!(
                "{} to fetch, {}{unknown}",
                counted(fetch_inputs, "input"),
                HumanBytes(fetch_bytes)
            ));
        }
        if build_steps > 0 {
            doing.push(format!("{} to build", counted(build_steps, "step")));
        }
        if self.outputs.as_ref().is_none_or(|outputs| !outputs.published) {
            doing.push("a tree to publish".into());
        }
        doing
    }

    fn for_people(&self, all_files: bool, columns: Option<usize>) -> String {
        let version = self.version.as_deref().unwrap_or("latest, resolved when the lock is written");
        let mut text = format!("{}: Flatcar {version}\n", self.name);
        for (title, miss, lines) in [("inputs", "fetch", &self.inputs), ("steps", "build", &self.steps)] {
            if lines.is_empty() {
                continue;
            }
            text += &format!("{title}:\n");
            let width = lines.iter().map(|line| line.id.len()).max().unwrap_or(0);
            // State, size and blanks take the rest of a terminal's columns.
            let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(24));
            let width = width.min(room.saturating_sub(WHAT).max(WHAT));
            for line in lines {
                let state = if line.cached { "here" } else { miss };
                let (id, what) = (elided(&line.id, width), elided(&line.what, room.saturating_sub(width)));
                text += &format!("  {state:5}  {id:width$}  {:>11}  {what}\n", size(line.size));
            }
        }
        if !self.drift.is_empty() {
            text += "the lock would change:\n";
            self.drift.iter().for_each(|line| text += &format!("  {line}\n"));
        }
        if let Some(outputs) = &self.outputs {
            text += &outputs.for_people(&self.totals, all_files, columns);
        }
        let doing = self.doing();
        text + &match doing.is_empty() {
            true => "nothing to do\n".to_owned(),
            false => format!("to do: {}\n", doing.join(", ")),
        }
    }
}

impl Outputs {
    fn for_people(&self, totals: &Totals, all_files: bool, columns: Option<usize>) -> String {
        let unknown = match totals.file_unknown {
            0 => String::new(),
            count => format!(" and {count} whose size is known only after the build"),
        };
        let place = match (&self.path, self.published) {
            (Some(path), true) => format!(" in {}, which is published", path.display()),
            (Some(path), false) => format!(" in {}", path.display()),
            (None, _) => String::new(),
        };
        let mut text = format!(
            "outputs:\n  {}, {}{unknown}{place}\n",
            counted(totals.files, "file"),
            HumanBytes(totals.file_bytes)
        );
        if all_files {
            let width = self.files.keys().map(String::len).max().unwrap_or(0);
            let width = width.min(columns.map_or(usize::MAX, |columns| columns.saturating_sub(2 * WHAT)));
            for (path, file) in &self.files {
                let path = elided(path, width);
                text += &format!("  {path:width$}  {:>11}  {}\n", size(file.size), file.role);
            }
            return text;
        }
        let mut by_role: BTreeMap<Role, usize> = BTreeMap::new();
        self.files.values().for_each(|file| *by_role.entry(file.role).or_default() += 1);
        let roles: Vec<String> = by_role.iter().map(|(role, count)| format!("{count} {role}")).collect();
        text + &format!("  {}\n", roles.join(", "))
    }
}

fn size(size: Option<u64>) -> String {
    size.map_or("?".into(), |size| HumanBytes(size).to_string())
}
