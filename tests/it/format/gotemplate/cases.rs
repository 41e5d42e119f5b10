//! Hand-written templates, all with the same data.
//!
//! They lie in `tests/data/gotemplate`, a file per rule, a template per line behind a line that says what they are about.
//! `␊`, `␉`, `␠` and the other pictures of U+2400 stand for the characters that they show.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

pub(super) fn data() -> Value {
    json!({
        "name": "node1", "port": 8080, "big": 1000000, "huge": 123456789, "precise": 9007199254740993_u64, "neg": -42,
        "tiny": 0.000001, "half": 2.5, "zero": 0, "third": 0.333333333333, "edge": 100000, "e21": 1e21, "negzero": -0.0,
        "empty": "", "html": "<a href=\"x\">'&'</a>", "unicode": "ä€\u{1f600}\u{2028}\u{a0}\u{0}\u{7f}", "lines": "a\nb\r\n",
        "percent": "100%d", "none": null, "yes": true, "no": false,
        "list": ["a", "b", "c"], "numbers": [1, 2.5, 1e7], "mixed": [1, "a", null, true, [2], {"k": null}], "nothing": [],
        "map": {"z": 26, "a": 1, "m": {"deep": "down"}}, "void": {}, "dash-key": "dashed", "Upper": "up", "größe": "big",
        "_under": "score", "nested": [{"name": "x", "tags": ["p", "q"]}, {"name": "y", "tags": []}],
        "users": {"core": {"uid": 500, "keys": ["ssh-ed25519 AAAA"]}, "root": {"uid": 0, "keys": []}},
        "five": [1, 2, 3, 4, 5],
    })
}

/// Every template.
pub(crate) fn all() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gotemplate");
    let mut templates: Vec<Vec<u8>> = BINARY.iter().map(|template| template.to_vec()).collect();
    templates.extend(INVISIBLE.iter().map(|template| template.as_bytes().to_vec()));
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        templates.extend(
            text.lines().skip(1).map(|line| line.chars().map(meant).collect::<String>().into_bytes()),
        );
    }
    templates
}

/// What a picture of a control character stands for.
fn meant(character: char) -> char {
    match character {
        '\u{2400}'..='\u{2420}' => char::from(u32::from(character).to_le_bytes()[0]),
        character => character,
    }
}

/// What no editor shows.
const INVISIBLE: &[&str] = &[
    "",
    "\u{feff}{{.name}}",
    "{{\u{a0}.name}}",
    "{{\u{feff}}}",
    "{{a\u{300}}}",
    "{{.\u{300}}}",
    "{{.name\u{7f}}}",
];

/// Not UTF-8.
const BINARY: &[&[u8]] = &[
    b"\xff\xfe{{.name}}\x00\x80",
    b"{{\"\xff\"}}",
    b"{{`\xff`}}",
    b"{{'\xff'}}",
    b"{{.\xff}}",
    b"{{\xff}}",
    b"{{/* \xff */}}x",
    b"\xe2\x82{{.name}}\xac",
    b"{{print \"\xff\" `\xff`}}",
    b"{{html `\xff<`}}",
    b"{{js `\xff`}}",
    b"{{urlquery `\xff`}}",
    b"{{printf \"%q %x %s\" `\xff` `\xff` `\xff`}}",
    b"{{printf `%\xff` 1}}",
    b"{{printf `\xff%d` 1}}",
    b"{{slice `\xff\xfe` 1}}",
    b"{{index `\xff` 0}}",
    b"{{template `\xff`}}",
    b"{{define `\xff`}}x{{end}}{{template `\xff`}}",
    b"{{eq `\xff` \"\\xff\"}}",
    b"{{printf \"%5s|%.1s|%+q\" `\xff` `\xff\xff` `\xff`}}",
];
