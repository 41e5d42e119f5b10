//! `prebake key tls`

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::base::clock::date;
use crate::base::error::{Advice, Exit, Result};
use crate::cli::signing::warn_if_others_can_read;
use crate::trust::authority::Algorithm;
use crate::trust::pairs::{self, Done, Wish};

/// Make the certificates of mutual TLS: an authority, a server and clients, as files in DIR
///
/// Files have the names that Matchbox, its bootcmd and its Terraform provider look for: ca.crt, server.crt and server.key for the
/// server, ca.crt, NAME.crt and NAME.key for each client (`client` is bootcmd's own). ca.key issues more of them, and stays with you.
/// Run it again to add clients: what is there is kept, or it is an error. An authority of another program is taken, too.
#[derive(Args)]
pub(crate) struct TlsArgs {
    /// Where the files are; made where it is missing
    // Not required to clap, which could not say where it went: lists of names take it for one of them.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// A DNS name or address of the server, as clients write it; may be repeated
    #[arg(long, value_name = "NAME", num_args = 1..)]
    server: Vec<String>,
    /// A client: the name of its files, and its name in logs; may be repeated
    #[arg(long, value_name = "NAME", num_args = 1..)]
    client: Vec<String>,
    /// Issue certificates that are there anew, for the same keys: those that are named, or all. With --server, the server's
    /// is then for the names given, and for no others
    #[arg(long)]
    renew: bool,
    /// How new keys are made [default: as the authority's key; of a new one, ecdsa]
    #[arg(long, value_name = "NAME", value_enum)]
    algorithm: Option<AlgorithmName>,
    /// How long certificates hold; an authority holds ten years, and no certificate longer than it
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    days: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// [`Algorithm`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AlgorithmName {
    /// ECDSA on P-256
    Ecdsa,
    /// RSA of 3072 bits
    Rsa,
}

/// Flags that do not say what to do.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("DIR is missing, the directory of the certificates")]
    NoDirectory,
    #[error("DIR is missing: `{taken}` was taken for one of the names after {flag}")]
    Taken { taken: String, flag: &'static str },
    #[error("there is nothing to do in {directory}: neither names nor --renew were given")]
    Nothing { directory: String },
    #[error("--algorithm is for new keys, and --renew makes none")]
    Algorithm,
}

impl Advice for UsageError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            UsageError::NoDirectory => {
                "`prebake key tls DIR --server NAME --client client` makes them in DIR".into()
            }
            UsageError::Taken { taken, .. } => {
                format!("put it before the names: `prebake key tls {taken} --server …`")
            }
            UsageError::Nothing { .. } => {
                "--server with the server's names makes a server's certificate, --client with a name a client's; --renew issues all anew"
                    .into()
            }
            UsageError::Algorithm => {
                "leave it out; to have new keys, move both files of a pair away, and make it without --renew".into()
            }
        })
    }
}

impl TlsArgs {
    /// The directory, which must come before names.
    fn directory(&self) -> Result<&PathBuf, UsageError> {
        let is_path = |name: &&String| name.contains('/') || std::path::Path::new(name).is_dir();
        let (last_client, last_server) = (self.client.last(), self.server.last());
        // The one that looks like a path; otherwise the last name of a list of several.
        let named = |names: &[String], flag| {
            let found = names.iter().find(is_path).or(names.last().filter(|_| names.len() > 1))?;
            Some(UsageError::Taken { taken: found.clone(), flag })
        };
        match (&self.directory, last_client.or(last_server)) {
            (Some(directory), None) if !self.renew => {
                Err(UsageError::Nothing { directory: directory.display().to_string() })
            }
            (Some(directory), _) => Ok(directory),
            (None, _) => {
                let taken = named(&self.client, "--client").or_else(|| named(&self.server, "--server"));
                Err(taken.unwrap_or(UsageError::NoDirectory))
            }
        }
    }

    pub(crate) fn run(self) -> Result<()> {
        let directory = self.directory()?;
        if self.renew && self.algorithm.is_some() {
            return Err(UsageError::Algorithm.into());
        }
        let algorithm = self.algorithm.map(|name| match name {
            AlgorithmName::Ecdsa => Algorithm::Ecdsa,
            AlgorithmName::Rsa => Algorithm::Rsa,
        });
        let wish = Wish {
            server: &self.server,
            clients: &self.client,
            algorithm,
            days: self.days,
            renew: self.renew,
        };
        let rows = pairs::make(directory, &wish, SystemTime::now())?;
        let is_all = self.renew && self.server.is_empty() && self.client.is_empty();
        let halves = if is_all { pairs::halves(directory)? } else { Vec::new() };
        rows.first().iter().for_each(|authority| warn_if_others_can_read("authority's key", &authority.key));
        if self.json {
            let row = |row: &pairs::Row| {
                json!({
                    "kind": row.kind,
                    "certificate": row.certificate,
                    "key": row.key,
                    "common_name": row.common_name,
                    "names": row.names,
                    "dropped": row.dropped,
                    "until": date(row.until),
                    "done": row.done.word(),
                    "missing": null,
                })
            };
            let half = |half: &pairs::Half| {
                json!({
                    "kind": half.kind,
                    "certificate": half.certificate,
                    "key": half.key,
                    "common_name": null,
                    "names": [],
                    "dropped": [],
                    "until": null,
                    "done": "not renewed",
                    "missing": half.missing(),
                })
            };
            say!("{:#}", rows.iter().map(row).chain(halves.iter().map(half)).collect::<Value>());
            return Ok(());
        }
        let files = rows.iter().map(|row| &row.certificate).chain(halves.iter().map(pairs::Half::there));
        let longest = files.map(|file| file.as_os_str().len()).max().unwrap_or_default();
        for row in &rows {
            let names =
                if row.names.is_empty() { String::new() } else { format!(", for {}", row.names.join(", ")) };
            let dropped = match row.dropped.as_slice() {
                [] => String::new(),
                dropped => format!(", no longer for {}", dropped.join(", ")),
            };
            say!(
                "{:9}  {:longest$}  {}, until {}{names}{dropped}",
                row.kind,
                row.certificate.display().to_string(),
                row.done.word(),
                date(row.until),
            );
        }
        for half in &halves {
            say!(
                "{:9}  {:longest$}  not renewed: there is no {} beside it",
                half.kind,
                half.there().display().to_string(),
                half.missing().display(),
            );
        }
        if rows.iter().any(|row| row.kind == "authority" && row.done == Done::Renewed) {
            tell!(
                "the authority's certificate was about to end, too: give the new one to server and clients"
            );
        }
        Ok(())
    }
}
