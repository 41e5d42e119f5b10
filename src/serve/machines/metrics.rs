//! Counters for Prometheus, and their text form.
//!
//! Each label has few values, whatever clients send: a route comes from a table, a status code is one that we send.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::stamp::Stamp;
use super::status::{Serving, State};
use super::timeline::{STAGES, Stage, plain_path, route};
use crate::serve::notice::{Cut, Dhcp, Record, Tftp};

/// Prometheus' text format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counters, which only go up.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Answers by route and status.
    requests: BTreeMap<(&'static str, u16), u64>,
    /// Body bytes by route.
    bytes: BTreeMap<&'static str, u64>,
    /// Answers that were aborted.
    broken: u64,
    /// Clients that were turned away, by status; 0 for those that were just disconnected.
    cut: BTreeMap<u16, u64>,
    corrupt: u64,
    dhcp: BTreeMap<(&'static str, &'static str), u64>,
    tftp: BTreeMap<&'static str, u64>,
    tftp_bytes: u64,
    swaps: u64,
    refusals: u64,
}

/// Gauges, which go up and down.
pub(crate) struct Gauges<'g> {
    /// The site that is served.
    pub serving: &'g Serving,
    /// When the server started.
    pub started: Stamp,
    /// Long transfers in progress.
    pub transfers: usize,
    /// Machines by the stage of their last boot; `None` if they only fetched files.
    pub stages: BTreeMap<Option<Stage>, u64>,
    /// Machines by state.
    pub states: BTreeMap<State, u64>,
    /// Nodes for one machine alone that never came.
    pub missing: u64,
    /// Machines that no group matched.
    pub strangers: u64,
    /// Clients that watch live.
    pub watchers: usize,
    /// Group and profile files that are ignored.
    pub malformed: usize,
}

impl Counters {
    /// Counts an answer over HTTP.
    pub(crate) fn answered(&mut self, record: &Record) {
        let route = route(&plain_path(&record.path));
        *self.requests.entry((route, record.status)).or_default() += 1;
        *self.bytes.entry(route).or_default() += record.sent;
        self.broken += u64::from(record.sent < record.length);
    }

    /// Counts a client that was turned away.
    pub(crate) fn cut(&mut self, cut: &Cut) {
        *self.cut.entry(cut.status.unwrap_or_default()).or_default() += 1;
    }

    /// Counts a file that differs from the manifest.
    pub(crate) fn corrupt(&mut self) {
        self.corrupt += 1;
    }

    /// Counts an answer over DHCP.
    pub(crate) fn dhcp(&mut self, dhcp: &Dhcp) {
        *self.dhcp.entry((dhcp.answer, dhcp.firmware)).or_default() += 1;
    }

    /// Counts a TFTP transfer.
    pub(crate) fn tftp(&mut self, tftp: &Tftp) {
        let result = if tftp.failed.is_some() { "failed" } else { "done" };
        *self.tftp.entry(result).or_default() += 1;
        self.tftp_bytes += tftp.sent;
    }

    /// Counts a build that replaced another.
    pub(crate) fn swapped(&mut self) {
        self.swaps += 1;
    }

    /// Counts a build that could not be served.
    pub(crate) fn refused(&mut self) {
        self.refusals += 1;
    }

    /// All counters and gauges in Prometheus' text format.
    pub(crate) fn text(&self, now: &Gauges<'_>) -> String {
        let mut text = Text::default();
        let Serving { build, name, .. } = now.serving;
        let version = env!("CARGO_PKG_VERSION");
        text.family("build_info", "gauge", "Version of the server, and name and build of what it serves.");
        text.sample("build_info", &[("version", version), ("name", name), ("build", build)], 1);
        text.family("start_time_seconds", "gauge", "When the server started, in seconds since 1970.");
        text.sample("start_time_seconds", &[], now.started.second());
        text.family("http_requests_total", "counter", "Answers over HTTP by route and status.");
        for ((route, code), count) in &self.requests {
            text.sample("http_requests_total", &[("route", route), ("code", &code.to_string())], *count);
        }
        text.family("http_sent_bytes_total", "counter", "Body bytes sent over HTTP, by route.");
        for (route, bytes) in &self.bytes {
            text.sample("http_sent_bytes_total", &[("route", route)], *bytes);
        }
        text.family("http_broken_off_total", "counter", "Answers that were aborted.");
        text.sample("http_broken_off_total", &[], self.broken);
        text.family(
            "http_cut_total",
            "counter",
            "Clients that were turned away, by the status that they got.",
        );
        for (code, count) in &self.cut {
            let code = if *code == 0 { "none".to_owned() } else { code.to_string() };
            text.sample("http_cut_total", &[("code", &code)], *count);
        }
        text.family(
            "corrupt_files_total",
            "counter",
            "Files that differ from the manifest and were not sent.",
        );
        text.sample("corrupt_files_total", &[], self.corrupt);
        text.family("http_transfers", "gauge", "Long transfers in progress.");
        text.sample("http_transfers", &[], now.transfers as u64);
        text.family("watchers", "gauge", "Clients that watch the machines live.");
        text.sample("watchers", &[], now.watchers as u64);
        text.family("dhcp_answers_total", "counter", "Answers over DHCP by kind and firmware.");
        for ((answer, firmware), count) in &self.dhcp {
            text.sample("dhcp_answers_total", &[("answer", answer), ("firmware", firmware)], *count);
        }
        text.family("tftp_transfers_total", "counter", "Transfers over TFTP, by result.");
        for (result, count) in &self.tftp {
            text.sample("tftp_transfers_total", &[("result", result)], *count);
        }
        text.family("tftp_sent_bytes_total", "counter", "Bytes acknowledged over TFTP.");
        text.sample("tftp_sent_bytes_total", &[], self.tftp_bytes);
        text.family("machines", "gauge", "Machines by the stage of their last boot.");
        for stage in std::iter::once(None).chain(STAGES.iter().map(|row| Some(row.stage))) {
            let word = stage.map_or("none", Stage::word);
            let count = now.stages.get(&stage).copied().unwrap_or_default();
            text.sample("machines", &[("stage", word)], count);
        }
        text.family("machine_states", "gauge", "Machines by state.");
        for state in State::ALL {
            let count = now.states.get(&state).copied().unwrap_or_default();
            text.sample("machine_states", &[("state", state.word())], count);
        }
        text.family("machines_missing", "gauge", "Nodes for one machine alone that never came.");
        text.sample("machines_missing", &[], now.missing);
        text.family("machines_strangers", "gauge", "Machines that no group matched.");
        text.sample("machines_strangers", &[], now.strangers);
        text.family("groups", "gauge", "Groups that machines are matched against.");
        text.sample("groups", &[], now.serving.groups as u64);
        text.family("profiles", "gauge", "Profiles that machines can get.");
        text.sample("profiles", &[], now.serving.profiles.len() as u64);
        let help = "Files of a data directory that cannot be used, or that do something else than intended.";
        text.family("malformed_files", "gauge", help);
        text.sample("malformed_files", &[], now.malformed as u64);
        text.family("swaps_total", "counter", "How often the served tree or data directory was replaced.");
        text.sample("swaps_total", &[], self.swaps);
        text.family(
            "refused_swaps_total",
            "counter",
            "How often a new tree or data directory could not be served.",
        );
        text.sample("refused_swaps_total", &[], self.refusals);
        text.0
    }
}

/// Families and their samples as text; every name begins with `prebake_`.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP prebake_{name} {help}\n# TYPE prebake_{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "prebake_{name}{labels} {value}");
    }
}

/// Escapes a label's value.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
