//! References in loaders' files: the scripts and configs that outputs write, the profiles and groups of Matchbox, and
//! the kernel's arguments in all of them.

use serde_json::Value;

use super::graph::Kind;
use super::reference::{Reference, Rule, urls};
use crate::format::ipxe::Image;
use crate::tree::names::{
    self, CONFIG_ARGS, GRUB_CONFIG, INITRD_ARG, IPXE_END, PXELINUX_CONFIGS, SERVER_ARG, TERRAFORM_END,
    TYPHOON_BENCH, arg_value,
};
use crate::tree::records::{Group, Profile};

/// References in a loader's file, which is recognised by the name that outputs give it.
pub(super) fn references(path: &str, text: &str) -> Vec<Reference> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match () {
        _ if name.ends_with(IPXE_END) => ipxe(text),
        _ if name.starts_with(GRUB_CONFIG) => grub(text),
        _ if path.split('/').rev().nth(1) == Some(PXELINUX_CONFIGS) => pxelinux(text),
        _ if name.ends_with(TERRAFORM_END) => terraform(text),
        _ if path == TYPHOON_BENCH => bench(text),
        _ => numbered(text).flat_map(|(line, text)| urls(text).map(move |url| script(line, url))).collect(),
    }
}

/// Numbered lines, without those that are comments in every loader's language.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.starts_with('#'))
}

fn script(line: usize, text: &str) -> Reference {
    Reference::location(Some(line), Kind::Script, text)
}

/// iPXE: `kernel`, `initrd` and `chain`, with `||` before the next attempt.
fn ipxe(text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut args: Vec<(usize, String)> = Vec::new();
    let mut initrds = Vec::new();
    for (line, text) in numbered(text) {
        let attempts: Vec<&str> = text.split("||").flat_map(|part| part.split("&&")).map(str::trim).collect();
        for (index, attempt) in attempts.iter().enumerate() {
            let (command, rest) = attempt.split_once([' ', '\t']).unwrap_or((attempt, ""));
            let kind = match command {
                "kernel" => Kind::Kernel,
                "initrd" | "imgfetch" | "module" => Kind::Initrd,
                "chain" | "imgexec" => Kind::Script,
                _ => continue,
            };
            // An unknown option, from a newer iPXE, must not hide the file that is loaded.
            let plain = || rest.split_whitespace().find(|word| !word.starts_with('-'));
            let image = Image::parse(rest).ok();
            let image = image.or_else(|| Some(Image { name: None, uri: plain()?, args: Vec::new() }));
            let Some(image) = image else { continue };
            let optional = image.uri.contains("${") && attempts.len() > index + 1;
            found.push(Reference::new(Some(line), kind, image.uri, Rule::Location { optional }));
            match kind {
                Kind::Kernel => args.extend(image.args.iter().map(|word| (line, (*word).to_owned()))),
                Kind::Initrd => initrds.push(image.called().to_owned()),
                _ => {}
            }
        }
    }
    found.extend(args.iter().flat_map(|(line, arg)| argument(Some(*line), arg, Some(&initrds))));
    found
}

/// GRUB: quoted words after `linux` and `initrd`.
fn grub(text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    for (line, text) in numbered(text) {
        let words: Vec<&str> = text.split_whitespace().map(|word| word.trim_matches(['\'', '"'])).collect();
        match words.as_slice() {
            ["linux", kernel, args @ ..] => {
                found.push(Reference::location(Some(line), Kind::Kernel, *kernel));
                found.extend(args.iter().flat_map(|arg| argument(Some(line), arg, None)));
            }
            ["initrd", initrds @ ..] => {
                found.extend(initrds.iter().map(|path| Reference::location(Some(line), Kind::Initrd, *path)));
            }
            _ => {}
        }
    }
    found
}

/// PXELINUX: `KERNEL`, `INITRD A,B` and `APPEND`.
fn pxelinux(text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    for (line, text) in numbered(text) {
        let (key, value) = text.split_once(' ').unwrap_or((text, ""));
        match key {
            "KERNEL" => found.push(Reference::location(Some(line), Kind::Kernel, value)),
            "INITRD" => {
                found.extend(value.split(',').map(|path| Reference::location(Some(line), Kind::Initrd, path)))
            }
            "APPEND" => {
                found.extend(value.split_whitespace().flat_map(|arg| argument(Some(line), arg, None)))
            }
            _ => {}
        }
    }
    found
}

/// Terraform's JSON: paths from the root of the server, or relative to the module; `$${` is a `${` that Terraform
/// leaves alone.
fn terraform(text: &str) -> Vec<Reference> {
    const MODULE: &str = "${path.module}/";
    fn strings<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::String(text) => found.push(text),
            Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
            Value::Object(entries) => entries.values().for_each(|item| strings(item, found)),
            _ => {}
        }
    }
    let module: Value = serde_json::from_str(text).unwrap_or_default();
    let (mut found, profiles) = (Vec::new(), &module["locals"]["profiles"]);
    for profile in profiles.as_object().into_iter().flat_map(|profiles| profiles.values()) {
        let plain = |value: &Value| {
            let mut texts = Vec::new();
            strings(value, &mut texts);
            texts.into_iter().map(|text| text.replace("$${", "${").replace("%%{", "%{")).collect::<Vec<_>>()
        };
        let location = |kind| move |text: String| Reference::location(None, kind, text);
        let image = |line: String| Image::parse(&line).map_or(line.clone(), |image| image.uri.to_owned());
        found.extend(plain(&profile["kernel"]).into_iter().map(image).map(location(Kind::Kernel)));
        found.extend(plain(&profile["initrd"]).into_iter().map(image).map(location(Kind::Initrd)));
        let mut configs = Vec::new();
        strings(&profile["ignition"], &mut configs);
        let beside = configs.into_iter().map(|text| text.trim_start_matches(MODULE).to_owned());
        found.extend(beside.map(location(Kind::Config)));
        found.extend(plain(&profile["args"]).iter().flat_map(|arg| argument(None, arg, None)));
    }
    let groups = module["locals"]["groups"].as_object();
    for group in groups.into_iter().flat_map(|groups| groups.values()) {
        if let Some(profile) = group["profile"].as_str() {
            let known = profiles.as_object().map(|profiles| profiles.keys().cloned().collect());
            found.push(Reference::new(None, Kind::Profile, profile, Rule::Among(known.unwrap_or_default())));
        }
    }
    found
}

/// References in a bench for Typhoon: the configs of machines.
fn bench(text: &str) -> Vec<Reference> {
    let bench: Value = serde_json::from_str(text).unwrap_or_default();
    let configs = bench["snippets"].as_object().into_iter().flat_map(|snippets| snippets.values());
    let paths = configs.flat_map(|configs| configs.as_array()).flatten().filter_map(Value::as_str);
    paths.map(|path| Reference::location(None, Kind::Config, format!("/{path}"))).collect()
}

/// References in a group of Matchbox.
pub(super) fn group(group: &Group) -> Vec<Reference> {
    vec![Reference::location(None, Kind::Profile, format!("/{}", names::profile(&group.profile)))]
}

/// References in a profile of Matchbox. The config comes first, since it names most of the files that a machine
/// fetches.
pub(super) fn profile(profile: &Profile) -> Vec<Reference> {
    let mut found = Vec::new();
    for (id, kind, path) in [
        (&profile.ignition_id, Kind::Config, names::ignition as fn(&str) -> String),
        (&profile.cloud_id, Kind::Config, names::cloud),
        (&profile.generic_id, Kind::Template, names::generic),
    ] {
        if !id.is_empty() {
            found.push(Reference::location(None, kind, format!("/{}", path(id))));
        }
    }
    let Some(boot) = &profile.boot else { return found };
    let (mut initrds, mut args) = (Vec::new(), Vec::new());
    let initrd = boot.initrd.iter().map(|line| (line, Kind::Initrd));
    for (line, kind) in initrd.chain([(&boot.kernel, Kind::Kernel)]) {
        // The line follows the word `kernel` or `initrd` in the script; a line that does not parse is kept whole,
        // and leads nowhere.
        let Ok(image) = Image::parse(line) else {
            found.push(Reference::location(None, kind, line.as_str()));
            continue;
        };
        found.push(Reference::location(None, kind, image.uri));
        match kind {
            Kind::Initrd => initrds.push(image.called().to_owned()),
            _ => args.extend(image.args.iter().map(|word| (*word).to_owned())),
        }
    }
    args.extend(boot.args.iter().cloned());
    found.extend(args.iter().flat_map(|arg| argument(None, arg, Some(&initrds))));
    found
}

/// References in a kernel argument. `initrds` are the names of the files that the loader loads; `initrd=` must be one
/// of them.
pub(super) fn argument(line: Option<usize>, arg: &str, initrds: Option<&Vec<String>>) -> Vec<Reference> {
    let (key, value) = arg.split_once('=').unwrap_or((arg, ""));
    match (key, initrds) {
        (INITRD_ARG, Some(initrds)) => {
            vec![Reference::new(line, Kind::Initrd, value, Rule::Among(initrds.clone()))]
        }
        (SERVER_ARG, _) => vec![Reference::location(line, Kind::Server, value)],
        (key, _) if CONFIG_ARGS.contains(&key) => vec![Reference::location(line, Kind::Config, value)],
        _ => urls(arg).map(|url| Reference::location(line, Kind::Url, url)).collect(),
    }
}

/// URLs where machines find the server, from `prebake.url=` in a loader's file.
pub(super) fn servers(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(SERVER_ARG).filter_map(|(at, _)| urls(arg_value(&text[at..], SERVER_ARG)?).next())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_loaders_file_is_read(
            path in prop::sample::select(vec![
                "boot.ipxe", "boot/grub/grub.cfg", "boot/pxelinux/pxelinux.cfg/default", "x.tf.json", "dnsmasq.conf",
                TYPHOON_BENCH,
            ]),
            text in "(\\PC|\n|chain |kernel |initrd |linux |KERNEL |INITRD |APPEND |\\$\\{|http://| \\|\\| ){0,60}",
        ) {
            let lines = text.lines().count();
            for reference in references(path, &text) {
                prop_assert!(reference.line.is_none_or(|line| (1..=lines).contains(&line)), "{:?}", reference);
            }
        }
    }

    fn shown(path: &str, text: &str) -> Vec<String> {
        let shown = |reference: Reference| {
            let line = reference.line.map_or(String::new(), |line| format!("{line} "));
            let optional = reference.rule == Rule::Location { optional: true };
            format!("{line}{} {}{}", reference.kind, reference.text, if optional { " ?" } else { "" })
        };
        references(path, text).into_iter().map(shown).collect()
    }

    /// Matchbox's own FCOS examples and Typhoon's profiles name initrds like this.
    #[test]
    fn an_initrd_of_a_profile_is_a_line_of_ipxe() {
        let json = serde_json::json!({"id": "x", "boot": {
            "kernel": "/a/k initrd=more",
            "initrd": ["--name main /a/i", "-n more http://h/a/j", "--nmae x /a/l"],
            "args": ["initrd=main", "initrd=i"],
        }});
        let read = Profile::read(json.to_string().as_bytes()).unwrap();
        let found = profile(&read).into_iter().map(|found| (found.text, found.rule));
        let known = || vec!["main".to_owned(), "more".to_owned()];
        let place = |text: &str| (text.to_owned(), Rule::Location { optional: false });
        let among = |text: &str| (text.to_owned(), Rule::Among(known()));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                place("/a/i"),
                place("http://h/a/j"),
                place("--nmae x /a/l"),
                place("/a/k"),
                among("more"),
                among("main"),
                among("i")
            ]
        );
    }

    #[test]
    fn every_loaders_language_is_read() {
        assert_eq!(
            shown(
                "boot.ipxe",
                "#!ipxe\nchain a/${mac:hexhyp}.ipxe || chain b.ipxe || shell\nkernel ../k initrd=i ignition.config.url=http://h/c?x=${uuid}\ninitrd --name main ../i\nchain --autofree --new c.ipxe\n"
            ),
            [
                "2 script a/${mac:hexhyp}.ipxe ?",
                "2 script b.ipxe",
                "3 kernel ../k",
                "4 initrd ../i",
                "5 script c.ipxe",
                "3 initrd i",
                "3 config http://h/c?x=${uuid}",
            ]
        );
        assert_eq!(
            shown(
                "boot/grub/grub.cfg",
                "menuentry 'x' {\n  linux '/t/k' 'a=b' 'prebake.url=http://h/t'\n  initrd '/t/i' '/t/j'\n}\n"
            ),
            ["2 kernel /t/k", "2 server http://h/t", "3 initrd /t/i", "3 initrd /t/j"]
        );
        assert_eq!(
            shown(
                "boot/pxelinux/pxelinux.cfg/default",
                "LABEL x\n  KERNEL ::k\n  INITRD ::i,http://h/j\n  APPEND quiet\n"
            ),
            ["2 kernel ::k", "3 initrd ::i", "3 initrd http://h/j"]
        );
        assert_eq!(
            shown(
                "boot/terraform/matchbox.tf.json",
                r#"{"locals":{"profiles":{"w":{"kernel":"/k","initrd":["/i"],"args":["ignition.config.url=http://h/ignition?uuid=$${uuid}"],"ignition":"${path.module}/../../ignition/w.ign"}},"groups":{"n":{"profile":"w"}}}}"#
            ),
            [
                "kernel /k",
                "initrd /i",
                "config ../../ignition/w.ign",
                "config http://h/ignition?uuid=${uuid}",
                "profile w"
            ]
        );
        assert_eq!(
            shown("boot/dnsmasq/dnsmasq.conf", "# http://doc\ndhcp-boot=tag:ipxe,http://h/boot.ipxe\n"),
            ["2 script http://h/boot.ipxe"]
        );
    }
}
