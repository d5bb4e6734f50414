//! A hub whose users are authenticated by its axum application, with a session cookie. (Access tokens need no code:
//! they are configured in `[auth]`.) Run it with `cargo run --example authentication`, then try:
//!
//! ```text
//! curl -c jar -X POST http://127.0.0.1:8080/login/ann
//! curl -b jar -X POST http://127.0.0.1:8080/chat/negotiate?negotiateVersion=1
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hubplane::auth::{FromExtension, Principal};
use hubplane::config::{Authorize, Config};
use hubplane::hub::{Caller, HubRoute, Methods};
use hubplane::server::Server;
use tokio::net::TcpListener;

/// The users who have logged in, by session id.
#[derive(Clone, Default)]
struct Sessions(Arc<Mutex<HashMap<String, Arc<Principal>>>>);

impl Sessions {
    /// Starts a session and returns its id, which cannot be guessed.
    fn begin(&self, principal: Principal) -> Result<String, getrandom::Error> {
        let session = format!("{:016x}{:016x}", getrandom::u64()?, getrandom::u64()?);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(session.clone(), Arc::new(principal));
        Ok(session)
    }

    fn find(&self, session: &str) -> Option<Arc<Principal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(session).cloned()
    }
}

/// Logs a user in without a password; a real application would require one.
async fn login(State(sessions): State<Sessions>, Path(name): Path<String>) -> Result<impl IntoResponse, StatusCode> {
    let roles = if name == "root" { vec!["admin".to_owned()] } else { Vec::new() };
    let session = sessions.begin(Principal::named(name).with_roles(roles));
    let session = session.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(SET_COOKIE, format!("session={session}; Path=/; HttpOnly; SameSite=Lax"))], "welcome\n"))
}

/// Adds the user of the session to each request.
async fn authenticate(State(sessions): State<Sessions>, mut request: Request, next: Next) -> Response {
    let cookies = request.headers().get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let session = pairs.find(|(name, _)| *name == "session").map(|(_, value)| value.to_owned());
    if let Some(principal) = session.and_then(|session| sessions.find(&session)) {
        request.extensions_mut().insert(principal);
    }
    next.run(request).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let chat = Methods::new()
        .method("Say", |caller: Caller, text: String| async move {
            let user = caller.user_id().map(ToString::to_string);
            caller.clients().all().send("Said", (user, text)).await?;
            Ok(())
        })
        .method("Whisper", |caller: Caller, to: String, text: String| async move {
            let user = caller.user_id().map(ToString::to_string);
            caller.clients().user(to).send("Whispered", (user, text)).await?;
            Ok(())
        })
        .method("Clear", |caller: Caller| async move {
            caller.clients().all().send("Cleared", ()).await?;
            Ok(())
        })
        .authorize("Clear", Authorize::user().role("admin"));

    // Browsers send cookies when any page opens a WebSocket. With this, only pages of these origins may open one.
    let mut config = Config::default();
    config.cors_origins = vec!["http://127.0.0.1:8080".parse()?];
    let server = Server::builder(config)
        .hub(HubRoute::new("/chat", chat).authorize(Authorize::user()))
        .authenticate(FromExtension)
        .build()
        .await?;
    let handle = server.handle();

    let sessions = Sessions::default();
    let app = Router::new()
        .route("/login/{name}", post(login))
        .with_state(sessions.clone())
        .merge(server.into_router())
        .layer(middleware::from_fn_with_state(sessions, authenticate));
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            let _ = tokio::signal::ctrl_c().await;
            handle.shutdown().await;
        })
        .await?;
    Ok(())
}
