//! One machine: its identity, and the progress of its boot.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stage::Stage;
use super::told::{Load, Told};
use super::trouble::STALL;
use crate::serve::machines::report::Report;
use crate::serve::machines::stamp::Stamp;

/// Files of one boot that are remembered. The oldest file that is not a kernel, initrd or config is dropped first.
const MAX_FETCHES: usize = 32;
/// The same for a machine that no group names.
const MAX_FETCHES_OF_STRANGER: usize = 8;
/// Boots within this time of each other that reach nothing are a boot loop.
pub(super) const LOOP: Duration = Duration::from_secs(600);
/// An installer that reports the same again within this time was booted instead of the disk. A server takes minutes to
/// get through its firmware, and another to start in memory.
const INSTALLER_LOOP: Duration = Duration::from_secs(3600);

/// A machine that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// MAC address, lower case with colons.
    pub mac: Option<String>,
    /// SMBIOS UUID, lower case.
    pub uuid: Option<String>,
    /// The address where it was last seen.
    pub address: Option<IpAddr>,
    /// The host name that it gave itself.
    pub hostname: Option<String>,
    /// The kind of its firmware, in words.
    pub firmware: Option<String>,
    /// iPXE's `buildarch`.
    pub arch: Option<String>,
    /// The group that last matched it.
    pub group: Option<String>,
    /// Whether that group is for this machine alone, so that its id can serve as the machine's name.
    pub is_named: bool,
    /// Whether no group matched it, and none of a later site does.
    #[serde(default)]
    pub is_stranger: bool,
    /// The profile that it last got.
    pub profile: Option<String>,
    /// When it was first seen.
    pub first_seen: Stamp,
    /// When it was last seen.
    pub last_seen: Stamp,
    /// How often it has begun to boot.
    pub boots: u32,
    /// The number of consecutive boots before the current one that reached nothing and came shortly after each other.
    pub fruitless: u32,
    /// The number of consecutive boots before the current one that were told to boot from disk and came shortly after
    /// each other.
    #[serde(default)]
    pub returned: u32,
    /// How often in a row it repeated the same report, shortly after the one before.
    #[serde(default)]
    pub repeated: u32,
    /// The last sign of life since it was given the turn to join its cluster; `None` without the turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Stamp>,
    /// The current or last boot.
    pub boot: Boot,
    /// Its last report, possibly from an earlier boot.
    pub report: Option<Report>,
    /// The timeline's revision at the last change, for watchers.
    #[serde(skip)]
    pub revision: u64,
    /// The begin of the boot and the stage that the log has told.
    #[serde(skip)]
    pub logged: Option<(Stamp, Stage)>,
    /// Whether it sent a `mac` that is no MAC address when it last asked for its script.
    #[serde(skip)]
    pub is_odd: bool,
    /// The sender of the last notice about it: its own address, or that of a client that claims to be it.
    #[serde(skip)]
    pub from: Option<IpAddr>,
}

/// One boot of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// When it began.
    pub began: Stamp,
    /// Stages that take no time, or happen several times.
    pub marks: BTreeMap<Stage, Mark>,
    /// The instructions of its script.
    pub told: Told,
    /// The files that it fetched.
    pub fetches: Vec<Fetch>,
    /// Whether it was last told to wait until others have loaded.
    #[serde(default)]
    pub waits: bool,
    /// Its labels when no group matched.
    pub unmatched: Option<String>,
    /// The last failure by TFTP, and its time.
    pub tftp_failure: Option<(Stamp, String)>,
    /// The boot file that DHCP named.
    pub boot_file: Option<String>,
}

/// The first time and the last time that something happened, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The first time.
    pub first: Stamp,
    /// The last time.
    pub last: Stamp,
    /// How often it happened.
    pub times: u32,
}

/// A file that a machine fetched or is fetching.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Path without a leading slash.
    pub path: String,
    /// Its role in the boot, if any.
    pub stage: Option<Stage>,
    /// HTTP status code.
    pub status: u16,
    /// Bytes sent in the last attempt.
    pub sent: u64,
    /// Bytes to send.
    pub length: u64,
    /// Bytes per second: a recent rate while it runs, the average once it is over.
    pub rate: u64,
    /// Number of attempts.
    pub times: u32,
    /// When the last attempt began.
    pub began: Stamp,
    /// When it last made progress.
    pub moved: Stamp,
    /// Whether the last attempt is over.
    pub is_over: bool,
}

/// The progress of a transfer in a notice.
pub(crate) struct Moved {
    /// HTTP status code.
    pub status: u16,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes to send.
    pub length: u64,
    /// Time since the request.
    pub took: Duration,
    /// Whether the transfer is over.
    pub is_over: bool,
}

/// The parts of a machine that the log tells.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Its [`Machine::id`].
    pub id: String,
    /// Its name, as the status has it.
    pub name: Option<String>,
    /// MAC address.
    pub mac: Option<String>,
    /// SMBIOS UUID.
    pub uuid: Option<String>,
    /// Whether a group is for it alone.
    pub is_named: bool,
    /// How often it has begun to boot.
    pub boots: u32,
}

/// A stage of a boot in the status documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// The stage that this is.
    pub stage: Stage,
    /// When it began.
    pub began: Stamp,
    /// When it was completed; `None` until then.
    pub ended: Option<Stamp>,
    /// How often it began.
    pub times: u32,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes to send, if known.
    pub of: Option<u64>,
    /// Bytes per second, while it runs.
    pub rate: Option<u64>,
    /// Seconds until it is complete, at that rate.
    pub eta: Option<u64>,
}

impl Machine {
    /// A machine of which nothing is known yet.
    pub(crate) fn new(now: Stamp) -> Machine {
        Machine {
            mac: None,
            uuid: None,
            address: None,
            hostname: None,
            firmware: None,
            arch: None,
            group: None,
            is_named: false,
            is_stranger: false,
            profile: None,
            first_seen: now,
            last_seen: now,
            boots: 1,
            fruitless: 0,
            returned: 0,
            repeated: 0,
            turn: None,
            boot: Boot { began: now, ..Boot::default() },
            report: None,
            revision: 0,
            logged: None,
            is_odd: false,
            from: None,
        }
    }

    /// Records the state of a transfer.
    pub(crate) fn fetched(&mut self, path: &str, stage: Option<Stage>, moved: &Moved, now: Stamp) {
        let most = if self.is_named { MAX_FETCHES } else { MAX_FETCHES_OF_STRANGER };
        self.boot.fetch(path, stage, moved, most, now);
    }

    /// The parts that the log tells, with the name that it has.
    pub(crate) fn origin(&self, name: Option<String>) -> Origin {
        let (id, mac, uuid) = (self.id(), self.mac.clone(), self.uuid.clone());
        Origin { id, name, mac, uuid, is_named: self.is_named, boots: self.boots }
    }

    /// Begins a boot.
    pub(crate) fn restart(&mut self, now: Stamp) {
        let fruitless = !self.boot.has_arrived() && now.since(self.boot.began) < LOOP;
        self.fruitless = if fruitless { self.fruitless.saturating_add(1) } else { 0 };
        let returned = self.boot.told.from_disk && now.since(self.boot.began) < LOOP;
        self.returned = if returned { self.returned.saturating_add(1) } else { 0 };
        self.boots = self.boots.saturating_add(1);
        // A member that joined is gone, and asks again.
        self.turn = None;
        self.boot = Boot { began: now, ..Boot::default() };
    }

    /// Records a report.
    pub(crate) fn hear(&mut self, report: Report) {
        let same = |last: &Report| {
            let at_once = report.at.since(last.at) < INSTALLER_LOOP;
            at_once && (&last.stage, &last.detail) == (&report.stage, &report.detail)
        };
        let repeats = report.stage == Stage::Installed.word() && self.report.as_ref().is_some_and(same);
        self.repeated = if repeats { self.repeated.saturating_add(1) } else { 0 };
        let is_through = report.stage == Stage::Joined.word() || report.is_failure();
        self.turn = self.turn.filter(|_| !is_through).map(|_| report.at);
        self.report = Some(report);
    }

    /// Merges what was seen of the machine before it identified itself.
    pub(crate) fn absorb(&mut self, other: Machine) {
        self.first_seen = self.first_seen.min(other.first_seen);
        self.firmware = self.firmware.take().or(other.firmware);
        let Boot { began, marks, fetches, tftp_failure, boot_file, .. } = other.boot;
        self.boot.began = self.boot.began.min(began);
        for (stage, mark) in marks {
            self.boot.marks.entry(stage).and_modify(|known| known.join(mark)).or_insert(mark);
        }
        for fetch in fetches {
            if !self.boot.fetches.iter().any(|known| known.path == fetch.path) {
                self.boot.fetches.push(fetch);
            }
        }
        self.boot.tftp_failure = self.boot.tftp_failure.take().or(tftp_failure);
        self.boot.boot_file = self.boot.boot_file.take().or(boot_file);
    }
}

impl Mark {
    fn join(&mut self, other: Mark) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.times = self.times.saturating_add(other.times);
    }
}

impl Fetch {
    /// Whether the last attempt sent the whole file.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_over && self.status < 400 && self.sent == self.length
    }

    /// Whether the last attempt was aborted.
    pub(crate) fn broke_off(&self) -> bool {
        self.is_over && self.status < 400 && self.sent < self.length
    }
}

impl Boot {
    /// The furthest stage that it reached.
    pub(crate) fn stage(&self) -> Option<Stage> {
        let fetched = self.fetches.iter().filter(|fetch| fetch.status < 400).filter_map(|fetch| fetch.stage);
        self.marks.keys().copied().chain(fetched).max()
    }

    /// Whether it reached a stage where a machine may stay.
    pub(crate) fn has_arrived(&self) -> bool {
        self.stage().is_some_and(|stage| stage.patience().is_none())
    }

    /// Whether everything to load was fetched, so that nothing more is expected.
    pub(crate) fn is_loaded(&self) -> bool {
        let mut here = self.told.loads.iter().filter(|load| self.is_here(load)).peekable();
        here.peek().is_some() && here.all(|load| self.is_there(load))
    }

    /// Whether a file to load was fetched completely.
    pub(crate) fn is_there(&self, load: &Load) -> bool {
        self.fetches.iter().any(|fetch| load.is(&fetch.path) && fetch.is_whole())
    }

    /// The files of a stage that it has to fetch from this server.
    pub(crate) fn loads(&self, stage: Stage) -> impl Iterator<Item = &Load> {
        self.told.of_stage(stage).filter(|load| self.is_here(load))
    }

    /// Whether a file comes from this server. A script may name a host; it is this server if any file of that host was
    /// requested here.
    fn is_here(&self, load: &Load) -> bool {
        let asked = |path: &Load| self.fetches.iter().any(|fetch| path.is(&fetch.path));
        let mut of_host = self.told.loads.iter().filter(|other| other.host == load.host);
        load.host.is_none() || of_host.any(asked)
    }

    /// When it last made progress.
    pub(crate) fn moved(&self) -> Stamp {
        let fetches = self.fetches.iter().map(|fetch| fetch.moved);
        let marks = self.marks.values().map(|mark| mark.last);
        fetches.chain(marks).max().unwrap_or(self.began)
    }

    /// Counts one more time of a stage.
    pub(crate) fn mark(&mut self, stage: Stage, now: Stamp) {
        let mark = Mark { first: now, last: now, times: 1 };
        self.marks.entry(stage).and_modify(|known| known.join(mark)).or_insert(mark);
    }

    /// Prolongs a stage without counting it again.
    pub(crate) fn touch(&mut self, stage: Stage, now: Stamp) {
        let mark = Mark { first: now, last: now, times: 1 };
        self.marks.entry(stage).or_insert(mark).last = now;
    }

    /// Records a transfer, running or over. At most `most` of them are remembered.
    fn fetch(&mut self, path: &str, stage: Option<Stage>, moved: &Moved, most: usize, now: Stamp) {
        let at = self.fetches.iter().position(|fetch| fetch.path == path);
        let known = at.map(|at| self.fetches.remove(at));
        let goes_on = known.as_ref().filter(|known| !known.is_over);
        let rate = |bytes: u64, span: Duration| (bytes as f64 / span.as_secs_f64().max(0.001)) as u64;
        let whole = rate(moved.sent, moved.took);
        let times = known.as_ref().map_or(0, |known| known.times);
        let fetch = Fetch {
            path: path.to_owned(),
            stage,
            status: moved.status,
            sent: moved.sent,
            length: moved.length,
            rate: match goes_on {
                // Half of the rate comes from the bytes since the last notice, so that it adapts without flickering.
                Some(known) if !moved.is_over => {
                    rate(moved.sent.saturating_sub(known.sent), now.since(known.moved)) / 2 + known.rate / 2
                }
                _ => whole,
            },
            times: if goes_on.is_some() { times } else { times.saturating_add(1) },
            began: goes_on.map_or_else(|| now.before(moved.took), |known| known.began),
            moved: match goes_on {
                // The end of a stalled transfer is the server's doing, not the machine's.
                Some(known)
                    if moved.is_over && moved.sent < moved.length && now.since(known.moved) > STALL =>
                {
                    known.moved
                }
                _ => now,
            },
            is_over: moved.is_over,
        };
        if self.fetches.len() >= most {
            let idle = self.fetches.iter().position(|fetch| fetch.stage.is_none()).unwrap_or(0);
            self.fetches.remove(idle);
        }
        self.fetches.push(fetch);
    }

    /// The stages so far, in order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let loads = [Stage::Kernel, Stage::Initrd, Stage::Ignition].into_iter().filter_map(|s| self.load(s));
        let marks = self.marks.iter().map(|(&stage, mark)| Step {
            stage,
            began: mark.first,
            ended: Some(mark.last),
            times: mark.times,
            sent: 0,
            of: None,
            rate: None,
            eta: None,
        });
        let mut steps: Vec<Step> = marks.chain(loads).collect();
        steps.sort_by_key(|step| step.stage);
        steps
    }

    /// A stage that loads files: all its files together.
    fn load(&self, stage: Stage) -> Option<Step> {
        let counts = |fetch: &&Fetch| fetch.stage == Some(stage) && fetch.status < 400;
        let fetches = || self.fetches.iter().filter(counts);
        let began = fetches().map(|fetch| fetch.began).min()?;
        let moved = fetches().map(|fetch| fetch.moved).max()?;
        let mut told = self.loads(stage).peekable();
        let (is_whole, of) = match told.peek() {
            Some(_) => {
                let told: Vec<&Load> = told.collect();
                let of = told.iter().map(|load| {
                    let fetched = fetches().find(|fetch| load.is(&fetch.path));
                    load.size.or(fetched.map(|fetch| fetch.length))
                });
                (told.iter().all(|load| self.is_there(load)), of.sum())
            }
            None => (fetches().all(Fetch::is_whole), Some(fetches().map(|fetch| fetch.length).sum())),
        };
        let sent = fetches().map(|fetch| fetch.sent).sum();
        let rate = fetches().filter(|fetch| !fetch.is_over).map(|fetch| fetch.rate).reduce(|a, b| a + b);
        let eta = rate.filter(|rate| *rate > 0).zip(of);
        Some(Step {
            stage,
            began,
            ended: is_whole.then_some(moved),
            times: fetches().map(|fetch| fetch.times).max().unwrap_or(1),
            sent,
            of,
            rate,
            eta: eta.map(|(rate, of): (u64, u64)| of.saturating_sub(sent).div_ceil(rate)),
        })
    }
}
