//! Closes connections so that clients get their answers: input is read and dropped for a while.
//!
//! Closing a socket with unread bytes resets its connection, and so do bytes that arrive later (RFC 9112, 9.6). A
//! client that is still sending then fails before it looks for the answer, or loses the part that it has.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;

use super::stop::stopped;

/// Most bytes that are still read.
const MOST: usize = 1 << 20;
/// Bytes to read at a time.
const READ: usize = 4 << 10;

/// A stream whose shutdown first closes the sending side, and then waits for the client to close its side.
pub(crate) struct Lingering<S> {
    stream: S,
    time: Duration,
    stop: watch::Receiver<bool>,
    /// The state of that wait, once it has begun.
    wait: Option<Wait>,
}

struct Wait {
    left: usize,
    /// Ready when the time is up or the server stops.
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> Lingering<S> {
    /// Waits for at most this time. Once the server stops, only input that has arrived already is read.
    pub(crate) fn new(stream: S, time: Duration, stop: watch::Receiver<bool>) -> Lingering<S> {
        Lingering { stream, time, stop, wait: None }
    }
}

/// Closes a stream like [`Lingering`]: the sending side first, then a wait for the client.
pub(crate) async fn close(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    time: Duration,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    Lingering::new(stream, time, stop).shutdown().await
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Lingering { stream, time, stop, wait } = &mut *self;
        if wait.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
        }
        let wait = wait.get_or_insert_with(|| {
            let (time, mut stop) = (*time, stop.clone());
            let over = Box::pin(async move {
                let _ = tokio::time::timeout(time, stopped(&mut stop)).await;
            });
            Wait { left: MOST, over }
        });
        let mut room = [0; READ];
        while wait.left > 0 {
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                // The client closed its side, or is gone.
                Poll::Ready(Err(_)) => break,
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => break,
                Poll::Ready(Ok(())) => wait.left = wait.left.saturating_sub(buffer.filled().len()),
                Poll::Pending => return wait.over.as_mut().poll(context).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A connection between a blocking client and the server.
    async fn pair() -> (std::net::TcpStream, tokio::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_client_that_still_sends_reads_its_answer_to_the_end() {
        let (mut client, mut server) = pair().await;
        let (_running, stop) = watch::channel(false);
        let client = std::thread::spawn(move || {
            // More than the kernel buffers, so that most is sent after the server has closed its side.
            client.write_all(&vec![b'x'; MOST - 1])?;
            client.shutdown(std::net::Shutdown::Write)?;
            let mut said = String::new();
            client.read_to_string(&mut said).map(|_| said)
        });
        server.write_all(b"no").await.unwrap();
        close(server, LONG, stop).await.unwrap();
        assert_eq!(client.join().unwrap().unwrap(), "no");
    }

    #[tokio::test]
    async fn the_wait_ends_with_its_time_its_bytes_or_the_server() {
        let (_client, server) = pair().await;
        let (running, stop) = watch::channel(false);
        close(server, Duration::from_millis(1), stop.clone()).await.unwrap();

        let (mut client, server) = pair().await;
        let sender = std::thread::spawn(move || while client.write_all(&[0; READ]).is_ok() {});
        close(server, LONG, stop.clone()).await.unwrap();
        sender.join().unwrap();

        let (_client, server) = pair().await;
        running.send(true).unwrap();
        close(server, LONG, stop).await.unwrap();
    }
}
