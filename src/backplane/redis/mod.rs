//! Nodes that share a Redis, on the wire of ASP.NET Core's Redis backplane.
