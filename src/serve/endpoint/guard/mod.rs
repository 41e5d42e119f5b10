//! Tokens for configs with secrets: each token is for one machine, has an expiry, and works once.
//!
//! ```text
//! mint ─▶ Fresh ──fetch──▶ Fetching ──its last bytes leave──▶ Left ──the machine reported──▶ Burnt
//!           │               ▲ │ └──fetched again by the same peer, for a short while──▶ Fetching
//!           │               └─┴──────────aborted───────────────── Left
//!           └──too late──▶ expired
//! ```
//! A MAC address and a UUID are a machine's own claims, not proofs: an attacker who reads a token on the wire, or sends
//! the labels of another machine before that one boots, gets its secrets. But the real machine is then refused, and
//! that is reported. Tokens do prevent that anybody can read secrets at any later time. They are kept in memory only:
//! after a restart, machines have to boot again.

pub(crate) mod answer;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;

use crate::serve::site::labels::Labels;
use crate::tree::private;

/// How long the same peer may retry an aborted transfer, counted from its first start.
const GRACE: Duration = Duration::from_secs(60);
/// The longest validity of a token, whatever was configured.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// Tokens that are remembered. A rack boots far fewer machines at a time; an attacker asks for far more.
const MOST: usize = 10_000;
/// Unused tokens that are remembered for one address. A hall behind one address boots fewer machines at a time.
const MOST_OF_ONE: usize = 1_000;

/// A token as it appears in a URL: a handle for lookups and logs, and a secret.
#[derive(Clone, Copy)]
pub struct Token {
    handle: Handle,
    secret: [u8; 16],
}

/// Identifies a token without revealing it.
type Handle = u64;

/// The machine that a token is for, by the labels that it sent. A label that was missing must be missing again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// MAC address, normalized.
    pub mac: String,
    /// SMBIOS UUID, lower case.
    pub uuid: String,
}

/// Why a token is not issued or not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Never issued, or forgotten.
    #[error("there is no such token")]
    Unknown,
    /// Issued to another machine.
    #[error("the token is for another machine")]
    Stranger,
    /// Used already.
    #[error("the token was used already; boot the machine again to get a new one")]
    Spent,
    /// Expired before it was used.
    #[error("the token has expired; boot the machine again to get a new one")]
    Expired,
    /// A machine without identifying labels gets no token.
    #[error("a machine with secrets must send its `mac` or `uuid`: boot it with /boot.ipxe")]
    Nameless,
    /// More machines are fetching their secrets at once than any site has.
    #[error("too many tokens are in use")]
    Full,
}

/// Issues tokens and redeems them.
pub(crate) struct Guard {
    life: Duration,
    any_address: bool,
    base_url: Option<String>,
    /// The directory with the private parts of all trees, if it is outside of them.
    outside: Option<PathBuf>,
    issued: Mutex<BTreeMap<Handle, Issued>>,
}

struct Issued {
    secret: [u8; 16],
    machine: Machine,
    /// The name of the config that it opens.
    config: String,
    /// The client that it was issued to.
    peer: IpAddr,
    until: Instant,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Fresh,
    Fetching {
        since: Instant,
    },
    /// The last bytes are on their way, or have arrived.
    Left {
        since: Instant,
    },
    Burnt,
}

impl Guard {
    /// A guard whose tokens are valid for `life`, and only from the address that asked for them.
    pub(crate) fn new(life: Duration) -> Guard {
        Guard {
            life: life.min(LONGEST),
            any_address: false,
            base_url: None,
            outside: None,
            issued: Mutex::default(),
        }
    }

    /// Reads configs from below this directory instead of the tree.
    pub(crate) fn outside(self, outside: Option<PathBuf>) -> Guard {
        Guard { outside, ..self }
    }

    /// The directory with the private part of a tree.
    pub(crate) fn private(&self, tree: &Path, name: &str) -> PathBuf {
        private::directory(tree, self.outside.as_deref(), name)
    }

    /// Accepts tokens from another address, for sites where DHCP gives the system a different one than the loader.
    pub(crate) fn any_address(self) -> Guard {
        Guard { any_address: true, ..self }
    }

    /// Sets the URL at which machines fetch guarded configs, if it differs from the one of their script.
    pub(crate) fn base_url(self, url: String) -> Guard {
        Guard { base_url: Some(url), ..self }
    }

    /// Issues a token for a machine's config. It replaces an unused token of the same machine from the same address,
    /// since the machine boots by its latest script. So an address that keeps asking has one token per machine; if it
    /// names more and more machines, its oldest token makes room for its newest.
    pub(crate) fn mint(
        &self,
        machine: Machine,
        config: &str,
        peer: IpAddr,
        now: Instant,
    ) -> Result<Token, Refusal> {
        if machine.mac.is_empty() && machine.uuid.is_empty() {
            return Err(Refusal::Nameless);
        }
        let mut issued = self.issued();
        // Expired tokens are kept for a while, so that they are told apart from unknown ones.
        let peer = peer.to_canonical();
        let (mut own, mut oldest) = (0, None);
        issued.retain(|handle, known| {
            let is_own = known.is_fresh() && known.peer == peer;
            if now >= known.until + self.life || is_own && known.machine == machine && known.config == config
            {
                return false;
            }
            if is_own {
                own += 1;
                let this = (known.until, *handle);
                oldest = Some(oldest.map_or(this, |oldest: (Instant, Handle)| oldest.min(this)));
            }
            true
        });
        match oldest {
            Some((_, oldest)) if own >= MOST_OF_ONE => drop(issued.remove(&oldest)),
            _ if issued.len() >= MOST => make_room(&mut issued)?,
            _ => {}
        }
        let token = Token::random();
        let until = now + self.life;
        let (secret, config) = (token.secret, config.to_owned());
        let new = Issued { secret, machine, config, peer, until, state: State::Fresh };
        issued.insert(token.handle, new);
        Ok(token)
    }

    /// The machine and the config of a token, if this peer could use it now.
    pub(crate) fn look(
        &self,
        token: Token,
        peer: IpAddr,
        now: Instant,
    ) -> Result<(Machine, String), Refusal> {
        let mut all = self.issued();
        let issued = self.find(&mut all, token, peer, now)?;
        Ok((issued.machine.clone(), issued.config.clone()))
    }

    /// Uses a token. Returns the config that it opens.
    pub(crate) fn fetch(
        &self,
        token: Token,
        machine: &Machine,
        peer: IpAddr,
        now: Instant,
    ) -> Result<String, Refusal> {
        let mut all = self.issued();
        let issued = self.find(&mut all, token, peer, now)?;
        if issued.machine != *machine {
            return Err(Refusal::Stranger);
        }
        if let State::Fresh = issued.state {
            // From now on it belongs to this peer, even if another one asked for it.
            (issued.state, issued.peer) = (State::Fetching { since: now }, peer.to_canonical());
        }
        Ok(issued.config.clone())
    }

    /// Called when the last bytes of a guarded config leave or have left.
    pub(crate) fn left(&self, handle: Handle) {
        self.turn(handle, |state| match state {
            State::Fetching { since } => State::Left { since },
            other => other,
        });
    }

    /// Called when a guarded config was sent only in part.
    pub(crate) fn broke_off(&self, handle: Handle) {
        self.turn(handle, |state| match state {
            State::Left { since } => State::Fetching { since },
            other => other,
        });
    }

    fn turn(&self, handle: Handle, to: impl FnOnce(State) -> State) {
        if let Some(issued) = self.issued().get_mut(&handle) {
            issued.state = to(issued.state);
        }
    }

    /// Called when a machine has got so far that it no longer needs its tokens.
    pub(crate) fn reported(&self, machine: &Machine) {
        let is_it = |known: &Machine| {
            let same = |a: &str, b: &str| !a.is_empty() && a == b;
            same(&known.mac, &machine.mac) || same(&known.uuid, &machine.uuid)
        };
        let mut all = self.issued();
        for issued in all.values_mut().filter(|issued| is_it(&issued.machine)) {
            // An unused token belongs to a boot that has just begun, so a report cannot be about it.
            if let State::Fetching { .. } | State::Left { .. } = issued.state {
                issued.state = State::Burnt;
            }
        }
    }

    /// The token's record, if this peer could use it now. Without the secret, nothing about the token is revealed.
    fn find<'i>(
        &self,
        issued: &'i mut BTreeMap<Handle, Issued>,
        token: Token,
        peer: IpAddr,
        now: Instant,
    ) -> Result<&'i mut Issued, Refusal> {
        let issued = issued.get_mut(&token.handle).ok_or(Refusal::Unknown)?;
        verify_slices_are_equal(&issued.secret, &token.secret).map_err(|_| Refusal::Unknown)?;
        let same_peer = issued.peer == peer.to_canonical();
        match issued.state {
            State::Left { .. } | State::Burnt => Err(Refusal::Spent),
            State::Fetching { since } if now >= since + GRACE => Err(Refusal::Spent),
            State::Fetching { .. } if !same_peer => Err(Refusal::Stranger),
            State::Fetching { .. } => Ok(issued),
            State::Fresh if now >= issued.until => Err(Refusal::Expired),
            State::Fresh if !same_peer && !self.any_address => Err(Refusal::Stranger),
            State::Fresh => Ok(issued),
        }
    }

    fn issued(&self) -> MutexGuard<'_, BTreeMap<Handle, Issued>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issued {
    fn is_fresh(&self) -> bool {
        matches!(self.state, State::Fresh)
    }
}

/// Makes room for more tokens: removes the older half of the unused tokens of the address that has most. Tokens in use
/// stay.
fn make_room(issued: &mut BTreeMap<Handle, Issued>) -> Result<(), Refusal> {
    let mut fresh: HashMap<IpAddr, Vec<(Instant, Handle)>> = HashMap::new();
    for (handle, known) in issued.iter().filter(|(_, known)| known.is_fresh()) {
        fresh.entry(known.peer).or_default().push((known.until, *handle));
    }
    let mut greediest = fresh.into_values().max_by_key(Vec::len).ok_or(Refusal::Full)?;
    greediest.sort();
    for (_, handle) in &greediest[..greediest.len().div_ceil(2)] {
        issued.remove(handle);
    }
    Ok(())
}

impl Machine {
    /// A machine by the labels in its query.
    pub fn of(labels: &Labels) -> Machine {
        Machine { mac: labels.get("mac").to_owned(), uuid: labels.get("uuid").to_lowercase() }
    }
}

impl Token {
    fn random() -> Token {
        let mut bytes = [0; 24];
        // aws-lc uses the kernel's random numbers; without them, the process ends.
        rand::fill(&mut bytes).unwrap_or_else(|_| std::process::abort());
        let (handle, secret) = bytes.split_at(8);
        let mut token = Token { handle: 0, secret: [0; 16] };
        token.secret.copy_from_slice(secret);
        token.handle = handle.iter().fold(0, |all, byte| all << 8 | Handle::from(*byte));
        token
    }
}

/// The form in a URL.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:032x}", self.handle, u128::from_be_bytes(self.secret))
    }
}

/// Without the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-…", self.handle)
    }
}

impl FromStr for Token {
    type Err = Refusal;

    /// Accepts only the exact form that [`Token`]'s `Display` writes.
    fn from_str(text: &str) -> Result<Token, Refusal> {
        let parse = || {
            let (handle, secret) = text.split_once('-')?;
            let handle = Handle::from_str_radix(handle, 16).ok()?;
            Some(Token { handle, secret: u128::from_str_radix(secret, 16).ok()?.to_be_bytes() })
        };
        parse().filter(|token| token.to_string() == text).ok_or(Refusal::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(900);
    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 11));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 12));

    fn machine(mac: &str, uuid: &str) -> Machine {
        Machine { mac: mac.into(), uuid: uuid.into() }
    }

    fn ours() -> Machine {
        machine("52:54:00:00:00:01", "u1")
    }

    /// A guard, a token for our machine, and its time of issue.
    fn given() -> (Guard, Token, Instant) {
        let (guard, now) = (Guard::new(LIFE), Instant::now());
        let token = guard.mint(ours(), "worker.ign", PEER, now).unwrap();
        (guard, token, now)
    }

    #[test]
    fn a_token_opens_its_config_once() {
        let (guard, token, now) = given();
        for _ in 0..2 {
            assert_eq!(
                guard.look(token, PEER, now),
                Ok((ours(), "worker.ign".into())),
                "looking uses nothing"
            );
        }
        assert_eq!(guard.fetch(token, &ours(), PEER, now), Ok("worker.ign".into()));
        guard.left(token.handle);
        assert_eq!(guard.fetch(token, &ours(), PEER, now), Err(Refusal::Spent));
        assert_eq!(guard.look(token, PEER, now), Err(Refusal::Spent));
    }

    #[test]
    fn a_transfer_that_broke_off_may_be_tried_again_for_a_while_by_the_same_peer() {
        let (guard, token, now) = given();
        guard.fetch(token, &ours(), PEER, now).unwrap();
        let soon = now + GRACE - Duration::from_secs(1);
        assert!(guard.fetch(token, &ours(), PEER, soon).is_ok());
        assert_eq!(guard.fetch(token, &ours(), OTHER, soon), Err(Refusal::Stranger));
        assert_eq!(guard.fetch(token, &ours(), PEER, now + GRACE), Err(Refusal::Spent));
    }

    /// A client with all bytes of its config could ask again before the server had noted that they left.
    #[test]
    fn a_config_is_spent_before_its_last_byte_leaves_and_only_if_it_breaks_off_it_is_not() {
        let (guard, token, now) = given();
        let fetch = || guard.fetch(token, &ours(), PEER, now);
        fetch().unwrap();
        guard.left(token.handle);
        assert_eq!(fetch(), Err(Refusal::Spent));
        guard.broke_off(token.handle);
        assert!(fetch().is_ok());
        assert_eq!(guard.fetch(token, &ours(), PEER, now + GRACE), Err(Refusal::Spent), "the time goes on");
        guard.left(token.handle);
        guard.reported(&ours());
        guard.broke_off(token.handle);
        assert_eq!(fetch(), Err(Refusal::Spent), "it has reported");
    }

    #[test]
    fn another_machine_or_another_address_is_refused_and_does_not_use_it_up() {
        let (guard, token, now) = given();
        for other in [machine("52:54:00:00:00:02", "u1"), machine("52:54:00:00:00:01", "u2"), machine("", "")]
        {
            assert_eq!(guard.fetch(token, &other, PEER, now), Err(Refusal::Stranger));
        }
        assert_eq!(guard.fetch(token, &ours(), OTHER, now), Err(Refusal::Stranger));
        let mapped = "::ffff:10.0.0.11".parse().unwrap();
        assert!(guard.fetch(token, &ours(), mapped, now).is_ok(), "the same address, over an IPv6 socket");
    }

    #[test]
    fn where_addresses_change_the_first_that_fetches_keeps_it() {
        let (guard, now) = (Guard::new(LIFE).any_address(), Instant::now());
        let token = guard.mint(ours(), "worker.ign", PEER, now).unwrap();
        assert!(guard.fetch(token, &ours(), OTHER, now).is_ok());
        assert_eq!(guard.fetch(token, &ours(), PEER, now), Err(Refusal::Stranger));
        assert!(guard.fetch(token, &ours(), OTHER, now).is_ok());
    }

    #[test]
    fn a_token_that_was_not_used_in_time_expires_and_is_forgotten_later() {
        let (guard, token, now) = given();
        assert!(guard.fetch(token, &ours(), PEER, now + LIFE - GRACE).is_ok());
        let (guard, token, now) = given();
        assert_eq!(guard.fetch(token, &ours(), PEER, now + LIFE), Err(Refusal::Expired));
        guard.mint(ours(), "worker.ign", PEER, now + 2 * LIFE).unwrap();
        assert_eq!(guard.fetch(token, &ours(), PEER, now + 2 * LIFE), Err(Refusal::Unknown));
    }

    #[test]
    fn a_report_burns_what_the_machine_has_begun_to_use_and_nothing_else() {
        let (guard, begun, now) = given();
        guard.fetch(begun, &ours(), PEER, now).unwrap();
        let fresh = guard.mint(ours(), "worker.ign", PEER, now).unwrap();
        let other = guard.mint(machine("", "u9"), "worker.ign", PEER, now).unwrap();
        guard.fetch(other, &machine("", "u9"), PEER, now).unwrap();
        guard.reported(&machine("52:54:00:00:00:01", ""));
        guard.reported(&machine("", ""));
        assert_eq!(guard.fetch(begun, &ours(), PEER, now), Err(Refusal::Spent));
        assert!(guard.fetch(fresh, &ours(), PEER, now).is_ok());
        assert!(guard.fetch(other, &machine("", "u9"), PEER, now).is_ok());
    }

    #[test]
    fn a_wrong_secret_is_as_unknown_as_a_wrong_handle() {
        let (guard, token, now) = given();
        let (mut wrong, mut other) = (token, token);
        wrong.secret[15] ^= 1;
        other.handle ^= 1;
        for token in [wrong, other] {
            assert_eq!(guard.fetch(token, &ours(), PEER, now), Err(Refusal::Unknown));
        }
        guard.fetch(token, &ours(), PEER, now).unwrap();
        guard.left(token.handle);
        assert_eq!(
            guard.fetch(wrong, &ours(), PEER, now),
            Err(Refusal::Unknown),
            "nor is it told that it burnt"
        );
    }

    #[test]
    fn nobody_gets_a_token_without_a_name_and_nobody_fills_the_memory() {
        let (guard, now) = (Guard::new(LIFE), Instant::now());
        assert_eq!(guard.mint(machine("", ""), "x", PEER, now).unwrap_err(), Refusal::Nameless);
        // One machine has one token, the newest.
        let first = guard.mint(ours(), "x", PEER, now).unwrap();
        let second = guard.mint(ours(), "x", PEER, now).unwrap();
        assert_eq!(guard.look(first, PEER, now), Err(Refusal::Unknown));
        assert!(guard.look(second, PEER, now).is_ok());
        // An address that names more and more machines displaces only its own tokens.
        let honest = guard.mint(machine("52:54:00:00:00:02", ""), "x", OTHER, now).unwrap();
        for number in 0..MOST_OF_ONE + 50 {
            let later = now + Duration::from_millis(number as u64 + 1);
            guard.mint(machine("", &number.to_string()), "x", PEER, later).unwrap();
        }
        assert_eq!(guard.issued().len(), MOST_OF_ONE + 1);
        assert!(guard.look(honest, OTHER, now).is_ok());
        assert_eq!(guard.look(second, PEER, now), Err(Refusal::Unknown), "its oldest");
    }

    /// attacks.md, C-M3: 10,000 requests kept every machine with secrets from booting for half an hour.
    #[test]
    fn many_addresses_that_ask_for_tokens_displace_each_other_and_nobody_who_fetches() {
        let (guard, now) = (Guard::new(LIFE), Instant::now());
        let fetching = guard.mint(ours(), "x", OTHER, now).unwrap();
        guard.fetch(fetching, &ours(), OTHER, now).unwrap();
        for number in 0..MOST + 500 {
            let peer = IpAddr::from([10, 1, (number % 32) as u8, 1]);
            guard.mint(machine("", &number.to_string()), "x", peer, now).unwrap();
        }
        assert!(guard.issued().len() <= MOST);
        assert!(guard.fetch(fetching, &ours(), OTHER, now).is_ok());
        let late = guard.mint(machine("", "late"), "x", "10.2.0.1".parse().unwrap(), now).unwrap();
        assert!(guard.look(late, "10.2.0.1".parse().unwrap(), now).is_ok());
    }

    #[test]
    fn a_token_has_one_spelling_and_its_secret_is_not_in_debug() {
        let token = Token::random();
        let text = token.to_string();
        assert_eq!(text.parse::<Token>().unwrap().to_string(), text);
        for bad in [
            text.to_uppercase() + "0",
            text.replace('-', ""),
            format!("+{text}"),
            format!("0{text}"),
            String::new(),
        ] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
        assert!(!format!("{token:?}").contains(text.split_once('-').unwrap().1));
        assert_ne!(Token::random().to_string(), text);
    }
}
