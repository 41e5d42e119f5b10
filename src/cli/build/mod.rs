//! `prebake build`

mod events;
mod junit;
mod record;
mod report;
mod summary;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use self::events::{EventLog, Target};
use self::record::Record;
use super::lock::tell_cached;
use super::outputs::{self, Kept};
use super::progress::Progress;
use super::project::{DeliveryArgs, FetchArgs, ProjectArgs, block_on};
use super::signing::SignArgs;
use crate::bake::build::{Destination, Ran, Report, build};
use crate::bake::project::{Limits, Project};
use crate::bake::provenance::Signing;
use crate::base::error::Result;
use crate::base::event::{self, Event, Everyone, Observer};
use crate::base::finding::Finding;
use crate::base::unfinished;
use crate::tree::lock::Lock;
use crate::tree::names::CURRENT;
use crate::tree::open::Tree;
use crate::tree::publish::Published;

/// Build a recipe: fetch and verify its inputs, build sysexts and overlays, publish the tree
///
/// The tree appears whole under OUTPUT/NAME/BUILD-ID, and OUTPUT/NAME/current points at it. The same recipe and lock
/// always give the same BUILD-ID. Files that are in the store already are neither fetched nor built again.
#[derive(Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// Where trees are published; a relative path begins at the working directory, not at the recipe
    #[arg(long, short, value_name = "DIR", env = "PREBAKE_OUTPUT", default_value = "output")]
    output: PathBuf,
    /// Keep configs with secrets in DIR/NAME instead of the tree, so that a copy of the tree has none; `serve --guard` reads
    /// them from there with the same flag
    #[arg(long, value_name = "DIR")]
    private: Option<PathBuf>,
    /// Merge this Butane or Ignition file on top of every profile's layers (repeatable)
    #[arg(long = "layer", value_name = "FILE")]
    layers: Vec<PathBuf>,
    /// Fail with exit code 9 if the lock would have to change
    #[arg(long)]
    locked: bool,
    /// Use only the store; reports all missing inputs at once
    #[arg(long)]
    offline: bool,
    /// Build everything a second time, from the inputs only; if the results differ, publish nothing, say where they differ,
    /// and exit with 4
    #[arg(long)]
    verify_rebuild: bool,
    #[command(flatten)]
    delivery: DeliveryArgs,
    #[command(flatten)]
    fetch: FetchArgs,
    #[command(flatten)]
    sign: SignArgs,
    /// Name the builder in the signed provenance statement, as its verifiers know it
    #[arg(long, value_name = "URI", requires = "sign_keys", value_parser = uri, help_heading = "Signing")]
    builder_id: Option<String>,
    #[command(flatten)]
    reports: ReportArgs,
}

/// Heading of these options.
const HEADING: &str = "Reports";

/// Report options: receivers and formats.
#[derive(Args)]
struct ReportArgs {
    /// Print the result as JSON on stdout
    #[arg(help_heading = HEADING, long)]
    json: bool,
    /// Write events as they happen, one JSON object per line (docs/formats/events.md): to a file or pipe, to stdout with `-`,
    /// or to an open descriptor with `fd:N`
    #[arg(help_heading = HEADING, long, value_name = "FILE")]
    events: Option<Target>,
    /// Append a Markdown summary, also for a failed build; for $GITHUB_STEP_SUMMARY
    #[arg(help_heading = HEADING, long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Write a JUnit XML report, also for a failed build
    #[arg(help_heading = HEADING, long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a page of HTML, also for a failed build: how the time was spent, what each boot loads, what the tree is made of, and
    /// how it differs from the current one
    #[arg(help_heading = HEADING, long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// A finished build.
struct Built {
    project: Project,
    report: Report,
    /// The tree that was current before, if a page shall compare the two.
    before: Option<Tree>,
}

impl BuildArgs {
    /// Builds, and reports what was made, what was cached, and which keys signed it.
    pub(crate) fn run(mut self) -> Result<()> {
        if is_elsewhere(&self.project.recipe)
            && let Ok(output) = std::path::absolute(&self.output)
        {
            self.output = output;
        }
        let ReportArgs { json, events, summary, junit, report } = &self.reports;
        if *json && matches!(events, Some(Target::Stdout)) {
            return Err(events::Error::TwoOnStdout.into());
        }
        self.judge_outputs()?;
        let log = events.as_ref().map(EventLog::open).transpose()?.map(Arc::new);
        let recipe = self.project.recipe.display().to_string();
        let (progress, record) = (Progress::new(), Record::new(&recipe));
        let mut everyone = Everyone(vec![&progress, &record]);
        everyone.0.extend(log.as_deref().map(|log| log as &dyn Observer));
        let prebake = env!("CARGO_PKG_VERSION");
        everyone.notice(Event::BuildStarted { schema: event::SCHEMA, prebake, recipe: &recipe });
        let built = self.build(&everyone, log.clone());
        match &built {
            // Observers with line positions get the warnings here; people get them below.
            Ok(built) => {
                let mut told = Everyone(vec![&record]);
                told.0.extend(log.as_deref().map(|log| log as &dyn Observer));
                tell(&built.report, &told);
            }
            Err(error) => {
                let (exit, error, hint) = (error.exit() as u8, error.chain(), error.hint());
                everyone.notice(Event::BuildFailed { exit, error: &error, hint: hint.as_deref() });
            }
        }
        let happened = record.finish();
        if let Some(path) = summary {
            summary::append(path, &happened, built.as_ref().ok())?;
        }
        if let Some(path) = junit {
            junit::write(path, &happened)?;
        }
        if let Some(path) = report {
            report::write(path, &happened, built.as_ref().ok())?;
        }
        let Built { project, report, .. } = built?;
        tell_cached(&report.lock, &report.fetched);
        for warning in &report.warnings {
            tell!("{warning}");
        }
        let current = self.current(&project);
        let text = summary::for_people(&report, &project.lock_path, &current, self.private.as_deref());
        match (json, events) {
            (true, _) => say!("{:#}", as_json(&report, &current)),
            // stdout is used for the events.
            (false, Some(Target::Stdout)) => insist!("{text}"),
            (false, _) => say_part!("{text}"),
        }
        Ok(())
    }

    /// Refuses reports that would overwrite what the build reads or has made. The first report is opened before anything
    /// is read.
    fn judge_outputs(&self) -> Result<()> {
        let ReportArgs { json: _, events, summary, junit, report } = &self.reports;
        let events = match events {
            Some(Target::File(path)) => Some(path),
            _ => None,
        };
        let files = [
            ("--events", events),
            ("--summary", summary.as_ref()),
            ("--junit", junit.as_ref()),
            ("--report", report.as_ref()),
        ];
        let files: Vec<(&'static str, &Path)> =
            files.into_iter().filter_map(|(option, path)| Some((option, path?.as_path()))).collect();
        if files.is_empty() {
            return Ok(());
        }
        let (recipe, store) = (&self.project.recipe, self.project.store.path()?);
        let lock = Lock::path_of(recipe);
        let mut inputs: Vec<&Path> = vec![recipe.as_path(), lock.as_path()];
        inputs.extend(self.layers.iter().map(PathBuf::as_path));
        inputs.extend(self.sign.files());
        let mut places = vec![(store.as_path(), "the store")];
        places.extend(self.private.as_deref().map(|private| (private, "what trees keep secret")));
        Ok(outputs::judge(&files, &Kept { inputs, places })?)
    }

    /// The link to the newest tree.
    fn current(&self, project: &Project) -> PathBuf {
        self.output.join(&project.recipe.name).join(CURRENT)
    }

    fn build(&self, observer: &dyn Observer, log: Option<Arc<EventLog>>) -> Result<Built> {
        let (mut project, store) = self.project.open()?;
        self.delivery.apply(&mut project.recipe);
        let store = self.fetch.trusting(store);
        let limits = Limits {
            locked: self.locked,
            offline: self.offline,
            rebuild: self.verify_rebuild,
            http: self.fetch.options(),
        };
        let signing = Signing { keys: self.sign.keys()?, builder: self.builder_id.clone() };
        let signing = Some(&signing).filter(|signing| !signing.keys.is_empty());
        let compares = self.reports.report.is_some();
        let before = Some(self.current(&project))
            .filter(|_| compares)
            .and_then(|current| Tree::directory(&current).ok());
        let destination = Destination { output: &self.output, private: self.private.as_deref() };
        let work = build(&mut project, &store, destination, &self.layers, limits, signing, observer);
        unfinished::on_interrupt(move || {
            if let Some(log) = log {
                log.notice(Event::BuildFailed { exit: 130, error: &["interrupted".into()], hint: None });
            }
        });
        let report = block_on(work)?;
        Ok(Built { project, report, before })
    }
}

/// Reports the warnings and the end of a published build to an observer.
fn tell(report: &Report, observer: &dyn Observer) {
    for Finding { message, place, hint, .. } in &report.warnings {
        observer.notice(Event::Warning {
            message,
            file: place.as_ref().map(|place| place.source.name.as_str()),
            line: place.as_ref().map(|place| place.line),
            column: place.as_ref().map(|place| place.column),
            hint: hint.as_deref(),
        });
    }
    let Published { path, manifest, unchanged, .. } = &report.published;
    let (build_id, path) = (manifest.build_id(), path.display().to_string());
    observer.notice(Event::BuildDone { build_id: &build_id, path: &path, unchanged: *unchanged });
}

/// Whether a recipe is outside of the working directory, so that people do not expect its trees there.
fn is_elsewhere(recipe: &Path) -> bool {
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    here.is_ok_and(|here| recipe.canonicalize().is_ok_and(|recipe| !recipe.starts_with(here)))
}

fn uri(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(format!("it is not a URI such as https://ci.example/builders/1: {why}")),
    }
}

fn as_json(report: &Report, current: &Path) -> serde_json::Value {
    let steps: Vec<_> = report
        .steps
        .iter()
        .map(|Ran { id, key, outcome }| json!({"id": id, "key": key, "cached": outcome.cached, "sha256": outcome.object.sha256, "size": outcome.object.size}))
        .collect();
    json!({
        "build_id": report.published.manifest.build_id(),
        "path": report.published.path,
        CURRENT: current,
        "unchanged": report.published.unchanged,
        "current_was": report.published.left,
        "release": report.lock.release,
        "lock_moved": report.lock_moved,
        "signers": report.signers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "fetched": report.fetched,
        "memory": report.loads.iter().map(|load| (&load.boot, load.needed.0)).collect::<BTreeMap<_, _>>(),
        "steps": steps,
    })
}
