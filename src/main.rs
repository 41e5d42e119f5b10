//! The binary: parse, run, print the cause chain and the hint, choose the exit code.

use std::process::ExitCode;

use prebake::error::Exit;

fn main() -> ExitCode {
    let done = prebake::cli::Cli::from_command_line().run();
    prebake::unfinished::settle();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let chain = error.chain();
            // Findings already say `error[…]` and show their place, and to have work to do is no error; only other plain
            // messages need the word.
            let is_plain = !chain[0].starts_with("error") && !chain[0].starts_with("warning");
            let prefix = if is_plain && error.exit() != Exit::Pending { "error: " } else { "" };
            eprintln!("{prefix}{}", chain[0]);
            for cause in &chain[1..] {
                eprintln!("  because: {cause}");
            }
            if let Some(hint) = error.hint() {
                eprintln!("  hint: {hint}");
            }
            ExitCode::from(error.exit() as u8)
        }
    }
}
