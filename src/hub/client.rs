//! One client: it can be sent to, and it can be asked (docs/builders/signalr-protocol.md#4.8).

use std::any::type_name;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::HubError;
use super::client_method::Callable;
use super::clients::Audience;
use super::invocation_slot::ResultPermission;
use super::values::Argument;
use crate::delivery::SendError;
use crate::delivery::client_results::{ClientResultError, DEFAULT_RESULT_TIMEOUT};
use crate::ids::ConnectionId;
use crate::protocol::RawValue;

/// One client, chosen; on whichever node it is.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `send` or `invoke`"]
pub struct Client {
    pub(super) audience: Audience,
    /// None: the caller of no call.
    id: Option<ConnectionId>,
    permission: ResultPermission,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(audience: Audience, id: Option<ConnectionId>, permission: ResultPermission) -> Self {
        Self { audience, id, permission, timeout: DEFAULT_RESULT_TIMEOUT }
    }

    /// Calls `method` at the client and waits for no answer; see [`Audience::send`].
    pub async fn send<A>(&self, method: impl Callable<A>, arguments: A) -> Result<(), SendError> {
        self.audience.send(method, arguments).await
    }

    /// How long [`Client::invoke`] waits for the answer; 30 s unless this says otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Calls `method` at the client and awaits what it returns. Dropping the future gives the question up.
    ///
    /// The method is a [`super::ClientMethod`], or a name with any arguments, as for [`Audience::send`]; the result's
    /// type is then the caller's to say, as in `let answer: i32 = client.invoke("Answer", ()).await?`.
    ///
    /// The call that asks gives its slot free, so that its connection is read on. Fails with
    /// - the client's own error, as a text that the caller of a hub method sees;
    /// - [`super::ErrorKind::NotConnected`] for a connection that does not exist or goes away;
    /// - [`super::ErrorKind::NoAnswer`] when no answer comes in time;
    /// - [`super::ErrorKind::NotAllowed`] within the hub's `connected`, where no client is read yet.
    pub async fn invoke<R: Argument, A>(&self, method: impl Callable<A, R>, arguments: A) -> Result<R, HubError> {
        let answer = self.request_result(method.method_name(), method.values(arguments)?).await?;
        R::from_value(answer).map_err(|error| {
            HubError::client(format!(
                "Error trying to deserialize result to {}. {error}",
                dotnet_name(type_name::<R>())
            ))
        })
    }

    /// The same as bytes, with the error as it came about.
    pub(super) async fn request_result(
        &self,
        method: &str,
        arguments: Vec<RawValue>,
    ) -> Result<RawValue, ClientResultError> {
        let delivery = self.audience.delivery()?;
        match &self.permission {
            ResultPermission::Allowed => {}
            ResultPermission::Call(slot) => slot.release(),
            ResultPermission::WhileConnecting(is_over) if !is_over.load(Ordering::Relaxed) => {
                return Err(ClientResultError::WhileConnecting);
            }
            ResultPermission::WhileConnecting(_) => {}
        }
        let Some(id) = &self.id else { return Err(ClientResultError::UnknownConnection(ConnectionId::from(""))) };
        delivery.request_result(id, method, arguments, self.timeout).await
    }
}

/// The name users of .NET know a simple type by; of others the last part of its path, without parameters.
fn dotnet_name(name: &str) -> &str {
    match name {
        "bool" => "Boolean",
        "f32" => "Single",
        "f64" => "Double",
        "i16" => "Int16",
        "i32" => "Int32",
        "i64" => "Int64",
        "u16" => "UInt16",
        "u32" => "UInt32",
        "u64" => "UInt64",
        "alloc::string::String" => "String",
        other if other.starts_with(['(', '[', '&']) => other,
        other => other.split('<').next().and_then(|path| path.rsplit("::").next()).unwrap_or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_names_that_dotnet_users_know() {
        for (name, expected) in [
            (type_name::<i32>(), "Int32"),
            (type_name::<String>(), "String"),
            (type_name::<ConnectionId>(), "ConnectionId"),
            (type_name::<Vec<String>>(), "Vec"),
            (type_name::<Option<std::collections::BTreeMap<String, i32>>>(), "Option"),
            (type_name::<(String, i32)>(), "(alloc::string::String, i32)"),
            (type_name::<[u8; 2]>(), "[u8; 2]"),
        ] {
            assert_eq!(dotnet_name(name), expected);
        }
    }
}
