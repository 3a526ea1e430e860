//! A responder that is not what it seems, for the real client: it stands where the client is sent, proves itself or does
//! not, and answers pings as it likes.

use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ipcd::internals::transports::Queue;
use ipcd::internals::transports::{Delivery, Exposure, Info, Naming};
use ipcd::internals::transports::{End as QueueEnd, MessageQueue};
use ipcd::internals::transports::{Region, Semaphore, VsockAddress, process_vm};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
    accept_with, bind, listen, recvmsg, socket_with, socketpair,
};

use super::ends::{Ends, SLOT, until};
use crate::harness::info;

/// What carries its answers. How a client detects a wrong one depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes without a length.
    Stream,
    /// Messages, none lost.
    Message,
    /// Messages that may be lost.
    Datagram,
    /// Memory of a fixed layout.
    Memory,
    /// Eight bytes, no more and no less.
    Word,
    /// HTTP.
    Http,
    /// A library's protocol: the impostor knows the token, and nothing of what follows.
    Library,
}

/// What an impostor of this method sends, or why there is none.
pub(super) fn kind(method: &str) -> Result<Kind, &'static str> {
    Ok(match (method, info(method).delivery, info(method).exposure) {
        ("http", ..) => Kind::Http,
        // Memory that one process alone gets can still be the impostor's.
        ("semaphore" | "process-vm", ..) => Kind::Message,
        (_, _, Exposure::Unreachable(why)) => return Err(why),
        (_, Delivery::Stream, _) => Kind::Stream,
        (_, Delivery::UnreliableMessage, _) => Kind::Datagram,
        (_, Delivery::Memory, _) => Kind::Memory,
        (_, _, Exposure::Counters) => Kind::Word,
        // Messages over a stream are framed by a library.
        (_, _, Exposure::Connections(SocketType::STREAM) | Exposure::Peer(SocketType::STREAM)) => {
            Kind::Library
        }
        _ => Kind::Message,
    })
}

/// An impostor, where it stands, and what it leaves there.
pub(super) struct Impostor {
    pub(super) address: String,
    pub(super) descriptors: Vec<OwnedFd>,
    post: Post,
    left: Left,
}

/// Where it waits for its client.
enum Post {
    /// Made by the thread that uses it.
    Ready(Box<dyn FnOnce() -> Ends + Send>),
    Tcp(TcpListener),
    Unix(UnixListener),
    Vsock(OwnedFd),
    Datagrams(OwnedFd),
    /// Where its client sends pipes.
    Pipes(UnixStream),
    /// Mapped by the thread that uses it.
    Memory(File, Mapped),
}

/// What lies in a piece of memory.
#[derive(Clone, Copy)]
enum Mapped {
    Words,
    Semaphores,
    /// For this client.
    Page(i32),
}

/// What goes with an impostor.
struct Left(Vec<PathBuf>, Vec<Box<dyn FnOnce() + Send>>);

impl Drop for Left {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
        self.1.drain(..).for_each(|undo| undo());
    }
}

impl Impostor {
    /// Takes its place, for pings of `size` bytes from process `client`. `folder` and `name` are its own.
    pub(super) fn stand(method: &str, size: usize, folder: &Path, name: &str, client: i32) -> Self {
        let path = folder.join(name);
        let text = path.to_str().unwrap().to_owned();
        let mut left = Left(Vec::new(), Vec::new());
        let Info { naming, exposure, .. } = *info(method);
        let (address, descriptors, post) = match (method, naming, exposure) {
            ("vsock", ..) => {
                let flags = SocketFlags::CLOEXEC;
                let socket = socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None).unwrap();
                let any = VsockAddress { cid: VsockAddress::LOCAL, port: VsockAddress::ANY_PORT };
                bind(&socket, &any).unwrap();
                listen(&socket, 1).unwrap();
                (VsockAddress::of(&socket).unwrap().port.to_string(), Vec::new(), Post::Vsock(socket))
            }
            (_, Naming::Unnamed, Exposure::Connections(_)) => {
                let any = if method == "tcp6" { "[::1]:0" } else { "127.0.0.1:0" };
                let listener = TcpListener::bind(any).unwrap();
                (listener.local_addr().unwrap().to_string(), Vec::new(), Post::Tcp(listener))
            }
            (_, _, Exposure::Connections(SocketType::STREAM)) => {
                let post = Post::Unix(UnixListener::bind(&path).unwrap());
                left.0.push(path);
                (if method == "zeromq" { format!("ipc://{text}") } else { text }, Vec::new(), post)
            }
            (_, _, Exposure::Datagrams) => {
                let any = if method == "udp6" { "[::1]:0" } else { "127.0.0.1:0" };
                let socket = UdpSocket::bind(any).unwrap();
                (socket.local_addr().unwrap().to_string(), Vec::new(), Post::Datagrams(socket.into()))
            }
            ("pipe", ..) => {
                let (ours, theirs) =
                    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
                ("a socket to send two pipes to".to_owned(), vec![theirs], Post::Pipes(ours.into()))
            }
            ("fifo", ..) => {
                let (ping_reader, ping_writer) = rustix::pipe::pipe().unwrap();
                let (pong_reader, pong_writer) = rustix::pipe::pipe().unwrap();
                let (reader, writer) = (ping_reader.into(), pong_writer.into());
                let ends = Box::new(move || Ends::Stream { reader, writer });
                ("two pipes".to_owned(), vec![pong_reader, ping_writer], Post::Ready(ends))
            }
            (_, _, Exposure::Peer(kind)) => {
                let (ours, theirs) =
                    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
                if kind != SocketType::STREAM {
                    let ends = Box::new(move || Ends::Datagrams(ours));
                    return Self {
                        address: "one of a pair of sockets".to_owned(),
                        descriptors: vec![theirs],
                        post: Post::Ready(ends),
                        left,
                    };
                }
                let reader = File::from(ours);
                let writer = reader.try_clone().unwrap();
                let http = method == "http";
                let ends = Box::new(move || match http {
                    true => Ends::Http { reader, writer },
                    false => Ends::Stream { reader, writer },
                });
                ("one of a pair of sockets".to_owned(), vec![theirs], Post::Ready(ends))
            }
            (_, _, Exposure::Counters) => {
                let [pings, pongs] = [(); 2].map(|()| eventfd(0, EventfdFlags::CLOEXEC).unwrap());
                let descriptors = vec![pongs.try_clone().unwrap(), pings.try_clone().unwrap()];
                let (pings, pongs) = (pings.into(), pongs.into());
                let ends = Box::new(move || Ends::Counters { pings, pongs });
                ("two counters".to_owned(), descriptors, Post::Ready(ends))
            }
            (_, Naming::Queues, _) => {
                let queue = |direction: &str, ours, theirs| {
                    let name = std::ffi::CString::new(format!("/{name}-{direction}")).unwrap();
                    let queue = MessageQueue::make(&name, size, ours).unwrap();
                    queue.set_nonblocking().unwrap();
                    let handed = MessageQueue::open(&name, theirs).unwrap();
                    MessageQueue::remove(&name);
                    (queue, handed.as_fd().try_clone_to_owned().unwrap())
                };
                let (pings, ping) = queue("ping", QueueEnd::Receive, QueueEnd::Send);
                let (pongs, pong) = queue("pong", QueueEnd::Send, QueueEnd::Receive);
                let ends = Box::new(move || Ends::Queues { pings, pongs });
                ("two queues".to_owned(), vec![pong, ping], Post::Ready(ends))
            }
            (_, Naming::Key, _) => {
                let key = key(name);
                let queue = Queue::make(key).unwrap();
                left.1.push(Box::new(move || queue.remove()));
                (
                    format!("{:#010x}", key.cast_unsigned()),
                    Vec::new(),
                    Post::Ready(Box::new(move || Ends::Queue(queue))),
                )
            }
            (_, Naming::SharedMemory | Naming::File, Exposure::Memory) => {
                let file = tempfile::tempfile_in("/dev/shm").unwrap();
                file.set_len(1 << 16).unwrap();
                let handed = file.try_clone().unwrap().into();
                ("a file".to_owned(), vec![handed], Post::Memory(file, Mapped::Words))
            }
            (_, _, Exposure::Memory) | ("semaphore" | "process-vm", ..) => {
                let len = if method == "process-vm" { SLOT } else { 1 << 16 };
                let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
                ftruncate(&file, len as u64).unwrap();
                fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).unwrap();
                let mapped = match method {
                    "semaphore" => {
                        let memory = Region::of_file(&file, len).unwrap();
                        for at in [0, 128] {
                            Semaphore::at(&memory, at).make().unwrap();
                        }
                        Mapped::Semaphores
                    }
                    "process-vm" => Mapped::Page(client),
                    _ => Mapped::Words,
                };
                let post = Post::Memory(file.try_clone().unwrap().into(), mapped);
                let own = std::process::id();
                (format!("process {own} of {own} for {client}"), vec![file], post)
            }
            facts => unreachable!("no impostor for {facts:?}"),
        };
        Self { address, descriptors, post, left }
    }

    /// Waits for the client until it is over. What it has left is removed with the second value.
    pub(super) fn meet(self, over: &AtomicBool) -> Option<(Ends, impl Drop)> {
        let ends = match self.post {
            Post::Ready(make) => Some(make()),
            Post::Tcp(listener) => {
                listener.set_nonblocking(true).unwrap();
                until(over, || listener.accept().ok()).map(|(stream, _)| {
                    stream.set_nonblocking(false).unwrap();
                    stream_of(stream.into())
                })
            }
            Post::Unix(listener) => {
                listener.set_nonblocking(true).unwrap();
                until(over, || listener.accept().ok()).map(|(stream, _)| {
                    stream.set_nonblocking(false).unwrap();
                    stream_of(stream.into())
                })
            }
            // The client comes, or closes its control connection, after which the test ends.
            Post::Vsock(listener) => accept_with(&listener, SocketFlags::CLOEXEC).ok().map(stream_of),
            Post::Memory(file, mapped) => {
                let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
                let memory = Region::of_file(&file, len).unwrap();
                Some(match mapped {
                    Mapped::Words => Ends::Memory { file, memory, published: 0 },
                    Mapped::Semaphores => Ends::Semaphores(memory),
                    Mapped::Page(client) => {
                        process_vm::let_in(client);
                        Ends::ProcessVm { page: memory, client, sent: Vec::new(), messages: 0 }
                    }
                })
            }
            Post::Datagrams(socket) => Some(Ends::Datagrams(socket)),
            Post::Pipes(socket) => {
                socket.set_nonblocking(true).unwrap();
                until(over, || receive_pipes(&socket)).map(|(reader, writer)| Ends::Stream { reader, writer })
            }
        };
        ends.map(|ends| (ends, self.left))
    }
}

/// The pipes that a client has sent, if they have come.
fn receive_pipes(socket: &UnixStream) -> Option<(File, File)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    let mut pipes = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(pipes) => Some(pipes.map(File::from)),
        _ => None,
    });
    let mut pipes = pipes.next()?;
    Some((pipes.next()?, pipes.next()?))
}

/// A key of this impostor's own.
fn key(name: &str) -> i32 {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1).cast_signed()
}

fn stream_of(socket: OwnedFd) -> Ends {
    let reader = File::from(socket);
    Ends::Stream { writer: reader.try_clone().unwrap(), reader }
}
