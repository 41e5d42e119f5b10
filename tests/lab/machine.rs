//! A QEMU machine that network-boots: no KVM, BIOS or UEFI, iPXE in the default ROM, its serial console in a file.
//!
//! slirp, QEMU's user network, gives it an address by DHCP and the first URL to boot; there the host's loopback is
//! 10.0.2.2. (slirp's `restrict=on` cuts that off too, so the machine is not fenced in.) The bootengine that Flatcar has
//! inside its kernel and Debian's has not comes first: [`start_script`].

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::network::{self, Plug};

/// Console lines that end a boot whatever is waited for. The first is the kernel's, which goes on without the rest of
/// the initrd; the second the bootengine's.
const FATAL: [&str; 5] =
    ["Initramfs unpacking failed", "] FAIL: ", "Kernel panic", "No bootable device", "emergency mode"];

/// The serial number of a machine's disk, unless it is given another.
pub const DISK_SERIAL: &str = "prebake-lab-disk";

/// Lines of console that are kept to show.
const KEPT: usize = 200;

/// How often the console is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Waits until no other test of this process runs a machine, and keeps the others waiting: two boots at once on two cores
/// would run into their timeouts.
///
/// # Panics
/// In a run of all tests: one that takes a turn has `#[ignore]`, and `tests/run.sh` runs those in a process of their own, beside the
/// others. Tests that wait for their turn would else hold all threads of the run, and a processor would rest.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let asked = std::env::args().any(|arg| ["--ignored", "--include-ignored"].contains(&&*arg));
    assert!(asked, "a test that takes the machine has #[ignore]: `cargo test NAME -- --ignored` runs it");
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first script a machine gets: loads `bootengine.cpio.gz`, which lies beside the script, and then boots what the
/// server under test says. iPXE keeps images that were loaded before `chain` and hands them to the kernel first.
pub fn start_script(server: SocketAddr) -> String {
    format!("#!ipxe\ninitrd bootengine.cpio.gz\nchain {}/boot.ipxe\n", seen_from_inside(server))
}

/// The URL under which a machine sees a server on the host's loopback.
pub fn seen_from_inside(server: SocketAddr) -> String {
    format!("http://10.0.2.2:{}", server.port())
}

/// How a machine is to be started.
pub struct Builder {
    mac: String,
    uuid: Option<String>,
    memory_mib: u32,
    /// A URL, or the name of a file that comes by TFTP.
    boot_file: Option<String>,
    tftp: Option<PathBuf>,
    direct: Option<Direct>,
    uefi: bool,
    disk: Option<PathBuf>,
    /// A config that the platform QEMU gives the machine.
    user_data: Option<PathBuf>,
    /// Form of the disk's file, in QEMU's word.
    disk_format: &'static str,
    plug: Option<Plug>,
    /// Further network cards, which it does not boot from, and whether they come before the one that it does.
    others: Vec<(Plug, String, bool)>,
    /// Whether its network card has a ROM: QEMU's, an iPXE.
    rom: bool,
    disk_serial: String,
    reboots: bool,
    console: PathBuf,
}

/// Files that QEMU hands to a machine, as a loader would.
struct Direct {
    kernel: PathBuf,
    initrd: PathBuf,
    args: String,
}

impl Builder {
    /// Its network card's address, which servers select nodes by.
    pub fn mac(mut self, mac: &str) -> Self {
        self.mac = mac.into();
        self
    }

    /// Its SMBIOS UUID; all zeros without.
    pub fn uuid(mut self, uuid: &str) -> Self {
        self.uuid = Some(uuid.into());
        self
    }

    /// Its memory; 2048 MiB by default, enough for a base of 40 MiB.
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// UEFI firmware (OVMF) instead of a BIOS.
    pub fn uefi(mut self) -> Self {
        self.uefi = true;
        self
    }

    /// A disk, which the machine writes to.
    pub fn disk(mut self, image: &Path) -> Self {
        self.disk = Some(image.into());
        self
    }

    /// A disk that is a qcow2 file, which the machine writes to.
    pub fn qcow2(mut self, image: &Path) -> Self {
        self.disk_format = "qcow2";
        self.disk(image)
    }

    /// The config that the platform QEMU gives, by the firmware's configuration, under the name that Debian's Ignition
    /// asks for. Flatcar's asks for `opt/org.flatcar-linux/config`.
    pub fn user_data(mut self, config: &Path) -> Self {
        self.user_data = Some(config.into());
        self
    }

    /// A network other than QEMU's own, which it boots from if that has anything to boot.
    pub fn plug(mut self, plug: Plug) -> Self {
        self.plug = Some(plug);
        self
    }

    /// A further network card, which it does not boot from: `first` is where its system finds it.
    pub fn card(mut self, plug: Plug, mac: &str, first: bool) -> Self {
        self.others.push((plug, mac.into(), first));
        self
    }

    /// A network card without an iPXE of its own: UEFI firmware then boots as it can, a BIOS cannot.
    pub fn without_rom(mut self) -> Self {
        self.rom = false;
        self
    }

    /// The serial number of its disk.
    pub fn disk_serial(mut self, serial: &str) -> Self {
        self.disk_serial = serial.into();
        self
    }

    /// A machine that starts again when it reboots, instead of being turned off.
    pub fn reboots(mut self) -> Self {
        self.reboots = true;
        self
    }

    /// The network's DHCP names a file of a directory that TFTP serves, as it does for loaders other than iPXE. Under UEFI
    /// the firmware's own network stack takes it.
    pub fn tftp(mut self, root: &Path, file: &str) -> Self {
        self.tftp = Some(root.into());
        self.boot_file = Some(file.into());
        self
    }

    /// The network has nothing to boot.
    pub fn no_network_boot(mut self) -> Self {
        self.boot_file = None;
        self
    }

    /// Turns the machine on.
    pub fn start(self) -> io::Result<Machine> {
        let Builder { mac, uuid, memory_mib, boot_file, tftp, direct, uefi, disk, .. } = self;
        let Builder { disk_format, disk_serial, reboots, plug, others, rom, console, user_data, .. } = self;
        File::create(&console)?;
        // setpriv, so that a machine never outlives the program that started it, however that ends.
        let mut command = match &plug {
            Some(plug) => network::command_in(&plug.namespace, "setpriv"),
            None => Command::new("setpriv"),
        };
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            &memory_mib.to_string(),
        ]);
        command.args(["-nographic", "-nodefaults"]);
        if !reboots {
            command.arg("-no-reboot");
        }
        command.arg("-serial").arg(format!("file:{}", console.display()));
        let bootfile = boot_file.as_ref().map(|file| format!(",bootfile={file}")).unwrap_or_default();
        let root = tftp.as_ref().map(|root| format!(",tftp={}", root.display())).unwrap_or_default();
        let further = |command: &mut Command, wanted: bool| {
            for (index, (Plug { tap, .. }, mac, first)) in others.iter().enumerate() {
                if *first == wanted {
                    let id = format!("n{}", index + 1);
                    command.arg("-netdev").arg(format!("tap,id={id},ifname={tap},script=no,downscript=no"));
                    command.arg("-device").arg(format!("virtio-net-pci,netdev={id},mac={mac},romfile="));
                }
            }
        };
        further(&mut command, true);
        let netdev = match &plug {
            Some(Plug { tap, .. }) => format!("tap,id=n0,ifname={tap},script=no,downscript=no"),
            None => format!("user,id=n0,net=10.0.2.0/24{root}{bootfile}"),
        };
        command.arg("-netdev").arg(netdev);
        // Without a boot file the network has nothing to boot, so the disk comes first.
        let (network, first) = if boot_file.is_some() || plug.is_some() { (1, 2) } else { (2, 1) };
        // iPXE is the ROM of QEMU's cards; without, OVMF drives them itself.
        let rom = if rom && !(uefi && tftp.is_some()) { "" } else { ",romfile=" };
        command.arg("-device").arg(format!("virtio-net-pci,netdev=n0,mac={mac},bootindex={network}{rom}"));
        further(&mut command, false);
        if let Some(disk) = disk {
            // Unsafe only if this host loses its power: what a machine flushes need not wait for the host's disk.
            let disk = disk.display();
            let drive = format!("id=d0,if=none,format={disk_format},cache=unsafe,file={disk}");
            let device = format!("virtio-blk-pci,drive=d0,serial={disk_serial},bootindex={first}");
            command.arg("-drive").arg(drive).arg("-device").arg(device);
        }
        if uefi {
            command.args(["-bios", "/usr/share/ovmf/OVMF.fd"]);
        }
        if let Some(config) = user_data {
            command.arg("-fw_cfg").arg(format!("name=opt/com.coreos/config,file={}", config.display()));
        }
        if let Some(Direct { kernel, initrd, args }) = direct {
            command.args(["-append", &args]).arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
        }
        if let Some(uuid) = uuid {
            command.args(["-uuid", &uuid]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Machine { child, started: Instant::now(), console: Console::open(&console)? })
    }
}

/// A machine that runs until it is dropped.
pub struct Machine {
    child: Child,
    started: Instant,
    console: Console,
}

/// A console line that was waited for.
#[derive(Debug)]
pub struct Event {
    /// Which of the patterns it holds.
    pub pattern: usize,
    /// The line, without escape sequences.
    pub line: String,
    /// Since the machine was turned on.
    pub after: Duration,
}

/// Why nothing that was waited for came.
#[derive(Debug)]
pub enum Stall {
    /// A line that says that the boot is lost.
    Fatal(String),
    /// QEMU ended.
    Ended(ExitStatus),
    /// Nothing for this long.
    TimedOut(Duration),
    /// The console cannot be read.
    Console(io::Error),
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stall::Fatal(line) => write!(f, "the machine says: {line}"),
            Stall::Ended(status) => write!(f, "QEMU ended: {status}"),
            Stall::TimedOut(time) => write!(f, "nothing came within {} s", time.as_secs()),
            Stall::Console(error) => write!(f, "the console cannot be read: {error}"),
        }
    }
}

impl std::error::Error for Stall {}

impl Machine {
    /// A machine that boots from a URL and writes its console to a file.
    pub fn builder(boot_url: &str, console: &Path) -> Builder {
        Builder {
            mac: "52:54:00:00:00:01".into(),
            uuid: None,
            memory_mib: 2048,
            boot_file: Some(boot_url.into()),
            tftp: None,
            direct: None,
            uefi: false,
            disk: None,
            user_data: None,
            disk_format: "raw",
            plug: None,
            others: Vec::new(),
            rom: true,
            disk_serial: DISK_SERIAL.into(),
            reboots: false,
            console: console.into(),
        }
    }

    /// A machine on a network that may have something to boot.
    pub fn on(plug: Plug, console: &Path) -> Builder {
        Machine::builder("", console).no_network_boot().plug(plug)
    }

    /// A machine that boots a kernel with one initrd, without a loader.
    pub fn of_files(kernel: &Path, initrd: &Path, args: &str, console: &Path) -> Builder {
        let direct = Direct { kernel: kernel.into(), initrd: initrd.into(), args: args.into() };
        Builder { direct: Some(direct), memory_mib: 1024, ..Machine::builder("", console).no_network_boot() }
    }

    /// Waits for the next line that holds one of the patterns. Lines that were passed over do not come again.
    pub fn wait_for(&mut self, patterns: &[&str], timeout: Duration) -> Result<Event, Stall> {
        let deadline = Instant::now() + timeout;
        loop {
            // Asked first, so that what a machine said before it ended is still read.
            let ended = self.child.try_wait().map_err(Stall::Console)?;
            self.console.read().map_err(Stall::Console)?;
            while let Some(line) = self.console.next_line() {
                if let Some(pattern) = patterns.iter().position(|pattern| line.contains(pattern)) {
                    return Ok(Event { pattern, line, after: self.started.elapsed() });
                }
                if FATAL.iter().any(|fatal| line.contains(fatal)) {
                    return Err(Stall::Fatal(line));
                }
            }
            if let Some(status) = ended {
                return Err(Stall::Ended(status));
            }
            if Instant::now() >= deadline {
                return Err(Stall::TimedOut(timeout));
            }
            thread::sleep(POLL);
        }
    }

    /// Reads what is on the console by now, for [`last_lines`](Self::last_lines); fails if the boot is lost.
    pub fn look(&mut self) -> Result<(), Stall> {
        match self.wait_for(&[], Duration::ZERO) {
            Err(Stall::TimedOut(_)) => Ok(()),
            Err(stall) => Err(stall),
            Ok(_) => Ok(()),
        }
    }

    /// The console's last lines.
    pub fn last_lines(&self, count: usize) -> Vec<&str> {
        self.console.last_lines(count)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Follows the console's file.
struct Console {
    file: File,
    /// Read, but not a whole line yet.
    partial: Vec<u8>,
    /// Whole lines that nobody has seen.
    fresh: VecDeque<String>,
    /// The newest lines that somebody has seen.
    seen: VecDeque<String>,
}

impl Console {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Console {
            file: File::open(path)?,
            partial: Vec::new(),
            fresh: VecDeque::new(),
            seen: VecDeque::new(),
        })
    }

    fn read(&mut self) -> io::Result<()> {
        self.file.read_to_end(&mut self.partial)?;
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.fresh.push_back(plain(&line));
        }
        Ok(())
    }

    fn next_line(&mut self) -> Option<String> {
        let line = self.fresh.pop_front()?;
        if self.seen.len() == KEPT {
            self.seen.pop_front();
        }
        self.seen.push_back(line.clone());
        Some(line)
    }

    fn last_lines(&self, count: usize) -> Vec<&str> {
        let lines = self.seen.iter().chain(&self.fresh).map(String::as_str).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        lines[lines.len().saturating_sub(count)..].to_vec()
    }
}

/// A console line without its end and without ANSI escape sequences (ECMA-48: `ESC [`, parameters, a letter).
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\x1b' if chars.as_str().starts_with('[') => {
                chars.by_ref().skip(1).find(|c| ('@'..='~').contains(c));
            }
            char if char.is_control() => {}
            char => plain.push(char),
        }
    }
    plain.trim_end().to_owned()
}
