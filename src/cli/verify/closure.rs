//! `prebake verify --closure`: checks that all references of a tree lead to files inside it.

use clap::Args;
use serde_json::Value;

use crate::base::count::counted;
use crate::base::error::{Advice, Exit, Result};
use crate::tree::closure::{self, Edge, Graph, Options, Outcome};
use crate::tree::open::Tree;

/// Heading of these options.
const HEADING: &str = "Closure";

/// Settings for the closure.
#[derive(Args)]
pub(super) struct ClosureArgs {
    /// Show that every URL, digest, image, sysext and file that the tree refers to is inside; exit with 4 if one is not
    #[arg(help_heading = HEADING, long)]
    pub closure: bool,
    /// Allow this to be outside: a host, a registry, or a reference, with `*` for anything (repeatable)
    #[arg(help_heading = HEADING, long, value_name = "HOST|PATTERN", requires = "closure")]
    allow: Vec<String>,
    /// URL at which machines will find the tree's root, if the tree does not say (repeatable)
    #[arg(help_heading = HEADING, long = "base-url", value_name = "URL", requires = "closure")]
    bases: Vec<String>,
}

/// Reasons why the closure is not proven.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{place} is not self-contained: {missing} missing, {unread} not read")]
    Open { place: String, missing: usize, unread: usize },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Integrity
    }

    fn hint(&self) -> Option<String> {
        let Error::Open { .. } = self;
        Some(
            "add it (`images:` of the recipe, a sysext, contents in the config), give the tree's URL with \
             --base-url, or allow it with --allow HOST"
                .into(),
        )
    }
}

impl ClosureArgs {
    /// Walks through a tree and collects its references.
    pub(crate) fn prove(&self, tree: &Tree) -> Result<Graph> {
        closure::prove(tree, &Options { bases: self.bases.clone(), allow: self.allow.clone() })
    }

    /// Prints the result for people.
    pub(crate) fn print(&self, place: &str, graph: &Graph) {
        for edge in graph.edges() {
            let word = match &edge.outcome {
                Outcome::Missing(why) => format!("missing  {} {}: {why}", edge.kind, edge.to),
                Outcome::Allowed(by) => format!("allowed  {} {}, by --allow {by}", edge.kind, edge.to),
                Outcome::Inside(_) | Outcome::Served(_) | Outcome::Open(_) => continue,
            };
            say!("{}\n         {}", word.escape_debug(), way(graph, edge).escape_debug());
        }
        for (spot, why) in &graph.closed {
            say!("unread   {}: {}", graph.way(*spot, None).join(" → ").escape_debug(), why.escape_debug());
        }
        let counts: Vec<String> = graph
            .counts()
            .into_iter()
            .map(|(kind, (inside, all))| match inside == all {
                true => format!("{kind} {all}"),
                false => format!("{kind} {inside}/{all}"),
            })
            .collect();
        let verdict = match is_closed(graph) {
            true => "nothing from outside is needed, except what --allow names",
            false => "something from outside is needed",
        };
        say!("{place}: {}: {verdict}", counted(graph.edges().len(), "reference"));
        say!("  inside   {}", counts.join(", "));
        let open = graph.edges().iter().filter(|edge| matches!(edge.outcome, Outcome::Open(_))).count();
        if open > 0 {
            let are = if open == 1 { "is" } else { "are" };
            say!("  open     {open} {are} composed on the machine; --json lists them");
        }
        for base in &graph.bases {
            say!("  served   at {base}");
        }
        let used = |allowed: &&String| {
            graph.edges().iter().any(|edge| matches!(&edge.outcome, Outcome::Allowed(by) if by == *allowed))
        };
        for unused in self.allow.iter().filter(|allowed| !used(allowed)) {
            tell!("warning: nothing needs --allow {unused}");
        }
    }
}

/// The path from the tree's entry to a reference.
fn way(graph: &Graph, edge: &Edge) -> String {
    let mut way = graph.way(edge.from, edge.line);
    way.push(edge.to.clone());
    way.join(" → ")
}

fn is_closed(graph: &Graph) -> bool {
    graph.missing().next().is_none() && graph.closed.is_empty()
}

/// Turns the result into the verb's result.
pub(super) fn settle(place: &str, graph: &Graph) -> Result<()> {
    match is_closed(graph) {
        true => Ok(()),
        false => {
            let (missing, unread) = (graph.missing().count(), graph.closed.len());
            Err(Error::Open { place: place.into(), missing, unread }.into())
        }
    }
}

/// The result and the whole graph as JSON.
pub(super) fn as_json(graph: &Graph) -> Value {
    graph.to_json()
}
