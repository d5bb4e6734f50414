//! `hubplane token`: prints a development token, and nothing else, on stdout.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use crate::auth::{TokenError, TokenRequest, mint};
use crate::config::Config;

use super::{EX_CONFIG, EX_USAGE, eprint_line, print_line};

/// Flags of `hubplane token`.
#[derive(Debug, clap::Args)]
pub(super) struct TokenFlags {
    /// The user's id
    #[arg(long, value_name = "USER")]
    user: String,
    /// A role; can be given several times
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// Another claim, as in tier=gold; can be given several times
    #[arg(long, value_name = "TYPE=VALUE")]
    claim: Vec<String>,
    /// How long the token is valid
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    expires: String,
}

/// Prints a token that a server with this configuration accepts.
pub(super) fn token(flags: TokenFlags, config: &Config) -> ExitCode {
    let token_request = match token_request(flags) {
        Ok(token_request) => token_request,
        Err(error) => {
            eprint_line(format_args!("error: {error}"));
            return ExitCode::from(EX_USAGE);
        }
    };
    match mint(&config.auth, &token_request, SystemTime::now()) {
        Ok(token) => {
            print_line(token);
            ExitCode::SUCCESS
        }
        Err(error) => {
            match error {
                TokenError::ReservedClaim(claim) => {
                    eprint_line(format_args!("error: the claim {claim} is set by the command itself (--expires)"));
                }
                other => eprint_line(format_args!("error: {other}")),
            }
            ExitCode::from(EX_CONFIG)
        }
    }
}

fn token_request(flags: TokenFlags) -> Result<TokenRequest, String> {
    let TokenFlags { user, role, claim, expires } = flags;
    let lifetime: Duration = humantime::parse_duration(&expires)
        .map_err(|_| "--expires must be a duration with a unit, such as 1h or 30m".to_owned())?;
    let mut request = role.into_iter().fold(TokenRequest::new(user, lifetime), TokenRequest::role);
    for text in claim {
        request = match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => request.claim(name, value),
            _ => return Err("--claim must be TYPE=VALUE, as in tier=gold".to_owned()),
        };
    }
    Ok(request)
}
