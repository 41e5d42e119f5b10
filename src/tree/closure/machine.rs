//! References in the files of a machine: units, scripts, manifests of Kubernetes, configs of kubeadm and containerd,
//! definitions for systemd-sysupdate, and the lists of `prebake-images`.
//!
//! A file's kind is known by its path and its first bytes, just as the programs that read it know it. Mirrors that
//! containerd may ask instead (`hosts.toml`) are not needed for anything, and are ignored.

use std::sync::Arc;

use super::graph::Kind;
use super::kubeadm;
use super::reference::{Reference, Rule, names_host, urls};
use crate::base::finding::Source;
use crate::base::yaml::{self, Kind as Yaml, Node};
use crate::registry::reference::ImageRef;
use crate::sysext::rules::sandbox_image;
use crate::sysext::unit::{self, Assignment};
use crate::tree::names::{
    INSTALL_CONF, INSTALL_CONFIG, INSTALL_SERVER, INSTALL_STOCK, INSTALL_VERSION, is_image_list,
};

/// Upper limit for a text, in bytes; longer files count as data.
pub(super) const MAX_TEXT: u64 = 8 << 20;
/// Number of first bytes that decide whether a file is a text.
pub(super) const PROBE: usize = 8000;
/// Words in a script's line that mean that the line fetches something.
const FETCHERS: [&str; 8] = ["curl", "wget", "fetch", "clone", "pull", "apply", "install", "download"];
/// Flags that name the sandbox image for a kubelet or containerd.
const SANDBOX_FLAGS: [&str; 2] = ["--pod-infra-container-image", "--pod-sandbox-image"];

/// All references in a file. A file that is not a text has none.
pub(super) fn references(path: &str, bytes: &[u8]) -> Vec<Reference> {
    if bytes.len() as u64 > MAX_TEXT || bytes[..bytes.len().min(PROBE)].contains(&0) {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(bytes);
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        _ if is_image_list(path) => archives(&text),
        "conf" | "transfer" if path.contains("/sysupdate.") => update(&text),
        _ if path.contains("/containers/systemd/") => quadlet(&text),
        _ if path.contains("/systemd/") && is_unit(path, extension) => of_unit(&text),
        "yaml" | "yml" | "json" => manifests(path, &text),
        "toml" if path.contains("containerd") => containerd(&text),
        _ if path == INSTALL_CONF => installation(&text),
        _ if text.starts_with("#!") => script(&text),
        _ => flags(&text),
    }
}

fn is_unit(path: &str, extension: &str) -> bool {
    let drop_in = extension == "conf" && path.contains(".d/");
    drop_in || ["service", "socket", "timer", "path", "mount", "target"].contains(&extension)
}

/// `SHA256 SIZE PLACE REFERENCE MANIFEST NAME…` a line (`steps::carried`).
fn archives(text: &str) -> Vec<Reference> {
    let row = |(index, line): (usize, &str)| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [sha256, size, place, ..] = words.as_slice() else { return None };
        let rule = Rule::Archive { sha256: sha256.parse().ok()?, size: size.parse().ok()? };
        Some(Reference::new(Some(index + 1), Kind::Archive, *place, rule))
    };
    text.lines().enumerate().filter_map(row).collect()
}

/// sysupdate.d(5): versions come from a URL, or from a directory or a partition, which are the machine's own.
pub(super) fn update(text: &str) -> Vec<Reference> {
    let assignments = unit::assignments(text);
    let source = |key: &str| {
        let of = assignments.iter().filter(|line| line.section == "Source" && line.key == key);
        of.map(|line| line.value.as_str()).collect::<Vec<_>>()
    };
    let is_url = source("Type").last().is_some_and(|kind| kind.starts_with("url-"));
    let Some(path) = source("Path").last().copied().filter(|_| is_url) else { return Vec::new() };
    let written = assignments.iter().rev().find(|line| line.section == "Source" && line.key == "Path");
    let line = written.map(|assignment| assignment.line);
    let patterns = source("MatchPattern").join(" ").split_whitespace().map(str::to_owned).collect();
    let verify = assignments.iter().rev().find(|line| line.section == "Transfer" && line.key == "Verify");
    let signed = verify.is_none_or(|line| !["no", "false", "0", "off"].contains(&line.value.as_str()));
    vec![Reference::new(line, Kind::Update, path, Rule::Update { patterns, signed })]
}

/// Files that the `install` sysext fetches because of `install.conf`; their base is the server's, or one of their own.
fn installation(text: &str) -> Vec<Reference> {
    let value = |key: &str| {
        let mut lines = text.lines().enumerate();
        lines.find_map(|(index, line)| {
            let value = line.strip_prefix(key)?.strip_prefix('=')?.trim_matches('\'');
            Some((index + 1, value.to_owned()))
        })
    };
    let mut found = Vec::new();
    if let (Some((line, stock)), Some((_, version))) = (value(INSTALL_STOCK), value(INSTALL_VERSION)) {
        let image = format!("/{stock}/{version}/{}", crate::flatcar::board::DISK);
        found.push(Reference::location(Some(line), Kind::Disk, image));
    }
    if let Some((line, config)) = value(INSTALL_CONFIG) {
        found.push(Reference::location(Some(line), Kind::Config, format!("/{config}")));
    }
    if let Some((line, base)) = value(INSTALL_SERVER).filter(|(_, base)| !base.is_empty()) {
        found.push(Reference::location(Some(line), Kind::Server, base));
    }
    found
}

/// Podman's units: `Image=` of a container.
fn quadlet(text: &str) -> Vec<Reference> {
    let image = |(index, line): (usize, &str)| {
        let image = line.trim().strip_prefix("Image=")?.trim();
        // It may be built by another unit of the same directory.
        let other = [".image", ".build"].iter().any(|suffix| image.ends_with(suffix));
        (!image.is_empty() && !other).then(|| Reference::image(Some(index + 1), image))
    };
    text.lines().enumerate().filter_map(image).chain(of_unit(text)).collect()
}

/// References in the commands of a unit and in their environment.
fn of_unit(text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    for Assignment { line, key, value, .. } in unit::assignments(text) {
        if key.starts_with("Exec") || key == "Environment" {
            found.extend(command(line, &value));
            found.extend(
                urls(&value).filter(|url| names_host(url)).map(|url| Reference::url(Some(line), url)),
            );
        }
    }
    found
}

/// URLs that a shell script fetches, line by line. A URL in any other line may as well be advice to a person.
fn script(text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let fetches =
            || line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| FETCHERS.contains(&word));
        if line.starts_with('#') || line.starts_with("echo ") || !fetches() {
            continue;
        }
        found.extend(command(index + 1, line));
        found
            .extend(urls(line).filter(|url| names_host(url)).map(|url| Reference::url(Some(index + 1), url)));
    }
    found
}

/// Files of flags, such as `/var/lib/kubelet/kubeadm-flags.env`.
fn flags(text: &str) -> Vec<Reference> {
    let lines = text.lines().enumerate();
    lines.flat_map(|(index, line)| sandbox(index + 1, line).collect::<Vec<_>>()).collect()
}

/// The images that a command names.
fn command(line: usize, text: &str) -> Vec<Reference> {
    let words: Vec<&str> = text.split_whitespace().map(|word| word.trim_matches(['"', '\'', ';'])).collect();
    let mut found: Vec<Reference> = sandbox(line, text).collect();
    for (index, word) in words.iter().enumerate() {
        let pulled = *word == "pull";
        let image = match pulled {
            true => words[index + 1..].iter().find(|word| !word.starts_with('-')).copied(),
            false => is_plainly_image(word).then_some(*word),
        };
        // Skip words that a shell fills in, and git's `pull`.
        let image = image.filter(|image| !image.contains(['$', '|', '&']) && image.contains(['/', ':']));
        found.extend(image.map(|image| Reference::image(Some(line), image)));
    }
    if words.windows(2).any(|pair| pair[0].ends_with("kubeadm") && pair[1] == "init") {
        found.extend(kubeadm::of_flags(line, &words));
    }
    found.dedup();
    found
}

fn sandbox(line: usize, text: &str) -> impl Iterator<Item = Reference> {
    let of = move |flag: &'static str| {
        let (_, rest) = text.split_once(flag)?;
        let image = rest.trim_start_matches(['=', ' ']).split([' ', '"', '\'']).next().unwrap_or_default();
        let filled_in = image.contains('$');
        (!image.is_empty() && !filled_in).then(|| Reference::image(Some(line), image))
    };
    SANDBOX_FLAGS.into_iter().filter_map(of)
}

/// `HOST.DOMAIN/NAME:TAG`, or with a digest: nothing else on a command line looks like that.
fn is_plainly_image(word: &str) -> bool {
    let Some((host, rest)) = word.split_once('/') else { return false };
    let last = rest.rsplit('/').next().unwrap_or_default();
    let plain = !word.contains("://") && !word.contains('=') && !host.is_empty();
    plain
        && host.contains('.')
        && !host.starts_with('.')
        && last.contains(':')
        && word.parse::<ImageRef>().is_ok()
}

fn containerd(text: &str) -> Vec<Reference> {
    let Some(image) = sandbox_image(text) else { return Vec::new() };
    let line = text.lines().position(|line| !line.trim_start().starts_with('#') && line.contains(&image));
    vec![Reference::image(line.map(|line| line + 1), image)]
}

/// References in every document of a YAML or JSON file.
fn manifests(path: &str, text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut documents: Vec<(usize, Node)> = Vec::new();
    for (before, part) in split(text) {
        let source: Arc<Source> = Source::new(path, part);
        match yaml::parse(&source) {
            Ok(root) => documents.push((before, root)),
            // Mostly a template; images that are written out in it still count.
            Err(_) => found.extend(plain_images(before, part)),
        }
    }
    for (before, root) in &documents {
        let is_manifest = ["apiVersion", "services"].iter().any(|key| root.get(key).is_some());
        if is_manifest {
            images(*before, root, &mut found);
        }
    }
    found.extend(kubeadm::of_documents(&documents));
    found
}

/// The documents of a text, each with the number of lines above it.
fn split(text: &str) -> Vec<(usize, &str)> {
    let (mut parts, mut start, mut first) = (Vec::new(), 0, 0);
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" {
            parts.push((first, &text[start..at]));
            (start, first) = (at + line.len(), number + 1);
        }
        at += line.len();
    }
    parts.push((first, &text[start..]));
    parts.retain(|(_, part)| !part.trim().is_empty());
    parts
}

fn images(before: usize, node: &Node, found: &mut Vec<Reference>) {
    match &node.kind {
        Yaml::Scalar(..) => {}
        Yaml::Sequence(items) => items.iter().for_each(|item| images(before, item, found)),
        Yaml::Mapping(entries) => {
            for (key, value) in entries {
                // A volume that is an image has its name one level below, as `reference`.
                let image = match key.scalar() {
                    Some("image") => value.scalar().map(|text| (value, text)).or_else(|| {
                        let reference = value.get("reference")?;
                        Some((reference, reference.scalar()?))
                    }),
                    _ => None,
                };
                match image.filter(|(_, text)| !text.is_empty()) {
                    Some((node, text)) => {
                        found.push(Reference::image(Some(before + node.start.line), text));
                    }
                    None => images(before, value, found),
                }
            }
        }
    }
}

/// `image: REFERENCE` in lines of a text that is not YAML.
fn plain_images(before: usize, text: &str) -> Vec<Reference> {
    let image = |(index, line): (usize, &str)| {
        let value = line.trim().trim_start_matches("- ").strip_prefix("image:")?;
        let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| Reference::image(Some(before + index + 1), value))
    };
    text.lines().enumerate().filter_map(image).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_file_is_looked_through_and_what_it_names_has_a_line_of_it(
            path in prop::sample::select(vec![
                "/etc/kubernetes/manifests/x.yaml", "/etc/systemd/system/x.service", "/etc/sysupdate.x.d/x.conf", "/opt/x",
                "/etc/containerd/config.toml", "/usr/share/prebake/images/x.list", "/etc/containers/systemd/x.container",
                "/etc/prebake/install.conf",
            ]),
            text in "(\\PC|\n|image: |apiVersion: |kind: ClusterConfiguration|---\n|ExecStart=|Path=|Image=|pull |http://|kubeadm init|#!){0,60}",
        ) {
            let lines = text.lines().count();
            for reference in references(path, text.as_bytes()) {
                prop_assert!(reference.line.is_none_or(|line| (1..=lines).contains(&line)), "{:?}", reference);
            }
        }
    }

    fn shown(path: &str, text: &str) -> Vec<String> {
        let shown = |reference: Reference| {
            format!("{} {} {}", reference.line.unwrap_or(0), reference.kind, reference.text)
        };
        references(path, text.as_bytes()).into_iter().map(shown).collect()
    }

    #[test]
    fn images_are_found_in_every_document_with_their_lines() {
        let text = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - {name: a, image: quay.io/a:1}\n  volumes:\n  - image:\n      reference: quay.io/v:1\n---\n# x\napiVersion: apps/v1\nspec: {template: {spec: {initContainers: [{image: 'b'}]}}}\n";
        assert_eq!(
            shown("/etc/kubernetes/manifests/x.yaml", text),
            ["5 image quay.io/a:1", "8 image quay.io/v:1", "12 image b"]
        );
        let schema = "apiVersion: apiextensions.k8s.io/v1\nspec: {properties: {image: {type: string}}}\n";
        assert_eq!(shown("/x/crd.yaml", schema), Vec::<String>::new());
        assert_eq!(shown("/x/values.yaml", "image: not/a/manifest\n"), Vec::<String>::new());
        assert_eq!(
            shown("/x/t.yaml", "a: {{ b }}: {\n  image: \"quay.io/x:1\" # c\n"),
            ["2 image quay.io/x:1"]
        );
    }

    #[test]
    fn units_scripts_and_flags_name_what_they_fetch() {
        let unit = "[Unit]\nDocumentation=https://doc.example\n[Service]\nEnvironment=PROXY=http://proxy.example:3128\n# ExecStart=/usr/bin/curl https://no.example\nExecStartPre=/usr/bin/docker run \\\n  quay.io/x/y:1 --flag\nExecStart=/usr/bin/ctr images pull registry.k8s.io/z:2\nExecStop=/usr/bin/curl http://${HOST}/x $url\n";
        assert_eq!(
            shown("/etc/systemd/system/x.service", unit),
            ["4 url http://proxy.example:3128", "6 image quay.io/x/y:1", "8 image registry.k8s.io/z:2"]
        );
        let script = "#!/bin/sh\n# see https://doc.example\necho \"curl https://no.example\"\ncurl -f https://files.example/$NAME.tgz | tar x\ncurl \"$url/report\"\n";
        assert_eq!(shown("/opt/x", script), ["4 url https://files.example/$NAME.tgz"]);
        assert_eq!(
            shown(
                "/var/lib/kubelet/kubeadm-flags.env",
                "ARGS=\"--pod-infra-container-image=registry.k8s.io/pause:3.9 --x\"\n"
            ),
            ["1 image registry.k8s.io/pause:3.9"]
        );
        assert_eq!(
            shown("/etc/containers/systemd/x.container", "[Container]\nImage=quay.io/x:1\n"),
            ["2 image quay.io/x:1"]
        );
    }

    #[test]
    fn configs_of_containerd_and_systemd_and_lists_of_images_are_read() {
        let config = "version = 2\n[plugins.x]\n# sandbox_image = \"a\"\nsandbox_image = \"registry.k8s.io/pause:3.10\"\n";
        assert_eq!(
            shown("/usr/share/containerd-config/config.toml", config),
            ["4 image registry.k8s.io/pause:3.10"]
        );
        let transfer = "[Transfer]\nVerify=no\n[Source]\nType=url-file\nPath=http://h/assets/x/\nMatchPattern=x-@v.raw\n[Target]\nPath=/opt\n";
        let found = references("/etc/sysupdate.x.d/x.conf", transfer.as_bytes());
        let rule = Rule::Update { patterns: vec!["x-@v.raw".into()], signed: false };
        assert_eq!(found, [Reference::new(Some(5), Kind::Update, "http://h/assets/x/", rule)]);
        let digest = "0".repeat(64);
        let list = format!("{digest} 7 assets/images/x.tar quay.io/x:1 sha256:{digest}\n");
        assert_eq!(shown("/usr/share/prebake/images/k.list", &list), ["1 archive assets/images/x.tar"]);
        assert_eq!(references("/usr/bin/x", b"\x7fELF\0#!"), []);
    }
}
