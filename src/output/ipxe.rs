//! Static iPXE scripts, for any web server: `boot.ipxe` chains to the script of the machine's MAC or UUID, or to the
//! default. URLs are relative, so the tree may lie below any path.

use super::pxe::Load;
use super::{Boot, Built, OutputFormat, Row};
use crate::manifest::Role;

/// The format.
pub struct Ipxe;

impl OutputFormat for Ipxe {
    fn name(&self) -> &'static str {
        "ipxe"
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let mut rows = Vec::new();
        for node in &built.recipe.nodes {
            let Some(boot) = built.boot_of(node) else { continue };
            let by_mac = node.mac.as_ref().map(|mac| format!("mac-{}", mac.hyphened()));
            let by_uuid = node.uuid.as_ref().map(|uuid| format!("uuid-{}", uuid.value));
            for name in by_mac.into_iter().chain(by_uuid) {
                let row = Row::text(format!("boot/ipxe/{name}.ipxe"), Role::Boot, script(boot, built));
                rows.push(Row {
                    node: Some(node.name.value.clone()),
                    profile: Some(boot.profile.clone()),
                    ..row
                });
            }
        }
        let defaults = built.default_boots();
        for boot in &defaults {
            let name = built.recipe.default_name(boot.arch);
            let row = Row::text(format!("boot/ipxe/{name}.ipxe"), Role::Boot, script(boot, built));
            rows.push(row.of(boot));
        }
        let otherwise = match defaults.len() {
            0 => "echo No node of this tree has MAC ${mac} or UUID ${uuid} && shell",
            1 => "chain boot/ipxe/default.ipxe",
            _ => "chain boot/ipxe/default-${buildarch}.ipxe || chain boot/ipxe/default.ipxe",
        };
        let entry = format!(
            "#!ipxe\nchain boot/ipxe/mac-${{mac:hexhyp}}.ipxe || chain boot/ipxe/uuid-${{uuid}}.ipxe || {otherwise}\n"
        );
        rows.push(Row::text("boot.ipxe".into(), Role::Boot, entry));
        rows
    }
}

fn script(boot: &Boot, built: &Built<'_>) -> String {
    let Load { kernel, initrds, args } = Load::of(boot, built);
    // Scripts lie two directories below the root of the tree.
    let initrds: Vec<String> = initrds.iter().map(|path| format!("initrd ../../{path}\n")).collect();
    format!("#!ipxe\nkernel ../../{kernel} {}\n{}boot\n", args.join(" "), initrds.concat())
}
