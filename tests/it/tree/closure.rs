//! `prebake verify --closure`: what a tree refers to is inside, and what is not is named with the way to it.

use std::fs;

use prebake::base::canonical::canonical_json;
use prebake::base::digest::Sha256;
use prebake::tree::names::{Endpoint, build_id};
use serde_json::Value;

use crate::bake::kubernetes;
use crate::world::http::{Server, get, head};
use crate::world::{Run, World, repository};

const RECIPE: &str = "recipes/small.yaml";
const TREE: &str = "output/small/current";
const BASE: &str = "http://10.0.0.1:8080/edge";
const HEAD: &str = "variant: flatcar\nversion: 1.0.0\n";

/// A layer that writes these files.
fn files(files: &[(&str, &str)]) -> String {
    let indented = |text: &str| text.lines().map(|line| format!("          {line}\n")).collect::<String>();
    let file = |(path, text): &(&str, &str)| {
        format!("    - path: {path}\n      contents:\n        inline: |\n{}", indented(text))
    };
    format!("{HEAD}storage:\n  files:\n{}", files.iter().map(file).collect::<String>())
}

fn verify(world: &World, args: &[&str]) -> Run {
    world.prebake(&[&["verify", TREE, "--closure"], args].concat())
}

fn graph(world: &World, args: &[&str]) -> Value {
    let run = verify(world, &[args, &["--json"]].concat());
    serde_json::from_str::<Value>(&run.stdout).unwrap()["closure"].take()
}

/// What an edge says: kind, target and outcome.
fn edges(graph: &Value) -> Vec<String> {
    let edge = |edge: &Value| {
        let outcome = edge["outcome"].as_object().unwrap().iter().next().unwrap();
        format!("{} {} {}", edge["kind"].as_str().unwrap(), edge["to"].as_str().unwrap(), outcome.0)
    };
    graph["edges"].as_array().unwrap().iter().map(edge).collect()
}

#[test]
fn a_tree_of_every_output_closes_over_all_that_it_names() {
    let world = World::new();
    let outputs = format!(
        "outputs:\n  pxe: {{}}\n  disk: {{}}\n  matchbox: {{}}\n  terraform: {{}}\n  ipxe: {{menu: {{}}}}\n  grub: {{base_url: \"{BASE}\"}}\n  \
         pxelinux: {{base_url: \"{BASE}\"}}\n  uki: {{base_url: \"{BASE}\"}}\n  sysupdate: {{base_url: \"{BASE}\"}}\n  \
         dnsmasq: {{mode: proxy, base_url: \"{BASE}\", subnet: 10.0.0.0/24, interface: lo}}\ndefault_profile:"
    );
    world.edit(RECIPE, "default_profile:", &outputs);
    world.build();
    let run = verify(&world, &[]).ok();
    assert!(run.stdout.contains("nothing from outside is needed"), "{}", run.stdout);
    assert!(run.stdout.contains(&format!("served   at {BASE}\n")), "{}", run.stdout);
    let graph = graph(&world, &[]);
    assert_eq!(graph["closed"], true);
    assert_eq!(graph["bases"], serde_json::json!([BASE]));
    let edges = edges(&graph);
    for edge in [
        "profile /profiles/worker.json inside",
        "config /ignition/worker.ign inside",
        "kernel /assets/flatcar/4593.2.5/flatcar_production_pxe.vmlinuz inside",
        "initrd /assets/overlay/control+n2.cpio inside",
        "sysext /oem/sysext/hello.raw inside",
        "sysext /assets/sysext/hello/hello-1-x86-64.raw inside",
        "script boot/ipxe/mac-${mac:hexhyp}.ipxe inside",
        "script boot/ipxe/uuid-${uuid}.ipxe open",
        "kernel /edge/assets/flatcar/4593.2.5/flatcar_production_pxe.vmlinuz inside",
        &format!("initrd {BASE}/assets/overlay/worker.cpio inside"),
        &format!("update {BASE}/assets/sysext/hello/ inside"),
        &format!("server {BASE} served"),
        &format!("script {BASE}/boot.ipxe inside"),
        "digest hello-1-x86-64.raw inside",
        "signature flatcar_production_pxe.vmlinuz inside",
    ] {
        assert!(edges.contains(&edge.to_owned()), "no {edge:?} among\n{}", edges.join("\n"));
    }
    assert!(!edges.iter().any(|edge| edge.ends_with("missing")));
}

#[test]
fn what_configs_units_and_manifests_name_outside_is_told_with_the_way_to_it() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\nspec:\n  containers:\n  - name: x\n    image: quay.io/site/x:1\n";
    let manifest = files(&[("/etc/kubernetes/manifests/x.yaml", pod)]);
    let unit = format!(
        "{HEAD}systemd:\n  units:\n    - name: get.service\n      contents: |\n        [Service]\n        ExecStart=/usr/bin/curl -O https://files.example/a.tgz\n"
    );
    let source = format!(
        "{HEAD}storage:\n  files:\n    - path: /opt/x\n      contents: {{source: \"https://files.example/x\"}}\n"
    );
    let merged =
        format!("{HEAD}ignition:\n  config:\n    merge:\n      - source: https://configs.example/c.ign\n");
    let transfer = "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=https://updates.example/x/\nMatchPattern=x-@v.raw\n[Target]\nType=regular-file\nPath=/opt/x\nMatchPattern=x-@v.raw\n";
    let update = files(&[("/etc/sysupdate.x.d/x.conf", transfer)]);
    let kubeadm = files(&[(
        "/etc/kubernetes/kubeadm.yaml",
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.34.4\nimageRepository: r.example/k8s\n",
    )]);
    let containerd = files(&[(
        "/etc/containerd/config.toml",
        "version = 2\nsandbox_image = \"registry.k8s.io/pause:3.10\"\n",
    )]);
    let script = files(&[(
        "/opt/fetch",
        "#!/bin/sh\n# https://doc.example\nwget https://files.example/$(uname -m).tgz\n",
    )]);
    for (name, text, words) in [
        (
            "pod.bu",
            manifest,
            "missing  image quay.io/site/x:1: no archive and no sysext has this image\n         \
             groups/default.json → profiles/worker.json → ignition/worker.ign → /etc/kubernetes/manifests/x.yaml:8 → quay.io/site/x:1\n",
        ),
        ("unit.bu", unit, "/etc/systemd/system/get.service:2 → https://files.example/a.tgz\n"),
        ("source.bu", source, "missing  url https://files.example/x: it is outside of the tree\n"),
        ("merged.bu", merged, "missing  config https://configs.example/c.ign: it is outside of the tree\n"),
        ("update.bu", update, "/etc/sysupdate.x.d/x.conf:5 → https://updates.example/x/\n"),
        ("kubeadm.bu", kubeadm, "/etc/kubernetes/kubeadm.yaml:6 → r.example/k8s/kube-apiserver:v1.34.4\n"),
        ("containerd.bu", containerd, "/etc/containerd/config.toml:2 → registry.k8s.io/pause:3.10\n"),
        ("script.bu", script, "/opt/fetch:3 → https://files.example/"),
    ] {
        let world = World::new();
        world.layer(name, &text);
        world.build();
        let run = verify(&world, &[]);
        assert!(run.stdout.contains(words), "{name}: no {words:?} in\n{}", run.stdout);
        run.fails(4, &["is not self-contained: ", "--allow HOST"]);
        world.prebake(&["verify", TREE]).ok();
    }
}

#[test]
fn sysexts_are_walked_through_and_so_is_what_their_folders_bring() {
    let world = World::new();
    world.write("sysext/hello/files/usr/share/hello/deploy.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers: [{name: a, image: 'ghcr.io/site/a:2'}]\n",
    );
    world.build();
    let run = verify(&world, &[]);
    let way = "assets/overlay/worker.cpio → assets/sysext/hello/hello-1-x86-64.raw → /usr/share/hello/deploy.yaml:6 → ghcr.io/site/a:2\n";
    assert!(run.stdout.contains(way), "{}", run.stdout);
    run.fails(4, &["1 missing, 0 not read"]);
}

#[test]
fn what_may_be_outside_is_allowed_by_host_or_pattern_and_printed() {
    let world = World::new();
    let text = files(&[
        ("/etc/a.yaml", "apiVersion: v1\nspec: {image: quay.io/site/x:1}\n"),
        ("/opt/get", "#!/bin/sh\ncurl https://files.example/a.tgz\n"),
    ]);
    world.layer("x.bu", &text);
    world.build();
    verify(&world, &["--allow", "quay.io"]).fails(4, &["1 missing"]);
    let run = verify(
        &world,
        &["--allow", "quay.io", "--allow", "https://*.example/*.tgz", "--allow", "nobody.example"],
    )
    .ok();
    assert!(run.stdout.contains("allowed  image quay.io/site/x:1, by --allow quay.io\n"), "{}", run.stdout);
    assert!(
        run.stdout.contains("allowed  url https://files.example/a.tgz, by --allow https://*.example/*.tgz\n"),
        "{}",
        run.stdout
    );
    assert!(run.stderr.contains("warning: nothing needs --allow nobody.example"), "{}", run.stderr);
    world.prebake(&["verify", TREE, "--allow", "quay.io"]).fails(2, &["--closure"]);
}

#[test]
fn a_config_that_is_fetched_and_its_sysexts_are_held_against_their_hashes() {
    let world = World::new();
    let wish = format!("config_from: url\nbase_url: \"{BASE}\"\ndefault_profile:");
    world.edit(RECIPE, "default_profile:", &wish);
    let own = |hash: &str| {
        format!(
            "{HEAD}storage:\n  files:\n    - path: /opt/version\n      contents:\n        source: {BASE}/assets/flatcar/4593.2.5/version.txt\n        verification: {{hash: sha256-{hash}}}\n"
        )
    };
    let version = &crate::world::stock("4593.2.5")["version.txt"];
    world.layer("own.bu", &own(&Sha256::of(version).to_string()));
    world.build();
    verify(&world, &[]).ok();
    let edges = edges(&graph(&world, &[]));
    assert!(
        edges.contains(&format!("url {BASE}/assets/sysext/hello/hello-1-x86-64.raw inside")),
        "{edges:?}"
    );
    assert!(
        edges.contains(&"sysext /opt/extensions/hello/hello-1-x86-64.raw inside".to_owned()),
        "{edges:?}"
    );
    world.write("recipes/own.bu", own(&Sha256::of(b"another").to_string()));
    world.build();
    let run = verify(&world, &[]);
    assert!(run.stdout.contains("does not have the sha256 that the config states"), "{}", run.stdout);
    run.fails(4, &["1 missing"]);
}

#[test]
fn where_machines_find_the_tree_is_said_by_hand_where_it_does_not_say_it() {
    let world = World::new();
    let source = format!(
        "{HEAD}storage:\n  files:\n    - path: /opt/version\n      contents: {{source: \"{BASE}/assets/flatcar/4593.2.5/version.txt\"}}\n"
    );
    world.layer("x.bu", &source);
    world.build();
    verify(&world, &[]).fails(4, &["1 missing", "--base-url"]);
    verify(&world, &["--base-url", &format!("{BASE}/")]).ok();
    // Another host with a file of that name is another file.
    verify(&world, &["--base-url", "http://10.0.0.2:8080/edge"]).fails(4, &["1 missing"]);
}

#[test]
fn kubeadms_images_are_found_in_the_sysext_that_carries_them_or_named() {
    let world = kubernetes::world("images: sysext", &kubernetes::source());
    let kubeadm = |version: &str| {
        files(&[(
            "/etc/kubernetes/kubeadm.yaml",
            &format!(
                "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: {version}\n"
            ),
        )])
    };
    world.write("recipes/kubeadm.bu", kubeadm("v1.33.13"));
    world.edit(RECIPE, "ignition: [worker.ign, control.ign]", "ignition: [control.ign, kubeadm.bu]");
    let (registry, _) = kubernetes::registry();
    kubernetes::run(&world, &registry, &["build", RECIPE]).ok();
    let run = verify(&world, &[]).ok();
    assert!(run.stdout.contains("image 14,"), "seven of control and of n2: {}", run.stdout);
    assert!(run.stdout.contains("archive 10"), "seven of control planes, three of workers: {}", run.stdout);
    world.write("recipes/kubeadm.bu", kubeadm("v1.33.6"));
    kubernetes::run(&world, &registry, &["build", RECIPE]).ok();
    let run = verify(&world, &[]);
    let words = "missing  image registry.k8s.io/kube-apiserver:v1.33.6: the tree has this image only as registry.k8s.io/kube-apiserver:v1.33.13";
    assert!(run.stdout.contains(words), "{}", run.stdout);
    run.fails(4, &["8 missing"]);
}

#[test]
fn images_that_nodes_fetch_are_found_in_the_archives_of_the_tree() {
    let world = kubernetes::world("images: asset", &kubernetes::source());
    let (registry, _) = kubernetes::registry();
    kubernetes::run(&world, &registry, &["build", RECIPE]).ok();
    let graph = graph(&world, &[]);
    let archive = |edge: &&Value| edge["kind"] == "archive";
    let archives: Vec<&Value> = graph["edges"].as_array().unwrap().iter().filter(archive).collect();
    assert_eq!(archives.len(), 10);
    for edge in archives {
        assert_eq!(edge["outcome"]["inside"], edge["to"], "{edge}");
    }
    assert_eq!(graph["closed"], true);
}

#[test]
fn a_bundles_trees_are_walked_through_where_they_lie() {
    let world = World::new();
    let text = files(&[("/etc/a.yaml", "apiVersion: v1\nspec: {image: quay.io/site/x:1}\n")]);
    world.layer("x.bu", &text);
    world.build();
    world.prebake(&["bundle", "create", TREE, "-o", "small.bundle", "--unsigned"]).ok();
    let args = ["verify", "small.bundle", "--allow-unsigned", "--closure"];
    let run = world.prebake(&args);
    assert!(run.stdout.contains("/etc/a.yaml:2 → quay.io/site/x:1\n"), "{}", run.stdout);
    run.fails(4, &["1 missing"]);
    let run = world.prebake(&[&args[..], &["--allow", "quay.io", "--json"]].concat()).ok();
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    let closures = json["closure"].as_object().unwrap();
    assert!(closures.values().all(|graph| graph["closed"] == true) && closures.len() == 1, "{json}");
}

#[test]
fn a_damaged_tree_is_told_as_damaged_and_not_walked_through() {
    let world = World::new();
    world.build();
    let path = world.path(TREE).join("profiles/worker.json");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "{}").unwrap();
    let run = verify(&world, &[]);
    assert!(!run.stdout.contains("references"), "{}", run.stdout);
    run.fails(4, &["1 file", "not as published"]);
}

/// The closure once had nine endpoints of its own: the server has fourteen, and signatures of eight.
#[test]
fn what_the_server_answers_is_served_to_the_closure_too_and_nothing_else() {
    let others = ["favicon.ico", "guarded/x/boot.ign", "assets", "ignition/none.ign", "loaders/shadow.efi"];
    let names = Endpoint::ALL.iter().map(|endpoint| endpoint.name()).chain(others);
    let forms = ["", ".sig", ".asc", ".sig.asc"];
    let targets = names.flat_map(|name| forms.map(|form| format!("{name}{form}")));
    let targets: Vec<String> = targets.filter(|target| !target.is_empty()).collect();
    let world = World::new();
    let asks: String = targets.iter().map(|target| format!("curl {BASE}/{target}\n")).collect();
    world.layer("x.bu", &files(&[("/opt/ask", &format!("#!/bin/sh\n{asks}"))]));
    world.build();
    let graph = graph(&world, &["--base-url", BASE]);
    let edges = edges(&graph);
    let ring = repository("tests/vectors/matchbox/keyring/secring.gpg").display().to_string();
    let flags = ["--address", "127.0.0.1:0", "--key-ring-path", &ring];
    let (_server, address) = Server::prebake_with(&world.path(TREE), &flags);
    let is_answered = |target: &str| match target {
        // It never ends.
        "events" => head(&address, "/events").status == 200,
        target => !get(&address, &format!("/{target}"), "").text().contains("does not list this file"),
    };
    let is_closed = |target: &str| {
        let to = format!("url {BASE}/{target} ");
        let edge = edges.iter().find(|edge| edge.starts_with(&to));
        !edge.unwrap_or_else(|| panic!("no {to:?} among\n{}", edges.join("\n"))).ends_with(" missing")
    };
    let [answered, closed]: [Vec<&String>; 2] = [
        targets.iter().filter(|target| is_answered(target)).collect(),
        targets.iter().filter(|target| is_closed(target)).collect(),
    ];
    assert_eq!(closed, answered);
    let signed = Endpoint::ALL.iter().filter(|endpoint| endpoint.is_signed()).count();
    assert_eq!(closed.len(), Endpoint::ALL.len() - 1 + 2 * signed, "the page is at the root: {closed:?}");
    let says = graph["edges"].as_array().unwrap().iter();
    let says = says.filter(|edge| edge["to"] == format!("{BASE}/ignition.sig"));
    let says: Vec<&Value> = says.map(|edge| &edge["outcome"]["served"]).collect();
    assert_eq!(says, ["the server of the tree, with a key that signs"]);
}

/// Puts other bytes into a published file, as if they had been published.
fn replace(world: &World, path: &str, bytes: &str) {
    let tree = world.path(TREE);
    let write = |path: &str, bytes: &[u8]| {
        let path = tree.join(path);
        fs::remove_file(&path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let mut manifest: Value = serde_json::from_slice(&fs::read(tree.join("manifest.json")).unwrap()).unwrap();
    let mut row = |path: &str, bytes: &[u8]| {
        let row = &mut manifest["files"][path];
        let old = row["sha256"].as_str().unwrap().to_owned();
        (row["sha256"], row["size"]) = (Sha256::of(bytes).to_string().into(), bytes.len().into());
        write(path, bytes);
        old
    };
    let old = row(path, bytes.as_bytes());
    let sums = fs::read_to_string(tree.join("SHA256SUMS")).unwrap();
    row("SHA256SUMS", sums.replace(&old, &Sha256::of(bytes.as_bytes()).to_string()).as_bytes());
    let bytes = canonical_json(&manifest);
    write("manifest.json", &bytes);
    // It is another build now.
    let id = build_id(&Sha256::of(&bytes));
    fs::rename(fs::canonicalize(&tree).unwrap(), tree.with_file_name(&id)).unwrap();
    fs::remove_file(&tree).unwrap();
    std::os::unix::fs::symlink(&id, &tree).unwrap();
}

/// The closure read records by exact keys, and took one that no server can use for an empty one.
#[test]
fn a_profile_is_followed_as_a_server_reads_it() {
    let world = World::new();
    world.build();
    let kernel = "/assets/flatcar/4593.2.5/flatcar_production_pxe.vmlinuz";
    let text = format!(
        r#"{{"ID": "worker", "Ignition_ID": "worker.ign", "ignition_id": "gone.ign", "BOOT": {{"Kernel": "{kernel}"}}}}"#
    );
    replace(&world, "profiles/worker.json", &text);
    let run = verify(&world, &[]);
    assert!(run.stdout.contains("missing  config /ignition/gone.ign"), "{}{}", run.stdout, run.stderr);
    let edges = edges(&graph(&world, &[]));
    assert!(edges.contains(&format!("kernel {kernel} inside")), "{edges:?}");
    replace(&world, "profiles/worker.json", r#"{"id": "worker", "boot": {"initrd": "/assets/x"}}"#);
    let run = verify(&world, &[]);
    let why = "json: cannot unmarshal string into boot.initrd of type array";
    assert!(run.stdout.contains(why), "{}{}", run.stdout, run.stderr);
    run.fails(4, &[]);
}
