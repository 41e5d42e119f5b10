//! A line of the log: a notice in words, and the same as an object for programs. docs/formats/log.md describes it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::count::counted;
use crate::base::words::escaped;
use crate::serve::machines::report::Report;
use crate::serve::machines::stamp::Stamp;
use crate::serve::machines::timeline::{Origin, Stage};
use crate::serve::notice::{Call, Cut, Dhcp, DhcpSilent, Notice, Record, Tftp};
use crate::serve::site::Site;

/// The longest path and the longest message that are kept, in characters. Machines identify themselves in a few hundred.
const LONGEST: usize = 960;

/// How much a line matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// It is as it should be.
    #[default]
    Info,
    /// Somebody should know of it.
    Warn,
    /// Something does not work.
    Error,
}

/// The kind of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Event {
    /// An answer over HTTP left, or was aborted.
    Request,
    /// A client was turned away.
    Cut,
    /// A file differs from the manifest.
    Corrupt,
    /// An answer over DHCP.
    Dhcp,
    /// A request over DHCP without an answer.
    DhcpSilent,
    /// A transfer by TFTP.
    Tftp,
    /// A call over gRPC that writes, or that was refused.
    Rpc,
    /// Another site is served.
    Swap,
    /// A new site cannot be served.
    Kept,
    /// A file of a data directory has a flaw.
    Flaw,
    /// A warning about a machine.
    Warning,
    /// A certificate was replaced, or could not be.
    Certificate,
    /// A machine reached a stage.
    Stage,
    /// A machine reported.
    Report,
    /// Any other message of the server.
    #[default]
    Message,
}

/// A line of the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// When it happened.
    pub ts: Stamp,
    /// How much it matters.
    pub level: Level,
    /// Its kind.
    pub event: Event,
    /// The machine's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The machine's MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The machine's SMBIOS UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The common name of a client's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// HTTP method, or that of a call over gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Path or file name as requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// HTTP status code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes that were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes that should have been sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Seconds that it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The group that matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The profile that matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The machine's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The kind of the machine's firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// The kind of a DHCP answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The address that DHCP gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The stage that was reached or reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The tail of the journal that came with a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The line for people, without its time.
    pub msg: String,
}

/// A text as a line of a log: without characters that would make another line of it, and not too long.
fn short_of(text: &str) -> String {
    let escaped = escaped(text);
    match escaped.char_indices().nth(LONGEST) {
        None => escaped,
        Some((end, _)) => {
            let more = counted(escaped[end..].chars().count(), "more character");
            format!("{}… ({more})", &escaped[..end])
        }
    }
}

impl Line {
    /// The line for a notice, if it has one.
    pub(crate) fn of(notice: &Notice<'_>, now: Stamp) -> Option<Line> {
        let msg = short_of(&words(notice)?);
        let mut line = Line { ts: now, msg, ..Line::default() };
        (line.event, line.level) = match notice {
            Notice::Progress(_) | Notice::Leaving(_) => return None,
            Notice::Answered(record) => line.take_request(record),
            Notice::Cut(cut) => {
                (line.peer, line.status) = (Some(cut.peer.ip().to_string()), cut.status);
                (Event::Cut, Level::Warn)
            }
            Notice::Corrupt(path) => {
                line.path = Some(short_of(&path.display().to_string()));
                (Event::Corrupt, Level::Error)
            }
            Notice::Dhcp(dhcp) => line.take_dhcp(dhcp),
            Notice::DhcpSilent(DhcpSilent { mac, firmware, .. }) => {
                (line.mac, line.firmware) = (Some(mac.clone()), Some((*firmware).to_owned()));
                (Event::DhcpSilent, Level::Warn)
            }
            Notice::Tftp(tftp) => line.take_tftp(tftp),
            Notice::Called(call) => line.take_call(call),
            Notice::Swapped(site) => {
                (Event::Swap, if site.lack.is_some() { Level::Warn } else { Level::Info })
            }
            Notice::Flawed(flaw) => {
                line.path = Some(short_of(&flaw.path));
                (Event::Flaw, Level::Warn)
            }
            Notice::Warning { peer, .. } => {
                line.peer = Some(peer.to_string());
                (Event::Warning, Level::Warn)
            }
            Notice::Kept(_) => (Event::Kept, Level::Error),
            Notice::Certificate(Ok(())) => (Event::Certificate, Level::Info),
            Notice::Certificate(Err(_)) => (Event::Certificate, Level::Error),
        };
        Some(line)
    }

    /// The line for a machine's report.
    pub(crate) fn of_report(report: &Report) -> Line {
        let Report { stage, detail, log, .. } = report;
        let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        Line {
            ts: report.at,
            level: if report.is_failure() { Level::Error } else { Level::Info },
            event: Event::Report,
            mac: said(&report.mac),
            uuid: said(&report.uuid),
            stage: said(stage),
            log: said(log),
            msg: short_of(&format!("reports {stage}{detail}")),
            ..Line::default()
        }
    }

    /// The line for a stage that a machine reached, and whether its boot began with it.
    pub(crate) fn of_stage(origin: &Origin, (stage, begins): (Stage, bool), now: Stamp) -> Line {
        let boot =
            if begins && origin.boots > 1 { format!(" (boot {})", origin.boots) } else { String::new() };
        let (event, msg) = (Event::Stage, format!("stage {stage}{boot}"));
        let mut line = Line { ts: now, event, stage: Some(stage.word().into()), msg, ..Line::default() };
        line.belong_to(origin);
        line
    }

    /// Adds what is known of the line's machine.
    pub(crate) fn belong_to(&mut self, origin: &Origin) {
        self.machine.clone_from(&origin.name);
        self.mac = origin.mac.clone().or_else(|| self.mac.take());
        self.uuid = origin.uuid.clone().or_else(|| self.uuid.take());
    }

    /// A message of the server that is no notice. Words such as `warning: ` at its beginning become its level.
    pub(crate) fn message(text: &str, now: Stamp) -> Line {
        const LEVELS: [(&str, Level); 2] = [("warning: ", Level::Warn), ("error: ", Level::Error)];
        let begins = LEVELS.iter().find_map(|(word, level)| Some((text.strip_prefix(word)?, *level)));
        let (text, level) = begins.unwrap_or((text, Level::Info));
        Line { ts: now, level, msg: short_of(text), ..Line::default() }
    }

    /// As an object on one line.
    pub(crate) fn to_json(&self) -> String {
        // Texts and numbers always have a form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As one line of text, with its time to the second.
    pub(crate) fn to_text(&self) -> String {
        format!("{} {}", crate::base::clock::date(SystemTime::from(self.ts)), self.msg)
    }

    /// As lines of text for people, with the machine's name and the journal that came with it.
    pub(crate) fn for_people(&self) -> String {
        let machine = self.machine.as_deref().or(self.mac.as_deref());
        let machine = machine.map(|machine| format!("{} ", escaped(machine))).unwrap_or_default();
        let mut text = format!(
            "{} {machine}{}",
            crate::base::clock::date(SystemTime::from(self.ts)),
            escaped(&self.msg)
        );
        for line in self.log.iter().flat_map(|log| log.lines()) {
            text += &format!("\n    {}", escaped(line));
        }
        text
    }

    fn take_request(&mut self, record: &Record) -> (Event, Level) {
        let Record { peer, method, path, status, sent, length, took, .. } = record;
        let said = |key| Some(record.labels.get(key).to_owned()).filter(|value| !value.is_empty());
        (self.mac, self.uuid) = (said("mac"), said("uuid"));
        self.peer = Some(peer.ip().to_string());
        self.method = Some(method.to_string());
        self.path = Some(short_of(path));
        self.status = Some(*status);
        (self.bytes, self.length) = (Some(*sent), Some(*length));
        self.seconds = Some(took.as_secs_f64());
        (self.group, self.profile) = (record.group.clone(), record.profile.clone());
        let labels = record.labels.iter().filter(|(_, value)| !value.is_empty());
        self.labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let is_well = *status < 400 && sent >= length;
        (Event::Request, if is_well { Level::Info } else { Level::Warn })
    }

    fn take_dhcp(&mut self, dhcp: &Dhcp) -> (Event, Level) {
        let Dhcp { mac, uuid, firmware, answer, address, file, lacks } = dhcp;
        (self.mac, self.uuid) = (Some(mac.clone()), uuid.clone());
        (self.firmware, self.answer) = (Some((*firmware).to_owned()), Some((*answer).to_owned()));
        self.address = address.map(|address| address.to_string());
        self.path = file.as_deref().map(short_of);
        (Event::Dhcp, if lacks.is_some() { Level::Warn } else { Level::Info })
    }

    fn take_call(&mut self, call: &Call) -> (Event, Level) {
        let Call { peer, client, method, file, refused } = call;
        self.peer = Some(peer.ip().to_string());
        (self.client, self.method) = (Some(short_of(client)), Some(short_of(method)));
        self.path = file.as_deref().map(short_of);
        (Event::Rpc, if refused.is_some() { Level::Warn } else { Level::Info })
    }

    fn take_tftp(&mut self, tftp: &Tftp) -> (Event, Level) {
        let Tftp { peer, file, sent, length, took, failed } = tftp;
        self.peer = Some(peer.ip().to_string());
        self.path = Some(short_of(file));
        (self.bytes, self.length) = (Some(*sent), Some(*length));
        self.seconds = Some(took.as_secs_f64());
        (Event::Tftp, if failed.is_some() { Level::Warn } else { Level::Info })
    }
}

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

/// A notice in words, if it has a line.
fn words(notice: &Notice<'_>) -> Option<String> {
    Some(match notice {
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
        Notice::Called(call) => call_line(call),
        Notice::Swapped(site) => {
            let lack = site.lack.as_ref().map(|lack| format!("; warning: {lack}")).unwrap_or_default();
            format!("now {}{lack}", serving(site))
        }
        Notice::Flawed(flaw) => format!("warning: {flaw}"),
        Notice::Warning { peer, text } => format!("warning: {peer}: {text}"),
        Notice::Kept(error) => {
            let lines: Vec<String> = error.to_string().lines().map(|line| line.trim().to_owned()).collect();
            // A list stands behind its colon.
            format!("still serving the old build: {}", lines.join("; ").replacen(":; ", ": ", 1))
        }
        Notice::Certificate(Ok(())) => "new certificate loaded; new connections use it".into(),
        Notice::Certificate(Err(error)) => format!("still using the old certificate: {error}"),
    })
}

fn cut_line(Cut { peer, status, why }: &Cut) -> String {
    let status = status.map(|status| format!(" {status}")).unwrap_or_default();
    format!("{} cut off{status}: {why}", peer.ip())
}

fn call_line(Call { peer, client, method, file, refused }: &Call) -> String {
    let file = file.as_deref().map(|file| format!(" {file}")).unwrap_or_default();
    let refused = refused.as_deref().map(|why| format!(", refused: {why}")).unwrap_or_default();
    format!("{} gRPC {method}{file} by {client}{refused}", peer.ip())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_level_that_its_first_word_says() {
        let line = Line::message("warning: a disk\nis full", Stamp::default());
        assert_eq!(
            (line.level, line.event, line.msg.as_str()),
            (Level::Warn, Event::Message, "a disk\\nis full")
        );
        let json = r#"{"ts":"1970-01-01T00:00:00.000Z","level":"error","event":"message","msg":"x"}"#;
        assert_eq!(Line::message("error: x", Stamp::default()).to_json(), json);
        assert_eq!(Line::message("error: x", Stamp::default()).to_text(), "1970-01-01T00:00:00Z x");
        let long = Line::message(&"ü".repeat(LONGEST + 5), Stamp::default()).msg;
        assert!(long.ends_with("ü… (5 more characters)"), "{long}");
    }
}
