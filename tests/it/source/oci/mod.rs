//! Container images from a registry to the tree, through the binary: resolved, locked, verified, packed, and read by the
//! tools that will import them.

mod judges;
mod logins;
mod shapes;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use prebake::tree::manifest::{Manifest, Role};
use serde_json::{Value, json};

use crate::world::registry::{Builder, Fault, Login, Pushed, Registry, Request, basic, digest};
use crate::world::{Run, World, peak_memory};

const PAUSE: &str = "registry.k8s.io/pause:3.10";
const ARCHIVE: &str = "assets/images/pause-3.10-amd64.tar";

const USER: &str = "robot";
const PASSWORD: &str = "pass-s3cr3t";

/// A world whose recipe names these images.
fn world(images: &str) -> World {
    let world = World::new();
    world.edit("recipes/small.yaml", "sysexts:", &format!("images: [{images}]\nsysexts:"));
    world
}

/// A registry with `pause:3.10` for two architectures.
fn pause(change: impl FnOnce(Builder) -> Builder) -> (Registry, Pushed) {
    let mut builder = Builder::default();
    let pushed = builder.push("pause", "3.10", &["arm64", "amd64"]);
    (change(builder).start(), pushed)
}

fn command(world: &World, registry: &Registry, args: &[&str]) -> Command {
    let mut command = world.command(args);
    command.env("PREBAKE_MIRROR_OCI", registry.url());
    command
}

fn run(world: &World, registry: &Registry, args: &[&str]) -> Run {
    Run::of(command(world, registry, args).output().unwrap())
}

fn build(world: &World, registry: &Registry) -> Run {
    run(world, registry, &["build", "recipes/small.yaml"])
}

fn lock(world: &World) -> String {
    fs::read_to_string(world.path("recipes/small.lock")).unwrap_or_default()
}

fn tree(world: &World, path: &str) -> PathBuf {
    world.path("output/small/current").join(path)
}

/// Writes docker's `config.json` and returns its directory.
fn docker_config(world: &World, config: &Value) -> PathBuf {
    let directory = world.path("docker");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.json"), config.to_string()).unwrap();
    directory
}

fn auths(registry: &Registry, user: &str, password: &str) -> Value {
    let auth = basic(user, password);
    json!({"auths": {registry.host(): {"auth": auth.strip_prefix("Basic ").unwrap()}}})
}

/// Members of a tar by path.
fn members(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut members = BTreeMap::new();
    for entry in tar::Archive::new(fs::File::open(path).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        members.insert(entry.path().unwrap().display().to_string(), bytes);
    }
    members
}

/// The build fails so, and leaves neither lock nor tree nor leftovers.
#[track_caller]
fn fails(world: &World, registry: &Registry, code: i32, words: &[&str]) {
    build(world, registry).fails(code, words);
    assert_eq!(lock(world), "", "nothing unverified is locked");
    assert_eq!(world.current(), None);
    assert!(world.names("store/tmp").is_empty());
    world.objects(); // asserts that every object is whole
}

#[test]
fn an_image_is_locked_by_digest_and_published_as_an_archive_of_exactly_its_blobs() {
    let world = world(PAUSE);
    let (registry, pushed) = pause(|builder| builder);
    build(&world, &registry).ok();

    let manifest = Manifest::parse("manifest", &fs::read(tree(&world, "manifest.json")).unwrap()).unwrap();
    let row = &manifest.files[ARCHIVE];
    assert_eq!(row.role, Role::ContainerImage);
    let amd64 = &pushed.manifests["amd64"];
    let url = format!("https://registry.k8s.io/v2/pause/manifests/{amd64}");
    assert_eq!(row.origin.as_ref().map(|origin| origin.url.as_str()), Some(url.as_str()));

    let members = members(&tree(&world, ARCHIVE));
    let mut blobs = vec![amd64.clone(), pushed.configs["amd64"].clone()];
    blobs.extend(pushed.layers["amd64"].iter().cloned());
    for (path, bytes) in &members {
        if let Some(hex) = path.strip_prefix("blobs/sha256/") {
            assert_eq!(digest(bytes), format!("sha256:{hex}"));
            blobs.retain(|blob| *blob != format!("sha256:{hex}"));
        }
    }
    assert!(blobs.is_empty(), "missing: {blobs:?}");
    assert_eq!(members.len(), 2 + 4, "no other architecture's: {:?}", members.keys());
    let index: Value = serde_json::from_slice(&members["index.json"]).unwrap();
    assert_eq!(index["manifests"][0]["digest"], amd64.as_str());
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], PAUSE);

    let lock = lock(&world);
    let named = [&pushed.index, amd64, &pushed.configs["amd64"]];
    for digest in named.into_iter().chain(&pushed.layers["amd64"]) {
        assert!(lock.contains(digest), "no {digest} in {lock}");
    }
    for id in ["index", "manifest", "config", "layer-1", "layer-2"] {
        assert!(lock.contains(&format!("image/{PAUSE}/amd64/{id}:")), "no {id} in {lock}");
    }
    assert!(!lock.contains("127.0.0.1"), "a mirror leaves no trace: {lock}");
}

#[test]
fn the_same_image_gives_the_same_build_id_and_a_second_build_asks_nothing() {
    let first = world(PAUSE);
    let (registry, _) = pause(|builder| builder);
    build(&first, &registry).ok();
    let asked = registry.requests().len();
    build(&first, &registry).ok();
    assert_eq!(registry.requests().len(), asked, "nothing is asked of the registry");

    let second = world(PAUSE);
    let (other, _) = pause(|builder| builder.login(Login::Bearer { user: None }));
    build(&second, &other).ok();
    assert_eq!(second.current(), first.current(), "neither the mirror's address nor its login leave a trace");
    assert_eq!(lock(&second), lock(&first));
}

#[test]
fn an_archive_is_a_link_into_the_store_and_offline_builds_need_the_lock_and_the_store_alone() {
    use std::os::unix::fs::MetadataExt;
    let world = world(PAUSE);
    let (registry, _) = pause(|builder| builder);
    let offline = ["build", "recipes/small.yaml", "--offline"];
    run(&world, &registry, &["lock", "recipes/small.yaml"]).ok();
    assert!(fs::read_dir(world.path("output")).is_err(), "nothing is built by a lock");
    let asked = registry.requests().len();
    run(&world, &registry, &offline).ok();
    assert_eq!(registry.requests().len(), asked);
    assert!(fs::metadata(tree(&world, ARCHIVE)).unwrap().nlink() >= 2);

    fs::remove_dir_all(world.path("store")).unwrap();
    run(&world, &registry, &offline)
        .fails(6, &["image/registry.k8s.io/pause:3.10/amd64/layer-2", "--offline"]);
    build(&world, &registry).ok();
    let by_tag = registry.requests().iter().filter(|request| request.target.contains("/3.10")).count();
    assert_eq!(by_tag, 1, "a locked image is asked for by digest only");
}

#[test]
fn an_image_that_moved_is_not_followed_before_the_lock_moves() {
    let world = world(PAUSE);
    let (registry, before) = pause(|builder| builder);
    build(&world, &registry).ok();
    let mut builder = Builder::default();
    let after = builder.push("pause", "3.10", &["amd64"]);
    assert_ne!(before.index, after.index);
    let moved = builder.start();
    run(&world, &moved, &["build", "recipes/small.yaml", "--locked"]).ok();
    assert!(moved.requests().is_empty());
    let run = run(&world, &moved, &["lock", "recipes/small.yaml", "--update"]).ok();
    assert!(run.stdout.contains(&format!("image/{PAUSE}/amd64/index")), "{}", run.stdout);
    assert!(lock(&world).contains(&after.index));
}

#[test]
fn a_locked_build_refuses_an_image_that_is_not_locked_and_plan_says_so() {
    let world = World::new();
    world.build();
    world.edit("recipes/small.yaml", "sysexts:", &format!("images: [{PAUSE}]\nsysexts:"));
    let locked = world.prebake(&["build", "recipes/small.yaml", "--locked"]);
    locked.fails(9, &["the image registry.k8s.io/pause:3.10 is not locked"]);
    let plan = world.prebake(&["plan", "recipes/small.yaml"]).ok();
    assert!(plan.stdout.contains("the image registry.k8s.io/pause:3.10 is not locked"), "{}", plan.stdout);
    let offline = world.prebake(&["build", "recipes/small.yaml", "--offline"]);
    offline.fails(6, &["image/registry.k8s.io/pause:3.10"]);
}

#[test]
fn plan_shows_the_inputs_and_the_step_of_a_locked_image() {
    let world = world(PAUSE);
    let (registry, _) = pause(|builder| builder);
    build(&world, &registry).ok();
    let plan = world.prebake(&["plan", "recipes/small.yaml", "--json"]).ok();
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let ids = |rows: &str| -> Vec<String> {
        let rows = plan[rows].as_array().unwrap().iter();
        let rows = rows.filter(|row| row["cached"] == true).map(|row| row["id"].as_str().unwrap().to_owned());
        rows.filter(|id| id.starts_with("image/")).collect()
    };
    let inputs = ["config", "index", "layer-1", "layer-2", "manifest"];
    assert_eq!(ids("inputs"), inputs.map(|name| format!("image/{PAUSE}/amd64/{name}")));
    assert_eq!(ids("steps"), [format!("image/{PAUSE}/amd64")]);
}

#[test]
fn an_image_by_digest_is_its_own_promise() {
    let (registry, pushed) = pause(|builder| builder);
    let image = format!("'registry.k8s.io/pause@{}'", pushed.index);
    let world = world(&image);
    build(&world, &registry).ok();
    let short = &pushed.index.replace(':', "-")[..19];
    let members = members(&tree(&world, &format!("assets/images/pause-{short}-amd64.tar")));
    let index: Value = serde_json::from_slice(&members["index.json"]).unwrap();
    let annotations = &index["manifests"][0]["annotations"];
    assert_eq!(annotations["io.containerd.image.name"], format!("registry.k8s.io/pause@{}", pushed.index));
    assert_eq!(annotations["org.opencontainers.image.ref.name"], Value::Null);
}

#[test]
fn a_registry_on_the_loopback_is_asked_directly_and_without_tls() {
    let (registry, _) = pause(|builder| builder);
    let world = world(&format!("'{}/pause:3.10'", registry.host()));
    world.prebake(&["build", "recipes/small.yaml"]).ok();
    let requests = registry.requests();
    assert!(requests.iter().all(|request| !request.target.contains("ns=")), "it is no mirror");
    assert!(requests[0].accept.as_ref().unwrap().contains("vnd.docker.distribution.manifest.list.v2"));
}

#[test]
fn a_mirror_is_told_which_registry_it_stands_for_and_may_have_a_prefix() {
    let mut builder = Builder::default();
    builder.push("proxy/pause", "3.10", &["amd64"]);
    let registry = builder.start();
    let world = world(PAUSE);
    let mirrors = format!("mirrors: {{oci: ['{}/proxy']}}\nsysexts:", registry.url());
    world.edit("recipes/small.yaml", "sysexts:", &mirrors);
    world.prebake(&["build", "recipes/small.yaml"]).ok();
    assert_eq!(registry.requests()[0].target, "/v2/proxy/pause/manifests/3.10?ns=registry.k8s.io");
}

#[test]
fn an_image_without_an_index_is_taken_if_it_is_for_the_architecture() {
    let mut builder = Builder::default();
    builder.push_single("pause", "3.10", "amd64");
    builder.push_single("other", "1", "arm64");
    let registry = builder.start();
    let good = world(PAUSE);
    build(&good, &registry).ok();
    assert!(!lock(&good).contains("/index:"));
    let foreign = world("registry.k8s.io/other:1");
    fails(&foreign, &registry, 7, &["other:1 is not for linux/amd64: it is for linux/arm64"]);
}

#[test]
fn a_foreign_architecture_lists_the_platforms_that_there_are() {
    let mut builder = Builder::default();
    builder.push("pause", "3.10", &["s390x", "arm64"]);
    let words = ["pause:3.10 is not for linux/amd64: it is for linux/arm64, linux/s390x", "hint:"];
    fails(&world(PAUSE), &builder.start(), 7, &words);
}

#[test]
fn bad_references_are_found_where_they_stand() {
    let world =
        world("UPPER/case, pause@sha256:12, nginx, 'docker.io/library/nginx:latest', a/x:1, b.io/a/x:1");
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    run.fails(
        3,
        &[
            "recipes/small.yaml:5:10",
            "`UPPER/case` is not an image reference such as registry.k8s.io/pause:3.10",
            "`pause@sha256:12`",
            "image `docker.io/library/nginx:latest` is listed twice",
            "`docker.io/a/x:1` and `b.io/a/x:1` would both be a-x-1-amd64.tar",
        ],
    );
}

#[test]
fn a_missing_tag_is_named_with_its_image_and_not_asked_for_again() {
    let (registry, _) = pause(|builder| builder);
    let world = world("registry.k8s.io/pause:9.99");
    fails(&world, &registry, 7, &["no image registry.k8s.io/pause:9.99", "no tag `9.99`", "404", "hint:"]);
    assert_eq!(registry.requests().len(), 1);
}

#[test]
fn wrong_blob_bytes_are_final() {
    let mut builder = Builder::default();
    let pushed = builder.push("pause", "3.10", &["amd64"]);
    let config = pushed.configs["amd64"].clone();
    let target = config.clone();
    let hook =
        move |request: &Request| request.target.contains(&target).then(|| Fault::Body(b"abc".to_vec()));
    let registry = builder.faults(hook).start();
    fails(&world(PAUSE), &registry, 4, &[&config, "has size 3", "was expected"]);
    let asked = registry.requests().iter().filter(|request| request.target.contains(&config)).count();
    assert_eq!(asked, 1, "wrong bytes are not asked for again");
}

#[test]
fn a_layer_of_the_right_length_and_other_bytes_is_final() {
    let mut builder = Builder::default();
    let pushed = builder.push("pause", "3.10", &["amd64"]);
    let layer = pushed.layers["amd64"][0].clone();
    let (bytes, _) = crate::world::registry::layer("base", b"the same everywhere");
    let forged: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    let target = layer.clone();
    let hook = move |request: &Request| request.target.contains(&target).then(|| Fault::Body(forged.clone()));
    let registry = builder.faults(hook).start();
    fails(&world(PAUSE), &registry, 4, &[layer.as_str(), "has sha256"]);
}

#[test]
fn a_tag_whose_bytes_are_not_what_the_registry_announces_is_refused() {
    let other = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
    let (registry, pushed) = pause(|builder| {
        builder.faults(move |request| {
            request.target.contains("/manifests/3.10").then(|| Fault::Body(other.clone()))
        })
    });
    let expected = pushed.index.strip_prefix("sha256:").unwrap().to_owned();
    fails(&world(PAUSE), &registry, 4, &["manifests/3.10 has sha256", &expected]);
}

#[test]
fn a_manifest_other_than_the_index_names_is_refused() {
    let (registry, pushed) = pause(|builder| {
        builder.faults(|request| {
            request.target.contains("/manifests/sha256:").then(|| Fault::Body(b"{}".to_vec()))
        })
    });
    fails(&world(PAUSE), &registry, 4, &[&pushed.manifests["amd64"], "has size 2"]);
}

#[test]
fn a_truncated_blob_is_asked_for_again_and_a_network_failure_if_it_stays_so() {
    let once = |request: &Request| {
        (request.target.contains("/blobs/") && request.earlier == 0).then_some(Fault::Truncate(20))
    };
    let (registry, _) = pause(|builder| builder.faults(once));
    build(&world(PAUSE), &registry).ok();
    let always = |request: &Request| request.target.contains("/blobs/").then_some(Fault::Truncate(20));
    let (registry, _) = pause(|builder| builder.faults(always));
    fails(&world(PAUSE), &registry, 6, &["download aborted after", "/blobs/sha256:"]);
}

#[test]
fn too_many_requests_are_waited_out() {
    let busy = |request: &Request| (request.earlier == 0).then_some(Fault::Status(429));
    let (registry, _) = pause(|builder| builder.login(Login::Bearer { user: None }).faults(busy));
    build(&world(PAUSE), &registry).ok();
}

#[test]
fn a_manifest_beyond_four_mebibytes_is_not_read() {
    let (registry, _) = pause(|builder| {
        builder.faults(|request| {
            request.target.contains("/manifests/").then(|| Fault::Body(vec![b' '; (4 << 20) + 1]))
        })
    });
    fails(&world(PAUSE), &registry, 4, &["longer than the limit of 4194304 bytes"]);
}

#[test]
fn what_is_no_container_image_is_refused_with_the_reason() {
    let mut builder = Builder::default();
    let chart = json!({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest(b""), "size": 0},
        "layers": [],
    });
    builder.document(
        "pause",
        "3.10",
        "application/vnd.oci.image.manifest.v1+json",
        chart.to_string().as_bytes(),
    );
    builder.document("login", "1", "text/html", b"<html>please log in</html>");
    let registry = builder.start();
    fails(
        &world(PAUSE),
        &registry,
        4,
        &["it is not a container image: its config is application/vnd.cncf.helm"],
    );
    fails(&world("registry.k8s.io/login:1"), &registry, 4, &["it is not the JSON of a registry"]);
}

#[test]
fn a_lock_that_lost_a_layer_is_refused_instead_of_packed() {
    let world = world(PAUSE);
    let (registry, _) = pause(|builder| builder);
    run(&world, &registry, &["lock", "recipes/small.yaml"]).ok();
    let text = lock(&world);
    let from = text.find(&format!("  image/{PAUSE}/amd64/layer-2:")).unwrap();
    let length = text[from + 2..].find("\n  image/").map_or(text.len() - from, |at| at + 3);
    fs::write(world.path("recipes/small.lock"), format!("{}{}", &text[..from], &text[from + length..]))
        .unwrap();
    build(&world, &registry)
        .fails(4, &["the lock's entries for the image registry.k8s.io/pause:3.10 are incomplete", "hint:"]);
}

/// A registry whose `pause:3.10` and `pause:3.11` share a layer of this length.
fn with_large_layer(size: usize, change: impl FnOnce(Builder) -> Builder) -> Registry {
    let mut builder = Builder::default();
    let bytes = builder.manifest("amd64", &[("pause", b"small")], &mut Pushed::default());
    let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
    let mut layer = builder.blob(vec![b'l'; size]);
    layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar");
    manifest["layers"].as_array_mut().unwrap().push(layer);
    let media_type = manifest["mediaType"].as_str().unwrap().to_owned();
    for tag in ["3.10", "3.11"] {
        builder.document("pause", tag, &media_type, manifest.to_string().as_bytes());
    }
    change(builder).start()
}

#[test]
fn a_large_layer_goes_on_where_it_broke_even_where_the_login_expired_meanwhile() {
    const SIZE: usize = 20 << 20;
    let large = |request: &Request| request.range.is_some_and(|(first, _)| first > 0);
    let broken = AtomicUsize::new(0);
    let registry = with_large_layer(SIZE, |builder| {
        builder.login(Login::Bearer { user: None }).faults(move |request| {
            if !large(request) {
                return None;
            }
            match broken.fetch_add(1, Ordering::Relaxed) {
                0 => Some(Fault::Truncate(1000)),
                3 => Some(Fault::Expired),
                _ => None,
            }
        })
    });
    let world = world(PAUSE);
    build(&world, &registry).ok();
    let requests = registry.requests();
    let tokens = requests.iter().filter(|request| request.target.starts_with("/token")).count();
    assert!(tokens >= 2, "one at first, one after it expired");
    let granted = requests.iter().filter(|request| large(request) && request.authorization.is_some());
    let asked: usize = granted.map(|request| request.range.map_or(0, |(first, last)| last + 1 - first)).sum();
    assert!(asked < SIZE + (8 << 20), "{asked}: only what was missing is asked for again");
}

#[test]
fn images_that_share_a_layer_share_its_bytes() {
    const SIZE: usize = 40 << 20;
    let registry = with_large_layer(SIZE, |builder| builder);
    let world = world("registry.k8s.io/pause:3.10, registry.k8s.io/pause:3.11");
    build(&world, &registry).ok();
    let parts = registry.requests().into_iter().filter_map(|request| request.range);
    let mut starts: Vec<usize> = parts.map(|(first, _)| first).filter(|first| *first > 0).collect();
    let asked = starts.len();
    starts.sort();
    starts.dedup();
    assert_eq!(asked, starts.len(), "no part is asked for twice: {starts:?}");
    assert_eq!(world.names("output/small/current/assets/images").len(), 2);
}

#[test]
fn memory_stays_flat_however_large_a_layer_is() {
    const SIZE: usize = 256 << 20;
    let registry = with_large_layer(SIZE, |builder| builder);
    let world = world(PAUSE);
    let mut command = command(&world, &registry, &["build", "recipes/small.yaml"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let peak = peak_memory(&mut child);
    assert!(child.wait().unwrap().success());
    assert!(fs::metadata(tree(&world, ARCHIVE)).unwrap().len() > SIZE as u64);
    println!("peak memory of a build with a layer of 256 MiB: {} MiB", peak >> 10);
    assert!(peak > 1 << 10 && peak < 150 << 10, "{peak} KiB");
}
