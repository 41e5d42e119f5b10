//! Every target: its name, what must hold for whatever bytes, and sound bytes to begin with.

use super::{disks, seeds, words};

/// What holds for whatever bytes come.
pub struct Target {
    /// What `make fuzz` calls it.
    pub name: &'static str,
    /// Panics where it does not hold.
    pub holds: fn(&[u8]),
    /// Bytes that are sound, or nearly so, from which others are made.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many inputs `make test` makes of them, so that all targets together take some seconds.
    pub rounds: usize,
}

const fn target(name: &'static str, holds: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>, rounds: usize) -> Target {
    Target { name, holds, seeds, rounds }
}

/// All of them. `fuzz/README.md` tells which sources each is for.
pub const TARGETS: [Target; 45] = [
    target("answer", words::answer, seeds::answers, 2000),
    target("archive", super::archive, seeds::archives, 150),
    target("btrfs", disks::btrfs, seeds::disks::btrfs, 60),
    target("bundle", super::bundle, seeds::bundles, 150),
    target("bzip2", disks::bzip2, seeds::disks::bzip2, 300),
    target("cluster", super::cluster, seeds::clusters, 200),
    target("container", disks::container, seeds::disks::containers, 100),
    target("dhcp", super::dhcp, seeds::dhcp, 1000),
    target("disk", super::disk, seeds::disks, 400),
    target("documents", words::documents, seeds::documents, 150),
    target("erofs", super::erofs, seeds::erofs, 300),
    target("extension", super::extension, seeds::extensions, 150),
    target("fat", disks::fat, seeds::disks::fats, 1000),
    target("gotemplate", super::gotemplate, seeds::templates, 500),
    target("initrd", super::initrd, seeds::initrds, 150),
    target("key", super::key, seeds::keys, 60),
    target("labels", words::labels, seeds::labels, 2000),
    target("lists", words::lists, seeds::lists, 1000),
    target("manifest", super::manifest, seeds::manifests, 300),
    target("member", disks::member, seeds::disks::archives, 300),
    target("merge", super::merge, seeds::layers, 200),
    target("minisign", super::minisign, seeds::minisign, 1000),
    target("moved", super::moved, seeds::old_manifests, 150),
    target("oem", disks::oem, seeds::disks::oems, 500),
    target("packed", disks::packed, seeds::disks::packed, 300),
    target("parts", words::parts, seeds::configs, 300),
    target("program", super::program, seeds::programs, 1000),
    target("proxmox", super::proxmox, seeds::proxmox, 1500),
    target("recipe", super::recipe, seeds::recipes, 150),
    target("records", super::records, seeds::records, 1000),
    target("redfish", super::redfish, seeds::redfish, 1500),
    target("reference", words::reference, seeds::references, 1000),
    target("registry", words::registry, seeds::registry, 1000),
    target("request", super::request, seeds::requests, 2000),
    target("roster", super::roster, seeds::rosters, 500),
    target("secrets", super::secrets, seeds::secrets, 300),
    target("short", words::short, seeds::short, 2000),
    target("signature", words::signature, seeds::signatures, 60),
    target("squashfs", super::squashfs, seeds::squashfs, 100),
    target("state", words::state, seeds::states, 500),
    target("table", disks::table, seeds::disks::tables, 300),
    target("tftp", super::tftp, seeds::tftp, 2000),
    target("transpile", super::transpile, seeds::butane, 100),
    target("validate", super::validate, seeds::configs, 200),
    target("yaml", words::yaml, seeds::yaml, 500),
];
