//! dnsmasq as the boot server of a network: `boot/dnsmasq/dnsmasq.conf`.
//!
//! `mode: proxy` answers beside a DHCP server that gives the addresses; `mode: full` is that server, with a lease and a DNS
//! name for each node. Both give an iPXE to firmware without one, chosen by the architecture that it states (RFC 4578;
//! HTTP boot has its own numbers), and `boot.ipxe` to every iPXE, recognised by its user class.

use super::keys::LOADERS;
use super::{Built, Options, OutputFormat};
use crate::bake::recipe::Recipe;
use crate::base::finding::Finding;
use crate::machine::base_url::BaseUrl;
use crate::machine::dhcp::{Dhcp, Host, Mode};
use crate::machine::firmware::{PLATFORMS, Platform};
use crate::tree::manifest::Role;
use crate::tree::names::{DNSMASQ, FIRST_SCRIPT};
use crate::tree::row::Row;

/// Directory of the loaders in Debian's package `ipxe`.
pub(crate) const IPXE_DIRECTORY: &str = "/usr/lib/ipxe";

/// UEFI HTTP boot, x64 and arm64: the firmware takes a URL and no TFTP.
const HTTP_ARCHS: [u16; 2] = [16, 19];

/// The output `dnsmasq`.
#[derive(Debug)]
pub(crate) struct Dnsmasq {
    /// Whether it gives addresses.
    pub mode: Mode,
    /// The network that it serves.
    pub dhcp: Dhcp,
    /// Directory with the loaders; without it, dnsmasq serves no TFTP.
    pub tftp_root: Option<String>,
    /// File names below that directory, for the [`PLATFORMS`] that Flatcar runs on.
    pub loaders: [String; 3],
    /// URL that UEFI HTTP boot loads.
    pub http_loader: Option<String>,
}

pub(super) fn read(options: &Options<'_>) -> Option<Box<dyn OutputFormat>> {
    let decoder = options.decoder;
    let mode = options.need("mode").and_then(|node| decoder.parsed(node));
    let dhcp = Dhcp::read(options);
    // The defaults are the paths of Debian's package `ipxe`.
    let tftp_root = options.get("tftp_root").and_then(|node| {
        let root = decoder.string(node)?;
        if !root.starts_with('/') || root.chars().any(|c| c.is_control() || c == ',') {
            decoder.error(node, "`tftp_root` must be an absolute path without commas");
        }
        Some(root)
    });
    let mut loaders = default_loaders();
    let mut http_loader = None;
    if let Some(node) = options.get("loaders") {
        let fields = decoder.fields(node, &LOADERS);
        let text = |key| {
            let node = fields.get(key)?;
            let text = decoder.string(node)?;
            if text.is_empty() || text.chars().any(|c| c.is_control() || c == ',' || c == '"') {
                decoder.error(node, "must be the name of a file, without commas or quotes");
            }
            Some(text)
        };
        for (loader, platform) in loaders.iter_mut().zip(&PLATFORMS) {
            if let Some(given) = text(platform.tag) {
                *loader = given;
            }
        }
        http_loader = text("http");
        if let (Some(Mode::Proxy), Some(node)) = (mode, fields.get("http")) {
            decoder
                .error(node, "a proxy cannot answer HTTP boot: dnsmasq's proxy speaks to PXE firmware only");
        }
    }
    let (dhcp, mode) = (dhcp?, mode?);
    if let (Mode::Proxy, Some(node)) = (mode, options.get("range").or(options.get("gateway"))) {
        decoder.error(
            node,
            "a proxy gives no addresses: leave `range` and `gateway` to the DHCP server beside it",
        );
    }
    let tftp_root = Some(tftp_root.unwrap_or_else(|| IPXE_DIRECTORY.into()));
    Some(Box::new(Dnsmasq { mode, dhcp, tftp_root, loaders, http_loader }))
}

/// The loaders of the platforms that Flatcar runs on, by Debian's names.
pub(crate) fn default_loaders() -> [String; 3] {
    std::array::from_fn(|index| PLATFORMS[index].loader.to_owned())
}

impl OutputFormat for Dnsmasq {
    fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        match self.mode {
            Mode::Full => self.dhcp.check(recipe),
            Mode::Proxy => Vec::new(),
        }
    }

    fn base_url(&self) -> Option<&BaseUrl> {
        Some(&self.dhcp.base_url)
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let text = self.config(&built.recipe.name, &Dhcp::hosts(built.recipe));
        vec![Row::text(DNSMASQ.into(), Role::Boot, text)]
    }
}

/// iPXE states its user class; an iPXE in a network card may send only its own option 175.
const IPXE: [&str; 2] = ["dhcp-userclass=set:ipxe,iPXE", "dhcp-match=set:ipxe,175"];

impl Dnsmasq {
    /// The whole config, for these nodes.
    pub(crate) fn config(&self, name: &str, hosts: &[Host]) -> String {
        let mut lines = vec![format!("# dnsmasq for the machines of {name}, written by prebake")];
        if let Some(interface) = &self.dhcp.interface {
            lines.extend([format!("interface={interface}"), "bind-interfaces".into()]);
        }
        match self.mode {
            Mode::Proxy => lines.extend(self.proxy()),
            Mode::Full => lines.extend(self.full(hosts)),
        }
        if let Some(root) = &self.tftp_root {
            lines.extend(["enable-tftp".into(), format!("tftp-root={root}")]);
        }
        lines.push("log-dhcp".into());
        lines.join("\n") + "\n"
    }

    /// The platforms that Flatcar runs on, each with its loader.
    fn machines(&self) -> impl Iterator<Item = (&'static Platform, &String)> {
        PLATFORMS.iter().zip(&self.loaders)
    }

    fn script(&self) -> String {
        format!("{}/{FIRST_SCRIPT}", self.dhcp.base_url)
    }

    fn proxy(&self) -> Vec<String> {
        let Dhcp { subnet, .. } = &self.dhcp;
        let mut lines = vec![
            "# No DNS, and no addresses: another DHCP server gives them.".into(),
            "port=0".into(),
            format!("dhcp-range={},proxy,{}", subnet.base, subnet.netmask()),
        ];
        lines.extend(IPXE.map(str::to_owned));
        for (machine, loader) in self.machines() {
            for service in machine.services {
                lines.push(format!("pxe-service=tag:!ipxe,{service},\"iPXE\",{loader}"));
                lines.push(format!("pxe-service=tag:ipxe,{service},\"prebake\",{}", self.script()));
            }
        }
        lines
    }

    fn full(&self, hosts: &[Host]) -> Vec<String> {
        let Dhcp { subnet, range, gateway, dns, domain, lease, .. } = &self.dhcp;
        let netmask = subnet.netmask();
        let mut lines = vec!["dhcp-authoritative".into()];
        lines.push(match range {
            Some(range) => {
                let (first, last, lease) = (range.first, range.last, lease.as_secs());
                format!("dhcp-range={first},{last},{netmask},{lease}")
            }
            None => format!("dhcp-range={},static,{netmask},{}", subnet.base, lease.as_secs()),
        });
        lines.extend(gateway.map(|gateway| format!("dhcp-option=option:router,{gateway}")));
        if !dns.is_empty() {
            let dns: Vec<String> = dns.iter().map(|server| server.to_string()).collect();
            lines.push(format!("dhcp-option=option:dns-server,{}", dns.join(",")));
        }
        if let Some(domain) = domain {
            lines.extend([format!("domain={domain}"), format!("local=/{domain}/"), "expand-hosts".into()]);
        }
        for host in hosts {
            let name = &host.name;
            let address = host.address().map(|address| format!(",{address}")).unwrap_or_default();
            lines.push(format!("dhcp-host={}{address},{name}", host.mac));
            if let Some(address) = host.address() {
                let full = domain.as_ref().map(|domain| format!("{name}.{domain},")).unwrap_or_default();
                lines.push(format!("host-record={full}{name},{address}"));
            }
        }
        lines.extend(IPXE.map(str::to_owned));
        for (machine, loader) in self.machines() {
            let tag = machine.tag;
            let matches =
                machine.tftp.iter().map(|arch| format!("dhcp-match=set:{tag},option:client-arch,{arch}"));
            lines.extend(matches);
            lines.push(format!("dhcp-boot=tag:{tag},tag:!ipxe,{loader}"));
        }
        if let Some(loader) = &self.http_loader {
            lines.extend(HTTP_ARCHS.map(|arch| format!("dhcp-match=set:http,option:client-arch,{arch}")));
            // The firmware accepts an offer only from a server that identifies itself as an HTTP boot server.
            lines.push("dhcp-option-force=tag:http,option:vendor-class,HTTPClient".into());
            lines.push(format!("dhcp-boot=tag:http,tag:!ipxe,{loader}"));
        }
        lines.push(format!("dhcp-boot=tag:ipxe,{}", self.script()));
        lines
    }
}
