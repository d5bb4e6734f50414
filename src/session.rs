//! Floor 3: the protocol state of one client, without I/O.
