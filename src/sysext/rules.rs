//! What must not be in a system extension, as one table: each rule with its reason and the way out.
//!
//! The rules look at paths and kinds only, so they judge a tree before it is an image as well as an image that
//! somebody else built. They were found by trying, with systemd 252 and on Flatcar.

use super::release;
use super::unit::unit_path;
use crate::format::squashfs;
use crate::format::tree::{Content, Entry};
use crate::report::{Finding, Severity};

/// What a rule sees of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A file.
    File,
    /// A symlink.
    Symlink,
    /// A device, socket or pipe.
    Special,
}

impl From<&Entry> for Kind {
    fn from(entry: &Entry) -> Self {
        match entry.content {
            Content::Dir => Kind::Dir,
            Content::File(_) => Kind::File,
            Content::Symlink(_) => Kind::Symlink,
        }
    }
}

impl From<&squashfs::Kind> for Kind {
    fn from(kind: &squashfs::Kind) -> Self {
        match kind {
            squashfs::Kind::Dir => Kind::Dir,
            squashfs::Kind::File(_) => Kind::File,
            squashfs::Kind::Symlink(_) => Kind::Symlink,
            squashfs::Kind::Special => Kind::Special,
        }
    }
}

/// One thing that must not be in an image.
pub struct Rule {
    /// Short name, for people to search.
    pub name: &'static str,
    /// Whether an image with it is refused.
    pub severity: Severity,
    /// What goes wrong on the node.
    pub why: &'static str,
    /// What to do instead.
    pub fix: &'static str,
    breaks: fn(&str, Kind) -> bool,
}

/// All rules on single entries.
pub const RULES: &[Rule] = &[
    Rule {
        name: "no-opt",
        severity: Severity::Error,
        why: "an extension that ships /opt makes all of /opt read-only on the node, so CNI plugins cannot be installed",
        fix: "install below /usr/local",
        breaks: |path, _| below(path, "opt"),
    },
    Rule {
        name: "usr-only",
        severity: Severity::Error,
        why: "systemd-sysext merges /usr and /opt and ignores the rest",
        fix: "ship defaults below /usr/share and copy them with a tmpfiles.d line, or write them in node.bu",
        breaks: |path, _| !below(path, "usr") && !below(path, "opt"),
    },
    Rule {
        name: "no-sbin",
        severity: Severity::Error,
        why: "/usr/sbin is a link to bin on Flatcar, and a directory in its place hides it",
        fix: "install into /usr/bin",
        breaks: |path, _| below(path, "usr/sbin"),
    },
    Rule {
        name: "no-os-release",
        severity: Severity::Error,
        why: "systemd-sysext takes it for the image of an operating system and merges nothing at all",
        fix: "leave it out; extension-release is generated",
        breaks: |path, _| path == "usr/lib/os-release",
    },
    Rule {
        name: "no-wants",
        severity: Severity::Error,
        why: "links in .wants and .requires are read before extensions are merged, so the unit does not start",
        fix: "ship a drop-in such as multi-user.target.d/10-NAME.conf with `[Unit]` and `Upholds=NAME.service`",
        breaks: |path, _| {
            let dir = unit_path(path).and_then(|rest| rest.split('/').next());
            dir.is_some_and(|dir| dir.ends_with(".wants") || dir.ends_with(".requires"))
        },
    },
    Rule {
        name: "drop-in-suffix",
        severity: Severity::Error,
        why: "systemd reads only files that end in .conf as drop-ins",
        fix: "rename it to end in .conf",
        breaks: |path, kind| {
            let drop_in = unit_path(path).and_then(|rest| rest.split_once('/'));
            kind != Kind::Dir
                && drop_in.is_some_and(|(dir, file)| dir.ends_with(".d") && !file.ends_with(".conf"))
        },
    },
    Rule {
        name: "too-early",
        severity: Severity::Warning,
        why: "it is read before extensions are merged on Flatcar up to 4593, so it has no effect there",
        fix: "write it in node.bu",
        breaks: |path, _| {
            let dirs = [
                "usr/lib/sysctl.d/",
                "usr/lib/modules-load.d/",
                "usr/lib/udev/rules.d/",
                "usr/lib/sysusers.d/",
            ];
            dirs.iter().any(|dir| path.starts_with(dir))
        },
    },
    Rule {
        name: "no-special-files",
        severity: Severity::Error,
        why: "a device, socket or pipe has no business in an extension",
        fix: "create it on the node with a tmpfiles.d line",
        breaks: |_, kind| kind == Kind::Special,
    },
];

fn below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The findings on all entries of an image that shall be merged under `name`: each rule once for the topmost entry
/// of a directory, and the name of the extension-release file.
pub fn findings<'a>(name: &str, entries: impl IntoIterator<Item = (&'a str, Kind)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut told: Vec<(&str, String)> = Vec::new();
    let mut releases = Vec::new();
    for (path, kind) in entries {
        for rule in RULES.iter().filter(|rule| (rule.breaks)(path, kind)) {
            if told.iter().any(|(name, top)| *name == rule.name && below(path, top)) {
                continue;
            }
            told.push((rule.name, path.to_owned()));
            let mut finding = Finding::error(format!("{}: {}", rule.name, rule.why)).hint(rule.fix);
            finding.severity = rule.severity;
            findings.push(finding.path(format!("/{path}")));
        }
        if let Some(suffix) =
            path.strip_prefix(release::DIR).and_then(|rest| rest.strip_prefix("/extension-release."))
        {
            releases.push(suffix.to_owned());
        }
    }
    let fix = format!("ship exactly {} in an image that is merged as {name}.raw", release::path(name));
    match releases.as_slice() {
        [only] if only == name => {}
        [] => findings.push(
            Finding::error("release-file: without an extension-release file systemd-sysext merges nothing at all")
                .hint(fix),
        ),
        others => findings.push(
            Finding::error(format!(
                "release-file: extension-release.{} does not fit the name `{name}`, and systemd-sysext then merges nothing at all",
                others.join(", extension-release.")
            ))
            .hint(fix),
        ),
    }
    findings
}
