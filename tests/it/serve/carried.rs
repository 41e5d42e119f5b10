//! `prebake serve` on a bundle: nothing is unpacked, every byte is judged before it leaves, and a newer bundle that takes its
//! place is served from then on.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, symlink};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use prebake::tree::manifest::Manifest;

use crate::serve::tftp;
use crate::world::http::{Reply, Server, connect, send};
use crate::world::{VERSION, World};

const TREE: &str = "output/small/current";
const KERNEL: &str = "flatcar_production_pxe.vmlinuz";

/// The small world with a key, `site.key` and `site.pub`.
fn world() -> World {
    let world = World::new();
    world.prebake(&["key", "generate", "-o", "site", "--no-passphrase"]).ok();
    world
}

/// Makes a bundle of trees, signed by the world's key; what there is under the name is replaced by a rename.
fn bundle(world: &World, file: &str, args: &[&str]) -> PathBuf {
    let create = ["bundle", "create", "-o", file, "--sign-key", "site.key"];
    world.prebake(&[&create[..], args].concat()).ok();
    world.path(file)
}

/// Serves a bundle that the world's key signed.
fn serve(world: &World, file: &str, args: &[&str]) -> (Server, String) {
    let mut command = world.command(&["serve", file, "--address", "127.0.0.1:0", "--trust", "site.pub"]);
    let mut server = Server::start(command.args(args));
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    (server, address)
}

/// Asks as a client that knows the server by another name, so that scripts of two servers are the same.
fn ask(address: &str, method: &str, target: &str, headers: &str) -> Reply {
    send(address, &format!("{method} {target} HTTP/1.1\nHost: boot\nConnection: close\n{headers}\n"))
}

fn text(address: &str, target: &str) -> String {
    ask(address, "GET", target, "").text()
}

fn kernel() -> String {
    format!("/assets/flatcar/{VERSION}/{KERNEL}")
}

/// Where some bytes are in a file, which has them once.
fn find(file: &PathBuf, bytes: &[u8]) -> u64 {
    let whole = fs::read(file).unwrap();
    let mut found = whole.windows(bytes.len()).enumerate().filter(|(_, window)| *window == bytes);
    let (at, _) = found.next().unwrap();
    assert!(found.next().is_none());
    at as u64
}

/// Changes a byte of the kernel in a bundle, where it lies.
fn damage(bundle: &PathBuf) {
    let at = find(bundle, format!("kernel of {VERSION}").as_bytes());
    File::options().write(true).open(bundle).unwrap().write_all_at(b"K", at).unwrap();
}

#[test]
fn a_bundle_is_answered_from_as_the_tree_in_it_is() {
    let world = world();
    world.edit(
        "recipes/small.yaml",
        "    kernel_args",
        "    layout: virtual\n    generic: env.tmpl\n    kernel_args",
    );
    fs::write(world.path("recipes/env.tmpl"), "MAC={{index .request.query \"mac\"}}\n").unwrap();
    world.build();
    bundle(&world, "small.bundle", &[TREE]);
    let (tree, tree_address) = Server::prebake(&world.path(TREE));
    let (mut carried, address) = serve(&world, "small.bundle", &[]);
    assert!(carried.says("serving ").contains("the tree small in small.bundle: "));
    let manifest = fs::read(world.path(TREE).join("manifest.json")).unwrap();
    let manifest = Manifest::parse("manifest", &manifest).unwrap();
    assert_eq!(manifest.joined.len(), 1);
    let files = manifest.files.keys().chain(manifest.joined.keys()).map(|path| format!("/{path}"));
    let machine = "?mac=52-54-00-00-00-01";
    let answers = [
        "/boot.ipxe",
        "/ipxe",
        "/grub",
        "/ignition",
        "/generic",
        "/cloud",
        "/metadata",
        "/none",
        "/manifest.json",
    ];
    let answers = answers.iter().map(|path| format!("{path}{machine}"));
    for target in files.chain(answers) {
        for (method, headers) in [
            ("GET", ""),
            ("HEAD", ""),
            ("GET", "Range: bytes=1-3\n"),
            ("GET", "Range: bytes=-5\n"),
            ("GET", "Range: bytes=0-1,3-4\n"),
        ] {
            let [from_tree, from_bundle] = [&tree_address, &address].map(|address| {
                let Reply { status, mut headers, body } = ask(address, method, &target, headers);
                headers.retain(|(name, _)| name != "date");
                (status, headers, body)
            });
            assert!(from_bundle == from_tree, "{method} {target} {headers:?}: {from_bundle:?}");
        }
    }
    let initrd = ask(&address, "GET", "/assets/initrd/worker.img", "");
    assert_eq!(initrd.body.len() as u64, manifest.joined["assets/initrd/worker.img"].size);
    assert!(text(&address, "/status").contains(&manifest.build_id()));
    drop((tree, carried));
}

#[test]
fn a_bundle_is_judged_before_anything_of_it_is_served() {
    let world = world();
    world.prebake(&["key", "generate", "-o", "other", "--no-passphrase"]).ok();
    world.build();
    bundle(&world, "small.bundle", &[TREE]);
    bundle(&world, "old.bundle", &[TREE, "--expires", "2001-01-01"]);
    world.prebake(&["bundle", "create", "-o", "unsigned.bundle", "--unsigned", TREE]).ok();
    let cut = fs::read(world.path("small.bundle")).unwrap();
    fs::write(world.path("cut.bundle"), &cut[..cut.len() - 5000]).unwrap();
    fs::write(world.path("text.bundle"), "hello\n").unwrap();
    for (file, args, code, words) in [
        ("small.bundle", &[][..], 5, "small.bundle"),
        ("small.bundle", &["--trust", "other.pub"], 5, "not trusted"),
        (
            "small.bundle",
            &["--trust", "site.pub", "--threshold", "2"],
            2,
            "a threshold of 2 is impossible with 1 trusted key",
        ),
        (
            "small.bundle",
            &["--trust", "site.pub", "--tree", "large"],
            2,
            "does not contain the tree `large`, only the tree small",
        ),
        ("old.bundle", &["--trust", "site.pub"], 5, "expired on 2001-01-01"),
        ("unsigned.bundle", &["--trust", "site.pub"], 5, "is not signed"),
        ("cut.bundle", &["--trust", "site.pub"], 4, "it was cut off"),
        ("text.bundle", &["--allow-unsigned"], 4, "is not a bundle"),
    ] {
        let run = world.prebake(&[&["serve", file, "--address", "127.0.0.1:0"], args].concat());
        run.fails(code, &[words]);
    }
    for (file, flag) in [("unsigned.bundle", "--allow-unsigned"), ("old.bundle", "--allow-expired")] {
        let (_server, address) = serve(&world, file, &[flag]);
        assert_eq!(ask(&address, "GET", &kernel(), "").status, 200, "{file}");
    }
}

#[test]
fn a_byte_that_changed_in_a_bundle_never_leaves() {
    let world = world();
    world.build();
    let carried = bundle(&world, "small.bundle", &[TREE]);
    damage(&carried);
    let (mut server, address) = serve(&world, "small.bundle", &[]);
    for headers in ["", "Range: bytes=5-6\n"] {
        let reply = ask(&address, "GET", &kernel(), headers);
        assert_eq!(reply.status, 500, "{headers}");
        assert!(reply.text().contains("its bytes differ from the published ones"), "{}", reply.text());
    }
    assert!(server.says("CORRUPT").contains(&format!("small.bundle/trees/small{}", kernel())));
    let group = ask(&address, "GET", "/groups/n1.json", "");
    assert_eq!(group.status, 200, "what is sound is served");
    assert_eq!(server.end().matches("CORRUPT").count(), 1);
    // Whoever says so trusts the bytes.
    let (_server, address) = serve(&world, "small.bundle", &["--rehash=false"]);
    assert!(text(&address, &kernel()).starts_with("Kernel"));
}

#[test]
fn a_bundle_that_rots_while_it_is_served_is_noticed() {
    let world = world();
    world.build();
    let carried = bundle(&world, "small.bundle", &[TREE]);
    let (_server, address) = serve(&world, "small.bundle", &[]);
    assert!(text(&address, &kernel()).starts_with("kernel"));
    damage(&carried);
    assert_eq!(ask(&address, "GET", &kernel(), "").status, 500);
}

#[test]
fn loaders_fetch_by_tftp_what_a_bundle_holds_and_nothing_that_is_damaged() {
    let world = world();
    world.build();
    let carried = bundle(&world, "small.bundle", &[TREE]);
    fs::create_dir(world.path("ipxe")).unwrap();
    fs::write(world.path("ipxe/undionly.kpxe"), "bios").unwrap();
    let serve = || {
        let flags = ["--tftp=127.0.0.1:0", "--ipxe-dir", "ipxe", "--trust", "site.pub", "small.bundle"];
        let mut server = Server::start(world.command(&["serve", "--address", "127.0.0.1:0"]).args(flags));
        let address: SocketAddr =
            server.says("listening on tftp://").rsplit('/').next().unwrap().parse().unwrap();
        server.says("serving ");
        (server, address)
    };
    let script = fs::read(world.path(TREE).join("boot/ipxe/default.ipxe")).unwrap();
    let kernel = &kernel()[1..];
    let (_server, address) = serve();
    assert_eq!(tftp::fetch(address, "undionly.kpxe").as_deref(), Some(&b"bios"[..]));
    assert_eq!(tftp::fetch(address, "ipxe/default.ipxe"), Some(script.clone()));
    assert_eq!(tftp::fetch(address, kernel), Some(format!("kernel of {VERSION}").into_bytes()));
    assert_eq!(tftp::fetch(address, "groups/n1.json"), None, "no loader loads that");
    damage(&carried);
    let (mut server, address) = serve();
    assert_eq!(tftp::fetch(address, kernel), None);
    server.says("CORRUPT");
    assert_eq!(tftp::fetch(address, "ipxe/default.ipxe"), Some(script));
}

/// Replaces what the workers of the small recipe are told, and builds.
fn rebuild(world: &World, from: &str, to: &str) {
    world.edit("recipes/worker.ign", from, to);
    world.build();
}

#[test]
fn a_newer_bundle_in_its_place_is_served_from_then_on_and_no_other() {
    let world = world();
    world.build();
    bundle(&world, "small.bundle", &[TREE, "--sequence", "5"]);
    rebuild(&world, "data:,worker", "data:,second");
    bundle(&world, "second.bundle", &[TREE, "--sequence", "6"]);
    rebuild(&world, "data:,second", "data:,third");
    bundle(&world, "older.bundle", &[TREE, "--sequence", "4"]);
    world.prebake(&["bundle", "create", "-o", "unsigned.bundle", "--unsigned", "--sequence", "7", TREE]).ok();
    // What is served is a link; so both ways of putting another bundle there are seen.
    fs::create_dir(world.path("stick")).unwrap();
    fs::rename(world.path("small.bundle"), world.path("stick/small.bundle")).unwrap();
    symlink("stick/small.bundle", world.path("small.bundle")).unwrap();
    let (mut server, address) = serve(&world, "small.bundle", &[]);
    let role = || text(&address, "/ignition?mac=52-54-00-00-00-01");
    assert!(role().contains("data:,worker"));

    let put = |file: &str| {
        fs::copy(world.path(file), world.path("stick/.new")).unwrap();
        fs::rename(world.path("stick/.new"), world.path("stick/small.bundle")).unwrap();
    };
    put("second.bundle");
    assert!(role().contains("data:,second"));
    server.says("now serving the tree small in ");
    for (file, why) in [
        ("older.bundle", "number 4 of small"),
        ("unsigned.bundle", "is not signed"),
        ("recipes/small.yaml", "is not a bundle"),
    ] {
        put(file);
        assert!(role().contains("data:,second"), "{file}");
        let told = server.says("still serving the old build: ");
        assert!(told.contains(why), "{told}");
    }
    // Pulled out, it is served on from the open file.
    fs::remove_file(world.path("stick/small.bundle")).unwrap();
    assert!(role().contains("data:,second"));
    bundle(&world, "stick/third.bundle", &[TREE, "--name", "small", "--sequence", "7"]);
    symlink("stick/third.bundle", world.path("next")).unwrap();
    fs::rename(world.path("next"), world.path("small.bundle")).unwrap();
    assert!(role().contains("data:,third"));
}

#[test]
fn a_download_that_runs_is_finished_from_the_bundle_that_it_began_with() {
    let world = world();
    let large: Vec<u8> = (0..4u32 << 20).flat_map(u32::to_le_bytes).collect();
    world.release_file("flatcar_production_pxe_image.cpio.gz", &large);
    world.build();
    bundle(&world, "small.bundle", &[TREE]);
    let (_server, address) = serve(&world, "small.bundle", &[]);
    let mut stream = connect(&address);
    let image = format!("/assets/flatcar/{VERSION}/flatcar_production_pxe_image.cpio.gz");
    write!(stream, "GET {image} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut download = BufReader::new(stream);
    let mut first = [0; 12];
    download.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    rebuild(&world, "data:,worker", "data:,second");
    bundle(&world, "small.bundle", &[TREE]);
    assert!(text(&address, "/ignition").contains("data:,second"));
    let mut rest = Vec::new();
    download.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&large));
}

#[test]
fn a_bundle_that_is_copied_over_itself_keeps_the_old_one_until_it_is_whole() {
    let world = world();
    world.build();
    let carried = bundle(&world, "small.bundle", &[TREE]);
    rebuild(&world, "data:,worker", "data:,second");
    let second = fs::read(bundle(&world, "second.bundle", &[TREE, "--name", "small"])).unwrap();
    let (server, address) = serve(&world, "small.bundle", &[]);
    let half = second.len() / 2;
    let mut file = File::create(&carried).unwrap();
    file.write_all(&second[..half]).unwrap();
    for _ in 0..3 {
        // Its index is still the old one, and what is read of it is held against that.
        assert_ne!(ask(&address, "GET", "/ignition", "").status, 404);
        thread::sleep(Duration::from_millis(100));
    }
    file.write_all(&second[half..]).unwrap();
    drop(file);
    thread::sleep(Duration::from_millis(250));
    assert!(text(&address, "/ignition").contains("data:,second"));
    drop(server);
}

#[test]
fn of_several_trees_one_is_named() {
    let world = world();
    world.build();
    world.edit("recipes/small.yaml", "name: small", "name: large");
    world.prebake(&["build", "recipes/small.yaml"]).ok();
    bundle(&world, "both.bundle", &[TREE, "output/large/current", "--name", "both"]);
    let run = world.prebake(&["serve", "both.bundle", "--trust", "site.pub", "--address", "127.0.0.1:0"]);
    run.fails(2, &["both.bundle contains the trees large, small: choose one", "--tree"]);
    for tree in ["small", "large"] {
        let (mut server, address) = serve(&world, "both.bundle", &["--tree", tree]);
        server.says(&format!("serving the tree {tree} in both.bundle: "));
        assert!(text(&address, "/ipxe").starts_with("#!ipxe\nkernel"));
    }
}

#[test]
fn verify_judges_a_bundle_as_bundle_verify_does() {
    let world = world();
    world.build();
    let carried = bundle(&world, "small.bundle", &[TREE]);
    world.prebake(&["verify", "small.bundle"]).fails(5, &["small.bundle"]);
    let run = world.prebake(&["verify", "small.bundle", "--trust", "site.pub"]).ok();
    assert!(run.stdout.contains("all bytes intact, signed by"), "{}", run.stdout);
    damage(&carried);
    let run = world.prebake(&["verify", "small.bundle", "--trust", "site.pub"]);
    run.fails(4, &["1 damaged place"]);
    assert!(run.stdout.contains(KERNEL), "{}", run.stdout);
}
