//! Connection texts.
