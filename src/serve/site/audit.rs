//! Checks a data directory as a whole: files that nothing reads, groups that no machine gets, and profiles and configs
//! that are missing or cannot be rendered for their groups.
//!
//! Matchbox reports all that when a machine asks, if at all. Here it is reported at the start and after each edit. A
//! config is checked again only after it, or a group that uses it, was edited.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::Flaw;
use super::config::{Forecast, Kind};
use super::datadir::Config;
use crate::base::count::counted;
use crate::base::finding::nearest;
use crate::base::parallel;
use crate::base::unfinished;
use crate::tree::names::{self, ASSETS, CLOUD, GENERIC, GROUPS, IGNITION, PROFILES, RECORD_END, below};
use crate::tree::notes::Weight;
use crate::tree::records::{Group, Noted, Profile};

/// The folders of a data directory.
pub(crate) const FOLDERS: [&str; 6] = [GROUPS, PROFILES, IGNITION, GENERIC, CLOUD, ASSETS];
/// A Butane template is tried for this many groups. Errors for further groups are reported when a machine asks.
const MAX_TRIED: usize = 500;
/// Groups of one template that are checked in one unit of parallel work.
const CHUNK: usize = 32;
/// The most paths to list in a line.
const MAX_NAMED: usize = 3;

/// Parsed records or their errors, by path below the data directory.
pub(crate) type Records<T> = BTreeMap<String, Result<Noted<Arc<T>>, String>>;

/// The id of a profile in groups: its path below `profiles/` without `.json`.
pub(crate) fn profile_id(path: &str) -> &str {
    let name = below(path, PROFILES).unwrap_or(path);
    name.strip_suffix(RECORD_END).unwrap_or(name)
}

/// The flaws within each record.
pub(crate) fn records<T>(records: &Records<T>) -> impl Iterator<Item = Flaw> {
    records.iter().flat_map(|(path, read)| match read {
        Ok(noted) => {
            let notes = noted.notes.iter();
            notes.map(|(weight, why)| Flaw::new(*weight, path, why)).collect::<Vec<_>>()
        }
        Err(why) => vec![Flaw::fault(path, why)],
    })
}

/// Profiles whose `id` differs from their file name.
pub(crate) fn ids(profiles: &Records<Profile>) -> impl Iterator<Item = Flaw> {
    profiles.iter().filter_map(|(path, read)| {
        let (id, said) = (profile_id(path), &read.as_ref().ok()?.record.id);
        let why = || format!("its `id` is `{said}`, but groups find it by its file name, `{id}`");
        (said != id && id.rsplit('/').next() != Some(said)).then(|| Flaw::new(Weight::Note, path, why()))
    })
}

/// Why a group's profile is missing.
pub(crate) fn no_profile(id: &str, profiles: &Records<Profile>, why: &str) -> String {
    if id.is_empty() {
        return "it has no `profile`: its machines boot nothing".into();
    }
    let known = || profiles.keys().map(|path| profile_id(path));
    let of_id = profiles.iter().find(|(_, read)| read.as_ref().is_ok_and(|noted| noted.record.id == id));
    let deeper = known().find(|other| other.rsplit('/').next() == Some(id));
    let hint = match (of_id, deeper, nearest(id, known())) {
        (_, Some(other), _) => format!("; {} is called `{other}`", names::profile(other)),
        (Some((path, _)), ..) => {
            format!("; {path} has that `id`, but is called `{}`, by its file's name", profile_id(path))
        }
        (None, None, Some(near)) => format!("; did you mean `{near}`?"),
        (None, None, None) => String::new(),
    };
    format!("its profile `{id}` is unavailable: {why}{hint}")
}

/// Groups with the same selector as an earlier group. `groups` is in the order of file names.
pub(crate) fn ties<'g>(groups: impl Iterator<Item = (&'g String, &'g Arc<Group>)>) -> Vec<Flaw> {
    let mut first: HashMap<&BTreeMap<String, String>, &String> = HashMap::new();
    let mut flaws = Vec::new();
    for (path, group) in groups {
        let pairs: Vec<String> = group.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let machines = if pairs.is_empty() { "all machines".to_owned() } else { pairs.join(" ") };
        match first.get(&group.selector) {
            None => drop(first.insert(&group.selector, path)),
            Some(other) => flaws.push(Flaw::fault(
                path,
                format!(
                    "it has the same selector as {other} ({machines}), which comes first: no machine gets it"
                ),
            )),
        }
    }
    flaws
}

/// Why a file below `groups/` or `profiles/` cannot be a record, or is an unusual one, by its name alone. `None` for
/// files that are common everywhere.
pub(crate) fn stray(path: &str) -> Option<Flaw> {
    let (folder, rest) = path.split_once('/')?;
    let name = path.rsplit('/').next().unwrap_or(path);
    // Kubernetes mounts a ConfigMap by links through names with two dots; Git and people leave the others.
    let is_usual = rest.split('/').any(|part| part.starts_with(".."))
        || [".gitkeep", ".keep", ".gitignore", ".gitattributes"].contains(&name)
        // Files that are being written (`serve::rpc::store`): they are gone at once, or at the next start.
        || name.starts_with(unfinished::PREFIX) && !name.ends_with(RECORD_END)
        || ["README", "LICENSE"].iter().any(|start| name.starts_with(start) && !name.ends_with(RECORD_END));
    if is_usual {
        return None;
    }
    let is_leftover = [".swp", ".swo", ".swx", "~", ".bak", ".orig", ".old", ".tmp", ".rej", ".save"]
        .iter()
        .any(|end| name.to_ascii_lowercase().ends_with(end))
        || name.starts_with(".#")
        || name.starts_with('#')
        || name.starts_with(".tmp")
        || name == "4913";
    if is_leftover {
        return Some(Flaw::new(Weight::Leftover, path, "an editor or a script left it here; it is not read"));
    }
    match name.strip_suffix(RECORD_END) {
        // Folders may contain profiles, but not groups.
        Some(_) if folder == GROUPS && rest.contains('/') => {
            let why = format!("groups are read from {GROUPS}/ itself, and not from folders in it");
            Some(Flaw::fault(path, why))
        }
        Some(_) if name.starts_with('.') => {
            Some(Flaw::fault(path, "it is hidden, but read like any other: move it away, or rename it"))
        }
        Some(_) => None,
        None => {
            let what = if folder == GROUPS { "groups" } else { "profiles" };
            Some(Flaw::fault(
                path,
                format!("it is not read: {what} are JSON, in files that end in `{RECORD_END}`"),
            ))
        }
    }
}

/// Summarizes flaws from [`stray`]: those of one folder share a line.
pub(crate) fn strays(found: impl Iterator<Item = Flaw>) -> Vec<Flaw> {
    let mut by_folder: BTreeMap<(String, String), Vec<Flaw>> = BTreeMap::new();
    let mut flaws = Vec::new();
    for flaw in found {
        // Files in groups/ itself have their own lines, since each was meant as a machine's group.
        match flaw.path.rsplit_once('/') {
            Some((folder, _)) if folder.contains('/') => {
                by_folder.entry((folder.to_owned(), flaw.why.clone())).or_default().push(flaw);
            }
            _ => flaws.push(flaw),
        }
    }
    flaws.extend(by_folder.into_iter().map(|((folder, why), mut of_folder)| match of_folder.as_slice() {
        [_] => of_folder.remove(0),
        _ => {
            let names = of_folder.iter().filter_map(|flaw| flaw.path.rsplit('/').next());
            let why = format!("{why} ({})", listed(names, of_folder.len()));
            Flaw::new(of_folder[0].weight, format!("{folder}/"), why)
        }
    }));
    flaws
}

/// The flaw of a directory without any group, which answers no machine.
pub(crate) fn no_groups<'p>(
    strays: impl Iterator<Item = &'p String>,
    is_there: bool,
    folders: &[String],
) -> Flaw {
    let is_group = |path: &&String| below(path, GROUPS).is_some_and(|name| name.ends_with(RECORD_END));
    let nested: Vec<&str> = strays.filter(is_group).map(String::as_str).collect();
    let why = match (nested.as_slice(), is_there) {
        ([], true) => "there is no group, so no machine gets an answer".to_owned(),
        ([], false) => {
            let near = nearest(GROUPS, folders.iter().map(|name| name.trim_matches('/')));
            let hint = near.map(|near| format!("; there is {near}/")).unwrap_or_default();
            format!("there is no such folder, so no machine gets an answer{hint}")
        }
        (nested, _) => format!(
            "there is no group, so no machine gets an answer; deeper folders, which neither Matchbox nor prebake reads, have {}: {}",
            counted(nested.len(), "file"),
            listed(nested.iter().copied(), nested.len())
        ),
    };
    Flaw::fault(format!("{GROUPS}/"), why)
}

/// Folders whose names look like misspelt known ones.
pub(crate) fn folders(names: &[String]) -> impl Iterator<Item = Flaw> {
    let is_there = |known: &&str| names.iter().any(|name| name == known);
    names.iter().filter(|name| !FOLDERS.contains(&name.as_str())).filter_map(move |name| {
        let near = nearest(&name.to_lowercase(), FOLDERS)?;
        let why = format!("nothing is read from here: did you mean {near}/?");
        (!is_there(&near)).then(|| Flaw::fault(format!("{name}/"), why))
    })
}

fn listed<'n>(names: impl Iterator<Item = &'n str>, count: usize) -> String {
    let names: Vec<&str> = names.take(MAX_NAMED).collect();
    match count.saturating_sub(names.len()) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// The users of each config: profiles, and the groups that use those.
pub(crate) struct Uses(BTreeMap<Place, Use>);

/// A config: the kind of request, and its path below the data directory.
type Place = (Kind, String);

#[derive(Default)]
struct Use {
    /// Profiles that name it, by path, with the id that each uses.
    named_by: BTreeMap<String, String>,
    groups: Vec<Arc<Group>>,
}

impl Uses {
    /// Collects the users of all configs from all profiles, by path, and all groups. `profile` finds a group's profile,
    /// and `place` the file of an id.
    pub(crate) fn of<'p>(
        profiles: impl Iterator<Item = (&'p String, &'p Arc<Profile>)>,
        groups: impl Iterator<Item = &'p Arc<Group>>,
        profile: impl Fn(&Group) -> Option<&'p Profile>,
        place: impl Fn(Kind, &str) -> Option<String>,
    ) -> Uses {
        let mut uses: BTreeMap<Place, Use> = BTreeMap::new();
        let named = |profile: &'p Profile| {
            Kind::ALL.into_iter().map(move |kind| (kind, kind.id(profile))).filter(|(_, id)| !id.is_empty())
        };
        for (path, profile) in profiles {
            for (kind, id) in named(profile) {
                let Some(file) = place(kind, id) else { continue };
                let entry = uses.entry((kind, file)).or_default();
                entry.named_by.insert(path.clone(), id.to_owned());
            }
        }
        for group in groups {
            for (kind, id) in profile(group).into_iter().flat_map(named) {
                if let Some(file) = place(kind, id) {
                    let entry = uses.entry((kind, file)).or_default();
                    // The group may find its profile under another name than its file's.
                    let path = || names::profile(&group.profile);
                    if entry.named_by.is_empty() {
                        entry.named_by.insert(path(), id.to_owned());
                    }
                    entry.groups.push(group.clone());
                }
            }
        }
        Uses(uses)
    }
}

/// Verdicts on configs; each stays valid until an edit.
#[derive(Default)]
pub(crate) struct Judged {
    configs: HashMap<Place, OfConfig>,
}

#[derive(Default)]
struct OfConfig {
    /// The verdict on the file itself, apart from its users. `None` until it was read.
    whole: Option<Result<(), Whole>>,
    /// The verdict for each group, by the group's id.
    groups: HashMap<String, (Arc<Group>, Result<(), String>)>,
}

/// Why no group can use a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whole {
    /// It is missing or cannot be read.
    Absent(String),
    /// Its content is not a valid config.
    Broken(String),
}

/// The result of checking a config for some of its groups.
struct Look {
    whole: Result<(), Whole>,
    groups: Vec<(Arc<Group>, Result<(), String>)>,
    file: Option<Arc<Config>>,
}

/// The configs that are right, and the flaws of the others.
#[derive(Default)]
pub(crate) struct Verdict {
    /// All flaws of configs.
    pub flaws: Vec<Flaw>,
    /// Paths of configs with flaws.
    pub bad: HashSet<String>,
    /// Configs that were read and have no flaws.
    pub good: Vec<(String, Arc<Config>)>,
}

impl Judged {
    /// Forgets the verdict on an edited file.
    pub(crate) fn forget(&mut self, path: &str) {
        for kind in Kind::ALL {
            self.configs.remove(&(kind, path.to_owned()));
        }
    }

    /// Checks everything without a valid verdict. `read` reads a config.
    pub(crate) fn judge(
        &mut self,
        uses: &Uses,
        read: impl Fn(&str) -> Result<Arc<Config>, String> + Sync,
        names: impl Fn(&str) -> Vec<String>,
    ) -> Verdict {
        self.configs.retain(|key, _| uses.0.contains_key(key));
        let mut work: Vec<(&Place, Vec<Arc<Group>>)> = Vec::new();
        for (key, of) in &uses.0 {
            let known = self.configs.entry(key.clone()).or_default();
            let is_current =
                |group: &Arc<Group>| known.groups.get(&group.id).is_some_and(|(judged, _)| judged == group);
            let tried = of.groups.iter().take(MAX_TRIED);
            let rest: Vec<Arc<Group>> = tried.filter(|group| !is_current(group)).cloned().collect();
            let mut chunks = rest.chunks(CHUNK).map(<[_]>::to_vec).peekable();
            if known.whole.is_none() && chunks.peek().is_none() {
                work.push((key, Vec::new()));
            }
            // A file that no group can use is not checked again for each group.
            if !matches!(known.whole, Some(Err(_))) {
                work.extend(chunks.map(|chunk| (key, chunk)));
            }
        }
        let looks = parallel::map(
            &work,
            || (),
            |(), ((kind, path), groups)| Ok::<_, std::convert::Infallible>(look(*kind, path, groups, &read)),
        );
        let looks = looks.unwrap_or_else(|never| match never {});
        let mut files: BTreeMap<&str, Arc<Config>> = BTreeMap::new();
        for ((key, _), Look { whole, groups, file }) in work.iter().zip(looks) {
            let known = self.configs.entry((*key).clone()).or_default();
            known.whole = Some(whole);
            let groups = groups.into_iter().map(|(group, judged)| (group.id.clone(), (group, judged)));
            known.groups.extend(groups);
            if let Some(file) = file {
                files.insert(&key.1, file);
            }
        }
        let mut verdict = Verdict::default();
        for (key, of) in &uses.0 {
            let known = self.configs.entry(key.clone()).or_default();
            let ids: HashSet<&str> = of.groups.iter().map(|group| &*group.id).collect();
            known.groups.retain(|id, _| ids.contains(&**id));
            if let Some(flaws) = known.flaws(key, of, &names) {
                verdict.bad.insert(key.1.clone());
                verdict.flaws.extend(flaws);
            }
        }
        let is_good = |(path, _): &(&str, Arc<Config>)| !verdict.bad.contains(*path);
        verdict.good =
            files.into_iter().filter(is_good).map(|(path, file)| (path.to_owned(), file)).collect();
        verdict
    }
}

fn look(
    kind: Kind,
    path: &str,
    groups: &[Arc<Group>],
    read: impl Fn(&str) -> Result<Arc<Config>, String>,
) -> Look {
    let none = |whole| Look { whole: Err(whole), groups: Vec::new(), file: None };
    let file = match read(path) {
        Ok(file) => file,
        Err(why) => return none(Whole::Absent(why)),
    };
    let forecast = match Forecast::of(kind, path, &file) {
        Ok(forecast) => forecast,
        Err(why) => return none(Whole::Broken(why)),
    };
    // An error that is the same for all groups belongs to the file, even if no group uses it.
    if forecast.is_plain()
        && let Err(why) = forecast.check(&Group::default())
    {
        return none(Whole::Broken(why));
    }
    let judge = |group: &Arc<Group>| {
        let judged = if forecast.is_plain() { Ok(()) } else { forecast.check(group) };
        (group.clone(), judged)
    };
    let groups = groups.iter().map(judge).collect();
    Look { whole: Ok(()), groups, file: Some(file.clone()) }
}

impl OfConfig {
    fn flaws(
        &self,
        (kind, path): &Place,
        of: &Use,
        names: impl Fn(&str) -> Vec<String>,
    ) -> Option<Vec<Flaw>> {
        match self.whole.as_ref()? {
            Err(Whole::Broken(why)) => Some(vec![Flaw::fault(path, why)]),
            Err(Whole::Absent(why)) => {
                let mut named_by = of.named_by.iter();
                let (profile, id) = named_by.next()?;
                let names = names(kind.folder());
                let near = near(id, &names);
                let hint =
                    near.map(|near| format!("; there is {}/{near}", kind.folder())).unwrap_or_default();
                let others = named_by.len();
                let others = match others {
                    0 => String::new(),
                    _ => format!(
                        " (named by {}, too)",
                        listed(named_by.map(|(path, _)| path.as_str()), others)
                    ),
                };
                let why = format!("its `{}_id`, `{id}`, is unavailable: {why}{hint}{others}", kind.folder());
                Some(vec![Flaw::fault(profile, why)])
            }
            Ok(()) => {
                // Groups with the same error share a line.
                let mut by_why: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
                for (id, (_, judged)) in &self.groups {
                    if let Err(why) = judged {
                        by_why.entry(why).or_default().push(id);
                    }
                }
                let flaw = |(why, mut ids): (&str, Vec<&str>)| {
                    ids.sort_unstable();
                    let groups = if ids.len() == 1 { "group" } else { "groups" };
                    let ids = listed(ids.iter().copied(), ids.len());
                    Flaw::fault(path, format!("{groups} {ids} cannot use it: {why}"))
                };
                let flaws: Vec<Flaw> = by_why.into_iter().map(flaw).collect();
                (!flaws.is_empty()).then_some(flaws)
            }
        }
    }
}

/// The file that was probably meant: the same name with another extension, or a similar one.
fn near<'n>(id: &str, names: &'n [String]) -> Option<&'n str> {
    let stem = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let same = names.iter().find(|name| stem(name) == stem(id)).map(String::as_str);
    same.or_else(|| nearest(id, names.iter().map(String::as_str)))
}
