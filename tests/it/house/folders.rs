//! `tests/it` has the folders of `src/`: a test is found under the roof that it is about.

use std::collections::BTreeSet;
use std::fs;

use super::texts;

/// Folders of `tests/it` that are no roofs.
const BESIDE: [&str; 3] = ["house", "judges", "world"];

fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(texts::root().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn integration_tests_stand_under_the_roofs_of_the_sources() {
    let roofs = names("src");
    for name in names("tests/it") {
        let known = name == "main.rs" || BESIDE.contains(&&*name) || roofs.contains(&name);
        assert!(known, "tests/it/{name} is no roof of src/, and none of {BESIDE:?}");
    }
}
