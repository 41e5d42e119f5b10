//! The tools that import archives, and a registry that other people wrote.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use serde_json::{Value, json};

use super::{ARCHIVE, PASSWORD, PAUSE, USER, build, docker_config, lock, pause, tree, world};
use crate::judges::containerd::{Containerd, Daemon, containerd_runs, there_is};
use crate::lab::ports;
use crate::world::Run;
use crate::world::registry::basic;

#[test]
fn skopeo_reads_the_archive_and_finds_the_registrys_digests() {
    if !there_is("skopeo") {
        return;
    }
    let world = world(PAUSE);
    let (registry, pushed) = pause(|builder| builder);
    build(&world, &registry).ok();
    let archive = format!("oci-archive:{}:3.10", tree(&world, ARCHIVE).display());
    let skopeo = |args: &[&str]| {
        let output = Command::new("skopeo").args(args).env("TMPDIR", world.path("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let seen: Value = serde_json::from_slice(&skopeo(&["inspect", &archive])).unwrap();
    assert_eq!(seen["Digest"], pushed.manifests["amd64"].as_str());
    assert_eq!(seen["Layers"], json!(pushed.layers["amd64"]));
    assert_eq!((&seen["Architecture"], &seen["Os"]), (&json!("amd64"), &json!("linux")));
    // A copy reads every blob and holds it against its digest.
    let copy = world.path("copy");
    skopeo(&["--insecure-policy", "copy", "--quiet", &archive, &format!("dir:{}", copy.display())]);
    for digest in &pushed.layers["amd64"] {
        assert!(copy.join(digest.strip_prefix("sha256:").unwrap()).exists(), "{digest}");
    }
}

/// `htpasswd -nbB robot pass-s3cr3t`
const HTPASSWD: &str = "robot:$2y$05$c1W5ZWvqMbg6wXXj4PV4he9XFFT9YDeLOHVFSUMEZSUaSxfM4cOVu\n";

#[test]
fn a_real_registry_gives_the_same_archive_back() {
    if !there_is("skopeo") || !there_is("docker-registry") {
        return;
    }
    let first = world(PAUSE);
    let (registry, pushed) = pause(|builder| builder);
    build(&first, &registry).ok();
    let archive = tree(&first, ARCHIVE);

    let root = first.path("registry");
    fs::create_dir_all(&root).unwrap();
    let port = ports::unused().port();
    let config = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {0}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n\
         auth: {{htpasswd: {{realm: lab, path: {0}/htpasswd}}}}\n",
        root.display()
    );
    fs::write(root.join("htpasswd"), HTPASSWD).unwrap();
    fs::write(root.join("config.yml"), config).unwrap();
    let host = format!("127.0.0.1:{port}");
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(root.join("config.yml"));
    let _daemon = Daemon::start(&mut command, &root.join("log"), || TcpStream::connect(&host).is_ok());
    let push = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"])
        .args(["--dest-creds", &format!("{USER}:{PASSWORD}")])
        .arg(format!("oci-archive:{}:3.10", archive.display()))
        .arg(format!("docker://{host}/pause:3.10"))
        .env("TMPDIR", first.path(""))
        .output()
        .unwrap();
    assert!(push.status.success(), "{}", String::from_utf8_lossy(&push.stderr));

    let second = world(PAUSE);
    let auth = basic(USER, PASSWORD);
    let auth = auth.strip_prefix("Basic ").unwrap();
    let config = docker_config(&second, &json!({"auths": {&host: {"auth": auth}}}));
    let mut command = second.command(&["build", "recipes/small.yaml"]);
    command.env("PREBAKE_MIRROR_OCI", format!("http://{host}")).env("DOCKER_CONFIG", config);
    Run::of(command.output().unwrap()).ok();
    assert!(lock(&second).contains(pushed.manifests["amd64"].strip_prefix("sha256:").unwrap()));
    assert_eq!(fs::read(tree(&second, ARCHIVE)).unwrap(), fs::read(archive).unwrap());
}

#[test]
fn containerd_imports_the_archive_under_its_full_name() {
    if !containerd_runs() {
        return;
    }
    let world = world(PAUSE);
    let (registry, pushed) = pause(|builder| builder);
    build(&world, &registry).ok();
    let containerd = Containerd::start(&world.path("containerd"));
    let ok = |args: &[&str]| {
        let output = containerd.ctr(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let archive = tree(&world, ARCHIVE);
    // Unpacking needs a snapshotter that works on the test's disk: it is no question to the archive.
    ok(&[
        "--namespace",
        "k8s.io",
        "images",
        "import",
        "--no-unpack",
        "--platform",
        "linux/amd64",
        &archive.display().to_string(),
    ]);
    let images = ok(&["--namespace", "k8s.io", "images", "list"]);
    let row = images.lines().find(|line| line.starts_with(PAUSE)).unwrap_or_else(|| panic!("{images}"));
    assert!(row.contains(&pushed.manifests["amd64"]), "{row}");
    let content = ok(&["--namespace", "k8s.io", "content", "list", "--quiet"]);
    for digest in pushed.layers["amd64"].iter().chain([&pushed.configs["amd64"]]) {
        assert!(content.contains(digest), "no {digest} in {content}");
    }
}
