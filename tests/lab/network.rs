//! A network of its own: a namespace with a bridge, on which servers run, and what is plugged into it. Needs root.

use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The bridge, and its address, at which machines reach what listens in the namespace.
pub const BRIDGE: &str = "br0";
pub const ADDRESS: &str = "10.77.0.1";

/// A network that is there until it is dropped, and everything that is plugged into it.
pub struct Network {
    namespace: String,
    plugs: AtomicU32,
}

/// A socket in the wall for one machine.
#[derive(Clone, Debug)]
pub struct Plug {
    /// The namespace that the machine runs in.
    pub namespace: String,
    /// The tap device that is its network card's other end.
    pub tap: String,
}

/// A namespace with one network card, `eth0`, in a [`Network`].
pub struct Client {
    namespace: String,
}

/// A program in a namespace. It becomes the program, so that it is ended by the child's own id.
pub fn command_in(namespace: &str, program: &str) -> Command {
    let mut command = ip(&["netns", "exec", namespace]);
    command.arg(program);
    command
}

fn ip(args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    command.args(args).env("PATH", path);
    command
}

/// Runs `ip` with words, which must succeed.
#[track_caller]
fn run(words: &str) {
    let args: Vec<&str> = words.split(' ').collect();
    let output = ip(&args).output().unwrap_or_else(|why| panic!("the package iproute2: {why}"));
    let story = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {story} (network tests need root)");
}

/// A name that no other test has, in this process or another.
fn fresh(kind: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("prebake-{kind}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Network {
    /// An empty network, 10.77.0.0/24.
    pub fn new() -> Network {
        let namespace = fresh("net");
        run(&format!("netns add {namespace}"));
        let network = Network { namespace, plugs: AtomicU32::new(0) };
        network.ip("link set lo up");
        network.bridge(BRIDGE, &format!("{ADDRESS}/24"));
        network
    }

    /// A further network that the namespace is in.
    pub fn bridge(&self, name: &str, address: &str) {
        self.ip(&format!("link add {name} type bridge"));
        self.ip(&format!("addr add {address} dev {name}"));
        self.ip(&format!("link set {name} up"));
    }

    /// A program on the network, at [`ADDRESS`].
    pub fn command(&self, program: &str) -> Command {
        command_in(&self.namespace, program)
    }

    /// Has this thread, and those that it starts, live in the network: what listens on it, and its own loopback, are theirs.
    #[track_caller]
    pub fn enter(&self) {
        enter(&self.namespace);
    }

    /// A place for a machine.
    pub fn plug(&self) -> Plug {
        self.plug_on(BRIDGE)
    }

    /// The same on a further network.
    pub fn plug_on(&self, bridge: &str) -> Plug {
        let tap = self.next("tap");
        self.ip(&format!("tuntap add {tap} mode tap"));
        self.ip(&format!("link set {tap} master {bridge} up"));
        Plug { namespace: self.namespace.clone(), tap }
    }

    /// A client with a MAC address and no IP address yet.
    pub fn client(&self, mac: &str) -> Client {
        self.client_on(BRIDGE, mac)
    }

    /// The same on a further network.
    pub fn client_on(&self, bridge: &str, mac: &str) -> Client {
        let namespace = fresh("client");
        run(&format!("netns add {namespace}"));
        let near = self.next("veth");
        self.ip(&format!("link add {near} type veth peer name eth0 netns {namespace}"));
        self.ip(&format!("link set {near} master {bridge} up"));
        run(&format!("-n {namespace} link set lo up"));
        run(&format!("-n {namespace} link set eth0 address {mac} up"));
        Client { namespace }
    }

    /// A further card of a client.
    pub fn further(&self, client: &Client, bridge: &str, name: &str, mac: &str) {
        let near = self.next("veth");
        let namespace = &client.namespace;
        self.ip(&format!("link add {near} type veth peer name {name} netns {namespace}"));
        self.ip(&format!("link set {near} master {bridge} up"));
        client.ip(&format!("link set {name} address {mac} up"));
    }

    fn next(&self, kind: &str) -> String {
        format!("{kind}{}", self.plugs.fetch_add(1, Ordering::Relaxed))
    }

    #[track_caller]
    fn ip(&self, words: &str) {
        run(&format!("-n {} {words}", self.namespace));
    }
}

impl Client {
    /// Runs `ip` in the client's namespace.
    #[track_caller]
    pub fn ip(&self, words: &str) {
        run(&format!("-n {} {words}", self.namespace));
    }

    /// Has this thread, and those that it starts, live with the client's network card.
    #[track_caller]
    pub fn enter(&self) {
        enter(&self.namespace);
    }

    /// A program that sees the client's network card and no other.
    pub fn command(&self, program: &str) -> Command {
        command_in(&self.namespace, program)
    }
}

/// A thread leaves a network with its end.
#[track_caller]
fn enter(namespace: &str) {
    let place = std::fs::File::open(format!("/run/netns/{namespace}"));
    let place = place.unwrap_or_else(|why| panic!("the namespace {namespace}: {why}"));
    let moved = move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network));
    moved.unwrap_or_else(|why| panic!("cannot enter the namespace {namespace}: {why}"));
}

fn remove(namespace: &str) {
    // It goes with everything in it, or had gone.
    let _ = ip(&["netns", "delete", namespace]).output();
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&self.namespace);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        remove(&self.namespace);
    }
}
