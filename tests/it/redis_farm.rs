//! Tests of several servers on one Redis: which messages reach which clients, and foreign messages on the channels.

use serde_json::json;

use crate::kit::client::settle;
use crate::kit::{Client, Protocol, Redis, Server, TIMEOUT, Transport, unique, until, within};

#[test]
fn prefixes_keep_farms_apart() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    let server = |prefix: &str| Server::setup().redis(&redis).env("BACKPLANE__CHANNEL_PREFIX", prefix).start().ready();
    let (one, other) = (server("One"), server("Other"));
    let in_string = Server::setup()
        .env("BACKPLANE__CONNECTION", format!("{},channelPrefix=One", redis.connection()))
        .start()
        .ready();
    // The key of the configuration wins over the one in the string.
    let in_both = Server::setup()
        .env("BACKPLANE__CONNECTION", format!("{},channelPrefix=Other", redis.connection()))
        .env("BACKPLANE__CHANNEL_PREFIX", "One")
        .start()
        .ready();
    let (mut a, mut b, mut c) = (Client::ws(one.address), Client::ws(other.address), Client::ws(in_string.address));
    let mut d = Client::ws(in_both.address);
    a.expect("UserConnected", json!([c.id]));
    for client in [&mut a, &mut b, &mut c, &mut d] {
        client.ok("JoinRoom", json!(["room"]));
    }
    a.ok("SendMessage", json!(["a", "hello"]));
    a.ok("SendToRoom", json!(["room", "hello"]));
    b.ok("SendMessage", json!(["b", "hello"]));
    c.expect("ReceiveMessage", json!(["a", "hello"]));
    c.expect("ReceiveMessage", json!(["room", "hello"]));
    d.expect("ReceiveMessage", json!(["a", "hello"]));
    d.expect("ReceiveMessage", json!(["room", "hello"]));
    settle(&mut [&mut a, &mut c, &mut d]);
    settle(&mut [&mut b]);
    assert_eq!(b.count("ReceiveMessage", &json!(["a", "hello"])), 0);
    assert_eq!(b.count("ReceiveMessage", &json!(["room", "hello"])), 0);
    assert_eq!(a.count("ReceiveMessage", &json!(["b", "hello"])), 0);
}

const JOIN: u8 = 1;
const LEAVE: u8 = 2;

/// A group command of the node `other`: [id, server, action, group, connection]
/// (docs/builders/redis-backplane.md#A.4).
fn group_command(id: u32, action: u8, group: &str, connection: &str) -> Vec<u8> {
    let mut payload = b"\x95\xce".to_vec();
    payload.extend(id.to_be_bytes());
    payload.extend(b"\xa5other");
    payload.push(action);
    for text in [group, connection] {
        payload.push(0xa0 | u8::try_from(text.len()).unwrap());
        payload.extend(text.bytes());
    }
    payload
}

#[test]
fn group_commands_are_executed_and_acknowledged() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    let server = Server::setup().redis(&redis).start().ready();
    let client = Client::ws(server.address);
    let mut monitor = redis.monitor();
    for (id, action, members) in [(7, JOIN, 1), (8, LEAVE, 0)] {
        redis.publish("chat:internal:groups", &group_command(id, action, "room", &client.id));
        // docs/builders/redis-backplane.md#A.5
        let mut ack = b"$23\r\nchat:internal:ack:other\r\n$2\r\n\x91".to_vec();
        ack.push(u8::try_from(id).unwrap());
        monitor
            .take(within(TIMEOUT), |held| {
                let at = held.windows(ack.len()).position(|window| window == ack)?;
                Some(((), at + ack.len()))
            })
            .unwrap();
        redis.subscribed("chat:group:room", members + 1); // the monitor is a subscriber too
    }
}

/// Each join waits for its subscription, whose confirmation arrives after all of the commands.
#[test]
fn many_group_commands_do_not_block_subscriptions() {
    testkit::needs!("redis-server");
    const COMMANDS: u32 = 8_000;
    let redis = Redis::start();
    let server = Server::setup().redis(&redis).start().ready();
    let mut client = Client::ws(server.address);
    let command = |number: u32| group_command(number, JOIN, &format!("room-{number:05}"), &client.id);
    redis.publish_all("chat:internal:groups", (0..COMMANDS).map(command));
    let last = format!("chat:group:room-{:05}", COMMANDS - 1);
    until("the last room is subscribed", 6 * TIMEOUT, || (redis.publish(&last, b"\x92\x90\x80") == 1).then_some(()));
    client.ok("SendMessage", json!(["me", "heard"]));
    client.expect("ReceiveMessage", json!(["me", "heard"]));
}

#[test]
fn hubs_do_not_receive_each_others_messages() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    let server = |name: &str| Server::setup().redis(&redis).env("HUBS__CHAT__BACKPLANE_NAME", name).start().ready();
    let (one, other) = (server("Chat.ChatHub"), server("chat.chathub"));
    let (mut a, mut b) = (Client::ws(one.address), Client::ws(other.address));
    redis.subscribed("Chat.ChatHub:all", 1);
    a.ok("SendMessage", json!(["a", "hello"]));
    settle(&mut [&mut b]);
    assert_eq!(b.count("ReceiveMessage", &json!(["a", "hello"])), 0, "channel names are case-sensitive");
}

#[test]
fn a_third_replica_receives_the_messages_of_two() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    let servers: Vec<_> = (0..3).map(|_| Server::on(&redis)).collect();
    let mut clients: Vec<_> = servers
        .iter()
        .flat_map(|server| {
            [Protocol::Json, Protocol::MessagePack].map(|p| Client::connect(server.address, Transport::WebSockets, p))
        })
        .collect();
    let room = unique("room");
    for client in &mut clients {
        client.ok("JoinRoom", json!([room]));
    }
    for sender in 0..clients.len() {
        clients[sender].ok("SendToRoom", json!([room, format!("from {sender}")]));
        clients[sender].ok("SendMessage", json!([format!("{sender}"), "all"]));
        for (number, client) in clients.iter_mut().enumerate() {
            client.expect("ReceiveMessage", json!([format!("{sender}"), "all"]));
            if number != sender {
                client.expect("ReceiveMessage", json!([room, format!("from {sender}")]));
            }
        }
    }
    settle(&mut clients.iter_mut().collect::<Vec<_>>());
    for (number, client) in clients.iter_mut().enumerate() {
        for sender in 0..6 {
            let expected = usize::from(sender != number);
            assert_eq!(client.count_now("ReceiveMessage", &json!([room, format!("from {sender}")])), expected);
            assert_eq!(client.count_now("ReceiveMessage", &json!([format!("{sender}"), "all"])), 1, "received once");
        }
    }
}

#[test]
fn foreign_bytes_on_redis_are_ignored() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    let (one, two) = (Server::on(&redis), Server::on(&redis));
    let (mut a, mut b) =
        (Client::ws(one.address), Client::connect(two.address, Transport::WebSockets, Protocol::MessagePack));
    a.expect("UserConnected", json!([b.id]));
    a.ok("JoinRoom", json!(["r"]));
    b.ok("JoinRoom", json!(["r"]));
    redis.subscribed("chat:all", 2);
    let deep = [vec![0x91; 100_000], vec![0xc0]].concat();
    let foreign: [&[u8]; 13] = [
        b"",
        b"hello",
        b"\xc0",
        b"\x90",
        b"\x91\x01",
        b"\x92\xc0\xc0",
        b"\x92\x90\xc0",
        b"\x92\x90\x81\xa4json\xc6\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\x92\xdd\xff\xff\xff\xff",
        b"\x92\x90\xdf\xff\xff\xff\xff",
        b"\xff\xfe\xfd",
        &deep,
    ];
    let channels = ["chat:all", "chat:group:r", "chat:internal:groups", &format!("chat:connection:{}", a.id)];
    for _ in 0..5 {
        for channel in channels {
            for bytes in foreign {
                redis.publish(channel, bytes);
            }
        }
    }
    settle(&mut [&mut a, &mut b]);
    b.ok("SendToRoom", json!(["r", "after"]));
    a.expect("ReceiveMessage", json!(["r", "after"]));
    assert_eq!(one.get("/readyz").status, 200);
    // Each kind of error is logged once, with the channel on which it first occurred: five kinds in messages, two in
    // group commands.
    for server in [&one, &two] {
        server.expect_logged("channel=\"chat:internal:groups\"", 2);
        server.expect_logged("channel=\"chat:all\"", 5);
        server.expect_logged("Ignored a message on a backplane channel", 7);
    }
}

#[test]
fn detailed_errors_include_the_reason() {
    let redis = Redis::absent();
    let server = Server::setup().redis(&redis).env("HUB_DEFAULTS__DETAILED_ERRORS", "true").start();
    let mut client = Client::ws(server.address);
    let error = client.invoke("SendMessage", json!(["a", "b"])).unwrap_err();
    let expected = "An unexpected error occurred invoking 'SendMessage' on the server. RedisConnectionException: ";
    assert!(error.starts_with(expected) && error.len() > expected.len(), "{error}");
}

#[test]
fn foreign_messages_that_cannot_be_converted_are_logged_once() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    let server = Server::on(&redis);
    let mut clients: Vec<_> = (0..3).map(|_| Client::ws(server.address)).collect();
    redis.subscribed("chat:all", 1);
    // The message exists in MessagePack only, and is invalid, so it cannot be transcoded for JSON clients.
    let payload = b"\x92\x90\x81\xabmessagepack\xc4\x01\xc1";
    for _ in 0..5 {
        redis.publish("chat:all", payload);
    }
    clients[0].ok("SendMessage", json!(["a", "still well"]));
    for client in &mut clients {
        client.expect("ReceiveMessage", json!(["a", "still well"]));
    }
    server.expect_logged("cannot be represented in this client's protocol", 1);
}
