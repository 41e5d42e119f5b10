//! `prebake status --wait`: waits until machines have reached a stage, and names those that have not.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{EVERY, StatusArgs, fetch, safe};
use crate::base::count::counted;
use crate::base::error::{Advice, Exit, Result};
use crate::serve::machines::client::{self, Server};
use crate::serve::machines::status::{MachineStatus, State, Status};
use crate::serve::machines::timeline::Stage;
use crate::tree::records::normal_mac;

/// The most machines that a line of progress names, and an error.
const NAMED: (usize, usize) = (5, 30);

/// The machines to wait for.
pub(super) enum Wish<'w> {
    /// These, by their names or identities.
    Names(&'w [String]),
    /// This many, whichever they are.
    Count(usize),
    /// All nodes of the recipe, of the inventory or of the data directory; one machine if there are none.
    Nodes,
}

/// How far the machines are that are waited for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    wanted: usize,
    reached: usize,
    /// Those that have not reached the stage: their names, and what they do.
    late: Vec<(String, String)>,
    /// Those that failed before.
    failed: Vec<(String, String)>,
    /// Whether too many have failed for the wish to come true.
    is_hopeless: bool,
}

impl Tally {
    fn of(status: &Status, wish: &Wish<'_>, stage: Stage) -> Tally {
        let missing = status.missing.as_deref().unwrap_or_default();
        // Strangers boot nothing; they neither count nor keep anybody waiting.
        let machines = || status.machines.iter().filter(|machine| !machine.stranger);
        let mut tally = Tally::default();
        match wish {
            Wish::Names(names) => {
                for name in *names {
                    match status.machines.iter().find(|machine| is_called(machine, name)) {
                        Some(machine) => tally.add(machine, stage),
                        None => {
                            let is_node = missing.iter().any(|node| node.is_called(name));
                            let what =
                                if is_node { "never seen" } else { "never seen, and no node of the server" };
                            tally.late.push((name.clone(), what.into()));
                        }
                    }
                }
                tally.wanted = names.len();
                tally.is_hopeless = !tally.failed.is_empty();
            }
            Wish::Count(_) | Wish::Nodes => {
                let nodes = machines().filter(|machine| machine.node).count() + missing.len();
                let all = matches!(wish, Wish::Count(_)) || nodes == 0;
                machines()
                    .filter(|machine| all || machine.node)
                    .for_each(|machine| tally.add(machine, stage));
                let never = missing.iter().map(|node| (node.name.clone(), "never seen".to_owned()));
                tally.late.extend(never);
                tally.wanted = match wish {
                    Wish::Count(count) => *count,
                    _ => nodes.max(1),
                };
                // More machines than those of the site may come only where a group takes any.
                let left = nodes.saturating_sub(tally.failed.len());
                let others =
                    machines().filter(|machine| !machine.node && machine.state != State::Failed).count();
                tally.is_hopeless = !tally.failed.is_empty() && left + others < tally.wanted;
            }
        }
        tally
    }

    fn add(&mut self, machine: &MachineStatus, stage: Stage) {
        if machine.has_reached(stage) {
            self.reached += 1;
            return;
        }
        let name = safe(machine.name.as_deref().unwrap_or(&machine.id));
        let stage = machine.stage.map_or("only seen", Stage::word);
        let what = match machine.troubles.first() {
            Some(trouble) => format!("{stage}, {}: {}", machine.state.word(), safe(&trouble.what)),
            None => format!("{stage}, {}", machine.state.word()),
        };
        match machine.state {
            State::Failed => self.failed.push((name, what)),
            _ => self.late.push((name, what)),
        }
    }

    /// The progress in a line.
    fn line(&self, stage: Stage) -> String {
        let Tally { wanted, reached, late, failed, .. } = self;
        let mut line = format!("{reached} of {} reached {stage}", counted(*wanted, "machine"));
        let names: BTreeSet<&str> = failed.iter().chain(late).map(|(name, _)| name.as_str()).collect();
        if reached < wanted && !names.is_empty() {
            let shown: Vec<&str> = names.iter().take(NAMED.0).copied().collect();
            let more = names.len() - shown.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            line += &format!("; waiting for {}{more}", shown.join(", "));
        }
        line
    }

    /// Everybody who keeps others waiting, each on a line; first those that failed.
    fn list(&self) -> String {
        let all: Vec<&(String, String)> = self.failed.iter().chain(&self.late).collect();
        let lines = all.iter().take(NAMED.1).map(|(name, what)| format!("\n  {name}: {what}"));
        let more = all.len().saturating_sub(NAMED.1);
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        lines.collect::<String>() + &more
    }
}

/// Whether a person may mean this machine: by its name, group, or an identity.
fn is_called(machine: &MachineStatus, text: &str) -> bool {
    let MachineStatus { id, name, group, mac, uuid, .. } = machine;
    let group = group.as_ref().filter(|_| machine.node);
    let said = [name.as_ref(), group, mac.as_ref(), uuid.as_ref(), Some(id)];
    said.into_iter().flatten().any(|known| known.eq_ignore_ascii_case(text))
        || mac.is_some() && *mac == normal_mac(text)
}

/// Waits, and shows the machines at the end.
///
/// # Errors
/// Too many have failed, or the time is over.
pub(super) async fn wait(args: &StatusArgs, server: &Server, wish: &Wish<'_>, stage: Stage) -> Result<()> {
    let started = Instant::now();
    let mut told = String::new();
    loop {
        // If the server is not up yet, keep waiting.
        let answer = fetch(server).await;
        let is_late = started.elapsed() >= args.timeout;
        match answer {
            Err(error) if is_late || !matches!(error, client::Error::Silent { .. }) => {
                return Err(error.into());
            }
            Err(_) => {}
            Ok(status) => {
                let tally = Tally::of(&status, wish, stage);
                let line = tally.line(stage);
                if line != told && !is_late {
                    tell!("{line}");
                    told = line;
                }
                if tally.reached >= tally.wanted {
                    return args.show(&status);
                }
                if tally.is_hopeless || is_late {
                    args.show(&status)?;
                    let Tally { reached, wanted, is_hopeless, .. } = tally;
                    let waited = args.timeout;
                    let error = Unreached { reached, wanted, stage, is_hopeless, waited, list: tally.list() };
                    return Err(error.into());
                }
            }
        }
        tokio::time::sleep(EVERY.min(args.timeout.saturating_sub(started.elapsed()))).await;
    }
}

/// Machines did not reach a stage.
#[derive(Debug, thiserror::Error)]
#[error("{reached} of {} reached {stage} {}{list}", counted(*wanted, "machine"), self.when())]
struct Unreached {
    reached: usize,
    wanted: usize,
    stage: Stage,
    /// Whether it was given up because machines failed.
    is_hopeless: bool,
    /// How long they were given.
    waited: Duration,
    list: String,
}

impl Unreached {
    fn when(&self) -> String {
        match self.is_hopeless {
            true => "when others had failed".into(),
            false => format!("within {}", humantime::format_duration(self.waited)),
        }
    }
}

impl Advice for Unreached {
    fn exit(&self) -> Exit {
        if self.is_hopeless { Exit::Failed } else { Exit::TimedOut }
    }

    fn hint(&self) -> Option<String> {
        Some("`prebake logs --mac NAME` shows what the server noticed of one of them".into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{machine, status};
    use super::*;

    fn rack() -> Status {
        let mut ready = machine("a", "done", "booted");
        let ended = ready["since"].clone();
        ready["steps"][0]["ended"] = ended;
        ready["node"] = true.into();
        let mut slow = machine("b", "working", "kernel");
        slow["node"] = true.into();
        let mut stranger = machine("x", "stuck", "script");
        stranger["stranger"] = true.into();
        let mut status = status(serde_json::json!([ready, slow, stranger]));
        let missing = serde_json::json!([{"name": "c", "mac": "52:54:00:00:00:03", "uuid": null, "serial": null,
            "group": "c", "profile": "worker"}]);
        status.missing = serde_json::from_value(missing).unwrap();
        status
    }

    /// ux 1.5: `--wait` could not name who was missing, and counted strangers.
    #[test]
    fn all_nodes_are_waited_for_and_those_that_are_late_or_missing_are_named() {
        let tally = Tally::of(&rack(), &Wish::Nodes, Stage::Booted);
        assert_eq!((tally.wanted, tally.reached, tally.is_hopeless), (3, 1, false));
        assert_eq!(tally.line(Stage::Booted), "1 of 3 machines reached booted; waiting for b, c");
        assert_eq!(tally.list(), "\n  b: kernel, working\n  c: never seen");
        assert_eq!(Tally::of(&rack(), &Wish::Count(1), Stage::Booted).reached, 1);
        // Nodes that a person names, however they are spelled.
        let names = ["52-54-00-00-00-03".to_owned(), "a".to_owned(), "typo".to_owned()];
        let tally = Tally::of(&rack(), &Wish::Names(&names), Stage::Booted);
        assert_eq!((tally.wanted, tally.reached), (3, 1));
        assert!(
            tally.list().ends_with("\n  typo: never seen, and no node of the server"),
            "{}",
            tally.list()
        );
        // A stranger that fetched its script reached nothing.
        assert_eq!(Tally::of(&rack(), &Wish::Count(9), Stage::Script).reached, 2);
    }

    /// ux §5: it waited for 30 minutes although a machine had failed.
    #[test]
    fn it_ends_once_too_many_have_failed() {
        let mut rack = rack();
        rack.machines[1].state = State::Failed;
        let hopeless = |wish| Tally::of(&rack, &wish, Stage::Booted).is_hopeless;
        assert!(hopeless(Wish::Nodes) && hopeless(Wish::Count(3)));
        assert!(!hopeless(Wish::Count(2)), "the one that is missing may still come");
        let names = ["b", "c"].map(str::to_owned);
        assert!(hopeless(Wish::Names(&names[..1])) && !hopeless(Wish::Names(&names[1..])));
    }
}
