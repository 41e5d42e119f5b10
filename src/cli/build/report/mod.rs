//! `build --report FILE`: a build as one page of HTML, which asks for nothing else: no script, no font, no image.
//!
//! It shows how the time was spent, what each boot costs a machine in memory, what the tree is made of, and how it differs from the tree that
//! was `current` before.

mod chart;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use indicatif::HumanBytes;

use self::chart::{Bar, COLOURS, Span, Tile};
use super::Built;
use super::record::{End, Happened, State, Task};
use super::summary;
use crate::bake::build::Report;
use crate::bake::load::{CONFIG, FLATCAR, Load};
use crate::base::count::counted;
use crate::base::disk;
use crate::base::error::Error;
use crate::cli::diff;
use crate::cli::progress::short;
use crate::serve::endpoint::escape::escape_html as escape;
use crate::tree::diff::compare;
use crate::tree::manifest::Role;
use crate::tree::open::Tree;

/// Most bars of the timeline: the longest are shown.
const MOST_SPANS: usize = 60;
/// Most bars of boots: those that load most are shown.
const MOST_BOOTS: usize = 40;
/// Most tiles of the treemap; smaller files of a role share one.
const MOST_TILES: usize = 150;
/// Most lines of the difference.
const MOST_LINES: usize = 400;

/// Writes the page, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(path: &Path, happened: &Happened, built: Option<&Built>) -> Result<(), disk::Error> {
    disk::write_atomic(path, page(happened, built).as_bytes())
}

fn page(happened: &Happened, built: Option<&Built>) -> String {
    let mut body = heading(happened, built);
    section(&mut body, "Warnings", warnings(&happened.warnings));
    section(&mut body, "Time", timeline(happened));
    if let Some(Built { report, before, .. }) = built {
        section(&mut body, "Memory of each boot", boots(&report.loads));
        section(&mut body, "Content of the tree", content(report));
        section(&mut body, "Difference to the tree before", difference(report, before.as_ref()));
    }
    section(&mut body, "Fetched", table("Input", &happened.fetches, "fetched"));
    section(&mut body, "Steps", table("Step", &happened.steps, "built"));
    let title = escape(&format!("prebake: {}", happened.recipe));
    let css = include_str!("page.css");
    format!(
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>{title}</title>\n\
<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
<meta name=viewport content=\"width=device-width, initial-scale=1\">\n<style>\n{css}</style></head>\n<body>\n{body}\
<p class=dim>prebake {}</p>\n</body></html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn section(body: &mut String, heading: &str, content: String) {
    if !content.is_empty() {
        let _ = writeln!(body, "<h2>{heading}</h2>\n{content}");
    }
}

fn heading(happened: &Happened, built: Option<&Built>) -> String {
    let recipe = escape(&happened.recipe);
    match (&happened.end, built) {
        (End::Failed { exit, error, hint }, _) => {
            let hint =
                hint.as_ref().map_or(String::new(), |hint| format!("<p><b>Hint:</b> {}</p>", escape(hint)));
            let error = escape(&error.join("\n  because: "));
            format!("<h1 class=failed>✗ {recipe} failed, exit {exit}</h1>\n<pre>{error}</pre>\n{hint}\n")
        }
        (End::Done { build_id }, built) => {
            let facts = built
                .map_or(Vec::new(), |built| summary::facts(happened, built, str::to_owned, str::to_owned));
            let rows = facts.into_iter().filter(|[_, value]| !value.is_empty());
            let rows: String = rows
                .map(|[name, value]| format!("<dt>{}</dt><dd>{}</dd>", escape(&name), escape(&value)))
                .collect();
            format!("<h1>✓ {recipe} → <code>{}</code></h1>\n<dl>{rows}</dl>\n", escape(build_id))
        }
    }
}

fn warnings(warnings: &[String]) -> String {
    let items: String = warnings.iter().map(|warning| format!("<li>{}</li>", escape(warning))).collect();
    if items.is_empty() { items } else { format!("<ul class=warning>{items}</ul>") }
}

fn timeline(happened: &Happened) -> String {
    let span = |task: &Task, class, verb: &str| {
        let (took, class) = match task.state {
            State::Done(took) => (took, class),
            State::Running(_) => (happened.took.saturating_sub(task.began), "open"),
            State::Cached => return None,
        };
        let title = format!("{}: {}", task.id, result(task, verb));
        Some(Span { name: task.id.clone(), class, began: task.began, took, title })
    };
    let fetches = happened.fetches.iter().filter_map(|task| span(task, "fetch", "fetched"));
    let steps = happened.steps.iter().filter_map(|task| span(task, "step", "built"));
    let rebuild = happened.rebuild.iter().filter_map(|task| span(task, "step", "built again"));
    let mut spans: Vec<Span> = fetches.chain(steps).chain(rebuild).collect();
    let cached = happened.steps.iter().filter(|task| matches!(task.state, State::Cached)).count();
    let left_out = spans.len().saturating_sub(MOST_SPANS);
    spans.sort_by_key(|span| std::cmp::Reverse(span.took));
    spans.truncate(MOST_SPANS);
    spans.sort_by_key(|span| span.began);
    if spans.is_empty() && cached == 0 {
        return String::new();
    }
    let mut notes = vec![format!("{} in all", short(happened.took))];
    if cached > 0 {
        notes.push(format!("{} came out of the store", counted(cached, "step")));
    }
    if left_out > 0 {
        notes.push(format!("{} left out", counted(left_out, "short task")));
    }
    let keys = [("fetch", "fetched"), ("step", "built"), ("open", "not complete")];
    let used = keys.iter().filter(|(class, _)| spans.iter().any(|span| span.class == *class));
    let keys: String = used.map(|(class, word)| key(class, word)).collect();
    let chart = if spans.is_empty() { String::new() } else { chart(&chart::timeline(&spans, happened.took)) };
    format!("<p class=dim>{}.</p><ul class=keys>{keys}</ul>{chart}", escape(&notes.join("; ")))
}

/// The state of a task, its length, and its notes.
fn result(task: &Task, verb: &str) -> String {
    let size = Some(summary::size(task)).filter(|size| !size.is_empty());
    let parts = [Some(summary::state(task, verb)), size].into_iter().flatten();
    parts.chain(task.notes.iter().cloned()).collect::<Vec<_>>().join("; ")
}

fn chart(svg: &str) -> String {
    format!("<div class=chart>{svg}</div>")
}

fn key(class: &str, words: &str) -> String {
    format!("<li><span class=\"key {class}\"></span>{}</li>", escape(words))
}

fn boots(loads: &[Load]) -> String {
    if loads.is_empty() {
        return String::new();
    }
    let sum = |load: &Load| load.initrds.iter().map(|(_, size)| size).sum::<u64>();
    let mut most: Vec<&Load> = loads.iter().collect();
    most.sort_by_key(|load| std::cmp::Reverse(sum(load)));
    most.truncate(MOST_BOOTS);
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let parts =
        most.iter().flat_map(|load| load.initrds.iter().chain(&load.fetched)).map(|(name, _)| name.as_str());
    for name in [FLATCAR, CONFIG].into_iter().chain(parts) {
        let next = names.len() % COLOURS;
        names.entry(name).or_insert(next);
    }
    let bars: Vec<Bar> = most
        .iter()
        .map(|load| {
            let has = load.smallest.map_or(String::new(), |has| format!(", smallest machine {has}"));
            let note = format!("a machine needs {}{has}", load.needed);
            let fetched = load.fetched.iter().map(|(name, size)| (format!("{name}, fetched later"), *size));
            Bar {
                name: load.boot.clone(),
                parts: load.initrds.iter().cloned().chain(fetched).collect(),
                note,
            }
        })
        .collect();
    let colour = |name: &str| names.get(name.trim_end_matches(", fetched later")).copied().unwrap_or(0);
    let left_out = loads.len() - most.len();
    let rest = if left_out > 0 {
        format!("; {} left out", counted(left_out, "smaller boot"))
    } else {
        String::new()
    };
    format!(
        "<p class=dim>A machine holds all initrds twice while it unpacks them{rest}.</p>{}",
        chart(&chart::bars(&bars, colour))
    )
}

fn content(report: &Report) -> String {
    let files = &report.published.manifest.files;
    let mut by_role: BTreeMap<Role, (usize, u64)> = BTreeMap::new();
    for file in files.values() {
        let sum = by_role.entry(file.role).or_default();
        *sum = (sum.0 + 1, sum.1 + file.size);
    }
    let mut roles: Vec<(Role, usize, u64)> =
        by_role.into_iter().map(|(role, (count, size))| (role, count, size)).collect();
    roles.sort_by_key(|(_, _, size)| std::cmp::Reverse(*size));
    // The small roles share the last colour.
    let colour_of = |role: Role| roles.iter().position(|(of, ..)| *of == role).unwrap_or(0).min(COLOURS - 1);
    let mut sizes: Vec<u64> = files.values().map(|file| file.size).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let least = sizes.get(MOST_TILES).copied().unwrap_or(0);
    let (mut tiles, mut small): (Vec<Tile>, BTreeMap<Role, (usize, u64)>) = Default::default();
    for (path, file) in files {
        match file.size > least {
            true => tiles.push(Tile { name: path.clone(), size: file.size, colour: colour_of(file.role) }),
            false => {
                let sum = small.entry(file.role).or_default();
                *sum = (sum.0 + 1, sum.1 + file.size);
            }
        }
    }
    tiles.extend(small.into_iter().map(|(role, (count, size))| Tile {
        name: format!("{count} of {role}"),
        size,
        colour: colour_of(role),
    }));
    let keys: String = roles
        .iter()
        .map(|(role, count, size)| {
            key(&format!("c{}", colour_of(*role)), &format!("{role}: {count}, {}", HumanBytes(*size)))
        })
        .collect();
    format!("<ul class=keys>{keys}</ul>{}", chart(&chart::treemap(&mut tiles, 420.0)))
}

fn difference(report: &Report, before: Option<&Tree>) -> String {
    let Some(before) = before else {
        return "<p class=dim>There was no tree of this recipe before.</p>".into();
    };
    let now = Tree::directory(&report.published.path).map_err(Error::from);
    let difference = now.and_then(|now| compare(before, &now, false));
    match difference {
        Err(error) => format!(
            "<p class=warning>They cannot be compared: {}</p>",
            escape(&error.chain().join("; because: "))
        ),
        Ok(difference) if difference.is_empty() => "<p class=dim>It is the same tree.</p>".into(),
        Ok(difference) => {
            let text = diff::text(&difference);
            let lines: Vec<&str> = text.lines().collect();
            let shown: String = lines.iter().take(MOST_LINES).map(|line| coloured(line) + "\n").collect();
            let rest = lines.len().saturating_sub(MOST_LINES);
            let rest = if rest > 0 {
                format!("… and {}; `prebake diff` has all\n", counted(rest, "line"))
            } else {
                String::new()
            };
            format!("<pre>{shown}{rest}</pre>")
        }
    }
}

fn coloured(line: &str) -> String {
    let class = match line.trim_start().chars().next() {
        Some('+') => "plus",
        Some('-') => "minus",
        Some('~') => "change",
        _ => return escape(line),
    };
    format!("<span class={class}>{}</span>", escape(line))
}

fn table(heading: &str, tasks: &[Task], verb: &str) -> String {
    if tasks.is_empty() {
        return String::new();
    }
    let row = |task: &Task| {
        let (id, result) = (escape(&task.id), escape(&result(task, verb)));
        format!("<tr><td><code>{id}</code></td><td>{result}</td></tr>")
    };
    let rows: String = tasks.iter().map(row).collect();
    format!("<table><tr><th>{heading}</th><th>Result</th></tr>{rows}</table>")
}
