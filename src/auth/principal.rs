//! Who somebody is: the claims of a token, and what SignalR reads out of them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::ids::UserId;

/// What .NET calls `ClaimTypes.NameIdentifier`.
const NAME_IDENTIFIER: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier";
/// What .NET calls `ClaimTypes.Role`.
const DOTNET_ROLE_CLAIM: &str = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role";

/// The claims that hold the user's id, the first that is there counts: the reference maps the short names to the long
/// one (docs/builders/signalr-protocol.md#5).
const USER_ID_CLAIMS: [&str; 3] = [NAME_IDENTIFIER, "sub", "nameid"];
/// The claims that hold roles; all count.
const ROLE_CLAIMS: [&str; 3] = ["role", "roles", DOTNET_ROLE_CLAIM];

/// The last second a .NET DateTime holds; what is later never comes.
const MAX_DOTNET_SECONDS: u64 = 253_402_300_799;

/// Somebody who has proved who they are.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Principal {
    /// Whom messages to a user reach; None where the claims name nobody.
    pub user: Option<UserId>,
    /// Their roles.
    pub roles: Vec<String>,
    /// Everything that is said of them, by name.
    pub claims: Map<String, Value>,
    /// When this ends; None is never.
    pub expires: Option<SystemTime>,
}

impl fmt::Debug for Principal {
    /// Without the claims: they are nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal").field("user", &self.user).field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Principal {
    /// A user without roles and claims, for whom nothing ends.
    pub fn named(user: impl Into<UserId>) -> Self {
        Self { user: Some(user.into()), ..Self::default() }
    }

    /// The same with more roles.
    #[must_use]
    pub fn with_roles(mut self, roles: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.roles.extend(roles.into_iter().map(Into::into));
        self
    }

    /// The same with a claim; a claim of that name is replaced.
    #[must_use]
    pub fn with_claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// The same, valid until this time.
    #[must_use]
    pub fn with_expiration(mut self, expires: SystemTime) -> Self {
        self.expires = Some(expires);
        self
    }

    /// From the claims of a token. `user_id_claim` None is the reference's.
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

    /// The values of a claim as text; none where it is not there.
    pub fn claim(&self, name: &str) -> impl Iterator<Item = String> {
        claim_texts(self.claims.get(name))
    }

    /// Whether they have a role; letter case counts.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }
}

/// A claim's values as text: a list's items are several values, numbers and booleans stand as written, objects as JSON.
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

/// A NumericDate (RFC 7519, section 2) in whole seconds since 1970; None for what is none.
pub(super) fn numeric_date(value: &Value) -> Option<u64> {
    let Value::Number(number) = value else { return None };
    if let Some(whole) = number.as_u64() {
        return Some(whole.min(MAX_DOTNET_SECONDS));
    }
    let float = number.as_f64().filter(|float| float.is_finite() && *float >= 0.0)?;
    Some((float as u64).min(MAX_DOTNET_SECONDS))
}
