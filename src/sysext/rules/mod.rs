//! The rules that a system extension must keep for a node to work with it, as one table: each rule with its reason and the way out.
//!
//! A rule judges entries, extensions, or all that is merged on one node. The reasons were found by trying, with systemd
//! 252 and on Flatcar (`tests/it/sysext/lint.rs` has systemd judge the same flaws). Forms and bytes are [`super::extension`]'s.

mod binaries;
mod clusters;
mod collisions;
mod containerd;
mod forms;
mod links;
mod releases;
mod units;

pub(crate) use containerd::sandbox_image;

use super::extension::{Error, Extension, Seen};
use super::merge::Merge;
use super::unit::unit_path;
use crate::base::finding::{Finding, Place, Severity};
use crate::format::image::Kind;

/// Part of the keys of remembered verdicts; raised when a rule finds more or less than before.
pub(crate) const REVISION: u32 = 2;

/// One kind of failure on nodes.
pub struct Rule {
    /// Short name, for people to search.
    pub name: &'static str,
    /// Severity of a certain breach. A breach that is only likely is always a warning.
    pub severity: Severity,
    /// The failure on the node.
    pub why: &'static str,
    /// The way out.
    pub fix: &'static str,
    check: Check,
}

/// The subject of a rule.
enum Check {
    /// Single entries; a directory stands for everything in it.
    Entry(fn(&str, &Seen) -> bool),
    /// One extension, with access to the others that it is merged with.
    Each(fn(&Merge, &Extension) -> Result<Vec<Breach>, Error>),
    /// All extensions together.
    Whole(fn(&Merge) -> Result<Vec<Breach>, Error>),
}

/// A place where a rule is broken.
#[derive(Clone, Debug)]
pub struct Breach {
    /// Name of the rule.
    pub rule: &'static str,
    /// Severity of this breach.
    pub severity: Severity,
    /// The extension's name.
    pub extension: String,
    /// Path inside the extension, without a leading slash.
    pub path: Option<String>,
    /// Details of this breach, beyond the rule's reason; may be empty.
    pub detail: String,
    /// The failure that the rule describes.
    pub why: &'static str,
    /// The way out.
    pub fix: String,
    /// Place in a text file.
    pub place: Option<Place>,
}

/// All rules, those about the image itself first.
pub const RULES: &[Rule] = &[
    Rule {
        name: "image",
        severity: Severity::Error,
        why: "systemd-sysext cannot mount it and then merges nothing at all, not even the good images, Flatcar's own containerd among them",
        fix: "download or build it again, check its digest, and link it into /etc/extensions only then",
        check: Check::Each(forms::image),
    },
    Rule {
        name: "opaque-image",
        severity: Severity::Warning,
        why: "prebake cannot read that, so the other rules were not checked",
        fix: "pack it as squashfs, or lint the folder it is made from",
        check: Check::Each(forms::opaque),
    },
    Rule {
        name: "compression",
        severity: Severity::Error,
        why: "no Flatcar kernel supports that; the image is not mounted and nothing is merged",
        fix: "build it as squashfs with zstd: `mksquashfs … -comp zstd`",
        check: Check::Each(forms::compression),
    },
    Rule {
        name: "target",
        severity: Severity::Error,
        why: "on the target release, nothing is merged at all, not even the good images",
        fix: "build it for that release: squashfs with gzip or xz is mounted by all, zstd by all supported ones; or choose a newer release",
        check: Check::Each(forms::target),
    },
    Rule {
        name: "block-size",
        severity: Severity::Error,
        why: "the kernel refuses squashfs blocks above 1 MiB, and nothing is merged",
        fix: "build it with blocks of 128 KiB to 1 MiB",
        check: Check::Each(forms::block_size),
    },
    Rule {
        name: "file-name",
        severity: Severity::Error,
        why: "systemd-sysext compares the name under which it finds an extension with the extension-release file; a folder of another name is skipped, and an image of another name keeps everything from being merged",
        fix: "name both alike, or call the image NAME-VERSION-ARCH.raw and link /etc/extensions/NAME.raw to it",
        check: Check::Each(forms::file_name),
    },
    Rule {
        name: "release-file",
        severity: Severity::Error,
        why: "a folder without an extension-release file is skipped, and an image without one keeps everything from being merged",
        fix: "ship exactly one usr/lib/extension-release.d/extension-release.NAME",
        check: Check::Each(releases::file),
    },
    Rule {
        name: "one-release-file",
        severity: Severity::Error,
        why: "which of several extension-release files counts depends on the name of the file or link, and renaming it changes what systemd believes",
        fix: "keep the one of the image's own name",
        check: Check::Each(releases::one_file),
    },
    Rule {
        name: "strict-xattr",
        severity: Severity::Warning,
        why: "it makes systemd-sysext take the image under any name, until a tool drops the xattr and nothing is merged any more",
        fix: "name the extension-release file after the image and leave the xattr out",
        check: Check::Each(releases::strict),
    },
    Rule {
        name: "release-id",
        severity: Severity::Error,
        why: "systemd-sysext skips the image silently",
        fix: "`ID=_any` for static binaries, else `ID=flatcar` and `SYSEXT_LEVEL=1.0`",
        check: Check::Each(releases::id),
    },
    Rule {
        name: "release-version",
        severity: Severity::Warning,
        why: "an image that is tied to one version is skipped silently after the first update",
        fix: "write `SYSEXT_LEVEL=1.0` in place of VERSION_ID",
        check: Check::Each(releases::version),
    },
    Rule {
        name: "architecture",
        severity: Severity::Error,
        why: "systemd-sysext skips the image silently",
        fix: "systemd spells them `ARCHITECTURE=x86-64` and `ARCHITECTURE=arm64`",
        check: Check::Each(releases::architecture),
    },
    Rule {
        name: "no-architecture",
        severity: Severity::Warning,
        why: "without ARCHITECTURE the image is merged on machines that cannot run what is in it",
        fix: "add `ARCHITECTURE=x86-64` or `ARCHITECTURE=arm64` to its extension-release file",
        check: Check::Each(binaries::no_architecture),
    },
    Rule {
        name: "elf-machine",
        severity: Severity::Error,
        why: "the program does not start on the machines that the image is merged on",
        fix: "take the download for the other architecture, or correct ARCHITECTURE",
        check: Check::Each(binaries::machine),
    },
    Rule {
        name: "arch-mix",
        severity: Severity::Error,
        why: "no machine merges both",
        fix: "take all images for one architecture",
        check: Check::Whole(collisions::arch_mix),
    },
    Rule {
        name: "scope",
        severity: Severity::Error,
        why: "systemd-sysext skips it on the booted system",
        fix: "leave SYSEXT_SCOPE out, or write `SYSEXT_SCOPE=\"initrd system portable\"`",
        check: Check::Each(releases::scope),
    },
    Rule {
        name: "no-opt",
        severity: Severity::Error,
        why: "an extension that ships /opt makes all of /opt read-only on the node, so CNI plugins cannot be installed",
        fix: "install below /usr/local",
        check: Check::Entry(|path, _| below(path, "opt")),
    },
    Rule {
        name: "usr-only",
        severity: Severity::Error,
        why: "systemd-sysext merges /usr and /opt and ignores the rest",
        fix: "ship defaults below /usr/share and copy them with a tmpfiles.d line, or write them in node.bu",
        check: Check::Entry(|path, _| !below(path, "usr") && !below(path, "opt")),
    },
    Rule {
        name: "no-sbin",
        severity: Severity::Error,
        why: "/usr/sbin is a link to bin on Flatcar, and a directory in its place hides it",
        fix: "install into /usr/bin",
        check: Check::Entry(|path, _| below(path, "usr/sbin")),
    },
    Rule {
        name: "no-os-release",
        severity: Severity::Error,
        why: "systemd-sysext takes it for the image of an operating system and merges nothing at all",
        fix: "leave it out; extension-release is generated",
        check: Check::Entry(|path, _| path == "usr/lib/os-release"),
    },
    Rule {
        name: "whiteout",
        severity: Severity::Error,
        why: "overlayfs takes it as an instruction to hide the release's file at that path",
        fix: "pack the plain files, not the upper directory of an overlay or a container's layer",
        check: Check::Entry(|path, seen| {
            let opaque = |xattr: &String| {
                ["trusted.overlay.opaque=", "user.overlay.opaque=", "trusted.overlay.whiteout="]
                    .iter()
                    .any(|prefix| xattr.starts_with(prefix))
            };
            seen.kind == Kind::Whiteout
                || seen.xattrs.iter().any(opaque)
                || path.rsplit('/').next().is_some_and(|name| name.starts_with(".wh."))
        }),
    },
    Rule {
        name: "no-special-files",
        severity: Severity::Error,
        why: "a device, socket or pipe has no business in an extension",
        fix: "create it on the node with a tmpfiles.d line",
        check: Check::Entry(|_, seen| seen.kind == Kind::Special),
    },
    Rule {
        name: "setuid",
        severity: Severity::Warning,
        why: "anyone who can run it on a node acts as another user meanwhile, usually root",
        fix: "clear the setuid and setgid bits and file capabilities, or make sure that they are intended",
        check: Check::Entry(|_, seen| {
            let capability = |xattr: &String| xattr.starts_with("security.capability=");
            matches!(seen.kind, Kind::File(_))
                && (seen.mode & 0o6000 != 0 || seen.xattrs.iter().any(capability))
        }),
    },
    Rule {
        name: "world-writable",
        severity: Severity::Warning,
        why: "everybody on the node may change it where the merged /usr is writable",
        fix: "build it with mode 0755 or 0644",
        check: Check::Entry(|_, seen| !matches!(seen.kind, Kind::Symlink(_)) && seen.mode & 0o002 != 0),
    },
    Rule {
        name: "owner",
        severity: Severity::Warning,
        why: "the number means another user on the node, who may then change the file",
        fix: "build it with root as the owner of everything: `mksquashfs … -all-root`",
        check: Check::Each(forms::owner),
    },
    Rule {
        name: "xattrs",
        severity: Severity::Warning,
        why: "extended attributes of the machine that built it are in the image, so its bytes differ from build to build",
        fix: "build it with `mksquashfs … -no-xattrs`",
        check: Check::Each(forms::xattrs),
    },
    Rule {
        name: "unit",
        severity: Severity::Error,
        why: "systemd does not load the unit, or ignores the line",
        fix: "`systemd-analyze verify` says more",
        check: Check::Each(units::syntax),
    },
    Rule {
        name: "no-wants",
        severity: Severity::Error,
        why: "links in .wants and .requires are read before extensions are merged, so the unit does not start",
        fix: "ship a drop-in such as multi-user.target.d/10-NAME.conf with `[Unit]` and `Upholds=NAME.service`",
        check: Check::Entry(|path, _| {
            let dir = unit_path(path).and_then(|rest| rest.split('/').next());
            dir.is_some_and(|dir| dir.ends_with(".wants") || dir.ends_with(".requires"))
        }),
    },
    Rule {
        name: "drop-in-suffix",
        severity: Severity::Error,
        why: "systemd reads only files that end in .conf as drop-ins",
        fix: "rename it to end in .conf",
        check: Check::Entry(|path, seen| {
            let drop_in = unit_path(path).and_then(|rest| rest.split_once('/'));
            seen.kind != Kind::Dir
                && drop_in.is_some_and(|(dir, file)| dir.ends_with(".d") && !file.ends_with(".conf"))
        }),
    },
    Rule {
        name: "reload",
        severity: Severity::Warning,
        why: "systemd does not see the new units at the merge",
        fix: "write `reload: true` in sysext.yaml, or `EXTENSION_RELOAD_MANAGER=1` in the extension-release file",
        check: Check::Each(units::reload),
    },
    Rule {
        name: "too-early",
        severity: Severity::Warning,
        why: "it is read before extensions are merged on Flatcar up to 4593, so it has no effect there",
        fix: "write it in node.bu",
        check: Check::Each(units::too_early),
    },
    Rule {
        name: "upheld-oneshot",
        severity: Severity::Error,
        why: "a oneshot that has ended is started again by Upholds=, for ever",
        fix: "add `RemainAfterExit=yes` to its [Service]",
        check: Check::Whole(units::upheld_oneshot),
    },
    Rule {
        name: "upholds",
        severity: Severity::Error,
        why: "systemd is told to keep a unit running that does not exist",
        fix: "correct the name, or ship the unit",
        check: Check::Whole(units::upholds),
    },
    Rule {
        name: "exec",
        severity: Severity::Error,
        why: "the service fails as soon as it starts",
        fix: "correct the path, or add the sysext that ships the program to the profile",
        check: Check::Whole(units::exec),
    },
    Rule {
        name: "exec-mode",
        severity: Severity::Error,
        why: "systemd cannot run a file without an executable bit",
        fix: "make it executable: mode 0755",
        check: Check::Whole(units::exec_mode),
    },
    Rule {
        name: "kubelet-order",
        severity: Severity::Warning,
        why: "the kubelet starts before the units it needs and fails, or pulls images that are about to be imported",
        fix: "add `After=` for it to kubelet.service, or `Before=kubelet.service` on its side",
        check: Check::Whole(clusters::kubelet_order),
    },
    Rule {
        name: "unpinned-images",
        severity: Severity::Warning,
        why: "the kubelet removes images that are not pinned when the disk is 85 % full, and an air-gapped node cannot pull them again",
        fix: "label them after the import: `ctr -n k8s.io images label NAME io.cri-containerd.pinned=pinned`",
        check: Check::Whole(clusters::unpinned),
    },
    Rule {
        name: "kubeadm-config",
        severity: Severity::Error,
        why: "kubeadm refuses the file, or asks the network for missing values",
        fix: "v1beta3 up to Kubernetes 1.30, v1beta4 from 1.31; extraArgs are a map in v1beta3 and a list in v1beta4",
        check: Check::Whole(clusters::kubeadm_config),
    },
    Rule {
        name: "containerd-version",
        severity: Severity::Error,
        why: "containerd refuses a config of a newer version than its own and does not start",
        fix: "write `version = 2`, which 1.7 and 2.x read",
        check: Check::Whole(containerd::version),
    },
    Rule {
        name: "containerd-ignored",
        severity: Severity::Warning,
        why: "Flatcar's containerd reads /usr/share/containerd/config.toml and nothing in /etc/containerd",
        fix: "add a drop-in of containerd.service with `Environment=CONTAINERD_CONFIG=/etc/containerd/config.toml`",
        check: Check::Whole(containerd::ignored),
    },
    Rule {
        name: "cgroup-driver",
        severity: Severity::Warning,
        why: "kubelet and containerd must agree on who manages cgroups, or pods die under load",
        fix: "`SystemdCgroup = true` in the options of runc, and `cgroupDriver: systemd`, kubeadm's default",
        check: Check::Whole(containerd::cgroup_driver),
    },
    Rule {
        name: "sandbox-image",
        severity: Severity::Warning,
        why: "containerd starts every pod with a pause image that kubeadm does not bring, so air-gapped pods hang",
        fix: "set containerd's sandbox image to kubeadm's, or bring both",
        check: Check::Whole(containerd::sandbox),
    },
    Rule {
        name: "dangling-link",
        severity: Severity::Error,
        why: "the link leads nowhere",
        fix: "correct the target, or ship it",
        check: Check::Each(links::dangling),
    },
    Rule {
        name: "dynamic-any",
        severity: Severity::Warning,
        why: "with ID=_any it is merged on any host, but it runs only on hosts with matching libraries",
        fix: "ship static binaries, or write `os: flatcar` (`ID=flatcar`, `SYSEXT_LEVEL=1.0`)",
        check: Check::Each(binaries::dynamic),
    },
    Rule {
        name: "collision",
        severity: Severity::Error,
        why: "systemd-sysext silently uses the file of the extension whose name sorts last",
        fix: "let only one of them ship it",
        check: Check::Whole(collisions::between),
    },
    Rule {
        name: "stock-name",
        severity: Severity::Error,
        why: "Flatcar links an extension of its own under that name, and one takes the place of the other",
        fix: "choose another name",
        check: Check::Each(collisions::stock_name),
    },
    Rule {
        name: "stock-collision",
        severity: Severity::Error,
        why: "a node merges both unless Flatcar's own is masked, so their files get mixed",
        fix: "mask Flatcar's: a link /etc/extensions/NAME.raw to /dev/null with `overwrite: true` in node.bu",
        check: Check::Whole(collisions::with_stock),
    },
    Rule {
        name: "base-shadow",
        severity: Severity::Warning,
        why: "it covers a file of the release, which updates of Flatcar then no longer change",
        fix: "leave it out if Flatcar's is sufficient",
        check: Check::Each(collisions::with_base),
    },
    Rule {
        name: "base-kind",
        severity: Severity::Error,
        why: "it replaces a directory of the release and hides its content",
        fix: "ship a directory there",
        check: Check::Each(collisions::base_kind),
    },
    Rule {
        name: "memory",
        severity: Severity::Warning,
        why: "a PXE machine holds all images in memory, and what it boots with must fit into half of it",
        fix: "leave out what is not needed, or give the machines more memory",
        check: Check::Whole(forms::memory),
    },
];

impl Rule {
    /// Every breach of the rule.
    fn breaches(&'static self, merge: &Merge) -> Result<Vec<Breach>, Error> {
        let mut breaches = match self.check {
            Check::Entry(breaks) => {
                let each = |extension: &&Extension| topmost(extension, breaks);
                merge.extensions().iter().flat_map(each).collect()
            }
            Check::Each(check) => {
                let mut all = Vec::new();
                for extension in merge.extensions() {
                    all.extend(check(merge, extension)?);
                }
                all
            }
            Check::Whole(check) => check(merge)?,
        };
        for breach in &mut breaches {
            breach.rule = self.name;
            breach.why = self.why;
            breach.severity = breach.severity.min(self.severity);
            if breach.fix.is_empty() {
                breach.fix = self.fix.to_owned();
            }
        }
        Ok(breaches)
    }
}

/// Judges everything that is merged on one node, extension by extension, each in the order of the table.
///
/// # Errors
/// Bytes that cannot be read. Defects in them are breaches, not errors.
pub fn judge(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let mut breaches = Vec::new();
    for rule in RULES {
        breaches.extend(rule.breaches(merge)?);
    }
    let place = |name: &str| merge.extensions().iter().position(|extension| extension.name() == name);
    breaches.sort_by_key(|breach: &Breach| place(&breach.extension));
    Ok(breaches)
}

/// Breaches at the topmost entries that break a rule; entries below them are not reported again.
fn topmost(extension: &Extension, breaks: fn(&str, &Seen) -> bool) -> Vec<Breach> {
    let mut told: Vec<&str> = Vec::new();
    for (path, _) in extension.entries.iter().filter(|(path, seen)| breaks(path, seen)) {
        if !told.last().is_some_and(|top| below(path, top)) {
            told.push(path);
        }
    }
    told.into_iter().map(|path| Breach::of(extension).at(path)).collect()
}

impl Breach {
    fn of(extension: &Extension) -> Self {
        Breach {
            rule: "",
            severity: Severity::Error,
            extension: extension.name().to_owned(),
            path: None,
            detail: String::new(),
            why: "",
            fix: String::new(),
            place: None,
        }
    }

    fn at(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    fn saying(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// Downgrades the breach to a warning: it is likely, but prebake does not know enough about the node to be sure.
    fn doubtful(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    fn placed(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The breach as a finding for users.
    pub(crate) fn finding(&self) -> Finding {
        let message = match self.detail.as_str() {
            "" => format!("{}: {}", self.rule, self.why),
            detail => format!("{}: {detail}; {}", self.rule, self.why),
        };
        let mut finding = Finding::error(message).hint(self.fix.as_str());
        finding.severity = self.severity;
        finding.path = Some(match &self.path {
            Some(path) => format!("{}:/{path}", self.extension),
            None => self.extension.clone(),
        });
        finding.place = self.place.clone();
        finding
    }
}

/// Whether a path is the directory `dir` or below it.
pub(super) fn below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The first few of many, for a message: `a, b, c and 4 more`.
fn some(of: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = of[..of.len().min(SHOWN)].join(", ");
    match of.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
