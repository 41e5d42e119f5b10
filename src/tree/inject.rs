//! The initrds of a published tree: lists them, and makes another tree in which more is injected into some of them.
//!
//! A published tree is never changed: the new one is published beside it, as a build publishes, and shares every
//! unchanged file. The kernel, arguments and names of a boot stay; only overlays, the files joined from them, and the
//! configs that are published beside them change.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::error::Result;
use crate::base::finding::{Finding, Source};
use crate::base::{digest, disk};
use crate::flatcar::quirks;
use crate::format::cpio;
use crate::format::tree::{Contents, Entry, Tree};
use crate::ignition::{Config, Spec};
use crate::initrd::overlay::Overlay;
use crate::initrd::seal::Seal;
use crate::initrd::segments::{Limits, Segments};
use crate::initrd::{Error, inject, show};
use crate::store::{self, Store};
use crate::tree::kept;
use crate::tree::manifest::{self, Manifest, Role};
use crate::tree::publish::{self, Output, Published};
use crate::tree::records::CEILING as MATCHBOX_CEILING;
use crate::tree::row::{self, Row};
use crate::tree::sbom;
use crate::tree::{names, open};

/// A published tree.
pub(crate) struct PublishedTree {
    /// The directory of the build itself, not the link to it.
    root: PathBuf,
    manifest: Manifest,
    _hold: open::Hold,
}

/// An initrd of a tree.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    /// Path in the tree.
    pub path: String,
    /// Its purpose.
    pub role: Role,
    /// Length of the file, in bytes.
    pub size: u64,
    /// The profile that it belongs to; `None` if several share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The node, if it belongs to one node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The members that prebake made; the base is not unpacked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<show::Row>,
}

/// Boots of a tree to inject into.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// Id of the profile.
    pub profile: String,
    /// The node that has a boot of its own; `None` for all boots of the profile.
    pub node: Option<String>,
}

impl PublishedTree {
    /// Reads the manifest of a directory.
    pub(crate) fn open(directory: &Path) -> Result<Self, open::Error> {
        let (manifest, root, _hold) = open::of_directory(directory)?;
        Ok(PublishedTree { root, manifest, _hold })
    }

    /// Ids of the profiles whose boots can be injected into, sorted.
    pub(crate) fn profiles(&self) -> Vec<String> {
        let files = self.manifest.files.values();
        let own = files.filter(|file| matches!(file.role, Role::Overlay | Role::Initrd));
        let names: std::collections::BTreeSet<String> = own.filter_map(|file| file.profile.clone()).collect();
        names.into_iter().collect()
    }

    /// Every initrd of the tree: the shared ones first, then by profile and node.
    pub(crate) fn list(&self) -> Result<Vec<Listed>, Error> {
        let is_initrd =
            |role| matches!(role, Role::BaseInitrd | Role::EarlyInitrd | Role::Overlay | Role::Initrd);
        let mut listed = Vec::new();
        for (path, file) in self.manifest.files.iter().filter(|(_, file)| is_initrd(file.role)) {
            let members = match file.role {
                Role::Overlay | Role::Initrd => self.members(path, file.size)?,
                _ => Vec::new(),
            };
            let (profile, node) = (file.profile.clone(), file.node.clone());
            listed.push(Listed {
                path: path.clone(),
                role: file.role,
                size: file.size,
                profile,
                node,
                members,
            });
        }
        listed.extend(self.manifest.joined.iter().map(|(path, joined)| Listed {
            path: path.clone(),
            role: joined.role,
            size: joined.size,
            profile: joined.profile.clone(),
            node: joined.node.clone(),
            members: Vec::new(),
        }));
        listed.sort_by(|a, b| (&a.profile, &a.node, &a.path).cmp(&(&b.profile, &b.node, &b.path)));
        Ok(listed)
    }

    fn members(&self, path: &str, size: u64) -> Result<Vec<show::Row>, Error> {
        let path = self.root.join(path);
        let (mut file, seal) = open(&path, size)?;
        let mut segments = Segments::new(path.to_str().unwrap_or_default(), &mut file, Limits::default())
            .starting_at(overlay_offset(seal, size));
        let mut members = Vec::new();
        segments.next(&mut |place, member, _| {
            members.push(show::Row::of(&place.start, member));
            Ok(())
        })?;
        Ok(members)
    }

    /// Publishes the tree with more files in the selected boots: `add` is called for each boot. An existing path gets
    /// the new content. Published below `output`, else beside this tree; then `current` links to the new one.
    ///
    /// # Errors
    /// A selection without a boot, or one that cannot be injected into; errors of [`Overlay::finish`].
    pub(crate) fn inject(
        &self,
        selection: &Selection,
        add: &dyn Fn() -> Result<Overlay, Error>,
        output: Option<&Path>,
        store: &Store,
    ) -> Result<(Published, Vec<Finding>)> {
        let mut rows: BTreeMap<String, Row> =
            self.manifest.files.iter().map(|(path, file)| (path.clone(), self.row(path, file))).collect();
        let mut findings = Vec::new();
        for path in self.overlays(selection)? {
            let (id, config) = self.enlarge(&path, add()?, &mut rows, &mut findings, store)?;
            let beside = names::ignition(&names::config_id(&id));
            if let Some(row) = rows.get_mut(&beside) {
                row.contents = row::Contents::Text(config);
            }
        }
        self.refresh_sbom(&mut rows)?;
        let joined = self.manifest.joined.iter().map(|(path, joined)| {
            let contents = row::Contents::Joined(joined.parts.clone());
            let mut row = Row::new(path.clone(), joined.role, contents);
            (row.profile, row.node, row.arch) = (joined.profile.clone(), joined.node.clone(), joined.arch);
            row
        });
        let head = Manifest { files: BTreeMap::new(), joined: BTreeMap::new(), ..self.manifest.clone() };
        // The list of digests is written anew.
        let files = rows.into_values().filter(|row| row.path != names::CHECKSUMS);
        let tree = publish::Draft::new(head, files.chain(joined).collect())?;
        let output = Output::acquire(&self.output(output)?, &self.manifest.name)?;
        let published = output.publish(&tree, store)?;
        kept::keep_tree(store, &output.current())?;
        Ok((published, findings))
    }

    /// Updates the digests in the tree's SBOM, if it has one.
    fn refresh_sbom(&self, rows: &mut BTreeMap<String, Row>) -> Result<()> {
        let Some(file) = self.manifest.files.get(names::SBOM) else { return Ok(()) };
        let bytes = open::Place::Directory(self.root.clone()).read(names::SBOM, file)?;
        let document = sbom::parse(&self.root.join(names::SBOM).display().to_string(), &bytes)?;
        let files = rows.iter().filter_map(|(path, row)| Some((path.clone(), row.file()?))).collect();
        let text = row::Contents::Text(sbom::refreshed(document, &files));
        rows.insert(names::SBOM.into(), Row::new(names::SBOM.into(), Role::Sbom, text));
        Ok(())
    }

    /// Where trees are published: `OUTPUT` of `OUTPUT/NAME/BUILD-ID`.
    fn output(&self, given: Option<&Path>) -> Result<PathBuf, Error> {
        let of_tree = || {
            let directory = self.root.parent()?;
            let is_ours = directory.file_name()?.to_str()? == self.manifest.name;
            directory.parent().filter(|_| is_ours).map(Path::to_owned)
        };
        given.map(Path::to_owned).or_else(of_tree).ok_or_else(|| Error::Elsewhere { path: self.root.clone() })
    }

    /// The paths of the files that contain the overlays of a selection.
    fn overlays(&self, selection: &Selection) -> Result<Vec<String>, Error> {
        let Selection { profile, node } = selection;
        let is_meant = |file: &manifest::File| {
            file.profile.as_ref() == Some(profile) && (node.is_none() || file.node == *node)
        };
        let of_role = |roles: &'static [Role]| {
            let files = self.manifest.files.iter();
            files.filter(move |(_, file)| roles.contains(&file.role) && is_meant(file)).map(|(path, _)| path)
        };
        let tree = || self.root.clone();
        let others: [(&[Role], _); 2] =
            [(&[Role::UnifiedKernel], "a unified kernel image"), (&[Role::PlatformImage], "a disk image")];
        if let Some((_, file)) = others.into_iter().find(|(roles, _)| of_role(roles).next().is_some()) {
            return Err(Error::Unified { tree: tree(), profile: profile.clone(), file });
        }
        let found: Vec<String> = of_role(&[Role::Overlay, Role::Initrd]).cloned().collect();
        if found.is_empty() {
            let is_fetched = of_role(&[Role::Ignition]).next().is_some();
            let all = self.manifest.files.values().filter(|file| file.role == Role::Overlay);
            let known = all.filter_map(|file| file.profile.clone());
            let known: std::collections::BTreeSet<String> = known.collect();
            let boot = match node {
                Some(node) => format!("boot of the profile `{profile}` for the node `{node}` alone"),
                None => format!("boot of the profile `{profile}`"),
            };
            return Err(Error::NoBoot { tree: tree(), boot, is_fetched, known: known.into_iter().collect() });
        }
        Ok(found)
    }

    fn row(&self, path: &str, file: &manifest::File) -> Row {
        let object = digest::Object { sha256: file.sha256, size: file.size };
        let contents = row::Contents::Published(self.root.join(path), object);
        let mut row = Row::new(path.to_owned(), file.role, contents);
        (row.profile, row.node, row.arch) = (file.profile.clone(), file.node.clone(), file.arch);
        (row.origin, row.step, row.verity) = (file.origin.clone(), file.step, file.verity);
        row
    }

    /// Writes a new version of a file that contains an overlay; returns the boot's id and its new config.
    fn enlarge(
        &self,
        name: &str,
        more: Overlay,
        rows: &mut BTreeMap<String, Row>,
        findings: &mut Vec<Finding>,
        store: &Store,
    ) -> Result<(String, Vec<u8>)> {
        let path = self.root.join(name);
        let size = self.manifest.files[name].size;
        let (mut file, seal) = open(&path, size)?;
        let spool = store.spool()?;
        let (old, config) = unpack(&path, &mut file, overlay_offset(seal, size), spool.path())?;
        let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let (tree, config, told) = more.over(old, config, self.ceiling(&id))?;
        // Boots of one profile have the same findings; record each once.
        let is_new =
            |finding: &Finding| findings.iter().all(|known| known.to_string() != finding.to_string());
        let told: Vec<Finding> = told.into_iter().filter(is_new).collect();
        findings.extend(told);
        let mut scratch = store.scratch()?;
        let epoch = self.manifest.epoch;
        let io = |action| disk::Error::io(action, &path);
        match seal {
            None => drop(cpio::write(&tree, epoch, &mut scratch).map_err(Error::Cpio)?),
            Some(seal) => {
                // A virtual initrd's file has no base before its overlay: the server puts it there.
                let is_joined = seal.file_length() == size;
                if is_joined {
                    inject::copy_base(&file, seal.overlay_offset(), scratch.as_file_mut())
                        .map_err(io("read"))?;
                }
                let overlay_length = cpio::write(&tree, epoch, &mut scratch).map_err(Error::Cpio)?;
                let seal = Seal { overlay_length, ..seal };
                scratch.write_all(&seal.to_bytes()).map_err(io("write a copy of"))?;
            }
        }
        let object = store.admit(store::Unverified::of_file(scratch)?.made_here())?;
        if let Some(row) = rows.get_mut(name) {
            row.contents = row::Contents::Stored(object);
            // This file is not the result of a step.
            row.step = None;
        }
        Ok((id, config))
    }

    /// The newest spec that all readers of the config support.
    fn ceiling(&self, id: &str) -> Spec {
        let majors = self.manifest.releases.iter().filter_map(|release| release.version.split('.').next());
        let specs = majors.filter_map(|major| quirks::newest_spec(major.parse().ok()?));
        let release = specs.min().unwrap_or(MATCHBOX_CEILING);
        match self.manifest.files.contains_key(&names::profile(id)) {
            true => release.min(MATCHBOX_CEILING),
            false => release,
        }
    }
}

/// Opens a file of a tree, which must have the length in the manifest, and reads its seal if it has one.
fn open(path: &Path, size: u64) -> Result<(File, Option<Seal>), Error> {
    let io = |error| disk::Error::io("read", path)(error);
    let mut file = File::open(path).map_err(io)?;
    let found = file.metadata().map_err(io)?.len();
    if found != size {
        return Err(Error::Lengths { path: path.into(), recorded: size, size: found });
    }
    let seal = Seal::at_end(&mut file, size).map_err(io)?;
    Ok((file, seal))
}

/// Offset of the overlay in a file of `size` bytes: after the base, if the base is in the same file.
pub(crate) fn overlay_offset(seal: Option<Seal>, size: u64) -> u64 {
    seal.filter(|seal| seal.file_length() == size).map_or(0, |seal| seal.overlay_offset())
}

/// The config of an overlay, and all its other members, with their bodies in files below `spool`.
fn unpack(path: &Path, file: &mut File, offset: u64, spool: &Path) -> Result<(Tree, Config)> {
    let subject = path.display().to_string();
    let (mut tree, mut config, mut count) = (Tree::new(), None, 0);
    let mut segments = Segments::new(&subject, file, Limits::default()).starting_at(offset);
    segments.next(&mut |_, member, body| {
        let origin = || subject.clone();
        let entry = match &member.link {
            Some(target) => Entry::symlink(target, origin()),
            None if member.path == crate::initrd::overlay::CONFIG => {
                let mut text = String::new();
                body.read_to_string(&mut text).map_err(disk::Error::io("read", path))?;
                config = Some(text);
                return Ok(());
            }
            None if member.is_file() => {
                count += 1;
                let place = spool.join(count.to_string());
                let mut copy = File::create(&place).map_err(disk::Error::io("create", &place))?;
                io::copy(body, &mut copy).map_err(disk::Error::io("write", &place))?;
                // Permission bits of the mode.
                Entry::file((member.mode & 0o777) as u16, Contents::on_disk(place)?, origin())
            }
            None => Entry::dir(origin()),
        };
        Ok(tree.insert(&member.path, entry)?)
    })?;
    let config = match config {
        Some(text) => Config::parse(&Source::new(format!("the config in {subject}"), text))?.config,
        None => Config::empty(Spec::V3_0),
    };
    Ok((tree, config))
}
