//! Switching machines: by BMCs of each vendor's manners, by sushy's emulator, by ipmitool and a simulated BMC behind a command.

mod bmc;
mod commands;
mod emulator;
mod fleet;
mod redfish;
mod verb;

use std::path::Path;
use std::time::Duration;

use prebake::base::finding::{Place, Source};
use prebake::base::yaml::decode::Spanned;
use prebake::cluster::description::{Node, Password, Power, Role, Secret, Storage};
use prebake::cluster::power::{Done, Error, Limits, Switch};

/// Limits under which a fault is found within a second.
const QUICK: Limits = Limits {
    connect: Duration::from_secs(5),
    request: Duration::from_secs(5),
    command: Duration::from_secs(20),
    follow: Duration::from_secs(20),
    settle: Duration::from_millis(200),
    poll: Duration::from_millis(20),
    pause: Duration::from_millis(10),
    whole: Duration::from_secs(60),
    together: 8,
    jitter: Duration::from_millis(5),
};

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned { value, place: Place { source: Source::new("cluster.yaml", ""), line: 1, column: 1 } }
}

fn node(name: &str, mac: &str, power: Option<Power>) -> Node {
    Node {
        name: spanned(name.into()),
        mac: spanned(mac.parse().unwrap()),
        ip: spanned("10.77.0.11".parse().unwrap()),
        role: Role::Worker,
        storage: Storage::Memory,
        memory: None,
        labels: Vec::new(),
        taints: None,
        ignition: Vec::new(),
        kernel_args: Vec::new(),
        power,
    }
}

fn redfish(url: &str, password: &str, insecure: bool) -> Power {
    Power::Redfish {
        url: spanned(url.parse().unwrap()),
        user: bmc::USER.into(),
        password: Password::Text(Secret::new(password)),
        insecure,
    }
}

fn switch_within(power: Power, limits: Limits) -> Switch {
    Switch::of(&node("c1", bmc::MAC, Some(power)), Path::new("/"), limits).unwrap().unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// An error in all of its words.
fn words(done: Result<Done, Error>) -> String {
    let error = done.unwrap_err();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    format!("{text}\n{error:?}")
}
