//! Options of a hub whose effect shows on the wire, each set in `[hub_defaults]` and in the hub's own table. The others have
//! their tests where the mechanism is: `src/connection/tests`, `src/transport/tests`, `auth.rs`, `bad_input.rs`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::client::negotiate;
use crate::kit::{Client, Message, PATIENCE, Server, Watch, http, within, ws};

/// Runs the check on a server that has these lines in either table.
fn in_both(options: &str, check: impl Fn(&Server)) {
    let hub = "[hubs.chat.methods.Echo]\nparams = [\"value\"]\nreturns = \"{value}\"\n";
    let fail = "[hubs.chat.methods.Fail]\nparams = [\"group\"]\ndo = [{ join = \"{group}\" }]\n";
    for place in ["[hub_defaults]", "[hubs.chat]"] {
        check(&Server::setup().config(&format!("{place}\n{options}\n{hub}{fail}")).start().ready());
    }
}

#[test]
fn handshake_timeout() {
    in_both("handshake_timeout = \"300ms\"", |server| {
        let began = Watch::start();
        let (texts, end) = ws::Ws::open(server.address, "/chat").read_out(within(PATIENCE));
        began.within(Duration::from_secs(5), "the handshake is given up");
        assert!(texts.concat().contains("Handshake was canceled."), "{texts:?} {end}");
    });
}

#[test]
fn keep_alive_interval() {
    in_both("keep_alive_interval = \"1s\"", |server| {
        let mut client = Client::ws(server.address);
        let began = Watch::start();
        client.wait("a ping", |message| (*message == Message::Ping).then_some(()));
        began.within(Duration::from_secs(4), "a ping comes");
    });
}

#[test]
fn client_timeout_interval() {
    in_both("client_timeout_interval = \"1s\"\nkeep_alive_interval = \"500ms\"", |server| {
        let mut client = Client::ws(server.address);
        client.put(b"{\"type\":6}\x1e", ws::TEXT);
        let (close, end) = client.ending();
        assert!(close.is_some(), "{end}");
    });
}

#[test]
fn maximum_receive_message_size() {
    in_both("maximum_receive_message_size = 200", |server| {
        let mut client = Client::ws(server.address);
        assert_eq!(client.ok("Echo", json!(["x".repeat(100)])), json!("x".repeat(100)));
        client.send("Echo", json!(["x".repeat(200)]));
        assert!(matches!(client.ending(), (Some(Message::Close { error: Some(_), .. }), _)));
    });
}

#[test]
fn detailed_errors() {
    in_both("detailed_errors = true", |server| {
        let error = Client::ws(server.address).invoke("Fail", json!([1])).unwrap_err();
        let text =
            "An unexpected error occurred invoking 'Fail' on the server. HubException: a group's name must be a string";
        assert!(error.starts_with(text), "{error}");
    });
    in_both("detailed_errors = false", |server| {
        let error = Client::ws(server.address).invoke("Fail", json!([1])).unwrap_err();
        assert_eq!(error, "An unexpected error occurred invoking 'Fail' on the server.");
    });
}

#[test]
fn protocols() {
    in_both("protocols = [\"json\"]", |server| {
        Client::ws(server.address).ok("Echo", json!([1]));
        let mut other = ws::Ws::open(server.address, "/chat");
        other.send(ws::TEXT, b"{\"protocol\":\"messagepack\",\"version\":1}\x1e");
        let (texts, _) = other.read_out(within(PATIENCE));
        assert!(texts.concat().contains("The protocol 'messagepack' is not supported."), "{texts:?}");
    });
}

#[test]
fn transports() {
    in_both("transports = [\"LongPolling\"]", |server| {
        let (_, token) = negotiate(server.address, "/chat");
        let answer = http::ask(server.address, "POST /chat/negotiate?negotiateVersion=1", b"");
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let offered = answer["availableTransports"].as_array().unwrap();
        assert_eq!(offered.iter().map(|one| &one["transport"]).collect::<Vec<_>>(), ["LongPolling"]);
        assert_eq!(http::ask(server.address, &format!("GET /chat?id={token}"), b"").status, 200);
    });
}

#[test]
fn minimum_protocol_version() {
    in_both("minimum_protocol_version = 1", |server| {
        let answer = http::ask(server.address, "POST /chat/negotiate", b"").text();
        assert!(answer.contains("does not support this version"), "{answer}");
        negotiate(server.address, "/chat");
    });
}

#[test]
fn allow_stateful_reconnects() {
    in_both("allow_stateful_reconnects = true", |server| {
        let line = "POST /chat/negotiate?negotiateVersion=1&useStatefulReconnect=true";
        assert!(http::ask(server.address, line, b"").text().contains("\"useStatefulReconnect\":true"));
    });
}
