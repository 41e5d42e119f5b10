//! The power of machines: by their BMCs over Redfish, or by a command of the site's own.
//!
//! ```text
//! Fleet ─▶ Switch ─┬─ redfish ─▶ BMC        five requests; `document` reads its answers, `change` says what is sent
//!                  └─ command ─▶ program    the words on, off, status, pxe
//! ```
//! Owns the order of steps, their limits in time, and the passwords on their way to a BMC; no error, log or `Debug` of this room holds
//! one. Leaves to the caller which machines are switched, and which of them are members of a cluster that runs.

pub mod command;
pub mod fleet;
mod password;
pub mod redfish;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use serde::Serialize;
use url::Url;

use self::command::Hook;
use self::redfish::Bmc;
use crate::base::disk;
use crate::base::error::{Advice, Exit};
use crate::cluster::description::{Node, Power};
use crate::trust::tls::Distrust;

pub use self::fleet::{Action, Fleet, Outcome};

/// The power of a machine, as its BMC tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is on.
    On,
    /// It is off.
    Off,
    /// It is on its way to be on.
    PoweringOn,
    /// It is on its way to be off.
    PoweringOff,
    /// The BMC does not say, or in words of its own.
    Unknown,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::On => "on",
            State::Off => "off",
            State::PoweringOn => "powering on",
            State::PoweringOff => "powering off",
            State::Unknown => "unknown",
        })
    }
}

/// How a machine was told to boot over the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Boot {
    /// The firmware fetches a URL over HTTP (UEFI HTTP boot).
    Http {
        /// Whether for the next boot alone; some BMCs keep it for each.
        once: bool,
    },
    /// The firmware asks DHCP and TFTP (PXE).
    Pxe {
        /// Whether for the next boot alone; some BMCs keep it for each.
        once: bool,
    },
    /// It was not: a person must set PXE.
    Hand {
        /// The reason, in words for that person.
        why: String,
    },
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = |once: &bool| if *once { "" } else { ", and its BMC keeps it for each boot" };
        match self {
            Boot::Http { once } => write!(f, "UEFI HTTP{}", kept(once)),
            Boot::Pxe { once } => write!(f, "PXE{}", kept(once)),
            Boot::Hand { why } => write!(f, "set PXE by hand: {why}"),
        }
    }
}

/// The result of switching a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Its power at the end.
    pub state: State,
    /// Whether anything was sent that changed it.
    pub changed: bool,
    /// How it was told to boot, if it was.
    pub boot: Option<Boot>,
}

/// Limits of time and number.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a connection to a BMC.
    pub connect: Duration,
    /// For one request with its answer; some BMCs take half a minute for the first.
    pub request: Duration,
    /// For one call of a command.
    pub command: Duration,
    /// For a state to follow an order: BMCs answer at once and switch some seconds later.
    pub follow: Duration,
    /// For a setting to be read back after a BMC took it.
    pub settle: Duration,
    /// Between two looks.
    pub poll: Duration,
    /// Before the second try of a request that a BMC was too busy for; each further one waits twice as long.
    pub pause: Duration,
    /// For everything that is done to one machine.
    pub whole: Duration,
    /// Machines of a fleet that are switched at the same time.
    pub together: usize,
    /// Longest that one of them is held back, so that a rack does not draw its inrush current at once.
    pub jitter: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(60),
            command: Duration::from_secs(60),
            follow: Duration::from_secs(90),
            settle: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            pause: Duration::from_secs(1),
            whole: Duration::from_secs(300),
            together: 8,
            jitter: Duration::from_millis(500),
        }
    }
}

/// The means to switch one machine.
#[derive(Debug)]
pub enum Switch {
    /// Its BMC.
    Redfish(Box<Bmc>),
    /// A command.
    Command(Hook),
}

impl Switch {
    /// The switch of a node; `None` if its description has none. `directory` is that of the description, to which files of passwords
    /// and programs are relative.
    ///
    /// # Errors
    /// The password cannot be had, or others can read its file.
    pub fn of(node: &Node, directory: &Path, limits: Limits) -> Result<Option<Switch>, Error> {
        Ok(match &node.power {
            None => None,
            Some(Power::Command(words)) => Some(Switch::Command(Hook::new(words, directory, limits)?)),
            Some(Power::Redfish { url, user, password, insecure }) => {
                let password = password::read(password, directory)?;
                Some(Switch::Redfish(Box::new(Bmc::new(
                    url,
                    user,
                    password,
                    *insecure,
                    node.mac.value,
                    limits,
                )?)))
            }
        })
    }

    /// The machine's power.
    ///
    /// # Errors
    /// The BMC or the command does not tell.
    pub async fn state(&self) -> Result<State, Error> {
        match self {
            Switch::Redfish(bmc) => bmc.within(bmc.state()).await,
            Switch::Command(hook) => hook.state().await,
        }
    }

    /// Gives it power. A machine that is on stays as it is.
    ///
    /// # Errors
    /// It is not on in time, or the BMC or the command refuses.
    pub async fn on(&self) -> Result<Done, Error> {
        match self {
            Switch::Redfish(bmc) => bmc.within(bmc.on()).await,
            Switch::Command(hook) => hook.on().await,
        }
    }

    /// Takes its power away, at once: the operating system is not asked.
    ///
    /// # Errors
    /// It is not off in time, or the BMC or the command refuses.
    pub async fn off(&self) -> Result<Done, Error> {
        match self {
            Switch::Redfish(bmc) => bmc.within(bmc.off()).await,
            Switch::Command(hook) => hook.off().await,
        }
    }

    /// Boots it anew: a machine that is off gets power.
    ///
    /// # Errors
    /// It is not on in time, or the BMC or the command refuses.
    pub async fn cycle(&self) -> Result<Done, Error> {
        match self {
            Switch::Redfish(bmc) => bmc.within(bmc.cycle()).await,
            Switch::Command(hook) => hook.cycle().await,
        }
    }

    /// Boots it anew, once over the network: from `url` where firmware and BMC can, else by PXE. Where neither can be set, the machine
    /// gets power all the same, and [`Boot::Hand`] says why.
    ///
    /// # Errors
    /// It is not on in time, or the BMC or the command refuses.
    pub async fn boot_once(&self, url: Option<&Url>) -> Result<Done, Error> {
        match self {
            Switch::Redfish(bmc) => bmc.within(bmc.boot_once(url)).await,
            Switch::Command(hook) => hook.boot_once().await,
        }
    }

    /// Has its next boots follow the firmware's own order again. Power stays as it is.
    ///
    /// # Errors
    /// The BMC refuses. Commands have no word for it.
    pub async fn boot_as_usual(&self) -> Result<Done, Error> {
        match self {
            Switch::Redfish(bmc) => bmc.within(bmc.boot_as_usual()).await,
            Switch::Command(hook) => Ok(Done { state: hook.state().await?, changed: false, boot: None }),
        }
    }
}

/// Why a machine was not switched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No node has this name.
    #[error("the cluster has no node `{name}`{meant}")]
    NoNode {
        /// The name as it was typed.
        name: String,
        /// A similar name, in words.
        meant: String,
    },
    /// The description has no `power` for a node.
    #[error("{node}: its description has neither `bmc` nor `power`")]
    NoPower {
        /// The node.
        node: String,
    },
    /// The node is a member that works.
    #[error("{node} is Ready in its cluster, and would lose its power")]
    Ready {
        /// The node.
        node: String,
    },
    /// The variable of a password is not set.
    #[error("the environment variable {name}, which is to have the BMC's password, is not set")]
    NoVariable {
        /// The variable.
        name: String,
    },
    /// Others than the owner may read a password.
    #[error("others can read or write the BMC's password in {} (mode {mode:04o})", path.display())]
    Exposed {
        /// The file with the password.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A password that none can be.
    #[error("{place} has no password of a BMC: {why}")]
    NoPassword {
        /// The file or variable.
        place: String,
        /// Why it is none.
        why: &'static str,
    },
    /// The file of a password cannot be read.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The HTTP client is not made.
    #[error("there is no HTTP client for {url}: {why}")]
    Client {
        /// The BMC's URL.
        url: String,
        /// The library's error, in words.
        why: String,
    },
    /// The BMC does not answer.
    #[error("{url} does not answer")]
    Silent {
        /// The URL of the request.
        url: String,
        /// The error of the HTTP client.
        source: reqwest::Error,
    },
    /// Its certificate is not trusted.
    #[error("{url}: its certificate is not trusted: {}", distrust.why)]
    Impostor {
        /// The URL of the request.
        url: String,
        /// Why it is not trusted.
        distrust: Distrust,
    },
    /// The BMC does not know the user or the password.
    #[error("{url}: the BMC does not let `{user}` in with this password ({status})")]
    Denied {
        /// The URL of the request.
        url: String,
        /// The user.
        user: String,
        /// Its answer.
        status: StatusCode,
    },
    /// The BMC refuses a request.
    #[error("{url}: {action} is refused: {status}{}", told(words))]
    Refused {
        /// The URL of the request.
        url: String,
        /// The request, in words.
        action: &'static str,
        /// Its answer.
        status: StatusCode,
        /// Its reason, made safe for a terminal.
        words: Option<String>,
    },
    /// The answer is none of Redfish.
    #[error("{url} is no Redfish service: {why}")]
    Stranger {
        /// The URL of the request.
        url: String,
        /// The first thing that a Redfish service would have sent otherwise, in words.
        why: String,
    },
    /// The BMC names another host, which must not get its credentials.
    #[error("{url} leads to another server, {to}, which must not get the BMC's credentials")]
    Elsewhere {
        /// The URL of the request.
        url: String,
        /// The other one.
        to: String,
    },
    /// No system, or none of several, is the machine.
    #[error("{url}: {why}")]
    NoSystem {
        /// The BMC's URL.
        url: String,
        /// The lack of systems, or those that do not match, in words.
        why: String,
    },
    /// The BMC has no way to do it.
    #[error("{url}: the BMC has none of the resets {wanted}; it has {known}")]
    NoReset {
        /// The system's URL.
        url: String,
        /// Those that would do.
        wanted: String,
        /// Those that it has.
        known: String,
    },
    /// The power did not follow.
    #[error("{subject} is {state} {} after it was to be {wanted}", humantime::format_duration(*patience))]
    Stuck {
        /// The system's URL, or the command's program.
        subject: String,
        /// The state that it was to have.
        wanted: State,
        /// The state that it has.
        state: State,
        /// How long it was given.
        patience: Duration,
    },
    /// All of it took too long.
    #[error("{url} was not done within {}", humantime::format_duration(*patience))]
    TimedOut {
        /// The BMC's URL.
        url: String,
        /// How long it was given.
        patience: Duration,
    },
    /// A command has no words.
    #[error("`power: {{command: []}}` names no program")]
    NoCommand,
    /// A command cannot be run.
    #[error("cannot run {program} {word}")]
    NotRun {
        /// Its program.
        program: String,
        /// The word that was appended.
        word: &'static str,
        /// The I/O error.
        source: std::io::Error,
    },
    /// A command failed.
    #[error("{program} {word}: {ended}{}", told(output))]
    Failed {
        /// Its program.
        program: String,
        /// The word that was appended.
        word: &'static str,
        /// How it ended.
        ended: String,
        /// The end of what it said, made safe for a terminal.
        output: Option<String>,
    },
    /// A command ran for too long, and was ended.
    #[error("{program} {word} was ended: it ran for more than {}{}", humantime::format_duration(*patience), told(output))]
    CommandTimedOut {
        /// Its program.
        program: String,
        /// The word that was appended.
        word: &'static str,
        /// How long it was given.
        patience: Duration,
        /// The end of what it said, made safe for a terminal.
        output: Option<String>,
    },
}

fn told(words: &Option<String>) -> String {
    words.as_ref().map(|words| format!(": {words}")).unwrap_or_default()
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Disk(error) => Some(error),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Error::NoNode { .. } | Error::NoPower { .. } | Error::NoCommand => Exit::Usage,
            Error::Silent { .. } => Exit::Network,
            Error::Impostor { .. } | Error::Elsewhere { .. } | Error::Denied { .. } => Exit::Trust,
            Error::Stuck { .. } | Error::TimedOut { .. } | Error::CommandTimedOut { .. } => Exit::TimedOut,
            Error::Disk(_) => self.inner_exit(),
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Error::NoNode { .. } => "the names are those of `nodes:`",
            Error::NoPower { .. } => {
                "give it one, `bmc: {redfish: URL, user: …, password: …}` or `power: {command: [PROGRAM, …]}`, or switch it by hand"
            }
            Error::Ready { .. } => "drain it first, or repeat with --force",
            Error::NoVariable { name } => return Some(format!("set {name} for this command")),
            Error::Exposed { path, .. } => return Some(format!("chmod 600 {}", path.display())),
            Error::Silent { .. } => {
                "is it the BMC's own address, and its network reachable from here? Proxies are not used for BMCs"
            }
            Error::Impostor { .. } => {
                "BMCs have certificates of their own making: give it one of your authority, or say `insecure: true` in its `bmc`"
            }
            Error::Denied { .. } => {
                "nothing else was tried, for BMCs lock users out: correct `user` and `password`; the user needs the role Operator at least"
            }
            Error::Stranger { .. } => {
                "give the URL of the BMC with its scheme and without a path, such as https://10.0.9.11"
            }
            Error::NoSystem { .. } => "name the system in the URL: https://BMC/redfish/v1/Systems/ID",
            Error::Stuck { .. } => {
                "look at the machine's console in its BMC; some need longer, then the same command finds it done"
            }
            Error::NoReset { .. } | Error::Refused { .. } => {
                "update the BMC's firmware, or use `power: {command: […]}` for this machine"
            }
            Error::Failed { .. } | Error::CommandTimedOut { .. } | Error::NotRun { .. } => {
                "the command gets one of the words on, off, status and pxe as its last; docs/guides/power.md has an example"
            }
            Error::Disk(_) => return self.inner_hint(),
            Error::NoPassword { .. }
            | Error::Client { .. }
            | Error::Elsewhere { .. }
            | Error::TimedOut { .. }
            | Error::NoCommand => {
                return None;
            }
        };
        Some(text.into())
    }
}
