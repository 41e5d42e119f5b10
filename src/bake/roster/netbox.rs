//! JSON of NetBox's API: `/api/dcim/devices/` and `/api/dcim/interfaces/`, `/api/virtualization/virtual-machines/` and
//! `/api/virtualization/interfaces/`; a page with `results`, a list, or one object. Devices have names and addresses, their
//! interfaces the MAC addresses, so that both are joined by the device's name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Field, Places, Row, Rows, Wishes};
use crate::base::finding::{Finding, Place, Source};
use crate::base::json::{self, Raw, RawValue};
use crate::base::yaml::decode::Spanned;

/// Kinds of interface that no machine boots from.
const VIRTUAL: [&str; 3] = ["virtual", "bridge", "lag"];
/// A member that only the endpoint of a kind has.
const OF_INTERFACES: [&str; 3] = ["mac_address", "mac_addresses", "primary_mac_address"];

/// Devices, virtual machines and interfaces, before they are joined.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    devices: Vec<Device>,
    interfaces: Vec<Interface>,
    /// For each kind, by the word for it: how many objects were seen, how many there are, and where that is said.
    counts: BTreeMap<&'static str, (usize, usize, Option<Place>)>,
    /// For each list by its URL: how many pages name a next one, less those that name one before, and the last that does.
    pages: BTreeMap<String, (isize, Option<Place>)>,
}

#[derive(Debug)]
struct Device {
    row: Row,
    name: String,
}

#[derive(Debug)]
struct Interface {
    place: Place,
    name: String,
    device: Spanned<String>,
    mac: Spanned<String>,
    boots: bool,
    is_cabled: bool,
}

/// Reads a file's objects; [`join`] makes rows of them.
pub(super) fn read(source: &Arc<Source>, rows: &mut Rows) {
    let places = Places::new(source);
    let reader = Reader { places: &places };
    let root = match json::parse(&source.text) {
        Ok(root) => root,
        Err(error) => {
            let place = places.at(error.offset.unwrap_or(source.text.len()));
            return rows.findings.push(Finding::error(error.message).at(place));
        }
    };
    let results = member(&root, "results");
    let objects = match (&results.unwrap_or(&root).value, results) {
        (RawValue::List(objects), _) => objects.as_slice(),
        (RawValue::Object(_), None) => std::slice::from_ref(&root),
        _ => {
            let finding = Finding::error("this is neither a list of objects nor a page with `results`");
            return rows.findings.push(finding.at(places.at(root.start)));
        }
    };
    for (key, step) in [("next", 1), ("previous", -1)] {
        if let Some(Spanned { value, place }) = reader.text(member(&root, key)) {
            let list = value.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
            let known = rows.netbox.pages.entry(list.to_owned()).or_default();
            known.0 += step;
            known.1 = if step > 0 { Some(place) } else { known.1.take() };
        }
    }
    let mut kinds: BTreeMap<&'static str, usize> = BTreeMap::new();
    for object in objects {
        let kind = match OF_INTERFACES.iter().any(|key| member(object, key).is_some()) {
            true => {
                reader.interface(object, rows);
                "interfaces"
            }
            false if member(object, "name").is_some() => {
                reader.device(object, rows);
                "devices"
            }
            false => {
                let finding = Finding::error("this is neither a device nor an interface of NetBox");
                rows.findings.push(finding.at(places.at(object.start)));
                continue;
            }
        };
        *kinds.entry(kind).or_default() += 1;
    }
    let count = member(&root, "count").and_then(|count| match &count.value {
        RawValue::Number(number) => number.parse::<usize>().ok(),
        _ => None,
    });
    for (kind, seen) in kinds {
        let known = rows.netbox.counts.entry(kind).or_default();
        known.0 += seen;
        if let Some(count) = count.filter(|count| *count > known.1) {
            known.1 = count;
            known.2 = member(&root, "count").map(|count| places.at(count.start));
        }
    }
}

/// Gives each device the MAC address of the interface that it boots from.
pub(super) fn join(inventory: Inventory, wishes: &Wishes, rows: &mut Rows) {
    for (kind, (seen, count, place)) in &inventory.counts {
        if let Some(place) = place.as_ref().filter(|_| seen < count) {
            let finding = Finding::error(format!("these are {seen} of {count} {kind}")).at(place.clone());
            rows.findings
                .push(finding.hint("give the further pages as well, or export them all with `?limit=0`"));
        }
    }
    let is_short = inventory.counts.values().any(|(seen, count, place)| place.is_some() && seen < count);
    for (list, (_, place)) in inventory.pages.iter().filter(|(_, (open, _))| *open > 0 && !is_short) {
        let finding = Finding::error(format!("a further page of {list} is missing"));
        let finding = finding.hint("give the further pages as well, or export them all with `?limit=0`");
        rows.findings.push(place.iter().fold(finding, |finding, place| finding.at(place.clone())));
    }
    let mut interfaces: BTreeMap<String, Vec<Interface>> = BTreeMap::new();
    for interface in inventory.interfaces {
        interfaces.entry(interface.device.value.clone()).or_default().push(interface);
    }
    let mut devices = inventory.devices;
    let known: std::collections::BTreeSet<&String> = devices.iter().map(|device| &device.name).collect();
    let alone: Vec<Device> = interfaces
        .iter()
        .filter(|(name, _)| !known.contains(name))
        .filter_map(|(name, of_device)| {
            let first = of_device.first()?;
            let mut row = Row::new(first.place.clone(), true);
            row.put(Field::Name, name, &first.device.place);
            Some(Device { row, name: name.clone() })
        })
        .collect();
    devices.extend(alone);
    for Device { mut row, name } in devices {
        let of_device = interfaces.remove(&name).unwrap_or_default();
        let is_named = row.values.contains_key(&Field::Mac);
        let found = if is_named { Ok(None) } else { chosen(&of_device, wishes) };
        match found {
            Ok(Some(interface)) => {
                row.values.insert(Field::Mac, interface.mac.clone());
            }
            Ok(None) if is_named || row.values.contains_key(&Field::Uuid) => {}
            Ok(None) => {
                let text = format!("device `{name}` has no interface with a MAC address in these files");
                let finding = Finding::error(text).at(row.place.clone());
                rows.findings.push(
                    finding.hint("export /api/dcim/interfaces/ (or /api/virtualization/interfaces/) as well"),
                );
                continue;
            }
            Err(names) => {
                let text = format!("device `{name}` may boot from any of {names}");
                let finding = Finding::error(text).at(row.place.clone());
                rows.findings.push(finding.hint("name the interface that boots with --interface"));
                continue;
            }
        }
        rows.push(row);
    }
}

/// The interface that a device boots from: the one that the user named, the only one, or the only one with a cable.
fn chosen<'i>(interfaces: &'i [Interface], wishes: &Wishes) -> Result<Option<&'i Interface>, String> {
    if let Some(wish) = &wishes.interface {
        return Ok(interfaces.iter().find(|interface| interface.name == *wish));
    }
    let boots: Vec<&Interface> = interfaces.iter().filter(|interface| interface.boots).collect();
    let cabled: Vec<&&Interface> = boots.iter().filter(|interface| interface.is_cabled).collect();
    match (&boots[..], &cabled[..]) {
        ([], _) => Ok(None),
        ([only], _) => Ok(Some(only)),
        (_, [only]) => Ok(Some(only)),
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|interface| interface.name.as_str()).collect();
            Err(names.join(", "))
        }
    }
}

struct Reader<'s> {
    places: &'s Places<'s>,
}

impl Reader<'_> {
    fn place(&self, raw: &Raw) -> Place {
        self.places.at(raw.start)
    }

    fn text(&self, raw: Option<&Raw>) -> Option<Spanned<String>> {
        let raw = raw?;
        match &raw.value {
            RawValue::Text(text) => Some(Spanned { value: text.clone(), place: self.place(raw) }),
            _ => None,
        }
    }

    fn device(&self, object: &Raw, rows: &mut Rows) {
        let place = self.place(object);
        let name = self.text(member(object, "name")).or_else(|| self.text(member(object, "display")));
        let Some(name) = name else {
            return rows.findings.push(Finding::error("this device has no name").at(place));
        };
        let mut row = Row::new(place, true);
        row.put(Field::Name, &name.value, &name.place);
        let primary = ["primary_ip4", "primary_ip"].iter().find_map(|key| {
            let ip = member(object, key)?;
            self.text(member(ip, "address"))
        });
        if let Some(ip) = primary {
            row.put(Field::Ip, &ip.value, &ip.place);
        }
        // Virtual machines have their memory in MB, which NetBox's users mean as MiB.
        if let Some(memory) = member(object, "memory")
            && let RawValue::Number(number) = &memory.value
        {
            row.put(Field::Memory, &format!("{number}MiB"), &self.place(memory));
        }
        if let Some(RawValue::Object(members)) = member(object, "custom_fields").map(|custom| &custom.value) {
            for custom in members {
                let (field, text) = (Field::of(&custom.key), self.text(Some(&custom.value)));
                if let (Some(field), Some(text)) = (field.filter(|field| *field != Field::Name), text) {
                    row.put(field, &text.value, &text.place);
                }
            }
        }
        rows.netbox.devices.push(Device { row, name: name.value });
    }

    fn interface(&self, object: &Raw, rows: &mut Rows) {
        let of = ["device", "virtual_machine"].iter().find_map(|key| member(object, key));
        let device =
            of.and_then(|of| self.text(member(of, "name")).or_else(|| self.text(member(of, "display"))));
        // Since NetBox 4.2 the address is an object of its own.
        let primary = member(object, "primary_mac_address").and_then(|mac| member(mac, "mac_address"));
        let mac = self.text(primary).or_else(|| self.text(member(object, "mac_address")));
        let (Some(device), Some(mac)) = (device, mac.filter(|mac| !mac.value.is_empty())) else { return };
        let flag =
            |key: &str| matches!(member(object, key).map(|raw| &raw.value), Some(RawValue::Flag(true)));
        let is_off = matches!(member(object, "enabled").map(|raw| &raw.value), Some(RawValue::Flag(false)));
        let kind = member(object, "type").and_then(|kind| self.text(member(kind, "value")));
        let is_virtual = kind.is_some_and(|kind| VIRTUAL.contains(&kind.value.as_str()));
        let is_cabled = member(object, "cable").is_some_and(|cable| !matches!(cable.value, RawValue::Null));
        rows.netbox.interfaces.push(Interface {
            place: self.place(object),
            name: self.text(member(object, "name")).map_or(String::new(), |name| name.value),
            device,
            mac,
            boots: !flag("mgmt_only") && !is_off && !is_virtual,
            is_cabled,
        });
    }
}

/// A member of an object.
fn member<'r>(raw: &'r Raw, key: &str) -> Option<&'r Raw> {
    match &raw.value {
        RawValue::Object(members) => {
            members.iter().rfind(|member| member.key == key).map(|member| &member.value)
        }
        _ => None,
    }
}
