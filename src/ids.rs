//! Layer 0: the names that travel through every other module, each a type of its own so that two cannot be swapped.
//!
//! All are cheap to clone (a shared `str`) and compared ordinally, as SignalR compares group names, user ids and
//! connection ids. [`ConnectionToken`] is a secret: its `Debug` does not print it.

#![allow(
    unreachable_pub,
    dead_code,
    reason = "one macro makes the public and the private ones, all with the same methods"
)]

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a text as it is; no check, since every text is a legal name.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<&$name> for $name {
            fn from(name: &$name) -> Self {
                name.clone()
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

macro_rules! shown {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    )*};
}

name! {
    /// The public id of a connection: other clients may know it and send to it.
    ConnectionId
}
name! {
    /// The secret with which a client finds its connection again (`id=` in the transport URL).
    /// With negotiate version 0 it equals the connection id.
    ConnectionToken
}
name! {
    /// Whom a connection belongs to, as `Clients.User(..)` addresses it.
    UserId
}
name! {
    /// A group of connections; every text is legal, the empty one included.
    GroupName
}
name! {
    /// The name a hub has on the backplane: for a farm with ASP.NET Core the hub type's full name.
    HubName
}
name! {
    /// Joins an invocation to its completion; chosen by whoever invokes.
    InvocationId
}
name! {
    /// This process on the backplane (`S` of docs/builders/redis-backplane.md#A.1), unique for each start.
    NodeId
}
shown!(ConnectionId, UserId, GroupName, HubName, InvocationId, NodeId);

impl ConnectionId {
    /// A new random id: 16 bytes of the system's random source in base64url, 22 characters
    /// (docs/builders/signalr-protocol.md#1.3).
    pub fn random() -> Self {
        Self::new(random_id())
    }
}

impl ConnectionToken {
    /// A new random token, of the same form as a connection id.
    pub fn random() -> Self {
        Self::new(random_id())
    }
}

impl From<&ConnectionId> for ConnectionToken {
    /// With negotiate version 0 the id is the token.
    fn from(id: &ConnectionId) -> Self {
        Self(id.0.clone())
    }
}

impl fmt::Debug for ConnectionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionToken(..)")
    }
}

impl NodeId {
    /// `{host name}_{32 hex digits}`, the form ASP.NET Core uses; only uniqueness matters.
    pub fn random(host: &str) -> Self {
        use std::fmt::Write as _;
        let mut text = format!("{host}_");
        for byte in random_bytes() {
            let _ = write!(text, "{byte:02x}");
        }
        Self::new(text)
    }
}

fn random_id() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes())
}

fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    // The system's random source only fails where the process could not have started either.
    getrandom::fill(&mut bytes).expect("the operating system's random source answers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_22_characters_of_base64url_and_differ() {
        let (a, b) = (ConnectionId::random(), ConnectionId::random());
        assert_ne!(a, b);
        assert_eq!(a.as_str().len(), 22);
        assert!(a.as_str().bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'));
    }

    #[test]
    fn a_token_does_not_print_itself() {
        let token = ConnectionToken::random();
        assert!(!format!("{token:?}").contains(token.as_str()));
    }
}
