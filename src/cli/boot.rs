//! `prebake boot`

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, ValueEnum};
use rustix::fd::OwnedFd;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::sync::oneshot;

use super::project::block_on;
use crate::base::arch::Arch;
use crate::base::disk;
use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::base::unfinished::{Directory, on_interrupt};
use crate::flatcar::memory;
use crate::machine::vm::firmware::Image;
use crate::machine::vm::{Accelerator, Bus, Disk, Error, HOST, Start, Vm, in_path, program};
use crate::serve::endpoint::guard::Guard;
use crate::serve::http::listen::Listener;
use crate::serve::http::server::Server;
use crate::serve::machines::monitor::Monitor;
use crate::serve::notice::{Notice, Notices};
use crate::serve::rehearsal::loader::load;
use crate::serve::rehearsal::{Player, Wanted};
use crate::serve::site::content::{Additions, Content, Secrets};
use crate::serve::site::labels::Labels;
use crate::tree::names::{Endpoint, PRIVATE};
use crate::tree::open::Tree;

/// How often the machine is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How long a token for a private config is valid: a boot without KVM takes minutes.
const LIFE: Duration = Duration::from_secs(3600);
/// How long QEMU may take to give the terminal back, once it is told to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Start one machine of a tree in QEMU, with its console here
///
/// The machine boots as it would in the rack: DHCP names a script, iPXE fetches it from a server that this command runs, then
/// kernel, initrds and config; its reports arrive, too. The console is on this terminal: Ctrl-A X ends the machine, Ctrl-C is
/// sent to it. Returns 0 when it powers off. Uses /dev/kvm where that may be opened; without, a boot takes minutes.
#[derive(Args)]
pub(crate) struct BootArgs {
    /// A build, such as output/kubernetes/current
    tree: PathBuf,
    #[command(flatten)]
    wanted: WantedArgs,
    /// Have QEMU load kernel and initrds, instead of iPXE over the network: quicker, and DHCP and iPXE are not tried
    #[arg(long)]
    direct: bool,
    /// The machine's firmware [default: bios on amd64; arm64 has only UEFI]
    #[arg(long, value_name = "KIND")]
    firmware: Option<Firmware>,
    /// Its memory, such as 4GiB [default: what its initrds need, 3 GiB at least]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
    /// A disk: a file, or the size of an empty one that goes with the machine, such as 20GiB
    #[arg(long, value_name = "FILE|SIZE")]
    disk: Option<Disk>,
    /// End it after this time, with exit code 8
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Keep what its console says in this file, too
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Directory of the private configs, if the tree was built with --private; those inside of a tree are given as they are
    #[arg(long, value_name = "DIR")]
    private: Option<PathBuf>,
}

/// Which machine.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct WantedArgs {
    /// The node to be
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The profile of a machine that no node names
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

/// Firmware of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Firmware {
    Bios,
    Uefi,
}

impl BootArgs {
    /// Boots until the machine powers off.
    pub(crate) fn run(self) -> Result<()> {
        let scratch =
            Directory::scratch().map_err(disk::Error::io("make a directory in", &std::env::temp_dir()))?;
        let (monitor, content, player) = self.content(scratch.path())?;
        let program = program(player.arch)?;
        let disk = self.disk(scratch.path())?;
        block_on(async {
            let listener = Listener::bind("127.0.0.1:0")?;
            let address = listener.address().map_err(disk::Error::io("listen on", "127.0.0.1".as_ref()))?;
            let notices = notices(monitor.clone());
            let server = Server::new(vec![listener], content, monitor.clone(), notices);
            let server = server.map_err(disk::Error::io("listen on", "127.0.0.1".as_ref()))?;
            let server = match self.secrets() {
                Some(Secrets { outside }) => server.guard(Guard::new(LIFE).outside(outside)),
                None => server,
            };
            let (stop, stopped) = oneshot::channel::<()>();
            let serving = tokio::spawn(server.run(async {
                let _ = stopped.await;
            }));
            let port = address.port();
            let by_network = !self.direct && player.arch == Arch::Amd64;
            let start = match by_network {
                true => {
                    Start::Network { url: format!("http://{HOST}:{port}{}", Endpoint::FirstScript.path()) }
                }
                false => load(([127, 0, 0, 1], port).into(), &player, scratch.path()).await?,
            };
            let vm = self.vm(&program, &player, start, disk)?;
            if !by_network && !self.direct {
                tell!(
                    "QEMU's network cards have no iPXE for {}: kernel and initrds are loaded directly",
                    player.arch
                );
            }
            let Player { name, profile, .. } = &player;
            let memory = vm.memory;
            tell!("booting {name} (profile {profile}) with {memory} of memory, run by {}", vm.accelerator);
            tell!("page http://127.0.0.1:{port}/; Ctrl-A X ends the machine");
            let ended = attend(start_of(&program, &vm)?, self.timeout).await;
            tell!("{}", told(&monitor, &player));
            let _ = stop.send(());
            let _ = serving.await;
            ended
        })
    }

    /// The monitor, the tree's content, and the machine that is to be played.
    fn content(&self, scratch: &Path) -> Result<(Arc<Monitor>, Arc<Content>, Player)> {
        let monitor = Arc::new(Monitor::open(None)?);
        let content = |nodes| {
            let additions = Additions { signer: None, nodes, secrets: self.secrets() };
            let open = Box::new(|path: &Path| Tree::believed(path, None));
            Content::tree(&self.tree, open, additions, notices(monitor.clone()))
        };
        let plain = content(None)?;
        let wanted = match (&self.wanted.node, &self.wanted.profile) {
            (Some(node), _) => Wanted::Node(node.clone()),
            (None, profile) => Wanted::Profile(profile.clone().unwrap_or_default()),
        };
        let player = Player::of(&plain.site(), &wanted)?;
        let content = match wanted {
            Wanted::Node(_) => plain,
            Wanted::Profile(_) => {
                let nodes = scratch.join("nodes.yaml");
                std::fs::write(&nodes, player.inventory()).map_err(disk::Error::io("write", &nodes))?;
                content(Some(nodes))?
            }
        };
        Ok((monitor, Arc::new(content), player))
    }

    /// The secrets of the tree, if it has any: the machine gets them as with `serve --guard`.
    fn secrets(&self) -> Option<Secrets> {
        let has_some = self.private.is_some() || self.tree.join(PRIVATE).exists();
        has_some.then(|| Secrets { outside: self.private.clone() })
    }

    /// The file that is the machine's disk.
    fn disk(&self, scratch: &Path) -> Result<Option<PathBuf>> {
        match &self.disk {
            None => Ok(None),
            Some(Disk::File(path)) if !path.exists() => Err(Error::NoDisk { path: path.clone() }.into()),
            Some(Disk::File(path)) => Ok(Some(path.clone())),
            Some(Disk::Scratch(Bytes(size))) => {
                let path = scratch.join("disk");
                let made = File::create(&path).and_then(|file| file.set_len(*size));
                made.map_err(disk::Error::io("make", &path))?;
                Ok(Some(path))
            }
        }
    }

    fn vm(&self, program: &Path, player: &Player, start: Start, disk: Option<PathBuf>) -> Result<Vm> {
        let default = if player.arch == Arch::Amd64 || self.direct { Firmware::Bios } else { Firmware::Uefi };
        let firmware = match self.firmware.unwrap_or(default) {
            Firmware::Bios => None,
            Firmware::Uefi => Some(Image::find(player.arch)?),
        };
        let accelerator = Accelerator::of(player.arch, program).unwrap_or_else(|why| {
            tell!("without KVM, as {why}: the boot is slow");
            Accelerator::Tcg
        });
        Ok(Vm {
            arch: player.arch,
            accelerator,
            firmware,
            memory: self.memory.unwrap_or_else(|| memory::needed(player.initrds.iter().copied(), 0)),
            processors: Vm::processors(),
            mac: player.mac,
            uuid: player.uuid.clone(),
            serial: player.serial.clone(),
            start,
            disk,
            bus: Bus::default(),
            console: None,
            log: self.log.clone(),
        })
    }
}

/// Receives the server's notices: the monitor does, and people get what is no request.
fn notices(monitor: Arc<Monitor>) -> Notices {
    Arc::new(move |notice| {
        let is_told = matches!(notice, Notice::Corrupt(_) | Notice::Warning { .. });
        if let Some(line) = monitor.see(notice).filter(|_| is_told) {
            tell!("{}", line.to_text());
        }
    })
}

/// Turns the machine on.
fn start_of(program: &Path, vm: &Vm) -> Result<Child> {
    // A machine must not outlive this process, however that ends: setpriv is part of util-linux.
    let mut command = match in_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    let child = command.args(vm.arguments()).spawn();
    Ok(child.map_err(|source| Error::Run { program: program.to_owned(), source })?)
}

/// Waits until the machine is off, for as long as it may run. However this process ends, it ends the machine.
async fn attend(mut child: Child, timeout: Option<Duration>) -> Result<()> {
    // A number may be another process's once this one was waited for; this descriptor never is.
    let qemu = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
    let qemu = match qemu.map_err(|errno| disk::Error::io("watch", "QEMU".as_ref())(errno.into())) {
        Ok(qemu) => Arc::new(qemu),
        Err(error) => {
            let _ = child.kill().and_then(|()| child.wait());
            return Err(error.into());
        }
    };
    let interrupted = qemu.clone();
    on_interrupt(move || end(&interrupted));
    let started = Instant::now();
    loop {
        let ended = child.try_wait().map_err(disk::Error::io("wait for", "QEMU".as_ref()))?;
        match ended {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(Error::Failed { status }.into()),
            None => {}
        }
        if let Some(patience) = timeout.filter(|timeout| started.elapsed() > *timeout) {
            let _ = tokio::task::spawn_blocking(move || {
                end(&qemu);
                child.wait()
            })
            .await;
            return Err(Error::TimedOut { patience: humantime::format_duration(patience) }.into());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Ends the machine: SIGTERM, so that QEMU gives the terminal back, then SIGKILL.
fn end(qemu: &OwnedFd) {
    let started = Instant::now();
    let mut signal = Signal::TERM;
    let _ = pidfd_send_signal(qemu, signal);
    // Whether it has ended, and is left for `attend` to wait for; an error says that it was waited for.
    let looks = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while let Ok(None) = waitid(WaitId::PidFd(qemu.as_fd()), looks) {
        if started.elapsed() > PATIENCE && signal == Signal::TERM {
            signal = Signal::KILL;
            let _ = pidfd_send_signal(qemu, signal);
        }
        if started.elapsed() > 2 * PATIENCE {
            return;
        }
        std::thread::sleep(POLL);
    }
}

/// How far the machine came, for people.
fn told(monitor: &Monitor, player: &Player) -> String {
    let labels = Labels::parse(&format!("mac={}", player.mac));
    let machine = monitor.machine(&labels, SystemTime::now());
    let name = &player.name;
    let Some(machine) = machine else { return format!("{name} asked for nothing") };
    let stage = machine.stage.map(|stage| format!(", and came as far as `{stage}`")).unwrap_or_default();
    let trouble =
        machine.troubles.first().map(|trouble| format!(": {}", super::say::printable(&trouble.what)));
    format!("{name} is off{stage}{}", trouble.unwrap_or_default())
}
