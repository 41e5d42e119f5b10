//! A number of bytes as people write it: `512MiB`, `4 GiB`.

use std::fmt;
use std::str::FromStr;

use indicatif::BinaryBytes;

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Units that people write after a number.
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
