//! A reader that fails instead of letting its caller fill a disk.

use std::io::{self, Read};

/// Fails after a number of bytes, and remembers that, because decoders may wrap the error into their own.
pub(crate) struct Limited<R> {
    inner: R,
    left: u64,
    exceeded: bool,
}

impl<R> Limited<R> {
    /// Lets `bytes` bytes pass.
    pub(crate) fn new(inner: R, bytes: u64) -> Self {
        Limited { inner, left: bytes, exceeded: false }
    }

    /// Bytes that may still pass.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Whether it failed because of the limit.
    pub(crate) fn exceeded(&self) -> bool {
        self.exceeded
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.exceeded = true;
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it unpacks to more than the limit"));
            }
        }
        Ok(read)
    }
}
