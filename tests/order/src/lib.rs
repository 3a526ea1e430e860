//! The protocols in shared memory, explored by loom.
//!
//! What is explored is what ships: [`transports`] includes the protocols' own files. In place of the two modules through which
//! they reach the machine, `sync` (atomics, barriers, futexes) and `sys` (mapped memory, semaphores), it has models of them, in
//! which [loom](https://docs.rs/loom) decides who goes on and, for each load, which of the values that the memory model allows it sees.
//! A model of a wrong protocol ends in a panic: a deadlock (a wake-up was lost), a causality violation (a payload was read while it could
//! be written), or an assertion (another round's payload was seen).
//!
//! That a model can fail is shown by [faults](model::Fault) that are planted into the machine: each takes something from
//! it that a protocol relies on.

pub mod model;
pub mod transports;

/// What the protocols use of the control protocol.
pub mod protocol {
    /// As `ipcd::internals::protocol::Token`.
    #[derive(Debug, Clone, Copy)]
    pub struct Token([u8; 32]);

    impl Token {
        /// Length of either half in bytes.
        pub const HALF_LEN: usize = 16;

        /// A token of these bytes.
        #[must_use]
        pub fn new(bytes: [u8; 32]) -> Self {
            Self(bytes)
        }

        /// What the client shows.
        #[must_use]
        pub fn client_half(&self) -> &[u8; Self::HALF_LEN] {
            self.0.first_chunk().expect("32 bytes hold 16")
        }

        /// What the responder shows.
        #[must_use]
        pub fn responder_half(&self) -> &[u8; Self::HALF_LEN] {
            self.0.last_chunk().expect("32 bytes hold 16")
        }
    }
}
