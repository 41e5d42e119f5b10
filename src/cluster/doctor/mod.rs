//! The examination of a site before its machines are switched on: what would keep them from booting, found in seconds by the
//! boot server instead of in an hour at the rack.
//!
//! ```text
//! Cluster, Place ─▶ Site ─▶ CHECKS ─▶ Check (verdict, what was found, the way out)
//!                            ├ offers       a DHCPDISCOVER as firmware sends it, and who answers
//!                            └ neighbours   which card has an address, as the kernel asks by ARP
//! ```
//! Owns verdicts as data. Leaves words on screens to `cli`, and the description's own faults to `description`.

mod neighbours;
mod offers;

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::geteuid;
use serde::Serialize;

use crate::base::clock;
use crate::base::size::Bytes;
use crate::cluster::description::{Cluster, Storage};
use crate::cluster::hold::Hold;
use crate::cluster::place::Place;
use crate::machine::firmware::PLATFORMS;
use crate::serve::lan::interface::Interface;
use crate::serve::lan::ports::{Port, Protocol};
use offers::Offer;

/// The port of the boot server.
pub const HTTP: u16 = 8080;
/// The ports of TFTP and DHCP.
const TFTP: u16 = 69;
const DHCP: u16 = 67;
/// The kernel's table of interfaces, and where their properties are.
const INTERFACES: &str = "/proc/net/dev";
const CARDS: &str = "/sys/class/net";
/// How long answers of other machines are awaited. A DHCP server that looks whether an address is in use takes a second or two.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Free space that a first build needs: Flatcar, images, and the tree.
const ROOM: u64 = 4 << 30;
/// Free space that a server needs that has its tree.
const LITTLE: u64 = 64 << 20;
/// Capabilities for ports below 1024 and for sockets of one interface, by their numbers (capabilities(7)).
const CAPABILITIES: [(u32, &str); 2] = [(10, "CAP_NET_BIND_SERVICE"), (13, "CAP_NET_RAW")];

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Machines will not boot, or not form the cluster.
    Wrong,
    /// It may be meant so.
    Doubtful,
    /// It cannot be found out from here.
    Unknown,
    /// Nothing is in the way.
    Well,
}

impl Verdict {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Wrong => "wrong",
            Verdict::Doubtful => "doubtful",
            Verdict::Unknown => "unknown",
            Verdict::Well => "well",
        }
    }
}

/// One check with its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Name of the check, of one word: `address`.
    pub name: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// The finding, in a sentence.
    pub found: String,
    /// The way out, if anything is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_out: Option<String>,
}

/// A verdict before it has its check's name.
struct Found(Verdict, String, Option<String>);

fn well(found: impl Into<String>) -> Found {
    Found(Verdict::Well, found.into(), None)
}

fn wrong(found: impl Into<String>, way_out: impl Into<String>) -> Found {
    Found(Verdict::Wrong, found.into(), Some(way_out.into()))
}

fn doubtful(found: impl Into<String>, way_out: impl Into<String>) -> Found {
    Found(Verdict::Doubtful, found.into(), Some(way_out.into()))
}

fn unknown(found: impl Into<String>, way_out: impl Into<String>) -> Found {
    Found(Verdict::Unknown, found.into(), Some(way_out.into()))
}

/// A site to examine.
pub struct Subject<'c> {
    /// The cluster.
    pub cluster: &'c Cluster,
    /// Its files.
    pub place: &'c Place,
    /// The store, if there is a place for one.
    pub store: Option<PathBuf>,
    /// Directory of the iPXE binaries.
    pub ipxe: PathBuf,
    /// The moment until which the cluster's keys count.
    pub ends: Option<SystemTime>,
}

/// The subject with what all checks ask of this host.
struct Site<'s> {
    subject: &'s Subject<'s>,
    /// The interface with the description's address.
    interface: Option<Interface>,
    /// The process that serves this cluster already.
    served: Option<String>,
    /// Answers to a DHCPDISCOVER; an error says why none was sent.
    offers: Result<Vec<Offer>, String>,
}

/// Name and examination of one thing.
type Row = (&'static str, fn(&Site<'_>) -> Found);
/// All checks, in the order in which people put things right.
const CHECKS: [Row; 12] = [
    ("rights", rights),
    ("clock", of_clock),
    ("disk", room),
    ("address", address),
    ("link", link),
    ("network", network),
    ("ports", of_ports),
    ("loaders", loaders),
    ("dhcp", dhcp),
    ("rivals", rivals),
    ("addresses", addresses),
    ("firewall", firewall),
];

/// The interface of the boot server: the one that the description names, else the one with its address.
pub fn interface(cluster: &Cluster) -> Option<String> {
    let named = cluster.bootstrap.interface.as_ref().map(|name| name.value.clone());
    named.or_else(|| found(cluster).map(|interface| interface.name))
}

fn found(cluster: &Cluster) -> Option<Interface> {
    let own = cluster.bootstrap.ip.value;
    let all = interfaces().filter_map(|name| Interface::find(&name).ok());
    match &cluster.bootstrap.interface {
        Some(name) => Interface::find(&name.value).ok(),
        // A second address of an interface is in the network of its first, or that one is.
        None => {
            let mut near: Vec<Interface> = all
                .filter(|interface| interface.address == own || interface.network.contains(own))
                .filter(|_| is_local(own))
                .collect();
            near.sort_by_key(|interface| interface.address != own);
            near.into_iter().next()
        }
    }
}

/// The interfaces of this process's network namespace. `/sys` shows those of the namespace that it was mounted in, which may be
/// another one (sysfs(5), network_namespaces(7)).
fn interfaces() -> impl Iterator<Item = String> {
    let table = fs::read_to_string(INTERFACES).unwrap_or_default();
    let names: Vec<String> = table.lines().filter_map(interface_of).map(str::to_owned).collect();
    names.into_iter()
}

/// The interface of a line of the kernel's table: its name, a colon, and numbers. The lines above have no colon behind one word.
fn interface_of(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(':')?;
    Some(name.trim()).filter(|name| !name.is_empty() && !name.contains(char::is_whitespace))
}

/// Whether this host has an address.
fn is_local(address: Ipv4Addr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// Examines a site. Nothing is changed; some packets are sent, as a machine that boots sends them.
pub fn examine(subject: &Subject<'_>) -> Vec<Check> {
    let interface = found(subject.cluster);
    let held = Hold::holder(subject.place).ok().flatten();
    let served =
        held.map(|holder| holder.map_or_else(|| "another process".to_owned(), |holder| holder.to_string()));
    let own = subject.cluster.bootstrap.ip.value;
    let offers = match &interface {
        None => Err("the interface is not known".to_owned()),
        Some(interface) => offers::ask(interface, PATIENCE)
            .map(|offers| {
                offers
                    .into_iter()
                    .filter(|offer| offer.server != own && offer.server != interface.address)
                    .collect()
            })
            .map_err(|error| format!("no DHCP request can be sent on {}: {error}", interface.name)),
    };
    let site = Site { subject, interface, served, offers };
    let check = |(name, check): &(&'static str, fn(&Site<'_>) -> Found)| {
        let Found(verdict, found, way_out) = check(&site);
        Check { name, verdict, found, way_out }
    };
    CHECKS.iter().map(check).collect()
}

/// The capabilities that this process lacks.
fn lacking() -> Vec<&'static str> {
    if geteuid().is_root() && !fs::exists("/proc/self/status").unwrap_or_default() {
        return Vec::new();
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    CAPABILITIES.iter().filter(|(bit, _)| mask >> bit & 1 == 0).map(|(_, name)| *name).collect()
}

fn rights(_: &Site<'_>) -> Found {
    match lacking().as_slice() {
        [] => well("ports below 1024 and the interface may be used"),
        lack => wrong(
            format!("this process lacks {}", lack.join(" and ")),
            "start it as root, in a container with `--cap-add NET_RAW --cap-add NET_BIND_SERVICE`, or as a service with \
             AmbientCapabilities=",
        ),
    }
}

fn of_clock(site: &Site<'_>) -> Found {
    let now = SystemTime::now();
    let way_out =
        "set the clock (`date -u -s`, `timedatectl set-time`): machines take their time from this server";
    // The newest of what was written here before: a clock that is behind it was set back, or its battery is empty.
    let Subject { place, ends, .. } = site.subject;
    let written = [place.tree().join(crate::tree::names::MANIFEST), place.state(), place.kubeconfig()];
    let newest = written.iter().filter_map(|path| fs::metadata(path).ok()?.modified().ok()).max();
    let shows = clock::date(now);
    match (clock::is_behind(now), newest, ends) {
        (true, ..) => wrong(format!("the clock shows {shows}, before this program was written"), way_out),
        (_, Some(newest), _) if newest > now + Duration::from_secs(60) => wrong(
            format!(
                "the clock shows {shows}, before {}, when this cluster's files were written",
                clock::date(newest)
            ),
            way_out,
        ),
        (.., Some(ends)) if *ends <= now => wrong(
            format!("the clock shows {shows}, and the cluster's keys counted until {}", clock::date(*ends)),
            "set the clock if it is wrong; else the cluster needs new authorities",
        ),
        _ => well(format!("{shows} is plausible")),
    }
}

fn room(site: &Site<'_>) -> Found {
    let Subject { place, store, .. } = site.subject;
    let is_built = place.tree().exists();
    let needed = if is_built { LITTLE } else { ROOM };
    let mut least: Option<(u64, PathBuf)> = None;
    for path in [Some(place.output().to_owned()), store.clone()].into_iter().flatten() {
        let there = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned();
        let Ok(stat) = rustix::fs::statvfs(&there) else { continue };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if least.as_ref().is_none_or(|(known, _)| free < *known) {
            least = Some((free, there));
        }
    }
    match least {
        None => unknown("the free space cannot be found out", "look at `df`"),
        Some((free, path)) if free < LITTLE => wrong(
            format!("{} are free in {}", Bytes(free), path.display()),
            "make room (`prebake prune`, `prebake store gc`), or choose another place with --output and --store",
        ),
        Some((free, path)) if free < needed => doubtful(
            format!(
                "{} are free in {}, and a first build takes up to {}",
                Bytes(free),
                path.display(),
                Bytes(needed)
            ),
            "make room (`prebake prune`, `prebake store gc`), or choose another place with --output and --store",
        ),
        Some((free, path)) => well(format!("{} are free in {}", Bytes(free), path.display())),
    }
}

fn address(site: &Site<'_>) -> Found {
    let bootstrap = &site.subject.cluster.bootstrap;
    let own = bootstrap.ip.value;
    match (&site.interface, is_local(own)) {
        (Some(interface), true) => well(format!("{own} is on {}", interface.name)),
        (_, false) => wrong(
            format!("this host does not have the address {own} (`bootstrap.ip`)"),
            "give it to the interface that the machines are on (`ip address add`), or write this host's address into the description",
        ),
        (None, true) => wrong(
            format!("no interface that is up has {own} (`bootstrap.ip`)"),
            "`ip -4 address` lists the interfaces; name one as `bootstrap.interface`",
        ),
    }
}

fn link(site: &Site<'_>) -> Found {
    let Some(Interface { name, .. }) = &site.interface else {
        return unknown("the interface is not known", "see `address`");
    };
    if !Path::new(CARDS).join(name).exists() {
        return unknown(
            format!("whether {name} has a link is not shown here: {CARDS} is of another network namespace"),
            format!("look at `ip link show {name}`"),
        );
    }
    let read = |file: &str| {
        fs::read_to_string(format!("{CARDS}/{name}/{file}")).unwrap_or_default().trim().to_owned()
    };
    // `unknown` is what virtual interfaces say that are up; reading `carrier` of one that is down fails.
    match (read("operstate").as_str(), read("carrier").as_str()) {
        ("up" | "unknown", "1") => well(format!("{name} has a link")),
        (state, _) => wrong(
            format!("{name} has no link (it is {state})"),
            format!("look at the cable and the switch's port, and `ip link set {name} up`"),
        ),
    }
}

fn network(site: &Site<'_>) -> Found {
    let cluster = site.subject.cluster;
    let Some(interface) = &site.interface else {
        return unknown("the interface is not known", "see `address`");
    };
    let (here, wanted) = (interface.network.to_string(), cluster.network.to_string());
    match here == wanted {
        true => well(format!("{} is in {wanted}, as the machines", interface.name)),
        false => wrong(
            format!("{} is in {here}, and the machines are in {wanted}", interface.name),
            "write the network of this interface into the description, or serve from a host in that of the machines: their firmware \
             asks by broadcast, which no router passes on",
        ),
    }
}

fn of_ports(site: &Site<'_>) -> Found {
    let wanted = [
        Port { number: HTTP, protocol: Protocol::Tcp },
        Port { number: TFTP, protocol: Protocol::Udp },
        Port { number: DHCP, protocol: Protocol::Udp },
    ];
    let mut taken = Vec::new();
    for port in wanted {
        match port.taken() {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return unknown(format!("{port} may not be used: {error}"), "see `rights`");
            }
            Err(error) => return unknown(format!("{port} cannot be tried: {error}"), "look at `ss -lntup`"),
            Ok(None) => {}
            Ok(Some(whose)) => taken.push(format!("{port} by {whose}")),
        }
    }
    match (&site.served, taken.is_empty()) {
        (_, true) => well(format!("TCP {HTTP}, UDP {TFTP} and UDP {DHCP} are free")),
        (Some(served), false) => well(format!("{} serves this cluster already", served)),
        (None, false) => wrong(
            format!("in use: {}", taken.join(", ")),
            "stop these: a boot server or dnsmasq of another project cannot run beside this one on the same ports (`ss -lntup`)",
        ),
    }
}

fn loaders(site: &Site<'_>) -> Found {
    let directory = &site.subject.ipxe;
    let (there, lack): (Vec<&str>, Vec<&str>) = PLATFORMS[..2]
        .iter()
        .map(|platform| platform.loader)
        .partition(|loader| directory.join(loader).is_file());
    let way_out = "install Debian's package `ipxe`, or name a directory of iPXE binaries with --ipxe-dir";
    match (there.is_empty(), lack.is_empty()) {
        (_, true) => well(format!("{} has {}", directory.display(), there.join(" and "))),
        (true, _) => wrong(format!("{} has no iPXE binaries", directory.display()), way_out),
        (false, _) => doubtful(
            format!("{} has no {}, which some machines need", directory.display(), lack.join(", ")),
            way_out,
        ),
    }
}

fn dhcp(site: &Site<'_>) -> Found {
    let gives = site.subject.cluster.bootstrap.dhcp;
    let offers = match &site.offers {
        Ok(offers) => offers,
        Err(why) => return unknown(why.clone(), "see `address` and `rights`"),
    };
    let lenders: BTreeSet<String> =
        offers.iter().filter(|offer| offer.lends()).map(|offer| offer.server.to_string()).collect();
    let names = lenders.into_iter().collect::<Vec<_>>().join(", ");
    match (gives, names.is_empty()) {
        (true, true) => well("no other DHCP server answers, and this one gives the addresses"),
        (false, false) => {
            well(format!("the DHCP server {names} gives the addresses, and this one the boot files"))
        }
        (true, false) => wrong(
            format!("another DHCP server answers: {names}; machines take the first answer, by chance"),
            "stop that one, or take `dhcp: true` out of `bootstrap:`, so that it gives the addresses and this one the boot files",
        ),
        (false, true) => wrong(
            "no DHCP server answers, so that firmware gets no address",
            "write `dhcp: true` into `bootstrap:`, so that this server gives the addresses; or look at the DHCP server, and whether the \
             switch keeps its answers back (DHCP snooping)",
        ),
    }
}

fn rivals(site: &Site<'_>) -> Found {
    let Ok(offers) = &site.offers else { return unknown("it was not asked who answers", "see `dhcp`") };
    let booters: BTreeSet<String> = offers.iter().filter_map(Offer::boots).collect();
    match booters.is_empty() {
        true => well("no other boot server answers"),
        false => wrong(
            format!("another boot server answers: {}", booters.into_iter().collect::<Vec<_>>().join("; ")),
            "one of the two must go: stop it (`prebake cluster teardown` where it runs, or the boot options of the DHCP server), or \
             give each its own network",
        ),
    }
}

/// Addresses that the cluster will have must be nobody's, or its own machines' (kube-vip/kube-vip#1385, #996).
fn addresses(site: &Site<'_>) -> Found {
    let cluster = site.subject.cluster;
    if site.interface.is_none() {
        return unknown("the interface is not known", "see `address`");
    }
    let vip = cluster.vip.as_ref().filter(|vip| !vip.external).map(|vip| vip.address.value);
    let nodes = cluster.nodes.iter().map(|node| (node.ip.value, Some(node)));
    let wanted: Vec<_> = vip.map(|vip| (vip, None)).into_iter().chain(nodes).collect();
    let asked: Vec<Ipv4Addr> = wanted.iter().map(|(address, _)| *address).collect();
    let answers = match neighbours::ask(&asked, PATIENCE) {
        Ok(answers) => answers,
        Err(error) => return unknown(format!("nobody can be asked: {error}"), "see `address`"),
    };
    let mut taken = Vec::new();
    let mut there = 0;
    for (address, node) in &wanted {
        let Some(card) = answers.get(address) else { continue };
        let owner = cluster.nodes.iter().find(|node| node.mac.value.to_string() == *card);
        match (node, owner) {
            // Of the shared address, any controller is the owner.
            (None, Some(_)) => there += 1,
            (Some(node), Some(owner)) if node.name.value == owner.name.value => there += 1,
            (None, None) => {
                taken.push(format!("{address}, the address of the API server, is that of {card}"))
            }
            (Some(node), Some(owner)) => {
                taken.push(format!(
                    "{address}, the address of {}, is that of {}",
                    node.name.value, owner.name.value
                ));
            }
            // Installed on disk, or with a bond: a machine may answer with another of its cards.
            (Some(node), None) => taken
                .push(format!("{address}, the address of {}, is that of the card {card}", node.name.value)),
        }
    }
    match taken.is_empty() {
        true if there == 0 => well("no machine has the cluster's addresses yet"),
        true => well(format!("{there} of the cluster's addresses are those of its machines")),
        false => wrong(
            format!("others have the cluster's addresses: {}", taken.join("; ")),
            "find these machines by their cards (`ip neighbour`), or choose other addresses outside of the DHCP server's range",
        ),
    }
}

fn firewall(site: &Site<'_>) -> Found {
    let reads = site.subject.cluster.nodes.iter().any(|node| matches!(node.storage, Storage::Memory));
    let always = if reads { ", at each boot of machines without a disk" } else { "" };
    unknown(
        format!("whether a firewall drops packets is seen only by machines{always}"),
        format!(
            "on this host UDP {DHCP}, {TFTP} and 4011 and TCP {HTTP} must come in (`nft list ruleset`, `iptables -S`); between nodes, \
             TCP 6443, 2379-2380, 10250 and what the network plugin needs"
        ),
    )
}

/// Whether anything is wrong.
pub fn is_wrong(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.verdict == Verdict::Wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_those_of_the_kernels_table_and_its_heading_is_none() {
        let table = "Inter-|   Receive                |  Transmit\n face |bytes    packets errs\n    lo: 1 2 3\n  br0:9 8\nenp0s31f6.7: 0 0\n";
        let names: Vec<&str> = table.lines().filter_map(interface_of).collect();
        assert_eq!(names, ["lo", "br0", "enp0s31f6.7"]);
        assert!(interfaces().any(|name| name == "lo"));
    }
}
