//! Slips of tired people: a path that is nearly right, a file of another kind, a machine without a home.

use std::fs;

use crate::world::World;

const TREE: &str = "output/small/current";

/// ux.md 1.19, 2026-11-28: all of them refused, with a general hint or none.
#[test]
fn every_verb_that_takes_a_tree_leads_from_its_output_directory_to_it() {
    let world = World::new();
    world.build();
    for given in ["output/small", "output", "output/smal/current", "output/small/curent"] {
        for verb in [
            &["serve", given][..],
            &["diff", given, TREE],
            &["diff", TREE, given],
            &["bundle", "create", given, "-o", "x.bundle", "--unsigned"],
            &["explain", given],
            &["verify", given],
            &["initrd", "inject", given, "--profile", "worker", "--ignition", "recipes/n2.ign"],
        ] {
            let run = world.prebake(verb);
            assert!(run.code != Some(0), "{verb:?}");
            assert!(run.stderr.contains("did you mean output/small/current?"), "{verb:?}: {}", run.stderr);
        }
    }
    for verb in ["show", "extract", "remove", "inject"] {
        let more: &[&str] = match verb {
            "show" => &[],
            "extract" => &["-C", "x"],
            "remove" => &["-o", "x"],
            _ => &["-o", "x", "--ignition", "recipes/n2.ign"],
        };
        let run = world.prebake(&[&["initrd", verb, "output/small"], more].concat());
        assert!(run.stderr.contains("did you mean output/small/current?"), "{verb}: {}", run.stderr);
    }
    // A tree where one of its initrds is meant.
    for verb in [&["extract", TREE, "-C", "x"][..], &["remove", TREE, "-o", "x"]] {
        let run = world.prebake(&[&["initrd"], verb].concat());
        run.fails(2, &["is a directory: a published tree", "flatcar_production_pxe_image.cpio.gz"]);
    }
    let inject = ["initrd", "inject", TREE, "--ignition", "recipes/n2.ign"];
    world.prebake(&inject).fails(2, &["no profile was named", "--profile: control, worker"]);
    assert!(!world.path("x").exists() && !world.path("x.bundle").exists());
}

#[test]
fn a_file_of_another_kind_is_called_by_its_name() {
    let world = World::new();
    world.build();
    world.prebake(&["key", "generate", "-o", "ours", "--no-passphrase"]).ok();
    world.write("layer.bu", "variant: flatcar\nversion: 1.1.0\n");
    let image = "output/small/current/assets/sysext/hello/hello-1-x86-64.raw";
    let files = [
        ("recipes/small.yaml", "a recipe"),
        ("recipes/small.lock", "a lock file"),
        ("recipes/worker.ign", "an Ignition config"),
        ("layer.bu", "a Butane config"),
        ("recipes/lab.asc", "an OpenPGP public key"),
        ("ours.pub", "a public key of minisign"),
        ("ours.key", "a secret key of minisign"),
        ("sysext/hello/sysext.yaml", "a sysext's description"),
        (image, "a squashfs image"),
        ("output/small/current/boot.ipxe", "an iPXE script"),
    ];
    for (file, what) in files {
        let said = |verb: &[&str]| {
            let run = world.prebake(verb);
            assert!(run.code != Some(0), "{verb:?}");
            assert!(run.stderr.contains(what), "{verb:?}: no {what:?} in {}", run.stderr);
            assert!(run.stderr.contains("hint:") || run.stderr.contains("help:"), "{verb:?}: {}", run.stderr);
        };
        for verb in [
            &["verify", file][..],
            &["serve", file],
            &["explain", file],
            &["diff", file, TREE],
            &["bundle", "inspect", file],
        ] {
            said(verb);
        }
        if what != "a recipe" {
            said(&["plan", file]);
        }
    }
    for (file, what) in files
        .iter()
        .filter(|(file, _)| file.ends_with(".yaml") || file.ends_with(".lock") || file.ends_with(".bu"))
    {
        let run = world.prebake(&["initrd", "show", file]);
        assert!(run.stderr.contains(what), "{file}: {}", run.stderr);
    }
    let run = world.prebake(&["ignition", "show", "recipes/small.lock"]);
    assert!(run.code != Some(0) && run.stderr.contains("this is a lock file"), "{}", run.stderr);
    let run = world.prebake(&["sysext", "lint", "recipes/small.lock"]);
    assert!(run.stdout.contains("it is a lock file"), "{}", run.stdout);
    world.prebake(&["key", "show", "recipes/small.yaml"]).fails(5, &["it is a recipe"]);
    world.prebake(&["verify", "output/small/current/manifest.json"]).fails(4, &["a tree's manifest"]);
    world
        .prebake(&["explain", "output/small/current/manifest.json"])
        .fails(1, &["did you mean output/small/current?"]);
}

#[test]
fn a_recipe_that_is_not_there_is_missing_among_those_that_are() {
    let world = World::new();
    world.write("recipes/deployment.yaml", "apiVersion: v1\nkind: Pod\n");
    let said = |name: &str, words: &[&str]| world.prebake(&["plan", name]).fails(2, words);
    said("recipes/smal.yaml", &["there is no such file", "did you mean recipes/small.yaml?"]);
    said("small.yaml", &["did you mean recipes/small.yaml?"]);
    said("recipes", &["is a directory, not a recipe", "recipes here: recipes/small.yaml"]);
    said("edge.yaml", &["recipes here: recipes/small.yaml"]);
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        let recipe = fs::read_to_string(world.path("recipes/small.yaml")).unwrap();
        world.write(&format!("recipes/{name}.yaml"), recipe);
    }
    said("recipes/no-such-recipe.yaml", &["recipes here: recipes/a.yaml, recipes/b.yaml", "and 2 more"]);
}

/// ux.md 1.17, 2026-11-28: the store became `./.cache/prebake/store` of the working directory.
#[test]
fn without_a_home_a_store_needs_a_name_and_trees_need_none() {
    let world = World::new();
    world.build();
    let homeless = |args: &[&str]| {
        let mut command = world.command(args);
        command.env_remove("HOME").env_remove("PREBAKE_STORE");
        crate::world::Run::of(command.output().unwrap())
    };
    let words = ["no home directory is set (HOME)", "--store", "PREBAKE_STORE", "XDG_CACHE_HOME"];
    for verb in [
        &["build", "recipes/small.yaml"][..],
        &["store", "ls"],
        &["store", "gc"],
        &["fetch", "recipes/small.yaml"],
    ] {
        homeless(verb).fails(2, &words);
    }
    homeless(&["verify", TREE]).ok();
    homeless(&["diff", TREE, TREE]).ok();
    assert!(!world.path(".cache").exists());
    homeless(&["store", "ls", "--store", "store"]).ok();
    let help = world.prebake(&["build", "--help"]).ok().stdout;
    assert!(help.contains("~/.cache/prebake/store") && help.contains("PREBAKE_OUTPUT"), "{help}");
}

#[test]
fn a_build_from_elsewhere_says_where_its_tree_went() {
    let world = World::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let recipe = world.path("recipes/small.yaml");
    let mut command = world.command(&["build", recipe.to_str().unwrap()]);
    let run = crate::world::Run::of(command.current_dir(elsewhere.path()).output().unwrap()).ok();
    let output = elsewhere.path().join("output/small");
    assert!(run.stdout.contains(output.to_str().unwrap()), "{}", run.stdout);
    assert!(output.join("current/manifest.json").exists());
    let mut command = world.command(&["build", "recipes/small.yaml"]);
    crate::world::Run::of(command.env("PREBAKE_OUTPUT", "trees").output().unwrap()).ok();
    assert!(world.path("trees/small/current/manifest.json").exists() && !world.path("output").exists());
}

#[test]
fn explain_asks_one_place_and_says_by_its_exit_code_what_it_found() {
    let world = World::new();
    let more: String = (10..30)
        .map(|number| format!("  - {{name: m{number}, mac: 52:54:00:00:00:{number}, profile: worker}}\n"))
        .collect();
    world.edit("recipes/small.yaml", "default_profile:", &format!("{more}default_profile:"));
    world.build();
    let explain = |args: &[&str]| world.prebake(&[&["explain", TREE], args].concat());
    explain(&["--server", "10.0.0.1:8080"]).fails(2, &["only one of them can be asked"]);
    let own = explain(&["--mac", "52:54:00:00:00:01"]).ok().stdout;
    let others = own.lines().filter(|line| line.starts_with("  - ")).count();
    assert!(own.contains("by group `n1`") && others <= 2, "{own}");
    assert!(explain(&[]).ok().stderr.contains("--mac"));
    explain(&["--mac", "52:54:00:00:00:01", "--label", "arch=arm64", "--strict"])
        .fails(3, &["1 warning about"]);
    explain(&["--mac", "52:54:00:00:00:01", "--strict"]).ok();
    // What the environment names is not what a person asked for now.
    let mut command = world.command(&["explain", TREE, "--mac", "52:54:00:00:00:01"]);
    crate::world::Run::of(command.env("PREBAKE_SERVER", "http://10.0.0.1:8080").output().unwrap()).ok();
    world.edit("recipes/small.yaml", "default_profile: worker\n", "");
    world.edit(
        "recipes/small.yaml",
        "    ignition: [worker.ign, control.ign]",
        "    ignition: [worker.ign]\n    private: [control.ign]",
    );
    world.build();
    explain(&["--mac", "52:54:00:00:00:77"]).fails(1, &["this machine gets nothing"]);
    let told = explain(&["--mac", "52:54:00:00:00:02"]).ok().stdout;
    assert!(told.contains("its config has private layers"), "{told}");
}
