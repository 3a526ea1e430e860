//! What holds for every message and every frame, however it was torn, cut or damaged: a value or an error; never a
//! panic, a wait, or more memory than is promised.
//!
//! A separate program, since its allocator counts, for each thread separately, so that a test counts its own allocations.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod messages;

use std::collections::BTreeSet;
use std::fmt::Debug;

use allocation_counter::measure;
use ipcd::internals::protocol::{Assembler, HEADER_LEN, MAX_BODY, TooLong, frame};
use ipcd::internals::protocol::{
    Confinement, DecodeError, Event, GREETING_LEN, Greeting, MAX_DECODED, PROTOCOL_VERSION, Reply, Request,
    decode, encode,
};
use ipcd::internals::transports::{Announcement, Assignment};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a length takes while it comes: the least that is allocated.
const LENGTH: usize = 2 * HEADER_LEN;

/// The most memory that `work` holds at a time, beyond what there was, in bytes.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let mut result = None;
    let counted = measure(|| result = Some(work()));
    (result.expect("it was done"), usize::try_from(counted.bytes_max).unwrap())
}

/// Decodes within the memory that is promised.
fn decode_bounded<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let (result, peak) = peak_of(|| decode::<T>(body));
    assert!(peak <= MAX_DECODED, "{peak} bytes were held for a body of {}", body.len());
    result
}

trait Message: Serialize + DeserializeOwned + PartialEq + Debug {}
impl<T: Serialize + DeserializeOwned + PartialEq + Debug> Message for T {}

/// The message itself comes through; no part of it is taken for a whole; damage is an error or another message.
fn holds_for<T: Message>(message: &T) {
    let body = encode(message).unwrap();
    assert_eq!(&decode_bounded::<T>(&body).unwrap(), message);
    for cut in 0..body.len() {
        assert!(decode_bounded::<T>(&body[..cut]).is_err(), "{message:?} cut to {cut} bytes");
    }
    let mut damaged = body.clone();
    for bit in 0..8 * body.len() {
        damaged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = decode_bounded::<T>(&damaged) {
            assert_ne!(&other, message, "bit {bit} does not matter");
        }
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
    // Wherever a length may stand, one that is far too large, in each form that the encoding has.
    for at in 0..body.len() {
        for length in [&[250][..], &[251, 255, 255], &[252, 255, 255, 255, 127], &[253; 9]] {
            let lying = [&body[..at], length, &body[at + 1..]].concat();
            let _ = decode_bounded::<T>(&lying);
        }
    }
    for trailing in [0, 255] {
        let longer = [&body[..], &[trailing]].concat();
        assert!(matches!(decode_bounded::<T>(&longer), Err(DecodeError::Trailing { .. })));
    }
}

/// Puts a stream together in pieces of these lengths, over and over.
fn assemble(mut stream: &[u8], pieces: &[usize]) -> (Vec<Vec<u8>>, Option<TooLong>, bool) {
    let mut assembler = Assembler::default();
    let mut bodies = Vec::new();
    let mut pieces = pieces.iter().cycle();
    while !stream.is_empty() {
        let wanted = assembler.wanted();
        assert!(wanted > 0, "it would wait for nothing");
        let (piece, rest) = stream.split_at(wanted.min(*pieces.next().unwrap()).min(stream.len()));
        stream = rest;
        match assembler.take_in(piece) {
            Ok(body) => bodies.extend(body),
            Err(too_long) => return (bodies, Some(too_long), true),
        }
    }
    (bodies, None, assembler.is_midway())
}

proptest! {
    #[test]
    fn a_request_comes_through_and_no_damage_to_it_matters(message in messages::request()) {
        holds_for(&message);
    }

    #[test]
    fn a_reply_comes_through_and_no_damage_to_it_matters(message in messages::reply()) {
        holds_for(&message);
    }

    #[test]
    fn no_text_of_a_reply_drives_a_terminal(message in messages::reply()) {
        // Numbers may become others.
        let escape = |byte| if byte == b'x' { 0x1b } else { byte };
        let body: Vec<u8> = encode(&message).unwrap().into_iter().map(escape).collect();
        // An endpoint is not text, and is escaped where an error shows it.
        if let Ok(reply) = decode::<Reply>(&body) && !matches!(reply, Reply::Opened { .. }) {
            prop_assert!(!serde_json::to_string(&reply).unwrap().contains("u001b"), "{reply:?}");
        }
    }

    #[test]
    fn a_responders_messages_come_through_and_no_damage_to_them_matters(
        assignment in messages::assignment(),
        announcement in messages::announcement(),
    ) {
        holds_for::<Assignment>(&assignment);
        holds_for::<Announcement>(&announcement);
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_bounded::<Request>(&bytes);
        let _ = decode_bounded::<Reply>(&bytes);
        let _ = decode_bounded::<Assignment>(&bytes);
        let _ = decode_bounded::<Announcement>(&bytes);
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_torn(
        sent in proptest::collection::vec(messages::request(), 1..6),
        pieces in proptest::collection::vec(1..40_usize, 1..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let frames: Vec<Vec<u8>> = sent.iter().map(|request| frame(&encode(request).unwrap())).collect();
        let stream = frames.concat();
        let (bodies, too_long, midway) = assemble(&stream, &pieces);
        prop_assert_eq!((too_long, midway), (None, false));
        let received: Vec<Request> = bodies.iter().map(|body| decode(body).unwrap()).collect();
        prop_assert_eq!(&received, &sent);

        // Cut anywhere: the frames before are whole, and it is known whether one has begun.
        let cut = cut.index(stream.len());
        let (bodies, too_long, midway) = assemble(&stream[..cut], &pieces);
        prop_assert_eq!(too_long, None);
        let whole: usize = bodies.iter().map(|body| HEADER_LEN + body.len()).sum();
        prop_assert_eq!(midway, whole < cut);
        prop_assert!(bodies.iter().zip(&frames).all(|(body, frame)| *body == frame[HEADER_LEN..]));
    }

    #[test]
    fn a_frame_of_any_announced_length_takes_no_more_room_than_comes(
        len in prop_oneof![any::<u32>(), 0..200_000_u32],
        comes in 0..5_000_usize,
        piece in 1..5_000_usize,
    ) {
        let stream = [&len.to_le_bytes()[..], &vec![7; comes]].concat();
        let most = usize::try_from(len).unwrap();
        let mut assembler = Assembler::default();
        let (result, peak) = peak_of(|| {
            let mut left = &stream[..];
            while !left.is_empty() {
                let (taken, rest) = left.split_at(assembler.wanted().min(piece).min(left.len()));
                left = rest;
                match assembler.take_in(taken) {
                    Ok(None) => {}
                    Ok(Some(body)) => return Ok(Some(body)),
                    Err(too_long) => return Err(too_long),
                }
            }
            Ok(None)
        });
        match result {
            Err(TooLong { len: reported }) => prop_assert!(most > MAX_BODY && reported == len),
            Ok(Some(body)) => prop_assert!(body.len() == most && most <= comes),
            Ok(None) => prop_assert!(most <= MAX_BODY && most > comes),
        }
        // While it grows, the old room and the new one.
        prop_assert!(peak <= 3 * (comes + piece) + LENGTH, "{} bytes for {}", peak, comes);
    }

    #[test]
    fn a_greeting_is_ours_or_refused(bytes in any::<[u8; GREETING_LEN]>(), at in 0..8 * GREETING_LEN) {
        prop_assert!(Greeting::from_bytes(&bytes).is_err(), "the magic does not come by chance");
        let mut damaged = Greeting::OURS.to_bytes();
        damaged[at / 8] ^= 1 << (at % 8);
        let accepted = Greeting::from_bytes(&damaged).and_then(Greeting::accept);
        // The last 6 bytes are for later versions to use.
        prop_assert_eq!(accepted.is_ok(), at >= 80, "bit {}", at);
    }
}

#[test]
fn every_length_that_a_frame_can_announce_is_waited_for_or_refused() {
    let limit = u32::try_from(MAX_BODY).unwrap();
    for len in (0..=limit + 1000).chain([u32::MAX / 2, u32::MAX - 1, u32::MAX]) {
        let mut assembler = Assembler::default();
        let (taken, peak) = peak_of(|| assembler.take_in(&len.to_le_bytes()));
        match taken {
            Err(too_long) => assert!(len > limit && too_long == TooLong { len }),
            Ok(Some(body)) => assert!(body.is_empty() && len == 0),
            Ok(None) => assert_eq!(assembler.wanted(), usize::try_from(len).unwrap()),
        }
        assert!(peak <= LENGTH, "{peak} bytes for the length {len} alone");
    }
}

/// Bodies made to cost as much as they can: as many elements as fit, and lengths that are lies.
#[test]
fn the_dearest_bodies_cost_no_more_than_is_promised() {
    let filled = |start: &[u8], fill: &[u8]| {
        let mut body = start.to_vec();
        while body.len() + fill.len() <= MAX_BODY {
            body.extend_from_slice(fill);
        }
        body
    };
    // Kinds of the messages, and 65535 elements (251, then 2 bytes), and what each element starts with.
    let mut dearest = 0;
    for kind in 0..14 {
        for inner in 0..16 {
            for skipped in 0..4 {
                for element in [&[0][..], &[1, b'a'], &[1, b'a', 0], &[0; 6]] {
                    let start = [&[kind, inner][..], &vec![0; skipped], &[251, 255, 255]].concat();
                    let body = filled(&start, element);
                    let (_, peak) = peak_of(|| {
                        let _ = decode::<Reply>(&body);
                        let _ = decode::<Request>(&body);
                        let _ = decode::<Request>(&body[1..]);
                        let _ = decode::<Assignment>(&body[2..]);
                    });
                    dearest = dearest.max(peak);
                }
            }
        }
    }
    // A request's options, each with a different name.
    let mut body = vec![5, 0, 8, 0, 0, 251, 255, 255];
    for name in 0..u32::MAX {
        let name = format!("{name:x}");
        if body.len() + name.len() + 2 > MAX_BODY {
            break;
        }
        body.push(u8::try_from(name.len()).unwrap());
        body.extend_from_slice(name.as_bytes());
        body.push(0);
    }
    dearest = dearest.max(peak_of(|| decode::<Request>(&body).is_err()).1);
    println!("the dearest body made the decoder hold {dearest} bytes, of {MAX_DECODED} promised");
    assert!(dearest > 8 * MAX_BODY, "these bodies cost nothing: they do not test what they mean to");
    assert!(dearest <= MAX_DECODED, "{dearest} bytes");
}

#[test]
fn every_kind_of_message_is_among_those_that_are_tried() {
    let mut runner = TestRunner::deterministic();
    let mut seen = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..3000 {
        let request = messages::request().new_tree(&mut runner).unwrap().current();
        seen.0.insert(messages::kind_of_request(&request));
        let reply = messages::reply().new_tree(&mut runner).unwrap().current();
        seen.1.insert(messages::kind_of_reply(&reply));
    }
    assert_eq!((seen.0.len(), seen.1.len()), messages::KINDS);
}

/// Bytes that programs of this protocol version have sent: a change of layout without a new version breaks them.
#[test]
fn the_layout_of_a_version_stays() {
    assert_eq!(PROTOCOL_VERSION, 3, "write down the new version's bytes here");
    let opens = encode(&Request::Open(ipcd::internals::protocol::ChannelSpec::new("tcp"))).unwrap();
    assert_eq!(opens, [5, 3, b't', b'c', b'p', 8, 0, 0, 0, 0]);
    assert_eq!(encode(&Request::Acquire { wait: true }).unwrap(), [3, 1]);
    assert_eq!(encode(&Reply::Queued { place: 300 }).unwrap(), [4, 251, 44, 1]);
    assert_eq!(encode(&Request::Confinement).unwrap(), [8]);
    assert_eq!(encode(&Reply::Confinement(Confinement::default())).unwrap(), [11, 0, 0, 0, 0]);
    assert_eq!(encode(&Reply::Event(Event::Revoked { after_ms: 9 })).unwrap(), [10, 2, 9]);
}
