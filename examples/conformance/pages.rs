//! What the tests need besides hubs: access tokens, redirects, cookies, a client's result as a page, and a script.

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

/// The key that access tokens are signed with. It need not be secret, because this server is only for tests.
const SECRET: &str = "hubplane-conformance-key-of-32-bytes-or-more";

pub(crate) fn auth() -> AuthConfig {
    let mut auth = AuthConfig::default();
    auth.keys = vec![KeyConfig::new(Algorithm::HS256, KeyMaterial::Secret(SECRET.to_owned()))];
    auth
}

/// The pages, and the hub whose clients they invoke.
#[derive(Clone)]
pub(crate) struct Pages {
    hub: HubContext,
    redirects: Arc<AtomicU64>,
    /// Folders in which npm may have installed the official client.
    signalr: Arc<[PathBuf]>,
}

impl Pages {
    /// Looks for the official client in `signalr`, by default where this repository's own `npm ci` installs it.
    pub(crate) fn new(hub: HubContext, signalr: Option<PathBuf>) -> Self {
        let own = ["tests/clients/js/node_modules/signalr10", "examples/web/node_modules/@microsoft/signalr"];
        let own = own.map(|folder| [env!("CARGO_MANIFEST_DIR"), folder].iter().collect());
        let signalr = signalr.map_or_else(|| Arc::from(own), |folder| Arc::from([folder]));
        Self { hub, redirects: Arc::default(), signalr }
    }

    pub(crate) fn routes(&self, auth: AuthConfig) -> Router {
        let (results, redirects, scripts, auth) = (self.clone(), self.clone(), self.clone(), Arc::new(auth));
        let (weather, users) = (auth.clone(), auth.clone());
        Router::new()
            .route("/generateJwtToken", get(async move || token(&auth, "testuser", Duration::from_secs(5))))
            .route("/lib/signalr-webworker/signalr.js", get(async move || scripts.web_worker().await))
            .route("/clientresult/{id}", get(async move |Path(id): Path<String>| results.client_result(id).await))
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

    /// Invokes `Result` of a client of the test hub, which returns a number. The page is the number or the error's
    /// text.
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
            // Without a content type, like the original test server.
            let mut response = (StatusCode::BAD_REQUEST, "Some response from server").into_response();
            response.headers_mut().remove(CONTENT_TYPE);
            return response;
        }
        StatusCode::NOT_FOUND.into_response()
    }
}

/// Sets the cookies that every negotiate response has.
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

fn token(auth: &AuthConfig, user: &str, lifetime: Duration) -> String {
    mint(auth, &TokenRequest::new(user, lifetime), SystemTime::now()).unwrap_or_default()
}

/// Answers with an access token for the user `test` with this password, otherwise with the status `refused`.
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
