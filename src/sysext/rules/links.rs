//! Rules about symlinks.

use super::super::extension::{Error, Extension};
use super::super::merge::{Merge, Presence};
use super::Breach;
use crate::format::image::Kind;

pub(super) fn dangling(merge: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let mut breaches = Vec::new();
    for (path, seen) in &extension.entries {
        let Kind::Symlink(target) = &seen.kind else { continue };
        let absolute = match target.starts_with('/') {
            true => target.clone(),
            false => format!("/{}/{target}", path.rsplit_once('/').map_or("", |(dir, _)| dir)),
        };
        let breach = |words: &str| {
            Breach::of(extension).at(path).saying(format!("{target} is in none of the extensions{words}"))
        };
        match merge.presence(&absolute) {
            Presence::Here | Presence::Elsewhere => {}
            Presence::Missing => breaches.push(breach(" and not in the release")),
            Presence::Doubtful => {
                breaches.push(breach(", and prebake knows no such file of Flatcar").doubtful())
            }
        }
    }
    Ok(breaches)
}
