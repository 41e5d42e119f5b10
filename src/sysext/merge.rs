//! All extensions that are merged on one node, and the known facts about the rest of that node: the input of the rules.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::base::Base;
use super::extension::{Extension, Seen};
use super::order;
use super::place::{IMAGE_END, merged};
use super::unit::{self, Assignment};
use crate::flatcar::version::Version;
use crate::format::image::Kind;

/// A node's extensions and their surroundings.
pub struct Merge<'m> {
    extensions: Vec<&'m Extension>,
    units: OnceCell<BTreeMap<String, Unit>>,
    /// The release's own files.
    pub base: &'m Base,
    /// The node's Ignition config, if it is known.
    pub config: Option<&'m NodeConfig>,
    /// The release, if it is known.
    pub release: Option<Version>,
}

/// The parts of an Ignition config that the rules need.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NodeConfig {
    /// Names of extensions that it masks, by links in `/etc/extensions` to `/dev/null`.
    pub masked: BTreeSet<String>,
    /// Absolute paths of its files and links.
    pub paths: BTreeSet<String>,
    /// Units and drop-ins that it writes: path below the directory of units, and text.
    pub units: Vec<(String, String)>,
}

/// Whether a path exists on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It exists.
    Here,
    /// It is outside of `/usr`, where anything may create it.
    Elsewhere,
    /// No known part has it, but not all parts are known.
    Doubtful,
    /// It does not exist.
    Missing,
}

/// A unit with all its drop-ins, from all extensions and the node's config.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unit {
    /// Origin of the unit itself; `None` if there are only drop-ins.
    pub home: Option<Home>,
    /// Its assignments, the unit's own before those of its drop-ins.
    pub lines: Vec<Line>,
}

/// Origin of a unit or drop-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    /// The extension's index in [`Merge::extensions`]; `None` if it is from the node's config.
    pub extension: Option<usize>,
    /// Path inside the extension or config.
    pub path: String,
}

/// One assignment of a unit.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Origin of the assignment.
    pub home: Home,
    /// Section, key and value.
    pub assignment: Assignment,
}

impl NodeConfig {
    /// Reads a compiled config; missing parts count as empty.
    pub fn of_ignition(json: &[u8]) -> Self {
        let config: Value = serde_json::from_slice(json).unwrap_or_default();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut node = NodeConfig::default();
        for link in list(&config["storage"]["links"]) {
            let path = text(&link["path"]);
            let name = merged(&path).and_then(|file| file.strip_suffix(IMAGE_END));
            if let (Some(name), "/dev/null") = (name, text(&link["target"]).as_str()) {
                node.masked.insert(name.to_owned());
            }
            node.paths.insert(path);
        }
        node.paths.extend(list(&config["storage"]["files"]).iter().map(|file| text(&file["path"])));
        for unit in list(&config["systemd"]["units"]) {
            let name = text(&unit["name"]);
            node.units.extend(unit["contents"].as_str().map(|contents| (name.clone(), contents.to_owned())));
            let drop_ins = list(&unit["dropins"]);
            let of = |drop_in: &Value| {
                (format!("{name}.d/{}", text(&drop_in["name"])), text(&drop_in["contents"]))
            };
            node.units.extend(drop_ins.iter().map(of));
        }
        node
    }
}

impl<'m> Merge<'m> {
    /// Sorts extensions by the order in which they cover each other.
    pub fn new(extensions: &'m [Extension], base: &'m Base) -> Self {
        let mut sorted: Vec<&Extension> = extensions.iter().collect();
        sorted.sort_by(|a, b| order::compare(a.name(), b.name()));
        Merge { extensions: sorted, units: OnceCell::new(), base, config: None, release: None }
    }

    /// The extensions, each covering the ones before it.
    pub(crate) fn extensions(&self) -> &[&'m Extension] {
        &self.extensions
    }

    /// Whether the node is known to mask an extension of the release.
    pub(crate) fn is_masked(&self, stock: &str) -> bool {
        self.config.is_some_and(|config| config.masked.contains(stock))
            || self.extensions.iter().any(|extension| extension.masks.contains(stock))
    }

    /// The topmost entry at a path, and the index of its extension.
    pub(crate) fn entry(&self, path: &str) -> Option<(usize, &'m Seen)> {
        let found = |(index, extension): (usize, &&'m Extension)| Some((index, extension.entries.get(path)?));
        self.extensions.iter().enumerate().rev().find_map(found)
    }

    /// The topmost file at a path as text, if it can be read.
    pub(crate) fn text(&self, path: &str) -> Option<(usize, String)> {
        let (index, seen) = self.entry(path)?;
        matches!(seen.kind, Kind::File(_)).then(|| Some((index, self.extensions[index].text(path).ok()?)))?
    }

    /// Path of an absolute path's entry in an extension: with Flatcar's links followed, or in a directory that replaces
    /// one of them.
    pub(crate) fn place(&self, path: &str) -> Option<String> {
        let (path, literal) = (usr_path(path)?, unlinked(path)?);
        // An extension's `/usr/sbin` hides the link. Another rule reports that; for this one, the program exists.
        [literal, path].into_iter().find(|path| self.entry(path).is_some())
    }

    /// Whether an absolute path exists.
    pub(crate) fn presence(&self, path: &str) -> Presence {
        if self.place(path).is_some() {
            return Presence::Here;
        }
        let Some(path) = usr_path(path) else { return Presence::Elsewhere };
        let below = |dir: &String| path.strip_prefix(dir.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let to_come =
            |extension: &&Extension| extension.fault.is_some() || extension.unknown.iter().any(below);
        // A link on the way is not followed; its target may well have the rest of the path.
        let links = |at: usize| {
            let link = self.entry(&path[..at]).is_some_and(|(_, seen)| matches!(seen.kind, Kind::Symlink(_)));
            link || self.base.is_dir(&path[..at]) == Some(false)
        };
        match () {
            _ if self.entry(&path).is_some() || self.base.has(&path) => Presence::Here,
            _ if self.extensions.iter().any(to_come) => Presence::Here,
            _ if path.match_indices('/').any(|(at, _)| links(at)) => Presence::Here,
            _ if self.base.complete => Presence::Missing,
            _ => Presence::Doubtful,
        }
    }

    /// All units that extensions and the node's config add or change, by name.
    pub(crate) fn units(&self) -> &BTreeMap<String, Unit> {
        self.units.get_or_init(|| self.collect_units())
    }

    fn collect_units(&self) -> BTreeMap<String, Unit> {
        let mut units: BTreeMap<String, Unit> = BTreeMap::new();
        for (index, extension) in self.extensions.iter().enumerate() {
            // Directories sort before their contents, but `a.service` after `a.service.d`, so there are two rounds.
            for drop_ins in [false, true] {
                for path in extension.entries.keys().filter(|path| unit::is_unit(path)) {
                    let Some(name) = unit::unit_path(path) else { continue };
                    if name.contains('/') != drop_ins {
                        continue;
                    }
                    let Ok(text) = extension.text(path) else { continue };
                    let home = Home { extension: Some(index), path: path.clone() };
                    add(&mut units, name, home, &text);
                }
            }
        }
        for (name, text) in self.config.into_iter().flat_map(|config| &config.units) {
            add(&mut units, name, Home { extension: None, path: format!("etc/systemd/system/{name}") }, text);
        }
        units
    }

    /// Whether a unit exists, as far as is known.
    pub(crate) fn unit_presence(&self, name: &str) -> Presence {
        let units = self.units();
        let template = name.split_once('@').and_then(|(stem, rest)| Some((stem, rest.rsplit_once('.')?.1)));
        let template = template.map(|(stem, suffix)| format!("{stem}@.{suffix}"));
        let names = [Some(name.to_owned()), template];
        let here = |name: &String| {
            units.get(name).is_some_and(|unit| unit.home.is_some())
                || self.base.has(&format!("usr/lib/systemd/system/{name}"))
        };
        match names.iter().flatten().any(here) {
            true => Presence::Here,
            false if self.base.complete && self.config.is_some() => Presence::Missing,
            false => Presence::Doubtful,
        }
    }
}

fn add(units: &mut BTreeMap<String, Unit>, name: &str, home: Home, text: &str) {
    let (unit_name, whole) = match name.split_once('/') {
        Some((dir, _)) => (dir.trim_end_matches(".d"), false),
        None => (name, true),
    };
    let unit = units.entry(unit_name.to_owned()).or_default();
    if whole {
        // A unit in a higher extension or in /etc replaces a lower one; drop-ins stay.
        unit.lines.retain(|line| line.home.path.contains(".d/"));
        unit.home = Some(home.clone());
    }
    let lines = unit::assignments(text).into_iter();
    unit.lines.extend(lines.map(|assignment| Line { home: home.clone(), assignment }));
}

impl Unit {
    /// The values of a key in a section, split at blanks as systemd does for lists. An empty value resets the list.
    pub(crate) fn list<'u>(&'u self, section: &'u str, key: &'u str) -> Vec<(&'u str, &'u Line)> {
        let mut values = Vec::new();
        for line in self.of(section, key) {
            match line.assignment.value.as_str() {
                "" => values.clear(),
                value => values.extend(value.split_whitespace().map(|word| (word, line))),
            }
        }
        values
    }

    /// The last value of a key.
    pub(crate) fn last<'u>(&'u self, section: &'u str, key: &'u str) -> Option<&'u str> {
        self.of(section, key).last().map(|line| line.assignment.value.as_str())
    }

    /// The effective assignments to a key, unsplit. An empty value resets the list.
    pub(crate) fn commands<'u>(&'u self, key: &'u str) -> Vec<&'u Line> {
        let mut commands = Vec::new();
        for line in self.of("Service", key) {
            match line.assignment.value.as_str() {
                "" => commands.clear(),
                _ => commands.push(line),
            }
        }
        commands
    }

    fn of<'u>(&'u self, section: &'u str, key: &'u str) -> impl Iterator<Item = &'u Line> {
        let fits = move |line: &&Line| line.assignment.section == section && line.assignment.key == key;
        self.lines.iter().filter(fits)
    }
}

/// The path below `usr` without its leading slash, with Flatcar's links followed: `/bin`, `/sbin`, `/lib` lead into
/// `/usr`, and `/usr/sbin` is `/usr/bin`. `None` for paths elsewhere.
pub(crate) fn usr_path(absolute: &str) -> Option<String> {
    let path = unlinked(absolute)?;
    Some(match path.strip_prefix("usr/sbin") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("usr/bin{rest}"),
        _ => path,
    })
}

/// Like [`usr_path`], without following the link `/usr/sbin`.
fn unlinked(absolute: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in absolute.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    if let Some(&first) = parts.first()
        && ["bin", "sbin", "lib", "lib64"].contains(&first)
    {
        parts.insert(0, "usr");
    }
    (parts.first() == Some(&"usr")).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_links_of_flatcars_root() {
        for (path, expected) in [
            ("/bin/sh", Some("usr/bin/sh")),
            ("/usr/sbin/modprobe", Some("usr/bin/modprobe")),
            ("/usr/local/../bin/./x", Some("usr/bin/x")),
            ("/opt/cni/bin", None),
            ("/", None),
        ] {
            assert_eq!(usr_path(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_config_masks_and_brings_units() {
        let json = br#"{"storage":{"links":[{"path":"/etc/extensions/docker-flatcar.raw","target":"/dev/null"},
            {"path":"/etc/extensions/a.raw","target":"/oem/sysext/a.raw"}],"files":[{"path":"/etc/x"}]},
            "systemd":{"units":[{"name":"a.service","contents":"[Service]\n","dropins":[{"name":"x.conf","contents":"[Unit]\n"}]}]}}"#;
        let node = NodeConfig::of_ignition(json);
        assert_eq!(node.masked, BTreeSet::from(["docker-flatcar".to_owned()]));
        assert_eq!((node.paths.len(), node.units.len()), (3, 2));
    }
}
