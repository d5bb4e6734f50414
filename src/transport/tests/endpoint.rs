//! Tests of the statuses and bodies of docs/builders/signalr-protocol.md#1.4, of paths, and of incomplete WebSocket
//! requests.

use super::kit::*;
use crate::config::HubOptions;
use crate::protocol::TransportKind;

const TEXT: Option<&str> = Some("text/plain");

#[tokio::test]
async fn paths_are_matched_as_in_aspnet_core() {
    let server = serve_default().await;
    for path in ["/echo/negotiate", "/ECHO/Negotiate", "/ech%6f/negotiate", "/echo/negotiate/"] {
        assert_eq!(server.ask("POST", path, "").await.status, 200, "{path}");
    }
    for path in ["/echo//negotiate", "/echo%2Fnegotiate", "/echo/negotiatex", "/echo/negotiate/x", "/echox/negotiate"] {
        assert_eq!(server.ask("POST", path, "").await.short(), (404, None, ""), "{path}");
    }
    for path in ["/echo", "/echo/", "/Echo"] {
        assert_eq!(server.ask("GET", path, "").await.short(), (400, TEXT, "Connection ID required"), "{path}");
    }
    assert_eq!(server.ask("GET", "/echo//", "").await.status, 404);
}

#[tokio::test]
async fn missing_and_unknown_ids_are_rejected() {
    let server = serve_default().await;
    for method in ["GET", "POST", "DELETE"] {
        for target in ["/echo", "/echo?id="] {
            let answer = server.ask(method, target, "").await;
            assert_eq!(answer.short(), (400, TEXT, "Connection ID required"), "{method} {target}");
        }
        let token = server.negotiate().await;
        for target in ["/echo?id=nope".to_owned(), format!("/echo?id={token}&id={token}")] {
            let answer = server.ask(method, &target, "").await;
            assert_eq!(answer.short(), (404, TEXT, "No Connection with that ID"), "{method} {target}");
        }
    }
    let unknown = server.client().await.upgrade("/echo?id=nope").await;
    assert_eq!(unknown.short(), (404, None, "No Connection with that ID"));
}

#[tokio::test]
async fn only_poll_responses_forbid_caching() {
    let server = serve_default().await;
    let poll = server.ask("GET", "/echo?id=nope", "").await;
    assert_eq!(poll.header("cache-control"), Some("no-cache, no-store"));
    assert_eq!(poll.header("pragma"), Some("no-cache"));
    assert_eq!(poll.header("expires"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    assert_eq!(server.ask("POST", "/echo?id=nope", "").await.header("cache-control"), None);
}

#[tokio::test]
async fn other_methods_are_rejected() {
    let server = serve_default().await;
    for method in ["PUT", "PATCH", "OPTIONS"] {
        assert_eq!(server.ask(method, "/echo?id=nope", "abc").await.short(), (405, TEXT, ""), "{method}");
        assert_eq!(server.ask(method, "/echo/negotiate", "").await.short(), (405, TEXT, ""), "{method}");
    }
    assert_eq!(server.ask("GET", "/echo/negotiate", "").await.short(), (405, TEXT, ""));
    let mut client = server.client().await;
    client.request("HEAD /echo", &[], "").await;
    assert_eq!(client.head().await.status, 405);
}

#[tokio::test]
async fn a_disabled_transport_is_rejected_after_the_id_is_checked() {
    let transports = vec![TransportKind::LongPolling];
    let server = serve(HubOptions { transports, ..HubOptions::default() }, None).await;
    let token = server.negotiate().await;
    let target = format!("/echo?id={token}");
    let websocket = server.client().await.upgrade(&target).await;
    assert_eq!(websocket.short(), (404, TEXT, "WebSockets transport not supported by this end point type"));
    let without = server.client().await.upgrade("/echo").await;
    assert_eq!(without.short(), (404, TEXT, "WebSockets transport not supported by this end point type"));
    let mut client = server.client().await;
    client.request(&format!("GET {target}"), &[("Accept", "text/event-stream")], "").await;
    let events = client.response().await;
    assert_eq!(events.short(), (404, TEXT, "ServerSentEvents transport not supported by this end point type"));
    assert_eq!(server.ask("GET", &target, "").await.status, 200);
}

#[tokio::test]
async fn a_connection_cannot_change_its_transport() {
    let server = serve_default().await;
    let token = server.polling().await;
    let target = format!("/echo?id={token}");
    let refused = (400, TEXT, "Cannot change transports mid-connection");
    assert_eq!(server.client().await.upgrade(&target).await.short(), refused);
    let mut client = server.client().await;
    client.request(&format!("GET {target}"), &[("Accept", "a/b, TEXT/event-stream")], "").await;
    assert_eq!(client.response().await.short(), refused);

    let token = server.negotiate().await;
    let target = format!("/echo?id={token}");
    let mut socket = server.client().await;
    assert_eq!(socket.upgrade(&target).await.status, 101);
    assert_eq!(server.ask("GET", &target, "").await.short(), refused);
    assert_eq!(server.client().await.upgrade(&target).await.short(), (409, TEXT, ""));
    let post = server.ask("POST", &target, "x").await;
    assert_eq!(post.short(), (405, TEXT, "POST requests are not allowed for WebSocket connections."));
    let delete = server.ask("DELETE", &target, "").await;
    let events = "Cannot terminate this connection using the DELETE endpoint.";
    assert_eq!(delete.short(), (400, TEXT, events));
    let unbound = format!("/echo?id={}", server.negotiate().await);
    assert_eq!(server.ask("DELETE", &unbound, "").await.short(), (400, TEXT, events));
}

#[tokio::test]
async fn an_incomplete_websocket_request_is_a_poll() {
    let server = serve_default().await;
    let changes: [(&str, &str); 9] = [
        ("Sec-WebSocket-Version", "8"),
        ("Sec-WebSocket-Version", ""),
        ("Sec-WebSocket-Key", "AAAA"),
        ("Sec-WebSocket-Key", "!!"),
        ("Sec-WebSocket-Key", ""),
        ("Connection", "keep-alive"),
        ("Upgrade", "foo"),
        ("Upgrade", ""),
        ("Accept", "text/event-stream;q=0.5"),
    ];
    for (name, value) in changes {
        let mut headers: Vec<_> = UPGRADE.into_iter().filter(|header| header.0 != name).collect();
        headers.push((name, value));
        if name == "Accept" {
            headers.remove(0);
        }
        let mut client = server.client().await;
        client.request("GET /echo", &headers, "").await;
        let answer = client.response().await;
        assert_eq!(answer.short(), (400, TEXT, "Connection ID required"), "{name}: {value}");
        assert_eq!(answer.header("cache-control"), Some("no-cache, no-store"), "{name}: {value}");
    }
}

#[tokio::test]
async fn one_tcp_connection_serves_many_rejections() {
    let server = serve_default().await;
    let mut client = server.client().await;
    for _ in 0..3 {
        client.request("POST /echo?id=nope", &[], "body").await;
        assert_eq!(client.response().await.status, 404);
        client.request("PUT /echo", &[], "body").await;
        assert_eq!(client.response().await.status, 405);
        client.request("POST /echo/negotiate", &[], "body").await;
        assert_eq!(client.response().await.status, 200);
    }
    // The client sends this body although the server has not asked for it with `100 Continue`.
    client.write(b"POST /echo?id=nope HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").await;
    assert_eq!(client.response().await.status, 404);
    client.write(b"x").await;
    client.request("GET /echo", &[], "").await;
    assert_eq!(client.response().await.status, 400);
}

#[tokio::test]
async fn a_full_server_rejects_new_connections() {
    let mut server = serve(HubOptions::default(), Some(1)).await;
    let (first, second) = (server.negotiate().await, server.negotiate().await);
    let mut socket = server.client().await;
    assert_eq!(socket.upgrade(&format!("/echo?id={first}")).await.status, 101);
    server.connected().await;
    assert_eq!(server.transports.connections(), 1);
    assert_eq!(server.ask("POST", "/echo/negotiate", "").await.status, 503);
    assert_eq!(server.client().await.upgrade("/echo").await.status, 503);
    assert_eq!(server.ask("GET", &format!("/echo?id={second}"), "").await.status, 503);
    socket.write(frame(0x88, b"")).await;
    socket.rest().await;
    assert_eq!(server.ask("GET", &format!("/echo?id={second}"), "").await.status, 200);
}
