//! `make demo`: the whole line, once, for real.
//!
//! Builds the lab's release, serves it as a release server would, runs `prebake build` and `prebake serve` on
//! `recipes/lab.yaml`, boots two QEMU machines from that server and waits until each says on its console, and to the
//! server, that our config and our sysext arrived. Nothing here knows how prebake works inside.

use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use prebake::base::digest::Sha256;

#[path = "mod.rs"]
mod lab;
use lab::machine::{self, Machine};
use lab::mirror::Mirror;
use lab::release;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long one stage may take. A boot needs some 20 s on an idle machine, several times that on a busy one.
const PATIENCE: Duration = Duration::from_secs(240);

/// The machines: node, MAC address, and the profile that `recipes/lab.yaml` gives it.
const NODES: [(&str, &str, &str); 2] =
    [("n1", "52:54:00:00:00:01", "worker"), ("n2", "52:54:00:00:00:02", "control")];

/// Stages that show on a machine's console, in order: what is waited for, and what it means.
const STAGES: [(&str, &str, &str); 4] = [
    ("iPXE", "iPXE (", "asks our server what to boot"),
    ("kernel", "Linux version", "starts"),
    ("initrd", "root is ready", "unpacked, /usr is mounted from the stock image"),
    ("Ignition", "] switch_root", "applied our config"),
];

fn main() -> ExitCode {
    let timeline = Timeline { started: Instant::now(), colour: io::stdout().is_terminal() };
    match demo(&timeline) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            timeline.failed(&*error);
            ExitCode::FAILURE
        }
    }
}

fn demo(timeline: &Timeline) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = root.join("output/demo");
    fs::create_dir_all(&work)?;
    let prebake = prebake()?;

    let release = release::build(&work.join("lab"))?;
    let mirror = Mirror::builder().directory("/", &release.server).start()?;
    timeline.stage("release", "a mini-Flatcar release, signed by the lab's key, is served");

    let nonce = lab::nonce();
    let layer = work.join("nonce.bu");
    fs::write(&layer, nonce_layer(&nonce))?;
    // The lab's release is made here and changes with its packages, so a lock of an older one means nothing.
    remove_if_there(&root.join("recipes/lab.lock"))?;
    let built = Command::new(&prebake)
        .args(["build", "recipes/lab.yaml", "--layer"])
        .arg(&layer)
        .env("PREBAKE_MIRROR_FLATCAR", mirror.url())
        .current_dir(root)
        .status()?;
    if !built.success() {
        return Err(format!("build: prebake build failed ({built})").into());
    }
    timeline.stage("build", "output/lab/current is published");

    let server = Server::start(&prebake, root)?;
    let harness = Mirror::builder()
        .directory("/", &release.harness)
        .page("/start.ipxe", machine::start_script(server.address))
        .start()?;
    timeline.stage("serve", format!("listening on http://{}", server.address));

    let payload = fs::read(root.join("sysext/lab-hello/files/usr/share/lab-hello/payload"))?;
    for (node, mac, profile) in NODES {
        let expected =
            format!("PREBAKE-LAB-OK profile={profile} nonce={nonce} sysext={}", Sha256::of(&payload));
        boot(timeline, &server, harness.address(), &work, (node, mac), &expected)?;
    }
    timeline.done();
    Ok(())
}

/// Boots one machine and follows it until it has reported.
fn boot(
    timeline: &Timeline,
    server: &Server,
    harness: SocketAddr,
    work: &Path,
    (node, mac): (&str, &str),
    expected: &str,
) -> Result<()> {
    let earlier_reports = server.reports();
    let url = format!("{}/start.ipxe", machine::seen_from_inside(harness));
    let mut machine = Machine::builder(&url, &work.join(format!("{node}.console"))).mac(mac).start()?;
    timeline.machine(node, mac);
    for (stage, pattern, meaning) in STAGES {
        let event = machine.wait_for(&[pattern], PATIENCE);
        event.map_err(|stall| stalled(node, stage, stall, &machine))?;
        timeline.stage(stage, meaning);
    }
    let event = machine.wait_for(&["PREBAKE-LAB-OK"], PATIENCE);
    let marker = event.map_err(|stall| stalled(node, "sysext", stall, &machine))?;
    if marker.line != expected {
        let what = format!("it says\n  {}\n  instead of\n  {expected}", marker.line);
        return Err(stalled(node, "sysext", what, &machine));
    }
    timeline.stage("sysext", &marker.line);
    let deadline = Instant::now() + PATIENCE;
    while server.reports() == earlier_reports {
        if Instant::now() > deadline {
            return Err(stalled(node, "report", "the server got no POST /report", &machine));
        }
        thread::sleep(Duration::from_millis(100));
    }
    timeline.stage("report", "the machine told our server that it is up");
    Ok(())
}

/// A stage that did not come, with the console's last lines.
fn stalled(node: &str, stage: &str, why: impl Display, machine: &Machine) -> Box<dyn Error> {
    let console = machine.last_lines(15).join("\n    ");
    format!("{node} stalled at {stage}: {why}\n  its console ends with\n    {console}").into()
}

fn nonce_layer(nonce: &str) -> String {
    format!(
        "variant: flatcar\nversion: 1.0.0\nstorage:\n  files:\n    - path: /etc/prebake-lab/nonce\n      mode: 0644\n      contents:\n        inline: |\n          {nonce}\n"
    )
}

/// The program under demonstration, which cargo puts beside the directory of the examples.
fn prebake() -> Result<PathBuf> {
    let demo = std::env::current_exe()?;
    let prebake = demo.ancestors().nth(2).unwrap_or(&demo).join("prebake");
    match prebake.is_file() {
        true => Ok(prebake),
        false => Err(format!("{} is not there: run `cargo build` first", prebake.display()).into()),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `prebake serve`, until it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(prebake: &Path, root: &Path) -> Result<Self> {
        // setpriv, so that the server never outlives the demo, however that ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(prebake)
            .args(["serve", "output/lab/current", "--address", "127.0.0.1:0"])
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines =
            BufReader::new(child.stderr.take().ok_or("serve: no stderr")?).lines().map_while(|l| l.ok());
        let mut told = Vec::new();
        let address = loop {
            let Some(line) = lines.next() else {
                let status = child.wait()?;
                return Err(
                    format!("serve: prebake serve ended ({status})\n    {}", told.join("\n    ")).into()
                );
            };
            if let Some(address) = line.strip_prefix("listening on http://") {
                break address.trim_end_matches('/').parse()?;
            }
            told.push(line);
        };
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines {
                written.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Server { child, address, log })
    }

    /// How many machines have reported.
    fn reports(&self) -> usize {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|line| line.contains("POST /report 204"))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is printed: a line a stage, with the seconds since the start.
struct Timeline {
    started: Instant,
    colour: bool,
}

impl Timeline {
    fn paint(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn stage(&self, stage: &str, meaning: impl Display) {
        let seconds = self.started.elapsed().as_secs_f64();
        let stage = self.paint("1", &format!("{stage:<9}"));
        println!("{seconds:6.1} s  {stage} {meaning}");
    }

    fn machine(&self, node: &str, mac: &str) {
        self.stage("machine", format!("{node} ({mac}) is turned on; console: output/demo/{node}.console"));
    }

    fn failed(&self, error: &dyn Error) {
        let seconds = self.started.elapsed().as_secs_f64();
        println!("{seconds:6.1} s  {}", self.paint("1;31", &format!("failed: {error}")));
    }

    fn done(&self) {
        let seconds = self.started.elapsed().as_secs_f64();
        println!(
            "{seconds:6.1} s  {}",
            self.paint("1;32", "done: two machines booted what prebake baked, each its own profile")
        );
        println!("\nLook at next");
        println!("  output/lab/current/manifest.json   every published file with its digest and origin");
        println!("  recipes/lab.yaml                   the recipe; recipes/kubernetes.yaml is a real one");
        println!("  prebake serve output/lab/current   the same server, for curl or your own machines");
        println!("  tests/lab/README.md                what here is real and what stands in");
    }
}
