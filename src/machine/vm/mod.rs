//! A machine that QEMU makes: what it consists of, and the command line that says so.
//!
//! Owns QEMU's options, the search for its program and for UEFI firmware, and whether KVM can be used. The machine stands in
//! QEMU's user network, where the host's loopback is [`HOST`]; there it boots over its network card as it would in a rack, or
//! from files that QEMU hands it. Or its card is the other end of a tap device. Leaves the process to the caller.

pub(crate) mod firmware;

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use self::firmware::Image;
use super::node::Mac;
use crate::base::arch::Arch;
use crate::base::error::{Advice, Exit};
use crate::base::size::Bytes;

/// The host's loopback, as a machine in QEMU's user network sees it (QEMU, "Using the user mode network stack").
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// Most processors that a machine gets.
const PROCESSORS: usize = 4;

/// Opened to use the processor's own virtualization.
const KVM: &str = "/dev/kvm";

/// How a machine is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// By the iPXE in its network card's ROM, which DHCP tells this URL.
    Network {
        /// The first script.
        url: String,
    },
    /// By the iPXE in its network card's ROM, which asks those at the other end of a tap device.
    Wire {
        /// The device's name.
        tap: String,
    },
    /// By QEMU, as a loader would.
    Files {
        /// The kernel.
        kernel: PathBuf,
        /// All initrds, one behind the other.
        initrd: PathBuf,
        /// The kernel's command line.
        args: String,
    },
}

/// The executor of a machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// A program, some twenty times slower.
    Tcg,
}

impl Accelerator {
    /// The fastest that this host has for an architecture, or why it is not KVM.
    pub(crate) fn of(arch: Arch, program: &Path) -> Result<Accelerator, String> {
        if arch.uname() != env::consts::ARCH {
            return Err(format!("this host is no {arch} machine"));
        }
        let opened = OpenOptions::new().read(true).write(true).open(KVM);
        let opened = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no {KVM}"),
            io::ErrorKind::PermissionDenied => {
                format!("{KVM} may not be used by this user: join the group `kvm`")
            }
            _ => format!("{KVM}: {error}"),
        });
        drop(opened?);
        // Inside of another machine the device may be there and QEMU fail all the same.
        match runs(program, Accelerator::Kvm) {
            true => Ok(Accelerator::Kvm),
            false => Err(format!("QEMU cannot use {KVM} here")),
        }
    }

    fn arguments(self) -> [&'static str; 4] {
        match self {
            Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Accelerator::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

/// Whether QEMU makes a machine, which it does not start.
fn runs(program: &Path, accelerator: Accelerator) -> bool {
    let mut command = Command::new(program);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-S", "-monitor", "stdio"]);
    command.args(accelerator.arguments()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    if let Some(mut monitor) = child.stdin.take() {
        // If QEMU has ended already, its status says so.
        let _ = monitor.write_all(b"quit\n");
        // QEMU reads nothing further, and ends by itself.
        let ended = child.wait();
        return ended.is_ok_and(|status| status.success());
    }
    false
}

/// The disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// A file, which keeps what is written.
    File(PathBuf),
    /// An empty one of this size, which goes with the machine.
    Scratch(Bytes),
}

impl FromStr for Disk {
    type Err = String;

    /// A size such as `20GiB`, else a path.
    fn from_str(text: &str) -> Result<Disk, String> {
        match text.parse() {
            Ok(Bytes(0)) => Err("an empty disk is none".into()),
            Ok(size) => Ok(Disk::Scratch(size)),
            Err(_) if text.is_empty() => Err("it is neither a file nor a size such as 20GiB".into()),
            Err(_) => Ok(Disk::File(text.into())),
        }
    }
}

/// How a disk is attached, by which the machine knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bus {
    /// `/dev/vda`, `/dev/disk/by-id/virtio-SERIAL`.
    Virtio {
        /// Its serial number, of 20 characters at most.
        serial: String,
    },
    /// `/dev/sda`, `/dev/disk/by-id/ata-MODEL_SERIAL`.
    Ata {
        /// Its model, of 40 characters at most.
        model: String,
        /// Its serial number, of 20 characters at most.
        serial: String,
    },
    /// `/dev/nvme0n1`, `/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_SERIAL`.
    Nvme {
        /// Its serial number, of 20 characters at most.
        serial: String,
    },
}

impl Default for Bus {
    fn default() -> Bus {
        Bus::Virtio { serial: "prebake".into() }
    }
}

impl Bus {
    /// QEMU's device for it.
    fn device(&self) -> String {
        let quoted = |text: &str| text.replace(',', ",,");
        match self {
            Bus::Virtio { serial } => format!("virtio-blk-pci,drive=disk,serial={}", quoted(serial)),
            Bus::Ata { model, serial } => {
                format!("ide-hd,drive=disk,model={},serial={}", quoted(model), quoted(serial))
            }
            Bus::Nvme { serial } => format!("nvme,drive=disk,serial={}", quoted(serial)),
        }
    }
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vm {
    /// Its architecture.
    pub arch: Arch,
    /// Its executor.
    pub accelerator: Accelerator,
    /// Its UEFI firmware; QEMU's BIOS without.
    pub firmware: Option<Image>,
    /// Its memory.
    pub memory: Bytes,
    /// Its number of processors.
    pub processors: usize,
    /// Its network card's address.
    pub mac: Mac,
    /// Its SMBIOS UUID.
    pub uuid: Option<String>,
    /// Its SMBIOS serial number.
    pub serial: Option<String>,
    /// How it starts.
    pub start: Start,
    /// The file that is its disk.
    pub disk: Option<PathBuf>,
    /// How the disk is attached.
    pub bus: Bus,
    /// The socket at which its console is; standard input and output without.
    pub console: Option<PathBuf>,
    /// A file that gets all that its console says.
    pub log: Option<PathBuf>,
}

impl Vm {
    /// The number of processors that a machine gets on this host.
    pub(crate) fn processors() -> usize {
        std::thread::available_parallelism().map_or(1, |count| count.get().min(PROCESSORS))
    }

    /// QEMU's arguments. Ctrl-A X on its console ends it; on a terminal, Ctrl-C is the machine's.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        add(&["-nodefaults", "-no-user-config", "-display", "none"]);
        match self.arch {
            // Without a screen, the BIOS and iPXE speak on the serial console, too; it is what -nographic sets.
            Arch::Amd64 => add(&["-machine", "graphics=off"]),
            Arch::Arm64 => add(&["-machine", "virt"]),
        }
        add(&self.accelerator.arguments());
        add(&["-smp", &self.processors.to_string()]);
        // Rounded up to whole MiB.
        add(&["-m", &format!("{}M", self.memory.0.div_ceil(1 << 20))]);
        let log = self.log.as_deref().map(|log| format!(",logfile={}", option(log))).unwrap_or_default();
        let console = match &self.console {
            None => "stdio,signal=off".into(),
            Some(path) => format!("socket,path={},server=on,wait=off", option(path)),
        };
        add(&["-chardev", &format!("{console},id=console,mux=on{log}")]);
        add(&["-serial", "chardev:console", "-mon", "chardev=console,mode=readline"]);
        if let Some(image) = &self.firmware {
            let [name, value] = image.arguments();
            add(&[&name, &value]);
        }
        let network = match &self.start {
            Start::Network { url } => {
                format!("user,id=net,net=10.0.2.0/24,bootfile={}", url.replace(',', ",,"))
            }
            Start::Wire { tap } => format!("tap,id=net,ifname={tap},script=no,downscript=no"),
            Start::Files { .. } => "user,id=net,net=10.0.2.0/24".into(),
        };
        add(&["-netdev", &network]);
        // A ROM would only wait for DHCP where the network has nothing to boot.
        let boots = !matches!(self.start, Start::Files { .. });
        let boots = if boots { ",bootindex=1" } else { ",romfile=" };
        add(&["-device", &format!("virtio-net-pci,netdev=net,mac={}{boots}", self.mac)]);
        add(&["-device", "virtio-rng-pci"]);
        if let Some(disk) = &self.disk {
            let format =
                if disk.extension().is_some_and(|extension| extension == "qcow2") { "qcow2" } else { "raw" };
            add(&["-drive", &format!("id=disk,if=none,format={format},file={}", option(disk))]);
            add(&["-device", &format!("{},bootindex=2", self.bus.device())]);
        }
        if let Some(uuid) = &self.uuid {
            add(&["-uuid", uuid]);
        }
        if let Some(serial) = &self.serial {
            add(&["-smbios", &format!("type=1,serial={}", serial.replace(',', ",,"))]);
        }
        if let Start::Files { kernel, initrd, args } = &self.start {
            add(&["-append", args]);
            arguments.extend(["-kernel".into(), kernel.into(), "-initrd".into(), initrd.into()]);
        }
        arguments
    }
}

/// A path in one of QEMU's options, where a comma is written twice.
fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// QEMU's program for an architecture.
///
/// # Errors
/// It is not in `PATH`.
pub(crate) fn program(arch: Arch) -> Result<PathBuf, Error> {
    let name = format!("qemu-system-{}", arch.uname());
    in_path(&name).ok_or(Error::NoQemu { name, package: package(arch) })
}

/// A program in one of the directories of `PATH`.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// The package with QEMU's program, in the words of Debian and Fedora.
fn package(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "`qemu-system-x86` (Debian, Ubuntu, Fedora, Arch)",
        Arch::Arm64 => "`qemu-system-arm` (Debian, Ubuntu), `qemu-system-aarch64` (Fedora, Arch)",
    }
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// QEMU is not installed.
    #[error("there is no {name} in PATH")]
    NoQemu {
        /// Its program.
        name: String,
        /// Where it is.
        package: &'static str,
    },
    /// No UEFI firmware is installed.
    #[error("there is no UEFI firmware for {arch} machines on this host")]
    NoFirmware {
        /// The machine's architecture.
        arch: Arch,
    },
    /// QEMU cannot be run.
    #[error("cannot run {}", program.display())]
    Run {
        /// Its program.
        program: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// QEMU failed, and said why on standard error.
    #[error("QEMU failed: {status}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
    },
    /// The machine ran for too long.
    #[error("the machine did not power off within {patience}")]
    TimedOut {
        /// How long it was given.
        patience: humantime::FormattedDuration,
    },
    /// The disk is not there.
    #[error("there is no disk {}", path.display())]
    NoDisk {
        /// Its path as it was given.
        path: PathBuf,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::TimedOut { .. } => Exit::TimedOut,
            Error::NoDisk { .. } => Exit::Usage,
            Error::NoQemu { .. } | Error::NoFirmware { .. } | Error::Run { .. } | Error::Failed { .. } => {
                Exit::Failed
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::NoQemu { package, .. } => Some(format!("install the package {package}")),
            Error::NoFirmware { arch: Arch::Amd64 } => {
                Some("install the package `ovmf` (Debian, Ubuntu) or `edk2-ovmf` (Fedora, Arch), or boot with --firmware bios".into())
            }
            Error::NoFirmware { arch: Arch::Arm64 } => {
                Some("install the package `qemu-efi-aarch64` (Debian, Ubuntu) or `edk2-aarch64` (Fedora, Arch)".into())
            }
            Error::Run { .. } | Error::TimedOut { .. } => None,
            Error::Failed { .. } => Some(
                "what it said stands above; the iPXE of its network cards is in Debian's package `ipxe-qemu`, and --direct boots without".into(),
            ),
            Error::NoDisk { .. } => Some("give a file, or a size such as 20GiB for an empty one".into()),
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accelerator::Kvm => "KVM",
            Accelerator::Tcg => "software (TCG)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm() -> Vm {
        Vm {
            arch: Arch::Amd64,
            accelerator: Accelerator::Tcg,
            firmware: None,
            memory: Bytes(3 << 30),
            processors: 2,
            mac: "52:54:00:00:00:01".parse().unwrap(),
            uuid: None,
            serial: None,
            start: Start::Network { url: "http://10.0.2.2:8080/boot.ipxe".into() },
            disk: None,
            bus: Bus::default(),
            console: None,
            log: None,
        }
    }

    fn line(vm: &Vm) -> String {
        let words = vm.arguments();
        words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_machine_boots_over_its_card_before_its_disk() {
        let vm = Vm { disk: Some("a,b.qcow2".into()), log: Some("x,y".into()), ..vm() };
        let line = line(&vm);
        for said in [
            "-m 3072M",
            "bootfile=http://10.0.2.2:8080/boot.ipxe",
            "virtio-net-pci,netdev=net,mac=52:54:00:00:00:01,bootindex=1 ",
            "format=qcow2,file=a,,b.qcow2",
            "drive=disk,serial=prebake,bootindex=2",
            "logfile=x,,y",
        ] {
            assert!(line.contains(said), "{said}: {line}");
        }
        assert!(!line.contains("-kernel"), "{line}");
    }

    #[test]
    fn files_are_handed_over_without_a_rom_that_waits_for_a_network() {
        let start = Start::Files { kernel: "k".into(), initrd: "i".into(), args: "a b".into() };
        let line = line(&Vm { start, accelerator: Accelerator::Kvm, ..vm() });
        assert!(line.ends_with("-append a b -kernel k -initrd i"), "{line}");
        assert!(
            line.contains("romfile=") && !line.contains("bootfile") && line.contains("-accel kvm"),
            "{line}"
        );
    }

    #[test]
    fn a_machine_on_a_wire_boots_from_those_at_its_other_end() {
        let start = Start::Wire { tap: "tap3".into() };
        let bus = Bus::Ata { model: "A,B".into(), serial: "S1".into() };
        let line = line(&Vm { start, disk: Some("d".into()), bus, console: Some("c.sock".into()), ..vm() });
        for said in [
            "-chardev socket,path=c.sock,server=on,wait=off,id=console,mux=on ",
            "-netdev tap,id=net,ifname=tap3,script=no,downscript=no ",
            "mac=52:54:00:00:00:01,bootindex=1 ",
            "ide-hd,drive=disk,model=A,,B,serial=S1,bootindex=2",
        ] {
            assert!(line.contains(said), "{said}: {line}");
        }
        assert!(!line.contains("user,id=net") && !line.contains("romfile"), "{line}");
    }

    #[test]
    fn a_disk_is_a_size_or_a_file() {
        assert_eq!("20GiB".parse(), Ok(Disk::Scratch(Bytes(20 << 30))));
        assert_eq!("disk.img".parse(), Ok(Disk::File("disk.img".into())));
        assert!("0GiB".parse::<Disk>().is_err() && "".parse::<Disk>().is_err());
    }
}
