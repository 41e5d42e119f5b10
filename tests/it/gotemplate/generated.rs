//! Templates that nobody wrote: mostly sound, some of them cut and spliced.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

const KEYS: &[&str] = &["a", "b", "c", "list", "map", "x-y"];

const CONSTANTS: &[&str] = &[
    "0",
    "1",
    "2",
    "-3",
    "5",
    "0x1F",
    "017",
    "1_0",
    "1.5",
    "2.0",
    "1e3",
    ".5",
    "-0x1e",
    "'a'",
    "'\\n'",
    "\"\"",
    "\"a\"",
    "\"b c\"",
    "`r\\w`",
    "\"\\u00e4\\xff\"",
    "true",
    "false",
    "nil",
    "\"<&'>\"",
    "\"%v|%d\"",
];

/// As they are written, with how many arguments they should have; a `?` takes any.
const FUNCTIONS: &[(&str, usize)] = &[
    ("print", 2),
    ("println", 1),
    ("html", 1),
    ("js", 2),
    ("urlquery", 1),
    ("len", 1),
    ("index", 2),
    ("index", 3),
    ("slice", 2),
    ("slice", 3),
    ("and", 2),
    ("or", 2),
    ("and", 3),
    ("not", 1),
    ("eq", 2),
    ("eq", 3),
    ("ne", 2),
    ("lt", 2),
    ("le", 2),
    ("gt", 2),
    ("ge", 2),
    ("printf \"%v %q\"", 2),
    ("printf \"%T %5.2v|\"", 1),
    ("printf", 2),
    ("call", 1),
];

/// A template and the data for it.
pub(super) fn case() -> impl Strategy<Value = (String, Value)> {
    let template = (statements(3, true), definition())
        .prop_map(|(main, definition)| format!("{{{{$x := .a}}}}{{{{$y := 2}}}}{definition}{main}"));
    let template = template.boxed();
    (prop_oneof![3 => template.clone(), 1 => mutated(template)], data())
}

fn data() -> impl Strategy<Value = Value> {
    let members = prop::collection::btree_map(select(KEYS), value(), 2..6);
    members.prop_map(|members| json!(members))
}

fn value() -> BoxedStrategy<Value> {
    let leaf = select(vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(3),
        json!(-2.5),
        json!(1e6),
        json!(123456789),
        json!(1e-7),
        json!(9007199254740993_u64),
        json!(""),
        json!("a"),
        json!("two words"),
        json!("ä€\u{1f600}\u{2028}\u{0}"),
        json!("<b>&'\""),
        json!("x-y"),
        json!([]),
        json!({}),
    ]);
    let nested = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(select(KEYS), inner, 0..4).prop_map(|members| json!(members)),
        ]
    });
    nested.boxed()
}

/// An operand that needs no parentheses. Only the text itself knows its variables.
fn term(variables: bool) -> BoxedStrategy<String> {
    let names = if variables { vec!["$", "$.a", "$x", "$y", "$x.b"] } else { vec!["$", "$.a", "$.map.b"] };
    let fields = vec![
        ".",
        ".a",
        ".b",
        ".c",
        ".list",
        ".map",
        ".map.a",
        ".a.b",
        ".request.query",
        ".request.query.mac",
    ];
    prop_oneof![
        3 => select(fields).prop_map(str::to_owned),
        3 => select(CONSTANTS).prop_map(str::to_owned),
        2 => select(names).prop_map(str::to_owned),
        1 => select(vec!["(index . \"x-y\")", "(index .request.query \"no\")", "(slice \"abc\" 1 2)"]).prop_map(str::to_owned),
    ]
    .boxed()
}

fn expression(variables: bool) -> BoxedStrategy<String> {
    let nested = term(variables).prop_recursive(3, 10, 3, |inner| {
        let call = (select(FUNCTIONS), prop::collection::vec(inner.clone(), 4), 0..20_usize).prop_map(
            |((function, count), arguments, odd)| {
                // Now and then one too few.
                let count = if odd == 0 { count - 1 } else { count };
                format!("({function} {})", arguments[..count].join(" "))
            },
        );
        let field = (inner.clone(), select(KEYS))
            .prop_map(|(base, key)| if base.starts_with('(') { format!("{base}.{key}") } else { base });
        let piped =
            (inner, select(FUNCTIONS)).prop_map(|(base, (function, _))| format!("({base} | {function})"));
        prop_oneof![4 => call, 1 => field, 1 => piped]
    });
    nested.boxed()
}

/// Without the parentheses around the whole of it, as people write.
fn pipeline(variables: bool) -> BoxedStrategy<String> {
    expression(variables)
        .prop_map(|text| match text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
            Some(inner) if !inner.contains(['(', ')']) => inner.to_owned(),
            _ => text,
        })
        .boxed()
}

fn statements(depth: u32, variables: bool) -> BoxedStrategy<String> {
    prop::collection::vec(statement(depth, variables), 1..4).prop_map(|parts| parts.concat()).boxed()
}

fn statement(depth: u32, variables: bool) -> BoxedStrategy<String> {
    let text = select(vec!["text", " \n ", "\n", "{", "}}", " ä ", "\t", "{{- /* note */ -}}"])
        .prop_map(str::to_owned);
    let marks = || (select(vec!["{{", "{{- ", "{{\n"]), select(vec!["}}", " -}}", " }}"]));
    let action =
        (marks(), pipeline(variables)).prop_map(|((left, right), pipe)| format!("{left}{pipe}{right}"));
    let mut choices = vec![(3, text.boxed()), (5, action.boxed())];
    if variables {
        let target = select(vec!["$x :=", "$y =", "$x =", "$z :=", "$no ="]);
        let assignment =
            (target, pipeline(true)).prop_map(|(target, pipe)| format!("{{{{{target} {pipe}}}}}"));
        let call = (select(vec!["t", "u", "no"]), pipeline(true)).prop_map(|(name, pipe)| {
            if pipe == "nil" {
                format!("{{{{template \"{name}\"}}}}")
            } else {
                format!("{{{{template \"{name}\" {pipe}}}}}")
            }
        });
        choices.extend([(2, assignment.boxed()), (1, call.boxed())]);
    }
    if depth > 0 {
        let inner = || statements(depth - 1, variables);
        let branch =
            (select(vec!["if", "with"]), pipeline(variables), inner(), pipeline(variables), inner(), 0..3_u8)
                .prop_map(|(word, pipe, body, other, rest, kind)| match kind {
                    0 => format!("{{{{{word} {pipe}}}}}{body}{{{{end}}}}"),
                    1 => format!("{{{{{word} {pipe}}}}}{body}{{{{else}}}}{rest}{{{{end}}}}"),
                    _ => format!("{{{{{word} {pipe}}}}}{body}{{{{else {word} {other}}}}}{rest}{{{{end}}}}"),
                });
        let head = select(if variables {
            vec!["", "$x := ", "$x, $y := ", "$i, $z := ", "$x = ", "$y, $x = "]
        } else {
            vec![""]
        });
        let leave = select(vec![
            "",
            "",
            "{{break}}",
            "{{continue}}",
            "{{if .}}{{break}}{{end}}",
            "{{with .}}{{continue}}{{end}}",
        ]);
        let range = (head, pipeline(variables), inner(), leave, inner(), any::<bool>()).prop_map(
            |(head, pipe, body, leave, rest, has_else)| {
                let rest = if has_else { format!("{{{{else}}}}{rest}") } else { String::new() };
                format!("{{{{range {head}{pipe}}}}}{body}{leave};{rest}{{{{end}}}}")
            },
        );
        choices.extend([(2, branch.boxed()), (2, range.boxed())]);
    }
    proptest::strategy::Union::new_weighted(choices).boxed()
}

/// Definitions call no templates, so that nothing recurses by chance.
fn definition() -> impl Strategy<Value = String> {
    (select(vec!["t", "u", "t\\n"]), statements(1, false), select(vec!["define", "block"])).prop_map(
        |(name, body, word)| match word {
            "define" => format!("{{{{define \"{name}\"}}}}{body}{{{{end}}}}"),
            _ => format!("{{{{block \"{name}\" .}}}}{body}{{{{end}}}}"),
        },
    )
}

/// Pieces taken out and put in, where tokens begin or anywhere.
fn mutated(template: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let pieces = select(vec![
        "{{",
        "}}",
        "{{-",
        "-}}",
        "(",
        ")",
        "|",
        ".",
        "$",
        "\"",
        "`",
        "'",
        "{{end}}",
        "{{else}}",
        "{{if .a}}",
        "{{else if .b}}",
        "{{else with .b}}",
        "{{break}}",
        "{{define \"t\"}}",
        "/*",
        "*/",
        ",",
        ":=",
        "=",
        "€",
        "\n",
        "\\",
        "1",
        "0x",
        "e",
        "@",
        "range ",
        "template ",
        "block ",
        "nosuch ",
        "\u{1}",
    ]);
    let mutations = prop::collection::vec((any::<Index>(), 0..12_usize, pieces), 1..4);
    (template, mutations).prop_map(|(template, mutations)| {
        let mut characters: Vec<char> = template.chars().collect();
        for (place, cut, piece) in mutations {
            let from = place.index(characters.len() + 1);
            // Half of them only put in.
            let to = (from + cut.saturating_sub(6)).min(characters.len());
            characters.splice(from..to, piece.chars());
        }
        characters.into_iter().collect()
    })
}

/// A call of `printf` with any format.
pub(super) fn printf() -> impl Strategy<Value = String> {
    let verbs: Vec<char> = "vdsqxXfFeEgGtcUobOTwpz%!ä".chars().collect();
    let number = select(vec![
        "",
        "",
        "",
        "1",
        "3",
        "8",
        "20",
        "*",
        "[1]",
        "[2]*",
        "[3]",
        "[9]",
        "[x]",
        "[",
        "9999999999",
    ]);
    let precision = select(vec!["", "", "", ".", ".0", ".1", ".2", ".6", ".*", ".[1]*", ".-1", ".17"]);
    let flags = select(vec!["", "", "", "#", "0", "-", "+", " ", "+0", "-0", "# ", "#0", "+#", "+q"]);
    let index = select(vec!["", "", "", "", "[1]", "[2]"]);
    let directive = (flags, number, precision, index, select(verbs)).prop_map(
        |(flags, number, precision, index, verb)| format!("%{flags}{number}{precision}{index}{verb}"),
    );
    let piece = prop_oneof![4 => directive, 1 => select(vec!["lit", " ", "%", "ä"]).prop_map(str::to_owned)];
    // `%p` of a list or map is one of the stated differences.
    let whole = prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat());
    let arguments = vec![
        ".port",
        ".big",
        ".neg",
        ".tiny",
        ".zero",
        ".name",
        ".html",
        ".unicode",
        ".none",
        ".yes",
        "1",
        "-7",
        "0",
        "98",
        "300",
        "1.5",
        "'ä'",
        "\"x\"",
        "(index .name 0)",
        "0x7fffffffffffffff",
        "-9223372036854775808",
        "1e300",
        "`a\"b`",
        "\"\\xff\"",
        ".list",
        ".map",
        ".request.query",
    ];
    (whole, prop::collection::vec(select(arguments), 0..4)).prop_map(|(format, arguments)| {
        let safe = if arguments.iter().any(|argument| [".list", ".map", ".request.query"].contains(argument))
        {
            format.replace('p', "v")
        } else {
            format
        };
        format!("{{{{printf \"{safe}\" {}}}}}", arguments.join(" "))
    })
}
