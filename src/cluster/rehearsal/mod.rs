//! A cluster on one host: its machines in QEMU, on a bridge in a network namespace that they have to themselves.
//!
//! ```text
//! Cluster ─▶ Plan ─┬─ stage ───▶ namespace, bridge, taps, machines, the servers beside them
//!                  └─ libvirt ─▶ the same network and machines as XML
//! ```
//! Owns what the machines are, what they cost, and the end of everything that was begun. The namespace has no name: it goes with the last
//! process in it, and each of those goes with the one that began it, whatever ends that. Leaves the cluster itself to the verbs that form
//! it, which run in the namespace as they would in a rack.

pub mod libvirt;
pub mod stage;

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::arch::Arch;
use crate::base::count::counted;
use crate::base::disk;
use crate::base::error::{Advice, Exit};
use crate::base::size::Bytes;
use crate::cluster::description::{Cluster, Node, Role, Storage};
use crate::machine::node::Mac;
use crate::machine::vm::{self, Accelerator, Bus, Start, Vm, in_path};

/// Memory of a controller whose description names none: API server, etcd and their images beside an operating system in memory.
const CONTROLLER: Bytes = Bytes(4 << 30);
/// Memory of a worker whose description names none.
const WORKER: Bytes = Bytes(3 << 30);
/// Memory that stays with the host.
const HOST: u64 = 1 << 30;
/// Size of an imitated disk. Its file takes what is written to it.
const DISK: u64 = 20 << 30;
/// Longest name of a network interface, in bytes (Linux, IFNAMSIZ less its end).
const LONGEST_INTERFACE: usize = 15;

/// The machines and the network of a rehearsal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The cluster's name.
    pub name: String,
    /// The bridge.
    pub bridge: String,
    /// The boot server's address on it.
    pub address: Ipv4Addr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// The machines, in the order of the description.
    pub machines: Vec<Machine>,
}

/// A machine of a rehearsal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The node's name.
    pub name: String,
    /// Its card.
    pub mac: String,
    /// The address that it gets.
    pub ip: Ipv4Addr,
    /// Its memory, in bytes.
    pub memory: u64,
    /// Its disk, if the description has one.
    pub disk: Option<Disk>,
}

/// A disk that stands for one of the description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The device file in the description.
    pub device: String,
    /// How it is attached, so that the machine finds it under that name.
    pub bus: Bus,
    /// Whether it will be found there.
    pub is_found: bool,
}

impl Disk {
    /// The disk behind a device file. udev makes the names below by-id of a disk's own words (systemd, 60-persistent-storage.rules); those
    /// that are made of other hardware's cannot be had.
    fn of(device: &str) -> Disk {
        let name = device.rsplit('/').next().unwrap_or_default();
        // A partition is one of a disk.
        let name = match name.rsplit_once("-part") {
            Some((disk, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => disk,
            _ => name,
        };
        let serial_fits = |serial: &str| !serial.is_empty() && serial.len() <= 20;
        let found = if let Some(serial) = name.strip_prefix("virtio-").filter(|serial| serial_fits(serial)) {
            Some(Bus::Virtio { serial: serial.into() })
        } else if let Some((model, serial)) = name.strip_prefix("ata-").and_then(|name| name.rsplit_once('_'))
        {
            (serial_fits(serial) && model.len() <= 40)
                .then(|| Bus::Ata { model: model.into(), serial: serial.into() })
        } else if let Some(serial) = name.strip_prefix("nvme-QEMU_NVMe_Ctrl_") {
            serial_fits(serial).then(|| Bus::Nvme { serial: serial.into() })
        } else {
            match name {
                "vda" => Some(Bus::Virtio { serial: "prebake".into() }),
                "sda" => Some(Bus::Ata { model: "QEMU HARDDISK".into(), serial: "prebake".into() }),
                "nvme0n1" => Some(Bus::Nvme { serial: "prebake".into() }),
                _ => None,
            }
        };
        let is_found = found.is_some();
        Disk {
            device: device.into(),
            bus: found.unwrap_or_else(|| Bus::Virtio { serial: "prebake".into() }),
            is_found,
        }
    }

    fn of_storage(storage: &Storage) -> Option<Disk> {
        match storage {
            Storage::Memory => None,
            Storage::State { device } => Some(Disk::of(&device.value)),
            Storage::Installed(text) => {
                let word = |letter: char| {
                    letter.is_whitespace() || matches!(letter, '"' | '\'' | ',' | '{' | '}' | '[' | ']')
                };
                Some(Disk::of(text.split(word).find(|word| word.starts_with("/dev/")).unwrap_or("/dev/vda")))
            }
        }
    }
}

impl Plan {
    /// The rehearsal of a cluster. `memory`, if given, is that of each machine, whatever the description says.
    pub fn of(cluster: &Cluster, memory: Option<Bytes>) -> Plan {
        let interface = cluster.bootstrap.interface.as_ref().map(|name| name.value.as_str());
        let bridge =
            interface.filter(|name| (1..=LONGEST_INTERFACE).contains(&name.len()) && !name.contains('/'));
        let machine = |node: &Node| Machine {
            name: node.name.value.clone(),
            mac: node.mac.value.to_string(),
            ip: node.ip.value,
            memory: memory.map_or_else(|| memory_of(node), |memory| memory.0),
            disk: Disk::of_storage(&node.storage),
        };
        Plan {
            name: cluster.name.value.clone(),
            bridge: bridge.unwrap_or("br0").into(),
            address: cluster.bootstrap.ip.value,
            prefix: cluster.network.prefix(),
            machines: cluster.nodes.iter().map(machine).collect(),
        }
    }

    /// Memory of all machines, in bytes.
    pub fn memory(&self) -> u64 {
        self.machines.iter().fold(0, |sum, machine| sum.saturating_add(machine.memory))
    }

    /// Whether this host can do it.
    ///
    /// # Errors
    /// A program or the memory for it is missing, or this user may make no network.
    pub fn judge(&self) -> Result<Host, Error> {
        let arch = Arch::Amd64;
        let qemu = vm::program(arch).map_err(Error::Vm)?;
        let rom = ROMS.iter().any(|path| Path::new(path).is_file());
        if !rom {
            return Err(Error::NoRom);
        }
        for (program, package) in [("ip", "iproute2"), ("unshare", "util-linux"), ("setpriv", "util-linux")] {
            if tool(program).is_none() {
                return Err(Error::NoProgram { program, package });
            }
        }
        let free = available(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default());
        let wanted = self.memory().saturating_add(HOST);
        if let Some(free) = free.filter(|free| *free < wanted) {
            return Err(Error::NoMemory {
                machines: self.machines.len(),
                wanted: Bytes(wanted),
                free: Bytes(free),
            });
        }
        let (accelerator, why) = match Accelerator::of(arch, &qemu) {
            Ok(accelerator) => (accelerator, None),
            Err(why) => (Accelerator::Tcg, Some(why)),
        };
        let is_root = rustix::process::geteuid().is_root();
        let host = Host { qemu, accelerator, without_kvm: why, is_root, processors: Vm::processors() };
        stage::try_network(&host)?;
        Ok(host)
    }

    /// Its cost in memory, disks and time, in words for people.
    pub fn cost(&self, host: &Host) -> String {
        let machines = counted(self.machines.len() as u64, "machine");
        let memory = Bytes(self.memory());
        let time = humantime::format_duration(self.time(host));
        let slow = host
            .without_kvm
            .as_ref()
            .map(|why| format!("; without KVM, as {why}, each is some twenty times slower"));
        let disks = self.machines.iter().filter(|machine| machine.disk.is_some()).count() as u64;
        let disks = if disks == 0 {
            String::new()
        } else {
            format!(", {} in files that grow", counted(disks, "disk"))
        };
        format!(
            "{machines} with {memory} of memory together{disks}; about {time} until they are Ready{}",
            slow.unwrap_or_default()
        )
    }

    /// Time until all machines are Ready: a pair took 8 minutes on two processors without KVM, and would take 2 with it.
    fn time(&self, host: &Host) -> Duration {
        let machines = self.machines.len().max(1) as u64;
        let by_processors = |minutes: u64| (minutes * machines).div_ceil(host.processors.max(1) as u64);
        Duration::from_secs(
            60 * match host.accelerator {
                Accelerator::Kvm => 1 + by_processors(1),
                Accelerator::Tcg => 4 + by_processors(4),
            },
        )
    }

    fn vm(&self, machine: &Machine, number: usize, host: &Host, work: &Path) -> Result<Vm, Error> {
        let mac: Mac = machine
            .mac
            .parse()
            .map_err(|_| Error::Plan { why: format!("{} is no MAC address", machine.mac) })?;
        let of = |suffix: &str| work.join(format!("{}.{suffix}", machine.name));
        Ok(Vm {
            arch: Arch::Amd64,
            accelerator: host.accelerator,
            firmware: None,
            memory: Bytes(machine.memory),
            processors: host.processors,
            mac,
            uuid: None,
            serial: None,
            start: Start::Wire { tap: tap(number) },
            disk: machine.disk.is_some().then(|| of("disk")),
            bus: machine.disk.as_ref().map(|disk| disk.bus.clone()).unwrap_or_default(),
            // The name of a socket has 107 bytes at most: it is relative to the directory, in which QEMU runs.
            console: Some(console(machine)),
            log: Some(of("log")),
        })
    }
}

/// The ROMs from which QEMU's virtio cards boot over a network.
const ROMS: [&str; 4] = [
    "/usr/lib/ipxe/qemu/pxe-virtio.rom",
    "/usr/share/qemu/efi-virtio.rom",
    "/usr/share/qemu/pxe-virtio.rom",
    "/usr/share/ipxe/qemu/efi-virtio.rom",
];

fn memory_of(node: &Node) -> u64 {
    let usual = match node.role {
        Role::Controller => CONTROLLER,
        Role::Worker => WORKER,
    };
    node.memory.as_ref().map_or(usual, |memory| memory.value).0
}

fn console(machine: &Machine) -> PathBuf {
    format!("{}.console", machine.name).into()
}

fn tap(number: usize) -> String {
    format!("tap{number}")
}

/// A program of the system; `/usr/sbin` is not in every user's `PATH`.
fn tool(name: &str) -> Option<PathBuf> {
    let system = ["/usr/sbin", "/sbin"].map(|directory| Path::new(directory).join(name));
    in_path(name).or_else(|| system.into_iter().find(|path| path.is_file()))
}

/// Memory that programs can have, of `/proc/meminfo`; nothing where it does not say.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.saturating_mul(1024))
}

/// The host of a rehearsal.
#[derive(Clone, Debug)]
pub struct Host {
    qemu: PathBuf,
    accelerator: Accelerator,
    /// Why there is no KVM, if there is none.
    without_kvm: Option<String>,
    is_root: bool,
    processors: usize,
}

/// Why there is no rehearsal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// QEMU is missing.
    #[error(transparent)]
    Vm(vm::Error),
    /// QEMU's network cards have nothing to boot with.
    #[error("QEMU's network cards have no iPXE on this host")]
    NoRom,
    /// A program is missing.
    #[error("there is no {program} in PATH")]
    NoProgram {
        /// The program, as it is looked for.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The host is too small.
    #[error("{} need {wanted} of memory with what the host keeps, and {free} are free", counted(*machines as u64, "machine"))]
    NoMemory {
        /// Number of machines.
        machines: usize,
        /// Memory that they and the host need.
        wanted: Bytes,
        /// Memory that is free.
        free: Bytes,
    },
    /// This user may make no network namespace, or no tap device in it.
    #[error("this user cannot make a network for the machines: {why}")]
    NoNetwork {
        /// The last line of the program that failed.
        why: String,
    },
    /// A program of the rehearsal cannot be run.
    #[error("cannot run {program}")]
    Run {
        /// The program, as it was started.
        program: String,
        /// The I/O error.
        source: io::Error,
    },
    /// A step of the network failed.
    #[error("ip {words}: {why}")]
    Ip {
        /// The words of the command.
        words: String,
        /// The last line that it said.
        why: String,
    },
    /// A machine, or a server beside them, ended before its time.
    #[error("{name} ended: {why}")]
    Died {
        /// The machine or server.
        name: String,
        /// The end of what it said.
        why: String,
    },
    /// The verb in the namespace ended with a code.
    #[error("the rehearsal of {name} failed{}", log.as_ref().map(|log| format!("; consoles are in {}", log.display())).unwrap_or_default())]
    Failed {
        /// The cluster's name.
        name: String,
        /// The code.
        code: i32,
        /// Where the consoles are, if they were kept.
        log: Option<PathBuf>,
    },
    /// Machines of an earlier rehearsal may use the files that this one would make.
    #[error("a rehearsal was left in {}", path.display())]
    Left {
        /// Its directory.
        path: PathBuf,
    },
    /// The plan cannot be read.
    #[error("the plan of the rehearsal is damaged: {why}")]
    Plan {
        /// The decoder's error, in words.
        why: String,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Vm(error) => Some(error),
            Error::Disk(error) => Some(error),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Error::Failed { code, .. } => {
                Exit::ALL.into_iter().find(|exit| *exit as i32 == *code).unwrap_or(Exit::Failed)
            }
            _ => self.inner_exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::NoRom => {
                Some("install the package `ipxe-qemu` (Debian, Ubuntu) or `ipxe-roms-qemu` (Fedora)".into())
            }
            Error::NoProgram { package, .. } => Some(format!("install the package `{package}`")),
            Error::NoMemory { machines, free, .. } => {
                let each = free.0.saturating_sub(HOST) / (*machines as u64).max(1);
                // Less than Flatcar's own 3 GiB does not boot.
                Some(if each >= 3 << 30 {
                    format!(
                        "give each less, --memory {}GiB, or rehearse a description with fewer nodes",
                        each >> 30
                    )
                } else {
                    "rehearse a description with fewer nodes, or on a larger host; --libvirt prints the machines for another one".into()
                })
            }
            Error::NoNetwork { .. } => Some(
                "run it as root (sudo), or allow user namespaces and /dev/net/tun; --libvirt needs neither"
                    .into(),
            ),
            Error::Failed { .. } => Some("--keep leaves the machines as they are, to look at".into()),
            Error::Left { path } => Some(format!(
                "end its machines, whose processes it named, and remove it: rm -r {}",
                path.display()
            )),
            Error::Vm(_) | Error::Disk(_) => self.inner_hint(),
            Error::Run { .. } | Error::Ip { .. } | Error::Died { .. } | Error::Plan { .. } => None,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.mac, self.ip, Bytes(self.memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_found_under_the_name_that_the_description_has() {
        let cases = [
            ("/dev/disk/by-id/virtio-state", Bus::Virtio { serial: "state".into() }, true),
            ("/dev/disk/by-id/virtio-state-part3", Bus::Virtio { serial: "state".into() }, true),
            (
                "/dev/disk/by-id/ata-Samsung_SSD_860_S3Z9NB0K",
                Bus::Ata { model: "Samsung_SSD_860".into(), serial: "S3Z9NB0K".into() },
                true,
            ),
            ("/dev/vda", Bus::Virtio { serial: "prebake".into() }, true),
            ("/dev/disk/by-path/pci-0000:00:1f.2-ata-1", Bus::Virtio { serial: "prebake".into() }, false),
            ("/dev/disk/by-id/wwn-0x5002538e40a0f3c1", Bus::Virtio { serial: "prebake".into() }, false),
        ];
        for (device, bus, is_found) in cases {
            assert_eq!(Disk::of(device), Disk { device: device.into(), bus, is_found });
        }
        let installed = Storage::Installed("{disk: \"/dev/nvme0n1\", reboot: true}".into());
        assert_eq!(Disk::of_storage(&installed).unwrap().bus, Bus::Nvme { serial: "prebake".into() });
    }

    #[test]
    fn free_memory_is_the_kernels_estimate() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   18523028 kB\n"), Some(18_523_028 * 1024));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
    }
}
