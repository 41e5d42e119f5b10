//! Many machines at once: who gets how much, who waits, and what a crash in the middle leaves.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use prebake::base::digest::Sha256;

use crate::lab::machine::{self, Machine};
use crate::serve::connections::Here;
use crate::world::http::{Reply, SOON, Server, connect, connect_from, get, read_reply, try_connect_from};
use crate::world::tree::Tree;

/// Bytes no two pages of which are alike.
fn noise(length: u32) -> Vec<u8> {
    (0..length / 4).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect()
}

/// The body of a file as it comes, up to `wanted` bytes in all; counts what came.
fn load(mut stream: TcpStream, target: &str, wanted: u64, came: &AtomicU64) {
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut buffer = vec![0; 64 << 10];
    let mut read = 0;
    while read < wanted {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(more) => {
                read += more as u64;
                came.fetch_add(more as u64, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn who_opens_sixteen_connections_gets_no_more_than_who_opens_one() {
    const FILE: u32 = 4 << 20;
    const OTHERS: u8 = 3;
    let tree = Tree::new().file("assets/file", &noise(FILE)).publish();
    // So little that a machine that has much to do reads it as fast as it comes.
    let server = Here::serve(tree.path(), |server| server.bandwidth(4 << 20));
    let (greedy, modest) = (AtomicU64::new(0), AtomicU64::new(0));
    let greedy_when_done = thread::scope(|scope| {
        // They come first, or it would be alone for as long as the machine takes to start their threads.
        let others: Vec<_> = (2..2 + OTHERS)
            .map(|last| {
                let stream = connect_from([127, 0, 0, last], &server.address);
                scope.spawn(|| load(stream, "/assets/file", u64::MAX, &modest))
            })
            .collect();
        for _ in 0..16 {
            scope.spawn(|| load(connect(&server.address), "/assets/file", u64::MAX, &greedy));
        }
        others.into_iter().for_each(|other| other.join().unwrap());
        greedy.load(Ordering::Relaxed)
    });
    assert!(modest.load(Ordering::Relaxed) >= u64::from(OTHERS) * u64::from(FILE));
    // Its fair part is as much as one of the others has; connections would have been worth sixteen times that.
    assert!(greedy_when_done < 2 * u64::from(FILE), "{greedy_when_done}");
}

#[test]
fn a_cap_holds_for_all_clients_together() {
    const FILE: u32 = 2 << 20;
    let tree = Tree::new().file("assets/file", &noise(FILE)).publish();
    let server = Here::serve(tree.path(), |server| server.bandwidth(8 << 20));
    let came = AtomicU64::new(0);
    let started = Instant::now();
    thread::scope(|scope| {
        for last in 1..=4 {
            let stream = connect_from([127, 0, 0, last], &server.address);
            scope.spawn(|| load(stream, "/assets/file", u64::MAX, &came));
        }
    });
    assert!(came.load(Ordering::Relaxed) > 4 * u64::from(FILE));
    // 8 MiB at 8 MiB a second; a slower machine only takes longer.
    assert!(started.elapsed() > Duration::from_millis(900), "{:?}", started.elapsed());
}

#[test]
fn a_storm_outlives_a_server_that_is_killed_and_started_again() {
    const FILE: u32 = 24 << 20;
    const NODES: u8 = 8;
    let bytes = noise(FILE);
    let digest = Sha256::of(&bytes);
    let tree = Tree::new().file("assets/initrd", &bytes).publish();
    let flags = ["--bandwidth", "64M", "--address"];
    let (server, address) = Server::prebake_with(tree.path(), &[&flags[..], &["127.0.0.1:0"]].concat());
    let came = AtomicU64::new(0);
    let resumed = AtomicU64::new(0);
    let (is_up, is_killed) = (AtomicBool::new(true), AtomicBool::new(false));
    // Nobody reads to the end before the server is killed, however late that is.
    let paused = || came.load(Ordering::Relaxed) >= u64::from(FILE) && !is_killed.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let nodes: Vec<_> = (1..=NODES)
            .map(|node| {
                let (address, came, resumed, is_up, paused) = (&address, &came, &resumed, &is_up, &paused);
                scope.spawn(move || {
                    let mut body = Vec::new();
                    let started = Instant::now();
                    while body.len() < FILE as usize {
                        assert!(started.elapsed() < SOON, "{} bytes came", body.len());
                        if !is_up.load(Ordering::Relaxed) {
                            thread::sleep(Duration::from_millis(10));
                            continue;
                        }
                        // Between killing and starting there is nobody to connect to.
                        let Ok(stream) = try_connect_from([127, 0, 0, node], address) else { continue };
                        resume(stream, &mut body, came, resumed, paused);
                    }
                    assert_eq!(Sha256::of(&body), digest);
                })
            })
            .collect();
        while came.load(Ordering::Relaxed) < u64::from(FILE) {
            thread::sleep(Duration::from_millis(5));
        }
        is_up.store(false, Ordering::Relaxed);
        drop(server); // with SIGKILL
        is_killed.store(true, Ordering::Relaxed);
        let (_again, _) = Server::prebake_with(tree.path(), &[&flags[..], &[&address]].concat());
        is_up.store(true, Ordering::Relaxed);
        nodes.into_iter().for_each(|node| node.join().unwrap());
    });
    assert!(resumed.load(Ordering::Relaxed) > 0, "the server was killed too late");
}

/// Asks for what is missing of a file, as far as it comes.
fn resume(
    mut stream: TcpStream,
    body: &mut Vec<u8>,
    came: &AtomicU64,
    resumed: &AtomicU64,
    paused: impl Fn() -> bool,
) {
    let range = match body.len() {
        0 => String::new(),
        from => format!("Range: bytes={from}-\r\n"),
    };
    if write!(stream, "GET /assets/initrd HTTP/1.1\r\nHost: x\r\n{range}Connection: close\r\n\r\n").is_err() {
        return;
    }
    let mut input = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let head = loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => input.extend_from_slice(&buffer[..read]),
        }
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let partial = input.starts_with(b"HTTP/1.1 206 ");
    assert_eq!(partial, !body.is_empty(), "{}", String::from_utf8_lossy(&input[..head]));
    resumed.fetch_add(u64::from(partial), Ordering::Relaxed);
    body.extend_from_slice(&input[head..]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        body.extend_from_slice(&buffer[..read]);
        came.fetch_add(read as u64, Ordering::Relaxed);
        while paused() {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Asks as a client of its own.
fn ask(source: u8, address: &str, target: &str, agent: &str) -> Reply {
    let mut stream = connect_from([127, 0, 0, source], address);
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n")
        .unwrap();
    read_reply(&mut std::io::BufReader::new(stream), true)
}

#[test]
fn machines_beyond_those_that_boot_wait_in_ipxe_and_get_their_turn() {
    const IPXE: &str = "iPXE/1.21.1";
    let tree = Tree::new().groups(3).file("assets/kernel", &noise(1 << 20)).publish();
    let (server, address) =
        Server::prebake_with(tree.path(), &["--max-boots", "1", "--address", "127.0.0.1:0"]);
    let script = "/ipxe?mac=52-54-00-00-00-01&serial=a%20b";
    let boots = |reply: Reply| reply.text().contains("\nboot\n");
    assert!(boots(ask(1, &address, script, IPXE)));
    let told = ask(2, &address, script, IPXE);
    let text = told.text();
    assert!(text.starts_with("#!ipxe\n") && text.contains("number 1 of 1"), "{text}");
    assert!(text.contains("\nchain --replace ipxe?mac=52-54-00-00-00-01&serial=a%20b ||"), "{text}");
    assert!(ask(3, &address, script, IPXE).text().contains("number 2 of 2"));
    assert!(boots(ask(4, &address, script, "curl/8")), "only iPXE can wait");
    assert!(boots(ask(1, &address, script, IPXE)), "it may ask again");
    assert_eq!(
        ask(3, &address, "/ipxe?mac=52-54-00-00-00-99", IPXE).status,
        404,
        "no place for who cannot boot"
    );

    assert_eq!(ask(1, &address, "/assets/kernel", IPXE).body.len(), 1 << 20);
    let started = Instant::now();
    while !boots(ask(2, &address, script, IPXE)) {
        assert!(started.elapsed() < SOON, "its turn never came");
        thread::sleep(Duration::from_millis(200));
    }
    let text = ask(3, &address, script, IPXE).text();
    assert!(text.contains("number 1 of 1") && text.contains(" s to go"), "{text}");
    drop(server);
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn real_ipxe_waits_for_its_turn_and_then_loads() {
    const BOOT: Duration = Duration::from_secs(240);
    let _turn = machine::turn();
    let tree = Tree::new().groups(1).file("assets/kernel", &noise(1 << 20)).publish();
    let (mut server, address) =
        Server::prebake_with(tree.path(), &["--max-boots", "1", "--address", "127.0.0.1:0"]);
    let script = "/ipxe?mac=52-54-00-00-00-00";
    // This one gives up, which is seen after half a minute.
    assert!(ask(2, &address, script, "iPXE/1.21.1").text().contains("\nboot\n"));
    let url = machine::seen_from_inside(address.parse().unwrap()) + script;
    let console = tree.path().join("console");
    let machine = Machine::builder(&url, &console).mac("52:54:00:00:00:00").start().unwrap();
    server.says_within(BOOT, " 127.0.0.1 GET /assets/kernel 200 ");
    drop(machine);
    let log = server.end();
    assert!(log.matches(" 127.0.0.1 GET /ipxe 200 ").count() >= 2, "it never waited:\n{log}");
    assert!(
        fs::read_to_string(console).unwrap().contains("number 1 of 1 in the queue"),
        "it was not told:\n{log}"
    );
}

#[test]
fn of_a_corrupt_file_nothing_leaves_and_all_others_are_served() {
    let bytes = noise(1 << 20);
    let tree = Tree::new().groups(1).file("assets/a", &bytes).file("assets/b", &bytes).publish();
    let path = tree.path().join("assets/a");
    let corrupt = |byte: u8| {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[byte], 777_777).unwrap();
    };
    let (mut server, address) = Server::prebake_with(tree.path(), &["--rehash", "--address", "127.0.0.1:0"]);
    assert_eq!(get(&address, "/assets/a", "").body, bytes);
    corrupt(!bytes[777_777]);
    for range in ["", "Range: bytes=0-9\n", ""] {
        let reply = get(&address, "/assets/a", range);
        assert!(reply.status == 500 && reply.body.len() < 200, "{range}: {}", reply.status);
        assert!(reply.text().contains("its bytes differ from the published ones"), "{}", reply.text());
    }
    assert_eq!(get(&address, "/assets/b", "").body, bytes);
    assert_eq!(get(&address, "/ignition?mac=52-54-00-00-00-00", "").status, 200);
    corrupt(bytes[777_777]);
    assert_eq!(get(&address, "/assets/a", "Range: bytes=777777-777777\n").body, [bytes[777_777]]);
    server.says("/assets/a 206");
    let log = server.end();
    assert_eq!(log.matches("CORRUPT: ").count(), 1, "{log}");
}
