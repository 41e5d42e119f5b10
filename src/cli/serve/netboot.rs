//! Flags of `prebake serve` for DHCP and TFTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::bake::outputs::dnsmasq::{Dnsmasq, IPXE_DIRECTORY, default_loaders};
use crate::base::error::Result;
use crate::machine::dhcp::{LEASE, Mode, SHORTEST_LEASE, is_domain, is_interface};
use crate::machine::firmware::PLATFORMS;
use crate::machine::network::AddressRange;
use crate::serve::address::Address;
use crate::serve::http::listen;
use crate::serve::lan::interface::Interface;
use crate::serve::lan::inventory::{self, Misplaced};
use crate::serve::lan::netboot::{self, Bound, Http, NetworkWish, Wish, base_url};
use crate::serve::site::Site;
use crate::tree::names::LOADERS;

/// Heading of these options.
pub(crate) const HEADING: &str = "Network boot (needs root, or CAP_NET_BIND_SERVICE and CAP_NET_RAW)";

#[derive(Args)]
pub(crate) struct NetbootArgs {
    /// The network interface whose machines are answered over DHCP and TFTP; no other network notices
    #[arg(help_heading = HEADING, long, value_name = "NAME", value_parser = interface)]
    interface: Option<String>,
    /// Tell machines what to boot, beside the DHCP server that gives them their addresses (ports 67 and 4011)
    #[arg(help_heading = HEADING, long, requires = "interface")]
    proxy_dhcp: bool,
    /// Be the DHCP server: nodes get the addresses of the recipe, others one of --dhcp-range
    #[arg(help_heading = HEADING, long, requires = "interface", conflicts_with = "proxy_dhcp")]
    dhcp: bool,
    /// Serve iPXE to firmware by TFTP, and the tree's boot files (port 69 unless another is named)
    #[arg(help_heading = HEADING, long, value_name = "HOST:PORT", num_args = 0..=1, require_equals = true, default_missing_value = "0.0.0.0:69")]
    tftp: Option<Address>,
    /// Where the iPXE binaries are: undionly.kpxe, ipxe.efi, ipxe-arm64.efi
    #[arg(help_heading = HEADING, long, value_name = "DIR", default_value = IPXE_DIRECTORY)]
    ipxe_dir: PathBuf,
    /// The address at which machines reach this server, if it is not the interface's
    #[arg(help_heading = HEADING, long, value_name = "ADDRESS")]
    advertise: Option<Ipv4Addr>,
    /// Addresses for machines that no node names, such as 10.0.0.100-10.0.0.200
    #[arg(help_heading = HEADING, long, value_name = "FIRST-LAST", requires = "dhcp", conflicts_with = "proxy_dhcp")]
    dhcp_range: Option<AddressRange>,
    /// Lease time of an address [default: 12h]
    #[arg(help_heading = HEADING, long, value_name = "TIME", requires = "dhcp", conflicts_with = "proxy_dhcp", value_parser = lease)]
    lease_time: Option<Duration>,
    /// The router that machines get by DHCP; none by default
    #[arg(help_heading = HEADING, long, value_name = "ADDRESS", requires = "dhcp", conflicts_with = "proxy_dhcp")]
    gateway: Option<Ipv4Addr>,
    /// Name servers that machines get by DHCP; prebake itself is not a name server
    #[arg(
        help_heading = HEADING,
        long,
        value_name = "ADDRESS",
        requires = "dhcp",
        conflicts_with = "proxy_dhcp",
        value_delimiter = ','
    )]
    dns: Vec<Ipv4Addr>,
    /// The DNS domain that machines are told
    #[arg(help_heading = HEADING, long, value_name = "NAME", requires = "dhcp", conflicts_with = "proxy_dhcp", value_parser = domain)]
    domain: Option<String>,
    /// Print the dnsmasq config that does what these flags ask for, and exit
    #[arg(help_heading = HEADING, long, requires = "interface")]
    dnsmasq: bool,
}

fn interface(text: &str) -> Result<String, String> {
    let refused = || format!("`{text}` is not the name of a network interface");
    is_interface(text).then(|| text.to_owned()).ok_or_else(refused)
}

fn domain(text: &str) -> Result<String, String> {
    let refused = || format!("`{text}` is not a domain such as lab.example");
    is_domain(text).then(|| text.to_owned()).ok_or_else(refused)
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease: humantime::Duration =
        text.parse().map_err(|_| format!("`{text}` is not a time such as 12h or 30m"))?;
    match *lease < SHORTEST_LEASE {
        true => Err("a lease must last at least two minutes".into()),
        // The longest time that the packet can express (RFC 2132, 9.2).
        false => Ok((*lease).min(Duration::from_secs(u32::MAX.into()))),
    }
}

impl NetbootArgs {
    /// The address at which machines reach this server, as far as the flags say it.
    pub(crate) fn advertised(&self) -> Option<Ipv4Addr> {
        let of_interface = || Interface::find(self.interface.as_deref()?).ok().map(|here| here.address);
        self.advertise.or_else(of_interface)
    }

    /// Whether a config for dnsmasq is requested instead of a server.
    pub(crate) fn prints_dnsmasq(&self) -> bool {
        self.dnsmasq
    }

    fn wish(&self, http: Http) -> Wish {
        let dhcp = [(self.proxy_dhcp, Mode::Proxy), (self.dhcp, Mode::Full)];
        let network = NetworkWish {
            range: self.dhcp_range,
            gateway: self.gateway,
            dns: self.dns.clone(),
            domain: self.domain.clone(),
            lease: self.lease_time.unwrap_or(LEASE),
        };
        Wish {
            interface: self.interface.clone(),
            dhcp: dhcp.into_iter().find_map(|(asked, mode)| asked.then_some(mode)),
            tftp: self.tftp.clone(),
            ipxe_dir: self.ipxe_dir.clone(),
            advertise: self.advertise,
            http,
            network,
        }
    }

    /// Binds the sockets that the flags ask for, if any; the HTTP server listens at `address`.
    pub(crate) fn bind(
        &self,
        scheme: &'static str,
        address: SocketAddr,
        site: &Site,
    ) -> Result<Option<Bound>> {
        let wish = self.wish(Http { scheme, port: address.port() });
        if wish.is_nothing() {
            return Ok(None);
        }
        let dhcp = wish.dhcp;
        let bound = wish.bind()?;
        let mut story = self.story(dhcp, &bound);
        story.extend(self.lacks_a_route(dhcp, site));
        let lends = dhcp == Some(Mode::Full);
        let (hosts, wrong) = inventory::hosts(site);
        story.extend(wrong.into_iter().filter(|_| lends));
        if let Some(here) = bound.here() {
            let Misplaced { unusable, doubtful } = inventory::misplaced(&hosts, here, lends);
            if !unusable.is_empty() {
                return Err(netboot::Error::Unusable(unusable).into());
            }
            story.extend(doubtful.into_iter().map(|text| format!("warning: {text}")));
        }
        for line in story {
            tell!("{line}");
        }
        Ok(Some(bound))
    }

    /// Lines about the protocols that are answered from now on, and about those that users may expect and are not.
    fn story(&self, dhcp: Option<Mode>, bound: &Bound) -> Vec<String> {
        let interface = self.interface.as_deref().unwrap_or_default();
        let mut lines = Vec::new();
        match dhcp {
            Some(Mode::Proxy) => {
                lines.push(format!("answering DHCP on {interface} as a proxy, beside the DHCP server"))
            }
            Some(Mode::Full) => lines.push(format!("assigning addresses by DHCP on {interface}")),
            None => {}
        }
        if bound.tftp_address().is_none() {
            lines.push("no --tftp: only iPXE and UEFI HTTP boot get a boot file".into());
        }
        // No distribution has loaders for the other platforms, so they are not reported as missing.
        let missing = PLATFORMS[..3].iter().filter(|platform| bound.loaders().get(platform.loader).is_none());
        lines.extend(missing.map(|platform| {
            let (name, loader) = (platform.name, platform.loader);
            format!("{name} machines get no iPXE: {} has no {loader}", self.ipxe_dir.display())
        }));
        lines
    }

    /// The warning about Kubernetes machines that get no router.
    fn lacks_a_route(&self, dhcp: Option<Mode>, site: &Site) -> Option<String> {
        const SYSEXTS: [&str; 2] = ["kubernetes", "kubernetes-config"];
        let lacks = dhcp == Some(Mode::Full) && self.gateway.is_none() && site.has_sysext(SYSEXTS[0]);
        lacks.then(|| {
            let without = if site.has_sysext(SYSEXTS[1]) { "" } else { ", and the tree has no sysext kubernetes-config that helps" };
            format!(
                "warning: no --gateway: machines are told no router, and kubeadm, the kubelet and Services need a default route{without}; \
                 see docs/guides/airgap.md"
            )
        })
    }

    /// The dnsmasq config that does the same as the flags, with the nodes of the served content; `address` is
    /// `HOST:PORT`.
    pub(crate) fn dnsmasq_config(&self, scheme: &'static str, address: &str, site: &Site) -> Result<String> {
        let malformed = |why| listen::Error::Address { address: address.into(), why };
        let port = address.parse::<Address>().map_err(malformed)?.port();
        let http = Http { scheme, port };
        let wish = self.wish(http);
        let mode = wish.dhcp.unwrap_or(Mode::Proxy);
        let interface = netboot::find(self.interface.as_deref().unwrap_or_default())?;
        let base = base_url(http, wish.advertise.unwrap_or(interface.address));
        let http_loader = match mode {
            Mode::Full => Some(format!("{base}/{LOADERS}{}", PLATFORMS[1].loader)),
            Mode::Proxy => None,
        };
        let dnsmasq = Dnsmasq {
            mode,
            dhcp: wish.network.on(&interface, base)?,
            tftp_root: wish.tftp.map(|_| wish.ipxe_dir.display().to_string()),
            loaders: default_loaders(),
            http_loader,
        };
        Ok(dnsmasq.config(&site.manifest.name, &inventory::hosts(site).0))
    }
}
