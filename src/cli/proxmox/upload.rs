//! `prebake proxmox upload`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::connect::ConnectArgs;
use super::options::VmArgs;
use super::picture::{self, Picture};
use crate::base::error::Result;
use crate::cli::disk::source::{SourceArgs, as_json};
use crate::cli::progress::Passing;
use crate::cli::project::block_on;
use crate::proxmox::document::Guest;
use crate::proxmox::image::PLATFORM;
use crate::proxmox::record::Record;
use crate::proxmox::upload::{Done, News, Order, Way};
use crate::proxmox::vm;

/// Make a template of a disk image on Proxmox VE: send it, make a VM, and convert that
///
/// The VM gets what Ignition and Flatcar need: a cloud-init drive, a serial console, the guest agent, and the disk as its first
/// boot device. Its description has the BUILD-ID: one that is there already is left as it is, and nothing is sent. Interrupted or
/// killed, the same command goes on. Proxmox VE 8.4 or newer is needed; `prebake proxmox script` prints commands for an older one.
#[derive(Args)]
pub(super) struct UploadArgs {
    /// The image (qcow2, raw or vmdk, of the platform proxmoxve), or a tree that has one
    #[arg(value_name = "IMAGE|TREE")]
    image: PathBuf,
    /// The profile whose image it is, where a tree has several
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    #[command(flatten)]
    vm: VmArgs,
    /// The node [default: the only one]
    #[arg(long, value_name = "NAME", value_parser = vm::word)]
    node: Option<String>,
    /// The storage of the disk, with the content type `images` [default: the only one]
    #[arg(long, value_name = "NAME", value_parser = vm::word)]
    storage: Option<String>,
    /// The storage that the image is sent to, with the content type `import` [default: the disk's, else the first]
    #[arg(long, value_name = "NAME", value_parser = vm::word)]
    import_storage: Option<String>,
    /// Keep the newest N templates of this name, and remove the others, but for those that a VM is a linked clone of
    #[arg(long, value_name = "N", requires = "convert_to_template", value_parser = clap::value_parser!(u32).range(1..))]
    prune: Option<u32>,
    /// Only say what would be done: the calls
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    source: SourceArgs,
}

impl UploadArgs {
    pub(super) fn run(self) -> Result<()> {
        // Nothing is read in vain where no token is known.
        let wire = self.connect.wire()?;
        let Picture { image, name, signed } =
            picture::take(&self.source, &self.image, self.profile.as_deref(), PLATFORM)?;
        let vm = self.vm.vm(&name);
        let order = Order {
            image: &image,
            vm: &vm,
            node: self.node,
            storage: self.storage,
            import: self.import_storage,
            ids: self.vm.ids(),
            is_id_named: self.vm.is_id_named(),
            template: self.vm.convert_to_template,
            keep: self.prune.map(|count| count as usize),
        };
        let shown = Passing::new(format!("sending {}", image.subject), Some(image.length));
        let told = |news: News<'_>| match news {
            News::Said(words) => tell!("{words}"),
            News::Sent(bytes) => shown.at(bytes, None),
        };
        let is_json = self.source.common.json;
        if self.dry_run {
            let plan = block_on(async { Ok(Way::begin(&wire, &order, &told).await?.plan().await?) })?;
            drop(shown);
            plan.remarks.iter().for_each(|remark| tell!("{remark}"));
            let calls: Vec<String> = plan.calls.iter().map(ToString::to_string).collect();
            match (is_json, plan.there) {
                (true, there) => {
                    say!(
                        "{:#}",
                        json!({
                            "dry_run": true, "there": there.map(|guest| guest.id), "calls": calls, "findings": plan.remarks,
                        })
                    );
                }
                (false, there) => {
                    if let Some(guest) = there {
                        say!("VM {} on {} is there already", guest.id, guest.node);
                    }
                    calls.iter().for_each(|call| say!("{call}"));
                }
            }
            return Ok(());
        }
        let done = block_on(async { Ok(Way::begin(&wire, &order, &told).await?.go().await?) })?;
        drop(shown);
        done.remarks.iter().for_each(|remark| tell!("{remark}"));
        let Done { guest, record, was_there, was_sent, removed, remarks } = done;
        if is_json {
            say!(
                "{:#}",
                json!({
                    "vm_id": guest.id, "name": guest.name, "node": guest.node, "template": guest.is_template,
                    "build_id": record.build, "sha256": record.image, "release": record.release,
                    "kubernetes": record.kubernetes, "was_there": was_there, "uploaded": was_sent,
                    "removed": removed, "findings": remarks, "signature": as_json(signed.as_ref()),
                })
            );
            return Ok(());
        }
        say!("{}", words(&guest, &record, was_there));
        removed.iter().for_each(|id| say!("template {id} was removed"));
        Ok(())
    }
}

/// A VM in a sentence.
fn words(guest: &Guest, record: &Record, was_there: bool) -> String {
    let kind = if guest.is_template { "template" } else { "VM" };
    let release = record.release.as_ref().map(|release| format!("Flatcar {release}"));
    let kubernetes = record.kubernetes.as_ref().map(|version| format!("Kubernetes {version}"));
    let of: Vec<String> = release.into_iter().chain(kubernetes).collect();
    let of = if of.is_empty() { String::new() } else { format!(" ({})", of.join(", ")) };
    let there = if was_there { "was there already" } else { "is ready" };
    format!("{kind} {} `{}` on {} {there}: build {}{of}", guest.id, guest.name, guest.node, record.build)
}
