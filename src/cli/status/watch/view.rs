//! Draws the model: a title, the counts, what is wrong and why, and as many machines as fit. Every line fits its width.

use std::time::Duration;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;
use unicode_width::UnicodeWidthStr;

use super::look::{Look, size, span};
use super::model::{Cause, Kind, Model, Row, Shown};
use super::page;
use crate::base::count::counted;
use crate::cli::status::{cluster, safe};
use crate::serve::machines::formation::Phase;
use crate::serve::machines::stamp::Stamp;
use crate::serve::machines::status::MachineStatus;
use crate::serve::machines::timeline::Step;

/// The least columns of a list with ages, states in words, profiles and addresses.
const WITH_AGE: u16 = 48;
const WITH_STATE: u16 = 90;
const WITH_PROFILE: u16 = 110;
const WITH_ADDRESS: u16 = 130;
/// The least rows of a screen with problems of the server, and with hints below causes.
const WITH_HINTS: u16 = 20;

/// The rows of a screen below which it has no line of the cluster.
const WITH_CLUSTER: u16 = 10;

/// Keys of each page.
const PAGE_KEYS: [&str; 3] = ["Esc back", "j/k scroll", "q quit"];

/// Draws everything that is shown.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, look: Look) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let mut lines = Lines { buffer, area, used: 0 };
    lines.add(title(model, look, area.width));
    lines.add(counts(model, look, area.width));
    if area.height > WITH_CLUSTER {
        cluster(&mut lines, model, look);
    }
    match model.shown {
        Shown::List => list(&mut lines, model, look),
        Shown::Detail | Shown::Troubles | Shown::Help => show_page(&mut lines, model, look),
    }
    let foot = Rect { y: area.bottom().saturating_sub(1), height: area.height.min(1), ..area };
    if area.height > 2 {
        foot_line(model, look, area.width).render(foot, lines.buffer);
    }
    if !look.unicode {
        plain(lines.buffer);
    }
}

/// The screen from the top down.
struct Lines<'b> {
    buffer: &'b mut Buffer,
    area: Rect,
    used: u16,
}

impl Lines<'_> {
    fn add(&mut self, line: Line<'_>) {
        if self.used < self.area.height {
            let place = Rect { y: self.area.y + self.used, height: 1, ..self.area };
            line.render(place, self.buffer);
            self.used += 1;
        }
    }

    /// Lines that are left above the last one.
    fn left(&self) -> usize {
        usize::from(self.area.height.saturating_sub(self.used + 1))
    }
}

/// Words of machines may be in any script; where the terminal shows only ASCII, they become question marks.
fn plain(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if !cell.symbol().is_ascii() {
            cell.set_symbol("?");
        }
    }
}

/// Texts at both ends of a line; the right one goes first if there is no room.
fn ends(look: Look, left: &str, right: &str, width: u16) -> String {
    let width = usize::from(width);
    match width.checked_sub(right.width() + 2) {
        Some(room) if room >= left.width().min(12) => format!("{}  {right}", look.fit(left, room)),
        _ => look.fit(left, width),
    }
}

fn title(model: &Model, look: Look, width: u16) -> Line<'static> {
    let strong = Style::new().add_modifier(Modifier::BOLD);
    if let Some(silence) = model.silence {
        let silent = span(silence);
        let text =
            format!("NO ANSWER for {silent} from {}; the machines are as they were then", model.server);
        let style = strong.patch(look.style(Kind::Failed)).add_modifier(Modifier::REVERSED);
        return Line::styled(look.fit(&text, width.into()), style);
    }
    let status = &model.status;
    let serving = &status.serving;
    let name = [safe(&serving.name), safe(&serving.releases.join(", "))].join(" ");
    let rate = status.traffic.per_second.last().copied().unwrap_or(0);
    let up = format!("up {}", span(status.now.since(status.started)));
    let right = match width {
        0..60 => format!("{}/s", size(rate)),
        _ => {
            let spark = look.spark(&status.traffic.per_second, usize::from(width / 8));
            let parts = [spark, format!("{}/s", size(rate)), up];
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
        }
    };
    Line::styled(ends(look, name.trim_end(), &right, width), strong)
}

/// The cluster that the machines form: what is awaited and how far its parts are, and the first thing that is wrong.
fn cluster(lines: &mut Lines<'_>, model: &Model, look: Look) {
    let Some(cluster) = &model.status.cluster else { return };
    let width = usize::from(lines.area.width);
    let counts = cluster::counts(cluster);
    let said = match &cluster.ask {
        Some(ask) => safe(ask),
        None => cluster.phase.sentence().to_owned(),
    };
    let kind = match cluster.phase {
        Phase::Complete => Kind::Done,
        Phase::Failed => Kind::Failed,
        _ => Kind::Working,
    };
    let text = ends(look, &format!("{} cluster: {said}", look.symbol(kind)), &counts, lines.area.width);
    lines.add(Line::styled(text, look.style(kind)));
    let troubles: Vec<_> = cluster::troubles(cluster).collect();
    let Some((state, what, hint)) = troubles.iter().min_by_key(|(state, ..)| *state) else { return };
    let kind = page::kind_of(*state);
    let more =
        if troubles.len() > 1 { format!(" (and {} more: t)", troubles.len() - 1) } else { String::new() };
    let text = look.cut(&format!("{} {what}", look.symbol(kind)), width.saturating_sub(more.width()));
    lines.add(Line::styled(format!("{text}{more}"), look.style(kind)));
    if lines.area.height >= WITH_HINTS && !hint.is_empty() {
        lines.add(Line::styled(format!("  {}", look.cut(hint, width.saturating_sub(2))), look.faint()));
    }
}

/// The word behind a count of machines.
type Word = fn(Kind, usize) -> &'static str;

/// How many machines there are of each kind, in as many words as fit.
fn counts(model: &Model, look: Look, width: u16) -> Line<'static> {
    let counts = Kind::ALL.map(|kind| (kind, model.count(kind)));
    let always = [Kind::Failed, Kind::Stuck, Kind::Working, Kind::Done];
    let counts = counts.into_iter().filter(|(kind, count)| *count > 0 || always.contains(kind));
    let counts: Vec<(Kind, usize)> = counts.collect();
    // With fewer columns: shorter words, then narrower gaps, then symbols alone.
    let styles: [(Word, usize); 4] = [(word, 2), (short, 2), (short, 1), (|_, _| "", 2)];
    let told = |(kind, count): (Kind, usize), word: Word| {
        format!("{} {count} {}", look.symbol(kind), word(kind, count)).trim_end().to_owned()
    };
    let fits = |(word, gap): &(Word, usize)| {
        let wide = counts.iter().map(|count| told(*count, *word).width() + gap).sum::<usize>();
        wide <= usize::from(width) + gap
    };
    let (word, gap) = styles.into_iter().find(fits).unwrap_or(styles[3]);
    let mut spans = Vec::new();
    for (kind, count) in &counts {
        let style = if *count > 0 { look.style(*kind).add_modifier(Modifier::BOLD) } else { look.faint() };
        spans.push(Span::styled(told((*kind, *count), word), style));
        spans.push(" ".repeat(gap).into());
    }
    Line::from(spans)
}

fn word(kind: Kind, count: usize) -> &'static str {
    match kind {
        Kind::Stranger if count == 1 => "stranger",
        _ => kind.word(),
    }
}

fn short(kind: Kind, _: usize) -> &'static str {
    match kind {
        Kind::Missing => "unseen",
        Kind::Stranger => "new",
        _ => kind.word(),
    }
}

/// The problems of the server's site, and the causes of machines' troubles, in a part of the screen.
fn causes(lines: &mut Lines<'_>, model: &Model, look: Look) {
    let width = usize::from(lines.area.width);
    let mut room = usize::from(lines.area.height / 4);
    let problems: Vec<String> = page::problems(model).collect();
    if let Some(first) = problems.first().filter(|_| lines.area.height >= WITH_HINTS) {
        let more = match problems.len() {
            1 => String::new(),
            several => format!(" (and {} more: t)", several - 1),
        };
        let text = look.cut(first, width.saturating_sub(more.width() + 2));
        lines.add(Line::styled(format!("! {text}{more}"), look.style(Kind::Stuck)));
        room -= 1;
    }
    let causes = model.causes();
    // The last line says how many more there are. Every cause comes before the first hint.
    let fits = if causes.len() <= room { causes.len() } else { room.saturating_sub(1) };
    let mut hints = if lines.area.height >= WITH_HINTS { room.saturating_sub(causes.len()) } else { 0 };
    for Cause { kind, what, hint, rows } in &causes[..fits] {
        let machines = match rows.as_slice() {
            [row] => row.name(),
            _ => counted(rows.len(), "machine"),
        };
        let text = look.cut(&format!("{} {machines}: {what}", look.symbol(*kind)), width);
        lines.add(Line::styled(text, look.style(*kind)));
        if hints > 0 && !hint.is_empty() {
            hints -= 1;
            let text = format!("  {}", look.cut(hint, width.saturating_sub(2)));
            lines.add(Line::styled(text, look.faint()));
        }
    }
    if fits < causes.len() && room > 0 {
        let kinds = match (causes.len() - fits, fits) {
            (1, 0) => "1 kind of trouble".to_owned(),
            (1, _) => "1 more kind of trouble".to_owned(),
            (several, 0) => format!("{several} kinds of trouble"),
            (several, _) => format!("{several} more kinds of trouble"),
        };
        let machines: usize = causes[fits..].iter().map(|cause| cause.rows.len()).sum();
        let full = format!("  {kinds} ({}): press t", counted(machines, "machine"));
        let text = if full.width() <= width { full } else { format!("  {kinds}: press t") };
        lines.add(Line::styled(look.cut(&text, width), look.faint()));
    }
}

/// The columns of the list, in characters; those without a place are 0.
struct Columns {
    name: usize,
    state: usize,
    address: usize,
    profile: usize,
    stage: usize,
    age: usize,
    rest: usize,
}

impl Columns {
    fn of(width: u16, rows: &[Row<'_>]) -> Columns {
        let longest = |text: &dyn Fn(&Row<'_>) -> usize| rows.iter().map(text).max().unwrap_or(0);
        let most_name = match width {
            0..60 => 12,
            60..100 => 18,
            _ => 28,
        };
        let name = longest(&|row| row.name().width()).clamp(7, most_name);
        let wide = |least: u16, columns: usize| if width >= least { columns } else { 0 };
        let profile = longest(&|row| profile(row).width()).clamp(7, 16);
        let state = wide(WITH_STATE, 8);
        let address = wide(WITH_ADDRESS, longest(&|row| address(row).width()).clamp(7, 39));
        let profile = wide(WITH_PROFILE, profile);
        let (stage, age) = (10, wide(WITH_AGE, 4));
        let gap = if width < 60 { 1 } else { 2 };
        // Behind each column is a gap.
        let place = |column: usize| if column > 0 { column + gap } else { 0 };
        let columns = [name, state, address, profile, stage, age].map(place);
        let used = 4 + columns.iter().sum::<usize>();
        let [name, state, address, profile, stage, age] = columns;
        Columns { name, state, address, profile, stage, age, rest: usize::from(width).saturating_sub(used) }
    }
}

fn profile(row: &Row<'_>) -> String {
    let profile = match row {
        Row::Seen(machine) => &machine.profile,
        Row::Missing(missing) => &missing.profile,
    };
    profile.as_deref().map(safe).unwrap_or_default()
}

fn address(row: &Row<'_>) -> String {
    match row {
        Row::Seen(machine) => machine.address.as_deref().map(safe).unwrap_or_default(),
        Row::Missing(_) => String::new(),
    }
}

fn list(lines: &mut Lines<'_>, model: &mut Model, look: Look) {
    if lines.area.height > 8 {
        causes(lines, model, look);
    }
    let width = lines.area.width;
    let room = lines.left().saturating_sub(1);
    let rows = model.rows();
    let at = model.position(&rows);
    let most = rows.len().saturating_sub(room);
    let offset = model.offset.min(most).min(at).max((at + 1).saturating_sub(room)).min(rows.len());
    let shown = &rows[offset..rows.len().min(offset + room)];
    let columns = Columns::of(width, &rows);
    let heading = cells(look, &columns, ["MACHINE", "STATE", "ADDRESS", "PROFILE", "STAGE", "FOR"]);
    let heading = format!("    {}{}", heading.concat(), look.cut("PROGRESS OR TROUBLE", columns.rest));
    lines
        .add(Line::styled(look.cut(&heading, width.into()), look.faint().add_modifier(Modifier::UNDERLINED)));
    for (index, row) in shown.iter().enumerate() {
        let line = row_line(row, &columns, look, model.status.now, offset + index == at);
        lines.add(line);
    }
    if rows.is_empty() {
        let is_filtered = !model.filter.is_empty() || model.only.is_some();
        let text = match is_filtered {
            true => "no machine matches; Esc drops the filter",
            false => "no machine has been seen yet",
        };
        lines.add(Line::styled(look.cut(text, width.into()), look.faint()));
    }
    (model.offset, model.room) = (offset, room.max(1));
}

/// The texts of a row's columns, each with its gap.
fn cells(look: Look, columns: &Columns, texts: [&str; 6]) -> Vec<String> {
    let Columns { name, state, address, profile, stage, age, .. } = *columns;
    let widths = [name, state, address, profile, stage, age];
    let gap = 1;
    let cell = |(text, (index, width)): (&str, (usize, usize))| match width {
        0 => String::new(),
        // Ages are told from the right.
        _ if index == 5 => {
            let gap = width - 4;
            format!("{}{}", look.right(text, 4), " ".repeat(gap))
        }
        _ => look.fit(&look.cut(text, width - gap), width),
    };
    texts.into_iter().zip(widths.into_iter().enumerate()).map(cell).collect()
}

fn row_line(row: &Row<'_>, columns: &Columns, look: Look, now: Stamp, is_chosen: bool) -> Line<'static> {
    let kind = row.kind();
    let style = look.style(kind);
    let age = match row {
        Row::Seen(machine) => span(now.since(machine.since)),
        Row::Missing(_) => String::new(),
    };
    let (name, address, profile) = (row.name(), address(row), profile(row));
    let cells = cells(look, columns, [&name, word(kind, 1), &address, &profile, row.stage(), &age]);
    let mark = if is_chosen { look.mark() } else { " " };
    let stranger = match row {
        Row::Seen(machine) if machine.stranger && kind != Kind::Stranger => look.symbol(Kind::Stranger),
        _ => " ",
    };
    let mut spans =
        vec![Span::raw(mark.to_owned()), Span::styled(format!("{}{stranger} ", look.symbol(kind)), style)];
    for (index, cell) in cells.into_iter().enumerate() {
        // Name, state and stage have the state's colour.
        spans.push(Span::styled(cell, if matches!(index, 0 | 1 | 4) { style } else { Style::new() }));
    }
    let (text, is_trouble) = progress(row, columns.rest, look);
    spans.push(Span::styled(look.fit(&text, columns.rest), if is_trouble { style } else { Style::new() }));
    let line = Line::from(spans);
    if is_chosen { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line }
}

/// The end of a row: its trouble, or how far it is; and whether it is the former.
fn progress(row: &Row<'_>, width: usize, look: Look) -> (String, bool) {
    let machine = match row {
        Row::Missing(missing) => {
            let id = [&missing.mac, &missing.uuid, &missing.serial].into_iter().flatten().next();
            let id = id.map(|id| format!(": {}", safe(id))).unwrap_or_default();
            return (format!("never came{id}"), false);
        }
        Row::Seen(machine) => machine,
    };
    if let Some(trouble) = machine.troubles.first() {
        let more = match machine.troubles.len() {
            1 => String::new(),
            several => format!(" (+{})", several - 1),
        };
        let room = width.saturating_sub(more.width());
        return (format!("{}{more}", look.cut(&safe(&trouble.what), room)), true);
    }
    (running(machine).map_or_else(|| rest(machine), |step| bar(step, width, look)), false)
}

/// The step that loads something now.
fn running(machine: &MachineStatus) -> Option<&Step> {
    machine.steps.last().filter(|step| step.ended.is_none() && step.of.is_some())
}

/// The words about a machine that loads nothing.
fn rest(machine: &MachineStatus) -> String {
    if machine.waits {
        return "waits for its turn".into();
    }
    let report = machine
        .report
        .as_ref()
        .filter(|report| machine.stage.is_some_and(|stage| stage.word() == report.stage));
    match report {
        Some(report) => safe(&report.detail),
        None if machine.stage.is_none() && !machine.files.is_empty() => "fetched files".into(),
        None => String::new(),
    }
}

/// A bar, the share, and what fits of rate and time left.
fn bar(step: &Step, width: usize, look: Look) -> String {
    let of = step.of.unwrap_or(0);
    let percent = (u128::from(step.sent) * 100).checked_div(of.into()).unwrap_or(0).min(100);
    let mut texts = vec![format!("{percent:>3} %")];
    if width >= 24 {
        texts.push(format!("{:>10}", step.rate.map(|rate| format!("{}/s", size(rate))).unwrap_or_default()));
    }
    if width >= 36 {
        let left = step.eta.map(|eta| format!("{} left", span(Duration::from_secs(eta)))).unwrap_or_default();
        texts.push(format!("{left:>9}"));
    }
    let texts = texts.join("  ");
    match width.saturating_sub(texts.width() + 1).min(30) {
        0..3 => texts,
        room => format!("{} {texts}", look.bar(step.sent, of, room)),
    }
}

fn show_page(lines: &mut Lines<'_>, model: &mut Model, look: Look) {
    let text = page::lines(model, look, lines.area.width);
    let room = lines.left();
    let scroll = model.scroll.min(text.len().saturating_sub(room));
    for line in text.into_iter().skip(scroll).take(room) {
        lines.add(line);
    }
    (model.scroll, model.room) = (scroll, room.max(1));
}

/// Keys, the filter and the place in the list.
fn foot_line(model: &Model, look: Look, width: u16) -> Line<'static> {
    let style = Style::new().add_modifier(Modifier::REVERSED);
    let rows = model.rows();
    if model.is_typing {
        let text = format!("/{}_", safe(&model.filter));
        let found = counted(rows.len(), "machine");
        return Line::styled(ends(look, &text, &found, width), style);
    }
    let (parts, right) = match model.shown {
        Shown::List => {
            let filter = match model.filter.as_str() {
                "" => "/ filter".to_owned(),
                filter => format!("/{}", safe(filter)),
            };
            let only = model.only.map_or("f state".to_owned(), |only| format!("f only {}", only.word()));
            let order = format!("s by {}", model.order.word());
            let first = (model.offset + 1).min(rows.len());
            let last = rows.len().min(model.offset + model.room);
            let mut parts = vec!["q quit".to_owned(), "? help".into()];
            // A filter that hides machines is never left out.
            let is_hiding = [!model.filter.is_empty(), model.only.is_some()];
            for (part, is_hiding) in [filter, only].into_iter().zip(is_hiding) {
                parts.insert(if is_hiding { 0 } else { parts.len() }, part);
            }
            parts.extend([order, "Enter detail".into(), "t troubles".into()]);
            (parts, format!("{first}-{last} of {}", rows.len()))
        }
        Shown::Detail => {
            (PAGE_KEYS.into_iter().chain(["n/p next machine"]).map(str::to_owned).collect(), String::new())
        }
        Shown::Troubles | Shown::Help => (PAGE_KEYS.map(str::to_owned).to_vec(), String::new()),
    };
    let mut left = String::new();
    let room = usize::from(width).saturating_sub(right.width() + 2);
    for part in parts {
        let gap = if left.is_empty() { 0 } else { 2 };
        if left.is_empty() || left.width() + gap + part.width() <= room {
            left = format!("{left}{}{part}", " ".repeat(gap));
        }
    }
    Line::styled(ends(look, &left, &right, width), style)
}
