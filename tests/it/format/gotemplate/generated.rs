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

/// As they are written, with how many arguments they should have.
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
    let (main, definition) = (Sound::at(2, true), Sound::at(1, false));
    let template = (statements(3, &main), definition_of(&definition))
        .prop_map(|(main, definition)| format!("{{{{$x := .a}}}}{{{{$y := 2}}}}{definition}{main}"));
    let template = template.boxed();
    (prop_oneof![4 => template.clone(), 1 => mutated(template)], data())
}

/// Data with what [`Sound`] asks of it, whatever the values are.
fn data() -> impl Strategy<Value = Value> {
    let list = prop::collection::vec(value(), 0..5).prop_map(Value::Array);
    let map = prop::collection::btree_map(select(KEYS), value(), 0..4).prop_map(|members| json!(members));
    let text = select(vec!["", "a", "two words", "ä€\u{1f600}\u{2028}\u{0}", "<b>&'\"", "x-y"]);
    let number = select(vec![0.0, 3.0, -2.5, 1e6, 123_456_789.0, 1e-7, 1e21, 8080.0]);
    (text, value(), number, list, map, value()).prop_map(|(a, b, c, list, map, dashed)| {
        json!({"a": a, "b": b, "c": c, "list": list, "map": map, "x-y": dashed})
    })
}

fn value() -> BoxedStrategy<Value> {
    let leaf = select(vec![
        json!(null),
        json!(true),
        json!(false),
        json!(3),
        json!(-2.5),
        json!(1e6),
        json!(9007199254740993_u64),
        json!(""),
        json!("text"),
        json!("ä\u{a0}"),
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

/// Expressions by their type, so that functions get what they take.
#[derive(Clone)]
struct Sound {
    /// Whether variables and the data can be used; a definition has but its dot.
    outside: bool,
    text: BoxedStrategy<String>,
    int: BoxedStrategy<String>,
    float: BoxedStrategy<String>,
    bool: BoxedStrategy<String>,
    list: BoxedStrategy<String>,
    map: BoxedStrategy<String>,
    any: BoxedStrategy<String>,
}

impl Sound {
    /// With calls nested so deep.
    fn at(depth: u32, outside: bool) -> Self {
        let leaf = |always: &[&'static str], outside_only: &[&'static str]| {
            let more = if outside { outside_only } else { &[] };
            // A definition has no lists and maps, and asks for none.
            let all = [always, more].concat();
            select(if all.is_empty() { vec!["."] } else { all }).prop_map(str::to_owned).boxed()
        };
        let Some(depth) = depth.checked_sub(1) else {
            return Sound {
                outside,
                text: leaf(
                    &["\"\"", "\"b c\"", "`r\\w`", "\"\\u00e4\\xff\"", "\"<&'>\""],
                    &["$.a", "$.request.query.mac"],
                ),
                int: leaf(&["0", "1", "2", "-3", "5", "0x1F", "017", "1_0", "'a'"], &["$y"]),
                float: leaf(&["1.5", "2.0", "1e3", ".5", "-0x1e"], &["$.c"]),
                bool: leaf(&["true", "false"], &[]),
                list: leaf(&[], &["$.list"]),
                map: leaf(&[], &["$", "$.map", "$.request.query", "$.request"]),
                any: leaf(
                    &[".", "nil", "1", "\"s\""],
                    &["$.b", "$x", "(index $ \"x-y\")", "$.list", "$.map"],
                ),
            };
        };
        let inner = Sound::at(depth, outside);
        let one = |functions: &[&'static str], argument: &BoxedStrategy<String>| {
            (select(functions.to_vec()), argument.clone())
                .prop_map(|(function, a)| format!("({function} {a})"))
                .boxed()
        };
        let two =
            |functions: &[&'static str], first: &BoxedStrategy<String>, second: &BoxedStrategy<String>| {
                (select(functions.to_vec()), first.clone(), second.clone())
                    .prop_map(|(function, a, b)| format!("({function} {a} {b})"))
                    .boxed()
            };
        let piped = |functions: &[&'static str], argument: &BoxedStrategy<String>| {
            (argument.clone(), select(functions.to_vec()))
                .prop_map(|(a, function)| format!("({a} | {function})"))
                .boxed()
        };
        let escape = ["html", "js", "urlquery", "print", "println"];
        let compare = ["eq", "ne", "lt", "le", "gt", "ge"];
        let mut text = vec![
            inner.text.clone(),
            one(&escape, &inner.any),
            two(&escape, &inner.any, &inner.text),
            piped(&["html", "js", "printf \"%q|%v\" 1", "print 1"], &inner.text),
            two(&["printf \"%v %q\"", "printf \"%s|%T\"", "printf \"%5.2v%x\""], &inner.any, &inner.any),
        ];
        let mut int = vec![inner.int.clone(), one(&["len"], &inner.text)];
        let bool = vec![
            inner.bool.clone(),
            two(&compare, &inner.text, &inner.text),
            two(&compare, &inner.int, &inner.int),
            two(&compare, &inner.float, &inner.float),
            two(&["eq", "ne"], &inner.any, &Just("nil".to_owned()).boxed()),
            one(&["not"], &inner.any),
        ];
        let mut any = vec![
            inner.any.clone(),
            two(&["and", "or"], &inner.any, &inner.any),
            inner.text.clone(),
            inner.int.clone(),
            inner.float.clone(),
        ];
        let (mut list, mut map) = (inner.list.clone(), inner.map.clone());
        if outside {
            int.push(prop_oneof![one(&["len"], &inner.list), one(&["len"], &inner.map)].boxed());
            text.push(one(
                &["slice \"abc\" 1", "slice $.request.query.mac 3"],
                &Just("3".to_owned()).boxed(),
            ));
            any.push(two(&["index"], &inner.map, &inner.text));
            list = prop_oneof![inner.list.clone(), one(&["slice"], &inner.list)].boxed();
            map = prop_oneof![inner.map.clone(), two(&["and", "or"], &inner.map, &inner.map)].boxed();
        }
        let union = |choices: Vec<BoxedStrategy<String>>| proptest::strategy::Union::new(choices).boxed();
        Sound {
            outside,
            text: union(text),
            int: union(int),
            float: inner.float,
            bool: union(bool),
            list,
            map,
            any: union(any),
        }
    }

    /// What an action may print, seldom of the wrong type.
    fn pipeline(&self) -> BoxedStrategy<String> {
        prop_oneof![
            14 => self.any.clone(),
            10 => self.text.clone(),
            6 => self.bool.clone(),
            5 => self.int.clone(),
            4 => self.list_or_any(),
            1 => expression(self.outside),
        ]
        .prop_map(without_parentheses)
        .boxed()
    }

    /// What a loop goes through.
    fn range(&self) -> BoxedStrategy<String> {
        let int = select(vec!["0", "3", "-1"]).prop_map(str::to_owned);
        match self.outside {
            true => prop_oneof![
                8 => self.list.clone(), 6 => self.map.clone(), 2 => int, 1 => expression(true),
            ]
            .prop_map(without_parentheses)
            .boxed(),
            false => int.boxed(),
        }
    }

    fn list_or_any(&self) -> BoxedStrategy<String> {
        if self.outside { prop_oneof![self.list.clone(), self.map.clone()].boxed() } else { self.any.clone() }
    }
}

/// As people write the whole of an action.
fn without_parentheses(text: String) -> String {
    match text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        Some(inner) if !inner.contains(['(', ')']) => inner.to_owned(),
        _ => text,
    }
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

/// An expression of any type, with arguments of any type.
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

fn statements(depth: u32, sound: &Sound) -> BoxedStrategy<String> {
    prop::collection::vec(statement(depth, sound), 1..4).prop_map(|parts| parts.concat()).boxed()
}

fn statement(depth: u32, sound: &Sound) -> BoxedStrategy<String> {
    let text = select(vec!["text", " \n ", "\n", "{", "}}", " ä ", "\t", "{{- /* note */ -}}"])
        .prop_map(str::to_owned);
    let marks = (select(vec!["{{", "{{- ", "{{\n"]), select(vec!["}}", " -}}", " }}"]));
    // `nil` is an argument, but no command.
    let pipeline =
        || sound.pipeline().prop_map(|pipe| if pipe == "nil" { ".".to_owned() } else { pipe }).boxed();
    let action = (marks, pipeline()).prop_map(|((left, right), pipe)| format!("{left}{pipe}{right}"));
    let mut choices = vec![(3, text.boxed()), (5, action.boxed())];
    if sound.outside {
        let target = prop_oneof![20 => select(vec!["$x :=", "$x =", "$z :="]), 1 => Just("$no =")];
        let assignment = (target, pipeline()).prop_map(|(target, pipe)| format!("{{{{{target} {pipe}}}}}"));
        let call = (prop_oneof![20 => Just("t"), 1 => Just("no")], pipeline())
            .prop_map(|(name, pipe)| format!("{{{{template \"{name}\" {pipe}}}}}"));
        choices.extend([(2, assignment.boxed()), (1, call.boxed())]);
    }
    if depth > 0 {
        let inner = || statements(depth - 1, sound);
        let branch = (select(vec!["if", "with"]), pipeline(), inner(), pipeline(), inner(), 0..3_u8)
            .prop_map(|(word, pipe, body, other, rest, kind)| match kind {
                0 => format!("{{{{{word} {pipe}}}}}{body}{{{{end}}}}"),
                1 => format!("{{{{{word} {pipe}}}}}{body}{{{{else}}}}{rest}{{{{end}}}}"),
                _ => format!("{{{{{word} {pipe}}}}}{body}{{{{else {word} {other}}}}}{rest}{{{{end}}}}"),
            });
        let heads = ["", "$x := ", "$i, $x := ", "$i, $z := ", "$x = "];
        let head = select(if sound.outside { heads.to_vec() } else { vec![""] });
        let leave = select(vec![
            "",
            "",
            "{{break}}",
            "{{continue}}",
            "{{if .}}{{break}}{{end}}",
            "{{with .}}{{continue}}{{end}}",
        ]);
        let range = (head, sound.range(), inner(), leave, inner(), any::<bool>()).prop_map(
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
fn definition_of(sound: &Sound) -> impl Strategy<Value = String> + use<> {
    let name = prop_oneof![20 => Just("t"), 1 => Just("t\\n")];
    (name, statements(1, sound), select(vec!["define", "block"])).prop_map(|(name, body, word)| match word {
        "define" => format!("{{{{define \"{name}\"}}}}{body}{{{{end}}}}"),
        _ => format!("{{{{block \"{name}\" .}}}}{body}{{{{end}}}}"),
    })
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
