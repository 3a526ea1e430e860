//! D-Bus by hand: a message that is too long, and calls whose replies are not read.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use ipcd::internals::transports::find;

use super::ROOM;
use super::frameworks::{anonymous, flooded, opened, proven};
use crate::harness::{Announced, PATIENCE, SOON, run};

/// Calls that are sent without reading an answer, more than whatever lies between has room for.
const CALLS: usize = 50_000;

/// A stream that has shaken hands.
fn shaken(announced: &mut Announced) -> io::Result<UnixStream> {
    let mut stream = proven(announced)?;
    stream.write_all(b"\0AUTH ANONYMOUS 69706364\r\n")?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.extend(byte);
    }
    assert!(line.starts_with(b"OK "), "{line:?}");
    stream.write_all(b"BEGIN\r\n")?;
    Ok(stream)
}

/// zbus accepts messages of up to 128 MiB, and has no setting for that.
#[test]
fn dbus_holds_no_message_beyond_its_bound() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let (end, grown) = flooded(&daemon, "dbus", |announced| {
            let mut stream = shaken(announced)?;
            // Little-endian, a method call, version 1; a body of 120 MiB, serial 1, no fields.
            let (body, serial, fields) = (120_u32 << 20, 1_u32, 0_u32);
            stream.write_all(
                &[*b"l\x01\0\x01", body.to_le_bytes(), serial.to_le_bytes(), fields.to_le_bytes()].concat(),
            )?;
            Ok(stream)
        });
        // zbus makes room for all of it at once, and ends where it may not.
        assert_eq!(end, "its responder was killed by signal 6");
        assert!(grown <= 2 * find("dbus").unwrap().holds(8) + ROOM, "{grown}");
        daemon.is_at_rest();
        daemon.serves("dbus");
    });
}

/// A call of the echo, with 8 bytes.
fn call(serial: u32) -> Vec<u8> {
    let mut fields = Vec::new();
    for (code, kind, value) in [(1, b'o', "/ipcd/Echo"), (2, b's', "ipcd.Echo"), (3, b's', "Echo")] {
        fields.resize(fields.len().next_multiple_of(8), 0);
        fields.extend_from_slice(&[code, 1, kind, 0]);
        fields.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
        fields.extend_from_slice(value.as_bytes());
        fields.push(0);
    }
    fields.resize(fields.len().next_multiple_of(8), 0);
    // The body is an array of bytes.
    fields.extend_from_slice(b"\x08\x01g\0\x02ay\0");
    let length = u32::try_from(fields.len()).unwrap();
    fields.resize(fields.len().next_multiple_of(8), 0);
    let body = [&8_u32.to_le_bytes()[..], b"payload!"].concat();
    let head = [*b"l\x01\0\x01", 12_u32.to_le_bytes(), serial.to_le_bytes(), length.to_le_bytes()];
    [head.concat(), fields, body].concat()
}

/// Reads an answer, and returns to which call it is.
fn answered(stream: &mut UnixStream) -> io::Result<u32> {
    let mut head = [0; 16];
    stream.read_exact(&mut head)?;
    let word = |at| u32::from_le_bytes(*head[at..].first_chunk().expect("within the head"));
    let (body, fields) = (usize::try_from(word(4)).unwrap(), usize::try_from(word(12)).unwrap());
    assert_eq!(head[1], 2, "not the return of a method");
    let mut rest = vec![0; fields.next_multiple_of(8) + body];
    stream.read_exact(&mut rest)?;
    assert!(rest.ends_with(b"payload!"), "{rest:?}");
    let reply_serial =
        rest.windows(4).position(|four| four == b"\x05\x01u\0").expect("the serial of the call");
    Ok(u32::from_le_bytes(*rest[reply_serial + 4..].first_chunk().expect("a number")))
}

/// If each call were answered by a separate task, as zbus does by default, their number would be unbounded.
#[test]
fn dbus_answers_one_call_at_a_time_and_takes_no_more_than_it_can_answer() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let (mut announced, responder) = opened(&daemon, "dbus");
        let mut stream = shaken(&mut announced).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        let before = anonymous(responder).expect("it serves");
        let length = call(1).len();
        let calls: Vec<u8> = (1..).take(CALLS).flat_map(call).collect();
        let mut sent = 0;
        while sent < calls.len() {
            match stream.write(&calls[sent..]) {
                Ok(more) => sent += more,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                    break;
                }
            }
        }
        let grown = anonymous(responder).expect("it serves").saturating_sub(before);
        eprintln!("{} of {CALLS} calls were taken, and it grew by {grown} bytes", sent / length);
        assert!(sent < calls.len(), "it took all");
        assert!(grown <= find("dbus").unwrap().holds(8), "{grown}");
        // They are answered in order, once replies are read.
        let whole = u32::try_from(sent / length).unwrap();
        for serial in 1..=whole {
            assert_eq!(answered(&mut stream).unwrap(), serial);
        }
        let more = sent.next_multiple_of(length) + length;
        stream.write_all(&calls[sent..more]).unwrap();
        assert_eq!(answered(&mut stream).unwrap(), whole + 1);
        drop((stream, announced));
        daemon.is_at_rest();
        daemon.serves("dbus");
    });
}
