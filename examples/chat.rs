//! A minimal chat. Run it with `cargo run --example chat`, then connect a SignalR client to http://127.0.0.1:8080/chat.

use std::error::Error;

use hubplane::config::Config;
use hubplane::hub::{Caller, HubRoute, Methods};
use hubplane::server::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let chat = Methods::new()
        .on_connected(|caller: Caller| async move {
            caller.clients().others().send("UserConnected", (caller.connection_id().as_str(),)).await?;
            Ok(())
        })
        .method("SendMessage", |caller: Caller, user: String, message: String| async move {
            caller.clients().all().send("ReceiveMessage", (user, message)).await?;
            Ok(())
        })
        .method("JoinRoom", |caller: Caller, room: String| async move {
            caller.groups().add(caller.connection_id(), room.as_str()).await?;
            let notice = format!("{} joined {room}", caller.connection_id());
            caller.clients().group(room).send("Notice", (notice,)).await?;
            Ok(())
        });

    let server = Server::builder(Config::default()).hub(HubRoute::new("/chat", chat)).build().await?;
    server.run_until_signal().await?;
    Ok(())
}
