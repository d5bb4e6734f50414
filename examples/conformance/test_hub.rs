//! The hub for the functional tests of the official JavaScript client.

use futures_util::{StreamExt, stream};
use hubplane::hub::{Caller, Cancellation, CaseInsensitive, HubError, Items, Methods};

use crate::values::{ComplexObject, CustomObject, Text};

pub(crate) fn hub() -> Methods {
    let hub = Methods::new()
        .method("Echo", |_: Caller, message: Text| async move { Ok(message.0) })
        .method("GetCallerConnectionId", |caller: Caller| async move { Ok(caller.connection_id().to_string()) })
        .method("ThrowException", |_: Caller, message: Option<String>| async move { Err::<(), _>(thrown(message)) })
        .method("InvokeWithString", |caller: Caller, message: Option<String>| async move {
            caller.clients().caller().send("Message", (message,)).await?;
            Ok(())
        })
        .method("SendCustomObject", |caller: Caller, object: CustomObject| async move {
            caller.clients().caller().send("CustomObject", (object.0,)).await?;
            Ok(())
        })
        .method(
            "EchoComplexObject",
            |_: Caller, object: CaseInsensitive<Option<ComplexObject>>| async move { Ok(object.0) },
        )
        .method("SendComplexObject", |_: Caller| async { Ok(ComplexObject::example()) });
    streams(request(hub))
}

/// Methods that return facts about the connection's HTTP request.
fn request(hub: Methods) -> Methods {
    hub.method("GetNumRedirects", |caller: Caller| async move {
        let count = caller.request().query("numRedirects").unwrap_or_else(|| "0".to_owned());
        count.parse::<i32>().map_err(|_| HubError::internal("numRedirects is not a number"))
    })
    .method("GetActiveTransportName", |caller: Caller| async move { Ok(caller.transport().name()) })
    .method("GetContentTypeHeader", |caller: Caller| async move {
        Ok(caller.request().header("content-type").map(str::to_owned))
    })
    .method(
        "GetHeader",
        |caller: Caller, name: String| async move { Ok(caller.request().header(&name).map(str::to_owned)) },
    )
    .method("GetCookie", |caller: Caller, name: String| async move {
        Ok(caller.request().cookie(&name).map(str::to_owned))
    })
}

fn streams(hub: Methods) -> Methods {
    hub.stream("Stream", |_: Caller| async { Ok(stream::iter(["a", "b", "c"].map(Ok))) })
        .stream("EmptyStream", |_: Caller| async { Ok(stream::empty::<Result<String, HubError>>()) })
        .stream("StreamThrowException", |_: Caller, message: Option<String>| async move {
            Err::<stream::Empty<Result<String, HubError>>, _>(thrown(message))
        })
        // Yields no items; when the client cancels it, the client is notified.
        .stream("InfiniteStream", |caller: Caller, cancellation: Cancellation| async move {
            let wait = async move {
                cancellation.cancelled().await;
                let sent = caller.clients().caller().send("StreamCanceled", ()).await;
                sent.err().map(|error| Err::<i32, HubError>(error.into()))
            };
            Ok(stream::once(wait).filter_map(std::future::ready).boxed())
        })
        .method("StreamingConcat", |_: Caller, mut items: Items<Option<String>>| async move {
            let mut all = String::new();
            while let Some(item) = items.next().await {
                all.push_str(&item?.unwrap_or_default());
            }
            Ok(all)
        })
}

fn thrown(message: Option<String>) -> HubError {
    let standard = || "Operation is not valid due to the current state of the object.".to_owned();
    HubError::internal(message.unwrap_or_else(standard))
}
