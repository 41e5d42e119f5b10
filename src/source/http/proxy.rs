//! Proxies from the environment, as curl and Go read them, and their names in messages.
//!
//! hyper's own reader does not know `*` beside IP addresses or `HOST:PORT`, and ignores a proxy that it cannot read, so
//! that the request would go out without one.

use std::net::IpAddr;

use url::{Host, Url};

use crate::base::url::masked;

/// The settings in the proxy variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Setting>,
    https: Option<Setting>,
    exceptions: Vec<Exception>,
}

/// A proxy, and the variable that names it.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// Includes the proxy's user and password, if any.
    pub url: Url,
    /// Name of the environment variable.
    pub variable: &'static str,
}

impl Proxy {
    /// The name in messages, such as `http://proxy:3128 (https_proxy)`.
    pub(crate) fn name(&self) -> String {
        let url = masked(self.url.as_str());
        format!("{} ({})", url.trim_end_matches('/'), self.variable)
    }
}

/// A variable with an unusable value.
#[derive(Clone, Debug)]
pub struct Bad {
    /// Name of the environment variable.
    pub variable: &'static str,
    /// Its value, without a password.
    pub value: String,
    /// The problem, in words.
    pub why: &'static str,
}

type Setting = Result<Proxy, Bad>;

/// An entry of `no_proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    what: Pattern,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Everything,
    /// An address, and the number of its bits that count.
    Network(IpAddr, u8),
    /// A name and all names below it.
    Domain(String),
    /// Only the names below it, as in Go's `*.`.
    Below(String),
}

impl Proxies {
    /// Reads the environment.
    pub(crate) fn of_environment() -> Self {
        // A value that is not UTF-8 names no usable proxy, and is kept so that it is reported: ignoring it would bypass
        // the proxy.
        Proxies::read(|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
    }

    /// Reads the variables. The upper-case spelling of each name comes first, and an empty one counts as unset.
    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&'static str; 2]| {
            let value = |name| variable(name).map(|value| (name, value.trim().to_owned()));
            names.into_iter().filter_map(value).find(|(_, value)| !value.is_empty())
        };
        // In a CGI program, HTTP_PROXY is a header of the client's request (httpoxy.org).
        if variable("REQUEST_METHOD").is_some() {
            return Proxies::default();
        }
        let all = first(["ALL_PROXY", "all_proxy"]);
        let setting = |found: Option<(&'static str, String)>| {
            found.or_else(|| all.clone()).map(|(variable, value)| parse(variable, &value))
        };
        let exceptions = first(["NO_PROXY", "no_proxy"]).map(|(_, value)| value).unwrap_or_default();
        let entries = exceptions.split([',', ' ', '\t', '\n']).filter(|entry| !entry.is_empty());
        Proxies {
            http: setting(first(["HTTP_PROXY", "http_proxy"])),
            https: setting(first(["HTTPS_PROXY", "https_proxy"])),
            exceptions: entries.map(exception).collect(),
        }
    }

    /// The proxy for a URL.
    ///
    /// # Errors
    /// The variable, if the proxy that it names is unusable.
    pub(crate) fn of(&self, url: &Url) -> Result<Option<&Proxy>, &Bad> {
        let setting = match url.scheme() {
            "http" => &self.http,
            "https" => &self.https,
            _ => return Ok(None),
        };
        match setting {
            Some(setting) if !self.exceptions.iter().any(|exception| exception.fits(url)) => {
                setting.as_ref().map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn parse(variable: &'static str, value: &str) -> Setting {
    let bad = |why| Bad { variable, value: masked(value), why };
    let has_scheme = value.contains("://");
    let text = if has_scheme { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&text).map_err(|_| bad("it is not a URL such as http://proxy.example:3128"))?;
    // Values such as `http:/x`, which a URL parser would repair as browsers do.
    let is_mended = !has_scheme
        && value.split([':', '/']).next().is_some_and(|first| first == "http" || first == "https");
    match url.scheme() {
        "http" | "https" if !is_mended && url.host_str().is_some_and(|host| !host.is_empty()) => {
            Ok(Proxy { url, variable })
        }
        "http" | "https" => Err(bad("it is not a URL such as http://proxy.example:3128")),
        "socks4" | "socks4a" | "socks5" | "socks5h" => {
            Err(bad("prebake speaks to HTTP proxies only, not to SOCKS"))
        }
        _ => Err(bad("only http: and https: proxies are supported")),
    }
}

/// `*`, `HOST`, `.DOMAIN`, `*.DOMAIN`, an address, a network, and any of them with a port; IPv6 with brackets or without.
fn exception(entry: &str) -> Exception {
    if entry == "*" {
        return Exception { what: Pattern::Everything, port: None };
    }
    // A bare IPv6 address contains colons itself.
    if let Some(what) = network(entry) {
        return Exception { what, port: None };
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => (host, port.parse().ok()),
        _ => (entry, None),
    };
    let what = network(host).unwrap_or_else(|| {
        let name = host.trim_end_matches('.').to_lowercase();
        match (name.strip_prefix("*."), name.strip_prefix('.')) {
            _ if name == "*" => Pattern::Everything,
            (Some(below), _) => Pattern::Below(below.to_owned()),
            (None, Some(domain)) => Pattern::Domain(domain.to_owned()),
            (None, None) => Pattern::Domain(name),
        }
    });
    Exception { what, port }
}

/// An address or a network, with or without the brackets of a URL.
fn network(text: &str) -> Option<Pattern> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= most)?,
        None => most,
    };
    Some(Pattern::Network(address, bits))
}

impl Exception {
    fn fits(&self, url: &Url) -> bool {
        let port = self.port.is_none_or(|port| url.port_or_known_default() == Some(port));
        port && match (&self.what, url.host()) {
            (Pattern::Everything, _) => true,
            (Pattern::Network(address, bits), Some(Host::Ipv4(host))) => within(host.into(), *address, *bits),
            (Pattern::Network(address, bits), Some(Host::Ipv6(host))) => {
                within(host.into(), *address, *bits) || within(host.to_canonical(), *address, *bits)
            }
            (Pattern::Domain(domain), Some(Host::Domain(host))) => {
                let host = host.trim_end_matches('.');
                host.eq_ignore_ascii_case(domain) || is_below(host, domain)
            }
            (Pattern::Below(domain), Some(Host::Domain(host))) => {
                is_below(host.trim_end_matches('.'), domain)
            }
            _ => false,
        }
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    let host = host.to_lowercase();
    host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

fn within(host: IpAddr, network: IpAddr, bits: u8) -> bool {
    let bits = u32::from(bits);
    match (host, network) {
        (IpAddr::V4(host), IpAddr::V4(network)) => {
            (host.to_bits() ^ network.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(host), IpAddr::V6(network)) => {
            (host.to_bits() ^ network.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Proxies::read(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    /// psf/requests#4353; curl's CURLOPT_NOPROXY and Go's golang.org/x/net/http/httpproxy.
    #[test]
    fn exceptions_are_honoured_in_every_form_that_curl_and_go_take() {
        let cases = [
            ("*", "http://10.0.0.1/", true),
            ("*", "http://[::1]/", true),
            ("a, *", "https://x.example/", true),
            ("10.0.0.1", "http://10.0.0.1:8080/", true),
            ("10.0.0.1:8080", "http://10.0.0.1:8080/", true),
            ("10.0.0.1:8080", "http://10.0.0.1:8081/", false),
            ("10.0.0.1:80", "http://10.0.0.1/", true),
            ("10.0.0.0/8", "http://10.250.0.1/", true),
            ("10.0.0.0/8", "http://11.0.0.1/", false),
            ("0.0.0.0/0", "http://11.0.0.1/", true),
            ("10.0.0.0/99", "http://10.0.0.1/", false),
            ("10.0.0.0/8", "http://10.example/", false),
            ("mirror.lab", "http://mirror.lab/", true),
            ("MIRROR.lab", "http://mirror.LAB/", true),
            ("mirror.lab", "http://a.mirror.lab/", true),
            ("mirror.lab", "http://notmirror.lab/", false),
            (".mirror.lab", "http://a.mirror.lab/", true),
            (".mirror.lab", "http://mirror.lab/", true),
            ("*.mirror.lab", "http://a.mirror.lab/", true),
            ("*.mirror.lab", "http://mirror.lab/", false),
            ("mirror.lab.", "http://mirror.lab/", true),
            ("mirror.lab", "http://mirror.lab./", true),
            ("mirror.lab:5000", "http://mirror.lab:5000/", true),
            ("mirror.lab:5000", "http://a.mirror.lab:5000/", true),
            ("mirror.lab:5000", "http://mirror.lab/", false),
            ("::1", "http://[::1]:8080/", true),
            ("[::1]", "http://[::1]:8080/", true),
            ("[::1]:8080", "http://[::1]:8080/", true),
            ("[::1]:8080", "http://[::1]/", false),
            ("fd00::/8", "http://[fd12::1]/", true),
            ("[fd00::]/8", "http://[fd12::1]/", true),
            ("fd00::/8", "http://[fe80::1]/", false),
            ("192.0.2.1", "http://[::ffff:192.0.2.1]/", true),
            ("localhost,127.0.0.1", "http://127.0.0.1/", true),
            ("a.lab b.lab", "http://b.lab/", true),
            ("", "http://b.lab/", false),
        ];
        for (list, url, direct) in cases {
            for name in ["no_proxy", "NO_PROXY"] {
                let proxies =
                    proxies(&[("http_proxy", "http://p:1"), ("https_proxy", "http://p:1"), (name, list)]);
                let found = proxies.of(&Url::parse(url).unwrap()).unwrap();
                assert_eq!(found.is_none(), direct, "{name}={list} for {url}");
            }
        }
    }

    #[test]
    fn the_proxy_is_the_one_for_the_scheme_else_the_one_for_all() {
        let all = proxies(&[("all_proxy", "a:1"), ("https_proxy", ""), ("HTTP_PROXY", "http://u:p@h:2/")]);
        let of = |url: &str| all.of(&Url::parse(url).unwrap()).unwrap().unwrap().name();
        assert_eq!(of("https://x/"), "http://a:1 (all_proxy)");
        assert_eq!(of("http://x/"), "http://***@h:2 (HTTP_PROXY)");
        let cgi = proxies(&[("HTTP_PROXY", "http://h:2/"), ("REQUEST_METHOD", "GET")]);
        assert!(cgi.of(&Url::parse("http://x/").unwrap()).unwrap().is_none());
    }

    #[test]
    fn what_is_no_proxy_is_named_with_its_variable_and_without_its_password() {
        let cases = [
            ("http:/x", "not a URL"),
            ("http:///", "not a URL"),
            ("http://", "not a URL"),
            ("http:", "not a URL"),
            ("://x", "not a URL"),
            ("http://u:s3cr3t@h:99999", "not a URL"),
            ("http://a b", "not a URL"),
            ("socks5://u:s3cr3t@h:1", "SOCKS"),
            ("ftp://h", "only http:"),
        ];
        for (value, why) in cases {
            let proxies = proxies(&[("http_proxy", value)]);
            let bad = proxies.of(&Url::parse("http://x/").unwrap()).unwrap_err();
            assert!(bad.why.contains(why) && bad.variable == "http_proxy", "{value}: {bad:?}");
            assert!(!bad.value.contains("s3cr3t"), "{bad:?}");
            assert!(proxies.of(&Url::parse("https://x/").unwrap()).unwrap().is_none(), "{value}");
        }
    }
}
