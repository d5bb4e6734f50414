//! A chat with shared state, its own parameter type and its own error type. Run it with `cargo run --example state`,
//! then connect SignalR clients to http://127.0.0.1:8080/chat?room=lobby.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use hubplane::config::Config;
use hubplane::hub::{Caller, DisconnectError, FromRef, HubError, HubRoute, Inputs, Methods, Parameter, State};
use hubplane::server::Server;

/// The maximum number of clients in one room.
const MAX_MEMBERS: usize = 50;

/// The state that all methods share. Clones refer to the same state.
#[derive(Clone, Default)]
struct App {
    rooms: Rooms,
    motd: Arc<str>,
}

/// The number of clients in each room.
#[derive(Clone, Default)]
struct Rooms(Arc<Mutex<HashMap<String, usize>>>);

impl Rooms {
    fn enter(&self, room: &str) -> Result<usize, ChatError> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let members = rooms.entry(room.to_owned()).or_default();
        if *members == MAX_MEMBERS {
            return Err(ChatError::RoomFull(room.to_owned()));
        }
        *members += 1;
        Ok(*members)
    }

    fn leave(&self, room: &str) {
        if let Some(members) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(room) {
            *members -= 1;
        }
    }
}

/// Lets methods take `State<Rooms>`, a part of the state. axum's `#[derive(FromRef)]` generates this for all fields.
impl FromRef<App> for Rooms {
    fn from_ref(app: &App) -> Self {
        app.rooms.clone()
    }
}

/// What can go wrong in this chat.
enum ChatError {
    NoRoom,
    RoomFull(String),
    Storage(std::io::Error),
}

/// Lets `?` convert it to the error that the client sees.
impl From<ChatError> for HubError {
    fn from(error: ChatError) -> Self {
        match error {
            // Clients always see these texts.
            ChatError::NoRoom => Self::client("say which room: /chat?room=NAME"),
            ChatError::RoomFull(room) => Self::client(format!("{room} is full")),
            // Clients see this one only with `detailed_errors`.
            ChatError::Storage(error) => Self::from_error(error),
        }
    }
}

/// The caller's room, from the query of the URL it connected to.
struct Room(String);

impl<S> Parameter<S> for Room {
    fn take(inputs: &mut Inputs<'_, S>) -> Result<Self, HubError> {
        Ok(Self(inputs.caller().request().query("room").ok_or(ChatError::NoRoom)?))
    }
}

async fn say(caller: Caller, Room(room): Room, text: String) -> Result<(), HubError> {
    caller.clients().group(room).send("Said", (caller.connection_id().as_str(), text)).await?;
    Ok(())
}

fn chat(app: App) -> Methods<App> {
    Methods::with_state(app)
        // An error closes the connection.
        .on_connected(|caller: Caller, Room(room): Room, State(app): State<App>| async move {
            let members = app.rooms.enter(&room)?;
            caller.groups().add(caller.connection_id(), room).await?;
            caller.clients().caller().send("Welcome", (&*app.motd, members)).await?;
            Ok(())
        })
        .on_disconnected(
            |_: Caller, _error: Option<DisconnectError>, Room(room): Room, State(rooms): State<Rooms>| async move {
                rooms.leave(&room);
                Ok(())
            },
        )
        .method("Say", say)
        .method("Rules", || async { Ok(tokio::fs::read_to_string("rules.txt").await.map_err(ChatError::Storage)?) })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = App { motd: "be kind".into(), ..App::default() };
    let server = Server::builder(Config::default()).hub(HubRoute::new("/chat", chat(app))).build().await?;
    server.run_until_signal().await?;
    Ok(())
}
