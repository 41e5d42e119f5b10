//! The node's script against a real containerd: `sysext/prebake-images`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use prebake::base::digest::Sha256;

use super::{IMAGES, build, registry, source, tree, world};
use crate::judges;
use crate::judges::containerd::{Containerd, containerd_runs};
use crate::lab::mirror::{Fault, Mirror};
use crate::world::{World, repository};

/// A node with a containerd, and the tree that its server publishes.
struct Node {
    world: World,
    containerd: Containerd,
    lists: PathBuf,
    cmdline: String,
}

impl Node {
    /// A node whose archives lie below `assets/` of its server; nothing where no containerd may run.
    fn new() -> Option<Self> {
        containerd_runs().then(|| Node::of(None))
    }

    /// The same with the containerd whose programs lie in a directory.
    fn of(programs: Option<&Path>) -> Self {
        let world = world("images: asset", &source());
        build(&world, &registry().0).ok();
        Node::of_world(world, programs, false)
    }

    /// A node of a tree that was built.
    fn of_world(world: World, programs: Option<&Path>, cri: bool) -> Self {
        let directory = tempfile::tempdir_in(world.path("")).unwrap().keep();
        let containerd = match cri {
            true => Containerd::with_cri(&directory.join("containerd"), programs),
            false => Containerd::start_of(&directory.join("containerd"), programs),
        };
        let lists = directory.join("lists");
        fs::create_dir(&lists).unwrap();
        let carried = super::carried(&world, "kubernetes-images-worker");
        let list = carried.read("usr/share/prebake/images/kubernetes-images-worker.list").unwrap();
        fs::write(lists.join("kubernetes-images-worker.list"), list).unwrap();
        Node { world, containerd, lists, cmdline: "quiet".into() }
    }

    /// Nodes whose archives lie on them, as an image sysext has them: with the machine's containerd, and with that of
    /// Flatcar's stable channel.
    fn with_archives() -> Vec<Self> {
        if !containerd_runs() {
            return Vec::new();
        }
        let newer = judges::build("containerd");
        let all = [None].into_iter().chain(newer.as_deref().map(Some));
        let all = all.map(|programs| {
            let node = Node::of(programs);
            let assets = format!(" {}/", tree(&node.world, "assets").display());
            node.edit(|list| list.replace(" assets/", &assets));
            node
        });
        all.collect()
    }

    fn edit(&self, change: impl FnOnce(String) -> String) {
        let path = self.lists.join("kubernetes-images-worker.list");
        let list = fs::read_to_string(&path).unwrap();
        fs::write(path, change(list)).unwrap();
    }

    /// Runs the script.
    fn import(&self) -> Output {
        let cmdline = self.world.path("cmdline");
        fs::write(&cmdline, format!("{}\n", self.cmdline)).unwrap();
        Command::new(repository("sysext/prebake-images/files/usr/libexec/prebake-images"))
            .env("PATH", &self.containerd.path)
            .env("CONTAINERD_ADDRESS", &self.containerd.socket)
            .env("PREBAKE_LISTS", &self.lists)
            .env("PREBAKE_COMPLETE", self.world.path("complete"))
            .env("PREBAKE_CMDLINE", cmdline)
            .env("PREBAKE_RETRIES", "3")
            .env("PREBAKE_RETRY_DELAY", "1")
            .env("CACHE_DIRECTORY", self.world.path("cache"))
            .output()
            .unwrap()
    }

    fn imports(&self) -> String {
        let output = self.import();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        assert!(Path::new(&self.world.path("complete")).exists(), "Kubernetes may start");
        text(&output.stdout)
    }

    #[track_caller]
    fn fails(&self, words: &[&str]) {
        let output = self.import();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(!Path::new(&self.world.path("complete")).exists(), "Kubernetes must not start: {said}");
        for word in words.iter().chain(&["Kubernetes must not start"]) {
            assert!(said.contains(word), "no {word:?} in {said}");
        }
    }

    fn ctr(&self, args: &[&str]) -> String {
        let output = self.containerd.ctr(&[&["--namespace", "k8s.io"], args].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The rows of `ctr images list`, without its head. Every image has three names.
    fn names(&self) -> Vec<String> {
        self.ctr(&["images", "list"]).lines().skip(1).map(str::to_owned).collect()
    }

    /// The rows of the names that were imported: those by tag.
    fn images(&self) -> Vec<String> {
        let mut names = self.names();
        names.retain(|row| !row.split(' ').next().unwrap().contains('@'));
        names
    }

    fn archive(&self, name: &str) -> PathBuf {
        tree(&self.world, "assets/images").join(name)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Published files are read-only links into the store: a flaw goes into a new file.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

const PINNED: &str = "io.cri-containerd.pinned=pinned";
const PAUSE: &str = "registry.k8s.io/pause:3.10";

#[test]
fn every_image_is_imported_whole_and_pinned_and_a_second_run_does_nothing() {
    for node in Node::with_archives() {
        let said = node.imports();
        assert_eq!(said.matches("importing").count(), 3, "{said}");
        let images = node.images();
        assert_eq!(images.len(), 3, "{images:?}");
        for (name, tag) in &IMAGES[3..6] {
            let name = format!("registry.k8s.io/{name}:{tag} ");
            assert!(
                images.iter().any(|row| row.starts_with(&name) && row.contains(PINNED)),
                "no {name} in {images:?}"
            );
        }
        let names = node.names();
        assert_eq!(names.len(), 3 * 3, "each by its tag, its manifest and its index: {names:?}");
        assert!(names.iter().all(|row| row.contains(PINNED)), "{names:?}");
        assert_eq!(node.ctr(&["images", "check"]).matches("complete (").count(), 3 * 3);
        assert_eq!(node.imports(), "", "all is there");
    }
}

#[test]
fn an_image_that_was_removed_comes_back_and_one_that_lost_its_pin_is_pinned_again() {
    for node in Node::with_archives() {
        node.imports();
        node.ctr(&["images", "remove", "--sync", PAUSE]);
        assert_eq!(node.imports(), format!("importing {PAUSE}\n"));
        node.ctr(&["images", "label", PAUSE, "io.cri-containerd.pinned="]);
        assert_eq!(node.imports(), "", "its bytes are there");
        assert!(node.names().iter().all(|row| row.contains(PINNED)));
        let by_digest = node.names().into_iter().find(|row| row.contains("pause@")).unwrap();
        node.ctr(&["images", "remove", "--sync", by_digest.split(' ').next().unwrap()]);
        assert_eq!(node.imports(), "", "a name is given without an import");
        assert!(node.names().len() == 3 * 3 && node.names().iter().all(|row| row.contains(PINNED)));
    }
}

#[test]
fn a_damaged_archive_fails_though_containerd_imports_it() {
    for node in Node::with_archives() {
        let path = node.archive("pause-3.10-amd64.tar");
        let mut bytes = fs::read(&path).unwrap();
        // The layers are the only gzip in it.
        let layer = bytes.windows(3).position(|window| window == [0x1f, 0x8b, 0x08]).unwrap();
        bytes[layer + 20] ^= 0xff;
        replace(&path, &bytes);
        node.fails(&[&format!("containerd does not have {PAUSE} whole"), "1 container images are missing"]);
        let sound = node.ctr(&["images", "check"]).matches(" complete (").count();
        assert_eq!(sound, 2 * 3, "the others are there, each by three names");
    }
}

#[test]
fn an_archive_of_another_image_fails() {
    for node in Node::with_archives() {
        let other = fs::read(node.archive("kube-proxy-v1.33.13-amd64.tar")).unwrap();
        replace(&node.archive("pause-3.10-amd64.tar"), &other);
        node.fails(&[&format!("cannot import {PAUSE}")]);
        fs::remove_file(node.archive("pause-3.10-amd64.tar")).unwrap();
        node.fails(&[&format!("cannot import {PAUSE}")]);
    }
}

#[test]
fn archives_are_fetched_from_the_server_that_booted_the_machine() {
    let Some(mut node) = Node::new() else { return };
    node.fails(&["no prebake.url= to fetch assets/images/"]);
    let mirror = Mirror::builder().directory("/tree/", &tree(&node.world, "")).start().unwrap();
    node.cmdline = format!("quiet prebake.url={}/tree/ splash", mirror.url());
    let said = node.imports();
    assert_eq!(said.matches("fetching").count(), 3, "{said}");
    assert_eq!(node.images().len(), 3);
    assert!(node.world.names("cache").is_empty(), "what was imported takes no room");
    let asked = mirror.requests().len();
    assert_eq!(node.imports(), "");
    assert_eq!(mirror.requests().len(), asked);
}

#[test]
fn a_server_that_loses_an_archive_for_a_while_is_asked_again() {
    let Some(mut node) = Node::new() else { return };
    let lost = |request: &crate::lab::mirror::Request| match request.earlier {
        0 if request.path.contains("pause") => Some(Fault::Status(404)),
        1 if request.path.contains("pause") => Some(Fault::Truncate(700)),
        _ => None,
    };
    let mirror = Mirror::builder().directory("/", &tree(&node.world, "")).faults(lost).start().unwrap();
    node.cmdline = format!("prebake.url={}", mirror.url());
    node.imports();
    assert_eq!(node.images().len(), 3);
}

#[test]
fn fetched_bytes_that_are_others_never_reach_containerd() {
    let Some(mut node) = Node::new() else { return };
    let corrupt =
        |request: &crate::lab::mirror::Request| request.path.contains("pause").then_some(Fault::Corrupt(600));
    let mirror = Mirror::builder().directory("/", &tree(&node.world, "")).faults(corrupt).start().unwrap();
    node.cmdline = format!("prebake.url={}", mirror.url());
    let sha256 = Sha256::of(&fs::read(node.archive("pause-3.10-amd64.tar")).unwrap());
    node.fails(&[&format!("its sha256 is not {sha256}"), &format!("cannot import {PAUSE}")]);
    assert_eq!(node.images().len(), 2);
    assert!(node.world.names("cache").is_empty());
}

#[test]
fn a_server_that_stays_without_an_archive_is_named() {
    let Some(mut node) = Node::new() else { return };
    let absent =
        |request: &crate::lab::mirror::Request| request.path.contains("pause").then_some(Fault::Status(404));
    let mirror = Mirror::builder().directory("/", &tree(&node.world, "")).faults(absent).start().unwrap();
    node.cmdline = format!("prebake.url={}", mirror.url());
    node.fails(&["error: 404", "assets/images/pause-3.10-amd64.tar"]);
    let asked = mirror.requests().iter().filter(|request| request.path.contains("pause")).count();
    assert_eq!(asked, 4, "once, and as often as it may retry");
}

// kubernetes-sigs/image-builder#939, flatcar/Flatcar#930: and in one of four proof boots `kubeadm-init.service` ran before
// containerd, prebake-images and network-online.target were up, in spite of its Requires= and After=.
#[test]
fn units_of_kubernetes_wait_for_the_images_and_for_containerd_whatever_systemd_started_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let program = |name: &str, script: &str| {
        let file = path("bin").join(name);
        fs::create_dir_all(path("bin")).unwrap();
        fs::write(&file, format!("#!/bin/sh\ncd {}\n{script}\n", directory.path().display())).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    };
    program("ctr", "test -e answers");
    program(
        "systemctl",
        r#"case $1 in start) echo "$*" >>started; echo activating >state ;; *) cat state ;; esac"#,
    );
    fs::write(path("state"), "inactive").unwrap();
    let wait = || {
        let mut command = Command::new(repository("sysext/prebake-images/files/usr/libexec/prebake-images"));
        let bin = format!("{}:{}", path("bin").display(), std::env::var("PATH").unwrap());
        let variables =
            [("PATH", bin.into()), ("PREBAKE_LISTS", path("lists")), ("PREBAKE_COMPLETE", path("complete"))];
        command.arg("wait").envs(variables).spawn().unwrap()
    };
    fs::create_dir(path("lists")).unwrap();
    assert!(wait().wait().unwrap().success(), "a node without lists has nothing to wait for");
    fs::write(path("lists").join("kubernetes-images.list"), "").unwrap();
    let mut waits = wait();
    let still = |waits: &mut std::process::Child, why: &str| {
        thread::sleep(Duration::from_millis(2500));
        assert!(waits.try_wait().unwrap().is_none(), "{why}");
    };
    still(&mut waits, "nothing is imported");
    let started = fs::read_to_string(path("started")).unwrap();
    assert_eq!(started, "start --no-block prebake-images.service\n", "once, as long as it is on its way");
    fs::write(path("complete"), "").unwrap();
    still(&mut waits, "containerd does not answer");
    fs::write(path("answers"), "").unwrap();
    assert!(waits.wait().unwrap().success());
}

/// What containerd's CRI says to each reference, as the kubelet asks before it pulls: `present` or `missing`.
fn ask(containerd: &Containerd, judge: &Path, references: &[String]) -> Vec<(String, String)> {
    let output =
        Command::new(judge.join("cri-images")).arg(&containerd.socket).args(references).output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let row = |line: &str| {
        let mut words = line.split(' ');
        (words.next().unwrap().to_owned(), words.next().unwrap().to_owned())
    };
    said.lines().map(row).collect()
}

// rancher/rke2#9309, k3s-io/k3s#13221, containerd/containerd#8483, polarsquad/krops#372: `verify --closure` took a digest for
// inside, and the node's kubelet pulled.
#[test]
fn the_closure_and_containerds_cri_agree_on_every_shape_of_a_reference() {
    if !containerd_runs() {
        return;
    }
    let Some(judge) = judges::build("cri") else { return };
    let world = world("images: asset", &source());
    let mut builder = crate::world::registry::Builder::default();
    let pushed: Vec<_> = IMAGES.iter().map(|(name, tag)| builder.push(name, tag, &["amd64"])).collect();
    let nginx = builder.push("library/nginx", "1.27", &["amd64", "arm64"]);
    let app = builder.push("site/app", "1.0", &["amd64"]);
    let pinned = builder.push("site/pinned", "2.0", &["amd64"]);
    let single = builder.push("site/single", "latest", &["amd64"]);
    let port = builder.push("x/y", "T_1", &["amd64"]);
    let registry = builder.start();
    let images = format!(
        "images: [\"nginx:1.27\", \"quay.io/site/app:1.0\", \"quay.io/site/pinned@{}\", \"localhost/site/single\", \"localhost:5000/x/y:T_1\"]\nsysexts: [kubernetes]",
        pinned.index
    );
    world.edit("recipes/small.yaml", "sysexts: [kubernetes]", &images);
    let of =
        |pushed: &crate::world::registry::Pushed| [pushed.index.clone(), pushed.manifests["amd64"].clone()];
    let [nginx_index, nginx_manifest] = of(&nginx);
    let [app_index, app_manifest] = of(&app);
    let [pinned_index, pinned_manifest] = of(&pinned);
    let [single_index, _] = of(&single);
    let [port_index, _] = of(&port);
    let [pause_index, pause_manifest] = of(&pushed[5]);
    let proxy = &pushed[3].index;
    let other = format!("sha256:{}", "ab".repeat(32));
    let references = [
        // By tag, in every spelling.
        "nginx:1.27".into(),
        "nginx".into(),
        "library/nginx:1.27".into(),
        "docker.io/nginx:1.27".into(),
        "docker.io/library/nginx:1.27".into(),
        "index.docker.io/library/nginx:1.27".into(),
        "docker.io/library/nginx:1.28".into(),
        "quay.io/site/app:1.0".into(),
        "quay.io/site/app".into(),
        "quay.io/site/App:1.0".into(),
        "QUAY.io/site/app:1.0".into(),
        "site/app:1.0".into(),
        "localhost/site/single".into(),
        "localhost/site/single:latest".into(),
        "localhost:5000/x/y:T_1".into(),
        "localhost:5000/x/y:t_1".into(),
        "localhost/x/y:T_1".into(),
        // By digest of an image that was imported by its tag.
        format!("nginx@{nginx_index}"),
        format!("nginx@{nginx_manifest}"),
        format!("nginx:1.27@{nginx_index}"),
        format!("quay.io/site/app@{app_index}"),
        format!("quay.io/site/app@{app_manifest}"),
        format!("quay.io/site/app:1.0@{app_manifest}"),
        format!("localhost/site/single@{single_index}"),
        format!("localhost:5000/x/y@{port_index}"),
        // By digest of one that the recipe names so.
        format!("quay.io/site/pinned@{pinned_index}"),
        format!("quay.io/site/pinned:2.0@{pinned_index}"),
        format!("quay.io/site/pinned:9@{pinned_index}"),
        "quay.io/site/pinned:2.0".into(),
        format!("quay.io/site/pinned@{pinned_manifest}"),
        // By every name of one that the node's list has.
        "registry.k8s.io/pause:3.10".into(),
        format!("registry.k8s.io/pause@{pause_index}"),
        format!("registry.k8s.io/pause@{pause_manifest}"),
        format!("registry.k8s.io/pause:3.10@{pause_index}"),
        format!("registry.k8s.io/pause:0@{pause_manifest}"),
        format!("registry.k8s.io/pause@{other}"),
        format!("registry.k8s.io/kube-proxy:v1.33.13@{proxy}"),
        "registry.k8s.io/pause:3.9".into(),
    ];
    let containers: String = references
        .iter()
        .enumerate()
        .map(|(index, image)| format!("            {{name: c{index}, image: \"{image}\"}},\n"))
        .collect();
    world.write(
        "recipes/pods.bu",
        format!(
            "variant: flatcar\nversion: 1.0.0\nstorage:\n  files:\n    - path: /etc/kubernetes/manifests/x.yaml\n      contents:\n        \
             inline: |\n          {{apiVersion: v1, kind: Pod, metadata: {{name: x}}, spec: {{containers: [\n{containers}          ]}}}}\n"
        ),
    );
    world.edit("recipes/small.yaml", "ignition: [worker.ign]", "ignition: [worker.ign, pods.bu]");
    build(&world, &registry).ok();
    let run = world.prebake(&["verify", "output/small/current", "--closure", "--json"]);
    let graph = serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap()["closure"].take();
    let edges = graph["edges"].as_array().unwrap();
    let inside = |reference: &String| {
        let found = edges.iter().find(|edge| edge["kind"] == "image" && edge["to"] == reference.as_str());
        let found = found.unwrap_or_else(|| panic!("no {reference} in {graph:#}"));
        found["outcome"].get("inside").is_some()
    };
    let inside: std::collections::BTreeMap<&String, bool> =
        references.iter().map(|reference| (reference, inside(reference))).collect();
    let newer = judges::build("containerd");
    let mut world = Some(world);
    for programs in [None].into_iter().chain(newer.as_deref().map(Some)) {
        let node = Node::of_world(world.take().unwrap(), programs, true);
        let assets = format!(" {}/", tree(&node.world, "assets").display());
        node.edit(|list| list.replace(" assets/", &assets));
        node.imports();
        for name in node.world.names("output/small/current/assets/images") {
            // Those of the list are imported already.
            if !["pause", "kube", "coredns", "etcd"].iter().any(|known| name.starts_with(known)) {
                let archive = node.archive(&name).display().to_string();
                node.ctr(&["images", "import", "--no-unpack", &archive]);
            }
        }
        // CRI hears of names from containerd's events, a moment later.
        let expected: Vec<String> =
            inside.iter().filter(|(_, inside)| **inside).map(|(name, _)| (*name).clone()).collect();
        let deadline = Instant::now() + Duration::from_secs(60);
        while ask(&node.containerd, &judge, &expected).iter().any(|(_, said)| said == "missing") {
            assert!(Instant::now() < deadline, "{:?}", ask(&node.containerd, &judge, &expected));
            thread::sleep(Duration::from_millis(200));
        }
        for (reference, said) in ask(&node.containerd, &judge, &references) {
            assert_eq!(
                said == "present",
                inside[&reference],
                "{reference} is {said}, and the closure says else"
            );
        }
        world = Some(node.world);
    }
    let present = inside.values().filter(|inside| **inside).count();
    assert!(present > 12 && references.len() - present > 8, "both answers are tried: {present}");
}

#[test]
fn systemd_starts_nothing_of_kubernetes_without_the_images_and_before_they_are_there() {
    if judges::systemd().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let units = "usr/lib/systemd/system";
    let (shipped, node) = (repository("sysext/prebake-images/files"), directory.path().join("files"));
    let copy = |path: &str| {
        fs::create_dir_all(node.join(path).parent().unwrap()).unwrap();
        fs::copy(shipped.join(path), node.join(path)).unwrap();
    };
    copy("usr/libexec/prebake-images");
    copy(&format!("{units}/prebake-images.service"));
    let stands_in = "[Service]\nType=oneshot\nExecStart=/usr/bin/true\n";
    fs::write(node.join(units).join("containerd.service"), stands_in).unwrap();
    for unit in ["kubelet", "kubeadm", "kubeadm-init", "kubeadm-join"] {
        fs::write(node.join(units).join(format!("{unit}.service")), stands_in).unwrap();
        copy(&format!("{units}/{unit}.service.d/20-prebake-images.conf"));
        let output = Command::new(repository("tests/peers/systemd-node.sh"))
            .arg(directory.path())
            .args(["env", "SYSTEMD_LOG_LEVEL=debug", "systemd-analyze", "verify", "--man=no"])
            .arg(format!("{unit}.service"))
            .output()
            .unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{said}");
        let (_, dump) = said.split_once(&format!("Unit {unit}.service:\n")).unwrap();
        let dump = dump.split(" Unit ").next().unwrap();
        for dependency in ["Wants: prebake-images.service", "After: prebake-images.service"] {
            assert!(dump.contains(dependency), "{unit}: no {dependency:?} in {dump}");
        }
        // A unit that requires what fails is given up, though the import is tried again: it waits by a look of its own.
        assert!(!dump.contains("Requires: prebake-images.service"), "{dump}");
        let started =
            fs::read_to_string(node.join(format!("{units}/{unit}.service.d/20-prebake-images.conf")));
        assert!(started.unwrap().contains("\nExecStartPre=/usr/libexec/prebake-images wait\n"));
        assert!(said.contains("prebake-images.service: Installed new job prebake-images.service/start"));
    }
}
