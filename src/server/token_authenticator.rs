//! The server's own way to know its users: tokens by the rules of `[auth]`, checked against the clock of the system.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use http::request::Parts;

use crate::auth::{AuthError, Authenticate, Principal, TokenValidator, token_of};

/// How long a request waits for keys to be fetched when its token names one that is not known.
const KEY_REFRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// See the module.
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
