//! File descriptors that came with the process. The one place of the house that needs `unsafe`.

use std::io;
use std::ops::Range;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};

/// Becomes the owner of descriptors that were open before the process began, each where it is one of a socket. The second
/// call gives nothing.
#[allow(unsafe_code)]
pub fn take(descriptors: Range<u32>) -> Vec<io::Result<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let own = |descriptor: u32| {
        // A descriptor that nobody opened, or that this process opened since for something else, must not be owned twice.
        let target = std::fs::read_link(format!("/proc/self/fd/{descriptor}"))?;
        if !target.to_string_lossy().starts_with("socket:") {
            return Err(io::Error::other("it is not a socket"));
        }
        // SAFETY: the descriptor is open, it is a socket, and nobody else owns it: sd_listen_fds(3) promises it to this
        // process (LISTEN_PID was checked), `TAKEN` has it taken once, and nothing closed it, for a number is not given to
        // another file while it is open. The caller asks before the process opens sockets of its own.
        let owned = unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) };
        fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
        Ok(owned)
    };
    descriptors.map(own).collect()
}
