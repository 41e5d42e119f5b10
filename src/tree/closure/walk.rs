//! Walks through a tree, following the references of each file to the next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, BufReader, Read};
use std::path::PathBuf;
use std::rc::Rc;

use super::graph::{Edge, Graph, Kind, Outcome, Spot};
use super::images::Images;
use super::overlay::{self, Member};
use super::place::{Place, Places, matches};
use super::reference::{Reference, Rule, names_host, urls};
use super::{boot, machine};
use crate::base::digest::{Sha256, Sha512};
use crate::base::error::Result;
use crate::base::{disk, unfinished};
use crate::flatcar::board::SIGNATURE;
use crate::format::image::Kind as InImage;
use crate::format::pe;
use crate::ignition::closure::unpacked;
use crate::ignition::parts::{self, Contents, Role as PartRole};
use crate::ignition::show;
use crate::initrd::overlay::{MOUNTED, OEM};
use crate::sysext::extension::{Extension, Fault};
use crate::sysext::place::{IMAGE_END, KEPT, merged};
use crate::tree::manifest::{File, Role};
use crate::tree::names::{CAPI_RECORD, CHECKSUMS, CHECKSUMS_SIGNATURE, below, is_image_list, record_id};
use crate::tree::open::Tree;
use crate::tree::records::{Group, Profile};

/// Reason why a reference with variables in it cannot be followed.
const PUT_TOGETHER: &str = "it is composed on the machine";
/// Upper limit, in bytes, for an archive inside a sysext whose digest is computed; longer ones are only compared by
/// length.
const MAX_ARCHIVE: u64 = 256 << 20;
/// Upper limit for a list of kernel arguments, in bytes (`COMMAND_LINE_SIZE` of every architecture is shorter).
const MAX_CMDLINE: u64 = 64 << 10;

/// Facts that the tree does not contain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// URLs where machines find the root of the tree, besides those in the tree itself.
    pub bases: Vec<String>,
    /// Targets that may be outside: hosts, registries, whole references, with `*` for anything.
    pub allow: Vec<String>,
}

/// Follows every reference of a tree.
///
/// # Errors
/// A file of the tree that cannot be read, or does not match its manifest.
pub(crate) fn prove(tree: &Tree, options: &Options) -> Result<Graph> {
    let bases = options.bases.iter().map(|base| base.trim_end_matches('/').to_owned()).collect();
    let mut walk = Walk {
        tree,
        places: Places { manifest: tree.manifest(), bases },
        allow: &options.allow,
        images: Images::default(),
        sysexts: BTreeMap::new(),
        graph: Graph::default(),
        spots: BTreeMap::new(),
        queue: VecDeque::new(),
        configs: BTreeSet::new(),
    };
    walk.look_around()?;
    let files = || tree.manifest().files.iter();
    let of = |role| files().filter(move |(_, file)| file.role == role).map(|(path, _)| path.clone());
    let first = of(Role::Group).chain(of(Role::Boot)).chain(of(Role::Profile)).chain(of(Role::UnifiedKernel));
    let roots: Vec<String> = first.chain(files().map(|(path, _)| path.clone())).collect();
    for path in roots {
        if !walk.spots.contains_key(&path) {
            let spot = walk.graph.root(path.clone());
            walk.spots.insert(path.clone(), spot);
            walk.queue.push_back(path);
        }
        while let Some(path) = walk.queue.pop_front() {
            walk.visit(&path)?;
        }
    }
    walk.graph.bases = walk.places.bases;
    Ok(walk.graph)
}

struct Walk<'t> {
    tree: &'t Tree,
    places: Places<'t>,
    allow: &'t [String],
    images: Images,
    /// Every sysext of the tree, open.
    sysexts: BTreeMap<String, Rc<Extension>>,
    graph: Graph,
    /// Graph node of each file of the tree that was reached.
    spots: BTreeMap<String, Spot>,
    /// Files that were reached and not examined yet.
    queue: VecDeque<String>,
    /// Configs that were examined: overlays contain the same configs that are published beside them.
    configs: BTreeSet<Sha256>,
}

impl Walk<'_> {
    /// Learns the images of the tree and the URLs where machines find it.
    fn look_around(&mut self) -> Result<()> {
        let tree = self.tree;
        for (path, file) in &tree.manifest().files {
            match file.role {
                Role::ContainerImage => self.images.add_archive(BufReader::new(tree.open(path)?), path),
                Role::Sysext => {
                    let extension = self.extension(path)?;
                    for list in extension.entries.keys().filter(|path| is_image_list(path)) {
                        self.listed_images(path, &extension.text(list)?);
                    }
                    self.sysexts.insert(path.clone(), Rc::new(extension));
                }
                Role::Boot | Role::Profile | Role::Transfer => {
                    let text = String::from_utf8_lossy(&tree.read(path)?).into_owned();
                    self.places.learn(&text, file.role != Role::Profile);
                }
                Role::UnifiedKernel => {
                    let cmdline = self.cmdline(path)?;
                    self.places.learn(&cmdline, false);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The images in a sysext's list, whose lines are `SHA256 SIZE PLACE REFERENCE MANIFEST NAME…`.
    fn listed_images(&mut self, path: &str, list: &str) {
        for line in list.lines() {
            if let [_, _, _, reference, _, names @ ..] = &line.split_whitespace().collect::<Vec<_>>()[..] {
                [reference].into_iter().chain(names).for_each(|name| self.images.add(name, path));
            }
        }
    }

    /// Opens a sysext of any kind of tree: an image in a bundle is copied out first.
    fn extension(&self, path: &str) -> Result<Extension> {
        match self.tree.path(path) {
            Some(file) => Ok(Extension::open(&file)?),
            None => {
                let spool = spool(&mut self.tree.open(path)?)?;
                Ok(Extension::open(spool.path())?)
            }
        }
    }

    fn visit(&mut self, path: &str) -> Result<()> {
        let spot = self.spots[path];
        let Some(file) = self.tree.manifest().files.get(path) else {
            // A file that the server joins from parts.
            let parts = self.tree.manifest().joined.get(path).map(|joined| joined.parts.clone());
            for part in parts.into_iter().flatten() {
                self.resolve(spot, "", None, Reference::location(None, Kind::Initrd, format!("/{part}")))?;
            }
            return Ok(());
        };
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let text = || -> Result<String> { Ok(String::from_utf8_lossy(&self.tree.read(path)?).into_owned()) };
        let found = match file.role {
            Role::Group => match Group::read(record_id(path), &self.tree.read(path)?) {
                Ok(group) => boot::group(&group),
                Err(why) => return self.closed(spot, why),
            },
            Role::Profile => match Profile::read(&self.tree.read(path)?) {
                Ok(profile) => boot::profile(&profile),
                Err(why) => return self.closed(spot, why),
            },
            Role::Boot => boot::references(path, &text()?),
            Role::Transfer => machine::update(&text()?),
            Role::Checksums => digests(&text()?),
            Role::ClusterApi if path == CAPI_RECORD => images_of(&text()?),
            Role::Template => urls(&text()?).map(|url| Reference::url(None, url)).collect(),
            Role::Signature => {
                let signed =
                    path.strip_suffix(SIGNATURE).unwrap_or(path).rsplit('/').next().unwrap_or_default();
                vec![Reference::location(None, Kind::Signature, signed)]
            }
            Role::UnifiedKernel => {
                let cmdline = self.cmdline(path)?;
                cmdline.split_whitespace().flat_map(|arg| boot::argument(None, arg, None)).collect()
            }
            Role::Ignition => {
                let bytes = self.tree.read(path)?;
                return self.config(spot, &bytes, None);
            }
            Role::Overlay | Role::Initrd => return self.initrd(path, file, spot),
            Role::Sysext => {
                let extension = self.sysexts[path].clone();
                return self.sysext(spot, &extension);
            }
            _ => Vec::new(),
        };
        for reference in found {
            self.resolve(spot, directory, None, reference)?;
        }
        Ok(())
    }

    /// Notes that a server has no use for a file either.
    fn closed(&mut self, spot: Spot, why: String) -> Result<()> {
        self.graph.closed.push((spot, why));
        Ok(())
    }

    fn cmdline(&self, path: &str) -> Result<String> {
        let section = pe::section(&mut self.tree.open(path)?, ".cmdline", MAX_CMDLINE);
        let bytes = section.map_err(disk::Error::io("read", path.as_ref()))?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())
    }

    /// Follows a config's references. `beside` has the other files of the overlay that carries it.
    fn config(&mut self, spot: Spot, bytes: &[u8], beside: Option<&BTreeSet<String>>) -> Result<()> {
        let config = match parts::read(self.graph.name(spot), bytes) {
            Ok(config) => config,
            Err(why) => {
                self.graph.closed.push((spot, why));
                return Ok(());
            }
        };
        self.links(spot, &show::show(&config), beside);
        if !self.configs.insert(Sha256::of(bytes)) {
            return Ok(());
        }
        let mut levels = vec![spot];
        for part in parts::parts(&config) {
            let depth = part.within.len();
            levels.truncate(depth + 1);
            let above = levels[depth.min(levels.len() - 1)];
            let found = match (part.role, part.contents) {
                (PartRole::Config, Contents::Here(_)) => {
                    levels.push(self.graph.below(above, None, part.name));
                    continue;
                }
                (PartRole::File | PartRole::Unit, Contents::Here(bytes)) => {
                    machine::references(&part.name, &bytes)
                }
                (PartRole::KernelArgument, Contents::Here(bytes)) => {
                    boot::argument(None, &String::from_utf8_lossy(&bytes), None)
                }
                (role, Contents::Fetched { url, hash, packed }) => {
                    let kind = if role == PartRole::Config { Kind::Config } else { Kind::Url };
                    vec![Reference::new(None, kind, url, Rule::Fetched { hash, packed })]
                }
                (_, Contents::Broken(why)) => {
                    let inner = self.graph.below(above, None, part.name);
                    self.graph.closed.push((inner, why));
                    continue;
                }
                (_, Contents::Here(_)) => Vec::new(),
            };
            self.inner(above, part.name, found, None)?;
        }
        Ok(())
    }

    /// Follows the references of a file that is inside another one.
    fn inner(
        &mut self,
        above: Spot,
        name: String,
        found: Vec<Reference>,
        image: Option<&Extension>,
    ) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        let spot = self.graph.below(above, None, name);
        found.into_iter().try_for_each(|reference| self.resolve(spot, "", image, reference))
    }

    /// Checks the links by which systemd-sysext finds sysexts: their targets must come with the config.
    fn links(&mut self, spot: Spot, shown: &show::Shown, beside: Option<&BTreeSet<String>>) {
        for (path, entry) in &shown.nodes {
            let Some(target) = entry.target.as_deref().filter(|_| merged(path).is_some()) else {
                continue;
            };
            let of_config = shown.nodes.contains_key(target);
            let outcome = match (below(target, MOUNTED), beside) {
                _ if of_config => Outcome::Inside(target.to_owned()),
                (Some(inside), Some(beside)) => match beside.contains(&format!("{OEM}/{inside}")) {
                    true => Outcome::Inside(format!("{OEM}/{inside}")),
                    false => Outcome::Missing("the overlay has no such file".into()),
                },
                (None, _) if below(target, KEPT).is_some() => {
                    Outcome::Missing("the config does not fetch it".into())
                }
                _ => continue,
            };
            self.graph.add(Edge {
                from: spot,
                line: None,
                kind: Kind::Sysext,
                to: target.to_owned(),
                outcome,
            });
        }
    }

    /// Follows the references of everything that prebake put into an initrd: a config, sysexts, and other files.
    fn initrd(&mut self, path: &str, file: &File, spot: Spot) -> Result<()> {
        let files = &self.tree.manifest().files;
        let published = || files.iter().filter(|(_, file)| file.role == Role::Sysext);
        let lengths = published().map(|(_, file)| file.size).collect();
        let members = overlay::members(self.tree.open(path)?, path, file.size, &lengths)?;
        let paths: BTreeSet<String> = members.keys().cloned().collect();
        for (name, member) in members {
            match member {
                Member::Config(bytes) => {
                    let inner = self.graph.below(spot, None, name);
                    self.config(inner, &bytes, Some(&paths))?;
                }
                Member::Sysext(sha256, copy) => {
                    let same = published().find(|(_, file)| file.sha256 == sha256);
                    match (same, copy) {
                        (Some((path, _)), _) => {
                            let reference = Reference::location(None, Kind::Sysext, format!("/{path}"));
                            self.resolve(spot, "", None, reference)?;
                        }
                        (None, Some(copy)) => {
                            let inner = self.graph.below(spot, None, name);
                            self.sysext(inner, &Extension::open(copy.path())?)?;
                        }
                        (None, None) => {
                            let inner = self.graph.below(spot, None, name);
                            let why = "it has the length of a sysext of the tree, but other content";
                            self.graph.closed.push((inner, why.into()));
                        }
                    }
                }
                Member::Other(bytes) => {
                    let found = machine::references(&overlay::on_machine(&name), &bytes);
                    self.inner(spot, name, found, None)?;
                }
                Member::Data => {}
            }
        }
        Ok(())
    }

    /// Follows the references of every text of a sysext.
    fn sysext(&mut self, spot: Spot, extension: &Extension) -> Result<()> {
        if let Some(fault) = &extension.fault {
            let why = match fault {
                Fault::Broken(why) => why.clone(),
                Fault::Opaque(what) => format!("it is {what}, which prebake does not read"),
            };
            self.graph.closed.push((spot, why));
        }
        for (path, seen) in &extension.entries {
            let InImage::File(size) = seen.kind else { continue };
            if size > machine::MAX_TEXT || extension.head(path, machine::PROBE as u64)?.contains(&0) {
                continue;
            }
            let name = format!("/{path}");
            let found = machine::references(&name, &extension.head(path, machine::MAX_TEXT)?);
            self.inner(spot, name, found, Some(extension))?;
        }
        Ok(())
    }

    /// Finds the target of a reference, records the edge, and queues the target.
    fn resolve(
        &mut self,
        from: Spot,
        directory: &str,
        image: Option<&Extension>,
        reference: Reference,
    ) -> Result<()> {
        let Reference { line, kind, text, rule } = &reference;
        let outcome = match rule {
            Rule::Location { .. } => {
                let place = self.places.of(directory, text);
                return self.lead(from, &reference, place);
            }
            Rule::Fetched { .. } => {
                let place = self.places.of_url(text);
                return self.lead(from, &reference, place);
            }
            Rule::Image if text.contains(['{', '$']) => Outcome::Open(PUT_TOGETHER),
            Rule::Image => self.images.find(text).map_or_else(Outcome::Missing, Outcome::Inside),
            Rule::AnyTag => self.images.find_any(text).map_or_else(Outcome::Missing, Outcome::Inside),
            Rule::Update { patterns, signed } => self.update(text, patterns, *signed),
            Rule::Archive { sha256, size } => self.archive(text, image, *sha256, *size)?,
            Rule::Digest(sha256) => {
                let path = [directory, text.as_str()]
                    .iter()
                    .filter(|part| !part.is_empty())
                    .copied()
                    .collect::<Vec<_>>()
                    .join("/");
                match self.places.manifest.files.get(&path) {
                    Some(file) if file.sha256 == *sha256 => Outcome::Inside(path),
                    Some(_) => Outcome::Missing("the file has another digest".into()),
                    None => Outcome::Missing("the tree has no such file".into()),
                }
            }
            Rule::Among(names) => match names.contains(text) {
                true => Outcome::Inside(text.clone()),
                false => Outcome::Missing("no loaded file has this name".into()),
            },
        };
        self.note(Edge { from, line: *line, kind: *kind, to: text.clone(), outcome });
        Ok(())
    }

    /// Records where a location leads, and queues its target.
    fn lead(&mut self, from: Spot, reference: &Reference, place: Place) -> Result<()> {
        let Reference { line, kind, text, rule } = reference;
        let edge = |outcome| Edge { from, line: *line, kind: *kind, to: text.clone(), outcome };
        let outcome = match place {
            Place::Tree(paths) => {
                for path in paths {
                    let outcome = match rule {
                        Rule::Fetched { hash: Some(hash), packed } => {
                            self.held_against(&path, hash, *packed)?
                        }
                        _ => Outcome::Inside(path.clone()),
                    };
                    if !self.spots.contains_key(&path) {
                        let spot = self.graph.below(from, *line, path.clone());
                        self.spots.insert(path.clone(), spot);
                        self.queue.push_back(path);
                    }
                    self.note(edge(outcome));
                }
                return Ok(());
            }
            Place::Endpoint(_, Some(_)) => Outcome::Served("the server of the tree, with a key that signs"),
            Place::Endpoint(_, None) | Place::Loader | Place::Root => {
                Outcome::Served("the server of the tree")
            }
            Place::Machine => Outcome::Served("the machine itself"),
            Place::Nowhere(_) if *rule == (Rule::Location { optional: true }) => {
                Outcome::Open("the next attempt is taken")
            }
            Place::Nowhere(_) if text.contains(['{', '$']) => Outcome::Open(PUT_TOGETHER),
            Place::Outside if !names_host(text) => Outcome::Open(PUT_TOGETHER),
            Place::Nowhere(why) => Outcome::Missing(why),
            Place::Outside => Outcome::Missing("it is outside of the tree".into()),
        };
        self.note(edge(outcome));
        Ok(())
    }

    /// Adds an edge; a missing target may be allowed by the caller.
    fn note(&mut self, mut edge: Edge) {
        if matches!(edge.outcome, Outcome::Missing(_))
            && let Some(by) = self.allow.iter().find(|allowed| allows(allowed, &edge.to))
        {
            edge.outcome = Outcome::Allowed(by.clone());
        }
        self.graph.add(edge);
    }

    /// Compares a file, unpacked if it is `packed`, with the hash that a config expects.
    fn held_against(&self, path: &str, hash: &str, packed: bool) -> Result<Outcome> {
        let (function, promised) = hash.split_once('-').unwrap_or(("", hash));
        let known = self.tree.manifest().files.get(path).filter(|_| function == "sha256" && !packed);
        let found = match known {
            Some(file) => file.sha256.to_string(),
            None => {
                let part = BufReader::new(self.tree.open(path)?);
                let contents = unpacked(part, packed);
                let io = disk::Error::io("read", path.as_ref());
                match function {
                    "sha256" => Sha256::of_reader(contents).map_err(io)?.0.to_string(),
                    _ => Sha512::of_reader(contents).map_err(io)?.to_string(),
                }
            }
        };
        Ok(match found.eq_ignore_ascii_case(promised) {
            true => Outcome::Inside(path.to_owned()),
            false => Outcome::Missing(format!("{path} does not have the {function} that the config states")),
        })
    }

    /// systemd-sysupdate reads `SHA256SUMS` of the directory, and its signature unless the unit turns that off.
    fn update(&self, url: &str, patterns: &[String], signed: bool) -> Outcome {
        let Some(directory) = self.places.directory(url) else {
            return Outcome::Missing("it is outside of the tree".into());
        };
        let files: Vec<&str> = self.places.listed(&directory).collect();
        let needed = if signed { &[CHECKSUMS, CHECKSUMS_SIGNATURE][..] } else { &[CHECKSUMS] };
        if let Some(missing) = needed.iter().find(|name| !files.contains(name)) {
            return Outcome::Missing(format!("the tree has no {directory}/{missing}"));
        }
        // `@v` is the version; other letters stand for other properties of the file (sysupdate.d(5)).
        let globs = patterns.iter().map(|pattern| {
            let mut parts = pattern.split('@');
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |glob, part| glob + "*" + part.get(1..).unwrap_or_default()).replace("%a", "*")
        });
        match globs.into_iter().any(|glob| files.iter().any(|file| matches(&glob, file))) {
            true => Outcome::Inside(format!("{directory}/")),
            false => Outcome::Missing(format!("no file of {directory}/ matches {}", patterns.join(" "))),
        }
    }

    /// Finds the archive that a list of `prebake-images` names.
    fn archive(&self, place: &str, image: Option<&Extension>, sha256: Sha256, size: u64) -> Result<Outcome> {
        let Some(inside) = place.strip_prefix('/') else {
            return Ok(match self.tree.manifest().files.get(place) {
                Some(file) if file.sha256 == sha256 && file.size == size => Outcome::Inside(place.to_owned()),
                Some(_) => Outcome::Missing("the file has another digest or size".into()),
                None => Outcome::Missing("the tree has no such file".into()),
            });
        };
        let found = image.and_then(|image| Some((image, image.entries.get(inside)?)));
        Ok(match found.map(|(image, seen)| (image, &seen.kind)) {
            Some((image, InImage::File(found))) if *found == size => {
                match size > MAX_ARCHIVE || Sha256::of(&image.read(inside)?) == sha256 {
                    true => Outcome::Inside(place.to_owned()),
                    false => Outcome::Missing("the file has another digest".into()),
                }
            }
            Some(_) => Outcome::Missing("the file has another size".into()),
            None => Outcome::Missing("the sysext has no such file".into()),
        })
    }
}

/// The images that a repository for clusterctl needs: those of components, and those that add-ons run on nodes.
fn images_of(record: &str) -> Vec<Reference> {
    let record: serde_json::Value = serde_json::from_str(record).unwrap_or_default();
    let of_components = record["images"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let of_nodes = record["node_images"].as_array().into_iter().flatten().filter_map(|name| name.as_str());
    of_components.chain(of_nodes).map(|name| Reference::image(None, name)).collect()
}

/// Lines of `DIGEST  NAME`, as sha256sum(1) writes them.
fn digests(text: &str) -> Vec<Reference> {
    let row = |(index, line): (usize, &str)| {
        let (digest, name) = line.split_once("  ")?;
        Some(Reference::new(Some(index + 1), Kind::Digest, name, Rule::Digest(digest.parse().ok()?)))
    };
    text.lines().enumerate().filter_map(row).collect()
}

/// Whether the caller's pattern allows a target outside: the whole of it, its host or registry, everything below, or by
/// `*`.
fn allows(allowed: &str, target: &str) -> bool {
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let below = |text: &str| text.strip_prefix(allowed).is_some_and(|rest| rest.starts_with(['/', ':', '@']));
    match allowed.contains('*') {
        true => matches(allowed, target) || matches(allowed, rest) || matches(allowed, host),
        false => [target, rest, host].contains(&allowed) || below(target) || below(rest),
    }
}

fn spool(part: &mut dyn Read) -> Result<tempfile::NamedTempFile, disk::Error> {
    let mut copy = || {
        let mut file = unfinished::scratch(IMAGE_END)?;
        io::copy(part, file.as_file_mut())?;
        Ok(file)
    };
    let place: PathBuf = std::env::temp_dir();
    copy().map_err(disk::Error::io("copy an image to", &place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_allows_a_host_a_registry_a_prefix_or_a_pattern() {
        for (allowed, target, fits) in [
            ("quay.io", "quay.io/cilium/cilium:v1", true),
            ("quay.io/cilium", "quay.io/cilium/cilium:v1", true),
            ("quay.io/cilium/cilium", "quay.io/cilium/cilium:v1", true),
            ("quay.io/cil", "quay.io/cilium/cilium:v1", false),
            ("files.example", "https://files.example/x", true),
            ("files.example", "https://files.example:8443/x", true),
            ("*.example", "https://files.example/x", true),
            ("https://files.example/*.tgz", "https://files.example/a/b.tgz", true),
            ("example", "https://files.example/x", false),
            ("ghcr.io/*:v1", "ghcr.io/a/b:v2", false),
        ] {
            assert_eq!(allows(allowed, target), fits, "{allowed} {target}");
        }
    }
}
