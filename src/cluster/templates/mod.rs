//! Templates: the parts of a cluster's machines that a person may replace, file by file.
//!
//! They are in the binary; files of the same names in a directory come before them. Owns their names, their variables
//! ([`variables`]), how these are filled in (`fill`), and what a profile or group in Matchbox's form may say (`matchbox`). Leaves
//! the values to `project`.

mod fill;
pub mod matchbox;
pub mod variables;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::base::disk;
use crate::base::error::Result;
use crate::base::finding::{Finding, Findings, MAX_TEXT, Source, meant, not_text};

pub use fill::{Filled, fill};

/// A template.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its name: the path below a directory of templates.
    pub name: &'static str,
    /// Its text, by the name that findings call it.
    pub source: Arc<Source>,
    /// Whether a person's own file replaces the one in the binary.
    pub replaced: bool,
}

/// A template in the binary.
struct Embedded {
    name: &'static str,
    text: &'static str,
}

macro_rules! embedded {
    ($($name:literal),* $(,)?) => { &[$(Embedded { name: $name, text: include_str!($name) }),*] };
}

const EMBEDDED: &[Embedded] = embedded![
    "dnsmasq.conf.tmpl",
    "groups/node.json.tmpl",
    "ignition/bootstrap.yaml.tmpl",
    "ignition/common.yaml.tmpl",
    "ignition/controller.yaml.tmpl",
    "ignition/worker.yaml.tmpl",
    "kubeadm/controller.yaml.tmpl",
    "kubeadm/init.yaml.tmpl",
    "kubeadm/worker.yaml.tmpl",
    "profiles/bootstrap.json.tmpl",
    "profiles/controller.json.tmpl",
    "profiles/worker.json.tmpl",
];

/// The ending of a template's file name.
const END: &str = ".tmpl";

/// All templates, by name.
#[derive(Clone, Debug)]
pub struct Templates(BTreeMap<&'static str, Template>);

impl Templates {
    /// The names of all templates, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        EMBEDDED.iter().map(|embedded| embedded.name)
    }

    /// Those in the binary.
    pub fn embedded() -> Templates {
        let template = |embedded: &Embedded| {
            let source = Source::new(format!("templates/{} of prebake", embedded.name), embedded.text);
            (embedded.name, Template { name: embedded.name, source, replaced: false })
        };
        Templates(EMBEDDED.iter().map(template).collect())
    }

    /// Those in the binary, each replaced by the file of its name in a directory.
    ///
    /// # Errors
    /// A file that cannot be read, and one that replaces nothing: its author believes that it does.
    pub fn load(directory: Option<&Path>) -> Result<Templates> {
        let mut templates = Templates::embedded();
        let Some(directory) = directory else { return Ok(templates) };
        let mut findings = Vec::new();
        for path in files(directory, "")? {
            let whole = directory.join(&path);
            let Some(name) = Templates::names().find(|name| *name == path) else {
                findings.extend(stranger(&whole, &path));
                continue;
            };
            let bytes =
                disk::read_at_most(&whole, MAX_TEXT).map_err(disk::Error::io("read the template", &whole))?;
            let shown = whole.display().to_string();
            let text = String::from_utf8(bytes).map_err(|_| not_text(&shown))?;
            let template = Template { name, source: Source::new(shown, text), replaced: true };
            templates.0.insert(name, template);
        }
        Ok(Findings::settle(findings, templates)?.0)
    }

    /// The template of a name that [`names`](Self::names) has.
    pub(crate) fn get(&self, name: &str) -> Option<&Template> {
        self.0.get(name)
    }
}

/// A finding about a file that replaces no template. Files that are no templates by their names, such as a README, may lie there.
fn stranger(whole: &Path, path: &str) -> Option<Finding> {
    let whole = whole.display();
    if Templates::names().any(|name| name.strip_suffix(END) == Some(path)) {
        let finding = Finding::error(format!("{whole} replaces no template: their names end in `{END}`"));
        return Some(finding.hint(format!("call it {path}{END}")));
    }
    path.ends_with(END).then(|| {
        let hint = meant(path, Templates::names(), "templates are ");
        Finding::error(format!("{whole} replaces no template: there is none of this name")).hint(hint)
    })
}

/// Paths of all files below a directory, sorted.
fn files(directory: &Path, prefix: &str) -> Result<Vec<String>, disk::Error> {
    let here = directory.join(prefix);
    let entries = std::fs::read_dir(&here).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut found = Vec::new();
    for entry in entries.map_err(disk::Error::io("list the templates in", &here))? {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.path().is_dir() {
            true => found.extend(files(directory, &format!("{path}/"))?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_replaces_the_template_of_its_name_and_one_that_replaces_nothing_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("groups/node.json.tmpl", "{}");
        write("README.md", "mine");
        let templates = Templates::load(Some(directory.path())).unwrap();
        assert!(templates.get("groups/node.json.tmpl").unwrap().replaced);
        assert!(!templates.get("dnsmasq.conf.tmpl").unwrap().replaced);
        write("ignition/controler.yaml.tmpl", "");
        write("ignition/worker.yaml", "");
        let refused = Templates::load(Some(directory.path())).unwrap_err().to_string();
        for words in [
            "controler.yaml.tmpl replaces no template",
            "did you mean `ignition/controller.yaml.tmpl`?",
            "call it ignition/worker.yaml.tmpl",
        ] {
            assert!(refused.contains(words), "no {words:?} in {refused}");
        }
    }
}
