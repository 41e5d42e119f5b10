//! Points in time, as inodes have them.

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds after that second.
    pub nanoseconds: u32,
}

impl Time {
    /// A whole second.
    pub const fn of_epoch(seconds: u64) -> Self {
        Time { seconds: seconds as i64, nanoseconds: 0 }
    }
}
