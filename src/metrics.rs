//! Floor 2: every number the server tells, with its name. Labels are closed sets: no user, group or method is one.

/// All instruments of a process.
#[derive(Debug, Default)]
pub struct Metrics {}

/// The instruments of one hub, looked up once so that counting costs no more than an addition.
#[derive(Clone, Debug, Default)]
pub struct HubMetrics {}

/// How a call ended, for `signalr_invocation_duration_seconds{outcome}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvocationOutcome {
    /// It returned.
    Ok,
    /// The method failed.
    Failed,
    /// There was no such method, or the arguments did not fit.
    Rejected,
}

#[allow(missing_docs, clippy::unused_self)]
impl HubMetrics {
    pub fn overflow(&self) {}
    pub fn received(&self, _message: &crate::protocol::HubMessage) {}
    pub fn sent(&self, _messages: u64, _bytes: u64) {}
    pub fn invocation(&self, _outcome: InvocationOutcome, _took: std::time::Duration) {}
}
