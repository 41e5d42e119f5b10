//! The real systemd-sysext as a judge: merges extensions in a mount namespace of its own, on a host that says it is Flatcar.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// What the host says of itself.
const OS_RELEASE: &str = "ID=flatcar\nVERSION_ID=4593.2.5\nSYSEXT_LEVEL=1.0\n";

/// `$1`: the extensions, as /run/extensions shall hold them. `$2`: where the judge's answers go. The merge must reach the
/// namespace's own /usr, so mounts are shared within it and with nobody else.
const SCRIPT: &str = r#"
    mount --make-rprivate /
    mount --make-rshared /
    mount -t tmpfs tmpfs /run
    mount --bind "$2/os-release" /usr/lib/os-release
    mkdir /run/extensions
    cp -a "$1"/. /run/extensions/
    for other in /etc/extensions /var/lib/extensions; do
        [ ! -d $other ] || mount -t tmpfs tmpfs $other
    done
    status=0
    systemd-sysext merge 2> "$2/said" || status=$?
    echo $status > "$2/status"
    [ ! -d /usr/share/flaw ] || cp -r /usr/share/flaw "$2/shown"
    systemd-sysext unmerge 2> /dev/null || true
"#;

/// What came of a merge.
#[derive(Debug)]
pub struct Outcome {
    /// Whether systemd-sysext says that it went well.
    pub ok: bool,
    /// What it says.
    pub said: String,
    shown: TempDir,
}

impl Outcome {
    /// The text of a file below `/usr/share/flaw` as the host sees it after the merge.
    pub fn shows(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.shown.path().join("shown").join(name)).ok()
    }
}

/// Whether this machine can be asked. One that cannot skips the judge when PREBAKE_SKIP_JUDGES=1 allows it, and never in CI.
pub fn is_possible() -> bool {
    let mounts =
        "unshare -m sh -c 'mount --make-rprivate / && mount -t tmpfs tmpfs /run' && systemd-sysext --version";
    let there = Command::new("sh").args(["-c", mounts]).output().is_ok_and(|output| output.status.success());
    let set = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let may_skip = set("PREBAKE_SKIP_JUDGES", "1") && !set("CI", "true");
    let advice = "run as root, apt-get install systemd, or set PREBAKE_SKIP_JUDGES=1";
    assert!(there || may_skip, "systemd-sysext cannot merge here: {advice}");
    there
}

/// Merges what lies in a directory: images, folders, links.
pub fn merge(extensions: &Path) -> io::Result<Outcome> {
    let shown = tempfile::tempdir()?;
    fs::write(shown.path().join("os-release"), OS_RELEASE)?;
    let mut command = Command::new("unshare");
    command.args(["-m", "bash", "-euc", SCRIPT, "merge"]).args([extensions, shown.path()]);
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr)));
    }
    let read = |name: &str| fs::read_to_string(shown.path().join(name));
    Ok(Outcome { ok: read("status")?.trim() == "0", said: read("said")?, shown })
}

/// Merges images, each under a name.
pub fn merge_images(images: &[(&str, &Path)]) -> io::Result<Outcome> {
    let shelf = tempfile::tempdir()?;
    for (name, image) in images {
        fs::copy(image, shelf.path().join(format!("{name}.raw")))?;
    }
    merge(shelf.path())
}
