//! Floor 5: local and remote delivery as one act.

use crate::backplane::BackplaneError;
use crate::ids::{ConnectionId, GroupName};
use crate::protocol::{RawValue, ValueError};
use crate::target::Target;

/// Sends of one hub.
#[derive(Debug)]
pub struct Delivery {}

/// Why a send or a group change failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The backplane is needed and could not take it.
    #[error("{0}")]
    Backplane(#[from] BackplaneError),
    /// A value has no form in one of the hub's protocols.
    #[error("{0}")]
    Value(ValueError),
    /// No node acknowledged a group change in time.
    #[error("A task was canceled.")]
    AckTimeout,
    /// An empty group name in a list of groups (reference/signalr-protocol.md 4.12).
    #[error("Cannot send to an empty group name.")]
    EmptyGroup,
}

impl SendError {
    /// The short name of the exception the reference would throw.
    pub fn exception(&self) -> &'static str {
        match self {
            Self::Backplane(_) => "RedisConnectionException",
            Self::Value(_) => "JsonException",
            Self::AckTimeout => "TaskCanceledException",
            Self::EmptyGroup => "ArgumentException",
        }
    }
}

impl Delivery {
    /// Calls `method` at every receiver, here and on other nodes.
    pub async fn send(&self, _target: &Target, _method: &str, _arguments: Vec<RawValue>) -> Result<(), SendError> {
        Ok(())
    }
    /// Puts a connection into a group.
    pub async fn join(&self, _connection: &ConnectionId, _group: &GroupName) -> Result<(), SendError> {
        Ok(())
    }
    /// Takes a connection out of a group.
    pub async fn leave(&self, _connection: &ConnectionId, _group: &GroupName) -> Result<(), SendError> {
        Ok(())
    }
}
