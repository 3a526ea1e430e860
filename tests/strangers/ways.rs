//! How a stranger gets at the channels of a mechanism, whose door is known: by the mechanism's name.

/// How a stranger gets at a channel before its client, and what comes of it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Anybody may connect: strangers are dropped, and the client gets in all the same.
    Connect,
    /// Anybody may send a datagram: those of strangers are dropped.
    Datagram,
    /// Who finds its name may leave a message: those of strangers are dropped.
    Message,
    /// A stream for one peer: that it is not the client's ends the channel.
    OneStream,
    /// Memory for one peer: that it is not the client's ends the channel.
    OneMemory,
    /// Counters for one peer: likewise.
    OneCounter,
    /// No way for a stranger that a test can take.
    None(&'static str),
}

/// How a stranger gets at the channels of this mechanism.
pub(super) fn way_in(method: &str) -> Way {
    match method {
        "tcp" | "tcp6" | "vsock" | "unix" | "unix-seqpacket" | "epoll" | "io-uring" | "local-socket"
        | "zeromq" => Way::Connect,
        "udp" | "udp6" | "unix-dgram" => Way::Datagram,
        "mq" | "sysv-mq" => Way::Message,
        "socketpair" | "pipe" | "fifo" | "tokio" | "http" | "grpc" | "dbus" => Way::OneStream,
        "shmem" | "memfd" | "mmap" | "futex" => Way::OneMemory,
        "eventfd" => Way::OneCounter,
        "semaphore" => Way::None("only its client gets its descriptor, which is sealed"),
        "process-vm" => Way::None("only its client gets the page's descriptor, which is sealed"),
        "signal" => Way::None("a signal that is not from the client's process is dropped by its sender's id"),
        "iceoryx2" => {
            Way::None("there is one place for one client of the same user, which the library keeps")
        }
        "null" => Way::None("it carries nothing"),
        other => panic!("tests/strangers/ways.rs does not say how a stranger gets at \"{other}\""),
    }
}
