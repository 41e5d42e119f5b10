//! The rules of system extensions: each is broken by a flaw made for it, and systemd-sysext itself judges the flaws that
//! are said to keep it from merging.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::base::finding::Severity;
use prebake::flatcar::version::Version;
use prebake::sysext::base::Base;
use prebake::sysext::extension::Extension;
use prebake::sysext::inspect::inspect;
use prebake::sysext::merge::{Merge, NodeConfig};
use prebake::sysext::rules::{self, Breach, RULES};
use tempfile::TempDir;

use crate::lab::merge;
use crate::world::{World, repository};

const RELEASE: &str = "ID=_any\nARCHITECTURE=x86-64\nEXTENSION_RELOAD_MANAGER=1\n";
const UNITS: &str = "usr/lib/systemd/system";

/// A directory as /etc/extensions is, with what is flawed in it.
struct Shelf {
    dir: TempDir,
}

impl Shelf {
    fn new() -> Self {
        Shelf { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A sound extension in a folder of its name, which shows that it is merged.
    fn extension(&self, name: &str) -> Folder {
        let folder = Folder { path: self.path(name), name: name.to_owned() };
        folder.release(RELEASE).file(&format!("usr/share/flaw/{name}"), "merged\n")
    }

    /// The folder becomes `file`, made by mksquashfs.
    fn pack(&self, folder: Folder, file: &str, options: &[&str]) {
        let mut command = Command::new("mksquashfs");
        command.arg(&folder.path).arg(self.path(file)).args([
            "-noappend",
            "-quiet",
            "-no-progress",
            "-all-root",
        ]);
        assert!(command.args(options).output().unwrap().status.success(), "{command:?}");
        fs::remove_dir_all(folder.path).unwrap();
    }
}

/// An extension's folder.
struct Folder {
    path: PathBuf,
    name: String,
}

impl Folder {
    fn release(self, text: &str) -> Self {
        let path = format!("usr/lib/extension-release.d/extension-release.{}", self.name);
        self.file(&path, text)
    }

    fn file(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    fn program(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.file(path, contents).mode(path, 0o755)
    }

    fn mode(self, path: &str, mode: u32) -> Self {
        fs::set_permissions(self.path.join(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn link(self, path: &str, target: &str) -> Self {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    fn without(self, path: &str) -> Self {
        fs::remove_file(self.path.join(path)).unwrap();
        self
    }

    fn unit(self, name: &str, text: &str) -> Self {
        self.file(&format!("{UNITS}/{name}"), text)
    }

    fn xattr(self, path: &str, name: &str, value: &str) -> Self {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(self.path.join(path), name, value.as_bytes(), flags).unwrap();
        self
    }

    fn shell(self, script: &str) -> Self {
        let status = Command::new("sh").args(["-euc", script]).current_dir(&self.path).status().unwrap();
        assert!(status.success(), "{script}");
        self
    }
}

/// Headers of a program for a machine, linked dynamically or not.
fn elf(machine: u8, interpreter: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![0; 64 + 56];
    bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    (bytes[16], bytes[18], bytes[32], bytes[54], bytes[56]) = (2, machine, 64, 56, 1);
    if let Some(interpreter) = interpreter {
        (bytes[64], bytes[72], bytes[96]) = (3, 120, interpreter.len() as u8 + 1);
        bytes.extend(interpreter.bytes().chain([0]));
    }
    bytes
}
const X86_64: u8 = 62;
const ARM64: u8 = 183;

/// What systemd-sysext does with a flaw that lies beside a sound extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Systemd {
    /// It merges neither, and fails but for an os-release.
    MergesNothing,
    /// It merges the sound one alone, without a failure.
    Skips,
    /// It merges both: the harm comes later.
    Merges,
    /// Not asked: the flaw needs another kernel, or is none of systemd-sysext's business.
    Unasked,
}
use Systemd::{Merges, MergesNothing, Skips, Unasked};

struct Flaw {
    rule: &'static str,
    /// What is wrong, in words.
    what: &'static str,
    severity: Severity,
    systemd: Systemd,
    /// Puts an extension called `flaw` (and what it needs) on the shelf.
    make: fn(&Shelf),
}

const E: Severity = Severity::Error;
const W: Severity = Severity::Warning;

macro_rules! flaws {
    ($($rule:literal, $what:literal, $severity:expr, $systemd:expr, |$shelf:ident| $make:expr;)*) => {
        &[$(Flaw { rule: $rule, what: $what, severity: $severity, systemd: $systemd, make: |$shelf| { $make; } },)*]
    };
}

/// Every rule has a flaw of its own at least.
const FLAWS: &[Flaw] = flaws![
    "image", "an empty image", E, MergesNothing, |s| fs::write(s.path("flaw.raw"), "").unwrap();
    "image", "an image of zeros", E, MergesNothing, |s| fs::write(s.path("flaw.raw"), [0; 8192]).unwrap();
    "image", "an error page in place of the image", E, MergesNothing,
        |s| fs::write(s.path("flaw.raw"), "<html>404 Not Found</html>".repeat(100)).unwrap();
    "image", "a download that broke off", E, MergesNothing, |s| {
        s.pack(s.extension("flaw").file("usr/share/noise", noise(200_000)), "flaw.raw", &[]);
        fs::File::options().write(true).open(s.path("flaw.raw")).unwrap().set_len(100_000).unwrap()
    };
    "opaque-image", "an ext4 image", W, Unasked, |s| {
        let folder = s.extension("flaw");
        let script = "PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -d . ../flaw.raw 2M";
        fs::remove_dir_all(folder.shell(script).path).unwrap()
    };
    // Until 2026-11 this was lzo, which Flatcar's kernels have (SQUASHFS_LZO=y, SQUASHFS_LZ4=y in flatcar/scripts,
    // coreos-modules/files/commonconfig-6.12); no Linux has lzma.
    "compression", "lzma, which no kernel unpacks", E, MergesNothing,
        |s| s.pack(s.extension("flaw"), "flaw.raw", &["-comp", "lzma"]);
    "target", "erofs for a release without it", E, Unasked, |s| {
        let folder = s.extension("flaw").shell("mkfs.erofs -T0 --all-root ../flaw.raw . >/dev/null 2>&1");
        fs::remove_dir_all(folder.path).unwrap()
    };
    "block-size", "blocks of 2 MiB", E, MergesNothing, |s| {
        s.pack(s.extension("flaw"), "flaw.raw", &[]);
        let mut image = fs::read(s.path("flaw.raw")).unwrap();
        image[12..16].copy_from_slice(&(2u32 << 20).to_le_bytes());
        image[22] = 21;
        fs::write(s.path("flaw.raw"), image).unwrap()
    };
    "file-name", "a file of another name than its release file", E, MergesNothing,
        |s| s.pack(s.extension("other"), "flaw.raw", &[]);
    "file-name", "a folder of another name than its release file", E, Skips,
        |s| fs::rename(s.extension("other").path, s.path("flaw")).unwrap();
    "file-name", "a link of another name than its image's release file", E, MergesNothing, |s| {
        s.pack(s.extension("other"), "target.img", &[]);
        symlink("target.img", s.path("flaw.raw")).unwrap()
    };
    "release-file", "no release file at all", E, MergesNothing,
        |s| s.pack(s.extension("flaw").without("usr/lib/extension-release.d/extension-release.flaw"), "flaw.raw", &[]);
    "one-release-file", "a second release file", E, Merges,
        |s| s.extension("flaw").file("usr/lib/extension-release.d/extension-release.old", RELEASE);
    "strict-xattr", "a release file that is taken under any name", W, Merges, |s| {
        let folder = s.extension("other");
        let folder = folder.xattr("usr/lib/extension-release.d/extension-release.other", "user.extension-release.strict", "0");
        fs::rename(folder.path, s.path("flaw")).unwrap()
    };
    "release-id", "no ID", E, Skips, |s| s.extension("flaw").release("ARCHITECTURE=x86-64\n");
    "release-id", "ID=flatcar without a level", E, Skips, |s| s.extension("flaw").release("ID=flatcar\n");
    "release-id", "another level than Flatcar's", E, Skips,
        |s| s.extension("flaw").release("ID=flatcar\nSYSEXT_LEVEL=2.0\n");
    "release-id", "another OS", E, Skips, |s| s.extension("flaw").release("ID=debian\nVERSION_ID=12\n");
    "release-version", "one version only", W, Merges,
        |s| s.extension("flaw").release("ID=flatcar\nVERSION_ID=4593.2.5\n");
    "architecture", "the kernel's spelling", E, Skips,
        |s| s.extension("flaw").release("ID=_any\nARCHITECTURE=x86_64\n");
    "architecture", "Go's spelling", E, Skips, |s| s.extension("flaw").release("ID=_any\nARCHITECTURE=amd64\n");
    "no-architecture", "programs without ARCHITECTURE", W, Merges,
        |s| s.extension("flaw").release("ID=_any\n").program("usr/bin/tool", elf(X86_64, None));
    "elf-machine", "a program for arm64 in an image for x86-64", E, Merges,
        |s| s.extension("flaw").program("usr/bin/tool", elf(ARM64, None));
    "arch-mix", "images for two architectures", E, Unasked, |s| {
        s.extension("flaw");
        s.extension("another").release("ID=_any\nARCHITECTURE=arm64\n")
    };
    "scope", "for the initrd only", E, Skips,
        |s| s.extension("flaw").release("ID=_any\nSYSEXT_SCOPE=initrd\n");
    "no-opt", "a file in /opt", E, Merges, |s| s.extension("flaw").file("opt/cni/bin/bridge", "");
    "usr-only", "a file in /etc", E, Merges, |s| s.extension("flaw").file("etc/flaw.conf", "");
    "no-sbin", "a program in /usr/sbin", E, Merges, |s| s.extension("flaw").program("usr/sbin/flaw-tool", "#!/bin/sh\n");
    "no-os-release", "an os-release", E, MergesNothing, |s| s.extension("flaw").file("usr/lib/os-release", "ID=flatcar\n");
    "whiteout", "a whiteout of overlayfs", E, Merges, |s| s.extension("flaw").shell("mknod usr/share/gone c 0 0");
    "whiteout", "a whiteout of a container's layer", E, Merges, |s| s.extension("flaw").file("usr/share/.wh.gone", "");
    "no-special-files", "a pipe", E, Merges, |s| s.extension("flaw").shell("mkfifo usr/share/pipe");
    "setuid", "a program that runs as root", W, Merges,
        |s| s.extension("flaw").program("usr/bin/tool", "").mode("usr/bin/tool", 0o4755);
    "world-writable", "a file that everybody may write", W, Merges,
        |s| s.extension("flaw").file("usr/share/x", "").mode("usr/share/x", 0o666);
    "owner", "a file that is not root's", W, Merges, |s| s.extension("flaw").shell("chown 1000:1000 usr/share/flaw/flaw");
    "xattrs", "an extended attribute", W, Merges, |s| s.extension("flaw").xattr("usr/share/flaw/flaw", "user.origin", "x");
    "unit", "a section that is not closed", E, Merges, |s| s.extension("flaw").unit("flaw.service", "[Service\nExecStart=/bin/true\n");
    "no-wants", "a link in .wants", E, Merges,
        |s| s.extension("flaw").link("usr/lib/systemd/system/multi-user.target.wants/sshd.service", "../sshd.service");
    "drop-in-suffix", "a drop-in without .conf", E, Merges,
        |s| s.extension("flaw").unit("multi-user.target.d/flaw.service", "[Unit]\n");
    "reload", "units, but no reload", W, Merges,
        |s| s.extension("flaw").release("ID=_any\n").unit("flaw.service", "[Service]\nExecStart=/bin/true\n");
    "too-early", "a sysctl", W, Merges, |s| s.extension("flaw").file("usr/lib/sysctl.d/10-x.conf", "a=1\n");
    "upheld-oneshot", "a oneshot that is started for ever", E, Merges, |s| s.extension("flaw")
        .unit("flaw.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
        .unit("multi-user.target.d/10-flaw.conf", "[Unit]\nUpholds=flaw.service\n");
    "upheld-oneshot", "a link that starts a oneshot for ever", E, Merges, |s| s.extension("flaw")
        .unit("flaw.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
        .link("usr/lib/systemd/system/multi-user.target.upholds/flaw.service", "../flaw.service");
    "upheld-oneshot", "an instance of a oneshot", E, Merges, |s| s.extension("flaw")
        .unit("flaw@.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
        .link("usr/lib/systemd/system/multi-user.target.upholds/flaw@a.service", "../flaw@.service");
    "upholds", "a link to a unit that is not there", W, Merges, |s| s.extension("flaw")
        .unit("flaw.service", "[Service]\nExecStart=/bin/true\n")
        .link("usr/lib/systemd/system/multi-user.target.upholds/falw.service", "../falw.service");
    "upholds", "a misspelt unit", W, Merges, |s| s.extension("flaw")
        .unit("flaw.service", "[Service]\nExecStart=/bin/true\n")
        .unit("multi-user.target.d/10-flaw.conf", "[Unit]\nUpholds=falw.service\n");
    "exec", "a program that nothing brings", W, Merges,
        |s| s.extension("flaw").unit("flaw.service", "[Service]\nExecStart=/usr/bin/flawd --now\n");
    "exec", "a script for an interpreter that Flatcar lacks", W, Merges, |s| s.extension("flaw")
        .program("usr/bin/flawd", "#!/usr/bin/env python3\n")
        .unit("flaw.service", "[Service]\nExecStart=/usr/bin/flawd\n");
    "exec-mode", "a program that is not executable", E, Merges, |s| s.extension("flaw")
        .file("usr/bin/flawd", "#!/bin/sh\n")
        .unit("flaw.service", "[Service]\nExecStart=/usr/bin/flawd\n");
    "kubelet-order", "a kubelet before containerd", W, Merges, |s| s.extension("flaw")
        .program("usr/bin/kubelet", "")
        .unit("kubelet.service", "[Service]\nExecStart=/usr/bin/kubelet\n");
    "kubelet-order", "a kubelet before its images", W, Merges, |s| s.extension("flaw")
        .program("usr/bin/kubelet", "")
        .unit("kubelet.service", "[Unit]\nAfter=containerd.service\n[Service]\nExecStart=/usr/bin/kubelet\n")
        .unit("load.service", "[Service]\nExecStart=/usr/bin/ctr -n k8s.io images import /oem/x.tar\nExecStart=/bin/echo io.cri-containerd.pinned\n");
    "unpinned-images", "images that the kubelet may remove", W, Merges, |s| s.extension("flaw")
        .program("usr/libexec/load", "#!/bin/bash\nctr -n k8s.io images import /oem/x.tar\n")
        .unit("load.service", "[Unit]\nBefore=kubelet.service\n[Service]\nExecStart=/usr/libexec/load\n");
    "kubeadm-config", "v1beta4 for Kubernetes 1.30", E, Merges, |s| s.extension("flaw").file("usr/share/k/kubeadm.yaml",
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.30.14\n");
    "kubeadm-config", "arguments in the shape of v1beta3", E, Merges, |s| s.extension("flaw").file("usr/share/k/kubeadm.yaml",
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\nnodeRegistration: {kubeletExtraArgs: {node-ip: 10.0.0.1}}\n");
    "containerd-version", "a config of version 3 beside containerd 1.7", E, Merges, |s| s.extension("flaw")
        .program("usr/bin/containerd", "..path\tgithub.com/containerd/containerd/cmd/containerd..")
        .file("usr/share/containerd/config.toml", "version = 3\n");
    "containerd-ignored", "a config where containerd does not look", W, Merges, |s| s.extension("flaw")
        .file("usr/lib/tmpfiles.d/10-flaw.conf", "C /etc/containerd/config.toml - - - - /usr/share/flaw/config.toml\n");
    "cgroup-driver", "cgroupfs beside a kubelet that uses systemd", W, Merges, |s| s.extension("flaw")
        .program("usr/bin/kubelet", "").file("usr/share/containerd/config.toml", "version = 2\n");
    "sandbox-image", "a pause image that is not kubeadm's", W, Merges, |s| s.extension("flaw")
        .file("usr/local/share/kubernetes-version", "v1.34.4\n")
        .file("usr/share/containerd/config.toml",
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"registry.k8s.io/pause:3.8\"\n");
    "dangling-link", "a link to nothing", W, Merges, |s| s.extension("flaw").link("usr/bin/tool", "tool-1.2");
    "dynamic-any", "a program that needs the host's libraries", W, Merges,
        |s| s.extension("flaw").program("usr/bin/tool", elf(X86_64, Some("/lib64/ld-linux-x86-64.so.2")));
    "collision", "two files for one path", E, Merges, |s| {
        s.extension("another").file("usr/share/same", "one");
        s.extension("flaw").file("usr/share/same", "two")
    };
    "stock-name", "the name of Flatcar's own", E, Unasked, |s| s.extension("docker-flatcar");
    "stock-collision", "a containerd under Flatcar's own", W, Merges,
        |s| s.extension("flaw").program("usr/bin/containerd", "");
    "base-shadow", "a program that Flatcar has", W, Merges, |s| s.extension("flaw").program("usr/bin/jq", "");
    "base-kind", "a file in place of a directory", E, Unasked, |s| s.extension("flaw").file("usr/libexec", "");
    "memory", "a gigabyte", W, Unasked, |s| {
        s.pack(s.extension("flaw"), "flaw.raw", &[]);
        fs::File::options().write(true).open(s.path("flaw.raw")).unwrap().set_len((1 << 30) + 4096).unwrap()
    };
];

/// Flaws that a folder and its image show in the same way, so reading images is judged too.
const SEEN_IN_IMAGES: [&str; 6] =
    ["strict-xattr", "whiteout", "no-special-files", "setuid", "world-writable", "xattrs"];

#[test]
fn what_a_folder_shows_an_image_of_it_shows_too() {
    for flaw in FLAWS.iter().filter(|flaw| SEEN_IN_IMAGES.contains(&flaw.rule)) {
        let shelf = Shelf::new();
        (flaw.make)(&shelf);
        let folder = Folder { path: shelf.path("flaw"), name: "flaw".into() };
        shelf.pack(folder, "flaw.raw", &[]);
        let breaches = lint(shelf.dir.path());
        assert!(names(&breaches).contains(&flaw.rule), "{}: {:?}", flaw.what, names(&breaches));
    }
    let shelf = Shelf::new();
    let folder = shelf.extension("flaw").shell("chown -R 1000:1000 . && rm -f ../flaw.raw");
    let mut command = Command::new("mksquashfs");
    command.arg(&folder.path).arg(shelf.path("flaw.raw")).args(["-noappend", "-quiet", "-no-progress"]);
    assert!(command.output().unwrap().status.success());
    fs::remove_dir_all(folder.path).unwrap();
    assert_eq!(names(&lint(shelf.dir.path())), ["owner"]);
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

/// Everything on a shelf, judged as one node would merge it.
fn lint(shelf: &Path) -> Vec<Breach> {
    lint_with(shelf, &Base::well_known(), None, None)
}

fn lint_with(
    shelf: &Path,
    base: &Base,
    config: Option<&NodeConfig>,
    release: Option<Version>,
) -> Vec<Breach> {
    let mut paths: Vec<PathBuf> = fs::read_dir(shelf).unwrap().map(|item| item.unwrap().path()).collect();
    paths.retain(|path| !path.to_string_lossy().ends_with(".img"));
    let extensions: Vec<Extension> = paths.iter().map(|path| Extension::open(path).unwrap()).collect();
    let mut merge = Merge::new(&extensions, base);
    (merge.config, merge.release) = (config, release);
    rules::judge(&merge).unwrap()
}

fn names(breaches: &[Breach]) -> Vec<&'static str> {
    breaches.iter().map(|breach| breach.rule).collect()
}

#[test]
fn every_rule_is_broken_by_a_flaw_of_its_own_with_its_severity_and_a_way_out() {
    for flaw in FLAWS {
        let shelf = Shelf::new();
        (flaw.make)(&shelf);
        let release = (flaw.rule == "target").then(|| "4081.3.10".parse().unwrap());
        let breaches = lint_with(shelf.dir.path(), &Base::well_known(), None, release);
        let found = breaches.iter().find(|breach| breach.rule == flaw.rule);
        let found = found.unwrap_or_else(|| panic!("{} ({}): {:?}", flaw.rule, flaw.what, names(&breaches)));
        assert_eq!(found.severity, flaw.severity, "{}", flaw.what);
        assert!(!found.fix.is_empty() && !found.extension.is_empty());
    }
    let tried: BTreeSet<&str> = FLAWS.iter().map(|flaw| flaw.rule).collect();
    let all: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(tried, all);
    assert_eq!(RULES.len(), all.len(), "a name is there twice");
}

#[test]
fn a_sound_extension_breaks_no_rule_in_any_form() {
    let shelf = Shelf::new();
    let sound = |name| {
        let folder =
            shelf.extension(name).program("usr/bin/sound", elf(X86_64, None)).link("usr/bin/alias", "sound");
        folder.shell("chown -R 0:0 . 2>/dev/null || true")
    };
    shelf.pack(sound("sound"), "sound.raw", &["-no-xattrs"]);
    fs::rename(shelf.path("sound.raw"), shelf.path("sound-v1.2-x86-64.raw")).unwrap();
    assert_eq!(names(&lint(shelf.dir.path())), [""; 0]);
    fs::rename(shelf.path("sound-v1.2-x86-64.raw"), shelf.path("store.img")).unwrap();
    symlink("store.img", shelf.path("sound.raw")).unwrap();
    assert_eq!(names(&lint(shelf.dir.path())), [""; 0]);
    for compression in ["gzip", "xz", "zstd", "lz4"] {
        fs::remove_file(shelf.path("sound.raw")).unwrap();
        shelf.pack(sound("sound"), "sound.raw", &["-comp", compression, "-no-xattrs"]);
        assert_eq!(names(&lint(shelf.dir.path())), [""; 0], "{compression}");
    }
}

/// The sound extension beside the flaw.
fn beside(shelf: &Shelf) {
    shelf.extension("sound");
}

#[test]
fn systemd_sysext_agrees_about_every_flaw_that_is_its_to_judge() {
    if !merge::is_possible() {
        return;
    }
    let mut others = Vec::new();
    for flaw in FLAWS.iter().filter(|flaw| flaw.systemd != Unasked) {
        let shelf = Shelf::new();
        beside(&shelf);
        (flaw.make)(&shelf);
        let outcome = merge::merge(shelf.dir.path()).unwrap();
        let sound = outcome.shows("sound").is_some();
        let own = outcome.shows("flaw").is_some() || outcome.shows("other").is_some();
        let found = match (sound, own) {
            (false, _) => MergesNothing,
            (true, false) => Skips,
            (true, true) => Merges,
        };
        if found != flaw.systemd || outcome.ok != (found != MergesNothing || flaw.rule == "no-os-release") {
            others.push(format!("{} ({}): {found:?} {}", flaw.rule, flaw.what, outcome.said));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}

#[test]
fn systemd_sysext_merges_what_we_write_under_the_name_we_say() {
    if !merge::is_possible() {
        return;
    }
    let world = World::new();
    let source = world.path("sysext/hello/files/usr/share/flaw/hello");
    fs::create_dir_all(source.parent().unwrap()).unwrap();
    fs::write(source, "from our image\n").unwrap();
    world.prebake(&["sysext", "build", "hello", "--output", "out"]).ok();
    let image = world.path("out/hello-1-x86-64.raw");
    let outcome = merge::merge_images(&[("hello", &image)]).unwrap();
    assert_eq!(outcome.shows("hello").as_deref(), Some("from our image\n"), "{}", outcome.said);
    assert!(outcome.ok);
}

#[test]
fn the_extension_that_systemd_lays_on_top_is_the_one_that_we_name() {
    if !merge::is_possible() {
        return;
    }
    for (lower, upper) in
        [("ext9", "ext10"), ("containerd", "containerd-flatcar"), ("a~rc1", "a"), ("aa", "zz")]
    {
        let shelf = Shelf::new();
        shelf.extension(upper).file("usr/share/flaw/same", upper);
        shelf.extension(lower).file("usr/share/flaw/same", lower);
        let outcome = merge::merge(shelf.dir.path()).unwrap();
        assert_eq!(outcome.shows("same").as_deref(), Some(upper), "{}", outcome.said);
        let breaches = lint(shelf.dir.path());
        let collision = breaches.iter().find(|breach| breach.rule == "collision").unwrap();
        assert!(collision.detail.ends_with(&format!("`{upper}` wins")), "{}", collision.detail);
    }
}

#[test]
fn equal_files_of_two_extensions_are_no_collision() {
    let shelf = Shelf::new();
    shelf.extension("one").file("usr/share/same", "same");
    shelf.extension("two").file("usr/share/same", "same");
    assert!(!names(&lint(shelf.dir.path())).contains(&"collision"));
}

// `prebake cluster generate` warned four times of its own extensions, once that nothing orders the kubelet after itself.
#[test]
fn a_unit_that_waits_for_images_imports_none_and_a_kubelet_that_waits_needs_no_order() {
    const WAITS: &str = "[Service]\nExecStartPre=/usr/libexec/prebake-images wait\n";
    let with = |kubelet: &str| {
        let shelf = Shelf::new();
        shelf
            .extension("images")
            .program(
                "usr/libexec/prebake-images",
                "#!/bin/bash\nctr images import --label io.cri-containerd.pinned=pinned x\n",
            )
            .unit(
                "prebake-images.service",
                "[Service]\nType=oneshot\nExecStart=/usr/libexec/prebake-images\n",
            )
            .unit("kubeadm.service", "[Service]\nExecStart=/bin/true\n")
            .unit("kubeadm.service.d/20-images.conf", WAITS)
            .program("usr/bin/kubelet", "")
            .unit(
                "kubelet.service",
                "[Unit]\nAfter=containerd.service\n[Service]\nExecStart=/usr/bin/kubelet\n",
            )
            .unit("kubelet.service.d/20-images.conf", kubelet);
        let late = lint(shelf.dir.path()).into_iter().filter(|breach| breach.rule == "kubelet-order");
        late.map(|breach| breach.detail).collect::<Vec<_>>()
    };
    assert_eq!(with(WAITS), [""; 0]);
    let late = with("");
    assert!(late.len() == 1 && late[0].contains("prebake-images.service"), "{late:?}");
}

#[test]
fn a_mask_in_the_nodes_config_settles_a_collision_with_flatcars_own() {
    let shelf = Shelf::new();
    shelf.extension("containerd").program("usr/bin/containerd", "");
    let base = Base::well_known();
    let judge = |config: &str| {
        let config = NodeConfig::of_ignition(config.as_bytes());
        let breaches = lint_with(shelf.dir.path(), &base, Some(&config), None);
        breaches.into_iter().find(|breach| breach.rule == "stock-collision")
    };
    let mask = r#"{"storage":{"links":[{"path":"/etc/extensions/containerd-flatcar.raw","target":"/dev/null","overwrite":true}]}}"#;
    assert!(judge(mask).is_none());
    let unmasked = judge("{}").unwrap();
    assert_eq!(unmasked.severity, Severity::Error, "with the config known, Flatcar's wins for sure");
    assert!(unmasked.fix.contains("/etc/extensions/containerd-flatcar.raw"), "{}", unmasked.fix);
}

#[test]
fn a_folder_that_masks_flatcars_own_may_ship_its_files_and_others_may_not() {
    let world = World::new();
    let containerd = repository("sysext/containerd").display().to_string();
    // Its components are nowhere to be judged, which --strict does not take for soundness (ux 1.10).
    world
        .prebake(&["sysext", "lint", "--strict", &containerd])
        .fails(3, &["0 errors, 0 warnings, 1 not judged"]);
    let run = world.prebake(&["sysext", "lint", &containerd]).ok();
    assert!(run.stdout.contains("no findings in the parts that were judged"), "{}", run.stdout);
    let copy = world.path("sysext/containerd");
    let status = Command::new("cp").args(["-r", &containerd]).arg(&copy).status().unwrap();
    assert!(status.success());
    fs::remove_file(copy.join("node.bu")).unwrap();
    let run = world.prebake(&["sysext", "lint", "sysext/containerd"]).ok();
    assert!(run.stdout.contains("stock-collision: containerd-flatcar ships /usr/bin/runc"), "{}", run.stdout);
}

#[test]
fn a_release_decides_what_its_containerd_reads_and_what_is_too_early() {
    let shelf = Shelf::new();
    shelf
        .extension("x")
        .file("usr/share/containerd/config.toml", "version = 3\n")
        .file("usr/lib/sysctl.d/x.conf", "a=1\n");
    let on = |release: &str| {
        names(&lint_with(shelf.dir.path(), &Base::well_known(), None, Some(release.parse().unwrap())))
    };
    assert!(on("4081.3.10").contains(&"containerd-version"));
    assert!(!on("4593.2.5").contains(&"containerd-version"));
    assert!(on("4593.2.5").contains(&"too-early"));
    assert!(!on("4757.1.0").contains(&"too-early"));
}

#[test]
fn the_base_makes_doubts_certain_and_names_its_own_extensions() {
    let shelf = Shelf::new();
    shelf.extension("x").unit(
        "x.service",
        "[Service]\nExecStartPre=/usr/bin/there\nExecStart=/usr/bin/missing\nExecStopPost=/usr/bin/also-missing\n",
    );
    let usr = Shelf::new();
    let release = Folder { path: usr.path("base"), name: "base".into() };
    let stock = usr.extension("podman-flatcar").file("usr/bin/podman", "");
    let release = release.program("bin/there", "").file("share/flatcar/sysext/.keep", "");
    usr.pack(stock, "base/share/flatcar/sysext/podman-flatcar.raw", &[]);
    let script = "mksquashfs . ../usr.squashfs -noappend -quiet -no-progress >/dev/null && cd .. && mkdir etc && \
        printf '%s\\n' . ./etc ./usr.squashfs | cpio --quiet -o -H newc | gzip -1 > pxe.cpio.gz";
    release.shell(script);
    let spool = tempfile::tempdir().unwrap();
    for image in ["pxe.cpio.gz", "usr.squashfs"] {
        let base = Base::open(&usr.path(image), spool.path()).unwrap();
        let breaches = lint_with(shelf.dir.path(), &base, None, None);
        let exec: Vec<_> = breaches.iter().filter(|breach| breach.rule == "exec").collect();
        assert_eq!(exec.len(), 1, "{image}: {:?}", names(&breaches));
        assert_eq!(exec[0].severity, Severity::Error);
        assert!(exec[0].detail.starts_with("/usr/bin/missing"), "{}", exec[0].detail);
        assert!(base.stock["podman-flatcar"].contains("usr/bin/podman"), "{image}");
    }
}

#[test]
fn lint_says_what_is_wrong_and_exits_by_it() {
    let shelf = Shelf::new();
    shelf.extension("good").shell("chown -R 0:0 .");
    shelf.extension("warned").file("usr/lib/sysctl.d/x.conf", "a=1\n").shell("chown -R 0:0 .");
    shelf.extension("bad").file("opt/x", "").shell("chown -R 0:0 .");
    let world = World::new();
    let path = |name: &str| shelf.path(name).display().to_string();
    world.prebake(&["sysext", "lint", &path("good"), "--strict"]).ok();
    let warned = world.prebake(&["sysext", "lint", &path("warned")]).ok();
    assert!(warned.stdout.contains("warning[warned:/usr/lib/sysctl.d]: too-early"), "{}", warned.stdout);
    world.prebake(&["sysext", "lint", &path("warned"), "--strict"]).fails(3, &["0 errors, 1 warning\n"]);
    world.prebake(&["sysext", "lint", &path("bad"), &path("good")]).fails(3, &["1 error, "]);
    let run = world.prebake(&["sysext", "lint", &path("bad"), "--json"]);
    let verdict: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(verdict[0]["findings"][0]["rule"], "no-opt");
    assert_eq!(verdict[0]["findings"][0]["path"], "/opt");
    world.prebake(&["sysext", "lint", &path("")]).fails(3, &["1 error, "]);
    world.prebake(&["sysext", "lint", &path("missing")]).fails(1, &["cannot read", "name an image"]);
    world.prebake(&["sysext", "lint", "."]).fails(3, &["is not an extension"]);
    world
        .prebake(&["sysext", "lint", "sysext"])
        .fails(3, &["is not an extension", "did you mean sysext/hello?"]);
}

#[test]
fn a_recipe_is_judged_by_its_folders_before_it_is_built_and_by_its_images_after() {
    let world = World::new();
    let lint = || world.prebake(&["sysext", "lint", "recipes/small.yaml"]);
    let before = lint().ok();
    assert!(before.stdout.contains("recipes/small.yaml: worker: no findings"), "{}", before.stdout);
    world.build();
    lint().ok();
    world.edit("sysext/hello/sysext.yaml", "reload: true", "reload: false");
    let unit = world.path("sysext/hello/files/usr/lib/systemd/system/hello.service");
    fs::create_dir_all(unit.parent().unwrap()).unwrap();
    fs::write(unit, "[Service]\nExecStart=/usr/bin/hello\n").unwrap();
    let run = lint().ok();
    for rule in ["reload: ", "exec: "] {
        assert!(run.stdout.contains(rule), "no {rule} in {}", run.stdout);
    }
}

// ux 1.10: with an empty store every profile was "no findings".
#[test]
fn a_recipe_whose_components_are_not_there_is_not_called_sound() {
    let world = World::new();
    let program = elf(X86_64, Some("/lib64/ld-linux-x86-64.so.2"));
    let sum = prebake::base::digest::Sha256::of(&program);
    let component = format!(
        "schema: 1\nname: hello\nversion: '1'\nos: any\ncomponents:\n  tool:\n    url: 'https://github.com/a/b/releases/download/1/tool'\n    \
         sha256: {{amd64: {sum}}}\n    install: /usr/bin/tool\n"
    );
    world.write("sysext/hello/sysext.yaml", component);
    world.write("release/a/b/releases/download/1/tool", &program);
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        crate::world::Run::of(command.env("PREBAKE_MIRROR_GITHUB", world.mirror.url()).output().unwrap())
    };
    let lint = |args: &[&str]| run(&[&["sysext", "lint", "recipes/small.yaml"], args].concat());
    let said = lint(&[]).ok().stdout;
    for words in
        ["worker: no findings in the parts that were judged", "not judged: hello: the recipe has no lock"]
    {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    lint(&["--strict"]).fails(3, &["not judged"]);
    run(&["lock", "recipes/small.yaml"]).ok();
    // As in a CI whose cache is cold.
    fs::rename(world.path("store"), world.path("warm")).unwrap();
    let said = lint(&[]).ok().stdout;
    for words in [
        "not judged: hello: it is not in the store (`prebake fetch`)",
        "the content of /usr in Flatcar 4593.2.5: its initrd is not",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    assert!(!said.contains("no findings\n"), "{said}");
    let json: serde_json::Value = serde_json::from_str(&lint(&["--json"]).ok().stdout).unwrap();
    assert_eq!(json[0]["not_judged"][0]["what"], "hello");
    lint(&["--strict"]).fails(3, &["not judged"]);
    // What was fetched is judged, built or not.
    run(&["fetch", "recipes/small.yaml"]).ok();
    let said = lint(&[]).ok().stdout;
    assert!(said.contains("dynamic-any") && !said.contains("not judged: hello"), "{said}");
}

// A program in /usr/sbin is there, whatever else is wrong with that (flatcar/sysext-bakery#131).
#[test]
fn a_program_in_usr_sbin_is_told_of_once() {
    let shelf = Shelf::new();
    shelf
        .extension("flaw")
        .program("usr/sbin/flawd", "#!/bin/sh\n")
        .unit("flaw.service", "[Service]\nExecStart=/usr/sbin/flawd\n")
        .unit("late.service", "[Service]\nExecStart=/sbin/flawd\n")
        .shell("chown -R 0:0 .");
    assert_eq!(names(&lint(shelf.dir.path())), ["no-sbin"]);
}

// flatcar/Flatcar#1338: a file in /etc/extensions is found under its whole name.
#[test]
fn a_versioned_image_in_a_folder_like_etc_extensions_is_found_under_another_name() {
    let shelf = Shelf::new();
    for (folder, severity) in [("etc/extensions", "error"), ("output", "warning")] {
        fs::create_dir_all(shelf.path(folder)).unwrap();
        shelf.pack(shelf.extension("docker"), &format!("{folder}/docker-24.0.9-x86-64.raw"), &["-no-xattrs"]);
        let world = World::new();
        let run = world.prebake(&["sysext", "lint", &shelf.path(folder).display().to_string()]);
        let words = format!("{severity}[docker");
        assert!(run.stdout.contains("file-name: ") && run.stdout.contains(&words), "{}", run.stdout);
        assert!(run.stdout.contains("docker-24.0.9-x86-64"), "{}", run.stdout);
        // A link of the right name beside it does not help: systemd-sysext finds both.
        symlink("docker-24.0.9-x86-64.raw", shelf.path(&format!("{folder}/docker.raw"))).unwrap();
        let run = world.prebake(&["sysext", "lint", &shelf.path(folder).display().to_string()]);
        assert!(run.stdout.contains("file-name: "), "{}", run.stdout);
        // Alone it may be what a link elsewhere points at.
        let file = shelf.path(&format!("{folder}/docker-24.0.9-x86-64.raw")).display().to_string();
        let run = world.prebake(&["sysext", "lint", &file]).ok();
        assert!(run.stdout.contains("no findings\n"), "{}", run.stdout);
    }
}

// flatcar/Flatcar#1659, flatcar/sysext-bakery#122, #176: erofs that the target's kernel does not mount passed.
#[test]
fn what_the_kernel_of_a_target_cannot_mount_is_an_error_for_that_target() {
    let shelf = Shelf::new();
    let world = World::new();
    let image = shelf.path("hello.raw").display().to_string();
    let make = |tool: &str| {
        let folder = shelf.extension("hello").shell("chown -R 0:0 .");
        let _ = fs::remove_file(&image);
        let folder = folder.shell(&format!("{tool} >/dev/null 2>&1"));
        fs::remove_dir_all(folder.path).unwrap();
    };
    let lint = |target: &str| world.prebake(&["sysext", "lint", "--target", target, &image]);
    for (tool, foreign, mounted) in [
        (
            "mkfs.erofs -T0 --all-root ../hello.raw .",
            &["4081.3.10", "4230.2.4", "4230.1.1"][..],
            &["4459.2.0", "4593.2.5", "4344.1.0", "4284.0.0"][..],
        ),
        ("mkfs.erofs -zlz4hc -T0 --all-root ../hello.raw .", &["4081.3.10"], &["4593.2.5"]),
        (
            "mksquashfs . ../hello.raw -comp zstd -no-xattrs -all-root",
            &["3510.3.8", "3602.2.1", "3760.1.0"],
            &["3602.2.2", "3760.1.1", "3815.2.0", "4081.3.10"],
        ),
        (
            "mksquashfs . ../hello.raw -comp lzo -no-xattrs -all-root",
            &["3139.2.0"],
            &["3510.3.8", "4593.2.5"],
        ),
    ] {
        make(tool);
        for target in mounted.iter() {
            let run = lint(target).ok();
            assert!(!run.stdout.contains("target: "), "{tool} {target}: {}", run.stdout);
        }
        for target in foreign.iter() {
            let run = lint(target);
            assert!(run.stdout.contains("error[hello]: target: "), "{tool} {target}: {}", run.stdout);
            run.fails(3, &["1 error"]);
        }
    }
}

#[test]
fn what_of_an_erofs_image_is_not_read_is_called_by_its_name() {
    let shelf = Shelf::new();
    for (options, expected) in [
        ("", None),
        // Linux lays out large files of container images so (flatcar/Flatcar#1659's kind); they are read.
        ("--chunksize=4096", None),
        ("-zlz4hc", Some("it is erofs with compression (lz4)")),
    ] {
        let folder = shelf.extension("hello").file("usr/share/big", "0123456789abcdef".repeat(5000));
        let script =
            format!("chown -R 0:0 . && mkfs.erofs {options} -T0 --all-root ../hello.raw . >/dev/null 2>&1");
        fs::remove_dir_all(folder.shell(&script).path).unwrap();
        let breaches = lint(shelf.dir.path());
        let opaque = breaches.iter().find(|breach| breach.rule == "opaque-image");
        assert_eq!(opaque.map(|breach| breach.detail.as_str()), expected, "{options}");
        if expected.is_none() {
            let extension = Extension::open(&shelf.path("hello.raw")).unwrap();
            assert_eq!(extension.read("usr/share/big").unwrap(), "0123456789abcdef".repeat(5000).as_bytes());
            assert_eq!(extension.head("usr/share/big", 5000).unwrap().len(), 5000);
        }
        fs::remove_file(shelf.path("hello.raw")).unwrap();
    }
}

#[test]
fn a_build_refuses_a_collision_and_publishes_nothing() {
    let world = World::new();
    let write = |path: &str, text: &str| {
        let path = world.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("sysext/other/sysext.yaml", "schema: 1\nname: other\nversion: '1'\nos: any\n");
    write("sysext/other/files/usr/share/hello/greeting", "another\n");
    world.edit("recipes/small.yaml", "[hello]", "[hello, other]");
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    run.fails(3, &["collision: hello ships /usr/share/hello/greeting as well, and `other` wins"]);
    assert_eq!(world.current(), None);
    write("sysext/other/files/usr/share/hello/greeting", "hello\n");
    world.build();
}

#[test]
fn a_build_repeats_its_warnings_without_opening_an_image_again() {
    let world = World::new();
    let path = world.path("sysext/hello/files/usr/lib/sysctl.d/x.conf");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "a=1\n").unwrap();
    let build = || world.prebake(&["build", "recipes/small.yaml"]).ok();
    assert!(build().stderr.contains("too-early"));
    // The verdict is remembered: an image that could not be read any more is not looked at.
    let image = fs::read_dir(world.path("output/small/current/assets/sysext/hello")).unwrap();
    let image =
        image.map(|item| item.unwrap().path()).find(|path| path.extension().is_some_and(|end| end == "raw"));
    let digest = prebake::base::digest::Sha256::of(&fs::read(image.unwrap()).unwrap()).to_string();
    let object = world.path(&format!("store/objects/{}/{}", &digest[..2], &digest[2..]));
    let length = fs::metadata(&object).unwrap().len();
    fs::remove_file(&object).unwrap();
    fs::write(&object, vec![0; length as usize]).unwrap();
    assert!(build().stderr.contains("too-early"));
}

#[test]
fn a_sysext_without_components_is_built_without_a_network_and_the_same_twice() {
    let world = World::new();
    let build = |args: &[&str]| {
        let mut all = vec!["sysext", "build", "hello", "--output", "out", "--json"];
        all.extend(args);
        let run = world.prebake(&all).ok();
        serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap()
    };
    let first = build(&["--arch", "amd64", "--arch", "arm64"]);
    let again = build(&["--arch", "amd64", "--arch", "arm64"]);
    assert!(world.mirror.requests().is_empty());
    assert_eq!(first["images"][1]["sha256"], again["images"][1]["sha256"]);
    assert_eq!((&first["images"][0]["cached"], &again["images"][0]["cached"]), (&false.into(), &true.into()));
    assert_eq!(world.names("out"), ["SHA256SUMS", "hello-1-arm64.raw", "hello-1-x86-64.raw"]);
    let sums =
        Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(world.path("out")).output();
    assert!(sums.unwrap().status.success());
    let (inspected, findings) = inspect(&world.path("out/hello-1-arm64.raw")).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(inspected.release["ARCHITECTURE"], "arm64");
}

#[test]
fn an_image_is_inspected_and_extracted_and_nothing_is_written_over() {
    let shelf = Shelf::new();
    shelf.pack(
        shelf.extension("x").program("usr/bin/tool", "tool").shell("ln usr/bin/tool usr/bin/alias"),
        "x-v1-x86-64.raw",
        &["-comp", "xz", "-b", "262144"],
    );
    let world = World::new();
    let image = shelf.path("x-v1-x86-64.raw").display().to_string();
    let run = world.prebake(&["sysext", "inspect", &image]).ok();
    for words in ["name    x\n", "ID=_any", "format  squashfs xz, blocks of 256 KiB", "/usr/bin/tool"] {
        assert!(run.stdout.contains(words), "no {words:?} in {}", run.stdout);
    }
    let json = world.prebake(&["sysext", "inspect", &image, "--json"]).ok().stdout;
    let seen: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = seen["entries"].as_array().unwrap();
    let inode = |path: &str| rows.iter().find(|row| row["path"] == path).unwrap()["inode"].clone();
    assert!(inode("/usr/bin/tool").is_u64() && inode("/usr/bin/tool") == inode("/usr/bin/alias"));
    world.prebake(&["sysext", "extract", &image, "out"]).ok();
    assert_eq!(fs::read_to_string(world.path("out/usr/bin/alias")).unwrap(), "tool");
    world.prebake(&["sysext", "extract", &image, "out"]).fails(1, &["out already exists"]);
    fs::write(world.path("empty.raw"), "").unwrap();
    world
        .prebake(&["sysext", "extract", "empty.raw", "new"])
        .fails(4, &["empty.raw is not an image", "it is empty"]);
    assert!(!world.path("new").exists());
}

#[test]
fn slips_of_a_tired_person_are_answered_with_the_way_out() {
    let world = World::new();
    let build = |args: &[&str]| world.prebake(&[&["sysext", "build"], args].concat());
    build(&["helo"]).fails(3, &["there is no sysext `helo`", "did you mean `hello`?"]);
    build(&["recipes"]).fails(3, &["recipes has no sysext.yaml"]);
    fs::write(world.path("x.raw"), "").unwrap();
    build(&["x.raw"]).fails(3, &["x.raw is a built image", "prebake sysext inspect x.raw"]);
    build(&["hello", "--set", "verison=2"]).fails(3, &["no variable `verison`", "did you mean `version`?"]);
    build(&["hello", "--set", "x"]).fails(2, &["a variable and its value are required"]);
    build(&["sysext/hello/sysext.yaml", "--version", "2", "--output", "out"]).ok();
    assert_eq!(world.names("out"), ["SHA256SUMS", "hello-2-x86-64.raw"]);
    world.prebake(&["sysext", "inspect", "nowhere.raw"]).fails(1, &["cannot read nowhere.raw"]);
}

#[test]
fn the_guide_lists_every_rule_as_the_table_has_it() {
    let guide = fs::read_to_string(repository("docs/guides/sysexts.md")).unwrap();
    let row = |rule: &rules::Rule| {
        format!("| `{}` | {} | {} | {} |\n", rule.name, rule.severity, rule.why, rule.fix)
    };
    let table: String = RULES.iter().map(row).collect();
    if std::env::var_os("PREBAKE_BLESS").is_some() {
        let (before, rest) = guide.split_once("|---|---|---|---|\n").unwrap();
        let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
        let text = format!("{before}|---|---|---|---|\n{table}\n{after}");
        fs::write(repository("docs/guides/sysexts.md"), text).unwrap();
        return;
    }
    assert!(
        guide.contains(&table),
        "docs/guides/sysexts.md is out of step: PREBAKE_BLESS=1 cargo test --test it guide"
    );
}
