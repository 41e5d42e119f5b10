//! Secrets in what would be public: configs, kernel arguments, files of sysexts.

use std::collections::BTreeSet;
use std::io;

use crate::bake::extensions::Selected;
use crate::bake::recipe::PublicSecret;
use crate::base::digest::Sha256;
use crate::base::finding::{Finding, Place, Severity, Source};
use crate::base::yaml::decode::Spanned;
use crate::format::tree::Content;
use crate::ignition::Config;
use crate::ignition::parts::{self, Contents, Role};
pub(crate) use crate::tree::secrets::kind::Kind;
use crate::tree::secrets::scan::scan;
use crate::tree::secrets::{in_file, is_login, place};

/// Collects findings, and records which exceptions of the recipe were needed.
#[derive(Debug)]
pub(crate) struct Judge {
    allowed: Vec<PublicSecret>,
    used: BTreeSet<usize>,
    findings: Vec<Finding>,
    /// Texts that the recipe allows where a person wrote them, and that documents repeat.
    pub(crate) repeated: Vec<String>,
    /// Contents that were scanned, each with its path: many machines share most of theirs.
    judged: BTreeSet<Sha256>,
}

impl Judge {
    /// A judge with the exceptions that a recipe allows.
    pub(crate) fn new(allowed: &[PublicSecret]) -> Self {
        Judge {
            allowed: allowed.to_vec(),
            used: BTreeSet::new(),
            findings: Vec::new(),
            repeated: Vec::new(),
            judged: BTreeSet::new(),
        }
    }

    /// Findings since the last call.
    pub(crate) fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// Exceptions that were never needed: an error for each, at the recipe's own line.
    pub(crate) fn unused(&self) -> impl Iterator<Item = Finding> {
        let unused = self.allowed.iter().enumerate().filter(|(index, _)| !self.used.contains(index));
        unused.map(|(_, allowed)| {
            let text = format!("nothing public at `{}` looks like a secret", allowed.path.value);
            Finding::error(text)
                .at(place::masked_place(&allowed.path.place))
                .hint("take it out of `public_secrets`")
        })
    }

    fn allows(&self, path: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.path.value == path)
    }

    /// Records a secret at `path`, unless the recipe allows it.
    pub(crate) fn found(
        &mut self,
        path: &str,
        kind: Kind,
        place: Option<Place>,
        layer: Option<Place>,
        hint: &str,
    ) {
        if let Some(index) = self.allowed.iter().position(|allowed| allowed.path.value == path) {
            self.used.insert(index);
            return;
        }
        let allow = format!("say so in the recipe: `public_secrets: [{{path: {path}, why: …}}]`");
        let (text, hint) = match (kind, kind.severity()) {
            (Kind::Unread, _) => (
                format!(
                    "`{path}` was not scanned completely for secrets: it is too large, or packed too deep"
                ),
                format!("check it yourself; if it has none, {allow}"),
            ),
            (_, Severity::Warning) => (
                format!("{kind} would be public in `{path}`"),
                "passwords can be guessed from their hashes: put them into `private:` layers, or use SSH keys".into(),
            ),
            (_, Severity::Error) => {
                (format!("{kind} would be public in `{path}`"), format!("{hint}; if it is none, {allow}"))
            }
        };
        let mut finding = Finding { severity: kind.severity(), ..Finding::error(text) }.hint(hint);
        finding.place = place;
        finding.related.extend(layer.map(|layer| (layer, "brought by".to_owned())));
        self.findings.push(finding);
    }

    /// Scans a compiled config. Places are those of its layers; generated parts are at `fallback`.
    pub(crate) fn config(&mut self, config: &Config, fallback: &Place) {
        const HINT: &str = "move it into a layer under `private:`, which only its own machine gets";
        for part in parts::parts(config) {
            let origin = part.place.filter(|place| !place.source.name.starts_with('<'));
            let origin = origin.unwrap_or_else(|| fallback.clone());
            let bytes = match &part.contents {
                Contents::Here(bytes) => bytes.as_slice(),
                Contents::Fetched { url, .. } => url.as_bytes(),
                Contents::Broken(_) => continue,
            };
            let whole = |kind| (part.name.as_str(), kind);
            let whole = match part.role {
                Role::VolumeKey if part.contents.here().is_some() => Some(whole(Kind::VolumeKey)),
                Role::Header if is_login(&part.name) => Some(whole(Kind::LoginHeader)),
                Role::PasswordHash => Some(("/etc/shadow", Kind::PasswordHash)),
                _ => None,
            };
            if let Some((path, kind)) = whole {
                self.found(path, kind, Some(place::masked_place(&origin)), None, HINT);
                continue;
            }
            // The content of an embedded config comes as parts of its own.
            if part.role == Role::Config && part.contents.here().is_some() {
                continue;
            }
            let own = format!("{} {}", Sha256::of(bytes), part.name);
            if !self.judged.insert(Sha256::of(own.as_bytes())) {
                continue;
            }
            for hit in scan(&part.name, bytes).unwrap_or_default() {
                let (place, layer) = place::of_contents(&origin, &part.name, bytes, hit);
                self.found(&part.name, hit.kind, Some(place), layer, HINT);
            }
        }
    }

    /// Scans the kernel arguments of a profile, which are in every loader's script.
    pub(crate) fn kernel_args(&mut self, args: &[Spanned<String>]) {
        for arg in args {
            let hits = scan("kernel_args", arg.value.as_bytes()).unwrap_or_default();
            if !hits.is_empty() && self.allows("kernel_args") {
                self.repeated.push(arg.value.clone());
            }
            for hit in hits {
                let place = Some(place::masked_place(&arg.place));
                let hint =
                    "kernel arguments are in public scripts and in /proc/cmdline: use a `private:` layer";
                self.found("kernel_args", hit.kind, place, None, hint);
            }
        }
    }

    /// Scans a text that is published as a person wrote it, at `path` in the tree.
    pub(crate) fn text(&mut self, path: &str, source: &Source) {
        for hit in scan(path, source.text.as_bytes()).unwrap_or_default() {
            let place = place::of_source(&source.name, source.line(hit.line).unwrap_or_default(), hit);
            let hint = "put it into a `private:` layer: labels of groups are public, too";
            self.found(path, hit.kind, Some(place), None, hint);
        }
    }

    /// Scans the folders of sysexts: their files, and the texts that `sysext.yaml` writes into the image.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn sysexts(&mut self, sysexts: &[Selected]) -> io::Result<()> {
        const HINT: &str = "sysexts are public: put it into a `private:` layer";
        let mut seen = BTreeSet::new();
        for Selected { description, variables, .. } in sysexts {
            if seen.insert(&description.name) {
                for (path, entry) in description.files.iter() {
                    let Content::File(contents) = &entry.content else { continue };
                    let path = format!("/{path}");
                    for hit in scan(&path, contents.reader())? {
                        let place = contents.path().map(|file| in_file(file, hit));
                        self.found(&path, hit.kind, place, None, HINT);
                    }
                }
            }
            // Templates that do not expand are reported where the image is built.
            for (path, text) in description.texts(variables).unwrap_or_default() {
                let path = format!("/{path}");
                for hit in scan(&path, text.as_bytes())? {
                    let place = place::of_text(&description.source, &text, hit);
                    self.found(&path, hit.kind, Some(place), None, HINT);
                }
            }
        }
        Ok(())
    }
}
