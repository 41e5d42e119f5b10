//! Unified kernel images: `boot/uki/BOOT.efi`, one UEFI program of systemd's stub, the kernel, all initrds and the kernel's
//! arguments (the UAPI group's "Unified Kernel Image" specification). Firmware boots it over HTTP or from an EFI system
//! partition, without a loader.
//!
//! The stub comes from the machine that builds, at a given path or where distributions install it; its digest is part
//! of the step's key. Nothing is signed here: Secure Boot accepts an image that `sbsign` signed afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::keys::STUBS;
use super::{Built, Options, OutputFormat, fetch_args};
use crate::bake::boot::{BootWish, Delivery};
use crate::bake::recipe::Recipe;
use crate::bake::steps::{Planned, Step, uki};
use crate::base::arch::Arch;
use crate::base::error::Result;
use crate::machine::base_url::BaseUrl;
use crate::tree::manifest::Role;
use crate::tree::names::{self, card_args, config_path, first_boot_arg, report_arg};
use crate::tree::row::Row;

/// Directory where distributions install the stub.
const STUB_DIRECTORY: &str = "/usr/lib/systemd/boot/efi";

/// The output `uki`.
#[derive(Debug)]
struct Uki {
    stubs: BTreeMap<Arch, PathBuf>,
    /// URL that machines report to, since no server passes it to them in this case.
    base_url: Option<BaseUrl>,
}

pub(super) fn read(options: &Options<'_>) -> Option<Box<dyn OutputFormat>> {
    let decoder = options.decoder;
    let mut stubs = BTreeMap::new();
    if let Some(node) = options.get("stubs") {
        let fields = decoder.fields(node, &STUBS);
        for arch in Arch::ALL {
            let path = fields.get(arch.go()).and_then(|node| decoder.string(node));
            stubs.extend(path.map(|path| (arch, path.into())));
        }
    }
    Some(Box::new(Uki { stubs, base_url: options.parsed("base_url") }))
}

impl OutputFormat for Uki {
    fn steps<'p>(&self, planned: &Planned<'_, 'p>) -> Result<Vec<Step<'p>>> {
        let step = |boot| {
            let stub = self.stub(planned.recipe, boot);
            uki::step(planned, boot, stub, self.cmdline(planned.recipe, boot))
        };
        planned.boots.iter().map(step).collect()
    }

    fn base_url(&self) -> Option<&BaseUrl> {
        self.base_url.as_ref()
    }

    fn offers_every_profile(&self) -> bool {
        true
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let row = |boot: &super::Boot| {
            let image = built.made(&uki::id(&boot.id))?;
            Some(Row {
                arch: Some(boot.arch),
                step: Some(image.step),
                ..Row::stored(names::uki(&boot.id), Role::UnifiedKernel, image.object).of(boot)
            })
        };
        built.artifacts.boots.iter().filter_map(row).collect()
    }
}

impl Uki {
    /// Path of the stub.
    fn stub(&self, recipe: &Recipe, boot: &BootWish) -> PathBuf {
        match self.stubs.get(&boot.arch) {
            Some(path) => recipe.directory.join(path),
            None => Path::new(STUB_DIRECTORY)
                .join(["linuxx64.efi.stub", "linuxaa64.efi.stub"][boot.arch as usize]),
        }
    }

    /// The kernel's arguments, joined by blanks.
    fn cmdline(&self, recipe: &Recipe, boot: &BootWish) -> String {
        let mut args = vec![first_boot_arg()];
        args.extend(boot.kernel_args.iter().cloned());
        match &boot.delivery {
            Delivery::Fetched(base_url) => args.extend(fetch_args(base_url, &config_path(&boot.id))),
            Delivery::Initrd(_) => args.extend(self.base_url.as_ref().map(report_arg)),
        }
        // No loader passes the card here. An image that several machines share cannot name it, so their units look at
        // their routes.
        let own = recipe.nodes.iter().find(|node| boot.node.as_deref() == Some(&node.name.value));
        if let Some(mac) = own.and_then(|node| node.mac.as_ref()) {
            args.extend(card_args(&mac.to_string(), &mac.value.hyphened()));
        }
        args.join(" ")
    }
}
