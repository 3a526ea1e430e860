//! Messages through memory and semaphores (`semaphore`).

use loom::thread;

use super::families::memory_messages::SemaphoreEnd;
use super::families::messages::{Else, Messages};
use super::sys::Region;
use crate::model::{Side, machine};

/// `count` messages there and back again, received asleep or by looking: each comes back as it was sent.
pub fn rounds(sleeps: bool, count: u64) {
    let or = if sleeps { Else::Sleep } else { Else::Return };
    if !sleeps {
        machine().spin();
    }
    let memory = Region::new(&[64, 192], &[(4096, 8), (8192, 8)]).with_semaphores(&[0, 128]);
    let mut theirs = SemaphoreEnd::of_responder(memory.clone(), 8);
    let mut ours = SemaphoreEnd::of_client(memory, 8);
    theirs.make().expect("there is room");
    let responder = thread::spawn(move || {
        let _running = machine().enter(Side::Responder);
        let mut buffer = [0; 8];
        for _ in 0..count {
            assert_eq!(theirs.receive_now(&mut buffer, or), 8);
            theirs.send(&buffer, or).expect("there is room");
        }
    });
    let running = machine().enter(Side::Client);
    let mut pong = [0; 8];
    for round in 1..=count {
        let ping = (round * 0x0101_0101_0101_0101).to_le_bytes();
        ours.send(&ping, or).expect("there is room");
        assert_eq!(ours.receive_now(&mut pong, or), 8);
        assert_eq!(pong, ping);
    }
    drop(running);
    responder.join().expect("it has said why");
}
