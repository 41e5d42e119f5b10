//! `prebake capi run`: what real sops encrypted reaches the command alone, and real clusterctl takes it as it takes its own file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use prebake::base::digest::Sha256;
use prebake::tree::manifest::{File, Manifest, Role, SCHEMA};

use crate::judges::build;
use crate::world::Run;

const MARK: &str = "hunter2-7b1f";
const INPUTS: &str = "\
# where Proxmox is
PROXMOX_URL: https://pve.example:8006
PROXMOX_TOKEN: capi@pve!capi
PROXMOX_SECRET: hunter2-7b1f
NODE_IP_RANGES: \"[10.0.0.10-10.0.0.20]\"
IP_PREFIX: 24
SCHEDULER: true
NOTHING:
";

/// A directory with sops' keys.
struct Site {
    directory: tempfile::TempDir,
    peer: PathBuf,
}

impl Site {
    fn new() -> Option<Site> {
        let site = Site { peer: build("sops")?, directory: tempfile::tempdir().unwrap() };
        site.key("keys.txt");
        fs::create_dir(site.path("tmp")).unwrap();
        Some(site)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn key(&self, name: &str) {
        let output =
            Command::new(self.peer.join("age-keygen")).args(["-o", name]).current_dir(self.path("")).output();
        Run::of(output.unwrap()).ok();
    }

    fn recipient(&self, name: &str) -> String {
        let identity = fs::read_to_string(self.path(name)).unwrap();
        identity.split("public key: ").nth(1).unwrap().lines().next().unwrap().to_owned()
    }

    /// Encrypts a text for a key.
    fn encrypt(&self, name: &str, text: &str, key: &str) {
        fs::write(self.path("clear.yaml"), text).unwrap();
        let recipient = self.recipient(key);
        let output = Command::new(self.peer.join("sops"))
            .args(["encrypt", "--age", &recipient, "clear.yaml"])
            .current_dir(self.path(""))
            .output();
        fs::write(self.path(name), Run::of(output.unwrap()).ok().stdout).unwrap();
        fs::remove_file(self.path("clear.yaml")).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        command
            .args(["capi", "run"])
            .args(args)
            .current_dir(self.path(""))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path(""))
            .env("TMPDIR", self.path("tmp"))
            .env("SOPS_AGE_KEY_FILE", self.path("keys.txt"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        Run::of(self.command(args).output().unwrap())
    }

    /// The files below the site in which the mark is.
    fn marked(&self) -> Vec<PathBuf> {
        fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, found),
                    false => {
                        let bytes = fs::read(&path).unwrap();
                        if bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes()) {
                            found.push(path);
                        }
                    }
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path(""), &mut found);
        found
    }
}

/// No word of prebake's own has the mark.
fn is_silent(run: &Run) {
    assert!(!run.stderr.contains(MARK), "{}", run.stderr);
}

#[test]
fn a_command_gets_the_variables_of_an_encrypted_file_and_nothing_else_has_them() {
    let Some(site) = Site::new() else { return };
    site.encrypt("clusterctl.enc.yaml", INPUTS, "keys.txt");
    let print = "for n in PROXMOX_SECRET NODE_IP_RANGES IP_PREFIX SCHEDULER CLUSTERCTL_DISABLE_VERSIONCHECK \
        EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION; do printenv $n; done; printenv NOTHING || echo none; tr '\\0' ' ' < /proc/$$/cmdline | grep -c hunter2";
    let run = site.run(&["-s", "clusterctl.enc.yaml", "--", "sh", "-c", print]);
    let lines: Vec<&str> = run.stdout.lines().collect();
    // The command line of the shell has the word of the pattern alone.
    assert_eq!(
        lines,
        [MARK, "[10.0.0.10-10.0.0.20]", "24", "true", "true", "true", "none", "1"],
        "{}",
        run.stderr
    );
    is_silent(&run);
    assert_eq!(site.marked(), Vec::<PathBuf>::new());
    // A variable that is set stands, as with clusterctl's own file.
    let mut command =
        site.command(&["-v", "-s", "clusterctl.enc.yaml", "--", "printenv", "PROXMOX_SECRET", "IP_PREFIX"]);
    let run = Run::of(command.env("IP_PREFIX", "25").env("PROXMOX_SECRET", "").output().unwrap());
    assert_eq!(run.stdout, "\n25\n", "{}", run.stderr);
    is_silent(&run);
    // The later file stands.
    site.encrypt("later.yaml", "IP_PREFIX: 26\n", "keys.txt");
    let run = site.run(&["-s", "clusterctl.enc.yaml", "-s", "later.yaml", "--", "printenv", "IP_PREFIX"]);
    assert_eq!(run.ok().stdout, "26\n");
    // A pipe from sops.
    let mut piped = Command::new(site.peer.join("sops"))
        .args(["decrypt", "clusterctl.enc.yaml"])
        .current_dir(site.path(""))
        .env("SOPS_AGE_KEY_FILE", site.path("keys.txt"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut command = site.command(&["-s", "-", "--", "printenv", "PROXMOX_SECRET"]);
    let run = Run::of(command.stdin(piped.stdout.take().unwrap()).output().unwrap());
    assert!(piped.wait().unwrap().success());
    assert_eq!((run.stdout.trim(), run.stderr.as_str()), (MARK, ""));
}

#[test]
fn the_command_takes_the_place_of_prebake_with_its_exit_code_and_its_signals() {
    let Some(site) = Site::new() else { return };
    site.encrypt("e.yaml", INPUTS, "keys.txt");
    assert_eq!(site.run(&["-s", "e.yaml", "--", "sh", "-c", "exit 42"]).code, Some(42));
    let status = site.command(&["-s", "e.yaml", "--", "sh", "-c", "kill -TERM $$"]).status().unwrap();
    assert_eq!(status.signal(), Some(15));
    // Nothing lies between: the process is the one that was started, none of its signals is blocked, and it ignores none that others do not.
    // The shell itself reads it: while it starts a program, it blocks signals.
    const SIGNALS: &str = "echo $$; while read -r line; do case $line in Sig[BI]*) echo \"$line\";; esac; done < /proc/$$/status";
    let child =
        site.command(&["-s", "e.yaml", "--", "sh", "-c", SIGNALS]).stdout(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let text = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let (first, signals) = text.split_once('\n').unwrap();
    assert_eq!(first, id);
    let bits = |name: &str, text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    let plain = Run::of(Command::new("sh").args(["-c", SIGNALS]).output().unwrap()).ok().stdout;
    assert_eq!(bits("SigBlk:", signals), 0);
    assert_eq!(bits("SigIgn:", signals) & !bits("SigIgn:", &plain), 0, "{text}{plain}");
    site.run(&["--", "no-such-program-of-any-kind"]).fails(1, &["cannot run no-such-program", "PATH"]);
    site.run(&["-s", "absent.yaml", "--", "true"])
        .fails(2, &["cannot read the secrets in absent.yaml: there is no such file"]);
}

#[test]
fn what_sops_would_refuse_is_refused_and_the_command_does_not_run() {
    let Some(site) = Site::new() else { return };
    site.key("other.txt");
    let clear = format!("{INPUTS}x_unencrypted: one\n");
    site.encrypt("mine.yaml", &clear, "keys.txt");
    site.encrypt("theirs.yaml", INPUTS, "other.txt");
    let sealed = fs::read_to_string(site.path("mine.yaml")).unwrap();
    // The MAC covers clear leaves, too.
    fs::write(site.path("mac.yaml"), sealed.replace("x_unencrypted: one", "x_unencrypted: two")).unwrap();
    let lines: Vec<&str> = sealed.lines().collect();
    let value = |name: &str| {
        let line = lines.iter().find(|line| line.starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1
    };
    let swapped = sealed.replace(value("PROXMOX_URL"), value("PROXMOX_SECRET"));
    fs::write(site.path("swapped.yaml"), swapped).unwrap();
    let sops = |file: &str| {
        let mut command = Command::new(site.peer.join("sops"));
        command
            .args(["decrypt", file])
            .current_dir(site.path(""))
            .env("SOPS_AGE_KEY_FILE", site.path("keys.txt"));
        command.output().unwrap().status.success()
    };
    for (file, words) in [
        ("mac.yaml", "its MAC differs"),
        ("swapped.yaml", "moved here from another key"),
        ("theirs.yaml", "no age identity"),
    ] {
        assert!(!sops(file), "sops takes {file}");
        let run = site.run(&["-s", file, "--", "touch", "ran"]);
        is_silent(&run);
        assert!(run.stderr.contains(words), "{file}: {}", run.stderr);
        assert!(!site.path("ran").exists() && run.code != Some(0), "{file}");
    }
    // Without any key.
    let mut command = site.command(&["-s", "mine.yaml", "--", "touch", "ran"]);
    Run::of(command.env_remove("SOPS_AGE_KEY_FILE").output().unwrap())
        .fails(3, &["no age identity", "SOPS_AGE_KEY_FILE"]);
    assert!(!site.path("ran").exists());
    assert_eq!(site.marked(), Vec::<PathBuf>::new());
}

#[test]
fn clear_files_are_warned_about_and_no_complaint_shows_a_value() {
    let Some(site) = Site::new() else { return };
    fs::write(site.path("clear.yaml"), INPUTS).unwrap();
    let run = site.run(&["-s", "clear.yaml", "--", "printenv", "IP_PREFIX"]);
    assert!(
        run.stderr.contains("PROXMOX_SECRET is in clear text") && run.stderr.contains("sops encrypt"),
        "{}",
        run.stderr
    );
    is_silent(&run);
    assert_eq!(run.stdout, "24\n");
    for (text, words) in [
        ("X: [hunter2-7b1f]\n", "is a list"),
        ("X: hunter2-7b1f: y\n", "clear.yaml:1"),
        ("X: \"hunter2-7b1f\n", "clear.yaml:"),
        ("LD_PRELOAD: hunter2-7b1f\n", "changes how programs run"),
        ("images: {all: {repository: hunter2-7b1f}}\n", "a clear file of its own"),
    ] {
        fs::write(site.path("clear.yaml"), text).unwrap();
        let run = site.run(&["-s", "clear.yaml", "--", "touch", "ran"]);
        assert!(run.stderr.contains(words) && run.code == Some(3), "{text}: {}", run.stderr);
        is_silent(&run);
        assert!(!site.path("ran").exists());
        site.encrypt("sealed.yaml", "X: 1\n", "keys.txt");
    }
}

/// A tree with a repository for clusterctl, as the output `capi` makes it, of one provider without controllers.
fn tree(site: &Site) -> PathBuf {
    let tree = site.path("tree");
    let home = tree.join("capi/repository/infrastructure-proxmox/v0.9.0");
    fs::create_dir_all(&home).unwrap();
    fs::write(
        home.join("infrastructure-components.yaml"),
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: capmox-system\n",
    )
    .unwrap();
    let metadata = "apiVersion: clusterctl.cluster.x-k8s.io/v1alpha3\nkind: Metadata\nreleaseSeries:\n- {major: 0, minor: 9, contract: v1beta2}\n";
    fs::write(home.join("metadata.yaml"), metadata).unwrap();
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${CLUSTER_NAME}\n  namespace: ${NAMESPACE}\ndata:\n  url: ${PROXMOX_URL}\n  \
        pool: ${NODE_IP_RANGES}\n  prefix: \"${IP_PREFIX}\"\n  version: ${KUBERNETES_VERSION}\n";
    fs::write(home.join("cluster-template-flatcar.yaml"), template).unwrap();
    let index = serde_json::json!({
        "schema": 1, "kubernetes": "v1.34.4", "flavor": "flatcar", "images": {}, "cert_manager": null,
        "template": "capi/repository/infrastructure-proxmox/v0.9.0/cluster-template-flatcar.yaml",
        "providers": [{
            "name": "proxmox", "type": "InfrastructureProvider", "version": "v0.9.0",
            "path": "capi/repository/infrastructure-proxmox/v0.9.0/infrastructure-components.yaml",
        }],
        "gates": {"EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION": "true"},
    });
    fs::write(tree.join("capi/capi.json"), index.to_string()).unwrap();
    record(&tree);
    tree
}

/// A manifest of these files.
fn manifest(files: BTreeMap<String, File>) -> Manifest {
    Manifest {
        schema: SCHEMA,
        name: "x".into(),
        epoch: 0,
        releases: Vec::new(),
        files,
        joined: BTreeMap::new(),
    }
}

/// Writes a manifest of the tree's repository, as it is.
fn record(tree: &Path) {
    let home = "capi/repository/infrastructure-proxmox/v0.9.0";
    let components = ["infrastructure-components.yaml", "metadata.yaml", "cluster-template-flatcar.yaml"];
    let paths = components.map(|name| format!("{home}/{name}"));
    let file = |path: String| {
        let bytes = fs::read(tree.join(&path)).unwrap();
        (path, File::new(Role::ClusterApi, bytes.len() as u64, Sha256::of(&bytes)))
    };
    let files = paths.into_iter().chain(["capi/capi.json".to_owned()]).map(file);
    fs::write(tree.join("manifest.json"), manifest(files.collect()).to_bytes()).unwrap();
}

/// Review of issue 20: the index was taken as it lay there, and set LD_PRELOAD.
#[test]
fn a_trees_index_is_the_manifests_and_sets_feature_gates_alone() {
    let Some(site) = Site::new() else { return };
    let tree = tree(&site);
    let gate = ["tree", "--", "printenv", "EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION"];
    assert_eq!(site.run(&gate).ok().stdout, "true\n");
    let index = fs::read_to_string(tree.join("capi/capi.json")).unwrap();
    let other = index.replace("EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION", "LD_PRELOAD");
    assert_ne!(other, index);
    let config = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        Run::of(command.args(["capi", "config", "tree"]).current_dir(site.path("")).output().unwrap())
    };
    fs::write(tree.join("capi/capi.json"), &other).unwrap();
    let changed = ["capi/capi.json of", "instead of the"];
    site.run(&["tree", "--", "touch", "ran"]).fails(4, &changed);
    config().fails(4, &changed);
    // One of the same length.
    fs::write(tree.join("capi/capi.json"), index.replace("v0.9.0", "v0.9.1")).unwrap();
    site.run(&["tree", "--", "touch", "ran"]).fails(4, &["does not match the manifest"]);
    fs::write(tree.join("capi/capi.json"), &other).unwrap();
    record(&tree);
    site.run(&["tree", "--", "touch", "ran"]).fails(4, &["`LD_PRELOAD` is no feature gate of Cluster API"]);
    fs::write(tree.join("manifest.json"), manifest(BTreeMap::new()).to_bytes()).unwrap();
    site.run(&["tree", "--", "touch", "ran"]).fails(2, &["has no capi/capi.json"]);
    fs::remove_file(tree.join("manifest.json")).unwrap();
    site.run(&["tree", "--", "touch", "ran"]).fails(1, &["is not a tree that prebake built"]);
    assert!(!site.path("ran").exists());
}

/// clusterctl reads the tree's files itself: one that was changed became part of a management cluster, whatever the manifest said.
#[test]
fn what_clusterctl_would_read_of_a_tree_is_held_against_its_manifest() {
    let Some(site) = Site::new() else { return };
    let tree = tree(&site);
    let home = tree.join("capi/repository/infrastructure-proxmox/v0.9.0");
    for name in ["infrastructure-components.yaml", "metadata.yaml", "cluster-template-flatcar.yaml"] {
        let path = home.join(name);
        let bytes = fs::read(&path).unwrap();
        let mut other = bytes.clone();
        other[0] ^= 1;
        fs::write(&path, other).unwrap();
        site.run(&["tree", "--", "touch", "ran"]).fails(4, &[name, "does not match the manifest"]);
        fs::write(&path, bytes).unwrap();
    }
    let index = fs::read_to_string(tree.join("capi/capi.json")).unwrap();
    fs::write(tree.join("capi/capi.json"), index.replace("-components", "-other")).unwrap();
    record(&tree);
    site.run(&["tree", "--", "touch", "ran"]).fails(1, &["names no", "infrastructure-other.yaml"]);
    assert!(!site.path("ran").exists());
}

/// Review of issue 20: each of these showed a line with a secret, or ran the command with half of the file.
#[test]
fn no_fault_of_an_encrypted_file_shows_a_line_of_it() {
    let Some(site) = Site::new() else { return };
    site.encrypt("e.yaml", INPUTS, "keys.txt");
    let sealed = fs::read_to_string(site.path("e.yaml")).unwrap();
    let secret = sealed.lines().find(|line| line.starts_with("PROXMOX_SECRET")).unwrap();
    let at = sealed.find("\nsops:").unwrap() + 1;
    let clear = format!("PROXMOX_SECRET: {MARK}");
    for (text, words) in [
        (sealed.replace(secret, &clear), "`PROXMOX_SECRET` is not as SOPS left it: it is in clear text"),
        (
            sealed.replace(secret, &format!("PROXMOX_SECRET: [{MARK}]")),
            "`PROXMOX_SECRET` is not as SOPS left it",
        ),
        (sealed.replace(secret, &format!("{clear}: x")), "not YAML"),
        (sealed.replace(secret, &format!("PROXMOX_SECRET: *{MARK}")), "begins with `*`"),
        (sealed.replace(secret, &format!("{secret}\n{clear}")), "duplicate key `PROXMOX_SECRET`"),
        (
            sealed.replace(secret, &format!("{secret}\nLD_PRELOAD: {MARK}")),
            "`LD_PRELOAD` is not as SOPS left it",
        ),
        (sealed[..at].to_owned(), "sops metadata is missing: the file was cut off"),
        (sealed[..at].replace(secret, &clear), "sops metadata is missing: the file was cut off"),
        (format!("{sealed}---\n{clear}\n"), "more behind the first document"),
        (format!("{sealed}...\n{clear}\n"), "more behind the first document"),
    ] {
        assert_ne!(text, sealed);
        fs::write(site.path("f.yaml"), text).unwrap();
        let run = site.run(&["-s", "f.yaml", "--", "touch", "ran"]);
        is_silent(&run);
        assert!(run.stderr.contains(words) && run.stderr.contains("f.yaml:"), "{words}: {}", run.stderr);
        assert!(!run.stderr.contains(" | ") && run.code == Some(3), "{words}: {}", run.stderr);
        assert!(!site.path("ran").exists(), "{words}");
    }
    // What is wrong with the variables of a file that opens.
    for (text, words) in [
        (format!("X: [{MARK}]\n"), "is a list"),
        (format!("PYTHONPATH: {MARK}\n"), "changes how programs run"),
        (format!("_X: {MARK}\n"), "no name of a variable"),
        (format!("x: {MARK}\nX: {MARK}\n"), "is there twice"),
        (format!("images: {{all: {{repository: {MARK}}}}}\n"), "a clear file of its own"),
        (
            format!("providers:\n- {{name: a, url: 'https://u:{MARK}@e.org/c', type: b}}\n"),
            "a login or a query",
        ),
    ] {
        site.encrypt("g.yaml", &text, "keys.txt");
        let run = site.run(&["-s", "g.yaml", "--", "touch", "ran"]);
        is_silent(&run);
        assert!(run.stderr.contains(words) && !run.stderr.contains(" | "), "{words}: {}", run.stderr);
        assert!(run.code == Some(3) && !site.path("ran").exists(), "{words}: {}", run.stderr);
    }
    // JSON, as sops writes it, with more behind it.
    let json = Command::new(site.peer.join("sops"))
        .args(["decrypt", "--output-type", "json", "e.yaml"])
        .current_dir(site.path(""))
        .env("SOPS_AGE_KEY_FILE", site.path("keys.txt"))
        .output();
    let json = Run::of(json.unwrap()).ok().stdout;
    fs::write(site.path("h.json"), &json).unwrap();
    assert_eq!(
        site.run(&["-s", "h.json", "--", "printenv", "PROXMOX_SECRET"]).ok().stdout,
        format!("{MARK}\n")
    );
    fs::write(site.path("h.json"), format!("{json}{clear}\n")).unwrap();
    let run = site.run(&["-s", "h.json", "--", "touch", "ran"]);
    is_silent(&run);
    assert!(run.stderr.contains("more behind the first document") && run.code == Some(3), "{}", run.stderr);
    assert!(!site.path("ran").exists());
}

/// As `timeout`: clusterctl hangs for a minute if it asks the internet for its version.
fn patient(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..300 {
        if child.try_wait().unwrap().is_some() {
            return child.wait_with_output().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    child.kill().unwrap();
    panic!("{command:?} does not end");
}

#[test]
fn real_clusterctl_renders_a_trees_flavor_with_encrypted_inputs_and_no_config_of_its_own() {
    let (Some(site), Some(peer)) = (Site::new(), build("cluster-api")) else { return };
    let clusterctl = peer.join("clusterctl");
    let clusterctl = clusterctl.to_str().unwrap();
    tree(&site);
    site.encrypt("e.yaml", INPUTS, "keys.txt");
    let seed = [
        "generate",
        "cluster",
        "prod",
        "--kubernetes-version",
        "v1.34.4",
        "--flavor",
        "flatcar",
        "-n",
        "kube-system",
        "-i",
        "proxmox:v0.9.0",
    ];
    let args = [&["-s", "e.yaml", "tree", "--", clusterctl][..], &seed].concat();
    let run = Run::of(patient(site.command(&args))).ok();
    for line in [
        "name: prod",
        "namespace: kube-system",
        "url: https://pve.example:8006",
        "- 10.0.0.10-10.0.0.20",
        "prefix: \"24\"",
        "version: v1.34.4",
    ] {
        assert!(run.stdout.contains(line), "{line}: {}", run.stdout);
    }
    is_silent(&run);
    assert_eq!(site.marked(), Vec::<PathBuf>::new());
    // The config by itself, for those who give it with --config.
    let config = Run::of(site.command(&[]).args(["--help"]).output().unwrap());
    assert!(config.stdout.contains("clusterctl"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    let printed =
        Run::of(command.args(["capi", "config", "tree"]).current_dir(site.path("")).output().unwrap())
            .ok()
            .stdout;
    fs::write(site.path("printed.yaml"), &printed).unwrap();
    assert!(
        printed.contains(&format!(
            "file://{}/tree/capi/repository",
            site.path("").canonicalize().unwrap().display()
        )) || printed.contains("file:///")
    );
    let mut command = Command::new(clusterctl);
    command
        .args(seed)
        .args(["--config", "printed.yaml", "--list-variables"])
        .current_dir(site.path(""))
        .env_clear()
        .env("HOME", site.path(""))
        .env("CLUSTERCTL_DISABLE_VERSIONCHECK", "true");
    let listed = Run::of(patient(command)).ok().stdout;
    assert!(listed.contains("NODE_IP_RANGES"), "{listed}");
    // A config that is named stays the one: it has no provider of the tree.
    let own = format!(
        "providers:\n- name: proxmox\n  type: InfrastructureProvider\n  url: file://{}\n",
        site.path("other/infrastructure-proxmox/v0.9.0/infrastructure-components.yaml").display()
    );
    fs::write(site.path("own.yaml"), own).unwrap();
    let args = [&["-s", "e.yaml", "tree", "--", clusterctl][..], &seed, &["--config", "own.yaml"]].concat();
    let run = Run::of(patient(site.command(&args)));
    assert_ne!(run.code, Some(0), "{}", run.stdout);
}

/// A file of inputs with these values, and a template with all of them.
fn inputs_and_template(site: &Site, values: &[&str]) -> String {
    let mut inputs = String::new();
    let mut template =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\ndata:\n".to_owned();
    for (at, value) in values.iter().enumerate() {
        inputs += &format!("V_{at}: {value}\n");
        template += &format!("  v{at}: '<${{V_{at}}}>'\n");
    }
    fs::write(site.path("t.yaml"), template).unwrap();
    inputs
}

#[test]
fn values_are_what_real_clusterctl_makes_of_its_own_file() {
    let (Some(site), Some(peer)) = (Site::new(), build("cluster-api")) else { return };
    let clusterctl = peer.join("clusterctl");
    let words = ["generate", "yaml", "--from", "t.yaml"];
    let theirs = |config: &str| {
        let mut own = Command::new(&clusterctl);
        own.args(words).args(["--config", config]).current_dir(site.path("")).env_clear();
        own.env("HOME", site.path("")).env("CLUSTERCTL_DISABLE_VERSIONCHECK", "true");
        Run::of(patient(own)).ok().stdout
    };
    let ours = |inputs: &str| {
        let args = [&["-s", inputs, "--", clusterctl.to_str().unwrap()][..], &words].concat();
        Run::of(patient(site.command(&args))).ok().stdout
    };
    let values = [
        "true",
        "True",
        "yes",
        "on",
        "0644",
        "0o17",
        "0x1F",
        "-0b11",
        "1_000",
        "1e3",
        "0.50",
        "-0",
        "+7",
        "10.0.0.1",
        "10.0.0.1-10.0.0.9",
        "18446744073709551615",
        "18446744073709551616",
        "1e400",
        ".5",
        "1.",
        "1:30",
        "0x",
        "0899",
        "-.inf",
        "a b",
        "'0644'",
        "\"\"",
        "\"a\\tb\"",
        "v1.34.4",
        "12345678901234567890123",
        "1e21",
        "1.0e-7",
        "2001-01",
        "~x",
        "0b2",
    ];
    let inputs = inputs_and_template(&site, &values);
    fs::write(site.path("inputs.yaml"), &inputs).unwrap();
    assert_eq!(ours("inputs.yaml"), theirs("inputs.yaml"), "{inputs}");
    // Encrypting changes spellings, and not what clusterctl would make of the file that sops decrypts.
    let values =
        ["true", "yes", "0644", "0x1F", "1e3", "0.50", "10.0.0.1", "'0644'", "\"\"", "a b", "-7", "1.5e-7"];
    let inputs = inputs_and_template(&site, &values);
    site.encrypt("e.yaml", &inputs, "keys.txt");
    let mut sops = Command::new(site.peer.join("sops"));
    sops.args(["decrypt", "e.yaml"])
        .current_dir(site.path(""))
        .env("SOPS_AGE_KEY_FILE", site.path("keys.txt"));
    fs::write(site.path("decrypted.yaml"), Run::of(sops.output().unwrap()).ok().stdout).unwrap();
    assert_eq!(ours("e.yaml"), theirs("decrypted.yaml"), "{inputs}");
}
