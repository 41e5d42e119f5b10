//! Labels: a machine's description of itself in a query string, parsed like Matchbox (Go's `net/url` and
//! `net.ParseMAC`) does.

use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::percent_decode_str;

use crate::tree::records::normal_mac;

/// The labels that identify a machine.
const WHO: [&str; 6] = ["mac", "uuid", "serial", "hostname", "arch", "cards"];
/// The most labels that are kept, and their size in bytes. iPXE's script sends ten, with a few hundred bytes.
const MOST_KEPT: (usize, usize) = (24, 3 << 10);

/// Most characters that are kept of a malformed MAC address.
const MOST_ODD: usize = 64;

/// The labels of a request: the first value of each key.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    known: BTreeMap<String, String>,
    /// A `mac` that is no MAC address, as it was sent. It is told to people, and is no label: nothing can match it.
    odd: Option<String>,
}

/// Two requests that select the same have equal labels, whatever else was sent.
impl PartialEq for Labels {
    fn eq(&self, other: &Labels) -> bool {
        self.known == other.known
    }
}

impl Eq for Labels {}

impl Labels {
    /// Parses a query string.
    ///
    /// A pair with a raw `;` or a broken escape is dropped alone, a key without `=` has the empty value, and of a
    /// repeated key the first value counts. A MAC address (the key `mac` in any case) is normalized; an invalid one is
    /// dropped.
    pub fn parse(query: &str) -> Labels {
        let mut labels = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (unescape(key), unescape(value)) {
                labels.entry(key).or_insert(value);
            }
        }
        let mut odd = None;
        labels.retain(|key, value| {
            if !key.eq_ignore_ascii_case("mac") {
                return true;
            }
            let normal = normal_mac(value);
            if normal.is_none() && !value.is_empty() {
                odd = Some(value.chars().take(MOST_ODD).collect());
            }
            value.clone_from(normal.as_ref().unwrap_or(&String::new()));
            normal.is_some()
        });
        Labels { known: labels, odd }
    }

    /// A `mac` that is no MAC address, as the machine sent it.
    pub(crate) fn odd_mac(&self) -> Option<&str> {
        self.odd.as_deref()
    }

    /// These labels, without those that have an empty value, which mean nothing.
    pub(crate) fn of(said: impl IntoIterator<Item = (String, String)>) -> Labels {
        Labels { known: said.into_iter().filter(|(_, value)| !value.is_empty()).collect(), odd: None }
    }

    /// Some of these labels, as [`Labels::of`] has them, and the `mac` that is no MAC address.
    pub(crate) fn only(&self, said: impl IntoIterator<Item = (String, String)>) -> Labels {
        Labels { odd: self.odd.clone(), ..Labels::of(said) }
    }

    /// The value of a label; empty if the label is absent.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.known.get(key).map_or("", String::as_str)
    }

    /// The same labels with one value replaced.
    pub(crate) fn with(mut self, key: &str, value: impl Into<String>) -> Labels {
        self.known.insert(key.to_owned(), value.into());
        if key == "mac" {
            self.odd = None;
        }
        self
    }

    /// The same labels without one.
    pub(crate) fn without(mut self, key: &str) -> Labels {
        self.known.remove(key);
        self
    }

    /// The part of the labels that is kept as long as the answer is on its way: everything that a real machine sends,
    /// but only a part of a made-up query. Identifying labels come first.
    pub(crate) fn kept(self) -> Labels {
        let is_known = |key: &str| WHO.contains(&key.to_ascii_lowercase().as_str());
        let (known, others): (Vec<_>, Vec<_>) = self.known.into_iter().partition(|(key, _)| is_known(key));
        let mut left = MOST_KEPT;
        let kept = known.into_iter().chain(others).filter(|(key, value)| {
            let (pairs, bytes) = left;
            let fits = pairs > 0 && key.len() + value.len() <= bytes;
            if fits {
                left = (pairs - 1, bytes - key.len() - value.len());
            }
            fits
        });
        Labels { known: kept.collect(), odd: self.odd }
    }

    /// All of them, sorted by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.known.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// The form for log lines and answers: `mac=52:54:00:00:00:01 uuid=…`, without empty labels. Values that could be
/// mistaken for another label, or for the server's own words, are quoted.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |text: &str| match text.contains([' ', '=', '"']) {
            true => format!("{text:?}"),
            false => text.to_owned(),
        };
        let said = self.iter().filter(|(_, value)| !value.is_empty());
        let mut said: Vec<String> =
            said.map(|(key, value)| format!("{}={}", word(key), word(value))).collect();
        said.extend(self.odd.as_ref().map(|odd| format!("mac={odd:?} (not a MAC address)")));
        f.write_str(&said.join(" "))
    }
}

/// Go's `url.QueryUnescape`: `+` is a blank, a broken escape is an error. Non-UTF-8 bytes are replaced; no selector can
/// match them.
fn unescape(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let digits = rest.get(at + 1..at + 3)?;
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
        rest = &rest[at + 3..];
    }
    Some(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query of 8 KiB can have 2,700 labels, which took half a MiB as long as the client did not read its answer.
    #[test]
    fn what_is_remembered_of_labels_is_bounded_and_who_it_is_comes_first() {
        let many: String = (0..2700).map(|number| format!("a{number}=1&")).collect();
        let kept = Labels::parse(&format!("{many}uuid=u&MAC=52:54:00:00:00:01&serial=s")).kept();
        assert_eq!(kept.iter().count(), MOST_KEPT.0);
        assert_eq!((kept.get("uuid"), kept.get("MAC"), kept.get("serial")), ("u", "52:54:00:00:00:01", "s"));
        let long = Labels::parse(&format!("a={}&mac=52-54-00-00-00-01&x=1", "b".repeat(8000))).kept();
        assert_eq!(long.to_string(), "mac=52:54:00:00:00:01 x=1");
        let usual = Labels::parse("mac=52-54-00-00-00-01&uuid=u&asset=a&domain=d");
        assert_eq!(usual.clone().kept(), usual);
    }

    #[test]
    fn queries_are_read_as_go_reads_them() {
        let labels = Labels::parse("a=1&a=2&b&c=x+y%21&bad=%zz&semi;colon=1&=empty&&d=%C3%BC");
        let all: Vec<(&str, &str)> = labels.iter().collect();
        assert_eq!(all, [("", "empty"), ("a", "1"), ("b", ""), ("c", "x y!"), ("d", "ü")]);
        assert_eq!(labels.get("absent"), "");
    }

    #[test]
    fn a_mac_has_one_form_and_what_is_none_is_dropped() {
        for form in ["52-54-00-AB-00-01", "52:54:00:ab:00:01", "5254.00AB.0001", "525400ab0001"] {
            assert_eq!(normal_mac(form).as_deref(), Some("52:54:00:ab:00:01"), "{form}");
        }
        assert_eq!(Labels::parse("MAC=52-54-00-AB-00-01").get("MAC"), "52:54:00:ab:00:01");
        for none in ["", "52:54:00:ab:00", "52-54:00:ab:00:01", "52:54:00:ab:00:0g", "52 54 00 ab 00 01", "ü"]
        {
            assert_eq!(normal_mac(none), None, "{none}");
        }
        assert_eq!(Labels::parse("mac=nonsense"), Labels::default());
        // ux.md 1.19, 2026-11-28: the page said `arch=i386`, not what the machine had sent.
        let odd = Labels::parse("arch=i386&mac=52-54-00-00-00-0G").kept();
        assert_eq!(odd.to_string(), "arch=i386 mac=\"52-54-00-00-00-0G\" (not a MAC address)");
        assert_eq!((odd.get("mac"), odd.iter().count()), ("", 1));
    }

    #[test]
    fn what_is_printed_cannot_pass_for_another_label() {
        let labels = Labels::parse("a=1+group%3Dadmin&b=%22&c=&d=plain");
        assert_eq!(labels.to_string(), r#"a="1 group=admin" b="\"" d=plain"#);
    }

    proptest::proptest! {
        #[test]
        fn any_query_is_read_without_panic_and_a_mac_is_one_or_absent(query in "((?i:mac)=|[&=%;+0-9a-f:-]|.){0,60}") {
            let labels = Labels::parse(&query);
            labels.to_string();
            for (key, value) in labels.iter().filter(|(key, _)| key.eq_ignore_ascii_case("mac")) {
                assert_eq!(normal_mac(value).as_deref(), Some(value), "{key}");
            }
        }
    }
}
