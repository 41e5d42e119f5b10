//! `prebake cluster replace`

use std::time::SystemTime;

use clap::Args;

use super::forming::{FormingArgs, named};
use crate::base::error::Result;
use crate::cli::project::block_on;
use crate::cluster::api::client::Connection;
use crate::cluster::api::retire;
use crate::cluster::description::{Cluster, Role};
use crate::cluster::etcd;
use crate::cluster::pki::Pki;
use crate::cluster::place::Place;

/// Let a new machine take the place of a dead one
///
/// Its member of etcd is taken out (asked of the other members, with a certificate of the cluster's own authority), its Node and signing
/// requests are deleted, and the machine that has its name and card in the description now is awaited, as `add` does it. The node's
/// disks are not touched.
#[derive(Args)]
pub(super) struct ReplaceArgs {
    /// The node that is replaced
    #[arg(long, value_name = "NAME")]
    node: String,
    #[command(flatten)]
    forming: FormingArgs,
}

impl ReplaceArgs {
    /// Runs the verb.
    pub(super) fn run(self) -> Result<()> {
        let cluster = self.forming.load()?;
        let names = [self.node];
        named(&cluster, &names)?;
        self.forming.form("replace", cluster, &names, |cluster, place| retire(cluster, place, &names[0]))
    }
}

/// Takes a node out of the cluster: the member first, since a member that never comes back counts against the majority.
fn retire(cluster: &Cluster, place: &Place, name: &str) -> Result<()> {
    let Some(node) = cluster.nodes.iter().find(|node| node.name.value == name) else { return Ok(()) };
    let pki = Pki::open(place, SystemTime::now())?;
    let kubeconfig = pki.super_admin_kubeconfig(cluster, SystemTime::now())?;
    block_on(async {
        if node.role == Role::Controller && cluster.etcd.is_none() {
            match etcd::remove(cluster, &pki, node).await? {
                Some(member) => tell!("the member {member} of etcd is taken out"),
                None => tell!("etcd has no member of {name}"),
            }
        }
        let connection = Connection::new("the administrator's kubeconfig", kubeconfig.text()).await?;
        let (was_there, requests) = retire::node(&connection, name).await?;
        let requests = crate::base::count::counted(requests as u64, "signing request");
        match was_there {
            true => tell!("the Node {name} and {requests} are deleted"),
            false => tell!("there is no Node {name}; {requests} of it are deleted"),
        }
        Ok(())
    })
}
