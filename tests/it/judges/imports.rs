//! A recipe made of a Matchbox data directory: real Matchbox over the directory and over the tree that is built of it must give
//! each machine the same config and the same kernel arguments.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use super::matchbox::{raised, start_matchbox};
use crate::world::http::get;
use crate::world::{PRIMARY, VERSION, World, repository};

/// What the import leaves out of scripts, because the overlay has the config and outputs name initrds.
const WRITTEN: [&str; 4] = ["ignition.config.url=", "flatcar.first_boot=", "initrd=", "flatcar.config.url="];

const BUTANE: &str = "\
variant: flatcar
version: 1.0.0
storage:
  files:
    - path: /etc/hostname
      contents: {inline: \"{{.hostname}}\"}
{{range .disks}}    - path: /etc/disks/{{.}}
      contents: {inline: \"{{$.request.query.mac}}\"}
{{end}}";

fn machines(mac: u8) -> String {
    format!("uuid=00000000-0000-0000-0000-0000000000ff&mac=52-54-00-00-00-{mac:02x}&arch=x86_64")
}

/// A data directory such as people have, with parts that no recipe can say.
fn data(world: &World) {
    let boot = |args: &[&str]| {
        let assets = format!("/assets/flatcar/{VERSION}");
        let url = "ignition.config.url=http://matchbox.example:8080/ignition?uuid=${uuid}&mac=${mac:hexhyp}";
        let args: Vec<&str> = ["initrd=flatcar_production_pxe_image.cpio.gz", "flatcar.first_boot=1", url]
            .iter()
            .chain(args)
            .copied()
            .collect();
        json!({
            "kernel": format!("{assets}/flatcar_production_pxe.vmlinuz"),
            "initrd": [format!("{assets}/flatcar_production_pxe_image.cpio.gz")],
            "args": args,
        })
    };
    let profile = |id: &str, config: &str, args: &[&str]| {
        let profile = json!({"id": id, "name": id, "boot": boot(args), "ignition_id": config});
        world.write(&format!("data/profiles/{id}.json"), profile.to_string());
    };
    profile(
        "worker",
        "worker.yaml",
        &["console=tty0 console=ttyS0,115200n8", "flatcar.autologin", "x=\"a b\""],
    );
    profile("control", "control.ign", &["console=ttyS0"]);
    profile("plain", "plain.yaml", &[]);
    profile("shared", "shared.yaml", &[]);
    profile("loose", "loose.yaml", &["hostname=${hostname}"]);
    profile("asking", "asking.yaml", &[]);
    let memtest = json!({"id": "memtest", "boot": {"kernel": "/assets/memtest.bin"}});
    world.write("data/profiles/memtest.json", memtest.to_string());
    world.write("data/ignition/worker.yaml", BUTANE);
    world.write("data/ignition/plain.yaml", "# Kept.\nvariant: flatcar\nversion: 1.1.0\nsystemd: {units: [{name: a.service, enabled: true, contents: \"[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n\"}]}\n");
    world.write("data/ignition/shared.yaml", "variant: flatcar\nversion: 1.0.0\nstorage: {files: [{path: /etc/dc, contents: {inline: '{{.dc}}'}}]}\n");
    world.write("data/ignition/loose.yaml", "variant: flatcar\nversion: 1.0.0\nnobody: knows this\nstorage: {files: [{path: /etc/loose, contents: {inline: yes}}]}\n");
    world.write("data/ignition/asking.yaml", "variant: flatcar\nversion: 1.0.0\nstorage: {files: [{path: /etc/x, contents: {inline: '{{.request.raw_query}}'}}]}\n");
    world.write(
        "data/ignition/control.ign",
        r#"{"ignition":{"version":"3.2.0"},"storage":{"files":[{"path":"/etc/control","mode":420,"contents":{"source":"data:,yes"}}]}}"#,
    );
    let group = |id: &str, profile: &str, selector: serde_json::Value, metadata: serde_json::Value| {
        let group = json!({"profile": profile, "selector": selector, "metadata": metadata});
        world.write(&format!("data/groups/{id}.json"), group.to_string());
    };
    let mac = |mac: u8| json!({"mac": format!("52:54:00:00:00:{mac:02X}")});
    group("default-1", "worker", json!({}), json!({"hostname": "stranger", "disks": []}));
    group("n1", "worker", mac(1), json!({"hostname": "n1", "disks": ["sda", "sdb"]}));
    group("n 2", "worker", mac(2), json!({"hostname": "n2", "disks": []}));
    group("c1", "control", json!({"uuid": "00000000-0000-0000-0000-000000000001"}), json!({}));
    group("p1", "plain", mac(3), json!({}));
    group("p2", "plain", mac(4), json!({"unused": 1}));
    group("s1", "shared", mac(5), json!({"dc": "ams"}));
    // A name that the group of all other machines has in a tree.
    group("default", "shared", mac(6), json!({"dc": "ams"}));
    group("l1", "loose", mac(7), json!({}));
    group("installed", "worker", json!({"os": "installed", "mac": "52:54:00:00:00:01"}), json!({}));
    group("region", "worker", json!({"region": "eu"}), json!({}));
    group("odd", "worker", json!({"uuid": "nonsense"}), json!({}));
    let both = json!({"mac": "52:54:00:00:00:01", "uuid": "00000000-0000-0000-0000-000000000002"});
    group("twice", "worker", both, json!({"hostname": "n1", "disks": []}));
    group("memory", "memtest", mac(8), json!({}));
    group("asks", "asking", mac(9), json!({}));
    group("lost", "nowhere", mac(10), json!({}));
    world.write("data/groups/broken.json", "{");
}

/// The kernel's words but those that every loader's script gets from its server.
fn words(script: &str) -> BTreeSet<String> {
    let line = script.lines().find(|line| line.starts_with("kernel ")).unwrap();
    let words =
        line.split(' ').skip(2).filter(|word| !WRITTEN.iter().any(|written| word.starts_with(written)));
    words.map(str::to_owned).collect()
}

#[test]
fn a_data_directory_becomes_a_recipe_whose_machines_get_what_matchbox_gave_them() {
    let world = World::new();
    fs::remove_dir_all(world.path("recipes")).unwrap();
    data(&world);
    let run = world.prebake(&["new", "site", "--from", "matchbox", "data"]).ok();
    let recipe = fs::read_to_string(world.path("site/recipes/site.yaml")).unwrap();
    for (file, why) in [
        ("groups/broken.json", "it is no group"),
        ("groups/installed.json", "`install:` of a profile makes"),
        ("groups/region.json", "it selects by `region`"),
        ("groups/memory.json", "`/assets/memtest.bin` is not Flatcar's PXE kernel"),
        ("groups/asks.json", "it depends on what each machine's request says"),
        ("groups/lost.json", "profiles/nowhere.json: it is not there"),
        ("profiles/loose.json", "iPXE's settings are not filled in"),
        ("ignition/loose.yaml", "so the layer is its Ignition"),
        ("groups/odd.json", "is not a UUID"),
        ("groups/twice.json", "groups/n1.json is for the same machine"),
    ] {
        let told = |text: &str| text.lines().any(|line| line.contains(file) && line.contains(why));
        assert!(told(&run.stderr) && told(&recipe), "{file}: {why}\n{}\n{recipe}", run.stderr);
    }
    assert_eq!(run.stderr.matches("warning: ").count(), 10, "{}", run.stderr);
    assert!(recipe.contains(&format!("version: {VERSION}")), "{recipe}");
    let layer = fs::read_to_string(world.path("site/recipes/site/plain.bu")).unwrap();
    assert!(layer.starts_with("# Kept."), "{layer}");

    fs::copy(repository("tests/lab/keys/lab.asc"), world.path("lab.asc")).unwrap();
    let trust = format!("trust: {{primary_fingerprint: {PRIMARY}, key: ../../lab.asc}}\nprofiles:");
    world.edit("site/recipes/site.yaml", "profiles:", &trust);
    world.prebake(&["build", "site/recipes/site.yaml"]).ok();
    let Some((_before, before)) = start_matchbox_of(&world, "data") else { return };
    let Some((_after, after)) = start_matchbox_of(&world, "output/site/current") else { return };
    let uuid = "uuid=00000000-0000-0000-0000-000000000001&mac=52-54-00-00-00-f1&arch=x86_64".to_owned();
    let carried = [1, 2, 3, 4, 5, 6, 7, 0xfe].map(machines);
    for query in carried.into_iter().chain([uuid]) {
        let ask = |address: &str, path: &str| {
            let reply = get(address, &format!("/{path}?{query}"), "");
            assert_eq!(reply.status, 200, "{path}?{query}: {}", reply.text());
            reply.text()
        };
        assert_eq!(raised(&ask(&after, "ignition")), raised(&ask(&before, "ignition")), "{query}");
        let (old, new) = (words(&ask(&before, "ipxe")), words(&ask(&after, "ipxe")));
        let lost: Vec<&String> = old.difference(&new).collect();
        let is_told = query.contains("-07&");
        assert_eq!(lost, if is_told { vec!["hostname=${hostname}"] } else { vec![] }, "{query}");
        assert!(new.is_subset(&old), "{new:?} {old:?}");
    }
}

fn start_matchbox_of(world: &World, data: &str) -> Option<(crate::world::http::Server, String)> {
    fs::create_dir_all(world.path(data).join("assets")).unwrap();
    start_matchbox(&world.path(data))
}

#[test]
fn a_directory_of_which_nothing_fits_is_refused_with_every_reason() {
    let world = World::new();
    fs::remove_dir_all(world.path("recipes")).unwrap();
    world.write("data/groups/a.json", r#"{"profile":"x"}"#);
    world.write("data/profiles/x.json", r#"{"id":"x","boot":{"kernel":"/assets/fcos-kernel"}}"#);
    let words = ["nothing in data can be carried over", "groups/a.json", "fcos-kernel"];
    world.prebake(&["new", "site", "--from", "matchbox", "data"]).fails(3, &words);
    assert!(!world.path("site").exists());
}

#[test]
fn a_config_that_stands_elsewhere_and_other_initrds_are_told_of() {
    let world = World::new();
    fs::remove_dir_all(world.path("recipes")).unwrap();
    let kernel = "https://beta.release.flatcar-linux.net/amd64-usr/current/flatcar_production_pxe.vmlinuz";
    let boot = json!({"kernel": kernel, "initrd": ["/assets/flatcar_production_pxe_image.cpio.gz", "/assets/more.cpio"],
        "args": ["ignition.config.url=https://config.example/w.ign", "root=/dev/sda9", "quiet", "quiet"]});
    world.write("data/groups/a.json", r#"{"profile":"w","selector":{"mac":"52:54:00:00:00:01"}}"#);
    // Of two with one selector real Matchbox takes the first only where it has at most twelve groups.
    world.write("data/groups/b.json", r#"{"profile":"v","selector":{"mac":"52-54-00-00-00-01"}}"#);
    world.write("data/profiles/w.json", json!({"id": "w", "boot": boot}).to_string());
    let run = world.prebake(&["new", "site", "--from", "matchbox", "data", "--json"]).ok();
    let told: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let left: Vec<&str> =
        told["left_out"].as_array().unwrap().iter().filter_map(|left| left.as_str()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
    for words in [
        "groups/b.json: groups/a.json has the same selector",
        "/assets/more.cpio",
        "https://config.example/w.ign",
        "root=/dev/sda9",
    ] {
        assert!(left.iter().any(|left| left.contains(words)), "{words}: {left:?}");
    }
    let recipe = fs::read_to_string(world.path("site/recipes/site.yaml")).unwrap();
    assert!(
        recipe.contains("{channel: beta, version: latest}") && recipe.contains("[\"quiet\"]"),
        "{recipe}"
    );
}
