//! The Rust snippets of README.md, so that the compiler checks them; `tests/it/sources.rs` compares the texts.
#![allow(dead_code, unreachable_pub, reason = "the snippets are only compiled")]

use std::error::Error;
use std::future::Future;

use axum::Router;
use axum::routing::get;
use hubplane::config::Config;
use hubplane::hub::{Caller, ClientMethod, FromRef, HubContext, HubError, HubRoute, Methods, State};
use hubplane::server::Server;
use hubplane::testing::TestHub;
use tokio::net::TcpListener;

type Outcome = Result<(), Box<dyn Error>>;

async fn methods(config: Config) -> Outcome {
    let hub = Methods::new().method("SendMessage", |caller: Caller, user: String, message: String| async move {
        caller.clients().all().send("ReceiveMessage", (user, message)).await?;
        Ok(())
    });
    Server::builder(config).hub(HubRoute::new("/chat", hub)).build().await?.run_until_signal().await?;
    Ok(())
}

#[derive(Clone)]
struct App {
    rooms: Rooms,
}

#[derive(Clone)]
struct Rooms;

impl Rooms {
    fn enter(&self, room: &str) -> Result<(), HubError> {
        if room.is_empty() { Err(HubError::client("a room needs a name")) } else { Ok(()) }
    }
}

impl FromRef<App> for Rooms {
    fn from_ref(app: &App) -> Self {
        app.rooms.clone()
    }
}

fn state(app: App) {
    let hub = Methods::with_state(app).method(
        "Enter",
        |caller: Caller, State(rooms): State<Rooms>, room: String| async move {
            rooms.enter(&room)?;
            caller.groups().add(caller.connection_id(), room).await?;
            Ok(())
        },
    );
    drop(hub);
}

async fn client_methods(caller: Caller, text: &str) -> Result<bool, HubError> {
    const RECEIVE_MESSAGE: ClientMethod<(String, String)> = ClientMethod::new("ReceiveMessage");
    const CONFIRM: ClientMethod<(String,), bool> = ClientMethod::new("Confirm"); // one that returns a `bool`

    caller.clients().all().send(RECEIVE_MESSAGE, ("ann", text)).await?;
    let is_sure = caller.clients().caller().invoke(CONFIRM, ("Sure?",)).await?;
    Ok(is_sure)
}

async fn context(hub: Methods) -> Outcome {
    let news = HubContext::new();
    let route = HubRoute::new("/news", hub).context(&news);
    // Later, anywhere:
    news.clients().user("ann").send("Notice", ("up",)).await?;
    drop(route);
    Ok(())
}

async fn page() -> &'static str {
    "hello"
}

async fn router(server: Server, listener: TcpListener, signal: impl Future<Output = ()> + Send + 'static) -> Outcome {
    let handle = server.handle();
    let app = Router::new().route("/", get(page)).nest("/realtime", server.into_router());
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            signal.await;
            handle.shutdown().await
        })
        .await?;
    Ok(())
}

async fn testing(chat: impl FnOnce() -> Methods) -> Outcome {
    let hub = TestHub::new(chat())?;
    let (ann, bob) = (hub.connect().user("ann").await?, hub.connect().user("bob").await?);
    ann.invoke::<()>("SendMessage", ("ann", "hello")).await?;
    assert_eq!(bob.next_call().await?.arguments, ["ann", "hello"]);
    Ok(())
}

fn main() {}
