//! Tables of keys, held against the decoders that read them.

use std::path::PathBuf;

use serde_json::{Map, Value as Json, json};

use super::json_schema::read;
use super::{FORMATS, Format, below};
use crate::bake::outputs;
use crate::bake::recipe::{DEFAULT_OUTPUTS, Layout, Recipe};
use crate::base::arch::Arch;
use crate::base::finding::Source;
use crate::base::yaml::keys::{Absent, Key, Mapping, Rule, Value};
use crate::machine::node::parse_inventory;
use crate::sysext::schema;
use crate::tree::lock::Lock;

/// The Debug text of what a decoder reads, without places and texts; its findings if it refuses it.
fn decoded(format: &Format, text: &str) -> Result<String, String> {
    let source = Source::new("example.yaml", text);
    let told = |findings: crate::base::finding::Findings| findings.to_string();
    let decoded = match format.name {
        "recipe" => format!("{:?}", Recipe::parse(&source, PathBuf::new(), outputs::read).map_err(told)?),
        "nodes" => format!("{:?}", parse_inventory(&source, &[Arch::Amd64]).map_err(told)?),
        "sysext" => format!("{:?}", schema::parse(&source, "kubernetes").map_err(told)?),
        #[cfg(feature = "cluster")]
        "cluster" => {
            let (mut cluster, _) =
                crate::cluster::description::Cluster::parse(&source, PathBuf::new()).map_err(told)?;
            // Settings of the recipe are lines that are copied there: they mean what a recipe makes of them.
            // It has this output and these profiles anyway.
            let mut settings = cluster.recipe.take().unwrap_or_default();
            if !settings.contains(r#""pxe""#) {
                settings = settings.replace(r#""outputs": {"#, r#""outputs": {"pxe": {}, "#);
            }
            let least =
                "schema: 1\nname: a\nrelease: {channel: stable}\nprofiles: {controller: {}, worker: {}}\n";
            let source = Source::new("recipe.yaml", format!("{least}{settings}"));
            let recipe = Recipe::parse(&source, PathBuf::new(), outputs::read).map_err(told)?;
            format!("{cluster:?} {recipe:?}")
        }
        _ => format!("{:?}", serde_yaml::from_str::<Lock>(text).map_err(|error| error.to_string())?),
    };
    let plain = ["Place {", "Source {", "Node {"].iter().fold(decoded, |text, name| without(&text, name));
    // A value that is only a place says that a key was written, and no more.
    Ok(plain.replace("Some(…)", "None"))
}

/// A Debug text with each struct of this name left out.
fn without(text: &str, name: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(name) {
        kept += before;
        kept.push('…');
        let (mut depth, mut quoted, mut escaped) = (1, false, false);
        let end = after.find(|c: char| {
            match (c, quoted) {
                _ if escaped => escaped = false,
                ('\\', true) => escaped = true,
                ('"', _) => quoted = !quoted,
                ('{', false) => depth += 1,
                ('}', false) => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    kept + rest
}

/// The example of a key, with the first thing below it that has keys replaced.
fn around(value: &Value, example: Json, inner: &Json) -> Json {
    match (value, example) {
        (Value::List(value), Json::Array(items)) => {
            json!([around(value, items.into_iter().next().unwrap_or_default(), inner)])
        }
        (Value::Names(_, value), Json::Object(names)) => {
            let first = names.into_iter().map(|(name, example)| (name, around(value, example, inner)));
            Json::Object(first.take(1).collect())
        }
        (Value::Either(values), example) => {
            let table = values.iter().find(|value| value.mapping().is_some());
            table.map_or(inner.clone(), |value| around(value, example, inner))
        }
        _ => inner.clone(),
    }
}

/// The smallest mapping that has these keys: with those that are required, and those that they demand.
fn smallest(mapping: &Mapping, given: Map<String, Json>) -> Map<String, Json> {
    let mut all = given;
    let example = |name: &str| read(mapping.key(name).unwrap().example).unwrap();
    for key in mapping.keys.iter().filter(|key| key.absent == Absent::Fault) {
        all.entry(key.name).or_insert_with(|| example(key.name));
    }
    for rule in mapping.rules.iter().rev() {
        match rule {
            Rule::Any(keys) | Rule::One(keys) => {
                if !keys.iter().any(|key| all.contains_key(*key)) {
                    all.insert(keys[0].to_owned(), example(keys[0]));
                }
            }
            Rule::Needs(key, others) if all.contains_key(*key) => {
                for other in *others {
                    all.entry(*other).or_insert(json!({}));
                }
            }
            Rule::Needs(..) => {}
        }
    }
    all
}

/// A whole file in which the table at the end of `path` has these keys.
fn file(format: &Format, path: &[&'static Key], given: Map<String, Json>) -> String {
    let tables: Vec<&Mapping> =
        std::iter::once(format.mapping).chain(path.iter().map(|key| below(&key.value).unwrap())).collect();
    let mut inner = given;
    for (depth, mapping) in tables.iter().enumerate().rev() {
        if depth < path.len() {
            let key = path[depth];
            let value = around(&key.value, read(key.example).unwrap(), &Json::Object(inner));
            inner = Map::from_iter([(key.name.to_owned(), value)]);
        }
        if depth == 0 && format.name == "recipe" {
            inner.entry("outputs").or_insert(json!({"pxe": {}, "disk": {}, "matchbox": {}, "ipxe": {}}));
            benched(&mut inner);
        }
        if format.name == "cluster" {
            completed(mapping, depth, &mut inner);
        }
        if depth == 0 && format.name == "sysext" {
            let variables = read("{cni: v1.7.1, etcd: null, greeting: hello}").unwrap();
            inner.entry("variables").or_insert(variables);
        }
        inner = smallest(mapping, inner);
    }
    Json::Object(inner).to_string()
}

/// Adds to a recipe with a bench for Typhoon what only the whole of it needs: the stock image, a key, and a controller.
fn benched(keys: &mut Map<String, Json>) {
    if keys["outputs"]["terraform"]["typhoon"].is_object() {
        keys["outputs"]["disk"] = json!({});
        keys.insert(
            "ssh_keys".into(),
            json!(["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA a"]),
        );
        keys.insert("profiles".into(), json!({"control": {"role": "control-plane"}}));
        keys.insert(
            "nodes".into(),
            json!([{"name": "c1", "mac": "52:54:00:00:00:01", "profile": "control"}]),
        );
    }
}

/// Adds to a description of a cluster what only the whole of it needs: a bootstrap machine, and a disk of its controller.
fn completed(mapping: &Mapping, depth: usize, keys: &mut Map<String, Json>) {
    if depth == 0 {
        keys.entry("bootstrap").or_insert(json!({"ip": "10.0.0.2"}));
    }
    if mapping.what == "`bootstrap`" {
        keys.entry("ip").or_insert(json!("10.0.0.2"));
    }
    if mapping.what == "a node" && !keys.contains_key("install") {
        keys.entry("state").or_insert(json!("/dev/disk/by-id/virtio-state"));
    }
}

/// Every key of a file, with the keys that lead to it.
fn every_key(format: &Format) -> Vec<(Vec<&'static Key>, &'static Key)> {
    fn walk(
        mapping: &'static Mapping,
        path: &[&'static Key],
        found: &mut Vec<(Vec<&'static Key>, &'static Key)>,
    ) {
        for key in mapping.keys {
            found.push((path.to_vec(), key));
            if let Some(inner) = below(&key.value) {
                walk(inner, &[path, &[key]].concat(), found);
            }
        }
    }
    let mut found = Vec::new();
    walk(format.mapping, &[], &mut found);
    found
}

fn name(format: &Format, path: &[&'static Key], key: &Key) -> String {
    let names: Vec<&str> = path.iter().map(|key| key.name).chain([key.name]).collect();
    format!("{} {}", format.name, names.join("."))
}

/// ux 1.2: a key is told with an example that the decoder takes, and with the value that really counts without it.
#[test]
fn the_example_of_each_key_is_taken_and_its_default_is_what_counts_without_it() {
    let mut wrong = Vec::new();
    let mut told = 0;
    for format in &FORMATS {
        for (path, key) in every_key(format) {
            let name = name(format, &path, key);
            assert!(!key.words.is_empty() && key.words.ends_with(['.', ')']), "{name}: {}", key.words);
            let given = |text: &str| Map::from_iter([(key.name.to_owned(), read(text).unwrap())]);
            let example = file(format, &path, given(key.example));
            // A table of nodes for recipes and inventories, which have no layers; both words tell so.
            if format.name == "nodes" && ["ignition", "private"].contains(&key.name) {
                assert!(key.words.contains("Not in an inventory"));
                assert!(
                    decoded(format, &example)
                        .is_err_and(|why| why.contains("an inventory adds machines, not layers"))
                );
                continue;
            }
            // A description of a cluster makes one of its own, which Typhoon would make instead.
            if format.name == "cluster" && path.iter().any(|above| above.name == "typhoon")
                || (format.name, key.name) == ("cluster", "typhoon")
            {
                assert!(decoded(format, &example).is_err_and(|why| why.contains("Typhoon")), "{example}");
                continue;
            }
            if let Err(why) = decoded(format, &example) {
                wrong.push(format!("{name}: {example}\n{why}"));
            }
            let Absent::Same(default) = key.absent else { continue };
            told += 1;
            let (with, absent) = (file(format, &path, given(default)), file(format, &path, Map::new()));
            // These keep whether they were written; the next test looks at them.
            let keeps = ["layout", "config_from", "outputs"].contains(&key.name);
            let (with, absent) = (decoded(format, &with), decoded(format, &absent));
            if with.is_err() || (!keeps && with != absent) {
                wrong.push(format!("{name}: without it\n{absent:?}\nwith {default}\n{with:?}"));
            }
        }
    }
    assert!(told > 20, "{told} defaults");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn defaults_of_which_a_recipe_keeps_whether_they_were_written_are_those_that_count() {
    let recipe = |more: &str| {
        let text = format!("schema: 1\nname: a\nrelease: {{channel: stable}}\nprofiles: {{w: {{}}}}\n{more}");
        Recipe::parse(&Source::new("r.yaml", text), PathBuf::new(), |_, _| ()).unwrap().0
    };
    let default = |name: &str| match super::RECIPE.key(name).unwrap().absent {
        Absent::Same(default) => read(default).unwrap(),
        _ => panic!("{name} has a default"),
    };
    let outputs: Vec<String> = default("outputs").as_object().unwrap().keys().cloned().collect();
    assert_eq!(outputs, DEFAULT_OUTPUTS);
    assert_eq!(recipe("").outputs.len(), outputs.len());
    assert_eq!(recipe("").profiles["w"].layout(), "overlay".parse::<Layout>().unwrap());
    let config_from = default("config_from").as_str().unwrap().to_owned();
    let given = recipe(&format!("config_from: {config_from}\n")).config_from.unwrap().value;
    assert_eq!(recipe("").config_from.map(|from| from.value).unwrap_or_default(), given);
}

/// The whole examples of the documents are files that the decoders take, and leave no key out.
#[test]
fn the_example_of_each_document_is_taken_and_has_every_key() {
    for format in FORMATS.iter().filter(|format| ["recipe", "nodes", "cluster"].contains(&format.name)) {
        if let Err(why) = decoded(format, format.example()) {
            panic!("{}: {why}", format.name);
        }
    }
    let [recipe, ..] = &FORMATS;
    let example = recipe.example();
    let lacking: Vec<String> = every_key(recipe)
        .into_iter()
        .filter(|(_, key)| {
            let written = [format!(" {}:", key.name), format!("{{{}:", key.name), format!("\n{}:", key.name)];
            !written.iter().any(|written| example.contains(written))
        })
        .map(|(path, key)| name(recipe, &path, key))
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

/// serde reads locks by their types, and says which keys those have.
#[test]
fn the_table_of_a_lock_has_the_keys_of_its_types() {
    let lock = FORMATS.iter().find(|format| format.name == "lock").unwrap();
    let mut paths: Vec<Vec<&'static Key>> = vec![Vec::new()];
    paths.extend(every_key(lock).into_iter().filter(|(_, key)| below(&key.value).is_some()).map(
        |(mut path, key)| {
            path.push(key);
            path
        },
    ));
    for path in paths {
        let mapping = path.last().map_or(lock.mapping, |key| below(&key.value).unwrap());
        let text = if path.is_empty() {
            "{\"probe\": 1}".to_owned()
        } else {
            let mut text = file(lock, &path, Map::from_iter([("probe".to_owned(), json!(1))]));
            if path[0].name == "inputs" {
                text = "{\"schema\": 2, \"release\": {\"channel\": \"a\", \"version\": \"b\"}, \"inputs\": {\"a\": {\"probe\": 1}}}".into();
            }
            text
        };
        let told = serde_yaml::from_str::<Lock>(&text).unwrap_err().to_string();
        let (_, expected) = told.split_once("expected ").unwrap_or_else(|| panic!("{told}: {text}"));
        let names: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        assert_eq!(mapping.keys.iter().map(|key| key.name).collect::<Vec<_>>(), names, "{told}");
    }
}

/// The names of sources are a table of their own.
#[test]
fn every_source_has_a_mirror() {
    let mirrors = super::RECIPE.key("mirrors").and_then(|key| key.value.mapping()).unwrap();
    let names = crate::source::SourceName::ALL.map(crate::source::SourceName::as_str);
    assert_eq!(mirrors.keys.iter().map(|key| key.name).collect::<Vec<_>>(), names);
}

#[test]
fn links_go_and_their_words_stay() {
    assert_eq!(super::without_links("a ([keys](k.md)). See [b](c) [x"), "a. See b [x");
}

#[test]
fn every_table_is_reached_once() {
    let paths: Vec<String> =
        super::sections(&super::RECIPE).into_iter().map(|section| section.path).collect();
    for path in ["", "release", "sysexts[]", "profiles.PROFILE.install", "outputs.ipxe.menu"] {
        assert!(paths.iter().any(|found| found == path), "{path} in {paths:?}");
    }
    assert!(!paths.iter().any(|path| path == "nodes[]"));
}
