//! The story on standard error and data on standard output: a full disk, a closed pipe or one that nobody reads stops nothing.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::serve::tftp;
use crate::world::World;
use crate::world::http::{connect, get, read_reply, soon};

/// A server whose standard error is ours to read, to leave or to close.
struct Told {
    process: Child,
    stderr: Option<BufReader<ChildStderr>>,
    http: String,
    tftp: SocketAddr,
}

impl Told {
    fn new(world: &World) -> Told {
        world.build();
        world.write("ipxe/undionly.kpxe", "bios");
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        command.args(["serve", "--address", "127.0.0.1:0", "--tftp=127.0.0.1:0", "--ipxe-dir"]);
        command.arg(world.path("ipxe")).arg(world.path("output/small/current"));
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let (mut http, mut tftp) = (None, None);
        let (mut line, mut said) = (String::new(), String::new());
        // The last line of the start.
        while http.is_none() || tftp.is_none() || !line.contains("no machine reaches the loopback") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended, and said: {said}");
            said += &line;
            let address = line.trim_end().rsplit('/').next().unwrap_or_default();
            if line.starts_with("listening on http://") {
                http = Some(address.to_owned());
            }
            if line.starts_with("listening on tftp://") {
                tftp = address.parse().ok();
            }
        }
        Told { process, stderr: Some(stderr), http: http.unwrap(), tftp: tftp.unwrap() }
    }

    /// The first answer to a request by TFTP: an opcode.
    fn tftp(&self, name: &str) -> u8 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (answer, from) = tftp::ask(&socket, format!("\0\u{1}{name}\0octet\0").as_bytes(), self.tftp);
        socket.send_to(b"\0\x05\0\0enough\0", from).unwrap();
        answer[1]
    }

    /// Everything that a site needs still works, each of it more than once.
    fn works(&mut self) {
        for _ in 0..3 {
            // 5 is an error, 3 is data.
            assert_eq!((self.tftp("no-such-file"), self.tftp("undionly.kpxe")), (5, 3));
            // One connection, kept.
            let mut stream = connect(&self.http);
            for _ in 0..2 {
                stream.write_all(b"GET /ipxe?mac=52-54-00-00-00-01 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                assert_eq!(read_reply(&mut BufReader::new(&stream), false).status, 200);
            }
            let body = "mac=52-54-00-00-00-01&stage=booted";
            write!(
                stream,
                "POST /report HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            assert_eq!(read_reply(&mut BufReader::new(&stream), false).status, 204);
        }
        assert!(get(&self.http, "/report", "").text().contains("booted"));
        // More connections than one client may have: those beyond are turned away, which is told, too.
        let many: Vec<_> = (0..300).map(|_| connect(&self.http)).collect();
        drop(many);
        assert!(self.process.try_wait().unwrap().is_none(), "it ended");
        // They count until the server has seen that they are gone.
        soon(|| get(&self.http, "/boot.ipxe", "").status == 200);
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_server_whose_log_goes_nowhere_answers_as_before() {
    let world = World::new();
    let mut server = Told::new(&world);
    // Whatever read it has ended, as `tee` does on a full disk.
    server.stderr = None;
    server.works();
}

#[test]
fn a_server_whose_log_nobody_reads_answers_as_before_and_counts_the_lines_that_were_lost() {
    let world = World::new();
    let mut server = Told::new(&world);
    let mut stream = connect(&server.http);
    // A pipe holds 64 KiB, the queue 1,024 lines.
    for number in 0..3000 {
        let request = format!("GET /none-{number}-{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100));
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(read_reply(&mut BufReader::new(&stream), false).status, 404);
    }
    server.works();
    // Then somebody reads again.
    let lines = server.stderr.take().unwrap().lines();
    let lost = lines
        .map_while(Result::ok)
        .find(|line| line.contains("log lines dropped: more came than could be written"));
    assert!(lost.is_some());
}

#[test]
fn a_line_of_the_log_is_no_longer_than_a_person_reads() {
    let world = World::new();
    let mut server = Told::new(&world);
    // `%1b` becomes six characters in the log.
    let target = format!("/ipxe?mac=52-54-00-00-00-01&hostname={}", "%1b".repeat(2000));
    get(&server.http, &target, "");
    let mut line = String::new();
    server.stderr.as_mut().unwrap().read_line(&mut line).unwrap();
    assert!(line.contains("/ipxe") && line.contains("more characters)"), "{line}");
    assert!(line.chars().count() < 1100, "{} characters", line.chars().count());
}

#[test]
fn a_machine_cannot_turn_a_line_of_the_log_around_or_make_two_of_it() {
    let world = World::new();
    let mut server = Told::new(&world);
    // Right-to-left override, line separator, zero-width space, C1's next line, and what people are really called.
    get(&server.http, "/ipxe?mac=52-54-00-00-00-01&hostname=a%E2%80%AEb%E2%80%A8c%E2%80%8Bd%C2%85%C3%BC", "");
    let mut line = String::new();
    server.stderr.as_mut().unwrap().read_line(&mut line).unwrap();
    for shown in ["a\\u{202e}b", "b\\u{2028}c", "c\\u{200b}d", "d\\u{85}", "ü"] {
        assert!(line.contains(shown), "no {shown} in {line}");
    }
}

#[test]
fn a_build_whose_words_go_nowhere_ends_by_its_own_rules() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let world = World::new();
    // A verdict that could not be printed is a failure; the same of one that was printed to the end is 10.
    let plan = ["plan", "recipes/small.yaml", "--exit-code"];
    assert_eq!(world.prebake(&plan).code, Some(10));
    let output = world.command(&plan).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    // What it tells is lost, and the build is not.
    let status = world
        .command(&["build", "recipes/small.yaml"])
        .stdout(Stdio::null())
        .stderr(full())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let build = world.current().unwrap();
    // Data that could not be written is a failure, as of every program, and says so.
    let output = world.command(&["build", "recipes/small.yaml", "--json"]).stdout(full()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("standard output") && said.contains("No space left"), "{said}");
    assert_eq!(world.current().unwrap(), build);
    // A reader that has seen enough is none.
    let mut child = world
        .command(&["build", "recipes/small.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn every_verb_that_reports_survives_a_full_standard_output() {
    let world = World::new();
    world.build();
    let tree = "output/small/current";
    for verb in [
        &["plan", "recipes/small.yaml"][..],
        &["plan", "recipes/small.yaml", "--json"],
        &["verify", tree],
        &["explain", tree],
        &["explain", tree, "--mac", "52:54:00:00:00:01"],
        &["diff", tree, tree],
        &["store", "ls"],
        &["store", "path"],
        &["release", "show", "stable", "latest"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut child = world.command(verb).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let code = child.wait().unwrap().code();
        assert_ne!(code, Some(101), "{verb:?} panicked: {said}");
        assert!(!said.contains("panicked"), "{verb:?}: {said}");
    }
}
