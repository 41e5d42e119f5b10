//! Options that a client asks for beyond RFC 1350, and what it is granted.

use std::time::Duration;

use super::packet::{Code, Refusal};

/// Default block size in bytes, from RFC 1350.
const BLOCK: u16 = 512;
/// The smallest and largest block size of RFC 2348.
const BLOCKS: (u64, u64) = (8, 65_464);
/// The largest granted block size: an Ethernet frame without fragments, 1500 − 20 (IP) − 8 (UDP) − 4. Firmware often
/// loses the second half of a fragmented packet.
const LARGEST_BLOCK: u16 = 1468;
/// Most blocks to send without an answer. RFC 7440 allows 65535, which fits in no socket buffer.
const LARGEST_WINDOW: u16 = 64;

/// The parameters of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Bytes per block.
    pub block: u16,
    /// Blocks to send before waiting for an answer.
    pub window: u16,
    /// How long to wait for an answer, if the client sets it; otherwise the server measures.
    pub timeout: Option<Duration>,
}

/// A grant, and the options to acknowledge. If there are none, no OACK is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The parameters of the transfer.
    pub grant: Grant,
    /// Names and values of the OACK.
    pub told: Vec<(&'static str, u64)>,
}

/// Grants the requested options, or less, for a file of `size` bytes. Unknown options and values beyond the RFCs'
/// limits are ignored, as RFC 2347 requires; the client then goes without.
///
/// # Errors
/// A value is not a number.
pub fn negotiate(asked: &[(String, String)], size: u64) -> Result<Negotiated, Refusal> {
    let mut grant = Grant { block: BLOCK, window: 1, timeout: None };
    let mut told = Vec::new();
    for (name, value) in asked {
        let number = || {
            let digits = (1..=20).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
            let refusal = Refusal { code: Code::Negotiation, why: "the value of an option is not a number" };
            value.parse::<u64>().ok().filter(|_| digits).ok_or(refusal)
        };
        match name.as_str() {
            "blksize" => {
                let wanted = number()?;
                if (BLOCKS.0..=BLOCKS.1).contains(&wanted) {
                    grant.block = (wanted as u16).min(LARGEST_BLOCK);
                    told.push(("blksize", grant.block.into()));
                }
            }
            "tsize" => {
                number()?;
                told.push(("tsize", size));
            }
            "timeout" => {
                let seconds = number()?;
                if (1..=255).contains(&seconds) {
                    grant.timeout = Some(Duration::from_secs(seconds));
                    told.push(("timeout", seconds));
                }
            }
            "windowsize" => {
                let wanted = number()?;
                if (1..=u16::MAX.into()).contains(&wanted) {
                    grant.window = (wanted as u16).min(LARGEST_WINDOW);
                    told.push(("windowsize", grant.window.into()));
                }
            }
            _ => {}
        }
    }
    Ok(Negotiated { grant, told })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(asked: &[(&str, &str)]) -> Result<Vec<(&'static str, u64)>, Code> {
        let asked: Vec<_> = asked.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        negotiate(&asked, 1000).map(|negotiated| negotiated.told).map_err(|refusal| refusal.code)
    }

    #[test]
    fn options_are_granted_up_to_a_limit() {
        assert_eq!(
            told(&[("blksize", "1024"), ("tsize", "0")]),
            Ok(vec![("blksize", 1024), ("tsize", 1000)])
        );
        assert_eq!(told(&[("blksize", "65464")]), Ok(vec![("blksize", 1468)]));
        assert_eq!(
            told(&[("windowsize", "8"), ("timeout", "3")]),
            Ok(vec![("windowsize", 8), ("timeout", 3)])
        );
        assert_eq!(told(&[("windowsize", "65535")]), Ok(vec![("windowsize", 64)]));
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_passed_over() {
        let passed = [("multicast", ""), ("x", "y"), ("blksize", "7"), ("timeout", "0"), ("windowsize", "0")];
        for option in passed {
            assert_eq!(told(&[option]), Ok(vec![]), "{option:?}");
        }
        assert_eq!(told(&[("blksize", "65465"), ("timeout", "256"), ("windowsize", "65536")]), Ok(vec![]));
    }

    #[test]
    fn a_value_that_is_no_number_is_refused() {
        for value in ["", "x", "-1", "+8", "1.5", "99999999999999999999999", " 8"] {
            for name in ["blksize", "tsize", "timeout", "windowsize"] {
                assert_eq!(told(&[(name, value)]), Err(Code::Negotiation), "{name} {value:?}");
            }
        }
    }
}
