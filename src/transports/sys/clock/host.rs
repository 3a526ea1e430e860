//! What the processor and the kernel say about the time stamp counter, and whether it may be used.

use std::fs;

use super::trial::Check;

const SYSFS: &str = "/sys/devices/system/clocksource/clocksource0";

/// Above this, the counter's rate in two halves of the calibration is not one rate. CLOCK_MONOTONIC is itself
/// slewed by up to 500 ppm, but not by so different amounts within two milliseconds.
const RATE_LIMIT_PPM: f64 = 200.0;

/// Above this, CPUs have counters of their own. A shared counter read on two CPUs agrees within tens of
/// nanoseconds; the rest is room for the rate's error over the time that moving between CPUs takes.
const SKEW_LIMIT_NS: f64 = 1000.0;

/// Why the time stamp counter is not used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TscRefusal {
    /// No counter, or one that changes its rate with the processor's frequency or stops in sleep states.
    #[error("the processor does not report a time stamp counter of constant rate")]
    NotInvariant,
    /// The kernel does not offer the counter as a clock source: it found it unstable, or was told so.
    #[error("the kernel keeps its time by {current} and does not offer tsc")]
    DistrustedByKernel {
        /// The kernel's clock source.
        current: String,
    },
    /// Two measurements of the rate differ by more than their error.
    #[error("its rate against CLOCK_MONOTONIC changed by {change_ppm:.0} ppm within the calibration")]
    Unsteady {
        /// By how much, in parts per million.
        change_ppm: f64,
    },
    /// CPUs that the caller may run on have different counters.
    #[error("it differs by {skew_ns:.0} ns between CPUs")]
    Skewed {
        /// By how much, in nanoseconds.
        skew_ns: f64,
    },
}

/// On whose word the counter is the same on all CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// The kernel keeps its own time by it: it compared the CPUs when it brought them up, and watches the
    /// counter.
    Kernel,
    /// Nobody's: the calibration compares the CPUs.
    Check,
}

/// What is known about the counter before measuring.
#[derive(Debug, Clone, Default)]
pub(super) struct HostFacts {
    /// The processor reports a constant rate that goes on in sleep states (CPUID 0x8000_0007, EDX bit 8).
    pub(super) invariant_tsc: bool,
    /// The kernel's clock source; none where sysfs does not tell.
    pub(super) current_clock_source: Option<String>,
    /// The kernel lists `tsc` among its clock sources, which it does not once it has found it unstable.
    pub(super) tsc_available: bool,
    /// The frequency that the processor or the hypervisor states, in Hz.
    pub(super) stated_hz: Option<f64>,
}

impl HostFacts {
    /// Asks the processor and sysfs; about 0.1 ms, since a hypervisor answers each CPUID.
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

    /// Whether it is worth measuring the counter, and what the measurement must cover.
    pub(super) fn trust(&self) -> Result<Trust, TscRefusal> {
        if !self.invariant_tsc {
            return Err(TscRefusal::NotInvariant);
        }
        match &self.current_clock_source {
            Some(current) if current == "tsc" => Ok(Trust::Kernel),
            // The kernel watched it for longer than a calibration can.
            Some(current) if !self.tsc_available => {
                Err(TscRefusal::DistrustedByKernel { current: current.clone() })
            }
            // kvm-clock, a Hyper-V page and the like are preferred to a counter that is as good.
            _ => Ok(Trust::Check),
        }
    }
}

/// Whether a counter that was measured is a clock.
pub(super) fn judge(check: &Check) -> Result<(), TscRefusal> {
    if check.change_ppm > RATE_LIMIT_PPM + check.uncertainty_ppm {
        return Err(TscRefusal::Unsteady { change_ppm: check.change_ppm });
    }
    match check.skew_ns {
        Some(skew_ns) if skew_ns > SKEW_LIMIT_NS => Err(TscRefusal::Skewed { skew_ns }),
        _ => Ok(()),
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

    /// The stated frequency, given what answers a leaf: the hypervisor's timing leaf, else the processor's.
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
            // Without the crystal's frequency the counter runs at the base frequency, in MHz.
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
        fn the_stated_frequency_is_read_from_whichever_leaf_has_it() {
            let vm = (1, [0, 0, 1 << 31]);
            assert_eq!(
                host(&[vm, (0x4000_0000, [0x4000_0010, 0, 0]), (0x4000_0010, [2_596_000, 0, 0])]),
                Some(2.596e9)
            );
            assert_eq!(host(&[(0, [0x16, 0, 0]), (0x15, [2, 216, 24_000_000])]), Some(2.592e9));
            assert_eq!(host(&[(0, [0x16, 0, 0]), (0x15, [2, 216, 0]), (0x16, [2600, 0, 0])]), Some(2.6e9));
        }

        #[test]
        fn a_processor_that_states_no_frequency_is_not_made_to() {
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
    fn the_kernels_own_use_is_trusted_and_any_other_source_checked() {
        assert_eq!(host(Some("tsc"), true).trust(), Ok(Trust::Kernel));
        assert_eq!(host(Some("kvm-clock"), true).trust(), Ok(Trust::Check));
        assert_eq!(host(None, false).trust(), Ok(Trust::Check));
    }

    #[test]
    fn a_counter_of_changing_rate_is_refused_whatever_the_kernel_does() {
        let facts = HostFacts { invariant_tsc: false, ..host(Some("tsc"), true) };
        assert_eq!(facts.trust(), Err(TscRefusal::NotInvariant));
    }

    #[test]
    fn a_counter_that_the_kernel_does_not_offer_is_refused() {
        let refusal = host(Some("hpet"), false).trust().expect_err("the kernel found it unstable");
        assert_eq!(refusal.to_string(), "the kernel keeps its time by hpet and does not offer tsc");
    }

    #[test]
    fn a_change_of_rate_beyond_limit_and_error_is_refused() {
        let check = Check { change_ppm: 250.0, uncertainty_ppm: 100.0, skew_ns: None };
        assert_eq!(judge(&check), Ok(()));
        let check = Check { change_ppm: 301.0, ..check };
        assert_eq!(judge(&check), Err(TscRefusal::Unsteady { change_ppm: 301.0 }));
    }

    #[test]
    fn cpus_with_counters_of_their_own_are_refused() {
        let check = Check { change_ppm: 1.0, uncertainty_ppm: 50.0, skew_ns: Some(40.0) };
        assert_eq!(judge(&check), Ok(()));
        let check = Check { skew_ns: Some(5000.0), ..check };
        assert_eq!(judge(&check), Err(TscRefusal::Skewed { skew_ns: 5000.0 }));
    }
}
