//! [`Client`]: a single client, to send to it or to await a result from it (docs/builders/signalr-protocol.md#4.8).

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

/// A single client, on any node: [`Clients::client`](super::Clients::client) or
/// [`Clients::caller`](super::Clients::caller).
///
/// Unlike an [`Audience`], it can return a result to the server:
///
/// ```
/// use std::time::Duration;
///
/// use hubplane::hub::{Caller, HubError, Methods};
///
/// async fn delete(caller: Caller, file: String) -> Result<bool, HubError> {
///     let client = caller.clients().caller().timeout(Duration::from_secs(10));
///     let confirmed: bool = client.invoke("Confirm", (format!("Delete {file}?"),)).await?;
///     Ok(confirmed)
/// }
///
/// let hub = Methods::new().method("Delete", delete);
/// # drop(hub);
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `send` or `invoke`"]
pub struct Client {
    pub(super) audience: Audience,
    /// `None` for the caller where there is none, that is outside of hub methods.
    id: Option<ConnectionId>,
    permission: ResultPermission,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(audience: Audience, id: Option<ConnectionId>, permission: ResultPermission) -> Self {
        Self { audience, id, permission, timeout: DEFAULT_RESULT_TIMEOUT }
    }

    /// Invokes a client method without awaiting a result.
    ///
    /// # Errors
    ///
    /// The same as for [`Audience::send`].
    pub async fn send<A>(&self, method: impl Callable<A>, arguments: A) -> Result<(), SendError> {
        self.audience.send(method, arguments).await
    }

    /// Sets how long [`Client::invoke`] waits for the result. Default: 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Invokes a client method and awaits its result. Dropping the future stops waiting; a result that arrives later is
    /// ignored.
    ///
    /// `method` is a [`super::ClientMethod`], which declares the type of the result, or the method's name, as for
    /// [`Audience::send`]. With a name, the type of the result has to be given, as in
    /// `let answer: i32 = client.invoke("Answer", ()).await?`.
    ///
    /// A hub method that does this no longer counts towards `maximum_parallel_invocations_per_client`. Otherwise, with
    /// the default maximum of 1, a caller could never deliver its own result.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Client`](super::ErrorKind::Client) with the client's own error, or if the result is not an `R`;
    /// - [`ErrorKind::NotConnected`](super::ErrorKind::NotConnected) if the connection does not exist or ends;
    /// - [`ErrorKind::NoAnswer`](super::ErrorKind::NoAnswer) if no result arrives in time;
    /// - [`ErrorKind::NotAllowed`](super::ErrorKind::NotAllowed) inside the hub's `connected`, during which the
    ///   client's messages are not read;
    /// - the errors of [`Audience::send`].
    pub async fn invoke<R: Argument, A>(&self, method: impl Callable<A, R>, arguments: A) -> Result<R, HubError> {
        let answer = self.request_result(method.method_name(), method.values(arguments)?).await?;
        R::from_value(answer).map_err(|error| {
            HubError::client(format!(
                "Error trying to deserialize result to {}. {error}",
                dotnet_name(type_name::<R>())
            ))
        })
    }

    /// Like [`Client::invoke`], with the result as raw bytes and the error before its conversion.
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

/// .NET's name for a simple type. For other types, the last segment of the path without its generic parameters.
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
    fn types_are_named_as_in_dotnet() {
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
