//! `prebake cluster generate`

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use serde_json::json;

use super::Described;
use crate::addon::vendor;
use crate::bake::build::{Destination, Report, build};
use crate::bake::project::{Limits, Project};
use crate::base::disk;
use crate::base::error::Result;
use crate::base::finding::Finding;
use crate::cli::lock::tell_cached;
use crate::cli::progress::Progress;
use crate::cli::project::{FetchArgs, StoreArg, block_on};
use crate::cluster::api::addons::{self, Shelf};
use crate::cluster::description::Cluster;
use crate::cluster::kubeadm::Pace;
use crate::cluster::pki::kubeconfig::Written;
use crate::cluster::pki::{Pki, key::Algorithm, token};
use crate::cluster::place::Place;
use crate::cluster::project::{self, Given};
use crate::cluster::templates::Templates;
use crate::tree::lock::Lock;

/// Make everything that the cluster's machines boot, and its kubeconfig; start no server
///
/// The description becomes a recipe with layers, which is built as `prebake build` does, and the cluster's keys, which are made once
/// and kept. The same description gives the same BUILD-ID, whatever the keys are; the lock lies beside the description.
#[derive(Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    described: Described,
    #[command(flatten)]
    building: BuildingArgs,
    /// Print the recipe that the description becomes, and build nothing
    #[arg(long, conflicts_with = "json")]
    recipe: bool,
    /// Print the result as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Settings of the build, for all verbs that build.
#[derive(Args)]
pub(crate) struct BuildingArgs {
    /// Fail with exit code 9 if the lock would have to change
    #[arg(long, conflicts_with = "update")]
    pub locked: bool,
    /// Use only the store; reports all missing inputs at once
    #[arg(long)]
    pub offline: bool,
    /// Resolve all inputs anew, as `prebake lock --update` does
    #[arg(long)]
    pub update: bool,
    #[command(flatten)]
    pub pace: PaceArg,
    #[command(flatten)]
    pub store: StoreArg,
    #[command(flatten)]
    pub fetch: FetchArgs,
}

/// How long the members wait for each other, in the configs of their machines.
#[derive(Args)]
pub(crate) struct PaceArg {
    /// Let members wait longer for each other: for machines that are emulated without KVM, or as slow
    #[arg(long)]
    emulated: bool,
}

impl PaceArg {
    /// The pace of the machines.
    pub(super) fn pace(&self) -> Pace {
        if self.emulated { Pace::Emulated } else { Pace::Metal }
    }

    /// The argument as a person gave it, to be typed behind another verb: the config of the first controller is made there.
    fn as_typed(&self) -> &'static str {
        if self.emulated { " --emulated" } else { "" }
    }
}

/// A cluster whose tree, private part and kubeconfig are there.
pub(crate) struct Generated {
    /// Where they are.
    pub place: Place,
    /// Its keys.
    pub pki: Pki,
    /// The finished build.
    pub report: Report,
    /// Whether the kubeconfig was made, kept or replaced.
    pub kubeconfig: Written,
    /// The lock of its inputs.
    pub lock: PathBuf,
    /// Doubts, of all stages.
    pub warnings: Vec<Finding>,
}

impl GenerateArgs {
    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        let file = self.described.path();
        let (cluster, warnings) = Cluster::load(&file)?;
        let templates = Templates::load(self.described.templates())?;
        let place = Place::new(&self.described.output, &cluster.name.value);
        if self.recipe {
            prepare(&cluster, &place, &templates, self.building.pace.pace())?;
            let recipe = place.recipe();
            let text =
                std::fs::read_to_string(&recipe).map_err(disk::Error::io("read the recipe", &recipe))?;
            say_part!("{text}");
            return Ok(());
        }
        let mut generated = generate(&file, &cluster, place, &templates, &self.building)?;
        generated.warnings.splice(0..0, warnings);
        for warning in &generated.warnings {
            tell!("{warning}");
        }
        match self.json {
            true => say!("{:#}", generated.as_json()),
            false => {
                let typed = self.described.as_typed() + self.building.pace.as_typed();
                say_part!("{}", generated.for_people(&cluster, &typed))
            }
        }
        Ok(())
    }
}

/// Makes the keys of a cluster if there are none, and writes its project.
pub(crate) fn prepare(
    cluster: &Cluster,
    place: &Place,
    templates: &Templates,
    pace: Pace,
) -> Result<(Pki, Vec<Finding>)> {
    let images: Vec<String> = addons::images(cluster, &Shelf::new(&cluster.directory, place))?
        .into_iter()
        .map(|image| image.value)
        .collect();
    let pki = Pki::ensure(place, cluster.keys.into(), SystemTime::now())?;
    let token = token::ensure(place, cluster)?;
    let given = Given { pki: &pki, token: &token, templates, images: &images, pace };
    let mut warnings = project::write(cluster, place, &given)?;
    let there = pki.algorithm();
    if there.kind() != cluster.keys {
        let made = Algorithm::from(cluster.keys).as_str();
        let text = format!("the keys in {} are {}, not {made}", pki.directory().display(), there.as_str());
        let hint = "`cluster.key_algorithm` counts when keys are made: a cluster keeps those that it has";
        warnings.push(Finding::warning(text).hint(hint));
    }
    Ok((pki, warnings))
}

/// Makes the whole of a cluster but for its servers: keys, project, tree, private part, kubeconfig.
pub(crate) fn generate(
    file: &Path,
    cluster: &Cluster,
    place: Place,
    templates: &Templates,
    building: &BuildingArgs,
) -> Result<Generated> {
    // As a lock is written when there is none: from then on the manifests are the site's own files.
    if !building.offline && !building.locked {
        let shelf = Shelf::new(&cluster.directory, &place);
        for (wish, directory) in addons::missing(cluster, &shelf) {
            let vendored = block_on(async { Ok(vendor::vendor(&wish, &directory).await?) })?;
            tell!("{} {} is in {}", wish.name, vendored.record.version, directory.display());
        }
    }
    let (pki, mut warnings) = prepare(cluster, &place, templates, building.pace.pace())?;
    for path in pki.exposed() {
        let text = format!("{} was open to others", path.display());
        let hint = "it is closed now, but others may have read it: replace the cluster's keys";
        warnings.push(Finding::warning(text).hint(hint));
    }
    let [read, lock] = locks(file, &place);
    let mut project = Project::load_elsewhere(&place.recipe(), &read, &lock)?;
    if building.update {
        project.lock = None;
    }
    let store = building.fetch.trusting(building.store.open()?);
    let limits = Limits {
        locked: building.locked,
        offline: building.offline,
        rebuild: false,
        http: building.fetch.options(),
    };
    let private = place.private();
    let destination = Destination { output: place.output(), private: Some(&private) };
    let progress = Progress::new();
    let mut report = block_on(build(&mut project, &store, destination, &[], limits, None, &progress))?;
    drop(progress);
    tell_cached(&report.lock, &report.fetched);
    warnings.append(&mut report.warnings);
    let kubeconfig = pki.write_kubeconfig(&place, cluster, SystemTime::now())?;
    Ok(Generated { place, pki, report, kubeconfig, lock, warnings })
}

/// Where the lock is read from and written to: beside the description, or below the output where that cannot be written, such as
/// `/config` in a container. One beside the description is read in any case.
fn locks(file: &Path, place: &Place) -> [PathBuf; 2] {
    let beside = Lock::path_of(file);
    let directory = disk::directory_of(&beside);
    let own = place.own().join("cluster.lock");
    let is_writable = rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok();
    match (is_writable, beside.exists()) {
        (true, _) => [beside.clone(), beside],
        (false, true) => [beside, own],
        (false, false) => [own.clone(), own],
    }
}

impl Generated {
    fn as_json(&self) -> serde_json::Value {
        json!({
            "build_id": self.report.published.manifest.build_id(),
            "path": self.report.published.path,
            "unchanged": self.report.published.unchanged,
            "private": self.place.private().join(&self.report.published.manifest.name),
            "kubeconfig": self.place.kubeconfig(),
            "ca_hash": self.pki.ca_hash(),
            "lock": self.lock,
            "release": self.report.lock.release,
        })
    }

    /// The state of the directory, and the next step with the arguments that were typed.
    fn for_people(&self, cluster: &Cluster, typed: &str) -> String {
        let published = &self.report.published;
        let mut text = format!(
            "{} {} {}: {} and {} of Kubernetes {} on Flatcar {}\n",
            if published.unchanged { "unchanged" } else { "built" },
            cluster.name.value,
            published.manifest.build_id(),
            crate::base::count::counted(cluster.controllers().count() as u64, "controller"),
            crate::base::count::counted(cluster.workers().count() as u64, "worker"),
            cluster.kubernetes.value,
            self.report.version,
        );
        let kubeconfig = match self.kubeconfig {
            Written::Kept => "kubeconfig",
            Written::Made => "kubeconfig, new",
            Written::Renewed => "kubeconfig, renewed",
        };
        let rows = [
            ("tree", published.path.clone()),
            ("secrets", self.place.own()),
            (kubeconfig, self.place.kubeconfig()),
            ("lock", self.lock.clone()),
        ];
        for (name, path) in rows {
            text += &format!("  {name:<20}{}\n", path.display());
        }
        text += &format!(
            "Next: `prebake cluster init{typed}` on {}, and power on the machines.\n",
            cluster.bootstrap.ip.value
        );
        text
    }
}
