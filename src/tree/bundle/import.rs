//! Importing: a bundle's trees become published trees of this site.
//!
//! Objects that the store lacks are copied, and each is checked against its digest before it gets its name, so an
//! aborted import resumes where it stopped. No other data of members are read. Then `publish` publishes each tree, as
//! it does after a build.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use super::open::Bundle;
use super::site::Site;
use super::verify::Flaw;
use super::{Error, index};
use crate::base::digest::Object;
use crate::base::disk;
use crate::base::error::Result;
use crate::store::Store;
use crate::tree::kept;
use crate::tree::manifest::Manifest;
use crate::tree::names;
use crate::tree::publish::{Draft, Output, Published};
use crate::trust::signers::Trust;

/// Bytes that are copied in one call.
const CHUNK: usize = 256 << 10;
/// Upper limit for the files beside a manifest, in bytes.
const MOST_BESIDE: u64 = 64 << 20;

/// Result of an import.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// The published trees, in the bundle's order.
    pub trees: Vec<Published>,
    /// Number of objects that were copied into the store.
    pub copied: usize,
    /// Total length of the copied objects, in bytes.
    pub copied_bytes: u64,
    /// Number of objects that the store already had.
    pub shared: usize,
}

/// One import: the bundle, its destinations and the site's trust.
pub(crate) struct Import<'a> {
    /// The bundle, whose signatures are judged.
    pub bundle: &'a Bundle,
    /// Store that receives the objects.
    pub store: &'a Store,
    /// The directory that receives `NAME/BUILD-ID`.
    pub output: &'a Path,
    /// Keys by which the signatures were judged, if they were.
    pub trust: Option<&'a Trust>,
}

impl Import<'_> {
    /// Copies missing objects, then publishes each tree and swaps its `current`. `progress` gets the number of bytes
    /// copied since its last call.
    ///
    /// # Errors
    /// A tree that differs from its manifest, and damaged members; no tree is published then.
    pub(crate) fn run(&self, mut progress: impl FnMut(u64)) -> Result<Imported> {
        let Import { bundle, store, output, trust } = *self;
        bundle.check_frame()?;
        let names: Vec<&str> = bundle.trees().collect();
        let manifests =
            names.iter().map(|name| bundle.manifest(name)).collect::<Result<Vec<Manifest>, Error>>()?;
        // Held until the end: a concurrent build would swap `current` again.
        let outputs = names.iter().map(|name| Output::acquire(output, name)).collect::<Result<Vec<_>>>()?;
        let mut imported = Imported::default();
        let mut seen = BTreeSet::new();
        for (name, manifest) in names.iter().zip(&manifests) {
            for (path, file) in manifest.files.iter().filter(|(_, file)| seen.insert(file.sha256)) {
                let object = Object { sha256: file.sha256, size: file.size };
                if store.has(&object) {
                    imported.shared += 1;
                    continue;
                }
                self.copy(&format!("{}{path}", index::directory(name)), &object, &mut progress)?;
                imported.copied += 1;
                imported.copied_bytes += object.size;
            }
        }
        if let Some(trust) = trust {
            Site::remember(store, bundle, trust.threshold())?;
        }
        for ((name, manifest), output) in names.iter().zip(manifests).zip(&outputs) {
            let draft = Draft::of(manifest).with_beside(self.beside(name)?);
            imported.trees.push(output.publish(&draft, store)?);
            kept::keep_tree(store, &output.current())?;
        }
        Ok(imported)
    }

    /// Copies one object into the store.
    fn copy(&self, member: &str, object: &Object, progress: &mut impl FnMut(u64)) -> Result<()> {
        let Import { bundle, store, .. } = *self;
        let subject = || bundle.subject().to_owned();
        let extent = bundle
            .extent(member)
            .ok_or_else(|| Error::Absent { subject: subject(), member: member.into() })?;
        let mut incoming = store.incoming()?;
        bundle.read_pieces(extent, &mut vec![0; CHUNK], |piece| {
            incoming.write_all(piece).map_err(disk::Error::io("write", store.root()))?;
            progress(piece.len() as u64);
            Ok::<_, crate::base::error::Error>(())
        })?;
        let arrived = incoming.finish()?;
        if arrived.object() != *object {
            return Err(bundle.damaged(Flaw::data(member, extent.start, extent.size)).into());
        }
        store.admit(arrived.is(member, object)?)?;
        Ok(())
    }

    /// The files beside a tree's manifest, by name.
    fn beside(&self, tree: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        let Import { bundle, .. } = *self;
        let directory = index::directory(tree);
        let there = |name: &&str| bundle.index().members.contains_key(&format!("{directory}{name}"));
        let read =
            |name: &str| Ok((name.to_owned(), bundle.read(&format!("{directory}{name}"), MOST_BESIDE)?));
        names::BESIDE.into_iter().filter(there).map(read).collect()
    }
}
