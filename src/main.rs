//! The binary; leaves everything to [`prebake::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    prebake::cli::main()
}
