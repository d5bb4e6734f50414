//! The WebSocket protocol of RFC 6455 as a server reads it, without IO: bytes in, payload and events out.
//!
//! SignalR ignores where frames begin and end and whether they are text or binary
//! (docs/builders/signalr-protocol.md#1.6),  so payload is handed on as it comes: nothing waits for the end of a frame,
//! and a frame that announces a huge length costs what has come of it. Violations end with the codes of
//! tests/probes/FINDINGS.md#2 (WebSocket).
//!
//! tungstenite (the protocol half of `tokio-tungstenite`) parses and writes the frame headers and names the opcodes and
//! close codes. The state machine around them is ours: tungstenite's own assembles whole messages in a buffer per
//! connection and echoes the peer's close code, where SignalR's clients expect 1000.

use std::io::Cursor;

use bytes::{BufMut, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::utf8::Utf8Check;

/// The close code of an orderly end.
pub(super) const CLOSE_NORMAL: u16 = 1000;
/// The close code for a broken protocol.
pub(super) const CLOSE_PROTOCOL_ERROR: u16 = 1002;
/// The close code for text that is no UTF-8.
pub(super) const CLOSE_INVALID_PAYLOAD: u16 = 1007;

/// The longest header: two bytes, eight of length, four of mask.
const MAX_HEADER_BYTES: usize = 14;
/// The longest payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL_PAYLOAD: usize = 125;

/// Reads what one client sends.
#[derive(Debug, Default)]
pub(crate) struct FrameDecoder {
    /// The beginning of a header of which not all has come.
    header: Partial<MAX_HEADER_BYTES>,
    /// The frame whose payload is being read.
    frame: Option<CurrentFrame>,
    /// A data message that has begun and has not ended, and whether it is text.
    message: Option<bool>,
    utf8: Utf8Check,
    /// The payload of a control frame.
    control: Option<Box<Partial<MAX_CONTROL_PAYLOAD>>>,
}

/// What a piece of input came to, beside payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More may come.
    Open,
    /// A close frame came; what is behind it has not been read.
    Closed,
    /// The client broke the protocol; it is told this close code.
    Violation(u16),
}

#[derive(Clone, Copy, Debug)]
struct CurrentFrame {
    kind: FrameKind,
    is_final: bool,
    remaining: u64,
    /// The mask, turned so that its first byte is for the next byte of payload.
    mask: [u8; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameKind {
    Data,
    Ping,
    Pong,
    Close,
}

/// A few bytes of something that has not come whole.
#[derive(Debug)]
struct Partial<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Default for Partial<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}

impl<const N: usize> Partial<N> {
    fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Takes what fits; tells how much that was.
    fn take(&mut self, input: &[u8]) -> usize {
        let size = input.len().min(N - self.length);
        self.bytes[self.length..self.length + size].copy_from_slice(&input[..size]);
        self.length += size;
        size
    }
}

// === decoding ===

impl FrameDecoder {
    /// Reads `input`, which it unmasks in place. Payload of data frames goes to `payload`, whole pong frames for the
    /// pings in it to `pongs`. After anything but [`Progress::Open`] it must not be called again; what was
    /// appended before counts.
    pub(crate) fn feed(&mut self, mut input: &mut [u8], payload: &mut BytesMut, pongs: &mut BytesMut) -> Progress {
        loop {
            let Some(frame) = &mut self.frame else {
                match self.read_header(input) {
                    Ok(Some(used)) => input = &mut input[used..],
                    Ok(None) => return Progress::Open,
                    Err(code) => return Progress::Violation(code),
                }
                continue;
            };
            let size = usize::try_from(frame.remaining).unwrap_or(usize::MAX).min(input.len());
            let (piece, rest) = input.split_at_mut(size);
            frame.mask = unmask(piece, frame.mask);
            frame.remaining -= size as u64;
            input = rest;
            let frame = *frame;
            if let Err(progress) = self.read_payload(frame, piece, payload, pongs) {
                return progress;
            }
            if frame.remaining > 0 {
                return Progress::Open;
            }
            self.frame = None;
            // The next header begins here, or has to come first.
            if input.is_empty() {
                return Progress::Open;
            }
        }
    }

    /// Reads a header; tells how many bytes of the input it took, `None` if it is not whole yet (then all of them).
    fn read_header(&mut self, input: &[u8]) -> Result<Option<usize>, u16> {
        let had = self.header.length;
        let taken = self.header.take(input);
        let mut cursor = Cursor::new(self.header.filled());
        // What can be told from the first two bytes is told then: nobody waits for the rest of a bad frame.
        if let [first, second, ..] = *self.header.filled() {
            let control = first & 0x08 != 0;
            let masked = second & 0x80 != 0;
            if first & 0x70 != 0 || !masked || (control && (first & 0x80 == 0 || second & 0x7f > 125)) {
                return Err(CLOSE_PROTOCOL_ERROR);
            }
        }
        let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(|_| CLOSE_PROTOCOL_ERROR)? else {
            return Ok(None);
        };
        let end = cursor.position() as usize;
        self.header.length = 0;
        let kind = self.check_header(&header)?;
        // The top bit of a long length must be clear (RFC 6455, section 5.2).
        if length > i64::MAX as u64 {
            return Err(CLOSE_PROTOCOL_ERROR);
        }
        let mask = header.mask.ok_or(CLOSE_PROTOCOL_ERROR)?;
        self.frame = Some(CurrentFrame { kind, is_final: header.is_final, remaining: length, mask });
        debug_assert!(end <= had + taken);
        Ok(Some(end - had))
    }

    /// Whether a frame may come now.
    fn check_header(&mut self, header: &FrameHeader) -> Result<FrameKind, u16> {
        match header.opcode {
            OpCode::Data(Data::Continue) if self.message.is_some() => Ok(FrameKind::Data),
            OpCode::Data(kind @ (Data::Text | Data::Binary)) if self.message.is_none() => {
                self.message = Some(kind == Data::Text);
                Ok(FrameKind::Data)
            }
            OpCode::Control(Control::Ping) => Ok(FrameKind::Ping),
            OpCode::Control(Control::Pong) => Ok(FrameKind::Pong),
            OpCode::Control(Control::Close) => Ok(FrameKind::Close),
            _ => Err(CLOSE_PROTOCOL_ERROR),
        }
    }

    /// Takes a piece of a frame's payload, unmasked.
    fn read_payload(
        &mut self,
        frame: CurrentFrame,
        piece: &[u8],
        payload: &mut BytesMut,
        pongs: &mut BytesMut,
    ) -> Result<(), Progress> {
        match frame.kind {
            FrameKind::Data => {
                let ends = frame.remaining == 0 && frame.is_final;
                if self.message == Some(true) && !(self.utf8.feed(piece) && (!ends || self.utf8.end())) {
                    return Err(Progress::Violation(CLOSE_INVALID_PAYLOAD));
                }
                payload.extend_from_slice(piece);
                if ends {
                    self.message = None;
                }
            }
            FrameKind::Pong => {}
            FrameKind::Ping | FrameKind::Close => {
                let control = self.control.get_or_insert_default();
                control.take(piece);
                if frame.remaining == 0 {
                    let whole = self.control.take().unwrap_or_default();
                    if frame.kind == FrameKind::Close {
                        return Err(parse_close(whole.filled()));
                    }
                    pongs.put_u8(0x8a);
                    pongs.put_u8(whole.length as u8);
                    pongs.put_slice(whole.filled());
                }
            }
        }
        Ok(())
    }
}

/// What a close frame's payload means: nothing, or a legal code and a text (RFC 6455, section 7.4).
fn parse_close(payload: &[u8]) -> Progress {
    let legal = match payload {
        [] => true,
        [_] => false,
        [high, low, reason @ ..] => {
            CloseCode::from(u16::from_be_bytes([*high, *low])).is_allowed() && std::str::from_utf8(reason).is_ok()
        }
    };
    if legal { Progress::Closed } else { Progress::Violation(CLOSE_PROTOCOL_ERROR) }
}

/// Unmasks in place; returns the mask for what follows.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) -> [u8; 4] {
    let wide = u64::from(u32::from_ne_bytes(mask));
    let wide = wide << 32 | wide;
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        if let Ok(eight) = <[u8; 8]>::try_from(&*word) {
            word.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
        }
    }
    for (index, byte) in words.into_remainder().iter_mut().enumerate() {
        *byte ^= mask[index & 3];
    }
    let mut next = mask;
    next.rotate_left(bytes.len() & 3);
    next
}

// === encoding ===

/// A close frame without a text, unmasked.
pub(super) fn close_frame(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [0x88, 2, high, low]
}

#[cfg(test)]
mod tests;
