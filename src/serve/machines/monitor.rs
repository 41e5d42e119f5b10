//! The monitor: collects all servers' notices about machines, and informs live watchers.
//!
//! Owns the timeline, the counters, the state file's path and the watchers' streams. Leaves the meaning of a boot to
//! the timeline, and its display to the documents and the page.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::formation::Formation;
use super::logbook::{Logbook, Part};
use super::metrics::{Counters, Gauges};
use super::picture::{Event, Picture, Pictures};
use super::report::Report;
use super::roll::{Call, Roll};
use super::stamp::Stamp;
use super::state;
use super::status::{MachineStatus, SCHEMA, Serving, Status, Traffic, standing};
use super::throughput::{SECONDS, Throughput};
use super::timeline::{Asked, Machine, Origin, Timeline, Trouble, Waits, Whose, plain_path, troubles};
use super::watchers::{Events, Watchers};
use crate::base::{clock, disk};
use crate::serve::line::Line;
use crate::serve::notice::{Notice, Record};
use crate::serve::site::Site;
use crate::serve::site::labels::Labels;
use crate::tree::notes::Weight;
use crate::tree::records::normal_mac;

/// How often watchers get changes.
const TICK: Duration = Duration::from_millis(500);
/// Stuck machines send nothing, so look for them every this many ticks, and write the state file as often.
const LOOK: u32 = 4;
/// Without news, watchers get an event every this many ticks, so that dead connections are noticed.
const SILENCE: u32 = 20;
/// Seconds of throughput in a change: the last one, and some that a client may have missed.
const RECENT: usize = 5;

/// Missing nodes for each tick that passes before they are sent again in a change, so that a hall of 10,000 nodes that is
/// switched on does not send them all with each one that comes.
const MISSING_A_TICK: usize = 500;
/// The same for parts of a cluster, whose rows are longer: one with a thousand nodes is sent every two seconds.
const PARTS_A_TICK: usize = 250;

/// The most problems to show. If there are more, solving these reveals the others.
const MAX_PROBLEMS: usize = 50;
/// Keys of problems that do not concern a single file.
const BUILD: &str = "build";
const CERTIFICATE: &str = "certificate";
const SECRETS: &str = "secrets";
/// Shown when the clock is at a time that cannot be written.
const CLOCK: &str =
    "this machine's clock shows a year before 1970 or after 9999: set it (`date -u`, `timedatectl set-time`)";

/// Everything seen since the start, and before that according to the state file.
pub struct Monitor {
    started: Stamp,
    state_file: Option<PathBuf>,
    seen: Mutex<Seen>,
    pictures: Pictures,
    watchers: Watchers,
    /// Held while the document on what is served is made.
    making: Arc<tokio::sync::Mutex<()>>,
    logbook: Logbook,
}

#[derive(Default)]
struct Seen {
    site: Option<Arc<Site>>,
    /// The document on that site, and when it was made.
    served: Option<(Instant, Bytes)>,
    serving: Serving,
    timeline: Timeline,
    counters: Counters,
    throughput: Throughput,
    /// Running long transfers, with the bytes counted for each.
    transfers: HashMap<(SocketAddr, String), u64>,
    /// Problems with the site that people should know of, in sentences, by subject.
    problems: BTreeMap<String, String>,
    /// Group and profile files that are ignored.
    malformed: usize,
    /// The timeline's revisions that the watchers and the state file have.
    told: u64,
    saved: u64,
    /// Machines that were stuck at the last look, with the number of their troubles.
    stuck: BTreeMap<String, usize>,
    /// The nodes of the site.
    roll: Arc<Roll>,
    /// The roll when it was last called, and the timeline's [`Timeline::arrivals`] then.
    call: Arc<Call>,
    called: u64,
    /// The call that the watchers have, and the ticks that must pass before they get another one.
    told_call: Arc<Call>,
    rest: usize,
    /// The cluster that the machines form, how often it was told, and how often watchers were.
    cluster: Option<Arc<Formation>>,
    formed: u64,
    told_formed: u64,
    cluster_rest: usize,
}

impl Monitor {
    /// A monitor that starts empty, or with the content of its state file.
    pub fn open(state_file: Option<PathBuf>) -> Result<Monitor, state::Error> {
        let machines = state_file.as_deref().map(state::read).transpose()?.unwrap_or_default();
        let seen = Seen { timeline: Timeline::remember(machines), ..Seen::default() };
        Ok(Monitor {
            started: SystemTime::now().into(),
            state_file,
            seen: Mutex::new(seen),
            pictures: Pictures::default(),
            watchers: Watchers::default(),
            making: Arc::default(),
            logbook: Logbook::default(),
        })
    }

    /// Records the site that is served at the start. Later, notices do so.
    pub(crate) fn serves(&self, site: &Arc<Site>) {
        let roll = Roll::of(site);
        self.seen().serves(site, roll);
    }

    /// Records a notice from a server. Returns its line for the log, if it has one.
    pub(crate) fn see(&self, notice: &Notice<'_>) -> Option<Line> {
        let now = Stamp::from(SystemTime::now());
        // The roll of a large site takes its time, and every request needs the lock.
        let roll = if let Notice::Swapped(site) = notice { Some(Roll::of(site)) } else { None };
        // Answers for people who watch are neither counted as traffic nor kept.
        let is_watched = match notice {
            Notice::Answered(record) | Notice::Progress(record) | Notice::Leaving(record) => {
                Asked::of(&plain_path(&record.path)) == Asked::Watch
            }
            _ => false,
        };
        let mut seen = self.seen();
        match notice {
            Notice::Progress(record) if !is_watched => seen.count(record, false, now),
            Notice::Progress(_) => {}
            Notice::Answered(record) => {
                if !is_watched {
                    seen.count(record, true, now);
                }
                seen.counters.answered(record);
            }
            Notice::Dhcp(dhcp) => seen.counters.dhcp(dhcp),
            Notice::Tftp(tftp) => {
                seen.counters.tftp(tftp);
                seen.throughput.add(tftp.sent, now);
            }
            Notice::Swapped(site) => {
                seen.serves(site, roll.unwrap_or_default());
                seen.counters.swapped();
            }
            Notice::Kept(error) => {
                let why = format!("an older build is served: {error}");
                seen.problems.insert(BUILD.into(), why);
                seen.counters.refused();
            }
            Notice::Flawed(flaw) => {
                // Each request may fail for a different reason, and the flaws may be known already.
                let about = format!("{}: ", flaw.path);
                if !seen.problems.keys().any(|known| known.starts_with(&about)) {
                    seen.problems.insert(flaw.path.clone(), flaw.to_string());
                }
            }
            // The process that serves gRPC has no monitor.
            Notice::DhcpSilent(_) | Notice::Leaving(_) | Notice::Called(_) => {}
            Notice::Cut(cut) => seen.counters.cut(cut),
            Notice::Warning { .. } => {}
            Notice::Corrupt(path) => {
                let path = path.display().to_string();
                let why = format!("{path} does not match the manifest and is not sent; build the tree again");
                seen.problems.insert(path, why);
                seen.counters.corrupt();
            }
            Notice::Certificate(Ok(())) => {
                seen.problems.remove(CERTIFICATE);
            }
            Notice::Certificate(Err(error)) => {
                let why = format!("the new certificate cannot be used, so the old one stays: {error}");
                seen.problems.insert(CERTIFICATE.into(), why);
            }
        }
        if let Some(site) = seen.site.clone() {
            seen.timeline.see(&site, notice, now);
        }
        let origin = if is_watched { None } else { seen.about(notice) };
        let news = origin.as_ref().and_then(|origin| seen.news_of(origin, now));
        drop(seen);
        let mut line = Line::of(notice, now);
        if let (Some(line), Some(origin)) = (&mut line, &origin) {
            line.belong_to(origin);
        }
        for line in line.iter().filter(|_| !is_watched).chain(&news) {
            // Without a row, what it says of itself, or its address.
            let said = || line.mac.as_deref().or(line.peer.as_deref());
            let id = origin.as_ref().map(|origin| origin.id.as_str()).or_else(said);
            self.logbook.keep(line, id, origin.as_ref().is_some_and(|origin| origin.is_named));
        }
        line
    }

    /// Records how far the cluster is that the machines form, as the process that forms it sees it.
    pub fn forms(&self, formation: Formation) {
        let mut seen = self.seen();
        if seen.cluster.as_deref() != Some(&formation) {
            seen.cluster = Some(Arc::new(formation));
            seen.formed += 1;
        }
    }

    /// The log's lines after a number: of the machine that a person names, or all. Also its id if it was seen, and whether
    /// it is a node that never came.
    pub(crate) fn logs(&self, wanted: Option<&str>, after: u64) -> (Option<String>, bool, Part) {
        let Some(wanted) = wanted else { return (None, false, self.logbook.read(None, after)) };
        let (machine, call) = {
            let mut seen = self.seen();
            // Another machine may call itself like a node.
            let machine = match seen.roll.find(wanted) {
                Some(node) => {
                    let about = |id: &str| seen.timeline.named(id).filter(|one| seen.roll.is(one, node));
                    let ids = [&node.mac, &node.uuid, &node.group];
                    ids.into_iter().flatten().find_map(|id| about(id))
                }
                None => seen.timeline.named(wanted),
            };
            (machine.cloned(), seen.call())
        };
        // Lines from before it identified itself have its address.
        let mut ids = vec![normal_mac(wanted).unwrap_or_else(|| wanted.to_owned())];
        let address = machine.as_ref().and_then(|machine| machine.address).map(|address| address.to_string());
        let uuid = machine.as_ref().and_then(|machine| machine.uuid.clone());
        ids.extend(machine.as_ref().map(|machine| machine.id()).into_iter().chain(uuid).chain(address));
        let missing = call.missing().any(|node| node.is_called(wanted));
        (machine.map(|machine| machine.id()), missing, self.logbook.read(Some(&ids), after))
    }

    /// Records a machine's report from a sender's address. Returns what is likely wrong if the machine keeps repeating
    /// itself, see [`Timeline::report`].
    pub(crate) fn report(&self, report: Report, sender: IpAddr, now: SystemTime) -> Option<Trouble> {
        let mut seen = self.seen();
        let site = seen.site.clone()?;
        let mut line = Line::of_report(&report);
        let (mac, uuid) = (report.mac.clone(), report.uuid.clone());
        let trouble = seen.timeline.report(&site, report, Some(sender), now.into());
        let origin = seen.timeline.about(&mac, &uuid, None).map(|machine| seen.origin(machine));
        let news = origin.as_ref().and_then(|origin| seen.news_of(origin, now.into()));
        drop(seen);
        origin.iter().for_each(|origin| line.belong_to(origin));
        let id = origin.as_ref().map_or_else(|| sender.to_string(), |origin| origin.id.clone());
        let is_named = origin.is_some_and(|origin| origin.is_named);
        [Some(line), news].iter().flatten().for_each(|line| self.logbook.keep(line, Some(&id), is_named));
        trouble
    }

    /// Gives a controller the turn to join its cluster; see [`Timeline::take_turn`].
    ///
    /// # Errors
    /// Another one has the turn.
    pub(crate) fn take_turn(&self, mac: &str, sender: IpAddr, now: SystemTime) -> Result<(), Waits> {
        let mut seen = self.seen();
        let Some(site) = seen.site.clone() else { return Ok(()) };
        let waits = seen.timeline.take_turn(&site, mac, sender, now.into());
        waits.map_err(|waits| {
            let name = seen.timeline.about(&waits.of, "", None).and_then(|other| seen.roll.name_for(other));
            Waits { of: name.unwrap_or(waits.of), ..waits }
        })
    }

    /// The last report of the machine with this MAC address or UUID.
    pub(crate) fn last_report(&self, labels: &Labels) -> Option<Report> {
        self.seen().timeline.machine_of(labels)?.report.clone()
    }

    /// The status of the machine with this MAC address or UUID, if it was seen.
    pub(crate) fn machine(&self, labels: &Labels, now: SystemTime) -> Option<MachineStatus> {
        let (machine, call) = {
            let mut seen = self.seen();
            (seen.timeline.machine_of(labels).cloned()?, seen.call())
        };
        Some(MachineStatus::of(&machine, &call, now.into()))
    }

    /// The machine that a system's request belongs to; see [`Timeline::whose`].
    pub(crate) fn whose(
        &self,
        labels: &Labels,
        peer: IpAddr,
        is_named: impl Fn(&Machine) -> bool,
        now: SystemTime,
    ) -> Whose {
        self.seen().timeline.whose(labels, peer, is_named, now.into())
    }

    /// All machines' last reports, without their logs, which `/status` has.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let seen = self.seen();
        let reports = seen.timeline.machines().filter_map(|machine| machine.report.as_ref());
        reports.map(Report::without_log).collect()
    }

    /// The whole status as a document that all clients share.
    pub(crate) fn picture(&self, now: SystemTime) -> Arc<Picture> {
        let revision = self.seen().revision();
        self.pictures.newest(revision, || {
            let moment = self.moment(None, SECONDS, now.into());
            (moment.picture, moment.status())
        })
    }

    /// The document on what a site serves, if it was made, and not longer ago than `fresh`.
    pub(crate) fn served(&self, site: &Site, fresh: Option<Duration>) -> Option<Bytes> {
        let seen = self.seen();
        let (made, document) = seen.served.as_ref().filter(|_| seen.is_of(site))?;
        fresh.is_none_or(|fresh| made.elapsed() < fresh).then(|| document.clone())
    }

    /// Makes the document on what a site serves, unless there is one that is not older than `fresh`. `make` reads files, so
    /// it has a thread of its own, and only one at a time: other askers wait without a thread, and the one that has
    /// gone meanwhile leaves no second maker behind.
    pub(crate) async fn make_served(
        self: &Arc<Self>,
        site: &Arc<Site>,
        fresh: Option<Duration>,
        make: impl FnOnce(&Site) -> Bytes + Send + 'static,
    ) {
        if self.served(site, fresh).is_some() {
            return;
        }
        let making = self.making.clone().lock_owned().await;
        if self.served(site, fresh).is_some() {
            return;
        }
        let (monitor, site) = (self.clone(), site.clone());
        let made = tokio::task::spawn_blocking(move || {
            let document = make(&site);
            let mut seen = monitor.seen();
            if seen.is_of(&site) {
                seen.served = Some((Instant::now(), document));
            }
            drop(making);
        });
        // If it panicked, there is no document, which the answer says.
        let _ = made.await;
    }

    /// Counters and gauges for Prometheus.
    pub(crate) fn metrics(&self, now: SystemTime) -> String {
        let (machines, call) = {
            let mut seen = self.seen();
            (seen.timeline.machines().cloned().collect::<Vec<Arc<Machine>>>(), seen.call())
        };
        let (mut stages, mut states, mut strangers) = (BTreeMap::new(), BTreeMap::new(), 0);
        for machine in machines {
            let (stage, state) = standing(&machine, now.into());
            *stages.entry(stage).or_default() += 1;
            match state.is_strangers(machine.is_stranger) {
                true => strangers += 1,
                false => *states.entry(state).or_default() += 1,
            }
        }
        let seen = self.seen();
        seen.counters.text(&Gauges {
            missing: call.missing().len() as u64,
            strangers,
            serving: &seen.serving,
            started: self.started,
            transfers: seen.transfers.len(),
            stages,
            states,
            watchers: self.watchers.count(),
            malformed: seen.malformed,
        })
    }

    /// Events for a new client: first the whole status, then changes. `None` if there are too many watchers, or if the
    /// server stops.
    pub(crate) fn watch(&self, client: IpAddr, now: SystemTime) -> Option<Events> {
        // Some of the whole status may be sent again as a change, which does no harm.
        self.watchers.enter(client, self.picture(now).event().bytes.clone())
    }

    /// Ends the watchers' streams; otherwise a stopping server would wait for them. That a cluster is complete, or given up, is
    /// said just before the server stops, and is their last news.
    pub(crate) fn close(&self) {
        let is_due = {
            let mut seen = self.seen();
            seen.cluster_rest = 0;
            seen.formed > seen.told_formed
        };
        if is_due {
            self.tell(LOOK, SystemTime::now().into());
        }
        self.watchers.close();
    }

    /// Sends changes to watchers and writes the state file, until it is dropped. `failed` gets the error if the file
    /// cannot be written.
    pub(crate) async fn run(&self, failed: impl Fn(disk::Error)) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = 0u32;
        let mut is_kept = true;
        loop {
            ticks.tick().await;
            count = count.wrapping_add(1);
            self.tell(count, SystemTime::now().into());
            if count.is_multiple_of(LOOK) {
                let saved = self.save();
                let was_kept = std::mem::replace(&mut is_kept, saved.is_ok());
                // A full disk stays full for long; report it only once.
                if let Err(error) = saved
                    && was_kept
                {
                    failed(error);
                }
            }
        }
    }

    /// Writes the state file, if there is one and something has changed.
    pub(crate) fn save(&self) -> Result<(), disk::Error> {
        let Some(path) = &self.state_file else { return Ok(()) };
        let (machines, revision) = {
            let seen = self.seen();
            if seen.timeline.revision() == seen.saved {
                return Ok(());
            }
            // A machine without a MAC address or UUID could not be recognized again.
            let known =
                seen.timeline.machines().filter(|machine| machine.mac.is_some() || machine.uuid.is_some());
            (known.cloned().collect::<Vec<Arc<Machine>>>(), seen.timeline.revision())
        };
        state::write(path, &machines)?;
        self.seen().saved = revision;
        Ok(())
    }

    fn tell(&self, count: u32, now: Stamp) {
        let audience = self.watchers.present();
        if audience.is_empty() {
            let mut seen = self.seen();
            seen.timeline.take_gone();
            seen.told = seen.timeline.revision();
            // The next watcher begins with the whole status.
            seen.told_call = seen.call();
            seen.told_formed = seen.formed;
            return;
        }
        let look = count.is_multiple_of(LOOK);
        if look {
            self.look_for_stuck(now);
        }
        let after = {
            let mut seen = self.seen();
            seen.rest = seen.rest.saturating_sub(1);
            seen.cluster_rest = seen.cluster_rest.saturating_sub(1);
            let has_news = seen.timeline.revision() > seen.told
                || !seen.transfers.is_empty()
                || seen.cluster_rest == 0 && seen.formed > seen.told_formed;
            if !(has_news || look || count.is_multiple_of(SILENCE)) || self.pictures.is_full() {
                return;
            }
            seen.told
        };
        let moment = self.moment(Some(after), RECENT, now);
        self.seen().told = moment.revision;
        let Event { bytes, .. } = self.pictures.event("change", &moment.status());
        audience.tell(&bytes);
    }

    /// The changes after a revision, or everything. Holds the lock, so it does little.
    fn moment(&self, after: Option<u64>, seconds: usize, now: Stamp) -> Moment {
        let mut seen = self.seen();
        let (per_second, until) = seen.throughput.last(seconds, now);
        let gone = if after.is_none() { Vec::new() } else { seen.timeline.take_gone() };
        let call = seen.call();
        let tells_missing = after.is_none() || seen.is_due(&call);
        let cluster = if after.is_none() { seen.cluster.clone() } else { seen.cluster_news() };
        let machines = seen.timeline.machines();
        let machines = machines.filter(|machine| after.is_none_or(|after| machine.revision > after));
        // The problem would go unnoticed, since everything else works.
        let clock = (!clock::has_form(SystemTime::now())).then(|| CLOCK.to_owned());
        let problems = clock.into_iter().chain(seen.problems.values().cloned());
        Moment {
            revision: seen.timeline.revision(),
            picture: seen.revision(),
            machines: machines.cloned().collect(),
            call,
            tells_missing,
            cluster,
            frame: Status {
                schema: SCHEMA,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                now,
                started: self.started,
                serving: seen.serving.clone(),
                traffic: Traffic {
                    transfers: seen.transfers.len(),
                    sent: seen.throughput.total(),
                    per_second,
                    until,
                },
                problems: problems.take(MAX_PROBLEMS).collect(),
                machines: Vec::new(),
                gone,
                missing: None,
                cluster: None,
            },
        }
    }

    /// Marks machines as changed if their troubles came or went without an event.
    fn look_for_stuck(&self, now: Stamp) {
        let machines: Vec<Arc<Machine>> = self.seen().timeline.machines().cloned().collect();
        let stuck = machines.iter().map(|machine| (machine.id(), troubles(machine, now).len()));
        let stuck: BTreeMap<String, usize> = stuck.filter(|(_, count)| *count > 0).collect();
        let mut seen = self.seen();
        let old = std::mem::replace(&mut seen.stuck, stuck);
        let changed = old.keys().chain(seen.stuck.keys()).filter(|id| old.get(*id) != seen.stuck.get(*id));
        let changed: Vec<String> = changed.cloned().collect();
        changed.iter().for_each(|id| seen.timeline.touch(id));
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Whether it is of this very site.
    fn is_of(&self, site: &Site) -> bool {
        self.site.as_deref().is_some_and(|known| std::ptr::eq(known, site))
    }

    fn serves(&mut self, site: &Arc<Site>, roll: Roll) {
        self.serving = Serving::of(site);
        self.served = None;
        self.site = Some(site.clone());
        self.roll = Arc::new(roll);
        self.timeline.recognize(site);
        // Problems with files belong to the old site; a problem with the certificate does not.
        self.problems.retain(|about, _| about == CERTIFICATE);
        let flaws = || site.live.iter().flat_map(|live| live.flaws.iter());
        let faults = flaws().filter(|flaw| flaw.weight == Weight::Fault);
        self.malformed = faults.map(|flaw| &flaw.path).collect::<BTreeSet<_>>().len();
        if let Some(lack) = &site.lack {
            self.problems.insert(SECRETS.into(), lack.clone());
        }
        for flaw in flaws() {
            // One file may have several flaws.
            self.problems.insert(flaw.to_string(), flaw.to_string());
        }
    }

    /// The machine that a notice is about.
    fn about(&self, notice: &Notice<'_>) -> Option<Origin> {
        let at = |address: IpAddr| self.timeline.about("", "", Some(address));
        let machine = match notice {
            Notice::Answered(record) | Notice::Progress(record) | Notice::Leaving(record) => {
                self.timeline.asking(&record.labels, record.peer.ip())
            }
            Notice::Dhcp(dhcp) => {
                self.timeline.about(&dhcp.mac, dhcp.uuid.as_deref().unwrap_or_default(), None)
            }
            Notice::DhcpSilent(dhcp) => self.timeline.about(&dhcp.mac, "", None),
            Notice::Tftp(tftp) => at(tftp.peer.ip()),
            Notice::Cut(cut) => at(cut.peer.ip()),
            Notice::Warning { peer, .. } => at(*peer),
            _ => None,
        };
        machine.map(|machine| self.origin(machine))
    }

    /// The parts of a machine that the log tells; one that has asked for no script yet has the name of its node.
    fn origin(&self, machine: &Machine) -> Origin {
        machine.origin(self.roll.name_for(machine))
    }

    /// The line for the stage that a machine has reached since the last one.
    fn news_of(&mut self, origin: &Origin, now: Stamp) -> Option<Line> {
        Some(Line::of_stage(origin, self.timeline.news_of(&origin.id)?, now))
    }

    /// The roll as it is now. Called again only if somebody may have come or gone.
    fn call(&mut self) -> Arc<Call> {
        let arrivals = self.timeline.arrivals();
        if self.called != arrivals {
            self.called = arrivals;
            self.call = Arc::new(self.roll.call(&self.timeline));
        }
        self.call.clone()
    }

    /// Whether watchers get the missing nodes now, since they have changed and the last list was long enough ago.
    fn is_due(&mut self, call: &Arc<Call>) -> bool {
        let is_due = self.rest == 0 && !call.misses_the_same(&self.told_call);
        if is_due {
            self.told_call = call.clone();
            self.rest = call.missing().len() / MISSING_A_TICK;
        }
        is_due
    }

    /// A number that grows with each change of a machine or of the cluster.
    fn revision(&self) -> u64 {
        self.timeline.revision() + self.formed
    }

    /// The cluster for watchers, if it has changed and the last time was long enough ago.
    fn cluster_news(&mut self) -> Option<Arc<Formation>> {
        let cluster =
            self.cluster.clone().filter(|_| self.cluster_rest == 0 && self.formed > self.told_formed)?;
        self.told_formed = self.formed;
        self.cluster_rest = cluster.size() / PARTS_A_TICK;
        Some(cluster)
    }

    /// Counts the bytes of an answer as they leave.
    fn count(&mut self, record: &Record, is_over: bool, now: Stamp) {
        let key = (record.peer, record.path.clone());
        let counted = match is_over {
            true => self.transfers.remove(&key),
            false => self.transfers.insert(key, record.sent),
        };
        self.throughput.add(record.sent.saturating_sub(counted.unwrap_or_default()), now);
    }
}

/// All data of a document at one moment. The document is made from it without the lock, which every request needs.
struct Moment {
    /// Of the timeline alone, and with the cluster.
    revision: u64,
    picture: u64,
    machines: Vec<Arc<Machine>>,
    call: Arc<Call>,
    tells_missing: bool,
    cluster: Option<Arc<Formation>>,
    /// Everything but the machines, nodes and the cluster.
    frame: Status,
}

impl Moment {
    fn status(&self) -> Status {
        let of = |machine: &Arc<Machine>| MachineStatus::of(machine, &self.call, self.frame.now);
        let missing = self.tells_missing.then(|| self.call.missing().cloned().collect());
        let machines = self.machines.iter().map(of).collect();
        Status { machines, missing, cluster: self.cluster.as_deref().cloned(), ..self.frame.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::machines::formation::{self, Part};
    use crate::serve::notice::Dhcp;
    use crate::serve::site::select::Groups;
    use crate::tree::manifest::Manifest;
    use crate::tree::open::Place;
    use crate::tree::records::Group;

    /// A site of so many nodes, each selected by its card.
    fn site(nodes: usize) -> Arc<Site> {
        let manifest = Manifest::new("x", BTreeMap::new());
        let group = |number: usize| {
            let selector = BTreeMap::from([("mac".to_owned(), mac(number))]);
            let id = format!("n{number:05}");
            Arc::new(Group { id, profile: "worker".into(), selector, ..Group::default() })
        };
        let groups = Arc::new(Groups::new((0..nodes).map(group).collect()));
        Arc::new(Site::new(Place::Directory("/tree".into()), manifest, groups, Arc::default()))
    }

    fn mac(number: usize) -> String {
        format!("52:54:00:00:{:02x}:{:02x}", number / 256, number % 256)
    }

    /// Issue 17: two askers for `/served` stopped a server of two cores, as it read files where requests are answered.
    #[tokio::test]
    async fn what_is_served_is_found_out_once_for_all_askers_and_beside_everything_else() {
        let monitor = Arc::new(Monitor::open(None).unwrap());
        let site = site(1);
        monitor.serves(&site);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let slow = move |_: &Site| match released.recv_timeout(Duration::from_secs(60)) {
            Ok(()) => Bytes::from_static(b"slow"),
            Err(_) => Bytes::from_static(b"nothing else could run"),
        };
        let first = monitor.make_served(&site, None, slow);
        let second = monitor.make_served(&site, None, |_| Bytes::from_static(b"made again"));
        // The runtime of a test has this thread alone.
        let others = async {
            tokio::task::yield_now().await;
            assert_eq!(monitor.served(&site, None), None);
            release.send(()).unwrap();
        };
        tokio::join!(first, second, others);
        assert_eq!(monitor.served(&site, None).as_deref(), Some(&b"slow"[..]));
        // A client that leaves ends neither the maker nor the others' wait.
        let stale = Some(Duration::ZERO);
        let left = monitor.make_served(&site, stale, |_| Bytes::from_static(b"left"));
        let _ = tokio::time::timeout(Duration::ZERO, left).await;
        monitor.make_served(&site, stale, |_| Bytes::from_static(b"fresh")).await;
        assert_eq!(monitor.served(&site, None).as_deref(), Some(&b"fresh"[..]));
    }

    /// Issue 17: a hall of 10,000 nodes that is switched on would have sent all missing ones with each one that came.
    #[tokio::test]
    async fn missing_nodes_are_sent_when_they_change_and_the_more_rarely_the_more_they_are() {
        let monitor = Monitor::open(None).unwrap();
        monitor.serves(&site(2000));
        let now = Stamp::from(SystemTime::now());
        let mut events = monitor.watch([192, 0, 2, 1].into(), now.into()).unwrap();
        let mut missing = async || {
            let event = events.next().await.unwrap();
            let text = String::from_utf8(event.to_vec()).unwrap();
            let document: Status = serde_json::from_str(text.split("\ndata: ").nth(1).unwrap()).unwrap();
            document.missing.map(|missing| missing.len())
        };
        assert_eq!(missing().await, Some(2000));
        let mut told = Vec::new();
        for number in 0..10 {
            monitor.see(&Notice::Dhcp(&Dhcp {
                mac: mac(number),
                uuid: None,
                firmware: "BIOS",
                answer: "ack",
                address: None,
                file: None,
                lacks: None,
            }));
            monitor.tell(1, now);
            told.push(missing().await);
        }
        assert_eq!(told[0], Some(1999));
        let lists: Vec<usize> = told.iter().flatten().copied().collect();
        assert!(lists.len() <= 4, "{told:?}");
        // Once nobody comes any more, the last list is the whole truth; and nothing is sent again.
        for _ in 0..5 {
            monitor.tell(LOOK, now);
            told.push(missing().await);
        }
        assert_eq!(told.iter().flatten().last(), Some(&1990), "{told:?}");
        assert_eq!(told.last(), Some(&None));
    }

    /// A page that was open while a cluster was given up went on to say that its nodes are awaited.
    #[tokio::test]
    async fn how_a_cluster_ended_is_the_last_that_watchers_hear_of_a_server_that_stops() {
        let monitor = Monitor::open(None).unwrap();
        let now = Stamp::from(SystemTime::now());
        let text = include_str!("../../../tests/data/cluster-formation.json");
        let formation: Formation = serde_json::from_str(text).unwrap();
        let mut events = monitor.watch([192, 0, 2, 1].into(), now.into()).unwrap();
        events.next().await.unwrap();
        monitor.forms(formation.clone());
        monitor.tell(LOOK, now);
        events.next().await.unwrap();
        // A large cluster is told more rarely, and its end all the same.
        monitor.seen().cluster_rest = 9;
        let failed = Formation { phase: formation::Phase::Failed, ..formation };
        monitor.forms(failed.clone());
        monitor.close();
        let event = String::from_utf8(events.next().await.unwrap().to_vec()).unwrap();
        let status: Status = serde_json::from_str(event.split("\ndata: ").nth(1).unwrap()).unwrap();
        assert_eq!(status.cluster, Some(failed));
        assert_eq!(events.next().await, None);
    }

    /// Issue 18: a cluster of many nodes changes with each pod; its watchers get all of it, and not twice a second.
    #[tokio::test]
    async fn a_cluster_is_sent_when_it_changes_and_the_more_rarely_the_larger_it_is() {
        let monitor = Monitor::open(None).unwrap();
        let now = Stamp::from(SystemTime::now());
        let text = include_str!("../../../tests/data/cluster-formation.json");
        let mut formation: Formation = serde_json::from_str(text).unwrap();
        let picture =
            || -> Status { serde_json::from_slice(&monitor.picture(now.into()).event().document()).unwrap() };
        assert_eq!(picture().cluster, None, "a server of machines that form none");
        let mut events = monitor.watch([192, 0, 2, 1].into(), now.into()).unwrap();
        let mut cluster = async || {
            let event = events.next().await.unwrap();
            let text = String::from_utf8(event.to_vec()).unwrap();
            serde_json::from_str::<Status>(text.split("\ndata: ").nth(1).unwrap()).unwrap().cluster
        };
        assert_eq!(cluster().await, None);
        monitor.forms(formation.clone());
        assert_eq!(picture().cluster.as_ref(), Some(&formation), "at once, though no machine changed");
        monitor.tell(1, now);
        assert_eq!(cluster().await.as_ref(), Some(&formation));
        // The same again is no news.
        monitor.forms(formation.clone());
        monitor.tell(LOOK, now);
        assert_eq!(cluster().await, None);

        let part = |number: usize| Part { name: format!("n{number}"), ..Part::default() };
        let mut told = 0;
        for number in 0..20 {
            formation.nodes = formation::Group::of((0..1000 + number).map(part));
            monitor.forms(formation.clone());
            monitor.tell(LOOK, now);
            told += usize::from(cluster().await.is_some());
        }
        assert!((3..=5).contains(&told), "{told}");
        for _ in 0..5 {
            monitor.tell(LOOK, now);
            if let Some(last) = cluster().await {
                assert_eq!(last.nodes.total, 1019, "the last one is the whole truth");
                told += 100;
            }
        }
        assert_eq!(told / 100, 1);
    }
}
