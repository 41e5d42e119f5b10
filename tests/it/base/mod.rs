//! Tests of what every writing verb stands on: atomic writes and unfinished files, when a run is killed, fails or loses power.

mod crashes;
pub(crate) mod interrupts;
