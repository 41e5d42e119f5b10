//! From YAML to a [`Recipe`], with every finding at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::bake::early;
use crate::bake::recipe::{install, kernel_args, keys, kubernetes};
use crate::base::arch;
use crate::base::finding::{self, Finding, nearest};
use crate::base::reader::{Reader, another_kind};
use crate::base::yaml::decode::Fields;
use crate::base::yaml::kinds::Kind;
use crate::base::yaml::{self, Node as Yaml};
use crate::flatcar::version::VersionWish;
use crate::ignition::ssh_keys::{self, Origin};
use crate::source::{self, shown, unfit};
use crate::sysext::packaging;
use crate::tree::secrets::masked_place;

pub(super) fn recipe<O>(
    source: &Arc<Source>,
    directory: PathBuf,
    outputs: impl FnOnce(&Recipe, &Decoder) -> O,
) -> Result<(Recipe, O), Findings> {
    let root = yaml::merge::parse(source)?;
    another_kind(&root, source, Kind::Recipe)?;
    let decoder = Decoder::new(source);
    let read = Reader { decoder: &decoder, directory: &directory }.recipe(&root, source, outputs);
    decoder.finish(read)
}

impl Reader<'_> {
    fn recipe<O>(
        &self,
        root: &Yaml,
        source: &Arc<Source>,
        outputs: impl FnOnce(&Recipe, &Decoder) -> O,
    ) -> (Recipe, O) {
        let fields = self.decoder.fields(root, &keys::RECIPE);
        self.check_schema(&fields);
        let release = self.release(fields.need("release").unwrap_or(root), root);
        let recipe = Recipe {
            name: fields
                .need("name")
                .map(|node| self.name(node, "the recipe's name").value)
                .unwrap_or_default(),
            source: source.clone(),
            directory: self.directory.to_owned(),
            trust: fields.get("trust").map(|node| self.trust(node)).unwrap_or_default(),
            mirrors: fields.get("mirrors").map(|node| self.mirrors(node)).unwrap_or_default(),
            config_from: fields
                .get("config_from")
                .and_then(|node| Some(self.decoder.spanned(node, self.decoder.parsed(node)?))),
            base_url: fields.get("base_url").and_then(|node| self.decoder.parsed(node)),
            kubernetes: fields.get("kubernetes").and_then(|node| kubernetes::decode(self.decoder, node)),
            sysexts: self.sysexts(&fields),
            packaging: fields
                .get("packaging")
                .map(|node| packaging::Wish::decode(self.decoder, node, self.directory))
                .unwrap_or_default(),
            images: fields.get("images").map(|node| self.images(node)).unwrap_or_default(),
            ssh_keys: fields.get("ssh_keys").map(|node| self.ssh_keys(node)).unwrap_or_default(),
            trust_ca: self.paths(fields.get("trust_ca"), "`trust_ca`"),
            public_secrets: fields
                .get("public_secrets")
                .map(|node| self.public_secrets(node))
                .unwrap_or_default(),
            profiles: fields.need("profiles").map(|node| self.profiles(node)).unwrap_or_default(),
            nodes: fields.get("nodes").map(|node| self.nodes(node, &release.archs)).unwrap_or_default(),
            release,
            default_profile: fields.get("default_profile").and_then(|node| self.decoder.string(node)),
            outputs: self.outputs(fields.get("outputs"), root),
        };
        self.check_nodes(&recipe);
        self.check_images(&recipe);
        self.check_early_initrds(&recipe);
        self.check_installs(&recipe);
        self.check_templates(&recipe);
        self.check_private(&recipe);
        let outputs = outputs(&recipe, self.decoder);
        if let (Some(profile), Some(node)) = (&recipe.default_profile, fields.get("default_profile")) {
            self.known_profile(&recipe, &self.decoder.spanned(node, profile.clone()));
        }
        (recipe, outputs)
    }

    fn release(&self, node: &Yaml, root: &Yaml) -> Release {
        // A missing `release` is already a finding, so do not report its own keys as missing.
        let missing = std::ptr::eq(node, root);
        let nothing = self.decoder.spanned(node, String::new());
        if missing {
            return Release {
                channel: nothing,
                version: VersionWish::Latest,
                archs: vec![arch::Arch::Amd64],
            };
        }
        let fields = self.decoder.fields(node, &keys::RELEASE);
        let channel =
            fields.need("channel").and_then(|n| Some(self.decoder.spanned(n, self.decoder.string(n)?)));
        Release {
            channel: channel.unwrap_or(nothing),
            version: fields
                .get("version")
                .and_then(|n| self.decoder.parsed(n))
                .unwrap_or(VersionWish::Latest),
            archs: fields.get("arch").map_or_else(|| vec![arch::Arch::Amd64], |node| self.archs(node)),
        }
    }

    fn archs(&self, node: &Yaml) -> Vec<Arch> {
        let mut archs: Vec<Arch> = Vec::new();
        for item in self.decoder.items(node, "`arch`") {
            let Some(arch) = self.decoder.parsed(item) else { continue };
            match archs.contains(&arch) {
                true => self.decoder.error(item, format!("`{arch}` is listed twice")),
                false => archs.push(arch),
            }
        }
        if archs.is_empty() {
            self.decoder.error(node, "`arch` needs at least one architecture: amd64 or arm64");
            archs.push(arch::Arch::Amd64);
        }
        archs.sort_unstable();
        archs
    }

    pub(crate) fn trust(&self, node: &Yaml) -> Trust {
        let fields = self.decoder.fields(node, &keys::TRUST);
        let primary = fields.need("primary_fingerprint").and_then(|n| self.decoder.parsed(n));
        Trust {
            primary: primary.unwrap_or(FLATCAR_PRIMARY),
            key: fields.get("key").and_then(|n| Some(self.directory.join(self.decoder.string(n)?))),
        }
    }

    pub(crate) fn mirrors(&self, node: &Yaml) -> BTreeMap<SourceName, Vec<String>> {
        let mut mirrors = BTreeMap::new();
        for (name, urls) in self.decoder.entries(node, "`mirrors`") {
            let known = source::SourceName::ALL.iter().find(|source| source.as_str() == name.value);
            let Some(source) = known else {
                let names = source::SourceName::ALL.map(source::SourceName::as_str);
                let finding =
                    Finding::error(format!("unknown source `{}`", name.value)).at(name.place.clone());
                self.decoder.push(match nearest(&name.value, names) {
                    Some(near) => finding.hint(format!("did you mean `{near}`?")),
                    None => finding.hint(format!("sources: {}", names.join(", "))),
                });
                continue;
            };
            let mut bases = Vec::new();
            for url in self.decoder.strings(urls, "a source's mirrors") {
                match unfit(&url.value, &["http", "https"]) {
                    None => bases.push(url.value.trim_end_matches('/').to_owned()),
                    // The line would show what the message hides.
                    Some(why) => self.decoder.push(
                        Finding::error(format!("a mirror is `{}`, {why}", shown(&url.value)))
                            .at(masked_place(&url.place)),
                    ),
                }
            }
            mirrors.insert(*source, bases);
        }
        mirrors
    }

    /// `NAME`, or `{name: NAME, version: V, set: {VARIABLE: VALUE}}`.
    pub(crate) fn sysexts(&self, fields: &Fields<'_>) -> Vec<Sysext> {
        let items = fields.get("sysexts").map_or(&[][..], |list| self.decoder.items(list, "`sysexts`"));
        items.iter().filter_map(|item| self.sysext(item)).collect()
    }

    fn sysext(&self, node: &Yaml) -> Option<Sysext> {
        let text = |node: &Yaml| Some(self.decoder.spanned(node, self.decoder.string(node)?));
        if node.scalar().is_some() {
            return Some(Sysext { name: text(node)?, set: BTreeMap::new() });
        }
        let fields = self.decoder.fields(node, &keys::SYSEXT);
        let mut set = BTreeMap::new();
        let values = fields.get("set").map_or(Vec::new(), |n| self.decoder.entries(n, "`set`"));
        for (variable, value) in values {
            if variable.value == "version" {
                let finding = Finding::error("`version` belongs beside `set`, not in it");
                self.decoder.push(finding.at(variable.place.clone()));
            }
            set.extend(text(value).map(|value| (variable.value, value)));
        }
        set.extend(fields.get("version").and_then(text).map(|version| ("version".to_owned(), version)));
        Some(Sysext { name: fields.need("name").and_then(text)?, set })
    }

    pub(crate) fn images(&self, node: &Yaml) -> Vec<Spanned<ImageRef>> {
        let items = self.decoder.items(node, "`images`").iter();
        items.filter_map(|item| Some(self.decoder.spanned(item, self.decoder.parsed(item)?))).collect()
    }

    /// Refuses two spellings of one image, and two images with one file name.
    fn check_images(&self, recipe: &Recipe) {
        let mut names: BTreeMap<String, &Spanned<ImageRef>> = BTreeMap::new();
        for image in &recipe.images {
            let file = image.value.file_name(recipe.release.archs[0]);
            let Some(first) = names.insert(file.clone(), image) else { continue };
            let finding = match first.value.to_string() == image.value.to_string() {
                true => {
                    Finding::error(format!("image `{}` is listed twice", image.value)).hint("leave one out")
                }
                false => {
                    Finding::error(format!("`{}` and `{}` would both be {file}", first.value, image.value))
                        .hint("name one of them by digest, without a tag")
                }
            };
            let finding = finding.at(image.place.clone());
            self.decoder.push(finding.related(first.place.clone(), "first listed here"));
        }
    }

    fn ssh_keys(&self, node: &Yaml) -> Vec<SshKeys> {
        let items = self.decoder.strings(node, "`ssh_keys`").into_iter();
        items
            .map(|item| {
                let at = |finding: Finding| self.decoder.push(finding.at(item.place.clone()));
                if let Some(user) = item.value.strip_prefix("github:") {
                    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
                    if user.is_empty() || user.len() > 39 || !user.chars().all(plain) {
                        at(Finding::error(format!("`{user}` is not the name of a GitHub user")));
                    }
                    SshKeys::Github(Spanned { value: user.to_owned(), place: item.place.clone() })
                } else if item.value.contains(' ') {
                    // These findings point into the key, and people look for them in the recipe.
                    if let Err(Findings(findings)) =
                        ssh_keys::parse(&finding::Source::new("the key", item.value.as_str()), Origin::Recipe)
                    {
                        findings.into_iter().for_each(at);
                    }
                    SshKeys::Key(item)
                } else {
                    SshKeys::File(Spanned { value: self.directory.join(&item.value), place: item.place })
                }
            })
            .collect()
    }

    pub(crate) fn public_secrets(&self, node: &Yaml) -> Vec<PublicSecret> {
        let read = |item: &Yaml| {
            let fields = self.decoder.fields(item, &keys::PUBLIC_SECRET);
            let path = fields
                .need("path")
                .and_then(|node| Some(self.decoder.spanned(node, self.decoder.string(node)?)));
            let why = fields.need("why").and_then(|node| self.decoder.string(node));
            Some(PublicSecret { path: path?, why: why? })
        };
        self.decoder.items(node, "`public_secrets`").iter().filter_map(read).collect()
    }

    fn profiles(&self, node: &Yaml) -> BTreeMap<String, Profile> {
        let mut profiles = BTreeMap::new();
        for (name, node) in self.decoder.entries(node, "`profiles`") {
            self.plain_name(&name, "a profile's name");
            let profile = self.profile(&name, node);
            profiles.insert(name.value, profile);
        }
        if profiles.is_empty() {
            self.decoder.error(node, "`profiles` needs at least one profile");
        }
        profiles
    }

    fn profile(&self, name: &Spanned<String>, node: &Yaml) -> Profile {
        let fields = self.decoder.options(node, &keys::PROFILE);
        let mut profile = Profile {
            place: name.place.clone(),
            ignition: self.layers(&fields),
            private: self.paths(fields.get("private"), "`private`"),
            sysexts: self.sysexts(&fields),
            kernel_args: fields.get("kernel_args").map(|n| self.kernel_args(n)).unwrap_or_default(),
            layout: fields.get("layout").and_then(|n| Some(self.decoder.spanned(n, self.decoder.parsed(n)?))),
            early_initrds: fields.get("early_initrds").map(|n| self.early_initrds(n)).unwrap_or_default(),
            role: fields.get("role").and_then(|n| self.decoder.parsed(n)),
            install: None,
            generic: fields.get("generic").and_then(|n| self.file(n)),
            diskless: None,
        };
        if let Some(node) = fields.get("diskless")
            && self.decoder.boolean(node) == Some(true)
        {
            profile.diskless = Some(self.decoder.spanned(node, ()).place);
        }
        if let Some(node) = fields.get("install") {
            let install = install::Install::read(self.decoder, node);
            let sysext = |name: &&str| Sysext {
                name: self.decoder.spanned(node, (*name).to_owned()),
                set: BTreeMap::new(),
            };
            profile.sysexts.extend(INSTALL_SYSEXTS.iter().map(sysext));
            profile.install = Some(install);
        }
        profile
    }

    /// An installation fetches the disk image, and the config of the installed system, from the tree.
    fn check_installs(&self, recipe: &Recipe) {
        for profile in recipe.profiles.values().filter(|profile| profile.install.is_some()) {
            let missing = ["disk", "matchbox"].into_iter();
            let missing = missing.filter(|name| !recipe.has_output(name));
            let place = profile.sysexts.last().map(|sysext| sysext.name.place.clone());
            for (name, place) in missing.zip(place.into_iter().cycle()) {
                let text = format!("`install` needs files that only the output `{name}` publishes");
                let finding = Finding::error(text).at(place);
                self.decoder.push(finding.hint(format!("add `{name}: {{}}` to the outputs")));
            }
        }
    }

    /// Only Matchbox's output publishes templates.
    fn check_templates(&self, recipe: &Recipe) {
        let templates = recipe.profiles.values().filter_map(|profile| profile.generic.as_ref());
        for template in templates.filter(|_| !recipe.has_output("matchbox")) {
            let finding = Finding::error("`generic` is a template that only the output `matchbox` publishes");
            let finding = finding.at(template.place.clone());
            self.decoder.push(finding.hint("add `matchbox: {}` to the outputs"));
        }
    }

    fn file(&self, node: &Yaml) -> Option<Spanned<PathBuf>> {
        let path = self.directory.join(self.decoder.string(node)?);
        Some(self.decoder.spanned(node, path))
    }

    /// Each machine fetches its own private config at its boot; a machine that installs itself boots from its disk.
    fn check_private(&self, recipe: &Recipe) {
        let installs =
            |name: &str| recipe.profiles.get(name).is_some_and(|profile| profile.install.is_some());
        let of_profiles = recipe.profiles.iter().map(|(name, profile)| (name, &profile.private));
        let of_nodes = recipe.nodes.iter().map(|node| (&node.profile.value, &node.private));
        let matchbox = recipe.has_output("matchbox");
        for (profile, private) in of_profiles.chain(of_nodes) {
            let Some(first) = private.first() else { continue };
            let refuse = |text: &str| Finding::error(text).at(first.place.clone());
            if installs(profile) {
                let finding = refuse("a profile that installs itself cannot have private layers yet");
                self.decoder.push(finding.hint("have the installed system fetch its secrets"));
            }
            if !matchbox {
                let finding = refuse("private layers are served with the profiles of the output `matchbox`");
                self.decoder.push(finding.hint("add `matchbox: {}` to the outputs"));
            }
        }
    }

    pub(crate) fn kernel_args(&self, node: &Yaml) -> Vec<Spanned<String>> {
        let args = self.decoder.strings(node, "`kernel_args`");
        kernel_args::findings(&args).into_iter().for_each(|finding| self.decoder.push(finding));
        args
    }

    fn early_initrds(&self, node: &Yaml) -> Vec<Spanned<PathBuf>> {
        let files = self.decoder.strings(node, "`early_initrds`").into_iter();
        files
            .map(|file| {
                let path = self.directory.join(&file.value);
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                let name = Spanned { value: name.unwrap_or_default(), place: file.place.clone() };
                self.plain_name(&name, "the file name of an early initrd");
                Spanned { value: path, place: file.place }
            })
            .collect()
    }

    /// Two files with one name would be one in the tree, and a loader distinguishes initrds by their names.
    fn check_early_initrds(&self, recipe: &Recipe) {
        let mut seen: BTreeMap<_, &Spanned<PathBuf>> = BTreeMap::new();
        for (profile, path) in
            recipe.profiles.iter().flat_map(|(name, p)| p.early_initrds.iter().map(move |path| (name, path)))
        {
            let name = early::file_name(path);
            let twice = seen.get(&(name.clone(), Some(profile))).copied();
            let other = seen.get(&(name.clone(), None)).copied().filter(|first| first.value != path.value);
            if let Some(first) = twice.or(other) {
                let finding = Finding::error(format!("two early initrds are called `{name}`"));
                let finding = finding.at(path.place.clone());
                self.decoder.push(finding.related(first.place.clone(), "the other one"));
            }
            seen.insert((name.clone(), Some(profile)), path);
            seen.entry((name, None)).or_insert(path);
        }
    }

    /// The outputs by name, each with its options as they stand.
    fn outputs(&self, node: Option<&Yaml>, root: &Yaml) -> Vec<Output> {
        let Some(node) = node else {
            let output = |name: &str| Output {
                name: self.decoder.spanned(root, name.to_owned()),
                options: Yaml::null_at(root),
            };
            return DEFAULT_OUTPUTS.map(output).into();
        };
        let entries = self.decoder.entries(node, "`outputs`").into_iter();
        entries.map(|(name, options)| Output { name, options: options.clone() }).collect()
    }

    pub(crate) fn known_profile(&self, recipe: &Recipe, profile: &Spanned<String>) {
        let known = recipe.profiles.keys().map(String::as_str);
        if recipe.profiles.is_empty() || known.clone().any(|name| name == profile.value) {
            return;
        }
        let finding =
            Finding::error(format!("there is no profile `{}`", profile.value)).at(profile.place.clone());
        self.decoder.push(match nearest(&profile.value, known.clone()) {
            Some(near) => finding.hint(format!("did you mean `{near}`?")),
            None => finding.hint(format!("profiles: {}", known.collect::<Vec<_>>().join(", "))),
        });
    }
}
