//! A small world for one test: a signed release on a mirror, a recipe, a store, and the real binary run in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::lab::mirror::{Fault, Mirror, Request};

/// The version that the small release calls current.
pub const VERSION: &str = "4593.2.5";
/// Primary fingerprint of the lab's key.
pub const PRIMARY: &str = "9B368570AEFD715B83A15ACE4F564163D3EA328A";
const SIGNING_SUBKEY: &str = "8F2E8753048542474D9D9200D26D2108E2F05BC2";
/// When all small releases were signed; the epoch of what is built from them.
pub const SIGNED_AT: &str = "20260813T090000";

const RECIPE: &str = "\
schema: 1
name: small
release: {channel: stable}
trust: {primary_fingerprint: 9B368570AEFD715B83A15ACE4F564163D3EA328A, key: lab.asc}
sysexts: [hello]
profiles:
  worker:
    ignition: [worker.ign]
    kernel_args: [console=ttyS0]
  control:
    ignition: [worker.ign, control.ign]
nodes:
  - {name: n1, mac: 52:54:00:00:00:01, profile: worker}
  - {name: n2, mac: 52:54:00:00:00:02, profile: control, ignition: [n2.ign]}
default_profile: worker
";

const WORKER: &str = r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/etc/role","contents":{"source":"data:,worker"}}]}}"#;
const CONTROL: &str = r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/etc/control","contents":{"source":"data:,yes"}}]}}"#;
const N2: &str = r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/etc/node","contents":{"source":"data:,n2"}}]}}"#;

/// One test's directories and mirror.
pub struct World {
    directory: TempDir,
    /// The release server.
    pub mirror: Mirror,
}

/// What a run of the binary came to.
pub struct Run {
    /// Exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The binary, ready to run in a directory, which is its home and has its store. Nothing of the environment counts but where
/// programs are.
pub fn prebake_in(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command
        .args(args)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .env("PREBAKE_STORE", directory.join("store"));
    command
}

impl World {
    /// A world whose mirror behaves.
    pub fn new() -> World {
        World::with_faults(|_| None)
    }

    /// A world whose mirror asks `faults` before each answer.
    pub fn with_faults(faults: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) -> World {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        release(&root.join("release"), VERSION, &stock(VERSION));
        let current = root.join("release/stable/amd64-usr/current");
        std::os::unix::fs::symlink(VERSION, current).unwrap();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("recipes/small.yaml", RECIPE);
        write("recipes/worker.ign", WORKER);
        write("recipes/control.ign", CONTROL);
        write("recipes/n2.ign", N2);
        fs::copy(repository("tests/lab/keys/lab.asc"), root.join("recipes/lab.asc")).unwrap();
        write("sysext/hello/sysext.yaml", "schema: 1\nname: hello\nversion: '1'\nos: any\nreload: true\n");
        write("sysext/hello/files/usr/share/hello/greeting", "hello\n");
        let mirror = Mirror::builder().directory("/", &root.join("release")).faults(faults).start().unwrap();
        World { directory, mirror }
    }

    /// A world whose release server has the same version for arm64 too.
    pub fn with_arm64() -> World {
        let world = World::new();
        let board = world.path("release/stable/arm64-usr");
        fs::create_dir_all(board.join(VERSION)).unwrap();
        std::os::unix::fs::symlink(VERSION, board.join("current")).unwrap();
        for (name, bytes) in stock(VERSION) {
            world.release_file_of("arm64-usr", &name, &bytes);
        }
        world
    }

    /// A path in this world.
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Writes a file, and the directories above it.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Gives the small recipe's workers one more layer.
    pub fn layer(&self, name: &str, text: &str) {
        self.write(&format!("recipes/{name}"), text);
        let layers = format!("ignition: [worker.ign, {name}]\n    kernel");
        self.edit("recipes/small.yaml", "ignition: [worker.ign]\n    kernel", &layers);
    }

    /// Changes a file of this world: every `from` becomes `to`.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let path = self.path(path);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{} has no {from:?}", path.display());
        fs::write(&path, text.replace(from, to)).unwrap();
    }

    /// Replaces a file of the release, with a signature by the lab's current key.
    pub fn release_file(&self, file: &str, bytes: &[u8]) {
        self.release_file_of("amd64-usr", file, bytes);
    }

    /// The same for any board.
    pub fn release_file_of(&self, board: &str, file: &str, bytes: &[u8]) {
        let path = self.path("release/stable").join(board).join(VERSION).join(file);
        fs::write(&path, bytes).unwrap();
        fs::write(path.with_file_name(format!("{file}.sig")), sign(bytes)).unwrap();
    }

    /// The binary, ready to run in this world.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = prebake_in(self.directory.path(), args);
        command.env("PREBAKE_MIRROR_FLATCAR", self.mirror.url());
        command
    }

    /// Runs the binary in this world.
    pub fn prebake(&self, args: &[&str]) -> Run {
        Run::of(self.command(args).output().unwrap())
    }

    /// `prebake build` of the small recipe, which must succeed; the BUILD-ID.
    pub fn build(&self) -> String {
        self.prebake(&["build", "recipes/small.yaml"]).ok();
        self.current().unwrap()
    }

    /// The BUILD-ID that `current` points at.
    pub fn current(&self) -> Option<String> {
        let link = fs::read_link(self.path("output/small/current")).ok()?;
        Some(link.display().to_string())
    }

    /// Names in a directory, hidden ones included, sorted.
    pub fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Every object of the store, by digest, with its bytes checked against the name.
    pub fn objects(&self) -> Vec<String> {
        let mut objects = Vec::new();
        for shelf in self.names("store/objects") {
            for rest in self.names(&format!("store/objects/{shelf}")) {
                let name = format!("{shelf}{rest}");
                let bytes = fs::read(self.path(&format!("store/objects/{shelf}/{rest}"))).unwrap();
                assert_eq!(
                    prebake::base::digest::Sha256::of(&bytes).to_string(),
                    name,
                    "a half-written object"
                );
                objects.push(name);
            }
        }
        objects
    }
}

impl Run {
    /// What a command came to that was run by hand.
    pub fn of(output: Output) -> Run {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The run must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Run {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The run must have failed with this code, and say all of these words.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in:\n{}", self.stderr);
        }
    }
}

/// The names in an output directory after one build. An id may begin with any hex digit, so it may stand anywhere.
pub fn after_one(build: &str) -> Vec<String> {
    let mut names = [".lock", build, "current"].map(str::to_owned);
    names.sort();
    names.into()
}

/// The most memory that a run of the binary had, in KiB; waits for its end.
pub fn peak_memory(child: &mut Child) -> u64 {
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let of = |key| status.lines().find_map(|line: &str| line.strip_prefix(key)).map(str::trim);
        // Until the child has become the binary it shows the memory of the tests.
        if of("Name:") == Some("prebake") {
            let high = of("VmHWM:").and_then(|kib| kib.trim_end_matches(" kB").parse().ok());
            peak = peak.max(high.unwrap_or(0));
        }
        thread::sleep(Duration::from_millis(10));
    }
    peak
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Stock files of a release, far smaller than the real ones. Nothing in the product looks into them.
pub fn stock(version: &str) -> BTreeMap<String, Vec<u8>> {
    let text = format!(
        "FLATCAR_BUILD=4593\nFLATCAR_VERSION={version}\nFLATCAR_VERSION_ID={version}\nFLATCAR_BUILD_ID=\"2026-08-10-1200\"\n"
    );
    BTreeMap::from([
        ("version.txt".into(), text.into_bytes()),
        ("flatcar_production_pxe.vmlinuz".into(), format!("kernel of {version}").into_bytes()),
        ("flatcar_production_pxe_image.cpio.gz".into(), vec![b'i'; 100_000]),
        ("flatcar_production_image.bin.bz2".into(), vec![b'd'; 50_000]),
    ])
}

/// Lays a version out as the release server does.
pub fn release(root: &Path, version: &str, files: &BTreeMap<String, Vec<u8>>) {
    let directory = root.join("stable/amd64-usr").join(version);
    fs::create_dir_all(&directory).unwrap();
    for (name, bytes) in files {
        fs::write(directory.join(name), bytes).unwrap();
        fs::write(directory.join(format!("{name}.sig")), sign(bytes)).unwrap();
    }
}

/// A detached signature by real gpg with the lab's current subkey. Equal bytes are signed once per test run.
pub fn sign(bytes: &[u8]) -> Vec<u8> {
    static MADE: Mutex<BTreeMap<prebake::base::digest::Sha256, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let digest = prebake::base::digest::Sha256::of(bytes);
    let mut made = MADE.lock().unwrap();
    let signature = made.entry(digest).or_insert_with(|| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        sign_file(file.path())
    });
    signature.clone()
}

/// The same for a file of any size. The clock stands still, for a release's signatures date what is built of it.
pub fn sign_file(file: &Path) -> Vec<u8> {
    // gpg complains of a home that others can read.
    let private = fs::Permissions::from_mode(0o700);
    let home = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    let key = repository("tests/lab/keys/lab.secret.asc");
    assert!(gpg(home.path()).arg("--import").arg(key).status().unwrap().success());
    let output = gpg(home.path())
        .args([
            "--faked-system-time",
            &format!("{SIGNED_AT}!"),
            "--local-user",
            &format!("{SIGNING_SUBKEY}!"),
        ])
        .args(["--output", "-", "--detach-sign"])
        .arg(file)
        .output()
        .unwrap();
    // gpg leaves an agent running in every home that held a secret key.
    let ended = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", home.path()).status();
    assert!(ended.unwrap().success());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn gpg(home: &Path) -> Command {
    let mut command = Command::new("gpg");
    command.args(["--batch", "--quiet", "--pinentry-mode", "loopback"]).env("GNUPGHOME", home);
    command
}
