//! [`AuthError`]: why a token is invalid, in the words of ASP.NET Core's bearer handler (tests/probes/FINDINGS.md#2,
//! HTTP).

use std::fmt::{self, Write as _};

use crate::calendar::civil_date;

/// The maximum length in characters of a text from a token that is repeated in a header.
const MAX_TEXT_LENGTH: usize = 200;

/// Why the credentials of a request are not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthError {
    /// The text is not a JSON Web Token.
    Malformed,
    /// The signature is missing, or was not made with the key that the token names.
    Signature,
    /// The signature was not made with any known key.
    KeyNotFound,
    /// The key set has not been fetched yet, so the token cannot be verified. The answer is 503 instead of 401.
    KeysMissing,
    /// The token has no `exp`.
    NoExpiration,
    /// The token has expired. Contains its `exp`, in seconds since 1970.
    Expired(u64),
    /// The token is not valid yet. Contains its `nbf`, in seconds since 1970.
    NotBefore(u64),
    /// The token expires before it becomes valid.
    Lifetime {
        /// `nbf`, in seconds since 1970.
        not_before: u64,
        /// `exp`, in seconds since 1970.
        expires: u64,
    },
    /// The token has another issuer than the configured ones. Contains its issuer.
    Issuer(String),
    /// The token has another audience than the configured ones. Contains its audiences.
    Audience(String),
    /// The host's own reason; see [`AuthError::other`].
    Other(String),
}

impl AuthError {
    /// Creates an error with the host's own reason. The client receives the reason in `WWW-Authenticate`.
    pub fn other(reason: impl Into<String>) -> Self {
        Self::Other(reason.into())
    }

    /// The reason as the client receives it, if it receives one.
    pub fn description(&self) -> Option<String> {
        Some(match self {
            Self::Malformed | Self::KeysMissing => return None,
            Self::Signature => "The signature is invalid".to_owned(),
            Self::KeyNotFound => "The signature key was not found".to_owned(),
            Self::NoExpiration => "The token has no expiration".to_owned(),
            Self::Expired(at) => format!("The token expired at '{}'", format_time(*at)),
            Self::NotBefore(at) => format!("The token is not valid before '{}'", format_time(*at)),
            Self::Lifetime { not_before, expires } => format!(
                "The token lifetime is invalid; NotBefore: '{}', Expires: '{}'",
                format_time(*not_before),
                format_time(*expires)
            ),
            Self::Issuer(issuer) => format!("The issuer '{}' is invalid", sanitized_or_null(issuer)),
            Self::Audience(audience) => format!("The audience '{}' is invalid", sanitized_or_null(audience)),
            Self::Other(reason) => sanitized(reason),
        })
    }

    /// The value of `WWW-Authenticate`.
    pub fn challenge(&self) -> String {
        let mut text = "Bearer error=\"invalid_token\"".to_owned();
        if let Some(description) = self.description() {
            let _ = write!(text, ", error_description=\"{description}\"");
        }
        text
    }
}

impl fmt::Display for AuthError {
    /// Writes the reason for the log. Unlike [`AuthError::description`], it always has a text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeysMissing => f.write_str("the key set has not been fetched yet"),
            other => f.write_str(other.description().as_deref().unwrap_or("it is not a JSON Web Token")),
        }
    }
}

impl std::error::Error for AuthError {}

/// A text from a token, cut and without characters that could end the quoted string or the header.
fn sanitized(text: &str) -> String {
    let plain = |c: char| if (' '..='~').contains(&c) && c != '"' && c != '\\' { c } else { '?' };
    text.chars().take(MAX_TEXT_LENGTH).map(plain).collect()
}

fn sanitized_or_null(text: &str) -> String {
    if text.is_empty() { "(null)".to_owned() } else { sanitized(text) }
}

/// Formats a time in UTC like .NET's invariant culture: `MM/dd/yyyy HH:mm:ss`.
fn format_time(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_date(days.cast_signed());
    format!("{month:02}/{day:02}/{year:04} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted_as_in_dotnet() {
        for (seconds, text) in [
            (1_600_000_000, "09/13/2020 12:26:40"),
            (0, "01/01/1970 00:00:00"),
            (951_782_400, "02/29/2000 00:00:00"),
            (4_102_444_799, "12/31/2099 23:59:59"),
            (253_402_300_799, "12/31/9999 23:59:59"),
        ] {
            assert_eq!(format_time(seconds), text);
        }
    }

    #[test]
    fn a_token_cannot_inject_headers() {
        let refused = AuthError::Issuer("a\"b\\c\r\nSet-Cookie: x\u{e9}".to_owned());
        assert_eq!(
            refused.challenge(),
            "Bearer error=\"invalid_token\", error_description=\"The issuer 'a?b?c??Set-Cookie: x?' is invalid\""
        );
        assert!(AuthError::Audience("x".repeat(10_000)).challenge().len() < 400);
    }
}
