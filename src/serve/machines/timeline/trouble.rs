//! Diagnoses machines that make no progress: what is likely wrong, and what to do about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::machine::{Fetch, LOOP, Machine};
use super::stage::Stage;
use super::told::{Load, Told};
use crate::base::arch::Arch;
use crate::base::count::ordinal;
use crate::base::size;
use crate::serve::machines::stamp::Stamp;

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
}

/// How long a transfer may stall, and how long a client may take to retry an aborted one.
pub(super) const STALL: Duration = Duration::from_secs(15);
/// Consecutive boots that reach nothing. A single one may be a person at the reset button.
const LOOPS: u32 = 3;
/// How often the same script may be fetched without anything being loaded.
const SCRIPTS: u32 = 4;

/// How often an installer may repeat that its machine is installed: once, in case the server forgot.
const REPEATS: u32 = 2;
/// The kind of trouble that machines themselves are told of.
const INSTALLER_LOOP: &str = "installer-loop";

/// A rule's result: the time since when, the problem, and what people can do about it.
type Found = Option<(Stamp, String, String)>;
type Rule = fn(&Machine, Stamp) -> Found;

/// All rules, the most certain first.
const RULES: [(&str, Rule); 16] = [
    ("failure", failure),
    ("unmatched", unmatched),
    ("architecture", other_architecture),
    ("refused-file", refused_files),
    ("broken-transfer", broken_transfer),
    ("stalled-transfer", stalled_transfer),
    ("tftp", tftp_failure),
    (INSTALLER_LOOP, circling_installer),
    ("disk-loop", disk_loop),
    ("boot-loop", boot_loop),
    ("script-loop", script_loop),
    ("no-script", silence_before_the_script),
    ("no-kernel", nothing_loaded),
    ("no-initrd", missing_initrds),
    ("no-report", silence_after_loading),
    ("installing", endless_installation),
];

/// The likely problems of a machine at this time.
pub(crate) fn troubles(machine: &Machine, now: Stamp) -> Vec<Trouble> {
    let found = RULES.iter().filter_map(|(kind, rule)| Some((kind, rule(machine, now)?)));
    let trouble = |(kind, (since, what, hint)): (&&str, (Stamp, String, String))| Trouble {
        kind: (*kind).to_owned(),
        since,
        what,
        hint,
    };
    found.map(trouble).collect()
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

fn failure(machine: &Machine, _: Stamp) -> Found {
    let report = machine.report.as_ref().filter(|report| report.is_failure())?;
    let current = report.at >= machine.boot.began;
    let what = if report.detail.is_empty() { "it reports a failure" } else { report.detail.as_str() };
    let hint = "look at the journal on its console: journalctl -b -u 'prebake-*'";
    current.then(|| trouble(report.at, what, hint)).flatten()
}

fn unmatched(machine: &Machine, _: Stamp) -> Found {
    let said = machine.boot.unmatched.as_ref()?;
    let since = machine.boot.marks.get(&Stage::Script)?.first;
    let said = if said.is_empty() { "none" } else { said.as_str() };
    trouble(
        since,
        format!("no group matches its labels: {said}"),
        "add it to `nodes:` in the recipe, or name a `default_profile`; for Matchbox, a group that selects it",
    )
}

fn other_architecture(machine: &Machine, _: Stamp) -> Found {
    let what = wrong_architecture(machine.arch.as_deref(), &machine.boot.told)?;
    let hint = "give the node its `arch:` in the recipe, or another profile";
    trouble(machine.boot.moved(), what, hint)
}

fn refused_files(machine: &Machine, _: Stamp) -> Found {
    let Fetch { path, status, moved, .. } = machine.boot.fetches.iter().find(|fetch| fetch.status >= 400)?;
    let profile = machine.profile.as_deref().unwrap_or("?");
    let named = machine.boot.told.stage_of(path).is_some();
    let hint = match (status, named) {
        (404, true) => {
            format!("profile `{profile}` names the file: build the tree again, or correct the profile")
        }
        (404, false) => "its script or config names the file; `prebake explain` shows both".into(),
        (410, _) => "a secret config can be fetched only once: boot the machine again".into(),
        _ => "the server's log has the reason".into(),
    };
    let what = match status {
        404 => format!("it requested /{path}, which does not exist (404)"),
        _ => format!("its request for /{path} was refused ({status})"),
    };
    trouble(*moved, what, hint)
}

fn broken_transfer(machine: &Machine, now: Stamp) -> Found {
    let mut fetches = machine.boot.fetches.iter();
    let fetch = fetches.find(|fetch| fetch.broke_off() && now.since(fetch.moved) > STALL)?;
    let Fetch { path, sent, length, times, moved, .. } = fetch;
    let again = if *times > 1 { format!(", {} attempt", ordinal((*times).into())) } else { String::new() };
    trouble(
        *moved,
        format!("download of /{path} aborted at {}{again}", size::share(*sent, *length)),
        "check cable and switch port; a loader without enough memory also stops like this",
    )
}

fn stalled_transfer(machine: &Machine, now: Stamp) -> Found {
    let mut fetches = machine.boot.fetches.iter();
    let fetch = fetches.find(|fetch| !fetch.is_over && now.since(fetch.moved) > STALL)?;
    let Fetch { path, sent, length, moved, .. } = fetch;
    trouble(
        *moved,
        format!("download of /{path} stalled at {}", size::share(*sent, *length)),
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

fn silence_before_the_script(machine: &Machine, now: Stamp) -> Found {
    let since = machine.boot.moved();
    let file = machine.boot.boot_file.as_deref().unwrap_or("a boot file");
    if is_overdue(machine, Stage::Dhcp, now) {
        let what = format!("it was told to boot {file}, but did not request it");
        let hint = "a firewall may block TFTP (UDP port 69), or its firmware is of another kind than it says";
        return trouble(since, what, hint);
    }
    let what = "it has its loader, but the loader requested no script";
    let hint =
        "the loader's own DHCP must name /boot.ipxe here; Secure Boot refuses a loader that is not signed";
    is_overdue(machine, Stage::Tftp, now).then(|| trouble(since, what, hint)).flatten()
}

fn nothing_loaded(machine: &Machine, now: Stamp) -> Found {
    let due = is_overdue(machine, Stage::Script, now) && machine.boot.unmatched.is_none();
    if !due {
        return None;
    }
    let since = machine.boot.moved();
    if machine.profile.is_none() {
        let what = "it fetched the first script, but did not request its own";
        return trouble(
            since,
            what,
            "chain /ipxe?mac=… from the script that it runs, or look at its console",
        );
    }
    // Requests for a kernel on another server are not seen here.
    machine.boot.loads(Stage::Kernel).next()?;
    let what = "it has its script, but did not request the kernel";
    trouble(
        since,
        what,
        "look at its console; for a script over HTTPS, the loader must support HTTPS and trust the CA",
    )
}

fn missing_initrds(machine: &Machine, now: Stamp) -> Found {
    let boot = &machine.boot;
    let kernel = boot.loads(Stage::Kernel).next().filter(|load| boot.is_there(load))?;
    let patience = Stage::Kernel.patience()?;
    let stage = boot.stage()?;
    if stage > Stage::Initrd || now.since(boot.moved()) <= patience {
        return None;
    }
    let told: Vec<&Load> = boot.loads(Stage::Initrd).collect();
    // Requests for initrds on another server are not seen here.
    let is_elsewhere = told.is_empty() && boot.told.of_stage(Stage::Initrd).next().is_some();
    let asked = |load: &Load| boot.fetches.iter().any(|fetch| load.is(&fetch.path));
    let (asked, missing): (Vec<&Load>, Vec<&Load>) = told.iter().partition(|load| asked(load));
    let paths = |loads: Vec<&'_ Load>| loads.iter().map(|load| load.path.clone()).collect::<Vec<_>>();
    let (asked, missing) = (paths(asked), paths(missing));
    let since = boot.moved();
    match (told.as_slice(), asked.as_slice(), missing.as_slice()) {
        _ if is_elsewhere => None,
        ([], ..) => trouble(
            since,
            format!("it fetched its kernel, /{}, but its profile has no initrd", kernel.path),
            "add `initrd` lines to the profile: Flatcar's kernel cannot start a system without one",
        ),
        (_, [], missing) => trouble(
            since,
            format!("it fetched its kernel, but requested no initrd (/{})", missing.join(", /")),
            "the menu or script that it runs lacks `initrd` lines, or the loader ran out of memory",
        ),
        (_, _, []) => None,
        (_, asked, missing) => trouble(
            since,
            format!("it fetched /{}, but did not request /{}", asked.join(", /"), missing.join(", /")),
            "without its overlay, a machine starts without a config: the loader supports only one initrd, or lacks memory",
        ),
    }
}

fn silence_after_loading(machine: &Machine, now: Stamp) -> Found {
    let boot = &machine.boot;
    let over = is_overdue(machine, Stage::Initrd, now) || is_overdue(machine, Stage::Ignition, now);
    if !over || !boot.told.reports || !boot.is_loaded() {
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
