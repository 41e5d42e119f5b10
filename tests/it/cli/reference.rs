//! Documents, schemas and the table of variables, held against what the program knows. `PREBAKE_BLESS=1` writes them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use prebake::cli::environment::{self, Group, VARIABLES};
use prebake::cli::reference::{FORMATS, PRINTED, markdown};

use crate::world::repository;

fn prebake() -> Command {
    Command::new(env!("CARGO_BIN_EXE_prebake"))
}

/// Holds a file of the repository against what it must be, or writes it.
fn hold(path: &str, expected: &str) {
    let file = repository(path);
    if std::env::var_os("PREBAKE_BLESS").is_some() {
        fs::write(file, expected).unwrap();
        return;
    }
    let found = fs::read_to_string(file).unwrap_or_default();
    let line = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{path} is out of step from line {}: PREBAKE_BLESS=1 cargo test --test it reference",
        line.unwrap_or_else(|| found.lines().count().min(expected.lines().count())) + 1
    );
}

#[test]
fn the_documents_of_files_have_every_key_of_their_decoders() {
    for format in &FORMATS {
        let path = format!("docs/formats/{}.md", format.name);
        let document = fs::read_to_string(repository(&path)).unwrap();
        let tables = markdown::tables(format.mapping);
        hold(&path, &markdown::replaced(&document, markdown::MARKS, &tables).unwrap());
    }
}

#[test]
fn the_published_schemas_are_those_that_the_program_prints() {
    for format in &FORMATS {
        hold(&format!("docs/formats/{}.schema.json", format.name), &format.schema());
        let printed = prebake().args(["schema", format.name]).output().unwrap();
        assert_eq!(String::from_utf8(printed.stdout).unwrap(), format.schema());
    }
    for (name, ..) in PRINTED {
        let printed = prebake().args(["schema", name]).output().unwrap();
        let published = fs::read(repository("docs/formats").join(format!("{name}.schema.json"))).unwrap();
        assert_eq!(printed.stdout, published, "{name}");
    }
    let list = prebake().arg("schema").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["recipe", "nodes", "sysext", "lock", "cluster", "plan", "events"]);
    let unknown = prebake().args(["schema", "recpie"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("did you mean `recipe`?"));
}

#[test]
fn the_page_of_the_environment_has_every_variable() {
    let path = "docs/guides/environment.md";
    let document = fs::read_to_string(repository(path)).unwrap();
    hold(path, &markdown::replaced(&document, environment::MARKS, &environment::tables()).unwrap());
}

/// Names in a text that begin so.
fn named(text: &str, beginning: &str) -> BTreeSet<String> {
    let ends = text.match_indices(beginning).map(|(at, _)| &text[at..]);
    let name = |rest: &str| {
        let end = rest.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        rest[..end.unwrap_or(rest.len())].to_owned()
    };
    ends.map(name).filter(|name| !name.ends_with('_')).collect()
}

/// The files below these, of the repository's own.
fn texts(places: &[&str]) -> Vec<(String, String)> {
    let mut waiting: Vec<_> = places.iter().map(|place| repository(place)).collect();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(text) = fs::read_to_string(&path) {
            found.push((path.display().to_string(), text));
        }
    }
    found
}

/// ux 1.15, §5.11: variables were told in four places, and some nowhere.
#[test]
fn every_variable_that_sources_name_has_a_row_and_every_row_is_named_in_sources() {
    let known: BTreeSet<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    assert_eq!(known.len(), VARIABLES.len(), "a variable has two rows");
    let mut seen = BTreeSet::new();
    let mut unknown = Vec::new();
    for (path, text) in
        texts(&["src", "tests", "sysext", "packaging", "Makefile", "action.yml", "benches", "fuzz/run.sh"])
    {
        // These name misspelt ones.
        if path.ends_with("cli/environment.rs") || path.ends_with("cli/reference.rs") {
            continue;
        }
        let mut names = named(&text, "PREBAKE_");
        names.extend(named(&text, "MATCHBOX_").into_iter().filter(|name| known.contains(name.as_str())));
        unknown.extend(
            names.iter().filter(|name| !known.contains(name.as_str())).map(|name| format!("{path}: {name}")),
        );
        seen.extend(names);
    }
    assert!(unknown.is_empty(), "src/cli/environment.rs has no row for {unknown:#?}");
    // Mirrors' names are made of those of sources.
    let ours = |name: &str| name.starts_with("PREBAKE_") && !name.starts_with("PREBAKE_MIRROR_");
    let idle: Vec<&&str> = known.iter().filter(|name| ours(name) && !seen.contains(**name)).collect();
    assert!(idle.is_empty(), "nothing reads {idle:?}");
}

/// Whether a statement hands names to a function that asks the environment.
fn reads(statement: &str) -> bool {
    ["(variable)", "(env::var)", "(env::var_os)", "(std::env::var)", "(std::env::var_os)"]
        .iter()
        .any(|handed| statement.contains(handed))
}

/// Whether a text is spelt as variables are.
fn is_name(text: &str) -> bool {
    let of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.len() > 1 && text.chars().all(of_name) && text.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Whatever asks the environment by a name in quotes must be in the table, prebake's own or not.
#[test]
fn every_variable_that_the_program_asks_for_by_name_has_a_row() {
    let known: BTreeSet<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    let asks = [
        "env::var(\"",
        "env::var_os(\"",
        "variable(\"",
        "env = \"",
        "get(\"LISTEN_",
        "get(\"NOTIFY_",
        "get(\"WATCHDOG_",
    ];
    let mut asked = BTreeSet::new();
    for (path, text) in texts(&["src"]) {
        let own = text.split("#[cfg(test)]").next().unwrap_or_default();
        // As in `["LC_ALL", "LANG"].into_iter().find_map(variable)`: names of a list that is asked for.
        for asks in own.split([';', '{', '}']).filter(|words| reads(words)) {
            for name in asks.split('"').skip(1).step_by(2).filter(|name| is_name(name)) {
                assert!(known.contains(name), "{path}: `{name}` has no row in src/cli/environment.rs");
                asked.insert(name.to_owned());
            }
        }
        for ask in asks {
            for (at, _) in own.match_indices(ask) {
                let name = own[at..].split('"').nth(1).unwrap_or_default();
                if name.starts_with(|c: char| c.is_ascii_uppercase()) {
                    assert!(known.contains(name), "{path}: `{name}` has no row in src/cli/environment.rs");
                    asked.insert(name.to_owned());
                }
            }
        }
    }
    assert!(asked.len() > 15 && asked.contains("LC_CTYPE"), "{asked:?}");
}

/// ux 1.15: every verb tells it once, before its work, and works on.
#[test]
fn a_misspelt_variable_is_told_by_every_verb() {
    let store = tempfile::tempdir().unwrap();
    let absent = store.path().join("absent.yaml");
    let (store, absent) = (store.path().to_str().unwrap(), absent.to_str().unwrap());
    for verb in [&["schema"][..], &["store", "ls", "--store", store], &["build", absent]] {
        let run = prebake().args(verb).env("PREBAKE_MIRROR_FLATCR", "file:/x").output().unwrap();
        let told = String::from_utf8(run.stderr).unwrap();
        assert_eq!(told.matches("`PREBAKE_MIRROR_FLATCR`").count(), 1, "{verb:?}: {told}");
        assert!(told.starts_with("warning: "), "{told}");
        assert!(told.contains("hint: did you mean `PREBAKE_MIRROR_FLATCAR`?"), "{told}");
    }
    // Review of issue 17, 5: it was told before --quiet was read.
    let quiet = prebake().args(["-q", "schema"]).env("PREBAKE_MIRROR_FLATCR", "file:/x").output().unwrap();
    assert!(quiet.stderr.is_empty());
    let quiet = prebake().arg("schema").env("PREBAKE_SKIP_JUDGES", "1").output().unwrap();
    assert!(quiet.stderr.is_empty());
}

#[test]
fn the_manual_has_pages_of_the_recipe_and_of_the_environment_where_man_finds_them() {
    let scratch = tempfile::tempdir().unwrap();
    let man1 = scratch.path().join("man1");
    fs::create_dir(&man1).unwrap();
    let made = prebake().args(["man", "--output"]).arg(&man1).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for (topic, page, words) in [
        ("recipe", "man5/prebake-recipe.5", ["primary_fingerprint", "early_initrds", "sysupdate"]),
        ("environment", "man7/prebake-environment.7", ["PREBAKE_STORE", "NO_COLOR", "SSL_CERT_FILE"]),
    ] {
        let written = fs::read(scratch.path().join(page)).unwrap();
        let printed = prebake().args(["man", topic]).output().unwrap();
        assert_eq!(printed.stdout, written);
        // The real groff reads it without a warning.
        let file = scratch.path().join(page);
        let groff =
            Command::new("groff").args(["-man", "-Tutf8", "-ww", "-P-cbou"]).arg(&file).output().unwrap();
        assert!(groff.stderr.is_empty(), "{}", String::from_utf8_lossy(&groff.stderr));
        let text = String::from_utf8(groff.stdout).unwrap();
        words.iter().for_each(|word| assert!(text.contains(word), "{word} in {topic}"));
        if topic == "environment" {
            let all = VARIABLES.iter().filter(|variable| variable.group == Group::Own);
            all.for_each(|variable| assert!(text.contains(variable.name), "{}", variable.name));
        }
    }
}
