//! How a server stops: clients are told to come again, then their transports end, and the process with 0.

use std::time::Duration;

use serde_json::json;

use crate::kit::{Client, Message, PATIENCE, PROCESS, Protocol, Server, Transport, Watch, http};

const COME_AGAIN: Message = Message::Close { error: None, reconnect: true };

#[test]
fn every_client_is_told_and_let_go() {
    for name in ["TERM", "INT"] {
        let mut server = Server::setup().start().ready();
        let transports = [
            (Transport::WebSockets, Protocol::Json, "close 1000"),
            (Transport::WebSockets, Protocol::MessagePack, "close 1000"),
            (Transport::ServerSentEvents, Protocol::Json, "end of stream"),
            (Transport::LongPolling, Protocol::Json, "204"),
            (Transport::LongPolling, Protocol::MessagePack, "204"),
        ];
        let clients: Vec<_> =
            transports.map(|(transport, protocol, _)| Client::connect(server.address, transport, protocol)).into();
        let readers: Vec<_> =
            clients.into_iter().map(|mut client| std::thread::spawn(move || client.ending())).collect();
        server.signal(name);
        for (reader, (transport, protocol, end)) in readers.into_iter().zip(transports) {
            let seen = reader.join().unwrap();
            assert_eq!(seen, (Some(COME_AGAIN), end.to_owned()), "{transport:?} {protocol:?} at SIG{name}");
        }
        assert_eq!(server.exit(PROCESS), Some(0));
    }
}

#[test]
fn draining_is_told_first() {
    // Long enough for all that is asked meanwhile.
    let mut server = Server::setup().env("DRAIN_DELAY", "5s").start().ready();
    let mut client = Client::ws(server.address);
    let begun = Watch::start();
    server.signal("TERM");
    server.expect_ready(503, PATIENCE);
    assert!(server.get("/readyz").text().contains("draining"), "{}", server.get("/readyz").text());
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(client.ok("Echo", json!(["meanwhile"])), json!("meanwhile"));
    assert_eq!(client.ending().0, Some(COME_AGAIN));
    drop(client); // or the server would wait for the answer to its close frame
    assert!(begun.elapsed() >= Duration::from_secs(5), "closed after {:?}", begun.elapsed());
    assert_eq!(server.exit(PROCESS), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::setup().env("DRAIN_DELAY", "30s").start().ready();
    let _client = Client::ws(server.address);
    server.signal("TERM");
    server.expect_ready(503, PATIENCE);
    let again = Watch::start();
    server.signal("TERM");
    assert_eq!(server.exit(PROCESS), Some(0));
    again.within(Duration::from_secs(3), "it ends at once");
}

#[test]
fn a_client_that_does_not_answer_holds_nothing_up_for_long() {
    let mut server = Server::setup().env("SHUTDOWN_TIMEOUT", "3s").start().ready();
    let _silent = Client::ws(server.address); // reads nothing, answers no close frame
    let _negotiated = http::ask(server.address, "POST /chat/negotiate?negotiateVersion=1", b"");
    let begun = Watch::start();
    server.signal("TERM");
    assert_eq!(server.exit(PROCESS), Some(0));
    begun.within(Duration::from_secs(6), "it ends in time");
}
