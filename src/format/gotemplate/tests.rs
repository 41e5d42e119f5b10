//! Essential tests, which run without Go.

use serde_json::json;

use super::*;
use crate::format::gotemplate::{self, value};

fn render(template: &str) -> Result<String, String> {
    let data = json!({
        "name": "n1", "port": 8080, "big": 1000000, "list": ["a", 2, null], "empty": [], "none": null, "yes": true,
        "etcd": {"z": "last", "a": 1}, "html": "<a href='x'>",
    });
    let value::Value::Map(mut data) = value::Value::from(data) else { unreachable!() };
    let query = [("mac".to_owned(), "52:54:00:00:00:01".to_owned())];
    let request = [("query".to_owned(), value::Value::Strings(query.into()))];
    data.insert("request".into(), value::Value::Map(request.into()));
    let rendered = gotemplate::Template::parse(template.as_bytes())
        .and_then(|parsed| parsed.render(&value::Value::Map(data)));
    rendered.map(|text| String::from_utf8(text).unwrap()).map_err(|error| error.to_string())
}

#[track_caller]
fn gives(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(render(template), Ok((*expected).to_owned()), "{template}");
    }
}

#[track_caller]
fn fails(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(render(template), Err((*expected).to_owned()), "{template}");
    }
}

#[test]
fn values_print_as_in_go() {
    gives(&[
        ("{{.name}} {{.port}} {{.big}} {{.none}} {{.yes}}", "n1 8080 1e+06 <no value> true"),
        ("{{.list}} {{.etcd}}", "[a 2 <nil>] map[a:1 z:last]"),
        (
            "{{.request.query.mac}}|{{index .request.query \"no\"}}|{{index . \"no\"}}",
            "52:54:00:00:00:01||<no value>",
        ),
        ("{{printf \"%d %v %q %5.1f|%-4s|\" .port .port .name .port \"x\"}}", {
            "%!d(float64=8080) 8080 \"n1\" 8080.0|x   |"
        }),
        ("{{html .html}} {{urlquery \"a b\"}} {{js \"'\"}}", "&lt;a href=&#39;x&#39;&gt; a+b \\'"),
        ("{{len .list}} {{slice .name 1}} {{index .list 1}} {{print 1 2 \"a\" 3}}", "3 1 2 1 2a3"),
    ]);
}

#[test]
fn blocks_choose_and_repeat() {
    gives(&[
        ("{{if .empty}}a{{else if .yes}}b{{else}}c{{end}}", "b"),
        ("{{with .none}}a{{else with .name}}{{.}}{{end}}", "n1"),
        ("{{range $i, $x := .list}}{{$i}}={{$x}};{{end}}", "0=a;1=2;2=<no value>;"),
        ("{{range $k, $v := .etcd}}{{$k}}={{$v}} {{end}}", "a=1 z=last "),
        ("{{range 5}}{{if eq . 1}}{{continue}}{{end}}{{if eq . 3}}{{break}}{{end}}{{.}}{{end}}", "02"),
        ("{{range .empty}}a{{else}}none{{end}}", "none"),
        ("{{range .list}}{{range $.empty}}{{else}}{{break}}{{end}}x{{end}}", "xxx"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{$x := 3}}{{end}}{{$x}}", "2"),
        ("a  {{- /* gone */ -}}  b\n{{- 1 -}}\nc", "ab1c"),
        ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .name}}{{block \"b\" 1}}{{.}}{{end}}", "<n1>1"),
        ("{{and .yes .none 1}}{{or .empty .name (index .list 9)}}{{not .yes}}", "<no value>n1false"),
        ("{{eq .name \"x\" \"n1\"}} {{lt 1 2}} {{eq .port 8080.0}} {{ne .none nil}}", "true true true false"),
    ]);
}

#[test]
fn failures_have_the_place_and_the_words_of_go() {
    fails(&[
        ("\n {{.no}}", "template: :2:3: executing \"\" at <.no>: map has no entry for key \"no\""),
        ("{{eq .port 8080}}", {
            "template: :1:2: executing \"\" at <eq .port 8080>: error calling eq: incompatible types for comparison: \
             float64 and int"
        }),
        (
            "{{.name.x}}",
            "template: :1:7: executing \"\" at <.name.x>: can't evaluate field x in type interface {}",
        ),
        ("{{.none.x}}", "template: :1:7: executing \"\" at <.none.x>: nil pointer evaluating interface {}.x"),
        (
            "{{range .port}}{{end}}",
            "template: :1:8: executing \"\" at <.port>: range can't iterate over 8080",
        ),
        (
            "{{template \"no\"}}",
            "template: :1:11: executing \"\" at <{{template \"no\"}}>: template \"no\" not defined",
        ),
        ("{{.a-b}}", "template: :1: bad character U+002D '-'"),
        ("{{nosuch}}", "template: :1: function \"nosuch\" not defined"),
        ("{{if .x}}\n", "template: :2: unexpected EOF"),
        ("\n{{if\n", "template: :3: unclosed action started at :2"),
        ("{{1i}}", "template: :1: complex constants are not supported: \"1i\""),
    ]);
}

#[test]
fn recursion_ends_where_it_ends_in_go() {
    let endless = "{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}";
    let message =
        "template: :1:25: executing \"t\" at <{{template \"t\"}}>: exceeded maximum template depth (100000)";
    fails(&[(endless, message)]);
    let countdown = "{{define \"t\"}}{{if .}}{{template \"t\" (slice . 1)}}{{end}}{{end}}";
    let text = "x".repeat(2000);
    gives(&[(&format!("{countdown}{{{{template \"t\" \"{text}\"}}}}"), "")]);
}

#[test]
fn nesting_needs_no_stack_and_parentheses_are_bounded() {
    let depth = 100_000;
    gives(&[(&format!("{}x{}", "{{if 1}}".repeat(depth), "{{end}}".repeat(depth)), "x")]);
    let nested = |depth| format!("{{{{{}1{}}}}}", "(".repeat(depth), ")".repeat(depth));
    gives(&[(&nested(200), "1")]);
    fails(&[(&nested(201), "template: :1: max expression depth exceeded")]);
}

#[test]
fn a_template_that_costs_too_much_is_stopped() {
    let limits = Limits { text: 200, written: 1000, steps: 1000 };
    let render =
        |text: &str| gotemplate::Template::parse_within(text.as_bytes(), limits)?.render(&value::Value::Null);
    let message = |text: &str| render(text).unwrap_err().message();
    assert_eq!(message("{{range 2000}}{{end}}"), "at <2000>: too many steps");
    assert_eq!(message("{{range 200}}123456{{end}}"), "at <200>: too much text");
    assert_eq!(message("{{printf \"%2000d\" 1}}"), "at <printf \"%2000d\" 1>: too much text");
    // Rust's own widths end at 65,535 (attacks.md §3).
    let wide = |format: &str| {
        let text = format!("{{{{printf \"{format}\" 1}}}}|{{{{printf \"{format}\" 1.5}}}}");
        gotemplate::Template::parse(text.as_bytes()).unwrap().render(&value::Value::Null).unwrap()
    };
    for format in ["%.70000d", "%070000d", "%.70000U", "%.70000x", "%070000.70000f", "%-70000d|"] {
        assert!(wide(format).len() > 70_000, "{format}");
    }
    assert_eq!(
        message("{{$x := \"0123\"}}{{range 20}}{{$x = print $x $x}}{{end}}"),
        "at <print $x $x>: too much text"
    );
    assert!(matches!(render(&" ".repeat(201)), Err(gotemplate::Error::TooLong { size: 201, limit: 200 })));
    assert_eq!(render("{{range 100}}123456{{end}}").unwrap().len(), 600);
}

#[test]
fn what_is_no_utf8_passes() {
    let template = gotemplate::Template::parse(b"\xff{{.}}\r\n\x00").unwrap();
    assert_eq!(template.render(&value::Value::String(b"\xfe".to_vec())).unwrap(), b"\xff\xfe\r\n\x00");
}

#[test]
fn hints_help_with_the_two_traps_of_matchbox() {
    let hint = |text: &str| {
        let data = value::Value::from(json!({"n": 3}));
        gotemplate::Template::parse(text.as_bytes()).unwrap().render(&data).unwrap_err().hint()
    };
    assert!(hint("{{.m}}").unwrap().contains("index"));
    assert!(hint("{{eq .n 3}}").unwrap().contains("3.0"));
    assert_eq!(hint("{{.n.m}}"), None);
}

#[test]
fn what_a_key_decides_is_told_from_what_it_fills_in() {
    let is_decided =
        |text: &str| gotemplate::Template::parse(text.as_bytes()).unwrap().may_be_decided_by("request");
    for text in [
        "{{if .request.os}}{{end}}",
        "{{if .a}}{{else if .request}}{{end}}",
        "{{if eq (index $.request \"a\") \"b\"}}{{end}}",
        "{{if index . \"request\"}}{{end}}",
        "{{with index .request \"os\"}}{{.}}{{end}}",
        "{{range .request}}{{end}}",
        "{{$r := .request}}{{if $r.os}}{{end}}",
        "{{or .request .x}}",
        "{{print (and .request .x)}}",
        "{{template \"x\" .request}}{{define \"x\"}}{{end}}",
    ] {
        assert!(is_decided(text), "{text}");
    }
    for text in [
        "",
        "{{.request.os}}",
        "{{printf \"%s\" .request.os}}",
        "{{if .a}}{{.request.os}}{{end}}",
        "{{range $i, $x := .list}}{{if $x}}{{end}}{{end}}",
        "{{or .a .b}}",
    ] {
        assert!(!is_decided(text), "{text}");
    }
}
