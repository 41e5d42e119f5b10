//! Rules that hold for the whole house: the order of the roofs, the commands in the docs, the pipelines, every parser under damage,
//! and the lab without prebake.

mod action;
mod commands;
pub(crate) mod damage;
mod fuzz;
mod harness;
mod layers;
