//! Artifacts: everything that the steps of a build made, as outputs speak of it.

use std::collections::BTreeMap;

use crate::bake::boot::{BootWish, Delivery};
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::registry::reference::ImageRef;
use crate::sysext::ddi::Protection;

/// Everything that was made, in the order of the steps.
#[derive(Debug, Default)]
pub(crate) struct Artifacts {
    /// One for each profile and architecture, and one for each node with its own layers.
    pub boots: Vec<Boot>,
    /// The sysext images, each once per architecture.
    pub sysexts: Vec<SysextImage>,
    /// The published container images, each once for each architecture.
    pub images: Vec<ImageArchive>,
    /// Artifacts of the steps that outputs bring, by the steps' ids.
    pub others: BTreeMap<String, Artifact>,
}

/// The result of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Artifact {
    /// Its digest and length.
    pub object: Object,
    /// The key of the step.
    pub step: Sha256,
}

/// The boot of a class of machines, or of one machine.
#[derive(Debug)]
pub(crate) struct Boot {
    /// [`crate::bake::recipe::Recipe::boot_id`]; file names and Matchbox ids are made of it.
    pub id: String,
    /// Architecture of the machines.
    pub arch: Arch,
    /// Id of the profile.
    pub profile: String,
    /// The node, if it has a boot of its own.
    pub node: Option<String>,
    /// The kernel arguments of the recipe.
    pub kernel_args: Vec<String>,
    /// The compiled Ignition config: one line of JSON.
    pub ignition: Vec<u8>,
    /// The config of the system that this boot installs, if it installs one.
    pub installed: Option<Vec<u8>>,
    /// The template that Matchbox fills in for its machines, if there is one.
    pub generic: Option<Vec<u8>>,
    /// How its config and sysexts get to the machine.
    pub delivery: Delivery,
    /// The object built for it: the overlay initrd, with [`crate::bake::recipe::Layout::Single`] base and overlay in one, or
    /// the config where it is fetched.
    pub made: Object,
    /// Key of the step that built it.
    pub step: Sha256,
    /// Total length of the sysexts that it fetches, in bytes.
    pub fetched: u64,
    /// File names and objects of the initrds before Flatcar's.
    pub early: Vec<(String, Object)>,
}

/// A built sysext.
#[derive(Debug)]
pub(crate) struct SysextImage {
    /// Architecture of the machines it is for.
    pub arch: Arch,
    /// Name of the sysext, as on the node.
    pub name: String,
    /// Its version, as in the file name.
    pub version: String,
    /// Digest and length of the image.
    pub object: Object,
    /// Key of the step that built it.
    pub step: Sha256,
    /// dm-verity root hash and certificate digest, if it is signed.
    pub verity: Option<Protection>,
}

/// The archive of a container image.
#[derive(Debug)]
pub(crate) struct ImageArchive {
    /// Reference, as the recipe states it.
    pub reference: ImageRef,
    /// Architecture of the machines it is for.
    pub arch: Arch,
    /// Digest and length of the archive.
    pub object: Object,
    /// Key of the step that packed it.
    pub step: Sha256,
}

impl Boot {
    /// The boot that was made for a wish, before anything is known of the files that it fetches or loads early.
    pub(crate) fn of(wish: &BootWish, artifact: Artifact) -> Self {
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
