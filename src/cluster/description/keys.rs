//! The keys of `cluster.yaml`: those of a seed that many already have, and what a cluster needs besides.

use crate::bake::recipe::keys::{INSTALL, MIRRORS, PUBLIC_SECRET, SYSEXT, TRUST};
use crate::base::forms;
use crate::base::yaml::keys::{Form, Key, Mapping, Rule, Value};
use crate::machine::keys::{HOST, MAC};
use crate::sysext::keys::PACKAGING;

static KUBERNETES: Form =
    Form { name: "Kubernetes version", pattern: "^v?[0-9]+\\.[0-9]+\\.[0-9]+$", numeric: false };
static FLATCAR: Form =
    Form { name: "Flatcar version", pattern: "^(latest|v?[0-9]+\\.[0-9]+\\.[0-9]+)$", numeric: false };
static LTS: Form = Form { name: "LTS stream", pattern: "^lts-[0-9]{4}$", numeric: false };
static ADDRESS: Form =
    Form { name: "IPv4 address", pattern: "^[0-9]+\\.[0-9]+\\.[0-9]+\\.[0-9]+$", numeric: false };
/// An address, or one with the prefix length of its network.
static PLACED: Form =
    Form { name: "IPv4 address", pattern: "^[0-9]+\\.[0-9]+\\.[0-9]+\\.[0-9]+(/[0-9]+)?$", numeric: false };
static NETWORK: Form =
    Form { name: "IPv4 network", pattern: "^[0-9]+\\.[0-9]+\\.[0-9]+\\.[0-9]+/[0-9]+$", numeric: false };
static TOKEN: Form = Form { name: "bootstrap token", pattern: "^[a-z0-9]{6}\\.[a-z0-9]{16}$", numeric: true };
static TAINT: Form = Form {
    name: "taint",
    pattern: "^[^=:]+(=[^=:]*)?:(NoSchedule|PreferNoSchedule|NoExecute)$",
    numeric: false,
};
static STATE: Form = Form { name: "device file", pattern: "^/dev/disk/", numeric: false };
static LABEL: Form = Form { name: "LABEL", pattern: "", numeric: true };
static REGISTRY: Form = Form { name: "REGISTRY", pattern: "^[^/\\s]+$", numeric: true };

/// A list of files.
const FILES: Value = Value::List(&Value::Form(&forms::PATH));
/// A list of sysexts, as a recipe has it.
const SYSEXTS: Value = Value::List(&Value::Either(&[Value::Text, Value::Keys(&SYSEXT)]));

/// The top level of `cluster.yaml`.
pub static CLUSTER_FILE: Mapping = Mapping {
    what: "the cluster's description",
    holders: true,
    rules: &[],
    keys: &[
        Key::same("schema", Value::Number(1, 1), "1", "1", "Version of the format."),
        Key::needed(
            "cluster",
            Value::Keys(&CLUSTER),
            "{name: edge, k8s_version: 1.33.13}",
            "The cluster itself: its name, its versions, its networks, and the keys that may log in.",
        ),
        Key::may(
            "control_plane_vip",
            Value::Either(&[Value::Form(&ADDRESS), Value::Keys(&VIP)]),
            "the API server is asked at the first controller's address",
            "10.0.0.10",
            "The address of the API server that the controllers share. kube-vip on the controllers holds it, or something else if it \
             is `external`.",
        ),
        Key::may(
            "bootstrap",
            Value::Keys(&BOOTSTRAP),
            "the node with the role `bootstrap`",
            "{ip: 10.0.0.2}",
            "The machine that runs prebake: the others boot from it. It never becomes a member of the cluster.",
        ),
        Key::needed(
            "nodes",
            Value::List(&Value::Keys(&MACHINE)),
            "[{name: c1, ip: 10.0.0.11, mac: \"52:54:00:00:00:01\", role: controller, state: /dev/disk/by-id/virtio-state}]",
            "The machines of the cluster. The first controller forms it, and the others join in the order of the list.",
        ),
        Key::may(
            "network",
            Value::Form(&NETWORK),
            "the prefix length that an address here has, or the 256 addresses around the bootstrap machine's (/24)",
            "10.0.0.0/24",
            "The network of the machines: all of their addresses are in it.",
        ),
        Key::may(
            "gateway",
            Value::Form(&ADDRESS),
            "machines are told no router",
            "10.0.0.1",
            "The router that machines are told.",
        ),
        Key::may(
            "dns",
            Value::List(&Value::Form(&ADDRESS)),
            "machines are told no name server",
            "[10.0.0.1]",
            "The name servers that machines are told.",
        ),
        Key::may(
            "ntp",
            Value::List(&Value::Text),
            "the clock is set from the bootstrap machine at each boot, and Flatcar's own servers are asked afterwards",
            "[10.0.0.1]",
            "Servers of the time, by name or address.",
        ),
        Key::may(
            "registry_mirrors",
            Value::Names(&REGISTRY, &Value::List(&Value::Form(&forms::URL))),
            "registries are asked themselves for images that machines do not carry",
            "{docker.io: [\"http://10.0.0.2:5000\"]}",
            "Registries that containerd asks in place of public ones, in order, by host; `_default` stands for all others.",
        ),
        Key::may(
            "proxy",
            Value::Either(&[Value::Form(&forms::URL), Value::Keys(&PROXY)]),
            "no proxy",
            "http://10.0.0.1:3128",
            "The proxy of the site, for containerd alone.",
        ),
        Key::may(
            "addons",
            Value::List(&Value::Either(&[Value::Text, Value::Keys(&ADDON)])),
            "none",
            "[metallb, {name: own, manifests: [manifests]}]",
            "Add-ons, applied in this order after the API server answers: a name that prebake knows, or manifests of one's own.",
        ),
        Key::may(
            "hooks",
            Value::Form(&forms::PATH),
            "nothing runs",
            "hooks",
            "A directory whose programs run in the order of their names, with `KUBECONFIG` set, once all nodes are Ready.",
        ),
        Key::may(
            "recipe",
            Value::Keys(&FURTHER),
            "only what follows from the other keys",
            "{mirrors: {flatcar: [\"http://10.0.0.2/flatcar\"]}}",
            "Further settings of the recipe that the description becomes ([recipe.md](recipe.md)).",
        ),
    ],
};

/// `cluster:`
pub(crate) static CLUSTER: Mapping = Mapping::of(
    "`cluster`",
    &[
        Key::needed(
            "name",
            Value::Form(&forms::NAME),
            "edge",
            "Name of the cluster: of the tree, `output/NAME`, and of the kubeconfig's context.",
        ),
        Key::needed(
            "k8s_version",
            Value::Form(&KUBERNETES),
            "1.33.13",
            "Version of Kubernetes, with or without a `v`.",
        ),
        Key::may(
            "channel",
            Value::Either(&[
                Value::Words(&[
                    ("stable", "the channel for production"),
                    ("beta", "what becomes stable next"),
                    ("alpha", "what becomes beta next"),
                    ("lts", "the newest stream with long-term support"),
                ]),
                Value::Form(&LTS),
            ]),
            "the channel of the `flatcar_version`, or stable",
            "stable",
            "Channel of Flatcar, or a stream of the LTS channel, such as `lts-2024`.",
        ),
        Key::same(
            "flatcar_version",
            Value::Form(&FLATCAR),
            "latest",
            "4593.2.5",
            "Version of Flatcar, or `latest`: the channel's current one when the lock is made.",
        ),
        Key::same(
            "pod_subnet",
            Value::Form(&NETWORK),
            "10.244.0.0/16",
            "10.244.0.0/16",
            "Addresses of pods. Each node takes a /24 of them.",
        ),
        Key::same(
            "service_subnet",
            Value::Form(&NETWORK),
            "10.96.0.0/12",
            "10.96.0.0/12",
            "Addresses of services.",
        ),
        Key::may(
            "ssh_authorized_key",
            Value::Either(&[Value::Text, Value::List(&Value::Text)]),
            "nobody, unless a layer says otherwise",
            "keys/team.pub",
            "SSH keys that may log in as `core` on every machine, one or a list: a key (`ssh-ed25519 AAAA… you@host`), a file of \
             public keys, or `github:USER`, whose keys the lock pins.",
        ),
        Key::may(
            "join",
            Value::Words(&[
                (
                    "certificate",
                    "by a client certificate for each machine, which lasts a day and which the boot server makes anew each hour",
                ),
                ("token", "by a bootstrap token"),
            ]),
            "certificate, or token if a `token` is given",
            "token",
            "How machines prove that they may join.",
        ),
        Key::may(
            "token",
            Value::Form(&TOKEN),
            "generated, where machines join by token",
            "abcdef.0123456789abcdef",
            "The bootstrap token, as `kubeadm token generate` makes one. It lets anybody join a machine: let the file be encrypted, \
             or leave it out.",
        ),
        Key::same(
            "key_algorithm",
            Value::Words(&[
                ("ecdsa", "on the curve P-256: made and used in no time also by small machines"),
                ("rsa", "of 2048 bits, for programs that know no other"),
            ]),
            "ecdsa",
            "rsa",
            "The kind of the cluster's keys. It counts when they are made; those that are there stay as they are.",
        ),
        Key::same(
            "cni",
            Value::Words(&[
                ("none", "one of `addons`, or a person, brings one: add-ons wait for no node then"),
                (
                    "routes",
                    "the plugins `bridge` and `host-local` with static routes between the nodes, without any image",
                ),
                ("flannel", "flannel, from its locked manifest"),
                ("cilium", "Cilium, from a manifest that is rendered when the lock is made"),
                ("calico", "Calico, from its locked manifest"),
            ]),
            "flannel",
            "cilium",
            "The network plugin.",
        ),
        Key::may(
            "etcd",
            Value::Keys(&ETCD),
            "each controller runs a member",
            "{endpoints: [\"https://10.0.0.5:2379\"], ca: etcd/ca.crt, cert: etcd/client.crt, key: etcd/client.key}",
            "An etcd outside of the cluster. Controllers then keep nothing that a power cut could take.",
        ),
    ],
);

/// `cluster.etcd:`
pub(crate) static ETCD: Mapping = Mapping::of(
    "`etcd`",
    &[
        Key::needed(
            "endpoints",
            Value::List(&Value::Form(&forms::URL)),
            "[\"https://10.0.0.5:2379\"]",
            "URLs of its members.",
        ),
        Key::needed(
            "ca",
            Value::Form(&forms::PATH),
            "etcd/ca.crt",
            "File of the authority of its certificates (PEM).",
        ),
        Key::needed(
            "cert",
            Value::Form(&forms::PATH),
            "etcd/client.crt",
            "File of the API server's client certificate (PEM).",
        ),
        Key::needed(
            "key",
            Value::Form(&forms::PATH),
            "etcd/client.key",
            "File of the key of that certificate (PEM).",
        ),
    ],
);

/// `control_plane_vip:` as a mapping.
pub(crate) static VIP: Mapping = Mapping::of(
    "`control_plane_vip`",
    &[
        Key::needed("address", Value::Form(&ADDRESS), "10.0.0.10", "The address."),
        Key::same(
            "external",
            Value::Flag,
            "false",
            "true",
            "Whether something outside of the cluster holds it, such as a load balancer; kube-vip on the controllers does otherwise.",
        ),
    ],
);

/// `bootstrap:`
pub(crate) static BOOTSTRAP: Mapping = Mapping::of(
    "`bootstrap`",
    &[
        Key::may(
            "name",
            Value::Form(&HOST),
            "the name of the node with the role `bootstrap`",
            "boot",
            "Its name. It gives no machine that name.",
        ),
        Key::may(
            "ip",
            Value::Form(&PLACED),
            "the address of the node with the role `bootstrap`; one of the two is needed",
            "10.0.0.2",
            "Its address, at which the machines find it. It may have the prefix length of the machines' network.",
        ),
        Key::may(
            "mac",
            Value::Form(&MAC),
            "that of the node with the role `bootstrap`, if there is one",
            "\"52:54:00:00:00:ff\"",
            "The MAC address of its card, which then can be no machine's.",
        ),
        Key::may(
            "interface",
            Value::Text,
            "the network interface that has the address",
            "eth0",
            "The network interface to serve on.",
        ),
        Key::same(
            "dhcp",
            Value::Flag,
            "false",
            "true",
            "Whether it gives machines their addresses; otherwise it only adds the boot to what another DHCP server answers (proxyDHCP).",
        ),
    ],
);

/// A machine of `nodes:`.
pub(crate) static MACHINE: Mapping = Mapping::of(
    "a node",
    &[
        Key::needed(
            "name",
            Value::Form(&HOST),
            "c1",
            "Host name, and name of the Node: at most 63 lower-case letters, digits, `-` and `.`.",
        ),
        Key::needed(
            "ip",
            Value::Form(&PLACED),
            "10.0.0.11",
            "Its address. It may have the prefix length of the machines' network.",
        ),
        Key::needed(
            "mac",
            Value::Form(&MAC),
            "\"52:54:00:00:00:01\"",
            "MAC address of the card that it boots over, in any spelling that firmware, switches and labels print.",
        ),
        Key::needed(
            "role",
            Value::Words(&[
                ("bootstrap", "runs prebake; at most one, with the address of `bootstrap`"),
                ("controller", "runs the API server and a member of etcd"),
                ("worker", "runs pods only"),
            ]),
            "controller",
            "Its part in the cluster.",
        ),
        Key::same(
            "ephemeral",
            Value::Flag,
            "false",
            "true",
            "Whether a controller may keep its state in memory. A power cut then takes it, and with it the whole cluster if it is \
             the only one.",
        ),
        Key::may(
            "state",
            Value::Form(&STATE),
            "nothing outlives a power cut",
            "/dev/disk/by-id/virtio-state",
            "A disk or partition for what must outlive a power cut; Ignition makes a file system on it if it has none. The system \
             itself runs from memory.",
        ),
        Key::may(
            "install",
            Value::Keys(&INSTALL),
            "the system runs from memory",
            "{device: /dev/disk/by-id/nvme-eui.0025385b21404321}",
            "The disk to which Flatcar is installed ([install.md](install.md)). `prebake cluster generate` refuses it so far: secrets are given only to machines that boot over the network.",
        ),
        Key::may(
            "memory",
            Value::Form(&forms::SIZE),
            "not known, and nothing is judged by it",
            "8GiB",
            "Its amount of memory.",
        ),
        Key::may(
            "labels",
            Value::Names(&LABEL, &Value::Text),
            "only those that the kubelet sets",
            "{topology.kubernetes.io/zone: a}",
            "Labels of the Node.",
        ),
        Key::may(
            "taints",
            Value::List(&Value::Form(&TAINT)),
            "controllers take no pods but the cluster's own, workers take all",
            "[\"gpu=true:NoSchedule\"]",
            "Taints of the Node, `KEY=VALUE:EFFECT`; `[]` lets a controller take every pod.",
        ),
        Key::may(
            "ignition",
            FILES,
            "only what the cluster needs",
            "[layers/gpu.bu]",
            "Further layers, Butane or Ignition (`.ign`), merged over those of its role.",
        ),
        Key::may(
            "kernel_args",
            Value::List(&Value::Text),
            "only those that a network boot needs",
            "[\"console=ttyS0,115200n8\"]",
            "Further kernel arguments. Those that would break the boot are refused.",
        ),
        Key::may(
            "bmc",
            Value::Keys(&BMC),
            "a person switches it on",
            "{redfish: \"https://10.0.9.11\", user: admin, password: {env: BMC_PASSWORD}}",
            "Its BMC, which switches its power and chooses the network boot (Redfish).",
        ),
        Key::may(
            "power",
            Value::Keys(&POWER),
            "a person switches it on",
            "{command: [ipmitool, -I, lanplus, -H, 10.0.9.11, -E, chassis]}",
            "How a program switches its power, where there is no Redfish.",
        ),
    ],
);

/// `bmc:` of a node.
pub(crate) static BMC: Mapping = Mapping::of(
    "`bmc`",
    &[
        Key::needed(
            "redfish",
            Value::Form(&forms::URL),
            "\"https://10.0.9.11\"",
            "URL of the BMC, with a path if it has several systems: `https://10.0.9.11/redfish/v1/Systems/1`.",
        ),
        Key::needed("user", Value::Text, "admin", "User name."),
        Key::needed(
            "password",
            Value::Either(&[Value::Keys(&PASSWORD), Value::Text]),
            "{env: BMC_PASSWORD}",
            "Its password: in an environment variable, in a file, or here if the whole file is encrypted with SOPS.",
        ),
        Key::same("insecure", Value::Flag, "false", "true", "Whether its certificate is not judged."),
    ],
);

/// The place of a password.
pub(crate) static PASSWORD: Mapping = Mapping {
    what: "`password`",
    holders: false,
    rules: &[Rule::One(&["env", "file"])],
    keys: &[
        Key::may(
            "env",
            Value::Text,
            "it is in a file",
            "BMC_PASSWORD",
            "The environment variable that has it.",
        ),
        Key::may(
            "file",
            Value::Form(&forms::PATH),
            "it is in an environment variable",
            "secrets/bmc",
            "The file that has it and nothing else; only its owner may read that.",
        ),
    ],
};

/// `power:` of a node.
pub(crate) static POWER: Mapping = Mapping::of(
    "`power`",
    &[Key::needed(
        "command",
        Value::List(&Value::Text),
        "[power/ipmi.sh, c1]",
        "A program with its arguments. One of the words `on`, `off`, `status` and `pxe` follows them.",
    )],
);

/// `proxy:` as a mapping.
pub(crate) static PROXY: Mapping = Mapping::of(
    "`proxy`",
    &[
        Key::needed("url", Value::Form(&forms::URL), "http://10.0.0.1:3128", "The proxy for http and https."),
        Key::may(
            "except",
            Value::List(&Value::Text),
            "only the cluster's own addresses",
            "[.example.com, 10.0.0.0/8]",
            "Hosts, domains and networks besides the cluster's own that are asked without it.",
        ),
    ],
);

/// An add-on of one's own, or a known one with more images.
pub(crate) static ADDON: Mapping = Mapping::of(
    "an add-on",
    &[
        Key::needed(
            "name",
            Value::Form(&forms::NAME),
            "cert-manager",
            "Name of one that prebake knows, or of your own, which has `manifests`.",
        ),
        Key::may(
            "manifests",
            FILES,
            "those of the add-on that prebake knows by this name",
            "[manifests]",
            "Files of manifests, and directories of such files.",
        ),
        Key::may(
            "images",
            Value::List(&Value::Form(&forms::IMAGE)),
            "those that its manifests name in `image`",
            "[registry.k8s.io/pause:3.10]",
            "Images that its manifests name elsewhere, such as in an argument.",
        ),
    ],
);

/// The value of a recipe's key, and its words.
macro_rules! of_recipe {
    ($name:literal, $value:expr, $absent:literal, $example:literal) => {
        Key::may($name, $value, $absent, $example, concat!("As `", $name, "` of a recipe."))
    };
}

/// `recipe:`
pub(crate) static FURTHER: Mapping = Mapping::of(
    "`recipe`",
    &[
        of_recipe!(
            "trust",
            Value::Keys(&TRUST),
            "Flatcar's own key",
            "{primary_fingerprint: 9B368570AEFD715B83A15ACE4F564163D3EA328A}"
        ),
        of_recipe!(
            "mirrors",
            Value::Keys(&MIRRORS),
            "the public hosts",
            "{flatcar: [\"http://10.0.0.2/flatcar\"]}"
        ),
        of_recipe!("trust_ca", FILES, "only the public authorities", "[keys/company-ca.pem]"),
        of_recipe!("sysexts", SYSEXTS, "only those that a cluster needs", "[nerdctl]"),
        of_recipe!(
            "packaging",
            Value::Keys(&PACKAGING),
            "squashfs with zstd, without verity",
            "{format: erofs}"
        ),
        of_recipe!(
            "images",
            Value::List(&Value::Form(&forms::IMAGE)),
            "only those that the cluster needs",
            "[registry.k8s.io/pause:3.10]"
        ),
        of_recipe!(
            "public_secrets",
            Value::List(&Value::Keys(&PUBLIC_SECRET)),
            "every place that looks like a secret is judged",
            "[{path: /etc/demo.key, why: opens nothing}]"
        ),
        of_recipe!(
            "outputs",
            Value::Elsewhere("outputs"),
            "those that a cluster needs",
            "{grub: {timeout: 5}}"
        ),
    ],
);

/// Whether `recipe:` has a key that no recipe has; a test asks.
#[cfg(test)]
pub(super) fn strangers() -> Vec<&'static str> {
    use crate::bake::recipe::keys::RECIPE;
    FURTHER.keys.iter().map(|key| key.name).filter(|name| RECIPE.key(name).is_none()).collect()
}
