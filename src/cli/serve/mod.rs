//! `prebake serve`

mod advice;
mod bundle;
pub(crate) mod confine;
mod guard;
mod matchbox;
pub(crate) mod netboot;
mod rpc;
mod storm;
mod tls;

pub(crate) use matchbox::{is_matchbox_flag, named_assets, with_double_dashes};
pub(crate) use rpc::run_if_asked;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use self::advice::{of_file, of_write_side, taken};
use self::rpc::WriteSide;
use super::project::runtime;
use super::say;
use crate::base::disk;
use crate::base::error::{Advice, Error, Result};
use crate::base::unfinished::INTERRUPTED;
use crate::serve::http::limits;
use crate::serve::http::listen::{self, Listener};
use crate::serve::http::server::Server;
use crate::serve::lan::interface;
use crate::serve::lan::netboot::Bound;
use crate::serve::line::{Line, serving};
use crate::serve::machines::monitor::Monitor;
use crate::serve::machines::state;
use crate::serve::notice::Notices;
use crate::serve::process::confine::Files;
use crate::serve::process::service::{self, Manager, Spoken};
use crate::serve::rpc::process::Child;
use crate::serve::site::content::Content;
use crate::tree::names::Endpoint;

/// The default address, which is Matchbox's.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// Boot machines from a published tree or a Matchbox data directory, over HTTP
///
/// Answers as Matchbox does: /boot.ipxe, /ipxe, /grub, /ignition, /generic, /cloud, /metadata and /assets, plus POST /report
/// for machines that report their progress (GET /report lists them). A browser gets a page on / that shows every machine live;
/// /status has the same as JSON, /metrics counters for Prometheus. When `current` is swapped to a new build, it is served from
/// then on. Each request is logged on one line to stderr. SIGTERM lets open transfers finish, for 10 s at most; a second one
/// does not.
#[derive(Args)]
pub(crate) struct ServeArgs {
    /// A build, such as output/kubernetes/current, or a bundle, of which nothing is unpacked
    #[arg(value_name = "TREE|BUNDLE")]
    tree: Option<PathBuf>,
    /// Where to listen, as HOST:PORT or http://HOST:PORT; :8080 or 8080 is every address, port 0 takes a free one [env: MATCHBOX_ADDRESS] [default:
    /// 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// Keep the machines' history in this file, so that a restarted server knows which are installed
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Machines that the tree does not know, or that have another network card by now: a file with `schema: 1` and `nodes:`
    /// as in a recipe; edits count at once
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// How the log is written to stderr: lines of text, or one JSON object a line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(flatten)]
    matchbox: matchbox::MatchboxArgs,
    #[command(flatten)]
    rpc: rpc::RpcArgs,
    #[command(flatten)]
    netboot: netboot::NetbootArgs,
    #[command(flatten)]
    tls: tls::TlsArgs,
    #[command(flatten)]
    bundle: bundle::BundleArgs,
    #[command(flatten)]
    storm: storm::StormArgs,
    #[command(flatten)]
    guard: guard::GuardArgs,
    #[command(flatten)]
    confine: confine::ConfineArgs,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl ServeArgs {
    /// Serves until SIGINT or SIGTERM.
    pub(crate) fn run(self) -> Result<()> {
        match self.prepare(Files::default())? {
            Some(ready) => ready.run(|_| std::future::pending()),
            None => Ok(()),
        }
    }

    /// Binds the sockets, reads the content and gives up all rights but those to `files` and to what the server itself needs.
    /// A caller with further tasks beside the server names their files here: afterwards it is too late. Must be called while
    /// the process has one thread. `None` if a config for dnsmasq was asked for, which is printed then.
    pub(crate) fn prepare(self, mut files: Files) -> Result<Option<Ready>> {
        if self.log_format == LogFormat::Json {
            say::take_form(|text| Line::message(text, SystemTime::now().into()).to_json());
        }
        self.tls.check()?;
        self.matchbox.check(self.tree.as_deref())?;
        self.rpc.check(self.tree.as_deref())?;
        let from_environment = || matchbox::variable("MATCHBOX_ADDRESS")?.into_string().ok();
        let address =
            self.address.clone().or_else(from_environment).unwrap_or_else(|| DEFAULT_ADDRESS.into());
        let scheme = if self.tls.is_only() { "https" } else { "http" };
        let address = listen::host_of(&address, scheme)?.to_owned();
        let monitor = Arc::new(Monitor::open(self.state.clone())?);
        let notices = self.notices(monitor.clone())?;
        if self.netboot.prints_dnsmasq() {
            let content = self.content(false, notices, &mut files)?;
            say_part!("{}", self.netboot.dnsmasq_config(scheme, &address, &content.site())?);
            return Ok(None);
        }
        // Operations that need privileges come first: opening sockets. Then files are read, and the remaining
        // privileges are dropped before the runtime starts its threads, which inherit this thread's rights.
        limits::allow_open_files();
        let listeners = self.listeners(&address, &notices, &mut files)?;
        // After the sockets of a service manager were taken, which its program would inherit.
        let is_tree = self.tree.is_some();
        let holder = self.rpc.holder(is_tree);
        let write_side = self.rpc.start(is_tree, &self.matchbox, &self.confine, self.log_format);
        let write_side =
            write_side.map_err(|error| of_file(of_write_side(error, &address, holder), &self.rpc.files()))?;
        if write_side.is_none() {
            self.matchbox.idle().iter().for_each(|idle| tell!("warning: {idle}"));
        }
        let manager = Manager::from_env(|key| std::env::var_os(key));
        let content = Arc::new(self.content(write_side.is_some(), notices.clone(), &mut files)?);
        // The lines that people look for come first, whatever is said on the way to them. From here on nothing takes long,
        // and no message is lost to a signal.
        say::hold();
        let socket = cannot_listen(&address);
        let http = listeners.first().map(Listener::address).transpose().map_err(&socket)?;
        let netboot =
            http.map(|http| self.netboot.bind(scheme, http, &content.site())).transpose()?.flatten();
        let places = self.places(&listeners).map_err(&socket)?;
        self.state.iter().for_each(|state| files.write(disk::directory_of(state)));
        self.guard.files(&mut files);
        self.confine.apply(files, write_side.is_some())?;
        // Files that were read before may be closed to the rights that are left.
        content.read_again()?;
        if content.compares_files() {
            tell!(
                "the kernel cannot report changes in this directory: every request checks the times of all files"
            );
        }
        listeners.iter().flat_map(Listener::unreadable).for_each(|note| tell!("warning: HTTPS: {note}"));
        write_side.iter().for_each(|side| tell!("gRPC, a process of its own, is {}", side.confined));
        self.state.as_deref().map(state::must_be_writable).transpose()?;
        // Started here, because its thread inherits the reduced rights.
        say::queue();
        Ok(Some(Ready {
            args: self,
            address,
            listeners,
            manager,
            content,
            monitor,
            notices,
            netboot,
            write_side,
            places,
        }))
    }

    /// Where browsers and machines find this server.
    fn places(&self, listeners: &[Listener]) -> io::Result<Places> {
        let Some(listener) = listeners.first() else { return Ok(Places::default()) };
        let (address, url) = (listener.address()?, listener.url()?);
        let scheme = url.split("://").next().unwrap_or_default();
        let told = self.netboot.advertised();
        let hosts = match address.ip().is_unspecified() {
            true => told
                .map_or_else(interface::addresses, |address| vec![address])
                .into_iter()
                .map(IpAddr::from)
                .collect(),
            false => vec![address.ip()],
        };
        Ok(Places { scheme: scheme.to_owned(), port: address.port(), hosts })
    }

    fn content(&self, written: bool, notices: Notices, files: &mut Files) -> Result<Content> {
        let tree = self.tree.as_deref();
        let tree = tree.map(|tree| Ok::<_, Error>((tree, self.bundle.opener(tree, files)?))).transpose()?;
        self.matchbox.content(tree, self.nodes.as_deref(), self.guard.secrets(), written, notices, files)
    }

    /// The receivers of notices: the log on stderr, and the monitor of the machines.
    fn notices(&self, monitor: Arc<Monitor>) -> Result<Notices> {
        let tells = self.matchbox.tells()?;
        let is_json = self.log_format == LogFormat::Json;
        Ok(Arc::new(move |notice| match monitor.see(notice).filter(|_| tells(notice)) {
            None => {}
            Some(line) if is_json => say::log(line.to_json()),
            // A server's log is its result: --quiet leaves it, in either form.
            Some(line) => insist!("{}", line.to_text()),
        }))
    }

    /// The sockets from a service manager, and sockets of our own for all others.
    fn listeners(&self, address: &str, notices: &Notices, files: &mut Files) -> Result<Vec<Listener>> {
        let mut listeners = Vec::new();
        let mut secure = None;
        // Before any other file is opened, so that no other descriptor is mistaken for one of the manager's.
        for (spoken, socket) in service::sockets(|key| std::env::var(key).ok())? {
            let listener = Listener::of(socket).map_err(cannot_listen(address))?;
            match spoken {
                Spoken::Http if !self.tls.is_only() => listeners.push(listener),
                Spoken::Http | Spoken::Https => secure = Some(listener),
            }
        }
        if listeners.is_empty() && !self.tls.is_only() {
            listeners.push(Listener::bind(address).map_err(|error| taken(error.into(), "--address"))?);
        }
        let flag = if self.tls.is_only() { "--address" } else { "--tls-address" };
        let secured = self.tls.listener(address, secure, notices, files);
        listeners.extend(secured.map_err(|error| taken(of_file(error, &self.tls.files()), flag))?);
        Ok(listeners)
    }
}

/// A server that is bound and confined, and does not answer yet.
pub(crate) struct Ready {
    args: ServeArgs,
    address: String,
    listeners: Vec<Listener>,
    manager: Manager,
    content: Arc<Content>,
    monitor: Arc<Monitor>,
    notices: Notices,
    netboot: Option<Bound>,
    write_side: Option<WriteSide>,
    places: Places,
}

impl Ready {
    /// Answers until SIGINT or SIGTERM, or until the task beside it has ended, whose result is then the server's. The task
    /// begins when the server answers, and is given its monitor; it is dropped where it stands if the server is stopped.
    pub(crate) fn run<F>(self, beside: impl FnOnce(Arc<Monitor>) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let Ready {
            args,
            address,
            listeners,
            manager,
            content,
            monitor,
            notices,
            netboot,
            write_side,
            places,
        } = self;
        let socket = cannot_listen(&address);
        runtime()?.block_on(async {
            let stopping = stop_on_signals()?;
            let urls: Vec<String> =
                listeners.iter().map(Listener::url).collect::<io::Result<_>>().map_err(&socket)?;
            let tftp = netboot.as_ref().and_then(|bound| bound.tftp_address());
            let tftp = tftp.map(|address| format!("tftp://{address}"));
            let loaders = netboot.as_ref().map(|bound| bound.loaders().clone()).unwrap_or_default();
            let server = Server::new(listeners, content.clone(), monitor.clone(), notices.clone());
            let proofs = args.storm.proofs(&content.site());
            let server = server.map_err(&socket)?.loaders(loaders).rehash(proofs.clone());
            let server = args.guard.apply(args.storm.apply(server));
            let netboot = netboot.map(|bound| bound.start(Arc::new(move || content.site()), notices, proofs));
            let netboot = netboot.transpose().map_err(&socket)?;
            // After everything that may fail: scripts take these lines for the sign of a server that answers.
            let told = serving(&server.site());
            let grpc = write_side.as_ref().map(|side| format!("grpc://{}", side.address));
            let listening = tftp.iter().chain(&urls).chain(&grpc).map(|url| format!("listening on {url}"));
            let first: Vec<String> =
                places.lines().into_iter().chain(listening).chain([told.clone()]).collect();
            say::release(&first);
            places.warning().iter().for_each(|warning| tell!("warning: {warning}"));
            server.site().lack.iter().for_each(|lack| tell!("warning: {lack}"));
            let (ended, end) = watch::channel(false);
            let netboot = netboot.map(|netboot| tokio::spawn(netboot.run(end)));
            let watch = tokio::spawn(keep_watch(monitor.clone()));
            manager.ready(&told);
            let mut beside = tokio::spawn(beside(monitor.clone()));
            let (mut interrupted, mut missing, mut is_done) = (false, None, None);
            let (mut netboot, mut write_side) = (netboot, write_side.map(|side| side.child));
            let (writes, lost, done) = (&mut write_side, &mut missing, &mut is_done);
            let stop = async {
                tokio::select! {
                    told = stopping => interrupted = told.unwrap_or_default(),
                    () = manager.stay_alive() => {}
                    // Otherwise starting machines would get no answer for ever, while everything else looks healthy.
                    () = end_of(&mut netboot) => *lost = Some(Lost::Netboot),
                    how = end_of_child(writes) => *lost = Some(Lost::WriteSide { how }),
                    // A fault in it is one of prebake's, as that of the other tasks.
                    ended = &mut beside => *done = Some(ended.unwrap_or_else(|_| Err(Lost::Companion.into()))),
                }
                beside.abort();
                manager.stopping();
                ended.send_replace(true);
                writes.iter_mut().for_each(Child::stop);
            };
            server.run(stop).await;
            if let Some(netboot) = netboot {
                let _ = netboot.await;
            }
            if let Some(write_side) = &mut write_side
                && write_side.settle().await
            {
                tell!("the process that serves gRPC did not end, and was killed; nothing is half written");
            }
            watch.abort();
            monitor.save()?;
            match (is_done, missing, interrupted) {
                (Some(done), ..) => done,
                (None, Some(lost), _) => Err(Error::from(lost)),
                (None, None, false) => Ok(()),
                (None, None, true) => {
                    say::flush();
                    std::process::exit(INTERRUPTED)
                }
            }
        })
    }
}

/// The addresses of a server, for its first lines.
#[derive(Default)]
struct Places {
    scheme: String,
    port: u16,
    /// Empty if it listens everywhere, and no address is known.
    hosts: Vec<IpAddr>,
}

impl Places {
    fn lines(&self) -> Vec<String> {
        let Places { scheme, port, hosts } = self;
        let local = [IpAddr::from([127, 0, 0, 1])];
        let hosts = if hosts.is_empty() { &local[..] } else { hosts };
        let of = |path: &str| {
            let urls = hosts.iter().map(|host| format!("{scheme}://{}{path}", SocketAddr::new(*host, *port)));
            urls.collect::<Vec<_>>().join(" or ")
        };
        match scheme.is_empty() {
            true => Vec::new(),
            false => vec![
                format!("page {}", of(Endpoint::Page.path())),
                format!("DHCP boot file {}", of(Endpoint::FirstScript.path())),
            ],
        }
    }

    /// The warning about addresses that no machine reaches.
    fn warning(&self) -> Option<String> {
        let is_lonely = !self.hosts.is_empty() && self.hosts.iter().all(IpAddr::is_loopback);
        is_lonely.then(|| {
            let port = self.port;
            let address = interface::addresses()
                .first()
                .map_or(String::new(), |address| format!("{address}:{port} or "));
            format!("no machine reaches the loopback address: give --address {address}:{port}")
        })
    }
}

fn cannot_listen(address: &str) -> impl Fn(io::Error) -> listen::Error + use<> {
    let address = address.to_owned();
    move |source| listen::Error::Listen { address: address.clone(), source }
}

/// Pause after an internal fault, so that a permanent one does not fill the log.
const AFTER_A_FAULT: Duration = Duration::from_secs(1);

/// A part of the server ended, although nobody stopped it.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(
        "DHCP and TFTP stopped by an error in prebake; the server exits so that all of it can be restarted"
    )]
    Netboot,
    #[error(
        "the process that serves gRPC and writes the data directory is gone ({how}); the server exits so that all of it can be restarted"
    )]
    WriteSide {
        /// How it ended.
        how: String,
    },
    #[error(
        "the task beside the server stopped by an error in prebake; the server exits so that all of it can be restarted"
    )]
    Companion,
}

impl Advice for Lost {
    fn hint(&self) -> Option<String> {
        Some(
            "systemd restarts it with Restart=on-failure, as in the shipped unit; please report the log"
                .into(),
        )
    }
}

/// Waits for the end of a task, and takes it; waits for ever if there is none.
async fn end_of(task: &mut Option<JoinHandle<()>>) {
    match task {
        None => std::future::pending().await,
        Some(running) => {
            let _ = running.await;
            *task = None;
        }
    }
}

/// Waits for the end of the write side, and takes it; waits for ever if there is none. Says how it ended.
async fn end_of_child(child: &mut Option<Child>) -> String {
    match child {
        None => std::future::pending().await,
        Some(running) => {
            let how = running.ended().await;
            *child = None;
            how.map_or_else(|error| error.to_string(), |how| how.to_string())
        }
    }
}

/// Runs the monitor for ever, which informs status watchers and keeps the state file. Restarts it after an internal
/// fault; machines boot without it.
async fn keep_watch(monitor: Arc<Monitor>) {
    loop {
        let watching = monitor.clone();
        let run = async move { watching.run(|error| tell!("{}", Error::from(error))).await };
        let _ = tokio::spawn(run).await;
        tokio::time::sleep(AFTER_A_FAULT).await;
    }
}

/// Waits for the first SIGINT or SIGTERM, and sends whether it was SIGINT. The second one ends the process at once.
fn stop_on_signals() -> Result<oneshot::Receiver<bool>> {
    let watch = |kind| signal(kind).map_err(disk::Error::io("watch signals of", "this process".as_ref()));
    let (mut interrupt, mut terminate) = (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?);
    let (sender, stopping) = oneshot::channel();
    tokio::spawn(async move {
        let interrupted = tokio::select! {
            _ = interrupt.recv() => true,
            _ = terminate.recv() => false,
        };
        tell!("stopping when open transfers have finished; a second signal stops at once");
        let _ = sender.send(interrupted);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        say::flush();
        std::process::exit(INTERRUPTED);
    });
    Ok(stopping)
}
