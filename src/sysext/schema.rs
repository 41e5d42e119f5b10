//! The keys of `sysext.yaml`: decodes its text into a [`Description`], and reports all findings at once.
//!
//! Templates are expanded here once with the default values, so that all templates of a decoded description are known
//! to expand.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use super::description::{
    ComponentTemplate, Description, DigestTemplate, Os, PlacementTemplate, expand_directory, expand_path,
    expand_url,
};
use super::keys;
use super::template::{self, Variables, is_plain_value};
use super::unit;
use super::values::{Default, Values};
use crate::base::arch::Arch;
use crate::base::finding::{Finding, Findings, Source, nearest};
use crate::base::yaml::decode::{Decoder, Spanned};
use crate::base::yaml::keys::Mapping;
use crate::base::yaml::{self, Node};
use crate::format::archive::Selection;
use crate::format::tree::{EXECUTABLE, Tree};
use crate::registry::reference::ImageRef;

/// Version of the schema; raised when the meaning of a key changes.
pub(crate) const SCHEMA: u32 = 1;

/// Decodes the text of the `sysext.yaml` in `folder`. `files/` and `node.bu` beside it are not read.
pub fn parse(source: &Arc<Source>, folder: &str) -> Result<Description, Findings> {
    let root = yaml::merge::parse(source)?;
    let decoder = Decoder::new(source);
    let description = decode(&decoder, &root, folder, source.clone());
    decoder.finish(description)
}

/// Permission bits in octal: `0755`, `755`.
struct Mode(u16);

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u16::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Mode(mode)),
            _ => Err(format!("`{text}` is not a mode: octal, at most 0777 (no setuid in a sysext)")),
        }
    }
}

fn decode(decoder: &Decoder, root: &Node, folder: &str, source: Arc<Source>) -> Description {
    let fields = decoder.fields(root, &keys::SYSEXT);
    if let Some((node, schema)) = fields.need("schema").and_then(|n| Some((n, decoder.parsed::<u32>(n)?)))
        && schema != SCHEMA
    {
        decoder.error(node, format!("schema {schema}; this prebake reads {SCHEMA}"));
    }
    let name = fields.need("name").and_then(|n| decoder.string(n).map(|name| decoder.spanned(n, name)));
    if let Some(name) = &name
        && name.value != folder
    {
        let finding = Finding::error(format!("the name is `{}` but the folder is `{folder}`", name.value))
            .at(name.place.clone())
            .hint("systemd-sysext merges an image only under the name in its extension-release file; name both alike");
        decoder.push(finding);
    }
    let name = name.map(|name| plain(decoder, name)).unwrap_or_default();
    let version = fields.need("version").and_then(|n| value(decoder, n)).unwrap_or_default();
    let values = values(decoder, fields.get("variables"), fields.get("versions"));
    let os = fields.get("os").and_then(|n| decoder.parsed(n)).unwrap_or(Os::Any);
    // Any architecture serves to check that the templates expand; one without a value is reported when it is built.
    let mut sample = values.at(&version, Arch::Amd64);
    for (name, default) in &values.defaults {
        if let (Default::ByArch(values), Some(slot)) = (default, sample.get_mut(name)) {
            *slot = slot.take().or_else(|| values.values().next().cloned());
        }
    }
    let checker = Checker { decoder, variables: Variables::new(&version, Arch::Amd64, sample) };
    let components = fields.get("components").map_or(Vec::new(), |n| decoder.entries(n, "`components`"));
    let mut components: Vec<_> =
        components.into_iter().filter_map(|(name, node)| checker.component(name.value, node)).collect();
    components.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text = BTreeMap::new();
    for (path, node) in fields.get("text").map_or(Vec::new(), |n| decoder.entries(n, "`text`")) {
        if let Err(why) = expand_path(&checker.variables, &path) {
            decoder.push(Finding::error(why).at(path.place.clone()));
        }
        if let Some(contents) = checker.expands(node, |v, t| v.expand(t)) {
            text.insert(path.value, contents);
        }
    }
    let mut links = BTreeMap::new();
    for (path, node) in fields.get("links").map_or(Vec::new(), |n| decoder.entries(n, "`links`")) {
        if let Err(why) = expand_path(&checker.variables, &path) {
            decoder.push(Finding::error(why).at(path.place.clone()));
        }
        if let Some(target) = checker.expands(node, |v, t| v.expand(t)) {
            links.insert(path.value, target);
        }
    }
    let upholds = fields.get("upholds").map_or(Vec::new(), |n| decoder.strings(n, "`upholds`"));
    for unit in upholds.iter().filter(|unit| !unit::is_startable(unit)) {
        let finding =
            Finding::error(format!("`{}` is not the name of a unit that can be started", unit.value));
        decoder.push(finding.at(unit.place.clone()).hint("such as kubelet.service, in full"));
    }
    let images = fields.get("images").map_or(Vec::new(), |n| decoder.entries(n, "`images`"));
    let images = images.into_iter().map(|(list, node)| (list.value, checker.images(node))).collect();
    Description {
        name,
        version,
        description: fields.get("description").and_then(|n| decoder.string(n)).unwrap_or_default(),
        os,
        reload: fields.get("reload").and_then(|n| decoder.boolean(n)).unwrap_or_default(),
        values,
        files: Tree::new(),
        node_layer: None,
        components,
        text,
        links,
        upholds: upholds.into_iter().map(|unit| unit.value).collect(),
        images,
        source,
    }
}

/// Decodes a value that may be part of URLs and file names.
fn value(decoder: &Decoder, node: &Node) -> Option<String> {
    decoder.string(node).map(|text| plain(decoder, decoder.spanned(node, text)))
}

fn plain(decoder: &Decoder, spanned: Spanned<String>) -> String {
    if !is_plain_value(&spanned) {
        let finding = Finding::error(format!("`{}` cannot be used in URLs and file names", spanned.value));
        decoder.push(finding.at(spanned.place.clone()).hint("use letters, digits and . _ + ~ -"));
    }
    spanned.value
}

/// Decodes `variables:` and `versions:`. A row may set only declared variables, so that misspellings are found.
fn values(decoder: &Decoder, variables: Option<&Node>, versions: Option<&Node>) -> Values {
    let mut values = Values::default();
    for (key, node) in variables.map_or(Vec::new(), |n| decoder.entries(n, "`variables`")) {
        if template::BUILT_IN.contains(&key.as_str()) {
            decoder.push(Finding::error(format!("`{}` is built in", key.value)).at(key.place.clone()));
        }
        let default = match &node.kind {
            _ if node.is_null() => Some(Default::Unset),
            yaml::Kind::Mapping(_) => {
                Some(Default::ByArch(by_arch(decoder, node, &keys::BY_ARCH, |n| value(decoder, n))))
            }
            _ => value(decoder, node).map(Default::Plain),
        };
        values.defaults.extend(default.map(|default| (key.value, default)));
    }
    for (version, node) in versions.map_or(Vec::new(), |n| decoder.entries(n, "`versions`")) {
        let mut row = BTreeMap::new();
        for (key, node) in decoder.entries(node, "the row of a version") {
            if !values.defaults.contains_key(&key.value) {
                let finding = Finding::error(format!("`{}` is not one of the `variables`", key.value));
                let finding = finding.at(key.place.clone());
                decoder.push(match nearest(&key, values.names()) {
                    Some(near) => finding.hint(format!("did you mean `{near}`?")),
                    None => finding.hint(format!("add `{}: null` there if only versions have it", key.value)),
                });
                continue;
            }
            row.extend(value(decoder, node).map(|value| (key.value, value)));
        }
        values.versions.insert(plain(decoder, version), row);
    }
    values
}

/// Decodes a mapping with a key for each architecture, in Go's spelling; any other key is refused.
fn by_arch<T>(
    decoder: &Decoder,
    node: &Node,
    mapping: &'static Mapping,
    read: impl Fn(&Node) -> Option<T>,
) -> BTreeMap<Arch, T> {
    let fields = decoder.fields(node, mapping);
    let one = |arch: Arch| Some((arch, fields.get(arch.go()).and_then(&read)?));
    Arch::ALL.into_iter().filter_map(one).collect()
}

/// Decodes templates and checks that they expand.
struct Checker<'d> {
    decoder: &'d Decoder,
    variables: Variables,
}

impl Checker<'_> {
    fn expands(
        &self,
        node: &Node,
        expand: impl Fn(&Variables, &str) -> Result<String, String>,
    ) -> Option<String> {
        let template = self.decoder.string(node)?;
        if let Err(why) = expand(&self.variables, &template) {
            self.decoder.error(node, why);
        }
        Some(template)
    }

    fn component(&self, name: String, node: &Node) -> Option<ComponentTemplate> {
        let fields = self.decoder.fields(node, &keys::COMPONENT);
        let url = fields.need("url").and_then(|n| self.expands(n, expand_url));
        let pinned = fields.get("sha256").map(|n| {
            DigestTemplate::Pinned(by_arch(self.decoder, n, &keys::DIGESTS, |n| self.decoder.parsed(n)))
        });
        let published = fields.get("sha256_url").and_then(|n| self.expands(n, expand_url));
        let digest = match (pinned, published) {
            (Some(pinned), None) => Some(pinned),
            (None, Some(url)) => Some(DigestTemplate::Published(url)),
            (None, None) if fields.get("sha256_url").is_some() => None,
            _ => {
                self.decoder
                    .error(node, format!("component `{name}` needs one of `sha256` and `sha256_url`"));
                None
            }
        };
        let mode = fields.get("mode");
        let install = fields.get("install").and_then(|n| self.expands(n, expand_path));
        let extract = fields.get("extract");
        let placement = match (install, extract) {
            (Some(path), None) => {
                let mode =
                    mode.and_then(|n| self.decoder.parsed::<Mode>(n)).map_or(EXECUTABLE, |mode| mode.0);
                Some(PlacementTemplate::Install { path, mode })
            }
            (None, Some(extract)) => {
                if let Some(mode) = mode {
                    self.decoder.error(mode, "`mode` belongs to `install`; extracted members keep theirs");
                }
                Some(PlacementTemplate::Extract(self.selections(extract)))
            }
            (None, None) if fields.get("install").is_some() => None,
            _ => {
                self.decoder.error(node, format!("component `{name}` needs one of `install` and `extract`"));
                None
            }
        };
        Some(ComponentTemplate { name, url: url?, digest: digest?, placement: placement? })
    }

    /// Decodes the templates of a list of container images. A variable may lack a value, which makes the list unknown
    /// for this version, but its name must be declared.
    fn images(&self, node: &Node) -> Vec<String> {
        let images = self.decoder.strings(node, "a list of images");
        for image in &images {
            let wrong = match self.variables.expand_if_set(image) {
                Err(why) => Some(why),
                Ok(Some(name)) => name.parse::<ImageRef>().err().map(|why| why.to_string()),
                Ok(None) => None,
            };
            if let Some(why) = wrong {
                self.decoder.push(Finding::error(why).at(image.place.clone()));
            }
        }
        images.into_iter().map(|image| image.value).collect()
    }

    fn selections(&self, node: &Node) -> Vec<Selection> {
        let entries = self.decoder.entries(node, "`extract`");
        if entries.is_empty() {
            self.decoder.error(node, "`extract` is empty; list members and their destinations");
        }
        let mut selections = Vec::new();
        for (members, to) in entries {
            let wrong = match self.variables.expand(&members) {
                Err(why) => Some(why),
                Ok(text) if text.trim_end_matches('*').contains('*') => {
                    Some("`*` is allowed only at the end".to_owned())
                }
                Ok(_) => None,
            };
            if let Some(why) = wrong {
                self.decoder.push(Finding::error(why).at(members.place.clone()));
            }
            let Some(target) = self.expands(to, expand_directory) else { continue };
            if members.value.ends_with('*') && !target.ends_with('/') {
                self.decoder.error(to, "members chosen with `*` go into a directory: end it with `/`");
            }
            selections.push(Selection { members: members.value, to: target });
        }
        selections
    }
}
