//! The binary `hubplane`. Its code is in `hubplane::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hubplane::cli::run()
}
