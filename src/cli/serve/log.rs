//! The log of `prebake serve`: one line per notice.

use std::time::{Duration, SystemTime};

use crate::base::count::counted;
use crate::cli::say::printable;
use crate::serve::notice::{Cut, Dhcp, DhcpSilent, Notice, Record, Tftp};
use crate::serve::site::Site;

/// Describes in one line what is served.
pub(crate) fn serving(site: &Site) -> String {
    let profiles = counted(site.profiles.len(), "profile");
    let groups = counted(site.groups.iter().count(), "group");
    match &site.live {
        None => {
            let (place, files) = (&site.place, site.manifest.files.len());
            format!("serving {place}: {}, {profiles}, {groups}", counted(files, "file"))
        }
        Some(live) => {
            let assets = live.assets.as_ref().map(|path| format!(", assets from {}", path.display()));
            let (root, assets) = (live.path().display(), assets.unwrap_or_default());
            format!("serving {root}: {profiles}, {groups}{assets}")
        }
    }
}

/// The log line for a notice, if it has one.
pub(crate) fn line(notice: &Notice<'_>) -> Option<String> {
    let now = crate::base::clock::date(SystemTime::now());
    let told = match notice {
        Notice::Progress(_) | Notice::Leaving(_) => return None,
        Notice::Answered(record) => request_line(record),
        Notice::Cut(cut) => cut_line(cut),
        Notice::Corrupt(path) => {
            format!(
                "CORRUPT: {} does not match the manifest and is not sent; build the tree again",
                path.display()
            )
        }
        Notice::Dhcp(dhcp) => dhcp_line(dhcp),
        Notice::DhcpSilent(DhcpSilent { mac, firmware, why }) => {
            format!("{mac} DHCP not answered {firmware}: {why}")
        }
        Notice::Tftp(tftp) => tftp_line(tftp),
        Notice::Swapped(site) => {
            let lack = site.lack.as_ref().map(|lack| format!("; warning: {lack}")).unwrap_or_default();
            format!("now {}{lack}", serving(site))
        }
        Notice::Flawed(flaw) => format!("warning: {flaw}"),
        Notice::Warning { peer, text } => format!("warning: {peer}: {text}"),
        Notice::Kept(error) => {
            let lines: Vec<String> = error.to_string().lines().map(|line| line.trim().to_owned()).collect();
            format!("still serving the old build: {}", lines.join("; "))
        }
        Notice::Certificate(Ok(())) => "new certificate loaded; new connections use it".into(),
        Notice::Certificate(Err(error)) => format!("still using the old certificate: {error}"),
    };
    Some(format!("{now} {}", printable(&told)))
}

fn cut_line(Cut { peer, status, why }: &Cut) -> String {
    let status = status.map(|status| format!(" {status}")).unwrap_or_default();
    format!("{} cut off{status}: {why}", peer.ip())
}

fn dhcp_line(Dhcp { mac, uuid, firmware, answer, address, file, lacks }: &Dhcp) -> String {
    let mut line = format!("{mac} DHCP {answer} {firmware}");
    let words =
        [("address", address.map(|ip| ip.to_string())), ("file", file.clone()), ("uuid", uuid.clone())];
    for (name, value) in words.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        line += &format!(" {name}={value}");
    }
    line + &lacks.as_ref().map(|why| format!(", nothing to boot: {why}")).unwrap_or_default()
}

fn tftp_line(Tftp { peer, file, sent, length, took, failed }: &Tftp) -> String {
    let broke = failed.as_ref().map(|why| format!(" of {length}B, aborted: {why}")).unwrap_or_default();
    format!("{} TFTP {file} {sent}B{broke} {}", peer.ip(), short(*took))
}

fn request_line(record: &Record) -> String {
    let Record { peer, method, path, status, sent, length, .. } = record;
    let took = short(record.took);
    let broke = if sent < length { format!(" of {length}B, aborted") } else { String::new() };
    let mut line = format!("{} {method} {path} {status} {sent}B{broke} {took}", peer.ip());
    let matched = [("group", &record.group), ("profile", &record.profile)];
    let matched = matched.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
    for word in [record.labels.to_string()].into_iter().filter(|labels| !labels.is_empty()).chain(matched) {
        line.push(' ');
        line.push_str(&word);
    }
    // Further lines are for the requester only.
    let why = record.why.as_ref().and_then(|why| why.lines().next());
    line + &why.map(|why| format!(": {why}")).unwrap_or_default()
}

fn short(took: Duration) -> String {
    match took.as_millis() {
        0..10 => format!("{:.1}ms", took.as_secs_f64() * 1e3),
        10..10_000 => format!("{}ms", took.as_millis()),
        _ => format!("{:.1}s", took.as_secs_f64()),
    }
}
