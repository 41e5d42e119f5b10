//! A link of a known rate: two network namespaces and a pair of devices between them, removed with the value. Needs root.

use std::process::{Command, id};

use super::race::run;

/// The server's end has 10.99.0.1, the clients' end 10.99.1.1 and the following.
pub struct Link {
    near: String,
    far: String,
}

impl Link {
    /// Lays a link that carries so many bits a second from the server to so many clients, after half a millisecond.
    pub fn lay(bits_per_second: u64, clients: u8) -> Link {
        let link = Link { near: format!("prebake-near-{}", id()), far: format!("prebake-far-{}", id()) };
        let Link { near, far } = &link;
        for namespace in [near, far] {
            ip(&["netns", "add", namespace]);
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
        }
        ip(&["-n", near, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", far]);
        for (namespace, device) in [(near, "near"), (far, "far")] {
            ip(&["-n", namespace, "link", "set", device, "up"]);
        }
        ip(&["-n", near, "addr", "add", "10.99.0.1/16", "dev", "near"]);
        for client in 1..=clients {
            ip(&["-n", far, "addr", "add", &format!("10.99.1.{client}/16"), "dev", "far"]);
        }
        // A switch port: a bucket of bytes at a rate, with a queue of a few milliseconds behind it.
        let rate = bits_per_second.to_string();
        let tc = ["netns", "exec", near, "tc", "qdisc", "add", "dev", "near", "root"];
        ip(&[&tc[..], &["tbf", "rate", &rate, "burst", "256kb", "latency", "20ms"]].concat());
        link
    }

    /// A command that runs at the server's end.
    pub fn near(&self, program: &str) -> Command {
        within(&self.near, program)
    }

    /// A command that runs at the clients' end.
    pub fn far(&self, program: &str) -> Command {
        within(&self.far, program)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for namespace in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn within(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

fn ip(args: &[&str]) {
    run(Command::new("ip").args(args));
}
