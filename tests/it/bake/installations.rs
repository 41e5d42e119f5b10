//! Two-stage installation in QEMU: a machine whose firmware boots the network first installs itself to its disk, once.
//!
//! `install.rs` asks the installer's judgement of disks that need no machine.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use prebake::base::digest::Sha256;
use serde_json::Value;

use crate::bake::boots::{PATIENCE, lab_with};
use crate::lab::machine::{self, Builder, DISK_SERIAL, Machine};
use crate::world::World;
use crate::world::http::{Server, get};

/// More than the lab's disk image, as every disk is.
const DISK_BYTES: u64 = 512 << 20;
/// A kernel that the disk's GRUB has loaded says this.
const FROM_DISK: &str = "BOOT_IMAGE=(hd0,gpt1)/flatcar/vmlinuz-a";
/// What a sysext on the OEM partition says once the installed system's config has come.
const INSTALLED: &str = "PREBAKE-LAB-OK profile=worker nonce=by-uefi";

/// The lab, its workers installing themselves to the disk of a known serial number.
fn lab() -> World {
    lab_with("matchbox: {}, disk: {}", |world| {
        let installs = format!("    install: {{serial: {DISK_SERIAL}, min_size: 300MiB}}\n  control:");
        world.edit("recipes/lab.yaml", "  control:", &installs);
    })
}

fn tree(world: &World) -> PathBuf {
    world.path("output/lab/current")
}

/// An empty disk.
fn disk(world: &World) -> PathBuf {
    let path = world.path("disk");
    File::create(&path).unwrap().set_len(DISK_BYTES).unwrap();
    path
}

/// A worker that boots the network first.
fn worker(world: &World, address: &str, disk: &Path) -> Builder {
    let url = format!("{}/boot.ipxe", machine::seen_from_inside(address.parse().unwrap()));
    Machine::builder(&url, &world.path("console")).mac("52:54:00:00:00:01").disk(disk).reboots()
}

/// Waits for lines with these words, one after the other; the last line.
#[track_caller]
fn says(machine: &mut Machine, words: &[&str]) -> String {
    let mut said = String::new();
    for word in words {
        let event = machine.wait_for(&[word], PATIENCE);
        let event = event
            .unwrap_or_else(|stall| panic!("no {word:?}: {stall}\n{}", machine.last_lines(60).join("\n")));
        eprintln!("{:5.1} s  {}", event.after.as_secs_f64(), event.line);
        said = event.line;
    }
    said
}

/// The last report of the only machine: stage and detail.
fn reported(address: &str) -> (String, String) {
    let list: Value = serde_json::from_str(&get(address, "/report", "").text()).unwrap();
    let text = |key| list[0][key].as_str().unwrap().to_owned();
    (text("stage"), text("detail"))
}

/// Waits until this much of a disk has been written.
fn written(disk: &Path, bytes: u64) {
    let began = Instant::now();
    while fs::metadata(disk).unwrap().blocks() * 512 < bytes {
        assert!(began.elapsed() < PATIENCE, "nothing writes to the disk");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_machine_installs_itself_once_though_its_server_goes_away_and_boots_its_disk_from_then_on() {
    let world = lab();
    let disk = disk(&world);
    let _turn = machine::turn();
    let (server, address) = Server::prebake(&tree(&world));

    let mut machine = worker(&world, &address, &disk).start().unwrap();
    says(&mut machine, &["] switch_root", "writing and verifying"]);
    written(&disk, 20 << 20);
    drop(server);
    let (server, _) = Server::prebake_with(&tree(&world), &["--address", &address]);
    says(&mut machine, &["prebake-install: installed Flatcar"]);
    // The server answers the reboot with the disk, whose first boot runs the config that the installer fetched.
    says(&mut machine, &[FROM_DISK, "ignition files", INSTALLED]);
    assert_eq!(reported(&address), ("installed".into(), "generation 1".into()));
    drop(machine);

    // The same disk under UEFI, which goes on to it when iPXE ends. Ignition has run.
    let mut machine = worker(&world, &address, &disk).uefi().start().unwrap();
    says(&mut machine, &[FROM_DISK, "no flatcar.first_boot: ignition skipped", INSTALLED]);
    drop((machine, server));

    // A server that has forgotten everything boots the installer again, which finds its work done.
    let (_server, address) = Server::prebake(&tree(&world));
    let mut machine = worker(&world, &address, &disk).start().unwrap();
    says(&mut machine, &["] switch_root", "holds generation 1 already; nothing is installed"]);
    says(&mut machine, &[FROM_DISK, "no flatcar.first_boot: ignition skipped", INSTALLED]);
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_disk_that_the_recipe_does_not_mean_is_reported_and_stays_as_it_is() {
    let world = lab();
    let disk = disk(&world);
    let contents = fs::read(tree(&world).join("assets/overlay/worker.cpio")).unwrap();
    fs::write(&disk, contents).unwrap();
    File::options().write(true).open(&disk).unwrap().set_len(DISK_BYTES).unwrap();
    let before = Sha256::of(&fs::read(&disk).unwrap());
    let _turn = machine::turn();
    let (mut server, address) = Server::prebake(&tree(&world));
    let mut machine = worker(&world, &address, &disk).disk_serial("another-disk").start().unwrap();
    says(&mut machine, &["] switch_root", "no disk is what the recipe says"]);
    server.says("stage=failed");
    let (stage, detail) = reported(&address);
    assert_eq!(stage, "failed");
    assert!(detail.contains("there are: vda") && detail.contains("another-disk"), "{detail}");
    // ux 5.6: what it said itself reaches the page, and whoever reads the log.
    let status: Value = serde_json::from_str(&get(&address, "/status", "").text()).unwrap();
    let log = status["machines"][0]["report"]["log"].as_str().unwrap();
    assert!(log.contains("prebake-install: no disk is what the recipe says"), "{status:#}");
    assert!(get(&address, "/logs?machine=worker", "").text().is_empty(), "no node is called so");
    let logs = get(&address, "/logs", "").text();
    for told in ["stage initrd", "reports failed: no disk", "    ", "no disk is what the recipe says"] {
        assert!(logs.contains(told), "{told:?} is not in {logs}");
    }
    drop(machine);
    assert_eq!(Sha256::of(&fs::read(&disk).unwrap()), before);
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn an_image_of_other_bytes_than_were_signed_is_refused_and_what_came_of_it_is_not_bootable() {
    let world = lab();
    let disk = disk(&world);
    let image = tree(&world).join("assets/flatcar/4593.2.5/flatcar_production_image.bin.bz2");
    let mut bytes = fs::read(&image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&image).unwrap();
    fs::write(&image, bytes).unwrap();
    let _turn = machine::turn();
    let (mut server, address) = Server::prebake(&tree(&world));
    let mut machine = worker(&world, &address, &disk).start().unwrap();
    says(&mut machine, &["] switch_root", "writing and verifying", "flatcar-install failed on /dev/vda"]);
    server.says("stage=failed");
    let failed = ("failed".to_owned(), "flatcar-install failed on /dev/vda".to_owned());
    assert_eq!(reported(&address), failed);
    drop(machine);
    assert!(fs::metadata(&disk).unwrap().blocks() > 0, "the disk was written to");
    // The boot sector's magic, and that of the GPT.
    assert_eq!(sector(&disk, 0)[510..], [0, 0]);
    assert_eq!(sector(&disk, 1)[..8], [0; 8]);
}

/// A sector of a disk.
fn sector(disk: &Path, number: u64) -> [u8; 512] {
    let mut file = File::open(disk).unwrap();
    file.seek(SeekFrom::Start(number * 512)).unwrap();
    let mut sector = [0; 512];
    file.read_exact(&mut sector).unwrap();
    sector
}
