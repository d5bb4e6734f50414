//! The first message each way, always JSON, one record (reference/signalr-protocol.md, section 2).
