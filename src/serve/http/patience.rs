//! How long the server waits for clients that take their answers slowly, and when it gives up on those that take hardly
//! anything.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::limits::Limits;
use super::pulse::Pulse;

/// Bytes that a client took, and how long the server waited for it. Only that waiting counts; the server's own pauses
/// are not held against a client.
pub(crate) struct Patience {
    window: Duration,
    least: u64,
    waited: Duration,
    taken: u64,
    /// Since when the client takes nothing at all.
    blocked: Option<Instant>,
    /// Updated when an answer moves. `None` where the bytes written may be more than answers.
    pulse: Option<Pulse>,
}

impl Patience {
    /// Starts with nothing held against the client. `pulse` is updated when the client takes something of an answer.
    pub(crate) fn new(limits: &Limits, pulse: Option<&Pulse>) -> Patience {
        Patience {
            window: limits.window,
            least: limits.window_bytes,
            waited: Duration::ZERO,
            taken: 0,
            blocked: None,
            pulse: pulse.cloned(),
        }
    }

    /// Called when the client took this many bytes.
    pub(crate) fn took(&mut self, bytes: u64) {
        self.taken += bytes;
        self.blocked = None;
        if let Some(pulse) = &self.pulse {
            pulse.beat();
        }
    }

    /// Waits for the server's own pause to end. A client that took nothing before the pause, and still takes nothing,
    /// is cut off even during it: its kernel buffer is full, regardless of whose turn it is.
    pub(crate) async fn pause<T, R: Future<Output = io::Result<()>>>(
        &mut self,
        pause: impl Future<Output = T>,
        ready: impl Fn() -> R,
    ) -> io::Result<T> {
        let mut pause = std::pin::pin!(pause);
        // Usually the pause is over at once; then there is nothing to wait for.
        if let Poll::Ready(over) = poll_fn(|context| Poll::Ready(pause.as_mut().poll(context))).await {
            return Ok(over);
        }
        while let Some(since) = self.blocked {
            tokio::select! {
                over = &mut pause => return Ok(over),
                ready = tokio::time::timeout_at((since + self.window).into(), ready()) => match ready {
                    Ok(ready) => {
                        ready?;
                        self.blocked = None;
                    }
                    Err(_) => return Err(too_slow()),
                }
            }
        }
        let _ours = Ours::new(self.pulse.clone());
        Ok(pause.await)
    }

    /// How much longer the server waits for the client.
    fn left(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// Adds waiting time. Fails at the end of a window in which the client took too little.
    fn waited(&mut self, time: Duration) -> io::Result<()> {
        self.waited += time;
        if self.waited >= self.window {
            if self.taken < self.least {
                return Err(too_slow());
            }
            (self.waited, self.taken) = (Duration::ZERO, 0);
        }
        Ok(())
    }

    /// Waits until the client can take more, or until `end`.
    pub(crate) async fn wait(
        &mut self,
        ready: impl Future<Output = io::Result<()>>,
        end: Option<Instant>,
    ) -> io::Result<()> {
        let started = Instant::now();
        self.blocked.get_or_insert(started);
        let last = started + self.left();
        let end = end.map_or(last, |end| end.min(last));
        let ready = tokio::time::timeout_at(end.into(), ready).await;
        self.waited(started.elapsed())?;
        ready.unwrap_or(Ok(()))
    }
}

/// Marks the client as waiting for this server, as long as this lives.
struct Ours(Option<Pulse>);

impl Ours {
    fn new(pulse: Option<Pulse>) -> Ours {
        pulse.iter().for_each(|pulse| pulse.waits_for_us(true));
        Ours(pulse)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.0.iter().for_each(|pulse| pulse.waits_for_us(false));
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it reads its answer too slowly")
}

/// A stream whose writes are limited by [`Patience`].
pub(crate) struct Patient<S> {
    stream: S,
    patience: Patience,
    /// Since when the stream takes nothing, and the timer that ends the wait.
    stuck: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> Patient<S> {
    /// Limits writes to a stream.
    pub(crate) fn new(stream: S, limits: &Limits) -> Patient<S> {
        Patient { stream, patience: Patience::new(limits, None), stuck: None }
    }
}

impl<S: Unpin> Patient<S> {
    /// Writes. If the stream takes nothing, waits for a limited time.
    fn poll_patiently(
        &mut self,
        context: &mut Context<'_>,
        mut write: impl FnMut(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Poll::Ready(written) = write(Pin::new(&mut self.stream), context) {
                let written = written?;
                self.patience.took(written as u64);
                if let Some((since, _)) = self.stuck.take() {
                    self.patience.waited(since.elapsed())?;
                }
                return Poll::Ready(Ok(written));
            }
            let left = self.patience.left();
            let (since, timer) =
                self.stuck.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
            ready!(timer.as_mut().poll(context));
            let waited = since.elapsed();
            self.stuck = None;
            self.patience.waited(waited)?;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_patiently(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_patiently(context, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn limits() -> Limits {
        Limits { window: Duration::from_millis(400), window_bytes: 10, ..Limits::default() }
    }

    #[tokio::test]
    async fn who_takes_enough_within_the_window_is_waited_for_again_and_who_does_not_is_cut() {
        let mut patience = Patience::new(&limits(), None);
        patience.took(10);
        patience.wait(std::future::pending(), None).await.unwrap();
        patience.took(9);
        let error = patience.wait(std::future::pending(), None).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// attacks.md, C-M2: each of a client's 250 transfers had its turn every other minute, and the server's patience
    /// ran only during the turn.
    #[tokio::test]
    async fn who_takes_nothing_is_cut_in_the_midst_of_a_pause_and_who_could_take_more_is_not() {
        let mut patience = Patience::new(&limits(), None);
        let never = std::future::pending;
        // It has not had a chance to take anything yet.
        let pause = tokio::time::sleep(Duration::from_millis(500));
        patience.pause(pause, never).await.unwrap();
        let soon = Instant::now() + Duration::from_millis(1);
        patience.wait(std::future::pending(), Some(soon)).await.unwrap();
        let error = patience.pause(std::future::pending::<()>(), never).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let pause = tokio::time::sleep(Duration::from_millis(500));
        patience.pause(pause, || std::future::ready(Ok(()))).await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_that_takes_nothing_breaks_and_a_slow_one_does_not() {
        let (near, far) = tokio::io::duplex(16);
        let error = Patient::new(near, &limits()).write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);

        let (near, mut far) = tokio::io::duplex(16);
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 16];
            let mut read = 0;
            while read < 240 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                read += tokio::io::AsyncReadExt::read(&mut far, &mut buffer).await.unwrap();
            }
        });
        // It takes longer than the window in all, but is ten times as fast as required.
        let limits = Limits { window: Duration::from_secs(1), ..limits() };
        Patient::new(near, &limits).write_all(&[0; 240]).await.unwrap();
        reader.await.unwrap();
    }
}
