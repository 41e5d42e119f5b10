//! BusyBox' udhcpd as the DHCP server of a small network: `boot/udhcpd/udhcpd.conf`.
//!
//! It gives each node its address and every machine the same boot file: it cannot distinguish BIOS from UEFI, nor an
//! iPXE from the firmware that loaded it. So the boot file is an iPXE, which continues with the `autoexec.ipxe` beside
//! it.

use super::{Built, Options, OutputFormat};
use crate::bake::recipe::Recipe;
use crate::base::finding::Finding;
use crate::machine::base_url::BaseUrl;
use crate::machine::dhcp::Dhcp;
use crate::machine::firmware::PLATFORMS;
use crate::tree::manifest::Role;
use crate::tree::names::UDHCPD;
use crate::tree::row::Row;

/// The output `udhcpd`.
#[derive(Debug)]
struct Udhcpd {
    dhcp: Dhcp,
    /// File name of the loader on the TFTP server.
    loader: String,
}

pub(super) fn read(options: &Options<'_>) -> Option<Box<dyn OutputFormat>> {
    let decoder = options.decoder;
    let loader = options.get("loader").and_then(|node| {
        let loader = decoder.string(node)?;
        // The packet's field has 128 bytes, with the final zero; udhcpd's config ends words at blanks.
        if loader.is_empty() || loader.len() > 127 || !loader.chars().all(|c| c.is_ascii_graphic()) {
            decoder.error(node, "`loader` must be a file name without blanks, of at most 127 bytes");
        }
        Some(loader)
    });
    let dhcp = Dhcp::read(options);
    // Without the first udhcpd gives no addresses; without the second it serves eth0, whichever card that is.
    let missing = |key| options.need(key).is_none();
    if missing("range") | missing("interface") {
        return None;
    }
    Some(Box::new(Udhcpd { loader: loader.unwrap_or_else(|| PLATFORMS[1].loader.into()), dhcp: dhcp? }))
}

impl OutputFormat for Udhcpd {
    fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        self.dhcp.check(recipe)
    }

    fn base_url(&self) -> Option<&BaseUrl> {
        Some(&self.dhcp.base_url)
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let Dhcp { base_url, subnet, interface, range, gateway, dns, domain, lease } = &self.dhcp;
        let mut lines =
            vec![format!("# udhcpd for the machines of {}, written by prebake", built.recipe.name)];
        lines.extend(range.iter().flat_map(|range| {
            let count = range.last.to_bits() - range.first.to_bits() + 1;
            [format!("start {}", range.first), format!("end {}", range.last), format!("max_leases {count}")]
        }));
        lines.extend(interface.iter().map(|interface| format!("interface {interface}")));
        // Assumes that the machine which serves the tree is also the TFTP server.
        if let Some(url::Host::Ipv4(address)) = base_url.url().host() {
            lines.push(format!("siaddr {address}"));
        }
        lines.push(format!("boot_file {}", self.loader));
        lines.push(format!("opt subnet {}", subnet.netmask()));
        lines.extend(gateway.iter().map(|gateway| format!("opt router {gateway}")));
        lines.extend(dns.iter().map(|server| format!("opt dns {server}")));
        lines.extend(domain.iter().map(|domain| format!("opt domain {domain}")));
        lines.push(format!("opt lease {}", lease.as_secs()));
        let hosts = Dhcp::hosts(built.recipe).into_iter();
        lines.extend(hosts.filter_map(|host| Some(format!("static_lease {} {}", host.mac, host.address()?))));
        let text = lines.join("\n") + "\n";
        vec![Row::text(UDHCPD.into(), Role::Boot, text)]
    }
}
