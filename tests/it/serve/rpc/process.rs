//! The process that serves gRPC: its rights, its environment, and how it and the server end together.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{Bench, Served, framed, group_put, profile_put};
use crate::world::Run;
use crate::world::http::{get, soon};

pub(super) fn signal(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(id.try_into().unwrap()).unwrap(), signal).unwrap();
}

pub(super) fn is_there(id: u32) -> bool {
    // A process that nobody has waited for is there by name alone.
    fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Runs a server that is not to start.
fn refused(bench: &Bench, args: &[&str]) -> Run {
    let command = bench.command(args);
    let mut timed = Command::new("timeout");
    timed.arg("120").arg(command.get_program()).args(command.get_args()).current_dir(bench.path(""));
    Run::of(timed.output().unwrap())
}

#[test]
fn what_a_client_writes_is_a_file_and_holds_at_the_next_request_over_http() {
    let bench = Bench::new();
    let mut served = bench.serve(&[]);
    bench.does(&served, "rpcpb.Profiles/ProfilePut", &profile_put("q", "other"));
    bench.does(&served, "rpcpb.Groups/GroupPut", &group_put("default", "q"));
    assert_eq!(get(&served.http, "/ipxe", "").text(), "#!ipxe\nkernel other\nboot\n");
    let line = served.server.says("gRPC GroupPut");
    assert!(line.ends_with("127.0.0.1 gRPC GroupPut groups/default.json by terraform"), "{line}");
    assert!(served.server.log.iter().any(|line| line.contains("ProfilePut profiles/q.json by terraform")));
    let refused = bench.call(&served, "rpcpb.Groups/GroupPut", &group_put("x", ""));
    assert_eq!((refused.code, refused.words.as_str()), (2, "Group requires a Profile"));
    served.server.says("gRPC GroupPut groups/x.json by terraform, refused: Group requires a Profile");
}

#[test]
fn the_log_is_of_one_form_and_level_in_both_processes() {
    let bench = Bench::new();
    let mut command = bench.command(&["--log-format", "json"]);
    let mut served = Served::start(&mut command);
    bench.does(&served, "rpcpb.Profiles/ProfilePut", &profile_put("q", "k"));
    let line: serde_json::Value = serde_json::from_str(&served.server.says("ProfilePut")).unwrap();
    let of = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    assert_eq!([of("event"), of("level"), of("client")], ["rpc", "info", "terraform"]);
    assert_eq!([of("method"), of("path"), of("peer")], ["ProfilePut", "profiles/q.json", "127.0.0.1"]);
    drop(served);
    let mut served = bench.serve(&["-log-level", "warn"]);
    bench.does(&served, "rpcpb.Profiles/ProfilePut", &profile_put("q", "k"));
    bench.call(&served, "rpcpb.Groups/GroupPut", &group_put("", "q"));
    served.server.says("refused: Id is required");
    assert!(!served.server.log.iter().any(|line| line.contains("ProfilePut")), "{:?}", served.server.log);
}

#[test]
fn the_variables_of_matchbox_do_what_its_flags_do() {
    let bench = Bench::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.arg("serve").env("MATCHBOX_ADDRESS", "127.0.0.1:0").env("MATCHBOX_DATA_PATH", bench.path("data"));
    command.env("MATCHBOX_RPC_ADDRESS", "127.0.0.1:0").env("MATCHBOX_CA_FILE", bench.path("tls/ca.crt"));
    command.env("MATCHBOX_CERT_FILE", bench.path("tls/server.crt"));
    command.env("MATCHBOX_KEY_FILE", bench.path("tls/server.key"));
    let served = Served::start(&mut command);
    bench.does(&served, "rpcpb.Groups/GroupList", &[]);
    // A flag that is empty turns it off.
    let mut off = crate::world::http::Server::start(command.args(["-rpc-address", ""]));
    off.says("serving ");
    assert!(!off.log.iter().any(|line| line.contains("grpc://")), "{:?}", off.log);
}

#[test]
fn the_server_may_write_nothing_and_its_child_the_data_directory_alone() {
    let bench = Bench::new();
    let mut served = bench.serve(&[]);
    if served.confined.contains("no landlock") {
        eprintln!("skipped: this kernel has no landlock");
        return;
    }
    assert!(
        served.confined.contains("may read data and ")
            && served.confined.contains("tls, may write data")
            && !served.confined.contains("write data and"),
        "{}",
        served.confined
    );
    let own = served
        .server
        .log
        .iter()
        .find(|line| line.contains(" confined: ") || line.starts_with("confined: "))
        .cloned();
    let own = own.unwrap_or_else(|| served.server.says("confined: may read"));
    assert!(own.contains("may write nothing") && !own.contains("tls"), "{own}");
    // Its descriptors, variables and threads are its own.
    let writer = served.writer();
    let environment = fs::read(format!("/proc/{writer}/environ")).unwrap();
    let names = String::from_utf8(environment).unwrap();
    for name in ["HOME", "PATH", "NOTIFY_SOCKET", "MATCHBOX"] {
        assert!(!names.split('\0').any(|variable| variable.starts_with(name)), "{names}");
    }
    for task in fs::read_dir(format!("/proc/{writer}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default();
        assert!(status.is_empty() || status.contains("NoNewPrivs:\t1"), "{status}");
    }
}

#[test]
fn a_service_manager_hears_of_the_server_alone() {
    let bench = Bench::new();
    let manager = UnixDatagram::bind(bench.path("notify")).unwrap();
    manager.set_read_timeout(Some(crate::world::http::SOON)).unwrap();
    let mut command = bench.command(&[]);
    command.env("NOTIFY_SOCKET", bench.path("notify")).env("MATCHBOX_PASSPHRASE", "hush");
    let served = Served::start(&mut command);
    let mut buffer = [0; 4096];
    let length = manager.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"READY=1\n"));
    let environment = fs::read(format!("/proc/{}/environ", served.writer())).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    assert!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("hush"), "{environment}");
}

#[test]
fn both_become_the_user_who_must_be_able_to_write() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root becomes somebody else");
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(bench.path("tls/server.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let user = ["--user", "65534:65533"];
    refused(&bench, &user).fails(1, &["cannot write into ", "where the data is", "leave out --rpc-address"]);
    for folder in ["data", "data/groups", "data/profiles"] {
        chown(bench.path(folder), Some(65534), Some(65533)).unwrap();
    }
    let served = bench.serve(&user);
    // The key was read before, and will not be once more.
    let told = |line: &&String| line.contains("warning: gRPC: cannot read tls/server.key: Permission denied");
    let line = served.server.log.iter().find(told).unwrap();
    assert!(line.contains("user 65534, which the server has become, needs it"), "{line}");
    bench.does(
        &served,
        "rpcpb.Ignition/IgnitionPut",
        &[super::field(1, "a.ign"), super::field(2, CONFIG)].concat(),
    );
    let meta = fs::metadata(bench.path("data/ignition/a.ign")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 65534);
    let status = fs::read_to_string(format!("/proc/{}/status", served.writer())).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
}

/// Neither content, time nor length of a file changes with its mode.
#[test]
fn a_renewed_key_that_cannot_be_read_is_told_with_the_cause_and_its_repair_noticed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root becomes somebody else");
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    for folder in ["data", "data/groups", "data/profiles"] {
        chown(bench.path(folder), Some(65534), Some(65533)).unwrap();
    }
    let mut served = bench.serve(&["--user", "65534:65533"]);
    let mode = |mode| {
        fs::set_permissions(bench.path("tls/server.key"), fs::Permissions::from_mode(mode)).unwrap();
    };
    bench.authority.issue(
        &bench.path("tls"),
        "server",
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        super::LATER,
    );
    mode(0o600);
    // Files are looked at once a second at most.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    bench.does(&served, "rpcpb.Groups/GroupList", &[]);
    served.server.says("still using the old certificate: cannot read tls/server.key: Permission denied");
    mode(0o644);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    bench.does(&served, "rpcpb.Groups/GroupList", &[]);
    served.server.says("new certificate loaded");
}

/// A config that is as it should be.
const CONFIG: &str = r#"{"ignition":{"version":"3.3.0"}}"#;

#[test]
fn a_writer_whose_server_was_killed_ends_and_gives_its_port_back() {
    let bench = Bench::new();
    let mut served = bench.serve(&[]);
    let writer = served.writer();
    let mut waiting = Command::new("curl")
        .args([
            "--silent",
            "--cacert",
            "tls/ca.crt",
            "--cert",
            "tls/terraform.crt",
            "--key",
            "tls/terraform.key",
        ])
        .args(["--http2", "-H", "content-type: application/grpc", "-T", "-", "-X", "POST"])
        .arg(format!("https://{}/rpcpb.Groups/GroupPut", served.rpc))
        .current_dir(bench.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    signal(served.server.id(), Signal::KILL);
    served.server.wait();
    soon(|| !is_there(writer));
    TcpListener::bind(&served.rpc).unwrap();
    drop(waiting.stdin.take());
    waiting.wait().unwrap();
}

#[test]
fn a_writer_that_stands_still_does_not_outlive_a_server_that_ends_at_once() {
    for ends in [&[Signal::KILL][..], &[Signal::TERM, Signal::TERM]] {
        let bench = Bench::new();
        let mut served = bench.serve(&[]);
        let writer = served.writer();
        signal(writer, Signal::STOP);
        for (at, end) in ends.iter().enumerate() {
            signal(served.server.id(), *end);
            if at + 1 < ends.len() {
                // Another signal of the same number would be the same to it.
                soon(|| TcpStream::connect(&served.http).is_err());
            }
        }
        served.server.wait();
        soon(|| !is_there(writer));
        TcpListener::bind(&served.rpc).unwrap();
    }
}

#[test]
fn a_server_whose_writer_was_killed_ends_with_an_error() {
    let bench = Bench::new();
    let mut served = bench.serve(&[]);
    signal(served.writer(), Signal::KILL);
    let line = served.server.says("error: ");
    assert!(line.contains("the process that serves gRPC") && line.contains("signal: 9"), "{line}");
    assert_eq!(served.server.wait(), Some(1));
}

#[test]
fn a_server_that_is_told_to_stop_ends_with_its_writer_and_no_error() {
    for number in [Signal::TERM, Signal::INT] {
        let bench = Bench::new();
        let mut served = bench.serve(&[]);
        let writer = served.writer();
        // As a terminal and a service manager do it; the writer first, which must not matter.
        signal(writer, number);
        signal(served.server.id(), number);
        let code = served.server.wait();
        assert_eq!(code, Some(if number == Signal::TERM { 0 } else { 130 }), "{:?}", served.server.log);
        soon(|| !is_there(writer));
    }
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start_with_the_way_out() {
    let bench = Bench::new();
    bench.authority.issue(
        &bench.path("tls"),
        "other",
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        super::LATER,
    );
    fs::write(bench.path("empty"), "").unwrap();
    assert!(Command::new("mkfifo").arg(bench.path("pipe")).status().unwrap().success());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let holder = format!("(process {}) has this port: stop it first", std::process::id());
    for (args, code, words) in [
        (
            &["-cert-file", "none.crt"][..],
            1,
            &["cannot read none.crt", "--cert-file, --key-file and --ca-file"][..],
        ),
        (
            &["-key-file", "tls/other.key"],
            5,
            &["tls/other.key does not belong to the certificate tls/server.crt"],
        ),
        (&["-ca-file", "empty"], 5, &["empty cannot be used: it contains no PEM certificate"]),
        (
            &["-ca-file", "tls/server.key"],
            5,
            &["tls/server.key cannot be used", "--key-file and --ca-file name it", "--key-file for its key"],
        ),
        (
            &["-cert-file", "tls/server.key"],
            5,
            &[
                "tls/server.key cannot be used",
                "--cert-file and --key-file name it",
                "for the server's certificate",
            ],
        ),
        (&["-ca-file", "tls/server.crt"], 5, &["is no authority", "no client's certificate either"]),
        (&["-cert-file", "tls/terraform.crt"], 5, &["tls/terraform.crt cannot be used", "not for a server"]),
        (&["-cert-file", "pipe"], 5, &["pipe cannot be used: it is a pipe, a socket or a device"]),
        (
            &["-rpc-address", &taken],
            1,
            &["cannot listen on", "for gRPC", &*holder, "choose another with --rpc-address"],
        ),
        (&["-rpc-address", "nonsense"], 1, &["nonsense for gRPC", "give HOST:PORT"]),
        (&["-data-path", "absent"], 1, &["absent"]),
    ] {
        let mut all =
            vec!["-cert-file", "tls/server.crt", "-key-file", "tls/server.key", "-ca-file", "tls/ca.crt"];
        all.extend(["--address", "127.0.0.1:0", "-rpc-address", "127.0.0.1:0", "-data-path", "data"]);
        let name = args[0];
        let at = all.iter().position(|word| *word == name).unwrap();
        all[at + 1] = args[1];
        ended(&bench, &[&["serve"], all.as_slice()].concat()).fails(code, words);
    }
    let tree = ["serve", "tree", "--rpc-address", "127.0.0.1:0"];
    ended(&bench, &tree).fails(2, &["writes a Matchbox data directory, and tree is none", "--matchbox DIR"]);
    let slip = ["serve", "data", "--rpc-address", "127.0.0.1:0"];
    ended(&bench, &slip).fails(2, &["data is no tree, but a Matchbox data directory", "--matchbox data"]);
    let none = ["serve", "--address", "127.0.0.1:0", "--rpc-address", "127.0.0.1:0"];
    ended(&bench, &none).fails(2, &["--rpc-address needs a data directory", "--matchbox DIR"]);
    let alone = [
        "serve-rpc",
        "--matchbox",
        "data",
        "--rpc-address",
        "127.0.0.1:0",
        "--log-format",
        "text",
        "--log-level",
        "info",
    ];
    let alone = [
        &alone[..],
        &["--cert-file", "tls/server.crt", "--key-file", "tls/server.key", "--ca-file", "tls/ca.crt"],
    ]
    .concat();
    let run = ended(&bench, &alone);
    assert!(run.stdout.contains("is a part of `prebake serve`"), "{}", run.stdout);
}

pub(super) fn ended(bench: &Bench, args: &[&str]) -> Run {
    let mut command = Command::new("timeout");
    command.args(["120", env!("CARGO_BIN_EXE_prebake")]).args(args).current_dir(bench.path(""));
    Run::of(command.stdin(Stdio::null()).output().unwrap())
}

#[test]
fn renewed_certificates_and_authorities_hold_for_new_connections() {
    let bench = Bench::new();
    let mut served = bench.serve(&[]);
    bench.does(&served, "rpcpb.Groups/GroupList", &[]);
    // Another authority: the old client is no client any more.
    let other = super::Authority::new("renewed", &bench.path("tls/new-ca.crt"));
    other.issue(&bench.path("tls"), "server", rcgen::ExtendedKeyUsagePurpose::ServerAuth, super::LATER);
    other.issue(&bench.path("tls"), "renewed", rcgen::ExtendedKeyUsagePurpose::ClientAuth, super::LATER);
    fs::rename(bench.path("tls/new-ca.crt"), bench.path("tls/ca.crt")).unwrap();
    let list = |client: &str| bench.try_call(client, &served, "rpcpb.Groups/GroupList", &framed(&[]), &[]);
    soon(|| list("renewed").is_ok_and(|answer| answer.code == 0));
    assert!(list("terraform").is_err());
    served.server.says("new certificate loaded");
}
