//! Rules about networks against each other: gateways, pods, services, nodes, and flannel's own setting.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::Value;

use super::super::manifests::{Manifest, Object, has_variable};
use super::super::path::expanded;
use super::super::words::Shape;
use super::proxmox::{range, texts};
use super::{Part, Subject, number, settled};
use crate::addon::flannel::SETTING as FLANNEL;
use crate::base::finding::{Finding, Source};

/// Networks of services if a Cluster names none (kubeadm's default).
const SERVICES: &str = "10.96.0.0/12";
/// Most networks of one list that are held against others: Kubernetes takes two, and a pool of machines has a few ranges.
const MOST: usize = 32;

/// Addresses that follow one another.
#[derive(Clone)]
struct Net {
    text: String,
    is_six: bool,
    first: u128,
    last: u128,
}

impl Net {
    fn of(text: &str) -> Option<Net> {
        let text = settled(text);
        let (first, last) = range(&text)?;
        Some(Net { is_six: text.contains(':'), text, first, last })
    }

    fn meets(&self, other: &Net) -> bool {
        self.is_six == other.is_six && self.first <= other.last && other.first <= self.last
    }

    fn holds(&self, other: &Net) -> bool {
        self.is_six == other.is_six && self.first <= other.first && other.last <= self.last
    }
}

/// Networks of a list.
fn nets(value: Option<&Value>) -> Vec<Net> {
    value.map(texts).unwrap_or_default().iter().take(MOST).filter_map(|text| Net::of(text)).collect()
}

/// Paths of a cluster's address configs, those of its zones, too.
fn configs(part: &Part<'_>) -> Vec<Vec<String>> {
    let paths: [&[&str]; 4] = [
        &["ipv4Config"],
        &["ipv6Config"],
        &["zoneConfig", "*", "ipv4Config"],
        &["zoneConfig", "*", "ipv6Config"],
    ];
    paths.into_iter().flat_map(|path| expanded(part.value, path)).collect()
}

/// The gateway, and the network that its prefix makes of it.
fn gateway(config: &Value) -> Option<(Net, Net)> {
    let gateway = settled(config.get("gateway")?.as_str()?);
    let address: IpAddr = gateway.parse().ok()?;
    let prefix = config.get("prefix").and_then(number).filter(|prefix| *prefix > 0)?;
    let network = Net::of(&format!("{address}/{prefix}"))?;
    Some((Net::of(&gateway)?, network))
}

/// Gateways outside of their network, and among the addresses of machines.
pub(super) fn gateways(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in subject.parts(Shape::ProxmoxCluster) {
        for path in configs(&part) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let Some(config) = part.at(&path) else { continue };
            let Some((gateway, network)) = gateway(config) else { continue };
            let at: Vec<&str> = path.iter().copied().chain(["gateway"]).collect();
            let pools: Vec<Net> = config
                .get("addresses")
                .map(texts)
                .unwrap_or_default()
                .iter()
                .filter_map(|text| Net::of(text))
                .filter(|pool| pool.is_six == gateway.is_six)
                .collect();
            // Routers of IPv6 are known by an address of the link, which no prefix covers.
            let is_of_link = gateway
                .text
                .parse::<IpAddr>()
                .is_ok_and(|one| matches!(one, IpAddr::V6(six) if six.is_unicast_link_local()));
            if let Some(pool) = pools.iter().find(|pool| !is_of_link && !network.holds(pool)) {
                findings.push(part.error(
                    &at,
                    format!(
                        "the gateway {} with its `prefix` makes the network {}, in which {} is not: machines have no way to it",
                        gateway.text, network.text, pool.text
                    ),
                    "gateway and addresses must be of one network: mend `gateway`, `prefix` or `addresses`",
                ));
            } else if let Some(pool) = pools.iter().find(|pool| pool.holds(&gateway)) {
                findings.push(part.warning(
                    &at,
                    format!(
                        "the gateway {} is in the machines' pool {}: the pool has one address less than it seems",
                        gateway.text, pool.text
                    ),
                    "begin the pool behind the gateway",
                ));
            }
        }
    }
    findings
}

/// A namespace and a name.
type Name<'s> = (Option<&'s str>, &'s str);

/// Networks of a cluster that overlap.
pub(super) fn overlaps(subject: &Subject) -> Vec<Finding> {
    let mut nodes: HashMap<Name<'_>, Vec<Net>> = HashMap::new();
    for part in subject.parts(Shape::ProxmoxCluster) {
        let of = nodes.entry((part.object.namespace.as_deref(), &part.object.name)).or_default();
        for path in configs(&part).into_iter().take(MOST) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let Some(config) = part.at(&path) else { continue };
            of.extend(gateway(config).map(|(_, network)| network));
            of.extend(nets(config.get("addresses")));
        }
    }
    let mut findings = Vec::new();
    for part in subject.parts(Shape::Cluster) {
        const PODS: [&str; 3] = ["clusterNetwork", "pods", "cidrBlocks"];
        const OF_SERVICES: [&str; 3] = ["clusterNetwork", "services", "cidrBlocks"];
        let pods = nets(part.at(&PODS));
        let services = match part.at(&OF_SERVICES) {
            Some(value) => nets(Some(value)),
            None => Net::of(SERVICES).into_iter().collect(),
        };
        let reference = part.text(&["infrastructureRef", "name"]).unwrap_or_default();
        let nodes = nodes.get(&(part.object.namespace.as_deref(), reference.as_str()));
        let nodes = nodes.map(Vec::as_slice).unwrap_or_default();
        for (path, of, ours, to, theirs) in [
            (PODS, "pods", &pods[..], "services", &services[..]),
            (PODS, "pods", &pods[..], "nodes", nodes),
            (OF_SERVICES, "services", &services[..], "nodes", nodes),
        ] {
            let pairs = ours.iter().flat_map(|one| theirs.iter().map(move |other| (one, other)));
            if let Some((one, other)) = pairs.into_iter().find(|(one, other)| one.meets(other)) {
                findings.push(part.error(
                    &path,
                    format!(
                        "the network of {of} {} overlaps that of {to} {}: packets for one end in the other",
                        one.text, other.text
                    ),
                    format!("choose networks apart from each other in `clusterNetwork`; without one, services have {SERVICES}"),
                ));
            }
        }
    }
    findings
}

/// Flannel's settings: where they are, and their text.
fn settings(subject: &Subject) -> Vec<(&Object, String, String)> {
    let mut found = Vec::new();
    for object in subject.of_kind("", "ConfigMap") {
        let Some(Value::Object(data)) = object.at(&["data"]) else { continue };
        for (key, value) in data {
            let Some(text) = value.as_str() else { continue };
            if key == FLANNEL {
                found.push((object, key.clone(), text.to_owned()));
            } else if text.contains(FLANNEL)
                && let Ok(inner) = Manifest::read(&Source::new("", text))
            {
                // A ClusterResourceSet carries manifests as texts.
                let texts = inner.objects.iter().filter_map(|object| object.text(&["data", FLANNEL]));
                found.extend(texts.map(|text| (object, key.clone(), text.to_owned())));
            }
        }
    }
    found
}

/// Flannel's network against those of pods.
pub(super) fn flannel(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut networks, mut place) = (Vec::new(), None);
    for (object, key, text) in settings(subject) {
        let at = ["data", key.as_str()];
        let Ok(setting) = serde_json::from_str::<Value>(&text) else {
            if !has_variable(&text) {
                let why = format!("flannel's `{FLANNEL}` is no JSON");
                findings.push(super::error(object, &at, why, "write `{\"Network\": \"10.244.0.0/16\", …}`"));
            }
            return findings;
        };
        for key in ["Network", "IPv6Network"] {
            let Some(text) = setting.get(key).and_then(Value::as_str) else { continue };
            match Net::of(text) {
                Some(network) => networks.push(network),
                None if has_variable(&settled(text)) => return findings,
                None => {
                    let why = format!("flannel's `{key}` is `{text}`, which is no network");
                    findings.push(super::error(object, &at, why, "write it as `clusterNetwork.pods` has it"));
                    return findings;
                }
            }
        }
        place.get_or_insert_with(|| object.place(&at));
    }
    let Some(place) = place.filter(|_| !networks.is_empty()) else { return findings };
    networks.truncate(MOST);
    let named: Vec<&str> = networks.iter().map(|network| network.text.as_str()).collect();
    let named = named.join(", ");
    const PODS: [&str; 3] = ["clusterNetwork", "pods", "cidrBlocks"];
    for part in subject.parts(Shape::Cluster) {
        let Some(blocks) = part.at(&PODS) else {
            let why = format!(
                "{} names no network for pods: no node gets a part of it, and flannel waits for one",
                part.object.identity()
            );
            let way_out = format!("write `clusterNetwork.pods.cidrBlocks: [{named}]`");
            findings.push(part.warning(&[], why, way_out).related(place.clone(), "flannel's network"));
            continue;
        };
        for block in nets(Some(blocks)) {
            if !networks.iter().any(|network| network.holds(&block)) {
                let why = format!("pods have {}, and flannel's network is {named}", block.text);
                let way_out =
                    "write the same network in both: flannel's manifest is vendored with 10.244.0.0/16";
                findings.push(part.error(&PODS, why, way_out).related(place.clone(), "flannel's network"));
            }
        }
    }
    findings
}
