//! Findings about values that cannot be right together, and the step from a draft to a [`Cluster`].

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::decode::{BootstrapDraft, Draft, Machine, Part};
use super::{Bootstrap, Cluster, Node, Power, Role, Storage, versions};
use crate::base::finding::{Finding, Place};
use crate::base::size::Bytes;
use crate::base::yaml::decode::{Decoder, Spanned};
use crate::flatcar::version::VersionWish;
use crate::machine::network::Network;
use crate::machine::node::Mac;

/// Bits of the addresses of pods that each node takes: `node-cidr-mask-size` of the controller manager.
const NODE_PREFIX: u8 = 24;
/// Most bits between a subnet of pods and a node's part of it: kubeadm's `PodSubnetNodeMaskMaxDiff`.
const MAX_NODE_BITS: u8 = 16;
/// Shortest prefix of a subnet of services: the API server's `maxCIDRBits` of 20.
const MIN_SERVICE_PREFIX: u8 = 12;
/// Longest one: kubeadm's `MinimumAddressesInServiceSubnet` are 10.
const MAX_SERVICE_PREFIX: u8 = 28;
/// Least memory of a controller: kubeadm's `ControlPlaneMem` of 1700 MB.
const CONTROLLER: Bytes = Bytes(1_700_000_000);
/// Least memory of a controller that runs from memory, which holds the system and the images, too: 3 GiB, by the lab's
/// machines (4.6 GiB had 2.5 GiB left).
const CONTROLLER_IN_MEMORY: Bytes = Bytes(3 << 30);
/// Least memory of a worker that runs from memory: the boot of Flatcar alone needs as much.
const WORKER_IN_MEMORY: Bytes = Bytes(2 << 30);
/// Most members of etcd that its own guide advises.
const MOST_MEMBERS: usize = 7;

/// Judges values of a draft beside each other.
pub(super) fn together(decoder: &Decoder, draft: &Draft) {
    let together = Together { decoder, draft, network: draft.machines_network(decoder) };
    together.roles();
    together.unique();
    together.ranges();
    together.addresses();
    together.vip();
    together.sizes();
    together.storage();
    together.versions();
}

struct Together<'a> {
    decoder: &'a Decoder,
    draft: &'a Draft,
    network: Option<Spanned<Network>>,
}

/// An address with the words for what has it.
struct Held<'a> {
    what: String,
    address: Ipv4Addr,
    place: &'a Place,
}

impl Draft {
    fn machines(&self) -> &[Machine] {
        self.machines.as_deref().unwrap_or_default()
    }

    /// Machines with this part.
    fn with(&self, part: Part) -> impl Iterator<Item = &Machine> {
        self.machines()
            .iter()
            .filter(move |machine| machine.role.as_ref().is_some_and(|role| role.value == part))
    }

    /// Machines that become members, those whose role is not readable among them.
    fn members(&self) -> impl Iterator<Item = &Machine> {
        self.machines()
            .iter()
            .filter(|machine| machine.role.as_ref().is_none_or(|role| role.value != Part::Bootstrap))
    }

    /// Address of the bootstrap machine, wherever it is written.
    fn bootstrap_ip(&self) -> Option<(Ipv4Addr, &Place)> {
        let own = self.bootstrap.as_ref().and_then(|bootstrap| bootstrap.ip.as_ref());
        let ip = own.or_else(|| self.with(Part::Bootstrap).find_map(|machine| machine.ip.as_ref()))?;
        Some((ip.value.address, &ip.place))
    }

    /// The network of the machines: as it is said, or as an address has it, or the 256 addresses around the bootstrap
    /// machine.
    fn machines_network(&self, decoder: &Decoder) -> Option<Spanned<Network>> {
        let own = self.bootstrap.iter().filter_map(|bootstrap| bootstrap.ip.as_ref());
        let placed = own.chain(self.machines().iter().filter_map(|machine| machine.ip.as_ref()));
        let mut known = self.network.clone();
        for ip in placed {
            let Some(network) = ip.value.network else { continue };
            match &known {
                None => known = Some(Spanned { value: network, place: ip.place.clone() }),
                Some(first) if first.value != network => {
                    let finding = Finding::error(format!(
                        "{}/{} is not in the network {}",
                        ip.value.address,
                        network.prefix(),
                        first.value
                    ));
                    let finding =
                        finding.at(ip.place.clone()).related(first.place.clone(), "the machines' network");
                    decoder.push(finding.hint(match first.value.contains(ip.value.address) {
                        true => format!(
                            "write `{}/{}`, or the address alone",
                            ip.value.address,
                            first.value.prefix()
                        ),
                        false => {
                            format!("all machines are in one network: take a free address of {}", first.value)
                        }
                    }));
                }
                Some(_) => {}
            }
        }
        known.or_else(|| {
            let (address, place) = self.bootstrap_ip()?;
            Some(Spanned { value: format!("{address}/24").parse().ok()?, place: place.clone() })
        })
    }

    /// The cluster, if nothing that it needs is missing.
    pub(super) fn complete(self, directory: PathBuf) -> Option<Cluster> {
        let network = self.machines_network(&Decoder::new(&self.top.source))?.value;
        let flatcar = self.flatcar.map_or(VersionWish::Latest, |version| version.value);
        let of_version = match flatcar {
            VersionWish::Exactly(version) => versions::channel(version),
            VersionWish::Latest => None,
        };
        let channel = self.channel.unwrap_or_else(|| Spanned {
            value: of_version.unwrap_or("stable").to_owned(),
            place: self.cluster.clone(),
        });
        let (mut nodes, mut of_node) = (Vec::new(), None);
        for machine in self.machines? {
            match machine.role.as_ref()?.value {
                Part::Bootstrap => of_node = Some(machine),
                Part::Controller => nodes.push(machine.member(Role::Controller)?),
                Part::Worker => nodes.push(machine.member(Role::Worker)?),
            }
        }
        Some(Cluster {
            name: self.name?,
            kubernetes: self.kubernetes?,
            channel,
            flatcar,
            pods: self.pods?,
            services: self.services?,
            network,
            gateway: self.gateway,
            dns: self.dns,
            vip: self.vip,
            ssh_keys: self.ssh_keys,
            join: self.join,
            keys: self.keys,
            cni: self.cni?,
            etcd: self.etcd,
            addons: self.addons,
            bootstrap: bootstrap(self.bootstrap, of_node)?,
            nodes,
            registry_mirrors: self.registry_mirrors,
            proxy: self.proxy,
            ntp: self.ntp,
            hooks: self.hooks,
            recipe: self.recipe,
            directory,
        })
    }
}

/// The bootstrap machine, from its own key and from the node with that role.
fn bootstrap(own: Option<BootstrapDraft>, node: Option<Machine>) -> Option<Bootstrap> {
    let (name, ip, mac) = node.map_or((None, None, None), |node| (node.name, node.ip, node.mac));
    let (own_name, own_ip, own_mac, interface, dhcp) = match own {
        Some(own) => (own.name, own.ip, own.mac, own.interface, own.dhcp),
        None => (None, None, None, None, false),
    };
    let ip = own_ip.or(ip)?;
    Some(Bootstrap {
        name: own_name.or(name),
        ip: Spanned { value: ip.value.address, place: ip.place },
        mac: own_mac.or(mac),
        interface,
        dhcp,
    })
}

impl Machine {
    fn member(self, role: Role) -> Option<Node> {
        let ip = self.ip?;
        Some(Node {
            name: self.name?,
            mac: self.mac?,
            ip: Spanned { value: ip.value.address, place: ip.place },
            role,
            storage: self.storage,
            memory: self.memory,
            labels: self.labels,
            taints: self.taints,
            ignition: self.ignition,
            kernel_args: self.kernel_args,
            power: self.power,
        })
    }

    /// Its name for messages.
    fn called(&self) -> String {
        self.name.as_ref().map_or("a node".to_owned(), |name| format!("node `{}`", name.value))
    }
}

impl Together<'_> {
    fn push(&self, finding: Finding, place: &Place, hint: impl Into<String>) {
        self.decoder.push(finding.at(place.clone()).hint(hint));
    }

    /// One bootstrap machine, at least one controller, and not an even number.
    fn roles(&self) {
        let mut all = self.draft.with(Part::Bootstrap);
        let first = all.next();
        for other in all {
            let finding =
                Finding::error(format!("{} is a second bootstrap machine, and there is one", other.called()));
            let place = other.role.as_ref().map_or(&other.place, |role| &role.place);
            let finding = finding.at(place.clone()).hint("give it the role `controller` or `worker`");
            let first = first.and_then(|first| first.role.as_ref());
            self.decoder.push(match first {
                Some(first) => finding.related(first.place.clone(), "the first one"),
                None => finding,
            });
        }
        let own = self.draft.bootstrap.as_ref();
        match (own, first) {
            (None, None) if self.draft.machines().iter().all(|machine| machine.role.is_some()) => {
                let finding = Finding::error("there is no bootstrap machine");
                self.push(
                    finding,
                    &self.draft.top,
                    "add `bootstrap: {ip: ADDRESS}` with the address of the machine that runs prebake",
                );
            }
            (Some(own), None) if own.ip.is_none() => {
                let finding =
                    Finding::error("`bootstrap` needs the key `ip`, as no node has the role `bootstrap`");
                self.push(finding, &own.place, "add the address of the machine that runs prebake");
            }
            (Some(own), Some(node)) => {
                if let (Some(ours), Some(theirs)) = (&own.ip, &node.ip)
                    && ours.value.address != theirs.value.address
                {
                    let text = format!(
                        "{} has the role `bootstrap`, but the address of `bootstrap` is {}",
                        node.called(),
                        ours.value.address
                    );
                    let finding = Finding::error(text)
                        .at(theirs.place.clone())
                        .related(ours.place.clone(), "the other one");
                    self.decoder
                        .push(finding.hint("there is one bootstrap machine: give both the same address"));
                }
                if let (Some(ours), Some(theirs)) = (&own.mac, &node.mac)
                    && ours.value != theirs.value
                {
                    let text = format!(
                        "{} has the role `bootstrap`, but the card of `bootstrap` is {}",
                        node.called(),
                        ours.value
                    );
                    let finding = Finding::error(text)
                        .at(theirs.place.clone())
                        .related(ours.place.clone(), "the other one");
                    self.decoder
                        .push(finding.hint("there is one bootstrap machine: give both the same address"));
                }
            }
            _ => {}
        }
        self.controllers();
    }

    fn controllers(&self) {
        let controllers: Vec<&Machine> = self.draft.with(Part::Controller).collect();
        let all_readable = self.draft.machines().iter().all(|machine| machine.role.is_some());
        if self.draft.machines.is_none() || !all_readable {
            return;
        }
        let place = |at: usize| {
            let machine = controllers.get(at).copied();
            machine.and_then(|machine| machine.role.as_ref()).map_or(&self.draft.top, |role| &role.place)
        };
        match controllers.len() {
            0 => {
                let finding = Finding::error("no node is a controller, so nothing would run the API server");
                self.push(finding, &self.draft.top, "give one, three or five nodes `role: controller`");
            }
            count if self.draft.etcd.is_none() && count % 2 == 0 => {
                let text = format!("{count} controllers stand no more losses than {} do", count - 1);
                self.push(
                    Finding::warning(text),
                    place(count - 1),
                    format!("etcd needs a majority of its members: take {} or {}", count - 1, count + 1),
                );
            }
            count if self.draft.etcd.is_none() && count > MOST_MEMBERS => {
                let text = format!("{count} members of etcd slow each other down");
                self.push(
                    Finding::warning(text),
                    place(MOST_MEMBERS),
                    "three or five controllers are enough for most clusters",
                );
            }
            _ => {}
        }
        if controllers.len() > 1 && self.draft.vip.is_none() {
            let text = format!(
                "{} controllers have no address in common, so without the first one nothing finds the API server",
                controllers.len()
            );
            self.push(
                Finding::warning(text),
                place(1),
                "add `control_plane_vip: ADDRESS`, a free address of the machines' network",
            );
        }
    }

    /// Each name, MAC address, address, BMC and disk once.
    fn unique(&self) {
        let mut names: BTreeMap<String, (&str, &Place)> = BTreeMap::new();
        let mut macs: BTreeMap<Mac, (String, &Place)> = BTreeMap::new();
        let mut bmcs: BTreeMap<String, (String, &Place)> = BTreeMap::new();
        let same_machine =
            |machine: &Machine| machine.role.as_ref().is_some_and(|role| role.value == Part::Bootstrap);
        if let Some(own) = &self.draft.bootstrap {
            if let Some(name) = &own.name {
                names.insert(name.value.to_ascii_lowercase(), (&name.value, &name.place));
            }
            if let Some(mac) = &own.mac {
                macs.insert(mac.value, ("the bootstrap machine".to_owned(), &mac.place));
            }
        }
        for machine in self.draft.machines() {
            let of_bootstrap = same_machine(machine);
            if let Some(name) = &machine.name
                && let Some((first, place)) =
                    names.insert(name.value.to_ascii_lowercase(), (&name.value, &name.place))
                && !(of_bootstrap && self.is_own(place))
            {
                let text = match first == name.value {
                    true => format!("two machines are called `{first}`"),
                    false => format!("`{first}` and `{}` are the same host name", name.value),
                };
                let finding =
                    Finding::error(text).at(name.place.clone()).hint("give each machine a name of its own");
                self.decoder.push(finding.related(place.clone(), "first given here"));
            }
            if let Some(mac) = &machine.mac
                && let Some((first, place)) = macs.insert(mac.value, (machine.called(), &mac.place))
                && !(of_bootstrap && self.is_own(place))
            {
                let text =
                    format!("{first} and {} have the same MAC address {}", machine.called(), mac.value);
                let finding = Finding::error(text).at(mac.place.clone());
                let finding =
                    finding.hint("a machine is known by its card: look at the label or the firmware of both");
                self.decoder.push(finding.related(place.clone(), "first given here"));
            }
            if let Some(Power::Redfish { url, .. }) = &machine.power {
                let known = url.value.as_str().trim_end_matches('/').to_owned();
                if let Some((first, place)) = bmcs.insert(known, (machine.called(), &url.place)) {
                    let text = format!("{first} and {} have the same BMC", machine.called());
                    let finding = Finding::error(text).at(url.place.clone());
                    let finding = finding
                        .hint("a BMC with several systems needs the path of each: …/redfish/v1/Systems/1");
                    self.decoder.push(finding.related(place.clone(), "first given here"));
                }
            }
        }
    }

    /// Whether a place is in `bootstrap:`.
    fn is_own(&self, place: &Place) -> bool {
        let Some(own) = &self.draft.bootstrap else { return false };
        let places = [
            own.name.as_ref().map(|name| &name.place),
            own.mac.as_ref().map(|mac| &mac.place),
            own.ip.as_ref().map(|ip| &ip.place),
        ];
        places.into_iter().flatten().any(|own| own == place)
    }

    /// The networks of pods, services and machines have no address in common.
    fn ranges(&self) {
        let machines = self.network.as_ref();
        let all = [
            ("`pod_subnet`", self.draft.pods.as_ref()),
            ("`service_subnet`", self.draft.services.as_ref()),
            ("the machines' network", machines),
        ];
        for (at, (name, network)) in all.iter().enumerate() {
            for (other_name, other) in &all[at + 1..] {
                let (Some(network), Some(other)) = (network, other) else { continue };
                if !network.value.overlaps(&other.value) {
                    continue;
                }
                let text = format!(
                    "{name} {} and {other_name} {} have addresses in common",
                    network.value, other.value
                );
                // The finding points at what was chosen freely: not at a default, nor at the machines' network if it can.
                let top = &self.draft.top;
                let of_machines = *other_name == "the machines' network";
                let (place, related) = match other.place == *top || of_machines && network.place != *top {
                    true => (&network.place, &other.place),
                    false => (&other.place, &network.place),
                };
                let free = self.free(network.value.prefix().max(16));
                let finding =
                    Finding::error(text).at(place.clone()).related(related.clone(), "the other one");
                self.decoder.push(match free {
                    Some(free) => {
                        finding.hint(format!("take a network that nothing else has, such as `{free}`"))
                    }
                    None => finding.hint("take networks that have no address in common"),
                });
            }
        }
    }

    /// A private network of this prefix length that none of the others touches.
    fn free(&self, prefix: u8) -> Option<Network> {
        let taken = [&self.draft.pods, &self.draft.services, &self.network];
        let is_free = |network: &Network| {
            taken.iter().all(|taken| taken.as_ref().is_none_or(|taken| !taken.value.overlaps(network)))
        };
        let candidates = (0..=255u8).map(|second| format!("10.{}.0.0/{prefix}", second.wrapping_add(244)));
        candidates.filter_map(|text| text.parse().ok()).find(is_free)
    }

    /// All addresses that somebody has, each with its owner.
    fn held(&self) -> Vec<Held<'_>> {
        let mut held = Vec::new();
        if let Some(ip) = self.draft.bootstrap.as_ref().and_then(|own| own.ip.as_ref()) {
            held.push(Held {
                what: "the bootstrap machine".into(),
                address: ip.value.address,
                place: &ip.place,
            });
        }
        for machine in self.draft.machines() {
            let Some(ip) = &machine.ip else { continue };
            let is_bootstrap = machine.role.as_ref().is_some_and(|role| role.value == Part::Bootstrap);
            // It is the same machine as that of `bootstrap`; another address there is told already.
            if is_bootstrap && held.iter().any(|own: &Held<'_>| self.is_own(own.place)) {
                continue;
            }
            held.push(Held { what: machine.called(), address: ip.value.address, place: &ip.place });
        }
        held
    }

    /// Addresses of machines: each once, in their network, and none that has a meaning there.
    fn addresses(&self) {
        let mut seen: BTreeMap<Ipv4Addr, Held<'_>> = BTreeMap::new();
        for held in self.held() {
            if let Some(first) = seen.get(&held.address) {
                let text = format!("{} and {} have the same address {}", first.what, held.what, held.address);
                let finding = Finding::error(text).at(held.place.clone());
                let finding = finding.related(first.place.clone(), "first given here");
                self.decoder.push(self.with_free(finding));
                continue;
            }
            self.fits(&held);
            seen.insert(held.address, held);
        }
        if let Some(gateway) = &self.draft.gateway {
            let held = Held { what: "the gateway".into(), address: gateway.value, place: &gateway.place };
            self.fits(&held);
            if let Some(other) =
                seen.get(&gateway.value).filter(|other| other.what != "the bootstrap machine")
            {
                let text = format!("{} and {} have the same address {}", other.what, held.what, held.address);
                let finding = Finding::error(text)
                    .at(other.place.clone())
                    .related(gateway.place.clone(), "the gateway");
                self.decoder.push(self.with_free(finding));
            }
        }
    }

    /// Adds an address that is free.
    fn with_free(&self, finding: Finding) -> Finding {
        match self.free_address() {
            Some(free) => finding.hint(format!("take a free address, such as `{free}`")),
            None => finding.hint("take a free address"),
        }
    }

    /// An address of the machines' network that nothing in the description has.
    fn free_address(&self) -> Option<Ipv4Addr> {
        let network = self.network.as_ref()?.value;
        let held = self.held();
        let others = [
            self.draft.gateway.as_ref().map(|gateway| gateway.value),
            self.draft.vip.as_ref().map(|vip| vip.address.value),
        ];
        let is_free = |address: &Ipv4Addr| {
            held.iter().all(|held| held.address != *address)
                && !others.contains(&Some(*address))
                && network.at(*address).nobodys().is_none()
        };
        let first = network.base.to_bits();
        // The tenth and later ones: the first few are often routers.
        (10..250u32)
            .chain(1..10)
            .filter_map(|offset| first.checked_add(offset))
            .map(Ipv4Addr::from_bits)
            .filter(|address| network.contains(*address))
            .find(is_free)
    }

    /// Whether an address is in the machines' network.
    fn fits(&self, held: &Held<'_>) {
        let Some(network) = &self.network else { return };
        let Held { what, address, place } = held;
        if !network.value.contains(*address) {
            let text =
                format!("the address {address} of {what} is not in the machines' network {}", network.value);
            let finding =
                Finding::error(text).at((*place).clone()).related(network.place.clone(), "the network");
            let said = self.draft.network.is_some();
            self.decoder.push(match self.free_address() {
                Some(free) if said => finding.hint(format!("take an address of it, such as `{free}`")),
                Some(free) => finding.hint(format!("take an address of it, such as `{free}`, or state the `network` in which all machines are")),
                None => finding.hint("state the `network` in which all machines are"),
            });
        } else if let Some(why) = network.value.at(*address).nobodys() {
            let finding = Finding::error(format!("{address} cannot be the address of {what}: {why}"))
                .at((*place).clone());
            self.decoder.push(self.with_free(finding));
        }
    }

    /// The address of the API server is nobody's, and in the machines' network unless something outside holds it.
    fn vip(&self) {
        let Some(vip) = &self.draft.vip else { return };
        let (address, place) = (vip.address.value, &vip.address.place);
        let refuse = |text: String, other: Option<&Place>| {
            let finding = Finding::error(text).at(place.clone());
            let finding = match other {
                Some(other) => finding.related(other.clone(), "the other one"),
                None => finding,
            };
            self.decoder.push(self.with_free(finding));
        };
        let held = self.held();
        let gateway = self.draft.gateway.as_ref().map(|gateway| Held {
            what: "the gateway".into(),
            address: gateway.value,
            place: &gateway.place,
        });
        if let Some(other) = held.iter().chain(&gateway).find(|held| held.address == address) {
            refuse(
                format!("`control_plane_vip` {address} is the address of {}", other.what),
                Some(other.place),
            );
            return;
        }
        let ranges = [("pods", &self.draft.pods), ("services", &self.draft.services)];
        let within = ranges.iter().find_map(|(of, network)| {
            Some((of, network.as_ref().filter(|network| network.value.contains(address))?))
        });
        if let Some((of, network)) = within {
            refuse(
                format!("`control_plane_vip` {address} is among the addresses of {of}, {}", network.value),
                Some(&network.place),
            );
            return;
        }
        let Some(network) = self.network.as_ref().filter(|_| !vip.external) else { return };
        if !network.value.contains(address) {
            let text = format!(
                "`control_plane_vip` {address} is not in the machines' network {}, so no controller can hold it",
                network.value
            );
            let finding =
                Finding::error(text).at(place.clone()).related(network.place.clone(), "the network");
            let hint = match self.free_address() {
                Some(free) => format!(
                    "take a free address of it, such as `{free}`, or write `{{address: {address}, external: true}}` if something else holds it"
                ),
                None => "take a free address of it".into(),
            };
            self.decoder.push(finding.hint(hint));
        } else if let Some(why) = network.value.at(address).nobodys() {
            refuse(format!("{address} cannot be the `control_plane_vip`: {why}"), None);
        }
    }

    /// Subnets have room for what takes addresses of them, within the limits of kubeadm and the API server.
    fn sizes(&self) {
        let count = self.draft.members().count().max(1);
        if let Some(pods) = &self.draft.pods {
            let prefix = pods.value.prefix();
            let bits = u8::try_from(count.next_power_of_two().trailing_zeros()).unwrap_or(MAX_NODE_BITS);
            let widest = NODE_PREFIX.saturating_sub(bits);
            let place = if pods.place == self.draft.top { &self.draft.cluster } else { &pods.place };
            if prefix > NODE_PREFIX {
                let text = format!(
                    "`pod_subnet` {} is smaller than the /{NODE_PREFIX} that each node takes of it",
                    pods.value
                );
                self.push(
                    Finding::error(text),
                    place,
                    format!("take `{}`, or a wider one", pods.value.resized(widest.min(16))),
                );
            } else if prefix > widest {
                let fits = 1usize << (NODE_PREFIX - prefix);
                let text = format!(
                    "`pod_subnet` {} has room for {fits} of the {count} nodes: each takes a /{NODE_PREFIX} of it",
                    pods.value
                );
                self.push(
                    Finding::error(text),
                    place,
                    format!("take `{}`, or a wider one", pods.value.resized(widest)),
                );
            } else if NODE_PREFIX - prefix > MAX_NODE_BITS {
                let text = format!("`pod_subnet` {} is larger than kubeadm takes", pods.value);
                self.push(
                    Finding::error(text),
                    place,
                    format!("take a prefix length of {} or more", NODE_PREFIX - MAX_NODE_BITS),
                );
            }
        }
        if let Some(services) = &self.draft.services {
            let prefix = services.value.prefix();
            let place = if services.place == self.draft.top { &self.draft.cluster } else { &services.place };
            if prefix < MIN_SERVICE_PREFIX {
                let text = format!("`service_subnet` {} is larger than the API server takes", services.value);
                self.push(
                    Finding::error(text),
                    place,
                    format!("take `{}`", services.value.resized(MIN_SERVICE_PREFIX)),
                );
            } else if prefix > MAX_SERVICE_PREFIX {
                let text = format!("`service_subnet` {} is smaller than kubeadm takes", services.value);
                self.push(
                    Finding::error(text),
                    place,
                    format!("take `{}`, or a wider one", services.value.resized(24)),
                );
            }
        }
    }

    /// Controllers keep etcd where a power cut does not take it, and all machines have memory for what they run.
    fn storage(&self) {
        for machine in self.draft.machines() {
            let Some(role) = &machine.role else { continue };
            let in_memory = !matches!(machine.storage, Storage::Installed(_));
            if role.value == Part::Controller
                && matches!(machine.storage, Storage::Memory)
                && !machine.ephemeral
                && self.draft.etcd.is_none()
            {
                let text = format!(
                    "{} is a controller without a disk: a power cut would take its part of etcd",
                    machine.called()
                );
                let hint = "add `state: /dev/disk/by-id/…`, or `ephemeral: true` if the cluster may be lost";
                self.push(Finding::error(text), &role.place, hint);
            }
            let Some(memory) = &machine.memory else { continue };
            let (least, what) = match (role.value, in_memory) {
                (Part::Controller, true) => (CONTROLLER_IN_MEMORY, "a controller that runs from memory"),
                (Part::Controller, false) => (CONTROLLER, "a controller"),
                (Part::Worker, true) => (WORKER_IN_MEMORY, "a machine that runs from memory"),
                _ => continue,
            };
            if memory.value < least {
                let text =
                    format!("{} has {} of memory, and {what} needs {least}", machine.called(), memory.value);
                self.push(Finding::error(text), &memory.place, "give it more memory, or correct the number");
            }
        }
    }

    /// The version of Flatcar is one of its channel, and goes with that of Kubernetes.
    fn versions(&self) {
        let kubernetes = self.draft.kubernetes.as_ref();
        let named = self.draft.flatcar.as_ref().and_then(|flatcar| match flatcar.value {
            VersionWish::Exactly(version) => Some((version, &flatcar.place)),
            VersionWish::Latest => None,
        });
        let channel = self.draft.channel.as_ref();
        let of_channel = || {
            let name = channel.map_or("stable", |channel| channel.value.as_str());
            Some((
                versions::current(name)?,
                channel.map_or(kubernetes.map(|version| &version.place)?, |channel| &channel.place),
            ))
        };
        let Some((version, place)) = named.or_else(of_channel) else { return };
        for finding in versions::pair(
            kubernetes.map(|version| version.value.as_str()),
            version,
            self.draft.own_containerd,
        ) {
            let finding = finding.at(place.clone());
            self.decoder.push(match kubernetes {
                Some(kubernetes) if finding.message.contains("Kubernetes") && kubernetes.place != *place => {
                    finding.related(kubernetes.place.clone(), "the version of Kubernetes")
                }
                _ => finding,
            });
        }
        let Some((version, place)) = named else { return };
        let Some(own) = versions::channel(version) else {
            let text = format!(
                "there is no Flatcar {version}: the second number is 0 to 3, for alpha, beta, stable and lts"
            );
            self.push(Finding::error(text), place, "https://www.flatcar.org/releases lists them");
            return;
        };
        let Some(channel) = channel else { return };
        if channel.value.split('-').next() != Some(own) {
            let text = format!("Flatcar {version} is of the channel {own}, not {}", channel.value);
            let finding =
                Finding::error(text).at(place.clone()).related(channel.place.clone(), "the channel");
            self.decoder.push(finding.hint(format!("write `channel: {own}`, or leave `channel` out")));
        }
    }
}
