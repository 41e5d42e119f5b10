//! Our templates against Go's own text/template, set up as Matchbox sets it up: output and messages are the same to the
//! byte.

mod cases;
mod generated;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prebake::format::gotemplate::{Template, Value};
use proptest::test_runner::TestCaseError;
use serde_json::json;

pub(crate) use cases::all as templates;

use crate::judges::{self, Judge};

/// The output, or the message.
type Outcome = Result<Vec<u8>, String>;

/// The query of every case, as Matchbox hands it to templates.
const QUERY: &[(&str, &str)] = &[("mac", "52:54:00:00:00:01"), ("uuid", "u-1"), ("empty", "")];

fn ask_go(judge: &Judge, template: &[u8], data: &serde_json::Value) -> Outcome {
    let query: BTreeMap<_, _> = QUERY.iter().copied().collect();
    let case = json!({"template": STANDARD.encode(template), "data": data, "query": query});
    let answer = judge.ask(&case);
    match answer["error"].as_str() {
        Some(message) => Err(message.to_owned()),
        None => Ok(STANDARD.decode(answer["output"].as_str().unwrap_or_default()).unwrap()),
    }
}

fn ours(template: &[u8], data: &serde_json::Value) -> Outcome {
    let mut data = Value::from(data.clone());
    if let Value::Map(members) = &mut data {
        let query = QUERY.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let request = [
            ("query".to_owned(), Value::Strings(query.collect())),
            ("raw_query".to_owned(), Value::from("as=received")),
        ];
        members.insert("request".to_owned(), Value::Map(request.into()));
    }
    let parsed = Template::parse(template).map_err(|error| error.to_string())?;
    parsed.render(&data).map_err(|error| error.to_string())
}

/// What is wrong, if the two differ.
fn difference(judge: &Judge, template: &[u8], data: &serde_json::Value) -> Option<String> {
    let (go, ours) = (ask_go(judge, template, data), ours(template, data));
    let shown = |outcome: &Outcome| match outcome {
        Ok(text) => format!("gives {:?}", String::from_utf8_lossy(text)),
        Err(message) => format!("fails with {message}"),
    };
    (go != ours)
        .then(|| format!("{}\n  Go {}\n  we {}", String::from_utf8_lossy(template), shown(&go), shown(&ours)))
}

#[test]
fn every_rule_gives_what_go_gives() {
    let Some(judge) = Judge::start("gotemplate") else { return };
    let data = cases::data();
    let differences: Vec<_> =
        cases::all().iter().filter_map(|template| difference(&judge, template, &data)).collect();
    assert!(differences.is_empty(), "{} cases differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn data_that_is_no_map_gives_what_go_gives() {
    let Some(judge) = Judge::start("gotemplate") else { return };
    for data in [json!(null), json!("text"), json!([1, [2]]), json!(1.5), json!(true)] {
        for template in ["{{.}}", "{{.x}}", "{{$}}", "{{range .}}{{.}};{{end}}", "{{len .}}", "{{index . 0}}"]
        {
            assert_eq!(difference(&judge, template.as_bytes(), &data), None, "{data}");
        }
    }
}

#[test]
fn generated_templates_with_generated_data_give_what_go_gives() {
    let Some(judge) = Judge::start("gotemplate") else { return };
    let (asked, rendered) = (Cell::new(0), Cell::new(0));
    let outcome = judges::runner("templates").run(&generated::case(), |(template, data)| {
        asked.set(asked.get() + 1);
        rendered.set(rendered.get() + usize::from(ours(template.as_bytes(), &data).is_ok()));
        match difference(&judge, template.as_bytes(), &data) {
            None => Ok(()),
            Some(difference) => Err(TestCaseError::fail(format!("{difference}\n{data}"))),
        }
    });
    outcome.unwrap();
    let (asked, rendered) = (asked.get(), rendered.get());
    assert!(
        rendered * 5 > asked,
        "only {rendered} of {asked} templates render; the others show messages alone"
    );
}

#[test]
fn formats_of_printf_give_what_go_gives() {
    let Some(judge) = Judge::start("gotemplate") else { return };
    let data = cases::data();
    let outcome = judges::runner("formats").run(&generated::printf(), |template| {
        match difference(&judge, template.as_bytes(), &data) {
            None => Ok(()),
            Some(difference) => Err(TestCaseError::fail(difference)),
        }
    });
    outcome.unwrap();
}

/// What we refuse and Go does not (docs/guides/templates.md).
#[test]
fn the_differences_from_go_are_those_that_are_stated() {
    let Some(judge) = Judge::start("gotemplate") else { return };
    let data = cases::data();
    let nested = format!("{{{{{}1{}}}}}", "(".repeat(201), ")".repeat(201));
    let stated = [
        ("{{1i}}", "complex constants are not supported"),
        ("{{1+2i}}", "complex constants are not supported"),
        ("{{printf \"%p\" .map}}", "%p prints an address in memory"),
        (nested.as_str(), "max expression depth exceeded"),
    ];
    for (template, message) in stated {
        assert!(ask_go(&judge, template.as_bytes(), &data).is_ok(), "{template}");
        let refused = ours(template.as_bytes(), &data).unwrap_err();
        assert!(refused.contains(message), "{template}: {refused}");
    }
}

#[test]
fn the_tables_of_characters_are_those_of_go() {
    let Some(judge) = judges::build("gotemplate") else { return };
    let printed = Command::new(judge.join("judge")).arg("unicode").output().unwrap();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/format/gotemplate/unicode/tables.rs");
    let ours = fs::read_to_string(ours).unwrap();
    let words = |text: &str| text.replace(',', " ").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (_, ours) = ours.split_once("\n\n").unwrap();
    assert_eq!(words(ours), words(&String::from_utf8(printed.stdout).unwrap()));
}
