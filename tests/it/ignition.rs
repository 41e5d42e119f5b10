//! What people and their tools get wrong, through `prebake ignition`: one clear finding, at what they wrote.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

const HEAD: &str = "variant: flatcar\nversion: 1.0.0\n";

/// Runs a verb in a directory that holds one config, with `files/` for local files; exit code and stderr.
fn run(directory: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_prebake"))
        .arg("ignition")
        .args(args)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn directory(name: &str, config: impl AsRef<[u8]>) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("files")).unwrap();
    fs::write(directory.path().join(name), config).unwrap();
    directory
}

#[track_caller]
fn refused(directory: &Path, args: &[&str], words: &[&str]) {
    let (code, said) = run(directory, args);
    assert_eq!(code, Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in:\n{said}");
    }
    assert!(said.len() < 4000, "{} bytes are too many words", said.len());
}

#[track_caller]
fn transpile_refuses(config: impl AsRef<[u8]>, words: &[&str]) {
    let directory = directory("config.bu", config);
    refused(directory.path(), &["transpile", "-d", "files", "config.bu"], words);
}

#[test]
fn a_hundred_mebibytes_of_yaml_are_refused_with_the_limit() {
    let config = format!("{HEAD}x: {}\n", "a".repeat(100 << 20));
    transpile_refuses(
        config,
        &["config.bu is 104857", "the limit for YAML is 16777216", "name it with `local:`"],
    );
}

#[test]
fn yaml_that_nests_without_end_is_refused_where_it_passes_the_limit() {
    let config = format!("{HEAD}x: {}\n", "[".repeat(100_000));
    transpile_refuses(config, &["config.bu:3:", "nested deeper than 128 levels"]);
}

#[test]
fn json_that_nests_without_end_is_refused_where_it_passes_the_limit() {
    let directory = directory("config.ign", "{\"a\":".repeat(100_000));
    refused(
        directory.path(),
        &["validate", "config.ign"],
        &["config.ign:1:", "nested deeper than 500 levels"],
    );
}

#[test]
fn aliases_that_multiply_are_refused_where_they_pass_the_limit() {
    let mut config = format!("{HEAD}a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let before = vec![format!("*a{}", level - 1); 10].join(", ");
        config.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    transpile_refuses(config, &["config.bu:8:10", "aliases unfold to more than 200000 nodes"]);
}

#[test]
fn bytes_that_are_no_utf_8_are_refused_at_the_first() {
    let config = [HEAD.as_bytes(), b"storage:\n  files:\n    - path: /a\xff\n"].concat();
    transpile_refuses(config, &["config.bu:5:15", "invalid UTF-8"]);
    transpile_refuses((0..=255).collect::<Vec<u8>>(), &["config.bu:", "invalid UTF-8"]);
}

#[test]
fn a_key_that_stands_twice_is_refused_at_the_second() {
    let config = format!("{HEAD}storage:\n  files: []\nstorage:\n  links: []\n");
    transpile_refuses(config, &["config.bu:5:1", "duplicate key `storage`"]);
}

#[test]
fn an_empty_config_is_told_how_to_begin() {
    transpile_refuses("", &["error parsing variant; must be specified", "start with `variant: flatcar`"]);
}

#[test]
fn a_link_that_turns_in_circles_ends_neither_a_tree_nor_a_file() {
    let directory = directory(
        "config.bu",
        format!(
            "{HEAD}storage:\n  trees:\n    - local: a\n  files:\n    - path: /x\n      contents: {{local: b}}\n"
        ),
    );
    symlink("b", directory.path().join("files/a")).unwrap();
    symlink("a", directory.path().join("files/b")).unwrap();
    let words = [
        "$.storage.trees.0]",
        "config.bu:5:7",
        "$.storage.files.0.contents.local]",
        "config.bu:8:25",
        "too many levels",
    ];
    refused(directory.path(), &["transpile", "-d", "files", "config.bu"], &words);
}

#[test]
fn a_link_inside_a_tree_is_a_link_of_the_node_even_where_it_turns_in_circles() {
    let directory = directory("config.bu", format!("{HEAD}storage:\n  trees:\n    - local: tree\n"));
    fs::create_dir(directory.path().join("files/tree")).unwrap();
    symlink(".", directory.path().join("files/tree/loop")).unwrap();
    let (code, said) = run(directory.path(), &["transpile", "-d", "files", "config.bu"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(r#"{"path":"/loop","target":"."}"#), "{said}");
}

#[test]
fn a_local_file_behind_a_link_out_of_the_files_directory_is_refused() {
    let directory = directory(
        "config.bu",
        format!("{HEAD}storage:\n  files:\n    - path: /x\n      contents: {{local: up/config.bu}}\n"),
    );
    symlink("..", directory.path().join("files/up")).unwrap();
    let words = [
        "$.storage.files.0.contents.local]",
        "config.bu:6:25",
        "outside the files directory through a symbolic link",
    ];
    refused(directory.path(), &["transpile", "-d", "files", "config.bu"], &words);
}

#[test]
fn a_layer_that_is_not_there_is_named() {
    let directory = directory("base.ign", r#"{"ignition":{"version":"3.3.0"}}"#);
    for verb in ["merge", "validate"] {
        refused(directory.path(), &[verb, "base.ign", "gone.bu"], &["cannot read gone.bu", "No such file"]);
    }
    refused(directory.path(), &["merge", "base.ign", "files"], &["cannot read files", "Is a directory"]);
}

#[test]
fn a_local_file_that_vanishes_is_named_where_the_config_wants_it() {
    let config = format!("{HEAD}storage:\n  files:\n    - path: /x\n      contents: {{local: gone}}\n");
    transpile_refuses(config, &["config.bu:6:25", "files/gone", "no such file"]);
}

#[test]
fn a_pipe_that_nobody_writes_into_is_no_layer() {
    let directory = directory(
        "config.bu",
        format!("{HEAD}storage:\n  files:\n    - path: /x\n      contents: {{local: pipe}}\n"),
    );
    let made = Command::new("mkfifo").arg(directory.path().join("files/pipe")).status().unwrap();
    assert!(made.success());
    let mut child = Command::new(env!("CARGO_BIN_EXE_prebake"))
        .args(["ignition", "transpile", "-d", "files", "config.bu"])
        .current_dir(directory.path())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Far longer than it needs, far shorter than for ever.
    let ended = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        child.try_wait().unwrap().is_some()
    });
    child.kill().ok();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(ended, "it waits for the pipe");
}

#[test]
fn a_finding_about_a_generated_line_points_at_what_was_written() {
    let config = format!(
        "{HEAD}storage:\n  filesystems:\n    - device: /dev/sda1\n      path: var\n      format: ext4\n      with_mount_unit: true\n"
    );
    transpile_refuses(config, &["config.bu:6:13", "path not absolute"]);
}

#[test]
fn of_a_config_in_one_line_only_the_part_in_question_is_shown() {
    let files: Vec<String> = (0..20_000).map(|index| format!(r#"{{"path":"/a/{index}"}}"#)).collect();
    let config = format!(
        r#"{{"ignition":{{"version":"3.3.0"}},"storage":{{"files":[{},{{"path":"relative"}}]}}}}"#,
        files.join(",")
    );
    let directory = directory("config.ign", config);
    refused(
        directory.path(),
        &["validate", "config.ign"],
        &["config.ign:1:", "\"relative\"", "path not absolute"],
    );
}
