//! `sysext.yaml`: what a system extension is made of.
//!
//! Owns the file's schema and the pure way from it to the list of components for an architecture and a version.
//! Leaves fetching to `source` and the image to [`super::image`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use super::template::{self, Variables, is_plain_value};
use crate::arch::Arch;
use crate::digest::Sha256;
use crate::error::{Advice, Exit};
use crate::format::archive::{Kind, Selection};
use crate::format::tree::{self, EXECUTABLE, Tree};
use crate::report::{Finding, Findings, Source, nearest};
use crate::repro;
use crate::yaml::decode::{Decoder, Spanned};
use crate::yaml::{self, Node};

/// Version of the schema; raised when the meaning of a key changes.
pub const SCHEMA: u32 = 1;
/// The file's name in the folder of a sysext.
pub const FILE_NAME: &str = "sysext.yaml";

/// What a folder in `sysext/` says. Every template in it is known to expand.
#[derive(Clone, Debug)]
pub struct Description {
    /// The sysext's name, that of its folder.
    pub name: String,
    /// The version that is built unless a recipe names another.
    pub version: String,
    /// One sentence for people.
    pub description: String,
    /// Which hosts it may be merged on.
    pub os: Os,
    /// `EXTENSION_RELOAD_MANAGER=1`: systemd reads the new units at the merge.
    pub reload: bool,
    /// Further template variables and their defaults.
    pub variables: BTreeMap<String, String>,
    /// What `files/` holds.
    pub files: Tree,
    /// `node.bu`, a Butane layer for the node that goes below the user's own, where the folder has one.
    pub node_layer: Option<PathBuf>,
    components: Vec<ComponentTemplate>,
    text: BTreeMap<String, String>,
    /// The text of `sysext.yaml`, for [`Description::digest`].
    source: String,
}

/// Hosts that an extension may be merged on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Os {
    /// Any that has systemd-sysext: `ID=_any`. For static binaries.
    Any,
    /// Flatcar of any version: `ID=flatcar`, `SYSEXT_LEVEL=1.0`.
    Flatcar,
}

impl FromStr for Os {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "any" => Ok(Os::Any),
            "flatcar" => Ok(Os::Flatcar),
            _ => Err(format!("unknown os `{text}`: any or flatcar")),
        }
    }
}

/// One file to fetch, for one architecture and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its key in `components`.
    pub name: String,
    /// Canonical URL.
    pub url: String,
    /// How its bytes are known to be right when it is locked.
    pub digest: Expected,
    /// What becomes of it.
    pub placement: Placement,
}

/// What a component's bytes are checked against when the lock is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Written in the description.
    Pinned(Sha256),
    /// Published by upstream beside the file: a bare digest, or lines of `digest  name`.
    Published {
        /// Canonical URL of that file.
        url: String,
    },
}

/// What becomes of a fetched component. Paths are those inside the image, without a leading slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It is one file; gunzipped if its URL ends in `.gz`.
    File {
        /// Where to.
        path: String,
        /// Permission bits.
        mode: u16,
        /// Whether it comes gzipped.
        gzip: bool,
    },
    /// Members of an archive.
    Members {
        /// How it is packed.
        kind: Kind,
        /// Which, and where to.
        selections: Vec<Selection>,
    },
}

#[derive(Clone, Debug)]
struct ComponentTemplate {
    name: String,
    url: String,
    digest: DigestTemplate,
    placement: PlacementTemplate,
}

#[derive(Clone, Debug)]
enum DigestTemplate {
    Pinned(BTreeMap<Arch, Sha256>),
    Published(String),
}

#[derive(Clone, Debug)]
enum PlacementTemplate {
    Install { path: String, mode: u16 },
    Extract(Vec<Selection>),
}

/// Why a sysext cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the folder could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// `sysext.yaml` is wrong.
    #[error(transparent)]
    Findings(#[from] Findings),
    /// `files/` holds what no image can.
    #[error("sysext `{name}` cannot be read")]
    Files {
        /// The sysext.
        name: String,
        /// What is wrong.
        source: tree::Error,
    },
    /// A recipe sets a variable that the sysext does not have.
    #[error("sysext `{name}` has no variable `{variable}`; it has {known}")]
    Variable {
        /// The sysext.
        name: String,
        /// What was set.
        variable: String,
        /// What could be set.
        known: String,
    },
    /// A recipe sets a variable to something that cannot stand in a URL or file name.
    #[error("sysext `{name}`: `{value}` is not a value for `{variable}`; letters, digits and . _ + ~ - are")]
    Value {
        /// The sysext.
        name: String,
        /// What was set.
        variable: String,
        /// To what.
        value: String,
    },
    /// A pinned digest is missing for an architecture.
    #[error("component `{component}` of sysext `{name}` has no sha256 for {arch}")]
    Unpinned {
        /// The sysext.
        name: String,
        /// The component.
        component: String,
        /// The architecture.
        arch: Arch,
    },
    /// A template that does not expand to something usable with the values given.
    #[error("component `{component}` of sysext `{name}`: {why}")]
    Template {
        /// The sysext.
        name: String,
        /// The component, or the path of a text.
        component: String,
        /// What is wrong.
        why: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Read { .. } => Exit::Failed,
            _ => Exit::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Read { path, .. } if path.ends_with(FILE_NAME) => {
                Some(format!("a sysext is a folder with a {FILE_NAME} in it"))
            }
            Error::Files { source, .. } => source.hint(),
            Error::Variable { variable, known, .. } => {
                nearest(variable, known.split(", ")).map(|near| format!("did you mean `{near}`?"))
            }
            Error::Unpinned { arch, .. } => {
                Some(format!("add `{arch}:` to its sha256, or name a sha256_url"))
            }
            _ => None,
        }
    }
}

impl Description {
    /// Reads the folder of a sysext. Contents of `files/` are named, not read.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let file = dir.join(FILE_NAME);
        let text = fs::read_to_string(&file).map_err(|source| Error::Read { path: file.clone(), source })?;
        let folder = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut description = Self::parse(&Source::new(file.display().to_string(), text), &folder)?;
        let files = dir.join("files");
        if files.is_dir() {
            let origin = format!("files/ of sysext {folder}");
            description.files = Tree::of_directory(&files, &origin)
                .map_err(|source| Error::Files { name: folder, source })?;
        }
        let layer = dir.join("node.bu");
        description.node_layer = layer.is_file().then_some(layer);
        Ok(description)
    }

    /// Decodes the text of a `sysext.yaml` that lies in `folder`.
    pub fn parse(source: &std::sync::Arc<Source>, folder: &str) -> Result<Self, Findings> {
        let root = yaml::parse(source)?;
        let decoder = Decoder::new(source);
        let description = decode(&decoder, &root, folder, source.text.clone());
        decoder.finish(description)
    }

    /// The variables for one build. `overrides` are a recipe's values by name, `version` among them.
    pub fn variables(&self, arch: Arch, overrides: &BTreeMap<String, String>) -> Result<Variables, Error> {
        let mut own = self.variables.clone();
        let mut version = self.version.clone();
        for (variable, value) in overrides {
            let (name, variable, value) = (self.name.clone(), variable.clone(), value.clone());
            let slot = match own.get_mut(&variable) {
                Some(slot) => slot,
                None if variable == "version" => &mut version,
                None => {
                    let own = self.variables.keys().map(String::as_str);
                    let known = std::iter::once("version").chain(own).collect::<Vec<_>>().join(", ");
                    return Err(Error::Variable { name, variable, known });
                }
            };
            if !is_plain_value(&value) {
                return Err(Error::Value { name, variable, value });
            }
            *slot = value;
        }
        Ok(Variables::new(&version, arch, &own))
    }

    /// The files to fetch, sorted by name. Pure: no network, no disk.
    pub fn components(&self, arch: Arch, variables: &Variables) -> Result<Vec<Component>, Error> {
        self.components.iter().map(|template| self.component(template, arch, variables)).collect()
    }

    fn component(
        &self,
        template: &ComponentTemplate,
        arch: Arch,
        variables: &Variables,
    ) -> Result<Component, Error> {
        let wrong = |why| Error::Template { name: self.name.clone(), component: template.name.clone(), why };
        let url = expand_url(variables, &template.url).map_err(wrong)?;
        let digest = match &template.digest {
            DigestTemplate::Pinned(digests) => match digests.get(&arch) {
                Some(digest) => Expected::Pinned(*digest),
                None => {
                    let (name, component) = (self.name.clone(), template.name.clone());
                    return Err(Error::Unpinned { name, component, arch });
                }
            },
            DigestTemplate::Published(url) => {
                Expected::Published { url: expand_url(variables, url).map_err(wrong)? }
            }
        };
        let packed = Kind::of(&url);
        let placement = match &template.placement {
            PlacementTemplate::Install { path, mode } => Placement::File {
                path: expand_path(variables, path).map_err(wrong)?,
                mode: *mode,
                gzip: packed == Some(Kind::Gz),
            },
            PlacementTemplate::Extract(selections) => {
                let kind = packed.filter(|kind| *kind != Kind::Gz).ok_or_else(|| {
                    wrong(format!("{url} does not end in .tar, .tar.gz or .tgz, so nothing can be extracted"))
                })?;
                let expanded = selections.iter().map(|selection| {
                    Ok(Selection {
                        members: variables.expand(&selection.members)?,
                        to: expand_directory(variables, &selection.to)?,
                    })
                });
                Placement::Members { kind, selections: expanded.collect::<Result<_, _>>().map_err(wrong)? }
            }
        };
        Ok(Component { name: template.name.clone(), url, digest, placement })
    }

    /// Generated files: path inside the image and contents.
    pub fn texts(&self, variables: &Variables) -> Result<Vec<(String, String)>, Error> {
        let expanded = self.text.iter().map(|(path, text)| {
            let wrong = |why| Error::Template { name: self.name.clone(), component: path.clone(), why };
            let inside = expand_path(variables, path).map_err(wrong)?;
            Ok((inside, variables.expand(text).map_err(wrong)?))
        });
        expanded.collect()
    }

    /// Digest of all that the folder puts into an image beside the components: for step keys. Reads `files/`.
    pub fn digest(&self) -> io::Result<Sha256> {
        let parts = [Sha256::of(self.source.as_bytes()), self.files.digest()?];
        Ok(Sha256::of(format!("{} {}", parts[0], parts[1]).as_bytes()))
    }

    /// The image's name in a tree: `NAME-VERSION-ARCH.raw`, ARCH as systemd spells it. On the node the link must be
    /// `NAME.raw`: systemd-sysext compares that name with the extension-release file.
    pub fn file_name(&self, version: &str, arch: Arch) -> String {
        format!("{}-{version}-{}.raw", self.name, arch.systemd())
    }
}

fn expand_url(variables: &Variables, template: &str) -> Result<String, String> {
    let text = variables.expand(template)?;
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url.into()),
        Ok(url) => Err(format!("{text} has the scheme `{}`; http and https can be fetched", url.scheme())),
        Err(why) => Err(format!("`{text}` is not a URL: {why}")),
    }
}

/// An absolute path in the image, as it is written in descriptions, without its slash.
fn expand_path(variables: &Variables, template: &str) -> Result<String, String> {
    let text = variables.expand(template)?;
    match text.strip_prefix('/') {
        Some(inside) if repro::is_contained(inside) => Ok(inside.to_owned()),
        _ => Err(format!("`{text}` is not an absolute path without `..`, `.` and empty parts")),
    }
}

/// The same, but a final slash may say that it is a directory.
fn expand_directory(variables: &Variables, template: &str) -> Result<String, String> {
    match template.strip_suffix('/') {
        Some(path) => Ok(expand_path(variables, path)? + "/"),
        None => expand_path(variables, template),
    }
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

fn decode(decoder: &Decoder, root: &Node, folder: &str, source: String) -> Description {
    let fields = decoder.fields(root, "the sysext");
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
    let value = |spanned: Spanned<String>| {
        if !is_plain_value(&spanned) {
            let finding = Finding::error(format!("`{}` cannot stand in URLs and file names", spanned.value));
            decoder.push(finding.at(spanned.place.clone()).hint("letters, digits and . _ + ~ - can"));
        }
        spanned.value
    };
    let name = name.map(value).unwrap_or_default();
    let version = fields.need("version").and_then(|n| decoder.string(n).map(|v| decoder.spanned(n, v)));
    let version = version.map(value).unwrap_or_default();
    let mut variables = BTreeMap::new();
    for (key, node) in fields.get("variables").map_or(Vec::new(), |n| decoder.entries(n, "`variables`")) {
        if template::BUILT_IN.contains(&key.as_str()) {
            decoder.push(Finding::error(format!("`{}` is always there", key.value)).at(key.place.clone()));
        }
        if let Some(text) = decoder.string(node) {
            variables.insert(key.value, value(decoder.spanned(node, text)));
        }
    }
    let os = fields.get("os").and_then(|n| decoder.parsed(n)).unwrap_or(Os::Any);
    // Any architecture will do to see whether the templates expand.
    let checker = Checker { decoder, variables: Variables::new(&version, Arch::Amd64, &variables) };
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
    Description {
        name,
        version,
        description: fields.get("description").and_then(|n| decoder.string(n)).unwrap_or_default(),
        os,
        reload: fields.get("reload").and_then(|n| decoder.boolean(n)).unwrap_or_default(),
        variables,
        files: Tree::new(),
        node_layer: None,
        components,
        text,
        source,
    }
}

/// Decodes templates and sees to it that they expand.
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
        let fields = self.decoder.fields(node, "a component");
        let url = fields.need("url").and_then(|n| self.expands(n, expand_url));
        let pinned = fields.get("sha256").map(|n| DigestTemplate::Pinned(self.pinned(n)));
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

    fn pinned(&self, node: &Node) -> BTreeMap<Arch, Sha256> {
        let fields = self.decoder.fields(node, "`sha256`");
        let digest = |arch: Arch| Some((arch, fields.get(arch.go()).and_then(|n| self.decoder.parsed(n))?));
        Arch::ALL.into_iter().filter_map(digest).collect()
    }

    fn selections(&self, node: &Node) -> Vec<Selection> {
        let entries = self.decoder.entries(node, "`extract`");
        if entries.is_empty() {
            self.decoder.error(node, "`extract` chooses nothing; name members and where they go");
        }
        let mut selections = Vec::new();
        for (members, to) in entries {
            let wrong = match self.variables.expand(&members) {
                Err(why) => Some(why),
                Ok(text) if text.trim_end_matches('*').contains('*') => {
                    Some("`*` may stand only at the end".to_owned())
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
