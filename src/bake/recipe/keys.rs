//! The keys of a recipe. Those below `outputs:` are a table of the outputs, those of nodes one of `machine`.

use crate::base::forms;
use crate::base::yaml::keys::{Form, Key, Mapping, Rule, Value};
use crate::machine::keys::NODE;
use crate::source::SourceName;
use crate::sysext::keys::PACKAGING;
use crate::tree::names;

static FLATCAR: Form =
    Form { name: "Flatcar version", pattern: "^(latest|[0-9]+\\.[0-9]+\\.[0-9]+)$", numeric: false };
static LTS: Form = Form { name: "LTS stream", pattern: "^lts-[0-9]{4}$", numeric: false };
static KUBERNETES_VERSION: Form =
    Form { name: "Kubernetes version", pattern: "^v[0-9]+\\.[0-9]+\\.[0-9]+$", numeric: false };
static PROFILE_NAME: Form = Form { name: "PROFILE", ..forms::NAME };
static VARIABLE: Form = Form { name: "VARIABLE", pattern: "", numeric: true };
static PLAIN: Form =
    Form { name: "text without quotes", pattern: "^[^'\\u0000-\\u001f\\u007f]+$", numeric: true };

/// A list of files.
const FILES: Value = Value::List(&Value::Form(&forms::PATH));
/// A list of sysexts.
const SYSEXTS: Value = Value::List(&Value::Either(&[Value::Text, Value::Keys(&SYSEXT)]));

/// The top level of a recipe.
pub static RECIPE: Mapping = Mapping {
    what: "the recipe",
    holders: true,
    rules: &[],
    keys: &[
        Key::needed("schema", Value::Number(1, 1), "1", "Version of the format."),
        Key::needed(
            "name",
            Value::Form(&forms::NAME),
            "edge",
            "Name of the output directory, `output/NAME`. The lock has the name of the recipe's file.",
        ),
        Key::needed(
            "release",
            Value::Keys(&RELEASE),
            "{channel: stable}",
            "The Flatcar release that machines boot. `prebake lock` finds out which version that is, and the lock holds it.",
        ),
        Key::may(
            "trust",
            Value::Keys(&TRUST),
            "Flatcar's own key, whose fingerprint is in the binary",
            "{primary_fingerprint: 9B368570AEFD715B83A15ACE4F564163D3EA328A, key: keys/vendor.gpg}",
            "The key that must have signed the release ([keys](../guides/keys.md)).",
        ),
        Key::may(
            "mirrors",
            Value::Keys(&MIRRORS),
            "the public hosts, or the mirrors in the environment (`PREBAKE_MIRROR_FLATCAR` and so on), which come before these",
            "{flatcar: [http://10.0.0.2/flatcar]}",
            "Base URLs to ask instead of public hosts, in order, for each source. A source with mirrors is never asked \
             itself ([mirrors](../guides/mirrors.md)).",
        ),
        Key::same(
            "config_from",
            Value::Words(&[
                ("overlay", "the overlay; a release that loses its config is refused"),
                ("auto", "the overlay, or a URL where the release loses the overlay's config"),
                ("url", "a URL, for every release"),
            ]),
            "overlay",
            "auto",
            "The place that machines take their Ignition config from ([netboot](../guides/netboot.md)).",
        ),
        Key::may(
            "base_url",
            Value::Form(&forms::URL),
            "the `base_url` of the outputs, if all that have one agree, or the address of the server that boots the machine",
            "http://10.0.0.1:8080",
            "URL of the root of the tree, for machines that must fetch from it.",
        ),
        Key::may(
            "kubernetes",
            Value::Keys(&KUBERNETES),
            "the sysext `kubernetes`, if named, has its own default version",
            "{version: v1.34.4, images: true, cni: cilium}",
            "Version of Kubernetes, and the container images that its nodes carry ([images](../guides/images.md)).",
        ),
        Key::may(
            "sysexts",
            SYSEXTS,
            "none",
            "[containerd, {name: kubernetes, version: v1.34.4}]",
            "System extensions of every profile. Each is the name of a folder in a `sysext/` beside or above the recipe, the path of \
             a folder, or such a name with what is set for it ([sysext.md](sysext.md)).",
        ),
        Key::may(
            "packaging",
            Value::Keys(&PACKAGING),
            "squashfs with zstd, without verity",
            "{format: erofs}",
            "Settings for the images of sysexts ([sysext-image.md](sysext-image.md)).",
        ),
        Key::may(
            "images",
            Value::List(&Value::Form(&forms::IMAGE)),
            "none",
            "[registry.k8s.io/pause:3.10]",
            "Container images that the tree contains as archives; nodes that carry images carry these, too \
             ([images](../guides/images.md)).",
        ),
        Key::may(
            "ssh_keys",
            Value::List(&Value::Text),
            "nobody, unless a layer says otherwise",
            "[keys/team.pub, \"github:octo\"]",
            "SSH keys that may log in as `core` on every machine: a key (`ssh-ed25519 AAAA… you@host`), a file of keys, or `github:USER`, whose keys the lock pins.",
        ),
        Key::may(
            "trust_ca",
            FILES,
            "only the public authorities",
            "[keys/company-ca.pem]",
            "Files of authorities (PEM) that every machine trusts besides the public ones.",
        ),
        Key::may(
            "public_secrets",
            Value::List(&Value::Keys(&PUBLIC_SECRET)),
            "every place that looks like a secret is judged",
            "[{path: /etc/demo.key, why: a key for demos that opens nothing}]",
            "Places that look like a secret and may be published nevertheless ([secrets](../guides/secrets.md)).",
        ),
        Key::needed(
            "profiles",
            Value::Names(&PROFILE_NAME, &Value::Options(&PROFILE)),
            "{worker: {ignition: [base.bu, worker.bu]}}",
            "Classes of machines by name; at least one. A profile without keys boots Flatcar as it is.",
        ),
        Key::may(
            "nodes",
            Value::List(&Value::Keys(&NODE)),
            "no machine has a name; all boot the `default_profile`",
            "[{name: n1, mac: \"52:54:00:00:00:01\", profile: worker}]",
            "Machines with a name ([nodes.md](nodes.md)). An inventory adds further ones to a built tree.",
        ),
        Key::may(
            "default_profile",
            Value::Text,
            "machines that no node names get no boot, or the menu of the output `ipxe`",
            "worker",
            "The profile of machines that no node names.",
        ),
        Key::same(
            "outputs",
            Value::Elsewhere("outputs"),
            "{pxe: {}, matchbox: {}, ipxe: {}}",
            "{pxe: {}, disk: {}, matchbox: {}, grub: {timeout: 5}}",
            "The files that the tree offers to loaders and servers, by output, each with its options.",
        ),
    ],
};

pub(super) static RELEASE: Mapping = Mapping::of(
    "`release`",
    &[
        Key::needed(
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
            "stable",
            "The channel, or a stream of the LTS channel, such as `lts-2024`.",
        ),
        Key::same(
            "version",
            Value::Form(&FLATCAR),
            "latest",
            "4593.2.5",
            "One version, or `latest`: the channel's current one when the lock is made.",
        ),
        Key::same(
            "arch",
            Value::List(&forms::ARCH),
            "[amd64]",
            "[amd64, arm64]",
            "Architectures of the machines. With several, each boot is built for each of them.",
        ),
    ],
);

pub(crate) static TRUST: Mapping = Mapping::of(
    "`trust`",
    &[
        Key::needed(
            "primary_fingerprint",
            Value::Form(&forms::FINGERPRINT),
            "9B368570AEFD715B83A15ACE4F564163D3EA328A",
            "Fingerprint of the primary key; a signature counts if a signing key below it made it.",
        ),
        Key::may(
            "key",
            Value::Form(&forms::PATH),
            "the vendor's key file is fetched",
            "keys/vendor.gpg",
            "File with the public key. It needs no protection: the fingerprint decides.",
        ),
    ],
);

/// Base URLs of one source.
const MIRROR: Value = Value::List(&Value::Form(&forms::URL));

pub(crate) static MIRRORS: Mapping = Mapping::of(
    "`mirrors`",
    &[
        Key::may(
            SourceName::Flatcar.as_str(),
            MIRROR,
            "Flatcar's release servers",
            "[http://10.0.0.2/flatcar]",
            concat!(
                "Releases of Flatcar: `BASE/CHANNEL/BOARD/VERSION/FILE`, ",
                "and its key at `BASE/security/image-signing-key/Flatcar_Image_Signing_Key.asc`.",
            ),
        ),
        Key::may(
            SourceName::Kubernetes.as_str(),
            MIRROR,
            "dl.k8s.io",
            "[http://10.0.0.2/k8s]",
            "Programs of Kubernetes: `BASE/VERSION/bin/linux/ARCH/FILE`.",
        ),
        Key::may(
            SourceName::Github.as_str(),
            MIRROR,
            "github.com",
            "[http://10.0.0.2/github]",
            "Releases at GitHub, `BASE/OWNER/REPO/releases/download/TAG/FILE`, and users' keys, `BASE/USER.keys`.",
        ),
        Key::may(
            SourceName::Oci.as_str(),
            MIRROR,
            "the registry that an image names",
            "[http://10.0.0.2:5000]",
            "Container registries: a registry, or a part of one (`http://HOST/PREFIX`).",
        ),
        Key::may(
            SourceName::Web.as_str(),
            MIRROR,
            "the host itself",
            "[http://10.0.0.2/web]",
            "Everything else: `BASE/HOST/PATH`.",
        ),
    ],
);

pub(super) static KUBERNETES: Mapping = Mapping::of(
    "`kubernetes`",
    &[
        Key::needed(
            "version",
            Value::Form(&KUBERNETES_VERSION),
            "v1.34.4",
            "Version of Kubernetes, which the sysext `kubernetes` gets, too.",
        ),
        Key::same(
            "images",
            Value::Either(&[
                Value::Flag,
                Value::Words(&[
                    ("sysext", "in a sysext of the boot; the same as `true`"),
                    ("asset", "as files that nodes fetch from the server"),
                ]),
            ]),
            "false",
            "true",
            "Whether nodes get Kubernetes' container images without a registry, and how.",
        ),
        Key::same(
            "cni",
            Value::Words(&[
                ("none", "only what the recipe's `images` names"),
                ("cilium", "Cilium's agent and operator"),
                ("flannel", "Flannel's images"),
            ]),
            "none",
            "cilium",
            "Network plugin whose images are carried besides Kubernetes' own.",
        ),
        Key::same("kube_vip", Value::Flag, "false", "true", "Whether control planes get kube-vip's image."),
    ],
);

pub(crate) static SYSEXT: Mapping = Mapping::of(
    "a sysext",
    &[
        Key::needed("name", Value::Text, "containerd", "Name of the sysext, or path of its folder."),
        Key::may(
            "version",
            Value::Text,
            "the one that its folder states",
            "2.1.5",
            "The version that is built.",
        ),
        Key::may(
            "set",
            Value::Names(&VARIABLE, &Value::Text),
            "the defaults of its folder",
            "{runc: v1.3.3}",
            "Values for its variables; the folder's `sysext.yaml` says which it has.",
        ),
    ],
);

pub(crate) static PUBLIC_SECRET: Mapping = Mapping::of(
    "an entry of `public_secrets`",
    &[
        Key::needed(
            "path",
            Value::Text,
            "/etc/demo.key",
            "The place as findings name it: a path on the machine, `kernel_args`, or a container image.",
        ),
        Key::needed(
            "why",
            Value::Text,
            "a key for demos that opens nothing",
            "The reason, for readers of the recipe.",
        ),
    ],
);

pub(super) static PROFILE: Mapping = Mapping::of(
    "a profile",
    &[
        Key::may(
            "ignition",
            FILES,
            "no layer",
            "[base.bu, worker.bu]",
            "Layers of configuration, Butane or Ignition (`.ign`), merged in order; the last wins ([ignition](../guides/ignition.md)).",
        ),
        Key::may(
            "private",
            FILES,
            "no layer",
            "[secrets/worker.bu]",
            "Layers with secrets. The machine itself merges them over the others, and only its guard's token gets them \
             ([secrets](../guides/secrets.md)). Not with `install`; needs the output `matchbox`.",
        ),
        Key::may(
            "sysexts",
            SYSEXTS,
            "only the recipe's",
            "[nerdctl]",
            "System extensions besides those of every profile.",
        ),
        Key::may(
            "kernel_args",
            Value::List(&Value::Text),
            "only those that a network boot needs",
            "[\"console=ttyS0,115200n8\"]",
            "Further kernel arguments. Those that would break the boot are refused.",
        ),
        Key::same(
            "layout",
            Value::Words(&[
                ("overlay", "two initrds: the release's own, which all boots share, and a small overlay"),
                ("single", "one stored initrd, for loaders that take only one"),
                ("virtual", "one URL, for which the server joins the two"),
            ]),
            "overlay",
            "single",
            "The way of the initrd to the machine ([initrd.md](initrd.md)).",
        ),
        Key::may(
            "early_initrds",
            FILES,
            "none",
            "[microcode.img]",
            "Initrds that the kernel unpacks before Flatcar's own, such as microcode.",
        ),
        Key::may(
            "role",
            Value::Words(&[
                (names::CONTROL_PLANE, "they run the API server and its companions, and may run pods"),
                ("worker", "they run pods only"),
            ]),
            "they may do everything, and carry the images for it",
            "worker",
            "Role of its nodes in a cluster, which decides which images they carry.",
        ),
        Key::may(
            "install",
            Value::Keys(&INSTALL),
            "its nodes run in memory",
            "{model: \"Samsung SSD 980\"}",
            "The disk to which its nodes install Flatcar, and boot from ([install.md](install.md)). Needs the outputs `disk` and \
             `matchbox`.",
        ),
        Key::may(
            "generic",
            Value::Form(&forms::PATH),
            "no template",
            "worker.tmpl",
            concat!(
                "A Go template that Matchbox fills in for its nodes at `/generic` ([templates](../guides/templates.md)). ",
                "Needs the output `matchbox`.",
            ),
        ),
        Key::same(
            "diskless",
            Value::Flag,
            "false",
            "true",
            "States that its nodes need no network once they are loaded: whatever its config would fetch is refused.",
        ),
    ],
);

pub(crate) static INSTALL: Mapping = Mapping {
    what: "`install`",
    holders: false,
    rules: &[Rule::Any(&["device", "model", "serial"])],
    keys: &[
        Key::may(
            "device",
            Value::Form(&forms::DEVICE),
            "a disk with this `model` and `serial`",
            "/dev/disk/by-id/nvme-eui.0025385b21404321",
            "The disk by its device file, preferably one of `/dev/disk/by-id`.",
        ),
        Key::may(
            "model",
            Value::Form(&PLAIN),
            "any",
            "\"Samsung SSD 980\"",
            "Model of the disk as `lsblk` prints it.",
        ),
        Key::may(
            "serial",
            Value::Form(&PLAIN),
            "any",
            "S5GXNX0T",
            "Serial number of the disk as `lsblk` prints it.",
        ),
        Key::same(
            "min_size",
            Value::Form(&forms::SIZE),
            "8GiB",
            "100GiB",
            "Lower limit for the size of the disk.",
        ),
        Key::same(
            "generation",
            Value::Number(0, u32::MAX as u64),
            "1",
            "2",
            "A disk with an installation of the same generation is left alone; a higher one installs again.",
        ),
        Key::same(
            "wipe",
            Value::Flag,
            "false",
            "true",
            "Whether other contents of the disk may be overwritten.",
        ),
        Key::may(
            "base_url",
            Value::Form(&forms::URL),
            "the server that boots the machine, or the recipe's `base_url`",
            "http://10.0.0.1:8080",
            "URL of the tree from which it installs.",
        ),
    ],
};
