//! Routes requests to endpoints. Pure: a site and a request in, an answer out.

use hyper::Method;

use super::guard::answer::guarded;
use super::guard::{self, Machine};
use super::{assets, boot, config, explain, identity, logs, matchbox, page, served, turn};
use crate::serve::answer::{Answer, TEXT};
use crate::serve::endpoint::request::{Request, World};
use crate::serve::machines::report::{self, Report};
use crate::serve::machines::timeline::{Trouble, plain_path};
use crate::serve::site::labels::Labels;
use crate::tree::names::{Endpoint, LOADERS};

type Handler = fn(&World<'_>, &Request<'_>, &Labels) -> Answer;

/// The handler of an endpoint. Paths are exact; any other path is looked up in the manifest.
fn handler(endpoint: Endpoint) -> Handler {
    match endpoint {
        Endpoint::Page => page::index,
        Endpoint::FirstScript | Endpoint::FirstScriptNumbered => boot::first,
        Endpoint::Ipxe => boot::ipxe,
        Endpoint::Grub => boot::grub,
        Endpoint::Ignition => config::ignition,
        Endpoint::Generic => config::generic,
        Endpoint::Cloud => config::cloud,
        Endpoint::Metadata => config::metadata,
        Endpoint::Report => report,
        Endpoint::Turn => turn::answer,
        Endpoint::Status => page::status,
        Endpoint::Events => page::events,
        Endpoint::Metrics => page::metrics,
        Endpoint::Explain => explain::answer,
        Endpoint::Served => served::answer,
        Endpoint::Logs => logs::answer,
    }
}

/// The allowed methods. Matchbox treats any method as GET, but no machine sends any other.
const METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];

/// Whether a request's body is to be read; only a report's is.
pub(crate) fn takes_body(method: &Method, path: &str) -> bool {
    method == Method::POST && plain_path(path) == Endpoint::Report.name()
}

/// Answers a request. The labels are for the log.
pub(crate) fn answer(world: &World<'_>, request: &Request<'_>) -> (Answer, Labels) {
    if let Some(live) = &world.site.live {
        return matchbox::answer(world, live, request);
    }
    if !METHODS.contains(request.method) {
        let allowed = METHODS.each_ref().map(Method::as_str).join(", ");
        let answer = Answer::new(405, TEXT, format!("only {allowed} are supported\n"));
        return (answer.header("allow", allowed), Labels::default());
    }
    // Matchbox redirects doubled slashes, which some loaders cannot follow.
    let name = &*plain_path(request.path);
    if let (Some(guard), Some(rest)) = (world.guard, guarded(name)) {
        return (guard::answer::answer(world, guard, rest, request), Labels::parse(request.query));
    }
    endpoint(world, request, name)
        .unwrap_or_else(|| (assets::answer(world.site, name, request), Labels::default()))
}

/// Answers at an endpoint, given without its slash: with the endpoint's answer, with its signature if the name ends so
/// and there is a key, or with a loader. `None` if there is no such endpoint.
pub(crate) fn endpoint(world: &World<'_>, request: &Request<'_>, name: &str) -> Option<(Answer, Labels)> {
    if let Some(bytes) = name.strip_prefix(LOADERS).and_then(|loader| world.loaders.get(loader)) {
        return Some((Answer::shared(200, "application/efi", bytes), Labels::default()));
    }
    let (endpoint, form) = Endpoint::parse(name)?;
    // A server without a key has no signatures.
    let signed = match form {
        Some(form) => Some((world.site.signer.as_ref()?, form)),
        None => None,
    };
    let says = if takes_body(request.method, request.path) { request.body } else { request.query };
    let (answer, labels) = match identity::settle(world, request, endpoint, Labels::parse(says)) {
        Ok(labels) => {
            let answer = handler(endpoint)(world, request, &labels);
            // A journal is no label, and too long for a line of the log.
            let is_report = endpoint == Endpoint::Report;
            (answer, if is_report { labels.without(report::LOG) } else { labels })
        }
        Err(refused) => *refused,
    };
    let answer = match world.site.live {
        Some(_) => answer.without_reason(),
        None => answer,
    };
    let answer = match signed {
        Some((signer, form)) => signer.sign(answer, form, request.now),
        None => answer,
    };
    Some((answer, labels))
}

fn report(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    if !takes_body(request.method, request.path) {
        let list = serde_json::to_string(&world.monitor.reports()).unwrap_or_default();
        return Answer::new(200, "application/json", list + "\n");
    }
    match Report::read(labels, request.now) {
        Ok(report) => {
            if let Some(guard) = world.guard {
                guard.reported(&Machine::of(labels));
            }
            match world.monitor.report(report, request.peer, request.now) {
                None => Answer::new(204, TEXT, ""),
                // This answer keeps an installer from rebooting again.
                Some(Trouble { what, hint, .. }) => {
                    let machine = labels.get("mac");
                    Answer::new(409, TEXT, format!("{what}: {hint}\n"))
                        .warning(format!("{machine}: {what}; {hint}"))
                }
            }
        }
        Err(why) => Answer::new(400, TEXT, format!("{why}\n")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;
    use std::time::SystemTime;

    use super::*;
    use crate::base::digest::Sha256;
    use crate::serve::answer::{Body, Piece};
    use crate::serve::loaders::Loaders;
    use crate::serve::machines::monitor::Monitor;
    use crate::serve::site::Site;
    use crate::tree::manifest::{File, Manifest, Role};
    use crate::tree::open::Place;

    /// A site with one file, `assets/a`.
    fn site() -> Site {
        let file = File::new(Role::Kernel, 10, Sha256::of(b"0123456789"));
        let files = BTreeMap::from([("assets/a".to_owned(), file)]);
        let manifest = Manifest::new("x", files);
        let (groups, profiles) = Default::default();
        Site::new(Place::Directory("/tree".into()), manifest, groups, profiles)
    }

    fn the_file() -> Piece {
        let sha256 = Some(Sha256::of(b"0123456789"));
        Piece::File { path: "/tree/assets/a".into(), within: None, size: 10, sha256 }
    }

    fn ask(site: &Site, path: &str, query: &str) -> Answer {
        let request = Request {
            method: &Method::GET,
            path,
            query,
            scheme: "http",
            headers: &hyper::HeaderMap::new(),
            body: "",
            now: SystemTime::UNIX_EPOCH,
            peer: IpAddr::from([127, 0, 0, 1]),
        };
        let (monitor, loaders) = (Monitor::open(None).unwrap(), Loaders::default());
        answer(&World { site, monitor: &monitor, guard: None, loaders: &loaders }, &request).0
    }

    #[test]
    fn a_file_is_found_however_its_path_is_escaped() {
        let site = site();
        // The last two: tinkerbell/smee#229.
        for path in ["/assets/a", "/assets%2Fa", "/%61ssets/%61", "//assets/a", "/assets//a", "//assets///a"]
        {
            let answer = ask(&site, path, "");
            assert!(matches!(answer.body, Body::File { pieces, .. } if pieces == [the_file()]));
        }
        assert_eq!(ask(&site, "/assets/./a", "").status, 404);
    }

    proptest::proptest! {
        #[test]
        fn no_target_opens_what_the_manifest_does_not_name(
            path in r"(/|\.|\.\.|%2e|%2f|%00|%|%zz|assets|a|\\|ipxe|report|.){0,12}",
            query in ".{0,40}",
        ) {
            let answer = ask(&site(), &format!("/{path}"), &query);
            match answer.body {
                Body::File { pieces, .. } => assert_eq!(pieces, [the_file()]),
                Body::Parts { .. } | Body::Stream(_) => panic!("neither ranges nor events were asked for"),
                Body::Bytes(_) => assert!([200, 404].contains(&answer.status)),
            }
        }
    }
}
