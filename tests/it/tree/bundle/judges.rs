//! The tools that a person has without prebake: `tar`, `minisign` and `sha256sum`, as the README in each bundle says.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::{Desk, VARIED};

fn shell(directory: &Path, script: &str) -> Output {
    Command::new("bash").args(["-ec", script]).current_dir(directory).output().unwrap()
}

/// The four commands of the README, for this bundle and key.
fn by_hand(desk: &Desk, bundle: &str, key: &str, id: &str) -> Output {
    let directory = tempfile::tempdir_in(desk.path("")).unwrap();
    let readme = shell(directory.path(), &format!("tar xOf ../{bundle} README"));
    let readme = String::from_utf8(readme.stdout).unwrap();
    let commands = readme.lines().filter_map(|line| line.strip_prefix("    "));
    let commands: Vec<_> = commands.skip_while(|line| !line.starts_with("tar xf")).collect();
    assert_eq!(commands.len(), 4, "{readme}");
    let script = commands.join("\n");
    let script = script.replace("FILE", &format!("../{bundle}")).replace("KEYID", id);
    shell(directory.path(), &format!("set -o pipefail\n{}", script.replace("KEY.pub", &format!("../{key}"))))
}

#[test]
fn a_bundle_is_unpacked_and_judged_without_prebake() {
    let desk = Desk::new();
    let (site, other) = (desk.key("site"), desk.key("other"));
    desk.tree("tree", "small", VARIED);
    desk.create("tree", "x.bundle", &[]).ok();
    let id = site.public().id().to_string();
    let good = by_hand(&desk, "x.bundle", "site.pub", &id);
    assert!(good.status.success(), "{good:?}");
    assert!(!by_hand(&desk, "x.bundle", "other.pub", &id).status.success());
    assert_ne!(site.public().id(), other.public().id());

    // Changed files, whether the list of digests is as it was or changed with them.
    let bytes = fs::read(desk.path("x.bundle")).unwrap();
    let at = bytes.windows(600).position(|window| window == [1; 600]).unwrap();
    let mut changed = bytes.clone();
    changed[at] = 2;
    fs::write(desk.path("y.bundle"), &changed).unwrap();
    assert!(!by_hand(&desk, "y.bundle", "site.pub", &id).status.success());
    let list = "  trees/small/assets/empty\n";
    let digest = bytes.windows(list.len()).position(|window| window == list.as_bytes()).unwrap() - 1;
    let mut changed = bytes;
    changed[digest] = if changed[digest] == b'0' { b'1' } else { b'0' };
    fs::write(desk.path("y.bundle"), &changed).unwrap();
    let refused = by_hand(&desk, "y.bundle", "site.pub", &id);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!said.contains("FAILED"), "the list itself is held against the index: {said}");
}

#[test]
fn minisign_signs_what_a_site_believes() {
    let desk = Desk::new();
    desk.key("site");
    desk.tree("tree", "small", VARIED);
    desk.create("tree", "x.bundle", &[]).ok();
    let made = shell(
        &desk.path(""),
        "minisign -G -W -p officer.pub -s officer.key >/dev/null
         tar xf x.bundle bundle.json
         minisign -S -W -s officer.key -m bundle.json -c 'by the officer' -t 'seen and approved'",
    );
    assert!(made.status.success(), "{made:?}");
    let two =
        ["bundle", "verify", "x.bundle", "--trust", "site.pub", "--trust", "officer.pub", "--threshold", "2"];
    desk.prebake(&two).fails(5, &["1 more is missing"]);
    let attach = ["bundle", "sign", "x.bundle", "--attach", "bundle.json.minisig", "--key"];
    desk.prebake(&[&attach[..], &["site.pub"]].concat()).fails(5, &["not by"]);
    desk.prebake(&[&attach[..], &["officer.pub"]].concat()).ok();
    desk.prebake(&two).ok();
    // A signature over something else is not taken.
    let other =
        shell(&desk.path(""), "echo other > bundle.json; minisign -S -W -s officer.key -m bundle.json");
    assert!(other.status.success(), "{other:?}");
    desk.prebake(&[&attach[..], &["officer.pub"]].concat()).fails(5, &["does not match"]);
    desk.prebake(&two).ok();
}
