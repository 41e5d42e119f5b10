//! The platforms for which the generic image is made ready.
//!
//! Owns one table: the OEM id that Ignition and Afterburn look for, GRUB's settings, the length of ROOT, formats, and
//! the sizes that the platform takes. The settings are those of `common-oem-files` of flatcar/scripts (2026-08), the
//! layouts and formats those of `vm_image_util.sh` there; where that names none for a newer platform, those of its
//! nearest kin. Leaves putting them on OEM to [`super::oem`].

use crate::base::size::Bytes;
use crate::disk::Error;
use crate::disk::layout::{Layout, Variant};
use crate::format::disk::Format;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const GB: u64 = 1_000_000_000;

/// A rule about the length of a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// No shorter.
    AtLeast(u64),
    /// No longer.
    AtMost(u64),
    /// A multiple.
    Multiple(u64),
    /// Shorter ones are taken, and the platform advises against them.
    Advised(u64),
    /// The disk is copied to volumes of whole multiples, which must hold it.
    Volume(u64),
}

/// A condition in GRUB's script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Pc,
    Arm64,
    NotArm64,
    X86,
}

impl When {
    /// The line that begins a block, if there is one.
    const fn begin(self) -> Option<&'static str> {
        match self {
            When::Always => None,
            When::Pc => Some("if [ \"$grub_platform\" = pc ]; then"),
            When::Arm64 => Some("if [ \"$grub_cpu\" = arm64 ]; then"),
            When::NotArm64 => Some("if [ \"$grub_cpu\" != arm64 ]; then"),
            When::X86 => Some("if [ \"$grub_cpu\" = x86_64 ]; then"),
        }
    }
}

/// A platform.
#[derive(Debug)]
pub struct Platform {
    /// The name in recipes, and `ID` of `oem-release`; also that of the extension `oem-ID`. `generic` has no such
    /// files.
    pub id: &'static str,
    /// The name for people, `NAME` of `oem-release`.
    pub name: &'static str,
    /// `flatcar.oem.id`, by which Ignition and Afterburn know the platform; empty if there is none.
    pub oem_id: &'static str,
    /// Kernel arguments that are stock, without the next one.
    pub arguments: &'static [&'static str],
    /// Whether a stock image logs in whoever is at the console (flatcar/Flatcar#396).
    pub autologin: bool,
    /// `linux_console` by condition.
    console: &'static [(When, &'static str)],
    /// Where GRUB itself speaks by the first serial port alone.
    serial: Option<When>,
    /// Length of ROOT.
    pub variant: Variant,
    /// The formats that are made if a recipe names none; the first is the stock one or its nearest kin.
    pub formats: &'static [Format],
    /// Rules about the length of a disk.
    pub rules: &'static [Rule],
    /// Whether an `oem-ID.raw` is published, and update payloads of it.
    pub extension: bool,
}

/// A platform whose images differ from the generic one by the OEM id alone.
const PLAIN: Platform = Platform {
    id: "generic",
    name: "",
    oem_id: "",
    arguments: &[],
    autologin: false,
    console: &[],
    serial: None,
    variant: Variant::Base,
    formats: &[Format::RawBz2],
    rules: &[],
    extension: false,
};

/// The id of the image that is for no platform.
pub const GENERIC: &str = PLAIN.id;

/// One with an extension of its own, for virtual machines.
const VM: Platform = Platform { variant: Variant::Vm, formats: &[Format::Qcow2], extension: true, ..PLAIN };

/// All platforms, `generic` first, then by id.
pub static PLATFORMS: &[Platform] = &[
    PLAIN,
    Platform {
        id: "akamai",
        name: "Akamai",
        oem_id: "akamai",
        formats: &[Format::RawGz],
        // scripts#4270: what an upload unpacks to.
        rules: &[Rule::AtMost(6 * GB)],
        extension: true,
        ..PLAIN
    },
    Platform {
        id: "ami",
        name: "Amazon EC2",
        oem_id: "ec2",
        arguments: &["modprobe.blacklist=xen_fbfront", "net.ifnames=0", "nvme_core.io_timeout=4294967295"],
        console: &[
            (When::Pc, "console=ttyS0,115200n8"),
            (When::Arm64, "console=tty1 console=ttyS0,115200n8 earlycon"),
        ],
        serial: Some(When::Pc),
        formats: &[Format::Vmdk],
        // A volume is of whole GiB, and holds its snapshot: 13 GiB for 4593 (kubernetes-sigs/image-builder#1992).
        rules: &[Rule::Volume(GIB)],
        ..VM
    },
    Platform {
        id: "azure",
        name: "Microsoft Azure",
        oem_id: "azure",
        autologin: true,
        console: &[
            (When::Arm64, "console=tty1 console=ttyAMA0,115200n8 earlycon=pl011,0xeffec000"),
            (When::NotArm64, "console=tty1 console=ttyS0,115200n8 earlyprintk=ttyS0,115200"),
        ],
        serial: Some(When::Always),
        variant: Variant::Azure,
        formats: &[Format::Vhd],
        rules: &[Rule::Multiple(MIB)],
        ..VM
    },
    Platform { id: "cloudsigma", name: "CloudSigma", oem_id: "cloudsigma", formats: &[Format::Raw], ..PLAIN },
    Platform {
        id: "cloudstack",
        name: "CloudStack",
        oem_id: "cloudstack",
        formats: &[Format::Qcow2],
        ..PLAIN
    },
    Platform {
        id: "digitalocean",
        name: "DigitalOcean",
        oem_id: "digitalocean",
        formats: &[Format::RawGz],
        extension: true,
        ..PLAIN
    },
    Platform {
        id: "exoscale",
        name: "Exoscale",
        oem_id: "exoscale",
        formats: &[Format::Qcow2],
        // flatcar/Flatcar#2163, scripts#4075.
        rules: &[Rule::AtLeast(10 * GIB)],
        ..PLAIN
    },
    Platform {
        id: "gce",
        name: "Google Compute Engine",
        oem_id: "gce",
        console: &[(When::Always, "console=ttyS0,115200n8")],
        serial: Some(When::Always),
        formats: &[Format::GceTar],
        // coreos/fedora-coreos-tracker#492.
        rules: &[Rule::Multiple(GIB), Rule::Advised(10 * GB)],
        ..VM
    },
    Platform {
        id: "hetzner",
        name: "Hetzner Cloud",
        oem_id: "hetzner",
        formats: &[Format::RawZst],
        extension: true,
        ..PLAIN
    },
    Platform {
        id: "hyperv",
        name: "Microsoft Hyper-V",
        oem_id: "hyperv",
        formats: &[Format::Vhd],
        rules: &[Rule::Multiple(MIB)],
        extension: true,
        ..PLAIN
    },
    Platform { id: "kubevirt", name: "KubeVirt", oem_id: "kubevirt", ..VM },
    Platform { id: "nutanix", name: "Nutanix", oem_id: "nutanix", ..VM },
    Platform { id: "openstack", name: "OpenStack", oem_id: "openstack", autologin: true, ..VM },
    Platform { id: "oraclecloud", name: "Oracle Cloud", oem_id: "oraclecloud", ..VM },
    Platform { id: "proxmoxve", name: "Proxmox VE", oem_id: "proxmoxve", autologin: true, ..VM },
    Platform { id: "qemu", name: "QEMU", oem_id: "qemu", autologin: true, ..VM },
    Platform {
        id: "scaleway",
        name: "Scaleway",
        oem_id: "scaleway",
        console: &[(When::Always, "console=ttyS0,115200n8 earlycon=ttyS0,115200")],
        ..VM
    },
    Platform {
        id: "stackit",
        name: "STACKIT",
        oem_id: "openstack",
        console: &[(When::X86, "console=tty0 console=ttyS0,115200n8")],
        ..VM
    },
    Platform {
        id: "vagrant",
        name: "Vagrant",
        oem_id: "vagrant",
        variant: Variant::Vagrant,
        formats: &[Format::Box],
        ..PLAIN
    },
    Platform {
        id: "virtualbox",
        name: "VirtualBox",
        oem_id: "virtualbox",
        formats: &[Format::Vmdk],
        extension: false,
        ..VM
    },
    Platform {
        id: "vmware",
        name: "VMware",
        oem_id: "vmware",
        autologin: true,
        formats: &[Format::Ova],
        ..VM
    },
];

/// The kernel argument that logs in whoever is at the console.
pub const AUTOLOGIN: &str = "flatcar.autologin";

impl Platform {
    /// The platform of this id.
    pub fn of(id: &str) -> Option<&'static Platform> {
        PLATFORMS.iter().find(|platform| platform.id == id)
    }

    /// OEM's stock grub.cfg; `None` for the generic image, which has none.
    pub fn grub_cfg(&self) -> Option<String> {
        if self.oem_id.is_empty() {
            return None;
        }
        let mut text = format!("# Settings for {}\n\nset oem_id=\"{}\"\n", self.name, self.oem_id);
        let mut arguments = self.arguments.to_vec();
        if self.autologin {
            arguments.push(AUTOLOGIN);
        }
        if !arguments.is_empty() {
            text += &format!("set linux_append=\"{}\"\n", arguments.join(" "));
        }
        let mut lines = |when: When, lines: &[String]| {
            let indent = if when.begin().is_some() { "    " } else { "" };
            text += &when.begin().map_or(String::new(), |begin| format!("{begin}\n"));
            lines.iter().for_each(|line| text += &format!("{indent}{line}\n"));
            text += when.begin().map_or("", |_| "fi\n");
        };
        if let Some(when) = self.serial {
            lines(
                when,
                &[
                    "serial com0 --speed=115200 --word=8 --parity=no".into(),
                    "terminal_input serial_com0".into(),
                    "terminal_output serial_com0".into(),
                ],
            );
        }
        for (when, console) in self.console {
            lines(*when, &[format!("set linux_console=\"{console}\"")]);
        }
        Some(text)
    }

    /// The text of `oem-release` that `common-oem-files` writes, for releases whose `oem-ID.raw` does not state it;
    /// `None` for the generic image, which has none.
    pub fn oem_release(&self, version: &str) -> Option<String> {
        let text = || {
            format!(
                "ID={}\nVERSION_ID={version}\nNAME=\"{}\"\nHOME_URL=\"https://www.flatcar.org/\"\nBUG_REPORT_URL=\"https://issues.flatcar.org\"\n",
                self.id, self.name
            )
        };
        (self.id != PLAIN.id).then(text)
    }

    /// The length of a disk in bytes: the asked one, else that of the platform's layout, raised to what the platform
    /// takes.
    ///
    /// # Errors
    /// An asked length that the platform refuses; a layout that is longer than it takes.
    pub fn length(&self, layout: &Layout, asked: Option<u64>) -> Result<u64, Error> {
        let stock = layout.table(self.variant).length;
        let length = asked.unwrap_or_else(|| self.raised(stock));
        self.judge(length, layout)?;
        Ok(length)
    }

    /// The least length that the platform takes and that is not less than this.
    fn raised(&self, length: u64) -> u64 {
        self.rules.iter().fold(length, |length, rule| match rule {
            Rule::AtLeast(least) => length.max(*least),
            Rule::Multiple(of) => length.checked_next_multiple_of(*of).unwrap_or(length),
            Rule::AtMost(_) | Rule::Advised(_) | Rule::Volume(_) => length,
        })
    }

    /// Judges the length of a disk, in bytes, and returns advice about it.
    ///
    /// # Errors
    /// A rule is broken; the message has the numbers.
    pub fn judge(&self, length: u64, layout: &Layout) -> Result<Vec<String>, Error> {
        let mut advice = Vec::new();
        for rule in self.rules {
            let refused = |rule, way_out: String| {
                Err(Error::Size { platform: self.id, rule, length, way_out: Some(way_out) })
            };
            match *rule {
                Rule::AtLeast(least) if length < least => {
                    let way_out = format!("ask for {least} bytes ({}), or leave the size out", Bytes(least));
                    return refused(format!("images of {least} bytes ({}) or more", Bytes(least)), way_out);
                }
                Rule::AtMost(most) if length > most => {
                    let smallest = layout.table(Variant::Base).length;
                    let way_out = match smallest <= most {
                        true => {
                            format!("the layout of {layout} needs {smallest} bytes; ask for at most {most}")
                        }
                        false => format!(
                            "the layout of {layout} alone needs {smallest}: take a release with the older layout, such as LTS 4081"
                        ),
                    };
                    return refused(
                        format!("images of {most} bytes ({}) or less, unpacked", Bytes(most)),
                        way_out,
                    );
                }
                Rule::Multiple(of) if !length.is_multiple_of(of) => {
                    let near = length.checked_next_multiple_of(of).unwrap_or(length);
                    return refused(
                        format!("multiples of {}", Bytes(of)),
                        format!("ask for {near} bytes, or leave the size out"),
                    );
                }
                Rule::Advised(least) if length < least => advice
                    .push(format!("{} advises {least} bytes or more, and the image has {length}", self.id)),
                Rule::Volume(of) => {
                    let volume = length.div_ceil(of).saturating_mul(of);
                    advice.push(format!("{} needs volumes of {} or more for it", self.id, Bytes(volume)));
                }
                _ => {}
            }
        }
        Ok(advice)
    }
}

/// `oem-release` out of the extension-release file of an `oem-ID` extension that states it: the lines `SYSEXT_KEY=…`,
/// without that prefix, but for `SYSEXT_LEVEL` and `SYSEXT_SCOPE`, which are systemd's. `None` if there are none, as in
/// releases up to 4593.
pub fn release_of_extension(extension_release: &str) -> Option<String> {
    let is_own = |line: &&str| !["LEVEL=", "SCOPE="].iter().any(|key| line.starts_with(key));
    let lines =
        extension_release.lines().filter_map(|line| line.trim().strip_prefix("SYSEXT_")).filter(is_own);
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    text.lines().any(|line| line.starts_with("ID=")).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Advice;
    use crate::disk::layout::LAYOUTS;

    #[test]
    fn the_table_is_in_order_and_complete() {
        assert_eq!(PLATFORMS[0].id, "generic");
        assert!(PLATFORMS[1..].is_sorted_by_key(|platform| platform.id));
        for platform in &PLATFORMS[1..] {
            assert!(!platform.name.is_empty() && !platform.oem_id.is_empty() && !platform.formats.is_empty());
            assert!(std::ptr::eq(Platform::of(platform.id).unwrap(), platform));
            // Flatcar's own two exceptions.
            let differs = platform.oem_id != platform.id;
            assert_eq!(differs, ["ami", "stackit"].contains(&platform.id), "{}", platform.id);
        }
        let autologin: Vec<_> =
            PLATFORMS.iter().filter(|platform| platform.autologin).map(|platform| platform.id).collect();
        assert_eq!(autologin, ["azure", "openstack", "proxmoxve", "qemu", "vmware"]);
    }

    #[test]
    fn grub_gets_the_stock_settings() {
        let text = |id: &str| Platform::of(id).unwrap().grub_cfg();
        assert_eq!(text("generic"), None);
        assert_eq!(
            text("qemu").unwrap(),
            "# Settings for QEMU\n\nset oem_id=\"qemu\"\nset linux_append=\"flatcar.autologin\"\n"
        );
        let ami = text("ami").unwrap();
        assert!(ami.contains("set oem_id=\"ec2\"\n"));
        assert!(ami.ends_with(
            "if [ \"$grub_cpu\" = arm64 ]; then\n    set linux_console=\"console=tty1 console=ttyS0,115200n8 earlycon\"\nfi\n"
        ));
    }

    #[test]
    fn lengths_are_raised_to_what_a_platform_takes() {
        let [new, old] = &LAYOUTS;
        let length = |id: &str, layout: &Layout| Platform::of(id).unwrap().length(layout, None);
        assert_eq!(length("generic", new).unwrap(), 8_455_716_864);
        assert_eq!(length("exoscale", new).unwrap(), 10 * GIB);
        assert_eq!(length("gce", new).unwrap(), 13 * GIB);
        assert_eq!(length("gce", old).unwrap(), 9 * GIB);
        assert!(length("azure", new).unwrap().is_multiple_of(MIB));
        assert_eq!(length("akamai", old).unwrap(), 4_756_340_736);
    }

    #[test]
    fn refusals_have_numbers_and_a_way_out() {
        let [new, old] = &LAYOUTS;
        let judge = |id: &str, length: u64, layout: &Layout| Platform::of(id).unwrap().judge(length, layout);
        let error = Platform::of("akamai").unwrap().length(new, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "akamai takes images of 6000000000 bytes (5.59 GiB) or less, unpacked, and the image has 8455716864 bytes (7.88 GiB)"
        );
        assert_eq!(
            error.hint().unwrap(),
            "the layout of releases from 4487 on alone needs 8455716864: take a release with the older layout, such as LTS 4081"
        );
        let error = judge("exoscale", 9 * GIB, old).unwrap_err();
        assert!(
            error.to_string().starts_with("exoscale takes images of 10737418240 bytes (10.00 GiB) or more")
        );
        let error = judge("gce", 11 * GIB + 1, new).unwrap_err();
        assert_eq!(error.hint().unwrap(), format!("ask for {} bytes, or leave the size out", 12 * GIB));
        assert_eq!(
            judge("gce", 9 * GIB, old).unwrap(),
            ["gce advises 10000000000 bytes or more, and the image has 9663676416"]
        );
        // kubernetes-sigs/image-builder#1992: 4593 outgrew the volume that was asked for.
        assert_eq!(
            judge("ami", 13_212_057_600, new).unwrap(),
            ["ami needs volumes of 13.00 GiB or more for it"]
        );
    }

    #[test]
    fn oem_release_is_that_of_the_extension_or_made() {
        let text = "ID=flatcar\nSYSEXT_LEVEL=1.0\nSYSEXT_ID=qemu\nSYSEXT_NAME=\"QEMU\"\n";
        assert_eq!(release_of_extension(text).unwrap(), "ID=qemu\nNAME=\"QEMU\"\n");
        assert_eq!(release_of_extension("ID=flatcar\nSYSEXT_LEVEL=1.0\n"), None);
        assert!(
            Platform::of("ami").unwrap().oem_release("1.0").unwrap().starts_with("ID=ami\nVERSION_ID=1.0\n")
        );
        assert_eq!(Platform::of("generic").unwrap().oem_release("1.0"), None);
    }
}
