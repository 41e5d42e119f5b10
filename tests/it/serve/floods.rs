//! Strangers who flood a server in every way at once, beside machines that boot (attacks.md, C-B1, C-B2, C-M1, C-M2, C-M4, C-M10).
//!
//! `PREBAKE_FLOOD_SECONDS` says how long the flood lasts.

use std::io::{BufRead, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use prebake::serve::http::limits;

use crate::lab::machine;
use crate::lab::network::{ADDRESS, BRIDGE, Network};
use crate::serve::streams::Wire;
use crate::world::World;
use crate::world::http::{Reply, Server, connect, read_reply, soon, try_connect_from};

/// What a rack has; some sites have all of it behind one address.
const RACK: u32 = 500;
/// What a server may have of a machine's memory, whatever strangers do, in KiB.
const MEMORY: u64 = 300 << 10;

/// A rack of machines with a secret each, and a server with all its ways in, on a network where everything of it lives.
struct Site {
    network: Network,
    world: World,
    server: Server,
    http: String,
    tls: String,
    tftp: String,
}

fn mac(index: u32) -> String {
    format!("52-54-00-01-{:02x}-{:02x}", index >> 8, index & 255)
}

fn uuid(index: u32) -> String {
    format!("00000000-0000-0000-0001-{index:012}")
}

impl Site {
    fn new() -> Site {
        limits::allow_open_files();
        let network = Network::new();
        network.enter();
        let world = World::new();
        world.release_file("flatcar_production_pxe.vmlinuz", &vec![b'k'; 1 << 20]);
        world.release_file("flatcar_production_pxe_image.cpio.gz", &vec![b'i'; 16 << 20]);
        world.write(
            "recipes/join.ign",
            r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/etc/join","contents":{"source":"data:,SECRET"}}]}}"#,
        );
        let machines: String = (0..RACK)
            .map(|index| {
                format!("  - {{name: m{index}, mac: {}, profile: worker}}\n", mac(index).replace('-', ":"))
            })
            .collect();
        world.edit("recipes/small.yaml", "nodes:\n", &format!("nodes:\n{machines}"));
        let secret = "    kernel_args: [console=ttyS0]\n    private: [join.ign]";
        world.edit("recipes/small.yaml", "    kernel_args: [console=ttyS0]", secret);
        world.build();
        world.write("ipxe/undionly.kpxe", "bios");
        world.write("ipxe/boot.efi", vec![b'e'; 1 << 20]);
        let mut command =
            world.command(&["serve", "output/small/current", "--address", "0.0.0.0:0", "--guard"]);
        command.args(["--tls-address", "127.0.0.1:0", "--tls-generate", "ca", "--tls-name", "localhost"]);
        command.args(["--tftp=127.0.0.1:0", "--ipxe-dir", "ipxe", "--state", "state.json"]);
        let range = "10.77.0.100-10.77.0.200";
        command.args(["--dhcp", "--interface", BRIDGE, "--dhcp-range", range]);
        let mut server = Server::start(&mut command);
        let mut at = |scheme: &str| {
            let words = format!("listening on {scheme}://");
            let known = server.log.iter().find(|line| line.contains(&words)).cloned();
            let line = known.unwrap_or_else(|| server.says(&words));
            line.rsplit('/').next().unwrap().to_owned()
        };
        let (http, tls, tftp) = (at("http").replace("0.0.0.0", "127.0.0.1"), at("https"), at("tftp"));
        Site { network, world, server, http, tls, tftp }
    }
}

/// Asks for addresses in the name of ever other machines, through a card of its own.
fn ask_for_addresses(network: &Network, goes_on: impl Fn() -> bool, sent: &AtomicU64) {
    let client = network.client("52:54:00:00:00:66");
    client.ip("addr add 10.77.0.2/24 dev eth0");
    client.enter();
    let socket = UdpSocket::bind("0.0.0.0:68").unwrap();
    let mut index = 0;
    while goes_on() {
        index += 1;
        for chunk in 0..100 {
            // A DISCOVER (RFC 2131, table 1): request, Ethernet, six bytes of address, the magic cookie, option 53, and the end.
            let mut packet = [0; 300];
            packet[..3].copy_from_slice(&[1, 1, 6]);
            packet[28..34].copy_from_slice(&[
                2,
                0,
                (index >> 16) as u8,
                (index >> 8) as u8,
                index as u8,
                chunk,
            ]);
            packet[236..244].copy_from_slice(&[99, 130, 83, 99, 53, 1, 1, 255]);
            let _ = socket.send_to(&packet, (ADDRESS, 67));
            sent.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Connections over TLS whose clients ask for much, take nothing, and answer pings.
fn take_nothing(tls: &str, authority: &Path, address: u8, goes_on: impl Fn() -> bool, sent: &AtomicU64) {
    const PATHS: [&str; 4] =
        ["/assets/flatcar/4593.2.5/flatcar_production_pxe_image.cpio.gz", "/status", "/report", "/events"];
    let mut open: Vec<Wire> = Vec::new();
    while goes_on() {
        let windows = [0, 1, 65_535];
        let wire = try_connect_from([127, 0, 0, address], tls)
            .and_then(|socket| Wire::open(socket, authority, windows[open.len() % windows.len()]));
        if let Ok(mut wire) = wire {
            for stream in 0..8 {
                let path = PATHS[if stream < 5 { 0 } else { stream - 4 }];
                let asked = wire.ask(1 + 2 * stream as u32, path);
                sent.fetch_add(u64::from(asked.is_ok()), Ordering::Relaxed);
            }
            open.push(wire);
        }
        if open.len() >= 250 {
            open.retain_mut(|wire| wire.ping().and_then(|()| wire.hear(Duration::from_millis(1))).is_ok());
        }
    }
}

/// Every way to be a burden, each from addresses of its own, until told to stop. What is refused is tried again.
fn flood<'s>(
    scope: &'s thread::Scope<'s, '_>,
    network: &'s Network,
    authority: &'s Path,
    site: [&str; 3],
    stop: &'static AtomicBool,
    sent: &'static AtomicU64,
) {
    let [http, tls, tftp] = site.map(str::to_owned);
    let goes_on = move || !stop.load(Ordering::Relaxed);
    // Connections that ask and never read.
    let silent: [(u8, u8, usize, &str); 6] = [
        (10, 2, 60, "GET /status HTTP/1.1\r\nHost: x\r\n\r\n"),
        (20, 2, 60, "GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"),
        (
            30,
            4,
            200,
            "GET /assets/flatcar/4593.2.5/flatcar_production_pxe_image.cpio.gz HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        (
            40,
            2,
            60,
            "GET /assets/flatcar/4593.2.5/flatcar_production_pxe_image.cpio.gz HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9,20-29\r\n\r\n",
        ),
        (50, 2, 100, "POST /report HTTP/1.1\r\nHost: x\r\nContent-Length: 4096\r\n\r\nmac="),
        (60, 2, 100, "GET /ipxe?mac=52-54-00-01-00-01 HTTP/1.1\r\nX: "),
    ];
    for (first, addresses, each, request) in silent {
        let http = http.clone();
        scope.spawn(move || {
            let mut open: Vec<TcpStream> = Vec::new();
            while goes_on() {
                for address in first..first + addresses {
                    for _ in 0..each {
                        if let Ok(mut stream) = try_connect_from([127, 0, 0, address], &http)
                            && stream.write_all(request.as_bytes()).is_ok()
                        {
                            sent.fetch_add(1, Ordering::Relaxed);
                            open.push(stream);
                        }
                    }
                }
                thread::sleep(Duration::from_millis(500));
                if open.len() > 1000 {
                    open.clear();
                }
            }
        });
    }
    scope.spawn(move || ask_for_addresses(network, goes_on, sent));
    for address in 140..148 {
        let tls = tls.clone();
        scope.spawn(move || take_nothing(&tls, authority, address, goes_on, sent));
    }
    // Connections that say the beginning of TLS and no more.
    scope.spawn(move || {
        let mut open = Vec::new();
        while goes_on() && open.len() < 2000 {
            if let Ok(mut stream) = try_connect_from([127, 0, 0, 70], &tls) {
                let _ = stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1]);
                open.push(stream);
            }
            thread::sleep(Duration::from_millis(2));
        }
        while goes_on() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    // Machines that do not exist report, and ask for scripts and tokens, with names as long as may be.
    type Request = Box<dyn Fn(u32) -> String + Send>;
    let made_up: [(u8, Request); 4] = [
        (
            80,
            Box::new(|index| {
                let body = format!(
                    "mac={}&hostname={}&stage=initrd&detail={}",
                    odd(index),
                    "%F0%9F%92%A3".repeat(60),
                    "%1b".repeat(600)
                );
                format!("POST /report HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }),
        ),
        (
            81,
            Box::new(|index| {
                format!(
                    "GET /ipxe?mac={}&uuid={}&x={} HTTP/1.1\r\nHost: x\r\n\r\n",
                    odd(index),
                    uuid(index),
                    "%1b".repeat(1500)
                )
            }),
        ),
        // The rack's own names, from another address.
        (
            82,
            Box::new(|index| {
                format!(
                    "GET /ipxe?mac={}&uuid={} HTTP/1.1\r\nHost: x\r\n\r\n",
                    mac(index % RACK),
                    uuid(index)
                )
            }),
        ),
        (
            83,
            Box::new(|index| {
                format!("GET /nothing/{index}?mac={} HTTP/1.1\r\nHost: x\r\n\r\n", odd(index % 2000))
            }),
        ),
    ];
    for (address, request) in made_up {
        let http = http.clone();
        scope.spawn(move || {
            let mut index = 0;
            while goes_on() {
                let Ok(mut stream) = try_connect_from([127, 0, 0, address], &http) else { continue };
                let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
                let mut buffer = [0; 64 << 10];
                for _ in 0..100 {
                    index += 1;
                    if !goes_on() || stream.write_all(request(index).as_bytes()).is_err() {
                        break;
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                    if !matches!(stream.read(&mut buffer), Ok(1..)) {
                        break;
                    }
                }
            }
        });
    }
    // Transfers that nobody goes on with.
    scope.spawn(move || {
        let mut open = Vec::new();
        while goes_on() {
            let address = 100 + open.len() % 32;
            let Ok(socket) = UdpSocket::bind(format!("127.0.0.{address}:0")) else { continue };
            let _ = socket.send_to(
                b"\0\x01boot.efi\0octet\0timeout\x00255\0blksize\x0065464\0windowsize\x0064\0",
                &tftp,
            );
            open.push(socket);
            if open.len() > 1000 {
                open.clear();
            }
            thread::sleep(Duration::from_millis(2));
        }
    });
}

/// A machine that no recipe names.
fn odd(index: u32) -> String {
    format!("0a-{:02x}-{:02x}-{:02x}-00-00", index >> 16 & 255, index >> 8 & 255, index & 255)
}

/// A request of a machine, at the address behind which all of them are. It asks again where it is told to, as iPXE and Ignition do,
/// for as long as any of them is answered: on a slow machine its turn comes late.
fn ask(http: &str, head: &str, body: &str) -> Reply {
    /// Of a whole rack that loads at once, on a machine that hardly runs.
    const PATIENCE: Duration = Duration::from_secs(600);
    static ANSWERED: Mutex<Option<Instant>> = Mutex::new(None);
    let began = Instant::now();
    while ANSWERED.lock().unwrap().map_or(began, |last| last.max(began)).elapsed() < PATIENCE {
        let stream = connect(http);
        // All machines behind one address take turns.
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut answer = std::io::BufReader::new(&stream);
        // In a full house its connection may be the one that is closed, if it rested for long: a loader tries again, too.
        if (&stream).write_all(request.as_bytes()).is_ok()
            && answer.fill_buf().is_ok_and(|some| !some.is_empty())
        {
            let reply = read_reply(&mut answer, true);
            if reply.status != 503 {
                *ANSWERED.lock().unwrap() = Some(Instant::now());
                return reply;
            }
        }
        thread::sleep(Duration::from_millis(500));
    }
    panic!("{head} was never answered");
}

/// Script, kernel, public config, secret and report of one machine.
fn boot(http: &str, index: u32) {
    let script = ask(http, &format!("GET /ipxe?mac={}&uuid={}", mac(index), uuid(index)), "");
    assert_eq!(script.status, 200, "{}", script.text());
    let script = script.text();
    let here = format!("http://{http}");
    let kernel =
        script.split_whitespace().find(|word| word.contains("vmlinuz")).unwrap_or_else(|| panic!("{script}"));
    let path = kernel.find("/assets").map(|at| &kernel[at..]).unwrap_or_else(|| panic!("{script}"));
    let kernel = ask(http, &format!("GET {path}"), "");
    assert_eq!((kernel.status, kernel.body.len()), (200, 1 << 20));
    let config =
        script.split_whitespace().filter_map(|word| word.strip_prefix("ignition.config.url=")).next_back();
    let config = ask(http, &format!("GET {}", config.unwrap().strip_prefix(&here).unwrap()), "");
    assert_eq!(config.status, 200, "m{index}: {}", config.text());
    let config: serde_json::Value = serde_json::from_slice(&config.body).unwrap();
    for merged in config["ignition"]["config"]["merge"].as_array().unwrap() {
        let url = merged["source"].as_str().unwrap().strip_prefix(&here).unwrap();
        let part = ask(http, &format!("GET {url}"), "");
        assert_eq!(part.status, 200, "m{index}: {url}: {}", part.text());
    }
    let report = format!("mac={}&uuid={}&stage=booted", mac(index), uuid(index));
    assert_eq!(ask(http, "POST /report", &report).status, 204);
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_rack_behind_one_address_boots_with_its_secrets_while_strangers_flood_in_every_way_and_memory_stays() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static SENT: AtomicU64 = AtomicU64::new(0);
    // A flood beside a machine in QEMU tells of neither: both take all of the processors.
    let _turn = machine::turn();
    let site = Site::new();
    let seconds = std::env::var("PREBAKE_FLOOD_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    eprintln!("server {} at {}, {}, {}", site.server.id(), site.http, site.tls, site.tftp);
    let (mut most, mut worst) = (0, Duration::ZERO);
    let authority = site.world.path("ca/ca.crt");
    thread::scope(|scope| {
        struct Stop;
        impl Drop for Stop {
            fn drop(&mut self) {
                STOP.store(true, Ordering::Relaxed);
            }
        }
        let stop = Stop;
        flood(scope, &site.network, &authority, [&site.http, &site.tls, &site.tftp], &STOP, &SENT);
        thread::sleep(Duration::from_secs(1));
        let started = Instant::now();
        let rack: Vec<_> = (0..RACK)
            .map(|index| {
                let http = site.http.clone();
                scope.spawn(move || boot(&http, index))
            })
            .collect();
        rack.into_iter().for_each(|machine| machine.join().unwrap());
        eprintln!("{RACK} machines booted in {:?}", started.elapsed());
        // One that boots now, as long as the flood lasts.
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(seconds) {
            let asked = Instant::now();
            assert_eq!(
                ask(&site.http, &format!("GET /ipxe?mac={}&uuid={}", mac(7), uuid(7)), "").status,
                200
            );
            worst = worst.max(asked.elapsed());
            most = most.max(site.server.memory());
            thread::sleep(Duration::from_millis(50));
        }
        most = most.max(site.server.memory());
        drop(stop);
    });
    eprintln!(
        "{} requests, {} MiB at most, a script within {worst:?}",
        SENT.load(Ordering::Relaxed),
        most >> 10
    );
    assert!(most < MEMORY, "{most} KiB");
    // So many asked for addresses, too, and that server still lives.
    soon(|| {
        let reply = ask(&site.http, "GET /metrics", "");
        reply.text().lines().any(|line| line.starts_with("prebake_dhcp_answers_total{"))
    });
    // Strangers pushed none of them out.
    soon(|| {
        let status = site.world.prebake(&["status", "--server", &site.http, "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap_or_default();
        let machines = status["machines"].as_array().cloned().unwrap_or_default();
        let ours = machines.iter().filter(|machine| {
            machine["mac"].as_str().is_some_and(|mac| mac.replace('-', ":").starts_with("52:54:00:01:"))
        });
        ours.count() == RACK as usize
    });
}
