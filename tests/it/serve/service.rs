//! `prebake serve` under a service manager: what it tells, what it takes, and its unit files before systemd itself.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::world::http::{SOON, Server, get};
use crate::world::{World, repository};

fn built() -> World {
    let world = World::new();
    world.build();
    world
}

#[test]
fn the_manager_hears_when_it_is_ready_that_it_lives_and_that_it_stops() {
    let world = built();
    let manager = UnixDatagram::bind(world.path("notify")).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let hear = || {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut command = world.command(&["serve", "output/small/current", "--address", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", world.path("notify")).env("WATCHDOG_USEC", "400000");
    let mut server = Server::start(&mut command);
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    let ready = hear();
    assert!(ready.starts_with("READY=1\nSTATUS=serving "), "{ready}");
    assert_eq!(get(&address, "/", "").status, 200, "it said that it is ready");
    assert_eq!([hear(), hear()], ["WATCHDOG=1"; 2]);
    server.terminate();
    let last = std::iter::repeat_with(hear).find(|said| said != "WATCHDOG=1").unwrap();
    assert!(last.starts_with("STOPPING=1\n"), "{last}");
    assert_eq!(server.wait(), Some(0));
}

/// A port that was free a moment ago, and that the kernel gives to nobody who asks for any (ip(7), `ip_local_port_range`).
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = std::process::id() as u16 % 1000 * 8;
    let mut ports = std::iter::repeat_with(|| 20_000 + (own + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

#[test]
fn sockets_of_systemd_are_served_by_their_names_and_no_others_are_opened() {
    let world = built();
    let [http, https] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let ours = world.command(&[]);
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--listen", &http, "--listen", &https, "--fdname", "http:https"]);
    command.arg(ours.get_program()).args(["serve", "output/small/current", "--address", "192.0.2.1:1"]);
    command.args(["--tls-address", "192.0.2.1:2", "--tls-generate", "ca", "--tls-name", "127.0.0.1"]);
    command.current_dir(world.path(""));
    let mut server = Server::start(&mut command);
    server.says("Listening on");
    server.says("Listening on");
    // Its first client is what starts the server.
    assert_eq!(get(&http, "/", "").text(), "matchbox\n");
    server.says(&format!("listening on http://{http}"));
    server.says(&format!("listening on https://{https}"));
    let url = format!("https://{https}/");
    let curl = ["--silent", "--cacert", "ca/ca.crt", &url];
    let said = Command::new("curl").args(curl).current_dir(world.path("")).output().unwrap();
    assert_eq!(said.stdout, b"matchbox\n");
    let log = server.end();
    assert_eq!(log.matches("listening on").count(), 2, "{log}");
}

#[test]
fn a_socket_that_means_nothing_here_is_refused() {
    let world = built();
    let ours = world.command(&[]);
    for (names, words) in [("smtp", "`smtp`"), ("https", "no certificate is given")] {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new("systemd-socket-activate");
        command.args(["--listen", &address, "--fdname", names]);
        command.arg(ours.get_program()).args(["serve", "output/small/current"]).current_dir(world.path(""));
        let mut server = Server::start(&mut command);
        server.says("Listening on");
        let _client = std::net::TcpStream::connect(&address).unwrap();
        assert!(server.says("error:").contains(words));
        assert_eq!(server.wait(), Some(2));
    }
}

/// The units, with the binary that is tested in the place of the installed one.
fn units() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for unit in ["prebake-serve.service", "prebake-serve.socket", "prebake-cluster.service"] {
        let text = fs::read_to_string(repository("templates/systemd").join(unit)).unwrap();
        let text = text.replace("/usr/local/bin/prebake", env!("CARGO_BIN_EXE_prebake"));
        fs::write(directory.path().join(unit), text).unwrap();
    }
    directory
}

#[test]
fn systemd_finds_no_fault_with_the_units_and_little_that_the_service_may_do() {
    let units = units();
    let analyze = |args: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let output = command.args(args).current_dir(units.path()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (fine, said) = analyze(&["verify", "./prebake-serve.service", "./prebake-serve.socket"]);
    assert!(fine && !said.contains("prebake-serve"), "{said}");
    // The scale goes from 0, nothing, to 10, everything: of ten times the threshold nothing may be above.
    let (fine, said) = analyze(&["security", "--offline=true", "--threshold=15", "./prebake-serve.service"]);
    assert!(fine, "{said}");
    let (fine, said) = analyze(&["verify", "./prebake-cluster.service"]);
    assert!(fine && !said.contains("prebake-cluster"), "{said}");
    // It listens below 1024 and asks the network for addresses: two capabilities more, and packets.
    let (fine, said) =
        analyze(&["security", "--offline=true", "--threshold=18", "./prebake-cluster.service"]);
    assert!(fine, "{said}");
}

#[test]
fn what_the_unit_starts_is_a_command_line_that_exists() {
    let unit = fs::read_to_string(repository("templates/systemd/prebake-serve.service")).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/prebake ")).unwrap();
    let world = built();
    let tree = world.path("output/small/current").display().to_string();
    let line = line.replace("/srv/prebake/edge/current", &tree).replace("0.0.0.0:8080", "127.0.0.1:0");
    let mut server = Server::start(&mut world.command(&line.split(' ').collect::<Vec<_>>()));
    server.says("serving ");
    std::thread::sleep(Duration::from_millis(50));
    assert!(server.is_running());
}
