//! Layer 0: safe logging of what clients and other nodes cause: escaping of untrusted text ([`Escaped`]), and rate
//! limiting of log lines ([`LogRateLimiter`]).
//!
//! The rules for log lines, which docs/design.md#9 describes for users:
//!
//! - A name that was chosen by a client, another node or Redis is logged as a field of its own, as
//!   `Escaped::new(name).to_string()`. The text format quotes string fields, so that the name cannot imitate other
//!   fields of the line. An error whose text may contain such a name is logged with [`reason`]. Ids that this server
//!   has generated, numbers, addresses and names from the configuration need no escaping.
//! - Arguments, results, stream items and access tokens are never logged, nor are texts that may contain them, such as
//!   serde's errors or the error texts of application code.
//! - A line that a client or another node can cause goes through the [`LogRateLimiter`] of its hub.
//! - A line about a connection is written by the connection's own task, in its own span.

mod escaped;
mod rate_limiter;

pub(crate) use escaped::{Escaped, reason};
pub(crate) use rate_limiter::{Allowed, LogKind, LogRateLimiter};
