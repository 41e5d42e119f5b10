//! `Range` headers (RFC 9110, 14), parsed like Go, and so Matchbox, does.

use std::ops::Range;

/// Most ranges in one request. More is an attack or a mistake, and gets the whole file.
const MAX_RANGES: usize = 16;

/// The answer to a malformed header, in Go's words.
pub(crate) const MALFORMED: &str = "invalid range\n";

/// The result of parsing a `Range` header for a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Ranges {
    /// The whole file.
    Whole,
    /// One part or several, each within the file and not empty.
    Parts(Vec<Range<u64>>),
    /// All ranges begin beyond its end.
    Beyond,
    /// Unreadable. Go, and so Matchbox, refuses it, although RFC 9110 allows to ignore it.
    Malformed,
}

/// Parses a `Range` header for a file of this size in bytes. Ranges beyond its end are skipped, unless all are.
pub fn parse(header: &str, size: u64) -> Ranges {
    let Some(list) = header.strip_prefix("bytes=") else { return Ranges::Malformed };
    let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    let Some(asked) = parts.map(|part| parse_range(part, size)).collect::<Option<Vec<_>>>() else {
        return Ranges::Malformed;
    };
    let count = asked.len();
    let ranges: Vec<_> = asked.into_iter().filter(|range| range.start < range.end).collect();
    let total: u64 = ranges.iter().fold(0, |sum, range| sum.saturating_add(range.end - range.start));
    match ranges.len() {
        // Overlapping ranges can add up to many times the file.
        _ if count == 0 || count > MAX_RANGES || total > size => Ranges::Whole,
        0 => Ranges::Beyond,
        _ => Ranges::Parts(ranges),
    }
}

/// One range, cut to the file and thus possibly empty. `None` if it is malformed.
fn parse_range(part: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = part.split_once('-')?;
    // Go's integers are signed; a number beyond their range is malformed.
    let number = |text: &str| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i64>().ok().filter(|_| digits).map(i64::unsigned_abs)
    };
    Some(match (first.trim(), last.trim()) {
        ("", suffix) => size.saturating_sub(number(suffix)?)..size,
        // The last byte is not parsed in this case.
        (first, _) if number(first)? >= size => size..size,
        (first, "") => number(first)?..size,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(first..last.saturating_add(1).min(size))?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file_or_refused() {
        let parts = |header| match parse(header, 10) {
            Ranges::Parts(ranges) => ranges.iter().map(|range| (range.start, range.end)).collect::<Vec<_>>(),
            other => panic!("{header}: {other:?}"),
        };
        assert_eq!(parts("bytes=2-4"), [(2, 5)]);
        assert_eq!(parts("bytes=7-"), [(7, 10)]);
        assert_eq!(parts("bytes=-3"), [(7, 10)]);
        assert_eq!(parts("bytes=-99"), [(0, 10)]);
        assert_eq!(parts("bytes=8-99"), [(8, 10)]);
        assert_eq!(parts("bytes=0-1, 4-5"), [(0, 2), (4, 6)]);
        assert_eq!(parts("bytes=0-1,20-"), [(0, 2)], "what lies beyond the end is left out");
        for beyond in ["bytes=10-", "bytes=10-10", "bytes=12-9", "bytes=-0"] {
            assert_eq!(parse(beyond, 10), Ranges::Beyond, "{beyond}");
        }
        for bad in [
            "bytes=5-4",
            "bytes=99999999999999999999-",
            "bytes=a-b",
            "bytes=+1-2",
            "lines=1-2",
            "bytes=--1",
            "bytes=-",
            "bytes=0-1,x",
        ] {
            assert_eq!(parse(bad, 10), Ranges::Malformed, "{bad}");
        }
        for whole in ["bytes=", "bytes=0-9,0-9,0-9"] {
            assert_eq!(parse(whole, 10), Ranges::Whole, "{whole}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_range_leaves_the_file(header in "(bytes=[0-9, -]{0,40}|.{0,40})", size in 0u64..1000) {
            if let Ranges::Parts(ranges) = parse(&header, size) {
                assert!(!ranges.is_empty());
                assert!(ranges.iter().all(|range| range.start < range.end && range.end <= size));
            }
        }
    }
}
