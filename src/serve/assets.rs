//! Files of the tree: conditions, ranges and content types, as RFC 9110 has them.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use super::answer::{Answer, Body, TEXT};
use super::routes::Request;
use super::site::Site;
use crate::manifest::File;

/// Most ranges in one request; more is an attack or a mistake, and gets the whole file.
const MAX_RANGES: usize = 16;
/// Parts boundaries of `multipart/byteranges`. No file content is searched for it: a part's length is in its heading.
const BOUNDARY: &str = "prebake-part";

/// Content types by the end of the name; the rest is a stream of bytes.
const TYPES: [(&str, &str); 7] = [
    (".gz", "application/gzip"),
    (".bz2", "application/x-bzip2"),
    (".json", "application/json"),
    (".ign", "application/json"),
    (".ipxe", TEXT),
    (".txt", TEXT),
    ("SHA256SUMS", TEXT),
];

/// Answers with a published file, or parts of it.
pub fn answer(site: &Site, path: &str, request: &Request<'_>) -> Answer {
    let Some((file, on_disk)) = site.file(path) else {
        return Answer::missing("the tree's manifest names no such file");
    };
    let etag = format!("\"{}\"", file.sha256);
    let modified = humantime_http(site.modified());
    let kind = TYPES
        .iter()
        .find(|(end, _)| path.ends_with(end))
        .map_or("application/octet-stream", |(_, kind)| kind);
    let stamp = |answer: Answer| {
        answer
            .header("etag", etag.clone())
            .header("last-modified", modified.clone())
            .header("accept-ranges", "bytes")
    };
    if not_modified(request, &etag, site.modified()) {
        return stamp(Answer { headers: Vec::new(), ..Answer::new(304, kind, "") });
    }
    // A range of another version than the client has must not be sent.
    let same = request.header("if-range").is_none_or(|tag| tag == etag || tag == modified);
    let ranges = request.header("range").filter(|_| same).map(|header| parse_ranges(header, file.size));
    let whole = |range: Range<u64>| Body::File { path: on_disk.clone(), range };
    let answer = |status, body| Answer { body, ..Answer::new(status, kind, "") };
    stamp(match ranges.as_deref() {
        None | Some([]) => answer(200, whole(0..file.size)),
        Some([Some(range)]) => answer(206, whole(range.clone()))
            .header("content-range", format!("bytes {}-{}/{}", range.start, range.end - 1, file.size)),
        Some(ranges) if ranges.iter().any(Option::is_none) => Answer::new(416, TEXT, "invalid range\n")
            .header("content-range", format!("bytes */{}", file.size)),
        Some(ranges) => {
            let body = parts(file, kind, on_disk.clone(), ranges.iter().flatten());
            Answer { body, ..Answer::new(206, &format!("multipart/byteranges; boundary={BOUNDARY}"), "") }
        }
    })
}

fn not_modified(request: &Request<'_>, etag: &str, modified: SystemTime) -> bool {
    match (request.header("if-none-match"), request.header("if-modified-since")) {
        (Some(tags), _) => tags.split(',').any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.trim_start_matches("W/") == etag
        }),
        (None, Some(since)) => httpdate::parse_http_date(since).is_ok_and(|since| modified <= since),
        (None, None) => false,
    }
}

/// The ranges a client asks for, each within the file; `None` for one that cannot be satisfied or is none at all. An
/// empty list means that the whole file is to be sent.
fn parse_ranges(header: &str, size: u64) -> Vec<Option<Range<u64>>> {
    let Some(list) = header.strip_prefix("bytes=") else { return vec![None] };
    let parts: Vec<&str> = list.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let ranges: Vec<_> = parts.iter().map(|part| parse_range(part, size)).collect();
    let total: u64 = ranges.iter().flatten().map(|range| range.end - range.start).sum();
    // Overlapping ranges can ask for more than the file many times over.
    if ranges.len() > MAX_RANGES || total > size { Vec::new() } else { ranges }
}

fn parse_range(part: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = part.split_once('-')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let range = match (first.trim(), last.trim()) {
        ("", suffix) => size.saturating_sub(number(suffix)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => number(first)?..number(last)?.checked_add(1)?.min(size),
    };
    (range.start < range.end).then_some(range)
}

fn parts<'r>(
    file: &File,
    kind: &str,
    path: std::path::PathBuf,
    ranges: impl Iterator<Item = &'r Range<u64>>,
) -> Body {
    let head = |range: &Range<u64>| {
        let (first, last, size) = (range.start, range.end - 1, file.size);
        format!(
            "\r\n--{BOUNDARY}\r\ncontent-type: {kind}\r\ncontent-range: bytes {first}-{last}/{size}\r\n\r\n"
        )
    };
    let parts = ranges.map(|range| (head(range), range.clone())).collect();
    Body::Parts { path, parts, end: format!("\r\n--{BOUNDARY}--\r\n") }
}

fn humantime_http(time: SystemTime) -> String {
    // httpdate knows years up to 9999; an epoch beyond that is as good as the last.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    httpdate::fmt_http_date(time.min(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file_or_refused() {
        assert_eq!(parse_ranges("bytes=2-4", 10), [Some(2..5)]);
        assert_eq!(parse_ranges("bytes=7-", 10), [Some(7..10)]);
        assert_eq!(parse_ranges("bytes=-3", 10), [Some(7..10)]);
        assert_eq!(parse_ranges("bytes=-99", 10), [Some(0..10)]);
        assert_eq!(parse_ranges("bytes=8-99", 10), [Some(8..10)]);
        assert_eq!(parse_ranges("bytes=0-1, 4-5", 10), [Some(0..2), Some(4..6)]);
        for bad in ["bytes=10-", "bytes=5-4", "bytes=-0", "bytes=a-b", "bytes=+1-2", "lines=1-2", "bytes=--1"]
        {
            assert_eq!(parse_ranges(bad, 10), [None], "{bad}");
        }
        assert!(parse_ranges("bytes=0-9,0-9,0-9", 10).is_empty(), "overlaps beyond the file get all of it");
    }

    proptest::proptest! {
        #[test]
        fn no_range_leaves_the_file(header in "bytes=[0-9,-]{0,40}", size in 0u64..1000) {
            for range in parse_ranges(&header, size).into_iter().flatten() {
                assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
