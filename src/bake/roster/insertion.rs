//! Entries into the text of a recipe or an inventory: as lines below `nodes:`, without touching anything else.
//!
//! The text is not written anew from a tree, which would lose its comments. Lines are put in where the list ends, and the
//! new text is read as any other before it replaces the old one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bake::outputs;
use crate::bake::recipe::Recipe;
use crate::base::arch::Arch;
use crate::base::disk;
use crate::base::error::Result;
use crate::base::finding::{Finding, Findings, MAX_TEXT, Place, Source, not_text};
use crate::base::reader::another_kind;
use crate::base::yaml::kinds::{self, Kind};
use crate::base::yaml::{self, Kind as Shape, Node as Yaml};
use crate::machine::entry::Entry;
use crate::machine::node::{Mac, parse_inventory, parse_uuid};

/// The beginning of a new inventory.
const NEW: &str = "schema: 1\nnodes:\n";

/// A file with `nodes:`, or one to be.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    source: Arc<Source>,
    known: Vec<Known>,
    index: Index,
    is_recipe: bool,
    facts: Facts,
    /// Keeps other runs from changing the file meanwhile, see [`Target::hold`].
    _lock: Option<File>,
}

/// The facts of a recipe that its nodes refer to; none for an inventory.
#[derive(Debug, Default)]
struct Facts {
    archs: Vec<Arch>,
    profiles: Vec<String>,
}

/// A node that the file has.
#[derive(Debug)]
struct Known {
    entry: Entry,
    place: Place,
}

/// The nodes of a file by what identifies them, as positions among them.
#[derive(Debug, Default)]
struct Index {
    /// By the name in lower case.
    names: BTreeMap<String, usize>,
    macs: BTreeMap<Mac, usize>,
    uuids: BTreeMap<String, usize>,
    addresses: BTreeMap<IpAddr, usize>,
}

impl Index {
    fn of(known: &[Known]) -> Index {
        let mut index = Index::default();
        for (at, Known { entry, .. }) in known.iter().enumerate() {
            index.names.entry(entry.name.to_ascii_lowercase()).or_insert(at);
            entry.mac.map(|mac| index.macs.entry(mac).or_insert(at));
            entry.uuid.clone().map(|uuid| index.uuids.entry(uuid).or_insert(at));
            entry.ip.map(|ip| index.addresses.entry(ip.address).or_insert(at));
        }
        index
    }
}

/// The outcome of an insertion.
#[derive(Debug, Default)]
pub struct Written {
    /// The entries that are new.
    pub(crate) added: Vec<Entry>,
    /// Those that the file has already, with the place there.
    pub(crate) present: Vec<(Entry, Place)>,
    /// The new text of the file.
    pub text: String,
}

impl Target {
    /// Reads a recipe or an inventory; a file that does not exist becomes an inventory.
    ///
    /// # Errors
    /// It cannot be read, is something else, or has faults.
    pub(crate) fn read(path: &Path) -> Result<Target> {
        let name = path.display().to_string();
        let text = match disk::read_at_most(path, MAX_TEXT) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| not_text(&name))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => NEW.to_owned(),
            Err(error) => return Err(disk::Error::io("read", path)(error).into()),
        };
        Ok(Target::parse(path, &Source::new(name, text))?)
    }

    /// The same for a file that will be changed: other runs that would change it wait until this is dropped, and then read what
    /// was written.
    ///
    /// # Errors
    /// As [`Target::read`]; or a directory for a new file that cannot be made.
    pub(crate) fn hold(path: &Path) -> Result<Target> {
        // A file that is replaced takes a lock on it along, so the lock is on its directory; links lead to one file.
        let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let directory = disk::directory_of(&file);
        disk::create_directories(directory)?;
        // Where nothing can be locked, one run at a time is the user's care.
        let lock = File::open(directory).ok().filter(|directory| directory.lock().is_ok());
        Ok(Target { _lock: lock, ..Target::read(path)? })
    }

    /// The same for a text.
    pub fn parse(path: &Path, source: &Arc<Source>) -> Result<Target, Findings> {
        let root = yaml::merge::parse(source)?;
        let is_recipe = kinds::of(&root, &source.text) == Some(Kind::Recipe);
        if !is_recipe {
            another_kind(&root, source, Kind::Inventory)?;
        }
        let facts = judge(path, source, is_recipe)?;
        let items = match root.get("nodes").map(|nodes| &nodes.kind) {
            Some(Shape::Sequence(items)) => items.as_slice(),
            _ => &[],
        };
        let known = |item: &Yaml| {
            let text = |key: &str| item.get(key).and_then(Yaml::scalar);
            let place = item.get("name").unwrap_or(item).place(source);
            let entry = Entry {
                name: text("name").unwrap_or_default().to_owned(),
                mac: text("mac").and_then(|mac| mac.parse().ok()),
                uuid: text("uuid").and_then(|uuid| parse_uuid(uuid).ok()),
                ip: text("ip").and_then(|ip| ip.parse().ok()),
                arch: text("arch").and_then(|arch| arch.parse().ok()),
                memory: text("memory").map(str::to_owned),
                profile: text("profile").map(str::to_owned),
                from: None,
            };
            Known { entry, place }
        };
        let known: Vec<Known> = items.iter().map(known).collect();
        let index = Index::of(&known);
        Ok(Target {
            path: path.to_owned(),
            source: source.clone(),
            known,
            index,
            is_recipe,
            facts,
            _lock: None,
        })
    }

    /// The same for a file that must exist.
    ///
    /// # Errors
    /// As [`Target::read`].
    pub(crate) fn open(path: &Path) -> Result<Target> {
        fs::metadata(path).map_err(disk::Error::io("read", path))?;
        Target::read(path)
    }

    /// The nodes of the file.
    pub(crate) fn entries(self) -> Vec<Entry> {
        self.known.into_iter().map(|known| known.entry).collect()
    }

    /// Whether a node is called so, without case.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.index.names.contains_key(&name.to_ascii_lowercase())
    }

    /// Whether a node has this MAC address.
    pub(crate) fn has_mac(&self, mac: Mac) -> bool {
        self.index.macs.contains_key(&mac)
    }

    /// Whether nodes must state their architecture.
    pub(crate) fn has_several_archs(&self) -> bool {
        self.facts.archs.len() > 1
    }

    /// The profiles of the recipe; none for an inventory, which has no profiles of its own.
    pub(crate) fn profiles(&self) -> &[String] {
        &self.facts.profiles
    }

    /// The names of those entries that the file has not and for which no profile is known.
    pub(crate) fn without_profile<'e>(&self, entries: &'e [Entry]) -> Vec<&'e str> {
        let lacks = |entry: &&Entry| entry.profile.is_none() && !matches!(self.meets(entry), Ok(Some(_)));
        entries.iter().filter(lacks).map(|entry| entry.name.as_str()).collect()
    }

    /// Puts entries below `nodes:`; nothing is written yet. A machine that the file has under the same name is left out.
    ///
    /// # Errors
    /// Findings about entries that contradict the file, or the faults that the new text would have.
    pub fn insert(&self, entries: Vec<Entry>) -> Result<Written, Findings> {
        let mut written = Written::default();
        let mut findings = Vec::new();
        for entry in entries {
            match self.meets(&entry) {
                Ok(None) => written.added.push(entry),
                Ok(Some(place)) => written.present.push((entry, place)),
                Err(finding) => findings.push(finding),
            }
        }
        Findings::settle(findings, ())?;
        written.text = match written.added.is_empty() {
            true => self.source.text.clone(),
            false => inserted(&self.source, &written.added)?,
        };
        let source = Source::new(self.source.name.as_str(), written.text.as_str());
        judge(&self.path, &source, self.is_recipe)
            .map_err(|findings| traced(findings, &source, &written.added))?;
        let (before, after) = (names(&self.source)?, names(&source)?);
        let new: BTreeSet<&str> = written.added.iter().map(|entry| entry.name.as_str()).collect();
        let is_whole = after.len() == before.len() + new.len()
            && before.iter().all(|name| after.contains(name))
            && new.iter().all(|name| after.contains(*name));
        if !is_whole {
            return Err(unusual(&self.source, 1).into());
        }
        Ok(written)
    }

    /// Replaces the file by its new text.
    pub(crate) fn save(&self, written: &Written) -> Result<()> {
        if written.added.is_empty() {
            return Ok(());
        }
        Ok(disk::write_output(&self.path, written.text.as_bytes())
            .map_err(disk::Error::io("write", &self.path))?)
    }

    /// The place of the node that an entry is, if the file has it.
    fn meets(&self, entry: &Entry) -> Result<Option<Place>, Finding> {
        let index = &self.index;
        let known = |at: Option<&usize>| at.and_then(|at| self.known.get(*at));
        let by_mac = entry.mac.and_then(|mac| index.macs.get(&mac));
        let by_uuid = entry.uuid.as_ref().and_then(|uuid| index.uuids.get(uuid));
        let same = by_mac.into_iter().chain(by_uuid).min();
        let called = known(index.names.get(&entry.name.to_ascii_lowercase()));
        let there = known(entry.ip.and_then(|ip| index.addresses.get(&ip.address)));
        let is_called = |known: &&Known| known.entry.name.eq_ignore_ascii_case(&entry.name);
        let address = |entry: &Entry| entry.ip.map(|ip| ip.address);
        let is_there = |known: &&Known| entry.ip.is_some() && address(&known.entry) == address(entry);
        let conflict = |text: String, known: &Known| {
            Err(Finding::error(text).at(known.place.clone()).hint(format!("the new line would be `{entry}`")))
        };
        let name = &entry.name;
        if let Some(known) = known(same) {
            let moved = known.entry.ip.is_some() && entry.ip.is_some() && !is_there(&known);
            return match is_called(&known) {
                true if moved => conflict(format!("node `{name}` of the file has another address"), known),
                true => Ok(Some(known.place.clone())),
                false => {
                    let text =
                        format!("`{name}` is node `{}` of the file: they are one machine", known.entry.name);
                    conflict(text, known)
                }
            };
        }
        if let Some(known) = called {
            return conflict(format!("node `{name}` of the file has another MAC address or UUID"), known);
        }
        match there {
            Some(known) => conflict(
                format!("node `{}` of the file has the address of `{name}`", known.entry.name),
                known,
            ),
            None => Ok(None),
        }
    }
}

/// Findings in a text that nobody sees, since it is not written: one in an added line stands where the entry comes from, or
/// shows the line.
fn traced(Findings(mut findings): Findings, source: &Arc<Source>, added: &[Entry]) -> Findings {
    let lines: BTreeMap<String, &Entry> = added.iter().map(|entry| (entry.to_string(), entry)).collect();
    let entry = |place: &Place| match place.source.name == source.name {
        true => lines.get(source.line(place.line)?.trim()).copied(),
        false => None,
    };
    for finding in &mut findings {
        for (place, _) in &mut finding.related {
            if let Some(from) = entry(place).and_then(|entry| entry.from.as_ref()) {
                *place = from.clone();
            }
        }
        let Some(entry) = finding.place.as_ref().and_then(entry) else { continue };
        finding.place = entry.from.clone();
        if entry.from.is_none() {
            let more = finding.hint.take().map_or_else(String::new, |hint| format!("; {hint}"));
            finding.hint = Some(format!("the new line would be `{entry}`{more}"));
        }
    }
    Findings(findings)
}

/// Reads a text as what it is; the facts of a recipe.
fn judge(path: &Path, source: &Arc<Source>, is_recipe: bool) -> Result<Facts, Findings> {
    match is_recipe {
        true => {
            let directory = path.parent().unwrap_or(Path::new("")).to_owned();
            let (recipe, _) = Recipe::parse(source, directory, outputs::read)?;
            Ok(Facts { archs: recipe.release.archs, profiles: recipe.profiles.into_keys().collect() })
        }
        false => parse_inventory(source, &[]).map(|_| Facts::default()),
    }
}

fn names(source: &Arc<Source>) -> Result<BTreeSet<String>, Findings> {
    let root = yaml::merge::parse(source)?;
    let Some(Shape::Sequence(items)) = root.get("nodes").map(|nodes| &nodes.kind) else {
        return Ok(BTreeSet::new());
    };
    let name = |item: &Yaml| item.get("name").and_then(Yaml::scalar).unwrap_or_default().to_owned();
    Ok(items.iter().map(name).collect())
}

/// The text with lines for these entries below `nodes:`.
fn inserted(source: &Arc<Source>, entries: &[Entry]) -> Result<String, Findings> {
    let root = yaml::parse(source)?;
    let text = &source.text;
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let lines = |indent: usize| -> String {
        let line = |entry: &Entry| format!("{}{entry}{end}", " ".repeat(indent));
        entries.iter().map(line).collect()
    };
    let Some((key, nodes)) =
        top(&root).and_then(|all| all.iter().find(|(key, _)| key.scalar() == Some("nodes")))
    else {
        return appended(source, &root, &format!("nodes:{end}{}", lines(2)), end);
    };
    let refused = |line| Err(unusual(source, line).into());
    if nodes.aliased || key.start.column != 1 {
        return refused(key.start.line);
    }
    match &nodes.kind {
        Shape::Sequence(items) if items.is_empty() => {
            // `nodes: []`
            let (from, to) = (
                offset(text, nodes.start.line, nodes.start.column),
                offset(text, nodes.end.line, nodes.end.column),
            );
            match text.get(from..to) {
                Some("[]") => {
                    let rest = text.get(to..).unwrap_or_default();
                    let (same, below) =
                        rest.split_once('\n').map_or((rest, ""), |(same, below)| (same, below));
                    let before = text.get(..from).unwrap_or_default().trim_end();
                    let same = same.trim_end();
                    Ok(format!("{before}{same}{end}{}{below}", lines(2)))
                }
                _ => refused(nodes.start.line),
            }
        }
        Shape::Sequence(items) => {
            let (first, last) = (&items[0], deepest(&items[items.len() - 1]));
            let line = text_line(text, first.start.line);
            let before: String = line.chars().take(first.start.column - 1).collect();
            // `- ` before the first item; anything else is a list in brackets.
            let Some(indent) = before.strip_suffix('-').or_else(|| before.trim_end().strip_suffix('-'))
            else {
                return bracketed(source, nodes, entries);
            };
            if !indent.chars().all(|c| c == ' ') {
                return refused(first.start.line);
            }
            let after = end_of(text, indent.len(), last.max(items[items.len() - 1].start.line));
            Ok(spliced(text, after, &lines(indent.len()), end))
        }
        Shape::Scalar(..)
            if nodes.is_null()
                && text_line(text, key.start.line)
                    .split('#')
                    .next()
                    .is_some_and(|line| line.trim_end() == "nodes:") =>
        {
            Ok(spliced(text, key.start.line, &lines(2), end))
        }
        _ => refused(key.start.line),
    }
}

/// The entries of the top mapping.
fn top(root: &Yaml) -> Option<&[(Yaml, Yaml)]> {
    match &root.kind {
        Shape::Mapping(entries) => Some(entries),
        _ => None,
    }
}

/// Appends a key to a text whose top mapping is a block.
fn appended(source: &Arc<Source>, root: &Yaml, lines: &str, end: &str) -> Result<String, Findings> {
    let text = &source.text;
    let is_block = top(root).and_then(|all| all.first()).is_some_and(|(key, _)| key.start.column == 1);
    let ends = text.lines().any(|line| {
        line.starts_with("...")
            || line.trim_end() == "---" && !text.trim_start_matches('\u{feff}').starts_with("---")
    });
    if !is_block || ends {
        return Err(unusual(source, 1).into());
    }
    let gap = if text.ends_with('\n') || text.is_empty() { "" } else { end };
    Ok(format!("{text}{gap}{lines}"))
}

/// Puts entries before the bracket that ends a list.
fn bracketed(source: &Arc<Source>, nodes: &Yaml, entries: &[Entry]) -> Result<String, Findings> {
    let text = &source.text;
    let to = offset(text, nodes.end.line, nodes.end.column);
    let Some(inner) = text.get(..to).and_then(|text| text.strip_suffix(']')) else {
        return Err(unusual(source, nodes.start.line).into());
    };
    let last = inner.trim_end();
    let has_comment = last.rsplit('\n').next().is_some_and(|line| line.contains('#'));
    if has_comment {
        return Err(unusual(source, nodes.end.line).into());
    }
    let comma = if last.ends_with(',') { "" } else { "," };
    let flow: Vec<String> = entries.iter().map(|entry| entry.to_string()[2..].to_owned()).collect();
    let rest = text.get(last.len()..).unwrap_or_default();
    Ok(format!("{last}{comma} {}{rest}", flow.join(", ")))
}

/// The last line of a node that has text of its own.
fn deepest(node: &Yaml) -> usize {
    match &node.kind {
        _ if node.aliased => node.start.line,
        Shape::Scalar(..) if node.end.column == 1 && node.end.line > node.start.line => node.end.line - 1,
        Shape::Scalar(..) => node.end.line,
        Shape::Sequence(items) => items.last().map_or(node.start.line, deepest),
        Shape::Mapping(entries) => {
            entries.last().map_or(node.start.line, |(key, value)| deepest(key).max(deepest(value)))
        }
    }
}

/// The line behind which a list at this indent ends: further lines that are indented deeper belong to its last item.
fn end_of(text: &str, indent: usize, line: usize) -> usize {
    let mut last = line;
    for (index, next) in text.lines().enumerate().skip(line) {
        let depth = next.len() - next.trim_start_matches(' ').len();
        match next.trim().is_empty() {
            true => {}
            false if depth > indent => last = index + 1,
            false => break,
        }
    }
    last
}

/// The text with lines put in behind a line.
fn spliced(text: &str, after: usize, lines: &str, end: &str) -> String {
    let mut at = 0;
    let mut rest = text;
    for _ in 0..after {
        match rest.find('\n') {
            Some(index) => at += index + 1,
            None => {
                // The last line has no end.
                return format!("{text}{end}{lines}");
            }
        }
        rest = &text[at..];
    }
    format!("{}{lines}{}", &text[..at], &text[at..])
}

fn text_line(text: &str, number: usize) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text).lines().nth(number.saturating_sub(1)).unwrap_or_default()
}

/// The offset of a position, in bytes.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let mark = text.len() - text.trim_start_matches('\u{feff}').len();
    let start: usize = text[mark..].split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>() + mark;
    let chars = text[start..].char_indices().nth(column - 1);
    chars.map_or(text.len(), |(index, _)| start + index)
}

/// The finding about a list that is written in a way that lines cannot be put into.
fn unusual(source: &Arc<Source>, line: usize) -> Finding {
    let place = Place { source: source.clone(), line, column: 1 };
    Finding::error("lines cannot be put below this `nodes:` without changing more of the text")
        .at(place)
        .hint("write it as a list with one item a line, or paste the lines that the command prints without --into")
}
