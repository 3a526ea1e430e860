//! Trials over a fake transport, whose latency is known.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::spent::Spent;
use super::trial::Runner;
use super::{Plan, Stop, Timing, Warmup};
use crate::client::Channel;
use crate::protocol::ChannelSpec;
use crate::transports::sys::clock::{Calibration, ClockChoice};
use crate::transports::{Pace, Payload, Round, RoundError, Settings, Watch};

/// Answers after `latency`, and in one round of `stall_every` after `stall` more.
struct Fake {
    latency: Duration,
    stall: Duration,
    stall_every: u64,
    /// What each round really took.
    took: Rc<RefCell<Vec<Duration>>>,
    payload: Payload,
}

impl Round for Fake {
    fn round(&mut self, round: u64, _: &mut Watch) -> Result<(), RoundError> {
        let start = Instant::now();
        let stalls = round.is_multiple_of(self.stall_every);
        let until = self.latency + if stalls { self.stall } else { Duration::ZERO };
        self.payload.stamp(round);
        self.payload.echo();
        let took = loop {
            let elapsed = start.elapsed();
            if elapsed >= until {
                break elapsed;
            }
        };
        self.took.borrow_mut().push(took);
        Ok(())
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}

/// A trial's results, in picoseconds.
struct Measured {
    runner_rounds: u64,
    elapsed_ps: u64,
    took: Vec<Duration>,
    service: hdrhistogram::Histogram<u64>,
    response: Option<hdrhistogram::Histogram<u64>>,
    calibration: Calibration,
}

fn measure(
    latency: Duration,
    stall: Duration,
    stall_every: u64,
    rounds: u64,
    pace: Option<Pace>,
) -> Measured {
    measure_until(Stop::Rounds(rounds), latency, stall, stall_every, pace)
}

fn measure_until(
    stop: Stop,
    latency: Duration,
    stall: Duration,
    stall_every: u64,
    pace: Option<Pace>,
) -> Measured {
    let (control, _other) = rustix::pipe::pipe().unwrap();
    let watch = Watch::new(control.as_fd()).unwrap();
    let settings = Settings::check(&ChannelSpec::new("null")).unwrap();
    let took = Rc::new(RefCell::new(Vec::with_capacity(20_000)));
    let payload = Payload::new(settings.size, &settings.token);
    let fake = Fake { latency, stall, stall_every, took: Rc::clone(&took), payload };
    let mut channel = Channel::new(1, settings, 0, Box::new(fake), watch);
    let calibration = Calibration::run(ClockChoice::Auto).unwrap();
    let plan = Plan {
        stop,
        warmup: Warmup { rounds: 0, time: Duration::MAX },
        timing: Timing::Round,
        pace,
        interval: None,
    };
    let mut runner = Runner::new(&mut channel, &calibration, &plan);
    runner.warm_up().unwrap();
    runner.measure(&mut |_, _, _| (), &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    let (trial, recorder) = runner.into_trial((0, Duration::ZERO), Spent::default(), Spent::default());
    Measured {
        runner_rounds: trial.rounds,
        elapsed_ps: trial.elapsed_ps,
        took: took.take(),
        service: recorder.histogram,
        response: recorder.response,
        calibration,
    }
}

#[test]
fn a_known_latency_is_measured_within_the_clocks_error() {
    let latency = Duration::from_micros(20);
    let measured = measure(latency, Duration::ZERO, u64::MAX, 5000, None);
    assert_eq!(measured.runner_rounds, 5000);
    let mut took: Vec<f64> = measured.took.iter().map(|took| took.as_nanos() as f64).collect();
    took.sort_by(f64::total_cmp);
    let (known, shown) = (took[2499], measured.service.value_at_quantile(0.5) as f64 / 1000.0);
    // Beside the clock's own cost and step stand the fake's: two reads of `Instant` that its own figure holds half of,
    // and the bookkeeping of the loop around it.
    let calibration = &measured.calibration;
    let stated = calibration.cost_ns()
        + calibration.resolution_ns()
        + 2.0 * calibration.monotonic.cost_ns
        + 0.0005 * known;
    assert!(
        shown >= known - calibration.resolution_ns() - 0.0005 * known,
        "{shown} ns shown, {known} ns known"
    );
    // An unoptimised build keeps books slowly.
    let slack = if cfg!(debug_assertions) { 2000.0 } else { 50.0 };
    assert!(shown - known <= stated + slack, "{shown} ns shown, {known} ns known, {stated} ns stated");
}

#[test]
fn a_planted_stall_shows_in_the_tail_and_not_in_the_median() {
    let stall = Duration::from_millis(2);
    // One round in 500 is above the 99.8 % quantile.
    let measured = measure(Duration::from_micros(5), stall, 500, 20_000, None);
    let stall_ps = u64::try_from(stall.as_nanos()).unwrap() * 1000;
    assert!(measured.service.value_at_quantile(0.999) >= stall_ps);
    assert!(measured.service.value_at_quantile(0.5) < stall_ps / 4);
    assert!(measured.response.is_none(), "a closed loop has no other latency");
}

#[test]
fn at_a_fixed_rate_every_round_that_a_stall_delayed_shows_it() {
    // A round each 100 µs; one in 1000 stalls for 20 ms, and so delays the 200 that should have started meanwhile.
    let (every, stall) = (Duration::from_micros(100), Duration::from_millis(20));
    let measured = measure(Duration::from_micros(5), stall, 1000, 4500, Some(Pace::Every(every)));
    let response = measured.response.unwrap();
    let ps = |time: Duration| u64::try_from(time.as_nanos()).unwrap() * 1000;
    let slower_than =
        |histogram: &hdrhistogram::Histogram<u64>, time| histogram.count_between(ps(time), u64::MAX);
    // Four stalls. The rounds of the first half of each backlog waited more than half of the stall.
    let half = stall / 2;
    assert!(slower_than(&response, half) >= 4 * 90, "{}", slower_than(&response, half));
    let stalled = measured.took.iter().filter(|took| **took >= half).count();
    assert_eq!(
        slower_than(&measured.service, half),
        u64::try_from(stalled).unwrap(),
        "service time shows the stalls alone"
    );
}

#[test]
fn rounds_that_a_stall_delays_beyond_the_end_count() {
    // 500 rounds are due in 50 ms. The 400th stalls from 40 ms on for 100 ms: it and the 100 after it are late.
    let (every, stall) = (Duration::from_micros(100), Duration::from_millis(100));
    let stop = Stop::Time(Duration::from_millis(50));
    let measured = measure_until(stop, Duration::from_micros(5), stall, 400, Some(Pace::Every(every)));
    assert_eq!(measured.runner_rounds, 500);
    let late = measured.response.unwrap().count_between(85_000_000_000, u64::MAX);
    assert!(late >= 100, "{late} rounds are late by 85 ms or more");
}

#[test]
fn a_rate_that_cannot_be_reached_ends_the_trial_soon() {
    let stop = Stop::Time(Duration::from_millis(20));
    let pace = Some(Pace::Every(Duration::from_nanos(100)));
    let measured = measure_until(stop, Duration::from_micros(5), Duration::ZERO, u64::MAX, pace);
    assert!(measured.runner_rounds < 200_000, "{} rounds", measured.runner_rounds);
}

#[test]
fn no_more_rounds_a_second_are_reported_than_the_fixed_rate() {
    let every = Duration::from_millis(2);
    let measured = measure(Duration::from_micros(5), Duration::ZERO, u64::MAX, 3, Some(Pace::Every(every)));
    let least_ps = u64::try_from(3 * every.as_nanos() * 1000).unwrap();
    assert!(measured.elapsed_ps >= least_ps, "{} ps for three rounds", measured.elapsed_ps);
}
