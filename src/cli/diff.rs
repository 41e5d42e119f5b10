//! `prebake diff`

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indicatif::HumanBytes;

use super::demand::DemandArgs;
use super::pending::Pending;
use super::project::StoreArg;
use super::terminal;
use crate::base::count::counted;
use crate::base::error::Result;
use crate::base::finding::is_unseen;
use crate::tree::bundle::policy::Taken;
use crate::tree::diff::{
    Boot, Change, Contents, Difference, Entry, Lines, Machines, Published, Side, Version, compare,
};
use crate::tree::names::PRIVATE;
use crate::tree::open::Tree;

/// Most lines of a section that people see; `--json` has them all.
const MOST: usize = 60;

/// Show the differences between two trees or bundles
///
/// Versions of Flatcar, sysexts, their components and container images; what machines boot and their kernel arguments; lines
/// of configs and scripts; published files and their sizes. Nothing is fetched, and files that are equal are not opened.
#[derive(Args)]
pub(crate) struct DiffArgs {
    /// The old tree or bundle, such as output/kubernetes/0123456789abcdef
    #[arg(value_name = "A")]
    from: PathBuf,
    /// The new tree or bundle, such as output/kubernetes/current
    #[arg(value_name = "B")]
    to: PathBuf,
    /// Compare the trees of this name, where a bundle holds several
    #[arg(long, value_name = "NAME")]
    tree: Option<String>,
    #[command(flatten)]
    demand: DemandArgs,
    #[command(flatten)]
    store: StoreArg,
    /// Compare inside sysext images, too: reads all changed ones
    #[arg(long)]
    deep: bool,
    /// Exit with 10 if they differ
    #[arg(long)]
    exit_code: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl DiffArgs {
    /// Compares, and prints the differences.
    pub(crate) fn run(self) -> Result<()> {
        let (from, to) = (self.open(&self.from)?, self.open(&self.to)?);
        let difference = compare(&from, &to, self.deep)?;
        let has_secrets =
            |tree: &Tree| tree.place.directory().is_some_and(|directory| directory.join(PRIVATE).is_dir());
        let unseen = has_secrets(&from) || has_secrets(&to);
        match self.json {
            true => {
                let mut told = serde_json::json!(difference);
                told["not_compared"] = unseen.then_some(PRIVATE).into_iter().collect();
                say!("{told:#}");
            }
            false => {
                say_part!("{}", picture(&difference, Colours::of_stdout()));
                if unseen {
                    say!("not compared: {PRIVATE}/: secrets are in no manifest");
                }
            }
        }
        match self.exit_code && !difference.is_empty() {
            true => Err(Pending("the trees differ".into()).into()),
            false => Ok(()),
        }
    }

    /// Opens a tree in a directory or in a bundle, which must satisfy the demands.
    fn open(&self, path: &Path) -> Result<Tree> {
        if !path.is_file() {
            return self.demand.directory(path);
        }
        let Taken { bundle, .. } = self.demand.open(path, &self.store.path()?)?;
        Ok(Tree::chosen(Arc::new(bundle), self.tree.as_deref())?)
    }
}

/// Whether to show additions in green and removals in red.
#[derive(Clone, Copy)]
pub(crate) struct Colours(bool);

impl Colours {
    /// As --color and the environment say.
    pub(crate) fn of_stdout() -> Self {
        Colours(terminal::colours_stdout())
    }

    /// A line in the colour of its first character.
    fn paint(self, line: &str) -> String {
        let code = match line.trim_start().chars().next() {
            Some('+') => "32",
            Some('-') => "31",
            Some('~') => "33",
            Some('@') => "36",
            _ => return line.to_owned(),
        };
        if self.0 { format!("\x1b[{code}m{line}\x1b[0m") } else { line.to_owned() }
    }
}

/// The differences of two trees, for people, without colours.
pub(crate) fn text(difference: &Difference) -> String {
    picture(difference, Colours(false))
}

/// The differences of two trees, for people.
pub(crate) fn picture(difference: &Difference, colours: Colours) -> String {
    let Difference { from, to, releases, versions, boots, machines, lines, contents, files } = difference;
    let mut picture = String::new();
    let side = |side: &Side| format!("{} (build {})", plain(&side.place), side.build_id);
    if difference.is_empty() {
        return format!("{} and {} are the same\n", side(from), side(to));
    }
    let _ = writeln!(picture, "{} → {}", side(from), side(to));
    if from.name != to.name {
        let _ = writeln!(picture, "of two recipes: {} → {}", plain(&from.name), plain(&to.name));
    }
    section(
        &mut picture,
        colours,
        "Releases",
        releases.iter().map(|change| row(change, String::clone)).collect(),
    );
    section(
        &mut picture,
        colours,
        "Versions",
        versions.iter().map(|change| row(change, |list| version(list.as_slice()))).collect(),
    );
    section(&mut picture, colours, "Boots", boots.iter().flat_map(boot).collect());
    section(&mut picture, colours, "Machines", machines.iter().map(|change| row(change, machine)).collect());
    section(&mut picture, colours, "Lines", lines.iter().flat_map(changed).collect());
    section(&mut picture, colours, "Inside sysexts", contents.iter().flat_map(inside).collect());
    let count = |gone: bool, new: bool| {
        let of = |change: &&Change<_>| (change.after.is_none(), change.before.is_none()) == (gone, new);
        files.iter().filter(of).count()
    };
    let heading = format!(
        "Files: {} added, {} removed, {} changed; {} → {} in total",
        count(false, true),
        count(true, false),
        count(false, false),
        HumanBytes(from.bytes),
        HumanBytes(to.bytes)
    );
    section(&mut picture, colours, &heading, files.iter().map(|change| row(change, file)).collect());
    picture
}

/// A heading and its lines, if there are any.
fn section(picture: &mut String, colours: Colours, heading: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(picture, "\n{heading}");
    for line in lines.iter().take(MOST) {
        let _ = writeln!(picture, "  {}", colours.paint(line));
    }
    if lines.len() > MOST {
        let _ = writeln!(picture, "  … and {} (--json has all)", counted(lines.len() - MOST, "more line"));
    }
}

/// One line for a change: `~ NAME  BEFORE → AFTER`.
fn row<T>(change: &Change<T>, show: impl Fn(&T) -> String) -> String {
    let name = plain(&change.name);
    let show = |value: &T| plain(&show(value));
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => format!("~ {name}  {} → {}", show(before), show(after)),
        (Some(before), None) => format!("- {name}  {}", show(before)),
        (None, Some(after)) => format!("+ {name}  {}", show(after)),
        (None, None) => name,
    }
}

fn version(list: &[Version]) -> String {
    let one = |version: &Version| {
        let digest = short(&version.sha256);
        version.version.as_ref().map_or(digest.clone(), |name| format!("{name} ({digest})"))
    };
    list.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn file(file: &Published) -> String {
    format!("{} {}", HumanBytes(file.size), short(&file.sha256))
}

fn machine(machines: &Machines) -> String {
    let labels: Vec<String> = machines.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let who = if labels.is_empty() { "any".to_owned() } else { labels.join(" ") };
    let metadata = match machines.metadata.is_empty() {
        true => String::new(),
        false => format!(" {}", serde_json::json!(machines.metadata)),
    };
    format!("{who} gets {}{metadata}", machines.profile)
}

/// The files of one boot, and the arguments that the other boot does not have.
fn boot(change: &Change<Boot>) -> Vec<String> {
    let name = plain(&change.name);
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        let args = |boot: &Boot| boot.args.join(" ");
        return vec![row(change, args)];
    };
    let mut lines = vec![format!("~ {name}")];
    let gone = before.args_beyond(after).into_iter().map(|arg| format!("  - {}", plain(arg)));
    let new = after.args_beyond(before).into_iter().map(|arg| format!("  + {}", plain(arg)));
    lines.extend(gone.chain(new));
    if lines.len() == 1 && before.args != after.args {
        lines.push(format!("  ~ the order of its arguments: {}", plain(&after.args.join(" "))));
    }
    for (what, before, after) in [
        ("kernel", before.kernel.clone(), after.kernel.clone()),
        ("initrds", before.initrd.join(" "), after.initrd.join(" ")),
    ] {
        if before != after {
            lines.push(format!("  ~ {what}  {} → {}", plain(&before), plain(&after)));
        }
    }
    lines
}

fn changed(lines: &Lines) -> Vec<String> {
    let mut shown = vec![match &lines.paths[..] {
        [path] => plain(path),
        [first, rest @ ..] => format!("{} and {} more with the same change", plain(first), rest.len()),
        [] => String::new(),
    }];
    match &lines.diff {
        None => shown.push("  too long to compare line by line".into()),
        // The hunk's line numbers are those of the reformatted text, which users do not have.
        Some(diff) => shown.extend(diff.lines().map(|line| match line.starts_with("@@") {
            true => "  @@".into(),
            false => format!("  {}", plain(line)),
        })),
    }
    shown
}

fn inside(contents: &Contents) -> Vec<String> {
    let mut lines = vec![plain(&contents.image)];
    lines.extend(contents.opaque.iter().map(|why| format!("  {}", plain(why))));
    lines.extend(contents.entries.iter().map(|change| format!("  {}", row(change, entry))));
    lines
}

fn entry(entry: &Entry) -> String {
    let Entry { kind, mode, size, sha256, target } = entry;
    let size = size.map_or_else(String::new, |size| format!(" {}", HumanBytes(size)));
    let digest = sha256.as_ref().map_or_else(String::new, |digest| format!(" {}", short(digest)));
    let target = target.as_ref().map_or_else(String::new, |target| format!(" to {target}"));
    format!("{kind} {mode:04o}{size}{digest}{target}")
}

fn short(digest: &crate::base::digest::Sha256) -> String {
    digest.to_string()[..8].to_owned()
}

/// Escapes text that would move the cursor, because a tree may come from anybody.
fn plain(text: &str) -> String {
    let shown =
        |c: char| if is_unseen(c) && c != '\t' { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}
