//! Classifies DHCP clients: kinds of firmware, iPXE, or machines that do not boot.

use std::fmt;

use dhcproto::v4::OptionCode;

use super::packet::Request;
use crate::machine::firmware::{Platform, Via, other, platform};

/// iPXE's own option. An iPXE in a network card may send it without a user class.
const IPXE_OPTIONS: u8 = 175;

/// A machine that boots from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// iPXE, no matter what loaded it.
    Ipxe,
    /// Firmware that needs an iPXE.
    Firmware(&'static Platform, Via),
    /// U-Boot, which has its own names for boot files. Has a platform if it sent an architecture that we know.
    UBoot(Option<&'static Platform>),
    /// Firmware of an architecture that we have no iPXE for, or that sends an architecture but is neither PXE nor HTTP
    /// boot.
    Unknown(u16),
}

impl Client {
    /// The client that sent a request, if it wants to boot.
    pub(crate) fn of(request: &Request) -> Option<Client> {
        let class = request.option(OptionCode::ClassIdentifier).unwrap_or_default();
        let arch = arch(request);
        // `U-Boot.armv8`: the start of CONFIG_BOOTP_VCI_STRING.
        if class.starts_with(b"U-Boot") {
            return Some(Client::UBoot(arch.and_then(platform).map(|(platform, _)| platform)));
        }
        let Some(word) =
            [b"PXEClient".as_slice(), b"HTTPClient"].into_iter().find(|word| class.starts_with(word))
        else {
            return arch.map(Client::Unknown);
        };
        if is_ipxe(request) {
            return Some(Client::Ipxe);
        }
        // PXE 2.1 requires the architecture; 0 is BIOS.
        let arch = arch.or_else(|| arch_of_class(&class[word.len()..])).unwrap_or(0);
        Some(platform(arch).map_or(Client::Unknown(arch), |(platform, via)| Client::Firmware(platform, via)))
    }

    /// A name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Client::Ipxe => "iPXE",
            Client::Firmware(platform, _) => platform.name,
            Client::UBoot(_) => "U-Boot",
            Client::Unknown(arch) => match platform(arch) {
                Some((platform, _)) => platform.name,
                None => other(arch),
            },
        }
    }
}

/// iPXE sends `iPXE` as its user class: as plain text, or after its length as RFC 3004 requires, alone or among others.
/// Some clients end their texts with a zero, against RFC 2132.
fn is_ipxe(request: &Request) -> bool {
    let classes = request.option(OptionCode::UserClass).unwrap_or_default();
    without_zeros(classes) == b"iPXE"
        || listed(classes).any(|class| without_zeros(class) == b"iPXE")
        || request.option(IPXE_OPTIONS.into()).is_some()
}

/// A text without trailing zeros.
fn without_zeros(text: &[u8]) -> &[u8] {
    let zeros = text.iter().rev().take_while(|byte| **byte == 0).count();
    &text[..text.len() - zeros]
}

/// The classes of a list in which each follows its length.
fn listed(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first()?;
        let (class, rest) = rest.split_at_checked(usize::from(*length))?;
        bytes = rest;
        Some(class)
    })
}

/// The first architecture in option 93 that we know, else its first.
fn arch(request: &Request) -> Option<u16> {
    let bytes = request.option(OptionCode::ClientSystemArchitecture)?;
    let all = || bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    all().find(|arch| platform(*arch).is_some()).or_else(|| all().next())
}

/// The architecture in `PXEClient:Arch:00007:UNDI:003016`, for firmware that omits option 93.
fn arch_of_class(rest: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(rest.strip_prefix(b":Arch:")?.get(..5)?).ok()?;
    digits.parse().ok()
}

/// The SMBIOS UUID in option 97, as machines print it: the first three fields are little-endian, as in SMBIOS itself.
pub(crate) fn uuid(request: &Request) -> Option<String> {
    let bytes = request.option(OptionCode::ClientMachineIdentifier)?;
    let [0, id @ ..] = bytes else { return None };
    let id = <[u8; 16]>::try_from(id).ok()?;
    Some(Uuid(id).to_string())
}

/// An SMBIOS UUID in SMBIOS's own byte order.
struct Uuid([u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        for (place, index) in ORDER.into_iter().enumerate() {
            let dash = if [4, 6, 8, 10].contains(&place) { "-" } else { "" };
            write!(f, "{dash}{:02x}", self.0[index])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::request;
    use super::*;

    const PXE: (u8, &[u8]) = (60, b"PXEClient:Arch:00000:UNDI:002001");

    fn client(options: &[(u8, &[u8])]) -> Option<Client> {
        Client::of(&request(&[&[(53, &[1][..])], options].concat()))
    }

    #[test]
    fn firmware_is_known_by_its_number() {
        for (arch, name, via) in [
            (0, "BIOS", Via::Tftp),
            (7, "UEFI x86-64", Via::Tftp),
            (11, "UEFI arm64", Via::Tftp),
            (16, "UEFI x86-64", Via::Http),
        ] {
            let Some(Client::Firmware(platform, how)) = client(&[PXE, (93, &[0, arch])]) else {
                panic!("{arch}")
            };
            assert_eq!((platform.name, how), (name, via));
        }
        assert_eq!(client(&[PXE, (93, &[0, 14])]), Some(Client::Unknown(14)));
    }

    #[test]
    fn of_several_numbers_the_first_that_is_known_counts() {
        assert_eq!(client(&[PXE, (93, &[0, 14, 0, 7])]).map(Client::name), Some("UEFI x86-64"));
    }

    #[test]
    fn without_the_option_the_class_says_the_number() {
        let class = (60, b"PXEClient:Arch:00011:UNDI:003016".as_slice());
        assert_eq!(client(&[class]).map(Client::name), Some("UEFI arm64"));
        assert_eq!(client(&[(60, b"PXEClient")]).map(Client::name), Some("BIOS"));
        assert_eq!(
            client(&[(60, b"HTTPClient:Arch:00016:UNDI:003001")]).map(Client::name),
            Some("UEFI x86-64")
        );
    }

    #[test]
    fn ipxe_is_known_however_it_says_so() {
        let classes = [&b"iPXE"[..], b"\x04iPXE", b"\x02ab\x04iPXE", b"iPXE\0", b"\x04iPXE\0", b"\x05iPXE\0"];
        for class in classes {
            assert_eq!(client(&[PXE, (77, class)]), Some(Client::Ipxe), "{class:?}");
        }
        assert_eq!(client(&[PXE, (175, &[1, 1, 1])]), Some(Client::Ipxe));
        for other in [&b"\x05iPXE"[..], b"gPXE", b"", b"\x03iPX", b"\0", b"iPXE\0x"] {
            assert_eq!(client(&[PXE, (77, other)]).map(Client::name), Some("BIOS"), "{other:?}");
        }
    }

    #[test]
    fn who_does_not_boot_is_nobody() {
        assert_eq!(client(&[]), None);
        assert_eq!(client(&[(60, b"MSFT 5.0")]), None);
        assert_eq!(client(&[(77, b"iPXE")]), None, "an iPXE that boots says its class");
    }

    // flatcar/Flatcar#1636, siderolabs/omni-infra-provider-bare-metal#48.
    #[test]
    fn firmware_that_is_no_pxe_is_known_by_its_class_or_its_number() {
        let uboot = (60, &b"U-Boot.armv8"[..]);
        let Some(Client::UBoot(Some(platform))) = client(&[uboot, (93, &[0, 22])]) else {
            panic!("{uboot:?}")
        };
        assert_eq!(platform.name, "UEFI arm64");
        assert_eq!(client(&[uboot]), Some(Client::UBoot(None)));
        for (options, name) in [
            (&[uboot, (93, &[0, 22])][..], "U-Boot"),
            (&[PXE, (93, &[0, 27])], "UEFI RISC-V 64"),
            (&[(93, &[0, 14])], "POWER OPAL"),
            (&[(60, b"udhcp 1.36.1"), (93, &[0, 14])], "POWER OPAL"),
        ] {
            assert_eq!(client(options).map(Client::name), Some(name), "{options:?}");
        }
    }

    #[test]
    fn a_uuid_is_printed_as_the_machine_prints_it() {
        // QEMU with -uuid 01020304-0506-0708-090a-0b0c0d0e0f10.
        let bytes = [0, 4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(
            uuid(&request(&[(53, &[1]), (97, &bytes)])).unwrap(),
            "01020304-0506-0708-090a-0b0c0d0e0f10"
        );
        assert_eq!(uuid(&request(&[(53, &[1]), (97, &bytes[..16])])), None);
    }
}
