//! Real sops and age: what they write is read, in each of their spellings, and what they refuse is refused.

use std::fs;
use std::process::{Command, Stdio};

use super::build;
use crate::world::{Run, World};

const CLUSTER: &str = "\
cluster:
  name: edge
  k8s_version: 1.33.13
  token: abcdef.0123456789abcdef
bootstrap: {ip: 192.168.1.2}
x-c: &c {role: controller, ephemeral: true}
nodes:
  # a comment in the list
  - {<<: *c, name: c1, ip: 192.168.1.11, mac: '52:54:00:00:00:11', bmc: {redfish: 'https://h', user: admin, password: correct-horse}}
  - {name: w1, ip: 192.168.1.21, mac: 525400000021, role: worker, labels: {empty: ''}}
";

#[test]
fn descriptions_that_sops_encrypts_are_read_and_what_it_refuses_is_refused() {
    let Some(peer) = build("sops") else { return };
    let world = World::new();
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(peer.join(program));
        command.args(args).current_dir(world.path(".")).env("SOPS_AGE_KEY_FILE", world.path("keys.txt"));
        Run::of(command.stdin(Stdio::null()).output().unwrap())
    };
    run("age-keygen", &["-o", "keys.txt"]).ok();
    let identity = fs::read_to_string(world.path("keys.txt")).unwrap();
    let recipient = identity.split("public key: ").nth(1).unwrap().lines().next().unwrap();
    world.write("cluster.yaml", CLUSTER);
    let validate = |path: &str| {
        let mut command = world.command(&["cluster", "validate", "--json", path]);
        Run::of(command.env("SOPS_AGE_KEY_FILE", world.path("keys.txt")).output().unwrap())
    };
    // A password in clear text.
    validate("cluster.yaml").fails(3, &[]);
    let mut rules = vec![
        ("all", vec![]),
        ("regex", vec!["--encrypted-regex", "^(password|token)$"]),
        ("clear", vec!["--unencrypted-regex", "^(name|ip|mac|k8s_version)$"]),
        ("suffix", vec!["--encrypted-suffix", "word"]),
        ("unsuffix", vec!["--unencrypted-suffix", "_version"]),
    ];
    world.write(
        "only.yaml",
        format!("creation_rules: [{{age: {recipient}, mac_only_encrypted: true, encrypted_regex: '^password$'}}]\n"),
    );
    rules.push(("only", vec!["--config", "only.yaml"]));
    let mut verdicts = Vec::new();
    for (name, options) in rules {
        // `--config` stands before the verb.
        let (before, after) =
            if options.first() == Some(&"--config") { (options, vec![]) } else { (vec![], options) };
        let by_age = if before.is_empty() { vec!["--age", recipient] } else { vec![] };
        let args = [before, vec!["encrypt"], by_age, after, vec!["cluster.yaml"]].concat();
        let sealed = run("sops", &args).ok().stdout;
        assert!(!sealed.contains("correct-horse"), "{name}: {sealed}");
        let path = format!("{name}.enc.yaml");
        world.write(&path, &sealed);
        verdicts.push(validate(&path).ok().stdout);
        // A change that sops refuses.
        let changed = sealed.replacen("user: admin", "user: root", 1).replacen("data:", "data:AAAA", 1);
        world.write("changed.enc.yaml", changed);
        assert_ne!(run("sops", &["decrypt", "changed.enc.yaml"]).code, Some(0), "{name}");
        validate("changed.enc.yaml").fails(3, &[]);
    }
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:#?}");
    // What sops decrypts can be piped in, passwords and all.
    let clear = run("sops", &["decrypt", "all.enc.yaml"]).ok().stdout;
    world.write("clear", clear);
    let piped = fs::File::open(world.path("clear")).unwrap();
    let output = world.command(&["cluster", "validate", "--json", "-"]).stdin(piped).output().unwrap();
    assert_eq!(Run::of(output).ok().stdout, verdicts[0]);
    // Without an identity.
    let output = world
        .command(&["cluster", "validate", "all.enc.yaml"])
        .env("HOME", world.path("."))
        .output()
        .unwrap();
    Run::of(output).fails(3, &["no age identity", "SOPS_AGE_KEY_FILE"]);
}
