//! `prebake man`: manual pages with the text of `--help`, one per verb.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};

use super::help::dressed;
use super::manual;
use super::reference::{self, Page};
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};

/// Print a manual page, or write one for each verb
///
/// To read one: prebake man sysext build | man -l -
#[derive(Args)]
pub(crate) struct ManArgs {
    /// The verb, such as `build` or `sysext build`, or `recipe`, `cluster.yaml` or `environment`; all of prebake if absent
    verb: Vec<String>,
    /// Write every page into this directory, such as /usr/local/share/man/man1
    #[arg(long, short, value_name = "DIR", conflicts_with = "verb")]
    output: Option<PathBuf>,
}

/// Reasons why there is no page.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// There is no verb of this name.
    #[error("there is no verb `{verb}`")]
    NoVerb { verb: String },
    /// The page could not be made.
    #[error("cannot write the page {page}")]
    Render { page: String, source: io::Error },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::NoVerb { .. } => Exit::Usage,
            Error::Render { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::NoVerb { .. } => Some("`prebake --help` lists the verbs".into()),
            Error::Render { .. } => None,
        }
    }
}

impl ManArgs {
    /// Prints or writes the pages.
    pub(crate) fn run(self) -> Result<()> {
        let mut prebake = dressed();
        // Fills in the full names of nested verbs, which are the names of their pages.
        prebake.build();
        let Some(directory) = self.output else {
            if let [name] = self.verb.as_slice()
                && let Some(page) = reference::pages().into_iter().find(|page| page.asked == name)
            {
                say_part!("{}", in_ascii(&page.text));
                return Ok(());
            }
            let mut command = &prebake;
            for name in &self.verb {
                command = command
                    .find_subcommand(name)
                    .ok_or_else(|| Error::NoVerb { verb: self.verb.join(" ") })?;
            }
            say_part!("{}", String::from_utf8_lossy(&page(command)?.1));
            return Ok(());
        };
        let mut commands = vec![&prebake];
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().filter(|verb| !verb.is_hide_set()));
            let (name, bytes) = page(command)?;
            disk::write_atomic(&directory.join(name), &bytes)?;
        }
        for page in reference::pages() {
            let directory = directory_of(&directory, &page);
            fs::create_dir_all(&directory).map_err(disk::Error::io("create", &directory))?;
            disk::write_atomic(&directory.join(page.file()), in_ascii(&page.text).as_bytes())?;
        }
        Ok(())
    }
}

/// The directory of a page: man(1) looks for one of another section beside `man1`.
fn directory_of(directory: &Path, page: &Page) -> PathBuf {
    match directory.ends_with("man1") {
        true => directory.with_file_name(format!("man{}", page.section)),
        false => directory.to_owned(),
    }
}

/// A verb's page and its file name, such as `prebake-sysext-build.1`.
fn page(command: &Command) -> Result<(String, Vec<u8>)> {
    let render = |source| Error::Render { page: command.get_name().to_owned(), source };
    let (name, text) = manual::page(command).map_err(render)?;
    Ok((name, in_ascii(&text).into_bytes()))
}

/// Writes non-ASCII characters as groff_char(7) does, because roff reads bytes as Latin-1 unless it is told otherwise.
fn in_ascii(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    for character in page.chars() {
        match character.is_ascii() {
            true => text.push(character),
            false => text += &format!("\\[u{:04X}]", u32::from(character)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_letters_are_spelt_as_groff_reads_them() {
        assert_eq!(in_ascii("a → b\n"), "a \\[u2192] b\n");
    }
}
