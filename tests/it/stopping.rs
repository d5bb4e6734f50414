//! Tests of stopping: clients get a close message that lets them reconnect, then their transports end, and the process
//! exits with 0. Other signals, or a closed stdout, do not stop the server.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::kit::client::negotiate;
use crate::kit::stream::{ReadEnd, Stream};
use crate::kit::{
    Client, Message, PROCESS_TIMEOUT, Protocol, Server, Stopwatch, TIMEOUT, Transport, http, signal, until, within,
};

const CLOSE_WITH_RECONNECT: Message = Message::Close { error: None, reconnect: true };

#[test]
fn every_client_gets_a_close_message_on_shutdown() {
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
            assert_eq!(seen, (Some(CLOSE_WITH_RECONNECT), end.to_owned()), "{transport:?} {protocol:?} at SIG{name}");
        }
        assert_eq!(server.exit(PROCESS_TIMEOUT), Some(0));
    }
}

#[test]
fn unfinished_requests_do_not_delay_shutdown() {
    let mut server = Server::setup().start().ready();
    let clients =
        [(Transport::ServerSentEvents, "end of stream"), (Transport::LongPolling, "204")].map(|(transport, end)| {
            let mut client = Client::connect(server.address, transport, Protocol::Json);
            (std::thread::spawn(move || client.ending()), end)
        });
    let (_, token) = negotiate(server.address, "/chat");
    let bodies = ["/chat/negotiate?negotiateVersion=1", &format!("/chat?id={token}"), "/nowhere"].map(|target| {
        let mut stream = Stream::connect(server.address);
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
        stream.write(head.as_bytes());
        stream.write(b"half a bo");
        stream
    });
    let heads = ["", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"].map(|before| {
        let mut stream = Stream::connect(server.address);
        stream.write(before.as_bytes());
        if !before.is_empty() {
            assert_eq!(http::respond(&mut stream, within(TIMEOUT)).unwrap().status, 200);
        }
        stream.write(b"POST /chat/negotiate HTTP/1.1\r\nHo");
        stream
    });
    // The server has seen all requests that were sent before this one.
    assert_eq!(server.get("/healthz").status, 200);
    let begun = Stopwatch::start();
    server.signal("TERM");
    for (reader, end) in clients {
        assert_eq!(reader.join().unwrap(), (Some(CLOSE_WITH_RECONNECT), end.to_owned()));
    }
    assert_eq!(server.exit(PROCESS_TIMEOUT), Some(0));
    begun.within(Duration::from_secs(8), "it ends in time");
    let answers = bodies.map(|mut stream| http::respond(&mut stream, within(TIMEOUT)).map(|answer| answer.status));
    assert_eq!(answers, [Ok(408), Ok(408), Ok(404)]);
    for mut stream in heads {
        assert!(matches!(stream.fill(within(TIMEOUT)), Err(ReadEnd::Fin)));
    }
}

#[test]
fn readyz_reports_draining_before_clients_are_closed() {
    // The delay is long enough for everything that follows.
    let mut server = Server::setup().env("DRAIN_DELAY", "5s").start().ready();
    let mut client = Client::ws(server.address);
    let begun = Stopwatch::start();
    server.signal("TERM");
    server.expect_ready(503, TIMEOUT);
    assert!(server.get("/readyz").text().contains("draining"), "{}", server.get("/readyz").text());
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(client.ok("Echo", json!(["meanwhile"])), json!("meanwhile"));
    assert_eq!(client.ending().0, Some(CLOSE_WITH_RECONNECT));
    drop(client); // otherwise the server would wait for the answer to its close frame
    assert!(begun.elapsed() >= Duration::from_secs(5), "closed after {:?}", begun.elapsed());
    assert_eq!(server.exit(PROCESS_TIMEOUT), Some(0));
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let mut server = Server::setup().env("DRAIN_DELAY", "30s").start().ready();
    let _client = Client::ws(server.address);
    server.signal("TERM");
    server.expect_ready(503, TIMEOUT);
    let again = Stopwatch::start();
    server.signal("TERM");
    assert_eq!(server.exit(PROCESS_TIMEOUT), Some(1));
    again.within(Duration::from_secs(3), "it ends at once");
    server.expect_logged("error: a second request to stop ended the server", 1);
}

#[test]
fn other_signals_do_not_end_the_process() {
    let mut server = Server::setup().start().ready();
    let mut client = Client::ws(server.address);
    for (name, said) in
        [("HUP", "reloading the configuration is not available yet"), ("USR1", "USR1"), ("USR2", "USR2")]
    {
        server.signal(name);
        server.expect_logged(said, 1);
    }
    assert_eq!(client.ok("Echo", json!(["still here"])), json!("still here"));
    server.signal("TERM");
    assert_eq!(client.ending().0, Some(CLOSE_WITH_RECONNECT));
    drop(client);
    assert_eq!(server.exit(PROCESS_TIMEOUT), Some(0));
}

/// A server that is still starting: it waits for a Redis that accepts connections but never answers.
fn starting() -> (Running, TcpStream) {
    let redis = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = format!("{},abortConnect=true,connectTimeout=60000", redis.local_addr().unwrap());
    let server = Running::new(&[("HUBPLANE_BACKPLANE__CONNECTION", &connection)]);
    redis.set_nonblocking(true).unwrap();
    let (silent, _) = until("it connects to Redis", PROCESS_TIMEOUT, || redis.accept().ok());
    (server, silent)
}

#[test]
fn signals_are_handled_during_startup() {
    for name in ["TERM", "INT"] {
        let (mut server, _redis) = starting();
        for other in ["HUP", "USR1", "USR2"] {
            signal(other, server.0.id());
            let line = server.logged(other);
            assert!(line.contains(&format!("SIG{other}")), "{line}");
        }
        signal(name, server.0.id());
        assert_eq!(server.exit().code(), Some(0), "SIG{name}");
    }
}

#[test]
fn a_closed_stdout_does_not_end_the_process() {
    let mut server = Running::new(&[("HUBPLANE_LOG", "trace")]);
    let mut line = String::new();
    server.stdout().read_line(&mut line).unwrap();
    let address = line.split_once("http://").unwrap().1.split('/').next().unwrap().parse().unwrap();
    drop((server.0.stdout.take(), server.0.stderr.take()));
    // Each of these causes log lines, which cannot be written.
    let mut client = Client::ws(address);
    assert_eq!(client.ok("Echo", json!(["unread"])), json!("unread"));
    signal("HUP", server.0.id());
    signal("PIPE", server.0.id());
    assert_eq!(http::ask(address, "GET /healthz", b"").status, 200);
    signal("TERM", server.0.id());
    assert_eq!(client.ending().0, Some(CLOSE_WITH_RECONNECT));
    drop(client);
    assert_eq!(server.exit().code(), Some(0));
}

/// The binary with pipes that the test itself reads and closes. It may still be starting.
struct Running(Child);

impl Running {
    fn new(environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hubplane"));
        command.env_clear().env("HUBPLANE_LISTEN", "127.0.0.1:0").envs(environment.iter().copied());
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn stdout(&mut self) -> BufReader<&mut ChildStdout> {
        BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap())
    }

    /// Reads the log up to a line that contains this text.
    fn logged(&mut self, part: &str) -> String {
        let stderr: &mut ChildStderr = self.0.stderr.as_mut().unwrap();
        let lines = BufReader::with_capacity(1, stderr).lines().map(Result::unwrap);
        lines.into_iter().find(|line| line.contains(part)).unwrap_or_default()
    }

    fn exit(&mut self) -> ExitStatus {
        until("the server ends", PROCESS_TIMEOUT, || self.0.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

#[test]
fn a_client_that_does_not_answer_delays_shutdown_only_briefly() {
    let mut server = Server::setup().env("SHUTDOWN_TIMEOUT", "3s").start().ready();
    let _silent = Client::ws(server.address); // does not read, so it does not answer the close frame
    let _negotiated = http::ask(server.address, "POST /chat/negotiate?negotiateVersion=1", b"");
    let begun = Stopwatch::start();
    server.signal("TERM");
    assert_eq!(server.exit(PROCESS_TIMEOUT), Some(0));
    begun.within(Duration::from_secs(6), "it ends in time");
}
