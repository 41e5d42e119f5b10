//! `prebake new`

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use serde_json::json;

#[cfg(feature = "cluster")]
use crate::bake::scaffold::cluster;
use crate::bake::scaffold::matchbox::{self, Imported};
use crate::bake::scaffold::recipe::{self, CONTROL, NodeWish, WORKER, Wish, path_of};
use crate::bake::scaffold::{Scaffold, plain_name};
use crate::base::count::counted;
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::Source;
use crate::flatcar::board::CHANNELS;
use crate::ignition::ssh_keys::{self, Origin};
use crate::machine::node::Mac;

/// Begin: write a recipe with its layers, .gitignore and a CI file, which build at once
///
/// Asks on a terminal for what no option gives; elsewhere takes the defaults. No file is overwritten: those in the way are named,
/// and nothing is written.
#[derive(Args)]
pub(crate) struct NewArgs {
    /// Directory for the files, made where it is missing
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// The recipe's name; by default the directory's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Flatcar's channel: stable, beta, alpha or lts [default: stable]
    #[arg(long, value_name = "CHANNEL", conflicts_with = "from", value_parser = PossibleValuesParser::new(CHANNELS))]
    channel: Option<String>,
    /// Key that may log in as `core`: a public key, a file of them, or github:USER (repeatable)
    #[arg(long = "ssh-key", value_name = "KEY", conflicts_with = "from")]
    ssh_keys: Vec<String>,
    /// A machine by its MAC address, with a name or without (repeatable)
    #[arg(long = "worker", alias = "node", value_name = "[NAME=]MAC", value_parser = node, conflicts_with = "from")]
    nodes: Vec<(Option<String>, Mac)>,
    /// Machines that run Kubernetes: control planes and workers
    #[arg(long, conflicts_with = "from")]
    kubernetes: bool,
    /// Write a cluster.yaml instead: the description out of which `prebake cluster` forms a cluster
    #[cfg(feature = "cluster")]
    #[arg(long, conflicts_with_all = ["from", "kubernetes", "nodes", "channel", "systemd", "ci"])]
    for_cluster: bool,
    /// The machine that starts the cluster
    #[arg(long, value_name = "[NAME=]MAC", value_parser = node, requires = "kubernetes")]
    control: Option<(Option<String>, Mac)>,
    /// Make the recipe of something else: `matchbox DIR`, a data directory with groups/, profiles/ and ignition/
    #[arg(long, num_args = 2, value_names = ["KIND", "DIR"])]
    from: Vec<String>,
    /// The service that builds what is pushed
    #[arg(long, value_name = "SERVICE", default_value = "github")]
    ci: Ci,
    /// Write systemd's units for the server, too, into systemd/
    #[arg(long)]
    systemd: bool,
    /// Ask nothing, also on a terminal
    #[arg(long, short = 'y')]
    yes: bool,
    /// Print JSON; asks nothing
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ci {
    Github,
    Gitlab,
    None,
}

/// Longest file of keys, in bytes.
const MAX_KEYS: usize = 1 << 20;

/// A value of an option that means nothing.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("cannot make a recipe from `{kind}`")]
    Kind { kind: String },
    #[error("`{key}` is no public key, no file of them and no github:USER")]
    Key { key: String },
    #[error("there is no file {} with a public key", path.display())]
    NoKeyFile { path: PathBuf },
}

impl Advice for UsageError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            UsageError::Kind { .. } => "known: `--from matchbox DIR`".into(),
            UsageError::Key { .. } | UsageError::NoKeyFile { .. } => {
                "`ssh-keygen -t ed25519` makes a key; the one that ends in .pub is public".into()
            }
        })
    }
}

/// Parses a machine: `MAC` or `NAME=MAC`.
fn node(text: &str) -> Result<(Option<String>, Mac), String> {
    let (name, mac) = match text.split_once('=') {
        Some((name, mac)) => (Some(name.to_owned()), mac),
        None => (None, text),
    };
    let mac: Mac = mac.parse()?;
    match mac.nobodys() {
        Some(why) => Err(format!("{mac} cannot be the address of a card: {why}")),
        None => Ok((name, mac)),
    }
}

impl NewArgs {
    /// Writes the files, and prints them with the next commands.
    pub(crate) fn run(mut self) -> Result<()> {
        let name = self.name.take().unwrap_or_else(|| name_of(&self.directory));
        let asks = io::stdin().is_terminal() && io::stderr().is_terminal() && !self.yes && !self.json;
        #[cfg(feature = "cluster")]
        if self.for_cluster {
            return self.cluster(&name, asks);
        }
        let (name, mut scaffold, left, chosen) = match &self.from[..] {
            [kind, data] if kind == "matchbox" => {
                let Imported { scaffold, left, chosen, nodes, profiles } =
                    matchbox::import(Path::new(data), &name)?;
                if !self.json {
                    tell!(
                        "{data}: {} and {} carried over, {} left out",
                        counted(profiles, "profile"),
                        counted(nodes, "node"),
                        counted(left.len(), "part")
                    );
                }
                (name, scaffold, left, chosen)
            }
            [kind, ..] => return Err(UsageError::Kind { kind: kind.clone() }.into()),
            [] => {
                let wish = self.wish(name, asks)?;
                (wish.name.clone(), recipe::scaffold(&wish)?, Vec::new(), Vec::new())
            }
        };
        let ci = match self.ci {
            Ci::Github => Some(recipe::Ci::Github),
            Ci::Gitlab => Some(recipe::Ci::Gitlab),
            Ci::None => None,
        };
        recipe::add_surroundings(&mut scaffold, &name, ci)?;
        if self.systemd {
            recipe::add_units(&mut scaffold, &name)?;
        }
        let files = scaffold.write(&self.directory)?;
        let recipe = path_of(&name);
        let without_key = self.from.is_empty() && !has_keys(&scaffold, &recipe);
        if self.json {
            say!(
                "{:#}",
                json!({"name": name, "recipe": self.directory.join(&recipe), "files": files, "left_out": left, "chosen": chosen, "logins": !without_key})
            );
            return Ok(());
        }
        for choice in &chosen {
            tell!("note: {choice}");
        }
        for part in &left {
            tell!("warning: left out: {part}");
        }
        if without_key {
            tell!(
                "warning: nobody can log in to its machines: put a key into `ssh_keys:` of {recipe}, or name one with --ssh-key"
            );
        }
        for file in &files {
            say!("wrote  {}", file.display());
        }
        print_next(&self.directory, &name, &recipe, ci);
        Ok(())
    }

    /// Writes a cluster's description.
    #[cfg(feature = "cluster")]
    fn cluster(&self, name: &str, asks: bool) -> Result<()> {
        let mut lines = Vec::new();
        for key in &self.ssh_keys {
            lines.extend(keys(key)?);
        }
        if lines.is_empty() && asks {
            lines = asked_keys(&mut io::stdin().lock());
        }
        let files = cluster::scaffold(name, &lines)?.write(&self.directory)?;
        let path = self.directory.join(cluster::FILE);
        if self.json {
            say!("{:#}", json!({"name": name, "cluster": path, "files": files, "logins": !lines.is_empty()}));
            return Ok(());
        }
        if lines.is_empty() {
            tell!(
                "warning: nobody can log in to its machines: put a key into `ssh_authorized_key:` of {}, or name one with --ssh-key",
                cluster::FILE
            );
        }
        for file in &files {
            say!("wrote  {}", file.display());
        }
        say!("\nwrite your machines into {}, then", path.display());
        if self.directory != Path::new(".") {
            say!("  cd {}", self.directory.display());
        }
        say!("  prebake cluster validate");
        say!("  sudo prebake cluster init");
        Ok(())
    }

    /// The wishes of the command line, and of the answers where it says nothing.
    fn wish(&self, name: String, asks: bool) -> Result<Wish> {
        let mut wish = Wish {
            name,
            channel: self.channel.clone().unwrap_or_else(|| "stable".into()),
            ssh_keys: Vec::new(),
            kubernetes: self.kubernetes,
            nodes: Vec::new(),
        };
        for key in &self.ssh_keys {
            wish.ssh_keys.extend(keys(key)?);
        }
        let given = |nodes: &[(Option<String>, Mac)], profile| {
            let wish =
                |(name, mac): &(Option<String>, Mac)| NodeWish { name: name.clone(), mac: *mac, profile };
            nodes.iter().map(wish).collect::<Vec<_>>()
        };
        wish.nodes = given(self.control.as_slice(), CONTROL);
        wish.nodes.extend(given(&self.nodes, WORKER));
        if asks {
            self.ask(&mut wish);
        }
        Ok(wish)
    }

    /// Asks for what no option gave. An end of the input takes the defaults.
    fn ask(&self, wish: &mut Wish) {
        let mut input = io::stdin().lock();
        if self.name.is_none() {
            wish.name =
                answer(&mut input, "name of the recipe", &wish.name, |text| Ok(plain_name(text, text)));
        }
        if !self.kubernetes {
            let said = answer(&mut input, "are its machines for Kubernetes? (y/n)", "n", |text| match text {
                "y" | "yes" | "n" | "no" => Ok(text.to_owned()),
                _ => Err("y or n".into()),
            });
            wish.kubernetes = said.starts_with('y');
        }
        if self.channel.is_none() {
            let channels = "stable, beta, alpha or lts";
            wish.channel = answer(&mut input, &format!("Flatcar's channel: {channels}"), "stable", |text| {
                let is_one = channels.split([',', ' ']).any(|channel| channel == text && text != "or");
                if is_one || text.starts_with("lts-") { Ok(text.to_owned()) } else { Err(channels.into()) }
            });
        }
        if self.ssh_keys.is_empty() {
            wish.ssh_keys = asked_keys(&mut input);
        }
        if wish.nodes.is_empty() {
            for first in [true, false] {
                let profile = if wish.kubernetes && first { CONTROL } else { WORKER };
                let question = match (wish.kubernetes, first) {
                    (true, true) => {
                        "MAC address of the first control plane, or NAME=MAC; none to leave it open"
                    }
                    _ => "MAC address of a machine, or NAME=MAC; none to end",
                };
                // Only one machine starts a cluster.
                loop {
                    let said = answer(&mut input, question, "", |text| match text {
                        "" | "none" => Ok(None),
                        text => node(text).map(Some),
                    });
                    let Some((name, mac)) = said else { break };
                    wish.nodes.push(NodeWish { name, mac, profile });
                    if profile == CONTROL {
                        break;
                    }
                }
                if !wish.kubernetes {
                    break;
                }
            }
        }
    }
}

/// Asks for keys that may log in; the one that OpenSSH would use is the default.
fn asked_keys(input: &mut impl BufRead) -> Vec<String> {
    let own = own_key().map(|path| path.display().to_string()).unwrap_or_default();
    let question = "public key that may log in, a file of them, or github:USER";
    answer(input, question, &own, |text| match text {
        "" | "none" => Ok(Vec::new()),
        text => keys(text).map_err(|error| error.chain().join(": ")),
    })
}

/// Asks until an answer is understood; an empty one, and the end of the input, mean the default.
fn answer<T>(
    input: &mut impl BufRead,
    question: &str,
    default: &str,
    understood: impl Fn(&str) -> Result<T, String>,
) -> T
where
    T: Default,
{
    let shown = if default.is_empty() { "none" } else { default };
    loop {
        tell_part(&format!("{question} [{shown}]: "));
        let mut line = String::new();
        let is_end = input.read_line(&mut line).map_or(true, |read| read == 0);
        let text = Some(line.trim()).filter(|text| !text.is_empty()).unwrap_or(default);
        match understood(text) {
            Ok(answer) => return answer,
            Err(_) if is_end => return T::default(),
            Err(why) => tell!("{why}"),
        }
    }
}

/// A question, without an end of the line.
fn tell_part(text: &str) {
    use io::Write;
    let mut out = io::stderr().lock();
    // A terminal that is gone gives no answer either.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The key that OpenSSH would use first, if there is one.
fn own_key() -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME")?).join(".ssh");
    ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"]
        .iter()
        .map(|name| home.join(name))
        .find(|path| path.is_file())
}

/// The keys that an option or an answer means, as a recipe has them.
fn keys(text: &str) -> Result<Vec<String>> {
    if text.starts_with("github:") {
        return Ok(vec![text.to_owned()]);
    }
    let lines = match text.contains(' ') {
        true => text.to_owned(),
        false => {
            let path = at_home(text);
            let unread = |source: io::Error| match source.kind() {
                io::ErrorKind::NotFound if text.contains(['/', '.']) => {
                    UsageError::NoKeyFile { path: path.clone() }
                }
                _ => UsageError::Key { key: text.to_owned() },
            };
            let bytes = disk::read_at_most(&path, MAX_KEYS).map_err(unread)?;
            String::from_utf8(bytes).map_err(|_| UsageError::Key { key: text.to_owned() })?
        }
    };
    let name = if text.contains(' ') { "the key" } else { text };
    Ok(ssh_keys::parse(&Source::new(name, lines), Origin::Recipe)?)
}

/// A path in which no shell has replaced `~`, as in an answer.
fn at_home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(text),
    }
}

/// Whether a recipe has keys.
fn has_keys(scaffold: &Scaffold, recipe: &str) -> bool {
    scaffold.get(recipe).is_some_and(|text| text.lines().any(|line| line.starts_with("ssh_keys:")))
}

/// A name for the recipe of a directory: the directory's own.
fn name_of(directory: &Path) -> String {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let absolute = fs::canonicalize(&absolute).unwrap_or(absolute);
    let name = absolute.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    plain_name(&name, "edge")
}

fn print_next(directory: &Path, name: &str, recipe: &str, ci: Option<recipe::Ci>) {
    let mut commands = Vec::new();
    if directory != Path::new(".") {
        commands.push((format!("cd {}", directory.display()), ""));
    }
    commands.push((format!("prebake plan {recipe}"), "what a build would do"));
    commands.push((format!("prebake lock {recipe}"), "pins every input; commit the lock"));
    commands.push((format!("prebake build {recipe}"), "publishes the tree"));
    commands.push((format!("prebake serve output/{name}/current --address 0.0.0.0:8080"), "boots machines"));
    if let Some((file, what)) = ci.map(recipe::Ci::gap) {
        commands.push((format!("$EDITOR {file}"), what));
    }
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (index, (command, what)) in commands.iter().enumerate() {
        let start = if index == 0 { "next" } else { "" };
        say!("{}", format!("{start:5}  {command:width$}  {what}").trim_end());
    }
}
