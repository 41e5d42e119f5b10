//! The overlay of a boot: a small initrd with its config and sysexts, joined to the release's own or sealed for it where the
//! layout asks for that.

use serde_json::{Value, json};

use super::sysext::Booted;
use super::{Bench, Done, Part, Step, Work, gone};
use crate::bake::artifacts::{Artifacts, Boot};
use crate::bake::boot::{BootWish, Delivery};
use crate::bake::lock_ids::stock_id;
use crate::bake::recipe::Layout;
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::base::error::Result;
use crate::flatcar::board::INITRD;
use crate::format::cpio;
use crate::initrd::inject;
use crate::initrd::overlay;
use crate::source::input::Entry;
use crate::tree::lock::Lock;

/// An overlay to be.
#[derive(Debug)]
struct Overlay<'p> {
    boot: &'p BootWish,
    layout: Layout,
    lock: &'p Lock,
}

/// The step that makes a boot's overlay.
pub(crate) fn step<'p>(boot: &'p BootWish, layout: Layout, lock: &'p Lock, booted: &Booted) -> Step<'p> {
    let needs = boot.sysexts.iter().map(|name| (name.clone(), booted.of(name, boot.arch).key)).collect();
    Step::new(Overlay { boot, layout, lock }, needs)
}

/// The id of the step that makes a boot's overlay, if the boot has one.
pub(crate) fn id(boot: &BootWish) -> Option<String> {
    match boot.delivery {
        Delivery::Initrd(layout) => Some(id_with(layout, boot)),
        Delivery::Fetched(_) => None,
    }
}

fn id_with(layout: Layout, boot: &BootWish) -> String {
    format!("{}/{}", kind(layout), boot.id)
}

fn kind(layout: Layout) -> &'static str {
    match layout {
        Layout::Overlay => "overlay",
        Layout::Single | Layout::Virtual => "initrd",
    }
}

impl Overlay<'_> {
    fn base(&self) -> Option<Object> {
        self.lock.inputs.get(&base_id(self.boot.arch)).map(Entry::object)
    }
}

/// The release's initrd.
fn base_id(arch: Arch) -> String {
    stock_id(arch, INITRD)
}

impl Work for Overlay<'_> {
    fn id(&self) -> String {
        id_with(self.layout, self.boot)
    }

    fn kind(&self) -> (&'static str, u32) {
        (kind(self.layout), cpio::REVISION)
    }

    fn params(&self) -> Value {
        let mut params = json!({"ignition": Sha256::of(&self.boot.ignition), "epoch": self.lock.epoch()});
        if self.layout != Layout::Overlay {
            let base = self.base().map(|base| base.sha256);
            params["base"] = json!({"sha256": base, "joined": self.layout == Layout::Single});
        }
        params
    }

    /// The images are found through the links that the config makes (`compile`). `compile` has seen to it, too, that a
    /// recipe which joins the base has it.
    fn build(&self, bench: &Bench<'_>) -> Result<Object> {
        let mut overlay = overlay::Overlay::default();
        overlay.config(self.boot.ignition.clone())?;
        for (name, image) in bench.all_needed()? {
            overlay.sysext(&name, bench.store.path(&image.sha256))?;
        }
        let (tree, epoch) = (overlay.into_tree(), self.lock.epoch());
        let base = || self.base().ok_or_else(|| gone(base_id(self.boot.arch).into()));
        if self.layout == Layout::Single {
            let base = base()?.sha256;
            let mut scratch = bench.store.scratch()?;
            inject::join(&bench.store.path(&base), base, &tree, epoch, &mut scratch)?;
            return Ok(bench.admit_file(scratch)?);
        }
        let mut incoming = bench.store.incoming()?;
        match self.layout {
            Layout::Virtual => inject::sealed_overlay(base()?, &tree, epoch, &mut incoming)?,
            Layout::Overlay | Layout::Single => drop(cpio::write(&tree, epoch, &mut incoming)?),
        }
        Ok(bench.admit(incoming)?)
    }

    fn add(&self, done: &Done<'_>, artifacts: &mut Artifacts) -> Result<()> {
        artifacts.boots.push(Boot::of(self.boot, done.artifact));
        Ok(())
    }

    fn parts(&self) -> Vec<Part<'_>> {
        match self.layout {
            Layout::Single => vec![Part::System(self.boot.arch)],
            Layout::Overlay | Layout::Virtual => Vec::new(),
        }
    }

    fn merges(&self) -> Option<(&BootWish, &[u8])> {
        Some((self.boot, &self.boot.ignition))
    }
}
