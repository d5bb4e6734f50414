//! What the tests ask of a server beside its hubs: tokens, redirects, cookies, a client's result as a page, a script.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION, SET_COOKIE};
use http::{HeaderMap, StatusCode, Uri};
use hubplane::auth::{TokenRequest, mint};
use hubplane::config::AuthConfig;
use hubplane::config::{Algorithm, KeyConfig, KeyMaterial};
use hubplane::hub::HubContext;
use serde_json::{Value, json};

/// The key that tokens are signed with. Everybody knows it: this server is for tests.
const SECRET: &str = "hubplane-conformance-key-of-32-bytes-or-more";

pub(crate) fn auth() -> AuthConfig {
    let mut auth = AuthConfig::default();
    auth.keys = vec![KeyConfig::new(Algorithm::HS256, KeyMaterial::Secret(SECRET.to_owned()))];
    auth
}

/// The pages, and the hub whose clients they ask.
#[derive(Clone)]
pub(crate) struct Pages {
    hub: HubContext,
    redirects: Arc<AtomicU64>,
    /// Folders where npm may have put the official client.
    signalr: Arc<[PathBuf]>,
}

impl Pages {
    /// The official client is looked for in `signalr`, or where this repository's own `npm ci` puts it.
    pub(crate) fn new(hub: HubContext, signalr: Option<PathBuf>) -> Self {
        let own = ["tests/clients/js/node_modules/signalr10", "examples/web/node_modules/@microsoft/signalr"];
        let own = own.map(|folder| [env!("CARGO_MANIFEST_DIR"), folder].iter().collect());
        let signalr = signalr.map_or_else(|| Arc::from(own), |folder| Arc::from([folder]));
        Self { hub, redirects: Arc::default(), signalr }
    }

    pub(crate) fn routes(&self, auth: AuthConfig) -> Router {
        let (asks, redirects, scripts, auth) = (self.clone(), self.clone(), self.clone(), Arc::new(auth));
        let (weather, users) = (auth.clone(), auth.clone());
        Router::new()
            .route("/generateJwtToken", get(async move || token(&auth, "testuser", Duration::from_secs(5))))
            .route("/lib/signalr-webworker/signalr.js", get(async move || scripts.web_worker().await))
            .route("/clientresult/{id}", get(async move |Path(id): Path<String>| asks.client_result(id).await))
            .route(
                "/api/auth/login",
                post(async move |request| login(request, "password", &weather, StatusCode::UNAUTHORIZED).await),
            )
            .route(
                "/users/authenticate",
                post(async move |request| login(request, "test", &users, StatusCode::BAD_REQUEST).await),
            )
            .fallback(async move |uri: Uri| redirects.by_prefix(&uri))
    }

    /// Asks a client of the test hub for its `Result`, a number; an error is told by its text alone.
    async fn client_result(&self, id: String) -> String {
        let result: Result<i32, _> = self.hub.clients().client(id).invoke("Result", ()).await;
        result.map_or_else(|error| error.to_string(), |number| number.to_string())
    }

    /// The build of the official client that web workers load.
    async fn web_worker(&self) -> Response {
        for folder in self.signalr.iter() {
            let file = folder.join("dist/webworker/signalr.js");
            if let Ok(Ok(script)) = tokio::task::spawn_blocking(|| std::fs::read(file)).await {
                return ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], script).into_response();
            }
        }
        let advice = "not installed: start with --signalr FOLDER, the folder of npm's @microsoft/signalr";
        (StatusCode::NOT_FOUND, advice).into_response()
    }

    fn by_prefix(&self, uri: &Uri) -> Response {
        let (path, query) = (uri.path(), uri.query());
        if let Some(rest) = path.strip_prefix("/echoredirect") {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, format!("/echo{rest}{query}"))]).into_response();
        }
        if path.starts_with("/redirect") {
            let base = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(key, _)| key == "baseUrl");
            let base = base.map(|(_, value)| value.into_owned()).unwrap_or_default();
            let count = self.redirects.fetch_add(1, Ordering::Relaxed) + 1;
            return as_json(&json!({ "url": format!("{base}/testHub?numRedirects={count}") }));
        }
        if path.starts_with("/bad-negotiate") {
            // No type, as the server that this is compared with.
            let mut response = (StatusCode::BAD_REQUEST, "Some response from server").into_response();
            response.headers_mut().remove(CONTENT_TYPE);
            return response;
        }
        StatusCode::NOT_FOUND.into_response()
    }
}

/// The cookies of every negotiate.
pub(crate) fn cookies(uri: &Uri, headers: &mut HeaderMap) {
    if uri.path().ends_with("/negotiate") {
        for cookie in [
            "testCookie=testValue; path=/",
            "testCookie2=testValue2; path=/",
            "expiredCookie=doesntmatter; expires=Thu, 01 Jan 1970 00:00:00 GMT; path=/",
        ] {
            headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
    }
}

fn token(auth: &AuthConfig, user: &str, life: Duration) -> String {
    let wish = TokenRequest { user: user.to_owned(), lifetime: life, ..TokenRequest::default() };
    mint(auth, &wish, SystemTime::now()).unwrap_or_default()
}

/// A token for the user `test`, who has this password; else `refused`.
async fn login(request: Request, password: &str, auth: &AuthConfig, refused: StatusCode) -> Response {
    let body = to_bytes(request.into_body(), 10_000).await.unwrap_or_default();
    let login: Value = serde_json::from_slice(&body).unwrap_or_default();
    if login["username"] == "test" && login["password"] == password {
        return as_json(&json!({ "token": token(auth, "test", Duration::from_secs(3600)) }));
    }
    (refused, "Username or password is incorrect").into_response()
}

fn as_json(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json; charset=utf-8")], value.to_string()).into_response()
}
