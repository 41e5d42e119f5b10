//! A recipe made of a Matchbox data directory.
//!
//! A group that is for one machine, by its MAC address or UUID, becomes a node; the group without a selector becomes
//! `default_profile`. A config becomes a layer: ready Ignition and Butane as they are, and templates as Matchbox fills them in for
//! each group. Kernel arguments stay, except for those that only ask for the config, which an overlay brings here. The rest
//! is left out and told, group by group: no machine silently boots something else.
//!
//! Which files there are and how Matchbox reads them: docs/formats/matchbox.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::recipe::{MODELINE, RECIPES, path_of};
use super::{Error, Scaffold, plain_name, quoted, scalar};
use crate::bake::outputs;
use crate::bake::recipe::{Recipe, kernel_arg_fault};
use crate::bake::roster;
use crate::base::arch::Arch;
use crate::base::error::Result;
use crate::base::finding::{Findings, Severity, Source};
use crate::base::path::clean;
use crate::flatcar::board::{Board, CHANNELS, CURRENT};
use crate::flatcar::version::Version;
use crate::format::gotemplate::{Template, Value};
use crate::ignition::{self, Checked, Config, Transpile};
use crate::machine::node::{Mac, parse_uuid};
use crate::tree::names::{
    self, CLOUD, CONFIG_ARGS, CONFIG_END, Endpoint, FIRST_BOOT_ARGS, GROUPS, INITRD_ARG, INSTALLED,
    RECORD_END,
};
use crate::tree::records::{CEILING, Group, Profile};

/// The end of the file name of Flatcar's PXE kernel.
const KERNEL: &str = "_production_pxe.vmlinuz";
/// The end of the host name of Flatcar's release servers, behind the channel.
const HOST: &str = ".release.flatcar-linux.net";
/// Longest file, in bytes, as the server takes it.
const MAX_FILE: u64 = 16 << 20;
/// The variable of templates with what a machine's request says.
const REQUEST: &str = "request";
/// Where a shell or a template would be filled in by iPXE.
const SETTING: &str = "${";

/// A recipe that was made, and what it lacks.
#[derive(Debug)]
pub(crate) struct Imported {
    /// Recipe and layers.
    pub scaffold: Scaffold,
    /// The parts that were left out, each with its file and the reason.
    pub left: Vec<String>,
    /// Choices that were made where the directory says nothing.
    pub chosen: Vec<String>,
    /// Number of nodes.
    pub nodes: usize,
    /// Number of profiles.
    pub profiles: usize,
}

/// Makes a recipe of a data directory.
///
/// # Errors
/// A directory that cannot be read, or one of which nothing fits.
pub(crate) fn import(data: &Path, name: &str) -> Result<Imported> {
    let mut import =
        Import { data, left: Vec::new(), chosen: Vec::new(), is_foreign: false, seen: BTreeSet::new() };
    let members = import.members()?;
    if members.is_empty() {
        return Err(
            Error::Nothing { path: data.into(), left: import.left, is_foreign: import.is_foreign }.into()
        );
    }
    let mut draft = Draft { name, ..Draft::default() };
    // The groups that a tree makes for machines without a name.
    let reserved = ["default".to_owned(), format!("default-{}", Arch::Arm64)];
    draft.taken.extend(reserved.map(|name| ("node", name)));
    import.addresses(&members);
    let archs: BTreeSet<Arch> = members.iter().map(|member| member.boot.arch).collect();
    let release = import.release(&members, &archs);
    let mut by_profile: BTreeMap<&str, Vec<&Member>> = BTreeMap::new();
    for member in &members {
        by_profile.entry(&member.profile_id).or_default().push(member);
    }
    for (id, members) in by_profile {
        draft.profile(id, &members, &mut import, archs.len() > 1);
    }
    let Draft { layers, profiles, mut nodes, default, .. } = draft;
    let (profile_count, node_count) = (profiles.len(), nodes.len());
    // In the order of the groups' files.
    nodes.sort();
    let mut text = format!(
        "{MODELINE}\n# {name}: made of the Matchbox data directory {} by `prebake new`.\n\
         # Configs became layers, which each machine gets with its initrd; arguments that only asked for a config are gone, and so is\n\
         # metadata, which was filled in where templates named it. Add `ssh_keys:` and `sysexts: [report]` as you like.\n",
        data.display().to_string().replace(char::is_control, " ")
    );
    if !import.left.is_empty() {
        text += "# Left out, because a recipe cannot say it:\n";
        for left in &import.left {
            text += &format!("#   {}\n", left.replace(char::is_control, " "));
        }
    }
    text += &format!("schema: 1\nname: {}\nrelease: {release}\n", scalar(name));
    text += "profiles:\n";
    profiles.iter().for_each(|profile| text += profile);
    if !nodes.is_empty() {
        text += "nodes:\n";
        nodes.iter().for_each(|(_, node)| text += node);
    }
    if let Some(default) = default {
        text += &format!("# Machines that no node names.\ndefault_profile: {}\n", scalar(&default));
    }
    let source = Source::new(path_of(name), text);
    Recipe::parse(&source, PathBuf::from(RECIPES), outputs::read)?;
    let mut scaffold = Scaffold::default();
    scaffold.text(&source.name, source.text.as_str())?;
    for (file, text) in layers {
        scaffold.text(&format!("{RECIPES}/{name}/{file}"), text)?;
    }
    Ok(Imported {
        scaffold,
        left: import.left,
        chosen: import.chosen,
        nodes: node_count,
        profiles: profile_count,
    })
}

/// A data directory that is being read.
struct Import<'d> {
    data: &'d Path,
    left: Vec<String>,
    chosen: Vec<String>,
    /// Whether a profile boots something else than Flatcar.
    is_foreign: bool,
    /// Profiles and files whose faults were told.
    seen: BTreeSet<String>,
}

/// A group that can be carried over.
struct Member {
    /// The group, with its file name.
    group: Group,
    /// The machine that it is for; `None` for all that no other group takes.
    machine: Option<Machine>,
    profile_id: String,
    boot: Booted,
    /// The config that it gets, if any.
    config: Option<Layer>,
    /// The template at `/generic`, as a recipe would have it.
    generic: Option<String>,
}

/// The labels by which a group selects one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Machine {
    mac: Option<Mac>,
    uuid: Option<String>,
}

/// A layer: the name of its file without an end, its end, and its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Layer {
    stem: String,
    end: &'static str,
    text: String,
    /// Whether a template was filled in for one group.
    is_own: bool,
}

/// The release and the arguments that a profile boots, as a recipe says them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Booted {
    channel: Option<String>,
    version: Option<Version>,
    arch: Arch,
    args: Vec<String>,
}

impl Import<'_> {
    /// Notes that a part of a file is left out; each once.
    fn leave(&mut self, path: &str, why: impl AsRef<str>) {
        let text = format!("{path}: {}", why.as_ref());
        if self.seen.insert(text.clone()) {
            self.left.push(text);
        }
    }

    /// The bytes of a file below the data directory. Its path may not leave it, as in Matchbox.
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let path = clean(&format!("/{path}"));
        let file = self.data.join(path.trim_start_matches('/'));
        match fs::metadata(&file) {
            Ok(metadata) if !metadata.is_file() => Err("it is not a file".into()),
            Ok(metadata) if metadata.len() > MAX_FILE => Err("it is larger than 16 MiB".into()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err("it is not there".into()),
            _ => fs::read(&file).map_err(|error| error.to_string()),
        }
    }

    /// The groups that can be carried over, by file name. Of two with one selector Matchbox takes the first.
    fn members(&mut self) -> Result<Vec<Member>> {
        let directory = self.data.join(GROUPS);
        let read = |source| Error::Read { path: directory.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory).map_err(read)? {
            names.extend(entry.map_err(read)?.file_name().into_string());
        }
        names.sort();
        let mut members = Vec::new();
        let mut selectors = BTreeMap::new();
        let mut named: BTreeMap<String, String> = BTreeMap::new();
        for id in names.iter().filter_map(|name| name.strip_suffix(RECORD_END)) {
            let path = names::group(id);
            let group = match self.read(&path).and_then(|bytes| Group::read(id, &bytes)) {
                Ok(group) => group,
                Err(why) => {
                    self.leave(&path, format!("it is no group, so Matchbox skips it: {why}"));
                    continue;
                }
            };
            if let Some(first) = selectors.get(&group.selector) {
                self.leave(&path, format!("{first} has the same selector, so no machine gets it"));
                continue;
            }
            selectors.insert(group.selector.clone(), path.clone());
            let labels = || group.selector.iter().map(|(key, value)| format!("{key} {value}"));
            if let Some((label, first)) = labels().find_map(|label| Some((label.clone(), named.get(&label)?)))
            {
                self.leave(
                    &path,
                    format!("{first} is for the same machine ({label}), which can be one node only"),
                );
                continue;
            }
            let labels: Vec<String> = labels().collect();
            let member = self.member(&path, group);
            if member.is_some() {
                named.extend(labels.into_iter().map(|label| (label, path.clone())));
            }
            members.extend(member);
        }
        Ok(members)
    }

    /// Notes addresses in the metadata of machines: they filled in templates, and a node's `ip:` says its network, too.
    fn addresses(&mut self, members: &[Member]) {
        const SHOWN: usize = 8;
        let nodes = members.iter().filter(|member| member.machine.is_some());
        let known: Vec<String> = nodes
            .filter_map(|member| {
                let (_, address) = roster::address_of(&member.group)?;
                Some(format!("{} {}", member.group.id, shown(address)))
            })
            .collect();
        let more = match known.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            Some(more) => format!(", and {more} more"),
            None => String::new(),
        };
        if !known.is_empty() {
            let listed = known[..known.len().min(SHOWN)].join(", ");
            let why = "addresses are not carried over; write each into its node as `ip:`, with the prefix length of its network";
            self.leave(&format!("{GROUPS}/"), format!("{listed}{more}: {why}"));
        }
    }

    fn member(&mut self, path: &str, group: Group) -> Option<Member> {
        let member = (|| {
            let machine = machine(&group.selector)?;
            let profile_path = names::profile(&group.profile);
            let about = |why: String| format!("its profile {profile_path}: {why}");
            let profile = self.read(&profile_path).and_then(|bytes| Profile::read(&bytes)).map_err(about)?;
            let boot = self.boot(&profile_path, &profile).map_err(about)?;
            let config = self.config(&profile.ignition_id, &group)?;
            let generic = self.generic(path, &profile.generic_id, &group);
            if !profile.cloud_id.is_empty() {
                let why = "Flatcar reads no cloud-config beside an Ignition config; write it as a layer";
                self.leave(&format!("{CLOUD}/{}", profile.cloud_id), why);
            }
            let profile_id = group.profile.clone();
            Ok(Member { group, machine, profile_id, boot, config, generic })
        })();
        member.map_err(|why: String| self.leave(path, why)).ok()
    }

    /// Reads the release and the arguments that a profile boots.
    fn boot(&mut self, path: &str, profile: &Profile) -> Result<Booted, String> {
        let boot = profile.boot.as_ref().ok_or("it boots nothing")?;
        if !boot.kernel.split(['?', '#']).next().is_some_and(|url| url.ends_with(KERNEL)) {
            self.is_foreign = true;
            return Err(format!("{} is not Flatcar's PXE kernel (…{KERNEL})", shown(&boot.kernel)));
        }
        let parts: Vec<&str> = boot.kernel.split('/').collect();
        let is_channel = |channel: &&str| Board::of(channel, Arch::Amd64).is_some();
        let host = parts.iter().find_map(|part| part.strip_suffix(HOST).filter(is_channel));
        let named = parts.iter().find(|part| CHANNELS.contains(*part)).copied();
        let of_flatcar = |initrd: &&String| !initrd.contains("_production_pxe_image.cpio");
        for other in boot.initrd.iter().filter(of_flatcar) {
            let why = "it is an initrd beside Flatcar's: name it in `early_initrds:`, or make a sysext or a layer of it";
            self.leave(path, format!("{}: {why}", shown(other)));
        }
        let mut args = Vec::new();
        for arg in boot.args.iter().flat_map(|arg| words(arg)) {
            let key = arg.split('=').next().unwrap_or_default();
            let asks = CONFIG_ARGS.contains(&key);
            if key == INITRD_ARG || FIRST_BOOT_ARGS.contains(&key) || asks && asks_matchbox(&arg, profile) {
                continue;
            }
            let why = match arg.contains(SETTING) && !asks {
                true => Some("iPXE's settings are not filled in".to_owned()),
                false => kernel_arg_fault(&arg),
            };
            match why {
                Some(why) => self.leave(path, format!("kernel argument {}: {why}", shown(&arg))),
                None if args.contains(&arg) => {}
                None => args.push(arg),
            }
        }
        Ok(Booted {
            channel: host.or(named).map(str::to_owned),
            version: parts.iter().find_map(|part| part.parse().ok()),
            arch: if boot.kernel.contains("arm64") { Arch::Arm64 } else { Arch::Amd64 },
            args,
        })
    }

    /// The release of most groups; the others boot it, too, and that is told.
    fn release(&mut self, members: &[Member], archs: &BTreeSet<Arch>) -> String {
        let mut counts: BTreeMap<(Option<&String>, Option<Version>), usize> = BTreeMap::new();
        for member in members {
            *counts.entry((member.boot.channel.as_ref(), member.boot.version)).or_default() += 1;
        }
        let most = counts.iter().max_by_key(|(_, count)| **count).map(|(release, _)| *release);
        let (channel, version) = most.unwrap_or_default();
        let version_word = version.map_or("latest".to_owned(), |version| version.to_string());
        for member in members {
            if (member.boot.channel.as_ref(), member.boot.version) != (channel, version) {
                let own = member.boot.version.map_or(CURRENT.to_owned(), |version| version.to_string());
                let why = format!("it boots Flatcar {own}; a recipe has one release, here {version_word}");
                self.leave(&names::profile(&member.profile_id), why);
            }
        }
        if channel.is_none() {
            self.chosen.push("channel `stable`, since no URL of a profile names one".into());
        }
        let mut archs = archs.iter().map(|arch| arch.go()).collect::<Vec<_>>().join(", ");
        archs = if archs == "amd64" { String::new() } else { format!(", arch: [{archs}]") };
        let channel = scalar(channel.map_or("stable", String::as_str));
        format!("{{channel: {channel}, version: {version_word}{archs}}}")
    }

    /// The layer of a config, as a group gets it.
    fn config(&mut self, id: &str, group: &Group) -> Result<Option<Layer>, String> {
        if id.is_empty() {
            return Ok(None);
        }
        let path = names::ignition(id);
        let about = |why: String| format!("its config {path}: {why}");
        let bytes = self.read(&path).map_err(about)?;
        let stem = plain_name(id.rsplit('/').next().unwrap_or(id).split('.').next().unwrap_or(id), "config");
        if id.ends_with(CONFIG_END) || id.ends_with(".ignition") {
            let source = ignition::read_from(&path, &*bytes).map_err(|finding| about(finding.message))?;
            let Checked { config, .. } = Config::parse(&source).map_err(first).map_err(about)?;
            if config.spec() > CEILING {
                self.leave(&path, format!("Matchbox answers with an empty config to spec {}", config.spec()));
            }
            return Ok(Some(Layer { stem, end: "ign", text: source.text.clone(), is_own: false }));
        }
        let (text, is_own) = filled(&bytes, group).map_err(about)?;
        let source = Source::new(path.as_str(), text);
        let options = Transpile { foreign: true, ..Transpile::default() };
        let Checked { config, warnings } =
            ignition::transpile(&source, &options).map_err(first).map_err(about)?;
        let stem = if is_own { plain_name(&group.id, "group") } else { stem };
        match ignition::transpile(&source, &Transpile::of_recipe()) {
            Ok(_) => Ok(Some(Layer { stem, end: "bu", text: source.text.clone(), is_own })),
            Err(_) => {
                let why = warnings.first().map(|finding| finding.message.clone());
                let why = why.unwrap_or_else(|| "its variant is not Flatcar's".into());
                self.leave(
                    &path,
                    format!("a recipe refuses it as Butane ({why}), so the layer is its Ignition"),
                );
                Ok(Some(Layer { stem, end: "ign", text: config.to_json_pretty(), is_own }))
            }
        }
    }

    /// The template at `/generic` as a recipe has it: one for all machines of a profile, who have a name, but no metadata.
    fn generic(&mut self, path: &str, id: &str, group: &Group) -> Option<String> {
        if id.is_empty() {
            return None;
        }
        let file = names::generic(id);
        let template = (|| {
            let bytes = self.read(&file)?;
            Template::parse(&bytes).map_err(|error| error.to_string())?;
            let text = String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
            let bare = Group { metadata: Default::default(), ..group.clone() };
            match (filled(text.as_bytes(), &bare), filled(text.as_bytes(), group)) {
                (Ok(bare), Ok(whole)) if bare == whole => Ok(text),
                _ if group.metadata.is_empty() => Ok(text),
                // The text is no template any more, once it is filled in.
                (_, Ok((whole, _))) => Ok(whole.replace("{{", "{{\"{{\"}}")),
                (_, Err(why)) => Err(why),
            }
        })();
        template.map_err(|why| self.leave(path, format!("its template {file}: {why}"))).ok()
    }
}

/// Whether an argument has a machine ask Matchbox for the config of its profile, which is a layer here.
fn asks_matchbox(arg: &str, profile: &Profile) -> bool {
    let url = arg.split(['?', '#']).next().unwrap_or_default();
    !profile.ignition_id.is_empty() && url.ends_with(&format!("/{}", Endpoint::Ignition.name()))
}

/// The machine that a selector is for.
fn machine(selector: &BTreeMap<String, String>) -> Result<Option<Machine>, String> {
    let mut machine = Machine { mac: None, uuid: None };
    for (key, value) in selector {
        match key.as_str() {
            "mac" => {
                let mac: Mac = value.parse().map_err(|_| format!("`{value}` is not an Ethernet address"))?;
                if let Some(why) = mac.nobodys() {
                    return Err(format!("{mac} cannot be the address of a card: {why}"));
                }
                machine.mac = Some(mac);
            }
            // Matchbox compares it as text, and iPXE sends it in lower case.
            "uuid" if *value == value.to_lowercase() => {
                machine.uuid = Some(parse_uuid(value)?);
            }
            "uuid" => {
                return Err("its `uuid` is in upper case, which no iPXE sends: no machine gets it".into());
            }
            key if [key, value] == INSTALLED => {
                let why = "it is the second stage of an installation, which `install:` of a profile makes";
                return Err(why.into());
            }
            other => {
                return Err(format!(
                    "it selects by `{other}`, and nodes of a recipe by `mac` and `uuid` alone"
                ));
            }
        }
    }
    Ok((!selector.is_empty()).then_some(machine))
}

/// A template as Matchbox fills it in for a group, and whether that changed it. A machine's request is known as far as the
/// group selects by it.
fn filled(template: &[u8], group: &Group) -> Result<(String, bool), String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "it is not text".to_owned());
    let parsed = Template::parse(template).map_err(|error| error.to_string())?;
    let asks = memchr::memmem::find(template, REQUEST.as_bytes()).is_some();
    let has = |word: &str| memchr::memmem::find(template, word.as_bytes()).is_some();
    if parsed.may_be_decided_by(REQUEST) || asks && (has("raw_query") || has("index")) {
        return Err("it depends on what each machine's request says".into());
    }
    let metadata = group.metadata.iter().map(|(key, value)| (key.clone(), Value::from(value.clone())));
    let mut variables: BTreeMap<String, Value> = metadata.collect();
    let selectors = group.selector.iter().map(|(key, value)| (key.to_lowercase(), value.as_str().into()));
    variables.extend(selectors);
    let query = Value::Strings(group.selector.clone());
    variables.insert(REQUEST.into(), Value::Map(BTreeMap::from([("query".to_owned(), query)])));
    let rendered = parsed.render(&Value::Map(variables)).map_err(|error| error.to_string())?;
    let changed = rendered != template;
    Ok((text(rendered)?, changed))
}

/// A recipe that is being written.
#[derive(Default)]
struct Draft<'n> {
    name: &'n str,
    /// File name → text.
    layers: BTreeMap<String, String>,
    profiles: Vec<String>,
    /// Each with its group's file name, in whose order they are listed.
    nodes: Vec<(String, String)>,
    default: Option<String>,
    /// Names of profiles, and of nodes.
    taken: BTreeSet<(&'static str, String)>,
}

impl Draft<'_> {
    /// Adds a profile and the machines of its groups. Where they get configs of their own, each node has its own layer, and the
    /// machines without a name a profile of their own.
    fn profile(&mut self, id: &str, members: &[&Member], import: &mut Import<'_>, several_archs: bool) {
        let configs: BTreeSet<&Option<Layer>> = members.iter().map(|member| &member.config).collect();
        let shared = members.first().filter(|_| configs.len() == 1).and_then(|member| member.config.as_ref());
        let generics: BTreeSet<&Option<String>> = members.iter().map(|member| &member.generic).collect();
        let generic = members.first().and_then(|member| member.generic.as_ref());
        let generic = generic.filter(|_| {
            if generics.len() > 1 {
                let why =
                    "its /generic differs between its groups, and a recipe has one template for a profile";
                import.leave(&names::profile(id), why);
            }
            generics.len() == 1
        });
        let name = self.free("profile", plain_name(id, "profile"));
        let boot = &members[0].boot;
        let nodes = members.iter().filter(|member| member.machine.is_some());
        let default = members.iter().find(|member| member.machine.is_none());
        let is_mixed = configs.len() > 1;
        let mut default_name = default.map(|_| name.clone());
        if nodes.clone().next().is_some() || !is_mixed {
            self.write_profile(&name, boot, shared, generic);
        }
        if let Some(default) = default.filter(|_| is_mixed) {
            let own = self.free("profile", format!("{name}-default"));
            self.write_profile(&own, boot, default.config.as_ref(), generic);
            default_name = Some(own);
        }
        self.default = self.default.take().or(default_name);
        for member in nodes {
            let Some(Machine { mac, uuid }) = &member.machine else { continue };
            let node = self.free("node", plain_name(&member.group.id, "node"));
            let mut parts = vec![format!("name: {}", scalar(&node))];
            parts.extend(mac.map(|mac| format!("mac: \"{mac}\"")));
            parts.extend(uuid.iter().map(|uuid| format!("uuid: {}", quoted(uuid))));
            parts.push(format!("profile: {}", scalar(&name)));
            parts.extend(several_archs.then(|| format!("arch: {}", member.boot.arch)));
            let own = member.config.as_ref().filter(|_| is_mixed);
            parts.extend(own.map(|layer| format!("ignition: [{}]", self.layer(layer))));
            self.nodes.push((names::group(&member.group.id), format!("  - {{{}}}\n", parts.join(", "))));
        }
    }

    fn write_profile(&mut self, name: &str, boot: &Booted, layer: Option<&Layer>, generic: Option<&String>) {
        let mut text = String::new();
        if let Some(layer) = layer {
            text += &format!("    ignition: [{}]\n", self.layer(layer));
        }
        if !boot.args.is_empty() {
            let args: Vec<String> = boot.args.iter().map(|arg| quoted(arg)).collect();
            text += &format!("    kernel_args: [{}]\n", args.join(", "));
        }
        if let Some(generic) = generic {
            let file = self.file(name, "tmpl", generic);
            text += &format!("    generic: {file}\n");
        }
        self.profiles.push(match text.is_empty() {
            true => format!("  {}: {{}}\n", scalar(name)),
            false => format!("  {}:\n{text}", scalar(name)),
        });
    }

    /// The path of a layer's file below the recipe's directory, which is written once.
    fn layer(&mut self, layer: &Layer) -> String {
        self.file(&layer.stem, layer.end, &layer.text)
    }

    fn file(&mut self, stem: &str, end: &str, text: &str) -> String {
        let names = std::iter::once(format!("{stem}.{end}"));
        let mut names = names.chain((2..).map(|number| format!("{stem}-{number}.{end}")));
        let is_ours = |name: &String| self.layers.get(name).is_none_or(|other| other == text);
        let name = names.find(is_ours).unwrap_or_default();
        self.layers.insert(name.clone(), text.to_owned());
        quoted(&format!("{}/{name}", self.name))
    }

    /// A name that nothing of its kind has yet.
    fn free(&mut self, kind: &'static str, name: String) -> String {
        let mut names = std::iter::once(name.clone()).chain((2..).map(|number| format!("{name}-{number}")));
        let free = names.find(|name| !self.taken.contains(&(kind, name.clone()))).unwrap_or(name);
        self.taken.insert((kind, free.clone()));
        free
    }
}

/// The words of a kernel argument, split at blanks outside of quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        quoted ^= letter == '"';
        match words.last_mut() {
            Some(word) if quoted || !letter.is_whitespace() => word.push(letter),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A text of somebody's as messages show it.
fn shown(text: &str) -> String {
    format!("`{}`", text.escape_debug())
}

/// The first error among findings, with its line.
fn first(Findings(findings): Findings) -> String {
    let error = findings.iter().find(|finding| finding.severity == Severity::Error).or(findings.first());
    error.map_or_else(String::new, |finding| match &finding.place {
        Some(place) => format!("line {}: {}", place.line, finding.message),
        None => finding.message.clone(),
    })
}
