//! Client results between two nodes that share a backplane in memory.

use std::sync::Arc;
use std::time::Duration;

use super::kit::Node;
use crate::backplane::memory::MemoryBus;
use crate::config::HubOptions;
use crate::delivery::inbound::InboundDispatcher;
use crate::hub::{Caller, Methods};
use crate::protocol::RawValue;

/// Two nodes; each asks any client for any value, or for a number.
async fn two() -> (Node, Node) {
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

/// The id of the question that a client was asked, and the rest of it.
fn question(records: &[String]) -> (String, String) {
    let [record] = records else { panic!("one question, not {records:?}") };
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
    let (one, two) = two().await;
    let (mut asker, mut asked) = (one.join("asker").await, two.join("asked").await);
    for (answer, completion) in [
        (r#""result":{"deep":[1.0,null]}"#, r#"{"type":3,"invocationId":"1","result":{"deep":[1.0,null]}}"#.to_owned()),
        (r#""error":"no""#, error("Ask", "HubException: no")),
    ] {
        asker.send(r#"{"type":1,"invocationId":"1","target":"Ask","arguments":["asked",[7]]}"#).await;
        let (id, rest) = question(&asked.all().await);
        assert_eq!(rest, r#","target":"Answer","arguments":[[7]]}"#);
        asked.send(&format!(r#"{{"type":3,"invocationId":"{id}",{answer}}}"#)).await;
        assert_eq!(asker.all().await, [completion]);
    }
    asker.send(r#"{"type":1,"invocationId":"1","target":"Number","arguments":["asked"]}"#).await;
    let (id, _) = question(&asked.all().await);
    asked.send(&format!(r#"{{"type":3,"invocationId":"{id}","result":"text"}}"#)).await;
    let hook_log = asker.all().await;
    let wrong = "HubException: Error trying to deserialize result to Int32. ";
    assert!(hook_log.len() == 1 && hook_log[0].contains(wrong), "{hook_log:?}");
}

#[tokio::test(start_paused = true)]
async fn unknown_leaving_and_silent_clients_are_errors() {
    let (one, two) = two().await;
    let (mut asker, mut asked) = (one.join("asker").await, two.join("asked").await);
    asker.send(r#"{"type":1,"invocationId":"1","target":"Ask","arguments":["nobody",0]}"#).await;
    assert_eq!(asker.all().await, [error("Ask", "IOException: Connection 'nobody' does not exist.")]);

    asker.send(r#"{"type":1,"invocationId":"1","target":"Ask","arguments":["asked",0]}"#).await;
    let (id, _) = question(&asked.all().await);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(asker.all().await, [error("Ask", "HubException: Invocation canceled by the server.")]);
    asked.send(&format!(r#"{{"type":3,"invocationId":"{id}","result":"late"}}"#)).await;
    assert!(asker.all().await.is_empty());
    assert_eq!(asked.close.reason(), None);

    asker.send(r#"{"type":1,"invocationId":"1","target":"Ask","arguments":["asked",0]}"#).await;
    question(&asked.all().await);
    asked.leave();
    assert_eq!(asker.all().await, [error("Ask", "HubException: Connection disconnected.")]);
}

#[tokio::test(start_paused = true)]
async fn a_result_from_another_client_closes_it_and_stays_pending() {
    let (one, two) = two().await;
    let (mut asker, mut asked, mut other) = (one.join("asker").await, two.join("asked").await, two.join("other").await);
    asker.send(r#"{"type":1,"invocationId":"1","target":"Ask","arguments":["asked",0]}"#).await;
    let (id, _) = question(&asked.all().await);
    let answer = format!(r#"{{"type":3,"invocationId":"{id}","result":1}}"#);
    other.send(&answer).await;
    let hook_log = other.all().await;
    assert!(
        hook_log[0].contains(&format!("Connection ID 'other' is not valid for invocation ID '{id}'.")),
        "{hook_log:?}"
    );
    assert!(asker.all().await.is_empty());
    asked.send(&answer).await;
    assert_eq!(asker.all().await, [r#"{"type":3,"invocationId":"1","result":1}"#]);
}

#[tokio::test(start_paused = true)]
async fn a_send_to_local_connections_needs_only_their_protocols() {
    let (one, two) = two().await;
    let (mut here, there) = (one.join("here").await, two.join("there").await);
    // No form in MessagePack, which another connection may speak.
    let huge = "1e400";
    here.send(&format!(r#"{{"type":1,"invocationId":"1","target":"Tell","arguments":["here",{huge}]}}"#)).await;
    let hook_log = here.all().await;
    assert_eq!(
        hook_log,
        [r#"{"type":1,"target":"Told","arguments":[1e400]}"#, r#"{"type":3,"invocationId":"1","result":null}"#]
    );
    here.send(&format!(r#"{{"type":1,"invocationId":"1","target":"Tell","arguments":["there",{huge}]}}"#)).await;
    assert_eq!(here.all().await, [error("Tell", "JsonException: a number in the value is too large for MessagePack")]);
    drop(there);
}
