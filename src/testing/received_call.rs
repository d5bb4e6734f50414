//! A call of a client method that a test client has received: [`ReceivedCall`].

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::inbox::json;
use super::test_client::ClientWire;
use super::test_error::TestError;
use crate::hub::{ClientMethod, IntoValue};
use crate::ids::InvocationId;
use crate::protocol::{Headers, HubMessage, Invocation, Outcome, ValueError};

/// A call of a client method by the hub: with `send`, such as `clients().all().send("target", arguments)`, or with
/// `invoke`, which waits for the client's result.
#[non_exhaustive]
pub struct ReceivedCall {
    /// The name of the client method.
    pub target: String,
    /// Its arguments, as JSON.
    pub arguments: Vec<Value>,
    id: Option<InvocationId>,
    wire: ClientWire,
}

impl ReceivedCall {
    pub(super) fn new(call: Invocation, wire: ClientWire) -> Self {
        let arguments = match json(call.arguments.as_deref().unwrap_or_default()) {
            Value::Array(arguments) => arguments,
            _ => Vec::new(),
        };
        Self { target: call.target.to_string(), arguments, id: call.id, wire }
    }

    /// The arguments as a tuple of Rust types: `let (user, text): (String, String) = call.read()?`.
    ///
    /// # Errors
    ///
    /// Fails if an argument has another type, or if their number is different.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, TestError> {
        // serde reads `()`, the arguments of a method without any, from null alone.
        let none = || self.arguments.is_empty().then(|| serde_json::from_value(Value::Null).ok()).flatten();
        let read = serde_json::from_value(Value::Array(self.arguments.clone()));
        read.or_else(|error| none().ok_or(error)).map_err(|error| TestError::Value {
            what: format!("the arguments of {self}"),
            source: ValueError(error.to_string()),
        })
    }

    /// The arguments of a call of this client method, with the types that it declares.
    ///
    /// ```
    /// # use hubplane::hub::{Caller, ClientMethod, Methods};
    /// # use hubplane::testing::{TestError, TestHub};
    /// const RECEIVE_MESSAGE: ClientMethod<(String, String)> = ClientMethod::new("ReceiveMessage");
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), TestError> {
    /// let hub = Methods::new().method("Say", |caller: Caller, text: String| async move {
    ///     Ok(caller.clients().all().send(RECEIVE_MESSAGE, ("ann", text)).await?)
    /// });
    /// let ann = TestHub::new(hub)?.connect().await?;
    /// ann.send("Say", ("hi",)).await?;
    /// let (user, text) = ann.next_call().await?.read_as(RECEIVE_MESSAGE)?;
    /// assert_eq!((user.as_str(), text.as_str()), ("ann", "hi"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if it is a call of another client method, and as [`ReceivedCall::read`].
    pub fn read_as<Args: DeserializeOwned, R>(&self, method: ClientMethod<Args, R>) -> Result<Args, TestError> {
        if self.target == method.name() {
            return self.read();
        }
        Err(TestError::Value {
            what: format!("the arguments of {}", method.name()),
            source: ValueError::new(format!("the client has received another call: {self}")),
        })
    }

    /// Whether the hub waits for a result.
    pub fn wants_answer(&self) -> bool {
        self.id.is_some()
    }

    /// Returns a result to the hub. Does nothing if the hub does not wait for one.
    pub async fn answer(self, value: impl IntoValue) -> Result<(), TestError> {
        let value = value
            .into_value()
            .map_err(|source| TestError::Value { what: format!("the answer to {}", self.target), source })?;
        self.complete(Outcome::Value(value)).await
    }

    /// Returns an error to the hub, like a client whose handler has failed.
    pub async fn fail(self, error: impl Into<String>) -> Result<(), TestError> {
        self.complete(Outcome::Error(error.into())).await
    }

    async fn complete(self, outcome: Outcome) -> Result<(), TestError> {
        let Some(id) = self.id else { return Ok(()) };
        self.wire.send(&HubMessage::Completion { id, outcome, headers: Headers::default() }).await
    }
}

impl fmt::Display for ReceivedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.target, Value::Array(self.arguments.clone()))
    }
}

impl fmt::Debug for ReceivedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedCall")
            .field("target", &self.target)
            .field("arguments", &self.arguments)
            .field("wants_answer", &self.wants_answer())
            .finish_non_exhaustive()
    }
}
