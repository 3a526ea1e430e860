//! Whether the time stamp counter can be trusted as a clock: what the processor, the kernel and a measurement say.

use std::fs;

const SYSFS: &str = "/sys/devices/system/clocksource/clocksource0";

/// Largest difference of the counter's rate between two halves of the calibration. CLOCK_MONOTONIC itself is slewed by up
/// to 500 ppm, but its slew does not change by this much within two milliseconds.
const RATE_LIMIT_PPM: f64 = 200.0;

/// Largest difference between the counters of two CPUs. A shared counter read on two CPUs agrees within tens of
/// nanoseconds; the rest allows for the rate's error over the time that moving between CPUs takes.
const SKEW_LIMIT_NS: f64 = 1000.0;

/// Why the time stamp counter is not used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum TscRefusal {
    /// No counter, or one whose rate follows the processor's frequency or that stops in sleep states.
    #[error("the processor does not report a time stamp counter of constant rate")]
    NotInvariant,
    /// The kernel does not offer the counter as a clock source: it found it unstable, or was configured so.
    #[error("the kernel keeps time by {current} and does not offer tsc")]
    DistrustedByKernel {
        /// The kernel's clock source.
        current: String,
    },
    /// Two measurements of the rate differ by more than their uncertainty.
    #[error("its rate against CLOCK_MONOTONIC changed by {change_ppm:.0} ppm within the calibration")]
    Unsteady {
        /// By how much, in parts per million.
        change_ppm: f64,
    },
    /// The CPUs that the caller may run on have different counters.
    #[error("it differs by {skew_ns:.0} ns between CPUs")]
    Skewed {
        /// By how much, in nanoseconds.
        skew_ns: f64,
    },
}

/// What vouches for the counter being the same on all CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// The kernel keeps its own time by it: it compared the CPUs when it brought them up, and watches the
    /// counter.
    Kernel,
    /// Nothing yet: the calibration compares the CPUs.
    Check,
}

/// What is known about the counter before measuring.
#[derive(Debug, Clone, Default)]
pub(super) struct HostFacts {
    /// The processor reports a constant rate, sleep states included (CPUID 0x8000_0007, EDX bit 8).
    pub(super) invariant_tsc: bool,
    /// The kernel's clock source; `None` if sysfs does not show it.
    pub(super) current_clock_source: Option<String>,
    /// The kernel lists `tsc` among its clock sources; it removes one that it finds unstable.
    pub(super) tsc_available: bool,
    /// The frequency that the processor or the hypervisor states, in Hz.
    pub(super) stated_hz: Option<f64>,
}

impl HostFacts {
    /// Reads the processor's answers and sysfs; about 0.1 ms, since a hypervisor traps each CPUID.
    pub(super) fn read() -> Self {
        let sysfs = |file| fs::read_to_string(format!("{SYSFS}/{file}")).ok();
        Self {
            invariant_tsc: cpuid::invariant_tsc(),
            current_clock_source: sysfs("current_clocksource").map(|name| name.trim().to_owned()),
            tsc_available: sysfs("available_clocksource")
                .is_some_and(|names| names.split_whitespace().any(|name| name == "tsc")),
            stated_hz: cpuid::stated_hz(),
        }
    }

    /// Whether the counter is worth measuring, and what the measurement must cover.
    pub(super) fn trust(&self) -> Result<Trust, TscRefusal> {
        if !self.invariant_tsc {
            return Err(TscRefusal::NotInvariant);
        }
        match &self.current_clock_source {
            Some(current) if current == "tsc" => Ok(Trust::Kernel),
            // The kernel has watched it for longer than a calibration can.
            Some(current) if !self.tsc_available => {
                Err(TscRefusal::DistrustedByKernel { current: current.clone() })
            }
            // The kernel prefers kvm-clock, a Hyper-V page and the like to a counter that is as good.
            _ => Ok(Trust::Check),
        }
    }
}

/// What a measurement of the counter shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    /// Difference between the rates of the first and the second half.
    pub(super) change_ppm: f64,
    /// How much of that the uncertainty of the two rates explains.
    pub(super) uncertainty_ppm: f64,
    /// Largest difference between CPUs; `None` if they were not compared.
    pub(super) skew_ns: Option<f64>,
}

impl Check {
    /// Whether the counter is a clock.
    pub(super) fn verdict(&self) -> Result<(), TscRefusal> {
        if self.change_ppm > RATE_LIMIT_PPM + self.uncertainty_ppm {
            return Err(TscRefusal::Unsteady { change_ppm: self.change_ppm });
        }
        match self.skew_ns {
            Some(skew_ns) if skew_ns > SKEW_LIMIT_NS => Err(TscRefusal::Skewed { skew_ns }),
            _ => Ok(()),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod cpuid {
    use core::arch::x86_64::{__cpuid, CpuidResult};

    pub(super) fn invariant_tsc() -> bool {
        __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
    }

    pub(super) fn stated_hz() -> Option<f64> {
        stated_hz_by(__cpuid)
    }

    /// The stated frequency: from the hypervisor's timing leaf, otherwise from the processor's.
    fn stated_hz_by(leaf: impl Fn(u32) -> CpuidResult) -> Option<f64> {
        let in_virtual_machine = leaf(1).ecx & (1 << 31) != 0;
        if in_virtual_machine && leaf(0x4000_0000).eax >= 0x4000_0010 {
            let khz = leaf(0x4000_0010).eax;
            if khz != 0 {
                return Some(f64::from(khz) * 1e3);
            }
        }
        let last_leaf = leaf(0).eax;
        if last_leaf < 0x15 {
            return None;
        }
        let CpuidResult { eax: denominator, ebx: numerator, ecx: crystal_hz, .. } = leaf(0x15);
        if denominator == 0 || numerator == 0 {
            None
        } else if crystal_hz != 0 {
            Some(f64::from(crystal_hz) * f64::from(numerator) / f64::from(denominator))
        } else if last_leaf >= 0x16 {
            // If the crystal's frequency is not stated, the counter runs at the base frequency, in MHz.
            Some(f64::from(leaf(0x16).eax & 0xffff) * 1e6).filter(|&hz| hz > 0.0)
        } else {
            None
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn host(leaves: &[(u32, [u32; 3])]) -> Option<f64> {
            stated_hz_by(|asked| {
                let [eax, ebx, ecx] =
                    leaves.iter().find(|(leaf, _)| *leaf == asked).map_or([0; 3], |(_, found)| *found);
                CpuidResult { eax, ebx, ecx, edx: 0 }
            })
        }

        #[test]
        fn the_stated_frequency_is_read_from_the_leaf_that_has_it() {
            let vm = (1, [0, 0, 1 << 31]);
            assert_eq!(
                host(&[vm, (0x4000_0000, [0x4000_0010, 0, 0]), (0x4000_0010, [2_596_000, 0, 0])]),
                Some(2.596e9)
            );
            assert_eq!(host(&[(0, [0x16, 0, 0]), (0x15, [2, 216, 24_000_000])]), Some(2.592e9));
            assert_eq!(host(&[(0, [0x16, 0, 0]), (0x15, [2, 216, 0]), (0x16, [2600, 0, 0])]), Some(2.6e9));
        }

        #[test]
        fn a_frequency_that_is_not_stated_is_not_invented() {
            assert_eq!(host(&[vm_without_timing_leaf(), (0, [0x1c, 0, 0])]), None);
            assert_eq!(host(&[(0, [0x10, 0, 0]), (0x15, [2, 216, 24_000_000])]), None);
            assert_eq!(host(&[(0, [0x15, 0, 0]), (0x15, [2, 216, 0])]), None);
        }

        fn vm_without_timing_leaf() -> (u32, [u32; 3]) {
            (0x4000_0000, [0x4000_0001, 0, 0])
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod cpuid {
    pub(super) fn invariant_tsc() -> bool {
        false
    }

    pub(super) fn stated_hz() -> Option<f64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(current: Option<&str>, tsc_available: bool) -> HostFacts {
        HostFacts {
            invariant_tsc: true,
            current_clock_source: current.map(str::to_owned),
            tsc_available,
            stated_hz: None,
        }
    }

    #[test]
    fn the_kernels_clock_source_is_trusted_and_any_other_checked() {
        assert_eq!(host(Some("tsc"), true).trust(), Ok(Trust::Kernel));
        assert_eq!(host(Some("kvm-clock"), true).trust(), Ok(Trust::Check));
        assert_eq!(host(None, false).trust(), Ok(Trust::Check));
    }

    #[test]
    fn a_counter_of_changing_rate_is_refused_even_if_the_kernel_uses_it() {
        let facts = HostFacts { invariant_tsc: false, ..host(Some("tsc"), true) };
        assert_eq!(facts.trust(), Err(TscRefusal::NotInvariant));
    }

    #[test]
    fn a_counter_that_the_kernel_does_not_offer_is_refused() {
        let refusal = host(Some("hpet"), false).trust().expect_err("the kernel found it unstable");
        assert_eq!(refusal.to_string(), "the kernel keeps time by hpet and does not offer tsc");
    }

    #[test]
    fn a_rate_change_beyond_limit_and_uncertainty_is_refused() {
        let check = Check { change_ppm: 250.0, uncertainty_ppm: 100.0, skew_ns: None };
        assert_eq!(check.verdict(), Ok(()));
        let check = Check { change_ppm: 301.0, ..check };
        assert_eq!(check.verdict(), Err(TscRefusal::Unsteady { change_ppm: 301.0 }));
    }

    #[test]
    fn cpus_with_different_counters_are_refused() {
        let check = Check { change_ppm: 1.0, uncertainty_ppm: 50.0, skew_ns: Some(40.0) };
        assert_eq!(check.verdict(), Ok(()));
        let check = Check { skew_ns: Some(5000.0), ..check };
        assert_eq!(check.verdict(), Err(TscRefusal::Skewed { skew_ns: 5000.0 }));
    }
}
