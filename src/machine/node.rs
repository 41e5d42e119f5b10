//! Nodes: machines with a name, in a recipe or in an inventory that a site adds to a built tree.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::dhcp::is_label;
use super::entry::{MAX_LABEL, nearest_host_name};
use super::firmware::NO_UUIDS;
use super::keys::{INVENTORY, NODE};
use super::network::{Cidr, NetworkKey};
use serde_json::{Map, Value};

use crate::base::arch::Arch;
use crate::base::disk;
use crate::base::finding::{Finding, Findings, Source};
use crate::base::reader::{Reader, another_kind, is_plain_name};
use crate::base::size::Bytes;
use crate::base::yaml::decode::{Decoder, Fields, Spanned};
use crate::base::yaml::kinds::Kind;
use crate::base::yaml::{self, Node as Yaml};

/// A machine with a name.
#[derive(Debug)]
pub struct Node {
    /// Its name, and the name of its Matchbox group.
    pub name: Spanned<String>,
    /// MAC address that selects it.
    pub mac: Option<Spanned<Mac>>,
    /// Its SMBIOS UUID, lower case as iPXE sends it.
    pub uuid: Option<Spanned<String>>,
    /// The profile it boots.
    pub profile: Spanned<String>,
    /// Architecture of its CPU.
    pub arch: Arch,
    /// Its amount of memory, if known.
    pub memory: Option<Spanned<Bytes>>,
    /// Its address: DHCP servers give it, and templates get it as metadata.
    pub ip: Option<Spanned<Cidr>>,
    /// Its own Ignition layers, on top of the profile's.
    pub ignition: Vec<Spanned<PathBuf>>,
    /// Its own layers with secrets, on top of the profile's.
    pub private: Vec<Spanned<PathBuf>>,
}

/// An Ethernet address; shown in lower case with colons, as Matchbox compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl FromStr for Mac {
    type Err = String;

    /// Twelve hex digits as firmware, switches and labels print them: `52:54:00:aa:bb:01`, `52-54-00-aa-bb-01`,
    /// `5254.00aa.bb01` (Cisco), `5254-00aa-bb01` (Huawei), `525400-aabb01` (HP), `525400aabb01`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a MAC address such as 52:54:00:00:00:01");
        let separator = text.chars().find(|c| matches!(c, ':' | '-' | '.'));
        let groups: Vec<&str> =
            separator.map_or_else(|| vec![text], |separator| text.split(separator).collect());
        let width = 12 / groups.len();
        let digits = groups.concat();
        let alike = groups.iter().all(|group| group.len() == width) && digits.len() == 12;
        if !alike || !matches!(width, 2 | 4 | 6 | 12) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut bytes = [0; 6];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).map_err(|_| bad())?;
        }
        Ok(Mac(bytes))
    }
}

impl From<[u8; 6]> for Mac {
    fn from(octets: [u8; 6]) -> Self {
        Mac(octets)
    }
}

impl Mac {
    /// Its bytes in network order.
    pub(crate) fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Why no card has this address, by IEEE 802, and it can identify no machine; `None` if one may.
    pub(crate) fn nobodys(self) -> Option<&'static str> {
        match self.0 {
            [0, 0, 0, 0, 0, 0] => Some("all zeros mean that the address is not known"),
            [255, 255, 255, 255, 255, 255] => Some("it is the broadcast address"),
            [first, ..] if first & 1 == 1 => Some("an odd first pair makes it a multicast address"),
            _ => None,
        }
    }

    /// `52-54-00-00-00-01`, as iPXE's `${mac:hexhyp}` spells it in file names.
    pub(crate) fn hyphened(&self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.write_str(&pairs.join(":"))
    }
}

/// Labels that identify a node. All of them must match, so a node with both a MAC and a UUID is identified by both
/// together.
pub(crate) fn selector(node: &Node) -> BTreeMap<String, String> {
    let mac = node.mac.as_ref().map(|mac| ("mac".to_owned(), mac.value.to_string()));
    let uuid = node.uuid.as_ref().map(|uuid| ("uuid".to_owned(), uuid.value.clone()));
    mac.into_iter().chain(uuid).collect()
}

/// Metadata of a node, for templates and DHCP servers.
pub(crate) fn metadata(node: &Node) -> Map<String, Value> {
    let name = ("name".to_owned(), node.name.value.clone().into());
    let ip = node.ip.as_ref().map(|ip| ("ip".to_owned(), ip.value.to_string().into()));
    [name].into_iter().chain(ip).collect()
}

/// Reads an inventory: a file with `schema` and `nodes` as in a recipe, for machines that were unknown when the tree
/// was built. They boot profiles without layers of their own, which would have to be built.
///
/// # Errors
/// All findings in it at once, or a failure to read it.
pub(crate) fn inventory(path: &Path, archs: &[Arch]) -> Result<Vec<Node>, Findings> {
    let name = path.display().to_string();
    let unreadable = |error| Finding::error(format!("cannot read the inventory {name}: {error}"));
    let bytes = disk::read_at_most(path, crate::base::finding::MAX_TEXT).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| crate::base::finding::not_text(&name))?;
    parse_inventory(&Source::new(name, text), archs)
}

/// Parses the text of an inventory for a tree of these architectures; if it is not known, for any.
///
/// # Errors
/// All findings in it at once.
pub fn parse_inventory(source: &Arc<Source>, archs: &[Arch]) -> Result<Vec<Node>, Findings> {
    let root = yaml::merge::parse(source)?;
    another_kind(&root, source, Kind::Inventory)?;
    let decoder = Decoder::new(source);
    let reader = Reader { decoder: &decoder, directory: Path::new("") };
    let nodes = {
        let fields = decoder.fields(&root, &INVENTORY);
        reader.check_schema(&fields);
        match fields.get("nodes") {
            Some(node) => reader.nodes(node, archs),
            // An empty list is one; a file without the key is no inventory.
            None if root.get("nodes").is_some() => Vec::new(),
            None => {
                fields.need("nodes");
                Vec::new()
            }
        }
    };
    reader.check_together(&nodes);
    for layer in nodes.iter().flat_map(|node| node.ignition.iter().chain(&node.private)) {
        let finding = Finding::error("an inventory adds machines, not layers: layers must be built");
        let finding = finding.at(layer.place.clone());
        decoder.push(
            finding.hint("put the node into the recipe, or its layers into a profile, and build again"),
        );
    }
    decoder.finish(nodes)
}

impl Reader<'_> {
    pub(crate) fn nodes(&self, node: &Yaml, archs: &[Arch]) -> Vec<Node> {
        self.decoder.items(node, "`nodes`").iter().filter_map(|node| self.node(node, archs)).collect()
    }

    fn node(&self, node: &Yaml, archs: &[Arch]) -> Option<Node> {
        let fields = self.decoder.fields(node, &NODE);
        let name = fields.need("name").map(|n| self.name(n, "a node's name"));
        name.as_ref().and_then(judge_host_name).into_iter().for_each(|finding| self.decoder.push(finding));
        let profile =
            fields.need("profile").and_then(|n| Some(self.decoder.spanned(n, self.decoder.string(n)?)));
        let mac = fields.get("mac").and_then(|n| self.mac(n));
        let uuid = fields.get("uuid").and_then(|n| self.uuid(n));
        let selected = fields.get("mac").is_some() || fields.get("uuid").is_some();
        let node = Node {
            mac,
            uuid,
            ip: fields.get("ip").and_then(|n| self.ip(n)),
            ignition: self.layers(&fields),
            private: self.paths(fields.get("private"), "`private`"),
            name: name?,
            profile: profile?,
            arch: self.arch_of(node, &fields, archs),
            memory: fields.get("memory").and_then(|n| Some(self.decoder.spanned(n, self.decoder.parsed(n)?))),
        };
        if !selected {
            let text = format!("node `{}` needs a `mac` or a `uuid` to be identified by", node.name.value);
            self.decoder.push(Finding::error(text).at(node.name.place.clone()));
        }
        Some(node)
    }

    /// MAC and UUID do not tell the architecture, so a node must state it if the recipe has several.
    fn arch_of(&self, node: &Yaml, fields: &Fields<'_>, archs: &[Arch]) -> Arch {
        let listed = || archs.iter().map(|arch| arch.go()).collect::<Vec<_>>().join(" and ");
        match (fields.get("arch"), archs) {
            (Some(given), _) => {
                let arch = self.decoder.parsed(given);
                if let Some(arch) = arch.filter(|arch| !archs.is_empty() && !archs.contains(arch)) {
                    self.decoder
                        .error(given, format!("the recipe's release is for {}, not {arch}", listed()));
                }
                arch.unwrap_or(Arch::Amd64)
            }
            (None, [only]) => *only,
            // The text of an inventory does not say which tree it is for.
            (None, []) => Arch::Amd64,
            (None, _) => {
                self.decoder
                    .error(node, format!("this node needs an `arch`: the release is for {}", listed()));
                Arch::Amd64
            }
        }
    }

    /// A MAC address that a card can have.
    fn mac(&self, node: &Yaml) -> Option<Spanned<Mac>> {
        let mac = self.decoder.spanned(node, self.decoder.parsed(node)?);
        judge_mac(&mac).into_iter().for_each(|finding| self.decoder.push(finding));
        Some(mac)
    }

    /// An address that a machine can have.
    fn ip(&self, node: &Yaml) -> Option<Spanned<Cidr>> {
        let ip = self.decoder.spanned(node, self.decoder.parsed(node)?);
        judge_ip(&ip).into_iter().for_each(|finding| self.decoder.push(finding));
        Some(ip)
    }

    /// A UUID that a board can have.
    fn uuid(&self, node: &Yaml) -> Option<Spanned<String>> {
        let text = self.decoder.string(node)?;
        let uuid = parse_uuid(&text).unwrap_or_else(|why| {
            self.decoder.error(node, why);
            text.to_lowercase()
        });
        Some(self.decoder.spanned(node, uuid))
    }

    /// Judges nodes as [`judge_together`] does.
    pub(crate) fn check_together(&self, nodes: &[Node]) {
        judge_together(nodes).into_iter().for_each(|finding| self.decoder.push(finding));
    }
}

/// The finding about a name that no host name can be, by RFC 1123: DHCP servers, Ignition and Kubernetes give the machine
/// that name. A name that is no file name either is left to [`Reader::plain_name`].
pub(crate) fn judge_host_name(name: &Spanned<String>) -> Option<Finding> {
    let text = name.value.as_str();
    let label = |label: &str| match label {
        "" => Some("a part of it is empty".to_owned()),
        _ if label.len() > MAX_LABEL => {
            Some(format!("a part of it has {} characters; the limit is {MAX_LABEL}", label.len()))
        }
        _ if label.contains('_') => Some("it has a `_`".into()),
        _ if !is_label(label) => Some("a part of it begins or ends with `-`".into()),
        _ => None,
    };
    let why = match text.parse::<IpAddr>() {
        Ok(_) => Some("it is an address".to_owned()),
        Err(_) => text.split('.').find_map(label),
    };
    let why = why.filter(|_| is_plain_name(text))?;
    let finding = Finding::error(format!("`{text}` is not a host name: {why}")).at(name.place.clone());
    let near = nearest_host_name(text);
    Some(match near.is_empty() {
        true => finding.hint("use letters, digits and `-`"),
        false => finding.hint(format!("use letters, digits and `-`, such as `{near}`")),
    })
}

/// The finding about an address that no card has.
pub(crate) fn judge_mac(mac: &Spanned<Mac>) -> Option<Finding> {
    let why = mac.value.nobodys()?;
    let text = format!("{} cannot be the address of a card: {why}", mac.value);
    let hint = "take the address that is printed on the card, or that the switch or the firmware shows";
    Some(Finding::error(text).at(mac.place.clone()).hint(hint))
}

/// The finding about an address that no machine can have.
pub(crate) fn judge_ip(ip: &Spanned<Cidr>) -> Option<Finding> {
    let why = ip.value.nobodys()?;
    let text = format!("{} cannot be the address of a machine: {why}", ip.value);
    Some(Finding::error(text).at(ip.place.clone()))
}

/// A board's UUID, in lower case: iPXE sends it so, and Matchbox compares text.
///
/// # Errors
/// It is not a UUID, or one that many boards share.
pub(crate) fn parse_uuid(text: &str) -> Result<String, String> {
    let text = text.to_lowercase();
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if groups != [8, 4, 4, 4, 12] || !hex {
        return Err(format!("`{text}` is not a UUID"));
    }
    if NO_UUIDS.contains(&text.as_str()) {
        let why = "cannot be the UUID of a machine: boards report it if their maker set none";
        return Err(format!("{text} {why}"));
    }
    Ok(text)
}

/// Findings about nodes that cannot be right together: each name, MAC, UUID and address must occur once, since they
/// distinguish machines, and machines whose addresses are in one network must agree on where it ends.
pub(crate) fn judge_together(nodes: &[Node]) -> Vec<Finding> {
    let mut findings = Vec::new();
    judge_unique(nodes, &mut findings);
    judge_networks(nodes, &mut findings);
    findings
}

/// Host names are compared without case (RFC 4343).
fn judge_unique(nodes: &[Node], findings: &mut Vec<Finding>) {
    let mut names: BTreeMap<String, &Node> = BTreeMap::new();
    let mut macs: BTreeMap<Mac, &Node> = BTreeMap::new();
    let mut uuids: BTreeMap<&str, &Node> = BTreeMap::new();
    let mut addresses: BTreeMap<IpAddr, &Node> = BTreeMap::new();
    for node in nodes {
        let name = node.name.value.as_str();
        if let Some(first) = names.insert(name.to_ascii_lowercase(), node) {
            let text = match first.name.value == name {
                true => format!("node `{name}` is listed twice"),
                false => format!("nodes `{}` and `{name}` have the same host name", first.name.value),
            };
            let finding = Finding::error(text).at(node.name.place.clone());
            findings.push(finding.related(first.name.place.clone(), "first listed here"));
        }
        let same = |first: &Node, what: String| {
            Finding::error(format!("nodes `{}` and `{name}` have the same {what}", first.name.value))
        };
        if let Some(mac) = &node.mac
            && let Some(first) = macs.insert(mac.value, node)
        {
            let finding = same(first, format!("MAC address {}", mac.value)).at(mac.place.clone());
            let place = first.mac.as_ref().unwrap_or(mac).place.clone();
            findings.push(finding.related(place, "first given here"));
        }
        if let Some(uuid) = &node.uuid
            && let Some(first) = uuids.insert(&uuid.value, node)
        {
            let finding = same(first, format!("UUID {}", uuid.value)).at(uuid.place.clone());
            let place = first.uuid.as_ref().unwrap_or(uuid).place.clone();
            findings.push(finding.related(place, "first given here"));
        }
        if let Some(ip) = &node.ip
            && let Some(first) = addresses.insert(ip.value.address, node)
        {
            let finding = same(first, format!("address {}", ip.value.address)).at(ip.place.clone());
            let place = first.ip.as_ref().unwrap_or(ip).place.clone();
            findings.push(finding.related(place, "first given here"));
        }
    }
}

/// An address in the network of other nodes, with another prefix length, is a slip: these machines would disagree
/// about which of them are neighbours. Of networks that overlap, the one with most nodes is right.
fn judge_networks(nodes: &[Node], findings: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    // A host route has no neighbours; addresses of no machine, and those of two, are refused already.
    let fit = |ip: &&Spanned<Cidr>| !ip.is_alone() && ip.nobodys().is_none() && seen.insert(ip.address);
    let addresses: Vec<&Spanned<Cidr>> =
        nodes.iter().filter_map(|node| node.ip.as_ref()).filter(fit).collect();
    let mut networks: BTreeMap<NetworkKey, Vec<&Spanned<Cidr>>> = BTreeMap::new();
    for ip in &addresses {
        networks.entry(ip.network_key()).or_default().push(ip);
    }
    let prefixes: BTreeSet<u8> = networks.keys().map(|key| key.prefix).collect();
    let mut by_size: Vec<&Vec<&Spanned<Cidr>>> = networks.values().collect();
    by_size.sort_by_key(|ips| (Reverse(ips.len()), ips[0].place.line, ips[0].place.column));
    // The right networks, and for each wider one around them the first within.
    let (mut right, mut within) = (BTreeMap::new(), BTreeMap::new());
    for ips in by_size {
        let first = ips[0];
        let wider = || prefixes.range(..first.prefix).map(|prefix| first.key_at(*prefix));
        let other = wider().find_map(|key| right.get(&key)).or_else(|| within.get(&first.network_key()));
        let Some(theirs) = other.copied() else {
            right.insert(first.network_key(), first);
            for key in wider() {
                within.entry(key).or_insert(first);
            }
            continue;
        };
        for ip in ips {
            let text = format!(
                "{} and {} are in one network, but have different prefix lengths",
                ip.value, theirs.value
            );
            let finding = Finding::error(text).at(ip.place.clone());
            let finding = finding.related(theirs.place.clone(), "the other one");
            findings.push(finding.hint("give all machines of one network the same prefix length"));
        }
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

    /// Issue 14, A20: spellings that switches and labels print, even if YAML reads them as numbers.
    #[test]
    fn mac_addresses_are_taken_as_they_are_printed() {
        for text in [
            "52:54:00:aa:bb:01",
            "'52:54:00:aa:bb:01'",
            "52-54-00-AA-BB-01",
            "5254.00aa.bb01",
            "\"5254.00AA.BB01\"",
            "5254-00aa-bb01",
            "5254:00aa:bb01",
            "525400-aabb01",
            "525400aabb01",
            "'525400AABB01'",
        ] {
            let nodes = read(&format!("  - {{name: a, mac: {text}, profile: w}}\n")).unwrap();
            assert_eq!(nodes[0].mac.as_ref().unwrap().to_string(), "52:54:00:aa:bb:01", "{text}");
        }
        // YAML 1.1 reads these as an integer, a float, an octal number, an exponent and base 60.
        for (text, mac) in [
            ("525400123401", "52:54:00:12:34:01"),
            ("001122334454", "00:11:22:33:44:54"),
            ("52e400123401", "52:e4:00:12:34:01"),
            ("5254.0012", ""),
            ("10:20:30:40:50:10", "10:20:30:40:50:10"),
            ("5254.0012.3401", "52:54:00:12:34:01"),
        ] {
            let nodes = read(&format!("  - {{name: a, mac: {text}, profile: w}}\n"));
            let got = nodes.ok().and_then(|nodes| nodes[0].mac.as_ref().map(|mac| mac.to_string()));
            assert_eq!(got.unwrap_or_default(), mac, "{text}");
        }
        for text in [
            "52:54:00:aa:bb",
            "52:54:00:aa:bb:011",
            "5254.00aa:bb01",
            "52540.0aabb01",
            "0x525400aabb",
            "5254 00aa bb01",
            "52:54:00:aa:bb:0g",
            "525400aabb0",
            ":::::",
            "52::54:00:aa:bb:01",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_that_no_machine_can_have_is_refused_with_the_reason() {
        for (mac, why) in [
            ("00:00:00:00:00:00", "all zeros"),
            ("ff-ff-ff-ff-ff-ff", "the broadcast address"),
            ("0100.5e00.0001", "a multicast address"),
            ("53:54:00:00:00:01", "odd first pair"),
        ] {
            let said = read(&format!("  - {{name: a, mac: '{mac}', profile: w}}\n")).err().unwrap();
            assert!(said[0].starts_with("3: ") && said[0].contains(why), "{said:?}");
        }
        for (ip, why) in [
            ("10.0.0.0/24", "is the address of the network 10.0.0.0/24 itself"),
            ("10.0.0.255/24", "the broadcast address of the network 10.0.0.0/24"),
            ("10.1.255.255/15", "the broadcast address of the network 10.0.0.0/15"),
            ("255.255.255.255/32", "the broadcast address"),
            ("0.0.0.0/24", "not known"),
            ("127.0.0.1/8", "every machine uses it for itself"),
            ("224.0.0.1/24", "a multicast address"),
            ("10.0.0.1/0", "prefix length of 0"),
            ("::/64", "not known"),
            ("ff02::1/64", "a multicast address"),
            ("::1/128", "every machine uses it for itself"),
        ] {
            let said = read(&format!("  - {{name: a, mac: '52:54:00:00:00:01', profile: w, ip: '{ip}'}}\n"))
                .err()
                .unwrap();
            assert!(said[0].starts_with("3: ") && said[0].contains(why), "{ip}: {said:?}");
        }
        for ip in ["10.0.0.0/31", "10.0.0.1/31", "10.0.0.1/32", "10.0.0.255/23", "10.0.1.0/23", "fd00::1/64"]
        {
            assert!(
                read(&format!("  - {{name: a, mac: '52:54:00:00:00:01', profile: w, ip: '{ip}'}}\n")).is_ok(),
                "{ip}"
            );
        }
    }

    /// ux 1.9: two nodes with one address were built without a warning.
    #[test]
    fn two_nodes_with_one_address_are_refused_at_the_second() {
        let nodes = "  - {name: a, mac: '52:54:00:00:00:01', profile: w, ip: 10.0.0.5/24}
  - {name: b, mac: '52:54:00:00:00:02', profile: w, ip: 10.0.0.5/16}
  - {name: c, uuid: 01234567-89ab-cdef-0123-456789abcdef, profile: w, ip: 'fd00::0:5/64'}
  - {name: d, uuid: 01234567-89ab-cdef-0123-456789abcdee, profile: w, ip: 'fd00:0::5/64'}
";
        assert_eq!(
            read(nodes).err().unwrap(),
            [
                "4: nodes `a` and `b` have the same address 10.0.0.5",
                "6: nodes `c` and `d` have the same address fd00::5"
            ]
        );
    }

    #[test]
    fn a_name_that_is_no_file_name_for_its_length_is_refused_where_it_stands() {
        let said =
            read(&format!("  - {{name: {}, mac: '52:54:00:00:00:01', profile: w}}\n", "n".repeat(300)));
        assert_eq!(said.err().unwrap(), ["3: a node's name has 300 characters; the limit is 100"]);
    }

    /// ux §4: `node_1` was taken as a host name, and only the output dnsmasq refused it.
    #[test]
    fn a_name_that_no_host_name_can_be_is_refused_with_the_reason_and_the_nearest() {
        for (name, why, near) in [
            ("node_1", "it has a `_`", "`node-1`"),
            ("-n1", "begins or ends with `-`", "`n1`"),
            ("n1-.rack", "begins or ends with `-`", "`n1.rack`"),
            ("n1..rack", "a part of it is empty", "`n1.rack`"),
            ("n1.", "a part of it is empty", "`n1`"),
            ("10.0.0.5", "it is an address", "`10-0-0-5`"),
            (&"n".repeat(64), "a part of it has 64 characters; the limit is 63", "`nnn"),
            ("_", "it has a `_`", "letters, digits"),
        ] {
            let text =
                format!("schema: 1\nnodes:\n  - {{name: '{name}', mac: '52:54:00:00:00:01', profile: w}}\n");
            let Findings(findings) =
                parse_inventory(&Source::new("nodes.yaml", text), &[Arch::Amd64]).unwrap_err();
            let [finding] = &findings[..] else { panic!("{name}: {findings:?}") };
            assert!(finding.message.ends_with(why) || finding.message.contains(why), "{finding:?}");
            assert!(finding.hint.as_ref().unwrap().contains(near), "{finding:?}");
        }
        for name in ["n1", "N1", "1", "r1-n1.rack.example", &"n".repeat(63)] {
            let text = format!("  - {{name: '{name}', mac: '52:54:00:00:00:01', profile: w}}\n");
            assert!(read(&text).is_ok(), "{name}");
        }
        let same = "  - {name: n1, mac: '52:54:00:00:00:01', profile: w}
  - {name: N1, mac: '52:54:00:00:00:02', profile: w}
";
        assert_eq!(read(same).err().unwrap(), ["4: nodes `n1` and `N1` have the same host name"]);
    }

    #[test]
    fn nodes_of_one_network_agree_on_its_prefix_length_or_the_fewer_are_refused() {
        let nodes = |ips: &[&str]| -> String {
            let node = |(n, ip): (usize, &&str)| {
                format!("  - {{name: n{n}, mac: '52:54:00:00:00:{n:02x}', profile: w, ip: '{ip}'}}\n")
            };
            ips.iter().enumerate().map(node).collect()
        };
        assert_eq!(
            read(&nodes(&["10.0.0.5/16", "10.0.0.6/24", "10.0.0.7/24", "10.0.1.1/24"])).err().unwrap(),
            ["3: 10.0.0.5/16 and 10.0.0.6/24 are in one network, but have different prefix lengths"]
        );
        assert_eq!(
            read(&nodes(&["fd00::5/64", "fd00::6/48"])).err().unwrap(),
            ["4: fd00::6/48 and fd00::5/64 are in one network, but have different prefix lengths"]
        );
        let apart = ["10.0.0.5/24", "10.0.1.5/25", "10.0.0.9/32", "fd00::5/64", "fd00:0:0:1::5/65"];
        assert!(read(&nodes(&apart)).is_ok());
    }

    #[test]
    fn nodes_share_parts_by_anchors() {
        let nodes = read("  - &a {name: a, mac: '52:54:00:00:00:01', profile: w, memory: 4GiB}\n  - {<<: *a, name: b, mac: '52:54:00:00:00:02'}\n").unwrap();
        assert_eq!((nodes[1].name.value.as_str(), nodes[1].profile.value.as_str()), ("b", "w"));
        assert!(nodes[1].memory.is_some());
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
                "3: node `a` needs a `mac` or a `uuid` to be identified by",
                "4: an inventory adds machines, not layers: layers must be built",
                "5: node `b` is listed twice",
                "5: nodes `b` and `b` have the same MAC address 52:54:00:00:00:01",
                "5: unknown key `rack` in a node",
            ]
        );
    }

    #[test]
    fn macs_are_shown_in_one_spelling() {
        assert_eq!("52-54-00-AB-00-01".parse::<Mac>().unwrap().to_string(), "52:54:00:ab:00:01");
        assert_eq!("525400AB0001".parse::<Mac>().unwrap().to_string(), "52:54:00:ab:00:01");
        for bad in ["52:54:00:00:00", "52:54:00:00:00:01:02", "52:54:00:00:00:+1", "52540000000"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }
}
