//! Tests of declared methods that request client results or stream a group, on one node and on two that share a Redis.

use serde_json::json;

use crate::kit::{Client, Message, Protocol, Redis, Server, Transport};

const CONFIG: &str = r#"
[hubs.chat]
detailed_errors = true
[hubs.chat.methods.Ask]
params = ["id", "question"]
do = [{ ask = "Answer", to = "connection:{id}", args = ["{question}"], as = "answer" }]
returns = { answer = "{answer}" }
[hubs.chat.methods.AskBriefly]
params = ["id", "question"]
do = [{ ask = "Answer", to = "connection:{id}", args = ["{question}"], timeout = "2s", as = "answer" }]
returns = { answer = "{answer}" }
[hubs.chat.methods.Say]
params = ["room", "text"]
do = [{ send = "Said", to = "group:{room}", args = ["{text}"] }]
[hubs.chat.methods.Watch]
params = ["room"]
streams = "group:{room}"
do = [{ send = "Said", to = "group:{room}", args = ["ready"] }]
[hubs.chat.methods.SendMessage]
params = ["user", "message"]
do = [{ send = "ReceiveMessage", to = "all", args = ["{user}", "{message}"] }]
"#;

/// A client of the first node and one of the last, with different protocols.
fn pair(servers: &[Server]) -> (Client, Client) {
    let caller = Client::connect(servers[0].address, Transport::WebSockets, Protocol::Json);
    let last = servers.last().unwrap();
    (caller, Client::connect(last.address, Transport::LongPolling, Protocol::MessagePack))
}

fn ask(servers: &[Server], disconnected: &str) {
    let (mut caller, mut callee) = pair(servers);
    let base = "An unexpected error occurred invoking 'Ask' on the server. HubException: ";
    let deep = json!({ "list": [1, null, "h\u{e9}"], "n": 1.5 });
    let call = caller.begin("Ask", json!([callee.id, 1]));
    let question = callee.question("Answer", &json!(1));
    callee.answer(&question, Ok(deep.clone()));
    assert_eq!(caller.completion(&call), Ok(json!({ "answer": deep })));

    let call = caller.begin("Ask", json!([callee.id, 2]));
    let question = callee.question("Answer", &json!(2));
    callee.answer(&question, Err("Error: from callback"));
    assert_eq!(caller.completion(&call), Err(format!("{base}Error: from callback")));

    let error = caller.invoke("Ask", json!(["nobody", 3]));
    assert_eq!(error, Err(format!("{base}Connection 'nobody' does not exist.")));

    let call = caller.begin("AskBriefly", json!([callee.id, 4]));
    callee.question("Answer", &json!(4));
    let briefly = base.replace("'Ask'", "'AskBriefly'");
    assert_eq!(caller.completion(&call), Err(format!("{briefly}Invocation canceled by the server.")));

    let call = caller.begin("Ask", json!([callee.id, 5]));
    callee.question("Answer", &json!(5));
    let text = disconnected.replace("ID", &callee.id);
    callee.leave();
    assert_eq!(caller.completion(&call), Err(format!("{base}{text}")));
}

#[test]
fn results_come_from_clients_of_the_same_node() {
    ask(&[Server::setup().config(CONFIG).start().ready()], "Connection 'ID' disconnected.");
}

#[test]
fn results_come_from_clients_of_another_node() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    let servers = [0, 1].map(|_| Server::setup().config(CONFIG).redis(&redis).start().ready());
    ask(&servers, "Connection disconnected.");
}

/// A monitor counts as a subscriber of every channel, so the request seems to reach a node. The timeout ends the wait.
#[test]
fn a_redis_monitor_does_not_block_a_client_result() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    let server = Server::setup().config(CONFIG).redis(&redis).start().ready();
    let mut caller = Client::ws(server.address);
    let _monitor = redis.monitor();
    redis.subscribed("nobody:at:all", 1);
    let error = caller.invoke("AskBriefly", json!(["nobody", 1])).unwrap_err();
    assert!(error.ends_with("HubException: Invocation canceled by the server."), "{error}");
}

fn watch(servers: &[Server], by: Protocol) {
    let (mut speaker, _) = pair(servers);
    let mut watcher = Client::connect(servers.last().unwrap().address, Transport::WebSockets, by);
    let stream = watcher.stream("Watch", json!(["room"]));
    // The stream includes what the method's own steps send, since it is subscribed before they run.
    for text in [json!("ready"), json!([{ "deep": 1 }])] {
        if text != json!("ready") {
            speaker.ok("Say", json!(["room", text]));
        }
        let expected = json!({ "target": "Said", "arguments": [text] });
        watcher.wait(&expected.to_string(), |message| match message {
            Message::Item { id, item } if *id == stream && *item == expected => Some(()),
            _ => None,
        });
    }
    speaker.ok("Say", json!(["another room", "no"]));
    watcher.ok("SendMessage", json!(["a", "end"]));
    watcher.expect("ReceiveMessage", json!(["a", "end"]));
    assert_eq!(watcher.count("Said", &json!(["ready"])), 0, "streaming a group does not make the client a member");
}

#[test]
fn a_group_is_streamed_on_one_node() {
    let servers = [Server::setup().config(CONFIG).start().ready()];
    watch(&servers, Protocol::Json);
    watch(&servers, Protocol::MessagePack);
}

#[test]
fn a_group_is_streamed_across_nodes() {
    testkit::needs!("redis-server");
    let redis = Redis::start();
    let servers = [0, 1].map(|_| Server::setup().config(CONFIG).redis(&redis).start().ready());
    watch(&servers, Protocol::Json);
    watch(&servers, Protocol::MessagePack);
}
