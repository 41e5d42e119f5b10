//! Static iPXE scripts, for any web or TFTP server: `boot.ipxe` chains to the script of the machine's MAC or UUID, else
//! to the menu or the default. URLs are relative, so the tree may be below any path.
//!
//! An iPXE that was loaded by TFTP runs `autoexec.ipxe` (since iPXE 1.21, from the directory that it was loaded from),
//! which only chains to `boot.ipxe`.

use super::keys::MENU;
use super::pxe::Load;
use super::{Boot, Built, Options, OutputFormat, node_rows};
use crate::bake::recipe::Recipe;
use crate::base::arch::Arch;
use crate::base::finding::Finding;
use crate::base::yaml::decode::Spanned;
use crate::machine::base_url::BaseUrl;
use crate::tree::manifest::Role;
use crate::tree::names::{
    AUTOEXEC, FIRST_SCRIPT, IPXE_CARD, IPXE_END, IPXE_LOCAL, card_args, ipxe_chain, ipxe_script,
};
use crate::tree::row::Row;

/// Seconds until the menu boots its default.
const TIMEOUT: u32 = 10;

/// The output `ipxe`.
#[derive(Debug)]
struct Ipxe {
    /// URL that `autoexec.ipxe` chains to, if not the TFTP server that it was loaded from.
    base_url: Option<BaseUrl>,
    menu: Option<Menu>,
}

/// The menu of a machine that no node names.
#[derive(Debug)]
struct Menu {
    /// Seconds until it boots the default.
    timeout: u32,
    /// The profile that is booted after that; else the recipe's default profile, else the local disk.
    default: Option<Spanned<String>>,
}

pub(super) fn read(options: &Options<'_>) -> Option<Box<dyn OutputFormat>> {
    let decoder = options.decoder;
    let menu = options.get("menu").map(|node| {
        let fields = decoder.fields(node, &MENU);
        let default =
            fields.get("default").and_then(|node| Some(decoder.spanned(node, decoder.string(node)?)));
        let timeout = fields.get("timeout").and_then(|node| decoder.parsed(node));
        Menu { timeout: timeout.unwrap_or(TIMEOUT), default }
    });
    Some(Box::new(Ipxe { base_url: options.parsed("base_url"), menu }))
}

impl OutputFormat for Ipxe {
    fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        let expanded = recipe.profiles.values().flat_map(|profile| &profile.kernel_args);
        let expanded = expanded.filter(|arg| arg.value.contains("${")).map(|arg| {
            let text = format!("iPXE would expand the `${{` in kernel argument `{}`", arg.value);
            Finding::error(text).at(arg.place.clone()).hint("put the setting into the Ignition config")
        });
        let default = self.menu.as_ref().and_then(|menu| menu.default.as_ref());
        let unknown = default.filter(|profile| !recipe.profiles.contains_key(&profile.value));
        let unknown = unknown.map(|profile| {
            Finding::error(format!("there is no profile `{}`", profile.value)).at(profile.place.clone())
        });
        expanded.chain(unknown).collect()
    }

    fn base_url(&self) -> Option<&BaseUrl> {
        self.base_url.as_ref()
    }

    fn offers_every_profile(&self) -> bool {
        self.menu.is_some()
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let mut rows = node_rows(built, ["mac-", "uuid-"], ipxe_script, |boot| script(boot, built));
        let defaults = built.default_boots();
        for boot in &defaults {
            let name = built.recipe.default_name(boot.arch);
            let row = Row::text(ipxe_script(&name), Role::Boot, script(boot, built));
            rows.push(row.of(boot));
        }
        let chain = |name: &str| format!("chain {}", ipxe_script(name));
        let otherwise = match (&self.menu, defaults.len()) {
            (Some(_), _) => chain("menu"),
            (None, 0) => "echo No node of this tree has MAC ${mac} or UUID ${uuid} && shell".to_owned(),
            (None, 1) => chain("default"),
            _ => format!("{} || {}", chain("default-${buildarch}"), chain("default")),
        };
        let own = [chain("mac-${mac:hexhyp}"), chain("uuid-${uuid}")].join(" || ");
        let entry = format!("#!ipxe\n{own} || {otherwise}\n");
        rows.push(Row::text(FIRST_SCRIPT.into(), Role::Boot, entry));
        let base = self.base_url.as_ref().map_or(String::new(), |base| format!("{base}/"));
        let autoexec = ipxe_chain(&format!("{base}{FIRST_SCRIPT}"));
        rows.push(Row::text(AUTOEXEC.into(), Role::Boot, autoexec));
        if let Some(menu) = &self.menu {
            rows.push(Row::text(ipxe_script("menu"), Role::Boot, menu.script(built)));
            rows.extend(built.profile_boots().map(|boot| {
                let path = ipxe_script(&format!("profile-{}", boot.id));
                Row::text(path, Role::Boot, script(boot, built)).of(boot)
            }));
        }
        rows
    }
}

impl Menu {
    fn script(&self, built: &Built<'_>) -> String {
        // `buildarch` of a BIOS machine is i386, so anything but arm64 counts as amd64.
        let several = built.recipe.release.archs.len() > 1;
        let only = |arch: Arch, command: String| match (several, arch) {
            (false, _) => format!("{command}\n"),
            (true, Arch::Amd64) => format!("iseq ${{buildarch}} arm64 || {command}\n"),
            (true, Arch::Arm64) => format!("iseq ${{buildarch}} arm64 && {command} ||\n"),
        };
        let default = self.default.as_ref().map(|profile| &profile.value);
        let default = default.or(built.recipe.default_profile.as_ref());
        let (mut items, mut targets) = (String::new(), String::new());
        let mut chosen = "set target local\n".to_owned();
        for boot in built.profile_boots() {
            let id = &boot.id;
            items += &only(boot.arch, format!("item {id} {id}"));
            targets += &format!(":{id}\nchain profile-{id}{IPXE_END} || goto failed\n");
            if Some(&boot.profile) == default {
                chosen += &only(boot.arch, format!("set target {id}"));
            }
        }
        let (name, timeout) = (&built.recipe.name, u64::from(self.timeout) * 1000);
        format!(
            "#!ipxe\n{chosen}menu {name}: ${{mac}}\n{items}item --gap\n\
             item local Boot from the local disk\nitem shell iPXE shell\n\
             choose --default ${{target}} --timeout {timeout} target || goto shell\ngoto ${{target}}\n\
             {targets}:failed\necho That did not boot\n:shell\nshell\n:local\n{IPXE_LOCAL}"
        )
    }
}

fn script(boot: &Boot, built: &Built<'_>) -> String {
    let Load { kernel, initrds, mut args } = Load::of(boot, built);
    args.extend(card_args(IPXE_CARD[0], IPXE_CARD[1]));
    // Scripts are two directories below the root of the tree.
    let initrds: Vec<String> = initrds.iter().map(|path| format!("initrd ../../{path}\n")).collect();
    format!("#!ipxe\nkernel ../../{kernel} {}\n{}boot\n", args.join(" "), initrds.concat())
}
