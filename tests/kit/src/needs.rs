//! What a test needs and a machine may lack. Such a test begins with [`needs!`](crate::needs): where it cannot run it says so and is
//! skipped, or fails where nothing may be skipped.

use std::cell::RefCell;
use std::io::Write as _;
use std::path::PathBuf;

/// The environment variable that forbids skipping, unless it is empty. `tests/run.sh` sets it.
pub const REQUIRE_ALL: &str = "HUBPLANE_TESTS_REQUIRE_ALL";

thread_local! {
    static ASKED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Returns from a test unless these programs are there.
#[macro_export]
macro_rules! needs {
    ($($program:literal),+) => {
        $(if !$crate::needs::is_there($program) {
            return;
        })+
    };
}

/// Whether a program can be started. If not, a line says that the running test is skipped; it goes past the capture of output, so that
/// everybody sees it.
///
/// # Panics
///
/// If it cannot, and nothing may be skipped.
#[track_caller]
pub fn is_there(program: &str) -> bool {
    ASKED.with_borrow_mut(|asked| asked.push(program.to_owned()));
    // A server that is named is meant to be used: where it cannot be started, tests fail.
    if find(program).is_some() || program == "redis-server" && std::env::var_os("REDIS_SERVER").is_some() {
        return true;
    }
    let all = std::env::var_os(REQUIRE_ALL).is_some_and(|value| !value.is_empty());
    assert!(!all, "needs {program}, which is not in the PATH, and {REQUIRE_ALL} forbids to skip");
    let thread = std::thread::current();
    let line = format!("skipped: needs {program}: {}\n", thread.name().unwrap_or("a test"));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    false
}

/// Fails a test that uses a program and has not begun with [`needs!`](crate::needs): it would fail where the program is not there.
#[track_caller]
pub(crate) fn expect_asked(program: &str) {
    let asked = ASKED.with_borrow(|asked| asked.iter().any(|name| name == program));
    assert!(asked, "a test that uses {program} begins with testkit::needs!({program:?})");
}

/// A program's file in the folders of the PATH.
fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}
