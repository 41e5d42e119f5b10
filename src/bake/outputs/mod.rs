//! What a tree holds besides what was built: one file a format, one line in [`FORMATS`].
//!
//! A format reads its own options from the recipe, says which stock files of the release it needs, and turns what was
//! built into published files. It never reads or writes a disk: `publish` does. Where a file must be built that no other
//! format needs, it brings the step ([`OutputFormat::steps`]; [`crate::bake::steps`] says how).

mod dhcp;
mod disk;
pub mod dnsmasq;
mod grub;
mod ipxe;
mod matchbox;
pub mod matching;

pub mod nodes;
mod options;
mod pxe;
mod pxelinux;
mod sysupdate;
mod terraform;
mod udhcpd;
mod uki;

use std::collections::BTreeMap;
use std::fmt;

use crate::bake::artifacts::{Artifact, Boot, ImageArchive, SysextImage};
use crate::bake::images;
use crate::bake::recipe::Recipe;
use crate::bake::steps::{Planned, Step};
use crate::base::arch::Arch;
use crate::base::error::Result;
use crate::base::finding::Finding;
use crate::base::yaml::decode::Spanned;
use crate::flatcar::board::{CURRENT, SIGNATURE, VERSION_TXT};
use crate::flatcar::version::Version;
use crate::machine::base_url::BaseUrl;
use crate::machine::node::Node;
use crate::tree::lock::Lock;
use crate::tree::manifest::{Origin, Role};
use crate::tree::names::{self, config_arg, report_arg, sysext_path};
use crate::tree::row::Row;

pub use options::Options;

/// An output that a recipe asks for, with its options.
pub trait OutputFormat: fmt::Debug + Send + Sync {
    /// The stock files of the release that it publishes.
    fn stock_files(&self) -> &'static [(&'static str, Role)] {
        &[]
    }

    /// Versions of sysexts that it publishes beside those that profiles boot, by sysext.
    fn sysext_versions(&self) -> &[(Spanned<String>, Vec<Spanned<String>>)] {
        &[]
    }

    /// Steps of its own, which come after those that every build has: they build files that only this output publishes.
    ///
    /// # Errors
    /// A file that it takes from the machine that builds cannot be read.
    fn steps<'p>(&self, planned: &Planned<'_, 'p>) -> Result<Vec<Step<'p>>> {
        let _ = planned;
        Ok(Vec::new())
    }

    /// Where it is told that machines find the root of the tree.
    fn base_url(&self) -> Option<&BaseUrl> {
        None
    }

    /// Whether machines load by TFTP what it names, from a server that has files and joins none.
    fn is_tftp(&self) -> bool {
        false
    }

    /// Whether a person can choose any profile in what it makes.
    fn offers_every_profile(&self) -> bool {
        false
    }

    /// What the rest of the recipe says that this output cannot express.
    fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        let _ = recipe;
        Vec::new()
    }

    /// The files that it makes of what was built, beside the stock files.
    fn emit(&self, built: &Built<'_>) -> Vec<Row>;
}

/// A line of the table of formats.
pub struct Format {
    /// As recipes name it under `outputs:`.
    pub name: &'static str,
    /// Formats whose files it speaks of, so that a recipe needs them, too.
    pub needs: &'static [&'static str],
    /// Reads its options; nothing where a finding says why not.
    pub read: fn(&Options<'_>) -> Option<Box<dyn OutputFormat>>,
}

/// All formats, in the order they are listed to people.
pub const FORMATS: &[Format] = &[
    Format { name: "pxe", needs: &[], read: |_| Some(Box::new(pxe::Pxe)) },
    Format { name: "disk", needs: &[], read: |_| Some(Box::new(disk::Disk)) },
    Format { name: "matchbox", needs: &["pxe"], read: |_| Some(Box::new(matchbox::Matchbox)) },
    Format { name: "terraform", needs: &["pxe", "matchbox"], read: |_| Some(Box::new(terraform::Terraform)) },
    Format { name: "ipxe", needs: &["pxe"], read: ipxe::read },
    Format { name: "grub", needs: &["pxe"], read: grub::read },
    Format { name: "pxelinux", needs: &["pxe"], read: pxelinux::read },
    Format { name: "uki", needs: &["pxe"], read: uki::read },
    Format { name: "dnsmasq", needs: &["ipxe"], read: dnsmasq::read },
    Format { name: "udhcpd", needs: &["ipxe"], read: udhcpd::read },
    Format { name: "sysupdate", needs: &[], read: sysupdate::read },
];

/// What a recipe without `outputs:` gets.
pub const DEFAULT: [&str; 3] = ["pxe", "matchbox", "ipxe"];

/// Everything that the formats may speak of.
pub struct Built<'b> {
    /// The recipe.
    pub recipe: &'b Recipe,
    /// Its lock.
    pub lock: &'b Lock,
    /// The Flatcar version.
    pub version: Version,
    /// One for each profile and architecture, and one for each node with layers of its own.
    pub boots: Vec<Boot>,
    /// The sysext images, each once for each architecture.
    pub sysexts: Vec<SysextImage>,
    /// The container images, each once for each architecture.
    pub images: Vec<ImageArchive>,
    /// Artifacts of the steps that outputs bring, by the steps' ids.
    pub others: BTreeMap<String, Artifact>,
}

impl Built<'_> {
    /// The artifact of a step that an output brings.
    pub fn made(&self, step: &str) -> Option<Artifact> {
        self.others.get(step).copied()
    }

    /// The boot of a node: its own, else its profile's.
    pub fn boot_of(&self, node: &Node) -> Option<&Boot> {
        let own = self.boots.iter().find(|boot| boot.node.as_deref() == Some(&node.name.value));
        own.or_else(|| self.boot_of_profile(&node.profile.value, node.arch))
    }

    /// The boot that all nodes of a profile share.
    pub fn boot_of_profile(&self, profile: &str, arch: Arch) -> Option<&Boot> {
        let mut own = self.boots.iter().filter(|boot| boot.node.is_none() && boot.arch == arch);
        own.find(|boot| boot.profile == profile)
    }

    /// The boots that profiles have for all their nodes.
    pub fn profile_boots(&self) -> impl Iterator<Item = &Boot> {
        self.boots.iter().filter(|boot| boot.node.is_none())
    }

    /// Path of a stock file in the tree: where `flatcar-install -b URL/assets/flatcar -V VERSION` looks for it; with
    /// several architectures `-b URL/assets/flatcar/BOARD`.
    pub fn stock_path(&self, arch: Arch, file: &str) -> String {
        format!("{}/{}/{file}", self.recipe.stock_root(arch), self.version)
    }

    /// What machines boot that no node names, for each architecture.
    pub fn default_boots(&self) -> Vec<&Boot> {
        let Some(profile) = &self.recipe.default_profile else { return Vec::new() };
        let archs = self.recipe.release.archs.iter();
        archs.filter_map(|arch| self.boot_of_profile(profile, *arch)).collect()
    }
}

/// Under which names GRUB and PXELINUX look for a node's own config. 01 is ARP's number of Ethernet.
fn loader_names(node: &Node) -> impl Iterator<Item = String> {
    let by_mac = node.mac.as_ref().map(|mac| format!("01-{}", mac.hyphened()));
    let by_uuid = node.uuid.as_ref().map(|uuid| uuid.value.clone());
    by_mac.into_iter().chain(by_uuid)
}

impl Row {
    /// Says which profile and node the file belongs to.
    fn of(self, boot: &Boot) -> Self {
        self.belonging_to(&boot.profile, boot.node.as_deref())
    }

    /// Says that the file belongs to a node, whether it shares its boot with others or not.
    fn for_node(self, node: &Node, boot: &Boot) -> Self {
        self.belonging_to(&boot.profile, Some(&node.name.value))
    }
}

impl Boot {
    /// Path of the overlay in the tree.
    pub fn overlay_path(&self) -> String {
        names::overlay(&self.id)
    }

    /// Path of base and overlay in one, where the layout has that.
    pub fn joined_path(&self) -> String {
        names::joined(&self.id)
    }
}

/// What a node is told that fetches its config from this place below the URL.
fn fetch_args(base_url: &BaseUrl, config: &str) -> [String; 2] {
    [config_arg(&format!("{base_url}/{config}")), report_arg(base_url)]
}

/// The steps that a recipe's outputs bring.
pub fn steps<'p>(planned: &Planned<'_, 'p>) -> Result<Vec<Step<'p>>> {
    let mut steps = Vec::new();
    for output in &planned.recipe.outputs {
        steps.extend(output.format.steps(planned)?);
    }
    Ok(steps)
}

/// The stock files that a recipe's formats publish, each once.
pub fn stock_files(recipe: &Recipe) -> Vec<(&'static str, Role)> {
    let outputs = recipe.outputs.iter();
    let mut files: Vec<_> = outputs.flat_map(|output| output.format.stock_files()).copied().collect();
    files.sort_unstable();
    files.dedup();
    files
}

/// Every file of the tree, sorted by path.
pub fn rows(built: &Built<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for arch in built.recipe.release.archs.iter().copied() {
        rows.extend(stock_rows(built, arch));
    }
    rows.extend(built.sysexts.iter().map(|image| Row {
        arch: Some(image.arch),
        step: Some(image.step),
        verity: image.verity,
        ..Row::stored(sysext_path(&image.name, &image.version, image.arch), Role::Sysext, image.object)
    }));
    rows.extend(built.images.iter().map(|image| {
        let path = images::published_path(&image.reference, image.arch);
        Row {
            arch: Some(image.arch),
            origin: images::manifest(built.lock, &image.reference, image.arch).map(Origin::from),
            step: Some(image.step),
            ..Row::stored(path, Role::ContainerImage, image.object)
        }
    }));
    rows.extend(built.recipe.outputs.iter().flat_map(|output| output.format.emit(built)));
    rows.extend(nodes::row(built));
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    rows
}

fn stock_rows(built: &Built<'_>, arch: Arch) -> Vec<Row> {
    let mut rows = Vec::new();
    for (file, role) in stock_files(built.recipe) {
        for (name, role) in [(file.to_owned(), role), (format!("{file}{SIGNATURE}"), Role::Signature)] {
            let Some(entry) = built.lock.inputs.get(&crate::bake::lock_ids::stock_id(arch, &name)) else {
                continue;
            };
            // `flatcar-install -V current` and update engines read the version there, then go to its own directory.
            let current =
                (file == VERSION_TXT).then(|| format!("{}/{CURRENT}/{name}", built.recipe.stock_root(arch)));
            let paths = [built.stock_path(arch, &name)].into_iter().chain(current);
            rows.extend(paths.map(|path| Row {
                arch: Some(arch),
                origin: Some(entry.into()),
                ..Row::stored(path, role, entry.object())
            }));
        }
    }
    rows
}
