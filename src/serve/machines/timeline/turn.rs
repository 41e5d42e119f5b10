//! The turn to join a cluster, which one controller has at a time.
//!
//! etcd takes new members one by one: controllers that join at once fail with "etcdserver: too many learner members in cluster", or
//! leave members behind that never started (kubernetes/kubeadm#2005, #1793, #2997). So a controller asks before it runs
//! `kubeadm join`, and joins when no other is between its question and its report that it has joined. A machine that boots anew
//! or reports a failure gives its turn back, and one of which nothing is heard loses it. The turn is kept with the machine, hence
//! in the state file: a server that was restarted knows who joins.

use std::net::IpAddr;
use std::time::Duration;

use super::{Key, Machine, Timeline, Who};
use crate::serve::machines::stamp::Stamp;
use crate::serve::site::Site;

/// How long after its last sign of life a machine may keep the turn. `kubeadm join` gives up after at most fifteen minutes in
/// which no API server answers, and asks for the turn again, so that nobody else gets it meanwhile.
pub(super) const LIMIT: Duration = Duration::from_secs(20 * 60);

/// The reason why a controller may not join yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waits {
    /// The one that joins now: its MAC address, or its name.
    pub of: String,
    /// The time since its last sign of life.
    pub silent: Duration,
}

impl Machine {
    /// Whether it has the turn.
    fn joins(&self, now: Stamp) -> bool {
        self.turn.is_some_and(|sign| now.since(sign) < LIMIT)
    }
}

impl Timeline {
    /// Gives the turn to the machine with this card, or prolongs it.
    ///
    /// # Errors
    /// Another machine has it.
    pub(crate) fn take_turn(
        &mut self,
        site: &Site,
        mac: &str,
        sender: IpAddr,
        now: Stamp,
    ) -> Result<(), Waits> {
        let key = Key::Mac(mac.to_owned());
        let other = self.joins.as_ref().filter(|other| **other != key);
        if let Some(other) = other.and_then(|other| self.machines.get(other)).filter(|other| other.joins(now))
        {
            let silent =
                other.turn.map_or(Duration::ZERO, |sign| Duration::from_secs(now.since(sign).as_secs()));
            return Err(Waits { of: other.id(), silent });
        }
        if let Some(late) = self.joins.take().filter(|late| *late != key) {
            self.revision += 1;
            if let Some(machine) = self.machines.get_mut(&late).map(std::sync::Arc::make_mut) {
                (machine.turn, machine.revision) = (None, self.revision);
            }
        }
        let who = Who { sender: Some(sender), ..Who::new(mac, "", None) };
        if let Some(machine) = self.machine(site, who, now, |_| false) {
            machine.turn = Some(now);
            self.joins = Some(key);
        }
        Ok(())
    }
}
