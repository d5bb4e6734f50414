//! Floor 8: how bytes reach a hub over HTTP.
