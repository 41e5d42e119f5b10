//! What is said to fail at a boot, beside real Ignition that writes the files of such configs.

use std::fs;
use std::path::Path;
use std::process::Command;

use prebake::base::finding::{Severity, Source};
use prebake::flatcar::quirks;
use prebake::ignition::{Config, boot};

/// Whether real Ignition gets through its first boot with a config, and what it says.
fn boots(ignition: &Path, config: &str) -> Result<(), String> {
    let state = tempfile::tempdir().unwrap();
    fs::write(state.path().join("user.ign"), config).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/ignition-files.sh");
    let output = Command::new(script).arg(ignition).arg(state.path()).output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()),
    }
}

/// Parts of a config and whether a boot with it fails. `Z` is a hash of zeros, `X` one of letters, `H` that of `x`.
const CASES: &[(&str, bool)] = &[
    (r#""storage": {"files": [{"path": "/etc/a", "contents": {"source": "data:,x"}}]}"#, false),
    (r#""storage": {"files": [{"path": "/opt/t"}, {"path": "/opt/t/a"}]}"#, true),
    (r#""storage": {"files": [{"path": "/opt/t/a/b/c"}, {"path": "/opt/t"}]}"#, true),
    (r#""storage": {"files": [{"path": "/opt/t"}, {"path": "/opt/ta"}]}"#, false),
    (r#""storage": {"files": [{"path": "/a"}], "directories": [{"path": "/a/b"}]}"#, true),
    (r#""storage": {"files": [{"path": "/a"}], "links": [{"path": "/a/b", "target": "/c"}]}"#, true),
    (r#""storage": {"files": [{"path": "/a/b"}], "directories": [{"path": "/a"}]}"#, false),
    (r#""storage": {"files": [{"path": "/"}]}"#, true),
    (r#""storage": {"links": [{"path": "/", "target": "/a"}]}"#, true),
    (r#""storage": {"directories": [{"path": "/", "mode": 493}]}"#, false),
    (r#""storage": {"files": [{"path": "/usr/local/bin/t"}]}"#, true),
    (r#""storage": {"directories": [{"path": "/usr/local"}]}"#, true),
    (r#""storage": {"directories": [{"path": "/usr"}]}"#, true),
    (r#""storage": {"links": [{"path": "/usr/local/t", "target": "/opt/bin/t"}]}"#, true),
    (
        r#""storage": {"files": [{"path": "/usr/share/oem/t"}, {"path": "/oem/u"}, {"path": "/usrlocal"}]}"#,
        false,
    ),
    (
        r#""storage": {"links": [{"path": "/a", "target": "/usr/bin/t"}, {"path": "/b", "target": "/b"}]}"#,
        false,
    ),
    (r#""storage": {"links": [{"path": "/a", "target": "/a", "hard": true}]}"#, true),
    (r#""storage": {"links": [{"path": "/d/a", "target": "d/a", "hard": true}]}"#, true),
    (
        r#""storage": {"files": [{"path": "/f"}], "links": [{"path": "/a", "target": "f", "hard": true}]}"#,
        false,
    ),
    (
        r#""storage": {"files": [{"path": "/a", "contents": {"source": "data:,x", "compression": "gzip"}}]}"#,
        true,
    ),
    (
        r#""storage": {"files": [{"path": "/a", "append": [{"source": "data:,x", "compression": "gzip"}]}]}"#,
        true,
    ),
    (
        r#""storage": {"files": [{"path": "/a", "contents": {"source": "data:,", "compression": "gzip"}}]}"#,
        true,
    ),
    (r#""storage": {"files": [{"path": "/a", "contents": {"source": "", "compression": "gzip"}}]}"#, false),
    // Whole, cut off, and with a byte behind it.
    (
        r#""storage": {"files": [{"path": "/a", "contents": {"source": "data:;base64,H4sIAAAAAAACA8tIzcnJ5wIAIDA6NgYAAAA=", "compression": "gzip"}}]}"#,
        false,
    ),
    (
        r#""storage": {"files": [{"path": "/a", "contents": {"source": "data:;base64,H4sIAAAAAAACA8tIzcnJ5wIAIDA6NgY=", "compression": "gzip"}}]}"#,
        true,
    ),
    (
        r#""storage": {"files": [{"path": "/a", "contents": {"source": "data:;base64,H4sIAAAAAAACA8tIzcnJ5wIAIDA6NgYAAAB4", "compression": "gzip"}}]}"#,
        true,
    ),
    (
        r#""storage": {"files": [{"path": "/a", "contents": {"source": "data:,x", "verification": {"hash": "sha512-Z"}}}]}"#,
        true,
    ),
    (
        r#""storage": {"files": [{"path": "/a", "contents": {"source": "data:,x", "verification": {"hash": "sha512-X"}}}]}"#,
        true,
    ),
    (
        r#""storage": {"files": [{"path": "/a", "contents": {"source": "data:,x", "verification": {"hash": "sha512-H"}}}]}"#,
        false,
    ),
    (
        r#""storage": {"files": [{"path": "/a", "contents": {"source": "", "verification": {"hash": "sha512-Z"}}}]}"#,
        false,
    ),
    (
        r#""storage": {"files": [{"path": "/etc/systemd"}]}, "systemd": {"units": [{"name": "a.service", "contents": "[Unit]"}]}"#,
        true,
    ),
    (
        r#""storage": {"files": [{"path": "/etc/systemd/system/a.service.d"}]}, "systemd": {"units": [{"name": "a.service", "dropins": [{"name": "a.conf", "contents": "[Unit]"}]}]}"#,
        true,
    ),
    (
        r#""storage": {"files": [{"path": "/etc/systemd/system/a.service.d"}]}, "systemd": {"units": [{"name": "a.service", "contents": "[Unit]"}]}"#,
        false,
    ),
    (
        r#""storage": {"files": [{"path": "/etc/systemd/system"}]}, "systemd": {"units": [{"name": "a.service", "mask": true}]}"#,
        true,
    ),
    (
        r#""storage": {"files": [{"path": "/etc/systemd/system"}]}, "systemd": {"units": [{"name": "a.service", "enabled": true}]}"#,
        false,
    ),
    (
        r#""ignition": {"version": "3.4.0", "security": {"tls": {"certificateAuthorities": [{"source": "data:,hello"}]}}}"#,
        true,
    ),
    (
        r#""ignition": {"version": "3.4.0", "security": {"tls": {"certificateAuthorities": [{"source": "data:,"}]}}}"#,
        false,
    ),
    (r#""ignition": {"version": "3.4.0", "config": {"merge": [{"source": "data:,"}]}}"#, false),
    (r#""ignition": {"version": "3.4.0", "config": {"merge": [{"source": "data:,hello"}]}}"#, true),
    (
        r#""ignition": {"version": "3.4.0", "config": {"replace": {"source": "data:,%7B%22ignition%22:%7B%22version%22:%223.9.0%22%7D%7D"}}}"#,
        true,
    ),
    (
        r#""ignition": {"version": "3.4.0", "config": {"merge": [{"source": "data:,%7B%22ignition%22:%7B%22version%22:%223.0.0%22%7D%7D"}]}}"#,
        false,
    ),
    (
        r#""ignition": {"version": "3.4.0", "config": {"merge": [{"source": "data:,%7B%22ignition%22:%7B%22version%22:%223.6.0%22%7D%7D"}]}}"#,
        true,
    ),
    (
        r#""ignition": {"version": "3.4.0", "config": {"merge": [{"source": "data:,%7B%22ignition%22:%7B%22version%22:%223.4.0%22%7D,%22storage%22:%7B%22files%22:%5B%5D%7D%7D"}]}}"#,
        false,
    ),
];

/// 09-passes-fails-at-boot of the bug hunt (butane#730, ignition#1457, flatcar/Flatcar#434), and their siblings.
#[test]
fn a_boot_that_is_said_to_fail_fails_and_no_other() {
    let Some(ignition) = super::ignition() else { return };
    let mut wrong = Vec::new();
    for (parts, fails) in CASES {
        let parts = parts
            .replace("-Z", &format!("-{}", "0".repeat(128)))
            .replace("-X", &format!("-{}", "x".repeat(128)));
        let hash = "a4abd4448c49562d828115d13a1fccea927f52b4d5459297f8b43e42da89238bc13626e43dcb38ddb082488927ec904fb42057443983e88585179d50551afe62";
        let parts = parts.replace("-H", &format!("-{hash}"));
        let header =
            if parts.starts_with(r#""ignition""#) { "" } else { r#""ignition": {"version": "3.4.0"}, "# };
        let text = format!("{{{header}{parts}}}");
        let config = Config::parse(&Source::new("c.ign", text.as_str())).unwrap().config;
        // The judge is the Ignition of Stable 4593.
        let ours = boot::failures(&config, Some(quirks::system("4593.2.5".parse().unwrap())));
        let said = ours.iter().any(|finding| finding.severity == Severity::Error);
        let theirs = boots(&ignition, &text);
        if said != *fails || theirs.is_err() != *fails {
            wrong.push(format!("{text}\n  ours {ours:?}\n  Ignition {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
