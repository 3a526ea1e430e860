//! Messages that each side reads out of the other's memory (`process-vm`).

use loom::thread;

use super::families::memory_messages::ProcessEnd;
use super::families::messages::{Else, Messages};
use super::sys::{Region, process_vm};
use crate::model::{Side, machine};

/// `count` messages there and back again, received asleep or by looking: each comes back as it was sent.
pub fn rounds(sleeps: bool, count: u64) {
    let or = if sleeps { Else::Sleep } else { Else::Return };
    if !sleeps {
        machine().spin();
    }
    process_vm::forget();
    let page = Region::new(&[0, 4, 128, 132], &[(8, 16), (136, 16)]);
    let mut theirs = ProcessEnd::of_responder(page.clone(), process_vm::pid(Side::Client));
    let mut ours = ProcessEnd::of_client(page, process_vm::pid(Side::Responder));
    let responder = thread::spawn(move || {
        let _running = machine().enter(Side::Responder);
        let mut buffer = [0; 8];
        for _ in 0..count {
            assert_eq!(theirs.receive_now(&mut buffer, or), 8);
            process_vm::written(Side::Responder, &buffer);
            theirs.send(&buffer, or).expect("it sends its address");
        }
        // A responder lives until it is ended: its memory is there until the client has read from it.
        buffer
    });
    let running = machine().enter(Side::Client);
    let (mut ping, mut pong) = ([0; 8], [0; 8]);
    for round in 1..=count {
        ping = (round * 0x0101_0101_0101_0101).to_le_bytes();
        process_vm::written(Side::Client, &ping);
        ours.send(&ping, or).expect("it sends its address");
        assert_eq!(ours.receive_now(&mut pong, or), 8);
        assert_eq!(pong, ping);
    }
    drop(running);
    assert_eq!(responder.join().expect("it has said why"), ping);
}
