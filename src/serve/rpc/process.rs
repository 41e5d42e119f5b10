//! The write side as a process of its own: how the server starts it, and what it does before it answers.
//!
//! The HTTP side never has the right to write into a data directory, and a fault in it is none of the write side. Owns
//! the pipes between the two: the child's first line on its standard output says that it listens or why not; the end of
//! its standard input means that its parent is gone, however that ended; the end of its standard output means that it
//! is. Leaves options to `cli`.

use std::error;
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use super::listen::{GRACE, Server};
use super::services::Services;
use super::store::{self, Manner, Store};
use crate::base::error::{Advice, Exit};
use crate::serve::address::{Address, Malformed};
use crate::serve::http::tls::{self, Identity, Tls};
use crate::serve::notice::Notices;
use crate::serve::process::confine::Files;

/// Longest first line, in bytes.
const LONGEST: u64 = 64 << 10;
/// How much longer than its own grace the child may take to end.
const SLACK: Duration = Duration::from_secs(5);
/// How long writes that run may go on when all connections have ended: less than the parent waits.
pub(crate) const LAST: Duration = Duration::from_secs(2);

/// Why the write side does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The text is not an address.
    #[error("cannot listen on {address} for gRPC: {why}")]
    Address {
        /// As the user wrote it.
        address: String,
        /// The flaw in the text.
        why: Malformed,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {address} for gRPC")]
    Listen {
        /// `HOST:PORT`.
        address: String,
        /// The error of `bind`.
        source: io::Error,
    },
    /// A certificate cannot be used.
    #[error(transparent)]
    Certificates(tls::Error),
    /// The data directory cannot be written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The process cannot be started.
    #[error("cannot start the process that writes the data directory")]
    Start(#[source] io::Error),
    /// The process said why it does not serve.
    #[error(transparent)]
    Said(Said),
    /// The process ended without a word.
    #[error("the process that writes the data directory ended at its start: {how}")]
    Ended {
        /// How it ended.
        how: String,
    },
    /// Nobody holds the other end of standard input.
    #[error("serve-rpc is a part of `prebake serve`, which starts it")]
    Orphan(#[source] io::Error),
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Certificates(error) => error.exit(),
            Error::Said(said) => said.exit(),
            Error::Orphan(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Address { .. } => {
                "give HOST:PORT, such as 10.0.0.1:8081, or :8081 for every address of this machine"
            }
            Error::Listen { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => "the port is in use already; choose another with --rpc-address",
                io::ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
                _ => "give an address of this machine as HOST:PORT",
            },
            Error::Certificates(tls::Error::Read { error, .. })
                if error.kind() == io::ErrorKind::NotFound =>
            {
                "name the three files with --cert-file, --key-file and --ca-file; `prebake key tls` makes them"
            }
            Error::Certificates(error) => return error.hint(),
            Error::Store(error) => return error.hint(),
            Error::Said(said) => return said.hint.clone(),
            Error::Start(_) | Error::Ended { .. } => return None,
            Error::Orphan(_) => "run `prebake serve --matchbox DIR --rpc-address HOST:PORT`",
        };
        Some(hint.into())
    }
}

/// An error as one process told it to another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    message: String,
    because: Option<Box<Said>>,
    hint: Option<String>,
    exit: u8,
}

impl Said {
    /// An error with its causes, outermost first.
    pub(crate) fn of(chain: Vec<String>, hint: Option<String>, exit: Exit) -> Said {
        let (mut because, exit) = (None, exit as u8);
        for (depth, message) in chain.into_iter().enumerate().rev() {
            let hint = hint.clone().filter(|_| depth == 0);
            because = Some(Box::new(Said { message, because, hint, exit }));
        }
        because.map_or_else(|| Said { message: String::new(), because: None, hint, exit }, |said| *said)
    }

    fn exit(&self) -> Exit {
        Exit::ALL.into_iter().find(|exit| *exit as u8 == self.exit).unwrap_or(Exit::Failed)
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for Said {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.because.as_deref().map(|because| because as &(dyn error::Error + 'static))
    }
}

/// The child's first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum First {
    /// It serves.
    Listening {
        /// The address, as people can type it.
        address: String,
        /// The rights that it has kept, in words.
        confined: String,
    },
    /// It does not.
    Failed(Said),
}

/// The directory, address and certificates of the write side.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The data directory.
    pub directory: PathBuf,
    /// `HOST:PORT`.
    pub address: String,
    /// The server's certificate, in PEM.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of clients.
    pub authorities: PathBuf,
    /// How it judges what is put.
    pub manner: Manner,
}

/// The write side with its socket and certificates, and still with all rights.
pub(crate) struct Bound {
    wish: Wish,
    socket: TcpListener,
    address: String,
    tls: Tls,
}

impl Wish {
    /// Binds the address and reads the certificates.
    ///
    /// # Errors
    /// The first thing that is unavailable.
    pub(crate) fn bind(self, notices: Notices) -> Result<Bound, Error> {
        let address: Address =
            self.address.parse().map_err(|why| Error::Address { address: self.address.clone(), why })?;
        let listen = || {
            let socket = address.tcp()?;
            socket.set_nonblocking(true)?;
            Ok((address.bound_at(socket.local_addr()?), socket))
        };
        let failed = |source| Error::Listen { address: self.address.clone(), source };
        let (address, socket) = listen().map_err(failed)?;
        let identity = Identity::Mutual {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            authorities: self.authorities.clone(),
        };
        let tls = Tls::new(identity, notices).map_err(Error::Certificates)?;
        Ok(Bound { wish: self, socket, address, tls })
    }
}

impl Bound {
    /// The files that it needs while it serves.
    pub(crate) fn files(&self) -> Files {
        let mut files = Files::default();
        files.read(&self.wish.directory);
        self.tls.directories().iter().for_each(|directory| files.read(directory));
        files.grow(&self.wish.directory);
        files
    }

    /// The address that it listens on, as people can type it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Notes for people on the certificates, once the rights are given up.
    pub(crate) fn notes(&self) -> Vec<String> {
        [self.tls.notes(), self.tls.unreadable()].concat()
    }

    /// Opens the data directory, with the rights that are left, and makes the server. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(crate) fn open(self, notices: Notices) -> Result<Server, Error> {
        let Bound { wish, socket, address, tls } = self;
        let store = Store::open(&wish.directory, wish.manner)?;
        let services = Services::new(store, notices.clone());
        Server::new(socket, tls, services, notices).map_err(|source| Error::Listen { address, source })
    }
}

/// Has the kernel kill this process when its parent is gone, also while it is stopped or busy: nothing writes a directory for which
/// the next server may have begun already. The kernel forgets it when the process becomes another user, so that comes first.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn end_with_parent() -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| Error::Orphan(error.into()))
}

/// Waits until the parent has stopped to serve. Signals that a terminal or a service manager sends to both of them are the parent's:
/// it ends the child after it has stopped to answer machines.
///
/// # Errors
/// Standard input is no pipe: there is no parent that would hold its other end.
pub(crate) fn orphaned() -> Result<impl Future<Output = ()>, Error> {
    let own = io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd);
    let mut alive = own.map_err(Error::Orphan)?;
    let (mut interrupts, mut terminations) = (
        signal(SignalKind::interrupt()).map_err(Error::Orphan)?,
        signal(SignalKind::terminate()).map_err(Error::Orphan)?,
    );
    Ok(async move {
        let mut byte = [0];
        loop {
            tokio::select! {
                read = alive.read(&mut byte) => match read {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return,
                },
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
        }
    })
}

/// The write side, as its parent sees it.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    /// Held open as long as the child is to serve.
    alive: Option<ChildStdin>,
    told: ChildStdout,
}

impl Child {
    /// Starts the process, and waits for its first line.
    ///
    /// # Errors
    /// It cannot be started, or does not serve.
    pub(crate) fn start(command: &mut Command) -> Result<(Child, First), Error> {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(Error::Start)?;
        let (Some(alive), Some(mut told)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Error::Start(io::Error::other("it has no pipes")));
        };
        let mut line = String::new();
        BufReader::new((&mut told).take(LONGEST)).read_line(&mut line).map_err(Error::Start)?;
        match serde_json::from_str(&line) {
            Ok(First::Failed(said)) => {
                let _ = process.wait();
                Err(Error::Said(said))
            }
            Ok(first) => Ok((Child { process, alive: Some(alive), told }, first)),
            Err(_) => {
                drop((alive, told));
                let how = process.wait().map_err(Error::Start)?.to_string();
                Err(Error::Ended { how })
            }
        }
    }

    /// Tells the child to end.
    pub(crate) fn stop(&mut self) {
        self.alive = None;
    }

    /// Waits until the child has ended; says how. Must be called within a tokio runtime.
    pub(crate) async fn ended(&mut self) -> io::Result<process::ExitStatus> {
        let told: OwnedFd = self.told.as_fd().try_clone_to_owned()?;
        let mut told = pipe::Receiver::from_owned_fd(told)?;
        while told.read(&mut [0; 256]).await? > 0 {}
        // The kernel has closed the pipe, so that the process is about to be gone.
        self.process.wait()
    }

    /// Waits for the end of a child that was told to end, and ends it if it takes too long, as one that is stopped. Returns
    /// whether that was so.
    pub(crate) async fn settle(&mut self) -> bool {
        self.settle_within(GRACE + SLACK).await
    }

    async fn settle_within(&mut self, patience: Duration) -> bool {
        if tokio::time::timeout(patience, self.ended()).await.is_ok() {
            return false;
        }
        // By its number, which is its own as long as nobody has waited for it.
        let is_killed = self.process.kill().is_ok();
        // One that waits for a disk ends when that answers.
        let _ = tokio::time::timeout(SLACK, self.ended()).await;
        is_killed
    }
}

/// A command that starts this very program again, without the variables of its environment, which may hold secrets and
/// the sockets of a service manager; those of `kept` stay.
pub(crate) fn own_program(kept: &[&str]) -> Command {
    // The file that runs, even where an update has replaced it since.
    let mut command = Command::new(Path::new("/proc/self/exe"));
    let variables = kept.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    command.env_clear().envs(variables);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> Result<(Child, First), Error> {
        Child::start(Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn an_error_of_the_child_is_the_parents_with_its_causes_hint_and_code() {
        let said = Said::of(vec!["outer".into(), "inner".into()], Some("do".into()), Exit::Trust);
        let line = serde_json::to_string(&First::Failed(said)).unwrap();
        let error = start(&format!("echo '{line}'")).unwrap_err();
        assert_eq!(crate::base::error::chain(&error), ["outer", "inner"]);
        assert_eq!((error.exit(), error.hint()), (Exit::Trust, Some("do".into())));
        let error = start("exit 3").unwrap_err();
        assert!(error.to_string().ends_with("ended at its start: exit status: 3"), "{error}");
        let error = start("kill -9 $$").unwrap_err();
        assert!(error.to_string().contains("signal: 9"), "{error}");
        assert!(matches!(start("yes | tr -d '\\n' | head -c 100000"), Err(Error::Ended { .. })));
    }

    #[tokio::test]
    async fn a_child_lives_until_it_is_told_to_end() {
        let first = First::Listening { address: "h:1".into(), confined: "x".into() };
        let line = serde_json::to_string(&first).unwrap();
        let (mut child, first) = start(&format!("echo '{line}'; cat; exit 7")).unwrap();
        assert!(matches!(first, First::Listening { .. }));
        let early = tokio::time::timeout(Duration::from_millis(50), child.ended()).await;
        assert!(early.is_err(), "its parent lives");
        child.stop();
        assert_eq!(child.ended().await.unwrap().code(), Some(7));
    }

    #[tokio::test]
    async fn a_child_that_does_not_end_is_ended() {
        let first = First::Listening { address: "h:1".into(), confined: "x".into() };
        let line = serde_json::to_string(&first).unwrap();
        let (mut child, _) = start(&format!("echo '{line}'; kill -STOP $$")).unwrap();
        child.stop();
        assert!(child.settle_within(Duration::from_millis(50)).await, "it was killed");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.process.wait().unwrap()), Some(9));
        let (mut child, _) = start(&format!("echo '{line}'; cat")).unwrap();
        child.stop();
        assert!(!child.settle().await, "it ended by itself");
    }
}
