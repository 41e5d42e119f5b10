//! The images of a Kubernetes version, from the recipe to the node: which are chosen, how they are pinned and carried,
//! and what the node's script does with them.

mod importer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::bake::extensions;
use prebake::bake::images::Needs;
use prebake::bake::kubernetes::{kubeadm, needs};
use prebake::bake::outputs;
use prebake::bake::recipe::Recipe;
use prebake::base::digest::Sha256;
use prebake::base::finding::Source;
use prebake::format::image::Limits;
use prebake::format::{cpio, squashfs};
use prebake::registry::reference::ImageRef;
use prebake::sysext::known::known_images;
use serde_json::Value;

use crate::judges;
use crate::world::registry::{Builder, Pushed, Registry};
use crate::world::{Run, World, repository};

const KUBERNETES: &str = "v1.33.13";
/// What kubeadm of that version lists, as repository and tag below registry.k8s.io.
pub const IMAGES: [(&str, &str); 7] = [
    ("kube-apiserver", KUBERNETES),
    ("kube-controller-manager", KUBERNETES),
    ("kube-scheduler", KUBERNETES),
    ("kube-proxy", KUBERNETES),
    ("coredns/coredns", "v1.12.0"),
    ("pause", "3.10"),
    ("etcd", "3.5.24-0"),
];
const LISTS: &str = "usr/share/prebake/images";

/// A world whose recipe carries the images of a version that no table knows; `source` is what the mirror has as the constants
/// of its kubeadm. The kubeadm that it has would leave a file behind.
pub fn world(kubernetes: &str, source: &str) -> World {
    let world = World::new();
    let write = |path: &str, text: &str| {
        let path = world.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(&format!("release{}", constants(KUBERNETES)), source);
    let kubeadm = format!("#!/bin/sh\n: >{}\nprintf '%s' '{}'\n", ran().display(), list());
    let place = format!("release/{KUBERNETES}/bin/linux/amd64/kubeadm");
    write(&place, &kubeadm);
    write(&format!("{place}.sha256"), &Sha256::of(kubeadm.as_bytes()).to_string());
    let url = "https://dl.k8s.io/{version}/bin/linux/{arch}/kubeadm";
    let description = format!(
        "schema: 1\nname: kubernetes\nversion: v1.0.0\nvariables: {{etcd: null, coredns: null, pause: null}}\n\
         components:\n  kubeadm:\n    url: '{url}'\n    sha256_url: '{url}.sha256'\n    install: /usr/bin/kubeadm\n\
         images:\n  control-plane:\n{}  node:\n{}",
        [
            "kube-apiserver:{version}",
            "kube-controller-manager:{version}",
            "kube-scheduler:{version}",
            "etcd:{etcd}"
        ]
        .map(|image| format!("    - registry.k8s.io/{image}\n"))
        .concat(),
        ["kube-proxy:{version}", "coredns/coredns:{coredns}", "pause:{pause}"]
            .map(|image| format!("    - registry.k8s.io/{image}\n"))
            .concat(),
    );
    write("sysext/kubernetes/sysext.yaml", &description);
    std::os::unix::fs::symlink(repository("sysext/prebake-images"), world.path("sysext/prebake-images"))
        .unwrap();
    let recipe = format!("kubernetes: {{version: {KUBERNETES}, {kubernetes}}}\nsysexts: [kubernetes]");
    world.edit("recipes/small.yaml", "sysexts: [hello]", &recipe);
    world.edit("recipes/small.yaml", "kernel_args: [console=ttyS0]", "role: worker");
    world
}

/// What the mirror's kubeadm would leave behind: one path for all worlds, so that all have the same bytes.
fn ran() -> PathBuf {
    std::env::temp_dir().join(format!("prebake-kubeadm-ran-{}", std::process::id()))
}

/// The path of a version's constants on a mirror of GitHub.
fn constants(version: &str) -> String {
    kubeadm::url(version).strip_prefix("https://github.com").unwrap().to_owned()
}

/// What kubeadm of the version prints.
fn list() -> String {
    IMAGES.iter().map(|(name, tag)| format!("registry.k8s.io/{name}:{tag}\n")).collect()
}

/// Its constants, as far as they matter.
pub fn source() -> String {
    let [.., (_, coredns), (_, pause), (_, etcd)] = IMAGES;
    format!(
        "const (\n\tDefaultEtcdVersion = \"{etcd}\"\n\tCoreDNSVersion = \"{coredns}\"\n\tPauseVersion = \"{pause}\"\n)\n\
         var (\n\tSupportedEtcdVersion = map[uint8]string{{\n\t\t33: \"{etcd}\",\n\t}}\n)\n"
    )
}

pub fn registry() -> (Registry, Vec<Pushed>) {
    let mut builder = Builder::default();
    let pushed = IMAGES.iter().map(|(name, tag)| builder.push(name, tag, &["amd64"])).collect();
    (builder.start(), pushed)
}

pub fn command(world: &World, registry: &Registry, args: &[&str]) -> Command {
    let mut command = world.command(args);
    command.env("PREBAKE_MIRROR_OCI", registry.url());
    for source in ["KUBERNETES", "GITHUB", "WEB"] {
        command.env(format!("PREBAKE_MIRROR_{source}"), world.mirror.url());
    }
    command
}

pub fn run(world: &World, registry: &Registry, args: &[&str]) -> Run {
    let run = Run::of(command(world, registry, args).output().unwrap());
    assert!(!ran().exists(), "a program that the mirror gave was run");
    run
}

fn build(world: &World, registry: &Registry) -> Run {
    run(world, registry, &["build", "recipes/small.yaml"])
}

fn tree(world: &World, path: &str) -> PathBuf {
    world.path("output/small/current").join(path)
}

/// A published sysext of images.
fn carried(world: &World, name: &str) -> squashfs::Image {
    let path = tree(world, &format!("assets/sysext/{name}/{name}-{KUBERNETES}-x86-64.raw"));
    squashfs::Image::open(&path, Limits::default()).unwrap()
}

/// The lines of its list, in fields.
fn lines(image: &squashfs::Image, name: &str) -> Vec<Vec<String>> {
    let list = String::from_utf8(image.read(&format!("{LISTS}/{name}.list")).unwrap()).unwrap();
    list.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

/// The names of the images in it, without registry and tag.
fn names(lines: &[Vec<String>]) -> Vec<&str> {
    let name = |line: &'_ Vec<String>| -> usize { line[3].rfind(':').unwrap() };
    lines.iter().map(|line| &line[3]["registry.k8s.io/".len()..name(line)]).collect()
}

#[test]
fn kubeadms_source_is_read_once_for_a_version_that_no_table_knows_and_the_lock_remembers() {
    let world = world("images: true", &source());
    let (registry, pushed) = registry();
    build(&world, &registry).ok();
    let lock = fs::read_to_string(world.path("recipes/small.lock")).unwrap();
    assert!(lock.contains(&format!("kubeadm:\n  version: {KUBERNETES}\n  images:\n")), "{lock}");
    for ((name, tag), pushed) in IMAGES.iter().zip(&pushed) {
        assert!(lock.contains(&format!("image/registry.k8s.io/{name}:{tag}/amd64/manifest:")), "{lock}");
        assert!(lock.contains(pushed.manifests["amd64"].trim_start_matches("sha256:")), "{lock}");
    }
    let id = world.current();
    let asked = (registry.requests().len(), world.mirror.requests().len());
    for args in [&["--locked"][..], &["--offline"], &["--locked", "--offline"], &[]] {
        run(&world, &registry, &[&["build", "recipes/small.yaml"], args].concat()).ok();
    }
    assert_eq!((registry.requests().len(), world.mirror.requests().len()), asked, "nothing is asked again");
    assert_eq!(world.current(), id);
    assert_eq!(fs::read_to_string(world.path("recipes/small.lock")).unwrap(), lock);

    let before = fs::read(world.path("recipes/small.lock")).unwrap();
    run(&world, &registry, &["lock", "recipes/small.yaml", "--update"]).ok();
    assert_eq!(fs::read(world.path("recipes/small.lock")).unwrap(), before, "nothing moved");
}

#[test]
fn a_lock_for_another_version_is_drift_and_its_list_is_not_used() {
    let world = world("images: true", &source());
    let (registry, _) = registry();
    build(&world, &registry).ok();
    world.edit("recipes/small.yaml", KUBERNETES, "v1.33.14");
    run(&world, &registry, &["build", "recipes/small.yaml", "--locked"])
        .fails(9, &["kubeadm's images of this Kubernetes version are not locked"]);
    run(&world, &registry, &["build", "recipes/small.yaml", "--offline"])
        .fails(6, &["kubeadm's list of images"]);
}

#[test]
fn workers_carry_what_pods_need_and_all_others_the_control_plane_too() {
    let world = world("images: sysext", &source());
    let (registry, pushed) = registry();
    build(&world, &registry).ok();
    let all = carried(&world, "kubernetes-images");
    let control = lines(&all, "kubernetes-images");
    assert_eq!(control.len(), 7);
    let worker = lines(&carried(&world, "kubernetes-images-worker"), "kubernetes-images-worker");
    assert_eq!(names(&worker), ["coredns/coredns", "kube-proxy", "pause"]);
    // Each archive lies beside the list, with the digest, size and manifest that the list says.
    for line in &control {
        let [sha256, size, place, reference, manifest, names @ ..] = line.as_slice() else {
            panic!("{line:?}")
        };
        let bytes = all.read(place.strip_prefix('/').unwrap()).unwrap();
        assert_eq!((&Sha256::of(&bytes).to_string(), &bytes.len().to_string()), (sha256, size));
        let index =
            IMAGES.iter().position(|(name, tag)| *reference == format!("registry.k8s.io/{name}:{tag}"));
        let pushed = &pushed[index.unwrap()];
        assert_eq!(*manifest, pushed.manifests["amd64"]);
        // The names by which pods may ask for it beside its tag (rancher/rke2#9309).
        let name = reference.rsplit_once(':').unwrap().0;
        assert_eq!(names, [format!("{name}@{manifest}"), format!("{name}@{}", pushed.index)]);
    }
    assert!(!tree(&world, "assets/images").exists(), "nobody fetches what is carried");
}

#[test]
fn an_overlay_holds_the_images_of_its_profile_their_importer_and_links_to_both() {
    let world = world("images: sysext", &source());
    let (registry, _) = registry();
    build(&world, &registry).ok();
    let overlay = fs::read(tree(&world, "assets/overlay/worker.cpio")).unwrap();
    let listing = cpio::list("overlay", &mut overlay.as_slice(), cpio::Limits::default()).unwrap();
    let sysexts =
        listing.members.iter().filter_map(|member| member.path.strip_prefix("usr/share/oem/sysext/"));
    let expected = ["kubernetes-images-worker.raw", "kubernetes.raw", "prebake-images.raw"];
    assert_eq!(sysexts.collect::<Vec<_>>(), expected);
    let config: Value =
        serde_json::from_slice(&fs::read(tree(&world, "ignition/worker.ign")).unwrap()).unwrap();
    let links = config["storage"]["links"].as_array().unwrap().iter();
    let mut links: Vec<&str> = links.map(|link| link["path"].as_str().unwrap()).collect();
    links.sort_unstable();
    assert_eq!(links, expected.map(|name| format!("/etc/extensions/{name}")));
}

#[test]
fn as_assets_the_archives_are_published_and_nodes_carry_only_the_list() {
    let world = world("images: asset", &source());
    let (registry, _) = registry();
    build(&world, &registry).ok();
    assert_eq!(world.names("output/small/current/assets/images").len(), 7);
    let image = carried(&world, "kubernetes-images");
    let inside: Vec<String> =
        image.list().map(|listed| listed.path).filter(|path| path.starts_with(LISTS)).collect();
    assert_eq!(inside, [LISTS, &format!("{LISTS}/kubernetes-images.list")]);
    for line in lines(&image, "kubernetes-images") {
        let bytes = fs::read(tree(&world, &line[2])).unwrap();
        assert_eq!(
            (Sha256::of(&bytes).to_string(), bytes.len().to_string()),
            (line[0].clone(), line[1].clone())
        );
    }
}

#[test]
fn images_that_the_recipe_names_itself_are_carried_too_and_published_as_ever() {
    let world = world("images: sysext", &source());
    world.edit(
        "recipes/small.yaml",
        "sysexts:",
        "images: [registry.k8s.io/site/app:1, registry.k8s.io/pause:3.10]\nsysexts:",
    );
    let mut builder = Builder::default();
    builder.push("site/app", "1", &["amd64"]);
    for (name, tag) in IMAGES {
        builder.push(name, tag, &["amd64"]);
    }
    build(&world, &builder.start()).ok();
    let worker = lines(&carried(&world, "kubernetes-images-worker"), "kubernetes-images-worker");
    assert_eq!(names(&worker), ["site/app", "pause", "coredns/coredns", "kube-proxy"], "each once");
    let published = world.names("output/small/current/assets/images");
    assert_eq!(published, ["pause-3.10-amd64.tar", "site-app-1-amd64.tar"]);
}

#[test]
fn the_same_lock_gives_the_same_bytes_and_no_images_are_carried_unasked() {
    let (registry, _) = registry();
    let ids = ["first", "second"].map(|_| {
        let world = world("images: true", &source());
        build(&world, &registry).ok();
        world.current().unwrap()
    });
    assert_eq!(ids[0], ids[1]);
    let world = world("images: false", "");
    build(&world, &registry).ok();
    assert_eq!(world.names("output/small/current/assets/sysext"), ["kubernetes"]);
}

#[test]
fn profiles_whose_containerd_picks_its_own_sandbox_image_are_told_of() {
    let world = world("images: true", &source());
    let (registry, _) = registry();
    let said = build(&world, &registry).ok().stderr;
    for expected in
        ["warning: nodes of control, worker carry images", "recipes/small.yaml:5", "`containerd-config`"]
    {
        assert!(said.contains(expected), "no {expected} in {said}");
    }
    let config = "schema: 1\nname: containerd-config\nversion: '1'\n";
    fs::create_dir_all(world.path("sysext/containerd-config/files/usr/share/x")).unwrap();
    fs::write(world.path("sysext/containerd-config/sysext.yaml"), config).unwrap();
    world.edit("recipes/small.yaml", "role: worker", "role: worker\n    sysexts: [containerd-config]");
    let said = build(&world, &registry).ok().stderr;
    assert!(said.contains("warning: nodes of control carry images"), "{said}");
}

/// attacks.md, C-M7: whoever served kubeadm had a program run by `prebake lock`, as the user who locks.
#[test]
fn what_a_mirror_calls_kubeadm_is_never_run() {
    let (registry, _) = registry();
    for source in ["#!/bin/sh\nid >PWNED\n", "", "<!doctype html><title>not found</title>"] {
        let world = world("images: sysext", source);
        for args in [["lock", "recipes/small.yaml"], ["build", "recipes/small.yaml"]] {
            let run = run(&world, &registry, &args);
            assert_ne!(run.code, Some(0));
        }
        assert!(!world.path("recipes/small.lock").exists());
    }
    let world = world("images: sysext", &source());
    for args in [&["lock", "recipes/small.yaml"][..], &["lock", "recipes/small.yaml", "--update"]] {
        run(&world, &registry, args).ok();
    }
    build(&world, &registry).ok();
}

#[test]
fn a_source_that_does_not_say_the_images_stops_the_lock_and_names_the_way_out() {
    let (registry, _) = registry();
    let cases = [
        (Some(source().replace("PauseVersion", "PauseTag")), "there is no PauseVersion in it"),
        (Some(source().replace("\"3.10\"", "\"3.10@sha256:00\"")), "kubeadm's source does not state them"),
        (Some(String::new()), "kubeadm's source does not state them"),
        (Some("<!doctype html><title>Sign in</title>".into()), "kubeadm's source cannot be read"),
        (Some("x".repeat(64 << 20)), "kubeadm's source cannot be read"),
        (None, "kubeadm's source cannot be read"),
    ];
    for (source, expected) in cases {
        let world = world("images: true", source.as_deref().unwrap_or_default());
        if source.is_none() {
            fs::remove_file(world.path(&format!("release{}", constants(KUBERNETES)))).unwrap();
        }
        let way = "set: {etcd: TAG, coredns: TAG, pause: TAG}}]`";
        let asked = format!("{}{}", world.mirror.url(), constants(KUBERNETES));
        // One code, whatever comes in the file's place (a run of 2026-11-29 saw 1, 4 and 6).
        build(&world, &registry).fails(6, &[expected, &asked, "hint:", way, "--kubernetes-version v1.33.13"]);
        assert!(!world.path("recipes/small.lock").exists());
        assert_eq!(world.current(), None);
        // The way out.
        let set = "sysexts: [{name: kubernetes, set: {etcd: 3.5.24-0, coredns: v1.12.0, pause: '3.10'}}]";
        world.edit("recipes/small.yaml", "sysexts: [kubernetes]", set);
        build(&world, &registry).ok();
        let lock = fs::read_to_string(world.path("recipes/small.lock")).unwrap();
        assert!(
            !lock.contains("\nkubeadm:")
                && lock.contains("image/registry.k8s.io/etcd:3.5.24-0/amd64/manifest")
        );
    }
}

/// A run of 2026-11-29: `lock` wanted `set: {pause: …}` for containerd-config first, of a version whose tags it reads itself.
#[test]
fn containerds_pause_image_is_kubeadms_own_of_a_version_that_no_table_knows() {
    let (registry, _) = registry();
    for (kubernetes, set, pause) in [
        ("images: sysext", "", "3.10"),
        // Nodes that ask their registry have a containerd, too.
        ("images: false", "", "3.10"),
        ("images: false", "set: {pause: '3.7'}", "3.7"),
    ] {
        let world = world(kubernetes, &source());
        let description = "schema: 1\nname: containerd-config\nversion: '1'\nvariables: {pause: 9.9}\n\
                           text: {/usr/share/x/config.toml: 'registry.k8s.io/pause:{pause}'}\n";
        fs::create_dir_all(world.path("sysext/containerd-config")).unwrap();
        fs::write(world.path("sysext/containerd-config/sysext.yaml"), description).unwrap();
        let named = format!("sysexts: [kubernetes, {{name: containerd-config, {set}}}]");
        world.edit("recipes/small.yaml", "sysexts: [kubernetes]", &named);
        let run = run(&world, &registry, &["plan", "recipes/small.yaml"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        for args in [&["lock"][..], &["build", "--locked", "--offline"], &["lock", "--update"], &["build"]] {
            self::run(&world, &registry, &[args, &["recipes/small.yaml"]].concat()).ok();
            let lock = fs::read_to_string(world.path("recipes/small.lock")).unwrap();
            let reads = set.is_empty();
            assert_eq!(lock.contains(&format!("kubeadm:\n  version: {KUBERNETES}\n")), reads, "{lock}");
        }
        let path = tree(&world, "assets/sysext/containerd-config/containerd-config-1-x86-64.raw");
        let image = squashfs::Image::open(&path, Limits::default()).unwrap();
        let config = String::from_utf8(image.read("usr/share/x/config.toml").unwrap()).unwrap();
        assert_eq!(config, format!("registry.k8s.io/pause:{pause}"), "{kubernetes}");
    }
}

/// A run of 2026-11-29: `v1.300.0` and `v2.0.0` were called older than v1.25.
#[test]
fn a_version_whose_kubeadm_is_not_read_is_told_by_what_it_is_and_nobody_is_asked() {
    let (registry, _) = registry();
    for (version, code, expected) in [
        ("v2.0.0", 3, "only the source of Kubernetes 1 is supported"),
        ("v1.24.17", 3, "it is older than v1.25"),
        ("v1.300.0", 6, "constants.go: the server answered 404"),
    ] {
        let world = world("images: true", &source());
        world.edit("recipes/small.yaml", KUBERNETES, version);
        build(&world, &registry).fails(code, &[expected, version, "hint: name the tags in the recipe"]);
        let asked =
            world.mirror.requests().iter().any(|request| format!("{request:?}").contains("constants.go"));
        assert_eq!(asked, code == 6, "{version}");
    }
}

#[test]
fn a_recipe_for_another_architecture_knows_its_images_too() {
    let world = world("images: true", &source());
    let foreign = if cfg!(target_arch = "x86_64") { "arm64" } else { "amd64" };
    world.edit("recipes/small.yaml", "channel: stable", &format!("channel: stable, arch: [{foreign}]"));
    let (registry, _) = registry();
    let run = run(&world, &registry, &["plan", "recipes/small.yaml"]);
    assert!(!run.stderr.contains("prebake's table lacks"), "{}", run.stderr);
}

#[test]
fn a_plugin_whose_images_no_list_names_is_refused_where_it_is_asked_for() {
    let world = world("images: true, cni: cilium", &source());
    let (registry, _) = registry();
    build(&world, &registry).fails(3, &["recipes/small.yaml:5", "no list `cilium`"]);
}

/// What the shipped lists say that a recipe with this `kubernetes:` needs.
fn shipped(kubernetes: &str) -> Needs {
    let text = format!(
        "schema: 1\nname: x\nrelease: {{channel: stable}}\nkubernetes: {{{kubernetes}}}\nsysexts: [kubernetes]\n\
         profiles: {{all: }}\n"
    );
    let source = Source::new("x.yaml", text);
    let (recipe, outputs) = Recipe::parse(&source, repository("recipes"), outputs::read).unwrap();
    let sysexts = extensions::load(&recipe, &outputs.sysext_versions(), None).unwrap();
    needs(&recipe, &sysexts, None).unwrap()
}

fn references(images: &[ImageRef]) -> Vec<String> {
    images.iter().map(ToString::to_string).collect()
}

#[test]
fn the_shipped_table_knows_the_images_of_a_version_by_role() {
    let needs = shipped("version: v1.34.4, images: true");
    assert!(!needs.open && needs.kubeadm.is_none());
    let node = ["coredns/coredns:v1.12.1", "kube-proxy:v1.34.4", "pause:3.10.1"];
    assert_eq!(references(&needs.node), node.map(|image| format!("registry.k8s.io/{image}")));
    let control = [
        "etcd:3.6.5-0",
        "kube-apiserver:v1.34.4",
        "kube-controller-manager:v1.34.4",
        "kube-scheduler:v1.34.4",
    ];
    assert_eq!(references(&needs.control_plane), control.map(|image| format!("registry.k8s.io/{image}")));
}

#[test]
fn a_network_plugin_is_for_every_node_and_kube_vip_for_control_planes() {
    let plain = shipped("version: v1.34.4, images: true");
    for (cni, image) in [("cilium", "quay.io/cilium/cilium:"), ("flannel", "ghcr.io/flannel-io/flannel:")] {
        let needs = shipped(&format!("version: v1.34.4, images: true, cni: {cni}, kube_vip: true"));
        let more = |list: &[ImageRef], than: &[ImageRef]| -> Vec<String> {
            references(list).into_iter().filter(|image| !references(than).contains(image)).collect()
        };
        let node = more(&needs.node, &plain.node);
        assert!(node.len() == 2 && node.iter().any(|found| found.starts_with(image)), "{node:?}");
        let control = more(&needs.control_plane, &plain.control_plane);
        assert!(control.len() == 1 && control[0].starts_with("ghcr.io/kube-vip/kube-vip:"), "{control:?}");
    }
}

#[test]
fn a_patch_version_that_the_shipped_table_does_not_know_is_left_to_kubeadms_source() {
    assert!(shipped("version: v1.34.99, images: true").open);
    assert_eq!(shipped("version: v1.34.99"), Needs::default());
}

#[test]
fn what_a_recipe_says_wrongly_of_kubernetes_is_told_at_once_where_it_stands() {
    let world = world("images: maybe, cni: calico, kube_vip: 1, image: true", "");
    world.edit("recipes/small.yaml", "role: worker", "role: boss");
    let words = [
        "small.yaml:5:41",
        "`maybe` is not a way to carry images: use true, sysext, asset or false",
        "the images of `calico` are not known",
        "must be `true` or `false`",
        "unknown key `image` in `kubernetes`",
        "did you mean `images`?",
        "unknown role `boss`: control-plane or worker",
    ];
    world.prebake(&["build", "recipes/small.yaml"]).fails(3, &words);
}

#[test]
fn an_image_of_the_recipe_with_the_archive_name_of_another_is_refused_before_anything_is_fetched() {
    let world = world("images: true", &source());
    let digest = Sha256::of(b"x");
    let images =
        format!("images: ['registry.k8s.io/pause:3.10@sha256:{digest}', ghcr.io/pause:3.10]\nsysexts:");
    world.edit("recipes/small.yaml", "sysexts:", &images);
    let (registry, _) = registry();
    let run = build(&world, &registry);
    // The recipe's own two have one name already.
    run.fails(3, &["would both be pause-3.10-amd64.tar"]);
    world.edit("recipes/small.yaml", ", ghcr.io/pause:3.10", "");
    let run = build(&world, &registry);
    let expected =
        format!("`registry.k8s.io/pause@sha256:{digest}` and Kubernetes' own `registry.k8s.io/pause:3.10`");
    run.fails(3, &[&expected, "leave it out"]);
    assert!(registry.requests().is_empty());
}

/// What the real kubeadm prints, line by line.
fn asked(kubeadm: &Path) -> Vec<String> {
    let said = Command::new(kubeadm)
        .args(["config", "images", "list", "--kubernetes-version", KUBERNETES])
        .env_clear()
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_real_kubeadm_asks_for_what_the_shipped_table_says() {
    let Some(peer) = judges::build("kubernetes") else { return };
    let said = asked(&peer.join("kubeadm"));
    let (node, control_plane) = kubeadm::lists(&said).unwrap();
    let sorted = |images: &[ImageRef]| {
        let mut images = references(images);
        images.sort();
        images
    };
    let table = shipped(&format!("version: {KUBERNETES}, images: true"));
    assert!(!table.open);
    assert_eq!(sorted(&node), references(&table.node));
    assert_eq!(sorted(&control_plane), references(&table.control_plane));
    assert_eq!(said.join("\n") + "\n", list());
}

/// The file that the judge was built of says what the judge says.
#[test]
fn kubeadms_own_source_says_what_the_real_kubeadm_says() {
    let Some(peer) = judges::build("kubernetes") else { return };
    let listed = Command::new("go")
        .args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"])
        .current_dir(repository("tests/peers/kubernetes"))
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .output()
        .unwrap();
    let directory = String::from_utf8(listed.stdout).unwrap();
    if directory.trim().is_empty() {
        eprintln!("SKIPPED: the judge was built elsewhere, its source is not in Go's module cache");
        return;
    }
    let constants = Path::new(directory.trim()).join("cmd/kubeadm/app/constants/constants.go");
    let images = kubeadm::images(&fs::read_to_string(constants).unwrap(), KUBERNETES, &"x".into()).unwrap();
    assert_eq!(images, asked(&peer.join("kubeadm")));
}

/// Each published patch version to v1.37.2 has a row, so that nothing is asked of anybody.
#[test]
fn every_published_version_is_in_the_table() {
    let newest =
        [(28, 15), (29, 15), (30, 14), (31, 14), (32, 13), (33, 13), (34, 10), (35, 7), (36, 3), (37, 2)];
    for (minor, last) in newest {
        for patch in 0..=last {
            let version = format!("v1.{minor}.{patch}");
            let images = known_images(&version).unwrap_or_else(|| panic!("{version} has no row"));
            assert_eq!(images.len(), 7, "{version}");
        }
    }
}
