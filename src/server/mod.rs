//! Floor 9: assemble, bind, serve, drain.
