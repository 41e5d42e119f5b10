//! The outputs of a recipe: one file a format, one line in [`FORMATS`].
//!
//! A format reads its own options from the recipe, says which stock files of the release it needs, and turns what was
//! built into published files. `emit` never reads or writes a disk: `publish` does. Where a file must be built that no other
//! format needs, it brings the step ([`OutputFormat::steps`]; [`crate::bake::steps`] says how).

mod capi;
mod dhcp;
mod disk;
pub(crate) mod dnsmasq;
mod grub;
mod ipxe;
pub mod keys;
mod matchbox;
pub(crate) mod matching;
pub(crate) mod nodes;
mod options;
mod pxe;
mod pxelinux;
mod sysupdate;
mod terraform;
mod udhcpd;
mod uki;

use std::collections::BTreeSet;
use std::fmt;

use crate::bake::artifacts::{Artifact, Artifacts, Boot};
use crate::bake::extensions::Published;
use crate::bake::images;
use crate::bake::lock_ids::stock_id;
use crate::bake::recipe::{self, Recipe};
use crate::bake::steps::{Planned, Step};
use crate::base::arch::Arch;
use crate::base::error::Result;
use crate::base::finding::{Finding, Findings, nearest};
use crate::base::yaml::decode::Decoder;
use crate::base::yaml::keys::{Key, Rule};
use crate::flatcar::board::{CURRENT, SIGNATURE, VERSION_TXT};
use crate::flatcar::version::Version;
use crate::machine::base_url::BaseUrl;
use crate::machine::node::Node;
use crate::tree::lock::Lock;
use crate::tree::manifest::{Origin, Role};
use crate::tree::names::{self, config_arg, report_arg, sysext_path};
use crate::tree::row::Row;

pub(crate) use capi::of as capi_of;
pub(crate) use options::Options;

/// An output that a recipe asks for, with its options.
pub(crate) trait OutputFormat: fmt::Debug + Send + Sync {
    /// The stock files of the release that it publishes.
    fn stock_files(&self) -> &'static [(&'static str, Role)] {
        &[]
    }

    /// Stock files of the release that it makes its own files of, and that it does not publish.
    fn stock_inputs(&self) -> Vec<String> {
        Vec::new()
    }

    /// Versions of sysexts, by sysext, that it publishes besides those that profiles boot.
    fn sysext_versions(&self) -> &[Published] {
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

    /// The URL of the tree's root, if its options give one.
    fn base_url(&self) -> Option<&BaseUrl> {
        None
    }

    /// Whether its files are loaded by TFTP; a TFTP server cannot join two files into one.
    fn is_tftp(&self) -> bool {
        false
    }

    /// Whether people can choose any profile in its files.
    fn offers_every_profile(&self) -> bool {
        false
    }

    /// Whether its machines merge what they are given where they stand over the config of the recipe: who may log in is
    /// then known there.
    fn leaves_user_data(&self) -> bool {
        false
    }

    /// Takes in what it reads beside the recipe, once, before anything else is asked of it; faults in that are findings.
    fn gather(&self, recipe: &Recipe) -> Vec<Finding> {
        let _ = recipe;
        Vec::new()
    }

    /// Container images that it brings besides those of Kubernetes and of the recipe.
    fn images(&self) -> images::More {
        images::More::default()
    }

    /// Parts of the recipe that this output cannot express.
    fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        let _ = recipe;
        Vec::new()
    }

    /// Warnings about parts of the recipe that are not in what it publishes.
    fn warnings(&self, recipe: &Recipe) -> Vec<Finding> {
        let _ = recipe;
        Vec::new()
    }

    /// The files that it makes from the built objects, besides the stock files.
    fn emit(&self, built: &Built<'_>) -> Vec<Row>;
}

/// A line of the table of formats.
pub(crate) struct Format {
    /// Its key below `outputs:` in recipes, with those of its options.
    pub key: &'static Key,
    /// Reads its options; `None` if a finding reports a fault in them.
    pub read: fn(&Options<'_>) -> Option<Box<dyn OutputFormat>>,
}

/// All formats, in the order in which people see them listed.
pub(crate) const FORMATS: &[Format] = &[
    Format { key: &keys::PXE, read: |_| Some(Box::new(pxe::Pxe)) },
    Format { key: &keys::DISK, read: disk::read },
    Format { key: &keys::MATCHBOX, read: |_| Some(Box::new(matchbox::Matchbox)) },
    Format { key: &keys::TERRAFORM, read: terraform::read },
    Format { key: &keys::IPXE, read: ipxe::read },
    Format { key: &keys::GRUB, read: grub::read },
    Format { key: &keys::PXELINUX, read: pxelinux::read },
    Format { key: &keys::UKI, read: uki::read },
    Format { key: &keys::DNSMASQ, read: dnsmasq::read },
    Format { key: &keys::UDHCPD, read: udhcpd::read },
    Format { key: &keys::SYSUPDATE, read: sysupdate::read },
    Format { key: &keys::CAPI, read: capi::read },
];

impl Format {
    /// Its name in recipes.
    fn name(&self) -> &'static str {
        self.key.name
    }

    /// Formats that its files refer to, which the recipe then needs, too.
    fn needs(&self) -> impl Iterator<Item = &'static str> {
        let rules = keys::OUTPUTS.rules.iter();
        let others = rules.filter_map(|rule| match rule {
            Rule::Needs(name, others) if *name == self.name() => Some(*others),
            _ => None,
        });
        others.flatten().copied()
    }
}

/// The outputs that a recipe asks for, their options read; in the recipe's order.
#[derive(Debug)]
pub struct Outputs(Vec<Output>);

#[derive(Debug)]
struct Output {
    /// Its name in [`FORMATS`].
    name: &'static str,
    format: Box<dyn OutputFormat>,
}

/// Reads what a recipe asks for, and judges it beside the rest of the recipe. Findings go to the decoder of the recipe, so that
/// all come at once.
pub fn read(recipe: &Recipe, decoder: &Decoder) -> Outputs {
    let outputs = recipe.outputs.iter().filter_map(|output| {
        let format = known(output, decoder)?;
        // Those that a recipe gets by default are complete.
        for missing in format.needs().filter(|need| !recipe.has_output(need)) {
            let text =
                format!("`{}` refers to files that only the output `{missing}` publishes", format.name());
            let finding = Finding::error(text).at(output.name.place.clone());
            decoder.push(finding.hint(format!("add `{missing}: {{}}` to the outputs")));
        }
        let options = Options::new(decoder, &output.options, format.key.value.mapping()?);
        (format.read)(&options).map(|read| Output { name: format.name(), format: read })
    });
    let outputs = Outputs(outputs.collect());
    let findings = outputs.formats().flat_map(|format| format.check(recipe));
    findings.for_each(|finding| decoder.push(finding));
    outputs
}

/// The format of this name; without one a finding says so.
fn known(output: &recipe::Output, decoder: &Decoder) -> Option<&'static Format> {
    let name = &output.name;
    let format = FORMATS.iter().find(|format| format.name() == name.value);
    if format.is_none() {
        let known = FORMATS.iter().map(Format::name);
        let finding = Finding::error(format!("unknown output `{}`", name.value)).at(name.place.clone());
        decoder.push(match nearest(&name.value, known.clone()) {
            Some(near) => finding.hint(format!("did you mean `{near}`?")),
            None => finding.hint(format!("outputs: {}", known.collect::<Vec<_>>().join(", "))),
        });
    }
    format
}

impl Outputs {
    fn formats(&self) -> impl Iterator<Item = &dyn OutputFormat> {
        self.0.iter().map(|output| &*output.format)
    }

    /// Whether user data is merged over the config of all machines: none boots from the network alone.
    pub(crate) fn take_user_data(&self, recipe: &Recipe) -> bool {
        self.formats().any(OutputFormat::leaves_user_data) && !recipe.has_output("pxe")
    }

    /// Where their machines find the root of the tree, if all that say it say the same.
    pub(crate) fn base_url(&self) -> Option<&BaseUrl> {
        let mut urls = self.formats().filter_map(OutputFormat::base_url);
        let first = urls.next()?;
        urls.all(|url| url == first).then_some(first)
    }

    /// The name of the first whose machines load by TFTP.
    pub(crate) fn by_tftp(&self) -> Option<&'static str> {
        self.0.iter().find(|output| output.format.is_tftp()).map(|output| output.name)
    }

    /// Their warnings about a recipe.
    pub(crate) fn warnings(&self, recipe: &Recipe) -> Vec<Finding> {
        self.formats().flat_map(|format| format.warnings(recipe)).collect()
    }

    /// The steps that they bring.
    ///
    /// # Errors
    /// A file that one takes from the machine that builds cannot be read.
    pub(crate) fn steps<'p>(&self, planned: &Planned<'_, 'p>) -> Result<Vec<Step<'p>>> {
        let mut steps = Vec::new();
        for format in self.formats() {
            steps.extend(format.steps(planned)?);
        }
        Ok(steps)
    }

    /// Versions of sysexts that they publish beside those that profiles boot.
    pub fn sysext_versions(&self) -> Vec<&Published> {
        self.formats().flat_map(OutputFormat::sysext_versions).collect()
    }

    /// Has each take in what it reads beside the recipe.
    ///
    /// # Errors
    /// All faults in that.
    pub(crate) fn gather(&self, recipe: &Recipe) -> Result<(), Findings> {
        let findings = self.formats().flat_map(|format| format.gather(recipe)).collect();
        Findings::settle(findings, ()).map(|_| ())
    }

    /// Container images that they bring.
    pub(crate) fn images(&self) -> images::More {
        let mut all = images::More::default();
        for more in self.formats().map(OutputFormat::images) {
            all.nodes.extend(more.nodes);
            all.published.extend(more.published);
        }
        all
    }

    /// The stock files that they publish, each once.
    pub(crate) fn stock_files(&self) -> Vec<(&'static str, Role)> {
        let mut files: Vec<_> = self.formats().flat_map(OutputFormat::stock_files).copied().collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// The stock files that are fetched: those that are published and those that others are made of, each once.
    pub(crate) fn stock_inputs(&self) -> BTreeSet<String> {
        let published = self.stock_files().into_iter().map(|(file, _)| file.to_owned());
        published.chain(self.formats().flat_map(OutputFormat::stock_inputs)).collect()
    }
}

/// The built objects and their inputs, for the formats to use.
pub(crate) struct Built<'b> {
    /// The recipe that is built.
    pub recipe: &'b Recipe,
    /// Its outputs.
    pub outputs: &'b Outputs,
    /// The lock that it is built from.
    pub lock: &'b Lock,
    /// The Flatcar version.
    pub version: Version,
    /// Everything that its steps made.
    pub artifacts: Artifacts,
}

impl Built<'_> {
    /// The artifact of a step that an output brings.
    pub(crate) fn made(&self, step: &str) -> Option<Artifact> {
        self.artifacts.others.get(step).copied()
    }

    /// The boot of a node: its own, else its profile's.
    pub(crate) fn boot_of(&self, node: &Node) -> Option<&Boot> {
        let own = self.artifacts.boots.iter().find(|boot| boot.node.as_deref() == Some(&node.name.value));
        own.or_else(|| self.boot_of_profile(&node.profile.value, node.arch))
    }

    /// The boot that all nodes of a profile share.
    pub(crate) fn boot_of_profile(&self, profile: &str, arch: Arch) -> Option<&Boot> {
        let mut own = self.artifacts.boots.iter().filter(|boot| boot.node.is_none() && boot.arch == arch);
        own.find(|boot| boot.profile == profile)
    }

    /// The boots that profiles have for all their nodes.
    pub(crate) fn profile_boots(&self) -> impl Iterator<Item = &Boot> {
        self.artifacts.boots.iter().filter(|boot| boot.node.is_none())
    }

    /// Path of a stock file in the tree: where `flatcar-install -b URL/assets/flatcar -V VERSION` looks for it; with
    /// several architectures `-b URL/assets/flatcar/BOARD`.
    pub(crate) fn stock_path(&self, arch: Arch, file: &str) -> String {
        format!("{}/{}/{file}", self.recipe.stock_root(arch), self.version)
    }

    /// The boots of machines that no node names, one per architecture.
    pub(crate) fn default_boots(&self) -> Vec<&Boot> {
        let Some(profile) = &self.recipe.default_profile else { return Vec::new() };
        let archs = self.recipe.release.archs.iter();
        archs.filter_map(|arch| self.boot_of_profile(profile, *arch)).collect()
    }
}

/// Beginnings of the names under which a loader looks for a node's own file: one before its MAC address, one before its UUID.
type Beginnings = [&'static str; 2];

/// Those of GRUB and PXELINUX. 01 is the ARP hardware type of Ethernet.
const BY_ARP_TYPE: Beginnings = ["01-", ""];

/// The files that a loader looks for by the machine: for each node its text, at the path of each of its names.
fn node_rows(
    built: &Built<'_>,
    [mac, uuid]: Beginnings,
    path: impl Fn(&str) -> String,
    text: impl Fn(&Boot) -> String,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for node in &built.recipe.nodes {
        let Some(boot) = built.boot_of(node) else { continue };
        let by_mac = node.mac.as_ref().map(|address| format!("{mac}{}", address.hyphened()));
        let by_uuid = node.uuid.as_ref().map(|id| format!("{uuid}{}", id.value));
        let row = |name: String| Row::text(path(&name), Role::Boot, text(boot)).for_node(node, boot);
        rows.extend(by_mac.into_iter().chain(by_uuid).map(row));
    }
    rows
}

impl Row {
    /// Sets the profile and node that the file belongs to.
    fn of(self, boot: &Boot) -> Self {
        self.belonging_to(&boot.profile, boot.node.as_deref())
    }

    /// Sets the node that the file belongs to, even if it shares its boot with others.
    fn for_node(self, node: &Node, boot: &Boot) -> Self {
        self.belonging_to(&boot.profile, Some(&node.name.value))
    }
}

impl Boot {
    /// Path of the overlay in the tree.
    pub(crate) fn overlay_path(&self) -> String {
        names::overlay(&self.id)
    }

    /// Path of the file with base and overlay in one, in layouts that have one.
    pub(crate) fn joined_path(&self) -> String {
        names::joined(&self.id)
    }
}

/// Arguments of a node that fetches its config from this path below the URL.
fn fetch_args(base_url: &BaseUrl, config: &str) -> [String; 2] {
    [config_arg(&format!("{base_url}/{config}")), report_arg(base_url)]
}

/// Every file of the tree, sorted by path.
pub(crate) fn rows(built: &Built<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for arch in built.recipe.release.archs.iter().copied() {
        rows.extend(stock_rows(built, arch));
    }
    rows.extend(built.artifacts.sysexts.iter().map(|image| Row {
        arch: Some(image.arch),
        step: Some(image.step),
        verity: image.verity,
        ..Row::stored(sysext_path(&image.name, &image.version, image.arch), Role::Sysext, image.object)
    }));
    rows.extend(built.artifacts.images.iter().map(|image| {
        let path = images::published_path(&image.reference, image.arch);
        Row {
            arch: Some(image.arch),
            origin: images::manifest(built.lock, &image.reference, image.arch).map(Origin::from),
            step: Some(image.step),
            ..Row::stored(path, Role::ContainerImage, image.object)
        }
    }));
    rows.extend(built.outputs.formats().flat_map(|format| format.emit(built)));
    rows.extend(nodes::row(built));
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    rows
}

fn stock_rows(built: &Built<'_>, arch: Arch) -> Vec<Row> {
    let mut rows = Vec::new();
    for (file, role) in built.outputs.stock_files() {
        for (name, role) in [(file.to_owned(), role), (format!("{file}{SIGNATURE}"), Role::Signature)] {
            let Some(entry) = built.lock.inputs.get(&stock_id(arch, &name)) else {
                continue;
            };
            // `flatcar-install -V current` and update engines read the version there, then go to that version's
            // directory.
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::bake::recipe::DEFAULT_OUTPUTS;
    use crate::base::finding::Source;

    fn parse(text: &str) -> Result<Outputs, Findings> {
        Recipe::parse(&Source::new("r.yaml", text), PathBuf::new(), read).map(|(_, outputs)| outputs)
    }

    #[test]
    fn a_recipe_without_outputs_gets_those_that_every_server_understands() {
        let outputs =
            parse("schema: 1\nname: edge\nrelease: {channel: stable}\nprofiles: {w: {}}\n").unwrap();
        let names: Vec<&str> = outputs.0.iter().map(|output| output.name).collect();
        assert_eq!(names, DEFAULT_OUTPUTS);
    }

    #[test]
    fn the_table_of_keys_has_every_format_with_its_options() {
        let names: Vec<&str> = FORMATS.iter().map(Format::name).collect();
        assert_eq!(keys::OUTPUTS.keys.iter().map(|key| key.name).collect::<Vec<_>>(), names);
        assert!(FORMATS.iter().all(|format| format.key.value.mapping().is_some()));
    }

    /// Issue 16, point 2: a recipe names its outputs, and others read their options; they must not be told apart by that.
    #[test]
    fn faults_of_outputs_are_told_with_those_of_the_recipe_in_the_order_of_the_text() {
        let text = "schema: 1\nname: edge\nrelease: {channel: stable}\nmirors: {}\noutputs:\n  \
            ipxe: {timout: 3, menu: {default: wroker}}\n  udhcp: {}\n  \
            dnsmasq: {mode: ful, base_url: http://10.0.0.1, subnet: 10.0.0.0/24}\n  \
            grub: {base_url: https://x.invalid}\nprofiles:\n  \
            worker: {install: {device: /dev/sda}, kernel_args: ['x=\"1\"', 'y=${z}']}\n\
            default_profile: wroker\n";
        let Err(Findings(findings)) = parse(text) else { panic!("findings expected") };
        let told: Vec<String> = findings
            .iter()
            .map(|f| format!("{}: {}", f.place.as_ref().map_or(0, |place| place.line), f.message))
            .collect();
        assert_eq!(
            told,
            [
                "4: unknown key `mirors` in the recipe",
                "6: `ipxe` refers to files that only the output `pxe` publishes",
                "6: unknown key `timout` in `ipxe`",
                "6: there is no profile `wroker`",
                "7: unknown output `udhcp`",
                "8: `ful` is neither `proxy` nor `full`: did you mean `full`?",
                "9: `grub` refers to files that only the output `pxe` publishes",
                "9: GRUB supports http and tftp, not https",
                "11: `install` needs files that only the output `disk` publishes",
                "11: `install` needs files that only the output `matchbox` publishes",
                "11: GRUB cannot pass on the quotes of kernel argument `x=\"1\"`",
                "11: iPXE would expand the `${` in kernel argument `y=${z}`",
                "12: there is no profile `wroker`",
            ]
        );
    }

    /// A machine that fetches its config has one URL to fetch it from.
    #[test]
    fn outputs_say_where_the_tree_is_found_only_where_all_say_the_same() {
        let head = "schema: 1\nname: edge\nrelease: {channel: stable}\nprofiles: {w: {}}\noutputs:\n  pxe:\n";
        let url = |one: &str, other: &str| {
            let text = format!(
                "{head}  ipxe: {{base_url: http://{one}}}\n  pxelinux: {{base_url: http://{other}}}\n"
            );
            parse(&text).unwrap().base_url().map(BaseUrl::to_string)
        };
        assert_eq!(url("10.0.0.1", "10.0.0.1").as_deref(), Some("http://10.0.0.1"));
        assert_eq!(url("10.0.0.1", "10.0.0.2"), None);
        assert!(parse(&format!("{head}  ipxe:\n")).unwrap().base_url().is_none());
    }
}
