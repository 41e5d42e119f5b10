//! A cluster by hand.
#[path = "mod.rs"]
mod lab;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn peer(name: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/build.sh");
    let output = Command::new(script).arg(name).stderr(Stdio::inherit()).output().expect("build.sh");
    assert!(output.status.success());
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

fn main() {
    let out = PathBuf::from(std::env::args().nth(1).expect("DIR"));
    let [kubernetes, etcd, coredns, containerd, cni] =
        ["kubernetes", "etcd", "coredns", "containerd", "cni"].map(peer);
    let vip = std::env::args().nth(2).map(|_| peer("kube-vip"));
    let programs = lab::images::Programs {
        kubernetes: &kubernetes,
        etcd: &etcd,
        coredns: &coredns,
        kube_vip: vip.as_deref(),
    };
    println!("{}", lab::images::registry(&programs).expect("images").display());
    lab::upstream::Upstream::of_a_node(&out, &kubernetes, &containerd, &cni).expect("upstream");
}
