//! Injecting into a published tree: another tree beside it, and the first as it was.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use prebake::base::digest::Sha256;
use prebake::tree::manifest::Manifest;
use serde_json::Value;

use crate::judges::matchbox::check_tree;
use crate::world::http::{Server, get};
use crate::world::{Run, VERSION, World};

const RECIPE: &str = "recipes/small.yaml";
const BASE: &str = "flatcar_production_pxe_image.cpio.gz";
const LAYER: &str = "variant: flatcar\nversion: 1.0.0\nstorage:\n  files:\n    - {path: /etc/site, contents: {inline: north}}\n";

/// The small world, built, with something to inject.
fn built(edits: &[(&str, &str)]) -> World {
    let world = World::new();
    edits.iter().for_each(|(from, to)| world.edit(RECIPE, from, to));
    world.release_file(BASE, &gzipped_cpio());
    fs::write(world.path("site.bu"), LAYER).unwrap();
    fs::write(world.path("motd"), "welcome\n").unwrap();
    world.build();
    world
}

/// A base that does not end at a multiple of four.
fn gzipped_cpio() -> Vec<u8> {
    let mut shell = std::process::Command::new("sh");
    let made = shell.args(["-c", "echo . | cpio --quiet -o -H newc | gzip -n"]).output().unwrap().stdout;
    let mut base = made;
    base.resize(base.len().next_multiple_of(4) + 1, 0);
    base
}

fn inject(world: &World, more: &[&str]) -> Run {
    let file = "usr/share/oem/motd=motd:0600";
    let args = ["initrd", "inject", "output/small/current", "--ignition", "site.bu", "--file", file];
    world.prebake(&[&args, more].concat())
}

fn manifest(tree: &Path) -> Manifest {
    Manifest::parse("manifest", &fs::read(tree.join("manifest.json")).unwrap()).unwrap()
}

/// Every file is what its manifest says, and the manifest is what the directory's name says.
fn assert_whole(tree: &Path) {
    let manifest = manifest(tree);
    assert_eq!(tree.file_name().unwrap().to_str().unwrap(), manifest.build_id());
    for (path, file) in &manifest.files {
        let bytes = fs::read(tree.join(path)).unwrap();
        assert_eq!((Sha256::of(&bytes), bytes.len() as u64), (file.sha256, file.size), "{path}");
    }
    let sums = fs::read_to_string(tree.join("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), manifest.files.len() - 1);
}

/// What a kernel would unpack of an overlay: the config, and the names of all files.
fn unpacked(world: &World, initrd: &Path) -> (Value, Vec<String>) {
    let out = tempfile::tempdir_in(world.path("")).unwrap();
    let directory = out.path().join("root");
    world.prebake(&["initrd", "extract", initrd.to_str().unwrap(), "-C", directory.to_str().unwrap()]).ok();
    let config = fs::read(directory.join("usr/share/oem/config.ign")).unwrap();
    let mut shell = std::process::Command::new("sh");
    let listed = shell.args(["-c", "cd usr/share/oem && find . -type f | sort"]).current_dir(&directory);
    let names = String::from_utf8(listed.output().unwrap().stdout).unwrap();
    (serde_json::from_slice(&config).unwrap(), names.lines().map(str::to_owned).collect())
}

fn paths(config: &Value) -> Vec<&str> {
    let files = config["storage"]["files"].as_array().unwrap();
    files.iter().map(|file| file["path"].as_str().unwrap()).collect()
}

/// A tree was published with them, and nothing was said.
#[test]
fn secrets_that_are_put_into_a_tree_are_told() {
    let world = built(&[]);
    fs::write(world.path("app.env"), "DB_PASSWORD=S3same!ouvre\n").unwrap();
    let run = inject(&world, &["--profile", "worker", "--file", "usr/share/oem/app.env=app.env"]).ok();
    let told = "a password is in `/usr/share/oem/app.env`: everybody who gets this initrd can read it";
    assert_eq!(run.stderr.matches(told).count(), 1, "{}", run.stderr);
}

#[test]
fn what_is_injected_into_a_tree_is_published_beside_it_and_the_tree_stays_as_it_was() {
    let world = built(&[]);
    let before = world.path("output/small").join(world.current().unwrap());
    let bytes = fs::read(before.join("manifest.json")).unwrap();
    let run = inject(&world, &["--profile", "worker"]).ok();
    let after = world.path("output/small").join(world.current().unwrap());
    assert_eq!(world.path(run.stdout.trim()).canonicalize().unwrap(), after);
    assert_ne!(before, after);
    assert_eq!(fs::read(before.join("manifest.json")).unwrap(), bytes);
    assert_whole(&before);
    assert_whole(&after);

    let (config, files) = unpacked(&world, &after.join("assets/overlay/worker.cpio"));
    assert_eq!(paths(&config), ["/etc/role", "/etc/site"]);
    assert_eq!(config["storage"]["links"][0]["path"], "/etc/extensions/hello.raw");
    assert_eq!(files, ["./config.ign", "./motd", "./sysext/hello.raw"]);
    let beside: Value =
        serde_json::from_slice(&fs::read(after.join("ignition/worker.ign")).unwrap()).unwrap();
    assert_eq!(beside, config);
    let shown = world.prebake(&["initrd", "show", "--contents", "output/small/current"]).ok().stdout;
    assert!(
        shown.lines().any(|line| line.contains("100600") && line.ends_with("usr/share/oem/motd")),
        "{shown}"
    );

    let changed: Vec<String> = manifest(&before)
        .files
        .iter()
        .filter(|(path, file)| manifest(&after).files[*path].sha256 != file.sha256)
        .map(|(path, _)| path.clone())
        .collect();
    let expected = ["SHA256SUMS", "assets/overlay/worker.cpio", "ignition/worker.ign", "sbom.spdx.json"];
    assert_eq!(changed, expected);
    let base = format!("assets/flatcar/{VERSION}/{BASE}");
    let inode = |tree: &Path| fs::metadata(tree.join(&base)).unwrap().ino();
    assert_eq!(inode(&before), inode(&after), "nothing that stays is copied");
    check_tree(&after);

    // The same again, into the same tree, is the same; and into the new one replaces.
    let args = ["initrd", "inject", before.to_str().unwrap(), "--profile", "worker", "--ignition", "site.bu"];
    world.prebake(&[&args[..], &["--file", "usr/share/oem/motd=motd:0600"]].concat()).ok();
    assert_eq!(world.path("output/small").join(world.current().unwrap()), after);
    inject(&world, &["--profile", "worker"]).ok();
    let (again, files) = unpacked(&world, &world.path("output/small/current/assets/overlay/worker.cpio"));
    assert_eq!((again, files.len()), (config, 3));
}

#[test]
fn a_profile_means_its_nodes_own_boots_too_and_a_node_its_own_alone() {
    for (selection, expected) in [
        (&["--profile", "control"][..], vec!["control+n2", "control"]),
        (&["--profile", "control", "--node", "n2"], vec!["control+n2"]),
    ] {
        let world = built(&[]);
        inject(&world, selection).ok();
        let tree = world.path("output/small/current");
        let has = |id: &&str| {
            let (config, _) = unpacked(&world, &tree.join(format!("assets/overlay/{id}.cpio")));
            paths(&config).contains(&"/etc/site")
        };
        let changed: Vec<&str> = ["control+n2", "control", "worker"].into_iter().filter(has).collect();
        assert_eq!(changed, expected);
    }
}

#[test]
fn a_sysext_that_is_there_already_is_replaced_and_a_new_one_is_linked() {
    let world = built(&[]);
    let sysext = |name: &str| {
        let folder = world.path("more").join(name);
        fs::create_dir_all(folder.join("files/usr/share/more")).unwrap();
        let text = format!("schema: 1\nname: {name}\nversion: '2'\nos: any\nreload: true\n");
        fs::write(folder.join("sysext.yaml"), text).unwrap();
        fs::write(folder.join("files/usr/share/more/x"), "more").unwrap();
        world.prebake(&["sysext", "build", &format!("more/{name}"), "--output", "images"]).ok();
        format!("images/{name}-2-x86-64.raw")
    };
    let (hello, other) = (sysext("hello"), sysext("other"));
    let args = ["initrd", "inject", "output/small/current", "--profile", "worker", "--sysext"];
    world.prebake(&[&args[..], &[&hello, "--sysext", &other]].concat()).ok();
    let tree = world.path("output/small/current");
    let out = world.path("out");
    let overlay = tree.join("assets/overlay/worker.cpio");
    world.prebake(&["initrd", "extract", overlay.to_str().unwrap(), "-C", "out"]).ok();
    let raw = |name: &str| fs::read(out.join(format!("usr/share/oem/sysext/{name}.raw"))).unwrap();
    assert!(raw("hello") == fs::read(world.path(&hello)).unwrap());
    assert!(raw("other") == fs::read(world.path(&other)).unwrap());
    let config = fs::read_to_string(out.join("usr/share/oem/config.ign")).unwrap();
    assert_eq!(config.matches("/etc/extensions/hello.raw").count(), 1);
    assert!(config.contains("/etc/extensions/other.raw"));
}

#[test]
fn joined_layouts_stay_joined_and_give_their_base_back() {
    for layout in ["single", "virtual"] {
        let world = built(&[("    kernel_args", &format!("    layout: {layout}\n    kernel_args"))]);
        inject(&world, &["--profile", "worker"]).ok();
        let tree = fs::canonicalize(world.path("output/small/current")).unwrap();
        assert_whole(&tree);
        let (_server, address) = Server::prebake(&tree);
        let joined = get(&address, "/assets/initrd/worker.img", "");
        assert_eq!(joined.status, 200);
        fs::write(world.path("joined"), joined.body).unwrap();
        let (config, files) = unpacked(&world, &world.path("joined"));
        assert_eq!((paths(&config), files.len()), (vec!["/etc/role", "/etc/site"], 3));
        world.prebake(&["initrd", "remove", "joined", "-o", "base"]).ok();
        let base = fs::read(tree.join(format!("assets/flatcar/{VERSION}/{BASE}"))).unwrap();
        assert_eq!(fs::read(world.path("base")).unwrap(), base, "{layout}");
    }
}

#[test]
fn a_tree_shows_the_initrds_of_every_profile() {
    let world = built(&[("    kernel_args", "    layout: virtual\n    kernel_args")]);
    let shown = world.prebake(&["initrd", "show", "output/small/current"]).ok().stdout;
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let of = |path: &str| {
        let row = rows.iter().find(|row| row.last().unwrap().ends_with(path));
        row.unwrap_or_else(|| panic!("no {path} in\n{shown}"))
    };
    assert_eq!(of(BASE)[..2], ["-", "-"]);
    assert_eq!(of("overlay/worker.cpio")[..2], ["worker", "-"]);
    assert_eq!(of("initrd/worker.img")[..2], ["worker", "-"]);
    assert_eq!(of("overlay/control+n2.cpio")[..2], ["control", "n2"]);
    let json = world.prebake(&["initrd", "show", "--json", "output/small/current"]).ok().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let names: Vec<&str> = json.as_array().unwrap().iter().map(|row| row["path"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    let members = json[2]["members"].as_array().unwrap();
    assert!(members.iter().any(|member| member["path"] == "usr/share/oem/config.ign"), "{members:?}");
}

#[test]
fn what_cannot_be_injected_into_is_refused_and_nothing_is_published() {
    let refused = |world: &World, args: &[&str], code: i32, words: &[&str]| {
        let before = world.current();
        inject(world, args).fails(code, words);
        assert_eq!(world.current(), before);
    };
    let world = built(&[]);
    refused(&world, &["--profile", "wroker"], 2, &["no boot of the profile `wroker`", "control, worker"]);
    refused(&world, &["--profile", "worker", "--node", "n1"], 2, &["for the node `n1` alone"]);
    refused(
        &world,
        &["--profile", "worker", "--file", "usr/share/oem/sysext=motd"],
        3,
        &["usr/share/oem/sysext"],
    );
    let newer = r#"{"ignition":{"version":"3.5.0"},"storage":{"luks":[{"name":"d","device":"/dev/d","cex":{"enabled":true}}]}}"#;
    fs::write(world.path("newer.ign"), newer).unwrap();
    let words = ["needs spec 3.5.0, but the target supports only 3.4.0", "newer.ign:1:"];
    refused(&world, &["--profile", "worker", "--ignition", "newer.ign"], 3, &words);
    inject(&world, &["-o", "x"]).fails(2, &["is a directory", "with --profile"]);
    let args = ["initrd", "inject", "motd", "--profile", "worker", "--file", "usr/share/oem/x=motd"];
    world.prebake(&args).fails(2, &["motd is not a published tree"]);

    let world = built(&[("default_profile:", "outputs: {pxe: {}, uki: {}}\ndefault_profile:")]);
    refused(&world, &["--profile", "worker"], 1, &["is also in a unified kernel image"]);
    let world = built(&[("default_profile:", "config_from: url\nbase_url: http://h\ndefault_profile:")]);
    refused(
        &world,
        &["--profile", "worker"],
        2,
        &["machines fetch config and sysexts", "prebake build RECIPE --layer"],
    );

    let world = built(&[]);
    let current = fs::canonicalize(world.path("output/small/current")).unwrap();
    fs::rename(current, world.path("moved")).unwrap();
    let args = ["initrd", "inject", "moved", "--profile", "worker", "--ignition", "site.bu"];
    world
        .prebake(&args)
        .fails(2, &["is not in a directory where a build publishes", "published trees with -o"]);
    world.prebake(&[&args[..], &["-o", "elsewhere"]].concat()).ok();
    assert_whole(&fs::canonicalize(world.path("elsewhere/small/current")).unwrap());
}
