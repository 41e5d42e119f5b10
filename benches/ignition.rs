//! Translating a big Butane config and merging 1,000 layers, against real Butane and Ignition's own merge, each as a
//! whole process.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

mod race;

use race::{Race, run};

const ROUNDS: usize = 15;

fn main() {
    let world = tempfile::tempdir().unwrap();
    transpile(world.path());
    merge(world.path());
}

/// The directory of a judge's binaries.
fn peer(name: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/build.sh");
    let output = Command::new(script).arg(name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn prebake() -> Command {
    Command::new(env!("CARGO_BIN_EXE_prebake"))
}

/// A site's whole config in one file: 300 files of 2 KiB, 120 units with drop-ins, 60 links, and a tree of 400 files.
fn big(files: &Path) -> String {
    let tree = files.join("tree/etc/site");
    fs::create_dir_all(&tree).unwrap();
    for index in 0..400 {
        fs::write(tree.join(format!("{index}.conf")), format!("setting = {index}\n").repeat(40)).unwrap();
    }
    let mut text = String::from(
        "variant: flatcar\nversion: 1.1.0\npasswd:\n  users:\n    - name: core\n      ssh_authorized_keys:\n",
    );
    for index in 0..40 {
        writeln!(text, "        - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{index:043} admin{index}@site")
            .unwrap();
    }
    text.push_str("storage:\n  trees:\n    - local: tree\n  files:\n");
    for index in 0..300 {
        writeln!(
            text,
            "    - path: /opt/app/{index}/config\n      mode: 0644\n      contents:\n        inline: |"
        )
        .unwrap();
        for line in 0..40 {
            writeln!(text, "          # line {line} of the config of application {index}").unwrap();
        }
    }
    text.push_str("  links:\n");
    for index in 0..60 {
        writeln!(text, "    - path: /etc/links/{index}\n      target: /opt/app/{index}/config").unwrap();
    }
    text.push_str("systemd:\n  units:\n");
    for index in 0..120 {
        writeln!(text, "    - name: app{index}.service\n      enabled: true\n      contents: |").unwrap();
        writeln!(text, "        [Unit]\n        Description=Application {index}\n        [Service]\n        ExecStart=/opt/app/{index}/run\n        [Install]\n        WantedBy=multi-user.target").unwrap();
        writeln!(text, "      dropins:\n        - name: 10-env.conf\n          contents: |\n            [Service]\n            Environment=INDEX={index}").unwrap();
    }
    text
}

fn transpile(world: &Path) {
    let config = world.join("big.bu");
    fs::write(&config, big(world)).unwrap();
    let (ours, theirs) = (world.join("ours.ign"), world.join("theirs.ign"));
    let butane = peer("butane").join("butane");
    let mut race = Race::new("transpile 300 files, 120 units and a tree of 400 files");
    for _ in 0..ROUNDS {
        race.turn("prebake", || {
            run(prebake()
                .args(["ignition", "transpile", "-s", "-d"])
                .arg(world)
                .arg("-o")
                .arg(&ours)
                .arg(&config));
        });
        race.turn("butane", || {
            run(Command::new(&butane).args(["-s", "-d"]).arg(world).arg("-o").arg(&theirs).arg(&config));
        });
    }
    let read = |path: &Path| {
        let mut config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        for file in config["storage"]["files"].as_array_mut().unwrap() {
            // Another compressor; that the contents are equal is the judges' matter.
            if file["contents"]["compression"] == "gzip" {
                file["contents"]["source"] = Value::Null;
            }
        }
        config
    };
    let (ours, theirs) = (read(&ours), read(&theirs));
    assert_eq!(ours["storage"]["files"].as_array().unwrap().len(), 700);
    assert_eq!(ours, theirs, "the race is only one if both make the same");
    race.finish();
}

fn merge(world: &Path) {
    let layers: Vec<PathBuf> = (0..1000).map(|index| world.join(format!("{index}.ign"))).collect();
    for (index, layer) in layers.iter().enumerate() {
        let unit = json!({"name": format!("app{}.service", index % 50), "enabled": index % 2 == 0});
        let file = json!({"path": format!("/etc/app/{index}"), "mode": 420, "contents": {"source": format!("data:,{index}")}});
        let config = json!({"ignition": {"version": "3.4.0"}, "storage": {"files": [file]}, "systemd": {"units": [unit]}});
        fs::write(layer, config.to_string()).unwrap();
    }
    let judge = peer("ignition").join("judge");
    let mut race = Race::new("merge 1,000 layers");
    for _ in 0..ROUNDS {
        race.turn("prebake", || run(prebake().args(["ignition", "merge"]).args(&layers)));
        race.turn("Ignition's merge", || run(Command::new(&judge).args(&layers)));
    }
    race.finish();
}
