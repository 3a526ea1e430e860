//! Counts of actions and their results, by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

/// In which table something is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Action,
    Fault,
    Moment,
    Hostile,
    Stranger,
    Outcome,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Action => "actions of clients",
            Self::Fault => "faults injected",
            Self::Moment => "when, in the life of a run",
            Self::Hostile => "hostile peers",
            Self::Stranger => "strangers at data channels",
            Self::Outcome => "how runs ended, as expected",
        })
    }
}

/// Counts, and the longest waits of the bystander.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<BTreeMap<(Table, &'static str), u64>>,
    waits: Mutex<BTreeMap<&'static str, (u64, Duration)>>,
}

impl Tally {
    pub(crate) fn count(&self, table: Table, what: &'static str) {
        self.add(table, what, 1);
    }

    pub(crate) fn add(&self, table: Table, what: &'static str, count: u64) {
        *self.counts.lock().unwrap().entry((table, what)).or_default() += count;
    }

    pub(crate) fn total(&self, table: Table) -> u64 {
        self.counts.lock().unwrap().iter().filter(|((of, _), _)| *of == table).map(|(_, count)| count).sum()
    }

    /// The bystander has waited so long for `what`.
    pub(crate) fn waited(&self, what: &'static str, time: Duration) {
        let mut waits = self.waits.lock().unwrap();
        let (count, longest) = waits.entry(what).or_default();
        *count += 1;
        *longest = (*longest).max(time);
    }

    /// The longest wait of all.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.waits.lock().unwrap().values().map(|(_, longest)| *longest).max().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables =
            [Table::Action, Table::Fault, Table::Moment, Table::Hostile, Table::Stranger, Table::Outcome];
        for table in tables.into_iter().filter(|table| self.total(*table) > 0) {
            writeln!(f, "{table} ({})", self.total(table))?;
            for ((of, what), count) in self.counts.lock().unwrap().iter() {
                if *of == table {
                    writeln!(f, "  {what:<66} {count:>9}")?;
                }
            }
        }
        for (index, (what, (count, longest))) in self.waits.lock().unwrap().iter().enumerate() {
            if index == 0 {
                writeln!(f, "longest waits of the bystander")?;
            }
            let what = format!("{what} (of {count})");
            writeln!(f, "  {what:<66} {:>6} ms", longest.as_millis())?;
        }
        Ok(())
    }
}
