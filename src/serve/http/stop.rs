//! The end of a server, as each of its tasks hears of it.

use tokio::sync::watch;

/// Waits until the server stops.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is already gone.
    let _ = stop.wait_for(|stop| *stop).await;
}
