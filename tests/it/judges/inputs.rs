//! The properties of the fuzz targets, on bytes that nobody wrote: the vectors, cut and spliced.

use std::fs;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;

use super::{properties, runner};
use crate::format::gotemplate::templates;
use crate::ignition::vectors::cases;

/// One thing that happens to a text.
#[derive(Clone, Debug)]
enum Mutation {
    Cut(Index, Index),
    Insert(Index, Vec<u8>),
    /// A piece of another text.
    Splice(Index, Index, Index),
    Twice(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    // What the grammars are made of, because any other byte seldom gets beyond the first check.
    let tokens = prop::sample::select(vec![
        "\n",
        "  ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<: *a\n",
        "!!binary ",
        "|\n",
        ">-\n",
        "#",
        "\t",
        ",",
        "null",
        "~",
        "-1",
        "0x1ff",
        "1e99",
        "99999999999999999999",
        "\u{feff}",
        "\u{2028}",
        "\\u0000",
        "\\ud800",
        "%",
        "data:;base64,",
        "data:,",
        "--- ",
        "...\n",
        "\0",
    ]);
    let bytes = prop_oneof![
        4 => tokens.prop_map(|token| token.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..6),
    ];
    prop_oneof![
        (at(), at()).prop_map(|(from, length)| Mutation::Cut(from, length)),
        (at(), bytes).prop_map(|(place, bytes)| Mutation::Insert(place, bytes)),
        (at(), at(), at()).prop_map(|(other, from, to)| Mutation::Splice(other, from, to)),
        (at(), at()).prop_map(|(from, length)| Mutation::Twice(from, length)),
    ]
}

/// A short range of a text of `length` bytes.
fn range(from: Index, size: Index, length: usize) -> std::ops::Range<usize> {
    let start = from.index(length + 1);
    start..(start + size.index(40)).min(length)
}

fn mutated(texts: &[Vec<u8>], base: Index, mutations: &[Mutation]) -> Vec<u8> {
    let mut text = base.get(texts).clone();
    for mutation in mutations {
        let length = text.len();
        match mutation {
            Mutation::Cut(from, size) => drop(text.drain(range(*from, *size, length))),
            Mutation::Insert(place, bytes) => {
                let place = place.index(length + 1);
                text.splice(place..place, bytes.iter().copied());
            }
            Mutation::Splice(other, from, size) => {
                let other = other.get(texts);
                let piece = other[range(*from, *size, other.len())].to_vec();
                let place = from.index(length + 1);
                text.splice(place..place, piece);
            }
            Mutation::Twice(from, size) => {
                let piece = text[range(*from, *size, length)].to_vec();
                let place = from.index(length + 1);
                text.splice(place..place, piece);
            }
        }
    }
    text
}

/// Every text of a name in a set of the vectors.
fn texts(set: &str, name: &str) -> Vec<Vec<u8>> {
    cases(set).iter().filter_map(|case| fs::read(case.join(name)).ok()).collect()
}

fn holds(what: &str, texts: &[Vec<u8>], property: fn(&[u8])) {
    let cases = (any::<Index>(), prop::collection::vec(mutation(), 0..6));
    let outcome = runner(what).run(&cases, |(base, mutations)| {
        let text = mutated(texts, base, &mutations);
        let bytes = text.clone();
        std::panic::catch_unwind(|| property(&bytes)).map_err(|_| {
            TestCaseError::fail(format!("{what} does not hold for {:?}", String::from_utf8_lossy(&text)))
        })
    });
    outcome.unwrap();
}

#[test]
fn translating_holds_its_promises_for_any_bytes() {
    holds("any Butane", &texts("butane", "config.bu"), properties::transpile);
}

#[test]
fn validating_holds_its_promises_for_any_bytes() {
    holds("any Ignition", &texts("validate", "config.ign"), properties::validate);
}

#[test]
fn merging_holds_its_promises_for_any_bytes() {
    let parents = texts("merge", "parent.ign");
    let pairs: Vec<Vec<u8>> = parents
        .into_iter()
        .zip(texts("merge", "child.ign"))
        .map(|(parent, child)| [parent, child].join(&0))
        .collect();
    holds("any layers", &pairs, properties::merge);
}

#[test]
fn templates_hold_their_promises_for_any_bytes() {
    holds("any template", &templates(), properties::gotemplate);
}
