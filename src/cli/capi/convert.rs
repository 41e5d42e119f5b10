//! `prebake capi convert`

use std::path::{Path, PathBuf};

use clap::Args;

use super::text::text;
use crate::base::count::counted;
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::Severity;
use crate::capi::convert::{Converted, convert};

/// Move manifests and templates of an older Cluster API to today's fields
///
/// From Cluster API v1beta1 to v1beta2 and its Proxmox provider's v1alpha1 to v1alpha2. Comments and variables such as ${NAME} stay, and
/// a comment that cannot stay is told. A field with an effect that is lost, and whatever could not be moved, is an error with its place and
/// the way out, and ends with exit code 3; a field without effect that is left out is a warning. Files of today come out unchanged; a file
/// without an object of Cluster API is refused, and nothing is written.
#[derive(Args)]
pub(super) struct ConvertArgs {
    /// The manifests, or `-` for standard input
    #[arg(value_name = "MANIFEST")]
    file: PathBuf,
    /// Write them here instead of to standard output; the same file is replaced
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A second file, to say that it belongs behind `-o`
    #[arg(value_name = "FILE", hide = true)]
    second: Option<PathBuf>,
}

/// Two files were named.
#[derive(Debug, thiserror::Error)]
#[error("one manifest is moved at a time, and {} is a second", .0.display())]
struct Second(PathBuf);

impl Advice for Second {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(format!("to write the result there: `-o {}`", self.0.display()))
    }
}

/// Something is left to a person.
#[derive(Debug, thiserror::Error)]
#[error("{} not moved", if *.0 == 1 { "one field or object was".to_owned() } else { format!("{} fields or objects were", .0) })]
struct Left(usize);

impl Advice for Left {
    fn exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        Some("all else is in the result; change these by hand there, and run it again".into())
    }
}

impl ConvertArgs {
    /// Moves, writes, and tells what is left.
    pub(super) fn run(self) -> Result<()> {
        if let Some(second) = self.second {
            return Err(Second(second).into());
        }
        let Converted { text, findings, changed } = convert(&text(&self.file)?)?;
        match self.output.as_deref().filter(|path| *path != Path::new("-")) {
            Some(path) => {
                disk::write_output(path, text.as_bytes()).map_err(disk::Error::io("write", path))?
            }
            None => say_part!("{text}"),
        }
        findings.iter().for_each(|finding| tell!("{finding}"));
        tell!(
            "{} moved\n",
            match changed.len() {
                1 => "one object was".to_owned(),
                many => format!("{} were", counted(many as u64, "object")),
            }
        );
        match findings.iter().filter(|finding| finding.severity == Severity::Error).count() {
            0 => Ok(()),
            left => Err(Left(left).into()),
        }
    }
}
