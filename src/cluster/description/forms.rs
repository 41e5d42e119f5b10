//! The forms of single values, each with what is wrong and, where it can be told, the corrected value.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use crate::base::finding::{Finding, Place, is_unseen, nearest};
use crate::base::yaml::decode::Spanned;
use crate::machine::device::is_device;
use crate::machine::dhcp::is_label;
use crate::machine::entry::nearest_host_name;
use crate::machine::network::{Cidr, Network};
use crate::machine::node::{Mac, judge_host_name};

/// A value that does not have its form.
#[derive(Debug)]
pub(super) struct Fault {
    /// The fault.
    pub why: String,
    /// The way out.
    pub hint: Option<String>,
}

impl Fault {
    fn new(why: impl Into<String>, hint: Option<String>) -> Fault {
        Fault { why: why.into(), hint }
    }

    /// The finding at the place of the value.
    pub fn at(self, place: Place) -> Finding {
        let finding = Finding::error(self.why).at(place);
        match self.hint {
            Some(hint) => finding.hint(hint),
            None => finding,
        }
    }
}

/// An IPv4 address in its one spelling: leading zeros mean octal to some programs and nothing to others.
pub(super) fn address(text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse().map_err(|_| {
        if text.parse::<IpAddr>().is_ok() {
            return Fault::new(
                format!("`{text}` is an IPv6 address, and clusters have IPv4 addresses here"),
                None,
            );
        }
        let decimal: Option<Vec<u8>> = text.trim().split('.').map(|part| part.parse().ok()).collect();
        let near = decimal.and_then(|parts| <[u8; 4]>::try_from(parts).ok()).map(Ipv4Addr::from);
        let near = near.or_else(|| text.split(['/', ':']).next().filter(|part| *part != text)?.parse().ok());
        let hint = near.map(|near| format!("write `{near}`"));
        Fault::new(format!("`{text}` is not an IPv4 address such as 10.0.0.11"), hint)
    })
}

/// An IPv4 network.
pub(super) fn network(text: &str) -> Result<Network, Fault> {
    text.parse().map_err(|_| {
        if text.contains(',') || text.split('/').next().is_some_and(|part| part.contains(':')) {
            let why = format!("`{text}` is not one IPv4 network, and clusters have IPv4 addresses here");
            let first = text.split(',').find(|part| part.trim().parse::<Network>().is_ok());
            return Fault::new(why, first.map(|first| format!("write `{}`", first.trim())));
        }
        let hint = match text.split_once('/') {
            None => text.parse::<Ipv4Addr>().ok().map(|address| {
                let zeros = address.octets().iter().rev().take_while(|octet| **octet == 0).count();
                format!("add the prefix length, such as `{address}/{}`", 32 - 8 * zeros.min(3))
            }),
            Some((address, mask)) => {
                address.parse::<Ipv4Addr>().ok().zip(mask.parse::<Ipv4Addr>().ok()).and_then(
                    |(address, mask)| {
                        let bits = mask.to_bits();
                        (bits.leading_ones() + bits.trailing_zeros() == 32)
                            .then(|| format!("write `{address}/{}`", bits.leading_ones()))
                    },
                )
            }
        };
        Fault::new(format!("`{text}` is not an IPv4 network such as 10.0.0.0/24"), hint)
    })
}

/// Why no machine or pod can be in a network; `None` if one can.
pub(super) fn unusable(network: &Network) -> Option<&'static str> {
    let within = |text: &str| text.parse::<Network>().is_ok_and(|other| other.overlaps(network));
    if network.prefix() == 0 {
        return Some("with a prefix length of 0 it has all addresses");
    }
    [
        ("0.0.0.0/8", "0.0.0.0/8 means this network"),
        ("127.0.0.0/8", "every machine uses 127.0.0.0/8 for itself"),
        ("169.254.0.0/16", "169.254.0.0/16 is for machines without an address (RFC 3927)"),
        ("224.0.0.0/4", "224.0.0.0/4 are multicast addresses"),
        ("240.0.0.0/4", "240.0.0.0/4 is reserved"),
    ]
    .into_iter()
    .find_map(|(reserved, why)| within(reserved).then_some(why))
}

/// A MAC address.
pub(super) fn mac(text: &str) -> Result<Mac, Fault> {
    Mac::from_str(text).map_err(|why| {
        // The digits are right and their grouping is not, or O stands for 0.
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.' | ' ')).collect();
        let digits = digits.replace(['O', 'o'], "0");
        let near = Mac::from_str(&digits).ok().or_else(|| {
            let pairs: Vec<String> = text.split([':', '-']).map(|pair| format!("{pair:0>2}")).collect();
            Mac::from_str(&pairs.concat()).ok().filter(|_| pairs.len() == 6)
        });
        Fault::new(why, near.map(|near| format!("write `\"{near}\"`")))
    })
}

/// The finding about a name that no node can have: the kubelet takes those of RFC 1123 in lower case, the label
/// `kubernetes.io/hostname` at most 63 characters.
pub(super) fn node_name(name: &Spanned<String>) -> Option<Finding> {
    let text = name.value.as_str();
    let near = {
        let mut near = nearest_host_name(&text.replace(' ', "-"));
        near.truncate(63);
        near.trim_end_matches(['-', '.']).to_owned()
    };
    let with_hint = |finding: Finding| match near.is_empty() {
        true => finding.hint("use lower-case letters, digits and `-`"),
        false => finding.hint(format!("use lower-case letters, digits and `-`, such as `{near}`")),
    };
    if let Some(finding) = judge_host_name(name) {
        return Some(with_hint(finding));
    }
    let why = if text.is_empty() {
        Some("it is empty".to_owned())
    } else if let Some(odd) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.')) {
        Some(match is_unseen(odd) || odd == ' ' {
            true => format!("it has the character U+{:04X}", u32::from(odd)),
            false => format!("it has a `{odd}`"),
        })
    } else if text.chars().any(|c| c.is_ascii_uppercase()) {
        Some("the kubelet takes names in lower case alone".to_owned())
    } else if text.len() > 63 {
        Some(format!("it has {} characters; the limit of a node's label is 63", text.len()))
    } else if !text.split('.').all(is_label) {
        Some("a part of it is empty, or begins or ends with `-`".to_owned())
    } else if text == "localhost" || text.starts_with("localhost.") {
        return Some(
            Finding::error("a node cannot be called `localhost`: each machine calls itself so")
                .at(name.place.clone()),
        );
    } else {
        None
    };
    Some(with_hint(
        Finding::error(format!("`{text}` cannot be the name of a node: {}", why?)).at(name.place.clone()),
    ))
}

/// The correction of a version of Flatcar.
pub(super) fn version_hint(text: &str) -> Option<String> {
    let parts = text.trim_start_matches('v').split('.').count();
    match nearest(&text.to_ascii_lowercase(), ["latest", "current"]) {
        Some(_) => Some("write `latest`".into()),
        None if parts < 3 => {
            Some("name all three numbers, such as `4593.2.5`, or leave it out for the newest".into())
        }
        None => None,
    }
}

/// A bootstrap token, by `bootstraputil.IsValidBootstrapToken` of Kubernetes: `\A([a-z0-9]{6})\.([a-z0-9]{16})\z`. The reason
/// shows nothing of it.
pub(super) fn token(text: &str) -> Result<(), String> {
    let Some((id, secret)) = text.split_once('.') else { return Err("it has no dot".into()) };
    let plain = |part: &str| part.bytes().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase());
    let count = |part: &str| part.chars().count();
    match (count(id), count(secret)) {
        (6, 16) if plain(id) && plain(secret) => Ok(()),
        (6, 16) if text.chars().any(char::is_uppercase) => Err("it has capitals".into()),
        (6, 16) => Err("it has other characters than lower-case letters and digits".into()),
        (before, 16) => Err(format!("before the dot it has {before} characters, not 6")),
        (6, after) => Err(format!("after the dot it has {after} characters, not 16")),
        (before, after) => {
            Err(format!("it has {before} characters before the dot and {after} after it, not 6 and 16"))
        }
    }
}

/// A device whose name stays the same when another disk is put in.
pub(super) fn state(text: &str) -> Result<(), Fault> {
    if text.starts_with("/dev/disk/by-") && is_device(text) && !text.contains(char::is_whitespace) {
        return Ok(());
    }
    let why = match is_device(text) {
        true => format!("`{text}` may be another disk after the next boot"),
        false => format!("`{text}` is not a device file"),
    };
    Err(Fault::new(
        why,
        Some("name the disk by /dev/disk/by-id/… or /dev/disk/by-path/… (`ls -l /dev/disk/by-id`)".into()),
    ))
}

/// A key of a label or taint: a name, after a DNS name and a slash if it has one (Kubernetes' `IsQualifiedName`).
pub(super) fn label(text: &str) -> Result<(), Fault> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let lower = |prefix: &str| {
        prefix.len() <= 253 && prefix == prefix.to_ascii_lowercase() && prefix.split('.').all(is_label)
    };
    if prefix.is_some_and(|prefix| !lower(prefix)) {
        let hint = prefix.map(nearest_host_name).filter(|near| !near.is_empty());
        let why = format!("`{text}` is not a label: before its `/` must be a domain in lower case");
        return Err(Fault::new(why, hint.map(|near| format!("write `{near}/{name}`"))));
    }
    match is_label_text(name) && !name.is_empty() {
        true => Ok(()),
        false => Err(Fault::new(
            format!("`{text}` is not a label: {}", of_label(name)),
            corrected(name).map(|near| {
                format!("write `{}{near}`", prefix.map(|prefix| format!("{prefix}/")).unwrap_or_default())
            }),
        )),
    }
}

/// The value of a label or taint.
pub(super) fn label_value(text: &str) -> Result<(), Fault> {
    match is_label_text(text) {
        true => Ok(()),
        false => Err(Fault::new(
            format!("`{text}` is not a label's value: {}", of_label(text)),
            corrected(text).map(|near| format!("write `{near}`")),
        )),
    }
}

/// Whether a text is a label's name or value; an empty one is a value only.
fn is_label_text(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let end = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63 && text.chars().all(inner) && end(text.chars().next()) && end(text.chars().next_back())
}

fn of_label(text: &str) -> String {
    match text.chars().count() {
        0 => "its name is empty".into(),
        count if count > 63 => format!("it has {count} characters; the limit is 63"),
        _ => "it must be letters, digits, `-`, `_` and `.`, and begin and end with a letter or digit".into(),
    }
}

/// The nearest text that a label may have.
fn corrected(text: &str) -> Option<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let near: String = text.chars().map(plain).take(63).collect();
    let near = near.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    (!near.is_empty()).then(|| near.to_owned())
}

/// A taint, as `KEY=VALUE:EFFECT` or `KEY:EFFECT`: its key and effect, by which the API server takes two for the same.
pub(super) fn taint(text: &str) -> Result<(String, &'static str), Fault> {
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let form = |why: &str, hint: Option<String>| {
        Fault::new(
            format!("`{text}` is not a taint: {why}"),
            hint.or_else(|| Some("write KEY=VALUE:EFFECT, such as `gpu=true:NoSchedule`".into())),
        )
    };
    let Some((what, effect)) = text.rsplit_once(':') else {
        let known = EFFECTS.into_iter().find(|known| text.ends_with(known));
        return Err(form(
            "it has no effect after a `:`",
            known.is_none().then(|| format!("write `{text}:NoSchedule`")),
        ));
    };
    let Some(effect) = EFFECTS.into_iter().find(|known| *known == effect) else {
        let near = EFFECTS
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(effect))
            .or_else(|| nearest(effect, EFFECTS));
        let hint = near.map(|near| format!("write `{what}:{near}`"));
        return Err(form(&format!("`{effect}` is not an effect; there are {}", EFFECTS.join(", ")), hint));
    };
    let (key, value) = what.split_once('=').unwrap_or((what, ""));
    let of = |fault: Fault| form(&fault.why, None);
    label(key).map_err(of)?;
    label_value(value).map_err(of)?;
    Ok((key.to_owned(), effect))
}

/// A name of a network interface, by `dev_valid_name` of the kernel.
pub(super) fn interface(text: &str) -> Result<String, Fault> {
    let fits = (1..16).contains(&text.len()) && !matches!(text, "." | "..");
    match fits && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        true => Ok(text.to_owned()),
        false => Err(Fault::new(
            format!("`{text}` is not the name of a network interface"),
            Some("`ip link` lists them".into()),
        )),
    }
}

/// A name of an environment variable.
pub(super) fn variable(text: &str) -> Result<String, Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match text.chars().all(plain) && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        true => Ok(text.to_owned()),
        // A password may stand here by mistake.
        false => Err(Fault::new(
            "this is not the name of an environment variable",
            Some("write its name alone, such as BMC_PASSWORD, without `$`".into()),
        )),
    }
}

/// A host with its port, if it has one, by which images name their registry.
pub(super) fn registry(text: &str) -> Result<(), Fault> {
    if text == "_default" {
        return Ok(());
    }
    let host =
        text.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(text, |(host, _)| host);
    let is_host = !host.is_empty() && host.split('.').all(is_label);
    match is_host {
        true => Ok(()),
        false => {
            let bare =
                text.split_once("://").map_or(text, |(_, rest)| rest).split('/').next().unwrap_or_default();
            let hint = (bare != text && !bare.is_empty()).then(|| format!("write `{bare}`"));
            Err(Fault::new(format!("`{text}` is not the host of a registry, such as registry.k8s.io"), hint))
        }
    }
}

/// A server by its name or address.
pub(super) fn server(text: &str) -> Result<String, Fault> {
    let named = text.split('.').all(is_label) && !text.is_empty() && text.len() <= 253;
    // `10.0.0` and `10.0.0.256` are names by their letters alone.
    let numeric = text.split('.').all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    match text.parse::<IpAddr>().is_ok_and(|ip| {
        (Cidr { address: ip, prefix: if ip.is_ipv4() { 32 } else { 128 } }).nobodys().is_none()
    }) || named && !numeric
    {
        true => Ok(text.to_owned()),
        false => Err(Fault::new(format!("`{text}` is not the name or address of a server"), None)),
    }
}
