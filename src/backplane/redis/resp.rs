//! Redis's own protocol (RESP): encodes commands and decodes replies.
//!
//! Replies are parsed by the `redis` crate. This module only finds where a reply ends, and reads the channel and the
//! payload of a published message as slices of the read buffer, because the crate's parser copies both. The crate's
//! connections are not used: its pub/sub queue is unbounded, and its client cannot pipeline commands in the order in
//! which they were issued.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use redis::Value;

/// One reply or pushed message from Redis.
#[derive(Debug)]
pub(super) enum RedisReply {
    /// A message on a subscribed channel.
    Message {
        /// The channel's name.
        channel: Bytes,
        /// The published bytes.
        payload: Bytes,
    },
    /// Confirms SUBSCRIBE for this channel.
    Subscribed(Bytes),
    /// Confirms UNSUBSCRIBE for this channel.
    Unsubscribed(Bytes),
    /// The reply to any other command.
    Value(Value),
}

/// The received bytes are not a valid reply.
#[derive(Debug, thiserror::Error)]
#[error("Redis sent an invalid reply: {0}")]
pub(super) struct InvalidReply(String);

/// Appends a command.
pub(super) fn command<'a>(out: &mut BytesMut, parts: impl ExactSizeIterator<Item = &'a [u8]>) {
    header(out, b'*', parts.len());
    for part in parts {
        header(out, b'$', part.len());
        out.put_slice(part);
        out.put_slice(b"\r\n");
    }
}

fn header(out: &mut BytesMut, kind: u8, length: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = length;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_u8(kind);
    out.put_slice(&digits[at..]);
    out.put_slice(b"\r\n");
}

/// Takes the first reply from the front of `buffer`; `None` if it is not complete yet.
pub(super) fn take_reply(buffer: &mut BytesMut) -> Result<Option<RedisReply>, InvalidReply> {
    let Some(length) = reply_length(buffer)? else { return Ok(None) };
    let frame = buffer.split_to(length).freeze();
    if matches!(frame.first(), Some(b'*' | b'>'))
        && let Some(reply) = pushed(&frame)?
    {
        return Ok(Some(reply));
    }
    // An error may repeat a part of the command, which need not be valid UTF-8.
    let text = (frame.first() == Some(&b'-')).then(|| String::from_utf8_lossy(&frame));
    let value = redis::parse_redis_value(text.as_deref().map_or(&frame[..], str::as_bytes));
    value.map(|value| Some(RedisReply::Value(value))).map_err(|error| InvalidReply(error.to_string()))
}

/// The line that begins at `at`, without its type byte and its line end, and the position of the next line.
fn line(buffer: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = buffer.get(at + 1..)?;
    let end = memchr::memchr(b'\n', rest)?;
    Some((rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]), at + 1 + end + 1))
}

fn number(line: &[u8]) -> Result<i64, InvalidReply> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| InvalidReply("a length that is not a number".to_owned()))
}

/// The length of the first reply in bytes; `None` if it is not complete yet. It only adds up lengths and allocates
/// nothing, so that a reply which announces a huge length costs no memory.
fn reply_length(buffer: &[u8]) -> Result<Option<usize>, InvalidReply> {
    let mut at = 0_usize;
    let mut left: u64 = 1;
    while left > 0 {
        let Some(kind) = buffer.get(at) else { return Ok(None) };
        let Some((head, next)) = line(buffer, at) else { return Ok(None) };
        left -= 1;
        at = next;
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {}
            b'$' | b'!' | b'=' => {
                if let Ok(length) = usize::try_from(number(head)?) {
                    at = at.saturating_add(length).saturating_add(2);
                    if at > buffer.len() {
                        return Ok(None);
                    }
                }
            }
            b'*' | b'>' | b'~' => left = left.saturating_add(u64::try_from(number(head)?).unwrap_or(0)),
            b'%' => left = left.saturating_add(u64::try_from(number(head)?).unwrap_or(0).saturating_mul(2)),
            b'|' => {
                left =
                    left.saturating_add(u64::try_from(number(head)?).unwrap_or(0).saturating_mul(2)).saturating_add(1);
            }
            other => return Err(InvalidReply(format!("a reply of unknown type {:?}", char::from(*other)))),
        }
    }
    Ok(Some(at))
}

/// Takes a bulk string from the front of a frame that is known to be complete.
fn bulk(frame: &mut Bytes) -> Result<Option<Bytes>, InvalidReply> {
    if frame.first() != Some(&b'$') {
        return Ok(None);
    }
    let Some((head, next)) = line(frame, 0) else { return Ok(None) };
    let Ok(length) = usize::try_from(number(head)?) else { return Ok(None) };
    frame.advance(next);
    if frame.len() < length + 2 {
        return Ok(None);
    }
    let body = frame.split_to(length);
    frame.advance(2);
    Ok(Some(body))
}

/// Reads a published message or a confirmation: an array in RESP2, a push in RESP3.
fn pushed(frame: &Bytes) -> Result<Option<RedisReply>, InvalidReply> {
    let mut rest = frame.clone();
    let Some((_, next)) = line(frame, 0) else { return Ok(None) };
    rest.advance(next);
    let Some(kind) = bulk(&mut rest)? else { return Ok(None) };
    let Some(channel) = bulk(&mut rest)? else { return Ok(None) };
    Ok(match &kind[..] {
        b"message" => bulk(&mut rest)?.map(|payload| RedisReply::Message { channel, payload }),
        b"subscribe" => Some(RedisReply::Subscribed(channel)),
        b"unsubscribe" => Some(RedisReply::Unsubscribed(channel)),
        _ => None,
    })
}

/// Whether a value is a push, which is not the reply to a command.
pub(super) fn is_push(value: &Value) -> bool {
    matches!(value, Value::Push { .. })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn all(bytes: &[u8]) -> Vec<RedisReply> {
        let mut buffer = BytesMut::new();
        let mut replies = Vec::new();
        // One byte at a time, since replies may be split anywhere.
        for byte in bytes {
            buffer.put_u8(*byte);
            while let Some(reply) = take_reply(&mut buffer).unwrap() {
                replies.push(reply);
            }
        }
        assert!(buffer.is_empty());
        replies
    }

    #[test]
    fn messages_are_read_from_arrays_and_pushes() {
        for kind in ["*", ">"] {
            let text = format!("{kind}3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\na\r\nb\r\n:7\r\n");
            let replies = all(text.as_bytes());
            assert!(matches!(&replies[0], RedisReply::Message { channel, payload }
                if &channel[..] == b"c" && &payload[..] == b"a\r\nb"));
            assert!(matches!(&replies[1], RedisReply::Value(Value::Int(7))));
        }
    }

    #[test]
    fn confirmations_pongs_errors_and_maps_are_read() {
        let replies = all(
            b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n-NOPERM no\r\n%1\r\n+a\r\n:1\r\n$-1\r\n",
        );
        assert!(matches!(&replies[0], RedisReply::Subscribed(channel) if &channel[..] == b"c"));
        assert!(matches!(&replies[1], RedisReply::Value(Value::Array(_))));
        assert!(matches!(&replies[2], RedisReply::Value(Value::ServerError(_))));
        assert!(matches!(&replies[3], RedisReply::Value(Value::Map(_))));
        assert!(matches!(&replies[4], RedisReply::Value(Value::Nil)));
    }

    #[test]
    fn an_error_reply_may_be_invalid_utf8() {
        let replies = all(b"-ERR unknown command 'X', with args beginning with: '\x95\xff'\r\n:1\r\n");
        assert!(matches!(&replies[..], [RedisReply::Value(Value::ServerError(_)), RedisReply::Value(Value::Int(1))]));
    }

    #[test]
    fn invalid_replies_fail_and_announced_lengths_allocate_nothing() {
        assert!(take_reply(&mut BytesMut::from(&b"HTTP/1.1 400 Bad Request\r\n"[..])).is_err());
        assert!(take_reply(&mut BytesMut::from(&b"$x\r\n"[..])).is_err());
        assert!(take_reply(&mut BytesMut::from(&b"*9223372036854775807\r\n"[..])).unwrap().is_none());
        assert!(take_reply(&mut BytesMut::from(&b"$9223372036854775807\r\n"[..])).unwrap().is_none());
    }

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = BytesMut::new();
        command(&mut out, [&b"PUBLISH"[..], b"c", &[0; 10]].into_iter());
        assert_eq!(&out[..], b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$10\r\n\0\0\0\0\0\0\0\0\0\0\r\n");
    }
}
