//! Firmware that boots from a network: how it identifies itself, and the iPXE that runs on it.
//!
//! RFC 4578 has the first version of the numbers of option 93. [IANA's list of processor architectures] is longer, and
//! settles that 7 is x86-64 and 9 is EFI byte code. Half of all x86-64 firmware sends the one, and half the other.
//!
//! [IANA's list of processor architectures]:
//! https://www.iana.org/assignments/dhcpv6-parameters/dhcpv6-parameters.xhtml#processor-architecture

/// UUIDs of boards that were never given one, so that many boards share them (SMBIOS 3.7, 7.2.1, and the default of
/// AMI's firmware).
pub(crate) const NO_UUIDS: [&str; 4] = [
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
];

/// A kind of firmware that boots from networks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    /// The name for people.
    pub name: &'static str,
    /// A word for configs.
    pub tag: &'static str,
    /// Its numbers in option 93 when it loads by TFTP.
    pub tftp: &'static [u16],
    /// Its numbers in option 93 when it loads a URL (UEFI HTTP boot).
    pub http: &'static [u16],
    /// Its numbers in option 93 when the firmware is U-Boot, which starts UEFI programs, too.
    pub uboot: &'static [u16],
    /// Its names in dnsmasq's `pxe-service`.
    pub services: &'static [&'static str],
    /// The file name of its iPXE: Debian's, or the name that iPXE's own build gives it for the architecture.
    pub loader: &'static str,
}

/// Every platform that has an iPXE. Flatcar runs on the first three; the others are 32-bit firmware of 64-bit machines,
/// whose loaders no distribution packages.
pub(crate) static PLATFORMS: [Platform; 5] = [
    Platform {
        name: "BIOS",
        tag: "bios",
        tftp: &[0],
        http: &[20],
        uboot: &[],
        services: &["x86PC"],
        loader: "undionly.kpxe",
    },
    Platform {
        name: "UEFI x86-64",
        tag: "uefi",
        tftp: &[7, 9],
        http: &[16, 17],
        uboot: &[],
        services: &["BC_EFI", "X86-64_EFI"],
        loader: "ipxe.efi",
    },
    Platform {
        name: "UEFI arm64",
        tag: "arm64",
        tftp: &[11],
        http: &[19, 24],
        uboot: &[22],
        services: &["ARM64_EFI"],
        loader: "ipxe-arm64.efi",
    },
    Platform {
        name: "UEFI x86",
        tag: "uefi32",
        tftp: &[6],
        http: &[15],
        uboot: &[],
        services: &["IA32_EFI"],
        loader: "ipxe-i386.efi",
    },
    Platform {
        name: "UEFI arm",
        tag: "arm32",
        tftp: &[10],
        http: &[18, 23],
        uboot: &[21],
        services: &["ARM32_EFI"],
        loader: "ipxe-arm32.efi",
    },
];

/// Further iPXE binaries that people chain to: UEFI's own network driver instead of iPXE's, and BIOS variants.
const MORE_LOADERS: [&str; 4] = ["snponly.efi", "ipxe.pxe", "undionly.kkpxe", "ipxe.lkrn"];

/// File names of every iPXE binary that a server hands out, where its host has them.
pub(crate) fn loaders() -> impl Iterator<Item = &'static str> {
    PLATFORMS.iter().map(|platform| platform.loader).chain(MORE_LOADERS)
}

/// How firmware loads a boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// By TFTP, with a file name.
    Tftp,
    /// By HTTP, with a URL.
    Http,
}

/// The platform of a number in option 93, and how its firmware loads.
pub(crate) fn platform(arch: u16) -> Option<(&'static Platform, Via)> {
    PLATFORMS.iter().find_map(|platform| match () {
        () if platform.tftp.contains(&arch) || platform.uboot.contains(&arch) => Some((platform, Via::Tftp)),
        () if platform.http.contains(&arch) => Some((platform, Via::Http)),
        () => None,
    })
}

/// IANA's other numbers: firmware that Flatcar does not run on, and that has no iPXE.
const OTHERS: [(u16, &str); 26] = [
    (1, "NEC PC-98"),
    (2, "Itanium"),
    (3, "DEC Alpha"),
    (4, "Arc x86"),
    (5, "Intel Lean Client"),
    (8, "UEFI Xscale"),
    (12, "PowerPC Open Firmware"),
    (13, "PowerPC ePAPR"),
    (14, "POWER OPAL"),
    (25, "UEFI RISC-V 32"),
    (26, "UEFI RISC-V 32"),
    (27, "UEFI RISC-V 64"),
    (28, "UEFI RISC-V 64"),
    (29, "UEFI RISC-V 128"),
    (30, "UEFI RISC-V 128"),
    (31, "s390 basic"),
    (32, "s390 extended"),
    (33, "UEFI MIPS 32"),
    (34, "UEFI MIPS 64"),
    (35, "UEFI Sunway 32"),
    (36, "UEFI Sunway 64"),
    (37, "UEFI LoongArch 32"),
    (38, "UEFI LoongArch 32"),
    (39, "UEFI LoongArch 64"),
    (40, "UEFI LoongArch 64"),
    (41, "Raspberry Pi boot ROM"),
];

/// The name of firmware with a number that is not one of our platforms.
pub(crate) fn other(arch: u16) -> &'static str {
    OTHERS.iter().find(|(known, _)| *known == arch).map_or("unknown firmware", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_means_one_platform_and_one_way() {
        let of =
            |platform: &'static Platform| platform.tftp.iter().chain(platform.http).chain(platform.uboot);
        let all = || PLATFORMS.iter().flat_map(of).chain(OTHERS.iter().map(|(arch, _)| arch));
        let unique: std::collections::BTreeSet<_> = all().collect();
        assert_eq!(unique.len(), all().count());
    }

    #[test]
    fn numbers_are_iana_s() {
        for (arch, name, via) in [
            (0, "BIOS", Via::Tftp),
            (6, "UEFI x86", Via::Tftp),
            (7, "UEFI x86-64", Via::Tftp),
            (9, "UEFI x86-64", Via::Tftp),
            (10, "UEFI arm", Via::Tftp),
            (11, "UEFI arm64", Via::Tftp),
            (15, "UEFI x86", Via::Http),
            (16, "UEFI x86-64", Via::Http),
            (18, "UEFI arm", Via::Http),
            (19, "UEFI arm64", Via::Http),
            (20, "BIOS", Via::Http),
            (21, "UEFI arm", Via::Tftp),
            (22, "UEFI arm64", Via::Tftp),
            (23, "UEFI arm", Via::Http),
            (24, "UEFI arm64", Via::Http),
        ] {
            assert_eq!(
                platform(arch).map(|(platform, via)| (platform.name, via)),
                Some((name, via)),
                "{arch}"
            );
        }
        for (arch, name) in
            [(1, "NEC PC-98"), (2, "Itanium"), (8, "UEFI Xscale"), (14, "POWER OPAL"), (31, "s390 basic")]
        {
            assert_eq!((platform(arch), other(arch)), (None, name), "{arch}");
        }
        for arch in [42, 255, u16::MAX] {
            assert_eq!((platform(arch), other(arch)), (None, "unknown firmware"), "{arch}");
        }
    }
}
