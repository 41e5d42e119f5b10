//! Disk images for platforms: what is on them, what they cost, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use prebake::tree::manifest::{File, Manifest, Role};
use serde_json::Value;

use crate::bake::install;
use crate::bake::plans::edges;
use crate::disk::image::tool;
use crate::disk::made::{self, Disk};
use crate::world::http::{Server, head};
use crate::world::{Run, VERSION, World};

const RECIPE: &str = "recipes/small.yaml";
const TOKEN: &str = "abcdef.0123456789abcdef";

/// The small world with a disk image on its mirror, `oem-ID.raw` of these platforms, and these options of `disk`.
fn world(platforms: &[&str], options: &str) -> World {
    let world = World::new();
    world.release_file("flatcar_production_image.bin.bz2", made::generic());
    for id in platforms {
        world.release_file(&format!("oem-{id}.raw"), &made::extension(id));
    }
    let outputs = format!("outputs:\n  pxe: {{}}\n  matchbox: {{}}\n  disk: {{{options}}}\ndefault_profile:");
    world.edit(RECIPE, "default_profile:", &outputs);
    world
}

fn tree(world: &World) -> PathBuf {
    world.path("output/small/current")
}

fn files(world: &World) -> BTreeMap<String, File> {
    let bytes = fs::read(tree(world).join("manifest.json")).unwrap();
    Manifest::parse("manifest.json", &bytes).unwrap().files
}

fn images(world: &World) -> Vec<String> {
    let files = files(world).into_iter();
    files.filter(|(_, file)| file.role == Role::PlatformImage).map(|(path, _)| path).collect()
}

fn plan(world: &World) -> Value {
    serde_json::from_str(&world.prebake(&["plan", RECIPE, "--json"]).ok().stdout).unwrap()
}

#[test]
fn each_boot_has_an_image_for_each_platform_with_its_config_sysexts_and_arguments() {
    let world = world(&["qemu"], "platforms: [generic, qemu], formats: [qcow2, raw.zst], size: 20GiB");
    world.build();
    let boots = ["control+n2", "control", "worker"];
    let of_boot = |boot: &str| {
        ["generic.bin.zst", "generic.qcow2", "qemu.bin.zst", "qemu.qcow2"]
            .map(|file| format!("disk/{boot}/{file}"))
    };
    assert_eq!(images(&world), boots.map(of_boot).concat());
    let files = files(&world);
    let own = &files["disk/control+n2/qemu.qcow2"];
    assert_eq!((own.profile.as_deref(), own.node.as_deref()), (Some("control"), Some("n2")));
    assert!(own.step.is_some() && files["disk/worker/qemu.qcow2"].node.is_none());

    let qemu = Disk::open(&tree(&world).join("disk/worker/qemu.qcow2"));
    let config: Value = serde_json::from_str(&qemu.text("config.ign")).unwrap();
    assert_eq!(config["storage"]["files"][0]["path"], "/etc/role");
    let link = &config["storage"]["links"][0];
    assert_eq!(
        (&link["path"], &link["target"]),
        (&"/etc/extensions/hello.raw".into(), &"/oem/sysext/hello.raw".into())
    );
    let published = fs::read(tree(&world).join("assets/sysext/hello/hello-1-x86-64.raw")).unwrap();
    assert_eq!(qemu.oem().read("sysext/hello.raw").unwrap(), published);
    let extension = qemu.oem().read(&format!("sysext/oem-qemu-{VERSION}.raw")).unwrap();
    assert_eq!(extension, made::extension("qemu"));
    assert!(qemu.text("oem-release").starts_with("ID=qemu\n"));
    let grub = qemu.text("grub.cfg");
    assert!(grub.contains("set oem_id=\"qemu\"") && grub.contains("console=ttyS0"), "{grub}");
    assert!(!grub.contains("autologin"), "{grub}");
    assert_eq!(qemu.bytes("USR-A", 300_000, 12), b"USR-A begins");
    assert_eq!(qemu.table.length, 20 << 30);
    let root = qemu.table.named("ROOT").unwrap();
    assert!(qemu.table.length - root.end() < 4 << 20, "ROOT takes the rest");

    let generic = Disk::open(&tree(&world).join("disk/control+n2/generic.bin.zst"));
    assert!(generic.text("config.ign").contains("/etc/node"));
    let paths: Vec<String> = generic.oem().list().map(|listed| listed.path.clone()).collect();
    assert_eq!(paths, ["config.ign", "prebake.json", "sysext", "sysext/hello.raw"]);
}

#[test]
fn ten_platforms_cost_one_decode_and_all_that_they_need_is_locked_with_signatures() {
    let platforms = [
        "akamai",
        "digitalocean",
        "gce",
        "hetzner",
        "kubevirt",
        "nutanix",
        "openstack",
        "proxmoxve",
        "qemu",
        "scaleway",
    ];
    let options = format!("platforms: [{}], formats: [qcow2], size: 20GiB", platforms.join(", "));
    // What Akamai unpacks has at most 6 GB.
    let world = world(&platforms, &options.replace("akamai, ", ""));
    world.prebake(&["lock", RECIPE]).ok();
    let lock = fs::read_to_string(world.path("recipes/small.lock")).unwrap();
    for id in &platforms[1..] {
        let input = format!("flatcar/amd64/oem-{id}.raw");
        assert!(lock.contains(&input) && lock.contains(&format!("{input}.sig")), "{id}: {lock}");
    }
    let edges = edges(&world.prebake(&["plan", RECIPE, "--graph", "dot"]).ok().stdout);
    let from = |start: &str| -> Vec<&str> {
        edges.iter().filter_map(|edge| edge.strip_prefix(start)?.strip_prefix(" → ")).collect()
    };
    assert_eq!(from("flatcar/amd64/flatcar_production_image.bin.bz2"), ["stock/image/amd64"]);
    let images = from("stock/image/amd64");
    assert_eq!(images.len(), 9 * 3, "{images:?}");
    assert_eq!(
        from("flatcar/amd64/oem-qemu.raw"),
        ["disk/control/qemu.qcow2", "disk/control+n2/qemu.qcow2", "disk/worker/qemu.qcow2"]
    );
}

/// The plan has one decode for all images, and so has the build; a further platform needs none.
#[test]
fn a_build_decodes_the_stock_image_once_whatever_is_made_of_it() {
    let world = world(&["qemu", "proxmoxve"], "platforms: [generic, qemu], formats: [qcow2, raw.zst]");
    let decodes = |run: &Run| run.stderr.matches("built    stock/image/amd64").count();
    let images = |run: &Run| run.stderr.matches("built    disk/").count();
    let run = world.prebake(&["build", RECIPE]).ok();
    assert_eq!((decodes(&run), images(&run)), (1, 12), "{}", run.stderr);
    world.edit(RECIPE, "[generic, qemu]", "[generic, qemu, proxmoxve]");
    let run = world.prebake(&["build", RECIPE]).ok();
    assert_eq!((decodes(&run), images(&run)), (0, 6), "{}", run.stderr);
}

/// flatcar-install of Flatcar (flatcar/init, 2024) with `-b BASE -V VERSION` asks by HEAD for BASE/VERSION/NAME and
/// NAME.sig, has gpg judge the signature and bzip2 unpack; with `-f FILE` it unpacks where the name ends in .bz2, and
/// copies anything else.
#[test]
fn flatcar_install_finds_the_stock_image_and_unpacks_a_customised_one() {
    const NAME: &str = "flatcar_production_image.bin.bz2";
    let world = world(&["qemu"], "platforms: [qemu], formats: [raw, raw.bz2]");
    world.build();
    let tree = tree(&world);
    let directory = tree.join("assets/flatcar").join(VERSION);
    for name in [NAME, &format!("{NAME}.sig")] {
        let published = fs::read(world.path("release/stable/amd64-usr").join(VERSION).join(name)).unwrap();
        assert!(fs::read(directory.join(name)).unwrap() == published, "{name} is not as it was published");
    }
    let (_server, address) = Server::prebake(&tree);
    for name in ["current/version.txt", &format!("{VERSION}/{NAME}"), &format!("{VERSION}/{NAME}.sig")] {
        assert_eq!(head(&address, &format!("/assets/flatcar/{name}")).status, 200, "{name}");
    }
    let home = world.path("gnupg");
    fs::create_dir(&home).unwrap();
    let gpg = |args: &[&str]| {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--no-autostart", "--homedir"]).arg(&home).args(args);
        Run::of(command.output().unwrap()).ok();
    };
    gpg(&["--quiet", "--import", world.path("recipes/lab.asc").to_str().unwrap()]);
    let image = directory.join(NAME).display().to_string();
    gpg(&["--verify", &format!("{image}.sig"), &image]);

    let [packed, raw] = ["bin.bz2", "bin"].map(|end| tree.join(format!("disk/worker/qemu.{end}")));
    for program in ["lbzip2", "bzip2"] {
        let unpacked = world.path(program);
        let file = fs::File::create(&unpacked).unwrap();
        let unpack = Command::new(program).arg("-cd").arg(&packed).stdout(file).status().unwrap();
        assert!(unpack.success(), "{program}");
        tool("cmp", &[unpacked.to_str().unwrap(), raw.to_str().unwrap()]);
        fs::remove_file(unpacked).unwrap();
    }
}

#[test]
fn a_rebuild_gives_the_same_bytes_and_an_edit_makes_only_what_depends_on_it() {
    let world = world(&["qemu"], "platforms: [qemu], formats: [qcow2, raw.zst]");
    world.prebake(&["build", RECIPE, "--verify-rebuild"]).ok();
    let before = files(&world);
    world.edit("recipes/n2.ign", "data:,n2", "data:,changed");
    let steps = plan(&world)["steps"].as_array().unwrap().clone();
    let pending = steps.iter().filter(|step| step["cached"] == false);
    let mut pending: Vec<&str> = pending.map(|step| step["id"].as_str().unwrap()).collect();
    pending.sort_unstable();
    assert_eq!(
        pending,
        ["disk/control+n2/qemu.qcow2", "disk/control+n2/qemu.raw.zst", "overlay/control+n2"],
        "{steps:?}"
    );
    world.build();
    let after = files(&world);
    let changed = |path: &str| before[path].sha256 != after[path].sha256;
    assert!(changed("disk/control+n2/qemu.qcow2") && !changed("disk/worker/qemu.qcow2"));
}

#[test]
fn the_verbs_of_trees_take_images_as_other_files() {
    let world = world(&["qemu"], "platforms: [qemu], formats: [raw.zst]");
    let first = world.build();
    world.prebake(&["verify", "output/small/current"]).ok();
    world.prebake(&["bundle", "create", "output/small/current", "-o", "x.bundle", "--unsigned"]).ok();
    world.prebake(&["bundle", "verify", "x.bundle", "--allow-unsigned"]).ok();
    world.edit("recipes/worker.ign", "data:,worker", "data:,changed");
    let second = world.build();
    let trees = [&first, &second].map(|build| format!("output/small/{build}"));
    let run = world.prebake(&["diff", &trees[0], &trees[1], "--json"]).ok();
    assert!(run.stdout.contains("disk/worker/qemu.bin.zst"), "{}", run.stdout);
    world.prebake(&["prune", "--json", "--keep", "1"]).ok();
    assert_eq!(world.names("output/small").iter().filter(|name| **name == first).count(), 0);
    world.prebake(&["verify", "output/small/current"]).ok();
    fs::write(world.path("site.ign"), r#"{"ignition":{"version":"3.3.0"}}"#).unwrap();
    world
        .prebake(&[
            "initrd",
            "inject",
            "output/small/current",
            "--ignition",
            "site.ign",
            "--profile",
            "worker",
        ])
        .fails(1, &["the overlay of the profile `worker` is also in a disk image"]);
}

#[test]
fn the_sbom_and_the_provenance_say_what_an_image_is_made_of() {
    let world = world(&["qemu"], "platforms: [qemu]");
    world.prebake(&["key", "generate", "-o", "site", "--no-passphrase"]).ok();
    world.prebake(&["build", RECIPE, "--sign-key", "site.key"]).ok();
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(tree(&world).join(name)).unwrap()).unwrap()
    };
    let sbom = read("sbom.spdx.json");
    let packages = sbom["packages"].as_array().unwrap();
    let named = |name: &str| packages.iter().find(|package| package["name"] == name).unwrap();
    let image = named("disk/worker/qemu.qcow2")["SPDXID"].as_str().unwrap();
    let related = |verb: &str| -> Vec<&str> {
        let rows = sbom["relationships"].as_array().unwrap().iter();
        let own = rows.filter(|row| row["spdxElementId"] == image && row["relationshipType"] == verb);
        let name =
            |id: &Value| packages.iter().find(|package| package["SPDXID"] == *id).unwrap()["name"].as_str();
        own.map(|row| name(&row["relatedSpdxElement"]).unwrap()).collect()
    };
    let mut of = related("GENERATED_FROM");
    of.sort_unstable();
    assert_eq!(of, [&*format!("assets/flatcar/{VERSION}/flatcar_production_image.bin.bz2"), "oem-qemu.raw"]);
    assert!(related("CONTAINS").contains(&"hello") && related("CONTAINS").contains(&"flatcar"));
    let extension = named("oem-qemu.raw");
    assert!(extension["downloadLocation"].as_str().unwrap().ends_with("/oem-qemu.raw"), "{extension}");
    assert!(extension["sourceInfo"].as_str().unwrap().contains("was verified"), "{extension}");
    let provenance = fs::read_to_string(tree(&world).join("provenance.json")).unwrap();
    let envelope: Value = serde_json::from_str(&provenance).unwrap();
    let payload = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        envelope["payload"].as_str().unwrap(),
    );
    let statement = String::from_utf8(payload.unwrap()).unwrap();
    assert!(statement.contains("disk/worker/qemu.qcow2") && statement.contains("flatcar/amd64/oem-qemu.raw"));
}

#[test]
fn faults_of_the_options_are_told_at_their_places() {
    let world = world(
        &[],
        "platforms: [qemo, hetzner, hetzner, gce], formats: [qcow2, qcow, qcow2], size: 20GB, autologin: ja",
    );
    let run = world.prebake(&["build", RECIPE]);
    run.fails(
        3,
        &[
            "unknown platform `qemo`",
            "did you mean `qemu`?",
            "`hetzner` is listed twice",
            "unknown format `qcow`",
            "`qcow2` is listed twice",
            "gce takes multiples of 1.00 GiB, and the image has 20000000000 bytes",
            "must be `true` or `false`",
            "small.yaml:18:",
        ],
    );
    assert_eq!(world.current(), None);

    let alone = self::world(&[], "formats: [qcow2], size: 20GiB, on_root: true");
    let run = alone.prebake(&["build", RECIPE]).ok();
    for key in ["formats", "size", "on_root"] {
        let warning = format!("`{key}` is for the images of platforms, and there is no `platforms`");
        assert!(run.stderr.contains(&warning), "{}", run.stderr);
    }
    let small = self::world(&[], "platforms: [generic], size: 1GiB");
    small.edit(RECIPE, "channel: stable}", &format!("channel: stable, version: {VERSION}}}"));
    small.prebake(&["build", RECIPE]).fails(
        3,
        &["a disk of 1073741824 bytes (1.00 GiB) is too small: the layout needs 8455716864 (7.88 GiB)"],
    );
    let akamai = self::world(&["akamai"], "platforms: [akamai]");
    akamai.edit(RECIPE, "channel: stable}", &format!("channel: stable, version: {VERSION}}}"));
    akamai
        .prebake(&["build", RECIPE])
        .fails(3, &["akamai takes images of 6000000000 bytes", "such as LTS 4081"]);
    let quoted = self::world(&["qemu"], "platforms: [qemu]");
    quoted.edit(RECIPE, "[console=ttyS0]", "['x=\"a b\"']");
    quoted.prebake(&["build", RECIPE]).fails(3, &["small.yaml:9:", "cannot go through OEM's grub.cfg"]);
}

#[test]
fn an_image_without_room_is_refused_in_numbers_and_nothing_is_published() {
    let world = world(&["qemu"], "platforms: [qemu]");
    // Noise, which no compression makes smaller.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(64 << 20)
    .collect();
    world.write("sysext/hello/files/usr/share/hello/noise", noise);
    let run = world.prebake(&["build", RECIPE]);
    run.fails(3, &["OEM (67108864 bytes, 64.00 MiB) has no room", "asked (sysext/hello.raw", "too many"]);
    assert_eq!(world.current(), None);
}

#[test]
fn sysexts_lie_on_root_where_that_is_asked_for() {
    let world = world(&["qemu"], "platforms: [qemu], formats: [qcow2, raw.zst], on_root: true");
    world.release_file("flatcar_production_image.bin.bz2", &made::rooted());
    world.prebake(&["build", RECIPE, "--verify-rebuild"]).ok();
    let published = fs::read(tree(&world).join("assets/sysext/hello/hello-1-x86-64.raw")).unwrap();
    for file in ["qemu.qcow2", "qemu.bin.zst"] {
        let disk = Disk::open(&tree(&world).join("disk/worker").join(file));
        assert!(disk.on_root("/opt/extensions/hello.raw") == published, "{file}");
        assert!(disk.oem().read("sysext/hello.raw").is_err(), "{file}");
        let config: Value = serde_json::from_str(&disk.text("config.ign")).unwrap();
        assert_eq!(config["storage"]["links"][0]["target"], "/opt/extensions/hello.raw");
    }
}

#[test]
fn a_release_without_an_extension_for_the_platform_says_which_file_it_lacks() {
    let world = world(&[], "platforms: [qemu]");
    world.prebake(&["build", RECIPE]).fails(7, &["oem-qemu.raw"]);
}

/// A mirror may give one signed file under the name of another.
#[test]
fn the_extension_of_another_platform_is_refused_though_it_is_signed() {
    let world = world(&["qemu"], "platforms: [qemu]");
    world.release_file("oem-qemu.raw", &made::extension("ami"));
    let run = world.prebake(&["build", RECIPE]);
    run.fails(3, &["is the extension `oem-ami`, and `oem-qemu` is needed"]);
    assert_eq!(world.current(), None);
}

/// Ignition asks no platform where there is a `config.ign`, and merges what the platform says over `base/base.ign`.
#[test]
fn a_config_below_user_data_leaves_the_platform_to_be_asked() {
    let world = world(&["qemu"], "platforms: [qemu], formats: [raw.zst], config: base");
    world.build();
    let disk = Disk::open(&tree(&world).join("disk/control+n2/qemu.bin.zst"));
    let paths: Vec<String> = disk.oem().list().map(|listed| listed.path.clone()).collect();
    assert!(!paths.contains(&"config.ign".into()), "{paths:?}");
    let config = disk.text("base/base.ign");
    for part in ["/etc/node", "/etc/extensions/hello.raw"] {
        assert!(config.contains(part), "no {part} in {config}");
    }
    world.edit(RECIPE, "config: base", "config: bottom");
    world.prebake(&["build", RECIPE]).fails(3, &["`bottom` is not a part of a config", "small.yaml:18:"]);
}

#[test]
fn automatic_logins_stay_only_where_they_are_asked_for() {
    let world = world(&["qemu"], "platforms: [qemu], formats: [raw.zst], autologin: true");
    world.build();
    let grub = Disk::open(&tree(&world).join("disk/worker/qemu.bin.zst")).text("grub.cfg");
    assert!(grub.contains("flatcar.autologin"), "{grub}");
}

/// All that is published is public, so that an image has the public part of a config alone.
#[test]
fn a_secret_of_a_private_layer_is_on_no_image_and_one_in_a_public_layer_is_refused() {
    let world = world(&["qemu"], "platforms: [qemu], formats: [raw.zst]");
    world.edit(RECIPE, "kernel_args", "private: [join.bu]\n    kernel_args");
    let layer = format!(
        "variant: flatcar\nversion: 1.1.0\nstorage:\n  files:\n    - path: /etc/token\n      contents: {{inline: \"token: {TOKEN}\"}}\n"
    );
    world.write("recipes/join.bu", &layer);
    let run = world.prebake(&["build", RECIPE]).ok();
    assert!(
        run.stderr.contains("the disk images of `worker` are without its private layers"),
        "{}",
        run.stderr
    );
    let disk = Disk::open(&tree(&world).join("disk/worker/qemu.bin.zst"));
    let config = disk.text("config.ign");
    assert!(!config.contains("/etc/token") && config.contains("/etc/role"), "{config}");
    assert!(files(&world).keys().all(|path| !path.starts_with("private/")));

    world.edit(RECIPE, "private: [join.bu]\n    kernel_args", "kernel_args");
    world.edit(RECIPE, "ignition: [worker.ign]\n    kernel", "ignition: [worker.ign, join.bu]\n    kernel");
    world.prebake(&["build", RECIPE]).fails(3, &["would be public in `/etc/token`"]);
}

/// A machine that installs itself boots from its disk afterwards; an image is that disk.
#[test]
fn an_image_of_a_profile_that_installs_has_the_installed_system() {
    let world = install::world("");
    world.release_file("flatcar_production_image.bin.bz2", made::generic());
    world.release_file("oem-qemu.raw", &made::extension("qemu"));
    world.edit(RECIPE, "disk: {}", "disk: {platforms: [qemu], formats: [raw.zst]}");
    world.build();
    let disk = Disk::open(&tree(&world).join("disk/worker/qemu.bin.zst"));
    let config = disk.text("config.ign");
    assert!(config.contains("/etc/role") && !config.contains("install.conf"), "{config}");
    let paths: Vec<String> = disk.oem().list().map(|listed| listed.path.clone()).collect();
    assert!(!paths.contains(&"sysext/install.raw".into()), "{paths:?}");
}
