//! Fetching with verification, against aria2c and curl followed by gpg, from the same mirror on the loopback.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

#[path = "../tests/lab/mod.rs"]
mod lab;
mod race;
#[path = "../tests/it/world/fixture.rs"]
mod world;

use lab::mirror::Mirror;
use race::{Race, run};
use world::{VERSION, World};

const ROUNDS: usize = 5;
const SIZE: u64 = 1 << 30;
const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";
/// 1 Gb/s, in bytes.
const GIGABIT: u64 = 125_000_000;

fn main() {
    let world = World::new();
    let release = world.path("release/stable/amd64-usr").join(VERSION);
    fs::write(release.join(INITRD), race::noise(SIZE)).unwrap();
    fs::write(release.join(format!("{INITRD}.sig")), world::sign_file(&release.join(INITRD))).unwrap();
    let keyring = world.path("keyring");
    run(Command::new("gpg")
        .args(["--batch", "--no-default-keyring", "--keyring"])
        .arg(&keyring)
        .arg("--import")
        .arg(world.path("recipes/lab.asc"))
        .env("GNUPGHOME", world.path(".")));

    // `cargo bench --bench fetch -- small` runs one race alone.
    let wanted = |name: &str| std::env::args().skip(1).filter(|arg| arg != "--bench").all(|arg| arg == name);
    if wanted("large") {
        signed_file(&world, &keyring, "1 GiB and its signature", world.mirror.url(), true);
    }
    if wanted("gigabit") {
        let slow = Mirror::builder().directory("/", &world.path("release")).rate(GIGABIT).start().unwrap();
        signed_file(&world, &keyring, "1 GiB at 1 Gb a second", slow.url(), false);
    }
    if wanted("verify") {
        local_file(&world, &keyring);
    }
    if wanted("second") {
        second_recipe(&world);
    }
    if wanted("small") {
        small_files();
    }
}

/// The lock of a second recipe of the same release, and a lock made anew, against the first one in a fresh store. Bytes are
/// counted at the mirror.
fn second_recipe(world: &World) {
    let text = fs::read_to_string(world.path("recipes/small.yaml")).unwrap();
    world.write("recipes/second.yaml", text.replace("name: small", "name: second"));
    let moved = |requests: &[lab::mirror::Request]| -> u64 {
        let mut paths: Vec<&str> = requests.iter().map(|request| request.path.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        let length = |path: &&str| fs::metadata(world.path("release").join(&path[1..])).unwrap().len();
        paths.iter().map(length).sum()
    };
    let mut race = Race::new("1 GiB for two recipes");
    let mut bytes = [0; 3];
    for _ in 0..ROUNDS {
        let _ = fs::remove_dir_all(world.path("store"));
        for lock in ["small", "second"] {
            let _ = fs::remove_file(world.path(&format!("recipes/{lock}.lock")));
        }
        let turns = [
            ("the first recipe", &["lock", "recipes/small.yaml"][..]),
            ("a second recipe", &["lock", "recipes/second.yaml"]),
            ("lock --update", &["lock", "--update", "recipes/small.yaml"]),
        ];
        for (index, (name, args)) in turns.into_iter().enumerate() {
            let before = world.mirror.requests().len();
            race.turn(name, || run(&mut world.command(args)));
            bytes[index] = moved(&world.mirror.requests()[before..]);
        }
    }
    race.finish();
    let [first, second, update] = bytes;
    println!(
        "bytes moved: {first} for the first recipe, {second} for a second one, {update} for lock --update"
    );
}

/// `verified`: whether the peers verify as well, or only download.
fn signed_file(world: &World, keyring: &Path, title: &str, mirror: String, verified: bool) {
    let url = format!("{mirror}/stable/amd64-usr/{VERSION}/{INITRD}");
    let got = world.path("got");
    let gpg = || {
        if verified {
            run(Command::new("gpg")
                .args(["--batch", "--no-default-keyring", "--keyring"])
                .arg(keyring)
                .arg("--verify")
                .args([got.join(format!("{INITRD}.sig")), got.join(INITRD)])
                .env("GNUPGHOME", world.path(".")));
        }
    };
    let fresh = |directory: &Path| {
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory).unwrap();
    };
    let mut race = Race::new(title);
    for _ in 0..ROUNDS {
        fresh(&world.path("store"));
        let _ = fs::remove_file(world.path("recipes/small.lock"));
        race.turn("prebake, verified", || {
            run(world.command(&["lock", "recipes/small.yaml"]).env("PREBAKE_MIRROR_FLATCAR", &mirror));
        });
        if verified {
            fresh(&got);
            race.turn("curl, then gpg", || {
                run(Command::new("curl")
                    .args(["-sfZ", "--remote-name-all", &url, &format!("{url}.sig")])
                    .current_dir(&got));
                gpg();
            });
        }
        fresh(&got);
        let name = if verified { "aria2c -x8, then gpg" } else { "aria2c -x8, unverified" };
        race.turn(name, || {
            run(Command::new("aria2c")
                .args(["-q", "-x8", "-s8", "-Z", "--file-allocation=none", &url, &format!("{url}.sig")])
                .current_dir(&got));
            gpg();
        });
    }
    race.finish();
}

/// A signature over 500 MB that lie on the disk.
fn local_file(world: &World, keyring: &Path) {
    let file = world.path("large");
    fs::write(&file, race::noise(500_000_000)).unwrap();
    let signature = world.path("large.sig");
    fs::write(&signature, world::sign_file(&file)).unwrap();
    let mut race = Race::new("a signature over 500 MB on the disk");
    for _ in 0..ROUNDS {
        race.turn("prebake keys verify", || {
            run(world
                .command(&["keys", "verify", "--key", "recipes/lab.asc", "--pin", world::PRIMARY])
                .arg(&file));
        });
        race.turn("gpg --verify", || {
            let mut gpg = Command::new("gpg");
            gpg.args(["--batch", "--no-default-keyring", "--keyring"]).arg(keyring).arg("--verify");
            run(gpg.args([&signature, &file]).env("GNUPGHOME", world.path(".")));
        });
    }
    race.finish();
}

/// 200 files of 16 KiB, each with a pinned digest.
fn small_files() {
    const COUNT: usize = 200;
    let world = World::new();
    let mut components = String::new();
    let files = world.path("release/many");
    fs::create_dir_all(&files).unwrap();
    for index in 0..COUNT {
        let mut bytes = race::noise(16 << 10);
        bytes[..8].copy_from_slice(&(index as u64).to_le_bytes());
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(files.join(index.to_string()), bytes).unwrap();
        let url = format!("{}/many/{index}", world.mirror.url());
        components.push_str(&format!(
            "  c{index}: {{url: '{url}', sha256: {{amd64: {digest}}}, install: /usr/share/hello/{index}}}\n"
        ));
    }
    world.edit(
        "sysext/hello/sysext.yaml",
        "reload: true\n",
        &format!("reload: true\ncomponents:\n{components}"),
    );
    let urls: Vec<String> = (0..COUNT).map(|index| format!("{}/many/{index}", world.mirror.url())).collect();
    let got = world.path("got");
    let mut race = Race::new("200 files of 16 KiB");
    for _ in 0..ROUNDS * 3 {
        let _ = fs::remove_dir_all(world.path("store"));
        let _ = fs::remove_file(world.path("recipes/small.lock"));
        race.turn("prebake, verified", || run(&mut world.command(&["lock", "recipes/small.yaml"])));
        let _ = fs::remove_dir_all(&got);
        fs::create_dir_all(&got).unwrap();
        race.turn("curl --parallel", || {
            run(Command::new("curl").args(["-sfZ", "--remote-name-all"]).args(&urls).current_dir(&got));
        });
    }
    race.finish();
}
