//! A real control plane on the loopback: etcd, kube-apiserver and kube-controller-manager, with what `kubeadm init` would
//! have put into them for nodes to join. It has no machine, no scheduler and no addons.
//!
//! kubeadm, the servers and kubectl are built by `tests/peers/build.sh kubernetes`; etcd is Debian's. Machines reach the
//! API server as 10.0.2.2, this host reaches it on 127.0.0.1; its certificate names both, and the shared address of clusters in
//! a network of their own.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use prebake::base::digest::Sha256;
use rustix::process::{Pid, Signal, kill_process};

use super::ports;

/// The version of the peers.
pub const VERSION: &str = "v1.33.13";

/// How long one step may take. All of them together need some 10 s on an idle machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// How long a server may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Asks for the address and the authority of the cluster, which anybody may read.
const CLUSTER_INFO: [&str; 7] = ["-n", "kube-public", "get", "configmap", "cluster-info", "-o", "json"];

/// How often something is looked at.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// A control plane that runs until it is dropped.
pub struct Cluster {
    programs: PathBuf,
    directory: PathBuf,
    port: u16,
    etcd: u16,
    token: String,
    /// What kubeadm said while it made keys.
    keys_made: String,
    /// In the order they are ended: an API server whose etcd is gone does not end.
    servers: Vec<Server>,
}

/// What `kubeadm join` is told.
#[derive(Debug)]
pub struct Invitation {
    /// `HOST:PORT` of the API server, as a machine sees it.
    pub endpoint: String,
    /// The bootstrap token.
    pub token: String,
    /// `sha256:` and the digest of the authority's public key.
    pub ca_cert_hash: String,
}

/// The directory of an unpacked Debian package; the builder tells its story on stderr.
pub fn debian(package: &str) -> io::Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/tools.sh");
    let output = Command::new(script).arg(package).stderr(Stdio::inherit()).output()?;
    match output.status.success() {
        true => Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())),
        false => Err(io::Error::other(format!("{package} could not be had ({})", output.status))),
    }
}

impl Cluster {
    /// Starts the servers and waits until nodes can join. `programs` holds the peer `kubernetes`; `directory`, which must
    /// not be there yet, all that is written.
    pub fn start(programs: &Path, directory: &Path) -> io::Result<Cluster> {
        Cluster::start_with(programs, directory, None)
    }

    /// The same, with the authorities and keys in a directory as kubeadm has them below `/etc/kubernetes/pki`.
    pub fn start_with(programs: &Path, directory: &Path, keys: Option<&Path>) -> io::Result<Cluster> {
        fs::create_dir(directory)?;
        if let Some(keys) = keys {
            run(Command::new("cp").arg("-rT").arg(keys).arg(directory.join("pki")), "")?;
        }
        let [port, etcd, etcd_peer] = [(); 3].map(|()| ports::unused().port());
        let mut cluster = Cluster {
            programs: programs.to_owned(),
            directory: directory.to_owned(),
            port,
            etcd,
            token: String::new(),
            keys_made: String::new(),
            servers: Vec::new(),
        };
        cluster.token = cluster.kubeadm(&["token", "generate"])?.trim_end().to_owned();
        cluster.make_keys()?;
        cluster.start_etcd(etcd, etcd_peer)?;
        cluster.start_api_server()?;
        cluster.upload()?;
        cluster.start_controller_manager()?;
        cluster.await_signature()?;
        Ok(cluster)
    }

    /// The directory of the programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The API server's URL, as this host reaches it.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// What kubeadm said while it made keys.
    pub fn keys_made(&self) -> &str {
        &self.keys_made
    }

    /// What a machine needs to join.
    pub fn invitation(&self) -> io::Result<Invitation> {
        // The digest is of the DER of the SubjectPublicKeyInfo (util/pubkeypin of kubeadm).
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-pubkey", "-in"]).arg(self.path("pki/ca.crt"));
        let pem = run(&mut openssl, "")?;
        let mut openssl = Command::new("openssl");
        openssl.args(["pkey", "-pubin", "-outform", "DER", "-out"]).arg(self.path("ca.der"));
        run(&mut openssl, &pem)?;
        let digest = Sha256::of(&fs::read(self.path("ca.der"))?);
        Ok(Invitation {
            endpoint: format!("10.0.2.2:{}", self.port),
            token: self.token.clone(),
            ca_cert_hash: format!("sha256:{digest}"),
        })
    }

    /// What kubectl prints, asked as an administrator.
    pub fn kubectl(&self, args: &[&str]) -> io::Result<String> {
        self.apply(args, "")
    }

    /// What kubectl prints with this text on its standard input.
    pub fn apply(&self, args: &[&str], input: &str) -> io::Result<String> {
        let mut kubectl = self.program("kubectl");
        kubectl.args(args).env("KUBECONFIG", self.path("super-admin.conf")).env("HOME", &self.directory);
        run(&mut kubectl, input)
    }

    /// Asks kubectl again and again until what it prints is as wanted; the last answer when it never is.
    pub fn await_output(
        &self,
        args: &[&str],
        timeout: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> io::Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            let answer = self.kubectl(args);
            match &answer {
                Ok(answer) if wanted(answer) => return Ok(answer.clone()),
                _ if Instant::now() < deadline => thread::sleep(10 * POLL),
                Ok(answer) => {
                    let asked = args.join(" ");
                    return Err(io::Error::other(format!("kubectl {asked} still answers\n{answer}")));
                }
                Err(_) => return answer,
            }
        }
    }

    /// Ends one of the servers.
    pub fn end(&mut self, name: &str) {
        self.servers.retain(|server| server.name != name);
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("super-admin.conf")
    }

    /// A file of the cluster's keys, by kubeadm's name.
    pub fn key(&self, name: &str) -> PathBuf {
        self.path("pki").join(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn kubeadm(&self, args: &[&str]) -> io::Result<String> {
        run(self.program("kubeadm").args(args).current_dir(&self.directory), "")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE.as_secs().to_string()).arg(self.programs.join(name));
        command
    }

    /// Keys, certificates and the administrator's kubeconfig, as `kubeadm init` makes them.
    fn make_keys(&mut self) -> io::Result<()> {
        // kubeadm refuses a loopback address as the one to advertise, and asks no interface whether it has this one.
        let config = |host: &str, pki: &str| {
            format!(
                "apiVersion: kubeadm.k8s.io/v1beta4\n\
                 kind: InitConfiguration\n\
                 localAPIEndpoint: {{advertiseAddress: 10.0.2.2, bindPort: {port}}}\n\
                 nodeRegistration: {{name: control, criSocket: unix:///run/containerd/containerd.sock}}\n\
                 bootstrapTokens: [{{token: {token}, ttl: 1h0m0s}}]\n\
                 ---\n\
                 apiVersion: kubeadm.k8s.io/v1beta4\n\
                 kind: ClusterConfiguration\n\
                 kubernetesVersion: {VERSION}\n\
                 {pki}controlPlaneEndpoint: {host}:{port}\n\
                 apiServer: {{certSANs: [127.0.0.1, 10.0.2.2, 10.77.0.5]}}\n\
                 ---\n\
                 apiVersion: kubelet.config.k8s.io/v1beta1\n\
                 kind: KubeletConfiguration\n\
                 cgroupDriver: systemd\n\
                 resolvConf: /etc/resolv.conf\n",
                port = self.port,
                token = self.token,
            )
        };
        let pki = format!("certificatesDir: {}\n", self.path("pki").display());
        fs::write(self.path("here.yaml"), config("127.0.0.1", &pki))?;
        // Files that nodes are given: their kubelets look for the authority in the directory that is kubeadm's default.
        fs::write(self.path("nodes.yaml"), config("10.0.2.2", ""))?;
        self.keys_made = self.kubeadm(&["init", "phase", "certs", "all", "--config", "here.yaml"])?;
        let kubeconfig = ["init", "phase", "kubeconfig", "super-admin", "--config", "here.yaml"];
        self.kubeadm(&[&kubeconfig[..], &["--kubeconfig-dir", "."]].concat())?;
        Ok(())
    }

    fn start_etcd(&mut self, port: u16, peer_port: u16) -> io::Result<()> {
        let mut etcd = Command::new(debian("etcd-server")?.join("usr/bin/etcd"));
        let url = format!("http://127.0.0.1:{port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        etcd.args(["--data-dir", "etcd", "--unsafe-no-fsync"]);
        etcd.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        etcd.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
        etcd.args(["--initial-cluster", &format!("default={peer_url}")]);
        self.start_server("etcd", etcd)
    }

    /// Starts the API server, after [`Cluster::end`] too, and waits until it is ready.
    pub fn start_api_server(&mut self) -> io::Result<()> {
        let mut server = Command::new(self.programs.join("kube-apiserver"));
        server.arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd));
        server.arg(format!("--secure-port={}", self.port));
        server.args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            // It would publish the loopback as the service's endpoint, which it refuses.
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/12",
            "--tls-cert-file=pki/apiserver.crt",
            "--tls-private-key-file=pki/apiserver.key",
            "--client-ca-file=pki/ca.crt",
            "--service-account-key-file=pki/sa.pub",
            "--service-account-signing-key-file=pki/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--enable-bootstrap-token-auth",
        ]);
        self.start_server("kube-apiserver", server)?;
        self.await_output(&["get", "--raw", "/readyz"], PATIENCE, |answer| answer == "ok")?;
        Ok(())
    }

    fn start_controller_manager(&mut self) -> io::Result<()> {
        let mut manager = Command::new(self.programs.join("kube-controller-manager"));
        manager.args([
            "--kubeconfig=super-admin.conf",
            "--leader-elect=false",
            "--secure-port=0",
            // The controllers that join nodes, and the one that makes the service account which a pod must have.
            "--controllers=csrsigning,csrapproving,bootstrapsigner,tokencleaner,nodelifecycle,serviceaccount",
            "--cluster-signing-cert-file=pki/ca.crt",
            "--cluster-signing-key-file=pki/ca.key",
            "--root-ca-file=pki/ca.crt",
            "--service-account-private-key-file=pki/sa.key",
        ]);
        self.start_server("kube-controller-manager", manager)
    }

    /// Uploads what joining nodes read.
    fn upload(&self) -> io::Result<()> {
        // kubeadm notes its container runtime's socket at the node that it runs on, once that has this label.
        let node = "{apiVersion: v1, kind: Node, \
            metadata: {name: control, labels: {kubernetes.io/hostname: control}}}";
        self.apply(&["apply", "-f", "-"], node)?;
        for phase in [["upload-config", "all"], ["bootstrap-token", ""]] {
            let phase = phase.iter().filter(|word| !word.is_empty());
            let args: Vec<&str> = ["init", "phase"].iter().chain(phase).copied().collect();
            let files = ["--config", "nodes.yaml", "--kubeconfig", "super-admin.conf"];
            self.kubeadm(&[&args[..], &files].concat())?;
        }
        // kubeadm writes the address there that the administrator's kubeconfig has.
        let seen_from_here = format!("https://127.0.0.1:{}", self.port);
        let seen_from_inside = format!("https://10.0.2.2:{}", self.port);
        let info = self.kubectl(&CLUSTER_INFO)?.replace(&seen_from_here, &seen_from_inside);
        self.apply(&["replace", "-f", "-"], &info)?;
        Ok(())
    }

    /// Waits until the controller manager has signed with the token what a machine reads before it trusts anybody.
    fn await_signature(&self) -> io::Result<()> {
        let (id, _) = self.token.split_once('.').unwrap_or_default();
        let signature = format!("jws-kubeconfig-{id}");
        self.await_output(&CLUSTER_INFO, PATIENCE, |info| info.contains(&signature))?;
        Ok(())
    }

    fn start_server(&mut self, name: &'static str, command: Command) -> io::Result<()> {
        let server = Server::start(name, command, &self.directory)?;
        // The newest is ended first.
        self.servers.insert(0, server);
        Ok(())
    }

    /// The last lines that each server has logged.
    pub fn logs(&self) -> String {
        self.servers.iter().map(Server::last_lines).collect()
    }
}

/// Runs a program with this input to its end; what it printed.
pub(super) fn run(command: &mut Command, input: &str) -> io::Result<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(format!(
            "{command:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))),
    }
}

/// One of the servers.
pub(super) struct Server {
    name: &'static str,
    log: PathBuf,
    child: Child,
}

impl Server {
    /// Starts it in a directory, where its log goes too.
    pub(super) fn start(name: &'static str, command: Command, directory: &Path) -> io::Result<Server> {
        let path = directory.join(format!("{name}.log"));
        let log = File::create(&path)?;
        // setpriv, so that it never outlives the test, however that ends.
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(name, value),
                None => guarded.env_remove(name),
            };
        }
        guarded.current_dir(directory).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Server { name, log: path, child: guarded.spawn()? })
    }

    /// Whether it runs still.
    pub(super) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its name and the last lines that it has logged.
    pub(super) fn last_lines(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        let lines: String = lines.iter().rev().map(|line| format!("    {line}\n")).collect();
        format!("{}:\n{lines}", self.name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
