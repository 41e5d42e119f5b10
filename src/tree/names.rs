//! Paths, file names, endpoints and kernel arguments of a tree: each once, for all that write or read one.

use std::fmt;

use crate::base::arch::Arch;
use crate::base::digest::Sha256;

/// The name that the system which a boot installs has in file names.
pub(crate) fn installed_id(boot: &str) -> String {
    format!("{boot}{INSTALLED_END}")
}

const INSTALLED_END: &str = ".installed";

/// [`crate::bake::recipe::Recipe::boot_id`]; the architecture is said where there are several.
pub(crate) fn boot_id(profile: &str, arch: Option<Arch>, node: Option<&str>) -> String {
    let arch = arch.map_or(String::new(), |arch| format!(".{arch}"));
    let node = node.map_or(String::new(), |node| format!("+{node}"));
    format!("{profile}{arch}{node}")
}

/// The profile that a boot, or the system which it installs, is of: the inverse of [`boot_id`] and [`installed_id`].
pub(crate) fn profile_of(id: &str) -> &str {
    let (shared, _) = id.split_once('+').unwrap_or((id, ""));
    let shared = shared.strip_suffix(INSTALLED_END).unwrap_or(shared);
    let of_arch = Arch::ALL.iter().find_map(|arch| shared.strip_suffix(arch.go())?.strip_suffix('.'));
    of_arch.unwrap_or(shared)
}

/// The BUILD-ID of a manifest: the first 16 hex digits of its SHA-256.
pub fn build_id(manifest: &Sha256) -> String {
    manifest.to_string()[..16].to_owned()
}

// The folders of a tree and of a Matchbox data directory.

/// Matchbox's groups.
pub(crate) const GROUPS: &str = "groups";
/// Matchbox's profiles.
pub(crate) const PROFILES: &str = "profiles";
/// Ignition configs that a server gives by group.
pub(crate) const IGNITION: &str = "ignition";
/// Templates that a server fills in.
pub(crate) const GENERIC: &str = "generic";
/// Cloud-configs that a server fills in.
pub(crate) const CLOUD: &str = "cloud";
/// Files that machines load and fetch.
pub(crate) const ASSETS: &str = "assets";
/// Loaders' own files.
pub(crate) const BOOT: &str = "boot";
/// Configs with secrets, which only their owner may read.
pub(crate) const PRIVATE: &str = "private";

/// The rest of a path below a folder.
pub(crate) fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    path.strip_prefix(folder)?.strip_prefix('/')
}

/// The ending of a group's or profile's file name.
pub(crate) const RECORD_END: &str = ".json";

/// A group's file.
pub(crate) fn group(id: &str) -> String {
    format!("{GROUPS}/{id}{RECORD_END}")
}

/// A profile's file.
pub(crate) fn profile(id: &str) -> String {
    format!("{PROFILES}/{id}{RECORD_END}")
}

/// The id of a group or profile in a tree, which is the name of its file: `groups/n1.json` → `n1`.
pub(crate) fn record_id(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(RECORD_END).unwrap_or(name)
}

/// The ending of a finished Ignition config's file name. Matchbox takes such a file for no template.
pub(crate) const CONFIG_END: &str = ".ign";

/// The name that a profile has for the config of a boot.
pub(crate) fn config_id(boot: &str) -> String {
    format!("{boot}{CONFIG_END}")
}

/// The config that a profile names.
pub(crate) fn ignition(id: &str) -> String {
    format!("{IGNITION}/{id}")
}

/// The template that a profile names.
pub(crate) fn generic(id: &str) -> String {
    format!("{GENERIC}/{id}")
}

/// The cloud-config that a profile names.
pub(crate) fn cloud(id: &str) -> String {
    format!("{CLOUD}/{id}")
}

/// A boot's config, where that is fetched: every server has it there, Matchbox too.
pub(crate) fn config_path(boot: &str) -> String {
    format!("{ASSETS}/ignition/{}", config_id(boot))
}

/// The overlay of a boot.
pub(crate) fn overlay(boot: &str) -> String {
    format!("{ASSETS}/overlay/{boot}.cpio")
}

/// Whether a path is that of an overlay.
pub(crate) fn is_overlay(path: &str) -> bool {
    below(path, ASSETS).is_some_and(|path| below(path, "overlay").is_some())
}

/// Base and overlay of a boot in one, where the layout has that.
pub(crate) fn joined(boot: &str) -> String {
    format!("{ASSETS}/initrd/{boot}.img")
}

/// An initrd that comes before Flatcar's.
pub(crate) fn early(file: &str) -> String {
    format!("{ASSETS}/early/{file}")
}

/// The archive of a container image.
pub(crate) fn image(file: &str) -> String {
    format!("{ASSETS}/images/{file}")
}

/// The directory that `flatcar-install -b` is given, below the root of the tree; with several architectures each has its own.
pub(crate) fn stock_root(arch: Option<Arch>) -> String {
    arch.map_or_else(|| format!("{ASSETS}/flatcar"), |arch| format!("{ASSETS}/flatcar/{}", arch.board()))
}

/// The record of a repository for clusterctl: what verbs that use it read alone.
pub(crate) const CAPI_RECORD: &str = "capi/capi.json";

/// A file of that repository (clusterctl's `repository_local.go`: `BASE/LABEL/VERSION/FILE`).
pub(crate) fn capi_file(label: &str, version: &str, file: &str) -> String {
    format!("capi/repository/{label}/{version}/{file}")
}

/// Where the lists and archives of container images lie in a sysext, for `prebake-images`.
pub(crate) const IMAGE_LISTS: &str = "usr/share/prebake/images";
const LIST_END: &str = ".list";

/// The list of the images that a sysext brings, in that.
pub(crate) fn image_list(sysext: &str) -> String {
    format!("{IMAGE_LISTS}/{sysext}{LIST_END}")
}

/// Whether a path is such a list's, in a sysext or on a machine.
pub(crate) fn is_image_list(path: &str) -> bool {
    path.ends_with(LIST_END) && path.contains(IMAGE_LISTS)
}

/// The settings of an installer, on the machine.
pub(crate) const INSTALL_CONF: &str = "/etc/prebake/install.conf";
/// Key there: below which path of the server the stock files lie.
pub(crate) const INSTALL_STOCK: &str = "STOCK";
/// Key there: which version of them is installed.
pub(crate) const INSTALL_VERSION: &str = "VERSION";
/// Key there: the path of the config.
pub(crate) const INSTALL_CONFIG: &str = "CONFIG";
/// Key there: the server, where the one that boots the machine does not say it.
pub(crate) const INSTALL_SERVER: &str = "BASE_URL";

/// The images of a sysext.
pub(crate) fn sysext_directory(name: &str) -> String {
    format!("{ASSETS}/sysext/{name}")
}

/// File name of an image.
pub(crate) fn sysext_file(name: &str, version: &str, arch: Arch) -> String {
    format!("{name}-{version}-{}.raw", arch.systemd())
}

/// The version of three numbers in the file name of an image of a sysext, without a `v`: 1.34.4 of `kubernetes-v1.34.4-x86-64.raw`. Its
/// architecture may be absent.
pub(crate) fn sysext_version<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let file = path.rsplit('/').next()?.strip_suffix(".raw")?.strip_prefix(name)?.strip_prefix('-')?;
    let mut ends = Arch::ALL.iter().map(|arch| arch.systemd());
    let version = ends.find_map(|end| file.strip_suffix(end)?.strip_suffix('-')).unwrap_or(file);
    let version = version.strip_prefix('v').unwrap_or(version);
    let numbers = version.split('-').next()?.split('.');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (numbers.clone().count() == 3 && numbers.clone().all(is_number)).then_some(version)
}

/// The image of a sysext.
pub(crate) fn sysext_path(name: &str, version: &str, arch: Arch) -> String {
    format!("{}/{}", sysext_directory(name), sysext_file(name, version, arch))
}

// Files of loaders. The closure of a tree tells their languages apart by these names.

/// The ending of iPXE's scripts.
pub(crate) const IPXE_END: &str = ".ipxe";
/// The name of GRUB's configs, or how it begins.
pub(crate) const GRUB_CONFIG: &str = "grub.cfg";
/// The directory of PXELINUX's configs.
pub(crate) const PXELINUX_CONFIGS: &str = "pxelinux.cfg";
/// The ending of a module of Terraform.
pub(crate) const TERRAFORM_END: &str = ".tf.json";

/// The first script of iPXE; the server has it as [`Endpoint::FirstScript`].
pub(crate) const FIRST_SCRIPT: &str = Endpoint::FirstScript.name();
/// The script that an iPXE runs by itself, out of the TFTP directory that it came from, since 1.21.
pub(crate) const AUTOEXEC: &str = "autoexec.ipxe";

/// A script of iPXE: `mac-52-54-00-00-00-01`, `menu`, `default`.
pub(crate) fn ipxe_script(name: &str) -> String {
    format!("{BOOT}/ipxe/{name}{IPXE_END}")
}

/// GRUB's config for all machines, or for the one that is called so.
pub(crate) fn grub_config(machine: Option<&str>) -> String {
    let machine = machine.map_or(String::new(), |machine| format!("-{machine}"));
    format!("{BOOT}/grub/{GRUB_CONFIG}{machine}")
}

/// A config of PXELINUX: `default`, `01-52-54-00-00-00-01`.
pub(crate) fn pxelinux_config(name: &str) -> String {
    format!("{BOOT}/pxelinux/{PXELINUX_CONFIGS}/{name}")
}

/// A boot as one UEFI program.
pub(crate) fn uki(boot: &str) -> String {
    format!("{BOOT}/uki/{boot}.efi")
}

/// The folder of disk images that are made for platforms.
pub(crate) const DISKS: &str = "disk";

/// A boot as a disk image for a platform: `disk/worker/qemu.qcow2`.
pub(crate) fn disk_image(boot: &str, platform: &str, extension: &str) -> String {
    format!("{DISKS}/{boot}/{platform}.{extension}")
}

/// The config of dnsmasq.
pub(crate) const DNSMASQ: &str = "boot/dnsmasq/dnsmasq.conf";
/// The config of udhcpd.
pub(crate) const UDHCPD: &str = "boot/udhcpd/udhcpd.conf";
/// The module of Terraform.
pub(crate) const TERRAFORM: &str = "boot/terraform/matchbox.tf.json";
/// A root module of Terraform for Typhoon.
pub(crate) const TYPHOON: &str = "boot/terraform/typhoon/main.tf.json";
/// The recipe's part of it, which it reads at each plan.
pub(crate) const TYPHOON_BENCH: &str = "boot/terraform/typhoon/bench.json";
/// Which network card is which node, for a server that lends addresses.
pub(crate) const NODES: &str = "boot/nodes.json";

// Files that describe the tree.

/// Every published file, with its size, digest and origin.
pub const MANIFEST: &str = "manifest.json";
/// File name of the manifest's signature, which may be beside it.
pub(crate) const SIGNATURE: &str = "manifest.json.minisig";
/// The statement of how the tree was built, beside the manifest.
pub(crate) const PROVENANCE: &str = "provenance.json";
/// Files of a tree beside its manifest, and not in it.
pub(crate) const BESIDE: [&str; 2] = [SIGNATURE, PROVENANCE];
/// The parts of the tree as SPDX.
pub(crate) const SBOM: &str = "sbom.spdx.json";
/// List of every published file but itself and the manifest, for `sha256sum -c`.
pub const CHECKSUMS: &str = "SHA256SUMS";
/// The signature of such a list, for systemd-sysupdate.
pub(crate) const CHECKSUMS_SIGNATURE: &str = "SHA256SUMS.gpg";
/// Name of the link to the newest build.
pub(crate) const CURRENT: &str = "current";

/// The lock that a tree was built by, under the name of its recipe.
pub(crate) fn lock(recipe: &str) -> String {
    format!("{recipe}.lock")
}

// Kernel arguments.

/// Arguments whose value is a config that Ignition fetches; the first is the one that prebake writes.
pub(crate) const CONFIG_ARGS: [&str; 3] = ["ignition.config.url", "flatcar.config.url", "coreos.config.url"];
/// Arguments that have Ignition run; the first is the one that prebake writes.
pub(crate) const FIRST_BOOT_ARGS: [&str; 2] = ["flatcar.first_boot", "coreos.first_boot"];
/// Arguments that name the platform; the first is the one of today.
pub(crate) const OEM_ARGS: [&str; 2] = ["flatcar.oem.id", "coreos.oem.id"];
/// The argument that names an initrd by its base name, which the kernel's EFI stub needs.
pub(crate) const INITRD_ARG: &str = "initrd";
/// The argument with the URL that a node reports to, and from which its units fetch.
pub(crate) const SERVER_ARG: &str = "prebake.url";
/// The argument that says over which card a machine boots.
pub(crate) const CARD_ARG: &str = "prebake.mac";

/// The value of an argument, if it has this key.
pub(crate) fn arg_value<'a>(arg: &'a str, key: &str) -> Option<&'a str> {
    arg.strip_prefix(key)?.strip_prefix('=')
}

/// Has Ignition fetch its config.
pub(crate) fn config_arg(url: &str) -> String {
    format!("{}={url}", CONFIG_ARGS[0])
}

/// Has Ignition run on a PXE boot, as any value but `detected` does.
pub(crate) fn first_boot_arg() -> String {
    format!("{}=1", FIRST_BOOT_ARGS[0])
}

/// Names an initrd, by its path, as loaders register it.
pub(crate) fn initrd_arg(path: &str) -> String {
    format!("{INITRD_ARG}={}", path.rsplit('/').next().unwrap_or(path))
}

/// Tells a node where the server is.
pub(crate) fn report_arg(server: &impl fmt::Display) -> String {
    format!("{SERVER_ARG}={server}")
}

/// Arguments that name the network card of the boot: prebake's own, and PXELINUX's `BOOTIF`, which begins with the ARP
/// hardware type of Ethernet. `mac` is the card's address, or a variable that the loader replaces by it; `hyphened` is
/// the same with hyphens, as in file names.
pub(crate) fn card_args(mac: &str, hyphened: &str) -> [String; 2] {
    [format!("{CARD_ARG}={mac}"), format!("BOOTIF=01-{hyphened}")]
}

// Words of scripts and records.

/// The sysext by which machines report.
pub(crate) const REPORTING: &str = "report";

/// Metadata key of a group whose machines install themselves: the generation, which tells a server whether a machine is
/// done.
pub(crate) const GENERATION: &str = "install_generation";

/// Metadata key of a group whose machines have a part in a cluster.
pub(crate) const ROLE: &str = "role";
/// Its value for machines with an API server and a member of etcd.
pub(crate) const CONTROL_PLANE: &str = "control-plane";
/// Its value for machines that run pods only.
pub(crate) const WORKER: &str = "worker";

/// The label of a machine whose system is on its disk, and its value.
pub(crate) const INSTALLED: [&str; 2] = ["os", "installed"];

/// GRUB's variable for the address of the card that it came over: with colons, in both arguments, as readers of
/// `BOOTIF=` (dracut's `fix_bootif`) take it too.
pub(crate) const GRUB_CARD: [&str; 2] = ["$net_default_mac", "$net_default_mac"];

/// Boots the local disk. On a UEFI machine `exit` continues with the next boot entry; a BIOS might only try the network
/// again, so there the disk is named.
pub const IPXE_LOCAL: &str = "iseq ${platform} pcbios && sanboot --no-describe --drive 0x80 ||\nexit\n";

/// iPXE's variables for the address of the card that it boots over: `netX` is the one that it opened last.
pub(crate) const IPXE_CARD: [&str; 2] = ["${netX/mac}", "${netX/mac:hexhyp}"];

/// Has iPXE go on with a URL, with an address, which one that came by TFTP may not have yet.
pub(crate) fn ipxe_chain(url: &str) -> String {
    format!("#!ipxe\nisset ${{ip}} || dhcp || shell\nchain {url} || shell\n")
}

/// Writes the table of endpoints once: the enum, the list of all, the path of each and whether its answers are signed.
macro_rules! endpoints {
    ($($(#[doc = $about:literal])+ $name:ident: $path:literal, $signed:literal;)+) => {
        /// An endpoint of `prebake serve`. Most are Matchbox's own.
        ///
        /// The server maps each to a handler by an exhaustive match, and the closure of a tree takes the same list, so that
        /// neither can have one that the other lacks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Endpoint {
            $($(#[doc = $about])+ $name,)+
        }

        impl Endpoint {
            /// All endpoints, in the order of the table.
            pub const ALL: &[Endpoint] = &[$(Endpoint::$name),+];

            /// Path from the root of the server.
            pub(crate) const fn path(self) -> &'static str {
                match self {
                    $(Endpoint::$name => $path,)+
                }
            }

            /// The answer in a sentence.
            pub(crate) const fn about(self) -> &'static str {
                match self {
                    $(Endpoint::$name => concat!($($about),+).trim_ascii(),)+
                }
            }

            /// Whether a server with a key signs its answers, at the path with the extension of a [`Form`] behind it.
            pub const fn is_signed(self) -> bool {
                match self {
                    $(Endpoint::$name => $signed,)+
                }
            }
        }
    };
}

endpoints! {
    /// The page for people.
    Page: "/", false;
    /// iPXE's first script, the same for every machine. A tree has a file of this name, too, for other servers.
    FirstScript: "/boot.ipxe", true;
    /// The same under the name that old PXE firmware makes of it.
    FirstScriptNumbered: "/boot.ipxe.0", true;
    /// The iPXE script of one machine.
    Ipxe: "/ipxe", true;
    /// The GRUB menu of one machine.
    Grub: "/grub", true;
    /// The Ignition config of one machine.
    Ignition: "/ignition", true;
    /// The template of one machine, filled in.
    Generic: "/generic", true;
    /// The cloud-config of one machine, filled in.
    Cloud: "/cloud", true;
    /// Metadata of one machine, as lines of a shell.
    Metadata: "/metadata", true;
    /// Reports of machines: posted by them, listed to people.
    Report: "/report", false;
    /// Whether a controller may join its cluster now, for one joins at a time.
    Turn: "/turn", false;
    /// The state of all machines.
    Status: "/status", false;
    /// Changes of that state, as they come.
    Events: "/events", false;
    /// Counters for Prometheus.
    Metrics: "/metrics", false;
    /// Which group a machine would get, and why.
    Explain: "/explain", false;
    /// Profiles, nodes, sysexts and sizes of what is served.
    Served: "/served", false;
    /// The last lines of the log, of one machine or of all.
    Logs: "/logs", false;
}

/// The form of a detached signature of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The packet.
    Binary,
    /// In ASCII armor.
    Armored,
}

impl Form {
    /// Both.
    pub(crate) const ALL: [Form; 2] = [Form::Binary, Form::Armored];

    /// The ending of the endpoint's name, as Matchbox has it.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Form::Binary => ".sig",
            Form::Armored => ".asc",
        }
    }
}

impl Endpoint {
    /// Its path without the slash.
    pub const fn name(self) -> &'static str {
        self.path().split_at(1).1
    }

    /// The endpoint of a name, by itself or of its signature: `ipxe`, `boot.ipxe.0.sig`.
    pub(crate) fn parse(name: &str) -> Option<(Endpoint, Option<Form>)> {
        let of = |name: &str| Endpoint::ALL.iter().copied().find(|endpoint| endpoint.name() == name);
        let signed = || {
            let form = Form::ALL.into_iter().find(|form| name.ends_with(form.extension()))?;
            let endpoint = of(name.strip_suffix(form.extension())?)?;
            endpoint.is_signed().then_some((endpoint, Some(form)))
        };
        of(name).map(|endpoint| (endpoint, None)).or_else(signed)
    }
}

/// Below this the server has the iPXE binaries that firmware loads, see [`crate::machine::firmware::loaders`].
pub(crate) const LOADERS: &str = "loaders/";

/// Below this the server has configs with secrets, each for whoever holds its token.
pub(crate) const GUARDED: &str = "guarded/";
/// The config that a machine with a token fetches first.
pub(crate) const GUARDED_BOOT: &str = "boot.ign";
/// The config with secrets, which the token is for.
pub(crate) const GUARDED_CONFIG: &str = "config.ign";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_the_manifest_is_called_after_it() {
        assert_eq!(SIGNATURE, format!("{MANIFEST}{}", crate::trust::minisign::SUFFIX));
        assert_eq!(CHECKSUMS_SIGNATURE, format!("{CHECKSUMS}.gpg"));
        for path in [DNSMASQ, UDHCPD, TERRAFORM, TYPHOON, TYPHOON_BENCH, NODES] {
            assert!(below(path, BOOT).is_some(), "{path}");
        }
        assert!([TERRAFORM, TYPHOON].iter().all(|path| path.ends_with(TERRAFORM_END)));
    }

    #[test]
    fn an_endpoint_is_found_by_its_name_and_its_signatures() {
        for endpoint in Endpoint::ALL.iter().copied() {
            let name = endpoint.name();
            assert_eq!(Endpoint::parse(name), Some((endpoint, None)), "{name}");
            for form in Form::ALL {
                let signature = format!("{name}{}", form.extension());
                let signed = endpoint.is_signed().then_some((endpoint, Some(form)));
                assert_eq!(Endpoint::parse(&signature), signed, "{signature}");
            }
        }
        let numbered = Some((Endpoint::FirstScriptNumbered, Some(Form::Binary)));
        assert_eq!(Endpoint::parse("boot.ipxe.0.sig"), numbered);
        for none in [".sig", "sig", "ipxe.SIG", "ipxe.sig.asc", "report.sig", "/ipxe", "favicon.ico"] {
            assert_eq!(Endpoint::parse(none), None, "{none}");
        }
    }

    /// Names as `recipes/capi-proxmox.yaml` and the Kubernetes sysext publish them, and as people name files on a disk.
    #[test]
    fn the_version_is_in_the_name_of_a_sysexts_image() {
        for (path, known) in [
            ("assets/sysext/kubernetes/kubernetes-v1.34.4-x86-64.raw", Some("1.34.4")),
            ("assets/sysext/kubernetes/kubernetes-v1.34.4-arm64.raw", Some("1.34.4")),
            ("sysext/kubernetes/kubernetes-1.33.13-x86-64.raw", Some("1.33.13")),
            ("sysext/kubernetes/kubernetes-v1.35.0-rc.1-x86-64.raw", Some("1.35.0-rc.1")),
            ("var/kubernetes-1.33.13.raw", Some("1.33.13")),
            ("sysext/kubernetes/kubernetes.raw", None),
            ("kubernetes-config.raw", None),
            ("sysext/kubernetes/kubernetes-vip-x86-64.raw", None),
            ("assets/sysext/kubernetes/kubernetes-v1.34.4-x86-64.raw.sig", None),
            ("sysext/containerd-2.1.4-x86-64.raw", None),
            ("oem-proxmoxve-4593.2.5.raw", None),
        ] {
            assert_eq!(sysext_version(path, "kubernetes"), known, "{path}");
        }
    }
}
