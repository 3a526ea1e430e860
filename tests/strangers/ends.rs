//! An impostor's ends of a channel: what its responder would have, by the system's calls.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use ipcd::internals::protocol::Token;
use ipcd::internals::transports::MessageQueue;
use ipcd::internals::transports::{Message, Queue};
use ipcd::internals::transports::{Region, Semaphore, process_vm};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, connect, recv, recvfrom, send};
use rustix::thread::futex;

/// Where a semaphore's slots begin: see `src/transports/families/memory/messages.rs`.
pub(super) const SLOT: usize = 4096;

/// An impostor's end of a channel.
pub(super) enum Ends {
    Stream { reader: File, writer: File },
    Http { reader: File, writer: File },
    Datagrams(OwnedFd),
    Queues { pings: MessageQueue, pongs: MessageQueue },
    Queue(Queue),
    Semaphores(Region),
    Memory { file: File, memory: Region, published: u32 },
    ProcessVm { page: Region, client: i32, sent: Vec<u8>, messages: u32 },
    Counters { pings: File, pongs: File },
}

/// Polls until it is over.
pub(super) fn until<T>(over: &AtomicBool, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    while !over.load(Ordering::SeqCst) {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    None
}

impl Ends {
    /// Shows the client, which has been given an address, this hello; `None` if it leaves first.
    pub(super) fn greet(&mut self, hello: &[u8], over: &AtomicBool) -> Option<()> {
        match self {
            Self::Stream { writer, .. } => writer.write_all(hello).ok(),
            Self::Datagrams(socket) => {
                let (n, from) = receive_from(socket, &mut [0; 64], over)?;
                assert_eq!(n, 0, "the client shows nothing before it has seen the hello");
                connect(&*socket, &from.expect("a datagram has a sender")).unwrap();
                self.send(hello, over)
            }
            _ => unreachable!("the client has no address of it"),
        }
    }

    /// Receives the client's half of the token and answers it with `half`; `None` if the client leaves first.
    pub(super) fn prove(&mut self, half: &[u8; Token::HALF_LEN], over: &AtomicBool) -> Option<()> {
        match self {
            Self::Memory { memory, .. } => {
                until(over, || (memory.word(0).load(Ordering::SeqCst) == 1).then_some(()))?;
                memory.write(32, half);
                memory.word(0).store(2, Ordering::SeqCst);
                futex::wake(memory.word(0), futex::Flags::empty(), 1).unwrap();
                Some(())
            }
            Self::Counters { pings, pongs } => {
                for _ in 0..4 {
                    count(pings, over)?;
                    pongs.write_all(&1_u64.to_ne_bytes()).ok()?;
                }
                for four in half.as_chunks::<4>().0 {
                    count(pings, over)?;
                    pongs.write_all(&(u64::from(u32::from_le_bytes(*four)) + 1).to_ne_bytes()).ok()?;
                }
                Some(())
            }
            Self::Http { reader, writer } => {
                reader.read_exact(&mut [0; Token::HALF_LEN]).ok()?;
                writer.write_all(half).ok()
            }
            Self::Datagrams(socket) => {
                let (n, from) = receive_from(socket, &mut [0; 64], over)?;
                assert_eq!(n, Token::HALF_LEN);
                // A connection's peer has no address.
                if let Some(from) = from {
                    let _ = connect(&*socket, &from);
                }
                self.send(half, over)
            }
            _ => {
                self.receive(Token::HALF_LEN, over)?;
                self.send(half, over)
            }
        }
    }

    /// Receives a ping of `len` bytes; `None` if the client has gone, or it is over.
    pub(super) fn receive(&mut self, len: usize, over: &AtomicBool) -> Option<Vec<u8>> {
        let mut ping = vec![0; len];
        match self {
            Self::Stream { reader, .. } => reader.read_exact(&mut ping).ok()?,
            Self::Http { reader, .. } => {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    reader.read_exact(&mut byte).ok()?;
                    head.extend(byte);
                }
                reader.read_exact(&mut ping).ok()?;
            }
            Self::Datagrams(socket) => {
                // A repeated proof is not a ping.
                loop {
                    match receive_from(socket, &mut ping, over)?.0 {
                        0 => return None,
                        n if n == len => break,
                        _ => {}
                    }
                }
            }
            Self::Queues { pings, .. } => {
                // Room for the longest that the queue takes.
                ping.resize(64, 0);
                let n = until(over, || pings.receive(&mut ping).ok())?;
                ping.truncate(n);
            }
            Self::Queue(queue) => {
                let mut message = Message::new(len);
                until(over, || queue.receive(1, &mut message, false).ok())?;
                ping.copy_from_slice(message.bytes());
            }
            Self::Semaphores(memory) => {
                until(over, || Semaphore::at(memory, 0).take(false).ok())?;
                memory.read(SLOT, &mut ping);
            }
            Self::Memory { memory, published, .. } => {
                until(over, || (memory.word(128).load(Ordering::SeqCst) == *published + 1).then_some(()))?;
                memory.read(144, &mut ping);
            }
            Self::ProcessVm { page, client, messages, .. } => {
                until(over, || (page.word(0).load(Ordering::SeqCst) == *messages + 1).then_some(()))?;
                let mut address = [0; 8];
                page.read(8, &mut address);
                process_vm::read(*client, u64::from_ne_bytes(address), &mut ping).ok()?;
                *messages += 1;
            }
            Self::Counters { pings, .. } => ping.copy_from_slice(&count(pings, over)?),
        }
        Some(ping)
    }

    /// Sends an answer; `None` if the client has gone, or it is over.
    pub(super) fn send(&mut self, bytes: &[u8], over: &AtomicBool) -> Option<()> {
        match self {
            Self::Stream { writer, .. } => writer.write_all(bytes).ok(),
            Self::Http { writer, .. } => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
                writer.write_all(&[head.as_bytes(), bytes].concat()).ok()
            }
            Self::Datagrams(socket) => send(&*socket, bytes, SendFlags::NOSIGNAL).ok().map(drop),
            Self::Queues { pongs, .. } => until(over, || match pongs.send(bytes) {
                Err(Errno::AGAIN) => None,
                other => Some(other.ok()),
            })?,
            Self::Queue(queue) => {
                let mut message = Message::new(bytes.len());
                message.bytes().copy_from_slice(bytes);
                queue.send(2, &mut message, bytes.len(), false).ok()
            }
            Self::Semaphores(memory) => {
                memory.write(2 * SLOT, bytes);
                memory.word(192).store(u32::try_from(bytes.len()).unwrap(), Ordering::SeqCst);
                Semaphore::at(memory, 128).post().ok()
            }
            Self::Memory { memory, published, .. } => {
                memory.write(144, bytes);
                *published += 2;
                memory.word(128).store(*published, Ordering::SeqCst);
                futex::wake(memory.word(128), futex::Flags::empty(), 1).ok().map(drop)
            }
            Self::ProcessVm { page, sent, messages, .. } => {
                *sent = bytes.to_vec();
                page.write(136, &(sent.as_ptr().expose_provenance() as u64).to_ne_bytes());
                page.write(144, &(sent.len() as u64).to_ne_bytes());
                page.word(128).store(*messages, Ordering::SeqCst);
                futex::wake(page.word(128), futex::Flags::empty(), 1).ok().map(drop)
            }
            Self::Counters { pongs, .. } => pongs.write_all(bytes).ok(),
        }
    }

    /// The file below its memory has no bytes any more.
    pub(super) fn truncate(&self) {
        let Self::Memory { file, .. } = self else { panic!("it has no memory") };
        file.set_len(0).unwrap();
    }
}

/// Reads a counter, which does not report its peer's end.
fn count(counter: &mut File, over: &AtomicBool) -> Option<[u8; 8]> {
    let mut word = [0; 8];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    until(over, || {
        let ready = poll(&mut [PollFd::new(counter, PollFlags::IN)], Some(&now)).unwrap();
        (ready > 0).then_some(())
    })?;
    counter.read_exact(&mut word).ok()?;
    Some(word)
}

fn receive_from(
    socket: &OwnedFd,
    buffer: &mut [u8],
    over: &AtomicBool,
) -> Option<(usize, Option<SocketAddrAny>)> {
    until(over, || match recvfrom(socket, &mut *buffer, RecvFlags::DONTWAIT) {
        Ok((n, _, from)) => Some(Some((n, from))),
        Err(Errno::AGAIN) => None,
        Err(_) => Some(None),
    })
    .flatten()
}

/// Whether a peer has closed: nothing more comes.
pub(super) fn has_gone(socket: &impl AsFd) -> bool {
    matches!(recv(socket, &mut [0_u8; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK), Ok((0, _)))
}
