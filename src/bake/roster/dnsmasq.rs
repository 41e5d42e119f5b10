//! dnsmasq's leases (`EXPIRY MAC ADDRESS NAME CLIENT-ID`) and its `dhcp-host=` lines, as its source reads them: values by
//! commas in any order, told apart by their form.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Field, Row, Rows};
use crate::base::finding::{Finding, Place, Source};
use crate::machine::node::Mac;

/// Beginnings of lines of a config that reserve an address.
const HOST: [&str; 2] = ["dhcp-host=", "--dhcp-host="];

/// Whether a line is of one of these files.
pub(super) fn is_line(line: &str) -> bool {
    host(line).is_some() || is_lease(line)
}

/// Reads the machines of leases, of a config, or of a file for `dhcp-hostsfile`.
pub(super) fn read(source: &Arc<Source>, rows: &mut Rows) {
    let is_config = source.text.lines().any(|line| host(line).is_some());
    let mut lines = source.text.lines().enumerate().map(|(index, line)| (index + 1, line));
    for (number, line) in &mut lines {
        let place = |text: &str| {
            let before = line.find(text).and_then(|at| line.get(..at)).unwrap_or_default();
            Place { source: source.clone(), line: number, column: before.chars().count() + 1 }
        };
        // The rest are leases of DHCPv6, which have no MAC addresses.
        if line.starts_with("duid ") {
            return;
        }
        let plain = line.split('#').next().unwrap_or_default().trim();
        match host(line) {
            Some(values) => reservation(values, &place, rows),
            None if is_lease(line) => lease(line, &place, rows),
            None if plain.is_empty() || is_config => {}
            None => reservation(plain, &place, rows),
        }
    }
}

/// The values of a reservation in a config.
fn host(line: &str) -> Option<&str> {
    let line = line.trim();
    let values = HOST.iter().find_map(|begin| line.strip_prefix(begin))?;
    Some(values.split(" #").next().unwrap_or(values))
}

fn is_lease(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [expiry, mac, address, _, ..] = words[..] else { return line.starts_with("duid ") };
    let is_time = expiry.bytes().all(|byte| byte.is_ascii_digit());
    is_time && mac.contains(':') && address.parse::<IpAddr>().is_ok()
}

fn lease(line: &str, place: &impl Fn(&str) -> Place, rows: &mut Rows) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, mac, address, name, ..] = words[..] else { return };
    // Hardware of another type has its number before the address: `06-00:11:…`.
    if mac.contains('-') {
        let text = format!("{mac} is not an Ethernet address; the lease is left out");
        rows.findings.push(Finding::warning(text).at(place(mac)));
        return;
    }
    let mut row = Row::new(place(mac), false);
    row.put(Field::Mac, mac, &place(mac));
    row.put(Field::Ip, address, &place(address));
    if name != "*" {
        row.put(Field::Name, name, &place(name));
    }
    rows.push(row);
}

fn reservation(values: &str, place: &impl Fn(&str) -> Place, rows: &mut Rows) {
    let mut row = Row::new(place(values), false);
    let mut macs: Vec<&str> = Vec::new();
    let mut wild = None;
    let parts: Vec<&str> = values.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    for part in parts {
        let address = part.trim_start_matches('[').trim_end_matches(']');
        if part.parse::<Mac>().is_ok() && part.contains(':') {
            macs.push(part);
        } else if let Ok(address) = address.parse::<IpAddr>() {
            // A machine of both families keeps the one that our server can give.
            if address.is_ipv4() || !row.values.contains_key(&Field::Ip) {
                row.put(Field::Ip, &address.to_string(), &place(part));
            }
        } else if part.contains('*') && part.contains(':')
            || part.len() > 17 && part.contains("-") && part.contains(':')
        {
            wild = Some(part);
        } else if ["id:", "set:", "tag:", "net:"].iter().any(|begin| part.starts_with(begin)) || part == "*" {
            // Client identifiers and tags select machines by what they send.
        } else if part == "ignore" {
            let finding = Finding::warning("dnsmasq ignores this machine; it is left out").at(place(part));
            rows.findings.push(finding);
            return;
        } else if is_time(part) {
            // The time of a lease.
        } else if !row.values.contains_key(&Field::Name) {
            row.put(Field::Name, part, &place(part));
        }
    }
    let [mac, others @ ..] = &macs[..] else {
        let why = wild
            .map_or("it names no MAC address".to_owned(), |wild| format!("`{wild}` is not one MAC address"));
        rows.findings.push(Finding::warning(format!("this line is left out: {why}")).at(place(values)));
        return;
    };
    if !others.is_empty() {
        let text = format!("a node has one MAC address: {mac} is taken, and {} left out", others.join(", "));
        rows.findings.push(Finding::warning(text).at(place(values)));
    }
    row.put(Field::Mac, mac, &place(mac));
    rows.push(row);
}

/// Whether dnsmasq reads this as the time of a lease.
fn is_time(part: &str) -> bool {
    let digits = part.strip_suffix(['s', 'm', 'h', 'd', 'w']).unwrap_or(part);
    part == "infinite" || !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}
