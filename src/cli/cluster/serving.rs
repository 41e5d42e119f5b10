//! The boot server of a cluster: `prebake serve` with the flags that follow from the description.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Parser};

use super::generate;
use crate::bake::outputs::dnsmasq::IPXE_DIRECTORY;
use crate::base::disk;
use crate::base::error::Result;
use crate::cli::serve::{Ready, ServeArgs, confine, netboot};
use crate::cluster::course::Renew;
use crate::cluster::description::{Cluster, Power};
use crate::cluster::doctor::{self, HTTP};
use crate::cluster::kubeadm::Pace;
use crate::cluster::place::Place;
use crate::cluster::project;
use crate::cluster::templates::Templates;
use crate::serve::process::confine::Files;
use crate::tree::open::Tree;
use crate::tree::private;

/// How the boot server runs.
#[derive(Args)]
pub(super) struct ServingArgs {
    /// Where the iPXE binaries are: undionly.kpxe, ipxe.efi, ipxe-arm64.efi
    #[arg(help_heading = netboot::HEADING, long, value_name = "DIR", default_value = IPXE_DIRECTORY)]
    pub ipxe_dir: PathBuf,
    /// Do not restrict the process's file access with landlock
    #[arg(help_heading = confine::HEADING, long)]
    no_sandbox: bool,
}

/// The flags of `prebake serve` alone.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Alone {
    #[command(flatten)]
    serve: ServeArgs,
}

impl ServingArgs {
    /// Binds the server of a cluster, and gives up all other rights. Must be called while the process has one thread.
    pub(super) fn prepare(
        &self,
        cluster: &Cluster,
        place: &Place,
        reads: &[&Path],
        quiet: bool,
    ) -> Result<Option<Ready>> {
        let mut files = Files::default();
        // The record, what the server saw, private configs and what they are made of; a kubeconfig is made before.
        files.write(&place.own());
        for directory in ["pki", "recipe", "private"] {
            files.write(&place.own().join(directory));
        }
        files.read(place.output());
        files.read(&cluster.directory);
        reads.iter().for_each(|path| files.read(path));
        let has_bmcs = cluster.nodes.iter().any(|node| matches!(node.power, Some(Power::Redfish { .. })));
        if has_bmcs {
            // Names, and authorities of certificates.
            ["/etc", "/usr/share/ca-certificates", "/usr/lib/ssl"]
                .iter()
                .for_each(|path| files.read(Path::new(path)));
        }
        // Files that the description names may lie elsewhere, and are read anew when private configs are.
        cluster.named().iter().for_each(|path| files.read(path));
        files.read(&disk::directory_of(&place.recipe()).join("sysext"));
        let args =
            Alone::try_parse_from(self.flags(cluster, place, quiet)).unwrap_or_else(|error| error.exit());
        args.serve.prepare(files)
    }

    /// The same server as words behind `prebake serve`.
    fn flags(&self, cluster: &Cluster, place: &Place, quiet: bool) -> Vec<OsString> {
        let mut flags: Vec<OsString> = vec![place.tree().into()];
        let mut add = |words: &[OsString]| flags.extend(words.iter().cloned());
        add(&["--address".into(), format!("0.0.0.0:{HTTP}").into()]);
        if let Some(interface) = doctor::interface(cluster) {
            add(&["--interface".into(), interface.into(), "--tftp".into()]);
            match cluster.bootstrap.dhcp {
                false => add(&["--proxy-dhcp".into()]),
                true => {
                    add(&["--dhcp".into()]);
                    cluster
                        .gateway
                        .iter()
                        .for_each(|gateway| add(&["--gateway".into(), gateway.value.to_string().into()]));
                    cluster
                        .dns
                        .iter()
                        .for_each(|server| add(&["--dns".into(), server.value.to_string().into()]));
                }
            }
        }
        add(&["--advertise".into(), cluster.bootstrap.ip.value.to_string().into()]);
        add(&["--ipxe-dir".into(), self.ipxe_dir.clone().into()]);
        add(&["--guard".into(), "--private".into(), place.private().into()]);
        add(&["--state".into(), place.machines().into()]);
        // A table on the same terminal has no room for a log; `prebake logs` has it.
        if quiet {
            add(&["--log-level".into(), "error".into()]);
        }
        if self.no_sandbox || runs_programs(cluster) {
            add(&["--no-sandbox".into()]);
        }
        flags
    }
}

/// Whether programs of the site are run, which landlock would forbid.
fn runs_programs(cluster: &Cluster) -> bool {
    let commands = cluster.nodes.iter().any(|node| matches!(node.power, Some(Power::Command(_))));
    commands || cluster.hooks.is_some()
}

/// Makes the private part of the tree that is served, with certificates that last for another day.
pub(super) fn renewal(cluster: Arc<Cluster>, place: Place, templates: Arc<Templates>, pace: Pace) -> Renew {
    Box::new(move || renew(&cluster, &place, &templates, pace))
}

/// See [`renewal`].
pub(super) fn renew(cluster: &Cluster, place: &Place, templates: &Templates, pace: Pace) -> Result<()> {
    generate::prepare(cluster, place, templates, pace)?;
    place_private(place).map(drop)
}

/// Makes the private part of the tree that is there, which is compared with the description in this; returns the tree.
pub(super) fn place_private(place: &Place) -> Result<Tree> {
    let tree = Tree::directory(&place.tree())?;
    let files = project::private(place, &tree)?;
    let top = private::directory(&place.tree(), Some(&place.private()), place.name());
    private::place(&top, &files)?;
    Ok(tree)
}
