//! The verdict of `--exit-code`: something would change. No failure, so that it is told without the word error.

use crate::base::error::{Advice, Exit};

/// The changes, in words.
#[derive(Debug, thiserror::Error)]
#[error("pending: {0}")]
pub(super) struct Pending(pub(super) String);

impl Advice for Pending {
    fn exit(&self) -> Exit {
        Exit::Pending
    }
}
