//! GRUB's network boot: `boot/grub/grub.cfg-01-MAC` for each node, which GRUB looks for beside `grub.cfg` since 2.06,
//! and a `grub.cfg` with a menu for all other machines. The `grub.cfg` also finds a node's file for GRUBs that do not
//! look for it themselves, and by the SMBIOS UUID.
//!
//! The `linux` command boots BIOS, UEFI x64 and UEFI arm64 alike. Paths begin at the root of the server that GRUB came
//! from, unless a `base_url` is given.

use super::pxe::Load;
use super::{BY_ARP_TYPE, Boot, Built, Options, OutputFormat, node_rows};
use crate::bake::recipe::Recipe;
use crate::base::arch::Arch;
use crate::base::finding::Finding;
use crate::base::yaml::decode::Spanned;
use crate::format::grub::quote;
use crate::machine::base_url::BaseUrl;
use crate::tree::manifest::Role;
use crate::tree::names::{GRUB_CARD, card_args, grub_config};
use crate::tree::row::Row;

/// Seconds until the first entry is booted.
const TIMEOUT: u32 = 3;

/// Looks for this machine's file: `$net_default_mac` has colons, file names have hyphens. GRUB itself looks for it only
/// if it was loaded by TFTP (`grub_net_search_configfile`). `-s` opens the file; `-f` would list its directory, which
/// is impossible over the network (`commands/test.c`, `net/net.c`).
const FIND_BY_MAC: &str = "\
if regexp --set=1:a --set=2:b --set=3:c --set=4:d --set=5:e --set=6:f '(..):(..):(..):(..):(..):(..)' \"$net_default_mac\"; then
  set own=\"$prefix/grub.cfg-01-$a-$b-$c-$d-$e-$f\"
  if [ -s \"$own\" ]; then configfile \"$own\"; fi
fi
";
const FIND_BY_UUID: &str = "\
if smbios --type 1 --get-uuid 8 --set=uuid; then
  set own=\"$prefix/grub.cfg-$uuid\"
  if [ -s \"$own\" ]; then configfile \"$own\"; fi
fi
";

/// The output `grub`.
#[derive(Debug)]
struct Grub {
    /// URL of the tree, if it is not the root of the server that GRUB came from.
    base_url: Option<BaseUrl>,
    /// Seconds until the first entry is booted.
    timeout: u32,
}

pub(super) fn read(options: &Options<'_>) -> Option<Box<dyn OutputFormat>> {
    let base_url: Option<BaseUrl> = options.parsed("base_url");
    if let (Some(node), Some("https")) =
        (options.get("base_url"), base_url.as_ref().map(|b| b.url().scheme()))
    {
        options.decoder.error(node, "GRUB supports http and tftp, not https");
    }
    Some(Box::new(Grub { base_url, timeout: options.parsed("timeout").unwrap_or(TIMEOUT) }))
}

impl OutputFormat for Grub {
    /// GRUB joins the words of a command line anew and escapes quotes, so the kernel would see backslashes.
    fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        let args = recipe.profiles.values().flat_map(|profile| &profile.kernel_args);
        let quoted = args.filter(|arg| arg.value.contains(['"', '\'', '\\', ' ']));
        let finding = |arg: &Spanned<String>| {
            let text = format!("GRUB cannot pass on the quotes of kernel argument `{}`", arg.value);
            Finding::error(text).at(arg.place.clone()).hint("put the setting into the Ignition config")
        };
        quoted.map(finding).collect()
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
        let text = |boot: &Boot| format!("{}{}", self.head(), self.entry(boot, built));
        let mut rows = node_rows(built, BY_ARP_TYPE, |name| grub_config(Some(name)), text);
        rows.push(Row::text(grub_config(None), Role::Boot, self.menu(built)));
        rows
    }
}

impl Grub {
    fn head(&self) -> String {
        let root = self.base_url.as_ref().map_or(String::new(), |base| {
            let url = base.url();
            let port = url.port().map_or(String::new(), |port| format!(":{port}"));
            format!("set root='http,{}{port}'\n", url.host_str().unwrap_or_default())
        });
        format!("set default=0\nset timeout={}\n{root}", self.timeout)
    }

    /// The default profile comes first, else the local disk: a machine that no node names boots the first entry.
    fn menu(&self, built: &Built<'_>) -> String {
        let by_uuid = built.recipe.nodes.iter().any(|node| node.uuid.is_some());
        let find = [FIND_BY_MAC, if by_uuid { FIND_BY_UUID } else { "" }].concat();
        let is_default = |boot: &&Boot| built.recipe.default_profile.as_ref() == Some(&boot.profile);
        let several = built.recipe.release.archs.len() > 1;
        let entry = |boot: &Boot| match (several, boot.arch) {
            (false, _) => self.entry(boot, built),
            (true, Arch::Amd64) => {
                format!("if [ \"$grub_cpu\" != arm64 ]; then\n{}fi\n", self.entry(boot, built))
            }
            (true, Arch::Arm64) => {
                format!("if [ \"$grub_cpu\" = arm64 ]; then\n{}fi\n", self.entry(boot, built))
            }
        };
        let first: String = built.profile_boots().filter(is_default).map(entry).collect();
        let others: String = built.profile_boots().filter(|boot| !is_default(boot)).map(entry).collect();
        let local = "menuentry 'Boot from the local disk' {\n  exit\n}\n";
        format!("{find}{}{first}{local}{others}", self.head())
    }

    fn entry(&self, boot: &Boot, built: &Built<'_>) -> String {
        let load = Load::of(boot, built);
        let below = self.base_url.as_ref().map_or("", |base| base.url().path().trim_end_matches('/'));
        let mut args: Vec<String> = load.plain_args().map(quote).collect();
        // In double quotes, so that GRUB expands the variables.
        args.extend(card_args(GRUB_CARD[0], GRUB_CARD[1]).map(|arg| format!("\"{arg}\"")));
        let path = |path: &String| quote(&format!("{below}/{path}"));
        let initrds: Vec<String> = load.initrds.iter().map(path).collect();
        format!(
            "menuentry {} {{\n  linux {} {}\n  initrd {}\n}}\n",
            quote(&boot.id),
            path(&load.kernel),
            args.join(" "),
            initrds.join(" ")
        )
    }
}
