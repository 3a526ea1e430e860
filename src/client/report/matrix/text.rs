//! The heat map for a terminal. Colours are always written; the caller strips them where they are not wanted.

use std::io::{self, Write};

use anstyle::{Ansi256Color, Color, Style};

use super::{Matrix, Pair};
use crate::client::host::placement::Placement;
use crate::client::report::charts::{DARK, LEVELS, Levels, ONE_CPU};
use crate::client::stats::median;
use crate::units::{latency, three_digits, time_unit};

/// The levels' colours in a terminal's palette of 256.
const COLOURS: [u8; LEVELS] = [230, 223, 222, 216, 209, 203, 160, 124, 88];

/// Shown for a missing median.
const NONE: &str = "-";

/// Shown instead of a level where both sides were on one CPU.
const SAME: &str = "=";

/// The head of the columns to the left of the cells.
const HEAD: &str = "client  responder's CPU";
const LEFT: usize = "client  ".len();

/// How the cells are shown.
enum Cells {
    /// Each median in words, in columns of this width.
    Words(usize),
    /// Each level as a digit, in columns of this width: where words do not fit.
    Digits(usize),
}

/// Writes the heat map, in lines of at most `width` columns.
///
/// # Errors
/// The writer's.
pub(crate) fn write(matrix: &Matrix, width: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    let levels = matrix.levels();
    let unit = unit(matrix);
    let word = |pair: &Pair| pair.p50_ns.map_or(NONE.to_owned(), |ns| three_digits(ns / unit.0));
    let words = matrix.pairs.iter().map(|pair| word(pair).len());
    let numbers = matrix.cpus.iter().map(|cpu| cpu.to_string().len());
    let widest = words.chain(numbers).max().unwrap_or(0) + 1;
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(LEFT).max(1));
    let cpus = matrix.cpus.len();
    let (cells, title) = match room {
        room if cpus.saturating_mul(widest) <= room => (Cells::Words(widest), format!(" ({})", unit.1)),
        room if cpus * 2 <= room => (Cells::Digits(2), String::new()),
        _ => (Cells::Digits(1), String::new()),
    };
    writeln!(out, "{}{title}", matrix.title())?;
    writeln!(out, "{}", matrix.subtitle())?;

    let (Cells::Words(wide) | Cells::Digits(wide)) = cells;
    let columns: Vec<usize> = (0..cpus).collect();
    for part in columns.chunks((room / wide).max(1)) {
        writeln!(out, "\n{HEAD}")?;
        write_numbers(matrix, part, &cells, out)?;
        for (cpu, pairs) in matrix.rows() {
            write!(out, "{cpu:>6}  ")?;
            for pair in part.iter().map(|column| &pairs[*column]) {
                let measured = levels.filter(|_| !pair.is_of_one_cpu());
                let level = measured.and_then(|levels| Some(levels.level(pair.p50_ns?)));
                let shown = match (&cells, level) {
                    (Cells::Words(_), _) => word(pair),
                    (Cells::Digits(_), Some(level)) => (level + 1).to_string(),
                    (Cells::Digits(_), None) if pair.p50_ns.is_some() => SAME.to_owned(),
                    (Cells::Digits(_), None) => NONE.to_owned(),
                };
                let style = level.map_or(Style::new(), style);
                write!(out, "{style}{shown:>wide$}{style:#}")?;
            }
            writeln!(out)?;
        }
    }
    writeln!(out)?;
    if let (Cells::Digits(_), Some(levels)) = (&cells, levels) {
        write_legend(levels, out)?;
    }
    write_placements(matrix, out)?;
    write_missing(matrix, out)
}

/// The responders' CPUs above their columns: in a line, or where columns are narrow, each number downwards.
fn write_numbers(matrix: &Matrix, columns: &[usize], cells: &Cells, out: &mut dyn Write) -> io::Result<()> {
    let numbers: Vec<String> = columns.iter().map(|column| matrix.cpus[*column].to_string()).collect();
    match cells {
        Cells::Words(wide) => {
            write!(out, "{:LEFT$}", "")?;
            numbers.iter().try_for_each(|number| write!(out, "{number:>wide$}"))?;
            writeln!(out)
        }
        Cells::Digits(wide) => {
            let highest = numbers.iter().map(String::len).max().unwrap_or(0);
            for digit in 0..highest {
                write!(out, "{:LEFT$}", "")?;
                for number in &numbers {
                    let padded = format!("{number:>highest$}");
                    write!(out, "{:>wide$}", &padded[digit..=digit])?;
                }
                writeln!(out)?;
            }
            Ok(())
        }
    }
}

fn write_legend(levels: Levels, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "levels")?;
    for level in 0..LEVELS {
        let style = style(level);
        write!(out, " {style} {} {style:#}", level + 1)?;
    }
    let step = levels.bound(1) / levels.bound(0);
    writeln!(
        out,
        "\n1 from {}, each {step:.2} times the one before; {SAME} {ONE_CPU}; figures: csv, svg",
        latency(levels.low)
    )
}

/// Why pairs have no median.
fn write_missing(matrix: &Matrix, out: &mut dyn Write) -> io::Result<()> {
    let pairs = matrix.pairs.len();
    let missing = |reason: fn(&Pair) -> bool| {
        let without = matrix.pairs.iter().filter(|pair| pair.p50_ns.is_none());
        without.filter(|pair| reason(pair)).count()
    };
    match missing(|pair| pair.error.is_some()) {
        0 => {}
        failed => writeln!(out, "{NONE}: {failed} of {pairs} failed")?,
    }
    match missing(|pair| pair.error.is_none() && pair.trials == 0) {
        0 => {}
        unmeasured => writeln!(out, "{NONE}: {unmeasured} of {pairs} were not measured")?,
    }
    match missing(|pair| pair.error.is_none() && pair.trials > 0) {
        0 => Ok(()),
        few => writeln!(
            out,
            "{NONE}: {few} of {pairs} had too few rounds a trial for a median; --duration makes trials longer"
        ),
    }
}

/// The medians of the pairs of each placement.
fn write_placements(matrix: &Matrix, out: &mut dyn Write) -> io::Result<()> {
    for placement in Placement::ALL {
        let of_it = matrix.pairs.iter().filter(|pair| pair.placement == Some(placement));
        let mut medians: Vec<f64> = of_it.filter_map(|pair| pair.p50_ns).collect();
        medians.sort_by(f64::total_cmp);
        if let (Some(median), [low, .., high]) = (median(&medians), &medians[..]) {
            let (median, low, high) = (latency(median), latency(*low), latency(*high));
            writeln!(out, "{placement:<12}  median {median}, from {low} to {high}, {} pairs", medians.len())?;
        } else if let [only] = medians[..] {
            writeln!(out, "{placement:<12}  median {}, 1 pair", latency(only))?;
        }
    }
    Ok(())
}

fn style(level: usize) -> Style {
    let background = Color::Ansi256(Ansi256Color(COLOURS[level]));
    // Black and white of the colour cube, which no theme changes.
    let ink = Color::Ansi256(Ansi256Color(if level >= DARK { 231 } else { 16 }));
    Style::new().bg_color(Some(background)).fg_color(Some(ink))
}

/// One unit for all medians, which suits the fastest: nanoseconds of it, and its name.
fn unit(matrix: &Matrix) -> (f64, &'static str) {
    let fastest = matrix.pairs.iter().filter_map(|pair| pair.p50_ns).reduce(f64::min);
    fastest.map_or((1.0, "ns"), time_unit)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{clear, matrix, two_cpus, two_sockets};
    use super::*;
    use anstream::adapter::strip_str;

    fn plain(matrix: &Matrix, width: Option<usize>) -> String {
        strip_str(&styled(matrix, width)).to_string()
    }

    fn styled(matrix: &Matrix, width: Option<usize>) -> String {
        let mut out = Vec::new();
        write(matrix, width, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn widest(text: &str) -> usize {
        text.lines().filter(|line| !line.contains("trials;")).map(|line| line.chars().count()).max().unwrap()
    }

    #[test]
    fn two_cpus_show_their_medians() {
        let expected = "\
Median round trip: shmem, 8 B, adaptive (ns)
3 trials; lab <1>, CPUs & Sons 3000, Linux 6.12

client  responder's CPU
            0    1
     0   2512  214
     1    228 2512

same-core     median 2.51 µs, from 2.51 µs to 2.51 µs, 2 pairs
cross-core    median 221 ns, from 214 ns to 228 ns, 2 pairs
";
        assert_eq!(plain(&two_cpus(), Some(80)), expected);
        let styled = styled(&two_cpus(), Some(80));
        assert_eq!(styled.matches("\u{1b}[48;5;").count(), 2, "one CPU has no colour of a level: {styled:?}");
    }

    #[test]
    fn sixty_four_cpus_fit_80_columns_as_levels() {
        let text = plain(&two_sockets(), Some(80));
        assert!(widest(&text) <= 80, "{text}");
        let first = text.lines().find(|line| line.starts_with("     0  ")).unwrap();
        // The neighbours are fastest, the other socket is slower than the far cores of this one; one CPU has no level.
        assert_eq!(first, format!("     0  ={}{}{}", "1".repeat(7), "5".repeat(24), "9".repeat(32)));
        assert!(text.contains("\nlevels  1   2 "), "{text}");
    }

    #[test]
    fn a_matrix_wider_than_the_terminal_is_split() {
        let text = plain(&two_sockets(), Some(40));
        assert!(text.lines().filter(|line| line.starts_with(HEAD)).count() == 2, "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("    63  ")).count(), 2);
    }

    #[test]
    fn a_file_has_all_figures() {
        let text = plain(&two_sockets(), None);
        let figures: Vec<&str> = text.lines().filter(|line| line.len() > 200).collect();
        assert_eq!(figures.len(), 1 + 64, "the CPUs' numbers and a row for each");
        assert_eq!(figures.concat().matches(" 105").count(), 64 * 7);
    }

    #[test]
    fn a_pair_without_a_median_is_counted() {
        let mut one = matrix(&[5], |_, _| (Placement::SameCore, 12_000.0));
        assert!(plain(&one, None).contains("     5   12.0\n"), "{}", plain(&one, None));
        clear(&mut one);
        assert!(plain(&one, None).contains("-: 1 of 1 were not measured"));
        one.pairs[0].trials = 1;
        assert!(plain(&one, None).contains("-: 1 of 1 had too few rounds a trial for a median"));
        one.pairs[0].error = Some("refused".to_owned());
        assert!(plain(&one, None).ends_with("-: 1 of 1 failed\n"));
    }
}
