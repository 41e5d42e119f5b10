//! `prebake nodes`: lists of other programs, and strangers of a running server, become nodes.

use std::fs;

use crate::world::World;
use crate::world::http::{Server, get};

const RECIPE: &str = "recipes/small.yaml";

#[test]
fn a_list_becomes_lines_and_goes_into_the_recipe_which_still_builds() {
    let world = World::new();
    world.write("rack.csv", "name;mac;ip\r\nn1;52:54:00:00:00:01;\r\nn7;5254.0000.0007;10.0.0.7/24\r\n");
    let lines = world.prebake(&["nodes", "import", "rack.csv", "--profile", "worker"]).ok().stdout;
    assert!(
        lines.ends_with("  - {name: n7, mac: \"52:54:00:00:00:07\", ip: \"10.0.0.7/24\", profile: worker}\n"),
        "{lines}"
    );
    let before = fs::read_to_string(world.path(RECIPE)).unwrap();
    let into = ["nodes", "import", "rack.csv", "--profile", "worker", "--into", RECIPE];
    let run = world.prebake(&into).ok();
    assert!(run.stderr.contains("`n1` is there already: recipes/small.yaml:13:"), "{}", run.stderr);
    let after = fs::read_to_string(world.path(RECIPE)).unwrap();
    let added = lines.lines().last().unwrap();
    assert_eq!(after, before.replace("default_profile", &format!("{added}\ndefault_profile")));
    world.build();
    // A second run changes nothing.
    world.prebake(&into).ok();
    assert_eq!(fs::read_to_string(world.path(RECIPE)).unwrap(), after);
    let ls = world.prebake(&["nodes", "ls", RECIPE]).ok();
    assert!(ls.stdout.contains("n7") && ls.stdout.contains("10.0.0.7/24"), "{}", ls.stdout);
}

#[test]
fn a_list_that_contradicts_the_file_or_itself_writes_nothing() {
    let world = World::new();
    let before = fs::read_to_string(world.path(RECIPE)).unwrap();
    for (list, words) in [
        (
            "name,mac\nn8,52:54:00:00:00:08\nn1,52:54:00:00:00:09\n",
            &["node `n1` of the file has another MAC address", "recipes/small.yaml:13:"][..],
        ),
        (
            "name,mac\na,52:54:00:00:00:08\nb,52-54-00-00-00-08\nc,zz\n",
            &["same MAC address", "rack.csv:3:", "`zz` is not a MAC", "rack.csv:4:"],
        ),
    ] {
        world.write("rack.csv", list);
        world
            .prebake(&["nodes", "import", "rack.csv", "--profile", "worker", "--into", RECIPE])
            .fails(3, words);
        assert_eq!(fs::read_to_string(world.path(RECIPE)).unwrap(), before);
    }
}

/// Review of issue 17, 18: a line with `PROFILE` came without a word; a slip of a table was told at a line of the recipe that is
/// not there.
#[test]
fn a_profile_that_is_missing_or_unknown_is_told_where_it_was_left_out_or_written() {
    let world = World::new();
    let before = fs::read_to_string(world.path(RECIPE)).unwrap();
    world.write("bare.csv", "name,mac\nn8,52:54:00:00:00:08\nn9,52:54:00:00:00:09\n");
    world.write("slip.csv", "name,mac,profile\nn8,52:54:00:00:00:08,wrker\n");
    let run = world.prebake(&["nodes", "import", "bare.csv"]).ok();
    assert!(run.stdout.contains("profile: PROFILE}"), "{}", run.stdout);
    assert!(run.stderr.contains("no profile is known for n8, n9") && run.stderr.contains("--profile"));
    for target in [RECIPE, "site/nodes.yaml"] {
        let bare = ["nodes", "import", "bare.csv", "--into", target];
        world.prebake(&bare).fails(2, &["no profile is known for n8, n9", "--profile"]);
    }
    let slip = world.prebake(&["nodes", "import", "slip.csv", "--into", RECIPE]);
    slip.fails(3, &["there is no profile `wrker`", "slip.csv:2:22", "did you mean `worker`?"]);
    let flag = ["nodes", "import", "bare.csv", "--profile", "wrker", "--into", RECIPE];
    world.prebake(&flag).fails(2, &["no profile `wrker` in recipes/small.yaml", "did you mean `worker`?"]);
    assert_eq!(fs::read_to_string(world.path(RECIPE)).unwrap(), before);
    assert!(!world.path("site/nodes.yaml").exists());
}

/// Review of issue 17, 4: of eight runs at once, each read the file, and the last that wrote it won.
#[test]
fn lists_that_are_imported_at_once_are_all_in_the_file() {
    let world = World::new();
    for target in ["site/nodes.yaml", RECIPE] {
        let runs = [1, 2, 3, 4, 5, 6, 7, 8].map(|number| {
            let list = format!("{number}.csv");
            world.write(&list, format!("name,mac\nm{number},52:54:00:00:01:0{number}\n"));
            let args = ["nodes", "import", &list, "--profile", "worker", "--into", target];
            world.command(&args).stdout(std::process::Stdio::null()).spawn().unwrap()
        });
        for mut run in runs {
            assert!(run.wait().unwrap().success());
        }
        let text = fs::read_to_string(world.path(target)).unwrap();
        assert!((1..=8).all(|number| text.contains(&format!("name: m{number},"))), "{text}");
    }
}

/// ux 1.5: a stranger's entry is a line to paste, or is written where it belongs.
#[test]
fn strangers_of_a_server_are_adopted_and_boot_as_nodes() {
    let world = World::new();
    world.build();
    let (server, address) = Server::prebake(&world.path("output/small/current"));
    for mac in ["52-54-00-00-00-01", "52-54-00-00-00-aa", "52-54-00-00-00-ab"] {
        assert_eq!(get(&address, &format!("/ipxe?mac={mac}&arch=x86_64"), "").status, 200);
    }
    let adopt = |args: &[&str]| world.prebake(&[&["nodes", "adopt", "--server", &address], args].concat());
    let lines = adopt(&[]).ok().stdout;
    assert_eq!(
        lines,
        "  - {name: node-5254000000aa, mac: \"52:54:00:00:00:aa\", profile: worker}\n  \
         - {name: node-5254000000ab, mac: \"52:54:00:00:00:ab\", profile: worker}\n"
    );
    adopt(&["--into", RECIPE]).fails(2, &["2 machines have no node", "--mac", "--all"]);
    adopt(&["--mac", "52:54:00:00:00:01"]).fails(1, &["is node `n1` already"]);
    adopt(&["--mac", "52:54:00:00:00:77"]).fails(1, &["has not asked the server"]);
    adopt(&["--mac", "5254.0000.00aa", "--profile", "control", "--into", "site/nodes.yaml"]).ok();
    let inventory = fs::read_to_string(world.path("site/nodes.yaml")).unwrap();
    assert_eq!(
        inventory,
        "schema: 1\nnodes:\n  - {name: node-5254000000aa, mac: \"52:54:00:00:00:aa\", profile: control}\n"
    );
    adopt(&["--all", "--into", RECIPE]).ok();
    let text = fs::read_to_string(world.path(RECIPE)).unwrap();
    assert!(lines.lines().all(|line| text.contains(line)), "{text}");
    adopt(&["--all", "--into", RECIPE]).ok();
    assert_eq!(fs::read_to_string(world.path(RECIPE)).unwrap(), text);
    world.build();
    drop(server);
}

/// Review of issue 17, 7: a server of a data directory makes no entries, so every machine "has a node", and `--mac` named
/// an empty one.
#[test]
fn strangers_of_a_data_directory_are_adopted_and_others_are_no_nodes_without_a_name() {
    let world = World::new();
    for directory in ["data/groups", "data/profiles", "data/ignition"] {
        fs::create_dir_all(world.path(directory)).unwrap();
    }
    let group = r#"{"id": "one", "profile": "p", "selector": {"rack": "a"}}"#;
    fs::write(world.path("data/groups/one.json"), group).unwrap();
    let profile = r#"{"id": "p", "boot": {"kernel": "http://192.0.2.1/k", "initrd": [], "args": []}}"#;
    fs::write(world.path("data/profiles/p.json"), profile).unwrap();
    let serve = ["serve", "--matchbox", "data", "--address", "127.0.0.1:0"];
    let mut server = Server::start(&mut world.command(&serve));
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    let adopt = |args: &[&str]| world.prebake(&[&["nodes", "adopt", "--server", &address], args].concat());
    assert!(adopt(&[]).ok().stderr.contains("no machine has asked the server"));
    assert_eq!(get(&address, "/ipxe?mac=52-54-00-00-00-01&rack=a", "").status, 200);
    let nobody = adopt(&[]).ok();
    assert!(nobody.stderr.contains("this server has no recipe"), "{}", nobody.stderr);
    adopt(&["--mac", "52:54:00:00:00:01"]).fails(1, &["52:54:00:00:00:01 is served by group `one` already"]);
    assert_eq!(get(&address, "/ipxe?mac=52-54-00-00-00-aa", "").status, 404);
    let line = "  - {name: node-5254000000aa, mac: \"52:54:00:00:00:aa\", profile: PROFILE}\n";
    assert_eq!(adopt(&[]).ok().stdout, line);
    assert_eq!(adopt(&["--mac", "52:54:00:00:00:aa"]).ok().stdout, line);
    drop(server);
}
