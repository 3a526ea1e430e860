//! The hidden first arguments that make an executable a private daemon or a responder.
//!
//! Either finds its control socket as standard input.

/// Serve one client, over the socket that is standard input, until it goes.
pub const PRIVATE_DAEMON: &str = "__ipcd-private-daemon";

/// Serve one data channel, supervised over the socket that is standard input.
pub const RESPONDER: &str = "__ipcd-responder";
