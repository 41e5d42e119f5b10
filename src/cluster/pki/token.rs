//! Bootstrap tokens: given in the description, or made once and kept.

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::error::Error;
use super::store::{private_directory, read_private};
use crate::base::disk;
use crate::cluster::description::{Cluster, Join, Secret};
use crate::cluster::place::Place;

/// Lengths of a token's id and of its secret.
const LENGTHS: (usize, usize) = (6, 16);
const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// The longest file that holds one.
const FILE: &str = "token";

/// Whether a text is a bootstrap token: `[a-z0-9]{6}.[a-z0-9]{16}` (bootstraptoken/v1 of kubeadm).
pub fn is_token(text: &str) -> bool {
    let letters =
        |part: &str, length| part.len() == length && part.bytes().all(|letter| LETTERS.contains(&letter));
    text.split_once('.').is_some_and(|(id, secret)| letters(id, LENGTHS.0) && letters(secret, LENGTHS.1))
}

/// A new token, from the system's random numbers.
pub fn generate() -> Secret {
    let mut text = Zeroizing::new(String::with_capacity(LENGTHS.0 + 1 + LENGTHS.1));
    while text.len() < LENGTHS.0 + 1 + LENGTHS.1 {
        if text.len() == LENGTHS.0 {
            text.push('.');
        }
        let mut byte = Zeroizing::new([0]);
        // aws-lc uses the kernel's random numbers; without them, the process ends.
        rand::fill(&mut *byte).unwrap_or_else(|_| std::process::abort());
        // 252 is the last multiple of 36: beyond it, some letters would be more likely than others.
        if byte[0] < 252 {
            text.push(char::from(LETTERS[usize::from(byte[0] % 36)]));
        }
    }
    Secret(text)
}

/// The cluster's token: the one that its description gives, else one that is made at first and kept.
///
/// # Errors
/// The kept one cannot be read or written, or has a wrong form.
pub fn ensure(place: &Place, cluster: &Cluster) -> Result<Secret, Error> {
    if let Join::Token(Some(given)) = &cluster.join {
        return Ok(Secret(given.0.clone()));
    }
    let path = place.own().join(FILE);
    if let Some((bytes, _)) = read_private(&path)? {
        let text = str::from_utf8(&bytes).map(str::trim_end).unwrap_or_default();
        return match is_token(text) {
            true => Ok(Secret(Zeroizing::new(text.to_owned()))),
            false => Err(Error::Token(path)),
        };
    }
    disk::create_directories(place.output())?;
    private_directory(&place.own())?;
    let token = generate();
    disk::write_secret(&path, format!("{}\n", *token.0).as_bytes())?;
    Ok(token)
}
