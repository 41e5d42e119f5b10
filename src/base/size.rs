//! A number of bytes as people write it: `512MiB`, `4 GiB`, `8455716864B`.

use std::fmt;
use std::str::FromStr;

use indicatif::BinaryBytes;

use crate::base::count::counted;

/// An amount of memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Units after a number; one that ends as another does stands before it.
pub(crate) const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit =
            UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), factor)));
        // Rust takes `+10` for 10, and people mean 10 more.
        let digits = |number: &&str| number.bytes().all(|byte| byte.is_ascii_digit());
        let unit = unit.filter(|(number, _)| digits(number));
        let bytes = unit.and_then(|(number, factor)| number.parse::<u64>().ok()?.checked_mul(*factor));
        let meant =
            |text: &str| meant(text).map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        bytes
            .map(Bytes)
            .ok_or_else(|| format!("`{text}` is not an amount such as 8GiB or 4096MiB{}", meant(text.trim())))
    }
}

/// The amount that other programs read in a number with half of a unit or none: qemu-img and truncate take `20G` for GiB.
fn meant(text: &str) -> Option<String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let count = number.parse::<u64>().ok()?;
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        // `8` of memory may be anything.
        "" if count < 1 << 20 => return None,
        "" | "b" => "B",
        "k" | "kb" | "kib" => "KiB",
        "m" | "mib" => "MiB",
        "g" | "gib" => "GiB",
        "t" | "tib" => "TiB",
        "mb" => "MB",
        "gb" => "GB",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
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
    fn an_amount_has_a_unit_and_half_of_one_is_told_whole() {
        assert_eq!("8455716864B".parse(), Ok(Bytes(8_455_716_864)));
        assert_eq!("20 GB".parse(), Ok(Bytes(20_000_000_000)));
        assert_eq!("3MiB".parse(), Ok(Bytes(3 << 20)));
        for (text, meant) in
            [("20G", "20GiB"), ("512 m", "512MiB"), ("20gb", "20GB"), ("8455716864", "8455716864B")]
        {
            let error = text.parse::<Bytes>().unwrap_err();
            assert!(error.ends_with(&format!("did you mean {meant}?")), "{error}");
        }
        for text in ["", "GiB", "+10GiB", "1.5TiB", "-1GiB", "99999999999GiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

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
