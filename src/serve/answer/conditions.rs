//! Conditional requests (RFC 9110, 13): whether a client wants the version that we have.

use std::time::{Duration, SystemTime};

use hyper::Method;

use crate::serve::endpoint::request::Request;

/// The current version of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version<'v> {
    /// A strong entity tag, quotes included. Files that may change while they are served have none.
    pub etag: Option<&'v str>,
    /// The modification time, if known. HTTP carries whole seconds only.
    pub modified: Option<SystemTime>,
}

impl Version<'_> {
    /// The status that the request's conditions ask for instead of the file, if any: 304 or 412.
    ///
    /// The order is that of RFC 9110, 13.2.2. If a client sends both a tag and a date, the tag decides.
    pub(crate) fn refuses(&self, request: &Request<'_>) -> Option<u16> {
        let is_wanted = match tags(request, "if-match") {
            Some(tags) => tags.iter().any(|tag| *tag == "*" || Some(*tag) == self.etag),
            None => self.is_newer(request, "if-unmodified-since") != Some(true),
        };
        if !is_wanted {
            return Some(412);
        }
        let reads = [Method::GET, Method::HEAD].contains(request.method);
        let is_there = match tags(request, "if-none-match") {
            // The weak comparison: 8.8.3.2.
            Some(tags) => {
                tags.iter().any(|tag| *tag == "*" || Some(tag.trim_start_matches("W/")) == self.etag)
            }
            // 13.1.3: the header has no meaning for other methods.
            None => reads && self.is_newer(request, "if-modified-since") == Some(false),
        };
        is_there.then_some(if reads { 304 } else { 412 })
    }

    /// Whether a range of this version is useful to the client, that is, whether its `If-Range` names this version.
    pub(crate) fn is_that_of_if_range(&self, request: &Request<'_>) -> bool {
        let Some(known) = request.header("if-range") else { return true };
        Some(known) == self.etag || self.seconds().is_some_and(|seconds| date(known) == Some(seconds))
    }

    /// Whether it is newer than the date in a header. `None` if either date is missing or unreadable.
    pub(crate) fn is_newer(&self, request: &Request<'_>, header: &str) -> Option<bool> {
        let date = date(request.header(header)?)?;
        Some(self.seconds()? > date)
    }

    fn seconds(&self) -> Option<SystemTime> {
        let since = self.modified?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()))
    }
}

/// The tags in a header, which may span several lines.
fn tags<'r>(request: &'r Request<'_>, name: &str) -> Option<Vec<&'r str>> {
    let lines = request.headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let tags: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    (!tags.is_empty()).then_some(tags)
}

/// The date, or `None` if it cannot be read.
fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    const BEFORE: &str = "Thu, 01 Jan 2026 03:04:04 GMT";
    const THEN: &str = "Thu, 01 Jan 2026 03:04:05 GMT";
    const AFTER: &str = "Thu, 01 Jan 2026 03:04:06 GMT";

    /// Asks with headers for a version that was modified at `THEN` plus a fraction of a second.
    fn ask<T>(
        etag: Option<&str>,
        method: &Method,
        headers: &[(&'static str, &'static str)],
        judge: fn(&Version<'_>, &Request<'_>) -> T,
    ) -> T {
        let pairs = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        pairs.for_each(|(name, value)| {
            map.append(name, value);
        });
        let modified = httpdate::parse_http_date(THEN).unwrap() + Duration::from_millis(500);
        let now = SystemTime::UNIX_EPOCH;
        let request = Request {
            method,
            path: "/",
            query: "",
            scheme: "http",
            headers: &map,
            body: "",
            now,
            peer: [127, 0, 0, 1].into(),
        };
        judge(&Version { etag, modified: Some(modified) }, &request)
    }

    #[test]
    fn conditions_are_judged_in_their_order_and_tags_before_dates() {
        for (headers, status) in [
            (&[][..], None),
            (&[("if-match", "\"a\"")], None),
            (&[("if-match", "*")], None),
            (&[("if-match", "\"b\", \"a\"")], None),
            (&[("if-match", "\"b\"")], Some(412)),
            (&[("if-match", "W/\"a\"")], Some(412)),
            (&[("if-match", "\"b\""), ("if-match", "\"a\"")], None),
            (&[("if-match", "\"a\""), ("if-unmodified-since", BEFORE)], None),
            (&[("if-unmodified-since", BEFORE)], Some(412)),
            (&[("if-unmodified-since", THEN)], None),
            (&[("if-unmodified-since", "yesterday")], None),
            (&[("if-none-match", "\"a\"")], Some(304)),
            (&[("if-none-match", "W/\"a\"")], Some(304)),
            (&[("if-none-match", "\"b\"")], None),
            (&[("if-none-match", "\"b\""), ("if-modified-since", AFTER)], None),
            (&[("if-modified-since", BEFORE)], None),
            (&[("if-modified-since", THEN)], Some(304)),
            (&[("if-match", "\"b\""), ("if-none-match", "\"a\"")], Some(412)),
        ] {
            assert_eq!(
                ask(Some("\"a\""), &Method::GET, headers, |version, request| version.refuses(request)),
                status,
                "{headers:?}"
            );
        }
        let posted = ask(Some("\"a\""), &Method::POST, &[("if-none-match", "*")], |version, request| {
            version.refuses(request)
        });
        assert_eq!(posted, Some(412), "304 is for those who read");
    }

    #[test]
    fn a_file_without_a_tag_matches_no_tag_but_the_star() {
        for (headers, status) in [
            (&[("if-match", "\"a\"")], Some(412)),
            (&[("if-match", "*")], None),
            (&[("if-none-match", "\"a\"")], None),
            (&[("if-none-match", "*")], Some(304)),
        ] {
            assert_eq!(
                ask(None, &Method::GET, headers, |version, request| version.refuses(request)),
                status,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn a_range_is_of_use_only_to_who_has_a_part_of_this_very_version() {
        for (known, same) in [
            ("\"a\"", true),
            ("W/\"a\"", false),
            ("\"b\"", false),
            (THEN, true),
            (BEFORE, false),
            (AFTER, false),
        ] {
            let judged = ask(Some("\"a\""), &Method::GET, &[("if-range", known)], |version, request| {
                version.is_that_of_if_range(request)
            });
            assert_eq!(judged, same, "{known}");
        }
    }
}
