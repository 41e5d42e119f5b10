//! `prebake cluster teardown`

use std::fs;
use std::io::{self, BufRead};
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::json;

use super::Described;
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::cli::project::block_on;
use crate::cluster::api::client::Connection;
use crate::cluster::api::retire;
use crate::cluster::description::{Cluster, Storage};
use crate::cluster::hold::Hold;
use crate::cluster::pki::Pki;
use crate::cluster::place::Place;

/// How long a server may take to let open transfers finish.
const STOPS: Duration = Duration::from_secs(30);
/// How long the API server may take; without it the rest is done all the same.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stop the servers of a cluster, and take back what machines join with
///
/// Stops the `init` or `serve` that runs, deletes the configs with secrets that machines were given, and, unless machines run from memory
/// and join at each boot, the role bindings by which machines join. Keys, kubeconfig and trees stay; --destroy deletes keys and
/// kubeconfig, too. The disks of the nodes are never touched.
#[derive(Args)]
pub(super) struct TeardownArgs {
    #[command(flatten)]
    described: Described,
    /// Delete the cluster's keys and its kubeconfig, after its name was typed: nobody gets into the cluster any more, and no machine
    /// joins it
    #[arg(long)]
    destroy: bool,
    /// The cluster's name, instead of typing it
    #[arg(long, value_name = "NAME", requires = "destroy")]
    confirm: Option<String>,
    /// Print the result as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// The name was not typed.
#[derive(Debug, thiserror::Error)]
#[error("nothing is destroyed: `{typed}` is not the cluster's name")]
struct Unconfirmed {
    typed: String,
    name: String,
}

impl Advice for Unconfirmed {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(format!("type `{}`, or give --confirm {}", self.name, self.name))
    }
}

impl TeardownArgs {
    /// Runs the verb.
    pub(super) fn run(self) -> Result<()> {
        let (cluster, _) = Cluster::load(&self.described.path())?;
        let name = &cluster.name.value;
        let place = Place::new(&self.described.output, name);
        if self.destroy {
            self.confirm(name)?;
        }
        if !place.own().exists() {
            return self.tell(name, None, &[], false);
        }
        let stopped = Hold::stop(&place, STOPS)?;
        let _hold = Hold::take(&place, "teardown")?;
        remove(&place.private())?;
        let joins_again = cluster.nodes.iter().any(|node| matches!(node.storage, Storage::Memory));
        let bindings = if !joins_again || self.destroy { bindings(&cluster, &place) } else { Vec::new() };
        if self.destroy {
            remove(&place.kubeconfig())?;
            remove(&place.own())?;
        }
        self.tell(name, stopped.map(|holder| holder.to_string()), &bindings, self.destroy)
    }

    fn confirm(&self, name: &str) -> Result<()> {
        let typed = match &self.confirm {
            Some(typed) => typed.clone(),
            None => {
                insist!(
                    "the keys of {name} are deleted: nobody gets into the cluster any more. Type its name:"
                );
                let mut line = String::new();
                io::stdin()
                    .lock()
                    .read_line(&mut line)
                    .map_err(disk::Error::io("read", Path::new("stdin")))?;
                line.trim().to_owned()
            }
        };
        match typed == name {
            true => Ok(()),
            false => Err(Unconfirmed { typed, name: name.to_owned() }.into()),
        }
    }

    fn tell(&self, name: &str, stopped: Option<String>, bindings: &[&str], destroyed: bool) -> Result<()> {
        if self.json {
            say!(
                "{:#}",
                json!({"cluster": name, "stopped": stopped, "bindings": bindings, "destroyed": destroyed})
            );
            return Ok(());
        }
        match stopped {
            Some(holder) => say!("{holder} is stopped"),
            None => say!("no server of {name} runs"),
        }
        match bindings {
            [] => {}
            gone => say!("machines can no longer join: {} are deleted", gone.join(" and ")),
        }
        if destroyed {
            say!("the keys and the kubeconfig of {name} are deleted");
        }
        Ok(())
    }
}

/// The bindings that were deleted; none if the API server does not answer, for a cluster that is gone has none.
fn bindings(cluster: &Cluster, place: &Place) -> Vec<&'static str> {
    let Ok(pki) = Pki::open(place, SystemTime::now()) else { return Vec::new() };
    let Ok(kubeconfig) = pki.super_admin_kubeconfig(cluster, SystemTime::now()) else { return Vec::new() };
    let work = block_on(async {
        let connection = Connection::new("the administrator's kubeconfig", kubeconfig.text()).await?;
        let gone = tokio::time::timeout(PATIENCE, retire::joining(&connection)).await;
        Ok(gone.unwrap_or_else(|_| Ok(Vec::new()))?)
    });
    work.unwrap_or_else(|error| {
        tell!("warning: the API server does not answer, so that machines with a certificate of today may still join: {error}");
        Vec::new()
    })
}

/// Removes a file or directory, if it is there.
fn remove(path: &Path) -> Result<(), disk::Error> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk::Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
