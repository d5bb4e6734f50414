//! UTF-8 that comes in pieces: a character may be torn over fragments and reads (RFC 6455, section 8.1).

/// Checks one text message after the other.
#[derive(Debug, Default)]
pub(super) struct Utf8Check {
    /// The beginning of a character of which not all has come.
    partial: [u8; 4],
    length: usize,
}

impl Utf8Check {
    /// Takes the next piece of a message. False: it is no UTF-8, whatever may follow.
    pub(super) fn feed(&mut self, mut piece: &[u8]) -> bool {
        while self.length > 0 {
            let Some((next, rest)) = piece.split_first() else { return true };
            self.partial[self.length] = *next;
            self.length += 1;
            piece = rest;
            match std::str::from_utf8(&self.partial[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_some() => return false,
                // A torn character is at most three bytes: a fourth makes it whole or wrong.
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

    /// The message ends here. False: within a character.
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
