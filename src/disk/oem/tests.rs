//! Contents of OEM, changed and changed back.

use std::path::Path;

use serde_json::json;

use super::grub::{with_arguments, without_autologin};
use super::*;
use crate::disk::platform::Platform;

type Files<'f> = &'f [(&'f str, &'f str)];

/// An OEM whose kept files are known by their content.
fn oem(length: u64, files: Files<'_>) -> Oem<String> {
    let mut entries = BTreeMap::new();
    for (path, text) in files {
        for (at, _) in path.match_indices('/') {
            entries.insert(path[..at].to_owned(), (0o755, Node::Dir));
        }
        entries
            .insert((*path).to_owned(), (0o600, Node::File(text.len() as u64, Source::Kept((*text).into()))));
    }
    let entries = entries.into_iter().map(|(path, (mode, node))| (path, mode, node));
    Oem::new("x.bin", length, entries, &mut |text: &String| Ok(text.clone().into_bytes())).unwrap()
}

fn add(path: &str, size: u64) -> Add {
    Add { path: path.into(), mode: 0o644, from: "/there".into(), size, sha256: Sha256::of(path.as_bytes()) }
}

const QEMU: Files<'static> = &[
    ("grub.cfg", "set oem_id=\"qemu\"\nset linux_append=\"flatcar.autologin\""),
    ("oem-release", "ID=qemu\n"),
    ("sysext/active-oem-qemu", ""),
    ("sysext/oem-qemu-4593.2.5.raw", "image"),
];

fn full() -> Injection {
    Injection {
        config: Some(b"{}".to_vec()),
        files: vec![
            Add::sysext("kubernetes", Path::new("/k"), 63 << 20, Sha256::of(b"k")),
            add("images/a.tar", 5),
            add("a/b/c", 1),
        ],
        arguments: vec!["ip=dhcp".into(), "x=$y;z".into()],
        drops_autologin: true,
        ..Injection::default()
    }
}

#[test]
fn what_was_injected_is_replaced_and_taken_out_again() {
    for files in [&[] as Files<'_>, QEMU, &[("config.ign", "{ }"), ("grub.cfg", "set a=1\n")]] {
        let stock = oem(1 << 30, files);
        let (once, _) = stock.inject(&full()).unwrap();
        assert!(once.is_injected());
        let (twice, findings) = once.inject(&full()).unwrap();
        assert_eq!((&twice, findings), (&once, vec![]));
        let less = Injection { arguments: vec!["quiet".into()], ..Injection::default() };
        let (other, _) = once.inject(&less).unwrap();
        assert_eq!(other.injected().unwrap(), ["grub.cfg"]);
        for injected in [once, other] {
            let (back, findings) = injected.remove().unwrap();
            assert_eq!((back, findings), (stock.clone(), vec![]));
        }
    }
}

#[test]
fn arguments_follow_those_of_the_platform() {
    let (new, _) = oem(1 << 30, QEMU).inject(&full()).unwrap();
    assert_eq!(
        new.text(GRUB).unwrap(),
        "set oem_id=\"qemu\"\nset linux_append=\"\"\n# prebake begin: `prebake disk remove` takes these 3 lines out\n\
         set linux_append=\"$linux_append \"'ip=dhcp x=$y;z'\n# prebake end\n"
    );
    assert!(oem(1 << 30, QEMU).has_autologin() && !new.has_autologin());
    assert_eq!(new.platform().as_deref(), Some("qemu"));
    assert_eq!(new.extension_version(), Some("4593.2.5"));
    for bad in ["a b", "a=\"b\"", "", "a\\b", "a\n"] {
        assert!(with_arguments("", &[bad.to_owned()]).is_err(), "{bad:?}");
    }
    assert_eq!(
        without_autologin("  set linux_append='a flatcar.autologin=ttyS0 b'\nset linux_append=\"a\"\n"),
        "  set linux_append='a b'\nset linux_append=\"a\"\n"
    );
}

#[test]
fn edits_of_others_stay_and_are_told() {
    let (mut new, _) = oem(1 << 30, QEMU).inject(&full()).unwrap();
    let edited = format!("{}set gfxpayload=keep\n", new.text(GRUB).unwrap());
    new.entries.insert(GRUB.into(), Entry::text(0o644, edited.into_bytes()));
    new.entries.insert("a/b/other".into(), Entry::text(0o644, vec![]));
    let (back, findings) = new.remove().unwrap();
    assert_eq!(back.text(GRUB).unwrap(), "set oem_id=\"qemu\"\nset linux_append=\"\"\nset gfxpayload=keep\n");
    assert_eq!(
        findings,
        [
            "grub.cfg was changed after the injection; only prebake's lines were taken out",
            "a/b stays, because there are other files in it now",
            "a stays, because there are other files in it now"
        ]
    );
    assert!(back.entries.contains_key("a/b/other") && !back.entries.contains_key("a/b/c"));
}

/// The entries of an OEM, on their way to be changed.
type Nodes = BTreeMap<String, (u16, Node<String>)>;

/// An injected OEM as a reader finds it once others have changed it. The bytes of a file that [`add`] puts there are its
/// own path.
fn reopened(injected: &Oem<String>, change: impl Fn(&mut Nodes)) -> Oem<String> {
    let mut nodes: Nodes = BTreeMap::new();
    for (path, Entry { mode, node }) in injected.iter() {
        let kept = |text: String| Node::File(text.len() as u64, Source::Kept(text));
        let node = match node {
            Node::File(_, Source::OnDisk(..)) => kept(path.to_owned()),
            Node::File(_, Source::Bytes(bytes)) => kept(String::from_utf8(bytes.clone()).unwrap()),
            node => node.clone(),
        };
        nodes.insert(path.to_owned(), (*mode, node));
    }
    change(&mut nodes);
    let entries = nodes.into_iter().map(|(path, (mode, node))| (path, mode, node));
    let mut oem =
        Oem::new("x.bin", 1 << 30, entries, &mut |text: &String| Ok(text.clone().into_bytes())).unwrap();
    oem.learn(&mut |text| Ok(Sha256::of(text.as_bytes()))).unwrap();
    oem
}

fn put(nodes: &mut Nodes, path: &str, text: &str) {
    nodes.insert(path.into(), (0o644, Node::File(text.len() as u64, Source::Kept(text.into()))));
}

#[test]
fn added_files_that_others_changed_stay_and_are_told() {
    let stock = oem(1 << 30, QEMU);
    let injection = Injection { files: vec![add("opt/x", 5), add("y", 1)], ..Injection::default() };
    let injected = stock.inject(&injection).unwrap().0;
    assert_eq!(reopened(&injected, |_| ()).remove().unwrap(), (stock.clone(), vec![]));
    let stays = "opt/x is not what the injection put there, and stays";
    let used = "opt stays, because there are other files in it now";
    type Change = fn(&mut Nodes);
    let cases: [(Change, &str, &str); 4] = [
        (|nodes| put(nodes, "opt/x", "other"), "opt/x", stays),
        (|nodes| put(nodes, "opt/x", ""), "opt/x", stays),
        (|nodes| drop(nodes.insert("opt/x".into(), (0o777, Node::Link("y".into())))), "opt/x", stays),
        (
            |nodes| {
                nodes.insert("opt/x".into(), (0o755, Node::Dir));
                put(nodes, "opt/x/deep", "of a person");
            },
            "opt/x/deep",
            "opt/x is a directory now, and stays",
        ),
    ];
    for (change, path, told) in cases {
        let edited = reopened(&injected, change);
        let (back, findings) = edited.remove().unwrap();
        assert_eq!(back.entries.get(path), edited.entries.get(path));
        assert_eq!(findings, [told, used]);
        assert!(!back.entries.contains_key("y") && !back.is_injected());
        let other = Injection { files: vec![add("z", 1)], ..Injection::default() };
        let (next, findings) = edited.inject(&other).unwrap();
        assert_eq!(
            (next.entries.get(path), findings),
            (edited.entries.get(path), vec![told.into(), used.into()])
        );
    }
    // One that is asked for again is written again, and told.
    let edited = reopened(&injected, |nodes| put(nodes, "opt/x", "other"));
    let (next, findings) = edited.inject(&injection).unwrap();
    assert_eq!(
        (next, findings),
        (injected.clone(), vec!["opt/x was changed after the injection, and is written anew".into()])
    );
    // Files in a directory are nobody's to write over.
    let edited = reopened(&injected, |nodes| {
        nodes.insert("opt/x".into(), (0o755, Node::Dir));
        put(nodes, "opt/x/deep", "");
    });
    assert!(matches!(edited.inject(&injection), Err(Error::Taken { .. })));
    // A file whose digest nobody has read is held for another's.
    let mut unread = reopened(&injected, |_| ());
    unread.digests.clear();
    assert_eq!(unread.remove().unwrap().1.len(), 3);
}

#[test]
fn a_strangers_record_takes_none_of_a_platforms_files() {
    let extension = "sysext/oem-qemu-4593.2.5.raw";
    let of_digest = format!("{{\"size\":5,\"sha256\":\"{}\"}}", Sha256::of(b"other"));
    for (form, added) in [
        (1, format!("[\"{extension}\",\"sysext/active-oem-qemu\"]")),
        (2, format!("{{\"{extension}\":{of_digest},\"sysext/active-oem-qemu\":{of_digest}}}")),
    ] {
        let record =
            format!("{{\"prebake\":{form},\"added\":{added},\"directories\":[\"sysext\"],\"texts\":{{}}}}");
        let found = reopened(&oem(1 << 30, &[QEMU, &[(RECORD, record.as_str())]].concat()), |_| ());
        let (back, findings) = found.remove().unwrap();
        assert_eq!(back, oem(1 << 30, QEMU), "{form}");
        assert_eq!(findings.len(), 3, "{findings:?}");
        let same = Injection { files: vec![add(extension, 9)], ..Injection::default() };
        assert!(matches!(found.inject(&same), Err(Error::Taken { .. })));
    }
    // Texts are none of the added files, and a file of form 2 has a digest.
    for (added, why) in [
        ("[\"oem-release\"]", "it names `oem-release`"),
        ("{\"grub.cfg\":{\"size\":5,\"sha256\":\"00\"}}", "a digest of 64 hex digits"),
        ("{\"x\":null}", "a file in it has no digest"),
    ] {
        let form = if added.starts_with('[') { 1 } else { 2 };
        let record = format!("{{\"prebake\":{form},\"added\":{added},\"directories\":[],\"texts\":{{}}}}");
        let told =
            oem(1 << 30, &[QEMU, &[(RECORD, record.as_str())]].concat()).remove().map(drop).unwrap_err();
        assert!(told.to_string().contains(why), "{told}");
    }
    // Of form 1 the names of other files count, and those of a platform that it made.
    let record = "{\"prebake\":1,\"added\":[\"x\"],\"directories\":[],\"texts\":{}}";
    let found = oem(1 << 30, &[("x", "anything"), (RECORD, record)]);
    assert_eq!(found.remove().unwrap(), (oem(1 << 30, &[]), vec![]));
}

#[test]
fn a_platform_that_an_injection_made_is_not_lost_by_the_next_one() {
    let ready = Ready {
        platform: Platform::of("proxmoxve").unwrap(),
        version: "4593.2.5".into(),
        extension: Some(("/oem.raw".into(), 5000, Sha256::of(b"oem"))),
        release: Platform::of("proxmoxve").unwrap().oem_release("1").unwrap(),
    };
    let made = Injection { ready: Some(ready), ..Injection::default() };
    let (image, _) = oem(1 << 30, &[]).inject(&made).unwrap();
    let files = vec![add("x", 1)];
    let error =
        image.inject(&Injection { files: files.clone(), ..Injection::default() }).map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "x.bin became an image for proxmoxve by its earlier injection, which this one replaces"
    );
    let again = Injection { files, ..made };
    assert_eq!(image.inject(&again).unwrap().0.platform().as_deref(), Some("proxmoxve"));
}

#[test]
fn kept_files_take_what_is_written_of_them() {
    let mut stock = oem(128 << 20, QEMU);
    let sparse = || Entry { mode: 0o644, node: Node::File(u64::MAX, Source::Kept(String::new())) };
    stock.entries.insert("sparse".into(), sparse());
    let injection = Injection { files: vec![add("b", 9)], ..Injection::default() };
    assert!(matches!(stock.inject(&injection), Err(Error::Room { .. })));
    stock.count(BTreeMap::from([("sparse".to_owned(), Kept { bytes: 4096, packed: (0, 0) })]));
    assert!(stock.room().there < 6 << 20, "{:?}", stock.room());
    assert!(stock.inject(&injection).is_ok() && stock.unpacked().is_none());
    // Compressed files are unpacked, and that is told.
    stock.count(BTreeMap::from([(
        "sparse".to_owned(),
        Kept { bytes: 200 << 20, packed: (200 << 20, 3 << 20) },
    )]));
    let text = stock.inject(&injection).map(drop).unwrap_err().to_string();
    assert!(
        text.contains("(209715200 of them were compressed in 3145728, and are written unpacked)"),
        "{text}"
    );
    assert!(
        stock
            .unpacked()
            .unwrap()
            .starts_with("200.00 MiB of files on OEM are stored compressed, in 3.00 MiB;")
    );
}

#[test]
fn a_generic_image_becomes_a_platforms() {
    let platform = Platform::of("proxmoxve").unwrap();
    let ready = |id: &str| Ready {
        platform: Platform::of(id).unwrap(),
        version: "4593.2.5".into(),
        extension: Some(("/oem.raw".into(), 5000, Sha256::of(b"oem"))),
        release: platform.oem_release("1").unwrap(),
    };
    let made = |id: &str| Injection { ready: Some(ready(id)), drops_autologin: true, ..Injection::default() };
    let (new, _) = oem(1 << 30, &[]).inject(&made("proxmoxve")).unwrap();
    let paths: Vec<_> = new.iter().map(|(path, _)| path).collect();
    assert_eq!(
        paths,
        [
            "grub.cfg",
            "oem-release",
            "prebake.json",
            "sysext",
            "sysext/active-oem-proxmoxve",
            "sysext/oem-proxmoxve-4593.2.5.raw"
        ]
    );
    assert_eq!(new.oem_id().as_deref(), Some("proxmoxve"));
    assert!(!new.has_autologin());
    assert_eq!(new.remove().unwrap().0, oem(1 << 30, &[]));
    let told = |id: &str, files: Files<'_>| {
        oem(1 << 30, files).inject(&made(id)).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(told("ami", QEMU), "x.bin is an image for qemu, and cannot become one for ami");
    assert!(told("exoscale", &[]).contains("no update server has an oem-exoscale.gz"));
    // One of that platform already stays as it is.
    let keep = Injection { ready: Some(ready("qemu")), ..Injection::default() };
    let (same, _) = oem(1 << 30, QEMU).inject(&keep).unwrap();
    assert_eq!(same.injected().unwrap(), Vec::<String>::new());
}

#[test]
fn what_does_not_fit_is_told_in_numbers() {
    let mut stock = oem(128 << 20, QEMU);
    let extension = Entry { mode: 0o644, node: Node::File(20 << 20, Source::Kept(String::new())) };
    stock.entries.insert("sysext/oem-qemu-4593.2.5.raw".into(), extension);
    let room = stock.room();
    assert!(room.free > 60 << 20 && room.free < 64 << 20, "{room:?}");
    assert_eq!(room.to_string(), "25.17 MiB used, 62.75 MiB free, 40.08 MiB kept for updates");
    let injection =
        Injection { files: vec![add("images/a.tar", 80 << 20), add("b", 9)], ..Injection::default() };
    let error = stock.inject(&injection).unwrap_err();
    let Error::Room { there, asked, reserve, missing, .. } = error else { panic!("{error}") };
    assert_eq!(there + asked + reserve - missing, 128 << 20);
    let text = error.to_string();
    assert!(text.starts_with("x.bin: OEM (134217728 bytes, 128.00 MiB) has no room: "), "{text}");
    assert!(text.contains("asked (images/a.tar 83886080, prebake.json "), "{text}");
    assert!(
        text.contains("must stay free for the platform's extension of the next two releases; "),
        "{text}"
    );
    let fits = Injection { files: vec![add("a", 60 << 20)], ..Injection::default() };
    assert!(stock.inject(&fits).is_ok());
}

#[test]
fn names_that_are_taken_or_lead_elsewhere_are_refused() {
    let told = |path: &str| {
        let injection = Injection { files: vec![add(path, 1)], ..Injection::default() };
        oem(1 << 30, QEMU).inject(&injection).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(
        told("sysext/oem-qemu-4593.2.5.raw"),
        "x.bin: OEM has a `sysext/oem-qemu-4593.2.5.raw` that prebake did not put there"
    );
    assert_eq!(told("grub.cfg/x"), "x.bin: OEM has a `grub.cfg` that prebake did not put there");
    for path in ["../x", "/x", "a//b", "a\n", "prebake.json", "config.ign", "sysext/active-oem-qemu"] {
        assert!(told(path).contains("is not a path on OEM"), "{path}: {}", told(path));
    }
    assert!(told("sysext/active-oem-mine").contains("no update server has an oem-mine.gz"));
}

#[test]
fn a_strange_record_is_no_reason_to_take_files_away() {
    let told = |record: &str| oem(1 << 30, &[(RECORD, record)]).remove().map(|_| ()).unwrap_err().to_string();
    assert!(told("{").contains("prebake.json on OEM, the record of the injection, cannot be used: "));
    assert!(told("{\"prebake\": 3}").contains("it is of version 3"));
    assert!(told("{}").contains("it has no version"));
    assert!(
        told("{\"prebake\":1,\"added\":[\"../x\"],\"directories\":[],\"texts\":{}}")
            .contains("it names `../x`")
    );
    assert!(
        told(
            "{\"prebake\":1,\"added\":[],\"directories\":[],\"texts\":{\"a/b\":{\"sha256\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"stock\":null}}}"
        )
        .contains("it names `a/b`")
    );
    assert!(matches!(oem(1 << 30, QEMU).remove(), Err(Error::NotInjected { .. })));
    // Nor what is in a directory where it had a text.
    let record = "{\"prebake\":1,\"added\":[],\"directories\":[],\"texts\":{\"config.ign\":{\"sha256\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"stock\":null}}}";
    let (back, findings) = oem(1 << 30, &[("config.ign/x", ""), (RECORD, record)]).remove().unwrap();
    assert_eq!(back, oem(1 << 30, &[("config.ign/x", "")]));
    assert_eq!(findings, ["config.ign is a directory now, and stays"]);
    // A directory that it calls an added file keeps what is in it.
    let record = "{\"prebake\":1,\"added\":[\"sysext\"],\"directories\":[\"sysext\"],\"texts\":{}}";
    let (back, findings) = oem(1 << 30, &[QEMU, &[(RECORD, record)]].concat()).remove().unwrap();
    assert_eq!(back, oem(1 << 30, QEMU));
    assert_eq!(findings, ["sysext stays, because there are other files in it now"]);
}

#[test]
fn a_stock_text_comes_back_with_its_mode_and_one_that_is_not_text_is_not_written_over() {
    let mut stock = oem(1 << 30, QEMU);
    stock.entries.get_mut(GRUB).unwrap().mode = 0o4750;
    let (new, _) = stock.inject(&full()).unwrap();
    assert_eq!(new.remove().unwrap().0, stock);
    stock.entries.insert(GRUB.into(), Entry::text(0o644, b"# gr\xfc\xdfe\nset oem_id=qemu\n".to_vec()));
    let told = stock.inject(&full()).unwrap_err().to_string();
    assert_eq!(told, "x.bin: `grub.cfg` on OEM cannot be changed: it is no UTF-8 text");
    // It is read nevertheless, as GRUB does.
    assert_eq!(stock.oem_id().as_deref(), Some("qemu"));
    let logs_in = b"# \xfc\nset oem_id=ec2\nset linux_append=\"flatcar.autologin\"\n";
    let mut strange = oem(1 << 30, &[]);
    strange.entries.insert(GRUB.into(), Entry::text(0o644, logs_in.to_vec()));
    assert!(strange.has_autologin() && strange.platform().as_deref() == Some("ec2"));
    assert!(strange.grub().is_some_and(|text| text.contains("set oem_id=ec2")));
    // Its other bytes stay when somebody's edit stays.
    let mut edited = oem(1 << 30, QEMU).inject(&full()).unwrap().0;
    edited
        .entries
        .insert(GRUB.into(), Entry::text(0o644, b"# \xfc\n# prebake begin\nx\n# prebake end\n".to_vec()));
    assert_eq!(edited.remove().unwrap().0.entries[GRUB].bytes(), Some(&b"# \xfc\n"[..]));
    let config = Injection { config: Some(vec![]), ..Injection::default() };
    assert_eq!(stock.inject(&config).unwrap().0.remove().unwrap().0, stock);
}

#[test]
fn a_record_that_could_not_be_read_again_is_not_written() {
    let name = |number: u32| format!("{}{number}", ["n".repeat(250), "n".repeat(250)].join("/"));
    let files = (0..20_000).map(|number| add(&name(number), 0)).collect();
    let injection = Injection { files, ..Injection::default() };
    let told = oem(1 << 30, &[]).inject(&injection).unwrap_err().to_string();
    assert!(
        told.ends_with("it would have more than 8388608 bytes, because there are too many files"),
        "{told}"
    );
}

#[test]
fn links_lead_to_oem() {
    for (on_root, target) in [(false, "/oem/sysext/kubernetes.raw"), (true, "/opt/extensions/kubernetes.raw")]
    {
        let json = links(&["kubernetes".into()], on_root);
        assert_eq!(
            json["storage"]["links"][0],
            json!({"path": "/etc/extensions/kubernetes.raw", "target": target})
        );
    }
}

#[test]
fn files_on_root_are_noted_on_oem_and_no_stranger_names_others() {
    let sysext = Add::sysext("k", Path::new("/k"), 5, Sha256::of(b"k")).on_root().unwrap();
    let image = Add::image("a.tar", Path::new("/a"), 6, Sha256::of(b"a")).on_root().unwrap();
    assert_eq!(add("notes", 1).on_root(), None);
    let injection = Injection { root: vec![sysext.clone(), image], ..Injection::default() };
    let (new, _) = oem(128 << 20, QEMU).inject(&injection).unwrap();
    let noted: Vec<_> = new.on_root().unwrap().into_iter().collect();
    assert_eq!(noted, [("opt/extensions/k.raw".to_owned(), 5), ("opt/images/a.tar".to_owned(), 6)]);
    assert_eq!(new.injected().unwrap(), Vec::<String>::new());
    assert_eq!(new.remove().unwrap().0, oem(128 << 20, QEMU));
    let twice = Injection { root: vec![sysext.clone(), sysext], ..Injection::default() };
    let error = oem(1 << 30, QEMU).inject(&twice).map(drop).unwrap_err();
    assert!(error.to_string().contains("two files"), "{error}");
    for path in ["etc/shadow", "opt/extensions/../x", "opt/extensions/a b", "/opt/images/a", "opt/images"] {
        let root = vec![Add { path: path.into(), ..add("x", 1) }];
        let injection = Injection { root, ..Injection::default() };
        assert!(oem(1 << 30, QEMU).inject(&injection).is_err(), "{path}");
        let record = format!(
            "{{\"prebake\":1,\"added\":[],\"directories\":[],\"texts\":{{}},\"root\":{{\"{path}\":1}}}}"
        );
        let error = oem(1 << 30, &[(RECORD, &record)]).remove().map(drop).unwrap_err();
        assert!(error.to_string().contains("on ROOT"), "{path}: {error}");
    }
}
