//! Templates of a recipe: published for Matchbox, and judged before they are.

use std::fs;

use crate::judges::matchbox::check_tree;
use crate::world::World;
use crate::world::http::{Server, get};

const RECIPE: &str = "recipes/small.yaml";

/// The small world whose workers have a template.
fn world(template: &str) -> World {
    let world = World::new();
    world.edit(RECIPE, "    kernel_args", "    generic: env.tmpl\n    kernel_args");
    fs::write(world.path("recipes/env.tmpl"), template).unwrap();
    world
}

#[test]
fn a_template_is_filled_in_for_the_machine_that_asks_as_matchbox_does() {
    let template =
        "{{/* for /etc/site */ -}}\nNAME={{index . \"name\"}}\nMAC={{index .request.query \"mac\"}}\n";
    let world = world(template);
    world.build();
    let tree = world.path("output/small/current");
    assert_eq!(fs::read_to_string(tree.join("generic/worker")).unwrap(), template);
    let profile = fs::read_to_string(tree.join("profiles/worker.json")).unwrap();
    assert!(profile.contains(r#""generic_id": "worker""#), "{profile}");
    let control = fs::read_to_string(tree.join("profiles/control+n2.json")).unwrap();
    assert!(!control.contains("generic_id"), "{control}");

    let (_server, address) = Server::prebake(&tree);
    let reply = get(&address, "/generic?mac=52-54-00-00-00-01", "");
    assert_eq!(reply.text(), "NAME=n1\nMAC=52:54:00:00:00:01\n");
    check_tree(&tree);
}

#[test]
fn a_template_that_go_refuses_is_a_finding_at_its_line() {
    let world = world("NAME={{.name}}\n{{if .ip}}IP={{.ip | lower}}{{end}}\n");
    let run = world.prebake(&["build", RECIPE]);
    run.fails(3, &["function \"lower\" not defined", "recipes/env.tmpl:2:1"]);
    fs::remove_file(world.path("recipes/env.tmpl")).unwrap();
    world.prebake(&["build", RECIPE]).fails(3, &["recipes/env.tmpl", "recipes/small.yaml:9:14"]);
}

#[test]
fn a_template_needs_the_output_that_publishes_it() {
    let world = world("x");
    world.edit(RECIPE, "default_profile:", "outputs: {pxe: {}}\ndefault_profile:");
    let run = world.prebake(&["build", RECIPE]);
    run.fails(3, &["only the output `matchbox` publishes", "add `matchbox: {}`", "recipes/small.yaml:9:14"]);
}
