//! Skips tests that need a program which is not installed. Such a test begins with [`needs!`](crate::needs). If the
//! program is missing, the test prints that it is skipped, or fails if skipping is forbidden.

use std::cell::RefCell;
use std::io::Write as _;
use std::path::PathBuf;

/// The environment variable that forbids skipping, unless it is empty. `tests/run.sh` sets it.
pub const REQUIRE_ALL: &str = "HUBPLANE_TESTS_REQUIRE_ALL";

thread_local! {
    static ASKED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Returns from a test unless these programs are installed.
#[macro_export]
macro_rules! needs {
    ($($program:literal),+) => {
        $(if !$crate::needs::is_there($program) {
            return;
        })+
    };
}

/// Whether a program can be started. If not, prints that the current test is skipped. The line bypasses the capture of
/// output, so that it is always visible.
///
/// # Panics
///
/// Panics if the program is missing and skipping is forbidden.
#[track_caller]
pub fn is_there(program: &str) -> bool {
    ASKED.with_borrow_mut(|asked| asked.push(program.to_owned()));
    // If REDIS_SERVER names a server and it cannot be started, tests must fail instead of being skipped.
    if find(program).is_some() || program == "redis-server" && std::env::var_os("REDIS_SERVER").is_some() {
        return true;
    }
    let all = std::env::var_os(REQUIRE_ALL).is_some_and(|value| !value.is_empty());
    assert!(!all, "needs {program}, which is not in the PATH, and {REQUIRE_ALL} forbids skipping");
    let thread = std::thread::current();
    let line = format!("skipped: needs {program}: {}\n", thread.name().unwrap_or("a test"));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    false
}

/// Fails a test that uses a program without having begun with [`needs!`](crate::needs). Without it, the test would fail
/// on machines without the program.
#[track_caller]
pub(crate) fn expect_asked(program: &str) {
    let asked = ASKED.with_borrow(|asked| asked.iter().any(|name| name == program));
    assert!(asked, "a test that uses {program} begins with testkit::needs!({program:?})");
}

/// Finds a program in the folders of the PATH.
fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}
