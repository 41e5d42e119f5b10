//! `prebake sysext`: what can be built, and what is in an image.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::error::{Advice, Result};
use crate::repro::canonical_json;
use crate::sysext::description::{self, Description};
use crate::sysext::inspect::{Inspected, inspect};

/// Look at system extensions.
#[derive(Args)]
pub struct SysextArgs {
    #[command(subcommand)]
    verb: SysextVerb,
}

#[derive(Subcommand)]
enum SysextVerb {
    /// List the sysexts that can be built here
    Ls(LsArgs),
    /// Show what an image holds and what systemd will think of it
    Inspect(InspectArgs),
}

#[derive(Args)]
struct LsArgs {
    /// Directory with a folder for each sysext
    #[arg(long, default_value = "sysext", value_name = "DIR")]
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct InspectArgs {
    /// Image, a squashfs
    image: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The directory of sysexts cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {}", path.display())]
struct Unlistable {
    path: PathBuf,
    source: io::Error,
}

impl Advice for Unlistable {
    fn hint(&self) -> Option<String> {
        Some("name the directory that holds the sysexts' folders with --dir".into())
    }
}

impl SysextArgs {
    /// Does what the arguments say.
    pub fn run(self) -> Result<()> {
        match self.verb {
            SysextVerb::Ls(args) => ls(&args),
            SysextVerb::Inspect(args) => show(&args),
        }
    }
}

fn ls(args: &LsArgs) -> Result<()> {
    let found = folders(&args.dir).map_err(|source| Unlistable { path: args.dir.clone(), source })?;
    let sysexts = found.iter().map(|dir| Description::load(dir)).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        let row =
            |s: &Description| json!({"name": s.name, "version": s.version, "description": s.description});
        print_json(&sysexts.iter().map(row).collect::<Vec<_>>());
        return Ok(());
    }
    let width = sysexts.iter().map(|s| s.name.len() + s.version.len() + 2).max().unwrap_or_default();
    for sysext in &sysexts {
        println!("{:width$}  {}", format!("{}  {}", sysext.name, sysext.version), sysext.description);
    }
    Ok(())
}

/// Folders with a description, sorted by name.
fn folders(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let paths =
        fs::read_dir(dir)?.map(|item| item.map(|item| item.path())).collect::<io::Result<Vec<_>>>()?;
    let mut folders: Vec<_> =
        paths.into_iter().filter(|p| p.join(description::FILE_NAME).is_file()).collect();
    folders.sort();
    Ok(folders)
}

fn show(args: &InspectArgs) -> Result<()> {
    let (inspected, findings) = inspect(&args.image)?;
    for finding in findings {
        eprint!("{finding}");
    }
    match args.json {
        true => print_json(&inspected),
        false => print_table(&inspected),
    }
    Ok(())
}

fn print_table(image: &Inspected) {
    println!("name   {}", image.name.as_deref().map_or("none".into(), escaped));
    for (key, value) in &image.release {
        println!("{}={}", escaped(key), escaped(value));
    }
    println!("size   {} bytes in {} entries", image.size, image.entries.len());
    for row in &image.entries {
        let size = row.size.map(|size| size.to_string()).unwrap_or_default();
        let target =
            row.target.as_deref().map(|target| format!(" -> {}", escaped(target))).unwrap_or_default();
        println!("{:4} {:04o} {size:>12} {}{target}", row.kind, row.mode, escaped(&row.path));
    }
}

/// Foreign names may hold what moves a terminal's cursor.
fn escaped(text: &str) -> String {
    text.escape_debug().to_string()
}

fn print_json(value: &impl serde::Serialize) {
    print!("{}", String::from_utf8_lossy(&canonical_json(value)));
}
