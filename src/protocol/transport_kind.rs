//! The three transports: their names, and which message formats they can carry (docs/builders/signalr-protocol.md#1.3).

/// A transport, as named in negotiate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// One socket for both directions.
    WebSockets,
    /// An event stream to the client, POSTs to the server.
    ServerSentEvents,
    /// Responses to polls to the client, POSTs to the server.
    LongPolling,
}

impl TransportKind {
    /// All transports, in the order in which negotiate offers them.
    pub const ALL: [Self; 3] = [Self::WebSockets, Self::ServerSentEvents, Self::LongPolling];

    /// The name of the transport in negotiate and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSockets => "WebSockets",
            Self::ServerSentEvents => "ServerSentEvents",
            Self::LongPolling => "LongPolling",
        }
    }

    /// The transport with this name, which is case-insensitive.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// The value of the metric label `transport`, as in ASP.NET Core (docs/builders/signalr-protocol.md#7).
    pub fn label(self) -> &'static str {
        match self {
            Self::WebSockets => "web_sockets",
            Self::ServerSentEvents => "server_sent_events",
            Self::LongPolling => "long_polling",
        }
    }

    /// Whether the transport can carry binary messages. All transports can carry text.
    pub fn carries_binary(self) -> bool {
        self != Self::ServerSentEvents
    }
}
