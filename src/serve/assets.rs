//! Files of the tree: conditions, ranges and content types, as RFC 9110 has them.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use super::answer::{Answer, Body, Piece, TEXT};
use super::routes::Request;
use super::site::{Asset, Site};

/// Most ranges in one request; more is an attack or a mistake, and gets the whole file.
const MAX_RANGES: usize = 16;
/// Parts boundaries of `multipart/byteranges`. No file content is searched for it: a part's length is in its heading.
const BOUNDARY: &str = "prebake-part";

/// Answers with a published file, or parts of it.
pub fn answer(site: &Site, path: &str, request: &Request<'_>) -> Answer {
    match site.asset(path) {
        Some(asset) => send(&asset, request),
        None => Answer::missing("the tree's manifest names no such file"),
    }
}

/// Answers with a file, or parts of it.
pub fn send(asset: &Asset, request: &Request<'_>) -> Answer {
    let Asset { kind, size, pieces, .. } = asset;
    let (kind, size) = (&**kind, *size);
    let etag = asset.etag.as_ref().map(|etag| format!("\"{etag}\""));
    let modified = asset.modified.map(http_date);
    let stamp = |answer: Answer| {
        let stamps = [("etag", &etag), ("last-modified", &modified)];
        let stamps = stamps.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        stamps.fold(answer.header("accept-ranges", "bytes"), |answer, (name, value)| answer.header(name, value))
    };
    if not_modified(request, etag.as_deref(), asset.modified) {
        return stamp(Answer { headers: Vec::new(), ..Answer::new(304, kind, "") });
    }
    // A range of another version than the client has must not be sent.
    let same = |tag: &str| Some(tag) == etag.as_deref() || Some(tag) == modified.as_deref();
    let same = request.header("if-range").is_none_or(same);
    // Some clients ask for a range of whatever they load; of nothing, there is none.
    let asked = request.header("range").filter(|_| same && size > 0);
    let body = |status, kind: &str, body| Answer { body, ..Answer::new(status, kind, "") };
    let part = |range| Body::File { pieces: pieces.clone(), range };
    let refused = |why| Answer::new(416, TEXT, why).header("content-range", format!("bytes */{size}"));
    stamp(match asked.map_or(Ranges::Whole, |header| parse_ranges(header, size)) {
        Ranges::Whole => body(200, kind, part(0..size)),
        Ranges::Parts(ranges) => match ranges.as_slice() {
            [range] => body(206, kind, part(range.clone()))
                .header("content-range", format!("bytes {}-{}/{}", range.start, range.end - 1, size)),
            ranges => {
                let kind_of_all = format!("multipart/byteranges; boundary={BOUNDARY}");
                body(206, &kind_of_all, parts(size, kind, pieces.clone(), ranges.iter()))
            }
        },
        Ranges::Malformed => refused("invalid range\n"),
        Ranges::Beyond => refused("invalid range: failed to overlap\n"),
    })
}

fn not_modified(request: &Request<'_>, etag: Option<&str>, modified: Option<SystemTime>) -> bool {
    match (request.header("if-none-match"), request.header("if-modified-since"), modified) {
        (Some(tags), ..) => tags.split(',').any(|tag| {
            let tag = tag.trim();
            tag == "*" || Some(tag.trim_start_matches("W/")) == etag
        }),
        (None, Some(since), Some(modified)) => is_since(modified, since),
        _ => false,
    }
}

/// Whether a file that was written then is not newer than a date of a header, which has whole seconds.
pub fn is_since(modified: SystemTime, date: &str) -> bool {
    let seconds = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    httpdate::parse_http_date(date).is_ok_and(|date| modified <= date)
}

/// What a `Range` header asks of a file.
#[derive(Debug, PartialEq, Eq)]
enum Ranges {
    /// All of it.
    Whole,
    /// One part or several, each within the file and not empty.
    Parts(Vec<Range<u64>>),
    /// Only what lies beyond its end.
    Beyond,
    /// Nothing that can be read; Go, and so Matchbox, refuses it where RFC 9110 would let it be ignored.
    Malformed,
}

/// Reads a `Range` header for a file of so many bytes. Ranges beyond its end are left out as long as others are not.
fn parse_ranges(header: &str, size: u64) -> Ranges {
    let Some(list) = header.strip_prefix("bytes=") else { return Ranges::Malformed };
    let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    let Some(asked) = parts.map(|part| parse_range(part, size)).collect::<Option<Vec<_>>>() else {
        return Ranges::Malformed;
    };
    let count = asked.len();
    let ranges: Vec<_> = asked.into_iter().filter(|range| range.start < range.end).collect();
    let total: u64 = ranges.iter().fold(0, |sum, range| sum.saturating_add(range.end - range.start));
    match ranges.len() {
        // Overlapping ranges can ask for more than the file many times over.
        _ if count == 0 || count > MAX_RANGES || total > size => Ranges::Whole,
        0 => Ranges::Beyond,
        _ => Ranges::Parts(ranges),
    }
}

/// One range, cut to the file and so perhaps empty; none if it makes no sense.
fn parse_range(part: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = part.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More than 2^64 lies beyond any file.
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    Some(match (first.trim(), last.trim()) {
        ("", suffix) => size.saturating_sub(number(suffix)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(first..last.saturating_add(1).min(size))?
        }
    })
}

fn parts<'r>(
    size: u64,
    kind: &str,
    pieces: Vec<Piece>,
    ranges: impl Iterator<Item = &'r Range<u64>>,
) -> Body {
    let head = |range: &Range<u64>| {
        let (first, last) = (range.start, range.end - 1);
        format!(
            "\r\n--{BOUNDARY}\r\ncontent-type: {kind}\r\ncontent-range: bytes {first}-{last}/{size}\r\n\r\n"
        )
    };
    let parts = ranges.map(|range| (head(range), range.clone())).collect();
    Body::Parts { pieces, parts, end: format!("\r\n--{BOUNDARY}--\r\n") }
}

/// A time as headers have it.
pub fn http_date(time: SystemTime) -> String {
    // httpdate knows years up to 9999; an epoch beyond that is as good as the last.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    httpdate::fmt_http_date(time.min(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file_or_refused() {
        let parts = |header| match parse_ranges(header, 10) {
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
        for beyond in ["bytes=10-", "bytes=10-10", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(parse_ranges(beyond, 10), Ranges::Beyond, "{beyond}");
        }
        for bad in [
            "bytes=5-4",
            "bytes=12-9",
            "bytes=a-b",
            "bytes=+1-2",
            "lines=1-2",
            "bytes=--1",
            "bytes=-",
            "bytes=0-1,x",
        ] {
            assert_eq!(parse_ranges(bad, 10), Ranges::Malformed, "{bad}");
        }
        for whole in ["bytes=", "bytes=0-9,0-9,0-9"] {
            assert_eq!(parse_ranges(whole, 10), Ranges::Whole, "{whole}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_range_leaves_the_file(header in "(bytes=[0-9, -]{0,40}|.{0,40})", size in 0u64..1000) {
            if let Ranges::Parts(ranges) = parse_ranges(&header, size) {
                assert!(!ranges.is_empty());
                assert!(ranges.iter().all(|range| range.start < range.end && range.end <= size));
            }
        }
    }
}
