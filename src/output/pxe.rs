//! PXE: the stock kernel and initrd as released, and the overlays.

use super::{Boot, Built, OutputFormat, Row};
use crate::manifest::Role;
use crate::source::flatcar::{INITRD, KERNEL, VERSION_TXT};

/// The format.
#[derive(Debug)]
pub struct Pxe;

impl OutputFormat for Pxe {
    fn stock_files(&self) -> &'static [(&'static str, Role)] {
        &[(KERNEL, Role::Kernel), (INITRD, Role::BaseInitrd), (VERSION_TXT, Role::Version)]
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let overlays = built.boots.iter().map(|boot| Row {
            arch: Some(boot.arch),
            step: Some(boot.step),
            ..Row::stored(boot.overlay_path(), Role::Overlay, boot.overlay).of(boot)
        });
        overlays.collect()
    }
}

/// What a loader loads for a boot: the kernel, the initrds in order, the arguments. Paths are inside the tree.
pub(super) struct Load {
    pub kernel: String,
    pub initrds: [String; 2],
    pub args: Vec<String>,
}

impl Load {
    /// `initrd=` names each initrd as the loader registers it, by its base name: the kernel's EFI stub loads only what
    /// is named there. Any value of `flatcar.first_boot` but `detected` runs Ignition on a PXE boot.
    pub(super) fn of(boot: &Boot, built: &Built<'_>) -> Self {
        let initrds = [built.stock_path(boot.arch, INITRD), boot.overlay_path()];
        let base_name = |path: &String| path.rsplit('/').next().unwrap_or(path).to_owned();
        let named = initrds.iter().map(|path| format!("initrd={}", base_name(path)));
        let args =
            named.chain(["flatcar.first_boot=1".into()]).chain(boot.kernel_args.iter().cloned()).collect();
        Load { kernel: built.stock_path(boot.arch, KERNEL), initrds, args }
    }

    /// The arguments for a loader that hands the initrds over itself, and would take their names for something else.
    pub(super) fn plain_args(&self) -> impl Iterator<Item = &str> {
        self.args.iter().map(String::as_str).filter(|arg| !arg.starts_with("initrd="))
    }
}
