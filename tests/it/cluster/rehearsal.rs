//! Rehearsals: what they cost, what they print, that real machines boot in them, and that nothing is left of them.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::bake::boots::lab;
use crate::lab::{cluster, machine};
use crate::world::World;
use crate::world::http::soon;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt me@host";

/// A description of one controller and one worker.
fn described(directory: &Path) -> PathBuf {
    let text = format!(
        "cluster:\n  name: re\n  k8s_version: 1.33.13\n  flatcar_version: 4593.2.5\n  pod_subnet: 10.244.0.0/16\n\
         \x20 service_subnet: 10.96.0.0/12\n  ssh_authorized_key: {KEY}\nbootstrap: {{ip: 10.77.0.1}}\nnodes:\n\
         \x20 - {{name: control-1, ip: 10.77.0.11, mac: '52:54:00:00:00:02', role: controller, state: /dev/disk/by-id/ata-Lab_Disk_S1}}\n\
         \x20 - {{name: w1, ip: 10.77.0.21, mac: '52:54:00:00:00:21', role: worker, memory: 6GiB}}\n"
    );
    let path = directory.join("cluster.yaml");
    fs::write(&path, text).unwrap();
    path
}

fn rehearse(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.args(["cluster", "rehearse"]).arg(described(directory)).args(args).current_dir(directory);
    command
}

/// The processes whose command line names a directory.
fn about(directory: &Path) -> Vec<String> {
    let place = directory.display().to_string();
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let named = |pid: &String| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        pid.bytes().all(|byte| byte.is_ascii_digit()) && String::from_utf8_lossy(&line).contains(&place)
    };
    processes.filter(named).collect()
}

fn machines(directory: &Path) -> Vec<String> {
    let is_qemu = |pid: &String| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("qemu-system"))
    };
    about(directory).into_iter().filter(is_qemu).collect()
}

#[test]
fn libvirt_takes_the_network_and_the_machines() {
    let directory = tempfile::tempdir().unwrap();
    let output = rehearse(directory.path(), &["--libvirt=xml"]).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("virsh net-create xml/network.xml"), "{said}");
    let domain = fs::read_to_string(directory.path().join("xml/w1.xml")).unwrap();
    assert!(
        domain.contains("<memory unit='KiB'>6291456</memory>") && domain.contains("52:54:00:00:00:21"),
        "{domain}"
    );
    let printed = rehearse(directory.path(), &["--libvirt"]).output().unwrap();
    assert!(String::from_utf8_lossy(&printed.stdout).contains(domain.trim_end()));
    if std::env::var_os("PREBAKE_SKIP_JUDGES").is_some() {
        return;
    }
    // libvirt's own schemas, and the program that libvirt's virt-xml-validate calls.
    let schemas = cluster::debian("libvirt0").unwrap().join("usr/share/libvirt/schemas");
    let xmllint = cluster::debian("libxml2-utils").unwrap().join("usr/bin/xmllint");
    let libraries = ["libxml2", "libicu72"]
        .map(|package| cluster::debian(package).unwrap().join("usr/lib/x86_64-linux-gnu"));
    let libraries = libraries.map(|place| place.display().to_string()).join(":");
    for (schema, name) in [("network", "network"), ("domain", "control-1"), ("domain", "w1")] {
        let mut command = Command::new(&xmllint);
        command
            .env("LD_LIBRARY_PATH", &libraries)
            .args(["--noout", "--relaxng"])
            .arg(schemas.join(format!("{schema}.rng")));
        let judged = command.arg(directory.path().join(format!("xml/{name}.xml"))).output().unwrap();
        assert!(judged.status.success(), "{name}: {}", String::from_utf8_lossy(&judged.stderr));
    }
}

#[test]
fn a_host_without_the_memory_is_told_the_way_out_before_anything_begins() {
    let directory = tempfile::tempdir().unwrap();
    let output = rehearse(directory.path(), &["--memory", "900GiB"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("2 machines need 1.76 TiB") && said.contains("hint:"), "{said}");
    assert!(!directory.path().join("output").exists());
}

/// A rehearsal of a small tree, whose machines load a kernel that is none and stay there.
struct Running {
    world: World,
    child: Child,
    story: PathBuf,
    _directory: TempDir,
}

impl Running {
    fn start(args: &[&str]) -> Running {
        let world = World::new();
        world.build();
        let directory = tempfile::tempdir().unwrap();
        let tree = world.path("output/small/current");
        let story = world.path("story");
        let mut command =
            rehearse(&world.path(""), &["--memory", "256MiB", "--boot-only", tree.to_str().unwrap()]);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&story).unwrap());
        Running { child: command.spawn().unwrap(), world, story, _directory: directory }
    }

    fn story(&self) -> String {
        let mut text = String::new();
        fs::File::open(&self.story).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn is_up(&self) {
        soon(|| {
            self.story().contains("w1 (52:54:00:00:00:21, 10.77.0.21, 256.00 MiB) has power")
                || self.story().contains("error")
        });
        soon(|| machines(&self.world.path("output")).len() == 2 || self.story().contains("error"));
        assert!(!self.story().contains("error"), "{}", self.story());
    }
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn nothing_is_left_of_a_rehearsal_however_it_ends() {
    let _turn = machine::turn();
    for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
        let mut running = Running::start(&[]);
        running.is_up();
        kill_process(Pid::from_child(&running.child), signal).unwrap();
        running.child.wait().unwrap();
        let output = running.world.path("output");
        soon(|| about(&output).is_empty());
        if signal != Signal::KILL {
            let left: Vec<_> = fs::read_dir(&output)
                .unwrap()
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .collect();
            assert_eq!(left, ["small"], "{}", running.story());
        }
    }
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_rehearsal_that_is_too_late_says_so_by_its_exit_code_and_leaves_nothing() {
    let _turn = machine::turn();
    let mut running = Running::start(&["--timeout", "2s"]);
    let status = running.child.wait().unwrap();
    assert_eq!(status.code(), Some(8), "{}", running.story());
    assert!(running.story().contains("2 machines with 512.00 MiB of memory"), "{}", running.story());
    assert!(about(&running.world.path("output")).is_empty());
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn machines_that_are_kept_run_on_until_they_are_ended_by_what_was_said() {
    let _turn = machine::turn();
    let mut running = Running::start(&["--timeout", "2s", "--keep-running"]);
    running.child.wait().unwrap();
    let output = running.world.path("output");
    let story = running.story();
    let line = story
        .lines()
        .find_map(|line| line.trim().strip_prefix("to end them: kill "))
        .unwrap_or_else(|| panic!("{story}"));
    let pids: Vec<i32> = line.split(';').next().unwrap().split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert_eq!((pids.len(), machines(&output).len()), (3, 2), "{story}");
    let target = pids[0].to_string();
    let inside = Command::new("nsenter")
        .args(["--net", "--target", &target, "ip", "-br", "addr", "show", "br0"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&inside.stdout).contains("10.77.0.1/24"), "{inside:?}");
    for pid in pids {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    }
    soon(|| about(&output).is_empty());
}

/// The lab's tree; its machine takes minutes without KVM.
#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_machine_boots_in_a_rehearsal_from_the_served_tree() {
    let world = lab("matchbox: {}");
    let _turn = machine::turn();
    let tree = world.path("output/lab/current");
    let text = fs::read_to_string(described(&world.path(""))).unwrap();
    let alone: Vec<&str> = text.lines().filter(|line| !line.contains("name: w1")).collect();
    let path = world.path("cluster.yaml");
    fs::write(&path, alone.join("\n") + "\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.args(["cluster", "rehearse"]).arg(&path).current_dir(world.path(""));
    command.args(["--memory", "2GiB", "--timeout", "15m", "--until", "ignition", "--boot-only"]).arg(&tree);
    let begun = Instant::now();
    let output = command.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    eprintln!("{:?}\n{said}", begun.elapsed());
    sleep(Duration::from_millis(200));
    assert!(about(&world.path("output")).is_empty());
}
