//! What is wrong with a connection string of the backplane. The backplane has the parser; the errors of a configuration
//! and of a server's start include this one.

use std::fmt;

/// Everything that is wrong with a connection string, found in one go. The texts hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionStringError {
    /// Sentences; never empty.
    problems: Vec<String>,
}

impl ConnectionStringError {
    pub(crate) fn new(problems: Vec<String>) -> Self {
        Self { problems }
    }

    /// Every problem, one sentence each; never empty.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(String::as_str)
    }
}

impl fmt::Display for ConnectionStringError {
    /// All sentences in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join(" "))
    }
}

impl std::error::Error for ConnectionStringError {}
