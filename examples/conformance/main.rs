//! A server for the test suites of SignalR clients: the functional tests of the official JavaScript client, and the
//! tests of pysignalr and signalrcore. JSON property names are not changed, and errors are detailed.
//!
//! ```text
//! cargo run --release --example conformance -- --listen 127.0.0.1:5000 --keep-alive 1
//! ```
//!
//! | path | contents |
//! | --- | --- |
//! | `/testhub`, `/testhub-nowebsockets`, `/uncreatable` | the JavaScript tests' hub (`test_hub.rs`), and one that refuses every client |
//! | `/authorizedhub` | `Echo`, for users with an access token from `/generateJwtToken` |
//! | `/echo` | a raw connection that echoes bytes |
//! | `/weatherHub` | pysignalr's hub (`others.rs`); access tokens from `POST /api/auth/login` |
//! | `/chatHub`, `/authHub` | signalrcore's hubs (`others.rs`); access tokens from `POST /users/authenticate` |
//! | `/redirect`, `/echoredirect`, `/bad-negotiate`, `/clientresult/ID` | pages that the JavaScript tests request (`pages.rs`) |
//! | `/lib/signalr-webworker/signalr.js` | the official client for web workers, from npm (`--signalr`) |

#![allow(clippy::print_stdout, reason = "prints the port it listens on")]

mod others;
mod pages;
mod test_hub;
mod values;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures_util::future::BoxFuture;
use hubplane::TransportKind;
use hubplane::config::{Authorize, Config, HubOptions};
use hubplane::hub::{Caller, HubContext, HubError, HubRoute, Methods, RequestInfo};
use hubplane::raw::{RawConnection, RawRoute, RawStream};
use hubplane::server::Server;

use pages::Pages;

/// A server for the test suites of SignalR clients.
#[derive(Parser)]
struct Options {
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// The server's keep-alive interval, in seconds.
    #[arg(long, default_value_t = 15.0)]
    keep_alive: f64,
    /// The folder of npm's `@microsoft/signalr`. Default: the one that the tests or `examples/web` have installed.
    #[arg(long)]
    signalr: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Options { listen, keep_alive, signalr } = Options::parse();
    let mut options = HubOptions::default();
    options.detailed_errors = true;
    options.allow_stateful_reconnects = true;
    options.keep_alive_interval = Duration::try_from_secs_f64(keep_alive)?;
    let mut no_websockets = options.clone();
    no_websockets.transports = vec![TransportKind::ServerSentEvents, TransportKind::LongPolling];
    let closed =
        Methods::new().on_connected(|_: Caller| async { Err(HubError::client("this hub refuses every client")) });
    let authorized = Methods::new().method("Echo", |_: Caller, message: Option<String>| async move { Ok(message) });

    let auth = pages::auth();
    let context = HubContext::new();
    let pages = Pages::new(context.clone(), signalr);
    let hub = |path, name, hub, options: &HubOptions| HubRoute::new(path, hub).name(name).options(options.clone());
    let mut config = Config::default();
    (config.listen, config.auth) = (listen, auth.clone());
    let server = Server::builder(config)
        .hub(hub("/testhub", "TestHub", test_hub::hub(), &options).context(&context))
        .hub(hub("/testhub-nowebsockets", "TestHub-NoWebSockets", test_hub::hub(), &no_websockets))
        .hub(hub("/uncreatable", "UncreatableHub", closed, &options))
        .hub(hub("/authorizedhub", "AuthorizedHub", authorized, &options).authorize(Authorize::user()))
        .hub(hub("/weatherHub", "WeatherHub", others::weather(), &options))
        .hub(hub("/chatHub", "ChatHub", others::chat(), &options))
        .hub(hub("/authHub", "AuthHub", others::auth(), &options).authorize(Authorize::user()))
        .raw(RawRoute::new("/echo", EchoBytes))
        .routes(pages.routes(auth))
        .headers(pages::cookies)
        .allow_any_origin_with_credentials()
        .build()
        .await?;
    let server = server.bind()?;
    println!("ready {}", server.local_addr().port());
    server.run_until_signal().await?;
    Ok(())
}

/// Sends all bytes back.
struct EchoBytes;

impl RawConnection for EchoBytes {
    fn run(&self, _request: Arc<RequestInfo>, mut stream: RawStream) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Some(bytes) = stream.recv().await {
                if stream.send(bytes).await.is_err() {
                    return;
                }
            }
        })
    }
}
