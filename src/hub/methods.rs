//! A hub made of typed async functions.

/// A hub made of typed async functions.
#[derive(Debug, Default)]
pub struct Methods {}
