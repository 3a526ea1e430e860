//! gRPC by hand-made HTTP/2 frames, for what no client's library does: messages of a length that is refused, calls beside a call
//! that is not whole, and more than the windows of flow control allow.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use ipcd::internals::transports::find;

use super::ROOM;
use super::frameworks::{anonymous, opened, proven};
use crate::harness::{Announced, PATIENCE, run};

/// Kinds of frames, flags and an error code (RFC 9113, sections 6 and 7).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;

/// The longest frame that a peer takes unless it says otherwise.
const FRAME: usize = 1 << 14;

/// A length that no channel of 8 bytes has room for.
const ANNOUNCED: u32 = 1 << 30;

/// What the peer is sent against flow control. It may drop it, or the connection.
const FLOOD: usize = 64 << 20;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// The client's end of an HTTP/2 connection.
struct Caller {
    socket: UnixStream,
}

impl Caller {
    fn new(announced: &mut Announced) -> io::Result<Self> {
        let socket = proven(announced)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut caller = Self { socket };
        caller.socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        caller.send(SETTINGS, 0, 0, &[])?;
        while caller.receive()?.kind != SETTINGS {}
        caller.send(SETTINGS, ACK, 0, &[])?;
        Ok(caller)
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.socket.write_all(&frame(kind, flags, stream, payload))
    }

    fn receive(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        self.socket.read_exact(&mut payload)?;
        Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next frame of this kind on a stream; of its others, none may end it.
    fn receive_on(&mut self, stream: u32, kind: u8) -> Frame {
        loop {
            let frame = self.receive().unwrap();
            if frame.stream == stream && frame.kind == kind {
                return frame;
            }
            let ends = frame.kind == RST_STREAM || frame.flags & END_STREAM != 0 && frame.kind != SETTINGS;
            assert!(frame.stream != stream || !ends, "kind {}, {:?}", frame.kind, frame.payload);
        }
    }

    /// Begins a call.
    fn call(&mut self, stream: u32) -> io::Result<()> {
        // By the static table where it has them, else literally, without Huffman's code (RFC 7541).
        let mut fields = vec![0x83, 0x86];
        for (name, value) in
            [(&b"\x04"[..], "/ipcd.Echo/Echo"), (b"\x01", "localhost"), (b"\x0f\x10", "application/grpc")]
        {
            fields.extend_from_slice(name);
            fields.push(u8::try_from(value.len()).unwrap());
            fields.extend_from_slice(value.as_bytes());
        }
        fields.extend_from_slice(b"\0\x02te\x08trailers");
        self.send(HEADERS, END_HEADERS, stream, &fields)
    }

    /// Makes a call as a client does, and gets its answer.
    fn is_answered(&mut self, stream: u32) {
        self.call(stream).unwrap();
        self.send(DATA, END_STREAM, stream, &message()).unwrap();
        self.answers(stream);
    }

    /// Waits for the answer to a message that is whole.
    fn answers(&mut self, stream: u32) {
        assert_eq!(self.receive_on(stream, HEADERS).flags & END_STREAM, 0, "a refusal");
        assert_eq!(self.receive_on(stream, DATA).payload, message());
        assert_ne!(self.receive_on(stream, HEADERS).flags & END_STREAM, 0, "trailers");
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A gRPC message: the flag for no compression, its length, and field 1 with 8 bytes.
fn message() -> Vec<u8> {
    [&[0], &10_u32.to_be_bytes()[..], b"\x0a\x08", b"payload!"].concat()
}

/// The head of a message that is too long.
fn too_long() -> Vec<u8> {
    [&[0], &ANNOUNCED.to_be_bytes()[..]].concat()
}

#[test]
fn grpc_refuses_a_message_longer_than_the_channels_size_and_goes_on() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let (mut announced, responder) = opened(&daemon, "grpc");
        let mut caller = Caller::new(&mut announced).unwrap();
        caller.is_answered(1);
        let before = anonymous(responder).expect("it serves");
        for stream in [3, 5, 7] {
            caller.call(stream).unwrap();
            caller.send(DATA, 0, stream, &too_long()).unwrap();
            // With the first frame, which has a status only and no message.
            assert_ne!(caller.receive_on(stream, HEADERS).flags & END_STREAM, 0, "an answer");
        }
        caller.is_answered(9);
        let grown = anonymous(responder).expect("it serves").saturating_sub(before);
        assert!(grown <= find("grpc").unwrap().holds(8), "{grown}");
        drop((caller, announced));
        daemon.is_at_rest();
        daemon.serves("grpc");
    });
}

/// More than the windows allow, to one who reads nothing else: what is refused is not held either.
#[test]
fn grpc_holds_no_message_beyond_its_bound() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let (mut announced, responder) = opened(&daemon, "grpc");
        let mut caller = Caller::new(&mut announced).unwrap();
        let before = anonymous(responder).expect("it serves");
        caller.call(1).unwrap();
        caller.send(DATA, 0, 1, &too_long()).unwrap();
        let data = frame(DATA, 0, 1, &[0; FRAME]);
        let mut reader = caller.socket.try_clone().unwrap();
        let (mut sent, mut peak) = (0, before);
        std::thread::scope(|scope| {
            // What it says is read, so that it is never the answers that it waits for.
            scope.spawn(move || io::copy(&mut reader, &mut io::sink()));
            while sent < FLOOD {
                peak = peak.max(anonymous(responder).unwrap_or(0));
                match caller.socket.write_all(&data) {
                    Ok(()) => sent += data.len(),
                    Err(error) => {
                        assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "it hangs");
                        break;
                    }
                }
            }
            let _ = caller.socket.shutdown(std::net::Shutdown::Both);
        });
        drop(caller);
        let (end, grown) = (announced.ends().to_string(), peak - before);
        eprintln!("it grew by {grown} bytes while it was sent {sent}; {end}");
        assert!(!end.contains("signal"), "it has not refused it, but died of it: {end}");
        assert!(grown <= 2 * find("grpc").unwrap().holds(8) + ROOM, "{grown}");
        daemon.is_at_rest();
        daemon.serves("grpc");
    });
}

#[test]
fn grpc_answers_one_call_at_a_time() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let (mut announced, responder) = opened(&daemon, "grpc");
        let mut caller = Caller::new(&mut announced).unwrap();
        let message = message();
        let (half, rest) = message.split_at(message.len() / 2);
        caller.call(1).unwrap();
        caller.send(DATA, 0, 1, half).unwrap();
        let before = anonymous(responder).expect("it serves");
        for stream in (3..100).step_by(2) {
            caller.call(stream).unwrap();
            caller.send(DATA, 0, stream, half).unwrap();
            let refusal = caller.receive_on(stream, RST_STREAM);
            assert_eq!(refusal.payload, REFUSED_STREAM.to_be_bytes(), "stream {stream}");
        }
        let grown = anonymous(responder).expect("it serves").saturating_sub(before);
        assert!(grown <= find("grpc").unwrap().holds(8), "{grown}");
        // The one that it has begun is not disturbed, and the next has its turn.
        caller.send(DATA, END_STREAM, 1, rest).unwrap();
        caller.answers(1);
        caller.is_answered(101);
        drop((caller, announced));
        daemon.is_at_rest();
        daemon.serves("grpc");
    });
}
