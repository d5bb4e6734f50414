//! Tests of both protocols with random messages: decoding does not depend on the split, messages round-trip, conversion
//! agrees with its check, and no input causes a panic.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::ids::InvocationId;

/// A small deterministic generator (xorshift), so that failures can be reproduced.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 12] =
            ["a", "Echo", "é", "😀", "\"", "\\", "\n", "\u{7f}", " ", "ü☃", "\u{1e}", "0123456789abcdef"];
        (0..self.below(6)).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }

    fn filled(&mut self) -> String {
        format!("{}x", self.text())
    }

    fn id(&mut self) -> InvocationId {
        self.filled().into()
    }

    /// A random value that can be represented in both protocols.
    fn value(&mut self, depth: usize) -> serde_json::Value {
        use serde_json::{Number, Value};
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => Value::Bool(self.next() & 1 == 0),
            2 => Value::Number(((self.next() >> self.below(64)) as i64).into()),
            3 => Value::Number(Number::from(self.next() >> self.below(64))),
            4 => Value::Number(Number::from_f64(self.below(1 << 20) as f64 / 1024.0 + 0.000_1).unwrap()),
            5 => Value::String(self.text()),
            6 => (0..self.below(20)).map(|_| self.value(depth - 1)).collect(),
            _ => Value::Object((0..self.below(20)).map(|_| (self.text(), self.value(depth - 1))).collect()),
        }
    }

    fn raw(&mut self, protocol: Protocol) -> RawValue {
        let value = RawValue::new(&self.value(3)).unwrap();
        RawValue::from_checked(protocol, value.encoded(protocol).unwrap())
    }

    fn headers(&mut self) -> Headers {
        Headers((0..self.below(3)).map(|_| (self.filled(), self.filled())).collect())
    }

    fn call(&mut self, protocol: Protocol, id: bool) -> Invocation {
        Invocation {
            id: id.then(|| self.id()),
            target: self.filled().into(),
            arguments: Ok((0..self.below(20)).map(|_| self.raw(protocol)).collect()),
            stream_ids: (0..self.below(3)).map(|_| self.id()).collect(),
            headers: self.headers(),
        }
    }

    fn message(&mut self, protocol: Protocol) -> HubMessage {
        match self.below(9) {
            0 => {
                let id = self.next() & 1 == 0;
                HubMessage::Invocation(self.call(protocol, id))
            }
            1 => HubMessage::StreamItem { id: self.id(), item: Ok(self.raw(protocol)), headers: self.headers() },
            2 => {
                let outcome = match self.below(3) {
                    0 => Outcome::Error(self.text()),
                    1 => Outcome::Void,
                    _ => Outcome::Value(self.raw(protocol)),
                };
                HubMessage::Completion { id: self.id(), outcome, headers: self.headers() }
            }
            3 => HubMessage::StreamInvocation(self.call(protocol, true)),
            4 => HubMessage::CancelInvocation { id: self.id(), headers: self.headers() },
            5 => HubMessage::Ping,
            6 => {
                let error = (self.next() & 1 == 0).then(|| self.text());
                HubMessage::Close { error, allow_reconnect: self.next() & 1 == 0 }
            }
            7 => HubMessage::Ack { sequence_id: self.next() as i64 },
            _ => HubMessage::Sequence { sequence_id: self.next() as i64 },
        }
    }
}

fn drain(decoder: &mut MessageDecoder, buffer: &mut BytesMut, into: &mut Vec<HubMessage>) {
    while let Some(message) = decoder.decode(buffer).unwrap() {
        into.push(message);
    }
}

#[test]
fn messages_round_trip_for_any_split() {
    let mut random = Random(0x5eed);
    for protocol in Protocol::ALL {
        for _ in 0..200 {
            let sent: Vec<_> = (0..random.below(6)).map(|_| random.message(protocol)).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(|message| protocol.encode(message).unwrap()).collect();
            let mut decoder = MessageDecoder::new(protocol, None);
            let (mut buffer, mut got, mut rest) = (BytesMut::new(), Vec::new(), &bytes[..]);
            while !rest.is_empty() {
                let (now, later) = rest.split_at(1 + random.below(rest.len().min(200)));
                buffer.extend_from_slice(now);
                drain(&mut decoder, &mut buffer, &mut got);
                rest = later;
            }
            assert_eq!(got, sent);
            assert!(buffer.is_empty());
        }
    }
}

#[test]
fn a_message_converts_to_the_other_protocol_and_back() {
    let mut random = Random(0xc0de);
    for _ in 0..300 {
        let message = random.message(Protocol::Json);
        let json = Protocol::Json.encode(&message).unwrap();
        let packed = Protocol::MessagePack.encode(&message).unwrap();
        let message = Protocol::MessagePack.decode(&mut BytesMut::from(&packed[..]), None).unwrap().unwrap();
        assert_eq!(Protocol::Json.encode(&message).unwrap(), json);
    }
}

#[test]
fn check_and_conversion_agree_on_damaged_values() {
    let mut random = Random(0xbad);
    let mut refused = 0;
    for round in 0..4000 {
        let protocol = Protocol::ALL[round % 2];
        let mut bytes = random.raw(protocol).bytes().to_vec();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = random.next() as u8,
                1 => bytes.truncate(at + 1),
                _ => bytes.insert(at, random.next() as u8),
            }
        }
        let converted = transcode::transcode(&bytes, protocol);
        assert_eq!(transcode::check(&bytes, protocol), converted.clone().map(drop));
        match (converted, protocol) {
            (Err(_), _) => refused += 1,
            // The result is a valid value that can be converted back.
            (Ok(json), Protocol::MessagePack) => {
                serde_json::from_slice::<serde::de::IgnoredAny>(&json).unwrap();
                transcode::check(&json, Protocol::Json).unwrap();
            }
            (Ok(packed), Protocol::Json) => transcode::check(&packed, Protocol::MessagePack).unwrap(),
        }
    }
    assert!((400..3600).contains(&refused), "{refused} of 4000 values refused: the damage is not a useful test");
}

#[test]
fn damaged_messages_are_read_or_refused_without_a_panic() {
    let mut random = Random(0xdead);
    for round in 0..4000 {
        let protocol = Protocol::ALL[round % 2];
        let mut bytes = protocol.encode(&random.message(protocol)).unwrap().to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(message)) = protocol.decode(&mut buffer, Some(100_000)) {
            // Every message that was read can be written, unless it has values that could not be read.
            let is_read = match &message {
                HubMessage::Invocation(call) | HubMessage::StreamInvocation(call) => call.arguments.is_ok(),
                HubMessage::StreamItem { item, .. } => item.is_ok(),
                _ => true,
            };
            if !is_read {
                assert!(protocol.encode(&message).is_err());
                continue;
            }
            let values = match &message {
                HubMessage::Invocation(call) | HubMessage::StreamInvocation(call) => call.arguments.as_deref().unwrap(),
                HubMessage::StreamItem { item, .. } => std::slice::from_ref(item.as_ref().unwrap()),
                HubMessage::Completion { outcome: Outcome::Value(result), .. } => std::slice::from_ref(result),
                _ => &[],
            };
            for value in values {
                assert_eq!(value.check_portable(), transcode::check(value.bytes(), protocol), "by what is proven");
            }
            let again = protocol.encode(&message).unwrap();
            assert_eq!(framing::check_messages(protocol, &again), Ok(()), "an encoded message passes the check");
            let message_again = protocol.decode(&mut BytesMut::from(&again[..]), None).unwrap().unwrap();
            assert_eq!(protocol.encode(&message_again).unwrap(), again);
        }
    }
}

#[test]
fn a_long_record_in_small_pieces_is_searched_once() {
    // Ten megabytes in pieces of a kilobyte. Searching from the start each time would mean searching 50 GB.
    let mut decoder = MessageDecoder::new(Protocol::Json, None);
    let mut buffer = BytesMut::from("{\"type\":6,\"x\":\"");
    for _ in 0..10_000 {
        buffer.extend_from_slice(&[b'a'; 1000]);
        assert_eq!(decoder.decode(&mut buffer).unwrap(), None);
    }
    buffer.extend_from_slice(b"\"}\x1e{\"type\":6}\x1e");
    assert_eq!(decoder.decode(&mut buffer).unwrap(), Some(HubMessage::Ping));
    assert_eq!(decoder.decode(&mut buffer).unwrap(), Some(HubMessage::Ping));
    assert_eq!(decoder.decode(&mut buffer).unwrap(), None);
}
