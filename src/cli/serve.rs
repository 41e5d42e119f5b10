//! `prebake serve`

mod confine;
mod guard;
mod matchbox;
mod netboot;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::project::runtime;
use crate::error::Result;
use crate::serve::content::Content;
use crate::serve::notice::{Dhcp, Notice, Notices, Record, Tftp};
use crate::serve::server::{self, Server};
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
    #[command(flatten)]
    matchbox: matchbox::MatchboxArgs,
    #[command(flatten)]
    netboot: netboot::NetbootArgs,
    #[command(flatten)]
    tls: tls::TlsArgs,
    #[command(flatten)]
    guard: guard::GuardArgs,
    #[command(flatten)]
    confine: confine::ConfineArgs,
}

impl ServeArgs {
    /// Serves until SIGINT or SIGTERM.
    pub fn run(self) -> Result<()> {
        let notices: Notices = Arc::new(|notice| {
            if let Some(line) = line(notice) {
                eprintln!("{line}");
            }
        });
        // What needs privileges comes first: sockets. Then files are read, and what is left of the privileges is dropped
        // before the runtime starts its threads, which inherit what this one may do.
        let listener = server::listen(&self.address)?;
        let listening = listener
            .local_addr()
            .map_err(|source| server::Error::Listen { address: self.address.clone(), source })?;
        let content = Arc::new(Content::tree(&self.tree, notices.clone())?);
        if self.netboot.prints_dnsmasq() {
            print!("{}", self.netboot.dnsmasq_config(listening.port(), &content.site())?);
            return Ok(());
        }
        let netboot = self.netboot.bind(listening)?;
        runtime()?.block_on(async {
            let io = |source| server::Error::Listen { address: self.address.clone(), source };
            let server = Server::new(listener, content.clone(), notices.clone()).map_err(io)?;
            let (stopping, stopped) = watch::channel(false);
            let netboot = netboot.map(|bound| bound.start(Arc::new(move || content.site()), notices));
            let netboot = netboot.transpose().map_err(io)?.map(|netboot| tokio::spawn(netboot.run(stopped)));
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
                    stopping.send_replace(true);
                })
                .await;
            if let Some(netboot) = netboot {
                let _ = netboot.await;
            }
            Ok(())
        })
    }
}

/// The line that tells of a notice, if one does.
fn line(notice: &Notice<'_>) -> Option<String> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let told = match notice {
        Notice::Progress(_) => return None,
        Notice::Answered(record) => request_line(record),
        Notice::Dhcp(dhcp) => dhcp_line(dhcp),
        Notice::Tftp(tftp) => tftp_line(tftp),
        Notice::Swapped(site) => format!("now serving {}", site.root.display()),
        Notice::Kept(error) => format!("still serving the old build: {error}"),
    };
    Some(format!("{now} {}", printable(&told)))
}

/// What a client sent must not move the terminal or forge a second line.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn dhcp_line(Dhcp { mac, uuid, firmware, answer, address, file }: &Dhcp) -> String {
    let mut line = format!("{mac} DHCP {answer} {firmware}");
    let words =
        [("address", address.map(|ip| ip.to_string())), ("file", file.clone()), ("uuid", uuid.clone())];
    for (name, value) in words.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        line += &format!(" {name}={value}");
    }
    line
}

fn tftp_line(Tftp { peer, file, sent, length, took, failed }: &Tftp) -> String {
    let broke = failed.as_ref().map(|why| format!(" of {length}B, broke off: {why}")).unwrap_or_default();
    format!("{} TFTP {file} {sent}B{broke} {}", peer.ip(), short(*took))
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
    line
}

fn short(took: Duration) -> String {
    match took.as_millis() {
        0..10 => format!("{:.1}ms", took.as_secs_f64() * 1e3),
        10..10_000 => format!("{}ms", took.as_millis()),
        _ => format!("{:.1}s", took.as_secs_f64()),
    }
}
