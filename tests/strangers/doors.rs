//! Strangers at a channel's door, before its client: with no token, with half of one, with a wrong one.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Instant;

use ipcd::internals::protocol::{End, Token};
use ipcd::internals::transports::MessageQueue;
use ipcd::internals::transports::Region;
use ipcd::internals::transports::{
    ALL, ConnectError, Delivery, Endpoint, Exposure, Info, Naming, Settings, Watch,
};
use ipcd::internals::transports::{Message, Queue};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::futex;

use super::{MANY, attacked, every_door};
use crate::harness::{Announced, SOON, connected, datagrams, exposure, run};

/// What a stranger does.
struct Knock {
    what: &'static str,
    /// What it shows for a token.
    shows: fn(&Token) -> Vec<u8>,
    /// Whether it stays there.
    stays: bool,
}

const KNOCKS: [Knock; 6] = [
    Knock { what: "says nothing", shows: |_| Vec::new(), stays: true },
    Knock { what: "comes and goes", shows: |_| Vec::new(), stays: false },
    Knock { what: "shows half a token", shows: |token| token.client_half()[..8].to_vec(), stays: true },
    Knock { what: "shows half and goes", shows: |token| token.client_half()[..8].to_vec(), stays: false },
    Knock { what: "shows a wrong one", shows: |_| vec![7; Token::HALF_LEN], stays: true },
    Knock { what: "shows a wrong one and goes", shows: |_| vec![7; Token::HALF_LEN], stays: false },
];

/// What is still open of a knock.
pub(super) type Held = Box<dyn std::any::Any>;

/// Knocks at a channel's door by the system's calls.
pub(super) fn knock(way: Exposure, method: &str, endpoint: Endpoint, shows: &[u8]) -> io::Result<Held> {
    let address = endpoint.address.as_str();
    match way {
        Exposure::Connections(_) => {
            let stream = connected(method, address)?;
            // It may have been dropped already.
            let _ = File::from(stream.try_clone()?).write_all(shows);
            Ok(Box::new(stream))
        }
        Exposure::Datagrams => {
            let socket = datagrams(address)?;
            // One with nothing in it is one, too.
            rustix::net::send(&socket, shows, rustix::net::SendFlags::NOSIGNAL)?;
            Ok(Box::new(socket))
        }
        Exposure::Messages => leave_messages(&endpoint, shows).map(|()| Box::new(()) as Held),
        Exposure::Peer(_) => {
            let (reader, mut writer) = stream_ends(method, endpoint)?;
            writer.write_all(shows)?;
            Ok(Box::new((reader, writer)))
        }
        Exposure::Memory => {
            let memory = memory_of(&endpoint)?;
            if !shows.is_empty() {
                // As the client does: its half, and the word.
                memory.write(16, shows);
                memory.word(0).store(1, Ordering::SeqCst);
                futex::wake(memory.word(0), futex::Flags::empty(), 1)?;
            }
            Ok(Box::new(memory))
        }
        Exposure::Counters => {
            let mut files = endpoint.descriptors.into_iter().map(File::from);
            let (reader, mut writer) = (files.next(), files.next().expect("two counters"));
            if let Some(word) = shows.first_chunk::<4>() {
                writer.write_all(&(u64::from(u32::from_le_bytes(*word)) + 1).to_ne_bytes())?;
            }
            Ok(Box::new((reader, writer)))
        }
        Exposure::Unreachable(_) => Ok(Box::new(())),
    }
}

/// Leaves messages of 8 bytes at most, which is the channel's size. Where the queue is full they are not waited for long.
fn leave_messages(endpoint: &Endpoint, shows: &[u8]) -> io::Result<()> {
    let messages = if shows.is_empty() { vec![shows] } else { shows.chunks(8).collect() };
    let mut send = sender_to(endpoint)?;
    for bytes in messages {
        let start = Instant::now();
        while let Err(error) = send(bytes) {
            if error != Errno::AGAIN || start.elapsed() > SOON {
                return Err(error.into());
            }
            std::thread::yield_now();
        }
    }
    Ok(())
}

/// Sends a message without waiting.
type Sender = Box<dyn FnMut(&[u8]) -> Result<(), Errno> + Send>;

/// Sends to a channel's queue.
pub(super) fn sender_to(endpoint: &Endpoint) -> io::Result<Sender> {
    if let [_, pings] = &endpoint.descriptors[..] {
        let queue: MessageQueue = pings.try_clone()?.into();
        queue.set_nonblocking()?;
        return Ok(Box::new(move |bytes| queue.send(bytes)));
    }
    let queue = sysv_queue(&endpoint.address)?;
    Ok(Box::new(move |bytes| {
        let mut message = Message::new(bytes.len());
        message.bytes().copy_from_slice(bytes);
        queue.send(1, &mut message, bytes.len(), false)
    }))
}

pub(super) fn sysv_queue(address: &str) -> io::Result<Queue> {
    Queue::open(u32::from_str_radix(address.trim_start_matches("0x"), 16).unwrap().cast_signed())
}

/// The ends of a stream that is handed over.
fn stream_ends(method: &str, endpoint: Endpoint) -> io::Result<(File, File)> {
    if method == "pipe" {
        return hand_pipes(&endpoint.descriptors[0]);
    }
    let mut files = endpoint.descriptors.into_iter().map(File::from);
    let reader = files.next().expect("a descriptor comes with it");
    let writer = files.next().map_or_else(|| reader.try_clone(), Ok)?;
    Ok((reader, writer))
}

/// Makes pipes and sends the responder's ends to it, as the client does.
fn hand_pipes(socket: &OwnedFd) -> io::Result<(File, File)> {
    let (pings, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let (reader, pongs) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let ends = [pings.as_fd(), pongs.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&ends));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok((reader.into(), writer.into()))
}

/// A channel's memory, as one more process may map it that is let in.
fn memory_of(endpoint: &Endpoint) -> io::Result<Region> {
    let file = memory_file(endpoint)?;
    let len = usize::try_from(file.metadata()?.len()).unwrap();
    Region::of_file(&file, len)
}

/// The file below a channel's memory.
pub(super) fn memory_file(endpoint: &Endpoint) -> io::Result<File> {
    Ok(endpoint.descriptors[0].try_clone()?.into())
}

/// What comes of a knock.
#[track_caller]
fn check(knock: &Knock, way: Exposure, announced: Announced) {
    let failure = |announced: Announced| match announced.ends() {
        End::Failed(reason) => reason,
        other => panic!("{other:?}"),
    };
    let no_client = "no client connected within 10 s";
    let shown = (knock.shows)(&announced.settings.token).len();
    match way {
        Exposure::Connections(_) | Exposure::Datagrams | Exposure::Messages => announced.serves_its_client(),
        Exposure::Peer(_) if shown == Token::HALF_LEN => {
            assert_eq!(failure(announced), "a peer with a wrong token");
        }
        Exposure::Peer(_) if knock.stays => assert_eq!(failure(announced), no_client),
        // The kernel does not report that it has gone.
        Exposure::Peer(SocketType::DGRAM) => assert_eq!(failure(announced), no_client),
        Exposure::Peer(_) => {
            let reason = failure(announced);
            assert!(reason.contains("the peer closed the channel"), "{reason}");
        }
        Exposure::Memory if shown > 0 => assert_eq!(failure(announced), "a peer with a wrong token"),
        Exposure::Counters if shown == Token::HALF_LEN => {
            assert_eq!(failure(announced), "a peer with a wrong token");
        }
        Exposure::Memory | Exposure::Counters | Exposure::Unreachable(_) => {
            assert_eq!(failure(announced), no_client)
        }
    }
}

/// Those that wait as long as a client may take do it all at once. A client that its channel is to serve comes right after the
/// stranger: such a channel, too, waits no longer than that.
#[test]
fn who_cannot_prove_itself_is_dropped_or_ends_the_channel_with_a_reason() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            let mut waiting = Vec::new();
            for (mechanism, spec) in every_door() {
                let method = mechanism.info().name;
                let way = exposure(method);
                for one in &KNOCKS {
                    if let Exposure::Unreachable(why) = way {
                        eprintln!("no peer {} at {method}: {why}", one.what);
                        break;
                    }
                    let mut announced = Announced::by(&daemon, &spec);
                    let shows = (one.shows)(&announced.settings.token);
                    let held = knock(way, method, announced.endpoint(), &shows)
                        .unwrap_or_else(|error| panic!("{} at {method}: {error}", one.what));
                    // Kept open by the test, the client's ends would hide that the stranger went.
                    if matches!(way, Exposure::Peer(_) | Exposure::Counters) {
                        announced.endpoint.descriptors.clear();
                    }
                    let held = one.stays.then_some(held);
                    eprintln!("{} at {method} ({})", one.what, announced.endpoint.address);
                    if matches!(way, Exposure::Connections(_) | Exposure::Datagrams | Exposure::Messages) {
                        check(one, way, announced);
                    } else {
                        waiting.push((one, way, announced, held));
                    }
                }
            }
            for (one, way, announced, _held) in waiting {
                check(one, way, announced);
            }
        });
    });
}

/// The stranger is this very program, which knows how to connect and has another token.
#[test]
fn a_client_of_another_channel_is_turned_away() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            let mut turned_away = Vec::new();
            for (mechanism, spec) in every_door() {
                let announced = Announced::by(&daemon, &spec);
                let settings = Settings { token: Token::new([9; 32]), ..announced.settings.clone() };
                // It gives up as soon as it looks around.
                let (control, closed) = pipe_with(PipeFlags::CLOEXEC).unwrap();
                drop(closed);
                let mut watch = Watch::new(control.as_fd()).unwrap();
                let connected = mechanism.connect(&settings, announced.endpoint(), &mut watch);
                let error = connected.map(drop).expect_err(settings.method);
                assert!(
                    matches!(error, ConnectError::Round(_) | ConnectError::WrongToken),
                    "{}: {error:?}",
                    settings.method
                );
                turned_away.push(announced);
            }
            for announced in turned_away {
                eprintln!("{}:", announced.settings.method);
                match exposure(announced.settings.method) {
                    Exposure::Connections(_) | Exposure::Datagrams | Exposure::Messages => {
                        announced.serves_its_client()
                    }
                    // It waits on for its client, which does not come: see above.
                    Exposure::Unreachable(_) => {}
                    _ => match announced.ends() {
                        End::Failed(reason) => assert_eq!(reason, "a peer with a wrong token"),
                        other => panic!("{other:?}"),
                    },
                }
            }
        });
    });
}

/// What the tests of this folder derive from.
#[test]
fn a_mechanisms_facts_agree() {
    for info in ALL.iter().map(|mechanism| mechanism.info()) {
        let Info { name, exposure, delivery, naming, .. } = info;
        let agree = match exposure {
            Exposure::Datagrams => *delivery == Delivery::UnreliableMessage,
            Exposure::Messages => matches!(naming, Naming::Queues | Naming::Key),
            Exposure::Peer(_) => matches!(naming, Naming::Unnamed | Naming::File),
            Exposure::Memory => *delivery == Delivery::Memory,
            Exposure::Connections(_) | Exposure::Counters | Exposure::Unreachable(_) => true,
        };
        assert!(agree, "{name}: {exposure:?}, {delivery:?}, {naming:?}");
    }
}
