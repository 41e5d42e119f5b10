//! Real Matchbox over every tree that we emit, and our own server beside it on the same tree.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use prebake::base::digest::Sha256;
use prebake::base::finding::Source;
use prebake::ignition::{Config, Spec};
use prebake::tree::names::MANIFEST as FILE_NAME;
use prebake::tree::open::Tree;
use prebake::tree::records::normal_mac;
use serde_json::Value;

use super::build;
use crate::ignition::vectors::plain;
use crate::lab::ports;
use crate::world::http::{Reply, Server, get, head};

/// A machine that no tree names.
const UNKNOWN: &str =
    "uuid=00000000-0000-0000-0000-00000000ffff&mac=52-54-00-ff-ff-ff&domain=&hostname=&serial=&arch=x86_64";

/// What our server does otherwise on purpose.
enum Difference {
    /// The bodies are alike once both are seen in this way.
    Body(fn(&str) -> String),
    /// Matchbox's status and ours.
    Status(u16, u16),
}
use Difference::{Body, Status};

/// Every deliberate difference: the path (or the status of a refusal), what it is, and why. All else is equal.
const DIFFERENCES: [(&str, Difference, &str); 8] = [
    (
        "/ipxe",
        Body(without_words),
        "prebake.url= tells a machine where to report to, prebake.mac= and BOOTIF= as whom",
    ),
    ("/grub", Body(without_words), "the same"),
    ("/ignition", Body(raised), "Matchbox writes configs anew at 3.4.0, we send what the manifest names"),
    ("/metadata", Body(sorted), "Matchbox's order is random"),
    ("404", Body(first_line), "ours goes on with the reason"),
    ("/assets/", Status(200, 404), "only files of the manifest are served, so nothing is listed"),
    ("/SHA256SUMS", Status(404, 200), "every file of the manifest is served, not only assets"),
    ("/report", Status(404, 200), "an endpoint of our own"),
];

/// A script without the words that only our server adds, and without the quotes by which GRUB takes a tree's arguments as they
/// are (`serve/loaders.rs` and real GRUB judge those).
fn without_words(script: &str) -> String {
    let bare = |word: &str| word.trim_matches('\'').to_owned();
    // GRUB fills in values within double quotes.
    let is_ours = |word: &str| {
        let word = word.trim_start_matches('"');
        ["prebake.url=", "prebake.mac=", "BOOTIF="].iter().any(|key| word.starts_with(key))
    };
    let without = |line: &str| {
        let kept: Vec<String> = line.split(' ').filter(|word| !is_ours(word)).map(bare).collect();
        kept.join(" ") + "\n"
    };
    script.lines().map(without).collect()
}

pub(crate) fn raised(config: &str) -> String {
    let read = !config.contains(r#""version":"""#);
    assert!(read, "Matchbox sends an empty config instead of one it cannot read: {config}");
    let config = Config::parse(&Source::new("config.ign", config)).unwrap().config.raised(Spec::V3_4);
    plain(&serde_json::from_str(&config.to_json()).unwrap()).to_string()
}

fn sorted(lines: &str) -> String {
    let mut lines: Vec<&str> = lines.split_inclusive('\n').collect();
    lines.sort_unstable();
    lines.concat()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().into()
}

/// Two servers on one tree.
struct Both {
    theirs: String,
    ours: String,
    asked: usize,
}

impl Both {
    /// Asks both, holds the answers against each other, and returns Matchbox's.
    #[track_caller]
    fn ask(&mut self, target: &str) -> Reply {
        self.asked += 1;
        let (theirs, ours) = (get(&self.theirs, target, ""), get(&self.ours, target, ""));
        let path = target.split('?').next().unwrap_or(target);
        let statuses = DIFFERENCES.iter().find_map(|(known, difference, _)| match difference {
            Status(theirs, ours) if *known == path => Some((*theirs, *ours)),
            _ => None,
        });
        let expected = statuses.unwrap_or((theirs.status, theirs.status));
        let said = || format!("{target}\nMatchbox: {}\nprebake: {}", theirs.text(), ours.text());
        assert_eq!((theirs.status, ours.status), expected, "{}", said());
        if statuses.is_some() {
            return theirs;
        }
        let key = if theirs.status == 404 { "404" } else { path };
        let view = DIFFERENCES.iter().find_map(|(known, difference, _)| match difference {
            Body(view) if *known == key => Some(view),
            _ => None,
        });
        match view {
            Some(view) => assert_eq!(view(&ours.text()), view(&theirs.text()), "{}", said()),
            None => assert!(ours.body == theirs.body, "{}", said()),
        }
        if !path.starts_with("/assets/") {
            // Matchbox asks its host's MIME database for those.
            assert_eq!(ours.header("content-type"), theirs.header("content-type"), "{target}");
        }
        theirs
    }

    /// The same, and Matchbox must find it.
    #[track_caller]
    fn find(&mut self, target: &str) -> String {
        let reply = self.ask(target);
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        reply.text()
    }
}

/// Holds that both servers answer alike, and as the tree says: every node in several spellings, the machines that nobody
/// knows, and every file they are told to load. How many questions were asked; nothing where judges are skipped.
pub fn check_tree(tree: &Path) -> Option<usize> {
    let (mut judge, theirs) = start_matchbox(tree)?;
    let (_server, ours) = Server::prebake(tree);
    let mut both = Both { theirs, ours, asked: 0 };

    let (groups, mut files) = (documents(&tree.join("groups")), BTreeSet::new());
    for group in &groups {
        let profile = document(&tree.join(format!("profiles/{}.json", text(&group["profile"]))));
        for query in spellings(group) {
            assert_eq!(both.find(&format!("/ipxe?{query}")), script(&profile), "/ipxe?{query}");
            both.find(&format!("/grub?{query}"));
            let config = both.find(&format!("/ignition?{query}"));
            let path = tree.join("ignition").join(text(&profile["ignition_id"]));
            assert_eq!(raised(&config), raised(&fs::read_to_string(path).unwrap()), "/ignition?{query}");
            let generic = both.ask(&format!("/generic?{query}")).status;
            assert_eq!(
                generic,
                if profile["generic_id"].is_string() { 200 } else { 404 },
                "/generic?{query}"
            );
            let lines = both.find(&format!("/metadata?{query}"));
            assert_eq!(sorted(&lines), metadata(group, &query), "/metadata?{query}");
        }
        files.extend(loaded(&profile));
    }
    for url in files {
        let path = tree.join(url.trim_start_matches('/'));
        let length = fs::metadata(&path).unwrap().len().to_string();
        for server in [&both.theirs, &both.ours] {
            let reply = head(server, &url);
            assert_eq!((reply.status, reply.header("content-length")), (200, Some(&*length)), "{url}");
        }
        assert!(both.ask(&url).body == fs::read(&path).unwrap(), "{url} is not the tree's file");
    }

    let known = if groups.iter().any(|group| selector(group).is_empty()) { 200 } else { 404 };
    for query in ["", "?mac=nonsense", "?name=%zz;x"] {
        for endpoint in ["/ipxe", "/grub", "/ignition", "/metadata"] {
            assert_eq!(both.ask(&format!("{endpoint}{query}")).status, known, "{endpoint}{query}");
        }
    }
    both.find("/boot.ipxe");
    both.find("/boot.ipxe?mac=52-54-00-ff-ff-ff");
    both.find("/boot.ipxe.0");
    both.find("/%62oot.ipxe");
    both.ask("/generic");
    for missing in ["/ipxe/", "/IPXE", "/assets/none", "/cloud", "/private/x", "/ipxe.sig"] {
        assert_eq!(both.ask(missing).status, 404, "{missing}");
    }
    for (path, difference, _) in &DIFFERENCES {
        if let Status(..) = difference {
            both.ask(path);
        }
    }

    assert!(judge.is_running(), "Matchbox ended early: {}", judge.end());
    let log = judge.end();
    let complains = |line: &&str| COMPLAINTS.iter().any(|mark| line.contains(mark));
    // It was asked with one bad MAC address by us.
    let complaints: Vec<&str> =
        log.lines().filter(complains).filter(|line| !line.contains("mac=nonsense")).collect();
    assert!(complaints.is_empty(), "Matchbox complains:\n{}", complaints.join("\n"));
    Some(both.asked)
}

/// How Matchbox's log says that it skipped a file, or sent something else instead of it.
const COMPLAINTS: [&str; 5] =
    ["level=warning", "level=error", "level=fatal", "msg=\"Group ", "msg=\"Profile "];

/// Starts real Matchbox on a directory and its `assets`, or nothing where judges are skipped on purpose.
pub(crate) fn start_matchbox(tree: &Path) -> Option<(Server, String)> {
    let matchbox = build("matchbox")?.join("matchbox");
    // Matchbox cannot say which port it took, so one is found for it.
    let address = ports::unused().to_string();
    let mut judge = Server::start(
        Command::new(matchbox)
            .args(["-address", &address, "-log-level", "debug", "-data-path"])
            .arg(tree)
            .arg("-assets-path")
            .arg(tree.join("assets")),
    );
    judge.says("Starting matchbox HTTP server");
    while TcpStream::connect(&address).is_err() {
        assert!(judge.is_running(), "Matchbox ended: {}", judge.end());
        thread::sleep(Duration::from_millis(20));
    }
    Some((judge, address))
}

fn document(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn documents(directory: &Path) -> Vec<Value> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| document(path)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The pairs of an object, which may be absent.
fn pairs(object: &Value) -> Vec<(&str, &str)> {
    object.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), text(value))).collect()
}

fn selector(group: &Value) -> Vec<(&str, &str)> {
    pairs(&group["selector"])
}

/// What a profile tells iPXE, as Matchbox's documentation has it.
fn script(profile: &Value) -> String {
    let boot = &profile["boot"];
    let words =
        |list: &Value| list.as_array().unwrap().iter().map(|word| text(word).to_owned()).collect::<Vec<_>>();
    let kernel = [vec![text(&boot["kernel"]).to_owned()], words(&boot["args"])].concat().join(" ");
    let initrds: String = words(&boot["initrd"]).iter().map(|initrd| format!("initrd {initrd}\n")).collect();
    format!("#!ipxe\nkernel {kernel}\n{initrds}boot\n")
}

/// The files that a profile loads.
fn loaded(profile: &Value) -> Vec<String> {
    let boot = &profile["boot"];
    let urls = boot["initrd"].as_array().unwrap().iter().chain([&boot["kernel"]]);
    // An initrd may be `--name NAME URL`.
    urls.map(|url| text(url).rsplit(' ').next().unwrap_or_default().to_owned()).collect()
}

/// What `/metadata` says to a machine that asked with this query: the group's values, its selectors, the labels.
fn metadata(group: &Value, query: &str) -> String {
    let mut lines = vec![format!("REQUEST_RAW_QUERY={query}\n")];
    for (key, value) in pairs(&group["metadata"]).into_iter().chain(selector(group)) {
        lines.push(format!("{}={value}\n", key.to_uppercase()));
    }
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = if key == "mac" { normal_mac(value).unwrap() } else { value.to_owned() };
        lines.push(format!("REQUEST_QUERY_{}={value}\n", key.to_uppercase()));
    }
    lines.sort();
    lines.concat()
}

/// How the machines of a group may ask: as it is written, as iPXE's `mac:hexhyp` has it, and in upper case; and with all
/// that iPXE says. The default group is for those that nobody knows.
fn spellings(group: &Value) -> Vec<String> {
    let selector = selector(group);
    if selector.is_empty() {
        return vec![UNKNOWN.to_owned()];
    }
    let query = |spell: fn(&str) -> String| {
        let word = |(key, value): &(&str, &str)| {
            format!("{key}={}", if *key == "mac" { spell(value) } else { (*value).to_owned() })
        };
        selector.iter().map(word).collect::<Vec<_>>().join("&")
    };
    let hyphens = query(|mac| mac.replace(':', "-"));
    let bios = if hyphens.contains("arch=") { "" } else { "&arch=i386" };
    let all = format!("{hyphens}&domain=&hostname=&serial={bios}");
    vec![
        query(str::to_owned),
        hyphens,
        all,
        query(str::to_uppercase),
        query(|mac| mac.replace(':', "-").to_uppercase()),
    ]
}

#[test]
fn the_judge_notices_what_matchbox_would_only_log() {
    let world = crate::world::World::new();
    let current = world.path("output/small/current");
    let edit = |path: &str, from: &str, to: &str| {
        let path = current.join(path);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        // The tree shares its files with the store, which must stay as it is.
        fs::remove_file(&path).unwrap();
        fs::write(&path, text.replace(from, to)).unwrap();
    };
    // Our server looks at digests; the judge is to notice what was published so.
    let publish = |path: &str| {
        let mut manifest = Tree::directory(&current).unwrap().into_parts().0;
        let bytes = fs::read(current.join(path)).unwrap();
        let row = manifest.files.get_mut(path).unwrap();
        (row.size, row.sha256) = (bytes.len() as u64, Sha256::of(&bytes));
        let file = current.join(FILE_NAME);
        fs::remove_file(&file).unwrap();
        fs::write(&file, manifest.to_bytes()).unwrap();
    };
    let flaws: [(&str, &str, &str, &str); 2] = [
        ("ignition/worker.ign", "\"3.0.0\"", "\"3.5.0\"", "an empty config instead of one it cannot read"),
        ("profiles/control+n2.json", "\"id\"", "\"no\"", "a profile needs an `id`"),
    ];
    for (path, from, to, words) in flaws {
        let _ = fs::remove_dir_all(world.path("output"));
        world.build();
        if check_tree(&current).is_none() {
            return;
        }
        edit(path, from, to);
        publish(path);
        let judged = catch_unwind(|| check_tree(&current));
        let why = judged.expect_err(path).downcast::<String>().unwrap();
        assert!(why.contains(words), "{path}: {why}");
    }
}
