//! `hubplane check`, and the check that the configuration cannot do by itself.

use std::process::ExitCode;

use hubplane::config::effective;
use hubplane::config::load::{DEFAULT_FILE, Invalid, Loaded};

use super::{complain, refuse, say};

/// Notes on keys of a connection string that are accepted without effect, or what is wrong. The one place where the
/// Redis backplane's own parser is asked before anything is bound.
pub(super) fn check_connection(connection: &str) -> Result<Vec<String>, Vec<String>> {
    hubplane::backplane::redis::check_connection(connection)
}

/// Prints the effective configuration, or every problem.
pub(super) fn check(loaded: Result<Loaded, Invalid>) -> ExitCode {
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
    say("# The configuration is valid.");
    ExitCode::SUCCESS
}
