//! What a client asks for beyond RFC 1350, and what it is granted.

use std::time::Duration;

use super::packet::{Code, Refusal};

/// Bytes of a block without an option, by RFC 1350.
const BLOCK: u16 = 512;
/// The smallest and largest that RFC 2348 knows.
const BLOCKS: (u64, u64) = (8, 65_464);
/// The largest that is granted: what an Ethernet frame carries without fragments, 1500 − 20 (IP) − 8 (UDP) − 4. Firmware
/// tends to lack the other half of a fragment.
const LARGEST_BLOCK: u16 = 1468;
/// Most blocks that are sent without an answer; RFC 7440 allows 65535, which nobody's socket buffer holds.
const LARGEST_WINDOW: u16 = 64;

/// How a file is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Bytes of a block.
    pub block: u16,
    /// Blocks that are sent before an answer is awaited.
    pub window: u16,
    /// How long an answer is awaited, if the client wants to say it; the server measures otherwise.
    pub timeout: Option<Duration>,
}

/// A grant, and the options that the client is told of: none, and there is no OACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// How the file is sent.
    pub grant: Grant,
    /// Names and values of the OACK.
    pub told: Vec<(&'static str, u64)>,
}

/// Grants what is asked for, or less of it, for a file of so many bytes. What is unknown or beyond the RFCs' limits is
/// passed over, as RFC 2347 wants it; the client then goes without.
///
/// # Errors
/// A value that is no number.
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
