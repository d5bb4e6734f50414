//! The hubs for the tests of pysignalr and signalrcore.

use std::time::Duration;

use futures_util::stream;
use hubplane::hub::{Caller, HubError, Items, Methods};

/// The `/weatherHub` of pysignalr.
pub(crate) fn weather() -> Methods {
    Methods::new()
        .method("SendMessage", |caller: Caller, user: Option<String>, message: Option<String>| async move {
            caller.clients().all().send("ReceiveMessage", (user, message)).await?;
            Ok(())
        })
        .method(
            "SendMessageToGroup",
            |caller: Caller, group: String, user: Option<String>, message: Option<String>| async move {
                caller.clients().group(group).send("ReceiveMessage", (user, message)).await?;
                Ok(())
            },
        )
        .method("AddToGroup", |caller: Caller, group: String| async move {
            caller.groups().add(caller.connection_id(), group.as_str()).await?;
            let notice = format!("{} has joined the group {group}.", caller.connection_id());
            caller.clients().group(group).send("ReceiveMessage", ("System", notice)).await?;
            Ok(())
        })
        .method("RemoveFromGroup", |caller: Caller, group: String| async move {
            caller.groups().remove(caller.connection_id(), group.as_str()).await?;
            let notice = format!("{} has left the group {group}.", caller.connection_id());
            caller.clients().group(group).send("ReceiveMessage", ("System", notice)).await?;
            Ok(())
        })
        .method("SendWeatherForecast", |caller: Caller, forecast: hubplane::RawValue| async move {
            caller.clients().all().send("ReceiveWeatherForecast", (forecast,)).await?;
            Ok(())
        })
        // Invokes a method of its own caller: the client's result must be read while this call is still running.
        .method("TriggerResultRequired", |caller: Caller, user: Option<String>, message: Option<String>| async move {
            let client = caller.clients().caller();
            let answer: Option<String> = client.invoke("ResultRequired", ("Reply this message",)).await?;
            if answer.as_deref() == Some("Reply message") {
                client.send("SuccessReceivedMessage", (user, message)).await?;
            }
            Ok(())
        })
        .stream("Countdown", |_: Caller, from: i32| async move { Ok(stream::iter((1..=from).rev().map(Ok))) })
        .method("UploadStream", |caller: Caller, mut numbers: Items<i64>| async move {
            let mut sum: i64 = 0;
            while let Some(number) = numbers.next().await {
                sum = sum.wrapping_add(number?);
            }
            caller.clients().caller().send("UploadComplete", (sum,)).await?;
            Ok(())
        })
        .method("Echo", |_: Caller, value: hubplane::RawValue| async move { Ok(value) })
        .method("Fail", |_: Caller, reason: String| async move { Err::<(), _>(HubError::client(reason)) })
}

/// The `/chatHub` of signalrcore.
pub(crate) fn chat() -> Methods {
    Methods::new()
        .method("SendMessage", |caller: Caller, user: Option<String>, message: Option<String>| async move {
            caller.clients().all().send("ReceiveMessage", (user, message)).await?;
            Ok(())
        })
        .stream("Counter", |_: Caller, count: i32, delay: u64| async move {
            Ok(stream::unfold(0, move |number| async move {
                // Waits after every item, including the last one.
                if number > 0 {
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                }
                (number < count).then(|| (Ok(number), number + 1))
            }))
        })
        .method("UploadStream", |_: Caller, mut items: Items<String>| async move {
            while let Some(item) = items.next().await {
                item?;
            }
            Ok(())
        })
        .method("ThrowException", |caller: Caller, message: Option<String>| async move {
            caller.clients().all().send("ThrowExceptionCall", (message.clone(),)).await?;
            Err::<(), _>(HubError::internal(message.unwrap_or_default()))
        })
        .method("DisconnectMe", |caller: Caller| async move {
            let notice = format!("{} Disconnected", caller.connection_id());
            caller.clients().all().send("ReceiveMessage", (notice,)).await?;
            caller.abort();
            Ok(())
        })
}

/// The `/authHub` of signalrcore.
pub(crate) fn auth() -> Methods {
    Methods::new().method("SendMessage", |caller: Caller, message: Option<String>| async move {
        caller.clients().all().send("ReceiveMessage", (message,)).await?;
        Ok(())
    })
}
