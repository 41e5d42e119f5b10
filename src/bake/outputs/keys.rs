//! The outputs that a recipe may name, and the keys of their options.

use crate::base::arch::Arch;
use crate::base::forms;
use crate::base::yaml::keys::{Form, Key, Mapping, Rule, Value};

const IPV4: &str = "^[0-9]{1,3}(\\.[0-9]{1,3}){3}$";

static ADDRESS: Form = Form { name: "IPv4 address", pattern: IPV4, numeric: false };
static NETWORK: Form =
    Form { name: "IPv4 network", pattern: "^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]+$", numeric: false };
static RANGE: Form = Form {
    name: "address range",
    pattern: "^\\s*[0-9]{1,3}(\\.[0-9]{1,3}){3}\\s*-\\s*[0-9]{1,3}(\\.[0-9]{1,3}){3}\\s*$",
    numeric: false,
};
static DURATION: Form = Form { name: "duration", pattern: "", numeric: true };
static DOMAIN: Form = Form { name: "domain", pattern: "^[A-Za-z0-9.-]+$", numeric: true };
static INTERFACE: Form = Form { name: "network interface", pattern: "^\\S{1,15}$", numeric: true };
static SYSEXT: Form = Form { name: "SYSEXT", pattern: "", numeric: true };

/// Seconds of a boot menu.
const SECONDS: Value = Value::Number(0, u32::MAX as u64);

/// The URL of the tree where an output needs one.
const BASE_URL: Key = Key::needed(
    "base_url",
    Value::Form(&forms::URL),
    "http://10.0.0.1:8080",
    "URL of the root of the tree, as machines reach it.",
);

/// `outputs:` of a recipe.
pub static OUTPUTS: Mapping = Mapping {
    what: "`outputs`",
    holders: false,
    rules: &[
        Rule::Needs("matchbox", &["pxe"]),
        Rule::Needs("terraform", &["pxe", "matchbox"]),
        Rule::Needs("ipxe", &["pxe"]),
        Rule::Needs("grub", &["pxe"]),
        Rule::Needs("pxelinux", &["pxe"]),
        Rule::Needs("uki", &["pxe"]),
        Rule::Needs("dnsmasq", &["ipxe"]),
        Rule::Needs("udhcpd", &["ipxe"]),
    ],
    keys: &[PXE, DISK, MATCHBOX, TERRAFORM, IPXE, GRUB, PXELINUX, UKI, DNSMASQ, UDHCPD, SYSUPDATE, CAPI],
};

/// Not among the outputs unless the recipe names it.
const NONE: &str = "not published";

pub(super) const PXE: Key = Key::may(
    "pxe",
    Value::Options(&PXE_OPTIONS),
    NONE,
    "{}",
    "Kernel, initrd and overlays, which all network loaders fetch ([pxe.md](pxe.md)).",
);
static PXE_OPTIONS: Mapping = Mapping::of("`pxe`", &[]);

pub(super) const DISK: Key = Key::may(
    "disk",
    Value::Options(&DISK_OPTIONS),
    NONE,
    "{}",
    "The stock disk image, where `flatcar-install -b` looks for it, and ready images for platforms ([disk.md](disk.md)).",
);
static DISK_OPTIONS: Mapping = Mapping::of(
    "`disk`",
    &[
        Key::may(
            "platforms",
            Value::List(&Value::Words(DISK_PLATFORMS)),
            "the stock image alone",
            "[qemu, proxmoxve]",
            "Platforms for which each boot gets an image with its config, sysexts and kernel arguments.",
        ),
        Key::may(
            "formats",
            Value::List(&Value::Words(&DISK_FORMATS)),
            "those of each platform",
            "[qcow2, raw.zst]",
            "Formats in which each image is written.",
        ),
        Key::may(
            "size",
            Value::Form(&forms::SIZE),
            "the length of the platform's own images",
            "20GiB",
            "Length of the disks. ROOT gets all that this adds.",
        ),
        Key::same(
            "autologin",
            Value::Flag,
            "false",
            "true",
            "Whether consoles stay open to everybody where a platform's own images have them so.",
        ),
        Key::same(
            "on_root",
            Value::Flag,
            "false",
            "true",
            "Whether sysexts go to ROOT instead of OEM, which has 128 MiB before release 4487.",
        ),
        Key::same(
            "config",
            Value::Words(&DISK_CONFIGS),
            "own",
            "base",
            "Which part of a machine's config the image's is ([node-image](../guides/node-image.md)).",
        ),
        Key::may(
            "base_url",
            Value::Form(&forms::URL),
            "machines report to no server",
            "http://10.0.0.1:8080",
            "URL that machines report to, and fetch container images from where they are assets.",
        ),
    ],
);

/// The platforms of [`crate::disk::platform`], with their names for people.
pub(super) const DISK_PLATFORMS: &[(&str, &str)] = &[
    ("generic", "no platform"),
    ("akamai", "Akamai"),
    ("ami", "Amazon EC2"),
    ("azure", "Microsoft Azure"),
    ("cloudsigma", "CloudSigma"),
    ("cloudstack", "CloudStack"),
    ("digitalocean", "DigitalOcean"),
    ("exoscale", "Exoscale"),
    ("gce", "Google Compute Engine"),
    ("hetzner", "Hetzner Cloud"),
    ("hyperv", "Microsoft Hyper-V"),
    ("kubevirt", "KubeVirt"),
    ("nutanix", "Nutanix"),
    ("openstack", "OpenStack"),
    ("oraclecloud", "Oracle Cloud"),
    ("proxmoxve", "Proxmox VE"),
    ("qemu", "QEMU"),
    ("scaleway", "Scaleway"),
    ("stackit", "STACKIT"),
    ("vagrant", "Vagrant"),
    ("virtualbox", "VirtualBox"),
    ("vmware", "VMware"),
];

/// The parts of a machine's config that an image's may be.
static DISK_CONFIGS: [(&str, &str); 2] = [
    ("own", "all of it: the platform is not asked for user data"),
    ("base", "what lies below the user data that the platform gives, as Cluster API's machines get it"),
];

/// The formats of disk images, with what they are for.
pub(super) const DISK_FORMATS: [(&str, &str); 10] = [
    ("raw", "the disk byte for byte, with holes"),
    ("raw.gz", "in gzip"),
    ("raw.zst", "in zstd, in frames that can be read alone"),
    ("raw.bz2", "in bzip2, for `flatcar-install -f`"),
    ("qcow2", "for QEMU and its kin, compressed"),
    ("vmdk", "for VMware, as a stream"),
    ("vhd", "for Azure and Hyper-V, of fixed length"),
    ("ova", "the VMDK with an OVF in a tar"),
    ("gce", "the `tar.gz` that Google takes"),
    ("box", "what `vagrant box add` takes for libvirt, with a qcow2 in it"),
];

pub(super) const MATCHBOX: Key = Key::may(
    "matchbox",
    Value::Options(&MATCHBOX_OPTIONS),
    NONE,
    "{}",
    "Groups, profiles and Ignition configs for Matchbox and `prebake serve` ([matchbox.md](matchbox.md)).",
);
static MATCHBOX_OPTIONS: Mapping = Mapping::of("`matchbox`", &[]);

pub(super) const TERRAFORM: Key = Key::may(
    "terraform",
    Value::Options(&TERRAFORM_OPTIONS),
    NONE,
    "{}",
    "A Terraform module that makes the tree's groups and profiles resources of a Matchbox ([terraform.md](terraform.md)).",
);
static TERRAFORM_OPTIONS: Mapping = Mapping::of(
    "`terraform`",
    &[Key::may(
        "typhoon",
        Value::Keys(&TYPHOON),
        NONE,
        "{base_url: http://10.0.0.1:8080, domain: lab.example}",
        "A bench beside it: a root module that gives Typhoon's bare-metal module what the recipe says.",
    )],
);
pub(super) static TYPHOON: Mapping = Mapping::of(
    "`typhoon`",
    &[
        Key::needed(
            "base_url",
            Value::Form(&forms::URL),
            "http://10.0.0.1:8080",
            "URL under which machines reach groups, profiles and assets (`matchbox_http_endpoint`).",
        ),
        Key::needed("domain", Value::Form(&DOMAIN), "lab.example", "Domain of the machines' names."),
        Key::may(
            "rpc",
            Value::Text,
            "port 8081 of the host of `base_url`",
            "10.0.0.1:8081",
            "Where Terraform reaches the server's gRPC API.",
        ),
        Key::may(
            "api",
            Value::Form(&DOMAIN),
            "the first controller's name",
            "api.lab.example",
            "Name under which the API server is reached (`k8s_domain_name`).",
        ),
        Key::same(
            "install_disk",
            Value::Text,
            "/dev/sda",
            "/dev/vda",
            "The disk to which every machine installs.",
        ),
    ],
);

pub(super) const IPXE: Key = Key::may(
    "ipxe",
    Value::Options(&IPXE_OPTIONS),
    NONE,
    "{menu: {timeout: 30, default: worker}}",
    "Static iPXE scripts for any web or TFTP server ([ipxe.md](ipxe.md)).",
);
static IPXE_OPTIONS: Mapping = Mapping::of(
    "`ipxe`",
    &[
        Key::may(
            "base_url",
            Value::Form(&forms::URL),
            "the server that iPXE was loaded from",
            "http://10.0.0.1:8080",
            "URL to which `autoexec.ipxe` chains.",
        ),
        Key::may(
            "menu",
            Value::Keys(&MENU),
            "machines that no node names boot the default profile",
            "{timeout: 30, default: worker}",
            "A menu of all profiles for machines that no node names.",
        ),
    ],
);
pub(super) static MENU: Mapping = Mapping::of(
    "`menu`",
    &[
        Key::may(
            "default",
            Value::Text,
            "the recipe's `default_profile`, else the local disk",
            "worker",
            "The profile that it boots when the time is over.",
        ),
        Key::same("timeout", SECONDS, "10", "30", "Seconds until it boots the default."),
    ],
);

pub(super) const GRUB: Key = Key::may(
    "grub",
    Value::Options(&GRUB_OPTIONS),
    NONE,
    "{timeout: 5}",
    "Configs for GRUB's network boot ([grub.md](grub.md)).",
);
static GRUB_OPTIONS: Mapping = Mapping::of(
    "`grub`",
    &[
        Key::may(
            "base_url",
            Value::Form(&forms::URL),
            "the root of the server that GRUB was loaded from",
            "http://10.0.0.1:8080",
            "URL of the tree; http only, as GRUB has no https.",
        ),
        Key::same("timeout", SECONDS, "3", "5", "Seconds until the first entry is booted."),
    ],
);

pub(super) const PXELINUX: Key = Key::may(
    "pxelinux",
    Value::Options(&PXELINUX_OPTIONS),
    NONE,
    "{base_url: http://10.0.0.1:8080}",
    "Configs for PXELINUX; x86 only ([pxelinux.md](pxelinux.md)).",
);
static PXELINUX_OPTIONS: Mapping = Mapping::of(
    "`pxelinux`",
    &[
        Key::may(
            "base_url",
            Value::Form(&forms::URL),
            "everything comes by TFTP from the server of `pxelinux.0`",
            "http://10.0.0.1:8080",
            "URL of the tree, for `lpxelinux.0` and `syslinux.efi`, which fetch by HTTP.",
        ),
        Key::same("timeout", SECONDS, "3", "5", "Seconds until the default is booted."),
    ],
);

pub(super) const UKI: Key = Key::may(
    "uki",
    Value::Options(&UKI_OPTIONS),
    NONE,
    "{base_url: http://10.0.0.1:8080}",
    "A unified kernel image for each boot ([uki.md](uki.md)).",
);
static UKI_OPTIONS: Mapping = Mapping::of(
    "`uki`",
    &[
        Key::may(
            "stubs",
            Value::Keys(&STUBS),
            "the stubs below `/usr/lib/systemd/boot/efi` of the machine that builds",
            "{amd64: /opt/stubs/linuxx64.efi.stub}",
            "systemd's stub for each architecture.",
        ),
        Key::may(
            "base_url",
            Value::Form(&forms::URL),
            "machines report to no server",
            "http://10.0.0.1:8080",
            "URL that machines report to, and fetch their config from where they need one: no server passes it to them.",
        ),
    ],
);
pub(super) static STUBS: Mapping = Mapping::of(
    "`stubs`",
    &[
        Key::may(
            Arch::Amd64.go(),
            Value::Text,
            "the stub of the machine that builds",
            "/opt/stubs/linuxx64.efi.stub",
            "Path of the stub for x86-64.",
        ),
        Key::may(
            Arch::Arm64.go(),
            Value::Text,
            "the stub of the machine that builds",
            "/opt/stubs/linuxaa64.efi.stub",
            "Path of the stub for arm64.",
        ),
    ],
);

const ADDRESSES: Value = Value::List(&Value::Form(&ADDRESS));

/// Keys that all DHCP servers have.
const SUBNET: Key = Key::needed(
    "subnet",
    Value::Form(&NETWORK),
    "10.0.0.0/24",
    "The network that it serves; addresses must be in it.",
);
const GATEWAY: Key = Key::may(
    "gateway",
    Value::Form(&ADDRESS),
    "no router",
    "10.0.0.254",
    "The router that machines are told.",
);
const DNS: Key = Key::may(
    "dns",
    ADDRESSES,
    "the server's own choice",
    "[10.0.0.53]",
    "The name servers that machines are told.",
);
const DOMAIN_KEY: Key =
    Key::may("domain", Value::Form(&DOMAIN), "none", "lab.example", "Domain of the nodes' names.");
const LEASE: Key = Key::same(
    "lease",
    Value::Form(&DURATION),
    "12h",
    "1h",
    "Time for which an address is given; at least two minutes.",
);

pub(super) const DNSMASQ: Key = Key::may(
    "dnsmasq",
    Value::Options(&DNSMASQ_OPTIONS),
    NONE,
    "{mode: proxy, base_url: http://10.0.0.1:8080, subnet: 10.0.0.0/24}",
    "A config for dnsmasq as boot server, with or without the addresses ([dnsmasq.md](dnsmasq.md)).",
);
static DNSMASQ_OPTIONS: Mapping = Mapping::of(
    "`dnsmasq`",
    &[
        Key::needed(
            "mode",
            Value::Words(&[
                ("proxy", "beside a DHCP server that gives the addresses"),
                ("full", "it is that server"),
            ]),
            "full",
            "Whether it gives addresses.",
        ),
        BASE_URL,
        SUBNET,
        Key::may(
            "range",
            Value::Form(&RANGE),
            "addresses for nodes alone",
            "10.0.0.100-10.0.0.200",
            "Addresses for machines that no node names. With `mode: full` only.",
        ),
        GATEWAY,
        DNS,
        DOMAIN_KEY,
        Key::may(
            "interface",
            Value::Form(&INTERFACE),
            "every interface",
            "eth0",
            "The interface that it serves.",
        ),
        LEASE,
        Key::same(
            "tftp_root",
            Value::Text,
            "/usr/lib/ipxe",
            "/srv/tftp",
            "Absolute path of the directory with the loaders; the default is that of Debian's package `ipxe`.",
        ),
        Key::may(
            "loaders",
            Value::Keys(&LOADERS),
            "iPXE's own names",
            "{uefi: snponly.efi}",
            "File names of the loaders below `tftp_root`.",
        ),
    ],
);
pub(super) static LOADERS: Mapping = Mapping::of(
    "`loaders`",
    &[
        Key::same("bios", Value::Text, "undionly.kpxe", "ipxe.pxe", "Loader for BIOS."),
        Key::same("uefi", Value::Text, "ipxe.efi", "snponly.efi", "Loader for UEFI x86-64."),
        Key::same("arm64", Value::Text, "ipxe-arm64.efi", "snponly-arm64.efi", "Loader for UEFI arm64."),
        Key::may(
            "http",
            Value::Text,
            "no answer to UEFI HTTP boot",
            "http://10.0.0.1:8080/ipxe.efi",
            "URL that UEFI HTTP boot loads. With `mode: full` only.",
        ),
    ],
);

pub(super) const UDHCPD: Key = Key::may(
    "udhcpd",
    Value::Options(&UDHCPD_OPTIONS),
    NONE,
    "{base_url: http://10.0.0.1:8080, subnet: 10.0.0.0/24, range: 10.0.0.100-10.0.0.200, interface: eth0}",
    "A config for BusyBox' udhcpd ([udhcpd.md](udhcpd.md)).",
);
static UDHCPD_OPTIONS: Mapping = Mapping::of(
    "`udhcpd`",
    &[
        BASE_URL,
        SUBNET,
        Key::needed(
            "range",
            Value::Form(&RANGE),
            "10.0.0.100-10.0.0.200",
            "Addresses for machines that no node names; without it udhcpd gives none at all.",
        ),
        GATEWAY,
        DNS,
        DOMAIN_KEY,
        Key::needed("interface", Value::Form(&INTERFACE), "eth0", "The interface that it serves."),
        LEASE,
        Key::same(
            "loader",
            Value::Text,
            "ipxe.efi",
            "undionly.kpxe",
            "File name of the iPXE on the TFTP server; udhcpd cannot tell firmware apart, so there is one for all.",
        ),
    ],
);

pub(super) const SYSUPDATE: Key = Key::may(
    "sysupdate",
    Value::Options(&SYSUPDATE_OPTIONS),
    NONE,
    "{base_url: http://10.0.0.1:8080}",
    "Files by which nodes update their sysexts from the tree ([updates](../guides/updates.md)).",
);
static SYSUPDATE_OPTIONS: Mapping = Mapping::of(
    "`sysupdate`",
    &[
        BASE_URL,
        Key::same(
            "instances",
            Value::Number(2, u32::MAX as u64),
            "3",
            "2",
            "Number of versions that a node keeps, the running one included.",
        ),
        Key::may(
            "versions",
            Value::Names(&SYSEXT, &Value::List(&Value::Text)),
            "only those that profiles boot",
            "{kubernetes: [v1.34.3, v1.34.4]}",
            "Versions that are published besides those that profiles boot, by sysext.",
        ),
    ],
);

static RANGE_OF_IDS: Form =
    Form { name: "range of numbers", pattern: "^\\s*[0-9]+\\s*-\\s*[0-9]+\\s*$", numeric: false };
static COMPONENT: Form = Form { name: "NAME", pattern: "", numeric: false };
/// The numbers that Proxmox VE gives to machines.
pub(super) const VM_IDS: std::ops::RangeInclusive<u32> = 100..=999_999_999;

pub(super) const CAPI: Key = Key::may(
    "capi",
    Value::Options(&CAPI_OPTIONS),
    NONE,
    "{provider: proxmox, addons: [flannel]}",
    "A repository for clusterctl with the flavor `flatcar` for these disk images ([capi.md](capi.md)).",
);
static CAPI_OPTIONS: Mapping = Mapping::of(
    "`capi`",
    &[
        Key::same(
            "provider",
            Value::Words(CAPI_PROVIDERS),
            "proxmox",
            "openstack",
            "The infrastructure provider of Cluster API.",
        ),
        Key::may(
            "versions",
            Value::Names(&COMPONENT, &Value::Text),
            "those that this prebake knows",
            "{cluster-api: v1.12.10}",
            "Versions of components and add-ons, by name, that `prebake capi vendor` fetches.",
        ),
        Key::may(
            "addons",
            Value::List(&Value::Text),
            "a cluster without a network plugin",
            "[flannel]",
            "Add-ons that each cluster gets once its API server answers, from `capi/addons/NAME` beside the recipe.",
        ),
        Key::may(
            "pods",
            Value::Form(&NETWORK),
            "192.168.0.0/16",
            "10.244.0.0/16",
            "Network of the pods, if nobody gives `POD_CIDR`.",
        ),
        Key::may(
            "users",
            Value::List(&Value::Text),
            "[core]",
            "[core, ops]",
            "Users of the machines, who may become root.",
        ),
        Key::may(
            "ssh_keys",
            Value::List(&Value::Text),
            "clusterctl asks for `VM_SSH_KEYS`",
            "[ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt ops]",
            "Their SSH public keys.",
        ),
        Key::same(
            "restart_networkd",
            Value::Flag,
            "false",
            "true",
            "Whether systemd-networkd is started anew before kubeadm. The provider's units are there before the first boot.",
        ),
        Key::may(
            "template",
            Value::Keys(&CAPI_TEMPLATE),
            "clusterctl asks for `TEMPLATE_VMID`",
            "{id: 211}",
            "Proxmox VE: the template that machines are clones of.",
        ),
        Key::may(
            "vm_ids",
            Value::Form(&RANGE_OF_IDS),
            "the next free ones",
            "2000-2999",
            "Proxmox VE: first and last number of machines.",
        ),
        Key::may(
            "memory_adjustment",
            Value::Number(0, 10_000),
            "100",
            "0",
            "Proxmox VE: percentage of a host's memory that machines may have; 0 for no limit, against \"0b available\".",
        ),
    ],
);
pub(super) static CAPI_TEMPLATE: Mapping = Mapping {
    what: "`template`",
    holders: false,
    rules: &[Rule::One(&["id", "tags"])],
    keys: &[
        Key::may(
            "id",
            Value::Number(*VM_IDS.start() as u64, *VM_IDS.end() as u64),
            "`tags` tell it",
            "211",
            "Its number. `TEMPLATE_VMID` goes before it.",
        ),
        Key::may(
            "tags",
            Value::List(&Value::Text),
            "`id` tells it",
            "[flatcar]",
            "Tags that it has, and perhaps more.",
        ),
    ],
};

/// The providers of [`crate::capi::provider`], with their names for people.
const CAPI_PROVIDERS: &[(&str, &str)] = &[
    ("proxmox", "Proxmox VE"),
    ("openstack", "OpenStack"),
    ("vsphere", "VMware vSphere"),
    ("kubevirt", "KubeVirt"),
    ("aws", "Amazon EC2"),
    ("azure", "Microsoft Azure"),
];
