//! The bytes of a tree, joined and proved.

pub(crate) mod proofs;
pub(crate) mod segments;
