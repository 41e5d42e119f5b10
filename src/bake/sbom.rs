//! `sbom.spdx.json`: the bill of materials of a tree, for scanners and auditors (SPDX 2.3; docs/formats/sbom.md).
//!
//! Owns the packages and their relationships. Leaves the document's form to [`spdx`] and the names of packages to
//! [`purl`]. Everything in it follows from recipe and lock, so it is a published file like any other and part of the
//! BUILD-ID.

use std::collections::BTreeMap;

use crate::bake::extensions::Selected;
use crate::bake::images;
use crate::bake::lock_ids::{component_id, stock_id, stock_of};
use crate::bake::outputs::Built;
use crate::bake::steps::{Part, Step};
use crate::base::arch::Arch;
use crate::base::digest::Sha256;
use crate::flatcar::board::{self, Board};
use crate::registry::reference::ImageRef;
use crate::source::input::Entry;
use crate::tree::manifest::Role;
use crate::tree::names::sysext_path;
use crate::tree::row::Row;
use crate::tree::sbom::file_id;
use crate::tree::sbom::purl;
use crate::tree::sbom::spdx::{self, Checksum, Document, ExternalRef, Package, Purpose, Verb};

const TREE: &str = "SPDXRef-Tree";
/// The data of a build that its SBOM is made from.
pub(crate) struct Build<'b> {
    /// The built objects.
    pub built: &'b Built<'b>,
    /// The sysexts, in the plan's order.
    pub sysexts: &'b [Selected],
    /// The steps that built them.
    pub steps: &'b [Step<'b>],
    /// Every published file, except the SBOM and the list of digests.
    pub rows: &'b [Row],
}

impl Build<'_> {
    /// The SBOM's bytes.
    pub(crate) fn document(&self) -> Vec<u8> {
        let lock = self.built.lock;
        let mut document = Document::new(&self.built.recipe.name, lock.epoch());
        let tree = Package::new(TREE.into(), &self.built.recipe.name, Purpose::Other);
        document.packages.push(tree);
        document.relate(spdx::DOCUMENT, Verb::Describes, TREE);
        self.releases(&mut document);
        self.components(&mut document);
        self.stock_inputs(&mut document);
        self.images(&mut document);
        self.files(&mut document);
        self.origins(&mut document);
        document.into_bytes()
    }

    /// The operating system, once for each architecture.
    fn releases(&self, document: &mut Document) {
        let release = &self.built.lock.release;
        for arch in self.built.recipe.release.archs.iter().copied() {
            let mut package = Package::new(os_id(arch), "flatcar", Purpose::OperatingSystem);
            package.version_info = Some(release.version.clone());
            if let Some(board) = Board::of(&release.channel, arch) {
                package.download_location = board.url(&release.version, "");
            }
            // As in the release's own os-release (CPE_NAME).
            let cpe = format!("cpe:2.3:o:flatcar-linux:flatcar_linux:{}:*:*:*:*:*:*:*", release.version);
            package.external_refs =
                vec![ExternalRef::cpe(cpe), ExternalRef::purl(purl::flatcar(&release.version, arch))];
            document.packages.push(package);
            document.relate(TREE, Verb::Contains, &os_id(arch));
        }
    }

    /// The components of sysexts.
    fn components(&self, document: &mut Document) {
        for (sysext, component) in self.sysexts.iter().flat_map(with_each) {
            let Some((id, entry)) = self.component(sysext, component) else { continue };
            let mut package = fetched(id, component, Purpose::Application, entry);
            let version = purl::version_in(&entry.url);
            package.version_info = version.map(str::to_owned);
            let purl = purl::fetched(component, version, &entry.url, &entry.sha256);
            package.external_refs = vec![ExternalRef::purl(purl)];
            document.packages.push(package);
        }
    }

    /// Files of the release that steps take and that are not published.
    fn stock_inputs(&self, document: &mut Document) {
        for (id, entry) in &self.built.lock.inputs {
            let is_input = |part: &Part<'_>| matches!(part, Part::Input(input) if input == id);
            let is_taken = self.steps.iter().any(|step| step.work.parts().iter().any(is_input));
            let Some((arch, file)) = stock_of(id).filter(|_| is_taken && self.published(entry).is_none())
            else {
                continue;
            };
            document.packages.push(fetched(input_id(id), file, Purpose::Archive, entry));
            document.relate(&os_id(arch), Verb::Contains, &input_id(id));
        }
    }

    fn images(&self, document: &mut Document) {
        for (reference, arch) in self.steps.iter().filter_map(image_of) {
            let Some(entry) = images::manifest(self.built.lock, reference, arch) else { continue };
            let id = image_id(reference, arch);
            let mut package = fetched(id, &reference.to_string(), Purpose::Container, entry);
            package.version_info = Some(reference.object());
            let purl = purl::image(reference, arch, &entry.sha256);
            package.external_refs = vec![ExternalRef::purl(purl)];
            document.packages.push(package);
        }
    }

    /// Every published file, as a package. SPDX also has files, but requires their SHA-1, for which every base would be
    /// read again.
    fn files(&self, document: &mut Document) {
        for (row, file) in self.rows.iter().filter_map(|row| Some((row, row.file()?))) {
            let mut package = Package::new(file_id(&row.path), &row.path, purpose(file.role));
            package.package_file_name = Some(row.path.clone());
            package.checksums = vec![Checksum::sha256(&file.sha256)];
            if let Some(origin) = &file.origin {
                package.download_location = origin.url.clone();
                package.source_info = origin.signer.as_deref().map(signed_by);
            }
            document.relate(TREE, Verb::Contains, &package.id);
            let stock = file.role != Role::ContainerImage && file.origin.is_some();
            if let Some(arch) = file.arch.filter(|_| stock) {
                document.relate(&os_id(arch), Verb::Contains, &package.id);
                let entry = self.stock(arch, &row.path);
                package.checksums.extend(entry.and_then(|entry| entry.sha512).as_ref().map(Checksum::sha512));
            }
            document.packages.push(package);
        }
        for image in &self.built.artifacts.sysexts {
            let id = file_id(&sysext_path(&image.name, &image.version, image.arch));
            if let Some(package) = document.packages.iter_mut().find(|package| package.id == id) {
                package.name = image.name.clone();
                package.version_info = Some(image.version.clone());
            }
        }
    }

    /// The origin of each built file, by the steps' needs.
    fn origins(&self, document: &mut Document) {
        let mut published: BTreeMap<Sha256, Vec<String>> = BTreeMap::new();
        for (step, row) in self.rows.iter().filter_map(|row| Some((row.step?, row))) {
            published.entry(step).or_default().push(file_id(&row.path));
        }
        let files = |key: &Sha256| published.get(key).into_iter().flatten();
        // Steps that use an image refer to the image itself, whether its archive is published or not.
        let image = |key: &Sha256| {
            let step = self.steps.iter().find(|step| step.key == *key);
            step.and_then(image_of).map(|(reference, arch)| image_id(reference, arch))
        };
        // An artifact that is made of an unpublished one is made of that one's parts.
        let unpublished = |key: &Sha256| {
            let step = self.steps.iter().find(|step| step.key == *key)?;
            (files(key).next().is_none() && image_of(step).is_none()).then_some(step)
        };
        for step in self.steps {
            for made in files(&step.key) {
                let hidden = step.needs.values().filter_map(unpublished);
                for part in std::iter::once(step).chain(hidden).flat_map(|step| step.work.parts()) {
                    match part {
                        Part::System(arch) => document.relate(made, Verb::Contains, &os_id(arch)),
                        Part::Input(id) => {
                            document.relate(made, Verb::GeneratedFrom, &self.input(&id));
                            if let Some((arch, board::DISK)) = stock_of(&id) {
                                document.relate(made, Verb::Contains, &os_id(arch));
                            }
                        }
                        Part::Image(reference, arch) => {
                            document.relate(made, Verb::Contains, &image_id(reference, arch));
                        }
                    }
                }
                let verb = if step.work.holds_needs() { Verb::Contains } else { Verb::DependsOn };
                for key in step.needs.values() {
                    match image(key) {
                        Some(image) => document.relate(made, verb, &image),
                        None => files(key).for_each(|part| document.relate(made, verb, part)),
                    }
                }
            }
        }
    }

    /// The package of an input: that of the published file where it is one.
    fn input(&self, id: &str) -> String {
        let entry = self.built.lock.inputs.get(id);
        entry.and_then(|entry| self.published(entry)).map_or_else(|| input_id(id), file_id)
    }

    /// Path of the published file that is an input as it came.
    fn published(&self, entry: &Entry) -> Option<&str> {
        let is = |row: &&Row| row.origin.as_ref().is_some_and(|origin| origin.url == entry.url);
        self.rows.iter().find(is).map(|row| row.path.as_str())
    }

    fn component(&self, sysext: &Selected, name: &str) -> Option<(String, &Entry)> {
        let id = component_id(sysext, name);
        let entry = self.built.lock.inputs.get(&id)?;
        Some((input_id(&id), entry))
    }

    fn stock(&self, arch: Arch, path: &str) -> Option<&Entry> {
        self.built.lock.inputs.get(&stock_id(arch, path.rsplit('/').next()?))
    }
}

fn with_each(sysext: &Selected) -> impl Iterator<Item = (&Selected, &str)> {
    sysext.components.iter().map(move |component| (sysext, component.name.as_str()))
}

/// The container image that a step packs.
fn image_of<'s>(step: &'s Step<'_>) -> Option<(&'s ImageRef, Arch)> {
    step.work.parts().into_iter().find_map(|part| match part {
        Part::Image(reference, arch) => Some((reference, arch)),
        Part::System(_) | Part::Input(_) => None,
    })
}

fn fetched(id: String, name: &str, purpose: Purpose, entry: &Entry) -> Package {
    let mut package = Package::new(id, name, purpose);
    package.download_location = entry.url.clone();
    package.checksums = vec![Checksum::sha256(&entry.sha256)];
    package.checksums.extend(entry.sha512.as_ref().map(Checksum::sha512));
    package.source_info = entry.signer.as_deref().map(signed_by);
    package
}

fn signed_by(signer: &str) -> String {
    format!("the signature by OpenPGP key {signer} was verified when it was fetched")
}

fn purpose(role: Role) -> Purpose {
    match role {
        Role::Sysext | Role::ContainerImage | Role::DiskImage | Role::PlatformImage => Purpose::Archive,
        Role::BaseInitrd | Role::Overlay | Role::Initrd | Role::EarlyInitrd => Purpose::Archive,
        _ => Purpose::File,
    }
}

fn os_id(arch: Arch) -> String {
    format!("SPDXRef-Flatcar-{arch}")
}

fn image_id(reference: &ImageRef, arch: Arch) -> String {
    spdx::id("Image", &format!("{reference}/{arch}"))
}

fn input_id(id: &str) -> String {
    spdx::id("Input", id)
}
