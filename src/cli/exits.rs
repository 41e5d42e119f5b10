//! The exit codes in words, for help and manual pages.

/// Each code with its meaning. `base/error.rs` has their type, except for the code of an interrupt.
pub(super) const CODES: [(u8, &str); 12] = [
    (0, "done"),
    (1, "failed"),
    (2, "usage"),
    (3, "config invalid"),
    (4, "integrity or closure"),
    (5, "signature or trust"),
    (6, "network"),
    (7, "unknown release"),
    (8, "timed out"),
    (9, "lock drift"),
    (10, "changes pending"),
    (130, "interrupted"),
];

/// All codes in one sentence.
pub(super) fn sentence() -> String {
    let codes: Vec<String> = CODES.iter().map(|(code, meaning)| format!("{code} {meaning}")).collect();
    format!("Exit codes: {}.", codes.join(", "))
}
