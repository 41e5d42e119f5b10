//! The packages of `make dist`, judged by Debian's and RPM's own tools.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::world::repository;

/// A directory as `packaging/dist.sh` leaves it. Its programs call the one that is tested, for real ones take minutes to pack.
fn dist() -> TempDir {
    let dist = tempfile::tempdir().unwrap();
    for arch in ["amd64", "arm64"] {
        let path = dist.path().join(format!("prebake-{arch}"));
        fs::write(&path, format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_prebake"))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    dist
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// Makes the packages; returns their digests.
fn pack(dist: &Path, umask: &str, zone: &str) -> String {
    let script = format!("umask {umask}; exec \"$0\" \"$1\"");
    let packages = repository("packaging/packages.sh");
    let mut command = Command::new("bash");
    command.args(["-c", &script]).arg(packages).arg(dist);
    run(command.env("TZ", zone).env("SOURCE_DATE_EPOCH", "1750000000"));
    fs::read_to_string(dist.join("SHA256SUMS")).unwrap()
}

const DEB: &str = "prebake_0.1.0_amd64.deb";
const RPM: &str = "prebake-0.1.0-1.x86_64.rpm";

/// Files that a package must have.
const FILES: [&str; 9] = [
    "/usr/bin/prebake",
    "/usr/lib/systemd/system/prebake-serve.service",
    "/usr/lib/systemd/system/prebake-serve.socket",
    "/usr/lib/systemd/system/prebake-cluster.service",
    "/usr/lib/sysusers.d/prebake.conf",
    "/usr/share/man/man1/prebake-serve.1.gz",
    "/usr/share/man/man5/prebake-recipe.5.gz",
    "/usr/share/bash-completion/completions/prebake",
    "/usr/share/fish/vendor_completions.d/prebake.fish",
];

#[test]
fn packages_have_the_same_bytes_twice_and_no_fault_that_their_own_judges_find() {
    let (one, other) = (dist(), dist());
    let sums = pack(one.path(), "022", "UTC");
    assert_eq!(sums.lines().count(), 6, "two programs, and two packages of each: {sums}");
    assert_eq!(sums, pack(other.path(), "077", "Asia/Tokyo"), "any directory, zone and umask will do");

    let at = |name: &str| one.path().join(name);
    run(Command::new("lintian").args(["--allow-root", "--fail-on", "error,warning"]).arg(at(DEB)));
    let control = run(Command::new("dpkg-deb").arg("--info").arg(at(DEB)));
    assert!(control.contains("Architecture: amd64") && control.contains("Version: 0.1.0"), "{control}");
    let list = run(Command::new("dpkg-deb").arg("--contents").arg(at(DEB)));
    assert!(list.lines().all(|line| line.contains(" root/root ")), "{list}");
    for file in FILES {
        assert!(list.contains(&format!(" .{file}\n")), "{file}: {list}");
    }
    let list = run(Command::new("rpm").args(["-qpl"]).arg(at(RPM)));
    for file in FILES.iter().chain(&["/usr/share/zsh/site-functions/_prebake"]) {
        assert!(list.lines().any(|line| line == *file), "{file}: {list}");
    }
    let query = "%{ARCH} %{BUILDTIME} [%{FILEUSERNAME} ]%{REQUIRENAME}";
    let said = run(Command::new("rpm").args(["-qp", "--queryformat", query]).arg(at(RPM)));
    assert!(said.starts_with("x86_64 1750000000 root root ") && !said.contains("libc.so"), "{said}");
    let arm = run(Command::new("rpm")
        .args(["-qp", "--queryformat", "%{ARCH}"])
        .arg(at("prebake-0.1.0-1.aarch64.rpm")));
    assert_eq!(arm, "aarch64");
}

#[test]
fn a_package_s_units_start_the_program_that_it_installs_as_the_user_that_it_makes() {
    let dist = dist();
    pack(dist.path(), "022", "UTC");
    let root = dist.path().join("root");
    run(Command::new("dpkg-deb").arg("--extract").arg(dist.path().join(DEB)).arg(&root));
    let units = root.join("usr/lib/systemd/system");
    for unit in ["prebake-serve.service", "prebake-cluster.service"] {
        let text = fs::read_to_string(units.join(unit)).unwrap();
        assert!(text.contains("\nExecStart=/usr/bin/prebake ") && !text.contains("/usr/local"), "{text}");
        assert!(!text.contains("Copy it to"), "it is where it belongs: {text}");
    }
    let arguments = ["--root".as_ref(), root.as_os_str(), "prebake.conf".as_ref()];
    run(Command::new("systemd-sysusers").args(arguments));
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(users.contains("prebake:x:") && users.contains(":/var/lib/prebake:"), "{users}");
}
