//! Rules about Proxmox: addresses, ids, devices, templates (api/v1alpha2 and webhooks of the provider 0.9).

use std::net::IpAddr;

use serde_json::Value;

use super::super::manifests::has_variable;
use super::super::words::{CONTROL_PLANE, CORE, Shape};
use super::{Subject, number};
use crate::base::finding::Finding;

/// Least VM id.
pub(super) const LEAST: i64 = 100;
/// Greatest VM id.
pub(super) const GREATEST: i64 = 999_999_999;

/// Clusters without pools, gateways or name servers.
pub(super) fn addresses(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in subject.parts(Shape::ProxmoxCluster) {
        let configs = ["ipv4Config", "ipv6Config"];
        if configs.iter().all(|config| part.at(&[config]).is_none()) && part.at(&["zoneConfig"]).is_none() {
            findings.push(part.error(
                &[],
                format!(
                    "{} has no addresses for machines: the provider asks no DHCP server",
                    part.object.identity()
                ),
                "write `ipv4Config` with `addresses`, `prefix` and `gateway`",
            ));
        }
        for config in configs.iter().filter(|config| part.at(&[config]).is_some()) {
            for (key, example) in
                [("addresses", "[10.0.0.10-10.0.0.20]"), ("prefix", "24"), ("gateway", "10.0.0.1")]
            {
                let value = part.at(&[config, key]);
                if value.is_none_or(|value| value.is_null() || value.as_array().is_some_and(Vec::is_empty)) {
                    let why = match key {
                        "gateway" => format!(
                            "`{config}` has no gateway: the provider refuses machines without a default route"
                        ),
                        _ => format!("`{config}` has no `{key}`"),
                    };
                    findings.push(part.error(&[config], why, format!("write `{key}`, such as {example}")));
                }
            }
        }
        // Of a control plane that somebody else manages, its provider names the endpoint (validateControlPlaneEndpoint).
        let is_external =
            part.at(&["externalManagedControlPlane"]).is_some_and(|value| value != &Value::Bool(false));
        if !is_external && part.at(&["controlPlaneEndpoint", "host"]).is_none_or(Value::is_null) {
            findings.push(part.error(
                &["controlPlaneEndpoint"],
                format!("{} has no `controlPlaneEndpoint.host`, which the provider refuses", part.object.identity()),
                "write an address beside the pool, which kube-vip will hold: `controlPlaneEndpoint: {host: 10.0.0.9, port: 6443}`",
            ));
        }
        let servers = part.at(&["dnsServers"]);
        if servers.is_none_or(|servers| servers.is_null() || servers.as_array().is_some_and(Vec::is_empty)) {
            findings.push(part.error(
                &["dnsServers"],
                format!("{} has no `dnsServers`", part.object.identity()),
                "write at least one: `dnsServers: [10.0.0.1]`",
            ));
        }
    }
    findings
}

/// A range of addresses, as numbers: `a-b`, `a/prefix` or `a`; none if it ends before it begins.
pub(super) fn range(text: &str) -> Option<(u128, u128)> {
    let of = |text: &str| -> Option<(u128, u32)> {
        Some(match text.trim().parse().ok()? {
            IpAddr::V4(address) => (u32::from(address).into(), 32),
            IpAddr::V6(address) => (address.into(), 128),
        })
    };
    if let Some((first, last)) = text.split_once('-') {
        let ((first, bits), (last, other)) = (of(first)?, of(last)?);
        return (bits == other && first <= last).then_some((first, last));
    }
    if let Some((address, prefix)) = text.split_once('/') {
        let (address, bits) = of(address)?;
        let host = bits.checked_sub(prefix.trim().parse().ok()?)?;
        let mask = 1_u128.checked_shl(host).map_or(u128::MAX, |above| above - 1);
        return Some((address & !mask, address | mask));
    }
    of(text).map(|(address, _)| (address, address))
}

/// The texts of a list, which a template may have in one variable: `${X:=[a, b]}`.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(super::settled).collect(),
        Value::String(text) => {
            let text = super::settled(text);
            let inner =
                text.trim().strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(&text);
            inner.split(',').map(|text| text.trim().trim_matches(['"', '\'']).to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

/// The endpoint among the machines' addresses.
pub(super) fn endpoint(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in subject.parts(Shape::ProxmoxCluster) {
        let Some(host) = part.text(&["controlPlaneEndpoint", "host"]) else { continue };
        let Some((address, _)) = host.parse::<IpAddr>().ok().and_then(|_| range(&host)) else { continue };
        for config in ["ipv4Config", "ipv6Config"] {
            if host.contains(':') != (config == "ipv6Config") {
                continue;
            }
            let pools = part.at(&[config, "addresses"]).map(texts).unwrap_or_default();
            for pool in pools {
                if range(&pool).is_some_and(|(first, last)| (first..=last).contains(&address)) {
                    findings.push(part.error(
                        &["controlPlaneEndpoint", "host"],
                        format!("the control plane's address {host} is in the machines' pool {pool}, which the provider refuses"),
                        "take an address beside the pool, in the same network",
                    ));
                }
            }
        }
    }
    findings
}

/// How many machines there will be, as far as replicas are numbers.
fn machines(subject: &Subject) -> i64 {
    let of = |group: &'static str, kind: &'static str| {
        subject
            .of_kind(group, kind)
            .filter_map(|object| object.at(&["spec", "replicas"]).and_then(number))
            .sum::<i64>()
    };
    of(CONTROL_PLANE, "KubeadmControlPlane") + of(CORE, "MachineDeployment")
}

/// Pools and ranges that are smaller than the cluster.
pub(super) fn small(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    let wanted = machines(subject);
    for part in subject.parts(Shape::ProxmoxCluster) {
        let pools = part.at(&["ipv4Config", "addresses"]).map(texts).unwrap_or_default();
        let ranges: Vec<_> =
            pools.iter().filter(|pool| !pool.contains(':')).filter_map(|pool| range(pool)).collect();
        if ranges.len() != pools.len() || ranges.is_empty() {
            continue;
        }
        let size = ranges
            .iter()
            .map(|(first, last)| last.saturating_sub(*first).saturating_add(1))
            .fold(0, u128::saturating_add);
        if u128::try_from(wanted).is_ok_and(|wanted| wanted > size) {
            findings.push(part.error(
                &["ipv4Config", "addresses"],
                format!("the pool has {size} addresses for {wanted} machines"),
                "make it larger by one at least: a machine that is replaced has a successor beside it for a while",
            ));
        }
    }
    let is_alone = subject.parts(Shape::ProxmoxMachine).nth(1).is_none();
    for part in subject.parts(Shape::ProxmoxMachine) {
        let bound = |key: &str| part.at(&["vmIDRange", key]).and_then(number);
        let (Some(start), Some(end)) = (bound("start"), bound("end")) else { continue };
        if end < start {
            findings.push(part.error(
                &["vmIDRange"],
                format!("{start} to {end} is no range of VM ids"),
                format!("ids are {LEAST} to {GREATEST}, the first not above the last"),
            ));
        } else if end - start + 1 < wanted && is_alone {
            findings.push(part.error(
                &["vmIDRange"],
                format!("the range has {} ids for {wanted} machines", end - start + 1),
                "make it larger by one at least: a machine that is replaced has a successor beside it for a while",
            ));
        }
    }
    findings
}

/// Names of devices.
pub(super) fn devices(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in subject.parts(Shape::ProxmoxMachine) {
        let devices = part.items(&["network", "networkDevices"]);
        let mut names: Vec<&str> = devices.iter().filter_map(|device| device.get("name")?.as_str()).collect();
        if names.iter().any(|name| has_variable(name)) {
            continue;
        }
        names.sort_by_key(|name| name.strip_prefix("net").and_then(|number| number.parse::<u32>().ok()));
        let expected: Vec<String> = (0..devices.len()).map(|at| format!("net{at}")).collect();
        if names != expected {
            findings.push(part.error(
                &["network", "networkDevices"],
                format!(
                    "network devices are called {}, and the provider takes {}",
                    listed(&names),
                    expected.join(", ")
                ),
                "number them from net0 without a gap, each with its `name`",
            ));
        }
    }
    findings
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => "nothing".into(),
        _ => names.join(", "),
    }
}

/// Where machines are cloned from.
pub(super) fn template(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in subject.parts(Shape::ProxmoxMachine) {
        let by_id = part.at(&["templateID"]).is_some_and(|id| !id.is_null());
        let by_tags = part.at(&["templateSelector"]).is_some_and(|selector| !selector.is_null());
        let has_node = part.at(&["sourceNode"]).is_some_and(|node| !node.is_null());
        let fault = match (by_id, by_tags, has_node) {
            (true, true, _) => Some("names its template by `templateID` and by `templateSelector`"),
            (false, false, _) => Some("names no template"),
            (true, false, false) => Some("names its template by `templateID` without a `sourceNode`"),
            (false, true, true) => {
                Some("names its template by `templateSelector`, and a `sourceNode` beside it")
            }
            _ => None,
        };
        if let Some(fault) = fault {
            findings.push(part.error(
                if by_tags { &["templateSelector"] } else { &[] },
                format!("{} {fault}; it must be by id on a node, or by tags", part.object.identity()),
                "write `templateID` with `sourceNode`, or `templateSelector.matchTags` alone",
            ));
        }
        let is_full = part.at(&["full"]).is_none_or(|full| full != &Value::Bool(false));
        for key in ["format", "storage"].iter().filter(|key| !is_full && part.at(&[key]).is_some()) {
            findings.push(part.error(
                &[key],
                format!(
                    "`{key}` is there with `full: false`: a linked clone stays where and as its template is"
                ),
                "set `full: true`, or leave it out",
            ));
        }
    }
    findings
}

/// The check of cloud-init's state.
pub(super) fn cloud_init(subject: &Subject) -> Vec<Finding> {
    if !subject.has_ignition() {
        return Vec::new();
    }
    let parts = subject.parts(Shape::ProxmoxMachine);
    parts
        .filter(|part| {
            let skip = part.at(&["checks", "skipCloudInitStatus"]);
            // Without the guest agent nothing is asked at all.
            let agent = part.at(&["checks", "skipQemuGuestAgent"]);
            let is_on = |value: Option<&Value>| {
                value.is_some_and(|value| value == &Value::Bool(true) || value.as_str().is_some_and(has_variable))
            };
            !is_on(skip) && !is_on(agent)
        })
        .map(|part| {
            part.error(
                &["checks"],
                format!("{} is asked for the state of cloud-init, which Flatcar does not have: the machine never counts as ready", part.object.identity()),
                "set `checks.skipCloudInitStatus: true`",
            )
        })
        .collect()
}
