//! The servers of the race, each a process that ends with its value, and what they cost.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that runs.
pub struct Peer {
    process: Child,
    /// `HOST:PORT`.
    pub address: String,
}

impl Peer {
    /// Ours, on a tree.
    pub fn prebake(tree: &Path, flags: &[&str], log: &Path) -> Peer {
        let address = free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        command.args(["serve", "--address", &address]).args(flags).arg(tree);
        command.stderr(fs::File::create(log).unwrap());
        Peer::start(&mut command, address)
    }

    /// nginx on the files of a tree, with as many workers as we have threads.
    pub fn nginx(tree: &Path, work: &Path) -> Peer {
        let address = free_address();
        let (root, work) = (tree.display(), work.display());
        let config = format!(
            "daemon off; worker_processes 2; error_log {work}/error.log; pid {work}/nginx.pid; user root;
             events {{ worker_connections 1024; }}
             http {{ sendfile on; tcp_nopush on; keepalive_requests 10000; access_log {work}/access.log;
                     client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/f;
                     uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
                     server {{ listen {address}; root {root}; }} }}"
        );
        let path = format!("{work}/nginx.conf");
        fs::write(&path, config).unwrap();
        let mut command = Command::new("nginx");
        command.args(["-e", &format!("{work}/error.log"), "-c", &path]);
        Peer::start(&mut command, address)
    }

    /// Real Matchbox on a tree; none where it cannot be built.
    pub fn matchbox(tree: &Path, flags: &[&str]) -> Option<Peer> {
        let binary = built("matchbox")?.join("matchbox");
        let address = free_address();
        let mut command = Command::new(binary);
        command.args(["-address", &address, "-log-level", "error", "-data-path"]).arg(tree);
        command.arg("-assets-path").arg(tree.join("assets")).args(flags);
        Some(Peer::start(&mut command, address))
    }

    fn start(command: &mut Command, address: String) -> Peer {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        let process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        while TcpStream::connect(&address).is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(1));
        }
        Peer { process, address }
    }

    /// CPU time that it has used, its workers included.
    pub fn cpu(&self) -> Duration {
        let ticks: u64 = self.family().iter().map(|id| ticks(*id)).sum();
        // Since Linux 2.6 a tick that programs see is 10 ms.
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory, in KiB, its workers included.
    pub fn memory(&self) -> u64 {
        let of = |id: &u32| {
            let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
            line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
        };
        self.family().iter().map(of).sum()
    }

    fn family(&self) -> Vec<u32> {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|child| child.parse().ok()).chain([id]).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // nginx ends its workers only when it is asked to end.
        let id = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

/// User and system time of a process, in ticks.
fn ticks(id: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name may have blanks; the numbers begin after it, with field 3.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// The programs of a peer of `tests/peers`; none where they cannot be built.
pub fn built(peer: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/build.sh");
    let built = Command::new(script).arg(peer).output().ok().filter(|built| built.status.success())?;
    Some(PathBuf::from(String::from_utf8(built.stdout).unwrap().trim()))
}

/// An address that nobody uses now.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
