//! The whole line in QEMU: what `make demo` shows must be so.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::cluster::debian;
use crate::lab::machine::{self, Machine};
use crate::lab::mirror::Mirror;
use crate::lab::release;
use crate::world::http::Server;
use crate::world::{PRIMARY, Run, World, repository};

/// A UEFI boot takes a minute on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(400);

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn two_machines_boot_what_was_baked_each_its_own_profile_and_report_back() {
    let _turn = machine::turn();
    let demo = std::path::Path::new(env!("CARGO_BIN_EXE_prebake")).with_file_name("examples").join("demo");
    // The demo compares a nonce of its run and a digest out of the merged sysext with what the consoles say, and fails
    // on `Initramfs unpacking failed`.
    let output = Command::new(demo).stdin(Stdio::null()).output().unwrap();
    let story = String::from_utf8_lossy(&output.stdout);
    println!("{story}");
    assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stderr));
    for profile in ["worker", "control"] {
        assert!(story.contains(&format!("PREBAKE-LAB-OK profile={profile}")), "{story}");
    }
}

/// Issue 17, ux 1.3: nothing worked outside of the repository.
#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_stranger_with_the_binary_alone_comes_from_an_empty_directory_to_a_machine_that_reports() {
    let directory = tempfile::tempdir().unwrap();
    let (program, work) = (directory.path().join("bin/prebake"), directory.path().join("work"));
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::create_dir(&work).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_prebake"), &program).unwrap();
    let release = release::build(&directory.path().join("lab")).unwrap();
    let mirror = Mirror::builder().directory("/", &release.server).start().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).current_dir(&work).env_clear().env("HOME", directory.path());
        let run = Run::of(command.env("PREBAKE_MIRROR_FLATCAR", mirror.url()).output().unwrap()).ok();
        eprintln!("{args:?}\n{}{}", run.stderr, run.stdout);
        run
    };
    run(&["new", "--name", "rack", "--node", "n1=52:54:00:00:00:01", "--ssh-key", "github:octo"]);
    // The lab has a key of its own, and its network no GitHub; without KVM the kernel may find its timer too late.
    let recipe = fs::read_to_string(work.join("recipes/rack.yaml")).unwrap();
    let trust = format!("trust: {{primary_fingerprint: {PRIMARY}, key: lab.asc}}\nprofiles:");
    let recipe = recipe.replace("\nprofiles:", &format!("\n{trust}")).replace("ssh_keys: [", "# ssh_keys: [");
    let recipe = recipe.replace("115200n8\"", "115200n8\", no_timer_check, flatcar.autologin");
    fs::write(work.join("recipes/rack.yaml"), recipe).unwrap();
    fs::copy(repository("tests/lab/keys/lab.asc"), work.join("recipes/lab.asc")).unwrap();
    run(&["lock", "recipes/rack.yaml"]);
    let built = run(&["build", "recipes/rack.yaml", "--locked"]);
    assert!(!built.stderr.contains("warning"), "{}", built.stderr);

    let tree = work.join("output/rack/current");
    let (_server, address) = Server::of(&program, &tree, &["--address", "127.0.0.1:0"]);
    let script = machine::start_script(address.parse().unwrap());
    let harness =
        Mirror::builder().directory("/", &release.harness).page("/start.ipxe", script).start().unwrap();
    let url = format!("{}/start.ipxe", machine::seen_from_inside(harness.address()));
    let _turn = machine::turn();
    let machine = Machine::builder(&url, &directory.path().join("console")).mac("52:54:00:00:00:01");
    let mut machine = machine.start().unwrap();
    for pattern in ["Linux version", "] switch_root"] {
        let event = machine.wait_for(&[pattern], PATIENCE);
        let event = event.unwrap_or_else(|stall| panic!("{stall}\n{}", machine.last_lines(30).join("\n")));
        eprintln!("{:5.1} s  {}", event.after.as_secs_f64(), event.line);
    }
    let server = format!("http://{address}");
    run(&["status", "--server", &server, "--wait", "booted", "--timeout", "400s"]);
}

/// A world with the lab's recipe and what that needs, not built yet.
pub fn lab_world() -> World {
    let world = World::new();
    for path in ["recipes/lab.yaml", "recipes/lab", "sysext", "tests/lab/keys/lab.asc"] {
        let place = world.path(path).parent().unwrap().to_owned();
        fs::create_dir_all(&place).unwrap();
        let copied = Command::new("cp").arg("-a").arg(repository(path)).arg(&place).status().unwrap();
        assert!(copied.success());
    }
    world
}

/// The lab's recipe, built with an initrd before all others: what Flatcar's kernel has inside and Debian's has not. A BIOS
/// machine gets it from the harness; under UEFI only an initrd counts that an argument names, or that a unified kernel
/// image holds.
pub fn lab(outputs: &str) -> World {
    lab_with(outputs, |_| {})
}

/// The same, with something done to the world before it is built.
pub fn lab_with(outputs: &str, prepare: impl FnOnce(&World)) -> World {
    let world = lab_world();
    let release = release::build(&world.path("lab")).unwrap();
    fs::copy(release.harness.join("bootengine.cpio.gz"), world.path("recipes/bootengine.cpio.gz")).unwrap();
    // Without KVM, on a busy machine, the kernel may find its timer too late and give up.
    let early =
        "kernel_args: [\"console=ttyS0,115200n8\", no_timer_check]\n    early_initrds: [bootengine.cpio.gz]";
    world.edit("recipes/lab.yaml", "kernel_args: [\"console=ttyS0,115200n8\"]", early);
    let recipe = fs::read_to_string(world.path("recipes/lab.yaml")).unwrap();
    fs::write(world.path("recipes/lab.yaml"), format!("{recipe}outputs: {{pxe: {{}}, {outputs}}}\n"))
        .unwrap();
    let nonce = "storage:\n  files:\n    - {path: /etc/prebake-lab/nonce, contents: {inline: by-uefi}}\n";
    fs::write(world.path("nonce.bu"), format!("variant: flatcar\nversion: 1.0.0\n{nonce}")).unwrap();
    prepare(&world);
    let mirror = Mirror::builder().directory("/", &release.server).start().unwrap();
    let mut command = world.command(&["build", "recipes/lab.yaml", "--layer", "nonce.bu"]);
    let output = command.env("PREBAKE_MIRROR_FLATCAR", mirror.url()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world
}

/// Follows a machine until the sysext has said which profile's config arrived.
pub fn boots(mut machine: Machine, profile: &str) {
    let expected = format!("PREBAKE-LAB-OK profile={profile} nonce=by-uefi");
    // OVMF paints what iPXE says on a screen of its own.
    for pattern in ["Linux version", "] switch_root", &expected] {
        let event = machine.wait_for(&[pattern], PATIENCE);
        let event = event.unwrap_or_else(|stall| panic!("{stall}\n{}", machine.last_lines(30).join("\n")));
        eprintln!("{:5.1} s  {}", event.after.as_secs_f64(), event.line);
    }
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_uefi_machine_boots_by_our_ipxe_script() {
    let world = lab("matchbox: {}, ipxe: {}");
    let _turn = machine::turn();
    let (_server, address) = Server::prebake(&world.path("output/lab/current"));
    let url = format!("{}/boot.ipxe", machine::seen_from_inside(address.parse().unwrap()));
    let machine = Machine::builder(&url, &world.path("console")).mac("52:54:00:00:00:02").uefi();
    boots(machine.start().unwrap(), "control");
}

/// A TFTP server's root: the published tree, and the loader's own files.
fn tftp_root(world: &World, loader: &str) -> PathBuf {
    let root = world.path("tftp");
    let script = format!("set -eu\ncp -rlL \"$1\" \"$2\"\ncd \"$2\"\n{loader}");
    let mut command = Command::new("bash");
    command.args(["-c", &script, "tftp"]).arg(world.path("output/lab/current")).arg(&root);
    for package in ["pxelinux", "syslinux-common", "grub-efi-amd64-bin"] {
        let name = package.replace('-', "_").to_uppercase();
        command.env(name, debian(package).unwrap().join("usr/lib"));
    }
    assert!(command.status().unwrap().success());
    root
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_bios_machine_boots_by_our_pxelinux_config_and_tftp() {
    let world = lab("pxelinux: {}");
    let files =
        "cp $PXELINUX/PXELINUX/pxelinux.0 $SYSLINUX_COMMON/syslinux/modules/bios/ldlinux.c32 boot/pxelinux";
    let root = tftp_root(&world, files);
    let _turn = machine::turn();
    let machine = Machine::builder("", &world.path("console")).tftp(&root, "boot/pxelinux/pxelinux.0");
    boots(machine.mac("52:54:00:00:00:02").start().unwrap(), "control");
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_uefi_machine_boots_by_our_grub_config_and_tftp() {
    let world = lab("grub: {}");
    let files = "grub-mknetdir --net-directory=. -d $GRUB_EFI_AMD64_BIN/grub/x86_64-efi";
    let root = tftp_root(&world, files);
    let _turn = machine::turn();
    let machine = Machine::builder("", &world.path("console")).tftp(&root, "boot/grub/x86_64-efi/core.efi");
    boots(machine.mac("52:54:00:00:00:02").uefi().start().unwrap(), "control");
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_kernel_activates_a_signed_image_and_refuses_a_byte_that_was_changed() {
    let world = lab_with("matchbox: {}", |world| {
        world.prebake(&["sysext", "key", "generate", "recipes/keys"]).ok();
        let verity = "packaging: {verity: {key: keys/sysext.key, certificate: keys/sysext.crt}}\nprofiles:";
        world.edit("recipes/lab.yaml", "profiles:", verity);
    });
    let _turn = machine::turn();
    let tree = world.path("output/lab/current");
    let (_server, address) = Server::prebake(&tree);
    let url = format!("{}/boot.ipxe", machine::seen_from_inside(address.parse().unwrap()));
    let machine = || Machine::builder(&url, &world.path("console")).mac("52:54:00:00:00:01");
    boots(machine().start().unwrap(), "worker");

    let overlay = tree.join("assets/overlay/worker.cpio");
    let mut bytes = fs::read(&overlay).unwrap();
    let image = bytes.windows(4).position(|four| four == b"hsqs").unwrap();
    // Behind the superblock are the blocks of files.
    bytes[image + 100] ^= 1;
    fs::remove_file(&overlay).unwrap();
    fs::write(&overlay, bytes).unwrap();
    let mut machine = machine().start().unwrap();
    let event = machine.wait_for(&["PREBAKE-LAB-OK", "is corrupted"], PATIENCE);
    let event = event.unwrap_or_else(|stall| panic!("{stall}\n{}", machine.last_lines(40).join("\n")));
    assert!(event.line.contains("verity: ") && event.line.contains("is corrupted"), "{}", event.line);
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_uefi_machine_boots_a_unified_kernel_image_from_its_disk() {
    let world = lab("uki: {}");
    let _turn = machine::turn();
    let image = world.path("output/lab/current/boot/uki/worker.efi");
    let disk = world.path("esp.img");
    esp(&image, &disk);
    let machine = Machine::builder("", &world.path("console")).uefi().no_network_boot().disk(&disk);
    boots(machine.start().unwrap(), "worker");
}

/// `prebake boot`, whose console is its standard output, until a line has these words.
fn trial(world: &World, flags: &[&str], words: &str) -> (Trial, String) {
    let log = world.path("console");
    let mut command = world.command(&["boot", "output/lab/current", "--memory", "2GiB", "--log"]);
    command.arg(&log).args(["--timeout", "380s"]).args(flags);
    let piped = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut trial = Trial(piped.spawn().unwrap());
    let deadline = Instant::now() + PATIENCE;
    let said = || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    while !said().contains(words) {
        let is_over = trial.0.try_wait().unwrap().is_some() || Instant::now() > deadline;
        assert!(!is_over, "no {words:?}:\n{}\n{}", said(), trial.interrupt().1);
        std::thread::sleep(Duration::from_millis(200));
    }
    (trial, said())
}

/// A process that ends with the test.
struct Trial(Child);

impl Trial {
    /// Sends SIGINT; the exit code, and what it said.
    fn interrupt(mut self) -> (Option<i32>, String) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap().code(), said)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a QEMU runs that has these words in its command line.
fn qemu_runs_with(words: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.map(|entry| entry.path().join("cmdline")).any(|path| {
        let line = fs::read(path).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains("qemu-system") && line.contains(words)
    })
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn one_verb_boots_a_node_of_a_tree_over_the_network_as_the_rack_will() {
    let world = lab("matchbox: {}, ipxe: {}");
    let _turn = machine::turn();
    let (trial, said) = trial(&world, &["--node", "n2"], "PREBAKE-LAB-OK profile=control nonce=by-uefi");
    // iPXE fetched the script from the server that the verb runs.
    assert!(said.contains("iPXE") && said.contains("/boot.ipxe"), "{said}");
    assert!(qemu_runs_with("52:54:00:00:00:02"));
    let (code, told) = trial.interrupt();
    assert_eq!(code, Some(130), "{told}");
    assert!(
        told.contains("booting n2 (profile control)") && told.contains("page http://127.0.0.1:"),
        "{told}"
    );
    assert!(!qemu_runs_with("52:54:00:00:00:02"), "the machine outlives the verb");
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_profile_boots_directly_as_a_machine_that_no_node_names() {
    let world = lab("matchbox: {}");
    let _turn = machine::turn();
    let flags = ["--profile", "worker", "--direct", "--disk", "64MiB"];
    let (trial, said) = trial(&world, &flags, "PREBAKE-LAB-OK profile=worker nonce=by-uefi");
    assert!(
        said.contains("prebake.url=http://10.0.2.2:") && said.contains("prebake.mac=52:54:00:b0:07:01"),
        "{said}"
    );
    let (code, told) = trial.interrupt();
    assert_eq!(code, Some(130), "{told}");
}

/// An EFI system partition, without a partition table, that boots one program.
fn esp(program: &Path, disk: &Path) {
    let script = r#"
        set -eu
        truncate -s 192M "$2"
        mkfs.vfat -F 32 "$2" >/dev/null
        mmd -i "$2" ::EFI ::EFI/BOOT
        mcopy -i "$2" "$1" ::EFI/BOOT/BOOTX64.EFI
    "#;
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let made =
        Command::new("bash").args(["-c", script, "esp"]).arg(program).arg(disk).env("PATH", path).status();
    assert!(made.unwrap().success());
}
