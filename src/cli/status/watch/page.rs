//! The pages behind the list: one machine, every kind of trouble, and the keys. Lines that fit a width; the view scrolls them.

use std::time::Duration;

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::keys::BINDINGS;
use super::look::{Look, size, span, wrapped};
use super::model::{Cause, Kind, Model, Row, Shown};
use crate::base::count::counted;
use crate::cli::status::{cluster, safe};
use crate::serve::machines::formation::Standing;
use crate::serve::machines::report::Report;
use crate::serve::machines::roll::Missing;
use crate::serve::machines::stamp::Stamp;
use crate::serve::machines::status::MachineStatus;
use crate::serve::machines::timeline::{Fetch, Step};

/// The lines of the page that is shown.
pub(super) fn lines(model: &Model, look: Look, width: u16) -> Vec<Line<'static>> {
    let mut page = Page { lines: Vec::new(), width: usize::from(width), look };
    match model.shown {
        Shown::List => {}
        Shown::Help => page.help(),
        Shown::Troubles => page.troubles(model),
        Shown::Detail => match model.subject() {
            Some(Row::Seen(machine)) => page.machine(machine, model.status.now),
            Some(Row::Missing(missing)) => page.missing(missing, model),
            None => page.text("this machine is gone", Style::new()),
        },
    }
    page.lines
}

/// Problems of the whole site, in sentences.
pub(super) fn problems(model: &Model) -> impl Iterator<Item = String> {
    let serving = &model.status.serving;
    let is_deaf = !serving.reports && !serving.build.is_empty();
    let deaf = "no profile brings the sysext `report`, so nobody hears whether machines boot";
    model.status.problems.iter().map(|problem| safe(problem)).chain(is_deaf.then(|| deaf.to_owned()))
}

/// The kind of machine whose symbol and colour a part in trouble has.
pub(super) fn kind_of(state: Standing) -> Kind {
    if state == Standing::Failed { Kind::Failed } else { Kind::Stuck }
}

struct Page {
    lines: Vec<Line<'static>>,
    width: usize,
    look: Look,
}

impl Page {
    fn line(&mut self, text: &str, style: Style) {
        let text = self.look.cut(text, self.width);
        self.lines.push(Line::styled(text, style));
    }

    /// A text that may be longer than a line.
    fn text(&mut self, text: &str, style: Style) {
        for line in wrapped(text, self.width, 2) {
            self.lines.push(Line::styled(line, style));
        }
    }

    fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.lines.push(Line::default());
        }
        self.line(text, Style::new().add_modifier(Modifier::BOLD));
    }

    /// Facts with their names at the left.
    fn facts(&mut self, facts: &[(&str, String)]) {
        for (name, fact) in facts.iter().filter(|(_, fact)| !fact.is_empty()) {
            let lines = wrapped(fact, self.width.saturating_sub(12).max(8), 0);
            for (index, line) in lines.into_iter().enumerate() {
                let name = if index == 0 { name } else { "" };
                let name = Span::styled(format!("  {name:<10}"), self.look.faint());
                self.lines.push(Line::from(vec![name, Span::raw(line)]));
            }
        }
    }

    /// A trouble and the way out.
    fn trouble(&mut self, kind: Kind, what: &str, hint: &str) {
        let text = format!("{} {what}", self.look.symbol(kind));
        self.text(&text, self.look.style(kind));
        if !hint.is_empty() {
            self.text(&format!("  {hint}"), Style::new());
        }
    }

    fn help(&mut self) {
        self.heading("Keys");
        for binding in &BINDINGS {
            self.facts(&[(binding.keys, binding.does.to_owned())]);
        }
        self.heading("Symbols");
        for kind in Kind::ALL {
            let (word, means) = match kind {
                Kind::Failed => ("failed", "it said that it gave up"),
                Kind::Stuck => ("stuck", "something is likely wrong"),
                Kind::Working => ("working", "it makes progress"),
                Kind::Loaded => ("loaded", "all was sent, and nothing more will be heard of it"),
                Kind::Done => ("done", "it runs, or is as far as can be seen"),
                Kind::Missing => ("not seen", "a node that never came"),
                Kind::Stranger => ("stranger", "no group matched it; one that failed counts as failed"),
            };
            self.facts(&[(&format!("{} {word}", self.look.symbol(kind)), means.to_owned())]);
        }
    }

    fn troubles(&mut self, model: &Model) {
        let problems: Vec<String> = problems(model).collect();
        if !problems.is_empty() {
            self.heading("The server");
            for problem in problems {
                self.text(&format!("! {problem}"), self.look.style(Kind::Stuck));
            }
        }
        let cluster = model.status.cluster.as_ref();
        let late: Vec<_> = cluster.into_iter().flat_map(cluster::troubles).collect();
        if !late.is_empty() {
            self.heading("The cluster");
            for (state, what, hint) in late {
                self.trouble(kind_of(state), &what, &hint);
            }
        }
        for Cause { kind, what, hint, rows } in model.causes() {
            self.heading(&counted(rows.len(), "machine"));
            self.trouble(kind, &what, &hint);
            let names: Vec<String> = rows.iter().map(Row::name).collect();
            self.text(&format!("  {}", names.join(", ")), self.look.faint());
        }
        let missing: Vec<String> =
            model.status.missing.iter().flatten().map(|node| safe(&node.name)).collect();
        if !missing.is_empty() {
            self.heading(&format!("{} never came", counted(missing.len(), "node")));
            self.text(&format!("  {}", missing.join(", ")), self.look.style(Kind::Missing));
        }
        let strangers: Vec<&MachineStatus> =
            model.status.machines.iter().filter(|machine| machine.stranger).collect();
        let entries: Vec<String> =
            strangers.iter().filter_map(|machine| machine.entry.as_deref()).map(safe).collect();
        if !entries.is_empty() {
            self.heading(&format!("{}: lines for `nodes:`", counted(strangers.len(), "stranger")));
            for entry in entries {
                self.text(&entry, self.look.style(Kind::Stranger));
            }
        }
        if self.lines.is_empty() {
            self.text("nothing is wrong, as far as can be seen from here", Style::new());
        }
    }

    fn missing(&mut self, missing: &Missing, model: &Model) {
        self.heading(&format!("{}: never came", safe(&missing.name)));
        let text = |text: &Option<String>| text.as_deref().map(safe).unwrap_or_default();
        self.facts(&[
            ("MAC", text(&missing.mac)),
            ("UUID", text(&missing.uuid)),
            ("serial", text(&missing.serial)),
            ("group", text(&missing.group)),
            ("profile", text(&missing.profile)),
        ]);
        let strangers = model.count(Kind::Stranger);
        let hint = match strangers {
            0 => "it is off, boots from something else, or is on another network; or its network card has another address than the recipe says".to_owned(),
            _ => format!(
                "it is off, boots from something else, or is on another network; or it is among {} here, with another network card than the recipe says",
                counted(strangers, "stranger")
            ),
        };
        self.lines.push(Line::default());
        self.text(&hint, Style::new());
    }

    fn machine(&mut self, machine: &MachineStatus, now: Stamp) {
        let row = Row::Seen(machine);
        let age = span(now.since(machine.since));
        let stage = machine.stage.map(|stage| format!(" in {stage}")).unwrap_or_default();
        let symbol = self.look.symbol(row.kind());
        let style = self.look.style(row.kind()).add_modifier(Modifier::BOLD);
        self.line(&format!("{symbol} {}: {}{stage} for {age}", row.name(), row.kind().word()), style);
        let text = |text: &Option<String>| text.as_deref().map(safe).unwrap_or_default();
        let seen = format!("{} ago", span(now.since(machine.last_seen)));
        self.facts(&[
            ("MAC", text(&machine.mac)),
            ("UUID", text(&machine.uuid)),
            ("calls itself", text(&machine.hostname.clone().filter(|_| machine.hostname != machine.name))),
            ("address", text(&machine.address)),
            ("firmware", text(&machine.firmware)),
            ("arch", text(&machine.arch)),
            (
                "group",
                if machine.stranger { "none: no group matched it".into() } else { text(&machine.group) },
            ),
            ("profile", text(&machine.profile)),
            ("boots", machine.boots.to_string()),
            ("last seen", seen),
        ]);
        if machine.waits {
            self.text("  it waits for its turn: other machines load first", Style::new());
        }
        if !machine.troubles.is_empty() {
            self.heading("Trouble");
            for trouble in &machine.troubles {
                self.trouble(row.kind(), &safe(&trouble.what), &safe(&trouble.hint));
            }
        }
        if let Some(entry) = &machine.entry {
            self.heading("A line for `nodes:` of the recipe");
            self.text(&safe(entry), self.look.style(Kind::Stranger));
        }
        if !machine.steps.is_empty() {
            self.heading("Steps");
            machine.steps.iter().for_each(|step| self.step(step, now));
        }
        if !machine.files.is_empty() {
            self.heading("Files");
            machine.files.iter().for_each(|file| self.file(file));
        }
        if let Some(report) = &machine.report {
            self.report(report, now);
        }
    }

    fn step(&mut self, step: &Step, now: Stamp) {
        let took = step.ended.unwrap_or(now).since(step.began);
        let mut text = format!("  {:<10} {:>4}", step.stage.word(), span(took));
        if step.ended.is_none() {
            text += " so far";
        }
        if let Some(of) = step.of.filter(|of| *of > 0) {
            text += &format!("  {} of {}", size(step.sent), size(of));
        }
        if let Some(rate) = step.rate {
            text += &format!(", {}/s", size(rate));
        }
        if let Some(eta) = step.eta {
            text += &format!(", {} left", span(Duration::from_secs(eta)));
        }
        if step.times > 1 {
            text += &format!(", {} times", step.times);
        }
        self.text(&text, Style::new());
    }

    fn file(&mut self, file: &Fetch) {
        let Fetch { path, status, sent, length, rate, times, is_over, .. } = file;
        let amount = match (is_over, sent == length) {
            (true, true) => size(*length),
            _ => format!("{} of {}", size(*sent), size(*length)),
        };
        let times = if *times > 1 { format!(", {times} times") } else { String::new() };
        let style = if *status >= 400 { self.look.style(Kind::Stuck) } else { Style::new() };
        self.text(&format!("  {status} {amount}, {}/s{times}", size(*rate)), style);
        self.text(&format!("      /{}", safe(path)), self.look.faint());
    }

    fn report(&mut self, report: &Report, now: Stamp) {
        let ago = span(now.since(report.at));
        self.heading(&format!("Last report, {ago} ago"));
        let detail = safe(&report.detail);
        let text = format!("  {}{}{detail}", safe(&report.stage), if detail.is_empty() { "" } else { ": " });
        self.text(&text, Style::new());
        if !report.log.is_empty() {
            self.heading("Its journal said");
            for line in report.log.lines() {
                self.text(&safe(line), Style::new());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn the_names_of_keys_fit_their_column() {
        for binding in &BINDINGS {
            assert!(binding.keys.width() <= 11, "{}", binding.keys);
        }
    }
}
