//! Tests of client results between two nodes that share an in-memory backplane.

use std::sync::Arc;
use std::time::Duration;

use super::kit::Node;
use crate::backplane::memory::MemoryBus;
use crate::config::HubOptions;
use crate::delivery::inbound::InboundDispatcher;
use crate::hub::{Caller, Methods};
use crate::protocol::RawValue;

/// Two nodes whose hub invokes clients by id: `Ask` returns any result, `Number` a number, and `Tell` expects none.
async fn two_nodes() -> (Node, Node) {
    let bus = MemoryBus::default();
    let node = async |id: &str| {
        let hub = Methods::new()
            .method("Ask", |caller: Caller, id: String, question: RawValue| async move {
                caller.clients().client(id).invoke::<RawValue, _>("Answer", (question,)).await
            })
            .method("Tell", |caller: Caller, id: String, value: RawValue| async move {
                caller.clients().client(id).send("Told", (value,)).await?;
                Ok(())
            })
            .method("Number", |caller: Caller, id: String| async move {
                caller.clients().client(id).invoke::<i32, _>("Answer", ()).await
            });
        let (backplane, arrived) = bus.node(id.into());
        let options = HubOptions { detailed_errors: true, ..HubOptions::default() };
        let node = Node::of(options, Arc::new(hub), backplane, id);
        node.host.delivery.subscribe_hub_channels().await;
        tokio::spawn(InboundDispatcher::new([node.host.delivery.clone()]).run(arrived));
        node
    };
    (node("one").await, node("two").await)
}

/// The invocation id of the only record, which invokes a client method, and the rest of the record.
fn question(records: &[String]) -> (String, String) {
    let [record] = records else { panic!("expected one invocation, got {records:?}") };
    let rest = record.split_once(r#""invocationId":""#).unwrap().1;
    let (id, rest) = rest.split_once('"').unwrap();
    (id.to_owned(), rest.to_owned())
}

fn error(method: &str, text: &str) -> String {
    format!(
        r#"{{"type":3,"invocationId":"1","error":"An unexpected error occurred invoking '{method}' on the server. {text}"}}"#
    )
}

#[tokio::test(start_paused = true)]
async fn results_and_errors_return_to_the_requesting_node() {
    let (one, two) = two_nodes().await;
    let (mut requester, mut responder) = (one.join("requester").await, two.join("responder").await);
    for (answer, completion) in [
        (r#""result":{"deep":[1.0,null]}"#, r#"{"type":3,"invocationId":"1","result":{"deep":[1.0,null]}}"#.to_owned()),
        (r#""error":"no""#, error("Ask", "HubException: no")),
    ] {
        requester.send(r#"{"type":1,"invocationId":"1","target":"Ask","arguments":["responder",[7]]}"#).await;
        let (id, rest) = question(&responder.all().await);
        assert_eq!(rest, r#","target":"Answer","arguments":[[7]]}"#);
        responder.send(&format!(r#"{{"type":3,"invocationId":"{id}",{answer}}}"#)).await;
        assert_eq!(requester.all().await, [completion]);
    }
    requester.send(r#"{"type":1,"invocationId":"1","target":"Number","arguments":["responder"]}"#).await;
    let (id, _) = question(&responder.all().await);
    responder.send(&format!(r#"{{"type":3,"invocationId":"{id}","result":"text"}}"#)).await;
    let completions = requester.all().await;
    let wrong = "HubException: Error trying to deserialize result to Int32. ";
    assert!(completions.len() == 1 && completions[0].contains(wrong), "{completions:?}");
}

#[tokio::test(start_paused = true)]
async fn unknown_leaving_and_silent_clients_are_errors() {
    let (one, two) = two_nodes().await;
    let (mut requester, mut responder) = (one.join("requester").await, two.join("responder").await);
    requester.send(r#"{"type":1,"invocationId":"1","target":"Ask","arguments":["nobody",0]}"#).await;
    assert_eq!(requester.all().await, [error("Ask", "IOException: Connection 'nobody' does not exist.")]);

    requester.send(r#"{"type":1,"invocationId":"1","target":"Ask","arguments":["responder",0]}"#).await;
    let (id, _) = question(&responder.all().await);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(requester.all().await, [error("Ask", "HubException: Invocation canceled by the server.")]);
    responder.send(&format!(r#"{{"type":3,"invocationId":"{id}","result":"late"}}"#)).await;
    assert!(requester.all().await.is_empty());
    assert_eq!(responder.close.reason(), None);

    requester.send(r#"{"type":1,"invocationId":"1","target":"Ask","arguments":["responder",0]}"#).await;
    question(&responder.all().await);
    responder.leave();
    assert_eq!(requester.all().await, [error("Ask", "HubException: Connection disconnected.")]);
}

#[tokio::test(start_paused = true)]
async fn a_result_from_another_client_closes_it_and_stays_pending() {
    let (one, two) = two_nodes().await;
    let (mut requester, mut responder, mut other) =
        (one.join("requester").await, two.join("responder").await, two.join("other").await);
    requester.send(r#"{"type":1,"invocationId":"1","target":"Ask","arguments":["responder",0]}"#).await;
    let (id, _) = question(&responder.all().await);
    let answer = format!(r#"{{"type":3,"invocationId":"{id}","result":1}}"#);
    other.send(&answer).await;
    let closed = other.all().await;
    assert!(closed[0].contains(&format!("Connection ID 'other' is not valid for invocation ID '{id}'.")), "{closed:?}");
    assert!(requester.all().await.is_empty());
    responder.send(&answer).await;
    assert_eq!(requester.all().await, [r#"{"type":3,"invocationId":"1","result":1}"#]);
}

#[tokio::test(start_paused = true)]
async fn a_send_to_local_connections_needs_only_their_protocols() {
    let (one, two) = two_nodes().await;
    let (mut here, there) = (one.join("here").await, two.join("there").await);
    // Cannot be represented in MessagePack, which another connection might use.
    let huge = "1e400";
    here.send(&format!(r#"{{"type":1,"invocationId":"1","target":"Tell","arguments":["here",{huge}]}}"#)).await;
    let received = here.all().await;
    assert_eq!(
        received,
        [r#"{"type":1,"target":"Told","arguments":[1e400]}"#, r#"{"type":3,"invocationId":"1","result":null}"#]
    );
    here.send(&format!(r#"{{"type":1,"invocationId":"1","target":"Tell","arguments":["there",{huge}]}}"#)).await;
    assert_eq!(here.all().await, [error("Tell", "JsonException: a number in the value is too large for MessagePack")]);
    drop(there);
}
