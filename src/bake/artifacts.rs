//! Artifacts: everything that the steps of a build made, as outputs speak of it.

use std::collections::BTreeMap;

use crate::bake::boot::{BootWish, Delivery};
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::registry::reference::ImageRef;
use crate::sysext::ddi::Protection;

/// Everything that was made, in the order of the steps.
#[derive(Debug, Default)]
pub struct Artifacts {
    /// One for each profile and architecture, and one for each node with layers of its own.
    pub boots: Vec<Boot>,
    /// The sysext images, each once for each architecture.
    pub sysexts: Vec<SysextImage>,
    /// The published container images, each once for each architecture.
    pub images: Vec<ImageArchive>,
    /// Artifacts of the steps that outputs bring, by the steps' ids.
    pub others: BTreeMap<String, Artifact>,
}

/// The result of a step.
#[derive(Clone, Copy, Debug)]
pub struct Artifact {
    /// Its bytes.
    pub object: Object,
    /// The key of the step.
    pub step: Sha256,
}

/// What one class of machines, or one machine, boots.
#[derive(Debug)]
pub struct Boot {
    /// [`crate::bake::recipe::Recipe::boot_id`]; file names and Matchbox ids are made of it.
    pub id: String,
    /// For which machines.
    pub arch: Arch,
    /// The profile.
    pub profile: String,
    /// The node, if it has a boot of its own.
    pub node: Option<String>,
    /// The kernel arguments of the recipe.
    pub kernel_args: Vec<String>,
    /// The compiled Ignition config: one line of JSON.
    pub ignition: Vec<u8>,
    /// The config of the system that this boot installs, if it does.
    pub installed: Option<Vec<u8>>,
    /// The template that Matchbox fills in for its machines, if there is one.
    pub generic: Option<Vec<u8>>,
    /// How its config and sysexts come to the machine.
    pub delivery: Delivery,
    /// What was built for it: the overlay initrd, with [`crate::bake::recipe::Layout::Single`] base and overlay in one, or the
    /// config where that is fetched.
    pub made: Object,
    /// The step that built it.
    pub step: Sha256,
    /// How many bytes of sysexts it fetches.
    pub fetched: u64,
    /// File names and bytes of the initrds that come before Flatcar's.
    pub early: Vec<(String, Object)>,
}

/// A built sysext.
#[derive(Debug)]
pub struct SysextImage {
    /// For which machines.
    pub arch: Arch,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The image.
    pub object: Object,
    /// The step that built it.
    pub step: Sha256,
    /// What protects it, if it is signed.
    pub verity: Option<Protection>,
}

/// A container image in an archive.
#[derive(Debug)]
pub struct ImageArchive {
    /// As the recipe names it.
    pub reference: ImageRef,
    /// For which machines.
    pub arch: Arch,
    /// The archive.
    pub object: Object,
    /// The step that packed it.
    pub step: Sha256,
}

impl Boot {
    /// The boot that was made for a wish, before anything is known of the files that it fetches or loads early.
    pub fn of(wish: &BootWish, artifact: Artifact) -> Self {
        Boot {
            id: wish.id.clone(),
            arch: wish.arch,
            profile: wish.profile.clone(),
            node: wish.node.clone(),
            kernel_args: wish.kernel_args.clone(),
            ignition: wish.ignition.clone(),
            installed: wish.installed.clone(),
            generic: wish.generic.clone(),
            delivery: wish.delivery.clone(),
            made: artifact.object,
            step: artifact.step,
            fetched: 0,
            early: Vec::new(),
        }
    }
}
