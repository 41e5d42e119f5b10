//! The boots of a tree that are heard of: those that bring the sysext `report`.
//!
//! A manifest does not say which sysexts a boot has, so its overlay is looked into, or the config that it fetches. Where
//! neither is there, a boot counts as heard of if the tree has the sysext at all.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use crate::base::parallel;
use crate::format::ipxe::Image;
use crate::initrd::overlay::OEM;
use crate::initrd::seal::Seal;
use crate::initrd::segments::{Limits, Segments};
use crate::sysext::place::{IMAGE_END, MERGED};
use crate::tree::inject::overlay_offset;
use crate::tree::manifest::{Manifest, Role};
use crate::tree::names::{self, REPORTING, config_path, sysext_directory};
use crate::tree::open::Place;
use crate::tree::records::Profile;

/// The ids of the profiles whose boots are heard of.
pub(crate) fn reporting(
    place: &Place,
    manifest: &Manifest,
    profiles: &BTreeMap<String, Arc<Profile>>,
) -> BTreeSet<String> {
    if !manifest.has_sysext(REPORTING) {
        return BTreeSet::new();
    }
    let shown = |(id, profile): (&String, &Arc<Profile>)| (id.clone(), shown_by(manifest, id, profile));
    let places: Vec<(String, Option<String>)> = profiles.iter().map(shown).collect();
    // Nodes share their overlays.
    let distinct: BTreeSet<&String> = places.iter().filter_map(|(_, place)| place.as_ref()).collect();
    let distinct: Vec<&String> = distinct.into_iter().collect();
    let found = parallel::map(
        &distinct,
        || (),
        |(), path| Ok::<_, Infallible>((*path, brings(place, manifest, path).unwrap_or(true))),
    );
    let silent = found.into_iter().flatten().filter(|(_, brings)| !brings).map(|(path, _)| path.clone());
    let silent: BTreeSet<String> = silent.collect();
    let reports = |place: &Option<String>| place.as_ref().is_none_or(|path| !silent.contains(path));
    places.into_iter().filter(|(_, place)| reports(place)).map(|(id, _)| id).collect()
}

/// The file that shows which sysexts a boot has.
fn shown_by(manifest: &Manifest, id: &str, profile: &Profile) -> Option<String> {
    let initrds =
        profile.boot.iter().flat_map(|boot| &boot.initrd).filter_map(|line| Image::parse(line).ok());
    let paths = initrds.map(|image| {
        let (_, path) = image.host_and_path();
        let path = path.split(['?', '#']).next().unwrap_or_default().trim_start_matches('/');
        percent_decode_str(path).decode_utf8_lossy().into_owned()
    });
    let overlay = |path: String| match manifest.joined.get(&path) {
        Some(joined) => Some(joined.parts[1].clone()),
        None => {
            let role = manifest.files.get(&path)?.role;
            matches!(role, Role::Overlay | Role::Initrd).then_some(path)
        }
    };
    let configs = [config_path(id), names::ignition(&profile.ignition_id)];
    let config = || configs.into_iter().find(|path| manifest.files.contains_key(path));
    paths.filter_map(overlay).next_back().or_else(config)
}

/// Whether an overlay or a config brings the sysext; `None` if it cannot be read.
fn brings(place: &Place, manifest: &Manifest, path: &str) -> Option<bool> {
    let row = manifest.files.get(path)?;
    if row.role == Role::Ignition {
        let config = place.read(path, row).ok()?;
        let config = String::from_utf8_lossy(&config);
        let link = format!("{MERGED}/{REPORTING}{IMAGE_END}");
        let image = format!("{}/", sysext_directory(REPORTING));
        return Some(config.contains(&link) || config.contains(&image));
    }
    let mut part = place.open(path, row).ok()?;
    let seal = Seal::at_end(&mut part, row.size).ok()?;
    let start = match (row.role, overlay_offset(seal, row.size)) {
        (Role::Overlay, _) => 0,
        // A base is not unpacked to find out.
        (_, 0) => return None,
        (_, offset) => offset,
    };
    let image = format!("/{REPORTING}{IMAGE_END}");
    let mut found = false;
    let mut segments = Segments::new(path, part, Limits::default()).starting_at(start);
    let read = segments.next(&mut |_, member, _| {
        found |= member.path.starts_with(OEM) && member.path.ends_with(&image);
        Ok(())
    });
    read.ok().flatten().map(|_| found)
}
