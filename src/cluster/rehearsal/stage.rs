//! The namespace of a rehearsal from within: its bridge, its machines, and the programs beside them.
//!
//! One process, begun by `unshare` as the first in the namespace, plugs everything together, runs the one program that the rehearsal is
//! about, and ends the rest. Each child is told by the kernel to end when this process does, so that nothing outlives even a SIGKILL.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use serde::{Deserialize, Serialize};

use super::{DISK, Error, Host, Plan, console, tap, tool};
use crate::base::disk;
use crate::base::unfinished::on_interrupt;
use crate::base::words;

/// The plan's file in the directory of a rehearsal.
const PLAN: &str = "plan.json";
/// How often children are looked at.
const POLL: Duration = Duration::from_millis(100);
/// How long a child that is told to end may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a program that is told to end at the same time as its machines may take to tell it: a server writes its records.
const GRACE: Duration = Duration::from_secs(10);

/// All that happens in the namespace.
#[derive(Debug, Serialize, Deserialize)]
pub struct Script {
    /// The machines and their network.
    pub plan: Plan,
    /// Programs that run beside the machines, and end with them.
    pub beside: Vec<Vec<OsString>>,
    /// The program that the rehearsal is about; its end is that of the rehearsal.
    pub about: Vec<OsString>,
    /// Whether the machines outlive it.
    pub keep: bool,
}

/// A machine that was left behind.
#[derive(Debug)]
pub struct Left {
    /// Its name, or that of a program beside the machines.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// The socket of its console, if it has one.
    pub console: Option<PathBuf>,
}

/// The end of a rehearsal.
#[derive(Debug)]
pub struct End {
    /// How the program ended that it is about.
    pub code: i32,
    /// Processes that run on.
    pub left: Vec<Left>,
}

/// The words that begin a program in a namespace of its own, of root or of a user who is root in it.
fn within(host: &Host) -> Vec<OsString> {
    let mut words: Vec<OsString> =
        vec![tool("unshare").unwrap_or_else(|| "unshare".into()).into(), "--net".into()];
    if !host.is_root {
        words.push("--map-root-user".into());
    }
    words.push("--".into());
    words
}

/// The words before a program that ends with its parent. They come behind `unshare`, for new credentials clear what they set.
fn bound() -> Vec<OsString> {
    let setpriv = tool("setpriv").unwrap_or_else(|| "setpriv".into());
    vec![setpriv.into(), "--pdeathsig".into(), "TERM".into(), "--".into()]
}

/// Whether this user can have a namespace with a tap device in it.
pub(super) fn try_network(host: &Host) -> Result<(), Error> {
    let mut words = within(host);
    words.extend([
        tool("ip").unwrap_or_else(|| "ip".into()).into(),
        "tuntap".into(),
        "add".into(),
        "tap0".into(),
        "mode".into(),
        "tap".into(),
    ]);
    let output = command(&words).stdin(Stdio::null()).output();
    let output = output.map_err(|source| Error::Run { program: "unshare".into(), source })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::NoNetwork { why: last_line(&output.stderr) }),
    }
}

/// The process that acts a script: the program with `words`, in a namespace of its own. It ends with this process.
///
/// # Errors
/// The script cannot be written, or the program not be run.
pub fn begin(host: &Host, script: &Script, work: &Path, words: &[OsString]) -> Result<Child, Error> {
    let text = serde_json::to_vec(script).map_err(|error| Error::Plan { why: error.to_string() })?;
    disk::write_secret(&work.join(PLAN), &text)?;
    let mut all = within(host);
    all.extend(bound());
    all.extend_from_slice(words);
    command(&all).spawn().map_err(|source| Error::Run { program: "unshare".into(), source })
}

fn command(words: &[OsString]) -> Command {
    let (program, arguments) =
        words.split_first().map_or((OsString::new(), &[][..]), |(program, rest)| (program.clone(), rest));
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Acts the script in a directory, in this process's namespace.
///
/// # Errors
/// The network cannot be made, or a machine does not start or does not stay.
pub fn act(work: &Path, tell: &dyn Fn(String)) -> Result<End, Error> {
    let bytes = std::fs::read(work.join(PLAN)).map_err(disk::Error::io("read", &work.join(PLAN)))?;
    let script: Script =
        serde_json::from_slice(&bytes).map_err(|error| Error::Plan { why: words::of_serde(&error) })?;
    let host = script.plan.judged_within()?;
    let plan = &script.plan;
    ip("link set lo up")?;
    ip(&format!("link add {} type bridge", plan.bridge))?;
    ip(&format!("addr add {}/{} dev {}", plan.address, plan.prefix, plan.bridge))?;
    ip(&format!("link set {} up", plan.bridge))?;
    let mut cast = Cast::new(script.keep);
    for (number, words) in script.beside.iter().enumerate() {
        let name = words.first().and_then(|word| Path::new(word).file_name()).unwrap_or_default();
        let log = work.join(format!("beside-{number}.log"));
        cast.add(name.to_string_lossy().into_owned(), words.clone(), &log, None)?;
    }
    for (number, machine) in plan.machines.iter().enumerate() {
        let tap = tap(number);
        ip(&format!("tuntap add {tap} mode tap"))?;
        ip(&format!("link set {tap} master {} up", plan.bridge))?;
        let vm = plan.vm(machine, number, &host, work)?;
        if let Some(disk) = &vm.disk {
            let made = File::create(disk).and_then(|file| file.set_len(DISK));
            made.map_err(disk::Error::io("make", disk))?;
        }
        let words = std::iter::once(host.qemu.clone().into()).chain(vm.arguments()).collect();
        let log = work.join(format!("{}.qemu", machine.name));
        cast.add(machine.name.clone(), words, &log, Some(work.join(console(machine))))?;
        tell(format!("{machine} has power"));
    }
    let mut about = bound();
    about.extend(script.about.iter().cloned());
    let main = command(&about)
        .spawn()
        .map_err(|source| Error::Run { program: "the rehearsed verb".into(), source })?;
    let status = cast.watch(main)?;
    let code = status.code().unwrap_or(1);
    let left = if script.keep { cast.leave() } else { Vec::new() };
    Ok(End { code, left })
}

impl Plan {
    /// The host, as it was judged outside; nothing that needs more than a look.
    fn judged_within(&self) -> Result<Host, Error> {
        use crate::base::arch::Arch;
        use crate::machine::vm::{self, Accelerator, Vm};
        let qemu = vm::program(Arch::Amd64).map_err(Error::Vm)?;
        let accelerator = Accelerator::of(Arch::Amd64, &qemu).unwrap_or(Accelerator::Tcg);
        Ok(Host { qemu, accelerator, without_kvm: None, is_root: true, processors: Vm::processors() })
    }
}

fn ip(words: &str) -> Result<(), Error> {
    let program = tool("ip").unwrap_or_else(|| "ip".into());
    let output = Command::new(program).args(words.split(' ')).stdin(Stdio::null()).output();
    let output = output.map_err(|source| Error::Run { program: "ip".into(), source })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::Ip { words: words.into(), why: last_line(&output.stderr) }),
    }
}

fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    words::printable(text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing"))
}

/// Processes that an interrupt ends. A descriptor never becomes another process, as a number does once its process was waited for.
static RUNNING: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// The machines, and the programs beside them.
struct Cast {
    keep: bool,
    players: Vec<Player>,
}

struct Player {
    name: String,
    child: Child,
    log: PathBuf,
    console: Option<PathBuf>,
}

impl Cast {
    fn new(keep: bool) -> Cast {
        on_interrupt(|| {
            let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            end(&std::mem::take(&mut *running), PATIENCE);
        });
        Cast { keep, players: Vec::new() }
    }

    fn add(
        &mut self,
        name: String,
        words: Vec<OsString>,
        log: &Path,
        console: Option<PathBuf>,
    ) -> Result<(), Error> {
        let out = File::create(log).map_err(disk::Error::io("make", log))?;
        let err = out.try_clone().map_err(disk::Error::io("make", log))?;
        let run = |source| Error::Run { program: name.clone(), source };
        let mut command = match self.keep {
            // A process that stays is no part of this one's terminal.
            true => {
                let mut command = command(&words);
                command.process_group(0);
                command
            }
            false => {
                let mut all = bound();
                all.extend(words);
                command(&all)
            }
        };
        if console.is_some() {
            command.current_dir(disk::directory_of(log));
        }
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(run)?;
        register(&child);
        self.players.push(Player { name, child, log: log.to_owned(), console });
        Ok(())
    }

    /// Waits for the program that the rehearsal is about, as long as all others are there.
    fn watch(&mut self, mut main: Child) -> Result<ExitStatus, Error> {
        register(&main);
        loop {
            let wait = |child: &mut Child| {
                child.try_wait().map_err(disk::Error::io("wait for", "a program".as_ref()))
            };
            if let Some(status) = wait(&mut main)? {
                return Ok(status);
            }
            for player in &mut self.players {
                if let Some(status) = wait(&mut player.child)? {
                    let said = std::fs::read(&player.log).unwrap_or_default();
                    let why = if said.is_empty() { status.to_string() } else { last_line(&said) };
                    let fds: Vec<OwnedFd> =
                        pidfd_open(Pid::from_child(&main), PidfdFlags::empty()).into_iter().collect();
                    end(&fds, GRACE);
                    let _ = main.wait();
                    return Err(Error::Died { name: player.name.clone(), why });
                }
            }
            sleep(POLL);
        }
    }

    fn leave(&mut self) -> Vec<Left> {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let players = std::mem::take(&mut self.players).into_iter();
        players
            .map(|player| Left { pid: player.child.id(), name: player.name, console: player.console })
            .collect()
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        let fds = self
            .players
            .iter()
            .filter_map(|player| pidfd_open(Pid::from_child(&player.child), PidfdFlags::empty()).ok());
        end(&fds.collect::<Vec<_>>(), PATIENCE);
        for player in &mut self.players {
            let _ = player.child.wait();
        }
    }
}

fn register(child: &Child) {
    if let Ok(fd) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(fd);
    }
}

/// Ends processes: SIGTERM, then SIGKILL.
fn end(processes: &[OwnedFd], patience: Duration) {
    let signal = |signal| {
        for process in processes {
            let _ = pidfd_send_signal(process, signal);
        }
    };
    let looks = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let run =
        || processes.iter().any(|process| matches!(waitid(WaitId::PidFd(process.as_fd()), looks), Ok(None)));
    signal(Signal::TERM);
    let begun = Instant::now();
    while run() && begun.elapsed() < patience {
        sleep(POLL);
    }
    signal(Signal::KILL);
    while run() && begun.elapsed() < 2 * patience {
        sleep(POLL);
    }
}
