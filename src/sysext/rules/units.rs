//! Rules about units: those that systemd reads, those that it keeps running, and the programs that it runs.

use std::collections::BTreeMap;

use super::super::extension::{Error, Extension};
use super::super::merge::{Home, Line, Merge, Presence, Unit, usr_path};
use super::super::unit;
use super::{Breach, below};
use crate::base::finding::{Place, Source, nearest};
use crate::flatcar::quirks;
use crate::format::image::Kind;

pub(super) fn syntax(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let mut breaches = Vec::new();
    for (path, seen) in extension.entries.iter().filter(|(path, _)| unit::is_unit(path)) {
        if !matches!(seen.kind, Kind::File(_)) {
            continue;
        }
        let source = Source::new(extension.shown(path), extension.text(path)?);
        breaches.extend(unit::faults(path, &source.text).into_iter().map(|(line, message)| {
            let place = Place { source: source.clone(), line, column: 1 };
            Breach::of(extension).at(path).saying(message).placed(place)
        }));
    }
    Ok(breaches)
}

pub(super) fn reload(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let reloads = match extension.release()? {
        Some(release) => release.get("EXTENSION_RELOAD_MANAGER").is_some_and(is_true),
        None => true,
    };
    let first = extension.entries.keys().find(|path| unit::is_unit(path));
    Ok(first.filter(|_| !reloads).map(|path| Breach::of(extension).at(path)).into_iter().collect())
}

/// Whether a text is one of systemd's spellings of "yes".
fn is_true(text: &str) -> bool {
    ["1", "yes", "y", "true", "t", "on"].contains(&text.to_ascii_lowercase().as_str())
}

/// Directories that are read only once, early in the boot.
const EARLY: [&str; 4] =
    ["usr/lib/sysctl.d", "usr/lib/modules-load.d", "usr/lib/udev/rules.d", "usr/lib/sysusers.d"];

pub(super) fn too_early(merge: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    if merge.release.is_some_and(quirks::merges_in_initrd) {
        return Ok(Vec::new());
    }
    let present = EARLY.into_iter().filter(|dir| {
        extension.entries.iter().any(|(path, seen)| seen.kind != Kind::Dir && below(path, dir))
    });
    Ok(present.map(|dir| Breach::of(extension).at(dir)).collect())
}

/// The part that keeps a unit running.
enum Upholder<'u> {
    /// An assignment in a unit or drop-in.
    Line(&'u Line),
    /// A link in an extension's directory such as `multi-user.target.upholds` (systemd.unit(5), since 254).
    Link { extension: &'u Extension, path: &'u str },
}

impl Upholder<'_> {
    /// A breach at this place; `None` for the node's own config, which is judged elsewhere.
    fn breach(&self, merge: &Merge) -> Option<Breach> {
        match self {
            Upholder::Line(line) => at_line(merge, line),
            Upholder::Link { extension, path } => Some(Breach::of(extension).at(path)),
        }
    }
}

/// Units that are kept running, each with its upholder.
fn upheld<'u>(merge: &'u Merge, units: &'u BTreeMap<String, Unit>) -> Vec<(&'u str, Upholder<'u>)> {
    let lines = units.values().flat_map(|unit| unit.list("Unit", "Upholds"));
    let lines = lines.map(|(name, line)| (name, Upholder::Line(line)));
    let links = merge.extensions().iter().copied().flat_map(|extension| {
        let link = move |path: &'u String| {
            let (directory, name) = unit::unit_path(path)?.split_once('/')?;
            let is_one = directory.ends_with(".upholds") && !name.contains('/');
            is_one.then_some((name, Upholder::Link { extension, path }))
        };
        extension.entries.keys().filter_map(link)
    });
    lines.chain(links).collect()
}

/// A breach in the text of a line; `None` for the node's own config, which is judged elsewhere.
fn at_line(merge: &Merge, line: &Line) -> Option<Breach> {
    let Home { extension, path } = &line.home;
    let extension = merge.extensions()[(*extension)?];
    let source = Source::new(extension.shown(path), extension.text(path).ok()?);
    let place = Place { source, line: line.assignment.line, column: 1 };
    Some(Breach::of(extension).at(path).placed(place))
}

/// A unit by its name, or the template of an instance.
fn definition<'u>(units: &'u BTreeMap<String, Unit>, name: &str) -> Option<&'u Unit> {
    let template = || {
        let (stem, instance) = name.split_once('@')?;
        units.get(&format!("{stem}@.{}", instance.rsplit_once('.')?.1))
    };
    units.get(name).filter(|unit| unit.home.is_some()).or_else(template).or_else(|| units.get(name))
}

/// Whether a service ends by itself: it says so, or it has no process that stays (systemd.service(5): without `Type=`
/// and `ExecStart=`, a service is a oneshot).
fn is_oneshot(unit: &Unit) -> bool {
    match unit.last("Service", "Type") {
        Some(kind) => kind == "oneshot",
        None => {
            let runs = |key: &str| !unit.commands(key).is_empty();
            !runs("ExecStart") && (runs("ExecStartPre") || runs("ExecStop"))
        }
    }
}

pub(super) fn upheld_oneshot(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let units = merge.units();
    let mut breaches = Vec::new();
    for (name, upholder) in upheld(merge, units) {
        let Some(unit) = definition(units, name) else { continue };
        let stays = unit.last("Service", "RemainAfterExit").is_some_and(is_true);
        if is_oneshot(unit) && !stays {
            let breach = upholder.breach(merge);
            breaches.extend(breach.map(|breach| breach.saying(format!("{name} is `Type=oneshot`"))));
        }
    }
    Ok(breaches)
}

pub(super) fn upholds(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let units = merge.units();
    let mut breaches = Vec::new();
    for (name, upholder) in upheld(merge, units) {
        let doubtful = match merge.unit_presence(name) {
            Presence::Here | Presence::Elsewhere => continue,
            Presence::Missing => false,
            Presence::Doubtful => true,
        };
        let Some(breach) = upholder.breach(merge) else { continue };
        let whole = units.iter().filter(|(_, unit)| unit.home.is_some()).map(|(name, _)| name.as_str());
        let fix = nearest(name, whole).map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
        let breach = breach.saying(format!("none of the extensions has {name}")).fix(fix);
        breaches.push(if doubtful { breach.doubtful() } else { breach });
    }
    Ok(breaches)
}

/// Keys of the commands that must run before a service counts as started.
const STARTING: [&str; 4] = ["ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost"];
/// Directories in `/usr`, as Flatcar has them, in which systemd searches a program without a path.
const SEARCHED: [&str; 2] = ["usr/local/bin", "usr/bin"];

/// A command of a unit in an extension.
struct Command<'u> {
    line: &'u Line,
    program: String,
}

/// The commands that must succeed and whose program is named literally.
fn commands(units: &BTreeMap<String, Unit>) -> Vec<Command<'_>> {
    let lines = units.values().flat_map(|unit| STARTING.into_iter().flat_map(|key| unit.commands(key)));
    let of_extensions = lines.filter(|line| line.home.extension.is_some());
    of_extensions
        .filter_map(|line| Some(Command { program: program(&line.assignment.value)?, line }))
        .collect()
}

/// The program that a command must run successfully; `None` if its failure is ignored, or if only systemd can resolve
/// its name.
fn program(command: &str) -> Option<String> {
    let word = command.split_whitespace().next()?;
    let program = word.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let prefix = &word[..word.len() - program.len()];
    let program = program.trim_matches(['"', '\'']);
    let unclear = prefix.contains('-') || program.is_empty() || program.contains(['%', '$']);
    (!unclear).then(|| program.to_owned())
}

/// Path of a program, and whether it exists.
fn locate(merge: &Merge, program: &str) -> (Option<String>, Presence) {
    if program.starts_with('/') {
        return (merge.place(program).or_else(|| usr_path(program)), merge.presence(program));
    }
    let places = SEARCHED.map(|dir| format!("{dir}/{program}"));
    let here = places.iter().find(|path| merge.presence(&format!("/{path}")) == Presence::Here);
    let unknown = if merge.base.complete { Presence::Missing } else { Presence::Doubtful };
    (here.cloned(), if here.is_some() { Presence::Here } else { unknown })
}

/// The program after `#!` of a script in one of the extensions.
fn interpreter(merge: &Merge, path: &str) -> Option<String> {
    let (index, seen) = merge.entry(path)?;
    if !matches!(seen.kind, Kind::File(_)) {
        return None;
    }
    let head = merge.extensions()[index].head(path, 256).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line).into_owned();
    let mut words = line.split_whitespace();
    let first = words.next()?;
    match first.ends_with("/env") {
        true => words.next().map(str::to_owned),
        false => Some(first.to_owned()),
    }
}

pub(super) fn exec(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let units = merge.units();
    let mut breaches = Vec::new();
    for Command { line, program } in commands(units) {
        let (path, presence) = locate(merge, &program);
        let script = path.and_then(|path| interpreter(merge, &path));
        let (what, presence) = match (presence, script) {
            (Presence::Here, Some(interpreter)) => {
                (format!("{program} is run by {interpreter}, which"), locate(merge, &interpreter).1)
            }
            (presence, _) => (program, presence),
        };
        let Some(breach) = at_line(merge, line) else { continue };
        match presence {
            Presence::Here | Presence::Elsewhere => {}
            Presence::Missing => {
                breaches.push(
                    breach.saying(format!("{what} is in none of the extensions and not in the release")),
                );
            }
            Presence::Doubtful => {
                let detail = format!(
                    "{what} is in none of the extensions, and prebake knows no such program of Flatcar"
                );
                breaches.push(breach.saying(detail).doubtful());
            }
        }
    }
    Ok(breaches)
}

pub(super) fn exec_mode(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let units = merge.units();
    let mut breaches = Vec::new();
    for Command { line, program } in commands(units) {
        let entry = locate(merge, &program).0.and_then(|path| merge.entry(&path));
        let Some((_, seen)) =
            entry.filter(|(_, seen)| matches!(seen.kind, Kind::File(_)) && !seen.is_program())
        else {
            continue;
        };
        let detail = format!("{program} has the mode {:04o}", seen.mode);
        breaches.extend(at_line(merge, line).map(|breach| breach.saying(detail)));
    }
    Ok(breaches)
}
