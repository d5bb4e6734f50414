//! Floor 9: where log lines go.
