//! The wish for a boot and the delivery of its config: the value between compile and outputs.

use crate::bake::recipe::{Layout, Profile};
use crate::base::arch::Arch;
use crate::machine::base_url::BaseUrl;

/// The boot of a class of machines, or of one machine, as the recipe wants it: the input of an overlay.
#[derive(Debug)]
pub(crate) struct BootWish {
    /// [`crate::bake::recipe::Recipe::boot_id`].
    pub id: String,
    /// Architecture of the machines.
    pub arch: Arch,
    /// Id of the profile.
    pub profile: String,
    /// The node, if the boot is its own.
    pub node: Option<String>,
    /// How its config and sysexts get to the machine.
    pub delivery: Delivery,
    /// Kernel arguments of the recipe.
    pub kernel_args: Vec<String>,
    /// The compiled Ignition config, complete where an overlay carries the sysexts.
    pub ignition: Vec<u8>,
    /// The config of the system that this boot installs, if it installs one; complete under the same condition.
    pub installed: Option<Vec<u8>>,
    /// The template of its profile.
    pub generic: Option<Vec<u8>>,
    /// The config with the secrets of its machines, if they have any. Neither keys nor the manifest depend on it.
    pub private: Option<Vec<u8>>,
    /// Whether somebody can log in to its machines, or perhaps can.
    pub lets_in: bool,
    /// Names of its sysexts.
    pub sysexts: Vec<String>,
}

/// How one boot's config and sysexts get to the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// In its initrd, with this layout.
    Initrd(Layout),
    /// By HTTP, from the tree below this URL.
    Fetched(BaseUrl),
}

impl Delivery {
    /// How a profile's boots get to their machines; `fetched_from` is the URL, if machines fetch.
    pub(crate) fn of(profile: &Profile, fetched_from: Option<&BaseUrl>) -> Self {
        match fetched_from {
            Some(base_url) => Delivery::Fetched(base_url.clone()),
            None => Delivery::Initrd(profile.layout()),
        }
    }
}
