//! What the process of `prebake serve` may still do, seen from outside.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::thread;
use std::time::Duration;

use crate::world::World;
use crate::world::http::{Server, get};

/// Serves the small world with these arguments beside; says where, and what it told of its confinement.
fn serve(world: &World, args: &[&str]) -> (Server, String, String) {
    let mut command = world.command(&["serve", "output/small/current", "--address", "127.0.0.1:0"]);
    let mut server = Server::start(command.args(args));
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    let confined = server.says("confined: ");
    (server, address, confined)
}

fn built() -> World {
    let world = World::new();
    world.build();
    world
}

/// The kernel's words on every thread of a server.
fn threads(server: &Server) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    // A thread may end while the list is read.
    tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok()).collect()
}

fn of<'s>(status: &'s str, key: &str) -> Vec<&'s str> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().collect()
}

#[test]
fn every_thread_is_the_user_that_was_asked_for_and_can_gain_nothing() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root becomes somebody else");
        return;
    }
    let world = built();
    fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let (server, address, _) = serve(&world, &["--user", "65534:65533"]);
    assert_eq!(get(&address, "/ipxe", "").status, 200);
    let threads = threads(&server);
    assert!(threads.len() > 1, "the runtime has threads of its own");
    for status in threads {
        assert_eq!(of(&status, "Uid:"), ["65534"; 4]);
        assert_eq!(of(&status, "Gid:"), ["65533"; 4]);
        assert_eq!(of(&status, "Groups:"), ["65533"]);
        assert_eq!(of(&status, "NoNewPrivs:"), ["1"]);
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(of(&status, set), ["0000000000000000"], "{set}");
        }
    }
}

#[test]
fn without_a_user_root_stays_root_and_is_told_what_it_could_give_up() {
    let world = built();
    let (server, ..) = serve(&world, &[]);
    let status = &threads(&server)[0];
    assert_eq!(of(status, "NoNewPrivs:"), ["1"]);
    let (_server, _, told) = serve(&world, &["--no-sandbox"]);
    assert!(told.contains("not confined"), "{told}");
    assert_eq!(told.contains("--user"), rustix::process::geteuid().is_root(), "{told}");
}

#[test]
fn a_build_outside_of_the_output_directory_is_served_only_without_the_sandbox() {
    let world = built();
    let copied = std::process::Command::new("cp")
        .args(["-a", "output/small", "elsewhere"])
        .current_dir(world.path(""))
        .status();
    assert!(copied.unwrap().success());
    let build = world.current().unwrap();
    let link = |target: &str| {
        symlink(target, world.path("output/small/next")).unwrap();
        fs::rename(world.path("output/small/next"), world.path("output/small/current")).unwrap();
    };
    let outside = format!("../../elsewhere/{build}");

    let (mut server, address, told) = serve(&world, &[]);
    if told.contains("no landlock") {
        eprintln!("skipped: this kernel has no landlock");
        return;
    }
    link(&outside);
    assert_eq!(get(&address, "/ipxe", "").status, 200);
    let line = server.says("still serving the old build");
    assert!(line.contains("manifest.json"), "{line}");
    link(&build);
    drop(server);

    let (mut server, address, _) = serve(&world, &["--no-sandbox"]);
    link(&outside);
    thread::sleep(Duration::from_millis(250));
    assert_eq!(get(&address, "/ipxe", "").status, 200);
    assert!(server.says("now serving").contains("/elsewhere/"));
}

#[test]
fn a_user_that_nobody_is_is_refused_before_anything_is_served() {
    let world = built();
    for user in ["nobody-at-all", "1000:no-group", "4294967295"] {
        let args = ["serve", "output/small/current", "--address", "127.0.0.1:0", "--user", user];
        world.prebake(&args).fails(2, &["there is no user or group", "/etc/passwd"]);
    }
}
