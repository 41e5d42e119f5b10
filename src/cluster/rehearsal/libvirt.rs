//! The machines of a rehearsal as libvirt's XML, for those who keep their machines there.

use std::fmt::Write;

use super::{Machine, Plan};
use crate::base::words::in_xml;
use crate::machine::vm::Bus;

/// A document, and its name.
#[derive(Debug)]
pub struct Document {
    /// `network`, or a node's name.
    pub name: String,
    /// The XML.
    pub text: String,
}

/// The network first, then each machine. The host has the boot server's address on the network; libvirt answers nobody there, for prebake
/// does. Disks are files below `disks`.
pub fn documents(plan: &Plan, disks: &str, is_kvm: bool) -> Vec<Document> {
    let network = Document { name: "network".into(), text: network(plan) };
    let domains = plan.machines.iter();
    let domains = domains
        .map(|machine| Document { name: machine.name.clone(), text: domain(plan, machine, disks, is_kvm) });
    std::iter::once(network).chain(domains).collect()
}

fn network(plan: &Plan) -> String {
    let (name, address, prefix) = (escaped(&plan.name), plan.address, plan.prefix);
    // Interface names of more than 15 letters are none.
    let bridge: String = format!("vb-{}", plan.name).chars().take(15).collect();
    format!(
        "<network>\n  <name>{name}</name>\n  <bridge name='{}' stp='off'/>\n  <dns enable='no'/>\n  \
         <ip address='{address}' prefix='{prefix}'/>\n</network>\n",
        escaped(&bridge)
    )
}

fn domain(plan: &Plan, machine: &Machine, disks: &str, is_kvm: bool) -> String {
    let (kind, cpu) = if is_kvm { ("kvm", "host-passthrough") } else { ("qemu", "maximum") };
    let name = escaped(&format!("{}-{}", plan.name, machine.name));
    let mut text = format!(
        "<domain type='{kind}'>\n  <name>{name}</name>\n  <memory unit='KiB'>{}</memory>\n  <vcpu>2</vcpu>\n  <os>\n    \
         <type arch='x86_64'>hvm</type>\n    <boot dev='network'/>\n",
        machine.memory.div_ceil(1024)
    );
    if machine.disk.is_some() {
        text += "    <boot dev='hd'/>\n";
    }
    let _ = write!(
        text,
        "  </os>\n  <features>\n    <acpi/>\n  </features>\n  <cpu mode='{cpu}'/>\n  <clock offset='utc'/>\n  \
         <on_poweroff>destroy</on_poweroff>\n  <on_reboot>restart</on_reboot>\n  <on_crash>destroy</on_crash>\n  <devices>\n"
    );
    if let Some(disk) = &machine.disk {
        let (target, bus, serial) = match &disk.bus {
            Bus::Virtio { serial } => ("vda", "virtio", serial),
            Bus::Ata { serial, .. } => ("sda", "sata", serial),
            Bus::Nvme { serial } => ("nvme0n1", "nvme", serial),
        };
        // libvirt has no bus of NVMe for files; by virtio the machine has a disk of that serial number at least.
        let (target, bus) = if bus == "nvme" { ("vda", "virtio") } else { (target, bus) };
        let file = escaped(&image(plan, machine, disks));
        let _ = write!(
            text,
            "    <disk type='file' device='disk'>\n      <driver name='qemu' type='raw'/>\n      \
             <source file='{file}'/>\n      <target dev='{target}' bus='{bus}'/>\n      <serial>{}</serial>\n    </disk>\n",
            escaped(serial)
        );
    }
    let _ = write!(
        text,
        "    <interface type='network'>\n      <mac address='{}'/>\n      <source network='{}'/>\n      <model type='virtio'/>\n    \
         </interface>\n    <serial type='pty'/>\n    <console type='pty'/>\n    <rng model='virtio'>\n      \
         <backend model='random'>/dev/urandom</backend>\n    </rng>\n  </devices>\n</domain>\n",
        machine.mac,
        escaped(&plan.name)
    );
    text
}

/// The file that is a machine's disk, which `truncate --size 20G` makes.
pub fn image(plan: &Plan, machine: &Machine, disks: &str) -> String {
    format!("{}/{}-{}.img", disks.trim_end_matches('/'), plan.name, machine.name)
}

/// A text for an element, or an attribute in quotes of either kind.
fn escaped(text: &str) -> String {
    in_xml(text).replace('\'', "&apos;")
}
