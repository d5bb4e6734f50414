//! `hubplane check`: the effective configuration, or every problem.

use std::process::ExitCode;

use crate::config::effective;
use crate::config::load::{ConfigError, DEFAULT_FILE, Loaded};

use super::{complain, refuse, say};

/// Prints the effective configuration, or every problem.
pub(super) fn check(loaded: Result<Loaded, ConfigError>) -> ExitCode {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(invalid) => return refuse(&invalid),
    };
    match &loaded.file {
        Some(path) => say(format_args!("# Configuration file: {}", path.display())),
        None => {
            say(format_args!("# Configuration file: none ({DEFAULT_FILE} is not here), the built-in default is used"))
        }
    }
    say(effective::print(&loaded));
    for warning in &loaded.warnings {
        complain(format_args!("warning: {warning}"));
    }
    for hint in &loaded.hints {
        say(format_args!("# Hint: {hint}."));
    }
    say("# The configuration is valid.");
    ExitCode::SUCCESS
}
