//! Bytes on bad roads: what breaks is fetched on, what lies is refused, and nothing is fetched twice.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::lab::mirror::{Fault, Mirror, Request};
use crate::lab::ports;
use crate::world::{Run, VERSION, World};

const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";
const MIB: usize = 1 << 20;

/// A world whose initrd has this many MiB that repeat nowhere.
fn large(mib: usize, faults: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) -> World {
    let world = World::with_faults(faults);
    let mut bytes = Vec::with_capacity(mib * MIB);
    for word in 0..mib * MIB / 8 {
        bytes.extend_from_slice(&(word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    world.release_file(INITRD, &bytes);
    world
}

fn is_initrd(request: &Request) -> bool {
    request.path.ends_with(INITRD)
}

/// What was asked of the initrd: first byte of each range, or nothing for all of it.
fn asked(world: &World) -> Vec<Option<u64>> {
    let first = |range: String| first_byte(&range);
    world.mirror.requests().into_iter().filter(is_initrd).map(|request| request.range.map(first)).collect()
}

/// `bytes=7-9` → 7
fn first_byte(range: &str) -> u64 {
    range["bytes=".len()..].split('-').next().unwrap().parse().unwrap()
}

#[test]
fn a_large_body_comes_in_pieces_and_every_byte_once() {
    let world = large(40, |_| None);
    world.build();
    let mut pieces = asked(&world);
    pieces.sort();
    let expected: Vec<_> = (0..10).map(|piece| Some((piece * 4) << 20)).collect();
    assert_eq!(pieces, expected);
    assert!(world.names("store/partial").is_empty(), "what was completed leaves nothing behind");
}

#[test]
fn a_server_without_ranges_is_asked_for_all_of_it_at_once() {
    let world = large(20, |request| is_initrd(request).then_some(Fault::NoRanges));
    world.build();
    assert_eq!(asked(&world).len(), 1);
}

#[test]
fn a_download_that_is_killed_twenty_times_ends_with_the_right_bytes() {
    const SIZE: usize = 96;
    // As over a network that is slower than the disk: 24 MiB a second over four connections. What lies beyond comes in no run that
    // is to be killed, however long it lasts.
    let reach = Arc::new(AtomicU64::new(0));
    let world = large(SIZE, {
        let reach = reach.clone();
        move |request| {
            let first = || first_byte(request.range.as_deref().unwrap_or("bytes=0-"));
            let is_beyond = || first() >= reach.load(Ordering::Relaxed);
            is_initrd(request).then(|| if is_beyond() { Fault::Stall(0) } else { Fault::Pace(6 << 20) })
        }
    });
    let seed = 20;
    eprintln!("times of the kills from seed {seed}");
    let mut times = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let build = ["build", "recipes/small.yaml"];
    let mut kills = 0;
    let before = world.mirror.sent();
    while kills < 20 {
        kills += 1;
        reach.store(kills * (SIZE * MIB) as u64 / 21, Ordering::Relaxed);
        let mut child = world.command(&build).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(20 + u64::from(times.next_u32() % 150)));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it ended by itself");
    }
    assert_eq!(world.current(), None, "killed {kills} times before the end");
    reach.store(u64::MAX, Ordering::Relaxed);
    let build_id = world.build();
    let sent = (world.mirror.sent() - before) as f64 / (SIZE * MIB) as f64;
    eprintln!("killed {kills} times; {sent:.3} times the size was sent");
    assert!(sent < 1.2, "{sent} times the size was sent");
    assert_eq!(build_id, large(SIZE, |_| None).build());
}

#[test]
fn a_link_that_drops_again_and_again_brings_the_body_piece_by_piece() {
    let world = large(24, |request| is_initrd(request).then_some(Fault::Truncate(3 << 20)));
    let run = world.prebake(&["build", "recipes/small.yaml"]).ok();
    assert!(run.stderr.contains("download aborted after"), "{}", run.stderr);
    assert!(world.mirror.sent() < 26 << 20, "{} bytes were sent", world.mirror.sent());
}

#[test]
fn a_body_that_changed_since_it_broke_off_is_begun_anew() {
    let world = large(20, |request| {
        // The first run ends early; then the server has another body, and says so.
        let fault = if request.earlier < 3 { Fault::Truncate(2 << 20) } else { Fault::Etag("\"other\"") };
        is_initrd(request).then_some(fault)
    });
    world.build();
    let conditions: Vec<_> =
        world.mirror.requests().into_iter().filter(is_initrd).map(|request| request.if_range).collect();
    assert!(conditions.iter().flatten().next().is_some(), "nothing was asked on condition: {conditions:?}");
    assert_eq!(world.build(), large(20, |_| None).build());
}

#[test]
fn what_the_disk_lost_of_an_earlier_run_is_fetched_anew() {
    let world = large(20, |_| None);
    let mut child = interrupted(&world, 4);
    child.kill().unwrap();
    child.wait().unwrap();
    let partial = world.path("store/partial").join(&world.names("store/partial")[0]).join("data");
    let size = fs::metadata(&partial).unwrap().len();
    fs::File::options().write(true).open(&partial).unwrap().set_len(0).unwrap();
    fs::File::options().write(true).open(&partial).unwrap().set_len(size).unwrap();
    let run = world.prebake(&["build", "recipes/small.yaml"]).ok();
    assert!(run.stderr.contains("resumed"), "{}", run.stderr);
    assert!(run.stderr.contains("the bytes from an earlier run are discarded"), "{}", run.stderr);
}

/// A slow build whose initrd has arrived in part.
fn interrupted(world: &World, mib: u64) -> Child {
    let mut command = world.command(&["build", "recipes/small.yaml", "--limit-rate", "8M"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let arrived = |world: &World| {
        let name = world.names("store/partial").into_iter().next()?;
        let map = fs::read(world.path("store/partial").join(name).join("map")).ok()?;
        Some(map.iter().filter(|mark| **mark == 1).count() as u64 * (64 << 10))
    };
    while arrived(world).unwrap_or_default() < mib << 20 {
        assert!(Instant::now() < deadline, "nothing arrives");
        thread::sleep(Duration::from_millis(10));
    }
    child
}

#[test]
fn a_second_build_waits_for_the_body_that_the_first_one_fetches() {
    let world = large(20, |_| None);
    world.build();
    fs::remove_dir_all(world.path("store")).unwrap();
    fs::remove_dir_all(world.path("output")).unwrap();
    let before = world.mirror.sent();
    let mut first = interrupted(&world, 2);
    let run = world.prebake(&["build", "recipes/small.yaml", "--output", "other"]).ok();
    assert!(first.wait().unwrap().success());
    assert!(run.stderr.contains("another prebake is fetching it"), "{}", run.stderr);
    assert!(world.mirror.sent() - before < 21 << 20, "the body was sent twice");
}

/// `Retry-After: 999999999` was waited for without a word (attacks.md, siblings of C-M11).
#[test]
fn a_server_that_bids_to_come_back_in_years_is_asked_again_in_a_minute_and_that_is_told() {
    for end in [INITRD, ".sig"] {
        let busy = move |request: &Request| request.path.ends_with(end) && request.earlier == 0;
        let world = World::with_faults(move |request| busy(request).then_some(Fault::Busy(999_999_999)));
        let mut build =
            world.command(&["build", "recipes/small.yaml"]).stderr(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(build.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = told.inspect(|line| eprintln!("{line}")).find(|line| line.contains("retry in 60 s"));
        let _ = (build.kill(), build.wait());
        let line = line.unwrap();
        assert!(line.contains("429") && line.contains(end.trim_start_matches('.')), "{line}");
    }
}

#[test]
fn a_silent_server_is_given_up_and_what_came_is_kept() {
    let world = large(20, |request| {
        is_initrd(request).then_some(Fault::Stall(if request.earlier == 0 { 1 << 20 } else { 0 }))
    });
    let run = world.prebake(&["build", "recipes/small.yaml", "--stall-timeout", "300ms"]);
    run.fails(6, &[INITRD, "stalled", "is kept: run the same command again"]);
    assert!(!world.names("store/partial").is_empty());
}

#[test]
fn a_server_that_drips_is_given_up_though_it_is_never_silent() {
    let world = World::with_faults(|request| is_initrd(request).then_some(Fault::Drip(50)));
    let run = world.prebake(&["build", "recipes/small.yaml", "--stall-timeout", "1s"]);
    run.fails(6, &[INITRD, "stalled", "bytes in 1s"]);
}

#[test]
fn a_body_without_an_end_is_cut_at_its_locked_size() {
    let world =
        World::with_faults(|request| (is_initrd(request) && request.earlier > 0).then_some(Fault::Endless));
    world.build();
    fs::remove_dir_all(world.path("store")).unwrap();
    world
        .prebake(&["build", "recipes/small.yaml"])
        .fails(4, &[INITRD, "longer than the limit of 100000 bytes"]);
}

#[test]
fn an_answer_to_another_range_is_refused() {
    let world = large(20, |request| {
        (is_initrd(request) && request.range.as_deref() == Some("bytes=4194304-8388607"))
            .then_some(Fault::WrongRange(4096))
    });
    world
        .prebake(&["build", "recipes/small.yaml"])
        .fails(6, &[INITRD, "requested bytes 4194304–8388607", "answered bytes 4096-"]);
}

#[test]
fn a_redirect_loop_ends() {
    let path = format!("/stable/amd64-usr/{VERSION}/{INITRD}");
    let world =
        World::with_faults(move |request| (request.path == path).then_some(Fault::Redirect("?again")));
    world.prebake(&["build", "recipes/small.yaml"]).fails(6, &[INITRD, "redirect", "too many redirects"]);
}

#[test]
fn a_redirect_from_https_to_http_is_refused() {
    let world = World::new();
    let directory = world.path("tls/stable/amd64-usr/current");
    fs::create_dir_all(&directory).unwrap();
    let redirect = format!(
        "HTTP/1.0 302 Found\r\nLocation: {}/stable/amd64-usr/current/version.txt\r\n\r\n",
        world.mirror.url()
    );
    fs::write(directory.join("version.txt"), redirect).unwrap();
    let server = TlsServer::start(&world);
    let run = Command::new(env!("CARGO_BIN_EXE_prebake"))
        .args(["build", "recipes/small.yaml"])
        .current_dir(world.path("."))
        .env("PREBAKE_STORE", world.path("store"))
        .env("PREBAKE_MIRROR_FLATCAR", format!("https://localhost:{}", server.port))
        .env("SSL_CERT_FILE", world.path("tls/cert.pem"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(6), "{stderr}");
    assert!(stderr.contains("redirect from https to http"), "{stderr}");
}

#[test]
fn a_system_without_ca_certificates_fetches_from_http_mirrors_and_says_what_https_needs() {
    let world = World::new();
    let build = |mirror: &str| {
        let mut command = world.command(&["build", "recipes/small.yaml"]);
        // As in a container from scratch: the file that is looked for is not there.
        command.env("SSL_CERT_FILE", world.path("absent.pem")).env("PREBAKE_MIRROR_FLATCAR", mirror);
        Run::of(command.output().unwrap())
    };
    build("https://localhost:1").fails(5, &["https://localhost:1/", "no CA certificates", "SSL_CERT_FILE"]);
    build(&world.mirror.url()).ok();
}

#[test]
fn a_server_whose_certificate_nobody_vouches_for_is_not_asked_twice() {
    let (world, other) = (World::new(), World::new());
    for world in [&world, &other] {
        fs::create_dir_all(world.path("tls")).unwrap();
    }
    let (server, _other) = (TlsServer::start(&world), TlsServer::start(&other));
    let mut command = world.command(&["build", "recipes/small.yaml"]);
    command
        .env("SSL_CERT_FILE", other.path("tls/cert.pem"))
        .env("PREBAKE_MIRROR_FLATCAR", format!("https://localhost:{}", server.port));
    let run = Run::of(command.output().unwrap());
    assert!(!run.stderr.contains("retry"), "{}", run.stderr);
    run.fails(5, &["certificate is not trusted", "invalid peer certificate", "SSL_CERT_FILE"]);
}

/// OpenSSL's own server: it answers with files that hold whole HTTP answers.
struct TlsServer {
    process: Child,
    port: u16,
}

impl TlsServer {
    fn start(world: &World) -> TlsServer {
        let directory = world.path("tls");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args([
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-addext",
                "subjectAltName=DNS:localhost",
                "-keyout",
                "key.pem",
                "-out",
                "cert.pem",
            ])
            .current_dir(&directory)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = ports::unused().port();
        let mut process = Command::new("openssl")
            .args([
                "s_server",
                "-HTTP",
                "-4",
                "-key",
                "key.pem",
                "-cert",
                "cert.pem",
                "-accept",
                &port.to_string(),
            ])
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It says ACCEPT once it listens.
        let mut heard = Vec::new();
        let mut byte = [0];
        let output = process.stdout.as_mut().unwrap();
        while !heard.ends_with(b"ACCEPT") {
            assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&heard));
            heard.push(byte[0]);
        }
        TlsServer { process, port }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    let world =
        World::with_faults(|request| (is_initrd(request) && request.earlier == 0).then_some(Fault::Busy(2)));
    let started = Instant::now();
    let run = world.prebake(&["build", "recipes/small.yaml"]).ok();
    assert!(run.stderr.contains("the server answered 429"), "{}", run.stderr);
    // Its own patience would have been a fifth of a second.
    assert!(started.elapsed() >= Duration::from_secs(2));
}

#[test]
fn a_directory_can_be_a_mirror() {
    let world = World::new();
    let by_http = world.build();
    fs::remove_dir_all(world.path("store")).unwrap();
    let mirror = format!("file://{}", world.path("release").display());
    let mut command = world.command(&["build", "recipes/small.yaml"]);
    assert!(command.env("PREBAKE_MIRROR_FLATCAR", &mirror).output().unwrap().status.success());
    assert_eq!(world.current(), Some(by_http));
    fs::remove_dir_all(world.path("store")).unwrap();
    fs::remove_file(world.path(&format!("release/stable/amd64-usr/{VERSION}/{INITRD}"))).unwrap();
    let output = world
        .command(&["build", "recipes/small.yaml"])
        .env("PREBAKE_MIRROR_FLATCAR", &mirror)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains(INITRD), "{stderr}");
}

/// ux.md 1.19, 2026-11-28: an interrupted fetch from a directory began again, although it said that it would go on.
#[test]
fn a_fetch_from_a_directory_goes_on_where_it_was_interrupted() {
    let world = World::new();
    let large: Vec<u8> = (0..24u32 << 20).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
    world.release_file(INITRD, &large);
    let mirror = format!("file://{}", world.path("release").display());
    let build = |more: &[&str]| {
        let mut command = world.command(&[&["build", "recipes/small.yaml"], more].concat());
        command.env("PREBAKE_MIRROR_FLATCAR", &mirror);
        command
    };
    let mut child = build(&["--limit-rate", "4M"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    // A part of it is here, whatever the machine's speed.
    let is_partly_here = || {
        let partials = fs::read_dir(world.path("store/partial")).into_iter().flatten().flatten();
        let maps = partials.filter_map(|entry| fs::read(entry.path().join("map")).ok());
        maps.flatten().filter(|mark| *mark == 1).count() > 20
    };
    crate::world::http::soon(is_partly_here);
    child.kill().unwrap();
    child.wait().unwrap();
    let output = build(&["--events", "events.jsonl"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let events = fs::read_to_string(world.path("events.jsonl")).unwrap();
    let resumed = events
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .any(|event| event["have"].as_u64().is_some_and(|have| have > 1 << 20));
    assert!(resumed, "{events}");
    // A file that changed meanwhile is another one: its beginning is not kept.
    fs::remove_dir_all(world.path("store")).unwrap();
    let mut child = build(&["--limit-rate", "4M"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    crate::world::http::soon(is_partly_here);
    child.kill().unwrap();
    child.wait().unwrap();
    let other: Vec<u8> = large.iter().rev().copied().collect();
    world.release_file(INITRD, &other);
    fs::remove_file(world.path("recipes/small.lock")).unwrap();
    let output = build(&[]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = world.path("output/small/current/assets/flatcar/4593.2.5").join(INITRD);
    assert!(fs::read(built).unwrap() == other, "the initrd is not the file that is there now");
}

#[test]
fn the_next_mirror_is_asked_where_the_first_lacks_a_file_and_not_for_wrong_bytes() {
    let world = World::new();
    let empty = Mirror::builder().start().unwrap();
    let both = format!("{},{}", empty.url(), world.mirror.url());
    let run = |mirrors: &str| {
        let mut command = world.command(&["build", "recipes/small.yaml"]);
        command.env("PREBAKE_MIRROR_FLATCAR", mirrors).output().unwrap()
    };
    assert!(run(&both).status.success());
    fs::remove_dir_all(world.path("store")).unwrap();
    let lying = World::new();
    lying.release_file(INITRD, &[b'x'; 100_000]);
    let refused = run(&format!("{},{}", lying.mirror.url(), world.mirror.url()));
    assert_eq!(refused.status.code(), Some(4), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[test]
fn a_mirror_in_the_environment_that_is_no_url_is_told_with_its_variable() {
    let world = World::new();
    for (mirror, told) in [
        ("127.0.0.1:8000", "`127.0.0.1:8000`"),
        ("ftp://mirror.example", "`ftp://mirror.example`"),
        ("http://mirror.example,mirror", "`mirror`"),
        ("http://", "`http:`"),
        ("ftp://me:s3cr3t@mirror.example", "`ftp://***@mirror.example`"),
        ("me:s3cr3t@mirror.example:80", "`***@mirror.example:80`"),
        // A run of 2026-11-29: paths were put behind those, and what is not UTF-8 was taken for no mirror at all.
        ("http://mirror.example/f?token=s3cr3t", "`http://mirror.example/f?…`, which ends in a query"),
        ("http://mirror.example/f?", "which ends in a query"),
        ("http://mirror.example/f#s3cr3t", "`http://mirror.example/f#…`, which ends in a fragment"),
    ] {
        let mut command = world.command(&["build", "recipes/small.yaml"]);
        let run = Run::of(command.env("PREBAKE_MIRROR_FLATCAR", mirror).output().unwrap());
        run.fails(2, &["PREBAKE_MIRROR_FLATCAR", told, "hint: write base URLs"]);
        assert!(!run.stderr.contains("s3cr3t"), "{}", run.stderr);
    }
    let mut command = world.command(&["build", "recipes/small.yaml"]);
    command.env("PREBAKE_MIRROR_FLATCAR", OsStr::from_bytes(b"http://me:s3cr3t@mirror.example/\xff"));
    let run = Run::of(command.output().unwrap());
    run.fails(2, &["PREBAKE_MIRROR_FLATCAR", "which is not UTF-8", "hint: write base URLs"]);
    assert!(!run.stderr.contains("s3cr3t"), "{}", run.stderr);
    world.edit(
        "recipes/small.yaml",
        "schema: 1",
        "schema: 1\nmirrors: {flatcar: ['http://m.example/?t=s3cr3t']}",
    );
    let run = world.prebake(&["plan", "recipes/small.yaml"]);
    run.fails(3, &["a mirror is `http://m.example/?…`, which ends in a query", "small.yaml:2"]);
}
