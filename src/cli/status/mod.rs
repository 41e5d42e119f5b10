//! `prebake status`

mod cluster;
mod wait;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::HumanBytes;

use self::wait::Wish;
use super::project::block_on;
use super::say;
use super::table::Table;
use crate::base::count::counted;
use crate::base::disk;
use crate::base::error::Result;
use crate::serve::machines::client::{Error, PORT, Server, server_url};
use crate::serve::machines::report::plain;
use crate::serve::machines::stamp::Stamp;
use crate::serve::machines::status::{MachineStatus, State, Status};
use crate::serve::machines::timeline::{Stage, Trouble};
use crate::tree::names::Endpoint;

/// Interval of requests to the server.
const EVERY: Duration = Duration::from_secs(1);

/// Show what every machine is doing, and what is likely wrong with those that are stuck
///
/// Asks a running server (`prebake serve`). Nodes that never came are among the machines, as "not seen". With --wait it returns
/// once the machines have reached a stage: with 0, with 8 if they have not in time, and at once with 1 if so many have failed that
/// they no longer can. It names those that are late, so that a script can wait for a rack. Strangers do not count.
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
    /// installed, booted, images, kubeadm or joined
    #[arg(long, value_name = "STAGE")]
    wait: Option<Stage>,
    /// Wait for this many machines, whichever they are, instead of all nodes that the server knows
    #[arg(long, value_name = "N", aliases = ["machines", "nodes"], requires = "wait", conflicts_with = "names")]
    count: Option<usize>,
    /// Wait for these nodes: names, MAC addresses or UUIDs, separated by commas
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', requires = "wait")]
    names: Vec<String>,
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
                Some(stage) => wait::wait(&self, &server, &self.wish(), stage).await,
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

    fn wish(&self) -> Wish<'_> {
        match (self.count, self.names.as_slice()) {
            (Some(count), _) => Wish::Count(count),
            (None, []) => Wish::Nodes,
            (None, names) => Wish::Names(names),
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
        [safe(&serving.name), safe(&serving.releases.join(", "))].join(" ").trim_end()
    );
    let counts = counts(status);
    if !counts.is_empty() {
        picture += &format!("{counts}\n");
    }
    for problem in &status.problems {
        picture += &format!("warning: {}\n", safe(problem));
    }
    for (line, text) in table.to_string().lines().enumerate() {
        let state = line.checked_sub(1).and_then(|row| machines.get(row)).map(|machine| machine.state);
        picture += &match state.filter(|_| colours).and_then(colour) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m\n"),
            None => format!("{text}\n"),
        };
    }
    if machines.is_empty() {
        picture += "no machine has been seen yet\n";
    }
    picture += &never_seen(status);
    if !status.serving.reports && machines.iter().any(|machine| machine.state == State::Loaded) {
        picture +=
            "loaded is as far as can be seen: without the sysext `report` nobody hears whether they boot\n";
    }
    picture += &troubles(&machines);
    if let Some(cluster) = &status.cluster {
        picture += &cluster::section(cluster, status.now);
    }
    picture
}

/// A table of the nodes that never came.
fn never_seen(status: &Status) -> String {
    let missing = status.missing.as_deref().unwrap_or_default();
    if missing.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["NOT SEEN", "ID", "PROFILE"]);
    for node in missing {
        let id = node.mac.as_ref().or(node.uuid.as_ref()).or(node.serial.as_ref());
        table.row(
            [Some(&node.name), id, node.profile.as_ref()]
                .map(|text| text.map(|text| safe(text)).unwrap_or_default()),
        );
    }
    table.to_string()
}

/// The machines' first troubles, those of one kind together with their hint.
fn troubles(machines: &[&MachineStatus]) -> String {
    let mut kinds: Vec<(&str, Vec<(&MachineStatus, &Trouble)>)> = Vec::new();
    for (machine, trouble) in
        machines.iter().filter_map(|machine| Some((*machine, machine.troubles.first()?)))
    {
        match kinds.iter_mut().find(|(kind, _)| *kind == trouble.kind) {
            Some((_, likes)) => likes.push((machine, trouble)),
            None => kinds.push((&trouble.kind, vec![(machine, trouble)])),
        }
    }
    let mut text = String::new();
    for (_, likes) in kinds {
        text.push('\n');
        for (at, (machine, trouble)) in likes.iter().enumerate() {
            let name = machine.name.as_deref().unwrap_or(&machine.id);
            text += &format!("{}: {}\n", safe(name), safe(&trouble.what));
            let next = likes.get(at + 1);
            if next.is_none_or(|(_, next)| next.hint != trouble.hint) {
                text += &format!("  hint: {}\n", safe(&trouble.hint));
            }
        }
    }
    text
}

/// How many machines are in each state, how many nodes never came, and how many machines are strangers.
fn counts(status: &Status) -> String {
    let (strangers, others): (Vec<_>, Vec<_>) =
        status.machines.iter().partition(|machine| machine.counts_as_stranger());
    let count = |state: State| others.iter().filter(|machine| machine.state == state).count();
    let states = State::ALL.into_iter().map(|state| (count(state), state.word()));
    let missing = status.missing.as_ref().map_or(0, Vec::len);
    let strangers = strangers.len();
    let counted_strangers = counted(strangers, "stranger");
    let mut parts: Vec<String> = states
        .chain([(missing, "not seen")])
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    parts.extend((strangers > 0).then_some(counted_strangers));
    parts.join(", ")
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

/// A line for every machine whose stage or state changed, and for every such part of the cluster.
fn changes(before: Option<&Status>, status: &Status) -> String {
    let mut lines = String::new();
    let machines = before.map(|status| status.machines.as_slice()).unwrap_or_default();
    for machine in &status.machines {
        let known = machines.iter().find(|known| known.id == machine.id);
        if known.is_some_and(|known| (known.stage, known.state) == (machine.stage, machine.state)) {
            continue;
        }
        let name = machine.name.as_deref().unwrap_or(&machine.id);
        let trouble = machine.troubles.first().map(|trouble| format!(": {}", trouble.what));
        let trouble = trouble.unwrap_or_default();
        let (state, boot) = (machine.state.word(), boot(machine));
        lines += &format!("{} {} {state} {boot}{}\n", status.now, safe(name), safe(&trouble));
    }
    if let Some(cluster) = &status.cluster {
        let known = before.and_then(|status| status.cluster.as_ref());
        lines += &cluster::changes(known, cluster, status.now);
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

    pub(super) fn status(machines: serde_json::Value) -> Status {
        let now = "2026-01-01T00:10:00.000Z";
        serde_json::from_value(serde_json::json!({
            "schema": 1, "version": "0", "now": now, "started": "2026-01-01T00:00:00.000Z",
            "serving": {"name": "edge", "build": "b", "releases": ["stable 1"], "profiles": [], "groups": 0},
            "traffic": {"transfers": 0, "sent": 0, "per_second": [], "until": 0},
            "problems": [], "machines": machines,
        }))
        .unwrap()
    }

    pub(super) fn machine(name: &str, state: &str, stage: &str) -> serde_json::Value {
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
        assert_eq!(lines[1], "1 stuck, 1 done");
        assert!(
            lines[3].starts_with("b        id-b  10.0.0.1  worker    1m  stuck  kernel 25 % of 100 B"),
            "{picture}"
        );
        assert!(lines[4].starts_with("a "), "{picture}");
        assert!(picture.ends_with("\nb: it [2J sleeps\n  hint: wake it\n"), "{picture}");
    }

    #[test]
    fn a_change_is_a_line_and_no_change_is_none() {
        let old = status(serde_json::json!([machine("a", "working", "script")]));
        let new =
            status(serde_json::json!([machine("a", "working", "kernel"), machine("b", "done", "disk")]));
        assert_eq!(changes(Some(&old), &new).lines().count(), 2);
        assert_eq!(changes(Some(&new), &new), "");
    }

    /// A status with the cluster that tests of the page show, too.
    pub(super) fn with_cluster(mut status: Status) -> Status {
        let text = include_str!("../../../tests/data/cluster-formation.json");
        status.cluster = serde_json::from_str(text).unwrap();
        status
    }

    #[test]
    fn a_cluster_is_told_with_what_is_awaited_and_the_parts_that_are_not_ready_the_worst_first() {
        let status = with_cluster(status(serde_json::json!([])));
        let picture = picture(&status);
        let section = picture.split("\ncluster ").nth(1).unwrap();
        let lines: Vec<&str> = section.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "hall-3, Kubernetes v1.33.13 at https://10.0.3.10:6443: waiting for nodes to be ready for 6m",
                "API server 1/1, etcd 2/3, nodes 1/4, pods 2/4, add-ons 0/2",
                "Power on your nodes now: 2 of 63 have not come",
                "kubeconfig: output/kubeconfig",
            ]
        );
        let cells = |line: &str| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
        assert_eq!(cells(lines[5]), "pods coredns-7d764666f9-x2k4p kube-system failed");
        assert_eq!(cells(lines[6]), "nodes r1-n04 worker late");
        assert!(!section.contains("etcd-r1-n01"), "what is ready is counted alone: {section}");
        assert!(
            section.contains("\n  hint: kubectl -n kube-system logs coredns-7d764666f9-x2k4p --previous\n")
        );
    }

    #[test]
    fn a_change_of_the_cluster_is_a_line_and_no_change_is_none() {
        let old = with_cluster(status(serde_json::json!([])));
        let mut new = old.clone();
        let cluster = new.cluster.as_mut().unwrap();
        cluster.nodes.parts[1].state = crate::serve::machines::formation::Standing::Ready;
        cluster.nodes.parts[1].why.clear();
        let lines = changes(Some(&old), &new);
        assert_eq!(lines, format!("{} nodes r1-n02 ready\n", new.now));
        assert_eq!(changes(Some(&new), &new), "");
        assert_eq!(changes(None, &new).lines().count(), 1 + 14, "the phase, and each part");
    }

    /// ux 1.5 and 1.6: missing nodes were nowhere, and hints were repeated for each machine.
    #[test]
    fn nodes_that_never_came_are_rows_and_like_troubles_have_one_hint() {
        let mut stranger = machine("x", "stuck", "script");
        stranger["stranger"] = true.into();
        let mut status = status(serde_json::json!([stranger, machine("y", "stuck", "script")]));
        let node = serde_json::json!({"name": "c", "mac": "52:54:00:00:00:03", "uuid": null, "serial": null,
            "group": "c", "profile": "worker"});
        status.missing = serde_json::from_value(serde_json::json!([node])).unwrap();
        let picture = picture(&status);
        assert!(picture.contains("\n1 stuck, 1 not seen, 1 stranger\n"), "{picture}");
        let row = picture.lines().find(|line| line.starts_with("c ")).unwrap();
        assert!(row.ends_with("52:54:00:00:00:03  worker"), "{picture}");
        assert!(picture.ends_with("\nx: it [2J sleeps\ny: it [2J sleeps\n  hint: wake it\n"), "{picture}");
    }
}
