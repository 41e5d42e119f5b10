//! The lab itself, without prebake: a release that does not boot, or a mirror that lies, must not be taken for our fault.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::lab::machine::{self, Machine, Stall};
use crate::lab::mirror::{Fault, Mirror};
use crate::lab::release;
use crate::world::http::connect;

const BOOT: Duration = Duration::from_secs(240);

/// One request on a connection of its own: the head and the body, as far as they came.
fn ask(mirror: &Mirror, method: &str, path: &str, headers: &str) -> (String, Vec<u8>) {
    let mut stream = connect(&mirror.address().to_string());
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").unwrap();
    // The mirror waits for another request, unless there will be none.
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

#[test]
fn the_mirror_serves_files_ranges_and_heads() {
    let site = TempDir::new().unwrap();
    fs::create_dir(site.path().join("1.2.3")).unwrap();
    fs::write(site.path().join("1.2.3/file"), "0123456789").unwrap();
    std::os::unix::fs::symlink("1.2.3", site.path().join("current")).unwrap();
    let mirror = Mirror::builder().directory("/", site.path()).page("/page", "text").start().unwrap();

    assert_eq!(ask(&mirror, "GET", "/current/file?x=y", "").1, b"0123456789");
    assert_eq!(ask(&mirror, "GET", "/page", "").1, b"text");
    let (head, body) = ask(&mirror, "HEAD", "/1.2.3/file", "");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("Content-Length: 10\r\n") && body.is_empty());
    for (range, status, part) in [
        ("bytes=7-", "206", "789"),
        ("bytes=2-4", "206", "234"),
        ("bytes=-2", "206", "89"),
        ("bytes=10-", "416", ""),
    ] {
        let (head, body) = ask(&mirror, "GET", "/1.2.3/file", &format!("Range: {range}\r\n"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{range}: {head}");
        assert_eq!(body, part.as_bytes(), "{range}");
    }
    let (head, body) = ask(&mirror, "GET", "/1.2.3/file", "Range: bytes=5-\r\nIf-Range: \"other\"\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && body.len() == 10, "a changed file must come whole");
    for path in ["/missing", "/current", "/../etc/passwd", "/current/../1.2.3/file"] {
        assert!(ask(&mirror, "GET", path, "").0.starts_with("HTTP/1.1 404"), "{path}");
    }
}

#[test]
fn the_mirror_makes_the_faults_it_is_asked_for() {
    let mirror = Mirror::builder()
        .page("/page", "0123456789")
        .faults(|request| match request.earlier {
            0 => Some(Fault::Truncate(4)),
            1 => Some(Fault::Corrupt(2)),
            2 => Some(Fault::Status(503)),
            3 => Some(Fault::Stall(3)),
            _ => None,
        })
        .start()
        .unwrap();

    let (head, body) = ask(&mirror, "GET", "/page", "");
    assert!(head.contains("Content-Length: 10\r\n"));
    assert_eq!(body, b"0123");
    assert_eq!(ask(&mirror, "GET", "/page", "").1, b"01\xcd3456789");
    assert!(ask(&mirror, "GET", "/page", "").0.starts_with("HTTP/1.1 503"));
    let mut stalled = connect(&mirror.address().to_string());
    stalled.write_all(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n012") {
        let mut byte = [0];
        stalled.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    stalled.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stalled.read(&mut [0]).unwrap_err();
    assert_eq!(ask(&mirror, "GET", "/page", "").1, b"0123456789");
    assert_eq!(mirror.requests().len(), 5);
}

/// Packs an overlay by other people's tools: a config and a sysext whose unit echoes the config's nonce.
fn hand_made_overlay(work: &Path, config: &str) -> Vec<u8> {
    let script = r#"
        set -eu
        mkdir -p image/usr/lib/extension-release.d image/usr/lib/systemd/system/multi-user.target.d overlay/usr/share/oem/sysext
        printf 'ID=flatcar\nSYSEXT_LEVEL=1.0\n' > image/usr/lib/extension-release.d/extension-release.hand
        printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nStandardOutput=tty\nTTYPath=/dev/console\nExecStart=/usr/bin/sed "s/^/HAND-MADE nonce=/" /etc/nonce\n' \
            > image/usr/lib/systemd/system/hand.service
        printf '[Unit]\nUpholds=hand.service\n' > image/usr/lib/systemd/system/multi-user.target.d/10-hand.conf
        mksquashfs image overlay/usr/share/oem/sysext/hand.raw -all-root -noappend -quiet -no-progress > /dev/null
        cp config.ign overlay/usr/share/oem/config.ign
        cd overlay
        find usr | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 > ../overlay.cpio
    "#;
    fs::write(work.join("config.ign"), config).unwrap();
    let status = Command::new("bash").args(["-c", script]).current_dir(work).status().unwrap();
    assert!(status.success());
    fs::read(work.join("overlay.cpio")).unwrap()
}

/// A boot server of fixed pages: the lab's release with a hand-made overlay.
fn boot_by_hand(work: &Path, config: &str) -> (Mirror, Mirror, Machine) {
    let release = release::build(&work.join("lab")).unwrap();
    let script = "#!ipxe\n\
        kernel /stable/amd64-usr/current/flatcar_production_pxe.vmlinuz flatcar.first_boot=1 console=ttyS0,115200n8\n\
        initrd /stable/amd64-usr/current/flatcar_production_pxe_image.cpio.gz\n\
        initrd /overlay.cpio\n\
        boot\n";
    let server = Mirror::builder()
        .directory("/", &release.server)
        .page("/boot.ipxe", script)
        .page("/overlay.cpio", hand_made_overlay(work, config))
        .start()
        .unwrap();
    let harness = Mirror::builder()
        .directory("/", &release.harness)
        .page("/start.ipxe", machine::start_script(server.address()))
        .start()
        .unwrap();
    let url = format!("{}/start.ipxe", machine::seen_from_inside(harness.address()));
    let machine = Machine::builder(&url, &work.join("console")).start().unwrap();
    (server, harness, machine)
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn the_lab_release_boots_and_merges_a_hand_made_overlay() {
    let work = TempDir::new().unwrap();
    let _turn = machine::turn();
    let config = r#"{"ignition":{"version":"3.3.0"},"storage":{
        "files":[{"path":"/etc/nonce","mode":420,"contents":{"source":"data:,by-hand%0A"}}],
        "links":[{"path":"/etc/extensions/hand.raw","target":"/oem/sysext/hand.raw"}]}}"#;
    let (_server, _harness, mut machine) = boot_by_hand(work.path(), config);
    for pattern in ["iPXE (", "Linux version", "] switch_root", "HAND-MADE nonce=by-hand"] {
        let event = machine.wait_for(&[pattern], BOOT);
        let event = event.unwrap_or_else(|stall| panic!("{stall}\n{}", machine.last_lines(30).join("\n")));
        eprintln!("{:5.1} s  {}", event.after.as_secs_f64(), event.line);
    }
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn a_config_that_ignition_refuses_ends_the_boot_with_its_reason() {
    let work = TempDir::new().unwrap();
    let _turn = machine::turn();
    let (_server, _harness, mut machine) = boot_by_hand(work.path(), r#"{"ignition":{"version":"9.9.9"}}"#);
    match machine.wait_for(&["LAB-BOOTED"], BOOT) {
        Err(Stall::Fatal(line)) => assert!(line.contains("FAIL: ignition fetch"), "{line}"),
        other => panic!("{other:?}\n{}", machine.last_lines(30).join("\n")),
    }
    let said = machine.last_lines(40).join("\n");
    assert!(said.contains("unsupported config version"), "{said}");
}
