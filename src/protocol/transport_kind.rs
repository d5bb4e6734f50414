//! Which ways of carrying bytes there are, and which formats each can carry (docs/builders/signalr-protocol.md#1.3).

/// A transport by its name in negotiate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// One socket, both directions.
    WebSockets,
    /// An event stream down, POSTs up.
    ServerSentEvents,
    /// Polls down, POSTs up.
    LongPolling,
}

impl TransportKind {
    /// All, in the order negotiate offers them.
    pub const ALL: [Self; 3] = [Self::WebSockets, Self::ServerSentEvents, Self::LongPolling];

    /// The name in negotiate and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSockets => "WebSockets",
            Self::ServerSentEvents => "ServerSentEvents",
            Self::LongPolling => "LongPolling",
        }
    }

    /// The transport of that name; letter case does not count.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// The value of the metric label `transport`, as the reference names it (docs/builders/signalr-protocol.md#7).
    pub fn label(self) -> &'static str {
        match self {
            Self::WebSockets => "web_sockets",
            Self::ServerSentEvents => "server_sent_events",
            Self::LongPolling => "long_polling",
        }
    }

    /// Whether binary messages can travel on it. Text can on all.
    pub fn carries_binary(self) -> bool {
        self != Self::ServerSentEvents
    }
}
