//! Tests of a host's own authenticator, its rules, and the order of origin checks and authentication.

use futures_util::future::BoxFuture;
use http::request::Parts;

use super::*;
use crate::auth::{AuthError, Authenticate, Principal};
use crate::config::Authorize;
use crate::config::auth::{Algorithm, KeyConfig, KeyMaterial};
use crate::hub::{Caller, HubRoute, Methods};

/// Authenticates users by a header, as behind a proxy that has authenticated them.
struct ByHeader;

impl Authenticate for ByHeader {
    fn authenticate<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<Option<Arc<Principal>>, AuthError>> {
        Box::pin(async move {
            match request.headers.get("x-user").and_then(|value| value.to_str().ok()) {
                None => Ok(None),
                Some("mallory") => Err(AuthError::Other("nobody of that name".to_owned())),
                Some(name) => {
                    let roles = if name == "root" { vec!["admin".to_owned()] } else { Vec::new() };
                    Ok(Some(Arc::new(Principal::named(name).with_roles(roles))))
                }
            }
        })
    }
}

fn hub() -> Methods {
    Methods::new()
        .method("Me", |caller: Caller| async move {
            let principal = caller.principal().and_then(|principal| principal.user.clone());
            assert_eq!(principal.as_ref(), caller.user_id());
            Ok(caller.user_id().map(|user| user.as_str().to_owned()))
        })
        .method("Secret", |_: Caller| async { Ok(7) })
        .authorize("secret", Authorize::user().role("admin"))
}

#[tokio::test]
async fn a_host_can_authenticate_in_its_own_way() {
    let builder = Server::builder(config())
        .hub(HubRoute::new("/chat", hub()).authorize(Authorize::user()))
        .hub(HubRoute::new("/admins", hub()).authorize(Authorize::user()))
        .authorize("/Admins/", Authorize::user().role("admin"))
        .authenticate(ByHeader);
    let server = start(builder).await;
    let post = async |path: &str, user: Option<&str>| {
        let headers = user.map(|user| ("x-user", user));
        server.ask(&format!("POST {path}"), headers.as_slice(), "").await
    };
    for (path, user, status) in [
        ("/chat/negotiate", None, 401),
        ("/chat/negotiate", Some("ann"), 200),
        ("/chat/negotiate", Some("mallory"), 401),
        ("/admins/negotiate", Some("ann"), 403),
        ("/admins/negotiate", Some("root"), 200),
    ] {
        assert_eq!(post(path, user).await.status, status, "{path} {user:?}");
    }
    let challenge = "Bearer error=\"invalid_token\", error_description=\"nobody of that name\"";
    assert_eq!(post("/chat/negotiate", Some("mallory")).await.header("www-authenticate"), Some(challenge));

    // Over long polling: the handshake, then two calls.
    for (user, secret) in
        [("ann", r#""error":"Failed to invoke 'Secret' because user is unauthorized""#), ("root", r#""result":7"#)]
    {
        let negotiated = post("/chat/negotiate?negotiateVersion=1", Some(user)).await;
        let body: serde_json::Value = serde_json::from_slice(&negotiated.body).unwrap();
        let target = format!("/chat?id={}", body["connectionToken"].as_str().unwrap());
        let (get_line, post_line) = (format!("GET {target}"), format!("POST {target}"));
        let headers = [("x-user", user)];
        assert_eq!(server.ask(&get_line, &headers, "").await.status, 200);
        let calls = "{\"protocol\":\"json\",\"version\":1}\u{1e}\
                     {\"type\":1,\"invocationId\":\"1\",\"target\":\"Me\",\"arguments\":[]}\u{1e}\
                     {\"type\":1,\"invocationId\":\"2\",\"target\":\"Secret\",\"arguments\":[]}\u{1e}";
        assert_eq!(server.ask(&post_line, &headers, calls).await.status, 200);
        let mut seen = String::new();
        while !seen.contains("\"invocationId\":\"2\"") {
            let answer = server.ask(&get_line, &headers, "").await;
            assert_eq!(answer.status, 200, "{seen}");
            seen += &answer.text();
        }
        assert!(seen.contains(&format!("\"result\":\"{user}\"")) && seen.contains(secret), "{seen}");
    }
}

#[tokio::test]
async fn rules_without_an_authenticator_fail_the_build() {
    let rule = Authorize::user;
    let builder = || Server::builder(config()).hub(HubRoute::new("/chat", hub()));
    let error = builder().authorize("/chat", rule()).build().await.unwrap_err().to_string();
    assert!(error.contains("/chat requires a user, but there are no keys"), "{error}");
    let error = builder().authenticate(ByHeader).authorize("/chta", rule()).build().await.unwrap_err().to_string();
    assert!(error.contains("no hub and no raw connection at /chta"), "{error}");
    let mut wrong = config();
    let material = KeyMaterial::Secret("hunter2".to_owned());
    wrong.auth.keys = vec![KeyConfig { algorithm: Algorithm::RS256, material }];
    let error = Server::builder(wrong).build().await.unwrap_err().to_string();
    assert!(error.contains("auth.keys[0]: RS256 needs") && !error.contains("hunter2"), "{error}");
}

/// Reads until its client disconnects, and sends nothing.
struct Silent;

impl crate::transport::RawConnection for Silent {
    fn run(&self, _: Arc<crate::hub::RequestInfo>, mut stream: crate::transport::RawStream) -> BoxFuture<'static, ()> {
        Box::pin(async move { while stream.recv().await.is_some() {} })
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_before_authentication() {
    let listed = || Config { cors_origins: vec!["http://page.example".parse().unwrap()], ..config() };
    let builder = |config| {
        Server::builder(config)
            .hub(HubRoute::new("/chat", hub()))
            .raw(crate::transport::RawRoute::new("/raw", Silent))
            .authorize("/chat", Authorize::user())
            .authenticate(ByHeader)
    };
    let upgrade = async |server: &Running, path: &str, origin: &str| {
        let mut client = server.connect().await;
        let headers = [&ws::UPGRADE[..], &[("host", "a:81"), ("origin", origin)]].concat();
        client.request(&format!("GET {path}"), &headers, "").await;
        client.head().await
    };
    let server = start(builder(listed())).await;
    for (path, origin, status) in [
        ("/chat", "http://evil.example", 403),
        ("/chat", "http://page.example", 401),
        ("/raw", "http://evil.example", 403),
        ("/raw", "null", 403),
        ("/raw", "http://page.example", 101),
        ("/raw", "https://a:81", 101),
    ] {
        let answer = upgrade(&server, path, origin).await;
        assert_eq!((answer.status, answer.header("vary")), (status, Some("Origin")), "{path} {origin}");
    }
    let any = start(builder(listed()).allow_any_origin_with_credentials()).await;
    assert_eq!(upgrade(&any, "/raw", "http://evil.example").await.status, 101);
}
