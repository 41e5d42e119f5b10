//! URLs as Go's `net/url` parses them, and the check whether Ignition can fetch them.

use std::net::Ipv6Addr;

use super::rules::{self, Rule};
use crate::data_url;
use crate::spec::Spec;

/// The parts of a parsed URL that the rules need.
pub(crate) struct GoUrl<'u> {
    /// In lower case; empty if there is none.
    pub scheme: String,
    /// The text after the scheme, in a URL without a slash there.
    pub opaque: &'u str,
    query: &'u str,
}

impl<'u> GoUrl<'u> {
    /// Parses a URL; `None` if `url.Parse` fails.
    pub fn parse(url: &'u str) -> Option<Self> {
        let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
        unescape(fragment, Mode::Plain)?;
        if url.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return None;
        }
        let (scheme, rest) = split_scheme(url)?;
        let scheme = scheme.to_ascii_lowercase();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') && url != "*" {
            if !scheme.is_empty() {
                return Some(GoUrl { scheme, opaque: rest, query });
            }
            if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
                return None;
            }
        }
        let mut path = rest;
        if let Some(authority) = rest.strip_prefix("//")
            && (!scheme.is_empty() || !rest.starts_with("///"))
        {
            let end = authority.find('/').unwrap_or(authority.len());
            check_authority(&authority[..end])?;
            path = &authority[end..];
        }
        unescape(path, Mode::Plain)?;
        Some(GoUrl { scheme, opaque: "", query })
    }

    /// The first value of a query key, if the key is present.
    fn query_value(&self, key: &str) -> Option<Vec<u8>> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        let decoded = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescape(name, Mode::Query)?, unescape(value, Mode::Query)?))
        });
        decoded.into_iter().find(|(name, _)| name == key.as_bytes()).map(|(_, value)| value)
    }
}

/// Splits off a scheme: a letter, then letters, digits and `+-.`, up to a colon.
fn split_scheme(url: &str) -> Option<(&str, &str)> {
    for (index, byte) in url.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if index > 0 => {}
            b':' if index == 0 => return None,
            b':' => return Some((&url[..index], &url[index + 1..])),
            _ => break,
        }
    }
    Some(("", url))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    Query,
    Host,
    Zone,
}

/// Percent-decodes; `None` if an escape is malformed or a character is not allowed.
fn unescape(text: &str, mode: Mode) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let hex = |at: usize| bytes.get(at).and_then(|digit| (*digit as char).to_digit(16));
                let value = (hex(at)? << 4 | hex(at + 1)?) as u8;
                // A host may escape non-ASCII bytes and `%`, a zone its allowed plain bytes, `%` and blanks.
                let allowed = match mode {
                    Mode::Plain | Mode::Query => true,
                    Mode::Host => value >= 0x80 || value == b'%',
                    Mode::Zone => value == b'%' || value == b' ' || is_host_byte(value),
                };
                if !allowed {
                    return None;
                }
                out.push(value);
                at += 2;
            }
            b'+' if mode == Mode::Query => out.push(b' '),
            _ if matches!(mode, Mode::Host | Mode::Zone) && byte < 0x80 && !is_host_byte(byte) => {
                return None;
            }
            _ => out.push(byte),
        }
    }
    Some(out)
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

fn check_authority(authority: &str) -> Option<()> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    check_host(host)?;
    let Some(user) = user else { return Some(()) };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    (user.bytes().all(allowed) && unescape(user, Mode::Plain).is_some()).then_some(())
}

fn check_host(host: &str) -> Option<()> {
    match host.rfind('[') {
        Some(0) => {
            let end = host.rfind(']')?;
            let (literal, port) = (&host[1..end], &host[end + 1..]);
            check_port(port)?;
            let zone = literal.find("%25").unwrap_or(literal.len());
            let mut address = unescape(&literal[..zone], Mode::Host)?;
            address.extend(unescape(&literal[zone..], Mode::Zone)?);
            let address = String::from_utf8(address).ok()?;
            let (address, zone) = address.split_once('%').unwrap_or((&address, "-"));
            (address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty()).then_some(())
        }
        Some(_) => None,
        None => {
            // Only the text after the last colon must be a port: lists of hosts pass, even with HTTP for programs whose
            // module asks for a Go before 1.26 (such as Butane and Ignition).
            let colon = host.rfind(':');
            check_port(colon.map_or("", |colon| &host[colon..]))?;
            unescape(host, Mode::Host).map(drop)
        }
    }
}

fn check_port(port: &str) -> Option<()> {
    let digits = port.strip_prefix(':').or(port.is_empty().then_some(""))?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(())
}

/// A source must be a URL that an Ignition of this spec can fetch.
pub(crate) fn check_source(url: &str, spec: Spec) -> Result<(), Rule> {
    let parsed = GoUrl::parse(url).ok_or(rules::INVALID_URL)?;
    let version = |parsed: &GoUrl| match parsed.query_value("versionId") {
        Some(value) if value.is_empty() => Err(rules::S3_VERSION),
        _ => Ok(()),
    };
    match parsed.scheme.as_str() {
        "http" | "https" | "tftp" => Ok(()),
        "gs" if spec >= Spec::V3_2 => Ok(()),
        "s3" => version(&parsed),
        "arn" if spec >= Spec::V3_4 => {
            check_arn(parsed.opaque)?;
            version(&parsed)
        }
        "data" => data_url::decode(url).map(drop).map_err(rules::data_url),
        _ => Err(rules::INVALID_SCHEME),
    }
}

/// `arn:PARTITION:s3:REGION:ACCOUNT:RESOURCE`, where the resource is `BUCKET/KEY` or `accesspoint/NAME/KEY`.
fn check_arn(opaque: &str) -> Result<(), Rule> {
    let parts: Vec<&str> = opaque.splitn(5, ':').collect();
    let [_, service, _, _, resource] = parts.as_slice() else { return Err(rules::S3_ARN) };
    let slashes = opaque.matches('/').count();
    let needed = if resource.starts_with("accesspoint/") { 2 } else { 1 };
    (*service == "s3" && slashes >= needed).then_some(()).ok_or(rules::S3_ARN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_escapes_are_judged_as_go_does() {
        let good = [
            "http://[fe80::1%25en0]:80/",
            "http://a.invalid:80/x?y=%zz",
            "https://u:p@h/",
            "tftp://h",
            "s3://b/k",
            "gs://b,c:1,d:2/",
            "http://ä.invalid/",
            "http://h/%41",
            "http://h:/",
            "http://a:1,b:2/",
        ];
        for url in good {
            assert!(GoUrl::parse(url).is_some(), "{url}");
        }
        let bad = [
            "http://[::1",
            "http://[1.2.3.4]/",
            "http://h:a/",
            "http://h/%4",
            "http://h/%zz",
            "http://h\u{7f}/",
            ":x",
            "http://a b/",
            "http://u^@h/",
            "http://%41/",
            "a:b:c\n",
            "1:2",
            "http://h/#%z",
        ];
        for url in bad {
            assert!(GoUrl::parse(url).is_none(), "{url}");
        }
    }

    #[test]
    fn arns_need_a_service_and_a_key() {
        let check = |url| check_source(url, Spec::V3_4).err().map(|rule| rule.message);
        assert_eq!(check("arn:aws:s3:::bucket/key"), None);
        assert_eq!(check("arn:aws:s3:::bucket"), Some(rules::S3_ARN.message));
        assert_eq!(check("arn:aws:s3:r:1:accesspoint/a/k"), None);
        assert_eq!(check("arn:aws:s3:r:1:accesspoint/a"), Some(rules::S3_ARN.message));
        assert_eq!(check("arn:aws:ec2:::b/k"), Some(rules::S3_ARN.message));
        assert_eq!(check("arn:aws:s3:::bucket/key?versionId="), Some(rules::S3_VERSION.message));
    }
}
