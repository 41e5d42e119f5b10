//! A management cluster of Cluster API: the API server of [`cluster`](super::cluster) with the real resource definitions and
//! admission webhooks, and the real managers beside it, outside of any pod.
//!
//! All of it comes from the peer `cluster-api`. Definitions get the labels that name their contracts, which kustomize would add, and
//! lose their conversion webhooks, so that only the newest version of each kind is judged. Admission webhooks are asked by URL.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prebake::addon::manifest;
use prebake::base::finding::Source;
use serde_json::{Value, json};

use super::cluster::{Cluster, PATIENCE, POLL, Server, run};
use super::ports;

/// The namespace whose webhooks and bootstrap controllers have no gate for Ignition, which is how they are by default.
pub const UNGATED: &str = "ungated";

/// The namespace of everything else.
pub const NAMESPACE: &str = "default";

/// The provider of Proxmox VE listens on this port for its webhooks, and has no flag for another.
const PROXMOX_PORT: u16 = 9443;

/// Turns the gate on (`EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION=true` for clusterctl).
const GATE: &str = "--feature-gates=KubeadmBootstrapFormatIgnition=true";

/// Turns it off: it is alpha, and off by default.
const NO_GATE: &str = "--feature-gates=KubeadmBootstrapFormatIgnition=false";

/// Checks of a set of machines before it makes one: all but whether the control plane is stable, for no machine of it ever runs.
const CHECKS: &str =
    "--machineset-preflight-checks=KubernetesVersionSkew,KubeadmVersionSkew,ControlPlaneVersionSkew";

/// How long it may take until controllers, which look again after half a minute, have made user data on a busy machine.
const LONG: Duration = Duration::from_secs(600);

/// A provider of Cluster API, as the peer's directory has it.
struct Provider {
    /// Directory with `crds` and, for some, `webhooks.yaml`.
    name: &'static str,
    /// Version of its kinds, which carries the contract v1beta2.
    version: &'static str,
    /// The program of its manager.
    manager: Option<&'static str>,
}

const CORE: Provider = Provider { name: "core", version: "v1beta2", manager: Some("capi-core") };
const BOOTSTRAP: Provider =
    Provider { name: "bootstrap", version: "v1beta2", manager: Some("capi-bootstrap") };
const CONTROL_PLANE: Provider =
    Provider { name: "control-plane", version: "v1beta2", manager: Some("capi-control-plane") };
const PROXMOX: Provider = Provider { name: "proxmox", version: "v1alpha2", manager: Some("capmox") };
const IPAM: Provider = Provider { name: "ipam", version: "v1alpha2", manager: None };

/// The webhooks and controllers that run beside the API server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Judges {
    /// Cluster API's three managers, which make bootstrap secrets.
    Controllers,
    /// These, two of them a second time for [`UNGATED`], and the provider of Proxmox VE, whose port only one process can have.
    All,
}

/// A management cluster that runs until it is dropped.
pub struct Management {
    directory: PathBuf,
    peer: PathBuf,
    /// The certificate that webhooks are trusted by, in base64.
    authority: String,
    /// Ended before the API server.
    managers: Vec<Server>,
    cluster: Cluster,
}

impl Management {
    /// Starts everything below a directory that is not there yet. `programs` holds the peer `kubernetes`, `peer` the peer
    /// `cluster-api`.
    pub fn start(programs: &Path, peer: &Path, directory: &Path, judges: Judges) -> io::Result<Management> {
        fs::create_dir(directory)?;
        let cluster = Cluster::start(programs, &directory.join("cluster"))?;
        let mut management = Management {
            directory: directory.to_owned(),
            peer: peer.to_owned(),
            authority: String::new(),
            managers: Vec::new(),
            cluster,
        };
        management.make_certificate()?;
        let all = [CORE, BOOTSTRAP, CONTROL_PLANE, PROXMOX, IPAM];
        management.define(&all)?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": UNGATED}});
        management.cluster.apply(&["create", "-f", "-"], &namespace.to_string())?;
        let mut hooks = Vec::new();
        let only = |operator: &str| {
            json!({"matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": operator, "values": [UNGATED]},
            ]})
        };
        let port = management.start_manager(&CORE, &[CHECKS])?;
        hooks.extend(management.hooks(&CORE, "", port, &json!({}))?);
        for provider in [BOOTSTRAP, CONTROL_PLANE] {
            let port = management.start_manager(&provider, &[GATE])?;
            hooks.extend(management.hooks(&provider, "", port, &only("NotIn"))?);
        }
        if judges == Judges::All {
            let namespace = format!("--namespace={UNGATED}");
            for provider in [BOOTSTRAP, CONTROL_PLANE] {
                let port = management.start_manager(&provider, &[NO_GATE, &namespace])?;
                hooks.extend(management.hooks(&provider, "ungated-", port, &only("In"))?);
            }
            management.start_proxmox()?;
            hooks.extend(management.hooks(&PROXMOX, "", PROXMOX_PORT, &json!({}))?);
        }
        management.create(&hooks)?;
        Ok(management)
    }

    /// The API server, and the one that machines join: both clusters are one.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Further definitions of resources, as they lie in a directory.
    pub fn define_more(&self, directory: &Path) -> io::Result<()> {
        let mut definitions = Vec::new();
        for document in directory_of(directory)? {
            definitions.push(definition(document, "v1beta2"));
        }
        self.create_definitions(&definitions)
    }

    /// Holds objects against schemas and webhooks as those of a namespace, without keeping them: an unknown field is refused, too. Its
    /// words; an error if it refuses one of them.
    pub fn judge(&self, namespace: &str, objects: &[Value]) -> Result<String, String> {
        let mut objects = objects.to_vec();
        for object in &mut objects {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let args = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        self.cluster.apply(&args, &list(&objects)).map_err(|error| error.to_string())
    }

    /// Applies objects.
    pub fn apply(&self, objects: &[Value]) -> io::Result<String> {
        let args = ["apply", "--validate=strict", "-n", NAMESPACE, "-f", "-"];
        self.cluster.apply(&args, &list(objects))
    }

    /// Sets a part of an object's status, as a controller that is not here would.
    pub fn set_status(&self, kind: &str, name: &str, status: &Value) -> io::Result<()> {
        let patch = json!({"status": status}).to_string();
        let args =
            ["-n", NAMESPACE, "patch", kind, name, "--subresource=status", "--type=merge", "-p", &patch];
        self.cluster.kubectl(&args).map(drop)
    }

    /// Gives a cluster of this name the API server itself as its workload cluster: the authority of its certificates, and how its
    /// controllers reach it from this host. The control plane's controller takes over secrets that are there before it looks.
    pub fn adopt(&self, name: &str) -> io::Result<()> {
        let read = |path: PathBuf| fs::read(path).map(|bytes| STANDARD.encode(bytes));
        let secret = |suffix: &str, data: Value| {
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "cluster.x-k8s.io/secret",
                "metadata": {"name": format!("{name}-{suffix}"), "labels": {"cluster.x-k8s.io/cluster-name": name}},
                "data": data,
            })
        };
        let authority = json!({
            "tls.crt": read(self.cluster.key("ca.crt"))?,
            "tls.key": read(self.cluster.key("ca.key"))?,
        });
        let kubeconfig = json!({"value": read(self.cluster.kubeconfig())?});
        self.apply(&[secret("ca", authority), secret("kubeconfig", kubeconfig)]).map(drop)
    }

    /// The bootstrap secret of the first machine with this label, once there is one: its format, and its content.
    pub fn bootstrap(&self, label: &str) -> io::Result<(String, String)> {
        let path = "jsonpath={.items[*].spec.bootstrap.dataSecretName}";
        let args = ["-n", NAMESPACE, "get", "machines.cluster.x-k8s.io", "-l", label, "-o", path];
        let names = self.cluster.await_output(&args, LONG, |names| !names.is_empty());
        let names = names.map_err(|error| io::Error::other(format!("{error}\n{}", self.logs())))?;
        let name = names.split(' ').next().unwrap_or_default();
        let secret = self.cluster.kubectl(&["-n", NAMESPACE, "get", "secret", name, "-o", "json"])?;
        let secret: Value = serde_json::from_str(&secret)?;
        let text = |key: &str| {
            let encoded = secret["data"][key].as_str().unwrap_or_default();
            let bytes = STANDARD.decode(encoded).map_err(io::Error::other)?;
            String::from_utf8(bytes).map_err(io::Error::other)
        };
        Ok((text("format")?, text("value")?))
    }

    /// The last lines that each server and manager has logged.
    pub fn logs(&self) -> String {
        let managers: String = self.managers.iter().map(Server::last_lines).collect();
        managers + &self.cluster.logs()
    }

    /// The one certificate that all webhooks serve with.
    fn make_certificate(&mut self) -> io::Result<()> {
        let hooks = self.directory.join("hooks");
        fs::create_dir(&hooks)?;
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        openssl.args(["-days", "30", "-subj", "/CN=hooks", "-addext", "subjectAltName=IP:127.0.0.1"]);
        openssl.arg("-keyout").arg(hooks.join("tls.key")).arg("-out").arg(hooks.join("tls.crt"));
        run(&mut openssl, "")?;
        self.authority = STANDARD.encode(fs::read(hooks.join("tls.crt"))?);
        Ok(())
    }

    /// Creates the definitions of providers.
    fn define(&self, providers: &[Provider]) -> io::Result<()> {
        let mut definitions = Vec::new();
        for provider in providers {
            for document in directory_of(&self.peer.join(provider.name).join("crds"))? {
                definitions.push(definition(document, provider.version));
            }
        }
        self.create_definitions(&definitions)
    }

    fn create_definitions(&self, definitions: &[Value]) -> io::Result<()> {
        self.create(definitions)?;
        let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=100s"];
        self.cluster.kubectl(&wait).map(drop)
    }

    /// `kubectl create`: a definition is longer than the annotation that `kubectl apply` would keep of it may be.
    fn create(&self, objects: &[Value]) -> io::Result<()> {
        self.cluster.apply(&["create", "-f", "-"], &list(objects)).map(drop)
    }

    /// The webhook configurations of a provider, for namespaces that a selector takes, under a name of their own.
    fn hooks(
        &self,
        provider: &Provider,
        prefix: &str,
        port: u16,
        selector: &Value,
    ) -> io::Result<Vec<Value>> {
        let mut configurations = read(&self.peer.join(provider.name).join("webhooks.yaml"))?;
        for configuration in &mut configurations {
            let name = configuration["metadata"]["name"].as_str().unwrap_or_default();
            configuration["metadata"]["name"] = json!(format!("{prefix}{}-{name}", provider.name));
            for hook in configuration["webhooks"].as_array_mut().into_iter().flatten() {
                let path = hook["clientConfig"]["service"]["path"].as_str().unwrap_or_default();
                let url = format!("https://127.0.0.1:{port}{path}");
                hook["clientConfig"] = json!({"url": url, "caBundle": self.authority});
                hook["timeoutSeconds"] = json!(30);
                hook["namespaceSelector"] = selector.clone();
            }
        }
        Ok(configurations)
    }

    /// Starts a manager of Cluster API's own; the port of its webhooks.
    fn start_manager(&mut self, provider: &Provider, args: &[&str]) -> io::Result<u16> {
        let port = ports::unused().port();
        let Some(program) = provider.manager else { return Ok(port) };
        let mut manager = Command::new(self.peer.join(program));
        manager.arg(format!("--kubeconfig={}", self.cluster.kubeconfig().display()));
        manager.arg(format!("--webhook-port={port}"));
        manager.arg(format!("--webhook-cert-dir={}", self.directory.join("hooks").display()));
        manager.args(["--diagnostics-address=127.0.0.1:0", "--insecure-diagnostics"]);
        manager.args(["--health-addr=127.0.0.1:0", "--leader-elect=false"]).args(args);
        // Two of one program, each with a log of its own.
        let place = self.directory.join(format!("{program}-{port}"));
        fs::create_dir(&place)?;
        let server = Server::start(program, manager, &place)?;
        self.managers.push(server);
        match self.await_port(port)? {
            true => Ok(port),
            false => Err(io::Error::other(format!("{program} ended\n{}", self.logs()))),
        }
    }

    /// Starts the manager of Proxmox VE's provider, which has no credentials here, once its port is free.
    fn start_proxmox(&mut self) -> io::Result<()> {
        let place = self.directory.join("capmox");
        // Where controller-runtime looks if nobody says a directory.
        let certificates = place.join("k8s-webhook-server/serving-certs");
        fs::create_dir_all(&certificates)?;
        for name in ["tls.crt", "tls.key"] {
            fs::copy(self.directory.join("hooks").join(name), certificates.join(name))?;
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if answers(PROXMOX_PORT) {
                // Another run's judge has it.
                thread::sleep(10 * POLL);
                continue;
            }
            let mut manager = Command::new(self.peer.join("capmox"));
            manager
                .arg(format!("--kubeconfig={}", self.cluster.kubeconfig().display()))
                .env("TMPDIR", &place);
            for variable in ["PROXMOX_URL", "PROXMOX_TOKEN", "PROXMOX_SECRET"] {
                manager.env_remove(variable);
            }
            manager.args(["--diagnostics-address=127.0.0.1:0", "--insecure-diagnostics"]);
            manager.args(["--health-probe-bind-address=127.0.0.1:0", "--leader-elect=false"]);
            let server = Server::start("capmox", manager, &place)?;
            self.managers.push(server);
            if self.await_port(PROXMOX_PORT)? {
                return Ok(());
            }
            // It ended: somebody was faster.
            self.managers.pop();
        }
        Err(io::Error::other(format!("port {PROXMOX_PORT} is never free, or capmox ends\n{}", self.logs())))
    }

    /// Waits until somebody listens on a port; `false` if the newest manager has ended instead.
    fn await_port(&mut self, port: u16) -> io::Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !self.managers.last_mut().is_some_and(Server::runs) {
                return Ok(false);
            }
            if answers(port) {
                return Ok(true);
            }
            thread::sleep(POLL);
        }
        Err(io::Error::other(format!("nobody listens on port {port}\n{}", self.logs())))
    }
}

impl Drop for Management {
    fn drop(&mut self) {
        // The newest first, and all before the API server that they talk to.
        while self.managers.pop().is_some() {}
    }
}

/// A definition with the labels of its contracts and without conversion.
fn definition(mut definition: Value, version: &str) -> Value {
    for contract in ["v1beta1", "v1beta2"] {
        // Kinds of Cluster API have a version for each contract; one of Proxmox VE's, one for both.
        let version = if version == "v1beta2" { contract } else { version };
        definition["metadata"]["labels"][format!("cluster.x-k8s.io/{contract}")] = json!(version);
    }
    if let Some(spec) = definition["spec"].as_object_mut() {
        spec.remove("conversion");
    }
    definition
}

fn answers(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The objects of a file of YAML.
pub fn read(path: &Path) -> io::Result<Vec<Value>> {
    objects(&path.display().to_string(), &fs::read_to_string(path)?)
}

/// The objects of a text of YAML.
pub fn objects(name: &str, text: &str) -> io::Result<Vec<Value>> {
    let documents = manifest::read(&Source::new(name, text));
    let documents = documents.map_err(|findings| io::Error::other(format!("{findings:?}")))?;
    Ok(documents.into_iter().map(|document| document.value).collect())
}

/// The objects of a directory's files of YAML, in the order of their names.
fn directory_of(directory: &Path) -> io::Result<Vec<Value>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        all.append(&mut read(&path)?);
    }
    Ok(all)
}

fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}
