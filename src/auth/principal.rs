//! [`Principal`]: an authenticated user, with the user id, roles and expiration that SignalR reads from the claims.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::ids::UserId;

/// `ClaimTypes.NameIdentifier` in .NET.
const NAME_IDENTIFIER: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier";
/// `ClaimTypes.Role` in .NET.
const DOTNET_ROLE_CLAIM: &str = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role";

/// The claims that may hold the user's id; the first one that is present is used. ASP.NET Core maps the short names to
/// the long one (docs/builders/signalr-protocol.md#5).
const USER_ID_CLAIMS: [&str; 3] = [NAME_IDENTIFIER, "sub", "nameid"];
/// The claims that may hold roles; all of them are used.
const ROLE_CLAIMS: [&str; 3] = ["role", "roles", DOTNET_ROLE_CLAIM];

/// The last second that a .NET `DateTime` can represent. Later times are treated as this one.
const MAX_DOTNET_SECONDS: u64 = 253_402_300_799;

/// An authenticated user.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Principal {
    /// The user id, to which messages can be addressed; `None` if the claims contain none.
    pub user: Option<UserId>,
    /// The user's roles.
    pub roles: Vec<String>,
    /// All claims by name.
    pub claims: Map<String, Value>,
    /// When the authentication expires; `None` means never.
    pub expires: Option<SystemTime>,
}

impl fmt::Debug for Principal {
    /// Prints no claims, because they may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal").field("user", &self.user).field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Principal {
    /// Creates a user without roles, claims and expiration.
    pub fn named(user: impl Into<UserId>) -> Self {
        Self { user: Some(user.into()), ..Self::default() }
    }

    /// Adds roles.
    #[must_use]
    pub fn with_roles(mut self, roles: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.roles.extend(roles.into_iter().map(Into::into));
        self
    }

    /// Adds a claim. It replaces an existing claim of the same name.
    #[must_use]
    pub fn with_claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// Sets the time at which the authentication expires.
    #[must_use]
    pub fn with_expiration(mut self, expires: SystemTime) -> Self {
        self.expires = Some(expires);
        self
    }

    /// Creates a principal from the claims of a token. If `user_id_claim` is `None`, the user id comes from the claims
    /// that ASP.NET Core uses.
    pub(super) fn from_claims(claims: Map<String, Value>, user_id_claim: Option<&str>) -> Self {
        let first = |name: &str| claim_texts(claims.get(name)).find(|text| !text.is_empty());
        let user = match user_id_claim {
            Some(name) => first(name),
            None => USER_ID_CLAIMS.into_iter().find_map(first),
        };
        let roles = ROLE_CLAIMS.into_iter().flat_map(|name| claim_texts(claims.get(name))).collect();
        let expires = claims.get("exp").and_then(numeric_date).map(|at| UNIX_EPOCH + Duration::from_secs(at));
        Self { user: user.map(UserId::from), roles, claims, expires }
    }

    /// The values of a claim as text. A list has one value for each of its items, a missing claim has none.
    pub fn claim(&self, name: &str) -> impl Iterator<Item = String> {
        claim_texts(self.claims.get(name))
    }

    /// Whether the user has a role. The comparison is case-sensitive.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }
}

/// The values of a claim as text. Each item of a list is a value. Numbers and booleans are formatted as in JSON, and so
/// are objects.
pub(super) fn claim_texts(value: Option<&Value>) -> impl Iterator<Item = String> {
    let items = match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    items.iter().map(|item| match item {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// A NumericDate (RFC 7519, section 2) in whole seconds since 1970; `None` if the value is not one.
pub(super) fn numeric_date(value: &Value) -> Option<u64> {
    let Value::Number(number) = value else { return None };
    if let Some(whole) = number.as_u64() {
        return Some(whole.min(MAX_DOTNET_SECONDS));
    }
    let float = number.as_f64().filter(|float| float.is_finite() && *float >= 0.0)?;
    Some((float as u64).min(MAX_DOTNET_SECONDS))
}
