//! Tests of `build`: mistakes of the host are errors that describe the problem.

use std::sync::Arc;

use super::{Config, Nothing, Server, config, serve, start};
use crate::config::HubOptions;
use crate::delivery::SendError;
use crate::hub::{Caller, HubContext, HubRoute, Methods};
use crate::server::Builder;
use crate::transport::RawRoute;

async fn error(builder: Builder) -> String {
    builder.build().await.unwrap_err().to_string()
}

fn with(routes: impl IntoIterator<Item = HubRoute>) -> Builder {
    routes.into_iter().fold(Server::builder(config()), Builder::hub)
}

fn route(path: &str) -> HubRoute {
    HubRoute::new(path, Nothing)
}

/// Reads until its client disconnects, and sends nothing.
struct Silent;

impl crate::transport::RawConnection for Silent {
    fn run(
        &self,
        _: Arc<crate::hub::RequestInfo>,
        mut stream: crate::transport::RawStream,
    ) -> futures_util::future::BoxFuture<'static, ()> {
        Box::pin(async move { while stream.recv().await.is_some() {} })
    }
}

#[tokio::test]
async fn duplicate_and_invalid_paths_are_errors() {
    for (path, expected) in [
        ("/Chat/", r#"the path "/Chat/" of the hub "Chat" is already taken"#),
        ("/chat/negotiate", r#"the path "/chat/negotiate" of the hub "negotiate" is already taken"#),
        ("other", r#"the path "other" of the hub "other" must begin with /"#),
        ("", r#"the path "" of the hub "" must begin with /"#),
        ("/a b", r#"the path "/a b" of the hub "a b" must be a plain URL path; ' ' is not allowed in it"#),
        ("/healthz", r#"the path "/healthz" of the hub "healthz" is one of the server's own pages"#),
    ] {
        assert_eq!(error(with([route("/chat").name("talk"), route(path)])).await, expected);
    }
    let raw = |path| RawRoute::new(path, Silent);
    let taken = r#"the path "/CHAT" of a raw connection is already taken"#;
    assert_eq!(error(with([route("/chat")]).raw(raw("/CHAT"))).await, taken);
    assert_eq!(error(with([]).raw(raw("/chat")).raw(raw("/CHAT"))).await, taken);
    #[cfg(feature = "metrics")]
    assert_eq!(
        error(with([route("/Metrics")])).await,
        r#"the path "/Metrics" of the hub "Metrics" is one of the server's own pages"#
    );
}

#[tokio::test]
async fn duplicate_and_empty_names_are_errors() {
    let built = error(with([route("/a/chat"), route("/b/chat")])).await;
    assert_eq!(built, r#"two hubs have the backplane name "chat"; each needs one of its own"#);
    let built = error(with([route("/a/chat"), route("/b/chat").backplane_name("other")])).await;
    assert_eq!(built, r#"two hubs have the name "chat"; give one of them another with HubRoute::name"#);
    let built = error(with([route("/chat").name("").backplane_name("Chat")])).await;
    assert_eq!(built, r#"the hub at "/chat" has an empty name"#);

    let server = with([route("/a/chat"), route("/b/chat").name("other")]).build().await.unwrap();
    assert_eq!(server.hubs().collect::<Vec<_>>(), [("/a/chat", "chat"), ("/b/chat", "other")]);
    assert!(server.hub_context("/A/chat/").is_some() && server.hub_context("/chat").is_none());
}

#[tokio::test]
async fn a_hub_with_duplicate_methods_is_refused() {
    let hub = Methods::new().method("Send", |_: Caller| async { Ok(()) }).method("sEND", |_: Caller| async { Ok(()) });
    assert_eq!(
        error(with([HubRoute::new("/chat", hub).name("Chat")])).await,
        r#"the hub "Chat" cannot be served: there are two methods "sEND" (method names are case-insensitive)"#
    );
}

#[tokio::test]
async fn invalid_options_are_errors() {
    let default = HubOptions::default;
    for (options, problem) in [
        (HubOptions { protocols: vec![], ..default() }, "protocols is empty"),
        (HubOptions { transports: vec![], ..default() }, "transports is empty"),
        (
            HubOptions { maximum_parallel_invocations_per_client: 0, ..default() },
            "maximum_parallel_invocations_per_client is 0",
        ),
        (HubOptions { stream_buffer_capacity: 0, ..default() }, "stream_buffer_capacity is 0"),
    ] {
        let built = error(with([route("/chat").options(options.clone())])).await;
        assert_eq!(built, format!("the options of {:?} are invalid: {problem}", "/chat"));
        let built =
            error(Server::builder(Config { hub_defaults: options, ..config() }).raw(RawRoute::new("/raw", Silent)));
        assert_eq!(built.await, format!("the options of {:?} are invalid: {problem}", "/raw"));
    }
}

#[tokio::test]
async fn a_context_can_be_attached_to_one_hub_only() {
    let context = HubContext::new();
    let taken = r#"the context of the hub "b" is already attached to another hub; each hub needs a context of its own"#;
    let two = [route("/a").context(&context), route("/b").context(&context)];
    assert_eq!(error(with(two)).await, taken);
    assert!(!context.is_attached(), "no server was built");

    let server = with([route("/a").context(&context).context(&context)]).build().await.unwrap();
    assert_eq!(context.clients().all().send("M", ()).await, Ok(()));
    assert_eq!(error(with([route("/b").context(&context)])).await, taken);
    // After the server has been dropped, a send reaches nobody, which is not an error.
    drop(server);
    assert_eq!(context.clients().all().send("M", ()).await, Ok(()));
    assert_eq!(HubContext::new().clients().all().send("M", ()).await, Err(SendError::NotAttached));
}

#[tokio::test]
async fn pages_can_be_turned_off_and_their_paths_used() {
    let builder = with([route("/metrics")]).health_pages(false).metrics_page(false);
    let server = serve(builder).await;
    for (path, status) in [("/healthz", 404), ("/readyz", 404), ("/metrics", 400)] {
        assert_eq!(server.get(path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn hubs_without_options_have_the_defaults_of_the_configuration() {
    let defaults = HubOptions { minimum_protocol_version: 1, ..HubOptions::default() };
    let builder = Server::builder(Config { hub_defaults: defaults, ..config() })
        .hub(route("/a"))
        .hub(route("/b").options(HubOptions::default()));
    let server = start(builder).await;
    for (path, refused) in [("/a", true), ("/b", false)] {
        let answer = server.ask(&format!("POST {path}/negotiate"), &[], "").await.text();
        assert_eq!(answer.contains("does not support this version"), refused, "{path}");
    }
}
