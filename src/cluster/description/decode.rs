//! From YAML to a [`Draft`] of a [`Cluster`](super::Cluster), with every finding about one value. `judge` has those about several.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use url::Url;

use super::flow;
use super::keys::{
    ADDON, BMC, BOOTSTRAP, CLUSTER, CLUSTER_FILE, ETCD, FURTHER, MACHINE, PASSWORD, POWER, PROXY, VIP,
};
use super::{
    Addon, Cni, Etcd, Join, KeyKind, Password, Power, Proxy, Secret, Storage, Vip, forms, ssh, versions,
};
use crate::addon::known;
use crate::bake::recipe::Install;
use crate::base::finding::{Finding, Place, Source, meant, nearest};
use crate::base::reader::{Reader, SCHEMA};
use crate::base::size::Bytes;
use crate::base::yaml::decode::{Decoder, Fields, Spanned};
use crate::base::yaml::{self, Node as Yaml, Position};
use crate::flatcar::version::{Version, VersionWish};
use crate::machine::network::{Cidr, Network};
use crate::machine::node::{Mac, judge_mac};
use crate::registry::reference::ImageRef;
use crate::source::{shown, unfit};
use crate::sysext::packaging;
use crate::tree::secrets::masked_place;

/// How a description came, which decides what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin<'a> {
    /// A file: anybody who sees it sees everything in it.
    Plain,
    /// A pipe, into which a program wrote what it decrypted.
    Piped,
    /// A file of SOPS, with the places of its sealed leaves; by its rules it may have others.
    Encrypted(&'a BTreeSet<Position>),
}

/// A description as far as its values could be read, before they are judged together.
pub(super) struct Draft {
    pub name: Option<Spanned<String>>,
    pub kubernetes: Option<Spanned<String>>,
    pub channel: Option<Spanned<String>>,
    pub flatcar: Option<Spanned<VersionWish>>,
    pub pods: Option<Spanned<Network>>,
    pub services: Option<Spanned<Network>>,
    pub network: Option<Spanned<Network>>,
    pub gateway: Option<Spanned<Ipv4Addr>>,
    pub dns: Vec<Spanned<Ipv4Addr>>,
    pub vip: Option<Vip>,
    pub ssh_keys: Vec<Spanned<String>>,
    pub join: Join,
    pub keys: KeyKind,
    pub cni: Option<Cni>,
    pub etcd: Option<Etcd>,
    pub addons: Vec<Addon>,
    pub bootstrap: Option<BootstrapDraft>,
    pub machines: Option<Vec<Machine>>,
    pub registry_mirrors: Vec<(Spanned<String>, Vec<Url>)>,
    pub proxy: Option<Proxy>,
    pub ntp: Vec<Spanned<String>>,
    pub hooks: Option<Spanned<PathBuf>>,
    pub recipe: Option<String>,
    /// Whether the recipe's further sysexts have a containerd in place of Flatcar's own.
    pub own_containerd: bool,
    /// Place of the whole text, for what is missing.
    pub top: Place,
    /// Place of `cluster:`.
    pub cluster: Place,
}

/// An address, with the prefix length if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub address: Ipv4Addr,
    /// The network that it is in, if its prefix length says so.
    pub network: Option<Network>,
}

/// `bootstrap:` as it is written.
pub(super) struct BootstrapDraft {
    pub place: Place,
    pub name: Option<Spanned<String>>,
    pub ip: Option<Spanned<Placed>>,
    pub mac: Option<Spanned<Mac>>,
    pub interface: Option<Spanned<String>>,
    pub dhcp: bool,
}

/// The part of a machine, with the one that is no member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Bootstrap,
    Controller,
    Worker,
}

/// An item of `nodes:` as it is written.
pub(super) struct Machine {
    pub place: Place,
    pub name: Option<Spanned<String>>,
    pub ip: Option<Spanned<Placed>>,
    pub mac: Option<Spanned<Mac>>,
    pub role: Option<Spanned<Part>>,
    pub ephemeral: bool,
    pub storage: Storage,
    pub memory: Option<Spanned<Bytes>>,
    pub labels: Vec<(Spanned<String>, String)>,
    pub taints: Option<Vec<Spanned<String>>>,
    pub ignition: Vec<Spanned<PathBuf>>,
    pub kernel_args: Vec<Spanned<String>>,
    pub power: Option<Power>,
}

/// Reads a tree into a draft.
pub(super) fn draft(
    decoder: &Decoder,
    root: &Yaml,
    source: &Arc<Source>,
    directory: &Path,
    origin: Origin<'_>,
) -> Draft {
    let reader = Reader { decoder, directory };
    Description { decoder, reader: &reader, directory, origin }.draft(root, source)
}

struct Description<'a> {
    decoder: &'a Decoder,
    reader: &'a Reader<'a>,
    directory: &'a Path,
    origin: Origin<'a>,
}

impl Description<'_> {
    fn draft(&self, root: &Yaml, source: &Arc<Source>) -> Draft {
        let fields = self.decoder.fields(root, &CLUSTER_FILE);
        if let Some(node) = fields.get("schema")
            && self.decoder.parsed(node).is_some_and(|schema: u32| schema != SCHEMA)
        {
            self.decoder.error(node, format!("this prebake reads schema {SCHEMA} only"));
        }
        let top = root.place(source);
        // A missing `cluster` is a finding already; its own keys are not missing besides.
        let cluster = fields.need("cluster");
        let inner = cluster.map(|node| self.decoder.fields(node, &CLUSTER));
        let need = |key| inner.as_ref().and_then(|fields| fields.need(key));
        let get = |key| inner.as_ref().and_then(|fields| fields.get(key));
        let subnet = |key, default: &str| match get(key) {
            Some(node) => self.network(node),
            None => inner.as_ref().and_then(|_| Some(self.decoder.spanned(root, default.parse().ok()?))),
        };
        Draft {
            name: need("name").and_then(|node| self.cluster_name(node)),
            kubernetes: need("k8s_version").and_then(|node| self.kubernetes(node)),
            channel: get("channel").and_then(|node| self.channel(node)),
            flatcar: get("flatcar_version").and_then(|node| self.flatcar(node)),
            pods: subnet("pod_subnet", "10.244.0.0/16"),
            services: subnet("service_subnet", "10.96.0.0/12"),
            network: fields.get("network").and_then(|node| self.network(node)),
            gateway: fields.get("gateway").and_then(|node| self.address(node)),
            dns: self.addresses(&fields),
            vip: fields.get("control_plane_vip").and_then(|node| self.vip(node)),
            ssh_keys: get("ssh_authorized_key").map(|node| self.ssh_keys(node)).unwrap_or_default(),
            join: self.join(get("join"), get("token")),
            keys: get("key_algorithm")
                .and_then(|node| self.word(node, &KEYS, "`key_algorithm`", &KEY_SYNONYMS))
                .unwrap_or_default(),
            cni: get("cni").map_or(Some(Cni::Flannel), |node| self.word(node, &CNIS, "`cni`", &[])),
            etcd: get("etcd").and_then(|node| self.etcd(node)),
            addons: self.each(&fields, "addons", |node| self.addon(node)),
            bootstrap: fields.get("bootstrap").map(|node| self.bootstrap(node, source)),
            machines: fields.need("nodes").map(|node| {
                self.decoder.items(node, "`nodes`").iter().map(|node| self.machine(node, source)).collect()
            }),
            registry_mirrors: fields
                .get("registry_mirrors")
                .map(|node| self.mirrors(node))
                .unwrap_or_default(),
            proxy: fields.get("proxy").and_then(|node| self.proxy(node)),
            ntp: self.ntp(&fields),
            hooks: fields.get("hooks").and_then(|node| self.path(node)),
            own_containerd: fields.get("recipe").is_some_and(|node| self.own_containerd(node)),
            recipe: fields.get("recipe").map(|node| self.recipe(node)),
            cluster: cluster.map_or_else(|| top.clone(), |node| node.place(source)),
            top,
        }
    }

    /// Items of an optional list.
    fn each<T>(&self, fields: &Fields<'_>, key: &'static str, read: impl Fn(&Yaml) -> Option<T>) -> Vec<T> {
        let items = fields.get(key).map_or(&[][..], |node| self.decoder.items(node, &format!("`{key}`")));
        items.iter().filter_map(read).collect()
    }

    /// A text with its place.
    fn text(&self, node: &Yaml) -> Option<Spanned<String>> {
        Some(self.decoder.spanned(node, self.decoder.string(node)?))
    }

    fn path(&self, node: &Yaml) -> Option<Spanned<PathBuf>> {
        let text = self.text(node)?;
        Some(Spanned { value: self.directory.join(&text.value), place: text.place })
    }

    /// A value that a parser reads; what it says, and the corrected value if there is one.
    fn read<T>(&self, node: &Yaml, parse: impl Fn(&str) -> Result<T, forms::Fault>) -> Option<Spanned<T>> {
        let text = self.text(node)?;
        match parse(&text.value) {
            Ok(value) => Some(Spanned { value, place: text.place }),
            Err(fault) => {
                self.decoder.push(fault.at(text.place));
                None
            }
        }
    }

    /// One of some words; a synonym of one of them is known, too.
    fn word<T: Copy>(
        &self,
        node: &Yaml,
        words: &[(&str, T)],
        what: &str,
        synonyms: &[(&str, &str)],
    ) -> Option<T> {
        let text = self.text(node)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(*value);
        }
        let lower = text.value.to_ascii_lowercase();
        let same = synonyms.iter().find(|(word, _)| *word == lower).map(|(_, word)| *word);
        let same = same.or_else(|| words.iter().map(|(word, _)| *word).find(|word| *word == lower));
        let known = words.iter().map(|(word, _)| *word);
        let hint = match same {
            Some(word) => format!("write `{word}`"),
            None => meant(&text.value, known, "known: "),
        };
        let finding = Finding::error(format!("{what} cannot be `{}`", text.value)).at(text.place);
        self.decoder.push(finding.hint(hint));
        None
    }

    fn cluster_name(&self, node: &Yaml) -> Option<Spanned<String>> {
        self.decoder.string(node)?;
        let name = self.reader.name(node, "the cluster's name");
        // Beside the tree lies `output/kubeconfig`.
        if name.value == "kubeconfig" {
            let finding = Finding::error("a cluster cannot be called `kubeconfig`").at(name.place.clone());
            self.decoder
                .push(finding.hint("its tree would be in the place of output/kubeconfig: take another name"));
        }
        Some(name)
    }

    fn kubernetes(&self, node: &Yaml) -> Option<Spanned<String>> {
        let text = self.text(node)?;
        match versions::kubernetes(&text.value) {
            Ok((version, doubt)) => {
                if let Some(doubt) = doubt {
                    self.decoder.push(doubt.at(text.place.clone()));
                }
                Some(Spanned { value: version, place: text.place })
            }
            Err(finding) => {
                self.decoder.push(finding.at(text.place));
                None
            }
        }
    }

    fn channel(&self, node: &Yaml) -> Option<Spanned<String>> {
        let text = self.text(node)?;
        let stream = text
            .value
            .strip_prefix("lts-")
            .is_some_and(|year| year.len() == 4 && year.bytes().all(|digit| digit.is_ascii_digit()));
        if versions::CHANNELS.contains(&text.value.as_str()) || stream {
            return Some(text);
        }
        let finding =
            Finding::error(format!("there is no channel `{}` of Flatcar", text.value)).at(text.place);
        self.decoder.push(finding.hint(meant(&text.value, versions::CHANNELS, "channels: ")));
        None
    }

    fn flatcar(&self, node: &Yaml) -> Option<Spanned<VersionWish>> {
        self.read(node, |text| {
            let plain = text.strip_prefix('v').filter(|rest| rest.parse::<Version>().is_ok()).unwrap_or(text);
            VersionWish::from_str(plain).map_err(|why| forms::Fault { why, hint: forms::version_hint(text) })
        })
    }

    fn network(&self, node: &Yaml) -> Option<Spanned<Network>> {
        let network = self.read(node, forms::network)?;
        let written = self.decoder.string(node)?;
        if let Ok(cidr) = written.parse::<Cidr>()
            && cidr.address != network.value.base
        {
            let text = format!("`{written}` is an address in the network {}", network.value);
            self.decoder.push(
                Finding::warning(text).at(network.place.clone()).hint(format!("write `{}`", network.value)),
            );
        }
        if let Some(why) = forms::unusable(&network.value) {
            let finding = Finding::error(format!("{} cannot be a network here: {why}", network.value));
            self.decoder.push(
                finding
                    .at(network.place.clone())
                    .hint("take one of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"),
            );
            return None;
        }
        Some(network)
    }

    fn address(&self, node: &Yaml) -> Option<Spanned<Ipv4Addr>> {
        let address = self.read(node, forms::address)?;
        self.possible(&address);
        Some(address)
    }

    fn addresses(&self, fields: &Fields<'_>) -> Vec<Spanned<Ipv4Addr>> {
        self.each(fields, "dns", |node| self.address(node))
    }

    /// Refuses an address that no machine has.
    fn possible(&self, address: &Spanned<Ipv4Addr>) {
        if let Some(why) = (Cidr { address: address.value.into(), prefix: 32 }).nobodys() {
            let text = format!("{} cannot be the address of a machine: {why}", address.value);
            self.decoder.push(Finding::error(text).at(address.place.clone()));
        }
    }

    fn placed(&self, node: &Yaml) -> Option<Spanned<Placed>> {
        let placed = self.read(node, |text| match text.split_once('/') {
            None => Ok(Placed { address: forms::address(text)?, network: None }),
            Some((address, _)) => {
                let network = forms::network(text)?;
                Ok(Placed { address: forms::address(address)?, network: Some(network) })
            }
        })?;
        self.possible(&Spanned { value: placed.value.address, place: placed.place.clone() });
        Some(placed)
    }

    fn vip(&self, node: &Yaml) -> Option<Vip> {
        if node.scalar().is_some() {
            return Some(Vip { address: self.address(node)?, external: false });
        }
        let fields = self.decoder.fields(node, &VIP);
        let external = fields.get("external").and_then(|node| self.decoder.boolean(node)).unwrap_or(false);
        Some(Vip { address: fields.need("address").and_then(|node| self.address(node))?, external })
    }

    fn ssh_keys(&self, node: &Yaml) -> Vec<Spanned<String>> {
        let texts = match node.scalar() {
            Some(_) => self.text(node).into_iter().collect(),
            None => self.decoder.strings(node, "`ssh_authorized_key`"),
        };
        let mut keys = Vec::new();
        for text in texts {
            match ssh::keys(&text) {
                Ok(lines) => keys.extend(lines),
                Err(findings) => findings.into_iter().for_each(|finding| self.decoder.push(finding)),
            }
        }
        keys
    }

    fn join(&self, by: Option<&Yaml>, given: Option<&Yaml>) -> Join {
        let token = given.and_then(|node| self.token(node));
        let by = by.and_then(|node| {
            self.word(node, &[("certificate", false), ("token", true)], "`join`", &[("cert", "certificate")])
        });
        if by == Some(false)
            && let Some(node) = given
        {
            let finding = Finding::error("a `token` is of no use where machines join by certificate");
            self.decoder.push(self.hidden(finding, node).hint("leave one of the two out"));
        }
        match (by, given.is_some()) {
            (Some(true), _) | (None, true) => Join::Token(token),
            _ => Join::Certificate,
        }
    }

    /// A token is a secret: no finding shows it.
    fn token(&self, node: &Yaml) -> Option<Secret> {
        let text = self.decoder.string(node)?;
        match forms::token(&text) {
            Ok(()) => Some(Secret::new(text)),
            Err(why) => {
                let finding = Finding::error(format!("this is not a bootstrap token: {why}"));
                let hint = "a token is six lower-case letters or digits, a dot and sixteen more, such as abcdef.0123456789abcdef; \
                            without `token` one is generated";
                self.decoder.push(self.hidden(finding, node).hint(hint));
                None
            }
        }
    }

    /// A finding at a secret, without the line there.
    fn hidden(&self, finding: Finding, node: &Yaml) -> Finding {
        let place = self.decoder.spanned(node, ()).place;
        finding.at(masked_place(&place))
    }

    fn etcd(&self, node: &Yaml) -> Option<Etcd> {
        let fields = self.decoder.fields(node, &ETCD);
        let endpoints: Vec<Spanned<Url>> = fields.need("endpoints").map_or(Vec::new(), |node| {
            let items = self.decoder.items(node, "`endpoints`");
            if items.is_empty() {
                self.decoder.error(node, "`endpoints` needs at least one URL");
            }
            items.iter().filter_map(|node| self.url(node, &["https"])).collect()
        });
        let file = |key| fields.need(key).and_then(|node| self.path(node));
        let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
        Some(Etcd { endpoints, ca: ca?, cert: cert?, key: key? })
    }

    /// A URL to which paths can be appended, without a login in an unencrypted file.
    fn url(&self, node: &Yaml, schemes: &[&str]) -> Option<Spanned<Url>> {
        let text = self.text(node)?;
        if let Some(why) = unfit(&text.value, schemes) {
            let finding = Finding::error(
                format!("`{}` is a URL, {why}", shown(&text.value))
                    .replace(" is a URL, which is not", " is not"),
            );
            self.decoder.push(finding.at(masked_place(&text.place)));
            return None;
        }
        let url: Url = text.value.parse().ok()?;
        if url.password().is_some() {
            self.clear_text(node, "a URL with a password");
        }
        Some(Spanned { value: url, place: text.place })
    }

    /// Refuses a secret that everybody sees who sees the file.
    fn clear_text(&self, node: &Yaml, what: &str) {
        let why = match self.origin {
            Origin::Piped => return,
            Origin::Encrypted(sealed) if sealed.contains(&node.start) => return,
            Origin::Encrypted(_) => "the rules of this file leave it so",
            Origin::Plain => "this file is not encrypted",
        };
        let finding = Finding::error(format!("{what} stands here in clear text, and {why}"));
        let hint = "name where it is (`password: {env: NAME}` or `{file: PATH}`), or encrypt the file: `sops encrypt --age RECIPIENT`";
        self.decoder.push(self.hidden(finding, node).hint(hint));
    }

    fn addon(&self, node: &Yaml) -> Option<Addon> {
        let judge = |name: &Spanned<String>| {
            let Spanned { value: name, place } = name;
            let (text, hint) = match known::of(name) {
                Some(known) if !known.is_network => return,
                Some(_) => (
                    format!("`{name}` is a network plugin, which no add-on of all Ready nodes can be"),
                    format!(
                        "write `cni: {name}`; where its manifests are is {{name: {name}, manifests: [PATH]}}"
                    ),
                ),
                None => {
                    let hint = match nearest(name, known::names()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!(
                            "known: {}; one of your own is {{name: NAME, manifests: [PATH]}}",
                            known::names().collect::<Vec<_>>().join(", ")
                        ),
                    };
                    (format!("there is no add-on `{name}`"), hint)
                }
            };
            self.decoder.push(Finding::error(text).at(place.clone()).hint(hint));
        };
        if node.scalar().is_some() {
            let name = self.text(node)?;
            judge(&name);
            return Some(Addon { name, manifests: Vec::new(), images: Vec::new() });
        }
        let fields = self.decoder.fields(node, &ADDON);
        let manifests = self.reader.paths(fields.get("manifests"), "`manifests`");
        let images = self.each(&fields, "images", |node| {
            let image: ImageRef = self.decoder.parsed(node)?;
            Some(self.decoder.spanned(node, image.to_string()))
        });
        let name = fields.need("name").map(|node| self.reader.name(node, "an add-on's name"))?;
        if manifests.is_empty() {
            judge(&name);
        }
        Some(Addon { name, manifests, images })
    }

    fn bootstrap(&self, node: &Yaml, source: &Arc<Source>) -> BootstrapDraft {
        let fields = self.decoder.fields(node, &BOOTSTRAP);
        BootstrapDraft {
            place: node.place(source),
            name: fields.get("name").and_then(|node| self.host_name(node)),
            ip: fields.get("ip").and_then(|node| self.placed(node)),
            mac: fields.get("mac").and_then(|node| self.mac(node)),
            interface: fields.get("interface").and_then(|node| self.read(node, forms::interface)),
            dhcp: fields.get("dhcp").and_then(|node| self.decoder.boolean(node)).unwrap_or(false),
        }
    }

    fn machine(&self, node: &Yaml, source: &Arc<Source>) -> Machine {
        let fields = self.decoder.fields(node, &MACHINE);
        Machine {
            place: node.place(source),
            name: fields.need("name").and_then(|node| self.host_name(node)),
            ip: fields.need("ip").and_then(|node| self.placed(node)),
            mac: fields.need("mac").and_then(|node| self.mac(node)),
            role: fields.need("role").and_then(|node| {
                Some(self.decoder.spanned(node, self.word(node, &PARTS, "a role", &SYNONYMS)?))
            }),
            ephemeral: fields.get("ephemeral").and_then(|node| self.decoder.boolean(node)).unwrap_or(false),
            storage: self.storage(&fields),
            memory: fields
                .get("memory")
                .and_then(|node| Some(self.decoder.spanned(node, self.decoder.parsed(node)?))),
            labels: self.labels(&fields),
            taints: fields.get("taints").map(|node| self.taints(node)),
            ignition: self.reader.layers(&fields),
            kernel_args: fields
                .get("kernel_args")
                .map(|node| self.reader.kernel_args(node))
                .unwrap_or_default(),
            power: self.power(&fields),
        }
    }

    /// A name that RFC 1123 and the kubelet take, which is one in lower case.
    fn host_name(&self, node: &Yaml) -> Option<Spanned<String>> {
        let name = self.text(node)?;
        match forms::node_name(&name) {
            None => {}
            Some(finding) => self.decoder.push(finding),
        }
        Some(name)
    }

    fn mac(&self, node: &Yaml) -> Option<Spanned<Mac>> {
        let mac = self.read(node, forms::mac)?;
        judge_mac(&mac).into_iter().for_each(|finding| self.decoder.push(finding));
        Some(mac)
    }

    fn storage(&self, fields: &Fields<'_>) -> Storage {
        let install = fields.get("install").map(|node| {
            Install::read(self.decoder, node);
            Storage::Installed(flow::text(node))
        });
        let state = fields.get("state").and_then(|node| {
            let device = self.text(node)?;
            // One that is refused is a disk nevertheless: that there is none is not told besides.
            if let Err(fault) = forms::state(&device.value) {
                self.decoder.push(fault.at(device.place.clone()));
            }
            Some(Storage::State { device })
        });
        if let (Some(_), Some(node)) = (&install, fields.get("state")) {
            let finding = Finding::error("a node has `install` or `state`, not both");
            let place = self.decoder.spanned(node, ()).place;
            self.decoder.push(
                finding
                    .at(place)
                    .hint("an installed system keeps its state on its own disk: leave `state` out"),
            );
        }
        install.or(state).unwrap_or(Storage::Memory)
    }

    fn labels(&self, fields: &Fields<'_>) -> Vec<(Spanned<String>, String)> {
        let entries = fields.get("labels").map_or(Vec::new(), |node| self.decoder.entries(node, "`labels`"));
        let read = |(name, node): (Spanned<String>, &Yaml)| {
            // An empty value is one.
            let value =
                if node.is_null() { self.decoder.spanned(node, String::new()) } else { self.text(node)? };
            if let Err(fault) = forms::label(&name.value) {
                self.decoder.push(fault.at(name.place.clone()));
            }
            if let Err(fault) = forms::label_value(&value.value) {
                self.decoder.push(fault.at(value.place));
            }
            Some((name, value.value))
        };
        entries.into_iter().filter_map(read).collect()
    }

    fn taints(&self, node: &Yaml) -> Vec<Spanned<String>> {
        let taints = self.decoder.strings(node, "`taints`");
        let mut seen: Vec<(String, &Spanned<String>)> = Vec::new();
        for taint in &taints {
            match forms::taint(&taint.value) {
                Ok((key, effect)) => {
                    let same = format!("{key}:{effect}");
                    if let Some((_, first)) = seen.iter().find(|(known, _)| *known == same) {
                        let finding = Finding::error(format!("the taint `{same}` is listed twice"));
                        let finding = finding.at(taint.place.clone()).hint("leave one out");
                        self.decoder.push(finding.related(first.place.clone(), "first listed here"));
                    }
                    seen.push((same, taint));
                }
                Err(fault) => self.decoder.push(fault.at(taint.place.clone())),
            }
        }
        taints
    }

    fn power(&self, fields: &Fields<'_>) -> Option<Power> {
        let bmc = fields.get("bmc").and_then(|node| self.bmc(node));
        let command = fields.get("power").and_then(|node| {
            let fields = self.decoder.fields(node, &POWER);
            let node = fields.need("command")?;
            let words: Vec<String> =
                self.decoder.strings(node, "`command`").into_iter().map(|word| word.value).collect();
            if words.first().is_none_or(String::is_empty) {
                self.decoder.error(node, "`command` needs the name of a program");
            }
            Some(Power::Command(words))
        });
        if let (true, Some(node)) = (fields.get("bmc").is_some(), fields.get("power")) {
            let place = self.decoder.spanned(node, ()).place;
            let finding = Finding::error("a node has `bmc` or `power`, not both").at(place);
            self.decoder.push(finding.hint("leave `power` out where the BMC has Redfish"));
        }
        bmc.or(command)
    }

    fn bmc(&self, node: &Yaml) -> Option<Power> {
        let fields = self.decoder.fields(node, &BMC);
        let url = fields.need("redfish").and_then(|node| self.url(node, &["https", "http"]));
        let user = fields.need("user").and_then(|node| self.decoder.string(node));
        let password = fields.need("password").and_then(|node| self.password(node));
        let insecure = fields.get("insecure").and_then(|node| self.decoder.boolean(node)).unwrap_or(false);
        Some(Power::Redfish { url: url?, user: user?, password: password?, insecure })
    }

    fn password(&self, node: &Yaml) -> Option<Password> {
        if node.scalar().is_some() {
            let text = Secret::new(self.decoder.string(node)?);
            self.clear_text(node, "a password");
            return Some(Password::Text(text));
        }
        let fields = self.decoder.fields(node, &PASSWORD);
        let env = fields.get("env").and_then(|node| self.read(node, forms::variable));
        let file = fields.get("file").and_then(|node| self.path(node));
        match (env, file, fields.get("env").is_some() || fields.get("file").is_some()) {
            (Some(name), None, _) => Some(Password::Environment(name.value)),
            (None, Some(path), _) => Some(Password::File(path.value)),
            (Some(_), Some(_), _) => {
                self.decoder.error(node, "`password` has `env` or `file`, not both");
                None
            }
            (None, None, true) => None,
            (None, None, false) => {
                self.decoder.error(node, "`password` needs `env` or `file`");
                None
            }
        }
    }

    fn mirrors(&self, node: &Yaml) -> Vec<(Spanned<String>, Vec<Url>)> {
        let read = |(host, urls): (Spanned<String>, &Yaml)| {
            if let Err(fault) = forms::registry(&host.value) {
                self.decoder.push(fault.at(host.place.clone()));
            }
            let items = self.decoder.items(urls, "a registry's mirrors");
            let bases = items.iter().filter_map(|node| Some(self.url(node, &["http", "https"])?.value));
            (host, bases.collect())
        };
        self.decoder.entries(node, "`registry_mirrors`").into_iter().map(read).collect()
    }

    fn proxy(&self, node: &Yaml) -> Option<Proxy> {
        if node.scalar().is_some() {
            return Some(Proxy { url: self.url(node, &["http", "https"])?, except: Vec::new() });
        }
        let fields = self.decoder.fields(node, &PROXY);
        let url = fields.need("url").and_then(|node| self.url(node, &["http", "https"]));
        let except = fields.get("except").map_or(Vec::new(), |node| self.decoder.strings(node, "`except`"));
        for host in except
            .iter()
            .filter(|host| host.value.contains(['/', ',', ' ']) && host.value.parse::<Cidr>().is_err())
        {
            let finding = Finding::error(format!("`{}` is not a host, a domain or a network", host.value));
            self.decoder.push(
                finding
                    .at(host.place.clone())
                    .hint("write one in each item, such as `.example.com` or `10.0.0.0/8`"),
            );
        }
        Some(Proxy { url: url?, except: except.into_iter().map(|host| host.value).collect() })
    }

    fn ntp(&self, fields: &Fields<'_>) -> Vec<Spanned<String>> {
        self.each(fields, "ntp", |node| self.read(node, forms::server))
    }

    fn own_containerd(&self, recipe: &Yaml) -> bool {
        let Some(yaml::Kind::Sequence(items)) = recipe.get("sysexts").map(|node| &node.kind) else {
            return false;
        };
        let name = |item: &Yaml| item.scalar().or_else(|| item.get("name")?.scalar()).map(str::to_owned);
        items.iter().filter_map(name).any(|name| name.rsplit('/').next() == Some("containerd"))
    }

    /// Judges further settings of the recipe as the recipe's decoder does, and copies them.
    fn recipe(&self, node: &Yaml) -> String {
        let fields = self.decoder.fields(node, &FURTHER);
        if let Some(node) = fields.get("trust") {
            self.reader.trust(node);
        }
        if let Some(node) = fields.get("mirrors") {
            self.reader.mirrors(node);
        }
        self.reader.paths(fields.get("trust_ca"), "`trust_ca`");
        self.reader.sysexts(&fields);
        if let Some(node) = fields.get("packaging") {
            packaging::Wish::decode(self.decoder, node, self.directory);
        }
        if let Some(node) = fields.get("images") {
            self.reader.images(node);
        }
        if let Some(node) = fields.get("public_secrets") {
            self.reader.public_secrets(node);
        }
        if let Some(node) = fields.get("outputs") {
            self.decoder.entries(node, "`outputs`");
        }
        flow::lines(node, self.directory)
    }
}

const CNIS: [(&str, Cni); 5] = [
    ("none", Cni::None),
    ("routes", Cni::Routes),
    ("flannel", Cni::Flannel),
    ("cilium", Cni::Cilium),
    ("calico", Cni::Calico),
];

const KEYS: [(&str, KeyKind); 2] = [("ecdsa", KeyKind::Ecdsa), ("rsa", KeyKind::Rsa)];

/// Kinds of keys by kubeadm's names and others.
const KEY_SYNONYMS: [(&str, &str); 6] = [
    ("ecdsa-p256", "ecdsa"),
    ("ec", "ecdsa"),
    ("p256", "ecdsa"),
    ("p-256", "ecdsa"),
    ("rsa-2048", "rsa"),
    ("rsa2048", "rsa"),
];

const PARTS: [(&str, Part); 3] =
    [("bootstrap", Part::Bootstrap), ("controller", Part::Controller), ("worker", Part::Worker)];

/// Roles in the words of other projects.
const SYNONYMS: [(&str, &str); 9] = [
    ("control-plane", "controller"),
    ("controlplane", "controller"),
    ("control_plane", "controller"),
    ("master", "controller"),
    ("server", "controller"),
    ("agent", "worker"),
    ("compute", "worker"),
    ("node", "worker"),
    ("minion", "worker"),
];
