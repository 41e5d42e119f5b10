//! Which request gets which answer. Pure: a site and a request in, an answer out.

use std::time::SystemTime;

use hyper::Method;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::answer::{Answer, TEXT};
use super::assets;
use super::labels::Labels;
use super::report::{Report, Reports};
use super::select::Group;
use super::site::{Profile, Site};
use crate::output::{GENERATION, IPXE_LOCAL};

/// A request, as far as answers depend on it.
pub struct Request<'r> {
    /// The method. A POST is answered like GET wherever nothing is posted, as Matchbox does.
    pub method: &'r Method,
    /// The path as sent, percent-encoded.
    pub path: &'r str,
    /// The query as sent; empty without.
    pub query: &'r str,
    /// `http` or `https`.
    pub scheme: &'r str,
    /// The headers.
    pub headers: &'r hyper::HeaderMap,
    /// The body, where [`takes_body`] says that it is read.
    pub body: &'r str,
    /// When it came.
    pub now: SystemTime,
}

impl Request<'_> {
    /// A header's value, if it is there once and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok();
        value.filter(|_| values.next().is_none())
    }

    /// Where the client reached us: what it sent as `Host`, if that is a plain host and port. It becomes a kernel
    /// argument, so nothing else may be in it.
    fn base_url(&self) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        let host = self.header("host").filter(|host| !host.is_empty() && host.chars().all(plain))?;
        Some(format!("{}://{host}", self.scheme))
    }
}

/// What is answered from.
pub struct World<'w> {
    /// The tree.
    pub site: &'w Site,
    /// What machines reported.
    pub reports: &'w Reports,
}

type Handler = fn(&World<'_>, &Request<'_>, &Labels) -> Answer;

/// Every endpoint. Paths are exact; what none of them takes is looked up in the manifest.
const ROUTES: [(&str, Handler); 8] = [
    ("/", |_, _, _| Answer::text("matchbox\n")),
    ("/boot.ipxe", |_, _, _| Answer::text(BOOT_IPXE)),
    ("/boot.ipxe.0", |_, _, _| Answer::text(BOOT_IPXE)),
    ("/ipxe", ipxe),
    ("/grub", grub),
    ("/ignition", ignition),
    ("/metadata", metadata),
    (REPORT, report),
];

/// The script every machine starts with: it asks again, saying what it is.
const BOOT_IPXE: &str = "#!ipxe\nchain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}&serial=${serial}&arch=${buildarch:uristring}\n";

/// What may be asked. Matchbox takes any method for GET; of those no machine sends the others.
const METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];
/// The one endpoint that something is posted to.
const REPORT: &str = "/report";

/// Whether a request's body is to be read: a report's, and no other.
pub fn takes_body(method: &Method, path: &str) -> bool {
    method == Method::POST && path == REPORT
}

/// Answers a request; the labels are for the log.
pub fn answer(world: &World<'_>, request: &Request<'_>) -> (Answer, Labels) {
    if !METHODS.contains(request.method) {
        let allowed = METHODS.each_ref().map(Method::as_str).join(", ");
        let answer = Answer::new(405, TEXT, format!("only {allowed} are answered\n"));
        return (answer.header("allow", allowed), Labels::default());
    }
    let path = percent_decode_str(request.path).decode_utf8_lossy();
    // `//ipxe` is what a base URL with a slash at its end makes; Matchbox redirects it, which some loaders cannot follow.
    let name = path.trim_start_matches('/');
    match ROUTES.iter().find(|(route, _)| route[1..] == *name) {
        Some((_, handler)) => {
            let says = if takes_body(request.method, request.path) { request.body } else { request.query };
            let labels = Labels::parse(says);
            (handler(world, request, &labels), labels)
        }
        None => {
            let answer = assets::answer(world.site, name, request);
            (answer, Labels::default())
        }
    }
}

/// The group and profile of a machine, or an answer that says what it lacks.
fn select<'w>(world: &World<'w>, labels: &Labels) -> Result<(&'w Group, &'w Profile), Answer> {
    let group = world.site.groups.select(labels).ok_or_else(|| {
        let asked = labels.to_string();
        let asked = if asked.is_empty() { "nothing".to_owned() } else { asked };
        Answer::missing(&format!(
            "no group matches a machine that says: {asked}\nadd it to `nodes:` in the recipe, or name a `default_profile`"
        ))
    })?;
    let profile = world.site.profiles.get(&group.profile);
    let profile = profile.ok_or_else(|| Answer::missing("the group's profile is gone").matched(group))?;
    Ok((group, profile))
}

/// Whether a machine has said that it installed itself, and is not to do it again: it boots its disk then, whatever its
/// boot order. Reports are forgotten with the server; the machine then boots its installer once more, which finds the disk
/// finished and says so again.
fn is_installed(world: &World<'_>, group: &Group, labels: &Labels) -> bool {
    let Some(generation) = group.metadata.get(GENERATION).and_then(Value::as_str) else { return false };
    let done =
        |report: Report| report.stage == "installed" && report.detail == format!("generation {generation}");
    world.reports.last(labels).is_some_and(done)
}

/// The profile's kernel arguments, and where the node can report to.
fn args(profile: &Profile, request: &Request<'_>) -> Vec<String> {
    let url = request.base_url().map(|url| format!("prebake.url={url}"));
    profile.boot.args.iter().cloned().chain(url).collect()
}

fn ipxe(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, profile) = match select(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    if is_installed(world, group, labels) {
        return Answer::text(format!("#!ipxe\n{IPXE_LOCAL}")).matched(group);
    }
    let words: Vec<String> = args(profile, request).into_iter().map(|arg| format!(" {arg}")).collect();
    let initrds: Vec<String> = profile.boot.initrd.iter().map(|url| format!("initrd {url}\n")).collect();
    let script =
        format!("#!ipxe\nkernel {}{}\n{}boot\n", profile.boot.kernel, words.concat(), initrds.concat());
    Answer::text(script).matched(group)
}

/// Byte for byte what Matchbox sends, two blanks after `initrdefi` included.
fn grub(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, profile) = match select(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    if is_installed(world, group, labels) {
        return Answer::text("exit\n").matched(group);
    }
    let kernel = &profile.boot.kernel;
    let words: Vec<String> = args(profile, request).into_iter().map(|arg| format!(" {arg}")).collect();
    let args = words.concat();
    let initrds: Vec<String> = profile.boot.initrd.iter().map(|url| format!(" \"{url}\"")).collect();
    let initrds = initrds.concat();
    let entry = |title: &str, linux: &str, initrd: &str| {
        format!(
            "menuentry \"CoreOS ({title})\" {{\necho \"Loading kernel\"\n{linux} \"{kernel}\"{args}\necho \"Loading initrd\"\n{initrd} {initrds}\n}}\n"
        )
    };
    let efi = entry("EFI", "linuxefi", "initrdefi");
    let bios = entry("BIOS", "linux", "initrd");
    Answer::text(format!("default=0\nfallback=1\ntimeout=1\n{efi}{bios}")).matched(group)
}

fn ignition(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, profile) = match select(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    assets::answer(world.site, &format!("ignition/{}", profile.ignition_id), request).matched(group)
}

/// Shell assignments: metadata, selectors and what the machine said, sorted (Matchbox's order is random).
fn metadata(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let (group, _) = match select(world, labels) {
        Ok(selected) => selected,
        Err(answer) => return answer,
    };
    let mut lines = Vec::new();
    flatten("", &group.metadata, &mut lines);
    lines.extend(group.selector.iter().map(|(key, value)| format!("{}={value}\n", key.to_uppercase())));
    lines.extend(labels.iter().map(|(k, v)| format!("REQUEST_QUERY_{}={v}\n", k.to_uppercase())));
    lines.push(format!("REQUEST_RAW_QUERY={}\n", request.query));
    lines.sort();
    // The content type is Matchbox's, slip included.
    Answer::new(200, "plain/text", lines.concat()).matched(group)
}

fn flatten(prefix: &str, values: &Map<String, Value>, lines: &mut Vec<String>) {
    for (key, value) in values {
        let key = format!("{prefix}{}", key.to_uppercase());
        match value {
            Value::Object(inner) => flatten(&format!("{key}_"), inner, lines),
            Value::String(text) => lines.push(format!("{key}={text}\n")),
            Value::Bool(_) | Value::Number(_) => lines.push(format!("{key}={value}\n")),
            Value::Null | Value::Array(_) => {}
        }
    }
}

fn report(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    if !takes_body(request.method, request.path) {
        let list = serde_json::to_string(&world.reports.list()).unwrap_or_default();
        return Answer::new(200, "application/json", list + "\n");
    }
    match world.reports.take(labels, request.now) {
        Ok(_) => Answer::new(204, TEXT, ""),
        Err(why) => Answer::new(400, TEXT, format!("{why}\n")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::digest::Sha256;
    use crate::manifest::{File, Manifest, Role, SCHEMA};
    use crate::serve::answer::{Body, Piece};
    use crate::serve::select::Groups;

    /// A site of one file, `assets/a`.
    fn site() -> Site {
        let file = File {
            role: Role::Kernel,
            size: 10,
            sha256: Sha256::of(b"0123456789"),
            profile: None,
            node: None,
            arch: None,
            origin: None,
            step: None,
            verity: None,
        };
        let files = BTreeMap::from([("assets/a".to_owned(), file)]);
        let manifest = Manifest {
            schema: SCHEMA,
            name: "x".into(),
            epoch: 0,
            releases: Vec::new(),
            files,
            joined: BTreeMap::new(),
        };
        Site { root: "/tree".into(), manifest, groups: Groups::default(), profiles: BTreeMap::new() }
    }

    fn the_file() -> Piece {
        Piece::File { path: "/tree/assets/a".into(), size: 10 }
    }

    fn ask(site: &Site, path: &str, query: &str) -> Answer {
        let request = Request {
            method: &Method::GET,
            path,
            query,
            scheme: "http",
            headers: &hyper::HeaderMap::new(),
            body: "",
            now: SystemTime::UNIX_EPOCH,
        };
        answer(&World { site, reports: &Reports::default() }, &request).0
    }

    #[test]
    fn a_file_is_found_however_its_path_is_escaped() {
        let site = site();
        for path in ["/assets/a", "/assets%2Fa", "/%61ssets/%61", "//assets/a"] {
            let answer = ask(&site, path, "");
            assert!(matches!(answer.body, Body::File { pieces, .. } if pieces == [the_file()]));
        }
        assert_eq!(ask(&site, "/assets/./a", "").status, 404);
    }

    proptest::proptest! {
        #[test]
        fn no_target_opens_what_the_manifest_does_not_name(
            path in r"(/|\.|\.\.|%2e|%2f|%00|%|%zz|assets|a|\\|ipxe|report|.){0,12}",
            query in ".{0,40}",
        ) {
            let answer = ask(&site(), &format!("/{path}"), &query);
            match answer.body {
                Body::File { pieces, .. } => assert_eq!(pieces, [the_file()]),
                Body::Parts { .. } => panic!("no ranges were asked for"),
                Body::Bytes(_) => assert!([200, 404].contains(&answer.status)),
            }
        }
    }
}
