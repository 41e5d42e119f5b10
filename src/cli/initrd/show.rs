//! `prebake initrd show`

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::canonical::canonical_json;
use crate::base::disk;
use crate::base::error::Result;
use crate::cli::say::seen;
use crate::cli::table::Table;
use crate::initrd::segments::Limits;
use crate::initrd::show::{Part, Row, Shown, What, contents, show};
use crate::tree::inject::{Listed, PublishedTree};

/// Show the archives of an initrd: offsets, lengths, compression, and what was injected
///
/// Reads headers only. With --contents everything is unpacked and listed, and what the kernel would stop at is an error.
/// Of a published tree all initrds are listed, by profile and node, and with --contents what prebake put into them.
#[derive(Args)]
pub(super) struct ShowArgs {
    /// The initrd, or a tree such as output/NAME/current
    initrd: PathBuf,
    /// Unpack all archives and list their members
    #[arg(long)]
    contents: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ShowArgs {
    pub(super) fn run(self) -> Result<()> {
        let path = &self.initrd;
        if path.is_dir() {
            self.print_tree(&PublishedTree::open(path)?.list()?);
            return Ok(());
        }
        let (file, size) = open(path)?;
        let (shown, fault) = match self.contents {
            true => contents(path, file, size, Limits::default()),
            false => (show(path, file, size)?, None),
        };
        shown.findings.iter().for_each(|finding| tell!("{finding}"));
        match self.json {
            true => say_part!("{}", String::from_utf8_lossy(&canonical_json(&shown))),
            false => print(&shown),
        }
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    fn print_tree(&self, initrds: &[Listed]) {
        if self.json {
            return say_part!("{}", String::from_utf8_lossy(&canonical_json(&initrds)));
        }
        let mut table = Table::new(["PROFILE", "NODE", ">SIZE", ">MEMBERS", "PATH"]);
        let or_all = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".into());
        for initrd in initrds {
            let count = initrd.members.len();
            let members = if count == 0 { String::new() } else { count.to_string() };
            let (profile, node) = (or_all(&initrd.profile), or_all(&initrd.node));
            table.row([profile, node, initrd.size.to_string(), members, initrd.path.clone()]);
        }
        say_part!("{table}");
        for initrd in initrds.iter().filter(|initrd| self.contents && !initrd.members.is_empty()) {
            say!("\n{}", seen(&initrd.path));
            print_members(&initrd.members);
        }
    }
}

fn open(path: &Path) -> Result<(File, u64), disk::Error> {
    let open = || {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    };
    open().map_err(disk::Error::io("read", path))
}

fn print(shown: &Shown) {
    let mut table = Table::new([">OFFSET", ">LENGTH", ">MEMBERS", "WHAT"]);
    for part in &shown.parts {
        let members = part.members.map_or(String::new(), |count| count.to_string());
        table.row([part.offset.to_string(), part.length.to_string(), members, what(part)]);
    }
    say_part!("{table}");
    if let Some(sha256) = shown.base_sha256 {
        say!("base sha256 {sha256}");
    }
    if shown.members.is_empty() {
        return;
    }
    say!("");
    print_members(&shown.members);
}

fn print_members(members: &[Row]) {
    let mut table = Table::new([">ARCHIVE", "MODE", ">SIZE", "NAME"]);
    for row in members {
        let target =
            row.target.as_deref().map_or(String::new(), |target| format!(" -> {}", target.escape_debug()));
        let name = format!("{}{target}", row.path.escape_debug());
        table.row([row.archive.to_string(), row.mode.clone(), row.size.to_string(), name]);
    }
    say_part!("{table}");
}

fn what(part: &Part) -> String {
    let compression = part.compression.map_or("plain", |compression| compression.name());
    match part.what {
        What::Archive => format!("archive, {compression}"),
        What::Padding => "zeros".into(),
        What::Base => format!("base, {compression}"),
        What::Overlay => "injected by prebake, plain".into(),
        What::Seal => "record of the injection, plain".into(),
        What::Unread => format!("{compression}, not unpacked: --contents lists it"),
    }
}
