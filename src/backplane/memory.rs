//! Nodes of one process: the default, and the double for tests.
