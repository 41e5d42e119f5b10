//! The recipes that ship, built against mirrors of the same shape as the public hosts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use prebake::base::digest::Sha256;
use prebake::format::image::Limits;
use prebake::format::squashfs::Image;
use prebake::tree::manifest::{Manifest, Role};

use crate::disk::made::{self, Disk};
use crate::judges::matchbox::check_tree;
use crate::lab::mirror::{Fault, Mirror};
use crate::lab::release;
use crate::world::{Run, World, registry, repository};

pub(crate) const KUBERNETES: &str = "v1.34.4";
const CNI: &str = "v1.7.1";
const CRICTL: &str = "v1.33.0";

/// A world with the shipped recipe for Kubernetes in it.
fn kubernetes() -> World {
    shipped("kubernetes")
}

/// A world with a shipped recipe in it. The lab's key stands in for Flatcar's, whose secret we lack.
fn shipped(name: &str) -> World {
    let world = World::new();
    let recipe = format!("recipes/{name}.yaml");
    copy(&world, &[&recipe, &format!("recipes/{name}"), "sysext"]);
    let trust = format!("trust: {{primary_fingerprint: {}, key: lab.asc}}\nsysexts:", crate::world::PRIMARY);
    world.edit(&recipe, "sysexts:", &trust);
    world
}

/// Copies what ships into a world, to the same places.
pub(crate) fn copy(world: &World, paths: &[&str]) {
    for path in paths {
        let place = world.path(path).parent().unwrap().to_owned();
        fs::create_dir_all(&place).unwrap();
        let copied = Command::new("cp").arg("-a").arg(repository(path)).arg(&place).status().unwrap();
        assert!(copied.success());
    }
}

/// dl.k8s.io and GitHub in one: the paths below a mirror are theirs.
pub(crate) fn upstream(directory: &Path) {
    let write = |path: String, bytes: &[u8]| {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let digest = path.with_file_name(format!("{}.sha256", path.file_name().unwrap().display()));
        fs::write(digest, Sha256::of(bytes).to_string()).unwrap();
    };
    for binary in ["kubeadm", "kubelet", "kubectl"] {
        let text = format!("#!/bin/sh\necho {binary} {KUBERNETES}\n");
        write(format!("{KUBERNETES}/bin/linux/amd64/{binary}"), text.as_bytes());
    }
    let packed = |files: &[&str], what: &str| {
        let unpacked = tempfile::tempdir().unwrap();
        for file in files {
            fs::write(unpacked.path().join(file), file).unwrap();
        }
        let tar = Command::new("tar").arg("-cz").arg("-C").arg(unpacked.path()).arg(what).output().unwrap();
        assert!(tar.status.success());
        tar.stdout
    };
    let name =
        format!("containernetworking/plugins/releases/download/{CNI}/cni-plugins-linux-amd64-{CNI}.tgz");
    write(name, &packed(&["bridge", "loopback", "host-local"], "."));
    let name =
        format!("kubernetes-sigs/cri-tools/releases/download/{CRICTL}/crictl-{CRICTL}-linux-amd64.tar.gz");
    write(name, &packed(&["crictl"], "crictl"));
}

fn build(world: &World, mirror: &Mirror) -> std::process::Output {
    build_of(world, mirror, "recipes/kubernetes.yaml")
}

fn build_of(world: &World, mirror: &Mirror, recipe: &str) -> std::process::Output {
    let mut command = world.command(&["build", recipe]);
    command.env("PREBAKE_MIRROR_KUBERNETES", mirror.url()).env("PREBAKE_MIRROR_GITHUB", mirror.url());
    command.output().unwrap()
}

#[test]
fn the_recipe_for_kubernetes_plans_without_a_network_as_a_user_gets_it() {
    let store = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_prebake"))
        .args(["plan", "--json"])
        .arg(repository("recipes/kubernetes.yaml"))
        .env("PREBAKE_STORE", store.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ids: Vec<&str> =
        plan["inputs"].as_array().unwrap().iter().map(|input| input["id"].as_str().unwrap()).collect();
    assert_eq!(
        ids,
        [
            "flatcar/amd64/flatcar_production_image.bin.bz2",
            "flatcar/amd64/flatcar_production_pxe.vmlinuz",
            "flatcar/amd64/flatcar_production_pxe_image.cpio.gz",
            "flatcar/amd64/version.txt",
            "sysext/kubernetes/amd64/cni-plugins",
            "sysext/kubernetes/amd64/crictl",
            "sysext/kubernetes/amd64/kubeadm",
            "sysext/kubernetes/amd64/kubectl",
            "sysext/kubernetes/amd64/kubelet",
        ]
    );
}

#[test]
fn the_recipe_for_kubernetes_builds_from_mirrors_of_the_public_hosts() {
    let world = kubernetes();
    upstream(&world.path("upstream"));
    let mirror = Mirror::builder().directory("/", &world.path("upstream")).start().unwrap();
    let output = build(&world, &mirror);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = world.path("output/kubernetes/current");
    let manifest = Manifest::parse("manifest", &fs::read(tree.join("manifest.json")).unwrap()).unwrap();
    let by_role =
        |role| manifest.files.iter().filter(move |(_, file)| file.role == role).map(|(path, _)| path);

    let disk: Vec<&String> = by_role(Role::DiskImage).collect();
    assert_eq!(disk, ["assets/flatcar/4593.2.5/flatcar_production_image.bin.bz2"]);
    let overlays: BTreeMap<&str, u64> =
        by_role(Role::Overlay).map(|path| (path.as_str(), manifest.files[path].size)).collect();
    let names = ["control+control-1", "control", "worker+worker-1", "worker"];
    let expected: Vec<String> = names.iter().map(|name| format!("assets/overlay/{name}.cpio")).collect();
    assert_eq!(overlays.keys().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());

    let image = tree.join("assets/sysext/kubernetes/kubernetes-v1.34.4-x86-64.raw");
    let image = Image::open(&image, Limits::default()).unwrap();
    let read = |path: &str| String::from_utf8(image.read(path).unwrap()).unwrap();
    assert_eq!(read("usr/bin/kubeadm"), format!("#!/bin/sh\necho kubeadm {KUBERNETES}\n"));
    assert_eq!(read("usr/local/bin/cni/bridge"), "bridge");
    assert_eq!(read("usr/local/share/kubernetes-version"), format!("{KUBERNETES}\n"));
    let release = read("usr/lib/extension-release.d/extension-release.kubernetes");
    assert!(release.contains("ID=_any") && release.contains("ARCHITECTURE=x86-64"), "{release}");

    let config = fs::read_to_string(tree.join("ignition/control+control-1.ign")).unwrap();
    for part in ["/etc/extensions/kubernetes.raw", "kubeadm-init.service", "/etc/hostname", "br_netfilter"] {
        assert!(config.contains(part), "no {part} in {config}");
    }
    let lock = fs::read_to_string(world.path("recipes/kubernetes.lock")).unwrap();
    assert!(!lock.contains("127.0.0.1"), "a mirror leaves no trace in the lock:\n{lock}");
    check_tree(&tree);
}

#[test]
fn the_recipe_in_the_readme_builds_as_it_stands_there() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let recipe = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(recipe.lines().count() <= 12, "it is to be read at a glance");
    let world = kubernetes();
    // The lab's key stands in for Flatcar's.
    let trust = format!("trust: {{primary_fingerprint: {}, key: lab.asc}}\n", crate::world::PRIMARY);
    fs::write(world.path("recipes/rack.yaml"), format!("{recipe}{trust}")).unwrap();
    fs::write(world.path("recipes/worker.bu"), "variant: flatcar\nversion: 1.0.0\n").unwrap();
    upstream(&world.path("upstream"));
    let mirror = Mirror::builder().directory("/", &world.path("upstream")).start().unwrap();
    let output = build_of(&world, &mirror, "recipes/rack.yaml");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("warning:"), "{said}");
}

#[test]
fn the_recipe_for_the_lab_builds_from_the_labs_release_and_matchbox_serves_it() {
    let world = World::new();
    copy(&world, &["recipes/lab.yaml", "recipes/lab", "sysext", "tests/lab/keys/lab.asc"]);
    let release = release::build(&world.path("lab")).unwrap();
    let mirror = Mirror::builder().directory("/", &release.server).start().unwrap();
    let mut command = world.command(&["build", "recipes/lab.yaml"]);
    let output = command.env("PREBAKE_MIRROR_FLATCAR", mirror.url()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check_tree(&world.path("output/lab/current"));
}

/// A world with a shipped recipe for images with Kubernetes in them, what upstream publishes for it, and a registry with its
/// images.
fn with_images(name: &str, platforms: &[&str]) -> (World, Mirror, registry::Registry) {
    let world = shipped(name);
    world.release_file("flatcar_production_image.bin.bz2", made::generic());
    for id in platforms {
        world.release_file(&format!("oem-{id}.raw"), &made::extension(id));
    }
    upstream(&world.path("upstream"));
    let mirror = Mirror::builder().directory("/", &world.path("upstream")).start().unwrap();
    let mut registry = registry::Builder::default();
    let own = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];
    let others = [("coredns/coredns", "v1.12.1"), ("etcd", "3.6.5-0"), ("pause", "3.10.1")];
    for (repository, tag) in own.map(|name| (name, KUBERNETES)).into_iter().chain(others) {
        registry.push(repository, tag, &["amd64"]);
    }
    (world, mirror, registry.start())
}

fn node_image() -> (World, Mirror, registry::Registry) {
    with_images("capi-node", &["openstack", "proxmoxve"])
}

/// The box is what `vagrant box add` takes, and its machine starts a control plane without being asked.
#[test]
fn the_recipe_for_vagrant_builds_a_box_that_starts_a_control_plane() {
    let (world, mirror, registry) = with_images("vagrant", &[]);
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        command.env("PREBAKE_MIRROR_KUBERNETES", mirror.url()).env("PREBAKE_MIRROR_GITHUB", mirror.url());
        Run::of(command.env("PREBAKE_MIRROR_OCI", registry.url()).output().unwrap()).ok()
    };
    for args in [
        &["lock", "recipes/vagrant.yaml"][..],
        &["plan", "recipes/vagrant.yaml"],
        &["build", "recipes/vagrant.yaml", "--locked"],
    ] {
        let said = run(args).stderr;
        assert!(!said.contains("warning"), "{args:?}: {said}");
    }
    let image = world.path("output/vagrant/current/disk/control/vagrant.box");
    let home = world.path("vagrant");
    let mut vagrant = Command::new("vagrant");
    vagrant.args(["box", "add", "flatcar-kubernetes", "--provider", "libvirt"]).arg(&image);
    vagrant.env("VAGRANT_HOME", &home).env("VAGRANT_CHECKPOINT_DISABLE", "1").env("HOME", world.path("."));
    Run::of(vagrant.output().unwrap()).ok();
    let inside = home.join("boxes/flatcar-kubernetes/0/libvirt");
    let ruby = Command::new("ruby").arg("-c").arg(inside.join("Vagrantfile")).output().unwrap();
    assert_eq!(Run::of(ruby).ok().stdout, "Syntax OK\n");
    let mut names: Vec<_> = fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["Vagrantfile", "box.img", "metadata.json"]);
    // Its name tells what a disk is.
    fs::rename(inside.join("box.img"), inside.join("box.qcow2")).unwrap();
    let disk = Disk::open(&inside.join("box.qcow2"));
    let metadata: serde_json::Value =
        serde_json::from_slice(&fs::read(inside.join("metadata.json")).unwrap()).unwrap();
    let info =
        Command::new("qemu-img").args(["info", "--output=json"]).arg(inside.join("box.qcow2")).output();
    let info: serde_json::Value = serde_json::from_slice(&info.unwrap().stdout).unwrap();
    let length = info["virtual-size"].as_u64().unwrap();
    assert_eq!(metadata["virtual_size"].as_u64().unwrap(), length.div_ceil(1 << 30), "{info}");
    let config = disk.text("config.ign");
    for part in
        ["kubeadm-init.service", "/home/core/.ssh/authorized_keys", "/etc/cni/net.d/10-bridge.conflist"]
    {
        assert!(config.contains(part), "no {part} in {config}");
    }
    assert!(disk.text("grub.cfg").contains("set oem_id=\"vagrant\""));
}

#[test]
fn the_recipe_for_a_node_image_builds_one_below_the_user_data_of_each_platform() {
    let (world, mirror, registry) = node_image();
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        command.env("PREBAKE_MIRROR_KUBERNETES", mirror.url()).env("PREBAKE_MIRROR_GITHUB", mirror.url());
        Run::of(command.env("PREBAKE_MIRROR_OCI", registry.url()).output().unwrap())
    };
    let lock = run(&["lock", "recipes/capi-node.yaml"]).ok();
    assert!(!lock.stderr.contains("warning"), "user data says who may log in: {}", lock.stderr);
    let plan = run(&["plan", "recipes/capi-node.yaml"]).ok();
    assert!(!plan.stderr.contains("warning"), "{}", plan.stderr);
    let built = run(&["build", "recipes/capi-node.yaml", "--locked"]).ok();
    assert!(!built.stderr.contains("warning"), "{}", built.stderr);
    for platform in ["proxmoxve", "openstack"] {
        let image = world.path(&format!("output/capi-node/current/disk/node/{platform}.qcow2"));
        let disk = Disk::open(&image);
        let paths: Vec<String> = disk.oem().list().map(|listed| listed.path.clone()).collect();
        assert!(!paths.contains(&"config.ign".into()), "it keeps the platform from being asked: {paths:?}");
        for name in
            ["containerd-config", "kubernetes", "kubernetes-config", "kubernetes-images", "prebake-images"]
        {
            assert!(paths.contains(&format!("sysext/{name}.raw")), "{name}: {paths:?}");
        }
        let config = disk.text("base/base.ign");
        for part in ["/etc/extensions/kubernetes.raw", "/etc/kubeadm.yml", "auditd.service", "br_netfilter"] {
            assert!(config.contains(part), "no {part} in {config}");
        }
        assert!(disk.text("grub.cfg").contains(&format!("set oem_id=\"{platform}\"")));
    }
}

/// The lengths of an image's layers are in the lock long before an image is built.
#[test]
fn a_plan_says_in_numbers_that_images_will_have_no_room() {
    let (world, mirror, registry) = node_image();
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        command.env("PREBAKE_MIRROR_KUBERNETES", mirror.url()).env("PREBAKE_MIRROR_GITHUB", mirror.url());
        Run::of(command.env("PREBAKE_MIRROR_OCI", registry.url()).output().unwrap()).ok()
    };
    run(&["lock", "recipes/capi-node.yaml"]);
    let path = world.path("recipes/capi-node.lock");
    let lock = fs::read_to_string(&path).unwrap();
    let layer = format!("image/registry.k8s.io/kube-apiserver:{KUBERNETES}/amd64/layer-1:\n");
    let (before, rest) = lock.split_once(&layer).unwrap();
    let (url, rest) = rest.split_once("size: ").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    fs::write(&path, format!("{before}{layer}{url}size: 2000000000\n{rest}")).unwrap();
    let plan = run(&["plan", "recipes/capi-node.yaml"]);
    for words in [
        "warning: by the lengths in the lock, capi-node-node-openstack: OEM (1073741824 bytes, 1.00 GiB) has no room",
        "sysext/kubernetes-images.raw 20",
    ] {
        assert!(plan.stderr.contains(words), "{}", plan.stderr);
    }
}

#[test]
fn a_component_other_than_its_published_digest_is_refused() {
    let world = kubernetes();
    upstream(&world.path("upstream"));
    let faults = |request: &crate::lab::mirror::Request| {
        request.path.ends_with("/kubelet").then_some(Fault::Corrupt(3))
    };
    let mirror = Mirror::builder().directory("/", &world.path("upstream")).faults(faults).start().unwrap();
    let output = build(&world, &mirror);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("kubelet has sha256"), "{stderr}");
    assert!(!world.path("output/kubernetes/current").exists());
}

#[test]
fn a_node_with_less_memory_than_its_boot_needs_is_warned_about() {
    let world = World::new();
    world.edit("recipes/small.yaml", "00:01, profile: worker}", "00:01, profile: worker, memory: 2GiB}");
    let run = world.prebake(&["build", "recipes/small.yaml"]).ok();
    let warned = "node `n1` has 2.00 GiB of memory, and its boot needs 3.00 GiB";
    assert!(run.stderr.contains(warned) && run.stderr.contains("small.yaml:13:"), "{}", run.stderr);
    assert!(run.stdout.contains("memory    3.00 GiB for "), "{}", run.stdout);
    world.edit("recipes/small.yaml", "memory: 2GiB", "memory: 4GiB");
    assert!(!world.prebake(&["build", "recipes/small.yaml"]).ok().stderr.contains("memory"));
    world.edit("recipes/small.yaml", "memory: 4GiB", "memory: 4");
    world.prebake(&["build", "recipes/small.yaml"]).fails(3, &["`4` is not an amount such as 8GiB"]);
}
