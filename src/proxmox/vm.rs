//! A VM's options as one value: what the API is sent, and what `qm create` is given; both take the same names.
//!
//! Owns what Ignition and Flatcar need of a VM on Proxmox VE, and the forms of names in property strings, in which a comma would begin
//! another option. Leaves sending to [`super::upload`] and quoting to [`super::script`].

use std::fmt::{self, Write};
use std::str::FromStr;

use crate::base::digest::Sha256;

/// The device of the disk.
pub(crate) const DISK: &str = "scsi0";
/// The device of the cloud-init drive. CAPMOX puts its own there, with the same label, so that a machine never has two
/// (`internal/inject`, `CloudInitISODevice`).
pub(crate) const CLOUD_INIT: &str = "ide0";
/// Bytes of the unit in which memory is told.
pub(crate) const MIB: u64 = 1 << 20;

/// The firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF, with a disk for its variables.
    Uefi,
}

/// A VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Its name: a host name.
    pub name: String,
    /// Memory in MiB.
    pub memory: u64,
    /// CPU cores.
    pub cores: u32,
    /// The model of its CPU.
    pub cpu: String,
    /// The bridge of its card.
    pub bridge: String,
    /// The VLAN of its card.
    pub vlan: Option<u16>,
    /// Its firmware.
    pub firmware: Firmware,
    /// Length of its disk in bytes; that of the image if absent.
    pub size: Option<u64>,
    /// Its tags.
    pub tags: Vec<String>,
    /// The pool that it belongs to.
    pub pool: Option<String>,
}

impl Vm {
    /// Its options, in the order in which people read them: its disk on `storage`, imported from the volume or path `from`.
    pub fn options(&self, storage: &str, from: &str) -> Vec<(&'static str, String)> {
        let mut options = vec![
            ("name", self.name.clone()),
            ("ostype", "l26".into()),
            ("memory", self.memory.to_string()),
            ("cores", self.cores.to_string()),
            ("cpu", self.cpu.clone()),
        ];
        if self.firmware == Firmware::Uefi {
            options.push(("bios", "ovmf".into()));
            options.push(("machine", "q35".into()));
            // Secure Boot with the keys that Proxmox VE would enroll refuses Flatcar's boot loader.
            options.push(("efidisk0", format!("{storage}:1,efitype=4m,pre-enrolled-keys=0")));
        }
        options.push(("scsihw", "virtio-scsi-pci".into()));
        options.push((DISK, format!("{storage}:0,import-from={from},discard=on")));
        // Without such a drive afterburn fails the boot (flatcar/scripts#1783); Ignition reads its config from one.
        options.push((CLOUD_INIT, format!("{storage}:cloudinit")));
        options.push(("boot", format!("order={DISK}")));
        let mut card = format!("virtio,bridge={}", self.bridge);
        if let Some(vlan) = self.vlan {
            let _ = write!(card, ",tag={vlan}");
        }
        options.push(("net0", card));
        // Flatcar's console is ttyS0, and its images have a qemu-guest-agent that starts where it finds its port.
        options.push(("serial0", "socket".into()));
        options.push(("vga", "serial0".into()));
        options.push(("agent", "enabled=1".into()));
        if !self.tags.is_empty() {
            options.push(("tags", self.tags.join(";")));
        }
        if let Some(pool) = &self.pool {
            options.push(("pool", pool.clone()));
        }
        options
    }

    /// The first 16 digits of a digest over all options on a storage, without the image.
    pub(crate) fn digest(&self, storage: &str) -> String {
        let mut text = format!("size={:?}\n", self.size);
        for (key, value) in self.options(storage, "IMAGE") {
            let _ = writeln!(text, "{key}={value}");
        }
        Sha256::of(text.as_bytes()).to_string()[..16].to_owned()
    }

    /// The length of its disk as the API and `qm resize` take it.
    pub(crate) fn resize(&self) -> Option<String> {
        const GIB: u64 = 1 << 30;
        self.size.map(|size| match size % GIB {
            0 => format!("{}G", size / GIB),
            _ => size.to_string(),
        })
    }
}

/// The ids from which one is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// First id.
    pub first: u32,
    /// Last id.
    pub last: u32,
}

impl Ids {
    /// Whether an id is one of them.
    pub(crate) fn contains(self, id: u32) -> bool {
        (self.first..=self.last).contains(&id)
    }

    /// The id, if there is but one.
    pub(crate) fn only(self) -> Option<u32> {
        (self.first == self.last).then_some(self.first)
    }
}

/// As the object of a sentence: `the id 211`, `an id from 9000 to 9999`.
impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.only() {
            Some(id) => write!(f, "the id {id}"),
            None => write!(f, "an id from {} to {}", self.first, self.last),
        }
    }
}

/// Ids that Proxmox VE gives (`pve-vmid`).
const IDS: std::ops::RangeInclusive<u32> = 100..=999_999_999;

/// One id.
///
/// # Errors
/// In words, that it is none.
pub(crate) fn id(text: &str) -> Result<u32, String> {
    let id = text.parse().ok().filter(|id| IDS.contains(id));
    id.ok_or_else(|| format!("`{text}` is no VM id: {} to {}", IDS.start(), IDS.end()))
}

impl FromStr for Ids {
    type Err = String;

    /// `A-B`, both included.
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) =
            text.split_once('-').ok_or_else(|| format!("`{text}` is no range such as 9000-9099"))?;
        let (first, last) = (id(first)?, id(last)?);
        match first <= last {
            true => Ok(Ids { first, last }),
            false => Err(format!("{first} comes after {last}")),
        }
    }
}

/// A host name (`dns-name`).
///
/// # Errors
/// In words, that it is none.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match text.len() <= 253 && text.split('.').all(label) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is no host name: letters, digits, hyphens, and dots between them")),
    }
}

/// A name of a node, storage, bridge, pool or CPU model: the letters that all of them have in common, none of which ends a property.
///
/// # Errors
/// In words, that it is none.
pub(crate) fn word(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if fits { Ok(text.to_owned()) } else { Err(format!("`{text}` is no name that Proxmox VE takes")) }
}

/// A tag (`pve-tag`), in lower case as Proxmox VE keeps it.
///
/// # Errors
/// In words, that it is none.
pub(crate) fn tag(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let fits = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte));
    if fits { Ok(text) } else { Err(format!("`{text}` is no tag: letters, digits, `_`, `-`, `+` and `.`")) }
}

/// A VLAN (`tag` of a card).
///
/// # Errors
/// In words, that it is none.
pub(crate) fn vlan(text: &str) -> Result<u16, String> {
    let vlan = text.parse().ok().filter(|vlan| (1..=4094).contains(vlan));
    vlan.ok_or_else(|| format!("`{text}` is no VLAN: 1 to 4094"))
}

#[cfg(test)]
pub(super) fn sample() -> Vm {
    Vm {
        name: "flatcar-node".into(),
        memory: 4096,
        cores: 2,
        cpu: "x86-64-v2-AES".into(),
        bridge: "vmbr0".into(),
        vlan: None,
        firmware: Firmware::Bios,
        size: None,
        tags: Vec::new(),
        pool: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_begin_another_option_are_refused() {
        for text in ["vmbr0,tag=5", "a=b", "", "a b", "a;b", "../x", "a:0", "-x"] {
            assert!(word(text).is_err(), "{text}");
        }
        assert_eq!(tag("Edge.Flatcar").unwrap(), "edge.flatcar");
        for text in ["a;b", "a,b", "", "a b"] {
            assert!(tag(text).is_err() && name(text).is_err(), "{text}");
        }
        assert!(name("flatcar-4593.2.5").is_ok() && name("-x").is_err());
        assert_eq!("9000-9099".parse::<Ids>().unwrap(), Ids { first: 9000, last: 9099 });
        for text in ["9000", "99-100", "9-8", "200-100", "100-1000000000", "a-b"] {
            assert!(text.parse::<Ids>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_digest_tells_vms_apart_and_not_images() {
        let vm = sample();
        assert_eq!(vm.digest("a"), vm.clone().digest("a"));
        let others =
            [Vm { size: Some(1 << 30), ..vm.clone() }, Vm { firmware: Firmware::Uefi, ..vm.clone() }];
        assert!(others.iter().all(|other| other.digest("a") != vm.digest("a")));
        assert_ne!(vm.digest("a"), vm.digest("b"));
        assert_eq!(Vm { size: Some(20 << 30), ..vm.clone() }.resize().unwrap(), "20G");
        assert_eq!(Vm { size: Some(512), ..vm }.resize().unwrap(), "512");
    }
}
