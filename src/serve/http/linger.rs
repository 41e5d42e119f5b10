//! The end of a connection, such that its client has its answer: what it still sends is taken for a while.
//!
//! A socket that is closed with bytes in it that nobody read resets its connection, and so does one that bytes come to later
//! (RFC 9112, 9.6). A client that still sends fails then and never looks for the answer, or loses what it had of it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;

use super::stop::stopped;

/// Most that is still taken, in bytes.
const MOST: usize = 1 << 20;
/// What is taken at a time, in bytes.
const READ: usize = 4 << 10;

/// A stream whose shutdown closes it towards the client, and then waits until the client closes it too.
pub struct Lingering<S> {
    stream: S,
    time: Duration,
    stop: watch::Receiver<bool>,
    /// What is left of that wait, once it began.
    wait: Option<Wait>,
}

struct Wait {
    left: usize,
    /// Its time is up, or the server stops.
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> Lingering<S> {
    /// Waits for so long at most, and only for what has come already once the server stops.
    pub fn new(stream: S, time: Duration, stop: watch::Receiver<bool>) -> Lingering<S> {
        Lingering { stream, time, stop, wait: None }
    }
}

/// Closes a stream towards its client, and waits for the client as [`Lingering`] does.
pub async fn close(
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
                // The client closed it, or is gone.
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

    /// A connection of a client that blocks, and the server's side of it.
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
            // More than the kernel holds, so that most is sent once the server has closed its side.
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
