//! The proof before the first round: the client shows the first half of the token, the responder answers with the
//! second. With it each tells what the other has to know of it.

use crate::protocol::Token;
use crate::transports::sync::Ordering;
use crate::transports::sys::Region;
use crate::transports::turn::{Block, Strategy, Turn};
use crate::transports::{Alive, RoundError};

const WORD: usize = 0;
const RESPONDER_SLEEPS: usize = 4;
const CLIENT_SLEEPS: usize = 8;
const CLIENT_HALF: usize = 16;
const RESPONDER_HALF: usize = 32;
const CLIENT_FACTS: usize = 48;
const RESPONDER_FACTS: usize = 52;

/// Values of the word.
const SHOWN: u32 = 1;
const ANSWERED: u32 = 2;

/// What the other side must know of a side to choose as it does. Told before the proof's word is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whether the other side's `membarrier` reaches it.
    pub(super) registered: bool,
}

impl Facts {
    fn tell(self, memory: &Region, at: usize) {
        memory.word(at).store(u32::from(self.registered), Ordering::Relaxed);
    }

    fn told(memory: &Region, at: usize) -> Self {
        Self { registered: memory.word(at).load(Ordering::Relaxed) != 0 }
    }
}

/// The turns of the responder and of the client.
fn turns(memory: &Region) -> (Turn<'_>, Turn<'_>) {
    let word = memory.word(WORD);
    (Turn { word, sleeps: memory.word(RESPONDER_SLEEPS) }, Turn { word, sleeps: memory.word(CLIENT_SLEEPS) })
}

/// The responder's proof; returns what the client has told, unless what it showed is not the token.
pub(super) fn check_peer(
    memory: &Region,
    token: &Token,
    ours: Facts,
    alive: &mut impl Alive,
) -> Result<Option<Facts>, RoundError> {
    let (shown, answered) = turns(memory);
    let mut half = [0; Token::HALF_LEN];
    Block.wait_for(shown, SHOWN, alive, 0)?;
    memory.read(CLIENT_HALF, &mut half);
    if half != *token.client_half() {
        return Ok(None);
    }
    let theirs = Facts::told(memory, CLIENT_FACTS);
    memory.write(RESPONDER_HALF, token.responder_half());
    ours.tell(memory, RESPONDER_FACTS);
    Block.publish(answered, ANSWERED);
    Ok(Some(theirs))
}

/// The client's proof; returns what the responder has told, unless what it answered is not the token.
pub(super) fn prove(
    memory: &Region,
    token: &Token,
    ours: Facts,
    alive: &mut impl Alive,
) -> Result<Option<Facts>, RoundError> {
    let (shown, answered) = turns(memory);
    let mut half = [0; Token::HALF_LEN];
    memory.write(CLIENT_HALF, token.client_half());
    ours.tell(memory, CLIENT_FACTS);
    Block.publish(shown, SHOWN);
    Block.wait_for(answered, ANSWERED, alive, 0)?;
    memory.read(RESPONDER_HALF, &mut half);
    if half != *token.responder_half() {
        return Ok(None);
    }
    Ok(Some(Facts::told(memory, RESPONDER_FACTS)))
}
