//! Authenticates users by their access tokens, as `[auth]` of the configuration says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use http::request::Parts;

use crate::auth::{AuthError, Authenticate, Principal, TokenValidator, token_of};

/// How long a request waits for keys to be fetched if its token names an unknown key.
const KEY_REFRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// Verifies the access token of a request, and fetches published keys once if the key of the token is not known.
#[derive(Debug)]
pub(super) struct TokenAuthenticator(pub(super) TokenValidator);

impl Authenticate for TokenAuthenticator {
    fn authenticate<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<Option<Arc<Principal>>, AuthError>> {
        Box::pin(async move {
            let Some(token) = token_of(&request.uri, &request.headers) else { return Ok(None) };
            let mut checked = self.0.check(&token, SystemTime::now());
            if let Err(AuthError::KeyNotFound | AuthError::KeysMissing) = checked
                && let Some(published) = self.0.published()
                && published.refresh(KEY_REFRESH_TIMEOUT).await
            {
                checked = self.0.check(&token, SystemTime::now());
            }
            checked.map(|principal| Some(Arc::new(principal)))
        })
    }
}
