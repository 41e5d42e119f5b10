//! How much of files may be in memory where they leave as buffers, for each client: one that takes nothing of its answers holds its
//! own room, and nobody else's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::client_of;

/// Bytes in memory for one client: what is under way to forty machines behind one address at full speed. More share it.
const MOST: usize = 16 << 20;

/// The rooms of all clients that have transfers.
#[derive(Debug, Default)]
pub struct Rooms(Mutex<HashMap<IpAddr, Weak<Semaphore>>>);

/// The room of one client.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Rooms {
    /// The room of a client, which it shares with its other transfers.
    pub fn of(&self, address: IpAddr) -> Room {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let client = client_of(address);
        if let Some(room) = rooms.get(&client).and_then(Weak::upgrade) {
            return Room(room);
        }
        rooms.retain(|_, room| room.strong_count() > 0);
        let room = Arc::new(Semaphore::new(MOST));
        rooms.insert(client, Arc::downgrade(&room));
        Room(room)
    }
}

impl Room {
    /// Waits for so many bytes of it; they are free again when this is dropped.
    pub async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = bytes.min(MOST) as u32;
        let taken = self.0.clone().acquire_many_owned(bytes).await;
        taken.unwrap_or_else(|_| unreachable!("it is never closed"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_client_that_holds_all_its_room_leaves_others_theirs() {
        let rooms = Rooms::default();
        let (one, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let held = rooms.of(one).take(MOST).await;
        let again = rooms.of(one);
        let wait = tokio::time::timeout(Duration::from_millis(20), again.take(1)).await;
        assert!(wait.is_err(), "its other transfers share it");
        let _others = rooms.of(other).take(MOST).await;
        drop(held);
        let _ = again.take(1).await;
    }
}
