//! The description of a virtual machine in an OVA.
//!
//! Owns the text, an OVF envelope (DMTF DSP0243) as VMware writes it, with the hardware and the guestinfo properties of
//! Flatcar's own (`build_library/template_vmware.ovf` of flatcar/scripts). Leaves the archive to `ova`.

use std::fmt::Write;

/// Firmware of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Firmware {
    /// BIOS, as in Flatcar's own description.
    #[default]
    Bios,
    /// UEFI.
    Efi,
}

/// The machine that a description is of.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// Number of CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// The firmware that it starts with.
    pub firmware: Firmware,
    /// VMware's version of the hardware, such as 13 for ESXi 6.5.
    pub hardware: u32,
    /// The appliance's name.
    pub product: &'a str,
    /// Values of guestinfo properties other than their usual ones, by key. Keys that Flatcar's description has not are
    /// added, so that a config can ride along.
    pub properties: &'a [(&'a str, &'a str)],
}

impl Default for Machine<'_> {
    /// The values of Flatcar's own: two CPUs, 2 GiB, hardware of version 13.
    fn default() -> Self {
        Machine {
            cpus: 2,
            memory: 2048,
            firmware: Firmware::Bios,
            hardware: 13,
            product: "Flatcar Container Linux",
            properties: &[],
        }
    }
}

/// The guestinfo properties of Flatcar's description, which Ignition and coreos-cloudinit read: key, value, label.
const PROPERTIES: [(&str, &str, &str); 23] = [
    ("hostname", "", "Hostname"),
    ("ignition.config.data", "", "Ignition config, or data for coreos-cloudinit"),
    ("ignition.config.data.encoding", "", "Encoding of that config, such as base64 or gzip+base64"),
    ("ignition.config.url", "", "URL of the Ignition config, or of data for coreos-cloudinit"),
    ("dns.server.0", "", "First DNS server, for coreos-cloudinit"),
    ("dns.server.1", "", "Second DNS server, for coreos-cloudinit"),
    ("interface.0.name", "", "Name of interface 0, for coreos-cloudinit"),
    ("interface.0.mac", "", "MAC address of interface 0, for coreos-cloudinit"),
    ("interface.0.dhcp", "no", "DHCP on interface 0, for coreos-cloudinit"),
    ("interface.0.role", "public", "Role of interface 0, for coreos-cloudinit"),
    ("interface.0.ip.0.address", "", "First address of interface 0, for coreos-cloudinit"),
    ("interface.0.ip.1.address", "", "Second address of interface 0, for coreos-cloudinit"),
    ("interface.0.route.0.gateway", "", "Gateway of the first route of interface 0, for coreos-cloudinit"),
    (
        "interface.0.route.0.destination",
        "",
        "Destination of the first route of interface 0, for coreos-cloudinit",
    ),
    ("interface.0.route.1.gateway", "", "Gateway of the second route of interface 0, for coreos-cloudinit"),
    (
        "interface.0.route.1.destination",
        "",
        "Destination of the second route of interface 0, for coreos-cloudinit",
    ),
    ("interface.1.name", "", "Name of interface 1, for coreos-cloudinit"),
    ("interface.1.mac", "", "MAC address of interface 1, for coreos-cloudinit"),
    ("interface.1.dhcp", "no", "DHCP on interface 1, for coreos-cloudinit"),
    ("interface.1.role", "private", "Role of interface 1, for coreos-cloudinit"),
    ("interface.1.ip.0.address", "", "First address of interface 1, for coreos-cloudinit"),
    ("interface.1.route.0.gateway", "", "Gateway of the first route of interface 1, for coreos-cloudinit"),
    (
        "interface.1.route.0.destination",
        "",
        "Destination of the first route of interface 1, for coreos-cloudinit",
    ),
];

/// Elements of a piece of hardware, in the order of the alphabet, as the schema demands.
type Item<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);

/// Writes the description of a machine with one disk: `capacity` bytes long, in the file `disk`, which has `size`
/// bytes. The text is as long for any `size`, so that it can be written before the disk and filled in after it.
pub(crate) fn envelope(name: &str, machine: &Machine<'_>, capacity: u64, disk: &str, size: u64) -> String {
    let (name, disk) = (escaped(name), escaped(disk));
    let size = format!("\"{size}\"");
    let mut text = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:cim="http://schemas.dmtf.org/wbem/wscim/1/common"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:vmw="http://www.vmware.com/schema/ovf"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <References>
    <File ovf:href="{disk}" ovf:id="file1" ovf:size={size:<22}/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" ovf:fileRef="file1"
      ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Logical networks</Info>
    <Network ovf:name="VM Network">
      <Description>The network of the first interface</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A virtual machine</Info>
    <Name>{name}</Name>
"#
    );
    product(&mut text, machine);
    hardware(&mut text, &name, machine);
    text.push_str("  </VirtualSystem>\n</Envelope>\n");
    text
}

/// The properties that people may fill in before the machine starts.
fn product(text: &mut String, machine: &Machine<'_>) {
    let given = |key: &str| {
        let full = |name: &str| name.strip_prefix("guestinfo.").unwrap_or(name) == key;
        machine.properties.iter().find(|(name, _)| full(name)).map(|(_, value)| *value)
    };
    let known = PROPERTIES.map(|(key, usual, label)| (key, given(key).unwrap_or(usual), label));
    let others = machine.properties.iter().map(|(key, value)| {
        let key = key.strip_prefix("guestinfo.").unwrap_or(key);
        (key, *value, key)
    });
    let others = others.filter(|(key, ..)| PROPERTIES.iter().all(|(known, ..)| known != key));
    let _ = writeln!(
        text,
        "    <ProductSection ovf:required=\"false\">\n      <Info>The appliance</Info>\n      <Product>{}</Product>",
        escaped(machine.product)
    );
    for (key, value, label) in known.into_iter().chain(others) {
        let (key, value, label) = (escaped(key), escaped(value), escaped(label));
        let _ = writeln!(
            text,
            r#"      <Property ovf:key="guestinfo.{key}" ovf:type="string" ovf:userConfigurable="true"
        ovf:value="{value}">
        <Label>{label}</Label>
      </Property>"#
        );
    }
    text.push_str("    </ProductSection>\n");
}

/// The hardware, item by item.
fn hardware(text: &mut String, name: &str, machine: &Machine<'_>) {
    let Machine { cpus, memory, hardware, .. } = machine;
    let (cpus, memory) = (cpus.to_string(), memory.to_string());
    let firmware = match machine.firmware {
        Firmware::Bios => "bios",
        Firmware::Efi => "efi",
    };
    let _ = write!(
        text,
        r#"    <OperatingSystemSection ovf:id="100" vmw:osType="other3xLinux64Guest">
      <Info>The operating system</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection ovf:transport="com.vmware.guestInfo">
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-{hardware}</vssd:VirtualSystemType>
      </System>
"#
    );
    let (cpu_name, memory_name) = (format!("{cpus} virtual CPU(s)"), format!("{memory}MB of memory"));
    let items: [Item<'_>; 8] = [
        (
            &[
                ("AllocationUnits", "hertz * 10^6"),
                ("ElementName", &cpu_name),
                ("InstanceID", "1"),
                ("ResourceType", "3"),
                ("VirtualQuantity", &cpus),
            ],
            &[],
        ),
        (
            &[
                ("AllocationUnits", "byte * 2^20"),
                ("ElementName", &memory_name),
                ("InstanceID", "2"),
                ("ResourceType", "4"),
                ("VirtualQuantity", &memory),
            ],
            &[],
        ),
        (
            &[
                ("Address", "0"),
                ("ElementName", "SCSI Controller 0"),
                ("InstanceID", "3"),
                ("ResourceSubType", "VirtualSCSI"),
                ("ResourceType", "6"),
            ],
            &[],
        ),
        (
            &[
                ("Address", "0"),
                ("ElementName", "VirtualIDEController 0"),
                ("InstanceID", "4"),
                ("ResourceType", "5"),
            ],
            &[],
        ),
        (
            &[
                ("AutomaticAllocation", "false"),
                ("ElementName", "VirtualVideoCard"),
                ("InstanceID", "5"),
                ("ResourceType", "24"),
            ],
            &[("enable3DSupport", "false"), ("useAutoDetect", "false"), ("videoRamSizeInKB", "4096")],
        ),
        (
            &[
                ("AddressOnParent", "0"),
                ("AutomaticAllocation", "false"),
                ("ElementName", "CD-ROM 1"),
                ("InstanceID", "6"),
                ("Parent", "4"),
                ("ResourceSubType", "vmware.cdrom.remotepassthrough"),
                ("ResourceType", "15"),
            ],
            &[("backing.exclusive", "false")],
        ),
        (
            &[
                ("AddressOnParent", "0"),
                ("ElementName", "Hard Disk 1"),
                ("HostResource", "ovf:/disk/vmdisk1"),
                ("InstanceID", "7"),
                ("Parent", "3"),
                ("ResourceType", "17"),
            ],
            &[("backing.writeThrough", "false")],
        ),
        (
            &[
                ("AddressOnParent", "7"),
                ("AutomaticAllocation", "true"),
                ("Connection", "VM Network"),
                ("ElementName", "Ethernet 1"),
                ("InstanceID", "8"),
                ("ResourceSubType", "VmxNet3"),
                ("ResourceType", "10"),
            ],
            &[("wakeOnLanEnabled", "true")],
        ),
    ];
    for (elements, config) in items {
        // These may be left out where a host has no such thing.
        let is_optional = elements.contains(&("AutomaticAllocation", "false"));
        let required = if is_optional { " ovf:required=\"false\"" } else { "" };
        let _ = writeln!(text, "      <Item{required}>");
        for (element, value) in elements {
            let _ = writeln!(text, "        <rasd:{element}>{value}</rasd:{element}>");
        }
        configs(text, "        ", config);
        text.push_str("      </Item>\n");
    }
    configs(
        text,
        "      ",
        &[
            ("cpuHotAddEnabled", "true"),
            ("cpuHotRemoveEnabled", "true"),
            ("firmware", firmware),
            ("memoryHotAddEnabled", "true"),
            ("nestedHVEnabled", "false"),
            ("powerOpInfo.powerOffType", "preset"),
            ("powerOpInfo.resetType", "preset"),
            ("powerOpInfo.standbyAction", "checkpoint"),
            ("powerOpInfo.suspendType", "preset"),
            ("tools.afterPowerOn", "true"),
            ("tools.afterResume", "true"),
            ("tools.beforeGuestShutdown", "true"),
            ("tools.beforeGuestStandby", "true"),
            ("tools.syncTimeWithHost", "false"),
            ("tools.toolsUpgradePolicy", "manual"),
        ],
    );
    text.push_str("    </VirtualHardwareSection>\n");
}

/// VMware's own settings.
fn configs(text: &mut String, indent: &str, configs: &[(&str, &str)]) {
    for (key, value) in configs {
        let _ = writeln!(
            text,
            "{indent}<vmw:Config ovf:required=\"false\" vmw:key=\"{key}\" vmw:value=\"{value}\"/>"
        );
    }
}

/// A text as XML holds it between tags and in quotes. Control characters, which XML 1.0 cannot hold, are left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // A reader would make spaces of them in an attribute.
            '\t' | '\n' | '\r' => drop(write!(escaped, "&#{};", char as u32)),
            '\u{fffe}' | '\u{ffff}' => {}
            char if char.is_control() && char < '\u{20}' => {}
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_as_long_for_any_disk() {
        let length = |size| envelope("a", &Machine::default(), 1, "a.vmdk", size).len();
        assert_eq!(length(0), length(u64::MAX));
    }

    #[test]
    fn properties_of_our_own_replace_or_follow_flatcars() {
        let properties = [("guestinfo.interface.0.dhcp", "yes"), ("hostname", "a\"b"), ("x", "<")];
        let text = envelope("a", &Machine { properties: &properties, ..Machine::default() }, 1, "a", 1);
        assert_eq!(text.matches("<Property ").count(), PROPERTIES.len() + 1);
        for value in ["\"yes\"", "\"a&quot;b\"", "\"&lt;\""] {
            assert!(text.contains(&format!("ovf:value={value}")), "{value}");
        }
    }

    #[test]
    fn every_character_comes_out_as_xml_has_it() {
        // XML 1.0, production 2.
        let is_xml = |char: char| matches!(char, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..);
        for char in '\0'..='\u{10100}' {
            let escaped = escaped(&char.to_string());
            assert!(escaped.chars().all(is_xml), "{char:?}");
            let is_reference = escaped.starts_with('&') && escaped.ends_with(';');
            assert!(
                is_reference || !escaped.contains(['&', '<', '>', '"', '\t', '\n', '\r']),
                "{char:?}: {escaped}"
            );
        }
    }
}
