//! What is YAML and what it says, beside the parser of Go that Butane has: generated ends of block scalars, and real configs
//! with slips.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use prebake::base::finding::Source;
use prebake::ignition::{self, Transpile};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use super::{Judge, runner};
use crate::ignition::vectors::{cases, plain};

/// A config with the bytes of its data URLs, however they are packed: of two compressors one finds gzip shorter for some texts.
fn contents(config: &Value) -> Value {
    fn unpack(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(unpack),
            Value::Object(members) => {
                let source = members.get("source").and_then(Value::as_str).unwrap_or_default();
                let bytes = match source.split_once(',') {
                    Some(("data:;base64", data)) => STANDARD.decode(data).ok(),
                    Some(("data:", data)) => Some(percent_decode_str(data).collect()),
                    _ => None,
                };
                let packed = members.get("compression").is_some_and(|method| method == "gzip");
                if let Some(bytes) = bytes.filter(|_| !packed) {
                    members.insert("source".into(), format!("unpacked:{}", STANDARD.encode(bytes)).into());
                }
                if members
                    .get("source")
                    .and_then(Value::as_str)
                    .is_some_and(|source| source.starts_with("unpacked:"))
                {
                    members.remove("compression");
                }
                members.values_mut().for_each(unpack);
            }
            _ => {}
        }
    }
    let mut config = plain(config);
    unpack(&mut config);
    config
}

/// Translates a config here and by Butane: the JSON of both, or why one of them refuses it.
fn both(judge: &Judge, text: &str) -> (Result<Value, String>, Result<Value, String>) {
    let theirs = judge.ask(&json!({"config": text, "files_dir": ""}));
    let theirs = match theirs["error"].as_str().unwrap() {
        "" => Ok(contents(&serde_json::from_str(theirs["ignition"].as_str().unwrap()).unwrap())),
        error => Err(format!("{error} {}", theirs["entries"])),
    };
    let options = Transpile { experimental: true, ..Transpile::default() };
    let ours = ignition::transpile(&Source::new("config.bu", text), &options)
        .map(|checked| contents(&serde_json::from_str(&checked.config.to_json()).unwrap()))
        .map_err(|findings| findings.to_string());
    (ours, theirs)
}

/// What differs between the two, if anything: the verdict or the JSON.
fn difference(judge: &Judge, text: &str) -> Option<String> {
    between(text, both(judge, text))
}

fn between(text: &str, both: (Result<Value, String>, Result<Value, String>)) -> Option<String> {
    match both {
        (Ok(ours), Ok(theirs)) if ours == theirs => None,
        (Err(_), Err(_)) => None,
        (ours, theirs) => Some(format!("{text:?}\n  ours   {ours:?}\n  Butane {theirs:?}")),
    }
}

const HEADER: &str = "variant: flatcar\nversion: 1.1.0\n";

/// Before a block scalar's header, and how deep its text is indented.
const CONTEXTS: [(&str, usize); 5] = [
    ("storage:\n  files:\n    - path: /a\n      contents:\n        inline: ", 10),
    ("systemd:\n  units:\n    - name: a.service\n      contents: ", 8),
    ("passwd:\n  users:\n    - name: core\n      ssh_authorized_keys:\n        - ", 10),
    ("storage:\n  luks:\n    - name: data\n      device: /dev/sdb\n      key_file:\n        inline: ", 10),
    ("passwd:\n  users:\n  - name: core\n    ssh_authorized_keys:\n    - ", 6),
];

const HEADERS: [&str; 14] =
    ["|", "|-", "|+", ">", ">-", ">+", "|2", "|2-", "|+2", ">1", ">3+", "| # c", "|-\t# c", "!!str &a |+"];

/// Lines of a block scalar; `\t` and blanks before a word are its own.
const BODIES: [&[&str]; 9] = [
    &["# x"],
    &["# x", "  # deeper", "# y"],
    &["", "# x"],
    &["# x", "", "", "# y "],
    &["  # first is deeper", "# x"],
    &["# x", " ", "# \u{2028}y\u{85}z"],
    &["\t# tab"],
    &["# x", "  # more", "", "  # more", "# y"],
    &[],
];

/// What stands behind the last line: `I` is the indentation, `N` a line break.
const ENDINGS: [&str; 33] = [
    "",
    "N",
    "NN",
    "NNN",
    "NI",
    "NI  ",
    "N  ",
    "N I",
    "NIN",
    "NI  N",
    "N  N",
    "NI  NN",
    "N# c",
    "N# cN",
    "NI# c",
    "N  # cN",
    "N...",
    "N...N",
    "N---",
    "N---Nb: 1N",
    "N...N---Nb: 1",
    " ",
    "\t",
    "N\t",
    "NI\t",
    "NI\tN",
    "\u{85}",
    "\u{2028}",
    "N\u{85}N",
    "Nkernel_arguments: {}N",
    "NNkernel_arguments: {}",
    "N   kernel_arguments: {}N",
    "N%YAML 1.1N",
];

/// 02-block-scalar-eof of the bug hunt: Honekatsu/K-Butane, bianchidotdev/homelab and elvisdiniz/fcos-apps end so, and the key
/// of an encrypted disk became another one.
#[test]
fn a_block_scalar_ends_as_butane_ends_it_whatever_stands_behind_it() {
    let Some(judge) = Judge::start("butane") else { return };
    let (mut asked, mut accepted, mut differences) = (0, 0, Vec::new());
    for header in HEADERS {
        for body in BODIES {
            for ending in ENDINGS {
                for line_break in ["\n", "\r\n", "\r"] {
                    let (before, indent) = CONTEXTS[asked % CONTEXTS.len()];
                    let indentation = " ".repeat(indent);
                    let lines: Vec<String> = body
                        .iter()
                        .map(
                            |line| {
                                if line.is_empty() { String::new() } else { format!("{indentation}{line}") }
                            },
                        )
                        .collect();
                    let ending = ending.replace('I', &indentation).replace('N', "\n");
                    let first = if lines.is_empty() { "" } else { "\n" };
                    let text = format!("{HEADER}{before}{header}{first}{}{ending}", lines.join("\n"));
                    let text = text.replace('\n', line_break);
                    asked += 1;
                    let both = both(&judge, &text);
                    accepted += usize::from(both.1.is_ok());
                    differences.extend(between(&text, both));
                }
            }
        }
    }
    eprintln!("{asked} endings, {accepted} of them accepted by Butane");
    assert!(asked > 10_000 && accepted > asked / 3);
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences[..differences.len().min(20)].join("\n")
    );
}

/// Where prebake and Go's parser differ on purpose, by what is in the text or what is said, and why.
const OTHER_VERDICTS: [(&str, &str); 4] = [
    ("duplicate key", "Butane looks for them only where it knows the keys"),
    ("value contains itself", "likewise"),
    ("aliases expand to more than", "Go counts otherwise"),
    (
        "\\u{feff}",
        "with a byte order mark at a bound of its buffer, Go's parser swallows a character of a later line",
    ),
];

fn is_known(difference: &str) -> bool {
    OTHER_VERDICTS.iter().any(|(words, _)| difference.contains(words))
}

/// The configs of the vectors and those in the documentation.
fn real_configs() -> Vec<String> {
    let vectors =
        cases("butane").into_iter().filter_map(|case| fs::read_to_string(case.join("config.bu")).ok());
    let mut configs: Vec<String> = vectors.collect();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides");
    for guide in fs::read_dir(docs).unwrap() {
        let text = fs::read_to_string(guide.unwrap().path()).unwrap();
        let blocks = text.split("```").skip(1).step_by(2);
        let yaml = blocks.filter_map(|block| block.strip_prefix("yaml\n"));
        configs.extend(yaml.filter(|block| block.contains("variant:")).map(str::to_owned));
    }
    configs
}

/// A slip of the finger, or of a tool.
#[derive(Clone, Debug)]
enum Slip {
    Insert(Index, &'static str),
    /// At the beginning of a line.
    Indent(Index, &'static str),
    /// A line break of another kind.
    Break(Index, &'static str),
    Remove(Index),
    /// A line twice, or gone.
    Line(Index, bool),
    Cut(Index),
    Swap(Index),
}

fn slip() -> impl Strategy<Value = Slip> {
    let at = any::<Index>;
    let pieces = prop::sample::select(vec![
        "\t",
        " ",
        "\n",
        ":",
        ": ",
        "- ",
        "-",
        "?",
        "? ",
        "#",
        " #",
        "\"",
        "'",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&a ",
        "*a",
        "&a",
        "<<: *a\n",
        "|",
        ">",
        "|-\n",
        "!",
        "!!str ",
        "!!int ",
        "! ",
        "!x!y ",
        "%",
        "%YAML 1.1\n",
        "%YAML 1.2\n---\n",
        "---\n",
        "...\n",
        "--- ",
        "@",
        "`",
        "\\",
        "\\\n",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "\r",
        "\r\n",
        "\u{a0}",
        "~",
        "null",
        "''",
        "\"\\x41\"",
        "\"\\",
        "0x",
        "=",
        "\u{200b}",
        "é",
    ]);
    let indents = prop::sample::select(vec![
        "\t", " ", "  ", "    ", "\t  ", "  \t", "- ", "# ", "\u{feff}", "\u{a0}", ":", "'",
    ]);
    let breaks = prop::sample::select(vec![
        "\r", "\r\n", "\u{85}", "\u{2028}", "\u{2029}", "\n\n", "\n \n", "\n\t\n", " \t\n", "",
    ]);
    prop_oneof![
        3 => (at(), pieces).prop_map(|(place, piece)| Slip::Insert(place, piece)),
        2 => (at(), indents).prop_map(|(place, piece)| Slip::Indent(place, piece)),
        1 => (at(), breaks).prop_map(|(place, piece)| Slip::Break(place, piece)),
        2 => at().prop_map(Slip::Remove),
        1 => (at(), any::<bool>()).prop_map(|(place, twice)| Slip::Line(place, twice)),
        1 => at().prop_map(Slip::Cut),
        1 => at().prop_map(Slip::Swap),
    ]
}

fn with_slip(text: &str, slip: &Slip) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    if chars.is_empty() {
        return String::new();
    }
    let lines: Vec<usize> = std::iter::once(0)
        .chain(chars.iter().enumerate().filter(|(_, c)| **c == '\n').map(|(at, _)| at + 1))
        .filter(|at| *at < chars.len())
        .collect();
    let end = |from: usize, chars: &[char]| {
        chars[from..].iter().position(|c| *c == '\n').map_or(chars.len(), |at| from + at + 1)
    };
    match slip {
        Slip::Insert(place, piece) => {
            let at = place.index(chars.len() + 1);
            chars.splice(at..at, piece.chars());
        }
        Slip::Indent(place, piece) => {
            let at = *place.get(&lines);
            chars.splice(at..at, piece.chars());
        }
        Slip::Break(place, piece) => {
            let at = end(*place.get(&lines), &chars);
            if chars[at - 1] == '\n' {
                chars.splice(at - 1..at, piece.chars());
            }
        }
        Slip::Remove(place) => drop(chars.remove(place.index(chars.len()))),
        Slip::Line(place, twice) => {
            let at = *place.get(&lines);
            let line = chars[at..end(at, &chars)].to_vec();
            match twice {
                true => drop(chars.splice(at..at, line)),
                false => drop(chars.drain(at..end(at, &chars))),
            }
        }
        Slip::Cut(place) => chars.truncate(place.index(chars.len())),
        Slip::Swap(place) => {
            let at = place.index(chars.len());
            chars.swap(at, (at + 1).min(text.chars().count() - 1));
        }
    }
    chars.into_iter().collect()
}

/// The leniencies that the bug hunt found by 12,000 mutations of real files.
#[test]
fn real_configs_with_slips_get_the_verdict_and_the_json_of_butane() {
    let Some(judge) = Judge::start("butane") else { return };
    let configs = real_configs();
    assert!(configs.len() > 140, "{}", configs.len());
    let cases = (any::<Index>(), prop::collection::vec(slip(), 1..4));
    let outcome = runner("slips").run(&cases, |(which, slips)| {
        let text = slips.iter().fold(which.get(&configs).clone(), |text, slip| with_slip(&text, slip));
        match difference(&judge, &text).filter(|difference| !is_known(difference)) {
            Some(difference) => Err(TestCaseError::fail(difference)),
            None => Ok(()),
        }
    });
    outcome.unwrap();
}

/// The tabs, byte order marks, breaks, colons and directives of the bug hunt's list, by name.
#[test]
fn what_is_no_yaml_to_go_is_none_to_us_and_the_reverse() {
    let Some(judge) = Judge::start("butane") else { return };
    let file = |contents: &str| {
        format!("{HEADER}storage:\n  files:\n    - path: /a\n      contents:\n        inline: {contents}\n")
    };
    let texts = [
        format!("{HEADER}storage:\n\tfiles: []\n"),
        format!("{HEADER}storage:\n  files:\n\t- path: /a\n"),
        format!("{HEADER}storage:\n  files:\n  -\tpath: /a\n"),
        format!("{HEADER}storage:\n  files:\n  - path:\t/a\n"),
        format!("{HEADER}storage: {{\n\tfiles: []\n}}\n"),
        format!("{HEADER}# c\n\t# c\nstorage: {{}}\n"),
        format!("{HEADER}\t# c\n"),
        format!("{HEADER}\t\n"),
        format!("\t{HEADER}"),
        format!("{HEADER}:\n"),
        format!("{HEADER}: a\n"),
        format!("{HEADER}storage:\n  files:\n    - :\n"),
        format!("{HEADER}%YAML 1.1\n"),
        format!("{HEADER}%YAML 1.1\n---\n"),
        format!("%YAML 1.1\n---\n{HEADER}"),
        format!("%YAML 1.2\n---\n{HEADER}"),
        format!("%TAG !e! tag:example.com,2000:\n---\n{HEADER}x: !e!y z\n"),
        format!("{HEADER}x: !e!y z\n"),
        format!("\u{feff}{HEADER}"),
        format!("{HEADER}\u{feff}\n"),
        file("a\u{feff}b"),
        file("\u{feff}b"),
        file("\"a\nb\""),
        file("'a\nb'"),
        file("'a\n\n\n  b\n'"),
        file("\"a \\\n   b\\\n\n c\""),
        file("a\n          b\n\n          c"),
        file("a\u{85}          b"),
        file("a\u{2028}          b\u{2029}          c"),
        file("'a\u{2028}b'"),
        file("\"a\u{85}\u{85}b\""),
        file("|\n          a\u{2028}          b\u{85}          c"),
        file(">\n          a\u{2028}          b\u{85}          c"),
        file("&a\n          x"),
        file("!!binary aGFsbG8="),
        file("! 0644"),
        file("{a: b}"),
        file("[a]: b"),
        file("a: b"),
        file("- a"),
        file("`a"),
        file("@a"),
        file("%a"),
        file("-a"),
        file("?a"),
        file(":a"),
        format!("{HEADER}storage: {{files: [path: /a, {{path: /b}}, ? path : /c]}}\n"),
        format!("{HEADER}storage: {{files: [{{path: /a, mode: 0644,}},]}}\n"),
        format!("{HEADER}storage: {{\"files\":[{{\"path\":\"/a\"}}]}}\n"),
        format!("{HEADER}storage: {{files: [{{path:/a}}]}}\n"),
        format!("{HEADER}storage: {{files: [{{path: http://a?b}}]}}\n"),
        format!("{HEADER}? storage\n: files: []\n"),
        format!("{HEADER}? [a]\n: b\n? [c]\n: d\n"),
        format!("{HEADER}{}: b\n", "k".repeat(1024)),
        format!("{HEADER}{}: b\n", "k".repeat(1025)),
        format!("{HEADER}a: *b\n"),
        format!("{HEADER}a: &b 1\nb: &b 2\nstorage: {{files: [{{path: /a, mode: *b}}]}}\n"),
        format!(
            "{HEADER}a: [&b [&b /x], *b]\nstorage: {{files: [{{path: /a, contents: {{inline: *b}}}}]}}\n"
        ),
        format!("{HEADER}---\n\tx\n"),
        format!("{HEADER}...\n\tx\n"),
        format!("{HEADER}---\n'x\n"),
        format!("{HEADER}---\na: b\n}}\n"),
        format!("---\n...\n{HEADER}"),
        format!("# c\n---\n# d\n{HEADER}"),
        HEADER.trim_end().to_owned(),
        HEADER.replace('\n', "\r"),
        HEADER.replace('\n', "\u{85}"),
        String::new(),
        "# c".into(),
        "\u{feff}".into(),
    ];
    let differences = texts.iter().filter_map(|text| difference(&judge, text));
    let differences: Vec<String> = differences.collect();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
