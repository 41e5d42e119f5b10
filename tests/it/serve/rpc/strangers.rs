//! Clients that are none, and calls that are none: refused, told, and nothing stored.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use prebake::serve::http::limits;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::{Authority, Bench, LATER, field, framed, group_put};
use crate::world::http::soon;

const PUT: &str = "rpcpb.Groups/GroupPut";

#[test]
fn a_client_without_a_good_certificate_stores_nothing_and_is_told_of() {
    let bench = Bench::new();
    let tls = bench.path("tls");
    let foreign = Authority::new("bench", &bench.path("tls/foreign-ca.crt"));
    foreign.issue(&tls, "foreign", ClientAuth, LATER);
    bench.authority.issue(&tls, "expired", ClientAuth, 2001);
    bench.authority.issue(&tls, "purpose", ServerAuth, LATER);
    let mut served = bench.serve(&[]);
    let before = bench.files();
    let body = framed(&group_put("stranger", "p"));
    // As the guide quotes it.
    let guide = fs::read_to_string(crate::world::repository("docs/guides/troubleshooting.md")).unwrap();
    let quoted = guide.split('`').find(|quoted| quoted.contains("its certificate, CN=NAME, expired at"));
    let expired = quoted.unwrap().replace("NAME", "expired").replace("DATE", "2001-").replace('…', "");
    for (client, why) in [
        ("foreign", "gRPC: invalid peer certificate: "),
        ("expired", &*expired),
        ("purpose", "gRPC: invalid peer certificate: "),
    ] {
        let answer = bench.try_call(client, &served, PUT, &body, &[]);
        assert!(answer.is_err(), "{client}: {answer:?}");
        served.server.says(why);
    }
    // Without one, with an old version, and without TLS.
    let none = Command::new("curl")
        .args(["--silent", "--cacert", "tls/ca.crt", "--http2", "--data-binary", "x"])
        .arg(format!("https://{}/{PUT}", served.rpc))
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    assert!(!none.status.success() && none.stdout.is_empty());
    served.server.says("gRPC: peer sent no certificates");
    let old = ["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"];
    bench.try_call("terraform", &served, PUT, &body, &old).unwrap_err();
    served.server.says("gRPC: ");
    let mut plain = TcpStream::connect(&served.rpc).unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    served.server.says("gRPC: received corrupt message");
    assert_eq!(bench.files(), before);
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        let end = if version == "--tlsv1.2" { "1.2" } else { "1.3" };
        let answer = bench.try_call("terraform", &served, PUT, &body, &[version, "--tls-max", end]);
        assert_eq!(answer.unwrap().code, 0, "{version}");
    }
}

/// To webpki a trust anchor is a name and a key, whatever else its certificate says.
#[test]
fn clients_of_an_authority_outside_its_time_and_of_what_is_none_are_refused() {
    let bench = Bench::new();
    let tls = bench.path("tls");
    let mut file = fs::read_to_string(tls.join("ca.crt")).unwrap();
    let mut make = |name: &str, change: &dyn Fn(&mut CertificateParams)| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("{name}-ca"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        file += &params.self_signed(&key).unwrap().pem();
        Authority(Issuer::new(params, key)).issue(&tls, name, ClientAuth, LATER);
    };
    make("lapsed", &|params| params.not_after = date_time_ymd(2001, 1, 1));
    make("coming", &|params| params.not_before = date_time_ymd(2990, 1, 1));
    make("leaf", &|params| params.is_ca = IsCa::NoCa);
    make("signless", &|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    make("served", &|params| params.extended_key_usages = vec![ServerAuth]);
    fs::write(tls.join("ca.crt"), file).unwrap();
    let mut served = bench.serve(&[]);
    for note in ["CN=lapsed-ca", "CN=coming-ca", "CN=leaf-ca", "CN=signless-ca", "CN=served-ca"] {
        assert!(served.server.log.iter().any(|line| line.contains(note)), "{note}: {:?}", served.server.log);
    }
    let before = bench.files();
    let body = framed(&group_put("stranger", "p"));
    for (client, why) in [
        ("lapsed", "invalid peer certificate: its authority, CN=lapsed-ca, expired at 2001-01-01"),
        ("coming", "invalid peer certificate: its authority, CN=coming-ca, holds only from 2990-01-01"),
        ("leaf", "cut off: gRPC: invalid peer certificate: "),
        ("signless", "cut off: gRPC: invalid peer certificate: "),
        ("served", "cut off: gRPC: invalid peer certificate: "),
    ] {
        let answer = bench.try_call(client, &served, PUT, &body, &[]);
        assert!(answer.is_err(), "{client}: {answer:?}");
        served.server.says(why);
    }
    assert_eq!(bench.files(), before);
    bench.does(&served, PUT, &group_put("known", "p"));
}

#[test]
fn a_flood_of_refused_calls_has_some_lines_and_a_sum() {
    let bench = Bench::new();
    let mut served = bench.serve(&[]);
    // One connection, which sends faster than any log should grow. curl takes some answers for faults: see below.
    let _ = bench.try_call("terraform", &served, "rpcpb.X/Y[1-200]", &framed(&[]), &["--max-time", "60"]);
    served.server.says("other refused call");
    let lines = served.server.log.iter().filter(|line| line.contains("gRPC /rpcpb.X/Y")).count();
    assert!((2..100).contains(&lines), "{lines}");
}

#[test]
fn a_message_that_is_too_large_or_broken_is_refused_in_the_words_of_grpc_go() {
    let bench = Bench::new();
    let mut served = bench.serve(&[]);
    let before = bench.files();
    // An answer in the midst of what curl sends may be a fault to it, so it has some tries.
    let call = |path: &str, body: &[u8], args: &[&str]| {
        let mut tries = (0..20).map(|_| bench.try_call("terraform", &served, path, body, args));
        tries.find_map(Result::ok).unwrap()
    };
    let large = framed(&[field(1, "a"), field(2, vec![b'x'; 4 << 20])].concat());
    let words = format!("grpc: received message larger than max ({} vs. 4194304)", large.len() - 5);
    let mut endless = framed(&group_put("x", "p"));
    endless[1] = 0xff;
    let told = "grpc: received message larger than max (4278190";
    for (path, body, words) in [("rpcpb.Generic/GenericPut", &large, &*words), (PUT, &endless, told)] {
        // curl 7.88 takes an answer in the midst of what it sends for a fault; grpc-go's clients read it (`kit`).
        match bench.try_call("terraform", &served, path, body, &[]) {
            Ok(answer) => assert!(answer.code == 8 && answer.words.starts_with(words), "{answer:?}"),
            Err(curl) => assert!(curl.contains("(92)"), "{curl}"),
        }
    }
    let whole = framed(&group_put("x", "p"));
    let answer = call(PUT, &whole[..whole.len() - 1], &[]);
    assert_eq!((answer.code, answer.words.as_str()), (2, "unexpected EOF"));
    assert_eq!(call(PUT, &framed(&[0x0a, 0xff]), &[]).code, 13, "no protobuf");
    assert_eq!(call(PUT, &framed(&field(1, field(1, [0xff]))), &[]).code, 13, "an id that is no UTF-8");
    let packed = call(PUT, &whole, &["-H", "grpc-encoding: gzip"]);
    let unpacked = "grpc: Decompressor is not installed for grpc-encoding \"gzip\"";
    assert_eq!((packed.code, packed.words.as_str()), (12, unpacked));
    for (path, words) in [
        ("rpcpb.Groups/GroupMove", "unknown method GroupMove for service rpcpb.Groups"),
        ("rpcpb.Cloud/CloudPut", "unknown service rpcpb.Cloud"),
        ("Groups/GroupPut", "unknown service Groups"),
        ("GroupPut", "malformed method name: \"/GroupPut\""),
    ] {
        let answer = call(path, &whole, &[]);
        assert_eq!((answer.code, answer.words.as_str()), (12, words));
    }
    let html = call(PUT, &whole, &["-H", "content-type: text/html"]);
    assert_eq!((html.code, html.words.as_str()), (3, "invalid gRPC request content-type \"text/html\""));
    let long = format!("x: {}", "y".repeat(20 << 10));
    let refused = bench.try_call("terraform", &served, PUT, &whole, &["-H", &long]);
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(bench.files(), before);
    served.server.says(&format!("gRPC GenericPut by terraform, refused: ResourceExhausted: {words}"));
    served.server.says(&format!("gRPC GroupPut by terraform, refused: ResourceExhausted: {told}"));
    served.server.says("gRPC /rpcpb.Groups/GroupMove by terraform, refused: Unimplemented: unknown method");
}

#[test]
fn a_message_that_never_ends_is_given_up_and_holds_up_nobody() {
    let bench = Bench::new();
    let mut served = bench.serve(&[]);
    let before = bench.files();
    let mut endless = Command::new("curl")
        .args([
            "--silent",
            "--cacert",
            "tls/ca.crt",
            "--cert",
            "tls/terraform.crt",
            "--key",
            "tls/terraform.key",
        ])
        .args(["--http2", "-H", "content-type: application/grpc", "-T", "-", "-X", "POST", "--no-buffer"])
        .arg(format!("https://{}/{PUT}", served.rpc))
        .current_dir(bench.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let whole = framed(&group_put("endless", "p"));
    let mut pipe = endless.stdin.take().unwrap();
    pipe.write_all(&whole[..whole.len() - 1]).unwrap();
    pipe.flush().unwrap();
    for _ in 0..5 {
        bench.does(&served, "rpcpb.Groups/GroupList", &[]);
    }
    served.server.says("gRPC GroupPut by terraform, refused: DeadlineExceeded");
    drop(pipe);
    endless.wait().unwrap();
    assert_eq!(bench.files(), before);
}

#[test]
fn a_thousand_connections_are_refused_and_told_and_a_client_gets_through() {
    limits::allow_open_files();
    let bench = Bench::new();
    let mut served = bench.serve(&[]);
    let before = bench.files().len();
    let flood: Vec<TcpStream> = (0..1000).map(|_| TcpStream::connect(&served.rpc).unwrap()).collect();
    for number in 0..5 {
        bench.does(&served, PUT, &group_put(&format!("g{number}"), "p"));
    }
    served.server.says("cut off: gRPC: it had not shown a certificate, and others came");
    served.server.says("other connections had no line");
    assert_eq!(bench.files().len(), before + 5);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", served.writer())).unwrap().count();
    soon(|| descriptors() < 400);
    drop(flood);
    soon(|| descriptors() < 40);
}
