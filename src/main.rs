//! The binary; [`prebake::cli`] has it all.

use std::process::ExitCode;

fn main() -> ExitCode {
    prebake::cli::main()
}
