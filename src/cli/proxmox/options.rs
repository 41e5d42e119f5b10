//! The options of a VM, of all verbs that make one.

use clap::{Args, ValueEnum};

use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::proxmox::vm::{self, Firmware, Ids, MIB, Vm};

/// Ids from which one is taken where none is named: far from those of people's own VMs, which begin at 100.
const IDS: Ids = Ids { first: 9000, last: 9999 };

/// A VM.
#[derive(Args)]
pub(super) struct VmArgs {
    /// The VM's id, such as 211
    #[arg(long, value_name = "N", value_parser = vm::id, conflicts_with = "vm_ids")]
    vm_id: Option<u32>,
    /// Take the first id from A to B that is free [default: 9000-9999]
    #[arg(long, value_name = "A-B")]
    vm_ids: Option<Ids>,
    /// The VM's name; the tree's or the image's if absent
    #[arg(long, value_name = "NAME", value_parser = vm::name)]
    name: Option<String>,
    /// Make a template of it, of which Cluster API clones machines
    #[arg(long)]
    pub(super) convert_to_template: bool,
    /// Memory of the VM; Cluster API gives each machine its own [default: 4GiB]
    #[arg(long, value_name = "SIZE", value_parser = memory, help_heading = "The VM")]
    memory: Option<u64>,
    /// CPU cores [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512), help_heading = "The VM")]
    cores: Option<u32>,
    /// Model of its CPU [default: x86-64-v2-AES]
    #[arg(long, value_name = "MODEL", value_parser = vm::word, help_heading = "The VM")]
    cpu: Option<String>,
    /// Bridge of its network card [default: vmbr0]
    #[arg(long, value_name = "NAME", value_parser = vm::word, help_heading = "The VM")]
    bridge: Option<String>,
    /// VLAN of its network card
    #[arg(long, value_name = "VLAN", value_parser = vm::vlan, help_heading = "The VM")]
    vlan: Option<u16>,
    /// Firmware
    #[arg(long, value_name = "KIND", default_value = "bios", help_heading = "The VM")]
    pub(super) firmware: FirmwareArg,
    /// Length of the disk; ROOT gets all that this adds, at its first boot
    #[arg(long, value_name = "SIZE")]
    size: Option<Bytes>,
    /// A tag; once for each
    #[arg(long = "tag", value_name = "TAG", value_parser = vm::tag, help_heading = "The VM")]
    tags: Vec<String>,
    /// The pool that it belongs to
    #[arg(long, value_name = "NAME", value_parser = vm::word, help_heading = "The VM")]
    pool: Option<String>,
}

/// Firmware of a VM.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FirmwareArg {
    /// SeaBIOS
    Bios,
    /// OVMF, without Secure Boot
    Uefi,
}

impl From<FirmwareArg> for Firmware {
    fn from(firmware: FirmwareArg) -> Firmware {
        match firmware {
            FirmwareArg::Bios => Firmware::Bios,
            FirmwareArg::Uefi => Firmware::Uefi,
        }
    }
}

/// Memory in MiB.
fn memory(text: &str) -> Result<u64, String> {
    let Bytes(bytes) = text.parse()?;
    match bytes.is_multiple_of(MIB) && bytes >= 256 * MIB {
        true => Ok(bytes / MIB),
        false => Err("whole MiB, and 256 of them or more, were expected".into()),
    }
}

impl VmArgs {
    pub(super) fn ids(&self) -> Ids {
        match (self.vm_id, self.vm_ids) {
            (Some(id), _) => Ids { first: id, last: id },
            (None, Some(ids)) => ids,
            (None, None) => IDS,
        }
    }

    /// Whether ids were named.
    pub(super) fn is_id_named(&self) -> bool {
        self.vm_id.is_some() || self.vm_ids.is_some()
    }

    /// The options that were given and have no effect on an image of a store: all but `--name` and `--firmware`.
    pub(super) fn of_a_vm_alone(&self) -> Vec<&'static str> {
        let given = [
            ("--vm-id", self.vm_id.is_some()),
            ("--vm-ids", self.vm_ids.is_some()),
            ("--convert-to-template", self.convert_to_template),
            ("--memory", self.memory.is_some()),
            ("--cores", self.cores.is_some()),
            ("--cpu", self.cpu.is_some()),
            ("--bridge", self.bridge.is_some()),
            ("--vlan", self.vlan.is_some()),
            ("--size", self.size.is_some()),
            ("--tag", !self.tags.is_empty()),
            ("--pool", self.pool.is_some()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(option, _)| option).collect()
    }

    /// The VM; `otherwise` is its name if none was given.
    pub(super) fn vm(&self, otherwise: &str) -> Vm {
        let mut tags = self.tags.clone();
        tags.sort();
        tags.dedup();
        Vm {
            name: self.name.clone().unwrap_or_else(|| host_name(otherwise)),
            memory: self.memory.unwrap_or(4 << 10),
            cores: self.cores.unwrap_or(2),
            cpu: self.cpu.clone().unwrap_or_else(|| "x86-64-v2-AES".into()),
            bridge: self.bridge.clone().unwrap_or_else(|| "vmbr0".into()),
            vlan: self.vlan,
            firmware: self.firmware.into(),
            size: self.size.map(|size| size.0),
            tags,
            pool: self.pool.clone(),
        }
    }
}

/// The host name nearest to a text.
fn host_name(text: &str) -> String {
    let letter =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let made: String = text.chars().map(letter).take(63).collect();
    match made.trim_matches('-') {
        "" => "flatcar".into(),
        name => name.to_owned(),
    }
}
