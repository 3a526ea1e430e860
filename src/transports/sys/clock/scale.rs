//! Ticks into time, for one tick rate.

/// What a tick is worth. Copied into whoever converts; conversion of a whole run's ticks belongs after the
/// run, with the scale of the refined calibration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    ticks_per_ns: f64,
    /// Picoseconds a tick, times 2^32: a multiplication and a shift give the integer result.
    ps_per_tick: u64,
}

impl Scale {
    /// A tick is a nanosecond.
    pub(super) const NANOSECONDS: Self = Self { ticks_per_ns: 1.0, ps_per_tick: 1000 << 32 };

    /// For a counter of this rate; sensible from 1 kHz (0.000001) up.
    pub(super) fn new(ticks_per_ns: f64) -> Self {
        Self { ticks_per_ns, ps_per_tick: (1000.0 / ticks_per_ns * 2f64.powi(32)).round() as u64 }
    }

    /// Ticks a nanosecond, which is the frequency in GHz.
    pub(crate) fn ticks_per_ns(self) -> f64 {
        self.ticks_per_ns
    }

    /// Nanoseconds that so many ticks take.
    #[inline]
    pub(crate) fn to_ns(self, ticks: u64) -> f64 {
        ticks as f64 / self.ticks_per_ns
    }

    /// Picoseconds that so many ticks take, rounded to nearest; 213 days fit, and more than that is
    /// `u64::MAX`.
    #[inline]
    pub(crate) fn to_ps(self, ticks: u64) -> u64 {
        let rounded = (u128::from(ticks) * u128::from(self.ps_per_tick) + (1 << 31)) >> 32;
        u64::try_from(rounded).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slow and fast counters, and rates that no integer of picoseconds a tick fits.
    const RATES: [f64; 6] = [0.0249, 0.1, 1.0, 2.596_123_4, 3.0, 5.7];

    #[test]
    fn nanoseconds_come_back_after_a_round_trip() {
        for rate in RATES {
            let scale = Scale::new(rate);
            for ns in [1.0, 54.0, 1e3, 1e9, 3.6e12] {
                let ticks = (ns * scale.ticks_per_ns()).round() as u64;
                let half_a_tick = 0.5 / rate + ns * 1e-12;
                assert!((scale.to_ns(ticks) - ns).abs() <= half_a_tick, "{ns} ns at {rate}");
                let ps = scale.to_ps(ticks) as f64;
                assert!((ps - ns * 1e3).abs() <= half_a_tick * 1e3 + 0.5, "{ns} ns at {rate}: {ps} ps");
            }
        }
    }

    #[test]
    fn a_million_seconds_do_not_overflow() {
        for rate in RATES {
            let ticks = (1e15 * rate) as u64;
            let ps = Scale::new(rate).to_ps(ticks);
            assert!((ps as f64 / 1e18 - 1.0).abs() < 1e-9, "{ps} ps at {rate}");
        }
        assert_eq!(Scale::NANOSECONDS.to_ps(1_000_000_000_000_000), 1_000_000_000_000_000_000);
    }

    #[test]
    fn what_does_not_fit_is_the_maximum() {
        assert_eq!(Scale::NANOSECONDS.to_ps(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_nanosecond_scale_is_exact() {
        assert_eq!(Scale::new(1.0), Scale::NANOSECONDS);
        assert_eq!(Scale::NANOSECONDS.to_ps(123), 123_000);
    }
}
