//! Tests of authentication with access tokens: who may connect and call what, which errors others get, what happens
//! when a token expires, and that no token is ever logged.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::http::{self, Response};
use crate::kit::stream::Stream;
use crate::kit::ws::{self, Ws};
use crate::kit::{QUIET_PERIOD, Server, TIMEOUT, until, within};

pub(crate) const KEYS: &str = r#"[{ algorithm = "HS256", secret = "the secret of these tests, 32 bytes or more" }]"#;

const HUBS: &str = r#"
[hub_defaults]
detailed_errors = true
close_on_authentication_expiration = true

[hubs.secure]
authorize = true
allowed_groups = ["user:{user_id}", "room-*"]
[hubs.secure.methods.WhoAmI]
returns = "{user_id}"
[hubs.secure.methods.Delete]
authorize = { roles = ["admin"] }
params = ["what"]
returns = "{what}"
[hubs.secure.methods.Join]
params = ["group"]
do = [ { join = "{group}" } ]
[hubs.secure.methods.JoinAny]
params = ["group"]
allowed_groups = ["*"]
do = [ { join = "{group}" } ]
[hubs.secure.methods.Tell]
params = ["user", "text"]
do = [ { send = "Told", to = "user:{user}", args = ["{text}"] } ]

[hubs.admins]
authorize = { roles = ["admin", "owner"], claims = { tier = "gold" } }

[hubs.open]
[hubs.open.methods.WhoAmI]
returns = "{user_id}"
"#;

/// The lifetime of a token that expires during a test, long after everything that needs it has been done.
const TOKEN_LIFETIME: &str = "8s";

fn server() -> Server {
    let config = format!("[auth]\nkeys = {KEYS}\nclock_skew = \"0s\"\n{HUBS}");
    Server::setup().config(&config).start().ready()
}

/// Runs the binary with the keys of these tests, and returns its output.
fn command(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_hubplane"))
        .args(arguments)
        .current_dir(env!("CARGO_TARGET_TMPDIR")) // contains no configuration file
        .env_clear()
        .env("HUBPLANE_AUTH__KEYS", KEYS)
        .output()
        .unwrap()
}

#[track_caller]
pub(crate) fn token(arguments: &[&str]) -> String {
    let output = command(&[&["token"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    text.trim_end().to_owned()
}

fn token_of(user: &str) -> String {
    token(&["--user", user])
}

/// Sends a request, with a token in its header if one is given.
#[track_caller]
pub(crate) fn ask(server: &Server, line: &str, token: Option<&str>, body: &str) -> Response {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("Connection", "close")];
    headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
    let mut stream = Stream::connect(server.address);
    stream.write(&http::request(line, &headers, body.as_bytes()));
    // Longer than the lifetime of a token, for polls that wait until it expires.
    http::respond(&mut stream, within(TIMEOUT * 2)).unwrap()
}

/// Requests a WebSocket, and returns the status and the head of the response.
#[track_caller]
fn upgrade(server: &Server, target: &str) -> (u16, String) {
    let answer = ws::upgrade(&mut Stream::connect(server.address), target, &[]);
    (answer.status, answer.head)
}

#[track_caller]
fn negotiate(server: &Server, hub: &str, token: Option<&str>) -> String {
    let answer = ask(server, &format!("POST /{hub}/negotiate?negotiateVersion=1"), token, "");
    assert_eq!(answer.status, 200, "{}", answer.head);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    body["connectionToken"].as_str().unwrap().to_owned()
}

fn connect(server: &Server, hub: &str, token: &str) -> Ws {
    Ws::open_with_handshake(server.address, &format!("/{hub}?access_token={token}"), "json")
}

/// The next hub message that is not a ping.
#[track_caller]
fn message(ws: &mut Ws) -> Value {
    loop {
        let frame = ws.recv(within(TIMEOUT * 2)).unwrap(); // longer than the lifetime of a token
        assert_ne!(frame.opcode, ws::CLOSE, "a close frame");
        let text = String::from_utf8(frame.payload).unwrap();
        let value: Value = serde_json::from_str(text.trim_end_matches('\u{1e}')).unwrap();
        if value["type"] != 6 {
            return value;
        }
    }
}

#[track_caller]
fn call(ws: &mut Ws, kind: u8, target: &str, arguments: &Value) -> Value {
    let call = json!({ "type": kind, "invocationId": "1", "target": target, "arguments": arguments });
    ws.send(ws::TEXT, format!("{call}\u{1e}").as_bytes());
    let answer = message(ws);
    assert_eq!((&answer["type"], &answer["invocationId"]), (&json!(3), &json!("1")), "{answer}");
    answer
}

fn challenge(answer: &Response) -> &str {
    answer.header("www-authenticate").unwrap_or_default()
}

// === connecting ===

#[test]
fn without_a_token_every_request_is_401() {
    let server = server();
    for line in [
        "POST /secure/negotiate?negotiateVersion=1",
        "GET /secure/negotiate",
        "OPTIONS /secure/negotiate",
        "GET /secure",
        "GET /secure?id=x",
        "POST /secure?id=x",
        "DELETE /secure?id=x",
        "PUT /secure",
        "POST /admins/negotiate",
    ] {
        let answer = ask(&server, line, None, "");
        assert_eq!((answer.status, challenge(&answer), answer.body.len()), (401, "Bearer", 0), "{line}");
        assert_eq!((answer.header("content-type"), answer.header("cache-control")), (None, None), "{line}");
    }
    let (status, head) = upgrade(&server, "/secure");
    assert!(status == 401 && head.to_lowercase().contains("www-authenticate: bearer\r\n"), "{head}");
    // Other paths do not check tokens.
    assert_eq!(ask(&server, "GET /healthz", Some("nonsense"), "").status, 200);
    assert_eq!(ask(&server, "GET /nowhere", Some("nonsense"), "").status, 404);
}

#[test]
fn an_invalid_token_is_answered_with_the_reason() {
    let server = server();
    let good = token_of("ann");
    let old = token(&["--user", "ann", "--expires", "0s"]);
    until("it has expired", TIMEOUT, || {
        let answer = ask(&server, "POST /secure/negotiate", Some(&old), "");
        challenge(&answer).contains("error_description=\"The token expired at '").then_some(())
    });
    let (message, _) = good.rsplit_once('.').unwrap();
    let unsigned = "Bearer error=\"invalid_token\", error_description=\"The signature is invalid\"";
    let unknown = "Bearer error=\"invalid_token\", error_description=\"The signature key was not found\"";
    for hub in ["secure", "open"] {
        for (token, expected) in [
            ("nonsense".to_owned(), "Bearer error=\"invalid_token\""),
            (format!("{message}."), unsigned),
            (format!("{message}.AAAA"), unknown),
        ] {
            for answer in [
                ask(&server, &format!("POST /{hub}/negotiate"), Some(&token), ""),
                ask(&server, &format!("POST /{hub}/negotiate?access_token={token}"), Some(&good), ""),
                ask(&server, &format!("GET /{hub}?id=x"), Some(&token), ""),
            ] {
                assert_eq!((answer.status, challenge(&answer), answer.body.len()), (401, expected, 0), "{token}");
            }
        }
        let line = format!("POST /{hub}/negotiate?access_token={good}");
        assert_eq!(ask(&server, &line, Some("nonsense"), "").status, 200, "the query wins");
    }
}

#[test]
fn an_unauthorized_user_gets_403() {
    let server = server();
    let admin = token(&["--user", "ann", "--role", "owner", "--claim", "tier=gold"]);
    let line = "POST /admins/negotiate";
    assert_eq!(ask(&server, line, Some(&admin), "").status, 200);
    for arguments in [
        &["--user", "ann"][..],
        &["--user", "ann", "--role", "admin"],
        &["--user", "ann", "--role", "editor", "--claim", "tier=gold"],
        &["--user", "ann", "--role", "admin", "--claim", "tier=silver"],
    ] {
        let token = token(arguments);
        for line in [line, "GET /admins?id=x", "POST /admins?id=x", "DELETE /admins?id=x", "PUT /admins"] {
            let answer = ask(&server, line, Some(&token), "x");
            assert_eq!((answer.status, answer.body.len()), (403, 0), "{line}");
            assert_eq!((answer.header("www-authenticate"), answer.header("content-type")), (None, None), "{line}");
        }
        assert_eq!(upgrade(&server, &format!("/admins?access_token={token}")).0, 403);
    }
}

#[test]
fn the_user_of_the_token_is_the_user_of_the_connection() {
    let server = server();
    let (mut ann, mut bob) =
        (connect(&server, "secure", &token_of("ann")), connect(&server, "secure", &token_of("bob")));
    assert_eq!(call(&mut ann, 1, "WhoAmI", &json!([]))["result"], "ann");
    let sent = call(&mut ann, 1, "Tell", &json!(["bob", "hello"]));
    assert_eq!(sent["error"], Value::Null, "{sent}");
    assert_eq!(message(&mut bob)["arguments"], json!(["hello"]));
    // An open hub accepts clients with and without a token.
    let mut anonymous = Ws::open_with_handshake(server.address, "/open", "json");
    assert_eq!(call(&mut anonymous, 1, "WhoAmI", &json!([]))["result"], Value::Null);
    let mut ann = connect(&server, "open", &token_of("ann"));
    assert_eq!(call(&mut ann, 1, "WhoAmI", &json!([]))["result"], "ann");
}

#[test]
fn another_users_token_gets_403_and_the_connection_stays_open() {
    let server = server();
    let (ann, again, bob) = (token_of("ann"), token(&["--user", "ann", "--expires", "2h"]), token_of("bob"));
    let id = negotiate(&server, "secure", Some(&ann));
    let target = format!("/secure?id={id}");
    let refused = |line: &str, token: Option<&str>, status: u16| {
        let answer = ask(&server, line, token, "x");
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{line}");
    };
    refused(&format!("GET {target}"), Some(&bob), 403);
    assert_eq!(upgrade(&server, &format!("{target}&access_token={bob}")).0, 403);
    assert_eq!(ask(&server, &format!("GET {target}"), Some(&ann), "").status, 200, "the first poll");
    for verb in ["GET", "POST", "DELETE"] {
        refused(&format!("{verb} {target}"), Some(&bob), 403);
        refused(&format!("{verb} {target}"), None, 401);
    }
    // Ann's connection still works, also with another token of hers.
    let hello = "{\"protocol\":\"json\",\"version\":1}\u{1e}{\"type\":1,\"invocationId\":\"1\",\"target\":\"WhoAmI\",\"arguments\":[]}\u{1e}";
    assert_eq!(ask(&server, &format!("POST {target}"), Some(&again), hello).status, 200);
    let mut seen = String::new();
    until("the call is answered", TIMEOUT, || {
        seen += &ask(&server, &format!("GET {target}"), Some(&again), "").text();
        seen.contains("\"result\":\"ann\"").then_some(())
    });
    assert_eq!(ask(&server, &format!("DELETE {target}"), Some(&ann), "").status, 202);
    // On an open hub, a connection that was negotiated with a token cannot be used without one.
    let id = negotiate(&server, "open", Some(&ann));
    refused(&format!("GET /open?id={id}"), None, 403);
    assert_eq!(ask(&server, &format!("GET /open?id={id}"), Some(&ann), "").status, 200);
    // A connection that was negotiated without a token belongs to the user that attaches first.
    let id = negotiate(&server, "open", None);
    assert_eq!(ask(&server, &format!("GET /open?id={id}"), Some(&ann), "").status, 200);
    refused(&format!("POST /open?id={id}"), Some(&bob), 403);
}

// === permissions ===

#[test]
fn a_method_with_a_rule_is_only_for_authorized_users() {
    let server = server();
    let mut ann = connect(&server, "secure", &token_of("ann"));
    let mut root = connect(&server, "secure", &token(&["--user", "root", "--role", "admin"]));
    assert_eq!(call(&mut root, 1, "delete", &json!(["x"]))["result"], "x");
    for kind in [1, 4] {
        let answer = call(&mut ann, kind, "DELETE", &json!(["x"]));
        assert_eq!(answer["error"], "Failed to invoke 'Delete' because user is unauthorized");
    }
    // Arguments are bound before the authorization is checked, and whether the call streams is checked after it.
    let answer = call(&mut ann, 1, "Delete", &json!([]));
    let text = "Failed to invoke 'Delete' due to an error on the server. InvalidDataException: ";
    assert!(answer["error"].as_str().unwrap().starts_with(text), "{answer}");
    let answer = call(&mut root, 4, "Delete", &json!(["x"]));
    assert!(
        answer["error"].as_str().unwrap().starts_with("The client attempted to invoke the non-streaming"),
        "{answer}"
    );
    // A call without an invocation id is not answered.
    ann.send(ws::TEXT, b"{\"type\":1,\"target\":\"Delete\",\"arguments\":[\"x\"]}\x1e");
    assert_eq!(call(&mut ann, 1, "WhoAmI", &json!([]))["result"], "ann");
}

#[test]
fn allowed_groups_limit_the_groups_that_a_caller_may_join() {
    let server = server();
    let mut ann = connect(&server, "secure", &token_of("ann"));
    for group in ["user:ann", "room-", "room-7"] {
        let answer = call(&mut ann, 1, "Join", &json!([group]));
        assert_eq!(answer["error"], Value::Null, "{group}");
    }
    for group in ["user:bob", "room", "ROOM-7", "", "*"] {
        let answer = call(&mut ann, 1, "Join", &json!([group]));
        let base = "An unexpected error occurred invoking 'Join' on the server.";
        assert_eq!(
            answer["error"],
            format!("{base} HubException: the caller may not join that group (allowed_groups)")
        );
        assert_eq!(call(&mut ann, 1, "JoinAny", &json!([group]))["error"], Value::Null, "{group}");
    }
}

// === expiration ===

#[test]
fn a_connection_ends_with_its_token_and_polls_can_renew_it() {
    let server = server();
    let short = || token(&["--user", "ann", "--expires", TOKEN_LIFETIME]);
    let first = short();
    let id = negotiate(&server, "secure", Some(&first));
    let target = format!("/secure?id={id}");
    assert_eq!(ask(&server, &format!("GET {target}"), Some(&first), "").status, 200);
    let long = token_of("ann");
    let hello = "{\"protocol\":\"json\",\"version\":1}\u{1e}";
    assert_eq!(ask(&server, &format!("POST {target}"), Some(&long), hello).status, 200);
    assert_eq!(
        ask(&server, &format!("GET {target}"), Some(&long), "").text(),
        "{}\u{1e}",
        "a poll with a longer token"
    );
    let mut kept = connect(&server, "secure", &long);
    let mut ws = connect(&server, "secure", &short());
    assert_eq!(message(&mut ws), json!({ "type": 7, "allowReconnect": true }));
    assert_eq!(ws.read_to_end(within(TIMEOUT)).1, "close 1000");
    assert_eq!(server.metric("signalr_connections_closed_total", &["authentication_expired", "secure"]), 1.0);
    // The first token was issued earlier, so it has expired too.
    assert_eq!(ask(&server, &format!("POST {target}"), Some(&first), "x").status, 401);
    let echo = "{\"type\":1,\"invocationId\":\"1\",\"target\":\"WhoAmI\",\"arguments\":[]}\u{1e}";
    assert_eq!(ask(&server, &format!("POST {target}"), Some(&long), echo).status, 200);
    assert!(ask(&server, &format!("GET {target}"), Some(&long), "").text().contains("\"result\":\"ann\""));
    assert_eq!(call(&mut kept, 1, "WhoAmI", &json!([]))["result"], "ann");
}

#[test]
fn without_the_option_a_connection_outlives_its_token() {
    let config = format!("[auth]\nkeys = {KEYS}\nclock_skew = \"0s\"\n{HUBS}")
        .replace("expiration = true", "expiration = false");
    let server = Server::setup().config(&config).start().ready();
    let short = token(&["--user", "ann", "--expires", TOKEN_LIFETIME]);
    let mut ann = connect(&server, "secure", &short);
    until("the token has expired", TIMEOUT * 2, || {
        (ask(&server, "POST /secure/negotiate", Some(&short), "").status == 401).then_some(())
    });
    // Long enough for two sweeps, which would have closed the connection.
    thread::sleep(Duration::from_secs(2) + QUIET_PERIOD);
    assert_eq!(call(&mut ann, 1, "WhoAmI", &json!([]))["result"], "ann");
}

#[test]
fn a_waiting_poll_ends_when_the_token_expires() {
    let server = server();
    let short = token(&["--user", "ann", "--expires", TOKEN_LIFETIME]);
    let target = format!("/secure?id={}", negotiate(&server, "secure", Some(&short)));
    assert_eq!(ask(&server, &format!("GET {target}"), Some(&short), "").status, 200);
    let hello = "{\"protocol\":\"json\",\"version\":1}\u{1e}";
    assert_eq!(ask(&server, &format!("POST {target}"), Some(&short), hello).status, 200);
    assert_eq!(ask(&server, &format!("GET {target}"), Some(&short), "").text(), "{}\u{1e}");
    let closed = ask(&server, &format!("GET {target}"), Some(&short), "");
    assert_eq!((closed.status, closed.text().as_str()), (200, "{\"type\":7,\"allowReconnect\":true}\u{1e}"));
    assert_eq!(ask(&server, &format!("GET {target}"), Some(&token_of("ann")), "").status, 204);
}

// === published keys ===

/// Starts a server that publishes a key set, and answers 503 while there is none.
fn key_server(set: Arc<Mutex<Option<&'static str>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            // A wrong request gets 503 too, which makes the test fail.
            let asked = request.starts_with(b"GET /keys?x=1 HTTP/1.1\r\n");
            let now = set.lock().unwrap().filter(|_| asked);
            let (status, body) = now.map_or(("503 Busy", ""), |body| ("200 OK", body));
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    address
}

#[test]
fn published_keys_are_awaited_used_and_rotated() {
    let set = Arc::new(Mutex::new(None));
    let address = key_server(set.clone());
    let config = format!("[auth]\njwks_url = \"http://{address}/keys?x=1\"\n{HUBS}");
    let server = Server::setup().config(&config).start();
    let tokens: Value = serde_json::from_str(include_str!("../keys/tokens.json")).unwrap();
    let named = |name: &str| tokens["named"][name].as_str().unwrap().to_owned();

    server.expect_ready(503, TIMEOUT);
    // The server prints its address a moment before it has started completely.
    until("it has started without keys", TIMEOUT, || {
        (server.get("/readyz").text() == "{\"ready\":false,\"reasons\":[\"no token keys\"]}").then_some(())
    });
    let answer = ask(&server, "POST /secure/negotiate", Some(&named("RS256")), "");
    assert_eq!((answer.status, answer.text().as_str()), (503, "The server has no keys yet to check tokens with"));
    assert_eq!(ask(&server, "POST /secure/negotiate", None, "").status, 401);
    assert_eq!(ask(&server, "POST /open/negotiate", None, "").status, 200, "a request without a token needs no keys");

    *set.lock().unwrap() = Some(include_str!("../keys/jwks.json"));
    let server = server.ready();
    for name in ["RS256", "PS512", "ES256", "ES384", "EdDSA"] {
        let mut ws = connect(&server, "secure", &named(name));
        assert_eq!(call(&mut ws, 1, "WhoAmI", &json!([]))["result"], "ann", "{name}");
    }
    // Rotation: the first token with an unknown key makes the server fetch the keys, once the minimum interval has
    // passed.
    let new = named("RS256 of other-rsa");
    assert_eq!(ask(&server, "POST /secure/negotiate", Some(&new), "").status, 401);
    *set.lock().unwrap() = Some(include_str!("../keys/jwks-rotated.json"));
    until("the new key is known", TIMEOUT * 2, || {
        (ask(&server, "POST /secure/negotiate", Some(&new), "").status == 200).then_some(())
    });
    assert_eq!(ask(&server, "POST /secure/negotiate", Some(&named("RS256")), "").status, 401, "the old key is gone");
    // The key server fails: the known keys are kept, and the server stays ready.
    *set.lock().unwrap() = None;
    assert_eq!(ask(&server, "POST /secure/negotiate", Some(&new), "").status, 200);
    server.expect_ready(200, TIMEOUT);
    server.expect_logged("could not be fetched", 1); // one line for each change
}

// === log and output ===

#[test]
fn no_token_is_ever_logged() {
    for format in ["text", "json"] {
        let config = format!("[auth]\nkeys = {KEYS}\nclock_skew = \"0s\"\n{HUBS}");
        let server = Server::setup().config(&config).env("LOG", "trace").env("LOG_FORMAT", format).start().ready();
        let (good, old) = (token(&["--user", "ann"]), token(&["--user", "ann", "--expires", "0s"]));
        let foreign = format!("{}.AAAASIGNATUREAAAA", good.rsplit_once('.').unwrap().0);
        for token in [good.as_str(), &old, &foreign, "NONSENSE.TOKEN"] {
            for hub in ["secure", "open", "admins"] {
                // With a valid token, there is no connection with that id, but a WebSocket without an id can be opened.
                let [negotiated, found, upgraded] = match (token == good, hub) {
                    (true, "admins") => [403, 403, 403],
                    (true, _) => [200, 404, 101],
                    (false, _) => [401, 401, 401],
                };
                for (line, header, status) in [
                    (format!("POST /{hub}/negotiate"), Some(token), negotiated),
                    (format!("POST /{hub}/negotiate?access_token={token}"), None, negotiated),
                    (format!("GET /{hub}?id=x&access_token={token}"), Some(token), found),
                    (format!("POST /{hub}?id=x&access_token={token}"), None, found),
                    (format!("GET /nowhere?access_token={token}"), Some(token), 404),
                ] {
                    assert_eq!(ask(&server, &line, header, "").status, status, "{line}");
                }
                assert_eq!(upgrade(&server, &format!("/{hub}?access_token={token}")).0, upgraded, "{hub} {token}");
            }
        }
        let mut ws = connect(&server, "secure", &good);
        call(&mut ws, 1, "Delete", &json!(["x"]));
        ws.send(ws::TEXT, b"nonsense\x1e");
        assert_eq!(ws.read_to_end(within(TIMEOUT)).1, "close 1000");
        until("its end is logged", TIMEOUT, || (server.logged("protocol_error") > 0).then_some(()));
        let log = server.log();
        for secret in [&good, &old, "NONSENSE", "AAAASIGNATUREAAAA", "the secret of these tests", "access_token"] {
            assert!(!log.contains(secret), "{format}: {secret}\n{log}");
        }
        // Not even a part of a token, such as its signature, is logged.
        assert!(!log.contains(good.rsplit_once('.').unwrap().1));
    }
}

#[test]
fn the_startup_text_says_who_may_connect() {
    let config = format!("[auth]\nkeys = {KEYS}\n{HUBS}");
    let folder = std::env::temp_dir().join(crate::kit::unique("hubplane-auth"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("hubplane.toml"), config).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_hubplane"))
        .args(["--listen", "127.0.0.1:0"])
        .current_dir(&folder)
        .env_clear()
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut text = String::new();
    let mut stdout = child.stdout.take().unwrap();
    while !text.contains("/metrics") {
        let mut piece = [0; 512];
        let length = stdout.read(&mut piece).unwrap();
        assert!(length > 0, "{text}");
        text += &String::from_utf8_lossy(&piece[..length]);
    }
    drop(child.kill());
    drop(child.wait());
    for part in [
        "/secure (needs a token)",
        "/admins (needs a token with role admin or owner, tier gold)",
        "/open (open: clients may connect without a token; a token that is sent is checked)",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn the_token_command_says_what_is_missing() {
    for (arguments, code, part) in [
        (&["token"][..], 2, "--user"),
        (&["token", "--user", "a", "--claim", "tier"], 2, "--claim must be TYPE=VALUE"),
        (&["token", "--user", "a", "--expires", "soon"], 2, "--expires must be a duration"),
        (&["token", "--user", "a", "--claim", "exp=1"], 78, "the claim exp is set by the command itself"),
    ] {
        let output = command(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{stderr}");
        assert!(stderr.contains(part), "{stderr}");
    }
    let keyless = Command::new(env!("CARGO_BIN_EXE_hubplane"))
        .args(["token", "--user", "a"])
        .current_dir(env!("CARGO_TARGET_TMPDIR")) // contains no configuration file
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(keyless.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&keyless.stderr).contains("auth.keys has no symmetric key"), "{keyless:?}");
    // `check` lists the keys without showing the secrets.
    let output = command(&["check"]);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(stdout.contains("auth.keys = [{ algorithm = \"HS256\", secret = \"***\" }]"), "{stdout}");
    assert!(!stdout.contains("the secret of these tests"), "{stdout}");
}
