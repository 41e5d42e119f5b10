//! What an editor says of the files that people write: a validator of JSON Schemas (ajv), and the YAML language server that VS Code,
//! Neovim, Helix and others run. A schema refuses nothing that the decoder takes, and what it can tell it refuses.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use prebake::bake::outputs;
use prebake::bake::recipe::Recipe;
use prebake::base::arch::Arch;
use prebake::base::finding::Source;
use prebake::cli::reference::{FORMATS, Format};
use prebake::machine::node::parse_inventory;
use prebake::sysext::schema;
use prebake::tree::lock::Lock;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Judge, editor, runner};
use crate::house::rust;
use crate::world::repository;

/// Faults of which every schema can tell; the decoder's words for them. A MAC address may be a number to YAML, to which no pattern applies.
const PLAIN_FAULTS: [&str; 9] = [
    "unknown key `",
    "must be a mapping of keys",
    "must be a mapping of names",
    "must be a list",
    "must be text",
    "must be `true` or `false`",
    "needs the key `",
    "is not a Flatcar version",
    "unknown architecture",
];

fn format(name: &str) -> &'static Format {
    FORMATS.iter().find(|format| format.name == name).unwrap()
}

/// What the decoder says of a text: nothing if it takes it.
fn decoder(name: &str, text: &str) -> Option<String> {
    let source = Source::new("x.yaml", text);
    match name {
        "recipe" => {
            Recipe::parse(&source, PathBuf::new(), outputs::read).err().map(|found| found.to_string())
        }
        "nodes" => parse_inventory(&source, &[Arch::Amd64]).err().map(|found| found.to_string()),
        "sysext" => {
            let line = text.lines().find_map(|line| line.strip_prefix("name:")).unwrap_or_default();
            let folder = line.split('#').next().unwrap_or_default().trim().to_owned();
            schema::parse(&source, &folder).err().map(|found| found.to_string())
        }
        _ => {
            Lock::parse(Path::new("x.lock"), text).err().map(|error| format!("{error}: {:?}", error.source()))
        }
    }
}

/// What the validator says of a text; a fault where it is no YAML for it.
fn validator(judge: &Judge, name: &str, text: &str) -> Result<Vec<String>, String> {
    let answer = judge.ask(&json!({"validate": text, "schema": format(name).schema()}));
    if let Some(fault) = answer["fault"].as_str() {
        return Err(fault.to_owned());
    }
    let errors = answer["errors"].as_array().unwrap().iter();
    Ok(errors.map(|error| error.as_str().unwrap().to_owned()).collect())
}

/// A disagreement of the two about a text, if there is one.
fn difference(judge: &Judge, name: &str, text: &str) -> Option<String> {
    let ours = decoder(name, text);
    let theirs = validator(judge, name, text);
    match (&ours, &theirs) {
        (None, Ok(errors)) if !errors.is_empty() => {
            Some(format!("{text}\nonly the schema refuses it: {errors:?}"))
        }
        (None, Err(fault)) => Some(format!("{text}\nonly the decoder reads it: {fault}")),
        (Some(told), Ok(errors)) if errors.is_empty() => {
            let plain = PLAIN_FAULTS.iter().find(|plain| told.contains(**plain))?;
            Some(format!("{text}\nonly the decoder sees `{plain}`: {told}"))
        }
        _ => None,
    }
}

/// A literal of Rust as the text that it stands for.
fn unescaped(literal: &str) -> String {
    let mut text = String::new();
    let mut rest = literal.chars().peekable();
    while let Some(c) = rest.next() {
        let escape = (c == '\\').then(|| rest.next()).flatten();
        match escape {
            None => text.push(c),
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('\n') => while rest.next_if(|c| c.is_whitespace()).is_some() {},
            Some(other) => text.push(other),
        }
    }
    text
}

/// The kind of file that a text begins to be.
fn kind(text: &str) -> Option<&'static str> {
    let has = |key: &str| text.lines().any(|line| line.starts_with(key));
    if !has("schema:") {
        return None;
    }
    Some(match () {
        () if has("inputs:") => "lock",
        () if has("profiles:") || has("release:") => "recipe",
        () if has("nodes:") => "nodes",
        () if has("name:") && has("version:") => "sysext",
        () => return None,
    })
}

/// Every text of such a file in the repository: files, and literals of the tests, the good and the bad.
fn corpus() -> Vec<(&'static str, String)> {
    let mut texts = Vec::new();
    let mut waiting = ["src", "tests", "recipes", "sysext", "templates", "docs"].map(repository).to_vec();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "lock") => texts.push(text),
            Some("md") => {
                texts.extend(
                    text.split("```yaml\n")
                        .skip(1)
                        .filter_map(|block| Some(block.split_once("```")?.0.to_owned())),
                );
            }
            Some("rs") => {
                for literal in rust::Source::read(&text).literals {
                    let text = unescaped(&literal.text);
                    // Of a format string, unless it has holes.
                    let filled = text.replace("{{", "{").replace("}}", "}");
                    texts.extend([text, filled]);
                }
            }
            _ => {}
        }
    }
    texts.sort();
    texts.dedup();
    texts.into_iter().filter_map(|text| Some((kind(&text)?, text))).collect()
}

/// ux 1.2. Recipes, inventories, sysexts and locks: those that ship, and those of the tests.
#[test]
fn a_schema_takes_what_the_decoder_takes_and_refuses_what_it_can_tell() {
    let Some(judge) = editor() else { return };
    let mut counts: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, text) in corpus() {
        *counts.entry((name, decoder(name, &text).is_none())).or_default() += 1;
        wrong.extend(difference(&judge, name, &text));
    }
    assert!(wrong.is_empty(), "{} of {counts:?}:\n{}", wrong.len(), wrong.join("\n----\n"));
    for (name, least) in [("recipe", 10), ("nodes", 2), ("sysext", 10), ("lock", 1)] {
        assert!(counts.get(&(name, true)).is_some_and(|count| *count >= least), "{name}: {counts:?}");
    }
    assert!(counts.get(&("recipe", false)).is_some_and(|count| *count >= 5), "{counts:?}");
}

/// A slip in a text: a line that is lost, a key with two letters exchanged, or another value.
fn slipped(text: &str, line: usize, slip: usize, at: usize) -> String {
    const VALUES: [&str; 9] = ["[1]", "{a: 1}", "true", "\"x\"", "5", "~", "[]", "{}", "1.10"];
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let index = line % lines.len();
    let line = lines[index].clone();
    // Keys of the line, in flow or in block.
    let keys: Vec<(usize, usize)> = line
        .match_indices(": ")
        .chain(line.ends_with(':').then(|| (line.len() - 1, ":")))
        .map(|(end, _)| {
            let start =
                line[..end].rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
            (start, end)
        })
        .filter(|(start, end)| end - start > 1)
        .collect();
    let Some((start, end)) = keys.get(at % keys.len().max(1)).copied() else {
        lines.remove(index);
        return lines.join("\n") + "\n";
    };
    match slip {
        0 => drop(lines.remove(index)),
        1 => {
            let mut key: Vec<char> = line[start..end].chars().collect();
            let first = at % (key.len() - 1);
            key.swap(first, first + 1);
            lines[index] =
                format!("{}{}{}", &line[..start], key.into_iter().collect::<String>(), &line[end..]);
        }
        slip => {
            let value = VALUES[slip % VALUES.len()];
            let rest = line[end..].find([',', '}', '#']).filter(|_| line[..start].contains('{'));
            let rest = rest.map_or("", |cut| &line[end + cut..]);
            lines[index] = format!("{}: {value}{rest}", &line[..end]);
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn a_schema_and_the_decoder_agree_on_slips() {
    let Some(judge) = editor() else { return };
    let whole = ["recipe", "nodes"].map(|name| (name, format(name).example().to_owned()));
    let sysext = fs::read_to_string(repository("sysext/containerd/sysext.yaml")).unwrap();
    let lock = fs::read_to_string(repository("tests/golden/small.lock")).unwrap();
    let texts = [whole.to_vec(), vec![("sysext", sysext), ("lock", lock)]].concat();
    let slips = (0..texts.len(), any::<usize>(), 0..12usize, any::<usize>());
    let mut runner = runner("slips in files");
    let done = runner.run(&slips, |(which, line, slip, at)| {
        let (name, text) = &texts[which];
        let text = slipped(text, line, slip, at);
        // serde reads null as a text, and is otherwise stricter than a schema about a lock, which no person writes.
        let is_told =
            |told: &String| *name != "lock" || !(told.contains("only the decoder") || text.contains(": ~"));
        let difference = difference(&judge, name, &text).filter(is_told);
        prop_assert!(difference.is_none(), "{}", difference.unwrap_or_default());
        Ok(())
    });
    if let Err(error) = done {
        panic!("{error}");
    }
}

/// An editor, with files where this repository has them.
struct Editor(Judge);

impl Editor {
    fn ask(&self, text: &str, path: &Path, question: Value) -> Value {
        let mut whole = json!({"text": text, "path": path});
        whole.as_object_mut().unwrap().extend(question.as_object().unwrap().clone());
        let answer = self.0.ask(&whole);
        assert!(answer.get("fault").is_none(), "{answer}");
        answer
    }

    fn errors(&self, text: &str, path: &Path) -> Vec<String> {
        let answer = self.ask(text, path, json!({"open": text}));
        answer["errors"].as_array().unwrap().iter().map(|error| error.as_str().unwrap().to_owned()).collect()
    }

    /// What is offered where the text has a `|`.
    fn offered(&self, text: &str, path: &Path) -> Vec<String> {
        let (before, after) = text.split_once('|').unwrap();
        let (line, column) =
            (before.matches('\n').count(), before.len() - before.rfind('\n').map_or(0, |at| at + 1));
        let answer = self.ask(&format!("{before}{after}"), path, json!({"complete": [line, column]}));
        answer["labels"].as_array().unwrap().iter().map(|label| label.as_str().unwrap().to_owned()).collect()
    }

    fn hover(&self, text: &str, path: &Path, word: &str) -> String {
        let at = text.find(word).unwrap();
        let (line, column) =
            (text[..at].matches('\n').count(), at - text[..at].rfind('\n').map_or(0, |at| at + 1));
        self.ask(text, path, json!({"hover": [line, column + 1]}))["words"].as_str().unwrap().to_owned()
    }
}

/// The first line of shipped recipes leads an editor to the schema, without a network.
#[test]
fn an_editor_knows_shipped_recipes_by_their_first_line() {
    let Some(judge) = editor() else { return };
    let editor = Editor(judge);
    let mut seen = 0;
    for entry in fs::read_dir(repository("recipes")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema="), "{}", path.display());
        assert_eq!(editor.errors(&text, &path), [""; 0], "{}", path.display());
        let slip = text.replace("\nprofiles:", "\nprofles:");
        let told = editor.errors(&slip, &path).join("\n");
        assert!(told.contains("profles") && told.contains("profiles"), "{told}");
    }
    assert!(seen >= 2);
    let nodes = repository("docs/formats/nodes.yaml");
    assert_eq!(editor.errors(format("nodes").example(), &nodes), [""; 0]);
    assert_eq!(editor.errors(format("recipe").example(), &nodes), [""; 0]);
}

#[test]
fn an_editor_underlines_slips_completes_keys_and_explains_them() {
    let Some(judge) = editor() else { return };
    let editor = Editor(judge);
    let path = repository("recipes/x.yaml");
    let head = "# yaml-language-server: $schema=../docs/formats/recipe.schema.json\nschema: 1\nname: edge\n";
    for (lines, line, words) in [
        ("release: {channel: stable}\nprofiles: {w: {}}\n", 0, ""),
        ("release: {chanel: stable}\nprofiles: {w: {}}\n", 4, "chanel"),
        ("release: {channel: stabel}\nprofiles: {w: {}}\n", 4, "stable"),
        ("release: {channel: stable, arch: [amd46]}\nprofiles: {w: {}}\n", 4, "amd64"),
        ("release: {channel: stable, version: v4593.2.5}\nprofiles: {w: {}}\n", 4, "pattern"),
        ("release: {channel: stable}\nprofiles: {w: {sysexts: report}}\n", 5, "array"),
        ("release: {channel: stable}\nprofiles: {w: {diskless: yes please}}\n", 5, "boolean"),
        ("release: {channel: stable}\nprofiles: {w: {install: {wipe: true}}}\n", 5, "device"),
        ("release: {channel: stable}\nprofiles: {w: {}}\noutputs: {matchbox: {}}\n", 6, "pxe"),
        (
            "release: {channel: stable}\nprofiles: {w: {}}\noutputs: {pxe: {}, ipxe: {timout: 3}}\n",
            6,
            "timout",
        ),
        (
            "release: {channel: stable}\nprofiles: {w: {}}\nnodes: [{name: a, mac: \"52:54:00:00\", profile: w}]\n",
            6,
            "pattern",
        ),
    ] {
        let text = format!("{head}{lines}");
        let told = editor.errors(&text, &path);
        assert_eq!(told.is_empty(), line == 0, "{text}{told:?}");
        if line > 0 {
            let mut here = told.iter().filter(|error| error.starts_with(&format!("{line}: ")));
            assert!(here.any(|error| error.contains(words)), "{text}{told:?}");
        }
    }
    let offered = editor.offered(&format!("{head}|"), &path);
    for key in ["release", "profiles", "outputs", "kubernetes", "default_profile"] {
        assert!(offered.iter().any(|label| label == key), "{key} in {offered:?}");
    }
    let offered = editor.offered(&format!("{head}release:\n  channel: |\n"), &path);
    assert!(
        ["stable", "beta", "alpha", "lts"].iter().all(|word| offered.iter().any(|l| l == word)),
        "{offered:?}"
    );
    let offered = editor.offered(&format!("{head}outputs:\n  pxe: {{}}\n  ipxe:\n    |\n"), &path);
    assert!(offered.iter().any(|label| label == "menu"), "{offered:?}");
    let text = format!(
        "{head}release: {{channel: stable}}\nconfig_from: auto\nprofiles: {{w: {{layout: single}}}}\n"
    );
    assert!(editor.hover(&text, &path, "config_from").contains("Ignition config"));
    assert!(editor.hover(&text, &path, "layout").contains("for loaders that take only one"));
}
