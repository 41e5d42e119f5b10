//! Customised disk images in QEMU: the lab's published image, whose OEM partition `mkfs.btrfs` made, on machines whose network has
//! nothing to boot.
//!
//! Two boots cover a BIOS and UEFI, qcow2 and raw, a platform with its extension, and a disk that was made longer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::base::digest::Sha256;

use crate::bake::boots::PATIENCE;
use crate::lab;
use crate::lab::machine::{self, Machine};
use crate::lab::release;
use crate::world::{PRIMARY, Run, VERSION, World, repository};

/// What a machine says about its disk, on the first boot; it writes to OEM, and what it wrote is on the disk when it has said so.
const REPORT: &str = r#"
set -eu
nonce=$(</etc/prebake-lab/nonce)
printf '%s' "$nonce" >/oem/written
sync --file-system /oem/written
# systemd may have left an unfinished status line on the console.
printf '\nLAB-DISK oem %s\n' "$(grep ' /oem ' /proc/mounts)"
printf 'LAB-DISK root %s\n' $(df --output=size --block-size=1 / | tail -n 1)
for file in /usr/share/flatcar/oem-*; do
    [ ! -e "$file" ] || printf 'LAB-DISK extension %s\n' "$(<"$file")"
done
printf 'LAB-DISK done %s\n' "$nonce"
"#;

/// Partition 6 alone, the judgement of `btrfs check` of it, and that of `sgdisk` of the table.
const JUDGED: &str = r#"
set -eu
sgdisk -v "$1" | grep 'No problems found'
sgdisk -i 6 "$1" | grep "Partition name: 'OEM'"
first=$(sgdisk -i 6 "$1" | awk '/^First sector/ {print $3}')
last=$(sgdisk -i 6 "$1" | awk '/^Last sector/ {print $3}')
dd if="$1" of="$1.oem" bs=512 skip="$first" count=$((last - first + 1)) status=none
btrfs check --check-data-csum "$1.oem"
"#;

/// An injected image of the lab.
struct Injected {
    world: World,
    /// The run's own word.
    nonce: String,
    image: PathBuf,
}

/// The lab's image with a config, the sysext `lab-hello`, a kernel argument, and `more`, written to a file of this name.
fn injected(name: &str, more: impl Fn(&Path) -> Vec<String>) -> Injected {
    let world = World::new();
    let nonce = lab::nonce();
    let release = release::build(&world.path("lab")).unwrap();
    let published = release.server.join("stable/amd64-usr").join(VERSION);
    let sysext = repository("sysext/lab-hello");
    world.prebake(&["sysext", "build", sysext.to_str().unwrap(), "-o", "images"]).ok();
    let indented = |text: &str| text.lines().map(|line| format!("          {line}\n")).collect::<String>();
    let unit = "[Unit]\nDescription=Say what the disk is like\nAfter=extend-filesystems.service\n\
        [Service]\nType=oneshot\nRemainAfterExit=yes\nStandardOutput=tty\nTTYPath=/dev/console\n\
        ExecStart=/bin/bash /etc/prebake-lab/report\n[Install]\nWantedBy=multi-user.target\n";
    let config = format!(
        "variant: flatcar\nversion: 1.0.0\nstorage:\n  files:\n    \
         - {{path: /etc/prebake-lab/profile, contents: {{inline: disk}}}}\n    \
         - {{path: /etc/prebake-lab/nonce, contents: {{inline: \"{nonce}\"}}}}\n    \
         - path: /etc/prebake-lab/report\n      contents:\n        inline: |\n{}\
         systemd:\n  units:\n    - name: lab-disk.service\n      enabled: true\n      contents: |\n{}",
        indented(REPORT),
        indented(unit),
    );
    fs::write(world.path("disk.bu"), config).unwrap();
    let (stock, image) = (published.join("flatcar_production_image.bin.bz2"), world.path(name));
    let argument = format!("prebake.lab={nonce}");
    let mut args = vec!["disk", "inject", stock.to_str().unwrap(), "-o", image.to_str().unwrap()];
    args.extend(["--ignition", "disk.bu", "--sysext", "images/lab-hello-1.0.0-x86-64.raw"]);
    args.extend(["--kernel-arg", &argument]);
    // The release has a signature beside each file.
    let key = repository("tests/lab/keys/lab.asc").display().to_string();
    args.extend(["--pin", PRIMARY, "--key", &key]);
    let more = more(&published);
    args.extend(more.iter().map(String::as_str));
    let run = world.prebake(&args).ok();
    eprintln!("{}{}", run.stderr, run.stdout);
    Injected { world, nonce, image }
}

impl Injected {
    /// Follows a machine until the config's unit, the sysext's, and the lab's own have spoken: all of its console.
    fn boots(&self, mut machine: Machine, console: &Path) -> String {
        let payload = fs::read(repository("sysext/lab-hello/files/usr/share/lab-hello/payload")).unwrap();
        let (nonce, digest) = (&self.nonce, Sha256::of(&payload));
        let mut awaited = vec![
            format!("PREBAKE-LAB-OK profile=disk nonce={nonce} sysext={digest}"),
            format!("LAB-DISK done {nonce}"),
            "LAB-BOOTED-END".to_owned(),
        ];
        while !awaited.is_empty() {
            let words: Vec<&str> = awaited.iter().map(String::as_str).collect();
            let event = machine.wait_for(&words, PATIENCE);
            let event = event.unwrap_or_else(|stall| {
                panic!("no {words:?}: {stall}\n{}", machine.last_lines(60).join("\n"))
            });
            eprintln!("{:5.1} s  {}", event.after.as_secs_f64(), event.line);
            awaited.remove(event.pattern);
        }
        drop(machine);
        let said = String::from_utf8_lossy(&fs::read(console).unwrap()).into_owned();
        let arguments = line(&said, "Kernel command line: ");
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        // Already on the boot on which Ignition runs: no second one is needed for them.
        let ours = format!("prebake.lab={nonce}");
        assert_eq!(arguments.last(), Some(&ours.as_str()), "{arguments:?}");
        assert!(arguments.contains(&"flatcar.first_boot=detected"), "{arguments:?}");
        assert!(!arguments.contains(&"flatcar.autologin"), "{arguments:?}");
        let mounted = line(&said, "LAB-DISK oem ");
        assert!(mounted.starts_with("/dev/vda6 /oem btrfs rw,"), "{mounted}");
        for complaint in ["BTRFS error", "BTRFS warning", "BTRFS critical", "GPT:"] {
            assert!(!said.contains(complaint), "{complaint} in {said}");
        }
        said
    }

    /// Judges the disk after the machine has written to it, and reads what that wrote.
    fn is_sound_afterwards(&self, raw: &Path) {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let mut judges = Command::new("bash");
        judges.args(["-c", JUDGED, "judged"]).arg(raw).env("PATH", path);
        Run::of(judges.output().unwrap()).ok();
        let image = self.image.to_str().unwrap();
        self.world.prebake(&["disk", "extract", image, "-o", "oem"]).ok();
        assert_eq!(fs::read_to_string(self.world.path("oem/written")).unwrap(), self.nonce);
    }
}

/// The rest of a console's line that has these words, without what else a terminal makes of it.
#[track_caller]
fn line<'c>(said: &'c str, words: &str) -> &'c str {
    let found = said.lines().find_map(|line| line.split_once(words));
    found.unwrap_or_else(|| panic!("no {words:?} in {said}")).1.trim_end()
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_platform_image_in_qcow2_boots_by_bios_with_everything_on_its_first_boot() {
    let injected = injected("qemu.qcow2", |published| {
        let extension = published.join("oem-qemu.raw").display().to_string();
        ["--platform", "qemu", "--extension", &extension, "--size", "1GiB"].map(str::to_owned).into()
    });
    let console = injected.world.path("console");
    let _turn = machine::turn();
    let machine = Machine::builder("", &console).no_network_boot().qcow2(&injected.image);
    let said = injected.boots(machine.start().unwrap(), &console);
    let arguments = line(&said, "Kernel command line: ");
    assert!(arguments.contains(" flatcar.oem.id=qemu "), "{arguments}");
    // bootengine links it, as the version is that of the release.
    assert_eq!(line(&said, "LAB-DISK extension "), "The tools of qemu would be here.");

    let raw = injected.world.path("raw");
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(&injected.image).arg(&raw);
    Run::of(convert.output().unwrap()).ok();
    injected.is_sound_afterwards(&raw);
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_longer_raw_image_boots_by_uefi_and_its_root_takes_all_of_the_disk() {
    const LENGTH: u64 = 2 << 30;
    let injected = injected("long.bin", |_| ["--size", "2GiB"].map(str::to_owned).into());
    assert_eq!(fs::metadata(&injected.image).unwrap().len(), LENGTH);
    let console = injected.world.path("console");
    let _turn = machine::turn();
    let machine = Machine::builder("", &console).no_network_boot().uefi().disk(&injected.image);
    let said = injected.boots(machine.start().unwrap(), &console);
    assert!(!said.contains("flatcar.oem.id="), "{said}");
    // ext4 takes its part. The stock one has 32 MiB.
    let root: u64 = line(&said, "LAB-DISK root ").parse().unwrap();
    assert!(root > LENGTH / 4 * 3, "{root}");
    injected.is_sound_afterwards(&injected.image);
}
