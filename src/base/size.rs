//! A number of bytes as people write it: `512MiB`, `4 GiB`.

use std::fmt;
use std::str::FromStr;

use indicatif::BinaryBytes;

use crate::base::count::counted;

/// An amount of memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Units after a number.
pub(crate) const UNITS: [(&str, u64); 6] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit =
            UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), factor)));
        let bytes = unit.and_then(|(number, factor)| number.parse::<u64>().ok()?.checked_mul(*factor));
        bytes.map(Bytes).ok_or_else(|| format!("`{text}` is not an amount such as 8GiB or 4096MiB"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BinaryBytes(self.0).fmt(f)
    }
}

/// How much of a download has been done: `37 % (14.6 of 39.7 MiB)`. The percentage is rounded down: 100 % is all of it.
pub(crate) fn share(done: u64, of: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let percent = (u128::from(done) * 100).checked_div(u128::from(of)).unwrap_or(100);
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| of >= *unit) else {
        return format!("{percent} % ({done} of {})", counted(of, "byte"));
    };
    let tenths = |bytes: u64| {
        let tenths = (u128::from(bytes) * 10 + u128::from(unit / 2)) / u128::from(unit);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    format!("{percent} % ({} of {} {name})", tenths(done), tenths(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_its_percentage_and_one_unit_for_both_amounts() {
        let told = |done, of| share(done, of);
        assert_eq!(told(15_292_974, 41_660_234), "36 % (14.6 of 39.7 MiB)");
        assert_eq!(told(0, 1_536), "0 % (0.0 of 1.5 KiB)");
        assert_eq!(told(1_023, 1_024), "99 % (1.0 of 1.0 KiB)");
        assert_eq!(told(0, 1), "0 % (0 of 1 byte)");
        assert_eq!(told(0, 0), "100 % (0 of 0 bytes)");
    }
}
