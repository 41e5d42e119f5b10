//! Any changed byte of a bundle, wherever it is, is found and named.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use prebake::tree::bundle::{Bundle, Demand};
use prebake::trust::signers::Trust;

use super::{Desk, VARIED};
use crate::house::damage::harmless;
use crate::judges::properties;

/// What lies in a bundle, by the `tar` crate: each member with the range of its header, data and padding.
fn regions(path: &std::path::Path) -> Vec<(String, Range<u64>)> {
    let file = fs::File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut archive = tar::Archive::new(file);
    let mut starts: Vec<(String, u64)> = Vec::new();
    let mut next = 0;
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        starts.push((name, next));
        // Pax records lie between the end of one member and the header of the next.
        next = (entry.raw_file_position() + entry.size()).next_multiple_of(512);
    }
    starts.push(("after the last member".into(), next));
    let ends: Vec<u64> = starts.iter().skip(1).map(|(_, start)| *start).chain([length]).collect();
    starts.into_iter().zip(ends).map(|((name, start), end)| (name, start..end)).collect()
}

/// What is said of a bundle by who trusts its key: nothing if it is sound.
fn complaint(path: &std::path::Path, demand: &Demand) -> Option<String> {
    let bundle = match Bundle::open(path, demand) {
        Ok(bundle) => bundle,
        Err(error) => return Some(error.to_string()),
    };
    let flaws = bundle.verify().unwrap().flaws;
    assert!(flaws.len() < 2, "one byte, {flaws:?}");
    flaws.first().map(ToString::to_string)
}

#[test]
fn every_changed_byte_is_found_and_its_member_is_named() {
    let desk = Desk::new();
    let (site, second) = (desk.key("site"), desk.key("second"));
    desk.tree("tree", "small", VARIED);
    let rotation = prebake::trust::rotation::Rotation::sign(&second, &site.public()).unwrap();
    fs::write(desk.path("r.rotation.json"), rotation.statement()).unwrap();
    fs::write(desk.path("r.rotation.json.minisig"), rotation.signature().to_bytes()).unwrap();
    let more = ["--sign-key", "second.key", "--rotation", "r.rotation.json", "--expires", "2100-01-01"];
    desk.create("tree", "x.bundle", &more).ok();
    let path = desk.path("x.bundle");
    let demand = Demand {
        trust: Some(Trust::new([site.public()], 1).unwrap()),
        allow_unsigned: false,
        now: SystemTime::UNIX_EPOCH,
        ..Demand::anything()
    };
    assert_eq!(complaint(&path, &demand), None);
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let mut positions = 0;
    for (member, range) in regions(&path) {
        // Each byte where something begins or ends, and a sample of the rest that shares no factor with blocks.
        let near = |position: &u64| {
            position - range.start < 20 || range.end - position < 20 || position.is_multiple_of(7)
        };
        for position in range.clone().filter(near) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, position).unwrap();
            let changed = [byte[0] ^ (1 << (position % 8))];
            file.write_all_at(&changed, position).unwrap();
            let said = complaint(&path, &demand);
            file.write_all_at(&byte, position).unwrap();
            let said = said.unwrap_or_else(|| panic!("byte {position} of {member} may be anything"));
            // Who cannot read a header cannot say whose it is, but where it is. A signature and what it is over belong together.
            let stem = match member.strip_prefix("signatures/") {
                Some(name) => &member[..member.len() - name.len() + name.find('.').unwrap()],
                None => &member,
            };
            let named = said.contains(stem) || said.contains(&format!("at byte {}", range.start));
            assert!(named, "byte {position} of {member}: {said}");
            positions += 1;
        }
    }
    assert!(positions > 2000, "{positions}");
    assert_eq!(complaint(&path, &demand), None);
}

#[test]
fn all_damage_is_named_at_once_and_an_import_takes_nothing_of_it() {
    let desk = Desk::new();
    desk.key("site");
    desk.tree("tree", "small", VARIED);
    desk.create("tree", "x.bundle", &[]).ok();
    let bundle = Bundle::open(&desk.path("x.bundle"), &Demand::anything()).unwrap();
    let file = fs::File::options().write(true).open(desk.path("x.bundle")).unwrap();
    for member in ["trees/small/assets/block", "trees/small/assets/one.raw"] {
        file.write_all_at(b"!", bundle.extent(member).unwrap().start + 100).unwrap();
    }
    let run = desk.prebake(&["bundle", "verify", "x.bundle", "--trust", "site.pub"]);
    run.fails(4, &["x.bundle has 2 damaged places"]);
    assert!(run.stdout.contains("damaged trees/small/assets/block"), "{}", run.stdout);
    assert!(run.stdout.contains("damaged trees/small/assets/one.raw"), "{}", run.stdout);
    let import = desk.import("x.bundle", &["--trust", "site.pub"]);
    import.fails(4, &["x.bundle is damaged: trees/small/assets/block"]);
    assert!(!desk.path("output/small/current").exists());
    // Nobody learns anything of a bundle that was not imported.
    assert!(!desk.path("store/bundles/small.json").exists());
}

#[test]
fn damaged_bundles_do_no_harm() {
    let desk = Desk::new();
    desk.key("site");
    desk.tree("tree", "small", VARIED);
    desk.create("tree", "x.bundle", &[]).ok();
    let sound = fs::read(desk.path("x.bundle")).unwrap();
    let index =
        regions(&desk.path("x.bundle")).into_iter().find(|(name, _)| name == "bundle.json").unwrap().1;
    let index = index.start as usize..index.end as usize;
    harmless(&sound, std::slice::from_ref(&index), 500, properties::bundle);
    // Without signatures more of it is read.
    desk.prebake(&["bundle", "create", "tree", "-o", "y.bundle", "--unsigned"]).ok();
    harmless(&fs::read(desk.path("y.bundle")).unwrap(), &[0..512, 512..3000], 2000, properties::bundle);
}
