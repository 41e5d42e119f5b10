//! `prebake serve` through its socket: what a client may ask, what it may not, and what happens meanwhile.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use prebake::tree::manifest::Role;

use crate::world::http::{Reply, SOON, Server, connect, get, head, read_reply, send, soon};
use crate::world::tree::Tree;
use crate::world::{VERSION, World};

/// Length of the small release's base initrd.
const SIZE: usize = 100_000;

/// The small world, built, and its tree served.
struct Served {
    world: World,
    server: Server,
    address: String,
}

impl Served {
    fn new() -> Served {
        let world = World::new();
        world.build();
        Served::of(world)
    }

    fn of(world: World) -> Served {
        let (server, address) = Server::prebake(&world.path("output/small/current"));
        Served { world, server, address }
    }

    fn get(&self, target: &str) -> Reply {
        get(&self.address, target, "")
    }

    /// A file of the tree that is served.
    fn file(&self, path: &str) -> PathBuf {
        self.world.path("output/small/current").canonicalize().unwrap().join(path)
    }

    /// Everything that comes back until the server closes the connection.
    fn raw(&self, request: &str) -> String {
        let mut stream = connect(&self.address);
        stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A server that refuses may reset the connection, as it leaves the rest unread.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn initrd() -> String {
    format!("/assets/flatcar/{VERSION}/flatcar_production_pxe_image.cpio.gz")
}

/// An initrd too long for the buffers between two sockets, no two pages of which are alike.
fn large() -> Vec<u8> {
    (0..4u32 << 20).flat_map(u32::to_le_bytes).collect()
}

/// A world whose initrd is large, served, and a download of it that has begun.
fn downloading() -> (Served, BufReader<TcpStream>) {
    let world = World::new();
    world.release_file("flatcar_production_pxe_image.cpio.gz", &large());
    world.build();
    let served = Served::of(world);
    let mut stream = connect(&served.address);
    write!(stream, "GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", initrd()).unwrap();
    let mut download = BufReader::new(stream);
    let mut first = [0; 12];
    download.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    (served, download)
}

/// Reads the rest of a download and holds it against what it should be.
fn finish(mut download: BufReader<TcpStream>) {
    let mut rest = Vec::new();
    download.read_to_end(&mut rest).unwrap();
    let body = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(rest[body..] == large(), "{} bytes came, or other ones", rest.len() - body);
}

#[test]
fn head_is_get_without_the_body_and_with_the_same_headers() {
    let served = Served::new();
    let image = initrd();
    for target in [
        "/",
        "/boot.ipxe",
        "/ipxe?mac=52-54-00-00-00-01",
        "/grub",
        "/ignition?mac=52-54-00-00-00-02",
        "/metadata",
        &image,
        "/SHA256SUMS",
        "/report",
        "/none",
    ] {
        let (whole, only) = (served.get(target), head(&served.address, target));
        let undated = |reply: &Reply| {
            let undated = reply.headers.iter().filter(|(name, _)| name != "date");
            undated.cloned().collect::<Vec<_>>()
        };
        assert_eq!((only.status, undated(&only)), (whole.status, undated(&whole)), "{target}");
        assert_eq!(whole.header("content-length"), Some(&*whole.body.len().to_string()), "{target}");
        let raw = served.raw(&format!("HEAD {target} HTTP/1.1\nHost: x\nConnection: close\n\n"));
        assert_eq!(raw.find("\r\n\r\n"), Some(raw.len() - 4), "{target} has a body");
    }
}

#[test]
fn ranges_give_the_first_the_middle_and_the_last_bytes_and_nothing_beyond_the_end() {
    let world = World::new();
    let image: Vec<u8> = large()[..SIZE].to_vec();
    world.release_file("flatcar_production_pxe_image.cpio.gz", &image);
    world.build();
    let served = Served::of(world);
    for (range, part) in [
        ("0-0", 0..1),
        ("0-99", 0..100),
        ("500-50000", 500..50_001),
        ("-100", SIZE - 100..SIZE),
        ("99000-", 99_000..SIZE),
        ("99999-200000", SIZE - 1..SIZE),
        ("-200000", 0..SIZE),
        ("0-9,200000-", 0..10),
    ] {
        let reply = get(&served.address, &initrd(), &format!("Range: bytes={range}\n"));
        let content_range = format!("bytes {}-{}/{SIZE}", part.start, part.end - 1);
        assert_eq!((reply.status, reply.header("content-range")), (206, Some(&*content_range)), "{range}");
        assert!(reply.body == image[part], "{range}");
    }
    for range in ["bytes=100000-", "bytes=-0", "bytes=200000-300000", "bytes=9-1", "bytes=x", "lines=1-2"] {
        let reply = get(&served.address, &initrd(), &format!("Range: {range}\n"));
        let size = format!("bytes */{SIZE}");
        assert_eq!((reply.status, reply.header("content-range")), (416, Some(&*size)), "{range}");
        assert!(reply.text().starts_with("invalid range"), "{range}");
    }

    let twice = get(&served.address, &initrd(), "Range: bytes=0-9\nRange: bytes=20-29\n");
    assert_eq!((twice.status, twice.body.len()), (200, SIZE), "which of them is meant?");

    let reply = get(&served.address, &initrd(), "Range: bytes=0-3,8-11\n");
    assert_eq!(reply.status, 206);
    let kind = reply.header("content-type").unwrap().to_owned();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    for (part, range) in [(&image[0..4], "0-3"), (&image[8..12], "8-11")] {
        let wanted =
            [format!("Content-Range: bytes {range}/{SIZE}\r\n\r\n").as_bytes(), part, b"\r\n--"].concat();
        assert!(reply.body.windows(wanted.len()).any(|bytes| bytes == wanted), "{range}");
    }
    assert!(reply.body.ends_with(format!("\r\n--{boundary}--\r\n").as_bytes()));
}

#[test]
fn a_client_that_has_the_file_is_told_so_and_a_changed_file_comes_whole() {
    let served = Served::new();
    let whole = served.get(&initrd());
    let (etag, modified) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    let earlier = "Thu, 01 Jan 1970 00:00:00 GMT";
    for (headers, status) in [
        (format!("If-None-Match: {etag}\n"), 304),
        (format!("If-None-Match: \"other\", W/{etag}\n"), 304),
        ("If-None-Match: *\n".into(), 304),
        ("If-None-Match: \"other\"\n".into(), 200),
        (format!("If-Modified-Since: {modified}\n"), 304),
        (format!("If-Modified-Since: {earlier}\n"), 200),
        ("If-Modified-Since: yesterday\n".into(), 200),
        (format!("If-Match: {etag}\n"), 200),
        ("If-Match: *\n".into(), 200),
        ("If-Match: \"other\"\n".into(), 412),
        (format!("If-Unmodified-Since: {modified}\n"), 200),
        (format!("If-Unmodified-Since: {earlier}\n"), 412),
        // RFC 9110, 13.1.3: the tag is the better witness.
        (format!("If-None-Match: \"other\"\nIf-Modified-Since: {modified}\n"), 200),
        (format!("Range: bytes=0-9\nIf-Range: {etag}\n"), 206),
        (format!("Range: bytes=0-9\nIf-Range: {modified}\n"), 206),
        ("Range: bytes=0-9\nIf-Range: \"other\"\n".into(), 200),
        (format!("Range: bytes=0-9\nIf-Range: {earlier}\n"), 200),
        (format!("Range: bytes=0-9\nIf-Range: W/{etag}\n"), 200),
    ] {
        let reply = get(&served.address, &initrd(), &headers);
        let length =
            [(200, SIZE), (206, 10), (304, 0), (412, 0)].iter().find(|row| row.0 == status).unwrap().1;
        assert_eq!((reply.status, reply.body.len()), (status, length), "{headers}");
        assert_eq!(reply.header("etag"), Some(etag), "{headers}");
    }
    let reply = served.get("/ignition?mac=52-54-00-00-00-01");
    let etag = reply.header("etag").unwrap();
    let again = get(&served.address, "/ignition?mac=52-54-00-00-00-01", &format!("If-None-Match: {etag}\n"));
    assert_eq!(again.status, 304);
}

/// Sends a byte a second; what the server said before it hung up.
fn trickle(address: &str, start: &str, byte: u8) -> String {
    let mut stream = connect(address);
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(start.replace('\n', "\r\n").as_bytes()).unwrap();
    let (mut said, mut buffer) = (String::new(), [0; 1024]);
    for _ in 0..SOON.as_secs() {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let _ = stream.write_all(&[byte]);
            }
            Ok(0) | Err(_) => return said,
            Ok(read) => said += &String::from_utf8_lossy(&buffer[..read]),
        }
    }
    panic!("it was never cut off");
}

#[test]
fn a_client_that_sends_a_byte_a_second_is_cut_off_while_others_are_served() {
    let served = Served::new();
    thread::scope(|scope| {
        let head = scope.spawn(|| trickle(&served.address, "GET /ipxe HTTP/1.1\nX-Slow: ", b'x'));
        let report = "POST /report HTTP/1.1\nHost: x\nContent-Length: 1000\n\nstage=";
        let body = scope.spawn(|| trickle(&served.address, report, b'x'));
        let mut served_meanwhile = 0;
        while !head.is_finished() || !body.is_finished() {
            assert_eq!(served.get("/ipxe").status, 200);
            served_meanwhile += 1;
            thread::sleep(Duration::from_millis(200));
        }
        assert!(served_meanwhile > 2, "it was cut off at once");
        assert!(!head.join().unwrap().contains(" 200 "), "half a head is no request");
        let said = body.join().unwrap();
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    });
}

#[test]
fn heads_that_are_too_long_or_no_heads_are_refused_and_the_server_goes_on() {
    let served = Served::new();
    let long = "x".repeat(20 << 10);
    let many = "X-Header: x\n".repeat(200);
    for (request, status) in [
        (format!("GET / HTTP/1.1\nHost: x\nX-Long: {long}\n\n"), "431"),
        (format!("GET / HTTP/1.1\nHost: x\n{many}\n"), "431"),
        (format!("GET /{long} HTTP/1.1\nHost: x\n\n"), "414"),
        ("nonsense\n\n".into(), "400"),
        ("GET / HTTP/9.9\nHost: x\n\n".into(), "505"),
        ("GET / HTTP/1.1\nHost: x\nX\u{0}: y\n\n".into(), "400"),
    ] {
        let said = served.raw(&request);
        let start: String = request.chars().take(40).collect();
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{start}: {said}");
        assert_eq!(served.get("/").status, 200);
    }
}

#[test]
fn methods_that_no_machine_uses_are_refused_with_those_that_are_answered() {
    let served = Served::new();
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"] {
        for target in ["/ipxe", "/report", "/none"] {
            let request =
                format!("{method} {target} HTTP/1.1\nHost: x\nContent-Length: 0\nConnection: close\n\n");
            let reply = send(&served.address, &request);
            assert_eq!(reply.status, 405, "{method} {target}");
            assert_eq!(reply.header("allow"), Some("GET, HEAD, POST"), "{method} {target}");
        }
    }
    let target = "/ipxe?mac=52-54-00-00-00-02";
    let host = &served.address;
    let post = format!("POST {target} HTTP/1.1\nHost: {host}\nContent-Length: 3\nConnection: close\n\na=b");
    assert_eq!(send(host, &post).text(), served.get(target).text(), "as Matchbox does");
}

#[test]
fn one_connection_carries_many_requests_and_answers_in_their_order() {
    let served = Served::new();
    let mut stream = connect(&served.address);
    let targets = ["/", "/none", "/boot.ipxe", "/ipxe?mac=52-54-00-00-00-01", "/ignition"];
    for target in targets {
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", served.address).unwrap();
    }
    let mut input = BufReader::new(stream);
    for target in targets {
        let reply = read_reply(&mut input, true);
        assert_eq!(reply.body, served.get(target).body, "{target}");
    }
}

#[test]
fn no_path_leads_out_of_the_tree() {
    let served = Served::new();
    fs::write(served.world.path("output/small/secret"), "SECRET").unwrap();
    fs::write(served.world.path("secret"), "SECRET").unwrap();
    let assets = served.file("assets");
    fs::set_permissions(&assets, fs::Permissions::from_mode(0o755)).unwrap();
    symlink(served.world.path("secret"), assets.join("link")).unwrap();
    fs::write(assets.join("unnamed"), "SECRET").unwrap();
    for target in [
        "/assets/../../secret",
        "/assets/../..",
        "/../secret",
        "/../../../secret",
        "//../secret",
        "/assets/%2e%2e/%2e%2e/secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/assets/..%2f..%2fsecret",
        "/%2e%2e%2fsecret",
        "/assets/%252e%252e/%252e%252e/secret",
        "/assets/..\\..\\secret",
        "/assets/link",
        "/assets/unnamed",
        "/assets/%00",
        "/SHA256SUMS%00.txt",
        "/assets/\u{fe}",
        "/manifest.json/../../secret",
        "/assets",
        "/assets/",
        "/.",
    ] {
        let said = served.raw(&format!("GET {target} HTTP/1.1\nHost: x\nConnection: close\n\n"));
        assert!(said.starts_with("HTTP/1.1 40"), "{target}: {said}");
        assert!(!said.contains("SECRET"), "{target}: {said}");
    }
}

#[test]
fn a_published_file_that_became_a_link_out_of_the_tree_or_was_cut_is_never_sent() {
    let served = Served::new();
    let overlay = "assets/overlay/worker.cpio";
    let path = served.file(overlay);
    let target = format!("/{overlay}");
    let bytes = fs::read(&path).unwrap();
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(served.get(&target).status, 500, "it is gone");

    let outside = served.world.path("secret");
    fs::write(&outside, &bytes).unwrap();
    symlink(&outside, &path).unwrap();
    assert_eq!(served.get(&target).status, 404, "it leads out");
    fs::remove_file(&path).unwrap();

    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let reply = served.get(&target);
    assert!(reply.status == 500 && reply.text().contains("damaged"), "{reply:?}");
    assert_eq!(get(&served.address, &target, "Range: bytes=0-9\n").body, &bytes[..10]);

    fs::write(&path, &bytes).unwrap();
    assert_eq!(served.get(&target).body, bytes);
}

#[test]
fn a_swapped_build_is_served_at_once_and_a_running_download_ends_with_the_old_bytes() {
    let (mut served, download) = downloading();
    let old = served.world.current().unwrap();
    served.world.edit("recipes/worker.ign", "data:,worker", "data:,swapped");
    let new = served.world.build();
    assert_ne!(old, new);
    fs::remove_dir_all(served.world.path("output/small").join(&old)).unwrap();

    assert!(served.get("/ignition").text().contains("data:,swapped"));
    assert!(served.server.says("now serving").contains(&format!("/{new}: ")));
    assert_eq!(served.get(&initrd()).body.len(), large().len());
    finish(download);
}

#[test]
fn a_swap_to_what_cannot_be_served_keeps_the_old_build_and_is_told_once() {
    let mut served = Served::new();
    let old = served.world.current().unwrap();
    let link = |target: &str| {
        let (next, current) =
            (served.world.path("output/small/next"), served.world.path("output/small/current"));
        symlink(target, &next).unwrap();
        fs::rename(next, current).unwrap();
    };
    fs::create_dir(served.world.path("output/small/broken")).unwrap();
    fs::write(served.world.path("output/small/broken/manifest.json"), "{").unwrap();
    link("broken");
    for _ in 0..10 {
        assert_eq!(served.get("/ipxe").status, 200);
        thread::sleep(Duration::from_millis(100));
    }
    // Made whole in its place, it is taken.
    fs::remove_dir_all(served.world.path("output/small/broken")).unwrap();
    let output = served.world.path("output/small");
    let copied = Command::new("cp").args(["-a", &old, "broken"]).current_dir(output).status().unwrap();
    assert!(copied.success());
    thread::sleep(Duration::from_millis(250));
    assert_eq!(served.get("/ipxe").status, 200);
    assert!(served.server.says("now serving").contains("/broken: "));
    let log = served.server.end();
    assert_eq!(log.matches("still serving the old build: ").count(), 1, "{log}");
}

#[test]
fn machines_report_how_far_they_are_within_limits() {
    let mut served = Served::new();
    let post = |body: &str| {
        let length = body.len();
        send(
            &served.address,
            &format!("POST /report HTTP/1.1\nHost: x\nContent-Length: {length}\nConnection: close\n\n{body}"),
        )
    };
    assert_eq!(post("mac=52-54-00-00-00-01&uuid=ABCD&stage=booted&detail=up+and%20well").status, 204);
    assert_eq!(post("mac=52:54:00:00:00:01&stage=joined&detail=%1b[31m%0a").status, 204);
    let long = "x".repeat(1000);
    assert_eq!(post(&format!("uuid=EF01&stage=booted&detail={long}")).status, 204);
    for (body, why) in [
        ("", "`stage`"),
        ("mac=52-54-00-00-00-02", "`stage`"),
        ("stage=booted", "`mac` or a `uuid`"),
        ("stage=booted&mac=nonsense", "`mac` or a `uuid`"),
        ("{\"mac\": \"52-54-00-00-00-02\", \"stage\": \"booted\"}", "`stage`"),
        ("\u{fe}%ff%fe&&==", "`stage`"),
    ] {
        let reply = post(body);
        assert!(reply.status == 400 && reply.text().contains(why), "{body}: {reply:?}");
    }
    let reply = post(&format!("mac=52-54-00-00-00-02&stage=booted&detail={}", "x".repeat(5000)));
    assert!(reply.status == 413 && reply.text().contains("4096"), "{reply:?}");

    let list: serde_json::Value = serde_json::from_slice(&served.get("/report").body).unwrap();
    let said: Vec<[&str; 3]> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|report| ["mac", "uuid", "stage"].map(|key| report[key].as_str().unwrap()))
        .collect();
    assert_eq!(said, [["52:54:00:00:00:01", "", "joined"], ["", "ef01", "booted"]]);
    assert_eq!(list[0]["detail"], "[31m");
    assert_eq!(list[1]["detail"], "x".repeat(200));
    let line = served.server.says("POST /report 204");
    assert!(line.contains("mac=52:54:00:00:00:01") && line.contains("stage=booted"), "{line}");
}

#[test]
fn every_request_leaves_one_line_with_what_the_machine_said_and_what_matched() {
    let mut served = Served::new();
    let asked = [
        ("/boot.ipxe", "GET /boot.ipxe 200 ", ""),
        (
            "/ipxe?mac=52-54-00-00-00-02&uuid=u1",
            "GET /ipxe 200 ",
            " mac=52:54:00:00:00:02 uuid=u1 group=n2 profile=control+n2",
        ),
        (
            "/ignition?mac=52-54-00-00-00-09",
            "GET /ignition 200 ",
            " mac=52:54:00:00:00:09 group=default profile=worker",
        ),
        ("/metadata", "GET /metadata 200 ", " group=default profile=worker"),
        ("/none", "GET /none 404 ", ""),
        ("/ipxe?a=%0A2026-01-01+forged%1b[2J", "GET /ipxe 200 ", "group=default profile=worker"),
        ("/ipxe?a=1+group%3Dadmin", "GET /ipxe 200 ", " a=\"1 group=admin\" group=default profile=worker"),
    ];
    for (target, ..) in asked {
        served.get(target);
    }
    // An answer is told once it has left; a server that is asked to end has told all of them.
    served.server.terminate();
    served.server.wait();
    let log = served.server.end();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("127.0.0.1 ")).collect();
    assert_eq!(lines.len(), asked.len(), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
    // The next answer may be told first.
    for (_, start, end) in asked {
        let start = format!("Z 127.0.0.1 {start}");
        assert!(lines.iter().any(|line| line.contains(&start) && line.ends_with(end)), "{start}: {log}");
    }
    assert!(log.lines().all(|line| !line.starts_with("2026-01-01 forged")), "{log}");
}

#[test]
fn a_download_that_breaks_off_is_told_as_such() {
    let (mut served, download) = downloading();
    drop(download);
    let line = served.server.says(", aborted");
    let length = large().len();
    assert!(line.contains(" 200 ") && line.contains(&format!("of {length}B, aborted")), "{line}");
}

#[test]
fn sigterm_lets_a_running_download_finish_and_ends_with_success() {
    let (mut served, download) = downloading();
    let idle = connect(&served.address);
    served.server.terminate();
    served.server.says("stopping");
    soon(|| TcpStream::connect(&served.address).is_err());
    assert!(served.server.is_running(), "the download was cut");
    finish(download);
    assert_eq!(served.server.wait(), Some(0));
    drop(idle);
}

#[test]
fn an_interrupted_server_ends_as_such_and_a_second_signal_ends_running_downloads() {
    use rustix::process::Signal;
    for (signals, code) in [(&[Signal::INT][..], 130), (&[Signal::TERM, Signal::TERM], 130)] {
        let (mut served, download) = downloading();
        served.server.signal(signals[0]);
        served.server.says("stopping");
        // A download that ends by itself lets the first signal succeed, so the second one finds it open.
        let open = match signals.get(1) {
            Some(second) => {
                served.server.signal(*second);
                Some(download)
            }
            None => {
                finish(download);
                None
            }
        };
        assert_eq!(served.server.wait(), Some(code), "{signals:?}");
        drop(open);
    }
}

#[test]
fn what_cannot_be_served_is_one_error_with_a_hint_and_its_exit_code() {
    let world = World::new();
    world.build();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let current = "output/small/current";
    fs::create_dir_all(world.path("damaged/groups")).unwrap();
    fs::write(world.path("damaged/manifest.json"), "{\"schema\": 1").unwrap();
    fs::create_dir_all(world.path("newer")).unwrap();
    fs::write(world.path("newer/manifest.json"), "{\"schema\": 99}").unwrap();
    for (tree, address, code, words) in [
        (current, &*port, 1, ["cannot listen on 127.0.0.1:", "--address"]),
        (current, "nonsense", 1, ["cannot listen on nonsense", "HOST:PORT"]),
        (current, "192.0.2.1:80", 1, ["cannot listen on 192.0.2.1:80", "address of this machine"]),
        ("nowhere", "127.0.0.1:0", 1, ["nowhere", "prebake build"]),
        ("recipes", "127.0.0.1:0", 1, ["it has no manifest.json", "prebake build"]),
        (
            "recipes/small.yaml",
            "127.0.0.1:0",
            4,
            ["recipes/small.yaml is not a bundle: it is a recipe", "prebake build"],
        ),
        ("damaged", "127.0.0.1:0", 4, ["damaged/manifest.json is not a manifest", "build it again"]),
        ("newer", "127.0.0.1:0", 4, ["has schema 99", "build the tree again"]),
    ] {
        let run = world.prebake(&["serve", tree, "--address", address]);
        run.fails(code, &[words[0], words[1], "hint:"]);
        assert_eq!(run.stderr.matches("error:").count(), 1, "{}", run.stderr);
    }

    // A group that was edited, and one that was published so.
    let group = world.path(current).canonicalize().unwrap().join("groups/n1.json");
    fs::set_permissions(group.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(&group).unwrap();
    fs::write(&group, "{\"profile\": \"worker\", \"selector\": {\"mac\": \"nonsense\"}}").unwrap();
    let run = world.prebake(&["serve", current, "--address", "127.0.0.1:0"]);
    run.fails(4, &["groups/n1.json", "in the manifest", "hint:"]);

    let group = br#"{"profile": "worker", "selector": {"mac": "nonsense"}}"#;
    let tree = Tree::new().row("groups/n1.json", Role::Group, group).publish();
    let run = world.prebake(&["serve", tree.path().to_str().unwrap(), "--address", "127.0.0.1:0"]);
    run.fails(4, &["groups/n1.json", "not a MAC address", "hint:"]);
}

#[test]
fn a_base_url_with_a_slash_at_its_end_leads_to_the_same_script() {
    let world = World::new();
    world.build();
    let (_server, address) = Server::prebake(&world.path("output/small/current"));
    let script = get(&address, "/ipxe?mac=52-54-00-00-00-01", "").text();
    assert!(script.starts_with("#!ipxe\nkernel"), "{script}");
    assert_eq!(get(&address, "//ipxe?mac=52-54-00-00-00-01", "").text(), script);
}

#[test]
fn machines_of_an_inventory_boot_at_once_and_a_broken_edit_of_it_changes_nothing() {
    let world = World::new();
    world.build();
    let nodes = |text: &str| {
        fs::write(world.path("new"), format!("schema: 1\nnodes:\n{text}")).unwrap();
        fs::rename(world.path("new"), world.path("nodes.yaml")).unwrap();
    };
    nodes("  - {name: w7, mac: '52:54:00:00:00:77', profile: worker, ip: 10.0.0.7/24}\n");
    let inventory = world.path("nodes.yaml");
    let tree = world.path("output/small/current");
    let (mut server, address) = Server::prebake_with(&tree, &["--nodes", inventory.to_str().unwrap()]);
    let group = |mac: &str| get(&address, &format!("/metadata?mac={mac}"), "").text();
    assert!(group("52-54-00-00-00-77").contains("NAME=w7"), "{}", group("52-54-00-00-00-77"));
    assert!(group("52-54-00-00-00-01").contains("NAME=n1"), "the tree's own nodes stay");

    nodes("  - {name: n1, mac: '52:54:00:00:00:88', profile: worker}\n");
    assert!(group("52-54-00-00-00-88").contains("NAME=n1"));
    assert!(!group("52-54-00-00-00-01").contains("NAME=n1"), "its card was replaced");
    nodes("  - {name: n1, mac: '52:54:00:00:00:99', profile: wroker}\n");
    assert!(group("52-54-00-00-00-88").contains("NAME=n1"));
    server.says("the tree has no profile `wroker`");
    let explained = world.prebake(&["explain", "output/small/current", "--nodes", "nodes.yaml"]);
    explained.fails(3, &["nodes.yaml:3", "did you mean `worker`?"]);
}
