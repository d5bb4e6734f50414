//! Tests of the declared chat over every transport and protocol, on one node and on two that share a Redis.
//!
//! `HUBPLANE_TEST_BASE=127.0.0.1:5000 cargo test --test it one_node` runs the scenarios against another server.

use serde_json::{Value, json};

use crate::kit::client::settle;
use crate::kit::{Client, Protocol, Redis, Server, Transport, unique};

/// One or two nodes. Client `a` connects to the first, client `b` to the last.
struct Nodes {
    _redis: Option<Redis>,
    servers: Vec<Server>,
    transport: Transport,
    protocol: Protocol,
}

/// Runs a scenario on one node.
fn one(scenario: fn(&Nodes), transport: Transport, protocol: Protocol) {
    scenario(&Nodes { _redis: None, servers: vec![Server::start()], transport, protocol });
}

/// Runs a scenario on two nodes.
fn two(scenario: fn(&Nodes), transport: Transport, protocol: Protocol) {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    let servers = vec![Server::on(&redis), Server::on(&redis)];
    scenario(&Nodes { _redis: Some(redis), servers, transport, protocol });
}

impl Nodes {
    fn a(&self) -> Client {
        Client::connect(self.servers[0].address, self.transport, self.protocol)
    }

    /// Uses the other protocol, on a WebSocket.
    fn b(&self) -> Client {
        Client::connect(self.servers.last().unwrap().address, Transport::WebSockets, self.protocol.other())
    }

    fn pair(&self) -> (Client, Client) {
        let mut a = self.a();
        let b = self.b();
        a.expect("UserConnected", json!([b.id]));
        (a, b)
    }
}

fn echoes(nodes: &Nodes) {
    let mut a = nodes.a();
    let values = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!(""),
        json!("h\u{e9}\u{2603}\u{1f600}<&>'\"\\/\u{2028}\u{0}"),
        json!([[], {}, [null, [1, ["x"]]]]),
        json!({ "name": { "list": [{ "a": 1 }, null] }, "": 0 }),
        json!("x".repeat(30_000)),
    ];
    for value in values {
        assert_eq!(a.ok("Echo", json!([value])), value);
    }
    assert_eq!(a.ok("eCHO", json!(["case"])), json!("case"));
}

fn broadcasts(nodes: &Nodes) {
    let (mut a, mut b) = nodes.pair();
    for (text, a_sends) in [("from a \u{1f600}", true), ("from b", false)] {
        let sender = if a_sends { &mut a } else { &mut b };
        assert_eq!(sender.ok("SendMessage", json!(["me", text])), Value::Null);
        for client in [&mut a, &mut b] {
            client.expect("ReceiveMessage", json!(["me", text]));
        }
    }
    let tag = unique("burst");
    for number in 0..200 {
        a.send("SendMessage", json!([tag, number.to_string()]));
    }
    b.expect("ReceiveMessage", json!([tag, "199"]));
    for number in 0..200 {
        assert_eq!(b.count_now("ReceiveMessage", &json!([tag, number.to_string()])), 1, "message {number} of a burst");
    }
}

fn groups(nodes: &Nodes) {
    let (mut a, mut b) = nodes.pair();
    let room = unique("room \u{e9}*");
    a.ok("JoinRoom", json!([room]));
    a.expect("Notice", json!([format!("{} joined {room}", a.id)]));
    b.ok("JoinRoom", json!([room]));
    let notice = json!([format!("{} joined {room}", b.id)]);
    a.expect("Notice", notice.clone());
    b.expect("Notice", notice);
    b.ok("SendToRoom", json!([room, "from b"]));
    a.expect("ReceiveMessage", json!([room, "from b"]));
    a.ok("SendToRoom", json!([room, "from a"]));
    b.expect("ReceiveMessage", json!([room, "from a"]));
    a.ok("SendToRoom", json!([room.to_uppercase(), "another room"]));
    a.ok("LeaveRoom", json!([room]));
    b.ok("SendToRoom", json!([room, "late"]));
    settle(&mut [&mut b, &mut a]);
    assert_eq!(a.count("ReceiveMessage", &json!([room, "late"])), 0, "a has left the room");
    assert_eq!(b.count("ReceiveMessage", &json!([room, "from b"])), 0, "the sender is excluded");
    assert_eq!(
        b.count("ReceiveMessage", &json!([room.to_uppercase(), "another room"])),
        0,
        "group names are case-sensitive"
    );
}

fn others(nodes: &Nodes) {
    let (mut a, mut b) = nodes.pair();
    let gone = b.id.clone();
    assert_eq!(b.count("UserConnected", &json!([gone])), 0, "no client is notified about itself");
    b.leave();
    a.expect("UserDisconnected", json!([gone]));
    let again = nodes.b();
    a.expect("UserConnected", json!([again.id]));
    // The other direction: the client on the transport under test leaves.
    let mut witness = nodes.b();
    let left = a.id.clone();
    a.leave();
    witness.expect("UserDisconnected", json!([left]));
}

fn errors(nodes: &Nodes) {
    let (mut a, mut b) = nodes.pair();
    let table = [
        (
            "Nope",
            json!([]),
            "Failed to invoke 'Nope' due to an error on the server. HubException: Method does not exist.",
        ),
        ("SendMessage", json!(["one"]), "Failed to invoke 'SendMessage' due to an error on the server."),
        ("Echo", json!([1, 2]), "Failed to invoke 'Echo' due to an error on the server."),
        ("JoinRoom", json!([null]), "An unexpected error occurred invoking 'JoinRoom' on the server."),
    ];
    for (target, arguments, error) in table {
        assert_eq!(a.invoke(target, arguments), Err(error.to_owned()));
    }
    assert_eq!(a.ok("Echo", json!(["alive"])), json!("alive"));
    assert_eq!(b.ok("Echo", json!(["alive"])), json!("alive"));
}

macro_rules! scenarios {
    ($($nodes:ident: $($name:ident = $transport:ident $protocol:ident),*;)*) => {$($(
        mod $name {
            use super::*;

            #[test]
            fn echoes() {
                $nodes(super::echoes, Transport::$transport, Protocol::$protocol);
            }

            #[test]
            fn broadcasts() {
                $nodes(super::broadcasts, Transport::$transport, Protocol::$protocol);
            }

            #[test]
            fn groups() {
                $nodes(super::groups, Transport::$transport, Protocol::$protocol);
            }

            #[test]
            fn others() {
                $nodes(super::others, Transport::$transport, Protocol::$protocol);
            }

            #[test]
            fn errors() {
                $nodes(super::errors, Transport::$transport, Protocol::$protocol);
            }
        }
    )*)*};
}
scenarios! {
    one:
        one_node_websockets_json = WebSockets Json,
        one_node_websockets_messagepack = WebSockets MessagePack,
        one_node_sse_json = ServerSentEvents Json,
        one_node_polls_json = LongPolling Json,
        one_node_polls_messagepack = LongPolling MessagePack;
    two:
        redis_websockets_json = WebSockets Json,
        redis_websockets_messagepack = WebSockets MessagePack,
        redis_sse_json = ServerSentEvents Json,
        redis_polls_json = LongPolling Json,
        redis_polls_messagepack = LongPolling MessagePack;
}
