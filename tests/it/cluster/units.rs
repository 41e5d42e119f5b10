//! The scripts of the templates, as machines run them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::lab::mirror::{Fault, Mirror};
use crate::world::repository;

/// A machine: directories, programs that stand in for its own, and a server.
struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new(url: &str) -> Machine {
        let machine = Machine { directory: tempfile::tempdir().unwrap() };
        for directory in ["bin", "etc"] {
            fs::create_dir(machine.path(directory)).unwrap();
        }
        let environment = "CLUSTER_NAME=edge\nNODE_NAME=c2\nNODE_IP=10.0.0.12\nNODE_MAC=52:54:00:00:00:02\nNODE_ROLE=controller\nTURN=yes\n";
        fs::write(machine.path("node.env"), environment).unwrap();
        fs::write(machine.path("cmdline"), format!("quiet prebake.url={url}/\n")).unwrap();
        machine.program("ctr", "exit 0");
        machine.program("ip", "echo '2: lan0 inet 10.0.0.12/24 scope global lan0'");
        machine.program("timedatectl", "echo no");
        machine.program("sleep", "exit 0");
        machine.program(
            "kubeadm",
            r#"echo "$*" >>asked; echo "[preflight] Running"; echo "[certs] Using"; cat outcome"#,
        );
        fs::write(machine.path("outcome"), "").unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/bash\ncd {}\n{script}\n", self.directory.path().display())).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Runs a script of the template `common`, with the machine's own paths in place of absolute ones.
    fn run(&self, script: &str, args: &[&str]) -> Output {
        let template =
            fs::read_to_string(repository("src/cluster/templates/ignition/common.yaml.tmpl")).unwrap();
        let (_, after) = template.split_once(&format!("path: /etc/prebake/{script}\n")).unwrap();
        let (_, text) = after.split_once("inline: |\n").unwrap();
        let lines = text.lines().take_while(|line| line.is_empty() || line.starts_with("          "));
        let text: String = lines.map(|line| format!("{}\n", line.get(10..).unwrap_or_default())).collect();
        let here = self.directory.path().display().to_string();
        let text = text
            .replace("${BOOTSTRAP_IP}", "192.0.2.1")
            .replace("/usr/bin/kubeadm", &format!("{here}/bin/kubeadm"))
            .replace("/etc/prebake/clock", "true")
            .replace("/usr/libexec/prebake-report", &format!("{here}/bin/report"))
            .replace("/usr/libexec/prebake-images", &format!("{here}/bin/images"))
            .replace("[ ! -e /sys/class/net/lan0 ]", "false");
        fs::write(self.path(script), text).unwrap();
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        Command::new("bash")
            .arg(self.path(script))
            .args(args)
            .env("PATH", path)
            .env("PREBAKE_NODE", self.path("node.env"))
            .env("PREBAKE_CMDLINE", self.path("cmdline"))
            .env("PREBAKE_KUBERNETES", self.path("etc"))
            .env("PREBAKE_ERROR", self.path("error"))
            .output()
            .unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A server whose answers to `/turn` are these, the last one for ever.
fn turns(statuses: &'static [u16]) -> Mirror {
    let faults = move |request: &crate::lab::mirror::Request| {
        let index = request.earlier.min(statuses.len() - 1);
        request.path.starts_with("/turn").then_some(Fault::Status(statuses[index]))
    };
    Mirror::builder().faults(faults).start().unwrap()
}

// kubernetes/kubeadm#2353, kubernetes/kubeadm#1642: a second run fails on what the first one left; never `all`, which would hide a
// machine of another cluster from the first run.
#[test]
fn a_try_after_one_that_got_past_its_checks_is_told_what_that_leaves_and_no_other_is() {
    let server = turns(&[200]);
    let machine = Machine::new(&server.url());
    machine.program("kubeadm", r#"echo "$*" >>asked; echo "[preflight] Running"; echo "error: [ERROR FileAvailable] it is a member's"; exit 1"#);
    let output = machine.run("kubeadm", &["join"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(!machine.path("etc/.begun").exists(), "it never began");
    machine.program("kubeadm", r#"echo "$*" >>asked; echo "[preflight] Running"; echo "[kubelet-start] Writing"; echo "error: timed out"; exit 1"#);
    assert_eq!(machine.run("kubeadm", &["join"]).status.code(), Some(1));
    assert_eq!(machine.read("etc/.begun"), "edge\n");
    assert_eq!(machine.read("error"), "error: timed out\n");
    machine.program("kubeadm", r#"echo "$*" >>asked"#);
    let output = machine.run("kubeadm", &["join"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(machine.path("etc/.joined").exists());
    let asked: Vec<String> =
        machine.read("asked").lines().map(|line| line.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(asked, ["kubeadm.yaml", "kubeadm.yaml", "kubeadm-retry.yaml"]);
}

#[test]
fn a_state_disk_of_another_cluster_is_named_and_left_alone() {
    let server = turns(&[200]);
    let machine = Machine::new(&server.url());
    fs::write(machine.path("etc/.begun"), "other\n").unwrap();
    machine.program("report", r#"echo "$*" >>reports"#);
    let output = machine.run("kubeadm", &["join"]);
    assert!(!output.status.success() && said(&output).contains("cluster other"), "{}", said(&output));
    assert_eq!(machine.read("asked"), "");
    assert!(
        machine.read("reports").contains("failed the disk of this machine"),
        "{}",
        machine.read("reports")
    );
}

// A worker of the lab failed five times on `configmaps "kubeadm-config" is forbidden` while the first controller formed the cluster.
#[test]
fn a_machine_joins_when_the_cluster_has_what_it_joins_by_and_tries_all_the_same_after_ten_minutes() {
    let server = turns(&[200]);
    let machine = Machine::new(&server.url());
    machine.program("kubectl", r#"echo "$*" >>looks; [ "$(wc -l <looks)" -ge 3 ]"#);
    machine.program("report", r#"echo "$*" >>reports"#);
    // By a token, kubeadm waits itself.
    assert!(machine.run("kubeadm", &["join"]).status.success());
    assert_eq!(machine.read("looks"), "");
    fs::write(machine.path("etc/discovery.conf"), "").unwrap();
    let output = machine.run("kubeadm", &["join"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(machine.read("looks").matches("configmaps/kubeadm-config").count(), 3);
    assert_eq!(machine.read("reports").matches("waits for the first controller").count(), 1);
    machine.program("kubectl", r#"echo "$*" >>never; exit 1"#);
    assert!(machine.run("kubeadm", &["join"]).status.success());
    assert_eq!(machine.read("never").lines().count(), 120);
}

// kubernetes/kubeadm#2005, kubernetes/kubernetes#122826: controllers that join at once.
#[test]
fn a_controller_joins_when_it_has_the_turn_and_where_nobody_gives_turns() {
    for (statuses, asks) in [(&[503, 503, 200][..], 3), (&[404][..], 1), (&[500, 200][..], 2)] {
        let server = turns(statuses);
        let machine = Machine::new(&server.url());
        let output = machine.run("kubeadm", &["join"]);
        assert!(output.status.success(), "{statuses:?}: {}", said(&output));
        let asked = server.requests().iter().filter(|request| request.path.starts_with("/turn")).count();
        assert_eq!(asked, asks, "{statuses:?}");
    }
    // A bootstrap machine that is gone for good.
    let machine = Machine::new("http://127.0.0.1:9");
    let output = machine.run("kubeadm", &["join"]);
    assert!(output.status.success() && said(&output).contains("joins without a turn"), "{}", said(&output));
    // Others never ask.
    let server = turns(&[503]);
    let machine = Machine::new(&server.url());
    let environment = machine.read("node.env").replace("TURN=yes", "TURN=no");
    fs::write(machine.path("node.env"), environment).unwrap();
    assert!(machine.run("kubeadm", &["init"]).status.success());
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn phases_are_reported_and_a_server_that_is_gone_is_told_nothing_more() {
    let server = turns(&[200]);
    let machine = Machine::new(&server.url());
    machine.program("report", r#"echo "$*" >>reports"#);
    machine.program("images", "exit 0");
    assert!(machine.run("kubeadm", &["join"]).status.success());
    let reports = machine.read("reports");
    let expected = [
        "images waits for its container images",
        "kubeadm join: preflight",
        "kubeadm join: certs",
        "joined c2 is a member of edge",
    ];
    assert_eq!(reports.lines().collect::<Vec<_>>(), expected);
    fs::remove_file(machine.path("etc/.joined")).unwrap();
    fs::remove_file(machine.path("reports")).unwrap();
    machine.program("report", r#"echo "$*" >>reports; exit 1"#);
    machine.program("kubeadm", r#"for phase in a b c d; do echo "[$phase] x"; done"#);
    assert!(machine.run("kubeadm", &["join"]).status.success());
    assert!(machine.read("reports").lines().count() <= 3, "{}", machine.read("reports"));
}

// kubernetes/kubernetes#42791, siderolabs/talos#4224: clocks that differ, and boots that hang for the time.
#[test]
fn the_clock_is_set_from_the_server_only_if_it_is_wrong_and_never_fails_the_boot() {
    let server = Mirror::builder().start().unwrap();
    let machine = Machine::new(&server.url());
    let set = |curl: &str| {
        let _ = fs::remove_file(machine.path("set"));
        machine.program("curl", curl);
        machine.program("date", r#"case "$*" in --set=*) echo "$*" >set ;; +%s) echo 1700000000 ;; *) exec /usr/bin/date "$@" ;; esac"#);
        let output = machine.run("clock", &[]);
        assert!(output.status.success(), "{}", said(&output));
        machine.read("set")
    };
    // 1700000000 is 2023-11-14 22:13:20.
    assert_eq!(
        set("printf 'HTTP/1.1 200 OK\\r\\nDate: Tue, 14 Nov 2023 22:13:50 GMT\\r\\n\\r\\n'"),
        "",
        "half a minute"
    );
    assert_eq!(
        set("printf 'HTTP/1.1 200 OK\\r\\ndate: Wed, 15 Nov 2023 00:13:20 GMT\\r\\n\\r\\n'"),
        "--set=@1700007200\n"
    );
    assert_eq!(
        set("printf 'Date: Thu, 01 Jan 1970 00:00:00 GMT\\r\\n'"),
        "",
        "a server without a clock of its own"
    );
    assert_eq!(set("printf 'Date: Fri, 01 Jan 2150 00:00:00 GMT\\r\\n'"), "");
    assert_eq!(set("printf 'Date: yesterday-ish\\r\\n'"), "");
    assert_eq!(set("exit 7"), "");
    machine.program("timedatectl", "echo yes");
    assert_eq!(set("printf 'Date: Wed, 15 Nov 2023 00:13:20 GMT\\r\\n'"), "", "NTP knows better");
}
