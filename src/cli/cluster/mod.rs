//! `prebake cluster`

mod add;
mod addons;
mod doctor;
mod forming;
pub(crate) mod generate;
mod init;
mod power;
mod reach;
mod rehearse;
mod replace;
mod serve;
mod serving;
mod show;
mod status;
mod teardown;
mod validate;
mod wait;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::base::error::Result;
use crate::cluster::description::Cluster;

/// Form a Kubernetes cluster from `cluster.yaml`: from the power button to a kubeconfig
#[derive(Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Add(Box<add::AddArgs>),
    Doctor(doctor::DoctorArgs),
    Generate(generate::GenerateArgs),
    Init(Box<init::InitArgs>),
    Replace(Box<replace::ReplaceArgs>),
    Serve(serve::ServeArgs),
    Teardown(teardown::TeardownArgs),
    Addons(addons::AddonsArgs),
    Status(status::ClusterStatusArgs),
    Wait(wait::WaitArgs),
    Power(power::PowerArgs),
    Rehearse(rehearse::RehearseArgs),
    Validate(validate::ValidateArgs),
}

/// The description and what is made from it, as all of its verbs name them.
#[derive(Args)]
pub(super) struct Described {
    /// The cluster's description [default: /config/cluster.yaml if it is there, else cluster.yaml]
    #[arg(value_name = "CLUSTER")]
    pub file: Option<PathBuf>,
    /// Directory for trees, the cluster's keys and its kubeconfig
    #[arg(short, long, value_name = "DIR", default_value = "output")]
    pub output: PathBuf,
    /// Files that replace the templates of the same names [default: /templates if it is there]
    #[arg(long, value_name = "DIR")]
    templates: Option<PathBuf>,
}

/// Where the container image has the description, and files that replace templates.
const IN_CONTAINER: &str = "/config/cluster.yaml";
const TEMPLATES: &str = "/templates";
/// Its name in the working directory.
const HERE: &str = "cluster.yaml";

/// The file of a description: as it is said, or where a container or a person has it.
pub(super) fn description(said: Option<&Path>) -> PathBuf {
    let usual = || if Path::new(IN_CONTAINER).exists() { IN_CONTAINER } else { HERE };
    said.map_or_else(|| PathBuf::from(usual()), Path::to_owned)
}

/// A directory of templates: as it is said, or the usual one if it is there.
fn templates<'p>(said: Option<&'p Path>, usual: &'p Path) -> Option<&'p Path> {
    said.or_else(|| Some(usual).filter(|path| path.is_dir()))
}

/// Loads a description, and tells its doubts.
pub(super) fn load(path: &Path) -> Result<Cluster> {
    let (cluster, doubts) = Cluster::load(path)?;
    doubts.iter().for_each(|doubt| tell!("{doubt}"));
    Ok(cluster)
}

impl Described {
    /// The description's path.
    pub(super) fn path(&self) -> PathBuf {
        description(self.file.as_deref())
    }

    /// The directory of files that replace templates: as it is said, or where a container has it.
    pub(super) fn templates(&self) -> Option<&Path> {
        templates(self.templates.as_deref(), Path::new(TEMPLATES))
    }

    /// The arguments as a person gave them, to be typed behind another verb.
    pub(super) fn as_typed(&self) -> String {
        let mut text = self.file.iter().map(|file| format!(" {}", file.display())).collect::<String>();
        if self.output != Path::new("output") {
            text += &format!(" -o {}", self.output.display());
        }
        text += &self
            .templates
            .iter()
            .map(|templates| format!(" --templates {}", templates.display()))
            .collect::<String>();
        text
    }
}

impl ClusterArgs {
    /// Whether the verb runs a server, which takes care of signals itself.
    pub(super) fn serves(&self) -> bool {
        matches!(self.verb, Verb::Add(_) | Verb::Init(_) | Verb::Replace(_) | Verb::Serve(_))
    }

    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            Verb::Add(args) => args.run(),
            Verb::Doctor(args) => args.run(),
            Verb::Generate(args) => args.run(),
            Verb::Init(args) => args.run(),
            Verb::Replace(args) => args.run(),
            Verb::Serve(args) => args.run(),
            Verb::Teardown(args) => args.run(),
            Verb::Addons(args) => args.run(),
            Verb::Status(args) => args.run(),
            Verb::Wait(args) => args.run(),
            Verb::Power(args) => args.run(),
            Verb::Rehearse(args) => args.run(),
            Verb::Validate(args) => args.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_those_that_are_said_else_those_of_the_container_else_none() {
        let directory = tempfile::tempdir().unwrap();
        let (there, missing) = (directory.path(), directory.path().join("templates"));
        assert_eq!(templates(None, there), Some(there));
        assert_eq!(templates(None, &missing), None);
        assert_eq!(templates(Some(&missing), there), Some(missing.as_path()), "what is said is looked for");
    }
}
