//! What a version, an architecture and a recipe make of a sysext's variables, and what comes of them.

use std::collections::BTreeMap;
use std::fs;

use prebake::bake::extensions::{self, PauseFrom, Selected};
use prebake::bake::outputs::{self, Outputs};
use prebake::bake::recipe::Recipe;
use prebake::base::arch::Arch;
use prebake::base::finding::{Findings, Source};
use prebake::sysext::description::{Description, Error};
use prebake::sysext::schema;

use crate::world::repository;

const HEAD: &str = "schema: 1\nname: demo\nversion: v1.2\n";

fn parsed(rest: &str) -> Result<Description, Findings> {
    schema::parse(&Source::new("sysext.yaml", format!("{HEAD}{rest}")), "demo")
}

fn faults(rest: &str) -> Vec<String> {
    parsed(rest).unwrap_err().0.into_iter().map(|finding| finding.message).collect()
}

/// The sysexts of a recipe that lies beside those that ship, or its faults, each as `LINE: MESSAGE`.
fn selected(rest: &str) -> Result<BTreeMap<String, Selected>, Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(repository("sysext"), directory.path().join("sysext")).unwrap();
    let path = directory.path().join("recipe.yaml");
    fs::write(&path, format!("schema: 1\nname: r\nrelease: {{channel: stable}}\n{rest}\n")).unwrap();
    let load =
        |(recipe, outputs): (Recipe, Outputs)| extensions::load(&recipe, &outputs.sysext_versions(), None);
    match Recipe::load(&path, outputs::read).and_then(load) {
        Ok(all) => Ok(all.into_iter().map(|one| (one.description.name.clone(), one)).collect()),
        Err(error) => Err(told(&error.to_string())),
    }
}

/// Findings as people see them: the message, then the place.
fn told(text: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut message = None;
    for line in text.lines() {
        if let Some(text) = line.strip_prefix("error: ") {
            message = Some(text);
        } else if let (Some((_, place)), Some(message)) = (line.split_once("recipe.yaml:"), message.take()) {
            rows.push(format!("{}: {message}", place.split(':').next().unwrap()));
        }
    }
    rows
}

fn value<'s>(selected: &'s BTreeMap<String, Selected>, sysext: &str, variable: &str) -> &'s str {
    selected[sysext].variables.get(variable).unwrap()
}

#[test]
fn a_version_brings_what_it_was_tested_with_and_a_recipe_may_say_otherwise() {
    let cni = |entry: &str| {
        let all = selected(&format!("profiles: {{w: {{sysexts: [{entry}]}}}}")).unwrap();
        (value(&all, "kubernetes", "cni").to_owned(), value(&all, "kubernetes", "crictl").to_owned())
    };
    let pair = |cni: &str, crictl: &str| (cni.to_owned(), crictl.to_owned());
    assert_eq!(cni("kubernetes"), pair("v1.7.1", "v1.33.0"));
    assert_eq!(cni("{name: kubernetes, version: v1.31.0}"), pair("v1.5.0", "v1.30.0"));
    assert_eq!(cni("{name: kubernetes, version: v1.31.7}"), pair("v1.5.1", "v1.30.0"));
    let own = "{name: kubernetes, version: v1.33.13, set: {cni: v1.6.0}}";
    assert_eq!(cni(own), pair("v1.6.0", "v1.32.0"));
}

#[test]
fn the_pause_image_that_kubeadm_wants_is_containerds_sandbox_image() {
    let pause = |rest: &str| {
        let all = selected(rest).unwrap();
        let config = &all["containerd-config"];
        let texts = config.description.texts(&config.variables).unwrap();
        let line = texts[0].1.lines().find_map(|line| line.strip_prefix("sandbox_image = "));
        line.unwrap().trim_matches('"').to_owned()
    };
    let both = "profiles: {w: {sysexts: [containerd-config, kubernetes]}}";
    assert_eq!(pause(&format!("kubernetes: {{version: v1.30.4}}\n{both}")), "registry.k8s.io/pause:3.9");
    assert_eq!(pause(&format!("kubernetes: {{version: v1.36.3}}\n{both}")), "registry.k8s.io/pause:3.10.2");
    let entry = both.replace("kubernetes]", "{name: kubernetes, version: v1.33.6}]");
    assert_eq!(pause(&entry), "registry.k8s.io/pause:3.10");
    let own = both.replace("[containerd-config", "[{name: containerd-config, set: {pause: '4'}}");
    assert_eq!(pause(&own), "registry.k8s.io/pause:4");
    assert_eq!(pause("profiles: {w: {sysexts: [containerd-config]}}"), "registry.k8s.io/pause:3.10.1");

    let newer = format!("kubernetes: {{version: v1.99.0}}\n{both}");
    let all = selected(&newer).unwrap();
    assert_eq!(all["containerd-config"].pause, PauseFrom::Open, "kubeadm's source is read first");
    assert_eq!(all["kubernetes"].pause, PauseFrom::Written);
}

#[test]
fn what_a_recipe_sets_wrongly_is_told_where_it_stands() {
    let rest = "kubernetes: {version: v1.34.4}\nprofiles:\n  a:\n    sysexts:\n      - name: kubernetes\n        version: v1.33.6\n      \
        - name: nerdctl\n        set: {verison: 2.0.0}\n      - {name: containerd, version: a/b}\n  \
        b: {sysexts: [nerdctl]}";
    let expected = [
        "13: `nerdctl` is configured in two ways, but there is only one image of it",
        "12: sysext `containerd`: `a/b` is not a valid value for `version`; use letters, digits and . _ + ~ -",
        "9: `kubernetes:` sets version v1.34.4 of this sysext",
        "11: sysext `nerdctl` has no variable `verison`; it has version",
    ];
    assert_eq!(selected(rest).unwrap_err(), expected);

    let rest = "sysexts: [{name: nerdctl, set: {version: 2.0.0}}, {nmae: x}]\nprofiles: {w: {}}";
    let expected = [
        "4: `version` belongs beside `set`, not in it",
        "4: a sysext needs the key `name`",
        "4: unknown key `nmae` in a sysext",
    ];
    assert_eq!(selected(rest).unwrap_err(), expected);
}

#[test]
fn a_variable_may_differ_by_architecture() {
    let text = "variables: {machine: {amd64: x64, arm64: armv8}, only: {amd64: x}}\ncomponents:\n  \
        a: {url: \"https://x/{machine}\", sha256_url: \"https://x/s\", install: /usr/a}\n";
    let demo = parsed(text).unwrap();
    let url = |demo: &Description, arch| {
        let variables = demo.variables(arch, &BTreeMap::new()).unwrap();
        demo.components(arch, &variables).map(|components| components[0].url.clone())
    };
    assert_eq!(url(&demo, Arch::Amd64).unwrap(), "https://x/x64");
    assert_eq!(url(&demo, Arch::Arm64).unwrap(), "https://x/armv8");

    let demo = parsed(&text.replace("{machine}", "{only}")).unwrap();
    assert!(url(&demo, Arch::Amd64).is_ok());
    let Err(Error::Template { why, .. }) = url(&demo, Arch::Arm64) else { panic!("a refusal") };
    assert_eq!(why, "`{only}` has no value for version v1.2 on arm64: add it to `versions:`, or set it");
}

#[test]
fn every_fault_of_versions_images_links_and_units_is_told() {
    let text = "upholds: [kubelet, a/b.service, x@.service, ok.socket]\n\
        variables: {etcd: null, cni: v1, machine: {amd46: x}}\n\
        versions:\n  v1.2: {ectd: '1'}\n  'a/b': {cni: v2}\n\
        components: {a: {url: \"https://x/{etcd}\", sha256_url: \"https://x/s\", install: /usr/a}}\n\
        links: {usr/x: y, /usr/y: \"{nope}\"}\n\
        images: {some: [\"registry.k8s.io/etcd:{etcd}\", \"a b\", \"{ectd}\"], none: x}\n";
    let expected = [
        "`kubelet` is not the name of a unit that can be started",
        "`a/b.service` is not the name of a unit that can be started",
        "`x@.service` is not the name of a unit that can be started",
        "unknown key `amd46` in a variable by architecture",
        "`ectd` is not one of the `variables`",
        "`a/b` cannot be used in URLs and file names",
        "`{etcd}` has no value for version v1.2 on amd64: add it to `versions:`, or set it",
        "`usr/x` is not an absolute path without `..`, `.` and empty parts",
        "unknown variable `{nope}`: known are arch, arch_systemd, arch_uname, cni, etcd, machine, version",
    ];
    let found = faults(text);
    assert_eq!(found[..expected.len()], expected);
    let rest = &found[expected.len()..];
    assert!(rest[0].starts_with("`a b` is not an image reference"), "{rest:?}");
    assert_eq!(
        rest[1..],
        ["unknown variable `{ectd}`: did you mean `{etcd}`?", "a list of images must be a list"]
    );
}
