//! The exit codes in words, for help and manual pages.

use crate::base::error::Exit;
use crate::base::unfinished::INTERRUPTED;

/// Each code with its meaning.
pub(super) fn codes() -> impl Iterator<Item = (i32, &'static str)> {
    let failures = Exit::ALL.into_iter().map(|exit| (i32::from(exit as u8), exit.words()));
    [(0, "done")].into_iter().chain(failures).chain([(INTERRUPTED, "interrupted")])
}

/// All codes in one sentence.
pub(super) fn sentence() -> String {
    let codes: Vec<String> = codes().map(|(code, meaning)| format!("{code} {meaning}")).collect();
    format!("Exit codes: {}.", codes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts rely on the numbers. A code that is not in [`Exit::ALL`] leaves a gap, or one that is missing here.
    #[test]
    fn the_codes_of_the_program_are_told_in_order() {
        assert_eq!(
            sentence(),
            "Exit codes: 0 done, 1 failed, 2 usage, 3 config invalid, 4 integrity or closure, 5 signature or trust, \
             6 network, 7 unknown release, 8 timed out, 9 lock drift, 10 changes pending, 130 interrupted."
        );
    }
}
