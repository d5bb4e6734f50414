//! The binary `hubplane`: all of it is `hubplane::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hubplane::cli::run()
}
