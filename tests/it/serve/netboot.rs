//! Machines without anything of their own boot from the network: firmware, our DHCP, our TFTP, iPXE, our HTTP.
//!
//! There is no BIOS network ROM here that is not an iPXE. So a BIOS is shown in two halves: QEMU's iPXE asks our proxy, and an
//! iPXE without a network config fetches `undionly.kpxe` by our TFTP, which then asks our DHCP. What a BIOS' own ROM sends
//! and gets is in the unit tests of `serve::dhcp`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bake::boots::{PATIENCE, boots, lab};
use crate::lab::cluster::debian;
use crate::lab::machine::{self, Machine};
use crate::lab::network::{BRIDGE, Network};
use crate::lab::release;
use crate::world::World;
use crate::world::http::Server;

/// A server in the network.
fn serve(network: &Network, world: &World, tree: &str, flags: &[&str]) -> Server {
    let mut command = network.command(env!("CARGO_BIN_EXE_prebake"));
    command
        .args(["serve", "--address", "0.0.0.0:8080", "--interface", BRIDGE])
        .args(flags)
        .arg(world.path(tree));
    let mut server = Server::start(&mut command);
    server.says("serving ");
    server
}

/// dnsmasq that gives addresses and nothing else.
fn plain_dhcp(network: &Network, world: &World) -> Server {
    let mut command = network.command("dnsmasq");
    command.args(["--no-daemon", "--port=0", "--bind-interfaces", "--conf-file=/dev/null", "--log-dhcp"]);
    command.arg(format!("--interface={BRIDGE}")).arg("--dhcp-range=10.77.0.50,10.77.0.60,255.255.255.0,1h");
    command.arg(format!("--dhcp-leasefile={}", world.path("leases").display()));
    let mut server = Server::start(&mut command);
    server.says("DHCP, IP range");
    server
}

/// A BIOS machine that gets an address so, and loads `undionly.kpxe` by our TFTP, as a network card's own ROM would.
fn bios(network: &Network, world: &World, address: &str) -> machine::Builder {
    let first = world.path("first.ipxe");
    fs::write(&first, format!("#!ipxe\n{address}\nchain tftp://10.77.0.1/undionly.kpxe\n")).unwrap();
    let bios = Machine::of_files("/usr/lib/ipxe/ipxe.lkrn".as_ref(), &first, "", &world.path("bios.console"));
    bios.without_rom().plug(network.plug())
}

/// What the shipped configs need of GRUB, and how it comes by them.
const GRUB_MODULES: &str = "normal configfile linux test regexp smbios echo minicmd net tftp http";
/// An argument that means something else to GRUB's script language, and has to arrive as it is.
const ODD: &str = "odd=a&b;c{d}|$e*#f";

/// GRUB itself in the place of both loaders that firmware is given: `grub-mkimage` of Debian's modules, as `grub-mknetdir`
/// calls it.
fn make_grub(world: &World, prefix: &str) {
    fs::create_dir(world.path("grub")).unwrap();
    for (package, modules, format, more, loader) in [
        ("grub-pc-bin", "i386-pc", "i386-pc-pxe", "pxe", "undionly.kpxe"),
        ("grub-efi-amd64-bin", "x86_64-efi", "x86_64-efi", "efinet", "ipxe.efi"),
    ] {
        let modules = debian(package).unwrap().join("usr/lib/grub").join(modules);
        let mut mkimage = Command::new("grub-mkimage");
        mkimage
            .args(["-O", format, "-p", prefix, "-d"])
            .arg(modules)
            .arg("-o")
            .arg(world.path("grub").join(loader));
        let made = mkimage.args(GRUB_MODULES.split(' ')).arg(more).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

/// The small world with the lab's kernel and, for an image, its bootengine: a BIOS' GRUB takes a minute for each 10 MB.
fn small_grub_world(options: &str, prefix: &str) -> World {
    let world = World::new();
    let release = release::build(&world.path("lab")).unwrap();
    let kernel = release.server.join("stable/amd64-usr/4593.2.5/flatcar_production_pxe.vmlinuz");
    world.release_file("flatcar_production_pxe.vmlinuz", &fs::read(kernel).unwrap());
    let image = fs::read(release.harness.join("bootengine.cpio.gz")).unwrap();
    world.release_file("flatcar_production_pxe_image.cpio.gz", &image);
    let args = format!("'console=ttyS0,115200n8', no_timer_check, '{ODD}'");
    world.edit("recipes/small.yaml", "console=ttyS0", &args);
    world.edit(
        "recipes/small.yaml",
        "ignition: [worker.ign, control.ign]",
        &format!("ignition: [worker.ign, control.ign]\n    kernel_args: [{args}]"),
    );
    world.edit(
        "recipes/small.yaml",
        "default_profile:",
        &format!("outputs: {{pxe: {{}}, grub: {{{options}}}}}\ndefault_profile:"),
    );
    world.build();
    make_grub(&world, prefix);
    world
}

/// A server whose loaders are GRUB, at the port that GRUB 2.06 asks at.
fn serve_grub(network: &Network, world: &World, tree: &str) -> Server {
    let mut command = network.command(env!("CARGO_BIN_EXE_prebake"));
    command.args(["serve", "--address", "0.0.0.0:80", "--interface", BRIDGE, "--dhcp", "--tftp"]);
    command.args(["--dhcp-range", "10.77.0.100-10.77.0.110", "--ipxe-dir"]).arg(world.path("grub"));
    let mut server = Server::start(command.arg(world.path(tree)));
    server.says("serving ");
    server
}

/// Follows a machine until the kernel runs with its arguments and has unpacked all initrds.
fn starts(machine: &mut Machine) {
    for pattern in ["Linux version", ODD, "Freeing initrd memory"] {
        let event = machine.wait_for(&[pattern], PATIENCE);
        let event = event.unwrap_or_else(|stall| panic!("{stall}\n{}", machine.last_lines(40).join("\n")));
        eprintln!("{:5.1} s  {}", event.after.as_secs_f64(), event.line);
    }
}

/// Reads the log until files have left whole, in whatever order: GRUB opens all initrds at once.
#[track_caller]
fn sends(server: &mut Server, how: &str, tree: &Path, paths: &[&str]) {
    let mut awaited: Vec<&str> = paths.to_vec();
    while !awaited.is_empty() {
        let line = server.says_within(PATIENCE, &format!("{how} /"));
        awaited.retain(|path| {
            let is_it = line.contains(&format!("{how} /{path} "));
            let size = fs::metadata(tree.join(path)).unwrap().len();
            assert!(!is_it || line.contains(&format!("{size}B ")) && !line.contains("aborted"), "{line}");
            !is_it
        });
    }
}

const KERNEL: &str = "assets/flatcar/4593.2.5/flatcar_production_pxe.vmlinuz";
const IMAGE: &str = "assets/flatcar/4593.2.5/flatcar_production_pxe_image.cpio.gz";

/// One UEFI machine that a node names, and one BIOS machine that none does and that is shown the menu.
fn uefi_and_bios_start_by_grub(world: &World, how: &str) {
    let _turn = machine::turn();
    let network = Network::new();
    let tree = world.path("output/small/current");
    let mut server = serve_grub(&network, world, "output/small/current");

    let uefi = Machine::on(network.plug(), &world.path("uefi.console")).without_rom().uefi();
    let mut uefi = uefi.mac("52:54:00:00:00:02").start().unwrap();
    server.says_within(PATIENCE, "TFTP ipxe.efi");
    server.says_within(PATIENCE, "boot/grub/grub.cfg-01-52-54-00-00-00-02 ");
    sends(&mut server, how, &tree, &[KERNEL, IMAGE, "assets/overlay/control+n2.cpio"]);
    starts(&mut uefi);
    drop(uefi);

    let mut bios = bios(&network, world, "dhcp").mac("52:54:00:00:00:09").start().unwrap();
    server.says_within(PATIENCE, "TFTP undionly.kpxe");
    sends(&mut server, how, &tree, &["boot/grub/grub.cfg"]);
    let menu = bios.wait_for(&["Boot from the local disk"], PATIENCE);
    menu.unwrap_or_else(|stall| panic!("{stall}\n{}", bios.last_lines(40).join("\n")));
    sends(&mut server, how, &tree, &[KERNEL, IMAGE, "assets/overlay/worker.cpio"]);
    starts(&mut bios);
}

// PartialVolume/shredos.x86_64#147, altugbakan/rs-tftpd#24.
#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn real_grub_boots_the_shipped_config_by_our_tftp_on_bios_and_uefi() {
    uefi_and_bios_start_by_grub(&small_grub_world("", "/boot/grub"), "TFTP");
}

// rhboot/grub2#216.
#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn real_grub_boots_the_shipped_config_by_our_http_on_bios_and_uefi() {
    let options = "base_url: 'http://10.77.0.1'";
    uefi_and_bios_start_by_grub(&small_grub_world(options, "(http,10.77.0.1)/boot/grub"), "GET");
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_uefi_machine_boots_by_real_grub_and_our_http_to_what_its_config_says() {
    let world = lab("grub: {base_url: 'http://10.77.0.1'}");
    make_grub(&world, "(http,10.77.0.1)/boot/grub");
    let _turn = machine::turn();
    let network = Network::new();
    let mut server = serve_grub(&network, &world, "output/lab/current");
    let uefi = Machine::on(network.plug(), &world.path("uefi.console")).without_rom().uefi();
    let uefi = uefi.mac("52:54:00:00:00:02").start().unwrap();
    server.says_within(PATIENCE, "TFTP ipxe.efi");
    server.says_within(PATIENCE, "GET /boot/grub/grub.cfg-01-52-54-00-00-00-02 200");
    let paths = [KERNEL, IMAGE, "assets/early/bootengine.cpio.gz", "assets/overlay/control.cpio"];
    sends(&mut server, "GET", &world.path("output/lab/current"), &paths);
    boots(uefi, "control");
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn uefi_and_bios_machines_boot_by_our_proxy_beside_a_plain_dhcp_server() {
    let world = lab("matchbox: {}");
    let _turn = machine::turn();
    let network = Network::new();
    let _plain = plain_dhcp(&network, &world);
    let mut server = serve(&network, &world, "output/lab/current", &["--proxy-dhcp", "--tftp"]);

    // OVMF has a PXE client of its own, which knows nothing of HTTP scripts.
    let uefi = Machine::on(network.plug(), &world.path("uefi.console")).without_rom().uefi();
    let uefi = uefi.mac("52:54:00:00:00:01").start().unwrap();
    server.says_within(PATIENCE, "DHCP offer UEFI x86-64 file=ipxe.efi");
    server.says_within(PATIENCE, "DHCP ack UEFI x86-64 file=ipxe.efi");
    server.says_within(PATIENCE, "TFTP ipxe.efi");
    server.says_within(PATIENCE, "DHCP offer iPXE file=http://10.77.0.1:8080/boot.ipxe");
    server.says_within(PATIENCE, "GET /ipxe 200");
    boots(uefi, "worker");

    let bios = Machine::on(network.plug(), &world.path("bios.console")).mac("52:54:00:00:00:02");
    let bios = bios.start().unwrap();
    server.says_within(PATIENCE, "52:54:00:00:00:02 DHCP offer iPXE file=http://10.77.0.1:8080/boot.ipxe");
    boots(bios, "control");
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn uefi_and_bios_machines_reach_our_script_with_addresses_from_our_own_dhcp() {
    let world = World::new();
    world.edit("recipes/small.yaml", "profile: worker}", "profile: worker, ip: 10.77.0.11/24}");
    world.build();
    let _turn = machine::turn();
    let network = Network::new();
    let range = ["--dhcp", "--dhcp-range", "10.77.0.100-10.77.0.110", "--tftp"];
    let mut server = serve(&network, &world, "output/small/current", &range);

    let uefi = Machine::on(network.plug(), &world.path("uefi.console")).without_rom().uefi();
    let uuid = "01020304-0506-0708-090a-0b0c0d0e0f10";
    let uefi = uefi.mac("52:54:00:00:00:01").uuid(uuid).start().unwrap();
    let offer = server.says_within(PATIENCE, "DHCP offer UEFI x86-64");
    assert!(offer.ends_with(&format!("address=10.77.0.11 file=ipxe.efi uuid={uuid}")), "{offer}");
    server.says_within(PATIENCE, "TFTP ipxe.efi");
    server.says_within(PATIENCE, "DHCP ack iPXE address=10.77.0.11 file=http://10.77.0.1:8080/boot.ipxe");
    let asked = server.says_within(PATIENCE, "GET /ipxe 200");
    assert!(asked.contains("10.77.0.11 GET") && asked.contains("group=n1"), "{asked}");
    drop(uefi);

    let address = "ifopen net0\nset net0/ip 10.77.0.60\nset net0/netmask 255.255.255.0";
    let bios = bios(&network, &world, address).mac("52:54:00:00:00:09").start().unwrap();
    server.says_within(PATIENCE, "10.77.0.60 TFTP undionly.kpxe");
    server.says_within(PATIENCE, "52:54:00:00:00:09 DHCP ack iPXE address=10.77.0.100");
    let asked = server.says_within(PATIENCE, "GET /ipxe 200");
    assert!(asked.contains("arch=i386") && asked.contains("group=default"), "{asked}");
    drop(bios);
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_uefi_machine_without_tftp_boots_by_http_from_its_first_byte_on() {
    let world = World::new();
    world.build();
    let _turn = machine::turn();
    let network = Network::new();
    let range = ["--dhcp", "--dhcp-range", "10.77.0.100-10.77.0.110"];
    let mut server = serve(&network, &world, "output/small/current", &range);
    let machine = Machine::on(network.plug(), &world.path("console")).without_rom().uefi();
    let _machine = machine.mac("52:54:00:00:00:01").start().unwrap();
    server.says_within(
        PATIENCE,
        "DHCP ack UEFI x86-64 address=10.77.0.100 file=http://10.77.0.1:8080/loaders/ipxe.efi",
    );
    server.says_within(PATIENCE, "GET /loaders/ipxe.efi 200");
    server.says_within(PATIENCE, "DHCP ack iPXE");
    server.says_within(PATIENCE, "GET /ipxe 200");
}
