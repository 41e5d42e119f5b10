//! A real containerd in a directory of its own, and whether the machine has one.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::thread;
use std::time::{Duration, Instant};

/// Whether a judge may be missing: never in CI.
pub fn there_is(judge: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", &format!("command -v {judge}")]).output().unwrap().status.success();
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    let skipped = std::env::var("PREBAKE_SKIP_JUDGES").is_ok_and(|skip| skip == "1");
    assert!(
        found || (skipped && !ci),
        "the judge {judge} is missing; tests/prerequisites.sh test installs it"
    );
    found
}

/// Whether there is a containerd that may run here.
pub fn containerd_runs() -> bool {
    if !there_is("containerd") || !there_is("ctr") {
        return false;
    }
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "containerd needs root");
        eprintln!("skipped: containerd runs as root only");
    }
    root
}

/// A process that ends with the test.
pub struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    /// Starts it, with its words in a file, and waits until it is ready.
    pub fn start(command: &mut Command, log: &Path, ready: impl Fn() -> bool) -> Self {
        let file = fs::File::create(log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let mut daemon = Daemon(command.spawn().unwrap());
        let said = || fs::read_to_string(log).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready() {
            assert!(daemon.0.try_wait().unwrap().is_none(), "it ended:\n{}", said());
            assert!(Instant::now() < deadline, "it does not answer:\n{}", said());
            thread::sleep(Duration::from_millis(100));
        }
        daemon
    }
}

/// A containerd of our own.
pub struct Containerd {
    _daemon: Daemon,
    /// Its socket.
    pub socket: PathBuf,
    /// Where its programs are found first.
    pub path: OsString,
}

impl Containerd {
    /// Starts the machine's own with everything it has below `root`.
    pub fn start(root: &Path) -> Self {
        Containerd::start_of(root, None)
    }

    /// Starts the one whose programs lie in a directory, else the machine's own.
    pub fn start_of(root: &Path, programs: Option<&Path>) -> Self {
        Containerd::configured(root, programs, "disabled_plugins = ['io.containerd.grpc.v1.cri']\n")
    }

    /// The same with what a kubelet talks to.
    pub fn with_cri(root: &Path, programs: Option<&Path>) -> Self {
        let config = "disabled_plugins = ['io.containerd.snapshotter.v1.btrfs', 'io.containerd.snapshotter.v1.zfs', \
                      'io.containerd.snapshotter.v1.devmapper', 'io.containerd.internal.v1.opt', \
                      'io.containerd.nri.v1.nri']\n\
                      [plugins.'io.containerd.grpc.v1.cri']\ndisable_tcp_service = true\n\
                      [plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'native'\n";
        Containerd::configured(root, programs, config)
    }

    fn configured(root: &Path, programs: Option<&Path>, plugins: &str) -> Self {
        let known = std::env::var_os("PATH").unwrap_or_default();
        let path = programs.map(Path::to_owned).into_iter().chain(std::env::split_paths(&known));
        let path = std::env::join_paths(path).unwrap();
        let socket = root.join("containerd.sock");
        let config = format!(
            "version = 2\nroot = '{0}/root'\nstate = '{0}/state'\n{plugins}[grpc]\naddress = '{0}/containerd.sock'\n",
            root.display()
        );
        fs::create_dir_all(root).unwrap();
        fs::write(root.join("config.toml"), config).unwrap();
        let ready = || ctr(&path, &socket, &["version"]).status.success();
        let mut command = Command::new("containerd");
        command.env("PATH", &path).arg("--config").arg(root.join("config.toml"));
        let daemon = Daemon::start(&mut command, &root.join("log"), ready);
        Containerd { _daemon: daemon, socket, path }
    }

    /// Runs `ctr` on it.
    pub fn ctr(&self, args: &[&str]) -> Output {
        ctr(&self.path, &self.socket, args)
    }
}

fn ctr(path: &OsStr, socket: &Path, args: &[&str]) -> Output {
    Command::new("ctr").env("PATH", path).arg("--address").arg(socket).args(args).output().unwrap()
}
