//! Paths, file names, endpoints and kernel arguments of a tree: each once, for all that write or read one.

use crate::base::arch::Arch;
use crate::machine::base_url::BaseUrl;

/// What the system that a boot installs is called in file names.
pub fn installed_id(boot: &str) -> String {
    format!("{boot}.installed")
}

/// [`crate::bake::recipe::Recipe::boot_id`]; the architecture is said where there are several.
pub fn boot_id(profile: &str, arch: Option<Arch>, node: Option<&str>) -> String {
    let arch = arch.map_or(String::new(), |arch| format!(".{arch}"));
    let node = node.map_or(String::new(), |node| format!("+{node}"));
    format!("{profile}{arch}{node}")
}

/// Where the images of a sysext lie in the tree.
pub(crate) fn sysext_directory(name: &str) -> String {
    format!("assets/sysext/{name}")
}

/// The name of an image in its directory.
pub(crate) fn sysext_file(name: &str, version: &str, arch: Arch) -> String {
    format!("{name}-{version}-{}.raw", arch.systemd())
}

/// The path of an image in the tree.
pub fn sysext_path(name: &str, version: &str, arch: Arch) -> String {
    format!("{}/{}", sysext_directory(name), sysext_file(name, version, arch))
}

/// Path of a boot's config, where that is fetched: every server has it there, Matchbox too.
pub(crate) fn config_path(boot: &str) -> String {
    format!("assets/ignition/{boot}.ign")
}

/// The argument that tells a node where to report to, and where its units find what they fetch.
pub(crate) fn report_arg(base_url: &BaseUrl) -> String {
    format!("prebake.url={base_url}")
}

/// The arguments that say over which card a machine boots: ours, and what PXELINUX calls so, with ARP's number of Ethernet.
/// `mac` is the card's address, or what a loader puts in its place; `hyphened` the same as file names have it.
pub fn card_args(mac: &str, hyphened: &str) -> [String; 2] {
    [format!("prebake.mac={mac}"), format!("BOOTIF=01-{hyphened}")]
}

/// Metadata of a group whose machines install themselves: which generation, so that a server can tell who is done.
pub const GENERATION: &str = "install_generation";

/// The manifest's signature, beside it where there is one.
pub const SIGNATURE: &str = "manifest.json.minisig";

/// The statement's name beside the manifest.
pub const PROVENANCE: &str = "provenance.json";

/// The file's name in a tree.
pub const MANIFEST: &str = "manifest.json";

/// Lists every published file but itself and the manifest, as `sha256sum -c` reads it.
pub const CHECKSUMS: &str = "SHA256SUMS";

/// The link to the newest build.
pub const CURRENT: &str = "current";

/// What GRUB puts in the place of the address of the card that it came over: with colons, in both arguments, as readers of
/// `BOOTIF=` (dracut's `fix_bootif`) take it too.
pub const GRUB_CARD: [&str; 2] = ["$net_default_mac", "$net_default_mac"];

/// Boots the local disk. `exit` hands a UEFI machine to the next boot entry; a BIOS may just try the network again, so it
/// is told the disk.
pub const IPXE_LOCAL: &str = "iseq ${platform} pcbios && sanboot --no-describe --drive 0x80 ||\nexit\n";

/// What iPXE puts in the place of the address of the card that it boots over: `netX` is the one that it opened last.
pub const IPXE_CARD: [&str; 2] = ["${netX/mac}", "${netX/mac:hexhyp}"];

/// Writes the table of endpoints once: the enum, the list of all, the path of each and whether its answers are signed.
macro_rules! endpoints {
    ($($(#[$doc:meta])+ $name:ident: $path:literal, $signed:literal;)+) => {
        /// An endpoint of `prebake serve`. Most are Matchbox's own.
        ///
        /// The server maps each to a handler by an exhaustive match, and the closure of a tree takes the same list, so that
        /// neither can have one that the other lacks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Endpoint {
            $($(#[$doc])+ $name,)+
        }

        impl Endpoint {
            /// All of them.
            pub const ALL: &[Endpoint] = &[$(Endpoint::$name),+];

            /// Path from the root of the server.
            pub const fn path(self) -> &'static str {
                match self {
                    $(Endpoint::$name => $path,)+
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
    /// The state of all machines.
    Status: "/status", false;
    /// Changes of that state, as they come.
    Events: "/events", false;
    /// Counters for Prometheus.
    Metrics: "/metrics", false;
    /// Which group a machine would get, and why.
    Explain: "/explain", false;
}

/// The form of a detached signature of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The packet.
    Binary,
    /// In ASCII armor.
    Armored,
}

impl Form {
    /// Both.
    pub const ALL: [Form; 2] = [Form::Binary, Form::Armored];

    /// What stands behind the endpoint's name, as Matchbox has it.
    pub const fn extension(self) -> &'static str {
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
    pub fn parse(name: &str) -> Option<(Endpoint, Option<Form>)> {
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
pub const LOADERS: &str = "loaders/";

/// Below this the server has configs with secrets, each for whoever holds its token.
pub const GUARDED: &str = "guarded/";

#[cfg(test)]
mod tests {
    use super::*;

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
}
