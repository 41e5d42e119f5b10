//! Two-stage installation: what the tree says of it, what the server does about it, and the installer's own judgement.
//!
//! The installer runs for real, against the real server; stand-ins are `flatcar-install` and the programs that would touch
//! a disk (lsblk, wipefs, mount, systemctl).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::judges::matchbox::check_tree;
use crate::world::http::{Server, get, send};
use crate::world::{Run, World, repository};

const INSTALL: &str = "install: {model: Lab Disk, min_size: 1GiB";

/// The small world whose workers install themselves.
pub fn world(options: &str) -> World {
    let world = World::new();
    for sysext in ["install", "report"] {
        let from = repository("sysext").join(sysext);
        let copied = Command::new("cp").arg("-a").arg(from).arg(world.path("sysext")).status().unwrap();
        assert!(copied.success());
    }
    let early = format!("kernel_args: [console=ttyS0]\n    {INSTALL}{options}}}");
    world.edit("recipes/small.yaml", "kernel_args: [console=ttyS0]", &early);
    let outputs = "outputs: {pxe: {}, matchbox: {}, disk: {}}\ndefault_profile:";
    world.edit("recipes/small.yaml", "default_profile:", outputs);
    world
}

fn tree(world: &World, path: &str) -> String {
    fs::read_to_string(world.path("output/small/current").join(path)).unwrap()
}

#[test]
fn the_overlay_holds_the_installer_and_os_installed_has_the_real_config() {
    let world = world("");
    world.build();
    let installer = tree(&world, "ignition/worker.ign");
    assert!(installer.contains("/etc/prebake/install.conf") && installer.contains("/oem/sysext/install.raw"));
    assert!(!installer.contains("/etc/role"), "{installer}");
    let installed = tree(&world, "ignition/worker.installed.ign");
    assert!(
        installed.contains("/etc/role") && installed.contains("/etc/extensions/hello.raw"),
        "{installed}"
    );
    assert!(!installed.contains("install.raw") && !installed.contains("report.raw"), "{installed}");
    let group: Value = serde_json::from_str(&tree(&world, "groups/n1.installed.json")).unwrap();
    assert_eq!(group["selector"]["os"], "installed");
    assert_eq!(group["profile"], "worker.installed");
    // A profile that runs in memory stays as it is.
    assert!(tree(&world, "ignition/control.ign").contains("/etc/control"));
    check_tree(&world.path("output/small/current"));
}

/// Posts a report of n1, as its installer does.
fn report(address: &str, detail: &str) {
    let body = format!("mac=52-54-00-00-00-01&stage=installed&detail={detail}");
    let head = format!(
        "POST /report HTTP/1.1\nHost: {address}\nConnection: close\nContent-Length: {}\n\n",
        body.len()
    );
    assert_eq!(send(address, &(head + &body)).status, 204);
}

#[test]
fn a_machine_that_says_it_is_installed_boots_its_disk_until_the_generation_moves() {
    let world = world(", generation: 7");
    world.build();
    let (_server, address) = Server::prebake(&world.path("output/small/current"));
    let script = || get(&address, "/ipxe?mac=52-54-00-00-00-01", "").text();
    assert!(script().contains("\nkernel "));
    report(&address, "generation 6");
    assert!(script().contains("\nkernel "), "an installation of another generation");
    report(&address, "generation 7");
    let local = script();
    assert!(local.contains("sanboot --no-describe --drive 0x80") && !local.contains("kernel"), "{local}");
    assert_eq!(get(&address, "/grub?mac=52-54-00-00-00-01", "").text(), "exit\n");
    // The config of the installed system is still to be had, and other machines install themselves.
    assert!(get(&address, "/ignition?mac=52-54-00-00-00-01&os=installed", "").text().contains("/etc/role"));
    assert!(get(&address, "/ipxe?mac=52-54-00-00-00-09", "").text().contains("\nkernel "));
}

/// Stand-ins, by name. `$LAB` is the test's directory: `disks` has a line for each disk, `oem` is the OEM partition, `parts`
/// has what is made of disks (DISK NAME TYPE DISKS-BELOW), until it is taken apart.
const STAND_INS: [(&str, &str); 17] = [
    (
        "lsblk",
        r#"columns=; device=; inverse=; nodeps=
while [ $# -gt 0 ]; do
    case $1 in --output) columns=$2; shift ;; --inverse) inverse=1 ;; --nodeps) nodeps=1 ;; --*) ;; *) device=$1 ;; esac
    shift
done
touch "$LAB/parts"
if [ -n "$inverse" ]; then
    while read -r _ name type below; do
        [ "$name" = "$device" ] || continue
        echo "$name $type"
        for disk in $below; do echo "$disk disk"; done
    done <"$LAB/parts"
fi
while IFS='|' read -r name type size ro model serial mount sectors wwn; do
    while read -r disk map kind _; do
        [ "$disk" != "$name" ] || [ "$kind" != mpath ] || [ "$map" != "$device" ] || { name=$map; type=mpath; }
    done <"$LAB/parts"
    [ -z "$device" ] || [ "$device" = "$name" ] || continue
    case $columns in
        LOG-SEC) echo "${sectors:-512}" ;;
        WWN) echo "$wwn" ;;
        NAME,TYPE) echo "$name $type"; sed -n "s|^$name \\([^ ]* [^ ]*\\).*|\\1|p" "$LAB/parts" ;;
        TYPE) echo "$type"; [ -n "$nodeps" ] || sed -n "s|^$name [^ ]* \\([^ ]*\\).*|\\1|p" "$LAB/parts" ;;
        NAME) echo "$name" ;;
        SIZE) echo "$size" ;;
        RO) echo "$ro" ;;
        MODEL) echo "$model" ;;
        SERIAL) echo "$serial" ;;
        MOUNTPOINT) echo "$mount" ;;
        NAME,PARTLABEL) if [ -d "$LAB/oem" ]; then echo "${name}6 OEM"; fi ;;
        *) echo "$type $name $size $model" ;;
    esac
    [ -z "$device" ] || break
done <"$LAB/disks""#,
    ),
    (
        "wipefs",
        r#"case $* in
    *--all*) echo "wipefs $*" >>"$LAB/did" ;;
    *) if [ -f "$LAB/foreign" ]; then echo ext4; fi ;;
esac"#,
    ),
    ("blkid", "if [ -f $LAB/guid ]; then cat $LAB/guid; fi"),
    ("head", "if [ -f $LAB/head ]; then cat $LAB/head; fi"),
    ("udevadm", ""),
    ("mount", "for dir; do :; done; rmdir $dir; ln -s $LAB/oem $dir"),
    ("umount", "rm $1; mkdir $1"),
    ("ip", "echo 10.0.0.1 via 10.0.0.2 dev lo src 10.0.0.3"),
    ("lvs", "sed -n \"s|^[^ ]* ${!#} lvm .*|  vg0|p\" $LAB/parts | sort -u"),
    ("pvs", "if [ -f $LAB/pvs ]; then cat $LAB/pvs; else echo '  /dev/sda2'; fi"),
    ("vgchange", "echo vgchange $* >>$LAB/did; [ -f $LAB/stuck ] || sed -i '/ lvm/d' $LAB/parts"),
    ("mdadm", "echo mdadm $* >>$LAB/did; sed -i \"\\|^[^ ]* $2 |d\" $LAB/parts"),
    ("cryptsetup", "echo cryptsetup $* >>$LAB/did; sed -i \"\\|/$2 |d\" $LAB/parts"),
    ("blockdev", "exit 1"),
    ("efibootmgr", r#"if [ $# = 0 ]; then cat "$LAB/entries"; else echo "efibootmgr $*" >>"$LAB/did"; fi"#),
    ("systemctl", "echo systemctl $* >>$LAB/did"),
    (
        "flatcar-install",
        r#"if [ -f "$LAB/torn" ]; then
    echo half >"$LAB/head"
    exit 1
fi
[ ! -f "$LAB/broken" ] || exit 1
echo "flatcar-install $*" | sed 's|-i /[^ ]*|-i CONFIG|' >>"$LAB/did"
mkdir -p "$LAB/oem"
cp "${!#}" "$LAB/oem/config.ign""#,
    ),
];

/// Runs the installer of n1 against the server.
fn install(world: &World, address: &str, disks: &str) -> Run {
    // The device over which the stand-in of `ip` finds the server.
    let card = world.path("net/lo");
    fs::create_dir_all(&card).unwrap();
    fs::write(card.join("address"), "52:54:00:00:00:01\n").unwrap();
    let mut command = Command::new(repository(INSTALLER));
    command.env("PREBAKE_NET", world.path("net"));
    install_by(command, world, &format!("http://{address}"), "worker", disks, &STAND_INS)
}

/// The installer.
pub const INSTALLER: &str = "sysext/install/files/usr/libexec/prebake-install";

/// The stand-ins for what would touch a disk.
pub fn stand_ins_for_disks() -> Vec<(&'static str, &'static str)> {
    STAND_INS.into_iter().filter(|(name, _)| *name != "ip").collect()
}

/// Runs the installer of a profile, by a command that ends in its path.
pub fn install_by(
    mut command: Command,
    world: &World,
    url: &str,
    profile: &str,
    disks: &str,
    fakes: &[(&str, &str)],
) -> Run {
    let bin = world.path("bin");
    fs::create_dir_all(&bin).unwrap();
    for (name, script) in fakes {
        fs::write(bin.join(name), format!("#!/bin/bash\n{script}\n")).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(world.path("disks"), disks).unwrap();
    let _ = fs::remove_file(world.path("did"));
    let config: Value = serde_json::from_str(&tree(world, &format!("ignition/{profile}.ign"))).unwrap();
    let files = config["storage"]["files"].as_array().unwrap();
    let conf = files.iter().find(|file| file["path"] == "/etc/prebake/install.conf").unwrap();
    let conf = conf["contents"]["source"].as_str().unwrap().rsplit(',').next().unwrap();
    let conf = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, conf).unwrap();
    let conf = String::from_utf8(conf).unwrap().replace("BASE_URL=''", &format!("BASE_URL='{url}'"));
    fs::write(world.path("install.conf"), conf).unwrap();
    let path = format!("{}:{}:/usr/sbin:/sbin", bin.display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).env("LAB", world.path("")).env("PREBAKE_INSTALL_WAIT", "0");
    command.env("PREBAKE_EFI", world.path("efi"));
    command.env("PREBAKE_CMDLINE", world.path("cmdline")).env("PREBAKE_WAIT", "0").env("PREBAKE_TRIES", "3");
    if world.path("cmdline").exists() {
        command.env("PREBAKE_REPORT", repository("sysext/report/files/usr/libexec/prebake-report"));
    } else {
        fs::write(world.path("no-arguments"), "quiet\n").unwrap();
        command.env("PREBAKE_CMDLINE", world.path("no-arguments"));
    }
    Run::of(command.env("PREBAKE_INSTALL_CONF", world.path("install.conf")).output().unwrap())
}

/// Lets the installer report as the machine that booted over a card.
fn booted_over(world: &World, address: &str, mac: &str) {
    fs::write(world.path("cmdline"), format!("quiet prebake.url=http://{address} prebake.mac={mac}\n"))
        .unwrap();
}

pub fn did(world: &World) -> String {
    fs::read_to_string(world.path("did")).unwrap_or_default()
}

pub const DISK: &str = "/dev/sda|disk|9000000000|0|Lab Disk|1|\n";

#[test]
fn the_installer_installs_marks_and_reboots_and_does_it_only_once() {
    let world = world("");
    world.build();
    let (_server, address) = Server::prebake(&world.path("output/small/current"));
    let other = "/dev/sdb|disk|9000000000|0|Other|2|/\n/dev/sr0|rom|9000000000|1|Lab Disk|3|\n";
    install(&world, &address, &format!("{DISK}{other}")).ok();
    let expected = format!(
        "flatcar-install -d /dev/sda -V 4593.2.5 -b http://{address}/assets/flatcar -o  -i CONFIG\nsystemctl reboot\n"
    );
    assert_eq!(did(&world), expected);
    let config = fs::read_to_string(world.path("oem/config.ign")).unwrap();
    assert_eq!(config, tree(&world, "ignition/worker.installed.ign"));
    let marker = fs::read_to_string(world.path("oem/prebake-install")).unwrap();
    assert_eq!(marker, "GENERATION=1\nVERSION=4593.2.5\n");
    // Nobody here takes a report, and no firmware can be told: the machine stays as it is instead of going round.
    let again = install(&world, &address, DISK).ok();
    assert!(again.stderr.contains("holds generation 1 already; nothing is installed"), "{}", again.stderr);
    assert_eq!(did(&world), "");
    // A higher generation asks for it again, whatever the disk holds.
    fs::write(world.path("foreign"), "").unwrap();
    world.edit("recipes/small.yaml", INSTALL, &format!("{INSTALL}, generation: 2"));
    world.build();
    install(&world, &address, DISK).ok();
    assert!(did(&world).starts_with("flatcar-install"));
}

#[test]
fn the_installer_refuses_every_disk_that_may_be_the_wrong_one() {
    let world = world("");
    world.build();
    let (_server, address) = Server::prebake(&world.path("output/small/current"));
    for (disks, words) in [
        ("/dev/sda|disk|9000000000|0|Other|1|\n".to_owned(), "no disk is what the recipe says"),
        ("/dev/sda|disk|90000|0|Lab Disk|1|\n".to_owned(), "no disk is what the recipe says"),
        (
            format!("{DISK}/dev/sdb|disk|9000000000|0|Lab Disk|2|\n"),
            "several disks are what the recipe says: /dev/sda /dev/sdb",
        ),
        ("/dev/sda|disk|9000000000|1|Lab Disk|1|\n".to_owned(), "/dev/sda is read-only"),
        ("/dev/sda|disk|9000000000|0|Lab Disk|1|/data\n".to_owned(), "/dev/sda is mounted"),
        // flatcar/Flatcar#1429: found out after 8 GiB were written.
        (
            "/dev/sda|disk|9000000000|0|Lab Disk|1||4096\n".to_owned(),
            "/dev/sda has sectors of 4096 bytes, and Flatcar's disk image is made for 512",
        ),
        (
            "/dev/sda|disk|9000000000|0|Lab Disk|1|||w1\n/dev/sdb|disk|9000000000|0|Lab Disk|1|||w1\n"
                .to_owned(),
            "several disks are what the recipe says: /dev/sda /dev/sdb",
        ),
    ] {
        install(&world, &address, &disks).fails(1, &[words]);
        assert_eq!(did(&world), "", "{words}");
    }
    fs::write(world.path("foreign"), "").unwrap();
    install(&world, &address, DISK).fails(1, &["/dev/sda is not empty (ext4)"]);
    world.edit("recipes/small.yaml", INSTALL, &format!("{INSTALL}, wipe: true"));
    world.build();
    fs::write(world.path("broken"), "").unwrap();
    install(&world, &address, DISK).fails(1, &["flatcar-install failed on /dev/sda"]);
    assert!(!world.path("oem").exists(), "a failed installation is not marked");
    assert_eq!(did(&world), "", "what was not written to is not wiped");
    fs::remove_file(world.path("broken")).unwrap();
    install(&world, &address, DISK).ok();
}

/// flatcar/Flatcar#332, flatcar/init#39 and #134, coreos/bugs#152: Flatcar activates what it finds on a disk.
#[test]
fn what_an_earlier_life_made_of_the_disk_alone_is_taken_apart_where_the_recipe_says_wipe() {
    let world = world(", wipe: true");
    world.build();
    let (_server, address) = Server::prebake(&world.path("output/small/current"));
    let parts = |rows: &str| fs::write(world.path("parts"), rows).unwrap();
    let volumes = "/dev/sda /dev/sda2 part /dev/sda
/dev/sda /dev/md0 raid1 /dev/sda
/dev/sda /dev/mapper/luks crypt /dev/sda
/dev/sda /dev/mapper/vg0-root lvm /dev/sda
/dev/sda /dev/mapper/vg0-var lvm /dev/sda
";
    parts(volumes);
    install(&world, &address, DISK).ok();
    let taken =
        "vgchange -an vg0\ncryptsetup close luks\nmdadm --stop /dev/md0\nflatcar-install -d /dev/sda ";
    assert!(did(&world).starts_with(taken), "{}", did(&world));

    fs::remove_dir_all(world.path("oem")).unwrap();
    parts("/dev/sda /dev/md0 raid1 /dev/sda /dev/sdb\n");
    let other = "/dev/sdb|disk|9000000000|0|Other|2|\n";
    let refused = install(&world, &address, &format!("{DISK}{other}"));
    refused.fails(1, &["/dev/md0 (raid1) lies on /dev/sdb, too", "`mdadm --stop DEVICE`"]);
    parts("/dev/sda /dev/mapper/vg0-root lvm /dev/sda\n/dev/sdb /dev/sdb1 part /dev/sdb\n");
    fs::write(world.path("pvs"), "  /dev/sda2\n  /dev/sdb1\n").unwrap();
    let refused = install(&world, &address, &format!("{DISK}{other}"));
    refused.fails(1, &["volume group vg0 (lvm) lies on /dev/sdb, too"]);
    fs::remove_file(world.path("pvs")).unwrap();
    assert_eq!(did(&world), "", "nothing was touched");

    // What does not let go is named, with what a person can do.
    fs::write(world.path("stuck"), "").unwrap();
    parts(volumes);
    install(&world, &address, DISK).fails(1, &["is part of something larger (lvm)", "`vgchange -an GROUP`"]);
    assert!(!did(&world).contains("flatcar-install"), "{}", did(&world));
}

#[test]
fn what_a_disk_is_part_of_stays_without_wipe() {
    let world = world("");
    world.build();
    let (_server, address) = Server::prebake(&world.path("output/small/current"));
    fs::write(world.path("parts"), "/dev/sda /dev/mapper/vg0-root lvm /dev/sda\n").unwrap();
    let words = ["is part of something larger (lvm), and the recipe does not say `wipe: true`"];
    install(&world, &address, DISK).fails(1, &words);
    assert_eq!(did(&world), "");
}

/// flatcar/init#24, coreos/bugs#2556: lsblk lists each way to the disk as a disk.
#[test]
fn of_a_disk_with_several_ways_to_it_the_map_is_chosen_and_none_of_the_ways() {
    let world = world("");
    world.build();
    let (_server, address) = Server::prebake(&world.path("output/small/current"));
    let ways = format!("{DISK}{}", DISK.replace("sda", "sdb"));
    fs::write(world.path("parts"), "/dev/sda /dev/mapper/mpatha mpath\n/dev/sdb /dev/mapper/mpatha mpath\n")
        .unwrap();
    install(&world, &address, &ways).ok();
    assert!(did(&world).starts_with("flatcar-install -d /dev/mapper/mpatha "), "{}", did(&world));
}

/// NVIDIA/deepops#29, mr-provisioner#56: what boots the machine does not ask this server, whose word that it is installed
/// changes nothing.
#[test]
fn an_installer_that_is_booted_again_and_again_stops_and_page_status_and_log_say_so() {
    let world = world("");
    world.build();
    let (mut server, address) = Server::prebake(&world.path("output/small/current"));
    booted_over(&world, &address, "52:54:00:00:00:01");
    install(&world, &address, DISK).ok();
    let once_more = install(&world, &address, DISK).ok();
    assert!(
        once_more.stderr.contains("holds generation 1 already; nothing is installed"),
        "{}",
        once_more.stderr
    );
    assert_eq!(did(&world), "systemctl reboot\n", "a server may have forgotten");
    let stopped = install(&world, &address, DISK).ok();
    assert_eq!(did(&world), "", "{}", stopped.stderr);
    assert!(
        stopped.stderr.contains("boots its installer again and again, so it is not rebooted"),
        "{}",
        stopped.stderr
    );
    server.says("warning: 127.0.0.1: 52:54:00:00:00:01: installer loop: it reported 3 times");
    let status: Value = serde_json::from_str(&get(&address, "/status", "").text()).unwrap();
    assert_eq!(status["machines"][0]["troubles"][0]["kind"], "installer-loop", "{status:#}");
    assert_eq!(status["machines"][0]["state"], "stuck");
}

#[test]
fn firmware_is_told_once_to_boot_the_disk_first_and_not_rebooted_where_it_does_not() {
    let world = world("");
    world.build();
    let (_server, address) = Server::prebake(&world.path("output/small/current"));
    fs::create_dir(world.path("efi")).unwrap();
    let entries =
        |text: &str| fs::write(world.path("entries"), format!("BootCurrent: 0001\n{text}\n")).unwrap();
    let create = "efibootmgr --quiet --create --disk /dev/sda --part 1 --label Flatcar --loader \\EFI\\BOOT\\BOOTX64.EFI\n";
    entries("BootOrder: 0001\nBoot0001* UEFI PXEv4");
    install(&world, &address, DISK).ok();
    assert!(did(&world).ends_with(&format!("{create}systemctl reboot\n")), "{}", did(&world));
    // Another installation: what the entry named is gone.
    fs::remove_dir_all(world.path("oem")).unwrap();
    entries("BootOrder: 0003,0001\nBoot0001* UEFI PXEv4\nBoot0003* Flatcar\tHD(1,GPT,x)");
    install(&world, &address, DISK).ok();
    let anew = format!("efibootmgr --quiet --bootnum 0003 --delete-bootnum\n{create}systemctl reboot\n");
    assert!(did(&world).ends_with(&anew), "{}", did(&world));
    // The network came first, and comes first though it was told otherwise.
    entries("BootOrder: 0001,0002,0003\nBoot0001* UEFI PXEv4\nBoot0003* Flatcar\tHD(1,GPT,x)");
    install(&world, &address, DISK).ok();
    assert_eq!(did(&world), "efibootmgr --quiet --bootorder 0003,0001,0002\nsystemctl reboot\n");
    entries("BootOrder: 0003,0001\nBoot0001* UEFI PXEv4\nBoot0003* Flatcar\tHD(1,GPT,x)");
    let stays = install(&world, &address, DISK).ok();
    assert!(stays.stderr.contains("nothing tells this machine to boot /dev/sda"), "{}", stays.stderr);
    assert_eq!(did(&world), "");
}

#[test]
fn what_a_failed_installation_wrote_is_wiped_and_one_that_was_cut_short_is_begun_again() {
    let world = world("");
    world.build();
    let (_server, address) = Server::prebake(&world.path("output/small/current"));
    fs::write(world.path("torn"), "").unwrap();
    install(&world, &address, DISK).fails(1, &["flatcar-install failed on /dev/sda"]);
    assert_eq!(did(&world), "wipefs --quiet --all --force /dev/sda\n");
    fs::remove_file(world.path("torn")).unwrap();

    // After a power cut the disk holds what Flatcar's image begins with.
    fs::write(world.path("foreign"), "").unwrap();
    fs::write(world.path("guid"), "8c1f6b0e-2f0c-4b52-9d0c-9f6d0a7f8f11\n").unwrap();
    install(&world, &address, DISK).fails(1, &["/dev/sda is not empty (ext4)"]);
    fs::write(world.path("guid"), "00000000-0000-0000-0000-000000000001\n").unwrap();
    install(&world, &address, DISK).ok();
    assert!(did(&world).starts_with("flatcar-install"));
}

#[test]
fn options_that_cannot_work_are_refused_where_they_stand() {
    for (from, to, words) in [
        (INSTALL, "install: {min_size: 1GiB", "`install` needs a `device`, `model` or `serial`"),
        (INSTALL, "install: {device: sda", "`sda` is not a device"),
        (INSTALL, "install: {device: /dev/../etc/x", "`/dev/../etc/x` is not a device"),
        (INSTALL, "install: {model: \"it's\"", "`model` must be plain text without quotes"),
        (INSTALL, "install: {modell: x", "did you mean `model`?"),
        ("disk: {}", "ipxe: {}", "`install` needs files that only the output `disk` publishes"),
    ] {
        let world = world("");
        world.edit("recipes/small.yaml", from, to);
        world.prebake(&["build", "recipes/small.yaml"]).fails(3, &[words, "recipes/small.yaml:10:"]);
    }
}
