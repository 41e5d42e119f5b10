//! The keys of nodes and of inventories.

use crate::base::forms;
use crate::base::yaml::keys::{Form, Key, Mapping, Rule, Value};

/// A MAC address, in each spelling that [`Mac`](super::node::Mac) reads.
pub(crate) static MAC: Form = Form {
    name: "MAC address",
    pattern: "^([0-9A-Fa-f]{12}|[0-9A-Fa-f]{6}[:.-][0-9A-Fa-f]{6}|[0-9A-Fa-f]{4}([:.-][0-9A-Fa-f]{4}){2}\
              |[0-9A-Fa-f]{2}([:.-][0-9A-Fa-f]{2}){5})$",
    numeric: true,
};
/// A host name by RFC 1123. Addresses, which have this form, too, are refused with words of their own.
pub(crate) static HOST: Form = Form {
    name: "host name",
    pattern: "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$",
    numeric: true,
};
static UUID: Form = Form {
    name: "UUID",
    pattern: "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$",
    numeric: false,
};
/// An address with its prefix length.
static CIDR: Form =
    Form { name: "address with prefix length", pattern: "^[0-9A-Fa-f:.]+/[0-9]+$", numeric: false };

/// An inventory: the file of `prebake serve --nodes`.
pub static INVENTORY: Mapping = Mapping {
    what: "the inventory",
    holders: true,
    rules: &[],
    keys: &[
        Key::needed("schema", Value::Number(1, 1), "1", "Version of the format."),
        Key::needed(
            "nodes",
            Value::Either(&[Value::List(&Value::Keys(&NODE)), Value::Null]),
            "[{name: n9, mac: \"52:54:00:00:00:09\", profile: worker}]",
            "The machines that are added to the tree.",
        ),
    ],
};

/// A node, in a recipe or in an inventory.
pub static NODE: Mapping = Mapping {
    what: "a node",
    holders: false,
    rules: &[Rule::Any(&["mac", "uuid"])],
    keys: &[
        Key::needed(
            "name",
            Value::Form(&HOST),
            "n1",
            "Name of the machine, its host name, and of its Matchbox group: at most 100 letters, digits, `-` and `.`. Each name occurs once.",
        ),
        Key::may(
            "mac",
            Value::Form(&MAC),
            "the machine is identified by its `uuid` alone",
            "\"52:54:00:00:00:01\"",
            "MAC address that identifies the machine, as firmware, switches and labels print it: with `:`, `-` or `.` between \
             groups of 2, 4 or 6 digits, or without. Addresses of no card (multicast, all zeros) are refused.",
        ),
        Key::may(
            "uuid",
            Value::Form(&UUID),
            "the machine is identified by its `mac` alone",
            "4c4c4544-0044-4810-8031-b4c04f564231",
            "SMBIOS UUID that identifies the machine. With a `mac` as well, both must match.",
        ),
        Key::needed("profile", Value::Text, "worker", "The profile that it boots."),
        Key::may(
            "arch",
            forms::ARCH,
            "the release's architecture, if it has only one; else it is required",
            "amd64",
            "Architecture of its CPU.",
        ),
        Key::may(
            "memory",
            Value::Form(&forms::SIZE),
            "not known, and nothing is judged by it",
            "8GiB",
            "Its amount of memory. A boot that needs more is warned about when it is built.",
        ),
        Key::may(
            "ip",
            Value::Form(&CIDR),
            "an address of the DHCP server's choice",
            "10.0.0.11/24",
            "Its address with the prefix length. DHCP servers give it to the machine, and templates get it as metadata. Each address \
             occurs once.",
        ),
        Key::may(
            "ignition",
            Value::List(&Value::Form(&forms::PATH)),
            "only the profile's layers",
            "[nodes/n1.bu]",
            "Its own layers, Butane or Ignition (`.ign`), merged over those of its profile. Not in an inventory.",
        ),
        Key::may(
            "private",
            Value::List(&Value::Form(&forms::PATH)),
            "only the profile's private layers",
            "[private/n1.bu]",
            "Its own layers with secrets, merged over those of its profile. Not in an inventory.",
        ),
    ],
};
