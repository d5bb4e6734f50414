//! Layer 0: what log lines about outsiders need: their texts made harmless ([`Escaped`]), and a bound on how often a
//! kind of line is written ([`LogRateLimiter`]).
//!
//! The rules for log lines, which docs/design.md#9 states for users:
//!
//! - A name that a client, another node or Redis has chosen is a field of its own, given as
//!   `Escaped::new(name).to_string()`: recorded as a string it is quoted in the text format, so that it cannot pass for
//!   other fields of the line. An error whose text may repeat such a name is given as [`reason`]. Ids that this server
//!   made, numbers, addresses and names of the configuration need nothing.
//! - Arguments, results, items of streams and tokens are never written, nor texts that may repeat them, such as serde's
//!   errors or the error texts of application code.
//! - A line that outsiders can cause goes through the [`LogRateLimiter`] of its hub.
//! - A line about a connection is written by the connection's own task, in its own span.

mod escaped;
mod rate_limiter;

pub(crate) use escaped::{Escaped, reason};
pub(crate) use rate_limiter::{Allowed, LogKind, LogRateLimiter};
