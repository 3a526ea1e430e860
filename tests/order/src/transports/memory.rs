//! Rounds and proofs through memory (`shmem`, `memfd`, `mmap`, `futex`).

use loom::thread;

use super::families::protocol::{
    Apart, Beside, Echo, Facts, Form, MAX_INLINE, PAGE, ask, check_peer, pong_offset, prove,
};
use super::families::turn::{Adaptive, Barrier, Block, Spin, Strategy};
use super::payload::Payload;
use super::sys::Region;
use super::watch::Watch;
use super::{RoundError, Unwatched};
use crate::model::{Side, machine};
use crate::protocol::Token;

/// How both sides wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Spin,
    Block,
    /// Adaptive, where one of the two has no `membarrier`.
    AdaptiveWithFences,
    Adaptive,
}

impl Wait {
    pub const ALL: [Self; 4] = [Self::Spin, Self::Block, Self::AdaptiveWithFences, Self::Adaptive];
}

/// Where the payload is, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// 8 bytes beside the word.
    Eight,
    /// As many as fit beside the word.
    Line,
    /// 24 bytes on pages of their own, words and flags on lines of their own.
    Apart,
}

impl Place {
    pub const ALL: [Self; 3] = [Self::Eight, Self::Line, Self::Apart];

    fn size(self) -> usize {
        match self {
            Self::Eight => 8,
            Self::Line => MAX_INLINE,
            Self::Apart => 24,
        }
    }

    fn memory(self) -> Region {
        let size = self.size();
        match self {
            Self::Eight | Self::Line => Region::new(&[128, 132, 136], &[(144, size)]),
            Self::Apart => Region::new(&[256, 384, 512, 640], &[(PAGE, size), (pong_offset(size), size)]),
        }
    }
}

/// What is compiled once for each form and strategy.
trait Job {
    fn run<F: Form + Send, S: Strategy + Send>(self, memory: Region, form: F, strategy: S);
}

fn choose(job: impl Job, place: Place, wait: Wait) {
    match place {
        Place::Eight => choose_wait(job, place, Beside::<8>, wait),
        Place::Line => choose_wait(job, place, Beside::<MAX_INLINE>, wait),
        Place::Apart => choose_wait(job, place, Apart { size: place.size() }, wait),
    }
}

fn choose_wait(job: impl Job, place: Place, form: impl Form + Send, wait: Wait) {
    let memory = place.memory();
    match wait {
        Wait::Spin => {
            machine().spin();
            job.run(memory, form, Spin);
        }
        Wait::Block => job.run(memory, form, Block),
        Wait::AdaptiveWithFences => job.run(memory, form, Adaptive::new(Barrier::Fences, 8)),
        Wait::Adaptive => job.run(memory, form, Adaptive::new(Barrier::Asymmetric, 8)),
    }
}

fn payload(place: Place) -> Payload {
    Payload::new(place.size(), &TOKEN())
}

/// A token.
#[allow(non_snake_case, reason = "a constant, but for `Token::new`")]
fn TOKEN() -> Token {
    Token::new(std::array::from_fn(|index| u8::try_from(index).expect("32 are few") + 1))
}

/// `count` rounds: each ends, and its pong is the ping that was sent, byte by byte.
pub fn rounds(place: Place, wait: Wait, count: u64) {
    struct Rounds(Place, u64);

    impl Job for Rounds {
        fn run<F: Form + Send, S: Strategy + Send>(self, memory: Region, form: F, strategy: S) {
            let Self(place, count) = self;
            let theirs = memory.clone();
            let responder = thread::spawn(move || {
                let _running = machine().enter(Side::Responder);
                let mut echo = Echo::new(&theirs, form, strategy);
                for round in 1..=count {
                    echo.answer(&mut Unwatched, round).expect("it is never aborted");
                }
            });
            let running = machine().enter(Side::Client);
            let mut payload = payload(place);
            for round in 1..=count {
                let done = ask(&memory, &mut payload, form, strategy, &mut Unwatched, round);
                done.expect("the pong is this round's");
                payload.verify().expect("and what was sent");
            }
            drop(running);
            responder.join().expect("it has said why");
        }
    }

    choose(Rounds(place, count), place, wait);
}

/// A round whose channel is ended while the client waits, if the responder answers or if it does not: the client's wait
/// ends, and if with a pong, then with the right one.
pub fn stopped(place: Place, wait: Wait, answers: bool) {
    struct Stopped(Place, bool);

    impl Job for Stopped {
        fn run<F: Form + Send, S: Strategy + Send>(self, memory: Region, form: F, strategy: S) {
            let Self(place, answers) = self;
            let watch = Watch::new();
            let (theirs, ended, over) = (memory.clone(), memory.clone(), watch.clone());
            let responder = answers.then(|| {
                thread::spawn(move || {
                    let _running = machine().enter(Side::Responder);
                    let mut echo = Echo::new(&theirs, form, strategy);
                    echo.answer(&mut Unwatched, 1).expect("it is never aborted");
                })
            });
            let supervisor = thread::spawn(move || over.end(ended.word(F::PONG.0)));
            let running = machine().enter(Side::Client);
            let mut payload = payload(place);
            match ask(&memory, &mut payload, form, strategy, &mut watch.clone(), 1) {
                Ok(()) => {
                    assert!(answers, "no side has answered");
                    payload.verify().expect("what was sent");
                }
                Err(error) => assert_eq!(error, RoundError::Ended),
            }
            drop(running);
            supervisor.join().expect("it has said why");
            if let Some(responder) = responder {
                responder.join().expect("it has said why");
            }
        }
    }

    choose(Stopped(place, answers), place, wait);
}

/// The proof of the token: each side verifies the other's half. With a wrong token, the responder rejects the client, and
/// the client is ended.
pub fn proof(right: bool) {
    let memory = Region::new(&[0, 4, 8, 48, 52], &[(16, 32)]);
    let watch = Watch::new();
    let of_client = Facts { registered: true };
    let of_responder = Facts { registered: false };
    let (theirs, over) = (memory.clone(), watch.clone());
    let responder = thread::spawn(move || {
        let _running = machine().enter(Side::Responder);
        let checked = check_peer(&theirs, &TOKEN(), of_responder, &mut Unwatched);
        assert_eq!(checked.expect("it is never aborted"), right.then_some(of_client));
        if !right {
            over.end(theirs.word(0));
        }
    });
    let running = machine().enter(Side::Client);
    let shown = if right { TOKEN() } else { Token::new([9; 32]) };
    let proved = prove(&memory, &shown, of_client, &mut watch.clone());
    assert_eq!(proved, if right { Ok(Some(of_responder)) } else { Err(RoundError::Ended) });
    drop(running);
    responder.join().expect("it has said why");
}
