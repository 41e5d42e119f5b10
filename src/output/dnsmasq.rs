//! dnsmasq as the boot server of a network: `boot/dnsmasq/dnsmasq.conf`.
//!
//! `mode: proxy` answers beside a DHCP server that gives the addresses; `mode: full` is that server, with a lease and a DNS
//! name for each node. Both hand an iPXE to firmware that has none, chosen by the architecture it says (RFC 4578; HTTP boot
//! has numbers of its own), and `boot.ipxe` to every iPXE, known by its user class.

use super::dhcp::Dhcp;
use super::{BaseUrl, Built, Options, OutputFormat, Row};
use crate::manifest::Role;
use crate::recipe::Recipe;
use crate::report::{Finding, nearest};

/// The machines that firmware may say it is: tag, DHCP client architectures, dnsmasq's names for PXE services, loader.
const MACHINES: [Machine; 3] = [
    Machine { tag: "bios", archs: &[0], services: &["x86PC"], loader: "bios" },
    // Most firmware of x64 says 7, which RFC 4578 calls EFI byte code; some 9.
    Machine { tag: "uefi", archs: &[7, 9], services: &["BC_EFI", "X86-64_EFI"], loader: "uefi" },
    Machine { tag: "arm64", archs: &[11], services: &["ARM64_EFI"], loader: "arm64" },
];

/// UEFI HTTP boot, x64 and arm64: the firmware takes a URL and no TFTP.
const HTTP_ARCHS: [u8; 2] = [16, 19];

struct Machine {
    tag: &'static str,
    archs: &'static [u8],
    services: &'static [&'static str],
    loader: &'static str,
}

/// The format.
#[derive(Debug)]
struct Dnsmasq {
    mode: Mode,
    dhcp: Dhcp,
    /// Where dnsmasq finds the loaders.
    tftp_root: String,
    /// File names below that: of [`MACHINES`], in their order.
    loaders: [String; 3],
    /// What UEFI HTTP boot loads: a URL.
    http_loader: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Proxy,
    Full,
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "proxy" => Ok(Mode::Proxy),
            "full" => Ok(Mode::Full),
            _ => {
                let near = nearest(text, ["proxy", "full"]).map(|near| format!(": did you mean `{near}`?"));
                Err(format!("`{text}` is neither `proxy` nor `full`{}", near.unwrap_or_default()))
            }
        }
    }
}

pub(super) fn read(options: &Options<'_>) -> Option<Box<dyn OutputFormat>> {
    let decoder = options.decoder;
    let mode = options.need("mode").and_then(|node| decoder.parsed(node));
    let dhcp = Dhcp::read(options);
    // Where Debian's package `ipxe` has them, and what they are called there.
    let tftp_root = options.get("tftp_root").and_then(|node| {
        let root = decoder.string(node)?;
        if !root.starts_with('/') || root.chars().any(|c| c.is_control() || c == ',') {
            decoder.error(node, "`tftp_root` must be an absolute path without commas");
        }
        Some(root)
    });
    let mut loaders = ["undionly.kpxe", "ipxe.efi", "ipxe-arm64.efi"].map(str::to_owned);
    let mut http_loader = None;
    if let Some(node) = options.get("loaders") {
        let fields = decoder.fields(node, "`loaders`");
        let text = |key| {
            let node = fields.get(key)?;
            let text = decoder.string(node)?;
            if text.is_empty() || text.chars().any(|c| c.is_control() || c == ',' || c == '"') {
                decoder.error(node, "must be the name of a file, without commas or quotes");
            }
            Some(text)
        };
        for (loader, machine) in loaders.iter_mut().zip(&MACHINES) {
            if let Some(given) = text(machine.loader) {
                *loader = given;
            }
        }
        http_loader = text("http");
        if let (Some(Mode::Proxy), Some(node)) = (mode, fields.get("http")) {
            decoder.error(node, "a proxy cannot answer HTTP boot: dnsmasq's speaks to PXE firmware only");
        }
    }
    let (dhcp, mode) = (dhcp?, mode?);
    if let (Mode::Proxy, Some(node)) = (mode, options.get("range").or(options.get("gateway"))) {
        decoder.error(
            node,
            "a proxy gives no addresses: leave `range` and `gateway` to the DHCP server beside it",
        );
    }
    let tftp_root = tftp_root.unwrap_or_else(|| "/usr/lib/ipxe".into());
    Some(Box::new(Dnsmasq { mode, dhcp, tftp_root, loaders, http_loader }))
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
        let mut lines =
            vec![format!("# dnsmasq for the machines of {}, written by prebake", built.recipe.name)];
        if let Some(interface) = &self.dhcp.interface {
            lines.extend([format!("interface={interface}"), "bind-interfaces".into()]);
        }
        match self.mode {
            Mode::Proxy => lines.extend(self.proxy()),
            Mode::Full => lines.extend(self.full(built.recipe)),
        }
        lines.extend(["enable-tftp".into(), format!("tftp-root={}", self.tftp_root)]);
        lines.push("log-dhcp".into());
        let text = lines.join("\n") + "\n";
        vec![Row::text("boot/dnsmasq/dnsmasq.conf".into(), Role::Boot, text)]
    }
}

/// iPXE says its user class; an iPXE in a network card may only send its own option 175.
const IPXE: [&str; 2] = ["dhcp-userclass=set:ipxe,iPXE", "dhcp-match=set:ipxe,175"];

impl Dnsmasq {
    fn script(&self) -> String {
        format!("{}/boot.ipxe", self.dhcp.base_url)
    }

    fn proxy(&self) -> Vec<String> {
        let Dhcp { subnet, .. } = &self.dhcp;
        let mut lines = vec![
            "# No DNS, and no addresses: another DHCP server gives them.".into(),
            "port=0".into(),
            format!("dhcp-range={},proxy,{}", subnet.base, subnet.netmask()),
        ];
        lines.extend(IPXE.map(str::to_owned));
        for (machine, loader) in MACHINES.iter().zip(&self.loaders) {
            for service in machine.services {
                lines.push(format!("pxe-service=tag:!ipxe,{service},\"iPXE\",{loader}"));
                lines.push(format!("pxe-service=tag:ipxe,{service},\"prebake\",{}", self.script()));
            }
        }
        lines
    }

    fn full(&self, recipe: &Recipe) -> Vec<String> {
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
        for host in self.dhcp.hosts(recipe) {
            let name = &host.node.name.value;
            let address = host.address.map(|address| format!(",{address}")).unwrap_or_default();
            lines.push(format!("dhcp-host={}{address},{name}", host.mac));
            if let Some(address) = host.address {
                let full = domain.as_ref().map(|domain| format!("{name}.{domain},")).unwrap_or_default();
                lines.push(format!("host-record={full}{name},{address}"));
            }
        }
        lines.extend(IPXE.map(str::to_owned));
        for (machine, loader) in MACHINES.iter().zip(&self.loaders) {
            let tag = machine.tag;
            let matches =
                machine.archs.iter().map(|arch| format!("dhcp-match=set:{tag},option:client-arch,{arch}"));
            lines.extend(matches);
            lines.push(format!("dhcp-boot=tag:{tag},tag:!ipxe,{loader}"));
        }
        if let Some(loader) = &self.http_loader {
            lines.extend(HTTP_ARCHS.map(|arch| format!("dhcp-match=set:http,option:client-arch,{arch}")));
            // The firmware takes an offer only from a server that calls itself an HTTP boot server.
            lines.push("dhcp-option-force=tag:http,option:vendor-class,HTTPClient".into());
            lines.push(format!("dhcp-boot=tag:http,tag:!ipxe,{loader}"));
        }
        lines.push(format!("dhcp-boot=tag:ipxe,{}", self.script()));
        lines
    }
}
