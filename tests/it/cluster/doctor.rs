//! `prebake cluster doctor` in networks of its own, with what others put in the way.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::lab::network::{Client, Network};

const DESCRIPTION: &str = r#"
cluster:
  name: edge
  k8s_version: 1.33.13
  flatcar_version: 4593.2.5
  cni: routes
  ssh_authorized_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1bYMr9u7sMzr6QJ3MmQXlcT6tGLlGbmm3nmvZ3pJ0c lab@test
control_plane_vip: 10.77.0.5
bootstrap: {ip: 10.77.0.1, dhcp: true}
network: 10.77.0.0/24
nodes:
  - {name: c1, ip: 10.77.0.11, mac: "52:54:00:77:00:11", role: controller, state: /dev/disk/by-id/virtio-c1}
  - {name: w1, ip: 10.77.0.21, mac: "52:54:00:77:00:21", role: worker, memory: 4GiB}
"#;

struct Site {
    directory: tempfile::TempDir,
    network: Network,
}

impl Site {
    fn new() -> Site {
        let (directory, network) = (tempfile::tempdir().unwrap(), Network::new());
        let site = Site { directory, network };
        site.describe(DESCRIPTION);
        fs::create_dir(site.path("ipxe")).unwrap();
        for loader in ["undionly.kpxe", "ipxe.efi"] {
            fs::write(site.path("ipxe").join(loader), "x").unwrap();
        }
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn describe(&self, text: &str) {
        fs::write(self.path("cluster.yaml"), text).unwrap();
    }

    /// The checks by their names, and the exit code.
    fn examine(&self) -> (Vec<Value>, Option<i32>) {
        let mut command: Command = self.network.command(env!("CARGO_BIN_EXE_prebake"));
        command.args([
            "cluster",
            "doctor",
            "cluster.yaml",
            "--json",
            "--ipxe-dir",
            "ipxe",
            "--store",
            "store",
        ]);
        let output = command.current_dir(self.directory.path()).output().unwrap();
        let story = String::from_utf8_lossy(&output.stderr);
        let document: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {story}"));
        (document["checks"].as_array().unwrap().clone(), output.status.code())
    }

    /// The names of the checks with a verdict.
    fn wrong(&self) -> Vec<String> {
        let (checks, code) = self.examine();
        let wrong: Vec<&Value> = checks.iter().filter(|check| check["verdict"] == "wrong").collect();
        assert_eq!(code, Some(i32::from(!wrong.is_empty())), "{checks:#?}");
        assert!(wrong.iter().all(|check| check["way_out"].is_string()), "{wrong:#?}");
        wrong.iter().map(|check| check["name"].as_str().unwrap().to_owned()).collect()
    }

    fn found(&self, name: &str) -> String {
        let (checks, _) = self.examine();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        check["found"].as_str().unwrap().to_owned()
    }
}

/// A DHCP server in a client's namespace that offers one address, and names a boot file if it has one.
fn lend(client: Client, file: Option<&'static str>) -> mpsc::Sender<()> {
    let (stop, stopped) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    thread::spawn(move || {
        client.enter();
        let socket = UdpSocket::bind("0.0.0.0:67").unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        ready.send(()).unwrap();
        let mut request = [0; 1500];
        // Ended by the other end, or its drop.
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            let Ok((length, _)) = socket.recv_from(&mut request) else { continue };
            if length < 240 {
                continue;
            }
            // RFC 2131: a BOOTREPLY with the request's number and card, an address, and the magic cookie.
            let mut answer = vec![0; 240];
            answer[..4].copy_from_slice(&[2, 1, 6, 0]);
            answer[4..8].copy_from_slice(&request[4..8]);
            answer[16..20].copy_from_slice(&[10, 77, 0, 150]);
            answer[28..44].copy_from_slice(&request[28..44]);
            answer[236..240].copy_from_slice(&[99, 130, 83, 99]);
            answer.extend([53, 1, 2, 54, 4, 10, 77, 0, 66]);
            if let Some(file) = file {
                answer.extend([67, file.len() as u8]);
                answer.extend(file.bytes());
            }
            answer.push(255);
            socket.send_to(&answer, "255.255.255.255:68").unwrap();
        }
        drop(client);
    });
    is_ready.recv().unwrap();
    stop
}

/// poseidon/matchbox#432 and facts 3.2 row 5: what else is on the network is found before machines have power.
#[test]
fn a_site_that_is_fit_is_and_each_thing_in_the_way_is_found_with_its_way_out() {
    let site = Site::new();
    // A bridge without a port has no carrier.
    let idle = site.network.client("52:54:00:77:00:99");
    assert_eq!(site.wrong(), [""; 0]);

    let stranger = site.network.client("52:54:00:77:00:66");
    stranger.ip("addr add 10.77.0.66/24 dev eth0");
    // Without it the kernel has no way to everybody, and the server's answers would go nowhere.
    stranger.ip("route add default dev eth0");
    let server = lend(stranger, Some("other.efi"));
    assert_eq!(site.wrong(), ["dhcp", "rivals"]);
    assert!(site.found("dhcp").contains("10.77.0.66"));
    assert!(site.found("rivals").contains("10.77.0.66 with the boot file other.efi"));
    // Beside another server, its addresses are as it should be, and its boot file is not.
    site.describe(&DESCRIPTION.replace(", dhcp: true", ""));
    assert_eq!(site.wrong(), ["rivals"]);
    drop(server);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(site.wrong(), ["dhcp"], "nobody gives addresses");
    site.describe(DESCRIPTION);

    // The shared address and a node's are somebody else's; the node's own card may have it.
    let squatter = site.network.client("52:54:00:77:00:77");
    squatter.ip("addr add 10.77.0.5/24 dev eth0");
    assert_eq!(site.wrong(), ["addresses"]);
    assert!(
        site.found("addresses")
            .contains("10.77.0.5, the address of the API server, is that of 52:54:00:77:00:77")
    );
    squatter.ip("addr del 10.77.0.5/24 dev eth0");
    let own = site.network.client("52:54:00:77:00:21");
    own.ip("addr add 10.77.0.21/24 dev eth0");
    assert!(!site.found("addresses").contains("10.77.0.21"), "w1 has its own address");
    drop((idle, squatter, own));
}

#[test]
fn this_hosts_own_faults_are_found() {
    let site = Site::new();
    let idle = site.network.client("52:54:00:77:00:99");
    let site = thread::spawn(move || {
        site.network.enter();
        let http = TcpListener::bind("0.0.0.0:8080").unwrap();
        let tftp = UdpSocket::bind("0.0.0.0:69").unwrap();
        assert_eq!(site.wrong(), ["ports"]);
        let found = site.found("ports");
        let own = format!("process {}", std::process::id());
        assert!(found.contains("TCP 8080") && found.contains("UDP 69") && found.contains(&own), "{found}");
        drop((http, tftp));
        site
    })
    .join()
    .unwrap();
    assert_eq!(site.wrong(), [""; 0]);
    site.describe(&DESCRIPTION.replace("bootstrap: {ip: 10.77.0.1,", "bootstrap: {ip: 10.77.0.2,"));
    assert!(site.wrong().contains(&"address".to_owned()));
    site.describe(&DESCRIPTION.replace("network: 10.77.0.0/24", "network: 10.77.0.0/16"));
    assert_eq!(site.wrong(), ["network"]);
    site.describe(DESCRIPTION);
    fs::remove_file(site.path("ipxe/undionly.kpxe")).unwrap();
    fs::remove_file(site.path("ipxe/ipxe.efi")).unwrap();
    assert_eq!(site.wrong(), ["loaders"]);
    assert!(Path::new(&site.path("output")).read_dir().is_err(), "nothing is written");
    drop(idle);
}
