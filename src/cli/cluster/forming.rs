//! The way from a description to a cluster that is ready, as `init`, `add` and `replace` go it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::Described;
use super::generate::{self, BuildingArgs, generate};
use super::serving::{self, ServingArgs};
use super::show::Show;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::nearest;
use crate::base::unfinished;
use crate::cli::demand::DemandArgs;
use crate::cluster::api::addons::{Plan, Shelf, hooks};
use crate::cluster::api::client::Connection;
use crate::cluster::api::snapshot::Snapshot;
use crate::cluster::course::Course;
use crate::cluster::course::record::Record;
use crate::cluster::course::step::Step;
use crate::cluster::description::{Cluster, Storage};
use crate::cluster::doctor::{self, Check, Subject, Verdict};
use crate::cluster::hold::Hold;
use crate::cluster::pki::Pki;
use crate::cluster::place::Place;
use crate::cluster::templates::Templates;
use crate::tree::bundle::import::Import;
use crate::tree::bundle::policy::Taken;

/// How long a cluster that was complete may take to say that it is ready; otherwise it is formed. A loaded host needs seconds for it.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How long all hooks of a site may take.
const HOOKS: Duration = Duration::from_secs(600);

/// Arguments of all verbs that form a cluster.
#[derive(Args)]
pub(super) struct FormingArgs {
    #[command(flatten)]
    pub described: Described,
    /// Take the tree from this bundle instead of building it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["locked", "update"])]
    bundle: Option<PathBuf>,
    /// End with exit code 8 if the cluster is not ready after this time, such as 45m; each step has its own limit otherwise
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Go on serving when the cluster is ready: machines that run from memory need that at each boot
    #[arg(long)]
    keep_serving: bool,
    /// Have a person switch the machines on, also those with a BMC
    #[arg(long)]
    no_power: bool,
    /// Go on although the examination of the site found something wrong
    #[arg(long)]
    force: bool,
    /// Print news as JSON on stdout, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    building: BuildingArgs,
    #[command(flatten)]
    demand: DemandArgs,
    #[command(flatten)]
    serving: ServingArgs,
}

/// Reasons why a cluster is not formed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The site is not fit.
    #[error("the site is not ready for machines: {}", .0.join("; "))]
    Unfit(Vec<String>),
    /// A name that is no node's.
    #[error("the description has no node `{name}`")]
    NoNode { name: String, meant: Option<String> },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Unfit(_) => Exit::Failed,
            Error::NoNode { .. } => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Unfit(_) => Some(
                "put that right (`prebake cluster doctor` looks again), or go on all the same with --force"
                    .into(),
            ),
            Error::NoNode { meant, .. } => meant.as_ref().map(|meant| format!("did you mean `{meant}`?")),
        }
    }
}

/// The node names that a person gave, or all of the description.
pub(super) fn named(cluster: &Cluster, names: &[String]) -> Result<BTreeSet<String>> {
    let all = || cluster.nodes.iter().map(|node| node.name.value.as_str());
    for name in names {
        if !all().any(|known| known == name) {
            let meant = nearest(name, all()).map(str::to_owned);
            return Err(Error::NoNode { name: name.clone(), meant }.into());
        }
    }
    Ok(if names.is_empty() { all().map(str::to_owned).collect() } else { names.iter().cloned().collect() })
}

impl FormingArgs {
    /// Loads the description, and tells its doubts.
    pub(super) fn load(&self) -> Result<Cluster> {
        super::load(&self.described.path())
    }

    /// Brings nodes into the cluster: all of the description, or these. `first` is done once the cluster is held.
    pub(super) fn form(
        self,
        verb: &str,
        cluster: Cluster,
        names: &[String],
        first: impl FnOnce(&Cluster, &Place) -> Result<()>,
    ) -> Result<()> {
        let awaited = named(&cluster, names)?;
        let place = Place::new(&self.described.output, &cluster.name.value);
        let show = Show::new(self.json, &cluster);
        if !self.keep_serving && verb == "init" && is_ready(&cluster, &place, &awaited)? {
            show.done(&cluster, &place, "is ready already");
            return Ok(());
        }
        let hold = Hold::take(&place, verb)?;
        let signals = unfinished::end_on_signals();
        first(&cluster, &place)?;
        let mut record = Record::open(&place)?;
        let templates = Arc::new(Templates::load(self.described.templates())?);
        record.begin(Step::Generate)?;
        show.step(Step::Generate);
        let (pki, build, plan) = self.make(&cluster, &place, &templates)?;
        record.build = Some(build);
        record.end(Step::Generate)?;
        record.begin(Step::Examine)?;
        show.step(Step::Examine);
        let checks = self.examine(&cluster, &place, Some(pki.ends()));
        checks
            .iter()
            .filter(|check| check.verdict < Verdict::Unknown)
            .for_each(|check| tell!("{}", told(check)));
        if doctor::is_wrong(&checks) && !self.force {
            let wrong = checks.iter().filter(|check| check.verdict == Verdict::Wrong);
            return Err(Error::Unfit(wrong.map(|check| check.found.clone()).collect()).into());
        }
        record.end(Step::Examine)?;
        let kubeconfig = pki.super_admin_kubeconfig(&cluster, SystemTime::now())?.text().to_owned();
        record.begin(Step::Serve)?;
        show.step(Step::Serve);
        // The server takes care of signals itself, and gives up rights, for which the process may have one thread only.
        signals.into_iter().for_each(unfinished::Ending::stop);
        let reads: Vec<&Path> = self.described.templates().into_iter().collect();
        let Some(ready) = self.serving.prepare(&cluster, &place, &reads, show.is_table())? else {
            return Ok(());
        };
        record.end(Step::Serve)?;
        let cluster = Arc::new(cluster);
        let renew = serving::renewal(cluster.clone(), place.clone(), templates, self.building.pace.pace());
        let FormingArgs { timeout, keep_serving, no_power, .. } = self;
        ready.run(move |monitor| async move {
            let _hold = hold;
            let course = Course {
                connection: Connection::new("the administrator's kubeconfig", &kubeconfig).await?,
                cluster: cluster.clone(),
                place: place.clone(),
                record,
                monitor,
                plan: Arc::new(plan),
                awaited,
                switches: !no_power,
                limit: timeout,
                renew,
                tell: show.tell(),
            };
            let ended = course.run().await;
            show.end();
            ended?;
            run_hooks(&cluster, &place).await?;
            Record::open(&place)?.end(Step::End)?;
            show.done(&cluster, &place, "is ready");
            if keep_serving {
                tell!("serving goes on; Ctrl-C ends it");
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }

    /// The keys, the BUILD-ID of a tree that is there with its private part and kubeconfig, and the add-ons.
    fn make(&self, cluster: &Cluster, place: &Place, templates: &Templates) -> Result<(Pki, String, Plan)> {
        let plan = || Plan::read(cluster, &Shelf::new(&cluster.directory, place));
        let Some(file) = &self.bundle else {
            let made = generate(&self.described.path(), cluster, place.clone(), templates, &self.building)?;
            made.warnings.iter().for_each(|warning| tell!("{warning}"));
            // Known add-ons that lacked their manifests have them by now.
            return Ok((made.pki, made.report.published.manifest.build_id(), plan()?));
        };
        // No bundle has manifests: those that lack here are told before anything is imported.
        let plan = plan()?;
        let store = self.building.store.open()?;
        let Taken { bundle, site, trust } = self.demand.open(file, &self.building.store.path()?)?;
        if let Some(site) = site {
            site.refuse_older(&bundle)?;
        }
        let bundle = Arc::new(bundle);
        Import { bundle: &bundle, store: &store, output: place.output(), trust: trust.as_ref() }
            .run(|_| {})?;
        let (pki, warnings) = generate::prepare(cluster, place, templates, self.building.pace.pace())?;
        warnings.iter().for_each(|warning| tell!("{warning}"));
        let tree = serving::place_private(place)?;
        pki.write_kubeconfig(place, cluster, SystemTime::now())?;
        Ok((pki, tree.manifest().build_id(), plan))
    }

    fn examine(&self, cluster: &Cluster, place: &Place, ends: Option<SystemTime>) -> Vec<Check> {
        let store = self.building.store.path().ok();
        doctor::examine(&Subject { cluster, place, store, ipxe: self.serving.ipxe_dir.clone(), ends })
    }
}

/// A check for people.
pub(super) fn told(check: &Check) -> String {
    let Check { name, verdict, found, way_out } = check;
    let way_out = way_out.as_ref().map(|way_out| format!("\n  hint: {way_out}")).unwrap_or_default();
    format!("{:<9} {name:<10} {found}{way_out}", verdict.word())
}

/// Whether the last run came to its end, and the API server says at once that all awaited nodes are Ready. Nodes are Ready before
/// the add-ons are applied and hooks are run, so that a run that was killed in between, or whose hook failed, is to be gone on with.
fn is_ready(cluster: &Cluster, place: &Place, awaited: &BTreeSet<String>) -> Result<bool> {
    if !Record::open(place)?.is_complete() {
        return Ok(false);
    }
    let Ok(pki) = Pki::open(place, SystemTime::now()) else { return Ok(false) };
    let Ok(kubeconfig) = pki.super_admin_kubeconfig(cluster, SystemTime::now()) else { return Ok(false) };
    crate::cli::project::block_on(async {
        let connection = Connection::new("the administrator's kubeconfig", kubeconfig.text()).await?;
        let snapshot = Snapshot::until(&connection, AT_ONCE, Snapshot::knows_nodes).await;
        Ok(snapshot.knows_nodes()
            && awaited.iter().all(|name| snapshot.nodes.get(name).is_some_and(|node| node.ready)))
    })
}

/// Runs the site's own programs on the cluster that is ready.
async fn run_hooks(cluster: &Arc<Cluster>, place: &Place) -> Result<()> {
    let Some(directory) = cluster.hooks.as_ref().map(|hooks| cluster.directory.join(&hooks.value)) else {
        return Ok(());
    };
    let (name, kubeconfig) = (cluster.name.value.clone(), place.kubeconfig());
    let work = move || {
        let mut told = |path: &Path, line: &str| tell!("{}: {line}", path.display());
        hooks::run(&directory, &kubeconfig, &name, HOOKS, &mut told)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done.map(drop)?),
        Err(_) => Ok(()),
    }
}

/// The nodes that need a boot server at each boot.
pub(super) fn from_memory(cluster: &Cluster) -> Vec<&str> {
    let nodes = cluster.nodes.iter().filter(|node| !matches!(node.storage, Storage::Installed(_)));
    nodes.map(|node| node.name.value.as_str()).collect()
}
