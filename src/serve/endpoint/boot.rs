//! Boot scripts: `/boot.ipxe`, `/ipxe` and `/grub`.

use serde_json::Value;

use super::guard;
use super::routes::{Request, World, select};
use crate::output::{GENERATION, IPXE_LOCAL, grub_kernel_arg, grub_rewrites};
use crate::serve::http::answer::Answer;
use crate::serve::machines::report::Report;
use crate::serve::machines::timeline::Stage;
use crate::serve::site::labels::Labels;
use crate::serve::site::select::Group;
use crate::serve::site::{Boot, Site};

/// The script every machine starts with: it asks again, saying what it is.
const BOOT_IPXE: &str = "#!ipxe\nchain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}&serial=${serial}&arch=${buildarch:uristring}\n";

/// The first script; the same for every machine.
pub fn first(_: &World<'_>, _: &Request<'_>, _: &Labels) -> Answer {
    Answer::text(BOOT_IPXE)
}

/// Whether a machine that last reported so has installed itself, and is not to do it again: it boots its disk then,
/// whatever its boot order. A server without a state file forgets that when it ends; the machine then boots its installer
/// once more, which finds the disk finished and says so again.
pub fn holds_generation(site: &Site, group: &Group, report: Option<&Report>) -> bool {
    if site.live.is_some() {
        return false; // As Matchbox, which knows nothing of reports.
    }
    let Some(generation) = group.metadata.get(GENERATION).and_then(Value::as_str) else { return false };
    report.is_some_and(|report| {
        report.stage == Stage::Installed.word() && report.detail == format!("generation {generation}")
    })
}

fn is_installed(world: &World<'_>, group: &Group, labels: &Labels) -> bool {
    holds_generation(world.site, group, world.monitor.last_report(labels).as_ref())
}

/// What a machine boots: its group, and the words of its profile; or why it boots nothing.
fn booted<'w>(world: &World<'w>, labels: &Labels) -> Result<(&'w Group, &'w Boot), Answer> {
    let (group, profile) = select(world, labels)?;
    let boot = profile.boot.as_ref();
    let boot = boot.ok_or_else(|| {
        Answer::missing(&format!("its profile `{}` has no `boot`", group.profile)).matched(group)
    })?;
    Ok((group, boot))
}

/// The profile's kernel arguments, where the node of a tree can report to, and where its secrets are.
fn args(
    world: &World<'_>,
    group: &Group,
    boot: &Boot,
    request: &Request<'_>,
    labels: &Labels,
) -> Result<Vec<String>, Answer> {
    let base = request.base_url().filter(|_| world.site.live.is_none());
    let url = base.map(|url| format!("prebake.url={url}"));
    let secrets = guard::answer::kernel_arg(world, group, request, labels)?;
    Ok(boot.args.iter().cloned().chain(url).chain(secrets).collect())
}

/// The script that boots a machine.
pub fn ipxe(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, boot) = match booted(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    if is_installed(world, group, labels) {
        return Answer::text(format!("#!ipxe\n{IPXE_LOCAL}")).matched(group);
    }
    let args = match args(world, group, boot, request, labels) {
        Ok(args) => behind_blanks(&args),
        Err(answer) => return answer.matched(group),
    };
    let initrds: String = boot.initrd.iter().map(|url| format!("initrd {url}\n")).collect();
    Answer::text(format!("#!ipxe\nkernel {}{args}\n{initrds}boot\n", boot.kernel)).matched(group)
}

/// Each word behind a blank.
fn behind_blanks(words: &[String]) -> String {
    words.iter().map(|word| format!(" {word}")).collect()
}

/// A GRUB menu. Of a data directory it is byte for byte what Matchbox sends, two blanks after `initrdefi` included; of a tree,
/// arguments are quoted where GRUB would take them for something else, and a machine says which of them it changes.
pub fn grub(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, boot) = match booted(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    if is_installed(world, group, labels) {
        return Answer::text("exit\n").matched(group);
    }
    let kernel = &boot.kernel;
    let args = match args(world, group, boot, request, labels) {
        Ok(args) => args,
        Err(answer) => return answer.matched(group),
    };
    let is_tree = world.site.live.is_none();
    let rewritten = args.iter().filter(|arg| is_tree && grub_rewrites(arg));
    let warnings: String = rewritten
        .map(|arg| {
            let key = arg.split('=').next().unwrap_or_default();
            format!(
                "echo {}\n",
                grub_kernel_arg(&format!("GRUB changes the quotes of kernel argument {key}"))
            )
        })
        .collect();
    let args = match is_tree {
        true => behind_blanks(&args.iter().map(|arg| grub_kernel_arg(arg)).collect::<Vec<_>>()),
        false => behind_blanks(&args),
    };
    let initrds: String = boot.initrd.iter().map(|url| format!(" \"{url}\"")).collect();
    let entry = |title: &str, linux: &str, initrd: &str| {
        format!(
            "menuentry \"CoreOS ({title})\" {{\n{warnings}echo \"Loading kernel\"\n{linux} \"{kernel}\"{args}\necho \"Loading initrd\"\n{initrd} {initrds}\n}}\n"
        )
    };
    let efi = entry("EFI", "linuxefi", "initrdefi");
    let bios = entry("BIOS", "linux", "initrd");
    Answer::text(format!("default=0\nfallback=1\ntimeout=1\n{efi}{bios}")).matched(group)
}
