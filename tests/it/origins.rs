//! Tests of `websocket_origins`: which pages, according to their `Origin` header, may open WebSockets.

use std::net::SocketAddr;

use serde_json::Value;

use crate::kit::stream::Stream;
use crate::kit::{Server, TIMEOUT, http, within, ws};

/// A server with these keys at the top of its configuration, and a hub at `/chat`.
fn server(keys: &str) -> Server {
    Server::setup().config(&format!("{keys}\n[hubs.chat]\n")).start().ready()
}

/// Negotiates, and returns the target of the transport's request with the `id=` from the answer.
fn negotiated(address: SocketAddr, version: u8) -> String {
    let answer = http::ask(address, &format!("POST /chat/negotiate?negotiateVersion={version}"), b"");
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let key = if version == 0 { "connectionId" } else { "connectionToken" };
    format!("/chat?id={}", answer[key].as_str().unwrap())
}

/// The status of an upgrade with these `Origin` headers. The kit's `Host` header is `localhost`.
fn status(address: SocketAddr, target: &str, origins: &[&str]) -> u16 {
    let headers: Vec<_> = origins.iter().map(|origin| ("Origin", *origin)).collect();
    ws::upgrade(&mut Stream::connect(address), target, &headers).status
}

const APP: &str = "https://app.example.com";
const EVIL: &str = "https://evil.example";

#[test]
fn pages_of_other_origins_cannot_open_a_websocket() {
    let server = server("cors_origins = [\"https://app.example.com\", \"https://*.example.org\"]");
    for target in ["/chat", "/CHAT/?id="] {
        for (origins, expected) in [
            (&[][..], 101),
            (&[APP][..], 101),
            (&["https://a.example.org"], 101),
            (&["http://localhost"], 101),
            (&["https://localhost:443"], 101),
            (&["http://localhost:8080"], 403),
            (&[EVIL], 403),
            (&["null"], 403),
            (&["https://app.example.com.evil.example"], 403),
            (&[APP, EVIL], 403),
        ] {
            assert_eq!(status(server.address, target, origins), expected, "{target} {origins:?}");
        }
    }
    // The first refusal is logged at once; further ones within 10 s are only counted.
    server.expect_logged("a page's WebSocket was refused", 1);
    assert_eq!(server.logged("origin=\"http://localhost:8080\""), 1, "{}", server.log());
    for version in [0, 1] {
        // After the refusal the negotiated connection can still be used.
        let target = negotiated(server.address, version);
        assert_eq!(status(server.address, &target, &[EVIL]), 403);
        assert_eq!(status(server.address, &target, &[APP]), 101);
    }
    // The other transports are protected by CORS: a page that cannot read the negotiate response has no token.
    let target = negotiated(server.address, 1);
    let mut stream = Stream::connect(server.address);
    stream.write(&http::request(&format!("GET {target}"), &[("Origin", EVIL)], b""));
    let poll = http::respond(&mut stream, within(TIMEOUT)).unwrap();
    assert_eq!((poll.status, poll.header("access-control-allow-origin")), (200, None));
}

#[test]
fn every_page_may_open_a_websocket_if_the_configuration_allows_it() {
    for keys in ["", "cors_origins = [\"*\"]", "cors_origins = [\"https://a.example\"]\nwebsocket_origins = \"any\""] {
        let server = server(keys);
        for origin in [EVIL, "null"] {
            assert_eq!(status(server.address, "/chat", &[origin]), 101, "{keys}");
            assert_eq!(status(server.address, &negotiated(server.address, 1), &[origin]), 101, "{keys}");
        }
    }
}
