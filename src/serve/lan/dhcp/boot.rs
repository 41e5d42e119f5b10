//! Chooses the boot file of a client: an iPXE for firmware, our script for iPXE.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, OptionCode, UnknownOption};

use super::client::Client;
use super::packet::Request;
use crate::machine::dhcp::Mode;
use crate::machine::firmware::{Platform, Via};
use crate::tree::names::{FIRST_SCRIPT, LOADERS};

/// Where clients can load from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Our address, as machines reach it.
    pub address: Ipv4Addr,
    /// Our HTTP server, as machines reach it, without a slash at the end.
    pub base_url: String,
    /// File names of the available loaders.
    pub loaders: BTreeSet<&'static str>,
    /// Whether our own TFTP server runs. Without it, firmware that needs TFTP gets no answer.
    pub tftp: bool,
}

/// The boot file and options of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// A file name on our TFTP server, or a URL. U-Boot can do without: it has its own names for files on our TFTP
    /// server.
    pub file: Option<String>,
    /// Further options that its firmware expects.
    pub options: Vec<DhcpOption>,
}

/// Why a client gets no boot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoBoot {
    /// The iPXE binary for its platform is missing.
    #[error("there is no {} for {}", .0.loader, .0.name)]
    Loader(&'static Platform),
    /// It can load only by TFTP.
    #[error("it boots by TFTP only, and this server runs without --tftp")]
    Tftp,
    /// Its number in option 93 stands for an architecture that we have nothing for.
    #[error("there is no boot file for its architecture, {0}")]
    Platform(u16),
}

/// PXE_DISCOVERY_CONTROL (PXE 2.1, table 2-1): neither multicast nor broadcast discovery, no menu; load the named file.
const JUST_THE_FILE: [u8; 3] = [6, 1, 8];
/// PXE_BOOT_ITEM: the menu entry that the client has chosen. It expects it back.
const BOOT_ITEM: u8 = 71;
/// iPXE's own option, with `no-pxedhcp` in it: do not wait for a proxy.
const IPXE: u8 = 175;
const NO_PROXY: [u8; 3] = [176, 1, 1];
const END: u8 = 255;

impl Sources {
    /// The boot file and options for a client.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn boot(&self, client: Client, request: &Request, mode: Mode) -> Result<Boot, NoBoot> {
        let base = &self.base_url;
        let loader = |platform: &'static Platform| {
            self.loaders.get(platform.loader).copied().ok_or(NoBoot::Loader(platform))
        };
        let (file, class) = match client {
            Client::Ipxe => (Some(format!("{base}/{FIRST_SCRIPT}")), "PXEClient"),
            Client::Firmware(_, Via::Tftp) | Client::UBoot(_) if !self.tftp => return Err(NoBoot::Tftp),
            Client::Firmware(platform, Via::Tftp) => (Some(loader(platform)?.to_owned()), "PXEClient"),
            Client::Firmware(platform, Via::Http) => {
                (Some(format!("{base}/{LOADERS}{}", loader(platform)?)), "HTTPClient")
            }
            // U-Boot takes our address, even from a proxy with CONFIG_SERVERIP_FROM_PROXYDHCP; without that setting, it
            // ignores offers without an address for itself.
            Client::UBoot(platform) => {
                (platform.and_then(|platform| loader(platform).ok()).map(str::to_owned), "PXEClient")
            }
            Client::Unknown(arch) => return Err(NoBoot::Platform(arch)),
        };
        let class = DhcpOption::ClassIdentifier(class.into());
        let mut options = Vec::new();
        match (client, mode) {
            // These options mark a proxy's answer. UEFI firmware that is told to skip the menu may ignore the whole
            // answer; without option 43 it asks port 4011 and takes the file from there. iPXE needs neither.
            (_, Mode::Proxy) => {
                options.push(class);
                let item = boot_item(request);
                if item.is_some()
                    || matches!(client, Client::Firmware(platform, Via::Tftp) if platform.tag == "bios")
                {
                    let vendor = [&JUST_THE_FILE[..], item.unwrap_or_default(), &[END]].concat();
                    options.push(DhcpOption::VendorExtensions(vendor));
                }
            }
            // All PXE firmware understands an ordinary answer that names a file, and none waits for a proxy after it.
            (Client::Firmware(_, Via::Http), Mode::Full) => options.push(class),
            (Client::Ipxe, Mode::Full) => {
                options
                    .push(DhcpOption::Unknown(UnknownOption::new(OptionCode::from(IPXE), NO_PROXY.into())));
            }
            (_, Mode::Full) => {}
        }
        // PXE 2.1 expects it back; it has 17 bytes.
        if let Some(id) = request.option(OptionCode::ClientMachineIdentifier).filter(|id| id.len() <= 255) {
            options.push(DhcpOption::ClientMachineIdentifier(id.to_vec()));
        }
        options.push(DhcpOption::TFTPServerName(self.address.to_string().into()));
        Ok(Boot { file, options })
    }
}

/// The whole sub-option with the chosen menu entry, if the request has one.
fn boot_item(request: &Request) -> Option<&[u8]> {
    let mut vendor = request.option(OptionCode::VendorExtensions)?;
    loop {
        let (code, length) = (*vendor.first()?, usize::from(*vendor.get(1)?));
        let (option, rest) = vendor.split_at_checked(2 + length)?;
        match code {
            BOOT_ITEM => return Some(option).filter(|_| length == 4),
            END => return None,
            _ => vendor = rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::request;
    use super::*;

    fn sources() -> Sources {
        let loaders = BTreeSet::from(["undionly.kpxe", "ipxe.efi"]);
        Sources {
            address: [10, 0, 0, 1].into(),
            base_url: "http://10.0.0.1:8080".into(),
            loaders,
            tftp: true,
        }
    }

    fn boot(sources: &Sources, arch: u8, more: &[(u8, &[u8])], mode: Mode) -> Result<Boot, NoBoot> {
        let arch = [0, arch];
        let options = [&[(53, &[1][..]), (60, b"PXEClient"), (93, &arch)], more].concat();
        let request = request(&options);
        sources.boot(Client::of(&request).unwrap(), &request, mode)
    }

    fn file(arch: u8, more: &[(u8, &[u8])]) -> Option<String> {
        boot(&sources(), arch, more, Mode::Proxy).ok().and_then(|boot| boot.file)
    }

    #[test]
    fn firmware_loads_the_ipxe_that_runs_on_it_and_ipxe_the_script() {
        assert_eq!(file(0, &[]).as_deref(), Some("undionly.kpxe"));
        assert_eq!(file(7, &[]).as_deref(), Some("ipxe.efi"));
        assert_eq!(file(9, &[]).as_deref(), Some("ipxe.efi"));
        assert_eq!(file(16, &[]).as_deref(), Some("http://10.0.0.1:8080/loaders/ipxe.efi"));
        assert_eq!(file(0, &[(77, b"iPXE")]).as_deref(), Some("http://10.0.0.1:8080/boot.ipxe"));
    }

    #[test]
    fn what_is_not_there_is_not_named() {
        assert_eq!(file(11, &[]), None, "no arm64 loader");
        assert_eq!(file(2, &[]), None, "Itanium");
        let no_tftp = Sources { tftp: false, ..sources() };
        assert_eq!(boot(&no_tftp, 7, &[], Mode::Full), Err(NoBoot::Tftp));
        assert!(boot(&no_tftp, 16, &[], Mode::Full).is_ok());
        let why = |arch| boot(&sources(), arch, &[], Mode::Full).unwrap_err().to_string();
        assert_eq!(why(11), "there is no ipxe-arm64.efi for UEFI arm64");
        assert_eq!(why(2), "there is no boot file for its architecture, 2");
    }

    #[test]
    fn uboot_is_told_our_address_and_the_loader_if_there_is_one() {
        let request = request(&[(53, &[1]), (60, b"U-Boot.armv8"), (93, &[0, 22])]);
        let client = Client::of(&request).unwrap();
        let with_loader = Sources { loaders: BTreeSet::from(["ipxe-arm64.efi"]), ..sources() };
        for mode in [Mode::Proxy, Mode::Full] {
            let boot = |sources: &Sources| sources.boot(client, &request, mode).map(|boot| boot.file);
            assert_eq!(boot(&sources()), Ok(None));
            assert_eq!(boot(&with_loader), Ok(Some("ipxe-arm64.efi".to_owned())));
            assert_eq!(boot(&Sources { tftp: false, ..sources() }), Err(NoBoot::Tftp));
        }
    }

    #[test]
    fn a_proxy_tells_a_bios_to_skip_the_menu_and_leaves_uefi_to_port_4011() {
        let vendor = |arch| {
            let boot = boot(&sources(), arch, &[], Mode::Proxy).unwrap();
            boot.options.into_iter().find_map(|option| match option {
                DhcpOption::VendorExtensions(bytes) => Some(bytes),
                _ => None,
            })
        };
        assert_eq!(vendor(0), Some(vec![6, 1, 8, 255]));
        assert_eq!(vendor(7), None);
    }

    #[test]
    fn the_entry_of_a_menu_that_a_client_chose_comes_back() {
        let chosen = [(43, [8, 1, 0, 71, 4, 0, 1, 0, 0, 255].as_slice())];
        let boot = boot(&sources(), 0, &chosen, Mode::Proxy).unwrap();
        let expected = DhcpOption::VendorExtensions(vec![6, 1, 8, 71, 4, 0, 1, 0, 0, 255]);
        assert!(boot.options.contains(&expected), "{:?}", boot.options);
    }

    #[test]
    fn with_our_own_leases_only_http_boot_is_told_a_class_and_ipxe_not_to_wait() {
        let codes = |arch, more: &[(u8, &[u8])]| {
            let boot = boot(&sources(), arch, more, Mode::Full).unwrap();
            boot.options.iter().map(|option| u8::from(OptionCode::from(option))).collect::<Vec<_>>()
        };
        assert_eq!(codes(0, &[]), [66]);
        assert_eq!(codes(16, &[]), [60, 66]);
        assert_eq!(codes(0, &[(77, b"iPXE")]), [175, 66]);
        assert_eq!(codes(0, &[(97, &[0; 17])]), [97, 66]);
    }
}
