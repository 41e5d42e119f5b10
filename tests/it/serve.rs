//! The boot server through its socket.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::process::Command;

use crate::http::{Server, connect, get, head, read_reply, send};
use crate::world::World;

const INITRD: &str = "/assets/flatcar/4593.2.5/flatcar_production_pxe_image.cpio.gz";

/// A world whose initrd has bytes that tell their place, its server, and the server's address.
fn serving() -> (World, Server, String) {
    let world = World::new();
    let numbered: Vec<u8> = (0..25_000_u32).flat_map(u32::to_be_bytes).collect();
    world.release_file("flatcar_production_pxe_image.cpio.gz", &numbered);
    world.build();
    let (server, address) = serve(&world);
    (world, server, address)
}

fn serve(world: &World) -> (Server, String) {
    let mut server =
        Server::start(&mut world.command(&["serve", "output/small/current", "--address", "127.0.0.1:0"]));
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    (server, address)
}

#[test]
fn a_machine_finds_its_way_from_the_first_script_to_its_own_profile() {
    let (_world, mut server, address) = serving();
    let first = get(&address, "/boot.ipxe", "").text();
    assert!(first.starts_with("#!ipxe\nchain ipxe?uuid=${uuid}&mac=${mac:hexhyp}"), "{first}");
    let script = get(&address, "/ipxe?mac=52-54-00-00-00-02", "").text();
    assert!(script.contains("/assets/overlay/control+n2.cpio"), "{script}");
    assert!(script.contains(&format!("prebake.url=http://{address}")), "{script}");
    let line = server.says("GET /ipxe 200");
    assert!(line.contains("mac=52:54:00:00:00:02 group=n2 profile=control+n2"), "{line}");
}

#[test]
fn head_is_get_without_the_body() {
    let (_world, _server, address) = serving();
    for target in [INITRD, "/boot.ipxe", "/ipxe?mac=52-54-00-00-00-01", "/assets/none", "/ignition"] {
        let (get, head) = (get(&address, target, ""), head(&address, target));
        let but_date = |headers: &[(String, String)]| {
            headers.iter().filter(|(name, _)| name != "date").cloned().collect::<Vec<_>>()
        };
        assert_eq!((head.status, but_date(&head.headers)), (get.status, but_date(&get.headers)), "{target}");
        assert!(!get.body.is_empty() && head.body.is_empty(), "{target}");
    }
}

#[test]
fn ranges_are_answered_as_rfc_9110_has_them() {
    let (world, _server, address) = serving();
    let all = fs::read(world.path(&format!("output/small/current{INITRD}"))).unwrap();
    let size = all.len();
    let cases = [
        ("bytes=0-99", 0..100),
        ("bytes=50000-50003", 50_000..50_004),
        ("bytes=99000-", 99_000..size),
        ("bytes=-5", size - 5..size),
        ("bytes=99990-200000", 99_990..size),
    ];
    for (range, expected) in cases {
        let reply = get(&address, INITRD, &format!("Range: {range}\n"));
        let content_range = format!("bytes {}-{}/{size}", expected.start, expected.end - 1);
        assert_eq!((reply.status, reply.header("content-range")), (206, Some(content_range.as_str())));
        assert!(reply.body == all[expected], "{range}");
    }
    let beyond = get(&address, INITRD, "Range: bytes=100000-\n");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */100000")));
    let several = get(&address, INITRD, "Range: bytes=0-1,-2\n");
    assert_eq!(several.status, 206);
    assert!(several.header("content-type").unwrap().starts_with("multipart/byteranges"));
    for range in ["bytes 0-1/100000", "bytes 99998-99999/100000"] {
        assert!(several.text().contains(range), "{range}");
    }
}

#[test]
fn what_a_client_has_is_not_sent_again_and_parts_of_another_file_are_never_joined() {
    let (_world, _server, address) = serving();
    let whole = get(&address, INITRD, "");
    let (etag, modified) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    for condition in [format!("If-None-Match: {etag}\n"), format!("If-Modified-Since: {modified}\n")] {
        let reply = get(&address, INITRD, &condition);
        assert_eq!((reply.status, reply.body.len()), (304, 0), "{condition}");
    }
    let resumed = get(&address, INITRD, &format!("Range: bytes=9-\nIf-Range: {etag}\n"));
    assert_eq!(resumed.status, 206);
    let another = get(&address, INITRD, "Range: bytes=9-\nIf-Range: \"another\"\n");
    assert_eq!((another.status, another.body.len()), (200, whole.body.len()));
}

#[test]
fn nothing_but_the_tree_can_be_reached() {
    let (world, _server, address) = serving();
    let published = world.path("output/small/current").canonicalize().unwrap();
    std::os::unix::fs::symlink("/etc/passwd", published.join("assets/link")).unwrap();
    fs::write(published.join("assets/stray"), "not in the manifest").unwrap();
    let targets = [
        "/../../../recipes/small.yaml",
        "/assets/../../../../recipes/small.yaml",
        "/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/recipes/small.yaml",
        "/assets/..%2f..%2f..%2f..%2frecipes/small.yaml",
        "/assets//etc/passwd",
        "/assets/%00",
        "/assets/flatcar/4593.2.5/flatcar_production_pxe.vmlinuz%00.sig",
        "/assets/link",
        "/assets/stray",
        "/assets/",
        "/ignition/worker.ign/../../manifest.json",
    ];
    for target in targets {
        assert_eq!(get(&address, target, "").status, 404, "{target}");
    }
}

#[test]
fn a_client_that_dawdles_is_cut_off_and_holds_nobody_up() {
    let (_world, _server, address) = serving();
    let mut slow = connect(&address);
    slow.write_all(b"GET /boot.ipxe HTTP/1.1\r\nHo").unwrap();
    assert_eq!(get(&address, "/boot.ipxe", "").status, 200);
    // The server ends it; were it patient for ever, the read would time out.
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}

#[test]
fn a_head_without_an_end_is_refused() {
    let (_world, _server, address) = serving();
    let reply = get(&address, "/boot.ipxe", &format!("X-Padding: {}\n", "x".repeat(64 << 10)));
    assert_eq!(reply.status, 431);
}

#[test]
fn machines_report_and_the_last_word_of_each_counts() {
    let (_world, mut server, address) = serving();
    let post = |body: &str| {
        let length = body.len();
        send(
            &address,
            &format!(
                "POST /report HTTP/1.1\nHost: {address}\nConnection: close\nContent-Length: {length}\n\n{body}"
            ),
        )
    };
    assert_eq!(post("mac=52-54-00-00-00-01&stage=booted").status, 204);
    assert_eq!(post("mac=52:54:00:00:00:01&stage=joined&detail=node%20ready").status, 204);
    let line = server.says("POST /report 204");
    assert!(line.contains("mac=52:54:00:00:00:01"), "{line}");
    let list: serde_json::Value = serde_json::from_slice(&get(&address, "/report", "").body).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!((&list[0]["stage"], &list[0]["detail"]), (&"joined".into(), &"node ready".into()));
    for (bad, why) in [("stage=booted", "`mac` or a `uuid`"), ("mac=52-54-00-00-00-01", "needs a `stage`")] {
        let reply = post(bad);
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains(why), "{}", reply.text());
    }
    assert_eq!(post(&format!("mac=52-54-00-00-00-01&stage={}", "x".repeat(100_000))).status, 400);
}

#[test]
fn what_a_client_sends_cannot_forge_a_line_of_the_log() {
    let (_world, mut server, address) = serving();
    get(&address, "/ipxe?hostname=a%0a2026-01-01T00:00:00Z%20forged%1b[31m", "");
    let line = server.says("GET /ipxe");
    assert!(line.contains("\\n") && line.contains("\\u{1b}"), "{line}");
    assert!(!server.log.iter().any(|line| line.starts_with("2026-01-01")));
}

#[test]
fn a_new_build_is_served_at_once_and_a_running_transfer_ends_with_the_old_bytes() {
    let (world, mut server, address) = serving();
    // Far more than the sockets' buffers hold.
    let old: Vec<u8> = (0..8_000_000_u32).flat_map(u32::to_be_bytes).collect();
    world.release_file("flatcar_production_pxe_image.cpio.gz", &old);
    world.prebake(&["lock", "recipes/small.yaml", "--update"]).ok();
    world.build();
    get(&address, "/boot.ipxe", "");
    server.says("now serving");
    let mut running = connect(&address);
    let request = format!("GET {INITRD} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    running.write_all(request.as_bytes()).unwrap();
    let mut start = [0; 1000];
    running.read_exact(&mut start).unwrap();

    world.release_file("flatcar_production_pxe_image.cpio.gz", b"new");
    world.prebake(&["lock", "recipes/small.yaml", "--update"]).ok();
    world.build();
    while get(&address, INITRD, "").body != b"new" {}
    server.says("now serving");
    let reply = read_reply(&mut BufReader::new(start.chain(running)), true);
    assert!(reply.body == old, "{} bytes", reply.body.len());
}

#[test]
fn a_tree_that_is_broken_does_not_replace_one_that_is_well() {
    let (world, mut server, address) = serving();
    let broken = world.path("output/small/broken");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("manifest.json"), "{").unwrap();
    fs::remove_file(world.path("output/small/current")).unwrap();
    std::os::unix::fs::symlink("broken", world.path("output/small/current")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(get(&address, INITRD, "").status, 200);
    server.says("still serving the old build");
}

#[test]
fn sigterm_ends_it_cleanly() {
    let (_world, mut server, _address) = serving();
    assert_eq!(server.terminate(), Some(0));
    server.says("stopping");
}

#[test]
fn what_cannot_be_served_is_one_clear_error() {
    let (world, _server, address) = serving();
    let fails = |args: &[&str], code: i32, words: &[&str]| world.prebake(args).fails(code, words);
    fails(
        &["serve", "output/small/current", "--address", &address],
        1,
        &["cannot listen on", "another port"],
    );
    fails(
        &["serve", "output/none"],
        1,
        &["output/none is not a tree that prebake built", "prebake build RECIPE"],
    );
    fails(&["serve", "recipes"], 1, &["recipes is not a tree", "manifest.json"]);
    fails(
        &["serve", "output/small/current", "--address", "nowhere"],
        1,
        &["cannot listen on nowhere", "HOST:PORT"],
    );
    let group = world.path("output/small/current/groups/n1.json");
    let text = fs::read_to_string(&group).unwrap().replace("\"worker\"", "\"wroker\"");
    let writable = Command::new("chmod").arg("u+w").arg(&group).status().unwrap();
    assert!(writable.success());
    fs::remove_file(&group).unwrap();
    fs::write(&group, text).unwrap();
    fails(
        &["serve", "output/small/current"],
        4,
        &["groups/n1.json cannot be used", "no profile `wroker`", "build it again"],
    );
}
