//! Tests of JSON strings: escaping, unescaping and checking.

use super::super::strings::{TextError, check, unescape, write_string};

fn written(text: &str) -> String {
    let mut out = Vec::new();
    write_string(&mut out, text);
    String::from_utf8(out).unwrap()
}

#[test]
fn strings_are_escaped_as_recorded() {
    for (text, json) in [
        ("<>&'+/ é ü ☃", r#""<>&'+/ é ü ☃""#),
        ("😀", r#""\uD83D\uDE00""#),
        ("\u{7f}\u{80}\u{a0}\u{2028}\u{feff}", r#""\u007F\u0080\u00A0\u2028\uFEFF""#),
        ("\u{1}\u{8}\u{c}\n\r\t\u{1f}\u{0}", r#""\u0001\b\f\n\r\t\u001F\u0000""#),
        ("a\"b\\c", r#""a\"b\\c""#),
        ("\u{3000}\u{e000}\u{378}\u{ffff}", r#""\u3000\uE000\u0378\uFFFF""#),
        ("", r#""""#),
    ] {
        assert_eq!(written(text), json);
    }
}

#[test]
fn every_character_round_trips() {
    for character in '\0'..=char::MAX {
        let text = character.to_string();
        let json = written(&text);
        let raw = &json.as_bytes()[1..json.len() - 1];
        assert_eq!(unescape(raw).unwrap(), text);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}

#[test]
fn lone_surrogates_and_invalid_utf8_are_distinguished() {
    for raw in [r"\ud83d", r"\ude00", r"\ud83dx", r"\ud83d\n", r"\ud83d\ud83d", r"\ude00\ud83d"] {
        assert_eq!(unescape(raw.as_bytes()), Err(TextError::Surrogate), "{raw}");
        assert_eq!(check(raw.as_bytes()), Err(TextError::Surrogate), "{raw}");
    }
    for raw in [&b"\xff"[..], b"a\\n\xc3", b"\xc3\\n"] {
        assert_eq!(unescape(raw), Err(TextError::Utf8));
        assert_eq!(check(raw), Err(TextError::Utf8));
    }
    // If there are two errors, both functions return the first one (found by fuzzing).
    for raw in [&b"\\ud83d\xff"[..], b"\xff\\ud83d"] {
        assert_eq!(unescape(raw).map(drop), check(raw));
    }
    assert_eq!(unescape(br"\ud83d\ude00\/\u0041").unwrap(), "😀/A");
    assert!(matches!(unescape(b"plain").unwrap(), std::borrow::Cow::Borrowed("plain")));
}
