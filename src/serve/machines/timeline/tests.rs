//! Tests of the timeline with made-up notices.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::json;

use super::room::STRANGERS;
use super::*;
use crate::serve::machines::report;
use crate::serve::machines::roll::{Call, Roll};
use crate::serve::machines::status::{MachineStatus, State};
use crate::serve::machines::timeline::{self, machine, room};
use crate::serve::notice;
use crate::serve::site::labels;
use crate::tree::open::Tree;

const MAC: &str = "52:54:00:00:00:01";
const KERNEL: &str = "/assets/flatcar/amd64-usr/vmlinuz";
const BASE: &str = "/assets/flatcar/amd64-usr/base.cpio.gz";
const OVERLAY: &str = "/assets/overlay/worker.cpio";

/// A tree with a worker that installs nothing, and one that does. Its kernel has 100 bytes, each of its initrds 1000.
fn site() -> Site {
    site_with(&json!({"kernel": KERNEL, "initrd": [BASE, OVERLAY], "args": ["quiet"]}))
}

/// The same tree with another `boot`.
fn site_with(boot: &serde_json::Value) -> Site {
    let directory = tempfile::tempdir().unwrap();
    let mut files = serde_json::Map::new();
    let mut write = |path: &str, document: serde_json::Value| {
        let text = document.to_string();
        let role = path.split('/').next().unwrap_or_default().trim_end_matches('s');
        let sha256 = crate::base::digest::Sha256::of(text.as_bytes());
        files.insert(path.into(), json!({"role": role, "size": text.len(), "sha256": sha256}));
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("profiles/worker.json", json!({"id": "worker", "boot": boot}));
    let selector = json!({"mac": MAC});
    write("groups/n1.json", json!({"id": "n1", "profile": "worker", "selector": selector}));
    let selector = json!({"mac": "52:54:00:00:00:02"});
    let metadata = json!({"install_generation": "1"});
    write(
        "groups/n2.json",
        json!({"id": "n2", "profile": "worker", "selector": selector, "metadata": metadata}),
    );
    // These files are never read.
    let file = |role: &str, size: u64| json!({"role": role, "size": size, "sha256": "00".repeat(32)});
    let kernel = json!({"role": "kernel", "size": 100, "sha256": "00".repeat(32), "arch": "amd64"});
    files.insert(KERNEL[1..].into(), kernel);
    files.insert(BASE[1..].into(), file("base-initrd", 1000));
    files.insert(OVERLAY[1..].into(), file("overlay", 1000));
    files.insert("assets/sysext/report/report-1-x86-64.raw".into(), file("sysext", 10));
    let manifest = json!({
        "schema": crate::tree::manifest::SCHEMA, "name": "small", "epoch": 0, "releases": [], "files": files,
    });
    std::fs::write(directory.path().join("manifest.json"), manifest.to_string()).unwrap();
    crate::serve::site::Site::load(Tree::directory(directory.path()).unwrap()).unwrap()
}

/// A timeline and a clock.
struct World {
    site: Site,
    timeline: Timeline,
    seconds: u64,
}

impl World {
    fn new() -> World {
        World { site: site(), timeline: timeline::Timeline::default(), seconds: 1_000_000 }
    }

    fn booting(boot: &serde_json::Value) -> World {
        World { site: site_with(boot), ..World::new() }
    }

    fn now(&self) -> Stamp {
        (SystemTime::UNIX_EPOCH + Duration::from_secs(self.seconds)).into()
    }

    fn see(&mut self, notice: &Notice<'_>) {
        self.seconds += 1;
        let now = self.now();
        self.timeline.see(&self.site, notice, now);
    }

    fn wait(&mut self, seconds: u64) {
        self.seconds += seconds;
    }

    fn answered(&mut self, record: Record) {
        self.seconds += 1;
        let now = self.now();
        if record.sent == record.length {
            self.timeline.see(&self.site, &notice::Notice::Leaving(&record), now);
        }
        self.timeline.see(&self.site, &notice::Notice::Answered(&record), now);
    }

    /// Fetches a machine's first script and its own.
    fn script(&mut self, from: &str, query: &str) {
        self.answered(record(from, "/boot.ipxe", "", 200, 10, 10));
        self.again(from, query);
    }

    /// Fetches a machine's own script only.
    fn again(&mut self, from: &str, query: &str) {
        let mut script = record(from, "/ipxe", query, 200, 10, 10);
        let group = self.site.groups.select(&script.labels);
        script.group = group.map(|group| group.id.clone());
        script.profile = group.map(|group| group.profile.clone());
        script.status = if group.is_some() { 200 } else { 404 };
        self.answered(script);
    }

    fn file(&mut self, from: &str, path: &str, length: u64) {
        self.answered(record(from, path, "", 200, length, length));
    }

    fn dhcp(&mut self, mac: &str, firmware: &'static str, address: Option<[u8; 4]>) {
        self.see(&notice::Notice::Dhcp(&Dhcp {
            mac: mac.into(),
            uuid: None,
            firmware,
            answer: "ack",
            address: address.map(Into::into),
            file: Some("ipxe.efi".into()),
            lacks: None,
        }));
    }

    fn tftp(&mut self, from: &str, failed: Option<&str>) {
        self.see(&notice::Notice::Tftp(&Tftp {
            peer: peer(from),
            file: "ipxe.efi".into(),
            sent: 5,
            length: 5,
            took: Duration::from_secs(1),
            failed: failed.map(Into::into),
        }));
    }

    fn report(&mut self, body: &str) {
        self.seconds += 1;
        self.report_from(body, None);
    }

    fn report_from(&mut self, body: &str, sender: Option<IpAddr>) {
        let (report, now) =
            (report::Report::read(&labels::Labels::parse(body), self.now().into()).unwrap(), self.now());
        self.timeline.report(&self.site, report, sender, now);
    }

    fn machines(&self) -> Vec<MachineStatus> {
        let call = self.call();
        self.timeline.machines().map(|machine| MachineStatus::of(machine, &call, self.now())).collect()
    }

    fn call(&self) -> Call {
        Arc::new(Roll::of(&self.site)).call(&self.timeline)
    }

    /// The names of the nodes that never came.
    fn missing(&self) -> Vec<String> {
        self.call().missing().map(|node| node.name.clone()).collect()
    }

    #[track_caller]
    fn only(&self) -> MachineStatus {
        let machines = self.machines();
        assert_eq!(machines.len(), 1, "{machines:#?}");
        machines.into_iter().next().unwrap()
    }

    /// The first trouble that is reported.
    fn trouble(&self) -> String {
        self.only().troubles.first().map(|trouble| trouble.what.clone()).unwrap_or_default()
    }
}

fn peer(from: &str) -> SocketAddr {
    SocketAddr::new(from.parse().unwrap(), 1234)
}

fn record(from: &str, path: &str, query: &str, status: u16, sent: u64, length: u64) -> Record {
    Record {
        why: None,
        peer: peer(from),
        method: Method::GET,
        path: path.into(),
        labels: labels::Labels::parse(query),
        status,
        sent,
        length,
        took: Duration::from_secs(1),
        group: None,
        profile: None,
    }
}

/// The query of n1.
const N1: &str = "mac=52-54-00-00-00-01&uuid=4C4C4544-0000&arch=x86_64&hostname=";

/// ux 1.5: 60 nodes, 55 came; the others were nowhere.
#[test]
fn a_node_is_missing_until_it_is_seen_by_either_of_its_identities() {
    let mut world = World::new();
    assert_eq!(world.missing(), ["n1", "n2"]);
    world.dhcp(MAC, "UEFI x86-64", None);
    assert_eq!(world.missing(), ["n2"], "its first packet shows that it is there");
    // A stranger is no node, and people who ask are no machines.
    world.script("10.0.0.99", "mac=52-54-00-00-00-99");
    world.answered(record("10.0.0.7", "/explain", "mac=52-54-00-00-00-02", 200, 1, 1));
    assert_eq!(world.missing(), ["n2"]);
    let call = world.call();
    let node = call.missing().next().unwrap();
    assert_eq!(node.mac.as_deref(), Some("52:54:00:00:00:02"));
    assert_eq!((node.group.as_deref(), node.profile.as_deref()), (Some("n2"), Some("worker")));
    // Both identities of a node, one of a machine; and a serial number, which only its group shows.
    let group = |id: &str, selector: &[(&str, &str)]| {
        let selector = selector.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Arc::new(Group { id: id.into(), profile: "worker".into(), selector, ..Group::default() })
    };
    let groups = vec![
        group("both", &[("mac", MAC), ("uuid", "4C4C")]),
        group("disk", &[("mac", "52:54:00:00:00:05"), ("os", "installed")]),
        group("disk-first", &[("mac", "52:54:00:00:00:05")]),
        group("serial", &[("serial", "S1")]),
        group("rack", &[("rack", "r1")]),
    ];
    let mut world = World::new();
    world.site.groups = Arc::new(crate::serve::site::select::Groups::new(groups));
    assert_eq!(world.missing(), ["both", "disk-first", "serial"]);
    world.script("10.0.0.1", "uuid=4c4c&mac=52-54-00-00-00-77");
    assert_eq!(world.missing(), ["disk-first", "serial"]);
    world.script("10.0.0.2", "serial=S1&mac=52-54-00-00-00-78");
    assert_eq!(world.missing(), ["disk-first"]);
}

/// ux 1.5: the stranger's entry is a line to paste; a swapped card was half shown.
#[test]
fn a_stranger_has_a_line_to_paste_and_is_none_once_the_site_names_it() {
    let mut world = World::new();
    world.script("10.0.0.9", "mac=d4-ae-52-c1-00-90&hostname=r3-n10.lan");
    let machine = world.only();
    assert!(machine.stranger);
    let line = machine.entry.unwrap();
    assert_eq!(line, "- {name: r3-n10, mac: \"d4:ae:52:c1:00:90\", profile: worker}");
    let source = crate::base::finding::Source::new("nodes.yaml", format!("schema: 1\nnodes:\n  {line}\n"));
    let nodes = crate::machine::node::parse_inventory(&source, &[crate::base::arch::Arch::Amd64]).unwrap();
    world.site = world.site.with_nodes(&nodes).unwrap();
    world.timeline.recognize(&world.site);
    let machine = world.only();
    assert_eq!((machine.stranger, machine.entry), (false, None));
    assert_eq!(world.missing(), ["n1", "n2"]);
    // A machine that only has an address did not boot, and a node needs no line.
    let mut world = World::new();
    world.dhcp("52:54:00:00:00:88", "other", None);
    world.script("10.0.0.11", N1);
    let machines = world.machines();
    assert_eq!(machines.iter().filter(|machine| machine.entry.is_some() || machine.stranger).count(), 0);
}

/// ux 1.5: a swapped card was half shown. A guess needs a reason.
#[test]
fn a_missing_node_is_named_beside_a_stranger_only_where_something_speaks_for_it() {
    let group = |id: &str, mac: &str| {
        let selector = [("mac".to_owned(), mac.to_owned())].into();
        Arc::new(Group { id: id.into(), profile: "worker".into(), selector, ..Group::default() })
    };
    let hint = |strangers: &[&str]| {
        let mut world = World::new();
        let nodes = [
            group("a", "d4:ae:52:00:00:10"),
            group("b", "00:25:90:00:00:01"),
            group("c", "00:25:90:11:00:02"),
        ];
        world.site.groups = Arc::new(crate::serve::site::select::Groups::new(nodes.to_vec()));
        for (number, stranger) in strangers.iter().enumerate() {
            world.script(&format!("10.0.0.{}", number + 1), stranger);
        }
        let machine =
            world.machines().into_iter().find(|machine| machine.address.as_deref() == Some("10.0.0.1"));
        machine.unwrap().troubles[0].hint.clone()
    };
    for (strangers, begins) in [
        (&["mac=d4-ae-52-00-00-12"][..], "a was never seen, and its address differs little"),
        (&["mac=d4-ae-52-ff-00-00"], "a was never seen, and its card is of the same maker"),
        (&["mac=d4-ae-52-ff-00-00", "mac=d4-ae-52-ff-00-99"], "add below"),
        (&["mac=00-25-90-ff-00-00"], "add below"),
        (&["mac=02-00-00-00-00-01&hostname=B.lan"], "b was never seen, and it says this name"),
        (&["mac=02-00-00-00-00-01"], "add below"),
    ] {
        assert!(hint(strangers).starts_with(begins), "{strangers:?}: {}", hint(strangers));
    }
}

/// ux §3, 3: kinds of trouble without words or without a way out.
#[test]
fn every_kind_of_trouble_stands_in_the_documents() {
    for path in ["docs/formats/status.md", "docs/guides/troubleshooting.md"] {
        let text =
            std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let missing: Vec<&str> =
            trouble::kinds().filter(|kind| !text.contains(&format!("`{kind}`"))).collect();
        assert_eq!(missing, Vec::<&str>::new(), "{path}");
    }
}

/// ux 1.13: as soon as the last initrd had left, a machine was done, although a kernel panic looks the same.
#[test]
fn a_machine_of_which_nothing_is_heard_is_loaded_and_one_that_says_anything_is_done() {
    let mut world = World::new();
    let loads = |world: &mut World| {
        world.script("10.0.0.11", N1);
        for (path, size) in [(KERNEL, 100), (BASE, 1000), (OVERLAY, 1000)] {
            world.file("10.0.0.11", path, size);
        }
    };
    loads(&mut world);
    assert_eq!(world.only().state, State::Working, "its system reports");
    world.wait(700);
    assert_eq!(world.only().state, State::Stuck);
    world.report(&format!("{N1}&stage=my-own-stage"));
    assert_eq!((world.only().state, world.only().troubles), (State::Done, vec![]));
    let mut world = World::new();
    world.site.reporting = Arc::default();
    loads(&mut world);
    world.wait(700);
    assert_eq!((world.only().state, world.only().troubles), (State::Loaded, vec![]));
    world.report(&format!("{N1}&stage=booted"));
    assert_eq!(world.only().state, State::Done);
}

#[test]
fn all_journals_together_are_bounded_and_the_newest_are_kept() {
    let mut world = World::new();
    let mac = |number: usize| format!("52:54:00:00:{:02x}:{:02x}", number / 256, number % 256);
    let group = |number: usize| {
        let selector = std::collections::BTreeMap::from([("mac".to_owned(), mac(number))]);
        Arc::new(Group { id: number.to_string(), profile: "worker".into(), selector, ..Group::default() })
    };
    let all = 3000;
    world.site.groups = Arc::new(crate::serve::site::select::Groups::new((0..all).map(group).collect()));
    let log = format!("{}%0a", "x".repeat(390)).repeat(10);
    (0..all).for_each(|number| world.report(&format!("mac={}&stage=failed&log={log}", mac(number))));
    let logs: Vec<usize> = world
        .timeline
        .machines()
        .map(|machine| machine.report.as_ref().map_or(0, |report| report.log.len()))
        .collect();
    assert_eq!(logs.len(), all);
    let total: usize = logs.iter().sum();
    assert!(total <= 2 * MAX_LOGGED && total > MAX_LOGGED / 2, "{total}");
    assert_eq!((logs[0], logs[all - 1] > 3000), (0, true));
}

#[test]
fn a_boot_from_dhcp_to_a_cluster_is_one_row_with_every_stage() {
    let mut world = World::new();
    world.dhcp(MAC, "UEFI x86-64", None);
    world.tftp("10.0.0.11", None);
    assert_eq!(world.machines().len(), 2, "a proxy does not know the address yet");
    world.script("10.0.0.11", N1);
    let machine = world.only();
    assert_eq!(machine.name.as_deref(), Some("n1"));
    assert_eq!(
        (machine.profile.as_deref(), machine.firmware.as_deref()),
        (Some("worker"), Some("UEFI x86-64"))
    );
    world.file("10.0.0.11", KERNEL, 100);
    world.file("10.0.0.11", BASE, 1000);
    let half = record("10.0.0.11", OVERLAY, "", 200, 500, 1000);
    world.see(&notice::Notice::Progress(&half));
    let step = world.only().steps.last().unwrap().clone();
    assert_eq!((step.stage, step.sent, step.of, step.ended), (Stage::Initrd, 1500, Some(2000), None));
    assert_eq!((step.rate, step.eta), (Some(500), Some(1)));
    world.file("10.0.0.11", OVERLAY, 1000);
    assert_eq!(world.only().state, State::Working, "it is to report yet");
    world.report(&format!("{N1}&stage=booted&detail=n1"));
    assert_eq!(world.only().state, State::Done);
    world.report(&format!("{N1}&stage=joined"));
    let machine = world.only();
    let stages: Vec<Stage> = machine.steps.iter().map(|step| step.stage).collect();
    use crate::serve::machines::timeline::stage::Stage::*;
    assert_eq!(stages, [Dhcp, Tftp, Script, Kernel, Initrd, Booted, Joined]);
    assert!(machine.steps.iter().all(|step| step.ended.is_some()));
    assert_eq!((machine.boots, machine.troubles.as_slice()), (1, &[][..]));
    assert!(machine.has_reached(Stage::Booted) && machine.has_reached(Stage::Initrd));
}

#[test]
fn a_second_boot_begins_anew_and_a_lease_that_is_renewed_does_not() {
    let mut world = World::new();
    world.script("10.0.0.11", N1);
    world.file("10.0.0.11", KERNEL, 100);
    world.report(&format!("{N1}&stage=booted"));
    world.dhcp(MAC, "none", Some([10, 0, 0, 11]));
    assert_eq!(world.only().stage, Some(Stage::Booted));
    world.dhcp(MAC, "BIOS", Some([10, 0, 0, 11]));
    assert_eq!((world.only().stage, world.only().boots), (Some(Stage::Dhcp), 2));
    world.dhcp(MAC, "iPXE", Some([10, 0, 0, 11]));
    world.script("10.0.0.11", N1);
    assert_eq!((world.only().stage, world.only().boots), (Some(Stage::Script), 2));
    assert_eq!(world.only().firmware.as_deref(), Some("BIOS"));
}

#[test]
fn a_boot_without_our_scripts_is_seen_by_its_files_and_begins_anew_with_its_kernel() {
    let mut world = World::new();
    for boots in 1..3 {
        world.file("10.0.0.11", KERNEL, 100);
        world.file("10.0.0.11", BASE, 1000);
        assert_eq!((world.only().id.as_str(), world.only().boots), ("10.0.0.11", boots));
        assert_eq!(world.only().stage, Some(Stage::Initrd));
    }
}

#[test]
fn machines_behind_one_address_are_two_and_the_second_does_not_disturb_the_first() {
    let mut world = World::new();
    for query in [N1, "mac=52-54-00-00-00-02"] {
        world.script("127.0.0.1", query);
        for (path, length) in [(KERNEL, 100), (BASE, 1000), (OVERLAY, 1000)] {
            world.file("127.0.0.1", path, length);
        }
        world.report(&format!("{query}&stage=booted"));
    }
    let machines = world.machines();
    assert_eq!(machines.len(), 2);
    assert!(machines.iter().all(|m| m.stage == Some(Stage::Booted) && m.boots == 1 && m.steps.len() == 4));
}

#[test]
fn a_machine_that_installed_itself_boots_its_disk_and_that_is_the_end_of_it() {
    let mut world = World::new();
    let query = "mac=52-54-00-00-00-02";
    world.script("10.0.0.12", query);
    world.report(&format!("{query}&stage=installed&detail=generation+1"));
    world.script("10.0.0.12", query);
    let machine = world.only();
    assert_eq!((machine.stage, machine.state), (Some(Stage::Disk), State::Done));
    world.wait(100_000);
    assert_eq!(world.only().troubles, []);
}

#[test]
fn whoever_asks_for_what_is_nowhere_is_no_machine() {
    let mut world = World::new();
    world.answered(record("10.0.0.9", "/wp-login.php", "", 404, 5, 5));
    world.answered(record("10.0.0.9", "/", "", 200, 5, 5));
    world.answered(record("10.0.0.9", "/status", "", 200, 5, 5));
    assert_eq!(world.machines(), []);
}

/// Matchbox's FCOS examples and Typhoon use `initrd: ["--name main URL"]`; others use whole URLs, arguments after the
/// kernel, or iPXE's variables. Machines of such sites used to be stuck for ever.
#[test]
fn however_a_profile_names_its_images_a_machine_is_held_against_them() {
    let host = "http://matchbox.example.com:8080";
    let boots = [
        (KERNEL.into(), format!("--name main {BASE}"), format!("-n more {OVERLAY}")),
        (
            format!("--autofree {KERNEL} quiet initrd=main"),
            format!("--name=main {BASE}"),
            format!("-nmore {OVERLAY}"),
        ),
        (
            KERNEL.into(),
            format!("--timeout 5000 {BASE}?v=1 "),
            format!("--autofree --timeout=1 {OVERLAY} /x mode=644"),
        ),
        (format!("{host}{KERNEL}"), format!("{host}{BASE}"), format!("--name x {host}{OVERLAY}")),
        (format!("{host}{KERNEL}"), BASE.into(), OVERLAY.into()),
        (
            "/assets/flatcar/${arch}-usr/vmlinuz".into(),
            "/assets/flatcar/${arch}-usr/base.cpio.gz".into(),
            format!("--name x {OVERLAY}"),
        ),
    ];
    for (kernel, base, overlay) in boots {
        let boot = json!({"kernel": kernel, "initrd": [base, overlay], "args": ["initrd=main"]});
        let mut world = World::booting(&boot);
        world.script("10.0.0.11", N1);
        world.file("10.0.0.11", KERNEL, 100);
        assert_eq!(world.only().stage, Some(Stage::Kernel), "{boot}");
        world.wait(40);
        assert_eq!(world.trouble(), "it fetched its kernel, but requested no initrd", "{boot}");
        world.file("10.0.0.11", BASE, 1000);
        world.wait(40);
        assert!(world.trouble().ends_with("did not request overlay"), "{boot}: {}", world.trouble());
        world.file("10.0.0.11", OVERLAY, 1000);
        world.wait(40);
        assert_eq!((world.trouble().as_str(), world.only().stage), ("", Some(Stage::Initrd)), "{boot}");
        world.wait(700);
        assert_eq!(world.trouble(), "it loaded everything and has not reported since", "{boot}");
    }
}

/// A kernel of ours, with initrds of another server or of no loadable kind.
#[test]
fn what_another_server_has_is_not_missed_here() {
    let boot = json!({"kernel": KERNEL, "initrd": ["http://other/i", "tftp://other/j"], "args": []});
    let mut world = World::booting(&boot);
    world.script("10.0.0.11", N1);
    world.file("10.0.0.11", KERNEL, 100);
    world.wait(40);
    assert_eq!(world.trouble(), "");
    let boot = json!({"kernel": "http://other/k", "initrd": ["http://other/i"]});
    let mut world = World::booting(&boot);
    world.script("10.0.0.11", N1);
    world.wait(400);
    assert_eq!(world.trouble(), "");
}

/// ux.md 1.16, 2026-11-28: when the server cut off a stalled download, its machine was "working" for 15 s.
#[test]
fn a_stalled_machine_stays_stuck_when_its_server_ends_the_transfer() {
    let mut world = World::new();
    world.script("10.0.0.11", N1);
    let half = record("10.0.0.11", KERNEL, "", 200, 50, 100);
    world.see(&notice::Notice::Progress(&half));
    world.wait(20);
    let stalled = world.trouble();
    assert!(stalled.contains("stalled at 50 %"), "{stalled}");
    // The last bytes went into the kernel's buffer, and were not told before.
    world.answered(record("10.0.0.11", KERNEL, "", 200, 60, 100));
    let aborted = world.trouble();
    assert!(aborted.contains("aborted at 60 %"), "{aborted:?}");
    // The next attempt moves, and is no trouble.
    world.see(&notice::Notice::Progress(&half));
    assert_eq!(world.trouble(), "");
}

/// The trouble of a machine that does these things and then nothing for this many seconds.
fn after(seconds: u64, deeds: impl Fn(&mut World)) -> String {
    let mut world = World::new();
    deeds(&mut world);
    assert_eq!(world.machines().len(), 1);
    world.wait(seconds);
    world.trouble()
}

#[test]
fn a_machine_that_is_stuck_is_told_by_what_it_lacks() {
    let all = |world: &mut World| {
        world.script("10.0.0.11", N1);
        world.file("10.0.0.11", KERNEL, 100);
        world.file("10.0.0.11", BASE, 1000);
        world.file("10.0.0.11", OVERLAY, 1000);
    };
    type Deeds<'d> = &'d dyn Fn(&mut World);
    let cases: [(&str, u64, Deeds<'_>); 16] = [
        ("no group matches its labels: mac=52:54:00:00:00:09", 0, &|w| {
            w.script("10.0.0.9", "mac=52-54-00-00-00-09")
        }),
        ("its architecture is arm64, but its kernel is for amd64", 0, &|w| {
            w.script("10.0.0.11", "mac=52-54-00-00-00-01&arch=arm64");
        }),
        ("/assets/gone does not exist (404)", 0, &|w| {
            w.script("10.0.0.11", N1);
            w.answered(record("10.0.0.11", "/assets/gone", "", 404, 5, 5));
        }),
        ("kernel was refused (500)", 0, &|w| {
            w.script("10.0.0.11", N1);
            w.answered(record("10.0.0.11", KERNEL, "", 500, 5, 5));
        }),
        ("kernel aborted at 10 % (10 of 100 bytes), twice", 20, &|w| {
            w.script("10.0.0.11", N1);
            w.answered(record("10.0.0.11", KERNEL, "", 200, 50, 100));
            w.answered(record("10.0.0.11", KERNEL, "", 200, 10, 100));
        }),
        ("kernel stalled at 50 % (50 of 100 bytes)", 20, &|w| {
            w.script("10.0.0.11", N1);
            w.see(&notice::Notice::Progress(&record("10.0.0.11", KERNEL, "", 200, 50, 100)));
        }),
        ("ipxe.efi by TFTP: there is no such file", 0, &|w| {
            w.tftp("10.0.0.11", Some("there is no such file"))
        }),
        ("it was told to boot ipxe.efi, but did not request it", 70, &|w| w.dhcp(MAC, "BIOS", None)),
        ("the loader requested no script", 70, &|w| w.tftp("10.0.0.11", None)),
        ("but did not request its own", 40, &|w| {
            w.answered(record("10.0.0.11", "/boot.ipxe", "", 200, 5, 5));
        }),
        ("it has its script, but did not request the kernel", 40, &|w| w.script("10.0.0.11", N1)),
        ("script loop: it fetched its script 5 times and loaded nothing", 0, &|w| {
            (0..5).for_each(|_| w.again("10.0.0.11", N1));
        }),
        ("it fetched its kernel, but requested no initrd", 40, &|w| {
            w.script("10.0.0.11", N1);
            w.file("10.0.0.11", KERNEL, 100);
        }),
        ("it fetched initrd, but did not request overlay", 40, &|w| {
            w.script("10.0.0.11", N1);
            w.file("10.0.0.11", KERNEL, 100);
            w.file("10.0.0.11", BASE, 1000);
        }),
        ("it loaded everything and has not reported since", 700, &all),
        ("boot loop: 3 boots, none completed", 0, &|w| (0..4).for_each(|_| all(w))),
    ];
    for (wanted, seconds, deeds) in cases {
        let told = after(seconds, deeds);
        assert!(told.contains(wanted), "{wanted:?} was to be said, not {told:?}");
        if seconds > 0 {
            assert_eq!(after(5, deeds), "", "{wanted:?} is said at once");
        }
    }
    assert_eq!(after(5, all), "");
    let mut world = World::new();
    all(&mut world);
    world.report(&format!("{N1}&stage=failed&detail=no+disk"));
    assert_eq!((world.trouble().as_str(), world.only().state), ("no disk", State::Failed));
    world.script("10.0.0.11", N1);
    assert_eq!((world.trouble().as_str(), world.only().state), ("", State::Working), "it is another boot");
}

#[test]
fn who_waits_for_others_is_not_stuck_however_often_it_asks() {
    let mut world = World::new();
    for _ in 0..9 {
        world.answered(record("10.0.0.11", "/ipxe", N1, 200, 5, 5));
        world.wait(5);
    }
    let machine = world.only();
    assert_eq!((machine.waits, machine.state, machine.steps[0].times), (true, State::Working, 1));
    world.script("10.0.0.11", N1);
    assert!(!world.only().waits);
}

#[test]
fn a_flood_of_strangers_does_not_push_out_the_machines_of_the_recipe() {
    let mut world = World::new();
    world.script("10.0.0.11", N1);
    for stranger in 0..2 * STRANGERS {
        let mac = format!("02:00:00:00:{:02x}:{:02x}", stranger >> 8, stranger & 255);
        world.dhcp(&mac, "BIOS", None);
    }
    assert!(world.timeline.machines.len() <= STRANGERS + 1);
    assert!(world.machines().iter().any(|machine| machine.id == MAC));
}

/// attacks.md, C-M10: a made-up machine that reported was ranked like one of the recipe.
#[test]
fn strangers_that_report_displace_neither_the_machines_of_the_recipe_nor_those_of_other_addresses() {
    let mut world = World::new();
    world.report("mac=52-54-00-00-00-01&stage=installed");
    world.dhcp("02:00:00:00:00:ff", "BIOS", Some([10, 0, 0, 77]));
    for stranger in 0..3 * STRANGERS {
        let mac = format!("06-00-00-00-{:02x}-{:02x}", stranger >> 8, stranger & 255);
        world.report_from(&format!("mac={mac}&stage=installed"), Some([192, 0, 2, 9].into()));
    }
    assert!(world.timeline.machines.len() <= STRANGERS + 1);
    let ids: Vec<String> = world.machines().into_iter().map(|machine| machine.id).collect();
    assert!(ids.iter().any(|id| id == MAC), "the recipe names it");
    assert!(ids.iter().any(|id| id == "02:00:00:00:00:ff"), "it is of another address");
}

#[test]
fn a_stranger_is_remembered_with_few_files_and_none_that_is_not_there() {
    let mut world = World::new();
    for number in 0..40 {
        let query = "mac=02-00-00-00-00-01";
        world.answered(record("10.0.0.12", &format!("/assets/none-{number}"), query, 404, 5, 5));
        world.answered(record("10.0.0.12", &format!("/assets/some-{number}"), query, 200, 5, 5));
    }
    let machine = world.only();
    assert_eq!(machine.files.len(), 8);
    assert!(machine.files.iter().all(|file| file.status == 200));
}

/// Events that may happen, in any order.
#[derive(Clone, Debug)]
enum Event {
    Dhcp(u8, &'static str, Option<u8>),
    Tftp(u8, bool),
    Http(u8, &'static str, String, u16, u64, bool),
    Report(String),
    Wait(u16),
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let query = || {
        let mac =
            prop_oneof![Just(String::new()), (1u8..4).prop_map(|n| format!("mac=52-54-00-00-00-0{n}&"))];
        let uuid = prop_oneof![Just(String::new()), (1u8..3).prop_map(|n| format!("uuid={n}&"))];
        (mac, uuid).prop_map(|(mac, uuid)| mac + &uuid)
    };
    let path = prop::sample::select(vec![
        "/boot.ipxe",
        "/ipxe",
        "//grub",
        "/ignition",
        KERNEL,
        BASE,
        OVERLAY,
        "/assets/x",
    ]);
    let firmware = prop::sample::select(vec!["BIOS", "UEFI arm64", "iPXE", "none"]);
    let status = prop::sample::select(vec![200u16, 206, 404, 500]);
    let stage = prop::sample::select(vec!["booted", "installed", "failed", "odd"]);
    let event = prop_oneof![
        (1u8..4, firmware, prop::option::of(1u8..4)).prop_map(|(m, f, ip)| Event::Dhcp(m, f, ip)),
        (1u8..4, any::<bool>()).prop_map(|(ip, ok)| Event::Tftp(ip, ok)),
        (1u8..4, path, query(), status, 0u64..1200, any::<bool>()).prop_map(
            |(ip, path, query, status, sent, over)| Event::Http(ip, path, query, status, sent, over)
        ),
        (query(), stage).prop_map(|(query, stage)| Event::Report(format!("{query}stage={stage}"))),
        any::<u16>().prop_map(Event::Wait),
        Just(Event::Restart),
    ];
    prop::collection::vec(event, 0..60)
}

proptest! {
    #[test]
    fn whatever_happens_every_machine_has_one_row_and_steps_in_order(events in events()) {
        let mut world = World::new();
        for event in events {
            match event {
                Event::Dhcp(mac, firmware, ip) => {
                    world.dhcp(&format!("52:54:00:00:00:0{mac}"), firmware, ip.map(|ip| [10, 0, 0, ip]));
                }
                Event::Tftp(ip, ok) => world.tftp(&format!("10.0.0.{ip}"), (!ok).then_some("no")),
                Event::Http(ip, path, query, status, sent, over) => {
                    let record = record(&format!("10.0.0.{ip}"), path, &query, status, sent.min(1000), 1000);
                    match over {
                        true => world.answered(record),
                        false => world.see(&notice::Notice::Progress(&record)),
                    }
                }
                Event::Report(body) => {
                    if report::Report::read(&labels::Labels::parse(&body), world.now().into()).is_ok() {
                        world.report_from(&body, None);
                    }
                }
                Event::Wait(seconds) => world.wait(seconds.into()),
                Event::Restart => {
                    let text = serde_json::to_string(&world.timeline.machines().collect::<Vec<_>>()).unwrap();
                    world.timeline = timeline::Timeline::remember(serde_json::from_str(&text).unwrap());
                }
            }
        }
        let mut ids = std::collections::BTreeSet::new();
        for machine in world.machines() {
            assert!(ids.insert(machine.id.clone()), "{} has two rows", machine.id);
            assert!(machine.steps.is_sorted_by_key(|step| step.stage));
            assert!(machine.steps.iter().all(|step| step.ended.is_none_or(|ended| ended >= step.began)));
            assert_eq!(machine.stage.is_none(), machine.steps.is_empty());
            assert_eq!(machine.state == State::Stuck, !machine.troubles.is_empty() && machine.state != State::Failed);
        }
        let Timeline { machines, by_address, by_uuid, count, .. } = &world.timeline;
        let mut counted = room::Count::default();
        machines.values().for_each(|machine| counted.add(machine));
        assert_eq!(*count, counted);
        assert!(by_address.values().chain(by_uuid.values()).all(|key| machines.contains_key(key)));
        for (key, machine) in machines {
            assert!(!matches!(key, timeline::Key::Address(_)) || machine.mac.is_none() && machine.uuid.is_none());
        }
    }
}

#[test]
fn a_machine_that_is_sent_to_its_disk_and_comes_back_goes_round() {
    let mut world = World::new();
    let query = "mac=52-54-00-00-00-02";
    world.script("10.0.0.2", query);
    world.report("mac=52-54-00-00-00-02&stage=installed&detail=generation+1");
    for _ in 0..4 {
        assert_eq!(world.only().troubles, []);
        world.wait(60);
        world.again("10.0.0.2", query);
    }
    assert!(
        world.trouble().starts_with("boot loop: it was told 4 times in a row to boot its disk"),
        "{}",
        world.trouble()
    );
    // It has stopped asking, so it has booted at last.
    world.wait(601);
    assert_eq!(world.only().troubles, []);
    world.again("10.0.0.2", query);
    assert_eq!(world.only().troubles, []);
}

#[test]
fn an_installer_that_says_the_same_again_and_again_goes_round_and_an_installation_ends_that() {
    let mut world = World::new();
    let installed = "mac=52-54-00-00-00-02&stage=installed&detail=generation+1";
    for _ in 0..2 {
        world.report(installed);
        world.wait(300);
        assert_eq!(world.only().troubles, []);
    }
    world.report(installed);
    assert!(
        world.trouble().contains("installer loop: it reported 3 times in a row that it is installed"),
        "{}",
        world.trouble()
    );
    world.report("mac=52-54-00-00-00-02&stage=installing&detail=generation+2");
    world.report("mac=52-54-00-00-00-02&stage=installed&detail=generation+2");
    assert_eq!(world.only().troubles, []);
    // Once an hour is not a loop.
    for _ in 0..5 {
        world.wait(3601);
        world.report("mac=52-54-00-00-00-02&stage=installed&detail=generation+2");
        assert_eq!(world.only().troubles, []);
    }
}

/// attacks.md, §4: after a clock had been ahead, silent machines were the last to be forgotten.
#[test]
fn nobody_was_seen_in_the_future_once_the_clock_is_set_back_nor_after_a_restart() {
    let mut world = World::new();
    world.seconds += 1_000_000_000;
    world.script("10.0.0.1", "mac=52-54-00-00-00-01");
    world.script("10.0.0.9", "mac=52-54-00-00-00-09");
    world.seconds -= 1_000_000_000;
    let kept: Vec<Machine> =
        world.timeline.machines.values().map(|machine| machine::Machine::clone(machine)).collect();
    for timeline in [std::mem::take(&mut world.timeline), timeline::Timeline::remember(kept)] {
        world.timeline = timeline;
        let told = world.timeline.revision;
        world.wait(60);
        world.script("10.0.0.2", "mac=52-54-00-00-00-02");
        let now = world.now();
        assert!(world.timeline.machines.values().all(|machine| machine.last_seen <= now));
        // Watchers are informed.
        let changed = world.timeline.machines.values().filter(|machine| machine.revision > told).count();
        assert_eq!(changed, world.timeline.machines.len());
    }
}

/// Found by a newcomer, 2026-11-29: `?mac=<w1>&hostname=w2` was shown as w2, a stranger that said `hostname=w1` as w1, and
/// 55 nodes with names of DHCP lost theirs.
#[test]
fn a_node_keeps_its_name_whatever_it_calls_itself_and_nobody_else_gets_it() {
    let mut world = World::new();
    world.script("10.0.0.1", "mac=52-54-00-00-00-01&hostname=n2");
    world.script("10.0.0.2", "mac=52-54-00-00-00-02&hostname=dhcp-17.lan");
    world.script("10.0.0.3", "mac=52-54-00-00-00-66&hostname=N1.lan");
    world.script("10.0.0.4", "mac=52-54-00-00-00-67&hostname=spare");
    let machines = world.machines();
    let names: Vec<_> = machines.iter().map(|one| (one.name.as_deref(), one.hostname.as_deref())).collect();
    let said = [
        (Some("n1"), Some("n2")),
        (Some("n2"), Some("dhcp-17.lan")),
        (None, Some("N1.lan")),
        (Some("spare"), Some("spare")),
    ];
    assert_eq!(names, said);
}

/// Found by a newcomer, 2026-11-29: `/ipxe?mac=rubbish` left nothing but a line of the log, and had the machine at its
/// address become a stranger.
#[test]
fn a_machine_with_a_malformed_mac_is_a_stranger_of_its_own_at_its_address() {
    let mut world = World::new();
    world.script("10.0.0.1", N1);
    world.again("10.0.0.1", "mac=rubbish&arch=i386");
    world.again("10.0.0.1", "mac=52-54-00-00-00-02");
    let machines = world.machines();
    let ids: Vec<&str> = machines.iter().map(|machine| machine.id.as_str()).collect();
    assert_eq!(ids, [MAC, "52:54:00:00:00:02", "10.0.0.1"]);
    assert_eq!(machines.iter().map(|one| one.stranger).collect::<Vec<_>>(), [false, false, true]);
    let trouble = &machines[2].troubles[0];
    assert_eq!(trouble.what, "no group matches its labels: mac=\"rubbish\" (not a MAC address)");
    assert!(trouble.hint.contains("${mac:hexhyp}"), "{}", trouble.hint);
}

/// Found by a newcomer, 2026-11-29: the column MACHINE was empty for a node that had only reported.
#[test]
fn a_node_that_only_reported_has_its_name() {
    let mut world = World::new();
    world.report("mac=52-54-00-00-00-02&stage=failed&hostname=n1");
    assert_eq!(world.only().name.as_deref(), Some("n2"));
}
