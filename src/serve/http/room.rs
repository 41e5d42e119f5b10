//! Limits how much of answers is in memory: of files that leave through buffers, and of answers made for one client
//! alone.
//!
//! A client may have a fraction of the free memory, so that something is left for the next one, however many take all
//! they may and hold it (dynamic thresholds: Choudhury and Hahne, 1998). A client that does not read its answers blocks
//! only its own part.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::limits::client_of;

/// Bytes for all clients, not counting [`LEAST`] for each.
const ALL: usize = 32 << 20;
/// A client may have the free memory divided by this. A single client gets 6 MiB, the amount under way to 25 machines
/// behind one address at full speed; more machines share it.
const PART: usize = 4;
/// Bytes that any client may have, no matter how little is free.
const LEAST: usize = 16 << 10;
/// Smaller reads are not worth it.
const WORTH: usize = 4 << 10;

/// The room of all clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    clients: HashMap<IpAddr, Client>,
}

#[derive(Debug, Default)]
struct Client {
    bytes: usize,
    /// How many [`Room`]s and [`Taken`]s refer to it.
    users: usize,
    /// Its transfers wait here in order of arrival.
    queue: Arc<tokio::sync::Mutex<()>>,
}

/// The room of one client, shared by its transfers.
#[derive(Debug)]
pub(crate) struct Room {
    rooms: Rooms,
    client: IpAddr,
    queue: Arc<tokio::sync::Mutex<()>>,
}

/// Bytes of a client's room, freed when this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    rooms: Rooms,
    client: IpAddr,
    bytes: usize,
}

/// Bytes that occupy room as long as anybody holds them.
struct Kept {
    bytes: Bytes,
    _taken: Taken,
}

impl Rooms {
    /// The room of a client.
    pub(crate) fn of(&self, address: IpAddr) -> Room {
        let client = client_of(address);
        let mut held = self.held();
        let known = held.clients.entry(client).or_default();
        known.users += 1;
        Room { rooms: self.clone(), client, queue: known.queue.clone() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Waits for up to this many bytes; returns at least 1.
    pub(crate) async fn take(&self, most: usize) -> Taken {
        let _first = self.queue.lock().await;
        loop {
            let mut freed = std::pin::pin!(self.rooms.0.freed.notified());
            freed.as_mut().enable();
            let granted = |free: usize| most.min(free).max(1);
            if let Some(taken) = self.grant(|free, _| (free >= most.min(WORTH)).then(|| granted(free))) {
                return taken;
            }
            freed.await;
        }
    }

    /// Counts bytes that are in memory already. `None` if they are too many for this client; a client that has nothing
    /// else may have all that is free.
    pub(crate) fn keep(&self, bytes: Bytes) -> Option<Bytes> {
        let length = bytes.len();
        let taken = self.grant(|free, alone| (length <= free || length <= alone).then_some(length))?;
        Some(Bytes::from_owner(Kept { bytes, _taken: taken }))
    }

    /// Takes the number of bytes that `decide` returns. Its arguments: how many more this client may have, and how many
    /// it may have at once if it holds nothing else.
    fn grant(&self, decide: impl FnOnce(usize, usize) -> Option<usize>) -> Option<Taken> {
        let mut held = self.rooms.held();
        let free = ALL.saturating_sub(held.all);
        let client = held.clients.entry(self.client).or_default();
        let more = (free / PART).max(LEAST).saturating_sub(client.bytes);
        let bytes = decide(more, if client.bytes == 0 { free } else { 0 })?;
        client.bytes += bytes;
        client.users += 1;
        held.all += bytes;
        drop(held);
        Some(Taken { rooms: self.rooms.clone(), client: self.client, bytes })
    }
}

impl Held {
    fn leave(&mut self, client: IpAddr, bytes: usize) {
        self.all -= bytes;
        if let Some(known) = self.clients.get_mut(&client) {
            known.bytes -= bytes;
            known.users -= 1;
            if known.users == 0 {
                self.clients.remove(&client);
            }
        }
    }
}

impl Taken {
    /// The number of bytes taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps these bytes counted as long as anybody holds them.
    pub(crate) fn keep(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Kept { bytes, _taken: self })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.rooms.held().leave(self.client, 0);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.rooms.held().leave(self.client, self.bytes);
        self.rooms.0.freed.notify_waiters();
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CHUNK: usize = 32 << 10;

    fn client(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    /// Takes all that a client can get at once.
    async fn fill(room: &Room) -> Vec<Taken> {
        let mut all = Vec::new();
        while let Ok(taken) = tokio::time::timeout(Duration::from_millis(1), room.take(CHUNK)).await {
            all.push(taken);
        }
        all
    }

    fn bytes(all: &[Taken]) -> usize {
        all.iter().map(Taken::bytes).sum()
    }

    /// attacks.md, C-M1: 16 addresses held 16 MiB each, and nothing limited the number of addresses.
    #[tokio::test]
    async fn however_many_clients_hold_all_they_may_the_next_has_some_and_all_of_it_stays_within_bounds() {
        let rooms = Rooms::default();
        let mut held = Vec::new();
        for number in 0..40 {
            let all = fill(&rooms.of(client(number))).await;
            let least = if number < 16 { 128 << 10 } else { LEAST };
            assert!((least..=ALL / 5 + CHUNK).contains(&bytes(&all)), "{number}: {}", bytes(&all));
            held.extend(all);
        }
        assert!(bytes(&held) <= ALL + 40 * LEAST, "{}", bytes(&held));
        assert!(rooms.of(client(99)).keep(vec![0; 1 << 20].into()).is_none());
        drop(held);
        assert!(rooms.held().clients.is_empty() && rooms.held().all == 0);
    }

    #[tokio::test]
    async fn a_transfer_waits_until_its_client_has_room_again_and_a_whole_answer_has_it_at_once_or_not() {
        let rooms = Rooms::default();
        let room = rooms.of(client(1));
        let mut held = fill(&room).await;
        let waits = tokio::spawn({
            let room = rooms.of(client(1));
            async move { room.take(CHUNK).await.bytes() }
        });
        assert!(room.keep(vec![0; CHUNK].into()).is_none());
        let other = rooms.of(client(2)).keep(vec![0; CHUNK].into());
        assert_eq!(other.map(|bytes| bytes.len()), Some(CHUNK));
        held.truncate(held.len() - 4);
        assert_eq!(waits.await.unwrap(), CHUNK);
        drop(held);
        let whole = room.keep(vec![0; ALL / 2].into());
        assert!(whole.is_some() && room.keep(vec![0; ALL / 4].into()).is_none());
    }
}
