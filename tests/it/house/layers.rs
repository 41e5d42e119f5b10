//! The roofs of `src/` stand on one another in one order: what each may use is a table here, and the sources are held against it.
//!
//! Read from the text of the sources: each `crate::ROOF` that is named outside of comments, and for circles each path into the same
//! roof. A macro or a function pointer that calls is not seen. In a member of the workspace `crate::` is the member, and its name is
//! the roof that it lies in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

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
            "sysext", "initrd", "tree",
        ],
    ),
    ("serve", &["base", "format", "trust", "ignition", "machine", "tree"]),
    (
        "cli",
        &[
            "base", "format", "trust", "ignition", "machine", "flatcar", "store", "source", "sysext",
            "initrd", "tree", "bake", "serve",
        ],
    ),
];

/// A source file below `src/`, without comments, strings and characters.
struct Source {
    /// `serve/http/server.rs`
    path: String,
    text: String,
    /// Whether it is a member's.
    is_member: bool,
}

/// The sources, and the roof of each member of the workspace by the member's name in paths.
fn sources() -> (Vec<Source>, BTreeMap<String, String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut members = BTreeMap::new();
    let mut folders = vec![(root.clone(), false)];
    while let Some((folder, is_member)) = folders.pop() {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).ok();
        let is_member = is_member || manifest.is_some();
        let below = folder.strip_prefix(&root).unwrap().to_str().unwrap();
        if let Some(manifest) = manifest {
            let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")).unwrap();
            let roof = below.split('/').next().unwrap();
            members.insert(name.trim_end_matches('"').replace('-', "_"), roof.to_owned());
        }
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push((path, is_member));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                let text = code(&fs::read_to_string(&path).unwrap());
                found.push(Source { path: name, text, is_member });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    (found, members)
}

/// A text of Rust whose comments and strings are blanks; lines stay where they are.
fn code(text: &str) -> String {
    let blank = |part: &str| part.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect::<String>();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = rest.find('"').unwrap() + 1;
            rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len())
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            });
            end.map_or(rest.len(), |at| at + 2)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\") {
            rest[2..].find('\'').map_or(rest.len(), |at| at + 3)
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            // The `r` of a name begins no raw string.
            while first.is_alphanumeric() && rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
                let next = rest.chars().next().unwrap();
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
            continue;
        };
        out.push_str(&blank(&rest[..length]));
        rest = &rest[length..];
    }
    out
}

/// How many `#` a raw string has that begins here.
fn raw_string(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = rest.bytes().take_while(|byte| *byte == b'#').count();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// Each path in a text that begins with a crate, such as `crate::`, with its line; groups in braces come apart.
fn paths(text: &str, root: &str) -> Vec<(usize, Vec<String>)> {
    let root = format!("{root}::");
    let mut found = Vec::new();
    for (at, _) in text.match_indices(&root) {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = text[..at].lines().count().max(1);
        tree(&text[at + root.len()..], Vec::new(), &mut |path| found.push((line, path)));
    }
    found
}

/// Each path of a source into a roof, with its line and with the roof's name in front.
fn into_roofs(source: &Source, members: &BTreeMap<String, String>) -> Vec<(usize, Vec<String>)> {
    let mut found = if source.is_member { Vec::new() } else { paths(&source.text, "crate") };
    for (member, roof) in members {
        let inside = paths(&source.text, member).into_iter();
        found.extend(inside.map(|(line, path)| (line, [vec![roof.clone()], path].concat())));
    }
    found
}

/// Tells the paths of a tree such as `a::{b, c::d}`; returns how long it is.
fn tree(text: &str, mut path: Vec<String>, tell: &mut dyn FnMut(Vec<String>)) -> usize {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        at += rest.len() - rest.trim_start().len();
        let rest = &text[at..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut inside = 1;
            while !group[inside - 1..].trim_start().starts_with('}') {
                inside += tree(&group[inside - 1..], path.clone(), tell);
                let more = &group[inside - 1..];
                let blank = more.len() - more.trim_start().len();
                inside += blank + usize::from(more.trim_start().starts_with(','));
                if group.len() < inside {
                    break;
                }
            }
            return at + inside + 1;
        }
        let name: String =
            rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '*').collect();
        at += name.len();
        path.push(name);
        match text[at..].strip_prefix("::") {
            Some(more)
                if more.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{' || c == '*') =>
            {
                at += 2
            }
            _ => {
                tell(path);
                let as_name = text[at..].trim_start();
                if let Some(alias) = as_name.strip_prefix("as ") {
                    at += text[at..].len() - as_name.len() + 3;
                    at += alias.chars().take_while(|c| c.is_alphanumeric() || *c == '_').count();
                }
                return at;
            }
        }
    }
}

#[test]
fn each_roof_uses_only_those_that_it_stands_on() {
    let mut wrong = Vec::new();
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let (sources, members) = sources();
    for source in sources {
        let Some((roof, _)) = source.path.split_once('/') else { continue };
        let Some((roof, allowed)) = ROOFS.iter().find(|(name, _)| *name == roof) else {
            panic!("src/{}: `{roof}` is no roof", source.path);
        };
        for (line, path) in into_roofs(&source, &members) {
            let other = &path[0];
            if other == roof || !ROOFS.iter().any(|(name, _)| name == other) {
                continue;
            }
            used.entry(roof).or_default().insert(other.clone());
            if !allowed.contains(&other.as_str()) {
                wrong.push(format!(
                    "src/{}:{line}: {roof} may not use {other} ({})",
                    source.path,
                    path.join("::")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (roof, allowed) in ROOFS {
        let used = used.get(roof).cloned().unwrap_or_default();
        let idle: Vec<_> = allowed.iter().filter(|other| !used.contains(**other)).collect();
        assert!(idle.is_empty(), "{roof} does not use {idle:?}: take it out of the table");
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
    let (sources, members) = sources();
    let kinds: BTreeSet<&str> =
        sources.iter().filter_map(|s| s.path.strip_prefix("bake/steps/")?.strip_suffix(".rs")).collect();
    assert!(kinds.contains("sysext") && kinds.contains("mod"), "{kinds:?}");
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|s| !PLANNERS.iter().any(|planner| s.path.starts_with(planner))) {
        for (line, path) in into_roofs(source, &members) {
            if let [roof, room, kind, ..] = path.as_slice()
                && (roof.as_str(), room.as_str()) == ("bake", "steps")
                && kinds.contains(kind.as_str())
            {
                wrong.push(format!("src/{}:{line}: names the steps of kind {kind}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
