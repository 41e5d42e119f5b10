//! Requests to a data directory, routed as Go's `http.ServeMux` does it for Matchbox.
//!
//! Paths are exact, and unclean ones are redirected; every method is treated as GET; every missing file gets the same
//! text.

use hyper::Method;
use percent_encoding::percent_decode_str;

use super::escape::{escape_html, escape_path};
use super::request::{Request, World};
use super::{listing, routes};
use crate::base::path::clean as clean_path;
use crate::serve::answer::{Answer, Body, TEXT, ranges};
use crate::serve::site::datadir::Live;
use crate::serve::site::labels::Labels;
use crate::tree::names::{ASSETS, LOADERS};

/// The path of the assets, if there are any.
fn assets() -> String {
    format!("/{ASSETS}/")
}

/// Answers a request. The labels are for the log.
pub(crate) fn answer(world: &World<'_>, live: &Live, request: &Request<'_>) -> (Answer, Labels) {
    if request.path == "*" {
        let status = if request.method == Method::OPTIONS { 200 } else { 400 };
        return (Answer { headers: Vec::new(), ..Answer::new(status, TEXT, "") }, Labels::default());
    }
    let (answer, labels) = routed(world, live, request);
    (with_headers_of_go(answer), labels)
}

/// Adds the headers that Go sends with a file's bytes, and drops those that it does not send.
fn with_headers_of_go(mut answer: Answer) -> Answer {
    let malformed = matches!(&answer.body, Body::Bytes(text) if text == ranges::MALFORMED.as_bytes());
    let dropped: &[&str] = match answer.status {
        304 | 412 => &["accept-ranges"],
        416 if malformed => &["accept-ranges", "last-modified", "content-range"],
        416 => &["accept-ranges", "last-modified"],
        _ => return answer,
    };
    answer.headers.retain(|(name, _)| !dropped.contains(name));
    match answer.status {
        416 => answer.header("x-content-type-options", "nosniff"),
        _ => answer,
    }
}

fn routed(world: &World<'_>, live: &Live, request: &Request<'_>) -> (Answer, Labels) {
    if !escapes_are_whole(request.path) {
        return (Answer::new(400, TEXT, "400 Bad Request"), Labels::default());
    }
    let path = clean(request.path);
    let decoded = |path: &str| percent_decode_str(path).collect::<Vec<u8>>();
    if live.assets.is_some() && decoded(&path) == format!("/{ASSETS}").as_bytes() {
        return (redirect(request, &assets()), Labels::default());
    }
    if path != request.path {
        // The path is escaped twice: Go forgets that it is escaped already.
        return (redirect(request, &escape_path(path.as_bytes())), Labels::default());
    }
    if let Some((assets, path)) = live.assets.as_ref().zip(path.strip_prefix(&assets())) {
        return (listing::answer(assets, &decoded(path), request), Labels::default());
    }
    // An escaped slash does not separate path parts. Matchbox has no loaders; they have the same path as in a tree.
    let is_endpoint = |name: &&str| !name.contains('/') || name.starts_with(LOADERS);
    let name = path.strip_prefix('/').filter(is_endpoint).map(decoded);
    let name = name.and_then(|name| String::from_utf8(name).ok());
    let answered = name.and_then(|name| routes::endpoint(world, request, &name));
    answered.unwrap_or_else(|| (Answer::not_found(), Labels::default()))
}

/// Whether two hex digits follow every `%`.
fn escapes_are_whole(path: &str) -> bool {
    let is_whole =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    path.split('%').skip(1).all(is_whole)
}

/// A URL path, cleaned like Go's mux does it: a final slash stays.
fn clean(path: &str) -> String {
    let cleaned = clean_path(&format!("/{path}"));
    let end = if path.ends_with('/') && cleaned != "/" { "/" } else { "" };
    cleaned + end
}

/// Go's `http.Redirect` with status 307; the query is kept.
fn redirect(request: &Request<'_>, path: &str) -> Answer {
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let target = format!("{path}{query}");
    let is_read = [Method::GET, Method::HEAD].contains(request.method);
    let body = format!("<a href=\"{}\">Temporary Redirect</a>.\n\n", escape_html(&target));
    let answer = match is_read {
        true => Answer::new(307, "text/html; charset=utf-8", body),
        false => Answer { headers: Vec::new(), ..Answer::new(307, TEXT, "") },
    };
    answer.header("location", target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does_it() {
        for (path, cleaned) in [
            ("/ipxe", "/ipxe"),
            ("//ipxe", "/ipxe"),
            ("/./ipxe", "/ipxe"),
            ("/x/../ipxe", "/ipxe"),
            ("/../..", "/"),
            ("/assets//a/", "/assets/a/"),
            ("/%2e%2e/ipxe", "/%2e%2e/ipxe"),
            ("/", "/"),
            ("//", "/"),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }
}
