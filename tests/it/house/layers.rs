//! The roofs of `src/` stand on one another in one order: what each may use is a table here, and the sources are held against it.
//! Inside a roof no circle of files has more than three.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::modules::{Crate, is_face};
use super::texts;

/// Each roof, and those that it may use. A roof stands below all that use it, so that the table is in order from the ground up.
const ROOFS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("format", &["base"]),
    ("trust", &["base"]),
    ("registry", &["base"]),
    ("ignition", &["base"]),
    ("machine", &["base"]),
    ("flatcar", &["base", "ignition"]),
    ("store", &["base", "trust"]),
    ("source", &["base", "format", "trust", "registry", "flatcar", "store"]),
    ("sysext", &["base", "format", "registry", "ignition", "flatcar"]),
    ("initrd", &["base", "format", "ignition", "sysext"]),
    ("disk", &["base", "format", "ignition", "sysext"]),
    ("proxmox", &["base", "trust", "machine", "disk"]),
    ("addon", &["base", "registry", "source"]),
    ("capi", &["base", "machine", "addon"]),
    (
        "tree",
        &[
            "base", "format", "trust", "registry", "ignition", "machine", "flatcar", "store", "source",
            "sysext", "initrd",
        ],
    ),
    (
        "bake",
        &[
            "base", "format", "trust", "registry", "ignition", "machine", "flatcar", "store", "source",
            "sysext", "initrd", "disk", "addon", "capi", "tree",
        ],
    ),
    ("serve", &["base", "format", "trust", "ignition", "machine", "tree"]),
    (
        "cluster",
        &[
            "base", "format", "trust", "registry", "ignition", "machine", "flatcar", "source", "sysext",
            "addon", "capi", "tree", "bake", "serve",
        ],
    ),
    (
        "cli",
        &[
            "base", "format", "trust", "ignition", "machine", "flatcar", "store", "source", "sysext",
            "initrd", "disk", "proxmox", "addon", "capi", "tree", "bake", "serve", "cluster",
        ],
    ),
];

/// The most files of a roof that may use one another in a circle: what is one thing in several files.
const LARGEST_CIRCLE: usize = 3;

static SOURCES: LazyLock<Crate> = LazyLock::new(|| {
    let files = ["rs", "toml"].into_iter().flat_map(|extension| texts::files("src", extension));
    Crate::read(files.map(|file| (file["src/".len()..].to_owned(), texts::read(&file))))
});

/// The roof of a file; nothing of one at the root, which uses whatever it likes.
fn roof_of(file: &str) -> Option<&str> {
    let (roof, _) = file.split_once('/')?;
    assert!(ROOFS.iter().any(|(name, _)| *name == roof), "src/{file}: `{roof}` is no roof");
    Some(roof)
}

/// The roofs that each uses, and the names that one has from a roof that it does not stand on.
fn arrows(sources: &Crate) -> (BTreeMap<String, BTreeSet<String>>, Vec<String>) {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = BTreeMap::new();
    for reference in sources.references() {
        let Some(roof) = roof_of(&reference.file) else { continue };
        let Some((other, _)) =
            ROOFS.iter().find(|(name, _)| Some(*name) == reference.written.first().map(String::as_str))
        else {
            continue;
        };
        if *other == roof {
            continue;
        }
        used.entry(roof.to_owned()).or_default().insert((*other).to_owned());
        let (_, allowed) = ROOFS.iter().find(|(name, _)| *name == roof).unwrap();
        if !allowed.contains(other) {
            let name = reference.written.join("::");
            wrong.entry((reference.file.clone(), name.clone())).or_insert_with(|| {
                format!("src/{}:{}: {roof} may not use {other} ({name})", reference.file, reference.line)
            });
        }
    }
    (used, wrong.into_values().collect())
}

/// Files, the files that each uses, and the names that it has from there.
type Uses = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The circles of more than [`LARGEST_CIRCLE`] files, each with the names that make it. A file and the face of its folder, which
/// has it as a module and hands on its names, are no circle; what tests use makes none.
fn circles(sources: &Crate) -> Vec<String> {
    let mut uses = Uses::new();
    for reference in sources.references() {
        let (file, Some(definer)) = (reference.file, reference.definer) else { continue };
        if reference.is_test || roof_of(&file) != roof_of(&definer) || is_face(&file, &definer) {
            continue;
        }
        uses.entry(file).or_default().entry(definer).or_default().insert(reference.name);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        uses.keys().map(|file| (file.as_str(), reached_from(file, &uses))).collect();
    let mut found = BTreeSet::new();
    for (file, all) in &reached {
        let leads_back = |other: &&str| reached.get(other).is_some_and(|all| all.contains(file));
        let circle: BTreeSet<&str> = all.iter().copied().filter(leads_back).collect();
        if circle.len() > LARGEST_CIRCLE {
            found.insert(circle);
        }
    }
    let told = |circle: &BTreeSet<&str>| {
        let mut text = format!("{} files use one another in a circle:", circle.len());
        for (file, definers) in uses.iter().filter(|(file, _)| circle.contains(file.as_str())) {
            for (definer, names) in definers.iter().filter(|(definer, _)| circle.contains(definer.as_str())) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                text += &format!("\n  src/{file} uses src/{definer} ({})", names.join(", "));
            }
        }
        text
    };
    found.iter().map(told).collect()
}

/// All files that a file uses, itself or by way of others.
fn reached_from<'u>(file: &'u str, uses: &'u Uses) -> BTreeSet<&'u str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![file];
    while let Some(file) = open.pop() {
        let next = uses.get(file).into_iter().flat_map(BTreeMap::keys).map(String::as_str);
        open.extend(next.filter(|file| seen.insert(*file)));
    }
    seen
}

#[test]
fn each_roof_uses_only_those_that_it_stands_on() {
    let (used, wrong) = arrows(&SOURCES);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (roof, allowed) in ROOFS {
        let used = used.get(*roof).cloned().unwrap_or_default();
        let idle: Vec<_> = allowed.iter().filter(|other| !used.contains(**other)).collect();
        assert!(idle.is_empty(), "{roof} does not use {idle:?}: take it out of the table");
    }
}

#[test]
fn no_more_than_three_files_of_a_roof_use_one_another_in_a_circle() {
    let circles = circles(&SOURCES);
    assert!(circles.is_empty(), "{}", circles.join("\n\n"));
}

/// A crate of a few files, for what must be seen.
fn planted(files: &[(&str, &str)]) -> Crate {
    Crate::read(files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())))
}

#[test]
fn an_arrow_up_is_seen_however_it_is_written() {
    let root = ("lib.rs", "pub mod base; pub mod serve;\nuse serve::site::Site;\nuse base::disk;");
    let others = [
        root,
        ("base/mod.rs", "pub mod disk;"),
        ("serve/mod.rs", "pub mod site;"),
        ("serve/site.rs", "pub struct Site;"),
        // In a member of the workspace `crate` is the member.
        ("serve/lan/Cargo.toml", "[package]\nname = \"prebake-lan\""),
        ("serve/lan/mod.rs", "mod cli;\npub use crate::cli::Port;"),
        ("serve/lan/cli.rs", "pub struct Port;"),
    ];
    for (text, name) in [
        ("use crate::serve::site::Site;", "serve::site::Site"),
        ("use crate::{base, serve::{self, site as place}};", "serve"),
        ("use super::super::serve::site;", "serve::site"),
        ("use super::super::{serve};", "serve"),
        ("fn read() { super::super::serve::site::Site; }", "serve::site::Site"),
        ("mod inner { use super::super::super::serve; }", "serve"),
        ("use super::super as all;\nfn read(_: all::serve::site::Site) {}", "serve::site::Site"),
        ("use crate::*;\nfn read(_: serve::site::Site) {}", "serve::site::Site"),
        ("type Kept = Vec<crate::serve::site::Site>;", "serve::site::Site"),
        ("fn read() { write!(f, \"{}\", crate::serve::site::Site) }", "serve::site::Site"),
        ("fn read() -> bool { c == '\"' || crate::serve::site() }", "serve::site"),
        ("#[cfg(test)]\nmod tests { use crate::serve::site; }", "serve::site"),
        ("use prebake_lan::Port;", "serve::lan::Port"),
        ("fn read() { prebake_lan::Port }", "serve::lan::Port"),
    ] {
        let files = [&others[..], &[("base/disk.rs", text)]].concat();
        let (_, wrong) = arrows(&planted(&files));
        assert!(
            wrong.iter().any(|one| one.ends_with(&format!("base may not use serve ({name})"))),
            "{text}: {wrong:?}"
        );
    }
    for text in [
        "// crate::serve::site",
        "const TEXT: &str = \"crate::serve::site\";",
        "const TEXT: &str = r#\"crate::serve::site\"#;",
        "use super::disk;\nmod serve { pub fn site() {} }\nfn read() { serve::site() }",
        "fn read() { self.serve::<u8>(); }",
    ] {
        let files = [&others[..], &[("base/disk.rs", text)]].concat();
        let (_, wrong) = arrows(&planted(&files));
        assert!(wrong.is_empty(), "{text}: {wrong:?}");
    }
}

#[test]
fn a_circle_of_four_is_seen_with_the_names_that_make_it() {
    let face = "pub mod a; pub mod b; pub mod c; mod d; mod e;\npub use d::Four;";
    let four = |fourth: &str| {
        let files = [
            ("lib.rs", "pub mod bake;"),
            ("bake/mod.rs", face),
            ("bake/a/mod.rs", "use super::b;\nmod inner;\npub fn one() { b::two() }"),
            ("bake/a/inner.rs", "use super::one;"),
            ("bake/b.rs", "use crate::bake::c::Three;\npub fn two(_: Three) {}"),
            ("bake/c.rs", "use super::*;\npub struct Three(Four);"),
            ("bake/d.rs", fourth),
            ("bake/e.rs", "use super::a;\npub fn five() { a::one(); }"),
        ];
        circles(&planted(&files))
    };
    let expected = "4 files use one another in a circle:\n  \
        src/bake/a/mod.rs uses src/bake/b.rs (two)\n  \
        src/bake/b.rs uses src/bake/c.rs (Three)\n  \
        src/bake/c.rs uses src/bake/d.rs (Four)\n  \
        src/bake/d.rs uses src/bake/a/mod.rs (one)";
    for last in [
        "use super::a::one;\npub struct Four;",
        "pub struct Four;\nimpl Four { fn four(&self) { super::a::one() } }",
        "use crate::bake::{a::{self, one as first}, b as _};\npub struct Four;",
        "pub struct Four;\nmod inner { use super::super::a::one; }",
    ] {
        assert_eq!(four(last), [expected], "{last}");
    }
    for last in [
        "pub struct Four;",
        "use super::a;\npub struct Four;",
        "pub struct Four;\n#[cfg(test)]\nmod tests { use crate::bake::a::one; }",
        "pub struct Four;\nfn four() { a::one() }",
    ] {
        assert!(four(last).is_empty(), "{last}");
    }
}

#[test]
fn the_table_of_roofs_goes_from_the_ground_up() {
    for (at, (roof, allowed)) in ROOFS.iter().enumerate() {
        for other in *allowed {
            assert!(
                ROOFS[..at].iter().any(|(name, _)| name == other),
                "{roof} stands on {other}, which is not below it"
            );
        }
    }
}

/// Judges, SBOM and rebuild ask each step itself, so that a kind is added in its own file.
#[test]
fn a_kind_of_step_is_known_to_those_who_plan_it_alone() {
    const PLANNERS: [&str; 4] = ["bake/steps/", "bake/outputs/", "bake/plan.rs", "bake/alone.rs"];
    let kinds: BTreeSet<&str> =
        SOURCES.files().filter_map(|file| file.strip_prefix("bake/steps/")?.strip_suffix(".rs")).collect();
    assert!(kinds.contains("sysext") && kinds.contains("mod"), "{kinds:?}");
    let mut wrong = Vec::new();
    let references = SOURCES.references().into_iter();
    for reference in references.filter(|one| !PLANNERS.iter().any(|planner| one.file.starts_with(planner))) {
        if let [roof, room, kind, ..] = reference.written.as_slice()
            && (roof.as_str(), room.as_str()) == ("bake", "steps")
            && kinds.contains(kind.as_str())
        {
            wrong.push(format!("src/{}:{}: names the steps of kind {kind}", reference.file, reference.line));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
