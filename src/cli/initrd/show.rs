//! `prebake initrd show`

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::table::Table;
use crate::error::Result;
use crate::initrd::segments::Limits;
use crate::initrd::show::{Part, Shown, What, contents, show};
use crate::repro::canonical_json;
use crate::store;

/// Show the archives of an initrd: offsets, lengths, compression, and what was injected
///
/// Reads headers only. With --contents everything is unpacked and listed, and what the kernel would stop at is an error.
#[derive(Args)]
pub(super) struct ShowArgs {
    /// The initrd
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
        let (file, size) = open(path)?;
        let (shown, fault) = match self.contents {
            true => contents(path, file, size, Limits::default()),
            false => (show(path, file, size)?, None),
        };
        shown.findings.iter().for_each(|finding| eprint!("{finding}"));
        match self.json {
            true => print!("{}", String::from_utf8_lossy(&canonical_json(&shown))),
            false => print(&shown),
        }
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }
}

fn open(path: &Path) -> Result<(File, u64), store::Error> {
    let open = || {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    };
    open().map_err(store::Error::io("read", path))
}

fn print(shown: &Shown) {
    let mut table = Table::new([">OFFSET", ">LENGTH", ">MEMBERS", "WHAT"]);
    for part in &shown.parts {
        let members = part.members.map_or(String::new(), |count| count.to_string());
        table.row([part.offset.to_string(), part.length.to_string(), members, what(part)]);
    }
    print!("{table}");
    if let Some(sha256) = shown.base_sha256 {
        println!("base sha256 {sha256}");
    }
    if shown.members.is_empty() {
        return;
    }
    println!();
    let mut table = Table::new([">ARCHIVE", "MODE", ">SIZE", "NAME"]);
    for row in &shown.members {
        let target =
            row.target.as_deref().map_or(String::new(), |target| format!(" -> {}", target.escape_debug()));
        let name = format!("{}{target}", row.path.escape_debug());
        table.row([row.archive.to_string(), row.mode.clone(), row.size.to_string(), name]);
    }
    print!("{table}");
}

fn what(part: &Part) -> String {
    let compression = part.compression.map_or("plain", |compression| compression.name());
    match part.what {
        What::Archive => format!("archive, {compression}"),
        What::Padding => "zeros".into(),
        What::Base => format!("base, {compression}"),
        What::Overlay => "injected by prebake, plain".into(),
        What::Seal => "record of the injection, plain".into(),
        What::Unread => format!("{compression}, not unpacked: --contents looks into it"),
    }
}
