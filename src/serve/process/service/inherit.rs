//! Inherited file descriptors. The only module that needs `unsafe`.

use std::io;
use std::ops::Range;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};

/// Takes ownership of descriptors that were open before the process started; each must be a socket. A second call
/// returns nothing.
#[allow(unsafe_code)]
pub(crate) fn take(descriptors: Range<u32>) -> Vec<io::Result<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let own = |descriptor: u32| {
        // A descriptor that nobody opened, or that this process has used for something else since, must not get a
        // second owner.
        let target = std::fs::read_link(format!("/proc/self/fd/{descriptor}"))?;
        if !target.to_string_lossy().starts_with("socket:") {
            return Err(io::Error::other("it is not a socket"));
        }
        // SAFETY: the descriptor is open, it is a socket, and nobody else owns it: sd_listen_fds(3) promises it to this
        // process (LISTEN_PID was checked), `TAKEN` ensures that it is taken only once, and nothing closed it, since a
        // number is not reused while it is open. The caller runs before the process opens sockets of its own.
        let owned = unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) };
        fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
        Ok(owned)
    };
    descriptors.map(own).collect()
}
