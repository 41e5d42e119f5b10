//! Networks as users have them: mirrors whose backends differ, proxies, captive portals, certificates that were made by the
//! book. Each case is a shape and what must come of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::lab::mirror::{Fault, Mirror, Request, Unclear};
use crate::lab::ports;
use crate::world::http::SOON;
use crate::world::{Run, VERSION, World};

const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";
const KERNEL: &str = "flatcar_production_pxe.vmlinuz";
const LOCK: [&str; 2] = ["lock", "recipes/small.yaml"];
const MIB: usize = 1 << 20;

/// A world whose initrd comes in pieces.
fn large(faults: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) -> World {
    let world = World::with_faults(move |request| faults(request).filter(|_| is_initrd(request)));
    let mut bytes = vec![0x1f, 0x8b];
    for word in 0..12 * MIB / 8 {
        bytes.extend_from_slice(&(word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    world.release_file(INITRD, &bytes);
    world
}

fn is_initrd(request: &Request) -> bool {
    request.path.ends_with(INITRD)
}

fn asked(world: &World) -> Vec<Request> {
    world.mirror.requests().into_iter().filter(is_initrd).collect()
}

/// 781flyingdutchman/background_downloader#541.
#[test]
fn a_download_ends_however_the_backends_behind_a_mirror_differ() {
    type Backends = fn(&Request) -> Option<Fault>;
    let cases: [(&str, Backends); 6] = [
        ("an ETag each", |request| Some(Fault::Etag(["\"a\"", "\"b\""][request.earlier % 2]))),
        ("a time each", |request| {
            let times = ["Sat, 01 Aug 2026 10:00:00 GMT", "Sat, 01 Aug 2026 10:00:01 GMT"];
            Some(Fault::Modified(times[request.earlier % 2]))
        }),
        ("an ETag, or a time", |request| {
            let faults = [Fault::Etag("\"a\""), Fault::Modified("Sat, 01 Aug 2026 10:00:00 GMT")];
            Some(faults[request.earlier % 2])
        }),
        ("ranges, or none", |request| (request.earlier % 2 == 1).then_some(Fault::NoRanges)),
        ("a length each", |request| (request.earlier % 2 == 1).then_some(Fault::Total(13 << 20))),
        ("a byte for each question", |request| request.range.is_some().then_some(Fault::Crumb)),
    ];
    for (shape, backends) in cases {
        let world = large(backends);
        world.prebake(&LOCK).ok();
        let requests = asked(&world).len();
        assert!(requests < 300, "{shape}: {requests} requests");
        assert!(world.mirror.sent() < 40 << 20, "{shape}: {} bytes", world.mirror.sent());
        assert!(world.names("store/partial").is_empty(), "{shape}");
    }
}

#[test]
fn a_mirror_that_only_ever_crumbles_is_given_up() {
    // What is asked for at once breaks off, too.
    let world = large(|request| match request.range {
        Some(_) => Some(Fault::Crumb),
        None => Some(Fault::Truncate(1000)),
    });
    world.prebake(&LOCK).fails(6, &[INITRD, "download aborted after 1000"]);
    let whole = asked(&world).iter().filter(|request| request.range.is_none()).count();
    assert_eq!(whole, 3, "a stream has its three attempts");
}

#[test]
fn answers_that_do_not_say_which_bytes_they_are_lead_to_one_plain_question() {
    for unclear in [Unclear::NoTotal, Unclear::NoHeader, Unclear::Multipart] {
        let world = large(move |_| Some(Fault::Unclear(unclear)));
        world.prebake(&LOCK).ok();
        assert_eq!(asked(&world).len(), 2, "{unclear:?}");
        // A server may know ranges at first.
        let world = large(move |request| (request.earlier > 0).then_some(Fault::Unclear(unclear)));
        world.prebake(&LOCK).ok();
    }
}

/// A lying `Content-Range` once made every later build abort.
#[test]
fn a_length_that_cannot_be_is_refused_before_there_is_anything_of_it_and_the_honest_mirror_is_believed() {
    for total in [1152921504606846976, u64::MAX, 5 << 30] {
        let world = large(move |request| (request.earlier == 0).then_some(Fault::Total(total)));
        world
            .prebake(&LOCK)
            .fails(4, &[INITRD, "longer than the limit of 4294967296 bytes", "use another mirror"]);
        assert!(world.names("store/partial").is_empty(), "{total}");
        world.prebake(&LOCK).ok();
    }
}

#[test]
fn bodies_without_an_end_are_cut_at_what_their_kind_may_have() {
    let endless = |request: &Request| request.path.ends_with("version.txt").then_some(Fault::Endless);
    let world =
        World::with_faults(move |request| endless(request).filter(|_| request.path.contains(VERSION)));
    world.prebake(&LOCK).fails(4, &["version.txt", "longer than the limit of 1048576 bytes"]);
    assert!(world.names("store/tmp").is_empty());
}

/// coursier/coursier#2024, dotnet/TorchSharp#1546.
#[test]
fn codings_that_nobody_asked_for_are_undone_or_named() {
    let path = |request: &Request, suffix: &str| request.path.ends_with(suffix);
    type Coded = Box<dyn Fn(&Request) -> Option<Fault> + Send + Sync>;
    let packed = |what: &'static str| -> Coded { Box::new(move |r| path(r, what).then_some(Fault::Gzip)) };
    let labelled = |coding: &'static str| -> Coded {
        Box::new(move |r| path(r, INITRD).then_some(Fault::Coding(coding)))
    };
    let undone: [(&str, Coded); 5] = [
        ("the kernel", packed(KERNEL)),
        ("signatures", packed(".sig")),
        ("version.txt", packed("version.txt")),
        ("a .gz that is called gzip", labelled("gzip")),
        ("a .gz that is called x-gzip", labelled("x-gzip")),
    ];
    let plain = World::new().build();
    for (shape, coded) in undone {
        let world = World::with_faults(move |request| coded(request));
        assert_eq!(world.build(), plain, "{shape}");
        let requests = world.mirror.requests();
        assert!(requests.iter().all(|request| request.accept_encoding.as_deref() == Some("identity")));
    }
    let world = World::with_faults(move |request| path(request, KERNEL).then_some(Fault::Coding("br")));
    world.prebake(&LOCK).fails(6, &[KERNEL, "Content-Encoding: br", "turn compression off"]);
    // Packed twice, and unpacked on the way.
    large(|_| Some(Fault::Gzip)).prebake(&LOCK).ok();
    let world = large(|_| None);
    let directory = world.path("release/stable/amd64-usr").join(VERSION);
    fs::write(directory.join(INITRD), b"070701").unwrap();
    let run = world.prebake(&LOCK);
    assert!(matches!(run.code, Some(4 | 5)), "{}", run.stderr);
    for words in ["it was decompressed on the way", "decompresses .gz files on the way", &world.mirror.url()]
    {
        assert!(run.stderr.contains(words), "no {words} in {}", run.stderr);
    }
}

const PORTAL: &str = "<!DOCTYPE html><html><head><title>Please sign in to the network</title></head></html>";

/// netbootxyz/netboot.xyz#1712.
#[test]
fn a_captive_portal_is_called_a_page_at_the_address_that_was_really_asked() {
    for suffix in ["current/version.txt", "vmlinuz.sig", INITRD] {
        let world =
            World::with_faults(move |request| request.path.ends_with(suffix).then_some(Fault::Page(PORTAL)));
        let run = world.prebake(&LOCK);
        run.fails(
            6,
            &[&world.mirror.url(), suffix, "an HTML page", "Please sign in to the network", "captive portal"],
        );
        assert!(!run.stderr.contains("https://stable"), "nobody asked there: {}", run.stderr);
    }
}

#[test]
fn wrong_bytes_are_told_with_the_mirror_that_sent_them() {
    let world = World::with_faults(|request| request.path.ends_with(KERNEL).then_some(Fault::Corrupt(3)));
    let run = world.prebake(&LOCK);
    assert!(matches!(run.code, Some(4 | 5)), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("sent by {}/stable", world.mirror.url())), "{}", run.stderr);
}

/// netbootxyz/netboot.xyz#1712, flatcar/Flatcar#2160: the release server redirects to a host that a site blocks.
#[test]
fn a_redirect_to_a_host_that_cannot_be_reached_names_both() {
    let closed = ports::unused();
    let target: &'static str = Box::leak(format!("http://{closed}/x?Signature=s3cr3t").into_boxed_str());
    let path = format!("/stable/amd64-usr/{VERSION}/{KERNEL}");
    let world = World::with_faults(move |request| (request.path == path).then_some(Fault::Redirect(target)));
    let run = world.prebake(&LOCK);
    run.fails(
        6,
        &[&world.mirror.url(), KERNEL, &format!("redirects to http://{closed}/x?…"), "no connection"],
    );
    assert!(!run.stderr.contains("s3cr3t"), "{}", run.stderr);
}

/// flatcar/Flatcar#2160: 4593.2.2 had no PXE files for some hours.
#[test]
fn a_release_without_its_pxe_files_is_told_from_one_that_there_is_not() {
    for version in ["", &format!(", version: {VERSION}")] {
        let world = World::new();
        world.edit("recipes/small.yaml", "{channel: stable}", &format!("{{channel: stable{version}}}"));
        let directory = world.path("release/stable/amd64-usr").join(VERSION);
        fs::remove_file(directory.join(KERNEL)).unwrap();
        if !version.is_empty() {
            fs::remove_file(directory.join(format!("{KERNEL}.sig"))).unwrap();
        }
        let words = [
            &format!("Flatcar {VERSION} exists"),
            "but lacks flatcar_production_pxe.vmlinuz",
            "pin the release before",
        ];
        let run = world.prebake(&LOCK);
        run.fails(7, &words);
        assert!(!run.stderr.contains("lacks flatcar_production_pxe.vmlinuz.sig"), "{}", run.stderr);
    }
    let world = World::new();
    world.edit("recipes/small.yaml", "{channel: stable}", "{channel: stable, version: 1.2.3}");
    world.prebake(&LOCK).fails(7, &["there is no Flatcar release 1.2.3"]);
}

/// A user and a password in front of the mirror's host, and the password's traces.
#[test]
fn a_password_in_a_mirrors_address_is_sent_and_shown_or_kept_nowhere() {
    let secret = "m1rr0r-s3cr3t";
    let mut all = String::new();
    for fault in [
        None,
        Some(Fault::Status(500)),
        Some(Fault::Corrupt(9)),
        Some(Fault::Stall(1 << 20)),
        Some(Fault::Page(PORTAL)),
    ] {
        // What arrived is kept, with what it is.
        let world = large(move |request| match fault {
            Some(Fault::Stall(_)) if request.earlier > 2 => Some(Fault::Stall(0)),
            fault => fault,
        });
        let mirror = world.mirror.url().replace("http://", &format!("http://robot:{secret}@"));
        let patience = if let Some(Fault::Stall(_)) = fault { "500ms" } else { "30s" };
        let mut command = world.command(&["build", "recipes/small.yaml", "--stall-timeout", patience]);
        command.args(["--events", "events", "--summary", "summary", "--junit", "junit"]);
        let run = Run::of(command.env("PREBAKE_MIRROR_FLATCAR", &mirror).output().unwrap());
        assert_eq!(run.code == Some(0), fault.is_none(), "{}", run.stderr);
        assert_eq!(run.stderr.contains("http://***@127.0.0.1"), fault.is_some(), "{}", run.stderr);
        all += &(run.stdout + &run.stderr);
        let grep =
            Command::new("grep").args(["-rlaF", secret, "."]).current_dir(world.path("")).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&grep.stdout), "", "{fault:?}");
        for name in ["events", "summary", "junit"] {
            assert!(world.path(name).exists(), "{name}");
        }
        let sent = world.mirror.requests();
        let basic = crate::world::registry::basic("robot", secret);
        assert!(sent.iter().all(|request| request.authorization.as_ref() == Some(&basic)));
    }
    assert!(!all.contains(secret), "{all}");
}

/// Says one thing to everyone, and hears what they want.
struct Canned {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Canned {
    fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hearing = Arc::clone(&heard);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).unwrap_or(0);
                let line =
                    String::from_utf8_lossy(&head[..read]).lines().next().unwrap_or_default().to_owned();
                hearing.lock().unwrap().push(line);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Canned { address, heard }
    }
}

#[test]
fn what_a_proxy_answers_is_told_as_the_proxys_answer_with_its_name() {
    let cases = [
        (
            "http",
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
            "the proxy http://***@127.0.0.1",
            "407",
        ),
        (
            "http",
            "HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\nContent-Length: 0\r\n\r\n",
            "the proxy http://***@127.0.0.1",
            "answered 403",
        ),
        (
            "http",
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            "through the proxy http://***@127.0.0.1",
            "403",
        ),
        (
            "http",
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
            "through the proxy http://***@127.0.0.1",
            "502",
        ),
        (
            "https",
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            "the proxy http://***@127.0.0.1",
            "407",
        ),
        (
            "https",
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            "the proxy http://***@127.0.0.1",
            "answered 403 Forbidden",
        ),
        (
            "https",
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
            "the proxy http://***@127.0.0.1",
            "answered 502",
        ),
        ("https", "", "the proxy http://***@127.0.0.1", "no connection"),
    ];
    let world = World::new();
    world.write("ca.pem", openssl_ca(&world));
    for (scheme, answer, proxy, status) in cases {
        let canned = Canned::start(answer);
        let mut command = world.command(&LOCK);
        command
            .env("PREBAKE_MIRROR_FLATCAR", format!("{scheme}://mirror.invalid"))
            .env("SSL_CERT_FILE", world.path("ca.pem"))
            .env(format!("{scheme}_proxy"), format!("http://me:pr0xy-s3cr3t@{}", canned.address));
        let run = Run::of(command.output().unwrap());
        run.fails(6, &[proxy, &format!("({scheme}_proxy)"), status, "mirror.invalid"]);
        assert!(!run.stderr.contains("s3cr3t"), "{}", run.stderr);
        assert!(canned.heard.lock().unwrap()[0].contains("mirror.invalid"));
    }
}

/// psf/requests#4353.
#[test]
fn no_proxy_is_honoured_and_a_proxy_that_is_none_is_told_with_its_variable() {
    let world = World::new();
    let canned = Canned::start("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let address = world.mirror.address();
    let run = |set: &[(&str, &str)]| {
        let mut command = world.command(&LOCK);
        command.envs(set.iter().copied());
        fs::remove_dir_all(world.path("store")).ok();
        Run::of(command.output().unwrap())
    };
    let proxy = format!("http://{}", canned.address);
    for exceptions in ["*", "127.0.0.1", &address.to_string(), "127.0.0.0/8", "localhost, 127.0.0.1"] {
        run(&[("http_proxy", &proxy), ("no_proxy", exceptions)]).ok();
    }
    assert!(canned.heard.lock().unwrap().is_empty());
    run(&[("http_proxy", &proxy), ("no_proxy", "127.0.0.1:1")]).fails(6, &["403"]);
    for (value, why) in [("http:/x", "not a URL"), ("socks5://u:s3cr3t@127.0.0.1:1", "SOCKS")] {
        let run = run(&[("http_proxy", value)]);
        run.fails(6, &["http_proxy=", why, "correct http_proxy, or list hosts"]);
        assert!(!run.stderr.contains("s3cr3t"), "{}", run.stderr);
    }
}

/// Some authority's certificate, for clients that need one.
fn openssl_ca(world: &World) -> Vec<u8> {
    certificate(world, "some", &["subjectAltName=DNS:some.lab"], "-days 3");
    fs::read(world.path("some.crt")).unwrap()
}

/// A certificate as Docker's documentation has it made, and its key: `openssl req -x509`, which says CA:TRUE.
fn certificate(world: &World, name: &str, extensions: &[&str], times: &str) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-subj", "/CN=localhost"]);
    command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]).args(times.split(' '));
    for extension in extensions {
        command.args(["-addext", extension]);
    }
    let made = command.current_dir(world.path("")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// TLS in front of a mirror; the port.
fn over_tls(world: &World, name: &str, behind: &Mirror) -> u16 {
    let chain = CertificateDer::pem_file_iter(world.path(&format!("{name}.crt"))).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(world.path(&format!("{name}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let behind = behind.address();
    thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let Ok(mut mirror) = tokio::net::TcpStream::connect(behind).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut mirror).await;
                });
            }
        });
    });
    port
}

/// rustls/webpki#205, seanmonstar/reqwest#2041 and #1554, moby/buildkit#3218. curl takes the first four as well.
#[test]
fn certificates_made_by_the_book_are_taken_and_others_are_told_what_is_wrong_with_them() {
    let both = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    let world = World::new();
    /// Name, extensions, times, the host that is asked, and the words of a refusal.
    type Case<'c> = (&'c str, &'c [&'c str], &'c str, &'c str, Option<&'c [&'c str]>);
    let cases: [Case<'_>; 9] = [
        ("docker", &[both], "-days 3", "localhost", None),
        ("address", &[both], "-days 3", "127.0.0.1", None),
        ("leaf", &[both, "basicConstraints=critical,CA:FALSE"], "-days 3", "localhost", None),
        ("usage", &[both, "extendedKeyUsage=serverAuth"], "-days 3", "localhost", None),
        (
            "client",
            &[both, "extendedKeyUsage=clientAuth"],
            "-days 3",
            "localhost",
            Some(&["extended key usage", "serverAuth"]),
        ),
        (
            "names",
            &["subjectAltName=DNS:other.lab"],
            "-days 3",
            "localhost",
            Some(&["for", "other.lab", "not for localhost"]),
        ),
        (
            "nameless",
            &[],
            "-days 3",
            "localhost",
            Some(&["its subjectAltName names no host", "-addext subjectAltName"]),
        ),
        (
            "late",
            &[both],
            "-not_before 20200101000000Z -not_after 20210101000000Z",
            "localhost",
            Some(&[
                "valid until 2021-01-01T00:00:00Z",
                "this machine's clock says",
                "hint: check this machine's clock first",
            ]),
        ),
        (
            "early",
            &[both],
            "-not_before 20900101000000Z -not_after 20910101000000Z",
            "localhost",
            Some(&[
                "valid from 2090-01-01T00:00:00Z",
                "this machine's clock says",
                "hint: set this machine's clock first",
            ]),
        ),
    ];
    let has_times = Command::new("openssl").args(["req", "-help"]).output().unwrap();
    let has_times = String::from_utf8_lossy(&has_times.stderr).contains("-not_before");
    for (name, extensions, times, host, refused) in cases {
        if times.contains("-not_before") && !has_times {
            continue; // OpenSSL before 3.4; the unit tests of tls.rs have certificates of other times
        }
        certificate(&world, name, extensions, times);
        let port = over_tls(&world, name, &world.mirror);
        let url = format!("https://{host}:{port}");
        let mut command = world.command(&LOCK);
        command.env("PREBAKE_MIRROR_FLATCAR", &url).env("SSL_CERT_FILE", world.path(&format!("{name}.crt")));
        fs::remove_dir_all(world.path("store")).ok();
        let run = Run::of(command.output().unwrap());
        match refused {
            None => drop(run.ok()),
            Some(words) => {
                run.fails(5, &["certificate is not trusted"]);
                run.fails(5, words);
            }
        }
        let file = format!("{url}/stable/amd64-usr/current/version.txt");
        let curl = Command::new("curl")
            .args(["--silent", "--fail", "--noproxy", "*", "--cacert", &format!("{name}.crt"), &file])
            .current_dir(world.path(""))
            .output()
            .unwrap();
        // Older OpenSSL takes a common name where no other name is.
        if name != "nameless" {
            assert_eq!(curl.status.success(), refused.is_none(), "curl and {name}");
        }
    }
    // Any other certificate of the same name, and none at all.
    certificate(&world, "other", &[both], "-days 3");
    let port = over_tls(&world, "docker", &world.mirror);
    let with = |file: &str| {
        let mut command = world.command(&LOCK);
        command
            .env("PREBAKE_MIRROR_FLATCAR", format!("https://localhost:{port}"))
            .env("SSL_CERT_FILE", world.path(file));
        Run::of(command.output().unwrap())
    };
    with("other.crt").fails(
        5,
        &["authority's certificate (CA:TRUE)", "SSL_CERT_FILE", "basicConstraints=critical,CA:FALSE"],
    );
    with("docker.key").fails(5, &["no CA certificates", "docker.key", "no PEM certificate"]);
    with("absent.pem").fails(5, &["no CA certificates", "absent.pem"]);
}

#[test]
fn plain_http_on_an_https_address_is_called_so() {
    let world = World::new();
    world.write("ca.pem", openssl_ca(&world));
    let mut command = world.command(&LOCK);
    let canned = Canned::start("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    command.env("SSL_CERT_FILE", world.path("ca.pem"));
    for (address, what) in
        [(canned.address, "does not speak TLS"), (world.mirror.address(), "broke during the TLS handshake")]
    {
        command.env("PREBAKE_MIRROR_FLATCAR", format!("https://{address}"));
        Run::of(command.output().unwrap()).fails(6, &[what, "is it an http: address?"]);
    }
}

#[test]
fn the_mirror_answers_a_plain_question() {
    // The stand-in itself: nothing above says anything if it does not.
    let world = World::new();
    let mut stream = TcpStream::connect(world.mirror.address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"GET /stable/amd64-usr/current/version.txt HTTP/1.0\r\n\r\n").unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
}
