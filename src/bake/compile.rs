//! Compiles the Ignition config of every profile and node.
//!
//! Layers, lowest first: links for the sysexts (where an overlay carries them), authorities and SSH keys (generated), the
//! node side of each sysext, the profile's layers, the node's own, and the extra layers of the command line. Owns the
//! order and the links; leaves merging and spec levels to `ignition`, and configs for machines that fetch their sysexts
//! to `delivery`.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::bake::boot::{BootWish, Delivery};
use crate::bake::extensions::Selected;
use crate::bake::judge::logins::{self, Shut};
use crate::bake::judge::secrets::Judge;
use crate::bake::judge::unheard;
use crate::bake::outputs::Outputs;
use crate::bake::recipe::{self, INSTALL_SYSEXTS, Install, Profile, Recipe, SshKeys};
use crate::bake::{delivery, kubernetes};
use crate::base::arch::Arch;
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::{Finding, Findings, Place, Severity, Source};
use crate::base::yaml::decode::Spanned;
use crate::flatcar::quirks;
use crate::flatcar::version::Version;
use crate::format::gotemplate::Template;
use crate::format::tree::PLAIN;
use crate::ignition::authorities::{self, Authorities};
use crate::ignition::ssh_keys::{self, Origin};
use crate::ignition::{self, Config, Spec, Transpile, boot, lint};
use crate::initrd::overlay::links_layer;
use crate::machine::base_url::BaseUrl;
use crate::machine::node::Node;
use crate::sysext::folder::Layer;
use crate::sysext::packaging::Packaging;
use crate::sysext::signing::Signer;
use crate::tree::lock;
use crate::tree::names::{self, INSTALL_CONF, config_id, generic, installed_id};
use crate::tree::records::CEILING as MATCHBOX_CEILING;

/// Reasons why no config can be made for a release.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The release's Ignition reads spec 2 only.
    #[error("{place}: the Ignition of Flatcar {version} does not read spec 3 configs")]
    TooOld {
        /// The Flatcar version.
        version: Version,
        /// Place where the recipe asks for the release.
        place: Place,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        let Error::TooOld { .. } = self;
        Some("choose 3185 or newer".into())
    }
}

/// The compiled configs, with the warnings about their layers.
pub(crate) struct Compiled {
    /// One for each profile and architecture, and one for each node with its own layers.
    pub boots: Vec<BootWish>,
    /// Warnings of all layers.
    pub warnings: Vec<Finding>,
    /// Everything known so far that will be public.
    pub public: Judge,
}

/// Compiles everything, and collects the findings of all layers before it fails.
pub(crate) fn compile(
    recipe: &Recipe,
    outputs: &Outputs,
    version: Version,
    sysexts: &[Selected],
    packaging: &Packaging,
    github_keys: &lock::SshKeys,
    extra: &[PathBuf],
) -> Result<Compiled> {
    let fetched_from = delivery::fetched_from(recipe, outputs, version)?;
    let too_old = || Error::TooOld { version, place: recipe.release.channel.place.clone() };
    let release = quirks::newest_spec(version.0[0]).ok_or_else(too_old)?;
    let ceiling = if recipe.has_output("matchbox") { release.min(MATCHBOX_CEILING) } else { release };
    let keys = keys_layer(recipe, github_keys)?;
    let authorities = authorities_layer(recipe)?;
    let signer = packaging.verity.as_ref();
    let findings = delivery::contradictions(recipe, outputs, fetched_from.as_ref());
    let mut compiler = Compiler {
        recipe,
        version,
        sysexts,
        signer,
        keys,
        authorities,
        extra,
        ceiling,
        fetched_from,
        findings,
        public: Judge::new(&recipe.public_secrets),
    };
    compiler.public.sysexts(sysexts).map_err(disk::Error::io("read", "the folders of sysexts".as_ref()))?;
    compiler.note(outputs.unmatched_profiles(recipe));
    compiler.note(outputs.warnings(recipe));
    compiler.note(delivery::release_faults(recipe, version));
    if !sysexts.is_empty() {
        compiler.note(recipe.packaging.findings(version, &recipe.release.channel.place));
    }
    compiler.note(kubernetes::sandbox_warning(recipe).into_iter().collect());
    compiler.note(unheard::warning(recipe).into_iter().collect());
    let mut boots = Vec::new();
    for (name, profile, arch, node) in boots_of(recipe) {
        boots.extend(compiler.boot(name, profile, arch, node));
    }
    if !outputs.take_user_data(recipe) {
        compiler.note(logins::findings(recipe, Shut::among(&boots)));
    }
    let leaks = compiler.public.take_findings();
    compiler.note(leaks);
    let (boots, warnings) = Findings::settle(compiler.findings, boots)?;
    Ok(Compiled { boots, warnings, public: compiler.public })
}

struct Compiler<'c> {
    recipe: &'c Recipe,
    version: Version,
    sysexts: &'c [Selected],
    signer: Option<&'c Signer>,
    keys: Option<Config>,
    authorities: Option<Config>,
    extra: &'c [PathBuf],
    ceiling: Spec,
    /// URL from which machines fetch, if they do.
    fetched_from: Option<BaseUrl>,
    findings: Vec<Finding>,
    public: Judge,
}

impl Compiler<'_> {
    fn boot(&mut self, name: &str, profile: &Profile, arch: Arch, node: Option<&Node>) -> Option<BootWish> {
        let names = sysexts_of(self.recipe, profile);
        let files = layers_of(self.recipe, self.sysexts, self.extra, (profile, arch, node));
        let on_disk = |name: &&String| profile.install.is_none() || !INSTALL_SYSEXTS.contains(&name.as_str());
        let linked: Vec<String> = names.iter().filter(on_disk).cloned().collect();
        let mut layers = vec![self.links(&linked)];
        layers.extend(self.signer.filter(|_| !linked.is_empty()).map(trusted));
        layers.extend([&self.authorities, &self.keys].into_iter().flatten().cloned().map(Some));
        layers.extend(files.iter().map(|(layer, place)| self.layer(layer, *place)));
        let layers: Vec<Config> = layers.into_iter().collect::<Option<_>>()?;
        self.note(lint::conflicts(&layers));
        let config = ignition::merge_all(layers);
        self.public.config(&config, &profile.place);
        self.public.kernel_args(&profile.kernel_args);
        self.note(delivery::remote_sources(profile, &config));
        self.note(boot::failures(&config, Some(quirks::system(self.version))));
        let private = self.private(profile, node)?;
        let lets_in = self.lets_in(&names, arch, profile, &config, private.as_deref());
        let node = node.map(|node| node.name.value.as_str());
        let id = self.recipe.boot_id(name, arch, node);
        let (config, installed) = match &profile.install {
            None => {
                if self.recipe.has_output("pxe") {
                    self.note(lint::pxe(&config));
                }
                (config, None)
            }
            Some(install) => (self.installer(install, &id, arch)?, Some(self.emitted(config)?)),
        };
        let ignition = self.emitted(config)?;
        let generic = self.generic(name, profile);
        Some(BootWish {
            id,
            installed,
            generic,
            arch,
            profile: name.to_owned(),
            node: node.map(str::to_owned),
            delivery: Delivery::of(profile, self.fetched_from.as_ref()),
            kernel_args: profile.kernel_args.iter().map(|arg| arg.value.clone()).collect(),
            ignition,
            private,
            lets_in,
            sysexts: names,
        })
    }

    /// The template of a profile. It is only parsed: the values that it needs are known when a machine asks.
    fn generic(&mut self, name: &str, profile: &Profile) -> Option<Vec<u8>> {
        let file = profile.generic.as_ref()?;
        let parsed = ignition::read_source(&file.value).and_then(|source| {
            self.public.text(&generic(name), &source);
            match Template::parse(source.text.as_bytes()) {
                Ok(_) => Ok(source.text.as_bytes().to_vec()),
                Err(error) => {
                    let finding = Finding::error(error.message());
                    Err(match error.line() {
                        Some(line) => finding.at(Place { source, line, column: 1 }),
                        None => finding,
                    })
                }
            }
        });
        match parsed {
            Ok(template) => Some(template),
            Err(mut finding) => {
                finding.place.get_or_insert_with(|| file.place.clone());
                self.note(vec![finding]);
                None
            }
        }
    }

    /// The config with the secrets of a boot's machines. The inner `None`: there are none; the outer: they are faulty.
    fn private(&mut self, profile: &Profile, node: Option<&Node>) -> Option<Option<Vec<u8>>> {
        let own = node.map(|node| node.private.as_slice()).unwrap_or_default();
        let files: Vec<_> = profile.private.iter().chain(own).collect();
        if files.is_empty() {
            return Some(None);
        }
        // A line of these files may be a secret, and findings end up in the logs of a CI, so lines are left out.
        let earlier = self.findings.len();
        let made = self.private_of(files);
        let told = self.findings.split_off(earlier);
        self.note(told.into_iter().map(Finding::without_lines).collect());
        made.map(Some)
    }

    fn private_of(&mut self, files: Vec<&Spanned<PathBuf>>) -> Option<Vec<u8>> {
        let layers =
            files.into_iter().map(|file| self.layer(&Layer::Disk(file.value.clone()), Some(&file.place)));
        let layers: Vec<Config> = layers.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?;
        self.note(lint::conflicts(&layers));
        let config = ignition::merge_all(layers);
        self.note(boot::failures(&config, Some(quirks::system(self.version))));
        self.emitted(config)
    }

    /// Whether somebody can log in to the machines of a boot.
    fn lets_in(
        &self,
        names: &[String],
        arch: Arch,
        profile: &Profile,
        config: &Config,
        private: Option<&[u8]>,
    ) -> bool {
        // The recipe's own keys are in every config.
        self.keys.is_some()
            || logins::by_args(profile.kernel_args.iter().map(|arg| arg.value.as_str()))
            || logins::by_config(config)
            || private.is_some_and(|json| {
                let source = Source::new("private", String::from_utf8_lossy(json));
                Config::parse(&source).is_ok_and(|private| logins::by_config(&private.config))
            })
            || booted(self.sysexts, names, arch).any(|sysext| logins::by_image(&sysext.description.files))
    }

    /// A config as it is emitted; `None` where the release cannot read it.
    fn emitted(&mut self, config: Config) -> Option<Vec<u8>> {
        match config.at_most(self.ceiling) {
            Ok(config) => Some(config.to_json().into_bytes()),
            Err(Findings(findings)) => {
                self.note(findings);
                None
            }
        }
    }

    /// The config of a machine that runs in memory to install itself: the two sysexts for the installation, their
    /// settings, and the SSH keys.
    fn installer(&self, install: &Install, id: &str, arch: Arch) -> Option<Config> {
        let conf = install.conf(
            self.version,
            &self.recipe.stock_root(arch),
            &names::ignition(&config_id(&installed_id(id))),
            self.recipe.base_url.as_ref().or(self.fetched_from.as_ref()),
        );
        let conf = file_layer(INSTALL_CONF, 0o600, conf);
        let layers = [self.links(&INSTALL_SYSEXTS.map(str::to_owned)), conf];
        let common = [self.authorities.clone(), self.keys.clone()];
        Some(ignition::merge_all(layers.into_iter().chain(common).flatten()))
    }

    /// The lowest layer: links to the sysexts of the overlay. A sysext that is fetched is linked once its digest is
    /// known.
    fn links(&self, sysexts: &[String]) -> Option<Config> {
        links_layer(if self.fetched_from.is_some() { &[] } else { sysexts })
    }

    /// Reads a layer, or records why that fails; a finding without a place gets the place that names the layer.
    fn layer(&mut self, layer: &Layer, named_at: Option<&Place>) -> Option<Config> {
        match layer.load(&Transpile::of_recipe()) {
            Ok(checked) => {
                self.note(checked.warnings);
                Some(checked.config)
            }
            Err(Findings(findings)) => {
                let refused = |mut finding: Finding| {
                    // `strict` returns warnings as the reason of a refusal.
                    finding.severity = Severity::Error;
                    finding.place = finding.place.or_else(|| named_at.cloned());
                    finding
                };
                self.note(findings.into_iter().map(refused).collect());
                None
            }
        }
    }

    /// Records findings; a finding in a layer that several profiles share is recorded once.
    fn note(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            let same = |old: &Finding| old.message == finding.message && old.place == finding.place;
            if !self.findings.iter().any(same) {
                self.findings.push(finding);
            }
        }
    }
}

/// Names of the sysexts of a profile.
fn sysexts_of(recipe: &Recipe, profile: &Profile) -> Vec<String> {
    let spelled = recipe.sysexts_of(profile).into_iter();
    let names = spelled.map(|spelling| recipe::name_of(&spelling.name).to_owned());
    names.chain(kubernetes::sysext_of(recipe, profile).map(str::to_owned)).collect()
}

/// Those of these names that profiles boot.
fn booted<'s>(sysexts: &'s [Selected], names: &[String], arch: Arch) -> impl Iterator<Item = &'s Selected> {
    let booted = sysexts.iter().filter(move |sysext| sysext.booted && sysext.arch == arch);
    booted.filter(|sysext| names.contains(&sysext.description.name))
}

/// The layers that have a file, lowest first, each with the place that names it.
fn layers_of<'r>(
    recipe: &'r Recipe,
    sysexts: &[Selected],
    extra: &[PathBuf],
    (profile, arch, node): (&'r Profile, Arch, Option<&'r Node>),
) -> Vec<(Layer, Option<&'r Place>)> {
    let names = sysexts_of(recipe, profile);
    let node_sides = booted(sysexts, &names, arch).filter_map(|sysext| sysext.description.node_layer.clone());
    let own = node.map(|node| node.ignition.as_slice()).unwrap_or_default();
    let named = profile.ignition.iter().chain(own);
    let named = named.map(|layer| (Layer::Disk(layer.value.clone()), Some(&layer.place)));
    let extra = extra.iter().map(|path| (Layer::Disk(path.clone()), None));
    node_sides.map(|layer| (layer, None)).chain(named).chain(extra).collect()
}

/// The boots of a recipe: each profile for each architecture, and each node with layers of its own.
fn boots_of(recipe: &Recipe) -> impl Iterator<Item = (&String, &Profile, Arch, Option<&Node>)> {
    recipe.profiles.iter().flat_map(|(name, profile)| {
        let whole = recipe.release.archs.iter().map(move |arch| (name, profile, *arch, None));
        let nodes = recipe.nodes.iter().filter(move |node| node.profile.value == *name);
        let nodes = nodes.filter(|node| !(node.ignition.is_empty() && node.private.is_empty()));
        whole.chain(nodes.map(move |node| (name, profile, node.arch, Some(node))))
    })
}

/// Warnings about boots that nobody can log in to, before there is a lock to compile for. Layers with faults, and files of keys
/// with faults, are told of then. A GitHub user whose keys are not locked yet may bring one.
pub(crate) fn logins(
    recipe: &Recipe,
    outputs: &Outputs,
    sysexts: &[Selected],
    github: &lock::SshKeys,
    extra: &[PathBuf],
) -> Vec<Finding> {
    let is_open =
        |source: &SshKeys| matches!(source, SshKeys::Github(user) if !github.contains_key(&user.value));
    let brings_keys = || keys_layer(recipe, github).map_or(true, |keys| keys.is_some());
    if outputs.take_user_data(recipe) || recipe.ssh_keys.iter().any(is_open) || brings_keys() {
        return Vec::new();
    }
    let lets_in = |(_, profile, arch, node): &(&String, &Profile, Arch, Option<&Node>)| {
        let load = |layer: &Layer| Some(layer.load(&Transpile::of_recipe()).ok()?.config);
        let layers = layers_of(recipe, sysexts, extra, (profile, *arch, *node));
        let public = ignition::merge_all(layers.iter().filter_map(|(layer, _)| load(layer)));
        let own = node.map(|node| node.private.as_slice()).unwrap_or_default();
        let private = profile.private.iter().chain(own).map(|file| Layer::Disk(file.value.clone()));
        let private = ignition::merge_all(private.filter_map(|layer| load(&layer)));
        let names = sysexts_of(recipe, profile);
        logins::by_args(profile.kernel_args.iter().map(|arg| arg.value.as_str()))
            || [public, private].iter().any(logins::by_config)
            || booted(sysexts, &names, *arch).any(|sysext| logins::by_image(&sysext.description.files))
    };
    let shut = boots_of(recipe).filter(|boot| !lets_in(boot));
    let shut =
        shut.map(|(profile, _, _, node)| Shut { profile, node: node.map(|node| node.name.value.as_str()) });
    logins::findings(recipe, shut)
}

/// The layer with all SSH keys of the recipe, for Flatcar's user `core`.
fn keys_layer(recipe: &Recipe, github: &lock::SshKeys) -> Result<Option<Config>, Findings> {
    let mut keys = Vec::new();
    for source in &recipe.ssh_keys {
        match source {
            SshKeys::Key(key) => keys.push((key.value.clone(), Origin::Recipe)),
            SshKeys::File(path) => {
                let text =
                    ignition::read_source(&path.value).map_err(|finding| finding.at(path.place.clone()))?;
                let of_file = ssh_keys::parse(&text, Origin::Recipe)?;
                keys.extend(of_file.into_iter().map(|key| (key, Origin::Recipe)));
            }
            SshKeys::Github(user) => {
                let of_user = github.get(&user.value).into_iter().flatten();
                keys.extend(of_user.map(|key| (key.clone(), Origin::Published)));
            }
        }
    }
    let keys = ssh_keys::distinct(keys);
    if keys.is_empty() { Ok(None) } else { ssh_keys::layer("core", &keys).map(Some) }
}

/// The layer with all authorities of the recipe.
fn authorities_layer(recipe: &Recipe) -> Result<Option<Config>, Findings> {
    let load = |file: &Spanned<PathBuf>| {
        Authorities::load(&file.value).map_err(|finding| finding.at(file.place.clone()))
    };
    let loaded = recipe.trust_ca.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    authorities::layer(&loaded)
}

/// Layer with the signer's certificate: systemd merges signed images only where it finds that. One untrusted image
/// keeps all others from being merged, too.
fn trusted(signer: &Signer) -> Option<Config> {
    let path = format!("/etc/verity.d/prebake-{}.crt", &signer.fingerprint().to_string()[..16]);
    file_layer(&path, PLAIN, signer.certificate_pem().ok()?)
}

/// A layer of one file.
fn file_layer(path: &str, mode: u16, contents: impl AsRef<[u8]>) -> Option<Config> {
    let source = format!("data:;base64,{}", STANDARD.encode(contents));
    let file = json!({"path": path, "mode": mode, "contents": {"source": source}});
    Config::from_json(&json!({"ignition": {"version": "3.3.0"}, "storage": {"files": [file]}})).ok()
}
