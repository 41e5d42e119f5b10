//! PXELINUX: `boot/pxelinux/pxelinux.cfg/01-MAC` or `…/UUID` for each node, `default` with a menu for all other
//! machines. x86 only, as PXELINUX is.
//!
//! Without a `base_url` everything comes by TFTP from the server of `pxelinux.0`, whose root is then the tree (`::`
//! begins at the root, regardless of the directory of `pxelinux.0`); with one, `lpxelinux.0` or `syslinux.efi` fetch
//! everything by HTTP.

use super::pxe::Load;
use super::{BY_ARP_TYPE, Boot, Built, Options, OutputFormat, node_rows};
use crate::bake::recipe::Recipe;
use crate::base::arch::Arch;
use crate::base::finding::Finding;
use crate::machine::base_url::BaseUrl;
use crate::tree::manifest::Role;
use crate::tree::names::pxelinux_config;
use crate::tree::row::Row;

/// Seconds until the default is booted.
const TIMEOUT: u32 = 3;
/// Makes PXELINUX add `BOOTIF=01-MAC`, the card that it was loaded over (`IPAPPEND` is a sum of such numbers).
const BOOTIF: u32 = 2;

/// The output `pxelinux`.
#[derive(Debug)]
struct Pxelinux {
    base_url: Option<BaseUrl>,
    /// Seconds until the default is booted.
    timeout: u32,
}

pub(super) fn read(options: &Options<'_>) -> Option<Box<dyn OutputFormat>> {
    let timeout = options.parsed("timeout").unwrap_or(TIMEOUT);
    Some(Box::new(Pxelinux { base_url: options.parsed("base_url"), timeout }))
}

impl OutputFormat for Pxelinux {
    fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        let arm = recipe.nodes.iter().filter(|node| node.arch == Arch::Arm64);
        let text = |name| format!("PXELINUX runs on x86, and node `{name}` is arm64");
        arm.map(|node| Finding::error(text(&node.name.value)).at(node.name.place.clone())).collect()
    }

    fn base_url(&self) -> Option<&BaseUrl> {
        self.base_url.as_ref()
    }

    fn is_tftp(&self) -> bool {
        self.base_url.is_none()
    }

    fn offers_every_profile(&self) -> bool {
        true
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let text = |boot: &Boot| format!("DEFAULT {}\nPROMPT 0\n{}", boot.id, self.label(boot, built));
        let mut rows = node_rows(built, BY_ARP_TYPE, pxelinux_config, text);
        rows.push(Row::text(pxelinux_config("default"), Role::Boot, self.choice(built)));
        rows
    }
}

impl Pxelinux {
    fn choice(&self, built: &Built<'_>) -> String {
        let boots = || built.profile_boots().filter(|boot| boot.arch == Arch::Amd64);
        let default = boots().find(|boot| built.recipe.default_profile.as_ref() == Some(&boot.profile));
        let default = default.map_or("local", |boot| &boot.id);
        let names: String = boots().map(|boot| format!(" {}", boot.id)).collect();
        let labels: String = boots().map(|boot| self.label(boot, built)).collect();
        // TIMEOUT counts tenths of a second; 0 waits forever.
        let timeout = u64::from(self.timeout.max(1)) * 10;
        format!(
            "DEFAULT {default}\nPROMPT 1\nTIMEOUT {timeout}\nSAY {}: local{names}\n{labels}LABEL local\n  LOCALBOOT -1\n",
            built.recipe.name
        )
    }

    fn label(&self, boot: &Boot, built: &Built<'_>) -> String {
        let load = Load::of(boot, built);
        let base = self.base_url.as_ref().map_or("::".into(), |base| format!("{base}/"));
        let initrds: Vec<String> = load.initrds.iter().map(|path| format!("{base}{path}")).collect();
        // PXELINUX would load an `initrd=` among the arguments as one more file.
        let args: Vec<&str> = load.plain_args().collect();
        format!(
            "LABEL {}\n  KERNEL {base}{}\n  INITRD {}\n  APPEND {}\n  IPAPPEND {BOOTIF}\n",
            boot.id,
            load.kernel,
            initrds.join(","),
            args.join(" ")
        )
    }
}
