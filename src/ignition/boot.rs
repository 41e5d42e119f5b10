//! Finds parts of a valid config that will certainly fail when a machine boots, or that have no effect on Flatcar.
//!
//! Before the boot, Ignition checks only a config's text. The behaviour of its later stages can be predicted too, if
//! the config contains everything that they depend on: the order of files
//! (`internal/exec/stages/files/filesystemEntries.go`), mounts (`stages/mount`), contents and their hashes
//! (`internal/resource/url.go`), users (`stages/files/passwd.go`, shadow's `useradd`). An error here is a boot that
//! ends in the emergency shell; a failure that is only possible is a warning.

use std::collections::HashMap;
use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use prebake_text::finding::{Finding, Severity, Source};
use prebake_text::json::lossy;
use prebake_text::path::clean as clean_path;
use sha2::{Digest, Sha256, Sha512};

use super::report::located;
use super::schema::{self, Schema};
use super::spec::Spec;
use super::tree::{Node, Origin, Record, Value};
use super::{Config, data_url};

/// Most bytes to which a compressed content is decompressed for its checks.
const MAX_UNPACKED: u64 = 256 << 20;
/// Deepest nesting of configs inside configs that is followed.
const MAX_DEPTH: usize = 8;
/// Where the OEM partition was mounted, of which `/oem` has the contents today.
pub const OEM: &str = "/usr/share/oem";
/// Directory of units.
const UNITS: &str = "/etc/systemd/system";
/// The first major version that certainly mounts the OEM partition at `/oem` and has a link at `/usr/share/oem`
/// (scripts, `changelog/changes/2023-05-16-oem-mountpoint.md`).
const OEM_MOVED: u32 = 3760;
/// Directories that a booted system covers by a mount, hiding Ignition's files.
const MOUNTED_OVER: [&str; 5] = ["/run", "/tmp", "/dev", "/proc", "/sys"];
/// Links of the root file system into `/usr`.
const LINKS_INTO_USR: [&str; 4] = ["/bin", "/sbin", "/lib", "/lib64"];
/// User ids that every release uses (`baselayout`).
const USERS: [(i64, &str); 2] = [(0, "root"), (500, "core")];
/// Flatcar's own partitions (`build_library/disk_layout.json`).
const PARTITIONS: [(i64, &str); 8] = [
    (1, "EFI-SYSTEM"),
    (2, "BIOS-BOOT"),
    (3, "USR-A"),
    (4, "USR-B"),
    (5, "ROOT-C"),
    (6, "OEM"),
    (7, "OEM-CONFIG"),
    (9, "ROOT"),
];

/// The system that will read a config.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// Its major version.
    pub major: u32,
    /// The newest spec that its Ignition reads; nothing where it reads none of spec 3.
    pub newest: Option<Spec>,
}

/// Lists what fails at the boot and what has no effect, on a system if it is known which.
pub fn failures(config: &Config, system: Option<System>) -> Vec<Finding> {
    let mut boot = Boot { system, findings: Vec::new(), depth: 0, outer: None };
    boot.config(config);
    boot.findings
}

/// A simulated boot.
struct Boot {
    system: Option<System>,
    findings: Vec<Finding>,
    depth: usize,
    /// Origin of the embedded config that is being checked; its own places are not in a file that anybody wrote.
    outer: Option<Origin>,
}

/// A file, directory or link.
struct Entry<'c> {
    kind: &'static str,
    path: &'c str,
    record: &'c Record,
    origin: &'c Origin,
}

impl Boot {
    fn config(&mut self, config: &Config) {
        self.resources(&config.root);
        self.storage(&config.root);
        if let Some(passwd) = config.root.record("passwd") {
            self.numbers(passwd, "users", "uid");
            self.numbers(passwd, "groups", "gid");
        }
        for disk in config.root.record("storage").iter().flat_map(|storage| storage.records("disks")) {
            self.partitions(disk);
        }
    }

    fn push(&mut self, finding: Finding, origin: &Origin) {
        let finding = match &self.outer {
            Some(outer) => {
                let message = format!("in the embedded config: {}", finding.message);
                located(Finding { message, related: Vec::new(), ..finding }, outer, &[])
            }
            None => located(finding, origin, &[]),
        };
        self.findings.push(finding);
    }

    // Contents.

    fn resources(&mut self, record: &Record) {
        let resources: [&Schema; 3] = [&schema::RESOURCE, &schema::CONFIG_REFERENCE, &schema::AUTHORITY];
        if resources.iter().any(|schema| std::ptr::eq(*schema, record.schema)) {
            self.resource(record);
            return;
        }
        for node in record.fields().iter().flatten() {
            match &node.value {
                Value::Record(part) => self.resources(part),
                Value::List(items) => {
                    items.iter().filter_map(Node::as_record).for_each(|part| self.resources(part));
                }
                _ => {}
            }
        }
    }

    fn resource(&mut self, resource: &Record) {
        let Some(source) = resource.get("source").filter(|source| source.as_text() != Some("")) else {
            return;
        };
        let hash = resource.record("verification").and_then(|verification| verification.get("hash"));
        let sum = hash.and_then(|hash| Some((hash, hash.as_text()?.split_once('-')?)));
        if let Some((hash, (_, digits))) = sum
            && !digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            let finding = Finding::error("the hash is not hexadecimal: Ignition fails to parse it");
            self.push(finding.hint("take it from `sha512sum`"), &hash.origin);
            return;
        }
        let url = source.as_text().unwrap_or_default();
        let Ok(packed) = data_url::decode(url) else { return };
        let bytes = match resource.get("compression").filter(|method| method.as_text() == Some("gzip")) {
            None => packed,
            Some(method) => match unpack(&packed) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return,
                Err(error) => {
                    let text = format!("`compression: gzip` is set, but the contents are not gzip: {error}");
                    let mut finding = Finding::error(text)
                        .hint("drop `compression`: contents that Butane compresses itself do not need it");
                    if let Some(place) =
                        method.origin.place().filter(|at| Some(at) != source.origin.place().as_ref())
                    {
                        finding = finding.related(place, "`compression` is set here");
                    }
                    self.push(finding, &source.origin);
                    return;
                }
            },
        };
        if let Some((hash, (function, digits))) = sum {
            let is = match function {
                "sha512" => hex(&Sha512::digest(&bytes)),
                _ => hex(&Sha256::digest(&bytes)),
            };
            if !digits.eq_ignore_ascii_case(&is) {
                let text = format!("the contents do not match the hash: theirs is {function}-{is}");
                let finding = Finding::error(text);
                self.push(
                    finding.hint("contents that are in the config need no hash: drop it, or give this one"),
                    &hash.origin,
                );
            }
        }
        if std::ptr::eq(resource.schema, &schema::AUTHORITY) && !holds_certificate(&bytes) {
            let finding = Finding::error("a certificate authority without a PEM certificate");
            self.push(
                finding.hint("give the certificate itself, from `-----BEGIN CERTIFICATE-----` on"),
                &source.origin,
            );
        }
        if std::ptr::eq(resource.schema, &schema::CONFIG_REFERENCE) && self.depth < MAX_DEPTH {
            self.embedded(&bytes, &source.origin);
        }
    }

    fn embedded(&mut self, bytes: &[u8], origin: &Origin) {
        let inner = Source::new("embedded config", lossy(bytes));
        let checked = match Config::parse(&inner) {
            Ok(checked) => checked,
            // Flatcar translates specs 1 and 2, and treats a script or a cloud-config as no config at all.
            Err(_) if !is_refused(&inner.text) => return,
            Err(findings) => {
                let first = findings.0.into_iter().find(|finding| finding.severity == Severity::Error);
                if let Some(first) = first {
                    let at = first.path.map_or(String::new(), |path| format!(" at {path}"));
                    let text = format!("Ignition refuses the embedded config{at}: {}", first.message);
                    let finding = Finding { hint: first.hint, ..Finding::error(text) };
                    self.push(finding, origin);
                }
                return;
            }
        };
        let ceiling = self.system.and_then(|system| system.newest);
        if let Some(ceiling) = ceiling.filter(|ceiling| checked.config.spec() > *ceiling) {
            let text = format!(
                "the embedded config is of spec {}, and this release reads specs up to {ceiling}",
                checked.config.spec()
            );
            let finding =
                Finding::error(text).hint("`prebake ignition merge --spec` writes it at another spec");
            self.push(finding, origin);
        }
        let outer = self.outer.clone();
        self.outer.get_or_insert_with(|| origin.clone());
        self.depth += 1;
        self.config(&checked.config);
        self.depth -= 1;
        self.outer = outer;
    }

    // Paths.

    fn storage(&mut self, root: &Record) {
        let storage = root.record("storage");
        let kinds = [("directories", "directory"), ("files", "file"), ("links", "link")];
        let entries: Vec<Entry<'_>> = kinds
            .iter()
            .flat_map(|(list, kind)| {
                storage.iter().flat_map(move |part| part.list(list)).map(move |node| (*kind, node))
            })
            .filter_map(|(kind, node)| {
                let record = node.as_record()?;
                let path = record.get("path")?;
                Some(Entry { kind, path: path.as_text()?, record, origin: known(&path.origin, &node.origin) })
            })
            .collect();
        let mounts: Vec<(&str, &Origin)> = storage
            .iter()
            .flat_map(|part| part.list("filesystems"))
            .filter_map(|node| {
                let record = node.as_record()?;
                record.filled("format").filter(|format| !matches!(*format, "swap" | "none"))?;
                Some((record.filled("path")?, known(&record.get("path")?.origin, &node.origin)))
            })
            .collect();
        let units =
            root.record("systemd").iter().flat_map(|systemd| systemd.records("units")).collect::<Vec<_>>();
        self.files_in_the_way(&entries, &mounts, &units);
        for entry in &entries {
            self.entry(entry, &mounts);
        }
        for (path, origin) in &mounts {
            self.mount(path, origin);
        }
    }

    /// Files are created from the shallowest path to the deepest, after all mounts; nothing can be created below a
    /// file.
    fn files_in_the_way(&mut self, entries: &[Entry<'_>], mounts: &[(&str, &Origin)], units: &[&Record]) {
        let files: HashMap<&str, &Entry<'_>> =
            entries.iter().filter(|entry| entry.kind == "file").map(|entry| (entry.path, entry)).collect();
        for entry in entries {
            let Some(file) = ancestors(entry.path).find_map(|path| files.get(path)) else { continue };
            let text =
                format!("`{}` cannot be created: `{}` is a file in this config", entry.path, file.path);
            let finding = related(Finding::error(text), file.origin, "the file");
            self.push(
                finding.hint("make that a directory, or give one of the two another path"),
                entry.origin,
            );
        }
        for (mount, origin) in mounts {
            let above = entries.iter().filter(|entry| entry.kind != "directory");
            let mut above =
                above.filter(|entry| *mount == entry.path || ancestors(mount).any(|path| path == entry.path));
            if let Some(entry) = above.next() {
                let text = format!(
                    "the {} `{}` cannot be created: a file system is mounted at `{mount}`",
                    entry.kind, entry.path
                );
                self.push(related(Finding::error(text), origin, "mounted here"), entry.origin);
            }
        }
        for unit in units {
            let name = unit.text("name").unwrap_or_default();
            let dropins = unit.records("dropins").filter(|dropin| dropin.filled("contents").is_some());
            let path = match dropins.count() {
                0 => format!("{UNITS}/{name}"),
                _ => format!("{UNITS}/{name}.d/dropin"),
            };
            let written =
                unit.filled("contents").is_some() || unit.is_true("mask") || path.ends_with("/dropin");
            if let Some(file) = ancestors(&path).find_map(|path| files.get(path)).filter(|_| written) {
                let text =
                    format!("the unit `{name}` cannot be written: `{}` is a file in this config", file.path);
                self.push(Finding::error(text), file.origin);
            }
        }
    }

    fn entry(&mut self, entry: &Entry<'_>, mounts: &[(&str, &Origin)]) {
        let Entry { kind, path, record, origin } = *entry;
        if path == "/" && kind != "directory" {
            let text = format!("the root directory cannot become a {kind}");
            self.push(Finding::error(text), origin);
        }
        let below = |directory: &str| path == directory || ancestors(path).any(|above| above == directory);
        let mounted = mounts.iter().any(|(mount, _)| below(mount) && *mount != "/");
        if below("/usr") && !below(OEM) && !mounted {
            let text = format!("`{path}` cannot be created: /usr is read-only on Flatcar");
            let hint = match path.starts_with("/usr/lib/systemd/") {
                true => "units go below /etc/systemd/system",
                false => {
                    "programs go to /opt/bin, settings below /etc; what must be in /usr comes in a sysext"
                }
            };
            self.push(Finding::error(text).hint(hint), origin);
        } else if let Some(link) = LINKS_INTO_USR.iter().find(|link| below(link) && !mounted) {
            let text = format!("`{link}` is a link into /usr, which is read-only on Flatcar");
            self.push(Finding::warning(text).hint("programs go to /opt/bin"), origin);
        } else if let Some(over) = MOUNTED_OVER.iter().find(|over| below(over) && !mounted && path != **over)
        {
            let text =
                format!("`{path}` will be hidden: the booted system mounts another file system at {over}");
            self.push(Finding::warning(text).hint("create it with a unit or tmpfiles.d"), origin);
        }
        let target = if kind == "link" { record.filled("target") } else { None };
        if let Some(target) = target {
            let hard = record.is_true("hard");
            let absolute = match hard || target.starts_with('/') {
                true => format!("/{}", target.trim_start_matches('/')),
                false => format!("{}/{target}", ancestors(path).next().unwrap_or("/")),
            };
            if clean_path(&absolute) == path {
                let text = format!("`{path}` is a link to itself");
                // A hard link needs its target; a symbolic link is created and dangles.
                self.push(if hard { Finding::error(text) } else { Finding::warning(text) }, origin);
            }
        }
    }

    fn mount(&mut self, path: &str, origin: &Origin) {
        if path == OEM {
            let text = "the OEM partition is mounted at /oem, and /usr/share/oem is a link to it";
            let finding = match self.system {
                Some(system) if system.major >= OEM_MOVED => {
                    Finding::error(format!("nothing can be mounted here: {text}"))
                }
                // Older releases race with their own mount (flatcar/Flatcar#979).
                _ => Finding::warning(format!("this may fail at the boot: from {OEM_MOVED} on {text}")),
            };
            self.push(finding.hint("write `path: /oem`"), origin);
        } else if path.starts_with("/usr/") {
            let text = format!("`{path}` must be there to be mounted at: /usr is read-only on Flatcar");
            self.push(Finding::warning(text).hint("mount it below /var, /opt or /srv"), origin);
        }
    }

    // Users and disks.

    /// Finds users or groups with the same number: `useradd` and `groupadd` refuse the second.
    fn numbers(&mut self, passwd: &Record, list: &'static str, field: &'static str) {
        let mut seen: HashMap<i64, (&str, &Origin)> = HashMap::new();
        for node in passwd.list(list) {
            let Some(record) = node.as_record() else { continue };
            let Some(number) = record.get(field).filter(|_| record.flag("shouldExist") != Some(false)) else {
                continue;
            };
            let (name, origin) = (record.text("name").unwrap_or_default(), &number.origin);
            let Some(id) = record.int(field) else { continue };
            let stock = USERS.iter().find(|(known, owner)| *known == id && *owner != name);
            if let Some((_, owner)) = stock {
                let text =
                    format!("`{name}` cannot have {field} {id}, which belongs to Flatcar's own `{owner}`");
                self.push(Finding::error(text).hint("numbers from 1000 on are free"), origin);
            } else if let Some((first, at)) = seen.insert(id, (name, origin)) {
                let text = format!("`{name}` cannot have {field} {id}, which belongs to `{first}`");
                self.push(related(Finding::error(text), at, "first given here"), origin);
            }
        }
    }

    /// Ignition identifies partitions by number; one without a number becomes a new one, whatever its label
    /// (butane#243).
    fn partitions(&mut self, disk: &Record) {
        let fresh = disk.is_true("wipeTable");
        for node in disk.list("partitions") {
            let Some(partition) = node.as_record().filter(|part| part.flag("shouldExist") != Some(false))
            else {
                continue;
            };
            let number = partition.int("number").unwrap_or_default();
            let Some(label) = partition.get("label").filter(|label| label.as_text() != Some("")) else {
                continue;
            };
            let name = label.as_text().unwrap_or_default();
            let own = PARTITIONS.iter().find(|(_, own)| own.eq_ignore_ascii_case(name));
            let finding = match own {
                Some((known, own)) if number != *known && !fresh => Some(
                    Finding::warning(format!(
                        "this makes a second partition `{own}`: Flatcar's own is number {known}"
                    ))
                    .hint(format!("add `number: {known}` to use that one, or choose another label")),
                ),
                _ if number == 0 && partition.is_true("resize") => Some(
                    Finding::warning("`resize` has no effect without a `number`: a new partition is made")
                        .hint("give the number of the partition that is to be resized"),
                ),
                _ => None,
            };
            if let Some(finding) = finding {
                self.push(finding, known(&label.origin, &node.origin));
            }
        }
    }
}

/// The origin of a part, or of its container if the part has none.
fn known<'o>(part: &'o Origin, whole: &'o Origin) -> &'o Origin {
    if part.is_known() { part } else { whole }
}

fn related(finding: Finding, origin: &Origin, why: &str) -> Finding {
    match origin.place() {
        Some(place) => finding.related(place, why),
        None => finding,
    }
}

/// The directories that contain a path, the nearest first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.char_indices()
        .rev()
        .filter(|(_, c)| *c == '/')
        .map(|(at, _)| if at == 0 { "/" } else { &path[..at] })
}

/// Decompresses gzip; `None` if the result is too large to check.
fn unpack(packed: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    if packed.is_empty() {
        return Err(std::io::Error::other("it is empty"));
    }
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed).take(MAX_UNPACKED + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MAX_UNPACKED).then_some(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn holds_certificate(bytes: &[u8]) -> bool {
    bytes.is_empty() || String::from_utf8_lossy(bytes).contains("-----BEGIN ")
}

/// Whether Flatcar certainly refuses a config that prebake refuses: it states spec 3, or it is not recognisable at all.
fn is_refused(text: &str) -> bool {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => value["ignition"]["version"].as_str().is_some_and(|version| version.starts_with("3.")),
        Err(_) => !text.is_empty() && !text.starts_with('#'),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Transpile, transpile};
    use super::*;
    use prebake_text::finding::Place;

    fn said(text: &str, major: Option<u32>) -> Vec<String> {
        let source = Source::new("c.bu", format!("variant: flatcar\nversion: 1.1.0\n{text}"));
        let config = transpile(&source, &Transpile::default()).unwrap().config;
        let line = |place: &Option<Place>| place.as_ref().map_or(0, |place| place.line);
        let system = major.map(|major| System { major, newest: Some(Spec::V3_4) });
        failures(&config, system)
            .iter()
            .map(|found| format!("{} {}: {}", found.severity, line(&found.place), found.message))
            .collect()
    }

    /// butane#730 = ignition#2282, flatcar#2001: the real Ignition hung in the emergency shell.
    #[test]
    fn contents_that_are_not_what_is_said_of_them_fail() {
        let files = |contents: &str| {
            said(&format!("storage: {{files: [{{path: /a, contents: {contents}}}]}}\n"), None)
        };
        assert!(
            files("{compression: gzip, inline: not compressed}")[0]
                .contains("error 3: `compression: gzip` is set, but")
        );
        assert!(files("{compression: gzip, source: 'data:,'}")[0].contains("it is empty"));
        let hash = "0".repeat(128);
        assert!(
            files(&format!("{{inline: x, verification: {{hash: sha512-{hash}}}}}"))[0]
                .contains("do not match the hash")
        );
        let odd = "x".repeat(128);
        let fetched = format!("{{source: 'http://h.invalid/x', verification: {{hash: sha512-{odd}}}}}");
        assert!(files(&fetched)[0].contains("not hexadecimal"));
        let right = hex(&Sha512::digest(b"x"));
        assert!(files(&format!("{{inline: x, verification: {{hash: sha512-{right}}}}}")).is_empty());
        assert!(files(&format!("{{inline: {}}}", "x".repeat(2000))).is_empty());
        let merged = said(
            "ignition: {config: {merge: [{inline: '{\"ignition\": {\"version\": \"3.4.0\"}, \"storage\": {\"files\": [{\"path\": \"/usr/x\"}]}}'}]}}\n",
            None,
        );
        assert!(merged[0].contains("in the embedded config: `/usr/x`"), "{merged:?}");
        let old = said(
            "ignition: {config: {merge: [{source: 'data:,%7B%22ignition%22:%7B%22version%22:%223.6.0%22%7D%7D'}]}}\n",
            Some(4593),
        );
        assert!(old[0].contains("of spec 3.6.0"), "{old:?}");
    }

    /// ignition#1457, and the real Ignition's "not a directory".
    #[test]
    fn nothing_can_be_made_below_a_file() {
        let text = "storage:\n  files: [{path: /opt/tool}, {path: /opt/tool/a/b}, {path: /data}, {path: /etc/systemd}]\n  directories: [{path: /opt/tool/c}]\n  filesystems: [{device: /dev/vdb, format: ext4, path: /data/x}]\nsystemd: {units: [{name: a.service, contents: '[Unit]'}]}\n";
        let said = said(text, None);
        assert_eq!(said.len(), 4, "{said:#?}");
        assert!(said.iter().all(|text| text.starts_with("error")), "{said:#?}");
    }

    /// flatcar#434, #979, #979.
    #[test]
    fn usr_is_read_only_and_the_oem_partition_is_mounted_elsewhere() {
        let text = "storage:\n  files: [{path: /usr/local/bin/tool}, {path: /usr/share/oem/x}, {path: /bin/x}, {path: /run/x}]\n  directories: [{path: /usr/a}]\n  filesystems: [{device: /dev/disk/by-label/OEM, format: btrfs, path: /usr/share/oem}]\n";
        let kinds = |major| -> Vec<String> {
            said(text, major).iter().map(|text| text.split(' ').next().unwrap().to_owned()).collect()
        };
        assert_eq!(kinds(Some(4593)), ["error", "error", "warning", "warning", "error"]);
        assert_eq!(kinds(None), ["error", "error", "warning", "warning", "warning"]);
        let mounted = "storage:\n  files: [{path: /usr/local/bin/tool}]\n  filesystems: [{device: /dev/vdb, format: ext4, path: /usr/local}]\n";
        assert!(said(mounted, None).iter().all(|text| text.starts_with("warning")));
    }

    #[test]
    fn two_users_cannot_have_one_number() {
        let text = "passwd:\n  users: [{name: core, uid: 500}, {name: a, uid: 500}, {name: b, uid: 1001}, {name: c, uid: 1001}]\n";
        let said = said(text, None);
        assert_eq!(
            said,
            [
                "error 4: `a` cannot have uid 500, which belongs to Flatcar's own `core`",
                "error 4: `c` cannot have uid 1001, which belongs to `b`"
            ]
        );
    }

    /// butane#243, fedora-coreos-tracker#825, flatcar/scripts#4077.
    #[test]
    fn a_label_of_flatcar_s_own_needs_its_number() {
        let part = |disk: &str, part: &str| {
            said(
                &format!("storage: {{disks: [{{device: /dev/sda, {disk}partitions: [{{{part}}}]}}]}}\n"),
                None,
            )
        };
        for label in ["ROOT", "OEM", "USR-A", "EFI-SYSTEM", "root"] {
            assert!(
                part("", &format!("label: {label}, resize: true, size_mib: 9"))[0]
                    .contains("a second partition"),
                "{label}"
            );
        }
        assert!(part("", "label: ROOT, number: 9, resize: true, size_mib: 9").is_empty());
        assert!(part("wipe_table: true, ", "label: ROOT, size_mib: 9").is_empty());
        assert!(part("", "label: data, resize: true, size_mib: 9")[0].contains("`resize` has no effect"));
        assert!(part("", "label: data, size_mib: 9").is_empty());
    }
}
