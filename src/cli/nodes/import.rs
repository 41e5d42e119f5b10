//! `prebake nodes import`

use std::path::PathBuf;

use clap::Args;

use super::{hand_over, hold};
use crate::bake::roster::{self, Format, Rows, Wishes};
use crate::base::error::Result;
use crate::machine::network::Network;

/// Read machines from other programs' lists, as lines below `nodes:`
///
/// Takes CSV with a line of headings (name, mac, ip, profile, uuid, arch, memory, in any order; commas, semicolons or tabs),
/// dnsmasq's leases and dhcp-host= lines, groups of Matchbox (a file, its data directory or the folder of groups), and JSON of
/// NetBox (devices or virtual machines together with their interfaces). Every mistake is told at once, with file and line.
#[derive(Args)]
pub(crate) struct ImportNodesArgs {
    /// Lists of machines, directories of groups, or - for the standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The format of the files: csv, dnsmasq, matchbox or netbox; by their looks if absent
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Profile of machines whose list names none
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Network of addresses that state no prefix length, such as 10.0.0.0/24
    #[arg(long, value_name = "NETWORK")]
    subnet: Option<Network>,
    /// The interface that machines of NetBox boot from, where several have a MAC address
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Put the lines into this recipe or inventory; one that does not exist becomes an inventory
    #[arg(long, value_name = "RECIPE|INVENTORY")]
    into: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ImportNodesArgs {
    /// Reads, judges, and prints or writes.
    pub(crate) fn run(self) -> Result<()> {
        let wishes =
            Wishes { profile: self.profile.clone(), subnet: self.subnet, interface: self.interface.clone() };
        let rows = Rows::read(&self.files, self.format, &wishes)?;
        let (entries, doubts) = roster::judge(rows, &wishes)?;
        doubts.iter().for_each(|doubt| tell!("{doubt}"));
        let target = hold(self.into.as_deref(), self.profile.as_deref())?;
        hand_over(entries, target.zip(self.into.as_deref()), self.json)
    }
}
