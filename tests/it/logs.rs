//! Tests of the log at its default level: problems are logged once, with the client, the place and the reason, and
//! texts from clients cannot forge or flood it.

use serde_json::{Value, json};

use crate::auth::{self, KEYS, token};
use crate::kit::client::negotiate;
use crate::kit::stream::Stream;
use crate::kit::ws::{TEXT, Ws, upgrade};
use crate::kit::{Client, Protocol, Redis, Server, TIMEOUT, Transport, http, until, within};

const HUB: &str = r#"
[hubs.chat]
outgoing_buffer_size = 65536
[hubs.chat.methods.Tell]
params = ["text"]
do = [{ send = "Told", to = "others", args = ["{text}"] }]
[hubs.chat.methods.JoinRoom]
params = ["room"]
do = [{ join = "{room}" }]
"#;

/// A text that must not reach a log unchanged: it contains line breaks, terminal escape sequences and characters that
/// change the direction of text.
const FORGED: &str = "x\n2026-01-01T00:00:00.000000Z ERROR hubplane: forged\r\u{1b}[2J\u{202e}\u{9b}\u{2028}";

fn server(format: &str, config: &str) -> Server {
    Server::setup().config(config).env("LOG_FORMAT", format).start().ready()
}

/// The lines of a JSON log whose message begins with this text.
fn lines(server: &Server, message: &str) -> Vec<Value> {
    let lines = server.log();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line:?}")));
    lines.filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with(message))).collect()
}

/// Waits for the line whose message begins with this text, and checks that it is the only one.
#[track_caller]
fn line(server: &Server, message: &str) -> Value {
    let first = until(message, TIMEOUT, || lines(server, message).into_iter().next());
    assert_eq!(lines(server, message).len(), 1, "{}", server.log());
    first
}

/// Opens a WebSocket without negotiating, and completes the handshake.
fn connect(server: &Server, path: &str) -> Ws {
    Ws::open_with_handshake(server.address, path, "json")
}

#[test]
fn a_call_that_fails_before_its_method_runs_is_logged() {
    let server = server("json", HUB);
    let mut client = Client::connect_without_calls(server.address, Transport::WebSockets, Protocol::Json);
    for _ in 0..100 {
        client.invoke("Nope", json!([])).unwrap_err();
        client.invoke("tell", json!(["SECRET", "SECRET"])).unwrap_err();
    }
    let unknown = line(&server, "a client called a method that the hub does not have");
    assert_eq!((&unknown["level"], &unknown["method"]), (&"INFO".into(), &"Nope".into()));
    let refused = line(&server, "a call was refused");
    assert_eq!((&refused["level"], &refused["method"]), (&"INFO".into(), &"Tell".into()));
    assert_eq!(refused["reason"], "Invocation provides 2 argument(s) but target expects 1.");
    for line in [unknown, refused] {
        let span = &line["span"];
        assert_eq!((&span["id"], &span["hub"]), (&client.id.clone().into(), &"chat".into()), "{line}");
        assert!(span["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
        assert_eq!(line["spans"], Value::Null);
        assert_eq!(line["suppressed"], Value::Null, "nothing was suppressed before the first line: {line}");
    }
    assert!(!server.log().contains("SECRET"));
}

/// Sends a request, with a token if one is given, and returns the status.
fn ask(server: &Server, line: &str, token: Option<&str>) -> u16 {
    auth::ask(server, line, token, "").status
}

#[test]
fn refused_requests_are_logged() {
    let config = format!(
        "[auth]\nkeys = {KEYS}\nissuer = \"https://login.example.com\"\n[hubs.chat]\nauthorize = {{ roles = [\"admin\"] }}\n\
         [hubs.chat.methods.Delete]\nreturns = \"{{hub}}\"\nauthorize = {{ roles = [\"owner\"] }}"
    );
    let server = server("json", &config);
    let issuer = ["--claim", "iss=https://login.example.com"];
    let user = token(&[&["--user", "ann\u{1b}[2J"][..], &issuer].concat());
    let admin = token(&[&["--user", "bob", "--role", "admin"][..], &issuer].concat());
    for _ in 0..20 {
        assert_eq!(ask(&server, "POST /chat/negotiate", Some(&user)), 403);
        assert_eq!(ask(&server, "POST /chat/negotiate", None), 401);
        assert_eq!(ask(&server, "GET /chat?id=x", Some("NONSENSE.TOKEN")), 401);
    }
    let refused = line(&server, "a token was refused");
    assert_eq!((&refused["level"], &refused["reason"]), (&"INFO".into(), &"it is not a JSON Web Token".into()));
    let unauthorized = line(&server, "a request was not authorized");
    assert_eq!(unauthorized["reason"], "the user does not fulfil the hub's `authorize`");
    assert_eq!((&unauthorized["level"], &unauthorized["user"]), (&"INFO".into(), &"ann\\u{1b}[2J".into()));
    for line in [refused, unauthorized] {
        assert_eq!(line["hub"], "chat", "{line}");
        assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    }

    let mut ws = connect(&server, &format!("/chat?access_token={admin}"));
    ws.send(TEXT, b"{\"type\":1,\"invocationId\":\"1\",\"target\":\"delete\",\"arguments\":[]}\x1e");
    let call = line(&server, "a call was not authorized");
    assert_eq!((&call["level"], &call["method"]), (&"INFO".into(), &"Delete".into()));
    assert_eq!(call["reason"], "the user does not fulfil the method's `authorize`");
    assert_eq!((&call["span"]["user"], &call["span"]["hub"]), (&"bob".into(), &"chat".into()));
    let log = server.log();
    assert!(!log.contains("NONSENSE") && !log.contains(&user) && !log.contains(&admin), "{log}");
}

#[test]
fn a_token_for_another_audience_is_logged_with_the_reason() {
    let config = format!("[auth]\nkeys = {KEYS}\nissuer = \"https://login.example.com\"\n{HUB}");
    let server = server("text", &config);
    assert_eq!(
        ask(&server, "POST /chat/negotiate", Some(&token(&["--user", "ann", "--claim", "iss=https://other.example"]))),
        401
    );
    server.expect_logged("a token was refused hub=chat client=127.0.0.1:", 1);
    server.expect_logged("reason=\"The issuer 'https://other.example' is invalid\"", 1);
}

#[test]
fn a_full_server_is_logged() {
    let server = server("json", &format!("max_connections = 1\n{HUB}"));
    let (_, early) = negotiate(server.address, "/chat");
    let _one = connect(&server, "/chat");
    assert_eq!(ask(&server, "POST /chat/negotiate", None), 503);
    assert_eq!(ask(&server, &format!("GET /chat?id={early}"), None), 503);
    assert_eq!(upgrade(&mut Stream::connect(server.address), "/chat", &[]).status, 503);
    let line = line(&server, "a client was refused because the server is full");
    assert_eq!((&line["level"], &line["hub"]), (&"WARN".into(), &"chat".into()));
    assert_eq!(line["reason"], "max_connections = 1 is reached");
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
}

/// Sends the request of a page, and returns whether a browser would let the page read the response.
fn asked_by_a_page(server: &Server, line: &str, headers: &[(&str, &str)]) -> bool {
    let mut stream = Stream::connect(server.address);
    stream.write(&http::request(line, headers, b""));
    http::respond(&mut stream, within(TIMEOUT)).unwrap().header("access-control-allow-origin").is_some()
}

#[test]
fn a_page_blocked_by_cors_is_logged() {
    let preflight = [("Access-Control-Request-Method", "POST")];
    let negotiate = "OPTIONS /chat/negotiate?negotiateVersion=1&access_token=SECRET";
    for (origins, reason) in [
        ("", "cors_origins is empty"),
        ("cors_origins = [\"https://app.example\"]\n", "the origin is not in cors_origins"),
    ] {
        let server = server("json", &format!("{origins}{HUB}"));
        for _ in 0..20 {
            let origin = [("Origin", "http://localhost:3000")];
            assert!(!asked_by_a_page(&server, negotiate, &[&origin[..], &preflight].concat()));
        }
        let blocked = line(&server, "a page of another origin was refused (CORS)");
        assert_eq!((&blocked["level"], &blocked["hub"]), (&"INFO".into(), &"chat".into()));
        assert_eq!((&blocked["origin"], &blocked["reason"]), (&"http://localhost:3000".into(), &reason.into()));
        assert!(blocked["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{blocked}");
        assert!(!server.log().contains("SECRET"));
    }
}

#[test]
fn pages_of_allowed_origins_are_not_logged() {
    let server = server("text", &format!("cors_origins = [\"https://app.example\"]\n{HUB}"));
    let post = "POST /chat/negotiate?negotiateVersion=1";
    assert!(asked_by_a_page(&server, post, &[("Origin", "https://app.example")]));
    // The server's own pages may read responses anyway. The kit's `Host` header is `localhost`.
    assert!(!asked_by_a_page(&server, post, &[("Origin", "https://localhost")]));
    // The same, with a proxy that has replaced the `Host` header.
    assert!(!asked_by_a_page(
        &server,
        post,
        &[("Origin", "https://public.example"), ("Sec-Fetch-Site", "same-origin")]
    ));
    assert_eq!(server.logged("(CORS)"), 0, "{}", server.log());
    // For a request without a preflight, the browser blocks the response too. A path that is not a hub's is logged.
    assert!(!asked_by_a_page(&server, "GET /x%0Ay\u{85}", &[("Origin", "https://evil.example")]));
    server.expect_logged("(CORS) path=\"/x%0Ay", 1);
    assert!(!asked_by_a_page(&server, post, &[("Origin", "https://evil.example")]));
    server.expect_logged("(CORS) hub=chat client=127.0.0.1:", 1);
}

#[test]
fn a_failed_handshake_is_logged() {
    let server = server("json", HUB);
    let mut ws = Ws::open(server.address, "/chat");
    ws.send(TEXT, format!("{}\u{1e}", json!({ "protocol": FORGED, "version": 1 })).as_bytes());
    assert_eq!(ws.read_to_end(within(TIMEOUT)).1, "close 1000");
    let line = line(&server, "a handshake failed");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.starts_with("the protocol 'x\\n2026") && reason.ends_with("' is not supported"), "{line}");
    assert_eq!((&line["level"], &line["span"]["hub"]), (&"INFO".into(), &"chat".into()));
}

#[test]
fn the_log_does_not_repeat_an_unreadable_handshake() {
    let server = server("text", HUB);
    let mut ws = Ws::open(server.address, "/chat");
    ws.send(TEXT, b"{\"password\":\"SECRET\"}\x1e");
    assert_eq!(ws.read_to_end(within(TIMEOUT)).1, "close 1000");
    server.expect_logged("a handshake failed reason=\"the request cannot be read (InvalidDataException)\"", 1);
    assert!(!server.log().contains("SECRET"));
}

#[test]
fn a_missing_handshake_is_logged() {
    let server = server("text", &format!("[hub_defaults]\nhandshake_timeout = \"100ms\"\n{HUB}"));
    assert_eq!(Ws::open(server.address, "/chat").read_to_end(within(TIMEOUT)).1, "close 1000");
    server.expect_logged("a handshake failed reason=\"no request arrived within handshake_timeout\"", 1);
    // A client that disconnects before its handshake is not logged.
    drop(Ws::open(server.address, "/chat"));
    server.expect_logged("a handshake failed", 1);
}

#[test]
fn a_declared_step_that_fails_is_logged() {
    let server = server(
        "json",
        r#"
[hubs.chat]
on_connected = [{ send = "Hello", to = "caller" }, { join = "{user_id}" }]
allowed_groups = ["room-*"]
[hubs.chat.methods.Join]
params = ["room"]
do = [{ send = "Hello", to = "caller" }, { join = "{room}" }]
"#,
    );
    let mut client = Client::ws(server.address);
    for _ in 0..20 {
        client.invoke("join", json!(["SECRET\n"])).unwrap_err();
    }
    let failed = line(&server, "a declared method failed");
    assert_eq!(
        (&failed["level"], &failed["method"], &failed["step"]),
        (&"WARN".into(), &"Join".into(), &"do 2".into())
    );
    assert_eq!(failed["reason"], "the caller may not join that group (allowed_groups)");
    let hook = line(&server, "a declared step failed; the client stays");
    assert_eq!((&hook["level"], &hook["step"]), (&"WARN".into(), &"on_connected 2".into()));
    assert_eq!(hook["reason"], "a group's name must be a string, but {user_id} is not");
    for line in [failed, hook] {
        assert_eq!((&line["span"]["id"], &line["span"]["hub"]), (&client.id.clone().into(), &"chat".into()), "{line}");
    }
    assert!(!server.log().contains("SECRET"), "{}", server.log());
}

#[test]
fn a_failed_on_disconnected_is_logged_for_the_client_that_left() {
    let server = server("json", "[hubs.chat]\non_disconnected = [{ join = \"{user_id}\" }]");
    let other = Client::ws(server.address);
    let client = Client::ws(server.address);
    let id = client.id.clone();
    drop(client);
    let line = line(&server, "a declared step failed; the client stays");
    assert_eq!((&line["step"], &line["span"]["id"]), (&"on_disconnected 1".into(), &id.into()), "{line}");
    drop(other);
}

#[test]
fn the_reason_does_not_contain_the_id_of_an_unknown_connection() {
    let server = server(
        "text",
        "[hubs.chat.methods.Ask]\nparams = [\"who\"]\ndo = [{ ask = \"M\", to = \"connection:{who}\" }]",
    );
    Client::ws(server.address).invoke("Ask", json!(["SECRET"])).unwrap_err();
    let line = "a declared method failed method=\"Ask\" step=\"do 1\" reason=\"the connection to ask does not exist\"";
    server.expect_logged(line, 1);
    assert!(!server.log().contains("SECRET"), "{}", server.log());
}

#[test]
fn a_protocol_error_is_logged() {
    let server = server("json", HUB);
    for text in ["{\"type\":1,\"headers\":{\"a\\nb\":1}}\u{1e}", "nonsense\u{1e}"] {
        let mut ws = connect(&server, "/chat");
        ws.send(TEXT, text.as_bytes());
        assert_eq!(ws.read_to_end(within(TIMEOUT)).1, "close 1000");
    }
    let line = line(&server, "closing a client that broke the hub protocol");
    assert_eq!(line["reason"], "InvalidDataException: Expected header 'a\\nb' to be of type String.");
    assert_eq!((&line["level"], &line["span"]["hub"]), (&"INFO".into(), &"chat".into()));
}

#[test]
fn a_websocket_violation_is_logged() {
    let server = server("text", HUB);
    let mut ws = connect(&server, "/chat");
    ws.send(3, b"an opcode that is reserved");
    assert_eq!(ws.read_to_end(within(TIMEOUT)).1, "close 1002");
    server.expect_logged("closing a client that broke the WebSocket protocol reason=\"close code 1002\"", 1);
}

#[test]
fn the_log_names_the_slow_client_and_not_the_sender() {
    let server = server("json", HUB);
    let slow = Client::ws(server.address);
    let mut sender = Client::ws(server.address);
    let text = "x".repeat(30_000);
    for _ in 0..2000 {
        sender.ok("Tell", json!([text]));
        if !lines(&server, "closing a client").is_empty() {
            break;
        }
    }
    let line = line(&server, "closing a client that reads too slowly");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["span"]["id"], slow.id, "{line}");
    assert_eq!((&line["span"]["transport"], &line["span"]["hub"]), (&"WebSockets".into(), &"chat".into()));
    assert!(!line.to_string().contains(&sender.id), "{line}");
}

#[test]
fn names_from_clients_cannot_forge_log_lines() {
    for format in ["text", "json"] {
        let server = server(format, HUB);
        let mut client = Client::connect_without_calls(server.address, Transport::WebSockets, Protocol::Json);
        client.invoke(FORGED, json!([])).unwrap_err();
        client.invoke(&"long".repeat(5000), json!([])).unwrap_err();
        server.expect_logged("does not have", 1);
        assert_harmless(&server, format);
    }
}

#[test]
fn group_names_refused_by_redis_cannot_forge_log_lines() {
    testkit::needs!("redis-server");
    for format in ["text", "json"] {
        let redis = Redis::start();
        let user = [
            "ACL",
            "SETUSER",
            "u",
            "reset",
            "on",
            ">pw",
            "+@all",
            "resetchannels",
            "&*:all",
            "&*:internal:*",
            "&*:connection:*",
        ];
        assert_eq!(redis.command(&user), "+OK");
        let connection = format!("{},user=u,password=pw", redis.connection());
        let setup = Server::setup().config(HUB).env("LOG_FORMAT", format).env("BACKPLANE__CONNECTION", connection);
        let server = setup.start().ready();
        let mut client = Client::ws(server.address);
        for number in 0..50 {
            client.ok("JoinRoom", json!([format!("{FORGED}{number}")]));
        }
        server.expect_logged("Redis refused a subscription", 1);
        assert_harmless(&server, format);
    }
}

/// Checks that every line was begun by the server, has a bounded length, and contains only visible characters.
#[track_caller]
fn assert_harmless(server: &Server, format: &str) {
    let begins = if format == "json" { "{\"timestamp\":\"20" } else { "20" };
    let log = server.log();
    assert!(log.contains("forged"), "the name is not in the log:\n{log}");
    for line in log.lines() {
        assert!(line.starts_with(begins), "{line:?}");
        assert!(!line.starts_with("2026-01-01"), "{line:?}");
        assert!(line.len() < 2000, "{line:?}");
        let visible = |c: char| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}');
        assert!(line.chars().all(visible), "{line:?}");
    }
}
