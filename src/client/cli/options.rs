//! The options of mechanisms, as a command line names them: of each one value, or several, which make a sweep.

use std::collections::BTreeMap;

use clap::ArgMatches;

use crate::transports::{self, Mechanism};

/// What is asked of all mechanisms that have the option, by its name.
#[derive(Debug, Clone, Default)]
pub(super) struct MethodOptions(BTreeMap<String, Vec<String>>);

impl MethodOptions {
    /// Those of a command's arguments. A value that is named twice counts once.
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let known = transports::ALL.iter().flat_map(|mechanism| mechanism.info().options);
        let named = known.filter_map(|option| {
            let mut values: Vec<String> = Vec::new();
            for value in matches.get_many::<String>(option.name)? {
                if !values.contains(value) {
                    values.push(value.clone());
                }
            }
            Some((option.name.to_owned(), values))
        });
        Self(named.collect())
    }

    /// Each option that is named.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// For what sweeps nothing: the first value of each.
    pub(super) fn first(&self) -> BTreeMap<String, String> {
        let first = |(name, values): (&String, &Vec<String>)| Some((name.clone(), values.first()?.clone()));
        self.0.iter().filter_map(first).collect()
    }

    /// Every choice of values for the options that the mechanism has; one without any, if none of its own is named.
    pub(super) fn choices(&self, mechanism: &dyn Mechanism) -> Vec<BTreeMap<String, String>> {
        let mut choices = vec![BTreeMap::new()];
        for (name, values) in self.0.iter().filter(|(name, _)| has_option(mechanism, name)) {
            let with = |choice: &BTreeMap<String, String>, value: &String| {
                let mut choice = choice.clone();
                choice.insert(name.clone(), value.clone());
                choice
            };
            choices = choices
                .iter()
                .flat_map(|choice| values.iter().map(move |value| with(choice, value)))
                .collect();
        }
        choices
    }
}

/// Whether a mechanism has the option.
pub(super) fn has_option(mechanism: &dyn Mechanism, name: &str) -> bool {
    mechanism.info().options.iter().any(|option| option.name == name)
}

/// A method and what was chosen of its options, in a line's words.
pub(super) fn told(method: &str, choice: &BTreeMap<String, String>) -> String {
    let mut told = method.to_owned();
    for (name, value) in choice {
        told.push_str(&format!(" {name}={value}"));
    }
    told
}

#[cfg(test)]
impl MethodOptions {
    /// An option with these values.
    pub(super) fn named(name: &str, values: &[&str]) -> Self {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Self(BTreeMap::from([(name.to_owned(), values)]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::command;
    use super::*;
    use crate::transports::find;

    fn choices(line: &[&str], method: &str) -> Vec<Vec<(String, String)>> {
        let line = ["ipc-client", "bench"].iter().chain(line);
        let matches = command().try_get_matches_from(line).unwrap();
        let options = MethodOptions::of(matches.subcommand().unwrap().1);
        options
            .choices(find(method).unwrap())
            .into_iter()
            .map(|choice| choice.into_iter().collect())
            .collect()
    }

    fn sqpoll(value: &str) -> Vec<(String, String)> {
        vec![("sqpoll".to_owned(), value.to_owned())]
    }

    #[test]
    fn values_are_swept_in_their_order_and_each_once() {
        let line = ["--sqpoll", "true,false,true"];
        assert_eq!(choices(&line, "io-uring"), [sqpoll("true"), sqpoll("false")]);
        assert_eq!(choices(&["--sqpoll", "true", "--sqpoll=false"], "io-uring").len(), 2);
    }

    #[test]
    fn who_has_not_the_option_is_one_cell() {
        assert_eq!(choices(&["--sqpoll", "true,false"], "tcp"), [vec![]]);
        assert_eq!(choices(&[], "io-uring"), [vec![]]);
    }
}
