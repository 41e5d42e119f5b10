//! `prebake cluster status`

use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;

use super::reach::ReachArgs;
use crate::base::error::{Advice, Exit, Result};
use crate::cli::project::block_on;
use crate::cli::say::printable;
use crate::cli::table::Table;
use crate::cluster::api::certificates::{self, Expiry};
use crate::cluster::api::change::Rollout;
use crate::cluster::api::client::Trouble;
use crate::cluster::api::snapshot::{Api, Snapshot};

/// How long a look may take.
const LIMIT: Duration = Duration::from_secs(20);
/// Certificates that expire within this many days are told as a warning.
const SOON: i64 = 30;

/// Show a cluster: its API server, nodes, control plane, etcd, add-ons, and when its certificates expire
///
/// One look, with any kubeconfig; `prebake cluster wait` follows. Ends with 6 if the API server is not reached.
#[derive(Args)]
pub(crate) struct ClusterStatusArgs {
    #[command(flatten)]
    reach: ReachArgs,
    /// Print the same as JSON
    #[arg(long)]
    json: bool,
}

/// The document that `--json` prints.
#[derive(Serialize)]
struct Document<'d> {
    /// URL of the API server.
    server: &'d str,
    #[serde(flatten)]
    snapshot: &'d Snapshot,
    certificates: &'d [Expiry],
}

/// The API server was not reached, or is not ready.
#[derive(Debug, thiserror::Error)]
#[error("the API server {server} is not ready: {}", trouble.why)]
struct Unreached {
    server: String,
    trouble: Trouble,
}

impl Advice for Unreached {
    fn exit(&self) -> Exit {
        if self.trouble.is_network { Exit::Network } else { Exit::Failed }
    }

    fn hint(&self) -> Option<String> {
        self.trouble.hint.clone()
    }
}

impl ClusterStatusArgs {
    /// Looks, and prints.
    pub(crate) fn run(self) -> Result<()> {
        block_on(async {
            let reached = self.reach.reach().await?;
            let connection = &reached.connection;
            let now = SystemTime::now();
            let (snapshot, mut found) =
                tokio::join!(Snapshot::look(connection, LIMIT), certificates::of_connection(connection, now));
            if let Some(place) = &reached.place {
                found.extend(certificates::of_directory(&place.pki(), now));
            }
            let server = connection.server();
            match self.json {
                true => {
                    let document = Document { server: &server, snapshot: &snapshot, certificates: &found };
                    say!("{}", serde_json::to_string_pretty(&document).unwrap_or_default());
                }
                false => say_part!("{}", picture(&server, &snapshot, &found)),
            }
            match snapshot.api {
                Api::Lost(trouble) => Err(Unreached { server, trouble }.into()),
                _ => Ok(()),
            }
        })
    }
}

/// The whole picture for people.
fn picture(server: &str, snapshot: &Snapshot, found: &[Expiry]) -> String {
    let safe = |text: &str| printable(text);
    let why = |why: &Option<String>| why.as_deref().map(safe).unwrap_or_default();
    let mut picture = match &snapshot.api {
        Api::Ready { version } => format!("{server} is ready, Kubernetes {}\n", safe(version)),
        Api::Lost(trouble) => format!("{server} is not ready: {}\n", safe(&trouble.why)),
        Api::Unknown => format!("{server} has not answered\n"),
    };
    for warning in &snapshot.warnings {
        picture += &format!("warning: {}\n", safe(warning));
    }
    for (what, cause) in &snapshot.blind {
        picture += &format!("warning: {what} are not told: {}\n", safe(cause));
    }
    for expiry in found.iter().filter(|expiry| expiry.days < SOON) {
        let Expiry { of, days, .. } = expiry;
        picture += &match *days {
            days if days < 0 => format!("warning: the certificate of {of} has expired\n"),
            days => format!("warning: the certificate of {of} expires in {days} days\n"),
        };
    }
    let word = |ready: bool| if ready { "Ready" } else { "not ready" }.to_owned();
    if !snapshot.nodes.is_empty() {
        let mut table = Table::new(["NODE", "STATE", "ROLES", "ADDRESS", "KUBELET", "SYSTEM", "WHY"]);
        for node in snapshot.nodes.values() {
            let state =
                if node.schedulable { word(node.ready) } else { format!("{}, cordoned", word(node.ready)) };
            table.row([
                safe(&node.name),
                state,
                safe(&node.roles.join(", ")),
                safe(&node.addresses.join(", ")),
                safe(&node.versions.kubelet),
                safe(&node.versions.os),
                why(&node.why),
            ]);
        }
        picture += &format!("\n{table}");
    }
    let mut table = Table::new(["CONTROL PLANE", "NODE", "STATE", ">RESTARTS", "WHY"]);
    let mut pods: Vec<_> = snapshot.control_plane().collect();
    pods.sort_by_key(|pod| (pod.component.clone(), pod.node.clone()));
    for pod in &pods {
        table.row([
            pod.component.as_deref().map(safe).unwrap_or_default(),
            pod.node.as_deref().map(safe).unwrap_or_default(),
            word(pod.ready),
            pod.restarts.to_string(),
            why(&pod.why),
        ]);
    }
    if !pods.is_empty() {
        let members = snapshot.etcd.len();
        let ready = snapshot.etcd.iter().filter(|member| member.ready).count();
        picture += &format!("\n{table}");
        // One outside of the cluster has no pods.
        if members > 0 {
            picture += &format!("etcd: {ready} of {members} members ready\n");
        }
    }
    if !snapshot.addons.is_empty() {
        let mut table = Table::new(["ADD-ON", "NAMESPACE", "KIND", ">PODS", "STATE", "WHY"]);
        for addon in &snapshot.addons {
            let state = match addon.state {
                Rollout::Done => "rolled out",
                Rollout::Underway => "underway",
                Rollout::Failed => "failed",
            };
            table.row([
                safe(&addon.name),
                safe(&addon.namespace),
                addon.kind.name().into(),
                format!("{}/{}", addon.available, addon.wanted),
                state.into(),
                why(&addon.why),
            ]);
        }
        picture += &format!("\n{table}");
    }
    if !found.is_empty() {
        let mut table = Table::new(["CERTIFICATE", "SUBJECT", "EXPIRES", ">DAYS"]);
        for Expiry { of, subject, expires, days } in found {
            table.row([safe(of), safe(subject), expires.clone(), days.to_string()]);
        }
        picture += &format!("\n{table}");
    }
    picture
}
