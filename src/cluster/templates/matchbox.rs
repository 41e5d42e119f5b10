//! Profiles and groups in Matchbox's form, as people have them: what they say takes effect, or is refused.
//!
//! The tree's own profiles name its own verified kernel, initrds and config, so that little of such a file can differ: further
//! kernel arguments and initrds, and a machine's UUID. Nothing that differs otherwise is passed over, for its author believes that it counts.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Template;
use crate::base::finding::{Finding, Findings, Place};
use crate::flatcar::board;

/// Kernel arguments that each boot has anyway, by what they begin with.
const OWN_ARGS: [&str; 3] = ["initrd=", "flatcar.first_boot", "coreos.first_boot"];
/// Kernel arguments that name the server of the config.
const CONFIG_ARGS: [&str; 3] = ["flatcar.config.url=", "coreos.config.url=", "ignition.config.url="];

/// Additions of a person's profile to the one of its role.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Adds {
    /// Kernel arguments.
    pub args: Vec<String>,
    /// Initrds that the kernel unpacks before Flatcar's own, as files.
    pub initrds: Vec<PathBuf>,
}

/// Reads what a person's profile adds to the one of its role. Paths in it are relative to `directory`.
///
/// # Errors
/// Everything in it that would not count, with the way out.
pub fn profile(
    template: &Template,
    text: &str,
    role: &str,
    server: &str,
    directory: &Path,
) -> Result<Adds, Findings> {
    let mut reader = Reader { template, findings: Vec::new() };
    let record = reader.record(text);
    let mut adds = Adds::default();
    for (key, value) in &record {
        match key.as_str() {
            "id" | "name" if value == role => {}
            "id" | "name" => {
                reader.refuse(
                    key,
                    format!("`{key}` is {value}, but nodes boot the profile of their role"),
                    format!("let it be \"{role}\"; a node's own settings belong to the node in cluster.yaml"),
                );
            }
            "ignition_id" if stem(value) == role => {}
            "ignition_id" => reader.refuse(
                key,
                format!("`ignition_id` is {value}, but the configs of a tree are its own"),
                format!("leave it out, and let the config be ignition/{role}.yaml.tmpl"),
            ),
            "cloud_id" | "generic_id" if is_empty(value) => {}
            "cloud_id" | "generic_id" => reader.refuse(
                key,
                format!("`{key}` has no effect: machines get one Ignition config"),
                format!("write what it does into ignition/{role}.yaml.tmpl"),
            ),
            "boot" => adds = reader.boot(value, role, server, directory),
            _ => reader.refuse(key, format!("a profile has no `{key}`"), "leave it out".into()),
        }
    }
    Ok(Findings::settle(reader.findings, adds)?.0)
}

/// The UUID that a person's group adds to a node.
///
/// # Errors
/// Everything in it that would not count, with the way out.
pub fn group(
    template: &Template,
    text: &str,
    [name, ip, mac, role]: [&str; 4],
) -> Result<Option<String>, Findings> {
    let mut reader = Reader { template, findings: Vec::new() };
    let mut uuid = None;
    for (key, value) in &reader.record(text) {
        match key.as_str() {
            "id" | "name" if value == name => {}
            "id" | "name" => reader.refuse(key, format!("`{key}` is {value}, but a group has its node's name"), "let it be \"${NODE_NAME}\"".into()),
            "profile" if value == role => {}
            "profile" => reader.refuse(key, format!("`profile` is {value}, but a node boots the profile of its role"), "let it be \"${NODE_ROLE}\"; kernel arguments, layers and disks of one node belong to it in cluster.yaml".into()),
            "selector" => {
                for (label, value) in value.as_object().into_iter().flatten() {
                    match (label.as_str(), value.as_str()) {
                        ("mac", Some(own)) if own.replace('-', ":").eq_ignore_ascii_case(mac) => {}
                        ("uuid", Some(own)) => uuid = Some(own.to_owned()),
                        _ => reader.refuse(label, format!("a node is selected by its card, not by `{label}` {value}"), "let the selector be {\"mac\": \"${NODE_MAC}\"}; a `uuid` may be beside it".into()),
                    }
                }
            }
            "metadata" => {
                for (label, value) in value.as_object().into_iter().flatten() {
                    if ![name, ip, mac, role].iter().any(|own| value == own) {
                        reader.refuse(label, format!("`metadata.{label}` reaches no machine: its config is compiled before it is served"), format!("write {value} into ignition/{role}.yaml.tmpl"));
                    }
                }
            }
            _ => reader.refuse(key, format!("a group has no `{key}`"), "leave it out".into()),
        }
    }
    Ok(Findings::settle(reader.findings, uuid)?.0)
}

/// Why the bootstrap machine's profile has no effect.
pub fn bootstrap(template: &Template) -> Finding {
    let text = "the bootstrap machine boots the others and never boots from them: its profile has no effect";
    Finding::error(text)
        .at(Place { source: template.source.clone(), line: 1, column: 1 })
        .hint("remove the file; ignition/bootstrap.yaml.tmpl is the config of a bootstrap machine that runs Flatcar")
}

struct Reader<'t> {
    template: &'t Template,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn record(&mut self, text: &str) -> Map<String, Value> {
        match serde_json::from_str(text) {
            Ok(Value::Object(record)) => record,
            Ok(_) => {
                self.refuse(
                    "",
                    "this is no JSON object".into(),
                    "a profile or group of Matchbox is one".into(),
                );
                Map::new()
            }
            Err(error) => {
                let source = self.template.source.clone();
                let place = Place { source, line: error.line().max(1), column: error.column().max(1) };
                self.findings.push(Finding::error(format!("this is not JSON: {error}")).at(place));
                Map::new()
            }
        }
    }

    fn boot(&mut self, value: &Value, role: &str, server: &str, directory: &Path) -> Adds {
        let mut adds = Adds::default();
        for (key, value) in value.as_object().into_iter().flatten() {
            let texts: Vec<&str> = match value {
                Value::String(text) => vec![text],
                Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
                _ => Vec::new(),
            };
            let is_flatcars = |text: &&str, name: &str| text.rsplit('/').next() == Some(name);
            match key.as_str() {
                "kernel" if texts.iter().all(|text| is_flatcars(text, board::KERNEL)) => {}
                "kernel" => self.refuse(
                    key,
                    format!("`boot.kernel` is {value}, but machines boot Flatcar's own, which is verified"),
                    "leave it out".into(),
                ),
                "initrd" => {
                    for text in texts.iter().filter(|text| !is_flatcars(text, board::INITRD)) {
                        match directory.join(text) {
                            file if file.is_file() => adds.initrds.push(file),
                            file => self.refuse(
                                text,
                                format!(
                                    "there is no file {} to be an initrd before Flatcar's own",
                                    file.display()
                                ),
                                "name a file, relative to cluster.yaml; Flatcar's own initrd is there anyway"
                                    .into(),
                            ),
                        }
                    }
                }
                "args" => {
                    for arg in texts {
                        if CONFIG_ARGS.iter().any(|own| arg.starts_with(own)) {
                            if !arg.contains(server) && arg.contains("://") {
                                self.refuse(arg, format!("`{arg}` names another server than the bootstrap machine"), "leave it out: machines take their config from the server that boots them".into());
                            }
                        } else if !OWN_ARGS.iter().any(|own| arg.starts_with(own)) {
                            adds.args.push(arg.to_owned());
                        }
                    }
                }
                _ => self.refuse(
                    key,
                    format!("`boot` of the profile `{role}` has no `{key}`"),
                    "leave it out".into(),
                ),
            }
        }
        adds
    }

    fn refuse(&mut self, word: &str, text: String, hint: String) {
        let source = self.template.source.clone();
        let line =
            source.text.lines().position(|line| !word.is_empty() && line.contains(word)).unwrap_or(0) + 1;
        self.findings.push(Finding::error(text).at(Place { source, line, column: 1 }).hint(hint));
    }
}

/// A file's name without its ending.
fn stem(value: &Value) -> &str {
    let text = value.as_str().unwrap_or_default();
    text.split_once('.').map_or(text, |(stem, _)| stem)
}

fn is_empty(value: &Value) -> bool {
    value.as_str().is_some_and(str::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Source;

    fn template(text: &str) -> Template {
        Template {
            name: "profiles/worker.json.tmpl",
            source: Source::new("worker.json.tmpl", text),
            replaced: true,
        }
    }

    #[test]
    fn a_profile_as_the_seed_has_it_counts_for_its_arguments_and_what_would_not_count_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("early.cpio.gz"), "").unwrap();
        let text = r#"{"id": "worker", "name": "worker", "ignition_id": "worker.ign", "boot": {
            "kernel": "/assets/flatcar/current/flatcar_production_pxe.vmlinuz",
            "initrd": ["early.cpio.gz", "/assets/flatcar/current/flatcar_production_pxe_image.cpio.gz"],
            "args": ["initrd=flatcar_production_pxe_image.cpio.gz", "flatcar.first_boot=1", "console=ttyS0",
                     "flatcar.config.url=http://10.0.0.2:8080/ignition?mac=x"]}}"#;
        let read = |text: &str| profile(&template(text), text, "worker", "10.0.0.2", directory.path());
        let adds = read(text).unwrap();
        assert_eq!(
            adds,
            Adds {
                args: vec!["console=ttyS0".into()],
                initrds: vec![directory.path().join("early.cpio.gz")]
            }
        );
        for (from, to, words) in [
            ("\"id\": \"worker\"", "\"id\": \"gpu\"", "`id` is \"gpu\""),
            ("worker.ign", "other.ign", "`ignition_id` is"),
            ("flatcar_production_pxe.vmlinuz", "vmlinuz", "`boot.kernel` is"),
            ("early.cpio.gz", "lost.cpio.gz", "there is no file"),
            ("10.0.0.2", "10.0.0.3", "names another server"),
            ("\"ignition_id\"", "\"cloud_id\"", "`cloud_id` has no effect"),
            ("\"name\"", "\"nam\"", "a profile has no `nam`"),
        ] {
            let refused = read(&text.replace(from, to)).unwrap_err().to_string();
            assert!(refused.contains(words), "no {words:?} in {refused}");
        }
    }

    #[test]
    fn a_group_as_the_seed_has_it_is_its_node_and_its_uuid_counts() {
        let text = r#"{"id": "c1", "name": "c1", "profile": "controller", "selector": {"mac": "52-54-00-00-00-0A", "uuid": "u"},
            "metadata": {"node_ip": "10.0.0.11"}}"#;
        let read =
            |text: &str| group(&template(text), text, ["c1", "10.0.0.11", "52:54:00:00:00:0a", "controller"]);
        assert_eq!(read(text).unwrap().as_deref(), Some("u"));
        for (from, to, words) in [
            ("\"controller\"", "\"gpu\"", "`profile` is \"gpu\""),
            ("0A", "0B", "selected by its card"),
            ("10.0.0.11", "gpu", "`metadata.node_ip` reaches no machine"),
        ] {
            let refused = read(&text.replace(from, to)).unwrap_err().to_string();
            assert!(refused.contains(words), "no {words:?} in {refused}");
        }
    }
}
