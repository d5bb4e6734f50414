//! Tests of `/healthz`, `/readyz`, `/metrics` and the demo page, and of limits on connections and open files.

use serde_json::json;

use crate::kit::client::negotiate;
use crate::kit::stream::{ReadEnd, Stream};
use crate::kit::{Client, Protocol, Server, TIMEOUT, Transport, http, until, within};

#[test]
fn a_started_server_is_alive_and_ready() {
    let server = Server::setup().start().ready();
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.get("/nothing-here").status, 404);
}

#[test]
fn the_demo_page_is_served_with_the_default_configuration_only() {
    let server = Server::setup().start().ready();
    let page = server.get("/");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{}", page.head);
    let server = Server::setup()
        .config("[hubs.chat]\n[hubs.chat.methods.Echo]\nparams = [\"v\"]\nreturns = \"{v}\"\n")
        .start()
        .ready();
    assert_eq!(server.get("/").status, 404);
    assert_eq!(Client::ws(server.address).ok("Echo", json!([1])), json!(1));
}

#[test]
fn metrics_count_connections_and_messages() {
    let server = Server::setup().start().ready();
    let connections = |labels: &[&str]| server.metric("signalr_connections", labels);
    let mut clients = vec![
        Client::connect_without_calls(server.address, Transport::WebSockets, Protocol::Json),
        Client::connect_without_calls(server.address, Transport::ServerSentEvents, Protocol::Json),
        Client::connect_without_calls(server.address, Transport::LongPolling, Protocol::MessagePack),
    ];
    until("three connections are counted", TIMEOUT, || (connections(&["hub=\"chat\""]) == 3.0).then_some(()));
    for client in &mut clients {
        client.ok("Echo", json!([1]));
    }
    assert!(clients[0].invoke("Nope", json!([])).is_err());
    assert!(clients[0].invoke("JoinRoom", json!([null])).is_err());
    let calls = |outcome: &str| server.metric("signalr_invocation_duration_seconds_count", &["hub=\"chat\"", outcome]);
    assert_eq!(calls("outcome=\"ok\""), 3.0);
    assert_eq!(calls("outcome=\"rejected\""), 1.0);
    assert_eq!(calls("outcome=\"failed\""), 1.0);
    assert!(server.metric("signalr_messages_received_total", &["hub=\"chat\""]) >= 5.0);
    assert!(server.metric("signalr_messages_sent_total", &[]) >= 5.0);
    assert!(server.metric("signalr_sent_bytes_total", &[]) >= 100.0);
    while let Some(client) = clients.pop() {
        client.leave();
    }
    until("endings are counted", TIMEOUT, || {
        (server.metric("signalr_connections_closed_total", &[]) == 3.0).then_some(())
    });
    until("no connection is left", TIMEOUT, || (connections(&[]) == 0.0).then_some(()));
    let text = server.get("/metrics").text();
    assert!(!text.contains("Nope"), "names that clients choose are not used as labels");
}

#[test]
fn max_connections_is_enforced() {
    let server = Server::setup().env("MAX_CONNECTIONS", "2").start().ready();
    let first = Client::ws(server.address);
    let _second = Client::connect(server.address, Transport::LongPolling, Protocol::Json);
    let refused = http::ask(server.address, "POST /chat/negotiate?negotiateVersion=1", b"");
    assert_eq!(refused.status, 503);
    assert_eq!(server.get("/healthz").status, 200);
    first.leave();
    until("a permit is free again", TIMEOUT, || {
        (http::ask(server.address, "POST /chat/negotiate?negotiateVersion=1", b"").status == 200).then_some(())
    });
}

#[test]
fn hub_paths_ignore_case_and_a_trailing_slash() {
    let server = Server::setup().start().ready();
    negotiate(server.address, "/CHAT");
    assert_eq!(http::ask(server.address, "POST /chat/negotiate/?negotiateVersion=1", b"").status, 200);
    let (_, token) = negotiate(server.address, "/chat");
    assert_eq!(http::ask(server.address, &format!("GET /Chat/?id={token}"), b"").status, 200);
}

#[test]
fn running_out_of_open_files_only_pauses_accepting() {
    let server = Server::setup().open_files(64).start().ready();
    let mut client = Client::ws(server.address);
    let idle: Vec<_> = (0..100).map(|_| Stream::connect(server.address)).collect();
    // The last connection waits in the listener's queue. It is answered only once others have been closed.
    let mut last = Stream::connect(server.address);
    last.write(&http::request("GET /healthz", &[], b""));
    assert_eq!(client.ok("Echo", json!(["still here"])), json!("still here"));
    assert_eq!(last.arrived(), Err(ReadEnd::TimedOut));
    drop(idle);
    assert_eq!(http::head(&mut last, within(TIMEOUT)).map(|(status, _)| status), Ok(200));
    assert_eq!(Client::ws(server.address).ok("Echo", json!([1])), json!(1));
}
