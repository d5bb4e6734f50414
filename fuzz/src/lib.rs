//! The properties that the fuzz targets check, which must hold for any input.

mod text;

use bytes::BytesMut;
use hubplane::fuzzing::{
    HubMessage, Invocation, MessageDecoder, Outcome, ProtocolError, check, check_messages, decode, encode, transcode,
};
use hubplane::{Protocol, RawValue};

use self::text::assert_text;

/// Checks that the bytes give the same messages or the same error in any split, that every decoded message can be
/// encoded and decoded again, and that every string in it is Unicode text.
pub fn messages(protocol: Protocol, data: &[u8]) {
    let Some((&[split, limit], data)) = data.split_first_chunk() else { return };
    let limit = if limit == 0 { None } else { Some(usize::from(limit) * 8) };
    let whole = read(protocol, limit, &[data]);
    let at = usize::from(split) * data.len() / 255;
    let halves = read(protocol, limit, &[&data[..at], &data[at..]]);
    assert_eq!(whole, halves);
    let bytes: Vec<_> = data.chunks(1).collect();
    if data.len() < 512 {
        assert_eq!(whole, read(protocol, limit, &bytes));
    }
    whole.0.iter().for_each(|message| written_and_read(protocol, message));
    if protocol == Protocol::Json && check_messages(protocol, data).is_ok() {
        std::str::from_utf8(data).expect("JSON that passes the check is UTF-8");
    }
}

fn read(protocol: Protocol, limit: Option<usize>, pieces: &[&[u8]]) -> (Vec<HubMessage>, Option<ProtocolError>) {
    let mut decoder = MessageDecoder::new(protocol, limit);
    let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

fn written_and_read(protocol: Protocol, message: &HubMessage) {
    let values = match message {
        HubMessage::Invocation(Invocation { arguments, .. })
        | HubMessage::StreamInvocation(Invocation { arguments, .. }) => {
            let Ok(values) = arguments else {
                assert!(encode(protocol, message).is_err());
                return;
            };
            values.as_slice()
        }
        HubMessage::StreamItem { item, .. } => {
            let Ok(item) = item else {
                assert!(encode(protocol, message).is_err());
                return;
            };
            std::slice::from_ref(item)
        }
        HubMessage::Completion { outcome: Outcome::Value(result), .. } => std::slice::from_ref(result),
        _ => &[],
    };
    values.iter().for_each(value);
    let bytes = encode(protocol, message).expect("a decoded message can be encoded");
    assert_eq!(check_messages(protocol, &bytes), Ok(()), "an encoded message passes the check");
    match protocol {
        Protocol::Json => assert_text(protocol, bytes.strip_suffix(b"\x1e").expect("a complete record")),
        Protocol::MessagePack => {
            let prefix = bytes.iter().position(|byte| byte & 0x80 == 0).expect("a complete length prefix") + 1;
            assert_text(protocol, &bytes[prefix..]);
        }
    }
    let again = decode(protocol, &mut BytesMut::from(&bytes[..]), None);
    assert_eq!(again.as_ref(), Ok(&Some(message.clone())));
    let portable = values.iter().all(|value| value.check_portable().is_ok());
    let other = if protocol == Protocol::Json { Protocol::MessagePack } else { Protocol::Json };
    match encode(other, message) {
        Ok(bytes) => {
            assert!(portable);
            assert_eq!(check_messages(other, &bytes), Ok(()));
            // MessagePack refuses some names and headers that JSON accepts, so an error is fine; a panic is not.
            let _ = decode(other, &mut BytesMut::from(&bytes[..]), None);
        }
        Err(_) => assert!(!portable),
    }
}

fn value(value: &RawValue) {
    assert_text(value.protocol(), value.bytes());
    assert_eq!(value.check_portable(), check(value.bytes(), value.protocol()), "what is proven is what a scan finds");
    let text = value.display_text();
    if value.check_portable().is_ok() {
        text.expect("a portable value can be displayed");
    }
    assert!(!value.is_null() || value.as_text().is_none());
    let _ = value.to::<serde_json::Value>();
}

/// Checks that conversion agrees with `check`, and that a converted value can be converted back and becomes stable.
pub fn conversion(protocol: Protocol, data: &[u8]) {
    let converted = transcode(data, protocol);
    assert_eq!(check(data, protocol), converted.clone().map(drop));
    let Ok(converted) = converted else { return };
    let other = if protocol == Protocol::Json { Protocol::MessagePack } else { Protocol::Json };
    let back = transcode(&converted, other).expect("a converted value can be converted back");
    let again = transcode(&back, protocol).expect("and converted again");
    let back_again = transcode(&again, other).expect("and back again");
    // Compared only after two rounds: a float with an integral value (`2.0`, `-0`) becomes an integer in JSON.
    assert_eq!(transcode(&back_again, protocol), Ok(again));
    assert_text(other, &converted);
    assert_text(protocol, &back);
    let json = if protocol == Protocol::Json { &back } else { &converted };
    serde_json::from_slice::<serde::de::IgnoredAny>(json).expect("the result is valid JSON");
}
