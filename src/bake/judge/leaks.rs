//! The last scan before a tree is published: fetched components, and the configs of container images.
//!
//! The store remembers the findings in an image by its digest, so a build that changes nothing opens no image.

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;

use crate::bake::extensions::Selected;
use crate::bake::judge::secrets::Judge;
use crate::bake::plan::Plan;
use crate::bake::run::Outcome;
use crate::bake::steps::Foreign;
use crate::base::canonical::canonical_json;
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::Result;
use crate::base::finding::{Finding, Findings};
use crate::format::image::Kind;
use crate::format::tree::Content;
use crate::store::Store;
use crate::sysext::extension::{Extension, Fault};
use crate::sysext::image;
use crate::tree::secrets::{self, Hit, scan};

/// Part of the key of the store's note; raised when a scan finds other secrets in the same bytes.
const REVISION: u32 = 4;
/// Upper limit for the scanned part of a text, in bytes; an unscanned rest is reported.
const MAX_TEXT: u64 = 64 << 20;
/// Number of first bytes that decide whether a file is a text.
const PROBE: u64 = 8000;

/// Findings in the files of an image, by path.
type Found = BTreeMap<String, Vec<Hit>>;

/// Scans images that were built from fetched components, and the configs of container images. `judge` has the earlier
/// findings.
///
/// # Errors
/// Every secret that the recipe does not allow. Warnings are returned.
pub(crate) fn built(
    store: &Store,
    plan: &Plan<'_>,
    outcomes: &[Outcome],
    judge: &mut Judge,
) -> Result<Vec<Finding>> {
    let mut unread = Vec::new();
    for (step, outcome) in plan.steps.iter().zip(outcomes) {
        match step.work.foreign() {
            Some(Foreign::Components(sysext)) => {
                let found = in_image(store, &outcome.object.sha256)?;
                if let Err(why) = &found {
                    let text =
                        format!("sysext {} was not scanned for secrets: {why}", sysext.description.name);
                    unread.push(Finding::warning(text).hint("check the content of its components yourself"));
                }
                let found = found.unwrap_or_default();
                of_components(judge, sysext, found)?;
            }
            Some(Foreign::Config(reference, config)) => {
                let path = store.path(&config.sha256);
                let bytes = fs::read(&path).map_err(disk::Error::io("read", &path))?;
                let name = reference.to_string();
                for hit in scan(&name, bytes.as_slice()).map_err(disk::Error::io("read", &path))? {
                    judge.found(
                        &name,
                        hit.kind,
                        None,
                        None,
                        "the image's config contains it: build the image without it",
                    );
                }
            }
            None => {}
        }
    }
    let mut findings = judge.take_findings();
    findings.append(&mut unread);
    Ok(Findings::settle(findings, ())?.1)
}

/// Records secrets of an image that are not from its folder: those were reported with their lines.
fn of_components(judge: &mut Judge, sysext: &Selected, found: Found) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let Selected { description, arch, variables, .. } = sysext;
    let (outline, _) = image::outline(description, *arch, variables)?;
    let texts: Vec<String> = description.texts(variables)?.into_iter().map(|(path, _)| path).collect();
    for (path, hits) in found {
        let own = description.files.get(&path).is_some_and(|entry| matches!(entry.content, Content::File(_)));
        if own || texts.contains(&path) {
            continue;
        }
        let mut above = std::path::Path::new(&path).ancestors();
        let entry = above.find_map(|path| outline.get(path.to_str()?));
        let origin = entry.map_or("a component", |entry| entry.origin.as_str());
        let hint = format!("it comes from {origin} of sysext {}, line {}", description.name, hits[0].line);
        for hit in hits {
            judge.found(&format!("/{path}"), hit.kind, None, None, &hint);
        }
    }
    Ok(())
}

/// Findings in an image, or the reason why it cannot be examined.
fn in_image(store: &Store, sha256: &Sha256) -> Result<Result<Found, String>> {
    let params = json!({"kind": "secrets", "revision": REVISION, "image": sha256});
    let key = Sha256::of(&canonical_json(&params));
    let noted = store.note(&key).and_then(|note| serde_json::from_slice(&note).ok());
    if let Some(found) = noted {
        return Ok(Ok(found));
    }
    let extension = Extension::open(&store.path(sha256))?;
    match &extension.fault {
        None => {}
        Some(Fault::Broken(why)) => return Ok(Err(why.clone())),
        Some(Fault::Opaque(what)) => return Ok(Err(format!("it is {what}"))),
    }
    let mut found = Found::new();
    for (path, seen) in &extension.entries {
        let Kind::File(size) = seen.kind else { continue };
        if !secrets::scan::is_looked_into(&extension.head(path, PROBE)?) {
            continue;
        }
        let bytes = extension.head(path, MAX_TEXT)?;
        let mut hits = scan(path, bytes.as_slice()).unwrap_or_default();
        if size > MAX_TEXT {
            hits.push(Hit { line: 1, column: 1, kind: secrets::Kind::Unread });
        }
        if !hits.is_empty() {
            found.insert(path.clone(), hits);
        }
    }
    store.keep_note(&key, &canonical_json(&found))?;
    Ok(Ok(found))
}
