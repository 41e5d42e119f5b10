//! `/logs`: the last lines of the log, of one machine or of all.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::request::{Request, World};
use crate::serve::answer::{Answer, TEXT};
use crate::serve::line::Line;
use crate::serve::machines::logbook::Part;
use crate::serve::machines::status::SCHEMA;
use crate::serve::site::labels::Labels;

/// The label with the machine: its name, MAC address, UUID or address.
pub(crate) const MACHINE: &str = "machine";
/// The label with the number after which lines are wanted.
pub(crate) const AFTER: &str = "after";

/// The answer of `/logs`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Logs {
    /// Version of this document, [`SCHEMA`].
    pub schema: u32,
    /// The machine that was asked for, by its id; `None` if all were asked for, or if it was never seen.
    pub machine: Option<String>,
    /// Whether it is a node that never came.
    pub missing: bool,
    /// The number to ask on with.
    pub next: u64,
    /// Whether there are more lines already.
    pub more: bool,
    /// Whether lines since the last answer have made room for others.
    pub lost: bool,
    /// The lines, the oldest first.
    pub lines: Vec<Line>,
}

/// Answers with lines as JSON, or for people as text.
pub(crate) fn answer(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let after = match labels.get(AFTER) {
        "" => 0,
        number => match number.parse() {
            Ok(number) => number,
            Err(_) => {
                return Answer::new(400, TEXT, format!("`{AFTER}` is the `next` of an earlier answer\n"));
            }
        },
    };
    let wanted = Some(labels.get(MACHINE)).filter(|machine| !machine.is_empty());
    let (machine, missing, part) = world.monitor.logs(wanted, after);
    let Part { lines, next, more, lost } = part;
    let answer = match request.header("accept").is_some_and(|kinds| kinds.contains("application/json")) {
        true => {
            let machine = serde_json::Value::from(machine);
            let json = format!(
                "{{\"schema\":{SCHEMA},\"machine\":{machine},\"missing\":{missing},\"next\":{next},\"more\":{more},\"lost\":{lost},\"lines\":[{}]}}\n",
                lines.join(",")
            );
            Answer::new(200, "application/json", json)
        }
        false => {
            let lines = lines.iter().filter_map(|line| serde_json::from_str::<Line>(line).ok());
            let text = lines.fold(String::new(), |mut text, line| {
                let _ = writeln!(text, "{}", line.for_people());
                text
            });
            Answer::text(text)
        }
    };
    answer.header("vary", "accept").header("cache-control", "no-store")
}
