//! What mechanisms share: the protocols as they ship, and as much of the rest as they use.

#[path = "../../../../src/transports/families/memory/messages.rs"]
pub(crate) mod memory_messages;
#[path = "../../../../src/transports/families/memory/protocol.rs"]
pub(crate) mod protocol;
#[path = "../../../../src/transports/families/turn.rs"]
pub(crate) mod turn;

pub(crate) use super::sync;

pub(crate) mod memory {
    pub(crate) use super::protocol;
}

pub(crate) mod stream {
    /// The model's time passes as fast as it can.
    pub(crate) fn adaptive_spin(_: usize) -> std::time::Duration {
        std::time::Duration::from_micros(50)
    }
}

pub(crate) mod messages {
    use rustix::io::Errno;

    /// As in `src/transports/families/messages.rs`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Else {
        Sleep,
        Return,
    }

    /// As there.
    pub(crate) trait Messages {
        const MIN_ROOM: usize = 0;

        fn send(&mut self, message: &[u8], or: Else) -> Result<(), Errno>;
        fn receive(&mut self, buffer: &mut [u8], or: Else) -> Result<usize, Errno>;

        /// Receives one message, waiting like this.
        fn receive_now(&mut self, buffer: &mut [u8], or: Else) -> usize {
            loop {
                match self.receive(buffer, or) {
                    Err(Errno::AGAIN) => {}
                    done => return done.expect("it is never aborted"),
                }
            }
        }
    }
}
