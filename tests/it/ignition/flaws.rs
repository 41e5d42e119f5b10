//! What people do to configs by mistake or malice: each is told with its place and a way out, and takes little memory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const HEADER: &str = "variant: flatcar\nversion: 1.1.0\n";

/// A directory with one config.
fn with(name: &str, contents: impl AsRef<[u8]>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), contents).unwrap();
    dir
}

/// Runs a verb in a directory, where it must fail as on a bad config, in an address space of 1 GiB.
fn refused(dir: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 1048576; exec \"$0\" ignition \"$@\"", env!("CARGO_BIN_EXE_prebake")]);
    let output = command.args(arguments).current_dir(dir).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(output.stdout.is_empty(), "data beside an error");
    told
}

#[track_caller]
fn says(told: &str, words: &[&str]) {
    for word in words {
        assert!(told.contains(word), "`{word}` is missing in:\n{told}");
    }
}

#[test]
fn a_hundred_mebibytes_of_yaml_are_refused_by_name_and_size() {
    let mut text = format!("{HEADER}x: |\n");
    text.push_str(&format!("  {}\n", "y".repeat(98)).repeat(100 << 20 >> 7));
    text.push_str(&" ".repeat((100 << 20) - text.len()));
    let dir = with("big.bu", text);
    says(
        &refused(dir.path(), &["transpile", "big.bu"]),
        &["big.bu is longer than 16777216 bytes (16 MiB)", "help: serve large"],
    );
}

#[test]
fn deep_nesting_is_refused_where_it_gets_too_deep() {
    let flow = with("deep.bu", format!("{HEADER}x: {}", "[".repeat(100_000)));
    says(
        &refused(flow.path(), &["transpile", "deep.bu"]),
        &["deep.bu:3:", "nested deeper than 128", "help: no config"],
    );
    let levels: String = (0..500).map(|level| format!("{}x:\n", " ".repeat(level))).collect();
    let block = with("deep.bu", format!("{HEADER}{levels}"));
    says(
        &refused(block.path(), &["transpile", "deep.bu"]),
        &["deep.bu:131:", "nested deeper than 128", "help: no"],
    );
    let json = with("deep.ign", format!("{{\"x\":\n{}", "[".repeat(100_000)));
    says(
        &refused(json.path(), &["merge", "deep.ign"]),
        &["deep.ign:2:", "nested deeper than 500", "help: no"],
    );
}

#[test]
fn an_alias_bomb_is_refused_at_the_alias_that_is_too_much() {
    let mut text = format!("{HEADER}x-0: &x0 [y, y, y, y, y, y, y, y, y, y]\n");
    for level in 1..9 {
        let aliases = vec![format!("*x{}", level - 1); 10].join(", ");
        text.push_str(&format!("x-{level}: &x{level} [{aliases}]\n"));
    }
    let dir = with("bomb.bu", text);
    says(
        &refused(dir.path(), &["transpile", "bomb.bu"]),
        &["bomb.bu:7:", "aliases expand to more than 200000 nodes", "help: write the repeated part out"],
    );
}

#[test]
fn a_long_text_that_aliases_multiply_is_refused_too() {
    let aliases = vec!["*x"; 1000].join(", ");
    let dir = with("bomb.bu", format!("{HEADER}x: &x {}\ny: [{aliases}]\n", "t".repeat(1 << 20)));
    says(
        &refused(dir.path(), &["transpile", "bomb.bu"]),
        &["bomb.bu:4:", "aliases expand to more than 67108864 bytes", "help: write the repeated part out"],
    );
}

#[test]
fn invalid_utf_8_is_refused_at_its_first_byte() {
    let dir = with("c.bu", [HEADER.as_bytes(), b"systemd:\n  units:\n    - name: a\xff.service\n"].concat());
    says(
        &refused(dir.path(), &["transpile", "c.bu"]),
        &["c.bu:5:14", "invalid UTF-8", "help: save the config as"],
    );
}

#[test]
fn a_duplicate_key_is_shown_with_the_first_one() {
    let dir = with("c.bu", format!("{HEADER}storage:\n  files: []\n  links: []\n  files: []\n"));
    says(
        &refused(dir.path(), &["transpile", "c.bu"]),
        &["c.bu:6:3", "duplicate key `files`", "c.bu:4:3", "first given here", "help: keep one"],
    );
}

#[test]
fn a_link_in_a_tree_that_leads_back_is_a_link_and_not_followed() {
    let dir = with("c.bu", format!("{HEADER}storage:\n  trees:\n    - local: tree\n"));
    fs::create_dir_all(dir.path().join("tree/a")).unwrap();
    symlink("..", dir.path().join("tree/a/up")).unwrap();
    symlink("self", dir.path().join("tree/self")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_prebake"))
        .args(["ignition", "transpile", "--files-dir", ".", "c.bu"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected =
        serde_json::json!([{"path": "/a/up", "target": ".."}, {"path": "/self", "target": "self"}]);
    assert_eq!(json["storage"]["links"], expected);
}

#[test]
fn a_tree_whose_root_is_a_loop_of_links_is_refused_at_the_tree() {
    let dir = with("c.bu", format!("{HEADER}storage:\n  trees:\n    - path: /x\n      local: loop\n"));
    symlink("loop", dir.path().join("loop")).unwrap();
    says(
        &refused(dir.path(), &["merge", "c.bu"]),
        &["c.bu:5:7", "too many levels of symbolic links", "help: a link leads back"],
    );
}

#[test]
fn a_local_path_that_leaves_the_files_directory_through_a_link_is_refused() {
    let dir = with(
        "c.bu",
        format!("{HEADER}storage:\n  files:\n    - path: /x\n      contents: {{local: out/passwd}}\n"),
    );
    symlink("/etc", dir.path().join("out")).unwrap();
    says(
        &refused(dir.path(), &["merge", "c.bu"]),
        &["c.bu:6:25", "outside the files directory through a symbolic link", "help: copy the file"],
    );
}

#[test]
fn a_layer_that_is_not_there_is_named() {
    let dir = with("a.ign", r#"{"ignition": {"version": "3.4.0"}}"#);
    // A directory may list a file that is gone when it is read; a dangling link is the same to the reader.
    symlink("gone", dir.path().join("b.bu")).unwrap();
    says(
        &refused(dir.path(), &["merge", "a.ign", "b.bu"]),
        &["cannot read b.bu: No such file", "help: check the name", "b.bu is not a valid layer"],
    );
}

#[test]
fn findings_after_merging_point_at_what_was_written() {
    let dir = with("a.bu", format!("{HEADER}storage:\n  links:\n    - path: /a\n      target: /b\n"));
    let child = r#"{"ignition": {"version": "3.4.0"}, "storage": {
  "files": [
    {"path": "/a/c"}
  ]
}}"#;
    fs::write(dir.path().join("b.ign"), child).unwrap();
    says(
        &refused(dir.path(), &["merge", "--strict", "a.bu", "b.ign"]),
        &["b.ign:3:", "path includes link in config", "help: name the path without"],
    );
}

#[test]
fn a_mount_unit_that_cannot_be_is_found_at_its_filesystem() {
    let text = format!(
        "{HEADER}storage:\n  filesystems:\n    - device: /dev/sda1\n      path: /var/lib/x\n      with_mount_unit: true\n"
    );
    let dir = with("c.bu", text);
    says(
        &refused(dir.path(), &["transpile", "c.bu"]),
        &["c.bu:5:7", "format is required if with_mount_unit is true"],
    );
}

#[test]
fn json_under_the_wrong_name_is_told_what_it_was_read_as() {
    let dir = with("config.txt", HEADER);
    says(
        &refused(dir.path(), &["show", "config.txt"]),
        &["config.txt:1:1", "invalid character 'v'", "help: this was read as Ignition JSON"],
    );
}

#[test]
fn a_pipe_that_nobody_writes_into_is_not_waited_for() {
    let config = format!("{HEADER}storage:\n  files:\n    - path: /x\n      contents: {{local: pipe}}\n");
    let dir = with("config.bu", config);
    assert!(Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap().success());
    let told = refused(dir.path(), &["transpile", "-d", ".", "config.bu"]);
    says(&told, &["config.bu:6:25", "pipe"]);
}

#[test]
fn of_a_config_in_one_line_only_the_part_in_question_is_shown() {
    let files: Vec<String> = (0..20_000).map(|index| format!(r#"{{"path":"/a/{index}"}}"#)).collect();
    let files = files.join(",");
    let dir = with(
        "config.ign",
        format!(
            r#"{{"ignition":{{"version":"3.3.0"}},"storage":{{"files":[{files},{{"path":"relative"}}]}}}}"#
        ),
    );
    let told = refused(dir.path(), &["merge", "--strict", "config.ign"]);
    says(&told, &["config.ign:1:", "\"relative\"", "path not absolute"]);
    assert!(told.len() < 2000, "{} bytes", told.len());
}

/// coreos/bugs#2011, and issue 14, A15: the unit was named, not its line.
#[test]
fn a_bad_line_inside_of_a_unit_is_shown_however_the_unit_is_written() {
    let unit = "[Service]\nExecStart=/usr/bin/echo a \\ \n    b\n";
    for (contents, place) in [
        ("|\n        [Service]\n        ExecStart=/usr/bin/echo a \\ \n            b\n", "c.bu:9:13"),
        (">\n        [Service]\n\n        ExecStart=/usr/bin/echo a \\ \n\n        b\n", "c.bu:11:9"),
        ("\"[Service]\\nExecStart=/usr/bin/echo a \\\\ \\n    b\\n\"\n", "c.bu:6:64"),
        ("'[Service]\n\n        ExecStart=/usr/bin/echo a \\\n\n\n        b\n\n\n        '\n", "c.bu:11:9"),
    ] {
        let text = format!("{HEADER}systemd:\n  units:\n    - name: a.service\n      contents: {contents}");
        let dir = with("c.bu", text);
        let told = refused(dir.path(), &["transpile", "c.bu"]);
        says(&told, &["c.bu:6:17", "invalid unit content", place, "this line"]);
    }
    let json = serde_json::json!({"ignition": {"version": "3.4.0"}, "systemd": {"units": [{"name": "a.service", "contents": unit}]}});
    let dir = with("c.ign", json.to_string());
    says(&refused(dir.path(), &["merge", "c.ign"]), &["invalid unit content", "remove the blanks after it"]);
    let dir = with("u.service", unit);
    let units = "systemd:\n  units:\n    - name: a.service\n      contents_local: u.service\n";
    fs::write(dir.path().join("c.bu"), format!("{HEADER}{units}")).unwrap();
    says(&refused(dir.path(), &["transpile", "-d", ".", "c.bu"]), &["line 3 of the unit reads `    b`"]);
}

#[test]
fn a_fault_inside_of_an_inline_config_is_shown_where_it_is_written() {
    let inline = "|\n          {\"ignition\": {\"version\": \"3.4.0\"},\n           \"storage\": {\"files\": [{\"path\": \"a\"}]}}\n";
    let dir = with("c.bu", format!("{HEADER}ignition:\n  config:\n    merge:\n      - inline: {inline}"));
    says(&refused(dir.path(), &["transpile", "c.bu"]), &["path not absolute", "c.bu:8:"]);
    let inline = "|\n          {\"ignition\": {\"version\": \"3.4.0\"},\n           oops}\n";
    let dir = with("c.bu", format!("{HEADER}ignition:\n  config:\n    merge:\n      - inline: {inline}"));
    says(&refused(dir.path(), &["transpile", "c.bu"]), &["config is not valid", "c.bu:8:12"]);
}

/// flatcar/Flatcar#885 and issue 14, A21.
#[test]
fn a_config_of_another_kind_is_called_by_its_name() {
    for (text, words) in [
        ("locksmith:\n  reboot_strategy: off\n", "this is a Container Linux Config"),
        ("storage:\n  files:\n    - filesystem: root\n      path: /a\n", "this is a Container Linux Config"),
        ("{\"ignition\": {\"version\": \"3.4.0\"}}", "this is an Ignition config"),
        ("#cloud-config\nusers: []\n", "this is a cloud-config"),
        ("schema: 1\nname: a\nrelease: {channel: stable}\nprofiles: {}\n", "this is a recipe"),
        ("variant: flatcar\nversion: 1.1\n", "a version has three numbers"),
        ("variant: flatcar\nversion: 1.1.0\n\tstorage: {}\n", "indent with blanks"),
        ("\tvariant: flatcar\nversion: 1.1.0\n", "indent with blanks"),
        (
            "variant: flatcar\nversion: 1.1.0\nstorage: {files: [{path: /a, mode: \"0644\"}]}\n",
            "leave out the quotes",
        ),
        (
            "variant: flatcar\nversion: 1.1.0\nstorage: {files: [{path: /a, overwrite: 'true'}]}\n",
            "leave out the quotes",
        ),
    ] {
        let dir = with("c.bu", text);
        says(&refused(dir.path(), &["transpile", "c.bu"]), &[words, "c.bu:"]);
    }
}

/// 09-passes-fails-at-boot of the bug hunt.
#[test]
fn validate_tells_of_configs_that_are_certain_to_fail_on_the_target() {
    let files = "storage:\n  files:\n    - path: /opt/tool\n    - path: /opt/tool/conf\n    - path: /usr/local/bin/x\n    - path: /m\n      contents: {compression: gzip, inline: no}\n";
    let dir = with("c.bu", format!("{HEADER}{files}"));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        command.args(["ignition", "validate"]).args(arguments).arg("c.bu").current_dir(dir.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(run(&[]), (Some(0), String::new()), "what Ignition's own check says stays as it is");
    for arguments in [&["--target", "stable"][..], &["--pxe"]] {
        let (code, told) = run(arguments);
        assert_eq!(code, Some(3), "{told}");
        says(
            &told,
            &[
                "`/opt/tool/conf` cannot be created",
                "c.bu:6:13",
                "/usr is read-only",
                "is set, but the contents are not gzip",
            ],
        );
    }
}
