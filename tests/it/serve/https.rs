//! `prebake serve` over HTTPS, with curl, OpenSSL and the real Ignition on the other side.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::judges;
use crate::world::http::{SOON, Server, connect};
use crate::world::{Run, VERSION, World, repository};

/// The small world, built, and served over HTTPS with these arguments beside.
fn serve(world: &World, args: &[&str]) -> (Server, String) {
    let mut command = world.command(&["serve", "output/small/current", "--address", "127.0.0.1:0"]);
    let mut server = Server::start(command.args(["--tls-address", "127.0.0.1:0"]).args(args));
    let url = server.says("listening on https://").rsplit(' ').next().unwrap().to_owned();
    (server, url)
}

fn built() -> World {
    let world = World::new();
    world.build();
    world
}

fn curl(world: &World, args: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error"]).args(args).current_dir(world.path(""));
    command.output().unwrap()
}

/// curl's answer, which must have come; the authority is that of the directory `ca`.
#[track_caller]
fn fetch(world: &World, args: &[&str]) -> Vec<u8> {
    let output = curl(world, &[&["--cacert", "ca/ca.crt", "--fail"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A certificate for 127.0.0.1 that signs itself, and its key, as NAME.crt and NAME.key.
fn self_signed(world: &World, name: &str) {
    let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=site", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-keyout", &key, "-out", &certificate])
        .current_dir(world.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Replaces a file as certificate managers do.
fn replace(world: &World, from: &str, to: &str) {
    fs::copy(world.path(from), world.path("next")).unwrap();
    fs::rename(world.path("next"), world.path(to)).unwrap();
}

#[test]
fn curl_speaks_every_version_with_a_server_whose_authority_it_trusts_and_none_without() {
    let world = built();
    let (mut server, url) = serve(&world, &["--tls-generate", "ca", "--tls-name", "127.0.0.1"]);
    let script = format!("{url}/ipxe?mac=52-54-00-00-00-01");
    for (args, version) in [
        (&["--http2", "--tlsv1.3"][..], "2"),
        (&["--http2", "--tlsv1.2", "--tls-max", "1.2"], "2"),
        (&["--http1.1", "--tlsv1.3"], "1.1"),
        (&["--http1.1", "--tlsv1.2", "--tls-max", "1.2"], "1.1"),
    ] {
        let said = fetch(&world, &[args, &["--write-out", "%{http_version}", &script]].concat());
        let said = String::from_utf8(said).unwrap();
        let (script, spoken) = said.split_at(said.len() - version.len());
        assert_eq!(spoken, version, "{args:?}");
        // Whoever asked over HTTPS is to report over HTTPS.
        assert!(script.starts_with("#!ipxe\nkernel /assets/"), "{script}");
        assert!(script.contains(&format!(" prebake.url={url}")), "{script}");
    }
    server.says("GET /ipxe 200");

    let image = format!("assets/flatcar/{VERSION}/flatcar_production_pxe_image.cpio.gz");
    let bytes = fs::read(world.path("output/small/current").join(&image)).unwrap();
    assert_eq!(fetch(&world, &["--http2", &format!("{url}/{image}")]), bytes);
    assert_eq!(fetch(&world, &["--http2", "--range", "10-19", &format!("{url}/{image}")]), &bytes[10..20]);
    let report = ["--http2", "--data", "mac=52-54-00-00-00-01&stage=booted", &format!("{url}/report")];
    assert_eq!(fetch(&world, &report), b"");
    server.says("POST /report 204");

    // CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CONNECT_ERROR.
    assert_eq!(curl(&world, &[&url]).status.code(), Some(60), "nobody vouches for the authority");
    let by_name = url.replace("127.0.0.1", "localhost");
    assert_eq!(curl(&world, &["--cacert", "ca/ca.crt", &by_name]).status.code(), Some(60));
    let old = ["--cacert", "ca/ca.crt", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", &url];
    assert_eq!(curl(&world, &old).status.code(), Some(35), "TLS 1.1 is no more");
}

#[test]
fn an_authority_is_kept_and_only_its_owner_may_read_its_key() {
    let world = built();
    let serve = || serve(&world, &["--tls-generate", "keys/ca", "--tls-name", "127.0.0.1"]);
    let (first, _) = serve();
    let authority = fs::read(world.path("keys/ca/ca.crt")).unwrap();
    let mode = fs::metadata(world.path("keys/ca/ca.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(first);
    let (_second, url) = serve();
    assert_eq!(fs::read(world.path("keys/ca/ca.crt")).unwrap(), authority);
    let output = curl(&world, &["--cacert", "keys/ca/ca.crt", &url]);
    assert_eq!(output.stdout, b"matchbox\n");
    let mut show = Command::new("openssl");
    show.args(["x509", "-noout", "-text", "-in", "keys/ca/ca.crt"]).current_dir(world.path(""));
    let said = String::from_utf8(show.output().unwrap().stdout).unwrap();
    for words in ["CA:TRUE, pathlen:0", "Certificate Sign"] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_replaced_certificate_is_taken_for_new_connections_while_a_download_goes_on() {
    let world = World::new();
    let large: Vec<u8> = (0..4u32 << 20).flat_map(u32::to_le_bytes).collect();
    world.release_file("flatcar_production_pxe_image.cpio.gz", &large);
    world.build();
    for name in ["old", "new", "other"] {
        self_signed(&world, name);
    }
    replace(&world, "old.crt", "site.crt");
    replace(&world, "old.key", "site.key");
    let (mut server, url) = serve(&world, &["--tls-cert", "site.crt", "--tls-key", "site.key"]);
    let image = format!("{url}/assets/flatcar/{VERSION}/flatcar_production_pxe_image.cpio.gz");
    let mut download = Command::new("curl")
        .args(["--silent", "--show-error", "--cacert", "old.crt", "--limit-rate", "8M", &image])
        .current_dir(world.path(""))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut body = vec![0; 1 << 20];
    let mut stdout = download.stdout.take().unwrap();
    stdout.read_exact(&mut body).unwrap();

    let trusts = |authority: &str| curl(&world, &["--cacert", authority, &url]).status.success();
    assert!(trusts("old.crt") && !trusts("new.crt"));
    // Half replaced, it is no pair; it is told once.
    replace(&world, "new.crt", "site.crt");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(trusts("old.crt") && trusts("old.crt"));
    server.says("still using the old certificate: the key site.key does not belong");
    replace(&world, "new.key", "site.key");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(trusts("new.crt") && !trusts("old.crt"));
    server.says("new certificate loaded");

    stdout.read_to_end(&mut body).unwrap();
    assert!(download.wait().unwrap().success());
    assert!(body == large, "{} bytes came, or other ones", body.len());
    let log = server.end();
    assert_eq!(log.matches("still using the old certificate").count(), 1, "{log}");
}

#[test]
fn what_is_no_certificate_is_refused_with_the_file_and_a_way_out() {
    let world = built();
    self_signed(&world, "site");
    self_signed(&world, "other");
    let encrypt = ["ec", "-in", "site.key", "-out", "locked.key", "-aes128", "-passout", "pass:x"];
    let encrypted = Command::new("openssl").args(encrypt).current_dir(world.path("")).output().unwrap();
    assert!(encrypted.status.success());
    fs::create_dir(world.path("foreign")).unwrap();
    fs::copy(world.path("site.crt"), world.path("foreign/ca.crt")).unwrap();
    fs::copy(world.path("site.key"), world.path("foreign/ca.key")).unwrap();
    let none: &[&str] = &[];
    for (args, code, words) in [
        (
            &["--tls-cert", "site.crt", "--tls-key", "other.key"][..],
            5,
            &["other.key", "site.crt", "made together"][..],
        ),
        (&["--tls-cert", "site.key", "--tls-key", "site.key"], 5, &["site.key", "no PEM certificate"]),
        (&["--tls-cert", "site.crt", "--tls-key", "site.crt"], 5, &["site.crt", "no private key in PEM"]),
        (&["--tls-cert", "site.crt", "--tls-key", "locked.key"], 5, &["locked.key", "not encrypted"]),
        (&["--tls-cert", "none.crt", "--tls-key", "site.key"], 1, &["cannot read none.crt"]),
        (&["--tls-cert", "site.crt"], 2, &["--tls-key"]),
        (&["--tls-generate", "foreign"], 5, &["foreign/ca.crt", "not made by --tls-generate"]),
        (&["--tls-generate", "ca", "--tls-address", "0.0.0.0:0"], 2, &["every address", "--tls-name"]),
        (&["--tls-generate", "ca", "--tls-name", "no name"], 1, &["cannot make a certificate for no name"]),
        (none, 2, &["--tls-cert", "--tls-generate"]),
    ] {
        let mut all = vec!["serve", "output/small/current", "--address", "127.0.0.1:0"];
        if !args.contains(&"--tls-address") {
            all.extend(["--tls-address", "127.0.0.1:0"]);
        }
        world.prebake(&[&all, args].concat()).fails(code, words);
    }
    let nowhere = ["serve", "output/small/current", "--tls-generate", "ca"];
    world.prebake(&nowhere).fails(2, &["--tls-address", "--tls-only"]);
}

/// rustls/webpki#205: `openssl req -x509` makes a certificate that says CA:TRUE.
#[test]
fn status_believes_a_server_whose_own_certificate_is_named_and_no_other() {
    let world = built();
    self_signed(&world, "site");
    self_signed(&world, "other");
    let (_server, url) = serve(&world, &["--tls-cert", "site.crt", "--tls-key", "site.key"]);
    let status = |args: &[&str], file: &str| {
        let mut command = world.command(&[&["status", "--json", "--server", &url], args].concat());
        Run::of(command.env("SSL_CERT_FILE", world.path(file)).output().unwrap())
    };
    status(&["--ca", "site.crt"], "absent").ok();
    status(&[], "site.crt").ok();
    let refused = status(&["--ca", "other.crt"], "absent");
    refused.fails(5, &["certificate is not trusted", "authority's certificate (CA:TRUE)", "--ca"]);
    status(&["--ca", "site.key"], "absent").fails(2, &["--ca cannot be used", "no PEM certificate"]);
    let named = url.replace("127.0.0.1", "localhost");
    let mut command = world.command(&["status", "--server", &named, "--ca", "site.crt"]);
    Run::of(command.output().unwrap()).fails(5, &["it is for", "127.0.0.1", "not for localhost"]);
}

#[test]
fn with_tls_only_there_is_no_http_and_matchboxs_names_say_the_same() {
    let world = built();
    self_signed(&world, "site");
    let mut command = world.command(&["serve", "output/small/current", "--address", "127.0.0.1:0"]);
    command.env("MATCHBOX_WEB_SSL", "true");
    command.env("MATCHBOX_WEB_CERT_FILE", "site.crt").env("MATCHBOX_WEB_KEY_FILE", "site.key");
    let mut server = Server::start(&mut command);
    let url = server.says("listening on").rsplit(' ').next().unwrap().to_owned();
    assert!(url.starts_with("https://"), "{url}");
    server.says("serving");
    assert_eq!(curl(&world, &["--cacert", "site.crt", &url]).stdout, b"matchbox\n");
    assert!(!curl(&world, &[&url.replace("https", "http")]).status.success());
}

#[test]
fn a_client_that_does_not_shake_hands_is_cut_off_while_others_are_served() {
    let world = built();
    let (_server, url) = serve(&world, &["--tls-generate", "ca"]);
    let mut silent = connect(url.strip_prefix("https://").unwrap());
    assert_eq!(fetch(&world, &[&url]), b"matchbox\n");
    silent.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0, "it was answered");
}

/// What real Ignition makes of a config on a machine whose overlay holds it: the merged config, or its log.
pub fn ignition_fetches(
    world: &World,
    ignition: &Path,
    config: &[u8],
    kernel_args: &str,
) -> Result<Value, String> {
    let state = world.path("node");
    let _ = fs::remove_dir_all(&state);
    fs::create_dir_all(&state).unwrap();
    if !config.is_empty() {
        fs::write(state.join("user.ign"), config).unwrap();
    }
    let script = repository("tests/peers/ignition-fetch.sh");
    let output = Command::new(script).arg(ignition).arg(&state).arg(kernel_args).output().unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&fs::read(state.join("config.json")).unwrap()).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

/// Paths of the files that a config makes.
pub fn files_of(config: &Value) -> Vec<&str> {
    let files = config["storage"]["files"].as_array().unwrap();
    files.iter().map(|file| file["path"].as_str().unwrap()).collect()
}

/// The config that the overlay of the small world's workers carries.
fn worker_config(world: &World) -> Vec<u8> {
    fs::read(world.path("output/small/current/ignition/worker.ign")).unwrap()
}

#[test]
fn real_ignition_fetches_from_the_server_once_the_recipe_trusts_its_authority() {
    let Some(ignition) = judges::ignition() else { return };
    let world = built();
    let (_server, url) = serve(&world, &["--tls-generate", "ca"]);
    // Ignition takes an untrusted certificate for a fault that passes, and asks again for so many seconds.
    let build = |patience: u32| {
        let source = format!("{url}/ignition/control.ign");
        let merge = json!({"ignition": {
            "version": "3.3.0",
            "timeouts": {"httpTotal": patience},
            "config": {"merge": [{"source": source}]},
        }});
        fs::write(world.path("recipes/merge.ign"), merge.to_string()).unwrap();
        world.build();
    };
    world.edit("recipes/small.yaml", "ignition: [worker.ign]", "ignition: [worker.ign, merge.ign]");

    build(3);
    let log =
        ignition_fetches(&world, &ignition, &worker_config(&world), "flatcar.first_boot=1").unwrap_err();
    assert!(log.contains("certificate signed by unknown authority"), "{log}");

    world.edit("recipes/small.yaml", "sysexts: [hello]", "sysexts: [hello]\ntrust_ca: [../ca/ca.crt]");
    build(60);
    let config = ignition_fetches(&world, &ignition, &worker_config(&world), "flatcar.first_boot=1");
    let config = config.unwrap_or_else(|log| panic!("{log}"));
    let files = files_of(&config);
    for file in ["/etc/role", "/etc/control", "/etc/ssl/certs/ca.pem"] {
        assert!(files.contains(&file), "{files:?}");
    }
}

#[test]
fn an_authority_that_is_none_is_a_finding_at_its_line() {
    let world = World::new();
    world.edit(
        "recipes/small.yaml",
        "sysexts: [hello]",
        "sysexts: [hello]\ntrust_ca: [worker.ign, none.pem]",
    );
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    run.fails(3, &["recipes/small.yaml:6:", "worker.ign: it contains no PEM certificate"]);
}
