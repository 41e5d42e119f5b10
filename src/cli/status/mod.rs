//! `prebake status`

mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::HumanBytes;

use super::project::block_on;
use super::say;
use super::table::Table;
use crate::base::disk;
use crate::base::error::Result;
use crate::serve::machines::client::{Error, PORT, Server, server_url};
use crate::serve::machines::report::plain;
use crate::serve::machines::stamp::Stamp;
use crate::serve::machines::status::{MachineStatus, State, Status};
use crate::serve::machines::timeline::Stage;
use crate::tree::names::Endpoint;

/// Interval of requests to the server.
const EVERY: Duration = Duration::from_secs(1);

/// Show what every machine is doing, and what is likely wrong with those that are stuck
///
/// Asks a running server (`prebake serve`). With --wait it returns once this many machines have reached a stage, and with 8 if
/// they have not in time, so that a script can wait for a rack.
#[derive(Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Follow all machines on the whole terminal, the worst first, until `q`; `?` shows the keys. Where the output is not a
    /// terminal, print a line for every change
    #[arg(long, conflicts_with_all = ["json", "wait"])]
    watch: bool,
    /// Print the JSON of /status
    #[arg(long)]
    json: bool,
    /// Wait until machines have reached this stage: dhcp, tftp, script, disk, kernel, initrd, ignition, installing,
    /// installed, booted or joined
    #[arg(long, value_name = "STAGE")]
    wait: Option<Stage>,
    /// How many machines to wait for
    #[arg(long = "machines", alias = "nodes", value_name = "N", default_value_t = 1, requires = "wait")]
    nodes: usize,
    /// How long to wait
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30m", requires = "wait")]
    timeout: Duration,
}

/// The server to ask.
#[derive(Args)]
pub(crate) struct ServerArgs {
    /// The server to ask: a URL, or HOST:PORT as `prebake serve` takes it [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", env = "PREBAKE_SERVER", value_parser = server_url)]
    server: Option<String>,
    /// A file of CA certificates (PEM) that the server's may be signed by
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl ServerArgs {
    /// The server; no request is sent yet.
    pub(crate) fn connect(&self) -> Result<Server> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(disk::Error::io("read", path));
        let ca = self.ca.as_ref().map(read).transpose()?;
        let url = self.server.clone().unwrap_or_else(|| format!("http://127.0.0.1:{PORT}"));
        Ok(Server::new(&url, ca.as_deref())?)
    }

    /// Whether the command line itself names a server, and not only the environment.
    pub(crate) fn is_named(&self) -> bool {
        let of_environment = std::env::var("PREBAKE_SERVER").ok().and_then(|text| server_url(&text).ok());
        self.server.is_some() && self.server != of_environment
    }
}

impl StatusArgs {
    /// Shows, watches or waits.
    pub(crate) fn run(self) -> Result<()> {
        let server = self.server.connect()?;
        block_on(async {
            match self.wait {
                Some(stage) => self.wait(&server, stage).await,
                None if self.watch => watch::watch(&server).await,
                None => self.show(&fetch(&server).await?),
            }
        })
    }

    fn show(&self, status: &Status) -> Result<()> {
        match self.json {
            true => say!("{}", serde_json::to_string_pretty(status).unwrap_or_default()),
            false => say_part!("{}", picture(status)),
        }
        Ok(())
    }

    async fn wait(&self, server: &Server, stage: Stage) -> Result<()> {
        let started = Instant::now();
        let mut told = 0;
        loop {
            // If the server is not up yet, keep waiting.
            let answer = fetch(server).await;
            let is_late = started.elapsed() >= self.timeout;
            match answer {
                Err(error) if is_late || !matches!(error, Error::Silent { .. }) => return Err(error.into()),
                Err(_) => {}
                Ok(status) => {
                    let reached = status.machines.iter().filter(|machine| machine.has_reached(stage)).count();
                    if reached != told {
                        tell!("{reached} of {} machines reached {stage}", self.nodes);
                        told = reached;
                    }
                    if reached >= self.nodes {
                        return self.show(&status);
                    }
                    if is_late {
                        self.show(&status)?;
                        let patience = humantime::format_duration(self.timeout);
                        return Err(Error::TimedOut { reached, wanted: self.nodes, stage, patience }.into());
                    }
                }
            }
            tokio::time::sleep(EVERY.min(self.timeout.saturating_sub(started.elapsed()))).await;
        }
    }
}

async fn fetch(server: &Server) -> Result<Status, Error> {
    server.document(Endpoint::Status.path()).await
}

/// A machine's own words, made safe for a terminal: a server of an older version may pass on more than this one does.
fn safe(text: &str) -> String {
    say::printable(&plain(text))
}

/// The whole picture for people: the served content, a table, and machines that need attention.
fn picture(status: &Status) -> String {
    let mut machines: Vec<&MachineStatus> = status.machines.iter().collect();
    machines.sort_by_key(|machine| {
        (machine.state, machine.name.is_none(), machine.name.clone(), machine.id.clone())
    });
    let mut table = Table::new(["MACHINE", "ID", "ADDRESS", "PROFILE", ">FOR", "STATE", "BOOT"]);
    let text = |text: &Option<String>| text.as_deref().map(safe).unwrap_or_default();
    for machine in &machines {
        table.row([
            text(&machine.name),
            safe(&machine.id),
            text(&machine.address),
            text(&machine.profile),
            span(status.now, machine.since),
            machine.state.word().into(),
            boot(machine),
        ]);
    }
    let colours = crate::cli::terminal::colours_stdout();
    let serving = &status.serving;
    let up = span(status.now, status.started);
    let sent = HumanBytes(status.traffic.sent);
    let mut picture = format!(
        "{}, up {up}, {sent} sent\n",
        [safe(&serving.name), serving.releases.join(", ")].join(" ").trim_end()
    );
    for problem in &status.problems {
        picture += &format!("warning: {}\n", safe(problem));
    }
    for (line, text) in table.to_string().lines().enumerate() {
        let state = line.checked_sub(1).map(|row| machines[row].state);
        picture += &match state.filter(|_| colours).and_then(colour) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m\n"),
            None => format!("{text}\n"),
        };
    }
    if machines.is_empty() {
        picture += "no machine has been seen yet\n";
    }
    for machine in machines.iter().filter(|machine| !machine.troubles.is_empty()) {
        let name = machine.name.as_deref().unwrap_or(&machine.id);
        picture += &format!("\n{}: {}\n", safe(name), safe(&machine.troubles[0].what));
        picture += &format!("  hint: {}\n", safe(&machine.troubles[0].hint));
    }
    picture
}

/// SGR codes of states that need attention.
fn colour(state: State) -> Option<&'static str> {
    match state {
        State::Failed => Some("31"),
        State::Stuck => Some("33"),
        State::Working => Some("36"),
        State::Loaded | State::Done => None,
    }
}

/// Progress of a machine's boot, in words.
fn boot(machine: &MachineStatus) -> String {
    let Some(step) = machine.steps.last() else {
        return if machine.files.is_empty() { "has an address" } else { "fetched files" }.into();
    };
    match (step.ended, step.rate, step.of) {
        (None, Some(rate), Some(of)) => {
            let percent = (100 * step.sent).checked_div(of).unwrap_or_default();
            let eta = step.eta.map(|eta| format!(", {eta} s left")).unwrap_or_default();
            format!("{} {percent} % of {}, {}/s{eta}", step.stage, HumanBytes(of), HumanBytes(rate))
        }
        _ if machine.waits => "waits for its turn".into(),
        _ => step.stage.to_string(),
    }
}

/// A line for every machine whose stage or state changed.
fn changes(before: &[MachineStatus], status: &Status) -> String {
    let mut lines = String::new();
    for machine in &status.machines {
        let known = before.iter().find(|known| known.id == machine.id);
        if known.is_some_and(|known| (known.stage, known.state) == (machine.stage, machine.state)) {
            continue;
        }
        let name = machine.name.as_deref().unwrap_or(&machine.id);
        let trouble = machine.troubles.first().map(|trouble| format!(": {}", trouble.what));
        let trouble = trouble.unwrap_or_default();
        let (state, boot) = (machine.state.word(), boot(machine));
        lines += &format!("{} {} {state} {boot}{}\n", status.now, safe(name), safe(&trouble));
    }
    lines
}

/// A duration such as `3m 20s`, without unimportant parts.
fn span(now: Stamp, since: Stamp) -> String {
    let seconds = now.since(since).as_secs();
    let round = if seconds < 3600 { seconds } else { seconds / 60 * 60 };
    humantime::format_duration(Duration::from_secs(round)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(machines: serde_json::Value) -> Status {
        let now = "2026-01-01T00:10:00.000Z";
        serde_json::from_value(serde_json::json!({
            "schema": 1, "version": "0", "now": now, "started": "2026-01-01T00:00:00.000Z",
            "serving": {"name": "edge", "build": "b", "releases": ["stable 1"], "profiles": [], "groups": 0},
            "traffic": {"transfers": 0, "sent": 0, "per_second": [], "until": 0},
            "problems": [], "machines": machines,
        }))
        .unwrap()
    }

    fn machine(name: &str, state: &str, stage: &str) -> serde_json::Value {
        let began = "2026-01-01T00:09:00.000Z";
        let step = serde_json::json!({
            "stage": stage, "began": began, "ended": null, "times": 1, "sent": 25, "of": 100, "rate": 5, "eta": 15,
        });
        let trouble = serde_json::json!({"kind": "x", "since": began, "what": "it \u{1b}[2J sleeps", "hint": "wake it"});
        let troubles = if state == "stuck" { vec![trouble] } else { Vec::new() };
        serde_json::json!({
            "id": format!("id-{name}"), "name": name, "mac": null, "uuid": null, "address": "10.0.0.1",
            "firmware": null, "arch": null, "group": null, "profile": "worker", "stage": stage, "state": state, "waits": false,
            "since": began, "last_seen": began, "boots": 1, "steps": [step], "files": [], "troubles": troubles,
            "report": null,
        })
    }

    #[test]
    fn those_that_need_a_look_come_first_and_say_what_to_do() {
        let machines = serde_json::json!([machine("a", "done", "booted"), machine("b", "stuck", "kernel")]);
        let picture = picture(&status(machines));
        let lines: Vec<&str> = picture.lines().collect();
        assert_eq!(lines[0], "edge stable 1, up 10m, 0 B sent");
        assert!(
            lines[2].starts_with("b        id-b  10.0.0.1  worker    1m  stuck  kernel 25 % of 100 B"),
            "{picture}"
        );
        assert!(lines[3].starts_with("a "), "{picture}");
        assert!(picture.ends_with("\nb: it [2J sleeps\n  hint: wake it\n"), "{picture}");
    }

    #[test]
    fn a_change_is_a_line_and_no_change_is_none() {
        let old = status(serde_json::json!([machine("a", "working", "script")]));
        let new =
            status(serde_json::json!([machine("a", "working", "kernel"), machine("b", "done", "disk")]));
        assert_eq!(changes(&old.machines, &new).lines().count(), 2);
        assert_eq!(changes(&new.machines, &new), "");
    }
}
