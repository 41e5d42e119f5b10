//! `/served`: what the server has for machines, for people and programs that ask what each boot costs. It is made of
//! the manifest and the site's records, and of the headers of overlays, once for each build. docs/formats/status.md
//! describes it.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::{HeaderMap, Method};
use serde::Serialize;

use super::listing;
use super::request::{Request, World};
use crate::base::arch::Arch;
use crate::serve::answer::{Answer, TEXT};
use crate::serve::machines::monitor::Monitor;
use crate::serve::machines::roll::{Missing, Roll};
use crate::serve::machines::stamp::Stamp;
use crate::serve::machines::status::{SCHEMA, Serving};
use crate::serve::machines::timeline::{Load, Stage, Told, plain_path};
use crate::serve::site::Site;
use crate::serve::site::labels::Labels;
use crate::tree::names::{ASSETS, Endpoint, below};
use crate::tree::parts::{self, Kind, Part};
use crate::tree::records::Profile;

/// The most profiles whose parts are listed: each may have an overlay of its own that has to be looked at.
const MOST_PROFILES: usize = 256;
/// The most parts of one profile.
const MOST_PARTS: usize = 64;
/// The most nodes and sysext images that are listed.
const MOST_ROWS: usize = 2048;
/// How long the document of a data directory is used again, whose files may change at any time.
const FRESH: Duration = Duration::from_secs(10);

/// The document.
#[derive(Debug, Serialize)]
struct Served {
    schema: u32,
    name: String,
    build: String,
    /// The timestamp inside all artifacts; `None` for a data directory.
    epoch: Option<Stamp>,
    releases: Vec<String>,
    /// Published files, and their length in bytes.
    files: usize,
    size: u64,
    profiles: Vec<Boot>,
    profiles_total: usize,
    sysexts: Vec<Sysext>,
    nodes: Vec<Missing>,
    nodes_total: usize,
    endpoints: Vec<Place>,
}

/// A profile, and what it makes machines load.
#[derive(Debug, Serialize)]
struct Boot {
    id: String,
    arch: Option<Arch>,
    /// How many nodes it is for.
    machines: usize,
    /// Whether every machine that is no node gets it, too.
    is_default: bool,
    parts: Vec<Part>,
    /// Bytes of all parts; `None` if one of them is not known, as it is on another server.
    loads: Option<u64>,
    /// The memory in bytes that a boot into RAM needs at least; `None` without Flatcar's initrd.
    memory: Option<u64>,
}

/// The image of a sysext.
#[derive(Debug, Serialize)]
struct Sysext {
    name: String,
    version: String,
    arch: String,
    size: u64,
}

/// An endpoint.
#[derive(Debug, Serialize)]
struct Place {
    path: &'static str,
    about: &'static str,
}

/// `/served`.
pub(crate) fn answer(world: &World<'_>, _: &Request<'_>, _: &Labels) -> Answer {
    let answer = match world.monitor.served(world.site, None) {
        Some(document) => Answer::shared(200, "application/json", document),
        // The site was replaced after the document was made.
        None => Answer::new(503, TEXT, "the document is being made\n").header("retry-after", "1"),
    };
    answer.header("cache-control", "no-store")
}

/// Has the document made before a request for it is answered, if the path is that of one. It takes the headers of
/// hundreds of files, so it is not made where requests are answered.
pub(crate) async fn prepare(path: &str, monitor: &Arc<Monitor>, site: &Arc<Site>) {
    if Endpoint::parse(&plain_path(path)).is_none_or(|(endpoint, _)| endpoint != Endpoint::Served) {
        return;
    }
    let fresh = site.live.is_some().then_some(FRESH);
    let make = |site: &Site| {
        let json = serde_json::to_vec(&served(site)).unwrap_or_default();
        [json.as_slice(), b"\n"].concat().into()
    };
    monitor.make_served(site, fresh, make).await;
}

fn served(site: &Site) -> Served {
    let Serving { name, build, releases, .. } = Serving::of(site);
    let roll = Roll::of(site);
    let sysexts = parts::sysexts(&site.manifest).take(MOST_ROWS).map(|(image, file)| Sysext {
        name: image.name.to_owned(),
        version: image.version.to_owned(),
        arch: image.arch.to_owned(),
        size: file.size,
    });
    Served {
        schema: SCHEMA,
        name,
        build,
        epoch: site.live.is_none().then(|| site.modified().into()),
        releases,
        files: site.manifest.files.len(),
        size: site.manifest.files.values().map(|file| file.size).sum(),
        profiles: boots(site, &roll),
        profiles_total: site.profiles.len(),
        sysexts: sysexts.collect(),
        nodes: roll.nodes().iter().take(MOST_ROWS).cloned().collect(),
        nodes_total: roll.nodes().len(),
        endpoints: Endpoint::ALL.iter().map(|one| Place { path: one.path(), about: one.about() }).collect(),
    }
}

fn boots(site: &Site, roll: &Roll) -> Vec<Boot> {
    let mut machines: HashMap<&str, usize> = HashMap::new();
    for profile in roll.nodes().iter().filter_map(|node| node.profile.as_deref()) {
        *machines.entry(profile).or_default() += 1;
    }
    let default = site.groups.iter().find(|group| group.selector.is_empty());
    // Many profiles share files, and each is looked at once.
    let mut known = HashMap::new();
    let boot = |(id, profile): (&String, &Arc<Profile>)| {
        let told = Told::of(site, id, profile);
        let found: Vec<Option<Vec<Part>>> = told
            .loads
            .iter()
            .map(|load| known.entry(load.path.clone()).or_insert_with(|| loaded(site, load)).clone())
            .collect();
        let is_known = found.iter().all(Option::is_some);
        let mut parts: Vec<Part> = found.into_iter().flatten().flatten().collect();
        let loads = parts.iter().map(|part| part.size).sum();
        let is_flatcar = parts.iter().any(|part| part.kind == Kind::Base);
        let fetched = parts::fetched(&site.manifest, &site.place, id);
        let memory = (is_known && is_flatcar).then(|| parts::memory(&parts, fetched).0);
        parts.truncate(MOST_PARTS);
        Boot {
            id: id.clone(),
            arch: told.arch,
            machines: machines.get(id.as_str()).copied().unwrap_or_default(),
            is_default: default.is_some_and(|group| group.profile == *id),
            parts,
            loads: is_known.then_some(loads),
            memory,
        }
    };
    site.profiles.iter().take(MOST_PROFILES).map(boot).collect()
}

/// The parts of a file that a profile names; `None` if it is not here.
fn loaded(site: &Site, load: &Load) -> Option<Vec<Part>> {
    if load.host.is_some() || load.path.contains("${") {
        return None;
    }
    if let Some(parts) = parts::of_file(&site.manifest, &site.place, &load.path) {
        return Some(parts);
    }
    let assets = site.live.as_ref()?.assets.as_ref()?;
    let (method, headers) = (Method::GET, HeaderMap::new());
    let plain = Request {
        method: &method,
        path: &load.path,
        query: "",
        scheme: "http",
        headers: &headers,
        body: "",
        now: SystemTime::now(),
        peer: Ipv4Addr::LOCALHOST.into(),
    };
    let answer = listing::answer(assets, below(&load.path, ASSETS)?.as_bytes(), &plain);
    let size = answer.body.length().filter(|_| answer.status == 200)?;
    let name = load.path.rsplit('/').next().unwrap_or(&load.path).to_owned();
    let kind = if load.stage == Stage::Kernel { Kind::Kernel } else { Kind::Other };
    Some(vec![Part { kind, name, version: None, size }])
}
