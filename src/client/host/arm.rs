//! Names of ARM cores: a 64-bit ARM kernel tells an implementer and a part number, and no name.
//!
//! The numbers are those of the Main ID Register; the names are those that util-linux's `lscpu-arm.c` prints.

use std::collections::BTreeSet;

use super::root::values;

/// The different cores that `/proc/cpuinfo` tells of; one that is not in the table is told by its numbers.
pub(super) fn models(cpuinfo: &str) -> BTreeSet<String> {
    values(cpuinfo, "CPU implementer")
        .zip(values(cpuinfo, "CPU part"))
        .map(|(maker, part)| name(maker, part))
        .collect()
}

fn name(implementer: &str, part: &str) -> String {
    let maker = IMPLEMENTERS.iter().find(|(number, _)| *number == implementer).map(|(_, name)| *name);
    let core = match implementer {
        "0x41" => ARM_PARTS.iter().find(|(number, _)| *number == part).map(|(_, name)| *name),
        _ => None,
    };
    match (maker, core) {
        (Some(maker), Some(core)) => format!("{maker} {core}"),
        (Some(maker), None) => format!("{maker} part {part}"),
        (None, _) => format!("implementer {implementer} part {part}"),
    }
}

const IMPLEMENTERS: [(&str, &str); 12] = [
    ("0x41", "ARM"),
    ("0x42", "Broadcom"),
    ("0x43", "Cavium"),
    ("0x46", "Fujitsu"),
    ("0x48", "HiSilicon"),
    ("0x4e", "NVIDIA"),
    ("0x50", "APM"),
    ("0x51", "Qualcomm"),
    ("0x61", "Apple"),
    ("0x6d", "Microsoft"),
    ("0x70", "Phytium"),
    ("0xc0", "Ampere"),
];

const ARM_PARTS: [(&str, &str); 26] = [
    ("0xd03", "Cortex-A53"),
    ("0xd04", "Cortex-A35"),
    ("0xd05", "Cortex-A55"),
    ("0xd07", "Cortex-A57"),
    ("0xd08", "Cortex-A72"),
    ("0xd09", "Cortex-A73"),
    ("0xd0a", "Cortex-A75"),
    ("0xd0b", "Cortex-A76"),
    ("0xd0c", "Neoverse-N1"),
    ("0xd0d", "Cortex-A77"),
    ("0xd40", "Neoverse-V1"),
    ("0xd41", "Cortex-A78"),
    ("0xd44", "Cortex-X1"),
    ("0xd46", "Cortex-A510"),
    ("0xd47", "Cortex-A710"),
    ("0xd48", "Cortex-X2"),
    ("0xd49", "Neoverse-N2"),
    ("0xd4a", "Neoverse-E1"),
    ("0xd4d", "Cortex-A715"),
    ("0xd4e", "Cortex-X3"),
    ("0xd4f", "Neoverse-V2"),
    ("0xd80", "Cortex-A520"),
    ("0xd81", "Cortex-A720"),
    ("0xd82", "Cortex-X4"),
    ("0xd84", "Neoverse-V3"),
    ("0xd8e", "Neoverse-N3"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_outside_the_table_is_told_by_its_numbers() {
        assert_eq!(name("0x41", "0xd4f"), "ARM Neoverse-V2");
        assert_eq!(name("0x41", "0xfff"), "ARM part 0xfff");
        // A part number means something else with each implementer.
        assert_eq!(name("0xc0", "0xd0c"), "Ampere part 0xd0c");
        assert_eq!(name("0x99", "0x001"), "implementer 0x99 part 0x001");
    }

    #[test]
    fn mixed_cores_are_all_told_once() {
        let cpuinfo = "CPU implementer\t: 0x41\nCPU part\t: 0xd05\n\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n\
                       CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n";
        assert_eq!(models(cpuinfo).into_iter().collect::<Vec<_>>(), ["ARM Cortex-A55", "ARM Cortex-A76"]);
    }
}
