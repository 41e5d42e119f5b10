//! The documents that prebake writes itself: lock, SBOM, provenance, manifest, groups, profiles, scripts of loaders.
//! They repeat texts that people wrote elsewhere, and a finding points at the original.

use crate::bake::extensions::Selected;
use crate::bake::judge::secrets::Judge;
use crate::bake::project::Project;
use crate::base::error::Result;
use crate::base::finding::{Finding, Findings, Place, Source};
use crate::tree::lock::Lock;
use crate::tree::manifest::Role;
use crate::tree::names;
use crate::tree::publish::Draft;
use crate::tree::row::Contents;
use crate::tree::secrets::{Hit, place, scan};

/// Scans every document of a tree, and reports the recipe's exceptions that were not needed.
///
/// # Errors
/// Every secret that the recipe does not allow. Warnings are returned.
pub(crate) fn documents(
    draft: &Draft,
    project: &Project,
    lock: &Lock,
    mut judge: Judge,
) -> Result<Vec<Finding>> {
    let manifest = draft.manifest().to_bytes();
    let written = draft.manifest().files.iter().filter(|(_, file)| is_document(file.role));
    let texts = written.filter_map(|(path, _)| match draft.contents(path)? {
        Contents::Text(bytes) => Some((path.as_str(), bytes.as_slice())),
        Contents::Stored(_) | Contents::Published(..) | Contents::Joined(_) => None,
    });
    let beside = draft.beside().iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
    let lock = lock.to_text();
    let of_sysexts = project.sysexts.iter().map(|Selected { description, .. }| &*description.source);
    let sources: Vec<&Source> = std::iter::once(&*project.recipe.source).chain(of_sysexts).collect();
    for (path, bytes) in texts.chain(beside).chain([(names::MANIFEST, manifest.as_slice())]) {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for repeated in &judge.repeated {
            text = text.replace(repeated.as_str(), "");
        }
        for hit in scan(path, text.as_bytes()).unwrap_or_default() {
            let secret = secret(&text, hit);
            let (place, origin) = match origin(&sources, secret) {
                Some(place) => (Some(place), "it is said here".to_owned()),
                None if lock.contains(secret) => {
                    (None, format!("it comes from an input that {}.lock pins", project.recipe.name))
                }
                None => (None, "it comes from an input that the build fetched".to_owned()),
            };
            let hint = format!("it is in line {} of this document; {origin}: remove it there", hit.line);
            judge.found(path, hit.kind, place, None, &hint);
        }
    }
    let mut findings = judge.take_findings();
    findings.extend(judge.unused());
    Ok(Findings::settle(findings, ())?.1)
}

/// Whether prebake writes the text: configs and templates were scanned where people wrote them.
fn is_document(role: Role) -> bool {
    matches!(
        role,
        Role::Lock | Role::Sbom | Role::Group | Role::Profile | Role::Boot | Role::Transfer | Role::Version
    )
}

/// The secret at a hit, up to the end of its word.
fn secret(text: &str, hit: Hit) -> &str {
    let line = text.split('\n').nth(hit.line - 1).unwrap_or_default();
    let start = line.char_indices().nth(hit.column - 1).map_or(line.len(), |(at, _)| at);
    let rest = &line[start..];
    let end = rest.find(|c: char| c.is_whitespace() || "\"'\\,`".contains(c)).unwrap_or(rest.len());
    &rest[..end]
}

/// The place where a person wrote the secret.
fn origin(sources: &[&Source], secret: &str) -> Option<Place> {
    let said = |source: &&Source| {
        source.text.lines().enumerate().find_map(|(index, line)| {
            let column = line[..line.find(secret)?].chars().count() + 1;
            Some(place::masked(&source.name, line, index + 1, column))
        })
    };
    sources.iter().filter(|_| secret.len() >= 4).find_map(said)
}
