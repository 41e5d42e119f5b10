//! The bytes of a tree, joined and proved.

pub mod proofs;
pub mod segments;
