//! A hub in a farm with ASP.NET Core servers: it has the same methods and the same backplane name, so that the clients
//! of both servers can reach each other. It has one method for every way to send.
//!
//! ```text
//! cargo run --example farm -- --listen 127.0.0.1:5000 --redis 127.0.0.1:6379 --prefix MyApp --detailed true
//! ```
//!
//! Clients connect to `/chat`. The query names the user, without authentication: `/chat?user=ann`.
//!
//! A .NET `string` can be null, a Rust `String` cannot: null for the name of a group, a user or a connection is refused
//! before the method runs.

#![allow(clippy::print_stdout, reason = "the first line says which port it listens on")]

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{ArgAction, Parser};
use futures_util::stream;
use hubplane::RawValue;
use hubplane::UserId;
use hubplane::config::{BackplaneConfig, Config, HubOptions};
use hubplane::hub::{Caller, DisconnectError, HubError, HubRoute, Items, Methods, RequestInfo, Upload};
use hubplane::server::Server;

/// A node of a farm with ASP.NET Core servers.
#[derive(Parser)]
struct Options {
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// The farm's Redis: a StackExchange.Redis connection string or a URL. Without it, there are no other nodes.
    #[arg(long)]
    redis: Option<String>,
    /// The prefix of the farm's Redis channels.
    #[arg(long)]
    prefix: Option<String>,
    /// Whether clients get detailed errors.
    #[arg(long, default_value_t = false, action = ArgAction::Set)]
    detailed: bool,
    /// The server's keep-alive interval, in seconds.
    #[arg(long, default_value_t = 15.0)]
    keepalive: f64,
    /// Whether clients may resume their connections on a new socket (stateful reconnect).
    #[arg(long, default_value_t = false, action = ArgAction::Set)]
    stateful: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let backplane = match options.redis {
        Some(connection) => {
            options.prefix.into_iter().fold(BackplaneConfig::redis(connection), BackplaneConfig::channel_prefix)
        }
        None => BackplaneConfig::Memory,
    };
    let (mut config, mut hub_options) = (Config::default(), HubOptions::default());
    (config.listen, config.backplane) = (options.listen, backplane);
    hub_options.detailed_errors = options.detailed;
    hub_options.keep_alive_interval = Duration::try_from_secs_f64(options.keepalive)?;
    hub_options.allow_stateful_reconnects = options.stateful;

    let hub = facts(streams(groups(sends(chat(Methods::new())))));
    let server = Server::builder(config)
        // The full name of the .NET hub type: all servers of a farm must use the same name.
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
    .on_disconnected(|caller: Caller, _error: Option<DisconnectError>| async move {
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

/// Every way to send. The first argument names the way that was used; the value is passed on unchanged.
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

/// Group membership of any connection. For a connection of another node, this sends a group command and waits for its
/// ack.
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

/// Streams in both directions, and client results.
fn streams(hub: Methods) -> Methods {
    hub.method("Ask", |caller: Caller, connection: String, question: RawValue| async move {
        let answer: RawValue = caller.clients().client(connection).invoke("Answer", (question,)).await?;
        Ok(answer)
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

/// Errors, and facts about the connection.
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
            // Ends early when the caller has disconnected.
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(milliseconds)) => {}
                () = caller.closed() => {}
            }
            Ok(())
        })
}
