//! Machines with several cards, and networks without a router: which machine a running system is, for its own units and for
//! the server. Shell scripts run in namespaces as they are shipped; the boots are whole, in QEMU.

use std::fs;
use std::path::Path;
use std::process::Command;

use prebake::tree::names::IPXE_LOCAL;
use serde_json::Value;

use crate::bake::boots::{PATIENCE, lab_with};
use crate::bake::install::{DISK, INSTALLER, did, install_by, stand_ins_for_disks, world};
use crate::judges;
use crate::lab::machine::{self, DISK_SERIAL, Machine};
use crate::lab::network::{BRIDGE, Client, Network};
use crate::world::http::{Server, get, send, soon};
use crate::world::{Run, World, repository};

const REPORT: &str = "sysext/report/files/usr/libexec/prebake-report";
const ROUTE: &str = "sysext/kubernetes-config/files/usr/libexec/prebake-route";
const URL: &str = "http://10.77.0.1:8080";
/// The card that n1 boots over, and another of it.
const BOOTED: &str = "52:54:00:00:00:01";
const OFFICE: &str = "02:00:00:00:00:99";
/// A second network, whose router is no way to the server.
const OFFICE_BRIDGE: &str = "br1";

/// A tree whose machines install themselves: n1 as control, whoever it does not know as worker.
fn inventory(prepare: impl FnOnce(&World)) -> World {
    let world = world("");
    world.edit("recipes/small.yaml", "profile: worker}", "profile: control}");
    world.edit(
        "recipes/small.yaml",
        "  control:\n",
        "  control:\n    install: {model: Lab Disk, min_size: 1GiB}\n",
    );
    prepare(&world);
    world.build();
    world
}

fn serve(network: &Network, world: &World) -> Server {
    let mut command = network.command(env!("CARGO_BIN_EXE_prebake"));
    command.args(["serve", "--address", "10.77.0.1:8080"]).arg(world.path("output/small/current"));
    let mut server = Server::start(&mut command);
    server.says("serving ");
    server
}

/// A machine of these cards, in order: which network, MAC address, addresses and routes.
fn machine(network: &Network, cards: &[(&str, &str, &[&str])]) -> Client {
    let (bridge, mac, _) = cards[0];
    let client = network.client_on(bridge, mac);
    for (index, (bridge, mac, _)) in cards.iter().enumerate().skip(1) {
        network.further(&client, bridge, &format!("eth{index}"), mac);
    }
    for (index, (.., words)) in cards.iter().enumerate() {
        words.iter().for_each(|words| client.ip(&words.replace("DEV", &format!("dev eth{index}"))));
    }
    client
}

/// Runs a script in a client, with these kernel arguments.
fn run(client: &Client, world: &World, script: &str, arguments: &[&str], cmdline: &str) -> Run {
    fs::write(world.path("arguments"), format!("{cmdline}\n")).unwrap();
    let mut command = client.command(repository(script).to_str().unwrap());
    command
        .env("PREBAKE_CMDLINE", world.path("arguments"))
        .env("PREBAKE_WAIT", "0")
        .env("PREBAKE_TRIES", "3");
    Run::of(command.args(arguments).output().unwrap())
}

/// B13 and B14: k3s-io/k3s#1144, rancher/rke2#1242, NVIDIA/deepops#29, cobbler/cobbler#1758, poseidon/matchbox#410.
#[test]
fn with_or_without_a_router_a_machine_is_the_card_that_leads_to_its_server_in_any_order() {
    let world = inventory(|_| {});
    let network = Network::new();
    network.bridge(OFFICE_BRIDGE, "192.0.2.1/24");
    let here: (&str, &str, &[&str]) = (BRIDGE, BOOTED, &["addr add 10.77.0.50/24 DEV"]);
    let office = |words: &'static [&'static str]| (OFFICE_BRIDGE, OFFICE, words);
    let routed = office(&["addr add 192.0.2.10/24 DEV", "route add default via 192.0.2.1 DEV"]);
    let unrouted = office(&["addr add 192.0.2.10/24 DEV"]);
    for cards in [&[here][..], &[here, routed], &[routed, here], &[here, unrouted], &[unrouted, here]] {
        let mut server = serve(&network, &world);
        let client = machine(&network, cards);
        run(&client, &world, REPORT, &["booted"], &format!("quiet prebake.url={URL}")).ok();
        let said = server.says("POST /report 204");
        assert!(said.contains(&format!("mac={BOOTED} stage=booted")), "{cards:?}: {said}");

        fs::write(world.path("cmdline"), format!("prebake.url={URL}\n")).unwrap();
        let command = client.command(repository(INSTALLER).to_str().unwrap());
        install_control(command, &world).ok();
        let said = server.says("GET /ignition 200");
        assert!(said.contains("group=n1.installed profile=control.installed"), "{cards:?}: {said}");
        let config = fs::read_to_string(world.path("oem/config.ign")).unwrap();
        assert!(config.contains("/etc/control"), "{cards:?}: {config}");
        assert!(did(&world).ends_with("systemctl reboot\n"));
        fs::remove_dir_all(world.path("oem")).unwrap();
        let status = client.command("curl").args(["--silent", &format!("{URL}/status")]).output().unwrap();
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        let machines = status["machines"].as_array().unwrap();
        assert_eq!(machines.len(), 1, "{status:#}");
        assert_eq!(
            (&machines[0]["mac"], &machines[0]["report"]["stage"]),
            (&BOOTED.into(), &"installed".into())
        );
    }
}

/// The installer of profile `control` on one disk.
fn install_control(command: Command, world: &World) -> Run {
    install_by(command, world, "", "control", DISK, &stand_ins_for_disks())
}

#[test]
fn the_loader_s_word_counts_more_than_any_route_and_is_read_in_each_of_its_forms() {
    let world = inventory(|_| {});
    let network = Network::new();
    let mut server = serve(&network, &world);
    let client = machine(&network, &[(BRIDGE, OFFICE, &["addr add 10.77.0.50/24 DEV"])]);
    for word in [
        "prebake.mac=52:54:00:00:00:01",
        "prebake.mac=52-54-00-00-00-01 BOOTIF=01-02-00-00-00-00-77",
        "BOOTIF=01-52-54-00-00-00-01",
        "BOOTIF=01-52:54:00:00:00:01",
        "prebake.mac= BOOTIF=01-52-54-00-00-00-01",
        "prebake.mac=$net_default_mac BOOTIF=01-52-54-00-00-00-01",
        "prebake.mac=02:00:00:00:00:11 prebake.mac=52:54:00:00:00:01",
    ] {
        run(&client, &world, REPORT, &["booted"], &format!("{word} prebake.url={URL}/ quiet")).ok();
        let said = server.says("POST /report 204");
        assert!(
            said.contains(&format!(" mac={BOOTED} ")) && said.contains(&format!("cards={OFFICE} ")),
            "{word}: {said}"
        );
    }
    for word in ["prebake.mac=nonsense", "BOOTIF=01-52", "prebake.macs=52:54:00:00:00:01"] {
        run(&client, &world, REPORT, &["booted"], &format!("{word} prebake.url={URL}")).ok();
        let said = server.says("POST /report 204");
        assert!(said.contains(&format!(" mac={OFFICE} ")), "{word}: {said}");
    }
}

#[test]
fn what_lies_over_a_card_is_known_by_the_card_s_own_address() {
    let world = inventory(|_| {});
    let network = Network::new();
    let mut server = serve(&network, &world);
    // A device of an address of its own on top of the card, as a VLAN, a bridge or a macvlan is.
    let client = machine(&network, &[(BRIDGE, BOOTED, &[])]);
    client.ip("link add link eth0 name up0 type macvlan mode bridge");
    client.ip("link set up0 address 02:00:00:00:00:77 up");
    client.ip("addr add 10.77.0.50/24 dev up0");
    run(&client, &world, REPORT, &["booted"], &format!("prebake.url={URL}")).ok();
    let said = server.says("POST /report 204");
    assert!(
        said.contains(&format!(" mac={BOOTED} ")) && said.contains(&format!("cards={BOOTED} ")),
        "{said}"
    );

    // A bond gives each of its cards the address of one. This kernel may have none, so files say what the real one says.
    let client = network.client(OFFICE);
    client.ip("link set eth0 down");
    client.ip("link set eth0 name bond0");
    client.ip("addr add 10.77.0.51/24 dev bond0");
    client.ip("link set bond0 up");
    let (net, bonds) = (world.path("net"), world.path("bonding"));
    let file = |path: &Path, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    file(&net.join("bond0/bonding/active_slave"), "eth1\n");
    for device in ["bond0", "eth0", "eth1"] {
        file(&net.join(device).join("address"), &format!("{OFFICE}\n"));
    }
    file(&net.join("bond0/lower_eth0/x"), "");
    file(&net.join("bond0/lower_eth1/x"), "");
    let slave = |name: &str, mac: &str| {
        format!("Slave Interface: {name}\nMII Status: up\nPermanent HW addr: {mac}\nSlave queue ID: 0\n\n")
    };
    let bond = format!(
        "Bonding Mode: fault-tolerance (active-backup)\n\n{}{}",
        slave("eth0", OFFICE),
        slave("eth1", BOOTED)
    );
    file(&bonds.join("bond0"), &bond);
    fs::write(world.path("arguments"), format!("prebake.url={URL}\n")).unwrap();
    let mut command = client.command(repository(REPORT).to_str().unwrap());
    command
        .env("PREBAKE_CMDLINE", world.path("arguments"))
        .env("PREBAKE_NET", &net)
        .env("PREBAKE_BONDING", &bonds);
    Run::of(command.arg("booted").output().unwrap()).ok();
    let said = server.says("POST /report 204");
    let cards = format!("cards={OFFICE},{BOOTED} ");
    assert!(said.contains(&format!(" mac={BOOTED} ")) && said.contains(&cards), "{said}");

    // A node has a port for each of its pods. Those are no cards, and a server reads no more than 4 KiB of a report.
    let net = world.path("pods");
    (0..200).for_each(|pod| {
        file(&net.join(format!("veth{pod}/address")), &format!("0a:00:00:00:00:{pod:02x}\n"))
    });
    file(&net.join("bond0/address"), &format!("{OFFICE}\n"));
    file(&net.join("bond0/device/vendor"), "");
    let mut command = client.command(repository(REPORT).to_str().unwrap());
    command.env("PREBAKE_CMDLINE", world.path("arguments")).env("PREBAKE_NET", &net);
    Run::of(command.arg("joined").output().unwrap()).ok();
    let said = server.says("POST /report 204");
    assert!(said.contains(&format!("cards={OFFICE} ")), "{said}");
}

#[test]
fn a_unit_that_reaches_nobody_says_over_which_card_and_why() {
    let world = inventory(|_| {});
    let network = Network::new();
    let client = machine(&network, &[(BRIDGE, BOOTED, &["addr add 10.77.0.50/24 DEV"])]);
    let url = format!("prebake.url={URL}");
    let silent = format!("no answer from {URL} over card eth0 ({BOOTED}): curl: (7)");
    run(&client, &world, REPORT, &["booted"], &url).fails(1, &[&silent, "after 3 tries"]);
    fs::write(world.path("cmdline"), format!("{url}\n")).unwrap();
    let command = client.command(repository(INSTALLER).to_str().unwrap());
    let failed = install_control(command, &world);
    assert!(failed.stderr.contains(&silent) && !failed.stderr.contains("no network"), "{}", failed.stderr);
    assert_eq!((failed.code, did(&world)), (Some(1), String::new()));

    client.ip("addr flush dev eth0");
    let nowhere = run(&client, &world, REPORT, &["booted"], &url);
    nowhere.fails(1, &[&format!("no answer from {URL}, to which there is no route; cards: eth0 up")]);
    let unnamed = run(&client, &world, REPORT, &["booted"], "quiet");
    unnamed.fails(1, &["there is no prebake.url= among the kernel's arguments"]);
}

/// k3s' documentation of air-gapped sites, kubernetes/kubeadm#2604, k3s-io/k3s#1103 and #6265: neither kubeadm nor the
/// kubelet finds an address without a default route.
#[test]
fn kubeadm_itself_takes_the_booted_card_where_no_router_is_known() {
    let Some(kubernetes) = judges::build("kubernetes") else { return };
    let world = World::new();
    let network = Network::new();
    network.bridge(OFFICE_BRIDGE, "192.0.2.1/24");
    let office = (OFFICE_BRIDGE, OFFICE, &["addr add 192.0.2.10/24 DEV"][..]);
    let here = (BRIDGE, BOOTED, &["addr add 10.77.0.50/24 DEV"][..]);
    for cards in [[here, office], [office, here]] {
        let client = machine(&network, &cards);
        let init = || {
            let mut command = client.command(kubernetes.join("kubeadm").to_str().unwrap());
            let certificates = world.path("pki");
            let _ = fs::remove_dir_all(&certificates);
            command.args(["init", "phase", "certs", "all", "--kubernetes-version", "v1.33.13", "--cert-dir"]);
            Run::of(command.arg(&certificates).output().unwrap())
        };
        init().fails(1, &["no default routes found"]);
        run(&client, &world, ROUTE, &[], &format!("prebake.mac={BOOTED} prebake.url={URL}")).ok();
        let taken = init().ok();
        assert!((taken.stdout + &taken.stderr).contains("10.77.0.50"), "kubeadm took another address");
        // A second run, and one beside a real route, change nothing.
        let routes =
            || String::from_utf8(client.command("ip").args(["route"]).output().unwrap().stdout).unwrap();
        let before = routes();
        run(&client, &world, ROUTE, &[], &format!("prebake.mac={OFFICE} prebake.url={URL}")).ok();
        assert_eq!(routes(), before);
    }
    let client = machine(
        &network,
        &[(BRIDGE, BOOTED, &["addr add 10.77.0.50/24 DEV", "route add default via 10.77.0.1 DEV"])],
    );
    run(&client, &world, ROUTE, &[], &format!("prebake.mac={BOOTED}")).ok();
    let routes = client.command("ip").args(["route", "show", "default"]).output().unwrap().stdout;
    assert_eq!(String::from_utf8(routes).unwrap().trim(), "default via 10.77.0.1 dev eth0");
}

/// Three sysexts have these lines, any of which may be merged without the others.
#[test]
fn the_booted_card_is_found_by_the_same_lines_everywhere() {
    let lines = |path: &str| {
        let text = fs::read_to_string(repository(path)).unwrap();
        let (_, rest) = text.split_once("# -- The booted card").unwrap();
        rest.split_once("# -- End of the booted card").unwrap().0.to_owned()
    };
    assert_eq!(lines(REPORT), lines(INSTALLER));
    assert_eq!(lines(REPORT), lines(ROUTE));
}

/// A server on the loopback interface, and a machine that asks it.
struct Asked(String, Server);

impl Asked {
    fn of(world: &World) -> Asked {
        let (server, address) = Server::prebake(&world.path("output/small/current"));
        Asked(address, server)
    }

    fn boots(&self, query: &str) {
        assert_eq!(get(&self.0, &format!("/ipxe?{query}"), "").status, 200);
        // What was sent is told of a moment later than it arrives.
        let mac = query[4..21].replace('-', ":");
        soon(|| self.macs().contains(&mac));
    }

    /// What an installer gets: status, and which config or why none.
    fn installs(&self, query: &str) -> (u16, String) {
        let reply = get(&self.0, &format!("/ignition?os=installed&{query}"), "");
        let text = reply.text();
        let config = ["control", "role"].into_iter().find(|role| text.contains(&format!("/etc/{role}")));
        (reply.status, config.filter(|_| reply.status == 200).map_or(text.clone(), str::to_owned))
    }

    fn reports(&self, form: &str) -> u16 {
        let head = format!(
            "POST /report HTTP/1.1\nHost: {}\nConnection: close\nContent-Length: {}\n\n",
            self.0,
            form.len()
        );
        send(&self.0, &(head + form)).status
    }

    fn macs(&self) -> Vec<String> {
        let status: Value = serde_json::from_str(&get(&self.0, "/status", "").text()).unwrap();
        let machines = status["machines"].as_array().unwrap().iter();
        machines.map(|machine| machine["mac"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

const CONTROL: &str = "control";
/// What is in the config of workers.
const WORKER: &str = "role";
const UUID: &str = "uuid=0d1e2a3b-0000-4000-8000-00000000000a";

#[test]
fn a_machine_that_asks_by_another_card_is_answered_as_the_one_that_booted_and_its_reports_reach_it() {
    let world = inventory(|_| {});
    // By its UUID, by the address alone, and by the cards that it says it has.
    for (booted, asks) in [
        (UUID, UUID),
        ("", ""),
        ("uuid=00000000-0000-0000-0000-000000000000", UUID),
        ("uuid=11111111-2222-3333-4444-555555555555", "uuid=&cards=02:00:00:00:00:99,52:54:00:00:00:01"),
    ] {
        let asked = Asked::of(&world);
        asked.boots(&format!("mac=52-54-00-00-00-01&{booted}"));
        let query = format!("mac=02-00-00-00-00-99&{asks}");
        assert_eq!(asked.installs(&query), (200, CONTROL.into()), "{booted} {asks}");
        assert_eq!(asked.reports(&format!("{query}&stage=installed&detail=generation+1")), 204);
        assert_eq!(asked.macs(), [BOOTED], "{booted} {asks}");
        assert!(
            get(&asked.0, "/ipxe?mac=52-54-00-00-00-01", "").text().contains("sanboot"),
            "{booted} {asks}"
        );
        let mut log = asked.1;
        let said = log.says("GET /ignition 200");
        assert!(said.contains(&format!("card={OFFICE}")) && said.contains("group=n1.installed"), "{said}");
    }
}

#[test]
fn no_installer_is_handed_the_config_of_another_profile_and_the_reason_is_told() {
    let world = inventory(|_| {});
    let asked = Asked::of(&world);
    // Booted as a machine that nobody knows, which its inventory knows by another card.
    asked.boots(&format!("mac=02-00-00-00-00-99&{UUID}"));
    let (status, why) = asked.installs(&format!("mac=02-00-00-00-00-99&{UUID}&cards={OFFICE},{BOOTED}"));
    assert_eq!(status, 409, "{why}");
    assert!(why.contains(&format!("its card {BOOTED} belongs to node n1")), "{why}");
    // It says which installer it runs, and that is not what it would be given.
    let (status, why) = asked.installs("mac=02-00-00-00-00-99&config=control.installed.ign");
    assert_eq!(status, 409, "{why}");
    assert!(
        why.contains("it runs the installer for control.installed.ign")
            && why.contains("worker.installed.ign"),
        "{why}"
    );
    let mut log = asked.1;
    log.says("warning: 127.0.0.1: it booted over 02:00:00:00:00:99, which belongs to no node");

    // Several machines behind one address, none of which it can be told to be.
    let asked = Asked::of(&world);
    asked.boots("mac=52-54-00-00-00-01");
    asked.boots("mac=52-54-00-00-00-07");
    let (status, why) = asked.installs("mac=02-00-00-00-00-99");
    assert_eq!(status, 409, "{why}");
    assert!(why.contains("it may be any of 52:54:00:00:00:01, 52:54:00:00:00:07"), "{why}");
}

#[test]
fn machines_that_nobody_knows_are_strangers_still_and_get_the_default_profile() {
    let world = inventory(|_| {});
    let asked = Asked::of(&world);
    asked.boots(&format!("mac=52-54-00-00-00-01&{UUID}"));
    // Another machine behind the same address (a NAT), by its own script or by its own UUID.
    asked.boots("mac=52-54-00-00-00-07");
    assert_eq!(asked.installs("mac=52-54-00-00-00-07&config=worker.installed.ign"), (200, WORKER.into()));
    let other = "uuid=11111111-2222-3333-4444-555555555555";
    assert_eq!(asked.installs(&format!("mac=02-00-00-00-00-98&{other}")).0, 200);
    // Boards without a UUID of their own are not one machine.
    let asked = Asked::of(&world);
    asked.boots("mac=52-54-00-00-00-01&uuid=03000200-0400-0500-0006-000700080009");
    asked.boots("mac=52-54-00-00-00-02&uuid=03000200-0400-0500-0006-000700080009");
    asked.boots("mac=52-54-00-00-00-07&uuid=03000200-0400-0500-0006-000700080009");
    let query = "mac=52-54-00-00-00-07&uuid=03000200-0400-0500-0006-000700080009";
    assert_eq!(asked.installs(query), (200, WORKER.into()));
    assert_eq!(asked.macs().len(), 3);
}

/// The lab: n1 is control, whoever is not known is worker, all install themselves.
fn lab() -> World {
    lab_with("matchbox: {}, disk: {}", |world| {
        let install = format!("    install: {{serial: {DISK_SERIAL}, min_size: 300MiB}}\n");
        world.edit("recipes/lab.yaml", "  control:\n", &format!("{install}  control:\n{install}"));
        let node = "mac: \"52:54:00:00:00:01\", profile: ";
        world.edit("recipes/lab.yaml", &format!("{node}worker"), &format!("{node}control"));
        let recipe = fs::read_to_string(world.path("recipes/lab.yaml")).unwrap();
        fs::write(world.path("recipes/lab.yaml"), format!("{recipe}default_profile: worker\n")).unwrap();
    })
}

/// The server of an isolated network: DHCP that names no router, TFTP and HTTP.
fn isolated(network: &Network, world: &World) -> Server {
    let mut command = network.command(env!("CARGO_BIN_EXE_prebake"));
    command.args(["serve", "--address", "0.0.0.0:8080", "--interface", BRIDGE, "--tftp"]);
    command.args(["--dhcp", "--dhcp-range", "10.77.0.100-10.77.0.110"]).arg(world.path("output/lab/current"));
    let mut server = Server::start(&mut command);
    server.says("serving ");
    server
}

/// DHCP of an office that names a router.
fn office(network: &Network, world: &World) -> Server {
    network.bridge(OFFICE_BRIDGE, "192.0.2.1/24");
    let mut command = network.command("dnsmasq");
    command.args(["--no-daemon", "--port=0", "--bind-interfaces", "--conf-file=/dev/null", "--log-dhcp"]);
    command
        .arg(format!("--interface={OFFICE_BRIDGE}"))
        .arg("--dhcp-range=192.0.2.50,192.0.2.60,255.255.255.0,1h");
    command.arg(format!("--dhcp-leasefile={}", world.path("leases").display()));
    let mut server = Server::start(&mut command);
    server.says("DHCP, IP range");
    server
}

/// Follows a machine until its server has heard these words, one after the other.
fn hears(server: &mut Server, machine: &Machine, words: &[&str]) {
    for word in words {
        let said =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.says_within(PATIENCE, word)));
        match said {
            Ok(line) => eprintln!("{line}"),
            Err(_) => panic!("no {word:?}\n{}\n{}", server.log.join("\n"), machine.last_lines(60).join("\n")),
        }
    }
}

/// B13 in whole: the machine has two cards and no router, and boots over the first.
#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_machine_with_two_cards_and_no_router_installs_itself_as_the_node_of_the_card_that_it_boots_over() {
    let world = lab();
    let disk = world.path("disk");
    fs::File::create(&disk).unwrap().set_len(512 << 20).unwrap();
    let _turn = machine::turn();
    let network = Network::new();
    network.bridge(OFFICE_BRIDGE, "192.0.2.1/24");
    let mut server = isolated(&network, &world);
    let machine = Machine::on(network.plug(), &world.path("console")).mac(BOOTED).disk(&disk).reboots();
    let machine = machine.card(network.plug_on(OFFICE_BRIDGE), OFFICE, false).start().unwrap();
    let config = format!("config=control.installed.ign mac={BOOTED} os=installed");
    hears(&mut server, &machine, &["GET /ipxe 200", "stage=booted", &config]);
    assert!(server.log.last().unwrap().contains("group=n1.installed"), "{:?}", server.log.last());
    hears(&mut server, &machine, &["stage=installing", "stage=installed"]);
    let booted: Vec<&String> = server.log.iter().filter(|line| line.contains("POST /report 204")).collect();
    assert!(booted.iter().all(|line| line.contains(&format!(" mac={BOOTED} "))), "{booted:#?}");
    // Its firmware boots the network again, and is sent to the disk.
    let disk = format!("GET /ipxe 200 {}B", "#!ipxe\n".len() + IPXE_LOCAL.len());
    hears(&mut server, &machine, &[&disk]);
}

/// B14 in whole: the office's card comes first, has the default route, and leads nowhere.
#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_machine_whose_default_route_is_on_another_card_asks_as_the_node_of_the_card_that_it_boots_over() {
    let world = lab();
    let disk = world.path("disk");
    fs::File::create(&disk).unwrap().set_len(512 << 20).unwrap();
    let _turn = machine::turn();
    let network = Network::new();
    let _office = office(&network, &world);
    let mut server = isolated(&network, &world);
    let machine = Machine::on(network.plug(), &world.path("console")).mac(BOOTED).disk(&disk);
    let machine = machine.card(network.plug_on(OFFICE_BRIDGE), OFFICE, true).start().unwrap();
    let config = format!("config=control.installed.ign mac={BOOTED} os=installed");
    hears(&mut server, &machine, &["GET /ipxe 200", "stage=booted", &config]);
    assert!(server.log.last().unwrap().contains("group=n1.installed"), "{:?}", server.log.last());
    hears(&mut server, &machine, &["stage=installing"]);
    let reports: Vec<&String> = server.log.iter().filter(|line| line.contains("POST /report 204")).collect();
    let are_its = |line: &&String| line.contains(&format!(" mac={BOOTED} ")) && line.contains(OFFICE);
    assert!(reports.iter().all(are_its), "{reports:#?}");
}

/// kubernetes/kubeadm#2604: told where it can be mended, before any machine boots.
#[test]
fn a_dhcp_server_that_names_no_router_says_what_that_means_for_kubernetes() {
    let world = World::new();
    world.write("sysext/kubernetes/sysext.yaml", "schema: 1\nname: kubernetes\nversion: v1.33.13\nos: any\n");
    world.write("sysext/kubernetes/files/usr/share/kubernetes", "stand-in\n");
    world.edit("recipes/small.yaml", "sysexts: [hello]", "sysexts: [hello, kubernetes]");
    world.build();
    let network = Network::new();
    let story = |flags: &[&str]| {
        let mut command = network.command(env!("CARGO_BIN_EXE_prebake"));
        command.args(["serve", "--address", "10.77.0.1:8080", "--interface", BRIDGE]).args(flags);
        let mut server = Server::start(command.arg(world.path("output/small/current")));
        // What is wrong with the network comes before this line.
        server.says("confined");
        server.log.join("\n")
    };
    let warned = story(&["--dhcp"]);
    assert!(warned.contains("warning: no --gateway: machines are told no router, and kubeadm"), "{warned}");
    assert!(warned.contains("the tree has no sysext kubernetes-config"), "{warned}");
    for flags in [&["--dhcp", "--gateway", "10.77.0.1"][..], &["--proxy-dhcp"]] {
        let quiet = story(flags);
        assert!(!quiet.contains("no --gateway"), "{quiet}");
    }
}
