//! Decodes WebSocket frames (RFC 6455) for a server, without I/O: bytes in, payload and events out.
//!
//! SignalR ignores frame boundaries and the difference between text and binary frames
//! (docs/builders/signalr-protocol.md#1.6), so payload is passed on as it arrives. Nothing waits for the end of a
//! frame, and a frame that announces a huge length takes only the memory of the part that has arrived. Violations end
//! with the close codes of tests/probes/FINDINGS.md#2 (WebSocket).
//!
//! tungstenite (the protocol half of `tokio-tungstenite`) parses the frame headers and defines the opcodes and close
//! codes. The state machine around them is our own: tungstenite's assembles whole messages in a buffer per connection
//! and echoes the peer's close code, but SignalR clients expect 1000.

use std::io::Cursor;

use bytes::{BufMut, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::utf8::Utf8Check;

/// The close code of a normal closure.
pub(super) const CLOSE_NORMAL: u16 = 1000;
/// The close code for a violation of the protocol.
pub(super) const CLOSE_PROTOCOL_ERROR: u16 = 1002;
/// The close code for text that is not valid UTF-8.
pub(super) const CLOSE_INVALID_PAYLOAD: u16 = 1007;

/// The longest frame header: two bytes, eight bytes of length, four bytes of mask.
const MAX_HEADER_BYTES: usize = 14;
/// The longest payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL_PAYLOAD: usize = 125;

/// Decodes the frames of one client.
#[derive(Debug, Default)]
pub(crate) struct FrameDecoder {
    /// The beginning of an incomplete header.
    header: Partial<MAX_HEADER_BYTES>,
    /// The frame whose payload is being read.
    frame: Option<CurrentFrame>,
    /// Whether the current data message is text; `None` between messages.
    message: Option<bool>,
    utf8: Utf8Check,
    /// The payload of the current control frame.
    control: Option<Box<Partial<MAX_CONTROL_PAYLOAD>>>,
}

/// The state of the stream after a piece of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More may come.
    Open,
    /// A close frame has arrived; nothing after it has been decoded.
    Closed,
    /// The client has violated the protocol; it is closed with this code.
    Violation(u16),
}

#[derive(Clone, Copy, Debug)]
struct CurrentFrame {
    kind: FrameKind,
    is_final: bool,
    remaining: u64,
    /// The mask, rotated so that its first byte applies to the next byte of payload.
    mask: [u8; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameKind {
    Data,
    Ping,
    Pong,
    Close,
}

/// The bytes received so far of something that is at most `N` bytes long.
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

    /// Appends as much of `input` as fits, and returns how much that was.
    fn take(&mut self, input: &[u8]) -> usize {
        let size = input.len().min(N - self.length);
        self.bytes[self.length..self.length + size].copy_from_slice(&input[..size]);
        self.length += size;
        size
    }
}

// === decoding ===

impl FrameDecoder {
    /// Decodes `input`, which is unmasked in place. The payload of data frames is appended to `payload`, and complete
    /// pong frames that answer the pings are appended to `pongs`. After anything but [`Progress::Open`] this must not
    /// be called again; what has been appended by then is valid.
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
            // Without more input there is no header to read yet.
            if input.is_empty() {
                return Progress::Open;
            }
        }
    }

    /// Reads a frame header and returns how many bytes of the input belong to it. Returns `None` if the header is still
    /// incomplete; then all of the input has been consumed.
    fn read_header(&mut self, input: &[u8]) -> Result<Option<usize>, u16> {
        let had = self.header.length;
        let taken = self.header.take(input);
        let mut cursor = Cursor::new(self.header.filled());
        // Check the first two bytes as soon as they are there, so that a bad frame is rejected without waiting for the
        // rest of it.
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

    /// Checks whether a frame is allowed in the current state, and notes the beginning of a message.
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

    /// Processes an unmasked piece of a frame's payload.
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

/// Checks the payload of a close frame: it is empty, or a valid close code and a UTF-8 text (RFC 6455, section 7.4).
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

/// Unmasks `bytes` in place, and returns the mask for the bytes that follow.
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
