//! Authorization: `authorize` of hubs and methods, and `allowed_groups` of `join` steps and streams (docs/design.md#3).

use super::Principal;
use crate::config::auth::{Authorize, GroupPattern};
use crate::config::steps::{Placeholder, TemplatePart};

/// Whether a user fulfils a rule. An anonymous client fulfils none.
pub(crate) fn permits(rule: &Authorize, principal: Option<&Principal>) -> bool {
    let Some(principal) = principal else { return false };
    let role = rule.roles.is_empty() || rule.roles.iter().any(|role| principal.has_role(role));
    role && rule.claims.iter().all(|(name, values)| principal.claim(name).any(|held| values.contains(&held)))
}

/// The values of the placeholders in a group pattern.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PatternContext<'a> {
    /// The caller's connection id.
    pub connection: &'a str,
    /// The caller's user id. If it is `None`, a pattern that contains it matches no group.
    pub user: Option<&'a str>,
    /// The hub's name.
    pub hub: &'a str,
}

/// Whether one of the patterns matches a group.
pub(crate) fn allows(patterns: &[GroupPattern], context: PatternContext<'_>, group: &str) -> bool {
    patterns.iter().any(|pattern| matches_pattern(pattern, context, group).unwrap_or(false))
}

fn matches_pattern(pattern: &GroupPattern, context: PatternContext<'_>, group: &str) -> Option<bool> {
    let mut rest = group;
    for part in &pattern.name.0 {
        let text = match part {
            TemplatePart::Text(text) => text.as_str(),
            TemplatePart::Placeholder(Placeholder::UserId) => context.user?,
            TemplatePart::Placeholder(Placeholder::ConnectionId) => context.connection,
            TemplatePart::Placeholder(Placeholder::Hub) => context.hub,
            TemplatePart::Placeholder(_) => return None,
        };
        rest = rest.strip_prefix(text)?;
    }
    Some(pattern.is_prefix || rest.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::steps::Template;
    use serde_json::json;

    fn principal(claims: serde_json::Value) -> Principal {
        let serde_json::Value::Object(claims) = claims else { panic!("an object") };
        Principal::from_claims(claims, None)
    }

    #[test]
    fn every_part_of_a_rule_must_hold() {
        let ann =
            principal(json!({ "sub": "ann", "roles": ["editor", "admin"], "tier": "gold", "level": 7, "beta": true,
            "http://schemas.microsoft.com/ws/2008/06/identity/claims/role": "owner" }));
        for (rule, permitted) in [
            (Authorize::user(), true),
            (Authorize::user().role("admin"), true),
            (Authorize::user().role("Admin"), false),
            (Authorize::user().role("root").role("owner"), true),
            (Authorize::user().claim("tier", "gold"), true),
            (Authorize::user().claim("tier", "silver").claim("tier", "gold"), true),
            (Authorize::user().claim("tier", "silver"), false),
            (Authorize::user().claim("level", "7").claim("beta", "true"), true),
            (Authorize::user().claim("missing", ""), false),
            (Authorize::user().role("admin").claim("tier", "silver"), false),
        ] {
            assert_eq!(permits(&rule, Some(&ann)), permitted, "{rule:?}");
            assert!(!permits(&rule, None), "{rule:?}");
        }
    }

    #[test]
    fn groups_match_patterns() {
        let pattern = |parts: Vec<TemplatePart>, open| GroupPattern { name: Template(parts), is_prefix: open };
        let user = || TemplatePart::Placeholder(Placeholder::UserId);
        let text = |text: &str| TemplatePart::Text(text.to_owned());
        let patterns = [
            pattern(vec![text("user:"), user()], false),
            pattern(vec![text("room-")], true),
            pattern(vec![text("lobby")], false),
        ];
        let context = |user| PatternContext { connection: "c", user, hub: "chat" };
        for (who, group, allowed) in [
            (Some("ann"), "user:ann", true),
            (Some("ann"), "user:anna", false),
            (Some("ann"), "user:bob", false),
            (None, "user:", false),
            (None, "user:ann", false),
            (None, "room-", true),
            (None, "room-7", true),
            (None, "Room-7", false),
            (None, "a room-7", false),
            (None, "lobby", true),
            (None, "lobby2", false),
            (None, "", false),
        ] {
            assert_eq!(allows(&patterns, context(who), group), allowed, "{who:?} {group}");
        }
        assert!(!allows(&[], context(None), "x"), "an empty list allows no group");
        assert!(allows(&[pattern(vec![], true)], context(None), "anything"));
    }
}
