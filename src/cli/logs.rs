//! `prebake logs`

use std::time::Duration;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::project::block_on;
use super::say;
use super::status::ServerArgs;
use crate::base::error::{Advice, Exit, Result};
use crate::serve::endpoint::logs::{AFTER, Logs, MACHINE};
use crate::serve::machines::client::Server;
use crate::tree::names::Endpoint;

/// Interval of requests while following.
const EVERY: Duration = Duration::from_secs(1);

/// Show what a running server noticed of one machine, or of all, in the order of time
///
/// Requests with what was sent, answers over DHCP, transfers by TFTP, stages, reports, and the end of the journal that a
/// failed machine sent. The server keeps the last 12 MiB of such lines in memory.
#[derive(Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The machine: its MAC address, name, UUID or address
    #[arg(long, value_name = "MAC")]
    mac: Option<String>,
    /// Go on with what comes, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Print each line as an object, as `prebake serve --log-format json` does
    #[arg(long)]
    json: bool,
}

impl LogsArgs {
    /// Prints the lines.
    pub(crate) fn run(self) -> Result<()> {
        let server = self.server.connect()?;
        block_on(self.print(&server))
    }

    async fn print(&self, server: &Server) -> Result<()> {
        let mut after = 0;
        let mut is_seen = self.mac.is_none();
        loop {
            let logs: Logs = match server.document(&self.target(after)).await {
                Ok(logs) => logs,
                // A server that is restarted is waited for; its lines are numbered anew.
                Err(error) if self.follow && after > 0 => {
                    tell!("{error}");
                    after = 0;
                    tokio::time::sleep(EVERY).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            is_seen |= logs.machine.is_some() || !logs.lines.is_empty();
            if let Some(mac) = self.mac.as_ref().filter(|_| !is_seen && !self.follow) {
                return Err(NeverSeen { machine: mac.clone(), is_node: logs.missing }.into());
            }
            if logs.lost {
                tell!("lines are missing: the server keeps the last ones only");
            }
            for line in &logs.lines {
                match self.json {
                    true => say!("{}", line.to_json()),
                    false => say!("{}", line.for_people()),
                }
            }
            after = logs.next;
            if say::is_refused() || !(logs.more || self.follow) {
                return Ok(());
            }
            if !logs.more {
                tokio::time::sleep(EVERY).await;
            }
        }
    }

    fn target(&self, after: u64) -> String {
        let machine = self.mac.as_deref().unwrap_or_default();
        let machine = utf8_percent_encode(machine, NON_ALPHANUMERIC);
        format!("{}?{MACHINE}={machine}&{AFTER}={after}", Endpoint::Logs.path())
    }
}

/// The server knows nothing of a machine.
#[derive(Debug, thiserror::Error)]
#[error("{}`{machine}` was never seen", if *is_node { "node " } else { "" })]
struct NeverSeen {
    machine: String,
    /// Whether a node of the site is called so.
    is_node: bool,
}

impl Advice for NeverSeen {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn hint(&self) -> Option<String> {
        Some("`prebake status` lists the machines that came, and those that did not".into())
    }
}
