//! A hub that shares a farm with ASP.NET Core: the same methods under the same backplane name, so that clients of
//! either server hear each other. One method for every way to send.
//!
//! ```text
//! cargo run --example farm -- --listen 127.0.0.1:5000 --redis 127.0.0.1:6379 --prefix MyApp --detailed true
//! ```
//!
//! Clients find it at `/chat`; the user is whoever the query says: `/chat?user=ann`.
//!
//! A `string` of .NET takes null, a `String` of Rust does not: null for the name of a group, a user or a connection is
//! refused before the method runs.

#![allow(clippy::print_stdout, reason = "the first line tells the port")]

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{ArgAction, Parser};
use futures_util::stream;
use hubplane::RawValue;
use hubplane::UserId;
use hubplane::config::{BackplaneConfig, Config, HubOptions};
use hubplane::hub::{Caller, HubError, HubRoute, Items, Methods, RequestInfo, Upload};
use hubplane::server::Server;

/// A replica of an ASP.NET Core farm.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// The farm's Redis: a StackExchange.Redis connection string or a URL; without it this node stands alone.
    #[arg(long)]
    redis: Option<String>,
    /// What the farm puts in front of its channels.
    #[arg(long)]
    prefix: Option<String>,
    /// Whether clients see what went wrong inside.
    #[arg(long, default_value_t = false, action = ArgAction::Set)]
    detailed: bool,
    /// Seconds between two pings of the server.
    #[arg(long, default_value_t = 15.0)]
    keepalive: f64,
    /// Whether a client may resume its connection on a new socket.
    #[arg(long, default_value_t = false, action = ArgAction::Set)]
    stateful: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let backplane = match options.redis {
        Some(connection) => BackplaneConfig::Redis { connection, channel_prefix: options.prefix },
        None => BackplaneConfig::Memory,
    };
    let (mut config, mut hub_options) = (Config::default(), HubOptions::default());
    (config.listen, config.backplane) = (options.listen, backplane);
    hub_options.detailed_errors = options.detailed;
    hub_options.keep_alive_interval = Duration::try_from_secs_f64(options.keepalive)?;
    hub_options.allow_stateful_reconnects = options.stateful;

    let hub = facts(streams(groups(sends(chat(Methods::new())))));
    let server = Server::builder(config)
        // The hub type's full name: all servers of a farm must agree on it.
        .hub(HubRoute::new("/chat", hub).backplane_name("Chat.ChatHub").options(hub_options))
        .user_id(|request: &RequestInfo| request.query("user").map(UserId::from))
        .build()
        .await?
        .bind()?;
    println!("ready {}", server.local_addr().port());
    server.run_until_signal().await?;
    Ok(())
}

/// The chat of the built-in configuration, in Rust.
fn chat(hub: Methods) -> Methods {
    hub.on_connected(|caller: Caller| async move {
        caller.clients().others().send("UserConnected", (caller.connection_id().as_str(),)).await?;
        Ok(())
    })
    .on_disconnected(|caller: Caller, _error: Option<String>| async move {
        caller.clients().others().send("UserDisconnected", (caller.connection_id().as_str(),)).await?;
        Ok(())
    })
    .method("SendMessage", |caller: Caller, user: Option<String>, message: Option<String>| async move {
        caller.clients().all().send("ReceiveMessage", (user, message)).await?;
        Ok(())
    })
    .method("JoinRoom", |caller: Caller, room: String| async move {
        caller.groups().add(caller.connection_id(), room.as_str()).await?;
        let notice = format!("{} joined {room}", caller.connection_id());
        caller.clients().group(room).send("Notice", (notice,)).await?;
        Ok(())
    })
    .method("LeaveRoom", |caller: Caller, room: String| async move {
        caller.groups().remove(caller.connection_id(), room).await?;
        Ok(())
    })
    .method("SendToRoom", |caller: Caller, room: String, message: Option<String>| async move {
        caller.clients().others_in_group(room.as_str()).send("ReceiveMessage", (room, message)).await?;
        Ok(())
    })
    .method("Echo", |_: Caller, value: RawValue| async move { Ok(value) })
}

/// Every way to send. Each tells in its first argument what it was; the value passes through as it came.
fn sends(hub: Methods) -> Methods {
    hub.method("SendAll", |caller: Caller, value: RawValue| async move {
        caller.clients().all().send("Received", ("all", value)).await?;
        Ok(())
    })
    .method("SendOthers", |caller: Caller, value: RawValue| async move {
        caller.clients().others().send("Received", ("others", value)).await?;
        Ok(())
    })
    .method("SendCaller", |caller: Caller, value: RawValue| async move {
        caller.clients().caller().send("Received", ("caller", value)).await?;
        Ok(())
    })
    .method("SendAllExcept", |caller: Caller, ids: Vec<String>, value: RawValue| async move {
        caller.clients().all_except(ids).send("Received", ("allExcept", value)).await?;
        Ok(())
    })
    .method("SendConnection", |caller: Caller, id: String, value: RawValue| async move {
        caller.clients().client(id).send("Received", ("connection", value)).await?;
        Ok(())
    })
    .method("SendConnections", |caller: Caller, ids: Vec<String>, value: RawValue| async move {
        caller.clients().clients(ids).send("Received", ("connections", value)).await?;
        Ok(())
    })
    .method("SendGroup", |caller: Caller, group: String, value: RawValue| async move {
        caller.clients().group(group).send("Received", ("group", value)).await?;
        Ok(())
    })
    .method("SendGroups", |caller: Caller, groups: Vec<String>, value: RawValue| async move {
        caller.clients().groups(groups).send("Received", ("groups", value)).await?;
        Ok(())
    })
    .method("SendGroupExcept", |caller: Caller, group: String, ids: Vec<String>, value: RawValue| async move {
        caller.clients().group_except(group, ids).send("Received", ("groupExcept", value)).await?;
        Ok(())
    })
    .method("SendOthersInGroup", |caller: Caller, group: String, value: RawValue| async move {
        caller.clients().others_in_group(group).send("Received", ("othersInGroup", value)).await?;
        Ok(())
    })
    .method("SendUser", |caller: Caller, user: String, value: RawValue| async move {
        caller.clients().user(user).send("Received", ("user", value)).await?;
        Ok(())
    })
    .method("SendUsers", |caller: Caller, users: Vec<String>, value: RawValue| async move {
        caller.clients().users(users).send("Received", ("users", value)).await?;
        Ok(())
    })
    .method("SendNothing", |caller: Caller| async move {
        caller.clients().all().send("Empty", ()).await?;
        Ok(())
    })
    .method("SendMany", |caller: Caller, a: RawValue, b: RawValue, c: RawValue| async move {
        caller.clients().all().send("Many", (a, b, c)).await?;
        Ok(())
    })
}

/// Membership of any connection; one of another node costs a command and its acknowledgement.
fn groups(hub: Methods) -> Methods {
    hub.method("AddToGroup", |caller: Caller, connection: String, group: String| async move {
        caller.groups().add(connection, group).await?;
        Ok(())
    })
    .method("RemoveFromGroup", |caller: Caller, connection: String, group: String| async move {
        caller.groups().remove(connection, group).await?;
        Ok(())
    })
}

/// Streams in both directions, and a client that is asked.
fn streams(hub: Methods) -> Methods {
    hub.method("Ask", |caller: Caller, connection: String, question: RawValue| async move {
        let answer: RawValue = caller.clients().client(connection).invoke("Answer", (question,)).await?;
        Ok(answer)
    })
    .stream("Counter", |_: Caller, count: i32, delay: u64| async move {
        Ok(stream::unfold(0, move |number| async move {
            // It waits after every item, the last included.
            if number > 0 {
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            (number < count).then(|| (Ok(number), number + 1))
        }))
    })
    .stream("CounterThenThrow", |_: Caller, count: i32| async move {
        Ok(stream::iter((0..count).map(Ok).chain([Err(HubError::client("the stream broke"))])))
    })
    .stream("EchoStream", |_: Caller, items: Upload| async move { Ok(items) })
    .method("Concat", |_: Caller, mut items: Items<Option<String>>| async move {
        let mut all = String::new();
        while let Some(item) = items.next().await {
            all.push_str(&item?.unwrap_or_default());
        }
        Ok(all)
    })
    .method("Sum", |_: Caller, mut items: Items<i64>| async move {
        let mut sum: i64 = 0;
        while let Some(item) = items.next().await {
            sum = sum.wrapping_add(item?);
        }
        Ok(sum)
    })
}

/// Errors and facts.
fn facts(hub: Methods) -> Methods {
    hub.method("Throw", |_: Caller, message: String| async move { Err::<(), _>(HubError::internal(message)) })
        .method("ThrowHub", |_: Caller, message: String| async move { Err::<(), _>(HubError::client(message)) })
        .method("Abort", |caller: Caller| async move {
            caller.abort();
            Ok(())
        })
        .method("ConnectionId", |caller: Caller| async move { Ok(caller.connection_id().to_string()) })
        .method("UserId", |caller: Caller| async move { Ok(caller.user_id().map(UserId::to_string)) })
        // As in .NET, a sum that is too large wraps around.
        .method("Add", |_: Caller, a: i32, b: i32| async move { Ok(a.wrapping_add(b)) })
        .method("Wait", |caller: Caller, milliseconds: u64| async move {
            // Nobody hears of it when the caller has gone.
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(milliseconds)) => {}
                () = caller.closed() => {}
            }
            Ok(())
        })
}
