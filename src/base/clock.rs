//! This machine's clock in verdicts that depend on it: a wrong clock makes good signatures look forged.
//!
//! A server without a network has no time but that of its CMOS battery. Code that judges a time uses this module, so
//! that people are told to check the clock before they suspect anything else.

use std::time::{Duration, SystemTime};

use humantime::{format_rfc3339_millis, format_rfc3339_seconds};

/// The way in which a time was found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is in the future. Nobody signs in the future, so the clock is most likely behind.
    ToCome,
    /// It is in the past, by this clock.
    Lapsed,
}

/// 2026-11-01 in seconds since 1970: nobody ran this program earlier, whatever the clock says.
const WRITTEN: u64 = 1_793_491_200;

/// The same, counted from 1970: the earliest time that can be.
pub(crate) const EARLIEST: Duration = Duration::from_secs(WRITTEN);

/// The last millisecond of the year 9999, counted from 1970. RFC 3339 cannot express later times.
pub(crate) const LAST: Duration = Duration::from_millis(253_402_300_799_999);

/// Advice that begins with this machine's clock; `otherwise` is what to do if the clock is right.
pub(crate) fn first(now: SystemTime, judgement: Judgement, otherwise: &str) -> String {
    let says = date(now);
    match is_behind(now) || judgement == Judgement::ToCome {
        true => format!(
            "set this machine's clock first: it shows {says} (`date -u`, `timedatectl set-time`); if that is right, {otherwise}"
        ),
        false => {
            format!("this machine's clock says {says}: if that is wrong, set it first; else {otherwise}")
        }
    }
}

/// The nearest time from 1970 to 9999. RFC 3339 and HTTP have no commonly readable form for other times, and libraries
/// panic at them. No other module formats times for people or protocols itself (`clippy.toml`).
pub(crate) fn shown(time: SystemTime) -> SystemTime {
    time.clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + LAST)
}

/// Whether a time has a form in RFC 3339 and HTTP.
pub(crate) fn has_form(time: SystemTime) -> bool {
    shown(time) == time
}

/// A time for messages and documents: RFC 3339 in UTC to the second, from 1970 to 9999.
#[expect(clippy::disallowed_methods, reason = "within what they can write")]
pub(crate) fn date(time: SystemTime) -> String {
    format_rfc3339_seconds(shown(time)).to_string()
}

/// The same form, to the millisecond.
#[expect(clippy::disallowed_methods, reason = "within what they can write")]
pub(crate) fn date_to_the_millisecond(time: SystemTime) -> String {
    format_rfc3339_millis(shown(time)).to_string()
}

/// A time for HTTP headers (RFC 9110 §5.6.7), from 1970 to 9999.
#[expect(clippy::disallowed_methods, reason = "within what they can write")]
pub(crate) fn http_date(time: SystemTime) -> String {
    httpdate::fmt_http_date(shown(time))
}

/// Whether the clock is before the day on which this was written.
pub(crate) fn is_behind(now: SystemTime) -> bool {
    now.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since.as_secs() < WRITTEN)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A clock beyond the year 9999 or before 1970 made an answer panic, which aborted the server.
    #[test]
    fn any_time_can_be_written() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1_000_000_000);
        for (time, year) in
            [(at(300_000_000_000), "9999"), (before, "1970"), (at(1 << 62), "9999"), (at(WRITTEN), "2026")]
        {
            for text in [date(time), date_to_the_millisecond(time), http_date(time)] {
                assert!(text.contains(year), "{text}");
            }
            assert_eq!(has_form(time), year == "2026");
        }
    }

    #[test]
    fn a_clock_is_suspected_first_and_named_with_its_date() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let dead = first(at(1_262_304_000), Judgement::Lapsed, "get another one");
        assert!(dead.starts_with("set this machine's clock first: it shows 2010-01-01T00:00:00Z"), "{dead}");
        let to_come = first(at(WRITTEN + 1), Judgement::ToCome, "get another one");
        assert!(
            to_come.starts_with("set this machine's clock first") && to_come.ends_with("get another one"),
            "{to_come}"
        );
        let lapsed = first(at(WRITTEN + 1), Judgement::Lapsed, "get another one");
        assert!(
            lapsed.contains("2026-11-01") && lapsed.contains("if that is wrong, set it first"),
            "{lapsed}"
        );
    }
}
