//! What holds in every execution that the memory model allows, and what is found if the machine lacks something.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use ipcd_order::model::{Fault, Side, explore};
use ipcd_order::transports::memory::{Place, Wait, proof, rounds, stopped};
use ipcd_order::transports::{process_vm, semaphore};

/// Explores a model on a correct machine, and prints how many executions there were.
fn holds(what: &str, preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let start = Instant::now();
    let executions = explore(None, preemptions, model);
    assert!(executions > 1, "both sides can go first");
    let preemptions = preemptions.map_or("any number of".to_owned(), |most| format!("up to {most}"));
    println!(
        "{what}, {preemptions} preemptions: {executions} executions, {:.1} s",
        start.elapsed().as_secs_f64()
    );
}

/// What goes wrong on a machine with this fault; `None` if nothing does.
fn trouble(fault: Fault, model: impl Fn() + Send + Sync + 'static) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| explore(Some(fault), Some(2), model))).err()?;
    let message = panic.downcast_ref::<String>().cloned();
    Some(message.unwrap_or_else(|| (*panic.downcast_ref::<&str>().expect("a panic says why")).to_owned()))
}

const DEADLOCK: &str = "deadlock";
const RACE: &str = "Causality violation";

const FAULTS: [Fault; 8] = [
    Fault::StoresDoNotRelease,
    Fault::LoadsDoNotAcquire,
    Fault::NoFences(Side::Client),
    Fault::NoFences(Side::Responder),
    Fault::NoBarrierEverywhere,
    Fault::FutexDoesNotCompare,
    Fault::FutexDoesNotWake,
    Fault::SemaphoresDoNotOrder,
];

/// Holds a model to what it relies on of the machine, and to nothing else: each such fault is found as what it is, and the others
/// do no harm.
fn relies_on(what: &str, relied_on: &[(Fault, &str)], model: impl Fn() + Clone + Send + Sync + 'static) {
    for fault in FAULTS {
        let expected = relied_on.iter().find(|(relied, _)| *relied == fault).map(|(_, trouble)| *trouble);
        let found = trouble(fault, model.clone());
        println!(
            "{what}, {fault:?}: {}",
            found.as_deref().map_or("-", |found| found.lines().next().unwrap_or(""))
        );
        match (expected, &found) {
            (None, None) => {}
            (Some(expected), Some(found)) => assert!(found.contains(expected), "{what}, {fault:?}: {found}"),
            _ => panic!("{what}, {fault:?}: {found:?}, and not {expected:?}"),
        }
    }
}

/// What words, fences and futexes are good for.
const OF_WORDS: [(Fault, &str); 2] = [(Fault::StoresDoNotRelease, RACE), (Fault::LoadsDoNotAcquire, RACE)];
const OF_FUTEXES: [(Fault, &str); 2] =
    [(Fault::FutexDoesNotCompare, DEADLOCK), (Fault::FutexDoesNotWake, DEADLOCK)];
const OF_FENCES: [(Fault, &str); 2] =
    [(Fault::NoFences(Side::Client), DEADLOCK), (Fault::NoFences(Side::Responder), DEADLOCK)];

fn relied_on(wait: Wait) -> Vec<(Fault, &'static str)> {
    match wait {
        Wait::Spin => OF_WORDS.to_vec(),
        Wait::Block | Wait::AdaptiveWithFences => [OF_WORDS, OF_FUTEXES, OF_FENCES].concat(),
        Wait::Adaptive => [&OF_WORDS[..], &OF_FUTEXES, &[(Fault::NoBarrierEverywhere, DEADLOCK)]].concat(),
    }
}

/// One round in nearly every order; two in every order with a limited number of preemptions.
fn every_round_ends_with_its_own_payload(wait: Wait, one: Option<usize>, two: usize) {
    for place in Place::ALL {
        holds(&format!("one round, {wait:?}, {place:?}"), one, move || rounds(place, wait, 1));
        holds(&format!("two rounds, {wait:?}, {place:?}"), Some(two), move || rounds(place, wait, 2));
    }
}

#[test]
fn every_round_ends_with_its_own_payload_spinning() {
    every_round_ends_with_its_own_payload(Wait::Spin, None, 3);
    holds("three rounds, Spin", Some(3), || rounds(Place::Apart, Wait::Spin, 3));
}

#[test]
fn every_round_ends_with_its_own_payload_blocking() {
    every_round_ends_with_its_own_payload(Wait::Block, None, 3);
}

#[test]
fn every_round_ends_with_its_own_payload_adaptive_with_fences() {
    every_round_ends_with_its_own_payload(Wait::AdaptiveWithFences, Some(4), 2);
}

#[test]
fn every_round_ends_with_its_own_payload_adaptive() {
    every_round_ends_with_its_own_payload(Wait::Adaptive, Some(3), 2);
}

#[test]
fn a_wait_that_is_ended_ends() {
    for wait in Wait::ALL {
        for place in [Place::Eight, Place::Apart] {
            holds(&format!("ended, {wait:?}, {place:?}"), None, move || stopped(place, wait, false));
            let what = format!("ended while the pong comes, {wait:?}, {place:?}");
            holds(&what, Some(2), move || stopped(place, wait, true));
        }
    }
}

#[test]
fn the_proof_identifies_each_side_to_the_other_and_a_wrong_one_is_detected() {
    holds("proof", None, || proof(true));
    holds("wrong proof", Some(3), || proof(false));
}

#[test]
fn messages_read_from_the_other_process_come_whole() {
    for sleeps in [false, true] {
        holds(&format!("process-vm, sleeps: {sleeps}"), None, move || process_vm::rounds(sleeps, 1));
        holds(&format!("process-vm twice, sleeps: {sleeps}"), Some(3), move || process_vm::rounds(sleeps, 2));
    }
}

#[test]
fn messages_between_semaphores_come_whole() {
    for sleeps in [false, true] {
        holds(&format!("semaphore twice, sleeps: {sleeps}"), None, move || semaphore::rounds(sleeps, 2));
    }
}

#[test]
fn what_a_round_relies_on_is_found_missing() {
    for wait in Wait::ALL {
        for place in [Place::Eight, Place::Apart] {
            relies_on(&format!("{wait:?}, {place:?}"), &relied_on(wait), move || rounds(place, wait, 1));
        }
    }
}

#[test]
fn what_messages_rely_on_is_found_missing() {
    relies_on("process-vm, looking", &relied_on(Wait::Spin), || process_vm::rounds(false, 1));
    relies_on("process-vm, asleep", &relied_on(Wait::Block), || process_vm::rounds(true, 1));
    // The length, an atomic, is seen before it is written.
    let order = [(Fault::SemaphoresDoNotOrder, "assertion `left == right` failed")];
    relies_on("semaphore, looking", &order, || semaphore::rounds(false, 1));
    relies_on("semaphore, asleep", &order, || semaphore::rounds(true, 1));
}

#[test]
fn what_the_proof_relies_on_is_found_missing() {
    relies_on("proof", &relied_on(Wait::Block), || proof(true));
}
