//! The hub protocols on bytes: framing, encoding and decoding. Arguments are JSON values in both protocols.

use serde_json::{Value, json};

/// The byte that ends a message of the JSON protocol, and every handshake.
pub const SEPARATOR: u8 = 0x1e;

/// A hub protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Text; each message ends with [`SEPARATOR`].
    Json,
    /// Binary; each message follows its length.
    MessagePack,
}

impl Protocol {
    /// The other protocol.
    pub fn other(self) -> Self {
        match self {
            Self::Json => Self::MessagePack,
            Self::MessagePack => Self::Json,
        }
    }

    /// Its name in a handshake.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "messagepack",
        }
    }

    /// The bytes of a message, which is given both in its JSON form and in its MessagePack form.
    pub fn encode(self, json: &Value, messagepack: &Value) -> Vec<u8> {
        match self {
            Self::Json => record(json),
            Self::MessagePack => framed(&rmp_serde::to_vec(messagepack).unwrap()),
        }
    }

    /// Decodes bytes that consist of complete messages.
    pub fn decode(self, piece: &[u8]) -> Vec<Message> {
        let (mut rest, mut messages) = (piece, Vec::new());
        while !rest.is_empty() {
            messages.push(match self {
                Self::Json => {
                    let end = rest.iter().position(|&byte| byte == SEPARATOR).expect("the message is complete");
                    let value = serde_json::from_slice(&rest[..end]).unwrap();
                    rest = &rest[end + 1..];
                    from_json(&value)
                }
                Self::MessagePack => {
                    let (length, start) = length_prefix(rest).expect("the length is complete");
                    let value = rmp_serde::from_slice(&rest[start..start + length]).unwrap();
                    rest = &rest[start + length..];
                    from_messagepack(&value)
                }
            });
        }
        messages
    }
}

/// The bytes of a client's handshake.
pub fn handshake(protocol: &str, version: u32) -> Vec<u8> {
    record(&json!({ "protocol": protocol, "version": version }))
}

/// A value as JSON, followed by the separator.
pub fn record(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(SEPARATOR);
    bytes
}

/// A message that a client has received.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// An invocation without an invocation id, which is not answered.
    Invocation {
        /// The method.
        target: String,
        /// Its arguments, an array.
        arguments: Value,
    },
    /// An invocation that requests a client result.
    ClientInvocation {
        /// The invocation id.
        id: String,
        /// The method.
        target: String,
        /// Its arguments, an array.
        arguments: Value,
    },
    /// An item of a stream.
    Item {
        /// The invocation id of the stream.
        id: String,
        /// The item.
        item: Value,
    },
    /// The end of an invocation or of a stream.
    Completion {
        /// The invocation id.
        id: String,
        /// The result, which is null if there is none, or the error.
        result: Result<Value, String>,
    },
    /// A ping.
    Ping,
    /// The close message.
    Close {
        /// The error, if there is one.
        error: Option<String>,
        /// Whether the client may reconnect.
        reconnect: bool,
    },
    /// How the transport ended: `close 1000`, `end of stream`, `204`, `fin` or `reset`.
    End(String),
}

fn called(id: &Value, target: &Value, arguments: &Value) -> Message {
    let (target, arguments) = (text(target), arguments.clone());
    match id {
        Value::Null => Message::Invocation { target, arguments },
        id => Message::ClientInvocation { id: text(id), target, arguments },
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string")).to_owned()
}

fn from_json(message: &Value) -> Message {
    let error = message.get("error").map(text);
    match message["type"].as_u64() {
        Some(1) => called(&message["invocationId"], &message["target"], &message["arguments"]),
        Some(2) => Message::Item { id: text(&message["invocationId"]), item: message["item"].clone() },
        Some(3) => {
            let result = error.map_or_else(|| Ok(message["result"].clone()), Err);
            Message::Completion { id: text(&message["invocationId"]), result }
        }
        Some(6) => Message::Ping,
        Some(7) => Message::Close { error, reconnect: message["allowReconnect"] == json!(true) },
        _ => panic!("{message}"),
    }
}

fn from_messagepack(message: &Value) -> Message {
    match message[0].as_u64() {
        Some(1) => called(&message[2], &message[3], &message[4]),
        Some(2) => Message::Item { id: text(&message[2]), item: message[3].clone() },
        Some(3) => {
            let result = match message[3].as_u64() {
                Some(1) => Err(text(&message[4])),
                Some(2) => Ok(Value::Null),
                _ => Ok(message[4].clone()),
            };
            Message::Completion { id: text(&message[2]), result }
        }
        Some(6) => Message::Ping,
        Some(7) => {
            Message::Close { error: message[1].as_str().map(str::to_owned), reconnect: message[2] == json!(true) }
        }
        _ => panic!("{message}"),
    }
}

/// A MessagePack hub message with its length prefix.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let (mut bytes, mut length) = (Vec::new(), body.len());
    while length > 127 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(body);
    bytes
}

/// Parses the length prefix of a MessagePack message. Returns the length, and how many bytes the prefix has.
pub fn length_prefix(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    Some((value, end + 1))
}
