//! Diagnoses machines that make no progress: what is likely wrong, and what to do about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::machine::{Fetch, LOOP, Machine};
use super::stage::Stage;
use super::told::{Load, Told};
use crate::base::arch::Arch;
use crate::base::count::{self, counted};
use crate::base::size;
use crate::serve::machines::stamp::Stamp;
use crate::tree::names;

/// A likely problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// The rule that found it, in a word. Troubles of one kind likely have the same cause.
    pub kind: String,
    /// The time since which it has existed.
    pub since: Stamp,
    /// A description of the problem.
    pub what: String,
    /// A hint for people.
    pub hint: String,
    /// The problem as several machines have it, without what only one of them has.
    #[serde(default)]
    pub several: String,
}

/// How long a transfer may stall, and how long a client may take to retry an aborted one.
pub(super) const STALL: Duration = Duration::from_secs(15);
/// Consecutive boots that reach nothing. A single one may be a person at the reset button.
const LOOPS: u32 = 3;
/// How often the same script may be fetched without anything being loaded.
const SCRIPTS: u32 = 4;

/// How often an installer may repeat that its machine is installed: once, in case the server forgot.
const REPEATS: u32 = 2;
/// The kind of trouble of a stranger.
pub(crate) const UNMATCHED: &str = "unmatched";
/// Its hint, where nothing better is known.
const UNMATCHED_HINT: &str =
    "add it to `nodes:` in the recipe, or name a `default_profile`; for Matchbox, a group that selects it";
/// The same for a machine that sent a `mac` that is no MAC address.
const ODD_MAC_HINT: &str = "the script that its loader runs must send the address of its card: `mac=${mac:hexhyp}`, as /boot.ipxe does";
/// The kind of trouble that machines themselves are told of.
const INSTALLER_LOOP: &str = "installer-loop";

/// A rule's result: the time since when, the problem, and what people can do about it.
type Found = Option<(Stamp, String, String)>;
type Rule = fn(&Machine, Stamp) -> Found;

/// All rules, the most certain first: the kind, the rule, and the problem as several machines have it.
const RULES: [(&str, Rule, &str); 22] = [
    ("failure", failure, "they report failures"),
    (UNMATCHED, unmatched, "no group matched their labels"),
    ("architecture", other_architecture, "their kernels are for another architecture"),
    ("refused-file", missing_file, "files that they asked for do not exist (404)"),
    ("spent-config", spent_config, "their configs were fetched before (410)"),
    ("refused-request", refused_request, "their requests were refused"),
    ("broken-transfer", broken_transfer, "transfers to them were aborted"),
    ("stalled-transfer", stalled_transfer, "transfers to them stalled"),
    ("tftp", tftp_failure, "transfers to them by TFTP failed"),
    (
        INSTALLER_LOOP,
        circling_installer,
        "installer loops: they report again and again that they are installed",
    ),
    ("disk-loop", disk_loop, "boot loops: they were told to boot their disks, and came back"),
    ("boot-loop", boot_loop, "boot loops: their boots are not completed"),
    ("script-loop", script_loop, "script loops: they fetch their scripts again and again, and load nothing"),
    ("no-loader", silence_before_the_loader, "they were told their boot files, but did not request them"),
    ("no-script", silence_before_the_script, "they have their loaders, but the loaders requested no script"),
    ("no-own-script", first_script_only, "they fetched the first script, but did not request their own"),
    ("no-kernel", nothing_loaded, "they have their scripts, but did not request their kernels"),
    (
        "profile-without-initrd",
        profile_without_initrd,
        "they fetched their kernels, but their profiles have no initrd",
    ),
    ("no-initrd", no_initrds, "they fetched their kernels, but requested no initrd"),
    ("no-overlay", missing_initrds, "they did not request all of their initrds"),
    ("no-report", silence_after_loading, "they loaded everything and have not reported since"),
    ("installing", endless_installation, "they have been installing for more than an hour"),
];

/// The kinds of trouble.
#[cfg(test)]
pub(super) fn kinds() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(kind, ..)| *kind)
}

/// The likely problems of a machine at this time.
pub(crate) fn troubles(machine: &Machine, now: Stamp) -> Vec<Trouble> {
    let found = RULES.iter().filter_map(|(kind, rule, several)| {
        let (since, what, hint) = rule(machine, now)?;
        Some(Trouble { kind: (*kind).to_owned(), since, what, hint, several: (*several).to_owned() })
    });
    found.collect()
}

/// Why a kernel does not fit a machine with this `buildarch` of iPXE. An iPXE for BIOS sends `i386` on any processor,
/// and only iPXE sends an architecture.
pub(crate) fn wrong_architecture(said: Option<&str>, told: &Told) -> Option<String> {
    let (said, kernel) = (said?, told.arch?);
    let is_known = Arch::ALL.iter().any(|arch| arch.is_buildarch(said));
    (is_known && !kernel.is_buildarch(said))
        .then(|| format!("its architecture is {said}, but its kernel is for {kernel}"))
}

fn trouble(since: Stamp, what: impl Into<String>, hint: impl Into<String>) -> Found {
    Some((since, what.into(), hint.into()))
}

/// Whether the boot has stayed in a stage, without progress, for longer than that may take.
fn is_overdue(machine: &Machine, stage: Stage, now: Stamp) -> bool {
    let silent = now.since(machine.boot.moved());
    machine.boot.stage() == Some(stage) && stage.patience().is_some_and(|patience| silent > patience)
}

/// A file in words: what it is in a boot, whose path is among the machine's files; else its path.
fn word(path: &str, stage: Option<Stage>) -> String {
    match stage {
        Some(Stage::Kernel) => "kernel".into(),
        Some(Stage::Initrd) if names::is_overlay(path) => "overlay".into(),
        Some(Stage::Initrd) => "initrd".into(),
        Some(Stage::Ignition) => "config".into(),
        _ => format!("/{path}"),
    }
}

/// The files to load, in words: `initrd`, `overlay`, `initrd and overlay`, `2 initrds`.
fn words(loads: &[&Load]) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for word in loads.iter().map(|load| word(&load.path, Some(load.stage))) {
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let counted = |(word, count): (String, usize)| if count == 1 { word } else { counted(count, &word) };
    counts.into_iter().map(counted).collect::<Vec<_>>().join(" and ")
}

fn failure(machine: &Machine, _: Stamp) -> Found {
    let report = machine.report.as_ref().filter(|report| report.is_failure())?;
    let current = report.at >= machine.boot.began;
    let what = if report.detail.is_empty() { "it reports a failure" } else { report.detail.as_str() };
    let hint = match report.log.is_empty() {
        true => "look at the journal on its console: journalctl -b -u 'prebake-*'",
        false => "the end of its journal came with the report: `prebake logs` shows it",
    };
    current.then(|| trouble(report.at, what, hint)).flatten()
}

fn unmatched(machine: &Machine, _: Stamp) -> Found {
    let said = machine.boot.unmatched.as_ref()?;
    let since = machine.boot.marks.get(&Stage::Script)?.first;
    if !machine.is_stranger {
        let what = "no group matched it when it asked; one does now";
        return trouble(since, what, "boot it again");
    }
    let said = if said.is_empty() { "none" } else { said.as_str() };
    let hint = if machine.is_odd { ODD_MAC_HINT } else { UNMATCHED_HINT };
    trouble(since, format!("no group matches its labels: {said}"), hint)
}

fn other_architecture(machine: &Machine, _: Stamp) -> Found {
    let what = wrong_architecture(machine.arch.as_deref(), &machine.boot.told)?;
    let hint = "give the node its `arch:` in the recipe, or another profile";
    trouble(machine.boot.moved(), what, hint)
}

/// The first refused file with a status that the rule is for, in words.
fn refused(machine: &Machine, is_for: impl Fn(u16) -> bool) -> Option<(&Fetch, String)> {
    let mut fetches = machine.boot.fetches.iter();
    let fetch = fetches.find(|fetch| fetch.status >= 400 && is_for(fetch.status))?;
    let stage = machine.boot.told.stage_of(&fetch.path).or(fetch.stage);
    Some((fetch, word(&fetch.path, stage)))
}

fn missing_file(machine: &Machine, _: Stamp) -> Found {
    let (fetch, word) = refused(machine, |status| status == 404)?;
    let named = machine.boot.told.stage_of(&fetch.path).is_some();
    let hint = match (fetch.stage, named) {
        (_, true) => "its profile names the file: build the tree again, or correct the profile",
        (Some(Stage::Ignition), _) => "`prebake explain` says why there is no config for it",
        _ => "its script or config names the file; `prebake explain` shows both",
    };
    trouble(fetch.moved, format!("{word} does not exist (404)"), hint)
}

fn spent_config(machine: &Machine, _: Stamp) -> Found {
    let (fetch, word) = refused(machine, |status| status == 410)?;
    let hint = "a secret config can be fetched only once: boot the machine again";
    trouble(fetch.moved, format!("{word} was fetched before (410)"), hint)
}

fn refused_request(machine: &Machine, _: Stamp) -> Found {
    let (fetch, word) = refused(machine, |status| !matches!(status, 404 | 410))?;
    let what = format!("{word} was refused ({})", fetch.status);
    trouble(fetch.moved, what, "the server's log has the reason: `prebake logs`")
}

fn broken_transfer(machine: &Machine, now: Stamp) -> Found {
    let mut fetches = machine.boot.fetches.iter();
    let fetch = fetches.find(|fetch| fetch.broke_off() && now.since(fetch.moved) > STALL)?;
    let Fetch { path, stage, sent, length, times, moved, .. } = fetch;
    let often = if *times > 1 { format!(", {}", count::times((*times).into())) } else { String::new() };
    trouble(
        *moved,
        format!("{} aborted at {}{often}", word(path, *stage), size::share(*sent, *length)),
        "check cable and switch port; a loader without enough memory also stops like this",
    )
}

fn stalled_transfer(machine: &Machine, now: Stamp) -> Found {
    let mut fetches = machine.boot.fetches.iter();
    let fetch = fetches.find(|fetch| !fetch.is_over && now.since(fetch.moved) > STALL)?;
    let Fetch { path, stage, sent, length, moved, .. } = fetch;
    trouble(
        *moved,
        format!("{} stalled at {}", word(path, *stage), size::share(*sent, *length)),
        "the machine is off, or its network connection is down",
    )
}

fn tftp_failure(machine: &Machine, _: Stamp) -> Found {
    let (since, why) = machine.boot.tftp_failure.as_ref()?;
    let early = machine.boot.stage().is_none_or(|stage| stage <= Stage::Tftp);
    let hint = "DHCP must name one of the loaders that the server listed at its start";
    early.then(|| trouble(*since, why, hint)).flatten()
}

/// The trouble of a machine that is installed, but boots its installer again and again.
pub(crate) fn installer_loop(machine: &Machine) -> Option<Trouble> {
    let report = machine.report.as_ref().filter(|_| machine.repeated >= REPEATS)?;
    let times = machine.repeated + 1;
    Some(Trouble {
        kind: INSTALLER_LOOP.to_owned(),
        since: report.at,
        what: format!("installer loop: it reported {times} times in a row that it is installed"),
        hint: "something else than this server boots it; put its disk before the network in its boot order"
            .to_owned(),
        several: String::new(),
    })
}

fn circling_installer(machine: &Machine, _: Stamp) -> Found {
    installer_loop(machine).and_then(|Trouble { since, what, hint, .. }| trouble(since, what, hint))
}

fn disk_loop(machine: &Machine, now: Stamp) -> Found {
    let boot = &machine.boot;
    let round = machine.returned >= LOOPS && boot.told.from_disk && now.since(boot.began) < LOOP;
    let what = format!(
        "boot loop: it was told {} times in a row to boot its disk, and came back",
        machine.returned + 1
    );
    let hint = "its disk does not boot, or its firmware prefers the network: look at its console";
    round.then(|| trouble(boot.began, what, hint)).flatten()
}

fn boot_loop(machine: &Machine, _: Stamp) -> Found {
    let turns = machine.fruitless;
    let round = turns >= LOOPS && !machine.boot.has_arrived();
    let what = format!("boot loop: {turns} boots, none completed");
    let hint = "look at its console; an installed machine must boot its disk before the network, or report that it is installed";
    round.then(|| trouble(machine.boot.began, what, hint)).flatten()
}

fn script_loop(machine: &Machine, _: Stamp) -> Found {
    let mark = machine.boot.marks.get(&Stage::Script)?;
    let round = mark.times >= SCRIPTS && machine.boot.stage() == Some(Stage::Script);
    let known = machine.boot.unmatched.is_none();
    let what = format!("script loop: it fetched its script {} times and loaded nothing", mark.times);
    let hint = "the loader restarts: its console shows which line of the script fails";
    (round && known).then(|| trouble(mark.first, what, hint)).flatten()
}

fn silence_before_the_loader(machine: &Machine, now: Stamp) -> Found {
    let file = machine.boot.boot_file.as_deref().unwrap_or("a boot file");
    let file = file.trim_end_matches('/').rsplit('/').next().unwrap_or(file);
    let what = format!("it was told to boot {file}, but did not request it");
    let hint = "a firewall may block TFTP (UDP port 69), or its firmware is of another kind than it says";
    is_overdue(machine, Stage::Dhcp, now).then(|| trouble(machine.boot.moved(), what, hint)).flatten()
}

fn silence_before_the_script(machine: &Machine, now: Stamp) -> Found {
    let what = "it has its loader, but the loader requested no script";
    let hint =
        "the loader's own DHCP must name /boot.ipxe here; Secure Boot refuses a loader that is not signed";
    is_overdue(machine, Stage::Tftp, now).then(|| trouble(machine.boot.moved(), what, hint)).flatten()
}

/// Whether it has a script, and has requested nothing since for too long.
fn has_only_a_script(machine: &Machine, now: Stamp) -> bool {
    is_overdue(machine, Stage::Script, now) && machine.boot.unmatched.is_none()
}

fn first_script_only(machine: &Machine, now: Stamp) -> Found {
    let what = "it fetched the first script, but did not request its own";
    let hint = "chain /ipxe?mac=… from the script that it runs, or look at its console";
    let due = has_only_a_script(machine, now) && machine.profile.is_none();
    due.then(|| trouble(machine.boot.moved(), what, hint)).flatten()
}

fn nothing_loaded(machine: &Machine, now: Stamp) -> Found {
    if !has_only_a_script(machine, now) || machine.profile.is_none() {
        return None;
    }
    // Requests for a kernel on another server are not seen here.
    machine.boot.loads(Stage::Kernel).next()?;
    let what = "it has its script, but did not request the kernel";
    let hint = "look at its console; for a script over HTTPS, the loader must support HTTPS and trust the CA";
    trouble(machine.boot.moved(), what, hint)
}

/// The initrds that it was told to load from here and has requested, and the others, once it has been silent for too
/// long with its kernel.
fn initrds(machine: &Machine, now: Stamp) -> Option<(Vec<&Load>, Vec<&Load>)> {
    let boot = &machine.boot;
    boot.loads(Stage::Kernel).find(|load| boot.is_there(load))?;
    if boot.stage()? > Stage::Initrd || now.since(boot.moved()) <= Stage::Kernel.patience()? {
        return None;
    }
    let asked = |load: &&Load| boot.fetches.iter().any(|fetch| load.is(&fetch.path));
    Some(boot.loads(Stage::Initrd).partition(asked))
}

fn profile_without_initrd(machine: &Machine, now: Stamp) -> Found {
    initrds(machine, now)?;
    machine.boot.told.of_stage(Stage::Initrd).next().is_none().then_some(())?;
    let what = "it fetched its kernel, but its profile has no initrd";
    let hint = "add `initrd` lines to the profile: Flatcar's kernel cannot start a system without one";
    trouble(machine.boot.moved(), what, hint)
}

fn no_initrds(machine: &Machine, now: Stamp) -> Found {
    let (asked, missing) = initrds(machine, now)?;
    // Requests for initrds on another server are not seen here.
    if !asked.is_empty() || missing.is_empty() {
        return None;
    }
    let what = "it fetched its kernel, but requested no initrd";
    let hint = "the menu or script that it runs lacks `initrd` lines, or the loader ran out of memory";
    trouble(machine.boot.moved(), what, hint)
}

fn missing_initrds(machine: &Machine, now: Stamp) -> Found {
    let (asked, missing) = initrds(machine, now)?;
    if asked.is_empty() || missing.is_empty() {
        return None;
    }
    let what = match (words(&asked), words(&missing)) {
        (asked, missing) if asked != missing => format!("it fetched {asked}, but did not request {missing}"),
        _ => {
            format!("it requested only {} of {}", asked.len(), counted(asked.len() + missing.len(), "initrd"))
        }
    };
    let hint = "without its overlay, a machine starts without a config: the loader supports only one initrd, or lacks memory";
    trouble(machine.boot.moved(), what, hint)
}

fn silence_after_loading(machine: &Machine, now: Stamp) -> Found {
    let boot = &machine.boot;
    let over = is_overdue(machine, Stage::Initrd, now) || is_overdue(machine, Stage::Ignition, now);
    // A report of a stage that is none of ours is a sign of life, too.
    let is_heard = machine.report.as_ref().is_some_and(|report| report.at >= boot.began);
    if !over || is_heard || !boot.told.reports || !boot.is_loaded() {
        return None;
    }
    let uefi = machine.arch.as_deref().is_some_and(|arch| !arch.is_empty() && arch != "i386");
    let hint = match (boot.stage(), uefi && !boot.told.names_initrd) {
        (_, true) => {
            "the kernel arguments have no `initrd=`; under UEFI, the kernel then starts without an initrd"
        }
        (Some(Stage::Ignition), _) => {
            "it has its config; its console shows whether Ignition or a unit failed"
        }
        _ => {
            "its console shows whether the kernel, Ignition or a unit failed; check its memory, and that `report` is among its sysexts"
        }
    };
    trouble(boot.moved(), "it loaded everything and has not reported since", hint)
}

fn endless_installation(machine: &Machine, now: Stamp) -> Found {
    let what = "it has been installing for more than an hour";
    let hint = "look at its console: journalctl -b -u prebake-install";
    is_overdue(machine, Stage::Installing, now).then(|| trouble(machine.boot.moved(), what, hint)).flatten()
}
