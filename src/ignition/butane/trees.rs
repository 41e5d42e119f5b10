//! Adds directory trees to the config, as files and links.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use prebake_text::path::clean as clean_path;

use super::embed::embed;
use super::local::{self, FilesDir, go_error, read_file};
use crate::report::Report;
use crate::schema::{self, Schema};
use crate::spec::Spec;
use crate::tree::{Node, Origin, Record};

pub(super) const NODE_EXISTS: &str = "matching filesystem node has existing contents or different type";

/// The paths in the config, each with its kind and index.
pub(super) struct Nodes {
    known: HashMap<&'static str, HashMap<String, usize>>,
    spec: Spec,
}

impl Nodes {
    /// Reads the lists. If a kind has a path twice, the last one counts.
    pub fn of(config: &Record, spec: Spec) -> Self {
        let mut known: HashMap<_, HashMap<_, _>> = HashMap::new();
        for kind in ["directories", "files", "links"] {
            let storage = config.record("storage");
            for (index, node) in storage.iter().flat_map(|storage| storage.records(kind)).enumerate() {
                let path = node.text("path").unwrap_or_default();
                known.entry(kind).or_default().insert(path.to_owned(), index);
            }
        }
        Nodes { known, spec }
    }

    /// The node of a kind at a path: the existing one, or a new one at the end.
    ///
    /// # Errors
    /// The path exists as another kind.
    pub fn at<'c>(
        &mut self,
        config: &'c mut Record,
        kind: &'static str,
        path: &str,
        origin: &Origin,
    ) -> Result<(&'c mut Record, bool), &'static str> {
        let list = config.record_mut("storage", self.spec).list_mut(kind);
        let (index, new) = match self.known.get(kind).and_then(|paths| paths.get(path)) {
            Some(index) => (*index, false),
            None if self.known.values().any(|paths| paths.contains_key(path)) => return Err(NODE_EXISTS),
            None => {
                let schema: &'static Schema = match kind {
                    "directories" => &schema::DIRECTORY,
                    "files" => &schema::FILE,
                    _ => &schema::LINK,
                };
                let mut record = Record::new(schema, self.spec);
                record.set("path", Node::text(path, origin));
                list.push(Node::record(record, origin));
                self.known.entry(kind).or_default().insert(path.to_owned(), list.len() - 1);
                (list.len() - 1, true)
            }
        };
        match &mut list[index].value {
            crate::tree::Value::Record(record) => Ok((record, new)),
            _ => Err(NODE_EXISTS),
        }
    }
}

/// Adds the trees that a config's `trees` names, in the order of Go's `filepath.Walk`.
pub(super) fn add(config: &mut Record, files: &FilesDir<'_>, spec: Spec, report: &mut Report) {
    let trees = config.record("storage").map_or(Vec::new(), |storage| storage.list("trees").to_vec());
    let mut nodes = Nodes::of(config, spec);
    for node in &trees {
        let Some(tree) = node.as_record() else { continue };
        let walk = Walk { tree, origin: &node.origin, spec };
        let dest = tree.filled("path").unwrap_or("/");
        let outcome = files.tree(tree.text("local").unwrap_or_default());
        match outcome {
            Ok(root) => walk.entry(&root, dest, config, &mut nodes, report),
            Err(why) => report.push(local::fault(why, &node.origin)),
        }
    }
}

struct Walk<'w> {
    tree: &'w Record,
    origin: &'w Origin,
    spec: Spec,
}

impl Walk<'_> {
    fn entry(&self, path: &Path, dest: &str, config: &mut Record, nodes: &mut Nodes, report: &mut Report) {
        let outcome = fs::symlink_metadata(path).map_err(|error| go_error("lstat", path, &error));
        let outcome = outcome.and_then(|found| {
            if found.is_dir() {
                self.directory(dest, config, nodes)?;
                self.children(path, dest, config, nodes, report)
            } else if found.is_file() {
                self.file(path, dest, &found, config, nodes)
            } else if found.is_symlink() {
                self.link(path, dest, config, nodes)
            } else {
                Err("trees may only contain files, directories, and symlinks".into())
            }
        });
        if let Err(why) = outcome {
            report.push(local::fault(why, self.origin));
        }
    }

    fn children(
        &self,
        path: &Path,
        dest: &str,
        config: &mut Record,
        nodes: &mut Nodes,
        report: &mut Report,
    ) -> Result<(), String> {
        let fault = |error| go_error("open", path, &error);
        let entries: Result<Vec<_>, _> = fs::read_dir(path).map_err(fault)?.collect();
        let mut names: Vec<_> = entries.map_err(fault)?.into_iter().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            let Some(text) = name.to_str() else {
                return Err(format!("{}: a name that is not UTF-8", path.join(name).display()));
            };
            let dest = clean_path(&format!("{dest}/{text}"));
            self.entry(&path.join(text), &dest, config, nodes, report);
        }
        Ok(())
    }

    fn own(&self, node: &mut Record) {
        for who in ["group", "user"] {
            if let Some(owner) = self.tree.get(who) {
                node.set(who, owner.clone());
            }
        }
    }

    /// Adds a directory, but only if the tree says something about it.
    fn directory(&self, dest: &str, config: &mut Record, nodes: &mut Nodes) -> Result<(), String> {
        let owned =
            ["group", "user"].iter().any(|who| self.tree.get(who).is_some_and(|owner| !owner.is_void()));
        let mode = self.tree.int("dirMode");
        if !owned && mode.is_none() {
            return Ok(());
        }
        let (node, new) = nodes.at(config, "directories", dest, self.origin)?;
        if !new {
            return Err(NODE_EXISTS.into());
        }
        self.own(node);
        node.set("mode", Node::int(mode.unwrap_or(0o755), self.origin));
        Ok(())
    }

    fn file(
        &self,
        path: &Path,
        dest: &str,
        found: &Metadata,
        config: &mut Record,
        nodes: &mut Nodes,
    ) -> Result<(), String> {
        let (node, new) = nodes.at(config, "files", dest, self.origin)?;
        if new {
            self.own(node);
        }
        let contents = node.record_mut("contents", self.spec);
        if contents.filled("source").is_some() {
            return Err(NODE_EXISTS.into());
        }
        embed(contents, &read_file(path)?, self.origin);
        if node.get("mode").is_none() {
            let executable = found.permissions().mode() & 0o111 != 0;
            let mode = self.tree.int("fileMode").unwrap_or(if executable { 0o755 } else { 0o644 });
            node.set("mode", Node::int(mode, self.origin));
        }
        Ok(())
    }

    fn link(&self, path: &Path, dest: &str, config: &mut Record, nodes: &mut Nodes) -> Result<(), String> {
        let (node, new) = nodes.at(config, "links", dest, self.origin)?;
        if new {
            self.own(node);
        }
        if node.filled("target").is_some() {
            return Err(NODE_EXISTS.into());
        }
        let target = fs::read_link(path).map_err(|error| go_error("readlink", path, &error))?;
        let target =
            target.to_str().ok_or_else(|| format!("{}: a target that is not UTF-8", path.display()))?;
        node.set("target", Node::text(target, self.origin));
        Ok(())
    }
}
