#![doc = include_str!("README.md")]
// Owns everything that is said about configs: the schema as one table, the rules of Butane and Ignition on it, and findings that
// point at what a person wrote, also after merging. Leaves printing to `cli` and fetching to `source`. The original programs judge
// it in `tests/`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

#[doc(hidden)] // Words of prebake's recipes.
pub mod authorities;
pub mod boot;
mod butane;
pub mod closure;
#[doc(hidden)]
pub mod data_url;
mod decode;
mod json;
pub mod lint;
mod lower;
mod merge;
mod parse;
pub mod parts;
mod raise;
mod report;
mod schema;
pub mod show;
mod spec;
#[doc(hidden)] // Words of prebake's recipes.
pub mod ssh_keys;
mod tree;
mod validate;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prebake_text::json::lossy;

pub use prebake_text::finding::{Finding, Findings, Place, Severity, Source};
pub use spec::{Spec, SpecError};
use tree::{Origin, Record};

/// Longest layer that is read, in bytes: JSON, which programs write with contents in it.
const MAX_LAYER_BYTES: u64 = 256 << 20;
/// Longest one that is not JSON, in bytes: as much as any other YAML.
const MAX_YAML_BYTES: u64 = prebake_text::yaml::MAX_BYTES as u64;

/// Settings for translating Butane.
#[derive(Clone, Debug, Default)]
pub struct Transpile {
    /// The base of `local` paths; they are refused without it.
    pub files_dir: Option<PathBuf>,
    /// Whether warnings are errors.
    pub strict: bool,
    /// Whether versions that emit an experimental spec are allowed.
    pub experimental: bool,
    /// Whether Butane's variants of other systems are translated too, as far as they emit at most spec 3.4: `fcos`,
    /// `r4e` and `fiot`. Flatcar does not use them; Matchbox serves them to other machines.
    pub foreign: bool,
    /// Whether YAML's own ways of sharing parts cause none of Butane's warnings: `<<`, aliases of mappings, and
    /// top-level keys that begin with `x-`. Instead, the shared parts are checked for unknown keys.
    pub sharing: bool,
}

impl Transpile {
    /// Settings for layers of recipes. Most of Butane's warnings mean lost data (an unknown key) or a mode with another
    /// number than intended, so they are errors in recipes; parts shared by anchors are not lost.
    pub fn of_recipe() -> Self {
        Transpile { strict: true, sharing: true, ..Transpile::default() }
    }
}

/// A config with the warnings about it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The config, which has no errors.
    pub config: Config,
    /// Findings that are no errors.
    pub warnings: Vec<Finding>,
}

/// An Ignition config of spec 3. Every part remembers the file and place where it was written.
#[derive(Clone, Debug)]
pub struct Config {
    spec: Spec,
    root: Record,
    origin: Origin,
}

/// Two configs are equal if they have the same spec and content; their authors do not matter.
impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec && self.root == other.root
    }
}

impl Config {
    /// Parses an Ignition config and checks it at the spec that it names.
    ///
    /// # Errors
    /// Everything that Ignition would refuse; warnings are among the findings.
    pub fn parse(source: &Arc<Source>) -> Result<Checked, Findings> {
        let read = parse::read(source)?;
        let mut config = Config { spec: read.spec, root: read.root, origin: read.origin };
        // A version such as `3.5.00` is accepted too.
        raise::set_version(&mut config.root, config.spec);
        let (config, warnings) = Findings::settle(read.report.finish(), config)?;
        Ok(Checked { config, warnings })
    }

    /// A config that a program generated.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_json(value: &serde_json::Value) -> Result<Config, Findings> {
        Ok(Config::parse(&Source::new("<generated>", value.to_string()))?.config)
    }

    /// An empty config.
    pub fn empty(spec: Spec) -> Config {
        let mut root = Record::new(&schema::CONFIG, spec);
        raise::set_version(&mut root, spec);
        Config { spec, root, origin: Origin::default() }
    }

    /// The spec of the config.
    pub fn spec(&self) -> Spec {
        self.spec
    }

    /// The config as one line of JSON and a final newline, as Butane writes it.
    pub fn to_json(&self) -> String {
        json::write(&self.root, self.spec, None) + "\n"
    }

    /// The config as Go writes Ignition's structs, and so Matchbox: without a newline, but with empty records, such as
    /// `"passwd":{}`.
    pub fn to_json_of_structs(&self) -> String {
        json::write_structs(&self.root, self.spec)
    }

    /// Like [`Config::to_json`], indented by two blanks.
    pub fn to_json_pretty(&self) -> String {
        json::write(&self.root, self.spec, Some(2)) + "\n"
    }

    /// The config at a newer spec, translated as Ignition does it at boot; an older spec changes nothing.
    ///
    /// Two steps lose something, in Ignition and here: 3.4 to 3.5 the advertisements of tang servers, 3.5 to 3.6 the
    /// special bits of modes (which had no effect before).
    #[must_use]
    pub fn raised(mut self, spec: Spec) -> Config {
        if spec > self.spec {
            raise::raise(&mut self.root, self.spec, spec);
            self.spec = spec;
        }
        self
    }

    /// The config at the lowest spec that loses nothing, for a target that accepts specs up to `ceiling`.
    ///
    /// # Errors
    /// Every part that needs a newer spec, with its place, and every invalid part.
    pub fn at_most(&self, ceiling: Spec) -> Result<Config, Findings> {
        self.within(ceiling, |lowest| lowest)
    }

    /// The config at exactly this spec: raised if it is newer, else lowered if nothing is lost.
    ///
    /// # Errors
    /// As [`at_most`](Self::at_most).
    pub fn at(self, spec: Spec) -> Result<Config, Findings> {
        match spec >= self.spec {
            true => Ok(self.raised(spec)),
            false => self.within(spec, |_| spec),
        }
    }

    /// The config at the first valid spec from `start(lowest possible)` up to a ceiling.
    fn within(&self, ceiling: Spec, start: impl Fn(Spec) -> Spec) -> Result<Config, Findings> {
        let needs = lower::needs(&self.root, self.spec, ceiling);
        let beyond: Vec<Finding> =
            needs.iter().filter(|need| need.spec > ceiling).map(|need| need.refuse(ceiling)).collect();
        if !beyond.is_empty() {
            return Err(Findings(beyond));
        }
        let lowest = start(needs.iter().map(|need| need.spec).max().unwrap_or(Spec::V3_0));
        let mut findings = Vec::new();
        for spec in Spec::ALL.into_iter().filter(|spec| (lowest..=ceiling).contains(spec)) {
            let mut config = self.clone();
            config.spec = spec;
            raise::set_version(&mut config.root, spec);
            findings = validate(&config);
            if findings.iter().all(|finding| finding.severity == Severity::Warning) {
                return Ok(config);
            }
        }
        Err(Findings(findings))
    }
}

/// Translates a Butane config (`variant: flatcar`, 1.0.0 and 1.1.0) to Ignition.
///
/// The result and the findings are Butane's, with one deliberate difference: local paths may not leave the files
/// directory through a symbolic link.
///
/// # Errors
/// All findings of the stage that failed and of those before it.
pub fn transpile(source: &Arc<Source>, options: &Transpile) -> Result<Checked, Findings> {
    let files_dir = options.files_dir.as_deref();
    let Transpile { experimental, foreign, strict, sharing, .. } = *options;
    let input = butane::Input { source, files_dir, experimental, foreign, strict, sharing };
    let (root, spec, warnings) = butane::translate(input)?;
    if options.strict && !warnings.is_empty() {
        return Err(Findings(warnings));
    }
    let origin = Origin::default();
    Ok(Checked { config: Config { spec, root, origin }, warnings })
}

/// Merges a child into a parent by Ignition's rules, at the higher of their specs.
///
/// Two valid configs can make an invalid one: [`validate()`] the result.
///
/// ```
/// use prebake_ignition::{self as ignition, Config, Findings, Source, Transpile};
///
/// let base = Source::new("base.bu", "variant: flatcar\nversion: 1.1.0\n");
/// let base = ignition::transpile(&base, &Transpile::default())?.config;
/// let site = Source::new("site.ign", r#"{"ignition": {"version": "3.3.0"}}"#);
/// let site = Config::parse(&site)?.config;
/// assert_eq!(ignition::merge(base, site).to_json(), "{\"ignition\":{\"version\":\"3.4.0\"}}\n");
/// # Ok::<(), Findings>(())
/// ```
pub fn merge(parent: Config, child: Config) -> Config {
    let spec = parent.spec.max(child.spec);
    let (parent, child) = (parent.raised(spec), child.raised(spec));
    let mut root = merge::merge(parent.root, child.root);
    raise::set_version(&mut root, spec);
    Config { spec, root, origin: parent.origin }
}

/// Merges layers in order, later ones win. All are raised to the highest spec first, so their order does not affect the
/// raising. No layers make an empty config of the lowest spec.
pub fn merge_all(layers: impl IntoIterator<Item = Config>) -> Config {
    let layers: Vec<Config> = layers.into_iter().collect();
    let spec = layers.iter().map(Config::spec).max().unwrap_or(Spec::V3_0);
    layers.into_iter().map(|layer| layer.raised(spec)).reduce(merge).unwrap_or_else(|| Config::empty(spec))
}

/// Checks a config at its spec: returns what Ignition would refuse or warn about.
pub fn validate(config: &Config) -> Vec<Finding> {
    let mut report = report::Report::default();
    validate::check(&config.root, &config.origin, config.spec, &mut report);
    validate::check_duplicates(&config.root, config.spec, &mut report);
    report.finish()
}

/// Loads a layer by the suffix of its name: `.bu`, `.yaml` and `.yml` are Butane, anything else is Ignition.
///
/// Butane's `local` paths are relative to the layer's directory unless `options` name another one.
///
/// # Errors
/// A file that cannot be read, and all errors of [`transpile`] or [`Config::parse`].
pub fn load(path: &Path, options: &Transpile) -> Result<Checked, Findings> {
    let source = read_source(path)?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("bu" | "yaml" | "yml") => {
            let beside =
                || path.parent().map(|dir| if dir.as_os_str().is_empty() { ".".into() } else { dir.into() });
            let files_dir = options.files_dir.clone().or_else(beside);
            transpile(&source, &Transpile { files_dir, ..options.clone() })
        }
        _ => Config::parse(&source),
    }
}

/// Reads a text under the name that the user gave.
///
/// # Errors
/// A file that is missing or too long. Ignition text that is not UTF-8 is repaired as in Go, Butane text is refused.
pub fn read_source(path: &Path) -> Result<Arc<Source>, Finding> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| unreadable(&name, &error))?;
    read_from(&name, file)
}

/// Reads a text from an open file or pipe.
///
/// # Errors
/// As [`read_source`].
pub fn read_from(name: &str, reader: impl io::Read) -> Result<Arc<Source>, Finding> {
    let (mut bytes, mut reader) = (Vec::new(), reader);
    let mut read = |bytes: &mut Vec<u8>, limit: u64| {
        let more = (limit + 1).saturating_sub(bytes.len() as u64);
        io::Read::by_ref(&mut reader).take(more).read_to_end(bytes).map_err(|error| unreadable(name, &error))
    };
    read(&mut bytes, MAX_YAML_BYTES)?;
    let looks_like_json = bytes.trim_ascii_start().first() == Some(&b'{');
    let limit = if looks_like_json { MAX_LAYER_BYTES } else { MAX_YAML_BYTES };
    read(&mut bytes, limit)?;
    if bytes.len() as u64 > limit {
        let message = format!("{name} is longer than {limit} bytes ({} MiB), and no config is", limit >> 20);
        let hint =
            "serve large contents as assets, and give their URL and hash; if it is no config, name one";
        return Err(Finding::error(message).hint(hint));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text)),
        Err(error) if looks_like_json => Ok(Source::new(name, lossy(error.as_bytes()))),
        // A line of it would tell nobody anything.
        Err(error) if error.as_bytes().contains(&0) => {
            let message = format!("{name} is not text: it has NUL bytes");
            Err(Finding::error(message).hint("name a config here, and other files where they belong"))
        }
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = lossy(error.as_bytes());
            let place = tree::Text::new(&Source::new(name, text)).place(valid);
            Err(Finding::error("Error unmarshaling yaml: yaml: invalid UTF-8")
                .hint("save the config as UTF-8; binary contents go into a file of their own, named with `local`")
                .at(place))
        }
    }
}

fn unreadable(name: &str, error: &io::Error) -> Finding {
    let finding = Finding::error(format!("cannot read {name}: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => {
            finding.hint("check the name, and that nothing removes the file meanwhile")
        }
        io::ErrorKind::IsADirectory => finding.hint("name a config in that directory"),
        _ => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_refused_without_a_look_at_all_of_it_and_without_an_echo() {
        let told = |bytes: &[u8]| read_from("x", bytes).unwrap_err().to_string();
        let long = told(&vec![0; MAX_YAML_BYTES as usize + 1]);
        assert!(long.contains("x is longer than 16777216 bytes (16 MiB)"), "{long}");
        let binary = told(b"QFI\xfb\0\0\x1b[31m");
        assert!(binary.contains("x is not text: it has NUL bytes") && !binary.contains("QFI"), "{binary}");
        assert!(told(b"a: \xfc\n").contains("invalid UTF-8"));
        let mut json = b" {".to_vec();
        json.resize(MAX_YAML_BYTES as usize + 9, b' ');
        assert_eq!(read_from("x", &json[..]).unwrap().text.len(), json.len());
    }
}
