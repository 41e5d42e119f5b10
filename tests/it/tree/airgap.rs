//! Behind the air gap: a bundle is all that reaches a network without a way out, and its machines boot from that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bake::boots::{PATIENCE, lab_with};
use crate::lab::machine::{self, Machine};
use crate::lab::network::{BRIDGE, Network};
use crate::lab::nonce;
use crate::world::http::Server;
use crate::world::{Run, World};

/// What was carried in: a bundle and the key of who signed it, and what this run's configs say.
struct Carried {
    directory: PathBuf,
    nonce: String,
    _outside: World,
}

impl Carried {
    /// The lab's tree, built and bundled outside.
    fn new() -> Carried {
        let nonce = nonce();
        let outside = lab_with("matchbox: {}", |world| world.edit("nonce.bu", "by-uefi", &nonce));
        outside.prebake(&["key", "generate", "-o", "site", "--no-passphrase"]).ok();
        let create = ["bundle", "create", "output/lab/current", "-o", "lab.bundle", "--sign-key", "site.key"];
        outside.prebake(&create).ok();
        let directory = outside.path("inside");
        fs::create_dir(&directory).unwrap();
        for name in ["lab.bundle", "site.pub"] {
            fs::rename(outside.path(name), directory.join(name)).unwrap();
        }
        for built in ["output", "store", "release", "lab"] {
            fs::remove_dir_all(outside.path(built)).unwrap();
        }
        Carried { directory, nonce, _outside: outside }
    }

    /// The binary inside the network, with what was carried in as its directory.
    fn command(&self, network: &Network, args: &[&str]) -> Command {
        let mut command = network.command(env!("CARGO_BIN_EXE_prebake"));
        command.args(args).current_dir(&self.directory).env("PREBAKE_STORE", self.directory.join("store"));
        command
    }

    /// Serves inside, and boots a machine that has nothing of its own until the sysext says whose config arrived.
    fn boots(&self, network: &Network, served: &str, flags: &[&str]) {
        let serve = ["serve", served, "--address", "0.0.0.0:8080", "--interface", BRIDGE];
        let dhcp = ["--dhcp", "--dhcp-range", "10.77.0.100-10.77.0.110", "--tftp"];
        let mut server = Server::start(&mut self.command(network, &[&serve[..], &dhcp, flags].concat()));
        server.says("serving ");
        let console = self.directory.join("console");
        let mut machine = Machine::on(network.plug(), &console).mac("52:54:00:00:00:02").start().unwrap();
        server.says_within(PATIENCE, "GET /ipxe 200");
        let expected = format!("PREBAKE-LAB-OK profile=control nonce={}", self.nonce);
        for pattern in ["Linux version", "] switch_root", &expected] {
            let event = machine.wait_for(&[pattern], PATIENCE);
            let event =
                event.unwrap_or_else(|stall| panic!("{stall}\n{}", machine.last_lines(30).join("\n")));
            eprintln!("{:5.1} s  {}", event.after.as_secs_f64(), event.line);
        }
        let said = fs::read_to_string(&console).unwrap_or_default();
        assert!(!said.contains("Initramfs unpacking failed"), "{said}");
    }
}

/// A network from which nothing outside can be reached.
fn without_a_way_out() -> Network {
    let network = Network::new();
    let routes = network.command("ip").args(["route", "show", "table", "all"]).output().unwrap();
    let routes = String::from_utf8(routes.stdout).unwrap();
    assert!(!routes.contains("default"), "{routes}");
    network
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_bundle_that_was_imported_without_a_network_boots_the_lab() {
    let carried = Carried::new();
    let _turn = machine::turn();
    let network = without_a_way_out();
    let import = ["bundle", "import", "lab.bundle", "--trust", "site.pub", "--output", "output"];
    Run::of(carried.command(&network, &import).output().unwrap()).ok();
    fs::remove_file(carried.directory.join("lab.bundle")).unwrap();
    let verify = ["verify", "output/lab/current"];
    Run::of(carried.command(&network, &verify).output().unwrap()).ok();
    carried.boots(&network, "output/lab/current", &[]);
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_bundle_that_is_served_as_it_is_boots_the_lab_and_nothing_is_unpacked() {
    let carried = Carried::new();
    let _turn = machine::turn();
    let network = without_a_way_out();
    carried.boots(&network, "lab.bundle", &["--trust", "site.pub"]);
    for unpacked in ["output", "store"] {
        assert!(is_empty(&carried.directory.join(unpacked)), "{unpacked}");
    }
}
