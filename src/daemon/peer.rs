//! A peer's socket, in which nothing that the peer sends delays this process.
//!
//! A peer may send descriptors (`SCM_RIGHTS`), and the process that reads from their socket, or closes it, closes them. If they are
//! the last of a TCP socket with SO_LINGER, that takes as long as the peer likes. From Linux 6.16 the kernel refuses them; on
//! older ones, and where they came before that was requested, a timer interrupts the wait.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, recvmsg};

use crate::transports::sys::{Ticker, may_hold_descriptors};

/// How long closing a descriptor of a peer may wait.
const LONGEST_CLOSE: Duration = Duration::from_millis(1);

/// A connected stream socket.
#[derive(Debug)]
pub(super) struct PeerSocket {
    socket: OwnedFd,
    may_hold_descriptors: bool,
    /// Starts before `socket` is closed. Ends afterwards, since fields are dropped in this order.
    closing: Option<Ticker>,
}

/// The error of receiving from a peer that has sent descriptors, which are closed.
pub(super) const SENT_DESCRIPTORS: Errno = Errno::BADMSG;

impl PeerSocket {
    pub(super) fn new(socket: OwnedFd) -> Self {
        let may_hold_descriptors = may_hold_descriptors(&socket);
        Self { socket, may_hold_descriptors, closing: None }
    }

    /// Receives what is there, without blocking; 0 bytes after the last.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let _interrupting = self.interrupt();
        // Without room for control messages: the kernel closes the descriptors, and says that it has.
        let mut nowhere = RecvAncillaryBuffer::default();
        let flags = RecvFlags::DONTWAIT;
        let received = recvmsg(&self.socket, &mut [IoSliceMut::new(buffer)], &mut nowhere, flags)?;
        if received.flags.contains(ReturnFlags::CTRUNC) { Err(SENT_DESCRIPTORS) } else { Ok(received.bytes) }
    }

    /// Interrupts this thread's waits, where there may be one. Without a timer it waits.
    fn interrupt(&self) -> Option<Ticker> {
        self.may_hold_descriptors.then(|| Ticker::every(LONGEST_CLOSE).ok()).flatten()
    }
}

impl AsFd for PeerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for PeerSocket {
    fn drop(&mut self) {
        self.closing = self.interrupt();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use rustix::net::sockopt::{set_socket_linger, socket_send_buffer_size};

    use super::*;
    use crate::protocol::link::send_part;

    /// Longer than any test waits.
    const LINGER: Duration = Duration::from_secs(60);

    /// A TCP socket that takes [`LINGER`] to close, and its peer, which does not read.
    fn lingering() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let peer = listener.accept().unwrap().0;
        set_socket_linger(&socket, Some(LINGER)).unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.write(&vec![0; socket_send_buffer_size(&socket).unwrap()]).is_ok() {}
        (socket, peer)
    }

    /// A socket with descriptors in it, as on a kernel that does not refuse them.
    fn with_descriptors(text: &[u8]) -> (PeerSocket, UnixStream, TcpStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (socket, peer) = lingering();
        send_part(theirs.as_fd(), text, &[socket.as_fd()]).unwrap();
        (PeerSocket::new(ours.into()), theirs, peer)
    }

    #[test]
    fn descriptors_that_linger_delay_neither_receiving_nor_closing() {
        let start = Instant::now();
        let (socket, _theirs, _peer) = with_descriptors(b"greeting");
        assert_eq!(socket.receive(&mut [0; 100]), Err(SENT_DESCRIPTORS));
        drop(socket);
        let (unread, _theirs, _peer) = with_descriptors(b"greeting");
        drop(unread);
        assert!(start.elapsed() < LINGER / 4, "{:?}", start.elapsed());
    }

    #[test]
    fn bytes_are_received_to_the_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let socket = PeerSocket::new(ours.into());
        assert_eq!(socket.receive(&mut [0; 100]), Err(Errno::AGAIN));
        theirs.write_all(b"seven").unwrap();
        drop(theirs);
        assert_eq!(socket.receive(&mut [0; 4]), Ok(4));
        assert_eq!(socket.receive(&mut [0; 4]), Ok(1));
        assert_eq!(socket.receive(&mut [0; 4]), Ok(0));
    }
}
