//! What client and daemon say to each other over the control channel, and where they meet.
//!
//! A connection starts with a fixed [greeting](Greeting) in both directions, then carries [frames](frame): a length
//! that is checked before anything is allocated, and a bincode body, a [`Request`] or a [`Reply`].

mod address;
mod codec;
mod dial;
pub(crate) mod frame;
mod greeting;
mod limit;
pub(crate) mod link;
mod message;
mod refusal;
pub mod role;
mod status;

pub use address::SocketAddress;
pub(crate) use address::{AddressError, Candidate, MAX_PATH_LEN, Tried};
pub use codec::{DecodeError, MAX_DECODED, decode, encode};
pub use dial::{DialError, dial};
pub(crate) use greeting::GreetingError;
pub use greeting::{GREETING_LEN, Greeting, PROTOCOL_VERSION};
pub use limit::{LimitUse, OverLimit, Resource, Scope, UserUse};
pub use message::{
    ChannelSpec, Confinement, Event, MethodState, Reply, Request, Throttling, Token, Usage, Wait,
};
pub use refusal::{ChannelId, End, Refusal, Unavailable};
pub use status::{ChannelStatus, Status, Totals};
