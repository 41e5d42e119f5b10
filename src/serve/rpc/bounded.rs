//! The body of a call while it arrives: one message, bounded in size, memory and time.
//!
//! Owns what grpc-go says of a message that is too large, too short or packed in a way that is not known (its
//! `rpc_util.go`, v1.62.1, which Matchbox v0.11.0 is built with). Leaves its meaning to `services`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::Sleep;
use tonic::Status;

/// Longest message in bytes: grpc-go's default, which Matchbox leaves as it is.
pub(crate) const LONGEST: usize = 4 << 20;
/// Bytes before a message: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
const HEAD: usize = 5;
/// Bytes of all messages together whose calls are not over; and of all answers that are not sent yet.
const MOST: usize = 64 << 20;
/// As many of them as one certificate may have: what Terraform has under way at a time, ten messages of the longest.
const OWN: usize = 48 << 20;
/// Time for one message to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// The memory that messages, or answers, of all clients share, as one certificate sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget {
    all: Arc<AtomicUsize>,
    own: Arc<AtomicUsize>,
}

impl Budget {
    /// The same memory with the count of another certificate.
    pub(crate) fn of(&self, own: &Arc<AtomicUsize>) -> Budget {
        Budget { all: self.all.clone(), own: own.clone() }
    }

    /// Takes a share for an answer until that is sent. The only answer has it however long it is.
    ///
    /// # Errors
    /// There are too many answers that their clients do not take.
    pub(crate) fn hold(&self, length: usize) -> Result<Held, Status> {
        self.take(length, "answers")
    }

    /// Takes a share for a message that has arrived, until its call is over.
    ///
    /// # Errors
    /// There are too many that wait.
    pub(crate) fn share(&self, length: usize) -> Result<Held, Status> {
        self.take(length, "messages")
    }

    fn take(&self, length: usize, what: &str) -> Result<Held, Status> {
        let added = self.add(length, what);
        let held = Held { budget: self.clone(), length };
        added.map(|()| held)
    }

    /// Counts these bytes; an error, too, leaves them counted.
    fn add(&self, length: usize, what: &str) -> Result<(), Status> {
        let fits = |count: &AtomicUsize, most: usize| {
            let before = count.fetch_add(length, Ordering::Relaxed);
            before == 0 || before.saturating_add(length) <= most
        };
        let (all, own) = (fits(&self.all, MOST), fits(&self.own, OWN));
        let whose = match (all, own) {
            (true, true) => return Ok(()),
            (_, false) => " of this certificate",
            (false, true) => "",
        };
        Err(Status::resource_exhausted(format!("the server has too many {what}{whose} at once; try again")))
    }

    fn give_back(&self, length: usize) {
        self.all.fetch_sub(length, Ordering::Relaxed);
        self.own.fetch_sub(length, Ordering::Relaxed);
    }
}

/// The share of a message or an answer in the memory of all.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Budget,
    length: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.length);
    }
}

/// Bytes of an answer, which keep its share until they have left.
pub(crate) struct Part {
    pub bytes: Bytes,
    pub _held: Arc<Held>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body that ends behind its first message, as grpc-go reads it: a client need not close its side before it is
/// answered.
pub(crate) struct Bounded<B> {
    body: B,
    budget: Budget,
    over: Pin<Box<Sleep>>,
    /// The bytes before the message, as far as they came.
    head: [u8; HEAD],
    /// Bytes that came.
    seen: usize,
    /// Bytes that are to come in all, once the head is there.
    whole: Option<usize>,
}

impl<B> Bounded<B> {
    /// The time begins now.
    pub(crate) fn new(body: B, budget: Budget) -> Bounded<B> {
        Bounded::within(body, budget, PATIENCE)
    }

    fn within(body: B, budget: Budget, patience: Duration) -> Bounded<B> {
        let over = Box::pin(tokio::time::sleep(patience));
        Bounded { body, budget, over, head: [0; HEAD], seen: 0, whole: None }
    }

    fn is_whole(&self) -> bool {
        self.whole == Some(self.seen)
    }

    /// Takes what belongs to the message.
    fn take(&mut self, mut bytes: Bytes) -> Result<Bytes, Status> {
        if self.whole.is_none() {
            let begun = self.seen;
            for (slot, byte) in self.head[begun..].iter_mut().zip(&bytes) {
                *slot = *byte;
            }
            if begun + bytes.len() >= HEAD {
                self.whole = Some(HEAD + length(self.head)?);
            }
        }
        let left = self.whole.map_or(usize::MAX, |whole| whole - self.seen);
        bytes.truncate(left);
        self.seen += bytes.len();
        self.budget.add(bytes.len(), "messages")?;
        Ok(bytes)
    }
}

/// The length that the bytes before a message name.
fn length([flag, length @ ..]: [u8; HEAD]) -> Result<usize, Status> {
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        let why = format!("grpc: received message larger than max ({length} vs. {LONGEST})");
        return Err(Status::resource_exhausted(why));
    }
    match flag {
        0 => Ok(length),
        1 => Err(Status::internal("grpc: compressed flag set with identity or empty encoding")),
        other => Err(Status::internal(format!("grpc: received unexpected payload format {other}"))),
    }
}

impl<B> Drop for Bounded<B> {
    fn drop(&mut self) {
        self.budget.give_back(self.seen);
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_whole() {
            return Poll::Ready(None);
        }
        if self.over.as_mut().poll(context).is_ready() {
            let why = format!("the request took longer than {} s to arrive", PATIENCE.as_secs());
            return Poll::Ready(Some(Err(Status::deadline_exceeded(why))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(Some(match frame {
            None if self.seen == 0 => Err(Status::unknown("EOF")),
            None => Err(Status::unknown("unexpected EOF")),
            Some(Err(error)) => Err(Status::cancelled(error.to_string())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => self.take(bytes).map(Frame::data),
                Err(trailers) => Ok(trailers),
            },
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.is_whole()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, StreamBody};
    use tonic::Code;

    use super::*;

    #[test]
    fn answers_that_nobody_takes_have_one_memory_together() {
        let budget = Budget::default();
        let whole = budget.hold(2 * MOST).unwrap();
        assert_eq!(budget.hold(1).unwrap_err().code(), tonic::Code::ResourceExhausted);
        drop(whole);
        let held: Vec<Held> = (0..16).map(|_| budget.hold(OWN / 16).unwrap()).collect();
        budget.hold(1).unwrap_err();
        let first = held.into_iter().next().unwrap();
        let part = Bytes::from_owner(Part { bytes: Bytes::from_static(b"x"), _held: Arc::new(first) });
        budget.hold(OWN - OWN / 16).unwrap();
        budget.hold(OWN).unwrap_err();
        drop(part);
        assert_eq!(budget.all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_certificate_that_takes_all_leaves_room_for_others() {
        let one = Budget::default();
        let held: Vec<Held> = (0..12).map(|_| one.share(LONGEST).unwrap()).collect();
        assert!(one.share(1).unwrap_err().message().contains("too many messages of this certificate"));
        let other = one.of(&Arc::default());
        let others: Vec<Held> = (0..4).map(|_| other.share(LONGEST).unwrap()).collect();
        assert!(other.share(1).unwrap_err().message().contains("too many messages at once"));
        drop((held, others));
        assert_eq!((one.all.load(Ordering::Relaxed), one.own.load(Ordering::Relaxed)), (0, 0));
    }

    type Stream = futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>;

    fn body(budget: &Budget, pieces: &[&[u8]]) -> Bounded<StreamBody<Stream>> {
        let frames: Vec<_> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        Bounded::new(StreamBody::new(futures_util::stream::iter(frames)), budget.clone())
    }

    async fn read(pieces: &[&[u8]]) -> Result<Vec<u8>, (Code, String)> {
        let read = body(&Budget::default(), pieces).collect().await;
        read.map(|all| all.to_bytes().to_vec()).map_err(|status| (status.code(), status.message().to_owned()))
    }

    #[tokio::test]
    async fn one_message_is_read_however_it_is_cut_and_nothing_behind_it() {
        let whole = [0, 0, 0, 0, 3, b'a', b'b', b'c'];
        for cut in 0..=whole.len() {
            let (first, rest) = whole.split_at(cut);
            assert_eq!(read(&[first, rest, b"more"]).await.unwrap(), whole, "{cut}");
        }
        let one: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(read(&one).await.unwrap(), whole);
        assert_eq!(read(&[&[0; 5]]).await.unwrap(), [0; 5], "an empty message");
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_or_too_short_is_told_as_grpc_go_tells_it() {
        let too_long = "grpc: received message larger than max (4194305 vs. 4194304)";
        assert_eq!(read(&[&[0, 0, 0x40, 0, 1]]).await, Err((Code::ResourceExhausted, too_long.into())));
        assert_eq!(read(&[]).await, Err((Code::Unknown, "EOF".into())));
        assert_eq!(read(&[&[0, 0]]).await, Err((Code::Unknown, "unexpected EOF".into())));
        assert_eq!(read(&[&[0, 0, 0, 0, 2, 7]]).await, Err((Code::Unknown, "unexpected EOF".into())));
        let (code, why) = read(&[&[1, 0, 0, 0, 0]]).await.unwrap_err();
        assert!(code == Code::Internal && why.contains("compressed flag"), "{why}");
        let (code, why) = read(&[&[7, 0, 0, 0, 0]]).await.unwrap_err();
        assert!(code == Code::Internal && why.ends_with("format 7"), "{why}");
    }

    #[tokio::test]
    async fn all_messages_together_have_a_bound_and_free_it_when_they_are_read() {
        let budget = Budget::default();
        budget.all.store(MOST - 6, Ordering::Relaxed);
        let message: &[u8] = &[0, 0, 0, 0, 2, 1, 2];
        let refused = body(&budget, &[message]).collect().await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(budget.all.load(Ordering::Relaxed), MOST - 6);
        body(&budget, &[&message[..5], &message[5..6]]).collect().await.unwrap_err();
        budget.all.store(0, Ordering::Relaxed);
        body(&budget, &[message]).collect().await.unwrap();
        assert_eq!(budget.all.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_message_that_never_ends_is_given_up() {
        let first: Result<Frame<Bytes>, Infallible> = Ok(Frame::data(Bytes::from_static(&[0, 0, 0])));
        let endless = futures_util::StreamExt::chain(
            futures_util::stream::iter([first]),
            futures_util::stream::pending(),
        );
        let soon = Duration::from_millis(10);
        let refused = Bounded::within(StreamBody::new(endless), Budget::default(), soon).collect().await;
        assert_eq!(refused.unwrap_err().code(), Code::DeadlineExceeded);
    }
}
