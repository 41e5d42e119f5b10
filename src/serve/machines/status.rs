//! The documents of `/status`, which the page, `prebake status` and other programs read. docs/formats/status.md
//! describes them. Additions keep [`SCHEMA`]; changes raise it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::formation::Formation;
use super::report::Report;
use super::roll::{Call, Missing};
use super::stamp::Stamp;
use super::timeline::{Fetch, Machine, Stage, Step, Trouble, UNMATCHED, troubles};
use crate::serve::site::Site;

/// Version of the documents.
pub(crate) const SCHEMA: u32 = 1;

/// The whole status, or a change of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The document's version, [`SCHEMA`].
    pub schema: u32,
    /// Version of prebake.
    pub version: String,
    /// When the document was made.
    pub now: Stamp,
    /// When the server started.
    pub started: Stamp,
    /// The site that it serves.
    pub serving: Serving,
    /// The server's traffic.
    pub traffic: Traffic,
    /// Problems with the site that people should know of.
    pub problems: Vec<String>,
    /// All machines; in a change, those that changed.
    pub machines: Vec<MachineStatus>,
    /// In a change: the `id`s that no longer exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
    /// Nodes for one machine alone that never came, sorted by name; in a change, `None` if they are still the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<Missing>>,
    /// The cluster that the machines form, if they form one; in a change, `None` if it is still the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Formation>,
}

/// A summary of the site that is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Serving {
    /// The recipe's name, or that of a Matchbox data directory.
    pub name: String,
    /// The BUILD-ID, or the name of a tree's directory; empty for a data directory.
    pub build: String,
    /// Flatcar releases, such as `stable 4593.2.5 amd64-usr`.
    pub releases: Vec<String>,
    /// Ids of profiles.
    pub profiles: Vec<String>,
    /// How many groups there are.
    pub groups: usize,
    /// Whether any profile brings a sysext that reports, so that machines are heard of after they have loaded.
    #[serde(default)]
    pub reports: bool,
}

/// Bytes that the server sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// Long transfers in progress.
    pub transfers: usize,
    /// Bytes since the start, without answers for people.
    pub sent: u64,
    /// Bytes in each of the last seconds, ending with the last complete one: five minutes, or a few seconds in a
    /// change.
    pub per_second: Vec<u64>,
    /// The last of these seconds, counted since 1970.
    pub until: u64,
}

/// How well a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It reported that it gave up.
    Failed,
    /// Something is likely wrong.
    Stuck,
    /// It makes progress.
    Working,
    /// It was sent all that its script names, and nothing more will be heard of it: its boot brings no sysext that
    /// reports.
    Loaded,
    /// It is complete, or has come as far as can be seen from here.
    Done,
}

impl State {
    /// The word for it in documents and counters.
    pub(crate) fn word(self) -> &'static str {
        match self {
            State::Failed => "failed",
            State::Stuck => "stuck",
            State::Working => "working",
            State::Loaded => "loaded",
            State::Done => "done",
        }
    }

    /// Whether every count has a machine in this state among the strangers, if no group matched it. Strangers count for no
    /// state, since all of them are stuck; one that reported a failure counts as failed, and as nothing else.
    pub(crate) fn is_strangers(self, is_stranger: bool) -> bool {
        is_stranger && self != State::Failed
    }

    /// All states, the worst first.
    pub(crate) const ALL: [State; 5] =
        [State::Failed, State::Stuck, State::Working, State::Loaded, State::Done];
}

/// A machine in the status documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MachineStatus {
    /// MAC address, else UUID, else address: unique.
    pub id: String,
    /// The name of its node, else the host name that it gave itself, unless that is a node's.
    pub name: Option<String>,
    /// The host name that it gave itself.
    #[serde(default)]
    pub hostname: Option<String>,
    /// MAC address.
    pub mac: Option<String>,
    /// SMBIOS UUID.
    pub uuid: Option<String>,
    /// The address where it was last seen.
    pub address: Option<String>,
    /// The kind of its firmware, in words.
    pub firmware: Option<String>,
    /// iPXE's `buildarch`.
    pub arch: Option<String>,
    /// The group that matched it.
    pub group: Option<String>,
    /// The profile that it was given.
    pub profile: Option<String>,
    /// How far it is; `None` if it was only seen to fetch files.
    pub stage: Option<Stage>,
    /// How well it is doing.
    pub state: State,
    /// Whether it waits for its turn to load.
    pub waits: bool,
    /// Whether it has the turn to join its cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joins: bool,
    /// The time at which it reached that stage.
    pub since: Stamp,
    /// When it was last seen.
    pub last_seen: Stamp,
    /// How often it has begun to boot.
    pub boots: u32,
    /// The stages of the current or last boot.
    pub steps: Vec<Step>,
    /// The files that it fetched in that boot.
    pub files: Vec<Fetch>,
    /// The things that are likely wrong.
    pub troubles: Vec<Trouble>,
    /// Its last report.
    pub report: Option<Report>,
    /// Whether it is a node: a group is for it alone, or the tree lists it.
    #[serde(default)]
    pub node: bool,
    /// Whether no group matched it.
    #[serde(default)]
    pub stranger: bool,
    /// The line below `nodes:` that makes it a node, if it is none; `None` for a data directory.
    #[serde(default)]
    pub entry: Option<String>,
}

impl MachineStatus {
    /// A machine's status at a given time, with the roll at that time.
    pub(crate) fn of(machine: &Machine, call: &Call, now: Stamp) -> MachineStatus {
        let mut troubles = troubles(machine, now);
        for trouble in troubles.iter_mut().filter(|trouble| trouble.kind == UNMATCHED) {
            trouble.hint = call.advice(machine).unwrap_or(std::mem::take(&mut trouble.hint));
        }
        let steps = machine.boot.steps();
        let last = steps.last();
        MachineStatus {
            id: machine.id(),
            name: call.name_of(machine),
            hostname: machine.hostname.clone(),
            mac: machine.mac.clone(),
            uuid: machine.uuid.clone(),
            address: machine.address.map(|address| address.to_string()),
            firmware: machine.firmware.clone(),
            arch: machine.arch.clone(),
            group: machine.group.clone(),
            profile: machine.profile.clone(),
            stage: last.map(|step| step.stage),
            waits: machine.boot.waits,
            joins: machine.turn.is_some(),
            state: state(machine, !troubles.is_empty()),
            since: last.map_or(machine.last_seen, |step| step.began),
            last_seen: machine.last_seen,
            boots: machine.boots,
            files: machine.boot.fetches.clone(),
            troubles,
            report: machine.report.clone(),
            node: call.is_node(machine),
            stranger: machine.is_stranger,
            entry: call.entry(machine),
            steps,
        }
    }

    /// See [`State::is_strangers`].
    pub(crate) fn counts_as_stranger(&self) -> bool {
        self.state.is_strangers(self.stranger)
    }

    /// Whether it reached a stage, or a later one, in its last boot. An installed machine reboots at once, and still
    /// counts as installed.
    pub(crate) fn has_reached(&self, stage: Stage) -> bool {
        let said = self.report.as_ref().map(|report| report.stage.as_str());
        let is_installed = stage == Stage::Installed && said == Some(stage.word());
        is_installed
            || self.steps.iter().any(|step| step.stage > stage || step.stage == stage && step.ended.is_some())
    }
}

/// A machine's stage and state alone, for counters: a document of it has lines that take their time.
pub(crate) fn standing(machine: &Machine, now: Stamp) -> (Option<Stage>, State) {
    let stage = machine.boot.steps().last().map(|step| step.stage);
    (stage, state(machine, !troubles(machine, now).is_empty()))
}

fn state(machine: &Machine, has_troubles: bool) -> State {
    let boot = &machine.boot;
    let report = machine.report.as_ref().filter(|report| report.at >= boot.began);
    // A stage of one's own shows that the system runs.
    let is_heard = report.is_some_and(|report| report.stage.parse::<Stage>().is_err());
    let silent = boot.is_loaded() && !boot.told.reports && boot.stage() <= Some(Stage::Ignition);
    match report.is_some_and(Report::is_failure) {
        true => State::Failed,
        false if has_troubles => State::Stuck,
        false if is_heard => State::Done,
        false if silent => State::Loaded,
        false if boot.has_arrived() || boot.stage().is_none() => State::Done,
        false => State::Working,
    }
}

impl Serving {
    /// The summary of a site.
    pub(crate) fn of(site: &Site) -> Serving {
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
            reports: !site.reporting.is_empty(),
        }
    }
}
