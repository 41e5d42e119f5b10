//! DHCP in a network namespace: real clients get their leases, real servers are stood beside, and dnsmasq reads its config.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::lab::network::{ADDRESS, BRIDGE, Client, Network};
use crate::world::http::Server;
use crate::world::{Run, World};

/// Prints what BusyBox' client was told.
const UDHCPC_SCRIPT: &str = "#!/bin/sh\n[ \"$1\" = bound ] && env\nexit 0\n";
/// The same of ISC's.
const DHCLIENT_SCRIPT: &str = "#!/bin/sh\n[ \"$reason\" = BOUND ] && env >&2\nexit 0\n";

/// The small world, its node n1 with an address of the test's network, built.
fn world() -> World {
    let world = World::new();
    world.edit("recipes/small.yaml", "profile: worker}", "profile: worker, ip: 10.77.0.11/24}");
    for (name, script) in [("udhcpc.sh", UDHCPC_SCRIPT), ("dhclient.sh", DHCLIENT_SCRIPT)] {
        fs::write(world.path(name), script).unwrap();
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(world.path("ipxe")).unwrap();
    fs::write(world.path("ipxe/undionly.kpxe"), "bios").unwrap();
    world.build();
    world
}

/// The flags that every server here has, and the tree.
fn args(world: &World, flags: &[&str]) -> Vec<String> {
    let tree = world.path("output/small/current").display().to_string();
    let loaders = world.path("ipxe").display().to_string();
    let fixed = ["serve", &tree, "--address", "0.0.0.0:8080", "--interface", BRIDGE, "--ipxe-dir", &loaders];
    fixed.iter().chain(flags).map(|arg| (*arg).to_owned()).collect()
}

/// `prebake serve` on the bridge.
fn serve(network: &Network, world: &World, flags: &[&str]) -> Server {
    let mut server = Server::start(network.command(env!("CARGO_BIN_EXE_prebake")).args(args(world, flags)));
    // What is wrong with the network comes before this line.
    server.says("confined");
    server
}

/// Asks as often as is enough to hear nothing; who is to be answered asks for a minute.
const BRIEFLY: &[&str] = &["-t", "5"];

/// What one run of BusyBox' client was told: lines of `name=value`.
fn udhcpc(world: &World, client: &Client, more: &[&str]) -> Output {
    let script = world.path("udhcpc.sh").display().to_string();
    let args = ["udhcpc", "-f", "-n", "-q", "-t", "60", "-T", "1", "-i", "eth0", "-s", &script];
    client.command("busybox").args(args).args(more).output().unwrap()
}

#[track_caller]
fn told(output: &Output, lines: &[&str]) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let all = text(&output.stdout) + &text(&output.stderr);
    for line in lines {
        assert!(all.lines().any(|told| told == *line), "no {line} in:\n{all}");
    }
}

const FULL: [&str; 9] = [
    "--dhcp",
    "--dhcp-range",
    "10.77.0.100-10.77.0.101",
    "--gateway",
    "10.77.0.254",
    "--dns",
    "10.77.0.53,10.77.0.54",
    "--domain",
    "lab.example",
];

#[test]
fn real_clients_get_their_leases_from_the_recipe_and_others_from_the_range() {
    let (world, network) = (world(), Network::new());
    let mut server = serve(&network, &world, &FULL);

    let node = network.client("52:54:00:00:00:01");
    let lease = udhcpc(&world, &node, &[]);
    let network_part =
        ["subnet=255.255.255.0", "router=10.77.0.254", "dns=10.77.0.53 10.77.0.54", "domain=lab.example"];
    told(&lease, &["ip=10.77.0.11", "hostname=n1", "lease=43200", "serverid=10.77.0.1"]);
    told(&lease, &network_part);

    let leases = world.path("dhclient.leases").display().to_string();
    let (script, pid) =
        (world.path("dhclient.sh").display().to_string(), world.path("pid").display().to_string());
    let args = ["-1", "-d", "-sf", &script, "-lf", &leases, "-pf", &pid, "-cf", "/dev/null", "eth0"];
    // It stays in the foreground with its lease until it is ended.
    let ask =
        |seconds: &str| node.command("timeout").args([seconds, "dhclient"]).args(args).output().unwrap();
    let has_lease = |run: &Output| String::from_utf8_lossy(&run.stderr).contains("new_ip_address=");
    let mut isc = ask("20");
    if !has_lease(&isc) {
        isc = ask("60");
    }
    isc.stdout.clear();
    told(&isc, &["new_ip_address=10.77.0.11", "new_host_name=n1", "new_domain_name=lab.example"]);

    let [first, second, third] =
        ["aa", "bb", "cc"].map(|last| network.client(&format!("52:54:00:00:00:{last}")));
    told(&udhcpc(&world, &first, &[]), &["ip=10.77.0.100"]);
    told(&udhcpc(&world, &first, &["-x", "0x3d:0001020304"]), &["ip=10.77.0.100"]);
    told(&udhcpc(&world, &second, &[]), &["ip=10.77.0.101"]);
    server.says("52:54:00:00:00:bb DHCP ack system address=10.77.0.101");
    let none = udhcpc(&world, &third, BRIEFLY);
    assert!(!none.status.success(), "the range has two: {}", String::from_utf8_lossy(&none.stdout));
}

#[test]
fn firmware_is_told_what_to_load_and_ipxe_the_script() {
    let (world, network) = (world(), Network::new());
    let _server = serve(&network, &world, &[&FULL[..], &["--tftp"]].concat());
    let node = network.client("52:54:00:00:00:01");
    // udhcpc prints `siaddr` and `boot_file` of the packet itself.
    let bios = udhcpc(&world, &node, &["-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000"]);
    told(&bios, &["ip=10.77.0.11", &format!("siaddr={ADDRESS}"), "boot_file=undionly.kpxe"]);
    let ipxe = udhcpc(&world, &node, &["-V", "PXEClient", "-x", "0x5d:0000", "-x", "0x4d:69505845"]);
    told(&ipxe, &["boot_file=http://10.77.0.1:8080/boot.ipxe"]);
}

/// The small world without groups: for GRUB alone, its node n1 with an address of the test's network.
fn without_groups() -> World {
    let world = world();
    let outputs = "outputs: {pxe: {}, grub: {}}\ndefault_profile:";
    world.edit("recipes/small.yaml", "default_profile:", outputs);
    world.build();
    world
}

#[test]
fn a_node_has_its_address_and_name_whatever_loaders_its_tree_is_for() {
    let (world, network) = (without_groups(), Network::new());
    let mut server = serve(&network, &world, &FULL);
    assert!(server.log.iter().any(|line| line.contains("0 profiles, 0 groups")), "{:?}", server.log);
    told(&udhcpc(&world, &network.client("52:54:00:00:00:01"), &[]), &["ip=10.77.0.11", "hostname=n1"]);
    told(&udhcpc(&world, &network.client("52:54:00:00:00:02"), &[]), &["ip=10.77.0.100", "hostname=n2"]);
    server.says("52:54:00:00:00:01 DHCP ack system address=10.77.0.11");
    // Only where groups do not say it.
    assert!(world.path("output/small/current/boot/nodes.json").exists());
    let with_groups = self::world();
    assert!(!with_groups.path("output/small/current/boot/nodes.json").exists());
}

#[test]
fn a_node_of_another_network_is_told_at_start_and_when_it_asks() {
    let (world, network) = (world(), Network::new());
    world.edit("recipes/small.yaml", "10.77.0.11/24", "10.99.0.11/24");
    world.build();
    let mut server = serve(&network, &world, &FULL);
    let at_start = "node n1: 10.99.0.11 is not in 10.77.0.0/24";
    assert!(server.log.iter().any(|line| line.contains(at_start)), "{:?}", server.log);
    let none = udhcpc(&world, &network.client("52:54:00:00:00:01"), BRIEFLY);
    assert!(!none.status.success(), "{}", String::from_utf8_lossy(&none.stdout));
    server.says("52:54:00:00:00:01 DHCP not answered system: node n1 has the address 10.99.0.11, which is not in 10.77.0.0/24");
}

// flatcar/Flatcar#1636, siderolabs/omni-infra-provider-bare-metal#48: real U-Boot 2023.01's class and number.
#[test]
fn uboot_is_told_the_server_and_firmware_that_nothing_is_for_is_logged() {
    let (world, network) = (world(), Network::new());
    fs::write(world.path("ipxe/ipxe-arm64.efi"), "arm64").unwrap();
    let mut server = serve(&network, &world, &[&FULL[..], &["--tftp"]].concat());
    let node = network.client("52:54:00:00:00:01");
    let uboot = udhcpc(&world, &node, &["-V", "U-Boot.armv8", "-x", "0x5d:0016"]);
    let siaddr = format!("siaddr={ADDRESS}");
    told(&uboot, &["ip=10.77.0.11", &siaddr, "boot_file=ipxe-arm64.efi", &format!("tftp={ADDRESS}")]);
    server.says("52:54:00:00:00:01 DHCP ack U-Boot address=10.77.0.11 file=ipxe-arm64.efi");
    let riscv = udhcpc(&world, &node, &["-V", "PXEClient:Arch:00027", "-x", "0x5d:001b"]);
    told(&riscv, &["ip=10.77.0.11"]);
    server.says(
        "UEFI RISC-V 64 address=10.77.0.11, nothing to boot: there is no boot file for its architecture, 27",
    );
    server.end();

    let mut server = serve(&network, &world, &["--proxy-dhcp", "--tftp"]);
    let _ = udhcpc(&world, &node, &[BRIEFLY, &["-V", "U-Boot.armv8", "-x", "0x5d:0016"]].concat());
    server.says("52:54:00:00:00:01 DHCP offer U-Boot file=ipxe-arm64.efi");
    let other = network.client("52:54:00:00:00:09");
    let _ = udhcpc(&world, &other, &[BRIEFLY, &["-V", "PXEClient:Arch:00027", "-x", "0x5d:001b"]].concat());
    server.says(
        "52:54:00:00:00:09 DHCP not answered UEFI RISC-V 64: there is no boot file for its architecture",
    );
}

#[test]
fn a_proxy_gives_no_addresses_and_leaves_those_of_the_other_server_alone() {
    let (world, network) = (world(), Network::new());
    let mut server = serve(&network, &world, &["--proxy-dhcp", "--tftp"]);
    let node = network.client("52:54:00:00:00:01");
    let alone =
        udhcpc(&world, &node, &[BRIEFLY, &["-V", "PXEClient:Arch:00000", "-x", "0x5d:0000"]].concat());
    assert!(!alone.status.success(), "a lease from nobody: {}", String::from_utf8_lossy(&alone.stdout));
    server.says("52:54:00:00:00:01 DHCP offer BIOS file=undionly.kpxe");

    let mut other = network.command("dnsmasq");
    other.args(["--no-daemon", "--port=0", "--bind-interfaces", "--conf-file=/dev/null", "--log-dhcp"]);
    other.arg(format!("--interface={BRIDGE}")).arg("--dhcp-range=10.77.0.50,10.77.0.59,255.255.255.0,1h");
    other.arg(format!("--dhcp-leasefile={}", world.path("leases").display()));
    let mut other = Server::start(&mut other);
    other.says("DHCP, IP range");
    // Whoever does not boot never hears of the proxy.
    let lease = udhcpc(&world, &node, &[]);
    told(&lease, &[&format!("serverid={ADDRESS}"), "lease=3600"]);
    let lease = String::from_utf8_lossy(&lease.stdout).into_owned();
    assert!(lease.contains("\nip=10.77.0.5") && !lease.contains("boot_file"), "{lease}");
    assert!(!server.end().contains("DHCP ack"), "an address is the other's to give");
}

#[test]
fn nothing_is_answered_on_other_networks() {
    let (world, network) = (world(), Network::new());
    let _server = serve(&network, &world, &FULL);
    let node = network.client("52:54:00:00:00:01");
    network.bridge("other0", "10.78.0.1/24");
    let elsewhere = network.client_on("other0", "52:54:00:00:00:01");
    let lease = udhcpc(&world, &elsewhere, BRIEFLY);
    assert!(!lease.status.success(), "{}", String::from_utf8_lossy(&lease.stdout));
    told(&udhcpc(&world, &node, &[]), &["ip=10.77.0.11"]);
}

#[test]
fn flags_that_cannot_work_are_refused() {
    let (world, network) = (world(), Network::new());
    let run = |flags: &[&str]| {
        // A server that does start would run for ever.
        let mut command = network.command("timeout");
        Run::of(
            command.args(["60", env!("CARGO_BIN_EXE_prebake")]).args(args(&world, flags)).output().unwrap(),
        )
    };
    run(&["--dhcp", "--proxy-dhcp"]).fails(2, &["cannot be used with"]);
    run(&["--proxy-dhcp", "--gateway", "10.77.0.1"]).fails(2, &["--proxy-dhcp", "--gateway"]);
    run(&["--gateway", "10.77.0.1"]).fails(2, &["--dhcp"]);
    run(&["--dhcp", "--dhcp-range", "10.78.0.1-10.78.0.9"])
        .fails(2, &["10.78.0.1 is not in 10.77.0.0/24", BRIDGE]);
    run(&["--dhcp", "--lease-time", "5s"]).fails(2, &["two minutes"]);
    let mut nowhere = network.command(env!("CARGO_BIN_EXE_prebake"));
    nowhere.args(["serve", "--dhcp", "--interface", "nowhere0"]).arg(world.path("output/small/current"));
    nowhere.args(["--address", "127.0.0.1:0"]);
    Run::of(nowhere.output().unwrap()).fails(1, &["nowhere0 cannot be used", "ip -4 address"]);
}

#[test]
fn dnsmasq_itself_takes_the_config_that_the_flags_mean() {
    let (world, network) = (world(), Network::new());
    for (flags, expected) in [
        (&["--proxy-dhcp", "--tftp", "--dnsmasq"][..], "dhcp-range=10.77.0.0,proxy,255.255.255.0\n"),
        (&[&FULL[..], &["--dnsmasq"]].concat(), "dhcp-host=52:54:00:00:00:01,10.77.0.11,n1\n"),
        (
            &[&FULL[..], &["--tftp", "--dnsmasq"]].concat(),
            "dhcp-boot=tag:ipxe,http://10.77.0.1:8080/boot.ipxe\n",
        ),
    ] {
        let mut command = network.command(env!("CARGO_BIN_EXE_prebake"));
        let printed = Run::of(command.args(args(&world, flags)).output().unwrap()).ok().stdout;
        assert!(printed.contains(expected), "{printed}");
        assert_eq!(printed.contains("enable-tftp"), flags.contains(&"--tftp"), "{printed}");
        let file = world.path("dnsmasq.conf");
        fs::write(&file, &printed).unwrap();
        let conf_file = format!("--conf-file={}", file.display());
        let judged = Run::of(Command::new("dnsmasq").args(["--test", &conf_file]).output().unwrap());
        assert_eq!((judged.code, judged.stderr.trim()), (Some(0), "dnsmasq: syntax check OK."), "{printed}");
    }
}
