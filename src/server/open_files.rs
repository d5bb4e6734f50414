//! Raises the limit of open files. Each client needs one, and the usual soft limit of 1024 would limit the server.

/// Raises the soft limit to the hard limit, and logs it.
#[cfg(unix)]
pub(super) fn raise_open_files() {
    use rlimit::Resource;
    let (soft, hard) = match Resource::NOFILE.get() {
        Ok(limits) => limits,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be read");
            return;
        }
    };
    if soft >= hard {
        tracing::info!(limit = soft, "the limit of open files; each client needs one");
        return;
    }
    match Resource::NOFILE.set(hard, hard) {
        Ok(()) => tracing::info!(limit = hard, was = soft, "the limit of open files was raised; each client needs one"),
        Err(error) => tracing::warn!(limit = soft, %error, "the limit of open files could not be raised to {hard}"),
    }
}

#[cfg(not(unix))]
pub(super) fn raise_open_files() {}

/// The current soft limit; 0 if it cannot be read.
#[cfg(unix)]
pub(super) fn open_files() -> u64 {
    rlimit::Resource::NOFILE.get_soft().unwrap_or(0)
}

#[cfg(not(unix))]
pub(super) fn open_files() -> u64 {
    0
}
