//! The endpoints for people and their tools: the page, `/status`, `/events` and `/metrics`.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::request::{Request, World};
use crate::serve::answer::{Answer, Body};
use crate::serve::http::limits::client_of;
use crate::serve::machines::metrics;
use crate::serve::site::labels::Labels;
use crate::tree::names::Endpoint;

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
/// One script, in parts: each is one noun, and uses those before it.
const JS: &str = concat!(
    include_str!("words.js"),
    include_str!("items.js"),
    include_str!("rack.js"),
    include_str!("list.js"),
    include_str!("detail.js"),
    include_str!("cluster.js"),
    include_str!("side.js"),
    include_str!("top.js"),
    include_str!("served.js"),
    include_str!("page.js"),
);

/// The page with its style and script inlined, so that it is one answer and needs nothing else. Its policy lets the
/// browser run only these two, and connect only to this server.
static PAGE: LazyLock<(Bytes, String)> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
    let page = HTML.replace("/*STYLE*/", CSS).replace("/*SCRIPT*/", JS);
    let policy = [
        "default-src 'none'".to_owned(),
        format!("style-src {}", hash(CSS)),
        format!("script-src {}", hash(JS)),
        "connect-src 'self'".to_owned(),
        "img-src data:".to_owned(),
        "base-uri 'none'".to_owned(),
        "form-action 'none'".to_owned(),
        "frame-ancestors 'none'".to_owned(),
    ];
    (page.into(), policy.join("; "))
});

/// The page for browsers, recognized by their accepting HTML; Matchbox's answer for all others.
pub(crate) fn index(_: &World<'_>, request: &Request<'_>, _: &Labels) -> Answer {
    let accepts = |kind: &str| {
        request.headers.get_all("accept").iter().any(|value| {
            value.to_str().is_ok_and(|value| value.split(',').any(|part| part.trim().starts_with(kind)))
        })
    };
    if !accepts("text/html") {
        return Answer::text("matchbox\n").header("vary", "accept");
    }
    let (page, policy) = &*PAGE;
    Answer::shared(200, "text/html; charset=utf-8", page.clone())
        .header("vary", "accept")
        .header("content-security-policy", policy.as_str())
        .header("x-content-type-options", "nosniff")
        .header("referrer-policy", "no-referrer")
        .header("cache-control", "no-cache")
}

/// The whole status, as JSON.
pub(crate) fn status(world: &World<'_>, request: &Request<'_>, _: &Labels) -> Answer {
    let document = world.monitor.picture(request.now).event().document();
    Answer::shared(200, "application/json", document).header("cache-control", "no-store")
}

/// The whole status, followed by every change, as server-sent events.
pub(crate) fn events(world: &World<'_>, request: &Request<'_>, _: &Labels) -> Answer {
    match world.monitor.watch(client_of(request.peer), request.now) {
        Some(events) => {
            let answer = Answer::new(200, "text/event-stream", "").header("cache-control", "no-store");
            Answer { body: Body::Stream(events), ..answer }
        }
        None => {
            let status = Endpoint::Status.path();
            let why = format!("too many clients are watching; poll {status} instead\n");
            Answer::new(503, crate::serve::answer::TEXT, why)
        }
    }
}

/// Counters for Prometheus.
pub(crate) fn metrics(world: &World<'_>, request: &Request<'_>, _: &Labels) -> Answer {
    Answer::new(200, metrics::CONTENT_TYPE, world.monitor.metrics(request.now))
}
