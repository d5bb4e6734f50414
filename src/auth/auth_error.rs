//! Why a token does not count, in the words of ASP.NET Core's bearer handler (tests/probes/FINDINGS.md#2, HTTP).

use std::fmt::{self, Write as _};

use crate::calendar::civil_date;

/// Longer texts from a token are cut: the header is to be read by people.
const MAX_TEXT_LENGTH: usize = 200;

/// Credentials that are there and do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthError {
    /// It is no token.
    Malformed,
    /// The signature is missing, or not that of the key the token names.
    Signature,
    /// No key that is known made this signature.
    KeyNotFound,
    /// The keys have not been fetched yet, so nobody can tell: 503, not 401.
    KeysMissing,
    /// It has no `exp`.
    NoExpiration,
    /// When it ended, in seconds since 1970.
    Expired(u64),
    /// When it begins, in seconds since 1970.
    NotBefore(u64),
    /// It ends before it begins.
    Lifetime {
        /// `nbf`, in seconds since 1970.
        not_before: u64,
        /// `exp`, in seconds since 1970.
        expires: u64,
    },
    /// It is from somebody else.
    Issuer(String),
    /// It is for somebody else.
    Audience(String),
    /// A Rust host's own reason, which the client is told: [`AuthError::other`].
    Other(String),
}

impl AuthError {
    /// A Rust host's own reason why credentials do not count. The client is told it, in `WWW-Authenticate`.
    pub fn other(reason: impl Into<String>) -> Self {
        Self::Other(reason.into())
    }

    /// What the client is told, if there is anything to tell.
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
    /// What the log says: more than the client is told, where that is nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeysMissing => f.write_str("the keys to check tokens with have not been fetched yet"),
            other => f.write_str(other.description().as_deref().unwrap_or("it is not a JSON Web Token")),
        }
    }
}

impl std::error::Error for AuthError {}

/// A text out of a token where it stands quoted in a header.
fn sanitized(text: &str) -> String {
    let plain = |c: char| if (' '..='~').contains(&c) && c != '"' && c != '\\' { c } else { '?' };
    text.chars().take(MAX_TEXT_LENGTH).map(plain).collect()
}

fn sanitized_or_null(text: &str) -> String {
    if text.is_empty() { "(null)".to_owned() } else { sanitized(text) }
}

/// `MM/dd/yyyy HH:mm:ss` in UTC, as .NET's invariant culture writes it.
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
