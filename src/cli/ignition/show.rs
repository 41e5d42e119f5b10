//! `prebake ignition show`: prints a config for people.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use super::{Failure, FindingArgs, load, write};
use crate::base::count::counted;
use crate::ignition::{Transpile, show};

/// Show a config: files as a tree with sizes and modes, units, users, decoded contents.
#[derive(Args)]
pub(super) struct ShowArgs {
    /// The config, Ignition or Butane; `-` for standard input
    config: PathBuf,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Leave the contents of files and units out
    #[arg(long, conflicts_with = "json")]
    brief: bool,
    /// Allow embedding local files from this directory (Butane)
    #[arg(short = 'd', long, value_name = "DIR")]
    files_dir: Option<PathBuf>,
    #[command(flatten)]
    findings: FindingArgs,
}

impl ShowArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let options =
            Transpile { files_dir: self.files_dir.clone(), experimental: true, ..Transpile::default() };
        let checked = load(&self.config, &options)
            .map_err(|findings| self.findings.refuse(findings, "the config is not valid"))?;
        self.findings.print(&checked.warnings);
        let shown = show::show(&checked.config);
        let text = match self.json {
            true => format!("{:#}\n", serde_json::json!(shown)),
            false => people(&shown, self.brief),
        };
        write(None, &text)
    }
}

fn people(shown: &show::Shown, brief: bool) -> String {
    let mut out = format!("Ignition {}\n", shown.spec);
    // Writing to a string cannot fail.
    let section = |out: &mut String, title: &str, lines: &[String]| {
        if !lines.is_empty() {
            let _ = writeln!(out, "\n{title}");
            for line in lines {
                let _ = writeln!(out, "  {line}");
            }
        }
    };
    let configs: Vec<String> = shown.configs.iter().map(describe).collect();
    section(&mut out, "Other configs", &configs);
    section(&mut out, "Kernel arguments", &shown.kernel_arguments);
    section(&mut out, "Disks", &shown.devices);
    section(&mut out, "Files", &tree(shown));
    let units: Vec<String> = shown.units.iter().map(unit_line).collect();
    section(&mut out, "Units", &units);
    let users: Vec<String> = shown.users.iter().map(user_line).collect();
    section(&mut out, "Users", &users);
    if !brief {
        for (path, entry) in &shown.nodes {
            entry.contents.iter().for_each(|content| contents(&mut out, path, content.text.as_deref()));
        }
        for unit in &shown.units {
            contents(&mut out, &unit.name, unit.contents.as_deref());
            for (name, text) in &unit.dropins {
                contents(&mut out, &format!("{}.d/{name}", unit.name), text.as_deref());
            }
        }
    }
    out
}

fn contents(out: &mut String, title: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        let _ = writeln!(out, "\n── {title}");
        for line in text.lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
}

/// Every path once, indented below its parent directory.
fn tree(shown: &show::Shown) -> Vec<String> {
    let mut lines = Vec::new();
    let mut above: Vec<&str> = Vec::new();
    for (path, entry) in &shown.nodes {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let shared = above.iter().zip(&parts).take_while(|(a, b)| a == b).count();
        let Some((name, dirs)) = parts.split_last() else {
            lines.push(format!("/  {}", attributes(entry)));
            continue;
        };
        for (depth, dir) in dirs.iter().enumerate().skip(shared) {
            lines.push(format!("{}{dir}/", "  ".repeat(depth)));
        }
        let slash = if entry.kind == "directory" { "/" } else { "" };
        lines.push(format!("{}{name}{slash}  {}", "  ".repeat(dirs.len()), attributes(entry)));
        above = parts;
    }
    lines
}

fn attributes(entry: &show::Entry) -> String {
    let arrow = entry.target.as_ref().map(|target| match entry.kind {
        "hard link" => format!("= {target}"),
        _ => format!("-> {target}"),
    });
    let contents = entry.contents.iter().map(describe);
    let words: Vec<String> =
        entry.mode.clone().into_iter().chain(entry.owner.clone()).chain(arrow).chain(contents).collect();
    words.join(" ")
}

fn describe(content: &show::Content) -> String {
    match (&content.url, content.size, &content.problem) {
        (Some(url), ..) => match content.hash.is_some() {
            true => format!("{url} (hash given)"),
            false => format!("{url} (no hash)"),
        },
        (None, Some(size), _) => counted(size, "byte"),
        (None, None, problem) => format!("unreadable: {}", problem.as_deref().unwrap_or("no reason")),
    }
}

fn unit_line(unit: &show::Unit) -> String {
    let state = match unit.enabled {
        Some(true) => " enabled",
        Some(false) => " disabled",
        None => "",
    };
    let masked = if unit.masked { " masked" } else { "" };
    let dropins: Vec<&str> = unit.dropins.iter().map(|(name, _)| name.as_str()).collect();
    let dropins = if dropins.is_empty() { String::new() } else { format!(" + {}", dropins.join(", ")) };
    format!("{}{state}{masked}{dropins}", unit.name)
}

fn user_line(user: &show::User) -> String {
    let groups =
        if user.groups.is_empty() { String::new() } else { format!(" in {}", user.groups.join(", ")) };
    let password = if user.password { ", password" } else { "" };
    let keys = counted(user.ssh_authorized_keys.len(), "SSH key");
    format!("{}{groups}, {keys}{password}", user.name)
}
