//! Tests of strings that are not valid Unicode, from a client or another node: all clients receive valid UTF-8 only,
//! and the sender's connection stays open, as in ASP.NET Core (tests/probes/FINDINGS.md#2, hub protocol).

use serde_json::{Value, json};

use crate::kit::hub::{framed, record};
use crate::kit::ws::BINARY;
use crate::kit::{Client, Protocol, Redis, Server, TIMEOUT, Transport, unique, within};

const METHODS: &str = r#"
detailed_errors = true
[hubs.chat.methods.SendMessage]
params = ["user", "message"]
do = [{ send = "ReceiveMessage", to = "all", args = ["{user}", "{message}"] }]
[hubs.chat.methods.Tell]
params = ["id", "message"]
do = [{ send = "Told", to = "connection:{id}", args = ["{message}", "in text: {message}"] }]
[hubs.chat.methods.Echo]
params = ["value"]
returns = "{value}"
[hubs.chat.methods.SendLines]
params = []
upload = "line"
each = [{ send = "Line", to = "all", args = [["{line}"]] }]
[hubs.chat.methods.Ask]
params = ["id", "question"]
do = [{ ask = "Answer", to = "connection:{id}", args = ["{question}"], as = "answer" }]
returns = { answer = "{answer}" }
"#;

/// The placeholder in a message that is replaced by the bad string.
const HERE: &str = "HERE";

/// Strings of JSON, quotes included, that are not Unicode text.
const BAD_JSON: [&[u8]; 6] = [
    b"\"\xff\"",
    b"\"a\xc3(b\"",
    b"\"cut off \xf0\x9f\x98\"",
    b"\"\xed\xa0\xbd\"",
    b"\"half an emoji \\ud83d\"",
    b"\"\\ude00\\ud83d\"",
];

/// The bytes of MessagePack strings that are not UTF-8. The fourth is how the JavaScript client writes half an emoji.
const BAD_MESSAGEPACK: [&[u8]; 4] = [b"\xff", b"a\xc3(b", b"cut off \xf0\x9f\x98", b"half an emoji \xed\xa0\xbd"];

fn bad(protocol: Protocol) -> Vec<&'static [u8]> {
    match protocol {
        Protocol::Json => BAD_JSON.to_vec(),
        Protocol::MessagePack => BAD_MESSAGEPACK.to_vec(),
    }
}

/// The bytes of a message with a bad string in it.
fn with(protocol: Protocol, message: &Value, bad: &[u8]) -> Vec<u8> {
    let (bytes, here) = match protocol {
        Protocol::Json => (serde_json::to_vec(message).unwrap(), format!("\"{HERE}\"").into_bytes()),
        Protocol::MessagePack => (rmp_serde::to_vec(message).unwrap(), [b"\xa4", HERE.as_bytes()].concat()),
    };
    let at = bytes.windows(here.len()).position(|window| window == here).expect("a place for the bad string");
    let (before, after) = (&bytes[..at], &bytes[at + here.len()..]);
    match protocol {
        Protocol::Json => [before, bad, after, b"\x1e"].concat(),
        Protocol::MessagePack => framed(&[before, &[0xd9, u8::try_from(bad.len()).unwrap()], bad, after].concat()),
    }
}

fn call(protocol: Protocol, id: &str, target: &str, arguments: Value, streams: &[&str]) -> Value {
    match protocol {
        Protocol::Json => {
            json!({ "type": 1, "invocationId": id, "target": target, "arguments": arguments, "streamIds": streams })
        }
        Protocol::MessagePack => json!([1, {}, id, target, arguments, streams]),
    }
}

fn item(protocol: Protocol, id: &str, item: Value) -> Value {
    match protocol {
        Protocol::Json => json!({ "type": 2, "invocationId": id, "item": item }),
        Protocol::MessagePack => json!([2, {}, id, item]),
    }
}

fn completion(protocol: Protocol, id: &str, result: Value) -> Value {
    match protocol {
        Protocol::Json => json!({ "type": 3, "invocationId": id, "result": result }),
        Protocol::MessagePack => json!([3, {}, id, 3, result]),
    }
}

/// Sends bad strings in arguments, stream items and client results, over every transport and protocol of a hub. Other
/// clients receive only what they can decode; the sender's connection stays open. The kit's clients reject invalid
/// text.
fn play(protocols: &[Protocol], servers: &[Server]) {
    let address = servers.last().unwrap().address;
    for &protocol in protocols {
        let mut others: Vec<_> =
            protocols.iter().map(|&by| Client::connect(servers[0].address, Transport::WebSockets, by)).collect();
        for transport in [Transport::WebSockets, Transport::ServerSentEvents, Transport::LongPolling] {
            if (transport, protocol) == (Transport::ServerSentEvents, Protocol::MessagePack) {
                continue;
            }
            let mut evil = Client::connect(address, transport, protocol);
            for bad in bad(protocol) {
                says(protocol, bad, &mut evil, &mut others);
                uploads(protocol, bad, &mut evil, &mut others);
                answers(protocol, bad, &mut evil, &mut others);
                let mark = unique("still here");
                evil.ok("SendMessage", json!(["evil", mark]));
                others.iter_mut().for_each(|other| other.expect("ReceiveMessage", json!(["evil", mark])));
            }
            evil.leave();
        }
    }
}

/// Sends a bad string as an argument: for all clients, for one, as a result for the caller, and as a property name.
fn says(protocol: Protocol, bad: &[u8], evil: &mut Client, others: &mut [Client]) {
    let read = String::from_utf8_lossy(bad).into_owned();
    let mut put = |target: &str, arguments: Value| {
        let id = unique("bad");
        evil.put(&with(protocol, &call(protocol, &id, target, arguments, &[]), bad), BINARY);
        let result = evil.completion(&id);
        match protocol {
            Protocol::Json => assert_eq!(
                result.unwrap_err(),
                format!(
                    "Failed to invoke '{target}' due to an error on the server. InvalidDataException: Error binding \
                     arguments. Make sure that the types of the provided values match the types of the hub method \
                     being invoked."
                )
            ),
            Protocol::MessagePack => return Some(result.unwrap()),
        }
        None
    };
    let echoed = put("Echo", json!([[{ "a": HERE }]]));
    assert!(echoed.is_none_or(|value| value == json!([{ "a": read }])));
    let echoed = put("Echo", json!([{ HERE: [1] }]));
    assert!(echoed.is_none_or(|value| value == json!({ &read: [1] })));
    put("SendMessage", json!(["evil", HERE]));
    for other in others.iter_mut() {
        put("Tell", json!([other.id, HERE]));
    }
    if protocol == Protocol::MessagePack {
        for other in others {
            other.expect("ReceiveMessage", json!(["evil", read]));
            other.expect("Told", json!([read, format!("in text: {read}")]));
        }
    }
}

/// Sends a bad string as an item of an upload.
fn uploads(protocol: Protocol, bad: &[u8], evil: &mut Client, others: &mut [Client]) {
    let read = String::from_utf8_lossy(bad).into_owned();
    let (id, stream) = (unique("upload"), unique("stream"));
    let good = |message: Value| match protocol {
        Protocol::Json => record(&message),
        Protocol::MessagePack => framed(&rmp_serde::to_vec(&message).unwrap()),
    };
    let sent = [
        good(call(protocol, &id, "SendLines", json!([]), &[&stream])),
        good(item(protocol, &stream, json!(["good", id]))),
        with(protocol, &item(protocol, &stream, json!([HERE])), bad),
        good(item(protocol, &stream, json!(["after", id]))),
        good(completion(protocol, &stream, Value::Null)),
    ];
    evil.put(&sent.concat(), BINARY);
    let result = evil.completion(&id);
    others.iter_mut().for_each(|other| other.expect("Line", json!([[["good", id]]])));
    let after = json!([[["after", id]]]);
    match protocol {
        Protocol::Json => {
            // The bad item ends the stream, and further items are ignored.
            assert_eq!(
                result.unwrap_err(),
                "An unexpected error occurred invoking 'SendLines' on the server. HubException: Failed to bind Stream \
                 message. JsonException: The JSON value could not be converted to System.String."
            );
            assert_eq!(others[0].count_now("Line", &after), 0);
        }
        Protocol::MessagePack => {
            result.unwrap();
            for other in others {
                other.expect("Line", json!([[[read]]]));
                other.expect("Line", after.clone());
            }
        }
    }
}

/// Sends a bad string as a client result.
fn answers(protocol: Protocol, bad: &[u8], evil: &mut Client, others: &mut [Client]) {
    let read = String::from_utf8_lossy(bad).into_owned();
    for other in others {
        let asked = unique("question");
        let call = other.begin("Ask", json!([evil.id, asked]));
        let question = evil.question("Answer", &json!(asked));
        evil.put(&with(protocol, &completion(protocol, &question, json!({ "list": [HERE] })), bad), BINARY);
        let result = other.completion(&call);
        match protocol {
            Protocol::Json => assert_eq!(
                result.unwrap_err(),
                "An unexpected error occurred invoking 'Ask' on the server. HubException: Error trying to deserialize \
                 result to String. The JSON value could not be converted to System.String."
            ),
            Protocol::MessagePack => assert_eq!(result.unwrap(), json!({ "answer": { "list": [read] } })),
        }
    }
}

fn config(protocols: &[Protocol]) -> String {
    let names: Vec<_> = protocols.iter().map(|protocol| protocol.name()).collect();
    format!("[hubs.chat]\nprotocols = {names:?}{METHODS}")
}

const SETS: [&[Protocol]; 3] = [&[Protocol::Json], &[Protocol::MessagePack], &[Protocol::Json, Protocol::MessagePack]];

#[test]
fn clients_never_receive_invalid_unicode() {
    for protocols in SETS {
        play(protocols, &[Server::setup().config(&config(protocols)).start().ready()]);
    }
}

#[test]
fn clients_of_another_node_never_receive_invalid_unicode() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    for (number, protocols) in SETS.into_iter().enumerate() {
        let server = || {
            let setup = Server::setup().config(&config(protocols)).redis(&redis);
            setup.env("BACKPLANE__CHANNEL_PREFIX", format!("set{number}")).start().ready()
        };
        play(protocols, &[server(), server()]);
    }
}

/// A hub message as envelopes carry it: the protocol's name, then the message as binary data
/// (docs/builders/redis-backplane.md#A.3, #A.6).
fn carried(protocol: Protocol, message: &[u8]) -> Vec<u8> {
    let name = protocol.name();
    let mut bytes = vec![0xa0 | u8::try_from(name.len()).unwrap()];
    bytes.extend(name.bytes());
    bytes.extend([0xc4, u8::try_from(message.len()).unwrap()]);
    bytes.extend(message);
    bytes
}

/// Finds the invocation id of a requested client result and the channel for its answer, which are consecutive strings
/// of an envelope. Also returns the position after them.
fn return_address(held: &[u8]) -> Option<((String, String), usize)> {
    let start = b"chat:internal:return:";
    let mut found = held.windows(start.len()).enumerate().filter(|(_, window)| window == start).map(|(at, _)| at);
    // In other places the channel's name is a string of Redis's protocol, without a MessagePack header.
    let at = found.find(|&at| at >= 25 && held[at - 2] == 0xd9 && held[at - 25] == 0xb6)?;
    let end = at + usize::from(held[at - 1]);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Some(((text(&held[at - 24..at - 2]), text(held.get(at..end)?)), end))
}

#[test]
fn foreign_messages_on_redis_with_invalid_unicode_are_skipped() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    for protocols in SETS {
        let prefix = unique("foreign");
        let setup = Server::setup().config(&config(protocols)).redis(&redis);
        let server = setup.env("BACKPLANE__CHANNEL_PREFIX", &prefix).start().ready();
        let clients = protocols.iter().map(|&by| Client::connect(server.address, Transport::WebSockets, by));
        let mut clients: Vec<_> = clients.collect();
        let all = format!("{prefix}chat:all");
        for bad in BAD_JSON {
            let message = with(Protocol::Json, &json!({ "type": 1, "target": "M", "arguments": [HERE] }), bad);
            let payload = [b"\x92\x90\x81", &carried(Protocol::Json, &message)[..]].concat();
            assert_eq!(redis.publish(&all, &payload), 1);
        }
        for bad in BAD_MESSAGEPACK {
            let message = with(Protocol::MessagePack, &json!([1, {}, null, "M", [HERE], []]), bad);
            let payload = [b"\x92\x90\x81", &carried(Protocol::MessagePack, &message)[..]].concat();
            assert_eq!(redis.publish(&all, &payload), 1);
        }
        let mark = unique("after");
        clients[0].ok("SendMessage", json!(["me", mark]));
        clients.iter_mut().for_each(|client| client.expect("ReceiveMessage", json!(["me", mark])));
        server.expect_logged("a hub message with text that is not Unicode in Invocation", 1);
    }
}

#[test]
fn foreign_results_on_redis_with_invalid_unicode_are_errors() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    let server = Server::setup().config(&config(SETS[2])).redis(&redis).start().ready();
    let mut caller = Client::ws(server.address);
    let mut monitor = redis.monitor();
    for protocol in SETS[2] {
        for bad in bad(*protocol) {
            let call = caller.begin("Ask", json!(["elsewhere", "?"]));
            let (id, channel) = monitor.take(within(TIMEOUT), return_address).unwrap();
            let answer = with(*protocol, &completion(*protocol, &id, json!([HERE])), bad);
            let payload = [&[0x92], &carried(*protocol, &answer)[..]].concat();
            assert_eq!(redis.publish(&channel, &payload), 2, "the server and the monitor");
            let result = caller.completion(&call);
            match protocol {
                Protocol::Json => {
                    assert!(result.unwrap_err().contains("Error trying to deserialize result to String."))
                }
                Protocol::MessagePack => {
                    assert_eq!(result.unwrap(), json!({ "answer": [String::from_utf8_lossy(bad)] }));
                }
            }
        }
    }
}
