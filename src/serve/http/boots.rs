//! The boot queue: how many machines load at a time, which one is next, and how long that takes.
//!
//! A machine's turn begins with its boot script. It ends when the machine has loaded nothing, or hardly anything, for a
//! while, and it has an upper limit. A machine that loses its turn can still load; it only gives up its place. Machines
//! behind one address count as one, because only a request for a script identifies the machine; a download does not.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::count::counted;

/// A machine that has its script and then loads nothing for this long has given up.
const TO_BEGIN: Duration = Duration::from_secs(30);
/// A machine that loads nothing for this long has all that it needs: there is no pause between two files of a script.
const TO_GO_ON: Duration = Duration::from_secs(3);
/// A machine that loads fewer bytes than this in this time loses its turn: it is slower than any link in a rack.
const PACE: (u64, Duration) = (64 << 10, Duration::from_secs(10));
/// The longest turn: this, or ten times a usual turn, whichever is longer.
const LONGEST: Duration = Duration::from_secs(300);
/// How often a waiting machine asks again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A waiting machine that does not ask for this long is gone.
const TO_ASK: Duration = Duration::from_secs(20);

/// The queue.
pub(crate) struct Boots {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    booting: HashMap<IpAddr, Booting>,
    /// The waiting machines in order of arrival, with the time of their last request.
    waiting: Vec<(IpAddr, Instant)>,
    /// How long a machine loads: a moving average.
    usual: Option<Duration>,
}

struct Booting {
    began: Instant,
    /// When its last download ended, or began.
    loaded: Option<Instant>,
    /// Downloads in progress.
    downloads: usize,
    /// Bytes that its downloads have sent.
    taken: Arc<AtomicU64>,
    /// The bytes sent at an earlier time, and that time: the start of the pace measurement.
    measured: (u64, Instant),
}

/// The answer to a machine that wants to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It may boot now.
    Boot,
    /// It has to wait.
    Wait(Place),
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Counted from 1, which is the next one to boot.
    pub number: usize,
    /// How many machines wait.
    pub of: usize,
    /// The estimated time to this machine's turn. `None` until one machine has shown how long a boot takes.
    pub after: Option<Duration>,
}

/// A download of a machine that boots; it counts as in progress until this is dropped.
pub(crate) struct Download {
    boots: Arc<Boots>,
    client: IpAddr,
    taken: Arc<AtomicU64>,
}

impl Boots {
    /// A queue that lets this many machines load at a time.
    pub(crate) fn new(most: usize) -> Arc<Boots> {
        Arc::new(Boots { most, state: Mutex::default() })
    }

    /// Called when a machine asks for its boot script.
    pub(crate) fn ask(&self, client: IpAddr, now: Instant) -> Turn {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(now);
        if state.booting.contains_key(&client) {
            return Turn::Boot;
        }
        let index = match state.waiting.iter().position(|(waiting, _)| *waiting == client) {
            Some(index) => index,
            None => {
                state.waiting.push((client, now));
                state.waiting.len() - 1
            }
        };
        // Free places belong to the machines that came first, even if others ask earlier now.
        if index < self.most.saturating_sub(state.booting.len()) {
            state.waiting.remove(index);
            state.booting.insert(client, Booting::new(now));
            return Turn::Boot;
        }
        state.waiting[index].1 = now;
        let rounds = (index + 1) as f64 / self.most as f64;
        let after = state.usual.map(|usual| usual.mul_f64(rounds));
        Turn::Wait(Place { number: index + 1, of: state.waiting.len(), after })
    }

    /// Called when a long download begins. `None` if the machine has no turn to prolong.
    pub(crate) fn download(self: &Arc<Self>, client: IpAddr, now: Instant) -> Option<Download> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let booting = state.booting.get_mut(&client)?;
        if booting.downloads == 0 {
            booting.measured = (booting.taken.load(Ordering::Relaxed), now);
        }
        booting.downloads += 1;
        booting.loaded = Some(now);
        Some(Download { boots: self.clone(), client, taken: booting.taken.clone() })
    }

    /// The script for a waiting machine: it shows the machine's place, sleeps, and asks again with the same query.
    pub(crate) fn script(&self, place: &Place, query: &str) -> String {
        let Place { number, of, after } = place;
        let after = match after {
            Some(after) => format!(", about {} s to go", after.as_secs().max(1)),
            None => String::new(),
        };
        // iPXE would expand anything that looks like one of its settings.
        let query = query.replace('$', "%24");
        let (most, seconds) = (counted(self.most, "machine"), ASK_AGAIN.as_secs());
        format!(
            "#!ipxe\n:wait\necho {most} may load at a time, this one is number {number} of {of} in the queue{after}\nsleep {seconds}\nchain --replace ipxe?{query} || goto wait\n"
        )
    }
}

impl Booting {
    fn new(now: Instant) -> Booting {
        Booting { began: now, loaded: None, downloads: 0, taken: Arc::default(), measured: (0, now) }
    }

    /// Whether it is loading, but hardly takes anything.
    fn drips(&mut self, now: Instant) -> bool {
        let (bytes, time) = PACE;
        let ((before, since), taken) = (self.measured, self.taken.load(Ordering::Relaxed));
        if self.downloads == 0 || now.saturating_duration_since(since) < time {
            return false;
        }
        self.measured = (taken, now);
        taken - before < bytes
    }
}

impl Download {
    /// Called when the machine has taken this many more bytes.
    pub(crate) fn took(&self, bytes: u64) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let mut state = self.boots.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The machine may have lost its turn and got another one with a new script; this download does not belong to
        // that.
        let is_its = |booting: &&mut Booting| Arc::ptr_eq(&booting.taken, &self.taken);
        if let Some(booting) = state.booting.get_mut(&self.client).filter(is_its) {
            booting.downloads -= 1;
            booting.loaded = Some(Instant::now());
        }
    }
}

impl State {
    /// Forgets machines that are done, that are gone, or that hold a turn without using it.
    fn forget(&mut self, now: Instant) {
        let usual = &mut self.usual;
        let longest = usual.map_or(LONGEST, |usual| LONGEST.max(usual * 10));
        self.booting.retain(|_, booting| {
            if now.saturating_duration_since(booting.began) >= longest || booting.drips(now) {
                return false;
            }
            let is_done = match booting.loaded {
                None => now.duration_since(booting.began) >= TO_BEGIN,
                Some(loaded) => booting.downloads == 0 && now.saturating_duration_since(loaded) >= TO_GO_ON,
            };
            if let Some(loaded) = booting.loaded.filter(|_| is_done) {
                let took = loaded.duration_since(booting.began) + TO_GO_ON;
                *usual = Some(usual.map_or(took, |usual| (usual * 3 + took) / 4));
            }
            !is_done
        });
        self.waiting.retain(|(_, asked)| now.duration_since(*asked) < TO_ASK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    /// The place and the number of waiting machines that a machine is told. `None` if it may boot.
    fn ask(boots: &Boots, number: u8, now: Instant) -> Option<(usize, usize)> {
        match boots.ask(client(number), now) {
            Turn::Boot => None,
            Turn::Wait(place) => Some((place.number, place.of)),
        }
    }

    #[test]
    fn machines_get_their_turn_in_the_order_in_which_they_came() {
        let boots = Boots::new(2);
        let now = Instant::now();
        assert_eq!(
            [1, 2, 3, 4].map(|number| ask(&boots, number, now)),
            [None, None, Some((1, 1)), Some((2, 2))]
        );
        assert_eq!(ask(&boots, 1, now), None, "it has a turn, and may ask twice");
        let [first, second] = [1, 2].map(|number| boots.download(client(number), now).unwrap());
        let later = now + Duration::from_secs(10);
        first.took(PACE.0);
        second.took(PACE.0);
        assert_eq!([3, 4].map(|number| ask(&boots, number, later)), [Some((1, 2)), Some((2, 2))]);

        drop(first);
        let later = now + Duration::from_secs(15);
        assert_eq!(ask(&boots, 5, later), Some((3, 3)), "the free place is not for who comes last");
        assert_eq!([3, 4].map(|number| ask(&boots, number, later)), [None, Some((1, 2))]);
        let Turn::Wait(place) = boots.ask(client(5), later) else { panic!("there is no place") };
        assert!(place.after.is_some_and(|after| after >= TO_GO_ON), "{place:?}");
        drop(second);
    }

    #[test]
    fn a_machine_that_gave_up_holds_nobody_up() {
        let boots = Boots::new(1);
        let now = Instant::now();
        assert_eq!([1, 2].map(|number| ask(&boots, number, now)), [None, Some((1, 1))]);
        assert_eq!(ask(&boots, 3, now + Duration::from_secs(5)), Some((2, 2)));
        // The first loaded nothing, the second and third stopped asking.
        assert_eq!(ask(&boots, 4, now + TO_BEGIN), None);
        assert_eq!(ask(&boots, 2, now + TO_BEGIN), Some((1, 1)));
    }

    /// attacks.md, section 4: four strangers that took 16 KiB in 30 s held all turns.
    #[test]
    fn a_machine_that_drips_loses_its_turn_and_one_that_is_slow_does_not() {
        let boots = Boots::new(1);
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(ask(&boots, 1, now), None);
        let slow = boots.download(client(1), now).unwrap();
        for seconds in (0..120).step_by(5) {
            slow.took(PACE.0 / 2);
            assert_eq!(ask(&boots, 2, after(seconds)), Some((1, 1)), "{seconds} s");
        }
        slow.took(PACE.0 / 2);
        assert_eq!(ask(&boots, 2, after(125)), Some((1, 1)), "the measure is taken anew");
        slow.took(PACE.0 / 2 - 1);
        assert_eq!(ask(&boots, 2, after(135)), None, "it drips");
        assert_eq!(ask(&boots, 1, after(135)), Some((1, 1)), "it may queue again");

        // The slow download still runs, but does not count for a later turn of the same machine.
        assert_eq!(ask(&boots, 1, after(150)), Some((1, 1)));
        assert_eq!(ask(&boots, 1, after(165)), None, "the second loaded nothing");
        slow.took(1 << 30);
        drop(slow);
        assert_eq!(boots.state.lock().unwrap().booting[&client(1)].downloads, 0);
    }

    #[test]
    fn no_turn_lasts_for_ever() {
        let boots = Boots::new(1);
        let now = Instant::now();
        assert_eq!(ask(&boots, 1, now), None);
        let download = boots.download(client(1), now).unwrap();
        let last = LONGEST.as_secs() - 1;
        for seconds in (5..last).step_by(5) {
            download.took(PACE.0);
            assert_eq!(ask(&boots, 2, now + Duration::from_secs(seconds)), Some((1, 1)), "{seconds} s");
        }
        download.took(PACE.0);
        assert_eq!(ask(&boots, 2, now + LONGEST), None);
    }

    #[test]
    fn a_script_says_the_place_and_asks_again_with_the_same_words() {
        let place = Place { number: 3, of: 9, after: Some(Duration::from_secs(70)) };
        let script = Boots::new(4).script(&place, "mac=52-54-00-00-00-01&serial=${x}");
        assert!(script.contains(
            "4 machines may load at a time, this one is number 3 of 9 in the queue, about 70 s to go"
        ));
        assert!(
            script.contains("chain --replace ipxe?mac=52-54-00-00-00-01&serial=%24{x} || goto wait\n"),
            "{script}"
        );
    }
}
