//! The recipe: what a person wants, as they wrote it (`recipes/NAME.yaml`).
//!
//! Owns the format and every check that needs nothing but the text. Paths in it are relative to the recipe's own
//! directory. Leaves resolved versions to the `lock`, and steps to the `plan`.
//!
//! A recipe knows its outputs by name alone: `outputs` reads their options.

mod absent;
pub(crate) mod decode;
mod install;
mod kernel_args;
pub mod keys;
mod kubernetes;
pub(crate) mod nodes;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use crate::base::arch::Arch;
use crate::base::disk;
use crate::base::finding::{Finding, Findings, MAX_TEXT, Place, Source, not_text};
use crate::base::kind;
use crate::base::yaml::decode::{Decoder, Spanned};
use crate::base::yaml::{self, Node as Yaml};
use crate::flatcar::version::VersionWish;
use crate::machine::base_url::BaseUrl;
use crate::machine::node::Node;
use crate::registry::reference::ImageRef;
use crate::source::SourceName;
use crate::sysext::packaging;
use crate::tree::names::{boot_id, stock_root};
use crate::trust::openpgp::FLATCAR_PRIMARY;
use crate::trust::pin::Trust;

pub(crate) use install::{Install, SYSEXTS as INSTALL_SYSEXTS};
pub(crate) use kernel_args::fault_of as kernel_arg_fault;
pub(crate) use kubernetes::{Carriage, Images, Kubernetes, Role};

/// The outputs of a recipe without `outputs:`.
pub(crate) const DEFAULT_OUTPUTS: [&str; 3] = ["pxe", "matchbox", "ipxe"];

/// A parsed and checked recipe.
#[derive(Debug)]
pub struct Recipe {
    /// Name of the output directory and of the lock.
    pub name: String,
    /// The recipe file, for findings of later stages.
    pub source: Arc<Source>,
    /// Directory to which its paths are relative.
    pub directory: PathBuf,
    /// The Flatcar release that is wanted.
    pub release: Release,
    /// The key that must have signed the release.
    pub trust: Trust,
    /// Base URLs to ask instead of a source's public host, in order.
    pub mirrors: BTreeMap<SourceName, Vec<String>>,
    /// Source of machines' configs, if the recipe states it.
    pub config_from: Option<Spanned<ConfigFrom>>,
    /// Where machines will find the root of the tree, for those that must fetch from it; it counts before what outputs say.
    pub base_url: Option<BaseUrl>,
    /// The key `kubernetes:`.
    pub kubernetes: Option<Kubernetes>,
    /// Sysexts that every profile gets.
    pub sysexts: Vec<Sysext>,
    /// Settings for making the images of its sysexts.
    pub packaging: packaging::Wish,
    /// Container images that the tree contains as archives; where nodes carry images, they carry these, too.
    pub images: Vec<Spanned<ImageRef>>,
    /// SSH keys that may log in as `core`, on every machine.
    pub ssh_keys: Vec<SshKeys>,
    /// Files of authorities that every machine trusts besides the public ones.
    pub trust_ca: Vec<Spanned<PathBuf>>,
    /// Places that look like a secret and may be published.
    pub public_secrets: Vec<PublicSecret>,
    /// The classes of nodes, by name.
    pub profiles: BTreeMap<String, Profile>,
    /// The machines with a name.
    pub nodes: Vec<Node>,
    /// The profile of machines that no node names.
    pub default_profile: Option<String>,
    /// The outputs of the tree.
    pub outputs: Vec<Output>,
}

/// An output that the recipe asks for.
#[derive(Debug)]
pub struct Output {
    /// Its name, where the recipe says it; the whole recipe's place where it is one of [`DEFAULT_OUTPUTS`].
    pub name: Spanned<String>,
    /// Its options, unread.
    pub options: Yaml,
}

/// Which Flatcar release is wanted.
#[derive(Debug)]
pub struct Release {
    /// `stable`, `beta`, `alpha`, `lts` or a stream such as `lts-2024`; judged when it is resolved.
    pub channel: Spanned<String>,
    /// One version, or the newest of the channel.
    pub version: VersionWish,
    /// Architectures of the machines: at least one, each once, in the order of [`Arch::ALL`].
    pub archs: Vec<Arch>,
}

/// A place that is declared not to contain a secret, though it may look like one.
#[derive(Clone, Debug)]
pub struct PublicSecret {
    /// As findings name it: a path on the machine, `kernel_args`, or a container image.
    pub path: Spanned<String>,
    /// Why it may be public, for readers of the recipe.
    pub why: String,
}

/// Source of SSH public keys.
#[derive(Debug)]
pub enum SshKeys {
    /// Written in the recipe: one line of `authorized_keys`.
    Key(Spanned<String>),
    /// A file of such lines.
    File(Spanned<PathBuf>),
    /// The keys that a GitHub user publishes, pinned by the lock. The value is the user's name.
    Github(Spanned<String>),
}

/// The boot of a class of nodes.
#[derive(Debug)]
pub struct Profile {
    /// Place in the recipe.
    pub place: Place,
    /// Butane or Ignition files, merged in order; the last wins.
    pub ignition: Vec<Spanned<PathBuf>>,
    /// Such files with secrets: the machine itself merges them over the others, and only its guard's token gets them.
    pub private: Vec<Spanned<PathBuf>>,
    /// Sysexts besides the recipe's own.
    pub sysexts: Vec<Sysext>,
    /// Kernel arguments besides those that PXE needs.
    pub kernel_args: Vec<Spanned<String>>,
    /// How base and overlay get to the machine, if the recipe states it.
    pub layout: Option<Spanned<Layout>>,
    /// Initrds that the kernel unpacks before Flatcar's own, such as microcode.
    pub early_initrds: Vec<Spanned<PathBuf>>,
    /// Role of its nodes in a cluster; without one they may do everything.
    pub role: Option<Role>,
    /// The disk to which its nodes install themselves; without one they run in memory.
    pub install: Option<Install>,
    /// A Go template that Matchbox fills in for its nodes at `/generic`.
    pub generic: Option<Spanned<PathBuf>>,
    /// Place of `diskless: true`, which states that its nodes need no network once they are loaded.
    pub diskless: Option<Place>,
}

/// How the initrd of a boot gets to the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// As two files: the release's own initrd, which all boots share, and a small overlay.
    #[default]
    Overlay,
    /// As one stored file, for loaders that take only one initrd.
    Single,
    /// As one URL, for which the server joins the two files; nothing more is stored.
    Virtual,
}

/// A sysext that is wanted, and the values of its variables.
#[derive(Clone, Debug)]
pub struct Sysext {
    /// Its name, or the path of its folder.
    pub name: Spanned<String>,
    /// Values for its variables, `version` among them.
    pub set: BTreeMap<String, Spanned<String>>,
}

impl Sysext {
    /// The values without their places.
    pub(crate) fn values(&self) -> BTreeMap<String, String> {
        self.set.iter().map(|(variable, value)| (variable.clone(), value.value.clone())).collect()
    }
}

impl Recipe {
    /// Reads and checks a recipe file, and whatever `outputs` makes of its outputs.
    ///
    /// # Errors
    /// [`disk::Error::Io`] when it cannot be read, else every finding in it at once, those of `outputs` among them.
    pub fn load<O>(
        path: &Path,
        outputs: impl FnOnce(&Recipe, &Decoder) -> O,
    ) -> crate::base::error::Result<(Recipe, O)> {
        let bytes = disk::read_at_most(path, MAX_TEXT).map_err(|error| -> crate::base::error::Error {
            match error.kind() {
                ErrorKind::NotFound => absent::Absent::Missing(path.to_owned()).into(),
                ErrorKind::IsADirectory => absent::Absent::Directory(path.to_owned()).into(),
                _ => disk::Error::io("read the recipe", path)(error).into(),
            }
        })?;
        let name = path.display().to_string();
        let text = String::from_utf8(bytes).map_err(|bytes| match kind::of(bytes.as_bytes()) {
            Some(kind::Known { what, advice }) => {
                Finding::error(format!("{name} is {what}, not a recipe")).hint(advice).into()
            }
            None => not_text(&name),
        })?;
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let source = Source::new(name, text);
        // A key or a script is no YAML, and a parser's complaint about it leads nowhere.
        if yaml::parse(&source).is_err()
            && let Some(kind::Known { what, advice }) = kind::of(source.text.as_bytes())
        {
            let finding = Finding::error(format!("this is {what}, not a recipe"));
            let place = Place { source: source.clone(), line: 1, column: 1 };
            return Err(Findings::from(finding.at(place).hint(advice)).into());
        }
        Ok(Recipe::parse(&source, directory, outputs)?)
    }

    /// Checks a recipe that is already in memory, as [`load`](Self::load) does.
    pub fn parse<O>(
        source: &Arc<Source>,
        directory: PathBuf,
        outputs: impl FnOnce(&Recipe, &Decoder) -> O,
    ) -> Result<(Recipe, O), Findings> {
        decode::recipe(source, directory, outputs)
    }

    /// How the nodes of a profile get container images; `None` if the recipe carries none or they do not run
    /// Kubernetes.
    pub(crate) fn images_of(&self, profile: &Profile) -> Option<&Images> {
        let images = self.kubernetes.as_ref()?.images.as_ref()?;
        let mut all = self.sysexts.iter().chain(&profile.sysexts);
        all.any(|sysext| name_of(&sysext.name) == "kubernetes").then_some(images)
    }

    /// The sysexts of a profile: the recipe's own first, each once, and last the one that imports its images.
    pub(crate) fn sysexts_of<'r>(&'r self, profile: &'r Profile) -> Vec<&'r Sysext> {
        let mut seen = std::collections::BTreeSet::new();
        let importer = self.images_of(profile).map(|images| &images.importer);
        let all = self.sysexts.iter().chain(&profile.sysexts).chain(importer);
        all.filter(|sysext| seen.insert(sysext.name.value.as_str())).collect()
    }

    /// Whether the recipe asks for an output of this name.
    pub(crate) fn has_output(&self, name: &str) -> bool {
        self.outputs.iter().any(|output| output.name.value == name)
    }

    /// Id, in file names, of a profile's boot or a node's own: `worker`, `worker+n1`; with several architectures
    /// `worker.arm64`, `worker.arm64+n1`.
    pub(crate) fn boot_id(&self, profile: &str, arch: Arch, node: Option<&str>) -> String {
        boot_id(profile, (self.release.archs.len() > 1).then_some(arch), node)
    }

    /// Path below the root of the tree for `flatcar-install -b`; with several architectures each has its own.
    pub(crate) fn stock_root(&self, arch: Arch) -> String {
        stock_root((self.release.archs.len() > 1).then_some(arch))
    }

    /// Name of the default boot of an architecture: the first one also takes every machine that states no other.
    pub(crate) fn default_name(&self, arch: Arch) -> String {
        match self.release.archs.first() {
            Some(first) if *first != arch => format!("default-{arch}"),
            _ => "default".into(),
        }
    }
}

impl Profile {
    /// Its layout, or the default.
    pub(crate) fn layout(&self) -> Layout {
        self.layout.as_ref().map_or(Layout::default(), |layout| layout.value)
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "overlay" => Ok(Layout::Overlay),
            "single" => Ok(Layout::Single),
            "virtual" => Ok(Layout::Virtual),
            _ => Err(format!("`{text}` is not a layout: overlay, single or virtual")),
        }
    }
}

/// Where a recipe wants a machine's config to come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConfigFrom {
    /// The overlay; a release that loses it is refused.
    #[default]
    Overlay,
    /// The overlay, or a URL where the release loses the overlay's config.
    Auto,
    /// A URL, for every release.
    Url,
}

impl FromStr for ConfigFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "overlay" => Ok(ConfigFrom::Overlay),
            "auto" => Ok(ConfigFrom::Auto),
            "url" => Ok(ConfigFrom::Url),
            _ => Err(format!("`{text}` is not a source of configs: use overlay, auto or url")),
        }
    }
}

/// The name of a sysext in a profile, from its spelling in the recipe.
pub(crate) fn name_of(spelling: &str) -> &str {
    spelling.trim_end_matches('/').rsplit('/').next().unwrap_or(spelling)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Recipe, Findings> {
        Recipe::parse(&Source::new("r.yaml", text), PathBuf::new(), |_, _| ()).map(|(recipe, ())| recipe)
    }

    fn findings(text: &str) -> Vec<String> {
        let Err(Findings(findings)) = parse(text) else { panic!("findings expected") };
        findings
            .iter()
            .map(|f| format!("{}: {}", f.place.as_ref().map_or(0, |p| p.line), f.message))
            .collect()
    }

    const GOOD: &str = "schema: 1\nname: edge\nrelease: {channel: stable}\nprofiles:\n  worker: {}\n";

    #[test]
    fn the_smallest_recipe_gets_the_defaults() {
        let recipe = parse(GOOD).unwrap();
        assert_eq!(recipe.release.version, VersionWish::Latest);
        assert_eq!(recipe.release.archs, [Arch::Amd64]);
        assert_eq!(recipe.trust.primary, FLATCAR_PRIMARY);
        let outputs: Vec<&str> = recipe.outputs.iter().map(|output| output.name.value.as_str()).collect();
        assert_eq!(outputs, ["pxe", "matchbox", "ipxe"]);
    }

    #[test]
    fn an_unknown_key_is_refused_where_it_stands() {
        assert_eq!(
            findings(&format!("{GOOD}default_profle: worker\n")),
            ["6: unknown key `default_profle` in the recipe"]
        );
    }

    /// Issue 14, A11: butane#507, and ux §4 with seven errors for a Butane config.
    #[test]
    fn holders_and_merge_keys_share_parts_and_a_file_of_another_kind_is_called_by_its_name() {
        let text = "schema: 1\nname: edge\nx-all: &all {layout: single, kernel_args: [quiet]}\n\
                    release: {channel: stable}\nprofiles:\n  worker: {<<: *all}\n  db:\n    <<: *all\n    layout: overlay\n";
        let recipe = parse(text).unwrap();
        assert_eq!(recipe.profiles["worker"].layout(), Layout::Single);
        assert_eq!(recipe.profiles["db"].layout(), Layout::Overlay);
        assert_eq!(recipe.profiles["db"].kernel_args.len(), 1);
        assert_eq!(findings(&format!("{GOOD}trust: {{x-a: 1}}\n")).len(), 2, "holders stand at the top");
        assert_eq!(
            findings("variant: flatcar\nversion: 1.1.0\n"),
            ["1: this is a Butane config, not a recipe"]
        );
        assert_eq!(
            findings("schema: 1\nrelease: {}\ninputs: {}\n"),
            ["1: this is a lock file, not a recipe"]
        );
    }

    #[test]
    fn two_nodes_with_one_mac_are_refused_at_the_second() {
        let text = format!(
            "{GOOD}nodes:\n  - {{name: a, mac: '52:54:00:00:00:01', profile: worker}}\n  - {{name: b, mac: 52-54-00-00-00-01, profile: worker}}\n"
        );
        assert_eq!(findings(&text), ["8: nodes `a` and `b` have the same MAC address 52:54:00:00:00:01"]);
    }

    #[test]
    fn a_node_needs_a_selector_and_a_known_profile() {
        let text = format!("{GOOD}nodes:\n  - {{name: a, profile: wroker}}\n");
        assert_eq!(
            findings(&text),
            ["7: node `a` needs a `mac` or a `uuid` to be identified by", "7: there is no profile `wroker`"]
        );
    }

    #[test]
    fn names_that_become_file_names_are_plain() {
        let text = GOOD.replace("worker:", "../worker:").replace("edge", "ed ge");
        assert_eq!(findings(&text).len(), 2);
    }
}
