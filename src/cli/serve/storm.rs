//! Flags of `prebake serve` for booting many machines at once.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;

use clap::Args;

use crate::serve::files::proofs::Proofs;
use crate::serve::http::limits::Limits;
use crate::serve::http::server::Server;
use crate::serve::site::Site;

/// Heading of these options.
const HEADING: &str = "Many machines at once";

#[derive(Args)]
pub(crate) struct StormArgs {
    /// Send at most this much per second, shared evenly among clients: 800Mbit, 1Gbit, 20M (bytes)
    #[arg(help_heading = HEADING, long, value_name = "RATE", value_parser = bandwidth)]
    bandwidth: Option<NonZeroU64>,
    /// Let this many machines load at a time; further ones wait in iPXE, which shows their place and the remaining time
    #[arg(help_heading = HEADING, long, value_name = "N", value_parser = at_least_one)]
    max_boots: Option<NonZeroUsize>,
    /// Connections at a time; further ones wait
    #[arg(help_heading = HEADING, long, value_name = "N", default_value_t = Limits::default().connections)]
    max_connections: usize,
    /// Connections from one address; further ones are refused
    #[arg(help_heading = HEADING, long, value_name = "N", default_value_t = Limits::default().per_client)]
    max_per_client: usize,
    /// Check each file against the manifest before it is sent, and refuse what is corrupt; bundles are checked unless
    /// --rehash=false is given
    #[arg(help_heading = HEADING, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rehash: Option<bool>,
}

impl StormArgs {
    /// Applies the flags to a server.
    pub(crate) fn apply(&self, server: Server) -> Server {
        let limits = Limits {
            connections: self.max_connections.max(1),
            per_client: self.max_per_client.max(1),
            ..Limits::default()
        };
        let (limits, fewer) = limits.within_open_files();
        if let Some(fewer) = fewer {
            tell!("warning: {fewer}");
        }
        let mut server = server.limits(limits);
        if let Some(rate) = self.bandwidth {
            server = server.bandwidth(rate.get());
        }
        if let Some(most) = self.max_boots {
            server = server.max_boots(most.get());
        }
        server
    }

    /// The proofs by which files are checked before they are sent, if they are not trusted. Those of a bundle are not,
    /// because it was transported and only its index was verified.
    pub(crate) fn proofs(&self, site: &Site) -> Option<Arc<Proofs>> {
        let is_bundle = site.place.directory().is_none();
        self.rehash.unwrap_or(is_bundle).then(Arc::default)
    }
}

/// Parses a number of machines.
fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "a number from 1 on is required".to_owned())
}

/// Units, in bits: networks count in powers of 1000 bits, files in powers of 1024 bytes.
const UNITS: [(&str, u64); 7] = [
    ("kbit", 1_000),
    ("mbit", 1_000_000),
    ("gbit", 1_000_000_000),
    ("k", 8 << 10),
    ("m", 8 << 20),
    ("g", 8 << 30),
    ("b", 8),
];

/// Parses a rate, in bytes per second.
fn bandwidth(text: &str) -> Result<NonZeroU64, String> {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let digits = &text[..text.len() - unit.len()];
    if unit.is_empty() && !digits.is_empty() {
        return Err(format!("`{digits}` has no unit: {digits}Mbit, or {digits}M for MiB per second"));
    }
    let known = UNITS.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name));
    let (_, bits) = known.ok_or_else(|| format!("`{unit}` is not a unit: kbit, Mbit, Gbit, K, M or G"))?;
    let number: u64 = digits.parse().map_err(|_| "a number is required, such as 1Gbit".to_owned())?;
    let rate = number.checked_mul(*bits).and_then(|bits| NonZeroU64::new(bits / 8));
    rate.ok_or_else(|| "a rate must be at least 1 byte per second".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_in_bits_as_networks_have_them_or_in_bytes() {
        for (text, bytes) in
            [("1Gbit", 125_000_000), ("800mbit", 100_000_000), ("20M", 20 << 20), ("1000B", 1000)]
        {
            assert_eq!(bandwidth(text).unwrap().get(), bytes, "{text}");
        }
        for bad in [
            "",
            "10",
            "1000",
            "Gbit",
            "1Gibit",
            "0M",
            "1bit",
            "99999999999999999999G",
            "-1M",
            "99999999999999999G",
        ] {
            assert!(bandwidth(bad).is_err(), "{bad}");
        }
    }
}
