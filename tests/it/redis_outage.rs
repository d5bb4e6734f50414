//! Tests of Redis outages: clients stay connected, callers get errors, and everything recovers soon without help.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::{Client, Protocol, Redis, Server, Stopwatch, TIMEOUT, Transport, unique, until};

/// How soon after Redis answers again broadcasts must arrive again.
const RECOVERY_LIMIT: Duration = Duration::from_secs(2);
const REFUSED: &str = "An unexpected error occurred invoking 'SendMessage' on the server.";

/// Two servers with a client on each; both clients are members of one room.
struct Farm {
    redis: Redis,
    servers: [Server; 2],
    clients: [Client; 2],
    room: String,
}

impl Farm {
    fn new() -> Self {
        let redis = Redis::start();
        let servers = [0, 1].map(|_| Server::setup().redis_with_defaults(&redis).start().ready());
        let mut clients = [
            Client::ws(servers[0].address),
            Client::connect(servers[1].address, Transport::WebSockets, Protocol::MessagePack),
        ];
        let room = unique("room");
        for client in &mut clients {
            client.ok("JoinRoom", json!([room]));
        }
        let mut farm = Self { redis, servers, clients, room };
        farm.works_again(Stopwatch::start());
        farm
    }

    /// Checks that within `RECOVERY_LIMIT` after `since` a broadcast and a room message arrive in both directions, once
    /// each.
    #[track_caller]
    fn works_again(&mut self, since: Stopwatch) {
        let mut arrived = Vec::new();
        for (from, to) in [(0, 1), (1, 0)] {
            for (method, first) in [("SendMessage", "all".to_owned()), ("SendToRoom", self.room.clone())] {
                let what = format!("{method} from {from} arrives at {to}");
                arrived.push((to, arrives(&what, &mut self.clients, (from, to), method, &first)));
            }
        }
        since.within(RECOVERY_LIMIT, "everything works again");
        for (to, message) in arrived {
            assert_eq!(self.clients[to].count("ReceiveMessage", &message), 1, "{message}");
        }
    }

    /// Checks what an outage causes: callers get errors, and `/readyz` fails. Clients stay connected, new ones can
    /// connect, and what does not need Redis works.
    #[track_caller]
    fn is_down(&mut self) {
        for (server, client) in self.servers.iter().zip(&mut self.clients) {
            until("callers get the error", TIMEOUT, || client.invoke("SendMessage", json!(["x", "y"])).err());
            assert_eq!(client.invoke("SendMessage", json!(["x", "y"])), Err(REFUSED.to_owned()));
            server.expect_ready(503, TIMEOUT);
            assert!(
                server.get("/readyz").text().to_lowercase().contains("backplane"),
                "{}",
                server.get("/readyz").text()
            );
            assert_eq!(server.get("/healthz").status, 200);
            server.expect_metric("signalr_backplane_up", 0.0);
            assert_eq!(client.ok("Echo", json!(["still here"])), json!("still here"));
            let mut newcomer = Client::connect(server.address, Transport::LongPolling, Protocol::Json);
            assert_eq!(newcomer.ok("Echo", json!(["new here"])), json!("new here"));
            newcomer.ok("LeaveRoom", json!(["somewhere"]));
        }
    }

    #[track_caller]
    fn is_up(&self) {
        for server in &self.servers {
            server.expect_ready(200, RECOVERY_LIMIT);
            server.expect_metric("signalr_backplane_up", 1.0);
        }
    }

    /// Checks that each transition is logged once.
    #[track_caller]
    fn expect_log_lines(&self, times: usize) {
        for server in &self.servers {
            server.expect_logged("Connection to Redis failed", times);
            server.expect_logged("Connection to Redis restored", times);
        }
    }
}

/// Sends from one client until a message arrives at the other, and returns that message. A call that fails is repeated,
/// and so is one whose message the other node missed because it reconnected a moment later.
#[track_caller]
fn arrives(what: &str, clients: &mut [Client; 2], (from, to): (usize, usize), method: &str, first: &str) -> Value {
    let mut sent = Vec::new();
    until(what, TIMEOUT, || {
        let message = json!([first, unique("again")]);
        clients[from].invoke(method, message.clone()).ok()?;
        sent.push(message);
        clients[to].catch_up();
        sent.iter().find(|message| clients[to].count_now("ReceiveMessage", message) > 0).cloned()
    })
}

#[test]
fn everything_recovers_when_redis_is_killed_and_restarted() {
    testkit::needs!("redis-server");
    let mut farm = Farm::new();
    for times in 1..=2 {
        farm.redis.kill();
        farm.is_down();
        // The join itself succeeds, and its subscription is made later. The notice that the method sends afterwards
        // needs Redis and fails.
        let late = unique("late");
        assert_eq!(farm.clients[0].invoke("JoinRoom", json!([late])), Err(REFUSED.replace("SendMessage", "JoinRoom")));
        farm.redis.run();
        farm.works_again(Stopwatch::start());
        farm.is_up();
        farm.clients[1].ok("SendToRoom", json!([late, "heard"]));
        farm.clients[0].expect("ReceiveMessage", json!([late, "heard"]));
        farm.expect_log_lines(times);
    }
}

#[test]
fn a_server_starts_while_redis_is_down() {
    testkit::needs!("redis-server");
    let mut redis = Redis::absent();
    let servers = [0, 1].map(|_| Server::setup().redis_with_defaults(&redis).start());
    let mut clients = [Client::ws(servers[0].address), Client::ws(servers[1].address)];
    for (server, client) in servers.iter().zip(&mut clients) {
        assert_eq!(server.get("/readyz").status, 503);
        assert_eq!(server.get("/healthz").status, 200);
        assert_eq!(client.ok("Echo", json!([1])), json!(1));
        assert_eq!(client.invoke("SendMessage", json!(["x", "y"])), Err(REFUSED.to_owned()));
    }
    redis.run();
    let since = Stopwatch::start();
    let message = arrives("a broadcast arrives", &mut clients, (0, 1), "SendMessage", "a");
    since.within(RECOVERY_LIMIT, "a broadcast arrives");
    assert_eq!(clients[1].count("ReceiveMessage", &message), 1, "{message}");
    servers.iter().for_each(|server| server.expect_ready(200, RECOVERY_LIMIT));
}

#[test]
fn with_abort_connect_a_server_does_not_start_while_redis_is_down() {
    let redis = Redis::absent();
    let connection = redis.connection_with_defaults().replace("abortConnect=false", "abortConnect=true");
    let (code, log) = Server::setup().env("BACKPLANE__CONNECTION", connection).ends();
    assert_eq!(code, Some(1), "{log}");
}

#[test]
fn killed_redis_connections_recover() {
    testkit::needs!("redis-server");
    let mut farm = Farm::new();
    for kind in ["pubsub", "normal"] {
        assert_eq!(farm.redis.command(&["CLIENT", "KILL", "TYPE", kind]), ":2", "{kind}");
        farm.works_again(Stopwatch::start());
        farm.is_up();
        for client in &mut farm.clients {
            assert_eq!(client.ok("Echo", json!([kind])), json!(kind));
        }
    }
}

#[test]
fn a_paused_redis_is_detected_and_recovers() {
    testkit::needs!("redis-server");
    let mut farm = Farm::new();
    farm.redis.pause();
    farm.is_down();
    farm.redis.resume();
    farm.works_again(Stopwatch::start());
    farm.is_up();
    farm.expect_log_lines(1);
}
