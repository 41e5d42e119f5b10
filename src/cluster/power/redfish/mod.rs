//! A BMC that speaks Redfish (DSP0266), by five requests: root, systems, one system, PATCH of its boot settings, POST of a reset.
//!
//! Owns the order of steps, and what is tried where vendors disagree: read first, send only what differs, to the resource of future
//! settings if there is one (AMI's `/SD`), with the tag of what was read; read back; and where all of it fails, switch the power and say
//! that a person must set PXE. Leaves requests to `wire`, answers to `document`, and bodies to `change`.

pub mod change;
pub mod document;
mod wire;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::sleep;
use url::Url;
use zeroize::Zeroizing;

use self::change::{LADDER, Wish};
use self::document::System;
use self::wire::{Answer, Wire};
use super::{Boot, Done, Error, Limits, State};
use crate::base::url::masked;
use crate::machine::node::Mac;

/// Most pages of a list of systems.
const PAGES: usize = 8;
/// Most network cards of a system that are asked for their address.
const CARDS: usize = 32;
/// The service's root (DSP0266 §6.2).
const ROOT: &str = "/redfish/v1/";

/// Resets that give power to a machine without.
const ON: &[&str] = &["On", "ForceOn", "PushPowerButton"];
/// Resets that take it.
const OFF: &[&str] = &["ForceOff"];
/// Resets that boot a machine anew.
const RESTART: &[&str] = &["ForceRestart", "PowerCycle"];

/// A BMC, and which of its systems is meant.
#[derive(Debug)]
pub struct Bmc {
    wire: Wire,
    /// The system's path, if the description names it.
    path: Option<String>,
    /// The card by which it is found otherwise.
    mac: Mac,
    limits: Limits,
    gate: Gate,
}

/// Held while a user is let in for the first time. Whether it was refused already: BMCs lock users out who try it again and again, and one
/// of them may have sixteen systems.
pub(super) type Gate = Arc<Mutex<bool>>;

/// The system as it was read, and where that was.
struct Read {
    path: String,
    system: System,
}

/// How an attempt to change the next boot ended.
enum Attempt {
    /// It is held: whether for one boot.
    Held(bool),
    /// It was refused, with this reason.
    Refused(String),
    /// It was taken, and had no effect.
    Ignored,
}

impl Bmc {
    /// The BMC at a URL, which may name one of its systems.
    pub(super) fn new(
        url: &Url,
        user: &str,
        password: Zeroizing<String>,
        insecure: bool,
        mac: Mac,
        limits: Limits,
    ) -> Result<Bmc, Error> {
        let path = url.path().trim_end_matches('/');
        let path = path.contains("/Systems/").then(|| path.to_owned());
        Ok(Bmc {
            wire: Wire::new(url, user, password, insecure, limits)?,
            path,
            mac,
            limits,
            gate: Gate::default(),
        })
    }

    /// Two with the same key are let in by the same BMC.
    pub(super) fn key(&self) -> String {
        self.wire.key()
    }

    pub(super) fn share(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// Does something within the limit for all of it, and leaves no session behind.
    pub(super) async fn within<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let done = tokio::time::timeout(self.limits.whole, work).await;
        self.wire.leave().await;
        let late = |_| Error::TimedOut { url: self.wire.name(), patience: self.limits.whole };
        done.map_err(late)?
    }

    pub(super) async fn state(&self) -> Result<State, Error> {
        Ok(self.find().await?.system.state)
    }

    pub(super) async fn on(&self) -> Result<Done, Error> {
        let read = self.find().await?;
        match read.system.state {
            State::On => Ok(Done { state: State::On, changed: false, boot: None }),
            State::PoweringOn => {
                self.follow(&read, State::On).await.map(|state| Done { state, changed: false, boot: None })
            }
            State::Off | State::PoweringOff | State::Unknown => self.give(&read).await,
        }
    }

    pub(super) async fn off(&self) -> Result<Done, Error> {
        let read = self.find().await?;
        if read.system.state == State::Off {
            return Ok(Done { state: State::Off, changed: false, boot: None });
        }
        self.take(&read).await
    }

    pub(super) async fn cycle(&self) -> Result<Done, Error> {
        let read = self.find().await?;
        self.boot(&read).await
    }

    pub(super) async fn boot_once(&self, url: Option<&Url>) -> Result<Done, Error> {
        let mut read = self.find().await?;
        let wishes = url.map(|url| Wish::Http(url.as_str())).into_iter().chain([Wish::Pxe]);
        let wishes: Vec<Wish<'_>> = wishes.collect();
        let mut boot = self.wish(&read, &wishes).await?;
        // iLOs refuse changes during the self-test, and for some machines as long as they run.
        if matches!(boot, Boot::Hand { .. }) && read.system.state != State::Off && read.system.boot.is_some()
        {
            self.take(&read).await?;
            read.system.state = State::Off;
            boot = self.wish(&read, &wishes).await?;
        }
        let done = self.boot(&read).await?;
        Ok(Done { boot: Some(boot), ..done })
    }

    pub(super) async fn boot_as_usual(&self) -> Result<Done, Error> {
        let read = self.find().await?;
        let Some(now) = &read.system.boot else {
            return Ok(Done { state: read.system.state, changed: false, boot: None });
        };
        let changed = Wish::Usual.held(now).is_none();
        if changed && let Boot::Hand { why } = self.wish(&read, &[Wish::Usual]).await? {
            return Err(Error::Refused {
                url: self.wire.shown(&read.path),
                action: "the end of the boot override",
                status: StatusCode::BAD_REQUEST,
                words: Some(why),
            });
        }
        Ok(Done { state: read.system.state, changed, boot: None })
    }

    /// Finds the system. This makes the first request with a password.
    async fn find(&self) -> Result<Read, Error> {
        let mut refused = self.gate.lock().await;
        if *refused {
            return Err(self.wire.denied(ROOT, StatusCode::UNAUTHORIZED));
        }
        let found = self.search().await;
        *refused = matches!(found, Err(Error::Denied { .. }));
        found
    }

    async fn search(&self) -> Result<Read, Error> {
        if let Some(path) = &self.path {
            return self.read(path).await;
        }
        let answer = self.wire.open(ROOT).await?;
        let root = self.parsed(ROOT, document::root(&answer.body))?;
        self.wire.sessions_at(root.sessions);
        let mut members = Vec::new();
        let mut next = Some(root.systems.clone());
        for _ in 0..PAGES {
            let Some(path) = next.take() else { break };
            let answer = self.wire.get(&path).await?;
            let page = self.parsed(&path, document::page(&answer.body))?;
            members.extend(page.members);
            next = page.next;
        }
        if let [only] = members.as_slice() {
            return self.read(only).await;
        }
        let mut names = Vec::new();
        for member in &members {
            let read = self.read(member).await?;
            if self.has_card(&read).await? {
                return Ok(read);
            }
            names.push(self.wire.said(&format!("{} ({})", read.path, read.system.name)));
        }
        let why = match names.as_slice() {
            [] => "the BMC has no system that this user may see".to_owned(),
            names => format!("none of the BMC's systems has a card with {}: {}", self.mac, names.join(", ")),
        };
        Err(Error::NoSystem { url: self.wire.name(), why })
    }

    async fn has_card(&self, read: &Read) -> Result<bool, Error> {
        let Some(cards) = &read.system.cards else { return Ok(false) };
        // Some BMCs name a list that they do not have as long as the machine is off.
        let Ok(answer) = self.wire.get(cards).await else { return Ok(false) };
        let page = self.parsed(cards, document::page(&answer.body))?;
        for member in page.members.iter().take(CARDS) {
            let Ok(answer) = self.wire.get(member).await else { continue };
            let addresses = self.parsed(member, document::addresses(&answer.body))?;
            if addresses.iter().any(|address| address.parse() == Ok(self.mac)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn read(&self, path: &str) -> Result<Read, Error> {
        let answer = self.wire.get(path).await?;
        let mut system = self.parsed(path, document::system(&answer.body))?;
        // The header is the tag of what was sent; some BMCs have another in the document.
        system.etag = answer.etag.or(system.etag);
        Ok(Read { path: path.to_owned(), system })
    }

    fn parsed<T>(&self, path: &str, read: Result<T, String>) -> Result<T, Error> {
        read.map_err(|why| Error::Stranger { url: self.wire.shown(path), why: self.wire.said(&why) })
    }

    /// Has the next boot be the first of the wishes that can be had.
    async fn wish(&self, read: &Read, wishes: &[Wish<'_>]) -> Result<Boot, Error> {
        let Some(now) = &read.system.boot else {
            return Ok(Boot::Hand { why: "its BMC has no boot override".into() });
        };
        let mut why = None;
        for wish in wishes {
            if let Some(lacks) = wish.impossible(now) {
                why = Some(lacks.to_owned());
                continue;
            }
            match self.attempt(read, *wish).await? {
                Attempt::Held(once) => {
                    return Ok(match wish {
                        Wish::Http(_) => Boot::Http { once },
                        Wish::Pxe | Wish::Usual => Boot::Pxe { once },
                    });
                }
                Attempt::Refused(words) => why = Some(format!("its BMC refuses: {words}")),
                Attempt::Ignored => why = Some("its BMC takes the setting and does not keep it".into()),
            }
        }
        Ok(Boot::Hand { why: why.unwrap_or_default() })
    }

    /// Tries the bodies of the ladder at each resource that may take them.
    async fn attempt(&self, read: &Read, wish: Wish<'_>) -> Result<Attempt, Error> {
        let mut last = Attempt::Ignored;
        let own = read.path.as_str();
        let places = read.system.settings.iter().map(String::as_str).filter(|path| *path != own).chain([own]);
        for place in places {
            let mut sent = Vec::new();
            for scope in LADDER {
                // A resource of future settings may be named and not be there.
                let Ok(now) = self.read(place).await else { break };
                let Some(boot) = now.system.boot.as_ref().or(read.system.boot.as_ref()) else { break };
                if let Some(once) = wish.held(boot) {
                    return Ok(Attempt::Held(once));
                }
                let Some(body) = wish.body(boot, scope).filter(|body| !sent.contains(body)) else { continue };
                let answer = self.patch(now, &body).await?;
                sent.push(body);
                last = match answer.status {
                    status if status.is_success() => self.settled(place, own, wish).await?,
                    // A setting may be there although the answer is an error (ansible-collections/community.general#5091).
                    status => match self.looked(place, own, wish).await? {
                        Some(once) => Attempt::Held(once),
                        None => Attempt::Refused(self.wire.told(status, &answer.body)),
                    },
                };
                if matches!(last, Attempt::Held(_)) {
                    return Ok(last);
                }
            }
        }
        Ok(last)
    }

    /// Sends a body with the tag of what was read. A tag that is out of date by then is read again; one that the BMC does not accept in any
    /// form is left out.
    async fn patch(&self, now: Read, body: &serde_json::Value) -> Result<Answer, Error> {
        let path = now.path.clone();
        let mut etag = now.system.etag;
        let mut answer = self.wire.send(Method::PATCH, &path, Some(body), etag.as_deref()).await?;
        for again in 0..3 {
            etag = match (answer.status, again) {
                (StatusCode::PRECONDITION_FAILED, 0) => self.read(&path).await?.system.etag,
                // Some send a weak tag and compare it as a strong one.
                (StatusCode::PRECONDITION_FAILED, 1) => {
                    etag.map(|etag| etag.strip_prefix("W/").map(str::to_owned).unwrap_or(etag))
                }
                (StatusCode::PRECONDITION_FAILED, _) => None,
                (StatusCode::PRECONDITION_REQUIRED, _) => Some("*".into()),
                _ => break,
            };
            answer = self.wire.send(Method::PATCH, &path, Some(body), etag.as_deref()).await?;
        }
        match answer.status {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(self.wire.denied(&path, status))
            }
            _ => Ok(answer),
        }
    }

    /// Whether the next boot is as it is wished, for the resource that was written or for the system.
    async fn looked(&self, place: &str, own: &str, wish: Wish<'_>) -> Result<Option<bool>, Error> {
        for path in [place, own] {
            let boot = self.read(path).await.ok().and_then(|read| read.system.boot);
            if let Some(once) = boot.and_then(|boot| wish.held(&boot)) {
                return Ok(Some(once));
            }
            if place == own {
                break;
            }
        }
        Ok(None)
    }

    /// Waits until a setting that was taken can be read back.
    async fn settled(&self, place: &str, own: &str, wish: Wish<'_>) -> Result<Attempt, Error> {
        let begun = Instant::now();
        loop {
            if let Some(once) = self.looked(place, own, wish).await? {
                return Ok(Attempt::Held(once));
            }
            if begun.elapsed() >= self.limits.settle {
                return Ok(Attempt::Ignored);
            }
            sleep(self.limits.poll).await;
        }
    }

    /// Boots a machine, whatever its state is.
    async fn boot(&self, read: &Read) -> Result<Done, Error> {
        match read.system.state {
            State::On | State::PoweringOn => {
                // Without a reset that does both, it is off and on.
                match self.reset(read, RESTART, State::On).await {
                    Err(Error::NoReset { .. } | Error::Refused { .. }) => {
                        self.take(read).await?;
                        self.give(read).await
                    }
                    Err(error) => Err(error),
                    Ok(()) => {
                        Ok(Done { state: self.follow(read, State::On).await?, changed: true, boot: None })
                    }
                }
            }
            State::PoweringOff => {
                self.follow(read, State::Off).await?;
                self.give(read).await
            }
            State::Off | State::Unknown => self.give(read).await,
        }
    }

    async fn give(&self, read: &Read) -> Result<Done, Error> {
        self.reset(read, ON, State::On).await?;
        Ok(Done { state: self.follow(read, State::On).await?, changed: true, boot: None })
    }

    async fn take(&self, read: &Read) -> Result<Done, Error> {
        self.reset(read, OFF, State::Off).await?;
        Ok(Done { state: self.follow(read, State::Off).await?, changed: true, boot: None })
    }

    /// Posts the first of the resets that the BMC has.
    async fn reset(&self, read: &Read, kinds: &[&str], wanted: State) -> Result<(), Error> {
        let url = || self.wire.shown(&read.path);
        let known = match &read.system.reset {
            None => {
                return Err(Error::NoReset {
                    url: url(),
                    wanted: kinds.join(", "),
                    known: "no resets".into(),
                });
            }
            Some(reset) => match (&reset.types, &reset.info) {
                (Some(types), _) => Some(types.clone()),
                (None, Some(info)) => match self.wire.get(info).await {
                    Ok(answer) => document::reset_types(&answer.body).unwrap_or_default(),
                    Err(_) => None,
                },
                (None, None) => None,
            },
        };
        let target = read.system.reset.as_ref().map(|reset| reset.target.as_str()).unwrap_or_default();
        let kind = match &known {
            None => kinds.first(),
            Some(known) => kinds.iter().find(|kind| known.iter().any(|one| one == *kind)),
        };
        let Some(kind) = kind else {
            let known = self.wire.said(&known.unwrap_or_default().join(", "));
            return Err(Error::NoReset { url: url(), wanted: kinds.join(", "), known });
        };
        let answer = self.wire.send(Method::POST, target, Some(&json!({ "ResetType": kind })), None).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(self.wire.denied(target, status))
            }
            status => {
                // An order that came too late is refused, too: iDRACs answer 409, iLOs 400.
                let is_so = wanted != State::On || read.system.state != State::On;
                if is_so && self.read(&read.path).await?.system.state == wanted {
                    return Ok(());
                }
                let words = Some(self.wire.told(status, &answer.body));
                Err(Error::Refused { url: url(), action: "the reset", status, words })
            }
        }
    }

    /// Waits until the power follows an order.
    async fn follow(&self, read: &Read, wanted: State) -> Result<State, Error> {
        let begun = Instant::now();
        let mut state = State::Unknown;
        loop {
            // A BMC may be silent for some seconds while it switches.
            match self.read(&read.path).await {
                Ok(read) => state = read.system.state,
                Err(error @ (Error::Denied { .. } | Error::Impostor { .. } | Error::Elsewhere { .. })) => {
                    return Err(error);
                }
                Err(error) if begun.elapsed() >= self.limits.follow => return Err(error),
                Err(_) => {}
            }
            if state == wanted {
                return Ok(state);
            }
            if begun.elapsed() >= self.limits.follow {
                let subject = self.wire.shown(&read.path);
                return Err(Error::Stuck { subject, wanted, state, patience: self.limits.follow });
            }
            sleep(self.limits.poll).await;
        }
    }
}

/// A URL without its user, password, path and query, for people.
fn site(url: &Url) -> String {
    let mut url = url.clone();
    url.set_path("");
    url.set_query(None);
    url.set_fragment(None);
    masked(url.as_str()).trim_end_matches('/').to_owned()
}
