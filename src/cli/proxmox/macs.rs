//! `prebake proxmox macs`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::connect::ConnectArgs;
use crate::base::count::counted;
use crate::base::disk;
use crate::base::error::Result;
use crate::cli::project::block_on;
use crate::cli::table::Table;
use crate::proxmox::macs::{Addresses, LONGEST, Which, dnsmasq, list, nodes};
use crate::proxmox::vm::{self, Ids};

/// List VMs with the MAC address of their first card, for DHCP reservations
///
/// With the addresses that Cluster API's IPAM gave (`kubectl get ipaddresses -A -o json`), the list becomes reservations: for
/// dnsmasq, or as `nodes:` of a prebake inventory.
#[derive(Args)]
pub(super) struct MacsArgs {
    /// Only machines of this cluster: those whose names begin with it and a hyphen
    #[arg(long, value_name = "NAME", value_parser = vm::name, conflicts_with = "vm_ids")]
    cluster_name: Option<String>,
    /// Only VMs with these ids
    #[arg(long, value_name = "A-B")]
    vm_ids: Option<Ids>,
    /// The output of `kubectl get ipaddresses -A -o json`, or - for standard input
    #[arg(long, value_name = "FILE")]
    addresses: Option<PathBuf>,
    /// Print what this program reads, in place of a table
    #[arg(long = "for", value_name = "TOOL")]
    tool: Option<Tool>,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Print JSON
    #[arg(long, conflicts_with = "tool")]
    json: bool,
}

/// Programs that give addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tool {
    /// `dhcp-host` lines, for machines with an address
    Dnsmasq,
    /// An inventory, as `prebake serve --nodes` reads it
    Prebake,
}

impl MacsArgs {
    pub(super) fn run(self) -> Result<()> {
        let wire = self.connect.wire()?;
        let addresses = match &self.addresses {
            Some(path) => Addresses::read(&read(path)?, &path.display().to_string())?,
            None => Addresses::default(),
        };
        let which = match (self.cluster_name, self.vm_ids) {
            (Some(cluster), _) => Which::Cluster(cluster),
            (None, Some(ids)) => Which::Ids(ids),
            (None, None) => Which::All,
        };
        let rows = block_on(async { Ok(list(&wire, &which, &addresses).await?) })?;
        if self.json {
            let rows: Vec<_> = rows
                .iter()
                .map(|row| {
                    json!({
                        "vm_id": row.id, "name": row.name, "node": row.node, "mac": row.mac.map(|mac| mac.to_string()),
                        "ip": row.ip.map(|ip| ip.to_string()),
                    })
                })
                .collect();
            say!("{:#}", json!({"vms": rows}));
            return Ok(());
        }
        if self.tool == Some(Tool::Dnsmasq) {
            let without = rows.iter().filter(|row| row.ip.is_none() || row.mac.is_none()).count();
            if without > 0 {
                tell!("{} without a card or an address got no line", counted(without as u64, "VM"));
            }
        }
        match self.tool {
            Some(Tool::Dnsmasq) => say_part!("{}", dnsmasq(&rows)),
            Some(Tool::Prebake) => say_part!("{}", nodes(&rows)),
            None => {
                let mut table = Table::new([">VM", "NAME", "NODE", "MAC", "ADDRESS"]);
                for row in rows {
                    let mac = row.mac.map_or_else(|| "-".into(), |mac| mac.to_string());
                    let ip = row.ip.map_or_else(|| "-".into(), |ip| ip.to_string());
                    table.row([row.id.to_string(), row.name, row.node, mac, ip]);
                }
                say_part!("{table}");
            }
        }
        Ok(())
    }
}

/// A file or standard input, up to the longest that a list may be.
fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = match path == Path::new("-") {
        true => disk::piped(LONGEST),
        false => disk::read_at_most(path, LONGEST),
    };
    bytes.map_err(super::unread(path, "--addresses"))
}
