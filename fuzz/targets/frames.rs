//! Frames in whatever pieces they come, and their bodies as each message that a program here decodes.
//!
//! Input: how long the pieces are (the byte at hand, then the next, over and over), then what a socket yields.
#![no_main]

use std::fmt::Debug;

use ipcd::internals::protocol::{Assembler, HEADER_LEN, MAX_BODY, TooLong};
use ipcd::internals::protocol::{Refusal, Reply, Request, decode, encode};
use ipcd::internals::transports::{Announcement, Assignment, Settings};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

const PIECES: usize = 4;

fuzz_target!(|data: &[u8]| {
    let Some((pieces, stream)) = data.split_first_chunk::<PIECES>() else { return };
    // A body by itself: a mutation need not get the length right too.
    check_body(stream);
    let whole = assemble(stream, || usize::MAX);
    let mut next = pieces.iter().cycle();
    let torn = assemble(stream, || usize::from(*next.next().expect("a cycle")) + 1);
    assert_eq!(whole, torn, "it matters how the bytes came");
    for body in whole.0 {
        check_body(&body);
    }
});

/// The bodies in `stream`, and what ended it if it is not its own end.
fn assemble(mut stream: &[u8], mut piece: impl FnMut() -> usize) -> (Vec<Vec<u8>>, Option<TooLong>) {
    let mut assembler = Assembler::default();
    let mut bodies = Vec::new();
    while !stream.is_empty() {
        let wanted = assembler.wanted();
        assert!((1..=MAX_BODY.max(HEADER_LEN)).contains(&wanted));
        let (taken, rest) = stream.split_at(wanted.min(piece()).min(stream.len()));
        stream = rest;
        match assembler.take_in(taken) {
            Ok(body) => bodies.extend(body),
            Err(too_long) => return (bodies, Some(too_long)),
        }
    }
    (bodies, None)
}

fn check_body(body: &[u8]) {
    if let Some(Request::Open(spec)) = check::<Request>(body) {
        // What the daemon does with it before it starts a process.
        if let Err(refusal) = Settings::check(&spec) {
            tell(&refusal);
        }
    }
    match check::<Reply>(body) {
        Some(Reply::Refused(refusal)) => tell(&refusal),
        Some(Reply::Status(status)) => drop(status.to_string()),
        _ => {}
    }
    check::<Assignment>(body);
    check::<Announcement>(body);
}

/// Whatever is decoded is a message that says the same when it is sent on. It may be longer then: control characters of a
/// peer's text are escaped as it is decoded.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8]) -> Option<T> {
    if body.len() > MAX_BODY {
        return None;
    }
    let message: T = decode(body).ok()?;
    let again = encode(&message).expect("it came in a frame");
    assert_eq!(decode::<T>(&again).expect("it was just encoded"), message);
    Some(message)
}

fn tell(refusal: &Refusal) {
    drop((refusal.to_string(), refusal.exit(), refusal.advice()));
}
