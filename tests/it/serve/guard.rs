//! Secrets on their way to the one machine that may have them: published apart, fetched once, by the real Ignition.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::judges;
use crate::serve::https::{files_of, ignition_fetches};
use crate::world::World;
use crate::world::http::{Reply, Server, get, head, send, soon};

const UUID: &str = "00000000-0000-0000-0000-000000000001";

/// A file in a config.
fn layer(path: &str, contents: &str) -> String {
    format!(
        r#"{{"ignition":{{"version":"3.3.0"}},"storage":{{"files":[{{"path":"{path}","contents":{{"source":"data:,{contents}"}}}}]}}}}"#
    )
}

/// The small world, whose workers have a secret; n2 has one of its own as well.
fn secretive() -> World {
    let world = World::new();
    fs::write(world.path("recipes/join.ign"), layer("/etc/join-token", "SECRET-OF-ALL")).unwrap();
    fs::write(world.path("recipes/n2-key.ign"), layer("/etc/n2-key", "SECRET-OF-N2")).unwrap();
    let with = |from: &str, to: &str| world.edit("recipes/small.yaml", from, to);
    with("    kernel_args: [console=ttyS0]", "    kernel_args: [console=ttyS0]\n    private: [join.ign]");
    with("ignition: [n2.ign]", "ignition: [n2.ign], private: [n2-key.ign]");
    world.build();
    world
}

struct Guarded {
    world: World,
    server: Server,
    address: String,
}

impl Guarded {
    fn new(args: &[&str]) -> Guarded {
        let world = secretive();
        let mut command = world.command(&["serve", "output/small/current", "--address", "127.0.0.1:0"]);
        let mut server = Server::start(command.arg("--guard").args(args));
        let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
        Guarded { world, server, address }
    }

    fn get(&self, target: &str) -> Reply {
        get(&self.address, target, "")
    }

    /// The URL by which a machine is told to find its config, as a path.
    fn boot(&self, mac: &str) -> String {
        let script = self.get(&format!("/ipxe?mac={mac}&uuid={UUID}")).text();
        let words = script.split_whitespace();
        let url = words.filter_map(|word| word.strip_prefix("ignition.config.url=")).next_back();
        let url = url.unwrap_or_else(|| panic!("{script}"));
        url.strip_prefix(&format!("http://{}", self.address)).unwrap().to_owned()
    }

    /// The URL of the secret itself, as a path, from the config that the machine fetches first.
    fn secret(&self, mac: &str) -> String {
        let reply = self.get(&self.boot(mac));
        assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")));
        let config: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        let merge = config["ignition"]["config"]["merge"].as_array().unwrap();
        let urls: Vec<&str> = merge.iter().map(|one| one["source"].as_str().unwrap()).collect();
        assert!(urls[0].ends_with("/ignition/worker.ign"), "{urls:?}");
        urls[1].strip_prefix(&format!("http://{}", self.address)).unwrap().to_owned()
    }
}

#[test]
fn what_is_private_lies_apart_for_its_owner_only_and_nothing_public_tells_of_it() {
    let world = secretive();
    let tree = world.path("output/small/current").canonicalize().unwrap();
    let mode = |path: &str| fs::metadata(tree.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("private"), mode("private/ignition")), (0o700, 0o700));
    assert_eq!(world.names("output/small/current/private/ignition"), ["control+n2.ign", "worker.ign"]);
    assert_eq!(mode("private/ignition/worker.ign"), 0o600);
    let leaked = std::process::Command::new("grep")
        .args(["-rlE", "SECRET|n2-key|join-token", "--exclude-dir=private", "."])
        .current_dir(&tree)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&leaked.stdout), "");

    let build = world.current().unwrap();
    world.edit("recipes/join.ign", "SECRET-OF-ALL", "CHANGED");
    assert_eq!(world.build(), build, "a build is named by what is public");
    assert!(fs::read_to_string(tree.join("private/ignition/worker.ign")).unwrap().contains("CHANGED"));
    world.edit("recipes/small.yaml", "    private: [join.ign]\n", "");
    world.build();
    assert_eq!(world.names("output/small/current/private/ignition"), ["control+n2.ign"]);
}

/// Issue 17: the directory of secrets is its owner's alone, so a server that had become somebody else saw none.
#[test]
fn a_server_that_gave_up_its_rights_still_says_that_a_config_has_private_layers() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root becomes somebody else");
        return;
    }
    let world = secretive();
    fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = world.command(&["serve", "output/small/current", "--address", "127.0.0.1:0"]);
    let mut server = Server::start(command.args(["--user", "65534:65533"]));
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    let told = || get(&address, "/explain?mac=52-54-00-00-00-01", "").text();
    assert!(told().contains("its config has private layers"), "{}", told());
    // A build that comes later is opened without the rights, so nothing is claimed.
    world.edit("recipes/worker.ign", "data:,worker", "data:,another");
    world.build();
    soon(|| told().contains("its config may have private layers"));
}

#[test]
fn a_token_is_good_once_and_only_a_get_uses_it() {
    let guarded = Guarded::new(&[]);
    let secret = guarded.secret("52-54-00-00-00-01");
    assert_eq!(head(&guarded.address, &secret).status, 405);
    let request = format!("POST {secret} HTTP/1.1\nHost: x\nContent-Length: 0\nConnection: close\n\n");
    assert_eq!(send(&guarded.address, &request).status, 405);
    let reply = guarded.get(&secret);
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")));
    assert!(reply.text().contains("SECRET-OF-ALL"), "{reply:?}");
    let again = guarded.get(&secret);
    assert_eq!((again.status, again.header("cache-control")), (410, Some("no-store")));
    assert!(again.text().contains("was used") && !again.text().contains("SECRET"), "{again:?}");
    // The machine boots again, and gets another.
    assert!(guarded.get(&guarded.secret("52-54-00-00-00-01")).text().contains("SECRET-OF-ALL"));
}

#[test]
fn another_machine_or_a_made_up_token_gets_nothing_and_leaves_the_token_good() {
    let guarded = Guarded::new(&[]);
    let secret = guarded.secret("52-54-00-00-00-01");
    let (path, _) = secret.split_once('?').unwrap();
    for labels in [
        String::new(),
        format!("?mac=52-54-00-00-00-02&uuid={UUID}"),
        "?mac=52-54-00-00-00-01&uuid=00000000-0000-0000-0000-000000000002".into(),
        "?mac=52-54-00-00-00-01".into(),
    ] {
        assert_eq!(guarded.get(&format!("{path}{labels}")).status, 403, "{labels}");
    }
    let (start, end) = secret.split_at(secret.find('-').unwrap());
    let made_up = format!("{start}-{}{}", "0".repeat(32), &end[33..]);
    let upper = format!("/guarded/{}", secret["/guarded/".len()..].to_uppercase());
    for unknown in
        [&*made_up, &upper, "/guarded/", "/guarded/x/config.ign", "/guarded/../private/ignition/worker.ign"]
    {
        assert_eq!(guarded.get(unknown).status, 404, "{unknown}");
    }
    for private in ["/private/ignition/worker.ign", "/ignition/../private/ignition/worker.ign", "/private/"] {
        assert_eq!(guarded.get(private).status, 404, "{private}");
    }
    assert_eq!(guarded.get(&secret).status, 200);
    let nameless = guarded.get("/ipxe");
    assert!(nameless.status == 403 && nameless.text().contains("/boot.ipxe"), "{nameless:?}");
}

#[test]
fn a_token_that_comes_too_late_is_told_to_have_expired() {
    let guarded = Guarded::new(&["--guard-life", "2s"]);
    let boot = guarded.boot("52-54-00-00-00-01");
    let secret = boot.replace("/boot.ign", &format!("/config.ign?mac=52-54-00-00-00-01&uuid={UUID}"));
    std::thread::sleep(std::time::Duration::from_millis(2100));
    for late in [boot, secret] {
        let reply = guarded.get(&late);
        assert!(reply.status == 410 && reply.text().contains("expired"), "{reply:?}");
    }
}

#[test]
fn no_secret_of_a_token_is_logged() {
    let mut guarded = Guarded::new(&[]);
    let boot = guarded.boot("52-54-00-00-00-01");
    let token = boot.split('/').nth(2).unwrap().to_owned();
    let (handle, secret) = token.split_once('-').unwrap();
    guarded.get(&boot);
    guarded.get(&boot.replace("guarded", "%67uarded").replace('-', "%2d"));
    guarded.get(&format!("/guarded/{token}/config.ign"));
    guarded.server.says("/config.ign 403");
    let log = guarded.server.end();
    assert!(log.contains(&format!("GET /guarded/{handle}-…/boot.ign 200")), "{log}");
    assert!(!log.contains(secret), "{log}");
}

#[test]
fn machines_without_secrets_boot_as_ever_and_without_a_guard_a_tree_says_that_it_has_some() {
    let guarded = Guarded::new(&[]);
    fs::remove_dir_all(guarded.world.path("output/small/current/private")).unwrap();
    let script = guarded.get(&format!("/ipxe?mac=52-54-00-00-00-01&uuid={UUID}")).text();
    assert!(script.contains("prebake.url=") && !script.contains("ignition.config.url"), "{script}");

    let world = secretive();
    let mut command = world.command(&["serve", "output/small/current", "--address", "127.0.0.1:0"]);
    let mut server = Server::start(&mut command);
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    server.says("machines get only with --guard");
    let script = get(&address, &format!("/ipxe?mac=52-54-00-00-00-01&uuid={UUID}"), "").text();
    assert!(!script.contains("guarded"), "{script}");
    assert_eq!(get(&address, "/guarded/x/boot.ign", "").status, 404);
}

#[test]
fn private_layers_have_findings_like_all_others() {
    let world = secretive();
    fs::write(world.path("recipes/join.ign"), "{").unwrap();
    world.prebake(&["build", "recipes/small.yaml"]).fails(3, &["join.ign:1:"]);
    world.edit("recipes/small.yaml", "join.ign", "none.ign");
    world.prebake(&["build", "recipes/small.yaml"]).fails(3, &["none.ign", "recipes/small.yaml:"]);
    world.edit(
        "recipes/small.yaml",
        "default_profile: worker",
        "default_profile: worker\noutputs: {pxe: {}}",
    );
    world.prebake(&["build", "recipes/small.yaml"]).fails(3, &["private layers", "matchbox: {}"]);
}

#[test]
fn real_ignition_gets_public_and_private_config_by_the_kernel_argument_and_only_once() {
    let Some(ignition) = judges::ignition() else { return };
    let guarded = Guarded::new(&[]);
    let argument = |mac: &str| {
        let boot = guarded.boot(mac);
        format!("flatcar.first_boot=1 ignition.config.url=http://{}{boot}", guarded.address)
    };
    let overlay = fs::read(guarded.world.path("output/small/current/ignition/worker.ign")).unwrap();
    let first = argument("52-54-00-00-00-01");
    let config = ignition_fetches(&guarded.world, &ignition, &overlay, &first);
    let config = config.unwrap_or_else(|log| panic!("{log}"));
    assert_eq!(files_of(&config), ["/etc/role", "/etc/join-token"]);

    // Whoever comes later with what stood in the log of the boot gets nothing.
    let log = ignition_fetches(&guarded.world, &ignition, &overlay, &first).unwrap_err();
    assert!(log.contains("410") || log.contains("Gone"), "{log}");

    let own = ignition_fetches(&guarded.world, &ignition, &overlay, &argument("52-54-00-00-00-02"));
    let own = own.unwrap_or_else(|log| panic!("{log}"));
    assert!(files_of(&own).contains(&"/etc/n2-key") && files_of(&own).contains(&"/etc/control"), "{own}");
}

/// findings C, §4: a `private/` that became 0755 stayed so, and nobody said a word.
#[test]
fn what_others_can_read_of_private_is_refused_told_and_put_right() {
    let world = secretive();
    let tree = world.path("output/small/current").canonicalize().unwrap();
    let serve = || {
        let mut command =
            world.command(&["serve", "output/small/current", "--address", "127.0.0.1:0", "--guard"]);
        crate::world::Run::of(command.output().unwrap())
    };
    for (path, mode) in
        [("private", 0o755), ("private/ignition", 0o750), ("private/ignition/worker.ign", 0o644)]
    {
        fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode)).unwrap();
        let said = format!("{path} is open to others (mode {mode:04o})");
        let verified = world.prebake(&["verify", "output/small/current"]);
        // Building again with --paranoid was the advice for it (note of issue 15).
        verified.fails(4, &["open to others", "run `chmod -R go=` on the named paths, or build again"]);
        assert!(
            verified.stdout.contains(&said) && verified.stdout.contains("chmod go= "),
            "{}",
            verified.stdout
        );
        let refused = serve();
        refused.fails(1, &["is open to others", &format!("(mode {mode:04o})"), "chmod -R go= "]);
        assert!(!refused.stderr.contains("listening"), "it said that it serves: {}", refused.stderr);
        let run = world.prebake(&["build", "recipes/small.yaml"]).ok();
        let told = format!("{path} was open to others (mode {mode:04o})");
        assert!(run.stderr.contains("warning: ") && run.stderr.contains(&told), "{}", run.stderr);
        world.prebake(&["verify", "output/small/current"]).ok();
        assert!(!world.prebake(&["build", "recipes/small.yaml"]).ok().stderr.contains("open to others"));
    }
}

/// A new tree was judged at the start of a server alone: what others could read was given out after a swap.
#[test]
fn a_new_build_whose_secrets_others_can_read_is_served_only_when_they_are_closed() {
    let mut guarded = Guarded::new(&[]);
    guarded.world.edit("recipes/small.yaml", "console=ttyS0", "console=ttyS1");
    guarded.world.build();
    let private = guarded.world.path("output/small/current").canonicalize().unwrap().join("private");
    let open = |mode| fs::set_permissions(&private, fs::Permissions::from_mode(mode)).unwrap();
    let script = |guarded: &Guarded| guarded.get(&format!("/ipxe?mac=52-54-00-00-00-01&uuid={UUID}")).text();
    let problems = |guarded: &Guarded| {
        let status: serde_json::Value = serde_json::from_slice(&guarded.get("/status").body).unwrap();
        status["problems"].to_string()
    };
    open(0o755);
    assert!(script(&guarded).contains("ttyS0"));
    guarded.server.says("still serving the old build: ");
    let told = problems(&guarded);
    assert!(told.contains("private is open to others") && told.contains("(mode 0755)"), "{told}");
    open(0o700);
    crate::world::http::soon(|| script(&guarded).contains("ttyS1"));
    guarded.server.says("now serving ");
    assert_eq!(problems(&guarded), "[]");
    assert!(guarded.get(&guarded.secret("52-54-00-00-00-01")).text().contains("SECRET-OF-ALL"));
}

/// Secrets that moved out of the trees (`build --private`) were missed by nobody but the machines.
#[test]
fn a_tree_without_secrets_is_told_of_wherever_somebody_looks_if_machines_should_be_given_some() {
    let mut guarded = Guarded::new(&[]);
    guarded.world.edit("recipes/small.yaml", "console=ttyS0", "console=ttyS1");
    guarded.world.prebake(&["build", "recipes/small.yaml", "--private", "kept"]).ok();
    let script = guarded.get(&format!("/ipxe?mac=52-54-00-00-00-01&uuid={UUID}")).text();
    assert!(script.contains("ttyS1"), "{script}");
    let line = guarded.server.says("now serving ");
    assert!(
        line.contains("warning: the tree has no private configs") && line.contains("--private"),
        "{line}"
    );
    let status: serde_json::Value = serde_json::from_slice(&guarded.get("/status").body).unwrap();
    let told = status["problems"].to_string();
    assert!(told.contains("the tree has no private configs"), "{told}");
}

/// findings C, §4: `rsync` and `aws s3 sync` of a tree published what is private.
#[test]
fn secrets_lie_outside_of_the_tree_where_the_build_is_told_to_and_are_given_out_from_there() {
    let world = secretive();
    let build = ["build", "recipes/small.yaml", "--private", "kept"];
    let built = world.prebake(&build).ok();
    assert!(built.stdout.contains(":8080 --guard --private kept\n"), "{}", built.stdout);
    let tree = world.path("output/small/current").canonicalize().unwrap();
    assert!(!tree.join("private").exists());
    assert_eq!(world.names("kept/small/ignition"), ["control+n2.ign", "worker.ign"]);
    let top = world.path("kept/small");
    assert_eq!(fs::metadata(&top).unwrap().permissions().mode() & 0o777, 0o700);
    world.prebake(&["verify", "output/small/current", "--private", "kept"]).ok();

    let arguments =
        ["serve", "output/small/current", "--address", "127.0.0.1:0", "--guard", "--private", "kept"];
    let mut server = Server::start(&mut world.command(&arguments));
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    let guarded = Guarded { world, server, address };
    assert!(guarded.get(&guarded.secret("52-54-00-00-00-01")).text().contains("SECRET-OF-ALL"));
    let Guarded { world, .. } = guarded;

    fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
    world.prebake(&["verify", "output/small/current", "--private", "kept"]).fails(4, &[]);
    crate::world::Run::of(world.command(&arguments).output().unwrap())
        .fails(1, &["kept/small is open to others"]);
    let run = world.prebake(&build).ok();
    assert!(run.stderr.contains("kept/small was open to others (mode 0755)"), "{}", run.stderr);
}

#[test]
fn no_directory_is_taken_for_secrets_that_holds_something_else_or_is_published() {
    let world = secretive();
    fs::create_dir_all(world.path("home/small/ignition")).unwrap();
    fs::write(world.path("home/small/thesis.txt"), "precious").unwrap();
    fs::write(world.path("home/small/ignition/mine.ign"), "precious").unwrap();
    fs::create_dir_all(world.path("victim")).unwrap();
    fs::create_dir_all(world.path("links")).unwrap();
    std::os::unix::fs::symlink("../victim", world.path("links/small")).unwrap();
    let refused = |world: &World| {
        for (directory, why) in [
            ("home", "it holds other files"),
            ("output", "trees are published in"),
            ("output/small/current", "trees are published in"),
            ("links", "it is a link"),
        ] {
            world.prebake(&["build", "recipes/small.yaml", "--private", directory]).fails(1, &[why]);
        }
        assert_eq!(world.names("home/small"), ["ignition", "thesis.txt"]);
        assert_eq!(world.names("home/small/ignition"), ["mine.ign"]);
        assert!(world.names("victim").is_empty());
    };
    refused(&world);
    // A failure loses none that were in the tree.
    assert_eq!(world.names("output/small/current/private/ignition"), ["control+n2.ign", "worker.ign"]);

    // Another tree of the same name has its own.
    world.prebake(&["build", "recipes/small.yaml", "--private", "kept"]).ok();
    let other = ["build", "recipes/small.yaml", "--private", "kept", "--output", "other"];
    world.prebake(&other).fails(1, &["it has those of", "output/small"]);
    world
        .prebake(&["verify", "output/small/current", "--private", "none"])
        .fails(2, &["no secrets of `small`"]);
    let serve = ["serve", "output/small/current", "--address", "127.0.0.1:0", "--guard", "--private", "none"];
    crate::world::Run::of(world.command(&serve).output().unwrap()).fails(2, &["no secrets of `small`"]);

    // Without private layers only what was written is removed.
    world.edit("recipes/small.yaml", "    private: [join.ign]\n", "");
    world.edit("recipes/small.yaml", ", private: [n2-key.ign]", "");
    world.prebake(&["build", "recipes/small.yaml", "--private", "home"]).ok();
    assert_eq!(world.names("home/small"), ["ignition", "thesis.txt"]);
    world.prebake(&["build", "recipes/small.yaml", "--private", "kept"]).ok();
    assert!(!world.path("kept/small").exists());
}

#[test]
fn what_is_wrong_with_a_private_layer_is_told_without_its_lines() {
    let world = secretive();
    let layer = "variant: flatcar\nversion: 1.1.0\nstorage:\n  files:\n    - {path: /etc/pw, contents: {inline: SECRET-OF-ALL}, mod: 0600}\n";
    world.write("recipes/join.bu", layer);
    world.edit("recipes/small.yaml", "[join.ign]", "[join.bu]");
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    run.fails(3, &["join.bu:5:"]);
    assert!(!run.stderr.contains("SECRET-OF-ALL"), "{}", run.stderr);
}
