//! Tests of the library as another crate uses it, with parameter and error types of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use hubplane::config::{Config, HubOptions};
use hubplane::hub::{Caller, FromRef, HubError, HubRoute, Inputs, Methods, Parameter, State};
use hubplane::server::Server;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::kit::Client;

#[derive(Clone)]
struct App {
    greeting: Arc<str>,
}

/// A parameter that works with every state that contains a greeting.
struct Greeting(String);

impl<S> Parameter<S> for Greeting
where
    Arc<str>: FromRef<S>,
{
    fn take(inputs: &mut Inputs<'_, S>) -> Result<Self, HubError> {
        let user = inputs.caller().user_id().ok_or(AuthError::Anonymous)?;
        Ok(Self(format!("{} {user}", Arc::<str>::from_ref(inputs.state()))))
    }
}

impl FromRef<App> for Arc<str> {
    fn from_ref(app: &App) -> Self {
        app.greeting.clone()
    }
}

/// A parameter for one state only, which validates an argument.
struct Even(u32);

impl Parameter<App> for Even {
    const ARGUMENTS: usize = 1;

    fn take(inputs: &mut Inputs<'_, App>) -> Result<Self, HubError> {
        let number = inputs.next_argument()?;
        if number % 2 == 0 { Ok(Self(number)) } else { Err(HubError::invalid_arguments("the number is odd")) }
    }
}

enum AuthError {
    Anonymous,
    Broken(std::num::ParseIntError),
}

impl From<AuthError> for HubError {
    fn from(refused: AuthError) -> Self {
        match refused {
            AuthError::Anonymous => Self::client("who are you?"),
            AuthError::Broken(error) => Self::from_error(error),
        }
    }
}

fn hub() -> Methods<App> {
    let app = App { greeting: "hello".into() };
    Methods::with_state(app)
        .method("Greet", |Greeting(text): Greeting| async move { Ok(text) })
        .method("Half", |_: Caller, Even(number): Even| async move { Ok(number / 2) })
        .method("Parse", |text: String| async move { Ok(text.parse::<i32>().map_err(AuthError::Broken)?) })
        .method("State", |State(app): State<App>| async move { Ok(app.greeting.to_string()) })
}

/// Serves the hub until the runtime is dropped. All clients are this user.
fn serve(user: Option<&'static str>) -> (Runtime, SocketAddr) {
    let runtime = Runtime::new().unwrap();
    let (mut config, mut options) = (Config::default(), HubOptions::default());
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    options.detailed_errors = true;
    let route = HubRoute::new("/chat", hub()).options(options);
    let server = Server::builder(config).hub(route).user_id(move |_| user.map(Into::into));
    let bound = runtime.block_on(async { server.build().await.unwrap().bind().unwrap() });
    let address = bound.local_addr();
    runtime.spawn(bound.run(std::future::pending()));
    (runtime, address)
}

#[test]
fn parameters_and_errors_of_another_crate_work() {
    let (_runtime, address) = serve(Some("ann"));
    let mut client = Client::ws(address);
    assert_eq!(client.invoke("Greet", json!([])), Ok(json!("hello ann")));
    assert_eq!(client.invoke("half", json!([6])), Ok(json!(3)));
    assert_eq!(client.invoke("State", json!([])), Ok(json!("hello")));
    let odd = "Failed to invoke 'Half' due to an error on the server. InvalidDataException: the number is odd";
    assert_eq!(client.invoke("half", json!([5])), Err(odd.to_owned()));
    let broken = "An unexpected error occurred invoking 'Parse' on the server. InvalidOperationException: invalid digit found in string";
    assert_eq!(client.invoke("Parse", json!(["x"])), Err(broken.to_owned()));

    let (_runtime, address) = serve(None);
    let anonymous = "An unexpected error occurred invoking 'Greet' on the server. HubException: who are you?";
    assert_eq!(Client::ws(address).invoke("Greet", json!([])), Err(anonymous.to_owned()));
}
