//! `prebake proxmox script`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::options::VmArgs;
use super::picture::{self, Picture};
use crate::base::error::{Advice, Exit, Result};
use crate::cli::disk::source::SourceArgs;
use crate::proxmox::{image, script, vm};

/// Print a shell script that makes the template: by `qm` on a node, or by `openstack` for glance
///
/// It has the same options as `prebake proxmox upload`, and needs no API token: it runs as root on a node, to which the image is
/// copied. It holds the image against its digest first, and leaves no half-made VM.
#[derive(Args)]
pub(super) struct ScriptArgs {
    /// The image (qcow2, raw or vmdk), or a tree that has one
    #[arg(value_name = "IMAGE|TREE")]
    image: PathBuf,
    /// The profile whose image it is, where a tree has several
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The program that the script runs
    #[arg(long = "for", value_name = "TOOL", default_value = "qm")]
    tool: Tool,
    #[command(flatten)]
    vm: VmArgs,
    /// The storage of the disk [default: local-lvm]
    #[arg(long, value_name = "NAME", value_parser = vm::word)]
    storage: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
}

/// Programs that make images of a site's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tool {
    /// Proxmox VE
    Qm,
    /// OpenStack; the image must be one of the platform openstack
    Openstack,
}

/// Options that are of Proxmox VE, in a script for OpenStack.
#[derive(Debug, thiserror::Error)]
#[error("{} no effect on an image of OpenStack", told(.0))]
struct NoEffect(Vec<&'static str>);

/// The options with their verb.
fn told(options: &[&str]) -> String {
    format!("{} {}", options.join(", "), if options.len() == 1 { "has" } else { "have" })
}

impl Advice for NoEffect {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        let way = "a server's flavor, network and volume say that there";
        Some(format!(
            "leave out what --for openstack does not take, which is all but --name and --firmware: {way}"
        ))
    }
}

impl ScriptArgs {
    pub(super) fn run(self) -> Result<()> {
        if self.tool == Tool::Openstack {
            let mut given = self.vm.of_a_vm_alone();
            given.extend(self.storage.as_ref().map(|_| "--storage"));
            if !given.is_empty() {
                return Err(NoEffect(given).into());
            }
        }
        let platform = if self.tool == Tool::Qm { image::PLATFORM } else { image::OPENSTACK };
        let Picture { image, name, .. } =
            picture::take(&self.source, &self.image, self.profile.as_deref(), platform)?;
        let vm = self.vm.vm(&name);
        let text = match self.tool {
            Tool::Qm => {
                let storage = self.storage.as_deref().unwrap_or("local-lvm");
                script::proxmox(&image, &vm, storage, self.vm.ids(), self.vm.convert_to_template)?
            }
            Tool::Openstack => script::openstack(&image, &vm.name, vm.firmware),
        };
        match self.source.common.json {
            true => say!("{:#}", json!({"script": text, "sha256": image.sha256, "release": image.release})),
            false => say_part!("{text}"),
        }
        Ok(())
    }
}
