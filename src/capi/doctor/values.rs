//! Types and bounds of the fields that the other rules read, as a table.
//!
//! Read in the definitions of the Proxmox provider 0.9 (`config/crd/bases`, v1alpha2) and of Cluster API 1.12. Owns single values. Leaves
//! values against each other to `proxmox` and `networks`. A variable is no value yet; its default is one.

use std::net::IpAddr;

use serde_json::Value;

use super::super::manifests::has_variable;
use super::super::path::expanded;
use super::super::words::Shape;
use super::proxmox::{GREATEST, LEAST, texts};
use super::{Part, Subject, settled};
use crate::base::finding::Finding;
use crate::machine::network::Cidr;

/// Version of an address.
#[derive(Clone, Copy)]
enum Family {
    Four,
    Six,
    Either,
}

impl Family {
    fn has(self, address: &IpAddr) -> bool {
        match self {
            Family::Four => address.is_ipv4(),
            Family::Six => address.is_ipv6(),
            Family::Either => true,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Family::Four => "an IPv4 address",
            Family::Six => "an IPv6 address",
            Family::Either => "an address",
        }
    }
}

/// Content of a field.
#[derive(Clone, Copy)]
enum Is {
    /// A whole number: least, greatest, and the number that it is a multiple of.
    Number(i64, i64, i64),
    /// A text that is not empty.
    Text,
    /// An address.
    Address(Family),
    /// A list of texts.
    Texts,
    /// A list of addresses.
    Addresses,
    /// A list of addresses, ranges `FIRST-LAST` and networks.
    Pools(Family),
    /// A list of networks `ADDRESS/PREFIX`.
    Networks,
}

/// Greatest value of an `int32`.
const INT32: i64 = i32::MAX as i64;
/// Least memory of a machine in MiB: below it not even a kernel starts. 0 stands for the template's.
const MEMORY: i64 = 32;

/// Fields: shape, path with `*` for each item of a list, and what they hold.
const FIELDS: &[(Shape, &[&str], Is)] = &[
    (Shape::Cluster, &["clusterNetwork", "pods", "cidrBlocks"], Is::Networks),
    (Shape::Cluster, &["clusterNetwork", "services", "cidrBlocks"], Is::Networks),
    (Shape::ProxmoxCluster, &["allowedNodes"], Is::Texts),
    (Shape::ProxmoxCluster, &["dnsServers"], Is::Addresses),
    (Shape::ProxmoxCluster, &["controlPlaneEndpoint", "host"], Is::Text),
    (Shape::ProxmoxCluster, &["controlPlaneEndpoint", "port"], Is::Number(1, 65_535, 1)),
    (Shape::ProxmoxCluster, &["ipv4Config", "addresses"], Is::Pools(Family::Four)),
    (Shape::ProxmoxCluster, &["ipv4Config", "prefix"], Is::Number(1, 32, 1)),
    (Shape::ProxmoxCluster, &["ipv4Config", "gateway"], Is::Address(Family::Four)),
    (Shape::ProxmoxCluster, &["ipv4Config", "metric"], Is::Number(0, INT32, 1)),
    (Shape::ProxmoxCluster, &["ipv6Config", "addresses"], Is::Pools(Family::Six)),
    (Shape::ProxmoxCluster, &["ipv6Config", "prefix"], Is::Number(1, 128, 1)),
    (Shape::ProxmoxCluster, &["ipv6Config", "gateway"], Is::Address(Family::Six)),
    (Shape::ProxmoxCluster, &["ipv6Config", "metric"], Is::Number(0, INT32, 1)),
    (Shape::ProxmoxCluster, &["zoneConfig", "*", "dnsServers"], Is::Addresses),
    (Shape::ProxmoxCluster, &["zoneConfig", "*", "ipv4Config", "addresses"], Is::Pools(Family::Four)),
    (Shape::ProxmoxCluster, &["zoneConfig", "*", "ipv4Config", "prefix"], Is::Number(1, 32, 1)),
    (Shape::ProxmoxCluster, &["zoneConfig", "*", "ipv4Config", "gateway"], Is::Address(Family::Four)),
    (Shape::ProxmoxCluster, &["zoneConfig", "*", "ipv6Config", "addresses"], Is::Pools(Family::Six)),
    (Shape::ProxmoxCluster, &["zoneConfig", "*", "ipv6Config", "prefix"], Is::Number(1, 128, 1)),
    (Shape::ProxmoxCluster, &["zoneConfig", "*", "ipv6Config", "gateway"], Is::Address(Family::Six)),
    (Shape::ProxmoxMachine, &["allowedNodes"], Is::Texts),
    (Shape::ProxmoxMachine, &["sourceNode"], Is::Text),
    (Shape::ProxmoxMachine, &["templateID"], Is::Number(LEAST, GREATEST, 1)),
    (Shape::ProxmoxMachine, &["templateSelector", "matchTags"], Is::Texts),
    (Shape::ProxmoxMachine, &["vmIDRange", "start"], Is::Number(LEAST, GREATEST, 1)),
    (Shape::ProxmoxMachine, &["vmIDRange", "end"], Is::Number(LEAST, GREATEST, 1)),
    (Shape::ProxmoxMachine, &["memoryMiB"], Is::Number(MEMORY, INT32, 8)),
    (Shape::ProxmoxMachine, &["numCores"], Is::Number(1, INT32, 1)),
    (Shape::ProxmoxMachine, &["numSockets"], Is::Number(1, INT32, 1)),
    (Shape::ProxmoxMachine, &["disks", "bootVolume", "sizeGb"], Is::Number(5, INT32, 1)),
    (Shape::ProxmoxMachine, &["network", "networkDevices", "*", "bridge"], Is::Text),
    (Shape::ProxmoxMachine, &["network", "networkDevices", "*", "vlan"], Is::Number(1, 4094, 1)),
    (Shape::ProxmoxMachine, &["network", "networkDevices", "*", "dnsServers"], Is::Addresses),
];

/// Values of another type, or outside of their bounds.
pub(super) fn judge(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    for shape in [Shape::Cluster, Shape::ProxmoxCluster, Shape::ProxmoxMachine] {
        for part in subject.parts(shape) {
            for (_, path, is) in FIELDS.iter().filter(|(of, ..)| *of == shape) {
                for at in expanded(part.value, path) {
                    let at: Vec<&str> = at.iter().map(String::as_str).collect();
                    match part.at(&at) {
                        None | Some(Value::Null) => {}
                        Some(value) => field(&part, &at, value, *is, &mut findings),
                    }
                }
            }
        }
    }
    findings
}

/// Judges one field.
fn field(part: &Part<'_>, path: &[&str], value: &Value, is: Is, findings: &mut Vec<Finding>) {
    let name = path.join(".");
    let is_list = matches!(is, Is::Texts | Is::Addresses | Is::Pools(_) | Is::Networks);
    let mut tell = |path: &[&str], (must, way_out): Fault, value: &Value| {
        let why = format!("`{name}` must be {must}, and this is {}", shown(value));
        findings.push(part.error(path, why, way_out));
    };
    match value {
        Value::Array(items) if is_list => {
            for (number, item) in items.iter().enumerate() {
                let fault = match item {
                    Value::String(text) => of_text(text, is),
                    _ => Some(("a list of texts".into(), "put each item in quotes".into())),
                };
                if let Some(fault) = fault {
                    let number = number.to_string();
                    let at: Vec<&str> = path.iter().copied().chain([number.as_str()]).collect();
                    tell(&at, fault, item);
                }
            }
        }
        // A template may have the whole list in one variable.
        Value::String(text) if is_list && has_variable(text) => {
            for text in texts(value) {
                if let Some(fault) = of_text(&text, is) {
                    tell(path, fault, &Value::String(text));
                }
            }
        }
        _ if is_list => {
            tell(path, ("a list of texts".into(), "write it in brackets: `[A, B]`".into()), value)
        }
        Value::String(text) => {
            if let Some(fault) = of_text(text, is) {
                tell(path, fault, value);
            }
        }
        Value::Number(number) => {
            let fault = match (is, number.as_i64()) {
                (Is::Number(..), Some(number)) => of_number(number, is),
                (Is::Number(..), None) => Some(whole(is)),
                _ => Some(("a text".into(), "put it in quotes".into())),
            };
            if let Some(fault) = fault {
                tell(path, fault, value);
            }
        }
        _ => {
            let fault = match is {
                Is::Number(..) => whole(is),
                _ => ("a text".into(), "write one, in quotes if it looks like something else".into()),
            };
            tell(path, fault, value);
        }
    }
}

/// A value for a message, cut if it is long.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::String(text) if text.is_empty() => return "empty".into(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(_) => return "a list".into(),
        Value::Object(_) => return "a mapping".into(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// The words for what a value must be, and the way out.
type Fault = (String, String);

/// The words for numbers.
fn whole(is: Is) -> Fault {
    let Is::Number(least, greatest, step) = is else { return ("a number".into(), String::new()) };
    let must = match (greatest, step) {
        (INT32, 1) => format!("a whole number, {least} or more"),
        (INT32, _) => format!("a multiple of {step}, {least} or more"),
        _ => format!("a whole number from {least} to {greatest}"),
    };
    (must, "write such a number, without quotes".into())
}

fn of_number(number: i64, is: Is) -> Option<Fault> {
    let Is::Number(least, greatest, step) = is else { return None };
    // Of 0 MiB the provider leaves the template's memory (internal/service/vmservice/vm.go).
    let is_unset = number == 0 && least == MEMORY;
    let is_well = (least..=greatest).contains(&number) && number.checked_rem(step) == Some(0);
    (!is_well && !is_unset).then(|| whole(is))
}

fn of_text(original: &str, is: Is) -> Option<Fault> {
    let text = settled(original);
    if has_variable(&text) {
        return None;
    }
    let address = |family: Family, text: &str| text.parse::<IpAddr>().ok().filter(|one| family.has(one));
    match is {
        // The API server takes no text for a number; a variable has no quotes in the end.
        Is::Number(..) if !has_variable(original) => Some(whole(is)),
        Is::Number(..) => text.parse().map_or_else(|_| Some(whole(is)), |number| of_number(number, is)),
        Is::Text | Is::Texts => {
            text.is_empty().then(|| ("a text that is not empty".into(), "write it, or leave it out".into()))
        }
        Is::Address(family) => address(family, &text).is_none().then(|| {
            let example = if matches!(family, Family::Six) { "fd00::1" } else { "10.0.0.1" };
            (family.words().into(), format!("write it without a prefix, such as {example}"))
        }),
        Is::Addresses => address(Family::Either, &text).is_none().then(|| {
            (
                "a list of addresses".into(),
                "write addresses alone, such as 10.0.0.1: machines cannot ask for names yet".into(),
            )
        }),
        Is::Pools(family) => {
            let fault = |why: &str| {
                let must = format!("a list of addresses, ranges and networks of {}", family.words());
                Some((must, why.to_owned()))
            };
            const FORMS: &str = "write 10.0.0.10, 10.0.0.10-10.0.0.20 or 10.0.0.16/28, without blanks";
            if let Some((first, last)) = text.split_once('-') {
                return match (address(family, first), address(family, last)) {
                    (Some(first), Some(last)) if first <= last => None,
                    (Some(first), Some(last)) => {
                        fault(&format!("the range ends before it begins: write {last}-{first}"))
                    }
                    _ => fault(FORMS),
                };
            }
            match text.contains('/') {
                true if network(&text).is_some_and(|one| family.has(&one)) => None,
                false if address(family, &text).is_some() => None,
                _ => fault(FORMS),
            }
        }
        Is::Networks => network(&text).is_none().then(|| {
            ("a list of networks".into(), "write an address with its prefix, such as 192.168.0.0/16".into())
        }),
    }
}

/// The address of `ADDRESS/PREFIX`.
fn network(text: &str) -> Option<IpAddr> {
    text.parse::<Cidr>().ok().map(|cidr| cidr.address)
}
