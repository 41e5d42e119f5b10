//! Rules that hold for the whole house: the order of the roofs and their tests, the English of comments and documents, the paths and commands that they
//! name, the guides, the pipelines, every parser under damage, and the lab without prebake.

mod action;
mod commands;
mod container;
pub(crate) mod damage;
mod english;
mod folders;
mod fuzz;
mod guides;
mod harness;
mod layers;
mod modules;
mod names;
mod options;
mod packages;
mod paths;
pub(crate) mod rust;
mod texts;
