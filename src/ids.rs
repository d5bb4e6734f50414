//! Layer 0: names and ids, such as [`ConnectionId`] and [`GroupName`]. Each is a type of its own, so that they cannot
//! be mixed up.
//!
//! All are cheap to clone (a shared `str`) and are compared byte by byte, as SignalR compares group names, user ids and
//! connection ids. [`ConnectionToken`] is a secret, so its `Debug` does not print it.

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
            /// Wraps a text unchanged. Every text is a valid name.
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
    /// The public id of a connection. Other clients may know it and send to it.
    ConnectionId
}
name! {
    /// The secret with which a client's requests find its connection (`id=` in the transport URL).
    /// With negotiate version 0 it equals the connection id.
    ConnectionToken
}
name! {
    /// The id of a user, to which messages can be addressed. A user may have any number of connections.
    UserId
}
name! {
    /// The name of a group of connections. Every text is valid, even an empty one.
    GroupName
}
name! {
    /// The name of a hub on the backplane. In a farm with ASP.NET Core it must be the full name of the hub's type.
    HubName
}
name! {
    /// The id that relates a completion to its invocation. The side that invokes chooses it.
    InvocationId
}
name! {
    /// The id of one process on the backplane (`S` in docs/builders/redis-backplane.md#A.1). Each start has a new one.
    NodeId
}
shown!(ConnectionId, UserId, GroupName, HubName, InvocationId, NodeId);

impl ConnectionId {
    /// A new random id: 16 bytes from the system's random source in base64url, which are 22 characters
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
    /// With negotiate version 0 the connection id is also the token.
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
    /// A new random id of the form `{host name}_{32 hex digits}`. ASP.NET Core uses this form, but it only has to be
    /// unique.
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
    // The random source fails only on systems on which the process could not even have started.
    getrandom::fill(&mut bytes).expect("the operating system's random source works");
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
