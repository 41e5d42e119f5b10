//! Versions of Kubernetes and Flatcar, and which of them go together.

use crate::base::finding::{Finding, nearest};
use crate::flatcar::version::Version;
use crate::sysext::known::known_versions;

/// Channels of Flatcar, by the second number of their versions.
pub(super) const CHANNELS: [&str; 4] = ["alpha", "beta", "stable", "lts"];

/// Minor versions of Kubernetes 1 that clusters are made of.
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
        Some(best) if minor < FIRST => {
            let finding = Finding::error(format!("Kubernetes {version} is too old: {range}"));
            let _ = best;
            Err(finding
                .hint(newest(FIRST).map_or(range, |version| format!("take `{}` or newer", shown(version)))))
        }
        None if major == 1 && minor < FIRST => {
            let finding = Finding::error(format!("Kubernetes {version} is too old: {range}"));
            Err(finding
                .hint(newest(FIRST).map_or(range, |version| format!("take `{}` or newer", shown(version)))))
        }
        None => {
            let finding = Finding::error(format!("Kubernetes {version} is not known: {range}"));
            Err(finding.hint(match nearest(&version, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{}`?", near.trim_start_matches('v')),
                None => format!("the newest that this prebake knows is {}", shown(last)),
            }))
        }
        Some(best) if all.contains(&[major, minor, patch]) => {
            let _ = best;
            Ok((version, None))
        }
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

/// Channel of a version of Flatcar, by its second number.
pub(super) fn channel(version: Version) -> Option<&'static str> {
    CHANNELS.get(usize::try_from(version.0[1]).ok()?).copied()
}
