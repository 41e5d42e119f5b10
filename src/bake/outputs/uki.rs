//! Unified kernel images: `boot/uki/BOOT.efi`, one UEFI program of systemd's stub, the kernel, all initrds and the kernel's
//! arguments (the UAPI group's "Unified Kernel Image" specification). Firmware boots it over HTTP or from an EFI system
//! partition, without a loader.
//!
//! The stub comes from the machine that builds, by a path or from where distributions put it; its digest is part of the
//! step's key. Nothing is signed here: Secure Boot takes an image that `sbsign` signed afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Built, Options, OutputFormat, fetch_args};
use crate::bake::boot::{BootWish, Delivery};
use crate::bake::early;
use crate::bake::lock_ids::stock_id;
use crate::bake::recipe::{Layout, Recipe};
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::Result;
use crate::flatcar::board::{INITRD, KERNEL};
use crate::machine::base_url::BaseUrl;
use crate::tree::lock::Lock;
use crate::tree::manifest::Role;
use crate::tree::names::{card_args, config_path, report_arg};
use crate::tree::row::Row;

/// Where distributions put the stub.
const STUBS: &str = "/usr/lib/systemd/boot/efi";

/// The format.
#[derive(Debug)]
pub struct Uki {
    stubs: BTreeMap<Arch, PathBuf>,
    /// Where machines report to, which no server tells them here.
    base_url: Option<BaseUrl>,
}

/// What one image is made of, beside its overlay.
#[derive(Debug)]
pub struct Wish {
    /// For which machines.
    pub arch: Arch,
    /// The stub's file.
    pub stub: PathBuf,
    /// What that file held when the build was planned.
    stub_digest: Sha256,
    /// The kernel.
    pub kernel: Option<Object>,
    /// The initrds before the overlay.
    pub initrds: Vec<Object>,
    /// The kernel's arguments.
    pub cmdline: String,
    /// What boot menus show of it.
    pub os_release: String,
}

pub(super) fn read(options: &Options<'_>) -> Option<Box<dyn OutputFormat>> {
    let decoder = options.decoder;
    let mut stubs = BTreeMap::new();
    if let Some(node) = options.get("stubs") {
        let fields = decoder.fields(node, "`stubs`");
        for arch in Arch::ALL {
            let path = fields.get(arch.go()).and_then(|node| decoder.string(node));
            stubs.extend(path.map(|path| (arch, path.into())));
        }
    }
    Some(Box::new(Uki { stubs, base_url: options.parsed("base_url") }))
}

impl OutputFormat for Uki {
    fn uki(&self) -> Option<&Uki> {
        Some(self)
    }

    fn base_url(&self) -> Option<&BaseUrl> {
        self.base_url.as_ref()
    }

    fn offers_every_profile(&self) -> bool {
        true
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let row = |boot: &super::Boot| {
            let (object, step) = boot.uki?;
            Some(Row {
                arch: Some(boot.arch),
                step: Some(step),
                ..Row::stored(format!("boot/uki/{}.efi", boot.id), Role::UnifiedKernel, object).of(boot)
            })
        };
        built.boots.iter().filter_map(row).collect()
    }
}

impl Uki {
    /// What the image of a boot is made of.
    ///
    /// # Errors
    /// A stub or an early initrd that cannot be read.
    pub fn wish(&self, recipe: &Recipe, lock: &Lock, boot: &BootWish) -> Result<Wish> {
        let arch = boot.arch;
        let stub = match self.stubs.get(&arch) {
            Some(path) => recipe.directory.join(path),
            None => Path::new(STUBS).join(["linuxx64.efi.stub", "linuxaa64.efi.stub"][arch as usize]),
        };
        let bytes = fs::read(&stub).map_err(disk::Error::io("read the stub", &stub))?;
        let stock = |file| lock.inputs.get(&stock_id(arch, file)).map(|entry| entry.object());
        let mut initrds = Vec::new();
        for path in &recipe.profiles[&boot.profile].early_initrds {
            initrds.push(Object::of(&early::read(&path.value)?));
        }
        // With that layout the overlay's step has put the base in front already.
        if boot.delivery != Delivery::Initrd(Layout::Single) {
            initrds.extend(stock(INITRD));
        }
        let mut args = vec!["flatcar.first_boot=1".to_owned()];
        args.extend(boot.kernel_args.iter().cloned());
        match &boot.delivery {
            Delivery::Fetched(base_url) => args.extend(fetch_args(base_url, &config_path(&boot.id))),
            Delivery::Initrd(_) => args.extend(self.base_url.as_ref().map(report_arg)),
        }
        // No loader says it here. An image that several machines share cannot, and their units look at their routes.
        let own = recipe.nodes.iter().find(|node| boot.node.as_deref() == Some(&node.name.value));
        if let Some(mac) = own.and_then(|node| node.mac.as_ref()) {
            args.extend(card_args(&mac.to_string(), &mac.value.hyphened()));
        }
        let version = &lock.release.version;
        let (recipe, id) = (&recipe.name, &boot.id);
        Ok(Wish {
            arch,
            stub_digest: Sha256::of(&bytes),
            stub,
            kernel: stock(KERNEL),
            initrds,
            cmdline: args.join(" "),
            os_release: format!(
                "ID=flatcar\nVERSION_ID={version}\nPRETTY_NAME=\"Flatcar {version}, {recipe} {id}\"\n"
            ),
        })
    }
}

impl Wish {
    /// Everything that the image's bytes depend on, but the overlay.
    pub fn params(&self) -> Value {
        let initrds: Vec<Sha256> = self.initrds.iter().map(|initrd| initrd.sha256).collect();
        let kernel = self.kernel.map(|kernel| kernel.sha256);
        json!({
            "stub": self.stub_digest, "kernel": kernel, "initrds": initrds,
            "cmdline": self.cmdline, "os_release": self.os_release,
        })
    }

    /// The stub, unless its file changed since the build was planned.
    pub fn stub_bytes(&self) -> Result<Vec<u8>, disk::Error> {
        let io = |error| disk::Error::io("read the stub", &self.stub)(error);
        let bytes = fs::read(&self.stub).map_err(io)?;
        match Sha256::of(&bytes) == self.stub_digest {
            true => Ok(bytes),
            false => Err(io(std::io::Error::other("it changed during the build"))),
        }
    }
}
