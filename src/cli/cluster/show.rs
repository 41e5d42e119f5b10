//! The way to a cluster on a terminal, in a log, or as JSON.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use indicatif::TermLike;

use super::forming::from_memory;
use crate::cli::fit::elided;
use crate::cli::screen::Screen;
use crate::cli::{say, terminal};
use crate::cluster::course::step::Step;
use crate::cluster::course::{News, Sight, Tell};
use crate::cluster::description::Cluster;
use crate::cluster::place::Place;

/// Rows of a terminal that are left to what was told before.
const REST: usize = 4;

/// Shows news.
#[derive(Clone)]
pub(super) struct Show(Arc<Inner>);

struct Inner {
    json: bool,
    /// The rows at the bottom of a terminal, if there is one.
    screen: Option<Screen>,
    began: Instant,
    cluster: String,
    /// Whether the rows are on the screen, and messages wait.
    drawn: Mutex<bool>,
}

impl Show {
    pub(super) fn new(json: bool, cluster: &Cluster) -> Show {
        let is_terminal = terminal::columns_of_stderr().is_some() && !terminal::is_quiet();
        let screen = (is_terminal && !json).then(Screen::default);
        let (began, cluster) = (Instant::now(), cluster.name.value.clone());
        Show(Arc::new(Inner { json, screen, began, cluster, drawn: Mutex::new(false) }))
    }

    /// Whether a table is drawn.
    pub(super) fn is_table(&self) -> bool {
        self.0.screen.is_some()
    }

    /// Tells a step.
    pub(super) fn step(&self, step: Step) {
        self.0.news(&News::Step { step, title: step.title() });
    }

    /// The receiver of news.
    pub(super) fn tell(&self) -> Tell {
        let inner = self.0.clone();
        Arc::new(move |news| inner.news(news))
    }

    /// Takes the table away.
    pub(super) fn end(&self) {
        self.0.erase();
    }

    /// Tells that all is done, and what comes next.
    pub(super) fn done(&self, cluster: &Cluster, place: &Place, how: &str) {
        self.end();
        let (name, kubeconfig) = (&cluster.name.value, place.kubeconfig());
        if self.0.json {
            let done = serde_json::json!({"news": "ready", "cluster": name, "kubeconfig": kubeconfig, "nodes": cluster.nodes.len()});
            say!("{done}");
            return;
        }
        say!("{name} {how}: {}", crate::base::count::counted(cluster.nodes.len() as u64, "node"));
        say!("  kubectl --kubeconfig {} get nodes", kubeconfig.display());
        let memory = from_memory(cluster);
        if !memory.is_empty() {
            say!(
                "  {} boot over the network each time, and need a boot server for that: `prebake cluster serve`",
                memory.join(", ")
            );
        }
    }
}

impl Inner {
    fn news(&self, news: &News<'_>) {
        match news {
            _ if self.json && !matches!(news, News::View { .. }) => {
                say!("{}", serde_json::to_string(news).unwrap_or_default())
            }
            News::View { step, seconds, ask, nodes } => self.draw((*step, *seconds), *ask, nodes),
            News::Step { title, .. } => self.line(title),
            News::Line { node: None, text } => self.line(text),
            News::Line { node: Some(node), text } => self.line(&format!("{node}: {text}")),
            News::Ask { text, machines } => {
                let list: Vec<String> =
                    machines.iter().map(|(name, mac)| format!("  {name}  {mac}")).collect();
                self.line(&format!("{text}:\n{}", list.join("\n")));
            }
        }
    }

    fn line(&self, text: &str) {
        let seconds = self.began.elapsed().as_secs();
        self.erase();
        insist!("[{:>3}:{:02}] {text}", seconds / 60, seconds % 60);
    }

    /// Removes the rows, and lets the messages through that waited.
    fn erase(&self) {
        let Some(screen) = &self.screen else { return };
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *drawn) {
            let _ = screen.clear_line().and_then(|()| screen.flush());
            say::release(&[]);
        }
    }

    fn draw(&self, at: (Step, u64), ask: Option<&str>, nodes: &[Sight]) {
        let Some(screen) = &self.screen else { return };
        self.erase();
        // The log's thread writes what has waited before the rows are drawn again.
        say::flush();
        let columns = terminal::columns_of_stderr().unwrap_or(terminal::WIDEST);
        let most = usize::from(terminal::rows_of_stderr().unwrap_or(24)).saturating_sub(REST).max(3);
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows(&self.cluster, at, ask, nodes, most) {
            let _ = screen.write_line(&elided(&say::printable(&row), columns.saturating_sub(1)));
        }
        let _ = screen.flush();
        say::hold();
        *drawn = true;
    }
}

/// The table: what is awaited, what a person has to do, then the nodes, those that are not ready first.
fn rows(
    cluster: &str,
    (step, seconds): (Step, u64),
    ask: Option<&str>,
    nodes: &[Sight],
    most: usize,
) -> Vec<String> {
    let ready = nodes.iter().filter(|node| node.ready == Some(true)).count();
    let title = step.title();
    let mut rows = vec![format!(
        "{cluster}: {title}, {}:{:02}; {ready} of {} nodes Ready",
        seconds / 60,
        seconds % 60,
        nodes.len()
    )];
    rows.extend(ask.map(|ask| format!("  {ask}")));
    let width = nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or(0);
    let mut order: Vec<&Sight> = nodes.iter().collect();
    order.sort_by_key(|node| (node.ready == Some(true), !node.failed));
    let shown = match order.len() + rows.len() > most {
        true => most.saturating_sub(rows.len() + 1),
        false => order.len(),
    };
    rows.extend(
        order[..shown]
            .iter()
            .map(|node| format!("  {:<width$}  {:<10}  {}", node.name, node.role, node.words())),
    );
    if shown < order.len() {
        rows.push(format!("  and {} more", order.len() - shown));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_are_not_ready_come_first_and_a_hall_fits_the_screen() {
        let node = |number: usize, ready: Option<bool>| Sight {
            name: format!("n{number}"),
            mac: String::new(),
            role: "worker",
            stage: Some("booted".into()),
            detail: String::new(),
            seconds: 0,
            booted: 0,
            joins: false,
            failed: false,
            ready,
            why: None,
            hint: None,
        };
        let nodes: Vec<Sight> = (0..100).map(|number| node(number, (number != 7).then_some(true))).collect();
        let asked = rows("k", (Step::Answer, 61), Some("power on: n7"), &nodes, 20);
        assert_eq!((asked.len(), asked[1].as_str()), (20, "  power on: n7"));
        assert_eq!(asked[19], "  and 83 more");
        let rows = rows("k", (Step::Nodes, 61), None, &nodes, 20);
        assert_eq!(rows.len(), 20);
        assert_eq!(rows[0], "k: waiting for all nodes, 1:01; 99 of 100 nodes Ready");
        assert!(rows[1].contains("n7 ") && rows[1].ends_with("booted"), "{rows:?}");
        assert_eq!(rows[19], "  and 82 more");
    }
}
