//! `prebake nodes adopt`

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use super::{hand_over, hold};
use crate::bake::roster::Target;
use crate::base::arch::Arch;
use crate::base::error::{Advice, Exit, Result};
use crate::cli::project::block_on;
use crate::cli::status::ServerArgs;
use crate::machine::entry::Entry;
use crate::machine::node::Mac;
use crate::serve::machines::status::{MachineStatus, Status};
use crate::tree::names::{Endpoint, profile_of};

/// Make nodes of machines that asked a running server and that no node names
///
/// A stranger's line has its MAC address, the host name that it gave itself or one made of its address, and the profile that
/// it boots by default. Without --mac, all strangers are taken.
#[derive(Args)]
pub(crate) struct AdoptArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Take the machine with this MAC address (repeatable)
    #[arg(long, value_name = "MAC", conflicts_with = "all")]
    mac: Vec<Mac>,
    /// Take all machines that no node names
    #[arg(long)]
    all: bool,
    /// Profile of the machines, instead of the one that they boot by default
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Put the lines into this recipe or inventory; one that does not exist becomes an inventory
    #[arg(long, value_name = "RECIPE|INVENTORY")]
    into: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Reasons why no machine is adopted.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// A machine that the server has not seen, or that a node names.
    #[error("{}", .0.join("\n"))]
    NotStrangers(Vec<String>),
    /// Several machines, and none is named.
    #[error("{} machines have no node: {}", .0.len(), .0.join(", "))]
    Several(Vec<String>),
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::NotStrangers(_) => Exit::Failed,
            Error::Several(_) => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::NotStrangers(_) => "`prebake status` lists the machines that asked the server".into(),
            Error::Several(_) => "name one with --mac, or take --all".into(),
        })
    }
}

impl AdoptArgs {
    /// Asks the server, and prints or writes the lines.
    pub(crate) fn run(self) -> Result<()> {
        let server = self.server.connect()?;
        let status: Status = block_on(async { Ok(server.document(Endpoint::Status.path()).await?) })?;
        let chosen = self.chosen(&status.machines)?;
        let target = hold(self.into.as_deref(), self.profile.as_deref())?;
        let several = target.as_ref().is_some_and(Target::has_several_archs);
        let mut names = BTreeSet::new();
        let mut entries = Vec::new();
        for machine in chosen {
            let mac: Option<Mac> = machine.mac.as_deref().and_then(|mac| mac.parse().ok());
            if mac.is_some_and(|mac| target.as_ref().is_some_and(|target| target.has_mac(mac))) {
                tell!("{} is in the file already", machine.mac.as_deref().unwrap_or_default());
                continue;
            }
            let in_file = |name: &str| target.as_ref().is_some_and(|target| target.has_name(name));
            let is_taken = |name: &str| names.contains(name) || in_file(name);
            let own = machine.hostname.as_deref().or(machine.name.as_deref());
            let mut entry = Entry::of_stranger(own, mac, machine.uuid.as_deref(), is_taken);
            // As the machine said it, in iPXE's words.
            let is = |arch: &Arch| machine.arch.as_deref().is_some_and(|said| arch.is_buildarch(said));
            entry.arch = Arch::ALL.into_iter().find(is).filter(|_| several);
            let default = || machine.profile.as_deref().map(|profile| profile_of(profile).to_owned());
            entry.profile = self.profile.clone().or_else(default);
            names.insert(entry.name.clone());
            entries.push(entry);
        }
        if entries.is_empty() {
            tell!("{}", nobody(&status));
        }
        hand_over(entries, target.zip(self.into.as_deref()), self.json)
    }

    /// The machines to adopt.
    fn chosen<'m>(&self, machines: &'m [MachineStatus]) -> Result<Vec<&'m MachineStatus>, Error> {
        let strangers: Vec<&MachineStatus> = machines.iter().filter(|machine| is_stranger(machine)).collect();
        if self.mac.is_empty() {
            let names = strangers.iter().map(|machine| machine.mac.clone().or(machine.uuid.clone()));
            return match self.into.is_some() && !self.all && strangers.len() > 1 {
                true => Err(Error::Several(names.map(Option::unwrap_or_default).collect())),
                false => Ok(strangers),
            };
        }
        let is = |machine: &MachineStatus, mac: Mac| {
            machine.mac.as_deref().and_then(|own| own.parse().ok()) == Some(mac)
        };
        let mut wrong = Vec::new();
        let mut chosen = Vec::new();
        for mac in &self.mac {
            match strangers.iter().find(|machine| is(machine, *mac)) {
                Some(machine) => chosen.push(*machine),
                None => wrong.push(match machines.iter().find(|machine| is(machine, *mac)) {
                    Some(machine) => match (&machine.name, &machine.group) {
                        (Some(name), _) if machine.node => format!("{mac} is node `{name}` already"),
                        (_, Some(group)) => format!("{mac} is served by group `{group}` already"),
                        _ => format!("{mac} has a node already"),
                    },
                    None => format!("{mac} has not asked the server"),
                }),
            }
        }
        if wrong.is_empty() { Ok(chosen) } else { Err(Error::NotStrangers(wrong)) }
    }
}

/// Whether no node and no group names a machine of which more than its address is known. A server of a data directory
/// makes no entries, as it has no recipe.
fn is_stranger(machine: &MachineStatus) -> bool {
    machine.entry.is_some() || machine.stranger && (machine.mac.is_some() || machine.uuid.is_some())
}

/// The reason why a server has nobody to adopt.
fn nobody(status: &Status) -> &'static str {
    match (status.machines.is_empty(), status.serving.build.is_empty()) {
        (true, _) => "no machine has asked the server",
        (false, true) => "this server has no recipe, and its groups match every machine that asked",
        (false, false) => "every machine that asked has a node",
    }
}
