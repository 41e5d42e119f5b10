//! Explains what a machine gets and why: the groups that were considered, the answers that it would get, and anything
//! that looks wrong.

use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::request::{Request, World};
use super::routes;
use crate::base::count::counted;
use crate::serve::answer::{Answer, Body};
use crate::serve::machines::report::plain;
use crate::serve::machines::status::{MachineStatus, SCHEMA};
use crate::serve::machines::timeline::{Load, Told, wrong_architecture};
use crate::serve::site::Flaw;
use crate::serve::site::config::Kind;
use crate::serve::site::datadir::Live;
use crate::serve::site::labels::Labels;
use crate::tree::names::{self, Endpoint};
use crate::tree::private;
use crate::tree::records::{Group, Profile};

const IPXE: &str = Endpoint::Ipxe.path();
const IGNITION: &str = Endpoint::Ignition.path();

/// Groups to list besides the chosen one.
const MAX_OTHERS: usize = 12;
/// The same where the chosen one is for this machine alone.
const MAX_BESIDE_OWN: usize = 2;
/// A value within this edit distance may be a typing error.
const SLIP: usize = 2;

/// The longest config that an explanation contains, in bytes.
const LONGEST: u64 = 256 << 10;

/// Characters of a path that a URL must escape.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#');

/// The answers that a machine would get, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// Version of this document, [`SCHEMA`].
    pub schema: u32,
    /// The machine's labels, normalized.
    pub said: BTreeMap<String, String>,
    /// The group that was chosen.
    pub group: Option<String>,
    /// The profile of that group.
    pub profile: Option<String>,
    /// The group that was chosen, others that match, and those that nearly match.
    pub considered: Vec<Considered>,
    /// How many further groups there are.
    pub others: usize,
    /// The answer of `/ipxe`.
    pub script: Sent,
    /// The answer of `/ignition`.
    pub ignition: Sent,
    /// Whether secrets are merged over its config, which the tree keeps for this boot alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// Anything that looks wrong, in sentences.
    pub doubts: Vec<String>,
    /// The machine as the server has seen it, if a running server was asked.
    pub seen: Option<Box<MachineStatus>>,
    /// Whether the machine was ever seen; `None` if no running server was asked, or for no machine.
    #[serde(default)]
    pub came: Option<bool>,
}

/// A group that was considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Considered {
    /// The group's id.
    pub group: String,
    /// The group's selectors.
    pub selector: BTreeMap<String, String>,
    /// Whether it matches.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Whether a group matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It is the machine's group.
    Chosen,
    /// It matches, but another one precedes it: more selectors win, then the greater text of all selectors.
    Outranked,
    /// Some of its selectors do not match.
    Refused {
        /// The selectors that do not match.
        misses: Vec<Miss>,
    },
}

/// A selector that does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Miss {
    /// The name of the label.
    pub key: String,
    /// The value that the group requires.
    pub wants: String,
    /// The machine's value; empty if it has none.
    pub says: String,
}

/// An endpoint's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// HTTP status code.
    pub status: u16,
    /// Length of the body, in bytes.
    pub size: u64,
    /// The body, if it is text and not long.
    pub text: Option<String>,
    /// Why there is no content, if known; the answers of a data directory do not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Explains what a machine with these labels would get.
pub(crate) fn explain(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Explanation {
    let chosen = world.site.groups.select(labels);
    let profile = chosen.and_then(|group| world.site.profiles.get(&group.profile)).map(|profile| &**profile);
    let (considered, others) = consider(world, labels, chosen);
    let (script, mut ignition) = (sent(world, request, IPXE), sent(world, request, IGNITION));
    ignition.text = ignition.text.or_else(|| published(world, profile?));
    Explanation {
        schema: SCHEMA,
        said: labels.iter().map(|(key, value)| (plain(key), plain(value))).collect(),
        group: chosen.map(|group| group.id.clone()),
        profile: chosen.map(|group| group.profile.clone()),
        private: profile.is_some_and(|profile| is_private(world, profile) == Some(true)),
        doubts: doubts(world, request, labels, (chosen, profile), &considered),
        seen: world.monitor.machine(labels, request.now).map(Box::new),
        came: None,
        considered,
        others,
        script,
        ignition,
    }
}

/// Whether the tree keeps secrets for a profile's config; `None` if this process may not see that.
fn is_private(world: &World<'_>, profile: &Profile) -> Option<bool> {
    let (site, id) = (world.site, &profile.ignition_id);
    let Some(tree) = site.place.directory().filter(|_| site.live.is_none() && !id.is_empty()) else {
        return Some(false);
    };
    let top = match world.guard {
        Some(guard) => guard.private(tree, &site.manifest.name),
        None => private::directory(tree, None, &site.manifest.name),
    };
    // Secrets may have been added to the tree since.
    if private::config(&top, id).exists() {
        return Some(true);
    }
    site.private.as_ref().map(|configs| configs.contains(id))
}

/// `/explain`: as text, or as JSON if the client asks for it.
pub(crate) fn answer(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let mut explanation = explain(world, request, labels);
    let is_machine = ["mac", "uuid"].iter().any(|key| !labels.get(key).is_empty());
    explanation.came = is_machine.then_some(explanation.seen.is_some());
    let answer = match request.header("accept").is_some_and(|kinds| kinds.contains("application/json")) {
        true => {
            let json = serde_json::to_string(&explanation).unwrap_or_default() + "\n";
            Answer::new(200, "application/json", json)
        }
        false => Answer::text(explanation.to_string()),
    };
    answer.header("vary", "accept").header("cache-control", "no-store")
}

/// The groups worth listing, and the number of the others.
fn consider(world: &World<'_>, labels: &Labels, chosen: Option<&Group>) -> (Vec<Considered>, usize) {
    let mut near: Vec<(usize, usize, Considered)> = Vec::new();
    let mut all = 0;
    for group in world.site.groups.iter() {
        all += 1;
        let missed = group.selector.iter().filter(|(key, value)| labels.get(key) != value.as_str());
        let misses: Vec<Miss> = missed
            .map(|(key, value)| Miss { key: key.clone(), wants: value.clone(), says: plain(labels.get(key)) })
            .collect();
        let distance = |miss: &Miss| {
            // A label or value in another spelling is close, but still does not match.
            let others = labels.iter().filter(|(key, _)| key.eq_ignore_ascii_case(&miss.key));
            let near = others.map(|(_, says)| strsim::damerau_levenshtein(&bare(says), &bare(&miss.wants)));
            near.min().unwrap_or(usize::MAX)
        };
        let far = misses.iter().map(distance).max().unwrap_or_default();
        let some_hold = misses.len() < group.selector.len();
        if !misses.is_empty() && !some_hold && far > SLIP {
            continue;
        }
        let verdict = match misses.is_empty() {
            true if chosen.is_some_and(|chosen| chosen.id == group.id) => Verdict::Chosen,
            true => Verdict::Outranked,
            false => Verdict::Refused { misses: misses.clone() },
        };
        let selector = group.selector.clone().into_iter().collect();
        near.push((misses.len(), far, Considered { group: group.id.clone(), selector, verdict }));
    }
    // The machine's own group leaves little doubt, and a rack's addresses follow each other.
    let is_own = chosen.is_some_and(|chosen| OWN.iter().any(|label| chosen.selector.contains_key(*label)));
    let most = if is_own { MAX_BESIDE_OWN } else { MAX_OTHERS };
    // A stable sort: groups that are equally close stay in the order in which they are matched.
    near.sort_by_key(|(misses, far, considered)| (considered.verdict != Verdict::Chosen, *misses, *far));
    near.truncate(most + 1);
    let others = all - near.len();
    (near.into_iter().map(|(.., considered)| considered).collect(), others)
}

/// A value without the differences in its common spellings: case, and the separators of a MAC address or UUID.
fn bare(value: &str) -> String {
    value.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The answer to a request for a path, without anything that the request would do to the machine.
pub(crate) fn sent(world: &World<'_>, request: &Request<'_>, path: &str) -> Sent {
    let get = hyper::Method::GET;
    let request = Request { method: &get, path, body: "", ..*request };
    // Tokens are for the machine alone, and explaining must not spend one.
    let (answer, _) = routes::answer(&World { guard: None, ..*world }, &request);
    let text = match &answer.body {
        Body::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        _ => None,
    };
    let why = answer.lack.map(|lack| lack.why);
    Sent { status: answer.status, size: answer.body.length().unwrap_or_default(), text, why }
}

/// The config of a profile in a tree, which is sent as a file, if it is text and not long.
fn published(world: &World<'_>, profile: &Profile) -> Option<String> {
    let path = names::ignition(&profile.ignition_id);
    let row = world.site.manifest.files.get(&path).filter(|row| row.size <= LONGEST)?;
    String::from_utf8(world.site.place.read(&path, row).ok()?).ok()
}

/// Anything that looks wrong, in sentences.
fn doubts(
    world: &World<'_>,
    request: &Request<'_>,
    labels: &Labels,
    (group, profile): (Option<&Group>, Option<&Profile>),
    considered: &[Considered],
) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Some(live) = &world.site.live {
        doubts.extend(of_lost_groups(live, labels, group));
        doubts.extend(of_records(live, group, considered));
    }
    if let Some(odd) = labels.odd_mac() {
        doubts.push(format!("its `mac`, {:?}, is not a MAC address, and is ignored", plain(odd)));
    }
    let Some(group) = group else {
        doubts.push(match world.site.live.as_ref().map(|live| live.closed()) {
            Some(Some(flaw)) => flaw.to_string(),
            Some(None) => {
                "no group matches: write one that selects it, or one without `selector` for all".into()
            }
            None => {
                let hint = "add the machine to `nodes:` in the recipe, or name a `default_profile`";
                format!("no group matches: {hint}")
            }
        });
        return doubts;
    };
    let Some(profile) = profile else {
        doubts.push(format!("group `{}` uses profile `{}`, which does not exist", group.id, group.profile));
        return doubts;
    };
    if is_private(world, profile).is_none() {
        doubts.push("its config may have private layers: the tree's cannot be read by this process".into());
    }
    let told = Told::of(world.site, &group.profile, profile);
    let is_there = |path: &str| {
        let path = format!("/{}", utf8_percent_encode(path, ESCAPED));
        sent(world, request, &path).status == 200
    };
    // Paths on another host, or with variables that iPXE still has to expand, cannot be checked.
    let is_known = |load: &&Load| load.host.is_none() && !load.path.contains("${");
    for load in told.loads.iter().filter(is_known).filter(|load| !is_there(&load.path)) {
        doubts.push(format!("profile `{}` names /{}, which does not exist", group.profile, load.path));
    }
    let arch = Some(labels.get("arch")).filter(|arch| !arch.is_empty());
    doubts.extend(wrong_architecture(arch, &told));
    let uefi = arch.is_some_and(|arch| arch != "i386");
    if uefi && !told.names_initrd && !told.loads.is_empty() {
        doubts.push(
            "the kernel arguments have no `initrd=`; under UEFI, the kernel may start without an initrd"
                .into(),
        );
    }
    for kind in Kind::ALL {
        let (id, folder) = (kind.id(profile), kind.folder());
        if id.is_empty() {
            continue;
        }
        let Sent { status, why, .. } = sent(world, request, kind.endpoint().path());
        if status != 200 {
            let config = if kind == Kind::Ignition { "config" } else { "template" };
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            doubts.push(format!("its {config}, {folder}/{id}, is answered with {status}{why}"));
        }
    }
    doubts
}

/// Flaws of the chosen group, of groups that match or nearly match, and of the profile.
fn of_records(live: &Live, group: Option<&Group>, considered: &[Considered]) -> Vec<String> {
    let profile = group.map(|group| names::profile(&group.profile));
    let concerns = |flaw: &&Flaw| {
        let is_of = |considered: &&Considered| flaw.path == names::group(&considered.group);
        match considered.iter().find(is_of).map(|considered| &considered.verdict) {
            Some(Verdict::Refused { .. }) => flaw.why.starts_with("selector"),
            Some(_) => true,
            // Configs are requested separately, and report their flaws themselves.
            None => profile.as_ref() == Some(&flaw.path) && !flaw.why.contains("_id`, `"),
        }
    };
    live.flaws.iter().filter(concerns).map(Flaw::to_string).collect()
}

/// Files that may be the machine's group but cannot be used: the machine gets another group instead, or the default.
fn of_lost_groups(live: &Live, labels: &Labels, group: Option<&Group>) -> Vec<String> {
    let knows = |path: &str| live.flaws.iter().find(|flaw| flaw.path == path).map(|flaw| flaw.why.clone());
    let lost: Vec<(&str, Vec<u8>)> = live.lost().collect();
    let its = lost.iter().filter(|(path, bytes)| names_machine(path, bytes, labels));
    let doubts: Vec<String> = its
        .map(|(path, _)| {
            let why = knows(path).unwrap_or_else(|| "no groups are read from there".into());
            format!("{path} names this machine, but is ignored: {why}")
        })
        .collect();
    let is_own = group.is_some_and(|group| OWN.iter().any(|label| group.selector.contains_key(*label)));
    if !doubts.is_empty() || is_own || lost.is_empty() {
        return doubts;
    }
    let names: Vec<&str> = lost.iter().take(MAX_LOST).map(|(path, _)| *path).collect();
    let more = if lost.len() > names.len() { " and others" } else { "" };
    vec![format!("its group may be among the ignored files: {}{more}", names.join(", "))]
}

/// Labels whose values are unique to one machine.
const OWN: [&str; 4] = ["mac", "uuid", "serial", "hostname"];
/// Files to list when none of them names the machine.
const MAX_LOST: usize = 3;

/// Whether a file contains one of the machine's unique labels, in any spelling.
fn names_machine(path: &str, bytes: &[u8], labels: &Labels) -> bool {
    let text = format!("{path}\n{}", String::from_utf8_lossy(bytes));
    let compact = bare(&text);
    let said = OWN.iter().map(|label| bare(labels.get(label))).filter(|value| value.len() > 2);
    said.into_iter().any(|value| match value.len() >= 12 {
        true => compact.contains(&value),
        // A value as short as a name must be a word of its own.
        false => text.split(|c: char| !c.is_alphanumeric()).any(|word| word.to_lowercase() == value),
    })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = |pairs: &BTreeMap<String, String>| {
            let said = pairs.iter().filter(|(_, value)| !value.is_empty());
            said.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        let said = pairs(&self.said);
        writeln!(f, "a machine with {}", if said.is_empty() { "no labels" } else { said.as_str() })?;
        match (&self.group, &self.profile) {
            (Some(group), Some(profile)) => writeln!(f, "gets profile `{profile}` by group `{group}`\n")?,
            _ => writeln!(f, "gets nothing: no group matches\n")?,
        }
        for Considered { group, selector, verdict } in &self.considered {
            // An empty value is a valid condition.
            let selector =
                selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
            let selector = if selector.is_empty() { "everything".to_owned() } else { selector };
            match verdict {
                Verdict::Chosen => writeln!(f, "  + {group} ({selector}) matches, before all others")?,
                Verdict::Outranked => writeln!(f, "  = {group} ({selector}) matches too, and comes later")?,
                Verdict::Refused { misses } => {
                    let missed = misses.iter().map(|Miss { key, wants, says }| match says.as_str() {
                        "" => format!("{key} is missing"),
                        says => format!("{key} is {says}, not {wants}"),
                    });
                    let missed: Vec<String> = missed.collect();
                    writeln!(f, "  - {group} ({selector}) does not: {}", missed.join(", "))?;
                }
            }
        }
        if self.others > 0 {
            let does = if self.others == 1 { "does" } else { "do" };
            writeln!(f, "    {} more that {does} not come close", self.others)?;
        }
        if self.private {
            writeln!(
                f,
                "\nits config has private layers, which machines get from `prebake serve --guard` alone"
            )?;
        }
        for doubt in &self.doubts {
            writeln!(f, "\nwarning: {doubt}")?;
        }
        if let Some(seen) = &self.seen {
            let stage = seen.stage.map_or("fetched files only", |stage| stage.word());
            writeln!(f, "\nlast seen {} ({}, {stage})", seen.last_seen, seen.state.word())?;
            for trouble in &seen.troubles {
                writeln!(f, "  {}\n  {}", trouble.what, trouble.hint)?;
            }
        }
        if self.came == Some(false) {
            writeln!(f, "\nnever seen: this server has noticed nothing of it")?;
        }
        for (path, sent) in [(IPXE, &self.script), (IGNITION, &self.ignition)] {
            writeln!(f, "\n{path} answers {} with {}", sent.status, counted(sent.size, "byte"))?;
            // A config may be long; `ignition show` is the better way to look at it.
            let says = |why: &&String| sent.text.as_ref().is_some_and(|text| text.contains(why.as_str()));
            if let Some(why) = sent.why.as_ref().filter(|why| !says(why)) {
                writeln!(f, "    {why}")?;
            }
            let text = sent.text.as_deref().filter(|_| path == IPXE || sent.status != 200);
            for line in text.unwrap_or_default().lines() {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}
