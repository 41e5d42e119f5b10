//! Cluster API: a repository for clusterctl, `capi/repository/…`, with the flavor `flatcar` for the disk images of the recipe, and
//! `capi/capi.json`, which says what is in it.
//!
//! Owns the options, and what of the recipe goes into the flavor. Leaves manifests to [`flavor`], the facts of providers to
//! [`provider`](crate::capi::provider), and what was fetched before, with its images, to [`materials`].

mod materials;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use self::materials::{Materials, Part};
use super::keys::{CAPI, CAPI_TEMPLATE, VM_IDS};
use super::{Built, Options, OutputFormat};
use crate::addon::known;
use crate::addon::vendor::{Place as From, Wish as Fetch};
use crate::bake::images;
use crate::bake::kubernetes::kubeadm;
use crate::bake::recipe::{Kubernetes, Recipe};
use crate::base::canonical::canonical_json;
use crate::base::finding::{Finding, Findings, Place, Source, meant};
use crate::base::yaml::decode::{Decoder, Spanned};
use crate::base::yaml::{Kind as Kinds, Node as Yaml};
use crate::capi::components::{Component, Kind};
use crate::capi::flavor::{self, Wish};
use crate::capi::index::{self, CertManager, Index, SCHEMA};
use crate::capi::provider::{Choices, GATE, PROVIDERS, Provider, Template};
use crate::capi::variables::{Default as Given, Filled};
use crate::ignition::ssh_keys::{self, Origin};
use crate::machine::network::Network;
use crate::tree::manifest::Role;
use crate::tree::names::{self, CAPI_RECORD};
use crate::tree::row::Row;

/// Directory of what was fetched, beside the recipe.
const DIRECTORY: &str = "capi";
/// Directory of add-ons in it.
const ADDONS: &str = "addons";
/// Percentages of a host's memory that machines may have, as `memory_adjustment` of the recipe.
const MEMORY: std::ops::RangeInclusive<u64> = 0..=10_000;
/// kube-vip's image, and its version where no image is locked: that of the sysext `kubernetes`.
const KUBE_VIP: (&str, &str) = ("ghcr.io/kube-vip/kube-vip", "v1.2.1");

/// The output `capi`.
#[derive(Debug)]
pub(crate) struct Capi {
    provider: &'static Provider,
    /// By the name of a component or add-on.
    versions: BTreeMap<String, Spanned<String>>,
    addons: Vec<Spanned<String>>,
    choices: Choices,
    /// Those of `choices` that the recipe names.
    chosen: Vec<Spanned<&'static str>>,
    users: Vec<String>,
    ssh_keys: Vec<String>,
    /// Network of the pods; that of [`flavor::PODS`] without.
    pods: Option<Network>,
    restart_networkd: bool,
    /// The vendored files, once the recipe is decoded.
    materials: OnceLock<Materials>,
}

pub(super) fn read(options: &Options<'_>) -> Option<Box<dyn OutputFormat>> {
    Some(Box::new(decode(options)?))
}

/// The output of a recipe, if it has one; what it needs need not be fetched.
pub(crate) fn of(recipe: &Recipe, decoder: &Decoder) -> Option<Capi> {
    let output = recipe.outputs.iter().find(|output| output.name.value == CAPI.name)?;
    decode(&Options::new(decoder, &output.options, CAPI.value.mapping()?))
}

fn decode(options: &Options<'_>) -> Option<Capi> {
    let decoder = options.decoder;
    let provider = match options.get("provider") {
        None => PROVIDERS[0],
        Some(node) => {
            let name = decoder.string(node)?;
            let provider = Provider::of(&name);
            if provider.is_none() {
                let known = PROVIDERS.iter().map(|provider| provider.name);
                let finding = Finding::error(format!("unknown provider `{name}` of Cluster API"));
                let place = decoder.spanned(node, ()).place;
                decoder.push(finding.at(place).hint(meant(&name, known, "providers: ")));
            }
            provider?
        }
    };
    let addons = options.get("addons").map_or(Vec::new(), |node| names_of(decoder, node, "addons"));
    let versions = options.get("versions").map_or(Vec::new(), |node| decoder.entries(node, "`versions`"));
    let versions = versions.into_iter().filter_map(|(name, node)| {
        let version = decoder.spanned(node, decoder.string(node)?);
        let mut known = provider.components().into_iter().map(|component| component.name);
        if !known.any(|known| known == name.value) && !addons.iter().any(|addon| addon.value == name.value) {
            let finding =
                Finding::error(format!("`{}` is no component and no add-on of this output", name.value));
            let known = provider.components().into_iter().map(|component| component.name);
            decoder.push(finding.at(name.place.clone()).hint(meant(&name.value, known, "components: ")));
        }
        if !is_version(&version.value) {
            let finding = Finding::error(format!("`{}` is not a version such as v1.12.10", version.value));
            decoder.push(finding.at(version.place.clone()));
        }
        Some((name.value, version))
    });
    let versions = versions.collect();
    let mut choices = Choices::default();
    let mut chosen = Vec::new();
    for key in ["template", "vm_ids", "memory_adjustment"] {
        chosen.extend(options.get(key).map(|node| decoder.spanned(node, key)));
    }
    choices.template = options.get("template").and_then(|node| template(decoder, node));
    choices.vm_ids = options.get("vm_ids").and_then(|node| vm_ids(decoder, node));
    choices.memory_adjustment = options.get("memory_adjustment").and_then(|node| percentage(decoder, node));
    let users = options.get("users").map(|node| names_of(decoder, node, "users"));
    let users = users.map(|users| users.into_iter().map(|user| user.value).collect::<Vec<_>>());
    let ssh_keys = options.get("ssh_keys").map_or(Vec::new(), |node| keys(decoder, node));
    Some(Capi {
        provider,
        versions,
        addons,
        choices,
        chosen,
        users: users.filter(|users| !users.is_empty()).unwrap_or_else(|| vec![flavor::USER.to_owned()]),
        ssh_keys,
        pods: options.get("pods").and_then(|node| pods(decoder, node)),
        restart_networkd: options
            .get("restart_networkd")
            .and_then(|node| decoder.boolean(node))
            .unwrap_or(false),
        materials: OnceLock::new(),
    })
}

/// The texts of a list. A text alone was meant as a list of one.
fn texts(decoder: &Decoder, node: &Yaml, key: &str) -> Vec<Spanned<String>> {
    match node.scalar().filter(|_| !node.is_null()) {
        Some(text) => {
            let finding =
                Finding::error(format!("`{key}` must be a list")).at(decoder.spanned(node, ()).place);
            decoder.push(finding.hint(format!("write `{key}: [{text}]`")));
            Vec::new()
        }
        None => decoder.strings(node, &format!("`{key}`")),
    }
}

/// A whole number in a range, of a key whose number is something.
fn number(
    decoder: &Decoder,
    node: &Yaml,
    range: std::ops::RangeInclusive<u64>,
    wrong: impl Fn(&str) -> String,
) -> Option<u64> {
    let text = decoder.string(node)?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| is_number && range.contains(number));
    if number.is_none() {
        let finding = Finding::error(wrong(&text)).at(decoder.spanned(node, ()).place);
        let (least, most) = (range.start(), range.end());
        decoder.push(finding.hint(format!("it is a whole number from {least} to {most}")));
    }
    number
}

/// The percentage of a host's memory.
fn percentage(decoder: &Decoder, node: &Yaml) -> Option<u64> {
    number(decoder, node, MEMORY, |text| {
        format!("`memory_adjustment: {text}` is no percentage of a host's memory")
    })
}

/// The network of the pods, spelt as Kubernetes wants it: without bits of a machine's address.
fn pods(decoder: &Decoder, node: &Yaml) -> Option<Network> {
    let network: Network = decoder.parsed(node)?;
    if let Some(text) = node.scalar().filter(|text| *text != network.to_string()) {
        let finding =
            Finding::error(format!("`pods: {text}` is an address in the network {network}, not a network"));
        decoder.push(finding.at(decoder.spanned(node, ()).place).hint(format!("write `pods: {network}`")));
    }
    Some(network)
}

/// Names that are directories, users and parts of objects' names: each once.
fn names_of(decoder: &Decoder, node: &Yaml, key: &str) -> Vec<Spanned<String>> {
    let mut names: Vec<Spanned<String>> = Vec::new();
    for name in texts(decoder, node, key) {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let begins = name.value.starts_with(|letter: char| letter.is_ascii_lowercase());
        let why = match names.iter().any(|other| other.value == name.value) {
            true => Some("is listed twice"),
            false if !begins || name.value.len() > 31 || !name.value.bytes().all(fits) => {
                Some("is not a name of small letters, digits and hyphens")
            }
            false => None,
        };
        match why {
            Some(why) => {
                decoder.push(Finding::error(format!("`{}` {why}", name.value)).at(name.place.clone()));
            }
            None => names.push(name),
        }
    }
    names
}

/// Whether a text is three numbers, with a `v` or without.
fn is_version(text: &str) -> bool {
    let numbers: Vec<&str> = text.strip_prefix('v').unwrap_or(text).split('.').collect();
    numbers.len() == 3
        && numbers.iter().all(|number| {
            !number.is_empty() && number.len() < 6 && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

fn template(decoder: &Decoder, node: &Yaml) -> Option<Template> {
    if let Some(text) = node.scalar() {
        let meant = match text.parse::<u32>() {
            Ok(number) => format!("write `template: {{id: {number}}}`"),
            Err(_) => "it is `template: {id: 211}` or `template: {tags: [flatcar]}`".into(),
        };
        let finding = Finding::error("`template` is a mapping of `id` or `tags`");
        decoder.push(finding.at(decoder.spanned(node, ()).place).hint(meant));
        return None;
    }
    let fields = decoder.fields(node, &CAPI_TEMPLATE);
    let (id, tags) = (fields.get("id"), fields.get("tags"));
    match (id, tags) {
        (Some(id), None) => {
            let range = u64::from(*VM_IDS.start())..=u64::from(*VM_IDS.end());
            let number = number(decoder, id, range, |text| format!("{text} is no number of Proxmox VE"))?;
            Some(Template::Id(u32::try_from(number).ok()?))
        }
        (None, Some(tags)) => {
            let items = texts(decoder, tags, "tags");
            if items.is_empty() && tags.scalar().is_none_or(|_| tags.is_null()) {
                decoder.error(tags, "`tags` needs at least one tag");
            }
            for tag in &items {
                // The pattern of the provider's `matchTags`.
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte);
                let begins =
                    tag.value.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
                if !begins || !tag.value.bytes().all(fits) {
                    let finding = Finding::error(format!("`{}` is no tag of Proxmox VE", tag.value));
                    decoder.push(finding.at(tag.place.clone()));
                }
            }
            Some(Template::Tags(items.into_iter().map(|tag| tag.value).collect()))
        }
        _ => {
            decoder.error(node, "`template` is either `id` or `tags`");
            None
        }
    }
}

fn vm_ids(decoder: &Decoder, node: &Yaml) -> Option<(u32, u32)> {
    let text = decoder.string(node)?;
    let range = text.split_once('-').and_then(|(first, last)| {
        Some((first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?))
    });
    let fits = |(first, last): &(u32, u32)| VM_IDS.contains(first) && VM_IDS.contains(last) && first <= last;
    let range = range.filter(fits);
    if range.is_none() {
        let (least, most) = (VM_IDS.start(), VM_IDS.end());
        decoder.error(
            node,
            format!("`{text}` is no range of numbers such as 2000-2999, from {least} to {most}"),
        );
    }
    range
}

fn keys(decoder: &Decoder, node: &Yaml) -> Vec<String> {
    let mut keys = Vec::new();
    for item in texts(decoder, node, "ssh_keys") {
        match ssh_keys::parse(&Source::new("the key", item.value.as_str()), Origin::Recipe) {
            // Cluster API puts each key into YAML as it is (`clc.go`).
            Ok(parsed) if parsed.iter().any(|key| key.contains(": ") || key.contains(" #")) => {
                let finding = Finding::error("Cluster API cannot carry a key with `: ` or ` #` in it");
                decoder.push(finding.at(item.place.clone()).hint("shorten its comment"));
            }
            Ok(parsed) => keys.extend(parsed),
            Err(Findings(findings)) => {
                findings.into_iter().for_each(|finding| decoder.push(finding.at(item.place.clone())));
            }
        }
    }
    keys
}

impl Capi {
    /// The things to fetch, each with its directory, and the add-ons that are the site's own and that nobody fetches.
    pub(crate) fn fetches(&self, recipe: &Recipe) -> (Vec<(PathBuf, Fetch)>, Vec<String>) {
        let directory = recipe.directory.join(DIRECTORY);
        let mut fetches: Vec<(PathBuf, Fetch)> = Vec::new();
        for component in self.provider.components() {
            let (label, version) = (component.label(), self.version(component));
            let files = component.files(&version).into_iter().map(|(file, url)| (file.to_owned(), url));
            let fetch = Fetch {
                version: Some(version.trim_start_matches('v').to_owned()),
                from: Some(From::Files(files.collect())),
                images: component.more_images(&version),
                ..Fetch::of(&label)
            };
            fetches.push((directory.join(&label), fetch));
        }
        let mut own = Vec::new();
        for addon in &self.addons {
            if known::of(&addon.value).is_none() {
                own.push(addon.value.clone());
                continue;
            }
            let version =
                self.versions.get(&addon.value).map(|version| version.trim_start_matches('v').to_owned());
            let fetch = Fetch {
                version,
                kubernetes: recipe.kubernetes.as_ref().map(|kubernetes| kubernetes.version.value.clone()),
                pods: Some(self.pods()),
                ..Fetch::of(&addon.value)
            };
            fetches.push((directory.join(ADDONS).join(&addon.value), fetch));
        }
        (fetches, own)
    }

    /// The version of a component, with its `v`.
    fn version(&self, component: &Component) -> String {
        let wanted = self.versions.get(component.name);
        let text = wanted.map_or(component.version, |version| version.value.as_str());
        format!("v{}", text.trim_start_matches('v'))
    }

    fn pods(&self) -> String {
        self.pods.map_or_else(|| flavor::PODS.to_owned(), |pods| pods.to_string())
    }

    /// Whether the flavor has kube-vip's image, and nodes carry images without it.
    fn lacks_kube_vip(&self, kubernetes: &Kubernetes) -> bool {
        self.provider.is_vip && kubernetes.images.is_some() && !kubernetes.kube_vip
    }

    /// The lack of a disk image that its machines can boot. A site may make the images by another recipe, so it is a warning.
    fn image(&self, recipe: &Recipe) -> Option<Finding> {
        let disk = recipe.outputs.iter().find(|output| output.name.value == "disk");
        let of = |key: &str| disk.and_then(|disk| disk.options.get(key));
        let platforms = of("platforms").map(|node| match &node.kind {
            Kinds::Sequence(items) => items.iter().filter_map(Yaml::scalar).collect(),
            _ => Vec::new(),
        });
        let has_platform = platforms.is_some_and(|names| names.contains(&self.provider.platform));
        let is_below = of("config").and_then(Yaml::scalar) == Some("base");
        let why = match (has_platform, is_below) {
            (true, true) => return None,
            (false, _) => format!("no disk image of this recipe is for {}", self.provider.title),
            (true, false) => {
                "its disk images do not ask their platform for user data, which Cluster API gives".into()
            }
        };
        let finding = Finding::warning(format!("machines of Cluster API need an image: {why}"));
        let hint =
            format!("`disk: {{platforms: [{}], config: base}}` makes such images", self.provider.platform);
        Some(finding.at(place_of(recipe)?.clone()).hint(hint))
    }

    /// The flavor that is wanted.
    fn wish(&self, built: &Built<'_>) -> Option<Wish> {
        let kubernetes = built.recipe.kubernetes.as_ref()?;
        let version = kubernetes.version.value.clone();
        let (repository, tag) = KUBE_VIP;
        Some(Wish {
            provider: self.provider,
            choices: self.choices.clone(),
            minor: kubeadm::minor(&version).ok()?,
            kubernetes: version,
            kube_vip: images::locked_of(built.lock, repository)
                .unwrap_or_else(|| format!("{repository}:{tag}")),
            is_carried: kubernetes.images.is_some(),
            users: self.users.clone(),
            ssh_keys: self.ssh_keys.clone(),
            pods: self.pods(),
            restart_networkd: self.restart_networkd,
            addons: self.materials.get()?.addons.clone(),
        })
    }

    /// The record of what is in the repository.
    fn record(&self, built: &Built<'_>, wish: &Wish, materials: &Materials, template: &str) -> Index {
        let path = |part: &Part| {
            let Part { component, version, .. } = part;
            names::capi_file(&component.label(), version, component.file)
        };
        let provider = |part: &Part| {
            Some(index::Provider {
                name: part.component.name.to_owned(),
                kind: part.component.kind.word()?.to_owned(),
                option: part.component.kind.option().map(str::to_owned),
                version: part.version.clone(),
                path: path(part),
            })
        };
        let manager = materials.components.iter().find(|part| part.component.kind == Kind::CertManager);
        let gates = [GATE].into_iter().chain(self.provider.gates.iter().copied());
        let archs = &built.recipe.release.archs;
        let archives = |image: &_| archs.iter().map(|arch| images::published_path(image, *arch)).collect();
        Index {
            schema: SCHEMA,
            provider: self.provider.name.to_owned(),
            platform: self.provider.platform.to_owned(),
            flavor: flavor::NAME.to_owned(),
            kubernetes: wish.kubernetes.clone(),
            template: template.to_owned(),
            gates: gates.map(|gate| (gate.to_owned(), "true".to_owned())).collect(),
            providers: materials.components.iter().filter_map(provider).collect(),
            cert_manager: manager.map(|part| CertManager { version: part.version.clone(), path: path(part) }),
            variables: variables(wish),
            images: materials.images.iter().map(|image| (image.to_string(), archives(image))).collect(),
            node_images: materials.node_images.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The variables of the template, and those of the provider's components.
fn variables(wish: &Wish) -> Vec<index::Variable> {
    let of_template = flavor::variables(wish);
    let of_components = wish.provider.variables.iter().filter_map(|variable| match variable.default {
        Given::Components { .. } => Some(Filled { variable, default: None }),
        _ => None,
    });
    let row = |Filled { variable, default }: Filled| index::Variable {
        name: variable.name.to_owned(),
        default,
        secret: variable.is_secret(),
        stage: match variable.default {
            Given::Components { .. } => "init",
            Given::Clusterctl => "argument",
            _ => "generate",
        }
        .to_owned(),
        about: variable.about.to_owned(),
        example: variable.example.to_owned(),
    };
    of_template.into_iter().chain(of_components).map(row).collect()
}

/// The place where a recipe names the output.
fn place_of(recipe: &Recipe) -> Option<&Place> {
    recipe.outputs.iter().find(|output| output.name.value == CAPI.name).map(|output| &output.name.place)
}

impl OutputFormat for Capi {
    fn images(&self) -> images::More {
        let materials = self.materials.get();
        images::More {
            nodes: materials.map_or(Vec::new(), |materials| materials.node_images.clone()),
            published: materials.map_or(Vec::new(), |materials| materials.images.clone()),
        }
    }

    fn gather(&self, recipe: &Recipe) -> Vec<Finding> {
        let Some(place) = place_of(recipe) else { return Vec::new() };
        let mut findings = Vec::new();
        match &recipe.kubernetes {
            None => {
                let finding = Finding::error("`capi` needs `kubernetes:`, whose version its machines have");
                findings.push(finding.at(place.clone()));
            }
            Some(kubernetes) => {
                if let Err(error) = kubeadm::minor(&kubernetes.version.value) {
                    findings.push(Finding::error(error.to_string()).at(kubernetes.version.place.clone()));
                }
                if self.lacks_kube_vip(kubernetes) {
                    let text = format!(
                        "kube-vip holds the control plane's address on {}, and nodes do not carry its image",
                        self.provider.title
                    );
                    findings.push(
                        Finding::error(text).at(place.clone()).hint("add `kube_vip: true` to `kubernetes:`"),
                    );
                }
            }
        }
        let materials = Materials::read(self, recipe, place, &mut findings);
        // A recipe is judged once; a second time would find the same.
        let _ = self.materials.set(materials);
        findings
    }

    fn check(&self, _: &Recipe) -> Vec<Finding> {
        let others = self.chosen.iter().filter(|_| self.provider.name != PROVIDERS[0].name);
        let finding = |key: &Spanned<&str>| {
            let text = format!("`{}` is for {} alone", key.value, PROVIDERS[0].title);
            Finding::error(text).at(key.place.clone())
        };
        others.map(finding).collect()
    }

    fn warnings(&self, recipe: &Recipe) -> Vec<Finding> {
        self.image(recipe).into_iter().collect()
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        // A recipe that lacks either was refused.
        let (Some(materials), Some(wish)) = (self.materials.get(), self.wish(built)) else {
            return Vec::new();
        };
        let mut rows = Vec::new();
        for part in &materials.components {
            for (file, bytes) in &part.files {
                let path = names::capi_file(&part.component.label(), &part.version, file);
                rows.push(Row::text(path, Role::ClusterApi, bytes.clone()));
            }
        }
        let own = &self.provider.component;
        let file = format!("cluster-template-{}.yaml", flavor::NAME);
        let path = names::capi_file(&own.label(), &self.version(own), &file);
        let record = self.record(built, &wish, materials, &path);
        rows.push(Row::text(path, Role::ClusterApi, flavor::template(&wish)));
        rows.push(Row::text(CAPI_RECORD.into(), Role::ClusterApi, canonical_json(&record)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::OUTPUTS;
    use super::*;
    use crate::base::yaml::keys::Value as Form;

    #[test]
    fn the_words_of_the_key_are_the_providers() {
        let options = OUTPUTS.key("capi").and_then(|key| key.value.mapping()).unwrap();
        let Form::Words(words) = options.key("provider").unwrap().value else { panic!("words expected") };
        let known: Vec<_> = PROVIDERS.iter().map(|provider| (provider.name, provider.title)).collect();
        assert_eq!(words, known);
    }

    /// The findings of a recipe with these options and this disk output, from reading it, or else its warnings and those from what lies
    /// beside it.
    fn told(directory: &std::path::Path, disk: &str, capi: &str) -> String {
        let path = directory.join("recipe.yaml");
        let text = format!(
            "schema: 1\nname: x\nrelease: {{channel: stable}}\nkubernetes: {{version: v1.34.4}}\nprofiles: {{node: {{}}}}\noutputs:\n  \
             {disk}\n  capi: {capi}\n"
        );
        std::fs::write(&path, text).unwrap();
        match Recipe::load(&path, super::super::read) {
            Err(error) => error.to_string(),
            Ok((recipe, outputs)) => {
                let warnings: Vec<String> =
                    outputs.warnings(&recipe).iter().map(ToString::to_string).collect();
                warnings.concat() + &outputs.gather(&recipe).err().map(|e| e.to_string()).unwrap_or_default()
            }
        }
    }

    const DISK: &str = "disk: {platforms: [proxmoxve], config: base}";

    /// Review of issue 20: one fault was told twice, in the words of a parser, or without a way out.
    #[test]
    fn an_option_of_another_form_is_one_finding_with_its_way_out() {
        let directory = tempfile::tempdir().unwrap();
        for (capi, words, hint) in [
            (
                "{memory_adjustment: -1}",
                "`memory_adjustment: -1` is no percentage",
                "a whole number from 0 to 10000",
            ),
            (
                "{memory_adjustment: 10001}",
                "`memory_adjustment: 10001` is no",
                "a whole number from 0 to 10000",
            ),
            ("{template: 211}", "`template` is a mapping", "write `template: {id: 211}`"),
            ("{template: flatcar}", "`template` is a mapping", "`template: {tags: [flatcar]}`"),
            ("{template: {id: x}}", "x is no number of Proxmox VE", "from 100 to 999999999"),
            ("{template: {tags: a}}", "`tags` must be a list", "write `tags: [a]`"),
            ("{addons: flannel}", "`addons` must be a list", "write `addons: [flannel]`"),
            ("{users: core}", "`users` must be a list", "write `users: [core]`"),
            ("{pods: 10.244.1.0/16}", "`pods: 10.244.1.0/16` is an address", "write `pods: 10.244.0.0/16`"),
        ] {
            let told = told(directory.path(), DISK, capi);
            assert_eq!(told.matches("error").count(), 1, "{capi}: {told}");
            assert!(
                told.contains(words) && told.contains(hint) && told.contains("recipe.yaml:8:"),
                "{capi}: {told}"
            );
        }
    }

    /// Review of issue 20: a recipe without the image of its machines was planned without a word; it may be another recipe's.
    #[test]
    fn a_recipe_without_an_image_for_the_provider_is_warned_of() {
        let directory = tempfile::tempdir().unwrap();
        for disk in ["pxe: {}", "disk: {}", "disk: {platforms: [qemu], config: base}"] {
            let told = told(directory.path(), disk, "{}");
            let words = [
                "no disk image of this recipe is for Proxmox VE",
                "`disk: {platforms: [proxmoxve], config: base}`",
            ];
            assert!(words.iter().all(|words| told.contains(words)), "{disk}: {told}");
            assert!(!told.contains("log in"), "{disk}: {told}");
        }
        assert!(!told(directory.path(), DISK, "{}").contains("need an image"));
    }

    /// Review of issue 20: with another network than the cluster's, flannel's pods do not start.
    #[test]
    fn flannels_network_is_that_of_the_pods() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join(DIRECTORY).join(ADDONS).join("flannel");
        std::fs::create_dir_all(&home).unwrap();
        let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-flannel-cfg, namespace: kube-flannel}\ndata:\n  \
            net-conf.json: |\n    {\"Network\": \"10.244.0.0/16\"}\n";
        std::fs::write(home.join("flannel.yaml"), manifest).unwrap();
        let other = told(directory.path(), DISK, "{addons: [flannel]}");
        for words in [
            "flannel's network is 10.244.0.0/16, and the pods of the output `capi` have 192.168.0.0/16",
            "flannel.yaml:1:1",
            "prebake capi vendor",
            "write `pods: 10.244.0.0/16`",
        ] {
            assert!(other.contains(words), "{words}: {other}");
        }
        let same = told(directory.path(), DISK, "{addons: [flannel], pods: 10.244.0.0/16}");
        assert!(!same.contains("flannel's network"), "{same}");
    }

    #[test]
    fn versions_are_three_numbers() {
        assert!(is_version("v1.12.10") && is_version("0.27.3"));
        for text in ["latest", "v1.12", "v1.12.x", "1..2", "v1.2.3/../x", "1.2.3.4", "+1.2.3"] {
            assert!(!is_version(text), "{text}");
        }
    }
}
