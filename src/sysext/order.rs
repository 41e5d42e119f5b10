//! The order in which extensions cover each other.
//!
//! systemd-sysext sorts their names by `strverscmp_improved` (the UAPI group's version format) and the last one wins,
//! so `net10` covers `net9`.

use std::cmp::Ordering;

/// Compares two names as systemd does.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        (a, b) = (from_valid(a), from_valid(b));
        // `~` marks a pre-release, so it sorts even before the end of the name.
        if let Some(decided) = separator(&mut a, &mut b, b'~') {
            return decided;
        }
        if a.is_empty() || b.is_empty() {
            return a.len().min(1).cmp(&b.len().min(1));
        }
        for mark in *b"-^." {
            if let Some(decided) = separator(&mut a, &mut b, mark) {
                return decided;
            }
        }
        let numeric = [a, b].iter().any(|rest| rest.first().is_some_and(u8::is_ascii_digit));
        let class = if numeric { u8::is_ascii_digit } else { u8::is_ascii_alphabetic };
        let (left, right) = (run(a, class), run(b, class));
        let decided = match numeric {
            true => number(left).cmp(&number(right)),
            false => left.cmp(right),
        };
        if decided.is_ne() {
            return decided;
        }
        (a, b) = (&a[left.len()..], &b[right.len()..]);
    }
}

/// Skips the characters before the next one that counts.
fn from_valid(rest: &[u8]) -> &[u8] {
    let counts = |byte: &u8| byte.is_ascii_alphanumeric() || b"~-^.".contains(byte);
    &rest[rest.iter().position(counts).unwrap_or(rest.len())..]
}

/// The side that has the separator is the lower one; if both have it, it is skipped.
fn separator(a: &mut &[u8], b: &mut &[u8], mark: u8) -> Option<Ordering> {
    match (a.first() == Some(&mark), b.first() == Some(&mark)) {
        (false, false) => None,
        (true, true) => {
            (*a, *b) = (&a[1..], &b[1..]);
            None
        }
        (has, has_not) => Some(has_not.cmp(&has)),
    }
}

fn run(rest: &[u8], class: fn(&u8) -> bool) -> &[u8] {
    &rest[..rest.iter().position(|byte| !class(byte)).unwrap_or(rest.len())]
}

/// A key that sorts like the number; no digits at all come first.
fn number(digits: &[u8]) -> (bool, usize, &[u8]) {
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    let value = &digits[zeros..];
    (!digits.is_empty(), value.len(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_as_systemd_orders_them() {
        let ascending = [
            "aa",
            "containerd",
            "containerd-config",
            "containerd-flatcar",
            "ext9",
            "ext10",
            "kubernetes~rc1",
            "kubernetes",
            "kubernetes-extra",
            "x.1",
            "x1",
            "zz",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("x007", "x7"), Ordering::Equal);
        assert_eq!(compare("a_b", "ab"), Ordering::Less, "`_` splits and does not count");
    }
}
