//! Bundles that somebody made to do harm, or that another prebake made.

use std::collections::BTreeMap;
use std::fs;

use prebake::base::canonical::canonical_json;
use prebake::format::tar::{Contents, END, Header, padding};
use prebake::tree::bundle::index::{Index, Member, SCHEMA};
use prebake::tree::names::CHECKSUMS;
use serde_json::{Value, json};

use super::{Desk, VARIED};

/// An archive of these files, whatever they are called.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, data) in files {
        let contents = Contents::Data(data.len() as u64);
        bytes.extend(Header { path, executable: false, contents, epoch: 1 }.to_bytes());
        bytes.extend(*data);
        bytes.resize(bytes.len() + padding(data.len() as u64) as usize, 0);
    }
    bytes.resize(bytes.len() + END as usize, 0);
    bytes
}

/// A bundle whose index names these files and no others.
fn bundle(files: &[(&str, &[u8])], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let members: BTreeMap<_, _> =
        files.iter().map(|(path, bytes)| ((*path).to_owned(), Member::of(bytes))).collect();
    let mut index = Index { schema: SCHEMA, name: "x".into(), sequence: 0, epoch: 1, expires: None, members };
    let sums = index.checksums();
    index.members.insert(CHECKSUMS.into(), Member::of(&sums));
    let mut files: BTreeMap<&str, &[u8]> = files.iter().copied().collect();
    files.insert(CHECKSUMS, &sums);
    let mut value = serde_json::to_value(&index).unwrap();
    change(&mut value);
    let index = canonical_json(&value);
    let files: Vec<_> = [("bundle.json", &index[..])].into_iter().chain(files).collect();
    archive(&files)
}

#[test]
fn each_kind_of_bad_bundle_is_refused_in_its_own_words() {
    let manifest: &[u8] = b"{}";
    let with = |path: &'static str| bundle(&[(path, b"evil"), ("trees/x/manifest.json", manifest)], |_| {});
    let sound = || bundle(&[("README", b"read")], |_| {});
    let edited = |edit: fn(&mut Vec<u8>)| {
        let mut bytes = sound();
        edit(&mut bytes);
        bytes
    };
    let twice = {
        let bytes = bundle(&[("README", b"read")], |_| {});
        let row = b"    \"README\": {\n";
        let at = bytes.windows(row.len()).position(|window| window == row).unwrap();
        let end = bytes[512..].iter().position(|byte| *byte == 0).unwrap() + 512;
        let copy = format!("    \"README\": {{\"sha256\": \"{}\", \"size\": 1}},\n", "a".repeat(64));
        let index = [&bytes[512..at], copy.as_bytes(), &bytes[at..end]].concat();
        archive(&[("bundle.json", &index)])
    };
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        (
            "traversal",
            with("trees/x/../../../etc/passwd"),
            &["`trees/x/../../../etc/passwd`", "not a path inside"],
        ),
        ("absolute", with("/etc/passwd"), &["`/etc/passwd`", "not a path inside"]),
        ("private", with("trees/x/private/ignition/n1.ign"), &["private/ignition/n1.ign", "hold no secrets"]),
        ("elsewhere", with("etc/passwd"), &["`etc/passwd`", "has no place in a bundle"]),
        ("line feed", with("trees/x/a\nb"), &["control character"]),
        ("twice", twice, &["each entry once, in order"]),
        ("schema", bundle(&[], |index| index["schema"] = json!(2)), &["schema 2", "this prebake reads 1"]),
        ("unknown field", bundle(&[], |index| index["also"] = json!(1)), &["unknown key `also`"]),
        (
            "bomb",
            bundle(&[("keys/bomb", b"")], |index| {
                index["members"]["keys/bomb"]["size"] = json!(1u64 << 62);
            }),
            &[" in its index: it was ", "cut off"],
        ),
        (
            "endless bomb",
            bundle(&[("keys/bomb", b"")], |index| {
                index["members"]["keys/bomb"]["size"] = json!(u64::MAX);
            }),
            &["exceed the largest possible file"],
        ),
        (
            "large index",
            {
                let contents = Contents::Data(1 << 40);
                Header { path: "bundle.json", executable: false, contents, epoch: 1 }.to_bytes()
            },
            &["is not a bundle"],
        ),
        (
            "large signature",
            archive(&[("signatures/A.minisig", &[b'a'; 20_000]), ("bundle.json", b"{}")]),
            &["20000 bytes", "are allowed"],
        ),
        ("cut off", edited(|bytes| bytes.truncate(bytes.len() - 600)), &["it was cut off"]),
        ("cut off early", edited(|bytes| bytes.truncate(700)), &["it ends after 700 bytes"]),
        ("longer", edited(|bytes| bytes.extend(b"\n#!/bin/sh")), &["something was appended"]),
        (
            "another archive",
            archive(&[("README", b"read")]),
            &["is not a bundle", "`README` comes before bundle.json"],
        ),
        ("no archive", b"hello".to_vec(), &["is not a bundle"]),
        (
            "unsorted",
            archive(&[("signatures/b", b""), ("signatures/a", b""), ("bundle.json", b"{}")]),
            &["or beyond the 256 files that a bundle may have before its index"],
        ),
        (
            "stray",
            archive(&[("signatures/a", b"?"), ("bundle.json", b"{}")]),
            &["signatures/a", "no signature uses it"],
        ),
    ];
    let desk = Desk::new();
    for (flaw, bytes, words) in cases {
        fs::write(desk.path("x.bundle"), bytes).unwrap();
        for verb in ["verify", "import"] {
            let run = desk.prebake(&["bundle", verb, "x.bundle", "--allow-unsigned"]);
            assert_eq!(run.code, Some(4), "{flaw}: {}", run.stderr);
            words.iter().for_each(|word| assert!(run.stderr.contains(word), "{flaw}: {}", run.stderr));
            assert!(run.stderr.contains("hint:"), "{flaw}: {}", run.stderr);
        }
        assert!(!desk.path("output").exists(), "{flaw}");
    }
}

/// Members whose headers say something else than the index: `tar` would unpack what prebake does not see.
#[test]
fn an_archive_that_is_not_as_its_index_says_is_refused_though_no_byte_of_data_is_wrong() {
    let desk = Desk::new();
    desk.tree("tree", "small", VARIED);
    desk.prebake(&["bundle", "create", "tree", "-o", "x.bundle", "--unsigned"]).ok();
    let sound = fs::read(desk.path("x.bundle")).unwrap();
    let path = b"trees/small/assets/block\0";
    let at = sound.windows(path.len()).rposition(|window| window == path).unwrap();
    let with = |edit: fn(&mut tar::Header)| {
        let mut bytes = sound.clone();
        let header: &mut [u8; 512] = (&mut bytes[at..at + 512]).try_into().unwrap();
        let mut changed = tar::Header::from_byte_slice(header).clone();
        edit(&mut changed);
        changed.set_cksum();
        *header = *changed.as_bytes();
        bytes
    };
    let cases = [
        (with(|header| header.set_entry_type(tar::EntryType::Symlink)), "a symbolic link"),
        (with(|header| header.set_entry_type(tar::EntryType::Link)), "in its place"),
        (with(|header| header.set_entry_type(tar::EntryType::Char)), "a device"),
        (with(|header| header.as_mut_bytes()[..4].copy_from_slice(b"/etc")), "`/etc"),
        (with(|header| header.set_mode(0o4755)), "its header does not match the index"),
        (with(|header| header.set_size(511)), "its header does not match the index"),
    ];
    for (bytes, words) in cases {
        assert_ne!(bytes, sound);
        fs::write(desk.path("y.bundle"), bytes).unwrap();
        let import = desk.import("y.bundle", &["--allow-unsigned"]);
        import.fails(4, &["trees/small/assets/block", words]);
        assert!(!desk.path("output").exists(), "{words}");
        let verify = desk.prebake(&["bundle", "verify", "y.bundle", "--allow-unsigned"]);
        assert_eq!(verify.code, Some(4), "{}", verify.stderr);
        assert!(verify.stdout.contains(words), "{}", verify.stdout);
    }
}

#[test]
fn a_tree_that_is_not_what_its_manifest_says_is_refused() {
    let desk = Desk::new();
    desk.tree("tree", "x", &[("a", b"1"), ("b", b"2")]);
    let manifest = fs::read(desk.path("tree/manifest.json")).unwrap();
    let tree = |files: &[(&str, &[u8])]| {
        let files: Vec<(String, &[u8])> =
            files.iter().map(|(path, bytes)| (format!("trees/x/{path}"), *bytes)).collect();
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (&**path, *bytes)).collect();
        bundle(&files, |_| {})
    };
    let whole = [("a", &b"1"[..]), ("b", b"2"), ("manifest.json", &manifest)];
    let of_another_name =
        bundle(&[("trees/y/a", b"1"), ("trees/y/b", b"2"), ("trees/y/manifest.json", &manifest)], |_| {});
    for (bytes, words) in [
        (tree(&whole[..1]), "without a manifest.json"),
        (tree(&[whole[0], whole[2]]), "`b` is missing or differs"),
        (tree(&[whole[0], ("b", b"3"), whole[2]]), "`b` is missing or differs"),
        (tree(&[whole[0], whole[1], whole[2], ("c", b"3")]), "`c` is in no manifest"),
        (of_another_name, "its manifest calls it `x`"),
    ] {
        fs::write(desk.path("x.bundle"), bytes).unwrap();
        desk.import("x.bundle", &["--allow-unsigned"]).fails(4, &[words]);
        assert!(!desk.path("output/x/current").exists(), "{words}");
    }
    fs::write(desk.path("x.bundle"), tree(&whole)).unwrap();
    desk.import("x.bundle", &["--allow-unsigned"]).ok();
}
