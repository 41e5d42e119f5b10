//! Summaries of a finished build: a few lines for a terminal, a page of Markdown for a CI job.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use indicatif::HumanBytes;

use super::Built;
use super::record::{End, Happened, State, Task};
use crate::bake::build::Report;
use crate::bake::load::Load;
use crate::base::count::counted;
use crate::base::disk;
use crate::cli::progress::short;
use crate::serve::lan::interface;
use crate::serve::machines::client::PORT;
use crate::source::fetch::Judged;
use crate::tree::private;
use crate::trust::openpgp::Fingerprint;

/// For each key, the number of inputs that it signed, as judged in this build, and the number of those that were read
/// for it.
fn signers(judged: &[Judged]) -> BTreeMap<Fingerprint, (usize, usize)> {
    let mut signed: BTreeMap<Fingerprint, (usize, usize)> = BTreeMap::new();
    for Judged { signer, read, .. } in judged {
        let (all, fresh) = signed.entry(*signer).or_default();
        *all += 1;
        *fresh += usize::from(*read);
    }
    signed
}

/// Mentions the judged inputs that were not read again, if any.
fn unread(all: usize, read: usize) -> String {
    match all - read {
        0 => String::new(),
        unread if unread == all => "; their bytes were read by an earlier run".into(),
        unread => format!("; the bytes of {unread} were read by an earlier run"),
    }
}

/// The lines that people see after a build.
pub(crate) fn for_people(
    report: &Report,
    lock_path: &Path,
    current: &Path,
    private: Option<&Path>,
) -> String {
    let manifest = &report.published.manifest;
    let total: u64 = manifest.files.values().map(|file| file.size).sum();
    let state = match (report.published.unchanged, &report.published.left) {
        (false, _) => String::new(),
        (true, None) => " (unchanged)".into(),
        (true, Some(left)) => {
            format!(" (unchanged; current led to {left} until now, and leads to this one again)")
        }
    };
    let mut lines = vec![format!(
        "{} {} {} → {}{state}",
        manifest.name,
        report.lock.release.channel,
        report.version,
        report.published.path.display()
    )];
    lines.push(format!("  files     {}, {}", manifest.files.len(), HumanBytes(total)));
    let inputs = report.lock.inputs.len();
    lines.push(format!("  inputs    {inputs} locked, {} fetched now", report.fetched.len()));
    let pin = report.lock.trust.as_ref().map(|trust| trust.primary_fingerprint);
    let below = pin.map_or(String::new(), |pin| format!(" below the pinned {pin}"));
    for (signer, (count, read)) in signers(&report.judged) {
        let files = counted(count, "file");
        lines.push(format!("  verified  {files} signed by {signer}{below}{}", unread(count, read)));
    }
    let most = report.loads.iter().max_by_key(|load| load.needed);
    if let Some(Load { boot, needed, .. }) = most {
        lines.push(match report.loads.len() {
            1 => format!("  memory    {needed} for {boot}"),
            boots => format!("  memory    {needed} for {boot}, the most of {boots} boots"),
        });
    }
    let cached = report.steps.iter().filter(|ran| ran.outcome.cached).count();
    lines.push(format!("  steps     {} built, {cached} cached", report.steps.len() - cached));
    if report.lock_moved {
        lines.push(format!("  lock      wrote {}; commit it", lock_path.display()));
    }
    if !report.signers.is_empty() {
        let signers: Vec<String> = report.signers.iter().map(ToString::to_string).collect();
        lines.push(format!("  signed    by {}", signers.join(", ")));
    }
    // If there are secrets, other machines must not get them.
    let secrets = private::directory(&report.published.path, private, &manifest.name);
    let guard = match (secrets.is_dir(), private) {
        (false, _) => String::new(),
        (true, None) => " --guard".to_owned(),
        (true, Some(private)) => format!(" --guard --private {}", private.display()),
    };
    // The default address is the loopback's, which no machine reaches.
    let (address, also) = match &interface::addresses()[..] {
        [only] => (format!("{only}:{PORT}"), None),
        several => {
            let urls: Vec<String> =
                several.iter().map(|address| format!("http://{address}:{PORT}")).collect();
            (format!(":{PORT}"), (!urls.is_empty()).then(|| urls.join(" or ")))
        }
    };
    lines.push(format!("  next      prebake serve {} --address {address}{guard}", current.display()));
    lines.extend(also.map(|urls| format!("            machines find it at {urls}")));
    lines.join("\n") + "\n"
}

/// Appends the page to a file, because earlier steps of a CI job may have written to it.
pub(crate) fn append(path: &Path, happened: &Happened, built: Option<&Built>) -> Result<(), disk::Error> {
    let page = markdown(happened, built);
    let write = || File::options().create(true).append(true).open(path)?.write_all(page.as_bytes());
    write().map_err(disk::Error::io("append to", path))
}

fn markdown(happened: &Happened, built: Option<&Built>) -> String {
    let mut page = Page::default();
    match (&happened.end, built) {
        (End::Failed { exit, error, hint }, _) => {
            page.heading(2, &format!("prebake: {} failed, exit {exit}", code(&happened.recipe)));
            page.block(&error.join("\n  because: "));
            if let Some(hint) = hint {
                page.paragraph(&format!("**Hint:** {}", text(hint)));
            }
        }
        (End::Done { build_id }, built) => {
            page.heading(2, &format!("prebake: {} → {}", code(&happened.recipe), code(build_id)));
            if let Some(built) = built {
                page.table(["", ""], facts(happened, built, code, text));
            }
        }
    }
    let warnings: Vec<String> = happened.warnings.iter().map(|warning| text(warning)).collect();
    page.section("Warnings", warnings.is_empty(), |page| page.list(&warnings));
    page.section("Steps", happened.steps.is_empty(), |page| {
        page.table(["Step", "Result", "Size"], happened.steps.iter().map(|step| row(step, "built")));
    });
    page.section("Fetched", happened.fetches.is_empty(), |page| {
        page.table(["Input", "Result", "Size"], happened.fetches.iter().map(|fetch| row(fetch, "fetched")));
    });
    page.0
}

/// Facts about the build, line by line. `code` marks a name and `text` escapes a text, as the page needs it.
pub(crate) fn facts(
    happened: &Happened,
    Built { project, report, .. }: &Built,
    code: fn(&str) -> String,
    text: fn(&str) -> String,
) -> Vec<[String; 2]> {
    let manifest = &report.published.manifest;
    let total: u64 = manifest.files.values().map(|file| file.size).sum();
    let cached = report.steps.iter().filter(|ran| ran.outcome.cached).count();
    let archs: Vec<String> = project.recipe.release.archs.iter().map(ToString::to_string).collect();
    let mut facts = vec![
        [
            "Flatcar".to_owned(),
            format!("{} {} ({})", report.lock.release.channel, report.version, archs.join(", ")),
        ],
        ["Tree".to_owned(), code(&report.published.path.display().to_string())],
        [
            "Changed".to_owned(),
            if report.published.unchanged { "no, this tree was already published" } else { "yes" }.into(),
        ],
        ["Files".to_owned(), format!("{}, {}", manifest.files.len(), HumanBytes(total))],
        [
            "Inputs".to_owned(),
            format!("{} locked, {} fetched now", report.lock.inputs.len(), report.fetched.len()),
        ],
        ["Steps".to_owned(), format!("{} built, {cached} cached", report.steps.len() - cached)],
    ];
    let sysexts = project.sysexts.iter().filter(|sysext| sysext.booted);
    let mut versions: Vec<String> =
        sysexts.map(|sysext| text(&format!("{} {}", sysext.description.name, sysext.version()))).collect();
    versions.dedup();
    if !versions.is_empty() {
        facts.push(["Sysexts".into(), versions.join(", ")]);
    }
    let signed = signers(&report.judged).into_iter().map(|(signer, (count, read))| {
        format!("{count} by {}{}", code(&signer.to_string()), unread(count, read))
    });
    facts.push(["Inputs signed".into(), signed.collect::<Vec<_>>().join(", ")]);
    if !report.signers.is_empty() {
        let signers: Vec<String> = report.signers.iter().map(|signer| code(&signer.to_string())).collect();
        facts.push(["Tree signed".into(), format!("by {}", signers.join(", "))]);
    }
    if report.lock_moved {
        facts.push([
            "Lock".into(),
            format!("moved: commit {}", code(&project.lock_path.display().to_string())),
        ]);
    }
    if happened.rebuild.is_some() {
        facts.push(["Rebuilt".into(), "a second build gave the same result".into()]);
    }
    facts.push(["Time".into(), short(happened.took)]);
    facts
}

fn row(task: &Task, done: &str) -> [String; 3] {
    let state = match task.is_running() {
        true => format!("**{}**", state(task, done)),
        false => state(task, done),
    };
    let notes: String = task.notes.iter().map(|note| format!("; {}", text(note))).collect();
    [code(&task.id), state + &notes, size(task)]
}

/// The state of a task in words; `done` is the verb for one that ended.
pub(crate) fn state(task: &Task, done: &str) -> String {
    match task.state {
        State::Cached => "cached".to_owned(),
        State::Done(took) => format!("{done} in {}", short(took)),
        State::Running(_) => "not complete".to_owned(),
    }
}

/// The length of what a task made, or nothing.
pub(crate) fn size(task: &Task) -> String {
    task.size.map_or(String::new(), |size| HumanBytes(size).to_string())
}

/// A page of GitHub's Markdown.
#[derive(Default)]
struct Page(String);

impl Page {
    fn heading(&mut self, level: usize, heading: &str) {
        self.paragraph(&format!("{} {heading}", "#".repeat(level)));
    }

    fn paragraph(&mut self, paragraph: &str) {
        self.0 += paragraph;
        self.0 += "\n\n";
    }

    /// Text shown verbatim, in a fence that is longer than any in it.
    fn block(&mut self, block: &str) {
        let fence = "`".repeat(3.max(longest_run(block) + 1));
        self.paragraph(&format!("{fence}text\n{block}\n{fence}"));
    }

    fn list(&mut self, items: &[String]) {
        let lines: Vec<String> = items.iter().map(|item| format!("- {item}")).collect();
        self.paragraph(&lines.join("\n"));
    }

    fn table<const N: usize>(&mut self, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
        let mut table = format!("| {} |\n|{}", head.join(" | "), "---|".repeat(N));
        for row in rows {
            let _ = write!(table, "\n| {} |", row.join(" | "));
        }
        self.paragraph(&table);
    }

    fn section(&mut self, heading: &str, is_empty: bool, content: impl FnOnce(&mut Page)) {
        if !is_empty {
            self.heading(3, heading);
            content(self);
        }
    }
}

/// Plain text on one line, escaped so that no part is Markdown or HTML.
fn text(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => plain += "&lt;",
            '&' => plain += "&amp;",
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => plain.extend(['\\', letter]),
            _ if letter.is_control() => plain.push(' '),
            _ => plain.push(letter),
        }
    }
    plain
}

/// A name as code, on one line. Bars are escaped too, because they end a table's cell even there.
fn code(name: &str) -> String {
    let name: String =
        name.chars().map(|letter| if letter.is_control() || letter == '|' { ' ' } else { letter }).collect();
    let ticks = "`".repeat(longest_run(&name) + 1);
    match name.contains('`') {
        true => format!("{ticks} {name} {ticks}"),
        false => format!("{ticks}{name}{ticks}"),
    }
}

/// Length of the longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_holds_stays_in_its_cell() {
        assert_eq!(code("a|b`c\nd"), "`` a b`c d ``");
        assert_eq!(code("plain"), "`plain`");
        assert_eq!(text("a|b <i> [x](y) & \u{1b}[1m"), "a\\|b &lt;i> \\[x\\](y) &amp;  \\[1m");
    }

    #[test]
    fn a_fence_is_longer_than_any_in_its_text() {
        let mut page = Page::default();
        page.block("````\ntext");
        assert_eq!(page.0, "`````text\n````\ntext\n`````\n\n");
    }

    #[test]
    fn a_failure_shows_its_chain_and_hint_and_what_was_not_complete() {
        let mut fetch = Task {
            id: "in".into(),
            began: std::time::Duration::ZERO,
            state: State::Running(std::time::Instant::now()),
            size: None,
            notes: vec![],
        };
        fetch.notes.push("retried: 503 | busy".into());
        let happened = Happened {
            recipe: "r.yaml".into(),
            fetches: vec![fetch],
            end: End::Failed {
                exit: 6,
                error: vec!["no".into(), "cause".into()],
                hint: Some("wait *now*".into()),
            },
            ..Happened::default()
        };
        let page = markdown(&happened, None);
        let expected = "## prebake: `r.yaml` failed, exit 6\n\n```text\nno\n  because: cause\n```\n\n**Hint:** wait \\*now\\*\n\n### Fetched\n\n| Input | Result | Size |\n|---|---|---|\n| `in` | **not complete**; retried: 503 \\| busy |  |\n\n";
        assert_eq!(page, expected);
    }
}
