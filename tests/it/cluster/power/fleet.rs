//! Many machines at once.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use prebake::base::finding::Source;
use prebake::cluster::description::{Cluster, Node};
use prebake::cluster::power::{Action, Error, Fleet, Limits, State};

use super::bmc::{Bmc, MAC, Manners, PASSWORD};
use super::{QUICK, node, redfish, run};

/// A cluster of these nodes. Their power is set by hand, for a description in clear text has no passwords.
fn cluster(nodes: Vec<Node>) -> Cluster {
    let text = "\
cluster:
  name: lab
  k8s_version: 1.33.13
  flatcar_version: 4593.2.5
  pod_subnet: 10.244.0.0/16
  service_subnet: 10.96.0.0/12
  ssh_authorized_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt me@host
bootstrap:
  ip: 10.77.0.1
nodes:
  - {name: c1, ip: 10.77.0.11, mac: '52:54:00:00:00:11', role: controller, state: /dev/disk/by-id/virtio-state}
";
    let (cluster, _) = Cluster::parse(&Source::new("cluster.yaml", text), "/".into()).unwrap();
    Cluster { nodes, ..cluster }
}

fn of(bmcs: &[Bmc]) -> Cluster {
    let node =
        |(n, bmc): (usize, &Bmc)| node(&format!("n{n}"), MAC, Some(redfish(&bmc.url(), PASSWORD, false)));
    let mut nodes: Vec<Node> = bmcs.iter().enumerate().map(node).collect();
    nodes.push(super::node("bare", "52:54:00:77:00:99", None));
    cluster(nodes)
}

#[test]
fn machines_are_switched_side_by_side_and_told_in_their_order() {
    let slow = Duration::from_millis(60);
    let bmcs: Vec<Bmc> = (0..8).map(|_| Bmc::start(Manners { slow, ..Manners::default() })).collect();
    let cluster = of(&bmcs);
    let seen = RefCell::new(0);
    let begun = Instant::now();
    let outcomes = run(Fleet::of(&cluster).within(QUICK).run(&Action::On, |_| *seen.borrow_mut() += 1));
    let together = begun.elapsed();
    let names: Vec<&str> = outcomes.iter().map(|outcome| outcome.node.as_str()).collect();
    assert_eq!(names, ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"]);
    assert!(
        outcomes.iter().all(|outcome| outcome.done.as_ref().unwrap().state == State::On)
            && *seen.borrow() == 8
    );
    let begun = Instant::now();
    run(Fleet::of(&cluster).within(Limits { together: 1, ..QUICK }).run(&Action::Cycle, |_| {}));
    assert!(
        begun.elapsed() > together,
        "one after the other took {:?}, together {together:?}",
        begun.elapsed()
    );
    assert_eq!(Fleet::of(&cluster).by_hand().collect::<Vec<_>>(), ["bare"]);
}

#[test]
fn a_machine_that_fails_leaves_the_others_theirs() {
    let bmcs = [
        Bmc::start(Manners::default()),
        Bmc::start(Manners { stuck: true, ..Manners::default() }),
        Bmc::start(Manners::default()),
    ];
    let cluster = of(&bmcs);
    let limits = Limits { follow: Duration::from_millis(200), ..QUICK };
    let outcomes = run(Fleet::of(&cluster).within(limits).run(&Action::On, |_| {}));
    let went: Vec<bool> = outcomes.iter().map(|outcome| outcome.done.is_ok()).collect();
    assert_eq!(went, [true, false, true]);
}

#[test]
fn a_ready_node_keeps_its_power() {
    let bmcs = [
        Bmc::start(Manners { on: true, ..Manners::default() }),
        Bmc::start(Manners { on: true, ..Manners::default() }),
    ];
    let cluster = of(&bmcs);
    for action in [Action::Off, Action::Cycle, Action::Boot(None)] {
        let fleet = Fleet::of(&cluster).within(QUICK).spare(["n0".to_owned()].into());
        let outcomes = run(fleet.run(&action, |_| {}));
        assert!(matches!(outcomes[0].done, Err(Error::Ready { .. })), "{action:?}");
        assert!(outcomes[1].done.is_ok(), "{action:?}");
    }
    assert!(bmcs[0].log().is_empty());
    let fleet = Fleet::of(&cluster).within(QUICK).spare(["n0".to_owned()].into());
    let outcomes = run(fleet.run(&Action::Status, |_| {}));
    assert_eq!(outcomes[0].done.as_ref().unwrap().state, State::On);
}

#[test]
fn names_that_are_none_are_refused_with_the_nearest() {
    let cluster = of(&[Bmc::start(Manners::default())]);
    let told = Fleet::of(&cluster).only(&["n00".into()]).unwrap_err().to_string();
    assert!(told.contains("no node `n00`") && told.contains("n0"), "{told}");
    assert!(matches!(Fleet::of(&cluster).only(&["bare".into()]), Err(Error::NoPower { .. })));
}

/// A chassis locks a user out who is refused a few times, and each of its blades would be one time.
#[test]
fn a_user_who_is_refused_by_a_bmc_is_not_tried_for_its_other_systems() {
    let bmc = Bmc::start(Manners { challenges: true, ..Manners::default() });
    let nodes = (0..16)
        .map(|n| node(&format!("b{n}"), MAC, Some(redfish(&bmc.url(), "falsch-und-lang", false))))
        .collect();
    let cluster = cluster(nodes);
    let outcomes = run(Fleet::of(&cluster).within(QUICK).run(&Action::On, |_| {}));
    assert!(outcomes.iter().all(|outcome| matches!(outcome.done, Err(Error::Denied { .. }))));
    assert_eq!(bmc.log().iter().filter(|asked| asked.header("authorization").is_some()).count(), 1);
}
