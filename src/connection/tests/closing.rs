//! Tests of what is sent after a connection has been asked to end: messages that were queued before, then the close
//! message, and nothing else (docs/builders/signalr-protocol.md#4.9). The probes of `abort` test the same over every
//! transport, with the answers of ASP.NET Core.

use super::kit::Node;
use crate::close::CloseReason;
use crate::config::HubOptions;
use crate::outgoing;
use crate::protocol::ProtocolError;

const ABORTED: &str = r#"{"type":7}"#;
const ABORT: &str = r#"{"type":1,"invocationId":"a","target":"Abort","arguments":[]}"#;

fn echo(text: &str) -> String {
    format!(r#"{{"type":1,"invocationId":"{text}","target":"Echo","arguments":["{text}"]}}"#)
}

fn answer(text: &str) -> String {
    format!(r#"{{"type":3,"invocationId":"{text}","result":"{text}"}}"#)
}

#[tokio::test(start_paused = true)]
async fn calls_are_not_completed_after_an_abort() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(&[echo("before"), ABORT.to_owned(), echo("after")].join("\u{1e}")).await;
    assert_eq!(client.all().await, [answer("before"), ABORTED.to_owned()]);
    assert_eq!(client.served.await.unwrap(), CloseReason::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_stream_sends_no_item_after_an_abort() {
    let node = Node::new(HubOptions::default());
    let mut client = node.join("a").await;
    client.send(r#"{"type":4,"invocationId":"s","target":"AbortAndCount","arguments":[]}"#).await;
    assert_eq!(client.all().await, [ABORTED]);
}

#[tokio::test(start_paused = true)]
async fn only_the_close_message_follows_the_end_of_a_connection() {
    for reason in [
        CloseReason::Aborted,
        CloseReason::AuthenticationExpired,
        CloseReason::ClientTimeout,
        CloseReason::Draining,
        CloseReason::Abandoned,
        CloseReason::Protocol(ProtocolError::invalid_data("bad")),
        CloseReason::SendTimeout,
        CloseReason::SlowClient,
        CloseReason::Terminated,
    ] {
        let node = Node::new(HubOptions::default());
        let mut client = node.join("a").await;
        client.send(r#"{"type":4,"invocationId":"s","target":"Drips","arguments":[]}"#).await;
        for id in 1..=2 {
            // The second call waits for the first, so that the connection task polls its calls before it checks whether
            // it should close.
            client.send(&format!(r#"{{"type":1,"invocationId":"{id}","target":"Wait","arguments":[]}}"#)).await;
        }
        assert!(client.all().await.is_empty());
        let member = node.host.delivery.registry().connection(&"a".into()).unwrap();
        member.push(&outgoing::ping());
        client.close.close(reason.clone());
        // An item, two completions, and a message of another sender are all ready when the task is polled next.
        node.gate.0.add_permits(10);
        member.push(&outgoing::ping());
        let sent = client.all().await;
        assert_eq!(sent.len(), 2, "{reason}: {sent:?}");
        assert_eq!(sent[0], r#"{"type":6}"#, "{reason}: the message that was queued before");
        assert!(sent[1].starts_with(r#"{"type":7"#), "{reason}: {sent:?}");
        assert_eq!(client.served.await.unwrap(), reason);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_after_a_close_request_are_not_dispatched() {
    // Repeated, since both are ready at the same time.
    for _ in 0..30 {
        let node = Node::new(HubOptions::default());
        node.gate.0.add_permits(1);
        let client = node.join("a").await;
        client.close.close(CloseReason::Aborted);
        client.send(r#"{"type":1,"target":"Wait","arguments":[]}"#).await;
        client.served.await.unwrap();
        node.host.tasks.close();
        node.host.tasks.wait().await;
        assert_eq!(node.hook_log(), ["connected a", "disconnected a None"]);
    }
}
