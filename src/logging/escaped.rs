//! Escapes untrusted text for log lines: it stays on one line, is limited in length, and cannot control a terminal.

use std::fmt::{self, Write as _};

/// The maximum number of characters written of a name: enough for the names that people choose.
const MAX_NAME: usize = 128;
/// The maximum number of characters written of a reason.
const MAX_REASON: usize = 512;

/// Displays a text that comes from outside this process in a form that is safe in a log line.
///
/// Control characters (line breaks, the ESC of terminal sequences), line separators and invisible or bidirectional
/// formatting characters are escaped, as in `\n` or `\u{202e}`. Text beyond the maximum length is replaced by `…`.
/// Quotes and backslashes are not changed, because both log formats quote fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a> {
    text: &'a str,
    max: usize,
}

impl<'a> Escaped<'a> {
    /// Escapes a name of a method, group, user, protocol, origin and so on. At most 128 characters are written.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, max: MAX_NAME }
    }
}

/// The escaped text of an error, for the field `reason` of a line. At most 512 characters are written.
pub(crate) fn reason(error: impl fmt::Display) -> String {
    let text = error.to_string();
    Escaped { text: &text, max: MAX_REASON }.to_string()
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.max;
        for c in self.text.chars() {
            let width = if needs_escape(c) { c.escape_default().len() } else { 1 };
            let Some(rest) = left.checked_sub(width) else { return f.write_char('…') };
            left = rest;
            if width == 1 { f.write_char(c) } else { write!(f, "{}", c.escape_default()) }?;
        }
        Ok(())
    }
}

/// Whether a character must be escaped.
fn needs_escape(c: char) -> bool {
    // Unicode's category Cc, then the characters of Cf, Zl and Zp that change or hide the text around them, and blank
    // letters.
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        Escaped::new(text).to_string()
    }

    #[test]
    fn ordinary_names_are_not_changed() {
        for name in ["SendMessage", "room 7", "CORP\\ann", "it's \"me\"", "Zoë", "रूम", "部屋", "👩", "", "a=b c=d"]
        {
            assert_eq!(escaped(name), name);
        }
    }

    #[test]
    fn line_breaks_and_terminal_sequences_are_escaped() {
        for (text, expected) in [
            ("x\n2026-01-01 ERROR forged", "x\\n2026-01-01 ERROR forged"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{1b}[31mred\u{1b}[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("\0\u{7f}\u{9b}", "\\u{0}\\u{7f}\\u{9b}"),
            ("\u{85}\u{2028}\u{2029}", "\\u{85}\\u{2028}\\u{2029}"),
            ("admin\u{202e}txt\u{2066}\u{200f}", "admin\\u{202e}txt\\u{2066}\\u{200f}"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn every_dangerous_character_is_escaped() {
        let harmful = (0..=0x2_ffff).filter_map(char::from_u32).filter(|c| {
            let code = u32::from(*c);
            c.is_control() || matches!(code, 0x61c | 0x200e | 0x200f | 0x2028..=0x202e | 0x2066..=0x2069)
        });
        for c in harmful {
            assert!(escaped(&c.to_string()).is_ascii(), "{c:?}");
        }
    }

    #[test]
    fn long_texts_are_truncated() {
        assert_eq!(escaped(&"x".repeat(128)), "x".repeat(128));
        assert_eq!(escaped(&"x".repeat(129)), format!("{}…", "x".repeat(128)));
        assert_eq!(escaped(&"é".repeat(10_000)).chars().count(), 129);
        // Escapes count with their escaped length, and are never cut in two.
        let lines = escaped(&"\n".repeat(10_000));
        assert_eq!(lines, format!("{}…", "\\n".repeat(64)));
        assert_eq!(Escaped { text: "\u{1b}\u{1b}", max: 7 }.to_string(), "\\u{1b}…");
        assert_eq!(reason("x".repeat(513)), format!("{}…", "x".repeat(512)));
    }
}
