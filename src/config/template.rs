//! Parses templates, such as `{connection_id} joined {room}` (docs/design.md#3).

use super::problem::nearest;
use super::steps::{Placeholder, Template, TemplatePart};

/// The placeholders that are available in every step.
pub(super) const BUILT_IN_PLACEHOLDERS: [(&str, Placeholder); 3] =
    [("connection_id", Placeholder::ConnectionId), ("user_id", Placeholder::UserId), ("hub", Placeholder::Hub)];

/// Parses a template. `params` are the names of the method's values. The error says what would be valid.
pub(super) fn parse(text: &str, params: &[String]) -> Result<Template, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        literal.push_str(before);
        if let Some(after) = from.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = from.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else if let Some(inner) = from.strip_prefix('{') {
            let Some(end) = inner.find(['{', '}']).filter(|end| inner[*end..].starts_with('}')) else {
                return Err("has a lone {; write {{ for a literal brace".to_owned());
            };
            let placeholder = named(&inner[..end], params)?;
            if !literal.is_empty() {
                parts.push(TemplatePart::Text(std::mem::take(&mut literal)));
            }
            parts.push(TemplatePart::Placeholder(placeholder));
            rest = &inner[end + 1..];
        } else {
            return Err("has a lone }; write }} for a literal brace".to_owned());
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(TemplatePart::Text(literal));
    }
    Ok(Template(parts))
}

fn named(name: &str, params: &[String]) -> Result<Placeholder, String> {
    if let Some(index) = params.iter().position(|param| param == name) {
        return Ok(Placeholder::Param(index));
    }
    if let Some((_, placeholder)) = BUILT_IN_PLACEHOLDERS.iter().find(|(known, _)| *known == name) {
        return Ok(*placeholder);
    }
    let known: Vec<&str> =
        params.iter().map(String::as_str).chain(BUILT_IN_PLACEHOLDERS.iter().map(|(name, _)| *name)).collect();
    let hint = nearest(name, known.iter().copied());
    let hint = hint.map(|word| format!("did you mean {{{word}}}? ")).unwrap_or_default();
    let list: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
    Err(format!("has an unknown placeholder {{{name}}}; {hint}known here: {}", list.join(", ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(text: &str) -> TemplatePart {
        TemplatePart::Text(text.to_owned())
    }

    #[test]
    fn templates_are_parsed() {
        let params = ["room".to_owned(), "message".to_owned()];
        let placeholder = TemplatePart::Placeholder;
        for (source, parts) in [
            ("", vec![]),
            ("plain", vec![text("plain")]),
            ("{message}", vec![placeholder(Placeholder::Param(1))]),
            (
                "{connection_id} joined {room}",
                vec![placeholder(Placeholder::ConnectionId), text(" joined "), placeholder(Placeholder::Param(0))],
            ),
            ("{user_id}{hub}", vec![placeholder(Placeholder::UserId), placeholder(Placeholder::Hub)]),
            ("{{room}}", vec![text("{room}")]),
            ("a{{b}}c", vec![text("a{b}c")]),
            ("{{{room}}}", vec![text("{"), placeholder(Placeholder::Param(0)), text("}")]),
            ("é{room}ü", vec![text("é"), placeholder(Placeholder::Param(0)), text("ü")]),
        ] {
            assert_eq!(parse(source, &params).unwrap(), Template(parts), "{source}");
        }
    }

    #[test]
    fn invalid_templates_say_what_is_wrong() {
        let params = ["room".to_owned()];
        for (source, part) in [
            ("{", "lone {"),
            ("{room", "lone {"),
            ("{a{room}", "lone {"),
            ("{{{", "lone {"),
            ("}", "lone }"),
            ("a}b", "lone }"),
            ("{room}}", "lone }"),
            ("{rom}", "unknown placeholder {rom}; did you mean {room}?"),
            ("{Room}", "did you mean {room}?"),
            ("{ room }", "unknown placeholder"),
            ("{}", "unknown placeholder {}; known here: {room}, {connection_id}, {user_id}, {hub}"),
        ] {
            let error = parse(source, &params).unwrap_err();
            assert!(error.contains(part), "{source}: {error}");
        }
    }
}
