//! What a hub is told: its address, its options, and, for a declared hub, its methods (docs/design.md#3).

use std::sync::Arc;
use std::time::Duration;

use super::auth::{Authorize, GroupPattern};
use super::steps::{MethodConfig, Step};
use crate::hub_path::HubPath;
use crate::protocol::{Protocol, TransportKind};

/// One declared hub: `[hubs.NAME]`.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// The table's name.
    pub name: String,
    /// Where clients find it.
    pub path: HubPath,
    /// Its name on the backplane.
    pub backplane_name: String,
    /// Its options, `[hub_defaults]` applied.
    pub options: HubOptions,
    /// Who may come; None is everybody.
    pub authorize: Option<Arc<Authorize>>,
    /// The groups its `join` steps may name; None is all.
    pub allowed_groups: Option<Vec<GroupPattern>>,
    /// Steps when a client has come.
    pub on_connected: Vec<Step>,
    /// Steps when a client has gone.
    pub on_disconnected: Vec<Step>,
    /// Its methods; no two names differ in letter case only.
    pub methods: Vec<MethodConfig>,
}

/// The options of a hub, with the reference's defaults (docs/builders/signalr-protocol.md#6).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HubOptions {
    /// The hub protocols it speaks; never empty.
    pub protocols: Vec<Protocol>,
    /// The transports it offers; never empty.
    pub transports: Vec<TransportKind>,
    /// Whether clients see what went wrong inside.
    pub detailed_errors: bool,
    /// How long a client may take for its handshake.
    pub handshake_timeout: Duration,
    /// How often the server pings.
    pub keep_alive_interval: Duration,
    /// How long a client that pings may be silent.
    pub client_timeout_interval: Duration,
    /// Most bytes of one message with its framing; None is no limit.
    pub maximum_receive_message_size: Option<usize>,
    /// Items of an upload stream that wait for the method.
    pub stream_buffer_capacity: usize,
    /// Calls of one connection that run at a time; at least 1.
    pub maximum_parallel_invocations_per_client: usize,
    /// How long a connection lives without a transport.
    pub disconnect_timeout: Duration,
    /// Whether clients may ask for stateful reconnect.
    pub allow_stateful_reconnects: bool,
    /// Unacknowledged bytes kept for it.
    pub stateful_reconnect_buffer_size: usize,
    /// The lowest negotiate version that is taken.
    pub minimum_protocol_version: i32,
    /// Whether a connection ends with its token.
    pub close_on_authentication_expiration: bool,
    /// How long one write to a client may take.
    pub transport_send_timeout: Duration,
    /// How long a poll waits.
    pub long_polling_poll_timeout: Duration,
    /// How long the server waits for the client's close frame.
    pub websocket_close_timeout: Duration,
    /// Bytes of POSTs that wait for the hub; None is no limit.
    pub incoming_buffer_size: Option<usize>,
    /// Most bytes that wait for one client; None is no limit.
    pub outgoing_buffer_size: Option<usize>,
    /// Most messages that wait for one client; None is no limit.
    pub outgoing_buffer_messages: Option<usize>,
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
    /// What is invalid about them. Options from a file are checked when they are read.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        [
            (self.protocols.is_empty(), "protocols is empty"),
            (self.transports.is_empty(), "transports is empty"),
            (self.maximum_parallel_invocations_per_client == 0, "maximum_parallel_invocations_per_client is 0"),
            (self.stream_buffer_capacity == 0, "stream_buffer_capacity is 0"),
        ]
        .into_iter()
        .find_map(|(wrong, what)| wrong.then_some(what))
    }
}
