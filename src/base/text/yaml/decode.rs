//! From a YAML tree to prebake's own types, collecting every finding instead of stopping at the first.
//!
//! A decoder opens a mapping with the table of its keys and asks a [`Fields`] for each of them; any other key is unknown, and the
//! finding about it names the nearest known key. A value that does not fit leaves a finding and its default, so one run reports all
//! faults.

use std::cell::RefCell;
use std::sync::Arc;

use super::keys::Mapping;
use super::{Kind, Node, Style};
use crate::finding::{self, Finding, Findings, MOST, Place, Severity, Source, nearest};

/// Decodes one text and collects its findings.
pub struct Decoder {
    source: Arc<Source>,
    findings: RefCell<Gathered>,
}

/// The first findings of a text by position, whatever the order they come in, and the number of further ones: a text
/// may have a million.
#[derive(Default)]
struct Gathered {
    findings: Vec<Finding>,
    others: usize,
    /// Severity of the worst further finding.
    worst: Option<Severity>,
}

impl Gathered {
    fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
        // Rare enough for the cost of sorting not to matter.
        if self.findings.len() > 2 * MOST {
            self.shorten();
        }
    }

    /// Sorts the findings by position and drops those beyond the limit.
    fn shorten(&mut self) {
        self.findings.sort_by_key(|finding| finding.place.as_ref().map(|place| (place.line, place.column)));
        let others = self.findings.split_off(self.findings.len().min(MOST));
        others.iter().for_each(|finding| self.leave_out(finding.severity));
    }

    fn leave_out(&mut self, severity: Severity) {
        self.others += 1;
        self.worst = self.worst.max(Some(severity));
    }
}

/// A value with the place where it was written, for later checks.
#[derive(Clone, Debug)]
pub struct Spanned<T> {
    /// The value as written.
    pub value: T,
    /// Place in the text.
    pub place: Place,
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl Decoder {
    /// Begins to decode a text.
    pub fn new(source: &Arc<Source>) -> Self {
        Decoder { source: source.clone(), findings: RefCell::default() }
    }

    /// Records a finding at a node.
    pub fn error(&self, node: &Node, message: impl Into<String>) {
        self.push(Finding::error(message).at(node.place(&self.source)));
    }

    /// Records a finding that already has its place.
    pub fn push(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding);
    }

    /// Opens a mapping. Anything else leaves a finding and an empty mapping.
    pub fn fields<'n>(&'n self, node: &'n Node, mapping: &'static Mapping) -> Fields<'n> {
        let entries = match &node.kind {
            Kind::Mapping(entries) => Some(entries.as_slice()),
            _ => {
                self.error(node, format!("{} must be a mapping of keys", mapping.what));
                None
            }
        };
        Fields { decoder: self, node, mapping, entries, asked: RefCell::default() }
    }

    /// The same for a mapping that may be left out.
    pub fn options<'n>(&'n self, node: &'n Node, mapping: &'static Mapping) -> Fields<'n> {
        match node.is_null() {
            true => Fields { decoder: self, node, mapping, entries: Some(&[]), asked: RefCell::default() },
            false => self.fields(node, mapping),
        }
    }

    /// The entries of a mapping whose keys are names that the user chose, in the order written.
    pub fn entries<'n>(&self, node: &'n Node, what: &str) -> Vec<(Spanned<String>, &'n Node)> {
        match &node.kind {
            Kind::Mapping(entries) => entries
                .iter()
                .filter_map(|(key, value)| Some((self.spanned(key, self.string(key)?), value)))
                .collect(),
            _ if node.is_null() => Vec::new(),
            _ => {
                self.error(node, format!("{what} must be a mapping of names"));
                Vec::new()
            }
        }
    }

    /// The items of a list; null is empty.
    pub fn items<'n>(&self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.kind {
            Kind::Sequence(items) => items,
            _ if node.is_null() => &[],
            _ => {
                self.error(node, format!("{what} must be a list"));
                &[]
            }
        }
    }

    /// A text: any scalar as it was spelt (`1.10` stays `1.10`).
    pub fn string(&self, node: &Node) -> Option<String> {
        match node.scalar() {
            Some(text) if !node.is_null() => Some(text.to_owned()),
            _ => {
                self.error(node, "must be text");
                None
            }
        }
    }

    /// A list of texts, each with its place.
    pub fn strings(&self, node: &Node, what: &str) -> Vec<Spanned<String>> {
        let items = self.items(node, what).iter();
        items.filter_map(|item| Some(self.spanned(item, self.string(item)?))).collect()
    }

    /// `true` or `false`, plain.
    pub fn boolean(&self, node: &Node) -> Option<bool> {
        match &node.kind {
            Kind::Scalar(text, Style::Plain) if text == "true" => Some(true),
            Kind::Scalar(text, Style::Plain) if text == "false" => Some(false),
            _ => {
                self.error(node, "must be `true` or `false`");
                None
            }
        }
    }

    /// A value read by the type's own parser; its message becomes the finding.
    pub fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, node: &Node) -> Option<T> {
        let text = self.string(node)?;
        text.parse().map_err(|why| self.error(node, format!("{why}"))).ok()
    }

    /// Attaches a node's place to a value.
    pub fn spanned<T>(&self, node: &Node, value: T) -> Spanned<T> {
        Spanned { value, place: node.place(&self.source) }
    }

    /// The value, or all findings at once in the order of the text; of more than [`MOST`], only the first ones and the
    /// number of the rest.
    pub fn finish<T>(self, value: T) -> Result<T, Findings> {
        self.settle(value).map(|(value, _)| value)
    }

    /// As [`finish`](Self::finish), with the warnings beside the value.
    pub fn settle<T>(self, value: T) -> Result<(T, Vec<Finding>), Findings> {
        let mut gathered = self.findings.into_inner();
        gathered.shorten();
        let Gathered { mut findings, others, worst } = gathered;
        if let Some(severity) = worst {
            let rest = Finding::error(format!("{} has {}", self.source.name, finding::more(others)));
            findings.push(Finding { severity, ..rest });
        }
        Findings::settle(findings, value)
    }
}

/// A mapping that is being decoded. When dropped, keys that its table does not have become findings.
pub struct Fields<'n> {
    decoder: &'n Decoder,
    node: &'n Node,
    mapping: &'static Mapping,
    /// `None` if the node is not a mapping, which is a finding already.
    entries: Option<&'n [(Node, Node)]>,
    /// Keys that the decoder read, to be held against the table where debug assertions are on.
    asked: RefCell<Vec<&'static str>>,
}

impl<'n> Fields<'n> {
    /// The value of an optional key; null counts as absent.
    pub fn get(&self, key: &'static str) -> Option<&'n Node> {
        self.written(key).filter(|value| !value.is_null())
    }

    /// The value of a key that is there, null included.
    pub fn written(&self, key: &'static str) -> Option<&'n Node> {
        debug_assert!(self.mapping.key(key).is_some(), "no words for `{key}` of {}", self.mapping.what);
        if cfg!(debug_assertions) {
            self.asked.borrow_mut().push(key);
        }
        self.entries?.iter().find(|(k, _)| k.scalar() == Some(key)).map(|(_, value)| value)
    }

    /// The value of a required key; a finding if it is missing.
    pub fn need(&self, key: &'static str) -> Option<&'n Node> {
        let value = self.get(key);
        if value.is_none() && self.entries.is_some() {
            self.decoder.error(self.node, format!("{} needs the key `{key}`", self.mapping.what));
        }
        value
    }

    /// A key of the table that the decoder did not read though it found no fault, which would be accepted and ignored.
    fn unread(&self) -> Option<&'static str> {
        let is_sound = !std::thread::panicking() && self.decoder.findings.borrow().findings.is_empty();
        let asked = self.asked.borrow();
        let mut keys = self.mapping.keys.iter().filter(|_| is_sound).map(|key| key.name);
        keys.find(|key| !asked.contains(key))
    }
}

impl Drop for Fields<'_> {
    fn drop(&mut self) {
        debug_assert_eq!(self.unread(), None, "a key of {} is in its table alone", self.mapping.what);
        let Mapping { what, keys, holders, .. } = self.mapping;
        let mut told = 0;
        for (key, _) in self.entries.unwrap_or_default() {
            let name = key.scalar().unwrap_or_default();
            if self.mapping.key(name).is_some() || (*holders && name.starts_with("x-")) {
                continue;
            }
            // Unknown keys of one mapping come in the order of the text, so later ones would not be kept; do not search
            // their nearest keys.
            told += 1;
            if told > MOST {
                self.decoder.findings.borrow_mut().leave_out(Severity::Error);
                continue;
            }
            let finding =
                Finding::error(format!("unknown key `{name}` in {what}")).at(key.place(&self.decoder.source));
            let known = keys.iter().map(|key| key.name);
            self.decoder.push(match nearest(name, known.clone()) {
                Some(near) => finding.hint(format!("did you mean `{near}`?")),
                None => finding.hint(format!("known keys: {}", known.collect::<Vec<_>>().join(", "))),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::keys::{Key, Value};
    use crate::yaml::parse;

    static NOTHING: Mapping = Mapping::of("the test", &[]);
    static TEST: Mapping = Mapping::of(
        "the test",
        &[
            Key::needed("name", Value::Text, "a", "Its name."),
            Key::may("count", Value::Number(0, 9), "none", "1", "How many."),
        ],
    );

    /// ux 1.2: the list of known keys was what the decoder had asked for so far, some of it twice.
    #[test]
    fn known_keys_are_all_of_the_table_each_once() {
        let source = Source::new("x.yaml", "name: a\nzzzzzzz: 1\n");
        let root = parse(&source).unwrap();
        let decoder = Decoder::new(&source);
        {
            let fields = decoder.fields(&root, &TEST);
            let _ = (fields.get("count"), fields.need("name"), fields.get("count"));
        }
        let Err(Findings(findings)) = decoder.finish(()) else { panic!("a fault expected") };
        assert_eq!(findings[0].hint.as_deref(), Some("known keys: name, count"));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "no words for `size` of the test")]
    fn a_key_without_words_fails_the_test_that_reads_it() {
        let source = Source::new("x.yaml", "name: a\n");
        let root = parse(&source).unwrap();
        let decoder = Decoder::new(&source);
        let _ = decoder.fields(&root, &TEST).get("size");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "a key of the test is in its table alone")]
    fn a_key_that_no_decoder_reads_fails_the_test_that_decodes_it() {
        let source = Source::new("x.yaml", "name: a\n");
        let root = parse(&source).unwrap();
        let decoder = Decoder::new(&source);
        let _ = decoder.fields(&root, &TEST).get("name");
    }

    /// Each of 20,000 unknown keys was searched for from the beginning of the text, which took seconds, and a minute
    /// for 500,000.
    #[test]
    fn of_very_many_faults_the_first_are_told_and_the_others_counted() {
        let text: String = (0..20_000).map(|number| format!("k{number}: 1\n")).collect();
        let source = Source::new("x.yaml", text);
        let root = parse(&source).unwrap();
        let told = |decoder: Decoder| {
            let Err(Findings(findings)) = decoder.finish(()) else { panic!("faults expected") };
            assert_eq!(findings.len(), MOST + 1);
            let lines: Vec<_> =
                findings.iter().filter_map(|finding| Some(finding.place.as_ref()?.line)).collect();
            assert_eq!(lines, (1..=MOST).collect::<Vec<_>>());
            findings.last().unwrap().message.clone()
        };
        let of_one_mapping = Decoder::new(&source);
        drop(of_one_mapping.fields(&root, &NOTHING));
        assert_eq!(told(of_one_mapping), "x.yaml has 19800 more findings, which are not shown");
        // Faults in values, the last ones first.
        let of_values = Decoder::new(&source);
        let wrong = of_values
            .entries(&root, "names")
            .iter()
            .rev()
            .filter_map(|(_, value)| of_values.boolean(value))
            .count();
        assert_eq!(wrong, 0);
        assert_eq!(told(of_values), "x.yaml has 19800 more findings, which are not shown");
        let warned = Decoder::new(&source);
        for line in 1..=MOST + 1 {
            warned.push(Finding::warning("doubtful").at(Place { source: source.clone(), line, column: 1 }));
        }
        assert!(warned.finish(()).is_ok(), "what is only doubtful stays so");
    }

    #[test]
    fn every_fault_is_told_at_once_with_the_nearest_key() {
        let source = Source::new("x.yaml", "nmae: a\ncount: many\nextra: 1\n");
        let root = parse(&source).unwrap();
        let decoder = Decoder::new(&source);
        {
            let fields = decoder.fields(&root, &TEST);
            fields.need("name").and_then(|n| decoder.string(n));
            fields.get("count").and_then(|n| decoder.parsed::<u32>(n));
        }
        let Err(Findings(findings)) = decoder.finish(()) else { panic!("faults expected") };
        let texts: Vec<&str> = findings.iter().map(|f| f.message.as_str()).collect();
        assert_eq!(
            texts,
            [
                "the test needs the key `name`",
                "unknown key `nmae` in the test",
                "invalid digit found in string",
                "unknown key `extra` in the test"
            ]
        );
        assert_eq!(findings[1].hint.as_deref(), Some("did you mean `name`?"));
    }
}
