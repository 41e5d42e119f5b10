//! Translating and merging as whole processes, beside real Butane and Ignition's own merge. Same run, interleaved;
//! medians, spreads and ratios.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Few, because Ignition takes most of a minute to merge so many layers.
const ROUNDS: usize = 5;
const LAYERS: usize = 1000;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let prebake = Path::new(env!("CARGO_BIN_EXE_prebake"));

    fs::create_dir(dir.path().join("files")).unwrap();
    fs::write(dir.path().join("node.bu"), node(dir.path())).unwrap();
    let arguments = ["--strict", "--files-dir", "files", "node.bu"];
    let ours = command(prebake, dir.path(), &[&["ignition", "transpile"], &arguments[..]].concat());
    let theirs = command(&peer("butane").join("butane"), dir.path(), &arguments);
    let bytes = fs::metadata(dir.path().join("node.bu")).unwrap().len();
    race(&format!("translate a node of {} KiB and 200 local files", bytes >> 10), "Butane", ours, theirs);

    let names: Vec<String> = (0..LAYERS).map(|number| format!("{number:04}.ign")).collect();
    for (number, name) in names.iter().enumerate() {
        fs::write(dir.path().join(name), layer(number)).unwrap();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let ours = command(prebake, dir.path(), &[&["ignition", "merge"], &names[..]].concat());
    let theirs = command(&peer("ignition").join("judge"), dir.path(), &names);
    race(&format!("merge {LAYERS} layers"), "Ignition", ours, theirs);
}

/// A control-plane node as people write it, larger than any of them: files inline and local, units, drop-ins, users.
fn node(dir: &Path) -> String {
    let mut text = String::from("variant: flatcar\nversion: 1.1.0\npasswd:\n  users:\n");
    for user in 0..50 {
        text +=
            &format!("    - name: user{user}\n      groups: [wheel, docker]\n      ssh_authorized_keys:\n");
        text += &format!("        - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA{user:032} user{user}@site\n");
    }
    text += "storage:\n  files:\n";
    for file in 0..200 {
        let local = format!("setting-{file}.conf");
        let contents: String =
            (0..60).map(|line| format!("key.{line}.of.{file} = {}\n", line * file)).collect();
        fs::write(dir.join("files").join(&local), contents).unwrap();
        text += &format!(
            "    - path: /etc/local.d/{local}\n      mode: 0644\n      contents: {{local: {local}}}\n"
        );
        text += &format!("    - path: /etc/inline.d/{file}.conf\n      mode: 0600\n      overwrite: true\n");
        text += "      contents:\n        inline: |\n";
        text += &(0..12)
            .map(|line| format!("          option-{line}-{file}: value {line}\n"))
            .collect::<String>();
    }
    text += "systemd:\n  units:\n";
    for unit in 0..100 {
        text += &format!(
            "    - name: agent-{unit}.service\n      enabled: true\n      contents: |\n        [Unit]\n"
        );
        text += &format!(
            "        Description=Agent {unit}\n        After=network-online.target\n        [Service]\n"
        );
        text += &format!("        ExecStart=/opt/bin/agent --number {unit}\n        Restart=always\n");
        text += "        [Install]\n        WantedBy=multi-user.target\n      dropins:\n        - name: 10-limits.conf\n";
        text += "          contents: |\n            [Service]\n            LimitNOFILE=65536\n";
    }
    text
}

/// A layer that brings something of its own and overrides something of the others.
fn layer(number: usize) -> String {
    format!(
        r#"{{"ignition":{{"version":"3.4.0"}},
"passwd":{{"users":[{{"name":"core","sshAuthorizedKeys":["ssh-ed25519 AAAA{number} core@{number}"]}}]}},
"storage":{{"files":[{{"path":"/etc/layer.d/{number}.conf","mode":420,"contents":{{"source":"data:,layer%20{number}%0A"}}}},
{{"path":"/etc/shared/{}.conf","overwrite":true,"contents":{{"source":"data:,{number}"}}}}]}},
"systemd":{{"units":[{{"name":"agent-{}.service","enabled":true,"dropins":[{{"name":"{number}.conf","contents":"[Service]\nNice=5\n"}}]}}]}}}}"#,
        number % 100,
        number % 50,
    )
}

fn peer(name: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/build.sh");
    let output = Command::new(script).arg(name).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{name} was not built");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn command(program: &Path, dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).stderr(Stdio::null());
    command
}

fn race(what: &str, peer: &str, mut ours: Command, mut theirs: Command) {
    // Only equal work is a race.
    assert_eq!(work(&mut ours), work(&mut theirs), "{what}");

    let mut rows = [("prebake", vec![]), (peer, vec![])];
    for _ in 0..ROUNDS {
        rows[0].1.push(timed(&mut ours));
        rows[1].1.push(timed(&mut theirs));
    }
    println!("{what}, {ROUNDS} rounds: median (min … max), ratio to prebake");
    let own = median(&rows[0].1);
    for (name, times) in &rows {
        let (min, max) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        let ratio = median(times).as_secs_f64() / own.as_secs_f64();
        println!("  {name:9} {:>7.1?} ({min:.1?} … {max:.1?})  {ratio:.2}×", median(times));
    }
}

/// How many files, users and units come out.
fn work(command: &mut Command) -> [usize; 3] {
    let config: serde_json::Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    [&config["storage"]["files"], &config["passwd"]["users"], &config["systemd"]["units"]]
        .map(|list| list.as_array().unwrap().len())
}

fn timed(command: &mut Command) -> Duration {
    let started = Instant::now();
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
    started.elapsed()
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}
