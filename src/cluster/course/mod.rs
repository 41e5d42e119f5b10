//! The course from a description to a cluster that is ready.
//!
//! ```text
//! Step ─▶ Record (state.json)
//! Monitor (machines), Follower (API server) ─▶ Course ─▶ News ─▶ lines, table, JSON
//!                                                 └────▶ Formation ─▶ status page
//! ```
//! Progress is judged by the API server and the machines' reports at each moment, so that the course may be entered at any
//! point: after a kill, a power cut, or on a cluster that is ready. Owns the order of the steps, their limits in time, and the words
//! for what is late. Leaves making and serving to those who call, and screens to `cli`.

mod admission;
mod forming;
mod labels;
mod late;
pub mod record;
mod sight;
pub mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use url::Url;

pub use self::late::Late;
pub use self::sight::Sight;
use crate::addon::Addon;
use crate::base::error::Result;
use crate::cluster::api::addons::Plan;
use crate::cluster::api::apply;
use crate::cluster::api::change::Rollout;
use crate::cluster::api::client::Connection;
use crate::cluster::api::follow::Follower;
use crate::cluster::api::snapshot::Snapshot;
use crate::cluster::description::{Cluster, Node};
use crate::cluster::pki::JOINING_RENEWED;
use crate::cluster::place::Place;
use crate::cluster::power::{Action, Fleet, Outcome};
use crate::serve::machines::monitor::Monitor;
use record::Record;
use step::{STEADY, Step};

/// How often machines are looked at.
const TICK: Duration = Duration::from_millis(500);
/// How long one try to apply an add-on may take; the step has its own limit.
const TRY: Duration = Duration::from_secs(300);
/// How long after a failed try the next one begins.
const AGAIN: Duration = Duration::from_secs(5);

/// Makes what machines join with anew.
pub type Renew = Box<dyn Fn() -> Result<()> + Send + Sync>;

/// News of the course.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "news")]
pub enum News<'n> {
    /// A step begins.
    Step {
        /// The step.
        step: Step,
        /// Its title.
        title: &'n str,
    },
    /// Something has changed.
    Line {
        /// The node that it is about, if it is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<&'n str>,
        /// It in words.
        text: &'n str,
    },
    /// A person has to do something.
    Ask {
        /// The request, in a sentence.
        text: &'n str,
        /// The machines that it is about: name and MAC address.
        machines: &'n BTreeMap<String, String>,
    },
    /// How all nodes are, twice a second.
    View {
        /// The step.
        step: Step,
        /// Seconds since it began.
        seconds: u64,
        /// The thing that a person has to do now.
        #[serde(skip_serializing_if = "Option::is_none")]
        ask: Option<&'n str>,
        /// The nodes in the order of the description.
        nodes: &'n [Sight],
    },
}

/// Receives news.
pub type Tell = Arc<dyn Fn(&News<'_>) + Send + Sync>;

/// The course's subject and means.
pub struct Course {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Its files.
    pub place: Place,
    /// The record of its steps.
    pub record: Record,
    /// The boot server's view of the machines.
    pub monitor: Arc<Monitor>,
    /// The API server.
    pub connection: Connection,
    /// Manifests that are applied to it.
    pub plan: Arc<Plan>,
    /// The nodes that are awaited.
    pub awaited: BTreeSet<String>,
    /// Whether machines with BMCs are switched on.
    pub switches: bool,
    /// The time for everything after which the course ends with what is late.
    pub limit: Option<Duration>,
    /// See [`Renew`].
    pub renew: Renew,
    /// See [`Tell`].
    pub tell: Tell,
}

/// The state of a run.
struct Run {
    course: Course,
    snapshot: Snapshot,
    step: Step,
    began: Instant,
    all_began: Instant,
    sights: Vec<Sight>,
    /// Since when everything is ready.
    steady: Option<Instant>,
    applied: Applied,
    admission: admission::Admission,
    labelling: labels::Labelling,
    /// The nodes that a person has to switch on.
    by_hand: BTreeSet<String>,
    renewed: Instant,
    told: Option<crate::serve::machines::formation::Formation>,
    phase: crate::serve::machines::stamp::Stamp,
}

/// Machines that a program has switched on, or could not.
struct Switched {
    nodes: Vec<String>,
    text: String,
    is_done: bool,
}

/// The add-ons and manifests that were applied in this run.
#[derive(Default)]
struct Applied {
    network: bool,
    others: bool,
    /// The running application: of the others, or of the network plugin.
    running: Option<(bool, JoinHandle<Result<()>>)>,
    /// When it last failed, and why.
    failed: Option<(Instant, String)>,
}

impl Course {
    /// Goes on from where the cluster is until it is ready.
    ///
    /// # Errors
    /// Something took longer than its limit; the record cannot be written.
    pub async fn run(self) -> Result<()> {
        let follower = Follower::new(&self.connection);
        let now = Instant::now();
        let run = Run {
            snapshot: Snapshot::default(),
            step: Step::Power,
            began: now,
            all_began: now,
            sights: Vec::new(),
            steady: None,
            applied: Applied::default(),
            admission: admission::Admission::default(),
            labelling: labels::Labelling::default(),
            by_hand: BTreeSet::new(),
            renewed: now,
            told: None,
            phase: SystemTime::now().into(),
            course: self,
        };
        run.follow(follower).await
    }

    fn line(&self, node: Option<&str>, text: &str) {
        (self.tell)(&News::Line { node, text });
    }
}

impl Run {
    /// Goes all steps, and tells how it ended.
    async fn follow(mut self, follower: Follower) -> Result<()> {
        let ended = self.steps(follower).await;
        if ended.is_err() {
            self.tell_failure();
        }
        ended
    }

    async fn steps(&mut self, mut follower: Follower) -> Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (told, mut switched) = mpsc::unbounded_channel::<Switched>();
        // A cluster that runs already is heard of first: what is Ready there is not switched.
        let mut power = Some(told);
        let heard = Instant::now();
        self.course.record.begin(Step::Power)?;
        (self.course.tell)(&News::Step { step: Step::Power, title: Step::Power.title() });
        loop {
            tokio::select! {
                change = follower.next() => {
                    for line in self.snapshot.take(change) {
                        self.course.line(None, &line);
                    }
                }
                Some(Switched { nodes, text, is_done }) = switched.recv() => {
                    self.course.line(None, &text);
                    let now = crate::base::clock::date(SystemTime::now());
                    for node in nodes {
                        match is_done {
                            true => drop(self.course.record.powered.insert(node, now.clone())),
                            false => drop(self.by_hand.insert(node)),
                        }
                    }
                    self.course.record.write()?;
                }
                _ = ticks.tick() => {}
            }
            self.look();
            // The API server has a moment to say what is there already.
            if let Some(told) = power.take_if(|_| self.snapshot.knows_nodes() || heard.elapsed() > TICK) {
                self.power(told);
                let step = self.judge();
                self.enter(step)?;
            }
            if power.is_some() {
                continue;
            }
            self.admit().await;
            self.label().await;
            self.apply().await;
            let step = self.judge();
            if step != self.step {
                self.enter(step)?;
            }
            self.renew();
            self.form();
            let seconds = self.began.elapsed().as_secs();
            let ask = self.told.as_ref().and_then(|told| told.ask.as_deref());
            (self.course.tell)(&News::View { step: self.step, seconds, ask, nodes: &self.sights });
            if self.step == Step::End {
                return Ok(());
            }
            if let Some(late) = self.late() {
                return Err(late.into());
            }
        }
    }

    /// Switches the machines on that a program can switch, and has a person switch on the others.
    fn power(&mut self, told: mpsc::UnboundedSender<Switched>) {
        let course = &self.course;
        let is_awaited =
            |node: &&Node| course.awaited.contains(&node.name.value) && !self.is_ready(&node.name.value);
        // A machine that has been seen, in this run or before it was restarted, has power.
        let is_off = |node: &&Node| {
            Sight::of(node, &course.monitor, &self.snapshot, SystemTime::now()).stage.is_none()
        };
        let wanted: Vec<&Node> = course.cluster.nodes.iter().filter(is_awaited).collect();
        let (by_program, by_hand): (Vec<&Node>, Vec<&Node>) =
            wanted.into_iter().filter(is_off).partition(|node| course.switches && node.power.is_some());
        let by_program: Vec<String> = by_program.iter().map(|node| node.name.value.clone()).collect();
        if !by_program.is_empty() {
            let cluster = course.cluster.clone();
            let ready: BTreeSet<String> = self
                .snapshot
                .nodes
                .values()
                .filter(|node| node.ready)
                .map(|node| node.name.clone())
                .collect();
            let runtime = tokio::runtime::Handle::current();
            // Commands and BMCs take their time, and have a thread of their own.
            tokio::task::spawn_blocking(move || {
                let fleet = match Fleet::of(&cluster).only(&by_program) {
                    Ok(fleet) => fleet.spare(ready),
                    Err(error) => {
                        let (nodes, text) = (by_program, error.to_string());
                        return drop(told.send(Switched { nodes, text, is_done: false }));
                    }
                };
                let seen = |outcome: &Outcome| {
                    let (nodes, text) = (vec![outcome.node.clone()], words(outcome));
                    drop(told.send(Switched { nodes, text, is_done: outcome.done.is_ok() }));
                };
                runtime.block_on(fleet.run(&Action::Boot(boot_url(&cluster)), seen));
            });
        }
        if !by_hand.is_empty() {
            let machines: BTreeMap<String, String> =
                by_hand.iter().map(|node| (node.name.value.clone(), node.mac.value.to_string())).collect();
            self.by_hand = machines.keys().cloned().collect();
            // A reader of the news may look at the status page at once.
            self.form();
            (self.course.tell)(&News::Ask { text: "Power on your nodes now", machines: &machines });
        }
    }

    fn enter(&mut self, step: Step) -> Result<()> {
        for before in
            step::STEPS.iter().map(|row| row.step).filter(|before| *before < step && *before >= Step::Power)
        {
            let open = self.course.record.steps.get(&before).is_some_and(|times| times.ended.is_none());
            if open {
                self.course.record.end(before)?;
            }
        }
        if step != self.step {
            (self.step, self.began) = (step, Instant::now());
            self.phase = SystemTime::now().into();
            self.course.record.begin(step)?;
            self.form();
            if step != Step::End {
                (self.course.tell)(&News::Step { step, title: step.title() });
            }
        }
        Ok(())
    }

    fn is_ready(&self, name: &str) -> bool {
        self.snapshot.nodes.get(name).is_some_and(|node| node.ready)
    }

    fn are_nodes_ready(&self) -> bool {
        self.snapshot.knows_nodes() && self.course.awaited.iter().all(|name| self.is_ready(name))
    }

    /// The step that the cluster is at, as far as it is known at this moment.
    fn judge(&mut self) -> Step {
        let step = match () {
            () if !self.snapshot.knows_nodes() => Step::Answer,
            () if !self.applied.network => Step::Apply,
            () if !self.are_nodes_ready() || !self.are_labelled() => Step::Nodes,
            () if !self.applied.others => Step::Apply,
            () if !self.snapshot.unknown().is_empty()
                || self.snapshot.addons.iter().any(|addon| addon.state != Rollout::Done) =>
            {
                Step::Addons
            }
            () => Step::Settle,
        };
        if step != Step::Settle {
            self.steady = None;
            return step;
        }
        let since = *self.steady.get_or_insert_with(Instant::now);
        if since.elapsed() >= STEADY { Step::End } else { Step::Settle }
    }

    /// Applies what is due: the network plugin as soon as the API server answers, the others once all nodes are ready.
    async fn apply(&mut self) {
        if let Some((others, running)) = self.applied.running.take_if(|(_, running)| running.is_finished()) {
            let done = running.await.unwrap_or_else(|fault| Err(late::Fault(fault.to_string()).into()));
            match done {
                Ok(()) if others => self.applied.others = true,
                Ok(()) => self.applied.network = true,
                Err(error) => {
                    let text = error.to_string();
                    if self.applied.failed.as_ref().is_none_or(|(_, known)| *known != text) {
                        self.course.line(None, &text);
                    }
                    self.applied.failed = Some((Instant::now(), text));
                }
            }
        }
        let rests = self.applied.failed.as_ref().is_some_and(|(at, _)| at.elapsed() < AGAIN);
        if self.applied.running.is_some() || rests || !self.snapshot.knows_nodes() {
            return;
        }
        let others = match (self.applied.network, self.applied.others) {
            (false, _) => false,
            (true, false) if self.are_nodes_ready() => true,
            _ => return,
        };
        let (plan, connection, tell) =
            (self.course.plan.clone(), self.course.connection.clone(), self.course.tell.clone());
        let work = async move {
            let mut told = |line: String| tell(&News::Line { node: None, text: &line });
            let addons: Vec<&Addon> = match others {
                false => plan.network.iter().collect(),
                true => plan.others.iter().collect(),
            };
            for addon in addons {
                apply::apply(&connection, addon, TRY, &mut told).await?;
            }
            Ok(())
        };
        self.applied.running = Some((others, tokio::spawn(work)));
    }

    /// Looks at the machines, and tells what has changed.
    fn look(&mut self) {
        let now = SystemTime::now();
        let sights: Vec<Sight> = self
            .course
            .cluster
            .nodes
            .iter()
            .map(|node| Sight::of(node, &self.course.monitor, &self.snapshot, now))
            .collect();
        for (at, sight) in sights.iter().enumerate() {
            if let Some(text) = sight.news(self.sights.get(at)) {
                self.course.line(Some(&sight.name), &text);
            }
        }
        self.sights = sights;
    }

    fn renew(&mut self) {
        if self.renewed.elapsed() < JOINING_RENEWED {
            return;
        }
        self.renewed = Instant::now();
        if let Err(error) = (self.course.renew)() {
            self.course.line(None, &format!("what machines join with cannot be made anew: {error}"));
        }
    }

    /// Tells the status page.
    fn form(&mut self) {
        let formation = forming::formation(self);
        if self.told.as_ref() != Some(&formation) {
            self.course.monitor.forms(formation.clone());
            self.told = Some(formation);
        }
    }

    fn tell_failure(&mut self) {
        let formation = forming::formation(self);
        self.course.monitor.forms(forming::given_up(formation));
    }
}

/// The URL of a loader that UEFI fetches over HTTP.
fn boot_url(cluster: &Cluster) -> Option<Url> {
    let loader = crate::machine::firmware::PLATFORMS[1].loader;
    let (ip, port) = (cluster.bootstrap.ip.value, crate::cluster::doctor::HTTP);
    Url::parse(&format!("http://{ip}:{port}/{}{loader}", crate::tree::names::LOADERS)).ok()
}

fn words(outcome: &Outcome) -> String {
    let node = &outcome.node;
    match &outcome.done {
        Ok(done) => match &done.boot {
            Some(boot) => format!("{node} has power ({}), boots by {boot}", done.state),
            None => format!("{node} has power ({})", done.state),
        },
        Err(error) => format!("{node} is to be switched on by hand: {error}"),
    }
}
