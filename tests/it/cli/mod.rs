//! Tests of the command line itself: completions, man pages, reports for programs, and the terminal.

mod new;
mod nodes;
mod reference;
mod reports;
mod shells;
mod slips;
mod terminal;
mod watch;
