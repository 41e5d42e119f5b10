//! What a client with a good certificate cannot do either: take all memory, time without end, or the server's end.
//!
//! The client is one that HTTP/2 allows and grpc-go is not: it sends many calls at once, and may take no answer.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture, join_all, select_all};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::{Signal, geteuid};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::process::{ended, is_there, signal};
use super::{Bench, Served, field, framed, group_put, profile_put};
use crate::world::http::{get, soon};

/// A message as large as it may be, or nearly.
const LARGE: usize = 4 << 20;

impl Bench {
    /// The configuration of a client that knows the server and shows its own certificate.
    fn client(&self) -> ClientConfig {
        let chain = |path: &str| CertificateDer::pem_file_iter(self.path(path)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(chain("tls/ca.crt").map(Result::unwrap));
        let own: Vec<CertificateDer<'static>> = chain("tls/terraform.crt").map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(self.path("tls/terraform.key")).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config =
            config.unwrap().with_root_certificates(roots).with_client_auth_cert(own, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// Calls that are made at once, on one connection, by a client that takes so many bytes of each answer unasked. It goes
    /// away when its look at them has ended.
    fn at_once(
        &self,
        served: &Served,
        window: u32,
        calls: usize,
        path: &str,
        message: impl Fn(usize) -> Vec<u8>,
        look: impl AsyncFnOnce(Vec<LocalBoxFuture<'static, Response<Incoming>>>),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = TcpStream::connect(&served.rpc).await.unwrap();
            let connector = TlsConnector::from(Arc::new(self.client()));
            let stream = connector.connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap();
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(window).initial_connection_window_size(LARGE as u32);
            let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let sent = (0..calls).map(|call| {
                let request = Request::post(format!("https://127.0.0.1/{path}"))
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(Full::new(Bytes::from(framed(&message(call)))))
                    .unwrap();
                let mut sender = sender.clone();
                let sent = async move {
                    sender.ready().await.unwrap();
                    sender.send_request(request).await.unwrap()
                };
                sent.boxed_local()
            });
            look(sent.collect()).await;
        });
    }
}

impl Served {
    /// The most memory that its process for gRPC ever had, in MiB.
    fn most_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.writer())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }
}

/// The status of an answer without a message.
fn status(response: &Response<Incoming>) -> Option<&str> {
    response.headers().get("grpc-status").and_then(|status| status.to_str().ok())
}

/// A `GenericPutRequest`.
fn generic_put(name: &str, config: &[u8]) -> Vec<u8> {
    [field(1, name), field(2, config)].concat()
}

/// Review of issue 21, 3: one of these took 650 MB, ten of them 5.6 GB.
#[test]
fn long_templates_are_judged_one_after_the_other() {
    let bench = Bench::new();
    let served = bench.serve(&[]);
    let template = b"{{.a}}".repeat(LARGE / 6 - 20);
    bench.at_once(
        &served,
        1 << 16,
        10,
        "rpcpb.Generic/GenericPut",
        |call| generic_put(&format!("g{call}"), &template),
        async |calls| {
            for answer in join_all(calls).await {
                let collected = answer.into_body().collect().await.unwrap();
                assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
            }
        },
    );
    let most = served.most_memory();
    eprintln!("most memory for ten templates of 4 MiB: {most} MiB");
    assert!(most < 600, "{most} MiB");
    assert_eq!(fs::read(bench.path("data/generic/g9")).unwrap(), template);
}

/// Review of issue 21, 22.
#[test]
fn a_client_that_has_gone_away_takes_no_turn() {
    let bench = Bench::new();
    let served = bench.serve(&[]);
    let template = b"{{.a}}".repeat(100_000);
    let put = |name: &str| generic_put(name, &template);
    let path = "rpcpb.Generic/GenericPut";
    bench.at_once(
        &served,
        1 << 16,
        40,
        path,
        |call| put(&format!("g{call}")),
        async |calls| {
            drop(select_all(calls).await);
        },
    );
    // It comes behind all that wait.
    bench.does(&served, path, &put("last"));
    let stored = bench.files().iter().filter(|path| path.starts_with("generic/g")).count();
    assert!((1..20).contains(&stored), "{stored} of 40");
}

/// Review of issue 21, 4: one connection took 600 MB, and 256 of them are allowed.
#[test]
fn answers_that_nobody_takes_have_a_bound_together() {
    let bench = Bench::new();
    let served = bench.serve(&[]);
    let text = vec![b'x'; LARGE - 100];
    bench.does(&served, "rpcpb.Generic/GenericPut", &generic_put("large", &text));
    let before = served.most_memory();
    bench.at_once(
        &served,
        0,
        128,
        "rpcpb.Generic/GenericGet",
        |_| field(1, "large"),
        async |calls| {
            let answers = join_all(calls).await;
            let refused = answers.iter().filter(|answer| status(answer) == Some("8")).count();
            assert!(refused >= 128 - 16, "{refused} of 128 are refused");
            assert!(refused < 128, "some are answered");
        },
    );
    let most = served.most_memory();
    eprintln!("most memory for 128 answers of 4 MiB: {most} MiB, {before} MiB before");
    assert!(most < before + 320, "{most} MiB, {before} MiB before");
    // The client has gone away.
    soon(|| bench.call(&served, "rpcpb.Generic/GenericGet", &field(1, "large")).code == 0);
}

/// Review of issue 21, 22.
#[test]
fn a_call_ends_when_its_client_waits_no_longer() {
    let bench = Bench::new();
    let mut served = bench.serve(&[]);
    let before = bench.files();
    let mut half = framed(&group_put("x", "p"));
    half.truncate(half.len() - 1);
    // The message never ends; without the header it is given up after 30 s, in other words.
    fs::write(bench.path("half"), half).unwrap();
    let url = format!("https://{}/rpcpb.Groups/GroupPut", served.rpc);
    let script = format!(
        "(cat half; sleep 20) | curl --silent --cacert tls/ca.crt --cert tls/terraform.crt --key tls/terraform.key --http2 \
         -H 'content-type: application/grpc' -H 'grpc-timeout: 200m' -T - -X POST --dump-header - {url}"
    );
    let said = Command::new("sh").args(["-c", &script]).current_dir(bench.path("")).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("grpc-status: 4") && said.contains("context%20deadline%20exceeded"), "{said}");
    served.server.says("gRPC GroupPut by terraform, refused: DeadlineExceeded: context deadline exceeded");
    assert_eq!(bench.files(), before);
}

/// Review of issue 21, 5: the parent waited for 15 s, and left behind what did not end.
#[test]
fn a_writer_that_does_not_end_is_ended_with_its_server() {
    // One that is stopped, and one in the midst of a judgement that takes longer than anybody waits.
    let bench = Bench::new();
    let mut stopped = bench.serve(&[]);
    let writer = stopped.writer();
    signal(writer, Signal::STOP);
    stopped.server.terminate();

    let busy = Bench::new();
    let mut served = busy.serve(&[]);
    let partitions: Vec<String> = (1..30_000).map(|number| format!(r#"{{"label":"p{number}"}}"#)).collect();
    let config = format!(
        r#"{{"ignition":{{"version":"3.3.0"}},"storage":{{"disks":[{{"device":"/dev/sda","partitions":[{}]}}]}}}}"#,
        partitions.join(",")
    );
    let message = generic_put("slow.ign", config.as_bytes());
    fs::write(busy.path("message"), framed(&message)).unwrap();
    let mut client = Command::new("curl")
        .args([
            "--silent",
            "--cacert",
            "tls/ca.crt",
            "--cert",
            "tls/terraform.crt",
            "--key",
            "tls/terraform.key",
        ])
        .args([
            "--http2",
            "-H",
            "content-type: application/grpc",
            "--data-binary",
            "@message",
            "--output",
            "answer",
        ])
        .arg(format!("https://{}/rpcpb.Ignition/IgnitionPut", served.rpc))
        .current_dir(busy.path(""))
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let busy_writer = served.writer();
    served.server.terminate();
    assert_eq!(served.server.wait(), Some(0));
    assert!(!is_there(busy_writer), "it is left behind");
    let _ = client.kill();
    client.wait().unwrap();
    let left: Vec<_> = fs::read_dir(busy.path("data/ignition")).into_iter().flatten().collect();
    assert!(left.len() <= 1, "{left:?}");
    if let Ok(whole) = fs::read(busy.path("data/ignition/slow.ign")) {
        assert_eq!(whole, config.as_bytes());
    }

    stopped.server.says("the process that serves gRPC did not end, and was killed");
    assert_eq!(stopped.server.wait(), Some(0));
    assert!(!is_there(writer), "it is left behind");
}

/// Review of issue 21, 12: landlock knows directories, and not their names.
#[test]
fn a_directory_that_was_replaced_is_told_to_the_client_and_in_the_log() {
    let bench = Bench::new();
    fs::rename(bench.path("data"), bench.path("first")).unwrap();
    symlink("first", bench.path("data")).unwrap();
    let mut served = bench.serve(&[]);
    if served.confined.contains("no landlock") {
        eprintln!("skipped: this kernel has no landlock");
        return;
    }
    bench.does(&served, "rpcpb.Groups/GroupPut", &group_put("g", "p"));
    for folder in ["other/groups", "other/profiles"] {
        fs::create_dir_all(bench.path(folder)).unwrap();
    }
    symlink("other", bench.path("next")).unwrap();
    fs::rename(bench.path("next"), bench.path("data")).unwrap();
    for (path, message) in [
        ("rpcpb.Groups/GroupPut", group_put("h", "p")),
        ("rpcpb.Generic/GenericPut", generic_put("deep/g", b"x")),
    ] {
        let answer = bench.call(&served, path, &message);
        assert_eq!(answer.code, 2);
        let words = "data was replaced by another directory while the server ran";
        assert!(answer.words.contains(words) && answer.words.contains("restart the server"), "{answer:?}");
        let line = served.server.says(words);
        assert!(line.contains("refused: "), "{line}");
    }
    assert!(!served.server.log.iter().any(|line| line.contains("give the folder to that user")));
    // The right one again.
    symlink("first", bench.path("next")).unwrap();
    fs::rename(bench.path("next"), bench.path("data")).unwrap();
    bench.does(&served, "rpcpb.Groups/GroupPut", &group_put("h", "p"));
    assert!(bench.path("first/groups/h.json").exists() && !bench.path("other/groups/h.json").exists());
}

/// Newcomer to issue 21: `bootcmd group list` was empty, and a plan would have made everything anew, since neither shows an error.
#[test]
fn a_directory_that_took_the_place_of_the_first_is_told_by_every_call() {
    let bench = Bench::new();
    let mut served = bench.serve(&[]);
    bench.does(&served, "rpcpb.Groups/GroupPut", &group_put("kept", "p"));
    fs::rename(bench.path("data"), bench.path("bad")).unwrap();
    let copy = Command::new("cp").arg("-a").args([bench.path("bad"), bench.path("data")]).status();
    assert!(copy.unwrap().success());
    if served.confined.contains("no landlock") {
        eprintln!("skipped: this kernel has no landlock");
        return;
    }
    let calls =
        [("GroupPut", group_put("kept", "p")), ("GroupGet", field(1, "kept")), ("GroupList", Vec::new())];
    for (call, message) in calls {
        let answer = bench.call(&served, &format!("rpcpb.Groups/{call}"), &message);
        assert!(answer.words.contains("data was replaced by another directory"), "{call}: {answer:?}");
        assert_eq!(answer.code, 2);
        served.server.says("replaced");
    }
}

/// Breaker and newcomer to issue 21: `the user may not write there`, without a path.
#[test]
fn a_folder_that_is_closed_while_the_server_runs_is_named_in_the_log() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root becomes somebody else");
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for folder in ["data", "data/groups", "data/profiles"] {
        chown(bench.path(folder), Some(65534), Some(65533)).unwrap();
    }
    let mut served = bench.serve(&["--user", "65534:65533"]);
    chown(bench.path("data/groups"), Some(0), Some(0)).unwrap();
    let answer = bench.call(&served, "rpcpb.Groups/GroupPut", &group_put("x", "p"));
    assert!(answer.words.ends_with("permission denied"), "{answer:?}");
    let line = served.server.says("the user 65534 may not write ");
    assert!(line.contains("data/groups: ") && line.contains("chown"), "{line}");
}

/// Review of issue 21, 23: Terraform could not make the first group, and one without its profile held up all edits.
#[test]
fn a_strict_server_begins_empty_and_goes_on_with_what_clients_store_in_any_order() {
    let bench = Bench::new();
    for path in ["data/groups", "data/profiles"] {
        fs::remove_dir_all(bench.path(path)).unwrap();
    }
    let mut served = bench.serve(&["--strict"]);
    assert_eq!(get(&served.http, "/ipxe", "").status, 404);
    // A group before its profile, which has a config that is not there: another one is served all the same.
    bench.does(&served, "rpcpb.Groups/GroupPut", &group_put("orphan", "none"));
    bench.does(&served, "rpcpb.Profiles/ProfilePut", &profile_put("p", "one"));
    bench.does(&served, "rpcpb.Groups/GroupPut", &group_put("default", "p"));
    bench.does(&served, "rpcpb.Groups/GroupDelete", &field(1, "orphan"));
    assert_eq!(get(&served.http, "/ipxe", "").text(), "#!ipxe\nkernel one\nboot\n");
    bench.does(&served, "rpcpb.Groups/GroupPut", &group_put("orphan", "none"));
    bench.does(&served, "rpcpb.Profiles/ProfilePut", &profile_put("p", "two"));
    bench.does(&served, "rpcpb.Generic/GenericPut", &generic_put("empty", b""));
    // The default is the first of two by its name.
    assert_eq!(get(&served.http, "/ipxe", "").text(), "#!ipxe\nkernel two\nboot\n");
    served.server.says("its profile `none` is unavailable");
    // A file that is wrong in itself holds up all, as ever; over gRPC it is refused.
    let of_the_api = served.server.log.iter().any(|line| line.contains("still serving"));
    assert!(!of_the_api, "{:?}", served.server.log);
    let doubtful = field(
        1,
        [field(1, "x"), field(3, "p"), field(4, [field(1, "MAC"), field(2, "52:54:00:00:00:01")].concat())]
            .concat(),
    );
    let answer = bench.call(&served, "rpcpb.Groups/GroupPut", &doubtful);
    assert!(answer.code == 3 && answer.words.contains("since the server is --strict: "), "{answer:?}");
    drop(served);
    // It starts on what the API stored, too.
    let served = bench.serve(&["--strict"]);
    assert_eq!(get(&served.http, "/ipxe", "").text(), "#!ipxe\nkernel two\nboot\n");
    let both = ["serve", "--matchbox", "data", "--rpc-address", "127.0.0.1:0", "--strict", "--lenient"];
    ended(&bench, &both).fails(2, &["--lenient", "--strict", "cannot be used with"]);
    let alone = ["serve", "--matchbox", "data", "--address", "127.0.0.1:0", "--strict"];
    ended(&bench, &alone).fails(3, &["its profile `none` is unavailable"]);
}

/// Review of issue 21 by a newcomer: it was found out at the renewal, a year later.
#[test]
fn a_key_of_https_that_the_user_cannot_read_is_told_at_the_start() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root becomes somebody else");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let mode =
        |path: &str, mode| fs::set_permissions(bench.path(path), fs::Permissions::from_mode(mode)).unwrap();
    mode("", 0o755);
    mode("tls/server.key", 0o600);
    for folder in ["data", "data/groups", "data/profiles"] {
        chown(bench.path(folder), Some(65534), Some(65533)).unwrap();
    }
    let tls = ["--tls-address", "127.0.0.1:0", "--tls-cert", "tls/server.crt", "--tls-key", "tls/server.key"];
    let served = bench.serve(&[&tls[..], &["--user", "65534:65533"]].concat());
    let told = "warning: HTTPS: cannot read tls/server.key: Permission denied";
    let line = served.server.log.iter().find(|line| line.contains(told)).cloned();
    let line = line.unwrap_or_else(|| panic!("{:?}", served.server.log));
    assert!(line.contains("user 65534, which the server has become, needs it"), "{line}");
}
