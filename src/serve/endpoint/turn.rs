//! `/turn`: whether a controller may join its cluster now. 200 is yes; 503 is to ask again in the time of `retry-after`.
//!
//! Only controllers of the tree have a turn, each asked for from the address that the tree gives it, so that nobody else holds
//! it or makes the server remember anything.

use std::net::IpAddr;

use hyper::Method;
use serde_json::Value;

use super::request::{Request, World, select_group};
use crate::machine::network::Cidr;
use crate::serve::answer::{Answer, TEXT};
use crate::serve::machines::timeline::Waits;
use crate::serve::site::labels::Labels;
use crate::tree::names::{CONTROL_PLANE, ROLE};
use crate::tree::records::Group;

/// Seconds after which a machine that waits asks again.
const AGAIN: &str = "5";

/// The answer.
pub(crate) fn answer(world: &World<'_>, request: &Request<'_>, labels: &Labels) -> Answer {
    let mac = labels.get("mac");
    if mac.is_empty() {
        return Answer::new(400, TEXT, "a machine asks for its turn with its `mac`\n");
    }
    let group = match select_group(world, labels) {
        Ok(group) if group.is_of_one_machine() => group,
        Ok(_) | Err(_) => {
            return Answer::missing("no node has this card, so it has no turn to join a cluster");
        }
    };
    if let Err(why) = judge(group, request.peer) {
        return Answer::new(403, TEXT, format!("{why}\n")).matched(group);
    }
    // HEAD asks for nothing, and takes nothing.
    if *request.method == Method::HEAD {
        return Answer::text("").matched(group);
    }
    match world.monitor.take_turn(mac, request.peer, request.now) {
        Ok(()) => Answer::text("join\n").matched(group),
        Err(Waits { of, silent }) => {
            let text =
                format!("wait: {of} joins, last heard of {} ago\n", humantime::format_duration(silent));
            Answer::new(503, TEXT, text).header("retry-after", AGAIN).matched(group)
        }
    }
}

/// Why a node has no turn.
fn judge(group: &Group, peer: IpAddr) -> Result<(), String> {
    let text = |key: &str| group.metadata.get(key).and_then(Value::as_str);
    let id = &group.id;
    if text(ROLE) != Some(CONTROL_PLANE) {
        return Err(format!("{id} is no controller: it may join at any time"));
    }
    let own = text("ip").and_then(|ip| ip.parse::<Cidr>().ok()).map(|ip| ip.address);
    match own.filter(|own| *own != peer.to_canonical()) {
        Some(own) => {
            Err(format!("{id} has the address {own}, and this was asked from {}", peer.to_canonical()))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use serde_json::json;

    use super::*;
    use crate::serve::loaders::Loaders;
    use crate::serve::machines::monitor::Monitor;
    use crate::serve::machines::report::Report;
    use crate::serve::site::Site;
    use crate::serve::site::select::Groups;
    use crate::tree::manifest::Manifest;
    use crate::tree::open::Place;

    /// A server of the controllers c1 to c3 and the worker w1, at 10.0.0.1 to .4 with cards that end in 01 to 04.
    struct Hall {
        site: Arc<Site>,
        monitor: Monitor,
        now: SystemTime,
    }

    impl Hall {
        fn new(state: Option<&std::path::Path>) -> Hall {
            let node = |number: u8, name: &str, role: &str| {
                let metadata = json!({"role": role, "ip": format!("10.0.0.{number}/24")});
                let selector = BTreeMap::from([("mac".to_owned(), mac(number))]);
                let metadata = metadata.as_object().cloned().unwrap();
                Arc::new(Group { id: name.into(), selector, metadata, ..Group::default() })
            };
            let nodes = vec![
                node(1, "c1", CONTROL_PLANE),
                node(2, "c2", CONTROL_PLANE),
                node(3, "c3", CONTROL_PLANE),
                node(4, "w1", "worker"),
                Arc::new(Group { id: "default".into(), ..Group::default() }),
            ];
            let manifest = Manifest::new("x", BTreeMap::new());
            let groups = Arc::new(Groups::new(nodes));
            let site =
                Arc::new(Site::new(Place::Directory("/tree".into()), manifest, groups, Arc::default()));
            let monitor = Monitor::open(state.map(Into::into)).unwrap();
            monitor.serves(&site);
            Hall { site, monitor, now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) }
        }

        fn ask(&self, method: Method, query: &str, peer: [u8; 4]) -> (u16, String) {
            let headers = hyper::HeaderMap::new();
            let request = Request {
                method: &method,
                path: "/turn",
                query,
                scheme: "http",
                headers: &headers,
                body: "",
                now: self.now,
                peer: peer.into(),
            };
            let world =
                World { site: &self.site, monitor: &self.monitor, guard: None, loaders: &Loaders::default() };
            let (answer, _) = crate::serve::endpoint::routes::answer(&world, &request);
            let crate::serve::answer::Body::Bytes(text) = &answer.body else { panic!("a text") };
            assert_eq!(
                answer.headers.iter().any(|(name, _)| *name == "retry-after"),
                answer.status == 503,
                "curl --retry obeys it"
            );
            (answer.status, String::from_utf8_lossy(text).into_owned())
        }

        fn turn(&self, number: u8) -> u16 {
            self.ask(Method::GET, &format!("mac={}", mac(number)), [10, 0, 0, number]).0
        }

        fn report(&self, number: u8, stage: &str) {
            let labels = Labels::default().with("mac", mac(number)).with("stage", stage);
            let report = Report::read(&labels, self.now).unwrap();
            self.monitor.report(report, [10, 0, 0, number].into(), self.now);
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }
    }

    fn mac(number: u8) -> String {
        format!("52:54:00:00:00:{number:02x}")
    }

    /// kubernetes/kubeadm#2005, #1793, #2997: controllers that joined at once.
    #[test]
    fn one_controller_joins_at_a_time_and_the_next_when_it_has_reported() {
        let hall = Hall::new(None);
        assert_eq!((hall.turn(1), hall.turn(2), hall.turn(3)), (200, 503, 503));
        assert_eq!(hall.turn(1), 200, "its unit tries again, and still has the turn");
        let (_, why) = hall.ask(Method::GET, &format!("mac={}", mac(2)), [10, 0, 0, 2]);
        assert!(why.starts_with("wait: c1 joins"), "{why}");
        hall.report(1, "booted");
        assert_eq!(hall.turn(2), 503, "that it has booted says nothing");
        hall.report(1, "joined");
        assert_eq!((hall.turn(3), hall.turn(2)), (200, 503));
        hall.report(3, "failed");
        assert_eq!((hall.turn(2), hall.turn(3)), (200, 503));
    }

    #[test]
    fn a_controller_of_which_nothing_is_heard_loses_the_turn_and_signs_of_life_keep_it() {
        let mut hall = Hall::new(None);
        assert_eq!(hall.turn(1), 200);
        hall.pass(19 * 60);
        hall.report(1, "images");
        hall.pass(19 * 60);
        assert_eq!(hall.turn(2), 503);
        hall.pass(2 * 60);
        assert_eq!((hall.turn(2), hall.turn(1)), (200, 503));
    }

    #[test]
    fn a_controller_that_boots_anew_gives_the_turn_back() {
        let hall = Hall::new(None);
        assert_eq!(hall.turn(1), 200);
        let dhcp = crate::serve::notice::Dhcp {
            mac: mac(1),
            uuid: None,
            firmware: "BIOS",
            answer: "ack",
            address: None,
            file: None,
            lacks: None,
        };
        hall.report(1, "booted");
        hall.monitor.see(&crate::serve::notice::Notice::Dhcp(&dhcp));
        assert_eq!(hall.turn(2), 200);
    }

    #[test]
    fn only_controllers_from_their_own_addresses_have_a_turn_and_nobody_else_holds_it() {
        let hall = Hall::new(None);
        let ask = |query: &str, peer| hall.ask(Method::GET, query, peer).0;
        assert_eq!(
            ask("mac=52:54:00:00:00:99", [10, 0, 0, 9]),
            404,
            "a stranger, whom the default group takes"
        );
        assert_eq!(ask(&format!("mac={}", mac(4)), [10, 0, 0, 4]), 403, "a worker");
        assert_eq!(ask(&format!("mac={}", mac(1)), [10, 0, 0, 66]), 403, "somebody who knows its card");
        assert_eq!(ask("", [10, 0, 0, 1]), 400);
        assert_eq!(hall.ask(Method::HEAD, &format!("mac={}", mac(1)), [10, 0, 0, 1]).0, 200);
        assert_eq!(
            hall.monitor.picture(hall.now).event().bytes.windows(5).filter(|bytes| bytes == b"5254:").count(),
            0
        );
        assert_eq!(hall.turn(2), 200, "none of them has it");
    }

    #[test]
    fn a_server_that_was_restarted_knows_whose_turn_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state.json");
        let hall = Hall::new(Some(&state));
        assert_eq!(hall.turn(1), 200);
        hall.monitor.save().unwrap();
        let mut after = Hall::new(Some(&state));
        assert_eq!(after.turn(2), 503);
        after.pass(21 * 60);
        assert_eq!((after.turn(2), after.turn(1)), (200, 503));
    }
}
