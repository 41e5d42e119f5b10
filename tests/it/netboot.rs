//! Machines without anything of their own boot from the network: firmware, our DHCP, our TFTP, iPXE, our HTTP.
//!
//! There is no BIOS network ROM here that is not an iPXE. So a BIOS is shown in two halves: QEMU's iPXE asks our proxy, and an
//! iPXE without a network config fetches `undionly.kpxe` by our TFTP, which then asks our DHCP. What a BIOS' own ROM sends
//! and gets is in the unit tests of `serve::dhcp`.

use std::fs;

use crate::boots::{PATIENCE, boots, lab};
use crate::http::Server;
use crate::lab::machine::{self, Machine};
use crate::lab::network::{BRIDGE, Network};
use crate::world::World;

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

#[test]
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

    let script = "#!ipxe\nifopen net0\nset net0/ip 10.77.0.60\nset net0/netmask 255.255.255.0\nchain tftp://10.77.0.1/undionly.kpxe\n";
    let first = world.path("first.ipxe");
    fs::write(&first, script).unwrap();
    let bios = Machine::of_files("/usr/lib/ipxe/ipxe.lkrn".as_ref(), &first, "", &world.path("bios.console"));
    let bios = bios.without_rom().plug(network.plug()).mac("52:54:00:00:00:09").start().unwrap();
    server.says_within(PATIENCE, "10.77.0.60 TFTP undionly.kpxe");
    server.says_within(PATIENCE, "52:54:00:00:00:09 DHCP ack iPXE address=10.77.0.100");
    let asked = server.says_within(PATIENCE, "GET /ipxe 200");
    assert!(asked.contains("arch=i386") && asked.contains("group=default"), "{asked}");
    drop(bios);
}

#[test]
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
