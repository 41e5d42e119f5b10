//! Rules about containerd's configuration: whether it is read, by which containerd, and whether it suits the kubelet.

use super::super::extension::Error;
use super::super::merge::{Merge, usr_path};
use super::Breach;
use super::clusters::{documents, imports, kubernetes};
use super::forms::files;
use crate::flatcar::quirks;

/// Config file with which Flatcar's containerd is started (`coreos/sysext/containerd`).
const DEFAULT: &str = "/usr/share/containerd/config.toml";
const PROGRAM: &str = "usr/bin/containerd";

/// kubeadm's pause image, by the minor version of Kubernetes 1 from which on it is used (`cmd/kubeadm/app/constants`).
const KUBEADM_PAUSE: [(u32, &str); 4] = [(36, "3.10.2"), (34, "3.10.1"), (31, "3.10"), (30, "3.9")];
/// containerd's own default pause image, by the version from which on it is used (`internal/cri/config`).
const CONTAINERD_PAUSE: [((u32, u32), &str); 4] =
    [((2, 3), "3.10.2"), ((2, 2), "3.10.1"), ((2, 0), "3.10"), ((1, 7), "3.8")];
/// The newest version of the config file that containerd reads, by containerd's version.
const NEWEST_CONFIG: [((u32, u32), u32); 3] = [((2, 3), 4), ((2, 0), 3), ((1, 0), 2)];

/// The relevant keys of a config file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Config {
    version: Option<u32>,
    sandbox: Option<String>,
    systemd_cgroup: bool,
}

impl Config {
    /// Reads the few keys line by line, relying on full table names, which all known config files use.
    fn parse(text: &str) -> Self {
        let mut config = Config::default();
        let mut table = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                table = name.replace(['"', '\'', ' '], "");
            } else if let Some((key, value)) = line.split_once('=') {
                let value = value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
                match key.trim() {
                    "version" if table.is_empty() => config.version = value.parse().ok(),
                    "sandbox_image" => config.sandbox = Some(value.to_owned()),
                    "sandbox" if table.ends_with("pinned_images") => config.sandbox = Some(value.to_owned()),
                    "SystemdCgroup" if table.contains(".runtimes.runc") => {
                        config.systemd_cgroup = value == "true"
                    }
                    _ => {}
                }
            }
        }
        config
    }
}

/// The image with which containerd starts pods by this config, if it names one.
pub(crate) fn sandbox_image(config: &str) -> Option<String> {
    Config::parse(config).sandbox
}

/// Path of the config file that containerd is told to read.
fn path_in_force(merge: &Merge) -> String {
    let units = merge.units();
    let Some(unit) = units.get("containerd.service") else { return DEFAULT.into() };
    let flag = unit.commands("ExecStart").into_iter().find_map(|line| {
        let mut words = line.assignment.value.split_whitespace();
        words.find(|word| ["--config", "-c"].contains(word))?;
        words.next().filter(|path| path.starts_with('/')).map(str::to_owned)
    });
    let variable =
        unit.list("Service", "Environment").into_iter().rev().find_map(|(word, _)| {
            word.trim_matches('"').strip_prefix("CONTAINERD_CONFIG=").map(str::to_owned)
        });
    flag.or(variable).unwrap_or_else(|| DEFAULT.into())
}

/// The effective config, if it is in one of the extensions, with a breach at its place.
fn in_force<'m>(merge: &Merge<'m>) -> Option<(Breach, Config)> {
    let path = usr_path(&path_in_force(merge))?;
    let (index, text) = merge.text(&path)?;
    Some((Breach::of(merge.extensions()[index]).at(&path), Config::parse(&text)))
}

/// Version of the containerd that will run: the extensions' program, whose Go module name reveals the major version,
/// else the release's.
fn version_in_force(merge: &Merge) -> Result<Option<(u32, u32)>, Error> {
    let Some((index, _)) = merge.entry(PROGRAM) else {
        return Ok(merge.release.and_then(quirks::containerd));
    };
    let program = merge.extensions()[index].read(PROGRAM)?;
    let says = |name: &[u8]| program.windows(name.len()).any(|window| window == name);
    Ok(match () {
        _ if says(b"github.com/containerd/containerd/v2/") => Some((2, 0)),
        _ if says(b"github.com/containerd/containerd/") => Some((1, 7)),
        _ => None,
    })
}

/// The value for a version, from a table sorted from new to old.
fn since<V: PartialOrd, T: Copy>(table: &[(V, T)], version: V) -> Option<T> {
    table.iter().find(|(from, _)| version >= *from).map(|(_, value)| *value)
}

pub(super) fn version(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let mut configs = Vec::new();
    for extension in merge.extensions() {
        let is_config =
            |path: &&str| path.ends_with(".toml") && path.split('/').any(|part| part == "containerd");
        for path in files(extension).map(|(path, _)| path).filter(is_config) {
            let written = Config::parse(&extension.text(path)?).version;
            configs.extend(written.map(|version| (Breach::of(extension).at(path), version)));
        }
    }
    if configs.is_empty() {
        return Ok(Vec::new());
    }
    let Some(containerd @ (major, minor)) = version_in_force(merge)? else { return Ok(Vec::new()) };
    let newest = since(&NEWEST_CONFIG, containerd).unwrap_or(u32::MAX);
    let too_new = configs.into_iter().filter(|(_, version)| *version > newest);
    let detail =
        |version| format!("it is `version = {version}`, and containerd {major}.{minor} reads up to {newest}");
    Ok(too_new.map(|(breach, version)| breach.saying(detail(version))).collect())
}

pub(super) fn ignored(merge: &Merge) -> Result<Vec<Breach>, Error> {
    if path_in_force(merge).starts_with("/etc/containerd/") {
        return Ok(Vec::new());
    }
    let mut breaches = Vec::new();
    for extension in merge.extensions() {
        for path in
            files(extension).map(|(path, _)| path).filter(|path| path.starts_with("usr/lib/tmpfiles.d/"))
        {
            let text = extension.text(path)?;
            let writes = |line: &str| {
                let mut words = line.split_whitespace();
                let kind = words.next().unwrap_or_default();
                let target = words.next().unwrap_or_default();
                kind.starts_with(['C', 'L', 'f', 'w'])
                    && target.starts_with("/etc/containerd/")
                    && target.ends_with(".toml")
            };
            if let Some(line) = text.lines().find(|line| writes(line)) {
                breaches.push(Breach::of(extension).at(path).saying(format!("`{line}`")));
            }
        }
    }
    Ok(breaches)
}

/// The cgroup driver that a kubelet's configuration in one of the extensions names.
fn kubelet_driver(merge: &Merge) -> Result<Option<String>, Error> {
    for extension in merge.extensions() {
        for path in files(extension).map(|(path, _)| path).filter(|path| path.ends_with(".yaml")) {
            let text = extension.text(path)?;
            if !text.contains("cgroupDriver") {
                continue;
            }
            let drivers = documents(&text);
            let driver = drivers.iter().find_map(|document| document.get("cgroupDriver")?.scalar());
            if let Some(driver) = driver {
                return Ok(Some(driver.to_owned()));
            }
        }
    }
    Ok(None)
}

pub(super) fn cgroup_driver(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let Some((breach, config)) = in_force(merge) else { return Ok(Vec::new()) };
    let written = kubelet_driver(merge)?;
    // kubeadm's default, if an extension contains a kubelet.
    let kubelet = merge.entry("usr/bin/kubelet").map(|_| "systemd".to_owned());
    let Some(driver) = written.or(kubelet) else { return Ok(Vec::new()) };
    let own = if config.systemd_cgroup { "systemd" } else { "cgroupfs" };
    let differs = || breach.saying(format!("containerd uses {own}, the kubelet {driver}"));
    Ok((own != driver).then(differs).into_iter().collect())
}

pub(super) fn sandbox(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let Some((1, minor)) = kubernetes(merge) else { return Ok(Vec::new()) };
    let Some(wanted) = since(&KUBEADM_PAUSE, minor) else { return Ok(Vec::new()) };
    let tag = |image: &str| image.rsplit(':').next().unwrap_or_default().to_owned();
    let (breach, used, whose) = match in_force(merge) {
        Some((breach, Config { sandbox: Some(image), .. })) => (breach, tag(&image), "its config"),
        found => {
            // containerd's own default matters if the pause image cannot be pulled from a registry.
            let imports = imports(merge);
            let of = version_in_force(merge)?.and_then(|version| since(&CONTAINERD_PAUSE, version));
            let (Some(default), false) = (of, imports.is_empty()) else { return Ok(Vec::new()) };
            let kubelet = || Some(Breach::of(merge.extensions()[merge.entry("usr/bin/kubelet")?.0]));
            let Some(breach) = found.map(|(breach, _)| breach).or_else(kubelet) else {
                return Ok(Vec::new());
            };
            (breach.doubtful(), default.to_owned(), "its default")
        }
    };
    let detail = format!("containerd uses pause:{used} by {whose}, kubeadm 1.{minor} brings pause:{wanted}");
    Ok((used != wanted).then(|| breach.saying(detail)).into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_configs_are_read() {
        let old = "version = 2 # c\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"r/pause:3.9\"\n\
            [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = true\n";
        let new = "version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = 'r/pause:3.10'\n\
            [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n  SystemdCgroup = false\n";
        let config = |version, pause: &str, systemd_cgroup| Config {
            version: Some(version),
            sandbox: Some(format!("r/pause:{pause}")),
            systemd_cgroup,
        };
        assert_eq!(Config::parse(old), config(2, "3.9", true));
        assert_eq!(Config::parse(new), config(3, "3.10", false));
    }

    #[test]
    fn tables_give_the_newest_row_that_holds() {
        assert_eq!(since(&NEWEST_CONFIG, (1, 7)), Some(2));
        assert_eq!(since(&NEWEST_CONFIG, (2, 1)), Some(3));
        assert_eq!(since(&KUBEADM_PAUSE, 33), Some("3.10"));
        assert_eq!(since(&KUBEADM_PAUSE, 29), None);
    }
}
