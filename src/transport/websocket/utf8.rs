//! Validates UTF-8 that arrives in pieces: a character may be split across fragments and reads (RFC 6455, section 8.1).

/// Checks text messages, one after the other.
#[derive(Debug, Default)]
pub(super) struct Utf8Check {
    /// The beginning of an incomplete character.
    partial: [u8; 4],
    length: usize,
}

impl Utf8Check {
    /// Checks the next piece of a message. Returns false if the message cannot be valid UTF-8, whatever follows.
    pub(super) fn feed(&mut self, mut piece: &[u8]) -> bool {
        while self.length > 0 {
            let Some((next, rest)) = piece.split_first() else { return true };
            self.partial[self.length] = *next;
            self.length += 1;
            piece = rest;
            match std::str::from_utf8(&self.partial[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_some() => return false,
                // An incomplete character has at most three bytes: the fourth makes it complete or invalid.
                Err(_) => {}
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let tail = &piece[error.valid_up_to()..];
                self.partial[..tail.len()].copy_from_slice(tail);
                self.length = tail.len();
                true
            }
        }
    }

    /// Ends the message. Returns false if it ends within a character.
    pub(super) fn end(&mut self) -> bool {
        std::mem::take(&mut self.length) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pieces(bytes: &[u8], size: usize) -> bool {
        let mut check = Utf8Check::default();
        bytes.chunks(size).all(|piece| check.feed(piece)) && check.end()
    }

    #[test]
    fn every_split_gives_the_same_result_as_the_whole() {
        let texts: [&[u8]; 9] = [
            "aé☃😀z\u{10ffff}".as_bytes(),
            b"",
            b"\xc3",
            b"\xc3(",
            b"\xed\xa0\x80",
            b"ok\xf4\x90\x80\x80",
            b"\xf0\x9f\x98",
            b"\xff",
            b"a\xe2\x98\x83\xe2\x98",
        ];
        for text in texts {
            for size in 1..6 {
                assert_eq!(in_pieces(text, size), std::str::from_utf8(text).is_ok(), "{text:x?} in {size}s");
            }
        }
    }
}
