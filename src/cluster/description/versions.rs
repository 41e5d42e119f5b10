//! Versions of Kubernetes and Flatcar, and which of them go together.

use crate::base::finding::{Finding, nearest};
use crate::flatcar::quirks::{self, PxeFault};
use crate::flatcar::version::Version;
use crate::sysext::known::known_versions;

/// Channels of Flatcar, by the second number of their versions.
pub(super) const CHANNELS: [&str; 4] = ["alpha", "beta", "stable", "lts"];

/// Days after the newest release that is known in which others may have come out: two years.
const LATER: u32 = 730;

/// First minor version of Kubernetes 1 that clusters are made of.
const FIRST: u32 = 30;
/// Further patch versions that may come out after a table was made: a year of them.
const FURTHER: u32 = 12;
/// Minor versions that upstream publishes patches of: the newest and the three before it, as its policy has them.
const MAINTAINED: u32 = 3;

/// A version of Kubernetes with its `v`, and a doubt about it.
///
/// # Errors
/// It is none, or none that a cluster can be made of.
pub(super) fn kubernetes(text: &str) -> Result<(String, Option<Finding>), Finding> {
    let known = known_versions();
    let parse = |text: &str| -> Option<[u32; 3]> {
        let numbers: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        numbers?.try_into().ok()
    };
    let bare = text.strip_prefix('v').unwrap_or(text);
    let all: Vec<[u32; 3]> = known.iter().filter_map(|version| parse(version.strip_prefix('v')?)).collect();
    let newest = |minor: u32| all.iter().filter(|[_, of, _]| *of == minor).max().copied();
    let shown = |[major, minor, patch]: [u32; 3]| format!("{major}.{minor}.{patch}");
    let last = all.iter().max().copied().unwrap_or_default();
    let Some([major, minor, patch]) = parse(bare).filter(|version| shown(*version) == bare) else {
        let finding = Finding::error(format!("`{text}` is not a version of Kubernetes such as 1.33.13"));
        let minor = bare.split('.').nth(1).and_then(|minor| minor.parse().ok()).and_then(newest);
        return Err(
            match minor
                .filter(|_| bare.split('.').count() == 2)
                .or_else(|| Some(last).filter(|_| bare == "latest" || bare == "stable"))
            {
                Some(version) => {
                    finding.hint(format!("name all three numbers, such as `{}`", shown(version)))
                }
                None => finding,
            },
        );
    };
    let version = format!("v{major}.{minor}.{patch}");
    let range = format!("clusters are made of v1.{FIRST} to v1.{}", last[1]);
    match newest(minor).filter(|_| major == 1) {
        _ if major == 1 && minor < FIRST => {
            let finding = Finding::error(format!("Kubernetes {version} is too old: {range}"));
            Err(finding
                .hint(newest(FIRST).map_or(range, |version| format!("take `{}` or newer", shown(version)))))
        }
        None => {
            let finding = Finding::error(format!("Kubernetes {version} is not known: {range}"));
            // Of those alone that would be taken, and nothing older for one that is still to come.
            let fit = known.iter().filter(|known| {
                parse(known.trim_start_matches('v')).is_some_and(|[_, minor, _]| minor >= FIRST)
            });
            let near = nearest(&version, fit.map(String::as_str)).filter(|_| major != 1);
            Err(finding.hint(match near {
                Some(near) => format!("did you mean `{}`?", near.trim_start_matches('v')),
                None => format!("the newest that this prebake knows is {}", shown(last)),
            }))
        }
        Some(_) if all.contains(&[major, minor, patch]) => Ok((version, None)),
        Some(best) => {
            let new = patch > best[2] && patch <= best[2] + FURTHER && minor + MAINTAINED >= last[1];
            match new {
                true => {
                    let finding = Finding::warning(format!(
                        "Kubernetes {version} is newer than this prebake, which cannot tell whether it exists"
                    ));
                    Ok((
                        version,
                        Some(
                            finding
                                .hint(format!("the newest of v1.{minor} that it knows is {}", shown(best))),
                        ),
                    ))
                }
                false => Err(Finding::error(format!("there is no Kubernetes {version}"))
                    .hint(format!("the newest of v1.{minor} is `{}`", shown(best)))),
            }
        }
    }
}

/// Newest minor version of Kubernetes that is tested with each containerd before 2.0, and the newest that works with it at all: from
/// 1.33 on containerd's RELEASES.md wants 1.7.24, which no Flatcar has; Kubernetes 1.36 needs the runtime to name its cgroup
/// driver, which 1.x does not (KEP-4033).
const CONTAINERD: [((u32, u32), u32, u32); 2] = [((1, 7), 32, 35), ((1, 6), 30, 33)];

/// Findings about a release of Flatcar that no cluster can be made of, or not with this version of Kubernetes; each without a place.
pub(super) fn pair(kubernetes: Option<&str>, flatcar: Version, own_containerd: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let [major, ..] = flatcar.0;
    let newest = quirks::channel("alpha").unwrap_or(u32::MAX);
    // A major version is the number of days since 2013-07-01.
    if major > newest.saturating_add(LATER) {
        findings.push(
            Finding::error(format!("there is no Flatcar {flatcar}"))
                .hint(format!("the newest major version that this prebake knows is {newest}")),
        );
        return findings;
    }
    if major > newest {
        let finding = Finding::warning(format!(
            "Flatcar {flatcar} is newer than this prebake, which cannot tell whether it exists"
        ));
        findings.push(finding.hint(format!("the newest major version that it knows is {newest}")));
    }
    if quirks::newest_spec(major).is_none() || !quirks::merges_sysexts(flatcar) {
        findings.push(Finding::error(format!("Flatcar {flatcar} is too old for a cluster: it reads no Ignition of spec 3, or merges no sysexts")).hint("take a release of a maintained channel, such as 4593.2.5"));
        return findings;
    }
    if let Some((fault, window)) = quirks::pxe_fault(flatcar) {
        let why = match fault {
            PxeFault::EmergencyShell => "ends in the emergency shell",
            PxeFault::UnknownPlatform => "does not know the platform that it boots on",
        };
        findings.push(
            Finding::error(format!("Flatcar {flatcar} does not boot over the network: it {why}"))
                .hint(format!("take {} or newer", window.before)),
        );
    }
    let minor = kubernetes.and_then(|version| version.split('.').nth(1)?.parse::<u32>().ok());
    let own = quirks::containerd(flatcar).filter(|_| !own_containerd);
    let limits = own.and_then(|own| CONTAINERD.iter().find(|(of, ..)| *of == own));
    if let (Some(minor), Some(kubernetes), Some(((one, two), tested, last))) = (minor, kubernetes, limits) {
        let hint = "take a newer release of Flatcar, an older Kubernetes, or a containerd of your own: `recipe: {sysexts: [containerd]}`";
        if minor > *last {
            findings.push(Finding::error(format!("Kubernetes {kubernetes} does not run with containerd {one}.{two}, which Flatcar {flatcar} has")).hint(hint));
        } else if minor > *tested {
            findings.push(Finding::warning(format!("Kubernetes {kubernetes} is not tested with containerd {one}.{two}, as Flatcar {flatcar} has it")).hint(hint));
        }
    }
    findings
}

/// The release that a channel stands for, as far as this prebake knows it.
pub(super) fn current(channel: &str) -> Option<Version> {
    let digit = CHANNELS.iter().position(|name| *name == channel)?;
    Some(Version([quirks::channel(channel)?, u32::try_from(digit).ok()?, 0]))
}

/// Channel of a version of Flatcar, by its second number.
pub(super) fn channel(version: Version) -> Option<&'static str> {
    CHANNELS.get(usize::try_from(version.0[1]).ok()?).copied()
}
