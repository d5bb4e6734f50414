//! What the loader makes of its sources.
