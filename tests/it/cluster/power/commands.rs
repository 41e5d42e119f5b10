//! The command hook: what it is told, what it says, and what becomes of it; ipmitool with OpenIPMI's simulated BMC behind it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use prebake::cluster::description::Power;
use prebake::cluster::power::{Boot, Limits, State, Switch};
use tempfile::TempDir;

use super::{QUICK, run, switch_within, words};
use crate::lab::{cluster, ports};
use crate::world::http::soon;

fn script(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn switch(words: &[&str], limits: Limits) -> Switch {
    switch_within(Power::Command(words.iter().map(ToString::to_string).collect()), limits)
}

/// A program that keeps its machine's power in a file, and its calls in another.
fn machine(directory: &TempDir, status: &str) -> String {
    let text = format!(
        "cd {}\necho \"$*\" >>calls\ncase $2 in on|off) echo $2 >power;; status) {status};; pxe) exit 0;; *) exit 9;; esac\n",
        directory.path().display()
    );
    script(directory.path(), "switch", &text)
}

#[test]
fn a_command_gets_one_of_four_words_as_its_last() {
    let directory = tempfile::tempdir().unwrap();
    let program = machine(&directory, "echo Chassis Power is $(cat power 2>/dev/null || echo off)");
    let switch = switch(&[&program, "first"], QUICK);
    assert_eq!(run(switch.state()).unwrap(), State::Off);
    let done = run(switch.boot_once(None)).unwrap();
    assert_eq!((done.state, done.boot), (State::On, Some(Boot::Pxe { once: true })));
    assert!(!run(switch.on()).unwrap().changed);
    run(switch.cycle()).unwrap();
    assert_eq!(run(switch.off()).unwrap().state, State::Off);
    let calls = fs::read_to_string(directory.path().join("calls")).unwrap();
    assert!(calls.lines().all(|call| call.starts_with("first ")), "{calls}");
    let orders: Vec<&str> = calls.lines().map(|call| &call[6..]).filter(|word| *word != "status").collect();
    assert_eq!(orders, ["pxe", "on", "off", "on", "off"]);
}

#[test]
fn a_command_that_does_not_tell_the_power_is_believed() {
    let directory = tempfile::tempdir().unwrap();
    let program = machine(&directory, "echo fine");
    let switch = switch(&[&program, "x"], QUICK);
    assert_eq!(run(switch.state()).unwrap(), State::Unknown);
    assert_eq!(run(switch.on()).unwrap().state, State::Unknown);
}

#[test]
fn an_exit_code_is_told_with_what_was_said_and_without_passwords() {
    let directory = tempfile::tempdir().unwrap();
    let program = script(
        directory.path(),
        "fails",
        "echo \"no way to $4 with $3\" >&2; printf '\\033[31m' >&2; exit 3\n",
    );
    let switch = switch(&[&program, "-U", "-P", "geheim-word"], QUICK);
    let told = words(run(switch.on()));
    assert!(told.contains("fails status: exit code 3: no way to status with ***"), "{told}");
    assert!(!told.contains("geheim") && !told.contains('\u{1b}'), "{told}");
    assert!(!format!("{switch:?}").contains("geheim"));
    let absent = words(run(self::switch(&["/no/such/program"], QUICK).on()));
    assert!(absent.contains("cannot run /no/such/program status"), "{absent}");
}

/// A command that does not know `pxe` still gives power.
#[test]
fn a_word_that_a_command_does_not_know_leaves_pxe_to_a_person() {
    let directory = tempfile::tempdir().unwrap();
    let program = machine(&directory, "echo $(cat power 2>/dev/null || echo off)");
    let text = fs::read_to_string(&program)
        .unwrap()
        .replace("pxe) exit 0", "pxe) echo 'Invalid command' >&2; exit 1");
    fs::write(&program, text).unwrap();
    let done = run(switch(&[&program, "x"], QUICK).boot_once(None)).unwrap();
    assert_eq!(done.state, State::On);
    assert!(done.boot.unwrap().to_string().contains("set PXE by hand"));
}

#[test]
fn a_command_that_hangs_is_ended_with_all_that_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let text = format!(
        "sleep 300 & echo $! >{0}; echo half a word; trap '' TERM; sleep 300 & echo $! >>{0}; wait; wait\n",
        pids.display()
    );
    let program = script(directory.path(), "hangs", &text);
    let limits = Limits { command: Duration::from_millis(700), ..QUICK };
    let begun = Instant::now();
    let told = words(run(switch(&[&program], limits).on()));
    assert!(told.contains("was ended") && told.contains("half a word"), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let pids = fs::read_to_string(&pids).unwrap();
    assert_eq!(pids.lines().count(), 2);
    for pid in pids.lines() {
        soon(|| ended(pid));
    }
}

/// Whether a process is gone, or waits for somebody to notice.
fn ended(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.is_empty() || state.contains(") Z ")
}

#[test]
fn a_command_whose_child_keeps_the_pipe_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let program = script(directory.path(), "leaves", "setsid sleep 20 & echo power is on\n");
    let begun = Instant::now();
    assert_eq!(run(switch(&[&program], QUICK).state()).unwrap(), State::On);
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_command_that_says_very_much_is_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let program = script(directory.path(), "talks", "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo on\n");
    assert_eq!(run(switch(&[&program], QUICK).state()).unwrap(), State::On);
}

#[test]
fn a_command_whose_call_is_given_up_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let program = script(directory.path(), "waits", &format!("echo $$ >{}; exec sleep 300\n", pid.display()));
    let switch = switch(&[&program], Limits { command: Duration::from_secs(300), ..QUICK });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let given_up = tokio::time::timeout(Duration::from_millis(1500), switch.state()).await;
        assert!(given_up.is_err());
    });
    let pid = fs::read_to_string(pid).unwrap();
    soon(|| ended(pid.trim()));
}

/// A simulated BMC, which asks a script for power and boot device.
struct Simulator {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Programs and libraries of Debian packages that are not installed.
fn debian(program: &str, packages: &[&str]) -> (PathBuf, String) {
    let places: Vec<PathBuf> = packages.iter().map(|package| cluster::debian(package).unwrap()).collect();
    let libraries: Vec<String> = places
        .iter()
        .flat_map(|place| {
            ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
                .map(|inner| place.join(inner).display().to_string())
        })
        .collect();
    let found = places.iter().map(|place| place.join("usr/bin").join(program)).find(|path| path.is_file());
    (found.unwrap_or_else(|| panic!("no {program} in {places:?}")), libraries.join(":"))
}

impl Simulator {
    fn start() -> Simulator {
        let (program, libraries) =
            debian("ipmi_sim", &["openipmi", "libopenipmi0", "libsnmp40", "libpopt0", "libglib2.0-0"]);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let chassis = script(
            path,
            "chassis",
            &format!(
                "cd {}; echo \"$*\" >>log; shift\ncase $1 in\n\
             get) shift; for what; do case $what in power) echo power:$(cat power 2>/dev/null || echo 0);; boot) echo boot:$(cat boot 2>/dev/null || echo default);; esac; done;;\n\
             set) shift; while [ $# -gt 1 ]; do echo \"$2\" >$1; shift 2; done;;\nesac\n",
                path.display()
            ),
        );
        let port = ports::unused().port();
        fs::write(path.join("lan.conf"), format!(
            "name \"lab\"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 {port}\n    priv_limit admin\n\
             allowed_auths_callback none md2 md5 straight\n    allowed_auths_user none md2 md5 straight\n\
             allowed_auths_operator none md2 md5 straight\n    allowed_auths_admin none md2 md5 straight\n\
             guid a123456789abcdefa123456789abcdef\n  endlan\n  chassis_control \"{chassis} 0x20\"\n\
             user 1 true \"\" \"test\" user 10 none md2 md5 straight\n\
             user 2 true \"admin\" \"geheim-word\" admin 10 none md2 md5 straight\n")).unwrap();
        fs::write(path.join("lab.emu"), "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nsel_enable 0x20 1000 0x0a\nmc_enable 0x20\n").unwrap();
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(path.join("lan.conf"))
            .arg("-f")
            .arg(path.join("lab.emu"))
            .arg("-s")
            .arg(path.join("state"))
            .arg("-n");
        // It ends with its standard input.
        command.env("LD_LIBRARY_PATH", libraries).stdin(Stdio::piped()).stdout(Stdio::null());
        command.stderr(fs::File::create(path.join("story")).unwrap());
        Simulator { child: command.spawn().unwrap(), directory, port }
    }

    /// The script of docs/guides/power.md, for this simulator.
    fn command(&self) -> Vec<String> {
        let (program, libraries) =
            debian("ipmitool", &["ipmitool", "libfreeipmi17", "libgcrypt20", "libgpg-error0"]);
        let guide = fs::read_to_string(crate::world::repository("docs/guides/power.md")).unwrap();
        let text = guide.split("#!/bin/sh\n").nth(1).unwrap().split("```").next().unwrap();
        let text = text.replace(
            "ipmitool -I lanplus",
            &format!(
                "LD_LIBRARY_PATH={libraries} {} -I lanplus -C 3 -p {} -N 5 -R 2",
                program.display(),
                self.port
            ),
        );
        let password = self.directory.path().join("password");
        fs::write(&password, "geheim-word\n").unwrap();
        vec![
            script(self.directory.path(), "ipmi", &text),
            "127.0.0.1".into(),
            "admin".into(),
            password.to_str().unwrap().into(),
        ]
    }
}

#[test]
fn ipmitool_switches_a_machine_through_the_hook() {
    if std::env::var_os("PREBAKE_SKIP_JUDGES").is_some() {
        return;
    }
    let simulator = Simulator::start();
    let words = simulator.command();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let limits = Limits { command: Duration::from_secs(60), follow: Duration::from_secs(60), ..QUICK };
    let switch = switch(&words, limits);
    let story = || fs::read_to_string(simulator.directory.path().join("story")).unwrap_or_default();
    soon(|| run(switch.state()).is_ok());
    assert_eq!(run(switch.state()).unwrap(), State::Off, "{}", story());
    let done = run(switch.boot_once(None)).unwrap();
    assert_eq!((done.state, done.boot), (State::On, Some(Boot::Pxe { once: true })), "{}", story());
    let log = fs::read_to_string(simulator.directory.path().join("log")).unwrap();
    assert!(log.contains("set boot pxe") && log.contains("set power 1"), "{log}");
    assert_eq!(run(switch.off()).unwrap().state, State::Off);
}
