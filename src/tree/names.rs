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
