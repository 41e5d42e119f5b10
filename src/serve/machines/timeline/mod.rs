//! The timeline: every machine that was seen, and how far it is.
//!
//! ```text
//! Notice ─see─▶ Timeline ─▶ Machine (identity) ─▶ Boot (marks, fetches, instructions) ─▶ Stage, Step, Trouble
//! ```
//! Pure: its input is notices and the time. A machine is identified by its MAC address. A request without one is
//! attributed by UUID or by address, and has a row of its own until the machine identifies itself. Machines behind one
//! address (NAT) can be told apart by requests with labels only, which are those for scripts and configs, not those for
//! files.

mod asked;
mod machine;
mod room;
mod stage;
mod told;
mod trouble;
mod turn;
mod whose;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;

use super::report::{Report, plain};
use super::stamp::Stamp;
use crate::machine::firmware::NO_UUIDS;
use crate::serve::machines::installed::holds_generation;
use crate::serve::notice::{Dhcp, Notice, Record, Tftp};
use crate::serve::site::Site;
use crate::serve::site::labels::Labels;
use crate::tree::names::{ASSETS, below};
use crate::tree::records::{Group, normal_mac};
use machine::Moved;
use room::Count;

pub(crate) use asked::{Asked, plain_path, route};
pub(crate) use machine::{Boot, Fetch, Machine, Origin, Step};
pub(crate) use stage::{STAGES, Stage};
pub(crate) use told::{Load, Told};
pub(crate) use trouble::{Trouble, UNMATCHED, installer_loop, troubles, wrong_architecture};
pub(crate) use turn::Waits;
pub(crate) use whose::{Whose, cards};

/// The most bytes of all machines' journals: those of a thousand machines. Twice as much is kept for a while.
const MAX_LOGGED: usize = 4 << 20;
/// The most ids of removed rows that are kept until they are fetched; if nobody fetches them, nobody watches.
const MAX_GONE: usize = 10_000;
/// Firmware names in DHCP notices that mean a boot; an installed system asks for its address only.
const BOOTS: [&str; 3] = ["BIOS", "UEFI", "iPXE"];
/// How far in the future a time may be: threads report in any order, and clocks are adjusted.
const AHEAD: Duration = Duration::from_secs(10);
/// How long a row that is known by address or UUID only can be attributed to a machine that identifies itself with
/// them.
const SAME: Duration = Duration::from_secs(600);

/// The keys that identify a machine, the most reliable first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Mac(String),
    Uuid(String),
    Address(IpAddr),
}

/// A machine's identity and address, as far as a request reveals them.
#[derive(Default)]
struct Who {
    mac: Option<String>,
    uuid: Option<String>,
    address: Option<IpAddr>,
    /// The sender, if its address is not the machine's.
    sender: Option<IpAddr>,
    /// Whether it sent a `mac` that is no MAC address: another machine than the one that is known at its address.
    is_odd: bool,
    /// Whether its group is for this machine alone; `None` if the request selected no group.
    is_named: Option<bool>,
}

/// All machines that were seen.
#[derive(Debug, Default)]
pub struct Timeline {
    machines: BTreeMap<Key, Arc<Machine>>,
    count: Count,
    /// Addresses of machines that have identified themselves.
    by_address: HashMap<IpAddr, Key>,
    by_uuid: HashMap<String, Key>,
    /// The number of changes so far.
    revision: u64,
    /// The number of changes so far that may decide which nodes have come.
    arrivals: u64,
    gone: Vec<String>,
    /// The machine that was last given the turn to join its cluster.
    joins: Option<Key>,
    /// Bytes of the journals that machines sent since these were last counted, and then.
    logged: usize,
    /// The latest time of any notice; it is in the future if a clock was ahead.
    latest: Stamp,
}

impl Timeline {
    /// A timeline with the machines from before a restart. Of several machines with the same key, the last one counts.
    pub fn remember(machines: Vec<Machine>) -> Timeline {
        let mut timeline = Timeline::default();
        for mut machine in machines {
            if !timeline.count.has_room(machine.is_named) {
                continue;
            }
            let Machine { mac, uuid, address, .. } = &machine;
            let Some(key) = key_of(mac.as_deref(), uuid.as_deref(), *address) else { continue };
            if !matches!(key, Key::Address(_)) {
                timeline.by_address.extend(address.map(|address| (address, key.clone())));
                timeline.by_uuid.extend(uuid.clone().map(|uuid| (uuid, key.clone())));
            }
            // A transfer does not survive the server that sent it.
            machine.boot.fetches.iter_mut().for_each(|fetch| fetch.is_over = true);
            timeline.latest = timeline.latest.max(machine.last_seen);
            timeline.count.add(&machine);
            if machine.turn.is_some() {
                timeline.joins = Some(key.clone());
            }
            if let Some(same) = timeline.machines.insert(key, Arc::new(machine)) {
                timeline.count.remove(&same);
            }
        }
        timeline
    }

    /// Records a notice.
    pub(crate) fn see(&mut self, site: &Site, notice: &Notice<'_>, now: Stamp) {
        self.take_back(now);
        match notice {
            Notice::Dhcp(dhcp) => self.see_dhcp(site, dhcp, now),
            Notice::Tftp(tftp) => self.see_tftp(site, tftp, now),
            Notice::Leaving(record) => self.see_leaving(site, record, now),
            Notice::Progress(record) => self.see_http(site, record, false, now),
            Notice::Answered(record) => self.see_http(site, record, true, now),
            Notice::Cut(_)
            | Notice::Called(_)
            | Notice::Corrupt(_)
            | Notice::DhcpSilent(_)
            | Notice::Swapped(_)
            | Notice::Kept(_)
            | Notice::Flawed(_)
            | Notice::Warning { .. }
            | Notice::Certificate(_) => {}
        }
    }

    /// Records a machine's report, which came from `sender`. If the machine keeps reporting that it is installed,
    /// returns what is likely wrong, since its installer would reboot for ever.
    pub(crate) fn report(
        &mut self,
        site: &Site,
        report: Report,
        sender: Option<IpAddr>,
        now: Stamp,
    ) -> Option<Trouble> {
        let who = Who { sender, ..Who::new(&report.mac, &report.uuid, None) };
        let stage = report.stage.parse::<Stage>().ok().filter(|stage| stage.is_reported());
        // A restarted server has missed the beginning of this boot, and a system that reports again has not rebooted.
        let machine = self.machine(site, who, now, |_| false)?;
        if let Some(stage) = stage {
            machine.boot.mark(stage, now);
        }
        let log = report.log.len();
        machine.hear(report);
        let trouble = installer_loop(machine);
        self.logged += log;
        if self.logged > 2 * MAX_LOGGED {
            self.forget_logs();
        }
        trouble
    }

    /// Forgets the oldest journals, so that all together have at most [`MAX_LOGGED`] bytes.
    fn forget_logs(&mut self) {
        let log = |machine: &Machine| machine.report.as_ref().map(|report| (report.at, report.log.len()));
        let mut logs: Vec<(Stamp, usize, Key)> = self
            .machines
            .iter()
            .filter_map(|(key, machine)| log(machine).map(|(at, size)| (at, size, key.clone())))
            .filter(|(_, size, _)| *size > 0)
            .collect();
        logs.sort();
        self.logged = logs.iter().map(|(_, size, _)| size).sum();
        for (_, size, key) in logs {
            if self.logged <= MAX_LOGGED {
                break;
            }
            self.logged -= size;
            self.revision += 1;
            if let Some(machine) = self.machines.get_mut(&key).map(Arc::make_mut) {
                machine.revision = self.revision;
                machine.report.iter_mut().for_each(|report| report.log.clear());
            }
        }
    }

    /// The machine with this MAC address or UUID.
    pub(crate) fn machine_of(&self, labels: &Labels) -> Option<&Machine> {
        self.machines.get(&self.key(&Who::saying(labels, None))?).map(|machine| &**machine)
    }

    /// Recognizes machines that a new site names, without waiting for their next request.
    pub(crate) fn recognize(&mut self, site: &Site) {
        self.arrivals += 1;
        for machine in self.machines.values_mut().filter(|machine| !machine.is_named) {
            let (mac, uuid) = (machine.mac.clone(), machine.uuid.clone());
            let is_named = site.groups.names(mac.as_deref(), uuid.as_deref());
            let said = [("mac", mac), ("uuid", uuid)];
            let labels = Labels::of(said.into_iter().filter_map(|(key, id)| Some((key.to_owned(), id?))));
            let matched = machine.is_stranger && site.groups.select(&labels).is_some();
            if is_named || matched {
                self.revision += 1;
                let machine = Arc::make_mut(machine);
                machine.revision = self.revision;
                machine.is_stranger &= !matched;
                if is_named {
                    machine.is_named = true;
                    self.count.renamed(true);
                }
            }
        }
    }

    /// All machines; those with a MAC address come first, sorted. They are shared, so a copy of the list is a snapshot
    /// that can be used without the lock.
    pub(crate) fn machines(&self) -> impl Iterator<Item = &Arc<Machine>> {
        self.machines.values()
    }

    /// The number of changes so far. Machines that change later have a greater one.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The number of changes so far of who is here: rows that came or went, or got another UUID or group.
    pub(crate) fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// Whether a machine with this MAC address or this UUID was seen.
    pub(crate) fn has_seen(&self, mac: Option<&str>, uuid: Option<&str>) -> bool {
        mac.is_some_and(|mac| self.machines.contains_key(&Key::Mac(mac.to_owned())))
            || uuid.is_some_and(|uuid| {
                self.by_uuid.contains_key(uuid) || self.machines.contains_key(&Key::Uuid(uuid.to_owned()))
            })
    }

    /// The machine that a notice is about: the one with this MAC address or UUID, else the one at this address.
    pub(crate) fn about(&self, mac: &str, uuid: &str, address: Option<IpAddr>) -> Option<&Machine> {
        let row = |who: &Who| self.machines.get(&self.key(who)?).map(|machine| &**machine);
        row(&Who::new(mac, uuid, address))
    }

    /// The machine that a request with these labels is about.
    pub(crate) fn asking(&self, labels: &Labels, address: IpAddr) -> Option<&Machine> {
        self.machines.get(&self.key(&Who::saying(labels, Some(address)))?).map(|machine| &**machine)
    }

    /// The machine that a person names: by its MAC address, UUID, address, hostname or group.
    pub(crate) fn named(&self, text: &str) -> Option<&Machine> {
        let by_id = || match (normal_mac(text), text.parse::<IpAddr>()) {
            (Some(mac), _) => self.about(&mac, "", None),
            (None, Ok(address)) => self.about("", "", Some(address)),
            (None, Err(_)) => self.about("", text, None),
        };
        let is_called = |machine: &&Machine| {
            machine.hostname.as_deref() == Some(text)
                || machine.is_named && machine.group.as_deref() == Some(text)
        };
        by_id().or_else(|| self.machines.values().map(|machine| &**machine).find(is_called))
    }

    /// The stage that this machine has reached since it was last asked for.
    pub(crate) fn news_of(&mut self, id: &str) -> Option<(Stage, bool)> {
        let key = self.find(id)?;
        let machine = self.machines.get(&key)?;
        let (now, told) = ((machine.boot.began, machine.boot.stage()?), machine.logged);
        if told == Some(now) {
            return None;
        }
        Arc::make_mut(self.machines.get_mut(&key)?).logged = Some(now);
        Some((now.1, told.is_none_or(|(began, _)| began != now.0)))
    }

    /// Marks a machine, by its [`Machine::id`], as changed.
    pub(crate) fn touch(&mut self, id: &str) {
        if let Some(machine) = self.find(id).and_then(|key| self.machines.get_mut(&key)) {
            self.revision += 1;
            Arc::make_mut(machine).revision = self.revision;
        }
    }

    /// The key of the row with this [`Machine::id`].
    fn find(&self, id: &str) -> Option<Key> {
        let address = || id.parse().ok().map(Key::Address);
        let keys = [Some(Key::Mac(id.into())), Some(Key::Uuid(id.into())), address()];
        keys.into_iter().flatten().find(|key| self.machines.contains_key(key))
    }

    /// Ids, as in [`Machine::id`], of rows that were forgotten or merged since the last call.
    pub(crate) fn take_gone(&mut self) -> Vec<String> {
        std::mem::take(&mut self.gone)
    }

    fn see_dhcp(&mut self, site: &Site, dhcp: &Dhcp, now: Stamp) {
        let uuid = dhcp.uuid.as_deref().unwrap_or_default();
        let who = Who::new(&dhcp.mac, uuid, dhcp.address.map(IpAddr::V4));
        let firmware = BOOTS.iter().find(|kind| dhcp.firmware.starts_with(**kind));
        let begins = |boot: &Boot| {
            // iPXE asks again after the firmware's loader was fetched; firmware asks first of all.
            let latest = if firmware == Some(&"iPXE") { Stage::Script } else { Stage::Tftp };
            firmware.is_some() && boot.stage() > Some(latest)
        };
        let Some(machine) = self.machine(site, who, now, begins) else { return };
        if firmware.is_some() {
            machine.boot.mark(Stage::Dhcp, now);
            machine.boot.boot_file = dhcp.file.as_deref().map(plain);
            // iPXE is only loaded by the firmware, so it counts as the firmware only if none is known.
            if firmware != Some(&"iPXE") || machine.firmware.is_none() {
                machine.firmware = Some(dhcp.firmware.to_owned());
            }
        }
    }

    fn see_tftp(&mut self, site: &Site, tftp: &Tftp, now: Stamp) {
        let Some(machine) = self.loader(site, tftp.peer.ip(), Stage::Tftp, now) else { return };
        match &tftp.failed {
            None => {
                machine.boot.mark(Stage::Tftp, now);
                machine.boot.tftp_failure = None;
            }
            Some(why) => {
                let why = format!("{} by TFTP: {}", plain(&tftp.file), plain(why));
                machine.boot.tftp_failure = Some((now, why));
            }
        }
    }

    /// Records a script before its machine can act on it, since the state decides on the machine's next answer.
    fn see_leaving(&mut self, site: &Site, record: &Record, now: Stamp) {
        if record.method == Method::HEAD {
            return;
        }
        match Asked::of(&plain_path(&record.path)) {
            Asked::FirstScript if record.status < 400 => {
                if let Some(machine) = self.loader(site, record.peer.ip(), Stage::Script, now) {
                    machine.boot.mark(Stage::Script, now);
                }
            }
            Asked::Script => self.see_script(site, record, now),
            _ => {}
        }
    }

    /// Corrects times that were recorded while the clock was ahead. Otherwise these machines, even if silent, would be
    /// the last to be forgotten until the clock gets there.
    fn take_back(&mut self, now: Stamp) {
        if self.latest.since(now) > AHEAD {
            for machine in self.machines.values_mut().filter(|machine| machine.last_seen > now) {
                self.revision += 1;
                let machine = Arc::make_mut(machine);
                machine.last_seen = now;
                machine.revision = self.revision;
            }
            self.latest = now;
        }
        self.latest = self.latest.max(now);
    }

    fn see_http(&mut self, site: &Site, record: &Record, is_over: bool, now: Stamp) {
        if record.method == Method::HEAD {
            return;
        }
        let path = plain_path(&record.path);
        match Asked::of(&path) {
            Asked::Ignition => self.see_fetch(site, record, (&*path, Some(Stage::Ignition)), is_over, now),
            Asked::Config | Asked::File => self.see_fetch(site, record, (&*path, None), is_over, now),
            Asked::FirstScript | Asked::Script | Asked::Report | Asked::Watch => {}
        }
    }

    fn see_script(&mut self, site: &Site, record: &Record, now: Stamp) {
        let group = site.groups.select(&record.labels);
        let is_named = Some(group.is_some_and(Group::is_of_one_machine));
        let who = Who { is_named, ..Who::saying(&record.labels, Some(record.peer.ip())) };
        let begins = |boot: &Boot| boot.stage() > Some(Stage::Script);
        self.arrivals += 1; // Its group may become another one.
        let Some(machine) = self.machine(site, who, now, begins) else { return };
        machine.is_odd = false;
        machine.learn(&record.labels);
        machine.boot.unmatched = None;
        machine.group = group.map(|group| group.id.clone());
        machine.is_stranger = group.is_none();
        machine.profile = group.map(|group| group.profile.clone());
        // A waiting machine asks again and again, and gets nothing from its group.
        machine.boot.waits = group.is_some() && record.status == 200 && record.group.is_none();
        match machine.boot.waits {
            true => machine.boot.touch(Stage::Script, now),
            false => machine.boot.mark(Stage::Script, now),
        }
        let Some(group) = group else {
            machine.boot.unmatched = Some(plain(&site.groups.relevant(&record.labels).to_string()));
            return;
        };
        machine.boot.told = match site.profiles.get(&group.profile) {
            _ if holds_generation(site, group, machine.report.as_ref()) => Told::disk(),
            Some(profile) => Told::of(site, &group.profile, profile),
            None => Told::default(),
        };
        if machine.boot.told.from_disk {
            machine.boot.mark(Stage::Disk, now);
        }
    }

    fn see_fetch(
        &mut self,
        site: &Site,
        record: &Record,
        (path, stage): (&str, Option<Stage>),
        is_over: bool,
        now: Stamp,
    ) {
        let who = Who::saying(&record.labels, Some(record.peer.ip()));
        let known = self.key(&who).filter(|key| self.machines.contains_key(key));
        let machine = known.and_then(|key| self.machines.get(&key));
        let told = machine.and_then(|machine| machine.boot.told.stage_of(path));
        let stage = stage.or(told).or_else(|| told::stage_of(site, path));
        // A missing file matters to a boot if the machine was told to load it; other misses come from people who look
        // around, or from scans. Otherwise a made-up machine could have any file name remembered.
        let is_named = machine.is_some_and(|machine| machine.is_named);
        if record.status >= 400 && stage.is_none() && !(is_named && below(path, ASSETS).is_some()) {
            return;
        }
        let begins = |boot: &Boot| {
            // If the script is not ours, a reboot shows only when the kernel is fetched again.
            let mut fetches = boot.fetches.iter().filter(|fetch| fetch.path == path);
            stage == Some(Stage::Kernel)
                && boot.stage() > Some(Stage::Kernel)
                && fetches.any(|fetch| fetch.is_whole())
        };
        let Some(machine) = self.machine(site, who, now, begins) else { return };
        machine.learn(&record.labels);
        let Record { status, sent, length, took, .. } = *record;
        machine.fetched(&plain(path), stage, &Moved { status, sent, length, took, is_over }, now);
    }

    /// The machine at an address that runs firmware or a loader: the one that was seen there, unless it is past that
    /// stage already. Then it may have rebooted, or another machine may be there; until it identifies itself, it has a
    /// row of its own.
    fn loader(&mut self, site: &Site, address: IpAddr, latest: Stage, now: Stamp) -> Option<&mut Machine> {
        let known = self.by_address.get(&address);
        let fits =
            |key: &&Key| self.machines.get(key).is_some_and(|machine| machine.boot.stage() <= Some(latest));
        let key = known.filter(fits).cloned().unwrap_or(Key::Address(address));
        let who = Who { address: Some(address), ..Who::default() };
        self.row(site, key, who, now, |boot| boot.stage() > Some(latest))
    }

    fn machine(
        &mut self,
        site: &Site,
        who: Who,
        now: Stamp,
        begins: impl Fn(&Boot) -> bool,
    ) -> Option<&mut Machine> {
        let key = self.key(&who)?;
        self.row(site, key, who, now, begins)
    }

    /// The key of the row that a machine has, or would have.
    fn key(&self, who: &Who) -> Option<Key> {
        let known = match who {
            Who { mac: Some(_), .. } => None,
            Who { uuid: Some(uuid), .. } => self.by_uuid.get(uuid),
            Who { is_odd: true, .. } => None,
            Who { address, .. } => address.as_ref().and_then(|address| self.by_address.get(address)),
        };
        known.cloned().or_else(|| key_of(who.mac.as_deref(), who.uuid.as_deref(), who.address))
    }

    /// A machine's row, merged with rows from before it identified itself.
    fn row(
        &mut self,
        site: &Site,
        key: Key,
        who: Who,
        now: Stamp,
        begins: impl Fn(&Boot) -> bool,
    ) -> Option<&mut Machine> {
        let mut earlier = Vec::new();
        if !matches!(key, Key::Address(_)) {
            let others = [who.uuid.clone().map(Key::Uuid), who.address.map(Key::Address)];
            // A machine with a malformed MAC address stays visible, whichever machine is at its address later.
            let is_odd = |other: &Key| {
                matches!(other, Key::Address(_)) && self.machines.get(other).is_some_and(|seen| seen.is_odd)
            };
            let others: Vec<Key> =
                others.into_iter().flatten().filter(|other| *other != key && !is_odd(other)).collect();
            for other in others {
                earlier.extend(self.remove(&other).filter(|seen| now.since(seen.last_seen) < SAME));
            }
        }
        let said = || site.groups.names(who.mac.as_deref(), who.uuid.as_deref());
        let known = self.machines.get(&key).is_some_and(|machine| machine.is_named);
        let is_named = who.is_named.unwrap_or_else(|| known || said());
        if !self.machines.contains_key(&key) {
            if !self.count.has_room(is_named) {
                room::leaving(&self.machines, is_named).iter().for_each(|key| drop(self.remove(key)));
            }
            let new = Machine { is_named, ..Machine::new(now) };
            self.count.add(&new);
            self.machines.insert(key.clone(), Arc::new(new));
            self.arrivals += 1;
        }
        self.revision += 1;
        let machine = Arc::make_mut(self.machines.get_mut(&key)?);
        if machine.is_named != is_named {
            machine.is_named = is_named;
            self.count.renamed(is_named);
        }
        machine.revision = self.revision;
        // A clock that was ahead must not make it the last to be forgotten.
        machine.last_seen = now;
        machine.from = who.sender.or(who.address).or(machine.from);
        if begins(&machine.boot) {
            machine.restart(now);
        }
        earlier.into_iter().for_each(|other| machine.absorb(other));
        if let Key::Mac(mac) = &key {
            machine.mac.get_or_insert_with(|| mac.clone());
        }
        if let Some(address) = who.address {
            let old = machine.address.replace(address);
            if !matches!(key, Key::Address(_)) {
                move_entry(&mut self.by_address, old, address, &key);
            }
        }
        if let Some(uuid) = who.uuid {
            let old = machine.uuid.replace(uuid.clone());
            self.arrivals += u64::from(old.as_ref() != Some(&uuid));
            move_entry(&mut self.by_uuid, old, uuid, &key);
        }
        Some(machine)
    }

    fn remove(&mut self, key: &Key) -> Option<Machine> {
        let machine = self.machines.remove(key)?;
        self.arrivals += 1;
        self.count.remove(&machine);
        if let Some(address) = machine.address.filter(|address| self.by_address.get(address) == Some(key)) {
            self.by_address.remove(&address);
        }
        if let Some(uuid) = machine.uuid.as_ref().filter(|uuid| self.by_uuid.get(*uuid) == Some(key)) {
            self.by_uuid.remove(uuid);
        }
        if self.gone.len() < MAX_GONE {
            self.gone.push(machine.id());
        }
        Some(Arc::unwrap_or_clone(machine))
    }
}

impl Who {
    /// The MAC address must be normalized already. It and the UUID are empty if missing.
    fn new(mac: &str, uuid: &str, address: Option<IpAddr>) -> Who {
        let said = |text| Some(plain(text)).filter(|value| !value.is_empty());
        let uuid =
            said(uuid).map(|uuid| uuid.to_lowercase()).filter(|uuid| !NO_UUIDS.contains(&uuid.as_str()));
        Who { mac: said(mac), uuid, address, ..Who::default() }
    }

    /// The identity in labels.
    fn saying(labels: &Labels, address: Option<IpAddr>) -> Who {
        let is_odd = labels.odd_mac().is_some();
        Who { is_odd, ..Who::new(labels.get("mac"), labels.get("uuid"), address) }
    }
}

impl Machine {
    /// Its identifier: its MAC address, else its UUID, else its address.
    pub(crate) fn id(&self) -> String {
        let address = self.address.map(|address| address.to_string());
        self.mac.clone().or_else(|| self.uuid.clone()).or(address).unwrap_or_default()
    }

    fn learn(&mut self, labels: &Labels) {
        let said = |key| Some(plain(labels.get(key))).filter(|value| !value.is_empty());
        self.is_odd |= labels.odd_mac().is_some();
        self.hostname = said("hostname").or(self.hostname.take());
        self.arch = said("arch").or(self.arch.take());
    }
}

fn key_of(mac: Option<&str>, uuid: Option<&str>, address: Option<IpAddr>) -> Option<Key> {
    let mac = mac.map(|mac| Key::Mac(mac.to_owned()));
    mac.or_else(|| uuid.map(|uuid| Key::Uuid(uuid.to_owned()))).or(address.map(Key::Address))
}

/// Makes an index find a machine by its new name, and no longer by the old one.
fn move_entry<N: Eq + std::hash::Hash>(index: &mut HashMap<N, Key>, old: Option<N>, new: N, key: &Key) {
    if let Some(old) = old.filter(|old| *old != new)
        && index.get(&old) == Some(key)
    {
        index.remove(&old);
    }
    index.insert(new, key.clone());
}
