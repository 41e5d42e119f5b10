//! Boot scripts: `/boot.ipxe`, `/ipxe` and `/grub`.

use serde_json::Value;

use super::answer::Answer;
use super::labels::Labels;
use super::report::Report;
use super::routes::{Request, World, select};
use super::select::Group;
use super::site::Profile;
use super::timeline::Stage;
use crate::output::{GENERATION, IPXE_LOCAL};

/// The script every machine starts with: it asks again, saying what it is.
const BOOT_IPXE: &str = "#!ipxe\nchain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}&serial=${serial}&arch=${buildarch:uristring}\n";

/// The first script; the same for every machine.
pub fn first(_: &World<'_>, _: &Request<'_>, _: &Labels) -> Answer {
    Answer::text(BOOT_IPXE)
}

/// Whether a machine that last reported so has installed itself, and is not to do it again: it boots its disk then,
/// whatever its boot order. A server without a state file forgets that when it ends; the machine then boots its installer
/// once more, which finds the disk finished and says so again.
pub fn holds_generation(group: &Group, report: Option<&Report>) -> bool {
    let Some(generation) = group.metadata.get(GENERATION).and_then(Value::as_str) else { return false };
    report.is_some_and(|report| {
        report.stage == Stage::Installed.word() && report.detail == format!("generation {generation}")
    })
}

fn is_installed(world: &World<'_>, group: &Group, labels: &Labels) -> bool {
    holds_generation(group, world.monitor.last_report(labels).as_ref())
}

/// The profile's kernel arguments, and where the node can report to.
fn args(profile: &Profile, request: &Request<'_>) -> Vec<String> {
    let url = request.base_url().map(|url| format!("prebake.url={url}"));
    profile.boot.args.iter().cloned().chain(url).collect()
}

/// The script that boots a machine.
pub fn ipxe(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, profile) = match select(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    if is_installed(world, group, labels) {
        return Answer::text(format!("#!ipxe\n{IPXE_LOCAL}")).matched(group);
    }
    let words: Vec<String> = args(profile, request).into_iter().map(|arg| format!(" {arg}")).collect();
    let initrds: Vec<String> = profile.boot.initrd.iter().map(|url| format!("initrd {url}\n")).collect();
    let script =
        format!("#!ipxe\nkernel {}{}\n{}boot\n", profile.boot.kernel, words.concat(), initrds.concat());
    Answer::text(script).matched(group)
}

/// A GRUB menu, byte for byte what Matchbox sends, two blanks after `initrdefi` included.
pub fn grub(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, profile) = match select(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    if is_installed(world, group, labels) {
        return Answer::text("exit\n").matched(group);
    }
    let kernel = &profile.boot.kernel;
    let words: Vec<String> = args(profile, request).into_iter().map(|arg| format!(" {arg}")).collect();
    let args = words.concat();
    let initrds: Vec<String> = profile.boot.initrd.iter().map(|url| format!(" \"{url}\"")).collect();
    let initrds = initrds.concat();
    let entry = |title: &str, linux: &str, initrd: &str| {
        format!(
            "menuentry \"CoreOS ({title})\" {{\necho \"Loading kernel\"\n{linux} \"{kernel}\"{args}\necho \"Loading initrd\"\n{initrd} {initrds}\n}}\n"
        )
    };
    let efi = entry("EFI", "linuxefi", "initrdefi");
    let bios = entry("BIOS", "linux", "initrd");
    Answer::text(format!("default=0\nfallback=1\ntimeout=1\n{efi}{bios}")).matched(group)
}
