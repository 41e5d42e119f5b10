//! Boot scripts: `/boot.ipxe`, `/ipxe` and `/grub`.

use super::guard;
use super::request::{Request, World, select};
use crate::format::grub::{kernel_arg as grub_kernel_arg, rewrites as grub_rewrites};
use crate::serve::answer::Answer;
use crate::serve::machines::installed::holds_generation;
use crate::serve::site::labels::Labels;
use crate::tree::names::{Endpoint, GRUB_CARD, IPXE_CARD, IPXE_LOCAL, card_args, report_arg};
use crate::tree::records::{Boot, Group};

/// The first script of every machine: it asks again and sends the machine's labels.
const ASKS: &str = "?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}&serial=${serial}&arch=${buildarch:uristring}\n";

/// The first script; the same for every machine.
pub(crate) fn first(_: &World<'_>, _: &Request<'_>, _: &Labels) -> Answer {
    Answer::text(format!("#!ipxe\nchain {}{ASKS}", Endpoint::Ipxe.name()))
}

fn is_installed(world: &World<'_>, group: &Group, labels: &Labels) -> bool {
    holds_generation(world.site, group, world.monitor.last_report(labels).as_ref())
}

/// A machine's group and the boot settings of its profile, or the answer that says why it boots nothing.
fn booted<'w>(world: &World<'w>, labels: &Labels) -> Result<(&'w Group, &'w Boot), Answer> {
    let (group, profile) = select(world, labels)?;
    let boot = profile.boot.as_ref();
    let boot = boot.ok_or_else(|| {
        Answer::missing(&format!("its profile `{}` has no `boot`", group.profile)).matched(group)
    })?;
    Ok((group, boot))
}

/// How a loader's script writes words of the kernel's command line.
struct Words {
    /// Its variables for the MAC address of the network card.
    card: [&'static str; 2],
    /// Quotes a word that the loader must not change.
    literal: fn(&str) -> String,
    /// Quotes a word in which the loader must expand variables.
    filled_in: fn(&str) -> String,
}

const IPXE_WORDS: Words = Words { card: IPXE_CARD, literal: str::to_owned, filled_in: str::to_owned };
const GRUB_WORDS: Words =
    Words { card: GRUB_CARD, literal: grub_kernel_arg, filled_in: |word| format!("\"{word}\"") };

/// The profile's kernel arguments, each preceded by a blank. For a tree, also the URL for reports, the card that the
/// machine booted over, and the URL of its secrets. For a data directory, they are identical to Matchbox's.
fn args(
    world: &World<'_>,
    group: &Group,
    boot: &Boot,
    request: &Request<'_>,
    labels: &Labels,
    words: &Words,
) -> Result<String, Answer> {
    let base = request.base_url().filter(|_| world.site.live.is_none());
    let url = base.map(|url| report_arg(&url));
    // Matchbox has no such arguments.
    let card = if world.site.live.is_none() { booted_over(labels, words).to_vec() } else { Vec::new() };
    let secrets = guard::answer::kernel_arg(world, group, request, labels)?;
    let is_tree = world.site.live.is_none();
    let literal = |word: &String| if is_tree { (words.literal)(word) } else { word.clone() };
    let before = boot.args.iter().chain(&url).map(literal);
    Ok(before.chain(card).chain(secrets.iter().map(literal)).map(|word| format!(" {word}")).collect())
}

/// The card that a machine boots over: the one that it sent, since it was selected by that; otherwise the one that its
/// loader finds.
fn booted_over(labels: &Labels, words: &Words) -> [String; 2] {
    match labels.get("mac") {
        "" => card_args(words.card[0], words.card[1]).map(|word| (words.filled_in)(&word)),
        mac => card_args(mac, &mac.replace(':', "-")).map(|word| (words.literal)(&word)),
    }
}

/// The script that boots a machine.
pub(crate) fn ipxe(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, boot) = match booted(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    if is_installed(world, group, labels) {
        return Answer::text(format!("#!ipxe\n{IPXE_LOCAL}")).matched(group);
    }
    let args = match args(world, group, boot, request, labels, &IPXE_WORDS) {
        Ok(args) => args,
        Err(answer) => return answer.matched(group),
    };
    let initrds: String = boot.initrd.iter().map(|url| format!("initrd {url}\n")).collect();
    Answer::text(format!("#!ipxe\nkernel {}{args}\n{initrds}boot\n", boot.kernel)).matched(group)
}

/// A GRUB menu. For a data directory it is byte for byte what Matchbox sends, including the two blanks after
/// `initrdefi`. For a tree, arguments that GRUB would misread are quoted, and the machine shows which arguments GRUB
/// changes.
pub(crate) fn grub(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, boot) = match booted(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    if is_installed(world, group, labels) {
        return Answer::text("exit\n").matched(group);
    }
    let kernel = &boot.kernel;
    let args = match args(world, group, boot, request, labels, &GRUB_WORDS) {
        Ok(args) => args,
        Err(answer) => return answer.matched(group),
    };
    let is_tree = world.site.live.is_none();
    let rewritten = boot.args.iter().filter(|arg| is_tree && grub_rewrites(arg));
    let warnings: String = rewritten
        .map(|arg| {
            let key = arg.split('=').next().unwrap_or_default();
            format!(
                "echo {}\n",
                grub_kernel_arg(&format!("GRUB changes the quoting of kernel argument {key}"))
            )
        })
        .collect();
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
