//! Nodes: machines that are known by name, in a recipe or in an inventory that a site adds to what was built.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::decode::Reader;
use super::{Cidr, Recipe};
use crate::arch::Arch;
use crate::memory::Bytes;
use crate::report::{Finding, Findings, Source};
use crate::yaml::decode::{Decoder, Fields, Spanned};
use crate::yaml::{self, Node as Yaml};

/// A machine that is known by name.
#[derive(Debug)]
pub struct Node {
    /// Its name, and the name of its Matchbox group.
    pub name: Spanned<String>,
    /// What selects it.
    pub mac: Option<Spanned<Mac>>,
    /// Its SMBIOS UUID, lower case as iPXE sends it.
    pub uuid: Option<Spanned<String>>,
    /// The profile it boots.
    pub profile: Spanned<String>,
    /// What its processor is.
    pub arch: Arch,
    /// How much memory it has, where that is known.
    pub memory: Option<Spanned<Bytes>>,
    /// Its address: DHCP servers give it, templates get it as metadata.
    pub ip: Option<Spanned<Cidr>>,
    /// Ignition layers of its own, on top of the profile's.
    pub ignition: Vec<Spanned<PathBuf>>,
    /// Layers with secrets of its own, on top of the profile's.
    pub private: Vec<Spanned<PathBuf>>,
}

/// An Ethernet address, lower case with colons as Matchbox compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

/// Reads an inventory: a file with `schema` and `nodes` as in a recipe, for machines that nobody knew of when the tree was
/// built. They boot profiles as they are: layers of their own would have to be built.
///
/// # Errors
/// Every finding in it at once, or that it cannot be read.
pub fn inventory(path: &Path, archs: &[Arch]) -> Result<Vec<Node>, Findings> {
    let name = path.display().to_string();
    let unreadable = |error| Finding::error(format!("cannot read the inventory {name}: {error}"));
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| super::not_text(&name))?;
    parse_inventory(&Source::new(name, text), archs)
}

/// The same of a text that is in memory already.
pub(crate) fn parse_inventory(source: &Arc<Source>, archs: &[Arch]) -> Result<Vec<Node>, Findings> {
    let root = yaml::parse(source)?;
    let decoder = Decoder::new(source);
    let reader = Reader { decoder: &decoder, directory: Path::new("") };
    let nodes = {
        let fields = decoder.fields(&root, "the inventory");
        reader.check_schema(&fields);
        fields.need("nodes").map(|node| reader.nodes(node, archs)).unwrap_or_default()
    };
    reader.check_unique(&nodes);
    for layer in nodes.iter().flat_map(|node| node.ignition.iter().chain(&node.private)) {
        let finding = Finding::error("an inventory adds machines, not layers: those must be built");
        let finding = finding.at(layer.place.clone());
        decoder.push(
            finding.hint("put the node into the recipe, or its layers into a profile, and build again"),
        );
    }
    decoder.finish(nodes)
}

impl Reader<'_> {
    pub(super) fn nodes(&self, node: &Yaml, archs: &[Arch]) -> Vec<Node> {
        self.decoder.items(node, "`nodes`").iter().filter_map(|node| self.node(node, archs)).collect()
    }

    fn node(&self, node: &Yaml, archs: &[Arch]) -> Option<Node> {
        let fields = self.decoder.fields(node, "a node");
        let name = fields.need("name").map(|n| self.name(n, "a node's name"));
        let profile =
            fields.need("profile").and_then(|n| Some(self.decoder.spanned(n, self.decoder.string(n)?)));
        let mac =
            fields.get("mac").and_then(|n| Some(self.decoder.spanned(n, self.decoder.parsed::<Mac>(n)?)));
        let uuid = fields.get("uuid").and_then(|n| self.uuid(n));
        let selected = fields.get("mac").is_some() || fields.get("uuid").is_some();
        let node = Node {
            mac,
            uuid,
            ip: fields.get("ip").and_then(|n| Some(self.decoder.spanned(n, self.decoder.parsed(n)?))),
            ignition: self.layers(&fields),
            private: self.paths(fields.get("private"), "`private`"),
            name: name?,
            profile: profile?,
            arch: self.arch_of(node, &fields, archs),
            memory: fields.get("memory").and_then(|n| Some(self.decoder.spanned(n, self.decoder.parsed(n)?))),
        };
        if !selected {
            let text = format!("node `{}` needs a `mac` or a `uuid` to be known by", node.name.value);
            self.decoder.push(Finding::error(text).at(node.name.place.clone()));
        }
        Some(node)
    }

    /// What a machine is known by does not say what its processor is, so a node says it where the recipe has several.
    fn arch_of(&self, node: &Yaml, fields: &Fields<'_>, archs: &[Arch]) -> Arch {
        let listed = || archs.iter().map(|arch| arch.go()).collect::<Vec<_>>().join(" and ");
        match (fields.get("arch"), archs) {
            (Some(given), _) => {
                let arch = self.decoder.parsed(given);
                if let Some(arch) = arch.filter(|arch| !archs.contains(arch)) {
                    self.decoder
                        .error(given, format!("the recipe's release is for {}, not {arch}", listed()));
                }
                arch.unwrap_or(Arch::Amd64)
            }
            (None, [only]) => *only,
            (None, _) => {
                self.decoder
                    .error(node, format!("this node needs an `arch`: the release is for {}", listed()));
                Arch::Amd64
            }
        }
    }

    /// iPXE sends UUIDs in lower case and Matchbox compares text.
    fn uuid(&self, node: &Yaml) -> Option<Spanned<String>> {
        let text = self.decoder.string(node)?.to_lowercase();
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        let hex = text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if groups != [8, 4, 4, 4, 12] || !hex {
            self.decoder.error(node, format!("`{text}` is not a UUID"));
        }
        Some(self.decoder.spanned(node, text))
    }

    /// What is wrong with a recipe's nodes beside what each says of itself.
    pub(super) fn check_nodes(&self, recipe: &Recipe) {
        self.check_unique(&recipe.nodes);
        for node in &recipe.nodes {
            let name = node.name.value.as_str();
            let taken = recipe.release.archs.iter().any(|arch| recipe.default_name(*arch) == name);
            if taken && recipe.default_profile.is_some() {
                let text = format!("a node cannot be called `{name}` beside a `default_profile`");
                let finding = Finding::error(text).at(node.name.place.clone());
                self.decoder.push(finding.hint(format!("both would be the group `{name}`")));
            }
            self.known_profile(recipe, &node.profile);
        }
    }

    /// Each name, MAC and UUID once: machines are told apart by them.
    fn check_unique(&self, nodes: &[Node]) {
        let mut names: BTreeMap<&str, &Node> = BTreeMap::new();
        let mut macs: BTreeMap<Mac, &Node> = BTreeMap::new();
        let mut uuids: BTreeMap<&str, &Node> = BTreeMap::new();
        for node in nodes {
            let name = node.name.value.as_str();
            if let Some(first) = names.insert(name, node) {
                let finding =
                    Finding::error(format!("node `{name}` is listed twice")).at(node.name.place.clone());
                self.decoder.push(finding.related(first.name.place.clone(), "first listed here"));
            }
            let same = |first: &Node, what: String| {
                Finding::error(format!("nodes `{}` and `{name}` have the same {what}", first.name.value))
            };
            if let Some(mac) = &node.mac
                && let Some(first) = macs.insert(mac.value, node)
            {
                let finding = same(first, format!("MAC address {}", mac.value)).at(mac.place.clone());
                let place = first.mac.as_ref().unwrap_or(mac).place.clone();
                self.decoder.push(finding.related(place, "first given here"));
            }
            if let Some(uuid) = &node.uuid
                && let Some(first) = uuids.insert(&uuid.value, node)
            {
                let finding = same(first, format!("UUID {}", uuid.value)).at(uuid.place.clone());
                let place = first.uuid.as_ref().unwrap_or(uuid).place.clone();
                self.decoder.push(finding.related(place, "first given here"));
            }
        }
    }
}

impl FromStr for Mac {
    type Err = String;

    /// Six pairs of hex digits with `:` or `-` between them.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a MAC address such as 52:54:00:00:00:01");
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut pairs = text.split(separator);
        for byte in &mut bytes {
            let pair = pairs.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(pair.ok_or_else(bad)?, 16).map_err(|_| bad())?;
        }
        pairs.next().is_none().then_some(Mac(bytes)).ok_or_else(bad)
    }
}

impl From<[u8; 6]> for Mac {
    fn from(octets: [u8; 6]) -> Self {
        Mac(octets)
    }
}

impl Mac {
    /// Its bytes, as packets have them.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }

    /// `52-54-00-00-00-01`, as iPXE's `${mac:hexhyp}` spells it in file names.
    pub fn hyphened(&self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.write_str(&pairs.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(nodes: &str) -> Result<Vec<Node>, Vec<String>> {
        let text = format!("schema: 1\nnodes:\n{nodes}");
        parse_inventory(&Source::new("nodes.yaml", text), &[Arch::Amd64]).map_err(|Findings(findings)| {
            let line = |f: &Finding| f.place.as_ref().map_or(0, |place| place.line);
            findings.iter().map(|finding| format!("{}: {}", line(finding), finding.message)).collect()
        })
    }

    #[test]
    fn an_inventory_lists_nodes_as_a_recipe_does() {
        let nodes =
            read("  - {name: a, mac: 52-54-00-00-00-01, profile: worker, ip: 10.0.0.1/24}\n").unwrap();
        assert_eq!(nodes[0].mac.as_ref().unwrap().to_string(), "52:54:00:00:00:01");
        assert_eq!(nodes[0].profile.value, "worker");
    }

    #[test]
    fn every_fault_of_an_inventory_is_told_at_once() {
        let flaws = "  - {name: a, profile: w}
  - {name: b, mac: '52:54:00:00:00:01', profile: w, ignition: [b.bu]}
  - {name: b, mac: '52:54:00:00:00:01', profile: w, rack: r1}
";
        assert_eq!(
            read(flaws).err().unwrap(),
            [
                "3: node `a` needs a `mac` or a `uuid` to be known by",
                "4: an inventory adds machines, not layers: those must be built",
                "5: node `b` is listed twice",
                "5: nodes `b` and `b` have the same MAC address 52:54:00:00:00:01",
                "5: unknown key `rack` in a node",
            ]
        );
    }
}
