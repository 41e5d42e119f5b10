//! Signatures, and the keys that must have made them.
//!
//! ```text
//!   vendor's release   bytes, .sig ──▶ openpgp ── pin (primary fingerprint) ──▶ signed, or why not
//!   our artifacts      bytes, .minisig ─▶ minisign ─┐
//!   provenance         envelope ────────▶ dsse ─────┴─▶ signers::Trust::judge ──▶ Proof
//!                                                         keys, threshold ▲
//!                                                               rotation ─┘   (this key follows me)
//!   HTTPS              certificate ──▶ tls ── named certificates, or the system's authorities
//!   certificates of one's own  pem ─▶ certificate ─▶ authority ─▶ pairs: the files of both sides of mutual TLS
//! ```
//! Owns the verdicts: which signature counts, which key made it, and whether enough keys did. Only [`signers`] makes a `Proof`, and
//! only [`openpgp`] compares with a [`pin`]. Primitives are other people's: rPGP, dalek, BLAKE2, scrypt, rustls, rcgen.
//!
//! Leaves to `source` how keys and signatures are fetched, to `store` that unverified bytes get no name, to `tree::bundle` the
//! memory of a site, and to `cli` how people name keys.

pub(crate) mod authority;
pub(crate) mod certificate;
pub mod dsse;
pub mod minisign;
pub mod openpgp;
pub(crate) mod pairs;
pub(crate) mod pem;
pub(crate) mod pin;
pub mod rotation;
pub mod signers;
pub(crate) mod tls;
