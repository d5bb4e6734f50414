//! A quiz with typed client methods: a call with a wrong argument does not compile. Run it with
//! `cargo run --example typed_clients`, then connect SignalR clients to http://127.0.0.1:8080/quiz.

use std::error::Error;
use std::time::Duration;

use hubplane::config::Config;
use hubplane::hub::{Caller, ClientMethod, HubContext, HubError, HubRoute, Methods};
use hubplane::server::Server;
use serde::{Deserialize, Serialize};

/// The methods that every client of the quiz registers.
mod client {
    use super::{Answer, ClientMethod, Question};

    /// Shows a text to the player.
    pub(super) const NOTICE: ClientMethod<(String,)> = ClientMethod::new("Notice");
    /// Reports a player and the player's points.
    pub(super) const SCORE: ClientMethod<(String, u32)> = ClientMethod::new("Score");
    /// Asks a question; the client returns the player's answer.
    pub(super) const ASK: ClientMethod<(Question,), Answer> = ClientMethod::new("Ask");
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    text: String,
    choices: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    choice: usize,
}

/// Asks the caller a question, and sends the score to all clients.
async fn play(caller: Caller, name: String) -> Result<bool, HubError> {
    let question = Question {
        text: "What is the default port of Redis?".to_owned(),
        choices: ["5432", "6379", "8080"].map(str::to_owned).to_vec(),
    };
    // Arguments may be borrowed: `&Question` where `Question` is declared, `&str` where `String` is.
    let me = caller.clients().caller().timeout(Duration::from_secs(60));
    let answer = me.invoke(client::ASK, (&question,)).await?;
    let is_right = answer.choice == 1;
    caller.clients().all().send(client::SCORE, (&name, u32::from(is_right))).await?;
    if !is_right {
        caller.clients().caller().send(client::NOTICE, ("no, try again",)).await?;
    }
    Ok(is_right)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let context = HubContext::new();
    let route = HubRoute::new("/quiz", Methods::new().method("Play", play)).context(&context);
    let server = Server::builder(Config::default()).hub(route).build().await?;

    // The same constants also work outside the hub's methods.
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(600)).await;
            let _ = context.clients().all().send(client::NOTICE, ("play again?",)).await;
        }
    });
    server.run_until_signal().await?;
    Ok(())
}
