//! Finds out which machine a running system is: the inventory may know it by another card than the one in its request.
//!
//! A tree's inventory knows a machine by the card that it boots over. Its system may send another: an installer of
//! older releases sends the card of the default route, and one whose loader names no card sends the one whose route
//! leads here. So a report, or a request for the config of a system to be installed, is answered as one of the machine
//! that booted. A request whose answer would come from another profile is refused with the reason. The labels of boot
//! scripts are taken as they are.

use super::request::{Request, World};
use crate::serve::answer::{Answer, TEXT};
use crate::serve::machines::timeline::{Machine, Whose, cards};
use crate::serve::site::labels::Labels;
use crate::tree::names::{Endpoint, INSTALLED};
use crate::tree::records::Group;

/// The label with the config that an installer was made for: its file name below `ignition/`.
const CONFIG: &str = "config";
/// The label under which the log shows the original card, if the machine is known by another.
const CARD: &str = "card";

/// The labels of a request, with the card by which the machine is known. The error is the refusal and the labels.
///
/// # Errors
/// An installer would get the config of another machine than its own.
pub(crate) fn settle(
    world: &World<'_>,
    request: &Request<'_>,
    endpoint: Endpoint,
    said: Labels,
) -> Result<Labels, Box<(Answer, Labels)>> {
    let installs = endpoint == Endpoint::Ignition && said.get(INSTALLED[0]) == INSTALLED[1];
    let is_running = matches!(endpoint, Endpoint::Report | Endpoint::Turn);
    if world.site.live.is_some() || !(installs || is_running) {
        return Ok(said);
    }
    let refused = |why: String, said: Labels| Err(Box::new((conflict(&why), said)));
    let (settled, unclear) = whose(world, request, said);
    match installs {
        false => Ok(settled),
        true => match unclear.or_else(|| doubt(world, &settled)) {
            Some(why) => refused(why, settled),
            None => Ok(settled),
        },
    }
}

/// The labels of the machine; also the reason if the machine cannot be identified.
fn whose(world: &World<'_>, request: &Request<'_>, said: Labels) -> (Labels, Option<String>) {
    if is_named(world, &said) {
        return (said, None);
    }
    let has_name = |machine: &Machine| {
        let uuid = machine.uuid.as_deref().unwrap_or_default();
        machine.mac.as_ref().is_some_and(|mac| named(world, mac, uuid).is_some())
    };
    match world.monitor.whose(&said, request.peer, has_name, request.now) {
        Whose::Its => (said, None),
        Whose::Another { mac, uuid } => (renamed(said, &mac, uuid.as_deref()), None),
        Whose::Unclear(macs) => {
            let why = format!(
                "no machine has booted over {}; by its address or UUID, it may be any of {}",
                said.get("mac"),
                macs.join(", ")
            );
            // If none of them has a group of its own, the inventory treats them alike.
            let matters = macs.iter().any(|mac| named(world, mac, said.get("uuid")).is_some());
            (said, matters.then_some(why))
        }
        // Its loader asked nothing here. The inventory may know the machine by another card that it has.
        Whose::Nobodys => {
            let is_named = |mac: &String| named(world, mac, said.get("uuid")).is_some();
            let mut known = cards(&said).into_iter().filter(is_named);
            match (known.next(), known.next()) {
                (Some(mac), None) => (renamed(said, &mac, None), None),
                _ => (said, None),
            }
        }
    }
}

/// Why an installer is refused, although its machine is identified.
fn doubt(world: &World<'_>, settled: &Labels) -> Option<String> {
    let group = world.site.groups.select(settled)?;
    let config =
        |group: &Group| world.site.profiles.get(&group.profile).map(|profile| profile.ignition_id.clone());
    let (wanted, given) = (settled.get(CONFIG), config(group).unwrap_or_default());
    let is_another = !wanted.is_empty() && wanted != given;
    if is_another {
        return Some(format!(
            "it runs the installer for {wanted}, but by its labels it would get {given} (group {})",
            group.id
        ));
    }
    if group.is_of_one_machine() {
        return None;
    }
    // The machine booted its installer as an unknown machine, while the inventory knows it by another card.
    let uuid = settled.get("uuid");
    let other = cards(settled).into_iter().find_map(|mac| Some((named(world, &mac, uuid)?, mac)));
    let (node, mac) =
        other.filter(|(node, _)| wanted.is_empty() || config(node).as_deref() != Some(wanted))?;
    Some(format!(
        "it booted over {}, which belongs to no node, with profile {}; its card {mac} belongs to node {} with profile {}",
        settled.get("mac"),
        group.profile,
        node.id,
        node.profile
    ))
}

/// The labels with the card by which the machine is known. The original card is kept for the log.
fn renamed(said: Labels, mac: &str, uuid: Option<&str>) -> Labels {
    let card = said.get("mac").to_owned();
    let settled = said.with("mac", mac).with(CARD, card);
    match uuid {
        Some(uuid) if settled.get("uuid").is_empty() => settled.with("uuid", uuid),
        _ => settled,
    }
}

fn is_named(world: &World<'_>, labels: &Labels) -> bool {
    world.site.groups.select(labels).is_some_and(Group::is_of_one_machine)
}

/// The group of the installed system, or of the machine, if that group is only for the owner of this card.
fn named<'w>(world: &World<'w>, mac: &str, uuid: &str) -> Option<&'w Group> {
    let labels = Labels::default().with("mac", mac).with("uuid", uuid);
    let groups = [labels.clone().with(INSTALLED[0], INSTALLED[1]), labels];
    groups
        .iter()
        .find_map(|labels| world.site.groups.select(labels).filter(|group| group.is_of_one_machine()))
}

fn conflict(why: &str) -> Answer {
    let hint =
        "boot it over the card that its node has, or give the node this card's address in the inventory";
    Answer::new(409, TEXT, format!("nothing is installed: {why}\n{hint}\n")).warning(why)
}
