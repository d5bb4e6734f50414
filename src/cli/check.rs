//! `hubplane check`: prints the effective configuration, or every problem.

use std::process::ExitCode;

use crate::config::effective;
use crate::config::load::{ConfigError, DEFAULT_FILE, LoadedConfig};

use super::{eprint_line, print_line, print_problems};

/// Prints the effective configuration and hints, or every problem.
pub(super) fn check(loaded: Result<LoadedConfig, ConfigError>) -> ExitCode {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(invalid) => return print_problems(&invalid),
    };
    match &loaded.file {
        Some(path) => print_line(format_args!("# Configuration file: {}", path.display())),
        None => print_line(format_args!(
            "# Configuration file: none ({DEFAULT_FILE} does not exist); the built-in default is used"
        )),
    }
    print_line(effective::print(&loaded));
    for warning in &loaded.warnings {
        eprint_line(format_args!("warning: {warning}"));
    }
    for hint in &loaded.hints {
        print_line(format_args!("# Hint: {hint}."));
    }
    print_line("# The configuration is valid.");
    ExitCode::SUCCESS
}
