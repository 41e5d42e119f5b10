//! Tests of the command line itself: completions, man pages, and reports for programs.

mod new;
mod nodes;
mod reports;
mod shells;
mod slips;
