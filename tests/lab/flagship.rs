//! `make flagship CONTROLLERS=…`: clusters by hand and with figures.
//!
//! Forms a cluster behind an air gap out of emulated machines by `prebake cluster init`, asks a pod of it, and says what took how
//! long. `CONTROLLERS`, `WORKERS` and `DISKS` say how large it is; the power of those that `CUT` names is cut, and given again.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

#[path = "mod.rs"]
mod lab;
use lab::formation::{self, Formation, Peers, Shape};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long a cluster may take, and how long one answer.
const FORMED: Duration = Duration::from_secs(2400);
const ANSWERED: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    match flagship() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn flagship() -> Result<()> {
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (controllers, workers) = (number("CONTROLLERS", 1), number("WORKERS", 1));
    let shape = Shape { controllers, workers, disks: number("DISKS", 0) > 0 };
    let peers = Peers {
        kubernetes: peer("kubernetes")?,
        containerd: peer("containerd")?,
        cni: peer("cni")?,
        etcd: peer("etcd")?,
        coredns: peer("coredns")?,
        kube_vip: if controllers > 1 { Some(peer("kube-vip")?) } else { None },
    };
    let work = Path::new(env!("CARGO_MANIFEST_DIR")).join("output/flagship");
    if work.exists() {
        std::fs::remove_dir_all(&work)?;
    }
    let nonce = lab::nonce();
    let mut site = formation::carry_in(shape, &peers, &prebake()?, &work)?;
    let init = site.init(&[], FORMED)?;
    site.say(&format!("init ended; it held {} MiB at most", init.memory_kib >> 10));
    let [inside, outside] = site.answers(&nonce, ANSWERED)?;
    if inside != nonce || outside != nonce {
        return Err(format!("pods say {inside:?} and {outside:?}, not {nonce:?}").into());
    }
    println!("{}", site.kubectl(&["get", "nodes,pods", "-A", "-o", "wide"])?);
    for name in std::env::var("CUT").unwrap_or_default().split_whitespace() {
        cut(&mut site, name)?;
    }
    let again = site.init(&[], ANSWERED)?;
    site.say(&format!(
        "a second init on the ready cluster ended; it held {} MiB at most",
        again.memory_kib >> 10
    ));
    Ok(())
}

/// Cuts the power of a machine, waits until the cluster misses it, and gives it again.
fn cut(site: &mut Formation, name: &str) -> Result<()> {
    let Some(member) = site.members().into_iter().find(|member| member.name == name) else {
        return Err(format!("there is no machine {name}").into());
    };
    let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
    let boot = "jsonpath={.status.nodeInfo.bootID}";
    let earlier = site.kubectl(&["get", "node", name, "-o", boot])?;
    site.cut(name);
    site.await_answer(&["get", "node", name, "-o", ready], ANSWERED, |answer| answer == "Unknown")?;
    site.say("it is missed");
    let mut server = site.command(&prebake()?);
    server.args(["cluster", "serve"]).args(formation::DESCRIBED).stdin(Stdio::null()).stdout(Stdio::null());
    let mut server = server.spawn()?;
    site.switch_on(&member)?;
    let back = site.await_answer(&["get", "node", name, "-o", boot], FORMED, |answer| answer != earlier);
    let back = back.and_then(|_| {
        site.await_answer(&["get", "node", name, "-o", ready], FORMED, |answer| answer == "True")
    });
    server.kill()?;
    server.wait()?;
    back?;
    site.say("it is back in its cluster, after another boot");
    Ok(())
}

fn peer(name: &str) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/build.sh");
    let output = Command::new(script).arg(name).stderr(Stdio::inherit()).output()?;
    match output.status.success() {
        true => Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())),
        false => Err(format!("the peer {name} could not be built ({})", output.status).into()),
    }
}

/// The program under demonstration, which cargo puts beside the directory of the examples.
fn prebake() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let prebake = here.ancestors().nth(2).unwrap_or(&here).join("prebake");
    match std::env::var_os("PREBAKE").map(PathBuf::from) {
        Some(named) => Ok(named),
        None if prebake.is_file() => Ok(prebake),
        None => Err(format!("{} is not there: run `cargo build` first", prebake.display()).into()),
    }
}
