//! `prebake cluster doctor`

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;

use super::Described;
use super::forming::told;
use crate::bake::outputs::dnsmasq::IPXE_DIRECTORY;
use crate::base::error::{Advice, Result};
use crate::cli::project::StoreArg;
use crate::cluster::description::Cluster;
use crate::cluster::doctor::{self, Subject, Verdict};
use crate::cluster::pki::Pki;
use crate::cluster::place::Place;

/// Examine the site before machines are switched on
///
/// Looks at rights, clock, disk, this host's address, link and network, ports, other DHCP and boot servers, and who has the
/// addresses that the cluster will have. Nothing is changed; some packets are sent, as a machine that boots sends them.
#[derive(Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    described: Described,
    /// Where the iPXE binaries are
    #[arg(long, value_name = "DIR", default_value = IPXE_DIRECTORY)]
    ipxe_dir: PathBuf,
    #[command(flatten)]
    store: StoreArg,
    /// Print the checks as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Something is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0} would keep machines from booting or from forming the cluster")]
struct Unfit(String);

impl Advice for Unfit {}

impl DoctorArgs {
    /// Runs the verb.
    pub(super) fn run(self) -> Result<()> {
        let (cluster, _) = Cluster::load(&self.described.path())?;
        let place = Place::new(&self.described.output, &cluster.name.value);
        let ends = Pki::open(&place, SystemTime::now()).ok().map(|pki| pki.ends());
        let store = self.store.path().ok();
        let subject = Subject { cluster: &cluster, place: &place, store, ipxe: self.ipxe_dir, ends };
        let checks = doctor::examine(&subject);
        match self.json {
            true => say!(
                "{:#}",
                serde_json::json!({"schema": 1, "cluster": cluster.name.value, "checks": checks})
            ),
            false => checks.iter().for_each(|check| say!("{}", told(check))),
        }
        let wrong: Vec<&str> =
            checks.iter().filter(|check| check.verdict == Verdict::Wrong).map(|check| check.name).collect();
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Unfit(wrong.join(", ")).into()),
        }
    }
}
