//! The keys of `sysext.yaml`, and those of `packaging` in recipes.

use crate::base::arch::Arch;
use crate::base::forms;
use crate::base::yaml::keys::{Form, Key, Mapping, Rule, Value};

/// A value that may be part of URLs, paths and file names.
static PLAIN: Form =
    Form { name: "value", pattern: "^(?!.*\\.\\.)[A-Za-z0-9_+~][A-Za-z0-9._+~-]{0,127}$", numeric: true };
static MODE: Form = Form { name: "octal mode", pattern: "^\\+?0*[0-7]{1,3}$", numeric: true };
static VARIABLE: Form = Form { name: "VARIABLE", pattern: "", numeric: true };
static VERSION: Form = Form { name: "VERSION", ..PLAIN };
static COMPONENT_NAME: Form = Form { name: "COMPONENT", pattern: "", numeric: true };
static INSIDE: Form = Form { name: "PATH", pattern: "", numeric: true };
static MEMBER: Form = Form { name: "MEMBERS", pattern: "", numeric: true };
static LIST: Form = Form { name: "LIST", pattern: "", numeric: true };

/// The top level of `sysext.yaml`.
pub static SYSEXT: Mapping = Mapping {
    what: "the sysext",
    holders: true,
    rules: &[],
    keys: &[
        Key::needed("schema", Value::Number(1, 1), "1", "Version of the format."),
        Key::needed(
            "name",
            Value::Form(&PLAIN),
            "kubernetes",
            "Name of the sysext and of its folder; nodes merge the image under it.",
        ),
        Key::needed(
            "version",
            Value::Form(&PLAIN),
            "v1.34.4",
            "The version that is built unless a recipe names another one.",
        ),
        Key::may(
            "description",
            Value::Text,
            "none",
            "kubelet and kubeadm",
            "One sentence for `prebake sysext ls`.",
        ),
        Key::same(
            "os",
            Value::Words(&[
                ("any", "every host with systemd-sysext (`ID=_any`); for static programs"),
                ("flatcar", "Flatcar of any version (`ID=flatcar`, `SYSEXT_LEVEL=1.0`)"),
            ]),
            "any",
            "flatcar",
            "Hosts on which it may be merged.",
        ),
        Key::same(
            "reload",
            Value::Flag,
            "false",
            "true",
            "`EXTENSION_RELOAD_MANAGER=1`: systemd reads its units when the image is merged.",
        ),
        Key::may(
            "upholds",
            Value::List(&Value::Text),
            "no unit is started",
            "[kubelet.service]",
            "Units that start as soon as the image is merged, and are started again when they end: \
             `multi-user.target.d/10-NAME.conf` with `Upholds=`.",
        ),
        Key::may(
            "variables",
            Value::Names(
                &VARIABLE,
                &Value::Either(&[Value::Form(&PLAIN), Value::Keys(&BY_ARCH), Value::Null]),
            ),
            "only `version`, `arch` (`amd64`), `arch_uname` (`x86_64`) and `arch_systemd` (`x86-64`)",
            "{cni: v1.7.1, etcd: null, machine: {amd64: x64, arm64: armv8}}",
            "Further variables of templates, with their defaults: a value, one for each architecture, or null if only some versions \
             have one. A recipe may set them.",
        ),
        Key::may(
            "versions",
            Value::Names(&VERSION, &Value::Names(&VARIABLE, &Value::Form(&PLAIN))),
            "every version has the defaults",
            "{v1.33: {cni: v1.6.2}, v1.34.4: {etcd: 3.6.5-0}}",
            "Other values of variables for a version, or for all that begin with whole parts of it; of two keys the longer wins.",
        ),
        Key::may(
            "components",
            Value::Names(&COMPONENT_NAME, &Value::Keys(&COMPONENT)),
            "nothing is fetched",
            "{tool: {url: \"https://example.org/{version}/tool-{arch}\", sha256_url: \"https://example.org/{version}/tool-{arch}.sha256\", \
             install: /usr/bin/tool}}",
            "Files to fetch, by name.",
        ),
        Key::may(
            "text",
            Value::Names(&INSIDE, &Value::Text),
            "none",
            "{/usr/share/tool/version: \"{version}\\n\"}",
            "Generated files: path in the image and template of the contents.",
        ),
        Key::may(
            "links",
            Value::Names(&INSIDE, &Value::Text),
            "none",
            "{/usr/bin/docker: nerdctl}",
            "Symlinks: path in the image and target, kept as it is written.",
        ),
        Key::may(
            "images",
            Value::Names(&LIST, &Value::List(&Value::Text)),
            "none",
            "{control-plane: [\"registry.k8s.io/etcd:{etcd}\"]}",
            "Container images that it needs at run time, by the name of their list. A list that needs a variable without a value is \
             unknown for that version.",
        ),
    ],
};

pub(super) static BY_ARCH: Mapping = Mapping::of(
    "a variable by architecture",
    &[
        Key::may(
            Arch::Amd64.go(),
            Value::Form(&PLAIN),
            "no value for it",
            "x64",
            "The value for 64-bit x86.",
        ),
        Key::may(
            Arch::Arm64.go(),
            Value::Form(&PLAIN),
            "no value for it",
            "armv8",
            "The value for 64-bit ARM.",
        ),
    ],
);

pub(super) static COMPONENT: Mapping = Mapping {
    what: "a component",
    holders: false,
    rules: &[Rule::One(&["sha256", "sha256_url"]), Rule::One(&["install", "extract"])],
    keys: &[
        Key::needed(
            "url",
            Value::Text,
            "https://dl.k8s.io/{version}/bin/linux/{arch}/kubeadm",
            "Template of the URL. A file whose URL ends in `.gz` is gunzipped.",
        ),
        Key::may(
            "sha256",
            Value::Keys(&DIGESTS),
            "`sha256_url` is there",
            "{amd64: 5d1cdc4f3c9a1c1e3e9c0a4e8f6d6f4b7b0f5e2a1d9c8b7a6f5e4d3c2b1a0f9e}",
            "Digests by architecture; they hold for the default values only.",
        ),
        Key::may(
            "sha256_url",
            Value::Text,
            "`sha256` is there",
            "https://dl.k8s.io/{version}/bin/linux/{arch}/kubeadm.sha256",
            "Template of the URL of the digest that upstream publishes: bare, or in lines of `digest  name`.",
        ),
        Key::may(
            "install",
            Value::Text,
            "`extract` is there",
            "/usr/bin/kubeadm",
            "Path of the file in the image.",
        ),
        Key::same("mode", Value::Form(&MODE), "0755", "0644", "Mode of the file; with `install` only."),
        Key::may(
            "extract",
            Value::Names(&MEMBER, &Value::Text),
            "`install` is there",
            "{\"bin/*\": /usr/bin/, LICENSE: /usr/share/doc/tool/LICENSE}",
            "Members of a `.tar`, `.tar.gz` or `.tgz` and their places in the image. A member is a path, or a beginning with `*` \
             at the end; the most exact one wins. A place that ends in `/` is a directory in which members keep their names.",
        ),
    ],
};

pub(super) static DIGESTS: Mapping = Mapping::of(
    "`sha256`",
    &[
        Key::may(
            Arch::Amd64.go(),
            Value::Form(&forms::SHA256),
            "cannot be built for it",
            "5d1cdc4f3c9a1c1e3e9c0a4e8f6d6f4b7b0f5e2a1d9c8b7a6f5e4d3c2b1a0f9e",
            "Digest of the file for 64-bit x86.",
        ),
        Key::may(
            Arch::Arm64.go(),
            Value::Form(&forms::SHA256),
            "cannot be built for it",
            "0f9e5d1cdc4f3c9a1c1e3e9c0a4e8f6d6f4b7b0f5e2a1d9c8b7a6f5e4d3c2b1a",
            "Digest of the file for 64-bit ARM.",
        ),
    ],
);

/// The keys of `packaging` in a recipe.
pub(crate) static PACKAGING: Mapping = Mapping::of(
    "`packaging`",
    &[
        Key::same(
            "format",
            Value::Words(&[
                ("squashfs", "compressed; every release mounts it"),
                ("erofs", "uncompressed, for machines with memory to spare"),
            ]),
            "squashfs",
            "erofs",
            "The file system of the images.",
        ),
        Key::same(
            "compression",
            Value::Words(&[
                ("zstd", "the best for boots"),
                ("gzip", "for kernels without zstd"),
                ("xz", "the smallest and slowest"),
            ]),
            "zstd",
            "gzip",
            "Compression of squashfs.",
        ),
        Key::same(
            "level",
            Value::Number(1, 22),
            "9",
            "19",
            "Effort of the compression: 1 to 22 for zstd, 1 to 9 for gzip; xz has none.",
        ),
        Key::same(
            "block",
            Value::Form(&BLOCK),
            "128KiB",
            "512KiB",
            "Uncompressed bytes that squashfs compresses together: 128KiB, 256KiB, 512KiB or 1MiB.",
        ),
        Key::may(
            "verity",
            Value::Keys(&VERITY),
            "plain file systems, which nodes merge without a check",
            "{key: keys/sysext.key, certificate: keys/sysext.crt}",
            "Signs the images with dm-verity, so that the kernel checks every block that a node reads.",
        ),
    ],
);
pub(super) static VERITY: Mapping = Mapping::of(
    "`verity`",
    &[
        Key::needed("key", Value::Form(&forms::PATH), "keys/sysext.key", "The private key (PEM)."),
        Key::needed(
            "certificate",
            Value::Form(&forms::PATH),
            "keys/sysext.crt",
            "Its certificate (PEM), which nodes are told to trust.",
        ),
    ],
);
static BLOCK: Form =
    Form { name: "block size", pattern: "^\\+?0*((128|256|512|1024)\\s*KiB|1\\s*MiB)$", numeric: false };
