//! Machines that nobody can log in to.
//!
//! A way in is an SSH key, a password, a console that logs in by itself, or a shell for debugging: in the config that a boot's
//! machines get, private layers included, in its kernel arguments, or in a sysext. A config that a machine fetches from
//! elsewhere may bring one, so nothing is said of its machines. Sources: Ignition's `passwd`, Flatcar's
//! `ssh-key-proc-cmdline` and its getty generator (`flatcar.autologin`), systemd-debug-generator(8), sshd_config(5).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde_json::Value;

use crate::bake::boot::BootWish;
use crate::bake::recipe::Recipe;
use crate::base::finding::{Finding, Source};
use crate::format::tree::{Content, Tree};
use crate::ignition::Config;
use crate::ignition::parts::{self, Contents, Part, Role};

/// Kernel arguments that open a console. `0`, `no`, `false` and `off` close it again (systemd's parse_boolean).
const CONSOLES: [&str; 5] =
    ["flatcar.autologin", "coreos.autologin", "systemd.debug_shell", "systemd.debug-shell", "sshkey"];
/// Units that open a shell, or fetch keys from where the machine stands.
const UNITS: [&str; 2] = ["debug-shell.service", "coreos-metadata-sshkeys@"];
/// Settings of sshd that bring keys from elsewhere.
const SSHD: [&str; 4] =
    ["trustedusercakeys", "authorizedkeyscommand", "authorizedkeysfile", "authorizedprincipals"];
/// Directory of units in an image, whose consoles may log in by themselves.
const IMAGE_UNITS: &str = "usr/lib/systemd/system/";
/// Option of agetty(8).
const AUTOLOGIN: &str = "--autologin";
/// Longest unit of an image that is read.
const MAX_UNIT: u64 = 1 << 20;

/// Whether kernel arguments open a console or bring a key.
pub(crate) fn by_args<'a>(args: impl IntoIterator<Item = &'a str>) -> bool {
    args.into_iter().any(|arg| {
        let (key, value) = arg.split_once('=').unwrap_or((arg, ""));
        CONSOLES.contains(&key) && !["0", "no", "false", "off"].contains(&value)
            || key == "init" && value.ends_with("sh")
    })
}

/// Whether files of an image have a console log in by itself.
pub(crate) fn by_image(files: &Tree) -> bool {
    files.iter().any(|(path, entry)| {
        let Content::File(contents) = &entry.content else { return false };
        let mut text = String::new();
        path.starts_with(IMAGE_UNITS)
            && contents.size() <= MAX_UNIT
            && contents.reader().read_to_string(&mut text).is_ok()
            && text.contains(AUTOLOGIN)
    })
}

/// Whether a config lets somebody in, or may, because a part of it is fetched.
pub(crate) fn by_config(config: &Config) -> bool {
    let json: Value = serde_json::from_str(&config.to_json()).unwrap_or_default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let users = list(&json["passwd"]["users"]);
    let units = list(&json["systemd"]["units"]);
    users.iter().any(lets_in)
        || units.iter().any(opens)
        || parts::parts(config).iter().any(|part| part.within.is_empty() && by_part(part))
}

/// Whether a user has a key or a password, and a shell.
fn lets_in(user: &Value) -> bool {
    let has_key = user["sshAuthorizedKeys"].as_array().is_some_and(|keys| !keys.is_empty());
    let hash = user["passwordHash"].as_str().unwrap_or_default();
    // passwd(5): a hash that begins with one of these locks the password.
    let has_password = !hash.is_empty() && !hash.starts_with(['!', '*']);
    let shell = user["shell"].as_str().unwrap_or_default();
    let has_shell = !shell.ends_with("/nologin") && !shell.ends_with("/false");
    (has_key || has_password) && has_shell && user["shouldExist"] != Value::Bool(false)
}

/// Whether a unit that is enabled opens a shell, or brings keys.
fn opens(unit: &Value) -> bool {
    let name = unit["name"].as_str().unwrap_or_default();
    UNITS.iter().any(|known| name.starts_with(known))
        && unit["enabled"] == Value::Bool(true)
        && unit["mask"] != Value::Bool(true)
}

fn by_part(part: &Part) -> bool {
    let here = part.contents.here().map(String::from_utf8_lossy);
    let is_fetched = matches!(part.contents, Contents::Fetched { .. });
    match (part.role, &here) {
        (Role::Config, Some(text)) => {
            let embedded = Config::parse(&Source::new(part.name.as_str(), text.as_ref()));
            embedded.is_ok_and(|embedded| by_config(&embedded.config))
        }
        (Role::Config, None) => is_fetched,
        (Role::Unit, Some(text)) => text.contains(AUTOLOGIN),
        (Role::File, text) => {
            let has = |words: &[&str]| match text {
                Some(text) => {
                    let text = text.to_ascii_lowercase();
                    let mut lines = text.lines().map(str::trim_start);
                    lines.any(|line| words.iter().any(|word| line.starts_with(word)))
                }
                None => is_fetched,
            };
            let is_filled = text.as_ref().map_or(is_fetched, |text| !text.trim().is_empty());
            (part.name.contains("/.ssh/authorized_keys") || part.name == "/etc/shadow") && is_filled
                || part.name.starts_with("/etc/ssh/sshd_config") && has(&SSHD)
        }
        _ => false,
    }
}

/// A warning for the boots that nobody can log in to, told profile by profile at the profile's place in the recipe.
pub(crate) fn findings<'b>(recipe: &Recipe, boots: impl Iterator<Item = Shut<'b>>) -> Vec<Finding> {
    let mut nodes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut whole = BTreeSet::new();
    for Shut { profile, node } in boots {
        match node {
            Some(node) => drop(nodes.entry(profile).or_default().insert(node)),
            None if has_machines(recipe, profile) => drop(whole.insert(profile)),
            None => {}
        }
    }
    let mut findings = Vec::new();
    for (name, profile) in &recipe.profiles {
        let of_nodes = nodes.get(name.as_str()).into_iter().flatten().map(|node| format!("`{node}`"));
        let machines = match (whole.contains(name.as_str()), of_nodes.collect::<Vec<_>>()) {
            (true, _) => format!("the machines of profile `{name}`"),
            (false, nodes) if nodes.is_empty() => continue,
            (false, nodes) => nodes.join(", "),
        };
        let text = format!("nobody can log in to {machines}: no SSH key, no password, no autologin");
        let hint = "add `ssh_keys: [\"github:YOU\"]` to the recipe, or a user with a key to a layer";
        findings.push(Finding::warning(text).at(profile.place.clone()).hint(hint));
    }
    findings
}

/// A boot whose machines nobody can log in to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shut<'b> {
    /// Its profile.
    pub profile: &'b str,
    /// Its node, if the boot is the node's own.
    pub node: Option<&'b str>,
}

impl<'b> Shut<'b> {
    /// The boots that have no way in.
    pub(crate) fn among(boots: &'b [BootWish]) -> impl Iterator<Item = Shut<'b>> {
        let shut = boots.iter().filter(|boot| !boot.lets_in);
        shut.map(|boot| Shut { profile: &boot.profile, node: boot.node.as_deref() })
    }
}

/// Whether a profile's own boot is for any machine, as far as the recipe knows. A site may add machines to a profile without
/// nodes.
fn has_machines(recipe: &Recipe, profile: &str) -> bool {
    let mut nodes = recipe.nodes.iter().filter(|node| node.profile.value == profile).peekable();
    recipe.default_profile.as_deref() == Some(profile)
        || nodes.peek().is_none()
        || nodes.any(|node| node.ignition.is_empty() && node.private.is_empty())
}
