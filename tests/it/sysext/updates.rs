//! Nodes that update their sysexts from a published tree: the real systemd-sysupdate 257 is the node.

use std::fs;
use std::process::Command;

use crate::judges;
use crate::lab::ports;
use crate::world::http::Server;
use crate::world::{Run, World, repository};

/// The small world, whose `hello` says its version, with updates asked for.
fn world() -> World {
    let world = World::new();
    world.edit(
        "sysext/hello/sysext.yaml",
        "version: '1'",
        "version: v1.2.4\ntext: {/usr/share/hello/version: \"{version}\\n\"}",
    );
    world.edit(
        "recipes/small.yaml",
        "default_profile:",
        "outputs: {pxe: {}, matchbox: {}, sysupdate: {base_url: BASE/, instances: 2}}\ndefault_profile:",
    );
    world
}

/// Builds and serves the tree at the address that the transfer definitions name, then runs what is given.
fn serve(world: &World, act: impl FnOnce()) {
    // The address must be known before the tree is built, so a port is taken, noted and given back.
    let port = ports::unused();
    let path = world.path("recipes/small.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let start = text.find("base_url: ").unwrap() + "base_url: ".len();
    let end = start + text[start..].find(',').unwrap();
    fs::write(&path, format!("{}\"http://{port}\"{}", &text[..start], &text[end..])).unwrap();
    world.build();
    let address = port.to_string();
    let mut server =
        Server::start(&mut world.command(&["serve", "--address", &address, "output/small/current"]));
    server.says("listening on");
    act();
}

/// `systemd-sysupdate` for `hello` on the world's node, following one stream of the tree.
fn sysupdate(world: &World, stream: &str, args: &[&str]) -> Run {
    let definitions = world.path("node/files/etc/sysupdate.hello.d");
    fs::create_dir_all(&definitions).unwrap();
    let transfer = world.path(&format!("output/small/current/assets/sysext/hello/{stream}.conf"));
    fs::copy(transfer, definitions.join("hello.conf")).unwrap();
    let node = repository("tests/peers/systemd-node.sh");
    let mut command = Command::new(node);
    command.arg(world.path("node")).args(["/usr/lib/systemd/systemd-sysupdate", "--no-pager", "-C", "hello"]);
    Run::of(command.args(args).output().unwrap())
}

fn installed(world: &World) -> Vec<String> {
    world.names("node/files/opt/extensions/hello")
}

fn link(world: &World) -> String {
    let target = fs::read_link(world.path("node/files/etc/extensions/hello.raw")).unwrap();
    target.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_node_takes_the_newest_image_and_keeps_the_old_one() {
    let Some(_) = judges::systemd() else { return };
    let world = world();
    serve(&world, || {
        sysupdate(&world, "hello", &["update"]).ok();
    });
    assert_eq!(installed(&world), ["hello-v1.2.4-x86-64.raw"]);
    world.edit("sysext/hello/sysext.yaml", "version: v1.2.4", "version: v1.3.0");
    serve(&world, || {
        let patches = sysupdate(&world, "hello-v1.3", &["list"]).ok();
        assert!(patches.stdout.contains("candidate"), "{}", patches.stdout);
        sysupdate(&world, "hello", &["update"]).ok();
        let again = sysupdate(&world, "hello", &["update"]).ok();
        assert!(again.stderr.contains("No update needed"), "{}", again.stderr);
    });
    assert_eq!(installed(&world), ["hello-v1.2.4-x86-64.raw", "hello-v1.3.0-x86-64.raw"]);
    assert_eq!(link(&world), "hello-v1.3.0-x86-64.raw");
    let ours =
        fs::read(world.path("output/small/current/assets/sysext/hello/hello-v1.3.0-x86-64.raw")).unwrap();
    let theirs = fs::read(world.path("node/files/opt/extensions/hello/hello-v1.3.0-x86-64.raw")).unwrap();
    assert!(ours == theirs);
}

#[test]
fn a_stream_of_patches_stays_in_its_minor_version() {
    let Some(_) = judges::systemd() else { return };
    let world = world();
    world.edit("recipes/small.yaml", "instances: 2", "instances: 2, versions: {hello: [v1.2.3, v1.3.0]}");
    serve(&world, || {
        let all = sysupdate(&world, "hello", &["list"]).ok().stdout;
        for version in ["v1.2.3", "v1.2.4", "v1.3.0"] {
            assert!(all.contains(version), "{all}");
        }
        sysupdate(&world, "hello-v1.2", &["update"]).ok();
    });
    assert_eq!(link(&world), "hello-v1.2.4-x86-64.raw");
    let expected = ["SHA256SUMS", "hello-v1.2.3-x86-64.raw", "hello-v1.2.4-x86-64.raw", "hello-v1.2.conf"];
    let expected = expected.into_iter().chain(["hello-v1.3.0-x86-64.raw", "hello-v1.3.conf", "hello.conf"]);
    assert_eq!(world.names("output/small/current/assets/sysext/hello"), expected.collect::<Vec<_>>());
}

#[test]
fn an_image_that_is_not_the_one_of_the_list_is_not_installed() {
    let Some(_) = judges::systemd() else { return };
    let world = world();
    serve(&world, || {
        let image = world.path("output/small/current/assets/sysext/hello/hello-v1.2.4-x86-64.raw");
        let mut bytes = fs::read(&image).unwrap();
        bytes[2000] ^= 1;
        fs::remove_file(&image).unwrap();
        fs::write(&image, bytes).unwrap();
        sysupdate(&world, "hello", &["update"]).fails(1, &[]);
    });
    assert!(!installed(&world).contains(&"hello-v1.2.4-x86-64.raw".to_owned()));
}

#[test]
fn options_that_cannot_work_are_refused_where_they_stand() {
    for (options, words) in [
        ("{}", "`sysupdate` needs the key `base_url`"),
        ("", "`sysupdate` needs the key `base_url`"),
        ("{base_url: \"ftp://x\"}", "`ftp://x` is not an http or https URL"),
        ("{base_url: \"http://x\", instances: 1}", "`instances` must be at least 2"),
        ("{base_url: \"http://x\", versions: {helo: [v1]}}", "no profile has a sysext `helo`"),
        ("{base_url: \"http://x\", versions: {hello: [v1.2.4]}}", "v1.2.4 is published already"),
        ("{base_url: \"http://x\", versions: {hello: [v1 2]}}", "`v1 2` is not a valid value for `version`"),
    ] {
        let world = World::new();
        world.edit("sysext/hello/sysext.yaml", "version: '1'", "version: v1.2.4");
        world.edit(
            "recipes/small.yaml",
            "default_profile:",
            &format!("outputs: {{pxe: {{}}, sysupdate: {options}}}\ndefault_profile:"),
        );
        world.prebake(&["build", "recipes/small.yaml"]).fails(3, &[words]);
    }
}
