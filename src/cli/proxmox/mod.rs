//! `prebake proxmox`: templates and machines on Proxmox VE.

mod connect;
mod macs;
mod options;
mod picture;
mod script;
mod upload;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::base::disk;
use crate::base::error::{Advice, Error, Exit, Result};

/// Make templates on Proxmox VE, and list the cards of its machines
///
/// Names and secret of the API token are read from PROXMOX_URL, PROXMOX_TOKEN and PROXMOX_SECRET, or from a file with
/// these keys, as CAPMOX has them in clusterctl.yaml; never from an argument.
#[derive(Args)]
pub(super) struct ProxmoxArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Upload(Box<upload::UploadArgs>),
    Script(Box<script::ScriptArgs>),
    Macs(macs::MacsArgs),
}

/// There is no such file.
#[derive(Debug, thiserror::Error)]
#[error("there is no file {}", path.display())]
struct Absent {
    path: PathBuf,
    option: &'static str,
}

impl Advice for Absent {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(format!("{} names it", self.option))
    }
}

/// The error of a file that an option names: a missing one is a slip on the command line.
fn unread(path: &Path, option: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |error| match error.kind() {
        ErrorKind::NotFound => Absent { path, option }.into(),
        _ => disk::Error::io("read", &path)(error).into(),
    }
}

impl ProxmoxArgs {
    pub(super) fn run(self) -> Result<()> {
        match self.verb {
            Verb::Upload(args) => args.run(),
            Verb::Script(args) => args.run(),
            Verb::Macs(args) => args.run(),
        }
    }
}
