//! What loaders compare byte by byte, quote and write as they like: header names, arguments, addresses, slashes.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use prebake::format::grub::kernel_arg as grub_kernel_arg;
use prebake::tree::manifest::Role;
use proptest::test_runner::{Config, TestRunner};

use crate::world::World;
use crate::world::http::{Server, connect, get, head, send};
use crate::world::tree::Tree;

/// The heads of all answers in what a server sent, 1xx among them, for requests that have no body.
fn heads(sent: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(sent);
    let is_status = |at: &usize| text[*at..].bytes().skip(9).take(3).all(|byte| byte.is_ascii_digit());
    let starts = text.match_indices("HTTP/1.1 ").map(|(at, _)| at).filter(is_status);
    let starts: Vec<usize> = starts.collect();
    starts.iter().map(|at| text[*at..].split("\r\n\r\n").next().unwrap().to_owned()).collect()
}

/// Each word of each name begins with a capital, as Go, nginx and Apache write them.
#[track_caller]
fn assert_title_case(head: &str, what: &str) {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let mut names = 0;
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, _) = line.split_once(": ").unwrap_or_else(|| panic!("{what}: no header: {line:?}"));
        let is_title = |word: &str| {
            let mut letters = word.chars();
            letters.next().is_some_and(|c| c.is_ascii_uppercase()) && letters.all(|c| !c.is_ascii_uppercase())
        };
        assert!(name.split('-').all(is_title), "{what}, {status}: {name}");
        names += 1;
    }
    assert!(names > 0 || status.contains(" 100 "), "{what}: {head}");
}

/// What comes back for bytes until the server closes. Where it would go on, the client closes its side once it has an answer.
fn exchange(address: &str, request: &str) -> Vec<u8> {
    let goes_on = request.starts_with("GET /events ") || request.contains("keep-alive");
    let mut stream = connect(address);
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
    let (mut sent, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return sent,
            length => sent.extend_from_slice(&buffer[..length]),
        }
        if goes_on && sent.windows(4).any(|four| four == b"\r\n\r\n") {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}

// rhboot/grub2#216, rhboot/shim#403: GRUB, Red Hat's and shim compare `Content-Length` byte by byte.
#[test]
fn header_names_have_capitals_in_every_answer_over_http_1() {
    let world = World::new();
    world.build();
    let tree = world.path("output/small/current");
    let (_server, address) = Server::prebake(&tree);
    let asset = "/assets/flatcar/4593.2.5/flatcar_production_pxe.vmlinuz";
    let etag = head(&address, asset).header("etag").unwrap().to_owned();
    let with = |target: &str, headers: &str| {
        format!("GET {target} HTTP/1.1\nHost: x\nConnection: close\n{headers}\n")
    };
    let body = "mac=52:54:00:00:00:01&stage=booted&detail=x";
    let post = |path: &str, headers: &str, body: &str| {
        format!("POST {path} HTTP/1.1\nHost: x\n{headers}Content-Length: {}\n\n{body}", body.len())
    };
    let requests = [
        (200, with(asset, "")),
        (200, with("/ipxe?mac=52-54-00-00-00-01", "")),
        (200, with("/", "Accept: text/html\n")),
        (200, with("/status", "")),
        (200, with("/metrics", "")),
        (200, with("/events", "")),
        (200, with("/explain?mac=52-54-00-00-00-01", "")),
        (200, format!("HEAD {asset} HTTP/1.1\nHost: x\nConnection: close\n\n")),
        (200, format!("GET {asset} HTTP/1.0\nConnection: keep-alive\n\n")),
        (206, with(asset, "Range: bytes=0-3\n")),
        (206, with(asset, "Range: bytes=0-1,3-4\n")),
        (304, with(asset, &format!("If-None-Match: {etag}\n"))),
        (412, with(asset, "If-Match: \"x\"\n")),
        (416, with(asset, "Range: bytes=99999-\n")),
        (404, with("/nothing", "")),
        (404, with("/generic?mac=52-54-00-00-00-01", "")),
        (405, "DELETE / HTTP/1.1\nHost: x\nConnection: close\n\n".into()),
        (400, "nonsense\n\n".into()),
        (400, with("/a b", "")),
        (414, with(&format!("/{}", "x".repeat(9000)), "")),
        (431, with("/", &"A: b\n".repeat(150))),
        (505, "GET / HTTP/2.0\n\n".into()),
        (417, with("/", "Expect: miracles\n")),
        // From here on by hyper, which reads bodies.
        (204, post("/report", "Connection: close\n", body)),
        (204, post("//report", "Connection: close\n", body)),
        (400, post("/report", "Connection: close\n", "nothing=1")),
        (413, post("/report", "Connection: close\n", &"x".repeat(100_000))),
        (100, post("/report", "Connection: close\nExpect: 100-continue\n", body)),
        (200, post(asset, "Connection: close\n", "body")),
        (206, post(asset, "Connection: close\nRange: bytes=1-2\n", "body")),
        (404, post("/nothing", "Connection: close\n", "body")),
        (405, "PUT / HTTP/1.1\nHost: x\nContent-Length: 1\nConnection: close\n\nx".into()),
    ];
    for (status, request) in requests {
        let sent = exchange(&address, &request);
        let heads = heads(&sent);
        let what = request.lines().next().unwrap_or_default();
        let first = heads.first().unwrap_or_else(|| panic!("{what}: no answer"));
        assert!(first.contains(&format!(" {status} ")), "{what}: {first}");
        heads.iter().for_each(|head| assert_title_case(head, what));
    }
    // A second request that hyper itself finds fault with.
    for bad in ["nonsense\n\n", "GET / HTTP/1.1\nA : b\n\n"] {
        let sent = exchange(&address, &(post("/report", "", body) + bad));
        let heads = heads(&sent);
        assert_eq!(heads.len(), 2, "{}", String::from_utf8_lossy(&sent));
        heads.iter().for_each(|head| assert_title_case(head, bad));
    }
    // Headings inside of a body.
    let parts = get(&address, asset, "Range: bytes=0-1,3-4\n").text();
    assert!(
        parts.contains("\r\nContent-Type: ") && parts.contains("\r\nContent-Range: bytes 0-1/"),
        "{parts}"
    );
    // One connection too many, of a server that has counted the first.
    let (_server, address) =
        Server::prebake_with(&tree, &["--address", "127.0.0.1:0", "--max-per-client", "1"]);
    let mut first = connect(&address);
    first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    first.read_exact(&mut [0; 12]).unwrap();
    let mut turned_away = Vec::new();
    connect(&address).read_to_end(&mut turned_away).unwrap();
    assert!(heads(&turned_away)[0].contains(" 503 "), "{}", String::from_utf8_lossy(&turned_away));
    assert_title_case(&heads(&turned_away)[0], "503");
}

#[test]
fn header_names_have_capitals_over_https_and_of_data_directories() {
    let world = World::new();
    world.build();
    for directory in ["data/groups", "data/assets/site"] {
        fs::create_dir_all(world.path(directory)).unwrap();
    }
    fs::write(world.path("data/assets/site/a.txt"), "text").unwrap();
    let mut command = world.command(&["serve", "output/small/current", "--address", "127.0.0.1:0"]);
    let mut server = Server::start(command.args(["--tls-address", "127.0.0.1:0", "--tls-generate", "ca"]));
    let url = server.says("listening on https://").rsplit(' ').next().unwrap().to_owned();
    for (status, args) in [
        (200, &["/boot.ipxe"][..]),
        (200, &["/boot.ipxe", "--head"]),
        (404, &["/nothing"]),
        (206, &["/assets/flatcar/4593.2.5/version.txt", "--range", "0-3"]),
        (204, &["/report", "--data", "mac=52:54:00:00:00:01&stage=booted"]),
        (405, &["/", "--request", "DELETE"]),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--http1.1", "--include", &format!("{url}{}", args[0])])
            .args(&args[1..]);
        let sent = curl.output().unwrap().stdout;
        assert!(heads(&sent)[0].contains(&format!(" {status} ")), "{}", String::from_utf8_lossy(&sent));
        assert_title_case(&heads(&sent)[0], args[0]);
    }

    let mut matchbox =
        Server::start(&mut world.command(&["serve", "--address", "127.0.0.1:0", "--matchbox", "data"]));
    let address = matchbox.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    for (status, target) in [
        (200, "/assets/site/a.txt"),
        (200, "/assets/site/"),
        (301, "/assets/site"),
        (301, "/assets/site/a.txt/"),
        (307, "//ipxe"),
        (307, "/assets"),
        (404, "/ipxe?mac=52-54-00-00-00-01"),
        (400, "/%zz"),
    ] {
        let sent = exchange(&address, &format!("GET {target} HTTP/1.1\nHost: x\nConnection: close\n\n"));
        assert!(heads(&sent)[0].contains(&format!(" {status} ")), "{}", String::from_utf8_lossy(&sent));
        assert_title_case(&heads(&sent)[0], target);
    }
}

/// Whether GRUB's own parser takes a script.
#[track_caller]
fn assert_grub_takes(script: &str) {
    let mut check = Command::new("grub-script-check");
    let mut check = check.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let judged = check.wait_with_output().unwrap();
    assert!(judged.status.success(), "{}\n{script}", String::from_utf8_lossy(&judged.stderr));
}

/// The words of a command line; GRUB's quotes are the shell's.
fn words(line: &str) -> Vec<String> {
    let output = Command::new("sh").args(["-c", &format!("printf '%s\\0' {line}")]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

// tectonic-installer#1317, poseidon/matchbox#92.
#[test]
fn grub_takes_whatever_stands_in_kernel_arguments_and_reads_it_as_it_is() {
    let config = Config { cases: 200, ..Config::default() };
    let args = proptest::collection::vec(r"[ -~äß€]{0,12}", 1..6);
    let judged = TestRunner::new(config).run(&args, |args| {
        let line = args.iter().map(|arg| grub_kernel_arg(arg)).collect::<Vec<_>>().join(" ");
        assert_grub_takes(&format!("menuentry 'x' {{\n  linux /k {line}\n}}\n"));
        // A value in double quotes is left without them.
        let plain = |arg: &String| match arg
            .split_once("=\"")
            .and_then(|(key, value)| Some((key, value.strip_suffix('"')?)))
        {
            Some((key, value)) if !format!("{key}={value}").contains('"') => format!("{key}={value}"),
            _ => arg.clone(),
        };
        assert_eq!(words(&line), args.iter().map(plain).collect::<Vec<_>>(), "{line}");
        Ok(())
    });
    judged.unwrap();
}

#[test]
fn the_grub_menu_of_a_tree_has_quotes_and_that_of_a_data_directory_is_matchboxs() {
    let profile = r##"{"id":"odd","boot":{"kernel":"/assets/k","initrd":["/assets/i"],"args":["console=ttyS0","foo=a&b","bar=x;y","r={a}","p=a|b<c>d","d=$HOME","g=*[a]","#x","sshkey=\"ssh-ed25519 AAA me\""]},"ignition_id":"odd.ign"}"##;
    let group = r#"{"id":"odd","profile":"odd"}"#;
    let tree = Tree::new()
        .row("profiles/odd.json", Role::Profile, profile.as_bytes())
        .row("ignition/odd.ign", Role::Ignition, br#"{"ignition":{"version":"3.3.0"}}"#)
        .row("groups/odd.json", Role::Group, group.as_bytes())
        .publish();
    let (_server, address) = Server::prebake(tree.path());
    let script = get(&address, "/grub?mac=52-54-00-00-00-01", "").text();
    assert_grub_takes(&script);
    let linux = script.lines().find_map(|line| line.strip_prefix("linux ")).unwrap();
    let url = format!("prebake.url=http://{address}");
    let expected = [
        "/assets/k",
        "console=ttyS0",
        "foo=a&b",
        "bar=x;y",
        "r={a}",
        "p=a|b<c>d",
        "d=$HOME",
        "g=*[a]",
        "#x",
        "sshkey=ssh-ed25519 AAA me",
        &url,
        "prebake.mac=52:54:00:00:00:01",
        "BOOTIF=01-52-54-00-00-00-01",
    ];
    assert_eq!(words(linux), expected);
    assert!(linux.starts_with("\"/assets/k\" console=ttyS0 'foo=a&b' "), "{linux}");
    assert!(script.contains("echo 'GRUB changes the quoting of kernel argument sshkey'\n"), "{script}");

    let data = tree.path().to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    let mut server = Server::start(command.args(["serve", "--address", "127.0.0.1:0", "--matchbox", data]));
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    let script = get(&address, "/grub", "").text();
    assert!(script.contains("linux \"/assets/k\" console=ttyS0 foo=a&b bar=x;y "), "{script}");
    assert!(!script.contains("GRUB changes"), "{script}");
}

// tinkerbell/smee#229, poseidon/matchbox#432.
#[test]
fn doubled_slashes_lead_to_the_same_file_and_a_blank_in_a_target_is_named() {
    let tree = Tree::new().file("assets/a/b", b"bytes").publish();
    let (_server, address) = Server::prebake(tree.path());
    for target in ["/assets/a/b", "//assets/a/b", "/assets//a/b", "/assets///a//b", "/assets/%2Fa/b"] {
        assert_eq!(get(&address, target, "").body, b"bytes", "{target}");
    }
    for target in ["/assets/a/b/", "/assets//../assets/a/b", "//../etc/passwd"] {
        assert_eq!(get(&address, target, "").status, 404, "{target}");
    }
    let refused = send(&address, "GET /ipxe?serial=A B C HTTP/1.1\nHost: x\n\n");
    assert_eq!((refused.status, refused.text().contains("%20")), (400, true), "{}", refused.text());
}

/// The port in a line such as `listening on http://[::]:8080`.
fn port(line: &str) -> u16 {
    line.rsplit(':').next().unwrap().parse().unwrap()
}

// Real Matchbox on `-address :8080` and `-address 0.0.0.0:8080` answers http://[::1]:8080.
#[test]
fn every_address_of_a_machine_is_of_both_protocols_and_clients_of_ipv4_are_called_so() {
    let tree = Tree::new().file("assets/a", b"bytes").publish();
    let tree = tree.path().to_str().unwrap();
    let serve = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        Server::start(command.arg("serve").args(args).arg(tree))
    };
    for (address, shown) in [(":0", "http://[::]:"), ("0", "http://[::]:"), ("0.0.0.0:0", "http://0.0.0.0:")]
    {
        let mut server = serve(&["-address", address]);
        let line = server.says("listening on ");
        assert!(line.contains(shown), "{line}");
        for (host, client) in [("127.0.0.1", "127.0.0.1 GET"), ("[::1]", "::1 GET")] {
            assert_eq!(get(&format!("{host}:{}", port(&line)), "/assets/a", "").body, b"bytes", "{address}");
            let told = server.says("GET /assets/a");
            assert!(told.contains(&format!("Z {client}")), "{told}");
        }
        // A server is named as it was told to listen.
        let named = address.replace(":0", &format!(":{}", port(&line)));
        let named = if named == "0" { port(&line).to_string() } else { named };
        for verb in ["status", "explain"] {
            let run = Command::new(env!("CARGO_BIN_EXE_prebake"))
                .args([verb, "--server", &named])
                .output()
                .unwrap();
            assert!(run.status.success(), "{verb} {named}: {}", String::from_utf8_lossy(&run.stderr));
        }
    }
    let mut one = serve(&["--address", "127.0.0.1:0"]);
    let line = one.says("listening on ");
    assert!(TcpStream::connect(format!("[::1]:{}", port(&line))).is_err(), "one address is one");
}

#[test]
fn matchboxs_flags_are_taken_as_go_takes_them() {
    let world = World::new();
    fs::create_dir_all(world.path("data/groups")).unwrap();
    let serve = |args: &[&str]| {
        let mut command = world.command(&["serve", "-data-path", "data", "-address=127.0.0.1:0"]);
        Server::start(command.args(args))
    };
    for args in
        [&["-web-ssl=false"][..], &["--web-ssl=0"], &["-web-ssl=F", "-web-cert-file=x", "-web-key-file=y"]]
    {
        serve(args).says("listening on http://");
    }
    let mut command =
        world.command(&["serve", "-data-path=data", "-address", "127.0.0.1:0", "-web-ssl=false"]);
    Server::start(command.env("MATCHBOX_WEB_SSL", "true")).says("listening on http://");
    let mut command = world.command(&["serve", "-data-path=data", "-address", "127.0.0.1:0"]);
    Server::start(command.env("MATCHBOX_WEB_SSL", "0")).says("listening on http://");
    for args in [&["-web-ssl=true"][..], &["-web-ssl"], &["--tls-only=1"]] {
        let run = world.prebake(&[&["serve", "-data-path", "data", "-address=127.0.0.1:0"], args].concat());
        run.fails(2, &["HTTPS needs a certificate", "--tls-cert"]);
    }
    world
        .prebake(&["serve", "-data-path", "data", "-web-ssl=perhaps"])
        .fails(2, &["perhaps", "neither true nor false"]);
    for (address, why) in [
        ("10.0.0.1", "it has no port; write 10.0.0.1:8080, for example"),
        ("::1:8080", "write an IPv6 address in brackets"),
        ("127.0.0.1:many", "`many` is not a port"),
    ] {
        world
            .prebake(&["serve", "-data-path", "data", "-address", address])
            .fails(1, &[why, "HOST:PORT", "hint:"]);
    }
}
