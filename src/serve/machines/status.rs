//! What `/status` says: the documents that the page, `prebake status` and other programs read. docs/formats/status.md
//! describes them; what is added there keeps [`SCHEMA`], what changes raises it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::report::Report;
use super::stamp::Stamp;
use super::timeline::{Fetch, Machine, Stage, Step, Trouble, troubles};
use crate::serve::site::Site;

/// Version of the documents.
pub const SCHEMA: u32 = 1;

/// The whole picture, or what changed of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Of prebake.
    pub version: String,
    /// When this was said.
    pub now: Stamp,
    /// When the server started.
    pub started: Stamp,
    /// What it serves.
    pub serving: Serving,
    /// What leaves it.
    pub traffic: Traffic,
    /// What a person should know of what is served.
    pub problems: Vec<String>,
    /// All machines; of a change, those that changed.
    pub machines: Vec<MachineStatus>,
    /// Of a change: `id`s that are no longer there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
}

/// What is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// The recipe's name, or that of a Matchbox data directory.
    pub name: String,
    /// The BUILD-ID, or what the directory of a tree is called; empty for a data directory.
    pub build: String,
    /// Flatcar releases, such as `stable 4593.2.5 amd64-usr`.
    pub releases: Vec<String>,
    /// Ids of profiles.
    pub profiles: Vec<String>,
    /// How many groups there are.
    pub groups: usize,
}

/// What leaves the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Long transfers that run.
    pub transfers: usize,
    /// Bytes since the start; what people watch is not among them.
    pub sent: u64,
    /// Bytes of each of the last seconds, the last that is over at the end: five minutes, of a change a few.
    pub per_second: Vec<u64>,
    /// Seconds since 1970 of the last of these.
    pub until: u64,
}

/// How a machine fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It said that it gave up.
    Failed,
    /// Something is likely wrong.
    Stuck,
    /// It gets on.
    Working,
    /// It is where it shall be, or where nothing more is heard of it.
    Done,
}

impl State {
    /// As documents and counters write it.
    pub fn word(self) -> &'static str {
        match self {
            State::Failed => "failed",
            State::Stuck => "stuck",
            State::Working => "working",
            State::Done => "done",
        }
    }

    /// All of them.
    pub const ALL: [State; 4] = [State::Failed, State::Stuck, State::Working, State::Done];
}

/// A machine as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// MAC address, else UUID, else address: unique.
    pub id: String,
    /// What it is called, if anything.
    pub name: Option<String>,
    /// MAC address.
    pub mac: Option<String>,
    /// SMBIOS UUID.
    pub uuid: Option<String>,
    /// Where it was last seen.
    pub address: Option<String>,
    /// What its firmware is, in words.
    pub firmware: Option<String>,
    /// iPXE's `buildarch`.
    pub arch: Option<String>,
    /// The group that matched it.
    pub group: Option<String>,
    /// The profile that it was given.
    pub profile: Option<String>,
    /// How far it is; none if it was only seen to fetch files.
    pub stage: Option<Stage>,
    /// How it fares.
    pub state: State,
    /// Whether it waits for its turn to load.
    pub waits: bool,
    /// Since when it is at that stage.
    pub since: Stamp,
    /// When it was last seen.
    pub last_seen: Stamp,
    /// How often it began to boot.
    pub boots: u32,
    /// The stages of the boot that runs, or the last.
    pub steps: Vec<Step>,
    /// What it fetched in it.
    pub files: Vec<Fetch>,
    /// What is likely wrong.
    pub troubles: Vec<Trouble>,
    /// What it last reported.
    pub report: Option<Report>,
}

impl MachineStatus {
    /// How a machine looks now.
    pub fn of(machine: &Machine, now: Stamp) -> MachineStatus {
        let troubles = troubles(machine, now);
        let steps = machine.boot.steps();
        let last = steps.last();
        MachineStatus {
            id: machine.id(),
            name: machine.name().map(str::to_owned),
            mac: machine.mac.clone(),
            uuid: machine.uuid.clone(),
            address: machine.address.map(|address| address.to_string()),
            firmware: machine.firmware.clone(),
            arch: machine.arch.clone(),
            group: machine.group.clone(),
            profile: machine.profile.clone(),
            stage: last.map(|step| step.stage),
            waits: machine.boot.waits,
            state: state(machine, !troubles.is_empty()),
            since: last.map_or(machine.last_seen, |step| step.began),
            last_seen: machine.last_seen,
            boots: machine.boots,
            files: machine.boot.fetches.clone(),
            troubles,
            report: machine.report.clone(),
            steps,
        }
    }

    /// Whether it came to a stage in its last boot, or beyond. Who is installed boots again at once, and stays installed.
    pub fn has_reached(&self, stage: Stage) -> bool {
        let said = self.report.as_ref().map(|report| report.stage.as_str());
        let is_installed = stage == Stage::Installed && said == Some(stage.word());
        is_installed
            || self.steps.iter().any(|step| step.stage > stage || step.stage == stage && step.ended.is_some())
    }
}

fn state(machine: &Machine, has_troubles: bool) -> State {
    let boot = &machine.boot;
    let report = machine.report.as_ref().filter(|report| report.at >= boot.began);
    let silent = boot.is_loaded() && !boot.told.reports && boot.stage() <= Some(Stage::Ignition);
    match report.is_some_and(Report::is_failure) {
        true => State::Failed,
        false if has_troubles => State::Stuck,
        false if boot.has_arrived() || silent || boot.stage().is_none() => State::Done,
        false => State::Working,
    }
}

impl Serving {
    /// What a site is, in short.
    pub fn of(site: &Site) -> Serving {
        let release = |release: &crate::tree::manifest::Release| {
            format!("{} {} {}", release.channel, release.version, release.arch.board())
        };
        let directory = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (name, build) = match &site.live {
            None => (site.manifest.name.clone(), site.place.build()),
            Some(live) => (directory(live.path()), String::new()),
        };
        Serving {
            name,
            build,
            releases: site.manifest.releases.iter().map(release).collect(),
            profiles: site.profiles.keys().cloned().collect(),
            groups: site.groups.iter().count(),
        }
    }
}
