//! PXE: the stock kernel and initrd as released, and the overlays, or both in one, by each profile's layout; or the
//! configs, where those are fetched.

use std::collections::BTreeMap;

use super::{Boot, Built, OutputFormat, fetch_args};
use crate::bake::boot::Delivery;
use crate::bake::recipe::Layout;
use crate::flatcar::board::{INITRD, KERNEL, VERSION_TXT};
use crate::tree::manifest::Role;
use crate::tree::names::{self, INITRD_ARG, arg_value, config_path, first_boot_arg, initrd_arg};
use crate::tree::row::{Contents, Row};

/// The output `pxe`.
#[derive(Debug)]
pub(crate) struct Pxe;

impl OutputFormat for Pxe {
    fn stock_files(&self) -> &'static [(&'static str, Role)] {
        &[(KERNEL, Role::Kernel), (INITRD, Role::BaseInitrd), (VERSION_TXT, Role::Version)]
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let rows = built.artifacts.boots.iter().flat_map(|boot| {
            let row = |path, role, contents, step| Row {
                arch: Some(boot.arch),
                step,
                ..Row::new(path, role, contents).of(boot)
            };
            let object = Contents::Stored(boot.made);
            let step = Some(boot.step);
            let overlay = |object| row(boot.overlay_path(), Role::Overlay, object, step);
            match boot.delivery {
                Delivery::Fetched(_) => vec![row(config_path(&boot.id), Role::Ignition, object, step)],
                Delivery::Initrd(Layout::Overlay) => vec![overlay(object)],
                Delivery::Initrd(Layout::Single) => vec![row(boot.joined_path(), Role::Initrd, object, step)],
                Delivery::Initrd(Layout::Virtual) => {
                    let parts = [built.stock_path(boot.arch, INITRD), boot.overlay_path()];
                    let joined = row(boot.joined_path(), Role::Initrd, Contents::Joined(parts), None);
                    vec![overlay(object), joined]
                }
            }
        });
        let early: BTreeMap<_, _> =
            built.artifacts.boots.iter().flat_map(|boot| &boot.early).cloned().collect();
        let early = early
            .into_iter()
            .map(|(name, object)| Row::stored(names::early(&name), Role::EarlyInitrd, object));
        rows.chain(early).collect()
    }
}

/// Files and arguments that a loader loads for a boot: the kernel, the initrds in order, the arguments. Paths are
/// inside the tree.
pub(super) struct Load {
    pub kernel: String,
    pub initrds: Vec<String>,
    pub args: Vec<String>,
}

impl Load {
    /// `initrd=` names each initrd as the loader registers it, by its base name: the kernel's EFI stub loads only the
    /// files named there, one directly after another (`handle_cmdline_files`), while other loaders align each to four
    /// bytes. An uncompressed cpio must begin at a multiple of four and the base has any length, so the base is named
    /// last; no two of them contain the same path. Any value of `flatcar.first_boot` but `detected` runs Ignition on a
    /// PXE boot.
    pub(super) fn of(boot: &Boot, built: &Built<'_>) -> Self {
        Load::with_config(boot, built, &config_path(&boot.id))
    }

    /// The same, with a config that is fetched from another place of the tree.
    pub(super) fn with_config(boot: &Boot, built: &Built<'_>, config: &str) -> Self {
        let early: Vec<String> = boot.early.iter().map(|(name, _)| names::early(name)).collect();
        let base = built.stock_path(boot.arch, INITRD);
        let (own, fetch) = match &boot.delivery {
            Delivery::Initrd(Layout::Overlay) => (vec![base, boot.overlay_path()], None),
            Delivery::Initrd(Layout::Single | Layout::Virtual) => (vec![boot.joined_path()], None),
            Delivery::Fetched(base_url) => (vec![base], Some(fetch_args(base_url, config))),
        };
        let mut args: Vec<String> =
            early.iter().chain(own.iter().rev()).map(|path| initrd_arg(path)).collect();
        args.push(first_boot_arg());
        args.extend(fetch.into_iter().flatten());
        args.extend(boot.kernel_args.iter().cloned());
        let initrds = early.into_iter().chain(own).collect();
        Load { kernel: built.stock_path(boot.arch, KERNEL), initrds, args }
    }

    /// The arguments for a loader that passes the initrds itself, and would mistake their names for something else.
    pub(super) fn plain_args(&self) -> impl Iterator<Item = &str> {
        self.args.iter().map(String::as_str).filter(|arg| arg_value(arg, INITRD_ARG).is_none())
    }
}
