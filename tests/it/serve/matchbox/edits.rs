//! Edits of a data directory are seen by the next request, however they are made.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use serde_json::json;

use super::Directory;

#[test]
fn every_edit_is_served_on_the_next_request() {
    let directory = Directory::empty();
    let served = directory.serve();
    served.lacks("/ipxe");
    directory.json("profiles/p.json", &json!({"id": "p", "boot": {"kernel": "k1"}, "generic_id": "t"}));
    served.lacks("/ipxe");
    directory
        .json("groups/default.json", &json!({"id": "default", "profile": "p", "metadata": {"v": "one"}}));
    served.answers("/ipxe", 200, "#!ipxe\nkernel k1\nboot\n");
    served.lacks("/generic");
    directory.write("generic/t", "{{.v}}");
    served.answers("/generic", 200, "one");
    directory
        .json("groups/default.json", &json!({"id": "default", "profile": "p", "metadata": {"v": "two"}}));
    served.answers("/generic", 200, "two");
    directory.write("generic/t", "{{.v}}!");
    served.answers("/generic", 200, "two!");
    directory.json("profiles/p.json", &json!({"id": "p", "boot": {"kernel": "k2"}, "generic_id": "t"}));
    served.answers("/ipxe", 200, "#!ipxe\nkernel k2\nboot\n");
    let node = json!({"profile": "p", "selector": {"mac": "52-54-00-00-00-0A"}, "metadata": {"v": "node"}});
    directory.json("groups/node.json", &node);
    served.answers("/generic?mac=52:54:00:00:00:0a", 200, "node!");
    directory.write("groups/node.json", r#"{"id": "node", "profile""#);
    served.answers("/generic?mac=52:54:00:00:00:0a", 200, "two!");
    directory.write("ignition/a.ign", r#"{"ignition":{"version":"3.3.0"}}"#);
    directory.json("profiles/p.json", &json!({"id": "p", "ignition_id": "a.ign"}));
    assert!(served.get("/ignition").text().contains(r#""version":"3.4.0""#));
    directory
        .write("ignition/a.ign", r#"{"ignition":{"version":"3.3.0"},"passwd":{"users":[{"name":"core"}]}}"#);
    assert!(served.get("/ignition").text().contains("core"));
    fs::remove_file(directory.path("ignition/a.ign")).unwrap();
    served.lacks("/ignition");
    fs::remove_dir_all(directory.path("groups")).unwrap();
    served.lacks("/ipxe");
    served.answers("/", 200, "matchbox\n");
}

#[test]
fn files_that_are_replaced_linked_or_moved_are_edits_too() {
    let directory = Directory::new();
    directory.write("generic/t", "{{.v}}");
    let served = directory.serve();
    let group = |value: &str| json!({"profile": "p", "metadata": {"v": value}});
    served.answers("/generic", 200, "one");
    directory.json("new.json", &group("renamed over it"));
    fs::rename(directory.path("new.json"), directory.path("groups/default.json")).unwrap();
    served.answers("/generic", 200, "renamed over it");
    // As Kubernetes mounts a ConfigMap: each file a link through one that is swapped.
    directory.json("groups/..1/default.json", &group("first"));
    directory.json("groups/..2/default.json", &group("second"));
    symlink("..1", directory.path("groups/..data")).unwrap();
    fs::remove_file(directory.path("groups/default.json")).unwrap();
    symlink("..data/default.json", directory.path("groups/default.json")).unwrap();
    served.answers("/generic", 200, "first");
    symlink("..2", directory.path("groups/..tmp")).unwrap();
    fs::rename(directory.path("groups/..tmp"), directory.path("groups/..data")).unwrap();
    served.answers("/generic", 200, "second");
    directory.json("groups/..2/default.json", &group("written through"));
    served.answers("/generic", 200, "written through");
    fs::rename(directory.path("groups"), directory.path("away")).unwrap();
    served.lacks("/generic");
    fs::rename(directory.path("away"), directory.path("groups")).unwrap();
    served.answers("/generic", 200, "written through");
}

#[test]
fn a_data_directory_that_is_swapped_as_a_whole_is_an_edit() {
    let (directory, other) = (Directory::new(), Directory::new());
    other.json("profiles/p.json", &json!({"id": "p", "boot": {"kernel": "other"}}));
    let parent = tempfile::tempdir().unwrap();
    let [link, first, second] = ["data", "first", "second"].map(|name| parent.path().join(name));
    fs::rename(directory.path(""), &first).unwrap();
    fs::rename(other.path(""), &second).unwrap();
    symlink("first", &link).unwrap();
    let served = super::Served::new(&link, &[]);
    served.answers("/ipxe", 200, "#!ipxe\nkernel k\nboot\n");
    symlink("second", parent.path().join("new")).unwrap();
    fs::rename(parent.path().join("new"), &link).unwrap();
    served.answers("/ipxe", 200, "#!ipxe\nkernel other\nboot\n");
}

fn copied(from: &std::path::Path, to: &std::path::Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Newcomer to issue 21: after `mv lib lib.bad; cp -a lib.before lib` all machines got 404, since there was "no such folder".
#[test]
fn a_data_directory_that_was_replaced_is_told_as_what_it_is_and_served_without_the_sandbox() {
    for sandbox in [true, false] {
        let directory = Directory::empty();
        let [lib, before, bad] = ["lib", "before", "bad"].map(|name| directory.path(name));
        directory.json("before/profiles/p.json", &json!({"id": "p", "boot": {"kernel": "k"}}));
        directory.json("before/groups/default.json", &json!({"profile": "p"}));
        copied(&before, &lib);
        let mut served = super::Served::new(&lib, if sandbox { &[] } else { &["--no-sandbox"] });
        if sandbox && served.server.log.iter().any(|line| line.contains("no landlock")) {
            eprintln!("skipped: this kernel has no landlock");
            continue;
        }
        served.answers("/ipxe", 200, "#!ipxe\nkernel k\nboot\n");
        fs::rename(&lib, &bad).unwrap();
        served.lacks("/ipxe");
        served.server.says("lib: the data directory is gone");
        copied(&before, &lib);
        if !sandbox {
            served.answers("/ipxe", 200, "#!ipxe\nkernel k\nboot\n");
            continue;
        }
        let told = "lib: it was replaced while the server ran, and the sandbox opens only what was there at the start";
        served.lacks("/ipxe");
        let line = served.server.says(told);
        assert!(line.ends_with("restart the server"), "{line}");
        // The request's own line, too.
        served.server.says(told);
        let status = served.get("/status").text();
        assert!(status.contains(told) && !status.contains("no such folder"), "{status}");
        assert!(!served.server.log.iter().any(|line| line.contains("no such folder")));
        // The old one is back.
        fs::rename(&lib, directory.path("new")).unwrap();
        fs::rename(&bad, &lib).unwrap();
        served.answers("/ipxe", 200, "#!ipxe\nkernel k\nboot\n");
        directory.json("lib/profiles/p.json", &json!({"id": "p", "boot": {"kernel": "edited"}}));
        served.answers("/ipxe", 200, "#!ipxe\nkernel edited\nboot\n");
    }
}

/// Newcomer to issue 21: what root had read was served until the first edit, and "permission denied" was never said.
#[test]
fn what_the_user_may_not_read_is_told_with_the_user_and_the_way_out() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root becomes somebody else");
        return;
    }
    let mode = |directory: &Directory, path: &str, mode| {
        fs::set_permissions(directory.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    let directory = Directory::new();
    directory.write("generic/t", "{{.v}}");
    directory.write("ignition/i", "variant: flatcar\nversion: 1.1.0\n");
    mode(&directory, "", 0o755);
    mode(&directory, "groups", 0o700);
    let user = ["--user", "65534:65533"];
    let mut served = directory.serve_with(&user);
    let line = served.server.says("warning: groups/: permission denied: the user 65534 may not read ");
    assert!(line.contains("/groups: ") && line.contains("chown") && line.contains("--user"), "{line}");
    served.lacks("/generic");
    assert!(!served.server.log.iter().any(|line| line.contains("the kernel cannot report")));
    mode(&directory, "groups", 0o755);
    served.answers("/generic", 200, "one");
    mode(&directory, "groups/default.json", 0o600);
    served.lacks("/generic");
    let line = served.server.says("warning: groups/default.json: permission denied: the user 65534");
    assert_eq!(line.matches("groups/default.json: ").count(), 2, "{line}");
    mode(&directory, "groups/default.json", 0o644);
    mode(&directory, "generic", 0o700);
    served.lacks("/generic");
    served.server.says("generic/t: permission denied: the user 65534 may not read ");
    // The whole directory, and a strict server.
    mode(&directory, "generic", 0o755);
    served.answers("/generic", 200, "one");
    mode(&directory, "", 0o700);
    served.lacks("/generic");
    served.server.says(": permission denied: the user 65534 may not read ");
    mode(&directory, "", 0o755);
    served.answers("/generic", 200, "one");
    mode(&directory, "groups", 0o700);
    let path = directory.path("");
    let args = ["serve", "--address", "127.0.0.1:0", "--strict", "--matchbox", path.to_str().unwrap()];
    super::ended(&[&args[..], &user].concat()).fails(3, &["permission denied: the user 65534 may not read"]);
}

#[test]
fn assets_that_are_swapped_are_served_from_where_they_lie_now() {
    let directory = Directory::new();
    directory.write("releases/1/version.txt", "1");
    directory.write("releases/2/version.txt", "2");
    symlink("1", directory.path("releases/current")).unwrap();
    let assets = directory.path("releases/current");
    let served = directory.serve_with(&["--assets-path", assets.to_str().unwrap()]);
    served.answers("/assets/version.txt", 200, "1");
    symlink("2", directory.path("releases/new")).unwrap();
    fs::rename(directory.path("releases/new"), assets).unwrap();
    served.answers("/assets/version.txt", 200, "2");

    // As a tree beside the data directory has them, where the link is on the way.
    let output = tempfile::tempdir().unwrap();
    for build in ["1", "2"] {
        fs::create_dir_all(output.path().join(build).join("assets/overlay")).unwrap();
        fs::write(output.path().join(build).join("assets/overlay/worker.cpio"), build).unwrap();
    }
    let current = output.path().join("current");
    symlink("1", &current).unwrap();
    let served = directory.serve_with(&["--assets-path", current.join("assets").to_str().unwrap()]);
    served.answers("/assets/overlay/worker.cpio", 200, "1");
    symlink("2", output.path().join("new")).unwrap();
    fs::rename(output.path().join("new"), current).unwrap();
    served.answers("/assets/overlay/worker.cpio", 200, "2");
}

#[test]
fn a_flaw_is_told_with_its_reason_when_it_is_read_and_when_it_is_asked_for() {
    let directory = Directory::new();
    directory.write("groups/broken.json", "{");
    let mut served = directory.serve();
    assert!(
        served
            .server
            .log
            .iter()
            .any(|line| line.contains("groups/broken.json: unexpected end of JSON input"))
    );
    directory.write("profiles/q.json", r#"{"id": 7}"#);
    served.answers("/", 200, "matchbox\n");
    served.server.says("profiles/q.json: json: cannot unmarshal number into id of type string");
    directory.write("ignition/i", "variant: flatcar\nversion: 1.1.0\nstorage: 7\n");
    served.lacks("/ignition");
    served.server.says("ignition/i: line 3: ");
    directory.json("groups/lost.json", &json!({"profile": "gone", "selector": {"a": "1"}}));
    served.lacks("/ipxe?a=1");
    served.server.says("groups/lost.json: its profile `gone` is unavailable: there is no profiles/gone.json");
}

#[test]
fn strict_serving_does_not_begin_with_a_flaw_and_keeps_what_was_good() {
    let directory = Directory::new();
    directory.write("generic/t", "{{.v}}");
    directory.write("ignition/i", "variant: flatcar\nversion: 1.1.0\n");
    let mut served = directory.serve_with(&["--strict"]);
    directory.write("groups/default.json", "{");
    served.answers("/generic", 200, "one");
    let line = served.server.says("cannot be served strictly: groups/default.json: ");
    assert!(!line.contains(":;"), "{line}");
    directory.write("generic/t", "still {{.v}}");
    served.answers("/generic", 200, "still one");
    directory.json("groups/default.json", &json!({"profile": "p", "metadata": {"v": "two"}}));
    served.answers("/generic", 200, "still two");

    directory.write("profiles/bad.json", "[]");
    let refused = crate::world::Run::of(
        std::process::Command::new(env!("CARGO_BIN_EXE_prebake"))
            .args(["serve", "--address", "127.0.0.1:0", "--strict", "--matchbox"])
            .arg(directory.path(""))
            .output()
            .unwrap(),
    );
    refused.fails(
        3,
        &["profiles/bad.json", "cannot unmarshal array", "without --strict, such files are skipped"],
    );
}
