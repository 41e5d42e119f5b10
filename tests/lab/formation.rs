//! A cluster that forms behind an air gap: machines that boot over a network of their own, a bundle and a description that were
//! carried in, and `prebake cluster init`. Nothing else is there: neither a route outwards, nor a registry, nor what upstream
//! publishes.
//!
//! Used by the test that `make flagship` runs (`tests/it/cluster/flagship.rs`), and by its program, which forms larger ones and cuts
//! their power.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::images::{self, ANSWER, Programs};
use super::machine::Machine;
use super::mirror::Mirror;
use super::network::{ADDRESS, BRIDGE, Network, Plug};
use super::release;
use super::upstream::Upstream;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The address that controllers share, where they do.
const VIP: &str = "10.77.0.5";

/// Memory of machines, in MiB: they run from it, with all images in it.
const CONTROLLER: u32 = 4096;
const WORKER: u32 = 3072;

/// The words of `init` when machines are to be switched on.
const PROMPT: &str = "Power on";

/// How often something is looked at.
const POLL: Duration = Duration::from_millis(500);

/// How much longer than it may take `init` may be there.
const GRACE: Duration = Duration::from_secs(120);

/// Arguments of all verbs about the description.
pub const DESCRIBED: [&str; 4] = ["cluster.yaml", "--templates", "templates", "--emulated"];

/// Programs that are built from source, in directories of `tests/peers/build.sh`.
pub struct Peers {
    /// The peers of the node's sysexts and images.
    pub kubernetes: PathBuf,
    /// containerd, its shim, and ctr.
    pub containerd: PathBuf,
    /// Plugins for pods' networks.
    pub cni: PathBuf,
    /// etcd.
    pub etcd: PathBuf,
    /// CoreDNS.
    pub coredns: PathBuf,
    /// kube-vip, which only controllers need that share an address.
    pub kube_vip: Option<PathBuf>,
}

/// How large a cluster is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Three of them share an address.
    pub controllers: u8,
    /// Each runs from memory.
    pub workers: u8,
    /// Whether controllers keep their state on disks.
    pub disks: bool,
}

/// A machine of a cluster.
pub struct Member {
    /// Its host name.
    pub name: String,
    /// The address of its card.
    pub mac: String,
    /// Its address.
    pub ip: String,
    is_controller: bool,
}

impl Shape {
    /// The machines, controllers first.
    pub fn members(&self) -> Vec<Member> {
        let member = |kind: char, tens: u8, number: u8| Member {
            name: format!("{kind}{number}"),
            mac: format!("52:54:00:77:00:{tens}{number}"),
            ip: format!("10.77.0.{tens}{number}"),
            is_controller: kind == 'c',
        };
        let controllers = (1..=self.controllers).map(|number| member('c', 1, number));
        controllers.chain((1..=self.workers).map(|number| member('w', 2, number))).collect()
    }

    /// `cluster.yaml`.
    fn description(&self, kernel_args: &[String]) -> String {
        let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/keys/lab.asc");
        let mut text = format!(
            "cluster:\n  name: lab\n  k8s_version: 1.33.13\n  flatcar_version: 4593.2.5\n  cni: routes\n\
             bootstrap: {{ip: {ADDRESS}, interface: {BRIDGE}, dhcp: true}}\n\
             network: 10.77.0.0/24\n\
             dns: [{ADDRESS}]\n\
             recipe:\n  trust: {{primary_fingerprint: 9B368570AEFD715B83A15ACE4F564163D3EA328A, key: {}}}\n  \
             sysexts: [containerd]\n  images: [{ANSWER}]\n",
            key.display()
        );
        if self.controllers > 1 {
            text.push_str(&format!("control_plane_vip: {VIP}\n"));
        }
        text.push_str("nodes:\n");
        for member in self.members() {
            let role = match member.is_controller {
                true if self.disks => "role: controller, state: /dev/disk/by-id/virtio-prebake-lab-disk",
                true => "role: controller, ephemeral: true",
                false => "role: worker",
            };
            text.push_str(&format!(
                "  - {{name: {}, ip: {}, mac: \"{}\", {role}, ignition: [lab.bu], kernel_args: [{}]}}\n",
                member.name,
                member.ip,
                member.mac,
                kernel_args.iter().map(|arg| format!("\"{arg}\"")).collect::<Vec<_>>().join(", ")
            ));
        }
        text
    }
}

/// Files and settings of the lab's machines that Flatcar's do without: a file of name servers, which systemd-resolved writes there, and a
/// console that tells what a failed boot was at.
const LAYER: &str = "\
variant: flatcar
version: 1.0.0
storage:
  files:
    - path: /etc/resolv.conf
      overwrite: true
      contents: {inline: \"nameserver 10.77.0.1\\n\"}
systemd:
  units:
    - name: prebake-images.service
      dropins: [{name: 90-lab.conf, contents: \"[Service]\\nStandardOutput=journal+console\\nStandardError=journal+console\\n\"}]
";

/// The pod that answers, on a node's port, under a name; and the one that asks it, on the other node if there is one.
const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: answer, labels: {app: answer}}
spec:
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
  - name: answer
    image: "ghcr.io/lab/answer:1.0"
    imagePullPolicy: Never
    command: [sh, -c, "echo NONCE >/www/index.html && exec httpd -f -p 8080 -h /www"]
    volumeMounts: [{name: www, mountPath: /www}]
  volumes: [{name: www, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: answer}
spec: {type: NodePort, selector: {app: answer}, ports: [{port: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: ask}
spec:
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  nodeSelector: {kubernetes.io/hostname: c1}
  containers:
  - name: ask
    image: "ghcr.io/lab/answer:1.0"
    imagePullPolicy: Never
    command: [sh, -c, "until wget -qO /dev/termination-log http://answer.default.svc.cluster.local:8080/; do sleep 2; done"]
"#;

/// A cluster's place: a directory of what was carried in, and the network.
pub struct Formation {
    /// Holds `cluster.yaml`, `lab.bundle`, the key of who signed it and, once it is made, `output`.
    pub directory: PathBuf,
    shape: Shape,
    prebake: PathBuf,
    kubectl: PathBuf,
    network: Network,
    plugs: BTreeMap<String, Plug>,
    machines: BTreeMap<String, Machine>,
    started: Instant,
}

/// Makes a bundle outside, where there are mirrors of all that upstream publishes, and carries it into a network without a way
/// out. `work` must not be there yet.
pub fn carry_in(shape: Shape, peers: &Peers, prebake: &Path, work: &Path) -> Result<Formation> {
    let outside = work.join("outside");
    fs::create_dir_all(&outside)?;
    let release = release::build(&outside.join("lab"))?;
    let upstream =
        Upstream::of_a_node(&outside.join("upstream"), &peers.kubernetes, &peers.containerd, &peers.cni)?;
    let images = images::registry(&Programs {
        kubernetes: &peers.kubernetes,
        etcd: &peers.etcd,
        coredns: &peers.coredns,
        kube_vip: peers.kube_vip.as_deref(),
    })?;
    let mirror = Mirror::builder()
        .directory("/flatcar/", &release.server)
        .directory("/v2/", &images)
        .directory("/", &upstream.directory)
        .start()?;
    let kernel_args = kernel_args(&outside)?;
    let files = |directory: &Path| -> Result<()> {
        fs::write(directory.join("cluster.yaml"), shape.description(&kernel_args))?;
        fs::write(directory.join("lab.bu"), LAYER)?;
        fs::copy(release.harness.join("bootengine.cpio.gz"), directory.join("bootengine.cpio.gz"))?;
        // Debian's kernel has no bootengine inside; it comes before Flatcar's initrd, as a processor's microcode would.
        let profiles = directory.join("templates/profiles");
        fs::create_dir_all(&profiles)?;
        for role in ["controller", "worker"] {
            let text = format!(r#"{{"id": "{role}", "boot": {{"initrd": ["bootengine.cpio.gz"]}}}}"#);
            fs::write(profiles.join(format!("{role}.json.tmpl")), text)?;
        }
        Ok(())
    };
    files(&outside)?;
    let run = |args: &[&str]| -> Result<()> {
        let mut command = Command::new(prebake);
        command.args(args).current_dir(&outside).env("PREBAKE_STORE", outside.join("store"));
        for (source, path) in
            [("FLATCAR", "/flatcar"), ("KUBERNETES", "/kubernetes"), ("GITHUB", "/github"), ("OCI", "")]
        {
            command.env(format!("PREBAKE_MIRROR_{source}"), format!("{}{path}", mirror.url()));
        }
        succeed(&mut command).map(drop)
    };
    run(&[&["cluster", "generate"], &DESCRIBED[..]].concat())?;
    run(&["key", "generate", "-o", "site", "--no-passphrase"])?;
    run(&["bundle", "create", "output/lab/current", "-o", "lab.bundle", "--sign-key", "site.key"])?;
    let directory = work.join("inside");
    fs::create_dir(&directory)?;
    files(&directory)?;
    for name in ["lab.bundle", "site.pub"] {
        fs::rename(outside.join(name), directory.join(name))?;
    }
    // From here on there is no registry, nothing of upstream, and no key of the cluster.
    drop(mirror);
    fs::remove_dir_all(&outside)?;
    let network = Network::new();
    let plugs = shape.members().into_iter().map(|member| (member.name, network.plug())).collect();
    Ok(Formation {
        directory,
        shape,
        prebake: prebake.to_owned(),
        kubectl: peers.kubernetes.join("kubectl"),
        network,
        plugs,
        machines: BTreeMap::new(),
        started: Instant::now(),
    })
}

/// Kernel arguments of emulated machines. On its own the kernel finds that the counters of their processors differ, and takes the
/// time from the HPET: for each look at a clock, of which Go's programs take thousands a second, a system call and an answer of an
/// emulated device. The counters are all the host's one, and how fast that is can be measured only here. Guards against leaks of
/// processors are dear there, and there is nothing to guard.
fn kernel_args(directory: &Path) -> Result<Vec<String>> {
    let program = directory.join("tsc");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/tsc.c");
    succeed(Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(source))?;
    let khz = succeed(&mut Command::new(program))?;
    let clock = ["tsc=reliable".to_owned(), format!("tsc_early_khz={}", khz.trim())];
    let others = ["console=ttyS0,115200n8", "no_timer_check", "mitigations=off"].map(str::to_owned);
    Ok(clock.into_iter().chain(others).collect())
}

impl Formation {
    /// A program in the network, in the directory of what was carried in.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = self.network.command(&program.display().to_string());
        command.current_dir(&self.directory).env("PREBAKE_STORE", self.directory.join("store"));
        command
    }

    /// Says something with the seconds since the machines were switched on.
    pub fn say(&self, what: &str) {
        eprintln!("{:7.1} s  {what}", self.started.elapsed().as_secs_f64());
    }

    /// `prebake cluster init` from the bundle to its end; machines are switched on when it asks for that.
    pub fn init(&mut self, args: &[&str], limit: Duration) -> Result<Init> {
        let mut command = self.command(&self.prebake);
        command
            .args(["cluster", "init"])
            .args(DESCRIBED)
            .args(["--bundle", "lab.bundle", "--trust", "site.pub"])
            // Its own limits are for metal; where time is up, it tells best what is late.
            .args(["--timeout", &format!("{}s", limit.as_secs())])
            .args(args);
        self.started = Instant::now();
        let mut init = Init::start(&mut command)?;
        let deadline = Instant::now() + limit + GRACE;
        let mut switched_on = !self.machines.is_empty();
        loop {
            match init.lines.recv_timeout(POLL) {
                Ok(line) => {
                    self.say(&line);
                    init.log.push(line.clone());
                    if line.contains(PROMPT) && !switched_on {
                        switched_on = true;
                        self.started = Instant::now();
                        for member in self.shape.members() {
                            self.switch_on(&member)?;
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = init.process.wait()?;
                    return match status.success() {
                        true => Ok(init),
                        false => Err(self.failed(&format!("init ended ({status})"), &init)),
                    };
                }
            }
            init.look();
            let stall = self
                .machines
                .iter_mut()
                .find_map(|(name, machine)| machine.look().err().map(|stall| format!("{name}: {stall}")));
            if let Some(stall) = stall {
                return Err(self.failed(&stall, &init));
            }
            if Instant::now() > deadline {
                return Err(self.failed(&format!("init does not end after {} s", limit.as_secs()), &init));
            }
        }
    }

    /// Why a run failed: with what init said last, and each machine's console.
    fn failed(&self, why: &str, init: &Init) -> Box<dyn Error> {
        let mut text = format!("{why}\ninit says:\n    {}", last(&init.log, 40).join("\n    "));
        for (name, machine) in &self.machines {
            text.push_str(&format!(
                "\nthe console of {name} ends with\n    {}",
                machine.last_lines(60).join("\n    ")
            ));
        }
        text.into()
    }

    /// Switches a machine on.
    pub fn switch_on(&mut self, member: &Member) -> Result<()> {
        let plug = self.plugs[&member.name].clone();
        let console = self.directory.join(format!("{}.console", member.name));
        let memory = if member.is_controller { CONTROLLER } else { WORKER };
        let mut builder = Machine::on(plug, &console).mac(&member.mac).memory_mib(memory);
        if member.is_controller && self.shape.disks {
            let disk = self.directory.join(format!("{}.disk", member.name));
            if !disk.exists() {
                File::create(&disk)?.set_len(4 << 30)?;
            }
            builder = builder.disk(&disk);
        }
        self.say(&format!("power on {} ({}, {memory} MiB)", member.name, member.mac));
        self.machines.insert(member.name.clone(), builder.start()?);
        Ok(())
    }

    /// Cuts a machine's power.
    pub fn cut(&mut self, name: &str) {
        self.machines.remove(name);
        self.say(&format!("the power of {name} is cut"));
    }

    /// The output of kubectl, asked from outside of the cluster with the kubeconfig that `init` wrote.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.apply(args, "")
    }

    fn apply(&self, args: &[&str], input: &str) -> Result<String> {
        let mut command = self.command(&self.kubectl);
        let kubeconfig = self.directory.join("output/kubeconfig");
        command.args(["--request-timeout=30s"]).args(args).env("KUBECONFIG", kubeconfig);
        let text = self.directory.join("input.yaml");
        fs::write(&text, input)?;
        succeed(command.stdin(File::open(text)?))
    }

    /// Asks until the answer is as wanted.
    pub fn await_answer(
        &self,
        args: &[&str],
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let answer = self.kubectl(args);
            match &answer {
                Ok(text) if wanted(text) => return answer,
                _ if Instant::now() < deadline => thread::sleep(4 * POLL),
                Ok(text) => {
                    return Err(
                        format!("kubectl {} still answers\n{text}\n{}", args.join(" "), self.pods()).into()
                    );
                }
                Err(_) => return answer,
            }
        }
    }

    /// All pods, for messages.
    pub fn pods(&self) -> String {
        self.kubectl(&["get", "pods,nodes,events", "-A", "-o", "wide"])
            .unwrap_or_else(|error| error.to_string())
    }

    /// Starts a pod that answers, and one that asks it by its service's name; what the second one was told. Then the answer on a
    /// node's port, asked from outside.
    pub fn answers(&self, nonce: &str, limit: Duration) -> Result<[String; 2]> {
        self.apply(&["apply", "-f", "-"], &PODS.replace("NONCE", nonce))?;
        let message = "jsonpath={.status.containerStatuses[0].state.terminated.message}";
        let asked = ["get", "pod", "ask", "-o", message];
        let inside = self.await_answer(&asked, limit, |answer| !answer.is_empty())?;
        self.say(&format!("a pod that asked another one by name was told {}", inside.trim()));
        let url = format!("http://{}:30080/", self.shape.members()[0].ip);
        let mut curl = self.command(Path::new("curl"));
        let outside = succeed(curl.args([
            "--silent",
            "--fail",
            "--retry",
            "20",
            "--retry-all-errors",
            "--max-time",
            "60",
            &url,
        ]))?;
        Ok([inside.trim().to_owned(), outside.trim().to_owned()])
    }

    /// The machines that are on.
    pub fn members(&self) -> Vec<Member> {
        self.shape.members()
    }
}

/// `prebake cluster init`, and what it says.
pub struct Init {
    process: Child,
    lines: Receiver<String>,
    /// Its lines.
    pub log: Vec<String>,
    /// The most memory that it held, in KiB, as far as it was looked at.
    pub memory_kib: u64,
}

impl Init {
    fn start(command: &mut Command) -> Result<Init> {
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (sender, lines) = mpsc::channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            process.stdout.take().map(|output| Box::new(output) as Box<dyn Read + Send>),
            process.stderr.take().map(|output| Box::new(output) as Box<dyn Read + Send>),
        ];
        for output in outputs.into_iter().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Ok(Init { process, lines, log: Vec::new(), memory_kib: 0 })
    }

    /// Notes its memory.
    fn look(&mut self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        self.memory_kib = self.memory_kib.max(peak.unwrap_or_default());
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The output of a command; it must succeed.
fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ended(output.status, command, &said)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn ended(status: ExitStatus, command: &Command, said: &str) -> Result<()> {
    match status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {status}\n{said}").into()),
    }
}

fn last(lines: &[String], count: usize) -> &[String] {
    &lines[lines.len().saturating_sub(count)..]
}
