//! Signatures and the keys that must have made them: OpenPGP, minisign, thresholds, rotations, DSSE.

pub mod dsse;
pub mod minisign;
pub mod openpgp;
pub mod pin;
pub mod rotation;
pub mod signers;
pub mod tls;
