//! What a ring carries, and what it leaves when somebody gives up.

use super::super::super::Unwatched;
use super::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

fn all() -> impl Iterator<Item = RingOptions> {
    let waits = |sqpoll| Wait::ALL.into_iter().map(move |wait| RingOptions { sqpoll, wait });
    [false, true].into_iter().flat_map(waits)
}

fn pair(options: RingOptions) -> Option<(Ring, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    match Ring::new(ours, options) {
        Ok(ring) => Some((ring, theirs)),
        Err(error) => {
            eprintln!("not tested, since this host has no ring with {options:?}: {error}");
            None
        }
    }
}

/// Gives up at the first look.
struct Hopeless;

impl Alive for Hopeless {
    fn due(&self) -> bool {
        true
    }

    fn check(&mut self, _: u64) -> Result<(), RoundError> {
        Err(RoundError::Ended)
    }
}

#[test]
fn what_is_sent_arrives_and_the_peers_end_is_told() {
    for (mut ring, theirs) in all().filter_map(pair) {
        rustix::io::write(&theirs, b"pong").unwrap();
        let mut pong = [0; 4];
        ring.send_and_receive(b"ping", &mut pong, &mut Unwatched, 1).unwrap();
        assert_eq!(&pong, b"pong");
        let mut ping = [0; 8];
        assert_eq!(rustix::io::read(&theirs, &mut ping), Ok(4));
        assert_eq!(&ping[..4], b"ping");
        drop(theirs);
        let end = ring.receive(&mut pong, &mut Unwatched, 2);
        assert!(matches!(end, Err(RoundError::PeerClosed)), "{end:?}");
    }
}

#[test]
fn more_than_the_socket_buffers_is_carried_both_ways() {
    const LEN: usize = 1 << 20;
    for (mut ring, theirs) in all().filter_map(pair) {
        let peer = std::thread::spawn(move || {
            let mut theirs = std::fs::File::from(theirs);
            let mut bytes = vec![0; LEN];
            io::Read::read_exact(&mut theirs, &mut bytes).unwrap();
            io::Write::write_all(&mut theirs, &bytes).unwrap();
        });
        let out: Vec<u8> = (0..LEN).map(|index| (index % 251) as u8).collect();
        let mut back = vec![0; LEN];
        ring.send_and_receive(&out, &mut back, &mut Unwatched, 1).unwrap();
        assert!(out == back);
        peer.join().unwrap();
    }
}

#[test]
fn what_the_kernel_never_took_is_given_up_for_good() {
    let options = RingOptions { sqpoll: false, wait: Wait::Block };
    let Some((mut ring, theirs)) = pair(options) else { return };
    // Forbids every use of the ring, as a sandbox may that was not there when it was made.
    let Ok(disabled) = IoUring::builder().setup_r_disabled().build(ENTRIES) else {
        return eprintln!("not tested, since rings cannot be disabled before Linux 5.10");
    };
    ring.ring = disabled;
    let mut buffer = [0; 4];
    let end = ring.receive(&mut buffer, &mut Unwatched, 1);
    assert!(matches!(end, Err(RoundError::System(_))), "{end:?}");
    // Nor does it later, when its memory may be another's.
    ring.ring.submitter().register_enable_rings().unwrap();
    let end = ring.receive(&mut [0; 4], &mut Unwatched, 2);
    assert!(matches!(end, Err(RoundError::PeerClosed)), "{end:?}");
    assert_eq!(rustix::io::write(&theirs, b"late"), Err(Errno::PIPE));
    assert_eq!(buffer, [0; 4]);
}

#[test]
fn who_gives_up_gets_the_buffer_back_for_good() {
    for options in all().filter(|options| options.wait != Wait::Block) {
        let Some((mut ring, theirs)) = pair(options) else { continue };
        let mut buffer = [0; 8];
        let end = ring.receive(&mut buffer, &mut Hopeless, 1);
        assert!(matches!(end, Err(RoundError::Ended)), "{end:?}");
        assert_eq!(rustix::io::write(&theirs, b"too late"), Err(Errno::PIPE));
        assert_eq!(buffer, [0; 8]);
    }
}

#[test]
fn what_the_kernels_thread_has_completed_may_stay_on_the_queue_for_a_while() {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// About one in a thousand meets it on a busy host, and none on an idle one.
    const TRANSFERS: usize = 3000;
    let Some((mut ring, theirs)) = pair(RingOptions { sqpoll: true, wait: Wait::Spin }) else { return };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The kernel's thread loses its CPU to them between the one and the other.
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let end = (0..TRANSFERS).try_for_each(|_| {
            let mut word = [0; 4];
            rustix::io::write(&theirs, b"pong")?;
            ring.send_and_receive(b"ping", &mut word, &mut Unwatched, 1)?;
            rustix::io::read(&theirs, &mut word)?;
            Ok::<_, RoundError>(())
        });
        over.store(true, Ordering::Relaxed);
        assert!(end.is_ok(), "{end:?}");
    });
}
