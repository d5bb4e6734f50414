//! Encodes hub messages as JSON, with the fields in ASP.NET Core's order (docs/builders/signalr-protocol.md#3.1).

use std::io::Write as _;

use bytes::Bytes;

use super::strings::write_string;
use crate::protocol::framing::RECORD_SEPARATOR;
use crate::protocol::message::unsendable;
use crate::protocol::{Headers, HubMessage, Invocation, Outcome, Protocol, RawValue, ValueError};

/// See [`crate::protocol::Protocol::encode`].
pub(crate) fn encode(message: &HubMessage) -> Result<Bytes, ValueError> {
    let mut out = Vec::with_capacity(128);
    match message {
        HubMessage::Invocation(call) => invocation(&mut out, b'1', call)?,
        HubMessage::StreamInvocation(call) => invocation(&mut out, b'4', call)?,
        HubMessage::StreamItem { id, item, headers } => {
            begin(&mut out, b'2', headers);
            field(&mut out, "invocationId", id.as_str());
            value(&mut out, b",\"item\":", item.as_ref().map_err(unsendable)?)?;
        }
        HubMessage::Completion { id, outcome, headers } => {
            begin(&mut out, b'3', headers);
            field(&mut out, "invocationId", id.as_str());
            match outcome {
                Outcome::Error(error) => field(&mut out, "error", error),
                Outcome::Void => {}
                Outcome::Value(result) => value(&mut out, b",\"result\":", result)?,
            }
        }
        HubMessage::CancelInvocation { id, headers } => {
            begin(&mut out, b'5', headers);
            field(&mut out, "invocationId", id.as_str());
        }
        HubMessage::Ping => out.extend_from_slice(b"{\"type\":6"),
        HubMessage::Close { error, allow_reconnect } => {
            out.extend_from_slice(b"{\"type\":7");
            if let Some(error) = error {
                field(&mut out, "error", error);
            }
            if *allow_reconnect {
                out.extend_from_slice(b",\"allowReconnect\":true");
            }
        }
        HubMessage::Ack { sequence_id } => sequence(&mut out, 8, *sequence_id),
        HubMessage::Sequence { sequence_id } => sequence(&mut out, 9, *sequence_id),
    }
    out.extend_from_slice(&[b'}', RECORD_SEPARATOR]);
    Ok(out.into())
}

fn invocation(out: &mut Vec<u8>, kind: u8, call: &Invocation) -> Result<(), ValueError> {
    let arguments = call.sendable_arguments()?;
    begin(out, kind, &call.headers);
    if let Some(id) = &call.id {
        field(out, "invocationId", id.as_str());
    }
    field(out, "target", &call.target);
    let mut lead: &[u8] = b",\"arguments\":[";
    if arguments.is_empty() {
        out.extend_from_slice(lead);
    }
    for argument in arguments {
        value(out, lead, argument)?;
        lead = b",";
    }
    out.push(b']');
    let mut lead: &[u8] = b",\"streamIds\":[";
    for id in &call.stream_ids {
        out.extend_from_slice(lead);
        write_string(out, id.as_str());
        lead = b",";
    }
    if !call.stream_ids.is_empty() {
        out.push(b']');
    }
    Ok(())
}

fn begin(out: &mut Vec<u8>, kind: u8, headers: &Headers) {
    out.extend_from_slice(b"{\"type\":");
    out.push(kind);
    if headers.is_empty() {
        return;
    }
    let mut lead: &[u8] = b",\"headers\":{";
    for (name, text) in &headers.0 {
        out.extend_from_slice(lead);
        write_string(out, name);
        out.push(b':');
        write_string(out, text);
        lead = b",";
    }
    out.push(b'}');
}

fn field(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    write_string(out, text);
}

fn value(out: &mut Vec<u8>, lead: &[u8], value: &RawValue) -> Result<(), ValueError> {
    out.extend_from_slice(lead);
    value.append(Protocol::Json, out)
}

fn sequence(out: &mut Vec<u8>, kind: u8, id: i64) {
    // Writing to a Vec does not fail.
    let _ = write!(out, "{{\"type\":{kind},\"sequenceId\":{id}");
}
