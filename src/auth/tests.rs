//! Tests of tokens: every algorithm, keys that are mixed up, times, issuers, key sets.
