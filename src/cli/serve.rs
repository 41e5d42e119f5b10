//! `prebake serve`

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::project::runtime;
use crate::error::Result;
use crate::serve::server::{Notice, Record, Server};
use crate::store;

/// Boot machines from a published tree, over HTTP
///
/// Answers as Matchbox does: /boot.ipxe, /ipxe, /grub, /ignition, /metadata and /assets, plus POST /report for machines
/// that tell how far they are (GET /report lists them). When `current` is swapped to a new build, it is served from then
/// on. One line a request goes to stderr.
#[derive(Args)]
pub struct ServeArgs {
    /// A build, such as output/kubernetes/current
    tree: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    address: String,
}

impl ServeArgs {
    /// Serves until SIGINT or SIGTERM.
    pub fn run(self) -> Result<()> {
        runtime()?.block_on(async {
            let io = |source| crate::serve::server::Error::Listen { address: self.address.clone(), source };
            let server =
                Server::bind(&self.tree, &self.address, |notice| eprintln!("{}", line(&notice))).await?;
            let mut terminate = signal(SignalKind::terminate())
                .map_err(store::Error::io("watch signals of", "this process".as_ref()))?;
            eprintln!("listening on http://{}", server.address().map_err(io)?);
            let site = server.site();
            eprintln!(
                "serving {}: {} files, {} profiles, {} groups",
                site.root.display(),
                site.manifest.files.len(),
                site.profiles.len(),
                site.groups.iter().count()
            );
            server
                .run(async move {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = tokio::signal::ctrl_c() => {}
                    }
                    eprintln!("stopping once open transfers are done");
                })
                .await;
            Ok(())
        })
    }
}

fn line(notice: &Notice<'_>) -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    match notice {
        Notice::Answered(record) => format!("{now} {}", request_line(record)),
        Notice::Swapped(site) => format!("{now} now serving {}", site.root.display()),
        Notice::Kept(error) => format!("{now} still serving the old build: {error}"),
    }
}

fn request_line(record: &Record) -> String {
    let Record { peer, method, path, status, sent, length, .. } = record;
    let took = short(record.took);
    let broke = if sent < length { format!(" of {length}B, broke off") } else { String::new() };
    let mut line = format!("{} {method} {path} {status} {sent}B{broke} {took}", peer.ip());
    let matched = [("group", &record.group), ("profile", &record.profile)];
    let matched = matched.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
    for word in [record.labels.to_string()].into_iter().filter(|labels| !labels.is_empty()).chain(matched) {
        line.push(' ');
        line.push_str(&word);
    }
    // What a client sent must not move the terminal or forge a second line.
    line.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn short(took: Duration) -> String {
    match took.as_millis() {
        0..10 => format!("{:.1}ms", took.as_secs_f64() * 1e3),
        10..10_000 => format!("{}ms", took.as_millis()),
        _ => format!("{:.1}s", took.as_secs_f64()),
    }
}
