//! What the runs of a history ran under, each read once.

use std::collections::BTreeMap;

use super::Conditions;
use crate::client::history::{Asked, History, HistoryError, Point};
use crate::client::host::{Difference, Environment};

/// Environments and settings of a history's runs, as far as they were asked for.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(super) history: &'a History,
    environments: BTreeMap<i64, Environment>,
    asked: BTreeMap<i64, Asked>,
}

impl<'a> Known<'a> {
    /// Nothing is known yet.
    #[must_use]
    pub(crate) fn new(history: &'a History) -> Self {
        Self { history, environments: BTreeMap::new(), asked: BTreeMap::new() }
    }

    /// What changed from one run to another.
    ///
    /// # Errors
    /// The history's.
    pub(crate) fn changed(&mut self, from: &Point, to: &Point) -> Result<Vec<Difference>, HistoryError> {
        self.read(from.run, from.environment)?;
        self.read(to.run, to.environment)?;
        let known = |point: &Point| self.conditions(point.run, point.environment);
        let (from_conditions, to_conditions) = (known(from), known(to));
        // To compare two environments takes long, and most are the same one.
        Ok(if from.environment == to.environment {
            from_conditions.asked_differences(&to_conditions)
        } else {
            from_conditions.differences(&to_conditions)
        })
    }

    /// Reads what this run in this environment ran under, unless that is known.
    pub(super) fn read(&mut self, run: i64, environment: i64) -> Result<(), HistoryError> {
        if !self.environments.contains_key(&environment) {
            self.environments.insert(environment, self.history.environment(environment)?);
        }
        if !self.asked.contains_key(&run) {
            self.asked.insert(run, self.history.asked(run)?);
        }
        Ok(())
    }

    /// What a run ran under that was [read](Self::read).
    pub(super) fn conditions(&self, run: i64, environment: i64) -> Conditions<'_> {
        let Asked { settings, clock } = &self.asked[&run];
        Conditions { environment: &self.environments[&environment], settings, clock }
    }
}
