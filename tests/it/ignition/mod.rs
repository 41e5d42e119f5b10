//! Tests of Butane and Ignition without a recipe: recorded answers of the real programs, and configs with mistakes.
//!
//! `judges` compares generated configs with the living programs.

mod flaws;
mod outside;
pub(crate) mod vectors;
