//! Rules about the extension-release file, by which systemd-sysext decides (os-release(5),
//! `extension_release_validate`).

use super::super::extension::{Error, Extension};
use super::super::merge::Merge;
use super::super::release::{self, Release};
use super::forms::{is_closed, is_lenient};
use super::{Breach, some};
use crate::base::arch::Arch;

/// `SYSEXT_LEVEL` of every Flatcar release so far.
const LEVEL: &str = "1.0";

pub(super) fn file(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let missing = !is_closed(extension) && extension.release_names().is_empty();
    let fix = || format!("ship {} in it", release::path(extension.name()));
    Ok(missing.then(|| Breach::of(extension).fix(fix())).into_iter().collect())
}

pub(super) fn one_file(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let names = extension.release_names();
    let others: Vec<String> =
        names.iter().filter(|name| **name != extension.name()).map(|n| (*n).to_owned()).collect();
    let breach = || Breach::of(extension).at(release::DIR).saying(format!("it also names {}", some(&others)));
    Ok((names.len() > 1).then(breach).into_iter().collect())
}

pub(super) fn strict(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let paths = extension.release_names().into_iter().map(release::path).take(1);
    let lenient = is_lenient(extension);
    Ok(paths.filter(|_| lenient).map(|path| Breach::of(extension).at(&path)).collect())
}

/// Breaches of extensions for whose release file `question` returns a problem.
fn saying(
    extension: &Extension,
    question: impl FnOnce(&Release) -> Option<String>,
) -> Result<Vec<Breach>, Error> {
    let Some(release) = extension.release()? else { return Ok(Vec::new()) };
    Ok(question(&release).map(|wrong| Breach::of(extension).saying(wrong)).into_iter().collect())
}

pub(super) fn id(merge: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    saying(extension, |release| {
        let id = release.get("ID").unwrap_or_default();
        match (id, release.get("SYSEXT_LEVEL"), release.get("VERSION_ID")) {
            ("", ..) => Some("ID is missing".into()),
            ("_any", ..) => None,
            ("flatcar", Some(LEVEL), _) => None,
            ("flatcar", Some(level), _) => Some(format!("SYSEXT_LEVEL is {level}, but Flatcar's is {LEVEL}")),
            ("flatcar", None, None) => Some("ID=flatcar has neither SYSEXT_LEVEL nor VERSION_ID".into()),
            ("flatcar", None, Some(version)) => {
                let other = merge.release.filter(|target| target.to_string() != version);
                other.map(|target| format!("VERSION_ID is {version}, but the release is {target}"))
            }
            (other, ..) => Some(format!("ID={other} is not Flatcar")),
        }
    })
}

pub(super) fn version(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    saying(extension, |release| {
        let version = release.get("VERSION_ID").filter(|_| release.get("SYSEXT_LEVEL").is_none())?;
        (release.get("ID") == Some("flatcar")).then(|| format!("it is for {version} alone"))
    })
}

pub(super) fn architecture(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    saying(extension, |release| {
        let arch = release.get("ARCHITECTURE")?;
        let known = arch == "_any" || Arch::ALL.iter().any(|known| known.systemd() == arch);
        (!known).then(|| {
            format!("ARCHITECTURE={arch} is not systemd's name of an architecture that Flatcar supports")
        })
    })
}

pub(super) fn scope(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    saying(extension, |release| {
        let scope = release.get("SYSEXT_SCOPE")?;
        let fits = scope.split_whitespace().any(|word| word == "system");
        (!fits).then(|| format!("SYSEXT_SCOPE is `{scope}`, without `system`"))
    })
}
