//! The store against what Matchbox v0.11.0 answered and wrote for the same calls.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::serve::site::datadir::{DataDir, Settings};
use crate::serve::site::labels::Labels;

/// A store in a directory of its own, beside which there is room for what a link leads to.
struct Bench {
    directory: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new(lenient: bool) -> Bench {
        Bench::of(if lenient { Manner::Lenient } else { Manner::Usual })
    }

    fn of(manner: Manner) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        fs::create_dir(&data).unwrap();
        Bench { store: Store::open(&data, manner).unwrap(), directory }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join("data").join(path)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// An answer's error as Matchbox told it in a directory called `data`.
    fn told<T>(&self, answer: Result<T, Fault>) -> Result<T, (Code, String)> {
        let here = format!("{}/", self.directory.path().display());
        answer.map_err(|fault| (fault.code, fault.message.replace(&here, "")))
    }

    fn put(&self, name: &str, config: &str) -> Result<(), (Code, String)> {
        let request = IgnitionPutRequest { name: name.into(), config: config.into() };
        self.told(self.store.ignition_put(&request, &mut Vec::new()).map(drop))
    }

    fn get(&self, name: &str) -> Result<String, (Code, String)> {
        let answer = self.store.ignition_get(&IgnitionGetRequest { name: name.into() }, &mut Vec::new());
        self.told(answer.map(|answer| String::from_utf8(answer.config).unwrap()))
    }

    fn delete(&self, name: &str) -> Result<(), (Code, String)> {
        let request = IgnitionDeleteRequest { name: name.into() };
        self.told(self.store.ignition_delete(&request, &mut Vec::new()).map(drop))
    }

    fn put_group(&self, group: Group) -> Result<Warnings, (Code, String)> {
        let mut warnings = Vec::new();
        let answer = self.store.group_put(&GroupPutRequest { group: Some(group) }, &mut warnings);
        self.told(answer.map(|_| warnings))
    }

    fn select(&self, labels: &[(&str, &str)]) -> Result<String, (Code, String)> {
        let request = SelectGroupRequest { labels: pairs(labels) };
        let answer = self.store.select_group(&request, &mut Vec::new());
        self.told(answer.map(|answer| answer.group.unwrap().id))
    }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn group(id: &str, selector: &[(&str, &str)]) -> Group {
    Group { id: id.into(), profile: format!("p-{id}"), selector: pairs(selector), ..Group::default() }
}

fn unknown<T>(words: &str) -> Result<T, (Code, String)> {
    Err((Code::Unknown, words.into()))
}

const CONFIG: &str = r#"{"ignition":{"version":"3.4.0"}}"#;
const BUTANE: &str = "variant: flatcar\nversion: 1.1.0\n";

#[test]
fn calls_on_configs_answer_as_matchbox_does() {
    let bench = Bench::new(false);
    let long = "x".repeat(300);
    assert_eq!(bench.get(""), unknown("open data/ignition: no such file or directory"));
    assert_eq!(bench.delete(""), unknown("remove data/ignition: no such file or directory"));
    assert_eq!(bench.put("a.ign", CONFIG), Ok(()));
    for name in ["a.ign", "/a.ign", "./x/../a.ign", "../ignition/a.ign"] {
        assert_eq!(bench.get(name), Ok(CONFIG.into()), "{name}");
    }
    assert_eq!(bench.put("sub/deep/b", BUTANE), Ok(()));
    assert_eq!(bench.get("sub/deep/b"), Ok(BUTANE.into()));
    for name in ["sub", "sub/"] {
        assert_eq!(bench.get(name), unknown("read data/ignition/sub: is a directory"));
        assert_eq!(bench.put(name, BUTANE), unknown("open data/ignition/sub: is a directory"));
    }
    assert_eq!(bench.get(""), unknown("read data/ignition: is a directory"));
    assert_eq!(bench.get(".."), unknown("read data: is a directory"));
    assert_eq!(bench.put("", BUTANE), unknown("open data/ignition: is a directory"));
    assert_eq!(bench.put("a.ign/x", BUTANE), unknown("mkdir data/ignition/a.ign: not a directory"));
    assert_eq!(bench.get("a.ign/x"), unknown("open data/ignition/a.ign/x: not a directory"));
    assert_eq!(bench.delete("a.ign/x"), unknown("remove data/ignition/a.ign/x: not a directory"));
    assert_eq!(bench.delete("sub"), unknown("remove data/ignition/sub: directory not empty"));
    assert_eq!(bench.delete("sub/deep/b"), Ok(()));
    assert_eq!(bench.delete("sub/deep"), Ok(()));
    assert_eq!(bench.delete("sub/"), Ok(()));
    assert_eq!(bench.delete("sub"), unknown("remove data/ignition/sub: no such file or directory"));
    assert_eq!(bench.delete(""), unknown("remove data/ignition: directory not empty"));
    for words in [bench.get("\0").err(), bench.put("\0", BUTANE).err(), bench.delete("\0").err()] {
        assert_eq!(words, Some((Code::Unknown, "invalid character in file path".into())));
    }
    assert_eq!(bench.get("../../etc/passwd"), unknown("open data/etc/passwd: no such file or directory"));
    let too_long = |action: &str| format!("{action} data/ignition/{long}: file name too long");
    assert_eq!(bench.get(&long), unknown(&too_long("open")));
    assert_eq!(bench.put(&long, BUTANE), unknown(&too_long("open")));
    assert_eq!(bench.put(&format!("{long}/x"), BUTANE), unknown(&too_long("mkdir")));
    assert_eq!(bench.delete(&long), unknown(&too_long("remove")));
    assert_eq!(bench.delete("a.ign"), Ok(()));
    assert_eq!(bench.delete("."), Ok(()), "an empty folder goes, as Matchbox's");
    assert_eq!(bench.get("."), unknown("open data/ignition: no such file or directory"));
    assert_eq!(bench.put("y", BUTANE), Ok(()));
}

#[test]
fn calls_on_records_answer_as_matchbox_does() {
    let bench = Bench::new(false);
    let none = GroupListRequest {};
    let list = || bench.told(bench.store.group_list(&none, &mut Vec::new()));
    assert_eq!(list().err(), unknown::<()>("open data/groups: no such file or directory").err());
    assert_eq!(bench.select(&[]), unknown("open data/groups: no such file or directory"));
    assert_eq!(bench.put_group(Group::default()), unknown("Id is required"));
    let bare = Group { id: "a".into(), ..Group::default() };
    assert_eq!(bench.put_group(bare.clone()), unknown("Group requires a Profile"));
    let wrong = Group { metadata: b"[]".into(), ..group("a", &[]) };
    let words = "json: cannot unmarshal array into Go value of type map[string]interface {}";
    assert_eq!(bench.put_group(wrong), unknown(words));
    assert_eq!(bench.put_group(group("n\0", &[])), unknown("invalid character in file path"));
    let full = Group {
        name: "n".into(),
        metadata: br#"{"z":1,"a":"<"}"#.into(),
        ..group("a", &[("mac", "52-54-00-AA-BB-07"), ("b", "")])
    };
    assert_eq!(bench.put_group(full.clone()), Ok(vec![]));
    assert_eq!(
        bench.text("groups/a.json"),
        "{\n\t\"id\": \"a\",\n\t\"name\": \"n\",\n\t\"profile\": \"p-a\",\n\t\"selector\": {\n\t\t\"b\": \"\",\n\
         \t\t\"mac\": \"52-54-00-AA-BB-07\"\n\t},\n\t\"metadata\": {\n\t\t\"a\": \"\\u003c\",\n\t\t\"z\": 1\n\t}\n}"
    );
    let got = Group {
        selector: pairs(&[("mac", "52:54:00:aa:bb:07"), ("b", "")]),
        metadata: br#"{"a":"\u003c","z":1}"#.into(),
        ..full
    };
    let asked = bench.store.group_get(&GroupGetRequest { id: "a".into() }, &mut Vec::new());
    assert_eq!(asked.unwrap().group, Some(got));
    let profile = |id: &str| Profile { id: id.into(), ..Profile::default() };
    let put = |profile| {
        bench.told(bench.store.profile_put(&ProfilePutRequest { profile }, &mut Vec::new()).map(drop))
    };
    assert_eq!(put(None), unknown("Id is required"));
    assert_eq!(put(Some(profile(""))), unknown("Id is required"));
    assert_eq!(put(Some(profile("a/b/c"))), Ok(()));
    assert_eq!(bench.text("profiles/a/b/c.json"), "{\n\t\"id\": \"a/b/c\"\n}");
    let gone = GroupDeleteRequest { id: "a".into() };
    let delete = || bench.told(bench.store.group_delete(&gone, &mut Vec::new()).map(drop));
    assert_eq!(delete(), Ok(()));
    assert_eq!(delete(), unknown("remove data/groups/a.json: no such file or directory"));
}

#[test]
fn a_list_has_the_records_that_matchbox_lists() {
    let bench = Bench::new(false);
    for id in ["a2", "b", "c"] {
        bench.put_group(group(id, &[])).unwrap();
    }
    for (name, text) in [
        ("x.txt", "{}"),
        ("y.JSON", "{}"),
        ("b.swp", "{}"),
        (".h.json", r#"{"id":"hid"}"#),
        ("noext", "{}"),
        (".json", r#"{"id":"dot"}"#),
        (".hh", "{}"),
        (".prebake-0-unfinished", "{"),
    ] {
        fs::write(bench.path("groups").join(name), text).unwrap();
    }
    fs::create_dir(bench.path("groups/dir")).unwrap();
    let mut warnings = Vec::new();
    let listed = bench.store.group_list(&GroupListRequest {}, &mut warnings).unwrap().groups;
    let ids: Vec<&str> = listed.iter().map(|group| &*group.id).collect();
    assert_eq!(ids, ["hid", "dot", "dot", "a2", "b", "b", "c"]);
    assert!(warnings.iter().any(|line| line.starts_with("Group \"x\": open ")), "{warnings:?}");
    assert!(warnings.len() == 4, "{warnings:?}");
}

#[test]
fn the_group_of_a_machine_is_matchboxs() {
    let bench = Bench::new(false);
    let both: &[(&str, &str)] = &[("a", ""), ("b", "")];
    let rack: &[(&str, &str)] = &[("rack", "r1")];
    for (id, selector) in [("b", rack), ("c", &[("slot", "s1")]), ("e", both), ("d", &[]), ("a2", rack)] {
        bench.put_group(group(id, selector)).unwrap();
    }
    let machines: [(&[(&str, &str)], &str); 6] = [
        (&[], "d"),
        (&[("x", "y")], "e"),
        (rack, "e"),
        (&[("rack", "r1"), ("slot", "s1"), ("a", "z")], "c"),
        (&[("rack", "r1"), ("a", "z")], "a2"),
        (&[("slot", "S1"), ("a", "z")], "d"),
    ];
    for (labels, id) in machines {
        assert_eq!(bench.select(labels), Ok(id.into()), "{labels:?}");
    }
    let profile = |labels| {
        let request = SelectProfileRequest { labels: pairs(labels) };
        bench.told(bench.store.select_profile(&request, &mut Vec::new()))
    };
    let none = |what: &str| Some((Code::NotFound, format!("matchbox: No matching {what}")));
    assert_eq!(profile(rack).err(), none("Profile"));
    let of_e = Profile { id: "p-e".into(), ..Profile::default() };
    let request = ProfilePutRequest { profile: Some(of_e.clone()) };
    bench.store.profile_put(&request, &mut Vec::new()).unwrap();
    assert_eq!(profile(rack), Ok(SelectProfileResponse { profile: Some(of_e) }));
    fs::remove_file(bench.path("groups/d.json")).unwrap();
    assert_eq!(bench.select(&[]), Err(none("Group").unwrap()));
    assert_eq!(profile(&[]).err(), none("Group"));
}

#[test]
fn names_that_lead_out_of_their_folder_are_refused_also_if_lenient() {
    for bench in [Bench::new(false), Bench::new(true)] {
        bench.put("a.ign", CONFIG).unwrap();
        for name in
            ["../x", "../../x", "..", "../groups/x.json", "a/../../generic/z", ".prebake-x", "a/.prebake-x/y"]
        {
            assert_eq!(bench.put(name, CONFIG).unwrap_err().0, Code::InvalidArgument, "{name}");
            assert_eq!(bench.delete(name).unwrap_err().0, Code::InvalidArgument, "{name}");
        }
        assert_eq!(bench.put_group(group("../up", &[])).unwrap_err().0, Code::InvalidArgument);
        let entries = |path: PathBuf| fs::read_dir(path).unwrap().count();
        assert_eq!(
            (entries(bench.path("")), entries(bench.path("ignition"))),
            (1, 1),
            "something was written"
        );
    }
}

#[test]
fn links_are_followed_inside_of_the_directory_and_not_out_of_it() {
    let bench = Bench::new(false);
    bench.put("y", BUTANE).unwrap();
    let outside = bench.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    let link = |target: &str, name: &str| symlink(target, bench.path("ignition").join(name)).unwrap();
    link("y", "link");
    link("nowhere", "dangling");
    link("loop", "loop");
    link("no/such", "gone");
    link("../../outside/file", "out");
    link("../../outside", "folder");
    link(&bench.path("generic/far").display().to_string(), "absolute");
    fs::create_dir(bench.path("generic")).unwrap();
    let other = format!("{BUTANE}# another\n");
    for (name, target) in
        [("link", "ignition/y"), ("dangling", "ignition/nowhere"), ("absolute", "generic/far")]
    {
        assert_eq!(bench.put(name, &other), Ok(()), "{name}");
        assert_eq!(bench.text(target), other, "{name}");
        assert_eq!(bench.get(name), Ok(other.clone()), "{name}");
        assert!(fs::symlink_metadata(bench.path("ignition").join(name)).unwrap().is_symlink(), "{name}");
    }
    let looped = "open data/ignition/loop: too many levels of symbolic links";
    assert_eq!((bench.put("loop", BUTANE), bench.get("loop")), (unknown(looped), unknown(looped)));
    assert_eq!(bench.put("gone", BUTANE), unknown("open data/ignition/gone: no such file or directory"));
    for name in ["out", "folder/file", "folder/new", "folder/new/deep"] {
        assert_eq!(bench.put(name, BUTANE).unwrap_err().0, Code::InvalidArgument, "{name}");
    }
    assert_eq!(bench.get("out").unwrap_err().0, Code::InvalidArgument);
    assert_eq!(bench.delete("folder/file").unwrap_err().0, Code::InvalidArgument);
    assert_eq!(bench.delete("out"), Ok(()), "the link itself is inside");
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "outside");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "something was written outside");
}

#[test]
fn a_file_keeps_its_mode_and_nothing_is_left_beside_it() {
    let bench = Bench::new(false);
    bench.put("sub/y", BUTANE).unwrap();
    let mode = |path: &str| fs::metadata(bench.path(path)).unwrap().permissions().mode() & 0o7777;
    // Matchbox makes them so, less the umask of this process.
    let umask = crate::base::disk::umask();
    assert_eq!((mode("ignition/sub/y"), mode("ignition/sub")), (0o644 & !umask, 0o755 & !umask));
    fs::set_permissions(bench.path("ignition/sub/y"), fs::Permissions::from_mode(0o600)).unwrap();
    let other = format!("{BUTANE}# another\n");
    bench.put("sub/y", &other).unwrap();
    assert_eq!((mode("ignition/sub/y"), bench.text("ignition/sub/y")), (0o600, other));
    assert_eq!(fs::read_dir(bench.path("ignition/sub")).unwrap().count(), 1);
}

#[test]
fn what_a_killed_process_left_is_removed_at_the_next_start() {
    let bench = Bench::new(false);
    bench.put("sub/y", BUTANE).unwrap();
    let left = bench.path("ignition/sub/.prebake-00000000-killed");
    fs::write(&left, "half").unwrap();
    let held = bench.path("ignition/.prebake-00000000-held");
    let file = fs::File::create(&held).unwrap();
    file.lock().unwrap();
    Store::open(&bench.path(""), Manner::Usual).unwrap();
    assert!(!left.exists(), "it is left");
    assert!(held.exists(), "another process still writes it");
    assert_eq!(bench.get("sub/y"), Ok(BUTANE.into()));
}

#[test]
fn a_directory_that_is_missing_or_not_to_be_written_is_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Store::open(&directory.path().join("missing"), Manner::Usual);
    assert!(matches!(missing, Err(Error::NoDirectory { .. })), "{missing:?}");
    let groups = directory.path().join("groups");
    fs::create_dir(&groups).unwrap();
    fs::set_permissions(&groups, fs::Permissions::from_mode(0o555)).unwrap();
    let opened = Store::open(directory.path(), Manner::Usual);
    fs::set_permissions(&groups, fs::Permissions::from_mode(0o755)).unwrap();
    match rustix::process::geteuid().is_root() {
        // Modes do not bind root.
        true => assert!(opened.is_ok(), "{opened:?}"),
        false => assert!(
            matches!(&opened, Err(Error::ReadOnly { path, .. }) if path.ends_with("groups")),
            "{opened:?}"
        ),
    }
}

#[test]
fn readers_never_see_half_a_file() {
    let bench = Bench::new(false);
    let texts = ["a", "b"].map(|word| format!("{BUTANE}# {}\n", word.repeat(1 << 16)));
    bench.put("y", &texts[0]).unwrap();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut count = 0;
            while !ends.load(Ordering::Relaxed) || count == 0 {
                let seen = bench.text("ignition/y");
                assert!(texts.contains(&seen), "{} bytes are neither of the texts", seen.len());
                count += 1;
            }
        });
        let writers = [0, 1].map(|first| {
            let (bench, texts) = (&bench, &texts);
            scope.spawn(move || {
                for round in 0..20 {
                    bench.put("y", &texts[(first + round) % 2]).unwrap();
                }
            })
        });
        let written = writers.map(std::thread::ScopedJoinHandle::join);
        ends.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        assert!(written.iter().all(Result::is_ok));
    });
    assert_eq!(fs::read_dir(bench.path("ignition")).unwrap().count(), 1, "something is left");
}

#[test]
fn machines_get_what_was_put_at_their_next_request() {
    for strict in [false, true] {
        let bench = Bench::new(false);
        let profile = |id: &str| {
            let profile = Profile { id: id.into(), ignition_id: "y.ign".into(), ..Profile::default() };
            bench.store.profile_put(&ProfilePutRequest { profile: Some(profile) }, &mut Vec::new()).unwrap();
        };
        let open = || {
            let settings = Settings { strict, ..Settings::default() };
            DataDir::open(&bench.path(""), settings, Arc::new(|_| {})).unwrap()
        };
        // Strict serving does not begin without a group.
        let begun = (!strict).then(open);
        bench.put("y.ign", CONFIG).unwrap();
        profile("p-a");
        bench.put_group(group("a", &[])).unwrap();
        let mut served = begun.unwrap_or_else(open);
        let mac = Labels::of([("mac".to_owned(), "52:54:00:aa:bb:07".to_owned())]);
        let mut chosen = || served.site().groups.select(&mac).map(|group| group.id.clone());
        assert_eq!(chosen().as_deref(), Some("a"), "strict: {strict}");
        profile("p-b");
        bench.put_group(group("b", &[("mac", "52-54-00-AA-BB-07")])).unwrap();
        assert_eq!(chosen().as_deref(), Some("b"), "strict: {strict}");
        // Another call is about to write, and an editor too.
        fs::write(bench.path("groups/.prebake-00000000-begun"), "{").unwrap();
        fs::write(bench.path("groups/sub.tmp"), "").unwrap();
        bench.store.group_delete(&GroupDeleteRequest { id: "b".into() }, &mut Vec::new()).unwrap();
        assert_eq!(chosen().as_deref(), Some("a"), "strict: {strict}");
    }
}

#[test]
fn what_no_machine_could_use_is_refused_with_its_place_or_stored_with_a_warning() {
    let refused = Bench::new(false);
    let stored = Bench::new(true);
    for (name, text, why) in [
        (
            "a.ign",
            r#"{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"a"}]}}"#,
            "ignition/a.ign:1:",
        ),
        ("a.ign", "{\"ignition\":\n{\"version\":\"3.4.0\"}", "unexpected end"),
        ("a.ign", r#"{"ignition":{"version":"2.3.0"}}"#, "ignition/a.ign:1:24: unsupported config version"),
        ("a.ign", "", "it is empty"),
        ("a.ignition", BUTANE, "it looks like Butane"),
        ("a.yaml", "variant: flatcar\nversion: 9.9.9\n", "ignition/a.yaml:"),
        ("a.yaml", CONFIG, "it looks like Ignition"),
        ("a.yaml", "variant: flatcar\n{{if .x}}\n", "ignition/a.yaml:3: unexpected EOF"),
        ("a.yaml", "a: [", "ignition/a.yaml:"),
    ] {
        let (code, told) = refused.put(name, text).unwrap_err();
        assert!(code == Code::InvalidArgument && told.contains(why), "{name}, {text}: {told}");
        assert!(!refused.path("ignition").exists(), "it is stored");
        let mut warnings = Vec::new();
        let request = IgnitionPutRequest { name: name.into(), config: text.into() };
        stored.store.ignition_put(&request, &mut warnings).unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains(why), "{warnings:?}");
        assert_eq!(stored.text(&format!("ignition/{name}")), text);
    }
    for (name, text) in [
        ("a.ign", CONFIG),
        ("b.ign", r#"{"ignition":{"version":"3.5.0"}}"#),
        ("a.yaml", BUTANE),
        ("b.yaml", "variant: flatcar\nversion: {{.version}}\n"),
    ] {
        assert_eq!(refused.put(name, text), Ok(()), "{name}, {text}");
    }
    let generic = |bench: &Bench, config: &str| {
        let request = GenericPutRequest { name: "t".into(), config: config.into() };
        bench.told(bench.store.generic_put(&request, &mut Vec::new()).map(drop))
    };
    let (code, told) = generic(&refused, "a\n{{.x\n").unwrap_err();
    assert!(
        code == Code::InvalidArgument && told.contains("generic/t:3: unclosed action started at :2"),
        "{told}"
    );
    assert_eq!(generic(&stored, "a\n{{.x\n"), Ok(()));
    for text in ["", "a: [", "{{.x}}"] {
        assert_eq!(generic(&refused, text), Ok(()), "{text}");
    }
    for (id, selector, why) in [
        ("bad", ("mac", "x"), "selector `mac`: `x` is not a MAC address"),
        ("bad", ("MAC", ""), "selector `MAC`: `` is not a MAC address"),
        ("a/b", ("os", "installed"), "has a slash"),
    ] {
        let (code, told) = refused.put_group(group(id, &[selector])).unwrap_err();
        assert!(code == Code::InvalidArgument && told.contains(why), "{told}");
        assert!(!refused.path("groups").exists(), "it is stored");
        let warnings = stored.put_group(group(id, &[selector])).unwrap();
        assert!(warnings.iter().any(|line| line.contains(why)), "{warnings:?}");
        assert!(stored.path(&names::group(id)).exists());
    }
    let doubtful = refused.put_group(group("u", &[("uuid", "4C4C4544-0042-3510-8052-B4C04F4E5731")]));
    assert!(
        matches!(&doubtful, Ok(lines) if lines.len() == 1 && lines[0].contains("lower case")),
        "{doubtful:?}"
    );
}

#[test]
fn a_record_that_could_not_be_read_again_is_refused() {
    let (refused, lenient) = (Bench::new(false), Bench::new(true));
    let nested = |levels: usize| {
        let metadata = format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        Group { metadata: metadata.into_bytes(), ..group("deep", &[]) }
    };
    let read = |bench: &Bench| {
        bench.told(bench.store.group_get(&GroupGetRequest { id: "deep".into() }, &mut Vec::new()).map(drop))
    };
    // A group's file has the metadata one level deeper, and 500 levels are read.
    assert_eq!(refused.put_group(nested(498)), Ok(vec![]));
    assert_eq!(read(&refused), Ok(()));
    let (code, told) = refused.put_group(nested(499)).unwrap_err();
    assert!(code == Code::InvalidArgument && told.contains("nested deeper than 500 levels"), "{told}");
    assert_eq!(read(&refused), Ok(()), "the old one is there");
    assert_eq!(lenient.put_group(nested(499)).unwrap().len(), 1);
    // Each byte takes six in a file.
    let large = "<".repeat(3 << 20);
    let (code, told) = refused.put_group(Group { name: large.clone(), ..group("large", &[]) }).unwrap_err();
    assert!(code == Code::InvalidArgument && told.contains("would be larger than 16.00 MiB"), "{told}");
    let profile = Profile { id: "large".into(), name: large, ..Profile::default() };
    let put = refused.store.profile_put(&ProfilePutRequest { profile: Some(profile) }, &mut Vec::new());
    assert_eq!(refused.told(put.map(drop)).unwrap_err().0, Code::InvalidArgument);
    assert!(!refused.path("profiles").exists());
}

#[test]
fn a_folder_that_is_a_link_out_of_the_directory_is_told_as_that() {
    let bench = Bench::new(false);
    let outside = bench.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, bench.path("generic")).unwrap();
    let error = Store::open(&bench.path(""), Manner::Usual).unwrap_err();
    assert!(matches!(&error, Error::Outside { path, .. } if path.ends_with("generic")), "{error:?}");
    assert!(error.hint().unwrap().contains("bind-mount"));
    // A link inside is none.
    fs::remove_file(bench.path("generic")).unwrap();
    fs::create_dir(bench.path("other")).unwrap();
    symlink("other", bench.path("generic")).unwrap();
    Store::open(&bench.path(""), Manner::Usual).unwrap();
}

#[test]
fn a_profile_with_a_config_alone_is_nothing_to_warn_of() {
    let bench = Bench::new(false);
    let mut warnings = Vec::new();
    // As Terraform's provider sends it for Typhoon's `os=installed`.
    let boot = Some(NetBoot::default());
    let profile = Profile { id: "installed".into(), ignition_id: "y.ign".into(), boot, ..Profile::default() };
    bench.store.profile_put(&ProfilePutRequest { profile: Some(profile) }, &mut warnings).unwrap();
    assert_eq!(warnings, [""; 0]);
    bench.put("y.ign", CONFIG).unwrap();
    let of_typhoon = Group { profile: "installed".into(), ..group("g", &[("os", "installed")]) };
    assert_eq!(bench.put_group(of_typhoon), Ok(vec![]));
    let settings = Settings { strict: true, ..Settings::default() };
    DataDir::open(&bench.path(""), settings, Arc::new(|_| {})).map(drop).unwrap();
}

#[test]
fn a_hint_names_the_cause_and_the_user_who_lacks_the_right() {
    let hint = |kind: std::io::ErrorKind| {
        Error::ReadOnly { path: "/srv/data".into(), source: kind.into() }.hint().unwrap()
    };
    let user = format!("the user {}", rustix::process::geteuid().as_raw());
    assert!(hint(ErrorKind::PermissionDenied).contains(&user));
    assert!(hint(ErrorKind::StorageFull).contains("df -i"));
    assert!(hint(ErrorKind::ReadOnlyFilesystem).contains("ReadWritePaths=/srv/data"));
}

/// The time in nanoseconds that a processor has run this thread (Documentation/scheduler/sched-stats.rst).
fn processor() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

/// Review of issue 21, 5: the second put took 86 s of a processor, since each folder was looked up anew from the root.
#[test]
fn a_deep_folder_is_looked_up_once_whether_it_is_there_or_not() {
    let bench = Bench::new(false);
    let deep = format!("{}f", "a/".repeat(1900));
    for text in [BUTANE.to_owned(), format!("{BUTANE}# another\n")] {
        let before = processor();
        assert_eq!(bench.put(&deep, &text), Ok(()));
        let spent = (processor() - before) / 1_000_000_000;
        assert!(spent < 20, "{spent} s of a processor");
        assert_eq!(bench.get(&deep), Ok(text));
    }
    assert_eq!(bench.delete(&deep), Ok(()));
    // Nothing is made for a path that is longer than any may be; Go makes the folders that it can.
    let (code, words) = bench.put(&format!("{}f", "b/".repeat(2100)), BUTANE).unwrap_err();
    assert_eq!(code, Code::Unknown);
    assert!(
        words.starts_with("mkdir data/ignition/b/b/") && words.ends_with("/b: file name too long"),
        "{words}"
    );
    let below = 4095 - bench.path("ignition/c").display().to_string().len();
    let (_, words) = bench.put(&format!("c/{}", "d".repeat(below)), BUTANE).unwrap_err();
    assert!(
        words.starts_with("open data/ignition/c/d") && words.ends_with(": file name too long"),
        "{words}"
    );
    assert!(!bench.path("ignition/b").exists() && !bench.path("ignition/c").exists(), "folders are left");
}

#[test]
fn what_is_in_the_way_of_a_folder_is_told_as_go_tells_it() {
    let bench = Bench::new(false);
    bench.put("file", BUTANE).unwrap();
    symlink("nowhere", bench.path("ignition/dangling")).unwrap();
    symlink("file", bench.path("ignition/link")).unwrap();
    fs::create_dir(bench.path("ignition/real")).unwrap();
    symlink("real", bench.path("ignition/folder")).unwrap();
    symlink(bench.path("ignition/real"), bench.path("ignition/absolute")).unwrap();
    for (name, why) in [
        ("file/x/y", "mkdir data/ignition/file: not a directory"),
        ("link/x", "mkdir data/ignition/link: not a directory"),
        ("dangling/x", "mkdir data/ignition/dangling: file exists"),
    ] {
        assert_eq!(bench.put(name, BUTANE), unknown(why), "{name}");
    }
    let long = "n".repeat(256);
    let (_, words) = bench.put(&format!("{long}/x"), BUTANE).unwrap_err();
    assert_eq!(words, format!("mkdir data/ignition/{long}: file name too long"));
    for name in ["folder/one/y", "absolute/two/y", "folder/y"] {
        assert_eq!(bench.put(name, BUTANE), Ok(()), "{name}");
    }
    assert!(bench.path("ignition/real/one/y").exists() && bench.path("ignition/real/two/y").exists());
}

#[test]
fn a_file_of_root_keeps_the_bits_that_a_write_in_place_keeps() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root's writes leave them");
        return;
    }
    let bench = Bench::new(false);
    bench.put("y", BUTANE).unwrap();
    fs::set_permissions(bench.path("ignition/y"), fs::Permissions::from_mode(0o6755)).unwrap();
    bench.put("y", &format!("{BUTANE}# another\n")).unwrap();
    assert_eq!(fs::metadata(bench.path("ignition/y")).unwrap().permissions().mode() & 0o7777, 0o6755);
}

#[test]
fn a_strict_server_refuses_what_would_hold_up_all_edits() {
    let strict = Bench::of(Manner::Strict);
    let refused = strict.put_group(group("g", &[("MAC", "52:54:00:aa:bb:07")])).unwrap_err();
    assert!(
        refused.1.starts_with("groups/g.json is not stored, since the server is --strict: "),
        "{refused:?}"
    );
    assert_eq!(strict.put_group(group("g", &[("mac", "52:54:00:aa:bb:07")])), Ok(vec![]));
    let usual = Bench::new(false).put_group(group("g", &[("MAC", "52:54:00:aa:bb:07")]));
    assert_eq!(usual.map(|warnings| warnings.len()), Ok(1));
}
