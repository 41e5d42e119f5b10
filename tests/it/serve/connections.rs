//! The limits of the server's connections, each with a server of this process that has a small one.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use prebake::serve::http::limits::{self, Limits};
use prebake::serve::http::listen::Listener;
use prebake::serve::http::server::Server;
use prebake::serve::machines::monitor::Monitor;
use prebake::serve::notice::{Notice, Notices};
use prebake::serve::site::content::{Additions, Content};
use tokio::sync::oneshot;

use crate::world::http::{self, SOON, connect, connect_from, get, read_reply};
use crate::world::tree::Tree;

/// Longer than what the buffers between two sockets hold.
const LARGE: usize = 64 << 20;

/// A server in this process.
pub struct Here {
    /// Where it listens.
    pub address: String,
    told: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Here {
    /// Serves a tree.
    pub fn serve(tree: &Path, shape: impl FnOnce(Server) -> Server + Send + 'static) -> Here {
        Here::serve_on(Listener::bind("127.0.0.1:0").unwrap(), tree, shape)
    }

    /// The same on a socket that listens.
    pub fn serve_on(
        listener: Listener,
        tree: &Path,
        shape: impl FnOnce(Server) -> Server + Send + 'static,
    ) -> Here {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let notices: Notices = Arc::new({
            let told = told.clone();
            move |notice| told.lock().unwrap().push(words(notice))
        });
        let address = listener.address().unwrap().to_string();
        let content = Arc::new(
            Content::tree(
                tree,
                Box::new(prebake::tree::open::Tree::directory),
                Additions::default(),
                notices.clone(),
            )
            .unwrap(),
        );
        let monitor = Arc::new(Monitor::open(None).unwrap());
        let (stop, stopping) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(async {
                let server = shape(Server::new(vec![listener], content, monitor, notices).unwrap());
                server.run(async { drop(stopping.await) }).await;
            });
        });
        Here { address, told, stop: Some(stop), thread: Some(thread) }
    }

    fn limited(tree: &Path, limits: Limits) -> Here {
        Here::serve(tree, |server| server.limits(limits))
    }

    /// Waits until it tells something with these words.
    #[track_caller]
    pub fn tells(&self, words: &str) {
        let started = Instant::now();
        while !self.told.lock().unwrap().iter().any(|told| told.contains(words)) {
            assert!(started.elapsed() < SOON, "it never told {words:?}, but {:?}", self.told.lock().unwrap());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// How often it told something with these words.
    pub fn told(&self, words: &str) -> usize {
        self.told.lock().unwrap().iter().filter(|told| told.contains(words)).count()
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        // A second panic would hide the first.
        assert!(ended.is_ok() || thread::panicking());
    }
}

fn words(notice: &Notice<'_>) -> String {
    match notice {
        Notice::Progress(record) => format!("progress {} of {}", record.sent, record.length),
        Notice::Answered(record) if record.sent < record.length => format!("broke off {}", record.path),
        Notice::Answered(record) => format!("answered {} {}", record.status, record.path),
        Notice::Cut(cut) => format!("cut {:?} {}", cut.status, cut.why),
        Notice::Leaving(record) => format!("last of {}", record.path),
        other => format!("{other:?}"),
    }
}

fn small_tree() -> Tree {
    Tree::new().groups(1).file("assets/small", &[b's'; 4096]).publish()
}

fn large_tree() -> Tree {
    Tree::new().file("assets/large", &vec![b'l'; LARGE]).publish()
}

/// What is said until the connection ends.
fn rest(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn who_does_not_end_a_head_is_told_so_and_who_does_not_begin_one_is_hung_up_on() {
    let tree = small_tree();
    let time = Duration::from_millis(300);
    let server = Here::limited(tree.path(), Limits { head_time: time, ..Limits::default() });
    let mut stream = connect(&server.address);
    stream.write_all(b"GET /ipxe HTTP/1.1\r\nHos").unwrap();
    let said = rest(stream);
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("Connection: close"), "{said}");
    server.tells("cut Some(408)");

    let server = Here::limited(tree.path(), Limits { idle: time, ..Limits::default() });
    assert_eq!(rest(connect(&server.address)), "");
    // An answer, and silence; one whose request comes too late on a slow machine is hung up on, too.
    http::soon(|| {
        let mut stream = connect(&server.address);
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        rest(stream).ends_with("matchbox\n")
    });
}

#[test]
fn a_head_that_is_refused_is_told_with_its_reason() {
    let tree = small_tree();
    let server = Here::limited(tree.path(), Limits { head: 1024, target: 100, ..Limits::default() });
    let long = "x".repeat(200);
    for (head, told) in [
        ("GET / HTTP/1.1\n\n".to_owned(), "400"),
        (format!("GET /{long} HTTP/1.1\nHost: x\n\n"), "414"),
        (format!("GET / HTTP/1.1\nHost: x\n{}", format!("X: {long}\n").repeat(10)), "431"),
        ("GET / HTTP/3.0\nHost: x\n\n".into(), "505"),
        ("POST /report HTTP/1.1\nHost: x\nTransfer-Encoding: gzip\n\n".into(), "501"),
        ("GET / HTTP/1.1\nHost: x\nExpect: miracles\n\n".into(), "417"),
    ] {
        let mut stream = connect(&server.address);
        stream.write_all(head.replace('\n', "\r\n").as_bytes()).unwrap();
        let said = rest(stream);
        assert!(said.starts_with(&format!("HTTP/1.1 {told} ")), "{head}: {said}");
        server.tells(&format!("cut Some({told})"));
    }
}

#[test]
fn a_connection_ends_after_so_many_requests_and_says_so_in_the_last_answer() {
    let tree = small_tree();
    let server = Here::limited(tree.path(), Limits { requests: 3, ..Limits::default() });
    let mut stream = connect(&server.address);
    let request = format!("GET /assets/small HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(request.repeat(5).as_bytes()).unwrap();
    let mut input = BufReader::new(stream);
    for last in [false, false, true] {
        let reply = read_reply(&mut input, true);
        assert_eq!((reply.status, reply.body.len()), (200, 4096));
        assert_eq!(reply.header("connection") == Some("close"), last);
    }
    assert_eq!(input.read_to_end(&mut Vec::new()).unwrap_or_default(), 0, "no fourth answer");
}

#[test]
fn one_connection_mixes_files_scripts_and_reports() {
    let tree = small_tree();
    let server = Here::limited(tree.path(), Limits::default());
    let mut stream = connect(&server.address);
    let body = "mac=52-54-00-00-00-01&stage=booted";
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let requests = [
        "GET /assets/small HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /boot.ipxe HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        format!("POST /report HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        "GET /assets/small HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2\r\n\r\n".into(),
        format!("POST /report HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        "GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".into(),
    ];
    stream.write_all(requests.concat().as_bytes()).unwrap();
    let mut input = BufReader::new(stream);
    let statuses: Vec<u16> = requests.iter().map(|_| read_reply(&mut input, true).status).collect();
    assert_eq!(statuses, [200, 200, 204, 206, 204, 404]);
}

#[test]
fn who_expects_a_hundred_and_continue_gets_it_before_the_body_is_sent() {
    let tree = small_tree();
    let server = Here::limited(tree.path(), Limits::default());
    let mut stream = connect(&server.address);
    let body = "mac=52-54-00-00-00-01&stage=booted";
    let head = format!(
        "POST /report HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut first = [0; 25];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    assert!(rest(stream).starts_with("HTTP/1.1 204 "));
}

#[test]
fn a_client_has_so_many_connections_and_others_are_let_in() {
    let tree = small_tree();
    let server = Here::limited(tree.path(), Limits { per_client: 4, ..Limits::default() });
    let ask = |mut stream: TcpStream| {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        read_reply(&mut BufReader::new(&stream), true).status
    };
    let held: Vec<TcpStream> = (0..4).map(|_| connect(&server.address)).collect();
    // Connections are counted as they are accepted, which is in their order.
    let refused = rest(connect(&server.address));
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    server.tells("cut Some(503)");
    assert_eq!(ask(connect_from([127, 0, 0, 2], &server.address)), 200);
    drop(held);
    let started = Instant::now();
    while ask(connect(&server.address)) != 200 {
        assert!(started.elapsed() < SOON);
    }
}

/// Of forty clients that had asked already, two read the 503: the others found a reset.
#[test]
fn clients_beyond_their_limit_that_have_asked_already_read_that_there_is_no_place() {
    let tree = small_tree();
    let server = Here::limited(tree.path(), Limits { per_client: 4, ..Limits::default() });
    let _held: Vec<TcpStream> = (0..4).map(|_| connect(&server.address)).collect();
    for round in 0..40 {
        let mut client = connect(&server.address);
        // It may be turned away before all of it is written.
        let _ = client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let (mut said, mut buffer) = (Vec::new(), [0; 1024]);
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            said.extend_from_slice(&buffer[..length]);
        }
        assert!(said.starts_with(b"HTTP/1.1 503 "), "{round}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn beyond_all_connections_a_client_waits_until_another_is_gone() {
    let tree = small_tree();
    let server = Here::limited(tree.path(), Limits { connections: 3, ..Limits::default() });
    let held: Vec<TcpStream> = (0..3).map(|_| connect(&server.address)).collect();
    let mut waiting = connect(&server.address);
    waiting.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    waiting.read(&mut [0]).unwrap_err();
    drop(held);
    waiting.set_read_timeout(Some(SOON)).unwrap();
    assert!(rest(waiting).ends_with("matchbox\n"));
}

/// attacks.md, C-B1: each connection more than there may be was waited for where all are accepted, and those behind it in the queue
/// with it, for 9 s.
#[test]
fn in_a_house_full_of_connections_that_move_one_too_many_is_told_at_once_and_another_client_is_let_in() {
    let tree = small_tree();
    let server = Here::limited(tree.path(), Limits { connections: 64, ..Limits::default() });
    let ask = |mut stream: &TcpStream| {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut first = [0; 12];
        stream
            .read_exact(&mut first)
            .ok()
            .and_then(|()| first.rsplit(|byte| *byte == b' ').next().map(<[u8]>::to_vec))
    };
    let greedy: Vec<TcpStream> = (0..200).map(|_| connect(&server.address)).collect();
    let other = connect_from([127, 0, 0, 2], &server.address);
    assert_eq!(ask(&other).as_deref(), Some(&b"200"[..]));
    // Each was told before the other was let in, but for those for which there were places. Hardly any rested in so short a time.
    let told = server.told("cut Some(503) all connections are in use, 63 of them by this client");
    assert!(told >= 100 && server.told("it is the least active connection") < 30, "{told} were told");
    assert_eq!(greedy.iter().filter_map(ask).filter(|status| status == b"503").count(), told);
}

#[test]
fn who_stops_reading_is_cut_off_and_who_reads_slowly_is_not() {
    let tree = large_tree();
    let limits = Limits { window: Duration::from_secs(3), ..Limits::default() };
    let server = Here::limited(tree.path(), limits);
    let request = b"GET /assets/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut slow = connect(&server.address);
    slow.write_all(request).unwrap();
    let mut stuck = connect(&server.address);
    stuck.write_all(request).unwrap();
    // All of it in 8 s.
    let mut buffer = vec![0; 160 << 10];
    let mut read = 0;
    while server.told("reads its answer too slowly") == 0 {
        read += slow.read(&mut buffer).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    server.tells("broke off /assets/large");
    loop {
        match slow.read(&mut buffer).unwrap() {
            0 => break,
            more => read += more,
        }
    }
    assert!(read > LARGE, "head and body");
    assert_eq!(server.told("broke off"), 1);
    assert!(rest(stuck).len() < LARGE);
}

#[test]
fn a_long_answer_tells_how_far_it_is() {
    let tree = large_tree();
    let server = Here::limited(tree.path(), Limits::default());
    let mut slow = connect(&server.address);
    slow.write_all(b"GET /assets/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut buffer = vec![0; 1 << 20];
    while server.told("progress") < 3 {
        assert!(slow.read(&mut buffer).unwrap() > 0, "it ended");
        thread::sleep(Duration::from_millis(50));
    }
    rest(slow);
    server.tells("answered 200 /assets/large");
}

#[test]
fn a_file_that_is_cut_while_it_is_sent_breaks_off_instead_of_ending_in_other_bytes() {
    let tree = large_tree();
    let server = Here::limited(tree.path(), Limits::default());
    let mut stream = connect(&server.address);
    stream.write_all(b"GET /assets/large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(tree.path().join("assets/large")).unwrap();
    file.set_len(1 << 20).unwrap();
    assert!(rest(stream).len() < LARGE);
    server.tells("broke off /assets/large");
}

#[test]
fn a_thousand_connections_cost_a_little_memory_each_whether_they_rest_or_load() {
    const COUNT: u64 = 1000;
    /// The task, its timer and its socket; not a buffer among them.
    const REST: u64 = 8;
    /// The record of the transfer besides, and what the allocator keeps of the head.
    const LOAD: u64 = 16;
    limits::allow_open_files();
    let tree = Tree::new().groups(1).file("assets/large", &vec![b'l'; LARGE]).publish();
    let (server, address) =
        http::Server::prebake_with(tree.path(), &["--address", "127.0.0.1:0", "--max-per-client", "2000"]);
    // What is needed once, for whichever number of connections.
    assert_eq!(get(&address, "/assets/large", "Range: bytes=0-999999\n").status, 206);
    let (before, files) = (server.memory(), server.open_files());
    let ask = |request: &str| -> Vec<TcpStream> {
        let streams = (0..COUNT).map(|_| {
            let mut stream = connect(&address);
            write!(stream, "GET {request} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 12]).unwrap();
            stream
        });
        streams.collect()
    };
    let resting = ask("/ipxe");
    let rested = server.memory();
    assert!(rested < before + REST * COUNT, "{before} KiB, then {rested} KiB");
    drop(resting);
    http::soon(|| server.open_files() < files + 10);
    let loading = ask("/assets/large");
    let loaded = server.memory();
    assert!(loaded < before + LOAD * COUNT, "{before} KiB, then {loaded} KiB");
    drop(loading);
}
