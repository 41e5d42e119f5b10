//! The way from an image to a template, which goes on where an earlier run stopped.
//!
//! ```text
//! look ─▶ volume on the import storage ─▶ VM, `unfinished` ─▶ length ─▶ template ─▶ `finished` ─▶ volume removed ─▶ old ones pruned
//! ```
//! Each step is found done by looking, so that a run that was killed anywhere is gone on with by the next one. Proxmox VE has no
//! lock that two runs could share: both may make a VM, and the one with the lower id stays. Nothing but a VM that says of itself
//! that it is unfinished is removed unasked.
//!
//! Owns the order of steps and what an earlier run is known by. Leaves calls to [`super::call`], requests to [`super::wire`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Error;
use super::call::{Call, part};
use super::document::{self, Config, Guest, Volume};
use super::image::Image;
use super::record::Record;
use super::site::Site;
use super::vm::{DISK, Ids, Vm};
use super::wire::{Sent, Wire};

/// The first version that takes disk images over its API.
pub(crate) const NEEDED: &str = "8.4";
/// The same as numbers.
const NEEDED_NUMBERS: (u32, u32) = (8, 4);
/// Most VMs of one name that are looked at.
const MOST: usize = 500;
/// Most times that another run's work is waited for or made room for.
const TURNS: usize = 8;

/// The wish: an image, a VM, and where.
pub(crate) struct Order<'o> {
    pub image: &'o Image,
    pub vm: &'o Vm,
    /// The node; the only one that is online if absent.
    pub node: Option<String>,
    /// The storage of the disk; the only one that takes such if absent.
    pub storage: Option<String>,
    /// The storage that the file is sent to; one that takes imports if absent.
    pub import: Option<String>,
    /// Ids of which the VM gets one.
    pub ids: Ids,
    /// Whether somebody named these ids.
    pub is_id_named: bool,
    /// Whether it becomes a template.
    pub template: bool,
    /// How many templates of its name are kept; all if absent.
    pub keep: Option<usize>,
}

impl Order<'_> {
    /// The wishes that do not count, in words, as a VM of this build is there already.
    fn ignored(&self, made: &Known, record: &Record) -> Vec<String> {
        let Guest { id, node, .. } = &made.guest;
        let mut remarks = Vec::new();
        if self.is_id_named && !self.ids.contains(*id) {
            let asked = self.ids;
            remarks.push(format!(
                "this build is VM {id} already, and does not get {asked}: remove that one first"
            ));
        }
        if let Some(asked) = self.node.as_ref().filter(|asked| *asked != node) {
            remarks.push(format!("this build is VM {id} on {node} already, and does not go to {asked}"));
        }
        if made.record.as_ref().is_some_and(|made| made.is_finished && made.options != record.options) {
            remarks.push(format!(
                "VM {id} has this build with other options: name another, or remove it, for these to count"
            ));
        }
        remarks
    }
}

/// News under way.
pub(crate) enum News<'n> {
    /// A sentence.
    Said(&'n str),
    /// Bytes of the file that have gone.
    Sent(u64),
}

/// The listener.
pub(crate) type Told<'t> = &'t dyn Fn(News<'_>);

/// The result.
#[derive(Debug)]
pub(crate) struct Done {
    pub guest: Guest,
    pub record: Record,
    /// Whether nothing had to be made.
    pub was_there: bool,
    /// Whether the file was sent.
    pub was_sent: bool,
    /// Templates that were removed.
    pub removed: Vec<u32>,
    /// Remarks that forbid nothing.
    pub remarks: Vec<String>,
}

/// A forecast.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The VM that is there already.
    pub there: Option<Guest>,
    pub calls: Vec<Call>,
    /// Remarks that forbid nothing.
    pub remarks: Vec<String>,
}

/// A VM of the name, or of the id, with its record.
#[derive(Clone, Debug)]
struct Known {
    guest: Guest,
    config: Config,
    record: Option<Record>,
}

impl Known {
    fn words(&self) -> String {
        let kind = match (self.guest.is_vm, self.guest.is_template) {
            (true, true) => "the template",
            (true, false) => "the VM",
            (false, _) => "the container",
        };
        let name = if self.guest.name.is_empty() {
            "without a name".into()
        } else {
            format!("`{}`", self.guest.name)
        };
        let of =
            self.record.as_ref().map_or_else(String::new, |record| format!(" of build {}", record.build));
        format!("{kind} {name} on {}{of}", self.guest.node)
    }

    /// Whether it is still being made by a task of Proxmox VE; it has no name and no description then.
    fn is_coming(&self) -> bool {
        self.config.get("lock") == Some("create")
    }
}

/// The way of one order.
pub(crate) struct Way<'w> {
    wire: &'w Wire,
    order: &'w Order<'w>,
    told: Told<'w>,
    site: Site,
    record: Record,
    remarks: Vec<String>,
}

impl<'w> Way<'w> {
    /// Chooses node and storages, and judges what the token may do.
    pub async fn begin(wire: &'w Wire, order: &'w Order<'w>, told: Told<'w>) -> Result<Way<'w>, Error> {
        order.image.fits(order.vm.size)?;
        let data = wire.get("/version".into(), Vec::new(), "tell its version").await?;
        let stranger = || Error::Stranger { url: wire.name(), why: "it tells no version".into() };
        let (version, numbers) = document::version(&data).ok_or_else(stranger)?;
        if numbers < NEEDED_NUMBERS {
            return Err(Error::Version { url: wire.name(), version });
        }
        let site = Site::choose(wire, order).await?;
        let record = order.image.record(order.vm.digest(&site.storage));
        let way = Way { wire, order, told, site, record, remarks: Vec::new() };
        way.site.judge_rights(wire, order).await?;
        Ok(way)
    }

    /// The calls that would be made now; none of them is.
    pub async fn plan(mut self) -> Result<Plan, Error> {
        let known = self.known().await?;
        if let Some(made) = self.made(&known) {
            self.remarks.extend(self.order.ignored(made, &self.record));
        }
        let mut calls = Vec::new();
        let (node, file) = (&self.site.node, self.file());
        let there = match self.made(&known) {
            Some(made) if self.is_whole(made) => Some(made.guest.clone()),
            Some(made) => {
                calls.extend(self.finishing(&made.guest, &made.config));
                None
            }
            None => {
                let id = self.room(&known, &mut calls).await?;
                if !self.has_volume().await? {
                    calls.push(Call::upload(node, &self.site.import, &file, &self.order.image.sha256));
                }
                calls.push(self.creating(id));
                let guest = Guest {
                    id,
                    name: self.order.vm.name.clone(),
                    node: node.clone(),
                    is_vm: true,
                    is_template: false,
                };
                calls.extend(self.finishing(&guest, &Config::default()));
                None
            }
        };
        if there.is_none() || self.has_volume().await? {
            calls.push(Call::free(node, &self.site.import, &self.volume()));
        }
        let kept = usize::from(there.is_none());
        let (old, stay) = self.old(&known, kept).await?;
        calls.extend(old.iter().map(Call::remove));
        self.remarks.extend(stay);
        Ok(Plan { there, calls, remarks: self.remarks })
    }

    /// Goes all the way.
    pub async fn go(mut self) -> Result<Done, Error> {
        let (mut was_sent, mut full) = (false, BTreeSet::new());
        for _ in 0..TURNS {
            let known = self.known().await?;
            if let Some(made) = self.made(&known).cloned() {
                let was_there = self.is_whole(&made);
                let ignored = self.order.ignored(&made, &self.record);
                self.remarks.extend(ignored);
                let guest = if was_there { made.guest.clone() } else { self.finish(&made).await? };
                return self.end(guest, was_there && !was_sent, was_sent).await;
            }
            let mut calls = Vec::new();
            let taken: Vec<Known> =
                known.iter().filter(|known| !full.contains(&known.guest.id)).cloned().collect();
            let id = match self.room_beside(&taken, &full, &mut calls).await? {
                Some(id) => id,
                // Another run was waited for.
                None => continue,
            };
            for call in &calls {
                (self.told)(News::Said(&format!("VM {id} is unfinished, of another build: it is removed")));
                self.done(call).await?;
            }
            if !self.has_volume().await? {
                self.send().await?;
                was_sent = true;
            }
            match self.create(id).await {
                Ok(()) => {}
                Err(error) if is_taken(&error) && self.order.ids.only().is_none() => {
                    // Another token's VM is not shown to this one.
                    full.insert(id);
                    continue;
                }
                Err(error) if is_taken(&error) => {
                    let known = self.known().await?;
                    if known.iter().any(|known| known.guest.id == id) {
                        continue;
                    }
                    return Err(Error::Taken { id, by: "a VM that the token may not see".into() });
                }
                Err(error) => {
                    // Another run of the same build removes the volume when it is through.
                    let known = self.known().await?;
                    if self.made(&known).is_some() {
                        continue;
                    }
                    return Err(error);
                }
            }
            self.yield_to_the_first(id).await?;
        }
        Err(Error::Changed {
            id: self.order.ids.first,
            why: "others make and remove VMs here all the time".into(),
        })
    }

    /// Where two runs made a VM each, the one with the higher id goes.
    async fn yield_to_the_first(&self, id: u32) -> Result<(), Error> {
        let known = self.known().await?;
        let same = |known: &&Known| known.record.as_ref().is_some_and(|record| record.is_same(&self.record));
        let first = known.iter().filter(same).map(|known| known.guest.id).min();
        let ours = known.iter().find(|known| known.guest.id == id);
        match (first, ours) {
            (Some(first), Some(ours)) if first < id && !ours.guest.is_template => {
                (self.told)(News::Said(&format!(
                    "another run has made VM {first} of the same: VM {id} is removed"
                )));
                self.done(&Call::remove(&ours.guest)).await
            }
            _ => Ok(()),
        }
    }

    /// All VMs and containers that the token may see, by id; those of the node as they are now.
    async fn guests(&self) -> Result<Vec<Guest>, Error> {
        let parameters = vec![("type", "vm".into())];
        let data = self.wire.get("/cluster/resources".into(), parameters, "list VMs").await?;
        let node = self.site.node.as_str();
        let path = format!("/nodes/{}/qemu", part(node));
        let here = self.wire.get(path, Vec::new(), &format!("list the VMs of {node}")).await?;
        let mut guests = document::guests(&here, Some(node));
        let seen: BTreeSet<u32> = guests.iter().map(|guest| guest.id).collect();
        let is_listed = |guest: &Guest| seen.contains(&guest.id) || guest.is_vm && guest.node == node;
        guests.extend(document::guests(&data, None).into_iter().filter(|guest| !is_listed(guest)));
        guests.sort();
        Ok(guests)
    }

    /// The VMs of this name and those at the id that was asked for, by id.
    async fn known(&self) -> Result<Vec<Known>, Error> {
        let mut known = Vec::new();
        for guest in self.guests().await? {
            let is_asked = self.order.ids.only() == Some(guest.id);
            // While it is made it has another name, and on other nodes none for some seconds.
            let may_come = self.order.ids.contains(guest.id)
                && (guest.name.is_empty() || guest.name == format!("VM {}", guest.id));
            let is_named = guest.name == self.order.vm.name;
            let is_wanted = is_asked || guest.is_vm && (is_named || may_come);
            if !is_wanted || known.len() >= MOST {
                continue;
            }
            let config = match guest.is_vm {
                true => self.config(&guest).await?,
                false => Some(Config::default()),
            };
            // It went meanwhile.
            let Some(config) = config else { continue };
            let of_us = config.get("name") == Some(self.order.vm.name.as_str());
            let record = config.get("description").filter(|_| of_us).and_then(Record::read);
            let is_template = guest.is_template || config.is_template();
            let name = config.get("name").map_or(guest.name, str::to_owned);
            known.push(Known { guest: Guest { is_template, name, ..guest }, config, record });
        }
        Ok(known)
    }

    /// The config of a VM; nothing if it is gone.
    async fn config(&self, guest: &Guest) -> Result<Option<Config>, Error> {
        let path = format!("/nodes/{}/qemu/{}/config", part(&guest.node), guest.id);
        match self.wire.get(path, Vec::new(), &format!("show the config of VM {}", guest.id)).await {
            Ok(data) => Ok(Some(document::config(&data))),
            Err(Error::Refused { words, .. }) if words.contains("does not exist") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The VM of this build: a finished one before one that was made by the same order and left.
    fn made<'k>(&self, known: &'k [Known]) -> Option<&'k Known> {
        let of =
            |is: &dyn Fn(&Record) -> bool| known.iter().find(|known| known.record.as_ref().is_some_and(is));
        of(&|record| record.is_finished && record.is_build(&self.record))
            .or_else(|| of(&|record| record.is_same(&self.record)))
    }

    fn is_whole(&self, made: &Known) -> bool {
        let is_finished = made.record.as_ref().is_some_and(|record| record.is_finished);
        is_finished && (made.guest.is_template || !self.order.template)
    }

    /// A free id; calls that make it free come before.
    async fn room(&self, known: &[Known], calls: &mut Vec<Call>) -> Result<u32, Error> {
        match self.room_beside(known, &BTreeSet::new(), calls).await? {
            Some(id) => Ok(id),
            None => {
                Err(Error::Taken { id: self.order.ids.first, by: "a VM that is being made right now".into() })
            }
        }
    }

    /// The same beside ids that are known to be taken; nothing if another run was waited for, and all must be looked at again.
    async fn room_beside(
        &self,
        known: &[Known],
        full: &BTreeSet<u32>,
        calls: &mut Vec<Call>,
    ) -> Result<Option<u32>, Error> {
        for coming in known.iter().filter(|known| known.is_coming()) {
            if self.await_creation(coming).await? {
                return Ok(None);
            }
        }
        if let Some(id) = self.order.ids.only() {
            let Some(there) = known.iter().find(|known| known.guest.id == id) else {
                return match self.is_free(id).await? {
                    true => Ok(Some(id)),
                    false => Err(Error::Taken { id, by: "a VM that the token may not see".into() }),
                };
            };
            let is_left =
                there.record.as_ref().is_some_and(|record| !record.is_finished) && !there.guest.is_template;
            if !is_left || !self.tasks(&there.guest).await?.is_empty() {
                return Err(Error::Taken { id, by: there.words() });
            }
            calls.push(Call::remove(&there.guest));
            return Ok(Some(id));
        }
        let taken: BTreeSet<u32> = self.guests().await?.iter().map(|guest| guest.id).collect();
        let Ids { first, last } = self.order.ids;
        let free = (first..=last).filter(|id| !taken.contains(id) && !full.contains(id));
        for id in free.take(MOST) {
            if self.is_free(id).await? {
                return Ok(Some(id));
            }
        }
        Err(Error::Full { first, last })
    }

    /// Whether nobody has an id, a VM that is not shown to this token among them.
    async fn is_free(&self, id: u32) -> Result<bool, Error> {
        let parameters = vec![("vmid", id.to_string())];
        match self
            .wire
            .get("/cluster/nextid".into(), parameters, &format!("say whether the id {id} is free"))
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if is_taken(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits for a VM that a task is making; `false` if no such task is seen.
    async fn await_creation(&self, coming: &Known) -> Result<bool, Error> {
        let tasks = self.tasks(&coming.guest).await?;
        let Some(task) = tasks.iter().find(|task| task.kind == "qmcreate") else {
            return match self.order.ids.only() {
                Some(id) => Err(Error::Taken {
                    id,
                    by: "a VM whose creation never ended (`lock: create`); `qm unlock` and `qm destroy` on its node remove it".into(),
                }),
                None => Ok(false),
            };
        };
        (self.told)(News::Said(&format!(
            "VM {} is being made by an earlier run: waiting for that",
            coming.guest.id
        )));
        self.wire.follow(task, &format!("create VM {}", coming.guest.id)).await?;
        Ok(true)
    }

    /// The tasks that are at work on a VM, as far as the token may see them.
    async fn tasks(&self, guest: &Guest) -> Result<Vec<document::Task>, Error> {
        let path = format!("/nodes/{}/tasks", part(&guest.node));
        let parameters = vec![("source", "active".into()), ("vmid", guest.id.to_string())];
        let data = self.wire.get(path, parameters, &format!("list the tasks of {}", guest.node)).await?;
        Ok(document::tasks(&data))
    }

    fn file(&self) -> String {
        self.order.image.file_name(&self.order.vm.name)
    }

    fn volume(&self) -> String {
        format!("{}:import/{}", self.site.import, self.file())
    }

    /// Whether the file is on its storage, as long as it must be. Proxmox VE compared its digest before it got there.
    async fn has_volume(&self) -> Result<bool, Error> {
        let Site { node, import, .. } = &self.site;
        let volumes = self.volumes(node, import, "import").await?;
        let id = self.volume();
        Ok(volumes.iter().any(|volume| volume.id == id && volume.size == Some(self.order.image.length)))
    }

    async fn volumes(&self, node: &str, storage: &str, content: &str) -> Result<Vec<Volume>, Error> {
        let path = format!("/nodes/{}/storage/{}/content", part(node), part(storage));
        let action = format!("list the volumes of the storage {storage}");
        let data = self.wire.get(path, vec![("content", content.into())], &action).await?;
        Ok(document::volumes(&data))
    }

    async fn send(&mut self) -> Result<(), Error> {
        let image = self.order.image;
        let call = Call::upload(&self.site.node, &self.site.import, &self.file(), &image.sha256);
        let told = self.told;
        let sent = Sent { file: &image.file, length: image.length, sha256: image.sha256 };
        let data = self.wire.upload(&call, sent, &|bytes| told(News::Sent(bytes))).await?;
        let warning = self.wire.wait(&data, &call).await?;
        self.remarks.extend(warning.map(|words| format!("the upload: {words}")));
        Ok(())
    }

    fn creating(&self, id: u32) -> Call {
        let options = self.order.vm.options(&self.site.storage, &self.volume());
        Call::create(&self.site.node, id, options, self.record.to_string())
    }

    async fn create(&mut self, id: u32) -> Result<(), Error> {
        (self.told)(News::Said(&format!("VM {id} is made on {} of {}", self.site.node, self.volume())));
        let call = self.creating(id);
        let data = self.wire.send(&call).await?;
        let warning = self.wire.wait(&data, &call).await?;
        self.remarks.extend(warning.map(|words| format!("VM {id}: {words}")));
        Ok(())
    }

    /// The calls that are left for a VM, of which nothing more is known than its config.
    fn finishing(&self, guest: &Guest, config: &Config) -> Vec<Call> {
        let (node, id) = (guest.node.as_str(), guest.id);
        let mut calls = Vec::new();
        if !guest.is_template {
            let wanted = self.order.vm.resize();
            let has =
                config.get(DISK).and_then(|disk| disk.split(',').find_map(|part| part.strip_prefix("size=")));
            if wanted.as_deref() != has {
                calls.extend(Call::resize(node, id, self.order.vm));
            }
            if self.order.template {
                calls.push(Call::template(node, id));
            }
        }
        let finished = Record { is_finished: true, ..self.record.clone() };
        calls.push(Call::describe(node, id, finished.to_string()));
        calls
    }

    /// Takes a VM to its end.
    async fn finish(&mut self, made: &Known) -> Result<Guest, Error> {
        let id = made.guest.id;
        for call in self.finishing(&made.guest, &made.config) {
            if let Err(error) = self.done(&call).await {
                // Another run may have done the same just now.
                let now = self.config(&made.guest).await?;
                let is_done = now.is_some_and(|now| now.is_template()) && self.order.template;
                if !is_done || !matches!(error, Error::Refused { .. } | Error::Task { .. }) {
                    return Err(error);
                }
            }
        }
        let changed = |why: &str| Error::Changed { id, why: why.into() };
        let now = self.config(&made.guest).await?.ok_or_else(|| changed("it is gone"))?;
        let record = now.get("description").and_then(Record::read);
        if !record.is_some_and(|record| record.is_finished && record.is_build(&self.record)) {
            return Err(changed("its description is not the one that was written"));
        }
        if self.order.template && !now.is_template() {
            return Err(changed("it is no template"));
        }
        Ok(Guest { is_template: now.is_template(), ..made.guest.clone() })
    }

    async fn done(&self, call: &Call) -> Result<(), Error> {
        let data: Value = self.wire.send(call).await?;
        self.wire.wait(&data, call).await?;
        Ok(())
    }

    /// Removes what is not needed any more.
    async fn end(mut self, guest: Guest, was_there: bool, was_sent: bool) -> Result<Done, Error> {
        let id = self.volume();
        let volumes = self.volumes(&self.site.node, &self.site.import, "import").await?;
        if volumes.iter().any(|volume| volume.id == id) {
            let call = Call::free(&self.site.node, &self.site.import, &id);
            match self.done(&call).await {
                Ok(()) => {}
                Err(Error::Forbidden { words, .. }) => self
                    .remarks
                    .push(format!("{id} stays on its storage: the token may not remove it ({words})")),
                // Another run of the same build removed it.
                Err(error) => {
                    let volumes = self.volumes(&self.site.node, &self.site.import, "import").await?;
                    if volumes.iter().any(|volume| volume.id == id) {
                        return Err(error);
                    }
                }
            }
        }
        let mut removed = Vec::new();
        if self.order.keep.is_some() {
            let known = self.known().await?;
            let (old, stay) = self.old(&known, 0).await?;
            self.remarks.extend(stay);
            for old in old {
                match self.done(&Call::remove(&old)).await {
                    Ok(()) => removed.push(old.id),
                    Err(Error::Refused { words, .. } | Error::Task { words, .. }) => {
                        self.remarks.push(format!("the old template {} stays: {words}", old.id));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let record = Record { is_finished: true, ..self.record };
        Ok(Done { guest, record, was_there, was_sent, removed, remarks: self.remarks })
    }

    /// The templates of this name that are not kept: all but the newest, `coming` of which are still to be made, and those that a VM
    /// is a linked clone of, which are told as the second.
    async fn old(&self, known: &[Known], coming: usize) -> Result<(Vec<Guest>, Vec<String>), Error> {
        let (mut old, mut stay) = (Vec::new(), Vec::new());
        let Some(keep) = self.order.keep else { return Ok((old, stay)) };
        let is_ours = |known: &&Known| {
            known.guest.is_template && known.record.as_ref().is_some_and(|record| record.is_finished)
        };
        let mut ours: Vec<&Known> = known.iter().filter(is_ours).collect();
        // The one of this build is kept, whenever it was made.
        let age = |known: &&Known| {
            let is_current = known.record.as_ref().is_some_and(|record| record.is_build(&self.record));
            std::cmp::Reverse((is_current, made_at(&known.config), known.guest.id))
        };
        ours.sort_by_key(age);
        let mut listed: BTreeMap<(String, String), Vec<Volume>> = BTreeMap::new();
        for known in ours.into_iter().skip(keep.max(1).saturating_sub(coming)) {
            let guest = &known.guest;
            let mut clones = BTreeSet::new();
            for storage in storages_of(&known.config) {
                let place = (guest.node.clone(), storage.to_owned());
                if !listed.contains_key(&place) {
                    listed.insert(place.clone(), self.volumes(&guest.node, storage, "images").await?);
                }
                let volumes = listed.get(&place).into_iter().flatten();
                clones.extend(
                    volumes.filter(|volume| is_clone_of(volume, guest.id)).filter_map(|volume| volume.vm),
                );
            }
            match clones.is_empty() {
                true => old.push(guest.clone()),
                false => {
                    let clones: Vec<String> = clones.iter().map(u64::to_string).collect();
                    stay.push(format!(
                        "the old template {} stays: VM {} is a linked clone of it",
                        guest.id,
                        clones.join(", ")
                    ));
                }
            }
        }
        Ok((old, stay))
    }
}

/// Whether a refusal is about an id that another VM has got (`PVE::Cluster::check_vmid_unused`).
fn is_taken(error: &Error) -> bool {
    let (Error::Refused { words, .. } | Error::Task { words, .. }) = error else { return false };
    words.contains("already exists")
}

/// The second since 1970 in which a VM was made, by its node's clock (`meta: creation-qemu=9.0.2,ctime=1713868000`).
fn made_at(config: &Config) -> u64 {
    let meta = config.get("meta").unwrap_or_default();
    meta.split(',').find_map(|part| part.strip_prefix("ctime=")?.parse().ok()).unwrap_or(0)
}

/// The storages that a VM's disks are on.
fn storages_of(config: &Config) -> BTreeSet<&str> {
    let is_disk = |key: &str| {
        let name = key.trim_end_matches(|last: char| last.is_ascii_digit());
        name != key && ["scsi", "virtio", "sata", "ide", "efidisk"].contains(&name)
    };
    let of =
        |value: &'_ str| value.split(',').next().and_then(|volume| Some(volume.split_once(':')?.0.len()));
    config.iter().filter(|(key, _)| is_disk(key)).filter_map(|(_, value)| value.get(..of(value)?)).collect()
}

/// Whether a volume is a linked clone of a template's: its parent's name begins with `base-ID-`, and on directories so does a part of
/// its own (`local:211/base-211-disk-0.qcow2/300/vm-300-disk-0.qcow2`).
fn is_clone_of(volume: &Volume, template: u32) -> bool {
    let base = format!("base-{template}-");
    let is_base = |text: &str| text.split(['/', ':']).any(|part| part.starts_with(&base));
    volume.vm != Some(u64::from(template))
        && (volume.parent.as_deref().is_some_and(is_base) || is_base(&volume.id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_linked_clone_is_known_by_its_parent_or_its_own_path() {
        let volume = |id: &str, parent: Option<&str>, vm| Volume {
            id: id.into(),
            size: None,
            parent: parent.map(str::to_owned),
            vm: Some(vm),
        };
        assert!(is_clone_of(&volume("local-lvm:vm-300-disk-0", Some("base-211-disk-0"), 300), 211));
        assert!(is_clone_of(&volume("zfs:base-211-disk-0/vm-300-disk-0", None, 300), 211));
        assert!(is_clone_of(
            &volume("local:211/base-211-disk-0.qcow2/300/vm-300-disk-0.qcow2", None, 300),
            211
        ));
        for (id, parent, vm) in [
            ("local:211/base-211-disk-0.qcow2", None, 211),
            ("local:300/vm-300-disk-0.qcow2", None, 300),
            ("local-lvm:vm-300-disk-0", Some("base-2110-disk-0"), 300),
        ] {
            assert!(!is_clone_of(&volume(id, parent, vm), 211), "{id}");
        }
    }

    #[test]
    fn wishes_that_do_not_count_beside_a_vm_that_is_there_are_told() {
        let record = Record {
            is_finished: true,
            build: "0123456789abcdef".into(),
            image: crate::base::digest::Sha256::of(b"image"),
            release: None,
            kubernetes: None,
            options: "a".into(),
        };
        let file = std::sync::Arc::new(tempfile::tempfile().unwrap());
        let image = Image {
            subject: "x".into(),
            file,
            length: 1,
            sha256: record.image,
            extension: "raw",
            disk: 1,
            release: None,
            build: None,
            kubernetes: None,
        };
        let vm = crate::proxmox::vm::sample();
        let order = |ids: (u32, u32), is_id_named, node: Option<&str>| Order {
            image: &image,
            vm: &vm,
            node: node.map(str::to_owned),
            storage: None,
            import: None,
            ids: Ids { first: ids.0, last: ids.1 },
            is_id_named,
            template: true,
            keep: None,
        };
        let guest = Guest { id: 211, name: "x".into(), node: "pve".into(), is_vm: true, is_template: true };
        let made = Known { guest, config: Config::default(), record: Some(record.clone()) };
        assert_eq!(order((211, 211), true, Some("pve")).ignored(&made, &record), [""; 0]);
        assert_eq!(order((9000, 9999), false, None).ignored(&made, &record), [""; 0]);
        let other = Record { options: "b".into(), ..record.clone() };
        for (order, record, words) in [
            (order((212, 212), true, None), &record, "is VM 211 already, and does not get the id 212"),
            (order((9000, 9009), true, None), &record, "does not get an id from 9000 to 9009"),
            (order((211, 211), true, Some("pve2")), &record, "on pve already, and does not go to pve2"),
            (order((211, 211), true, None), &other, "other options"),
        ] {
            let told = order.ignored(&made, record);
            assert!(told.len() == 1 && told[0].contains(words), "{told:?}");
        }
    }

    #[test]
    fn the_age_and_the_storages_of_a_vm_are_in_its_config() {
        let config = document::config(&json!({
            "meta": "creation-qemu=9.0.2,ctime=1713868000", "scsi0": "local-lvm:base-211-disk-1,discard=on,size=8G",
            "efidisk0": "nfs:211/base-211-disk-0.qcow2", "scsihw": "virtio-scsi-pci", "net0": "virtio=AA:BB:CC:00:00:01,bridge=vmbr0",
            "ide0": "local-lvm:vm-211-cloudinit,media=cdrom", "ide2": "none,media=cdrom"
        }));
        assert_eq!(made_at(&config), 1_713_868_000);
        assert_eq!(storages_of(&config).into_iter().collect::<Vec<_>>(), ["local-lvm", "nfs"]);
    }
}
