//! How far a result can be trusted, in a letter, and the rule by which warnings decide it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much a warning takes from a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Good to know; it speaks against nothing that is shown.
    Note,
    /// The figures hold, and a better host or plan would narrow them.
    Slight,
    /// Some figures may be off by more than their intervals say.
    Doubtful,
    /// The figures are about something else than the mechanism.
    Severe,
    /// There is no result.
    Fatal,
}

/// How far a result can be trusted. The better grade is the smaller one.
///
/// The worst warning decides: none or a note is an A, a slight one a B, a doubtful one a C, a severe one a D, and
/// without a result it is an F. A second warning of the worst kind takes one grade more, since two causes seldom
/// hide each other. The warnings of a cell and those of its run count together; the run's grade is its worst cell's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Grade {
    /// Nothing was found that speaks against it.
    A,
    /// One thing that a better host or plan would not have.
    B,
    /// Good for orders of magnitude, not for small differences.
    C,
    /// Something else than the mechanism decided the figures.
    D,
    /// Several such things.
    E,
    /// There is no result to trust.
    F,
}

impl Grade {
    /// Every grade, the best first.
    pub(crate) const ALL: [Self; 6] = [Self::A, Self::B, Self::C, Self::D, Self::E, Self::F];

    /// The grade of a result with these warnings.
    pub(crate) fn of(severities: impl IntoIterator<Item = Severity>) -> Self {
        let (mut worst, mut times) = (Severity::Note, 0);
        for severity in severities {
            if severity > worst {
                (worst, times) = (severity, 0);
            }
            times += u32::from(severity == worst);
        }
        match (worst, times) {
            (Severity::Note, _) => Self::A,
            (Severity::Slight, 1) => Self::B,
            (Severity::Slight, _) | (Severity::Doubtful, 1) => Self::C,
            (Severity::Doubtful, _) | (Severity::Severe, 1) => Self::D,
            (Severity::Severe, _) => Self::E,
            (Severity::Fatal, _) => Self::F,
        }
    }

    /// The letter.
    #[must_use]
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
            Self::E => "E",
            Self::F => "F",
        }
    }

    /// What the letter means, in a few words.
    #[must_use]
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::A => "nothing was found that speaks against the figures",
            Self::B => "the figures hold; a better host or plan would narrow them",
            Self::C => "good for orders of magnitude, not for small differences",
            Self::D => "something else than the mechanism may have decided the figures",
            Self::E => "several things other than the mechanism may have decided the figures",
            Self::F => "there is no result to trust",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.letter())
    }
}

/// A text that is no grade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no grade; there are A (the best), B, C, D, E and F")]
pub struct GradeError(String);

impl FromStr for Grade {
    type Err = GradeError;

    fn from_str(text: &str) -> Result<Self, GradeError> {
        let named = |grade: &Self| grade.to_string().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(named).ok_or_else(|| GradeError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::Severity::{Doubtful, Fatal, Note, Severe, Slight};
    use super::*;

    #[test]
    fn the_worst_warning_decides_and_a_second_one_takes_a_grade_more() {
        for (severities, grade) in [
            (&[][..], Grade::A),
            (&[Note, Note, Note], Grade::A),
            (&[Slight], Grade::B),
            (&[Note, Slight, Note], Grade::B),
            (&[Slight, Slight], Grade::C),
            (&[Slight, Doubtful, Slight], Grade::C),
            (&[Doubtful, Note, Doubtful], Grade::D),
            (&[Severe, Doubtful, Doubtful], Grade::D),
            (&[Severe, Severe], Grade::E),
            (&[Slight, Fatal], Grade::F),
        ] {
            assert_eq!(Grade::of(severities.iter().copied()), grade, "{severities:?}");
        }
    }

    #[test]
    fn letters_are_read_and_written() {
        for grade in Grade::ALL {
            assert_eq!(grade.to_string().parse(), Ok(grade));
            assert_eq!(serde_json::to_value(grade).unwrap(), grade.to_string());
        }
        assert_eq!("b".parse(), Ok(Grade::B));
        assert!(Grade::A < Grade::B && Grade::ALL.is_sorted());
        let error = "G".parse::<Grade>().unwrap_err().to_string();
        assert!(error.contains("`G`") && error.contains("A (the best)"), "{error}");
    }
}
