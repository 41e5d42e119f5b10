//! Published files: finds the file that a path means and its content type, and decides whether to send all of it, parts
//! of it or nothing.

use std::ops::Range;

use super::request::Request;
use crate::base::clock;
use crate::serve::answer::conditions::Version;
use crate::serve::answer::ranges::{self, Ranges};
use crate::serve::answer::{Answer, Body, Piece, TEXT};
use crate::serve::site::{Asset, Site};

/// The boundary of `multipart/byteranges`. File contents are not searched for it, since each part's heading gives its
/// length.
const BOUNDARY: &str = "prebake-part";

/// Answers with a published file, or parts of it.
pub(crate) fn answer(site: &Site, path: &str, request: &Request<'_>) -> Answer {
    match site.asset(path) {
        Some(asset) => send(&asset, request),
        None => Answer::missing("the tree's manifest does not list this file"),
    }
}

/// Answers with a file, or parts of it.
pub(crate) fn send(asset: &Asset, request: &Request<'_>) -> Answer {
    let Asset { kind, size, pieces, .. } = asset;
    let (kind, size) = (&**kind, *size);
    let etag = asset.etag.as_ref().map(|etag| format!("\"{etag}\""));
    let modified = asset.modified.map(clock::http_date);
    let stamp = |answer: Answer| {
        let stamps = [("etag", &etag), ("last-modified", &modified)];
        let stamps = stamps.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        stamps
            .fold(answer.header("accept-ranges", "bytes"), |answer, (name, value)| answer.header(name, value))
    };
    let version = Version { etag: etag.as_deref(), modified: asset.modified };
    if let Some(status) = version.refuses(request) {
        return stamp(Answer { headers: Vec::new(), ..Answer::new(status, kind, "") });
    }
    // A range must not be sent from another version than the client's. Some clients ask for a range of every file; an
    // empty file has no range.
    let asked = request.header("range").filter(|_| version.is_that_of_if_range(request) && size > 0);
    let body = |status, kind: &str, body| Answer { body, ..Answer::new(status, kind, "") };
    let part = |range| Body::File { pieces: pieces.clone(), range };
    let refused = |why| Answer::new(416, TEXT, why).header("content-range", format!("bytes */{size}"));
    stamp(match asked.map_or(Ranges::Whole, |header| ranges::parse(header, size)) {
        Ranges::Whole => body(200, kind, part(0..size)),
        Ranges::Parts(ranges) => match ranges.as_slice() {
            [range] => body(206, kind, part(range.clone()))
                .header("content-range", format!("bytes {}-{}/{}", range.start, range.end - 1, size)),
            ranges => {
                let kind_of_all = format!("multipart/byteranges; boundary={BOUNDARY}");
                body(206, &kind_of_all, parts(size, kind, pieces.clone(), ranges.iter()))
            }
        },
        Ranges::Malformed => refused(ranges::MALFORMED),
        Ranges::Beyond => refused("invalid range: failed to overlap\n"),
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
            "\r\n--{BOUNDARY}\r\nContent-Type: {kind}\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n"
        )
    };
    let parts = ranges.map(|range| (head(range), range.clone())).collect();
    Body::Parts { pieces, parts, end: format!("\r\n--{BOUNDARY}--\r\n") }
}
