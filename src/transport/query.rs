//! Reads query strings as ASP.NET Core does: keys, integers and booleans
//! (tests/probes/FINDINGS.md#2, HTTP; probes `negotiate`, `endpoint`).

use http::Uri;

/// The value of a query key, or `None` if it is missing. Keys are case-insensitive. The values of a repeated key are
/// joined with a comma, which makes it an unknown id or an invalid number.
pub(super) fn value(uri: &Uri, key: &str) -> Option<String> {
    let mut found: Option<String> = None;
    for (name, value) in form_urlencoded::parse(uri.query()?.as_bytes()) {
        if name.eq_ignore_ascii_case(key) {
            match &mut found {
                None => found = Some(value.into_owned()),
                Some(joined) => {
                    joined.push(',');
                    joined.push_str(&value);
                }
            }
        }
    }
    found
}

/// Parses an integer like .NET's `int.TryParse`: with surrounding whitespace, a sign or leading zeros.
pub(super) fn integer(text: &str) -> Option<i32> {
    text.trim_matches(is_blank).parse().ok()
}

/// Whether the value of a key is true to .NET's `bool.TryParse`: case-insensitive, with surrounding whitespace; `1` is
/// not true.
pub(super) fn flag(uri: &Uri, key: &str) -> bool {
    value(uri, key).is_some_and(|text| text.trim_matches(is_blank).eq_ignore_ascii_case("true"))
}

/// The whitespace characters that .NET trims here.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value_of(uri: &str, key: &str) -> Option<String> {
        value(&uri.parse().unwrap(), key)
    }

    #[test]
    fn query_keys_are_case_insensitive_and_repeats_are_joined() {
        assert_eq!(value_of("/chat?ID=a", "id"), Some("a".to_owned()));
        assert_eq!(value_of("/chat?id=a&Id=b", "id"), Some("a,b".to_owned()));
        assert_eq!(value_of("/chat?i%64=a", "id"), Some("a".to_owned()));
        assert_eq!(value_of("/chat?id", "id"), Some(String::new()));
        assert_eq!(value_of("/chat?x=1;id=2", "id"), None);
        assert_eq!(value_of("/chat", "id"), None);
    }

    #[test]
    fn integers_are_parsed_as_in_dotnet() {
        for (text, number) in [("1", 1), (" 1", 1), ("1 ", 1), ("+1", 1), ("01", 1), ("-0", 0), ("-1", -1)] {
            assert_eq!(integer(text), Some(number), "{text:?}");
        }
        for text in ["", " ", "1.0", "99999999999", "0x1", "\u{661}", "1,000", "1,1", "abc"] {
            assert_eq!(integer(text), None, "{text:?}");
        }
    }

    #[test]
    fn booleans_are_parsed_as_in_dotnet() {
        let is_set = |query: &str| flag(&format!("/chat?{query}").parse().unwrap(), "on");
        assert!(is_set("on=true") && is_set("ON=True") && is_set("on=%20TRUE%20"));
        assert!(!is_set("on=1") && !is_set("on") && !is_set("off=true") && !is_set("on=true&on=true"));
    }
}
