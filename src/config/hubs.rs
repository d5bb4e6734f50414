//! The configuration of a hub: its path, its options and, for a declared hub, its methods (docs/design.md#3).

use std::sync::Arc;
use std::time::Duration;

use super::auth::{Authorize, GroupPattern};
use super::steps::{MethodConfig, Step};
use crate::hub_path::HubPath;
use crate::protocol::{Protocol, TransportKind};

/// One declared hub: `[hubs.NAME]`.
#[derive(Clone, Debug)]
pub(crate) struct HubConfig {
    /// The table's name.
    pub name: String,
    /// The path that clients connect to.
    pub path: HubPath,
    /// The hub's name on the backplane.
    pub backplane_name: String,
    /// The hub's options, with `[hub_defaults]` applied.
    pub options: HubOptions,
    /// Who may connect; `None` admits everybody.
    pub authorize: Option<Arc<Authorize>>,
    /// The groups that its `join` steps and streams may name; `None` allows all.
    pub allowed_groups: Option<Vec<GroupPattern>>,
    /// Steps to run when a client has connected.
    pub on_connected: Vec<Step>,
    /// Steps to run when a client has disconnected.
    pub on_disconnected: Vec<Step>,
    /// The hub's methods. Their names are unique, ignoring case.
    pub methods: Vec<MethodConfig>,
}

/// The options of a hub, with the defaults of ASP.NET Core (docs/builders/signalr-protocol.md#6).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HubOptions {
    /// The hub protocols that clients may use; never empty.
    pub protocols: Vec<Protocol>,
    /// The transports that are offered; never empty.
    pub transports: Vec<TransportKind>,
    /// Whether clients see the texts of internal errors.
    pub detailed_errors: bool,
    /// How long a client may take for its handshake.
    pub handshake_timeout: Duration,
    /// How often the server pings a client.
    pub keep_alive_interval: Duration,
    /// How long a client that pings may be silent.
    pub client_timeout_interval: Duration,
    /// The largest message from a client in bytes, including its framing; `None` means no limit.
    pub maximum_receive_message_size: Option<usize>,
    /// How many items of an upload stream wait for the method that reads them; at least 1.
    pub stream_buffer_capacity: usize,
    /// How many calls of one connection run at the same time; at least 1.
    pub maximum_parallel_invocations_per_client: usize,
    /// How many streams one client may receive at the same time; `None` means no limit.
    pub maximum_streams_per_client: Option<usize>,
    /// How many streams one client may upload at the same time; `None` means no limit.
    pub maximum_uploads_per_client: Option<usize>,
    /// How many calls of one client may wait for client results at the same time; `None` means no limit.
    pub maximum_asks_per_client: Option<usize>,
    /// How many groups one connection may be a member of; `None` means no limit.
    pub maximum_groups_per_client: Option<usize>,
    /// How long a connection is kept without a transport.
    pub disconnect_timeout: Duration,
    /// Whether clients may use stateful reconnect.
    pub allow_stateful_reconnects: bool,
    /// How many bytes may be added to the replay buffer of a client with stateful reconnect while it has no socket. Its
    /// streams wait while this many bytes are unacknowledged.
    pub stateful_reconnect_buffer_size: usize,
    /// The lowest negotiate version that is accepted.
    pub minimum_protocol_version: i32,
    /// Whether a connection ends when its token expires.
    pub close_on_authentication_expiration: bool,
    /// How long a client may accept nothing of what is written to it.
    pub transport_send_timeout: Duration,
    /// How long a poll waits for a message.
    pub long_polling_poll_timeout: Duration,
    /// How long the server waits for the client's close frame.
    pub websocket_close_timeout: Duration,
    /// How many bytes of POST bodies wait for the hub; `None` means no limit.
    pub incoming_buffer_size: Option<usize>,
    /// How many bytes may wait for one client; `None` means no limit.
    pub outgoing_buffer_size: Option<usize>,
    /// How many messages may wait for one client; `None` means no limit.
    pub outgoing_buffer_messages: Option<usize>,
}

/// Why [`HubOptions`] cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// `protocols` is empty, so that clients could not use any hub protocol.
    #[error("protocols is empty")]
    NoProtocols,
    /// `transports` is empty, so that clients could not connect.
    #[error("transports is empty")]
    NoTransports,
    /// `maximum_parallel_invocations_per_client` is 0, so that no call would ever run.
    #[error("maximum_parallel_invocations_per_client is 0")]
    NoInvocations,
    /// `stream_buffer_capacity` is 0, so that no item of an upload could be received.
    #[error("stream_buffer_capacity is 0")]
    NoStreamBuffer,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            protocols: Protocol::ALL.to_vec(),
            transports: TransportKind::ALL.to_vec(),
            detailed_errors: false,
            handshake_timeout: Duration::from_secs(15),
            keep_alive_interval: Duration::from_secs(15),
            client_timeout_interval: Duration::from_secs(30),
            maximum_receive_message_size: Some(32_768),
            stream_buffer_capacity: 10,
            maximum_parallel_invocations_per_client: 1,
            maximum_streams_per_client: Some(1000),
            maximum_uploads_per_client: Some(1000),
            maximum_asks_per_client: Some(1000),
            maximum_groups_per_client: Some(10_000),
            disconnect_timeout: Duration::from_secs(15),
            allow_stateful_reconnects: false,
            stateful_reconnect_buffer_size: 100_000,
            minimum_protocol_version: 0,
            close_on_authentication_expiration: false,
            transport_send_timeout: Duration::from_secs(10),
            long_polling_poll_timeout: Duration::from_secs(90),
            websocket_close_timeout: Duration::from_secs(5),
            incoming_buffer_size: Some(65_536),
            outgoing_buffer_size: Some(1 << 20),
            outgoing_buffer_messages: Some(16_384),
        }
    }
}

impl HubOptions {
    /// Checks options that a Rust host made. Those from a file are checked when they are read.
    pub(crate) fn validate(&self) -> Result<(), OptionsError> {
        [
            (self.protocols.is_empty(), OptionsError::NoProtocols),
            (self.transports.is_empty(), OptionsError::NoTransports),
            (self.maximum_parallel_invocations_per_client == 0, OptionsError::NoInvocations),
            (self.stream_buffer_capacity == 0, OptionsError::NoStreamBuffer),
        ]
        .into_iter()
        .find_map(|(is_wrong, error)| is_wrong.then_some(Err(error)))
        .unwrap_or(Ok(()))
    }
}
