//! Reports of machines about themselves: `POST /report` with `mac`, `uuid`, `stage` and `detail`.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::stamp::Stamp;
use crate::base::finding::is_unseen;
use crate::serve::site::labels::Labels;
use crate::tree::secrets::masked_text;

/// Longest form without its log, in bytes.
pub(crate) const MAX_FORM: usize = 4096;
/// Longest body, in bytes: with a log of [`MAX_LOG`] bytes, each of them escaped.
pub(crate) const MAX_BODY: usize = MAX_FORM + 3 * MAX_LOG + "log=&".len();
/// The most of a journal that is kept, in bytes and lines, and of each line, in characters.
pub(crate) const MAX_LOG: usize = 4096;
const MAX_LINES: usize = 100;
const MAX_LINE: usize = 400;
/// The label with the end of the journal of a machine that failed.
pub(crate) const LOG: &str = "log";
/// The longest part of a machine's value that is kept, in bytes.
const MAX_VALUE: usize = 200;
/// The stage of a machine that gave up.
const FAILED: &str = "failed";

/// The last report of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// MAC address, normalized; empty if the report has none.
    pub mac: String,
    /// SMBIOS UUID, lower case.
    pub uuid: String,
    /// How far the machine is: `installing`, `installed`, `booted`, `images`, `kubeadm`, `joined`, `failed`.
    pub stage: String,
    /// Further details, for people.
    pub detail: String,
    /// When the report arrived, RFC 3339 in UTC.
    pub at: Stamp,
    /// The tail of the journal of a machine that failed, as lines; empty from others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log: String,
}

impl Report {
    /// Reads the form in a report's body. A report without a stage, or without a MAC address or UUID to identify the
    /// machine, is refused.
    pub fn read(labels: &Labels, now: SystemTime) -> Result<Report, &'static str> {
        let value = |key| plain(labels.get(key));
        let report = Report {
            mac: value("mac"),
            uuid: value("uuid").to_lowercase(),
            stage: value("stage"),
            detail: value("detail"),
            at: now.into(),
            log: String::new(),
        };
        let log = if report.is_failure() { journal(labels.get(LOG)) } else { String::new() };
        let report = Report { log, ..report };
        match &report {
            Report { stage, .. } if stage.is_empty() => Err("a report needs a `stage`"),
            Report { mac, uuid, .. } if mac.is_empty() && uuid.is_empty() => {
                Err("a report needs a `mac` or a `uuid`")
            }
            _ => Ok(report),
        }
    }

    /// The report without its log.
    pub(crate) fn without_log(&self) -> Report {
        let Report { mac, uuid, stage, detail, at, log: _ } = self;
        let (mac, uuid, stage, detail) = (mac.clone(), uuid.clone(), stage.clone(), detail.clone());
        Report { mac, uuid, stage, detail, at: *at, log: String::new() }
    }

    /// Whether the machine gave up.
    pub(crate) fn is_failure(&self) -> bool {
        self.stage == FAILED
    }
}

/// Whether a body is longer than a report may be; only a log makes it longer than [`MAX_FORM`].
pub(crate) fn is_too_long(body: &str) -> bool {
    let is_log = |pair: &&str| pair.strip_prefix(LOG).is_some_and(|rest| rest.starts_with('='));
    let log = body.split('&').find(is_log).map_or(0, |pair| pair.len() + 1);
    body.len() > MAX_FORM + log
}

/// The part of a machine's text that is kept: one line of limited length.
pub(crate) fn plain(text: &str) -> String {
    let mut kept = String::new();
    for letter in text.chars().filter(|c| !c.is_control()) {
        if kept.len() + letter.len_utf8() > MAX_VALUE {
            break;
        }
        kept.push(letter);
    }
    kept
}

/// The part of a journal that is kept: its last lines, without control characters and sequences of terminals, and without
/// the secrets that `build` would refuse, too.
fn journal(text: &str) -> String {
    let mut is_in_key = false;
    let is_shown = |line: &&str| {
        let begins = line.contains("-----BEGIN ");
        let is_key = is_in_key || begins && line.contains("PRIVATE KEY");
        is_in_key = is_key && !line.contains("-----END ");
        begins || !is_key
    };
    let shown: Vec<&str> = text.lines().filter(is_shown).collect();
    let last = &shown[shown.len().saturating_sub(MAX_LINES)..];
    let line = |line: &&str| {
        let line = without_sequences(line);
        let shown = masked_text(&line).unwrap_or(line);
        match shown.char_indices().nth(MAX_LINE) {
            None => shown,
            Some((end, _)) => format!("{}…", &shown[..end]),
        }
    };
    let lines: Vec<String> = last.iter().map(line).collect();
    let mut left = MAX_LOG;
    let fits = |line: &&String| {
        let size = line.len() + 1;
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    };
    let last: Vec<&String> = lines.iter().rev().take_while(fits).collect();
    last.into_iter().rev().map(String::as_str).collect::<Vec<_>>().join("\n")
}

/// A line without control characters, characters that are not seen, and the sequences that colour a terminal (ECMA-48,
/// 5.4).
fn without_sequences(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' if letters.next_if_eq(&'[').is_some() => {
                while letters.next_if(|letter| matches!(letter, ' '..='?')).is_some() {}
                letters.next();
            }
            '\t' => plain.push(' '),
            _ if is_unseen(letter) => {}
            _ => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_normalised_and_one_that_names_no_machine_or_stage_is_refused() {
        let read = |body: &str| Report::read(&Labels::parse(body), SystemTime::UNIX_EPOCH);
        let report = read("mac=52-54-00-00-00-01&uuid=AB&stage=joined%0a&detail=ok%1b[31m").unwrap();
        let Report { mac, uuid, stage, detail, .. } = &report;
        assert_eq!(
            [mac, uuid, stage, detail].map(String::as_str),
            ["52:54:00:00:00:01", "ab", "joined", "ok[31m"]
        );
        assert!(read("stage=booted").is_err());
        assert!(read("mac=52-54-00-00-00-01").is_err());
        assert_eq!(read(&format!("uuid=1&stage={}", "x".repeat(999))).unwrap().stage.len(), MAX_VALUE);
    }

    #[test]
    fn the_end_of_a_journal_is_kept_without_control_characters_and_secrets() {
        let read = |stage: &str, log: &str| {
            let log = percent_encoding::utf8_percent_encode(log, percent_encoding::NON_ALPHANUMERIC);
            let body = format!("uuid=1&stage={stage}&log={log}");
            assert!(body.len() <= MAX_BODY || log.to_string().len() > 3 * MAX_LOG);
            Report::read(&Labels::parse(&body), SystemTime::UNIX_EPOCH).unwrap().log
        };
        assert_eq!(read("booted", "all is well"), "", "only one that failed has something to explain");
        assert_eq!(read("failed", "a\r\n\x1b[0;1;31mred\x1b[0m\tb\x07\u{202e}\nlast\n"), "a\nred b\nlast");
        let long: String = (0..1000).map(|number| format!("line {number:50}\n")).collect();
        let kept = read("failed", &long);
        assert!(kept.len() <= MAX_LOG && kept.len() > MAX_LOG - 70 && kept.ends_with(" 999"), "{kept}");
        assert_eq!(read("failed", &"x\n".repeat(2000)).lines().count(), MAX_LINES);
        let kept = read("failed", &"x".repeat(5000));
        assert_eq!(kept.chars().count(), MAX_LINE + 1);
        let secret = "kubeadm join --token abcdef.0123456789abcdef 10.0.0.1:6443\nnext";
        let kept = read("failed", secret);
        assert!(!kept.contains("0123456789abcdef") && kept.ends_with("next"), "{kept}");
        let key =
            "x: -----BEGIN RSA PRIVATE KEY-----\nx: MIIEpAIBAAKCAQEA\nx: -----END RSA PRIVATE KEY-----\nend";
        let kept = read("failed", key);
        assert!(!kept.contains("MIIEpA") && kept.ends_with("end"), "{kept}");
    }
}
