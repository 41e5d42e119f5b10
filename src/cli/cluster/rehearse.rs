//! `prebake cluster rehearse`

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Described;
use crate::base::disk;
use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::base::unfinished::{Directory, on_interrupt};
use crate::cluster::rehearsal::stage::{self, End, Script};
use crate::cluster::rehearsal::{Error, Plan, libvirt};
use crate::serve::machines::client::PORT;
use crate::serve::machines::timeline::Stage;

/// Where libvirt keeps disks.
const POOL: &str = "/var/lib/libvirt/images";

/// Form the cluster on this host, of machines in QEMU, and take it down again
///
/// The machines of the description boot over a bridge in a network namespace of their own, from the same servers and the same tree as in
/// the rack, and form the cluster. However it ends, they end with it. Memory is that of the description, else 4 GiB for a controller and
/// 3 GiB for a worker; disks are files that grow. Its cost is told before it begins. Needs QEMU, and root or user namespaces.
#[derive(Args)]
pub(crate) struct RehearseArgs {
    #[command(flatten)]
    described: Described,
    /// Boot the machines from this build, and form nothing
    #[arg(long, value_name = "TREE", conflicts_with = "libvirt")]
    boot_only: Option<PathBuf>,
    /// The stage that all of them must reach then, as with `prebake status --wait`
    #[arg(long, value_name = "STAGE", default_value = "booted", requires = "boot_only")]
    until: Stage,
    /// Memory of each machine, whatever the description says, such as 4GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
    /// Leave the machines running, and tell how to reach them
    #[arg(long, conflicts_with = "libvirt")]
    keep_running: bool,
    /// Give up after this time
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "2h")]
    timeout: Duration,
    /// Print the network and the machines as libvirt's XML, or write them to a directory, and start nothing
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    libvirt: Option<Option<PathBuf>>,
    /// The process in the namespace: acts what the one outside wrote here
    #[arg(long, value_name = "DIR", hide = true, exclusive = true)]
    within: Option<PathBuf>,
}

/// The files of a rehearsal: its disks, consoles, and output.
enum Work {
    Gone(Directory),
    Kept(PathBuf),
}

impl Work {
    fn path(&self) -> &Path {
        match self {
            Work::Gone(directory) => directory.path(),
            Work::Kept(path) => path,
        }
    }
}

impl RehearseArgs {
    /// Rehearses.
    pub(crate) fn run(self) -> Result<()> {
        if let Some(work) = &self.within {
            return act(work);
        }
        let file = super::description(self.described.file.as_deref());
        let cluster = super::load(&file)?;
        let plan = Plan::of(&cluster, self.memory);
        if let Some(directory) = &self.libvirt {
            return print(&plan, directory.as_deref());
        }
        let host = plan.judge()?;
        tell!("rehearsing {}: {}", plan.name, plan.cost(&host));
        for disk in
            plan.machines.iter().filter_map(|machine| machine.disk.as_ref()).filter(|disk| !disk.is_found)
        {
            tell!(
                "warning: no disk of QEMU is found as {}; the machine that waits for it gets /dev/vda",
                disk.device
            );
        }
        let work = self.work(&plan)?;
        let path = std::path::absolute(work.path()).map_err(disk::Error::io("find", work.path()))?;
        let own = std::env::current_exe().map_err(disk::Error::io("find", "prebake".as_ref()))?;
        let script = self.script(plan, &own, &file, &path)?;
        let words = ["cluster", "rehearse", "--within"].map(OsString::from);
        let words: Vec<OsString> =
            std::iter::once(own.into()).chain(words).chain([path.clone().into()]).collect();
        let mut child = stage::begin(&host, &script, &path, &words)?;
        // The signal thread ends the process inside, which ends all others.
        let inside = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .map_err(|errno| disk::Error::io("watch", "the rehearsal".as_ref())(errno.into()));
        let inside = match inside {
            Ok(inside) => inside,
            Err(error) => {
                let _ = child.kill().and_then(|()| child.wait());
                return Err(error.into());
            }
        };
        on_interrupt(move || {
            let _ = pidfd_send_signal(&inside, Signal::TERM);
            // It ends its machines first, and its files go after it.
            let looks = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
            let _ = rustix::process::waitid(
                rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&inside)),
                looks,
            );
        });
        let status = child.wait().map_err(disk::Error::io("wait for", "the rehearsal".as_ref()))?;
        match status.code() {
            Some(0) => Ok(()),
            code => {
                let log = self.keep_running.then_some(path);
                Err(Error::Failed { name: script.plan.name, code: code.unwrap_or(1), log }.into())
            }
        }
    }

    /// A directory for the rehearsal, below that of the trees: disks may be large.
    fn work(&self, plan: &Plan) -> Result<Work> {
        let output = &self.described.output;
        disk::create_directories(output)?;
        match self.keep_running {
            false => Ok(Work::Gone(
                Directory::in_directory(output).map_err(disk::Error::io("make a directory in", output))?,
            )),
            true => {
                let path = output.join(format!(".{}-rehearsal", plan.name));
                if path.exists() {
                    return Err(Error::Left { path }.into());
                }
                disk::create_directories(&path)?;
                Ok(Work::Kept(path))
            }
        }
    }

    /// The steps in the namespace. All that needs the network of the host is done before.
    fn script(&self, plan: Plan, own: &Path, file: &Path, work: &Path) -> Result<Script> {
        let text = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<OsString>>();
        let verb = |words: &[&str]| std::iter::once(own.into()).chain(text(words)).collect::<Vec<OsString>>();
        let timeout = format!("{}s", self.timeout.as_secs().max(1));
        let (beside, about) = match &self.boot_only {
            Some(tree) => {
                let listen = format!("0.0.0.0:{PORT}");
                let mut serve = verb(&["serve"]);
                serve.push(tree.into());
                serve.extend(text(&["--address", &listen, "--dhcp", "--interface", &plan.bridge]));
                // A tree whose nodes have no addresses gives them those of the description.
                let addresses = plan.machines.iter().map(|machine| machine.ip);
                if let (Some(first), Some(last)) = (addresses.clone().min(), addresses.max()) {
                    serve.extend(text(&["--dhcp-range", &format!("{first}-{last}")]));
                }
                let server = format!("http://{}:{PORT}", plan.address);
                let count = plan.machines.len().to_string();
                let until = self.until.to_string();
                let wait = [
                    "status",
                    "--server",
                    &server,
                    "--wait",
                    &until,
                    "--count",
                    &count,
                    "--timeout",
                    &timeout,
                ];
                (vec![serve], verb(&wait))
            }
            None => {
                let output = work.join("output");
                let mut words: Vec<OsString> = vec![file.into(), "--output".into(), output.into()];
                if let Some(templates) = self.described.templates() {
                    words.extend(["--templates".into(), templates.into()]);
                }
                let generated = Command::new(own).args(["cluster", "generate"]).args(&words).status();
                let generated = generated.map_err(disk::Error::io("run", own))?;
                if !generated.success() {
                    let code = generated.code().unwrap_or(1);
                    return Err(Error::Failed { name: plan.name, code, log: None }.into());
                }
                let mut init = verb(&["cluster", "init"]);
                init.extend(words);
                (Vec::new(), init)
            }
        };
        Ok(Script { plan, beside, about, keep: self.keep_running })
    }
}

/// The process in the namespace.
fn act(work: &Path) -> Result<()> {
    let End { code, left } = stage::act(work, &|line| tell!("{line}"))?;
    if let Some(first) = left.first() {
        let pid = first.pid;
        tell!("the machines run on:");
        for left in &left {
            match &left.console {
                Some(console) => tell!(
                    "  {} is process {}, its console socat -,raw,echo=0 UNIX-CONNECT:{}",
                    left.name,
                    left.pid,
                    console.display()
                ),
                None => tell!("  {} is process {}", left.name, left.pid),
            }
        }
        tell!("their network: nsenter --net --target {pid} COMMAND");
        let kubeconfig = work.join("output/kubeconfig");
        if kubeconfig.exists() {
            tell!("the cluster: kubectl --kubeconfig {} there", kubeconfig.display());
        }
        let pids: Vec<String> = left.iter().map(|left| left.pid.to_string()).collect();
        tell!("to end them: kill {}; rm -r {}", pids.join(" "), work.display());
    }
    match code {
        0 => Ok(()),
        // The verb that failed has said why.
        code => std::process::exit(code),
    }
}

fn print(plan: &Plan, directory: Option<&Path>) -> Result<()> {
    let is_kvm = Path::new("/dev/kvm").exists();
    let documents = libvirt::documents(plan, POOL, is_kvm);
    let Some(directory) = directory else {
        for document in documents {
            say!("<!-- {}.xml -->\n{}", document.name, document.text.trim_end());
        }
        return Ok(());
    };
    disk::create_directories(directory)?;
    for document in &documents {
        let path = directory.join(format!("{}.xml", document.name));
        fs::write(&path, &document.text).map_err(disk::Error::io("write", &path))?;
    }
    say!("virsh net-create {}", directory.join("network.xml").display());
    for machine in plan.machines.iter() {
        if machine.disk.is_some() {
            say!("truncate --size 20G {}", libvirt::image(plan, machine, POOL));
        }
        say!("virsh create {}", directory.join(format!("{}.xml", machine.name)).display());
    }
    Ok(())
}
